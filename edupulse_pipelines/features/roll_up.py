"""The roll-up: attendance, grades and incidents of a batch of students read, and counted per student and week.

Deleted records are not counted. Nothing is written here: which student-weeks are computed, and how they are stored, is
in `weekly_activity`.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.features.days import DAY_MEASURES, Minutes, days_of
from edupulse_pipelines.features.enrolment import Days, Students
from edupulse_pipelines.features.instruction import BASIS, Instruction, bases
from edupulse_pipelines.features.known_activity import UNKNOWN
from edupulse_pipelines.features.vectors import ACTIVITY_MEASURES, STATUSES, Booleans, Floats
from edupulse_pipelines.schema.sqlalchemy_tables import attendance_records, discipline_incidents, grades
from edupulse_pipelines.settings import DayRule
from edupulse_pipelines.storage.bulk import (
    DAY,
    ID,
    NUMBER,
    OBJECT,
    Bytes,
    Integers,
    as_text,
    id_batches,
    ordinals,
    plain,
    positions,
    read_pieces,
)
from edupulse_pipelines.storage.work import Work

ROW_MEASURES: tuple[str, ...] = (*ACTIVITY_MEASURES, *DAY_MEASURES)
"""The numbers of a row of weekly activity."""
NULLABLE = frozenset({"grade_mean", "grade_lowest", "severity_highest", *DAY_MEASURES})
Span = Literal["day", "week", "students"]
"""How a batch of all students finds its rows in a table: day by day, a week at once, or by naming the students."""


@dataclass(frozen=True)
class Batch:
    """Marked student-weeks of some students as cells of a grid [students x weeks], row by row."""

    ids: Bytes
    """The students, sorted, as the database's text of the id; `keys` are the same as UUIDs."""
    keys: list[uuid.UUID]
    first: dt.date
    """The Monday of the first week."""
    weeks: int
    """How many weeks follow each other from `first` on."""
    marked: Booleans
    """Which cells are to be computed."""
    everyone: bool = False
    """One week of all students of the tenant: their rows are then found without naming the students."""

    @property
    def last_day(self) -> dt.date:
        """The Sunday of the last week."""
        return self.first + dt.timedelta(days=7 * self.weeks - 1)

    def after(self, ids: Bytes, through: Days) -> Batch:
        """The batch without weeks that begin up to a day of some students' own (of `ids`, sorted): they stay as are."""
        place = positions(self.ids, ids)
        if not len(ids) or not (place >= 0).any():
            return self
        mondays = np.datetime64(self.first, "D") + 7 * np.arange(self.weeks)
        days = np.append(through, np.datetime64("NaT", "D"))[place]
        kept = ~(mondays[None, :] <= days[:, None])  # a comparison with NaT is false
        return replace(self, marked=self.marked & kept.reshape(-1))

    def week(self, cell: int) -> dt.date:
        """The Monday of a cell."""
        return self.first + dt.timedelta(days=7 * (cell % self.weeks))


@dataclass
class Courses:
    """Numbers for the names of courses, in the order in which the names come up."""

    names: dict[str, int] = field(default_factory=dict)

    def numbers(self, names: npt.NDArray[np.object_]) -> Integers:
        """The number of each name."""
        numbers = self.names
        return np.fromiter((numbers.setdefault(name, len(numbers)) for name in names.tolist()), np.int64, len(names))


@dataclass(frozen=True)
class CourseGrades:
    """Grades by cell and course, in no particular order; `course` numbers a name of `Courses`."""

    cell: Integers
    course: Integers
    count: Integers
    mean: Floats
    lowest: Floats


@dataclass(frozen=True)
class RolledUp:
    """What the records say of a batch's cells."""

    measures: Floats
    """[`ROW_MEASURES` x cells]"""
    basis: Bytes
    """`sessions_basis` of the cells; empty where every session is recorded."""
    exists: Booleans
    """Marked cells that get a row: they have records, or days of instruction."""
    course_grades: CourseGrades


