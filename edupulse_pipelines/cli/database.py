"""The database of a command: as it is, or at this version's schema, with its errors in words.

Commands get a `Work`, or a function that makes one for each tenant; no connection is opened here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edupulse_pipelines.errors import SchemaBehind
from edupulse_pipelines.settings import Settings, load_settings
from edupulse_pipelines.storage.database import database_of

if TYPE_CHECKING:
    from edupulse_pipelines.storage.work import Work

Works = Callable[..., "Work"]
"""Tenant's name and, where there is one, the run's id in; the `Work` for it out."""


@contextmanager
def database_as_it_is(home: Path | None) -> Iterator[Work]:
    """Work that belongs to no tenant in the database as it is: no schema is made, none is demanded."""
    from edupulse_pipelines.storage.work import EVERY_TENANT, Work

    with database_of(load_settings(home=home)).as_it_is() as engine:
        yield Work(engine, EVERY_TENANT)


@contextmanager
def works_if_filled(settings: Settings) -> Iterator[Works | None]:
    """What makes Works in a database at this version's schema; None for an empty SQLite file, which stays empty.

    SchemaBehind for another version's, and for an empty database on PostgreSQL, where somebody has yet to make the
    tables.
    """
    from edupulse_pipelines.storage.versions import current, ensure_current
    from edupulse_pipelines.storage.work import Work

    with database_of(settings).as_it_is() as engine:
        if engine.dialect.name == "sqlite" and current(engine) is None:
            yield None
        else:
            ensure_current(engine)
            yield functools.partial(Work, engine)


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

    with works_in(load_settings(home=home)) as works:
        yield works(EVERY_TENANT)
