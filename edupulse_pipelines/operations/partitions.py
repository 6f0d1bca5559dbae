"""The monthly partitions of attendance on PostgreSQL: made ahead of need, built in bulk, attached and detached.

A month is named by its first day. On SQLite there are no partitions, and every function here does nothing. Nobody
waits for a lock while holding one that another load may want: locks are tried, given back and tried again, so two
loads at once finish in some order and never deadlock.
"""

from __future__ import annotations

import datetime as dt
import random
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from edupulse_pipelines.database import writing
from edupulse_pipelines.schema.sqlalchemy_tables import metadata
from edupulse_pipelines.schema.tables import TABLES

PARTITIONED: dict[str, str] = {
    table.name: table.partition_by_month for table in TABLES.values() if table.partition_by_month is not None
}
"""The partitioned tables and the date column by whose months they are."""

MONTHS_AHEAD = 2
_LOCK = "edupulse partitions"
_LOCK_TIMEOUT = "500ms"
"""Shorter than PostgreSQL's `deadlock_timeout` (1 s): we give way before anybody is made to."""
_PATIENCE_SECONDS = 600.0
_LOCK_NOT_AVAILABLE = "55P03"


@dataclass(frozen=True)
class Partition:
    """An attached partition: its table and the months it holds, [first, end)."""

    name: str
    first: dt.date
    end: dt.date


def month_of(day: dt.date) -> dt.date:
    """The first day of the day's month."""
    return day.replace(day=1)


def next_month(month: dt.date) -> dt.date:
    """The first day of the month after."""
    return (month.replace(day=28) + dt.timedelta(days=4)).replace(day=1)


def partition_name(table: str, month: dt.date) -> str:
    """The table that holds the month."""
    return f"{table}_y{month.year:04d}m{month.month:02d}"


def partitions(connection: Connection, table: str) -> dict[dt.date, Partition]:
    """The attached partitions of `table` by month, the default one left out; empty on SQLite."""
    if connection.dialect.name != "postgresql":
        return {}
    rows = connection.execute(
        sa.text(
            "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) AS bound FROM pg_inherits i"
            " JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = CAST(:table AS regclass)"
        ),
        {"table": table},
    )
    found = {}
    for name, bound in rows:
        if bound == "DEFAULT":
            continue
        first, end = (dt.date.fromisoformat(text) for text in bound.split("'")[1:4:2])
        found[first] = Partition(name, first, end)
    return found


def ensure_months(engine: Engine, table: str, months: Iterable[dt.date]) -> list[str]:
    """Make the months' partitions that are missing, in a transaction of their own; the names of those made.

    RuntimeError when the default partition holds rows of such a month: they have to be moved first (`move_default`).
    """
    wanted = sorted({month_of(month) for month in months})
    if engine.dialect.name != "postgresql" or not wanted:
        return []
    with engine.connect() as connection:
        if not set(wanted) - _covered(connection, table, wanted):
            return []
    made: list[str] = []
    with writing(engine) as connection:

        def make() -> None:
            made.clear()
            for month in sorted(set(wanted) - _covered(connection, table, wanted)):
                name = partition_name(table, month)
                # Made apart and attached: CREATE … PARTITION OF would wait for every reader of the whole table.
                _create_like(connection, table, name)
                _finish(connection, table, name, month)
                _attach(connection, table, name, month)
                made.append(name)

        _under_lock(connection, make)
    return made


def months_ahead(today: dt.date, ahead: int = MONTHS_AHEAD) -> list[dt.date]:
    """The current month and the `ahead` following ones."""
    months = [month_of(today)]
    for _ in range(ahead):
        months.append(next_month(months[-1]))
    return months


def default_rows(connection: Connection, table: str) -> int:
    """Rows that no month's partition claims."""
    if connection.dialect.name != "postgresql":
        return 0
    return int(connection.scalar(sa.text(f"SELECT count(*) FROM {table}_default")) or 0)


