"""Connections: one engine per database URL, with the same transaction behaviour on SQLite and PostgreSQL.

Holds the dialects' settings and the translation of "the database is down" into words. Knows no table; the tables are in
`schema`. Rooms do not open connections here: they are given a `Work` (`storage.work`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Engine, make_url

from edupulse_pipelines.errors import DatabaseUnavailable
from edupulse_pipelines.settings import normalise_database_url

CONNECT_TIMEOUT_SECONDS = 10
LOCK_TIMEOUT_SECONDS = 600
_WRITES = "edupulse_writes"


def create_engine(url: str) -> Engine:
    """An engine for `url` (any spelling of PostgreSQL or SQLite).

    SQLite gets foreign keys, write-ahead logging, a busy timeout, and real transactions: Python's driver would
    otherwise begin late and leave DDL outside of them. ConfigurationError for another database.
    """
    parsed = make_url(normalise_database_url(url))
    # orjson: feature vectors and explanations are most of what we write.
    common: dict[str, Any] = {
        "json_serializer": lambda value: orjson.dumps(value).decode(),
        "json_deserializer": orjson.loads,
        # An error's text must not carry the values of the statement: they are a student's.
        "hide_parameters": True,
    }
    if parsed.get_backend_name() == "postgresql":
        return sa.create_engine(
            parsed,
            pool_pre_ping=True,
            **common,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_SECONDS, "application_name": "edupulse"},
        )
    if parsed.database and parsed.database != ":memory:":
        try:
            Path(parsed.database).absolute().parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseUnavailable(f"The database {parsed.database} cannot be made: {error.strerror}.") from None
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
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[sa.Connection]:
    """A transaction that will only read; it is rolled back at the end of the block."""
    with engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[sa.Connection]:
    """A transaction that will write: committed at the end of the block, rolled back when it raises.

    On SQLite it waits for another writer (a run of another district, say) instead of failing.
    """
    with engine.connect() as connection, connection.execution_options(**{_WRITES: True}).begin():
        yield connection


@contextmanager
def reachable(engine: Engine) -> Iterator[None]:
    """Turn a connection failure inside the block into DatabaseUnavailable, without the password."""
    try:
        yield
    except sa.exc.DatabaseError as error:
        if error.connection_invalidated or _is_connection_failure(error):
            where = engine.url.render_as_string(hide_password=True)
            raise DatabaseUnavailable(f"The database {where} does not answer: {_first_line(error)}") from None
        raise


def _is_connection_failure(error: sa.exc.DatabaseError) -> bool:
    text = str(error.orig).lower()
    signs = ("could not connect", "connection refused", "server closed", "unable to open database", "not a database")
    return error.statement is None or any(sign in text for sign in signs)


def _first_line(error: sa.exc.DatabaseError) -> str:
    return str(error.orig).strip().splitlines()[0] if error.orig is not None else "no reason given"
