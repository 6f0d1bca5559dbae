"""The schools of the synthetic district, and the enrolments of its students at them, as rows of `enrollments.csv`.

Two schools up to grade 8 and a high school. Who moves within the district below grade 9 changes from one of the first
two to the other; who leaves the district ends an enrolment, and who comes back after a gap opens another one. When that
happens is in `synthetic_year`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np

from edupulse_pipelines.sources.synthetic_year import DAYS, Year

SCHOOLS = (
    ("1", "Northside School", "elementary and middle", "0", "8"),
    ("2", "Riverside School", "elementary and middle", "0", "8"),
    ("3", "Lincoln High School", "high", "9", "12"),
)
"""school_id, name, level, lowest and highest grade."""
_LOWER_SCHOOLS, _HIGH_SCHOOL, _HIGH_SCHOOL_FROM = 2, 2, 9


@dataclass
class _Enrolment:
    """One enrolment; `known` and `ended` are the school weeks (from 0) whose delivery first says so."""

    school: str
    entry: str
    known: int
    ended: int | None = None
    left: str = ""
    how: str = ""

    def end(self, week: int, left: str, how: str) -> None:
        """It ends."""
        self.ended, self.left, self.how = week, left, how


def schools_of(year: Year) -> np.ndarray:
    """The place among `SCHOOLS` of each student's school in each school week [students x weeks]."""
    is_lower = (year.grade_level < _HIGH_SCHOOL_FROM)[:, None]
    changes = year.moved & is_lower & (np.arange(len(year.weeks)) > known_from(year)[:, None])
    lower = (np.arange(year.n)[:, None] + changes.cumsum(axis=1)) % _LOWER_SCHOOLS
    return np.where(is_lower, lower, _HIGH_SCHOOL)


def known_from(year: Year) -> np.ndarray:
    """The school week whose delivery is the first to name each student."""
    return year.entry // DAYS + year.known_late


def day_of(weeks: tuple[dt.date, ...], at: int, *, after: int = 0) -> str:
    """The date of a school day that is counted in weeks * DAYS, or so many days after it."""
    week, day = divmod(at, DAYS)
    return (weeks[week] + dt.timedelta(days=day + after)).isoformat()


def enrolments_by_week(year: Year, school: np.ndarray, entries: list[str]) -> list[list[list]]:
    """Rows of `enrollments.csv` by the school week whose delivery has them: enrolments that are new, or have ended.

    school: as `schools_of` gives it; entries: the first day of each student.
    """
    rows: list[list[list]] = [[] for _ in year.weeks]
    for student in range(year.n):
        enrolments = _enrolments(year, student, [SCHOOLS[place][0] for place in school[student].tolist()], entries)
        for number, one in enumerate(enrolments, start=1):
            row = [f"E{student + 1:05d}-{number}", year.district_ids[student], one.school, one.entry]
            rest = [int(year.grade_level[student]), "yes"]
            rows[one.known].append([*row, "", "", *rest])
            if one.ended is not None:
                rows[one.ended].append([*row, one.left, one.how, *rest])
    return rows


def _enrolments(year: Year, student: int, school: list[str], entries: list[str]) -> list[_Enrolment]:
    """The enrolments of one student, in order; `school`: by school week."""
    known, last, back = int(known_from(year)[student]), int(year.last[student]), int(year.back[student])
    found = [_Enrolment(school[known], entries[student], known)]
    for week in range(known + 1, len(year.weeks)):
        if school[week] != school[week - 1]:
            monday = day_of(year.weeks, week * DAYS)
            found[-1].end(week, monday, "transferred")
            found.append(_Enrolment(school[week], monday, week))
        if last // DAYS == week:
            found[-1].end(week, day_of(year.weeks, last, after=1), year.exit_type[student])
        if back // DAYS == week:
            found.append(_Enrolment(school[week], day_of(year.weeks, back), week))
    return found
