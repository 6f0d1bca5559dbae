"""The days of instruction of a district that records only absences; and the student-weeks that are stale without a mark
of their own: by these days, by another day rule, by a changed enrolment.

Where only exceptions are recorded, everybody enrolled on a day of instruction is taken to have attended its sessions,
unless a record says otherwise. The days come from the tenant's settings or, for weeks that these do not cover, from the
calendar that the district delivers. In a week without either the sessions are unknown, and there is no attendance
rate. The same holds where something that was delivered about attendance could not be read: it may be an absence. The
sessions are counted in `roll_up`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.features.enrolment import Students
from edupulse_pipelines.features.known_activity import UNKNOWN
from edupulse_pipelines.features.school_calendar import activity_weeks
from edupulse_pipelines.schema.source_formats import format_of
from edupulse_pipelines.schema.sqlalchemy_tables import (
    attendance_records,
    instructional_days,
    weekly_activity,
)
from edupulse_pipelines.settings import WEEKDAYS, AttendanceSettings, CalendarSettings, DayRule, DaySpan
from edupulse_pipelines.storage import manifest
from edupulse_pipelines.storage.bulk import DAY, ID, Bytes, as_text, id_batches, positions, read_arrays, uuids
from edupulse_pipelines.storage.months import detached_months, month_of
from edupulse_pipelines.storage.pending import Mark
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK, feature_date, week_of_delivery, week_start, weeks_between

ATTENDANCE = attendance_records.name
InDoubt = Callable[[], Mapping[dt.date, frozenset[str] | None]]
"""Gives by week (Monday) the students of whose attendance something could not be read; None: of every student's."""
BASIS = "S20"
"""Type of `sessions_basis` in arrays; empty is NULL."""


@dataclass(frozen=True)
class Instruction:
    """The instructional calendar of the weeks for which attendance was delivered; weeks are Mondays."""

    sessions_per_day: int
    days: dict[dt.date, tuple[dt.date, ...]]
    """Days of instruction by week, of the weeks whose calendar is known; none in a week of holidays."""
    unknown_weeks: tuple[dt.date, ...]
    """Weeks with absences on record of which no calendar is known: their attendance rates are unknown."""
    weeks_in_doubt: tuple[dt.date, ...] = ()
    """Weeks whose calendar is known, and of whose absences some could not be read: nobody is said to have come."""
    weeks_by_period: tuple[dt.date, ...] = ()
    """Weeks with absences by period, where how many sessions a day has is not declared: unknown likewise."""
    in_doubt: Mapping[dt.date, Bytes] = field(default_factory=dict)
    """Of the other weeks: the students (sorted) of whom an absence could not be read; their sessions are unknown."""

    def basis(self, digits: str) -> str:
        """`sessions_basis` of a student-week with these days of instruction (1 = Monday)."""
        return f"{digits or '-'} x {self.sessions_per_day}"


def instruction(
    connection: Connection,
    work: Work,
    first_week: dt.date | None,
    attendance: AttendanceSettings,
    calendar: CalendarSettings,
    in_doubt: InDoubt | None = None,
) -> Instruction | None:
    """The instruction of a tenant that records exceptions only; None where every session is recorded.

    `in_doubt` is asked for the student-weeks of whose attendance something could not be read.
    """
    if attendance.recording == "all" or (attendance.recording == "auto" and not _sends_exceptions(connection, work)):
        return None
    weeks = attendance_weeks(connection, work, first_week)
    days = {week: tuple(_days_of_week(week, calendar)) for week in weeks if _covers(calendar, week)}
    days.update(_days_of_source(connection, work, [week for week in weeks if week not in days]))
    unknown = tuple(week for week in weeks if week not in days and _first_record(connection, work, week) == week)
    doubt = {} if in_doubt is None else in_doubt()
    of_everybody = tuple(sorted(week for week, students in doubt.items() if students is None and week in days))
    by_period: tuple[dt.date, ...] = ()
    if attendance.sessions_per_day == 1:
        by_period = tuple(week for week in _weeks_by_period(connection, work, days) if week not in of_everybody)
    for week in (*of_everybody, *by_period):
        del days[week]
    named = {
        week: np.sort(np.array(list(students), dtype=ID))
        for week, students in doubt.items()
        if students is not None and week in days
    }
    return Instruction(attendance.sessions_per_day, days, unknown, of_everybody, by_period, named)


