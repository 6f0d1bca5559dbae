"""What has to be there before the first backup: the folder, and on PostgreSQL what Barman needs (`barman_setup`)."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import Any

from edupulse_pipelines.operations.backup.barman_setup import set_up_barman
from edupulse_pipelines.operations.backup.home_files import home_bytes
from edupulse_pipelines.operations.backup.moments import newest_moment
from edupulse_pipelines.settings import Settings
from edupulse_pipelines.sizes_in_words import in_bytes


@dataclass
class Prepared:
    """What is there now (`done`), what is missing (`left`), and the lines that make it, by who pastes them where."""

    folder: str
    free_bytes: int
    done: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    lines: dict[str, list[str]] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """The same for `--json`."""
        return {**vars(self), "ready": not self.left}


def prepare(settings: Settings) -> Prepared:
    """Make what backups need, and see what is missing. Safe to repeat.

    OSError as the disk raises it; ConfigurationError without Barman, or the server's programs, on PostgreSQL.
    """
    folder = settings.backup_dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    prepared = Prepared(str(folder), free)
    prepared.done.append(f"Backups lie in {folder}; {in_bytes(free)} are free there.")
    needed = home_bytes(settings) if settings.home.is_dir() and newest_moment(settings) is None else 0
    if free < needed:
        prepared.left.append(
            f"The first moment takes about {in_bytes(needed)}, and {folder} has {in_bytes(free)} free: make room, or "
            "name another place ([backup] folder)."
        )
    if settings.backup.restore_command is not None:
        prepared.done.append("The database is backed up by another tool ([backup] restore_command).")
    elif settings.database_url.startswith("postgresql"):
        barman = set_up_barman(settings)
        prepared.done += [check.what for check in barman.checks if check.ok]
        prepared.left += [check.what for check in barman.checks if not check.ok]
        prepared.lines = barman.lines
    return prepared
