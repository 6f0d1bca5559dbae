"""Students that were stored under a number with blanks around it, when these still counted as part of it.

Where no other student has the bare number the student gets it, and is found by it. Where one has, the two are records
of one child that a person has to join: they are counted here, and named by a check.
"""

from __future__ import annotations

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.schema.delivery import DELIVERED, STUDENT_NUMBER
from edupulse_pipelines.schema.sqlalchemy_tables import students
from edupulse_pipelines.sources.blanks import trimmed, trimmed_column
from edupulse_pipelines.storage.bulk import read_rows
from edupulse_pipelines.storage.work import Work


def names_students(table: str) -> bool:
    """Whether the records of a table are the students that other tables name by their numbers."""
    return DELIVERED[table].natural_key == (STUDENT_NUMBER,)


def settle_padded_numbers(connection: Connection, work: Work) -> None:
    """Give students with a padded number the bare one, where nobody has it; of several the one that came first."""
    stored = _numbers(connection, work)
    if trimmed_column(stored["number"]) is None:
        return
    taken = set(stored["number"].to_pylist())
    for number in stored["number"].to_pylist():
        bare = trimmed(number)
        if bare == number or not bare or bare in taken:
            continue
        taken.add(bare)
        padded = sa.and_(students.c.tenant_id == work.tenant, students.c.district_id == number)
        connection.execute(sa.update(students).where(padded).values(district_id=bare))


def count_padded_numbers(connection: Connection, work: Work) -> int:
    """Students whose number has blanks around it, or is nothing but blanks."""
    numbers = _numbers(connection, work)["number"].to_pylist()
    return sum(trimmed(number) != number for number in numbers)


def _numbers(connection: Connection, work: Work) -> pa.Table:
    query = (
        sa.select(students.c.district_id)
        .where(students.c.tenant_id == work.tenant)
        .order_by(students.c.created_at, students.c.id)
    )
    return read_rows(connection, query, {"number": pa.string()})
