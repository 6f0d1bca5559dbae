"""The monthly partitions of attendance on PostgreSQL: made ahead of need, built in bulk, detached and brought back.

A month is named by its first day. On SQLite there are no partitions: nothing is made, and nothing is found.

To attach a month, PostgreSQL wants the default partition to itself and keeps writers of `students` out; to take one
away, it wants the whole table. All these locks are taken before anything else is done, tried for half a second each,
given back together and tried again. Two who change partitions at once take turns, and nobody waits for a lock while
holding one that another load may want: a load leaves the default partition alone while it works, unless it writes
there, and then it attaches nothing.
"""

from __future__ import annotations

import datetime as dt
import random
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from edupulse_pipelines.errors import DatabaseBusy, PermanentError
from edupulse_pipelines.schema.tables import TABLES
from edupulse_pipelines.storage.engine import writing
from edupulse_pipelines.storage.pending import leave_marks_of_rows

PARTITIONED: dict[str, str] = {
    table.name: table.partition_by_month for table in TABLES.values() if table.partition_by_month is not None
}
"""The partitioned tables and the date column by whose months they are."""

MONTHS_AHEAD = 2
OLDEST_MONTH = dt.date(1970, 1, 1)
"""Rows dated before are errors of typing: maintenance makes no partition for them and leaves the alert standing."""
_CHANGING = "edupulse partitions"
_IN_USE = "edupulse partitions in use"
_REPLACING = "edupulse partitions replaced"
_LOCK_TIMEOUT = "500ms"
"""Shorter than PostgreSQL's `deadlock_timeout` (1 s): we give way before anybody is made to."""
_PATIENCE_SECONDS = 3600.0
"""A load or a dump that is under way may need the default partition for as long as it takes."""
_REPLACING_SECONDS = 30.0
"""How long to try to put a built month in the place of an empty one; then its rows are inserted there, more slowly."""
_GIVE_WAY = {"55P03", "40P01"}  # lock_not_available, deadlock_detected
_BOUND = re.compile(r"FROM \('(\d{4}-\d\d-01)'\) TO")
_Result = TypeVar("_Result")


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


@dataclass(frozen=True)
class Maintenance:
    """What maintenance did to a table: partitions made, rows moved out of the default one by month, rows left there."""

    made: list[str] = field(default_factory=list)
    moved: dict[dt.date, int] = field(default_factory=dict)
    left: int = 0

    @property
    def in_words(self) -> str:
        """What was done, and what is left."""
        made, moved = len(self.made), sum(self.moved.values())
        parts = [f"{made} partition{'' if made == 1 else 's'} made"]
        parts += [f"{moved:,} row{'' if moved == 1 else 's'} moved out of the default partition"] if moved else []
        parts += [f"{self.left:,} row{'' if self.left == 1 else 's'} left there"] if self.left else []
        return ", ".join(parts)


def month_of(day: dt.date) -> dt.date:
    """The first day of the day's month."""
    return day.replace(day=1)


def next_month(month: dt.date) -> dt.date:
    """The first day of the month after."""
    return (month.replace(day=28) + dt.timedelta(days=4)).replace(day=1)


def months_ahead(today: dt.date, ahead: int = MONTHS_AHEAD) -> list[dt.date]:
    """The current month and the `ahead` following ones."""
    months = [month_of(today)]
    for _ in range(ahead):
        months.append(next_month(months[-1]))
    return months


def partition_name(table: str, month: dt.date) -> str:
    """The table that holds the month."""
    return f"{table}_y{month.year:04d}m{month.month:02d}"


# What there is


def is_partitioned(connection: Connection) -> bool:
    """Whether this database partitions tables at all."""
    return connection.dialect.name == "postgresql"


def partitions(connection: Connection, table: str) -> dict[dt.date, Partition]:
    """The attached partitions of `table` by month, the default one left out; empty on SQLite. Locks nothing."""
    if not is_partitioned(connection):
        return {}
    found = {}
    for name, bound in connection.execute(
        sa.text(
            "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i"
            " JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = CAST(:table AS regclass)"
        ),
        {"table": table},
    ):
        if first := _BOUND.search(bound or ""):
            month = dt.date.fromisoformat(first.group(1))
            found[month] = Partition(name, month)
    return found


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
    found = []
    for month, partition in sorted({**detached_months(connection, table), **attached}.items()):
        rows, size = connection.execute(
            sa.text(
                # The table's own figure is there once it has been indexed or analysed, the statistics' a second later.
                "SELECT greatest(c.reltuples, pg_stat_get_live_tuples(c.oid), 0), pg_total_relation_size(c.oid)"
                " FROM pg_class c WHERE c.oid = CAST(:name AS regclass)"
            ),
            {"name": partition.name},
        ).one()
        found.append(StoredMonth(month, partition.name, int(rows), int(size), month in attached))
    return found


