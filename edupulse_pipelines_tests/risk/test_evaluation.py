from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from edupulse_pipelines.risk.baseline import Baseline, _never_decreasing, fit_baseline, flags
from edupulse_pipelines.risk.calibration_plot import calibration_plot
from edupulse_pipelines.risk.evaluation import calibration_bins, evaluate, flat_metrics
from edupulse_pipelines.settings import RuleSettings

SEED_KEYS = [
    "accuracy",
    "precision",
    "recall",
    "f1_score",
    "auc_roc",
    "precision_at_k",
    "validation_loss",
    "training_samples",
    "validation_samples",
]


def test_metrics_have_the_seeds_keys_and_the_usual_values() -> None:
    probability = np.array([0.9, 0.8, 0.5, 0.4, 0.3, 0.1])
    outcome = np.array([1, 1, 0, 1, 0, 0], dtype=np.int8)
    found = evaluate(probability, outcome, np.zeros(6), training_samples=60)
    assert list(found) == SEED_KEYS
    assert list(found["precision_at_k"]) == ["k5", "k10", "k20"]
    assert (
        found["accuracy"] == found["precision"] == found["recall"] == found["f1_score"] == round(2 / 3, 6) == 0.666667
    )
    assert found["auc_roc"] == pytest.approx(8 / 9, abs=1e-6)
    assert found["validation_loss"] == pytest.approx(-np.log([0.9, 0.8, 0.5, 0.4, 0.7, 0.9]).mean(), abs=1e-6)
    assert (found["training_samples"], found["validation_samples"]) == (60, 6)
    assert found["precision_at_k"] == {"k5": 1.0, "k10": 1.0, "k20": 1.0}


def test_metrics_that_are_undefined_are_null() -> None:
    quiet = evaluate(np.array([0.1, 0.2]), np.array([0, 0], dtype=np.int8), np.zeros(2), training_samples=5)
    assert quiet["precision"] is quiet["recall"] is quiet["f1_score"] is quiet["auc_roc"] is None
    assert quiet["accuracy"] == 1.0
    nobody = evaluate(np.empty(0), np.empty(0, dtype=np.int8), np.empty(0), training_samples=5)
    assert nobody["accuracy"] is nobody["validation_loss"] is nobody["precision_at_k"]["k5"] is None
    assert "auc_roc" not in flat_metrics(nobody)


def test_the_top_percent_is_taken_of_each_weeks_cohort() -> None:
    # Week 1 is riskier than week 0 throughout; a list over both weeks together would hold week 1 only.
    probability = np.concatenate([np.linspace(0, 0.4, 20), np.linspace(0.5, 1, 20)])
    outcome = np.zeros(40, dtype=np.int8)
    outcome[[19, 20]] = 1
    found = evaluate(probability, outcome, np.repeat([0, 1], 20), training_samples=1)
    assert found["precision_at_k"] == {"k5": 0.5, "k10": 0.25, "k20": 0.125}


def test_ties_at_the_edge_of_the_list_count_as_their_expectation() -> None:
    outcome = np.array([1, 0, 0, 0, 0, 0, 0, 0, 0, 0] * 2, dtype=np.int8)
    found = evaluate(np.full(20, 0.3), outcome, np.zeros(20), training_samples=1)
    assert found["precision_at_k"] == {"k5": 0.1, "k10": 0.1, "k20": 0.1}


def test_metrics_are_flat_for_mlflow() -> None:
    probability, outcome = np.array([0.9, 0.1]), np.array([1, 0], dtype=np.int8)
    found = evaluate(probability, outcome, np.zeros(2), training_samples=1)
    found["baseline"] = evaluate(probability, outcome, np.zeros(2), training_samples=1)
    flat = flat_metrics(found)
    assert {"accuracy", "precision_at_k5", "baseline.accuracy", "baseline.precision_at_k20"} <= set(flat)
    assert all(isinstance(value, float) for value in flat.values())


def test_calibration_groups_keep_equal_predictions_together() -> None:
    bins = calibration_bins(np.array([0.1] * 50 + [0.6] * 50), np.array([0] * 45 + [1] * 5 + [1] * 50, dtype=np.int8))
    assert bins == [(pytest.approx(0.1), 0.1, 50), (pytest.approx(0.6), 1.0, 50)]


def test_calibration_plot_is_a_png() -> None:
    random = np.random.default_rng(0)
    model = random.random(200)
    outcome = (random.random(200) < model).astype(np.int8)
    png = calibration_plot("a title", model, np.full(200, 0.5), outcome)
    assert png.startswith(b"\x89PNG")
    assert len(png) < 100_000


def _features(rows: list[tuple[float, float, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["attendance_rate_4w", "incidents_8w", "grade_mean_8w"], dtype=float)


def test_the_rule_counts_flags_among_the_domains_that_are_known() -> None:
    nan = float("nan")
    rows = [(0.95, 0, 80), (0.9, 1, 60), (0.89, 1, 60), (0.5, 2, 59.9), (nan, 2, 10), (nan, nan, nan)]
    assert flags(_features(rows), RuleSettings()).tolist() == [0, 0, 1, 3, 2, 0]


def test_the_rules_probabilities_are_smoothed_event_rates() -> None:
    frame = _features([(0.95, 0, 80)] * 98 + [(0.5, 0, 80)] * 98)
    outcome = np.array([1] * 8 + [0] * 90 + [1] * 48 + [0] * 50, dtype=np.int8)
    rule = fit_baseline(frame, outcome, RuleSettings())
    overall = 56 / 196
    assert rule.probability_by_flags[0] == pytest.approx((8 + 2 * overall) / 100)
    assert rule.probability_by_flags[1] == pytest.approx((48 + 2 * overall) / 100 * 100 / 104 + 4 * overall / 104)
    assert list(rule.probability_by_flags) == sorted(rule.probability_by_flags)
    assert isinstance(rule, Baseline)
    assert rule.probabilities(frame)[[0, -1]].tolist() == list(rule.probability_by_flags[:2])


def test_more_flags_never_mean_less_risk() -> None:
    weights = np.array([10.0, 30.0, 5.0, 5.0])
    assert _never_decreasing([0.4, 0.2, 0.1, 0.9], weights) == pytest.approx([0.5 / 2.25] * 3 + [0.9], abs=0.02)
    assert _never_decreasing([0.1, 0.2, 0.3, 0.4], weights) == [0.1, 0.2, 0.3, 0.4]
