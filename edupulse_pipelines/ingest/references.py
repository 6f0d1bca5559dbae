"""What a delivered row refers to: the student by number, the school, or the prediction that a verdict is about.

Answers with ids as the database writes them, or with a reason code. Reads `students`, `schools` and `predictions` only;
`Students` and `Schools` ask the database once, when they are made.
"""

from __future__ import annotations

import datetime as dt
import uuid
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.ingest.frames import Integers, Piece
from edupulse_pipelines.ingest.validation import (
    DISPUTED_NUMBER,
    MISSING_PREDICTION,
    UNKNOWN_PREDICTION,
    UNKNOWN_SCHOOL,
    UNKNOWN_STUDENT,
    Reasons,
)
from edupulse_pipelines.schema.delivery import DELIVERED, STUDENT_NUMBER
from edupulse_pipelines.schema.sqlalchemy_tables import predictions, schools, students
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.bulk import read_rows
from edupulse_pipelines.storage.ids import Ids, id_bytes
from edupulse_pipelines.storage.numbers import Disputes, disputes
from edupulse_pipelines.storage.work import Work

_NAMES_PER_QUERY = 5_000


class Students:
    """The students of a tenant as they were when asked for; a place is a position among them."""

    def __init__(self, numbers: pa.Array, ids: pa.Array, disputes: Disputes | None = None) -> None:
        self._numbers = numbers
        self._ids = ids
        self.disputes = disputes or {}
        """By number the deliveries in which nobody can say whose it is."""

    @classmethod
    def of(cls, connection: Connection, work: Work) -> Students:
        """The students that are stored now."""
        query = sa.select(students.c.district_id, students.c.id).where(students.c.tenant_id == work.tenant)
        stored = read_rows(connection, query, {"number": pa.string(), "id": pa.string()})
        return cls(stored["number"].combine_chunks(), stored["id"].combine_chunks(), disputes(connection, work))

    @classmethod
    def none(cls) -> Students:
        """No student, for tables whose rows name none."""
        return cls(pa.array([], pa.string()), pa.array([], pa.string()))

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def numbers(self) -> frozenset[str]:
        """The students' numbers."""
        return frozenset(self._numbers.to_pylist())

    @cached_property
    def ids(self) -> Ids:
        """The students' ids, by place."""
        return id_bytes(self._ids)

    @cached_property
    def rank(self) -> Integers:
        """By place: the student's position in the order of ids."""
        order = np.lexsort(np.ascontiguousarray(self.ids).view(">u8").T[::-1])
        ranks = np.empty(len(order), dtype=np.int64)
        ranks[order] = np.arange(len(order))
        return ranks

    def texts(self, places: Integers) -> pa.Array:
        """The ids of these students, as the database writes them."""
        return self._ids.take(pa.array(places))

    def places(self, numbers: pa.Array) -> Integers:
        """The place of each of these numbers' students, -1 where there is none."""
        places: Integers = pc.index_in(numbers, value_set=self._numbers).fill_null(-1).to_numpy().astype(np.int64)
        return places

    def places_of_ids(self, ids: pa.Array) -> Integers:
        """The place of each of these ids (as the database writes them), -1 where there is none."""
        places: Integers = pc.index_in(ids, value_set=self._ids).fill_null(-1).to_numpy().astype(np.int64)
        return places

    def resolve(self, piece: Piece, reasons: Reasons) -> pa.Array:
        """For each row of the piece the id of the student it is about; null where there is none.

        Adds the reason to rows whose student is not there. A row that takes back a record by its `source_record_id`
        needs no student.
        """
        numbers = piece.column(STUDENT_NUMBER)
        ids = numbers.take(self._ids.take(pc.index_in(numbers.texts, value_set=self._numbers)))
        missing = ids.is_null().to_numpy(zero_copy_only=False) & (numbers.codes >= 0) & piece.readable
        if STUDENT_NUMBER not in DELIVERED[piece.table].key_columns and piece.deleted.any():
            missing &= ~(piece.deleted & piece.names_its_record())
        for row in np.flatnonzero(missing).tolist():
            reasons.setdefault(row, []).append(UNKNOWN_STUDENT)
        for number in self.disputes.keys() & set(numbers.texts.to_pylist()) if self.disputes else ():
            if self.is_disputed(number, dt.date.fromisoformat(piece.delivered_on)):
                code = numbers.texts.to_pylist().index(number)
                for row in np.flatnonzero((numbers.codes == code) & piece.readable).tolist():
                    reasons.setdefault(row, []).append(DISPUTED_NUMBER)
        return ids

    def is_disputed(self, number: str | None, delivered_on: dt.date) -> bool:
        """Whether nobody can say whose number it was in this delivery."""
        return any(delivered_on in span for span in self.disputes.get(number or "", ()))


