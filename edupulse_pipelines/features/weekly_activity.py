"""Weekly activity: one row per student and week, rolled up from attendance, grades and incidents.

`update_weekly_activity` recomputes the student-weeks that are marked and those whose sessions a changed calendar or
enrolment makes stale, no others, and leaves marks for the feature vectors that depend on them. Not here: how records
are read and counted (`roll_up`), on which days there is instruction (`instruction`), how vectors are made (`vectors`).
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.features.definitions import DOMAINS
from edupulse_pipelines.features.enrolment import COMPUTED_FROM, NOBODY, Students, read_students
from edupulse_pipelines.features.instruction import InDoubt, Instruction, instruction, stale_days, stale_sessions
from edupulse_pipelines.features.roll_up import (
    BASIS,
    NULLABLE,
    ROW_MEASURES,
    Batch,
    CourseGrades,
    Courses,
    RolledUp,
    read_cells,
    rolled_up,
)
from edupulse_pipelines.features.school_calendar import SchoolCalendar, school_calendar
from edupulse_pipelines.features.vectors import Booleans, Floats
from edupulse_pipelines.schema.sqlalchemy_tables import weekly_activity, weekly_course_grades
from edupulse_pipelines.settings import AttendanceSettings, CalendarSettings, DayRule
from edupulse_pipelines.storage import step_accounts
from edupulse_pipelines.storage.bulk import (
    ID,
    IDS_PER_QUERY,
    NUMBER,
    OBJECT,
    ROWS_PER_WRITE,
    Bytes,
    Integers,
    id_batches,
    uuids,
    write_columns,
)
from edupulse_pipelines.storage.pending import Mark, put_marks, take_marks
from edupulse_pipelines.storage.removals import removed_through
from edupulse_pipelines.storage.work import Work

_CELLS_PER_BATCH = 20_000
"""Student-weeks of named students worked on at a time."""
_KEY = ("student_id", "week_start")
_FRACTIONAL = frozenset({"grade_mean", "grade_lowest", "days_missed"})
_COUNTED = ("recomputed", "inserted", "updated", "unchanged", "deleted", "empty")


@dataclass(frozen=True)
class ActivityReport:
    """What an update did, in student-weeks; recomputed = inserted + updated + unchanged + deleted + empty."""

    recomputed: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    empty: int = 0
    """Marked, but without records before and now."""
    weeks_without_calendar: int = 0
    """Weeks of which only absences are known and not the days of instruction: they have no attendance rate."""
    weeks_in_doubt: int = 0
    """Weeks of whose attendance something could not be read, of some student at least: no rate there either."""
    weeks_by_period: int = 0
    """Weeks with absences by period and no declaration of how many sessions a day has: no rate either."""


def update_weekly_activity(
    work: Work,
    first_week: dt.date | None = None,
    attendance: AttendanceSettings | None = None,
    calendar: CalendarSettings | None = None,
    in_doubt: InDoubt | None = None,
    absent_day: DayRule = "half",
) -> ActivityReport:
    """Recompute the stale student-weeks of `weekly_activity` and `weekly_course_grades`, in one transaction.

    Takes the 'weekly_activity' marks, and the 'enrolled_days' ones for a week and every later one that has a row; a
    mark without a student is for every student. `attendance` and `calendar` are the tenant's settings (default: every
    session is recorded); where only exceptions are recorded, student-weeks are stale too when their `sessions_basis` is
    not what calendar and enrolment say now. `in_doubt` then gives the student-weeks of whose attendance something could
    not be read: their sessions are unknown. `absent_day` is the tenant's day rule; weeks whose days were made by
    another one (`days_basis`) are stale as well.

    Leaves 'student_features' marks: each student's earliest recomputed week (one mark for everybody where a whole week
    was recomputed) and, when a school week appeared or vanished or a domain is now known since another week, that week
    for every student.

    The report is of all that the work's run has done: an earlier try of its step is counted in.
    """
    with work.writing() as connection:
        taken = take_marks(connection, work, "weekly_activity")
        enrolled_otherwise = take_marks(connection, work, "enrolled_days")
        teaching = instruction(
            connection, work, first_week, attendance or AttendanceSettings(), calendar or CalendarSettings(), in_doubt
        )
        unknown = {} if teaching is None else _unknown(teaching)
        people = NOBODY if teaching is None else read_students(connection, work)
        stale = list(stale_sessions(connection, work, teaching, absent_day, people))
        stale += stale_days(connection, work, enrolled_otherwise)
        if not taken and not stale:
            return _report(connection, work, [0] * len(_COUNTED), unknown)
        before = school_calendar(connection, work, first_week)
        if teaching is None:
            people = read_students(connection, work)
        marks = _marks(taken, stale, people)
        courses = Courses()
        counts = np.zeros(5, dtype=np.int64)
        recomputed = 0
        removed = removed_through(connection, work, COMPUTED_FROM)
        for batch in (batch.after(*removed) for batch in _batches(marks, people)):
            counts += _recompute(connection, work, batch, courses, teaching, people, absent_day)
            recomputed += int(batch.marked.sum())
        put_marks(connection, work, "student_features", _vectors_of(marks))
        moved = _first_difference(before, school_calendar(connection, work, first_week))
        if moved is not None:
            put_marks(connection, work, "student_features", [(None, moved)])
        return _report(connection, work, [recomputed, *counts.tolist()], unknown)


def _report(connection: Connection, work: Work, counts: Sequence[int], unknown: Mapping[str, int]) -> ActivityReport:
    """The report of the run, to which this transaction adds its counts (in the order of `_COUNTED`)."""
    in_all = step_accounts.add(connection, work, weekly_activity.name, dict(zip(_COUNTED, counts, strict=True)))
    return ActivityReport(**in_all, **unknown)


def _unknown(teaching: Instruction) -> dict[str, int]:
    """How many weeks have no attendance rate, of some student at least, by the reason."""
    return {
        "weeks_without_calendar": len(teaching.unknown_weeks),
        "weeks_in_doubt": len(teaching.weeks_in_doubt) + len(teaching.in_doubt),
        "weeks_by_period": len(teaching.weeks_by_period),
    }


@dataclass(frozen=True)
class _Marks:
    """The student-weeks to recompute: weeks of every student, and single ones in other weeks."""

    everyones: list[dt.date]
    """Mondays, ascending."""
    ids: Bytes
    """The student of each single mark, in no order; one may come several times."""
    weeks: Integers
    """The ordinal day of its Monday."""


def _marks(taken: set[Mark], stale: Iterable[tuple[dt.date, Bytes | None]], people: Students) -> _Marks:
    everyones = {week for student, week in taken if student is None}
    named = [(student, week.toordinal()) for student, week in taken if student is not None]
    ids = [np.array([student for student, _ in named], dtype=ID)]
    weeks = [np.array([week for _, week in named], dtype=np.int64)]
    for week, students in stale:
        if students is None or 2 * len(students) > len(people):
            everyones.add(week)
        else:
            ids.append(students)
            weeks.append(np.full(len(students), week.toordinal()))
    student, monday = np.concatenate(ids), np.concatenate(weeks)
    alone = ~np.isin(monday, [week.toordinal() for week in everyones])
    return _Marks(sorted(everyones), student[alone], monday[alone])


def _vectors_of(marks: _Marks) -> Iterator[Mark]:
    """The marks for the vectors that depend on the recomputed weeks.

    One for everybody from the first week that was recomputed for everybody; a student's own where it is earlier.
    """
    everyones = min(marks.everyones, default=dt.date.max)
    if marks.everyones:
        yield None, everyones
    ids, student = np.unique(marks.ids, return_inverse=True)
    earliest = np.full(len(ids), everyones.toordinal(), dtype=np.int64)
    np.minimum.at(earliest, student, marks.weeks)
    for number in np.flatnonzero(earliest < everyones.toordinal()).tolist():
        yield ids[number].item(), dt.date.fromordinal(int(earliest[number]))


def _batches(marks: _Marks, people: Students) -> Iterator[Batch]:
    """The weeks of every student, then the single marks in batches.

    A student's marks are cut into runs of neighbouring weeks. A batch holds runs that begin within a month of each
    other, so that few records are read that nobody marked.
    """
    if marks.everyones and len(people):
        keys = uuids(people.ids)
        everybody = np.ones(len(people), dtype=np.bool_)
        for monday in marks.everyones:
            yield Batch(people.ids, keys, monday, 1, everybody, everyone=True)
    if not len(marks.ids):
        return
    origin = int(marks.weeks.min())
    ids, student = np.unique(marks.ids, return_inverse=True)
    span = int(marks.weeks.max() - origin) // 7 + 1
    student, week = np.divmod(np.unique(student * span + (marks.weeks - origin) // 7), span)
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
            yield _batch(members, starts, ends, student, week, ids, dt.date.fromordinal(origin))
            members = []
        if not members:
            first, last = run_first, run_last
        members.append(int(position))
        last = max(last, run_last)
    yield _batch(members, starts, ends, student, week, ids, dt.date.fromordinal(origin))


def _batch(
    members: list[int],
    starts: Integers,
    ends: Integers,
    student: Integers,
    week: Integers,
    ids: Bytes,
    origin: dt.date,
) -> Batch:
    rows = np.concatenate([np.arange(starts[run], ends[run] + 1) for run in members])
    here, local = np.unique(student[rows], return_inverse=True)
    first, last = int(week[rows].min()), int(week[rows].max())
    weeks = last - first + 1
    marked = np.zeros(len(here) * weeks, dtype=np.bool_)
    marked[local * weeks + week[rows] - first] = True
    return Batch(ids[here], uuids(ids[here]), origin + dt.timedelta(days=7 * first), weeks, marked)


def _recompute(
    connection: Connection,
    work: Work,
    batch: Batch,
    courses: Courses,
    teaching: Instruction | None,
    people: Students,
    absent_day: DayRule,
) -> Integers:
    """Bring the batch's rows of both tables up to date; inserted, updated, unchanged, deleted, empty."""
    now = rolled_up(connection, work, batch, courses, teaching, people, absent_day)
    measures, basis, day_rule, stored = _stored(connection, work, batch)
    both = stored & now.exists
    equal = (now.measures == measures) | (np.isnan(now.measures) & np.isnan(measures))
    same = both & equal.all(axis=0) & (now.basis == basis) & (day_rule == absent_day.encode())
    new, changed, gone = now.exists & ~stored, both & ~same, stored & ~now.exists

    _delete(connection, weekly_activity, work, batch, np.flatnonzero(gone))
    for cells, overwrite in ((new, ()), (changed, _KEY)):
        _write(connection, work, batch, now, absent_day, np.flatnonzero(cells), overwrite)
    _write_courses(connection, work, batch, courses, now.course_grades)
    empty = batch.marked & ~now.exists & ~stored
    return np.array([part.sum() for part in (new, changed, same, gone, empty)], dtype=np.int64)


