"""Counts and shares read from the tables, for metadata in the UI and for the summary of a run. No student's row.

Imports SQLAlchemy: to be imported inside a step or a command.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from edupulse_pipelines.schema import sqlalchemy_tables as tables
from edupulse_pipelines.weeks import feature_date, week_start


def row_count(connection: sa.Connection, tenant: str, table: str) -> int:
    """Rows of the tenant in `table`, without deleted records."""
    counted = tables.metadata.tables[table]
    query = sa.select(sa.func.count()).select_from(counted).where(counted.c.tenant_id == tenant)
    if "deleted_on" in counted.c:
        query = query.where(counted.c.deleted_on.is_(None))
    return connection.execute(query).scalar_one()


def activity_by_week(connection: sa.Connection, tenant: str, weeks: Sequence[dt.date]) -> dict[dt.date, dict[str, Any]]:
    """Per week (Monday) that has rows: students with activity, sessions, attendance rate, grades, incidents.

    Sessions whose number is not known (only absences are recorded, and there is no calendar) are not counted.
    """
    from edupulse_pipelines.features.known_activity import known_sessions, on_record
    from edupulse_pipelines.features.vectors import attendance_rate

    rows = tables.weekly_activity
    sums_of = [
        *(known_sessions(status) for status in ("present", "tardy", "absent", "excused")),
        rows.c.grade_count,
        rows.c.incident_count,
    ]
    query = (
        sa.select(rows.c.week_start, sa.func.count(), *(sa.func.sum(column) for column in sums_of))
        .where(
            rows.c.tenant_id == tenant,
            rows.c.week_start.between(min(weeks), max(weeks)),
            on_record(rows.c.student_id),
        )
        .group_by(rows.c.week_start)
        .order_by(rows.c.week_start)
    )
    found: dict[dt.date, dict[str, Any]] = {}
    for week, students, *sums in connection.execute(query):
        present, tardy, absent, excused, grades, incidents = (int(value or 0) for value in sums)
        sessions = present + tardy + absent + excused
        rate = round(float(attendance_rate(present, tardy, absent, excused)), 4) if sessions else None
        found[week] = {
            "student_weeks": students,
            "sessions": sessions,
            "attendance_rate": rate,
            "grades": grades,
            "incidents": incidents,
        }
    return found


def features_by_week(connection: sa.Connection, tenant: str, weeks: Sequence[dt.date]) -> dict[dt.date, dict[str, Any]]:
    """Per week: students with a feature vector, and the share of them with attendance, grades and incidents known."""
    rows = tables.student_features
    query = (
        sa.select(
            rows.c.feature_date,
            sa.func.count(),
            sa.func.count(rows.c.attendance_rate),
            sa.func.count(rows.c.gpa_current),
            sa.func.count(rows.c.discipline_incidents),
        )
        .where(
            rows.c.tenant_id == tenant,
            rows.c.feature_date.between(feature_date(min(weeks)), feature_date(max(weeks))),
        )
        .group_by(rows.c.feature_date)
        .order_by(rows.c.feature_date)
    )
    return {
        week_start(day): {
            "students": students,
            "attendance_known": round(attendance / students, 4),
            "grades_known": round(grades / students, 4),
            "incidents_known": round(incidents / students, 4),
        }
        for day, students, attendance, grades, incidents in connection.execute(query)
    }


def active_model(connection: sa.Connection, tenant: str) -> dict[str, Any] | None:
    """`version`, `metrics`, `hyperparameters` of the tenant's active model, or None."""
    rows = tables.model_metadata
    query = sa.select(rows.c.model_version, rows.c.performance_metrics, rows.c.hyperparameters).where(
        rows.c.tenant_id == tenant, rows.c.is_active
    )
    found = connection.execute(query).one_or_none()
    return None if found is None else {"version": found[0], "metrics": found[1], "hyperparameters": found[2]}


