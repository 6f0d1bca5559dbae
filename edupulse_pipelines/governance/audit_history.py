"""What is on record: the versions of a record one after another, and what a run or a day has changed.

A version is a row as one change wrote it; the last one is the row that is stored now, those before are its images. The
answers hold students' values: they are for the eyes of whoever asks, not for logs.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.governance.register import NUMBER_COLUMNS
from edupulse_pipelines.schema.declaration import Column
from edupulse_pipelines.schema.objects.as_recorded import recorded_rows
from edupulse_pipelines.schema.row_contents import row_key
from edupulse_pipelines.schema.sqlalchemy_tables import metadata
from edupulse_pipelines.schema.tables import CHANGE_ID, RECORD_TABLES, STATEMENTS_OF_A_CHANGE, TABLES
from edupulse_pipelines.storage import changes
from edupulse_pipelines.storage.work import Work

_ROWS_AT_ONCE = 500


@dataclass(frozen=True)
class Change:
    """Who made a change, when, and in which run; number 0 stands for whatever was before changes were on record."""

    number: int
    at: dt.datetime | None = None
    actor: str = ""
    database_user: str = ""
    run_id: str | None = None


@dataclass(frozen=True)
class Version:
    """A row as a change wrote it; None in the place of values: erased, or (`removed`) not there any more.

    differences: by column what it was before and what it became; empty for the first version.
    """

    change: Change
    values: dict[str, Any] | None
    differences: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    removed: bool = False


@dataclass(frozen=True)
class ChangedTable:
    """What a change did to a table."""

    change: Change
    table: str
    operation: str
    rows: int


def record_history(
    work: Work,
    table: str,
    *,
    key: str | None = None,
    student: str | None = None,
    day: dt.date | None = None,
) -> dict[str, list[Version]]:
    """The versions of the records that are asked for, oldest first, by the key of each row.

    key: of students the district's number, of other tables their `record_key` or id; student: the number of the student
    whose records are meant; day: of the records' event. ConfigurationError where the table has no such thing.
    """
    declared = TABLES[table]
    if declared.audit != "whole":
        raise ConfigurationError(f"No earlier versions of {table} are kept: its rows are computed from the records.")
    with work.reading(steady=True) as connection:
        rows = _asked(connection, work, table, key, student, day)
        images = _images(connection, table, rows.keys(), work)
        numbers = {int(row[CHANGE_ID]) for row in rows.values() if row is not None}
        numbers |= {number for image in images for number in (image.written_by, image.replaced_by)}
        made = _changes(connection, {number // STATEMENTS_OF_A_CHANGE for number in numbers})
    of_row: dict[str, list[Any]] = defaultdict(list)
    for image in images:
        of_row[image.row_key].append(image)
    return {row: _versions(table, current, of_row[row], made) for row, current in sorted(rows.items())}


def changed_tables(work: Work, *, run_id: str | None = None, since: dt.datetime | None = None) -> list[ChangedTable]:
    """What the tenant's changes did, in the order in which they were committed: of a run, since a moment, or all."""
    table, entries = changes.changes, changes.entries
    query = sa.select(table, entries.c.table_name, entries.c.operation, entries.c.rows).join_from(
        entries,
        table,
        table.c.id == entries.c.change_id // sa.literal_column(str(STATEMENTS_OF_A_CHANGE), sa.BigInteger()),
    )
    query = query.where(entries.c.tenant_id == work.tenant)
    if run_id is not None:
        query = query.where(table.c.run_id == run_id)
    if since is not None:
        query = query.where(table.c.linked_at >= since)
    with work.reading() as connection:
        found = connection.execute(query.order_by(table.c.link_number, entries.c.change_id, entries.c.table_name)).all()
    return [ChangedTable(_change(row), row.table_name, row.operation, row.rows) for row in found]


def rows_as_recorded(connection: Connection, work: Work, table: str, moment: dt.datetime) -> list[dict[str, Any]]:
    """The tenant's rows of a table of records as they were known at the moment."""
    if table not in RECORD_TABLES:
        raise ConfigurationError(f"{table} is computed from the records; only these are on record as they were.")
    return [dict(row._mapping) for row in connection.execute(query_as_recorded(work, table, moment))]


