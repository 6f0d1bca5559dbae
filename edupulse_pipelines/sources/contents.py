"""The bytes of what has been landed: plain files, gzip, and members of a zip, never more of them than the limits allow.

Damaged, encrypted and oversized input becomes RefusedFile while it is read; nothing is unpacked to disk. What the bytes
mean is known by the formats beside this module.
"""

from __future__ import annotations

import gzip
import io
import lzma
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Literal, cast

from edupulse_pipelines.settings import FilesSettings
from edupulse_pipelines.sources.plain_files import copy_plain, open_plain
from edupulse_pipelines.sources.records import RefusedFile

TOO_LARGE = "too_large"
COMPRESSION_BOMB = "compression_bomb"
CORRUPT_GZIP = "corrupt_gzip"
CORRUPT_ZIP = "corrupt_zip"
ENCRYPTED_ZIP = "encrypted_zip"
UNSAFE_ZIP = "unsafe_zip"
NESTED_ARCHIVE = "nested_archive"

_BUFFER = 1 << 20
_HARMLESS = 8 << 20  # bytes; what unpacks to no more than this harms nobody, however well it was packed
_PACKED = re.compile(r"\.(zip|gz|tgz|bz2|xz|zst|7z|rar|tar)$", re.IGNORECASE)
_DAMAGED = (gzip.BadGzipFile, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, NotImplementedError)
OnBytes = Callable[[int], None]
"""Called with the number of bytes, as they lie on disk, that have been read since the last call."""


@dataclass(frozen=True)
class Content:
    """The bytes of one file, or of one `member` of a zip; `packed` says what they lie in."""

    path: Path
    packed: Literal["", "gzip", "zip"] = ""
    member: str | None = None

    @property
    def size_on_disk(self) -> int:
        """Bytes it takes on disk, compressed or not."""
        return self._entry().compress_size if self.packed == "zip" else self.path.stat().st_size

    def open(self, limits: FilesSettings, on_bytes: OnBytes | None = None) -> BinaryIO:
        """The uncompressed bytes, to be read once and closed.

        Opening or reading raises RefusedFile: `too_large` or `compression_bomb` as soon as a limit is passed,
        `corrupt_gzip`, `corrupt_zip` or `encrypted_zip` when the bytes cannot be had.
        """
        if self.packed == "" and self.path.stat().st_size > limits.max_bytes:
            raise _too_large(limits)
        with ExitStack() as opened:
            stream: IO[bytes] = opened.enter_context(open_plain(self.path))
            file, share = stream, 1.0
            if self.packed == "gzip":
                stream = cast(IO[bytes], opened.enter_context(gzip.GzipFile(fileobj=file, mode="rb")))
            elif self.packed == "zip":
                entry = self._entry()
                _check_size(entry.file_size, entry.compress_size, limits)
                try:
                    archive = opened.enter_context(zipfile.ZipFile(stream))
                    stream = opened.enter_context(archive.open(entry.filename))
                except _DAMAGED as error:
                    raise _damaged(self.packed, error) from None
                except RuntimeError:  # zipfile's word for a missing password
                    raise _encrypted() from None
                share = entry.compress_size / max(entry.file_size, 1)

            def consumed(read: int) -> int:
                return file.tell() if self.packed == "gzip" else int(read * share)

            bounded = _Bounded(stream, self.packed, limits, consumed, on_bytes, opened.pop_all())
        return io.BufferedReader(bounded, _BUFFER)

    def copy_to(self, kept: BinaryIO, limits: FilesSettings) -> None:
        """Keep the bytes as they came: the file itself, compressed as it is, or the member of the zip unpacked."""
        if self.packed != "zip":
            copy_plain(self.path, kept)
            return
        with self.open(limits) as source:
            shutil.copyfileobj(source, kept, _BUFFER)

    def _entry(self) -> zipfile.ZipInfo:
        for entry in zip_entries(self.path):
            if entry.filename == self.member:
                return entry
        raise RefusedFile(CORRUPT_ZIP, "the zip has changed while it was read; let the delivery finish and run again")


class _Bounded(io.RawIOBase):
    """A stream that is refused as soon as it gives more than the limits allow; closing it closes all beneath it."""

    def __init__(
        self,
        stream: IO[bytes],
        packed: str,
        limits: FilesSettings,
        consumed: Callable[[int], int],
        on_bytes: OnBytes | None,
        opened: ExitStack,
    ) -> None:
        self._stream = stream
        self._packed = packed
        self._limits = limits
        self._consumed = consumed
        self._on_bytes = on_bytes
        self._opened = opened
        self._read = 0
        self._reported = 0

    def readable(self) -> bool:
        """Always: this stream is for reading."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read as many bytes as there are and fit."""
        try:
            count = int(self._stream.readinto(buffer))  # type: ignore[attr-defined]
        except _DAMAGED as error:
            raise _damaged(self._packed, error) from None
        self._read += count
        consumed = self._consumed(self._read)
        if self._packed == "gzip":
            _check_size(self._read, consumed, self._limits)
        elif self._read > self._limits.max_bytes:
            raise _too_large(self._limits)
        if self._on_bytes is not None and consumed > self._reported:
            self._on_bytes(consumed - self._reported)
            self._reported = consumed
        return count

    def close(self) -> None:
        """Close the file, and the archive it is in."""
        self._opened.close()
        super().close()


