"""Writing attendance, which comes by the million: everything by column, nothing row by row.

Rows of days for which nothing is stored are written as they are; only the others are looked up. On PostgreSQL rows are
inserted through the parent of the months' partitions, whose policies of row-level security hold for them. A month that
has no rows yet and gets many is built apart: filled by COPY without an index, then indexed, checked and attached within
the transaction of its delivery (`storage.months`), because building the indexes afterwards takes about a third of the
time of maintaining them. Rows of a piece are sorted by student and day, so that neighbours on disk are neighbours in
the queries; rows that bring their ids along stay in the order of these, so that what is sent is what the server hashes.
They are copied in binary form, which costs less than CSV. What needs no database (`prepare`) may be done by a second
thread while the server works.

Which columns there are is a fact of the declaration. The rows themselves are in `attendance_rows`, what they change of
stored records in `attendance_changes`.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.ingest.delivered_rows import DeliveredRows
from edupulse_pipelines.ingest.frames import Integers, Mask, Piece
from edupulse_pipelines.ingest.references import Schools
from edupulse_pipelines.ingest.validation import DETACHED_MONTH, UNKNOWN_RECORD, Reasons
from edupulse_pipelines.ingest.writers.attendance_changes import place_of, stored_records, update_met
from edupulse_pipelines.ingest.writers.attendance_rows import TABLE, Rows, new_records
from edupulse_pipelines.ingest.writers.attendance_sessions import SessionWriter
from edupulse_pipelines.ingest.writers.field_dates import EPOCH
from edupulse_pipelines.ingest.writers.outcomes import (
    INSERTED,
    QUARANTINED,
    UNCHANGED,
    UPDATED,
    Outcomes,
    Prepared,
    Target,
    settled,
)
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage import months
from edupulse_pipelines.storage.bulk import Place, copy_binary, copy_rows
from edupulse_pipelines.storage.changes import SentRows
from edupulse_pipelines.storage.turns import hold_default, hold_months
from edupulse_pipelines.storage.work import Work

BULK_ROWS = 50_000
"""Rows of one month from which on it is built apart."""
_OLDEST_MONTHS = 36
"""Months before the district's first week that still get a partition; what is older lands in the default one."""


@dataclass
class PreparedAttendance(Prepared):
    """What one piece brings, made without the database.

    outcomes: per row of the piece, as far as they are known; new: rows of days for which nothing is stored, sorted, by
    the month of their partition, ready to be written; met: the others, that have to be looked up; refused: places of
    rows whose month is detached.
    """

    outcomes: Outcomes
    new: dict[dt.date, Any]
    met: Rows
    touched: Rows
    refused: Integers


def _months_apart(
    connection: Connection, days: Counter[dt.date], coming: dict[dt.date, int], delivered_on: dt.date
) -> list[dt.date] | None:
    """The months to build apart; None when some of the rows go to the default partition.

    Then nothing is built apart: whoever attaches a month needs the default partition, and two such deliveries would
    wait for each other.
    """
    there = months.partitions(connection, TABLE).keys() | months.detached_months(connection, TABLE).keys()
    wanted = {months.month_of(day) for day in days if day <= delivered_on}
    if wanted - coming.keys() - there:
        return None
    return months.bulk_months(connection, TABLE, coming, BULK_ROWS)


def _months(days: Counter[dt.date], first_week: dt.date, delivered_on: dt.date) -> dict[dt.date, int]:
    """Rows by month, without the days that no delivery of this date can carry, and without those of a typing error."""
    oldest = first_week.replace(day=1) - dt.timedelta(days=_OLDEST_MONTHS * 30)
    coming: Counter[dt.date] = Counter()
    for day, count in days.items():
        if oldest <= day <= delivered_on:
            coming[months.month_of(day)] += count
    return dict(coming)


