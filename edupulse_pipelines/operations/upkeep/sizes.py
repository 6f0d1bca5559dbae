"""How large everything is: tables, indexes, record of changes, WAL, archive, models, backups; and the disks.

What could not be measured is not there, and the notes say why; nothing is taken for zero. How it grows is `growth`.
"""

from __future__ import annotations

import datetime as dt
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.operations.backup.barman import server_folder
from edupulse_pipelines.operations.backup.wal import RECEIVED
from edupulse_pipelines.operations.upkeep.disks import UNSEEN, Room, room_at, servers_room
from edupulse_pipelines.operations.upkeep.postgresql import is_ours
from edupulse_pipelines.operations.upkeep.queries import rows_of
from edupulse_pipelines.operations.upkeep.sqlite import database_file
from edupulse_pipelines.schema.tables import TABLES
from edupulse_pipelines.settings import Settings
from edupulse_pipelines.sizes_in_words import in_bytes
from edupulse_pipelines.storage.engine import INSUFFICIENT_PRIVILEGE, driver_code

HOME_DISK, SERVER_DISK, BACKUP_DISK = "home", "server", "backups"
"""The disks that are looked at: that of the home; PostgreSQL's; and that of the backups, where it is not the home's."""


@dataclass(frozen=True)
class TableSize:
    """A table with its partitions. `rows` is the server's estimate; None on SQLite."""

    name: str
    table_bytes: int
    index_bytes: int
    rows: int | None = None

    @property
    def bytes(self) -> int:
        """With its indexes."""
        return self.table_bytes + self.index_bytes


@dataclass
class Sizes:
    """What was measured at a moment. `areas`: bytes by area (tables, indexes, audit, wal, archive, models, dagster,
    backups, and of these without it backup_wal: the write-ahead log that Barman keeps).

    What could not be measured is in none of them: tables None, areas and disks left out, and `notes` says why.
    unseen: the disks that should be in `disks` and could not be looked at.
    """

    at: dt.datetime
    tables: list[TableSize] | None = field(default_factory=list)
    areas: dict[str, int] = field(default_factory=dict)
    disks: dict[str, Room] = field(default_factory=dict)
    unseen: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def measure(connection: Connection, settings: Settings, at: dt.datetime) -> Sizes:
    """Measure everything. The connection's role needs no right over tables; of the server's log, `pg_monitor`."""
    sizes = Sizes(at)
    if connection.dialect.name == "postgresql":
        _measure_postgresql(connection, settings, sizes)
    else:
        _measure_sqlite(connection, sizes)
    if sizes.tables is not None:
        sizes.areas["tables"] = sum(table.table_bytes for table in sizes.tables)
        sizes.areas["indexes"] = sum(table.index_bytes for table in sizes.tables)
        audited = [table for table in sizes.tables if table.name in TABLES and TABLES[table.name].access == "audit"]
        sizes.areas["audit"] = sum(table.bytes for table in audited)
    for area, folder in (
        ("archive", settings.raw_dir),
        ("models", settings.mlflow_dir),
        ("dagster", settings.dagster_home),
    ):
        _measure_folder(sizes, area, folder)
    _measure_backups(settings, sizes)
    if room := room_at(settings.home):
        sizes.disks[HOME_DISK] = room
    else:
        sizes.unseen.append(HOME_DISK)
        sizes.notes.append(f"The disk of {settings.home} cannot be looked at.")
    return sizes


def _measure_folder(sizes: Sizes, area: str, *folders: Path) -> int | None:
    """The bytes below the folders as an area; None, and a note, where they cannot be known."""
    try:
        found = sum(bytes_below(folder) for folder in folders)
    except OSError as error:
        sizes.notes.append(f"{folders[0]} was not measured: {error.filename or folders[0]}, {error.strerror}.")
        return None
    sizes.areas[area] = found
    return found


