"""Telling that a disk is full, and which: from whatever error a library makes of it.

Decided by what the error carries (an errno, a code of the database), and by a look at the disks where it carries too
little; never by its text. Errors are shown and raised elsewhere.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edupulse_pipelines.private_home import homes_in_use

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_PG_DISK_FULL = "53100"
_SQLITE_FULL = "SQLITE_FULL"
_SQLITE_PERHAPS = ("SQLITE_IOERR", "SQLITE_CANTOPEN")
"""SQLite says so too when there is no room for its files beside the database."""
_LEAST_BYTES = 1 << 20
RUN_AGAIN = "Free some and run again: what was finished stays, and the rest is done then."


def full_disk_in_words(error: BaseException, places: Iterable[Path] = (), remedy: str = RUN_AGAIN) -> str | None:
    """Which disk is full, and what to do, when that is what an error comes from; None for any other.

    `places`: files or folders that were being written to. The home and the folder of temporary files are looked at
    besides. `remedy`: what to do, in sentences.
    """
    given = [*places, *homes_in_use()]
    with suppress(OSError):  # on a full disk it may find no folder that takes a file
        given.append(Path(tempfile.gettempdir()))
    for cause in _causes(error):
        if getattr(cause, "pgcode", None) == _PG_DISK_FULL:
            return f"No space is left on the disk of the database server. {remedy}"
        if isinstance(cause, OSError) and cause.errno == errno.EFBIG:
            named = f" ({os.fsdecode(cause.filename)})" if cause.filename else f" in {given[0]}"
            return f"A file{named} has become as large as this system allows; `ulimit -f` shows the limit."
        if isinstance(cause, OSError) and cause.errno in _NO_SPACE:
            written = [Path(os.fsdecode(cause.filename)).parent] if cause.filename else _full(given) or given
            return f"No space is left on the disk of {written[0]}. {remedy}"
        code = str(getattr(cause, "sqlite_errorname", None) or "")
        full = _full(given)
        if code == _SQLITE_FULL or (code.startswith(_SQLITE_PERHAPS) and full):
            return f"No space is left on the disk of {(full or given)[0]}. {remedy}"
    return None


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error of a full disk name the file that is written in the block: one that comes of writing names none."""
    try:
        yield
    except OSError as error:
        if error.errno in {*_NO_SPACE, errno.EFBIG} and error.filename is None:
            error.filename = str(path)
        raise


def is_full(place: Path) -> bool:
    """Whether the disk of a file or folder has no room left; where another program failed and does not say why."""
    return bool(_full([place]))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and all it comes from, the innermost last; each once."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and one not in seen:
            seen.append(one)
            yield one
            waiting += [getattr(one, "orig", None), one.__context__, one.__cause__, *getattr(one, "exceptions", ())]


def _full(places: Iterable[Path]) -> list[Path]:
    """Those of the places whose disk has no room left, for bytes or for files."""
    full = []
    for place in places:
        folder = place if place.is_dir() else place.parent
        try:
            disk = os.statvfs(folder)
        except OSError:
            continue
        if disk.f_bavail * disk.f_frsize < _LEAST_BYTES or (disk.f_files and not disk.f_favail):
            full.append(folder)
    return full
