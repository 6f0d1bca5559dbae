"""Rows that were not loaded: kept as they came with every reason, until they are replayed or their file is replaced.

Unique on tenant, file hash and line. Which rows are bad is decided in `validation`; when they are tried again, in
`replay`; how they are exported, in `export`; how corrections come back, in `corrections`.
"""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.schema.reasons import WAITING, only_waits
from edupulse_pipelines.schema.sqlalchemy_tables import quarantined_records
from edupulse_pipelines.storage.ids import new_ids
from edupulse_pipelines.storage.manifest import Entry
from edupulse_pipelines.storage.work import Work

_BATCH = 5_000
_STREAMED = 2_000
_open = sa.and_(quarantined_records.c.replayed_at.is_(None), quarantined_records.c.superseded_at.is_(None))


def _of(work: Work, table: str, file_hash: str) -> sa.ColumnElement[bool]:
    """One content as one table's file: a district may deliver the same bytes under the names of two tables."""
    columns = quarantined_records.c
    return sa.and_(columns.tenant_id == work.tenant, columns.table_name == table, columns.file_hash == file_hash)


@dataclass(frozen=True)
class BadRow:
    """A row that is not loaded: as it came (an object by column, or the fields that do not fit them), and why."""

    raw: Any
    reasons: list[str]


def keep(connection: Connection, work: Work, file: Entry, *, lines: tuple[int, int], bad: Mapping[int, BadRow]) -> int:
    """Make the open quarantine of a file's content between two `lines` (both included) exactly `bad` (by line).

    Rows that are in quarantine already keep their entry, with the reasons of now; entries of lines that are good now
    are marked as replayed. Returns how many of these had waited for something to arrive.
    """
    freed = 0
    now = dt.datetime.now(dt.UTC)
    columns = quarantined_records.c
    stored = {
        row.line_number: row
        for row in connection.execute(
            sa.select(
                columns.id, columns.line_number, columns.reasons, columns.replayed_at, columns.superseded_at
            ).where(_of(work, file.table_name, file.sha256), columns.line_number.between(*lines))
        )
    }
    _enter(connection, work, file, {line: row for line, row in bad.items() if line not in stored}, now)
    for line, row in stored.items():
        is_open = row.replayed_at is None and row.superseded_at is None
        changed: dict[str, Any] = {}
        if line in bad and (not is_open or row.reasons != bad[line].reasons):
            changed = {
                "reasons": bad[line].reasons,
                "replayed_at": None,
                "replay_run_id": None,
                "superseded_at": None,
                "run_id": work.run_id,
            }
        elif line not in bad and is_open:
            changed = {"replayed_at": now, "replay_run_id": work.run_id}
            freed += not WAITING.isdisjoint(row.reasons)
        if changed:
            connection.execute(quarantined_records.update().where(columns.id == row.id).values(**changed))
    return freed


def open_count(connection: Connection, work: Work, table: str, file_hash: str) -> int:
    """Rows of this content that are still in quarantine."""
    return int(
        connection.scalar(
            sa.select(sa.func.count()).select_from(quarantined_records).where(_of(work, table, file_hash), _open)
        )
        or 0
    )


def open_lines(connection: Connection, work: Work, table: str, file_hash: str) -> list[int]:
    """The lines of this content that are still in quarantine."""
    query = sa.select(quarantined_records.c.line_number).where(_of(work, table, file_hash), _open)
    return list(connection.scalars(query))


def open_reasons(connection: Connection, work: Work, table: str, file_hash: str) -> tuple[Counter[str], int]:
    """How many open rows of this content have each reason, and how many only wait for something."""
    counts: Counter[str] = Counter()
    waiting = 0
    query = sa.select(quarantined_records.c.reasons).where(_of(work, table, file_hash), _open)
    for reasons in connection.scalars(query):
        counts.update(reasons)
        waiting += only_waits(reasons)
    return counts, waiting


def _enter(connection: Connection, work: Work, file: Entry, new: Mapping[int, BadRow], now: dt.datetime) -> None:
    """Put lines of a file's content into quarantine that have no entry there."""
    entries = [
        {
            "id": identifier,
            "tenant_id": work.tenant,
            "table_name": file.table_name,
            "file_hash": file.sha256,
            "file_name": f"{file.delivered_on}/{file.file_name}",
            "delivered_on": file.delivered_on,
            "line_number": line,
            "raw": row.raw,
            "reasons": row.reasons,
            "quarantined_at": now,
            "run_id": work.run_id,
        }
        for identifier, (line, row) in zip(new_ids(len(new)), new.items(), strict=True)
    ]
    for start in range(0, len(entries), _BATCH):
        connection.execute(quarantined_records.insert(), entries[start : start + _BATCH])


