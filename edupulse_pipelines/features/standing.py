"""The school year so far, and a student's standing among the classmates, as `definitions.STANDING_FEATURES` say.

Computed when it is asked for, not stored: a classmate's corrected grade moves everybody's standing. `standing_features`
is a pure function of frames; `read_standing` feeds the same tallies week by week from the database, so that a year of
a large district does not have to fit into memory. Not here: what looks at one student's last weeks only (`vectors`).
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.features.definitions import LOOKBACK_WEEKS, RECENT_WEEKS, STANDING_NAMES, SUMMER_WEEKS
from edupulse_pipelines.features.known_activity import known_sessions
from edupulse_pipelines.features.school_calendar import SchoolCalendar, school_calendar
from edupulse_pipelines.features.vectors import DECIMALS, attendance_rate
from edupulse_pipelines.schema.sqlalchemy_tables import students, weekly_activity, weekly_course_grades
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.bulk import DAY, ID, NUMBER, OBJECT, as_text, days, plain, positions, read_arrays
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import feature_date, week_start

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

WIDEST_SPREAD = 20.0
"""Grade points: a class's standard deviation above it is taken for all-or-nothing marking."""
GROUP_COURSE_SHARE = 0.2
"""A course belongs to a group when this share of its enrolled students has a grade in it."""
LOW_RATE = 0.9
FAILING = 60.0
LOW_GRADE = 65.0
_ADDED_MISSED, _ADDED_SESSIONS = 2.0, 40.0
_SMALLEST_SPREAD_CLASS = 5
_STATUSES = ("present", "tardy", "absent", "excused")
STANDING_ACTIVITY: tuple[str, ...] = (*(f"sessions_{one}" for one in _STATUSES), "incident_count", "severity_highest")
"""Columns of weekly activity that the standing is made of."""
STANDING_COURSES: tuple[str, ...] = ("grade_count", "grade_mean", "grade_lowest")
"""Columns of weekly course grades that the standing is made of."""


@dataclass(frozen=True)
class Standing:
    """The standing of several weeks, by week and student."""

    ids: npt.NDArray[np.bytes_]
    """The students, as the database's text of the id, sorted."""
    by_week: dict[dt.date, Floats]
    """Shape (students, STANDING_NAMES), NaN where missing."""

    def of(self, week: dt.date, student_ids: npt.NDArray[np.object_]) -> pd.DataFrame:
        """The standing of some students (UUIDs, all on record) in one week; columns STANDING_NAMES."""
        asked = np.array([str(one).encode() if isinstance(one, uuid.UUID) else one for one in student_ids], dtype=ID)
        place = positions(asked, self.ids)
        if (place < 0).any():  # SQLite writes ids without hyphens
            asked = np.array([one.hex.encode() for one in student_ids], dtype=ID)
            place = positions(asked, self.ids)
        values = self.by_week[week][place] if len(place) else np.empty((0, len(STANDING_NAMES)))
        return pd.DataFrame(values, columns=list(STANDING_NAMES))


def standing_features(
    people: pd.DataFrame,
    activity: pd.DataFrame,
    courses: pd.DataFrame,
    calendar: SchoolCalendar,
    weeks: Sequence[dt.date],
) -> pd.DataFrame:
    """The standing of every one of `people` enrolled at the end of each of `weeks` (Mondays of school weeks).

    people: student_id (any hashable, unique), enrollment_date, exit_date (missing = still enrolled), group (any
    hashable; one value where there are no groups), start (the group's first day of teaching; missing = none).
    activity: student_id, week_start and `STANDING_ACTIVITY`; courses: student_id, course_id, week_start and
    `STANDING_COURSES`; at most one row per key, any superset of what is needed. Dates are dates or datetimes.

    Returns student_id, feature_date and `STANDING_NAMES`, ordered by week and then as `people`.
    """
    index = pd.Index(people["student_id"])
    tally = _Tally(people, calendar)
    course_code, _ = pd.factorize(courses["course_id"], sort=True)
    found = []
    wanted = sorted(set(weeks))
    rows_of = _rows_by_week(activity, index), _rows_by_week(courses, index)
    for week in _span(calendar, wanted, tally.starts):
        student, here = rows_of[0].get(week, (_NONE, _NONE))
        measures = [activity[name].to_numpy(np.float64, na_value=np.nan)[here] for name in STANDING_ACTIVITY]
        of_course, there = rows_of[1].get(week, (_NONE, _NONE))
        grades = [courses[name].to_numpy(np.float64, na_value=np.nan)[there] for name in STANDING_COURSES]
        tally.add(week, student, measures, of_course, course_code[there].astype(np.int64), grades)
        if week in wanted:
            enrolled = np.flatnonzero(tally.enrolled(week))
            frame = pd.DataFrame(tally.standing()[enrolled], columns=list(STANDING_NAMES))
            frame.insert(0, "student_id", people["student_id"].to_numpy()[enrolled])
            frame.insert(1, "feature_date", pd.Series([feature_date(week)] * len(enrolled), dtype=object))
            found.append(frame)
    if not found:
        return pd.DataFrame(columns=["student_id", "feature_date", *STANDING_NAMES])
    return pd.concat(found, ignore_index=True)


