"""The verdicts on how the model is doing, from figures; and that drift or verdicts make `risk_model` train."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest
from dagster import AssetCheckResult, AssetCheckSeverity, AssetKey, DagsterInstance, RunConfig, materialize

from edupulse_pipelines.orchestration import model_checks
from edupulse_pipelines.orchestration.assets.risk import TrainingConfig, risk_assets
from edupulse_pipelines.orchestration.resources import Database, Progress
from edupulse_pipelines.risk.book.identity import settings_hash_of
from edupulse_pipelines.risk.judging.evaluation import CAPACITY, Measure
from edupulse_pipelines.risk.training import TrainingOutcome
from edupulse_pipelines.settings import Settings, TenantSettings
from edupulse_pipelines.weeks import WEEK

MONDAY = dt.date(2026, 3, 9)
NEXT = MONDAY + WEEK


def value(result: AssetCheckResult, name: str) -> Any:
    return result.metadata[name].value


def trained(passed: bool | None, week: dt.date = MONDAY) -> TrainingOutcome:
    """A training whose proof passed, failed, or was not made."""
    if passed is None:
        return TrainingOutcome(week, "no_model", "too little")
    moved = {"compared": 100, "moved": 0 if passed else 7, "names": [] if passed else list("abcdefg"), "weeks": []}
    checks = {"features removed": {"compared": 50, "moved": 0, "names": [], "weeks": []}, "scores added": moved}
    return TrainingOutcome(week, "trained", "", leakage={"passed": passed, "checks": checks})


def psi(**inputs: float | None) -> list[Measure]:
    return [Measure("psi", name, "", value, 40) for name, value in inputs.items()]


def matured(error: float | None, **more: float | None) -> list[Measure]:
    found = [Measure("calibration_error", "", "", error, 30), Measure("precision_at", CAPACITY, "", 0.5, 30)]
    return found + [Measure(name, "", "", value, 30) for name, value in more.items()]


def test_every_result_belongs_to_a_declared_check() -> None:
    key = AssetKey(["lakeside", "predictions"])
    declared = {one.name for one in model_checks.health_check_specs(key)}
    made = {
        model_checks.input_drift({}, 0.25).check_name,
        model_checks.score_drift({}, 0.25).check_name,
        model_checks.matured_calibration({}, 0.1).check_name,
        model_checks.label_drift({}).check_name,
    }
    assert made == declared
    leakage, judged = model_checks.training_check_specs(key)
    assert leakage.name == model_checks.no_leakage([]).check_name == "no_leakage"
    assert judged.name == model_checks.champion_judged(None).check_name == "champion_judged_lately"
    assert all(one.asset_key == key and one.description for one in model_checks.health_check_specs(key))


def test_a_champion_that_nobody_judged_for_long_is_a_warning() -> None:
    assert model_checks.champion_judged(None).passed
    result = model_checks.champion_judged("The champion was last judged 41 weeks ago.")
    assert not result.passed
    assert result.severity == AssetCheckSeverity.WARN
    assert result.description == "The champion was last judged 41 weeks ago."


def test_a_leak_fails_the_check() -> None:
    result = model_checks.no_leakage([trained(True), trained(False, NEXT), trained(None)])
    assert not result.passed
    assert result.severity == AssetCheckSeverity.ERROR
    assert (value(result, "trainings"), value(result, "leaks")) == (2, 1)
    assert "in 1 training" in (result.description or "")
    rows = result.metadata["proof"].records
    assert len(rows) == 4
    assert rows[-1].data == {
        "data_through": str(NEXT),
        "changed": "scores added",
        "compared": 100,
        "moved": 7,
        "what": "a, b, c, d, e",
    }


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ([], "Nothing was trained"),
        ([trained(None)], "Nothing was trained"),
        ([trained(True)], "No leak in 1 training"),
        ([trained(True), trained(True, NEXT)], "No leak in 2 trainings"),
    ],
)
def test_without_a_leak_the_check_passes(outcomes: list[TrainingOutcome], said: str) -> None:
    result = model_checks.no_leakage(outcomes)
    assert (result.passed, result.description) == (True, said)


@pytest.mark.parametrize(
    ("inputs", "drifted", "passed"),
    [
        ({"a": 0.0, "b": 0.1, "c": 0.2, "d": 0.249}, 0, True),
        ({"a": 0.25, "b": 0.1, "c": 0.2, "d": 0.0}, 1, False),  # a quarter of them
        ({"a": 0.9, "b": 0.1, "c": 0.2, "d": 0.0, "e": 0.0}, 1, True),  # one alone is rather a broken export
        ({"a": 0.9, "b": None, "c": None}, 1, False),  # of the known ones all
        ({"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}, 4, False),
    ],
)
def test_drift_of_the_inputs(inputs: dict[str, float | None], drifted: int, passed: bool) -> None:
    earlier = {MONDAY - WEEK: psi(a=9.0, b=9.0)}
    result = model_checks.input_drift({MONDAY: psi(**inputs), **earlier}, 0.25)
    assert result.passed == passed
    assert result.severity == AssetCheckSeverity.WARN
    known = {name: one for name, one in inputs.items() if one is not None}
    assert (value(result, "week"), value(result, "inputs"), value(result, "drifted")) == (
        str(MONDAY), len(known), drifted
    )  # fmt: skip
    assert value(result, "largest") == max(known.values())
    first = result.metadata["population_stability_index"].records[0].data
    assert first == {"input": max(known, key=lambda name: known[name]), "psi": max(known.values())}
    assert f"{drifted} of {len(known)} inputs have drifted" in (result.description or "")


def test_the_limit_of_drift_is_the_tenants() -> None:
    health = {MONDAY: [*psi(a=0.3), Measure("score_psi", "", "", 0.3, 40)]}
    assert not model_checks.input_drift(health, 0.25).passed
    assert model_checks.input_drift(health, 0.31).passed
    assert not model_checks.score_drift(health, 0.3).passed
    assert model_checks.score_drift(health, 0.31).passed


@pytest.mark.parametrize(
    "health",
    [{}, {MONDAY: []}, {MONDAY: [*psi(a=None), Measure("score_psi", "", "", None, 0)]}, {MONDAY: matured(None)}],
    ids=["no week", "nothing measured", "no reference", "undefined"],
)
def test_what_is_not_known_is_said_and_fails_nothing(health: model_checks.Health) -> None:
    for result in (
        model_checks.input_drift(health, 0.25),
        model_checks.score_drift(health, 0.25),
        model_checks.matured_calibration(health, 0.1),
        model_checks.label_drift(health),
    ):
        assert (result.passed, result.severity) == (True, AssetCheckSeverity.WARN)
        assert (result.description or "").startswith("No ")
        assert not result.metadata


def test_drift_of_the_scores() -> None:
    measures = [
        Measure("score_psi", "", "", 0.5, 40),
        Measure("predicted_event_rate", "", "", 0.31, 40),
        Measure("flagged_share", "", "", None, 40),
    ]
    result = model_checks.score_drift({MONDAY: measures}, 0.25)
    assert not result.passed
    assert {name: one.value for name, one in result.metadata.items()} == {
        "week": str(MONDAY),
        "score_psi": 0.5,
        "predicted_event_rate": 0.31,
    }
    assert "0.50 (limit 0.25)" in (result.description or "")


@pytest.mark.parametrize(("error", "passed"), [(0.1, True), (0.101, False)])
def test_calibration_of_what_matured(error: float, passed: bool) -> None:
    """The newest week in which something matured counts, not the newest week."""
    health = {
        MONDAY - WEEK: matured(0.9),
        MONDAY: matured(error, auc_roc=0.8, brier_score=None),
        NEXT: psi(a=0.1),
    }
    result = model_checks.matured_calibration(health, 0.1)
    assert result.passed == passed
    assert result.severity == AssetCheckSeverity.WARN
    assert {name: one.value for name, one in result.metadata.items()} == {
        "known_since_week": str(MONDAY),
        "students": 30,
        "calibration_error": error,
        f"precision_at_{CAPACITY}": 0.5,
        "auc_roc": 0.8,
    }


@pytest.mark.parametrize(
    ("low", "high", "passed"), [(-0.2, 0.01, True), (0.03, 0.2, True), (0.06, 0.2, False), (-0.3, -0.051, False)]
)
def test_events_that_became_more_or_less_common(low: float, high: float, passed: bool) -> None:
    change = [
        Measure("event_rate_change", parameter, "", value, 30)
        for parameter, value in (("", (low + high) / 2), ("low", low), ("high", high))
    ]
    result = model_checks.label_drift({MONDAY - WEEK: [], MONDAY: change, NEXT: psi(a=0.1)})
    assert (result.passed, result.severity) == (passed, AssetCheckSeverity.WARN)
    assert {name: result.metadata[name].value for name in ("low", "high")} == {"low": low, "high": high}
    assert f"the week of {MONDAY}" in (result.description or "")


# The asset.


class Shelf:
    def open(self) -> None:
        return None


@pytest.mark.parametrize(
    ("due", "weeks_later", "train_now", "expected"),
    [
        (None, 3, False, None),
        ("The scores have drifted.", 3, False, "The scores have drifted."),
        ("Educators gave 50 verdicts.", 7, False, "Educators gave 50 verdicts."),
        ("The scores have drifted.", 0, False, None),  # a week that the newest model knows already
        (None, 8, False, "schedule"),
        ("The scores have drifted.", 8, False, "schedule"),
        (None, 0, True, "train_now"),
    ],
)
def test_a_training_between_two_that_are_scheduled(
    settings: Settings,
    tenant: TenantSettings,
    monkeypatch: pytest.MonkeyPatch,
    due: str | None,
    weeks_later: int,
    train_now: bool,
    expected: str | None,
) -> None:
    from edupulse_pipelines.risk import weekly
    from edupulse_pipelines.risk.book import mirror

    newest = tenant.first_week
    week = newest + weeks_later * WEEK
    asked: list[list[dt.date]] = []

    def train(_work: Any, _tenant: Any, points: list[dt.date], *_rest: Any, **_options: Any) -> list[TrainingOutcome]:
        asked.append(points)
        return [trained(True, one) for one in points]

    model = SimpleNamespace(data_through=newest, settings_hash=settings_hash_of(tenant))
    other = SimpleNamespace(data_through=week + WEEK, settings_hash="of another label")
    monkeypatch.setattr(weekly, "trained_models", lambda *_: [model, other])
    monkeypatch.setattr(weekly, "keep_rule", lambda *_: None)
    monkeypatch.setattr(weekly, "train_risk_models", train)
    monkeypatch.setattr(weekly, "retraining_due", lambda *_: due)
    monkeypatch.setattr(mirror, "differences", lambda *_: [])
    settings.home.mkdir(exist_ok=True)
    risk_model, _ = risk_assets(tenant)
    result = materialize(
        [risk_model],
        partition_key=week.isoformat(),
        resources={"database": Database(settings.database_url), "registry": Shelf(), "progress": Progress()},
        run_config=RunConfig({risk_model.op.name: TrainingConfig(train_now=train_now)}),
        instance=DagsterInstance.ephemeral(),
    )
    assert result.success
    (event,) = result.asset_materializations_for_node(risk_model.op.name)
    said = event.metadata["training"].value
    if expected is None:
        assert asked == []
        assert said == f"not due: the newest model has seen data through {newest}"
    else:
        assert asked == [[week]]
        assert said == f"trained for 1 weeks ({expected})"
    assert {one.check_name: one.passed for one in result.get_asset_check_evaluations()} == {
        "registry_matches_table": True,
        "no_leakage": True,
        "champion_judged_lately": True,
    }