def hold(connection: Connection, work: Work, file: Entry, bad: Mapping[int, BadRow]) -> int:
    """Have these lines of a file's content in quarantine, with the reasons of now.

    Returns how many of them were not there, or not any more.
    """
    columns = quarantined_records.c
    lines = list(bad)
    entered: dict[int, sa.Row] = {}
    for start in range(0, len(lines), _BATCH):
        query = sa.select(columns.id, columns.line_number, columns.replayed_at, columns.superseded_at).where(
            _of(work, file.table_name, file.sha256), columns.line_number.in_(lines[start : start + _BATCH])
        )
        entered.update({row.line_number: row for row in connection.execute(query)})
    new = {line: row for line, row in bad.items() if line not in entered}
    _enter(connection, work, file, new, dt.datetime.now(dt.UTC))
    closed = 0
    for line, row in entered.items():
        closed += row.replayed_at is not None or row.superseded_at is not None
        open_again = {"replayed_at": None, "replay_run_id": None, "superseded_at": None}
        connection.execute(
            quarantined_records.update().where(columns.id == row.id).values(reasons=bad[line].reasons, **open_again)
        )
    return len(new) + closed


def accept(connection: Connection, work: Work, selection: Selection, reason: str, because: str) -> int:
    """A person says that the selected open rows are right although they have this reason; how many there are."""
    asked = sa.and_(selection.of(work), _reasons_as_text().contains(f'"{reason}"', autoescape=True))
    changed = connection.execute(
        quarantined_records.update()
        .where(asked)
        .values(accepted_at=dt.datetime.now(dt.UTC), accepted_by=work.actor, accepted_reason=because)
    )
    return int(changed.rowcount)


def accepted_lines(connection: Connection, work: Work, table: str, file_hash: str) -> set[int]:
    """The lines of this content that a person has accepted."""
    columns = quarantined_records.c
    query = sa.select(columns.line_number).where(_of(work, table, file_hash), columns.accepted_at.is_not(None))
    return set(connection.scalars(query))


def lines_with(connection: Connection, work: Work, table: str, reason: str) -> dict[str, set[int]]:
    """By content (hash) the lines that are in quarantine for this reason."""
    columns = quarantined_records.c
    query = sa.select(columns.file_hash, columns.line_number).where(
        columns.tenant_id == work.tenant,
        columns.table_name == table,
        _open,
        _reasons_as_text().contains(f'"{reason}"', autoescape=True),
    )
    lines: dict[str, set[int]] = {}
    for file_hash, line in connection.execute(query):
        lines.setdefault(file_hash, set()).add(line)
    return lines


def release(connection: Connection, work: Work, table: str, file_hash: str, lines: list[int]) -> set[int]:
    """Mark these lines as replayed by this run, because their rows have been loaded after all; those that were open.

    The others have been released before, by another run perhaps, and are not to be counted again.
    """
    columns = quarantined_records.c
    now = dt.datetime.now(dt.UTC)
    released: set[int] = set()
    for start in range(0, len(lines), _BATCH):
        asked = sa.and_(_of(work, table, file_hash), columns.line_number.in_(lines[start : start + _BATCH]), _open)
        released.update(connection.scalars(sa.select(columns.line_number).where(asked)))
        connection.execute(quarantined_records.update().where(asked).values(replayed_at=now, replay_run_id=work.run_id))
    return released


def reconsider(
    connection: Connection, work: Work, table: str, file_hash: str, reasons: Mapping[int, list[str]]
) -> None:
    """Give open rows (by line) the reasons of now: what one of them waited for has come, and others are left."""
    columns = quarantined_records.c
    lines = list(reasons)
    for start in range(0, len(lines), _BATCH):
        stored = connection.execute(
            sa.select(columns.id, columns.line_number, columns.reasons).where(
                _of(work, table, file_hash),
                columns.line_number.in_(lines[start : start + _BATCH]),
                _open,
            )
        ).all()
        for row in stored:
            if row.reasons != reasons[row.line_number]:
                connection.execute(
                    quarantined_records.update().where(columns.id == row.id).values(reasons=reasons[row.line_number])
                )


def supersede(connection: Connection, work: Work, table: str, file_hash: str) -> None:
    """Close the open rows of a content that a corrected file has replaced."""
    connection.execute(
        quarantined_records.update()
        .where(_of(work, table, file_hash), _open)
        .values(superseded_at=dt.datetime.now(dt.UTC))
    )


def waiting(connection: Connection, work: Work, table: str, *, every: bool = False) -> Iterator[sa.Row]:
    """Open rows of a table, read as they are asked for: where they stand, as they came and as corrected, and why.

    Only those that wait for something to arrive, unless `every`. Also those with further reasons: these may be of one
    delivery only, where another one has the same file.
    """
    columns = quarantined_records.c
    names = ("file_hash", "line_number", "delivered_on", "raw", "corrected", "reasons")
    query = sa.select(*(columns[name] for name in names)).where(
        columns.tenant_id == work.tenant, columns.table_name == table, _open
    )
    if not every:
        codes = _reasons_as_text()
        query = query.where(sa.or_(*(codes.contains(f'"{code}"', autoescape=True) for code in sorted(WAITING))))
    yield from connection.execute(query, execution_options={"yield_per": _STREAMED})


def open_rows(connection: Connection, work: Work, table: str) -> Iterator[sa.Row]:
    """All open rows of a table: (file_hash, delivered_on, raw, corrected, reasons), read as they are asked for."""
    columns = quarantined_records.c
    query = sa.select(columns.file_hash, columns.delivered_on, columns.raw, columns.corrected, columns.reasons).where(
        columns.tenant_id == work.tenant, columns.table_name == table, _open
    )
    yield from connection.execute(query, execution_options={"yield_per": _STREAMED})


