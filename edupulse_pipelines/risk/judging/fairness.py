"""Whether a challenger's lists serve every group of students: the gate's condition on subgroups.

Of each group, and of each intersection of two, two things are judged on the held-out student-weeks:

- the recall ratio at capacity: of its events, the share that is on the list, as a share of everybody's;
- calibration: how far the share with an event lies from the mean predicted probability.

A group fails when it is sure that its ratio is below `recall_ratio`, or its calibration further off than
`subgroup_calibration`. How sure depends on how many of its students have an event: as sure as leaves a power of 95 %
to find a group with half of everybody's recall, at most 95 %. Where that would be less than 65 %, such a group could
not be told from chance, and the outcome is "cannot be judged", with the power that there is and the number of students
it takes. Pure. What is told of a group is as coarse as `suppression` demands.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from edupulse_pipelines.risk.judging.evaluation import Floats, listed
from edupulse_pipelines.risk.judging.replicates import INTERVAL, NOTHING
from edupulse_pipelines.risk.judging.suppression import (
    STEP,
    Group,
    groups,
    told_count,
    told_figure,
)
from edupulse_pipelines.settings import PromotionSettings

Outcome = Literal["passed", "failed", "cannot_be_judged"]

HALF = 0.5
"""The recall ratio that a group has to be found with."""
POWER = 0.95
"""How likely a group with half of everybody's recall has to be found, were its students independent trials. Students
of one list are not quite: simulated districts come to 90 % and more (benchmark `fairness`)."""
SUREST, LEAST_SURE = 0.95, 0.65
"""How sure a failure has to be: at most, and at least."""
CALIBRATION_CERTAINTY = 0.95

_BATCH = 64  # replicates at a time
_STREAM = 2  # of random numbers: the gate's other conditions have the ones before


@dataclass(frozen=True)
class _Sums:
    """Sums over the rows of everybody (first) and of each group: of the data (row 0) and of each replicate."""

    events: Floats
    caught: Floats
    """Events on the list."""
    rows: Floats
    predicted: Floats

    @property
    def recall(self) -> Floats:
        """NaN without an event."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.caught / self.events)

    @property
    def ratio(self) -> Floats:
        """Of recall, against everybody's; NaN where either is not defined, or everybody's is 0."""
        recall = self.recall
        with np.errstate(invalid="ignore", divide="ignore"):
            found = recall / recall[:, :1]
        return np.where(np.isfinite(found), found, np.nan)

    @property
    def miscalibration(self) -> Floats:
        """Share with an event less mean predicted probability."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((self.events - self.predicted) / self.rows)


def judge_fairness(
    probability: Floats,
    actual: NDArray[np.bool_],
    week: NDArray[Any],
    student: NDArray[np.int64],
    subgroups: Mapping[str, NDArray[Any]],
    settings: PromotionSettings,
    seed: int,
    pairs: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Every group's figures and outcome as JSON; `passed` unless a group failed.

    Arrays of equal length, a row a student-week: the challenger's probabilities, whether the event happened, the
    cohort, a code of the student from 0, and by attribute its value. `pairs`: attributes whose intersections are
    judged. Replicates draw students with all their weeks; the lists are those of the data. Eight arguments: the arrays
    are those of the gate.
    """
    told = groups(subgroups, student, settings.minimum_subgroup, pairs)
    sums = _summed(probability, actual, listed(probability, week, settings.capacity), student, told, settings, seed)
    recall = float(sums.recall[0, 0])
    rows = [
        _judged(group, number, sums, _who(student, group.rows), _who(student, group.rows[actual[group.rows]]), settings)
        for number, group in enumerate(told, start=1)
    ]
    compared = {row["subgroup"].partition("=")[0] for row in rows}
    return {
        "everybody": {"recall": _exact(recall)},
        "recall_ratio": settings.recall_ratio,
        "calibration": settings.subgroup_calibration,
        "gap": settings.fnr_gap,
        "maximum": settings.maximum_false_negative_rate,
        "power": POWER,
        "minimum_subgroup": settings.minimum_subgroup,
        "audited": list(subgroups),
        "intersections": [list(pair) for pair in pairs],
        "not_compared": [name for name in subgroups if name not in compared],
        "subgroups": rows,
        "cannot_be_judged": sum(row["outcome"] == "cannot_be_judged" for row in rows),
        "passed": all(row["outcome"] != "failed" for row in rows),
    }


def certainty_required(event_students: float, recall: float, bound: float) -> float:
    """How sure a failure of a group of so many students with an event has to be; between 0 and `SUREST`.

    As sure as leaves `POWER` to find half of everybody's `recall`. Each student counts as one trial, because the weeks
    of a student go together.
    """
    error = _error_of_half(event_students, recall)
    if error is None:
        return 0.0
    return float(min(SUREST, ndtr((bound - HALF) / error - ndtri(POWER))))


def power_at(certainty: float, event_students: float, recall: float, bound: float) -> float:
    """How likely a group of so many students with an event and half of everybody's recall fails at that certainty."""
    error = _error_of_half(event_students, recall)
    return 0.0 if error is None else float(ndtr((bound - HALF) / error - ndtri(certainty)))


