from __future__ import annotations

import datetime as dt
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from edupulse_pipelines.risk.health import (
    IN_USE,
    health_plots,
    health_series,
    latest_health,
    week_health,
)
from edupulse_pipelines.risk.judging.drift import CHANGED_FROM, STABLE_BELOW, model_reference
from edupulse_pipelines.risk.judging.evaluation import Measure, auc_roc, brier_score
from edupulse_pipelines.risk.judging.retraining import retraining_reason
from edupulse_pipelines.risk.samples.cohorts import model_features, read_week
from edupulse_pipelines.risk.samples.labels import labels
from edupulse_pipelines.schema.sqlalchemy_tables import (
    model_evaluations,
    model_metadata,
    predictions,
    student_features,
    students,
)
from edupulse_pipelines.settings import LabelSettings, TenantSettings, TrainingSettings
from edupulse_pipelines.storage.ids import new_ids
from edupulse_pipelines.weeks import feature_date
from edupulse_pipelines_tests.risk.district import District, made_up_district, tenant_settings, week, work_of, write

VERSION = "2024-11-25-abcdef01"
PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def district() -> District:
    return made_up_district(count=80, weeks=22, seed=11)


@pytest.fixture
def tenant(engine: sa.Engine, district: District) -> TenantSettings:
    tenant = tenant_settings("healthy", label=LabelSettings(failing_below=70))
    write(engine, tenant, district)
    return tenant


def scored(
    engine: sa.Engine, tenant: TenantSettings, weeks: list[dt.date], version: str = VERSION, *, rescored: bool = False
) -> SimpleNamespace:
    """A model whose score is a function of one feature, its predictions of `weeks`, and its reference of week 8."""
    with engine.begin() as connection:
        cohorts = {one: cohort_of(connection, tenant, one) for one in {week(8), *weeks}}
        trained = cohorts[week(8)]
        inputs = trained[list(model_features(tenant))]
        number = np.arange(len(trained))
        reference = model_reference(
            inputs, number, (score_of(trained) > 0.5).astype(np.int8), score_of(trained), number
        )
        connection.execute(
            sa.insert(model_metadata).values(
                id=new_ids(1)[0],
                tenant_id=tenant.name,
                model_version=version,
                model_type="logistic",
                training_date=dt.datetime(2024, 12, 1, tzinfo=dt.UTC),
                performance_metrics={},
                hyperparameters={"reference": reference},
                is_active=version == VERSION,
            )
        )
        for one in weeks:
            here = cohorts[one]
            rows = [
                {
                    "id": identity,
                    "tenant_id": tenant.name,
                    "student_id": student,
                    "feature_date": feature_date(one),
                    "prediction_date": dt.datetime(2025, 1, 1, tzinfo=dt.UTC),
                    "risk_score": float(score),
                    "risk_category": "high" if score >= 0.5 else "low",
                    "confidence": 0.7,
                    "risk_factors": [],
                    "model_version": version,
                    "rescored": rescored,
                }
                for identity, student, score in zip(new_ids(len(here)), here["student_id"], score_of(here), strict=True)
            ]
            connection.execute(sa.insert(predictions), rows)
    return SimpleNamespace(model_version=version, hyperparameters={"reference": reference})


def cohort_of(connection: sa.Connection, tenant: TenantSettings, monday: dt.date) -> pd.DataFrame:
    everybody = read_week(connection, work_of(connection, tenant), tenant, monday)
    return everybody[everybody["in_cohort"].to_numpy(bool)]


def score_of(rows: pd.DataFrame) -> np.ndarray:
    """Higher for those with lower grades."""
    grade = rows["grade_mean_8w"].astype(float).fillna(75.0).to_numpy()
    return np.round(1 / (1 + np.exp((grade - 65) / 8)), 6)


def by_name(measures: list[Measure]) -> dict[tuple[str, str], Measure]:
    return {(one.metric, one.parameter): one for one in measures}


