"""How many students were scored, week by week and by category, read from `predictions`. No row of a single student."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from edupulse_pipelines.features.store import read_features
from edupulse_pipelines.risk.statuses import made_by
from edupulse_pipelines.schema import sqlalchemy_tables as tables
from edupulse_pipelines.schema.tables import RISK_CATEGORIES
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import feature_date, week_start


def _of_enrolled() -> sa.ColumnElement[bool]:
    """Whether the student of a prediction still has a vector for its week.

    A student who turns out to have left before loses the vector and keeps the prediction, because feedback may name it.
    """
    scores, vectors = tables.predictions, tables.student_features
    return sa.exists().where(
        vectors.c.student_id == scores.c.student_id, vectors.c.feature_date == scores.c.feature_date
    )


def scores_by_week(connection: sa.Connection, work: Work, models: Mapping[dt.date, str]) -> dict[dt.date, int]:
    """Predictions of enrolled students stored for each week (Monday) of `models`, by the model version given for it."""
    if not models:
        return {}
    rows = tables.predictions
    query = (
        sa.select(rows.c.feature_date, rows.c.model_version, sa.func.count())
        .where(
            rows.c.tenant_id == work.tenant,
            rows.c.feature_date.between(feature_date(min(models)), feature_date(max(models))),
            rows.c.model_version.in_(sorted(set(models.values()))),
            _of_enrolled(),
        )
        .group_by(rows.c.feature_date, rows.c.model_version)
    )
    counted = {(week_start(day), version): count for day, version, count in connection.execute(query)}
    return {week: counted.get((week, version), 0) for week, version in models.items()}


def categories_by_week(
    connection: sa.Connection, work: Work, weeks: Sequence[dt.date]
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
            scores.c.tenant_id == work.tenant,
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
    counts: dict[dt.date, dict[str, int]] = {}
    for day, category, count in connection.execute(query):
        counts.setdefault(week_start(day), {})[category] = count
    return counts


def latest_predictions(
    connection: sa.Connection, work: Work, minimum_weeks_of_data: int, last_week: dt.date
) -> dict[str, Any]:
    """The newest week up to `last_week` with feature vectors: how many students were scored, by category, how many not.

    `week` (None without any data), `scored`, `insufficient_data` (students under the cohort's minimum), `by_category`,
    and `made_by`: what scored them, in words, by number of students.
    A student scored by several models counts once, with the newest score.
    """
    features = tables.student_features
    query = sa.select(sa.func.max(features.c.feature_date)).where(
        features.c.tenant_id == work.tenant, features.c.feature_date <= feature_date(last_week)
    )
    day = connection.execute(query).scalar_one()
    if day is None:
        return {"week": None, "scored": 0, "insufficient_data": 0, "by_category": {}, "made_by": {}}
    week = week_start(day)
    by_category = categories_by_week(connection, work, [week]).get(week, {})
    vectors = read_features(connection, work, [week])
    return {
        "week": week,
        "scored": sum(by_category.values()),
        "insufficient_data": int((vectors["weeks_of_data"] < minimum_weeks_of_data).sum()),
        "by_category": {category: by_category.get(category, 0) for category in RISK_CATEGORIES},
        "made_by": _made_by(connection, work, day),
    }


def _made_by(connection: sa.Connection, work: Work, day: dt.date) -> dict[str, int]:
    """What made the newest prediction of each student for a day, in words, and how many students."""
    scores, model = tables.predictions, tables.model_metadata.c
    newest = sa.func.row_number().over(
        partition_by=scores.c.student_id, order_by=(scores.c.prediction_date.desc(), scores.c.id.desc())
    )
    ranked = (
        sa.select(scores.c.model_version, scores.c.risk_score.is_not(None).label("known"), newest.label("rank"))
        .where(scores.c.tenant_id == work.tenant, scores.c.feature_date == day, _of_enrolled())
        .subquery()
    )
    query = (
        sa.select(model.model_type, ranked.c.known, sa.func.count())
        .join_from(
            ranked,
            tables.model_metadata,
            sa.and_(model.tenant_id == work.tenant, model.model_version == ranked.c.model_version),
        )
        .where(ranked.c.rank == 1)
        .group_by(model.model_type, ranked.c.known)
        .order_by(model.model_type, ranked.c.known)
    )
    found: dict[str, int] = {}
    for kind, known, students in connection.execute(query):
        name = made_by(kind, bool(known))
        found[name] = found.get(name, 0) + students
    return found
