"""What has to hold before a database of version 1.0 is adopted; asked before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.storage.sql_names import quoted
from edupulse_pipelines.storage.version_1 import (
    OLD_TABLES,
    STUDENTS,
    adopted_for,
    columns_of,
    differences_from_version_1,
    is_version_1,
    old_name,
    other_schemas,
    refuse_what_is_in_the_way,
)

_ENCODINGS = {"UTF8"}
_ROWS_AT_ONCE = 5_000


def refuse_what_is_no_version_1(connection: Connection) -> None:
    """PermanentError unless this is a whole database of version 1.0, whose tables can be, and have not been, moved."""
    if not is_version_1(connection):
        _refuse_what_is_adopted(connection)
        if elsewhere := other_schemas(connection):
            raise PermanentError(
                f"There is no table `{STUDENTS}` of version 1.0 where this connection looks for tables, but one in the "
                f"schema {elsewhere[0]}: have the role look there first (ALTER ROLE … SET search_path TO "
                f"{elsewhere[0]}, public). Nothing was changed."
            )
        raise PermanentError(
            "This is no database of version 1.0: it has no table `students` without `tenant_id`. Nothing was changed."
        )
    lacking = differences_from_version_1(connection)
    if lacking:
        shown = ", ".join(lacking[:5]) + (f" and {len(lacking) - 5} more" if len(lacking) > 5 else "")
        raise PermanentError(
            f"This is a database of version 1.0 in name only: it lacks {shown}. An earlier version (0.9) has to be "
            "brought to 1.0 first, by the statements of its documentation. Nothing was changed."
        )
    refuse_what_is_in_the_way(connection)
    _refuse_who_may_not(connection)
    _refuse_foreign_encoding(connection)
    _refuse_other_ids(connection)


def _refuse_what_is_adopted(connection: Connection) -> None:
    """PermanentError for a database whose old tables have been moved: another process adopts it, or has done so."""
    state = adopted_for(connection)
    if state is None:
        return
    if state.adopted_at is None:
        raise PermanentError(
            f"This database of version 1.0 is being adopted for {state.tenant} by another process, which began at "
            f"{state.begun_at}. Wait until that has ended; the command goes on from there if it was stopped."
        )
    raise PermanentError(
        f"This database of version 1.0 has been adopted for {state.tenant}: nothing is left to do but `edupulse db "
        "adopt --finish`, which drops the old tables."
    )


def refuse_another_tenant(connection: Connection, tenant: str) -> None:
    """PermanentError when the old tables are, or were, adopted for another district."""
    state = adopted_for(connection)
    if state is not None and state.tenant != tenant:
        raise PermanentError(
            f"This database of version 1.0 is adopted for {state.tenant}: one of version 1.0 is one district's, and "
            f"cannot hold students of {tenant} as well. Run the command with --tenant {state.tenant}."
        )


def _refuse_who_may_not(connection: Connection) -> None:
    """PermanentError for a role of PostgreSQL that the old tables do not belong to, or that may make no schema."""
    if connection.dialect.name != "postgresql":
        return
    query = sa.text(
        "SELECT c.relname, CAST(CAST(c.relowner AS regrole) AS text), current_user FROM pg_class c"
        " LEFT JOIN pg_class whole ON whole.oid = pg_partition_root(c.oid)"
        " WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND c.relkind IN ('r', 'p')"
        " AND coalesce(whole.relname, c.relname) = ANY(:names) AND NOT pg_has_role(c.relowner, 'USAGE') ORDER BY 1"
    )
    if found := connection.execute(query, {"names": list(OLD_TABLES)}).first():
        table, owner, role = found
        raise PermanentError(
            f"{table} belongs to the role {owner}, and only its owner may move it: this is {role}. As an administrator "
            f'run REASSIGN OWNED BY {owner} TO "{role}" (or ALTER TABLE … OWNER TO for each of them, where that owns '
            "other things as well); or adopt as the owner. Nothing was changed."
        )
    if not connection.scalar(sa.text("SELECT has_database_privilege(current_database(), 'CREATE')")):
        role = connection.scalar(sa.text("SELECT current_user"))
        raise PermanentError(
            f"The role {role} may make no schema in this database, where the old tables would go: GRANT CREATE ON "
            f'DATABASE … TO "{role}". Nothing was changed.'
        )


def _refuse_foreign_encoding(connection: Connection) -> None:
    """PermanentError for texts that are not UTF-8, which would be stored as something else without a word."""
    if connection.dialect.name == "postgresql":
        encoding = connection.scalar(sa.text("SHOW server_encoding"))
        if encoding not in _ENCODINGS:
            raise PermanentError(
                f"The encoding of this database is {encoding}, and EduPulse needs UTF8. Make a database with ENCODING "
                "'UTF8' TEMPLATE template0, restore a dump of this one there (pg_dump writes how it is encoded; of "
                "SQL_ASCII say it by --encoding), and adopt that one. Nothing was changed."
            )
        return
    for table, columns in OLD_TABLES.items():
        for column in columns:
            if wrong := sum(not _is_utf8(value) for value in _texts(connection, table, column)):
                raise PermanentError(
                    f"{table}.{column} holds texts that are not UTF-8, in {wrong:,} rows: something wrote them in "
                    "another encoding. Write them in UTF-8 first. Nothing was changed."
                )


def _texts(connection: Connection, table: str, column: str) -> Iterator[bytes]:
    name = quoted(column)
    query = f"SELECT CAST({name} AS BLOB) FROM {quoted(table)} WHERE typeof({name}) = 'text'"
    driver: Any = connection.connection.driver_connection
    cursor = driver.execute(query)
    while rows := cursor.fetchmany(_ROWS_AT_ONCE):
        yield from (value for (value,) in rows)


def _is_utf8(value: bytes) -> bool:
    if value.isascii():
        return True
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _refuse_other_ids(connection: Connection) -> None:
    """PermanentError for a table whose ids are no UUIDs, which could not be kept."""
    for table, columns in OLD_TABLES.items():
        if "id" not in columns or columns_of(connection, table)["id"] == "uuid":
            continue
        digits = "lower(replace(CAST(id AS text), '-', ''))"
        is_one = f"{digits} ~ '^[0-9a-f]{{32}}$'"
        if connection.dialect.name == "sqlite":
            is_one = f"length({digits}) = 32 AND {digits} NOT GLOB '*[^0-9a-f]*'"
        count = connection.exec_driver_sql(
            f"SELECT count(*) FROM {quoted(table)} WHERE id IS NULL OR NOT ({is_one})",
            execution_options={"no_parameters": True},
        ).scalar_one()
        if count:
            raise PermanentError(
                f"{table} has {count:,} rows whose id is no UUID, as version 1.0 has them, so that it cannot be kept. "
                "Nothing was changed."
            )


def moved_counts(connection: Connection) -> dict[str, int]:
    """The rows of each old table that has been moved."""
    dialect = connection.dialect.name
    return {
        table: int(connection.exec_driver_sql(f"SELECT count(*) FROM {old_name(dialect, table)}").scalar_one())
        for table in OLD_TABLES
    }
