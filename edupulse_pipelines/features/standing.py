"""A student's school year so far, and the comparison with classmates: the features `definitions.STANDING_FEATURES`.

They are computed when asked for and not stored, because a classmate's corrected grade changes everybody's. Here is how
`school_year.SchoolYear`, which computes them, gets its weeks: `standing_features` gives them from frames that hold
everything, `read_standing` from the database, a week at a time, so that the year of a large district does not have to
fit into memory. Features that look at one student's last weeks only are in `vectors`.
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

from edupulse_pipelines.features.definitions import STANDING_COLUMNS, SUMMER_WEEKS
from edupulse_pipelines.features.enrolment import of_frame, read_students
from edupulse_pipelines.features.known_activity import known_measure
from edupulse_pipelines.features.school_calendar import SchoolCalendar, school_calendar
from edupulse_pipelines.features.school_year import NO_POSITIONS, STANDING_ACTIVITY, STANDING_COURSES, SchoolYear
from edupulse_pipelines.features.vectors import Floats, Integers
from edupulse_pipelines.schema.sqlalchemy_tables import students, weekly_activity, weekly_course_grades
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.bulk import ID, NUMBER, OBJECT, as_text, plain, positions, read_arrays
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import feature_date, week_start


@dataclass(frozen=True)
class Standing:
    """The standing of several weeks, by week and student."""

    ids: npt.NDArray[np.bytes_]
    """The students, as the database's text of the id, sorted."""
    by_week: dict[dt.date, Floats]
    """Shape (students, STANDING_COLUMNS), NaN where missing."""

    def of(self, week: dt.date, student_ids: npt.NDArray[np.object_]) -> pd.DataFrame:
        """The standing of some students (UUIDs, all on record) in one week; columns STANDING_COLUMNS."""
        texts = [str(key).encode() if isinstance(key, uuid.UUID) else key for key in student_ids]
        place = positions(np.array(texts, dtype=ID), self.ids)
        if (place < 0).any():  # SQLite writes ids without hyphens
            place = positions(np.array([key.hex.encode() for key in student_ids], dtype=ID), self.ids)
        values = self.by_week[week][place] if len(place) else np.empty((0, len(STANDING_COLUMNS)))
        return pd.DataFrame(values, columns=list(STANDING_COLUMNS))


def standing_features(
    people: pd.DataFrame,
    activity: pd.DataFrame,
    courses: pd.DataFrame,
    calendar: SchoolCalendar,
    weeks: Sequence[dt.date],
) -> pd.DataFrame:
    """The standing of every one of `people` enrolled at the end of each of `weeks` (Mondays of school weeks).

    people: student_id (any hashable), enrollment_date, exit_date (missing = still enrolled), group (any hashable; one
    value where there are no groups), start (the group's first day of teaching; missing = none); a row for each interval
    of enrolment of each student.
    activity: student_id, week_start and `STANDING_ACTIVITY`; courses: student_id, course_id, week_start and
    `STANDING_COURSES`; at most one row per key, any superset of what is needed. Dates are dates or datetimes.

    Returns student_id, feature_date and `STANDING_COLUMNS`, ordered by week and then as `people`.
    """
    index, intervals = of_frame(people)
    year = SchoolYear(people.drop_duplicates("student_id"), intervals, calendar)
    course_code, _ = pd.factorize(courses["course_id"], sort=True)
    wanted = sorted(set(weeks))
    activity_of, courses_of = _rows_by_week(activity, index), _rows_by_week(courses, index)
    nothing = (NO_POSITIONS, NO_POSITIONS)
    frames = []
    for week in _span(calendar, wanted, year.starts):
        student, rows = activity_of.get(week, nothing)
        measures = [activity[name].to_numpy(np.float64, na_value=np.nan)[rows] for name in STANDING_ACTIVITY]
        graded_student, rows = courses_of.get(week, nothing)
        grades = [courses[name].to_numpy(np.float64, na_value=np.nan)[rows] for name in STANDING_COURSES]
        year.add(week, student, measures, graded_student, course_code[rows].astype(np.int64), grades)
        if week in wanted:
            enrolled = np.flatnonzero(year.enrolled(week))
            frame = pd.DataFrame(year.standing()[enrolled], columns=list(STANDING_COLUMNS))
            frame.insert(0, "student_id", index.to_numpy()[enrolled])
            frame.insert(1, "feature_date", pd.Series([feature_date(week)] * len(enrolled), dtype=object))
            frames.append(frame)
    if not frames:
        return pd.DataFrame(columns=["student_id", "feature_date", *STANDING_COLUMNS])
    return pd.concat(frames, ignore_index=True)


