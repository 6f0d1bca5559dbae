"""The record of disclosures: what of students' data was given out, to whom, what for, and on what legal basis.

Lines are added and never changed or removed; the database refuses both. A student is in it as a keyed hash only, so
that the record may outlive the student's data.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.schema.sqlalchemy_tables import disclosures as table
from edupulse_pipelines.sources.blanks import trimmed
from edupulse_pipelines.storage.erased import key_for
from edupulse_pipelines.storage.ids import new_ids
from edupulse_pipelines.storage.numbers import numbers_of
from edupulse_pipelines.storage.work import Work


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """To whom something is given, what for, and on what legal basis; ConfigurationError where one says nothing.

    What is recorded once cannot be put right.
    """

    recipient: str
    purpose: str
    legal_basis: str

    def __post_init__(self) -> None:
        for field in fields(self):
            text, longest = getattr(self, field.name).strip(), getattr(table.c[field.name].type, "length", None)
            if not text or len(text) > (longest or len(text)):
                raise ConfigurationError(
                    f"--{field.name.replace('_', '-')} has to be said, in at most {longest or 'any number of'} "
                    "characters: it is recorded for good."
                )
            object.__setattr__(self, field.name, text)


@dataclass(frozen=True, kw_only=True)
class Disclosure:
    """One line of the record; the fields are columns of `disclosures`."""

    id: uuid.UUID
    kind: str
    subject_hash: str | None
    disclosed_at: dt.datetime
    disclosed_by: str
    recipient: str
    purpose: str
    legal_basis: str
    files: dict[str, str]
    counts: dict[str, int]


def record(
    connection: Connection,
    work: Work,
    kind: str,
    circumstances: Circumstances,
    files: Mapping[str, str],
    counts: Mapping[str, int],
    subject_hash: str | None = None,
) -> uuid.UUID:
    """Add a line; its id. files: by name the SHA-256 of each; counts: how much was given, by what it is."""
    (identifier,) = new_ids(1)
    connection.execute(
        table.insert().values(
            id=identifier,
            tenant_id=work.tenant,
            kind=kind,
            subject_hash=subject_hash,
            disclosed_at=dt.datetime.now(dt.UTC),
            disclosed_by=work.actor,
            recipient=circumstances.recipient,
            purpose=circumstances.purpose,
            legal_basis=circumstances.legal_basis,
            files=dict(files),
            counts=dict(counts),
        )
    )
    return identifier


def disclosures_about(connection: Connection, work: Work, home: Path, number: str) -> list[Disclosure]:
    """The lines about the student of this number, under each of the numbers that have been joined, oldest first."""
    keys = key_for(home, work.tenant)
    return disclosures(
        connection, work, [keys.hash_of("student", one) for one in numbers_of(connection, work, trimmed(number))]
    )


def disclosures(connection: Connection, work: Work, subjects: Collection[str] | None = None) -> list[Disclosure]:
    """The tenant's record, oldest first; with `subjects` (keyed hashes of numbers) the lines about these."""
    names = [field.name for field in fields(Disclosure)]
    query = sa.select(*(table.c[name] for name in names)).where(table.c.tenant_id == work.tenant)
    if subjects is not None:
        query = query.where(table.c.subject_hash.in_(subjects))
    rows = connection.execute(query.order_by(table.c.disclosed_at, table.c.id))
    return [Disclosure(**row._mapping) for row in rows]
