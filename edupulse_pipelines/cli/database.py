"""The database of a command: as it is, or at this version's schema, with its errors in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.settings import Settings, load_settings
from edupulse_pipelines.storage.database import database_of

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine


@contextmanager
def database_as_it_is(home: Path | None) -> Iterator[Engine]:
    """An engine over the database as it is: no schema is made, none is demanded."""
    with database_of(load_settings(home=home)).as_it_is() as engine:
        yield engine


@contextmanager
def filled_database(settings: Settings) -> Iterator[Engine | None]:
    """An engine over a database at this version's schema; None for an empty one, which stays empty.

    EduPulseError for what the database refuses, without the values it quotes.
    """
    import sqlalchemy as sa

    from edupulse_pipelines.storage.versions import current, ensure_current

    try:
        with database_of(settings).as_it_is() as engine:
            if current(engine) is None:
                yield None
            else:
                ensure_current(engine)
                yield engine
    except sa.exc.DBAPIError as error:
        code = getattr(error.orig, "pgcode", None)
        sqlstate = f", SQLSTATE {code}" if code else ""
        raise PermanentError(f"The database refused a statement ({type(error.orig).__name__}{sqlstate}).") from None


@contextmanager
def database_with_schema(home: Path | None) -> Iterator[Engine]:
    """An engine over a database at this version's schema; EduPulseError for an empty one."""
    with filled_database(load_settings(home=home)) as engine:
        if engine is None:
            raise PermanentError("The database is empty: `edupulse db upgrade` makes its tables.")
        yield engine