def query_as_recorded(work: Work, table: str, moment: dt.datetime) -> sa.TextualSelect:
    """The query for the tenant's rows of a table, of which images are kept, as they were known at the moment."""
    query = sa.text(f"SELECT * FROM ({recorded_rows(table, work.dialect)}) r WHERE tenant_id = :tenant").bindparams(
        sa.bindparam("moment", moment, changes.changes.c.linked_at.type), sa.bindparam("tenant", work.tenant)
    )
    return query.columns(*metadata.tables[table].c)


# Finding rows


def _asked(
    connection: Connection, work: Work, table: str, key: str | None, student: str | None, day: dt.date | None
) -> dict[str, dict[str, Any] | None]:
    """By its key each row that is asked for as it is stored; None for one that is not there any more."""
    declared, stored, images = TABLES[table], metadata.tables[table], changes.images
    mine = [stored.c.tenant_id == work.tenant]
    theirs = [images.c.tenant_id == work.tenant, images.c.table_name == table]
    if student is not None or (table == "students" and key is not None):
        ids = _students(connection, work, student or key or "")
        about = stored.c.id if table == "students" else stored.c.get("student_id")
        if about is not None:
            mine.append(about.in_(ids))
            theirs.append(images.c.student_id.in_(ids))
        else:
            number, numbered = (student or "").strip(), _number_columns(table)
            mine.append(sa.or_(*(stored.c[name] == number for name in numbered)))
            theirs.append(sa.or_(*(_in_image(name) == number for name in numbered)))
    elif key is not None:
        key = key.strip()
        named = _names_of_key(table)
        same: list[sa.ColumnElement[bool]] = [stored.c[name] == key for name in named]
        identifier = _id_of(key)
        if identifier is not None and "id" in stored.c:
            same.append(stored.c.id == identifier)
        if not same:
            raise ConfigurationError(f"Rows of {table} have no key to ask by; ask by --student.")
        mine.append(sa.or_(*same))
        kept = [_in_image(name) == key for name in named]
        theirs.append(sa.or_(images.c.row_key == (_as_stored(identifier, work) if identifier else key), *kept))
    else:
        raise ConfigurationError("Say which records: --key, or --student.")
    if day is not None:
        event = declared.record.event_date if declared.record else None
        if event is None:
            raise ConfigurationError(f"Rows of {table} have no day.")
        mine.append(stored.c[event] == day)
        theirs.append(_in_image(event) == day.isoformat())
    identity: sa.Label[str] = sa.literal_column(row_key(declared, table)).label("row_key_")
    rows: dict[str, dict[str, Any] | None] = dict.fromkeys(
        connection.scalars(sa.select(images.c.row_key).where(*theirs).distinct())
    )
    for row in connection.execute(sa.select(stored, identity).where(*mine)):
        values = dict(row._mapping)
        rows[values.pop("row_key_")] = values
    missing = [gone for gone, values in rows.items() if values is None]
    for start in range(0, len(missing), _ROWS_AT_ONCE):  # a row that is there, and was found by what it said before
        some = missing[start : start + _ROWS_AT_ONCE]
        for row in connection.execute(sa.select(stored, identity).where(mine[0], identity.in_(some))):
            values = dict(row._mapping)
            rows[values.pop("row_key_")] = values
    return rows


def _students(connection: Connection, work: Work, number: str) -> list[uuid.UUID]:
    """The ids of the students who have, or had, the number."""
    number = number.strip()
    stored, images = metadata.tables["students"], changes.images
    now = connection.scalars(
        sa.select(stored.c.id).where(stored.c.tenant_id == work.tenant, stored.c.district_id == number)
    )
    before = connection.scalars(
        sa.select(images.c.student_id).where(
            images.c.tenant_id == work.tenant,
            images.c.table_name == "students",
            images.c.student_id.is_not(None),
            _in_image("district_id") == number,
        )
    )
    return sorted({*now, *before})


