"""Taking a moment: first the database, then MLflow's store, then the files, and the manifest last.

The order matters: archives and models are written before the rows that name them, so whatever a row of the copied
database names is there when the files are copied after it. An erasure rewrites archives and rows together: where that
happened in between, archives and database do not fit, and the moment is taken again.

A moment of a SQLite home holds the copy of its database; one on PostgreSQL names a restore point, which lies after the
end of a base backup. Loads are not stopped by either.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from edupulse_pipelines import __version__
from edupulse_pipelines.errors import ConfigurationError, PermanentError, TransientError
from edupulse_pipelines.file_locks import if_free
from edupulse_pipelines.ingest.archived_file import archive_path
from edupulse_pipelines.operations.backup import base_backups
from edupulse_pipelines.operations.backup.barman_backups import FIRST_WITH_INCREMENTS
from edupulse_pipelines.operations.backup.contents import Contents, Kept
from edupulse_pipelines.operations.backup.database_facts import DatabaseFacts, read_facts
from edupulse_pipelines.operations.backup.dumps import take_dump
from edupulse_pipelines.operations.backup.home_files import WORK, HomeFile, home_files, mlflow_file, not_covered
from edupulse_pipelines.operations.backup.key_copies import keep_keys
from edupulse_pipelines.operations.backup.moments import (
    DATABASE,
    DUMP,
    MLFLOW,
    Moment,
    StoredFile,
    all_moments,
    encrypt_manifests,
    moments_folder,
    new_id,
    ring_of,
    write_manifest,
)
from edupulse_pipelines.operations.backup.retiring import retire
from edupulse_pipelines.settings import Settings
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines.storage.engine import file_of, is_absent
from edupulse_pipelines.storage.sqlite_files import copy_sqlite

_WHOLE_COPY_AFTER = dt.timedelta(days=7)
_ATTEMPTS = 4
_PAUSE_SECONDS = 2.0
_CLOCK_SLACK_NS = 2_000_000_000
"""A file written less than this before it was read may have been written again without a newer time."""
Told = Callable[[str], None]
Copy = Callable[[Path, Path], None]
"""Copies a SQLite database to a file that is not there."""


class BackupUnderWay(TransientError):
    """Somebody else is backing this home up, or restoring from its backups."""


@dataclass(frozen=True)
class Taken:
    """A moment, and the ids of the older ones that were thrown away for it; `freed` in bytes."""

    moment: Moment
    retired: tuple[str, ...]
    freed: int
    trouble: str | None = None
    """Why older ones could not be thrown away."""


def take_moment(
    settings: Settings,
    database: Database,
    *,
    full: bool = False,
    dump: bool = False,
    tell: Told = lambda _: None,
    copy: Copy | None = None,
) -> Taken:
    """Take a moment of now, and throw away those that are too old.

    database: as its owner, so that every district is seen. full: a full base backup, and every file read again. dump:
    a logical dump of a PostgreSQL besides. tell: hears what is being done. copy: in the place of `copy_sqlite`, also
    where the moment is taken again. BackupUnderWay while another one runs; PermanentError for a home without a
    database, or one that is damaged, and where a key is lost that earlier ones need; OSError as the disks raise it.
    Then there is no new moment, and the earlier ones are as before.
    """
    folder = settings.backup_dir
    if is_absent(settings.database_url):
        raise PermanentError(f"There is no database at {file_of(settings.database_url)}: nothing to back up.")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with alone(settings):
        contents = Contents(folder, ring_of(settings), read_kept=full)
        _remove_unfinished(settings, contents)
        for sentence in keep_keys(settings):
            tell(sentence)
        moment = _Taking(settings, database, contents, full, dump, tell, copy).moment()
        keep_keys(settings)  # also that of a district whose first archive came meanwhile
        write_manifest(settings, moment)
        try:
            retired, freed = retire(settings, contents)
        except OSError as error:  # the moment is there all the same
            return Taken(moment, (), 0, f"Older moments could not be thrown away: {error.strerror}.")
    return Taken(moment, retired, freed)


def encrypt_backups(settings: Settings) -> int:
    """Encrypt what moments of before the key have left plain; how many files. BackupUnderWay while one is taken."""
    if not settings.backup_dir.is_dir() or ring_of(settings) is None:
        return 0
    with alone(settings):
        keep_keys(settings)
        contents = Contents(settings.backup_dir, ring_of(settings))
        return contents.encrypt_plain() + encrypt_manifests(settings)


@contextmanager
def undisturbed(settings: Settings) -> Iterator[None]:
    """Keep backups of this folder out while something is restored from it; of one that is read-only nobody writes."""
    if os.access(settings.backup_dir, os.W_OK):
        with alone(settings):
            yield
    else:
        yield


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Keep other backups of this folder out for the block; BackupUnderWay when there is one."""
    with if_free(settings.backup_dir / "backup.lock") as free:
        if not free:
            raise BackupUnderWay(f"Another backup into {settings.backup_dir} is under way: try again when it is done.")
        yield