def students_needed(recall: float, bound: float) -> int | None:
    """How many students with an event it takes to be judged; None where no number would do."""
    if not 0 < recall <= 1 or bound <= HALF:
        return None
    half = HALF * recall
    spread = (ndtri(LEAST_SURE) + ndtri(POWER)) / (bound - HALF) / recall
    return math.ceil(half * (1 - half) * spread**2)


def _error_of_half(event_students: float, recall: float) -> float | None:
    """The standard error of the recall ratio of a group with half of everybody's recall."""
    if event_students <= 0 or not 0 < recall <= 1:
        return None
    half = HALF * recall
    return math.sqrt(half * (1 - half) / event_students) / recall


def _who(student: NDArray[np.int64], rows: NDArray[np.int64]) -> int:
    """How many students some rows are of."""
    return len(np.unique(student[rows]))


def _judged(
    group: Group,
    number: int,
    sums: _Sums,
    students: int,
    event_students: int,
    settings: PromotionSettings,
) -> dict[str, Any]:
    """One group's row. The figures are told; the verdict is of the exact ones, but for the number of students."""
    bound, minimum, recall = settings.recall_ratio, settings.minimum_subgroup, float(sums.recall[0, 0])
    told = told_count(event_students, minimum)
    required = certainty_required(told, recall, bound)
    can = required >= LEAST_SURE
    ratio, off = sums.ratio[:, number], sums.miscalibration[:, number]
    failures = list(_failures(ratio, off, sums, number, required if can else None, settings))
    outcome: Outcome = "failed" if failures else "passed" if can else "cannot_be_judged"
    shown = sums.events[0, number] >= 2 * STEP and recall > 0
    return {
        "subgroup": group.name,
        **({} if group.crossed else {"students": told_count(students, minimum)}),
        "event_students": told,
        "value": told_figure(float(ratio[0])) if shown else None,
        **(_interval(ratio) if shown else {"low": None, "high": None}),
        "certainty": told_figure(_certainty(ratio < bound - NOTHING, ratio)) if shown else None,
        "certainty_required": told_figure(required) if can else None,
        "power": told_figure(power_at(max(required, LEAST_SURE), told, recall, bound)),
        "event_students_needed": students_needed(recall, bound),
        "calibration": {"value": told_figure(float(off[0])), **_interval(off)} if event_students >= STEP else None,
        "failures": failures,
        "outcome": outcome,
    }


def _failures(
    ratio: Floats,
    off: Floats,
    sums: _Sums,
    number: int,
    required: float | None,
    settings: PromotionSettings,
) -> Iterator[str]:
    """What a group fails; `required`: how sure a ratio has to be, None where it cannot be judged."""
    if required is None:
        return
    if ratio[0] < settings.recall_ratio - NOTHING and _at_least(
        _certainty(ratio < settings.recall_ratio - NOTHING, ratio), required
    ):
        yield "recall_ratio"
    bound = settings.subgroup_calibration
    if abs(off[0]) > bound + NOTHING and _at_least(
        max(_certainty(off > bound + NOTHING, off), _certainty(off < -bound - NOTHING, off)), CALIBRATION_CERTAINTY
    ):
        yield "calibration"
    missed, everybody = 1 - sums.recall[:, number], 1 - sums.recall[:, 0]
    for name, most in (
        ("gap", None if settings.fnr_gap is None else everybody + settings.fnr_gap),
        ("maximum", settings.maximum_false_negative_rate),
    ):
        if most is not None and _at_least(_certainty(missed - most > NOTHING, missed), SUREST):
            yield name


def _certainty(holds: NDArray[np.bool_], values: Floats) -> float:
    """Share of the replicates in which something holds, of those that define it."""
    defined = ~np.isnan(values[1:])
    return float(np.mean(holds[1:][defined])) if defined.any() else 0.0


def _at_least(certainty: float, required: float) -> bool:
    return certainty >= required - NOTHING


def _interval(values: Floats) -> dict[str, float | None]:
    defined = values[1:][~np.isnan(values[1:])]
    low, high = np.quantile(defined, INTERVAL) if len(defined) else (math.nan, math.nan)
    return {"low": told_figure(float(low)), "high": told_figure(float(high))}


def _exact(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)


def _summed(
    probability: Floats,
    actual: NDArray[np.bool_],
    on_list: Floats,
    student: NDArray[np.int64],
    told: Sequence[Group],
    settings: PromotionSettings,
    seed: int,
) -> _Sums:
    """The sums of the data and of each replicate. Sums by student come first: then a replicate is one product."""
    students = int(student.max()) + 1 if len(student) else 0
    parts = [actual.astype(float), np.where(actual, on_list, 0.0), np.ones(len(actual)), probability]
    everybody = np.arange(len(actual))
    columns = [
        np.bincount(student[rows], weights=part[rows], minlength=students)
        for part in parts
        for rows in (everybody, *(group.rows for group in told))
    ]
    by_student = np.array(columns).T
    sums = [by_student.sum(axis=0)[None]]
    random = np.random.default_rng([seed, _STREAM])
    for start in range(0, settings.bootstrap, _BATCH):
        drawn = random.integers(0, students, (min(_BATCH, settings.bootstrap - start), students))
        times = np.array([np.bincount(draw, minlength=students) for draw in drawn], dtype=np.float64)
        sums.append(times @ by_student)
    return _Sums(*np.split(np.vstack(sums), len(parts), axis=1))
