from __future__ import annotations

import datetime as dt
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import RegistryUnavailable
from edupulse_pipelines.risk.registry import Registry
from edupulse_pipelines.risk.scoring import CATEGORIES, categories, confidence, score_weeks
from edupulse_pipelines.risk.training import train_risk_models
from edupulse_pipelines.schema.sqlalchemy_tables import predictions, students
from edupulse_pipelines.settings import CategorySettings, TenantSettings
from edupulse_pipelines.weeks import feature_date
from edupulse_pipelines_tests.risk.district import (
    District,
    made_up_district,
    tenant_settings,
    week,
    write,
    write_features,
)

pytestmark = pytest.mark.usefixtures("without_plot")

LAST = week(25)
ALL = [week(number) for number in range(26)]


@pytest.fixture(scope="session")
def district() -> District:
    return made_up_district(count=50)


@pytest.fixture
def tenant(engine: sa.Engine, district: District, registry: Registry) -> TenantSettings:
    """A district with a model trained at week 21 and one, the champion, at week 25."""
    tenant = tenant_settings()
    write(engine, tenant, district)
    outcomes = train_risk_models(engine, tenant, [week(21), LAST], registry)
    assert [one.status for one in outcomes] == ["trained", "trained"]
    return tenant


def stored(engine: sa.Engine, tenant: TenantSettings) -> list[dict]:
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(predictions, students.c.district_id)
            .join_from(predictions, students, predictions.c.student_id == students.c.id)
            .where(predictions.c.tenant_id == tenant.name)
        ).all()
    return sorted(
        (row._asdict() for row in rows), key=lambda row: (row["feature_date"], row["district_id"], row["model_version"])
    )


def test_every_week_is_scored_by_the_model_that_knew_it(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry, across_databases: dict[str, object]
) -> None:
    report = score_weeks(engine, tenant, ALL, registry)
    by_week = {one.week: one for one in report.weeks}
    assert list(by_week) == ALL
    for number in range(21):
        assert (by_week[week(number)].status, by_week[week(number)].reason) == ("skipped", "no_model")
    assert by_week[week(0)].insufficient_data > 40
    assert {by_week[week(number)].model_version[:10] for number in range(21, 25)} == {f"{week(21)}"}
    assert by_week[LAST].model_version[:10] == f"{LAST}"
    rows = stored(engine, tenant)
    assert len(rows) == report.scored == sum(one.inserted for one in report.weeks)
    assert all(not row["rescored"] for row in rows)
    for one in report.weeks:
        here = [row for row in rows if row["feature_date"] == feature_date(one.week)]
        assert dict(Counter(row["risk_category"] for row in here)) == {k: v for k, v in one.by_category.items() if v}
        assert sum(one.by_category.values()) == one.scored == len(here)
        assert list(one.by_category) == list(CATEGORIES)
    for row in rows:
        assert 1 <= len(row["risk_factors"]) <= 5
        assert 0.5 <= row["confidence"] <= max(row["risk_score"], 1 - row["risk_score"]) + 1e-6
        assert row["prediction_date"].tzinfo is not None
    found = [
        (
            row["district_id"],
            row["risk_score"],
            row["risk_category"],
            row["confidence"],
            row["risk_factors"],
            row["model_version"],
        )
        for row in rows
    ]
    assert across_databases.setdefault("predictions", found) == found


def test_scoring_again_leaves_rows_alone_and_updates_in_place(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry, district: District
) -> None:
    score_weeks(engine, tenant, [LAST], registry)
    before = stored(engine, tenant)
    (again,) = score_weeks(engine, tenant, [LAST], registry).weeks
    assert (again.inserted, again.updated, again.unchanged) == (0, 0, len(before))
    assert stored(engine, tenant) == before

    # One student's attendance of the last week is corrected.
    changed = District(district.students, district.activity.copy(), district.courses, district.weeks)
    present = changed.activity[(changed.activity.week_start == LAST) & (changed.activity.sessions_present > 3)].index[0]
    changed.activity.loc[present, ["sessions_present", "sessions_absent", "unexcused_absences"]] = [0, 5, 5]
    write_features(engine, tenant, changed)
    (corrected,) = score_weeks(engine, tenant, [LAST], registry).weeks
    assert (corrected.inserted, corrected.updated, corrected.unchanged) == (0, 1, len(before) - 1)
    after = stored(engine, tenant)
    assert [(row["id"], row["prediction_date"], row["created_at"]) for row in after] == [
        (row["id"], row["prediction_date"], row["created_at"]) for row in before
    ]
    (one,) = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert one[0]["student_id"] == changed.activity.loc[present, "student_id"]
    assert one[0]["risk_score"] != one[1]["risk_score"]


