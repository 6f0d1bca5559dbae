"""Files that are there as a whole or not at all, also after a kill and a power cut.

They are written under a temporary name beside their place, which ends by `.tmp`; they get their own name when their
content is on the disk, and then that name is brought to the disk as well. What is in them is decided elsewhere.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from edupulse_pipelines.full_disk import naming

UNFINISHED = ".tmp"
"""The end of names of files that are being written."""
_BUFFER = 1 << 20
_KEPT_OF_NAME = 50
"""Characters of a name that its temporary one begins with: names may be as long as a file system takes."""


def write_whole(path: Path, content: bytes | str, *, mode: int = 0o600, owner: os.stat_result | None = None) -> None:
    """Write a file, in the place of one that is there. OSError as the disk raises it.

    mode: less the umask. owner: whose the file is to be, as of a file of theirs; only root can give files away.
    """
    with written_whole(path, mode=mode) as stream:
        if owner is not None and os.geteuid() == 0:
            os.fchown(stream.fileno(), owner.st_uid, owner.st_gid)
        stream.write(content.encode() if isinstance(content, str) else content)


def write_new(path: Path, content: bytes | str, *, mode: int = 0o600) -> bool:
    """Write a file that is not there; whether it did: one that is there by then stays. OSError as the disk raises it.

    mode: less the umask.
    """
    temporary = _beside(path)
    try:
        with new_file(temporary, mode) as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            to_disk(stream)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            if path.exists():
                return False
            temporary.replace(path)
        sync_folder(path.parent)
        return True
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def written_whole(path: Path, *, mode: int = 0o600) -> Iterator[BinaryIO]:
    """A stream to a file that gets its name at the end of the block, in the place of one that is there.

    It is not there, and what was there is untouched, when the block raises. mode: less the umask.
    """
    temporary = _beside(path)
    try:
        with naming(temporary), new_file(temporary, mode) as stream:
            yield stream
            to_disk(stream)
        put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def put_in_place(temporary: Path, path: Path) -> None:
    """Give a file whose content is on the disk its name, in the place of one that is there; the name on the disk."""
    temporary.replace(path)
    sync_folder(path.parent)


def new_file(path: Path, mode: int = 0o600) -> BinaryIO:
    """A file that is not there, opened for writing. mode: less the umask."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb", buffering=_BUFFER)


def to_disk(stream: IO[bytes] | IO[str]) -> None:
    """Have all that was written to a stream on the disk."""
    stream.flush()
    os.fsync(stream.fileno())


def sync_file(path: Path) -> None:
    """Have the content of a file that somebody has written on the disk."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def make_folder(folder: Path, mode: int = 0o700) -> None:
    """Make a folder, where there is none, with those above it; their names are on the disk.

    mode: less the umask; the folders above it get the usual one.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    for one in missing:
        sync_folder(one.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, where a folder can be asked for that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except PermissionError:  # Windows opens no folder, and who may write to one need not be allowed to read it
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that does not do it for folders
            raise
    finally:
        os.close(descriptor)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name[:_KEPT_OF_NAME]}.{uuid.uuid4().hex}{UNFINISHED}")
