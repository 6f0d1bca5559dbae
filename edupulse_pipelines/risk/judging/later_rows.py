"""Everything later than an as-of week, removed, added to or scrambled: what the leakage proof changes in its frames.

*Removed*: as if the data had ended there. *Added to*: every empty week filled, new weeks, new courses, new classmates,
new exits. *Scrambled*: other numbers, other students, other weeks. Pure functions of frames and a random generator.
"""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edupulse_pipelines.features.roll_up import ROW_MEASURES
from edupulse_pipelines.features.school_calendar import SchoolCalendar
from edupulse_pipelines.features.school_year import STANDING_COURSES
from edupulse_pipelines.risk.judging.activity_frames import ActivityFrames, object_array
from edupulse_pipelines.schema.tables import EXIT_TYPES
from edupulse_pipelines.weeks import WEEK, feature_date

Change = Literal["removed", "added", "scrambled"]
CHANGES: tuple[Change, ...] = ("removed", "added", "scrambled")

_WEEKS_BEYOND = 4
"""How many weeks after the last known one are made up."""
_NEW_CLASSMATES = 5
_DATES = ("week_start", "enrollment_date", "exit_date")


def changed_later(
    frames: ActivityFrames, week: dt.date, random: np.random.Generator
) -> Iterator[tuple[Change, ActivityFrames]]:
    """The frames with what comes after an as-of week removed, added to and scrambled."""
    yield "removed", _without_later(frames, week)
    yield "added", _with_more(frames, week, random)
    yield "scrambled", _scrambled(frames, week, random)


def changed_outside_horizon(
    frames: ActivityFrames, week: dt.date, horizon_weeks: int | None, random: np.random.Generator
) -> Iterator[tuple[Change, ActivityFrames]]:
    """The frames with what lies before and after the horizon of an as-of week changed; no students come or go."""
    past, past_courses = (~_later(rows["week_start"], week) for rows in (frames.activity, frames.courses))
    removed = replace(frames, activity=frames.activity[~past], courses=frames.courses[~past_courses])
    scrambled = replace(
        frames,
        activity=_scrambled_rows(frames.activity, past, random),
        courses=_scrambled_rows(frames.courses, past_courses, random),
    )
    if horizon_weeks is None:
        yield "removed", removed
        yield "scrambled", scrambled
        return
    end = week + horizon_weeks * WEEK
    yield "removed", _without_later(removed, end, everyone=True)
    yield "added", _with_more(frames, end, random, classmates=False)
    yield "scrambled", _scrambled(scrambled, end, random, enrolments=False)


def _without_later(frames: ActivityFrames, week: dt.date, *, everyone: bool = False) -> ActivityFrames:
    """As if the data had ended with the week; `everyone` keeps students who enrolled later."""
    sunday, people = feature_date(week), frames.people
    gone = _later(people["exit_date"], sunday)
    people = people.assign(
        exit_date=_replaced(people["exit_date"], gone, [None] * len(people)),
        exit_type=_replaced(people["exit_type"], gone, [None] * len(people)),
    )
    if not everyone:
        people = people[~_later(people["enrollment_date"], sunday)]
    calendar = frames.calendar
    return ActivityFrames(
        people,
        frames.activity[~_later(frames.activity["week_start"], sunday)],
        frames.courses[~_later(frames.courses["week_start"], sunday)],
        SchoolCalendar(
            tuple(monday for monday in calendar.weeks if monday <= week),
            {name: None if since is None or since > sunday else since for name, since in calendar.domain_since.items()},
            week,
        ),
    )


def _with_more(
    frames: ActivityFrames, week: dt.date, random: np.random.Generator, *, classmates: bool = True
) -> ActivityFrames:
    """Later weeks filled: a row for every student and week without one, new courses, new exits, new students."""
    people, calendar = frames.people, frames.calendar
    last = max(week, calendar.weeks[-1])
    later = sorted(
        {monday for monday in calendar.weeks if monday > week}
        | {last + number * WEEK for number in range(1, _WEEKS_BEYOND + 1)}
    )
    staying = people["exit_date"].isna().to_numpy(bool)
    left_on = [feature_date(later[place]) for place in random.integers(0, len(later), len(people))]
    people = people.assign(
        exit_date=_replaced(people["exit_date"], staying, left_on),
        exit_type=_replaced(people["exit_type"], staying, random.choice(EXIT_TYPES, len(people)).tolist()),
    )
    if classmates and len(people):
        # Copies of students, so that they have a group; ids of no one, of the kind that ids are.
        new = people.iloc[random.integers(0, len(people), _NEW_CLASSMATES)].copy()
        new["student_id"] = _ids_of_no_one(people["student_id"], len(new))
        new["district_id"] = [f"{number}+new" for number in range(len(new))]
        new["enrollment_date"] = later[0]
        new["exit_date"] = None
        new["exit_type"] = None
        people = pd.concat([people, new.astype(people.dtypes)], ignore_index=True)
    everyone = people["student_id"].to_numpy(object)
    recorded_cells = set(zip(frames.activity["student_id"], frames.activity["week_start"], strict=True))
    cells = [cell for cell in itertools.product(everyone, later) if cell not in recorded_cells]
    rows = pd.DataFrame(cells, columns=["student_id", "week_start"], dtype=object)
    graded = rows.assign(course_id=_new_course(frames.courses["course_id"]))
    return ActivityFrames(
        people,
        _together(frames.activity, _with_numbers(rows, ROW_MEASURES, random)),
        _together(frames.courses, _with_numbers(graded, STANDING_COURSES, random)),
        SchoolCalendar(
            tuple(sorted({*calendar.weeks, *later})),
            {name: later[0] if since is None else since for name, since in calendar.domain_since.items()},
            later[-1],
        ),
    )


