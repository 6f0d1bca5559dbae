"""Bringing a database to this version's schema, and telling whether it is there (Alembic underneath).

`upgrade`, `current`, `head` and `check` are what the rest of the house calls. `check` compares the database's own
catalogs with those of a freshly made schema: Alembic's comparison misses CHECK constraints, triggers and partitions.
The steps themselves are in `versions/`.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection, Engine

from edupulse_pipelines.errors import SchemaBehind
from edupulse_pipelines.schema import ddl
from edupulse_pipelines.storage.engine import writing

_LOCK = 0x65647570756C  # "edupul": serialises migrations of one database


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    # Alembic interpolates %; a path with one must survive.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def head() -> str:
    """The revision this version of the package needs."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


def current(engine: Engine) -> str | None:
    """The revision the database is at; None for a database without our schema."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(engine: Engine) -> None:
    """Bring the database to `head()`, in one transaction; two upgrades at once are serialised."""
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        command.upgrade(_config(connection), "head")


def ensure_current(engine: Engine) -> None:
    """Make the schema in an empty database; SchemaBehind when there is one of another version."""
    revision = current(engine)
    if revision is None:
        upgrade(engine)
    elif revision != head():
        raise SchemaBehind(
            f"The database is at schema revision {revision}, this version needs {head()}: "
            f"run `edupulse db upgrade` first."
        )


def check(engine: Engine) -> list[str]:
    """Differences between the database and this version's schema, in words; empty when there are none.

    Tables that are not ours are ignored. On PostgreSQL the expected schema is made in a scratch schema that is rolled
    back, so the role needs the CREATE privilege on the database.
    """
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            schema = str(connection.scalar(sa.text("SELECT current_schema()")))
            actual = _postgresql_catalog(connection, schema)
            scratch = f"edupulse_check_{uuid.uuid4().hex[:12]}"
            connection.exec_driver_sql(f"CREATE SCHEMA {scratch}")
            connection.exec_driver_sql(f"SET LOCAL search_path TO {scratch}")
            for statement in ddl.statements("postgresql"):
                connection.exec_driver_sql(statement)
            expected = _postgresql_catalog(connection, scratch)
            connection.rollback()
        else:
            actual = _sqlite_catalog(connection)
            with sa.create_engine("sqlite://").begin() as empty:
                for statement in ddl.statements("sqlite"):
                    empty.exec_driver_sql(statement)
                expected = _sqlite_catalog(empty)
    ours = {key.split(" ")[1] for key in expected}
    differences = [f"missing: {key}" for key in sorted(expected.keys() - actual.keys())]
    differences += [
        f"differs: {key}" for key in sorted(expected.keys() & actual.keys()) if expected[key] != actual[key]
    ]
    differences += [
        f"unexpected: {key}" for key in sorted(actual.keys() - expected.keys()) if key.split(" ")[1] in ours
    ]
    return differences


def _sqlite_catalog(connection: Connection) -> dict[str, Any]:
    """`kind table name` -> definition, white space folded."""
    rows = connection.exec_driver_sql("SELECT type, tbl_name, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {f"{kind} {table} {name}": " ".join(sql.split()) for kind, table, name, sql in rows}


_POSTGRESQL_CATALOG = """
SELECT 'column ' || c.relname || ' ' || a.attname,
       format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull::text
           || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = CAST(:schema AS regnamespace) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
UNION ALL
SELECT 'constraint ' || c.relname || ' ' || k.conname, pg_get_constraintdef(k.oid)
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
WHERE c.relnamespace = CAST(:schema AS regnamespace) AND NOT c.relispartition AND k.contype <> 'n'
UNION ALL
SELECT 'index ' || c.relname || ' ' || i.relname, pg_get_indexdef(i.oid)
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid
WHERE c.relnamespace = CAST(:schema AS regnamespace) AND NOT c.relispartition
UNION ALL
SELECT 'trigger ' || c.relname || ' ' || t.tgname, pg_get_triggerdef(t.oid)
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = CAST(:schema AS regnamespace) AND NOT c.relispartition AND NOT t.tgisinternal
"""


def _postgresql_catalog(connection: Connection, schema: str) -> dict[str, Any]:
    """`kind table name` -> definition, without the schema's name."""
    rows = connection.execute(sa.text(_POSTGRESQL_CATALOG), {"schema": schema})
    return {key: definition.replace(f"{schema}.", "") for key, definition in rows}