def move_default(engine: Engine, table: str) -> dict[dt.date, int]:
    """Move what lies in the default partition into partitions of its own; rows moved by month."""
    if engine.dialect.name != "postgresql":
        return {}
    column = PARTITIONED[table]
    with writing(engine) as connection:
        moved: dict[dt.date, int] = {}

        def move() -> None:
            moved.clear()
            connection.exec_driver_sql(f"LOCK TABLE {table}_default IN ACCESS EXCLUSIVE MODE")
            counted = connection.exec_driver_sql(
                f"SELECT date_trunc('month', {column})::date, count(*) FROM {table}_default GROUP BY 1"
            ).all()
            for month, count in counted:
                name = partition_name(table, month)
                end = next_month(month)
                _create_like(connection, table, name)
                connection.exec_driver_sql(
                    f"WITH taken AS (DELETE FROM {table}_default"
                    f" WHERE {column} >= '{month}' AND {column} < '{end}' RETURNING *)"
                    f" INSERT INTO {name} SELECT * FROM taken"
                )
                _finish(connection, table, name, month)
                _attach(connection, table, name, month)
                moved[month] = count

        _under_lock(connection, move)
    return moved


def detach_month(engine: Engine, table: str, month: dt.date) -> str:
    """Take a month out of the table, for archiving; returns the name of the table that now stands alone.

    Its rows are no longer seen by the pipelines: dump the table, then drop it. `attach_month` brings it back. KeyError
    when the month has no partition.
    """
    with writing(engine) as connection:
        partition = partitions(connection, table)[month_of(month)]

        def detach() -> None:
            connection.exec_driver_sql(f"ALTER TABLE {table} DETACH PARTITION {partition.name}")

        _under_lock(connection, detach)
    return partition.name


def attach_month(engine: Engine, table: str, month: dt.date) -> None:
    """Bring back a month that was detached; everything PostgreSQL can check of its rows is checked again."""
    with writing(engine) as connection:
        name = partition_name(table, month_of(month))
        _under_lock(connection, lambda: _attach(connection, table, name, month_of(month)))


# Building a month in bulk


def bulk_months(connection: Connection, table: str, rows: dict[dt.date, int], at_least: int) -> list[dt.date]:
    """The months of `rows` (rows to come by month) that are worth building apart: many rows, and none there yet."""
    if connection.dialect.name != "postgresql":
        return []
    there = partitions(connection, table)
    worth = []
    for month, count in sorted(rows.items()):
        if count < at_least:
            continue
        partition = there.get(month)
        if partition is None or _is_empty(connection, partition.name):
            worth.append(month)
    return worth


def start_bulk(connection: Connection, table: str) -> str:
    """A table like `table` without indexes, keys and partitions, to be filled by COPY and ended by `finish_bulk`."""
    name = f"{table}_load_{uuid.uuid4().hex[:12]}"
    _create_like(connection, table, name)
    return name


def finish_bulk(connection: Connection, table: str, loaded: dict[dt.date, str]) -> None:
    """Index the filled tables (by month) and make them partitions, in place of empty ones.

    Where another load has filled the month meanwhile, the rows are moved into its partition instead.
    """
    if not loaded:
        return
    for month, name in loaded.items():
        _finish(connection, table, name, month)

    def attach() -> None:
        there = partitions(connection, table)
        for month, name in loaded.items():
            partition = there.get(month)
            if partition is not None:
                if not _claim_empty(connection, partition.name):
                    connection.exec_driver_sql(f"INSERT INTO {partition.name} SELECT * FROM {name}")
                    connection.exec_driver_sql(f"DROP TABLE {name}")
                    continue
                connection.exec_driver_sql(f"ALTER TABLE {table} DETACH PARTITION {partition.name}")
                connection.exec_driver_sql(f"DROP TABLE {partition.name}")
            final = partition_name(table, month)
            connection.exec_driver_sql(f"ALTER TABLE {name} RENAME TO {final}")
            for (index,) in connection.execute(
                sa.text(
                    "SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid"
                    " WHERE x.indrelid = CAST(:table AS regclass)"
                ),
                {"table": final},
            ).all():
                connection.exec_driver_sql(f"ALTER INDEX {index} RENAME TO {index.replace(name, final)[:63]}")
            _attach(connection, table, final, month)

    _under_lock(connection, attach)


