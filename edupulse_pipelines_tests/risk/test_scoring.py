"""Scoring with models that were put on a shelf instead of trained: the gate and MLflow have tests of their own."""

from __future__ import annotations

import datetime as dt
import shutil
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import ModelArtifactError, RegistryUnavailable
from edupulse_pipelines.risk.book.registry import Registry
from edupulse_pipelines.risk.judging.confidence import ConfidenceMap
from edupulse_pipelines.risk.models.model import RiskModel, fit_candidate
from edupulse_pipelines.risk.samples.cohorts import model_features, read_week
from edupulse_pipelines.risk.scoring import categories, score_weeks
from edupulse_pipelines.risk.weekly import score_and_measure
from edupulse_pipelines.schema.sqlalchemy_tables import (
    model_evaluations,
    model_metadata,
    predictions,
    retention_removals,
    review_proposals,
    students,
)
from edupulse_pipelines.schema.tables import RISK_CATEGORIES
from edupulse_pipelines.settings import CategorySettings, LabelSettings, RuleSettings, TenantSettings
from edupulse_pipelines.storage.ids import new_ids
from edupulse_pipelines.weeks import WEEK, feature_date
from edupulse_pipelines_tests.prepared import put_mlflow_store
from edupulse_pipelines_tests.risk import registered
from edupulse_pipelines_tests.risk.district import (
    District,
    made_up_district,
    tenant_settings,
    week,
    work_of,
    write,
    write_features,
)
from edupulse_pipelines_tests.stopping import Stopped, StoppingWork

LAST = week(25)
ALL = [week(number) for number in range(26)]
FIRST_MODEL, CHAMPION = f"{week(21)}-first", f"{LAST}-champion"
CHECKED = ConfidenceMap((0.2, 0.6, 0.9), (0.75, 0.8, 0.85), 0.9)


class Shelf:
    """As much of a registry as scoring asks for."""

    def __init__(self) -> None:
        self.models: dict[str, RiskModel | Exception] = {}
        self.asked: list[tuple[Any, ...]] = []

    def load_model(self, tenant_name: str, model_version: str, *rest: Any) -> RiskModel:
        self.asked.append((model_version, *rest))
        found = self.models[model_version]
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture(scope="session")
def district() -> District:
    return made_up_district(count=50)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def tenant(engine: sa.Engine, district: District, shelf: Shelf) -> TenantSettings:
    """A district with a model trained at week 21 and one, the champion, at week 25."""
    tenant = tenant_settings()
    write(engine, tenant, district)
    for number, version, through in ((1, FIRST_MODEL, week(21)), (2, CHAMPION, LAST)):
        shelf.models[version] = made_up_model(engine, tenant, [week(4 * number), week(4 * number + 4)])
        record(engine, tenant, version, through, is_active=version == CHAMPION)
    return tenant


def made_up_model(engine: sa.Engine, tenant: TenantSettings, weeks: list[dt.date]) -> RiskModel:
    """A model of low grades and absences in these weeks; what it says does not matter, only that it says it."""
    with engine.connect() as connection:
        everybody = pd.concat(
            [read_week(connection, work_of(connection, tenant), tenant, one) for one in weeks], ignore_index=True
        )
    frame = everybody[everybody["in_cohort"].to_numpy(bool)][list(model_features(tenant))].astype(float)
    outcome = ((frame["grade_mean_8w"] < 65) | (frame["attendance_rate_4w"] < 0.8)).to_numpy().astype(np.int8)
    return fit_candidate("logistic", frame, outcome, np.arange(len(frame)), {"C": 0.03}, {})[0]


