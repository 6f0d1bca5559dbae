"""The database of a command at this version's schema, with its errors in words.

Commands get a `Work`, or a function that makes one for each tenant; no connection is opened here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edupulse_pipelines.cli.home import settings_of
from edupulse_pipelines.errors import SchemaBehind
from edupulse_pipelines.settings import Settings
from edupulse_pipelines.storage.database import Works, database_of

if TYPE_CHECKING:
    from edupulse_pipelines.storage.work import Work


def works_if_filled(settings: Settings) -> AbstractContextManager[Works | None]:
    """What makes Works in a database at this version's schema; None for an empty SQLite file, which stays empty."""
    return database_of(settings).works_if_filled()


@contextmanager
def works_in(settings: Settings) -> Iterator[Works]:
    """The same, and SchemaBehind for an empty database."""
    with works_if_filled(settings) as works:
        if works is None:
            raise SchemaBehind("The database is empty: `edupulse db upgrade` makes its tables.")
        yield works


@contextmanager
def database_with_schema(home: Path | None) -> Iterator[Work]:
    """Work that belongs to no tenant in a database at this version's schema; SchemaBehind for any other."""
    from edupulse_pipelines.storage.work import EVERY_TENANT

    with works_in(settings_of(home, make=True)) as works:
        yield works(EVERY_TENANT)
