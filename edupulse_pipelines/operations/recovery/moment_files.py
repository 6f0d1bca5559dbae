"""What the drill needs of moments: the newest one, one taken now, and files of one written into the scratch folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from edupulse_pipelines.operations.backup.contents import Contents
from edupulse_pipelines.operations.backup.moments import DATABASE, Moment, all_moments, newest_moment, ring_of
from edupulse_pipelines.operations.backup.taking import take_moment
from edupulse_pipelines.settings import Settings
from edupulse_pipelines.storage.database import Database


def newest(settings: Settings) -> Moment | None:
    """The newest moment; None without any."""
    return newest_moment(settings)


def take(
    settings: Settings, database: Database, tell: Callable[[str], None], copy: Callable[[Path, Path], None]
) -> Moment:
    """Take a moment now, its SQLite database copied by `copy`; raises as `take_moment`."""
    return take_moment(settings, database, tell=tell, copy=copy).moment


def oldest(settings: Settings) -> tuple[Moment | None, list[str]]:
    """The oldest moment, None without any; and of manifests that cannot be read why, a sentence each."""
    there, unreadable = all_moments(settings)
    return next(iter(there), None), [one.why for one in unreadable]


def damaged(settings: Settings, moments: Sequence[Moment]) -> tuple[int, list[str]]:
    """Read every file of some moments to its end: how many contents that were; what is wrong, a sentence each.

    What several hold is read once, and told of the first of them.
    """
    contents = Contents(settings.backup_dir, ring_of(settings))
    read: set[str] = set()
    found = []
    for moment in moments:
        new = {file.sha256 for file in moment.files} - read
        read |= new
        told = (contents.trouble(sha256) for sha256 in sorted(new))
        found += [f"Files of {moment.id}: {trouble}" for trouble in told if trouble is not None]
    return len(read), found


def write_database(settings: Settings, moment: Moment, to: Path) -> int:
    """Write the moment's SQLite database to a file that is not there; its size. ContentDamaged for a damaged one."""
    stored = moment.file(DATABASE)
    assert stored is not None
    Contents(settings.backup_dir, ring_of(settings)).write_to(stored.sha256, to)
    return stored.size


def write_folder(settings: Settings, moment: Moment, name: str, to: Path) -> bool:
    """Write the moment's files below a folder of the home; whether there are any. ContentDamaged for a damaged one."""
    contents = Contents(settings.backup_dir, ring_of(settings))
    found = [file for file in moment.files if file.name.startswith(f"{name}/")]
    for file in found:
        contents.write_to(file.sha256, to / file.name.removeprefix(f"{name}/"))
    return bool(found)
