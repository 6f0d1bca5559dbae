"""Connections: one engine per database URL, with the same transaction behaviour on SQLite and PostgreSQL.

Holds the dialects' settings and the translation of "the database is down" into words. Knows no table; the tables are in
`schema`. Rooms do not open connections here: they are given a `Work` (`storage.work`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Engine, make_url

from edupulse_pipelines.errors import DatabaseBusy, DatabaseUnavailable, DatabaseUnusable, DiskFull
from edupulse_pipelines.full_disk import full_disk_in_words
from edupulse_pipelines.settings import binds_channel, checked_database_url, normalise_database_url

CONNECT_TIMEOUT_SECONDS = 10
LOCK_TIMEOUT_SECONDS = 600
LEAST_POSTGRESQL = 15
"""The oldest major version of the server that is supported: the first whose views can look at their tables with the
rights of who asks (`security_invoker`), without which a view shows every district's rows."""
_NAMED = "The database's URL"
_WRITES = "edupulse_writes"
_ALONE = "edupulse_alone"
_SETTINGS = "edupulse_settings"
WHO_WORKS = ("app.tenant", "app.actor", "app.run_id")
"""The settings of PostgreSQL that say who works for whom (the tenant, the actor, the run), until a transaction ends."""
INSUFFICIENT_PRIVILEGE = "42501"
"""The SQLSTATE of a right that the role has not."""
LOCK_SQLSTATES = {
    "40P01": "two transactions waited for each other, and this one was ended",
    "55P03": "a lock was not had in time",
}
"""What PostgreSQL says of a lock that was not had, with what it means."""
_BUSY_SQLSTATES = {"40001": "what this transaction had read was changed meanwhile", **LOCK_SQLSTATES}
_GONE_SQLSTATES = {"57P01", "57P02", "57P03", "53300"}
"""The server is stopping, has crashed, is starting, or has no connection left."""
_REFUSALS = (
    "authentication failed",
    "certificate",
    "channel binding",
    "does not exist",
    "does not support SSL",
    "no pg_hba.conf entry",
    "permission denied",
)


def create_engine(url: str, *, role: str | None = None) -> Engine:
    """An engine for `url` (any spelling of PostgreSQL or SQLite).

    role: of PostgreSQL, which each connection takes (SET ROLE); its user has to be allowed to.

    SQLite gets foreign keys, write-ahead logging, a busy timeout, and real transactions: Python's driver would
    otherwise begin late and leave DDL outside of them. Outside of this machine PostgreSQL has to be reached by TLS and,
    unless the URL says otherwise, to bind the password to it (`channel_binding`). ConfigurationError for another
    database, and for one that is reached in plain text. Connecting to a PostgreSQL before `LEAST_POSTGRESQL` raises
    DatabaseUnusable.
    """
    spelled = checked_database_url(url, _NAMED)
    parsed = make_url(spelled)
    # orjson: feature vectors and explanations are most of what we write.
    common: dict[str, Any] = {
        "json_serializer": lambda value: orjson.dumps(value).decode(),
        "json_deserializer": orjson.loads,
        # An error's text must not carry the values of the statement: they are a student's.
        "hide_parameters": True,
    }
    if parsed.get_backend_name() == "postgresql":
        engine = sa.create_engine(
            parsed,
            pool_pre_ping=True,
            **common,
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT_SECONDS,
                "application_name": "edupulse",
                **({"channel_binding": "require"} if binds_channel(spelled, _NAMED) else {}),
            },
        )
        sa.event.listen(engine, "connect", _refuse_old_server)
        sa.event.listen(engine, "begin", _introduce)
        sa.event.listen(engine.pool, "checkin", _forget_settings)
        if role is not None:
            sa.event.listen(engine, "connect", partial(_take_role, role))
        return engine
    if parsed.database and parsed.database != ":memory:":
        try:
            path = Path(parsed.database).absolute()
            path.parent.mkdir(parents=True, exist_ok=True)
            if not parsed.database.startswith("file:") and not path.exists():
                path.touch()  # SQLite makes files that no group may write, whatever the umask; -wal and -shm follow
        except OSError as error:
            raise DatabaseUnusable(f"The database {parsed.database} cannot be made: {error.strerror}.") from None
    engine = sa.create_engine(parsed, connect_args={"timeout": LOCK_TIMEOUT_SECONDS}, **common)

    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we emit BEGIN ourselves, below
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _on_begin(connection: sa.Connection) -> None:
        # A transaction that reads first and writes later is refused at once when another one has written in between,
        # however long the timeout; one that takes the lock at its beginning waits.
        options = connection.get_execution_options()
        if options.get(_ALONE, False):
            return
        writes = options.get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def file_of(url: str) -> Path | None:
    """The file of a SQLite database; None for another database, and for one in memory or named by SQLite's own URI."""
    parsed = make_url(normalise_database_url(url))
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database.startswith((":", "file:")):
        return None
    return Path(parsed.database).absolute()