def record(
    engine: sa.Engine, tenant: TenantSettings, version: str, through: dt.date, *, promoted: bool = True, **columns: Any
) -> None:
    columns = {"model_type": "logistic", **columns}
    with engine.begin() as connection:
        connection.execute(
            sa.insert(model_metadata).values(
                id=new_ids(1)[0],
                tenant_id=tenant.name,
                model_version=version,
                training_date=dt.datetime(2025, 6, 1, tzinfo=dt.UTC),
                performance_metrics={},
                hyperparameters={"confidence": CHECKED.as_json()},
                data_through=through,
                data_hash="d",
                settings_hash="s",
                promoted=promoted,
                mlflow_run_id="r",
                registry_version="7",
                artifact_sha256="abc",
                **columns,
            )
        )


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
    engine: sa.Engine, tenant: TenantSettings, shelf: Shelf, across_databases: dict[str, object]
) -> None:
    report = score_weeks(work_of(engine, tenant), tenant, ALL, shelf)
    by_week = {one.week: one for one in report.weeks}
    assert list(by_week) == ALL
    for number in range(21):
        by_rule = by_week[week(number)]
        assert (by_rule.status, by_rule.kind, by_rule.standing, by_rule.probabilities) == (
            "scored",
            "rule",
            "rule",
            False,
        )
    assert by_week[week(0)].insufficient_data > 40
    assert {by_week[week(number)].model_version for number in range(21, 25)} == {FIRST_MODEL}
    assert by_week[LAST].model_version == CHAMPION
    assert (by_week[LAST].kind, by_week[LAST].standing, by_week[LAST].probabilities) == ("logistic", "champion", True)
    everything = stored(engine, tenant)
    assert len(everything) == report.scored
    check_rows_of_the_rule([row for row in everything if row["model_version"].startswith("rule-")])
    rows = [row for row in everything if not row["model_version"].startswith("rule-")]
    assert report.scored == sum(one.inserted for one in report.weeks)
    assert all(not row["rescored"] for row in everything)
    for one in report.weeks:
        here = [row for row in everything if row["feature_date"] == feature_date(one.week)]
        assert dict(Counter(row["risk_category"] for row in here)) == {k: v for k, v in one.by_category.items() if v}
        assert sum(one.by_category.values()) == one.scored == len(here)
        assert list(one.by_category) == list(RISK_CATEGORIES)
    for row in rows:
        assert 1 <= len(row["risk_factors"]) <= 6
        flagged = row["risk_category"] in ("high", "critical")
        assert flagged == (row["risk_score"] >= tenant.categories.high)
        side = row["risk_score"] if flagged else 1 - row["risk_score"]
        assert 0 <= row["confidence"] <= min(side, 0.85) + 1e-6
        assert row["prediction_date"].tzinfo is not None
    assert {row["risk_category"] for row in rows} >= {"low", "critical"}
    assert max(row["confidence"] for row in rows) == 0.85, "what validation bore out, however sure the model is"
    found = [
        (
            row["district_id"],
            row["risk_score"],
            row["risk_category"],
            row["confidence"],
            row["risk_factors"],
            row["rule_score"],
            row["model_version"],
        )
        for row in everything
    ]
    assert across_databases.setdefault("predictions", found) == found


def check_rows_of_the_rule(rows: list[dict]) -> None:
    """Category and reasons, no probability; the category goes by the graded score."""
    assert rows
    for row in rows:
        assert row["risk_score"] is None
        assert row["confidence"] is None
        at_least = {"low": 0, "medium": 1, "high": 2, "critical": 3}[row["risk_category"]]
        assert at_least <= row["rule_score"] < (at_least + 1 if at_least < 3 else np.inf)
        factors = row["risk_factors"]
        assert all(factor["direction"] == "raises" and not factor["protective"] for factor in factors[:-1])
        if row["risk_category"] in ("high", "critical"):
            assert factors[0]["direction"] == "raises"
            assert (
                "the rule's limit is" in factors[0]["description"] or "classmates" in factors[0]["description"].lower()
            )


def test_predictions_that_retention_has_taken_away_are_not_made_again(
    engine: sa.Engine, tenant: TenantSettings, shelf: Shelf
) -> None:
    score_weeks(work_of(engine, tenant), tenant, [week(24), LAST], shelf)
    before = stored(engine, tenant)
    student = before[0]["student_id"]
    with engine.begin() as connection:
        connection.execute(predictions.delete().where(predictions.c.student_id == student))
        connection.execute(
            retention_removals.insert().values(
                tenant_id=tenant.name, student_id=student, table_name="predictions", through=feature_date(week(24))
            )
        )
    earlier, later = score_weeks(work_of(engine, tenant), tenant, [week(24), LAST], shelf).weeks
    assert (earlier.inserted, later.inserted) == (0, 1)
    after = stored(engine, tenant)
    assert [row["feature_date"] for row in after if row["student_id"] == student] == [feature_date(LAST)]
    assert len(after) == len(before) - 1


