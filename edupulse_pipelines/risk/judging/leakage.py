"""The leakage proof of every training: what happens later must not move what was known earlier.

For a sample of students and a few as-of weeks, everything dated later is *removed* (as if the data had ended there),
*added to* (every empty week filled, new weeks, new courses, new classmates, new exits) and *scrambled* (other numbers,
other students, other weeks). Then features and scores of the as-of week are computed again, and labels after its
horizon; one bit that moves is a leak. Classmates' future counts as future: all students are changed at once.

Works on frames through the functions it is given, which are pure; `read_sample` reads the frames. What a leak leads to
is the caller's business. No student is named in a result.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import sqlalchemy as sa
from numpy.typing import NDArray

from edupulse_pipelines.features.known_activity import known_sessions
from edupulse_pipelines.features.school_calendar import SchoolCalendar, distinct_days, school_calendar
from edupulse_pipelines.features.standing import read_people, standing_features
from edupulse_pipelines.features.vectors import ACTIVITY_MEASURES, feature_vectors
from edupulse_pipelines.risk.samples.labels import Labels, labels_of
from edupulse_pipelines.schema.sqlalchemy_tables import (
    student_features,
    students,
    weekly_activity,
    weekly_course_grades,
)
from edupulse_pipelines.settings import LabelSettings, TenantSettings
from edupulse_pipelines.storage.bulk import ID, OBJECT, as_text, id_batches, positions, read_arrays, uuids
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK, feature_date, week_start

SAMPLE_STUDENTS = 200
AS_OF_WEEKS = 3
COURSE_MEASURES = ("grade_count", "grade_mean", "grade_lowest")

Subject = Literal["features", "labels", "scores"]
Change = Literal["removed", "added", "scrambled"]
CHANGES: tuple[Change, ...] = ("removed", "added", "scrambled")

_WEEKS_BEYOND = 4
"""How many weeks after the last known one are made up."""
_NEW_CLASSMATES = 5
_EXIT_TYPES = ("completed", "transferred", "dropped_out", "failed", "other")


@dataclass(frozen=True)
class ActivityFrames:
    """What is on record of some students: all that features and labels are made of."""

    people: pd.DataFrame
    """student_id (any hashable, unique), district_id, enrollment_date, exit_date (missing = none), exit_type, and
    whatever else a feature function needs to know about a student, such as the group."""
    activity: pd.DataFrame
    """student_id, week_start and `ACTIVITY_MEASURES`; one row per student and week."""
    courses: pd.DataFrame
    """student_id, course_id, week_start and `COURSE_MEASURES`; one row per student, course and week."""
    calendar: SchoolCalendar


FeaturesOf = Callable[[ActivityFrames, Sequence[dt.date]], pd.DataFrame]
"""(frames, as-of Mondays) -> student_id, feature_date, and the features."""
LabelsOf = Callable[[ActivityFrames, Sequence[dt.date]], Labels]
"""(frames, as-of Mondays) -> labels of all people."""
ScoresOf = Callable[[pd.DataFrame], NDArray[np.float64]]
"""Rows as `FeaturesOf` gives them -> a score each."""


@dataclass(frozen=True)
class Check:
    """One subject under one change: how many numbers were compared, and what moved."""

    subject: Subject
    change: Change
    compared: int
    moved: int
    names: tuple[str, ...] = ()
    """The features or events that moved; "rows" when students appeared or vanished."""
    weeks: tuple[dt.date, ...] = ()
    """The as-of weeks (Mondays) in which something moved."""


@dataclass(frozen=True)
class LeakageProof:
    """The outcome. A proof that compared nothing has proven nothing, and has not passed."""

    checks: tuple[Check, ...]
    students: int
    as_of_weeks: tuple[dt.date, ...]

    @property
    def passed(self) -> bool:
        """Whether something was compared, and nothing moved."""
        return any(check.compared for check in self.checks) and not any(check.moved for check in self.checks)

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        size = f"{self.students} students in {len(self.as_of_weeks)} as-of week(s)"
        leaks = [check for check in self.checks if check.moved]
        if not leaks:
            compared = sum(check.compared for check in self.checks)
            if not compared:
                return f"Nothing could be compared ({size})."
            return f"No leak: {compared:,} numbers of {size} stayed the same when what came later was changed."
        found = "; ".join(
            f"{check.subject} moved when later rows were {_in_words(check.change)} ({', '.join(check.names[:5])})"
            for check in leaks
        )
        return f"Leak: {found}."

    def as_json(self) -> dict[str, Any]:
        """Every number, as plain JSON."""
        return {
            "passed": self.passed,
            "students": self.students,
            "as_of_weeks": [week.isoformat() for week in self.as_of_weeks],
            "checks": {
                f"{check.subject} {check.change}": {
                    "compared": check.compared,
                    "moved": check.moved,
                    "names": list(check.names),
                    "weeks": [week.isoformat() for week in check.weeks],
                }
                for check in self.checks
            },
        }


def prove_no_leakage(
    frames: ActivityFrames,
    as_of_weeks: Sequence[dt.date],
    horizon_weeks: int | None,
    *,
    features: FeaturesOf,
    labels: LabelsOf,
    scores: ScoresOf | None = None,
    seed: int = 0,
) -> LeakageProof:
    """Change what comes later, compute again, compare bit by bit.

    as_of_weeks: Mondays of school weeks of the frames' calendar; others are left out. Features and scores of each are
    first computed for all of them on everything on record, the way training does, then alone on what was changed.
    horizon_weeks: labels may know so many calendar weeks after the as-of week, and nothing later; nor may the as-of
    week itself or anything before it, which features know already, be a reason for a label. None: the horizon has no
    end, so only that last part is checked (`removed` and `scrambled`).
    Deterministic for a seed. Errors of the functions are not caught.
    """
    known = set(frames.calendar.weeks)
    weeks = tuple(sorted({week for week in as_of_weeks if week in known}))
    tallies = {
        (subject, change): _Tally()
        for subject, change in itertools.product(("features", "scores", "labels"), CHANGES)
        if subject != "scores" or scores is not None
    }
    if weeks and len(frames.people):
        before, labelled = features(frames, weeks), labels(frames, weeks)
        random = np.random.default_rng(seed)
        plain = _plain(frames)
        for week in weeks:
            today = _of_week(before, week)
            score = None if scores is None else _scores(scores, today)
            for change, changed in _changes(plain, week, random):
                now = _of_week(features(_typed(changed, frames), [week]), week)
                _compare_rows(tallies["features", change], week, today, now)
                if scores is not None and score is not None:
                    _compare_scores(tallies["scores", change], week, (today, score), (now, _scores(scores, now)))
            for change, changed in _outside_horizon(plain, week, horizon_weeks, random):
                _compare_labels(tallies["labels", change], week, labelled, labels(_typed(changed, frames), [week]))
    checks = tuple(tally.check(*key) for key, tally in tallies.items())
    return LeakageProof(checks, len(frames.people), weeks)


def record_features(frames: ActivityFrames, weeks: Sequence[dt.date]) -> pd.DataFrame:
    """The features that every model sees, the stored vector's and the standing's: a `FeaturesOf`."""
    vectors = feature_vectors(frames.people, frames.activity, frames.calendar, weeks)
    standing = standing_features(frames.people, frames.activity, frames.courses, frames.calendar, weeks)
    keys = ["student_id", "feature_date"]
    parts = [rows.astype(dict.fromkeys(keys, object)) for rows in (vectors, standing)]
    return parts[0].merge(parts[1], on=keys, how="outer")


def record_labels(settings: LabelSettings) -> LabelsOf:
    """The labels as the records say, verdicts apart: a `LabelsOf`."""

    def of(frames: ActivityFrames, weeks: Sequence[dt.date]) -> Labels:
        return labels_of(frames.activity, frames.courses, frames.people, settings, weeks)

    return of


def weeks_to_prove(weeks: Sequence[dt.date], limit: int = AS_OF_WEEKS) -> list[dt.date]:
    """Up to `limit` of the as-of weeks (ascending): the first, the last, and those evenly between."""
    if len(weeks) <= limit:
        return list(weeks)
    return [weeks[round(number)] for number in np.linspace(0, len(weeks) - 1, limit)]


def read_sample(
    connection: sa.Connection, tenant: TenantSettings, *, limit: int = SAMPLE_STUDENTS, seed: int = 0
) -> ActivityFrames:
    """All that is on record of up to `limit` students, drawn by a hash of their numbers: the same ones on any database.

    `people` are as `standing_features` takes them, with the numbers and ways of leaving, ordered by district_id as
    text; `student_id` is the position among them. Some ten thousand rows.
    """
    ids, people = read_people(connection, Work(connection.engine, tenant.name), tenant)
    table = students.c
    found, numbers, how = read_arrays(
        connection,
        sa.select(as_text(table.id), table.district_id, table.exit_type).where(
            table.tenant_id == tenant.name, table.deleted_on.is_(None)
        ),
        ID,
        OBJECT,
        OBJECT,
    )
    order = np.argsort(found)
    place = positions(ids, found[order])
    of, place = order[place >= 0], place[place >= 0]  # somebody may have come in between the two queries
    people = people.iloc[place].reset_index(drop=True)
    people = people.assign(student_id=_objects(uuids(ids[place])), district_id=numbers[of], exit_type=how[of])
    drawn = [hashlib.sha256(f"{seed}/{number}".encode()).digest() for number in people["district_id"]]
    chosen = sorted(sorted(range(len(drawn)), key=drawn.__getitem__)[:limit], key=people["district_id"].__getitem__)
    people = people.iloc[chosen].reset_index(drop=True)
    keys = people["student_id"].tolist()
    people = people.assign(student_id=np.arange(len(people)))
    row, course = weekly_activity.c, weekly_course_grades.c
    grades = [course[name] for name in COURSE_MEASURES]
    measures = [
        known_sessions(name.removeprefix("sessions_")) if name.startswith("sessions_") else row[name]
        for name in ACTIVITY_MEASURES
    ]
    return ActivityFrames(
        people,
        _rows(connection, sa.select(row.student_id, row.week_start, *measures), row, tenant.name, keys, ()),
        _rows(
            connection,
            sa.select(course.student_id, course.week_start, course.course_id, *grades),
            course,
            tenant.name,
            keys,
            ("course_id",),
        ),
        _calendar(connection, tenant),
    )


def _calendar(connection: sa.Connection, tenant: TenantSettings) -> SchoolCalendar:
    """The school calendar, its weeks being those that vectors are stored for."""
    sundays = distinct_days(connection, student_features.c.feature_date, student_features.c.tenant_id == tenant.name)
    return replace(
        school_calendar(connection, Work(connection.engine, tenant.name), tenant.first_week),
        weeks=tuple(week_start(day) for day in sundays),
    )


def _rows(
    connection: sa.Connection,
    query: sa.Select[Any],
    table: Any,
    tenant_id: str,
    keys: Sequence[uuid.UUID],
    texts: Sequence[str],
) -> pd.DataFrame:
    """The rows of these students, `student_id` being the position in `keys`, in the order of their keys."""
    measures = ACTIVITY_MEASURES if not texts else COURSE_MEASURES
    columns = ("student_id", "week_start", *texts, *measures)
    place = {key: position for position, key in enumerate(keys)}
    found = [
        (place[key], *row)
        for part in id_batches(keys)
        for key, *row in connection.execute(query.where(table.tenant_id == tenant_id, table.student_id.in_(part)))
    ]
    found.sort(key=lambda row: row[: 2 + len(texts)])
    frame = pd.DataFrame(found, columns=list(columns), dtype=object)
    return frame.astype({"student_id": np.int64, **dict.fromkeys(measures, np.float64)})


def _changes(
    frames: ActivityFrames, week: dt.date, random: np.random.Generator
) -> Iterator[tuple[Change, ActivityFrames]]:
    """The frames with what comes after an as-of week removed, added to and scrambled."""
    yield "removed", _without_later(frames, week)
    yield "added", _with_more(frames, week, random)
    yield "scrambled", _scrambled(frames, week, random)


def _outside_horizon(
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
            tuple(one for one in calendar.weeks if one <= week),
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
        {one for one in calendar.weeks if one > week} | {last + number * WEEK for number in range(1, _WEEKS_BEYOND + 1)}
    )
    staying = people["exit_date"].isna().to_numpy(bool)
    left_on = [feature_date(later[place]) for place in random.integers(0, len(later), len(people))]
    people = people.assign(
        exit_date=_replaced(people["exit_date"], staying, left_on),
        exit_type=_replaced(people["exit_type"], staying, random.choice(_EXIT_TYPES, len(people)).tolist()),
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
    known = set(zip(frames.activity["student_id"], frames.activity["week_start"], strict=True))
    cells = [cell for cell in itertools.product(everyone, later) if cell not in known]
    rows = pd.DataFrame(cells, columns=["student_id", "week_start"], dtype=object)
    graded = rows.assign(course_id=_new_course(frames.courses["course_id"]))
    return ActivityFrames(
        people,
        _together(frames.activity, _with_numbers(rows, ACTIVITY_MEASURES, random)),
        _together(frames.courses, _with_numbers(graded, COURSE_MEASURES, random)),
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
        "exit_type": _replaced(people["exit_type"], leaves, random.choice(_EXIT_TYPES, len(people)).tolist()),
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
    if "incident_count" in made:
        made["severity_highest"] = np.where(made["incident_count"] > 0, random.integers(1, 6, size), np.nan)
    return rows.assign(**{name: made[name] for name in measures})


def _together(rows: pd.DataFrame, more: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([part for part in (rows, more) if len(part)] or [rows], ignore_index=True)


def _later(column: pd.Series[Any], day: dt.date) -> NDArray[np.bool_]:
    """Which days lie after `day`; missing ones do not."""
    return np.array([one is not None and one > day for one in column.to_numpy(object)], dtype=bool)


def _replaced(column: pd.Series[Any], where: NDArray[np.bool_], values: Sequence[Any]) -> pd.Series[Any]:
    made = column.to_numpy(object, copy=True)
    made[where] = _objects(values)[where]
    return pd.Series(made, column.index, dtype=object)


def _days_after(day: dt.date, count: int, random: np.random.Generator) -> list[dt.date]:
    return [day + dt.timedelta(days=int(one)) for one in random.integers(1, 200, count)]


_DATES = ("week_start", "enrollment_date", "exit_date")


def _plain(frames: ActivityFrames) -> ActivityFrames:
    """The frames with `datetime.date` for every day, None for every missing one."""

    def made(rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows.reset_index(drop=True)
        return rows.assign(**{name: _plain_days(rows[name]) for name in _DATES if name in rows})

    return replace(frames, people=made(frames.people), activity=made(frames.activity), courses=made(frames.courses))


def _plain_days(column: pd.Series[Any]) -> pd.Series[Any]:
    codes, distinct = pd.factorize(column)  # -1 = missing
    days_ = _objects([*(one.date() if isinstance(one, dt.datetime) else one for one in distinct), None])
    return pd.Series(days_[codes], column.index, dtype=object)


def _typed(changed: ActivityFrames, like: ActivityFrames) -> ActivityFrames:
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


def _of_week(rows: pd.DataFrame, week: dt.date) -> pd.DataFrame:
    return rows[(_plain_days(rows["feature_date"]) == feature_date(week)).to_numpy(bool)].reset_index(drop=True)


def _scores(scores: ScoresOf, rows: pd.DataFrame) -> NDArray[np.float64]:
    """The scores of some rows; models need not know what to say of none."""
    return scores(rows) if len(rows) else np.empty(0)


class _Tally:
    """What one check came to so far."""

    def __init__(self) -> None:
        self.compared = self.moved = 0
        self.names: set[str] = set()
        self.weeks: set[dt.date] = set()

    def add(self, week: dt.date, name: str, moved: NDArray[np.bool_]) -> None:
        self.compared += moved.size
        count = int(moved.sum())
        if count:
            self.moved += count
            self.names.add(name)
            self.weeks.add(week)

    def check(self, subject: Any, change: Change) -> Check:
        return Check(subject, change, self.compared, self.moved, tuple(sorted(self.names)), tuple(sorted(self.weeks)))


def _compare_rows(tally: _Tally, week: dt.date, before: pd.DataFrame, now: pd.DataFrame) -> None:
    """Every column of the same students; students who appeared or vanished."""
    place = pd.Index(now["student_id"]).get_indexer(pd.Index(before["student_id"]))
    gone = place < 0
    appeared = np.ones(len(now) - int((~gone).sum()), dtype=bool)
    tally.add(week, "rows", np.concatenate([gone, appeared]))
    for name in before.columns:
        if name in ("student_id", "feature_date"):
            continue
        if name not in now:
            tally.add(week, name, np.ones(len(before), dtype=bool))
            continue
        old = before[name].to_numpy(np.float64, na_value=np.nan)[~gone]
        new = now[name].to_numpy(np.float64, na_value=np.nan)[place[~gone]]
        tally.add(week, name, _differ(old, new))


def _compare_scores(
    tally: _Tally,
    week: dt.date,
    before: tuple[pd.DataFrame, NDArray[np.float64]],
    now: tuple[pd.DataFrame, NDArray[np.float64]],
) -> None:
    place = pd.Index(now[0]["student_id"]).get_indexer(pd.Index(before[0]["student_id"]))
    both = place >= 0
    tally.add(week, "score", _differ(np.asarray(before[1])[both], np.asarray(now[1])[place[both]]))


def _compare_labels(tally: _Tally, week: dt.date, before: Labels, now: Labels) -> None:
    """Every event of the students of both; the changes let nobody come or go."""
    column, only = before.weeks.index(week), now.weeks.index(week)
    if before.district_ids.tolist() != now.district_ids.tolist():
        tally.add(week, "rows", np.ones(1, dtype=bool))
        return
    for name in sorted({*before.events, *now.events}):
        if name not in before.events or name not in now.events:
            tally.add(week, name, np.ones(len(before.district_ids), dtype=bool))
        else:
            tally.add(week, name, before.events[name][:, column] != now.events[name][:, only])


def _differ(old: NDArray[np.float64], new: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where two numbers are not the same, to the last bit; a missing one is like any other missing one."""
    return (old != new) & ~(np.isnan(old) & np.isnan(new))


def _in_words(change: Change) -> str:
    return "added to" if change == "added" else change


def _objects(values: Sequence[Any]) -> NDArray[np.object_]:
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made
