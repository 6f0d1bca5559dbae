"""Whether this week's students still look like those a model learned from: population stability, and event rates.

Numbers in, numbers out. Reads no table and decides nothing; what is measured each week, and what follows from it, is in
`health`.

*Population stability index* (PSI) of a feature: sum over bins of (p - q) ln(p / q), q being the shares of the reference
and p those of now; the symmetrised Kullback-Leibler divergence. Bins are the reference's deciles, a bin for values
below or above where a tenth or more of the reference sits on its lowest or highest value, and one for missing values:
a domain that stops coming is drift, too. By convention (N. Siddiqi, *Credit Risk Scorecards*, 2006) below 0.1 nothing
has changed, from 0.25 on the population is another one.

Samples of finite size differ by chance: without any change the index is distributed as (1/n + 1/m) times a chi-squared
variable with (bins - 1) degrees of freedom (B. Yurdakul, J. Naranjo, *Statistical properties of the population
stability index*, J. Risk Model Validation 14, 2020). `psi` therefore gives the part that chance does not explain: the
index minus the 95th percentile of that distribution, and 0 where it is below. A class of twelve raises no alarm by
being twelve; of a district with thousands of students next to nothing is taken off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edupulse_pipelines.risk.judging.evaluation import wilson
from edupulse_pipelines.risk.rounding import DIGITS

STABLE_BELOW = 0.1
"""A population stability index below this is no change."""
CHANGED_FROM = 0.25
"""From this on the population is another one."""

_BINS = 10
# Half of the last digit that features are rounded to: an edge between a value and the next lower one.
_JUST_BELOW = 0.5 * 10.0**-DIGITS

Floats = NDArray[np.float64]


class Reference(TypedDict):
    """How one feature was distributed in what a model learned from; plain JSON."""

    edges: list[float]
    """Upper ends of all bins but the last, which has none; a value on an edge belongs below it."""
    shares: list[float]
    """Share of the reference in each bin, then the share of missing values."""
    samples: int
    """How many independent samples the shares rest on: students, where they repeat."""


class EventRate(TypedDict):
    """How often the adverse event happened in what a model learned from; plain JSON."""

    rate: float
    samples: int


class ModelReference(TypedDict):
    """What drift of a model is measured against; stored with it."""

    features: dict[str, Reference]
    score: Reference
    event_rate: EventRate


def model_reference(
    features: pd.DataFrame,
    student: NDArray[np.int64],
    outcome: NDArray[np.int8],
    score: Floats,
    score_student: NDArray[np.int64],
) -> ModelReference:
    """The reference of a model: features and outcomes of the weeks it was judged on, and its scores there.

    `student` says whose each row is: weeks of one student are not independent. `score` should be the validation's,
    because a model is surer of the students it learned from than of anybody else. ValueError without rows.
    """
    if not len(features) or not len(score):
        raise ValueError("a reference needs at least one row and one score")
    return {
        "features": reference(features, len(np.unique(student))),
        "score": reference(pd.DataFrame({"score": score}), len(np.unique(score_student)))["score"],
        "event_rate": {"rate": round(float(np.mean(outcome)), DIGITS), "samples": len(np.unique(student))},
    }


def reference(frame: pd.DataFrame, samples: int | None = None) -> dict[str, Reference]:
    """The distribution of every column of `frame` (numbers, NaN = missing), by column.

    `samples`: on how many independent samples the rows rest, where that is not each of them.
    """
    return {
        str(name): _reference(frame[name].to_numpy(np.float64), len(frame) if samples is None else samples)
        for name in frame.columns
    }


def psi(references: Mapping[str, Reference], frame: pd.DataFrame) -> dict[str, float | None]:
    """The population stability index of every feature of the reference against the columns of `frame`, beyond chance.

    None for a column that is not there, and for all of them when `frame` has no rows or the reference had none. Columns
    without a reference are ignored.
    """
    return {
        name: _stability(expected, frame[name].to_numpy(np.float64)) if name in frame.columns else None
        for name, expected in references.items()
    }


def event_rate_change(expected: EventRate, outcome: NDArray[np.int8]) -> tuple[float, float, float] | None:
    """(difference, low, high): how much more often the event happens now than in the reference, with its 95 % interval.

    R. G. Newcombe's hybrid score interval of a difference (Statistics in Medicine 17, 1998, method 10). `outcome` has
    one row a student. None without rows.
    """
    now = len(outcome)
    if not now or not expected["samples"]:
        return None
    rate, before = float(np.mean(outcome)), expected["rate"]
    low, high = wilson(rate, now)
    low_before, high_before = wilson(before, expected["samples"])
    difference = rate - before
    return (
        round(difference, DIGITS),
        round(difference - math.hypot(rate - low, high_before - before), DIGITS),
        round(difference + math.hypot(high - rate, before - low_before), DIGITS),
    )


def _reference(values: Floats, samples: int) -> Reference:
    recorded = np.sort(values[~np.isnan(values)])
    edges: list[float] = []
    if len(recorded):
        # Quantiles that occur, so that a sample and its copy have the same.
        inner = np.quantile(recorded, np.arange(1, _BINS) / _BINS, method="inverted_cdf")
        lowest, highest = float(recorded[0]), float(recorded[-1])
        edges = sorted({round(float(edge), DIGITS) for edge in inner if edge < highest})
        if inner[0] <= lowest:
            edges.insert(0, round(lowest - _JUST_BELOW, DIGITS + 1))
        if inner[-1] >= highest:
            edges.append(round(highest + _JUST_BELOW, DIGITS + 1))
    counts = _counts(values, edges)
    return {
        "edges": edges,
        "shares": [round(share, DIGITS + 2) for share in (counts / max(1, len(values))).tolist()],
        "samples": min(samples, len(values)),
    }


def _counts(values: Floats, edges: Sequence[float]) -> Floats:
    """How many values lie in each bin, and how many are missing."""
    missing = np.isnan(values)
    inside = np.bincount(np.searchsorted(edges, values[~missing], side="left"), minlength=len(edges) + 1)
    return np.append(inside, missing.sum()).astype(np.float64)


def _stability(expected: Reference, values: Floats) -> float | None:
    if not len(values) or not expected["samples"]:
        return None
    counts, shares = _counts(values, expected["edges"]), np.array(expected["shares"])
    before, now = expected["samples"], len(values)
    seen = (counts > 0) | (shares > 0)  # a bin that neither holds says nothing
    bins = int(seen.sum())
    # No share may be 0: the reference gets one more sample, spread over the bins. Now gets one more a bin, distributed
    # like the reference, or an empty bin of a small cohort would count for far more than chance explains.
    q = (shares[seen] * before + 1 / bins) / (before + 1)
    p = (counts[seen] + bins * q) / (now + bins)
    index = float(np.sum((p - q) * np.log(p / q)))
    freedom = bins - 1
    chance = _chi_squared_95(freedom) * (1 / now + 1 / before) if freedom else 0.0
    return round(max(0.0, index - chance), DIGITS)


def _chi_squared_95(freedom: int) -> float:
    """95th percentile of the chi-squared distribution; Wilson and Hilferty's approximation (PNAS 17, 1931)."""
    part = 2 / (9 * freedom)
    return float(freedom * (1 - part + 1.644854 * math.sqrt(part)) ** 3)


def as_reference(stored: Any) -> ModelReference | None:
    """A model's stored reference (`hyperparameters["reference"]`); None when the model has none, or not this kind."""
    if isinstance(stored, Mapping) and {"features", "score", "event_rate"} <= set(stored):
        return stored  # type: ignore[return-value]
    return None