def test_a_week_and_what_matured_in_it(
    engine: sa.Engine, tenant: TenantSettings, across_databases: dict[str, object]
) -> None:
    model = scored(engine, tenant, [week(number) for number in range(8, 22)])
    with engine.begin() as connection:
        found = week_health(connection, work_of(connection, tenant), tenant, week(18), model)
        cohort = cohort_of(connection, tenant, week(18))
        past = cohort_of(connection, tenant, week(10))
        happened = labels(connection, work_of(connection, tenant), tenant, [week(10)])
        series = health_series(connection, work_of(connection, tenant), tenant)
    one = by_name(found)
    assert {parameter for metric, parameter in one if metric == "psi"} == set(model_features(tenant))
    assert one["psi", "attendance_rate_4w"].samples == one["score_psi", ""].samples == len(cohort)
    assert one["predicted_event_rate", ""].value is not None

    # Week 10's horizon of eight weeks ended with week 18.
    adverse = happened.adverse[np.searchsorted(happened.district_ids, past["district_id"].to_numpy(object)), 0]
    assert one["event_rate", ""] == Measure("event_rate", "", "", round(float(adverse.mean()), 6), len(past))
    score = score_of(past)
    assert one["auc_roc", ""].value == auc_roc(score, adverse)
    assert one["brier_score", ""].value == brier_score(score, adverse)
    assert one["event_rate_change", "low"].value < one["event_rate_change", ""].value
    assert one["precision_at", "capacity"].value is not None
    matured = series[series["scope"] == "matured"]
    assert set(matured["week"]) == {week(10)}
    assert set(series[series["scope"] == "health"]["week"]) == {week(18)}
    assert set(series["model_version"]) == {VERSION}
    assert len(series) == len(found)
    written = series.drop(columns="model_version").astype(str).to_numpy().tolist()
    assert across_databases.setdefault("health", written) == written

    # Measured again, the same rows.
    with engine.begin() as connection:
        assert (
            week_health(
                connection,
                work_of(connection, tenant),
                tenant,
                week(18),
                model,
                read_week(connection, work_of(connection, tenant), tenant, week(18)),
            )
            == found
        )
        again = health_series(connection, work_of(connection, tenant), tenant)
        candidates = set(connection.scalars(sa.select(model_evaluations.c.candidate)))
    pd.testing.assert_frame_equal(again, series)
    assert candidates == {IN_USE}
    assert latest_health(series) == latest_health(again)
    assert by_name(latest_health(series))["score_psi", ""] == one["score_psi", ""]


def test_another_population_is_noticed(engine: sa.Engine, district: District) -> None:
    """From week 15 on everybody is absent half of the time, and no grade is sent any more."""
    tenant = tenant_settings(label=LabelSettings(failing_below=70))
    activity, courses = district.activity.copy(), district.courses
    late = activity["week_start"] >= week(15)
    activity.loc[late, ["sessions_present", "sessions_absent", "unexcused_absences"]] = [2, 3, 3]
    activity.loc[late, "grade_count"] = 0
    activity.loc[late, ["grade_mean", "grade_lowest"]] = None
    courses = courses[courses["week_start"] < week(15)]
    write(engine, tenant, District(district.students, activity, courses, district.weeks))
    model = scored(engine, tenant, [week(8), week(21)])
    with engine.begin() as connection:
        calm, changed = (
            by_name(week_health(connection, work_of(connection, tenant), tenant, one, model))
            for one in (week(8), week(21))
        )
    # The week that the reference was made of has not drifted.
    assert max(one.value for (metric, _), one in calm.items() if metric == "psi") < STABLE_BELOW
    for feature in ("attendance_rate_4w", "grade_mean_4w"):
        assert changed["psi", feature].value > CHANGED_FROM
    assert changed["psi_changed_share", ""].value > 0.25
    settings = TrainingSettings()
    assert retraining_reason(calm.values(), settings) is None
    assert "inputs have drifted" in retraining_reason(changed.values(), settings)


def test_what_ended_in_the_holidays_matures_when_school_is_back(engine: sa.Engine, tenant: TenantSettings) -> None:
    model = scored(engine, tenant, [week(number) for number in range(8, 13)])
    with engine.begin() as connection:
        holidays = [feature_date(week(number)) for number in (17, 18)]
        connection.execute(
            sa.delete(student_features).where(
                student_features.c.tenant_id == tenant.name, student_features.c.feature_date.in_(holidays)
            )
        )
        week_health(connection, work_of(connection, tenant), tenant, week(17), model)  # no school week
        week_health(connection, work_of(connection, tenant), tenant, week(16), model)
        first = set(matured_weeks(connection, tenant))
        week_health(connection, work_of(connection, tenant), tenant, week(19), model)
        second = set(matured_weeks(connection, tenant)) - first
    assert (first, second) == ({week(8)}, {week(9), week(10), week(11)})


def matured_weeks(connection: sa.Connection, tenant: TenantSettings) -> list[dt.date]:
    series = health_series(connection, work_of(connection, tenant), tenant)
    return series[series["scope"] == "matured"]["week"].tolist()


def test_rescored_predictions_and_deleted_students_are_left_out(engine: sa.Engine, tenant: TenantSettings) -> None:
    model = scored(engine, tenant, [week(8)])
    scored(engine, tenant, [week(8)], "2025-01-20-rescored", rescored=True)
    with engine.begin() as connection:
        before = by_name(week_health(connection, work_of(connection, tenant), tenant, week(16), model))[
            "event_rate", ""
        ].samples
        someone = connection.scalar(
            sa.select(predictions.c.student_id).where(predictions.c.tenant_id == tenant.name).limit(1)
        )
        connection.execute(sa.update(students).where(students.c.id == someone).values(deleted_on=week(15)))
        after = by_name(week_health(connection, work_of(connection, tenant), tenant, week(16), model))[
            "event_rate", ""
        ].samples
        series = health_series(connection, work_of(connection, tenant), tenant)
    assert after == before - 1
    assert set(series["model_version"]) == {VERSION}


