"""What a delivered row refers to: the student by number, or the prediction that a verdict is about.

Answers with ids as the database writes them, or with a reason code. Reads `students` and `predictions` only.
"""

from __future__ import annotations

import uuid
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.ingest.frames import Integers, Piece
from edupulse_pipelines.ingest.validation import MISSING_PREDICTION, UNKNOWN_PREDICTION, UNKNOWN_STUDENT, Reasons
from edupulse_pipelines.schema.sqlalchemy_tables import predictions, students
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.bulk import read_rows
from edupulse_pipelines.storage.ids import Ids, id_bytes
from edupulse_pipelines.storage.work import Work

_NAMES_PER_QUERY = 5_000


class References:
    """The students of a tenant, read once, and look-ups among its predictions."""

    def __init__(self, connection: Connection, work: Work, tenant: TenantSettings, table: str) -> None:
        self._work = work
        self._zone = ZoneInfo(tenant.timezone)
        self._table = table
        known = (
            pa.table({"number": pa.array([], pa.string()), "id": pa.array([], pa.string())})
            if table == "training_feedback"
            else read_rows(
                connection,
                sa.select(students.c.district_id, students.c.id).where(students.c.tenant_id == work.tenant),
                {"number": pa.string(), "id": pa.string()},
            )
        )
        self._numbers = known["number"].combine_chunks()
        self._ids = known["id"].combine_chunks()

    def __len__(self) -> int:
        return len(self._numbers)

    @cached_property
    def ids(self) -> Ids:
        """The students' ids, in the order in which they are known here."""
        return id_bytes(self._ids)

    @cached_property
    def rank(self) -> Integers:
        """The place of each student in the order of ids."""
        order = np.lexsort(np.ascontiguousarray(self.ids).view(">u8").T[::-1])
        ranks = np.empty(len(order), dtype=np.int64)
        ranks[order] = np.arange(len(order))
        return ranks

    def texts(self, places: Integers) -> pa.Array:
        """The ids of these students, as the database writes them."""
        return self._ids.take(pa.array(places))

    def places(self, numbers: pa.Array) -> Integers:
        """The place of each of these numbers' students, -1 where there is none."""
        found: Integers = pc.index_in(numbers, value_set=self._numbers).fill_null(-1).to_numpy().astype(np.int64)
        return found

    def resolve(self, connection: Connection, piece: Piece, reasons: Reasons) -> pa.Array | None:
        """For each row of the piece the id of what it is about (null: nothing); None for students.

        Adds the reason to rows whose student or prediction is not there. A row that takes back a record by its
        `source_record_id` needs no student.
        """
        if self._table == "students":
            return None
        if self._table == "training_feedback":
            return self._predictions_of(connection, piece, reasons)
        numbers = piece.column("district_id")
        at = pc.index_in(numbers.texts, value_set=self._numbers)
        found = numbers.take(self._ids.take(at))
        missing = found.is_null().to_numpy(zero_copy_only=False) & (numbers.codes >= 0) & piece.readable
        if self._table != "attendance_records" and piece.deleted.any():
            missing &= ~(piece.deleted & piece.names_its_record())
        for row in np.flatnonzero(missing).tolist():
            reasons.setdefault(row, []).append(UNKNOWN_STUDENT)
        return found

    def _predictions_of(self, connection: Connection, piece: Piece, reasons: Reasons) -> pa.Array:
        """By `prediction_id`; else by student and local day (or as-of Sunday) of the prediction, and model version.

        Of several, the latest by as-of date, moment and id.
        """
        columns = {
            name: piece.column(name).take(piece.column(name).texts).to_pylist()
            for name in ("prediction_id", "district_id", "prediction_date", "model_version")
        }
        named = [guid for text in piece.column("prediction_id").texts.to_pylist() if (guid := _guid(text)) is not None]
        by_id: dict[uuid.UUID, uuid.UUID] = {}
        by_day: dict[tuple[str, str, str | None], uuid.UUID] = {}
        for each in self._read(connection, named, piece.column("district_id").texts.to_pylist()):
            by_id[each.id] = each.id
            for when in (each.prediction_date.astimezone(self._zone).date(), each.feature_date):
                for of_version in (each.model_version, None):
                    by_day[each.district_id, when.isoformat(), of_version] = each.id
        found: list[str | None] = []
        readable = piece.readable
        dialect = connection.dialect.name
        for row, (text, number, day, version) in enumerate(zip(*columns.values(), strict=True)):
            prediction: uuid.UUID | None = None
            code = UNKNOWN_PREDICTION
            if text is not None:
                guid = _guid(text)
                prediction = None if guid is None else by_id.get(guid)
            elif number is not None and day is not None:
                prediction = by_day.get((number, day, version))
            else:
                code = MISSING_PREDICTION
            if prediction is None and readable[row]:
                reasons.setdefault(row, []).append(code)
            found.append(None if prediction is None else str(prediction) if dialect == "postgresql" else prediction.hex)
        return pa.array(found, pa.string())

    def _read(self, connection: Connection, named: list[uuid.UUID], numbers: list[str]) -> list[sa.Row]:
        query = (
            sa.select(
                predictions.c.id,
                predictions.c.prediction_date,
                predictions.c.feature_date,
                predictions.c.model_version,
                students.c.district_id,
            )
            .join(students, students.c.id == predictions.c.student_id)
            .where(predictions.c.tenant_id == self._work.tenant)
        )
        found: dict[uuid.UUID, sa.Row] = {}
        for column, values in ((predictions.c.id, named), (students.c.district_id, numbers)):
            for start in range(0, len(values), _NAMES_PER_QUERY):  # SQLite allows so many parameters and no more
                for row in connection.execute(query.where(column.in_(values[start : start + _NAMES_PER_QUERY]))):
                    found[row.id] = row
        return sorted(found.values(), key=lambda row: (row.feature_date, row.prediction_date, row.id))


def _guid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
