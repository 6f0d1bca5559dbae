"""The upkeep of monthly partitions: made ahead of need, the default one emptied, months taken out for archiving.

`maintain` is work of every week: the role that loads rows may do it. Taking a month out (`detach_month`) and bringing
it back (`attach_month`) change what the pipelines see, and are for the owner of the tables. On SQLite there are no
partitions and nothing to keep. How a load makes and builds its months is in `storage.months`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.storage.engine import is_busy, is_gone
from edupulse_pipelines.storage.months import (
    PARTITIONED,
    Partition,
    default_months,
    default_rows,
    detached_months,
    ensure_months,
    is_partitioned,
    make_month,
    missing_months,
    month_of,
    next_month,
    partition_name,
    partitions,
    start_bulk,
)
from edupulse_pipelines.storage.pending import leave_marks_of_rows
from edupulse_pipelines.storage.turns import give_way, wait_for_loads
from edupulse_pipelines.storage.work import Work

MONTHS_AHEAD = 2
OLDEST_MONTH = dt.date(1970, 1, 1)
"""Rows dated before are errors of typing: maintenance makes no partition for them and leaves the alert standing."""


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


def months_ahead(today: dt.date, ahead: int = MONTHS_AHEAD) -> list[dt.date]:
    """The current month and the `ahead` following ones."""
    months = [month_of(today)]
    for _ in range(ahead):
        months.append(next_month(months[-1]))
    return months


# Making months ahead


def move_default(work: Work, table: str, today: dt.date) -> dict[dt.date, int]:
    """Move what lies in the default partition into months of its own; rows moved by month.

    Left are rows dated before `OLDEST_MONTH` or later than the months made ahead, and those of detached months.
    """
    moved = {month: make_month(work, table, month) for month in _to_move(work, table, today)}
    return {month: rows for month, rows in moved.items() if rows is not None}


def _to_move(work: Work, table: str, today: dt.date) -> dict[dt.date, int]:
    """The months that lie in the default partition and are to have a partition of their own, with their rows."""
    with work.reading() as connection:
        held = default_months(connection, table)
    last = months_ahead(today)[-1]
    # Compared as text: rows may be dated where Python has no dates.
    plausible = [month for month in held if len(month) == 7 and f"{OLDEST_MONTH:%Y-%m}" <= month <= f"{last:%Y-%m}"]
    months = {dt.date.fromisoformat(f"{month}-01"): held[month] for month in plausible}
    return {month: months[month] for month in missing_months(work, table, months)}


def planned(work: Work, today: dt.date) -> dict[str, Maintenance]:
    """What `maintain` would do; nothing is changed."""
    done = {}
    for table in PARTITIONED:
        with work.reading() as connection:
            if not is_partitioned(connection):
                return {}
            rows = default_rows(connection, table)
        moved = _to_move(work, table, today)
        made = [*moved, *(month for month in missing_months(work, table, months_ahead(today)) if month not in moved)]
        names = [partition_name(table, month) for month in made]
        done[table] = Maintenance(names, moved, rows - sum(moved.values()))
    return done


def maintain(work: Work, today: dt.date) -> dict[str, Maintenance]:
    """Make this month and the following ones of every partitioned table, and empty the default partitions.

    Nothing on SQLite. DatabaseBusy when the tables are in use for an hour; what has been done by then stays.
    """
    with work.reading() as connection:
        if not is_partitioned(connection):
            return {}
    done = {}
    for table in PARTITIONED:
        moved = move_default(work, table, today)
        made = [partition_name(table, month) for month in moved] + ensure_months(work, table, months_ahead(today))
        with work.reading() as connection:
            done[table] = Maintenance(made, moved, default_rows(connection, table))
    return done


# Taking a month out, and bringing it back


def detach_month(work: Work, table: str, month: dt.date) -> Partition:
    """Take a month out of the table, for archiving; the table that now stands alone. PermanentError if there is none.

    It waits for loads that are under way. The pipelines no longer see the rows; what was computed from them (weekly
    activity, features, predictions) stays. While the table stands, even emptied, rows of its month that are delivered
    go to quarantine (`detached_month`) and the month is not made again: so dump it, then truncate it. Once it is
    dropped, the month is like one that never was. A grade or an incident of that month that is corrected later has
    its week computed without attendance, until the month is brought back and the weekly job has run.
    """
    month = month_of(month)
    with work.writing() as connection:
        _demand_owner(connection, table)

        def detach() -> Partition:
            wait_for_loads(connection)
            if month in detached_months(connection, table):
                raise PermanentError(f"{month:%Y-%m} is detached already: table {partition_name(table, month)}.")
            partition = partitions(connection, table).get(month)
            if partition is None:
                raise PermanentError(f"{table} has no partition for {month:%Y-%m}; nothing to detach.")
            _lock(connection, table, [partition.name], "SHARE ROW EXCLUSIVE")
            connection.exec_driver_sql(f"ALTER TABLE {table} DETACH PARTITION {partition.name}")
            _on_record(connection, table, partition.name, "detach")
            return partition

        return give_way(connection, table, detach)


def attach_month(work: Work, table: str, month: dt.date) -> Partition:
    """Bring back a month that was detached. Its rows are checked again: their dates, keys, students and values.

    A table restored from its dump, or detached before a migration, is copied into one that is as months are today. The
    weeks of the month are marked, so that the next weekly job puts right what was computed without it. PermanentError
    when there is no such table, or it does not fit; then nothing has changed. DatabaseBusy and DatabaseUnavailable as
    everywhere.
    """
    month = month_of(month)
    with work.writing() as connection:
        _demand_owner(connection, table)
        try:
            return _bring_back(connection, table, month)
        except sa.exc.DBAPIError as error:
            reason = getattr(getattr(error.orig, "diag", None), "message_primary", None)
            if reason is None or is_busy(error) or is_gone(error):
                raise  # nothing is wrong with the month
            # The primary message names columns and constraints; the details, which name values, are left out.
            raise PermanentError(
                f"{partition_name(table, month)} cannot be attached: {reason}. Nothing was changed."
            ) from None


def _bring_back(connection: Connection, table: str, month: dt.date) -> Partition:
    partition = _detached(connection, table, month)
    # What takes long, before the locks.
    if _is_like(connection, table, partition.name):
        copied = None
        connection.execute(sa.select(sa.func.edupulse_month_bound(table, partition.name, month)))
    else:
        copied = _copy_like(connection, table, partition.name)
        connection.execute(sa.select(sa.func.edupulse_month_finish(table, copied, month)))
    leave_marks_of_rows(connection, partition.name, PARTITIONED[table])

    def attach() -> Partition:
        wait_for_loads(connection)
        _detached(connection, table, month)
        # The table's own foreign key is adopted or dropped, which takes more than making one.
        _lock(connection, table, [], "ACCESS EXCLUSIVE")
        if copied is not None:
            connection.exec_driver_sql(f"DROP TABLE {partition.name}")
            connection.execute(sa.select(sa.func.edupulse_month_rename(copied, partition.name)))
        _on_record(connection, table, partition.name, "attach")
        connection.execute(sa.select(sa.func.edupulse_month_take(table, partition.name, month)))
        connection.execute(sa.select(sa.func.edupulse_month_attach(table, partition.name, month)))
        return partition

    return give_way(connection, table, attach)


def _on_record(connection: Connection, table: str, name: str, operation: str) -> None:
    """Put on record that a month leaves the table or comes back: its rows by what wrote them, and their hash."""
    connection.execute(sa.select(sa.func.edupulse_audit_moved(table, name, operation)))


def _detached(connection: Connection, table: str, month: dt.date) -> Partition:
    """The month's table that stands alone; PermanentError when there is none."""
    if month in partitions(connection, table):
        raise PermanentError(f"{month:%Y-%m} is attached already.")
    partition = detached_months(connection, table).get(month)
    if partition is None:
        raise PermanentError(
            f"There is no table {partition_name(table, month)} to attach; restore it from its dump first."
        )
    return partition


