"""What the drill needs of moments: the newest one, one taken now, and files of one written into the scratch folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edupulse_pipelines.operations.backup.contents import Contents
from edupulse_pipelines.operations.backup.moments import DATABASE, Moment, newest_moment, ring_of
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


def damaged(settings: Settings, moment: Moment) -> list[str]:
    """Read every file of a moment to its end; what is wrong, a sentence each."""
    contents = Contents(settings.backup_dir, ring_of(settings))
    found = (contents.trouble(sha256) for sha256 in sorted({file.sha256 for file in moment.files}))
    return [trouble for trouble in found if trouble is not None]


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
