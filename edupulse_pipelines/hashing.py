"""SHA-256 of contents: of a file that is there, and of what passes a stream while it is read or written.

Hashes of rows, of models and keyed hashes are made where those are.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO


def hash_of_file(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal. OSError as the disk raises it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Hashing:
    """A stream that hashes and counts the bytes that are read from it or written to it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._digest = stream, hashlib.sha256()
        self.size = 0
        """Bytes that passed."""

    def read(self, size: int = -1) -> bytes:
        """As the stream itself."""
        return self._passed(self._stream.read(size))

    def write(self, part: bytes) -> int:
        """As the stream itself."""
        return self._stream.write(self._passed(part))

    def flush(self) -> None:
        """As the stream itself."""
        self._stream.flush()

    @property
    def sha256(self) -> str:
        """Of what passed, in hexadecimal."""
        return self._digest.hexdigest()

    def _passed(self, part: bytes) -> bytes:
        self._digest.update(part)
        self.size += len(part)
        return part
