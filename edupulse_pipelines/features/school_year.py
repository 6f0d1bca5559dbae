"""The running sums of a school year, and what they say of each student: alone, and among the classmates.

`SchoolYear` is given one school week after the other and computes `definitions.STANDING_FEATURES` for the end of the
newest one. It keeps sums per student and per (student, course) pair, never the weeks themselves. Students are positions
among the people it was made for, courses are numbers. No database: where the weeks come from is in `standing`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import pandas as pd

from edupulse_pipelines.features.definitions import (
    LOOKBACK_WEEKS,
    RECENT_WEEKS,
    STANDING_COLUMNS,
    SUMMER_WEEKS,
    YEAR_DAYS,
)
from edupulse_pipelines.features.enrolment import Intervals, days_of
from edupulse_pipelines.features.school_calendar import SchoolCalendar
from edupulse_pipelines.features.vectors import DECIMALS, STATUSES, Booleans, Floats, Integers, attendance_rate
from edupulse_pipelines.weeks import feature_date, week_start

STANDING_ACTIVITY: tuple[str, ...] = (
    *(f"sessions_{status}" for status in STATUSES),
    "incident_count",
    "severity_highest",
    "days_enrolled",
    "days_absent",
    "days_excused",
    "days_missed",
)
"""Columns of weekly activity that the standing is made of."""
STANDING_COURSES: tuple[str, ...] = ("grade_count", "grade_mean", "grade_lowest")
"""Columns of weekly course grades that the standing is made of."""
NO_POSITIONS: Integers = np.empty(0, dtype=np.int64)

WIDEST_SPREAD = 20.0
"""Grade points: a class's standard deviation above it is taken for all-or-nothing marking."""
GROUP_COURSE_SHARE = 0.2
"""A course belongs to a group when this share of its enrolled students has a grade in it."""
LOW_RATE = 0.9
"""A week whose attendance rate is lower counts as a week of low attendance."""
FAILING = 60.0
"""A week of a course whose mean grade is lower counts as failed."""
LOW_GRADE = 65.0
"""A week of a course whose mean grade is lower counts as low."""
_ADDED_MISSED, _ADDED_SESSIONS = 2.0, 40.0
_SMALLEST_SPREAD_CLASS = 5

_COUNT, _POINTS, _LOWEST, _SINCE, _GRADED_WEEKS, _FAILING_WEEKS, _DUE = range(7)
"""Rows of the sums that are kept of a pair: number, total and lowest of its grades; school weeks since the newest one
(NaN without a grade); weeks with a grade, and failed ones; and the sum of what its weeks with a grade weigh."""
_RECENT_COUNTS = np.arange(7, 7 + RECENT_WEEKS)
"""Rows with the number of grades of the newest week, of the week before, …"""
_SUMS = 7 + RECENT_WEEKS


