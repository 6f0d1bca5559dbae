"""Writing good rows into their table: insert, update or leave alone, whatever order deliveries come in.

For one record the newest `delivered_on` wins, field by field: a field that a delivery does not carry keeps the value
of the newest delivery that did. A record that is taken back keeps its values and gets `deleted_on`; a delivery as new
as that brings it back. So the result depends on the deliveries and not on the order in which they are loaded. But for
this: a record stays with the student that it was first loaded for (`moved_student`).
Nothing is validated here; attendance, which comes by the million, is in `attendance`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.ingest.frames import Coded, Integers, Piece, as_numbers, record_keys
from edupulse_pipelines.ingest.marks import Marks
from edupulse_pipelines.ingest.validation import MOVED_STUDENT, UNKNOWN_RECORD, Reasons
from edupulse_pipelines.schema import sqlalchemy_tables
from edupulse_pipelines.schema.declaration import Column
from edupulse_pipelines.schema.delivery import DELIVERED
from edupulse_pipelines.schema.tables import TABLES
from edupulse_pipelines.storage.bulk import copy_rows, read_rows, stage, update_rows
from edupulse_pipelines.storage.ids import id_texts, new_id_bytes
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import week_start

INSERTED, UPDATED, UNCHANGED, QUARANTINED = range(4)
OUTCOMES = ("inserted", "updated", "unchanged", "quarantined")
"""What becomes of a row; the numbers above are positions in this."""

Outcomes = npt.NDArray[np.int8]
Record = dict[str, Any]

ARROW_TYPES: dict[str, pa.DataType] = {
    "guid": pa.string(),
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "date": pa.date32(),
    "json": pa.string(),
}


@dataclass(frozen=True)
class Layout:
    """How a record table is merged: its key column, the fields a delivery sets, and the date that marks a week."""

    name: str
    key: str
    fields: tuple[str, ...]
    event_date: str | None

    @property
    def table(self) -> sa.Table:
        """The SQLAlchemy table."""
        return sqlalchemy_tables.metadata.tables[self.name]

    @cached_property
    def per_field(self) -> bool:
        """Whether single fields may be older than the row (the table has `field_deliveries`)."""
        return "field_deliveries" in self.table.c

    def arrow_type(self, name: str) -> pa.DataType:
        """The Arrow type of one of the table's columns."""
        return ARROW_TYPES[TABLES[self.name].column(name).type]


LAYOUTS: dict[str, Layout] = {
    "students": Layout(
        "students",
        "district_id",
        (
            "first_name",
            "last_name",
            "grade_level",
            "date_of_birth",
            "gender",
            "ethnicity",
            "socioeconomic_status",
            "gpa",
            "attendance_rate",
            "parent_contact",
            "enrollment_date",
            "exit_date",
            "exit_type",
            "student_metadata",
        ),
        None,
    ),
    "grades": Layout(
        "grades",
        "record_key",
        ("student_id", "course_id", "course_name", "grade_value", "grade_letter", "submission_date", "assignment_type"),
        "submission_date",
    ),
    "discipline_incidents": Layout(
        "discipline_incidents",
        "record_key",
        ("student_id", "incident_date", "severity_level", "incident_type", "description", "resolution"),
        "incident_date",
    ),
    "training_feedback": Layout(
        "training_feedback",
        "record_key",
        ("prediction_id", "outcome_date", "outcome_type", "feedback_type", "educator_notes", "reviewer"),
        None,
    ),
}


def typed(piece: Piece, column: Column, rows: Integers) -> pa.Array:
    """The column of these good rows, with the type of the table's column; null for the empty field.

    Of a row that takes a record back only the key has been judged, so only that is read.
    """
    if column.name not in piece.columns:
        return pa.nulls(len(rows), ARROW_TYPES[column.type])
    coded = piece.columns[column.name]
    codes = coded.codes[rows]
    if column.name not in DELIVERED[piece.table].key_columns and (deleted := piece.deleted[rows]).any():
        codes = np.where(deleted & piece.names_its_record()[rows], -1, codes)
    # Only what good rows say can be parsed.
    used, inverse = np.unique(codes, return_inverse=True)
    empty = len(used) > 0 and used[0] < 0
    values = _parsed(coded.texts.take(pa.array(used[1:] if empty else used)), column)
    places = inverse - 1 if empty else inverse
    return values.take(pa.array(places, pa.int32(), mask=places < 0))


