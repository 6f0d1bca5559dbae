"""Of whom retention has taken the rows of a table away, and up to which day: kept in `retention_removals`.

Such rows are left out of what is landed again (`ingest.erased_rows`), and nothing is computed of that time any more
(`features`, `risk.scoring`). What retention takes away, and when, is decided in `governance.retention`.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Mapping

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.schema.sqlalchemy_tables import retention_removals as table
from edupulse_pipelines.schema.sqlalchemy_tables import students
from edupulse_pipelines.storage.bulk import DAY, ID, Bytes, as_text, days, id_batches, read_arrays
from edupulse_pipelines.storage.numbers import joined_numbers
from edupulse_pipelines.storage.work import Work

Removed = Mapping[str, Mapping[str, dt.date]]
"""By table and student's number the day up to which rows are gone."""


def removed_numbers(connection: Connection, work: Work) -> dict[str, dict[str, dt.date]]:
    """Every number under which rows of a table are gone, those of joined children included (`Removed`)."""
    query = sa.select(table.c.table_name, students.c.district_id, table.c.through).join(
        students, sa.and_(students.c.tenant_id == table.c.tenant_id, students.c.id == table.c.student_id)
    )
    removed: dict[str, dict[str, dt.date]] = {}
    for name, number, through in connection.execute(query.where(table.c.tenant_id == work.tenant)):
        removed.setdefault(name, {})[number] = through
    for old, new in joined_numbers(connection, work).items() if removed else ():
        for of_table in removed.values():
            if new in of_table:
                of_table[old] = max(of_table[new], of_table.get(old, of_table[new]))
    return removed


def removed_through(connection: Connection, work: Work, tables: Collection[str]) -> tuple[Bytes, np.ndarray]:
    """The students of whom rows of one of these tables are gone, sorted, and for each the last day up to which.

    Ids as the database's text, shape (students,); days as `numpy.datetime64`, the same shape.
    """
    through = sa.func.max(table.c.through)
    query = sa.select(as_text(table.c.student_id), as_text(through)).where(
        table.c.tenant_id == work.tenant, table.c.table_name.in_(sorted(tables))
    )
    ids, text = read_arrays(connection, query.group_by(table.c.student_id), ID, DAY)
    order = np.argsort(ids)
    return ids[order], days(text[order])


def begin_removal(connection: Connection, work: Work, name: str, ids: Iterable[uuid.UUID], through: dt.date) -> None:
    """From now on rows of the table `name` of these students, dated up to a day, are left out and computed no more."""
    same = {"tenant_id": work.tenant, "table_name": name, "through": through}
    for batch in id_batches(list(ids)):
        connection.execute(table.delete().where(_of(work, name, batch)))
        connection.execute(table.insert(), [{"student_id": one, **same} for one in batch])


def drop_unfinished(connection: Connection, work: Work, name: str, but: Collection[uuid.UUID]) -> None:
    """Forget what was begun of other students than these, and never done: their rows are not to go any more."""
    mine = (table.c.tenant_id == work.tenant, table.c.table_name == name, table.c.removed_at.is_(None))
    others = set(connection.scalars(sa.select(table.c.student_id).where(*mine))) - set(but)
    for batch in id_batches(sorted(others)):
        connection.execute(table.delete().where(_of(work, name, batch)))


def end_removal(connection: Connection, work: Work, name: str, ids: Collection[uuid.UUID], moment: dt.datetime) -> None:
    """The rows are gone."""
    for batch in id_batches(list(ids)):
        connection.execute(table.update().where(_of(work, name, batch)).values(removed_at=moment))


def removed_before(connection: Connection, work: Work, name: str) -> set[uuid.UUID]:
    """The students of whom rows of the table have been taken away to the end."""
    query = sa.select(table.c.student_id).where(
        table.c.tenant_id == work.tenant, table.c.table_name == name, table.c.removed_at.is_not(None)
    )
    return set(connection.scalars(query))


def _of(work: Work, name: str, ids: Collection[uuid.UUID]) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.tenant_id == work.tenant, table.c.table_name == name, table.c.student_id.in_(ids))
