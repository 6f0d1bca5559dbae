"""Writing records one by one as they are known: insert, update or leave alone, whatever order deliveries come in.

For one record the newest `delivered_on` wins, field by field: a field that a delivery does not carry keeps the value
of the newest delivery that did. A record that is taken back keeps its values and gets `deleted_on`; a delivery as new
as that brings it back. So the result depends on the deliveries and not on the order in which they are loaded. One
exception: a record stays with the student that it was first loaded for (`moved_student`).

Which columns there are, what identifies a record and what it is about are facts of the declaration. Nothing is
validated here; attendance, which comes by the million, is in `attendance`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from edupulse_pipelines.ingest.delivered_rows import DeliveredRows
from edupulse_pipelines.ingest.earlier_records import moment_texts
from edupulse_pipelines.ingest.frames import Coded, Integers, Mask, Piece, former_record_keys, record_keys
from edupulse_pipelines.ingest.validation import MOVED_STUDENT, UNKNOWN_RECORD, Reasons
from edupulse_pipelines.ingest.writers.field_dates import never_carried
from edupulse_pipelines.ingest.writers.outcomes import (
    ARROW_TYPES,
    INSERTED,
    QUARANTINED,
    UNCHANGED,
    UPDATED,
    Outcomes,
    Prepared,
    Target,
    settled,
    typed,
)
from edupulse_pipelines.schema import sqlalchemy_tables
from edupulse_pipelines.schema.delivery import DELIVERED, FIELD_DELIVERIES, FIRST_DELIVERED_ON, SOURCE_RECORD
from edupulse_pipelines.schema.tables import TABLES
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.bulk import copy_rows, read_rows, stage, update_rows
from edupulse_pipelines.storage.ids import id_texts, new_id_bytes
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import week_start

Record = dict[str, Any]


@dataclass
class PreparedRecords(Prepared):
    """`references`: for each row of the piece the id of the student it is about, as the database writes it."""

    references: pa.Array | None


class PieceMerge:
    """The merge of these good rows of one piece; keys are unique within the delivery.

    `references`: for each of `rows` the id of the student (feedback: the prediction) it is about, as the database
    writes it; None for students.
    """

    def __init__(self, target: Target, piece: Piece, rows: Integers, references: pa.Array | None) -> None:
        self.target = target
        self.connection = target.connection
        self.tenant = target.work.tenant
        self.delivered_on = target.rows.delivered_on
        self.contract = DELIVERED[piece.table]
        self.declared = TABLES[piece.table]
        self.table = sqlalchemy_tables.metadata.tables[piece.table]
        self.per_field = self.contract.keeps_field_dates
        """Whether single fields may be older than the row."""
        self.first_delivery = self.contract.record.first_delivery
        self.piece = piece
        self.also_read: tuple[str, ...] = (FIRST_DELIVERED_ON,) if FIRST_DELIVERED_ON in self.table.c else ()
        """Stored columns, beside the fields, that are read of records that are there already."""
        self.rows = rows
        self.deleted = piece.deleted[rows]
        self.keys = record_keys(piece, rows)
        self.former_keys = former_record_keys(piece, rows)
        self.file = piece.file[rows]
        self.columns: dict[str, pa.Array] = {
            column.name: typed(piece, column, rows)
            for column in self.contract.columns
            if column.name in (*self.contract.fields, SOURCE_RECORD) and column.name in piece.columns
        }
        if references is not None and self.contract.reference is not None:
            self.columns[self.contract.reference] = references
        self.carried = {file: self._carried(present) for file, present in piece.present.items()}
        self.outcomes: Outcomes = np.full(len(rows), INSERTED, dtype=np.int8)
        self.reasons: Reasons = {}

    def _carried(self, present: frozenset[str]) -> frozenset[str]:
        """The fields of the table that rows of a file with these columns set."""
        names = {name for name in self.contract.fields if name in present}
        if self.contract.reference in self.columns:
            names.add(self.contract.reference)
        return frozenset(names)

    def run(self) -> tuple[Outcomes, Reasons]:
        """Look the records up, then write what is new and what has changed."""
        if not len(self.rows):
            return self.outcomes, self.reasons
        self._take_over(self.former_keys)
        met = self.settled_before()
        stored = self._stored()
        if stored is not None and len(stored):
            places = stored["position"].to_numpy()
            met[places] = True
            self._meet(stored, places)
        unknown = ~met & self.deleted
        for place in np.flatnonzero(unknown).tolist():
            self._refuse(place, UNKNOWN_RECORD)
        self._insert(np.flatnonzero(~met & ~unknown))
        return self.outcomes, self.reasons

    def settled_before(self) -> Mask:
        """Which rows need no look at the records any more; none, but for tables with a rule of their own."""
        return np.zeros(len(self.rows), dtype=np.bool_)

    def _arrow_type(self, name: str) -> pa.DataType:
        return ARROW_TYPES[self.declared.column(name).type]

    def refusal(self, place: int, old: Record, record: Record) -> str | None:
        """Why the row at `place` cannot be the record that is stored; None when it can."""
        reference = self.contract.reference
        if not self.contract.record.about_students or reference is None or reference not in old:
            return None
        return MOVED_STUDENT if record.get(reference, old[reference]) != old[reference] else None

    def _refuse(self, place: int, code: str) -> None:
        self.outcomes[place] = QUARANTINED
        self.reasons.setdefault(int(self.rows[place]), []).append(code)

    # Records that are there already

    def _take_over(self, former_keys: pa.Array | None) -> None:
        """Give records that are stored under a former key of these rows the key of now, unless one has it already."""
        if former_keys is None or former_keys.null_count == len(former_keys):
            return
        given = former_keys.is_valid()
        stage(
            self.connection,
            "staged_former_keys",
            {"former": "VARCHAR", "key": "VARCHAR"},
            pa.table({"former": former_keys.filter(given), "key": self.keys.filter(given)}),
        )
        staged = sa.table("staged_former_keys", sa.column("former"), sa.column("key"))
        stored_key, another = self.table.c[self.contract.stored_key], self.table.alias()
        taken = sa.exists().where(another.c.tenant_id == self.tenant, another.c[stored_key.name] == staged.c.key)
        found = self.connection.execute(
            sa.select(self.table.c.id, staged.c.key)
            .join_from(staged, self.table, stored_key == staged.c.former)
            .where(self.table.c.tenant_id == self.tenant, ~taken)
        ).all()
        for identifier, key in found:
            self.connection.execute(
                sa.update(self.table).where(self.table.c.id == identifier).values({stored_key.name: key})
            )

    def _stored(self) -> pa.Table | None:
        """The stored rows that these meet, with `position`: the place of the row among `rows`."""
        table = self.table
        if self.connection.scalar(sa.select(table.c.id).where(table.c.tenant_id == self.tenant).limit(1)) is None:
            return None
        staged, same_record = self.staged_keys()
        names = ["id", "delivered_on", "deleted_on", *self.also_read, *self.contract.fields]
        types = {"position": pa.int64()} | {name: self._arrow_type(name) for name in names}
        if self.per_field:
            names.append(FIELD_DELIVERIES)
            types[FIELD_DELIVERIES] = pa.string()
        query = (
            sa.select(staged.c.position, *(table.c[name] for name in names))
            .join_from(staged, table, same_record)
            .where(table.c.tenant_id == self.tenant)
        )
        return read_rows(self.connection, query, types)

    def staged_keys(self) -> tuple[sa.TableClause, sa.ColumnElement[bool]]:
        """A temporary table with the `position` and the key of each row, and what makes a stored record the row's."""
        rows = pa.table({"position": pa.array(np.arange(len(self.rows)), pa.int32()), "key": self.keys})
        stage(self.connection, "staged_keys", {"position": "INTEGER", "key": "VARCHAR"}, rows)
        staged = sa.table("staged_keys", sa.column("position"), sa.column("key"))
        return staged, self.table.c[self.contract.stored_key] == staged.c.key

    def _meet(self, stored: pa.Table, places: Integers) -> None:
        """Decide about rows whose record is there: most say what it says, the others are looked at one by one."""
        self._note_first_deliveries(stored, places)
        mine = {name: values.take(pa.array(places)) for name, values in self.columns.items()}
        same = self._certainly_same(stored, places, mine)
        self.outcomes[places[same]] = UNCHANGED
        older = pc.less(stored["delivered_on"], pa.scalar(self.delivered_on)).to_numpy(zero_copy_only=False)
        confirmed = stored.filter(pa.array(same & older)).select(["id"])
        if len(confirmed):
            dates = pa.array([self.delivered_on], pa.date32()).take(pa.array(np.zeros(len(confirmed), dtype=np.int8)))
            # Only the bookkeeping of deliveries: the record says what it said, so `updated_at` stays.
            update_rows(self.connection, self.table, confirmed.append_column("delivered_on", dates))
        rest = np.flatnonzero(~same)
        if len(rest):
            self._one_by_one(
                stored.take(pa.array(rest)), places[rest], {k: v.take(pa.array(rest)) for k, v in mine.items()}
            )

    def _note_first_deliveries(self, stored: pa.Table, places: Integers) -> None:
        """Where the table keeps the date of the first delivery, and this one is an earlier one: note that."""
        if FIRST_DELIVERED_ON not in self.also_read:
            return
        later = pc.greater(stored[FIRST_DELIVERED_ON], pa.scalar(self.delivered_on)).to_numpy(zero_copy_only=False)
        rows = stored.filter(pa.array(later & ~self.deleted[places])).select(["id"])
        dates = _constant(self.delivered_on, pa.date32(), len(rows))
        update_rows(self.connection, self.table, rows.append_column(FIRST_DELIVERED_ON, dates))

    def _certainly_same(self, stored: pa.Table, places: Integers, mine: dict[str, pa.Array]) -> npt.NDArray[np.bool_]:
        """Whether every field the row carries is stored just so, and at most `delivered_on` has to move."""
        same = pc.less_equal(stored["delivered_on"], pa.scalar(self.delivered_on)).to_numpy(zero_copy_only=False)
        same = same & ~self.deleted[places] & stored["deleted_on"].is_null().to_numpy()
        for name, values in mine.items():
            if name not in self.contract.fields:
                continue
            theirs = stored[name].combine_chunks()
            equal = pc.equal(values, theirs).fill_null(False).to_numpy(zero_copy_only=False)
            both_empty = (values.is_null().to_numpy(zero_copy_only=False)) & (
                theirs.is_null().to_numpy(zero_copy_only=False)
            )
            carried = np.array([name in self.carried[file] for file in self.file[places].tolist()], dtype=np.bool_)
            same &= equal | both_empty | ~carried
        if self.first_delivery in mine:
            # An empty one is a date that the district does not know: not carried, so it may be older.
            same &= ~mine[self.first_delivery].is_null().to_numpy(zero_copy_only=False)
        if not self.per_field:
            return same
        deliveries = Coded.of(stored[FIELD_DELIVERIES])
        older = [frozenset(orjson.loads(text)) for text in deliveries.texts.to_pylist()] + [frozenset()]
        for file, carried_ in self.carried.items():
            missing = frozenset(self.contract.fields) - carried_
            fits = np.array([names == missing for names in older], dtype=np.bool_)
            same &= (self.file[places] != file) | fits[deliveries.codes]
        return same

    def _one_by_one(self, stored: pa.Table, places: Integers, mine: dict[str, pa.Array]) -> None:
        updates: list[Record] = []
        redated: list[Record] = []
        olds = stored.to_pylist()
        values = {name: column.to_pylist() for name, column in mine.items()}
        json_fields = [name for name in self.contract.fields if self.declared.column(name).type == "json"]
        for index, (place, old) in enumerate(zip(places.tolist(), olds, strict=True)):
            for name in (*json_fields, *((FIELD_DELIVERIES,) if self.per_field else ())):
                old[name] = None if old[name] is None else orjson.loads(old[name])
            record = {}
            if not self.deleted[place]:
                record = {name: values[name][index] for name in self.carried[int(self.file[place])]}
                for name in json_fields:
                    if record.get(name) is not None:
                        record[name] = orjson.loads(record[name])
                if self.first_delivery is not None and record.get(self.first_delivery) is None:
                    record.pop(self.first_delivery, None)
                refusal = self.refusal(place, old, record)
                if refusal is not None:
                    self._refuse(place, refusal)
                    continue
            self.outcomes[place] = self._decide(old, record, bool(self.deleted[place]), updates, redated)
        self._update(updates, (*self.contract.fields, "deleted_on"))
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
            deliveries, newest = old.get(FIELD_DELIVERIES), old["delivered_on"]
            new_deleted_on = max(deleted_on or self.delivered_on, self.delivered_on)
        else:
            changes, deliveries, newest = self._newer_fields(old, record)
            new_deleted_on = None if deleted_on is None or self.delivered_on >= deleted_on else deleted_on
        row = {"id": old["id"], "delivered_on": newest}
        if self.per_field:
            row[FIELD_DELIVERIES] = deliveries
        if changes or new_deleted_on != deleted_on:
            new = {**old, **changes, "deleted_on": new_deleted_on}
            updates.append(row | {name: new[name] for name in (*self.contract.fields, "deleted_on")})
            self.mark_changed(old, new)
            return UNCHANGED if takes_back and deleted_on is not None else UPDATED
        if deliveries != old.get(FIELD_DELIVERIES) or newest != old["delivered_on"]:
            redated.append(row)
        return UNCHANGED

    def _newer_fields(self, old: Record, record: Record) -> tuple[Record, dict[str, str | None] | None, dt.date]:
        """The fields of `old` that the record changes, the row's new `field_deliveries`, and its `delivered_on`."""
        changes: Record = {}
        base: dt.date = old["delivered_on"]
        newest = max(base, self.delivered_on)
        older: dict[str, str | None] = old.get(FIELD_DELIVERIES) or {}
        dates: dict[str, str | None] = {}
        for name in self.contract.fields:
            carried_on = older[name] if name in older else base.isoformat()
            if name in record and (carried_on is None or self.delivered_on.isoformat() >= carried_on):
                carried_on = self.delivered_on.isoformat()
                if record[name] != old[name]:
                    changes[name] = record[name]
            elif name == self.first_delivery and carried_on is None and self.delivered_on < old[name]:
                # Never given: the first delivery's date stands for it, whichever delivery was loaded first.
                changes[name] = self.delivered_on
            if carried_on != newest.isoformat():
                dates[name] = carried_on
        return changes, dates or None, newest

    def _update(self, rows: list[Record], fields: tuple[str, ...]) -> None:
        if not rows:
            return
        names = ["id", "delivered_on", *fields, *((FIELD_DELIVERIES,) if self.per_field else ())]
        columns = {}
        for name in names:
            type_ = pa.string() if name == FIELD_DELIVERIES else self._arrow_type(name)
            column = [row[name] for row in rows]
            if self.declared.column(name).type == "json":
                column = [None if value is None else orjson.dumps(value).decode() for value in column]
            columns[name] = pa.array(column, type_)
        update_rows(self.connection, self.table, pa.table(columns))

    # New records

    def _insert(self, places: Integers) -> None:
        if not len(places):
            return
        count = len(places)
        take = pa.array(places)
        earlier, of_piece = self.piece.earlier, self.rows[places]
        ids = new_id_bytes(count) if earlier is None else earlier.ids[of_piece]
        columns: dict[str, Any] = {
            "id": id_texts(ids, self.connection.dialect.name),
            "tenant_id": _constant(self.tenant, pa.string(), count),
            **self.key_columns(take),
            "delivered_on": _constant(self.delivered_on, pa.date32(), count),
        }
        if earlier is not None:
            columns["created_at"] = moment_texts(earlier.created_at(of_piece), self.connection.dialect.name)
        if FIRST_DELIVERED_ON in self.table.c:
            columns[FIRST_DELIVERED_ON] = columns["delivered_on"]
        for name in self.contract.fields:
            values = self.columns.get(name)
            columns[name] = pa.nulls(count, self._arrow_type(name)) if values is None else values.take(take)
        if SOURCE_RECORD in self.columns:
            columns[SOURCE_RECORD] = self.columns[SOURCE_RECORD].take(take)
        given = None
        if self.first_delivery is not None:
            given = columns[self.first_delivery]
            columns[self.first_delivery] = pc.fill_null(given, pa.scalar(self.delivered_on))
        if self.per_field:
            columns[FIELD_DELIVERIES] = self._never_carried(places, given)
        copy_rows(self.connection, self.table.name, pa.table(columns))
        self.mark_inserted(columns)

    def key_columns(self, rows: pa.Array) -> dict[str, pa.Array]:
        """What says which records new rows are (positions among `rows`), and what they are about where that is part."""
        return {self.contract.stored_key: self.keys.take(rows)}

    def _never_carried(self, places: Integers, given: pa.Array | None) -> pa.Array:
        """`field_deliveries` of new rows.

        `given`: the date of the first delivery as the rows say it; an empty one is not carried.
        """
        carried = {}
        for name in self.contract.fields:
            files = [file for file, fields in self.carried.items() if name in fields]
            carried[name] = np.isin(self.file[places], files)
        if given is not None and self.first_delivery is not None:
            carried[self.first_delivery] &= given.is_valid().to_numpy(zero_copy_only=False)
        return never_carried(carried, len(places))

    # What becomes stale

    def mark_inserted(self, columns: dict[str, pa.Array]) -> None:
        """New records: the weeks of their event dates have other activity."""
        event_date, reference = self.contract.record.event_date, self.contract.reference
        if event_date is not None and reference is not None:
            self.target.marks.add_dated("weekly_activity", columns[event_date], columns[reference])

    def mark_changed(self, old: Record, new: Record) -> None:
        """A changed record: the week it was in and the week it is in now have other activity."""
        event_date, reference = self.contract.record.event_date, self.contract.reference
        if event_date is not None and reference is not None:
            for row in (old, new):
                self.target.marks.add("weekly_activity", week_start(row[event_date]), [row[reference]])


