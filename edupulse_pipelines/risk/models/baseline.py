"""The rule: a graded attendance-behaviour-course score, which models are measured beside and which scores without them.

Nothing in the score is trained. Each *part* is the distance of a student to one threshold of the tenant's label, as a
multiple of it: 0 far away, 1 at the threshold, at most `HIGHEST_LEVEL` beyond it. The score is the sum of the parts by
their weights (`WEIGHTS`), so that 1 is as much as one threshold reached and nothing else. A part of which nothing is
recorded adds nothing.

- `absence`: the share of this school year's days that the student was absent on, of the share that the label's rule of
  absence names (of fewer days enrolled than the rule needs, as if the others had been attended; a rule of so many days
  a year is taken as their share of `SCHOOL_YEAR_DAYS`). Where the tenant names an attendance rate, sessions missed.
- `behaviour`: incidents of the last eight school weeks of the number that counts, or the highest severity of the one
  that is serious, whichever is nearer.
- `grades`: how far the mean grade of this school year is below 100, of how far a failing one is.
- `course`: the share of the weeks in the weakest course that were failed; 1 at one half.
- `missing_work`: what the student has handed in less than the classmates on average, as a share of that, and twice
  the share of the classmates who have handed in something where the student has nothing; 0 without classmates. It is no
  event itself and counts half; where the label has only ways of leaving, it is the one sign of them and counts twice.

What is learned, once outcomes are known, is which probability belongs to a score (`calibrated_rule`). Until then the
rule has categories, from `BANDS`, and no probability.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.isotonic import isotonic_regression
from sklearn.pipeline import Pipeline

from edupulse_pipelines.risk.models.model import (
    SMALLEST_GROUPING,
    Calibration,
    CannotLearn,
    Floats,
    RiskModel,
    fit_sigmoid,
    folds_of,
)
from edupulse_pipelines.risk.models.tuning import TUNING_ROWS, sample_rows
from edupulse_pipelines.risk.rounding import DIGITS
from edupulse_pipelines.risk.statuses import RULE
from edupulse_pipelines.settings import DEFAULT_ATTENDANCE_BELOW, LabelSettings, RuleSettings, TenantSettings

WEIGHTS: Mapping[str, float] = {"absence": 1.0, "behaviour": 1.0, "grades": 1.0, "course": 1.0, "missing_work": 0.5}
"""Each threshold of the label counts once. Missing work is no event of its own: it counts half."""
WEIGHTS_OF_EXITS: Mapping[str, float] = {**WEIGHTS, "missing_work": 2.0}
"""Of a label that has only ways of leaving, which no threshold of attendance or grades is near to."""
BANDS: tuple[float, float, float] = (1.0, 2.0, 3.0)
"""Lowest score of medium, high and critical where there is no probability: as much as one, two, three thresholds."""
HIGHEST_LEVEL = 3.0
"""So many times a threshold is as bad as it gets: one part alone does not make a list."""
SCHOOL_YEAR_DAYS = 180
"""Days of a school year, of which a rule of so many days is a share."""

_DAYS_ENROLLED, _DAYS_ABSENT, _DAYS_MISSED = "days_enrolled_ytd", "days_absent_ytd", "days_missed_ytd"
_ATTENDANCE = "attendance_rate_ytd"
_INCIDENTS, _SEVERITY = "incidents_8w", "severity_highest_8w"
_MEAN_GRADE, _FAILED_WEEKS = "grade_mean_ytd", "failing_share_ytd"
_HANDED_IN, _NOTHING_YET = "grade_count_vs_class", "no_grade_yet"
_BEST_GRADE = 100.0
# Where neither the label nor the rule's settings say it: a label until exit has no thresholds.
_INCIDENTS_BY_DEFAULT, _FAILING_BY_DEFAULT = 2, 60.0
_SMALLEST_LIMIT = 0.01

# A calibrated probability is strictly increasing in the score: of isotonic steps a hundredth is the sigmoid's.
_SIGMOID_SHARE = 0.01
_SMALLEST_RATE = 1e-6
_FOLDS = 5
_MOST_STEPS, _STEP_STUDENTS = 20, 10


class NoProbability(Exception):
    """The rule was asked for a probability before one could be learned."""


@dataclass(frozen=True)
class RuleCalibration:
    """Which probability belongs to a score: a sigmoid, or steps that never fall with a hundredth of the sigmoid."""

    kind: Literal["sigmoid", "isotonic"]
    slope: float
    intercept: float
    scores: tuple[float, ...] = ()
    """Of `isotonic`: the scores between which the rate is interpolated, ascending; beyond them it stays."""
    rates: tuple[float, ...] = ()
    rows: int = 0
    """Student-weeks that it was learned from."""
    events: int = 0

    def log_odds(self, score: Floats) -> Floats:
        """The log-odds of each score; strictly increasing."""
        sigmoid: Floats = self.slope * score + self.intercept
        if self.kind == "sigmoid":
            return sigmoid
        steps = np.interp(score, self.scores, self.rates)
        mixed = (1 - _SIGMOID_SHARE) * steps + _SIGMOID_SHARE * expit(sigmoid)
        return np.asarray(logit(np.clip(mixed, _SMALLEST_RATE, 1 - _SMALLEST_RATE)), dtype=np.float64)

    def as_json(self) -> dict[str, Any]:
        """For the record of the model."""
        return {
            "kind": self.kind,
            "slope": self.slope,
            "intercept": self.intercept,
            "scores": list(self.scores),
            "rates": list(self.rates),
            "rows": self.rows,
            "events": self.events,
        }


class GradedRule(ClassifierMixin, BaseEstimator):
    """The rule as scikit-learn and MLflow take it: plain numbers, and a frame of features in. See the module.

    Absence: `absence_limit` is the share of days (`absence_of` = `days`: of absence; `time`: missed) or of sessions
    (`sessions`), of at least `minimum_days`. `serious_severity` None: severity does not count. `exits_only`: whether
    the label has only ways of leaving. `calibration`: None, or `RuleCalibration.as_json`.
    """

    def __init__(
        self,
        absence_of: str = "days",
        absence_limit: float = 0.1,
        minimum_days: int = 1,
        incidents: int = 3,
        serious_severity: int | None = None,
        failing_below: float = 60.0,
        exits_only: bool = False,
        calibration: dict[str, Any] | None = None,
    ) -> None:
        """Keep the thresholds: eight values that say everything there is of a rule, as scikit-learn wants them."""
        self.absence_of = absence_of
        self.absence_limit = absence_limit
        self.minimum_days = minimum_days
        self.incidents = incidents
        self.serious_severity = serious_severity
        self.failing_below = failing_below
        self.exits_only = exits_only
        self.calibration = calibration

    @property
    def feature_names_in_(self) -> NDArray[np.object_]:
        """The columns that it looks at."""
        absence = {"days": [_DAYS_ENROLLED, _DAYS_ABSENT], "time": [_DAYS_ENROLLED, _DAYS_MISSED]}
        names = [*absence.get(self.absence_of, [_ATTENDANCE]), _INCIDENTS]
        names += [] if self.serious_severity is None else [_SEVERITY]
        return np.array([*names, _MEAN_GRADE, _FAILED_WEEKS, _HANDED_IN, _NOTHING_YET], dtype=object)

    @property
    def weights(self) -> Mapping[str, float]:
        """The weight of each part."""
        return WEIGHTS_OF_EXITS if self.exits_only else WEIGHTS

    @property
    def classes_(self) -> NDArray[np.int64]:
        """No event, event."""
        return np.array([0, 1])

    def __sklearn_is_fitted__(self) -> bool:
        """There is nothing to fit."""
        return True

    def fit(self, features: pd.DataFrame, outcome: Any = None) -> GradedRule:
        """Nothing: what can be learned of it is in `calibrated_rule`."""
        return self

    def levels(self, features: pd.DataFrame) -> dict[str, Floats]:
        """By part the distance to its threshold: 0 far away or not recorded, 1 at it."""
        column = {name: features[name].to_numpy(np.float64) for name in self.feature_names_in_}
        if self.absence_of in ("days", "time"):
            enrolled = np.maximum(column[_DAYS_ENROLLED], self.minimum_days)
            absent = column[_DAYS_ABSENT if self.absence_of == "days" else _DAYS_MISSED] / enrolled
        else:
            absent = 1 - column[_ATTENDANCE]
        behaviour = column[_INCIDENTS] / self.incidents
        if self.serious_severity is not None:
            behaviour = np.fmax(behaviour, column[_SEVERITY] / self.serious_severity)
        levels = {
            "absence": absent / self.absence_limit,
            "behaviour": behaviour,
            "grades": (_BEST_GRADE - column[_MEAN_GRADE]) / (_BEST_GRADE - self.failing_below),
            "course": 2 * column[_FAILED_WEEKS],
            "missing_work": np.maximum(1 - np.exp(column[_HANDED_IN]), 0.0) + 2 * column[_NOTHING_YET],
        }
        return {name: np.clip(np.nan_to_num(level), 0.0, HIGHEST_LEVEL) for name, level in levels.items()}

    def points(self, features: pd.DataFrame) -> Floats:
        """What each part of `WEIGHTS` adds to the score, shape (rows, parts)."""
        levels = self.levels(features)
        return np.column_stack([weight * levels[name] for name, weight in self.weights.items()])

    def grades(self, features: pd.DataFrame) -> Floats:
        """The score of each row, rounded to 6 decimals."""
        return np.round(self.points(features).sum(axis=1), DIGITS) + 0.0

    def decision_function(self, features: pd.DataFrame) -> Floats:
        """The log-odds where there is a calibration, else the score."""
        calibration = self.learned
        grades = self.grades(features)
        return grades if calibration is None else calibration.log_odds(grades)

    def predict_proba(self, features: pd.DataFrame) -> Floats:
        """Probabilities of no event and of an event; NaN where none could be learned yet."""
        calibration = self.learned
        event = np.full(len(features), np.nan)
        if calibration is not None:
            event = expit(calibration.log_odds(self.grades(features)))
        return np.column_stack([1 - event, event])

    def predict(self, features: pd.DataFrame) -> NDArray[np.int64]:
        """Whether the rule would flag each row (`BANDS`)."""
        return (self.grades(features) >= BANDS[1]).astype(np.int64)

    @property
    def learned(self) -> RuleCalibration | None:
        """The calibration; None where none could be learned yet."""
        if self.calibration is None:
            return None
        stored = self.calibration
        return RuleCalibration(**{**stored, "scores": tuple(stored["scores"]), "rates": tuple(stored["rates"])})

    def definition(self) -> dict[str, Any]:
        """The thresholds, weights and bands, without what was learned, as JSON; two rules with the same are one."""
        thresholds = {name: value for name, value in self.get_params().items() if name != "calibration"}
        return {**thresholds, "weights": dict(self.weights), "highest_level": HIGHEST_LEVEL, "bands": list(BANDS)}

    def as_json(self) -> dict[str, Any]:
        """Everything there is of it: for `model_metadata.hyperparameters["rule"]`."""
        return {**self.definition(), "calibration": self.calibration}


class RuleModel(RiskModel):
    """The rule as a model. Without a calibration it has neither probability nor log-odds; contributions are points."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.kind = RULE

    @property
    def rule(self) -> GradedRule:
        """The rule itself."""
        return self.pipeline.named_steps[RULE]

    @property
    def features(self) -> list[str]:
        """The names of the features that it looks at."""
        return [str(name) for name in self.rule.feature_names_in_]

    @property
    def has_probabilities(self) -> bool:
        """Whether a calibration could be learned."""
        return self.rule.calibration is not None

    @property
    def parts(self) -> list[str]:
        """The columns of `contributions`: parts of the score, not features."""
        return list(WEIGHTS)

    @property
    def intercept(self) -> float:
        """Log-odds of a student who is far from every threshold; 0 without probabilities."""
        learned = self.rule.learned
        return 0.0 if learned is None else float(learned.log_odds(np.zeros(1))[0])

    @property
    def typical(self) -> dict[str, float | None]:
        """Nothing was learned from anybody."""
        return dict.fromkeys(self.features)

    @property
    def coefficients(self) -> dict[str, float]:
        """None: the weights are `WEIGHTS`."""
        return {}

    @property
    def shapes(self) -> dict[str, Any]:
        """None."""
        return {}

    def grades(self, features: pd.DataFrame) -> Floats:
        """The graded score of each row, rounded to 6 decimals."""
        return self.rule.grades(features)

    def contributions(self, features: pd.DataFrame) -> Floats:
        """What each of `parts` adds, shape (rows, parts): log-odds, which with the intercept add up to the row's.

        A part's share of the log-odds is its share of the score. Without probabilities they are the points themselves.
        """
        points = self.rule.points(features)
        if not self.has_probabilities:
            return points
        total = points.sum(axis=1, keepdims=True)
        share = np.divide(points, total, out=np.zeros_like(points), where=total > 0)
        return share * (self.log_odds(features) - self.intercept)[:, None]

    def log_odds(self, features: pd.DataFrame) -> Floats:
        """The calibrated log-odds of each row; NoProbability where none could be learned yet."""
        learned = self.rule.learned or _refuse()
        return learned.log_odds(self.grades(features))

    def probabilities(self, features: pd.DataFrame) -> Floats:
        """The calibrated probability of each row; NoProbability where none could be learned yet."""
        return np.asarray(expit(self.log_odds(features)), dtype=np.float64)