def shown_model(connection: sa.Connection, tenant: str) -> dict[str, Any] | None:
    """The model that a summary shows: the champion or, without one, the newest model that did not pass the gate.

    `version`, `metrics`, `promoted`, and `reason` where it was not. None when there is no model at all.
    """
    active = active_model(connection, tenant)
    if active is not None:
        return {"version": active["version"], "metrics": active["metrics"], "promoted": True, "reason": ""}
    rows, decisions = tables.model_metadata, tables.promotion_decisions
    newest = connection.execute(
        sa.select(rows.c.model_version, rows.c.performance_metrics)
        .where(rows.c.tenant_id == tenant)
        .order_by(rows.c.training_date.desc(), rows.c.model_version.desc())
        .limit(1)
    ).one_or_none()
    if newest is None:
        return None
    reason = connection.execute(
        sa.select(decisions.c.reason)
        .where(decisions.c.tenant_id == tenant, decisions.c.model_version == newest[0])
        .order_by(decisions.c.decided_at.desc(), decisions.c.id.desc())
        .limit(1)
    ).scalar()
    return {"version": newest[0], "metrics": newest[1], "promoted": False, "reason": reason or ""}


def _of_enrolled() -> sa.ColumnElement[bool]:
    """Whether the student of a prediction still has a vector for its week.

    A student who turns out to have left before loses the vector and keeps the prediction, because feedback may name it.
    """
    scores, vectors = tables.predictions, tables.student_features
    return sa.exists().where(
        vectors.c.student_id == scores.c.student_id, vectors.c.feature_date == scores.c.feature_date
    )


def scores_by_week(connection: sa.Connection, tenant: str, models: Mapping[dt.date, str]) -> dict[dt.date, int]:
    """Predictions of enrolled students stored for each week (Monday) of `models`, by the model version given for it."""
    if not models:
        return {}
    rows = tables.predictions
    query = (
        sa.select(rows.c.feature_date, rows.c.model_version, sa.func.count())
        .where(
            rows.c.tenant_id == tenant,
            rows.c.feature_date.between(feature_date(min(models)), feature_date(max(models))),
            rows.c.model_version.in_(sorted(set(models.values()))),
            _of_enrolled(),
        )
        .group_by(rows.c.feature_date, rows.c.model_version)
    )
    counted = {(week_start(day), version): count for day, version, count in connection.execute(query)}
    return {week: counted.get((week, version), 0) for week, version in models.items()}


def categories_by_week(
    connection: sa.Connection, tenant: str, weeks: Sequence[dt.date]
) -> dict[dt.date, dict[str, int]]:
    """Per week from the first to the last of `weeks`: students by risk category, by their newest score of the week."""
    scores = tables.predictions
    newest = sa.func.row_number().over(
        partition_by=(scores.c.student_id, scores.c.feature_date),
        order_by=(scores.c.prediction_date.desc(), scores.c.id.desc()),
    )
    ranked = (
        sa.select(scores.c.feature_date, scores.c.risk_category, newest.label("rank"))
        .where(
            scores.c.tenant_id == tenant,
            scores.c.feature_date.between(feature_date(min(weeks)), feature_date(max(weeks))),
            _of_enrolled(),
        )
        .subquery()
    )
    query = (
        sa.select(ranked.c.feature_date, ranked.c.risk_category, sa.func.count())
        .where(ranked.c.rank == 1)
        .group_by(ranked.c.feature_date, ranked.c.risk_category)
        .order_by(ranked.c.feature_date)
    )
    found: dict[dt.date, dict[str, int]] = {}
    for day, category, count in connection.execute(query):
        found.setdefault(week_start(day), {})[category] = count
    return found


def latest_predictions(
    connection: sa.Connection, tenant: str, minimum_weeks_of_data: int, last_week: dt.date
) -> dict[str, Any]:
    """The newest week up to `last_week` with feature vectors: how many students were scored, by category, how many not.

    `week` (None without any data), `scored`, `insufficient_data` (students under the cohort's minimum), `by_category`.
    A student scored by several models counts once, with the newest score.
    """
    from edupulse_pipelines.features.store import read_features
    from edupulse_pipelines.storage.work import Work

    features = tables.student_features
    query = sa.select(sa.func.max(features.c.feature_date)).where(
        features.c.tenant_id == tenant, features.c.feature_date <= feature_date(last_week)
    )
    day = connection.execute(query).scalar_one()
    if day is None:
        return {"week": None, "scored": 0, "insufficient_data": 0, "by_category": {}}
    week = week_start(day)
    by_category = categories_by_week(connection, tenant, [week]).get(week, {})
    vectors = read_features(connection, Work(connection.engine, tenant), [week])
    return {
        "week": week,
        "scored": sum(by_category.values()),
        "insufficient_data": int((vectors["weeks_of_data"] < minimum_weeks_of_data).sum()),
        "by_category": {category: by_category.get(category, 0) for category in ("low", "medium", "high", "critical")},
    }
