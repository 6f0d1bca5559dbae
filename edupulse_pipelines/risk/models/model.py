"""The candidates: what is fitted, calibrated and saved, and the questions that can be asked of a fitted model. No I/O.

Four kinds, from simple to flexible: `logistic` (a logistic regression with missing indicators, `signed_regression`),
`additive` (one step function per feature, `additive`), `boosting` (boosted trees with interactions, `boosting`) and
`averaged` (the mean log-odds of the logistic and the boosting model, `averaged`). None goes against a direction that a
feature's declaration claims. Which configuration and which kind is best is decided in `tuning`.

Calibration is a sigmoid fitted on out-of-fold log-odds, where no student is in both the fold and its training part;
it is folded into the model's own numbers. What is saved is therefore one plain scikit-learn pipeline, and a score
is exactly intercept + the sum of the features' contributions, in log-odds. Nothing is resampled or weighted: rare
events keep their true probabilities.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import RobustScaler, StandardScaler
from threadpoolctl import threadpool_limits

from edupulse_pipelines.features.definitions import MODEL_FEATURES_BY_NAME
from edupulse_pipelines.risk.models.additive import ShapeFunction, ShapeFunctions
from edupulse_pipelines.risk.models.averaged import STEP as AVERAGE
from edupulse_pipelines.risk.models.averaged import average_of, members_of
from edupulse_pipelines.risk.models.boosting import (
    CHECKPOINTS,
    ShapleyTables,
    fit_trees,
    fold_calibration,
    route_missing,
    staged_log_odds,
)
from edupulse_pipelines.risk.models.signed_regression import fit_regression

AVERAGED = "averaged"
MEMBERS: tuple[str, ...] = ("logistic", "boosting")
"""The kinds whose log-odds an averaged model averages: a smooth one and one that sees interactions."""
CANDIDATES: tuple[str, ...] = ("logistic", "additive", "boosting", AVERAGED)
"""The kinds of model, the simplest first."""
# Part of the settings hash: raise it when the same data would give another model.
MODEL_REVISION = 3
# Inverse strength of the ridge penalty. Overlapping as-of weeks repeat students, so the data look larger than they are.
# Between 0.01 and 0.1 nothing depends on it in districts of 120 to 13,500 students; at 1 a district's first models are
# overconfident (log loss 0.85 instead of 0.52 on the first open-university model).
REGULARISATION_C = 0.03
CALIBRATION_FOLDS = 5
# So many groups make folds by group, and so many make calibration folds by group: the sigmoid of a few courses repeats
# how these happen to differ (held out one by one, three real courses are predicted worse with it than without).
SMALLEST_GROUPING = 3
CALIBRATION_GROUPS = 10
# With so many rows three folds say the same two numbers, at half the time.
_MANY_ROWS, _FOLDS_OF_MANY_ROWS = 100_000, 3

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

SILENT: frozenset[str] = frozenset(
    name for name, feature in MODEL_FEATURES_BY_NAME.items() if not feature.missing_tells
)
"""Features whose being missing says nothing: a missing value is taken for the training set's mean. Learned as a sign of
its own it would be that of the silent student, and then accuse a whole course in which nothing was due yet."""


class CannotLearn(Exception):
    """The training set cannot give a model; the message is the reason, for people."""


@dataclass(frozen=True)
class Calibration:
    """The sigmoid of calibration: calibrated log-odds = slope * log-odds + intercept."""

    slope: float
    intercept: float


class _Explainer(Protocol):
    """The additive reading of one estimator; `matrix` has the features' columns, NaN = missing."""

    @property
    def intercept(self) -> float: ...

    def contributions(self, matrix: Floats) -> Floats: ...


