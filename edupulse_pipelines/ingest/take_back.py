"""Taking one enrolment back by command: for an entry date that was typed wrong and that no file takes back itself.

It stays out of effect until a later delivery says it again, as every record that is taken back. Assumed enrolments
follow from what is recorded; they cannot be taken back.
"""

from __future__ import annotations

import datetime as dt

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


def take_back_enrolment(
    work: Work, number: str, entry: dt.date, school: str | None, reason: str, today: dt.date
) -> None:
    """Take back the enrolment of the student with this number, from this entry on, at this school (None: without one).

    `reason` is kept with the enrolment, and nowhere else. PermanentError when there is no such enrolment that stands.
    """
    with work.writing() as connection:
        take_turn(connection, work, ["enrollments", "students"])
        table = enrollments.c
        found = connection.execute(
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
        if found is None:
            raise PermanentError(
                "There is no such enrolment that stands: look for student, entry date and school in the table "
                "enrollments. (An assumed one is mended by sending the entry date.)"
            )
        said = found.delivered_on if found.origin != STUDENT else _last_said(connection, found.student_id, entry)
        # After every delivery that has said it so far.
        deleted_on = max(today, said + dt.timedelta(days=1))
        connection.execute(
            sa.update(enrollments).where(table.id == found.id).values(deleted_on=deleted_on, taken_back_for=reason)
        )
        marks = Marks(work, Students.of(connection, work))
        student = str(found.student_id) if work.dialect == "postgresql" else found.student_id.hex
        mark_entry(marks, student, entry)
        bring_up_to_date(connection, work, marks, [student])
        marks.write(connection)


def _last_said(connection: Connection, student: object, entry: dt.date) -> dt.date:
    """The newest delivery of students that named this entry."""
    table = enrollment_statements.c
    rows = connection.execute(
        sa.select(table.said, table.first_delivered_on, table.delivered_on).where(table.student_id == student)
    )
    return max(one.newest for one in (Statement(*row) for row in rows) if one.entry == entry)