def test_scoring_again_leaves_rows_alone_and_updates_in_place(
    engine: sa.Engine, tenant: TenantSettings, shelf: Shelf, district: District
) -> None:
    score_weeks(work_of(engine, tenant), tenant, [LAST], shelf)
    before = stored(engine, tenant)
    (again,) = score_weeks(work_of(engine, tenant), tenant, [LAST], shelf).weeks
    assert (again.inserted, again.updated, again.unchanged) == (0, 0, len(before))
    assert stored(engine, tenant) == before

    # One student's attendance of the last week is corrected.
    changed = District(district.students, district.activity.copy(), district.courses, district.weeks)
    present = changed.activity[(changed.activity.week_start == LAST) & (changed.activity.sessions_present > 3)].index[0]
    changed.activity.loc[present, ["sessions_present", "sessions_absent", "unexcused_absences"]] = [0, 5, 5]
    write_features(engine, tenant, changed)
    (corrected,) = score_weeks(work_of(engine, tenant), tenant, [LAST], shelf).weeks
    assert (corrected.inserted, corrected.updated, corrected.unchanged) == (0, 1, len(before) - 1)
    after = stored(engine, tenant)
    assert [(row["id"], row["prediction_date"], row["created_at"]) for row in after] == [
        (row["id"], row["prediction_date"], row["created_at"]) for row in before
    ]
    (one,) = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert one[0]["student_id"] == changed.activity.loc[present, "student_id"]
    assert one[0]["risk_score"] != one[1]["risk_score"]


def test_the_last_try_of_a_run_reports_what_its_tries_did_in_all(
    engine: sa.Engine, tenant: TenantSettings, shelf: Shelf
) -> None:
    """The first try stops after its first commit, the second after its second, and so on."""
    weeks = [week(20), week(21), week(24), LAST]
    expected = score_and_measure(work_of(engine, tenant, "undisturbed"), tenant, weeks, shelf)
    assert all(scores.inserted > 0 for scores in expected.report.weeks)
    assert all(expected.proposed[scored] > 0 for scored in weeks)
    with engine.begin() as connection:
        for table in (review_proposals, predictions, model_evaluations):
            connection.execute(sa.delete(table))
    for number in count(1):
        work = StoppingWork(engine, tenant.name, "the run", stops_after=number)
        try:
            measured = score_and_measure(work, tenant, weeks, shelf)
        except Stopped:
            continue
        break
    assert number == len(weeks) + 2, "each week, and the verdicts, have a transaction of their own"
    assert measured == expected
    again = score_and_measure(work_of(engine, tenant, "a repeated run"), tenant, weeks, shelf)
    assert [(scores.inserted, scores.unchanged) for scores in again.report.weeks] == [
        (0, scores.inserted) for scores in expected.report.weeks
    ]
    assert set(again.proposed.values()) == {0}


def test_a_week_the_model_learned_from_is_scored_only_on_demand_and_marked(
    engine: sa.Engine, tenant: TenantSettings, shelf: Shelf
) -> None:
    assert score_weeks(work_of(engine, tenant), tenant, [week(10)], shelf).weeks[0].kind == "rule"
    normal = score_weeks(work_of(engine, tenant), tenant, [week(23), LAST], shelf)
    rescored = score_weeks(work_of(engine, tenant), tenant, [week(10), week(23), LAST], shelf, rescore=True)
    assert {one.model_version for one in rescored.weeks} == {CHAMPION}
    assert [one.rescored for one in rescored.weeks] == [True, True, False]
    # Where the champion is the model of the week anyway, there is nothing to rescore.
    assert rescored.weeks[2].unchanged == normal.weeks[1].scored
    rows = [row for row in stored(engine, tenant) if row["rule_score"] is None]
    assert {(row["feature_date"], row["model_version"], row["rescored"]) for row in rows} == {
        (feature_date(week(10)), CHAMPION, True),
        (feature_date(week(23)), CHAMPION, True),
        (feature_date(week(23)), FIRST_MODEL, False),
        (feature_date(LAST), CHAMPION, False),
    }


def test_a_week_without_features_is_skipped_and_one_without_a_model_is_scored_by_the_rule(
    engine: sa.Engine, shelf: Shelf
) -> None:
    tenant = tenant_settings()
    write(engine, tenant, made_up_district(count=40, weeks=8))
    record(engine, tenant, "refused", week(1), promoted=False)
    done: list[tuple[int, int]] = []
    report = score_weeks(
        work_of(engine, tenant), tenant, [week(2), week(7), week(30)], shelf, progress=lambda *at: done.append(at)
    )
    assert [(one.status, one.reason, one.kind) for one in report.weeks] == [
        ("scored", None, "rule"),
        ("scored", None, "rule"),
        ("skipped", "no_features", None),
    ]
    assert report.weeks[0].insufficient_data > 0
    assert report.scored == report.weeks[1].scored > 20
    assert done == [(1, 3), (2, 3), (3, 3)]
    # Without an active model there is nothing to rescore with.
    (again,) = score_weeks(work_of(engine, tenant), tenant, [week(7)], shelf, rescore=True).weeks
    assert (again.kind, again.unchanged, again.rescored) == ("rule", report.scored, False)
    assert shelf.asked == [], "a rule is what its row says"


