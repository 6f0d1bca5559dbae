"""SQLite files as a whole: copied while others write, checked, and the paths in MLflow's store moved with their folder.

Databases that are worked with are opened in `engine`; here a file is copied for a backup, whoever made it (ours,
MLflow's, Dagster's).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from edupulse_pipelines.errors import DiskFull, PermanentError
from edupulse_pipelines.full_disk import full_disk_in_words

_PATHS_OF_MLFLOW = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns in which MLflow keeps where files lie, as URIs or paths."""
_WAIT_SECONDS = 600.0


def is_sqlite(path: Path) -> bool:
    """Whether a file is a database of SQLite; False for an empty one, and one that is not there."""
    try:
        with path.open("rb") as stream:
            return stream.read(16) == b"SQLite format 3\0"
    except OSError:
        return False


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a database as it is at one moment, whatever is written to it meanwhile; nobody waits for the copy.

    target: a file that is not there. PermanentError for a source that is damaged: the copy is checked by
    `integrity_check`. DiskFull when there is no room; there is no copy then.
    """
    try:
        with (
            closing(_opened(source, "rw", timeout=_WAIT_SECONDS)) as connection,
            closing(sqlite3.connect(target, isolation_level=None)) as copy,
        ):
            copy.execute("PRAGMA journal_mode = OFF")
            copy.execute("PRAGMA synchronous = OFF")  # the caller has it written to the disk as a whole
            # One step: in write-ahead mode it reads one snapshot, and nobody has to wait or begin again.
            connection.backup(copy, pages=-1)
        trouble = sqlite_trouble(target)
    except sqlite3.Error as error:
        _remove(target)
        if full := full_disk_in_words(error, [target]):
            raise DiskFull(full) from None
        raise PermanentError(f"{source} cannot be copied: {error}.") from None
    except BaseException:
        _remove(target)
        raise
    if trouble is not None:
        _remove(target)
        raise PermanentError(f"{source} is damaged, so there is nothing to back up: SQLite says {trouble!r}.")


def sqlite_trouble(path: Path) -> str | None:
    """What `integrity_check` finds first in a file that nobody writes to; None when it is in order."""
    try:
        with closing(_opened(path, "ro", immutable=True)) as connection:
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if found == ("ok",) else str(found[0])


def move_paths_of_mlflow(store: Path, before: str, after: str) -> int:
    """In a store of MLflow that nobody uses, give paths below the folder `before` (a URI) a place below `after`.

    How many were changed. Both are URIs of a folder (`file:///srv/home`), without a slash at the end.
    """
    changed = 0
    with closing(_opened(store, "rw")) as connection, connection:
        for table, column in _PATHS_OF_MLFLOW:
            columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
            if column not in columns:  # another version of MLflow's tables
                continue
            changed += connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
                f" WHERE {column} = ? OR {column} LIKE ? ESCAPE '!'",
                (after, len(before) + 1, before, _like(before) + "/%"),
            ).rowcount
    return changed


def _opened(path: Path, mode: str, *, immutable: bool = False, timeout: float = 5.0) -> sqlite3.Connection:
    options = f"mode={mode}{'&immutable=1' if immutable else ''}"
    return sqlite3.connect(f"file:{quote(str(path))}?{options}", uri=True, timeout=timeout)


def _like(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def _remove(target: Path) -> None:
    for name in ("", "-wal", "-shm", "-journal"):
        target.with_name(target.name + name).unlink(missing_ok=True)
