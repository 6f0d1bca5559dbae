"""Merging attendance, which comes by the million: everything by column, nothing row by row.

Rows of days for which nothing is stored are written as they are; only the others are looked up. On PostgreSQL rows go
straight into their month's partition. A month that has no rows yet and gets many is built apart: filled by COPY
without an index, then indexed, checked and attached within the transaction of its delivery (`partitions`), because
maintaining the indexes is what costs: building them afterwards takes about a third of the time. Rows of a piece are
sorted by student and day, so that neighbours on disk are neighbours in the queries.

What goes past the parent table on that path: nothing that it has today. Its row triggers are cloned to every
partition; policies of row-level security are the parent's only, and are to be applied in `AttendanceMerge.close`.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from edupulse_pipelines.ingest import partitions
from edupulse_pipelines.ingest.bulk import copy_rows, id_texts, new_id_bytes, read_rows, stage, update_rows
from edupulse_pipelines.ingest.frames import Integers, Piece
from edupulse_pipelines.ingest.marks import Marks
from edupulse_pipelines.ingest.merge import (
    INSERTED,
    QUARANTINED,
    UNCHANGED,
    UPDATED,
    Outcomes,
    mark_weeks,
    typed,
)
from edupulse_pipelines.ingest.validation import UNKNOWN_RECORD, Reasons
from edupulse_pipelines.schema.delivery import DELIVERED
from edupulse_pipelines.schema.sqlalchemy_tables import attendance_records

TABLE = "attendance_records"
BULK_ROWS = 50_000
"""Rows of one month from which on it is built apart."""
_OLDEST_MONTHS = 36
"""Months before the district's first week that still get a partition; what is older lands in the default one."""
_EPOCH = dt.date(1970, 1, 1)
_COLUMNS = {column.name: column for column in DELIVERED[TABLE].columns}


@dataclass
class _Rows:
    """Rows to merge, by column. date: days since 1970; period: -1 where attendance is daily; place: among `rows`."""

    place: Integers
    student: pa.Array
    date: Integers
    period: Integers
    status: pa.Array
    deleted: npt.NDArray[np.bool_]

    def take(self, which: Integers) -> _Rows:
        return _Rows(
            self.place[which],
            self.student.take(pa.array(which)),
            self.date[which],
            self.period[which],
            self.status.take(pa.array(which)),
            self.deleted[which],
        )


def make_room(engine: Engine, days: Counter[dt.date], first_week: dt.date, delivered_on: dt.date) -> None:
    """Make the partitions that a delivery with so many rows by day needs, but for those that are built in bulk.

    In a transaction of its own, before the delivery's: nobody else has to wait for that one.
    """
    months = _months(days, first_week, delivered_on)
    with engine.connect() as connection:
        apart = partitions.bulk_months(connection, TABLE, months, BULK_ROWS)
    partitions.ensure_months(engine, TABLE, set(months) - set(apart))


def _months(days: Counter[dt.date], first_week: dt.date, delivered_on: dt.date) -> dict[dt.date, int]:
    """Rows by month, without the days that no delivery of this date can carry, and without those of a typing error."""
    oldest = first_week.replace(day=1) - dt.timedelta(days=_OLDEST_MONTHS * 30)
    months: Counter[dt.date] = Counter()
    for day, count in days.items():
        if oldest <= day <= delivered_on:
            months[partitions.month_of(day)] += count
    return dict(months)


