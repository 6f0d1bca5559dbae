"""The monthly partitions of attendance on PostgreSQL, for who loads rows: which there are, made, built apart.

A month is named by its first day. On SQLite there are no partitions: nothing is made, and nothing is found.

What changes partitions are functions in the database that work as the owner of the tables (`schema.objects.months`):
the role that loads rows needs no right to make tables. This module calls them and decides when; who waits for whom is
in `turns`. Upkeep, and taking a month out for archiving, are in `operations.partitions`.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.schema.tables import TABLES
from edupulse_pipelines.storage.changes import SentRows
from edupulse_pipelines.storage.turns import give_way, may_replace_months
from edupulse_pipelines.storage.work import Work

PARTITIONED: dict[str, str] = {
    table.name: table.partition_by_month for table in TABLES.values() if table.partition_by_month is not None
}
"""The partitioned tables and the date column by whose months they are."""

REPLACING_SECONDS = 30.0
"""How long to try to put a built month in the place of an empty one; then its rows are inserted there, more slowly."""
_BOUND = re.compile(r"FROM \('(\d{4}-\d\d-01)'\) TO")


@dataclass(frozen=True)
class Partition:
    """A month and the table that holds it."""

    name: str
    month: dt.date


@dataclass(frozen=True)
class StoredMonth:
    """What a month takes. `rows` is the server's estimate; one that is not `attached` stands alone, unseen."""

    month: dt.date
    name: str
    rows: int
    bytes: int
    attached: bool


def month_of(day: dt.date) -> dt.date:
    """The first day of the day's month."""
    return day.replace(day=1)


def next_month(month: dt.date) -> dt.date:
    """The first day of the month after."""
    return (month.replace(day=28) + dt.timedelta(days=4)).replace(day=1)


def partition_name(table: str, month: dt.date) -> str:
    """The table that holds the month."""
    return f"{table}_y{month.year:04d}m{month.month:02d}"


def is_partitioned(connection: Connection) -> bool:
    """Whether this database partitions tables at all."""
    return connection.dialect.name == "postgresql"


def partitions(connection: Connection, table: str) -> dict[dt.date, Partition]:
    """The attached partitions of `table` by month, the default one left out; empty on SQLite. Locks nothing."""
    if not is_partitioned(connection):
        return {}
    attached = {}
    for name, bound in connection.execute(
        sa.text(
            "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i"
            " JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = CAST(:table AS regclass)"
        ),
        {"table": table},
    ):
        if first := _BOUND.search(bound or ""):
            month = dt.date.fromisoformat(first.group(1))
            attached[month] = Partition(name, month)
    return attached


def detached_months(connection: Connection, table: str) -> dict[dt.date, Partition]:
    """The months whose tables stand alone (`detach_month`); while one stands, no row of its month is loaded."""
    if not is_partitioned(connection):
        return {}
    names = connection.scalars(
        sa.text(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND NOT relispartition AND relname ~ :named"
            " AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = CAST(:table AS regclass))"
        ),
        {"table": table, "named": rf"^{table}_y\d{{4}}m(0[1-9]|1[0-2])$"},
    )
    months = {dt.date(int(name[-7:-3]), int(name[-2:]), 1): name for name in names}
    return {month: Partition(name, month) for month, name in months.items()}


def stored_months(connection: Connection, table: str) -> list[StoredMonth]:
    """Every month of `table`, oldest first, the detached ones among them."""
    attached = partitions(connection, table)
    months = []
    for month, partition in sorted({**detached_months(connection, table), **attached}.items()):
        rows, size = connection.execute(
            sa.text(
                # The table's own figure is there once it has been indexed or analysed, the statistics' a second later.
                "SELECT greatest(c.reltuples, pg_stat_get_live_tuples(c.oid), 0), pg_total_relation_size(c.oid)"
                " FROM pg_class c WHERE c.oid = CAST(:name AS regclass)"
            ),
            {"name": partition.name},
        ).one()
        months.append(StoredMonth(month, partition.name, int(rows), int(size), month in attached))
    return months


def default_months(connection: Connection, table: str, *, own: bool = False) -> dict[str, int]:
    """Rows in the default partition by month as `2026-03`, of every tenant, or the transaction's `own`.

    Empty on SQLite. Only numbers of rows: who writes rows is told them of other districts too, because a month is made
    for all of them.
    """
    if not is_partitioned(connection):
        return {}
    query = sa.text("SELECT month, rows FROM edupulse_month_unclaimed(:table, :own)")
    return {name: int(count) for name, count in connection.execute(query, {"table": table, "own": own})}


