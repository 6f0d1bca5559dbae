"""Enrolments that deliveries of students speak of, kept in `enrollments` beside those that are sent themselves.

What each row of students says of entry and exit is kept once in `enrollment_statements` (`Said`); the student's
enrolments are brought up to date with it (`bring_up_to_date`), and with the first recorded event where the entry is
assumed (`follow_events`), each in the transaction that changed what they follow from. What follows is decided in
`statements`. Every change of an enrolment leaves marks for the student, from the week of the earliest day on that it
concerns.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.ingest.frames import Integers, Piece
from edupulse_pipelines.ingest.marks import Marks
from edupulse_pipelines.ingest.statements import (
    NOT_SAID,
    Said,
    Statement,
    may_be_assumed,
    said_enrolments,
    stay_taken_back,
)
from edupulse_pipelines.schema.delivery import DELIVERED, STUDENT_NUMBER, TABLE_OF_DOMAIN
from edupulse_pipelines.schema.sqlalchemy_tables import enrollment_statements, enrollments, metadata, students
from edupulse_pipelines.storage.bulk import copy_rows, read_rows, stage, update_rows
from edupulse_pipelines.storage.ids import id_texts, new_id_bytes
from edupulse_pipelines.storage.turns import hold_enrolments
from edupulse_pipelines.storage.work import Work

SENT, STUDENT, ASSUMED = "sent", "student", "assumed"
_VALUES = ("exit_date", "exit_type", "first_delivered_on", "delivered_on")
"""Columns of an enrolment that change with what is said, beside entry, origin and `deleted_on`."""
_TYPES = {
    "id": pa.string(),
    "student_id": pa.string(),
    "origin": pa.string(),
    "entry_date": pa.date32(),
    "exit_date": pa.date32(),
    "exit_type": pa.string(),
    "first_delivered_on": pa.date32(),
    "delivered_on": pa.date32(),
    "deleted_on": pa.date32(),
}


@dataclass
class Statements:
    """The statements of one delivery's rows, collected piece by piece."""

    numbers: list[pa.Array] = field(default_factory=list)
    said: list[pa.Array] = field(default_factory=list)

    def add(self, piece: Piece, rows: Integers) -> None:
        """Take note of what these good rows of a piece of students say; one that takes a student back says nothing."""
        rows = rows[~piece.deleted[rows]]
        if not len(rows):
            return
        number = piece.column(STUDENT_NUMBER)
        self.numbers.append(number.take(number.texts).take(pa.array(rows)))
        parts = [_texts(piece, rows, name) for name in ("enrollment_date", "exit_date", "exit_type")]
        parts[0] = pc.if_else(pc.equal(parts[0], NOT_SAID), "", parts[0])
        self.said.append(pc.binary_join_element_wise(*parts, "/"))

    def keep(self, connection: Connection, work: Work, delivered_on: dt.date) -> list[str]:
        """Store them; the ids of the students whose enrolments may now be others."""
        if not self.said:
            return []
        stored = self._stored(connection, work)
        met = stored["delivered_on"].is_valid().to_numpy(zero_copy_only=False)
        day = pa.scalar(delivered_on)
        changed = ~met
        new = stored.filter(pa.array(~met))
        if len(new):
            days = pa.array([delivered_on], pa.date32()).take(pa.array(np.zeros(len(new), dtype=np.int8)))
            tenant = pa.array([work.tenant]).take(pa.array(np.zeros(len(new), dtype=np.int8)))
            columns = {"tenant_id": tenant, "student_id": new["student_id"], "said": new["said"]}
            rows = pa.table({**columns, "first_delivered_on": days, "delivered_on": days})
            copy_rows(connection, enrollment_statements.name, rows)
        known = stored.filter(pa.array(met))
        if len(known):
            later = pc.less(known["delivered_on"], day).to_numpy(zero_copy_only=False)
            earlier = pc.greater(known["first_delivered_on"], day).to_numpy(zero_copy_only=False)
            was_newest = pc.greater_equal(known["delivered_on"], known["newest"]).to_numpy(zero_copy_only=False)
            for column, which in (("delivered_on", later), ("first_delivered_on", earlier)):
                keys = known.filter(pa.array(which)).select(["student_id", "said"])
                dates = pa.array([delivered_on], pa.date32()).take(pa.array(np.zeros(len(keys), dtype=np.int8)))
                update_rows(
                    connection,
                    enrollment_statements,
                    keys.append_column(column, dates),
                    key=("student_id", "said"),
                )
            changed[met] = earlier | (later & ~was_newest)
        replaced = self._replaced(connection, work, delivered_on)
        ids = set(stored["student_id"].filter(pa.array(changed)).to_pylist()) | replaced
        return sorted(ids | self._taken_back(connection, work))

    def _stored(self, connection: Connection, work: Work) -> pa.Table:
        """By row: student, what it says, the dates of that statement (null: new), and the student's newest one."""
        rows = pa.table({"number": pa.chunked_array(self.numbers), "said": pa.chunked_array(self.said)})
        stage(connection, "staged_statements", {"number": "VARCHAR", "said": "VARCHAR"}, rows)
        staged = sa.table("staged_statements", sa.column("number"), sa.column("said"))
        same, newest = enrollment_statements.c, enrollment_statements.alias("newest").c
        query = (
            sa.select(
                students.c.id,
                staged.c.said,
                same.first_delivered_on,
                same.delivered_on,
                sa.select(sa.func.max(newest.delivered_on))
                .where(newest.student_id == students.c.id)
                .scalar_subquery()
                .label("newest"),
            )
            .join_from(staged, students, students.c.district_id == staged.c.number)
            .outerjoin(enrollment_statements, sa.and_(same.student_id == students.c.id, same.said == staged.c.said))
            .where(students.c.tenant_id == work.tenant)
        )
        types = {"student_id": pa.string(), "said": pa.string()}
        types |= dict.fromkeys(("first_delivered_on", "delivered_on", "newest"), pa.date32())
        return read_rows(connection, query, types)

    def _replaced(self, connection: Connection, work: Work, delivered_on: dt.date) -> set[str]:
        """Forget what an earlier state of the same delivery said of these students; whom that concerns."""
        staged = sa.table("staged_statements", sa.column("number"), sa.column("said"))
        other = enrollment_statements.c
        query = (
            sa.select(other.student_id, other.said, other.first_delivered_on)
            .join_from(staged, students, students.c.district_id == staged.c.number)
            .join(enrollment_statements, other.student_id == students.c.id)
            .where(
                students.c.tenant_id == work.tenant,
                other.tenant_id == work.tenant,
                other.delivered_on == delivered_on,
                other.said != staged.c.said,
            )
        )
        found = read_rows(
            connection, query, {"student_id": pa.string(), "said": pa.string(), "first_delivered_on": pa.date32()}
        )
        for student, said, first in zip(*(found[name].to_pylist() for name in found.column_names), strict=True):
            which = sa.and_(other.student_id == student, other.said == said)
            if first == delivered_on:
                connection.execute(sa.delete(enrollment_statements).where(which))
            else:  # it was said before; until when is not known
                connection.execute(sa.update(enrollment_statements).where(which).values(delivered_on=first))
        return set(found["student_id"].to_pylist())

    def _taken_back(self, connection: Connection, work: Work) -> set[str]:
        """Those of the students that have an enrolment taken back: the delivery may say it again."""
        staged = sa.table("staged_statements", sa.column("number"))
        query = (
            sa.select(enrollments.c.student_id)
            .distinct()
            .join_from(staged, students, students.c.district_id == staged.c.number)
            .join(enrollments, enrollments.c.student_id == students.c.id)
            .where(
                students.c.tenant_id == work.tenant,
                enrollments.c.origin == STUDENT,
                enrollments.c.deleted_on.is_not(None),
            )
        )
        return set(read_rows(connection, query, {"student_id": pa.string()})["student_id"].to_pylist())