def _remove_unfinished(settings: Settings, contents: Contents) -> None:
    """What a backup has left that was killed."""
    contents.remove_unfinished()
    for path in moments_folder(settings).glob("*.tmp"):
        path.unlink(missing_ok=True)
    for folder in (settings.backup_dir / WORK, settings.home / WORK):
        shutil.rmtree(folder, ignore_errors=True)


class _Taking:
    """One moment as it is taken."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        contents: Contents,
        full: bool,
        dump: bool,
        tell: Told,
        copy: Copy | None,
    ) -> None:
        self._copy = copy or copy_sqlite
        self._dump = dump
        self._settings, self._database, self._contents, self._tell = settings, database, contents, tell
        self._full = full
        known, _ = all_moments(settings)
        self._known = {} if full or not known else {file.name: file for file in known[-1].files}
        self._new_bytes = 0
        self._sqlite = file_of(settings.database_url)
        if self._sqlite is None and not settings.database_url.startswith("postgresql"):
            raise PermanentError("A database in memory cannot be backed up.")
        if dump and self._sqlite is not None:
            raise ConfigurationError("On SQLite a moment holds the database itself: there is nothing to dump.")

    def moment(self) -> Moment:
        """Take it; taken again where an erasure came in between."""
        base = self._base_backup() if self._sqlite is None else None
        before: tuple[str, ...] | None = None
        for attempt in range(_ATTEMPTS):
            work = self._work_folder
            work.mkdir(mode=0o700)
            try:
                found, facts = self._try(work, base)
            finally:
                shutil.rmtree(work, ignore_errors=True)
            wrong = tuple(self._wrong(found, facts))
            if self._upgraded_since(found):
                wrong = (*wrong, "schema")
            if not wrong or (wrong == before and not facts.erasures_under_way):
                break
            before = wrong
            if attempt + 1 < _ATTEMPTS:
                self._tell("Archives were rewritten meanwhile: once more.")
                time.sleep(_PAUSE_SECONDS)
        return replace(found, damaged=wrong, new_bytes=self._new_bytes)

    @property
    def _work_folder(self) -> Path:
        """Where databases are copied to: with a key in the home, so that they never lie plain where backups do."""
        return (self._settings.home if self._contents.encrypts else self._settings.backup_dir) / WORK

    def _base_backup(self) -> base_backups.BaseBackup | None:
        """The base backup of the moment; None where another tool than Barman makes them."""
        if self._settings.backup.restore_command is not None:
            return None
        there = base_backups.base_backups(self._settings)
        newest = there[-1] if there else None
        if newest is not None and not self._full and not self._due(newest):
            return newest
        self._tell("Base backup of the database …")
        return base_backups.take_base_backup(self._settings, full=self._full)

    def _due(self, newest: base_backups.BaseBackup) -> bool:
        """Whether the moment needs a base backup of its own: an increment is cheap, a whole copy is taken weekly.

        WAL has what came after the newest one, and replaying a week of it takes minutes. Where WAL does not lead from
        it to now, it is of no use to this moment.
        """
        backup = self._settings.backup
        whole = newest.server_version < FIRST_WITH_INCREMENTS or backup.increments == 0
        if not whole and backup.compression == "none" and backup.gpg_key is None:
            return True
        if dt.datetime.now(dt.UTC) - newest.end > _WHOLE_COPY_AFTER:
            return True
        because = base_backups.cannot_lead_to_now(self._settings, newest)
        if because is not None:
            self._tell(because)
        return because is not None

    def _try(self, work: Path, base: base_backups.BaseBackup | None) -> tuple[Moment, DatabaseFacts]:
        settings = self._settings
        at = dt.datetime.now(dt.UTC)
        identifier = new_id(settings, at)
        files: list[StoredFile] = []
        tenants = {*settings.tenants, *settings.broken_tenants}
        restore_point = None
        if self._sqlite is not None:
            self._tell("Database …")
            copied = work / "database"
            self._copy(self._sqlite, copied)
            facts = read_facts(Database(f"sqlite:///{copied}"), tenants)
            files.append(self._moved(DATABASE, copied))
        else:
            facts = read_facts(self._database, tenants)
            if settings.backup.restore_command is None:
                self._tell("Restore point …")
                made = base_backups.make_restore_point(settings, f"edupulse-{identifier}")
                restore_point, at = made.name, made.time
            if self._dump:
                files += self._dumped(work)
        store = mlflow_file(settings)
        if store is not None and store.is_file():
            copied = work / "mlflow"
            copy_sqlite(store, copied)
            files.append(self._moved(MLFLOW, copied))
        self._tell("Files …")
        kept = (self._kept(file, work) for file in home_files(settings))
        files += [file for file in kept if file is not None]
        return (
            Moment(
                id=identifier,
                at=at,
                ended=dt.datetime.now(dt.UTC),
                database="postgresql" if self._sqlite is None else "sqlite",
                package_version=__version__,
                schema_revision=facts.revision,
                audit_head=facts.audit_head,
                last_change=facts.last_change,
                home=str(settings.home),
                restore_point=restore_point,
                base_backup=None if base is None else base.id,
                erasures=facts.erasures,
                deliveries=facts.deliveries,
                left_out=not_covered(settings),
                files=tuple(sorted(files, key=lambda file: file.name)),
            ),
            facts,
        )

    def _dumped(self, work: Path) -> list[StoredFile]:
        self._tell("Logical dump …")
        folder = work / "dump"
        take_dump(self._settings, folder, plain=True)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return [self._moved(f"{DUMP}{path.relative_to(folder).as_posix()}", path) for path in paths]

    def _moved(self, name: str, copied: Path) -> StoredFile:
        """A copy that we have made, kept under its content."""
        return self._stored(name, copied, 0, move=True)

    def _kept(self, file: HomeFile, work: Path) -> StoredFile | None:
        """A file of the home, kept; None for one that has gone meanwhile. One that has not changed is not read."""
        try:
            if file.is_database:
                copied = work / "file"
                copy_sqlite(file.path, copied)
                return self._moved(file.name, copied)
            state = file.path.stat()
            known = self._known.get(file.name)
            unchanged = known is not None and (known.size, known.mtime_ns) == (state.st_size, state.st_mtime_ns)
            if known is not None and unchanged and self._contents.has(known.sha256):
                return known
            fresh = time.time_ns() - state.st_mtime_ns < _CLOCK_SLACK_NS
            return self._stored(file.name, file.path, 0 if fresh else state.st_mtime_ns)
        except FileNotFoundError:
            return None

    def _stored(self, name: str, path: Path, mtime_ns: int, *, move: bool = False) -> StoredFile:
        had = self._contents.stored_count
        kept: Kept = self._contents.add(path, move=move)
        if self._contents.stored_count > had:
            self._new_bytes += kept.size
        return StoredFile(name, kept.size, kept.sha256, mtime_ns)

    def _upgraded_since(self, found: Moment) -> bool:
        """Whether the schema is another one than before the restore point; SQLite's is that of the copy."""
        return self._sqlite is None and read_facts(self._database, ()).revision != found.schema_revision

    def _wrong(self, moment: Moment, facts: DatabaseFacts) -> Iterator[str]:
        """The names of archives that are not as the database has them."""
        hashes = {file.name: file.sha256 for file in moment.files}
        raw = Path("raw")
        for one in facts.archives:
            path = archive_path(raw, one.tenant, one.table, one.delivered_on, one.file_name, one.sha256)
            if hashes.get(path.as_posix()) != one.archive_sha256:
                yield path.as_posix()