def _parsed(texts: pa.Array, column: Column) -> pa.Array:
    if column.type in ("integer", "number"):
        return pa.array(as_numbers(texts, column.type)).cast(ARROW_TYPES[column.type])
    if column.type == "date":
        return texts.cast(pa.date32())
    if column.type == "json":
        return pa.array([orjson.dumps(orjson.loads(text)).decode() for text in texts.to_pylist()], pa.string())
    return texts


def merge_piece(
    connection: Connection,
    work: Work,
    piece: Piece,
    rows: Integers,
    references: pa.Array | None,
    delivered_on: dt.date,
    marks: Marks,
) -> tuple[Outcomes, Reasons]:
    """Merge these good rows of a piece; what became of each, and the reasons (by row of the piece) of those refused.

    `references`: for each of `rows` the id of the student (feedback: the prediction) it is about, as the database
    writes it; None for students. Keys are unique within the delivery.
    """
    layout = LAYOUTS[piece.table]
    merge = _Merge(connection, work, layout, piece, rows, references, delivered_on, marks)
    return merge.run()


class _Merge:
    """The merge of one piece of one table."""

    def __init__(
        self,
        connection: Connection,
        work: Work,
        layout: Layout,
        piece: Piece,
        rows: Integers,
        references: pa.Array | None,
        delivered_on: dt.date,
        marks: Marks,
    ) -> None:
        self.connection = connection
        self.tenant = work.tenant
        self.layout = layout
        self.rows = rows
        self.delivered_on = delivered_on
        self.marks = marks
        self.deleted = piece.deleted[rows]
        self.keys = record_keys(piece, rows)
        self.file = piece.file[rows]
        self.columns: dict[str, pa.Array] = {}
        by_name = {column.name: column for column in DELIVERED[piece.table].columns}
        for name in (*layout.fields, "source_record_id"):
            if name in by_name and name in piece.columns:
                self.columns[name] = typed(piece, by_name[name], rows)
        if references is not None:
            self.columns["prediction_id" if layout.name == "training_feedback" else "student_id"] = references
        self.carried = {file: self._carried(present) for file, present in piece.present.items()}
        self.outcomes: Outcomes = np.full(len(rows), INSERTED, dtype=np.int8)
        self.reasons: Reasons = {}

    def _carried(self, present: frozenset[str]) -> frozenset[str]:
        """The fields of the table that rows of a file with these columns set."""
        names = {name for name in self.layout.fields if name in present}
        names |= {name for name in ("student_id", "prediction_id") if name in self.columns}
        return frozenset(names & set(self.layout.fields))

    def run(self) -> tuple[Outcomes, Reasons]:
        """Look the records up, then write what is new and what has changed."""
        if not len(self.rows):
            return self.outcomes, self.reasons
        stored = self._stored()
        met = np.zeros(len(self.rows), dtype=np.bool_)
        if stored is not None and len(stored):
            places = stored["position"].to_numpy()
            met[places] = True
            self._meet(stored, places)
        unknown = ~met & self.deleted
        for place in np.flatnonzero(unknown).tolist():
            self._refuse(place, UNKNOWN_RECORD)
        self._insert(np.flatnonzero(~met & ~unknown))
        return self.outcomes, self.reasons

    def _refuse(self, place: int, code: str) -> None:
        self.outcomes[place] = QUARANTINED
        self.reasons.setdefault(int(self.rows[place]), []).append(code)

    # Records that are there already

    def _stored(self) -> pa.Table | None:
        """The stored rows that these meet, with `position`: the place of the row among `rows`."""
        table = self.layout.table
        if self.connection.scalar(sa.select(table.c.id).where(table.c.tenant_id == self.tenant).limit(1)) is None:
            return None
        stage(
            self.connection,
            "staged_keys",
            {"position": "INTEGER", "key": "VARCHAR"},
            pa.table({"position": pa.array(np.arange(len(self.rows)), pa.int32()), "key": self.keys}),
        )
        staged = sa.table("staged_keys", sa.column("position"), sa.column("key"))
        names = ["id", "delivered_on", "deleted_on", *self.layout.fields]
        types = {"position": pa.int64()} | {name: self.layout.arrow_type(name) for name in names}
        if self.layout.per_field:
            names.append("field_deliveries")
            types["field_deliveries"] = pa.string()
        query = (
            sa.select(staged.c.position, *(table.c[name] for name in names))
            .join_from(staged, table, table.c[self.layout.key] == staged.c.key)
            .where(table.c.tenant_id == self.tenant)
        )
        return read_rows(self.connection, query, types)

    def _meet(self, stored: pa.Table, places: Integers) -> None:
        """Decide about rows whose record is there: most say what it says, the others are looked at one by one."""
        mine = {name: values.take(pa.array(places)) for name, values in self.columns.items()}
        same = self._certainly_same(stored, places, mine)
        self.outcomes[places[same]] = UNCHANGED
        older = pc.less(stored["delivered_on"], pa.scalar(self.delivered_on)).to_numpy(zero_copy_only=False)
        confirmed = stored.filter(pa.array(same & older)).select(["id"])
        if len(confirmed):
            dates = pa.array([self.delivered_on], pa.date32()).take(pa.array(np.zeros(len(confirmed), dtype=np.int8)))
            # Only the bookkeeping of deliveries: the record says what it said, so `updated_at` stays.
            update_rows(self.connection, self.layout.table, confirmed.append_column("delivered_on", dates))
        rest = np.flatnonzero(~same)
        if len(rest):
            self._one_by_one(
                stored.take(pa.array(rest)), places[rest], {k: v.take(pa.array(rest)) for k, v in mine.items()}
            )

    def _certainly_same(self, stored: pa.Table, places: Integers, mine: dict[str, pa.Array]) -> npt.NDArray[np.bool_]:
        """Whether every field the row carries is stored just so, and at most `delivered_on` has to move."""
        same = pc.less_equal(stored["delivered_on"], pa.scalar(self.delivered_on)).to_numpy(zero_copy_only=False)
        same = same & ~self.deleted[places] & stored["deleted_on"].is_null().to_numpy()
        for name, values in mine.items():
            if name not in self.layout.fields:
                continue
            theirs = stored[name].combine_chunks()
            equal = pc.equal(values, theirs).fill_null(False).to_numpy(zero_copy_only=False)
            both_empty = (values.is_null().to_numpy(zero_copy_only=False)) & (
                theirs.is_null().to_numpy(zero_copy_only=False)
            )
            carried = np.array([name in self.carried[file] for file in self.file[places].tolist()], dtype=np.bool_)
            same &= equal | both_empty | ~carried
        if self.layout.name == "students" and "enrollment_date" in mine:
            # An empty enrolment date is one that the district does not know: not carried, so it may be older.
            same &= ~mine["enrollment_date"].is_null().to_numpy(zero_copy_only=False)
        if not self.layout.per_field:
            return same
        deliveries = Coded.of(stored["field_deliveries"])
        older = [frozenset(orjson.loads(text)) for text in deliveries.texts.to_pylist()] + [frozenset()]
        for file, carried_ in self.carried.items():
            missing = frozenset(self.layout.fields) - carried_
            fits = np.array([names == missing for names in older], dtype=np.bool_)
            same &= (self.file[places] != file) | fits[deliveries.codes]
        return same

    def _one_by_one(self, stored: pa.Table, places: Integers, mine: dict[str, pa.Array]) -> None:
        updates: list[Record] = []
        redated: list[Record] = []
        olds = stored.to_pylist()
        values = {name: column.to_pylist() for name, column in mine.items()}
        json_fields = [name for name in self.layout.fields if TABLES[self.layout.name].column(name).type == "json"]
        for index, (place, old) in enumerate(zip(places.tolist(), olds, strict=True)):
            for name in (*json_fields, *(("field_deliveries",) if self.layout.per_field else ())):
                old[name] = None if old[name] is None else orjson.loads(old[name])
            record = {}
            if not self.deleted[place]:
                record = {name: values[name][index] for name in self.carried[int(self.file[place])]}
                for name in json_fields:
                    if record.get(name) is not None:
                        record[name] = orjson.loads(record[name])
                if self.layout.name == "students" and record.get("enrollment_date") is None:
                    record.pop("enrollment_date", None)
                if record.get("student_id", old.get("student_id")) != old.get("student_id"):
                    self._refuse(place, MOVED_STUDENT)
                    continue
            self.outcomes[place] = self._decide(old, record, bool(self.deleted[place]), updates, redated)
        self._update(updates, (*self.layout.fields, "deleted_on"))
        # Only the bookkeeping of deliveries: the record says what it said, so `updated_at` stays.
        self._update(redated, ())

    def _decide(
        self, old: Record, record: Record, takes_back: bool, updates: list[Record], redated: list[Record]
    ) -> int:
        deleted_on = old["deleted_on"]
        if takes_back:
            if self.delivered_on < old["delivered_on"]:
                return UNCHANGED
            changes: Record = {}
            deliveries, newest = old.get("field_deliveries"), old["delivered_on"]
            new_deleted_on = max(deleted_on or self.delivered_on, self.delivered_on)
        else:
            changes, deliveries, newest = _newer_fields(self.layout, old, record, self.delivered_on)
            new_deleted_on = None if deleted_on is None or self.delivered_on >= deleted_on else deleted_on
        row = {"id": old["id"], "delivered_on": newest}
        if self.layout.per_field:
            row["field_deliveries"] = deliveries
        if changes or new_deleted_on != deleted_on:
            new = {**old, **changes, "deleted_on": new_deleted_on}
            updates.append(row | {name: new[name] for name in (*self.layout.fields, "deleted_on")})
            self._mark(old, new)
            return UNCHANGED if takes_back and deleted_on is not None else UPDATED
        if deliveries != old.get("field_deliveries") or newest != old["delivered_on"]:
            redated.append(row)
        return UNCHANGED

    def _update(self, rows: list[Record], fields: tuple[str, ...]) -> None:
        if not rows:
            return
        names = ["id", "delivered_on", *fields, *(("field_deliveries",) if self.layout.per_field else ())]
        columns = {}
        for name in names:
            type_ = pa.string() if name == "field_deliveries" else self.layout.arrow_type(name)
            column = [row[name] for row in rows]
            if TABLES[self.layout.name].column(name).type == "json":
                column = [None if value is None else orjson.dumps(value).decode() for value in column]
            columns[name] = pa.array(column, type_)
        update_rows(self.connection, self.layout.table, pa.table(columns))

    # New records

    def _insert(self, places: Integers) -> None:
        if not len(places):
            return
        layout = self.layout
        count = len(places)
        take = pa.array(places)
        ids = id_texts(new_id_bytes(count), self.connection.dialect.name)
        columns: dict[str, Any] = {
            "id": ids,
            "tenant_id": _constant(self.tenant, pa.string(), count),
            layout.key: self.keys.take(take),
            "delivered_on": _constant(self.delivered_on, pa.date32(), count),
        }
        for name in layout.fields:
            values = self.columns.get(name)
            columns[name] = pa.nulls(count, layout.arrow_type(name)) if values is None else values.take(take)
        if "source_record_id" in self.columns:
            columns["source_record_id"] = self.columns["source_record_id"].take(take)
        enrolled = columns.get("enrollment_date")
        if enrolled is not None:
            columns["enrollment_date"] = pc.fill_null(enrolled, pa.scalar(self.delivered_on))
        if layout.per_field:
            columns["field_deliveries"] = self._absent(places, enrolled)
        copy_rows(self.connection, layout.name, pa.table(columns))
        if layout.name == "students":
            self.marks.students_arrived(count)
            self._mark_new("student_features", columns["enrollment_date"], ids)
        elif layout.event_date is not None:
            self._mark_new("weekly_activity", columns[layout.event_date], columns["student_id"])

    def _absent(self, places: Integers, enrolled: pa.Array | None) -> pa.Array:
        """`field_deliveries` of new rows: null for each field that the row's file did not carry."""
        known: dict[tuple[int, bool], str | None] = {}
        made = []
        without = (
            np.zeros(len(places), dtype=np.bool_)
            if enrolled is None
            else enrolled.is_null().to_numpy(zero_copy_only=False)
        )
        for file, empty in zip(self.file[places].tolist(), without.tolist(), strict=True):
            if (file, empty) not in known:
                carried = self.carried[file] - ({"enrollment_date"} if empty else set())
                absent = {name: None for name in self.layout.fields if name not in carried}
                known[file, empty] = orjson.dumps(absent).decode() if absent else None
            made.append(known[file, empty])
        return pa.array(made, pa.string())

    # What becomes stale

    def _mark_new(self, stage_: str, dates: pa.Array, student_ids: pa.Array) -> None:
        mark_weeks(self.marks, stage_, dates, student_ids)

    def _mark(self, old: Record, new: Record) -> None:
        layout = self.layout
        if layout.name == "students":
            gone = old["deleted_on"] != new["deleted_on"]
            stale = [
                day
                for name in ("enrollment_date", "exit_date")
                if gone or old[name] != new[name]
                for day in (old[name], new[name])
                if day is not None
            ]
            if stale:
                self.marks.add("student_features", week_start(min(stale)), [old["id"]])
        elif layout.event_date is not None:
            for row in (old, new):
                self.marks.add("weekly_activity", week_start(row[layout.event_date]), [row["student_id"]])