def _weeks_by_period(connection: Connection, work: Work, weeks: Collection[dt.date]) -> list[dt.date]:
    """Those of the weeks with records of more than one period of the day, ascending."""
    if not weeks:
        return []
    record = attendance_records.c
    period = sa.func.coalesce(record.period, -1)
    query = (
        sa.select(record.date, sa.func.min(period), sa.func.max(period))
        .where(
            record.tenant_id == work.tenant,
            record.deleted_on.is_(None),
            record.date.between(min(weeks), feature_date(max(weeks))),
        )
        .group_by(record.date)
    )
    periods: dict[dt.date, set[int]] = {}
    for day, *lowest_and_highest in connection.execute(query):
        periods.setdefault(week_start(day), set()).update(lowest_and_highest)
    return sorted(week for week, found in periods.items() if len(found) > 1 and week in weeks)


def _sends_exceptions(connection: Connection, work: Work) -> bool:
    """Whether the district's attendance comes in a format that knows exceptions only."""
    return format_of(manifest.newest_source_format(connection, work, ATTENDANCE)).exceptions_only


def attendance_weeks(connection: Connection, work: Work, first_week: dt.date | None = None) -> list[dt.date]:
    """The weeks (Mondays, ascending) for which the district delivered attendance.

    Those of a loaded file, even one without rows, those that a full snapshot spans, and those with a record, up to the
    newest delivered one: a record of the week that is still open does not say that everybody else was there.
    """
    files = manifest.loaded_files(connection, work, ATTENDANCE)
    if not files:
        return []
    weeks = {week_of_delivery(file.delivered_on) for file in files}
    last = max(weeks)
    for file in files:
        if file.snapshot:
            begin, end = (week_start(dt.date.fromisoformat(file.snapshot[side])) for side in ("from", "to"))
            weeks.update(weeks_between(max(begin, first_week or begin), min(end, last)))
    week = _first_record(connection, work, first_week or dt.date.min)
    while week is not None and week <= last:  # from week to week through the index, past those that are known already
        weeks.add(week)
        following = week + WEEK
        while following in weeks:
            following += WEEK
        week = _first_record(connection, work, following)
    return sorted(week for week in weeks if (first_week or week) <= week <= last)


def _first_record(connection: Connection, work: Work, since: dt.date) -> dt.date | None:
    """The week of the first attendance record dated `since` or later."""
    record = attendance_records.c
    day = connection.execute(
        sa.select(sa.func.min(record.date)).where(
            record.tenant_id == work.tenant, record.deleted_on.is_(None), record.date >= since
        )
    ).scalar()
    return None if day is None else week_start(day)


def stale_sessions(
    connection: Connection, work: Work, calendar: Instruction | None, absent_day: DayRule, people: Students
) -> Iterator[tuple[dt.date, Bytes | None]]:
    """Per week the students whose stored sessions and days do not follow what is true now; None: everybody.

    They are found by `sessions_basis` (calendar and enrolments) and by `days_basis` (the day rule; NULL before there
    were days). A change of the calendar, of an enrolment, of what is recorded or of the day rule therefore needs no
    marks. Where the records of a week have been taken out of the table, its days stay as they are.
    `people`, all students of the tenant, is only used with a calendar.
    """
    detached = detached_months(connection, ATTENDANCE)
    days_of, otherwise = ({}, None) if calendar is None else (calendar.days, UNKNOWN)
    made_otherwise = set()
    for week in activity_weeks(connection, work):
        other_rule = _day_rule(connection, work, week) != absent_day
        if (other_rule and _attendance_is_there(connection, work, week, detached)) or (
            week not in days_of and _needs_everybody(connection, work, week, otherwise)
        ):
            made_otherwise.add(week)
            yield week, None
    if calendar is not None:
        for week, days in days_of.items():
            if week in made_otherwise:
                continue
            ids = _differing(connection, work, calendar, week, days, people)
            if week in calendar.in_doubt:
                doubted = calendar.in_doubt[week]
                known = np.intersect1d(_with_known_sessions(connection, work, week), doubted)
                ids = np.union1d(np.setdiff1d(ids, doubted), known)
            if len(ids):
                yield week, ids