def default_months(connection: Connection, table: str, tenant: str | None = None) -> dict[str, int]:
    """Rows (of one tenant) that no month's partition claims, by month as `2026-03`; empty on SQLite."""
    if not is_partitioned(connection):
        return {}
    month = f"to_char({PARTITIONED[table]}, 'YYYY-MM')"
    only = "" if tenant is None else " WHERE tenant_id = :tenant"
    query = sa.text(f"SELECT {month}, count(*) FROM {table}_default{only} GROUP BY 1 ORDER BY 1")
    return {name: int(count) for name, count in connection.execute(query, {"tenant": tenant} if only else {})}


def default_rows(connection: Connection, table: str) -> int:
    """Rows that no month's partition claims."""
    return sum(default_months(connection, table).values())


# Making months


def ensure_months(engine: Engine, table: str, months: Iterable[dt.date]) -> list[str]:
    """Make the months' partitions that are missing, each in a transaction of its own; the names of those made.

    Rows of such a month that lie in the default partition are moved. A detached month is left alone.
    """
    made = {month: _make(engine, table, month) for month in _missing(engine, table, map(month_of, months))}
    return [partition_name(table, month) for month, moved in made.items() if moved is not None]


def move_default(engine: Engine, table: str, today: dt.date) -> dict[dt.date, int]:
    """Move what lies in the default partition into months of its own; rows moved by month.

    Left are rows dated before `OLDEST_MONTH` or later than the months made ahead, and those of detached months.
    """
    with engine.connect() as connection:
        if not is_partitioned(connection):
            return {}
        column = PARTITIONED[table]
        months = connection.scalars(
            sa.text(
                f"SELECT DISTINCT CAST(date_trunc('month', {column}) AS date) FROM {table}_default"
                f" WHERE {column} >= :oldest AND {column} < :end"
            ),
            {"oldest": OLDEST_MONTH, "end": next_month(months_ahead(today)[-1])},
        ).all()
    moved = {month: _make(engine, table, month) for month in _missing(engine, table, months)}
    return {month: rows for month, rows in moved.items() if rows is not None}


def maintain(engine: Engine, today: dt.date) -> dict[str, Maintenance]:
    """Make this month and the following ones of every partitioned table, and empty the default partitions.

    Nothing on SQLite. EduPulseError when the tables are in use for an hour; what has been done by then stays.
    """
    with engine.connect() as connection:
        if not is_partitioned(connection):
            return {}
    done = {}
    for table in PARTITIONED:
        moved = move_default(engine, table, today)
        made = [partition_name(table, month) for month in moved] + ensure_months(engine, table, months_ahead(today))
        with engine.connect() as connection:
            done[table] = Maintenance(made, moved, default_rows(connection, table))
    return done


def _missing(engine: Engine, table: str, months: Iterable[dt.date]) -> list[dt.date]:
    """The months without a table, attached or detached, oldest first."""
    wanted = set(months)
    with engine.connect() as connection:
        if not wanted or not is_partitioned(connection):
            return []
        return sorted(wanted - partitions(connection, table).keys() - detached_months(connection, table).keys())


def _make(engine: Engine, table: str, month: dt.date) -> int | None:
    """Make a month, with the rows that lie in the default partition; how many. None when it is there meanwhile."""
    with writing(engine) as connection:

        def make() -> int | None:
            if month in partitions(connection, table) or month in detached_months(connection, table):
                return None
            # Made apart and attached: CREATE … PARTITION OF would wait for every reader of the whole table.
            _lock(connection, table)
            name = partition_name(table, month)
            _create_like(connection, table, name)
            moved = _take_from_default(connection, table, name, month)
            _finish(connection, table, name, month)
            _attach(connection, table, name, month)
            return moved

        return _give_way(connection, table, make)


# Taking a month out, and bringing it back


