"""The certificate that retention ends with: how much is gone, by whom and who approved. It names no student.

It is added to `retention_certificates`, where nothing is ever changed, and written as a file of the same bytes into
`<home>/certificates/<tenant>`; each names the hash of the one before. Until it is signed, what has gone already stands
in the open row of `erasures`, so that an execution that was stopped is finished with all it has taken away.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.schema.sqlalchemy_tables import erased_keys, erasures
from edupulse_pipelines.schema.sqlalchemy_tables import retention_certificates as table
from edupulse_pipelines.settings.retention import RetentionSettings
from edupulse_pipelines.storage.erased import key_for
from edupulse_pipelines.storage.ids import new_ids
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.whole_files import make_folder, write_whole

FOLDER = "certificates"
NO_BACKUPS = "unknown: no backups on record"
"""What a certificate says of the last backup where there is no moment (`operations.backup`)."""


@dataclass(frozen=True)
class Certificate:
    """One certificate: its id, what it says, and where its file lies."""

    id: uuid.UUID
    document: dict[str, Any]
    sha256: str
    path: Path


@dataclass
class Journal:
    """What an execution has taken away so far. Kept in the transactions that take it away."""

    id: uuid.UUID
    """Of the execution, and of its certificate."""
    students: dict[str, int] = field(default_factory=dict)
    """By table with a period the students whose rows went."""
    rows: dict[str, int] = field(default_factory=dict)
    """By table, or place, what went."""
    hashes: dict[str, list[str]] = field(default_factory=dict)
    """By table, for each transaction the SHA-256 of the keys of the rows that went."""
    archives: list[list[str | None]] = field(default_factory=list)
    """Of each archive that was written again its hash before and after."""

    @classmethod
    def new(cls) -> Journal:
        """One that has taken nothing."""
        return cls(new_ids(1)[0])

    def add_rows(self, place: str, count: int) -> None:
        """So much more went from a place."""
        if count:
            self.rows[place] = self.rows.get(place, 0) + count

    def add_students(self, name: str, count: int) -> None:
        """So many more students' rows went from a table."""
        self.students[name] = self.students.get(name, 0) + count

    def add_archive(self, was: str | None, now: str | None) -> None:
        """An archive was written again."""
        self.archives.append([was, now])

    @property
    def counts(self) -> dict[str, Any]:
        """As it is kept."""
        return {name: getattr(self, name) for name in ("students", "rows", "hashes", "archives")}


def open_journal(connection: Connection, work: Work, home: Path) -> Journal | None:
    """That of an execution which was begun and never signed off."""
    query = sa.select(erasures.c.id, erasures.c.number_hash, erasures.c.counts)
    for row in connection.execute(query.where(erasures.c.tenant_id == work.tenant, erasures.c.done_at.is_(None))):
        if row.number_hash == _marked(work, home, row.id):
            return Journal(row.id, **row.counts)
    return None


def begin(connection: Connection, work: Work, home: Path, journal: Journal, reason: str, approved_by: str) -> None:
    """Note that an execution begins, or goes on."""
    of = erasures.c
    values = {
        "reason": reason,
        "erased_by": work.actor,
        "approved_by": approved_by,
        "begun_at": dt.datetime.now(dt.UTC),
        "counts": journal.counts,
    }
    if connection.execute(erasures.update().where(of.id == journal.id).values(**values)).rowcount:
        return
    connection.execute(
        erasures.insert().values(
            id=journal.id, tenant_id=work.tenant, number_hash=_marked(work, home, journal.id), **values
        )
    )


def keep(connection: Connection, journal: Journal) -> None:
    """Note what has gone, in the transaction that takes it away."""
    connection.execute(erasures.update().where(erasures.c.id == journal.id).values(counts=journal.counts))


def noted_keys(connection: Connection, journal: Journal) -> set[str]:
    """The keyed hashes that the execution has noted before."""
    query = sa.select(erased_keys.c.key_hash).where(erased_keys.c.erasure_id == journal.id)
    return set(connection.scalars(query))


def sign(
    work: Work,
    home: Path,
    periods: RetentionSettings,
    as_of: dt.date,
    journal: Journal,
    reason: str,
    approved_by: str,
    facts: Mapping[str, Any],
) -> Certificate:
    """Write the certificate, as a file and into the database; the execution is done.

    facts: what else it says. Takes eight arguments: who, what for, on what grounds, and all that went.
    """
    with work.writing() as connection:
        of = table.c
        newest = sa.select(of.sha256).where(of.tenant_id == work.tenant).order_by(of.signed_at.desc(), of.id.desc())
        moment = dt.datetime.now(dt.UTC)
        document: dict[str, Any] = {
            "certificate": str(journal.id),
            "district": work.tenant,
            "as_of": as_of.isoformat(),
            "signed_at": moment.isoformat(timespec="seconds"),
            "executed_by": work.actor,
            "approved_by": approved_by,
            "reason": reason,
            "years_after_exit": periods.model_dump(exclude_none=True),
            **journal.counts,
            **facts,
            "previous_certificate_sha256": connection.scalar(newest.limit(1)),
        }
        data = (json.dumps(document, indent=2) + "\n").encode()
        digest = hashlib.sha256(data).hexdigest()
        connection.execute(
            table.insert().values(
                id=journal.id,
                tenant_id=work.tenant,
                signed_at=moment,
                executed_by=work.actor,
                approved_by=approved_by,
                reason=reason,
                document=document,
                sha256=digest,
            )
        )
        connection.execute(erasures.update().where(erasures.c.id == journal.id).values(done_at=moment))
        path = home / FOLDER / work.tenant / f"{moment:%Y-%m-%d}-{journal.id}.json"
        write_certificate(path, data)
    return Certificate(journal.id, document, digest, path)


def write_certificate(path: Path, data: bytes) -> None:
    """Write a certificate's file whole or not at all, for its owner alone."""
    make_folder(path.parent)
    write_whole(path, data)


def certificates(connection: Connection, work: Work) -> Iterable[sa.Row[Any]]:
    """The tenant's certificates, oldest first: every column."""
    query = sa.select(table).where(table.c.tenant_id == work.tenant)
    return connection.execute(query.order_by(table.c.signed_at, table.c.id)).all()


def _marked(work: Work, home: Path, identifier: uuid.UUID) -> str:
    """What stands in `erasures` in the place of a student's number."""
    return key_for(home, work.tenant).hash_of("student", f"\0retention {identifier}")
