"""The glass box: one logistic regression on documented features with missing indicators, calibrated. No I/O.

Calibration is a sigmoid fitted on out-of-fold log-odds, where no student is in both the fold and its training part;
it is folded into coefficients and intercept. What is saved is therefore one plain scikit-learn pipeline, and a score
is exactly intercept + the sum of the factors' contributions, in log-odds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

MODEL_TYPE = "logistic_regression"
# Part of the settings hash: raise it when the same data would give another model.
MODEL_REVISION = 1
# Inverse strength of the ridge penalty. Overlapping as-of weeks repeat students, so the data look larger than they are.
# Between 0.01 and 0.1 nothing depends on it in districts of 120 to 13,500 students; at 1 a district's first models are
# overconfident (log loss 0.85 instead of 0.52 on the first open-university model).
REGULARISATION_C = 0.03
CALIBRATION_FOLDS = 5

Floats = NDArray[np.float64]


class CannotLearn(Exception):
    """The training set cannot give a model; the message is the reason, for people."""


@dataclass(frozen=True)
class Calibration:
    """The sigmoid of calibration: calibrated log-odds = slope * log-odds + intercept."""

    slope: float
    intercept: float


class RiskModel:
    """A fitted pipeline (imputer, scaler, logistic regression) and the questions that can be asked of it."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self._imputer: SimpleImputer = pipeline.named_steps["imputer"]
        self._scaler: StandardScaler = pipeline.named_steps["scaler"]
        self._regression: LogisticRegression = pipeline.named_steps["regression"]

    @property
    def features(self) -> list[str]:
        """The names of the input columns, in order."""
        return [str(name) for name in self._imputer.feature_names_in_]

    @property
    def intercept(self) -> float:
        """Log-odds of a student who is average in everything."""
        return float(self._regression.intercept_[0])

    @property
    def typical(self) -> dict[str, float | None]:
        """Each feature's median in the training set; None where it was never recorded."""
        never = np.isin(np.arange(len(self.features)), self._always_missing())
        medians = zip(self.features, self._imputer.statistics_, never, strict=True)
        return {name: None if missing else float(value) for name, value, missing in medians}

    @property
    def coefficients(self) -> dict[str, float]:
        """Change of the log-odds per standard deviation, by column; `missing:<feature>` for missing indicators."""
        indicators = [f"missing:{self.features[i]}" for i in self._indicated()]
        return dict(zip([*self.features, *indicators], map(float, self._regression.coef_[0]), strict=True))

    def contributions(self, features: pd.DataFrame) -> Floats:
        """What each factor adds to the log-odds, shape (rows, features): the feature and its missing indicator
        together.

        Measured from the training set's average, so that intercept + row sum is exactly the row's log-odds.
        """
        columns = self._scaler.transform(self._imputer.transform(features[self.features])) * self._regression.coef_[0]
        count = len(self.features)
        factors = columns[:, :count]
        factors[:, self._indicated()] += columns[:, count:]
        return factors

    def probabilities(self, features: pd.DataFrame) -> Floats:
        """The calibrated probability of an adverse event within the horizon, per row."""
        return self.pipeline.predict_proba(features[self.features])[:, 1]

    def _indicated(self) -> NDArray[np.int64]:
        """Positions of the features that have a missing indicator (those missing somewhere in training)."""
        return np.asarray(self._imputer.indicator_.features_, dtype=np.int64)

    def _always_missing(self) -> NDArray[np.int64]:
        # An indicator that never varied is all ones: had it been all zeros it would not exist.
        indicated = self._indicated()
        return indicated[self._scaler.mean_[len(self.features) :] == 1.0]


