"""What a delivery makes stale: collected while it is written, left as marks in its transaction.

A mark says that a stage has to look again at a student's week (other than for `weekly_activity`: that week and every
later one). A changed enrolment concerns two stages: vectors, and the days of weekly activity that are made already.
Where a delivery touches most students of a week, one mark for everybody says it. How marks are stored, and how the
features take them, is in `storage.pending`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.engine import Connection

from edupulse_pipelines.ingest.references import Students
from edupulse_pipelines.schema.tables import Stage
from edupulse_pipelines.storage.pending import leave_marks
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import week_start

_EVERYBODY = 0.5
"""Share of the students from which on a week is marked for everybody: most would be looked at anyway."""
_FEW = 200
"""Up to here single marks are as cheap."""
_OF_ENROLMENT: tuple[Stage, ...] = ("enrolled_days", "student_features")
"""Stages that a changed enrolment concerns; their marks are for a week and every later one."""


class Marks:
    """The marks of one delivery."""

    def __init__(self, work: Work, students: Students) -> None:
        self._work = work
        self._known_students = students
        self._students = len(students)
        self._known: dict[tuple[Stage, dt.date], npt.NDArray[np.bool_]] = {}
        self._touched: dict[tuple[Stage, dt.date], set[str]] = {}
        self._everybody: set[tuple[Stage, dt.date]] = set()
        self._most: set[tuple[Stage, dt.date]] = set()

    def add(self, stage: Stage, week: dt.date, student_ids: Iterable[str]) -> None:
        """These students (ids as the database writes them) are stale in `week` (a Monday)."""
        if (stage, week) in self._most:
            return
        touched = self._touched.setdefault((stage, week), set())
        touched.update(student_ids)
        if len(touched) > max(_FEW, _EVERYBODY * self._students):
            self._most.add((stage, week))
            self._touched.pop((stage, week))

    def add_dated(self, stage: Stage, dates: pa.Array, student_ids: pa.Array) -> None:
        """Each of these students is stale in the week of the date beside it."""
        days = dates.cast(pa.int32()).to_numpy(zero_copy_only=False)
        weeks = (days + 3) // 7  # 1970-01-01 was a Thursday
        for week in np.unique(weeks).tolist():
            monday = dt.date(1970, 1, 1) + dt.timedelta(days=week * 7 - 3)
            self.add(stage, monday, student_ids.filter(pa.array(weeks == week)).unique().to_pylist())

    def add_enrolment(self, day: dt.date, student_ids: Iterable[str]) -> None:
        """These students are enrolled otherwise from this day on."""
        ids = list(student_ids)
        for stage in _OF_ENROLMENT:
            self.add(stage, week_start(day), ids)

    def add_enrolments(self, days: pa.Array, student_ids: pa.Array) -> None:
        """Each of these students is enrolled otherwise from the day beside it on."""
        for stage in _OF_ENROLMENT:
            self.add_dated(stage, days, student_ids)

    def add_known(self, stage: Stage, week: dt.date, students: npt.NDArray[np.int64]) -> None:
        """These students (positions among the students known) are stale in `week`."""
        touched = self._known.setdefault((stage, week), np.zeros(len(self._known_students), dtype=np.bool_))
        touched[students] = True

    def add_everybody(self, stage: Stage, week: dt.date) -> None:
        """Every student is stale in `week`."""
        self._everybody.add((stage, week))

    def earliest(self, stage: Stage, student_ids: pa.Array) -> npt.NDArray[np.int64]:
        """For each of these students the first week in which it is stale, as a number; a huge one where there is none.

        Weeks are numbered so that week 0 holds 1 January 1970: `(days since then + 3) // 7`.
        """
        first = np.full(len(student_ids), np.iinfo(np.int64).max)
        places = self._known_students.places_of_ids(student_ids)
        for (of_stage, week), known in self._known.items():
            if of_stage == stage:
                here = np.append(known, False)[places]
                first[here] = np.minimum(first[here], _week_number(week))
        for (of_stage, week), touched in self._touched.items():
            if of_stage == stage:
                here = pc.is_in(student_ids, pa.array(sorted(touched), pa.string())).to_numpy(zero_copy_only=False)
                first[here] = np.minimum(first[here], _week_number(week))
        everybody = [week for of_stage, week in self._everybody | self._most if of_stage == stage]
        if everybody:
            first = np.minimum(first, _week_number(min(everybody)))
        return first

    def students_arrived(self, count: int) -> None:
        """The district has so many students more."""
        self._students += count

    def write(self, connection: Connection) -> None:
        """Leave the marks in the database."""
        for (stage, week), touched in self._known.items():
            places = np.flatnonzero(touched)
            if len(places) > max(_FEW, _EVERYBODY * self._students):
                self._most.add((stage, week))
            else:
                self.add(stage, week, self._known_students.texts(places).to_pylist())
        first: dict[Stage, dt.date] = {}
        """By stage of which a mark is for every later week, too: the first week that is marked for everybody."""
        for stage in _OF_ENROLMENT:
            touched_by_week = {week: students for (of, week), students in self._touched.items() if of == stage}
            if sum(map(len, touched_by_week.values())) > max(_FEW, _EVERYBODY * self._students):
                self._everybody.add((stage, min(touched_by_week)))
            weeks = [week for of, week in self._everybody | self._most if of == stage]
            if weeks:
                first[stage] = min(weeks)
        marks: list[tuple[Stage, str | None, dt.date]] = [
            (stage, None, week)
            for stage, week in sorted(self._everybody | self._most)
            if stage == "weekly_activity" or week == first[stage]
        ]
        for (stage, week), students in sorted(self._touched.items()):
            if stage in first and week >= first[stage] and len(students) > _FEW:
                continue
            marks.extend((stage, student, week) for student in sorted(students))
        leave_marks(connection, self._work, marks)


def _week_number(monday: dt.date) -> int:
    return ((monday - dt.date(1970, 1, 1)).days + 3) // 7
