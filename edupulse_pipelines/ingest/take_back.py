"""Taking one enrolment back by command: for an entry date that was typed wrong and that no file takes back itself.

It stays out of effect until a later delivery says it again, as every record that is taken back; also when the student's
records are made anew (`rebuild`). Assumed enrolments follow from what is recorded; they cannot be taken back.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.ingest.marks import Marks
from edupulse_pipelines.ingest.references import Students
from edupulse_pipelines.ingest.statements import Statement
from edupulse_pipelines.ingest.student_enrolments import ASSUMED, STUDENT, bring_up_to_date, mark_entry
from edupulse_pipelines.schema.sqlalchemy_tables import enrollment_statements, enrollments, students
from edupulse_pipelines.storage.turns import take_turn
from edupulse_pipelines.storage.work import Work


@dataclass(frozen=True)
class TakenBack:
    """An enrolment that a person has taken back by command."""

    school: str | None
    entry: dt.date
    is_sent: bool
    """Whether a delivery of enrollments has opened it; else one of students."""
    day: dt.date
    reason: str


def take_back_enrolment(
    work: Work, number: str, entry: dt.date, school: str | None, reason: str, today: dt.date
) -> None:
    """Take back the enrolment of the student with this number, from this entry on, at this school (None: without one).

    `reason` is kept with the enrolment, and nowhere else. PermanentError when there is no such enrolment that stands.
    """
    with work.writing() as connection:
        take_turn(connection, work, ["enrollments", "students"])
        found = _standing(connection, work, number, school, entry)
        if found is None:
            raise PermanentError(
                "There is no such enrolment that stands: look for student, entry date and school in the table "
                "enrollments. (An assumed one is mended by sending the entry date.)"
            )
        marks = Marks(work, Students.of(connection, work))
        # After every delivery that has said it so far.
        day = max(today, _said(connection, found, entry) + dt.timedelta(days=1))
        _take_back(connection, work, marks, found, TakenBack(school, entry, found.origin != STUDENT, day, reason))
        marks.write(connection)


def taken_back(connection: Connection, work: Work, numbers: Collection[str]) -> dict[str, list[TakenBack]]:
    """The enrolments that people have taken back, by the number of the student; of these numbers."""
    table = enrollments.c
    query = (
        sa.select(
            students.c.district_id,
            table.school_id,
            table.entry_date,
            table.origin != STUDENT,
            table.deleted_on,
            table.taken_back_for,
        )
        .join_from(enrollments, students, students.c.id == table.student_id)
        .where(
            table.tenant_id == work.tenant,
            students.c.district_id.in_(sorted(numbers)),
            table.taken_back_for.is_not(None),
            table.deleted_on.is_not(None),
        )
        .order_by(table.id)
    )
    found: dict[str, list[TakenBack]] = {}
    for number, *values in connection.execute(query):
        found.setdefault(number, []).append(TakenBack(*values))
    return found


def take_back_again(
    connection: Connection, work: Work, marks: Marks, before: Mapping[str, Iterable[TakenBack]], *, is_sent: bool
) -> None:
    """Take back anew, by number, what people had taken back of enrolments that have been made again since.

    is_sent: of those that deliveries of enrollments have opened, or of the others. What a delivery has said again after
    it was taken back stands, and so does what is not there.
    """
    for number, of_number in before.items():
        for one in of_number:
            found = _standing(connection, work, number, one.school, one.entry)
            if found is None or one.is_sent != is_sent or (found.origin != STUDENT) != is_sent:
                continue
            if _said(connection, found, one.entry) < one.day:
                _take_back(connection, work, marks, found, one)


def _standing(
    connection: Connection, work: Work, number: str, school: str | None, entry: dt.date
) -> sa.Row[uuid.UUID, uuid.UUID, str, dt.date] | None:
    """Id, student, origin and delivery of the enrolment of a number that stands and was said."""
    table = enrollments.c
    return connection.execute(
        sa.select(table.id, table.student_id, table.origin, table.delivered_on)
        .join_from(enrollments, students, students.c.id == table.student_id)
        .where(
            table.tenant_id == work.tenant,
            students.c.district_id == number,
            table.entry_date == entry,
            table.school_id.is_(None) if school is None else table.school_id == school,
            table.origin != ASSUMED,
            table.deleted_on.is_(None),
        )
    ).one_or_none()


def _said(connection: Connection, found: sa.Row[uuid.UUID, uuid.UUID, str, dt.date], entry: dt.date) -> dt.date:
    """The newest delivery that has said the enrolment."""
    return found.delivered_on if found.origin != STUDENT else _last_said(connection, found.student_id, entry)


def _take_back(
    connection: Connection,
    work: Work,
    marks: Marks,
    found: sa.Row[uuid.UUID, uuid.UUID, str, dt.date],
    taken: TakenBack,
) -> None:
    connection.execute(
        sa.update(enrollments)
        .where(enrollments.c.id == found.id)
        .values(deleted_on=taken.day, taken_back_for=taken.reason)
    )
    student = str(found.student_id) if work.dialect == "postgresql" else found.student_id.hex
    mark_entry(marks, student, taken.entry)
    bring_up_to_date(connection, work, marks, [student])


def _last_said(connection: Connection, student: object, entry: dt.date) -> dt.date:
    """The newest delivery of students that named this entry."""
    table = enrollment_statements.c
    rows = connection.execute(
        sa.select(table.said, table.first_delivered_on, table.delivered_on).where(table.student_id == student)
    )
    return max(one.newest for one in (Statement(*row) for row in rows) if one.entry == entry)
