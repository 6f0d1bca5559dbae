"""How good a set of scores was, in the seed's words. Numbers in, numbers out; knows neither the database nor MLflow.

A metric that the data do not define (an AUC of one class, the precision of nothing) is None: never 0, never made up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

Metrics = dict[str, Any]

CLASSIFICATION_THRESHOLD = 0.5
TOP_PERCENTS = (5, 10, 20)
_DIGITS = 6
_SMALLEST_PROBABILITY = 1e-15


def evaluate(
    probability: NDArray[np.float64],
    outcome: NDArray[np.int8],
    week: NDArray[Any],
    *,
    training_samples: int,
) -> Metrics:
    """The seed's performance metrics of `probability` against `outcome` (0 or 1), arrays of equal length.

    `week` says which week's cohort each sample belongs to: the top 5, 10, 20 percent of `precision_at_k` are taken of
    each week's cohort, because that is the list a school works with. Classification at 0.5. `validation_loss` is the
    mean log loss in nats.
    """
    actual = outcome.astype(bool)
    flagged = probability >= CLASSIFICATION_THRESHOLD
    hits = int(np.sum(flagged & actual))
    wrong = int(np.sum(flagged & ~actual))
    missed = int(np.sum(~flagged & actual))
    both_classes = bool(actual.any() and not actual.all())
    clipped = np.clip(probability, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)
    loss = -float(np.mean(np.where(actual, np.log(clipped), np.log1p(-clipped)))) if len(actual) else None
    return {
        "accuracy": _ratio(int(np.sum(flagged == actual)), len(actual)),
        "precision": _ratio(hits, hits + wrong),
        "recall": _ratio(hits, hits + missed),
        "f1_score": _ratio(2 * hits, 2 * hits + wrong + missed),
        "auc_roc": round(float(roc_auc_score(actual, probability)), _DIGITS) if both_classes else None,
        "precision_at_k": {f"k{percent}": precision_at(probability, actual, week, percent) for percent in TOP_PERCENTS},
        "validation_loss": None if loss is None else round(loss, _DIGITS),
        "training_samples": int(training_samples),
        "validation_samples": len(actual),
    }


def precision_at(
    probability: NDArray[np.float64], actual: NDArray[np.bool_], week: NDArray[Any], percent: int
) -> float | None:
    """Share of events among the `percent` percent of each week's cohort with the highest probability, weeks pooled.

    At least one student a week. Where several students tie at the edge of the list, the expectation over all ways of
    breaking the tie counts: a rule with few distinct scores is then neither lucky nor unlucky.
    """
    listed = 0
    events = 0.0
    for one in np.unique(week):
        scores, outcomes = probability[week == one], actual[week == one]
        size = max(1, math.ceil(len(scores) * percent / 100))
        edge = np.sort(scores)[-size]
        above = scores > edge
        tied = scores == edge
        listed += size
        events += float(outcomes[above].sum()) + (size - int(above.sum())) * float(outcomes[tied].mean())
    return round(events / listed, _DIGITS) if listed else None


def flat_metrics(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Metrics as MLflow takes them: one level (`precision_at_k5`, `baseline.recall`), undefined ones left out."""
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        if name == "precision_at_k":
            flat.update({f"{prefix}precision_at_{k}": float(v) for k, v in value.items() if v is not None})
        elif isinstance(value, Mapping):
            flat.update(flat_metrics(value, f"{prefix}{name}."))
        elif value is not None:
            flat[f"{prefix}{name}"] = float(value)
    return flat


def calibration_bins(
    probability: NDArray[np.float64], outcome: NDArray[np.int8], bins: int = 10
) -> list[tuple[float, float, int]]:
    """(mean predicted, observed rate, samples) of `bins` groups of about equal size, ordered by prediction.

    Equal predictions stay in one group, so there may be fewer groups than asked for.
    """
    if not len(probability):
        return []
    edges = np.unique(np.quantile(probability, np.linspace(0, 1, bins + 1)[1:-1]))
    group = np.searchsorted(edges, probability, side="right")
    return [
        (float(probability[group == one].mean()), float(outcome[group == one].mean()), int(np.sum(group == one)))
        for one in np.unique(group)
    ]


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, _DIGITS) if whole else None
