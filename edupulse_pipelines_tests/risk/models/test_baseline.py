"""The rule: distances to the label's thresholds, and the probability of a score once outcomes are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from edupulse_pipelines.risk.models.baseline import (
    BANDS,
    WEIGHTS,
    NoProbability,
    RuleModel,
    calibrated_rule,
    out_of_fold,
    rule_of,
    uncalibrated_rule,
)
from edupulse_pipelines.risk.models.model import CannotLearn
from edupulse_pipelines.risk.models.saved import risk_model_of
from edupulse_pipelines.risk.models.sklearn_private import SKOPS_TRUSTED_TYPES
from edupulse_pipelines.risk.rounding import DIGITS
from edupulse_pipelines_tests.risk.district import tenant_settings

FINE = {
    "days_enrolled_ytd": 40.0,
    "days_absent_ytd": 0.0,
    "days_missed_ytd": 0.0,
    "attendance_rate_ytd": 1.0,
    "incidents_8w": 0.0,
    "severity_highest_8w": 0.0,
    "grade_mean_ytd": 100.0,
    "failing_share_ytd": 0.0,
    "grade_count_vs_class": 0.0,
    "no_grade_yet": 0.0,
}


def students(*differences: dict[str, float]) -> pd.DataFrame:
    return pd.DataFrame([{**FINE, **one} for one in differences], dtype=float)


def many(count: int = 600, seed: int = 3) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Two weeks of each student; the event is likelier the more days were missed and the lower the grades are."""
    random = np.random.default_rng(seed)
    student = np.arange(count) // 2
    frame = students(*[{} for _ in range(count)])
    frame["days_absent_ytd"] = random.binomial(40, random.beta(1, 9, count))
    frame["grade_mean_ytd"] = np.round(random.uniform(50, 100, count), 1)
    grades = uncalibrated_rule(tenant_settings()).grades(frame)
    outcome = (random.random(count) < expit(1.5 * grades - 3)).astype(np.int8)
    return frame, outcome, student


@pytest.mark.parametrize(
    ("difference", "part", "level"),
    [
        ({"days_absent_ytd": 4}, "absence", 1),
        ({"days_absent_ytd": 2}, "absence", 0.5),
        ({"days_enrolled_ytd": 5, "days_absent_ytd": 1}, "absence", 1),  # as if there were ten days
        ({"days_absent_ytd": 40}, "absence", 3),
        ({"days_absent_ytd": np.nan}, "absence", 0),
        ({"incidents_8w": 3}, "behaviour", 1),
        ({"incidents_8w": 1, "severity_highest_8w": 4}, "behaviour", 1),
        ({"incidents_8w": 2, "severity_highest_8w": np.nan}, "behaviour", 2 / 3),
        ({"grade_mean_ytd": 60}, "grades", 1),
        ({"grade_mean_ytd": 80}, "grades", 0.5),
        ({"grade_mean_ytd": np.nan}, "grades", 0),
        ({"failing_share_ytd": 0.5}, "course", 1),
        ({"grade_count_vs_class": np.log(0.25)}, "missing_work", 0.75),
        ({"grade_count_vs_class": 1.0}, "missing_work", 0),
        ({"no_grade_yet": 0.5}, "missing_work", 1),
        ({"grade_count_vs_class": np.nan, "no_grade_yet": np.nan}, "missing_work", 0),  # no classmates
    ],
)
def test_a_part_is_one_at_its_threshold_and_nothing_else_counts(
    difference: dict[str, float], part: str, level: float
) -> None:
    rule = uncalibrated_rule(tenant_settings())
    frame = students(difference)
    levels = rule.rule.levels(frame)
    assert levels.pop(part)[0] == pytest.approx(level)
    assert all(other[0] == 0 for other in levels.values())
    assert rule.grades(frame)[0] == pytest.approx(WEIGHTS[part] * level, abs=10**-DIGITS)


@pytest.mark.parametrize(
    ("label", "rule", "absence"),
    [
        ({}, {}, ("days", 0.1, 10)),
        ({"rule": "california"}, {}, ("days", 0.1, 31)),
        ({"rule": "ohio"}, {}, ("time", 0.1, 1)),
        ({"rule": "federal_2013"}, {}, ("days", 15 / 180, 1)),
        ({"attendance_below": 0.8}, {}, ("sessions", 0.2, 1)),
        ({"rule": False}, {}, ("sessions", 0.1, 1)),
        ({}, {"attendance_below": 0.95}, ("sessions", 0.05, 1)),
        ({"attendance_below": 1.0}, {}, ("sessions", 0.01, 1)),
    ],
)
def test_thresholds_are_the_labels_unless_the_rule_names_others(
    label: dict[str, Any], rule: dict[str, Any], absence: tuple[str, float, int]
) -> None:
    found = uncalibrated_rule(tenant_settings(label=label, rule=rule)).rule
    assert (found.absence_of, found.absence_limit, found.minimum_days) == pytest.approx(absence)
    assert (found.incidents, found.serious_severity, found.failing_below) == (3, 4, 60)


