"""A figure with the interval of its bootstrap replicates, as every decision stores it."""

from __future__ import annotations

import math

import numpy as np

from edupulse_pipelines.risk.judging.evaluation import Floats
from edupulse_pipelines.risk.rounding import DIGITS

INTERVAL = (0.025, 0.975)
"""Quantiles of the replicates that the stored intervals `low` to `high` span."""
NOTHING = 1e-9
"""Below this a difference is the rounding of a sum, not a lead."""


def figure(values: Floats) -> dict[str, float | None]:
    """The figure of the data (first) with the interval of the replicates (the rest); None where undefined."""
    rest = values[1:][~np.isnan(values[1:])]
    low, high = np.quantile(rest, INTERVAL) if len(rest) else (math.nan, math.nan)
    return {"value": _number(values[0]), "low": _number(low), "high": _number(high)}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), DIGITS) + 0.0
