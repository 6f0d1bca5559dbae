"""A small made-up district, written straight into weekly activity and feature vectors, for the tests of this room."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import sqlalchemy as sa

from edupulse_pipelines.features.school_calendar import SchoolCalendar
from edupulse_pipelines.features.vectors import feature_vectors, vector_json
from edupulse_pipelines.schema.sqlalchemy_tables import (
    ingested_files,
    student_features,
    students,
    weekly_activity,
    weekly_course_grades,
)
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK
from edupulse_pipelines_tests.enrolment import enrol

FIRST_WEEK = dt.date(2024, 9, 2)


def tenant_settings(name: str | None = None, **sections: object) -> TenantSettings:
    """Settings of a tenant with a name of its own, so that tests can share one MLflow store."""
    return TenantSettings(
        name=name or f"t{uuid.uuid4().hex[:10]}",
        timezone="America/New_York",
        first_week=FIRST_WEEK,
        landing=Path("landing"),
        **sections,
    )


def work_of(bind: sa.Engine | sa.Connection, tenant: TenantSettings, run_id: str | None = None) -> Work:
    """Work for the tenant in the database of an engine or a connection."""
    return Work(bind.engine, tenant.name, run_id)


def week(number: int) -> dt.date:
    """The Monday of the district's week `number`, counted from 0."""
    return FIRST_WEEK + number * WEEK


@dataclass
class District:
    """What was written, for tests to compare with."""

    students: pd.DataFrame
    activity: pd.DataFrame
    courses: pd.DataFrame
    weeks: list[dt.date]


def made_up_district(*, count: int = 80, weeks: int = 26, seed: int = 0, attendance: bool = True) -> District:
    """Students who differ in one hidden risk, which shows in attendance, grades, incidents and exits. No database."""
    random = np.random.default_rng(seed)
    mondays = [week(number) for number in range(weeks)]
    people, activity, courses = [], [], []
    for number in range(count):
        # A student's number and id are unrelated, so that an order by id would show.
        student = uuid.UUID(bytes=random.bytes(16), version=4)
        risk = random.random()
        enrolled = mondays[0] if number % 10 else mondays[int(random.integers(0, weeks))]
        leaves = risk > 0.7 and random.random() < 0.6
        exit_date = mondays[int(random.integers(1, weeks))] + dt.timedelta(days=2) if leaves else None
        people.append(
            {
                "student_id": student,
                "district_id": f"{'ab'[number % 2]}{number}",
                "enrollment_date": enrolled,
                "exit_date": exit_date,
                "exit_type": ("dropped_out", "transferred")[len(people) % 3 == 0] if leaves else None,
            }
        )
        for monday in mondays:
            if monday < enrolled or (exit_date and monday > exit_date):
                continue
            absent, tardy, excused = (int(random.binomial(5, p)) for p in (0.02 + 0.25 * risk, 0.05, 0.03))
            absent, tardy, excused = min(absent, 5), min(tardy, 5 - min(absent, 5)), 0
            graded = {
                course: [
                    float(np.clip(round(92 - 45 * risk + random.normal(0, 8)), 0, 100))
                    for _ in range(random.integers(0, 3))
                ]
                for course in ("ENG", "MATH")
            }
            grades = [grade for one in graded.values() for grade in one]
            incidents = int(random.poisson(0.25 * risk))
            row = {
                "student_id": student,
                "week_start": monday,
                "sessions_present": 5 - absent - tardy - excused,
                "sessions_absent": absent,
                "sessions_tardy": tardy,
                "sessions_excused": excused,
                "unexcused_absences": absent,
                "grade_count": len(grades),
                "grade_mean": float(np.mean(grades)) if grades else None,
                "grade_lowest": min(grades) if grades else None,
                "incident_count": incidents,
                "severity_highest": int(random.integers(1, 6)) if incidents else None,
            }
            # Attendance is daily: a session is a day.
            row |= {
                "days_enrolled": 5,
                "days_present": 5 - absent - excused,
                "days_absent": absent,
                "days_excused": excused,
                "days_missed": float(absent + excused),
                "days_basis": "half",
            }
            if not attendance:
                row |= {name: 0 for name in row if name.startswith("days_") and name != "days_basis"}
                row |= dict.fromkeys((name for name in row if name.startswith("sessions_")), 0) | {
                    "unexcused_absences": 0
                }
            activity.append(row)
            courses += [
                {
                    "student_id": student,
                    "week_start": monday,
                    "course_id": course,
                    "grade_count": len(one),
                    "grade_mean": float(np.mean(one)),
                    "grade_lowest": min(one),
                }
                for course, one in graded.items()
                if one
            ]
    return District(pd.DataFrame(people), pd.DataFrame(activity), pd.DataFrame(courses), mondays)