def rule_model(rule: GradedRule) -> RuleModel:
    """The model that a rule is."""
    return RuleModel(Pipeline([(RULE, rule)]))


def rule_of(stored: Mapping[str, Any]) -> RuleModel:
    """The model of `GradedRule.as_json`; KeyError for a document that is none."""
    names = (
        "absence_of",
        "absence_limit",
        "minimum_days",
        "incidents",
        "serious_severity",
        "failing_below",
        "exits_only",
    )
    return rule_model(GradedRule(**{name: stored[name] for name in names}, calibration=stored["calibration"]))


def graded_rule(label: LabelSettings, settings: RuleSettings) -> GradedRule:
    """The rule of a label: its thresholds, where the rule's settings name no others."""
    absence = label.absence_rule if settings.attendance_below is None else None
    if absence is not None:
        limit = absence.days / SCHOOL_YEAR_DAYS if absence.days is not None else (absence.percent or 0) / 100
        thresholds: dict[str, Any] = {
            "absence_of": absence.unit,
            "absence_limit": limit,
            "minimum_days": absence.minimum_days,
        }
    else:
        below = settings.attendance_below or label.attendance_below or DEFAULT_ATTENDANCE_BELOW
        thresholds = {"absence_of": "sessions", "absence_limit": round(max(1 - below, _SMALLEST_LIMIT), DIGITS)}
    failing_below = settings.failing_below or label.failing_below or _FAILING_BY_DEFAULT
    return GradedRule(
        **thresholds,
        incidents=settings.incidents_at_least or label.incident_count or _INCIDENTS_BY_DEFAULT,
        serious_severity=label.serious_severity,
        failing_below=min(failing_below, _BEST_GRADE - _SMALLEST_LIMIT),
        exits_only=not any((label.rule, label.failing_below, label.serious_severity, label.incident_count)),
    )