def rolled_up(
    connection: Connection,
    work: Work,
    batch: Batch,
    courses: Courses,
    calendar: Instruction | None,
    people: Students,
    absent_day: DayRule,
) -> RolledUp:
    """The batch's weekly activity as the records have it now.

    `calendar` is None where every session is recorded; `people` are all students of the tenant.
    """
    cells = len(batch.marked)
    measure = {name: np.full(cells, np.nan) if name in NULLABLE else np.zeros(cells) for name in ROW_MEASURES}
    sessions, minutes = _sessions_by_day(connection, work, batch, minutes=absent_day == "minutes")
    exists: Booleans = np.any(sessions > 0, axis=(0, 2))
    basis = np.zeros(cells, dtype=BASIS)
    enrolled = _enrolled(batch, people[positions(batch.ids, people.ids)])
    if calendar is not None:
        taught = enrolled & _of_instruction(batch, calendar)
        in_doubt = _in_doubt(batch, calendar)
        taught[in_doubt] = False
        exceptions = sum(sessions[STATUSES.index(status)] for status in STATUSES if status != "present")
        present = sessions[STATUSES.index("present")]
        # A day's sessions that no record speaks of were attended.
        present[taught] = np.maximum(present, calendar.sessions_per_day - exceptions)[taught]
        exists |= taught.any(axis=1)
        basis = _basis(batch, calendar, taught)
        basis[in_doubt] = UNKNOWN.encode()
    for number, status in enumerate(STATUSES):
        measure[f"sessions_{status}"] = sessions[number].sum(axis=1).astype(np.float64)
    measure["unexcused_absences"] = (sessions[STATUSES.index("absent")] > 0).sum(axis=1).astype(np.float64)
    known = basis != UNKNOWN.encode()
    for name, days in days_of(sessions, enrolled, absent_day, minutes).items():
        measure[name][known] = days[known]

    cell, (score, course) = _all_of(
        read_cells(
            connection,
            work,
            batch,
            grades.c.submission_date,
            {"grade_value": NUMBER, "course_id": OBJECT},
            everyones="students",
        ),
        lambda score, course: [score, courses.numbers(course)],
    )
    exists[cell] = True
    scored = ~np.isnan(score)
    cell, score, course = cell[scored], score[scored], course[scored]
    group, count, mean, lowest = _grade_groups(cell, score)
    measure["grade_count"][group] = count
    measure["grade_mean"][group] = mean
    measure["grade_lowest"][group] = lowest
    several = max(1, len(courses.names))
    group, count, mean, lowest = _grade_groups(cell * several + course, score)
    course_grades = CourseGrades(group // several, group % several, count, mean, lowest)

    cell, (severity,) = _all_of(
        read_cells(
            connection,
            work,
            batch,
            discipline_incidents.c.incident_date,
            {"severity_level": NUMBER},
            everyones="week",
        )
    )
    measure["incident_count"] = np.bincount(cell, minlength=cells).astype(np.float64)
    highest = np.zeros(cells)
    np.maximum.at(highest, cell, severity)
    measure["severity_highest"] = np.where(highest > 0, highest, np.nan)
    exists[cell] = True

    return RolledUp(np.stack([measure[name] for name in ROW_MEASURES]), basis, exists & batch.marked, course_grades)


def read_cells(
    connection: Connection,
    work: Work,
    batch: Batch,
    date: sa.Column[dt.date],
    columns: dict[str, str],
    *,
    everyones: Span,
) -> Iterator[tuple[Integers, Integers, list[npt.NDArray[Any]]]]:
    """Rows of marked cells of the date column's table: cell, day of the week (0 = Monday), and the columns by type.

    A piece at a time, without deleted rows. `everyones`: how the rows are found when the batch is of all students.
    """
    table = date.table
    assert isinstance(table, sa.Table)
    wanted = sa.select(as_text(table.c.student_id), as_text(date), *(plain(table.c[name]) for name in columns))
    yield from _cells(connection, batch, _on_record(wanted, table, work), date, columns.values(), everyones)


def _sessions_by_day(
    connection: Connection, work: Work, batch: Batch, *, minutes: bool
) -> tuple[npt.NDArray[np.int32], Minutes | None]:
    """Recorded sessions [`STATUSES` x cells x 7 days], and where they are asked for the minutes of each day.

    The database counts them: a student has up to ten a day, and the rows would take longer to send.
    """
    table, record = attendance_records, attendance_records.c
    counts: list[sa.ColumnElement[int]] = [sa.func.count().filter(record.status == status) for status in STATUSES]
    if minutes:
        told = record.minutes_absent <= record.minutes_possible
        counts += [_total(record.minutes_absent, told), _total(record.minutes_possible, told)]
        counts.append(sa.func.count().filter(told))
    wanted = sa.select(as_text(record.student_id), as_text(record.date), *counts)
    statement = _on_record(wanted, table, work).group_by(record.student_id, record.date)
    found = np.zeros((len(counts), len(batch.marked) * 7), dtype=np.int32)
    for cell, day, values in _cells(connection, batch, statement, record.date, ["i4"] * len(counts), "day"):
        for number, value in enumerate(values):
            found[number, cell * 7 + day] = value
    by_day = found.reshape(len(counts), -1, 7)
    statuses = len(STATUSES)
    return by_day[:statuses], Minutes(*by_day[statuses:]) if minutes else None


def _total(column: sa.ColumnElement[int], where: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    """The sum of a column over some rows of a group, 0 without any."""
    return sa.cast(sa.func.coalesce(sa.func.sum(column).filter(where), 0), sa.Integer)


def _on_record(statement: sa.Select[Any], table: sa.Table, work: Work) -> sa.Select[Any]:
    statement = statement.where(table.c.tenant_id == work.tenant)
    return statement.where(table.c.deleted_on.is_(None)) if "deleted_on" in table.c else statement


def _cells(
    connection: Connection,
    batch: Batch,
    statement: sa.Select[Any],
    date: sa.Column[dt.date],
    types: Any,
    everyones: Span,
) -> Iterator[tuple[Integers, Integers, list[npt.NDArray[Any]]]]:
    """The rows of a statement that selects student, date and columns of `types`."""
    for part in _parts(batch, statement, date, everyones):
        for student, day_text, *values in read_pieces(connection, part, ID, DAY, *types):
            day = ordinals(day_text) - batch.first.toordinal()
            place = positions(student, batch.ids)
            cell = place * batch.weeks + day // 7
            keep = (place >= 0) & batch.marked[cell]
            yield cell[keep], day[keep] % 7, [column[keep] for column in values]


def _parts(
    batch: Batch, statement: sa.Select[Any], date: sa.Column[dt.date], everyones: Span
) -> Iterator[sa.Select[Any]]:
    """The statement in parts, each with a result that fits into memory."""
    if batch.everyone and everyones == "day":
        for number in range(7 * batch.weeks):
            yield statement.where(date == batch.first + dt.timedelta(days=number))
        return
    statement = statement.where(date.between(batch.first, batch.last_day))
    if batch.everyone and everyones == "week":
        yield statement
        return
    for ids in id_batches(batch.keys):
        yield statement.where(date.table.c.student_id.in_(ids))


def _all_of(pieces: Any, shortened: Any = lambda *columns: list(columns)) -> tuple[Integers, list[npt.NDArray[Any]]]:
    """Cell and columns of all pieces; `shortened` makes smaller columns of a piece's."""
    cells, columns = [], []
    for cell, _, values in pieces:
        cells.append(cell)
        columns.append(shortened(*values))
    return np.concatenate(cells), [np.concatenate(parts) for parts in zip(*columns, strict=True)]


def _enrolled(batch: Batch, people: Students) -> Booleans:
    """Whether the student of a cell was enrolled on each day [cells x 7]; `people` are those of the batch."""
    days = np.datetime64(batch.first, "D") + np.arange(7 * batch.weeks)
    return np.column_stack([people.enrolled_on(day) for day in days]).reshape(-1, 7)


def _of_instruction(batch: Batch, calendar: Instruction) -> Booleans:
    """Which days of a cell's week are days of instruction [cells x 7]."""
    weeks = np.zeros((batch.weeks, 7), dtype=np.bool_)
    for number, week in enumerate(_weeks(batch)):
        weeks[number, [day.weekday() for day in calendar.days.get(week, ())]] = True
    return np.tile(weeks, (len(batch.ids), 1))


def _in_doubt(batch: Batch, calendar: Instruction) -> Booleans:
    """The cells of students of whose attendance in that week something could not be read."""
    cells = np.zeros((len(batch.ids), batch.weeks), dtype=np.bool_)
    for number, week in enumerate(_weeks(batch)):
        if week in calendar.in_doubt:
            cells[:, number] = np.isin(batch.ids, calendar.in_doubt[week])
    return cells.reshape(-1)


def _basis(batch: Batch, calendar: Instruction, taught: Booleans) -> Bytes:
    basis = bases(calendar, taught).reshape(-1, batch.weeks)
    basis[:, [week not in calendar.days for week in _weeks(batch)]] = UNKNOWN.encode()
    return basis.reshape(-1)


def _weeks(batch: Batch) -> Sequence[dt.date]:
    return [batch.week(number) for number in range(batch.weeks)]


def _grade_groups(key: Integers, score: Floats) -> tuple[Integers, Integers, Floats, Floats]:
    """Per distinct key: key, count, mean and lowest score.

    The scores of a key are added from the lowest up, so that the mean does not depend on the order of the rows.
    """
    if not len(key):
        return key, key, score, score
    order = np.lexsort((score, key))
    key, score = key[order], score[order]
    starts = np.flatnonzero(np.r_[True, np.diff(key) != 0])
    count = np.diff(np.r_[starts, len(key)])
    # The mean of equal scores may round a hair past 100.
    mean = np.clip(np.add.reduceat(score, starts) / count, 0.0, 100.0)
    return key[starts], count, mean, score[starts]