def fit_model(
    features: pd.DataFrame, outcome: NDArray[np.int8], student: NDArray[np.int64]
) -> tuple[RiskModel, Calibration]:
    """Fit and calibrate. `features`: float columns, NaN = missing; `outcome`: 0 or 1; `student`: an integer per
    student.

    Columns without variation in training (a domain never sent, an indicator always or never set) get a coefficient of
    exactly 0. Calibration folds share imputation and scaling, which never look at the outcome. CannotLearn when the
    outcome has one class, nothing varies, events come from fewer than two students, or the features do not
    predict the event for students left out.
    """
    if len(np.unique(outcome)) < 2:
        raise CannotLearn("all training samples have the same outcome")
    imputer = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    matrix = np.ascontiguousarray(imputer.fit_transform(features))
    constant = matrix.max(axis=0) == matrix.min(axis=0)
    if constant.all():
        raise CannotLearn("no feature varies among the training samples")
    scaler = StandardScaler(copy=False)
    matrix = scaler.fit_transform(matrix)
    # Fitted without the columns that do not vary: what has nothing to say must not cost time either.
    matrix = np.ascontiguousarray(matrix[:, ~constant])
    logits = np.empty(len(outcome))
    for held_out in student_folds(outcome, student, CALIBRATION_FOLDS):
        logits[held_out] = _regression(matrix[~held_out], outcome[~held_out]).decision_function(matrix[held_out])
    calibration = fit_sigmoid(logits, outcome)
    if calibration.slope <= 0:
        raise CannotLearn("the features do not predict the event for students who were left out of training")
    regression = _regression(matrix, outcome)
    coefficients = np.zeros((1, len(constant)))
    coefficients[0, ~constant] = calibration.slope * regression.coef_[0]
    regression.coef_ = coefficients
    regression.n_features_in_ = len(constant)
    regression.intercept_ = calibration.slope * regression.intercept_ + calibration.intercept
    scaler.copy = True  # the saved pipeline must not write into what it is given
    pipeline = Pipeline([("imputer", imputer), ("scaler", scaler), ("regression", regression)])
    return RiskModel(pipeline), calibration


def student_folds(outcome: NDArray[np.int8], student: NDArray[np.int64], folds: int) -> list[NDArray[np.bool_]]:
    """Held-out masks of up to `folds` folds; a student is in one fold only, and students with events are spread evenly.

    Plain grouped folds can put the few students with events into one fold and leave its training part without any.
    Students are dealt out in the order of their number, so the folds are the same on every run. CannotLearn when that
    leaves a fold's training part with one class.
    """
    count = int(student.max()) + 1
    present = np.bincount(student, minlength=count) > 0
    with_event = np.bincount(student, weights=outcome, minlength=count) > 0
    event_students = int(with_event.sum())
    if event_students < 2:
        raise CannotLearn("all events in the training set are of one student")
    folds = min(folds, event_students)
    order = np.concatenate([np.flatnonzero(with_event), np.flatnonzero(present & ~with_event)])
    fold_of_student = np.zeros(count, dtype=np.int64)
    fold_of_student[order] = np.arange(len(order)) % folds
    fold = fold_of_student[student]
    masks = [fold == one for one in range(folds)]
    if any(len(np.unique(outcome[~mask])) < 2 for mask in masks):
        raise CannotLearn("too few students without an event to calibrate on")
    return masks


def fit_sigmoid(logits: Floats, outcome: NDArray[np.int8]) -> Calibration:
    """Platt's sigmoid by Newton's method, with his smoothed targets, which keep it finite when classes separate.

    J. Platt, "Probabilistic outputs for support vector machines" (1999); H.-T. Lin, C.-J. Lin, R. Weng, "A note on
    Platt's probabilistic outputs" (2007), for the damped Newton steps.
    """
    positive = int(outcome.sum())
    negative = len(outcome) - positive
    target = np.where(outcome == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def loss(slope: float, intercept: float) -> float:
        z = slope * logits + intercept
        return float(np.sum(np.logaddexp(0, z) - target * z))

    slope, intercept = 0.0, float(np.log((positive + 1) / (negative + 1)))
    current = loss(slope, intercept)
    for _ in range(100):
        p = expit(slope * logits + intercept)
        error, curvature = p - target, p * (1 - p)
        gradient = np.array([error @ logits, error.sum()])
        if np.abs(gradient).max() < 1e-8 * len(outcome):
            break
        cross = float(curvature @ logits)
        hessian = np.array([[float(curvature @ logits**2), cross], [cross, float(curvature.sum())]]) + 1e-12 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-10:
            attempt = loss(slope - size * step[0], intercept - size * step[1])
            if attempt <= current:
                break
            size /= 2
        else:
            break
        slope, intercept, current = float(slope - size * step[0]), float(intercept - size * step[1]), attempt
    return Calibration(slope, intercept)


def _regression(matrix: Floats, outcome: NDArray[np.int8] | Sequence[int]) -> LogisticRegression:
    # Newton steps on the normal matrix: few features, many rows, and the optimum is reached to the last digits.
    return LogisticRegression(C=REGULARISATION_C, solver="newton-cholesky", tol=1e-8, max_iter=100).fit(matrix, outcome)
