"""The facts of a made-up model, for the tests of its card."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import numpy as np

from edupulse_pipelines.risk.judging.evaluation import Measure, measures
from edupulse_pipelines.risk.telling.card_facts import CandidateFacts, CardFacts, DataFacts
from edupulse_pipelines.settings import CategorySettings, CohortSettings, LabelSettings, RuleSettings


def measured(sharpness: float, seed: int = 0, *, small: int = 8) -> list[Measure]:
    """Measures of made-up scores; a subgroup has `small` students."""
    random = np.random.default_rng(seed)
    student = np.repeat(np.arange(400), 4)
    week = np.tile(np.arange(4), 400)
    risk = np.repeat(random.beta(1.2, 5, 400), 4)
    outcome = (random.random(1600) < risk).astype(np.int8)
    probability = np.clip(sharpness * risk + (1 - sharpness) * random.random(1600) * 0.4, 0.001, 0.999)
    gender = np.array(["female", "male"], dtype=object)[student % 2]
    gender[student < small] = "other"
    grade = np.array([f"{9 + code % 4}" for code in student], dtype=object)
    return measures(
        probability, outcome, week, capacity=0.1, subgroups={"gender": gender, "grade_level": grade}, student=student
    )


def card_facts(**changes: Any) -> CardFacts:
    """Facts with everything in them; `changes` replace some."""
    model, rule = measured(1.0), measured(0.3)
    first, last = dt.date(2024, 9, 29), dt.date(2024, 12, 8)
    figure = {"value": 0.52, "low": 0.44, "high": 0.6}
    facts = CardFacts(
        tenant="north",
        model_version="2025-02-24-abcdef12",
        kind="additive",
        data_through=dt.date(2025, 3, 2),
        trained_at=dt.datetime(2025, 3, 3, 5, 12, tzinfo=dt.UTC),
        label=LabelSettings(),
        cohort=CohortSettings(),
        categories=CategorySettings(),
        rule=RuleSettings(),
        capacity=0.1,
        training=DataFacts(4_400, 410, 520, first, last, 11, "a random part of the students, each with all weeks."),
        validation=DataFacts(1_600, 400, 310, dt.date(2025, 1, 5), dt.date(2025, 1, 26), 4),
        measures=model,
        rule_measures=rule,
        champion_measures=measured(0.7),
        unseen_measures=measured(0.9),
        champion_version="2025-01-27-00112233",
        candidates=[
            CandidateFacts("logistic", 0.4012, 12, {"C": 0.03}, rule),
            CandidateFacts(
                "additive", 0.3921, 9, {"learning_rate": 0.1, "leaves": 3, "l2": 1.0, "iterations": 80}, model, True
            ),
            CandidateFacts("boosting", None, 0, {}, (), left_out="the budget did not reach it"),
        ],
        features=[f"feature_{i}" for i in range(45)],
        metadata_inputs=["previous_attempts"],
        importance={"attendance_rate_30d": 0.61, "grade_average": 0.4, "missing_work": 0.22, "incidents": 0.05},
        leakage_proof="No leak: 36,450 numbers of 200 students in 3 as-of week(s) stayed the same.",
        promoted=True,
        decision=(
            "Promoted. The AUC of 0.812 is at least 0.5. Precision among the top 10 % of each week is 0.520, above the "
            "simple rule's 0.310 (ahead in 99% of 500 bootstrap replicates, 80% required)."
        ),
        decision_numbers={
            "precision_at_capacity": {"challenger": figure, "rule": {"value": 0.31, "low": 0.25, "high": 0.38}}
        },
        data_hash="d" * 64,
        settings_hash="5" * 64,
        git_revision="0123456789abcdef0123456789abcdef01234567",
        seed=7,
        libraries={"scikit-learn": "1.9.1", "numpy": "2.4.0"},
    )
    return replace(facts, **changes)