def read_standing(connection: Connection, work: Work, tenant: TenantSettings, weeks: Sequence[dt.date]) -> Standing:
    """The standing of the tenant's students in `weeks` (Mondays); reads the school year up to each of them.

    Memory: some 100 bytes per student and course, and 8 bytes per student, feature and week asked for.
    """
    ids, people = read_people(connection, work, tenant)
    calendar = school_calendar(connection, work, tenant.first_week)
    wanted = [week for week in sorted(set(weeks)) if week in set(calendar.weeks)]
    tally = _Tally(people, calendar)
    activity, course_grades = weekly_activity.c, weekly_course_grades.c
    week_of = sa.bindparam("week", type_=sa.Date())
    measures = [
        plain(known_sessions(name.removeprefix("sessions_")) if name.startswith("sessions_") else activity[name])
        for name in STANDING_ACTIVITY
    ]
    activity_query = sa.select(as_text(activity.student_id), *measures).where(
        activity.tenant_id == work.tenant, activity.week_start == week_of
    )
    course_query = sa.select(
        as_text(course_grades.student_id), course_grades.course_id, *(plain(course_grades[n]) for n in STANDING_COURSES)
    ).where(course_grades.tenant_id == work.tenant, course_grades.week_start == week_of)
    codes: dict[str, int] = {}
    by_week: dict[dt.date, Floats] = {}
    # Groups nobody of whom is enrolled in the weeks asked for need not be read.
    alive = np.zeros(len(tally.starts), dtype=bool)
    for week in wanted:
        alive[tally.group[tally.enrolled(week)]] = True
    for week in _span(calendar, wanted, tally.starts[alive]):
        of, *values = read_arrays(connection, activity_query.params(week=week), ID, *(NUMBER for _ in measures))
        student = positions(of, ids)
        known = student >= 0
        in_course, course, *grades = read_arrays(
            connection, course_query.params(week=week), ID, OBJECT, *(NUMBER for _ in STANDING_COURSES)
        )
        of_course = positions(in_course, ids)
        there = of_course >= 0
        code, distinct = pd.factorize(course[there], sort=True)  # not the order of the database
        number = np.array([codes.setdefault(one, len(codes)) for one in distinct], dtype=np.int64)
        tally.add(
            week,
            student[known],
            [value[known] for value in values],
            of_course[there],
            number[code] if len(code) else _NONE,
            [grade[there] for grade in grades],
        )
        if week in wanted:
            by_week[week] = tally.standing()
    for week in weeks:
        by_week.setdefault(week, np.full((len(ids), len(STANDING_NAMES)), np.nan))
    return Standing(ids, by_week)


def read_people(
    connection: Connection, work: Work, tenant: TenantSettings
) -> tuple[npt.NDArray[np.bytes_], pd.DataFrame]:
    """The ids of the students on record, sorted, and the students as `standing_features` takes them, in that order.

    `student_id` is the position.
    """
    table = students.c
    columns = [as_text(table.id), as_text(table.enrollment_date), as_text(table.exit_date)]
    query = sa.select(*columns).where(table.tenant_id == work.tenant, table.deleted_on.is_(None))
    ids, enrolled, left = read_arrays(connection, query, ID, DAY, DAY)
    order = np.argsort(ids)
    ids = ids[order]
    group: npt.NDArray[Any] = np.full(len(ids), "", dtype=object)
    start = np.full(len(ids), np.datetime64("NaT"), dtype="datetime64[s]")
    if tenant.cohort.group_by:
        described = connection.execute(
            sa.select(as_text(table.id), table.student_metadata).where(
                table.tenant_id == work.tenant, table.deleted_on.is_(None)
            )
        ).all()
        place = positions(np.array([one.encode() for one, _ in described], dtype=ID), ids)
        for position, (_, metadata) in zip(place.tolist(), described, strict=True):
            names = tenant.cohort.group_of(metadata)
            group[position] = "/".join(names)
            first = tenant.cohort.start_of(names)
            if first is not None:
                start[position] = np.datetime64(first, "s")
    return ids, pd.DataFrame(
        {
            "student_id": np.arange(len(ids)),
            "enrollment_date": days(enrolled[order]).astype("datetime64[s]"),
            "exit_date": days(left[order]).astype("datetime64[s]"),
            "group": group,
            "start": start,
        }
    )


