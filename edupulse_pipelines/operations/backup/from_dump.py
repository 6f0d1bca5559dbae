"""Restoring a logical dump into an empty database, which may be of a later major version: closed until it is known.

A dump has everybody who was erased since. The database is closed to all but the keeper and superusers before a row is
in it, and opened when it is known that nobody was erased since; otherwise the keeper erases them again first. Who was
erased is asked as for a home that is restored into a folder (`live_home`).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.governance.role_names import RoleNames
from edupulse_pipelines.operations.backup.contents import Contents
from edupulse_pipelines.operations.backup.database_facts import read_facts
from edupulse_pipelines.operations.backup.dumps import plain_folder, restore_dump, taken_at
from edupulse_pipelines.operations.backup.live_home import ask_live, ids_of, noted_in
from edupulse_pipelines.operations.backup.moments import DUMP, Moment, all_moments, ring_of
from edupulse_pipelines.settings import Settings, normalise_database_url
from edupulse_pipelines.storage.database import Database

_THEN = "then let the others in (GRANT CONNECT ON DATABASE … TO PUBLIC)."


@dataclass
class FromDump:
    """What was restored. roles: what could not be done about roles. differences: of the schema. closed: why it is.

    not_known: what of erasures nobody can know.
    """

    roles: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    closed: str | None = None
    not_known: str | None = None


@dataclass(frozen=True)
class _Since:
    """Who was erased until now, as far as it is known; by which time the knowledge ends, None for now."""

    erased: set[str]
    known_until: dt.datetime | None = None


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


def restore_from_moment(settings: Settings, moment: Moment, url: str) -> FromDump:
    """Restore the moment's dump into the empty database at `url`, as a superuser. Errors as `restore_dump`.

    The live home is only read. The database stays closed when somebody was erased since, or nobody can know.
    """
    with plain_folder(settings) as folder:
        contents = Contents(settings.backup_dir, ring_of(settings))
        for file in moment.dump:
            contents.write_to(file.sha256, folder / file.name.removeprefix(DUMP))
        return restore_from_folder(settings, folder, url, of=moment)


def restore_from_folder(
    settings: Settings, folder: Path, url: str, *, jobs: int = 2, of: Moment | None = None
) -> FromDump:
    """The same with the dump in a folder. of: the moment that it belongs to, if it does."""
    target = normalise_database_url(url)
    at = taken_at(folder)
    since = _asked(settings, of, at)  # before, because the database may be the one that the settings name
    done = FromDump()
    done.roles = restore_dump(settings, folder, target, jobs=jobs, begin=lambda: _let_in(target, None))
    database = Database(target)
    done.differences = database.check()
    _judge(done, since, ids_of(read_facts(database, settings.tenants).erasures), at)
    _let_in(target, RoleNames(settings.roles.prefix, ()).keeper if done.closed else "PUBLIC")
    return done


def _asked(settings: Settings, of: Moment | None, at: dt.datetime) -> _Since:
    """Ask the live home and the newest moment who was erased after a dump, which was taken at this time."""
    there, unreadable = all_moments(settings)
    newest = there[-1] if there else None
    live = ask_live(settings, newest)
    erased = noted_in(settings) | (live.erased or set()) | (ids_of(newest.erasures) if newest is not None else set())
    if live.erased is not None:
        return _Since(erased)
    newer_is_unreadable = any(newest is None or one.id > newest.id for one in unreadable)
    if newest is None or newer_is_unreadable or newest.at <= at or (of is not None and newest.id == of.id):
        return _Since(erased, at)
    return _Since(erased, newest.at)


def _judge(done: FromDump, since: _Since, known: set[str], at: dt.datetime) -> None:
    """Whether the database stays closed. known: the erasures that it knows, after which its dump was taken."""
    if again := since.erased - known:
        done.closed = (
            f"{len(again):,} students were erased since the dump was taken, and are in it again: erase them by the "
            f"keeper's URL (`edupulse privacy erase`), with the raw archive beside it, {_THEN}"
        )
    if since.known_until is None:
        return
    if since.known_until > at:
        done.not_known = (
            f"The live home cannot be asked. Whoever was erased after {since.known_until:%Y-%m-%d %H:%M} UTC, the time "
            "of the newest moment, is in it again: erase them again."
        )
    else:
        unknown = (
            "Who has been erased since the dump was taken cannot be known: neither the live home nor a newer moment "
            "can be read. Erase again whoever the office has on its list (`edupulse privacy erase`, by the keeper's "
            f"URL), also when that is nobody, {_THEN}"
        )
        done.closed = unknown if done.closed is None else f"{done.closed} {unknown}"


def _let_in(url: str, who: str | None) -> None:
    """Let this role connect to the database, and before that nobody but superusers and its owner.

    PermanentError where the role that restores may not close it, because it is neither a superuser nor its owner.
    """
    name = unquote(urlsplit(url).path.lstrip("/"))
    with Database(url).unchecked_work() as work, work.writing() as connection:
        quoted = connection.dialect.identifier_preparer.quote_identifier
        connection.execute(sa.text(f"REVOKE CONNECT ON DATABASE {quoted(name)} FROM PUBLIC"))
        open_to_all = sa.text("SELECT has_database_privilege('public', current_database(), 'CONNECT')")
        if connection.scalar(open_to_all):
            raise PermanentError(
                "This role may not close the database, in which everybody would be who was erased since the dump was "
                "taken: restore as a superuser, or as the database's owner."
            )
        if who is None:
            return
        there = connection.scalar(sa.text("SELECT count(*) FROM pg_roles WHERE rolname = :name"), {"name": who})
        if who == "PUBLIC" or there:
            role = who if who == "PUBLIC" else quoted(who)
            connection.execute(sa.text(f"GRANT CONNECT ON DATABASE {quoted(name)} TO {role}"))