def _stored(connection: Connection, work: Work, batch: Batch) -> tuple[Floats, Bytes, Bytes, Booleans]:
    """The stored measures of the marked cells [measures x cells], their bases, and which cells have a row."""
    measures = np.full((len(ROW_MEASURES), len(batch.marked)), np.nan)
    basis, day_rule = (np.zeros(len(batch.marked), dtype=BASIS) for _ in range(2))
    exists = np.zeros(len(batch.marked), dtype=np.bool_)
    columns = {**dict.fromkeys(ROW_MEASURES, NUMBER), "sessions_basis": OBJECT, "days_basis": OBJECT}
    week_start = weekly_activity.c.week_start
    for cell, _, (*numbers, texts, rules) in read_cells(connection, work, batch, week_start, columns, everyones="week"):
        exists[cell] = True
        for number, column in enumerate(numbers):
            measures[number, cell] = column
        basis[cell] = [(text or "").encode() for text in texts]
        day_rule[cell] = [(text or "").encode() for text in rules]
    return measures, basis, day_rule, exists


def _write(
    connection: Connection,
    work: Work,
    batch: Batch,
    now: RolledUp,
    absent_day: DayRule,
    cells: Integers,
    overwrite: Sequence[str],
) -> None:
    """Insert the cells' rows, or overwrite those with the same `overwrite` columns."""
    cells = cells[np.argsort(cells % batch.weeks, kind="stable")]  # week by week, as they will be read
    for start in range(0, len(cells), ROWS_PER_WRITE):
        here = cells[start : start + ROWS_PER_WRITE]
        columns: dict[str, Sequence[Any]] = _keys(work, batch, here)
        for name, measure in zip(ROW_MEASURES, now.measures, strict=True):
            columns[name] = _values(measure[here], nullable=name in NULLABLE, fractional=name in _FRACTIONAL)
        columns["sessions_basis"] = [text.decode() or None for text in now.basis[here].tolist()]
        columns["days_basis"] = [absent_day] * len(here)
        write_columns(connection, weekly_activity, columns, overwrite=overwrite)