def stale_days(
    connection: Connection, work: Work, enrolled_otherwise: Collection[Mark]
) -> Iterator[tuple[dt.date, Bytes | None]]:
    """Per week the students with a row whose days are to be made anew, as their enrolment has changed; None: everybody.

    A mark of `enrolled_otherwise` is for its week and every later one. Where the records of a week have been taken out
    of the table, its days stay as they are until these are back.
    """
    if not enrolled_otherwise:
        return
    everyones = min((week for student, week in enrolled_otherwise if student is None), default=dt.date.max)
    since: dict[bytes, dt.date] = {}
    for student, week in enrolled_otherwise:
        if student is not None and week < everyones:
            since[student] = min(week, since.get(student, week))
    stale: dict[dt.date, list[bytes]] = {}
    rows = weekly_activity.c
    named = uuids(np.array(sorted(since), dtype=ID))
    for ids in id_batches(named):
        query = sa.select(as_text(rows.student_id), as_text(rows.week_start)).where(
            rows.tenant_id == work.tenant, rows.student_id.in_(ids), rows.week_start >= min(since.values())
        )
        students, weeks = read_arrays(connection, query, ID, DAY)
        for student, text in zip(students.tolist(), weeks.tolist(), strict=True):
            week = dt.date.fromisoformat(text.decode())
            if since[student] <= week < everyones:
                stale.setdefault(week, []).append(student)
    detached = detached_months(connection, ATTENDANCE)
    later = [week for week in activity_weeks(connection, work) if week >= everyones]
    for week in sorted(stale) + later:
        if _attendance_is_there(connection, work, week, detached):
            yield week, None if week >= everyones else np.array(stale[week], dtype=ID)


def _with_known_sessions(connection: Connection, work: Work, week: dt.date) -> Bytes:
    """The students whose stored row of the week says how many sessions there were."""
    rows = weekly_activity.c
    query = sa.select(as_text(rows.student_id)).where(
        rows.tenant_id == work.tenant,
        rows.week_start == week,
        sa.func.coalesce(rows.sessions_basis, "") != UNKNOWN,
    )
    (ids,) = read_arrays(connection, query, ID)
    return ids


def _needs_everybody(connection: Connection, work: Work, week: dt.date, otherwise: str | None) -> bool:
    """Whether a row of a week without a known calendar has another basis than `otherwise`.

    One row tells where every session is recorded: rows of such a week are always written together. Where exceptions
    are, rows of students in doubt have the basis of such weeks before the others do.
    """
    rows = weekly_activity.c
    basis = sa.func.coalesce(rows.sessions_basis, "")
    query = sa.select(basis).where(rows.tenant_id == work.tenant, rows.week_start == week).limit(1)
    if otherwise is not None:
        query = query.where(basis != otherwise)
    return (connection.execute(query).scalar() or None) not in (None, otherwise)