def detach_month(engine: Engine, table: str, month: dt.date) -> Partition:
    """Take a month out of the table, for archiving; the table that now stands alone. EduPulseError if there is none.

    It waits for loads that are under way. The pipelines no longer see the rows; what was computed from them (weekly
    activity, features, predictions) stays. While the table stands, even emptied, rows of its month that are delivered
    go to quarantine (`detached_month`) and the month is not made again: so dump it, then truncate it. Once it is
    dropped, the month is like one that never was. A grade or an incident of that month that is corrected later has
    its week computed without attendance, until the month is brought back and the weekly job has run.
    """
    month = month_of(month)
    with writing(engine) as connection:
        _demand_partitions(connection, table)

        def detach() -> Partition:
            _lock_use(connection)
            if month in detached_months(connection, table):
                raise PermanentError(f"{month:%Y-%m} is detached already: table {partition_name(table, month)}.")
            partition = partitions(connection, table).get(month)
            if partition is None:
                raise PermanentError(f"{table} has no partition for {month:%Y-%m}; nothing to detach.")
            _lock(connection, table, partition.name)
            connection.exec_driver_sql(f"ALTER TABLE {table} DETACH PARTITION {partition.name}")
            return partition

        return _give_way(connection, table, detach)


def attach_month(engine: Engine, table: str, month: dt.date) -> Partition:
    """Bring back a month that was detached. Its rows are checked again: their dates, keys, students and values.

    A table restored from its dump, or detached before a migration, is copied into one that is as months are today. The
    weeks of the month are marked, so that the next weekly job puts right what was computed without it. EduPulseError
    when there is no such table, or it does not fit; then nothing has changed.
    """
    month = month_of(month)
    with writing(engine) as connection:
        _demand_partitions(connection, table)
        try:
            return _bring_back(connection, table, month)
        except sa.exc.DBAPIError as error:
            said = getattr(getattr(error.orig, "diag", None), "message_primary", None)
            if said is None:
                raise
            # The primary message names columns and constraints; the details, which name values, are left out.
            raise PermanentError(
                f"{partition_name(table, month)} cannot be attached: {said}. Nothing was changed."
            ) from None


def _bring_back(connection: Connection, table: str, month: dt.date) -> Partition:
    partition = _detached(connection, table, month)
    # What takes long, before the locks.
    if _is_like(connection, table, partition.name):
        copied = None
        _bound(connection, table, partition.name, month)
    else:
        copied = _copy_like(connection, table, partition.name)
        _finish(connection, table, copied, month)
    leave_marks_of_rows(connection, partition.name, PARTITIONED[table])

    def attach() -> Partition:
        _lock_use(connection)
        _detached(connection, table, month)
        # The table's own foreign key is adopted or dropped, which takes more than making one.
        _lock(connection, table, referred_mode="ACCESS EXCLUSIVE")
        if copied is not None:
            connection.exec_driver_sql(f"DROP TABLE {partition.name}")
            _rename(connection, copied, partition.name)
        _take_from_default(connection, table, partition.name, month)
        _attach(connection, table, partition.name, month)
        return partition

    return _give_way(connection, table, attach)


def _detached(connection: Connection, table: str, month: dt.date) -> Partition:
    """The month's table that stands alone; EduPulseError when there is none."""
    if month in partitions(connection, table):
        raise PermanentError(f"{month:%Y-%m} is attached already.")
    partition = detached_months(connection, table).get(month)
    if partition is None:
        raise PermanentError(
            f"There is no table {partition_name(table, month)} to attach; restore it from its dump first."
        )
    return partition


def _demand_partitions(connection: Connection, table: str) -> None:
    if not is_partitioned(connection):
        raise PermanentError(f"{table} is one table on SQLite; there are no months to detach or attach.")


# Loading by month


def hold_months(connection: Connection) -> None:
    """Until the transaction ends, nobody detaches a month or brings one back; a load that goes by months needs that."""
    if is_partitioned(connection):
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock_shared(_key(_IN_USE))))


def hold_default(connection: Connection, table: str) -> None:
    """Until the transaction ends, nobody attaches a month; a load that writes into the default partition needs that.

    Such a load must not attach any month itself: two of them would wait for each other.
    """
    if is_partitioned(connection):
        connection.exec_driver_sql(f"LOCK TABLE ONLY {table}_default IN ROW EXCLUSIVE MODE")


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
    name = f"{table}_load_{uuid.uuid4().hex[:8]}"
    _create_like(connection, table, name)
    return name