def _demand_owner(connection: Connection, table: str) -> None:
    if not is_partitioned(connection):
        raise PermanentError(f"{table} is one table on SQLite; there are no months to detach or attach.")
    owner, role, owns = connection.execute(
        sa.text(
            "SELECT pg_get_userbyid(relowner), current_user, pg_has_role(relowner, 'USAGE')"
            " FROM pg_class WHERE oid = CAST(:table AS regclass)"
        ),
        {"table": table},
    ).one()
    if not owns:
        raise PermanentError(
            f"Only the owner of {table} (role {owner}) may take a month out or bring it back, not {role}."
        )


def _lock(connection: Connection, table: str, taken: list[str], referred_mode: str) -> None:
    """Take every lock for attaching a month, or for taking the partitions `taken` away, in the order of all others."""
    connection.execute(
        sa.text("SELECT edupulse_month_locks(:table, CAST(:taken AS text[]), :mode)"),
        {"table": table, "taken": taken, "mode": referred_mode},
    )


def _copy_like(connection: Connection, table: str, name: str) -> str:
    """A copy of a table with the columns and checks of `table`. A column that it lacks gets its default."""
    its_columns = _columns(connection, name)
    columns = ", ".join(column for column in _columns(connection, table) if column in its_columns)
    copied = start_bulk(connection, table)
    # Its rows keep the change that wrote them; those from before changes were on record are of change 0.
    connection.execute(sa.select(sa.func.edupulse_audit_release(copied)))
    connection.exec_driver_sql(f"ALTER TABLE {copied} ALTER COLUMN change_id SET DEFAULT 0")
    connection.exec_driver_sql(f"INSERT INTO {copied} ({columns}) SELECT {columns} FROM {name}")
    return copied


def _columns(connection: Connection, table: str) -> list[str]:
    listed: str = connection.execute(sa.select(sa.func.edupulse_month_columns(table))).scalar_one()
    return listed.split(", ")


def _is_like(connection: Connection, table: str, name: str) -> bool:
    """Whether a table has the columns and checks of `table`, in the server's own words (attaching wants them equal)."""
    columns = sa.text(
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute"
        " WHERE attrelid = CAST(:table AS regclass) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    )
    checks = sa.text(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = CAST(:table AS regclass) AND contype = 'c' ORDER BY conname"
    )
    wanted, present = (
        (connection.execute(columns, {"table": owner}).all(), connection.execute(checks, {"table": owner}).all())
        for owner in (table, name)
    )
    return wanted == present