def test_a_week_keeps_the_rule_that_scored_it_when_label_or_rule_change(engine: sa.Engine, shelf: Shelf) -> None:
    tenant = tenant_settings()
    write(engine, tenant, made_up_district(count=40, weeks=9))
    (before,) = score_weeks(work_of(engine, tenant), tenant, [week(7)], shelf).weeks
    said = stored(engine, tenant)
    for changed in (
        tenant.model_copy(update={"rule": RuleSettings(failing_below=80)}),
        tenant.model_copy(update={"label": LabelSettings(failing_below=80)}),
    ):
        old, new = score_weeks(work_of(engine, tenant), changed, [week(7), week(8)], shelf).weeks
        assert (old.model_version, old.unchanged) == (before.model_version, before.scored)
        assert new.model_version != before.model_version
        assert [row for row in stored(engine, tenant) if row["feature_date"] == feature_date(week(7))] == said
        (other,) = score_weeks(work_of(engine, tenant), changed, [week(6)], shelf).weeks
        assert other.model_version == new.model_version
        with engine.begin() as connection:
            connection.execute(predictions.delete().where(predictions.c.feature_date != feature_date(week(7))))


def test_the_order_is_champion_then_transferred_then_rule(
    engine: sa.Engine, tenant: TenantSettings, shelf: Shelf
) -> None:
    shelf.models["elsewhere"] = shelf.models[FIRST_MODEL]
    record(engine, tenant, "elsewhere", week(12), promoted=False, model_type="transferred")
    record(engine, tenant, "other label", week(13), promoted=False, model_type="transferred", label_hash="another")
    weeks = [week(11), week(12), week(20), week(21)]
    report = score_weeks(work_of(engine, tenant), tenant, weeks, shelf)
    assert [(one.standing, one.kind) for one in report.weeks] == [
        ("rule", "rule"),
        ("transferred", "transferred"),
        ("transferred", "transferred"),
        ("champion", "logistic"),
    ]


def test_without_classmates_or_anything_recorded_the_rule_says_nothing(engine: sa.Engine, shelf: Shelf) -> None:
    tenant = tenant_settings()
    write(engine, tenant, made_up_district(count=1, weeks=8))
    (alone,) = score_weeks(work_of(engine, tenant), tenant, [week(7)], shelf).weeks
    rows = stored(engine, tenant)
    assert len(rows) == alone.scored <= 1
    assert all(factor["factor"] != "missing_work" for row in rows for factor in row["risk_factors"])


def test_a_row_has_probability_and_confidence_or_neither_and_always_an_order(
    engine: sa.Engine, tenant: TenantSettings, shelf: Shelf
) -> None:
    score_weeks(work_of(engine, tenant), tenant, [week(10), LAST], shelf)
    for wrong in (
        {"risk_score": None},
        {"confidence": None},
        {"risk_score": None, "confidence": None},
    ):
        with pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
            connection.execute(
                sa.update(predictions).where(predictions.c.feature_date == feature_date(LAST)).values(**wrong)
            )
    for wrong in ({"rule_score": None}, {"rule_score": -1.0}, {"risk_score": 0.5}, {"confidence": 0.5}):
        with pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
            connection.execute(
                sa.update(predictions).where(predictions.c.feature_date == feature_date(week(10))).values(**wrong)
            )


def test_a_week_without_a_cohort_is_scored_for_nobody(engine: sa.Engine, shelf: Shelf) -> None:
    tenant = tenant_settings()
    write(engine, tenant, made_up_district(count=12, weeks=12))
    shelf.models["v"] = made_up_model(engine, tenant, [week(6), week(10)])
    record(engine, tenant, "v", week(0))
    first, later = score_weeks(work_of(engine, tenant), tenant, [week(1), week(11)], shelf).weeks
    assert (first.status, first.scored, first.insufficient_data > 0) == ("scored", 0, True)
    assert later.scored == len(stored(engine, tenant)) > 0