def test_until_exit_a_week_matures_when_nearly_everybody_has_left(engine: sa.Engine, district: District) -> None:
    tenant = tenant_settings(label=LabelSettings(horizon_weeks="exit"))
    everybody = district.students.copy()
    everybody["exit_date"] = [
        one if isinstance(one, dt.date) and not pd.isna(one) else week(20) for one in everybody["exit_date"]
    ]
    everybody["exit_type"] = everybody["exit_type"].where(everybody["exit_type"].notna(), "completed")
    write(engine, tenant, District(everybody, district.activity, district.courses, district.weeks))
    # The calendar goes on: a student who never leaves keeps the last weeks school weeks.
    with engine.begin() as connection:
        one = connection.scalar(sa.select(students.c.id).where(students.c.tenant_id == tenant.name).limit(1))
        connection.execute(
            sa.insert(student_features),
            [
                {
                    "tenant_id": tenant.name,
                    "student_id": one,
                    "feature_date": feature_date(week(number)),
                    "feature_vector": {"features": {}, "metadata": {"data_quality": 1.0}},
                }
                for number in (20, 21)
            ],
        )
    model = scored(engine, tenant, [week(8), week(9)])
    with engine.begin() as connection:
        week_health(connection, work_of(connection, tenant), tenant, week(19), model)
        assert matured_weeks(connection, tenant) == []
        found = by_name(week_health(connection, work_of(connection, tenant), tenant, week(20), model))
        assert set(matured_weeks(connection, tenant)) == {week(8), week(9)}
        week_health(connection, work_of(connection, tenant), tenant, week(21), model)
        happened = labels(connection, work_of(connection, tenant), tenant, [week(9)])
        cohort = cohort_of(connection, tenant, week(9))
    # Who leaves later still has no outcome yet.
    left = dict(zip(everybody["district_id"], everybody["exit_date"], strict=True))
    cohort = cohort[[left[number] <= feature_date(week(20)) for number in cohort["district_id"]]]
    adverse = happened.adverse[np.searchsorted(happened.district_ids, cohort["district_id"].to_numpy(object)), 0]
    assert found["event_rate", ""].value == pytest.approx(adverse.mean(), abs=1e-6)


def test_a_model_without_a_reference_and_a_week_without_anybody(engine: sa.Engine, tenant: TenantSettings) -> None:
    model = scored(engine, tenant, [week(8)])
    old = SimpleNamespace(model_version=VERSION, hyperparameters={})
    with engine.begin() as connection:
        without = by_name(week_health(connection, work_of(connection, tenant), tenant, week(8), old))
        nobody = by_name(week_health(connection, work_of(connection, tenant), tenant, week(40), model))
        series = health_series(connection, work_of(connection, tenant), tenant)
        nothing = health_series(connection, work_of(connection, tenant_settings()), tenant)
    assert ("psi", "attendance_rate_4w") not in without
    assert (without["score_psi", ""].value, without["psi_changed_share", ""].value) == (None, None)
    assert {one.value for one in nobody.values()} == {None}
    assert retraining_reason(nobody.values(), TrainingSettings()) is None
    assert by_name(latest_health(series)) == nobody
    assert nothing.empty and latest_health(nothing) == [] and health_plots(nothing) == {}


def made_up_series(weeks: int = 30, features: int = 30) -> pd.DataFrame:
    random = np.random.default_rng(4)
    rows = []
    for number in range(weeks):
        monday = week(number)
        for feature in range(features):
            value = abs(random.normal(0, 0.02)) + max(0, number - 15) * 0.002 * feature
            rows.append((monday, VERSION, "health", "psi", f"some_feature_of_the_model_{feature}", value, 500))
        rows.append((monday, VERSION, "health", "score_psi", "", 0.012 * number, 500))
        rows.append((monday, VERSION, "health", "predicted_event_rate", "", 0.2 + 0.004 * number, 500))
        rows.append((monday, VERSION, "health", "flagged_share", "", 0.1 + 0.003 * number, 500))
        if number < weeks - 8:
            for metric, parameter, value in (
                ("event_rate", "", 0.21 + random.normal(0, 0.02)),
                ("auc_roc", "", 0.85 + random.normal(0, 0.01)),
                ("brier_score", "", 0.12 + random.normal(0, 0.01)),
                ("calibration_error", "", 0.03 + 0.002 * number),
                ("precision_at", "capacity", 0.7 + random.normal(0, 0.05)),
            ):
                rows.append((monday, VERSION, "matured", metric, parameter, value, 500))
    columns = ["week", "model_version", "scope", "metric", "parameter", "value", "samples"]
    return pd.DataFrame(rows, columns=columns)


def test_the_plots() -> None:
    series = made_up_series()
    plots = health_plots(series)
    assert list(plots) == ["input_drift", "score_drift", "matured_performance"]
    assert all(png.startswith(PNG) for png in plots.values())
    assert health_plots(series) == plots
    early = series[(series["scope"] == "health") & (series["week"] == week(0))]
    assert list(health_plots(early)) == ["input_drift", "score_drift"]