def _keys(work: Work, batch: Batch, cells: Integers) -> dict[str, Sequence[Any]]:
    """The columns that say whose rows of which weeks the cells are."""
    weeks = [batch.week(number) for number in range(batch.weeks)]
    return {
        "tenant_id": [work.tenant] * len(cells),
        "student_id": [batch.keys[place] for place in (cells // batch.weeks).tolist()],
        "week_start": [weeks[place] for place in (cells % batch.weeks).tolist()],
    }


def _values(column: Floats, *, nullable: bool, fractional: bool) -> list[Any]:
    if not nullable:
        return column.astype(np.int64).tolist()
    values = column.tolist()
    return [None if math.isnan(value) else value if fractional else int(value) for value in values]


def _delete(
    connection: Connection,
    table: sa.Table,
    work: Work,
    batch: Batch,
    cells: Integers,
    *where: sa.ColumnElement[bool],
) -> None:
    for monday, of_week in groupby(sorted(cells.tolist(), key=batch.week), key=batch.week):
        students = [batch.keys[cell // batch.weeks] for cell in of_week]
        for ids in id_batches(students):
            connection.execute(
                sa.delete(table).where(
                    table.c.tenant_id == work.tenant, table.c.week_start == monday, table.c.student_id.in_(ids), *where
                )
            )


def _write_courses(connection: Connection, work: Work, batch: Batch, courses: Courses, now: CourseGrades) -> None:
    """Bring the batch's rows of `weekly_course_grades` up to date; rows that are the same are not touched."""
    stored = _stored_courses(connection, work, batch, courses)
    several = max(1, len(courses.names))
    stored_keys, keys = (grades.cell * several + grades.course for grades in (stored, now))
    place, has_row = _places(keys, stored_keys)
    same = has_row.copy()
    same[has_row] = (
        (now.count[has_row] == stored.count[place])
        & (now.mean[has_row] == stored.mean[place])
        & (now.lowest[has_row] == stored.lowest[place])
    )
    names = list(courses.names)
    gone = stored_keys[~np.isin(stored_keys, keys)]
    for number in np.unique(gone % several).tolist():
        cells = gone[gone % several == number] // several
        of_course = weekly_course_grades.c.course_id == names[number]
        _delete(connection, weekly_course_grades, work, batch, cells, of_course)
    for selected, overwrite in ((~has_row, ()), (has_row & ~same, (*_KEY, "course_id"))):
        for start in range(0, int(selected.sum()), ROWS_PER_WRITE):
            rows = np.flatnonzero(selected)[start : start + ROWS_PER_WRITE]
            columns = {
                **_keys(work, batch, now.cell[rows]),
                "course_id": [names[course] for course in now.course[rows].tolist()],
                "grade_count": now.count[rows].tolist(),
                "grade_mean": now.mean[rows].tolist(),
                "grade_lowest": now.lowest[rows].tolist(),
            }
            write_columns(connection, weekly_course_grades, columns, overwrite=overwrite)


def _stored_courses(connection: Connection, work: Work, batch: Batch, courses: Courses) -> CourseGrades:
    """The stored rows of the marked cells."""
    columns = {"course_id": OBJECT, "grade_count": "i8", "grade_mean": NUMBER, "grade_lowest": NUMBER}
    week_start = weekly_course_grades.c.week_start
    parts = [
        (cell, courses.numbers(course), *values)
        for cell, _, (course, *values) in read_cells(connection, work, batch, week_start, columns, everyones="week")
    ]
    return CourseGrades(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _places(keys: Integers, among: Integers) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """The positions in `among` of those keys that are in it, and which keys those are; both hold a key once."""
    order = np.argsort(among)
    rank = np.searchsorted(among, keys, sorter=order)
    is_there = rank < len(among)
    is_there[is_there] = among[order[rank[is_there]]] == keys[is_there]
    return order[rank[is_there]], is_there


def _first_difference(before: SchoolCalendar, after: SchoolCalendar) -> dt.date | None:
    """The earliest week from which the two calendars may give different vectors; None when they are alike."""
    moved = set(before.weeks) ^ set(after.weeks)
    for domain in DOMAINS:
        since = {before.domain_since[domain], after.domain_since[domain]}
        if len(since) > 1:
            moved.update(week for week in since if week is not None)
    return min(moved, default=None)
