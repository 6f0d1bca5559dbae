"""Writing good rows into their table: insert, update or leave alone, whatever order deliveries come in.

For one record the newest `delivered_on` wins, field by field: a field that a delivery does not carry keeps the value
of the newest delivery that did. So the result depends on the deliveries and not on the order in which they are loaded.
Each change leaves a mark in `pending_updates` within the caller's transaction. Nothing is validated here.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.database import new_ids
from edupulse_pipelines.schema import sqlalchemy_tables
from edupulse_pipelines.schema.sqlalchemy_tables import pending_updates
from edupulse_pipelines.weeks import week_start

_BATCH = 5_000

Record = dict[str, Any]


@dataclass(frozen=True)
class Layout:
    """How a record table is merged: its key column(s), the fields a delivery sets, and the date that marks a week."""

    name: str
    fields: tuple[str, ...]
    event_date: str | None

    @property
    def table(self) -> sa.Table:
        """The SQLAlchemy table."""
        return sqlalchemy_tables.metadata.tables[self.name]

    @property
    def per_field(self) -> bool:
        """Whether single fields may be older than the row (the table has `field_deliveries`)."""
        return "field_deliveries" in self.table.c


LAYOUTS: dict[str, Layout] = {
    "students": Layout(
        "students",
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
    "attendance_records": Layout("attendance_records", ("status",), "date"),
    "grades": Layout(
        "grades",
        ("student_id", "course_id", "course_name", "grade_value", "grade_letter", "submission_date", "assignment_type"),
        "submission_date",
    ),
    "discipline_incidents": Layout(
        "discipline_incidents",
        ("student_id", "incident_date", "severity_level", "incident_type", "description", "resolution"),
        "incident_date",
    ),
    "training_feedback": Layout(
        "training_feedback", ("prediction_id", "outcome_date", "outcome_type", "feedback_type", "educator_notes"), None
    ),
}


def merge_records(
    connection: Connection, tenant: str, table: str, records: list[Record], delivered_on: dt.date
) -> list[str]:
    """Merge one delivery's records, each with `key`, the table's identity columns and the fields it carries.

    A field that is not in the record was not delivered. Keys are unique within `records`. Returns for each record, in
    order, `inserted`, `updated` or `unchanged`.
    """
    layout = LAYOUTS[table]
    stored = _stored(connection, tenant, layout, records)
    outcome: list[str] = []
    inserts: list[Record] = []
    updates: list[Record] = []
    redated: list[Record] = []
    confirmed: list[Any] = []
    marks: set[tuple[str, Any, dt.date]] = set()
    ids = iter(new_ids(len(records)))
    for record in records:
        old = stored.get(record["key"])
        if old is None:
            row = _new_row(layout, tenant, record, delivered_on, next(ids))
            inserts.append(row)
            marks |= _marks(layout, None, row)
            outcome.append("inserted")
            continue
        changes, deliveries = _newer_fields(layout, old, record, delivered_on)
        newest = max(old["delivered_on"], delivered_on)
        if changes:
            fields = {name: changes.get(name, old[name]) for name in layout.fields}
            updates.append({"b_id": old["id"], **fields, **deliveries, "delivered_on": newest})
            marks |= _marks(layout, old, {**old, **changes})
            outcome.append("updated")
            continue
        outcome.append("unchanged")
        if deliveries.get("field_deliveries") != old.get("field_deliveries"):
            redated.append({"b_id": old["id"], **deliveries, "delivered_on": newest})
        elif newest != old["delivered_on"]:
            confirmed.append(old["id"])
    _insert(connection, layout, inserts)
    _update(connection, layout, updates)
    # Only the bookkeeping of deliveries: the record says what it said, so `updated_at` stays.
    _update(connection, layout, redated)
    for batch in _batches(confirmed):
        connection.execute(layout.table.update().where(layout.table.c.id.in_(batch)).values(delivered_on=delivered_on))
    _write_marks(connection, tenant, marks)
    return outcome


def mark_delivery_week(connection: Connection, tenant: str, week: dt.date) -> None:
    """Have every student's vectors from `week` on recomputed: the week has become one with data."""
    _write_marks(connection, tenant, {("student_features", None, week)})


