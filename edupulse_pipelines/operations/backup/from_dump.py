"""Restoring a logical dump that a moment holds into an empty database, which may be of a later major version.

A dump has everybody who was erased since. The database is closed to all but the keeper and superusers before a row is
in it, and opened when nobody was erased since; otherwise the keeper erases them again first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa

from edupulse_pipelines.errors import EduPulseError, PermanentError
from edupulse_pipelines.governance.role_names import RoleNames
from edupulse_pipelines.operations.backup.contents import Contents
from edupulse_pipelines.operations.backup.database_facts import read_facts
from edupulse_pipelines.operations.backup.dumps import plain_folder, restore_dump
from edupulse_pipelines.operations.backup.moments import DUMP, Moment, all_moments, ring_of
from edupulse_pipelines.settings import Settings, normalise_database_url
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines.storage.erased import FOLDER


@dataclass
class FromDump:
    """What was restored. roles: what could not be done about roles. differences: of the schema. closed: why it is."""

    moment: Moment
    roles: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    closed: str | None = None


def moment_with_dump(settings: Settings, point: str | None) -> Moment:
    """The newest moment that holds a dump, or the one of this id; PermanentError without."""
    known = all_moments(settings)[0]
    if known and all(one.database == "sqlite" for one in known):
        raise PermanentError("No moment holds a dump, as they are of a SQLite home: name a folder to restore one into.")
    there = [one for one in known if one.dump]
    chosen = [one for one in there if point is None or point in (one.id, one.restore_point)]
    if not chosen:
        what = "No moment" if point is None else f"No moment {point!r}"
        raise PermanentError(f"{what} holds a dump: `edupulse backup create --dump` takes one.")
    return chosen[-1]


def restore_from_dump(settings: Settings, moment: Moment, url: str) -> FromDump:
    """Restore the moment's dump into the empty database at `url`, as a superuser. Errors as `restore_dump`.

    The live home is only read. The database stays closed when somebody was erased since, or nobody can know.
    """
    target = normalise_database_url(url)
    done = FromDump(moment)
    keeper = RoleNames(settings.roles.prefix, ()).keeper
    with plain_folder(settings) as folder:
        contents = Contents(settings.backup_dir, ring_of(settings))
        for file in moment.dump:
            contents.write_to(file.sha256, folder / file.name.removeprefix(DUMP))
        _let_in(target, None)
        done.roles = restore_dump(settings, folder, target)
    done.differences = Database(target).check()
    done.closed = _erased_since(settings, moment)
    _let_in(target, keeper if done.closed else "PUBLIC")
    return done


def _let_in(url: str, who: str | None) -> None:
    """Let this role connect to the database, and before that nobody but superusers and its owner."""
    name = unquote(urlsplit(url).path.lstrip("/"))
    with Database(url).unchecked_work() as work, work.writing() as connection:
        quoted = connection.dialect.identifier_preparer.quote_identifier
        connection.execute(sa.text(f"REVOKE CONNECT ON DATABASE {quoted(name)} FROM PUBLIC"))
        if who is None:
            return
        there = connection.scalar(sa.text("SELECT count(*) FROM pg_roles WHERE rolname = :name"), {"name": who})
        if who == "PUBLIC" or there:
            role = who if who == "PUBLIC" else quoted(who)
            connection.execute(sa.text(f"GRANT CONNECT ON DATABASE {quoted(name)} TO {role}"))


def _erased_since(settings: Settings, moment: Moment) -> str | None:
    """Why the database stays closed; None when it is known that nobody was erased since the dump."""
    known = {identifier for ids in moment.erasures.values() for identifier in ids}
    since = {path.stem for path in (settings.home / FOLDER).glob("*/*.json")} - known
    there, unreadable = all_moments(settings)
    since |= {one for ids in there[-1].erasures.values() for one in ids} - known
    if since:
        return (
            f"{len(since)} students were erased since the dump was taken, and are in it again: erase them by the "
            "keeper's URL (`edupulse privacy erase`), with the raw archive beside it, then let the others in (GRANT "
            "CONNECT ON DATABASE … TO PUBLIC)."
        )
    try:
        read_facts(Database(settings.database_url), settings.tenants)
    except EduPulseError:
        if any(one.id > moment.id for one in unreadable):
            return (
                "Who was erased since the dump cannot be known: neither the live database nor a newer moment can be "
                "read. When it is sure, let the others in (GRANT CONNECT ON DATABASE … TO PUBLIC)."
            )
    return None