def _texts(piece: Piece, rows: Integers, name: str) -> pa.Array:
    """The column of these rows: empty for the empty field, `NOT_SAID` where the row's file does not have it."""
    if name not in piece.columns:
        return pa.array([NOT_SAID]).take(pa.array(np.zeros(len(rows), dtype=np.int8)))
    column = piece.columns[name]
    texts = pc.fill_null(column.take(column.texts).take(pa.array(rows)), "")
    without = [file for file, present in piece.present.items() if name not in present]
    return pc.if_else(pa.array(np.isin(piece.file[rows], without)), NOT_SAID, texts) if without else texts


def bring_up_to_date(
    connection: Connection, work: Work, marks: Marks, student_ids: Iterable[str], *, events_changed: bool = False
) -> None:
    """Make the enrolments of these students (ids as the database writes them) what their statements say.

    `events_changed`: the first event of an assumed enrolment may be another one than when it was stored.
    """
    ids = sorted(set(student_ids))
    if not ids:
        return
    hold_enrolments(connection, work)
    _stage(connection, "staged_students", ids)
    statements = _statements(connection)
    stored = _stored(connection)
    events: dict[str, dt.date] = {}
    if not events_changed:
        events = {
            student: row["entry_date"] for student, rows in stored.items() for row in rows if row["origin"] == ASSUMED
        }
    asked = [
        student
        for student, said in statements.items()
        if student not in events and may_be_assumed(said, stay_taken_back(said, _taken_back(stored[student])))
    ]
    events |= _first_events(connection, work, asked)
    changes = _Changes(work, marks)
    for student, said in statements.items():
        changes.compare(student, stored[student], said, events.get(student))
    changes.write(connection)


