"""Whole files encrypted by age: read and written as streams of a few kilobytes, whatever their size.

An encrypted file appears as a whole or not at all, and so does one that is decrypted: age authenticates every 64 KiB
and the end, so a flipped byte or a cut raises before the file has its name. Parquet is in `archives`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from edupulse_pipelines.encryption.keyring import AGE_HEADER, DataKey, KeyRing, key_of_path
from edupulse_pipelines.errors import EncryptedFileDamaged, KeyUnusable
from edupulse_pipelines.full_disk import naming
from edupulse_pipelines.whole_files import new_file, written_whole

if TYPE_CHECKING:
    from pyrage import x25519

_BUFFER = 1 << 20
_PLAIN_NAME = re.compile(r"[a-z0-9_.+-]+")


class _Remembered:
    """A stream that keeps the error it raised: of one that it was to write to, age tells the text alone."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            return self._stream.read(size)
        except OSError as error:
            self.error = error
            raise

    def write(self, data: bytes) -> int:
        try:
            return self._stream.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self.error = error
            raise


def is_encrypted_file(path: Path) -> bool:
    """Whether a file is encrypted by age; OSError when it cannot be read."""
    with path.open("rb") as stream:
        return stream.read(len(AGE_HEADER)) == AGE_HEADER


def shown(path: Path) -> str:
    """A path as an error may name it: a name that its sender chose is left out when it may say something."""
    if _PLAIN_NAME.fullmatch(path.name):
        return str(path)
    return str(path.parent / f"…{''.join(path.suffixes[-2:])}")


def encrypt_stream(reader: BinaryIO, writer: BinaryIO, key: DataKey) -> None:
    """Write what `reader` has, encrypted; OSError as the streams raise it."""
    import pyrage

    identity = pyrage.x25519.Identity.from_str(key.identity)
    streams = _Remembered(reader), _Remembered(writer)
    try:
        pyrage.encrypt_io(*streams, [identity.to_public()])
    except pyrage.EncryptError:
        for stream in streams:
            if stream.error is not None:
                raise stream.error from None
        raise


def decrypt_stream(reader: BinaryIO, writer: BinaryIO, ring: KeyRing, name: str) -> None:
    """Write what `reader` has, decrypted with any key of the ring; `name` is what an error calls it.

    What was written is not to be used when it raises: KeyUnusable when no key opens it, EncryptedFileDamaged when it
    was changed or cut. Errors of the streams themselves come as they are.
    """
    _decrypt(reader, writer, ring.opening(), name, ring)


def encrypt_bytes(content: bytes, key: DataKey) -> bytes:
    """A small content, encrypted."""
    written = io.BytesIO()
    encrypt_stream(io.BytesIO(content), written, key)
    return written.getvalue()


def encrypt_file(source: Path, target: Path, key: DataKey) -> None:
    """Write `source`, encrypted, to `target`, for its owner alone; the two may be one."""
    with source.open("rb", buffering=_BUFFER) as reader, written_whole(target) as writer:
        encrypt_stream(reader, writer, key)


def decrypt_file(source: Path, target: Path, ring: KeyRing) -> None:
    """Write what `source` holds in plain to `target`, for its owner alone. Raises as `decrypt_stream`."""
    with source.open("rb", buffering=_BUFFER) as reader, written_whole(target) as writer:
        decrypt_stream(reader, writer, ring, shown(source))


def plain_bytes(path: Path) -> bytes:
    """The content of a file of a raw archive, decrypted when it is encrypted. Raises as `decrypt_stream`."""
    if not is_encrypted_file(path):
        return path.read_bytes()
    written = io.BytesIO()
    with path.open("rb") as reader:
        _decrypt(reader, written, *_opening(path))
    return written.getvalue()


@contextmanager
def decrypted_copy(path: Path, temporary: Path) -> Iterator[Path]:
    """A path at which a file of a raw archive can be read in plain: itself, or a copy that is removed in the end.

    temporary: where the copy is to lie.
    """
    if not is_encrypted_file(path):
        yield path
        return
    try:
        with naming(temporary), path.open("rb", buffering=_BUFFER) as reader, new_file(temporary) as writer:
            _decrypt(reader, writer, *_opening(path))
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _opening(path: Path) -> tuple[list[x25519.Identity], str, KeyRing]:
    """What opens a file of a raw archive: the key of its district alone."""
    from pyrage import x25519

    place = key_of_path(path)
    if place is None or not place[0].is_on:
        raise KeyUnusable(
            f"{shown(path)} is encrypted, and no key is set: name the operator's in [encryption] key_file or "
            "EDUPULSE_KEY."
        )
    ring, tenant = place
    return [x25519.Identity.from_str(ring.key(tenant).identity)], shown(path), ring


def _decrypt(reader: BinaryIO, writer: BinaryIO, identities: list[x25519.Identity], name: str, ring: KeyRing) -> None:
    import pyrage

    try:
        pyrage.decrypt_io(reader, writer, identities)
    except pyrage.DecryptError as error:
        if "No matching keys" in str(error):
            if (ring.names() or ring.copied()) and not ring.opens_any():
                raise KeyUnusable(
                    f"{name} cannot be opened, because the operator's key from {ring.source} is not the one of "
                    f"{ring.folder}, of which it opens no file: set the right one in [encryption] key_file or "
                    "EDUPULSE_KEY."
                ) from None
            raise KeyUnusable(
                f"{name} is encrypted with another key than those in {ring.folder} (or its beginning is damaged): put "
                "the key file of its time there, or restore the file from a backup."
            ) from None
        raise _damaged(name) from None
    except OSError as error:
        if error.errno is not None:  # the disk's own, of what is read or written
            raise
        raise _damaged(name) from None


def _damaged(name: str) -> EncryptedFileDamaged:
    return EncryptedFileDamaged(
        f"{name} is damaged or cut off: nothing of it was taken. Restore it from a backup, or land its delivery again."
    )