class SchoolYear:
    """Running sums of the school year, per student and per (student, course), given one school week after the other."""

    def __init__(self, people: pd.DataFrame, enrolled: Intervals, calendar: SchoolCalendar) -> None:
        """`people`: group and start of each, as `standing_features` takes them; `enrolled`: their enrolment."""
        count = len(people)
        self._enrolled = enrolled
        group, names = pd.factorize(people["group"], use_na_sentinel=False)
        self.group = group.astype(np.int64)
        """Position in `starts` of each of the people."""
        self._start = days_of(people["start"])
        self.starts = np.full(len(names), np.datetime64("NaT"), dtype="datetime64[D]")
        """Per group its first day of teaching; NaT where the settings give none."""
        self.starts[self.group] = self._start
        mondays = [None if day is None else week_start(day) for day in self.starts.tolist()]
        self._first_monday = np.array(mondays, dtype="datetime64[D]")[self.group]
        self._behaviour_since = calendar.domain_since.get("behavioral")
        self._sessions = np.zeros((len(STATUSES), count))
        self._incidents, self._severity = np.zeros(count), np.zeros(count)
        self._days = np.zeros((len(YEAR_DAYS), count))
        self._weeks = np.zeros(count)
        self._attended_weeks, self._low_weeks = np.zeros(count), np.zeros(count)
        # Per week the courses with a mean below `LOW_GRADE`, newest week first.
        self._low_courses = np.zeros((LOOKBACK_WEEKS, count))
        # The (student, course) pairs with a grade this year, sorted by student and course, and their sums.
        self._student, self._course = NO_POSITIONS, NO_POSITIONS
        self._pairs = np.zeros((_SUMS, 0))
        self._week: dt.date | None = None

    def enrolled(self, week: dt.date) -> Booleans:
        """Who is enrolled at the end of a week."""
        return self._enrolled.hold(np.datetime64(feature_date(week), "D"))

    def add(
        self,
        week: dt.date,
        student: Integers,
        measures: Sequence[Floats],
        graded_student: Integers,
        course: Integers,
        grades: Sequence[Floats],
    ) -> None:
        """One more school week, later than those before; a summer in between begins a new school year.

        `measures` are the `STANDING_ACTIVITY` of each `student`, `grades` the `STANDING_COURSES` of each pair of
        `graded_student` and `course`.
        """
        if self._week is not None and (week - self._week).days // 7 > SUMMER_WEEKS:
            self._begin_year()
        self._week = week
        # Days are those within an enrolment already; those of the week in which a student left are among them.
        begun = self._has_begun(week)[student]
        days_enrolled, days_absent, days_excused, days_missed = (
            np.where(begun, np.nan_to_num(measure), 0) for measure in measures[-4:]
        )
        for total, number in zip(self._days, (days_enrolled, days_absent + days_excused, days_missed), strict=True):
            total[student] += number
        counts = self._counts(week)
        self._weeks += counts
        counted = counts[student]
        student, measures = student[counted], [np.nan_to_num(measure[counted]) for measure in measures[:-4]]
        *sessions, incidents, severity = measures
        for total, number in zip(self._sessions, sessions, strict=True):
            total[student] += number
        rate = attendance_rate(*sessions)
        self._attended_weeks[student] += ~np.isnan(rate)
        self._low_weeks[student] += rate < LOW_RATE
        self._incidents[student] += incidents
        self._severity[student] = np.maximum(self._severity[student], severity)
        counted = counts[graded_student]
        self._add_grades(graded_student[counted], course[counted], [grade[counted] for grade in grades])

    def standing(self) -> Floats:
        """`STANDING_COLUMNS` of every student at the end of the newest week, enrolled or not; rounded."""
        assert self._week is not None
        count = len(self._enrolled)
        values = {name: np.full(count, np.nan) for name in STANDING_COLUMNS}
        any_day = self._days[0] > 0
        values |= {name: np.where(any_day, days, np.nan) for name, days in zip(YEAR_DAYS, self._days, strict=True)}
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
        self._from_grades(values)
        return np.column_stack([np.round(values[name], DECIMALS) + 0.0 for name in STANDING_COLUMNS])

    def _counts(self, week: dt.date) -> Booleans:
        """For whom the week counts: students enrolled at its end, whose group has begun to be taught by then."""
        return self.enrolled(week) & self._has_begun(week)

    def _has_begun(self, week: dt.date) -> Booleans:
        """Whose group has begun to be taught by the end of the week."""
        begun: Booleans = np.isnat(self._start) | (self._start <= np.datetime64(feature_date(week), "D"))
        return begun

    def _begin_year(self) -> None:
        """Forget the sums of last year, except those of groups whose first day of teaching the settings give."""
        over = np.isnat(self._start)
        self._sessions[:, over] = 0
        self._days[:, over] = 0
        for total in (self._incidents, self._severity, self._weeks, self._attended_weeks, self._low_weeks):
            total[over] = 0
        self._low_courses[:, over] = 0
        keep = ~over[self._student]
        self._student, self._course, self._pairs = self._student[keep], self._course[keep], self._pairs[:, keep]

    def _add_grades(self, student: Integers, course: Integers, grades: Sequence[Floats]) -> None:
        """Add the week's `STANDING_COURSES` to the sums of the pairs; new pairs take their place among the others."""
        number, mean, lowest = grades
        graded = number > 0
        student, course = student[graded], course[graded]
        number, mean, lowest = number[graded], mean[graded], lowest[graded]
        factor = 1 + max(self._course.max(initial=-1), course.max(initial=-1))
        all_keys, keys = self._student * factor + self._course, student * factor + course
        new_keys = np.setdiff1d(keys, all_keys)
        if len(new_keys):
            all_keys = np.concatenate([all_keys, new_keys])
            order = np.argsort(all_keys, kind="stable")
            self._pairs = np.concatenate([self._pairs, _sums_without_grades(len(new_keys))], axis=1)[:, order]
            all_keys = all_keys[order]
            self._student, self._course = all_keys // factor, all_keys % factor
        pairs = self._pairs
        pairs[_RECENT_COUNTS[1:]] = pairs[_RECENT_COUNTS[:-1]]
        pairs[_RECENT_COUNTS[0]] = 0
        pairs[_SINCE] += 1
        self._low_courses[1:] = self._low_courses[:-1]
        self._low_courses[0] = np.bincount(student, weights=mean < LOW_GRADE, minlength=self._low_courses.shape[1])
        place = np.searchsorted(all_keys, keys)
        for row, value in (
            (_COUNT, number),
            (_POINTS, number * mean),
            (_RECENT_COUNTS[0], number),
            (_GRADED_WEEKS, 1),
            (_FAILING_WEEKS, mean < FAILING),
            (_DUE, self._share_graded(student, course)),
        ):
            pairs[row, place] += value
        pairs[_LOWEST, place] = np.minimum(pairs[_LOWEST, place], lowest)
        pairs[_SINCE, place] = 0

    def _share_graded(self, student: Integers, course: Integers) -> Floats:
        """Of each pair with a grade this week the share of its class that has one; `_pairs` has all of them already."""
        assert self._week is not None
        if not len(student):
            return np.empty(0)
        enrolled = self.enrolled(self._week)
        factor = 1 + int(self._course.max())
        counted = enrolled[self._student]
        classes, size = np.unique(
            self.group[self._student[counted]] * factor + self._course[counted], return_counts=True
        )
        class_of_pair = self.group[student] * factor + course
        place = np.minimum(np.searchsorted(classes, class_of_pair), max(len(classes) - 1, 0))
        has_class = classes[place] == class_of_pair if len(classes) else np.zeros(len(class_of_pair), dtype=bool)
        graded = np.bincount(place[has_class & enrolled[student]], minlength=len(classes))
        # Of a group with a start everybody is a classmate, with a grade or without.
        members = np.bincount(self.group[self._taught(enrolled)], minlength=len(self.starts))
        size = np.maximum(size, members[classes // factor])
        share: Floats = np.zeros(len(class_of_pair))
        share[has_class] = (graded / size)[place[has_class]]
        return share

    def _from_grades(self, values: dict[str, Floats]) -> None:
        """Write the features made of grades into `values`; they compare students who are enrolled now."""
        assert self._week is not None
        enrolled = self.enrolled(self._week)
        keep = enrolled[self._student]
        student, course, pairs = self._student[keep], self._course[keep], self._pairs[:, keep]
        student, course, pairs = self._with_ungraded(enrolled, student, course, pairs)
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
        # Rounded, because the same shares added in another order of weeks differ in their last bits; they are ties.
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
        has_grades = grades > 0
        values["low_course_weeks_8w"] = np.where(has_grades, self._low_courses.sum(axis=0), np.nan)
        current = np.bincount(student, weights=pairs[_SINCE] < LOOKBACK_WEEKS, minlength=size)
        values["courses_8w"] = np.where(has_grades, current, np.nan)

    def _with_ungraded(
        self, enrolled: Booleans, student: Integers, course: Integers, pairs: Floats
    ) -> tuple[Integers, Integers, Floats]:
        """The pairs, and for every member of a group with a start those of the group's courses that have no grade yet.

        A group without any grade yet counts as one class in which everybody is equal.
        """
        taught = self._taught(enrolled)
        if not taught.any():
            return student, course, pairs
        factor = int(course.max(initial=0)) + 1  # also the number of a course that nobody has
        classes, graded = np.unique(self.group[student] * factor + course, return_counts=True)
        more_students, more_courses = [], []
        for group, members in enumerate(np.bincount(self.group[taught]).tolist()):
            if not members:
                continue
            of_group = classes // factor == group
            group_courses = classes[of_group & (graded >= GROUP_COURSE_SHARE * members)] % factor
            if not len(group_courses):
                group_courses = classes[of_group][np.argsort(-graded[of_group], kind="stable")[:1]] % factor
            for number in group_courses.tolist() or [factor]:
                ungraded = taught & (self.group == group)
                ungraded[student[course == number]] = False
                of_course = np.flatnonzero(ungraded)
                more_students.append(of_course)
                more_courses.append(np.full(len(of_course), number))
        if not more_students:
            return student, course, pairs
        added = np.concatenate(more_students)
        return (
            np.concatenate([student, added]),
            np.concatenate([course, *more_courses]),
            np.concatenate([pairs, _sums_without_grades(len(added))], axis=1),
        )

    def _taught(self, enrolled: Booleans) -> Booleans:
        """Which of the `enrolled` belong to a group with a start that has begun by the newest week."""
        assert self._week is not None
        return enrolled & self._counts(self._week) & ~np.isnat(self._start)


def _sums_without_grades(count: int) -> Floats:
    """The sums of `count` pairs without a grade."""
    sums = np.zeros((_SUMS, count))
    sums[_LOWEST], sums[_SINCE] = np.inf, np.nan
    return sums


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
    """The lowest value of each of `size` students; NaN for one without any."""
    lowest = np.full(size, np.inf)
    np.minimum.at(lowest, student, value)
    return np.where(np.isinf(lowest), np.nan, lowest)
