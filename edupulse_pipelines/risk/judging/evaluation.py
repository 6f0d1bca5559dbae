"""How good a set of scores was: the seed's metrics, and every figure in long form. Numbers in, numbers out.

AUC, average precision, Brier score and log loss are scikit-learn's. Ours are the figures it does not have; the
docstring of each says what is missing there: lists of a week's cohort with ties at their end, calibration by groups,
the recalibration line, Wilson's interval of many shares at once.

Knows neither the database nor MLflow, and decides nothing; `promotion` decides. A metric that the data do not define
(an AUC of one class, the precision of nothing) is None: never 0, never made up. Figures are rounded to 6 decimals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as scikit

from edupulse_pipelines.risk.judging.suppression import STEP, groups, told_count, told_figure, told_rate
from edupulse_pipelines.risk.rounding import DIGITS

Metrics = dict[str, Any]
Floats = NDArray[np.float64]

CLASSIFICATION_THRESHOLD = 0.5
TOP_PERCENTS = (5, 10, 20)
CALIBRATION_BINS = 10
Z_95 = 1.959963984540054
"""Two-sided 95 % of the normal distribution."""
CAPACITY = "capacity"
"""Parameter of a metric that is taken at the share of each week's cohort which the tenant can help."""

# (metric, parameter) of the figures of a subgroup, in order.
_SUBGROUP_FIGURES = (
    ("base_rate", ""),
    ("auc_roc", ""),
    ("precision_at", CAPACITY),
    ("false_negative_rate", CAPACITY),
    ("recall_ratio", CAPACITY),
    ("calibration_error", ""),
)
_SMALLEST_PROBABILITY = 1e-15
# A recalibration this steep per standard deviation of the log-odds has no finite answer: the classes are separated.
_SEPARATED = 30.0


@dataclass(frozen=True)
class Measure:
    """One figure: one row of `model_evaluations`."""

    metric: str
    parameter: str
    """What the metric is taken at (`k10`, `capacity`, a feature); empty where there is none."""
    subgroup: str
    """`attribute=value`; empty for everybody."""
    value: float | None
    """None: not defined."""
    samples: int | None
    """Student-weeks it was measured on; of a subgroup, to the nearest step (`suppression`)."""


def evaluate(
    probability: Floats,
    outcome: NDArray[np.int8],
    week: NDArray[Any],
    *,
    training_samples: int,
) -> Metrics:
    """The seed's performance metrics of `probability` against `outcome` (0 or 1), arrays of equal length, and ours.

    `week` says which week's cohort each sample belongs to: the top 5, 10, 20 percent of `precision_at_k` and
    `recall_at_k` are taken of each week's cohort, because that is the list a school works with. Classification at 0.5.
    `validation_loss` is the mean log loss in nats.
    """
    actual = outcome.astype(bool)
    flagged = probability >= CLASSIFICATION_THRESHOLD
    hits = int(np.sum(flagged & actual))
    wrong = int(np.sum(flagged & ~actual))
    missed = int(np.sum(~flagged & actual))
    top = {f"k{percent}": listed(probability, week, percent / 100) for percent in TOP_PERCENTS}
    return {
        "accuracy": _ratio(int(np.sum(flagged == actual)), len(actual)),
        "precision": _ratio(hits, hits + wrong),
        "recall": _ratio(hits, hits + missed),
        "f1_score": _ratio(2 * hits, 2 * hits + wrong + missed),
        "auc_roc": auc_roc(probability, actual),
        "precision_at_k": {name: _share_of_events(on_list, actual) for name, on_list in top.items()},
        "validation_loss": log_loss(probability, actual),
        "training_samples": int(training_samples),
        "validation_samples": len(actual),
        "average_precision": average_precision(probability, actual),
        "brier_score": brier_score(probability, actual),
        "calibration_error": calibration_error(probability, outcome),
        "recall_at_k": {name: _share_on_list(on_list, actual) for name, on_list in top.items()},
    }


