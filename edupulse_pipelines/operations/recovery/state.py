"""What is in a database, as counts and hashes: two databases with equal states hold the same, to the last byte.

Of every table and every partition the rows and a hash of them all; sequences, the revision of the schema, its catalog
(columns, constraints, triggers, functions, policies), what partitions hold, who owns what and may what, roles and their
memberships, and the head of the record of changes. Nothing here quotes a value of a row.

On PostgreSQL the server hashes: of each row a SHA-256 of its binary form, of that two numbers of 64 bits, and these are
summed. So nothing is sorted or sent, several processes of the server share the work, and no setting that writes dates
or numbers differently matters. A row that is lost, changed or there twice changes the sums; where rows lie does not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.governance.audit_verify import head
from edupulse_pipelines.schema import migrations
from edupulse_pipelines.schema.catalogs import read_catalog
from edupulse_pipelines.storage.bulk import counted_hash_of_rows
from edupulse_pipelines.storage.engine import database_error_in_words
from edupulse_pipelines.storage.sql_names import quoted


@dataclass(frozen=True)
class TableContents:
    """How many rows a table or a partition has, and the hash of them."""

    rows: int
    hash: str


@dataclass(frozen=True)
class State:
    """What was found. sequences: by name the last number given out. definitions: by `kind name` how it is defined.

    left_out: what else is in the database and was not looked into, by name and with why. seconds: what counting and
    hashing took.
    """

    tables: dict[str, TableContents]
    sequences: dict[str, int]
    revision: str | None
    definitions: dict[str, str]
    audit_head: str | None
    left_out: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(contents.rows for contents in self.tables.values())


def read_state(connection: Connection, sequences: dict[str, int] | None = None) -> State:
    """The state of the database as the connection's transaction sees it (`Work.reading(steady=True)`).

    Its role has to see every row: the owner of the tables, or one that passes the policies. Tables that are not its own
    are left out, and named; PermanentError where all are. Those of version 1.0 are in it for as long as they are kept.
    sequences: as they were noted, where others may have taken numbers since; a transaction does not hold them still.
    """
    began = time.monotonic()
    tables = dict(_contents(connection))
    if not tables:
        # Two of these would be equal, and nothing would be proven.
        raise PermanentError(
            "This role owns no table in the schema that it looks into (its search_path): ask as the owner."
        )
    seconds = time.monotonic() - began
    found = head(connection)
    on_sqlite = connection.dialect.name == "sqlite"
    return State(
        tables,
        read_sequences(connection) if sequences is None else sequences,
        migrations.current(connection),
        read_catalog(connection) | ({} if on_sqlite else dict(_definitions(connection))),
        str(found) if found else None,
        () if on_sqlite else tuple(connection.exec_driver_sql(_LEFT_OUT).scalars()),
        seconds,
    )


def _contents(connection: Connection) -> Iterator[tuple[str, TableContents]]:
    if connection.dialect.name == "sqlite":
        names = connection.exec_driver_sql(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
        )
        for (name,) in names.all():
            with _naming(name):
                contents = _contents_on_sqlite(connection, name)
            yield name, contents
        return
    for name, identifier in connection.exec_driver_sql(_TABLES).all():
        with _naming(name):
            rows, *sums = connection.exec_driver_sql(_SUMS.format(table=identifier.replace("%", "%%"))).one()
        yield name, TableContents(rows, " ".join(str(one) for one in sums))


@contextmanager
def _naming(table: str) -> Iterator[None]:
    """PermanentError, which names the table, where its rows cannot be read; a connection that is lost stays one."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated:
            raise
        raise PermanentError(f"{table} cannot be read to its end: {database_error_in_words(error)}") from None


def _contents_on_sqlite(connection: Connection, name: str) -> TableContents:
    info = connection.exec_driver_sql(f"PRAGMA table_info({quoted(name)})").all()
    key = ", ".join(str(column[0] + 1) for column in sorted(info, key=lambda column: column[5]) if column[5])
    return TableContents(*counted_hash_of_rows(connection, f"SELECT * FROM {quoted(name)} ORDER BY {key or 'rowid'}"))


def read_sequences(connection: Connection) -> dict[str, int]:
    """The last number that each sequence has given out; SQLite has none."""
    if connection.dialect.name == "sqlite":
        return {}
    found = {}
    for name, identifier in connection.exec_driver_sql(_SEQUENCES).all():
        last, called = connection.exec_driver_sql(f"SELECT last_value, is_called FROM {identifier}").one()
        found[name] = last if called else last - 1
    return found


def _definitions(connection: Connection) -> Iterator[tuple[str, str]]:
    """What the catalog of the schema leaves out: partitions, the policies of roles, rights, owners, and the roles."""
    for kind, name, definition in connection.exec_driver_sql(_BESIDE_THE_CATALOG):
        yield f"{kind} {name}", definition