def test_where_only_exits_count_missing_work_counts_twice() -> None:
    found = uncalibrated_rule(tenant_settings(label={"horizon_weeks": "exit"}, rule={"failing_below": 50}))
    assert (found.rule.incidents, found.rule.serious_severity, found.rule.failing_below) == (2, None, 50)
    assert "severity_highest_8w" not in found.features
    assert found.grades(students({"no_grade_yet": 0.5})).tolist() == [2.0]


def test_before_outcomes_it_has_a_score_and_refuses_a_probability() -> None:
    rule = uncalibrated_rule(tenant_settings())
    frame = students({}, {"days_absent_ytd": 4}, {"days_absent_ytd": 8, "grade_mean_ytd": 60})
    assert (rule.has_probabilities, rule.intercept) == (False, 0.0)
    assert rule.grades(frame).tolist() == [0, 1, 3] == rule.contributions(frame).sum(axis=1).tolist()
    assert np.searchsorted(BANDS, rule.grades(frame), side="right").tolist() == [0, 1, 3]
    assert rule.rule.predict(frame).tolist() == [0, 0, 1]
    for ask in (rule.probabilities, rule.log_odds):
        with pytest.raises(NoProbability):
            ask(frame)


def test_probabilities_rise_strictly_with_the_score_and_contributions_add_up() -> None:
    frame, outcome, student = many()
    rule = calibrated_rule(tenant_settings(), frame, outcome, student)
    order = np.unique(rule.grades(frame))
    for calibration in (rule.rule.learned, rule.rule.learned.__class__("isotonic", 1.2, -3.0, (0.5, 2.0), (0.1, 0.8))):
        assert calibration is not None
        assert (np.diff(calibration.log_odds(order)) > 0).all()
    contributions = rule.contributions(frame)
    assert contributions.shape == (len(frame), len(rule.parts))
    assert np.allclose(rule.intercept + contributions.sum(axis=1), rule.log_odds(frame), rtol=0, atol=1e-9)
    assert np.allclose(expit(rule.log_odds(frame)), rule.probabilities(frame), rtol=0, atol=1e-12)
    assert (contributions >= 0).all()
    assert roc_auc_score(outcome, rule.probabilities(frame)) == roc_auc_score(outcome, rule.grades(frame))
    assert abs(rule.probabilities(frame).mean() - outcome.mean()) < 0.02


def test_steps_are_taken_only_where_the_evidence_is_for_them() -> None:
    frame, outcome, student = many(3000)
    grades = uncalibrated_rule(tenant_settings()).grades(frame)
    assert calibrated_rule(tenant_settings(), frame, outcome, student).rule.calibration["kind"] == "sigmoid"
    random = np.random.default_rng(1)
    stairs = (random.random(len(frame)) < np.where(grades > np.median(grades), 0.45, 0.05)).astype(np.int8)
    learned = calibrated_rule(tenant_settings(), frame, stairs, student).rule.learned
    assert learned is not None
    assert learned.kind == "isotonic"
    assert len(learned.scores) <= 20
    assert list(learned.rates) == sorted(learned.rates)
    # What is stored of a step is of ten students at least: here one of them has most of the weeks.
    of_one = np.where(student < 1400, 0, student)
    learned = calibrated_rule(tenant_settings(), frame, stairs, of_one).rule.learned
    assert learned is not None
    assert len(learned.scores) < 20


def test_the_same_outcome_for_all_gives_no_probability() -> None:
    frame, outcome, student = many(60)
    for same in (np.zeros_like(outcome), np.ones_like(outcome)):
        with pytest.raises(CannotLearn):
            calibrated_rule(tenant_settings(), frame, same, student)
    backwards = (uncalibrated_rule(tenant_settings()).grades(frame) < 0.6).astype(np.int8)
    with pytest.raises(CannotLearn, match="does not mean more risk"):
        calibrated_rule(tenant_settings(), frame, backwards, student)


def test_it_comes_back_from_its_record_and_from_its_file() -> None:
    frame, outcome, student = many()
    rule = calibrated_rule(tenant_settings(), frame, outcome, student)
    from_record = rule_of(rule.rule.as_json())
    from_file = risk_model_of(skops.io.loads(skops.io.dumps(rule.pipeline), trusted=SKOPS_TRUSTED_TYPES))
    assert isinstance(from_file, RuleModel)
    for again in (from_record, from_file):
        assert again.rule.as_json() == rule.rule.as_json()
        assert (again.probabilities(frame) == rule.probabilities(frame)).all()
    assert from_file.pipeline.predict_proba(frame)[:, 1].tolist() == rule.probabilities(frame).tolist()
    held_out = out_of_fold(rule, frame, outcome, student)
    assert 0 < np.abs(held_out - rule.probabilities(frame)).max() < 0.2