def _create_like(connection: Connection, table: str, name: str) -> None:
    connection.exec_driver_sql(
        f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE"
        " INCLUDING COMMENTS)"
    )


def _finish(connection: Connection, table: str, name: str, month: dt.date) -> None:
    """Give a table all that makes it fit for `table`: bounds, keys, indexes. ATTACH then has nothing to scan for."""
    declared = metadata.tables[table]
    column = PARTITIONED[table]
    # More memory and the second core for sorting: this transaction only.
    connection.exec_driver_sql("SET LOCAL maintenance_work_mem = '256MB'")
    connection.exec_driver_sql(
        f"ALTER TABLE {name} ADD CONSTRAINT ck_month CHECK ({column} >= '{month}' AND {column} < '{next_month(month)}')"
    )
    key = ", ".join(part.name for part in declared.primary_key.columns)
    connection.exec_driver_sql(f"ALTER TABLE {name} ADD PRIMARY KEY ({key})")
    for number, (definition,) in enumerate(
        connection.execute(
            sa.text(
                "SELECT pg_get_indexdef(x.indexrelid) FROM pg_index x"
                " WHERE x.indrelid = CAST(:table AS regclass) AND NOT x.indisprimary ORDER BY x.indexrelid"
            ),
            {"table": table},
        ).all()
    ):
        head, _, rest = definition.partition(" ON ")
        unique = "UNIQUE " if "UNIQUE" in head else ""
        connection.exec_driver_sql(f"CREATE {unique}INDEX {name}_i{number} ON {name} {rest[rest.index('USING') :]}")
    for constraint in sorted(declared.foreign_key_constraints, key=lambda key: str(key.name)):
        columns = ", ".join(constraint.column_keys)
        target = constraint.referred_table
        references = ", ".join(element.column.name for element in constraint.elements)
        connection.exec_driver_sql(
            f"ALTER TABLE {name} ADD CONSTRAINT {constraint.name} FOREIGN KEY ({columns})"
            f" REFERENCES {target.name} ({references}) ON DELETE {constraint.ondelete}"
        )


def _attach(connection: Connection, table: str, name: str, month: dt.date) -> None:
    connection.exec_driver_sql(
        f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{month}') TO ('{next_month(month)}')"
    )
    connection.exec_driver_sql(f"ALTER TABLE {name} DROP CONSTRAINT IF EXISTS ck_month")


def _covered(connection: Connection, table: str, months: list[dt.date]) -> set[dt.date]:
    there = partitions(connection, table).values()
    return {month for month in months if any(part.first <= month < part.end for part in there)}


def _is_empty(connection: Connection, name: str) -> bool:
    return not connection.exec_driver_sql(f"SELECT EXISTS (SELECT 1 FROM {name})").scalar()


def _claim_empty(connection: Connection, name: str) -> bool:
    """Whether the partition is empty and nobody is writing into it; if so it is ours until the transaction ends."""
    if not _is_empty(connection, name):
        return False
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE NOWAIT")
            if not _is_empty(connection, name):
                raise _Filled
    except _Filled:
        return False
    except sa.exc.OperationalError as error:
        if _lock_not_available(error):
            return False
        raise
    return True


class _Filled(Exception):
    """Another load has filled the partition meanwhile."""


def _under_lock(connection: Connection, action: Callable[[], None]) -> None:
    """Do `action` while no one else changes partitions; on a lock that is not free give everything back and retry."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            with connection.begin_nested(), _impatient(connection):
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(_LOCK, 0))))
                action()
            return
        except sa.exc.OperationalError as error:
            if not _lock_not_available(error) or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.05, 0.5))


@contextmanager
def _impatient(connection: Connection) -> Iterator[None]:
    before = connection.exec_driver_sql("SHOW lock_timeout").scalar()
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
    yield
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{before}'")


def _lock_not_available(error: sa.exc.DBAPIError) -> bool:
    original: Any = error.orig
    return getattr(original, "pgcode", None) == _LOCK_NOT_AVAILABLE
