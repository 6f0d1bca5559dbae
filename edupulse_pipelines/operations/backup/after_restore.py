"""What is done with a restored home before anybody reads it: is it as it should be, who was erased since, what is lost.

Whoever was erased after the moment is in its database again. Their hashes are in the live home, and in the newest
moment; by them they are erased again. Where the live home cannot be asked and no moment is newer than what was
restored, nobody knows who it was, and the home stays closed to all but the keeper (`storage.closed`). Which deliveries
came after the newest moment is known by the live database alone. `opening` opens a closed home. Nothing here writes
outside the restored home.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edupulse_pipelines.encryption.files import shown
from edupulse_pipelines.encryption.keyring import use_keys
from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.governance.erased_again import erase_again, take_out_noted
from edupulse_pipelines.governance.kept_files import kept_bundles, refused_files
from edupulse_pipelines.governance.role_names import RoleNames
from edupulse_pipelines.hashing import hash_of_file
from edupulse_pipelines.ingest.archived_file import archive_path, hash_of_archive
from edupulse_pipelines.operations.backup import closed_server
from edupulse_pipelines.operations.backup.contents import Contents
from edupulse_pipelines.operations.backup.database_facts import DatabaseFacts, read_facts
from edupulse_pipelines.operations.backup.live_home import Live, ask_live, ids_of
from edupulse_pipelines.operations.backup.moments import DATABASE, SERVER_FOLDER, SETTINGS, Moment, ring_of
from edupulse_pipelines.operations.backup.restoring import (
    DATA_FOLDER,
    Plan,
    Told,
    restored_settings,
)
from edupulse_pipelines.private_home import as_senders_write
from edupulse_pipelines.schema.migrations import knows
from edupulse_pipelines.settings import Settings, keeper_url, normalise_database_url
from edupulse_pipelines.storage import closed
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines.storage.erased import FOLDER, KEY_FILE
from edupulse_pipelines.whole_files import make_folder, write_new

_HOURS_TO_REPLAY = 24.0
_CLOSED = (
    "It was restored, and who has been erased since cannot be known: neither the live home nor a newer moment can be "
    "read. Erase again whoever the office has on its list (`edupulse privacy erase`), then, also when that is nobody, "
    "open it: `edupulse backup open`."
)
_NOTES_GONE = (
    "It was restored, and the notes of {count} erasures are gone: whom they were of cannot be known. Erase them again "
    "(`edupulse privacy erase`), then open it: `edupulse backup open`."
)
_AGAIN = "It was restored, and not everybody who was erased since could be erased again:"


@dataclass
class Looked:
    """What was found in a restored home.

    differences: of the schema with what is declared. models: what MLflow and the table of models disagree about.
    archives: those that are not as the database has them. erased: what went when students were erased again. lost: by
    district the deliveries to land again, by name; None where nothing is known of them. lost_unknown_since: the time
    after which nobody knows what was delivered, if there is one. not_known: what of erasures nobody can know. key: what
    is to be done about the operator's key, if anything. closed: why it is closed, if it is.
    """

    schema_revision: str | None = None
    differences: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    erased: Counter[str] = field(default_factory=Counter)
    lost: dict[str, list[str]] | None = None
    lost_unknown_since: str | None = None
    not_known: str | None = None
    key: str | None = None
    closed: str | None = None

    @property
    def is_in_order(self) -> bool:
        """Whether nothing is wrong with it; what is lost is lost all the same."""
        return not (self.differences or self.models or self.archives or self.closed)


def look_after(settings: Settings, plan: Plan, tell: Told = lambda _: None) -> Looked:
    """Look at a restored home, erase again whom it has to be without, and open it unless it must stay closed.

    settings: of the live home. Files alone have no database: whoever was erased is noted for the one that they are put
    beside, and taken out of their archives.
    """
    looked = Looked()
    use_keys(settings, plan.to)  # what it holds is encrypted, as what the live home holds
    _make_landing(plan)
    looked.key = _key_to_bring(plan)
    live = _asked(settings, plan)
    unknown = _bring_erasures(settings, plan, live, looked)
    if plan.target is None:
        if plan.part == "files":
            looked.closed = unknown
            _take_out_of_archives(settings, plan, live, looked, tell)
        else:
            _look_at(settings, plan, live, f"sqlite:///{plan.to / DATABASE}", None, looked, unknown, tell)
        if looked.closed is None:
            closed.open_again(plan.to / DATABASE)
        else:
            closed.close(plan.to / DATABASE, looked.closed)
    else:
        with _started(settings, plan, tell) as (url, role):
            _look_at(settings, plan, live, url, role, looked, unknown, tell)
        data = plan.to / DATA_FOLDER
        closed.open_again(plan.to / DATABASE)  # the file belongs to no database here
        if looked.closed is None:
            closed_server.open_again(data)
        else:
            closed_server.close(data, plan.to, looked.closed, _names(settings).keeper)
    return looked


def _look_at(
    settings: Settings,
    plan: Plan,
    live: Live,
    url: str,
    role: str | None,
    looked: Looked,
    unknown: str | None,
    tell: Told,
) -> None:
    """Compare the restored database with what is declared and with the files, and erase again whoever was erased.

    unknown: why nobody can know who that is. Its parameters are what was found before.
    """
    database = Database(url, role, for_keeper=True)
    facts = read_facts(database, {*settings.tenants, *plan.moment.deliveries})
    looked.schema_revision = facts.revision
    looked.lost = deliveries_since(plan, live.deliveries, facts)
    if live.deliveries is None:
        newest = plan.newest or plan.moment
        looked.lost_unknown_since = newest.at.isoformat(timespec="seconds")
        looked.lost = looked.lost or None
    looked.differences = database.check()
    if plan.part == "all":
        looked.archives = list(_wrong_archives(plan.to, facts))
    if unknown is not None:
        looked.closed = unknown
    elif looked.differences and _erased_since(plan, facts):
        newer = facts.revision is not None and not knows(facts.revision)
        first = "Install the version of the package that made it" if newer else "Run `edupulse db upgrade`"
        looked.closed = (
            f"{_AGAIN} its schema is another version's. {first}, erase them again (`edupulse privacy erase`), then "
            "open it: `edupulse backup open`."
        )
    elif not looked.differences and plan.part == "all":
        restored = restored_settings(plan, url)
        tell("Who was erased since …")
        _erase_again(plan, restored, database, looked)
        tell("Models …")
        looked.models = _models(restored, database)
    elif plan.part == "database" and (since := _erased_since(plan, facts)):
        looked.closed = (
            f"{_AGAIN} only the database was restored, and {len(since)} students who were erased since are in it, and "
            "may be in the raw archive as well. Restore without `--only database`, which erases them again; or put it "
            f"{_with_its_marker(plan)}into the home whose raw archive it belongs to, erase them there (`edupulse "
            "privacy erase`), then open it: `edupulse backup open`."
        )


def _with_its_marker(plan: Plan) -> str:
    """What has to be moved along with a SQLite database that is closed, so that it stays so."""
    return f"and {closed.marker(plan.to / DATABASE).name} " if plan.target is None else ""


@contextmanager
def _started(settings: Settings, plan: Plan, tell: Told) -> Iterator[tuple[str, str | None]]:
    """A server over the restored data folder that nobody else reaches, once it has replayed: its URL, and the owner.

    It is stopped at the end; everything it wrote is on the disk then.
    """
    from edupulse_pipelines.operations.postgresql_server import data_major, programs_for
    from edupulse_pipelines.operations.recovery.scratch import RestoredServer, Scratch

    data = plan.to / DATA_FOLDER
    programs = programs_for(data_major(data), settings.programs_dir)
    keeper, parsed = keeper_url(), urlsplit(settings.database_url)
    name = unquote(parsed.path.lstrip("/"))
    user = unquote(urlsplit(keeper).username or "postgres") if keeper else unquote(parsed.username or "postgres")
    server = RestoredServer(Scratch(plan.to), SERVER_FOLDER, programs, name, user)
    tell("Replaying …")
    owner = plan.to.stat().st_uid
    try:
        server.start()
        server.wait_until_recovered(_HOURS_TO_REPLAY)
        yield normalise_database_url(server.url()), _names(settings).owner if keeper else None
    finally:
        server.server.stop("fast")
        os.sync()  # it ran without waiting for the disk
        _take_away(plan.to, owner)


def _take_away(home: Path, owner: int) -> None:
    """What the server was started with goes, and the home is its owner's again; the server's user may pass through."""
    folder = home / SERVER_FOLDER
    socket = folder / "socket"
    if socket.is_symlink():  # a path that is too long for one
        shutil.rmtree(socket.resolve(), ignore_errors=True)
        socket.unlink()
    for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf", "server.log"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(socket, ignore_errors=True)
    if os.geteuid() == 0:
        os.chown(home, owner, folder.stat().st_gid)
        home.chmod(0o710)


def _names(settings: Settings) -> RoleNames:
    return RoleNames(settings.roles.prefix, tuple(sorted({*settings.tenants, *settings.broken_tenants})))


def _make_landing(plan: Plan) -> None:
    """The landing folders that lie in the restored home: empty ones, for what districts send from now on."""
    if not (plan.to / SETTINGS).is_file():
        return
    for tenant in restored_settings(plan).tenants.values():
        if tenant.landing.is_relative_to(plan.to):
            with as_senders_write():
                tenant.landing.mkdir(parents=True, exist_ok=True)


# Erasures


def _bring_erasures(settings: Settings, plan: Plan, live: Live, looked: Looked) -> str | None:
    """Put the notes of erasures of now into the restored home; why it cannot be known who was erased, if it cannot.

    They are those of the live home, where there is one, and of the newest moment. The key that they are made with goes
    along.
    """
    newest = plan.newest
    if live.erased is not None:
        for path in sorted((settings.home / FOLDER).glob("*/*.json")):
            _note(plan.to, path.relative_to(settings.home), path.read_bytes())
        _bring_key(plan.to, settings.home / KEY_FILE)
    if newest is not None:
        contents = Contents(settings.backup_dir, ring_of(settings))
        for file in newest.files:
            if file.name == KEY_FILE and not (plan.to / KEY_FILE).exists():
                contents.write_to(file.sha256, plan.to / KEY_FILE)
            elif file.name.startswith(f"{FOLDER}/"):
                _note(plan.to, Path(file.name), contents.bytes_of(file.sha256))
    noted = {path.stem for path in (plan.to / FOLDER).glob("*/*.json")}
    if gone := {*(live.erased or ()), *(ids_of(newest.erasures) if newest is not None else ())} - noted:
        return _NOTES_GONE.format(count=len(gone))
    if live.erased is not None:
        return None
    if newest is None or not _is_newer(newest, plan) or any(one.id > plan.moment.id for one in plan.unreadable):
        return _CLOSED
    looked.not_known = (
        f"The live home cannot be asked. Whoever was erased after {newest.at:%Y-%m-%d %H:%M} UTC, the time of the "
        "newest moment, is in it again: erase them again."
    )
    return None


def _is_newer(newest: Moment, plan: Plan) -> bool:
    """Whether a moment says who was erased after what is restored."""
    if plan.target is not None and plan.target.time is not None:
        return newest.at > plan.target.time
    return newest.id != plan.moment.id


def _asked(settings: Settings, plan: Plan) -> Live:
    return Live() if settings.home.resolve() == plan.to.resolve() else ask_live(settings, plan.newest)


def _key_to_bring(plan: Plan) -> str | None:
    """What to do where the restored settings name a key file that is not there: it is in no backup."""
    if not (plan.to / SETTINGS).is_file():
        return None
    key_file = restored_settings(plan).encryption.key_file
    if key_file is None or key_file.exists():
        return None
    return f"Its settings name the operator's key in {key_file}, which is not there: put it there, or name its place."


def _note(home: Path, name: Path, content: bytes) -> None:
    target = home / name
    if target.exists():
        return
    json.loads(content)  # what is damaged says nothing
    make_folder(target.parent)
    write_new(target, content)


def _bring_key(home: Path, key: Path) -> None:
    """PermanentError where the restored home has another key: its notes and the live ones would not fit together."""
    if not key.is_file():
        return
    ours = home / KEY_FILE
    if not write_new(ours, key.read_bytes()) and ours.read_bytes() != key.read_bytes():
        raise PermanentError(
            f"{ours} and {key} are different keys: who was erased cannot be compared. The restored home stays closed."
        )


def _erased_since(plan: Plan, facts: DatabaseFacts | Moment) -> list[Path]:
    """The notes of erasures that the restored database, or the moment whose files they are, does not know."""
    known = ids_of(facts.erasures)
    return [path for path in sorted((plan.to / FOLDER).glob("*/*.json")) if path.stem not in known]


def _take_out_of_archives(settings: Settings, plan: Plan, live: Live, looked: Looked, tell: Told) -> None:
    """Take whoever was erased since out of the archives of files that were restored without their database.

    Refused files and kept bundles say by names whom they hold, which notes do not tell: those that are not as the live
    home has them, or without it the newest moment, keep it closed.
    """
    since = _erased_since(plan, plan.moment)
    if not since:
        return
    tell("Who was erased since …")
    restored = restored_settings(plan)
    looked.erased["erasures since"] = len(since)
    unsure = []
    for name in sorted({path.parent.name for path in since}):
        if name not in restored.tenants:
            looked.closed = f"{_AGAIN} the settings do not name the district {name}."
            continue
        looked.erased.update(take_out_noted(restored.raw_dir, restored.tenants[name]))
        there = [*refused_files(name, restored.raw_dir), *kept_bundles(name, restored.raw_dir)]
        unsure += [path for path in there if not _as_after_the_erasure(settings, plan, live, path)]
    if unsure:
        looked.closed = (
            f"{_AGAIN} {len(since)} students were. Their rows are out of the archives, but {len(unsure)} refused files "
            f"or kept bundles may hold them, such as {shown(unsure[0])}: take those away, or look into them, then open "
            "it: `edupulse backup open`."
        )


def _as_after_the_erasure(settings: Settings, plan: Plan, live: Live, path: Path) -> bool:
    """Whether a file is still as one that an erasure has looked into."""
    name = path.relative_to(plan.to).as_posix()
    if live.erased is not None:
        kept = settings.home / name
        return kept.is_file() and hash_of_file(kept) == hash_of_file(path)
    stored = plan.newest.file(name) if plan.newest is not None else None
    return stored is not None and stored.sha256 == hash_of_file(path)


def _erase_again(plan: Plan, restored: Settings, database: Database, looked: Looked) -> None:
    for name in sorted({path.parent.name for path in (plan.to / FOLDER).glob("*/*.json")}):
        if name not in restored.tenants:
            looked.closed = f"{_AGAIN} the settings do not name the district {name}."
            continue
        with database.work(name) as work:
            try:
                looked.erased.update(erase_again(work, restored.raw_dir, restored.tenants[name]))
            except PermanentError as error:
                looked.closed = (
                    f"{_AGAIN} {error} Then erase them again (`edupulse privacy erase`), and open it: `edupulse backup "
                    "open`."
                )


# Whether it is in order, and what is lost


def _models(restored: Settings, database: Database) -> list[str]:
    """What MLflow and the table of models disagree about, in sentences; nothing is mended."""
    from edupulse_pipelines.risk.book import mirror
    from edupulse_pipelines.risk.book.registry import Registry

    registry = Registry(restored.tracking_uri, restored.mlflow_dir / "artifacts")
    found = []
    for tenant in restored.tenants.values():
        with database.work(tenant.name) as work:
            found += [f"{tenant.name}: {one.sentence}" for one in mirror.sync(work, registry)]
    return found


def _wrong_archives(home: Path, facts: DatabaseFacts) -> Iterator[str]:
    """Archives that the database names and that are gone, or have another hash."""
    for one in facts.archives:
        path = archive_path(home / "raw", one.tenant, one.table, one.delivered_on, one.file_name, one.sha256)
        if hash_of_archive(path) != one.archive_sha256:
            yield f"{one.tenant}: {one.table} delivered {one.delivered_on}"


def deliveries_since(
    plan: Plan, live: dict[str, dict[str, list[str]]] | None, restored: DatabaseFacts
) -> dict[str, list[str]]:
    """By district the deliveries that the restored database does not have whole: those to land again.

    Known of are those of the newest moment, and of the live database where it can be asked.
    """
    known: list[Mapping[str, Mapping[str, list[str]]]] = [live] if live is not None else []
    if plan.newest is not None:
        known.append(plan.newest.deliveries)
    lost: dict[str, set[str]] = {}
    for deliveries in known:
        for name, of in deliveries.items():
            there = restored.deliveries.get(name, {})
            lost.setdefault(name, set()).update(
                day for day, hashes in of.items() if set(hashes) - set(there.get(day, ()))
            )
    return {name: sorted(days) for name, days in sorted(lost.items()) if days}
