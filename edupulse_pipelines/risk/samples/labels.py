"""What happened: adverse events within the horizon after an as-of week. Counted from weekly activity, set by set.

The horizon of as-of week w is the calendar weeks w+1 to w+H, that is the days after the week's Sunday up to Sunday +
7 H; where the horizon is the exit, all that comes later, and only how the student leaves counts. An event needs to be
recorded: without enough days there is no chronic absence, without a grade no failed course.
Weeks whose sessions are unknown (only absences are sent, and no calendar says what they are a share of) have none.
Deleted students have no labels.

Of attendance there is one event. `chronic_absence`: an authority's rule is met by the days of the horizon alone, as
what was before is known already; excused days of absence count, and days recorded in weeks after the student has left
do not. `attendance`: the rate of sessions attended is below
the tenant's own threshold. The unexcused rate, which is a feature, counts neither excused days nor excused sessions.
`labels` reads, `labels_of` decides: a pure function, so that a proof can ask what other records would have changed.
Who is in the cohort is the business of `cohorts`; whether a horizon has passed, of `splits`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from numpy.typing import NDArray

from edupulse_pipelines.features.enrolment import read_students
from edupulse_pipelines.features.known_activity import known_measure
from edupulse_pipelines.features.vectors import attendance_rate
from edupulse_pipelines.schema.sqlalchemy_tables import students, weekly_activity, weekly_course_grades
from edupulse_pipelines.settings import GRADE_DIGITS, LabelSettings, TenantSettings
from edupulse_pipelines.storage.bulk import (
    ID,
    NUMBER,
    OBJECT,
    Bytes,
    as_text,
    concatenated,
    plain,
    positions,
    read_arrays,
)
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK, feature_date, weeks_between

EVENTS = ("chronic_absence", "attendance", "course", "incident", "exit")
SESSIONS = ("sessions_present", "sessions_tardy", "sessions_absent", "sessions_excused")
DAYS = ("days_enrolled", "days_absent", "days_excused", "days_missed")
_INCIDENTS = ("incident_count", "severity_highest")
LABEL_ACTIVITY: tuple[str, ...] = (*SESSIONS, *DAYS, *_INCIDENTS)
"""Columns of weekly activity that labels may be made of: sessions for a rate, days for an authority's rule."""

_PAIRS_AT_ONCE = 50_000

Grid = NDArray[np.bool_]
Integers = NDArray[np.int64]


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


def labels(connection: sa.Connection, work: Work, tenant: TenantSettings, as_of_weeks: Sequence[dt.date]) -> Labels:
    """The adverse events after each as-of week (Mondays), for every student of the tenant.

    Memory: some 30 bytes per row of weekly activity and of weekly course grades within the span of the horizons, and a
    few bytes per student and week of it.
    """
    weeks = tuple(sorted(set(as_of_weeks)))
    ids, people = _people(connection, work)
    if not weeks or people.empty:
        return labels_of(_no_rows(LABEL_ACTIVITY), _no_rows(_COURSES), people, tenant.label, weeks)
    if tenant.label.weeks is None:  # only exits count
        return labels_of(_no_rows(LABEL_ACTIVITY), _no_rows(_COURSES), people, tenant.label, weeks)
    horizon = _Horizon(weeks, tenant.label.weeks)
    span = list(weeks_between(horizon.first, horizon.last))
    activity = _activity(connection, work, ids, span, _measures(tenant.label))
    courses = _no_rows(_COURSES)
    if tenant.label.failing_below is not None:
        courses = _courses(connection, work, ids, span)
    return labels_of(activity, courses, people, tenant.label, weeks)


def labels_of(
    activity: pd.DataFrame,
    courses: pd.DataFrame,
    people: pd.DataFrame,
    settings: LabelSettings,
    as_of_weeks: Sequence[dt.date],
) -> Labels:
    """The adverse events after each as-of week (Mondays) of these students. Pure: no database, no clock.

    people: student_id (any hashable), district_id, exit_date (missing = none), exit_type, a row for each interval of
    enrolment of each student.
    activity: student_id, week_start and those of `LABEL_ACTIVITY` that the settings need, at most one row per student
    and week; sessions and days are 0 or missing in weeks whose sessions are unknown.
    courses: student_id, course_id, week_start, grade_count, grade_mean, at most one row per student, course and week.
    Dates are `datetime.date` or datetimes. Rows of other students, and of weeks that are in no horizon, are ignored.
    """
    weeks = tuple(sorted(set(as_of_weeks)))
    people = people.iloc[np.argsort(people["district_id"].to_numpy(object), kind="stable")]
    everybody = people.drop_duplicates("student_id")
    district_ids = everybody["district_id"].to_numpy(object)
    if not weeks or people.empty:
        return Labels(district_ids, weeks, {})
    if settings.weeks is None:
        return Labels(district_ids, weeks, {"exit": _exits(people, settings, weeks)})
    horizon = _Horizon(weeks, settings.weeks)
    student = pd.Index(everybody["student_id"])
    events = _activity_events(activity, student, settings, horizon, _not_left(people, student, horizon))
    if settings.failing_below is not None:
        events["course"] = _failed_courses(courses, student, settings.failing_below, horizon)
    if settings.exit_types:
        events["exit"] = _exits(people, settings, weeks)
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

    def columns(self, mondays: pd.Series[Any]) -> Integers:
        """The grid's column of each Monday, -1 outside of it."""
        column = (_day_numbers(mondays) - self.first.toordinal()) // 7
        return np.where((column >= 0) & (column < self.size), column, -1)

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