def measures(
    probability: Floats,
    outcome: NDArray[np.int8],
    week: NDArray[Any],
    *,
    capacity: float,
    subgroups: Mapping[str, NDArray[Any]],
    student: NDArray[Any],
    minimum_subgroup: int = 10,
) -> list[Measure]:
    """Every figure of `probability` against `outcome`, for everybody and for each subgroup, in a fixed order.

    Arrays of equal length, a row a student-week; `student` is a code per student, `week` one per cohort, `subgroups`
    maps an attribute to its value in each row (None or NaN: not recorded). `capacity` is the share of each week's
    cohort that the school can help: precision, recall and the false-negative rate "at capacity" are of the list made of
    everybody, also within a subgroup. Of which groups there are figures, and how coarse these are, is said in
    `suppression`: those of everybody are exact.

    Definitions: `recall_ratio` is a group's recall at capacity as a share of everybody's; `log_loss` in nats;
    `calibration_error`: mean distance between predicted and observed rate over 10 groups of equal size;
    `calibration_slope`: of a logistic regression of the outcome on the log-odds (1 is right, less is overconfident);
    `calibration_intercept`: what has to be added to the log-odds with the slope held at 1 (Van Calster et al. 2019,
    "Calibration: the Achilles heel of predictive analytics").
    """
    actual = outcome.astype(bool)
    at_capacity = listed(probability, week, capacity)
    figures: list[Measure] = []
    everyone = len(actual)

    def add(metric: str, value: float | None, parameter: str = "") -> None:
        figures.append(Measure(metric, parameter, "", value, everyone))

    slope, intercept = calibration_line(probability, actual)
    for metric, value in (
        ("auc_roc", auc_roc(probability, actual)),
        ("average_precision", average_precision(probability, actual)),
        ("brier_score", brier_score(probability, actual)),
        ("log_loss", log_loss(probability, actual)),
        ("calibration_error", calibration_error(probability, outcome)),
        ("calibration_slope", slope),
        ("calibration_intercept", intercept),
        ("base_rate", _ratio(int(actual.sum()), everyone)),
    ):
        add(metric, value)
    lists = {f"k{percent}": listed(probability, week, percent / 100) for percent in TOP_PERCENTS}
    for parameter, on_list in {**lists, CAPACITY: at_capacity}.items():
        add("precision_at", _share_of_events(on_list, actual), parameter)
        add("recall_at", _share_on_list(on_list, actual), parameter)
    add("false_negative_rate", _share_missed(at_capacity, actual), CAPACITY)

    recall = _share_on_list(at_capacity, actual)
    for group in groups(subgroups, student, minimum_subgroup):
        values = _of_group(probability[group.rows], actual[group.rows], at_capacity[group.rows], recall)
        samples = told_count(len(group.rows), minimum_subgroup, len(np.unique(week[group.rows])))
        figures += [
            Measure(metric, parameter, group.name, value, samples)
            for (metric, parameter), value in zip(_SUBGROUP_FIGURES, values, strict=True)
        ]
    return figures


def _of_group(
    probability: Floats, actual: NDArray[np.bool_], on_list: Floats, recall: float | None
) -> tuple[float | None, ...]:
    """`_SUBGROUP_FIGURES` of a group's rows as they may be told; `recall` is everybody's at capacity."""
    events, caught = int(actual.sum()), float(on_list[actual].sum())
    recall_of = caught / events if events >= 2 * STEP else None
    return (
        told_rate(events, len(actual)),
        told_figure(auc_roc(probability, actual)) if events >= STEP else None,
        told_rate(caught, float(on_list.sum())),
        told_figure(None if recall_of is None else 1 - recall_of),
        told_figure(recall_of / recall) if recall and recall_of is not None else None,
        told_figure(calibration_error(probability, actual)),
    )


def list_size(cohort: int, share: float) -> int:
    """How many students a list of `share` of the cohort holds: rounded up, at least one."""
    return max(1, math.ceil(round(cohort * share, 6)))  # 30 * 0.1 is 3.0000000000000004


def listed(probability: Floats, week: NDArray[Any], share: float) -> Floats:
    """How surely each row is on its week's list of the `share` with the highest probability: from 0 to 1.

    At least one student a week. Where several students tie at the edge of the list, each is on it in a part of all ways
    of breaking the tie: a rule with few distinct scores is then neither lucky nor unlucky. scikit-learn knows lists of
    the best classes of a row (`top_k_accuracy_score`), not of the best rows of a week.
    """
    on_list = np.zeros(len(probability))
    for number in np.unique(week):
        rows = np.flatnonzero(week == number)
        scores = probability[rows]
        size = list_size(len(rows), share)
        edge = np.partition(scores, len(scores) - size)[len(scores) - size]
        above, tied = scores > edge, scores == edge
        on_list[rows[above]] = 1.0
        on_list[rows[tied]] = (size - int(above.sum())) / int(tied.sum())
    return on_list


