"""The table `student_features`: its vectors brought up to date, and read back for training and scoring.

`update_student_features` recomputes what is marked and writes only rows that changed, so that a second run writes
nothing. `read_features` gives the stored vectors as a frame. How a vector is computed is in `vectors`.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.features.definitions import FEATURE_NAMES, LOOKBACK_WEEKS
from edupulse_pipelines.features.enrolment import Students, read_students
from edupulse_pipelines.features.known_activity import known_measure
from edupulse_pipelines.features.school_calendar import SchoolCalendar, distinct_days, school_calendar
from edupulse_pipelines.features.vectors import ACTIVITY_MEASURES, feature_vectors, vector_json
from edupulse_pipelines.schema.sqlalchemy_tables import student_features, students, weekly_activity
from edupulse_pipelines.storage import step_accounts
from edupulse_pipelines.storage.bulk import (
    DAY,
    ID,
    NUMBER,
    OBJECT,
    Integers,
    as_text,
    concatenated,
    days,
    id_batches,
    plain,
    positions,
    read_arrays,
    uuids,
    write_columns,
    write_rows,
)
from edupulse_pipelines.storage.pending import Mark, take_marks
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import feature_date, week_start

_VECTORS_PER_BATCH = 25_000
"""Vectors computed, compared and written at a time; some 100 MiB."""
_ROWS_PARSED_AT_ONCE = 20_000
_NEVER = dt.date.max.toordinal()
_SCALARS = ("attendance_rate", "gpa_current", "discipline_incidents")
READ_COLUMNS: tuple[str, ...] = (
    "district_id",
    "student_id",
    "feature_date",
    "grade_level",
    "data_quality",
    *FEATURE_NAMES,
)
"""Columns of `read_features`; `weeks_of_data` is one of the named features."""

_COUNTED = ("computed", "inserted", "updated", "unchanged", "deleted")
_WRITTEN = ("tenant_id", "student_id", "feature_date", *_SCALARS, "feature_vector")


@dataclass(frozen=True)
class FeatureReport:
    """What an update did, in vectors; computed = inserted + updated + unchanged."""

    computed: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0


def update_student_features(work: Work, first_week: dt.date | None = None) -> FeatureReport:
    """Recompute the marked students' vectors from their marked week on, up to the newest delivered week.

    One transaction: takes the 'student_features' marks, writes rows that are new or changed (`created_at` is kept,
    unchanged rows are not touched), deletes rows of weeks and students that are no longer valid. A school week without
    any vector, and a week with vectors that is no school week any more, count as marked for every student.

    The report is of all that the work's run has done: an earlier try of its step is counted in.
    """
    with work.writing() as connection:
        marks = take_marks(connection, work, "student_features")
        calendar = school_calendar(connection, work, first_week)
        sundays = {feature_date(week): week for week in calendar.weeks}
        stored = set(
            distinct_days(connection, student_features.c.feature_date, student_features.c.tenant_id == work.tenant)
        )
        if not marks and stored == set(sundays):
            return _report(connection, work, [0] * len(_COUNTED))
        people = read_students(connection, work)
        everyone = [week for student, week in marks if student is None]
        everyone += [week_start(sunday) for sunday in stored - set(sundays)]
        everyone += [week for sunday, week in sundays.items() if sunday not in stored and _any_enrolled(people, sunday)]
        first_weeks = _first_weeks(people, marks, min(everyone, default=None))

        counts = np.zeros(5, dtype=np.int64)
        vanished = sorted(stored - set(sundays))
        if vanished:
            table = student_features
            gone = connection.execute(
                sa.delete(table).where(table.c.tenant_id == work.tenant, table.c.feature_date.in_(vanished))
            )
            counts[4] += gone.rowcount
        for first, part in _batches(people, first_weeks, calendar):
            counts += _update_batch(connection, work, calendar, first, part, len(part) == len(people))
        return _report(connection, work, counts.tolist())


def _report(connection: Connection, work: Work, counts: Sequence[int]) -> FeatureReport:
    """The report of the run, to which this transaction adds its counts (in the order of `_COUNTED`)."""
    in_all = step_accounts.add(connection, work, student_features.name, dict(zip(_COUNTED, counts, strict=True)))
    return FeatureReport(**in_all)


def read_activity(
    connection: Connection, work: Work, people: Students, weeks: Sequence[dt.date], *, everyone: bool
) -> pd.DataFrame:
    """Weekly activity of `people` in `weeks`, as `feature_vectors` takes it.

    `student_id` is the position in `people`. `everyone` says that `people` are all students of the tenant: their rows
    are then found by week alone.
    """
    table = weekly_activity.c
    measures = [plain(known_measure(name)) for name in ACTIVITY_MEASURES]
    types = [NUMBER for _ in ACTIVITY_MEASURES]
    if everyone:  # a query a week, so that the rows need not carry their week
        parts = []
        query = sa.select(as_text(table.student_id), *measures).where(
            table.tenant_id == work.tenant, table.week_start == sa.bindparam("week", type_=sa.Date())
        )
        for week in weeks:
            ids, *values = read_arrays(connection, query.params(week=week), ID, *types)
            parts.append([positions(ids, people.ids), np.full(len(ids), np.datetime64(week, "s")), *values])
    else:
        query = sa.select(as_text(table.student_id), as_text(table.week_start), *measures).where(
            table.tenant_id == work.tenant, table.week_start.between(weeks[0], weeks[-1])
        )
        parts = []
        for part in _parts(query, table.student_id, people, everyone=False):
            ids, mondays, *values = read_arrays(connection, part, ID, DAY, *types)
            parts.append([positions(ids, people.ids), days(mondays).astype("datetime64[s]"), *values])
    columns = concatenated(parts)
    return pd.DataFrame(dict(zip(("student_id", "week_start", *ACTIVITY_MEASURES), columns, strict=True)))


def read_features(connection: Connection, work: Work, weeks: Sequence[dt.date]) -> pd.DataFrame:
    """The stored vectors of `weeks` (Mondays): `READ_COLUMNS`, ordered by feature_date and district_id.

    `feature_date` is a `datetime.date`, `student_id` a UUID; `grade_level`, `data_quality` and the named features are
    floats, NaN where missing. Deleted students have none.
    """
    person, vector = students.c, student_features.c
    ids, district_ids, levels = read_arrays(
        connection,
        sa.select(
            as_text(person.id),
            person.district_id,
            plain(person.grade_level),
        ).where(person.tenant_id == work.tenant, person.deleted_on.is_(None)),
        ID,
        OBJECT,
        NUMBER,
    )
    # Sorted here: the databases do not agree on the order of text.
    rank = np.empty(len(ids), dtype=np.int64)
    rank[np.argsort(district_ids)] = np.arange(len(ids))
    by_id = np.argsort(ids)
    keys = _objects(uuids(ids))
    parts = []
    for week in sorted(set(weeks)):
        sunday = feature_date(week)
        vector_ids, texts = read_arrays(
            connection,
            sa.select(as_text(vector.student_id), sa.cast(vector.feature_vector, sa.Text())).where(
                vector.tenant_id == work.tenant, vector.feature_date == sunday
            ),
            ID,
            OBJECT,
        )
        place = positions(vector_ids, ids[by_id])
        of_somebody = place >= 0
        if not of_somebody.any():
            continue
        student, texts = by_id[place[of_somebody]], texts[of_somebody]
        order = np.argsort(rank[student])
        student = student[order]
        quality, values = _parsed(texts[order])
        data: dict[str, Any] = {
            "district_id": district_ids[student],
            "student_id": keys[student],
            "feature_date": _objects([sunday] * len(student)),
            "grade_level": levels[student],
            "data_quality": quality,
        }
        data.update({name: values[:, number] for number, name in enumerate(FEATURE_NAMES)})
        parts.append(pd.DataFrame(data))
    if not parts:
        return pd.DataFrame(
            {name: pd.Series(dtype=object if name in _OBJECTS else np.float64) for name in READ_COLUMNS}
        )
    return pd.concat(parts, ignore_index=True)


_OBJECTS = frozenset({"district_id", "student_id", "feature_date"})
_all_features = itemgetter(*FEATURE_NAMES)


def _parsed(texts: npt.NDArray[np.object_]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """data_quality and the named features [vectors x features] of serialised vectors."""
    quality = np.empty(len(texts))
    values = np.empty((len(texts), len(FEATURE_NAMES)))
    for start in range(0, len(texts), _ROWS_PARSED_AT_ONCE):
        vectors = [orjson.loads(text) for text in texts[start : start + _ROWS_PARSED_AT_ONCE]]
        here = slice(start, start + len(vectors))
        named = [vector["features"] for vector in vectors]
        try:
            values[here] = [_all_features(features) for features in named]
        except KeyError:  # written before a feature was introduced
            values[here] = [[features.get(name, np.nan) for name in FEATURE_NAMES] for features in named]
        quality[here] = [vector["metadata"]["data_quality"] for vector in vectors]
    return quality, values


def _first_weeks(people: Students, marks: set[Mark], everyone: dt.date | None) -> Integers:
    """Per student the ordinal day of the first week to recompute; `_NEVER` when there is none."""
    first = np.full(len(people), _NEVER if everyone is None else everyone.toordinal(), dtype=np.int64)
    named = [(student, week.toordinal()) for student, week in marks if student is not None]
    if named:
        student = positions(np.array([name for name, _ in named], dtype=ID), people.ids)
        np.minimum.at(first, student[student >= 0], np.array([week for _, week in named])[student >= 0])
    return first


def _batches(people: Students, first_weeks: Integers, calendar: SchoolCalendar) -> Iterator[tuple[dt.date, Students]]:
    """(first week, students) with the same first week, few enough for one batch."""
    # A mark beyond the newest school week (an exit planned for 9999, say) has nothing to recompute yet.
    newest = calendar.weeks[-1].toordinal() if calendar.weeks else _NEVER - 1
    for day in np.unique(first_weeks[first_weeks <= newest]).tolist():
        first = dt.date.fromordinal(day)
        part = np.flatnonzero(first_weeks == day)
        size = max(1, _VECTORS_PER_BATCH // max(1, sum(week >= first for week in calendar.weeks)))
        for start in range(0, len(part), size):
            yield first, people[part[start : start + size]]


def _update_batch(
    connection: Connection,
    work: Work,
    calendar: SchoolCalendar,
    first: dt.date,
    people: Students,
    everyone: bool,
) -> Integers:
    """Recompute these students' vectors from week `first` on; computed, inserted, updated, unchanged, deleted."""
    weeks = [week for week in calendar.weeks if week >= first]
    ids = uuids(people.ids)
    columns: list[Sequence[Any]] = [()] * (2 + len(_SCALARS))
    texts: list[str] = []
    if weeks:
        place = calendar.weeks.index(weeks[0])
        looked_at = calendar.weeks[max(0, place - LOOKBACK_WEEKS + 1) :]
        activity = read_activity(connection, work, people, looked_at, everyone=everyone)
        vectors = feature_vectors(people.frame(), activity, calendar, weeks)
        rate, points, incidents = (
            [None if math.isnan(value) else value for value in vectors[name].tolist()] for name in _SCALARS
        )
        whole = [None if value is None else int(value) for value in incidents]
        columns = [vectors["student_id"].tolist(), vectors["feature_date"].tolist(), rate, points, whole]
        texts = vector_json(vectors)

    stored = _stored(connection, work, people, first, everyone)
    new: list[tuple[Any, ...]] = []
    changed: list[tuple[Any, ...]] = []
    unchanged = 0
    for number, sunday, *scalars, text in zip(*columns, texts, strict=True):
        before = stored.pop((number, sunday), None)
        if before is None:
            target = new
        elif before[0] == tuple(scalars) and (before[1] == text or orjson.loads(before[1]) == orjson.loads(text)):
            unchanged += 1
            continue
        else:
            target = changed
        target.append((work.tenant, ids[number], sunday, *scalars, text))
    for rows, key in ((new, ()), (changed, ("student_id", "feature_date"))):
        if rows:
            written = dict(zip(_WRITTEN, zip(*rows, strict=True), strict=True))
            write_columns(connection, student_features, written, overwrite=key)
    table = student_features
    write_rows(
        connection,
        sa.delete(table).where(
            table.c.student_id == sa.bindparam("of_student"), table.c.feature_date == sa.bindparam("of_date")
        ),
        [{"of_student": ids[number], "of_date": sunday} for number, sunday in stored],
    )
    return np.array([len(texts), len(new), len(changed), unchanged, len(stored)], dtype=np.int64)


