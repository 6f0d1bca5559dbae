"""The roles of PostgreSQL, made from the settings again and again with the same result (`edupulse db roles`).

Who may do what, in short: the owner owns everything and nobody logs in as it; the keeper logs in and becomes the owner
on request, to upgrade; the loader is the pipelines; an analyst and an auditor of each district read; the backup copies.
No password is made, taken or shown: `\\password` in psql sets one, or the server authenticates in another way.

`python -m edupulse_pipelines.governance.roles` writes `sql/security/`, the script for a district of the documentation.

Each statement here looks whether it is needed, so that everything may be repeated, by the keeper too: it may not make
roles, but finds nothing to make. What the connection's role may not do is handed back for somebody who may. What roles
may do with tables is `access`; the names are in `role_names`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.governance import access
from edupulse_pipelines.governance.access import literal
from edupulse_pipelines.governance.role_names import RoleNames
from edupulse_pipelines.schema.objects import tables_schema
from edupulse_pipelines.schema.objects.audit import SEQUENCE
from edupulse_pipelines.schema.objects.function_names import FUNCTION_NAMES
from edupulse_pipelines.schema.objects.guards import GUARDED
from edupulse_pipelines.storage.engine import INSUFFICIENT_PRIVILEGE, driver_code
from edupulse_pipelines.storage.sql_names import quoted
from edupulse_pipelines.storage.version_1 import is_version_1
from edupulse_pipelines.storage.work import Work

_WITHOUT_PARAMETERS = {"no_parameters": True}
_BACKUP_FUNCTIONS = (
    "pg_backup_start(text, boolean)",
    "pg_backup_stop(boolean)",
    "pg_switch_wal()",
    "pg_create_restore_point(text)",
)
_BACKUP_ROLES = ("pg_read_all_data", "pg_monitor", "pg_checkpoint")
_LOCK_SECONDS = 60
"""A policy is changed under a lock; who holds the table for longer is not waited for."""


@dataclass
class Made:
    """What was done: the roles there are now, how many statements about tables it took, and what is left to paste.

    former: roles of districts that are no longer in the settings; they stay until somebody drops them.
    left: statements that the connection's role may not run, each with the server's reason. has_tables: whether the
    tables were there to let the roles in to; `edupulse db upgrade` does it otherwise, and of version 1.0 `db adopt`.
    """

    roles: tuple[str, ...]
    changed: int = 0
    has_tables: bool = False
    left: list[tuple[str, str]] = field(default_factory=list)
    former: tuple[str, ...] = ()


def make_roles(work: Work, names: RoleNames) -> Made:
    """Make the roles, hand the tables to the owner, and let each role in to what is its own; in one transaction.

    PermanentError on SQLite, and where a role could become the owner that must not. DatabaseBusy when a table is in
    use.
    """
    if work.dialect != "postgresql":
        raise PermanentError(
            "A SQLite file has no roles: whoever may read the file may read every district in it. Districts that have"
            " to be kept apart need PostgreSQL."
        )
    made = Made((names.owner, *names.that_log_in))
    with work.writing() as connection:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
        schema = tables_schema(connection)
        for statement in administrators_statements(names, schema):
            try:
                with connection.begin_nested():
                    connection.exec_driver_sql(statement, execution_options=_WITHOUT_PARAMETERS)
            except sa.exc.DBAPIError as error:
                if driver_code(error) not in (INSUFFICIENT_PRIVILEGE, _NO_SUCH_ROLE):
                    raise
                made.left.append((statement, error.orig.diag.message_primary))  # type: ignore[union-attr]
        if trouble := access.memberships(connection, names):
            raise PermanentError(trouble[0])
        made.former = former_roles(connection, names)
        made.has_tables = access.roles_are_there(connection, names) and not is_version_1(connection)
        if made.has_tables:
            with as_owner(connection, names):
                made.changed = access.let_in(connection, names)
    return made


def former_roles(connection: Connection, names: RoleNames) -> tuple[str, ...]:
    """The analysts and auditors with our prefix whose district is not among the names, sorted."""
    query = sa.text(
        "SELECT rolname FROM pg_roles WHERE (starts_with(rolname, :analyst) OR starts_with(rolname, :auditor))"
        " AND NOT rolname = ANY(:wanted) ORDER BY rolname"
    )
    begins = {"analyst": names.analyst(""), "auditor": names.auditor("")}
    return tuple(connection.scalars(query, {**begins, "wanted": list(names.of_districts)}))


def dropping(role: str) -> str:
    """The statements that end a role; the first one in every database of the server where it has rights."""
    return f"DROP OWNED BY {quoted(role)}; DROP ROLE {quoted(role)};"


_NO_SUCH_ROLE = "42704"


class as_owner:
    """The statements of the block are the owner's; PermanentError where the connection may not become the owner."""

    def __init__(self, connection: Connection, names: RoleNames) -> None:
        self._connection = connection
        self._owner = names.owner

    def __enter__(self) -> None:
        self._before = self._connection.scalar(sa.text("SELECT quote_ident(current_user)"))
        try:
            self._connection.exec_driver_sql(f"SET LOCAL ROLE {quoted(self._owner)}")
        except sa.exc.DBAPIError as error:
            if driver_code(error) != INSUFFICIENT_PRIVILEGE:
                raise
            raise PermanentError(
                f"The role {self._before} may not become {self._owner}, which owns the tables. Connect as the keeper"
                " or as an administrator (EDUPULSE_KEEPER_URL)."
            ) from None

    def __exit__(self, *raised: object) -> None:
        if raised[0] is None:
            self._connection.exec_driver_sql(f"SET LOCAL ROLE {self._before}")