def _measures(settings: LabelSettings) -> tuple[str, ...]:
    """The columns of weekly activity that the settings ask for."""
    attendance = () if settings.rule is None else SESSIONS if settings.absence_rule is None else DAYS
    return (*attendance, *_INCIDENTS)


def _activity_events(
    activity: pd.DataFrame, students_: pd.Index, settings: LabelSettings, horizon: _Horizon, not_left: Grid
) -> dict[str, Grid]:
    keep, student, column = _places(activity, students_, horizon)

    def grid(measure: str, kind: Any = np.int32) -> NDArray[Any]:
        cells = np.zeros((len(students_), horizon.size), dtype=kind)
        cells[student, column] = np.nan_to_num(activity[measure].to_numpy(np.float64, na_value=np.nan)[keep])
        return cells

    events: dict[str, Grid] = {}
    if (rule := settings.absence_rule) is not None:
        enrolled, absent, excused = (horizon.sums(grid(days) * not_left) for days in DAYS[:3])
        missed = horizon.sums(grid("days_missed", np.float64) * not_left)
        events["chronic_absence"] = rule.is_met(enrolled, absent + excused, missed)
    if settings.attendance_below is not None:
        present, tardy, absent, excused = (horizon.sums(grid(sessions)) for sessions in SESSIONS)
        # One rate over the whole horizon; NaN, and so not below anything, when no session was recorded.
        events["attendance"] = attendance_rate(present, tardy, absent, excused) < settings.attendance_below
    if settings.serious_severity is not None or settings.incident_count is not None:
        incident = np.zeros((len(students_), len(horizon.as_of)), dtype=bool)
        if settings.serious_severity is not None:
            incident |= horizon.highest(grid("severity_highest")) >= settings.serious_severity
        if settings.incident_count is not None:
            incident |= horizon.sums(grid("incident_count")) >= settings.incident_count
        events["incident"] = incident
    return events


def _not_left(people: pd.DataFrame, students_: pd.Index, horizon: _Horizon) -> Grid:
    """Whether each student has not left for good before each week of the grid; some systems go on marking absences."""
    left = _day_numbers(people["exit_date"]).astype(np.float64)
    left[left == _NO_DAY] = np.inf
    last = np.full(len(students_), -np.inf)
    np.maximum.at(last, students_.get_indexer(pd.Index(people["student_id"])), left)
    mondays = horizon.first.toordinal() + 7 * np.arange(horizon.size)
    return last[:, None] > mondays[None, :]


def _failed_courses(courses: pd.DataFrame, students_: pd.Index, failing_below: float, horizon: _Horizon) -> Grid:
    """Whether any course's mean grade over the horizon, each grade weighing the same, is below the threshold."""
    failed = np.zeros((len(students_), len(horizon.as_of)), dtype=bool)
    keep, student, column = _places(courses, students_, horizon)
    if not len(student):
        return failed
    course, distinct = pd.factorize(courses["course_id"].to_numpy()[keep])
    # Sorted by pair of student and course, so that a student's courses lie together.
    pair = student * len(distinct) + course
    order = np.argsort(pair, kind="stable")
    pair, column = pair[order], column[order]
    number = courses["grade_count"].to_numpy(np.float64)[keep][order]
    mean = courses["grade_mean"].to_numpy(np.float64)[keep][order]
    is_first = np.concatenate([[True], pair[1:] != pair[:-1]])
    student_of_pair = pair[is_first] // len(distinct)
    pair = np.cumsum(is_first) - 1
    for start in range(0, len(student_of_pair), _PAIRS_AT_ONCE):
        stop = min(start + _PAIRS_AT_ONCE, len(student_of_pair))
        some = slice(*np.searchsorted(pair, [start, stop]))
        grades, points = (np.zeros((stop - start, horizon.size)) for _ in range(2))
        at = (pair[some] - start, column[some])
        grades[at] = number[some]
        points[at] = number[some] * mean[some]
        graded, total = horizon.sums(grades), horizon.sums(points)
        below = (graded > 0) & (np.round(total / np.maximum(graded, 1), GRADE_DIGITS) < failing_below)
        whose, first = np.unique(student_of_pair[start:stop], return_index=True)
        failed[whose] |= np.logical_or.reduceat(below, first, axis=0)
    return failed


def _exits(people: pd.DataFrame, settings: LabelSettings, as_of_weeks: Sequence[dt.date]) -> Grid:
    """Whether each student left within the horizon (until exit: any time later) in one of the ways that count.

    `people` are ordered by student.
    """
    counts = people["exit_type"].isin(settings.exit_types).to_numpy()
    left = np.where(counts, _day_numbers(people["exit_date"]), _NO_DAY)[:, None]
    as_of = np.array([feature_date(week).toordinal() for week in as_of_weeks])[None, :]
    until = np.inf if settings.weeks is None else as_of + 7 * settings.weeks
    within = (left > as_of) & (left <= until)
    student = people["student_id"].to_numpy()
    first = np.flatnonzero(np.r_[True, student[1:] != student[:-1]])
    return np.logical_or.reduceat(within, first, axis=0)


