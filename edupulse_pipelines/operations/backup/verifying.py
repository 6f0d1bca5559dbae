"""Reading backups to their end: is every content what the manifests say, every base backup and all WAL what it was."""

from __future__ import annotations

from dataclasses import dataclass, field

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.operations.backup import base_backups
from edupulse_pipelines.operations.backup.contents import Contents
from edupulse_pipelines.operations.backup.moments import Moment, all_moments, ring_of
from edupulse_pipelines.operations.backup.restoring import Told
from edupulse_pipelines.operations.backup.retiring import not_retired
from edupulse_pipelines.settings import Settings


@dataclass
class Verified:
    """What was read, and what is wrong, a sentence each."""

    moments: int = 0
    contents: int = 0
    bytes: int = 0
    base_backups: int = 0
    findings: list[str] = field(default_factory=list)


def verify(settings: Settings, point: str | None = None, tell: Told = lambda _: None) -> Verified:
    """Read every content of the moments, or of one of them, and on PostgreSQL base backups and WAL.

    Changes nothing, and nothing is thrown away meanwhile. What needs a key that is not there is a finding, and so is
    what a disk cannot read.
    """
    with not_retired(settings):
        return _verify(settings, point, tell)


def _verify(settings: Settings, point: str | None, tell: Told) -> Verified:
    there, unreadable = all_moments(settings)
    if point is not None:
        there = [one for one in there if point in (one.id, one.restore_point)]
        unreadable = [one for one in unreadable if one.id == point]
        if not there and not unreadable:
            return Verified(findings=[f"There is no moment {point!r}."])
    found = Verified(moments=len(there), findings=[one.why for one in unreadable])
    contents = Contents(settings.backup_dir, ring_of(settings))
    named: dict[str, list[str]] = {}
    sizes: dict[str, int] = {}
    for moment in there:
        for file in moment.files:
            named.setdefault(file.sha256, []).append(moment.id)
            sizes[file.sha256] = file.size
        found.findings += [f"Moment {moment.id}: when it was taken, {name} was damaged." for name in moment.damaged]
    damaged = 0
    tell(f"{len(named):,} contents of {len(there):,} moments …")
    for sha256, moments in sorted(named.items()):
        found.contents += 1
        found.bytes += sizes[sha256]
        if (trouble := contents.trouble(sha256)) is not None:
            also = f" and {len(moments) - 1} others" if len(moments) > 1 else ""
            found.findings.append(f"{trouble} It is of the moment {moments[-1]}{also}.")
            damaged += 1
    if damaged:
        found.findings.append("`edupulse backup create --full` writes again what the home still has of them.")
    if not there and not unreadable:
        found.findings.append(f"There is no moment in {settings.backup_dir}.")
    if settings.database_url.startswith("postgresql") and settings.backup.restore_command is None:
        try:
            _verify_database(settings, found, tell, there)
        except PermanentError as error:
            found.findings.append(str(error))
    return found


def _verify_database(settings: Settings, found: Verified, tell: Told, there: list[Moment]) -> None:
    tell("Base backups and WAL …")
    backups = base_backups.base_backups(settings)
    found.base_backups = len(backups)
    if not backups:
        found.findings.append("There is no base backup: `edupulse backup create` takes one.")
    ids = {backup.id for backup in backups}
    found.findings += [
        f"Moment {moment.id}: its base backup {moment.base_backup} is gone. Its files can be restored, and the "
        "database by an earlier base backup where there is one."
        for moment in there
        if moment.base_backup is not None and moment.base_backup not in ids
    ]
    found.findings += [damage.what for damage in base_backups.verify_base_backups(settings)]
    for gap in base_backups.wal_state(settings).gaps:
        found.findings.append(
            f"WAL is missing: {gap.segments:,} segments, {gap.first} to {gap.last}. Nothing after it can be restored "
            "from backups before it; take a full one (`edupulse backup create --full`)."
        )
