"""`Database`: a database by its URL. It makes and compares the schema, and gives the `Work` to use the tables with.

Assets get it as the resource `database`, schedules and commands from `database_of`. SQLAlchemy is imported only when a
database is opened, so that importing this module costs nothing. How an engine is set up is in `engine`, how the schema
is made and checked in `versions`; nobody outside this room is given an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edupulse_pipelines.errors import DatabaseRefused
from edupulse_pipelines.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

    from edupulse_pipelines.storage.work import Work


class Works(Protocol):
    """Makes the `Work` for a tenant, in a run where there is one; `actor` as in `Database.work`."""

    def __call__(self, tenant: str, run_id: str | None = None, actor: str | None = None) -> Work:
        """The Work for this tenant."""


@dataclass(frozen=True)
class SchemaState:
    """How far a database's schema is. `revision` is None without our schema; `head` is what this version needs.

    has_current_objects: functions, triggers and comments are those of this version.
    """

    revision: str | None
    head: str
    has_current_objects: bool


class Database:
    """The database with our tables; opening it gives an empty SQLite file its schema.

    Every method raises DatabaseUnavailable, DatabaseUnusable or DatabaseBusy, which say in words what is wrong with the
    database, or DatabaseRefused, which says what it does not do; none quotes a statement's values.

    To work with another database, subclass this, and give the object to `build_defs(settings, database=…)`.
    """

    def __init__(self, url: str, role: str | None = None, *, for_keeper: bool = False) -> None:
        """A database by its URL. role: of PostgreSQL, as which all is done that its user does.

        for_keeper: also one that a restore has left closed (`storage.closed`).
        """
        self._url = url
        self._role = role
        self._for_keeper = for_keeper
        self._schema_checked = False

    @property
    def role(self) -> str | None:
        """The role that it takes on PostgreSQL; None for its user's own."""
        return self._role

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        from edupulse_pipelines.storage.engine import shown_url

        return shown_url(self._url)

    def upgrade(
        self,
        then: Callable[[Connection], object] | None = None,
        first: Callable[[Connection], object] | None = None,
    ) -> tuple[str | None, str]:
        """Bring the schema to what this version needs; the revision it was at, and the one it is at. Safe to repeat.

        `then`: what else belongs to the same transaction, on PostgreSQL; `first`: what moves tables of version 1.0.
        The first is None for a database without our schema. SchemaBehind for a database that a newer version made,
        PermanentError for a role that may not; then nothing has changed.
        """
        from edupulse_pipelines.storage import versions

        with self._reached() as engine:
            return versions.upgrade(engine, then, first), versions.head()

    def state(self) -> SchemaState:
        """How far the schema is; nothing is made, not even a SQLite file that is not there.

        SchemaBehind for a database that a newer version made, PermanentError for a role that may not read the revision.
        """
        from edupulse_pipelines.storage import versions
        from edupulse_pipelines.storage.engine import is_absent

        if is_absent(self._url):
            return SchemaState(None, versions.head(), has_current_objects=False)
        with self._reached() as engine:
            return SchemaState(versions.current(engine), versions.head(), versions.has_current_objects(engine))

    def check(self, then: Callable[[Connection], list[str]] | None = None) -> list[str]:
        """Differences between the schema and what is declared, in words; see `versions.check`. Nothing is made."""
        from edupulse_pipelines.storage import versions
        from edupulse_pipelines.storage.engine import is_absent

        if is_absent(self._url):
            return [versions.EMPTY]
        with self._reached() as engine:
            return versions.check(engine, then)

    def ensure_current(self) -> None:
        """Open the database once and close it, so that a command fails before it begins its work; raises like `work`.

        An empty SQLite file gets its schema.
        """
        with self._current():
            pass

    @contextmanager
    def work(self, tenant: str, run_id: str | None = None, actor: str | None = None) -> Iterator[Work]:
        """Work for the tenant of this name in the run, for the length of the block; SchemaBehind for another schema.

        actor: who asks; without one the user of the operating system that this process runs as.
        """
        with self._current() as engine:
            yield _works(engine)(tenant, run_id, actor)

    @contextmanager
    def unchecked_work(self, tenant: str | None = None) -> Iterator[Work]:
        """Work for a tenant, or for none, whatever the schema is or before there is one: to make roles, to back up."""
        from edupulse_pipelines.storage.work import EVERY_TENANT

        with self._reached() as engine:
            yield _works(engine)(EVERY_TENANT if tenant is None else tenant)

    @contextmanager
    def works_if_filled(self) -> Iterator[Works | None]:
        """What makes Works for tenants, one after another; None for an empty SQLite file, which stays as it is.

        One that is not there counts as empty, and is not made.
        SchemaBehind for another version's schema, and for an empty database on PostgreSQL, where somebody has yet to
        make the tables.
        """
        from edupulse_pipelines.storage.engine import is_absent, reachable
        from edupulse_pipelines.storage.versions import current, ensure_current

        if is_absent(self._url):
            yield None
            return
        with self._opened() as engine:
            with reachable(engine):
                empty = engine.dialect.name == "sqlite" and current(engine) is None
                if not empty:
                    ensure_current(engine)
            if empty:
                yield None
            else:
                yield _works(engine)

    @contextmanager
    def _opened(self) -> Iterator[Engine]:
        """An engine for the length of the block, whatever is in the database: no schema is made, none is demanded.

        What keeps the database from answering is put into words by the transactions of a `Work`, and by `_reached`.
        """
        from edupulse_pipelines.storage.closed import demand_open
        from edupulse_pipelines.storage.engine import create_engine, database_error_in_words, file_of

        if not self._for_keeper and (file := file_of(self._url)) is not None:
            demand_open(file)
        engine = create_engine(self._url, role=self._role)
        try:
            yield engine
        except Exception as error:
            if refusal := database_error_in_words(error):
                raise DatabaseRefused(refusal) from None
            raise
        finally:
            engine.dispose()

    @contextmanager
    def _reached(self) -> Iterator[Engine]:
        """As `_opened`, for work on the schema itself."""
        from edupulse_pipelines.storage.engine import reachable

        with self._opened() as engine, reachable(engine):
            yield engine

    @contextmanager
    def _current(self) -> Iterator[Engine]:
        """An engine over a database at this version's schema; SchemaBehind for any other."""
        from edupulse_pipelines.storage.engine import reachable
        from edupulse_pipelines.storage.versions import ensure_current

        with self._opened() as engine:
            if not self._schema_checked:
                with reachable(engine):
                    ensure_current(engine)
                self._schema_checked = True
            yield engine


def _works(engine: Engine) -> Works:
    """What makes Works over the engine."""
    from edupulse_pipelines.storage.work import Work, operating_system_user

    def work(tenant: str, run_id: str | None = None, actor: str | None = None) -> Work:
        return Work(engine, tenant, run_id, actor or operating_system_user())

    return work


def database_of(settings: Settings) -> Database:
    """The database that the settings name."""
    return Database(settings.database_url)
