"""Attendance whose records depend on enrolments: brought up to date when these have changed since it was written.

Which sessions have one record and which have several is decided in `writers.session_statements`.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa

from edupulse_pipelines.ingest.table_load import TableLoad
from edupulse_pipelines.ingest.writers.attendance_rows import FIELD_TYPES, TABLE, Rows
from edupulse_pipelines.ingest.writers.attendance_sessions import SessionWriter, changed_sessions
from edupulse_pipelines.ingest.writers.field_dates import EPOCH
from edupulse_pipelines.storage.months import detached_months, month_of
from edupulse_pipelines.storage.turns import hold_months
from edupulse_pipelines.weeks import week_start


def follow_enrolments(load: TableLoad) -> None:
    """Where a student turns out to have been at several schools on a day, or at one only: make the records anew.

    Nothing to do for other tables than attendance. Sessions of months that are taken out of the table stay as they are.
    """
    if load.table != TABLE:
        return
    with load.work.reading() as connection:
        if not changed_sessions(connection, load.work):
            return
    with load.writing() as connection:
        hold_months(connection)
        away = detached_months(connection, TABLE)
        sessions = [one for one in changed_sessions(connection, load.work) if month_of(one[1]) not in away]
        if not sessions:
            return
        ids, days, periods = zip(*sessions, strict=True)
        students = load.students(connection)
        SessionWriter(connection, load.work, students).make_anew(
            _as_rows(students.places_of_ids(pa.array(ids, pa.string())), days, periods)
        )
        marks = load.marks(connection)
        for student, day, _ in sessions:
            marks.add("weekly_activity", week_start(day), [student])
        load.leave(connection, marks)


def _as_rows(students: np.ndarray, days: tuple[dt.date, ...], periods: tuple[int, ...]) -> Rows:
    """Rows that name these sessions and say nothing of them."""
    count = len(days)
    return Rows(
        place=np.arange(count),
        student=students,
        date=np.array([(day - EPOCH).days for day in days], dtype=np.int64),
        period=np.array(periods, dtype=np.int64),
        school=pa.nulls(count, pa.string()),
        deleted=np.zeros(count, dtype=np.bool_),
        fields={name: pa.nulls(count, type_) for name, type_ in FIELD_TYPES.items()},
        carried={},
    )