def script(names: RoleNames) -> str:
    """Everything `make_roles` does as one script for psql, for a database whose tables are in the schema `public`."""
    parts = [
        "-- The roles of EduPulse, what they may do with which table, and whose rows they see.",
        "-- Printed by `edupulse db roles --print`. As a superuser, as often as you like: psql -1 -f FILE",
        *(f"{statement};" for statement in administrators_statements(names, "public")),
        f"SET ROLE {quoted(names.owner)};",
        *(f"{statement};" for statement in access.statements(names)),
        "RESET ROLE;",
        "-- Nobody has a password yet: \\password NAME in psql, or a line in pg_hba.conf.",
    ]
    return "\n\n".join(parts) + "\n"


def administrators_statements(names: RoleNames, schema: str) -> Iterator[str]:
    """What needs more than the owner: roles, their attributes, what they may do here, whose the tables are."""
    yield from _attributes(names.owner, "NOLOGIN INHERIT")
    for role in (names.loader, *names.of_districts):
        yield from _attributes(role, "LOGIN INHERIT")
    yield from _attributes(names.keeper, "LOGIN NOINHERIT")
    yield from _attributes(names.backup, "LOGIN INHERIT", "REPLICATION BYPASSRLS")
    yield _member(names.owner, names.keeper)
    for role in names.that_log_in:
        yield _database_right(role, "CONNECT")
        yield _schema_right(role, schema, "USAGE")
    for role in (names.loader, names.owner):
        yield _database_right(role, "TEMPORARY")
    yield _database_right(names.owner, "CREATE")
    for right in ("USAGE", "CREATE"):
        yield _schema_right(names.owner, schema, right)
    yield _block(
        f"IF EXISTS (SELECT FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.oid = {_in(schema)} AND a.grantee = 0"
        " AND a.privilege_type = 'CREATE') THEN\n"
        f"    REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC;\nEND IF;"
    )
    yield _ownership(names.owner, schema)
    for role in _BACKUP_ROLES:
        yield _member(role, names.backup)
    for function in _BACKUP_FUNCTIONS:
        yield _block(
            f"IF NOT has_function_privilege({literal(names.backup)}, 'pg_catalog.{function}', 'EXECUTE') THEN\n"
            f"    GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {quoted(names.backup)};\nEND IF;"
        )


def _block(body: str) -> str:
    indented = "\n".join(f"    {line}" if line else line for line in body.splitlines())
    return f"DO $edupulse$\nBEGIN\n{indented}\nEND\n$edupulse$"


_ATTRIBUTES = {
    "LOGIN": "rolcanlogin",
    "INHERIT": "rolinherit",
    "CREATEDB": "rolcreatedb",
    "CREATEROLE": "rolcreaterole",
}
_SUPERUSERS_ATTRIBUTES = {"SUPERUSER": "rolsuper", "REPLICATION": "rolreplication", "BYPASSRLS": "rolbypassrls"}
"""Those that only a superuser gives and takes (from PostgreSQL 16 on also who has them)."""


