"""What happened: adverse events within the horizon after an as-of week. Counted from weekly activity, set by set.

The horizon of as-of week w is the calendar weeks w+1 to w+H, that is the days after the week's Sunday up to Sunday +
7 H. An event needs to be recorded: without a session there is no low attendance, without a grade no failed course.
Weeks whose sessions are unknown (only absences are sent, and no calendar says what they are a share of) have none.
Deleted students have no labels.
Who is in the cohort is the business of `cohorts`; whether a horizon has passed, of `splits`.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from edupulse_pipelines.features.known_activity import known_sessions, on_record
from edupulse_pipelines.features.vectors import attendance_rate
from edupulse_pipelines.schema.sqlalchemy_tables import students, weekly_activity, weekly_course_grades
from edupulse_pipelines.settings import LabelSettings, TenantSettings
from edupulse_pipelines.weeks import WEEK, feature_date

EVENTS = ("attendance", "course", "incident", "exit")
_ROWS_PER_FETCH = 50_000
# Weekly means come as doubles; a course mean of exactly the threshold must not fail by a rounding error.
_GRADE_DIGITS = 6

Grid = NDArray[np.bool_]


@dataclass(frozen=True)
class Labels:
    """Adverse events per student and as-of week: each event a boolean array of shape (students, weeks)."""

    district_ids: NDArray[np.object_]
    """All students of the tenant who were not deleted, sorted as text."""
    weeks: tuple[dt.date, ...]
    """The as-of weeks (Mondays), ascending."""
    events: dict[str, Grid]
    """By name of EVENTS; an event that is switched off is absent."""

    @property
    def adverse(self) -> Grid:
        """Whether any event happened."""
        total = np.zeros((len(self.district_ids), len(self.weeks)), dtype=bool)
        for grid in self.events.values():
            total |= grid
        return total


def labels(connection: sa.Connection, tenant: TenantSettings, as_of_weeks: Sequence[dt.date]) -> Labels:
    """The adverse events after each as-of week (Mondays), for every student of the tenant.

    Memory: a few bytes per student and week of the whole span, and per student, course and week of the span.
    """
    weeks = tuple(sorted(set(as_of_weeks)))
    rows = connection.execute(
        sa.select(students.c.id, students.c.district_id, students.c.exit_date, students.c.exit_type).where(
            students.c.tenant_id == tenant.name, students.c.deleted_on.is_(None)
        )
    ).all()
    rows = sorted(rows, key=lambda row: row.district_id)
    district_ids = np.array([row.district_id for row in rows], dtype=object)
    if not weeks or not rows:
        return Labels(district_ids, weeks, {})
    position = {row.id: i for i, row in enumerate(rows)}
    horizon = _Horizon(weeks, tenant.label.horizon_weeks)
    events = _activity_events(connection, tenant, position, horizon)
    if tenant.label.failing_below is not None:
        events["course"] = _failed_courses(connection, tenant.name, position, horizon, tenant.label.failing_below)
    if tenant.label.exit_types:
        events["exit"] = _exits([(row.exit_date, row.exit_type) for row in rows], tenant.label, horizon)
    return Labels(district_ids, weeks, events)


class _Horizon:
    """The grid of weeks that the horizons cover, and sums over each horizon."""

    def __init__(self, as_of: tuple[dt.date, ...], length: int) -> None:
        self.as_of = as_of
        self.length = length
        self.first = as_of[0] + WEEK
        self.last = as_of[-1] + length * WEEK
        self.size = (self.last - self.first).days // 7 + 1
        self._starts = np.array([(week + WEEK - self.first).days // 7 for week in as_of])
        self._column = {self.first + i * WEEK: i for i in range(self.size)}

    def column(self, week: dt.date) -> int:
        return self._column[week]

    def sums(self, grid: NDArray[np.float64] | NDArray[np.int32]) -> NDArray[np.float64] | NDArray[np.int32]:
        """Sum over each as-of week's horizon: (rows, grid weeks) to (rows, as-of weeks).

        Week by week, not by differences of running totals, which would leave rounding errors of the whole span.
        """
        total = np.zeros((grid.shape[0], len(self.as_of)), dtype=grid.dtype)
        for offset in range(self.length):
            total += grid[:, self._starts + offset]
        return total

    def highest(self, grid: NDArray[np.int32]) -> NDArray[np.int32]:
        """Highest value over each as-of week's horizon."""
        top = np.zeros((grid.shape[0], len(self.as_of)), dtype=grid.dtype)
        for offset in range(self.length):
            np.maximum(top, grid[:, self._starts + offset], out=top)
        return top


