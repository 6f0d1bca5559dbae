"""What a load makes stale: collected while a delivery is merged, written in its transaction.

A mark says that a stage has to look again at a student's week (for `student_features`: that week and every later one).
Where a delivery touches most students of a week, one mark for everybody says it. Taking marks is in `features`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sqlalchemy.engine import Connection

from edupulse_pipelines.ingest.references import References
from edupulse_pipelines.storage.bulk import copy_rows
from edupulse_pipelines.storage.ids import id_texts, new_id_bytes
from edupulse_pipelines.storage.work import Work

_EVERYBODY = 0.5
"""Share of the students from which on a week is marked for everybody: most would be looked at anyway."""
_FEW = 200
"""Up to here single marks are as cheap."""


class Marks:
    """The marks of one delivery."""

    def __init__(self, work: Work, references: References) -> None:
        self._tenant = work.tenant
        self._references = references
        self._students = len(references)
        self._known: dict[tuple[str, dt.date], npt.NDArray[np.bool_]] = {}
        self._touched: dict[tuple[str, dt.date], set[str]] = {}
        self._everybody: set[tuple[str, dt.date]] = set()
        self._most: set[tuple[str, dt.date]] = set()

    def add(self, stage: str, week: dt.date, student_ids: Iterable[str]) -> None:
        """These students (ids as the database writes them) are stale in `week` (a Monday)."""
        if (stage, week) in self._most:
            return
        touched = self._touched.setdefault((stage, week), set())
        touched.update(student_ids)
        if len(touched) > max(_FEW, _EVERYBODY * self._students):
            self._most.add((stage, week))
            self._touched.pop((stage, week))

    def add_known(self, stage: str, week: dt.date, students: npt.NDArray[np.int64]) -> None:
        """These students (positions among the students known) are stale in `week`."""
        touched = self._known.setdefault((stage, week), np.zeros(len(self._references), dtype=np.bool_))
        touched[students] = True

    def add_everybody(self, stage: str, week: dt.date) -> None:
        """Every student is stale in `week`."""
        self._everybody.add((stage, week))

    def students_arrived(self, count: int) -> None:
        """The district has so many students more."""
        self._students += count

    def write(self, connection: Connection) -> None:
        """Leave the marks in `pending_updates`."""
        for (stage, week), touched in self._known.items():
            places = np.flatnonzero(touched)
            if len(places) > max(_FEW, _EVERYBODY * self._students):
                self._most.add((stage, week))
            else:
                self.add(stage, week, self._references.texts(places).to_pylist())
        vectors = {week: students for (stage, week), students in self._touched.items() if stage == "student_features"}
        if sum(map(len, vectors.values())) > max(_FEW, _EVERYBODY * self._students):
            self._everybody.add(("student_features", min(vectors)))
        everybody = self._everybody | self._most
        first = min((week for stage, week in everybody if stage == "student_features"), default=None)
        rows: list[tuple[str, str | None, dt.date]] = [
            (stage, None, week) for stage, week in sorted(everybody) if stage != "student_features" or week == first
        ]
        for (stage, week), students in sorted(self._touched.items()):
            if stage == "student_features" and first is not None and week >= first and len(students) > _FEW:
                continue  # that mark is for every later week, too
            rows.extend((stage, student, week) for student in sorted(students))
        if not rows:
            return
        stages, students_, weeks = zip(*rows, strict=True)
        copy_rows(
            connection,
            "pending_updates",
            pa.table(
                {
                    "id": id_texts(new_id_bytes(len(rows)), connection.dialect.name),
                    "tenant_id": pa.array(np.full(len(rows), self._tenant, dtype=object), pa.string()),
                    "stage": pa.array(stages, pa.string()),
                    "student_id": pa.array(students_, pa.string()),
                    "week_start": pa.array(weeks, pa.date32()),
                }
            ),
        )
