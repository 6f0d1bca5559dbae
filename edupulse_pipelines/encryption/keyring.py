"""The keys: the operator's age identity, and what it opens: a random key of each district, and one of the home.

A data key lies in `<home>/keys/NAME.age`, a small file that is encrypted to the operator's identity. A new identity
therefore needs nothing but these files written again, and a district whose file is gone from everywhere is unreadable.
The identity is a file that the settings name (`[encryption] key_file`) or stands in `EDUPULSE_KEY`.

Which home is opened with which identity is said once in a process (`use_keys`), as with who may read what it writes.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edupulse_pipelines.errors import KeyUnusable
from edupulse_pipelines.settings import ENCRYPTION_KEY, Settings, encryption_key
from edupulse_pipelines.whole_files import make_folder, sync_folder, write_new

if TYPE_CHECKING:
    from pyrage import x25519

KEYS_FOLDER = "keys"
"""In the home: the data keys, a file each."""
RAW = "raw"
"""In the home: the raw archive, a folder of each district."""
HOME_KEY = "_home"
"""The name of the key that belongs to no district: what a backup holds of all of them. No district begins by `_`."""
AGE_HEADER = b"age-encryption.org/"
PARQUET_ENCRYPTED = b"PARE"
_SECRET_BYTES = 32
_IDENTITY = re.compile(r"AGE-SECRET-KEY-1[0-9A-Z]+", re.IGNORECASE)
_SETTING = f"[encryption] key_file or {ENCRYPTION_KEY}"


@dataclass(frozen=True)
class DataKey:
    """What the files of a district, or of the home, are encrypted with."""

    name: str
    path: Path
    """Its small file."""
    secret: bytes = field(repr=False)
    """32 random bytes: wraps the key of each Parquet file."""
    identity: str = field(repr=False)
    """An age identity: opens the files that are encrypted by age."""

    @property
    def id(self) -> str:
        """What a Parquet file says of the key that it needs."""
        return f"{self.name}:{hashlib.sha256(self.secret).hexdigest()[:16]}"


class _Cached(NamedTuple):
    state: tuple[object, ...]
    key: DataKey


class KeyRing:
    """The keys of one home. It says nothing of files that are none of the home's."""

    def __init__(
        self, home: Path, key_file: Path | None = None, given: str | None = None, copies: Path | None = None
    ) -> None:
        """`key_file`: holds the operator's identity; `given`: the identity itself, which goes before the file.

        copies: where the home's backups keep its data keys (`operations.backup.key_copies`).
        """
        self.home = home
        self.key_file = None if given else key_file
        self.copies = copies
        self._given = given
        self._cached: dict[Path, _Cached] = {}
        self._on_the_disk = False

    @property
    def is_on(self) -> bool:
        """Whether what is written is to be encrypted."""
        return bool(self._given or self.key_file)

    @property
    def source(self) -> str:
        """Where the operator's identity comes from, in words."""
        return ENCRYPTION_KEY if self._given else str(self.key_file) if self.key_file else "nowhere"

    @property
    def folder(self) -> Path:
        """Where the data keys lie."""
        return self.home / KEYS_FOLDER

    def path_of(self, name: str) -> Path:
        """The small file of a data key."""
        return self.folder / f"{name}.age"

    def names(self) -> list[str]:
        """The data keys that there are, whether they can be opened or not."""
        return [path.stem for path in sorted(self.folder.glob("*.age"))]

    def identities(self) -> list[x25519.Identity]:
        """The operator's: the first encrypts, all of them open. KeyUnusable when there is none, or none that is one."""
        return identities_in(self._text(), self.source)

    def _text(self) -> str:
        if self._given:
            return self._given
        if self.key_file is None:
            raise KeyUnusable(f"No key is set: name the operator's in {_SETTING}.")
        try:
            return self.key_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            gone = f"The key file {self.key_file} is not there"
            if self.names() or self.copied():
                raise KeyUnusable(f"{gone}, and what is encrypted needs it: restore it.") from None
            raise KeyUnusable(f"{gone}: `edupulse keys new` makes it. If it was made once, restore it.") from None
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise KeyUnusable(f"The key file {self.key_file} cannot be read: {reason}.") from None

    def key(self, name: str) -> DataKey:
        """A data key that is there; KeyUnusable says what is wrong and what to do."""
        path = self.path_of(name)
        if not path.exists() and (copy := self.copy_of(name)) is not None:
            raise KeyUnusable(
                f"{path} is gone: without it nothing that was encrypted with this key can be read. Copy {copy} there."
            )
        return self._opened(path, name)

    def copy_of(self, name: str) -> Path | None:
        """The copy of a data key that backups keep."""
        copy = self.copies / f"{name}.age" if self.copies is not None else None
        return copy if copy is not None and copy.exists() else None

    def is_needed(self, name: str) -> bool:
        """Whether files of a district are encrypted, so that they need its key."""
        return next(_encrypted_below(self.home / RAW / name), None) is not None

    def bring_back(self, name: str) -> None:
        """Put the copy that backups keep in the place of a data key that is gone; KeyUnusable when it does not open."""
        copy = self.copy_of(name)
        assert copy is not None
        self._opened(copy, name)
        self._appear(self.path_of(name), copy.read_bytes())

    def opens_any(self) -> bool:
        """Whether the operator's key opens any data key, of the home or of its backups."""
        for path in (*map(self.path_of, self.names()), *self.copied()):
            try:
                self._opened(path, path.stem)
            except KeyUnusable:
                continue
            return True
        return False

    def _opened(self, path: Path, name: str) -> DataKey:
        state = (_state(path), self._given or (_state(self.key_file) if self.key_file else None))
        cached = self._cached.get(path)
        if cached is not None and cached.state == state and state[0] is not None:
            return cached.key
        key = read_data_key(path, name, self.identities(), self.source)
        self._cached[path] = _Cached(state, key)
        return key

    def copied(self) -> list[Path]:
        """The small files that backups keep."""
        return sorted(self.copies.glob("*.age")) if self.copies is not None else []

    def key_for_writing(self, name: str) -> DataKey | None:
        """The data key to encrypt with, made where there is none yet; None when nothing is to be encrypted.

        The home's own is taken from its backups where it is gone, or the home is a new one: they are encrypted with it.
        KeyUnusable when the key is gone and files that need it are not, and where a home has keys and this process was
        not told the operator's, so that it would write plain what lies encrypted beside it.
        """
        if not self.is_on:
            if self.names():
                raise KeyUnusable(
                    f"{self.home} is encrypted ({self.folder} has its keys), and no key is set here; nothing is "
                    f"written there in plain: name the operator's in {_SETTING}, and have the process open the home by "
                    "its own settings."
                )
            return None
        path = self.path_of(name)
        if not path.exists():
            if name != HOME_KEY and self.is_needed(name):
                copy = self.copy_of(name)
                mend = f"copy {copy} there" if copy is not None else "restore it from a backup"
                raise KeyUnusable(
                    f"{path} is gone, and files below {self.home / 'raw' / name} need it: {mend}. If the district's "
                    "key was thrown away on purpose, move that folder away before anything new of the district is kept."
                )
            if name == HOME_KEY and self.copy_of(name) is not None:
                self.bring_back(name)
            else:
                self._make(path, name)
        if not self._on_the_disk:  # also of one whose maker was stopped before it could say so
            sync_folder(self.folder)
            self._on_the_disk = True
        return self.key(name)

    def opening(self) -> list[x25519.Identity]:
        """Every identity that may open a file: those of the data keys that can be opened, and the operator's own.

        Those that backups keep are among them: the home may have lost its own.
        """
        from pyrage import x25519

        found = []
        for path in (*map(self.path_of, self.names()), *self.copied()):
            try:
                found.append(x25519.Identity.from_str(self._opened(path, path.stem).identity))
            except KeyUnusable:
                continue
        return [*found, *self.identities()]

    def _make(self, path: Path, name: str) -> None:
        """Write a new data key; it appears as a whole or not at all. Where another process was faster, its stays."""
        from pyrage import x25519

        content = {
            "name": name,
            "secret": secrets.token_hex(_SECRET_BYTES),
            "identity": str(x25519.Identity.generate()),
        }
        self._appear(path, seal_data_key(json.dumps(content).encode(), self.identities()[0]))
        if self.copies is not None and self.copies.is_dir():
            # It would be in the home alone until the next moment. Where this process may not write, that one copies it.
            with suppress(OSError):
                write_new(self.copies / path.name, path.read_bytes())

    def _appear(self, path: Path, sealed: bytes) -> None:
        make_folder(self.folder, 0o770)  # less what this process gives to nobody
        self._on_the_disk = write_new(path, sealed, mode=0o660)  # another process's may not be there yet