def write(engine: sa.Engine, tenant: TenantSettings, district: District) -> None:
    """Write students, weekly activity, course grades and the feature vectors computed from them."""
    with engine.begin() as connection:
        connection.execute(
            sa.insert(students),
            [
                {
                    "id": row["student_id"],
                    "tenant_id": tenant.name,
                    "district_id": row["district_id"],
                    "first_name": "A",
                    "last_name": "B",
                    "date_of_birth": dt.date(2010, 1, 1),
                    "grade_level": 9,
                    "enrollment_date": row["enrollment_date"],
                    "exit_date": row["exit_date"],
                    "exit_type": row["exit_type"],
                    "student_metadata": {},
                    "delivered_on": FIRST_WEEK,
                }
                for row in _records(district.students)
            ],
        )
        enrol(connection, tenant.name)
        write_activity(connection, tenant, district)
        write_manifest(connection, tenant, district)
    write_features(engine, tenant, district)


def write_activity(connection: sa.Connection, tenant: TenantSettings, district: District) -> None:
    """Write weekly activity and weekly course grades."""
    for table, frame in ((weekly_activity, district.activity), (weekly_course_grades, district.courses)):
        if len(frame):
            connection.execute(sa.insert(table), [{"tenant_id": tenant.name, **row} for row in _records(frame)])


def write_manifest(connection: sa.Connection, tenant: TenantSettings, district: District) -> None:
    """Write the manifest of one delivery a week, which makes the weeks school weeks."""
    connection.execute(
        sa.insert(ingested_files),
        [
            {
                "id": uuid.uuid4(),
                "tenant_id": tenant.name,
                "table_name": table,
                "delivered_on": monday + WEEK,
                "file_name": f"{table}.csv",
                "sha256": f"{table}{monday}",
                "size_bytes": 1,
                "status": "loaded",
                "rows_read": 1,
            }
            for monday in district.weeks
            for table in ("grades", "discipline_incidents")
        ],
    )


def write_features(engine: sa.Engine, tenant: TenantSettings, district: District) -> None:
    """Write the feature vectors, in place of those that are there."""
    sent = (
        district.activity[[f"sessions_{one}" for one in ("present", "absent", "tardy", "excused")]].to_numpy().sum() > 0
    )
    calendar = SchoolCalendar(
        tuple(district.weeks),
        {
            "attendance": district.weeks[0] if sent else None,
            "academic": district.weeks[0],
            "behavioral": district.weeks[0],
        },
        district.weeks[-1],
    )
    vectors = feature_vectors(district.students, district.activity, calendar, district.weeks)
    columns = vectors[["student_id", "feature_date", "attendance_rate", "gpa_current", "discipline_incidents"]]
    with engine.begin() as connection:
        connection.execute(sa.delete(student_features).where(student_features.c.tenant_id == tenant.name))
        connection.execute(
            sa.insert(student_features),
            [
                {"tenant_id": tenant.name, **row, "feature_vector": json.loads(vector)}
                for row, vector in zip(_records(columns), vector_json(vectors), strict=True)
            ],
        )


def _records(frame: pd.DataFrame) -> list[dict[str, object]]:
    """Rows as dictionaries, with None for every missing value."""
    plain = frame.astype(object).where(frame.notna(), None)
    return plain.to_dict("records")
