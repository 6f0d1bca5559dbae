"""Writing enrolments that are sent themselves: records of a student, a school and an entry date.

An enrolment without a school that deliveries of students have opened (`ingest.student_enrolments`) gives way to a sent
one with its entry date, and a row may take it back. The merging itself is in `records`.
"""

from __future__ import annotations

import datetime as dt
import uuid
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from edupulse_pipelines.ingest.frames import Integers, Mask, Piece
from edupulse_pipelines.ingest.references import Schools
from edupulse_pipelines.ingest.student_enrolments import (
    ASSUMED,
    SENT,
    STUDENT,
    bring_up_to_date,
    changed_from,
    mark_entry,
)
from edupulse_pipelines.ingest.validation import Reasons
from edupulse_pipelines.ingest.writers.outcomes import UNCHANGED, UPDATED, Outcomes, Target, typed
from edupulse_pipelines.ingest.writers.records import PieceMerge, PreparedRecords, Record, RecordWriter
from edupulse_pipelines.schema.declaration import NULL_AS
from edupulse_pipelines.schema.sqlalchemy_tables import enrollments
from edupulse_pipelines.storage.bulk import id_batches, read_rows, stage, update_rows
from edupulse_pipelines.storage.turns import hold_enrolments

EXIT_BEFORE_ENROLLMENT = "exit_before_enrollment"


def exits_before(piece: Piece, places: Integers, entry: str) -> int:
    """How many of these rows have an exit date before their date of entry (column `entry`)."""
    exits, entries = piece.columns.get("exit_date"), piece.columns.get(entry)
    if exits is None or entries is None:
        return 0
    left, came = (column.take(column.texts).take(pa.array(places)) for column in (exits, entries))
    return int(pc.sum(pc.less(left, came)).as_py() or 0)  # ISO dates compare as text


class EnrollmentMerge(PieceMerge):
    """The merge of one piece of enrolments."""

    concerned: set[str]
    """Ids of students of whom an enrolment that a delivery of students has opened gave way, or was taken back."""

    def __init__(self, target: Target, piece: Piece, rows: Integers, references: pa.Array | None) -> None:
        super().__init__(target, piece, rows, references)
        assert references is not None
        self.students = references
        self.school, self.entry = (
            typed(piece, self.declared.column(name), rows) for name in ("school_id", "entry_date")
        )
        self.taken_back: dict[int, tuple[dt.date, str | None]] = {}
        """By place the day on which what gave way to a new row was taken back later, and what for, if a person did."""
        self.also_read = (*self.also_read, "student_id", "entry_date")

    def staged_keys(self) -> tuple[sa.TableClause, sa.ColumnElement[bool]]:
        """By student, school and entry, as the unique index has it; only enrolments that were sent."""
        staged, same_key = self._staged_keys
        return staged, sa.and_(same_key, enrollments.c.origin == SENT)

    @cached_property
    def _staged_keys(self) -> tuple[sa.TableClause, sa.ColumnElement[bool]]:
        dialect = self.connection.dialect
        columns = {
            "position": "INTEGER",
            "student_id": enrollments.c.student_id.type.compile(dialect=dialect),
            "school_id": "VARCHAR",
            "entry_date": "DATE",
        }
        rows = {
            "position": pa.array(np.arange(len(self.rows)), pa.int32()),
            "student_id": self.students,
            "school_id": pc.fill_null(self.school, ""),
            "entry_date": self.entry,
        }
        stage(self.connection, "staged_enrollments", columns, pa.table(rows))
        staged = sa.table(
            "staged_enrollments",
            sa.column("position"),
            sa.column("student_id", enrollments.c.student_id.type),
            sa.column("school_id"),
            sa.column("entry_date"),
        )
        return staged, sa.and_(
            enrollments.c.student_id == staged.c.student_id,
            sa.func.coalesce(enrollments.c.school_id, sa.text(NULL_AS["text"])) == staged.c.school_id,
            enrollments.c.entry_date == staged.c.entry_date,
        )

    def settled_before(self) -> Mask:
        """Rows that take back what a delivery of students has opened; what others meet of that gives way to them."""
        settled = super().settled_before()
        staged, same_key = self._staged_keys
        table = enrollments.c
        query = sa.select(
            staged.c.position, table.id, table.student_id, table.origin, table.deleted_on, table.taken_back_for
        ).join_from(staged, enrollments, sa.and_(same_key, table.origin != SENT))
        types = {"position": pa.int64(), "id": pa.string(), "student_id": pa.string(), "origin": pa.string()}
        met = read_rows(self.connection, query, types | {"deleted_on": pa.date32(), "taken_back_for": pa.string()})
        if not len(met):
            return settled
        takes_back = self.deleted[met["position"].to_numpy()]
        gives_way = met.filter(pa.array(~takes_back))
        ids = [uuid.UUID(text) for text in gives_way["id"].to_pylist()]
        for some in id_batches(ids):
            self.connection.execute(sa.delete(enrollments).where(table.id.in_(some)))
        columns_ = (gives_way[name].to_pylist() for name in ("position", "deleted_on", "taken_back_for"))
        for place, day, reason in zip(*columns_, strict=True):
            if day is not None and day > self.delivered_on:  # it has been taken back already
                self.taken_back[place] = (day, reason)
        taken = met.filter(pa.array(takes_back & pc.equal(met["origin"], STUDENT).to_numpy(zero_copy_only=False)))
        rows = []
        for row in taken.to_pylist():
            before = row["deleted_on"]
            settled[row["position"]] = True
            self.outcomes[row["position"]] = UPDATED if before is None else UNCHANGED
            rows.append((row["id"], max(before or self.delivered_on, self.delivered_on)))
            if before is None:
                self.mark(self.entry[row["position"]].as_py(), row["student_id"])
        if rows:
            ids_, days = zip(*rows, strict=True)
            columns = {"id": pa.array(ids_, pa.string()), "deleted_on": pa.array(days, pa.date32())}
            update_rows(self.connection, enrollments, pa.table(columns))
        self.concerned.update(met["student_id"].to_pylist())
        return settled

    def key_columns(self, rows: pa.Array) -> dict[str, pa.Array]:
        """Student, school and entry."""
        taken_back = [self.taken_back.get(row, (None, None)) for row in rows.to_pylist()]
        return {
            "deleted_on": pa.array([day for day, _ in taken_back], pa.date32()),
            "taken_back_for": pa.array([reason for _, reason in taken_back], pa.string()),
            "student_id": self.students.take(rows),
            "school_id": self.school.take(rows),
            "entry_date": self.entry.take(rows),
            "origin": pa.array([SENT]).take(pa.array(np.zeros(len(rows), dtype=np.int8))),
        }

    def mark_inserted(self, columns: dict[str, pa.Array]) -> None:
        """New enrolments: the student's vectors and days are stale from their entry on."""
        self.target.marks.add_enrolments(columns["entry_date"], columns["student_id"])

    def mark_changed(self, old: Record, new: Record) -> None:
        """A changed enrolment: from its entry on when it is taken back or there again, else from the earlier exit."""
        if old["deleted_on"] != new["deleted_on"]:
            self.mark(old["entry_date"], old["student_id"])
        elif old["exit_date"] != new["exit_date"]:
            self.mark(changed_from(old["entry_date"], old["exit_date"], new["exit_date"]), old["student_id"])

    def mark(self, day: dt.date, student_id: str) -> None:
        """The student's vectors and days are stale from the day on."""
        self.target.marks.add_enrolment(day, [student_id])