class AttendanceMerge:
    """The merge of one delivery: `merge_piece` for each piece, then `close`, all in the delivery's transaction."""

    def __init__(
        self,
        connection: Connection,
        tenant: str,
        delivered_on: dt.date,
        days: Counter[dt.date],
        first_week: dt.date,
        marks: Marks,
    ) -> None:
        self.connection = connection
        self.tenant = tenant
        self.delivered_on = delivered_on
        self.marks = marks
        months = _months(days, first_week, delivered_on)
        self._apart: dict[dt.date, str] = dict.fromkeys(
            partitions.bulk_months(connection, TABLE, months, BULK_ROWS), ""
        )
        self._partitions = partitions.partitions(connection, TABLE)
        self._known_days: dict[int, bool] = {}

    def close(self) -> None:
        """Attach the months that were built apart."""
        partitions.finish_bulk(self.connection, TABLE, {month: name for month, name in self._apart.items() if name})

    def merge_piece(self, piece: Piece, rows: Integers, students: pa.Array) -> tuple[Outcomes, Reasons]:
        """Merge these good rows; `students`: for each the student's id as the database writes it.

        Returns what became of each, and the reasons (by row of the piece) of those refused.
        """
        outcomes: Outcomes = np.full(len(rows), INSERTED, dtype=np.int8)
        reasons: Reasons = {}
        if not len(rows):
            return outcomes, reasons
        mine = self._rows(piece, rows, students)
        known = self._stored_days(mine.date)
        maybe = np.flatnonzero(known | mine.deleted)
        new = ~(known | mine.deleted)
        for part in self._by_target(mine.take(maybe)) if len(maybe) else ():
            met = self._meet(part, outcomes)
            unmet = ~met & part[1].deleted
            for place in part[1].place[unmet].tolist():
                outcomes[place] = QUARANTINED
                reasons.setdefault(int(rows[place]), []).append(UNKNOWN_RECORD)
            new[part[1].place[~met & ~part[1].deleted]] = True
        self._insert(mine.take(np.flatnonzero(new)))
        changed = (outcomes == INSERTED) | (outcomes == UPDATED)
        touched = mine if changed.all() else mine.take(np.flatnonzero(changed))
        mark_weeks(self.marks, "weekly_activity", pa.array(touched.date, pa.int32()).cast(pa.date32()), touched.student)
        return outcomes, reasons

    def _rows(self, piece: Piece, rows: Integers, students: pa.Array) -> _Rows:
        date, period, status = (typed(piece, _COLUMNS[name], rows) for name in ("date", "period", "status"))
        return _Rows(
            np.arange(len(rows)),
            students,
            date.cast(pa.int32()).to_numpy(zero_copy_only=False).astype(np.int64),
            period.fill_null(-1).to_numpy(zero_copy_only=False),
            status,
            piece.deleted[rows],
        )

    # Where rows go

    def _target(self, day: int) -> tuple[str, dt.date | None]:
        """The table to write a day's rows to, and its month when that is being built apart."""
        if self.connection.dialect.name != "postgresql":
            return TABLE, None
        month = partitions.month_of(_EPOCH + dt.timedelta(days=day))
        if month in self._apart:
            return self._apart[month], month
        partition = self._partitions.get(month)
        return (f"{TABLE}_default" if partition is None else partition.name), None

    def _by_target(self, rows: _Rows) -> list[tuple[str, _Rows]]:
        """The rows by the table that holds their days; months built apart have none to meet."""
        targets: dict[str, list[int]] = {}
        for day in np.unique(rows.date).tolist():
            name, month = self._target(day)
            targets.setdefault("" if month is not None else name, []).append(day)
        return [(name, rows.take(np.flatnonzero(np.isin(rows.date, days)))) for name, days in targets.items()]

    def _stored_days(self, dates: Integers) -> npt.NDArray[np.bool_]:
        """For each row whether any record of its day was stored before this delivery."""
        days, inverse = np.unique(dates, return_inverse=True)
        for day in days.tolist():
            if day not in self._known_days:
                name, month = self._target(day)
                # A month that is built apart has no rows; asking its table would not find what this delivery wrote.
                self._known_days[day] = month is None and self._any(name, _EPOCH + dt.timedelta(days=day))
        return np.array([self._known_days[day] for day in days.tolist()], dtype=np.bool_)[inverse]

    def _any(self, name: str, day: dt.date) -> bool:
        table = sa.table(name, sa.column("tenant_id"), sa.column("date", sa.Date()))
        query = sa.select(sa.literal(1)).where(table.c.tenant_id == self.tenant, table.c.date == day).limit(1)
        return self.connection.scalar(query) is not None

    # Writing

    def _insert(self, rows: _Rows) -> None:
        if not len(rows.place):
            return
        order = np.lexsort((rows.period, rows.date, _ranks(rows.student)))
        rows = rows.take(order)
        count = len(order)
        same = pa.array(np.zeros(count, dtype=np.int8))
        table = pa.table(
            {
                "id": id_texts(new_id_bytes(count), self.connection.dialect.name),
                "tenant_id": pa.array([self.tenant]).take(same),
                "student_id": rows.student,
                "date": pa.array(rows.date, pa.int32()).cast(pa.date32()),
                "status": rows.status,
                "period": pa.array(rows.period, mask=rows.period < 0),
                "delivered_on": pa.array([self.delivered_on], pa.date32()).take(same),
            }
        )
        targets: dict[str, list[int]] = {}
        for day in np.unique(rows.date).tolist():
            name, month = self._target(day)
            if month is not None and not name:
                name = self._apart[month] = partitions.start_bulk(self.connection, TABLE)
            targets.setdefault(name, []).append(day)
        for name, days in targets.items():
            mine = table if len(targets) == 1 else table.filter(pa.array(np.isin(rows.date, days)))
            copy_rows(self.connection, name, mine)

    def _meet(self, part: tuple[str, _Rows], outcomes: Outcomes) -> npt.NDArray[np.bool_]:
        """Compare the rows with those stored in one table; whether each met one."""
        name, rows = part
        met = np.zeros(len(rows.place), dtype=np.bool_)
        if not name:
            return met
        stored = self._lookup(name, rows)
        if not len(stored):
            return met
        at = stored["position"].to_numpy()
        met[at] = True
        mine = rows.take(at)
        day = (self.delivered_on - _EPOCH).days
        theirs = stored["delivered_on"].cast(pa.int32()).to_numpy()
        deleted_on = stored["deleted_on"].cast(pa.int32()).combine_chunks()
        is_deleted = deleted_on.is_valid().to_numpy(zero_copy_only=False)
        deleted_day = deleted_on.fill_null(-(2**31) + 1).to_numpy(zero_copy_only=False)
        current = day >= theirs
        differs = ~_equal(mine.status, stored["status"].combine_chunks())

        takes_back = mine.deleted & current
        revived = ~mine.deleted & current & is_deleted & (day >= deleted_day)
        rewritten = ~mine.deleted & current & differs
        updated = rewritten | revived | (takes_back & ~is_deleted)
        outcomes[mine.place] = np.where(updated, UPDATED, UNCHANGED)

        moved = updated | (takes_back & (day > deleted_day)) | (~mine.deleted & (day > theirs))
        changed = np.flatnonzero(updated | (takes_back & (day > deleted_day)))
        new_deleted = np.where(takes_back, np.maximum(day, deleted_day), np.where(revived, -(2**31) + 1, deleted_day))
        new_delivered = np.where(~mine.deleted & current, day, theirs)
        columns: dict[str, Any] = {
            "id": stored["id"],
            "date": pa.array(mine.date, pa.int32()).cast(pa.date32()),
            "delivered_on": pa.array(new_delivered, pa.int32()).cast(pa.date32()),
        }
        bookkeeping = np.flatnonzero(moved & ~np.isin(np.arange(len(at)), changed))
        key = ("id", "date")
        # Only the bookkeeping of deliveries: the record says what it said, so `updated_at` stays.
        update_rows(
            self.connection, attendance_records, pa.table(columns).take(pa.array(bookkeeping)), name=name, key=key
        )
        status = [
            new if use else old
            for new, old, use in zip(
                mine.status.take(pa.array(changed)).to_pylist(),
                stored["status"].take(pa.array(changed)).to_pylist(),
                rewritten[changed].tolist(),
                strict=True,
            )
        ]
        table = pa.table(columns).take(pa.array(changed))
        table = table.append_column("status", pa.array(status, pa.string()))
        deleted = new_deleted[changed]
        table = table.append_column(
            "deleted_on", pa.array(deleted, pa.int32(), mask=deleted == -(2**31) + 1).cast(pa.date32())
        )
        update_rows(self.connection, attendance_records, table, name=name, key=key)
        return met

    def _lookup(self, name: str, rows: _Rows) -> pa.Table:
        """The stored records of these rows, `position` being the row's."""
        dialect = self.connection.dialect
        stage(
            self.connection,
            "staged_attendance",
            {
                "position": "INTEGER",
                "student_id": attendance_records.c.student_id.type.compile(dialect=dialect),
                "date": "DATE",
                "period": "INTEGER",
            },
            pa.table(
                {
                    "position": pa.array(np.arange(len(rows.place)), pa.int32()),
                    "student_id": rows.student,
                    "date": pa.array(rows.date, pa.int32()).cast(pa.date32()),
                    "period": pa.array(rows.period),
                }
            ),
        )
        staged = sa.table("staged_attendance", *map(sa.column, ("position", "student_id", "date", "period")))
        stored = sa.table(
            name,
            *map(
                sa.column,
                ("id", "tenant_id", "student_id", "date", "period", "status", "delivered_on", "deleted_on"),
            ),
        )
        query = sa.select(
            staged.c.position, stored.c.id, stored.c.status, stored.c.delivered_on, stored.c.deleted_on
        ).join_from(
            staged,
            stored,
            sa.and_(
                # As the unique index has it, so that it is used.
                stored.c.tenant_id == self.tenant,
                stored.c.student_id == staged.c.student_id,
                stored.c.date == staged.c.date,
                sa.func.coalesce(stored.c.period, sa.text("-1")) == staged.c.period,
            ),
        )
        return read_rows(
            self.connection,
            query,
            {
                "position": pa.int64(),
                "id": pa.string(),
                "status": pa.string(),
                "delivered_on": pa.date32(),
                "deleted_on": pa.date32(),
            },
        )


def _ranks(students: pa.Array) -> Integers:
    """The place of each student in the order of ids."""
    coded = students.dictionary_encode()
    order = np.argsort(np.array(coded.dictionary.to_pylist(), dtype=object), kind="stable")
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    return ranks[coded.indices.to_numpy(zero_copy_only=False)]


def _equal(left: pa.Array, right: pa.Array) -> npt.NDArray[np.bool_]:
    made: npt.NDArray[np.bool_] = pc.equal(left, right).fill_null(False).to_numpy(zero_copy_only=False)
    return made
