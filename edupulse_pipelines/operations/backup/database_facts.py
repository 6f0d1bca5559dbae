"""What a database says of itself for a manifest: revision, audit, erasures, archives and deliveries.

Of a database of any version of the package, so that one can be backed up before it is upgraded: what its tables do not
have yet is empty. Reads; writes nothing.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.schema.tables import ARCHIVED, LOADED
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines.storage.work import EVERY_TENANT

_HASH_DIGITS = 16
"""Of a file's hash, enough to tell it from the other files of its delivery."""


@dataclass(frozen=True)
class ArchiveOnRecord:
    """An archive as the database has it."""

    tenant: str
    table: str
    delivered_on: dt.date
    file_name: str
    sha256: str
    archive_sha256: str


@dataclass(frozen=True)
class DatabaseFacts:
    """What was read of a database; see the fields of `Moment`."""

    revision: str | None = None
    audit_head: str | None = None
    last_change: int | None = None
    erasures: dict[str, list[str]] = field(default_factory=dict)
    erasures_under_way: bool = False
    archives: tuple[ArchiveOnRecord, ...] = ()
    deliveries: dict[str, dict[str, list[str]]] = field(default_factory=dict)


def read_facts(database: Database, tenants: Iterable[str]) -> DatabaseFacts:
    """What a database says, of these districts and of all others that its role sees. Nothing is said of an empty one.

    A district that the settings name no more may have erasures and archives all the same.
    """
    with database.unchecked_work() as work, work.reading() as connection:
        dialect = work.dialect
        general = _general(connection)
        seen_districts = set() if dialect == "sqlite" else _districts(connection)
    of_whom = [None] if dialect == "sqlite" else sorted({*tenants, *seen_districts})
    erasures: dict[str, list[str]] = {}
    archives: list[ArchiveOnRecord] = []
    deliveries: dict[str, dict[str, list[str]]] = {}
    under_way = False
    for tenant in of_whom:
        with database.unchecked_work(tenant or EVERY_TENANT) as work, work.reading() as connection:
            columns = _columns(connection)
            # A role that sees one district at a time sees the record of changes of that one.
            seen = _general(connection)
            general = max(general, seen, key=lambda one: one.get("last_change") or -1)
            for row in _erasures(connection, columns):
                erasures.setdefault(row.tenant_id, []).append(str(uuid.UUID(str(row.id))))
                under_way = under_way or row.done_at is None
            for row in _files(connection, columns):
                day = _day(row.delivered_on)
                of_day = deliveries.setdefault(row.tenant_id, {}).setdefault(day.isoformat(), [])
                of_day.append(row.sha256[:_HASH_DIGITS])
                if row.archive_sha256 is not None:
                    archives.append(
                        ArchiveOnRecord(
                            row.tenant_id, row.table_name, day, row.file_name, row.sha256, row.archive_sha256
                        )
                    )
    return DatabaseFacts(
        **general,
        erasures={name: sorted(ids) for name, ids in sorted(erasures.items())},
        erasures_under_way=under_way,
        archives=tuple(archives),
        deliveries={
            name: {day: sorted(set(hashes)) for day, hashes in sorted(of.items())} for name, of in deliveries.items()
        },
    )


def _general(connection: Connection) -> dict[str, Any]:
    columns = _columns(connection)
    facts: dict[str, Any] = {}
    if "alembic_version" in columns:
        facts["revision"] = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    if "link_number" in columns.get("audit_changes", ()):
        facts["last_change"] = connection.scalar(sa.text("SELECT max(id) FROM audit_changes"))
        newest = connection.execute(
            sa.text(
                "SELECT link_number, link FROM audit_changes WHERE link_number IS NOT NULL"
                " ORDER BY link_number DESC LIMIT 1"
            )
        ).first()
        facts["audit_head"] = None if newest is None else f"{newest.link_number}:{newest.link}"
    return facts


def _columns(connection: Connection) -> dict[str, set[str]]:
    """By table its columns; only of the tables that are asked about."""
    inspector = sa.inspect(connection)
    there = set(inspector.get_table_names())
    wanted = ("alembic_version", "audit_changes", "erasures", "ingested_files")
    return {name: {column["name"] for column in inspector.get_columns(name)} for name in wanted if name in there}


def _districts(connection: Connection) -> set[str]:
    """The districts with erasures or deliveries, of those whose rows this role sees."""
    names = [name for name in _columns(connection) if name in ("erasures", "ingested_files")]
    return {one for name in names for one in connection.scalars(sa.text(f"SELECT DISTINCT tenant_id FROM {name}"))}


def _erasures(connection: Connection, columns: dict[str, set[str]]) -> list[Any]:
    if "erasures" not in columns:
        return []
    return list(connection.execute(sa.text("SELECT tenant_id, id, done_at FROM erasures")))


def _files(connection: Connection, columns: dict[str, set[str]]) -> list[Any]:
    if "sha256" not in columns.get("ingested_files", ()):
        return []
    archive_hash = "archive_sha256" if "archive_sha256" in columns["ingested_files"] else "NULL"
    query = (
        f"SELECT tenant_id, table_name, delivered_on, file_name, sha256, {archive_hash} AS archive_sha256"
        " FROM ingested_files WHERE status IN (:archived, :loaded)"
    )
    return list(connection.execute(sa.text(query), {"archived": ARCHIVED, "loaded": LOADED}))


def _day(value: Any) -> dt.date:
    return value if isinstance(value, dt.date) else dt.date.fromisoformat(str(value)[:10])