def uncalibrated_rule(tenant: TenantSettings) -> RuleModel:
    """The tenant's rule before anything is learned of it."""
    return rule_model(graded_rule(tenant.label, tenant.rule))


def calibrated_rule(
    tenant: TenantSettings,
    features: pd.DataFrame,
    outcome: NDArray[np.int8],
    student: NDArray[np.int64],
    groups: NDArray[np.int64] | None = None,
) -> RuleModel:
    """The tenant's rule with the probability of each score, learned from rows of known outcome.

    A sigmoid, or isotonic steps where the evidence is for them: where their log loss out of fold (folds by student, or
    by group as in `folds_of`) is lower by more than a standard error over students. CannotLearn when the outcome has
    one class, events are of one student, or a higher score does not mean more risk.
    """
    if len(np.unique(outcome)) < 2:
        raise CannotLearn("all samples have the same outcome")
    rule = uncalibrated_rule(tenant).rule
    score = rule.grades(features)
    some = sample_rows(len(outcome), TUNING_ROWS)
    of_some = None if groups is None else groups[some]
    better = _steps_are_better(score[some], outcome[some], student[some], of_some)
    learned = _fitted("isotonic" if better else "sigmoid", score, outcome, student)
    if learned.slope <= 0:
        raise CannotLearn("a higher score of the rule does not mean more risk")
    return rule_model(rule.set_params(calibration=learned.as_json()))


