"""The students that the leakage proof works with: what is on record of a sample of them, as frames.

Only reads; what is changed in the frames is in `later_rows`, the proof in `leakage`.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from numpy.typing import NDArray

from edupulse_pipelines.features.enrolment import read_students
from edupulse_pipelines.features.known_activity import known_measure
from edupulse_pipelines.features.roll_up import ROW_MEASURES
from edupulse_pipelines.features.school_calendar import SchoolCalendar, distinct_days, school_calendar
from edupulse_pipelines.features.school_year import STANDING_COURSES
from edupulse_pipelines.features.standing import read_groups
from edupulse_pipelines.schema.sqlalchemy_tables import (
    student_features,
    students,
    weekly_activity,
    weekly_course_grades,
)
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.bulk import ID, OBJECT, as_text, id_batches, positions, read_arrays, uuids
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import week_start

SAMPLE_STUDENTS = 200


@dataclass(frozen=True)
class ActivityFrames:
    """What is on record of some students: all that features and labels are made of."""

    people: pd.DataFrame
    """student_id (any hashable), district_id, enrollment_date, exit_date (missing = none), exit_type, and whatever else
    a feature function needs to know about a student, such as the group; a row for each interval of enrolment."""
    activity: pd.DataFrame
    """student_id, week_start and `ROW_MEASURES`; one row per student and week."""
    courses: pd.DataFrame
    """student_id, course_id, week_start and `STANDING_COURSES`; one row per student, course and week."""
    calendar: SchoolCalendar


def read_sample(
    connection: sa.Connection, work: Work, tenant: TenantSettings, *, limit: int = SAMPLE_STUDENTS, seed: int = 0
) -> ActivityFrames:
    """All that is on record of up to `limit` students, drawn by a hash of their numbers: the same ones on any database.

    `people` are as `standing_features` takes them, with the numbers and ways of leaving, ordered by district_id as
    text; `student_id` is the position of the student. Some ten thousand rows.
    """
    everybody = read_students(connection, work)
    groups = read_groups(connection, work, tenant, everybody.ids)
    table = students.c
    student_ids, numbers = read_arrays(
        connection,
        sa.select(as_text(table.id), table.district_id).where(
            table.tenant_id == work.tenant, table.deleted_on.is_(None)
        ),
        ID,
        OBJECT,
    )
    place = positions(student_ids, everybody.ids)
    was_enrolled = np.diff(everybody.enrolled.offsets) > 0
    kept = (place >= 0) & was_enrolled[place]  # somebody may have come in between the two queries
    numbers, place = numbers[kept], place[kept]
    drawn = [hashlib.sha256(f"{seed}/{number}".encode()).digest() for number in numbers]
    chosen = sorted(sorted(range(len(drawn)), key=drawn.__getitem__)[:limit], key=numbers.__getitem__)
    numbers, place = numbers[chosen], place[chosen]
    people = everybody[place].frame()
    of = people["student_id"].to_numpy()
    people = people.assign(
        district_id=numbers[of],
        group=groups["group"].to_numpy()[place][of],
        start=groups["start"].to_numpy()[place][of],
    )
    keys = uuids(everybody.ids[place])
    row, course = weekly_activity.c, weekly_course_grades.c
    grades = [course[name] for name in STANDING_COURSES]
    measures = [known_measure(name) for name in ROW_MEASURES]
    return ActivityFrames(
        people,
        _rows(connection, work, sa.select(row.student_id, row.week_start, *measures), row, keys, ()),
        _rows(
            connection,
            work,
            sa.select(course.student_id, course.week_start, course.course_id, *grades),
            course,
            keys,
            ("course_id",),
        ),
        _calendar(connection, work, tenant),
    )


def _calendar(connection: sa.Connection, work: Work, tenant: TenantSettings) -> SchoolCalendar:
    """The school calendar, its weeks being those that vectors are stored for."""
    sundays = distinct_days(connection, student_features.c.feature_date, student_features.c.tenant_id == work.tenant)
    return replace(
        school_calendar(connection, work, tenant.first_week),
        weeks=tuple(week_start(day) for day in sundays),
    )


def _rows(
    connection: sa.Connection,
    work: Work,
    query: sa.Select[Any],
    table: Any,
    keys: Sequence[uuid.UUID],
    texts: Sequence[str],
) -> pd.DataFrame:
    """The rows of these students, `student_id` being the position in `keys`, in the order of their keys."""
    measures = ROW_MEASURES if not texts else STANDING_COURSES
    columns = ("student_id", "week_start", *texts, *measures)
    place = {key: position for position, key in enumerate(keys)}
    rows = [
        (place[key], *row)
        for part in id_batches(keys)
        for key, *row in connection.execute(query.where(table.tenant_id == work.tenant, table.student_id.in_(part)))
    ]
    rows.sort(key=lambda row: row[: 2 + len(texts)])
    frame = pd.DataFrame(rows, columns=list(columns), dtype=object)
    return frame.astype({"student_id": np.int64, **dict.fromkeys(measures, np.float64)})


def object_array(values: Sequence[Any]) -> NDArray[np.object_]:
    """The values as an array of objects, whatever they are."""
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made