def test_a_model_that_is_gone_or_changed_leaves_what_it_said_and_else_the_next_best_scores(
    engine: sa.Engine, tenant: TenantSettings, shelf: Shelf
) -> None:
    score_weeks(work_of(engine, tenant), tenant, [week(24), LAST], shelf)
    before = stored(engine, tenant)
    shelf.models[CHAMPION] = ModelArtifactError("Its files changed.")
    next_week, last = (score_weeks(work_of(engine, tenant), tenant, [week(24), LAST], shelf)).weeks
    assert (next_week.status, next_week.model_version) == ("scored", FIRST_MODEL)
    assert (last.status, last.reason, last.detail) == ("skipped", "model_unavailable", "Its files changed.")
    assert (last.model_version, last.scored, last.inserted) == (CHAMPION, 0, 0)
    assert stored(engine, tenant) == before, "the last good predictions stay as they are"
    (rescored,) = score_weeks(work_of(engine, tenant), tenant, [week(23)], shelf, rescore=True).weeks
    assert rescored.reason == "model_unavailable"
    assert stored(engine, tenant) == before
    # A week that nobody has scored yet is not left without a list, and what is wrong is said all the same.
    shelf.models[FIRST_MODEL] = ModelArtifactError("Its files are gone.")
    (new,) = score_weeks(work_of(engine, tenant), tenant, [week(22)], shelf).weeks
    assert (new.status, new.kind, new.detail, new.scored > 20) == ("scored", "rule", "Its files are gone.", True)


def test_an_artifact_that_was_deleted_or_tampered_with_is_refused(
    engine: sa.Engine, district: District, tmp_path: Path
) -> None:
    tenant = tenant_settings()
    write(engine, tenant, district)
    registry = Registry(put_mlflow_store(tmp_path / "mlflow.db"), tmp_path / "artifacts")
    registered.recorded(engine, registry, tenant, f"{week(21)}-real")
    assert score_weeks(work_of(engine, tenant), tenant, [LAST], registry).weeks[0].status == "scored"
    before = stored(engine, tenant)
    (model,) = (tmp_path / "artifacts").rglob("model.skops")
    model.write_bytes(model.read_bytes() + b"\0")
    (changed,) = score_weeks(work_of(engine, tenant), tenant, [LAST], registry).weeks
    assert (changed.reason, "its files changed" in changed.detail) == ("model_unavailable", True)
    shutil.rmtree(tmp_path / "artifacts")
    (gone,) = score_weeks(work_of(engine, tenant), tenant, [LAST], registry).weeks
    assert (gone.reason, "cannot be loaded" in gone.detail) == ("model_unavailable", True)
    assert stored(engine, tenant) == before


def test_a_registry_that_stops_answering_stops_scoring_and_keeps_what_is_done(
    engine: sa.Engine, tenant: TenantSettings, shelf: Shelf
) -> None:
    shelf.models[CHAMPION] = RegistryUnavailable("MLflow does not answer.")
    with pytest.raises(RegistryUnavailable, match="does not answer"):
        score_weeks(work_of(engine, tenant), tenant, [week(24), LAST], shelf)
    assert {row["feature_date"] for row in stored(engine, tenant)} == {feature_date(week(24))}


def test_a_model_whose_inputs_are_not_declared_any_more_scores_nobody(
    engine: sa.Engine, district: District, shelf: Shelf
) -> None:
    tenant = tenant_settings(inputs={"metadata": {"distance": "number"}})
    write(engine, tenant, district)
    shelf.models["v"] = made_up_model(engine, tenant, [week(6), week(10)])
    record(engine, tenant, "v", week(20))
    assert score_weeks(work_of(engine, tenant), tenant, [LAST], shelf).weeks[0].status == "scored"
    before = stored(engine, tenant)
    other = tenant.model_copy(update={"inputs": tenant_settings().inputs})
    (one,) = score_weeks(work_of(engine, other), other, [LAST], shelf).weeks
    assert (one.reason, "distance" in one.detail) == ("model_unavailable", True)
    assert stored(engine, tenant) == before


def test_each_model_is_loaded_once_and_compared_with_its_record(
    engine: sa.Engine, tenant: TenantSettings, shelf: Shelf
) -> None:
    score_weeks(work_of(engine, tenant), tenant, ALL, shelf)
    assert shelf.asked == [(FIRST_MODEL, "7", "abc"), (CHAMPION, "7", "abc")]


def test_categories_begin_at_their_thresholds() -> None:
    scores = np.array([0, 0.249999, 0.25, 0.5, 0.749999, 0.75, 1])
    found = [RISK_CATEGORIES[i] for i in categories(scores, CategorySettings())]
    assert found == ["low", "low", "medium", "high", "high", "critical", "critical"]


def test_dates_of_predictions_are_sundays(engine: sa.Engine, tenant: TenantSettings, shelf: Shelf) -> None:
    score_weeks(work_of(engine, tenant), tenant, [LAST], shelf)
    assert {row["feature_date"] for row in stored(engine, tenant)} == {LAST + WEEK - dt.timedelta(days=1)}
