"""A database by its URL, opened for the length of a block: what gives everybody their `Work`.

The assets get it as the resource `database`, schedules and commands from `database_of`. Importing this module is light:
SQLAlchemy is imported when a database is opened. How engines behave is in `engine`, which schema a database has in
`versions`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edupulse_pipelines.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from edupulse_pipelines.storage.work import Work


class Database:
    """The house's database. Gives `Work`s; opening it gives an empty SQLite file its schema.

    Subclass it, and give the object to `build_defs(settings, database=…)`, to work with another database.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._schema_checked = False

    @contextmanager
    def as_it_is(self) -> Iterator[Engine]:
        """An engine for the length of the block, whatever is in the database: no schema is made, none is demanded.

        DatabaseUnavailable, DatabaseUnusable and DatabaseBusy say in words what is wrong with the database.
        """
        from edupulse_pipelines.storage.engine import create_engine, reachable

        engine = create_engine(self._url)
        try:
            with reachable(engine):
                yield engine
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
        """Open the database once, for a command that wants to hear what is wrong before it begins; raises like `work`.

        An empty SQLite file gets its schema.
        """
        with self.engine():
            pass


def database_of(settings: Settings) -> Database:
    """The database that the settings name; the one place that makes it of them."""
    return Database(settings.database_url)