def read_data_key(path: Path, name: str, identities: list[x25519.Identity], source: str) -> DataKey:
    """The data key in a small file, opened with one of these identities, which come from `source`; KeyUnusable."""
    try:
        content = json.loads(open_data_key(path, identities, source))
        if content["name"] != name:
            raise KeyUnusable(f"{path} holds the key of {content['name']!r}: the file was renamed, put it back.")
        return DataKey(name, path, bytes.fromhex(content["secret"]), content["identity"])
    except (ValueError, KeyError, TypeError):
        raise KeyUnusable(f"{path} is damaged: restore it from a backup.") from None


def open_data_key(path: Path, identities: list[x25519.Identity], source: str) -> bytes:
    """What a small file holds; KeyUnusable when it is gone, damaged, or encrypted to another identity."""
    import pyrage

    try:
        sealed = path.read_bytes()
    except FileNotFoundError:
        raise KeyUnusable(
            f"{path} is gone: without it nothing that was encrypted with this key can be read. Restore it from a "
            "backup."
        ) from None
    except OSError as error:
        raise KeyUnusable(f"{path} cannot be read: {error.strerror}.") from None
    try:
        return pyrage.decrypt(sealed, identities)
    except pyrage.DecryptError as error:
        if "No matching keys" in str(error):
            raise KeyUnusable(
                f"{path} is encrypted to another key than the one from {source} (or its beginning is damaged): set the "
                f"right one in {_SETTING}, or restore the file from a backup of this key's time."
            ) from None
        raise KeyUnusable(f"{path} is damaged: restore it from a backup.") from None


