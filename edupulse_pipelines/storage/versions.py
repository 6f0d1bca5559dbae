"""The schema of a database compared with the one this version of the package needs, and upgraded to it.

`ensure_current` refuses a database with another schema; `Database` calls it for whoever works with the tables.
`upgrade` and `check` are behind `edupulse db upgrade` and `edupulse db check`. The migrations themselves are in
`schema.migrations`; here are the connections for them, and the messages for a role that may not.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from edupulse_pipelines.errors import PermanentError, SchemaBehind
from edupulse_pipelines.schema import ddl, migrations
from edupulse_pipelines.schema.catalogs import Catalog, differences, read_catalog
from edupulse_pipelines.schema.objects import tables_schema
from edupulse_pipelines.schema.objects.guards import GUARDED
from edupulse_pipelines.storage.engine import INSUFFICIENT_PRIVILEGE, create_engine, driver_code, reading, writing
from edupulse_pipelines.storage.version_1 import refuse_version_1

_NO_RIGHT_SQLSTATES = {INSUFFICIENT_PRIVILEGE, "3F000"}
"""A privilege is missing, or the role may not use the schema, which is to it as if there were none."""
EMPTY = "The database is empty: run `edupulse db upgrade` first, which makes its tables."
_REVISION = "read the schema's revision"
_READ_AND_WRITE = "Have it granted the use of the schema, and the right to read and write all tables."
_RUN_AS_OWNER = "Run `edupulse db upgrade` as the role that owns the tables. Nothing was changed."


def head() -> str:
    """The revision this version of the package needs."""
    return migrations.head()


def current(engine: Engine) -> str | None:
    """The revision the database is at; None for a database without our schema.

    SchemaBehind for one that a newer version of the package made, and for one of version 1.0; PermanentError for a role
    that may not read it.
    """
    with _allowed(engine, _REVISION, _READ_AND_WRITE), reading(engine) as connection:
        refuse_version_1(connection)
        revision = _revision(connection)
    _refuse_newer(revision)
    return revision


def has_current_objects(engine: Engine) -> bool:
    """Whether the functions, triggers and comments in the database are those that this version declares.

    PermanentError for a role that may not read what says so.
    """
    with _allowed(engine, _REVISION, _READ_AND_WRITE), reading(engine) as connection:
        return migrations.has_current_objects(connection)


def upgrade(
    engine: Engine,
    then: Callable[[Connection], object] | None = None,
    first: Callable[[Connection], object] | None = None,
) -> str | None:
    """Bring the database to this version's schema and apply the declared objects, in one transaction.

    `then`: what else belongs to the transaction, on PostgreSQL; `first`: what makes room for our tables, where those of
    version 1.0 are. Returns the revision it was at, None for a database without our schema. Two upgrades at once are
    serialised. SchemaBehind for a database that a newer version of the package made, and without `first` for one of
    version 1.0; PermanentError for a role that may not, or when rows would be lost; then nothing has changed.
    """
    with (
        _allowed(engine, "change the schema", _RUN_AS_OWNER),
        writing(engine) as connection,
    ):
        migrations.wait_for_other_upgrades(connection)
        if first is None:
            refuse_version_1(connection)
        else:
            first(connection)
        before = migrations.current(connection)
        _refuse_newer(before)
        try:
            migrations.upgrade(connection)
        except migrations.RowsLost as lost:
            raise PermanentError(f"{lost}: the database is left as it was. {_RUN_AS_OWNER}") from None
        if then is not None and engine.dialect.name == "postgresql":
            then(connection)
    return before


def ensure_current(engine: Engine) -> None:
    """SchemaBehind, with what to do, unless the database is at this version's schema.

    An empty SQLite file gets the schema. On PostgreSQL only `edupulse db upgrade` makes tables, because the role that
    works with them need not be the one that owns them.
    """
    revision = current(engine)
    if revision is None:
        if engine.dialect.name != "sqlite":
            raise SchemaBehind(EMPTY)
        upgrade(engine)
    elif revision != migrations.head():
        raise SchemaBehind(
            f"The database is at schema revision {revision}, this version needs {migrations.head()}: "
            "run `edupulse db upgrade` first."
        )
    elif not has_current_objects(engine):
        raise SchemaBehind(
            f"The database is at schema revision {revision}, with functions, triggers and comments of another version: "
            "run `edupulse db upgrade` first."
        )
    elif engine.dialect.name == "postgresql":
        _refuse_who_sees_nothing(engine)


def _refuse_who_sees_nothing(engine: Engine) -> None:
    """PermanentError for a role to whom no policy shows a row: to it every table is empty, without a word."""
    query = sa.text(
        "SELECT current_user WHERE row_security_active(:table) AND NOT EXISTS ("
        "SELECT FROM pg_policy p, unnest(p.polroles) role"
        " WHERE p.polrelid = CAST(:table AS regclass) AND (role = 0 OR pg_has_role(role, 'USAGE')))"
    )
    with _allowed(engine, "read the tables", _READ_AND_WRITE), reading(engine) as connection:
        role = connection.scalar(query, {"table": GUARDED[0]})
    if role is not None:
        raise PermanentError(
            f"Row-level security shows the role {role} no row of any district. Connect as the loader that `edupulse db "
            "roles` makes, or have this role made a member of it (GRANT … TO …)."
        )


def check(engine: Engine, then: Callable[[Connection], list[str]] | None = None) -> list[str]:
    """Differences between the database and this version's schema, in words; empty when there are none.

    The revision comes first, then whose functions, triggers and comments were applied last: a database whose catalog
    happens to be equal is another version's all the same. Of a database without our tables it is said in one sentence.
    Tables that are not ours are ignored. `then`: what else is compared, on PostgreSQL. There the expected schema is
    made in a scratch schema that is rolled back, so the role needs the CREATE privilege on the database; PermanentError
    for one that has not.
    """
    with (
        _allowed(
            engine,
            "compare the schema with what is declared",
            "Run `edupulse db check` as the role that owns the tables, with the right CREATE on the database: it makes "
            "a scratch schema there, which is rolled back.",
        ),
        reading(engine) as connection,
    ):
        refuse_version_1(connection)
        revision = _revision(connection)
        has_objects = migrations.has_current_objects(connection)
        actual = read_catalog(connection)
        further: list[str] = []
        if engine.dialect.name == "postgresql":
            if revision == migrations.head() and then is not None:
                further = then(connection)
            expected = _made_in_scratch_schema(connection)
        else:
            in_memory = create_engine("sqlite://")
            with reading(in_memory) as scratch:
                expected = _made(scratch)
            in_memory.dispose()
    if revision is None and not expected.keys() & actual.keys():
        return [EMPTY]
    found = []
    if revision != migrations.head():
        found.append(f"revision: {revision or 'none'}, this version needs {migrations.head()}")
    if not has_objects:
        found.append("functions, triggers and comments: those of another version were applied last")
    return [*found, *differences(expected, actual), *further]


@contextmanager
def _allowed(engine: Engine, what: str, remedy: str) -> Iterator[None]:
    """Turn a missing privilege inside the block into a PermanentError: the role may not do `what`, and a remedy."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        if driver_code(error) not in _NO_RIGHT_SQLSTATES:
            raise
        reason = str(error.orig).strip().splitlines()[0]
        role = engine.url.username or "of this connection"
        raise PermanentError(f"The role {role} may not {what} ({reason}). {remedy}") from None