def test_a_week_the_model_learned_from_is_scored_only_on_demand_and_marked(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry
) -> None:
    assert score_weeks(engine, tenant, [week(10)], registry).weeks[0].reason == "no_model"
    normal = score_weeks(engine, tenant, [week(23), LAST], registry)
    rescored = score_weeks(engine, tenant, [week(10), week(23), LAST], registry, rescore=True)
    assert {one.model_version[:10] for one in rescored.weeks} == {f"{LAST}"}
    assert [one.rescored for one in rescored.weeks] == [True, True, False]
    # Where the champion is the model of the week anyway, there is nothing to rescore.
    assert rescored.weeks[2].unchanged == normal.weeks[1].scored
    rows = stored(engine, tenant)
    assert {(row["feature_date"], row["model_version"][:10], row["rescored"]) for row in rows} == {
        (feature_date(week(10)), f"{LAST}", True),
        (feature_date(week(23)), f"{LAST}", True),
        (feature_date(week(23)), f"{week(21)}", False),
        (feature_date(LAST), f"{LAST}", False),
    }


def test_a_week_without_features_or_model_is_skipped_with_its_reason(engine: sa.Engine, registry: Registry) -> None:
    tenant = tenant_settings()
    write(engine, tenant, made_up_district(count=40, weeks=8))
    done: list[tuple[int, int]] = []
    report = score_weeks(engine, tenant, [week(2), week(30)], registry, progress=lambda *at: done.append(at))
    assert [(one.status, one.reason, one.scored) for one in report.weeks] == [
        ("skipped", "no_model", 0),
        ("skipped", "no_features", 0),
    ]
    assert report.weeks[0].insufficient_data > 0
    assert report.scored == 0
    assert done == [(1, 2), (2, 2)]
    assert score_weeks(engine, tenant, [week(2)], registry, rescore=True).weeks[0].reason == "no_model"


def test_a_model_whose_artifact_is_gone_is_an_error_not_a_score(
    engine: sa.Engine, district: District, tmp_path: Path, registry: Registry
) -> None:
    tenant = tenant_settings()
    write(engine, tenant, district)
    train_risk_models(engine, tenant, [LAST], registry)
    assert registry.artifact_root is not None
    shutil.rmtree(registry.artifact_root / tenant.name)
    with pytest.raises(RegistryUnavailable, match="cannot be loaded from MLflow"):
        score_weeks(engine, tenant, [LAST], registry)
    assert stored(engine, tenant) == []
    with pytest.raises(RegistryUnavailable, match="is not registered"):
        registry.load_model(tenant.name, "2020-01-06-00000000")


def test_each_model_is_loaded_once(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    load = Registry.load_model

    def counting(self: Registry, tenant_name: str, model_version: str, *rest: object) -> object:
        loaded.append(model_version[:10])
        return load(self, tenant_name, model_version, *rest)

    monkeypatch.setattr(Registry, "load_model", counting)
    score_weeks(engine, tenant, ALL, registry)
    assert loaded == [f"{week(21)}", f"{LAST}"]


def test_categories_begin_at_their_thresholds() -> None:
    scores = np.array([0, 0.249999, 0.25, 0.5, 0.749999, 0.75, 1])
    found = [CATEGORIES[i] for i in categories(scores, CategorySettings())]
    assert found == ["low", "low", "medium", "high", "high", "critical", "critical"]


def test_confidence_follows_its_definition() -> None:
    def of(score: float, quality: float, weeks: float) -> float:
        return float(confidence(np.array([score]), np.array([quality]), np.array([weeks]))[0])

    assert of(0.9, 1.0, 8) == pytest.approx(0.9)
    assert of(0.1, 1.0, 40) == pytest.approx(0.9)
    assert of(0.9, 0.5, 4) == pytest.approx(0.6)
    assert of(0.5, 1.0, 40) == 0.5
    assert of(1.0, 0.0, 40) == 0.5


def test_dates_of_predictions_are_sundays(engine: sa.Engine, tenant: TenantSettings, registry: Registry) -> None:
    score_weeks(engine, tenant, [LAST], registry)
    assert {row["feature_date"] for row in stored(engine, tenant)} == {LAST + dt.timedelta(days=6)}