def _stored(connection: Connection, tenant: str, layout: Layout, records: list[Record]) -> dict[Any, Record]:
    """The stored rows that these records may meet, by key."""
    table = layout.table
    wanted = [table.c.id, table.c.delivered_on, *(table.c[name] for name in layout.fields)]
    if layout.per_field:
        wanted.append(table.c.field_deliveries)
    key: Callable[[Any], Any]
    if layout.name == "attendance_records":
        # All of these days: a week's file holds nearly every student, so days are far fewer than keys.
        wanted += [table.c.student_id, table.c.date, table.c.period]
        column, values = table.c.date, sorted({record["date"] for record in records})

        def key(row: Any) -> Any:
            return (row.student_id, row.date, -1 if row.period is None else row.period)

    else:
        column = table.c.district_id if layout.name == "students" else table.c.record_key
        wanted.append(column)
        values = [record["key"] for record in records]

        def key(row: Any) -> Any:
            return getattr(row, column.name)

    keys = {record["key"] for record in records}
    found: dict[Any, Record] = {}
    for batch in _batches(values):
        query = sa.select(*wanted).where(table.c.tenant_id == tenant, column.in_(batch))
        for row in connection.execute(query):
            if (identity := key(row)) in keys:
                found[identity] = dict(row._mapping)
    return found


def _new_row(layout: Layout, tenant: str, record: Record, delivered_on: dt.date, identifier: Any) -> Record:
    row: Record = {"id": identifier, "tenant_id": tenant, "delivered_on": delivered_on}
    if layout.name == "attendance_records":
        row |= {name: record[name] for name in ("student_id", "date", "period")}
    elif layout.name == "students":
        row["district_id"] = record["key"]
    else:
        row["record_key"] = record["key"]
        if "source_record_id" in layout.table.c:
            row["source_record_id"] = record.get("source_record_id")
    row |= {name: record.get(name) for name in layout.fields}
    if layout.per_field:
        absent = {name: None for name in layout.fields if name not in record}
        row["field_deliveries"] = absent or None
    if layout.name == "students" and "enrollment_date" not in record:
        row["enrollment_date"] = delivered_on
    return row


def _newer_fields(layout: Layout, old: Record, record: Record, delivered_on: dt.date) -> tuple[Record, Record]:
    """The fields of `old` that the record changes, and the row's new `field_deliveries` (for tables that have it)."""
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
    return changes, ({"field_deliveries": dates or None} if layout.per_field else {})


def _marks(layout: Layout, old: Record | None, new: Record) -> set[tuple[str, Any, dt.date]]:
    """What this change makes stale: (stage, student, week)."""
    if layout.name == "students":
        if old is None:
            return {("student_features", new["id"], week_start(new["enrollment_date"]))}
        stale = [
            day
            for name in ("enrollment_date", "exit_date")
            if old[name] != new[name]
            for day in (old[name], new[name])
            if day is not None
        ]
        return {("student_features", old["id"], week_start(min(stale)))} if stale else set()
    if layout.event_date is None:
        return set()
    return {
        ("weekly_activity", row["student_id"], week_start(row[layout.event_date]))
        for row in (old, new)
        if row is not None
    }


def _insert(connection: Connection, layout: Layout, rows: list[Record]) -> None:
    # In the order of student and day, so that neighbours on disk are neighbours in the queries.
    if layout.name == "attendance_records":
        rows.sort(key=lambda row: (row["student_id"], row["date"]))
    for batch in _batches(rows):
        connection.execute(layout.table.insert(), batch)


def _update(connection: Connection, layout: Layout, rows: list[Record]) -> None:
    if not rows:
        return
    table = layout.table
    names = [name for name in rows[0] if name != "b_id"]
    statement = (
        table.update()
        .where(table.c.id == sa.bindparam("b_id", type_=table.c.id.type))
        .values({name: sa.bindparam(name, type_=table.c[name].type) for name in names})
    )
    connection.execute(statement, rows)


def _write_marks(connection: Connection, tenant: str, marks: Iterable[tuple[str, Any, dt.date]]) -> None:
    rows = [
        {"tenant_id": tenant, "stage": stage, "student_id": student, "week_start": week}
        for stage, student, week in marks
    ]
    for row, identifier in zip(rows, new_ids(len(rows)), strict=True):
        row["id"] = identifier
    for batch in _batches(rows):
        connection.execute(pending_updates.insert(), batch)


def _batches(values: Sequence[Any]) -> Iterable[Any]:
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]


def student_ids(connection: Connection, tenant: str) -> pd.Series:
    """Every student's id by number within the district."""
    students = sqlalchemy_tables.students
    rows = connection.execute(
        sa.select(students.c.district_id, students.c.id).where(students.c.tenant_id == tenant)
    ).all()
    return pd.Series(dict(rows), dtype="object")
