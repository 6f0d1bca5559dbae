"""How often the fairness test finds a group that is served half as well, and how often it accuses one that is not.

Each simulated district has students with and without an event, seen by a model through noise, and one group of which
so many students have an event. In an unfair district the model sees half of the group's students with an event not at
all. Both sides judge the same lists: the recall ratio of now, and the bound on the false-negative rate that earlier
versions had (0.2 above everybody's). Nothing is read and nothing is trained.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edupulse_pipelines.risk.judging.fairness import judge_fairness
from edupulse_pipelines.settings import PromotionSettings

EVENT_STUDENTS = (50, 100, 200)
DISTRICTS = ((0.28, 0.1), (0.28, 0.2), (0.09, 0.1))
"""Base rate and capacity."""
_WEEKS = 4
_STAYS = 0.8  # of a student with an event, the share of the weeks whose horizon it lies in
_SIGNAL, _NOISE = 2.0, 1.0


@dataclass(frozen=True)
class District:
    """Rows of student-weeks, as `judge_fairness` takes them."""

    probability: NDArray[np.float64]
    actual: NDArray[np.bool_]
    week: NDArray[np.int64]
    student: NDArray[np.int64]
    group: NDArray[np.object_]


def district(
    seed: int, *, event_students: int, unseen: float, base_rate: float, students: int, certain: float = _STAYS
) -> District:
    """A district with a group `small` of so many students with an event, the share `unseen` of whom nobody sees."""
    random = np.random.default_rng(seed)
    events = round(base_rate * students)
    has = np.arange(students) < events
    # The group has the base rate of everybody.
    member = np.zeros(students, dtype=bool)
    member[:event_students] = True
    member[events : events + round(event_students * (1 - base_rate) / base_rate)] = True
    log_odds = np.where(has, _SIGNAL, 0.0) + random.normal(0, _NOISE, students)
    # Calibrated: the posterior of what is seen.
    prior = np.log(base_rate / (1 - base_rate))
    posterior = prior + _SIGNAL * (log_odds - _SIGNAL / 2) / _NOISE**2
    hidden = member & has & (random.random(students) < unseen)
    posterior[hidden] = prior - _SIGNAL**2
    student, week = np.tile(np.arange(students), _WEEKS), np.repeat(np.arange(_WEEKS), students)
    actual = has[student] & (random.random(len(student)) < certain)
    score = posterior[student] + random.normal(0, 0.3, len(student))
    group = np.where(member, "small", "large").astype(object)[student]
    return District(certain / (1 + np.exp(-score)), actual, week, student, group)


def verdict(one: District, settings: PromotionSettings, seed: int = 0) -> dict[str, Any]:
    """What is judged of the group `small`."""
    found = judge_fairness(one.probability, one.actual, one.week, one.student, {"group": one.group}, settings, seed)
    return next(row for row in found["subgroups"] if row["subgroup"] == "group=small")


def simulated(
    simulations: int, *, event_students: int, unseen: float, base_rate: float, capacity: float, students: int
) -> dict[str, float]:
    """Shares of the simulations: `failed` (by the ratio), `gap` (by the bound of before), `unjudged`; mean `ratio`."""
    settings = PromotionSettings(capacity=capacity, fnr_gap=0.2, bootstrap=200)
    failed = gap = unjudged = 0
    ratios = []
    for seed in range(simulations):
        one = district(seed, event_students=event_students, unseen=unseen, base_rate=base_rate, students=students)
        row = verdict(one, settings, seed)
        failed += "recall_ratio" in row["failures"]
        gap += "gap" in row["failures"]
        unjudged += row["outcome"] == "cannot_be_judged"
        ratios.append(row["value"])
    known = [ratio for ratio in ratios if ratio is not None]
    return {
        "failed": failed / simulations,
        "gap": gap / simulations,
        "unjudged": unjudged / simulations,
        "ratio": float(np.mean(known)) if known else float("nan"),
    }


def run(argv: Sequence[str]) -> dict[str, Any]:
    """Simulate; a line for each kind of district."""
    parser = argparse.ArgumentParser(prog="fairness", description=__doc__)
    parser.add_argument("--students", type=int, default=3000)
    parser.add_argument("--simulations", type=int, default=200)
    given = parser.parse_args(list(argv))
    started = time.perf_counter()
    ours, others = {}, {}
    print("base rate, capacity, students with an event: half of the recall | as everybody (failed, unjudged; before)")
    for base_rate, capacity in DISTRICTS:
        for event_students in EVENT_STUDENTS:
            if event_students > base_rate * given.students / 2:
                continue
            name = f"{base_rate:g}/{capacity:g}/{event_students}"
            found = {
                kind: simulated(
                    given.simulations,
                    event_students=event_students,
                    unseen=unseen,
                    base_rate=base_rate,
                    capacity=capacity,
                    students=given.students,
                )
                # The group is a part of everybody, whose recall falls with its own.
                for kind, unseen in (
                    ("half", 0.5 / (1 - 0.5 * event_students / (base_rate * given.students))),
                    ("fair", 0.0),
                )
            }
            ours |= {f"{name} {kind}": one["failed"] for kind, one in found.items()}
            others |= {f"{name} {kind}": one["gap"] for kind, one in found.items()}
            words = " | ".join(
                f"{one['failed']:.1%} failed at a ratio of {one['ratio']:.2f}, {one['unjudged']:.1%} unjudged; before "
                f"{one['gap']:.1%}"
                for one in found.values()
            )
            print(f"{base_rate:.0%}, {capacity:.0%}, {event_students}: {words}")
    return {
        "bench": "fairness",
        "size": given.simulations,
        "unit": "share of simulations that failed",
        "ours": ours,
        "others": others,
        "seconds": round(time.perf_counter() - started, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