def _scrambled(
    frames: ActivityFrames, week: dt.date, random: np.random.Generator, *, enrolments: bool = True
) -> ActivityFrames:
    """Later rows get other numbers and change hands; later exits and enrolments another day."""
    sunday, people = feature_date(week), frames.people
    leaves = _later(people["exit_date"], sunday)
    moved = {
        "exit_date": _replaced(people["exit_date"], leaves, _days_after(sunday, len(people), random)),
        "exit_type": _replaced(people["exit_type"], leaves, random.choice(EXIT_TYPES, len(people)).tolist()),
    }
    if enrolments:
        comes = _later(people["enrollment_date"], sunday)
        days_ = _days_after(sunday, len(people), random)
        moved["enrollment_date"] = _replaced(people["enrollment_date"], comes, days_)
    return replace(
        frames,
        people=people.assign(**moved),
        activity=_scrambled_rows(frames.activity, _later(frames.activity["week_start"], sunday), random),
        courses=_scrambled_rows(frames.courses, _later(frames.courses["week_start"], sunday), random),
    )


def _scrambled_rows(rows: pd.DataFrame, which: NDArray[np.bool_], random: np.random.Generator) -> pd.DataFrame:
    """Some rows with made-up numbers and with each other's keys (so that every key stays one row's)."""
    chosen = rows[which]
    keys = [name for name in ("student_id", "week_start", "course_id") if name in rows]
    other = chosen[keys].iloc[random.permutation(len(chosen))].reset_index(drop=True)
    measures = [name for name in rows if name not in keys]
    return _together(rows[~which], _with_numbers(other, measures, random))[list(rows.columns)]


def _with_numbers(rows: pd.DataFrame, measures: Sequence[Any], random: np.random.Generator) -> pd.DataFrame:
    """`rows` with made-up measures that are no less possible than what is on record."""
    size = len(rows)
    made: dict[str, NDArray[np.float64]] = {
        name: random.integers(0, 6, size).astype(np.float64)
        for name in measures
        if name not in ("grade_mean", "grade_lowest", "severity_highest")
    }
    if "course_id" in rows:
        made["grade_count"] += 1
    graded = made["grade_count"] > 0
    mean = np.round(random.uniform(0, 100, size), 3)
    made["grade_mean"] = np.where(graded, mean, np.nan)
    made["grade_lowest"] = np.where(graded, np.floor(mean * random.random(size)), np.nan)
    if "days_enrolled" in made:
        made["days_enrolled"] = made["days_present"] + made["days_absent"] + made["days_excused"]
    if "incident_count" in made:
        made["severity_highest"] = np.where(made["incident_count"] > 0, random.integers(1, 6, size), np.nan)
    return rows.assign(**{name: made[name] for name in measures})


def _together(rows: pd.DataFrame, more: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([part for part in (rows, more) if len(part)] or [rows], ignore_index=True)


def _later(column: pd.Series[Any], day: dt.date) -> NDArray[np.bool_]:
    """Which days lie after `day`; missing ones do not."""
    return np.array([value is not None and value > day for value in column.to_numpy(object)], dtype=bool)


def _replaced(column: pd.Series[Any], where: NDArray[np.bool_], values: Sequence[Any]) -> pd.Series[Any]:
    made = column.to_numpy(object, copy=True)
    made[where] = object_array(values)[where]
    return pd.Series(made, column.index, dtype=object)


def _days_after(day: dt.date, count: int, random: np.random.Generator) -> list[dt.date]:
    return [day + dt.timedelta(days=int(number)) for number in random.integers(1, 200, count)]


def plain_frames(frames: ActivityFrames) -> ActivityFrames:
    """The frames with `datetime.date` for every day, None for every missing one."""

    def made(rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows.reset_index(drop=True)
        return rows.assign(**{name: plain_days(rows[name]) for name in _DATES if name in rows})

    return replace(frames, people=made(frames.people), activity=made(frames.activity), courses=made(frames.courses))


def plain_days(column: pd.Series[Any]) -> pd.Series[Any]:
    """A column of days as `datetime.date`, None for every missing one."""
    codes, distinct = pd.factorize(column)  # -1 = missing
    days_ = object_array([*(day.date() if isinstance(day, dt.datetime) else day for day in distinct), None])
    return pd.Series(days_[codes], column.index, dtype=object)


def typed_like(changed: ActivityFrames, like: ActivityFrames) -> ActivityFrames:
    """The changed frames with the column types of the original ones, which the functions know how to read."""
    return replace(
        changed,
        people=changed.people.astype(like.people.dtypes),
        activity=changed.activity.astype(like.activity.dtypes),
        courses=changed.courses.astype(like.courses.dtypes),
    )


def _new_course(course_ids: pd.Series[Any]) -> Any:
    """A course that nobody has, named the way courses are."""
    return -1 if pd.api.types.is_numeric_dtype(course_ids) and len(course_ids) else "made up"


def _ids_of_no_one(ids: pd.Series[Any], count: int) -> list[Any]:
    if pd.api.types.is_integer_dtype(ids):
        return [int(ids.max()) + 1 + number for number in range(count)]
    if isinstance(ids.iloc[0], uuid.UUID):
        return [uuid.uuid5(uuid.NAMESPACE_OID, f"made up {number}") for number in range(count)]
    return [f"made up {number}" for number in range(count)]
