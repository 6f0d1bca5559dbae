"""Locks between processes of one machine: who makes a store first, while the others wait, or are told.

The lock belongs to an open file, so it ends with its process, however that ends. The empty file stays.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def only_one(file: Path) -> Iterator[None]:
    """Wait until no other process or thread is in a block with this lock file, and keep others out of it meanwhile."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


@contextmanager
def if_free(file: Path) -> Iterator[bool]:
    """Whether nobody else is in a block with this lock file; if so, they are kept out of it meanwhile. Nobody waits."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


@contextmanager
def shared(file: Path) -> Iterator[None]:
    """Be in a block with this lock file beside others that share it, and keep `only_one` and `if_free` out."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as opened:
        fcntl.flock(opened, fcntl.LOCK_SH)
        yield
