"""Sums and shares of weekly activity and of feature vectors by week, read from the tables.

They are for people: the events of the weekly job show them. No row of a single student leaves the database.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from edupulse_pipelines.features.known_activity import known_sessions, on_record
from edupulse_pipelines.features.vectors import STATUSES, attendance_rate
from edupulse_pipelines.schema import sqlalchemy_tables as tables
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import feature_date, week_start

KNOWN_BY = {"attendance": "attendance_rate", "grades": "gpa_current", "incidents": "discipline_incidents"}
"""By domain of the features, in words for people: the feature that a vector has where the domain is known."""


def activity_by_week(connection: sa.Connection, work: Work, weeks: Sequence[dt.date]) -> dict[dt.date, dict[str, Any]]:
    """Per week (Monday) that has rows: students with activity, sessions, attendance rate, grades, incidents.

    Sessions whose number is not known (only absences are recorded, and there is no calendar) are not counted.
    """
    rows = tables.weekly_activity
    sums_of = [
        *(known_sessions(status) for status in STATUSES),
        rows.c.grade_count,
        rows.c.incident_count,
    ]
    query = (
        sa.select(rows.c.week_start, sa.func.count(), *(sa.func.sum(column) for column in sums_of))
        .where(
            rows.c.tenant_id == work.tenant,
            rows.c.week_start.between(min(weeks), max(weeks)),
            on_record(rows.c.student_id),
        )
        .group_by(rows.c.week_start)
        .order_by(rows.c.week_start)
    )
    by_week: dict[dt.date, dict[str, Any]] = {}
    for week, students, *sums in connection.execute(query):
        present, tardy, absent, excused, grades, incidents = (int(value or 0) for value in sums)
        sessions = present + tardy + absent + excused
        rate = round(float(attendance_rate(present, tardy, absent, excused)), 4) if sessions else None
        by_week[week] = {
            "student_weeks": students,
            "sessions": sessions,
            "attendance_rate": rate,
            "grades": grades,
            "incidents": incidents,
        }
    return by_week


def features_by_week(connection: sa.Connection, work: Work, weeks: Sequence[dt.date]) -> dict[dt.date, dict[str, Any]]:
    """Per week: students with a feature vector, and the share of them with attendance, grades and incidents known."""
    rows = tables.student_features
    query = (
        sa.select(
            rows.c.feature_date,
            sa.func.count(),
            *(sa.func.count(rows.c[feature]) for feature in KNOWN_BY.values()),
        )
        .where(
            rows.c.tenant_id == work.tenant,
            rows.c.feature_date.between(feature_date(min(weeks)), feature_date(max(weeks))),
        )
        .group_by(rows.c.feature_date)
        .order_by(rows.c.feature_date)
    )
    return {
        week_start(day): {
            "students": students,
            **{f"{domain}_known": round(count / students, 4) for domain, count in zip(KNOWN_BY, known, strict=True)},
        }
        for day, students, *known in connection.execute(query)
    }
