"""Rows of attendance by column: as they are taken from a piece, and as they are written to either database.

Which of them are written, and where, is in `attendance`; what they change of stored records in `attendance_changes`,
and where some rows of a session name its school and some do not in `attendance_sessions`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from edupulse_pipelines.ingest.earlier_records import Earlier, moment_texts
from edupulse_pipelines.ingest.frames import Integers, Mask, Piece
from edupulse_pipelines.ingest.references import Students
from edupulse_pipelines.ingest.writers.field_dates import EPOCH, NEVER, field_deliveries
from edupulse_pipelines.ingest.writers.outcomes import ARROW_TYPES, typed
from edupulse_pipelines.schema.delivery import DELIVERED, FIELD_DELIVERIES, STUDENT_NUMBER
from edupulse_pipelines.schema.sqlalchemy_tables import attendance_records
from edupulse_pipelines.schema.tables import TABLES
from edupulse_pipelines.storage.ids import id_column, id_texts, new_id_bytes

TABLE = attendance_records.name
FIELDS = DELIVERED[TABLE].fields
"""The columns that a delivery sets or changes: those that it may carry, but for the key."""
MAY_BE_LEFT_OUT = tuple(name for name in FIELDS if name not in DELIVERED[TABLE].required)
"""The fields that a file need not have. The stored value then stays."""
PER_FIELD = DELIVERED[TABLE].keeps_field_dates
"""Whether single fields may be older than the record."""
FIELD_TYPES = {column.name: ARROW_TYPES[column.type] for column in DELIVERED[TABLE].columns if column.name in FIELDS}
_COLUMNS = {column.name: column for column in DELIVERED[TABLE].columns}


@dataclass
class Rows:
    """Rows to merge, by column.

    place: row of the piece; student: position among the students known; date: days since 1970; period: -1 where
    attendance is daily; school: null where the row names none; deleted: whether the row takes its record back; fields:
    the values of `FIELDS`; carried: by field of `MAY_BE_LEFT_OUT`, whether the row's file has it.
    """

    place: Integers
    student: Integers
    date: Integers
    period: Integers
    school: pa.Array
    deleted: Mask
    fields: dict[str, pa.Array]
    carried: dict[str, Mask]

    def __len__(self) -> int:
        return len(self.place)

    @classmethod
    def of(cls, piece: Piece, places: Integers, students: Students) -> Rows:
        """These good rows of a piece."""
        date, period, school = (typed(piece, _COLUMNS[name], places) for name in ("date", "period", "school_id"))
        number = piece.column(STUDENT_NUMBER)
        carried = {}
        for name in MAY_BE_LEFT_OUT:
            files = [file for file, present in piece.present.items() if name in present]
            carried[name] = np.isin(piece.file[places], files)
        return cls(
            place=places,
            student=np.append(students.places(number.texts), -1)[number.codes[places]],
            date=date.cast(pa.int32()).to_numpy(zero_copy_only=False).astype(np.int64),
            period=period.fill_null(-1).to_numpy(zero_copy_only=False),
            school=school,
            deleted=piece.deleted[places],
            fields={name: typed(piece, _COLUMNS[name], places) for name in FIELDS},
            carried=carried,
        )

    def take(self, which: Integers | Mask) -> Rows:
        """The rows at these positions, or where the mask is True."""
        chosen = pa.array(which)
        is_mask = pa.types.is_boolean(chosen.type)

        def taken(values: pa.Array) -> pa.Array:
            return values.filter(chosen) if is_mask else values.take(chosen)

        return Rows(
            self.place[which],
            self.student[which],
            self.date[which],
            self.period[which],
            taken(self.school),
            self.deleted[which],
            {name: taken(values) for name, values in self.fields.items()},
            {name: there[which] for name, there in self.carried.items()},
        )

    @property
    def names_school(self) -> Mask:
        """For each row whether it names a school."""
        named: Mask = self.school.is_valid().to_numpy(zero_copy_only=False)
        return named

    def beside_others(self) -> Mask:
        """The rows of sessions (student, day and period) that some rows name a school for and some do not."""
        named = self.names_school
        if named.all() or not named.any():
            return np.zeros(len(self), dtype=np.bool_)
        order = np.lexsort((self.period, self.date, self.student))
        begins = np.ones(len(order), dtype=np.bool_)
        begins[1:] = False
        for column in (self.student, self.date, self.period):
            begins[1:] |= np.diff(column[order]) != 0
        session = np.empty(len(order), dtype=np.int64)
        session[order] = np.cumsum(begins) - 1
        count = int(begins.sum())
        both = (np.bincount(session[named], minlength=count) > 0) & (np.bincount(session[~named], minlength=count) > 0)
        return both[session]

    def carries(self, name: str) -> Mask | bool:
        """For each row whether it says anything of the field; True where every file has to have it."""
        return self.carried.get(name, True)


def new_records(
    rows: Rows, students: Students, tenant: str, delivered_on: dt.date, dialect: str, earlier: Earlier | None = None
) -> pa.Table:
    """The rows as new records, as `copy_binary` takes them for PostgreSQL and `copy_rows` for SQLite.

    With new ids; those of `earlier`, by row of the piece, where they were records before.
    """
    count = len(rows)
    same = pa.array(np.zeros(count, dtype=np.int8))
    binary = dialect == "postgresql"
    ids = new_id_bytes(count) if earlier is None else earlier.ids[rows.place]
    about = students.ids[rows.student]
    columns = {
        "id": id_column(ids) if binary else id_texts(ids, dialect),
        "tenant_id": pa.array([tenant]).take(same),
        "student_id": id_column(about) if binary else id_texts(about, dialect),
        "date": as_dates(rows.date),
        "period": pa.array(rows.period, pa.int32(), mask=rows.period < 0),
        "school_id": rows.school,
        "delivered_on": pa.array([delivered_on], pa.date32()).take(same),
    }
    columns |= rows.fields
    if earlier is not None:
        moments = earlier.created_at(rows.place)
        columns["created_at"] = moments if binary else moment_texts(moments, dialect)
    if PER_FIELD:
        day = (delivered_on - EPOCH).days
        days = {name: np.where(there, day, NEVER) for name, there in rows.carried.items()}
        columns[FIELD_DELIVERIES] = field_deliveries(days, np.full(count, day), empty_fields(rows.fields))
    if binary:
        columns |= {name: columns[name].cast(type_) for name, type_ in _BINARY_TYPES.items() if name in columns}
    return pa.table(columns)


def empty_fields(fields: Mapping[str, pa.Array]) -> dict[str, Mask]:
    """By field in which rows it is empty."""
    return {name: values.is_null().to_numpy(zero_copy_only=False) for name, values in fields.items()}


def as_dates(days: Integers) -> pa.Array:
    """Dates of days since 1970."""
    return pa.array(days.astype(np.int32)).cast(pa.date32())


def _binary_types() -> dict[str, pa.DataType]:
    """The columns whose type in binary COPY is another than in `ARROW_TYPES`."""
    types = {}
    for column in TABLES[TABLE].columns:
        if column.type == "integer" and not isinstance(attendance_records.c[column.name].type, sa.BigInteger):
            types[column.name] = pa.int32()
        elif column.type == "json" and not column.exact_text:
            types[column.name] = pa.json_()
    return types


_BINARY_TYPES = _binary_types()
