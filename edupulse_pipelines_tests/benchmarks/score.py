"""Scoring with explanations: students per second of each kind of model, and boosting against the explainer library.

Ours is what the weekly step does for a cohort between reading its features and writing its predictions: probabilities,
categories, confidence, contributions, factors in words. The other side, `tree_shap`, is `shap.TreeExplainer` on the
same boosted trees and the same students and nothing else: no score, no words. That both come to the same contributions
is checked. Students are made up: a trait per student moves every feature along its declared direction, domains that
were not sent and students without a record are missing. Times are the best of several rounds in which sides take turns.
"""

from __future__ import annotations

import argparse
import datetime as dt
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from edupulse_pipelines.features.definitions import MODEL_FEATURES_BY_NAME, Feature
from edupulse_pipelines.risk.judging.confidence import ConfidenceMap
from edupulse_pipelines.risk.models.model import CANDIDATES, RiskModel, fit_candidate
from edupulse_pipelines.risk.models.tuning import CONFIGURATIONS
from edupulse_pipelines.risk.samples.cohorts import model_features
from edupulse_pipelines.risk.scoring import _STUDENTS_PER_WRITE, _rows
from edupulse_pipelines.settings import TenantSettings

TENANT = TenantSettings(
    name="benchmark", timezone="UTC", first_week=dt.date(2024, 8, 26), landing=Path("landing").absolute()
)
TRAINED_ON = 20_000
CHECKED = 500
# Middle, spread and decimals of the made-up values, by unit; whole numbers stay 0 for most students, as they do.
_UNITS = {
    "share": (0.9, 0.08, 3),
    "share per week": (0.0, 0.02, 4),
    "grade 0-100": (75.0, 10.0, 1),
    "grade 0-100 per week": (0.0, 2.0, 2),
    "log ratio": (0.0, 0.4, 3),
}


def run(argv: list[str]) -> dict[str, Any]:
    """Measure, print what was seen, return the figures."""
    parser = argparse.ArgumentParser(prog="benchmarks score")
    parser.add_argument("--students", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args(argv)
    import shap

    models = _models()
    cohort, _ = _students(arguments.students, seed=1)
    names = models["boosting"].features
    trees, matrix = models["boosting"].pipeline["trees"], cohort[names].to_numpy(np.float64)

    def tree_shap(rows: int) -> Any:
        return shap.TreeExplainer(trees).shap_values(matrix[:rows])

    # Warms up both sides, too.
    difference = float(np.abs(tree_shap(CHECKED) - models["boosting"].contributions(cohort[:CHECKED])).max())
    if difference > 1e-9:
        raise RuntimeError(f"the two sides' contributions differ by {difference}")
    seconds = dict.fromkeys([*CANDIDATES, "tree_shap"], float("inf"))
    for _ in range(arguments.rounds):
        for kind in CANDIDATES:
            # A new one each time: the tables of contributions are worked out inside the time.
            fresh = RiskModel(models[kind].pipeline)
            seconds[kind] = min(seconds[kind], _timed(lambda model=fresh: _score(model, cohort)))
        seconds["tree_shap"] = min(seconds["tree_shap"], _timed(lambda: tree_shap(arguments.students)))
    speed = {side: arguments.students / one for side, one in seconds.items()}
    for side, one in speed.items():
        print(f"{side:10} {one:12,.0f} students/s  ({seconds[side]:.3f} s for {arguments.students})")
    print(
        f"boosting, scored and explained in words, takes {seconds['boosting'] / seconds['tree_shap']:.2f} x tree_shap"
    )
    return {
        "bench": "score",
        "size": arguments.students,
        "unit": "students/s",
        "ours": round(speed["boosting"], 1),
        "others": {"tree_shap": round(speed["tree_shap"], 1)},
        "ratios": {"tree_shap": round(speed["boosting"] / speed["tree_shap"], 3)},
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "by_candidate": {kind: round(speed[kind], 1) for kind in CANDIDATES},
        "time_ratios": {"tree_shap": round(seconds["boosting"] / seconds["tree_shap"], 3)},
        "features": len(names),
        "iterations": int(trees.n_iter_),
    }


def _timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _score(model: RiskModel, cohort: pd.DataFrame) -> None:
    """Score and explain everybody, in the parts that the weekly step writes."""
    for start in range(0, len(cohort), _STUDENTS_PER_WRITE):
        _rows(cohort.iloc[start : start + _STUDENTS_PER_WRITE], model, TENANT, ConfidenceMap())


def _models() -> dict[str, RiskModel]:
    """Each kind with its first configuration, trees with all their iterations."""
    frame, outcome = _students(TRAINED_ON, seed=0)
    names = list(model_features(TENANT))
    directions = {name: MODEL_FEATURES_BY_NAME[name].risk_direction for name in names}
    models = {}
    for kind in CANDIDATES:
        print(f"fitting {kind} on {TRAINED_ON} students", file=sys.stderr)
        models[kind], _ = fit_candidate(
            kind, frame[names], outcome, np.arange(len(frame)), CONFIGURATIONS[kind][0], directions
        )
    return models


def _students(count: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Made-up cohort (model features, weeks_of_data, data_quality) and outcomes."""
    random = np.random.default_rng(seed)
    trait = random.normal(size=count)
    columns = {name: _column(MODEL_FEATURES_BY_NAME[name], trait, random) for name in model_features(TENANT)}
    frame = pd.DataFrame(columns)
    for domain, share in (("attendance", 0.02), ("academic", 0.1), ("behavioral", 0.05)):
        silent = random.random(count) < share
        frame.loc[silent, [name for name in columns if MODEL_FEATURES_BY_NAME[name].domain == domain]] = np.nan
    frame["weeks_of_data"] = random.integers(4, 30, count)
    frame["data_quality"] = random.integers(6, 13, count) / 12
    outcome = (random.random(count) < expit(1.5 * trait - 2)).astype(np.int8)
    return frame, outcome


def _column(feature: Feature, trait: np.ndarray, random: np.random.Generator) -> np.ndarray:
    noisy = feature.risk_direction * trait + random.normal(size=len(trait))
    if feature.unit not in _UNITS:
        return np.maximum(0, np.round(noisy))
    middle, spread, decimals = _UNITS[feature.unit]
    if feature.unit == "share" and feature.risk_direction > 0:
        middle = 1 - middle
    values = middle + spread * noisy / 2
    if feature.unit == "share" and not feature.name.endswith("change"):
        values = np.clip(values, 0, 1)
    return np.round(values, decimals)