class EnrollmentWriter(RecordWriter):
    """Writes one delivery of enrolments."""

    merge = EnrollmentMerge

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        hold_enrolments(target.connection, target.work)
        self._since = self._first_sent()
        self._without_effect = self._assumed_before_sent()
        self._concerned: set[str] = set()
        self._schools = Schools.of(target.connection, target.work, target.rows.delivered_on)

    def write(self, prepared: PreparedRecords) -> Outcomes:
        """As every record; warns of exits before the entry, which make an enrolment that holds on no day."""
        places: Integers = np.flatnonzero(prepared.good())
        if count := exits_before(prepared.piece, places, "entry_date"):
            self.target.warnings[EXIT_BEFORE_ENROLLMENT] += count
        return super().write(prepared)

    def looked_up(self, prepared: PreparedRecords) -> pa.Array | None:
        """For each row the id of its student; adds the reason to rows that name a school nobody has sent yet."""
        self._schools.resolve(prepared.piece, prepared.reasons)
        return super().looked_up(prepared)

    def merged(self, piece: Piece, rows: Integers, references: pa.Array | None) -> tuple[Outcomes, Reasons]:
        """As every record; takes note of the students whose other enrolments have to follow."""
        merge = EnrollmentMerge(self.target, piece, rows, references)
        merge.concerned = self._concerned
        return merge.run()

    def close(self) -> None:
        """Let the other enrolments follow, and mark what it concerns that the district sends enrolments.

        What deliveries of students have opened since the first one of enrolments has no effect any more.
        """
        bring_up_to_date(self.target.connection, self.target.work, self.target.marks, self._concerned)
        self._mark_assumed()
        since = self._first_sent()
        if since is None or since == self._since:
            return
        table = enrollments.c
        query = sa.select(table.student_id, table.entry_date).where(
            table.tenant_id == self.target.work.tenant, table.origin != SENT, table.first_delivered_on >= since
        )
        if self._since is not None:
            query = query.where(table.first_delivered_on < self._since)
        self._mark(query)

    def _mark_assumed(self) -> None:
        """Mark the students whose assumed enrolment lost its effect by this delivery, or has one again."""
        for student, entry in self._without_effect ^ self._assumed_before_sent():
            mark_entry(self.target.marks, student, entry)

    def _assumed_before_sent(self) -> set[tuple[str, dt.date]]:
        """Student and entry of assumed enrolments that were opened after an enrolment was sent for the student."""
        assumed, sent = enrollments.alias("assumed").c, enrollments.alias("sent").c
        is_sent = sa.exists().where(
            sent.student_id == assumed.student_id,
            sent.origin == SENT,
            sent.first_delivered_on <= assumed.first_delivered_on,
        )
        query = sa.select(assumed.student_id, assumed.entry_date).where(
            assumed.tenant_id == self.target.work.tenant, assumed.origin == ASSUMED, is_sent
        )
        rows = read_rows(self.target.connection, query, {"student": pa.string(), "entry": pa.date32()})
        return set(zip(rows["student"].to_pylist(), rows["entry"].to_pylist(), strict=True))

    def _mark(self, query: sa.Select[Any]) -> None:
        """Mark the students from the days on that the query gives."""
        types = {"student": pa.string(), "day": pa.date32()}
        concerned = read_rows(self.target.connection, query, types).combine_chunks()
        if len(concerned):
            self.target.marks.add_enrolments(concerned["day"].combine_chunks(), concerned["student"].combine_chunks())

    def _first_sent(self) -> dt.date | None:
        """Date of the first delivery of enrolments of which a record is stored."""
        table = enrollments.c
        query = sa.select(sa.func.min(table.first_delivered_on)).where(
            table.tenant_id == self.target.work.tenant, table.origin == SENT
        )
        return self.target.connection.scalar(query)