def zip_members(path: Path, limits: FilesSettings) -> list[str]:
    """Names of the members of a zip, without folders and what the Mac adds, in the order of the zip.

    RefusedFile when the zip cannot be read (`corrupt_zip`, `encrypted_zip`), is not what one reads without a second
    look (`unsafe_zip`: names that lead out of a folder, links, one name twice; `nested_archive`), or unpacks to more
    than the limits allow (`too_large`, `compression_bomb`). Reads the zip's directory, no contents.
    """
    entries = zip_entries(path)
    seen: set[str] = set()
    for position, entry in enumerate(entries, start=1):
        if _leads_astray(entry):
            raise RefusedFile(
                UNSAFE_ZIP,
                f"member {position} of the zip is a link, or its name leads out of the folder it would be unpacked to",
            )
        if entry.flag_bits & 0x1:
            raise _encrypted()
        if _PACKED.search(entry.filename):
            raise RefusedFile(
                NESTED_ARCHIVE, f"member {position} of the zip is itself an archive; deliver that one on its own"
            )
        if entry.filename in seen:
            raise RefusedFile(UNSAFE_ZIP, f"the name of member {position} occurs in the zip more than once")
        seen.add(entry.filename)
        _check_size(entry.file_size, entry.compress_size, limits)
    _check_size(sum(entry.file_size for entry in entries), sum(entry.compress_size for entry in entries), limits)
    return [entry.filename for entry in entries if not _hidden(entry.filename)]


def zip_entries(path: Path) -> tuple[zipfile.ZipInfo, ...]:
    """The directory of a zip without its folders. RefusedFile `corrupt_zip` when it cannot be read."""
    state = path.stat()
    return _directory(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=64)
def _directory(path: Path, _modified: int, _size: int) -> tuple[zipfile.ZipInfo, ...]:
    try:
        with open_plain(path) as stream, zipfile.ZipFile(stream) as archive:
            return tuple(entry for entry in archive.infolist() if not entry.is_dir())
    except (*_DAMAGED, UnicodeDecodeError, ValueError) as error:
        raise _damaged("zip", error) from None


def _leads_astray(entry: zipfile.ZipInfo) -> bool:
    name = entry.filename.replace("\\", "/")
    return (
        name.startswith("/")
        or ".." in PurePosixPath(name).parts
        or re.match(r"[A-Za-z]:", name) is not None
        or entry.orig_filename.find("\0") >= 0
        or stat.S_ISLNK(entry.external_attr >> 16)
    )


def _hidden(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return "__MACOSX" in parts or parts[-1].startswith(".")


def _check_size(size: int, packed_size: int, limits: FilesSettings) -> None:
    if size > limits.max_bytes:
        raise _too_large(limits)
    if size > _HARMLESS and size > limits.max_compression_ratio * max(packed_size, 1):
        raise RefusedFile(
            COMPRESSION_BOMB,
            f"it unpacks to more than {limits.max_compression_ratio:g} times its size; if it is what it should be, "
            "raise max_compression_ratio in the tenant's files table of edupulse.toml",
        )


def _too_large(limits: FilesSettings) -> RefusedFile:
    return RefusedFile(
        TOO_LARGE,
        f"larger than {limits.max_file_gib:g} GiB uncompressed; split it into several files, or raise max_file_gib in "
        "the tenant's files table of edupulse.toml",
    )


def _encrypted() -> RefusedFile:
    return RefusedFile(ENCRYPTED_ZIP, "the zip is encrypted; deliver it without a password")


def _damaged(packed: str, error: BaseException) -> RefusedFile:
    if isinstance(error, NotImplementedError):
        return RefusedFile(CORRUPT_ZIP, "the zip is packed with a method that cannot be read; pack it with Deflate")
    if isinstance(error, EOFError):
        trouble = "ends before it is complete"
    elif isinstance(error, gzip.BadGzipFile):
        trouble = "is not gzip, is damaged, or something else follows the gzip data"
    else:
        trouble = "is damaged"
    return RefusedFile(
        CORRUPT_GZIP if packed == "gzip" else CORRUPT_ZIP,
        f"the {'gzip file' if packed == 'gzip' else 'zip'} {trouble}; copy it again, or make it anew",
    )