def _taken_back(rows: list[dict[str, Any]]) -> dict[dt.date, dt.date]:
    """By entry the day on which an enrolment was taken back."""
    return {
        row["entry_date"]: row["deleted_on"]
        for row in rows
        if row["origin"] == STUDENT and row["deleted_on"] is not None
    }


class _Changes:
    """What has to be written so that enrolments are what is said, and marks for the vectors that depend on it."""

    def __init__(self, work: Work, marks: Marks) -> None:
        self._work = work
        self._marks = marks
        self._new: list[tuple[str, Said]] = []
        self._changed: list[tuple[str, Said]] = []
        self._removed: list[str] = []

    def compare(
        self, student: str, rows: list[dict[str, Any]], statements: list[Statement], first_event: dt.date | None
    ) -> None:
        """Take note of what differs for one student; `rows`: the enrolments without a school."""
        wanted = {said.entry: said for said in said_enrolments(statements, _taken_back(rows), first_event)}
        of_student = {row["entry_date"]: row for row in rows if row["origin"] == STUDENT}
        assumed = next((row for row in rows if row["origin"] == ASSUMED), None)
        for entry in [row["entry_date"] for row in rows if row["origin"] == SENT]:
            wanted.pop(entry, None)  # what is sent itself takes the place
        for entry, said in wanted.items():
            row = assumed if said.origin == ASSUMED else of_student.get(entry)
            if row is None:
                self._new.append((student, said))
                self._stale(student, entry)
            else:
                self._differing(student, row, said)
        has_assumed = any(said.origin == ASSUMED for said in wanted.values())
        for row in rows:
            if row["origin"] == ASSUMED:
                is_over = not has_assumed
            else:
                is_over = row["origin"] == STUDENT and row["deleted_on"] is None and row["entry_date"] not in wanted
            if is_over:
                self._removed.append(row["id"])
                self._stale(student, row["entry_date"])

    def _differing(self, student: str, row: dict[str, Any], said: Said) -> None:
        new = (said.entry, said.exit, said.exit_type, said.first_delivered_on, said.delivered_on)
        old = tuple(row[name] for name in ("entry_date", *_VALUES))
        if new == old and row["deleted_on"] is None:
            return
        self._changed.append((row["id"], said))
        if said.entry != row["entry_date"] or row["deleted_on"] is not None:
            self._stale(student, min(said.entry, row["entry_date"]))
        elif said.exit != row["exit_date"]:
            self._stale(student, changed_from(said.entry, row["exit_date"], said.exit))

    def _stale(self, student: str, day: dt.date) -> None:
        mark_entry(self._marks, student, day)

    def write(self, connection: Connection) -> None:
        """Write it: what is no more first, so that nothing new meets it."""
        if self._removed:
            _stage(connection, "staged_removed", self._removed)
            staged = sa.table("staged_removed", sa.column("id", enrollments.c.id.type))
            connection.execute(sa.delete(enrollments).where(enrollments.c.id.in_(sa.select(staged.c.id))))
        if self._changed:
            ids, said = zip(*self._changed, strict=True)
            columns = _columns(said)
            del columns["origin"]
            columns["deleted_on"] = pa.nulls(len(ids), pa.date32())
            update_rows(connection, enrollments, pa.table({"id": pa.array(ids, pa.string()), **columns}))
        if self._new:
            students_, said = zip(*self._new, strict=True)
            count = len(said)
            rows = {
                "id": id_texts(new_id_bytes(count), connection.dialect.name),
                "tenant_id": pa.array([self._work.tenant] * count, pa.string()),
                "student_id": pa.array(students_, pa.string()),
                **_columns(said),
            }
            copy_rows(connection, enrollments.name, pa.table(rows))


