"""Weekly activity: one row per student and week, rolled up from attendance, grades and incidents.

`update_weekly_activity` recomputes exactly the marked student-weeks from the record tables, and marks the feature
vectors that depend on them. Not here: how records are loaded, how vectors are made.
"""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from edupulse_pipelines.database import writing
from edupulse_pipelines.features.definitions import DOMAINS
from edupulse_pipelines.features.pending import Mark, put_marks, take_marks
from edupulse_pipelines.features.reading import (
    DAY,
    ID,
    IDS_PER_QUERY,
    NUMBER,
    OBJECT,
    Bytes,
    Integers,
    as_text,
    concatenated,
    id_batches,
    ordinals,
    plain,
    positions,
    read_arrays,
    uuids,
    write_rows,
)
from edupulse_pipelines.features.school_calendar import SchoolCalendar, school_calendar
from edupulse_pipelines.features.vectors import ACTIVITY_MEASURES
from edupulse_pipelines.schema.sqlalchemy_tables import (
    attendance_records,
    discipline_incidents,
    grades,
    students,
    weekly_activity,
    weekly_course_grades,
)

Floats = npt.NDArray[np.float64]

_CourseGrades = dict[tuple[int, str], tuple[int, float, float]]
"""Grades by cell and course: count, mean, lowest."""

_STATUSES = ("absent", "excused", "present", "tardy")  # sorted
_STATUS_TEXT = "S8"
_CELLS_PER_BATCH = 20_000
"""Student-weeks worked on at a time: with six periods a day some 600,000 records in memory."""
_NULLABLE = frozenset({"grade_mean", "grade_lowest", "severity_highest"})
_FRACTIONAL = frozenset({"grade_mean", "grade_lowest"})


@dataclass(frozen=True)
class ActivityReport:
    """What one update did, in student-weeks; recomputed = inserted + updated + unchanged + deleted + empty."""

    recomputed: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    empty: int = 0
    """Marked, but without records before and now."""


def update_weekly_activity(engine: Engine, tenant_id: str, first_week: dt.date | None = None) -> ActivityReport:
    """Recompute the marked student-weeks of `weekly_activity` and `weekly_course_grades`, in one transaction.

    Takes the 'weekly_activity' marks and leaves 'student_features' marks: each student's earliest recomputed week and,
    when a school week appeared or vanished or a domain is now known since another week, that week for every student.
    """
    with writing(engine) as connection:
        taken = take_marks(connection, tenant_id, "weekly_activity")
        if not taken:
            return ActivityReport()
        before = school_calendar(connection, tenant_id, first_week)
        marks = _named(connection, tenant_id, taken)
        counts = np.zeros(5, dtype=np.int64)
        for batch in _batches(marks):
            counts += _recompute(connection, tenant_id, batch)
        earliest: dict[bytes, dt.date] = {}
        for student, week in marks:
            earliest[student] = min(week, earliest.get(student, week))
        put_marks(connection, tenant_id, "student_features", earliest.items())
        moved = _first_difference(before, school_calendar(connection, tenant_id, first_week))
        if moved is not None:
            put_marks(connection, tenant_id, "student_features", [(None, moved)])
    return ActivityReport(len(marks), *counts.tolist())


@dataclass(frozen=True)
class _Batch:
    """Marked student-weeks of some students as cells of a grid [students x weeks], row by row."""

    ids: Bytes
    keys: list[uuid.UUID]
    first: dt.date
    weeks: int
    marked: npt.NDArray[np.bool_]

    @property
    def last_day(self) -> dt.date:
        return self.first + dt.timedelta(days=7 * self.weeks - 1)

    def week(self, cell: int) -> dt.date:
        return self.first + dt.timedelta(days=7 * (cell % self.weeks))