def _steps_are_better(
    score: Floats, outcome: NDArray[np.int8], student: NDArray[np.int64], groups: NDArray[np.int64] | None
) -> bool:
    """Whether isotonic steps have the lower log loss out of fold, by more than a standard error."""
    losses = {}
    for kind in ("sigmoid", "isotonic"):
        log_odds = np.empty(len(outcome))
        for training, held_out in folds_of(outcome, student, _FOLDS, groups):
            fitted = _fitted(kind, score[training], outcome[training], student[training])
            log_odds[held_out] = fitted.log_odds(score[held_out])
        losses[kind] = np.logaddexp(0, log_odds) - outcome * log_odds
    unit = student if groups is None or len(np.unique(groups)) < SMALLEST_GROUPING else groups
    gain = losses["sigmoid"] - losses["isotonic"]
    of_units = np.bincount(unit, weights=gain - gain.mean())
    return bool(gain.mean() > np.sqrt(np.sum(of_units**2)) / len(gain))


def out_of_fold(
    rule: RuleModel,
    features: pd.DataFrame,
    outcome: NDArray[np.int8],
    student: NDArray[np.int64],
    groups: NDArray[np.int64] | None = None,
) -> Floats:
    """The probability of each row by a calibration of the same kind that was learned from other students."""
    learned = rule.rule.learned or _refuse()
    score = rule.grades(features)
    probability = np.empty(len(outcome))
    for training, held_out in folds_of(outcome, student, _FOLDS, groups):
        fitted = _fitted(learned.kind, score[training], outcome[training], student[training])
        probability[held_out] = expit(fitted.log_odds(score[held_out]))
    return probability