def is_absent(url: str) -> bool:
    """Whether `url` names a SQLite file that is not there; connecting would make it."""
    file = file_of(url)
    if file is None:
        return False
    try:
        file.stat()
    except FileNotFoundError:
        return True
    except OSError:  # what is in the way is told when it is opened
        return False
    return False


def _refuse_old_server(connection: Any, _record: Any) -> None:
    """DatabaseUnusable for a server of PostgreSQL that is older than what we support."""
    version = connection.server_version // 10_000  # 150004 is 15.4
    if version < LEAST_POSTGRESQL:
        connection.close()
        raise DatabaseUnusable(
            f"The PostgreSQL server has version {version}; EduPulse needs {LEAST_POSTGRESQL} or later: views of earlier"
            " ones show every district's rows (they know no security_invoker). Upgrade the server, or name another one"
            " in EDUPULSE_DATABASE_URL."
        )


def _take_role(role: str, connection: Any, _record: Any) -> None:
    """Let the connection work as this role; DatabaseUnusable where its user may not."""
    from psycopg2 import Error, sql

    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    except Error as error:
        connection.close()
        raise DatabaseUnusable(
            f"The role {role} cannot be taken ({str(error).strip().splitlines()[0]}): `edupulse db roles` makes it and "
            "lets the keeper take it."
        ) from None


def _introduce(connection: sa.Connection) -> None:
    """Tell the database who works for whom, for as long as the transaction lasts; `reading` and `writing` say it."""
    settings: Mapping[str, str] | None = connection.get_execution_options().get(_SETTINGS)
    if settings:
        calls = ", ".join(f"set_config('{name}', %s, true)" for name in settings)
        connection.exec_driver_sql(f"SELECT {calls}", tuple(settings.values()))


def _forget_settings(connection: Any, record: Any) -> None:
    """Take from a connection that goes back to the pool what somebody has set for the whole session."""
    if connection is None or connection.closed:
        return
    from psycopg2 import Error

    try:
        # One round trip: what is pending has been rolled back, and nothing begins by this.
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("; ".join(f"RESET {name}" for name in WHO_WORKS))
        connection.autocommit = False
    except Error as error:
        record.invalidate(error)


def shown_url(url: str) -> str:
    """The URL as it may be shown: one spelling, and no password."""
    return make_url(normalise_database_url(url)).render_as_string(hide_password=True)


@contextmanager
def reading(
    engine: Engine, settings: Mapping[str, str] | None = None, *, steady: bool = False
) -> Iterator[sa.Connection]:
    """A transaction that will only read; it is rolled back at the end of the block.

    settings: of PostgreSQL, each by its name, as they are for every transaction in the block. steady: all of it sees
    the database as it is at its beginning, whatever others commit meanwhile (SQLite: always).
    """
    with engine.connect() as connection:
        if steady and engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection.execution_options(**{_SETTINGS: settings})


@contextmanager
def writing(engine: Engine, settings: Mapping[str, str] | None = None) -> Iterator[sa.Connection]:
    """A transaction that will write: committed at the end of the block, rolled back when it raises.

    On SQLite it waits for another writer (a run of another district, say) instead of failing. settings: as in
    `reading`.
    """
    options = {_WRITES: True, _SETTINGS: settings}
    with engine.connect() as connection, connection.execution_options(**options).begin():
        yield connection


@contextmanager
def alone(engine: Engine) -> Iterator[sa.Connection]:
    """A connection without a transaction, for what can run in none."""
    options = {_ALONE: True} if engine.dialect.name == "sqlite" else {"isolation_level": "AUTOCOMMIT"}
    with engine.connect().execution_options(**options) as connection:
        yield connection