class _Tally:
    """Running sums of the school year, per student and per (student, course), fed one school week after the other."""

    def __init__(self, people: pd.DataFrame, calendar: SchoolCalendar) -> None:
        """`people` and `calendar` as `standing_features` takes them."""
        count = len(people)
        self._enrolled_on, self._left_on = _days_of(people["enrollment_date"]), _days_of(people["exit_date"])
        group, names = pd.factorize(people["group"], use_na_sentinel=False)
        self.group = group.astype(np.int64)
        """Position in `starts` of each of the people."""
        self._start = _days_of(people["start"])
        self.starts = np.full(len(names), np.datetime64("NaT"), dtype="datetime64[D]")
        self.starts[self.group] = self._start
        mondays = [None if one is None else week_start(one) for one in self.starts.tolist()]
        self._first_monday = np.array(mondays, dtype="datetime64[D]")[self.group]
        self._behaviour_since = calendar.domain_since.get("behavioral")
        self._sessions = np.zeros((len(_STATUSES), count))
        self._incidents, self._severity = np.zeros(count), np.zeros(count)
        self._weeks = np.zeros(count)
        self._attended_weeks, self._low_weeks = np.zeros(count), np.zeros(count)
        # Weekly course means below the mark, newest week first.
        self._low_courses = np.zeros((LOOKBACK_WEEKS, count))
        # Per pair, in the order of its key = student * courses + course; grows with the weeks.
        self._student, self._course = _NONE, _NONE
        self._pairs = np.zeros((_SUMS, 0))
        self._week: dt.date | None = None

    def enrolled(self, week: dt.date) -> Booleans:
        """Who is enrolled at the end of a week."""
        sunday = np.datetime64(feature_date(week), "D")
        return (self._enrolled_on <= sunday) & (np.isnat(self._left_on) | (self._left_on > sunday))

    def add(
        self,
        week: dt.date,
        student: Integers,
        measures: Sequence[Floats],
        of_course: Integers,
        course: Integers,
        grades: Sequence[Floats],
    ) -> None:
        """One more school week: `STANDING_ACTIVITY` of students, `STANDING_COURSES` of (student, course) pairs."""
        if self._week is not None and (week - self._week).days // 7 > SUMMER_WEEKS:
            self._begin_year()
        self._week = week
        counts = self._counts(week)
        self._weeks += counts
        keep = counts[student]
        student, measures = student[keep], [np.nan_to_num(one[keep]) for one in measures]
        *sessions, incidents, severity = measures
        for total, one in zip(self._sessions, sessions, strict=True):
            total[student] += one
        rate = attendance_rate(*sessions)
        self._attended_weeks[student] += ~np.isnan(rate)
        self._low_weeks[student] += rate < LOW_RATE
        self._incidents[student] += incidents
        self._severity[student] = np.maximum(self._severity[student], severity)
        keep = counts[of_course]
        self._add_grades(of_course[keep], course[keep], [one[keep] for one in grades])

    def standing(self) -> Floats:
        """The standing of every student at the end of the newest week, enrolled or not; rounded."""
        assert self._week is not None
        count = len(self._enrolled_on)
        values = {name: np.full(count, np.nan) for name in STANDING_NAMES}
        present, tardy, absent, excused = self._sessions
        total = present + tardy + absent + excused
        with np.errstate(invalid="ignore", divide="ignore"):
            values["attendance_rate_ytd"] = attendance_rate(present, tardy, absent, excused)
            values["unexcused_rate_ytd"] = np.where(total > 0, absent / total, np.nan)
            values["tardy_rate_ytd"] = np.where(total > 0, tardy / total, np.nan)
            missed = np.log((absent + excused + _ADDED_MISSED) / (total + _ADDED_SESSIONS))
            values["missed_sessions_ytd"] = np.where(total > 0, missed, np.nan)
            values["weeks_below_90_ytd"] = np.where(
                self._attended_weeks > 0, self._low_weeks / self._attended_weeks, np.nan
            )
        if self._behaviour_since is not None and self._week >= self._behaviour_since:
            values["incidents_per_week_ytd"] = np.divide(
                self._incidents, self._weeks, out=np.full(count, np.nan), where=self._weeks > 0
            )
            values["severity_highest_ytd"] = np.where(self._weeks > 0, self._severity, np.nan)
        taught = (np.datetime64(self._week, "D") - self._first_monday).astype("timedelta64[D]").astype(float) // 7 + 1
        values["teaching_weeks"] = np.where(np.isnat(self._first_monday) | (taught < 1), np.nan, taught)
        self._courses(values)
        return np.column_stack([np.round(values[name], DECIMALS) + 0.0 for name in STANDING_NAMES])

    def _counts(self, week: dt.date) -> Booleans:
        """Whose week this is: enrolled by its end, and taught already."""
        sunday = np.datetime64(feature_date(week), "D")
        return (self._enrolled_on <= sunday) & (np.isnat(self._start) | (self._start <= sunday))

    def _begin_year(self) -> None:
        """Forget last year, but not of groups that declare when they began."""
        over = np.isnat(self._start)
        self._sessions[:, over] = 0
        for total in (self._incidents, self._severity, self._weeks, self._attended_weeks, self._low_weeks):
            total[over] = 0
        self._low_courses[:, over] = 0
        keep = ~over[self._student]
        self._student, self._course, self._pairs = self._student[keep], self._course[keep], self._pairs[:, keep]

    def _add_grades(self, student: Integers, course: Integers, grades: Sequence[Floats]) -> None:
        number, mean, lowest = grades
        graded = number > 0
        student, course = student[graded], course[graded]
        number, mean, lowest = number[graded], mean[graded], lowest[graded]
        wide = 1 + max(self._course.max(initial=-1), course.max(initial=-1))
        own, new = self._student * wide + self._course, student * wide + course
        unseen = np.setdiff1d(new, own)
        if len(unseen):
            key = np.concatenate([own, unseen])
            order = np.argsort(key, kind="stable")
            fresh = np.zeros((_SUMS, len(unseen)))
            fresh[_LOWEST], fresh[_SINCE] = np.inf, np.nan
            self._pairs = np.concatenate([self._pairs, fresh], axis=1)[:, order]
            own = key[order]
            self._student, self._course = own // wide, own % wide
        pairs = self._pairs
        pairs[_RECENT_COUNTS[1:]] = pairs[_RECENT_COUNTS[:-1]]
        pairs[_RECENT_COUNTS[0]] = 0
        pairs[_SINCE] += 1
        self._low_courses[1:] = self._low_courses[:-1]
        self._low_courses[0] = np.bincount(student, weights=mean < LOW_GRADE, minlength=self._low_courses.shape[1])
        at = np.searchsorted(own, new)
        for row, value in (
            (_COUNT, number),
            (_POINTS, number * mean),
            (_RECENT_COUNTS[0], number),
            (_GRADED_WEEKS, 1),
            (_FAILING_WEEKS, mean < FAILING),
            (_DUE, self._share_graded(student, course)),
        ):
            pairs[row, at] += value
        pairs[_LOWEST, at] = np.minimum(pairs[_LOWEST, at], lowest)
        pairs[_SINCE, at] = 0

    def _share_graded(self, student: Integers, course: Integers) -> Floats:
        """Per pair with a grade this week the share of its class that has one; all pairs are known by now."""
        assert self._week is not None
        if not len(student):
            return np.empty(0)
        enrolled = self.enrolled(self._week)
        wide = 1 + int(self._course.max())
        pairs = enrolled[self._student]
        key, size = np.unique(self.group[self._student[pairs]] * wide + self._course[pairs], return_counts=True)
        own = self.group[student] * wide + course
        at = np.minimum(np.searchsorted(key, own), max(len(key) - 1, 0))
        found = key[at] == own if len(key) else np.zeros(len(own), dtype=bool)
        graded = np.bincount(at[found & enrolled[student]], minlength=len(key))
        # Of a group with a start everybody is a classmate, with a grade or without.
        taught = enrolled & self._counts_now() & ~np.isnat(self._start)
        members = np.bincount(self.group[taught], minlength=len(self.starts))
        size = np.maximum(size, members[key // wide])
        share: Floats = np.zeros(len(own))
        share[found] = (graded / size)[at[found]]
        return share

    def _courses(self, values: dict[str, Floats]) -> None:
        """What the courses say, of students enrolled now; written into `values`."""
        assert self._week is not None
        enrolled = self.enrolled(self._week)
        keep = enrolled[self._student]
        student, course, pairs = self._student[keep], self._course[keep], self._pairs[:, keep]
        student, course, pairs = self._with_silent(enrolled, student, course, pairs)
        if not len(student):
            return
        size = len(enrolled)
        per_student = np.bincount(student, minlength=size).astype(float)
        _, members = np.unique(self.group[student] * (course.max() + 1) + course, return_inverse=True)
        classes = int(members.max()) + 1
        in_class = np.bincount(members, minlength=classes).astype(float)
        count = pairs[_COUNT]

        def mean_over_courses(of_pair: Floats) -> Floats:
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.bincount(student, weights=of_pair, minlength=size) / np.where(
                    per_student, per_student, np.nan
                )

        def mean_of_class(of_pair: Floats) -> Floats:
            return (np.bincount(members, weights=of_pair, minlength=classes) / in_class)[members]

        values["classmates_ahead"] = mean_over_courses(_share_above(count, members, in_class))
        # Shares of the same sum differ in their last bits by the order of the weeks.
        due = np.round(pairs[_DUE], DECIMALS)
        values["classmates_ahead_in_due_work"] = mean_over_courses(_share_above(due, members, in_class))
        values["grade_count_vs_class"] = mean_over_courses(np.log((count + 0.5) / (mean_of_class(count) + 0.5)))
        recent = pairs[_RECENT_COUNTS].sum(axis=0)
        values["grade_count_4w_vs_class"] = mean_over_courses(np.log((recent + 0.5) / (mean_of_class(recent) + 0.5)))
        values["no_grade_yet"] = mean_over_courses(np.where(count > 0, 0.0, mean_of_class((count > 0).astype(float))))
        since = np.where(np.isnan(pairs[_SINCE]), self._weeks[student], pairs[_SINCE])
        values["weeks_since_grade_vs_class"] = mean_over_courses(since - _medians(since, members, classes)[members])

        graded = count > 0
        student, members, pairs, count = student[graded], members[graded], pairs[:, graded], count[graded]
        if not len(student):
            return
        mean, lowest = pairs[_POINTS] / count, pairs[_LOWEST]
        grades = np.bincount(student, weights=count, minlength=size)
        with np.errstate(invalid="ignore", divide="ignore"):
            values["grade_mean_ytd"] = (
                np.bincount(student, weights=count * _spread_limited(mean, members, classes), minlength=size) / grades
            )
        values["grade_lowest_ytd"] = _lowest(_spread_limited(lowest, members, classes), student, size)
        values["failing_share_ytd"] = -_lowest(-pairs[_FAILING_WEEKS] / pairs[_GRADED_WEEKS], student, size)
        known = grades > 0
        values["low_course_weeks_8w"] = np.where(known, self._low_courses.sum(axis=0), np.nan)
        current = np.bincount(student, weights=pairs[_SINCE] < LOOKBACK_WEEKS, minlength=size)
        values["courses_8w"] = np.where(known, current, np.nan)

    def _with_silent(
        self, enrolled: Booleans, student: Integers, course: Integers, pairs: Floats
    ) -> tuple[Integers, Integers, Floats]:
        """The pairs and those without a grade yet: members of a group in the group's courses.

        A group in which nothing was due yet is one class all the same: nobody is behind in it.
        """
        taught = enrolled & self._counts_now() & ~np.isnat(self._start)
        if not taught.any():
            return student, course, pairs
        wide = int(course.max(initial=0)) + 1
        key, graded = np.unique(self.group[student] * wide + course, return_counts=True)
        silent_students, silent_courses = [], []
        for group, members in enumerate(np.bincount(self.group[taught]).tolist()):
            if not members:
                continue
            of_group = key // wide == group
            own = key[of_group & (graded >= GROUP_COURSE_SHARE * members)] % wide
            if not len(own):
                own = key[of_group][np.argsort(-graded[of_group], kind="stable")[:1]] % wide
            for of_course in own.tolist() or [wide]:  # a number that no course has
                here = taught & (self.group == group)
                here[student[course == of_course]] = False
                silent = np.flatnonzero(here)
                silent_students.append(silent)
                silent_courses.append(np.full(len(silent), of_course))
        if not silent_students:
            return student, course, pairs
        more = np.concatenate(silent_students)
        fresh = np.zeros((_SUMS, len(more)))
        fresh[_LOWEST], fresh[_SINCE] = np.inf, np.nan
        return (
            np.concatenate([student, more]),
            np.concatenate([course, *silent_courses]),
            np.concatenate([pairs, fresh], axis=1),
        )

    def _counts_now(self) -> Booleans:
        assert self._week is not None
        return self._counts(self._week)


_NONE: Integers = np.empty(0, dtype=np.int64)
_COUNT, _POINTS, _LOWEST, _SINCE, _GRADED_WEEKS, _FAILING_WEEKS, _DUE = range(7)
"""Rows of what is kept of a pair; since: school weeks since the newest grade; due: what its graded weeks weigh."""
_RECENT_COUNTS = np.arange(7, 7 + RECENT_WEEKS)
"""Grades of the newest week, the one before, …"""
_SUMS = 7 + RECENT_WEEKS


def _span(calendar: SchoolCalendar, wanted: Sequence[dt.date], starts: npt.NDArray[np.datetime64]) -> Iterator[dt.date]:
    """The school weeks to read, ascending: from the start of the first wanted week's year, or of a group, on."""
    if not wanted:
        return
    first = last = wanted[0]
    for week in reversed([one for one in calendar.weeks if one <= wanted[0]]):
        if (last - week).days // 7 > SUMMER_WEEKS:
            break
        first = last = week
    declared = [week_start(one) for one in starts.tolist() if one is not None]
    if declared and len(declared) == len(starts):
        first = min(wanted[0], *declared)
    elif declared:
        first = min(first, *declared)
    yield from (week for week in calendar.weeks if first <= week <= wanted[-1])


def _rows_by_week(rows: pd.DataFrame, index: pd.Index) -> dict[dt.date, tuple[Integers, Integers]]:
    """Per week the positions of the students, and the numbers of their rows."""
    student = index.get_indexer(pd.Index(rows["student_id"])).astype(np.int64)
    codes, distinct = pd.factorize(rows["week_start"])
    found: dict[dt.date, tuple[Integers, Integers]] = {}
    for number, week in enumerate(distinct):
        here = np.flatnonzero((codes == number) & (student >= 0))
        found[week if type(week) is dt.date else pd.Timestamp(week).date()] = (student[here], here)
    return found


def _days_of(column: pd.Series[Any]) -> npt.NDArray[np.datetime64]:
    values = column.to_numpy()
    if values.dtype == object:
        return np.array([None if one is None or one is pd.NaT else one for one in values], dtype="datetime64[D]")
    return values.astype("datetime64[D]")


def _share_above(value: Floats, members: Integers, in_class: Floats) -> Floats:
    """Per row the share of the others of its class with a higher value."""
    order = np.lexsort((value, members))
    ordered, of = value[order], members[order]
    begin = np.concatenate([[0], np.cumsum(in_class)])[:-1].astype(np.int64)
    is_first = np.concatenate([[True], (ordered[1:] != ordered[:-1]) | (of[1:] != of[:-1])])
    ends = np.append(np.flatnonzero(is_first)[1:], len(ordered))
    above = begin[of] + in_class[of] - ends[np.cumsum(is_first) - 1]
    share = np.empty(len(value))
    share[order] = above / np.maximum(in_class[of] - 1, 1)
    return share


def _medians(value: Floats, members: Integers, classes: int) -> Floats:
    """The lower median per class."""
    order = np.lexsort((value, members))
    count = np.bincount(members, minlength=classes)
    begin = np.concatenate([[0], np.cumsum(count)])[:-1]
    return value[order][begin + (count - 1) // 2]


def _spread_limited(value: Floats, members: Integers, classes: int) -> Floats:
    """Values whose distance from the class mean is shrunk where the class spreads wider than `WIDEST_SPREAD`.

    Classes of fewer than five graded students stay as they are.
    """
    count = np.bincount(members, minlength=classes).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(members, weights=value, minlength=classes) / count
        deviation = value - mean[members]
        spread = np.sqrt(np.bincount(members, weights=deviation**2, minlength=classes) / count)
        factor = np.minimum(1.0, WIDEST_SPREAD / np.maximum(spread, 1.0))
    factor = np.where(count >= _SMALLEST_SPREAD_CLASS, factor, 1.0)
    return mean[members] + deviation * factor[members]


def _lowest(value: Floats, student: Integers, size: int) -> Floats:
    lowest = np.full(size, np.inf)
    np.minimum.at(lowest, student, value)
    return np.where(np.isinf(lowest), np.nan, lowest)