def mark_weeks(marks: Marks, stage_: str, dates: pa.Array, student_ids: pa.Array) -> None:
    """Mark for each of these student ids the week of the date beside it."""
    days = dates.cast(pa.int32()).to_numpy(zero_copy_only=False)
    weeks = (days + 3) // 7  # 1970-01-01 was a Thursday
    for week in np.unique(weeks).tolist():
        monday = dt.date(1970, 1, 1) + dt.timedelta(days=week * 7 - 3)
        marks.add(stage_, monday, student_ids.filter(pa.array(weeks == week)).unique().to_pylist())


def _constant(value: Any, type_: pa.DataType, count: int) -> pa.Array:
    return pa.array([value], type_).take(pa.array(np.zeros(count, dtype=np.int8)))


def _newer_fields(
    layout: Layout, old: Record, record: Record, delivered_on: dt.date
) -> tuple[Record, dict[str, str | None] | None, dt.date]:
    """The fields of `old` that the record changes, the row's new `field_deliveries`, and its `delivered_on`."""
    changes: Record = {}
    base: dt.date = old["delivered_on"]
    newest = max(base, delivered_on)
    older: dict[str, str | None] = old.get("field_deliveries") or {}
    dates: dict[str, str | None] = {}
    for name in layout.fields:
        known = older[name] if name in older else base.isoformat()
        if name in record and (known is None or delivered_on.isoformat() >= known):
            known = delivered_on.isoformat()
            if record[name] != old[name]:
                changes[name] = record[name]
        elif name == "enrollment_date" and known is None and delivered_on < old[name]:
            # Never given: the first delivery's date stands for it, whichever delivery was loaded first.
            changes[name] = delivered_on
        if known != newest.isoformat():
            dates[name] = known
    return changes, dates or None, newest