def read_standing(connection: Connection, work: Work, tenant: TenantSettings, weeks: Sequence[dt.date]) -> Standing:
    """The standing of the tenant's students in `weeks` (Mondays); reads the school year up to each of them.

    Memory: some 100 bytes per student and course, and 8 bytes per student, feature and week asked for.
    """
    students_ = read_students(connection, work, without_deleted=True)
    ids, people = students_.ids, read_groups(connection, work, tenant, students_.ids)
    calendar = school_calendar(connection, work, tenant.first_week)
    wanted = [week for week in sorted(set(weeks)) if week in set(calendar.weeks)]
    year = SchoolYear(people, students_.enrolled, calendar)
    activity_query, course_query = _queries(work)
    course_numbers: dict[str, int] = {}
    by_week: dict[dt.date, Floats] = {}
    # A group that has nobody enrolled in the weeks asked for need not be read from its start.
    needed = np.zeros(len(year.starts), dtype=bool)
    for week in wanted:
        needed[year.group[year.enrolled(week)]] = True
    for week in _span(calendar, wanted, year.starts[needed]):
        active_ids, *measures = read_arrays(
            connection, activity_query.params(week=week), ID, *(NUMBER for _ in STANDING_ACTIVITY)
        )
        student = positions(active_ids, ids)
        on_record = student >= 0
        graded_ids, course, *grades = read_arrays(
            connection, course_query.params(week=week), ID, OBJECT, *(NUMBER for _ in STANDING_COURSES)
        )
        graded_student = positions(graded_ids, ids)
        graded_on_record = graded_student >= 0
        # Sorted, because the two databases give the rows of a week in different orders.
        code, names = pd.factorize(course[graded_on_record], sort=True)
        number = np.array([course_numbers.setdefault(name, len(course_numbers)) for name in names], dtype=np.int64)
        year.add(
            week,
            student[on_record],
            [measure[on_record] for measure in measures],
            graded_student[graded_on_record],
            number[code] if len(code) else NO_POSITIONS,
            [grade[graded_on_record] for grade in grades],
        )
        if week in wanted:
            by_week[week] = year.standing()
    for week in weeks:
        by_week.setdefault(week, np.full((len(ids), len(STANDING_COLUMNS)), np.nan))
    return Standing(ids, by_week)


def _queries(work: Work) -> tuple[sa.Select[Any], sa.Select[Any]]:
    """`STANDING_ACTIVITY` by student, and `STANDING_COURSES` by student and course, of the parameter `week`."""
    activity, course_grades = weekly_activity.c, weekly_course_grades.c
    week = sa.bindparam("week", type_=sa.Date())
    measures = [plain(known_measure(name)) for name in STANDING_ACTIVITY]
    grades = [plain(course_grades[name]) for name in STANDING_COURSES]
    return (
        sa.select(as_text(activity.student_id), *measures).where(
            activity.tenant_id == work.tenant, activity.week_start == week
        ),
        sa.select(as_text(course_grades.student_id), course_grades.course_id, *grades).where(
            course_grades.tenant_id == work.tenant, course_grades.week_start == week
        ),
    )


def read_groups(
    connection: Connection, work: Work, tenant: TenantSettings, ids: npt.NDArray[np.bytes_]
) -> pd.DataFrame:
    """Of the students with these ids (sorted) `group` and `start`, as `standing_features` takes them, in that order."""
    table = students.c
    group: npt.NDArray[Any] = np.full(len(ids), "", dtype=object)
    start = np.full(len(ids), np.datetime64("NaT"), dtype="datetime64[s]")
    if tenant.cohort.group_by:
        described = connection.execute(
            sa.select(as_text(table.id), table.student_metadata).where(
                table.tenant_id == work.tenant, table.deleted_on.is_(None)
            )
        ).all()
        place = positions(np.array([text.encode() for text, _ in described], dtype=ID), ids)
        for position, (_, metadata) in zip(place.tolist(), described, strict=True):
            if position < 0:  # came in between two queries
                continue
            names = tenant.cohort.group_of(metadata)
            group[position] = "/".join(names)
            first = tenant.cohort.start_of(names)
            if first is not None:
                start[position] = np.datetime64(first, "s")
    return pd.DataFrame({"group": group, "start": start})


def _span(calendar: SchoolCalendar, wanted: Sequence[dt.date], starts: npt.NDArray[np.datetime64]) -> Iterator[dt.date]:
    """The school weeks to read for the `wanted` ones (ascending), from the beginning of the first one's year on.

    The year begins after a summer, or on the days on which groups say they start (`starts`, NaT where one does not).
    """
    if not wanted:
        return
    first = last = wanted[0]
    for week in reversed([week for week in calendar.weeks if week <= wanted[0]]):
        if (last - week).days // 7 > SUMMER_WEEKS:
            break
        first = last = week
    declared = [week_start(day) for day in starts.tolist() if day is not None]
    if declared and len(declared) == len(starts):
        first = min(wanted[0], *declared)
    elif declared:
        first = min(first, *declared)
    yield from (week for week in calendar.weeks if first <= week <= wanted[-1])


def _rows_by_week(rows: pd.DataFrame, index: pd.Index) -> dict[dt.date, tuple[Integers, Integers]]:
    """Per week the positions in `index` of its rows' students, and the numbers of these rows."""
    student = index.get_indexer(pd.Index(rows["student_id"])).astype(np.int64)
    codes, weeks = pd.factorize(rows["week_start"])
    by_week: dict[dt.date, tuple[Integers, Integers]] = {}
    for code, week in enumerate(weeks):
        numbers = np.flatnonzero((codes == code) & (student >= 0))
        by_week[week if type(week) is dt.date else pd.Timestamp(week).date()] = (student[numbers], numbers)
    return by_week
