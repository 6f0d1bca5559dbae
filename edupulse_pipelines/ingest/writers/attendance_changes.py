"""What rows of attendance change of the records that are stored: looked up, compared and updated by column.

The newest delivery wins, field by field, as in `records`, where the rules are told; there they are applied row by row.
Sessions that some rows name the school of and some do not are in `attendance_sessions`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.ingest.frames import Integers, Mask
from edupulse_pipelines.ingest.references import Students
from edupulse_pipelines.ingest.writers.attendance_rows import (
    FIELD_TYPES,
    FIELDS,
    PER_FIELD,
    TABLE,
    Rows,
    as_dates,
    empty_fields,
)
from edupulse_pipelines.ingest.writers.field_dates import EPOCH, NEVER, days_of_fields, field_deliveries
from edupulse_pipelines.ingest.writers.outcomes import ARROW_TYPES, UNCHANGED, UPDATED, Outcomes
from edupulse_pipelines.schema.delivery import FIELD_DELIVERIES
from edupulse_pipelines.schema.sqlalchemy_tables import attendance_records
from edupulse_pipelines.schema.tables import TABLES
from edupulse_pipelines.storage.bulk import Place, read_rows, stage, update_rows

_DELIVERY_DATES = ("delivered_on", "deleted_on")
KEY = ("id", "date")
"""The primary key, which has the date by whose months the table is partitioned."""


@dataclass
class _Changed:
    """What the rows make of the stored records that they meet, one by one in the same order.

    updated: the record says something else, or stands again, or is taken back; rewritten: it has to be written, which
    includes a record that was taken back before and is so by a newer delivery; confirmed: only the bookkeeping of
    deliveries moves. delivered, deleted: days of `delivered_on` and `deleted_on`; days: of each field.
    """

    updated: Mask
    rewritten: Mask
    confirmed: Mask
    delivered: Integers
    deleted: Integers
    days: dict[str, Integers]
    values: dict[str, pa.Array]


def update_met(
    connection: Connection,
    place: Place,
    rows: Rows,
    stored: pa.Table,
    delivered_on: dt.date,
    outcomes: Outcomes,
    asked: Mask,
) -> Mask:
    """Compare the rows with their records at the `place` and write what changes; whether each met one.

    stored: records of the sessions of these rows (`stored_records`); a row's is the one of its school. asked: which of
    the rows are compared at all. `outcomes` of the piece gets those of the rows that met a record.
    """
    met = np.zeros(len(rows), dtype=np.bool_)
    at = stored["position"].to_numpy()
    schools = pc.fill_null(rows.school.take(pa.array(at)), "")
    same = pc.equal(schools, pc.fill_null(stored["school_id"].combine_chunks(), "")).to_numpy(zero_copy_only=False)
    stored = stored.filter(pa.array(same & asked[at]))
    if not len(stored):
        return met
    at = stored["position"].to_numpy()
    met[at] = True
    mine = rows.take(at)
    changed = _compare(stored, mine, (delivered_on - EPOCH).days)
    outcomes[mine.place] = np.where(changed.updated, UPDATED, UNCHANGED)
    records = {"id": stored["id"], "date": as_dates(mine.date), "delivered_on": as_dates(changed.delivered)}
    if PER_FIELD:
        records[FIELD_DELIVERIES] = field_deliveries(changed.days, changed.delivered, empty_fields(changed.values))
    # Only the bookkeeping of deliveries: the record says what it said, so `updated_at` stays.
    confirmed = pa.table(records).filter(pa.array(changed.confirmed))
    update_rows(connection, attendance_records, confirmed, place=place, key=KEY)
    deleted = pa.array(changed.deleted.astype(np.int32), mask=changed.deleted == NEVER).cast(pa.date32())
    rewritten = pa.table(records | changed.values | {"deleted_on": deleted}).filter(pa.array(changed.rewritten))
    update_rows(connection, attendance_records, rewritten, place=place, key=KEY)
    return met


def _compare(stored: pa.Table, mine: Rows, day: int) -> _Changed:
    """What the rows of a delivery of this day make of the records stored."""
    before = stored["delivered_on"].cast(pa.int32()).to_numpy().astype(np.int64)
    deleted_on = stored["deleted_on"].cast(pa.int32()).combine_chunks()
    is_deleted = deleted_on.is_valid().to_numpy(zero_copy_only=False)
    deleted = deleted_on.fill_null(NEVER).to_numpy(zero_copy_only=False)
    days = dict.fromkeys(FIELDS, before)
    if PER_FIELD:
        theirs = {name: stored[name].combine_chunks() for name in FIELDS}
        days = days_of_fields(stored[FIELD_DELIVERIES], FIELDS, before, empty_fields(theirs))
    current, gives = day >= before, ~mine.deleted
    delivered = np.where(gives & current, day, before)
    differs = np.zeros(len(mine), dtype=np.bool_)
    moved = delivered != before
    values = {}
    for name in FIELDS:
        carried = gives & mine.carries(name) & (day >= days[name])
        theirs = stored[name].combine_chunks()
        other = carried & _different(name, mine.fields[name], theirs)
        differs |= other
        moved |= carried & (days[name] != day)
        values[name] = pc.if_else(pa.array(other), mine.fields[name], theirs)
        days[name] = np.where(carried, day, days[name])
    takes_back = mine.deleted & current
    revived = gives & current & is_deleted & (day >= deleted)
    updated = differs | revived | (takes_back & ~is_deleted)
    rewritten = updated | (takes_back & (day > deleted))
    return _Changed(
        updated=updated,
        rewritten=rewritten,
        confirmed=moved & ~rewritten,
        delivered=delivered,
        deleted=np.where(takes_back, np.maximum(day, deleted), np.where(revived, NEVER, deleted)),
        days=days,
        values=values,
    )


def _different(name: str, mine: pa.Array, theirs: pa.Array) -> Mask:
    """For each row whether the two values are not the same; an empty one is another than any other."""
    different: Mask = pc.not_equal(mine, theirs).fill_null(False).to_numpy(zero_copy_only=False)
    one_is_empty = pc.xor(mine.is_null(), theirs.is_null()).to_numpy(zero_copy_only=False)
    if TABLES[TABLE].column(name).type == "json":
        places = np.flatnonzero(different)
        texts = (values.take(pa.array(places)).to_pylist() for values in (mine, theirs))
        # The database may spell a document in another way.
        different = different.copy()
        different[places] = [orjson.loads(a) != orjson.loads(b) for a, b in zip(*texts, strict=True)]
    return different | one_is_empty


def staged_sessions(connection: Connection, rows: Rows, students: Students) -> sa.TableClause:
    """A temporary table of the student, date and period (-1: daily) of each row, with its `position`."""
    student_id = attendance_records.c.student_id.type.compile(dialect=connection.dialect)
    stage(
        connection,
        "staged_attendance",
        {"position": "INTEGER", "student_id": student_id, "date": "DATE", "period": "INTEGER"},
        pa.table(
            {
                "position": pa.array(np.arange(len(rows)), pa.int32()),
                "student_id": students.texts(rows.student),
                "date": as_dates(rows.date),
                "period": pa.array(rows.period),
            }
        ),
    )
    return sa.table("staged_attendance", *map(sa.column, ("position", "student_id", "date", "period")))


def place_of(table: str, rows: Rows) -> Place:
    """Where the records of these rows, at least one, are in `table`."""
    first, last = (EPOCH + dt.timedelta(days=int(day)) for day in (rows.date.min(), rows.date.max()))
    return Place(table, "date", first, last + dt.timedelta(days=1))


def stored_records(connection: Connection, place: Place, rows: Rows, students: Students) -> pa.Table:
    """The records at the `place` of each row's session, of whatever school; `position` being the row's."""
    staged = staged_sessions(connection, rows, students)
    types = {"id": pa.string(), "school_id": pa.string()} | FIELD_TYPES
    types |= dict.fromkeys(_DELIVERY_DATES, ARROW_TYPES["date"])
    if PER_FIELD:
        types[FIELD_DELIVERIES] = ARROW_TYPES["json"]
    stored = sa.table(place.table, *map(sa.column, ("student_id", "period", *types)), sa.column("date", sa.Date()))
    query = sa.select(staged.c.position, *(stored.c[column] for column in types)).join_from(
        staged,
        stored,
        sa.and_(
            # As the unique index begins, so that it is used.
            stored.c.student_id == staged.c.student_id,
            stored.c.date == staged.c.date,
            sa.func.coalesce(stored.c.period, sa.text("-1")) == staged.c.period,
            place.holds(stored),
        ),
    )
    return read_rows(connection, query, {"position": pa.int64()} | types)