def changed_from(entry: dt.date, old_exit: dt.date | None, new_exit: dt.date | None) -> dt.date:
    """The first day on which an enrolment with another exit holds or does not hold as it did before."""
    return max(entry, min(day for day in (old_exit, new_exit) if day is not None))


def _columns(said: Iterable[Said]) -> dict[str, pa.Array]:
    origin, *values = zip(
        *((one.origin, one.entry, one.exit, one.exit_type, one.first_delivered_on, one.delivered_on) for one in said),
        strict=True,
    )
    columns = {"origin": pa.array(origin, pa.string())}
    for name, column in zip(("entry_date", *_VALUES), values, strict=True):
        columns[name] = pa.array(column, _TYPES[name])
    return columns


def _statements(connection: Connection) -> dict[str, list[Statement]]:
    """The statements of the staged students."""
    staged = sa.table("staged_students", sa.column("id", students.c.id.type))
    table = enrollment_statements.c
    query = sa.select(table.student_id, table.said, table.first_delivered_on, table.delivered_on).join_from(
        staged, enrollment_statements, table.student_id == staged.c.id
    )
    types = {"student_id": pa.string(), "said": pa.string(), "first": pa.date32(), "newest": pa.date32()}
    found: dict[str, list[Statement]] = defaultdict(list)
    rows = read_rows(connection, query, types)
    for student, *values in zip(*(rows[name].to_pylist() for name in types), strict=True):
        found[student].append(Statement(*values))
    return found


