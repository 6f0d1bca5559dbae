"""`Database`: a database by its URL, which opens it for the length of a block and gives the `Work` to use it with.

Assets get it as the resource `database`, schedules and commands from `database_of`. SQLAlchemy is imported only when a
database is opened, so that importing this module costs nothing. How an engine is set up is in `engine`, how the schema
is checked in `versions`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edupulse_pipelines.errors import DatabaseRefused
from edupulse_pipelines.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from edupulse_pipelines.storage.work import Work


class Database:
    """The database with our tables; opening it gives an empty SQLite file its schema.

    To work with another database, subclass this, and give the object to `build_defs(settings, database=…)`.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._schema_checked = False

    @contextmanager
    def as_it_is(self) -> Iterator[Engine]:
        """An engine for the length of the block, whatever is in the database: no schema is made, none is demanded.

        DatabaseUnavailable, DatabaseUnusable and DatabaseBusy say in words what is wrong with the database,
        DatabaseRefused what it does not do; none quotes a statement's values.
        """
        from edupulse_pipelines.storage.engine import create_engine, database_error_in_words, reachable

        engine = create_engine(self._url)
        try:
            with reachable(engine):
                yield engine
        except Exception as error:
            if refusal := database_error_in_words(error):
                raise DatabaseRefused(refusal) from None
            raise
        finally:
            engine.dispose()

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """An engine over a database at this version's schema. Raises like `as_it_is`, and SchemaBehind."""
        from edupulse_pipelines.storage.versions import ensure_current

        with self.as_it_is() as engine:
            if not self._schema_checked:
                ensure_current(engine)
                self._schema_checked = True
            yield engine

    @contextmanager
    def work(self, tenant: str, run_id: str | None = None) -> Iterator[Work]:
        """Work for the tenant of this name in the run, for the length of the block. Raises like `engine`."""
        from edupulse_pipelines.storage.work import Work

        with self.engine() as engine:
            yield Work(engine, tenant, run_id)

    def check(self) -> None:
        """Open the database once and close it, so that a command fails before it begins its work; raises like `work`.

        An empty SQLite file gets its schema.
        """
        with self.engine():
            pass


def database_of(settings: Settings) -> Database:
    """The database that the settings name."""
    return Database(settings.database_url)
