"""What else a data engineer should know of a PostgreSQL server: its slow statements, and what it writes to its log."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.operations.upkeep.queries import extension_schema, query, rows_of, run
from edupulse_pipelines.storage.engine import driver_code

_NOT_LOADED = "55000"
"""What pg_stat_statements says where it was made and the server did not load it when it started."""


@dataclass(frozen=True)
class Statement:
    """A statement without its parameters, and the time it took since the server's counts were last reset."""

    statement: str
    role: str
    calls: int
    total_ms: float
    mean_ms: float
    longest_ms: float
    rows: int


@dataclass(frozen=True)
class LogSetting:
    """A setting that puts rows into the server's log: what it is and should be, what it writes, the line that mends."""

    name: str
    setting: str
    wanted: str
    writes: str
    line: str
    of_role: str | None = None


def log_settings(connection: Connection) -> list[LogSetting]:
    """The settings of the server that put rows into its log; none on SQLite, which has none."""
    if connection.dialect.name != "postgresql":
        return []
    return [LogSetting(**row) for row in rows_of(connection, "server_log")]


def slow_statements(connection: Connection, notes: list[str]) -> list[Statement] | None:
    """The statements that took most time; None where nobody counts them, and `notes` is told how to have it."""
    if connection.dialect.name != "postgresql":
        return None
    schema = extension_schema(connection, "pg_stat_statements")
    if schema is None:
        notes.append(
            "Statements are not timed: the extension pg_stat_statements is not made in this database. As a superuser: "
            "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'; restart the server; CREATE EXTENSION "
            "pg_stat_statements;"
        )
        return None
    text = query("slow_statements", "postgresql").replace(
        "FROM pg_stat_statements ", f"FROM {schema}.pg_stat_statements "
    )
    try:
        rows = run(connection, text)
    except sa.exc.DBAPIError as error:
        if driver_code(error) != _NOT_LOADED:
            raise
        notes.append(
            "Statements are not timed: the server does not load pg_stat_statements. As a superuser: ALTER SYSTEM SET "
            "shared_preload_libraries = 'pg_stat_statements'; and restart it."
        )
        return None
    if not connection.scalar(sa.text("SELECT pg_has_role('pg_read_all_stats', 'USAGE')")):
        role = connection.scalar(sa.text("SELECT quote_ident(current_user)"))
        notes.append(f"Only statements of {role} are shown. As a superuser: GRANT pg_read_all_stats TO {role};")
    return [
        Statement(
            row["statement"],
            row["role"],
            int(row["calls"]),
            float(row["total_ms"]),
            float(row["mean_ms"]),
            float(row["longest_ms"]),
            int(row["rows"]),
        )
        for row in rows
    ]
