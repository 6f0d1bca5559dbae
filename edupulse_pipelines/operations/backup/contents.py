"""The contents of files, kept once by their SHA-256 in the backup folder: `files/ab/ab12…`, encrypted ones `….age`.

A content appears under its name when it is complete and on the disk, and is never changed. Which names had which
content at a moment is in the moment's manifest (`moments`).
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.full_disk import naming
from edupulse_pipelines.hashing import Hashing
from edupulse_pipelines.whole_files import UNFINISHED, make_folder, put_in_place, sync_file, to_disk

if TYPE_CHECKING:
    from edupulse_pipelines.encryption.keyring import KeyRing

_BUFFER = 1 << 20
_ENCRYPTED = ".age"


class ContentDamaged(PermanentError):
    """A content is gone, or is not what its name says; the message names it."""


@dataclass(frozen=True)
class Kept:
    """A content: its hash and its size in plain."""

    sha256: str
    size: int


class Contents:
    """The contents below a backup folder. `ring`: the keys to encrypt and decrypt with; None keeps contents plain.

    read_kept: when a content is added that is there, it is read, and written again where it is damaged.
    """

    def __init__(self, folder: Path, ring: KeyRing | None = None, *, read_kept: bool = False) -> None:
        self.folder = folder / "files"
        self._ring = ring
        self._read_kept = read_kept
        self.stored_count = 0
        """How many contents were added that were not there."""

    def add(self, source: Path, *, move: bool = False) -> Kept:
        """Keep the content of a file. `move`: the file is ours, on the same disk, and may be given its new name.

        OSError as the disk raises it.
        """
        found = hash_of(source)
        if self.has(found.sha256) and not (self._read_kept and self.trouble(found.sha256)):
            return found
        self.stored_count += 1
        if move and not self.encrypts:
            sync_file(source)
            target = self._plain(found.sha256)
            make_folder(target.parent)
            put_in_place(source, target)
            return found
        return self._copied(source)

    def has(self, sha256: str) -> bool:
        """Whether a content is kept, in the form that it is to have now."""
        return self._encrypted(sha256).exists() or (not self.encrypts and self._plain(sha256).exists())

    def write_to(self, sha256: str, target: Path) -> None:
        """Write a content to a file that is not there. ContentDamaged for one that is not what it was; no file then."""
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with naming(target), target.open("xb") as stream:
                self._read(sha256, stream)
                to_disk(stream)
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def bytes_of(self, sha256: str) -> bytes:
        """A small content."""
        import io

        written = io.BytesIO()
        self._read(sha256, written)
        return written.getvalue()

    def trouble(self, sha256: str) -> str | None:
        """What is wrong with a content that is read to its end; None when it is what it was."""
        try:
            with Path(os.devnull).open("wb") as nowhere:
                self._read(sha256, nowhere)
        except PermanentError as error:  # also where the key is not the right one
            return str(error)
        except OSError as error:
            return (
                f"{self._encrypted(sha256) if self._is_encrypted(sha256) else self._plain(sha256)}: {error.strerror}."
            )
        return None

    def plain(self) -> list[Path]:
        """The contents that lie there plain."""
        return [path for path in sorted(self.folder.glob("??/*")) if not path.suffix]

    def encrypt_plain(self) -> int:
        """Encrypt the contents that lie there plain, those that are not damaged; how many. It may be stopped."""
        count = 0
        for path in self.plain():
            if self._is_encrypted(path.name):
                path.unlink()
            elif hash_of(path).sha256 == path.name:
                self._copied(path)
                path.unlink()
                count += 1
        return count

    def stored_size(self, sha256: str) -> int:
        """The bytes that it takes on the disk; 0 for one that is gone."""
        for path in (self._encrypted(sha256), self._plain(sha256)):
            if path.exists():
                return path.stat().st_size
        return 0

    def remove_all_but(self, wanted: Collection[str]) -> int:
        """Throw away contents that nothing names any more, and what was left unfinished; the bytes that became free."""
        freed = 0
        for path in sorted(self.folder.glob("??/*")):
            name = path.name.removesuffix(_ENCRYPTED)
            encrypted_too = path.suffix != _ENCRYPTED and self._encrypted(name).exists()
            if name in wanted and not encrypted_too:
                continue
            freed += path.stat().st_size
            path.unlink()
        return freed

    def remove_unfinished(self) -> None:
        """Throw away what a backup was writing that was killed."""
        for path in self.folder.glob(f"??/*{UNFINISHED}"):
            path.unlink(missing_ok=True)

    @property
    def encrypts(self) -> bool:
        """Whether contents are encrypted when they are added."""
        return self._ring is not None and self._ring.is_on

    def _is_encrypted(self, sha256: str) -> bool:
        return self._encrypted(sha256).exists()

    def _plain(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / sha256

    def _encrypted(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / f"{sha256}{_ENCRYPTED}"

    def _copied(self, source: Path) -> Kept:
        """Copy a file, hashed as it is copied: it may have been replaced since it was looked at."""
        temporary = self.folder / "00" / f"{uuid.uuid4().hex}{UNFINISHED}"
        make_folder(temporary.parent)
        try:
            with naming(temporary), source.open("rb") as reader, temporary.open("xb") as writer:
                counted = Hashing(reader)
                if self.encrypts:
                    from edupulse_pipelines.encryption.files import encrypt_stream
                    from edupulse_pipelines.encryption.keyring import HOME_KEY

                    assert self._ring is not None
                    key = self._ring.key_for_writing(HOME_KEY)
                    assert key is not None
                    encrypt_stream(counted, writer, key)  # type: ignore[arg-type]
                else:
                    shutil.copyfileobj(counted, writer, _BUFFER)
                to_disk(writer)
            sha256 = counted.sha256
            target = self._encrypted(sha256) if self.encrypts else self._plain(sha256)
            make_folder(target.parent)
            put_in_place(temporary, target)
            return Kept(sha256, counted.size)
        finally:
            temporary.unlink(missing_ok=True)

    def _read(self, sha256: str, writer: BinaryIO) -> None:
        """Write a content; ContentDamaged when it turns out to be another, after what there is was written."""
        encrypted, plain = self._encrypted(sha256), self._plain(sha256)
        hashed = Hashing(writer)
        try:
            if encrypted.exists():
                self._decrypt(encrypted, hashed)
            else:
                with plain.open("rb") as reader:
                    shutil.copyfileobj(reader, hashed, _BUFFER)
        except FileNotFoundError:
            raise ContentDamaged(f"{plain} is gone.") from None
        if hashed.sha256 != sha256:
            raise ContentDamaged(f"{encrypted if encrypted.exists() else plain} is damaged: it has another content.")

    def _decrypt(self, path: Path, writer: Hashing) -> None:
        from edupulse_pipelines.errors import EncryptedFileDamaged, KeyUnusable

        if self._ring is None or not self._ring.is_on:
            raise KeyUnusable(
                f"{path} is encrypted, and no key is set: name the operator's in [encryption] key_file or EDUPULSE_KEY."
            )
        from edupulse_pipelines.encryption.files import decrypt_stream

        try:
            with path.open("rb") as reader:
                decrypt_stream(reader, writer, self._ring, str(path))  # type: ignore[arg-type]
        except EncryptedFileDamaged:
            raise ContentDamaged(f"{path} is damaged or cut off.") from None


def hash_of(path: Path) -> Kept:
    """The hash and size of a file's content."""
    with path.open("rb") as stream:
        hashed = Hashing(stream)
        while hashed.read(_BUFFER):
            pass
    return Kept(hashed.sha256, hashed.size)
