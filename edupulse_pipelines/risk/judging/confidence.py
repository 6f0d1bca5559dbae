"""Confidence: how sure a prediction is of the side that its category takes. The one definition; no I/O.

Flagged (high or critical) says that an adverse event will happen within the horizon, not flagged that none will.

1. Base: the calibrated probability of that side, p when flagged and 1 - p otherwise.
2. Evidence, from 0 to 1: min(1, data_quality / full_quality) * min(1, weeks_of_data / 8). `full_quality` is what a
   student has about whom everything is known that this district sends. What the base has above one half is multiplied
   by it (a base below one half is, as a whole): about a student whom we hardly know, a coin would know as much.
3. Check: confidence is the largest value, not above the discounted base, that held-out validation bears out. For every
   threshold t up to the base: the smaller of t and the one-sided 90 % Wilson lower bound of the share of right
   sides among validation rows whose discounted base is at least t.

So of the validation predictions with confidence at least c, the side was right in at least the share c, whatever c is;
and confidence never falls with more weeks of data, with better data, or with a probability further on the side taken.
The bound is E. B. Wilson, "Probable inference, the law of succession, and statistical inference" (1927).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edupulse_pipelines.risk.judging.evaluation import wilson
from edupulse_pipelines.risk.rounding import DIGITS

FULL_HISTORY_WEEKS = 8
"""As far back as the features of the vector look."""

Floats = NDArray[np.float64]

_Z = 1.2815515655446004
"""90 % of the standard normal distribution lie below it."""
_MINIMUM_CHECKED = 10
"""Rows (students, where given) that a threshold must have at or above it to be checked at all."""
_SEGMENTS = 40
# What students have about whom everything is known: not the maximum, which one lucky student could set alone.
_FULL_QUALITY_QUANTILE = 0.9


@dataclass(frozen=True)
class ConfidenceMap:
    """Step 3 as a table, and the quality that step 2 calls full. Beyond the last knot nothing was checked: no rise.

    `floors[i]` is the lowest bound from knot i up to the next one. `knots` ascend.
    """

    knots: tuple[float, ...] = (0.0, 1.0)
    floors: tuple[float, ...] = (1.0, 1.0)
    full_quality: float = 1.0

    def __call__(self, base: Floats) -> Floats:
        """Confidence of each discounted base; never above it, never decreasing."""
        knots, floors = np.array(self.knots), np.array(self.floors)
        checked = np.minimum(base, knots[-1])
        segment = np.clip(np.searchsorted(knots, checked, side="right") - 1, 0, len(knots) - 1)
        # The best of the segments before; theirs is reached at their end.
        before = np.maximum.accumulate(np.concatenate([[0.0], np.minimum(knots[1:], floors[:-1])]))
        return np.minimum(base, np.maximum(np.minimum(checked, floors[segment]), before[segment]))

    def as_json(self) -> dict[str, Any]:
        """For `model_metadata.hyperparameters["confidence"]`."""
        return {"knots": list(self.knots), "floors": list(self.floors), "full_quality": self.full_quality}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any] | None) -> ConfidenceMap:
        """Of `as_json`; nothing stored: no check, the discounted base itself."""
        if not stored:
            return cls()
        return cls(tuple(stored["knots"]), tuple(stored["floors"]), stored["full_quality"])


def fit_confidence(
    probability: Floats,
    outcome: NDArray[np.int8],
    flagged: NDArray[np.bool_],
    *,
    data_quality: Floats | None = None,
    weeks_of_data: Floats | None = None,
    student: NDArray[np.int64] | None = None,
) -> ConfidenceMap:
    """Learn the check from held-out validation rows, all arrays of the same length.

    With `data_quality` and `weeks_of_data` the check is of the discounted base, as it will be used; without them all
    rows count as fully known. With `student` (a code) bounds count students in place of rows, because the weeks of one
    student are not independent. Fewer than ten rows (students) check nothing: confidence is then 0.5 at most.
    """
    full_quality = 1.0
    if data_quality is not None and len(data_quality):
        # Rounded down: the quality itself must reach it.
        full_quality = _down(np.quantile(np.nan_to_num(data_quality), _FULL_QUALITY_QUANTILE)) or 1.0
    quality = np.ones(len(probability)) if data_quality is None else data_quality
    weeks = np.full(len(probability), float(FULL_HISTORY_WEEKS)) if weeks_of_data is None else weeks_of_data
    base = _discounted(probability, flagged, quality, weeks, full_quality)
    right = (outcome == 1) == flagged

    order = np.argsort(-base, kind="stable")
    descending = base[order]
    rows = np.arange(1, len(order) + 1)
    independent = rows if student is None else np.cumsum(_first_of_each(student[order]))
    bound, _ = wilson(np.cumsum(right[order]) / rows, independent, _Z)
    # A threshold takes in all rows of its value: the last of them. Back to ascending thresholds.
    whole = np.flatnonzero(np.append(descending[1:] != descending[:-1], True)) if len(order) else order
    whole = whole[independent[whole] >= _MINIMUM_CHECKED][::-1]
    if not len(whole):
        return ConfidenceMap((0.0, 0.5), (0.5, 0.5), full_quality)
    threshold, bound = descending[whole], bound[whole]
    # Segments of about equally many rows; the last threshold is a segment of its own, as it ends what was checked.
    edges = np.linspace(rows[whole[0]], rows[whole[-1]], _SEGMENTS + 1)
    starts = np.unique(np.append(np.searchsorted(-rows[whole], -edges, side="left"), len(whole) - 1))
    starts = starts[starts < len(whole)]
    # Up to and including the first threshold of the next segment: bases between two thresholds select what that does.
    ends = np.append(starts[1:] + 1, len(whole))
    floors = [_down(bound[start:end].min()) for start, end in zip(starts, ends, strict=True)]
    return ConfidenceMap(tuple(threshold[starts].tolist()), tuple(floors), full_quality)


def confidence(
    checked: ConfidenceMap,
    score: Floats,
    flagged: NDArray[np.bool_],
    data_quality: Floats,
    weeks_of_data: Floats,
) -> Floats:
    """The confidence of each prediction, from 0 to 1, as the module defines it, rounded down to 6 decimals.

    `score`: calibrated probabilities; `data_quality` from 0 to 1; `weeks_of_data` in school weeks.
    """
    base = _discounted(score, flagged, data_quality, weeks_of_data, checked.full_quality)
    # To the nearest thousandth of a unit first: 0.7 * 1,000,000 must not become 699,999.
    return np.asarray(np.floor(np.round(checked(base) * 10**DIGITS, 3)) / 10**DIGITS, dtype=np.float64)


def evidence(data_quality: Floats, weeks_of_data: Floats, full_quality: float = 1.0) -> Floats:
    """How much is known of each student, from 0 to 1; never falls with either argument. Missing quality is none."""
    quality = np.nan_to_num(np.asarray(data_quality, dtype=np.float64)) / full_quality
    history = np.nan_to_num(np.asarray(weeks_of_data, dtype=np.float64)) / FULL_HISTORY_WEEKS
    product: Floats = np.clip(quality, 0.0, 1.0) * np.clip(history, 0.0, 1.0)
    return product


def _discounted(
    score: Floats, flagged: NDArray[np.bool_], data_quality: Floats, weeks_of_data: Floats, full_quality: float
) -> Floats:
    base = np.where(flagged, score, 1.0 - score)
    share = evidence(data_quality, weeks_of_data, full_quality)
    discounted: Floats = np.where(base >= 0.5, 0.5 + (base - 0.5) * share, base * share).astype(np.float64)
    return np.round(discounted, DIGITS)


def _first_of_each(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """1 where a code occurs for the first time, else 0."""
    first = np.zeros(len(codes), dtype=np.int64)
    first[np.unique(codes, return_index=True)[1]] = 1
    return first


def _down(value: float) -> float:
    return math.floor(round(float(value) * 10**DIGITS, 3)) / 10**DIGITS