def _stored(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    """The enrolments without a school of the staged students."""
    staged = sa.table("staged_students", sa.column("id", students.c.id.type))
    query = sa.select(*(enrollments.c[name] for name in _TYPES)).join_from(
        staged, enrollments, enrollments.c.student_id == staged.c.id
    )
    rows = read_rows(connection, query.where(enrollments.c.school_id.is_(None)), _TYPES)
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows.to_pylist():
        found[row["student_id"]].append(row)
    return found


def _first_events(connection: Connection, work: Work, ids: list[str]) -> dict[str, dt.date]:
    """The day of the first recorded event of each of these students that has any."""
    found: dict[str, dt.date] = {}
    if not ids:
        return found
    _stage(connection, "staged_assumed", ids)
    staged = sa.table("staged_assumed", sa.column("id", students.c.id.type))
    for name in TABLE_OF_DOMAIN.values():
        table = metadata.tables[name]
        event = table.c[str(DELIVERED[name].record.event_date)]
        query = (
            sa.select(table.c.student_id, sa.func.min(event))
            .join_from(staged, table, table.c.student_id == staged.c.id)
            .where(table.c.tenant_id == work.tenant, table.c.deleted_on.is_(None))
            .group_by(table.c.student_id)
        )
        rows = read_rows(connection, query, {"student": pa.string(), "day": pa.date32()})
        for student, day in zip(rows["student"].to_pylist(), rows["day"].to_pylist(), strict=True):
            found[student] = min(day, found.get(student, day))
    return found


def forget_said(connection: Connection, marks: Marks, student: uuid.UUID, as_text: str) -> None:
    """Forget what deliveries of students said of one, and the enrolments that follow, to be said anew."""
    mark_all_enrolments(connection, marks, [as_text])
    connection.execute(sa.delete(enrollment_statements).where(enrollment_statements.c.student_id == student))
    of_student = sa.and_(enrollments.c.student_id == student, enrollments.c.origin != SENT)
    connection.execute(sa.delete(enrollments).where(of_student))


def mark_entry(marks: Marks, student_id: str, entry: dt.date) -> None:
    """Mark what depends on the student's enrolment as stale from an entry on."""
    marks.add_enrolment(entry, [student_id])


def mark_all_enrolments(connection: Connection, marks: Marks, student_ids: list[str]) -> None:
    """Mark what depends on the enrolments of these students as stale from the first one on."""
    if not student_ids:
        return
    _stage(connection, "staged_students", student_ids)
    staged = sa.table("staged_students", sa.column("id", students.c.id.type))
    table = enrollments.c
    query = (
        sa.select(table.student_id, sa.func.min(table.entry_date))
        .join_from(staged, enrollments, table.student_id == staged.c.id)
        .group_by(table.student_id)
    )
    first = read_rows(connection, query, {"student": pa.string(), "day": pa.date32()}).combine_chunks()
    if len(first):
        marks.add_enrolments(first["day"].combine_chunks(), first["student"].combine_chunks())


def follow_events(connection: Connection, work: Work, marks: Marks) -> None:
    """Let assumed enrolments begin with the first event again, where `marks` say that an earlier one came or went.

    To be called when every row of the delivery is written.
    """
    said, table = enrollment_statements.c, enrollments.c
    silent = sa.select(said.student_id).where(said.tenant_id == work.tenant, said.said.startswith("/"))
    is_assumed = table.origin == ASSUMED
    # Where every entry that was said has been taken back, an enrolment is assumed as well.
    without_entry = sa.select(table.student_id).where(
        table.tenant_id == work.tenant,
        sa.or_(is_assumed, sa.and_(table.origin == STUDENT, table.deleted_on.is_not(None))),
    )
    if connection.scalar(sa.union_all(silent, without_entry).limit(1)) is None:
        return
    hold_enrolments(connection, work)
    assumed = sa.func.min(sa.case((is_assumed, table.entry_date)))
    query = (
        sa.select(table.student_id, sa.func.coalesce(assumed, sa.func.min(table.entry_date)))
        .where(
            table.tenant_id == work.tenant,
            table.origin != SENT,
            sa.or_(table.student_id.in_(silent), table.student_id.in_(without_entry)),
        )
        .group_by(table.student_id)
    )
    rows = read_rows(connection, query, {"student": pa.string(), "entry": pa.date32()})
    entry = rows["entry"].to_numpy().astype("datetime64[D]").astype(np.int64)
    touched = marks.earliest("weekly_activity", rows["student"].combine_chunks())
    earlier = touched <= (entry + 3) // 7  # 1970-01-01 was a Thursday
    bring_up_to_date(
        connection, work, marks, rows["student"].filter(pa.array(earlier)).to_pylist(), events_changed=True
    )


def _stage(connection: Connection, name: str, ids: list[str]) -> None:
    """A temporary table of ids."""
    type_ = students.c.id.type.compile(dialect=connection.dialect)
    stage(connection, name, {"id": type_}, pa.table({"id": pa.array(ids, pa.string())}))