class RiskModel:
    """A fitted pipeline of any kind and the questions that can be asked of it."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.kind = _kind(pipeline)

    @property
    def features(self) -> list[str]:
        """The names of the input columns, in order."""
        return [str(name) for name in self.pipeline.steps[0][1].feature_names_in_]

    @property
    def has_probabilities(self) -> bool:
        """Whether it gives probabilities; the rule does not before labels exist."""
        return True

    @property
    def intercept(self) -> float:
        """Mean log-odds of the training set; what contributions are added to."""
        return float(self._explainer.intercept)

    @property
    def typical(self) -> dict[str, float | None]:
        """Each feature's median in the training set (of a logistic model's `SILENT` ones the mean); None where it was
        never recorded."""
        if isinstance(self._explainer, _Regression):
            medians = self._explainer.medians
        else:
            medians = self._of_trees.named_steps["medians"].center_
        pairs = zip(self.features, medians, strict=True)
        return {name: None if np.isnan(value) else float(value) for name, value in pairs}

    @property
    def coefficients(self) -> dict[str, float]:
        """Of a logistic model: change of the log-odds per standard deviation, by column; `missing:<feature>` for
        missing indicators. Empty for other kinds.
        """
        return self._explainer.coefficients if isinstance(self._explainer, _Regression) else {}

    @property
    def shapes(self) -> dict[str, ShapeFunction]:
        """Of an additive model: the shape function of each feature that has an effect. Empty for other kinds."""
        if not isinstance(self._explainer, ShapeFunctions):
            return {}
        return {self.features[position]: shape for position, shape in self._explainer.by_feature.items()}

    def contributions(self, features: pd.DataFrame) -> Floats:
        """What each feature adds to the log-odds, shape (rows, features); a feature and its being missing together.

        Measured from the training set's average, so that intercept + row sum is exactly the row's log-odds. A feature
        that did not vary in training adds exactly 0.
        """
        return self._explainer.contributions(_matrix(features, self.features))

    def log_odds(self, features: pd.DataFrame) -> Floats:
        """The calibrated log-odds of an adverse event within the horizon, per row."""
        return np.asarray(self.pipeline.decision_function(features[self.features]), dtype=np.float64)

    def probabilities(self, features: pd.DataFrame) -> Floats:
        """The calibrated probability of an adverse event within the horizon, per row."""
        return self.pipeline.predict_proba(features[self.features])[:, 1]

    @property
    def _of_trees(self) -> Pipeline:
        """The pipeline that ends in trees: that of an averaged model's member."""
        if self.kind != AVERAGED:
            return self.pipeline
        return next(member for _, member in members_of(self.pipeline) if _kind(member) == "boosting")

    @cached_property
    def _explainer(self) -> _Explainer:
        if self.kind == AVERAGED:
            return _Average(self.pipeline)
        if self.kind == "logistic":
            return _Regression(self.pipeline)
        trees = self.pipeline.named_steps["trees"]
        return ShapeFunctions(trees) if self.kind == "additive" else ShapleyTables(trees)


def fit_candidate(
    kind: str,
    features: pd.DataFrame,
    outcome: NDArray[np.int8],
    student: NDArray[np.int64],
    config: Mapping[str, Any],
    directions: Mapping[str, int],
    groups: NDArray[np.int64] | None = None,
) -> tuple[RiskModel, Calibration]:
    """Fit and calibrate one kind of model.

    `features`: float columns, NaN = missing; `outcome`: 0 or 1; `student`: an integer per student; `config`: see
    `logistic` (`C`, the inverse strength of the ridge penalty) and `boosting.fit_trees`, of `averaged` the members'
    by name; `directions`: the sign that a feature's effect must have, by name, none where it is 0 or absent; `groups`:
    an integer per course or other group: calibration folds are then by group (`folds_of`), if there are
    `CALIBRATION_GROUPS` of them.

    Columns without variation in training (a domain never sent, an indicator always or never set) have no effect.
    CannotLearn when the outcome has one class, nothing varies, events come from fewer than two students, or the
    features do not predict the event for students left out.
    """
    fit = fit_out_of_fold(kind, features, outcome, student, config, directions, groups)
    return fit.model, fit.calibration


@dataclass(frozen=True)
class Fit:
    """A fitted candidate, and what it said of everybody while they were left out."""

    model: RiskModel
    calibration: Calibration
    held_out: Floats
    """Uncalibrated log-odds per row, out of fold."""


def fit_out_of_fold(
    kind: str,
    features: pd.DataFrame,
    outcome: NDArray[np.int8],
    student: NDArray[np.int64],
    config: Mapping[str, Any],
    directions: Mapping[str, int],
    groups: NDArray[np.int64] | None = None,
) -> Fit:
    """As `fit_candidate`, with what calibration was learned from."""
    if len(np.unique(outcome)) < 2:
        raise CannotLearn("all training samples have the same outcome")
    if kind == AVERAGED:
        data = (features, outcome, student)
        return averaged_fit([fit_out_of_fold(one, *data, config[one], directions, groups) for one in MEMBERS], outcome)
    with one_thread():
        learner = learner_of(kind, features, directions)
        logits = np.empty(len(outcome))
        count = CALIBRATION_FOLDS if len(outcome) < _MANY_ROWS else _FOLDS_OF_MANY_ROWS
        few = groups is None or len(np.unique(groups)) < CALIBRATION_GROUPS
        for training, held_out in folds_of(outcome, student, count, None if few else groups):
            logits[held_out] = learner.log_odds(outcome, student, training, held_out, config)[:, -1]
        calibration = _calibration(logits, outcome)
        return Fit(RiskModel(learner.finish(outcome, student, config, calibration)), calibration, logits)


