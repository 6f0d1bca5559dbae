"""Which deliveries are full snapshots, what each would take back and whether it is believed, and what people accepted.

Kept in `ingested_files` (`snapshot`, `removals`) and `accepted_removals`. What is taken back, and when a snapshot is
believed, is decided in `ingest.snapshots`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.schema.sqlalchemy_tables import accepted_removals, ingested_files
from edupulse_pipelines.schema.tables import LOADED
from edupulse_pipelines.storage.work import Work

_file = ingested_files.c


@dataclass(frozen=True)
class Removals:
    """What a snapshot would take back: `gone` records of the `gone` + `held` there are; and whether it is believed."""

    gone: int
    held: int
    believed: bool


@dataclass(frozen=True)
class Snapshot:
    """A loaded delivery of one table that says it is complete from `first` to `last` (both included).

    rows: how many it holds; removals: what was found when it was last looked at, None when it was not yet.
    """

    delivered_on: dt.date
    first: dt.date
    last: dt.date
    rows: int
    removals: Removals | None

    def covers(self, other: Snapshot) -> bool:
        """Whether it speaks of every day that the other one speaks of."""
        return self.first <= other.first and other.last <= self.last


def snapshots(connection: Connection, work: Work, table: str) -> list[Snapshot]:
    """The loaded snapshots of a table, oldest first."""
    query = (
        sa.select(_file.delivered_on, _file.snapshot, _file.removals, _file.sha256, _file.rows_read)
        .where(
            _file.tenant_id == work.tenant,
            _file.table_name == table,
            _file.status == LOADED,
        )
        .order_by(_file.delivered_on, _file.file_name)
    )
    rows: dict[dt.date, dict[str, int]] = {}
    said: dict[dt.date, tuple[dict[str, str], dict[str, int] | None]] = {}
    for delivered_on, days, removals, sha256, rows_read in connection.execute(query):
        rows.setdefault(delivered_on, {})[sha256] = rows_read  # a copy of a file holds nothing of its own
        if days is not None:
            said[delivered_on] = (days, removals)
    return [
        Snapshot(
            delivered_on,
            dt.date.fromisoformat(days["from"]),
            dt.date.fromisoformat(days["to"]),
            sum(rows[delivered_on].values()),
            None if removals is None else Removals(removals["gone"], removals["held"], bool(removals["believed"])),
        )
        for delivered_on, (days, removals) in said.items()
    ]


def note_removals(connection: Connection, work: Work, table: str, delivered_on: dt.date, removals: Removals) -> None:
    """Note what a snapshot would take back, and whether it is believed."""
    noted = {"gone": removals.gone, "held": removals.held, "believed": removals.believed}
    connection.execute(
        ingested_files.update()
        .where(
            _file.tenant_id == work.tenant,
            _file.table_name == table,
            _file.delivered_on == delivered_on,
            _file.snapshot.is_not(None),
        )
        .values(removals=noted)
    )


def accept_removals(connection: Connection, work: Work, deliveries: Iterable[dt.date]) -> None:
    """A person says yes to whatever the snapshots of these deliveries take back; saying it again changes nothing."""
    accepted = accepted_deliveries(connection, work)
    new = sorted(set(deliveries) - accepted)
    if new:
        connection.execute(
            accepted_removals.insert(),
            [{"tenant_id": work.tenant, "delivered_on": day, "accepted_by": work.actor} for day in new],
        )


def accepted_deliveries(connection: Connection, work: Work) -> set[dt.date]:
    """The deliveries whose removals a person has accepted."""
    query = sa.select(accepted_removals.c.delivered_on).where(accepted_removals.c.tenant_id == work.tenant)
    return set(connection.scalars(query))