def finish_bulk(connection: Connection, table: str, loaded: dict[dt.date, str]) -> None:
    """Index the filled tables (by month) and make them partitions, in place of empty ones.

    Where another load has filled the month meanwhile, or the empty one is in use, the rows are inserted there instead.
    """
    if not loaded:
        return
    for month, name in loaded.items():
        _finish(connection, table, name, month)
    replacing_until = time.monotonic() + _REPLACING_SECONDS

    def attach() -> None:
        there = partitions(connection, table)
        replaced = _replaceable(connection, there, loaded) if time.monotonic() < replacing_until else set()
        if replaced or loaded.keys() - there.keys():
            _lock(connection, table, *(there[month].name for month in sorted(replaced)))
        for month, name in loaded.items():
            # Asked again: now nobody can have written into it since.
            if month in replaced and _is_untouched(connection, there[month].name):
                connection.exec_driver_sql(f"DROP TABLE {there[month].name}")
            elif month in there:
                columns = ", ".join(_columns(connection, table))
                connection.exec_driver_sql(f"INSERT INTO {there[month].name} ({columns}) SELECT {columns} FROM {name}")
                connection.exec_driver_sql(f"DROP TABLE {name}")
                continue
            final = partition_name(table, month)
            _rename(connection, name, final)
            _take_from_default(connection, table, final, month)
            _attach(connection, table, final, month)

    _give_way(connection, table, attach)


def _replaceable(connection: Connection, there: dict[dt.date, Partition], months: Iterable[dt.date]) -> set[dt.date]:
    """The months whose partitions are empty and whose place this transaction may take.

    One transaction at a time: that needs the whole table, and each load that builds a month apart keeps a lock on it,
    because it has read the table's definition; two who both wanted it would wait for each other.
    """
    empty = {month for month in months if month in there and _is_untouched(connection, there[month].name)}
    if empty and connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_key(_REPLACING)))):
        return empty
    return set()


def _is_untouched(connection: Connection, name: str) -> bool:
    """Whether nobody, not even a transaction under way, has written into the table. Locks nothing."""
    size = sa.text("SELECT pg_relation_size(CAST(:name AS regclass))")
    return connection.scalar(size, {"name": name}) == 0


# A table that is fit for a month


def _create_like(connection: Connection, table: str, name: str) -> None:
    connection.exec_driver_sql(
        f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)"
    )