def precision_at(probability: Floats, actual: NDArray[np.bool_], week: NDArray[Any], percent: float) -> float | None:
    """Share of events among the `percent` percent of each week's cohort with the highest probability, weeks pooled."""
    return _share_of_events(listed(probability, week, percent / 100), actual)


def auc_roc(probability: Floats, actual: NDArray[np.bool_]) -> float | None:
    """Chance that an event has a higher score than another student-week, ties counting half; None with one class."""
    if actual.all() or not actual.any():
        return None
    return round(float(scikit.roc_auc_score(actual, probability)), DIGITS)


def average_precision(probability: Floats, actual: NDArray[np.bool_]) -> float | None:
    """Precision at each distinct score, weighted by the recall gained there; None without events."""
    if not actual.any():
        return None
    return round(float(scikit.average_precision_score(actual, probability)), DIGITS)


def brier_score(probability: Floats, actual: NDArray[np.bool_]) -> float | None:
    """Mean squared distance between probability and outcome; None without rows."""
    return round(float(scikit.brier_score_loss(actual, probability)), DIGITS) if len(actual) else None


def log_loss(probability: Floats, actual: NDArray[np.bool_]) -> float | None:
    """Mean log loss in nats, of probabilities kept 1e-15 away from 0 and 1; None without rows."""
    if not len(actual):
        return None
    return round(float(scikit.log_loss(actual, _inside(probability), labels=[False, True])), DIGITS)


def losses(probability: Floats, actual: NDArray[np.bool_]) -> Floats:
    """The log loss of each row, whose mean `log_loss` is."""
    inside = _inside(probability)
    return -np.where(actual, np.log(inside), np.log1p(-inside))


def _inside(probability: Floats) -> Floats:
    """Probabilities of which there is a finite logarithm."""
    return np.clip(probability, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)


def calibration_error(probability: Floats, outcome: NDArray[Any], bins: int = CALIBRATION_BINS) -> float | None:
    """Mean distance between predicted and observed rate over `bins` groups of about equal size (`calibration_bins`).

    scikit-learn's `calibration_curve` gives the rates without the sizes of the groups, which weight the mean.
    Chance alone gives more than 0, and the more the fewer samples there are; `promotion` allows for that.
    """
    groups = calibration_bins(probability, outcome, bins)
    if not groups:
        return None
    distance = sum(samples * abs(predicted - observed) for predicted, observed, samples in groups)
    return round(distance / len(probability), DIGITS)


def calibration_line(probability: Floats, actual: NDArray[np.bool_]) -> tuple[float | None, float | None]:
    """(slope, intercept) of the logistic recalibration; the intercept is that of a slope of 1.

    None where nothing finite fits: one class only, equal scores (no slope), or classes that the scores separate.
    scikit-learn's `LogisticRegression` cannot hold a slope at 1 (it takes no offset), and of separated classes it gives
    whatever number its last step reached.
    """
    if not actual.any() or actual.all():
        return None, None
    inside = _inside(probability)
    log_odds = np.log(inside) - np.log1p(-inside)
    constant = np.ones((len(actual), 1))
    intercept = _logistic(constant, log_odds, actual)
    slope = None
    spread = float(log_odds.std())
    if spread > 1e-9:
        scaled = (log_odds - log_odds.mean()) / spread
        fitted = _logistic(np.column_stack([constant, scaled]), np.zeros(len(actual)), actual)
        slope = None if fitted is None else round(float(fitted[1]) / spread, DIGITS)
    return slope, None if intercept is None else round(float(intercept[0]), DIGITS)