def default_rows(connection: Connection, table: str) -> int:
    """Rows that no month's partition claims."""
    return sum(default_months(connection, table).values())


# Making months


def ensure_months(work: Work, table: str, months: Iterable[dt.date]) -> list[str]:
    """Make the months' partitions that are missing, each in a transaction of its own; the names of those made.

    Rows of such a month that lie in the default partition are moved. A detached month is left alone. DatabaseBusy when
    the table is in use for an hour.
    """
    moved = {month: make_month(work, table, month) for month in missing_months(work, table, map(month_of, months))}
    return [partition_name(table, month) for month, rows in moved.items() if rows is not None]


def missing_months(work: Work, table: str, months: Iterable[dt.date]) -> list[dt.date]:
    """The months without a table, attached or detached, oldest first; none on SQLite."""
    wanted = set(months)
    with work.reading() as connection:
        if not wanted or not is_partitioned(connection):
            return []
        return sorted(wanted - partitions(connection, table).keys() - detached_months(connection, table).keys())


def make_month(work: Work, table: str, month: dt.date) -> int | None:
    """Make a month, with the rows that lie in the default partition; how many. None when it is there meanwhile."""
    with work.writing() as connection:

        def make() -> int | None:
            if month in partitions(connection, table) or month in detached_months(connection, table):
                return None
            moved: int | None = _call(connection, "edupulse_month_make", table, month)
            return moved

        return give_way(connection, table, make)


# Building a month apart


def bulk_months(connection: Connection, table: str, rows: dict[dt.date, int], at_least: int) -> list[dt.date]:
    """The months of `rows` (rows to come by month) that are worth building apart: many rows, and none there yet."""
    if not is_partitioned(connection):
        return []
    there, detached = partitions(connection, table), detached_months(connection, table)
    many = sorted(month for month, count in rows.items() if count >= at_least and month not in detached)
    replaceable = _replaceable(connection, there, many)
    return [month for month in many if month in replaceable or month not in there]


def start_bulk(connection: Connection, table: str) -> str:
    """A table like `table` without indexes, keys and partitions, to be filled by COPY and ended by `finish_bulk`."""
    name: str = _call(connection, "edupulse_month_start", table)
    return name


def account_for(connection: Connection, sent: SentRows, name: str) -> None:
    """Put on record what was sent to a table of `start_bulk`; DatabaseRefused and the like where it holds other rows.

    Without this, and where the rows were not in order, the server hashes them itself when the month is attached.
    """
    if sent.content is not None:
        connection.execute(sa.select(sa.func.edupulse_audit_built(sent.table, name, sent.rows, sent.content)))


def finish_bulk(connection: Connection, table: str, loaded: dict[dt.date, str]) -> None:
    """Index the filled tables (by month) and make them partitions, in place of empty ones.

    Where another load has filled the month meanwhile, or the empty one is in use, the rows are inserted there instead.
    """
    if not loaded:
        return
    for month, name in loaded.items():
        _call(connection, "edupulse_month_end", table, name, month)
    replacing_until = time.monotonic() + REPLACING_SECONDS

    def place() -> None:
        there = partitions(connection, table)
        replaceable = _replaceable(connection, there, loaded) if time.monotonic() < replacing_until else set()
        connection.execute(
            sa.text(
                "SELECT edupulse_month_place(:table, CAST(:names AS text[]), CAST(:months AS date[]),"
                " CAST(:replaceable AS date[]))"
            ),
            {
                "table": table,
                "names": list(loaded.values()),
                "months": list(loaded),
                "replaceable": sorted(replaceable),
            },
        )

    give_way(connection, table, place)


def _replaceable(connection: Connection, there: dict[dt.date, Partition], months: Iterable[dt.date]) -> set[dt.date]:
    """The months whose partitions are empty and whose place this transaction may take."""
    empty = {month for month in months if month in there and _is_untouched(connection, there[month].name)}
    return empty if empty and may_replace_months(connection) else set()


def _is_untouched(connection: Connection, name: str) -> bool:
    """Whether nobody, not even a transaction under way, has written into the table. Locks nothing."""
    size = sa.text("SELECT pg_relation_size(CAST(:name AS regclass))")
    return connection.scalar(size, {"name": name}) == 0


def _call(connection: Connection, function: str, *arguments: str | dt.date) -> Any:
    """What one of the functions of `schema.objects.months` answers."""
    return connection.scalar(sa.select(getattr(sa.func, function)(*arguments)))