def _is_like(connection: Connection, table: str, name: str) -> bool:
    """Whether a table has the columns and checks of `table`, in the server's own words (attaching wants them equal)."""
    columns = sa.text(
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute"
        " WHERE attrelid = CAST(:table AS regclass) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    )
    ours, theirs = (
        (connection.execute(columns, {"table": each}).all(), _constraints(connection, each, "c"))
        for each in (table, name)
    )
    return ours == theirs


def _copy_like(connection: Connection, table: str, name: str) -> str:
    """A copy of a table with the columns and checks of `table`. A column that it lacks gets its default."""
    theirs = set(_columns(connection, name))
    columns = ", ".join(column for column in _columns(connection, table) if column in theirs)
    copied = start_bulk(connection, table)
    connection.exec_driver_sql(f"INSERT INTO {copied} ({columns}) SELECT {columns} FROM {name}")
    return copied


def _finish(connection: Connection, table: str, name: str, month: dt.date) -> None:
    """Give a table all that takes long and needs nobody's lock: bounds, key and indexes; then ATTACH scans nothing."""
    # More memory and the second core for sorting: this transaction only.
    connection.exec_driver_sql("SET LOCAL maintenance_work_mem = '256MB'")
    _bound(connection, table, name, month)
    for _, key in _constraints(connection, table, "p"):
        connection.exec_driver_sql(f"ALTER TABLE {name} ADD {key}")
    for definition in connection.scalars(
        sa.text(
            "SELECT pg_get_indexdef(x.indexrelid) FROM pg_index x"
            " WHERE x.indrelid = CAST(:table AS regclass) AND NOT x.indisprimary ORDER BY x.indexrelid"
        ),
        {"table": table},
    ).all():
        # Without a name: PostgreSQL finds one that is free, as for the indexes of a partition that it makes itself.
        head, _, rest = definition.partition(" ON ")
        kind = "UNIQUE INDEX" if head.startswith("CREATE UNIQUE") else "INDEX"
        connection.exec_driver_sql(f"CREATE {kind} ON {name} {rest[rest.index('USING') :]}".replace("%", "%%"))


def _bound(connection: Connection, table: str, name: str, month: dt.date) -> None:
    connection.exec_driver_sql(f"ALTER TABLE {name} ADD CONSTRAINT ck_month CHECK ({_within(table, month)})")


def _attach(connection: Connection, table: str, name: str, month: dt.date) -> None:
    """Make a finished table a partition, under the locks of `_lock`.

    Without a foreign key of its own: ATTACH makes it and looks every row up. To adopt one that is there, it would want
    the other table to itself, and loads read `students` from beginning to end.
    """
    connection.exec_driver_sql(
        f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{month}') TO ('{next_month(month)}')"
    )
    connection.exec_driver_sql(f"ALTER TABLE {name} DROP CONSTRAINT IF EXISTS ck_month")


def _take_from_default(connection: Connection, table: str, name: str, month: dt.date) -> int:
    """Move the month's rows from the default partition, which otherwise forbids attaching it; how many."""
    columns = ", ".join(_columns(connection, table))
    return connection.exec_driver_sql(
        f"WITH taken AS (DELETE FROM {table}_default WHERE {_within(table, month)} RETURNING {columns})"
        f" INSERT INTO {name} ({columns}) SELECT {columns} FROM taken"
    ).rowcount


def _rename(connection: Connection, name: str, final: str) -> None:
    """Give a table its name, and its indexes names that go with it where these are free."""
    connection.exec_driver_sql(f"ALTER TABLE {name} RENAME TO {final}")
    for index in connection.scalars(
        sa.text(
            "SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid"
            " WHERE x.indrelid = CAST(:table AS regclass)"
        ),
        {"table": final},
    ).all():
        wanted = index.replace(name, final)
        if connection.scalar(sa.text("SELECT to_regclass(:name) IS NULL"), {"name": wanted}):
            connection.exec_driver_sql(f"ALTER INDEX {index} RENAME TO {wanted}")


def _constraints(connection: Connection, table: str, kind: str) -> list[tuple[str, str]]:
    """Name and definition of a table's constraints of a kind: `c` checks, `p` the primary key."""
    return [
        (name, rule)
        for name, rule in connection.execute(
            sa.text(
                "SELECT quote_ident(conname), pg_get_constraintdef(oid) FROM pg_constraint"
                " WHERE conrelid = CAST(:table AS regclass) AND contype = :kind ORDER BY conname"
            ),
            {"table": table, "kind": kind},
        )
    ]


def _columns(connection: Connection, table: str) -> list[str]:
    return list(
        connection.scalars(
            sa.text(
                "SELECT quote_ident(attname) FROM pg_attribute"
                " WHERE attrelid = CAST(:table AS regclass) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
            ),
            {"table": table},
        )
    )


def _within(table: str, month: dt.date) -> str:
    column = PARTITIONED[table]
    return f"{column} >= DATE '{month}' AND {column} < DATE '{next_month(month)}'"


# Taking turns


def _key(name: str) -> sa.Function[int]:
    return sa.func.hashtextextended(name, 0)


def _lock(connection: Connection, table: str, *taken: str, referred_mode: str = "SHARE ROW EXCLUSIVE") -> None:
    """Take every lock that attaching a month needs; also those for taking these partitions away."""
    referred = connection.scalars(
        sa.text(
            "SELECT DISTINCT CAST(CAST(confrelid AS regclass) AS text) FROM pg_constraint"
            " WHERE conrelid = CAST(:table AS regclass) AND contype = 'f' ORDER BY 1"
        ),
        {"table": table},
    ).all()
    for other in referred:
        connection.exec_driver_sql(f"LOCK TABLE ONLY {other} IN {referred_mode} MODE")
    connection.exec_driver_sql(f"LOCK TABLE ONLY {table}_default IN ACCESS EXCLUSIVE MODE")
    mode = "ACCESS EXCLUSIVE" if taken else "SHARE UPDATE EXCLUSIVE"
    connection.exec_driver_sql(f"LOCK TABLE ONLY {table} IN {mode} MODE")
    for name in taken:
        connection.exec_driver_sql(f"LOCK TABLE ONLY {name} IN ACCESS EXCLUSIVE MODE")


def _lock_use(connection: Connection) -> None:
    """Wait for the loads that go by months (`hold_months`)."""
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_key(_IN_USE))))


def _give_way(connection: Connection, table: str, action: Callable[[], _Result]) -> _Result:
    """Do `action` while no one else changes partitions; on a lock that is not free give everything back and retry."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            with connection.begin_nested(), _impatient(connection):
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_key(_CHANGING))))
                return action()
        except sa.exc.OperationalError as error:
            original: Any = error.orig
            if getattr(original, "pgcode", None) not in _GIVE_WAY:
                raise
            if time.monotonic() > deadline:
                raise DatabaseBusy(
                    f"{table} has been in use for {_PATIENCE_SECONDS / 60:.0f} minutes without a pause, so that no "
                    "month could be attached or detached. See who uses it (pg_stat_activity), and try again."
                ) from None
            time.sleep(random.uniform(0.05, 0.5))


@contextmanager
def _impatient(connection: Connection) -> Iterator[None]:
    before = connection.exec_driver_sql("SHOW lock_timeout").scalar()
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
    yield
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{before}'")
