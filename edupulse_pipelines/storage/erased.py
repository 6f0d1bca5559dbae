"""What has been taken away of students, so that it is left out when a file of theirs is landed again.

Erased students are recognised by keyed hashes, and nothing else is kept of them. Students who are still on record, and
of whom retention has taken the rows of a table away, are known by their number and the day up to which rows are gone.

The hashes are kept in `erased_keys`, and beside the database in `<home>/erasures`, so that a database restored from
before an erasure does not bring anybody back. The key lies in `<home>/privacy.key`; without it nobody can tell from a
number whether it is among them. Removals by retention (`removals`) are in the database alone: a database of before has
the rows, too, and retention proposes them again. What is left out of an archive is decided in `ingest.erased_rows`,
what an erasure does in `governance`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import secrets
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.schema.sqlalchemy_tables import erased_keys as table
from edupulse_pipelines.storage.removals import Removed, removed_numbers
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.whole_files import make_folder, write_new, write_whole

KEY_FILE = "privacy.key"
"""In the home: what the hashes are made with."""
FOLDER = "erasures"
"""In the home: the hashes of each erasure, a file each."""
Kind = Literal["student", "name", "prediction", "record", "file", "column"]
"""What is hashed: a student's number, the two names, the id of a prediction or of a record, a file's name, a header."""


def privacy_key(home: Path) -> bytes:
    """The key of the home, made when there is none; PermanentError when it was lost after somebody was erased."""
    path = home / KEY_FILE
    try:
        return bytes.fromhex(path.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        pass
    except ValueError:
        raise PermanentError(f"{path} is damaged: restore it from a backup, it says who has been erased.") from None
    if (home / FOLDER).is_dir():
        raise _lost(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_new(path, f"{secrets.token_hex(32)}\n")  # where another process was faster, its key stays
    return privacy_key(home)


def _lost(path: Path) -> PermanentError:
    return PermanentError(
        f"{path} is gone, and students have been erased: without it their rows cannot be told from others. Restore it "
        "from a backup."
    )


class ErasedKeys:
    """What names the erased students of one district, and of whom else rows of which tables are gone."""

    def __init__(self, key: bytes, tenant: str, hashes: Iterable[str] = (), removed: Removed | None = None) -> None:
        self._key = key
        self._tenant = tenant
        self.hashes = frozenset(hashes)
        self.removed: Removed = removed or {}

    def __bool__(self) -> bool:
        return bool(self.hashes or self.removed)

    def concern(self, table: str) -> bool:
        """Whether a file of a table may hold rows that are to be left out."""
        return bool(self.hashes or self.removed_from(table))

    def removed_from(self, table: str) -> dict[str, dt.date]:
        """By student's number the day up to which rows of a table are gone; verdicts go with predictions, too."""
        names = (table, "predictions") if table == "training_feedback" else (table,)
        removed: dict[str, dt.date] = {}
        for name in names:
            for number, through in self.removed.get(name, {}).items():
                removed[number] = max(through, removed.get(number, through))
        return removed

    def are_those_of(self, other: ErasedKeys) -> bool:
        """Whether the same is to be left out."""
        return (self.hashes, self.removed) == (other.hashes, other.removed)

    def hash_of(self, kind: Kind, text: str) -> str:
        """The keyed hash of what names a student in this district, 64 hexadecimal digits."""
        message = "\0".join((self._tenant, kind, text)).encode(errors="surrogatepass")
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()

    def has(self, kind: Kind, text: str) -> bool:
        """Whether it named a student who has been erased."""
        return bool(self.hashes) and self.hash_of(kind, text) in self.hashes

    def file_name(self, name: str) -> str:
        """The name under which a landed file is known: another one where its own named an erased student."""
        digest = self.hash_of("file", name) if self.hashes else ""
        return f"file-{digest[:12]}" if digest in self.hashes else name

    def with_hashes(self, hashes: Iterable[str]) -> ErasedKeys:
        """The same, and these."""
        return ErasedKeys(self._key, self._tenant, self.hashes | set(hashes), self.removed)

    def only(self, hashes: Iterable[str], removed: Removed) -> ErasedKeys:
        """What recognises these and nothing else."""
        return ErasedKeys(self._key, self._tenant, hashes, removed)


def key_for(home: Path, tenant: str) -> ErasedKeys:
    """What makes hashes in this home for a district, knowing of nobody erased."""
    return ErasedKeys(privacy_key(home), tenant)


def read_erased(connection: Connection, work: Work, home: Path) -> ErasedKeys:
    """What names the erased students of the work's tenant, by the database and by the home; and what retention removed.

    PermanentError when somebody has been erased and the home's key is gone. Makes no key.
    """
    stored = set(connection.scalars(sa.select(table.c.key_hash).where(table.c.tenant_id == work.tenant)))
    stored |= _noted(home, work.tenant)
    return _keys(home, work.tenant, stored, removed_numbers(connection, work))


def noted_keys(home: Path, tenant: str) -> ErasedKeys:
    """What names the erased students of a district by the notes in the home alone; raises as `read_erased`."""
    return _keys(home, tenant, _noted(home, tenant))


def _noted(home: Path, tenant: str) -> set[str]:
    noted: set[str] = set()
    for path in sorted((home / FOLDER / tenant).glob("*.json")):
        try:
            noted.update(json.loads(path.read_text(encoding="utf-8"))["keys"])
        except (ValueError, KeyError, OSError):
            raise PermanentError(f"{path} is damaged: restore it from a backup, it says who has been erased.") from None
    return noted


def _keys(home: Path, tenant: str, hashes: set[str], removed: Removed | None = None) -> ErasedKeys:
    if not hashes:
        return ErasedKeys(b"", tenant, (), removed)
    if not (home / KEY_FILE).is_file():
        raise _lost(home / KEY_FILE)
    return ErasedKeys(privacy_key(home), tenant, hashes, removed)


def note_erased(connection: Connection, work: Work, home: Path, erasure: uuid.UUID, hashes: Iterable[str]) -> None:
    """Note what names a student who is being erased: in the home first, then in the caller's transaction."""
    wanted = sorted(set(hashes))
    folder = home / FOLDER / work.tenant
    make_folder(folder)
    write_whole(folder / f"{erasure}.json", json.dumps({"erasure": str(erasure), "keys": wanted}))
    there = set(connection.scalars(sa.select(table.c.key_hash).where(table.c.tenant_id == work.tenant)))
    new = [value for value in wanted if value not in there]
    if new:
        connection.execute(
            table.insert(),
            [{"tenant_id": work.tenant, "key_hash": value, "erasure_id": erasure} for value in new],
        )


def forget_noted(connection: Connection, work: Work, home: Path, erasure: uuid.UUID) -> None:
    """Take back what was noted of an erasure that has taken nothing away."""
    connection.execute(table.delete().where(table.c.tenant_id == work.tenant, table.c.erasure_id == erasure))
    (home / FOLDER / work.tenant / f"{erasure}.json").unlink(missing_ok=True)