def _logistic(inputs: Floats, offset: Floats, actual: NDArray[np.bool_]) -> Floats | None:
    """Coefficients of an unpenalised logistic regression (Newton's method, steps held short); None without a limit."""
    coefficients = np.zeros(inputs.shape[1])
    for _ in range(100):
        fitted = 1 / (1 + np.exp(-np.clip(inputs @ coefficients + offset, -500, 500)))
        curvature = inputs.T @ (inputs * (fitted * (1 - fitted))[:, None])
        try:
            step = np.linalg.solve(curvature, inputs.T @ (actual - fitted))
        except np.linalg.LinAlgError:
            return None
        longest = float(np.abs(step).max())
        if not math.isfinite(longest):
            return None
        coefficients = coefficients + step * min(1.0, 2.0 / longest if longest else 1.0)
        if longest < 1e-9:
            return coefficients
        if inputs.shape[1] > 1 and np.abs(coefficients).max() > _SEPARATED:
            return None
    return None


def wilson(share: Any, samples: Any, z: float = Z_95) -> tuple[Floats, Floats]:
    """The interval of a share seen among so many samples (numbers or arrays of one shape; at least one sample).

    Two-sided 95 % by default; either end alone is one-sided. E. B. Wilson, JASA 22 (1927). SciPy's
    `binomtest(count, samples).proportion_ci(method="wilson")` gives the same to the last digit, but of one whole count
    at a time: here come thousands at once, and shares of rows counted as so many students, which are no whole counts.
    """
    share = np.asarray(share, dtype=np.float64)
    centre = (share + z**2 / (2 * samples)) / (1 + z**2 / samples)
    half = z / (1 + z**2 / samples) * np.sqrt(share * (1 - share) / samples + z**2 / (4 * samples**2))
    # Rounding must not part a share of all or nothing from its bound.
    low = np.where(share == 0, 0.0, np.maximum(0.0, centre - half))
    high = np.where(share == 1, 1.0, np.minimum(1.0, centre + half))
    return low, high


def flat_metrics(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Metrics as MLflow takes them: one level (`precision_at_k5`, `baseline.recall`), undefined ones left out."""
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        if name in ("precision_at_k", "recall_at_k"):
            stem = name.removesuffix("_k")
            flat.update({f"{prefix}{stem}_{k}": float(v) for k, v in value.items() if v is not None})
        elif isinstance(value, Mapping):
            flat.update(flat_metrics(value, f"{prefix}{name}."))
        elif value is not None:
            flat[f"{prefix}{name}"] = float(value)
    return flat


def calibration_groups(probability: Floats, bins: int = CALIBRATION_BINS) -> NDArray[np.int64]:
    """Per row its group: `bins` groups of about equal size, ordered by prediction, numbered from 0 without gaps.

    Equal predictions stay in one group, so there may be fewer groups than asked for.
    """
    if not len(probability):
        return np.empty(0, dtype=np.int64)
    edges = np.unique(np.quantile(probability, np.linspace(0, 1, bins + 1)[1:-1]))
    group = np.searchsorted(edges, probability, side="right")
    return np.unique(group, return_inverse=True)[1].astype(np.int64)


def calibration_bins(
    probability: Floats, outcome: NDArray[Any], bins: int = CALIBRATION_BINS
) -> list[tuple[float, float, int]]:
    """(mean predicted, observed rate, samples) of each of `calibration_groups`."""
    group = calibration_groups(probability, bins)
    samples = np.bincount(group)
    predicted = np.bincount(group, weights=probability) / samples
    observed = np.bincount(group, weights=outcome) / samples
    return [(float(p), float(o), int(n)) for p, o, n in zip(predicted, observed, samples, strict=True)]


def _share_of_events(on_list: Floats, actual: NDArray[np.bool_]) -> float | None:
    """Precision: of those on the list, the share with an event; None when nobody is."""
    return _ratio(float(on_list[actual].sum()), float(on_list.sum()))


def _share_on_list(on_list: Floats, actual: NDArray[np.bool_]) -> float | None:
    """Recall: of those with an event, the share on the list; None when there is none."""
    return _ratio(float(on_list[actual].sum()), int(actual.sum()))


def _share_missed(on_list: Floats, actual: NDArray[np.bool_]) -> float | None:
    """False-negative rate: of those with an event, the share that is not on the list; None when there is none."""
    return _ratio(float((1 - on_list[actual]).sum()), int(actual.sum()))


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, DIGITS) if whole else None