def corrections(connection: Connection, work: Work, table: str, file_hash: str) -> dict[int, dict[str, str]]:
    """By line the rows of this content that a person has corrected, as they are to be read instead."""
    columns = quarantined_records.c
    rows = connection.execute(
        sa.select(columns.line_number, columns.corrected).where(
            _of(work, table, file_hash), columns.corrected_at.is_not(None)
        )
    )
    return {line: corrected for line, corrected in rows if isinstance(corrected, dict)}


# What people ask


@dataclass(frozen=True)
class Selection:
    """Some of a tenant's quarantined rows: each field that is given narrows them.

    A reason is a whole code (`values:status`) or its rule (`values`); a file is `<delivery date>/<name>` or the name.
    """

    tables: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()
    ids: tuple[uuid.UUID, ...] = ()
    closed: bool = False
    """Also rows that were replayed, or whose file was replaced."""

    def of(self, work: Work) -> sa.ColumnElement[bool]:
        """The condition on `quarantined_records`."""
        columns = quarantined_records.c
        wanted: list[sa.ColumnElement[bool]] = [columns.tenant_id == work.tenant]
        if not self.closed:
            wanted.append(_open)
        if self.tables:
            wanted.append(columns.table_name.in_(self.tables))
        if self.reasons:
            codes = _reasons_as_text()
            wanted.append(
                sa.or_(
                    *(
                        codes.contains(f'"{reason}{end}', autoescape=True)
                        for reason in self.reasons
                        for end in (('"',) if ":" in reason else ('"', ":"))
                    )
                )
            )
        if self.files:
            wanted.append(
                sa.or_(
                    columns.file_name.in_(self.files),
                    *(columns.file_name.endswith(f"/{name}", autoescape=True) for name in self.files),
                )
            )
        if self.lines:
            wanted.append(columns.line_number.in_(self.lines))
        if self.ids:
            wanted.append(columns.id.in_(self.ids))
        return sa.and_(*wanted)


@dataclass(frozen=True)
class Tally:
    """How many rows of one file have exactly these reasons, by what has become of them."""

    table: str
    file_name: str
    reasons: tuple[str, ...]
    open: int
    corrected: int
    """Of the open ones: corrected, and not loaded yet."""
    replayed: int
    superseded: int
    oldest: dt.datetime | None
    """Since when the oldest open one is in quarantine."""


@dataclass(frozen=True)
class Replay:
    """What one run loaded out of quarantine; `run_id` is None for rows that were freed before runs were noted."""

    table: str
    run_id: str | None
    rows: int
    corrected: int
    replayed_at: dt.datetime


def _reasons_as_text() -> sa.ColumnElement[str]:
    return sa.cast(quarantined_records.c.reasons, sa.Text)


def tallies(connection: Connection, work: Work, selection: Selection) -> list[Tally]:
    """The selected rows, counted by table, file and set of reasons, in that order."""
    columns = quarantined_records.c
    codes = _reasons_as_text()

    def counted(condition: sa.ColumnElement[bool]) -> sa.Function[int]:
        return sa.func.count(sa.case((condition, 1)))

    query = (
        sa.select(
            columns.table_name,
            columns.file_name,
            codes,
            counted(_open),
            counted(sa.and_(_open, columns.corrected_at.is_not(None))),
            counted(columns.replayed_at.is_not(None)),
            counted(columns.superseded_at.is_not(None)),
            sa.func.min(sa.case((_open, columns.quarantined_at))),
        )
        .where(selection.of(work))
        .group_by(columns.table_name, columns.file_name, codes)
        .order_by(columns.table_name, columns.file_name, codes)
    )
    return [
        Tally(table, file, tuple(json.loads(reasons)), *figures)
        for table, file, reasons, *figures in connection.execute(query)
    ]


def replays(connection: Connection, work: Work, selection: Selection) -> list[Replay]:
    """The runs that loaded selected rows after all, oldest first."""
    columns = quarantined_records.c
    newest = sa.func.max(columns.replayed_at)
    query = (
        sa.select(
            columns.table_name, columns.replay_run_id, sa.func.count(), sa.func.count(columns.corrected_at), newest
        )
        .where(selection.of(work), columns.replayed_at.is_not(None))
        .group_by(columns.table_name, columns.replay_run_id)
        .order_by(newest, columns.table_name)
    )
    return [Replay(*row) for row in connection.execute(query)]


def selected(connection: Connection, work: Work, selection: Selection, limit: int | None = None) -> Iterator[sa.Row]:
    """The selected rows of `quarantined_records` by table, delivery, file and line, read as they are asked for."""
    columns = quarantined_records.c
    query = (
        sa.select(quarantined_records)
        .where(selection.of(work))
        .order_by(columns.table_name, columns.delivered_on, columns.file_name, columns.line_number, columns.file_hash)
        .limit(limit)
    )
    yield from connection.execute(query, execution_options={"yield_per": _STREAMED})