class Schools:
    """The schools of a tenant as they were when asked for, for rows of one delivery.

    Where no delivery up to this one has named a school, schools are not checked. So a row that is loaded before the
    district's first schools are stays, should an older delivery with schools come late.
    """

    def __init__(self, known: pa.Array, *, sent: bool) -> None:
        self._known = known
        self._sent = sent

    @classmethod
    def of(cls, connection: Connection, work: Work, delivered_on: dt.date) -> Schools:
        """The schools that are stored now, for a delivery of this date."""
        query = sa.select(schools.c.school_id, schools.c.first_delivered_on).where(schools.c.tenant_id == work.tenant)
        named = connection.execute(query).all()
        return cls(pa.array([row[0] for row in named], pa.string()), sent=any(row[1] <= delivered_on for row in named))

    def resolve(self, piece: Piece, reasons: Reasons) -> None:
        """Add the reason to rows that name a school nobody has sent yet, but for those that take a record back."""
        if not self._sent:
            return
        named = piece.column("school_id")
        known = pc.is_in(named.texts, self._known).to_numpy(zero_copy_only=False)
        missing = named.where_value(~known) & piece.readable & ~piece.deleted
        for row in np.flatnonzero(missing).tolist():
            reasons.setdefault(row, []).append(UNKNOWN_SCHOOL)


def predictions_of(
    connection: Connection, work: Work, tenant: TenantSettings, piece: Piece, reasons: Reasons
) -> pa.Array:
    """For each row of a piece of feedback the id of the prediction it is about; null where there is none.

    By `prediction_id`; else by student and local day (or as-of Sunday) of the prediction, and model version. Of
    several, the latest by as-of date, moment and id. Adds the reason to rows whose prediction is not there.
    """
    columns = {
        name: piece.column(name).take(piece.column(name).texts).to_pylist()
        for name in ("prediction_id", STUDENT_NUMBER, "prediction_date", "model_version")
    }
    named = [found for text in piece.column("prediction_id").texts.to_pylist() if (found := guid(text)) is not None]
    by_id: dict[uuid.UUID, uuid.UUID] = {}
    by_day: dict[tuple[str, str, str | None], uuid.UUID] = {}
    zone = ZoneInfo(tenant.timezone)
    for stored in _named_predictions(connection, work, named, piece.column(STUDENT_NUMBER).texts.to_pylist()):
        by_id[stored.id] = stored.id
        for when in (stored.prediction_date.astimezone(zone).date(), stored.feature_date):
            for of_version in (stored.model_version, None):
                by_day[stored.district_id, when.isoformat(), of_version] = stored.id
    ids: list[str | None] = []
    readable = piece.readable
    for row, (text, number, day, version) in enumerate(zip(*columns.values(), strict=True)):
        prediction: uuid.UUID | None = None
        code = UNKNOWN_PREDICTION
        if text is not None:
            found = guid(text)
            prediction = None if found is None else by_id.get(found)
        elif number is not None and day is not None:
            prediction = by_day.get((number, day, version))
        else:
            code = MISSING_PREDICTION
        if prediction is None and readable[row]:
            reasons.setdefault(row, []).append(code)
        ids.append(None if prediction is None else str(prediction) if work.dialect == "postgresql" else prediction.hex)
    return pa.array(ids, pa.string())


def _named_predictions(connection: Connection, work: Work, named: list[uuid.UUID], numbers: list[str]) -> list[sa.Row]:
    """The predictions with one of these ids, and those of the students with one of these numbers; latest last."""
    query = (
        sa.select(
            predictions.c.id,
            predictions.c.prediction_date,
            predictions.c.feature_date,
            predictions.c.model_version,
            students.c.district_id,
        )
        .join(students, students.c.id == predictions.c.student_id)
        .where(predictions.c.tenant_id == work.tenant)
    )
    rows: dict[uuid.UUID, sa.Row] = {}
    for column, values in ((predictions.c.id, named), (students.c.district_id, numbers)):
        for start in range(0, len(values), _NAMES_PER_QUERY):  # SQLite allows so many parameters and no more
            for row in connection.execute(query.where(column.in_(values[start : start + _NAMES_PER_QUERY]))):
                rows[row.id] = row
    return sorted(rows.values(), key=lambda row: (row.feature_date, row.prediction_date, row.id))


def guid(text: str) -> uuid.UUID | None:
    """The id that a text is; None when it is none."""
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
