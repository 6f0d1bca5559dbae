"""Rows that were not loaded: kept as they came with every reason, until they are replayed or their file is replaced.

Unique on tenant, file hash and line. Which rows are bad is decided in `validation`; when they are tried again, in
`load`.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.database import new_ids
from edupulse_pipelines.ingest.archive import FIELDS, LINE_NUMBER, PROBLEM
from edupulse_pipelines.ingest.frames import UNKNOWN_COLUMN
from edupulse_pipelines.ingest.validation import REPLAYABLE, Reasons
from edupulse_pipelines.schema.sqlalchemy_tables import quarantined_records

_BATCH = 5_000
_open = sa.and_(quarantined_records.c.replayed_at.is_(None), quarantined_records.c.superseded_at.is_(None))


def _of(tenant: str, table: str, file_hash: str) -> sa.ColumnElement[bool]:
    """One content as one table's file: a district may deliver the same bytes under the names of two tables."""
    columns = quarantined_records.c
    return sa.and_(columns.tenant_id == tenant, columns.table_name == table, columns.file_hash == file_hash)


def as_it_came(row: Mapping[Any, Any], header: Iterable[str]) -> Any:
    """A row for the `raw` column: an object by header name, or the list of fields when they do not fit the header."""
    if isinstance(row[PROBLEM], str):
        return json.loads(row[FIELDS])
    values = {name: row.get(UNKNOWN_COLUMN + name, row.get(name)) for name in header}
    return {name: value if isinstance(value, str) else "" for name, value in values.items()}


def keep(
    connection: Connection,
    *,
    tenant: str,
    table: str,
    file_hash: str,
    file_name: str,
    delivered_on: dt.date,
    rows: pd.DataFrame,
    header: list[str],
    reasons: Reasons,
    run_id: str | None,
) -> None:
    """Make the open quarantine of this content exactly `rows` (frame positions are the keys of `reasons`).

    Rows that are in quarantine already keep their entry, with the reasons of now; entries of lines that are good now
    are marked as replayed.
    """
    now = dt.datetime.now(dt.UTC)
    columns = quarantined_records.c
    lines = [int(line) for line in rows[LINE_NUMBER]]
    stored = {
        row.line_number: row
        for row in connection.execute(
            sa.select(
                columns.id, columns.line_number, columns.reasons, columns.replayed_at, columns.superseded_at
            ).where(
                _of(tenant, table, file_hash),
                columns.line_number.between(min(lines), max(lines)),
            )
        )
    }
    present = set(lines)
    bad = {line: position for position, line in zip(rows.index.tolist(), lines, strict=True) if position in reasons}
    new = [line for line in bad if line not in stored]
    by_position = rows.loc[[bad[line] for line in new]].to_dict("index")
    made = [
        {
            "id": identifier,
            "tenant_id": tenant,
            "table_name": table,
            "file_hash": file_hash,
            "file_name": file_name,
            "delivered_on": delivered_on,
            "line_number": line,
            "raw": as_it_came(by_position[bad[line]], header),
            "reasons": reasons[bad[line]],
            "quarantined_at": now,
            "run_id": run_id,
        }
        for identifier, line in zip(new_ids(len(new)), new, strict=True)
    ]
    for start in range(0, len(made), _BATCH):
        connection.execute(quarantined_records.insert(), made[start : start + _BATCH])
    for line, row in stored.items():
        is_open = row.replayed_at is None and row.superseded_at is None
        changed: dict[str, Any] = {}
        if line in bad and (not is_open or row.reasons != reasons[bad[line]]):
            changed = {"reasons": reasons[bad[line]], "replayed_at": None, "superseded_at": None, "run_id": run_id}
        elif line not in bad and is_open and line in present:
            changed = {"replayed_at": now}
        if changed:
            connection.execute(quarantined_records.update().where(columns.id == row.id).values(**changed))


def open_count(connection: Connection, tenant: str, table: str, file_hash: str) -> int:
    """Rows of this content that are still in quarantine."""
    return int(
        connection.scalar(
            sa.select(sa.func.count()).select_from(quarantined_records).where(_of(tenant, table, file_hash), _open)
        )
        or 0
    )


def open_reasons(connection: Connection, tenant: str, table: str, file_hash: str) -> dict[str, int]:
    """How many open rows of this content have each reason."""
    counts: dict[str, int] = {}
    for (reasons,) in connection.execute(
        sa.select(quarantined_records.c.reasons).where(_of(tenant, table, file_hash), _open)
    ):
        for reason in reasons:
            counts[reason] = counts.get(reason, 0) + 1
    return counts


def release(connection: Connection, tenant: str, table: str, file_hash: str, lines: list[int]) -> None:
    """Mark these lines as replayed: their rows have been loaded after all."""
    columns = quarantined_records.c
    now = dt.datetime.now(dt.UTC)
    for start in range(0, len(lines), _BATCH):
        connection.execute(
            quarantined_records.update()
            .where(
                _of(tenant, table, file_hash),
                columns.line_number.in_(lines[start : start + _BATCH]),
            )
            .values(replayed_at=now)
        )


def reconsider(
    connection: Connection, tenant: str, table: str, file_hash: str, reasons: Mapping[int, list[str]]
) -> None:
    """Give open rows (by line) the reasons of now: what one of them waited for has come, and others are left."""
    columns = quarantined_records.c
    lines = list(reasons)
    for start in range(0, len(lines), _BATCH):
        stored = connection.execute(
            sa.select(columns.id, columns.line_number, columns.reasons).where(
                _of(tenant, table, file_hash),
                columns.line_number.in_(lines[start : start + _BATCH]),
                _open,
            )
        ).all()
        for row in stored:
            if row.reasons != reasons[row.line_number]:
                connection.execute(
                    quarantined_records.update().where(columns.id == row.id).values(reasons=reasons[row.line_number])
                )


def supersede(connection: Connection, tenant: str, table: str, file_hash: str) -> None:
    """Close the open rows of a content that a corrected file has replaced."""
    connection.execute(
        quarantined_records.update()
        .where(_of(tenant, table, file_hash), _open)
        .values(superseded_at=dt.datetime.now(dt.UTC))
    )


def waiting(connection: Connection, tenant: str, table: str) -> list[sa.Row]:
    """Open rows of a table that wait for something to arrive: (file_hash, line_number, raw), in order.

    Also those with further reasons: these may be of one delivery only, where another one has the same file.
    """
    columns = quarantined_records.c
    rows = connection.execute(
        sa.select(columns.file_hash, columns.line_number, columns.raw, columns.reasons)
        .where(columns.tenant_id == tenant, columns.table_name == table, _open)
        .order_by(columns.delivered_on, columns.file_name, columns.line_number)
    )
    return [row for row in rows if not REPLAYABLE.isdisjoint(row.reasons)]