def _activity_events(
    connection: sa.Connection, tenant: TenantSettings, position: dict[uuid.UUID, int], horizon: _Horizon
) -> dict[str, Grid]:
    table, settings = weekly_activity.c, tenant.label
    shape = (len(position), horizon.size)
    measures = [
        *(known_sessions(status) for status in ("present", "tardy", "absent", "excused")),
        table.incident_count,
        sa.func.coalesce(table.severity_highest, 0),
    ]
    grids = [np.zeros(shape, dtype=np.int32) for _ in measures]
    statement = sa.select(table.student_id, table.week_start, *measures).where(
        table.tenant_id == tenant.name,
        table.week_start.between(horizon.first, horizon.last),
        on_record(table.student_id),
    )
    for chunk in _chunks(connection, statement):
        student, week, *counts = zip(*chunk, strict=True)
        at = ([position[one] for one in student], [horizon.column(one) for one in week])
        for grid, values in zip(grids, counts, strict=True):
            grid[at] = values
    *sessions, incidents, severity = grids
    events: dict[str, Grid] = {}
    if settings.attendance_below is not None:
        # One rate over the whole horizon; NaN, and so not below anything, when no session was recorded.
        events["attendance"] = attendance_rate(*(horizon.sums(grid) for grid in sessions)) < settings.attendance_below
    if settings.serious_severity is not None or settings.incident_count is not None:
        incident = np.zeros((len(position), len(horizon.as_of)), dtype=bool)
        if settings.serious_severity is not None:
            incident |= horizon.highest(severity) >= settings.serious_severity
        if settings.incident_count is not None:
            incident |= horizon.sums(incidents) >= settings.incident_count
        events["incident"] = incident
    return events


def _failed_courses(
    connection: sa.Connection, tenant_id: str, position: dict[uuid.UUID, int], horizon: _Horizon, failing_below: float
) -> Grid:
    """Whether any course's mean grade over the horizon, each grade weighing the same, is below the threshold."""
    table = weekly_course_grades.c
    statement = sa.select(
        table.student_id, table.course_id, table.week_start, table.grade_count, table.grade_mean
    ).where(
        table.tenant_id == tenant_id,
        table.week_start.between(horizon.first, horizon.last),
        table.grade_count > 0,
        on_record(table.student_id),
    )
    pair_of: dict[tuple[int, str], int] = {}
    pairs, columns, counts, means = [], [], [], []
    for chunk in _chunks(connection, statement):
        student, course, week, count, mean = zip(*chunk, strict=True)
        keys = zip((position[one] for one in student), course, strict=True)
        pairs.append(np.array([pair_of.setdefault(key, len(pair_of)) for key in keys], dtype=np.int64))
        columns.append(np.array([horizon.column(one) for one in week], dtype=np.int64))
        counts.append(np.array(count, dtype=np.float64))
        means.append(np.array(mean, dtype=np.float64))
    failed = np.zeros((len(position), len(horizon.as_of)), dtype=bool)
    if not pairs:
        return failed
    pair, column, number, mean_ = (np.concatenate(parts) for parts in (pairs, columns, counts, means))
    student_of_pair = np.fromiter((student for student, _ in pair_of), dtype=np.int64, count=len(pair_of))
    # Number the pairs by student, so that a student's courses lie together.
    by_student = np.argsort(student_of_pair, kind="stable")
    student_of_pair = student_of_pair[by_student]
    pair = np.argsort(by_student)[pair]
    order = np.argsort(pair, kind="stable")
    pair, column, number, mean_ = pair[order], column[order], number[order], mean_[order]
    for start in range(0, len(pair_of), _ROWS_PER_FETCH):
        stop = min(start + _ROWS_PER_FETCH, len(pair_of))
        some = slice(*np.searchsorted(pair, [start, stop]))
        grades, points = (np.zeros((stop - start, horizon.size)) for _ in range(2))
        at = (pair[some] - start, column[some])
        grades[at] = number[some]
        points[at] = number[some] * mean_[some]
        graded, total = horizon.sums(grades), horizon.sums(points)
        below = (graded > 0) & (np.round(total / np.maximum(graded, 1), _GRADE_DIGITS) < failing_below)
        whose, first = np.unique(student_of_pair[start:stop], return_index=True)
        failed[whose] |= np.logical_or.reduceat(below, first, axis=0)
    return failed


def _exits(exits: Sequence[tuple[dt.date | None, str | None]], settings: LabelSettings, horizon: _Horizon) -> Grid:
    """Whether the student left within the horizon in one of the ways that count."""
    never = np.datetime64("NaT", "D")
    left = np.array(
        [np.datetime64(day, "D") if day and kind in settings.exit_types else never for day, kind in exits],
        dtype="datetime64[D]",
    )[:, None]
    as_of = np.array([feature_date(week) for week in horizon.as_of], dtype="datetime64[D]")[None, :]
    return (left > as_of) & (left <= as_of + np.timedelta64(7 * horizon.length, "D"))


def _chunks(connection: sa.Connection, statement: sa.Select) -> Iterator[Sequence[sa.Row]]:
    """The rows of a statement, a bounded number at a time."""
    result = connection.execute(statement, execution_options={"stream_results": True})
    yield from result.partitions(_ROWS_PER_FETCH)
