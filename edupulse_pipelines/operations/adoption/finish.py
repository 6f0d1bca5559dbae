"""Dropping the tables of version 1.0, once every row is accounted for here and a backup has the database as it is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.operations.adoption import accounts
from edupulse_pipelines.operations.adoption.conditions import moved_counts
from edupulse_pipelines.schema.tables import TABLES
from edupulse_pipelines.storage import changes
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines.storage.version_1 import (
    ADOPTED,
    OLD_TABLES,
    adopted_for,
    drop_old_tables,
    moved_tables,
    old_name,
    refuse_version_1,
    views_of_old_tables,
)

_FEATURES = "student_features"
LastBackup = Callable[[], dt.datetime | None]
"""When the newest whole backup was begun; None without any."""


@dataclass(frozen=True)
class Finished:
    """What was dropped: rows by table of version 1.0; `left`: other tables that had been moved and stay."""

    tenant: str
    rows: dict[str, int]
    left: list[str]


def finish(database: Database, last_backup: LastBackup) -> Finished:
    """Drop the old tables. PermanentError without equal counts and a backup from after the adoption."""
    with database.unchecked_work() as work:
        with work.reading() as connection:
            _, adopted_at = _state(connection)
        newest = last_backup()
        if newest is None or newest < dt.datetime.fromisoformat(adopted_at):
            raise PermanentError(
                f"There is no backup from after the adoption ({adopted_at}): make one first (`edupulse backup "
                "create`), as the old tables are gone for good after this. Nothing was dropped."
            )
        with work.writing() as connection:
            tenant, _ = _state(connection)
            rows = moved_counts(connection)
            _refuse_unequal_counts(connection, rows)
            _refuse_referred(connection)
            return Finished(tenant, rows, drop_old_tables(connection))


def _state(connection: Connection) -> tuple[str, str]:
    """The tenant, and when the adoption was over."""
    refuse_version_1(connection)
    state = adopted_for(connection) if ADOPTED in moved_tables(connection) else None
    if state is None or state.adopted_at is None:
        raise PermanentError("There are no tables of version 1.0 here, so that there is nothing to finish.")
    return state.tenant, state.adopted_at


def _refuse_unequal_counts(connection: Connection, rows: dict[str, int]) -> None:
    """PermanentError unless each old table is as it was read, and all that was kept of it is here, or was."""
    found = accounts.report(connection)
    for table, count in rows.items():
        if not found[table].balanced or found[table].read != count:
            raise PermanentError(
                f"{table} of version 1.0 has {count:,} rows, and {found[table].read:,} are accounted for: they are not "
                "equal. Nothing was dropped."
            )
        if table == _FEATURES:
            continue
        there = _here_or_gone_on_record(connection, table)
        if there < found[table].kept:
            raise PermanentError(
                f"{found[table].kept:,} rows of {table} of version 1.0 were kept, and {there:,} of them are here, or "
                "went in a change that is on record: they are not equal. Nothing was dropped."
            )


def _here_or_gone_on_record(connection: Connection, table: str) -> int:
    """How many rows of an old table are here, or were: what was taken back, corrected or taken out since is no loss.

    A change that removes a row keeps an image of it; months that were taken out are
    counted by their entries.
    """
    dialect = connection.dialect.name
    same = f"n.id = {_own_id(dialect)}"
    partition = TABLES[table].partition_by_month
    if partition is not None:
        same += f' AND n."{partition}" = o."{partition}"'
    gone = (
        f"i.table_name = '{table}' AND i.row_key = CAST({_own_id(dialect)} AS text)"
        f" AND NOT EXISTS (SELECT 1 FROM {table} n WHERE {same})"
    )
    there = 0
    for rest in (f"JOIN {table} n ON {same}", f"JOIN {changes.images.name} i ON {gone}"):
        query = f"SELECT count(DISTINCT o.id) FROM {old_name(dialect, table)} o {rest}"
        there += int(connection.exec_driver_sql(query).scalar_one())
    sign = sa.case((changes.entries.c.operation == "detach", 1), else_=-1)
    taken_out = connection.scalar(
        sa.select(sa.func.sum(sign * changes.entries.c.rows)).where(
            changes.entries.c.table_name == table, changes.entries.c.operation.in_(("detach", "attach"))
        )
    )
    return there + max(0, int(taken_out or 0))


def _own_id(dialect: str) -> str:
    return "o.id" if dialect == "postgresql" else "lower(replace(o.id, '-', ''))"


def _refuse_referred(connection: Connection) -> None:
    """PermanentError while another table refers to an old one, or a view reads one."""
    dialect = connection.dialect.name
    going = {old_name(dialect, table).replace('"', "") for table in OLD_TABLES}
    if dialect == "sqlite":
        query = (
            "SELECT t.name FROM sqlite_master t JOIN pragma_foreign_key_list(t.name) k"
            " WHERE t.type = 'table' AND lower(k.\"table\") = :old"
        )
    else:
        query = (
            "SELECT CAST(coalesce(pg_partition_root(conrelid), CAST(conrelid AS regclass)) AS text) FROM pg_constraint"
            " WHERE contype = 'f' AND conparentid = 0 AND confrelid = CAST(:old AS regclass)"
        )
    referring = {name for old in going for name in connection.scalars(sa.text(query), {"old": old})} - going
    if referring:
        raise PermanentError(
            f"{min(referring)} refers to a table of version 1.0: drop the reference, or the table, first. Nothing was "
            "dropped."
        )
    if reading := views_of_old_tables(connection, moved=True):
        raise PermanentError(
            f"{reading[0]} reads a table of version 1.0: drop that view, or have it read another table, first. Nothing "
            "was dropped."
        )
