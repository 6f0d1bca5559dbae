"""How much room there is on the disks: of the home, and of the database's server where it can be looked at."""

from __future__ import annotations

import ipaddress
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.sizes_in_words import in_bytes

UNSEEN = (
    "The server's disk cannot be looked at from here: say in [maintenance] server_disk_gib how much the database and "
    "its write-ahead log may take."
)
_SERVER = sa.text(
    "SELECT host(inet_server_addr()) AS address,"
    " (SELECT setting FROM pg_settings WHERE name = 'data_directory') AS folder"
)
_USED = sa.text("SELECT pg_database_size(current_database())")


@dataclass(frozen=True)
class Room:
    """How much of a disk is free, and how large it is, in bytes."""

    free: int
    total: int


def room_at(place: Path) -> Room | None:
    """The disk that holds a file or folder, there or to be made; None where it cannot be told."""
    while True:
        try:
            usage = shutil.disk_usage(place)
        except FileNotFoundError:
            if place == place.parent:
                return None
            place = place.parent
        except OSError:  # below a folder of somebody else's, say
            return None
        else:
            return Room(usage.free, usage.total)


def servers_room(connection: Connection, allowed: int | None, wal_bytes: int | None) -> Room | None:
    """The disk of PostgreSQL's data folder, where the server is on this machine; None where it cannot be told.

    allowed: how much database and write-ahead log may take, where an operator has said so; then that counts.
    """
    if allowed is not None:
        used = int(connection.scalar(_USED) or 0) + (wal_bytes or 0)
        return Room(max(0, allowed - used), allowed)
    address, folder = connection.execute(_SERVER).one()
    here = address is None or ipaddress.ip_address(address).is_loopback
    if not here or folder is None or not _is_there(Path(folder)):
        return None
    return room_at(Path(folder))


def _is_there(folder: Path) -> bool:
    """Whether a folder is on this machine, as far as this user can see."""
    try:
        folder.stat()
    except OSError:
        return False
    return True


def temporary_folder_of_sqlite() -> Path:
    """Where SQLite puts the copy that VACUUM makes, as its documentation says."""
    named = [os.environ.get("SQLITE_TMPDIR"), os.environ.get("TMPDIR"), "/var/tmp", "/usr/tmp", "/tmp"]
    usable = (Path(name) for name in named if name and os.access(name, os.W_OK | os.X_OK) and Path(name).is_dir())
    return next(usable, Path())


def lack_of_room(places: Iterable[tuple[Path, int]], keep_free: int) -> str | None:
    """What is missing when each place is to take so many bytes; None when there is room. Places may share a disk."""
    wanted: dict[int, tuple[Path, int]] = {}
    for place, needed in places:
        device = place.stat().st_dev
        first, so_far = wanted.get(device, (place, 0))
        wanted[device] = (first, so_far + needed)
    for place, needed in wanted.values():
        room = room_at(place)
        if room is not None and room.free < needed + keep_free:
            return f"the disk of {place} has {in_bytes(room.free)} free, and {in_bytes(needed + keep_free)} are needed"
    return None