def _places(rows: pd.DataFrame, students_: pd.Index, horizon: _Horizon) -> tuple[Grid, Integers, Integers]:
    """Which rows lie on the grid, and for those the position of the student and of the week."""
    student = students_.get_indexer(pd.Index(rows["student_id"]))
    column = horizon.columns(rows["week_start"])
    keep = (student >= 0) & (column >= 0)
    return keep, student[keep].astype(np.int64), column[keep]


_NO_DAY = -1


def _day_numbers(dates: pd.Series[Any]) -> Integers:
    """Ordinal day numbers of dates or datetimes; `_NO_DAY` where missing."""
    codes, distinct = pd.factorize(dates)  # -1 = missing
    return np.array([*(day.toordinal() for day in distinct), _NO_DAY], dtype=np.int64)[codes]


_COURSES = ("course_id", "grade_count", "grade_mean")


def _no_rows(columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame({name: np.empty(0) for name in ("student_id", "week_start", *columns)})


def _people(connection: sa.Connection, work: Work) -> tuple[Bytes, pd.DataFrame]:
    """The ids of the students who were not deleted, sorted, and the students as `labels_of` takes them.

    `student_id` is the position among the ids. Who was never enrolled has a row without an exit.
    """
    table = students.c
    on_record, district_ids = read_arrays(
        connection,
        sa.select(as_text(table.id), table.district_id).where(
            table.tenant_id == work.tenant, table.deleted_on.is_(None)
        ),
        ID,
        OBJECT,
    )
    order = np.argsort(on_record)
    ids, district_ids = on_record[order], district_ids[order]
    everybody = read_students(connection, work)
    place = positions(ids, everybody.ids)
    enrolled = everybody[place[place >= 0]].frame()
    of = np.flatnonzero(place >= 0)[enrolled["student_id"].to_numpy()]
    never = np.setdiff1d(np.arange(len(ids)), of)
    student = np.concatenate([of, never])
    nothing = np.full(len(never), np.datetime64("NaT"), dtype="datetime64[s]")
    people = pd.DataFrame(
        {
            "student_id": student,
            "district_id": district_ids[student],
            "exit_date": np.concatenate([enrolled["exit_date"].to_numpy(), nothing]),
            "exit_type": np.concatenate([enrolled["exit_type"].to_numpy(object), np.full(len(never), None)]),
        }
    )
    return ids, people


def _activity(
    connection: sa.Connection, work: Work, ids: Bytes, span: Sequence[dt.date], measures: Sequence[str]
) -> pd.DataFrame:
    """These measures of the weeks, as `labels_of` takes them."""
    table = weekly_activity.c
    columns = [sa.func.coalesce(known_measure(name), 0) for name in measures]
    query = sa.select(as_text(table.student_id), *(plain(column) for column in columns)).where(
        table.tenant_id == work.tenant, table.week_start == sa.bindparam("week", type_=sa.Date())
    )
    types = [NUMBER if name == "days_missed" else "i4" for name in measures]
    parts = []
    for week in span:  # week by week, so that no row need say its week
        of, *values = read_arrays(connection, query.params(week=week), ID, *types)
        parts.append(_of_students(of, ids, week, values))
    return pd.DataFrame(dict(zip(("student_id", "week_start", *measures), concatenated(parts), strict=True)))


def _courses(connection: sa.Connection, work: Work, ids: Bytes, span: Sequence[dt.date]) -> pd.DataFrame:
    """Weekly course grades of the weeks, as `labels_of` takes them; `course_id` is a number."""
    table = weekly_course_grades.c
    query = sa.select(
        as_text(table.student_id), table.course_id, plain(table.grade_count), plain(table.grade_mean)
    ).where(table.tenant_id == work.tenant, table.week_start == sa.bindparam("week", type_=sa.Date()))
    numbers: dict[str, int] = {}
    parts = []
    for week in span:
        of, course, count, mean = read_arrays(connection, query.params(week=week), ID, OBJECT, "i4", NUMBER)
        code, distinct = pd.factorize(course)  # millions of rows, some hundred courses
        number = np.array([numbers.setdefault(course, len(numbers)) for course in distinct], dtype=np.int32)
        parts.append(_of_students(of, ids, week, [number[code] if len(code) else code.astype(np.int32), count, mean]))
    return pd.DataFrame(dict(zip(("student_id", "week_start", *_COURSES), concatenated(parts), strict=True)))


def _of_students(of: Bytes, ids: Bytes, week: dt.date, values: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """The columns of a week's rows of the students on record: position of the student, week, values."""
    student = positions(of, ids)
    on_record = student >= 0
    place = student[on_record].astype(np.int32)
    return [place, np.full(len(place), np.datetime64(week, "s")), *(column[on_record] for column in values)]
