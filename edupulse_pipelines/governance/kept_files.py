"""What is held of a student in refused files and kept bundles below `<home>/raw/<tenant>`.

Finds; what is shown of it is in `inspection`, what is taken away in `erasure`. The archives beside them: `archives`.
"""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path

from edupulse_pipelines.encryption.files import plain_bytes
from edupulse_pipelines.errors import EncryptedFileDamaged
from edupulse_pipelines.governance.person import Person

_ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "cp1252")
_LARGEST = 1 << 30  # bytes unpacked that are looked into
_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    EncryptedFileDamaged,
)


def refused_files(tenant: str, raw_dir: Path) -> list[Path]:
    """The files of a district that were refused and kept."""
    return sorted((raw_dir / tenant).glob("*/*/*.refused"))


def kept_bundles(tenant: str, raw_dir: Path) -> list[Path]:
    """The bundles of a district that rows were made of, as they were kept."""
    return sorted(path for path in (raw_dir / tenant / "originals").rglob("*") if path.is_file())


def mentions(path: Path, person: Person) -> bool | None:
    """Whether a file, or a member of it, holds the student's number or a name of theirs; None when nobody can tell.

    KeyUnusable when the file is encrypted and its key cannot be had.
    """
    try:
        for content in _contents(plain_bytes(path)):
            texts = _texts(content)
            if not texts:
                return None
            if any(_holds(text, person) for text in texts):
                return True
    except _UNREADABLE:
        return None
    return False


def _holds(text: str, person: Person) -> bool:
    return person.is_named_in(text) or any(first.strip() and first in text for first, _ in person.every_name)


def _contents(data: bytes) -> Iterator[bytes]:
    """What a file holds: itself, unpacked, or the members of a zip. ValueError for too much of it."""
    if data[:2] == b"\x1f\x8b":
        with gzip.open(io.BytesIO(data)) as stream:
            unpacked = stream.read(_LARGEST + 1)
        if len(unpacked) > _LARGEST:
            raise ValueError
        yield unpacked
    elif data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            if sum(member.file_size for member in packed.infolist()) > _LARGEST:
                raise ValueError
            for member in packed.infolist():
                yield member.filename.encode()
                yield packed.read(member)
    else:
        yield data


def _texts(content: bytes) -> list[str]:
    """The content read in every way that gives text; nothing when it is no text in any of them."""
    texts = []
    for encoding in _ENCODINGS:
        try:
            texts.append(content.decode(encoding))
        except UnicodeDecodeError:
            continue
    return texts


def roster_without(path: Path, person: Person, only: Collection[str] | None = None) -> bytes | None:
    """A OneRoster bundle without the rows that name the student; None when it is none, or cannot be read as one.

    only: names of the members that rows are taken from; by default all.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(plain_bytes(path))) as packed:
            members = {member.filename: packed.read(member) for member in packed.infolist() if not member.is_dir()}
    except (OSError, RuntimeError, NotImplementedError, zipfile.BadZipFile, EncryptedFileDamaged):
        return None
    users = next((name for name in members if Path(name).name.lower() == "users.csv"), None)
    if users is None or any(not name.lower().endswith(".csv") for name in members):
        return None
    try:
        tables = {
            name: list(csv.reader(io.StringIO(text.decode("utf-8-sig"), newline=""))) for name, text in members.items()
        }
    except (UnicodeDecodeError, csv.Error):
        return None
    of_person = {
        *person.numbers,
        *(row[0] for row in tables[users][1:] if row and person.numbers and _is_of(row, person)),
    }
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, rows in tables.items():
            text = io.StringIO()
            sheet = csv.writer(text, lineterminator="\r\n")
            touched = only is None or Path(name).name.lower() in only
            sheet.writerows(row for row in rows if not touched or not of_person.intersection(row))
            packed.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text.getvalue())
    return made.getvalue()


def _is_of(row: list[str], person: Person) -> bool:
    return bool(set(person.numbers).intersection(row)) or any(
        first in row and last in row for first, last in person.every_name if first and last
    )