def _number_columns(table: str) -> list[str]:
    """The columns that hold a student's number; ConfigurationError where there are none, saying what to ask by."""
    names = TABLES[table].column_names
    numbered = [name for name in NUMBER_COLUMNS if name in names]
    if not numbered:
        keys = ", ".join([*_names_of_key(table), *(("id",) if "id" in names else ())])
        raise ConfigurationError(f"Rows of {table} name no student; ask by --key, which is its {keys}.")
    return numbered


def _names_of_key(table: str) -> list[str]:
    """The columns whose value a person knows a row of the table by."""
    own = {"model_metadata": ["model_version"], "ingested_files": ["file_name"]}.get(table, [])
    names = TABLES[table].column_names
    return own + [name for name in ("record_key", "source_record_id", "school_id") if name in names]


def _in_image(name: str) -> sa.ColumnElement[str]:
    return changes.images.c.image[name].as_string()


def _id_of(key: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(key)
    except ValueError:
        return None


def _as_stored(identifier: uuid.UUID, work: Work) -> str:
    return str(identifier) if work.dialect == "postgresql" else identifier.hex


def _images(connection: Connection, table: str, rows: Iterable[str], work: Work) -> list[Any]:
    images, keys = changes.images, sorted(rows)
    found: list[Any] = []
    for start in range(0, len(keys), _ROWS_AT_ONCE):
        query = sa.select(images).where(
            images.c.tenant_id == work.tenant,
            images.c.table_name == table,
            images.c.row_key.in_(keys[start : start + _ROWS_AT_ONCE]),
        )
        found += connection.execute(query).all()
    return found


def _changes(connection: Connection, numbers: set[int]) -> dict[int, Change]:
    table, ordered = changes.changes, sorted(numbers)
    made = {0: Change(0)}
    for start in range(0, len(ordered), _ROWS_AT_ONCE):
        query = sa.select(table).where(table.c.id.in_(ordered[start : start + _ROWS_AT_ONCE]))
        made |= {row.id: _change(row) for row in connection.execute(query)}
    return made


def _change(row: Any) -> Change:
    return Change(row.id, row.linked_at or row.changed_at, row.actor, row.database_user, row.run_id)


# Putting versions in order


def _versions(
    table: str, current: dict[str, Any] | None, images: Sequence[Any], made: dict[int, Change]
) -> list[Version]:
    """The versions of a row, oldest first; of one that is not there any more the last one says what removed it."""

    def place(number: int) -> tuple[dt.datetime, int]:
        change = made.get(number // STATEMENTS_OF_A_CHANGE)
        # Of changes that are not on record (any more) nothing is known: they come first.
        return (change.at if change and change.at else dt.datetime.min.replace(tzinfo=dt.UTC), number)

    ordered = sorted(images, key=lambda image: (place(image.replaced_by), place(image.written_by)))
    rows = [(image.written_by, image.image) for image in ordered]
    if current is not None:
        rows.append((current["change_id"], current))
    versions: list[Version] = []
    before: dict[str, Any] | None = None
    for number, row in rows:
        values = None if row is None else values_of(table, row)
        differences = {}
        if before is not None and values is not None:
            differences = {name: (before[name], now) for name, now in values.items() if before[name] != now}
        versions.append(Version(_made(made, number), values, differences))
        before = values
    if current is None and ordered:
        versions.append(Version(_made(made, ordered[-1].replaced_by), None, removed=True))
    return versions


def _made(made: dict[int, Change], number: int) -> Change:
    change = number // STATEMENTS_OF_A_CHANGE
    return made.get(change, Change(change))


def values_of(table: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The audited columns of a row, or of an image of one, as JSON has their values: the same on both databases."""
    return {column.name: _shown(column, row.get(column.name)) for column in TABLES[table].audited_columns}


def _shown(column: Column, value: Any) -> Any:
    """A value as JSON has it, the same from an image of either database as from the table."""
    if value is None:
        return None
    if column.type == "guid":
        return str(uuid.UUID(str(value)))
    if column.type == "timestamp":
        moment = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(value)
        return (moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)).isoformat()
    if column.type == "json":
        return orjson.loads(value) if isinstance(value, str) else value
    return {"number": float, "integer": int, "boolean": bool}.get(column.type, str)(value)