def _attendance_is_there(connection: Connection, work: Work, week: dt.date, detached: Collection[dt.date]) -> bool:
    """Whether the records that the week's sessions were counted from are still in the table, or there were none.

    `detached`: the months (their first days) whose tables stand alone.
    """
    if {month_of(week), month_of(feature_date(week))} & set(detached):
        return False
    record, row = attendance_records.c, weekly_activity.c
    sessions = row.sessions_present + row.sessions_absent + row.sessions_tardy + row.sessions_excused
    recorded = sa.exists().where(
        record.tenant_id == work.tenant, record.date.between(week, feature_date(week)), record.deleted_on.is_(None)
    )
    counted = sa.exists().where(row.tenant_id == work.tenant, row.week_start == week, sessions > 0)
    return bool(connection.scalar(sa.select(sa.or_(recorded, sa.not_(counted)))))


def _day_rule(connection: Connection, work: Work, week: dt.date) -> str | None:
    """`days_basis` of any row: all rows of a week are made by one day rule."""
    rows = weekly_activity.c
    query = sa.select(rows.days_basis).where(rows.tenant_id == work.tenant, rows.week_start == week)
    return connection.execute(query.limit(1)).scalar()


def _differing(
    connection: Connection,
    work: Work,
    calendar: Instruction,
    week: dt.date,
    days: Sequence[dt.date],
    people: Students,
) -> Bytes:
    """The students whose row of the week has another basis, is missing or is one too many."""
    row = weekly_activity.c
    query = sa.select(as_text(row.student_id), sa.func.coalesce(row.sessions_basis, "")).where(
        row.tenant_id == work.tenant, row.week_start == week
    )
    ids, basis = read_arrays(connection, query, ID, BASIS)
    stored = np.zeros(len(people), dtype=BASIS)
    has_row = np.zeros(len(people), dtype=np.bool_)
    place = positions(ids, people.ids)
    stored[place], has_row[place] = basis, True
    taught = np.zeros((len(people), 7), dtype=np.bool_)
    for day in days:
        taught[:, day.weekday()] = people.enrolled_on(np.datetime64(day, "D"))
    wanted = taught.any(axis=1)
    return people.ids[np.where(has_row, stored != bases(calendar, taught), wanted)]


def bases(calendar: Instruction, taught: npt.NDArray[np.bool_]) -> Bytes:
    """`sessions_basis` of student-weeks with these days of instruction while enrolled [student-weeks x 7]."""
    texts = [
        calendar.basis("".join(str(day + 1) for day in range(7) if code >> day & 1)).encode() for code in range(2**7)
    ]
    return np.array(texts, dtype=BASIS)[taught @ (1 << np.arange(7))]


def _covers(calendar: CalendarSettings, week: dt.date) -> bool:
    """Whether the settings speak of the week: it lies between their first and their last day."""
    if not calendar.terms:
        return False
    first = min(*(term.start for term in calendar.terms), *calendar.extra_days, dt.date.max)
    last = max(*(term.end for term in calendar.terms), *calendar.extra_days, dt.date.min)
    return first <= feature_date(week) and week <= last


def _days_of_week(week: dt.date, calendar: CalendarSettings) -> Iterator[dt.date]:
    for number, name in enumerate(WEEKDAYS):
        day = week + dt.timedelta(days=number)
        taught = name in calendar.weekdays and _within(day, calendar.terms) and not _within(day, calendar.holidays)
        if taught or day in calendar.extra_days:
            yield day


def _within(day: dt.date, spans: Sequence[DaySpan]) -> bool:
    return any(span.start <= day <= span.end for span in spans)


def _days_of_source(connection: Connection, work: Work, weeks: Sequence[dt.date]) -> dict[dt.date, tuple[dt.date, ...]]:
    """The days that the source's own calendar names, of those of `weeks` in which it names any."""
    if not weeks:
        return {}
    day = instructional_days.c.date
    named: dict[dt.date, list[dt.date]] = {}
    query = sa.select(day).where(
        instructional_days.c.tenant_id == work.tenant, day.between(weeks[0], feature_date(weeks[-1]))
    )
    for date in connection.scalars(query.order_by(day)):
        named.setdefault(week_start(date), []).append(date)
    return {week: tuple(named[week]) for week in weeks if week in named}