_TABLES = """
SELECT CASE WHEN c.relnamespace = to_regnamespace('v1_0') THEN 'v1_0.' ELSE '' END || c.relname,
       CAST(c.oid AS regclass)::text
FROM pg_class c
WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p'
  AND c.relnamespace IN (CAST(current_schema() AS regnamespace), to_regnamespace('v1_0'))
  AND pg_has_role(c.relowner, 'USAGE')
ORDER BY 1
"""
# OFFSET 0 has the hash made once for both sums; servers go on sharing the work among processes.
_SUMS = """
SELECT count(*), sum(hashtextextended(hashed, 0)), sum(hashtextextended(hashed, 1))
FROM (SELECT encode(sha256(record_send(t.*)), 'hex') COLLATE "C" AS hashed FROM ONLY {table} t OFFSET 0) one
"""
_LEFT_OUT = """
SELECT CASE WHEN c.relkind = 'S' THEN 'sequence ' ELSE 'table ' END
       || CASE WHEN c.relnamespace = to_regnamespace('v1_0') THEN 'v1_0.' ELSE '' END || c.relname
       || CASE WHEN c.relpersistence = 'p' THEN ', which belongs to ' || CAST(c.relowner AS regrole)::text
               ELSE ', which is unlogged: no backup holds its rows' END
FROM pg_class c
WHERE c.relkind IN ('r', 'm', 'S') AND c.relpersistence <> 't'
  AND c.relnamespace IN (CAST(current_schema() AS regnamespace), to_regnamespace('v1_0'))
  AND (c.relpersistence = 'u' OR NOT pg_has_role(c.relowner, 'USAGE'))
UNION ALL
SELECT 'schema ' || n.nspname || ', tables in it: ' || count(*)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND n.oid NOT IN (CAST(current_schema() AS regnamespace),
                    coalesce(to_regnamespace('v1_0'), CAST(current_schema() AS regnamespace)))
GROUP BY n.nspname
ORDER BY 1
"""
_SEQUENCES = """
SELECT CASE WHEN relnamespace = to_regnamespace('v1_0') THEN 'v1_0.' ELSE '' END || relname, CAST(oid AS regclass)::text
FROM pg_class
WHERE relkind = 'S' AND relnamespace IN (CAST(current_schema() AS regnamespace), to_regnamespace('v1_0'))
  AND pg_has_role(relowner, 'USAGE')
ORDER BY 1
"""
_BESIDE_THE_CATALOG = """
SELECT 'partition', c.relname,
       pg_get_expr(c.relpartbound, c.oid) || ' of ' || CAST(i.inhparent AS regclass)::text
FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid
WHERE c.relispartition AND c.relkind IN ('r', 'p')
  AND c.relnamespace IN (CAST(current_schema() AS regnamespace), to_regnamespace('v1_0'))
UNION ALL
SELECT 'schema', 'ours', current_schema()::text
UNION ALL
SELECT 'access', CASE WHEN c.relnamespace = to_regnamespace('v1_0') THEN 'v1_0.' ELSE '' END || c.relname,
       concat_ws(' ', CAST(c.relowner AS regrole)::text, c.relrowsecurity, c.relforcerowsecurity,
                 CAST(c.relacl AS text))
FROM pg_class c
WHERE c.relkind IN ('r', 'p', 'S', 'v')
  AND c.relnamespace IN (CAST(current_schema() AS regnamespace), to_regnamespace('v1_0'))
UNION ALL
SELECT 'trigger', CAST(t.tgrelid AS regclass)::text || ' ' || t.tgname,
       concat_ws(' ', t.tgenabled, pg_get_triggerdef(t.oid))
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE NOT t.tgisinternal AND c.relnamespace IN (CAST(current_schema() AS regnamespace), to_regnamespace('v1_0'))
UNION ALL
SELECT 'policy', CAST(p.polrelid AS regclass)::text || ' ' || p.polname,
       concat_ws(' | ', p.polcmd, p.polpermissive, pg_get_expr(p.polqual, p.polrelid),
                 pg_get_expr(p.polwithcheck, p.polrelid),
                 (SELECT string_agg(coalesce(r.rolname, 'public'), ' ' ORDER BY r.rolname)
                  FROM unnest(p.polroles) one LEFT JOIN pg_roles r ON r.oid = one))
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
WHERE c.relnamespace IN (CAST(current_schema() AS regnamespace), to_regnamespace('v1_0'))
UNION ALL
SELECT 'role', r.rolname,
       concat_ws(' ', r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin, r.rolreplication,
                 r.rolbypassrls, r.rolconnlimit, r.rolvaliduntil,
                 (SELECT string_agg(CAST(m.roleid AS regrole)::text, ' ' ORDER BY CAST(m.roleid AS regrole)::text)
                  FROM pg_auth_members m WHERE m.member = r.oid))
FROM pg_roles r WHERE r.rolname NOT LIKE 'pg\\_%%'
"""