def _named(connection: sa.Connection, tenant_id: str, marks: set[Mark]) -> list[tuple[bytes, dt.date]]:
    """The marks in order, with "every student" spelled out."""
    everyone = {week for student, week in marks if student is None}
    named = {(student, week) for student, week in marks if student is not None}
    if everyone:
        query = sa.select(as_text(students.c.id)).where(students.c.tenant_id == tenant_id)
        (ids,) = read_arrays(connection, query, ID)
        named.update((student, week) for student in ids.tolist() for week in everyone)
    return sorted(named)


def _batches(marks: list[tuple[bytes, dt.date]]) -> Iterator[_Batch]:
    """The marks, in batches of students whose marked weeks lie close together, so that little else is read.

    A student's marks are cut into runs of neighbouring weeks; a batch holds runs that begin within a month.
    """
    origin = min(week for _, week in marks)
    ids, student = np.unique(np.array([name for name, _ in marks], dtype=ID), return_inverse=True)
    week = np.array([(monday - origin).days // 7 for _, monday in marks], dtype=np.int64)  # sorted: marks are
    run = np.cumsum(np.r_[True, (np.diff(student) != 0) | (np.diff(week) > 2)]) - 1
    starts = np.flatnonzero(np.r_[True, np.diff(run) != 0])
    ends = np.r_[starts[1:], len(run)] - 1
    order = np.lexsort((student[starts], week[ends], week[starts]))

    members: list[int] = []
    first = last = 0
    for position in order:
        run_first, run_last = int(week[starts[position]]), int(week[ends[position]])
        full = members and (
            run_first - first > 4
            or len(members) >= IDS_PER_QUERY
            or (len(members) + 1) * (max(last, run_last) - first + 1) > _CELLS_PER_BATCH
        )
        if full:
            yield _batch(members, starts, ends, student, week, ids, origin)
            members = []
        if not members:
            first, last = run_first, run_last
        members.append(int(position))
        last = max(last, run_last)
    yield _batch(members, starts, ends, student, week, ids, origin)


def _batch(
    members: list[int],
    starts: Integers,
    ends: Integers,
    student: Integers,
    week: Integers,
    ids: Bytes,
    origin: dt.date,
) -> _Batch:
    rows = np.concatenate([np.arange(starts[run], ends[run] + 1) for run in members])
    here, local = np.unique(student[rows], return_inverse=True)
    first, last = int(week[rows].min()), int(week[rows].max())
    weeks = last - first + 1
    marked = np.zeros(len(here) * weeks, dtype=np.bool_)
    marked[local * weeks + week[rows] - first] = True
    return _Batch(ids[here], uuids(ids[here]), origin + dt.timedelta(days=7 * first), weeks, marked)


def _recompute(connection: sa.Connection, tenant_id: str, batch: _Batch) -> Integers:
    """Bring the batch's rows of both tables up to date; inserted, updated, unchanged, deleted, empty."""
    measures, exists, courses = _rolled_up(connection, tenant_id, batch)
    stored, stored_exists = _stored(connection, tenant_id, batch)
    same = stored_exists & exists
    same &= ((measures == stored) | (np.isnan(measures) & np.isnan(stored))).all(axis=0)

    gone = np.flatnonzero(stored_exists & ~same)
    new = np.flatnonzero(exists & ~same)
    new = new[np.argsort(new % batch.weeks, kind="stable")]  # week by week, as they will be read
    table = weekly_activity
    write_rows(
        connection,
        sa.delete(table).where(
            table.c.student_id == sa.bindparam("of_student"), table.c.week_start == sa.bindparam("of_week")
        ),
        [{"of_student": batch.keys[cell // batch.weeks], "of_week": batch.week(cell)} for cell in gone.tolist()],
    )
    write_rows(connection, sa.insert(table), _activity_rows(tenant_id, batch, measures, new))
    _write_courses(connection, tenant_id, batch, courses)

    updated = int((stored_exists & exists & ~same).sum())
    inserted = len(new) - updated
    return np.array(
        [
            inserted,
            updated,
            same.sum(),
            len(gone) - updated,
            (batch.marked & ~exists & ~stored_exists).sum(),
        ],
        dtype=np.int64,
    )


def _activity_rows(tenant_id: str, batch: _Batch, measures: Floats, cells: Integers) -> list[dict[str, Any]]:
    columns = [
        _values(measures[number, cells], nullable=name in _NULLABLE, fractional=name in _FRACTIONAL)
        for number, name in enumerate(ACTIVITY_MEASURES)
    ]
    names = ("tenant_id", "student_id", "week_start", *ACTIVITY_MEASURES)
    return [
        dict(zip(names, (tenant_id, batch.keys[cell // batch.weeks], batch.week(cell), *values), strict=True))
        for cell, *values in zip(cells.tolist(), *columns, strict=True)
    ]


def _values(column: Floats, *, nullable: bool, fractional: bool) -> list[Any]:
    if not nullable:
        return column.astype(np.int64).tolist()
    values = column.tolist()
    return [None if math.isnan(value) else value if fractional else int(value) for value in values]


def _rolled_up(
    connection: sa.Connection, tenant_id: str, batch: _Batch
) -> tuple[Floats, npt.NDArray[np.bool_], _CourseGrades]:
    """The measures of each cell [measures x cells], which cells have records, and the grades by course."""
    cells = len(batch.marked)
    measure = {name: np.zeros(cells) for name in ACTIVITY_MEASURES}
    for name in _NULLABLE:
        measure[name][:] = np.nan
    exists = np.zeros(cells, dtype=np.bool_)

    cell, day, (status,) = _records(connection, tenant_id, batch, attendance_records, "date", status=_STATUS_TEXT)
    code = np.searchsorted(np.array(_STATUSES, dtype=_STATUS_TEXT), status)
    by_status = np.bincount(cell * len(_STATUSES) + code, minlength=cells * len(_STATUSES)).reshape(cells, -1)
    for number, name in enumerate(_STATUSES):
        measure[f"sessions_{name}"] = by_status[:, number].astype(np.float64)
    absent = status == b"absent"
    absent_days = np.unique(cell[absent] * 7 + day[absent] % 7)
    measure["unexcused_absences"] = np.bincount(absent_days // 7, minlength=cells).astype(np.float64)
    exists[cell] = True

    cell, _, (score, course) = _records(
        connection, tenant_id, batch, grades, "submission_date", grade_value=NUMBER, course_id=OBJECT
    )
    exists[cell] = True
    known = ~np.isnan(score)
    cell, score = cell[known], score[known]
    group, count, mean, lowest = _grade_groups(cell, score)
    measure["grade_count"][group] = count
    measure["grade_mean"][group] = mean
    measure["grade_lowest"][group] = lowest
    names, course_code = np.unique(course[known], return_inverse=True)
    group, count, mean, lowest = _grade_groups(cell * max(1, len(names)) + course_code, score)
    rows = zip(count.tolist(), mean.tolist(), lowest.tolist(), strict=True)
    courses: _CourseGrades = {
        (key // len(names), names[key % len(names)]): row for key, row in zip(group.tolist(), rows, strict=True)
    }

    cell, _, (severity,) = _records(
        connection, tenant_id, batch, discipline_incidents, "incident_date", severity_level=NUMBER
    )
    measure["incident_count"] = np.bincount(cell, minlength=cells).astype(np.float64)
    highest = np.zeros(cells)
    np.maximum.at(highest, cell, severity)
    measure["severity_highest"] = np.where(highest > 0, highest, np.nan)
    exists[cell] = True

    return np.stack([measure[name] for name in ACTIVITY_MEASURES]), exists, courses


def _grade_groups(key: Integers, score: Floats) -> tuple[Integers, Integers, Floats, Floats]:
    """Per distinct key: key, count, mean and lowest score. Added in order of size, so that no order of rows matters."""
    if not len(key):
        return key, key, score, score
    order = np.lexsort((score, key))
    key, score = key[order], score[order]
    starts = np.flatnonzero(np.r_[True, np.diff(key) != 0])
    count = np.diff(np.r_[starts, len(key)])
    # The mean of equal scores may round a hair past 100.
    mean = np.clip(np.add.reduceat(score, starts) / count, 0.0, 100.0)
    return key[starts], count, mean, score[starts]


def _records(
    connection: sa.Connection, tenant_id: str, batch: _Batch, table: sa.Table, date_column: str, **columns: str
) -> tuple[Integers, Integers, list[npt.NDArray[Any]]]:
    """The table's records in marked cells: cell, day since the batch's first Monday, and the columns by type."""
    date = table.c[date_column]
    wanted = sa.select(as_text(table.c.student_id), as_text(date), *(plain(table.c[name]) for name in columns)).where(
        table.c.tenant_id == tenant_id, date.between(batch.first, batch.last_day)
    )
    student, day_text, *values = concatenated(
        [
            read_arrays(connection, wanted.where(table.c.student_id.in_(ids)), ID, DAY, *columns.values())
            for ids in id_batches(batch.keys)
        ]
    )
    day = ordinals(day_text) - batch.first.toordinal()
    cell = positions(student, batch.ids) * batch.weeks + day // 7
    keep = batch.marked[cell]
    return cell[keep], day[keep], [column[keep] for column in values]


def _stored(connection: sa.Connection, tenant_id: str, batch: _Batch) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The stored measures of the marked cells [measures x cells], and which cells have a row."""
    measures = np.full((len(ACTIVITY_MEASURES), len(batch.marked)), np.nan)
    exists = np.zeros(len(batch.marked), dtype=np.bool_)
    cell, _, columns = _records(
        connection, tenant_id, batch, weekly_activity, "week_start", **dict.fromkeys(ACTIVITY_MEASURES, NUMBER)
    )
    exists[cell] = True
    for number, column in enumerate(columns):
        measures[number, cell] = column
    return measures, exists


def _write_courses(connection: sa.Connection, tenant_id: str, batch: _Batch, courses: _CourseGrades) -> None:
    cell, _, columns = _records(
        connection,
        tenant_id,
        batch,
        weekly_course_grades,
        "week_start",
        course_id=OBJECT,
        grade_count=NUMBER,
        grade_mean=NUMBER,
        grade_lowest=NUMBER,
    )
    stored = {
        (place, name): tuple(row)
        for place, name, *row in zip(cell.tolist(), *(column.tolist() for column in columns), strict=True)
    }
    gone = [key for key, row in stored.items() if courses.get(key) != row]
    new = [(key, row) for key, row in courses.items() if stored.get(key) != row]
    table = weekly_course_grades
    write_rows(
        connection,
        sa.delete(table).where(
            table.c.student_id == sa.bindparam("of_student"),
            table.c.week_start == sa.bindparam("of_week"),
            table.c.course_id == sa.bindparam("of_course"),
        ),
        [
            {"of_student": batch.keys[place // batch.weeks], "of_week": batch.week(place), "of_course": name}
            for place, name in gone
        ],
    )
    write_rows(
        connection,
        sa.insert(table),
        [
            {
                "tenant_id": tenant_id,
                "student_id": batch.keys[place // batch.weeks],
                "week_start": batch.week(place),
                "course_id": name,
                "grade_count": count,
                "grade_mean": mean,
                "grade_lowest": lowest,
            }
            for (place, name), (count, mean, lowest) in new
        ],
    )


def _first_difference(before: SchoolCalendar, after: SchoolCalendar) -> dt.date | None:
    """The earliest week from which the two calendars may give different vectors; None when they are alike."""
    moved = set(before.weeks) ^ set(after.weeks)
    for domain in DOMAINS:
        since = {before.domain_since[domain], after.domain_since[domain]}
        if len(since) > 1:
            moved.update(week for week in since if week is not None)
    return min(moved, default=None)
