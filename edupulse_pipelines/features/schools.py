"""At which school each student is on a day, as enrolments say it. Who is enrolled at all is decided in `enrolment`.

Only enrolments that are sent themselves name a school, and they hold as they were sent, so the rows are read as they
are. A student without one, or with one that names no school, has no known school: none is guessed.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.features.enrolment import preference
from edupulse_pipelines.schema.sqlalchemy_tables import enrollments, schools
from edupulse_pipelines.storage.work import Work


@dataclass(frozen=True)
class School:
    """A school by the district's number of it, which not every district has sent more of."""

    number: str
    name: str | None

    @property
    def title(self) -> str:
        """The name; where none is known, the number."""
        return self.name or f"School {self.number}"


def schools_on(connection: Connection, work: Work, day: dt.date) -> dict[uuid.UUID, School]:
    """The school of each student (by id) who is enrolled at a known one on the day.

    Of several schools the main one counts, before those of which nobody says whether they are; then the one that the
    student entered last, then the lowest number.
    """
    table = enrollments.c
    rows = connection.execute(
        sa.select(table.student_id, table.school_id, schools.c.name, table.is_primary, table.entry_date)
        .select_from(enrollments)
        .outerjoin(
            schools,
            sa.and_(
                schools.c.tenant_id == table.tenant_id,
                schools.c.school_id == table.school_id,
                schools.c.deleted_on.is_(None),
            ),
        )
        .where(
            table.tenant_id == work.tenant,
            table.deleted_on.is_(None),
            table.school_id.is_not(None),
            table.entry_date <= day,
            sa.or_(table.exit_date.is_(None), table.exit_date > day),
        )
    )
    found = rows.all()
    places = preference(np.array([is_primary for *_, is_primary, _entry in found], dtype=object))
    chosen: dict[uuid.UUID, tuple[tuple[int, int, str], School]] = {}
    for (student, number, name, _, entry), place in zip(found, places.tolist(), strict=True):
        order = (place, -entry.toordinal(), number)
        if student not in chosen or order < chosen[student][0]:
            chosen[student] = order, School(number, name)
    return {student: school for student, (_, school) in chosen.items()}