def _attributes(role: str, words: str, superusers_words: str = "") -> Iterator[str]:
    """Make a role that is not there, and give it these attributes and take every other one.

    A role that is there and that somebody keeps from logging in (NOLOGIN) is left so.
    """
    yield _block(
        f"IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {literal(role)}) THEN\n"
        f"    CREATE ROLE {quoted(role)} {words};\nEND IF;"
    )
    lasting = {word: column for word, column in _ATTRIBUTES.items() if word != "LOGIN" or "NOLOGIN" in words.split()}
    for given, columns in ((words.split(), lasting), (superusers_words.split(), _SUPERUSERS_ATTRIBUTES)):
        as_wanted = " AND ".join(f"{'' if word in given else 'NOT '}{column}" for word, column in columns.items())
        wanted = " ".join(word if word in given else f"NO{word}" for word in columns)
        yield _block(
            f"IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {literal(role)} AND {as_wanted}) THEN\n"
            f"    ALTER ROLE {quoted(role)} {wanted};\nEND IF;"
        )


def _member(role: str, member: str) -> str:
    return _block(
        f"IF NOT EXISTS (SELECT FROM pg_auth_members WHERE roleid = CAST({literal(quoted(role))} AS regrole)"
        f" AND member = CAST({literal(quoted(member))} AS regrole)) THEN\n"
        f"    GRANT {quoted(role)} TO {quoted(member)};\nEND IF;"
    )


def _database_right(role: str, right: str) -> str:
    return _block(
        "IF NOT EXISTS (SELECT FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = current_database()"
        f" AND a.grantee = CAST({literal(quoted(role))} AS regrole) AND a.privilege_type = '{right}') THEN\n"
        f"    EXECUTE format('GRANT {right} ON DATABASE %I TO %I', current_database(), {literal(role)});\nEND IF;"
    )


def _schema_right(role: str, schema: str, right: str) -> str:
    return _block(
        f"IF NOT EXISTS (SELECT FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.oid = {_in(schema)}"
        f" AND a.grantee = CAST({literal(quoted(role))} AS regrole) AND a.privilege_type = '{right}') THEN\n"
        f"    GRANT {right} ON SCHEMA {schema} TO {quoted(role)};\nEND IF;"
    )


def _in(schema: str) -> str:
    return f"CAST({literal(schema)} AS regnamespace)"


def _ownership(owner: str, schema: str) -> str:
    """Hand our tables, with their partitions and months apart, our sequence and our functions to the owner."""
    tables = ", ".join(literal(name) for name in (*GUARDED, "alembic_version", SEQUENCE.name))
    functions = ", ".join(literal(name) for name in sorted(FUNCTION_NAMES))
    pattern = f"^({'|'.join(GUARDED)})_(default|y\\d{{4}}m\\d\\d|load_[0-9a-f]{{8}})$"
    return (
        "DO $edupulse$\nDECLARE\n    named text;\nBEGIN\n"
        "    FOR named IN\n        SELECT CAST(CAST(oid AS regclass) AS text) FROM pg_class\n"
        f"        WHERE relnamespace = {_in(schema)} AND relkind IN ('r', 'p', 'S')\n"
        f"          AND relowner <> CAST({literal(quoted(owner))} AS regrole)\n"
        f"          AND (relname IN ({tables})\n               OR relname ~ {literal(pattern)})\n"
        "    LOOP\n"
        f"        EXECUTE format('ALTER TABLE %s OWNER TO %I', named, {literal(owner)});\n    END LOOP;\n"
        "    FOR named IN\n        SELECT CAST(CAST(oid AS regprocedure) AS text) FROM pg_proc\n"
        f"        WHERE pronamespace = {_in(schema)} AND proowner <> CAST({literal(quoted(owner))} AS regrole)\n"
        f"          AND proname IN ({functions})\n"
        "    LOOP\n"
        f"        EXECUTE format('ALTER FUNCTION %s OWNER TO %I', named, {literal(owner)});\n    END LOOP;\n"
        "END\n$edupulse$"
    )


EXAMPLE = RoleNames("edupulse", ("springfield",))
"""The roles of `sql/security/roles.postgresql.sql`: what anybody can read without a database or settings."""

if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("sql/security")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "roles.postgresql.sql").write_text(script(EXAMPLE), encoding="utf-8")