class RecordWriter:
    """Writes one delivery of records, all in the transaction of its target."""

    merge: ClassVar[type[PieceMerge]] = PieceMerge

    def __init__(self, target: Target) -> None:
        self.target = target

    @staticmethod
    def make_room(work: Work, tenant: TenantSettings, rows: DeliveredRows) -> None:
        """Records need none."""

    def prepare(self, piece: Piece, reasons: Reasons, asked: Mask) -> PreparedRecords:
        """Find the students by number; asks the database nothing."""
        about_students = DELIVERED[piece.table].record.about_students
        references = self.target.students.resolve(piece, reasons) if about_students else None
        return PreparedRecords(piece, reasons, asked, references)

    def looked_up(self, prepared: PreparedRecords) -> pa.Array | None:
        """For each row of the piece the id of what it is about; None for records that are about themselves."""
        return prepared.references

    def write(self, prepared: PreparedRecords) -> Outcomes:
        """Merge the good rows; what became of each row of the piece. Adds the database's reasons."""
        piece, reasons = prepared.piece, prepared.reasons
        references = self.looked_up(prepared)
        places: Integers = np.flatnonzero(prepared.good())
        mine = None if references is None else references.take(pa.array(places))
        outcomes: Outcomes = np.full(len(piece), UNCHANGED, dtype=np.int8)
        outcomes[places], refused = self.merged(piece, places, mine)
        return settled(outcomes, reasons, refused)

    def merged(self, piece: Piece, rows: Integers, references: pa.Array | None) -> tuple[Outcomes, Reasons]:
        """Merge these good rows of a piece: their outcomes, and the reasons of those that the database refuses."""
        return self.merge(self.target, piece, rows, references).run()

    def close(self) -> None:
        """Nothing remains to be done."""


def _constant(value: Any, type_: pa.DataType, count: int) -> pa.Array:
    return pa.array([value], type_).take(pa.array(np.zeros(count, dtype=np.int8)))