def seal_data_key(content: bytes, identity: x25519.Identity) -> bytes:
    """What a small file is written as."""
    import pyrage

    return pyrage.encrypt(content, [identity.to_public()])


def identities_in(text: str, source: str) -> list[x25519.Identity]:
    """The age identities in a text, in its order; lines that begin by # say something to people."""
    from pyrage import IdentityError, x25519

    lines = [line.strip() for line in text.splitlines() if not line.lstrip().startswith("#")]
    found = [word for line in lines for word in line.split()]
    try:
        if not found or not all(_IDENTITY.fullmatch(word) for word in found):
            raise IdentityError
        return [x25519.Identity.from_str(word.upper()) for word in found]
    except IdentityError:
        raise KeyUnusable(
            f"{source} holds no age identity (one line AGE-SECRET-KEY-1…): `edupulse keys new` writes one."
        ) from None


def is_encrypted(path: Path) -> bool:
    """Whether a file is encrypted, by age or as Parquet; False for one that is not there."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(AGE_HEADER)).startswith((AGE_HEADER, PARQUET_ENCRYPTED))
    except OSError:
        return False


def _encrypted_below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and is_encrypted(path))


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns


_rings: dict[Path, KeyRing] = {}
"""By home, however its path is spelled, for this process."""


def key_ring(settings: Settings, home: Path | None = None) -> KeyRing:
    """The keys of the settings' home, or of another folder that has `keys/` as a home has (a restored one, say)."""
    if home is not None:
        return KeyRing(home, settings.encryption.key_file, encryption_key())
    return KeyRing(settings.home, settings.encryption.key_file, encryption_key(), settings.backup_dir / KEYS_FOLDER)


def use_keys(settings: Settings, home: Path | None = None) -> KeyRing:
    """Have this process open and encrypt what lies in the settings' home, or in this one, with their key."""
    ring = _rings[(home or settings.home).resolve()] = key_ring(settings, home)
    return ring


def ring_of(home: Path) -> KeyRing:
    """The keys of a home, as `use_keys` was told; one of any other home knows no operator's key."""
    return _rings.get(home.resolve()) or KeyRing(home)


def data_key_for(home: Path, tenant: str) -> DataKey | None:
    """The key that a district's files are encrypted with; None when nothing is to be encrypted.

    Raises as `KeyRing.key_for_writing`.
    """
    return ring_of(home).key_for_writing(tenant)


def data_key_for_file(path: Path) -> DataKey | None:
    """The key that a file of a raw archive is to be encrypted with; None when nothing is to be encrypted there.

    Raises as `KeyRing.key_for_writing`, also for a home that this process was told nothing of.
    """
    place = key_of_path(path) or _of_another_home(path)
    return place[0].key_for_writing(place[1]) if place is not None else None


def key_of_path(path: Path) -> tuple[KeyRing, str] | None:
    """The ring and the district that a file of a raw archive (`<home>/raw/<tenant>/…`) belongs to; None elsewhere.

    Of a home that this process was told of (`use_keys`), whatever links lead to the file.
    """
    for home, ring in _rings.items():
        for place, raw in ((path.resolve(), (home / RAW).resolve()), (path.absolute(), home / RAW)):
            if place.is_relative_to(raw) and ".." not in place.parts:
                parts = place.relative_to(raw).parts
                return (ring, parts[0]) if len(parts) > 1 else None
    return None


def _of_another_home(path: Path) -> tuple[KeyRing, str] | None:
    """The same where nobody told this process of the home: one that has keys beside a folder of that name."""
    for place in (path.resolve(), path.absolute()):
        for folder in place.parents:
            if folder.name == RAW and len(parts := place.relative_to(folder).parts) > 1:
                ring = KeyRing(folder.parent)
                if ring.names():
                    return ring, parts[0]
    return None
