"""A moment: what the database, MLflow's store, the raw archive and the settings were at one time, as one manifest.

`<backups>/moments/<id>.json` names every file with its size and hash, and the place in the database that they belong
to. It is written last and at once: without it there is no moment. It holds its own hash, so that a flipped byte in it
is found. Where encryption is on it is `<id>.json.age`, because names of landed files may say something of students.
How one is made is in `taking`, how it is read back in `restoring`; contents are in `contents`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.settings import Settings
from edupulse_pipelines.whole_files import make_folder, write_whole

if TYPE_CHECKING:
    from edupulse_pipelines.encryption.keyring import KeyRing

DATABASE, MLFLOW, SETTINGS = "edupulse.db", "mlflow/mlflow.db", "edupulse.toml"
"""The names in a moment of the SQLite database, of MLflow's store and of the settings, wherever they lay."""
SERVER_FOLDER = "postgresql"
"""In a home that was restored: the folder of its PostgreSQL."""
DUMP = "dump/"
"""What the names of a logical dump begin with, which a moment may hold besides."""
_MANIFEST = re.compile(r"^(\d{8}T\d{6}Z(?:-\d+)?)\.json(\.age)?$")


@dataclass(frozen=True)
class StoredFile:
    """One file of the home: its name below it, and its content."""

    name: str
    size: int
    sha256: str
    mtime_ns: int
    """When it was last written, so that one that has not changed need not be read again."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The manifest of a moment. Times have a time zone.

    at: everything that was committed by then is in it. erasures: by district the ids of the erasures that it knows of.
    deliveries: by district and delivery the beginnings of the hashes of its files. last_change: number of the newest
    change on record. home: where the home lay. left_out: what is not covered, in sentences. damaged: archives that were
    not as the database has them when they were copied.
    """

    id: str
    at: dt.datetime
    ended: dt.datetime
    database: Literal["sqlite", "postgresql"]
    package_version: str
    schema_revision: str | None
    audit_head: str | None
    last_change: int | None
    home: str
    restore_point: str | None = None
    base_backup: str | None = None
    erasures: Mapping[str, list[str]] = field(default_factory=dict)
    deliveries: Mapping[str, Mapping[str, list[str]]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    new_bytes: int = 0
    """What had to be copied: the rest was there from earlier moments."""
    files: tuple[StoredFile, ...] = ()

    @property
    def bytes(self) -> int:
        """The size of its files."""
        return sum(file.size for file in self.files)

    def file(self, name: str) -> StoredFile | None:
        """The file of this name."""
        return next((file for file in self.files if file.name == name), None)

    @property
    def dump(self) -> tuple[StoredFile, ...]:
        """The files of its logical dump, where one was asked for."""
        return tuple(file for file in self.files if file.name.startswith(DUMP))

    def facts(self) -> dict[str, Any]:
        """What is told of it, without its files."""
        told = {name: value for name, value in _as_document(self).items() if name not in ("files", "deliveries")}
        return {**told, "files": len(self.files), "bytes": self.bytes, "dump": bool(self.dump)}


class Unreadable(NamedTuple):
    """A manifest that cannot be read, and why."""

    id: str
    why: str


def moments_folder(settings: Settings) -> Path:
    """Where manifests lie."""
    return settings.backup_dir / "moments"


def ring_of(settings: Settings) -> KeyRing | None:
    """The keys that backups of this home are encrypted with; None where nothing is."""
    from edupulse_pipelines.encryption.keyring import key_ring

    ring = key_ring(settings)
    return ring if ring.is_on else None


def all_moments(settings: Settings) -> tuple[list[Moment], list[Unreadable]]:
    """The moments there are, oldest first, and the manifests that cannot be read."""
    found: list[Moment] = []
    unreadable: list[Unreadable] = []
    folder = moments_folder(settings)
    for path in sorted(folder.iterdir() if folder.is_dir() else ()):
        if (named := _MANIFEST.match(path.name)) is None:
            continue
        try:
            found.append(_read(path, named[1], ring_of(settings)))
        except PermanentError as error:
            unreadable.append(Unreadable(named[1], str(error)))
    return sorted(found, key=lambda moment: (moment.at, moment.id)), unreadable


def moments(settings: Settings) -> list[Moment]:
    """The moments that can be read, oldest first."""
    return all_moments(settings)[0]


def newest_moment(settings: Settings) -> Moment | None:
    """The newest moment; None without any."""
    return next(reversed(moments(settings)), None)


def last_backup(settings: Settings) -> str | None:
    """The newest moment as a certificate names it; None without any."""
    moment = newest_moment(settings)
    return None if moment is None else f"{moment.id}, of {moment.at.isoformat(timespec='seconds')}"


def new_id(settings: Settings, at: dt.datetime) -> str:
    """The id of a moment of now, which no other has."""
    taken = {path.name.split(".")[0] for path in moments_folder(settings).glob("*.json*")}
    first = f"{at.astimezone(dt.UTC):%Y%m%dT%H%M%SZ}"
    names = (first, *(f"{first}-{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in names if name not in taken)


def write_manifest(settings: Settings, moment: Moment) -> Path:
    """Write the manifest, at once and to the disk: from then on there is the moment. OSError as the disk raises it."""
    text = json.dumps(_as_document(moment), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    data = f'{{"sha256": "{digest}", "moment":\n{text}\n}}\n'.encode()
    return _write(settings, moment.id, data)


def plain_manifests(settings: Settings) -> list[Path]:
    """The manifests that lie there plain."""
    return [path for path in sorted(moments_folder(settings).glob("*.json")) if _MANIFEST.match(path.name)]


def encrypt_manifests(settings: Settings) -> int:
    """Encrypt the manifests that lie there plain; how many. It may be stopped."""
    plain = plain_manifests(settings)
    for path in plain:
        _write(settings, path.stem, path.read_bytes())
        path.unlink()
    return len(plain)


def _write(settings: Settings, identifier: str, data: bytes) -> Path:
    ring, suffix = ring_of(settings), ""
    if ring is not None:
        from edupulse_pipelines.encryption.files import encrypt_bytes
        from edupulse_pipelines.encryption.keyring import HOME_KEY

        key = ring.key_for_writing(HOME_KEY)
        assert key is not None
        data, suffix = encrypt_bytes(data, key), ".age"
    folder = moments_folder(settings)
    make_folder(folder)
    target = folder / f"{identifier}.json{suffix}"
    write_whole(target, data)
    return target


def forget(settings: Settings, identifier: str) -> None:
    """Take a moment's manifest away; its contents go when nothing names them any more."""
    for path in moments_folder(settings).glob(f"{identifier}.json*"):
        path.unlink()


def _as_document(moment: Moment) -> dict[str, Any]:
    document = asdict(moment)
    return document | {name: getattr(moment, name).isoformat() for name in ("at", "ended")}


def _read(path: Path, identifier: str, ring: KeyRing | None) -> Moment:
    """PermanentError, which names the file, for a manifest that is damaged, is another's, or needs a key."""
    try:
        data = path.read_bytes()
        if path.suffix == ".age":
            data = _decrypted(path, data, ring)
        document = json.loads(data)
        text = json.dumps(document["moment"], sort_keys=True)
        if hashlib.sha256(text.encode()).hexdigest() != document["sha256"] or document["moment"]["id"] != identifier:
            raise ValueError
        return _moment(document["moment"])
    except OSError as error:
        raise PermanentError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise PermanentError(f"{path} is damaged: there is no such moment any more.") from None


def _decrypted(path: Path, data: bytes, ring: KeyRing | None) -> bytes:
    from edupulse_pipelines.errors import KeyUnusable

    if ring is None:
        raise KeyUnusable(
            f"{path} is encrypted, and no key is set: name the operator's in [encryption] key_file or EDUPULSE_KEY."
        )
    from edupulse_pipelines.encryption.files import decrypt_stream

    written = io.BytesIO()
    decrypt_stream(io.BytesIO(data), written, ring, str(path))
    return written.getvalue()


def _moment(document: dict[str, Any]) -> Moment:
    known = {one.name for one in fields(Moment)}
    values = {name: value for name, value in document.items() if name in known}
    files = tuple(StoredFile(**file) for file in values.pop("files"))
    at, ended = (dt.datetime.fromisoformat(values.pop(name)) for name in ("at", "ended"))
    values |= {name: tuple(values.get(name, ())) for name in ("left_out", "damaged")}
    return Moment(**values, at=at, ended=ended, files=files)