def _stored(
    connection: Connection, work: Work, people: Students, first: dt.date, everyone: bool
) -> dict[tuple[int, dt.date], tuple[tuple[Any, ...], str]]:
    """The stored vectors of these students from week `first` on, by position in `people` and Sunday."""
    table = student_features.c
    statement = sa.select(
        as_text(table.student_id),
        as_text(table.feature_date),
        sa.cast(table.feature_vector, sa.Text()),
        *(plain(table[name]) for name in _SCALARS),
    ).where(table.tenant_id == work.tenant, table.feature_date >= feature_date(first))
    stored: dict[tuple[int, dt.date], tuple[tuple[Any, ...], str]] = {}
    for query in _parts(statement, table.student_id, people, everyone=everyone):
        vector_ids, sundays, texts, *scalars = read_arrays(connection, query, ID, DAY, *(OBJECT for _ in range(4)))
        keys = zip(positions(vector_ids, people.ids).tolist(), days(sundays).tolist(), strict=True)
        stored.update(zip(keys, zip(zip(*scalars, strict=True), texts, strict=True), strict=True))
    return stored


def _parts(
    statement: sa.Select[Any], column: sa.ColumnElement[Any], people: Students, *, everyone: bool
) -> Iterator[sa.Select[Any]]:
    """The statement for these students, so many of them in each part as fit into one query; for `everyone` as it is."""
    if everyone:
        yield statement
        return
    for ids in id_batches(uuids(people.ids)):
        yield statement.where(column.in_(ids))


def _any_enrolled(people: Students, sunday: dt.date) -> bool:
    return bool(np.any(people.enrolled_on(np.datetime64(sunday, "D"))))


def _objects(values: Sequence[Any]) -> npt.NDArray[np.object_]:
    """An object array, so that pandas keeps the Python objects."""
    objects = np.empty(len(values), dtype=object)
    objects[:] = values
    return objects
