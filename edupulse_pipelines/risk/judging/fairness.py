"""Whether a challenger's lists serve every subgroup: the gate's condition on subgroups.

Pure: replicates of `promotion` in, figures and a verdict out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

from edupulse_pipelines.risk.judging.evaluation import Floats, subgroup_rows
from edupulse_pipelines.risk.judging.replicates import NOTHING, figure
from edupulse_pipelines.risk.rounding import DIGITS
from edupulse_pipelines.settings import PromotionSettings

SUBGROUP_CERTAINTY = 0.95
"""How sure it must be that a subgroup is missed too often before that stops a promotion."""


@dataclass(frozen=True)
class Missed:
    """Events that are not on the list, of the data (position 0) and of each replicate; NaN = not defined there."""

    share: Floats
    """The false-negative rate of everybody, shape (1 + replicates,)."""
    share_of: Floats
    """The same of each subgroup, shape (subgroups, 1 + replicates)."""
    rows: Floats
    """In the data: per row with an event, how surely the list leaves it out, 0 to 1."""


def judged_subgroups(
    subgroups: Mapping[str, NDArray[Any]], student: NDArray[np.int64], minimum: int
) -> tuple[list[tuple[str, NDArray[np.int64]]], list[str]]:
    """(subgroup, rows) of those with enough students, and the names of those that are too small even together."""
    shown, suppressed = [], []
    for subgroup, rows in subgroup_rows(subgroups, student, minimum):
        if len(np.unique(student[rows])) >= minimum:
            shown.append((subgroup, rows))
        else:
            suppressed.append(subgroup)
    return shown, suppressed


def subgroup_condition(
    shown: Sequence[tuple[str, NDArray[np.int64]]],
    suppressed: Sequence[str],
    missed: Missed,
    actual: NDArray[np.bool_],
    student: NDArray[np.int64],
    settings: PromotionSettings,
    numbers: dict[str, Any],
) -> bool:
    """Whether no subgroup is missed more often than its bounds allow; the figures go to `numbers`.

    Arguments as `promotion.decide` explains them: `shown` and `suppressed` of `judged_subgroups`, `actual` and
    `student` per student-week.
    """
    everybody = missed.share
    rows_of: list[dict[str, Any]] = []
    for i, (subgroup, rows) in enumerate(shown):
        rates = missed.share_of[i]
        bounds = {"gap": everybody + settings.fnr_gap}
        if settings.maximum_false_negative_rate is not None:
            bounds["maximum"] = np.full_like(everybody, settings.maximum_false_negative_rate)
        certainty = {
            name: _certainty_above(rates, bound, missed.rows, rows[actual[rows]], student)
            for name, bound in bounds.items()
        }
        over = [name for name, sure in certainty.items() if sure is not None and sure >= SUBGROUP_CERTAINTY]
        rows_of.append(
            {
                "subgroup": subgroup,
                "students": len(np.unique(student[rows])),
                **figure(rates),
                **{f"certainty_above_{name}": sure for name, sure in certainty.items()},
                "passed": not over,
            }
        )
    passed = all(row["passed"] for row in rows_of)
    numbers["false_negative_rate"] = {
        "everybody": figure(everybody),
        "gap": settings.fnr_gap,
        "maximum": settings.maximum_false_negative_rate,
        "certainty": SUBGROUP_CERTAINTY,
        "subgroups": rows_of,
        "minimum_subgroup": settings.minimum_subgroup,
        "suppressed": list(suppressed),
        "passed": passed,
    }
    return passed


def _certainty_above(
    rates: Floats,
    bounds: Floats,
    missed: Floats,
    events: NDArray[np.int64],
    student: NDArray[np.int64],
) -> float | None:
    """How sure it is that a rate lies above its bound: the lesser of bootstrap and exact test; 0 when it does not.

    `rates` and `bounds` by replicate, the data themselves first; `missed` per row, in the data; `events` the subgroup's
    rows with an event. None without any.
    """
    if not len(events):
        return None
    if rates[0] - bounds[0] <= NOTHING:
        return 0.0
    defined = ~np.isnan(rates[1:])
    if not defined.any():
        return None
    replicates = float(np.mean((rates[1:] - bounds[1:] > NOTHING)[defined]))
    # One trial a student, because the weeks of one student are no independent trials.
    _, who = np.unique(student[events], return_inverse=True)
    trials = int(who.max()) + 1
    misses = float(np.sum(np.bincount(who, weights=missed[events]) / np.bincount(who)))
    # The binomial tail P(X >= misses), which the incomplete beta function continues between whole numbers.
    by_chance = float(betainc(misses, trials - misses + 1, bounds[0])) if misses > 0 else 1.0
    return round(min(replicates, 1 - by_chance), DIGITS)