def averaged_fit(members: Sequence[Fit], outcome: NDArray[np.int8]) -> Fit:
    """The candidate that averages what `MEMBERS`, fitted on the same rows and folds, say uncalibrated; nothing more is
    fitted but its own calibration. CannotLearn when the average does not predict the event."""
    held_out = np.mean([member.held_out for member in members], axis=0)
    calibration = _calibration(held_out, outcome)
    # The members keep their own calibration; the weights take it back.
    weights = [calibration.slope / (len(members) * member.calibration.slope) for member in members]
    taken_back = sum(weight * member.calibration.intercept for weight, member in zip(weights, members, strict=True))
    pipelines = [(member.model.kind, member.model.pipeline) for member in members]
    pipeline = average_of(pipelines, weights, calibration.intercept - taken_back)
    return Fit(RiskModel(pipeline), calibration, held_out)


def _calibration(held_out: Floats, outcome: NDArray[np.int8]) -> Calibration:
    calibration = fit_sigmoid(held_out, outcome)
    if calibration.slope <= 0:
        raise CannotLearn("the features do not predict the event for students who were left out of training")
    return calibration


def one_thread() -> AbstractContextManager[Any]:
    """Numerical libraries on one thread: sums of floats depend on how many share the rows, and so would the model."""
    return threadpool_limits(1)


