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
from edupulse_pipelines.settings import Settings, keeper_url
from edupulse_pipelines.storage.database import Database, Works, database_of

if TYPE_CHECKING:
    from edupulse_pipelines.governance.role_names import RoleNames
    from edupulse_pipelines.storage.work import Work

_EMPTY = "The database is empty: `edupulse db upgrade` makes its tables."


def works_if_filled(settings: Settings) -> AbstractContextManager[Works | None]:
    """What makes Works in a database at this version's schema; None for an empty SQLite file, which stays empty."""
    return database_of(settings).works_if_filled()


@contextmanager
def works_in(settings: Settings) -> Iterator[Works]:
    """The same, and SchemaBehind for an empty database."""
    with works_if_filled(settings) as works:
        if works is None:
            raise SchemaBehind(_EMPTY)
        yield works


@contextmanager
def database_with_schema(home: Path | None, *, as_owner: bool = False) -> Iterator[Work]:
    """Work that belongs to no tenant in a database at this version's schema; SchemaBehind for any other.

    as_owner: as the owner of the tables (`owners_database`).
    """
    from edupulse_pipelines.storage.work import EVERY_TENANT

    settings = settings_of(home, make=True)
    database = owners_database(settings) if as_owner else database_of(settings)
    with database.works_if_filled() as works:
        if works is None:
            raise SchemaBehind(_EMPTY)
        yield works(EVERY_TENANT)


def role_names(settings: Settings) -> RoleNames:
    """What the roles of PostgreSQL are called for these districts; of those too whose settings are wrong today."""
    from edupulse_pipelines.governance.role_names import RoleNames

    return RoleNames(settings.roles.prefix, tuple(sorted({*settings.tenants, *settings.broken_tenants})))


def owners_database(settings: Settings) -> Database:
    """The database as its owner: by the keeper's URL, where there is one, in the owner's role; else as for everybody.

    A database with one user needs no keeper: that user owns the tables. Also one that a restore has left closed.
    """
    url = keeper_url()
    if url is None or not url.startswith("postgresql"):
        return Database(settings.database_url, for_keeper=True)
    return Database(url, role_names(settings).owner)


def keepers_database(settings: Settings) -> Database:
    """The database as the user of the keeper's URL, where there is one, in no other role; else as for everybody."""
    url = keeper_url()
    return database_of(settings) if url is None else Database(url)
