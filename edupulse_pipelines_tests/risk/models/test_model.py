from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from edupulse_pipelines.risk.models.model import (
    REGULARISATION_C,
    CannotLearn,
    RiskModel,
    fit_sigmoid,
    student_folds,
)
from edupulse_pipelines.risk.models.signed_regression import fit_regression
from edupulse_pipelines_tests.risk.models.untuned import fit_model

NAMES = ["rate", "grade", "count", "never", "always_same"]


def samples(seed: int, rows: int = 400, students: int = 60) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Features of which two matter, one is never recorded and one never varies."""
    random = np.random.default_rng(seed)
    student = random.integers(0, students, rows)
    trait = random.normal(size=students)[student]
    values = np.column_stack(
        [
            -trait + random.normal(size=rows),
            random.normal(70, 10, rows) - 5 * trait,
            random.poisson(1, rows),
            np.full(rows, np.nan),
            np.full(rows, 0.1),
        ]
    )
    values[random.random(rows) < 0.2, 1] = np.nan
    outcome = (random.random(rows) < expit(2 * trait - 0.5)).astype(np.int8)
    return pd.DataFrame(values, columns=NAMES), outcome, student


@pytest.fixture(scope="module")
def fitted() -> RiskModel:
    return fit_model(*samples(0))[0]


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(*[st.one_of(st.just(float("nan")), st.floats(-1e3, 1e3, allow_subnormal=False))] * len(NAMES)),
        min_size=1,
        max_size=5,
    )
)
def test_contributions_add_up_to_the_log_odds(fitted: RiskModel, rows: list[tuple[float, ...]]) -> None:
    frame = pd.DataFrame(rows, columns=NAMES, dtype=float)
    log_odds = fitted.intercept + fitted.contributions(frame).sum(axis=1)
    assert np.allclose(log_odds, fitted.pipeline.decision_function(frame), rtol=1e-12, atol=1e-12)
    assert np.allclose(expit(log_odds), fitted.probabilities(frame), rtol=1e-12, atol=1e-15)


def test_what_does_not_vary_in_training_says_nothing(fitted: RiskModel) -> None:
    coefficients = fitted.coefficients
    assert set(coefficients) == {*NAMES, "missing:grade", "missing:never"}
    for name in ("never", "missing:never", "always_same"):
        assert coefficients[name] == 0.0
    unlike = pd.DataFrame([[0.0, 70.0, 1.0, 5.0, 9.0], [0.0, 70.0, 1.0, np.nan, np.nan]], columns=NAMES)
    assert (fitted.contributions(unlike)[:, 3:] == 0.0).all()
    assert fitted.typical["never"] is None
    assert fitted.typical["always_same"] == 0.1


def test_calibration_is_folded_in_exactly() -> None:
    frame, outcome, student = samples(3)
    model, calibration = fit_model(frame, outcome, student)
    matrix = model.pipeline[:-1].transform(frame)
    free = np.zeros(matrix.shape[1], dtype=np.int64)
    plain = fit_regression(matrix, outcome, free, REGULARISATION_C).decision_function(matrix)
    folded = model.pipeline.decision_function(frame)
    assert np.allclose(calibration.slope * plain + calibration.intercept, folded, atol=1e-9)
    held_out = np.empty(len(outcome))
    for fold in student_folds(outcome, student, 5):
        other = fit_regression(matrix[~fold], outcome[~fold], free, REGULARISATION_C)
        held_out[fold] = other.decision_function(matrix[fold])
    again = fit_sigmoid(held_out, outcome)
    assert (again.slope, again.intercept) == pytest.approx((calibration.slope, calibration.intercept), abs=1e-9)


def test_the_saved_pipeline_leaves_its_input_alone(fitted: RiskModel) -> None:
    frame = samples(5)[0]
    before = frame.copy()
    fitted.probabilities(frame)
    fitted.contributions(frame)
    pd.testing.assert_frame_equal(frame, before)


def test_calibration_finds_the_sigmoid_that_made_the_outcomes() -> None:
    random = np.random.default_rng(1)
    logits = random.normal(size=50_000)
    outcome = (random.random(len(logits)) < expit(0.5 * logits - 1)).astype(np.int8)
    found = fit_sigmoid(logits, outcome)
    assert (found.slope, found.intercept) == pytest.approx((0.5, -1), abs=0.05)
    # Newton stops where the calibrated probabilities have the mean of the (smoothed) outcomes.
    assert expit(found.slope * logits + found.intercept).mean() == pytest.approx(outcome.mean(), abs=1e-4)


@pytest.mark.parametrize("size", [40, 400, 4000])
def test_calibration_is_the_weighted_regression_of_scikit_learn(size: int) -> None:
    """Platt's targets say that each sample is an event with one weight, and none with another."""
    random = np.random.default_rng(size)
    logits = random.normal(-1, 1.5, size)
    outcome = (random.random(size) < expit(0.7 * logits - 0.2)).astype(np.int8)
    events = outcome.sum()
    weight = np.where(outcome == 1, (events + 1) / (events + 2), 1 / (size - events + 2))
    regression = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12).fit(
        np.tile(logits, 2)[:, None], np.repeat([1, 0], size), sample_weight=np.concatenate([weight, 1 - weight])
    )
    found = fit_sigmoid(logits, outcome)
    assert (found.slope, found.intercept) == pytest.approx((regression.coef_[0, 0], regression.intercept_[0]), abs=1e-6)


def test_calibration_stays_finite_when_the_classes_separate() -> None:
    logits = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
    found = fit_sigmoid(logits, (logits > 0).astype(np.int8))
    assert found.slope > 0
    assert np.isfinite([found.slope, found.intercept]).all()


def test_a_student_is_in_one_fold_only_and_every_fold_can_learn() -> None:
    _, outcome, student = samples(7)
    outcome[:] = 0
    outcome[np.isin(student, [3, 9])] = 1
    folds = student_folds(outcome, student, 5)
    assert len(folds) == 2
    assert (np.sum(folds, axis=0) == 1).all()
    for fold in folds:
        assert not set(student[fold]) & set(student[~fold])
        assert len(np.unique(outcome[~fold])) == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f, y, s: (f, y * 0, s), "same outcome"),
        (lambda f, y, s: (f * 0 + 1, y, s), "no feature varies"),
        (lambda f, y, s: (f, (s == 3).astype(np.int8), s), "of one student"),
        (lambda f, y, s: (f, (s % 60 > 0).astype(np.int8), s), "without an event"),
    ],
    ids=["one class", "nothing varies", "one student", "one student without"],
)
def test_too_little_to_learn_from_is_said(change, reason: str) -> None:
    frame, outcome, student = change(*samples(0))
    with pytest.raises(CannotLearn, match=reason):
        fit_model(frame[["rate", "count"]] if "varies" in reason else frame, outcome, student)


def test_features_that_do_not_predict_give_no_model() -> None:
    # Whoever is left out looks like the other class: each student's sign is their own.
    student = np.repeat(np.arange(40), 10)
    outcome = (student % 2).astype(np.int8)
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"noise": random.normal(size=40)[student]})
    refused = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        frame = pd.DataFrame({"noise": random.normal(size=40)[student]})
        try:
            model, calibration = fit_model(frame, outcome, student)
        except CannotLearn as error:
            refused += 1
            assert "do not predict" in str(error)
        else:
            assert calibration.slope > 0
            assert abs(logit(model.probabilities(frame))).max() < 5
    assert refused > 0
