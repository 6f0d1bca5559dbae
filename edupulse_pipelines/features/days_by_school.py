"""Days of attendance of each school: a student's days at each school of the district, by the rules of `days`.

A day at a school is one whose attendance names the school; where it names none, the school is the one of the enrolment
of that day, of several the main one as in `schools`. Where only absences are recorded, a day of instruction is a day at
each school that the student is enrolled at; but where a record of the day names no school, at the school it is taken
for alone: nobody has said that the student came to another one. A student at two schools on one day has a day at each.
So these days are for the rates of schools and must not be added up for a student, whose own days are in
`weekly_activity`.

Reads records, enrolments and weekly activity; stores nothing. `sql/queries/attendance_by_school.*.sql` gives the same.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.features.days import DAY_MEASURES, Minutes, days_of
from edupulse_pipelines.features.enrolment import OPEN, Students, preference, read_students
from edupulse_pipelines.features.known_activity import UNKNOWN
from edupulse_pipelines.features.vectors import DECIMALS, STATUSES
from edupulse_pipelines.schema.sqlalchemy_tables import attendance_records, enrollments, weekly_activity
from edupulse_pipelines.settings import DayRule
from edupulse_pipelines.storage.bulk import DAY, ID, OBJECT, Bytes, as_text, days, plain, positions, read_arrays
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import week_start

_DAYS_OF_A_WEEK = 7
_NOBODY_SAYS = ""
"""Stands for the school that nobody says."""
_COUNTS = [*STATUSES, "minutes_absent", "minutes_possible", "minutes_sessions"]
"""What is counted of the recorded sessions of a student's day at a school."""
_EXPECTED = "expected"
"""How many sessions the day has, where only absences are recorded; else 0."""


@dataclass(frozen=True)
class SchoolDays:
    """Days of students at schools, by row."""

    student_id: Bytes
    """The database's text of the id."""
    school_id: npt.NDArray[np.object_]
    """None where nobody says at which school the student was."""
    measures: pd.DataFrame
    """`DAY_MEASURES`"""


def days_by_school(
    connection: Connection, work: Work, first: dt.date, last: dt.date, absent_day: DayRule
) -> SchoolDays:
    """The days of every student at each school from `first` to `last`, both included; `absent_day`: the day rule.

    Only days within an enrolment count, and weeks whose sessions are unknown have none, as in weekly activity.
    """
    people = read_students(connection, work)
    enrolled = _enrolled_at(connection, work, people.ids)
    weeks = _weeks(connection, work, people.ids, first, last)
    recorded = _recorded(connection, work, people.ids, first, last)
    placed, taught = _placed(recorded, enrolled), _taught(weeks, enrolled, first, last)
    silent = recorded[recorded["school"] == _NOBODY_SAYS]
    sessions = pd.concat([placed, taught[_may_have_come(taught, placed, silent)]])
    sessions = sessions.groupby(["student", "day", "school"], as_index=False).sum()
    sessions["week"] = sessions["day"] - pd.to_timedelta(sessions["day"].dt.weekday, unit="D")
    unknown = weeks.loc[weeks["basis"] == UNKNOWN, ["student", "week"]].assign(unknown=True)
    sessions = sessions.merge(unknown, how="left", on=["student", "week"])
    sessions = sessions[sessions["unknown"].isna().to_numpy() & _within(sessions, people)]
    return _summed(sessions, people.ids, absent_day)


