"""How backups stand: how old the newest is, how much would be lost now, what they take, and what to mend."""

from __future__ import annotations

import datetime as dt
import shutil
from dataclasses import dataclass, field
from typing import Any

from edupulse_pipelines.errors import EduPulseError
from edupulse_pipelines.operations.backup import base_backups
from edupulse_pipelines.operations.backup.contents import Contents
from edupulse_pipelines.operations.backup.home_files import other_backups
from edupulse_pipelines.operations.backup.key_copies import not_kept
from edupulse_pipelines.operations.backup.moments import Moment, all_moments, plain_manifests, ring_of
from edupulse_pipelines.operations.recovery.scratch import is_left
from edupulse_pipelines.settings import Settings
from edupulse_pipelines.sizes_in_words import in_bytes


@dataclass
class Standing:
    """How backups stand. Seconds and bytes; None where nobody knows.

    rpo_seconds: the work of how long would be lost now: since the newest moment on SQLite, since the last WAL that was
    received on PostgreSQL. stored_bytes: what contents take on the disk. encrypted: whether all of ours is. warnings:
    what somebody has to look at, and `notes` what is so and may stay so.
    """

    folder: str
    newest: Moment | None
    moments: int
    age_seconds: float | None
    rpo_seconds: float | None
    stored_bytes: int
    free_bytes: int
    encrypted: bool
    wal: base_backups.WalState | None = None
    base_backup: base_backups.BaseBackup | None = None
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """The same for `--json`."""
        return {
            "folder": self.folder,
            "moments": self.moments,
            "newest": self.newest.facts() if self.newest else None,
            "age_seconds": self.age_seconds,
            "rpo_seconds": self.rpo_seconds,
            "stored_bytes": self.stored_bytes,
            "free_bytes": self.free_bytes,
            "encrypted": self.encrypted,
            "base_backup": self.base_backup.id if self.base_backup else None,
            "wal_age_seconds": self.wal.age_seconds if self.wal else None,
            "wal_receiving": self.wal.receiving if self.wal else None,
            "slot": self.wal.slot if self.wal else None,
            "warnings": self.warnings,
            "notes": self.notes,
        }


def standing(settings: Settings, now: dt.datetime | None = None) -> Standing:
    """How the backups of a home stand now. Answers also when the database does not."""
    now = now or dt.datetime.now(dt.UTC)
    there, unreadable = all_moments(settings)
    newest = there[-1] if there else None
    age = (now - newest.at).total_seconds() if newest else None
    contents = Contents(settings.backup_dir, ring_of(settings))
    stored = {file.sha256 for moment in there for file in moment.files}
    place = next(folder for folder in (settings.backup_dir, *settings.backup_dir.parents) if folder.exists())
    plain = len(contents.plain()) + len(plain_manifests(settings))
    found = Standing(
        folder=str(settings.backup_dir),
        newest=newest,
        moments=len(there),
        age_seconds=age,
        rpo_seconds=age,
        stored_bytes=sum(contents.stored_size(sha256) for sha256 in stored),
        free_bytes=shutil.disk_usage(place).free,
        encrypted=ring_of(settings) is not None and plain == 0,
    )
    found.warnings += [one.why for one in unreadable]
    if newest is None:
        found.warnings.append("There is no moment: nothing can be restored. `edupulse backup create` takes one.")
    elif age is not None and age > settings.backup.max_age_hours * 3600:
        found.warnings.append(
            f"The newest moment is {age / 3600:,.0f} hours old ([backup] max_age_hours is "
            f"{settings.backup.max_age_hours})."
        )
    if newest is not None and (alone := not_kept(settings)):
        found.warnings.append(
            f"The data keys {', '.join(alone)} are in the home alone, and what they encrypt is lost with them: "
            "`edupulse backup create` copies them."
        )
    if newest is not None and newest.damaged:
        found.warnings.append(f"{len(newest.damaged)} archives of the home are damaged: `edupulse backup verify`.")
    if newest is not None and found.free_bytes < 2 * newest.bytes:
        found.warnings.append(f"{in_bytes(found.free_bytes)} are free in {place}: two more whole copies do not fit.")
    if settings.home.exists() and place.stat().st_dev == settings.home.stat().st_dev:
        found.notes.append(
            "Backups lie on the disk of the home, and are lost with it: name another place ([backup] folder), or copy "
            "the folder elsewhere."
        )
    found.notes += [
        f"Earlier backups lie in {folder}, which [backup] folder does not name: nothing old is thrown away there, and "
        "whoever has been erased since is in them. Take it away when they are no longer wanted."
        for folder in other_backups(settings)
    ]
    if ring_of(settings) is None:
        found.notes.append("Backups are not encrypted ([encryption]).")
    elif plain:
        found.notes.append(f"{plain:,} files of backups lie there plain, of before the key: `edupulse keys apply`.")
    if is_left(settings):
        found.notes.append(
            f"A drill is under way, or one was killed and has left a copy of the data in {settings.drill_dir}, which "
            "the next daily look takes away (or `edupulse backup drill --clean`)."
        )
    if settings.database_url.startswith("postgresql"):
        _add_database(settings, found)
    return found


def _add_database(settings: Settings, found: Standing) -> None:
    if settings.backup.restore_command is not None:
        found.rpo_seconds = None
        found.notes.append("The database is backed up by another tool ([backup] restore_command): ask it.")
        return
    if ring_of(settings) is not None and settings.backup.gpg_key is None:
        found.notes.append("Base backups and WAL are not encrypted ([backup] gpg_key).")
    try:
        backups = base_backups.base_backups(settings)
        found.base_backup = backups[-1] if backups else None
        found.wal = base_backups.wal_state(settings)
    except EduPulseError as error:
        found.rpo_seconds = None
        found.warnings.append(str(error))
        return
    found.rpo_seconds = found.wal.age_seconds
    if found.base_backup is None:
        found.warnings.append("There is no base backup of the database: `edupulse backup create` takes one.")
    if found.wal.another_server is not None:
        found.warnings.append(found.wal.another_server)
    if not found.wal.receiving:
        found.warnings.append("No WAL is being received: what is changed now is in no backup. `edupulse backup setup`.")
    if found.wal.slot in ("missing", "lost"):
        found.warnings.append(f"The replication slot is {found.wal.slot}: take a full base backup after mending it.")
    if found.wal.gaps:
        found.warnings.append(f"WAL is missing in {len(found.wal.gaps)} places: `edupulse backup verify` names them.")