@contextmanager
def reachable(engine: Engine) -> Iterator[None]:
    """Turn what the database says inside the block into the errors of ours that fit, without password or values.

    DatabaseUnavailable when it does not answer, DatabaseBusy when others held what was needed (a lock, the whole
    SQLite file, a row that a transaction of ours had read): both may be gone with another try. DatabaseUnusable when
    it cannot be opened with these settings, DiskFull when there is no space left. Every other error stays as it is.
    """
    try:
        yield
    except sa.exc.DBAPIError as error:
        where = engine.url.render_as_string(hide_password=True)
        if full := full_disk_in_words(error, _files_of(engine)):
            raise DiskFull(full) from None
        if busy := _busy(error):
            raise DatabaseBusy(busy) from None
        if _refuses_us(error):
            raise DatabaseUnusable(
                f"The database {where} cannot be opened: {_first_line(error)}{_remedy(error)}"
            ) from None
        if is_gone(error):
            raise DatabaseUnavailable(f"The database {where} does not answer: {_first_line(error)}") from None
        raise


def _files_of(engine: Engine) -> list[Path]:
    name = engine.url.database if engine.dialect.name == "sqlite" else None
    return [Path(name).absolute()] if name and name != ":memory:" else []


def database_error_in_words(error: Exception) -> str | None:
    """What a database error says, less the values it quotes; None when `error` is not one."""
    if not isinstance(error, sa.exc.StatementError):
        return None
    cause = error.orig
    parts = [f"The database refused a statement ({type(cause or error).__name__}"]
    diagnostics = getattr(cause, "diag", None)
    if isinstance(error, sa.exc.DBAPIError) and diagnostics is not None:
        for label, attribute in (
            ("SQLSTATE", "sqlstate"),
            ("table", "table_name"),
            ("constraint", "constraint_name"),
        ):
            value = getattr(diagnostics, attribute, None)
            parts.append(f", {label} {value}" if value else "")
        if diagnostics.sqlstate == INSUFFICIENT_PRIVILEGE:
            parts.append(f": {diagnostics.message_primary}")  # it names the table, never values
    elif isinstance(error, sa.exc.DBAPIError) and driver_code(error).startswith("SQLITE_CONSTRAINT"):
        parts.append(f", {str(cause).splitlines()[0]}")  # SQLite names the constraint or columns, never values
    return "".join(parts) + ")."


def driver_code(error: sa.exc.DBAPIError) -> str:
    """The SQLSTATE of PostgreSQL, or the name of SQLite's code (`SQLITE_BUSY`); empty where the driver gives none."""
    return getattr(error.orig, "pgcode", None) or getattr(error.orig, "sqlite_errorname", None) or ""


def is_busy(error: sa.exc.DBAPIError) -> bool:
    """Whether others held what was needed."""
    return _busy(error) is not None


def is_gone(error: sa.exc.DBAPIError) -> bool:
    """Whether the database did not answer, and did not refuse these settings either."""
    if _refuses_us(error):
        return False
    if error.connection_invalidated:
        return True
    if code := driver_code(error):
        return code in _GONE_SQLSTATES or code.startswith(("08", "SQLITE_CANTOPEN", "SQLITE_IOERR"))
    if error.statement is None:  # it was not even connected
        return True
    # Of psycopg2's errors about the server, those without a SQLSTATE are of a connection that was lost.
    return hasattr(error.orig, "pgcode") and type(error) in (sa.exc.OperationalError, sa.exc.DatabaseError)


def _busy(error: sa.exc.DBAPIError) -> str | None:
    """What to say when others held what was needed; None when that is not what went wrong."""
    code = driver_code(error)
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return "The database is locked: another run has been writing for very long. Try again when it is done."
    if reason := _BUSY_SQLSTATES.get(code):
        return f"Others were using the database: {reason}. Nothing of this transaction was changed; try again."
    return None


def _refuses_us(error: sa.exc.DBAPIError) -> bool:
    """Whether the database is there, and these settings do not open it."""
    if code := driver_code(error):
        return code == "SQLITE_NOTADB"
    # A connection that failed has no SQLSTATE and no attribute in psycopg2, only the server's words.
    said = str(error.orig)
    untrusted = "SSL error:" in said and "eof" not in said  # one that was cut off may come through the next time
    return error.statement is None and (untrusted or any(sign in said for sign in _REFUSALS))


def _remedy(error: sa.exc.DBAPIError) -> str:
    if "channel binding" not in str(error.orig):
        return ""
    return " (a server, or a pooler before it, without SCRAM needs channel_binding=prefer in the URL)"


def _first_line(error: sa.exc.DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0] if error.orig is not None else "no reason given"