def _may_have_come(taught: pd.DataFrame, placed: pd.DataFrame, silent: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Which days of instruction at a school may count.

    Not those with a record that names no school (`silent`) and has been placed at another one: it may be an absence
    from both, so nobody has said that the student came to this one.
    """
    has_silent, is_recorded_here = (
        pd.MultiIndex.from_frame(taught[key]).isin(pd.MultiIndex.from_frame(records[key]))
        for records, key in ((silent, ["student", "day"]), (placed, ["student", "day", "school"]))
    )
    return ~has_silent | is_recorded_here


def _within(sessions: pd.DataFrame, people: Students) -> npt.NDArray[np.bool_]:
    """Whether the student of a row is enrolled anywhere in the district on its day."""
    within = np.zeros(len(sessions), dtype=np.bool_)
    for day, rows in sessions.groupby("day").indices.items():
        enrolled = people.enrolled_on(np.datetime64(day, "D"))  # type: ignore[call-overload]
        within[rows] = enrolled[sessions["student"].to_numpy()[rows]]
    return within


def _summed(sessions: pd.DataFrame, ids: Bytes, absent_day: DayRule) -> SchoolDays:
    """The days that the sessions make, by student and school."""
    exceptions = sessions[[status for status in STATUSES if status != "present"]].sum(axis=1)
    # A day's sessions that no record speaks of were attended.
    present = np.maximum(sessions["present"], sessions[_EXPECTED] - exceptions)
    groups = sessions.groupby(["student", "school", "week"])
    cell, keys = groups.ngroup().to_numpy(), groups.size().index
    counts = np.zeros((len(_COUNTS), len(keys), _DAYS_OF_A_WEEK), dtype=np.int32)
    for number, name in enumerate(_COUNTS):
        counts[number, cell, sessions["day"].dt.weekday] = present if name == "present" else sessions[name]
    by_status, minutes = counts[: len(STATUSES)], counts[len(STATUSES) :]
    everything = np.ones((len(keys), _DAYS_OF_A_WEEK), dtype=np.bool_)  # what lies outside has been left out
    measures = pd.DataFrame(days_of(by_status, everything, absent_day, Minutes(*minutes)), index=keys)
    found = measures.groupby(level=["student", "school"]).sum().round(DECIMALS).reset_index()
    found = found[found["days_enrolled"] > 0]
    schools = [None if school == _NOBODY_SAYS else school for school in found["school"]]
    return SchoolDays(
        ids[found["student"].to_numpy(np.int64)],
        np.array(schools, dtype=object),
        found[list(DAY_MEASURES)].reset_index(drop=True),
    )


def _recorded(connection: Connection, work: Work, ids: Bytes, first: dt.date, last: dt.date) -> pd.DataFrame:
    """Recorded sessions by student (position among the ids), day and school, as `_COUNTS`."""
    record = attendance_records.c
    told = record.minutes_absent <= record.minutes_possible
    counts: list[sa.ColumnElement[int]] = [sa.func.count().filter(record.status == status) for status in STATUSES]
    counts += [
        sa.cast(sa.func.coalesce(sa.func.sum(column).filter(told), 0), sa.Integer)
        for column in (record.minutes_absent, record.minutes_possible)
    ]
    school = sa.func.coalesce(record.school_id, _NOBODY_SAYS)
    student, day, named, *columns = read_arrays(
        connection,
        sa.select(as_text(record.student_id), as_text(record.date), school, *counts, sa.func.count().filter(told))
        .where(record.tenant_id == work.tenant, record.deleted_on.is_(None), record.date.between(first, last))
        .group_by(record.student_id, record.date, school),
        ID,
        DAY,
        OBJECT,
        *(["i4"] * len(_COUNTS)),
    )
    return pd.DataFrame(
        {"student": positions(student, ids), "day": days(day).astype("datetime64[s]"), "school": named}
        | dict(zip(_COUNTS, columns, strict=True))
    ).assign(**{_EXPECTED: 0})


def _enrolled_at(connection: Connection, work: Work, ids: Bytes) -> pd.DataFrame:
    """The enrolments that name a school, each student's preferred ones first: student, at, entry and end."""
    table = enrollments.c
    student, school, entry, left, primary = read_arrays(
        connection,
        sa.select(
            as_text(table.student_id),
            table.school_id,
            as_text(table.entry_date),
            as_text(table.exit_date),
            plain(table.is_primary),
        ).where(table.tenant_id == work.tenant, table.deleted_on.is_(None), table.school_id.is_not(None)),
        ID,
        OBJECT,
        DAY,
        DAY,
        OBJECT,
    )
    end = days(left)
    rows = pd.DataFrame(
        {
            "student": positions(student, ids),
            "at": school,
            "entry": days(entry).astype("datetime64[s]"),
            "end": np.where(np.isnat(end), OPEN, end).astype("datetime64[s]"),
            "main": preference(primary),
        }
    )
    return rows.sort_values(["student", "main", "entry", "at"], ascending=[True, True, False, True])


def _of_the_day(rows: pd.DataFrame, enrolled: pd.DataFrame) -> pd.DataFrame:
    """The rows once for each school (`at`) that the student is enrolled at on the day, in the order of preference."""
    pairs = rows.merge(enrolled, on="student")
    return pairs[(pairs["entry"] <= pairs["day"]) & (pairs["day"] < pairs["end"])]


def _placed(recorded: pd.DataFrame, enrolled: pd.DataFrame) -> pd.DataFrame:
    """The recorded sessions, those without a school at that of the enrolment of the day."""
    silent = recorded.loc[recorded["school"] == _NOBODY_SAYS, ["student", "day"]].reset_index()
    found = _of_the_day(silent, enrolled).drop_duplicates("index").set_index("index")["at"]
    placed = recorded.copy()
    placed.loc[found.index, "school"] = found
    return placed


def _weeks(connection: Connection, work: Work, ids: Bytes, first: dt.date, last: dt.date) -> pd.DataFrame:
    """The student-weeks of which not every session is recorded: student, week and `basis`."""
    row = weekly_activity.c
    student, week, basis = read_arrays(
        connection,
        sa.select(as_text(row.student_id), as_text(row.week_start), row.sessions_basis).where(
            row.tenant_id == work.tenant,
            row.sessions_basis.is_not(None),
            row.week_start.between(week_start(first), last),
        ),
        ID,
        DAY,
        OBJECT,
    )
    return pd.DataFrame(
        {"student": positions(student, ids), "week": days(week).astype("datetime64[s]"), "basis": basis.astype(object)}
    )


def _taught(weeks: pd.DataFrame, enrolled: pd.DataFrame, first: dt.date, last: dt.date) -> pd.DataFrame:
    """The days of instruction of students of whom only absences are recorded, with the sessions of a day."""
    known = weeks[weeks["basis"] != UNKNOWN]
    basis = known["basis"].to_numpy(object)
    parts = []
    for text in set(basis):
        digits, _, sessions = str(text).partition(" x ")
        for digit in digits.strip("-"):
            day = known["week"][basis == text] + pd.Timedelta(days=int(digit) - 1)
            student = known["student"][basis == text]
            parts.append(pd.DataFrame({"student": student, "day": day, _EXPECTED: int(sessions)}))
    if not parts:
        return pd.DataFrame(columns=["student", "day", "school", _EXPECTED, *_COUNTS])
    taught = pd.concat(parts, ignore_index=True)
    taught = taught[taught["day"].between(pd.Timestamp(first), pd.Timestamp(last))].reset_index()
    at_schools = _of_the_day(taught, enrolled).drop_duplicates(["index", "at"])
    nowhere = taught[~taught["index"].isin(at_schools["index"])].assign(at=_NOBODY_SAYS)
    rows = pd.concat([at_schools, nowhere])[["student", "day", "at", _EXPECTED]].rename(columns={"at": "school"})
    return rows.assign(**dict.fromkeys(_COUNTS, 0))
