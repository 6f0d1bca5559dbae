"""The database of a command: as it is, or at this version's schema, with its errors in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edupulse_pipelines.errors import EduPulseError
from edupulse_pipelines.settings import Settings, load_settings

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine


@contextmanager
def database_as_it_is(home: Path | None) -> Iterator[Any]:
    """An engine as it is: no schema is made, none is demanded."""
    from edupulse_pipelines.storage.engine import create_engine, reachable

    engine = create_engine(load_settings(home=home).database_url)
    try:
        with reachable(engine):
            yield engine
    finally:
        engine.dispose()


@contextmanager
def filled_database(settings: Settings) -> Iterator[Engine | None]:
    """An engine over a database at this version's schema; None for an empty one, which stays empty.

    EduPulseError for what the database refuses, without the values it quotes.
    """
    import sqlalchemy as sa

    from edupulse_pipelines.storage.engine import create_engine, reachable
    from edupulse_pipelines.storage.versions import current, ensure_current

    engine = create_engine(settings.database_url)
    try:
        with reachable(engine):
            if current(engine) is None:
                yield None
            else:
                ensure_current(engine)
                yield engine
    except sa.exc.DBAPIError as error:
        if "locked" in str(error.orig):
            said = "The database is locked: another run has been writing for very long. Try again when it is done."
        else:
            code = getattr(error.orig, "pgcode", None)
            said = (
                f"The database refused a statement ({type(error.orig).__name__}{f', SQLSTATE {code}' if code else ''})."
            )
        raise EduPulseError(said) from None
    finally:
        engine.dispose()


@contextmanager
def database_with_schema(home: Path | None) -> Iterator[Engine]:
    """An engine over a database at this version's schema; EduPulseError for an empty one."""
    with filled_database(load_settings(home=home)) as engine:
        if engine is None:
            raise EduPulseError("The database is empty: `edupulse db upgrade` makes its tables.")
        yield engine