class Learner(Protocol):
    """One kind of model on one training set, prepared once and fitted often."""

    def variants(self, config: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The configurations that one fit with `config` tells about."""

    def log_odds(
        self,
        outcome: NDArray[np.int8],
        student: NDArray[np.int64],
        training: Mask,
        held_out: Mask,
        config: Mapping[str, Any],
    ) -> Floats:
        """Fit on the `training` rows alone; uncalibrated log-odds of the `held_out` rows, (rows, variants)."""

    def finish(
        self,
        outcome: NDArray[np.int8],
        student: NDArray[np.int64],
        config: Mapping[str, Any],
        calibration: Calibration,
    ) -> Pipeline:
        """Fit on all rows and fold the calibration in."""


def learner_of(kind: str, features: pd.DataFrame, directions: Mapping[str, int]) -> Learner:
    """The learner of a kind other than `averaged`; CannotLearn when nothing varies in `features`, ValueError for an
    unknown kind."""
    if kind == "logistic":
        return _LogisticLearner(features, directions)
    if kind in CANDIDATES and kind != AVERAGED:
        return _TreeLearner(features, directions, additive=kind == "additive")
    raise ValueError(f"{kind!r} is not a candidate (known: {', '.join(CANDIDATES)})")


def folds_of(
    outcome: NDArray[np.int8],
    student: NDArray[np.int64],
    folds: int,
    groups: NDArray[np.int64] | None = None,
) -> list[tuple[Mask, Mask]]:
    """(training, held out) masks of up to `folds` folds; every row is held out once.

    By student (`student_folds`). With at least three `groups` (one per row, such as the course) by group instead, so
    that what is measured is how a model carries over to a group it has not seen; students who are in the held-out
    groups leave the training part, too. Should that leave a training part without both classes, folds are by student.
    """
    if groups is not None:
        count = len(np.unique(groups))
        if count >= SMALLEST_GROUPING:
            # Of groups of one size GroupKFold deals the last first; turned round, the order is that of their numbers.
            held = [
                np.isin(np.arange(len(outcome)), rows)
                for _, rows in GroupKFold(min(folds, count)).split(outcome, groups=-groups)
            ]
            pairs = [(~mask & ~np.isin(student, student[mask]), mask) for mask in held]
            if all(len(np.unique(outcome[training])) == 2 for training, _ in pairs):
                return pairs
    return [(~mask, mask) for mask in student_folds(outcome, student, folds)]


def student_folds(outcome: NDArray[np.int8], student: NDArray[np.int64], folds: int) -> list[NDArray[np.bool_]]:
    """Held-out masks of up to `folds` folds; a student is in one fold only, and students with events are spread evenly.

    Students are dealt out in the order of their number, so the folds are the same on every run. CannotLearn when that
    leaves a fold's training part with one class. scikit-learn's `GroupKFold` can put the few students with events into
    one fold, which leaves its training part without any; `StratifiedGroupKFold` balances rows, and so the few students
    with many weeks, not the students.
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
    masks = [fold == number for number in range(folds)]
    if any(len(np.unique(outcome[~mask])) < 2 for mask in masks):
        raise CannotLearn("too few students without an event to calibrate on")
    return masks


def fit_sigmoid(logits: Floats, outcome: NDArray[np.int8]) -> Calibration:
    """Platt's sigmoid by Newton's method, with his smoothed targets, which keep it finite when classes separate.

    scikit-learn has it inside `CalibratedClassifierCV` alone, which wants a classifier, five samples of each class, and
    stops at a millionth. As a weighted `LogisticRegression` over both targets of every sample it takes several times as
    long, and the last step differs in the ninth decimal: recorded models could not be fitted again to the same scores.
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


class _Regression:
    """The additive reading of the logistic pipeline (imputer, scaler, regression)."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._imputer: SimpleImputer = pipeline.named_steps["imputer"]
        self._scaler: StandardScaler = pipeline.named_steps["scaler"]
        self._coefficients: Floats = pipeline.named_steps["regression"].coef_[0]
        self.intercept = float(pipeline.named_steps["regression"].intercept_[0])
        # Positions of the features that have a missing indicator (those missing somewhere in training).
        self._indicated = np.asarray(self._imputer.indicator_.features_, dtype=np.int64)

    @property
    def medians(self) -> Floats:
        medians = np.array(self._imputer.statistics_, dtype=np.float64)
        # An indicator that never varied is all ones: had it been all zeros it would not exist.
        medians[self._indicated[self._scaler.mean_[len(medians) :] == 1.0]] = np.nan
        return medians

    @property
    def coefficients(self) -> dict[str, float]:
        names = [str(name) for name in self._imputer.feature_names_in_]
        columns = [*names, *(f"missing:{names[i]}" for i in self._indicated)]
        return dict(zip(columns, map(float, self._coefficients), strict=True))

    def contributions(self, matrix: Floats) -> Floats:
        frame = pd.DataFrame(matrix, columns=self._imputer.feature_names_in_)
        columns = self._scaler.transform(self._imputer.transform(frame)) * self._coefficients
        count = matrix.shape[1]
        factors = columns[:, :count]
        factors[:, self._indicated] += columns[:, count:]
        return factors


class _Average:
    """The additive reading of an averaged model: the members' contributions by their weights."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._members = [(weight, RiskModel(member)) for weight, member in members_of(pipeline)]
        (constant,) = pipeline.named_steps[AVERAGE].final_estimator_.intercept_
        self.intercept = float(constant) + sum(weight * member.intercept for weight, member in self._members)

    def contributions(self, matrix: Floats) -> Floats:
        total = np.zeros(matrix.shape)
        for weight, member in self._members:
            total += weight * member._explainer.contributions(matrix)
        return total


class _LogisticLearner:
    """Median imputation with missing indicators (of `SILENT` features mean imputation without), standardised, ridge
    penalty; no coefficient goes against the direction of its feature, those of missing indicators are free.

    Folds share imputation and scaling, which never look at the outcome.
    """

    def __init__(self, features: pd.DataFrame, directions: Mapping[str, int]) -> None:
        self._imputer = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True).fit(features)
        means = _means_of_silent(features)
        self._imputer.statistics_ = np.where(np.isnan(means), self._imputer.statistics_, means)
        matrix = np.ascontiguousarray(self._imputer.transform(features))
        self._constant = matrix.max(axis=0) == matrix.min(axis=0)
        indicated = features.columns[self._imputer.indicator_.features_]
        self._constant[len(features.columns) :] |= indicated.isin(SILENT)
        if self._constant.all():
            raise CannotLearn("no feature varies among the training samples")
        self._scaler = StandardScaler(copy=False)
        matrix = self._scaler.fit_transform(matrix)
        # Fitted without the columns that do not vary: what has nothing to say must not cost time either.
        self._matrix = np.ascontiguousarray(matrix[:, ~self._constant])
        signs = np.zeros(len(self._constant), dtype=np.int64)
        signs[: len(features.columns)] = [int(directions.get(str(name), 0)) for name in features.columns]
        self._signs = signs[~self._constant]

    def variants(self, config: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [dict(config)]

    def log_odds(
        self,
        outcome: NDArray[np.int8],
        student: NDArray[np.int64],
        training: Mask,
        held_out: Mask,
        config: Mapping[str, Any],
    ) -> Floats:
        regression = fit_regression(self._matrix[training], outcome[training], self._signs, config["C"])
        return regression.decision_function(self._matrix[held_out])[:, None]

    def finish(
        self,
        outcome: NDArray[np.int8],
        student: NDArray[np.int64],
        config: Mapping[str, Any],
        calibration: Calibration,
    ) -> Pipeline:
        regression = fit_regression(self._matrix, outcome, self._signs, config["C"])
        coefficients = np.zeros((1, len(self._constant)))
        coefficients[0, ~self._constant] = calibration.slope * regression.coef_[0]
        regression.coef_ = coefficients
        regression.n_features_in_ = len(self._constant)
        regression.intercept_ = calibration.slope * regression.intercept_ + calibration.intercept
        self._scaler.copy = True  # the saved pipeline must not write into what it is given
        return Pipeline([("imputer", self._imputer), ("scaler", self._scaler), ("regression", regression)])


class _TreeLearner:
    """Boosted trees on the values as they are; a missing value goes its own way at every split, that of a `SILENT`
    feature the way of its mean."""

    def __init__(self, features: pd.DataFrame, directions: Mapping[str, int], *, additive: bool) -> None:
        self._medians = RobustScaler(with_scaling=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the median of nothing is NaN, and is meant to be
            self._medians.fit(features)
        # From here on it hands the values through: it is in the pipeline to remember the medians (and the names).
        self._medians.with_centering = False
        self._silent_means = _means_of_silent(features)
        self._matrix = _matrix(features, list(features.columns))
        self._matrix = np.where(np.isnan(self._matrix), self._silent_means, self._matrix)
        first = self._matrix[0]
        if not ((self._matrix != first) & ~(np.isnan(self._matrix) & np.isnan(first))).any():
            raise CannotLearn("no feature varies among the training samples")
        self._directions = [int(directions.get(str(name), 0)) for name in features.columns]
        self._additive = additive

    def variants(self, config: Mapping[str, Any]) -> list[dict[str, Any]]:
        steps = (config["iterations"],) if "iterations" in config else CHECKPOINTS
        return [{**config, "iterations": number} for number in steps]

    def log_odds(
        self,
        outcome: NDArray[np.int8],
        student: NDArray[np.int64],
        training: Mask,
        held_out: Mask,
        config: Mapping[str, Any],
    ) -> Floats:
        trees = self._fit(self._matrix[training], outcome[training], student[training], config)
        steps = [variant["iterations"] for variant in self.variants(config)]
        return staged_log_odds(trees, self._matrix[held_out], steps)

    def finish(
        self,
        outcome: NDArray[np.int8],
        student: NDArray[np.int64],
        config: Mapping[str, Any],
        calibration: Calibration,
    ) -> Pipeline:
        trees = self._fit(self._matrix, outcome, student, config)
        fold_calibration(trees, calibration.slope, calibration.intercept)
        return Pipeline([("medians", self._medians), ("trees", trees)])

    def _fit(
        self, matrix: Floats, outcome: NDArray[np.int8], student: NDArray[np.int64], config: Mapping[str, Any]
    ) -> Any:
        trees = fit_trees(matrix, outcome, student, config, self._directions, additive=self._additive)
        route_missing(trees, self._silent_means)
        return trees


def _kind(pipeline: Pipeline) -> str:
    steps = list(pipeline.named_steps)
    if steps == ["imputer", "scaler", "regression"]:
        return "logistic"
    if steps == [AVERAGE]:
        return AVERAGED
    if steps == ["medians", "trees"]:
        return "additive" if pipeline.named_steps["trees"].interaction_cst == "no_interactions" else "boosting"
    raise ValueError(f"a pipeline of {', '.join(steps)} is no risk model")


def _means_of_silent(features: pd.DataFrame) -> Floats:
    """Per column the mean of a `SILENT` feature; NaN of others, and of one that was never recorded."""
    means: Floats = features.mean().to_numpy(np.float64)
    return np.where(features.columns.isin(SILENT), means, np.nan)


def _matrix(features: pd.DataFrame, names: list[str]) -> Floats:
    """A copy of the named columns as floats, shape (rows, names)."""
    return features[names].to_numpy(np.float64, copy=True)
