"""Base backups of a PostgreSQL: take one, list and verify them, and fill an empty folder from one.

The other modules of this room, the drill and the standby call what is here, and nothing below it. How Barman is called
is in `barman`, its configuration in `barman_configuration`, what lies in WAL in `wal`. Nothing here starts a server.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edupulse_pipelines.operations.backup.targets import Target
from edupulse_pipelines.settings import Settings


@dataclass(frozen=True)
class BaseBackup:
    """A finished copy of the server's data folder; times have a time zone."""

    id: str
    kind: Literal["full", "incremental"]
    begin: dt.datetime
    end: dt.datetime
    size_bytes: int
    """What it takes on the disk: of an increment, only what had changed."""
    begin_wal: str
    end_wal: str
    """The names of the WAL segments that it begins and ends in; it cannot be used without all of them."""
    timeline: int
    server_version: int
    """The major version of PostgreSQL."""
    parent: str | None = None
    """The id of the backup that an increment builds on."""


@dataclass(frozen=True)
class RestorePoint:
    """A named place in WAL, and when it was made."""

    name: str
    wal: str
    lsn: str
    time: dt.datetime


@dataclass(frozen=True)
class RestorePlan:
    """What a restore would do, known before it starts."""

    target: Target
    backup: BaseBackup | None
    """None where `[backup] restore_command` chooses."""
    wal_segments: int | None
    wal_bytes: int | None
    """The WAL to replay, unpacked; None where it is not ours to know."""
    bytes_needed: int | None
    """The space that the restored folder takes at first, WAL included."""

    @property
    def sentence(self) -> str:
        """The same in words."""
        raise NotImplementedError


@dataclass(frozen=True)
class Damage:
    """Something that is wrong with a base backup or with WAL."""

    backup: str | None
    """The id of the backup that cannot be relied on; None for WAL that no backup needs for itself."""
    what: str
    """A sentence that names the file."""


@dataclass(frozen=True)
class Gap:
    """WAL segments that are missing, first and last by name."""

    first: str
    last: str
    segments: int


@dataclass(frozen=True)
class WalState:
    """How WAL arrives."""

    newest_segment: str | None
    received_at: dt.datetime | None
    """When WAL was last written here."""
    age_seconds: float | None
    """How long ago that was: what would be lost now. None when none was ever received."""
    receiving: bool
    """Whether the receiver is connected to the server."""
    slot: Literal["active", "idle", "missing", "lost", "unknown"]
    """`lost`: the server has thrown away what the slot was to keep; `unknown`: the server does not answer."""
    slot_bytes_behind: int | None
    gaps: tuple[Gap, ...]


def base_backups(settings: Settings) -> list[BaseBackup]:
    """The finished base backups that can be restored, oldest first."""
    raise NotImplementedError


def take_base_backup(settings: Settings, *, full: bool = False) -> BaseBackup:
    """Take one now: an increment where server and settings allow it and there is a full one, unless `full`.

    It waits until the WAL that it needs has arrived, so what it gives can be restored. PermanentError, in words, for
    what Barman refuses; DatabaseBusy while another one is taken.
    """
    raise NotImplementedError


def make_restore_point(settings: Settings, name: str) -> RestorePoint:
    """Name the present place in WAL, and see that it arrives here. PermanentError for a name that is taken."""
    raise NotImplementedError


def target_before_change(settings: Settings, change: str) -> Target:
    """The target just before a change of the audit (its number) or the first change of a run (its id) was committed."""
    raise NotImplementedError


def restore_plan(settings: Settings, target: Target) -> RestorePlan:
    """What a restore to the target would take. PermanentError for a target that is known to be out of reach."""
    raise NotImplementedError


def restore_database(settings: Settings, to: Path, target: Target) -> RestorePlan:
    """Fill the folder, which is empty or not there, with a data folder that replays to the target when it is started.

    It is this user's, mode 700; a server in it ends its recovery at the target and is then a primary. Started nowhere.
    PermanentError, before anything is written, for a folder that is not empty or is a server's, and for what
    `restore_plan` refuses.
    """
    raise NotImplementedError


def verify_base_backups(settings: Settings) -> list[Damage]:
    """Read every byte of the backups and of WAL against their checksums; what is wrong, or nothing."""
    raise NotImplementedError


def wal_state(settings: Settings) -> WalState:
    """How WAL arrives now. It asks the server, and answers also when that does not."""
    raise NotImplementedError