def _measure_backups(settings: Settings, sizes: Sizes) -> None:
    """What backups take, Barman's write-ahead log for itself, and their disk; nothing where there are to be none."""
    folder = settings.backup_dir
    try:
        own_disk = folder.stat().st_dev != settings.home.stat().st_dev
    except OSError as error:
        if settings.backup.folder is not None:
            sizes.unseen.append(BACKUP_DISK)
            sizes.notes.append(f"The backups were not measured: {folder}, {error.strerror}.")
        return
    logs = [server_folder(settings) / name for name in RECEIVED]
    wal = _measure_folder(sizes, "backup_wal", *logs) if settings.database_url.startswith("postgresql") else 0
    whole = None if wal is None else _measure_folder(sizes, "backups", folder)
    if whole is not None and wal is not None:
        sizes.areas["backups"] = max(0, whole - wal)
    if not own_disk:
        return
    if room := room_at(folder):
        sizes.disks[BACKUP_DISK] = room
    else:
        sizes.unseen.append(BACKUP_DISK)
        sizes.notes.append(f"The disk of {folder} cannot be looked at.")


def _measure_postgresql(connection: Connection, settings: Settings, sizes: Sizes) -> None:
    sizes.tables = [
        TableSize(row["name"], int(row["table_bytes"]), int(row["index_bytes"]), int(row["estimated_rows"]))
        for row in rows_of(connection, "sizes")
        if is_ours(row["name"])
    ]
    wal = _write_ahead_log(connection, sizes)
    room = servers_room(connection, settings.maintenance.server_disk_bytes, wal)
    if room is None:
        sizes.notes.append(UNSEEN)
        sizes.unseen.append(SERVER_DISK)
    else:
        sizes.disks[SERVER_DISK] = room


def _write_ahead_log(connection: Connection, sizes: Sizes) -> int | None:
    try:
        (row,) = rows_of(connection, "wal")
    except sa.exc.ProgrammingError as error:
        if driver_code(error) != INSUFFICIENT_PRIVILEGE:
            raise
        role = connection.scalar(sa.text("SELECT quote_ident(current_user)"))
        sizes.notes.append(
            f"The write-ahead log was not measured: {role} may not list it. As a superuser: GRANT pg_monitor TO {role};"
        )
        return None
    sizes.areas["wal"] = int(row["wal_bytes"])
    if row["slot_bytes"] is not None and row["slot_bytes"] > row["max_wal_bytes"] and not row["slot_is_read"]:
        limit = row["max_slot_wal_keep_size"]
        unlimited = " and max_slot_wal_keep_size sets no limit" if limit == "-1" else f", up to {limit}"
        sizes.notes.append(
            f"The replication slot {row['slot_name']} holds back {in_bytes(row['slot_bytes'])} of write-ahead "
            f"log and nobody reads it{unlimited}. If nobody will: "
            f"SELECT pg_drop_replication_slot('{row['slot_name']}');"
        )
    return sizes.areas["wal"]


def _measure_sqlite(connection: Connection, sizes: Sizes) -> None:
    try:
        rows = rows_of(connection, "sizes")
    except sa.exc.OperationalError:  # SQLite was built without dbstat
        sizes.notes.append("Tables were not measured: this SQLite was built without dbstat.")
        sizes.tables = None
    else:
        sizes.tables = [TableSize(row["name"], int(row["table_bytes"]), int(row["index_bytes"])) for row in rows]
    file = database_file(connection)
    sizes.areas["database"] = file.stat().st_size
    log = file.with_name(f"{file.name}-wal")
    sizes.areas["wal"] = log.stat().st_size if log.exists() else 0


def bytes_below(folder: Path) -> int:
    """The bytes of all files below a folder; a file that goes meanwhile is not counted, nor a folder that is not there.

    OSError where something below cannot be read: then the sum is not known.
    """
    total, folders = 0, [os.fspath(folder)]
    while folders:
        with suppress(FileNotFoundError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        total += entry.stat(follow_symlinks=False).st_size
    return total