def _fitted(kind: str, score: Floats, outcome: NDArray[np.int8], student: NDArray[np.int64]) -> RuleCalibration:
    sigmoid: Calibration = fit_sigmoid(score, outcome)
    slope, intercept = round(sigmoid.slope, 9), round(sigmoid.intercept, 9)
    rows, events = len(outcome), int(outcome.sum())
    if kind == "sigmoid":
        return RuleCalibration("sigmoid", slope, intercept, (), (), rows, events)
    step = _steps(score, student)
    size = np.bincount(step).astype(np.float64)
    mean = np.bincount(step, weights=score) / size
    rate = isotonic_regression(np.bincount(step, weights=outcome) / size, sample_weight=size)
    scores = tuple(round(float(one), DIGITS) for one in mean)
    rates = tuple(round(float(one), DIGITS) for one in rate)
    return RuleCalibration("isotonic", slope, intercept, scores, rates, rows, events)


def _steps(score: Floats, student: NDArray[np.int64]) -> NDArray[np.int64]:
    """Per row its step, by score, numbered from 0: about equally many rows, and never fewer than `_STEP_STUDENTS`
    students, so that what is stored of a step is of no single one."""
    edges = np.unique(np.quantile(score, np.linspace(0, 1, _MOST_STEPS + 1)[1:-1]))
    fine = np.searchsorted(edges, score, side="right")
    merged, number, there = np.zeros(len(edges) + 1, dtype=np.int64), 0, np.empty(0, dtype=np.int64)
    for one in range(len(edges) + 1):
        merged[one] = number
        there = np.union1d(there, student[fine == one])
        if len(there) >= _STEP_STUDENTS:
            number, there = number + 1, np.empty(0, dtype=np.int64)
    if len(there) < _STEP_STUDENTS and number:
        merged[merged == number] = number - 1
    return np.asarray(merged[fine], dtype=np.int64)


def _refuse() -> NoReturn:
    raise NoProbability("The rule has no probability yet: no outcome was known from which one could be learned.")