def _revision(connection: Connection) -> str | None:
    """The revision the database is at; PermanentError for a role that cannot see whether it has one.

    To a role that may not use the schema its tables are as if they were not there.
    """
    revision = migrations.current(connection)
    if (
        revision is None
        and connection.dialect.name == "postgresql"
        and connection.scalar(sa.select(sa.func.current_schema())) is None
    ):
        role = connection.scalar(sa.text("SELECT current_user"))
        raise PermanentError(f"The role {role} may not use any schema of its search path. {_READ_AND_WRITE}")
    return revision


def _refuse_newer(revision: str | None) -> None:
    """SchemaBehind for a revision that this version does not know."""
    if revision is not None and not migrations.knows(revision):
        raise SchemaBehind(
            f"The database is at schema revision {revision}, which this version ({migrations.head()}) does not know: "
            "a newer version of the package made it. Install that version. Nothing was changed."
        )


def _made_in_scratch_schema(connection: Connection) -> Catalog:
    """The catalog of the whole schema, made in a schema of its own; the transaction is rolled back."""
    scratch = f"edupulse_check_{uuid.uuid4().hex[:12]}"
    connection.exec_driver_sql(f"CREATE SCHEMA {scratch}")
    connection.exec_driver_sql(f"SET LOCAL search_path TO {scratch}")
    catalog = _made(connection)
    connection.rollback()
    return catalog


def _made(connection: Connection) -> Catalog:
    """The catalog of the whole schema, made where the connection makes tables; the caller rolls it back."""
    for statement in ddl.statements(connection.dialect.name, tables_schema(connection)):
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    return read_catalog(connection)
