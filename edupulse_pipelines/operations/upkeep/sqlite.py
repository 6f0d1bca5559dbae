"""The upkeep of a SQLite file: statistics for its planner, its write-ahead log written back, the file without its air.

The file is written anew (VACUUM) only where enough of it is free, while nobody reads or writes it, and where the disks
have room for the copy and for the log that carries it back.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.operations.upkeep.disks import lack_of_room, temporary_folder_of_sqlite
from edupulse_pipelines.operations.upkeep.queries import rows_of
from edupulse_pipelines.operations.upkeep.tasks import Result, Task, Upkeep
from edupulse_pipelines.settings.maintenance import MaintenanceSettings
from edupulse_pipelines.sizes_in_words import in_bytes
from edupulse_pipelines.storage.engine import is_busy

_LEAST_FREE_BYTES = 1 << 20
"""Less air than this is not worth writing a file anew for, whatever share it is."""
_ROWS_LOOKED_AT = 1000
"""Of each index, for the planner's statistics."""
_OPTIMIZES_EVERY_TABLE = sqlite3.sqlite_version_info >= (3, 46)
"""`PRAGMA optimize` of earlier versions looks only at tables that the same connection has queried before."""
_IN_USE = "in use: somebody reads or writes the file; the next time will do it"

Hears = Callable[[Task], None]


def keep_up(
    connection: Connection, limits: MaintenanceSettings, upkeep: Upkeep, *, dry_run: bool, hears: Hears
) -> None:
    """Do what the file needs, and tell `upkeep`. The connection has no transaction. A dry run changes nothing."""
    file = database_file(connection)
    before = connection.exec_driver_sql("PRAGMA busy_timeout").scalar()
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(limits.lock_seconds * 1000)}")
    try:
        for task, do in _tasks(connection, limits, file):
            upkeep.results.append(_result(task, do, file, limits, dry_run=dry_run, hears=hears))
            if not dry_run:
                time.sleep(limits.pause_seconds if task.kind != "checkpoint" else 0)
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {before}")


def database_file(connection: Connection) -> Path:
    """The file that the connection has open."""
    return Path(next(row[2] for row in connection.exec_driver_sql("PRAGMA database_list") if row[1] == "main"))


def _tasks(connection: Connection, limits: MaintenanceSettings, file: Path) -> list[tuple[Task, Callable[[], bool]]]:
    """What there is to do, each with what does it and says whether it could."""
    statement = "PRAGMA optimize(0x10002)" if _OPTIMIZES_EVERY_TABLE else "ANALYZE"

    def analysed() -> bool:
        connection.exec_driver_sql(f"PRAGMA analysis_limit = {_ROWS_LOOKED_AT}")
        connection.exec_driver_sql(statement)
        return True

    def written_back() -> bool:
        return _checkpoint(connection)

    def written_anew() -> bool:
        # The log is empty by now, and so does not show a reader of the newest state: one page in it does.
        version = connection.exec_driver_sql("PRAGMA user_version").scalar()
        connection.exec_driver_sql(f"PRAGMA user_version = {version}")
        if not _checkpoint(connection):
            return False
        connection.exec_driver_sql("VACUUM")
        _checkpoint(connection)
        return True

    name = file.name
    why = "statistics for the planner"
    checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)"
    tasks: list[tuple[Task, Callable[[], bool]]] = [
        (Task("optimize", name, name, why, statement), analysed),
        (Task("checkpoint", name, name, f"{in_bytes(_size(_log_of(file)))} of log", checkpoint), written_back),
    ]
    (pages,) = rows_of(connection, "free_pages")
    free = pages["free_pages"] * pages["page_bytes"]
    if pages["free_share"] > limits.free_pages and free >= _LEAST_FREE_BYTES:
        kept = pages["pages"] * pages["page_bytes"] - free
        why = f"{pages['free_share']:.0%} of it is free ({in_bytes(free)}), more than {limits.free_pages:.0%}"
        tasks.append((Task("rewrite", name, name, why, "VACUUM", 2 * kept), written_anew))
    return tasks


def _result(
    task: Task, do: Callable[[], bool], file: Path, limits: MaintenanceSettings, *, dry_run: bool, hears: Hears
) -> Result:
    if task.needs_bytes:
        places = [(temporary_folder_of_sqlite(), task.needs_bytes // 2), (file.parent, task.needs_bytes // 2)]
        if lacking := lack_of_room(places, limits.keep_free_bytes):
            return Result(task, "left", f"no room: {lacking}")
    if dry_run:
        return Result(task, "planned")
    hears(task)
    before, begun = _size(file) + _size(_log_of(file)), time.monotonic()
    try:
        could = do()
    except sa.exc.OperationalError as error:
        if not is_busy(error):
            raise
        could = False
    seconds = time.monotonic() - begun
    if not could:
        return Result(task, "left", _IN_USE, seconds)
    saved = before - _size(file) - _size(_log_of(file)) if task.kind == "rewrite" else None
    return Result(task, "done", "", seconds, saved)


def _checkpoint(connection: Connection) -> bool:
    """Write the log back into the file and empty it; whether nobody's reading or writing was in the way."""
    busy, _, _ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    return not busy


def _log_of(file: Path) -> Path:
    return file.with_name(f"{file.name}-wal")


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
