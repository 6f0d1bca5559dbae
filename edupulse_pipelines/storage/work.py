"""What a room is given to work with the database: whose data it is, who asks, in which run, and how to begin.

A `Work` opens every transaction over rows; those over the schema itself are opened in `versions`. On PostgreSQL each
transaction of a `Work` carries the tenant, the actor and the run as settings that end with it (`engine.WHO_WORKS`):
row-level security shows the loader the rows of that tenant and no others, and audit triggers can rely on them. They
guard against mistakes of ours and not against a person, who may set them to anything. SQLite has no such settings:
there the file's owner is the only guard, and the change of a transaction is opened and closed here (`changes`).

How rows are moved is in `bulk`; how the engine is made, and why writers on SQLite begin differently, is in `engine`.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy.engine import Connection, Engine

from edupulse_pipelines.storage import engine as engines
from edupulse_pipelines.storage.changes import close_change, open_change

EVERY_TENANT = ""
"""The `tenant` of work that belongs to no district: the partitions' upkeep, say."""


@dataclass
class Attempts:
    """How many transactions a `Work` has begun, by purpose, and how many of them ended with an error."""

    reading: int = 0
    writing: int = 0
    failed: int = 0

    @property
    def in_words(self) -> str:
        """`3 to read, 12 to write`, and how many of them failed."""
        failed = f", {self.failed:,} of them failed" if self.failed else ""
        return f"{self.reading:,} to read, {self.writing:,} to write{failed}"


def operating_system_user() -> str:
    """The name of the user this process runs as; `unknown` where the system does not say."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


@dataclass(frozen=True)
class Work:
    """Work for one tenant in one database, by one actor in one run.

    The engine is made by `storage.engine.create_engine`, and stays in this room. tenant: the district's name,
    `EVERY_TENANT` for work that belongs to none. run_id: of the Dagster run; None outside of one. actor: who asked, for
    the record of changes; the operating system's user where nobody is named.
    """

    _engine: Engine
    tenant: str
    run_id: str | None = None
    actor: str = field(default_factory=operating_system_user)
    attempts: Attempts = field(default_factory=Attempts, compare=False)

    @property
    def dialect(self) -> str:
        """`postgresql` or `sqlite`."""
        return self._engine.dialect.name

    @contextmanager
    def reading(self, *, steady: bool = False) -> Iterator[Connection]:
        """A transaction that only reads; what it wrote all the same is rolled back. `steady` as in `engine.reading`.

        DatabaseUnavailable, DatabaseBusy and DatabaseUnusable as `engine.reachable` raises them.
        """
        self.attempts.reading += 1
        with (
            self._counted(),
            engines.reachable(self._engine),
            engines.reading(self._engine, self._settings, steady=steady) as connection,
        ):
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that will write: committed at the end of the block, rolled back when the block raises.

        On SQLite it waits for another writer instead of failing. DatabaseUnavailable, DatabaseBusy and DatabaseUnusable
        as `engine.reachable` raises them.
        """
        self.attempts.writing += 1
        with (
            self._counted(),
            engines.reachable(self._engine),
            engines.writing(self._engine, self._settings) as connection,
        ):
            change = open_change(connection, self.tenant, self.actor, operating_system_user(), self.run_id)
            yield connection
            if change is not None:
                close_change(connection, change)

    @contextmanager
    def keeping_out(self) -> Iterator[Connection]:
        """A transaction that begins as one that writes and changes no row: no change goes on record.

        On SQLite other writers wait for its end; on PostgreSQL for what it locks. Errors as those of `writing`.
        """
        with (
            self._counted(),
            engines.reachable(self._engine),
            engines.writing(self._engine, self._settings) as connection,
        ):
            yield connection

    @contextmanager
    def outside_transactions(self) -> Iterator[Connection]:
        """A connection each of whose statements stands alone, for those that can run in no transaction (VACUUM).

        Nothing here is for a district, and no change goes on record. Errors as those of `writing`.
        """
        with self._counted(), engines.reachable(self._engine), engines.alone(self._engine) as connection:
            yield connection

    @property
    def _settings(self) -> dict[str, str]:
        """What each transaction tells PostgreSQL of who works for whom."""
        return dict(zip(engines.WHO_WORKS, (self.tenant, self.actor, self.run_id or ""), strict=True))

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.attempts.failed += 1
            raise
