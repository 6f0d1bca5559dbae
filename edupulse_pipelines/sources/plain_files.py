"""Opening and naming what others have put into a folder: plain files only, never through a link.

Whoever may write into a landing folder may put a link there, to a file of the system or of another district. Nothing
here follows one. What the bytes mean is known by the formats beside this module.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path
from typing import BinaryIO

_LONGEST_SHOWN = 1000  # characters
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe nobody writes to must not block us


def open_plain(path: Path) -> BinaryIO:
    """The bytes of a plain file. OSError with its path for a link, a pipe, a device, and what may not be read."""
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link, and links are not followed", str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return os.fdopen(descriptor, "rb")


def copy_plain(path: Path, kept: BinaryIO) -> None:
    """Copy the bytes of a plain file into a stream; raises like `open_plain`."""
    with open_plain(path) as source:
        shutil.copyfileobj(source, kept, 1 << 20)


def shown(name: str | Path) -> str:
    """A name as it may stand in messages, logs and tables: control characters and bytes that are no text are escaped.

    A very long name is cut.
    """
    text = str(name)
    plain = "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)
    return plain if len(plain) <= _LONGEST_SHOWN else f"{plain[: _LONGEST_SHOWN - 1]}…"


def _escaped(letter: str) -> str:
    if "\udc80" <= letter <= "\udcff":  # how Python holds a byte of a file name that is no UTF-8
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()