class AttendanceWriter:
    """Writes one delivery of attendance, all in the transaction of its target."""

    def __init__(self, target: Target) -> None:
        rows, first_week = target.rows, target.tenant.first_week
        self.connection = target.connection
        self.tenant = target.work.tenant
        self.delivered_on = rows.delivered_on
        self.students = target.students
        self.marks = target.marks
        self._rows = rows
        self._schools = Schools.of(target.connection, target.work, rows.delivered_on)
        self._sessions = SessionWriter(target.connection, target.work, target.students)
        self._dialect = target.work.dialect
        self._binary = self._dialect == "postgresql"
        coming = _months(rows.days, first_week, rows.delivered_on)
        hold_months(self.connection)
        detached = months.detached_months(self.connection, TABLE)
        self._detached = np.array([_month_number(month) for month in detached], dtype=np.int64)
        apart = _months_apart(self.connection, rows.days, coming, rows.delivered_on)
        if apart is None:
            hold_default(self.connection, TABLE)
        self._apart: dict[dt.date, str] = dict.fromkeys(apart or [], "")
        self._sent: dict[dt.date, SentRows] = {}
        self._partitions = months.partitions(self.connection, TABLE)
        # Asked before the first row is written, so that what is written here is not found; and only of days that can
        # come, because what nobody claims is in the default partition, which others need.
        days = [day for day in rows.days if day <= self.delivered_on and months.month_of(day) not in detached]
        self._known_days = np.array(sorted((day - EPOCH).days for day in days if self._any(day)), dtype=np.int64)

    @staticmethod
    def make_room(work: Work, tenant: TenantSettings, rows: DeliveredRows) -> None:
        """Make the partitions that the delivery needs, but for those that are built in bulk.

        In transactions of their own, before the delivery's: nobody else has to wait for that one.
        """
        coming = _months(rows.days, tenant.first_week, rows.delivered_on)
        with work.reading() as connection:
            apart = _months_apart(connection, rows.days, coming, rows.delivered_on) or []
            # Rows of a month that nobody had asked for yet are moved into it, and then it is none to be built.
            held = months.default_months(connection, TABLE)
        wanted = {month for month in coming if month not in apart or f"{month:%Y-%m}" in held}
        months.ensure_months(work, TABLE, wanted)

    def prepare(self, piece: Piece, reasons: Reasons, asked: Mask) -> PreparedAttendance:
        """Find the students and sort out the good rows of a piece; asks the database nothing."""
        self.students.resolve(piece, reasons)
        self._schools.resolve(piece, reasons)
        outcomes: Outcomes = np.full(len(piece), UNCHANGED, dtype=np.int8)
        rows = Rows.of(piece, np.flatnonzero(Prepared(piece, reasons, asked).good()), self.students)
        away = np.isin(_month_numbers(rows.date), self._detached)
        refused = rows.place[away]
        if len(refused):
            rows = rows.take(~away)
        met = np.isin(rows.date, self._known_days) | rows.deleted | rows.beside_others()
        if self._rows.names_some_schools and len(piece) < self._rows.count:
            met[:] = True  # another piece may speak of the same session with, or without, its school
        fresh = rows.take(~met) if met.any() else rows
        if piece.earlier is None:  # others come in the order of the ids that they have
            fresh = fresh.take(np.lexsort((fresh.period, fresh.date, self.students.rank[fresh.student])))
        outcomes[fresh.place] = INSERTED
        ready = self._ready(fresh, piece)
        return PreparedAttendance(piece, reasons, asked, outcomes, ready, rows.take(met), fresh, refused)

    def write(self, prepared: PreparedAttendance) -> Outcomes:
        """Write what was prepared and look up the rest; what became of each row of the piece.

        Adds the reasons of rows whose month is detached, or that take back a record that has not arrived.
        """
        outcomes = prepared.outcomes
        refused: Reasons = {place: [DETACHED_MONTH] for place in prepared.refused.tolist()}
        self._insert(prepared.new)
        self._mark(prepared.touched)
        if len(prepared.met):
            late: list[Rows] = []
            for place, part in self._by_place(prepared.met):
                stored = stored_records(self.connection, place, part, self.students)
                one_by_one = self._sessions.concerned(part, stored)
                unknown = np.zeros(len(part), dtype=np.bool_)
                if one_by_one.any():
                    outcomes[part.place[one_by_one]], unknown[one_by_one] = self._sessions.write(
                        place, part.take(one_by_one), (self.delivered_on - EPOCH).days
                    )
                # The rows that are left are compared by column: those of the others meet nothing then.
                met = update_met(self.connection, place, part, stored, self.delivered_on, outcomes, ~one_by_one)
                missing = ~met & ~one_by_one
                for row in part.place[unknown | (missing & part.deleted)].tolist():
                    outcomes[row] = QUARANTINED
                    refused[row] = [UNKNOWN_RECORD]
                late.append(part.take(missing & ~part.deleted))
            for fresh in late:
                outcomes[fresh.place] = INSERTED
                self._insert(self._ready(fresh, prepared.piece))
            changed = np.isin(outcomes[prepared.met.place], (INSERTED, UPDATED))
            self._mark(prepared.met.take(changed))
        return settled(outcomes, prepared.reasons, refused)

    def close(self) -> None:
        """Attach the months that were built apart."""
        for month, sent in self._sent.items():
            months.account_for(self.connection, sent, self._apart[month])
        months.finish_bulk(self.connection, TABLE, {month: name for month, name in self._apart.items() if name})

    # Where rows go

    def _table(self, month: dt.date) -> str:
        """The table that has, or will get, a month's rows."""
        if month not in self._apart:
            return TABLE
        if not self._apart[month]:
            self._apart[month] = months.start_bulk(self.connection, TABLE)
        return self._apart[month]

    def _by_place(self, rows: Rows) -> list[tuple[Place, Rows]]:
        """The rows by the place that may have their records: on PostgreSQL each month, then what no month claims."""
        places: dict[dt.date | None, list[int]] = {}
        of_row = _month_numbers(rows.date)
        for number in np.unique(of_row).tolist():
            month = _month(number)
            claimed = month in self._apart or month in self._partitions
            places.setdefault(month if claimed else None, []).append(number)
        placed = []
        for numbers in places.values():
            part = rows.take(np.isin(of_row, numbers))
            placed.append((place_of(self._table(_month(numbers[0])), part), part))
        return placed

    def _any(self, day: dt.date) -> bool:
        """Whether a record of the day is stored."""
        month = months.month_of(day)
        if month in self._apart:
            return False
        table = sa.table(TABLE, sa.column("tenant_id"), sa.column("date", sa.Date()))
        query = sa.select(sa.literal(1)).where(table.c.tenant_id == self.tenant, table.c.date == day).limit(1)
        return self.connection.scalar(query) is not None

    # Writing

    def _ready(self, rows: Rows, piece: Piece) -> dict[dt.date, Any]:
        """These rows of a piece as Arrow tables: by month for PostgreSQL's binary COPY, in one table for SQLite."""
        if not len(rows):
            return {}
        if not self._binary:
            return {EPOCH: self._records(rows, piece)}
        ready: dict[dt.date, Any] = {}
        of_row = _month_numbers(rows.date)
        for number in np.unique(of_row).tolist():
            ready[_month(number)] = self._records(rows.take(of_row == number), piece)
        return ready

    def _insert(self, ready: dict[dt.date, Any]) -> None:
        for month, rows in ready.items():
            if self._binary:
                copy_binary(self.connection, self._table(month), rows)
                if month in self._apart:
                    self._sent.setdefault(month, SentRows(TABLE)).add(rows)
            else:
                copy_rows(self.connection, TABLE, rows)

    def _records(self, rows: Rows, piece: Piece) -> pa.Table:
        return new_records(rows, self.students, self.tenant, self.delivered_on, self._dialect, piece.earlier)

    def _mark(self, rows: Rows) -> None:
        weeks = (rows.date + 3) // 7  # 1970-01-01 was a Thursday
        for week in np.unique(weeks).tolist():
            monday = EPOCH + dt.timedelta(days=week * 7 - 3)
            self.marks.add_known("weekly_activity", monday, rows.student[weeks == week])


def _month_numbers(days: Integers) -> Integers:
    """Months since 1970 of days since 1970."""
    return days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def _month(number: int) -> dt.date:
    return dt.date(1970 + number // 12, number % 12 + 1, 1)


def _month_number(month: dt.date) -> int:
    """The reverse of `_month`."""
    return (month.year - 1970) * 12 + month.month - 1
