"""How often the promotion gate lets a better, an equal and a worse challenger through, beside the rule of before.

Simulated student-weeks, of which the truth is known: every student has a risk that does not change, outcomes of one
student in neighbouring weeks go together (their horizons overlap), and the models and the rule see the risk through
noise, most of which the models share, since they learned from nearly the same rows. `better` is a challenger with an
AUC about .012 above the champion's, `worse` one as much below, `equal` one that differs by chance alone. How much noise
models share is chosen so that the rule of before promotes about half of the better ones at 500 students.

Ours is the package's `decide` itself. The other side is the gate as it was: precision at capacity above the champion's
and the rule's, each in 80 % of the replicates of a paired bootstrap. Both get the same cases. Then the same champion is
looked at five times by equal challengers.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr

from edupulse_pipelines.risk.judging.evaluation import auc_roc, list_size
from edupulse_pipelines.risk.judging.promotion import decide
from edupulse_pipelines.settings import PromotionSettings

Floats = NDArray[np.float64]

WEEKS, BASE, SPREAD, TOGETHER = 8, -1.55, 2.3, 0.9
"""Validation weeks; mean and standard deviation of the students' log-odds; correlation of neighbouring weeks."""
GOOD, POOR, RULE = 1.14, 1.33, 1.5
"""Standard deviations of the noise through which the better model, the other one and the rule see the risk."""
SHARED, LASTING = 0.8, 0.7
"""Share of the models' noise that both have, and of each noise that stays over the weeks."""
NOISE = {"better": (POOR, GOOD), "equal": (POOR, POOR), "worse": (GOOD, POOR)}
"""Of (champion, challenger)."""
LOOKS = 5


@dataclass(frozen=True)
class Case:
    """Shapes (students, weeks)."""

    outcome: NDArray[np.bool_]
    champion: Floats
    challenger: Floats
    rule: Floats


def run(argv: list[str]) -> dict[str, Any]:
    """Simulate, print what was seen, return the figures."""
    parser = argparse.ArgumentParser(prog="benchmarks gate")
    parser.add_argument("--cases", type=int, default=100, help="of each kind and size")
    parser.add_argument("--students", type=int, nargs="+", default=[500, 2000])
    parser.add_argument("--replicates", type=int, default=200)
    arguments = parser.parse_args(argv)
    start = time.perf_counter()
    ours: dict[str, float] = {}
    before: dict[str, float] = {}
    for students in arguments.students:
        for number, kind in enumerate(NOISE):
            random = np.random.default_rng([students, number])
            cases = [simulated(random, students, *NOISE[kind]) for _ in range(arguments.cases)]
            name = f"{kind}_{students}"
            ours[name] = round(float(np.mean([gate(case, arguments.replicates) for case in cases])), 3)
            before[name] = round(float(np.mean([as_before(case, random, arguments.replicates) for case in cases])), 3)
            leads = [_auc(case.challenger, case.outcome) - _auc(case.champion, case.outcome) for case in cases]
            print(
                f"{students:6,} students, {kind:6}: promoted {100 * ours[name]:5.1f} %, by the rule of before "
                f"{100 * before[name]:5.1f} %   (AUC {np.mean(leads):+.4f})",
                flush=True,
            )
    students = min(arguments.students)
    name = f"equal_in_{LOOKS}_looks_{students}"
    random = np.random.default_rng([students, len(NOISE)])
    ours[name] = round(
        float(np.mean([_any_look(random, students, arguments.replicates) for _ in range(arguments.cases)])), 3
    )
    print(f"{students:6,} students, one of {LOOKS} equal challengers promoted: {100 * ours[name]:5.1f} %", flush=True)
    return {
        "bench": "gate",
        "size": arguments.cases,
        "unit": "share promoted",
        "ours": ours,
        "others": {"before": before},
        "ratios": {},
        "seconds": round(time.perf_counter() - start, 1),
    }


def simulated(random: np.random.Generator, students: int, champion: float, challenger: float) -> Case:
    """One district's held-out weeks; `champion` and `challenger` are the standard deviations of their noise."""
    risk = random.normal(BASE, SPREAD, students)
    steps = random.normal(size=(students, WEEKS))
    chance = np.empty_like(steps)
    chance[:, 0] = steps[:, 0]
    for week in range(1, WEEKS):
        chance[:, week] = TOGETHER * chance[:, week - 1] + np.sqrt(1 - TOGETHER**2) * steps[:, week]

    def noise() -> Floats:
        lasting, passing = random.normal(size=(students, 1)), random.normal(size=(students, WEEKS))
        both: Floats = np.sqrt(LASTING) * lasting + np.sqrt(1 - LASTING) * passing
        return both

    shared = noise()

    def seen(much: float, share: float) -> Floats:
        noisy = risk[:, None] + much * (np.sqrt(share) * shared + np.sqrt(1 - share) * noise())
        kept = SPREAD**2 / (SPREAD**2 + much**2)
        # Calibrated: the mean of the sigmoid over what is left to doubt, by MacKay's approximation.
        probability: Floats = expit((BASE + kept * (noisy - BASE)) / np.sqrt(1 + np.pi * SPREAD**2 * (1 - kept) / 8))
        return probability

    return Case(ndtr(chance) < expit(risk)[:, None], seen(champion, SHARED), seen(challenger, SHARED), seen(RULE, 0.4))


def gate(case: Case, replicates: int, earlier_looks: int = 0) -> bool:
    """What the package decides."""
    students = len(case.outcome)
    return decide(
        challenger=case.challenger.ravel(),
        champion=case.champion.ravel(),
        rule=case.rule.ravel(),
        outcome=case.outcome.ravel().astype(np.int8),
        week=np.tile(np.arange(WEEKS), students),
        student=np.repeat(np.arange(students), WEEKS),
        subgroups={},
        settings=PromotionSettings(bootstrap=replicates),
        seed=students,
        earlier_looks=earlier_looks,
    ).promoted


def as_before(case: Case, random: np.random.Generator, replicates: int) -> bool:
    """The gate as it was."""
    students = len(case.outcome)
    drawn = random.multinomial(students, np.full(students, 1 / students), size=replicates)
    weights = np.vstack([np.ones(students, dtype=np.int64), drawn])
    challenger = _precision(case.challenger, case.outcome, weights)
    for other in (case.champion, case.rule):
        lead = challenger - _precision(other, case.outcome, weights)
        if lead[0] <= 0 or np.mean(lead[1:] > 1e-9) + np.mean(np.abs(lead[1:]) <= 1e-9) / 2 < 0.8:
            return False
    return True


def _any_look(random: np.random.Generator, students: int, replicates: int) -> bool:
    return any(
        gate(simulated(random, students, *NOISE["equal"]), replicates, earlier_looks=look) for look in range(LOOKS)
    )


def _precision(score: Floats, outcome: NDArray[np.bool_], weights: NDArray[np.int64]) -> Floats:
    """Precision at capacity by draw; `weights`: how often each student is in each draw, shape (draws, students)."""
    students = weights.shape[1]
    size = list_size(students, 0.1)
    hits = np.zeros(len(weights))
    for week in range(WEEKS):
        top = np.argsort(-score[:, week], kind="stable")[: 3 * size]
        drawn = weights[:, top]
        room = np.clip(size - (np.cumsum(drawn, axis=1) - drawn), 0, drawn)
        hits += room @ outcome[top, week]
    return hits / (WEEKS * size)


def _auc(score: Floats, outcome: NDArray[np.bool_]) -> float:
    auc = auc_roc(score.ravel(), outcome.ravel())
    return auc if auc is not None else float("nan")
