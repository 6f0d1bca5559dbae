"""Advice by the recent course; and that every sentence fits its value, its direction and its trend."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from edupulse_pipelines.features.definitions import FEATURE_NAMES, MODEL_FEATURES_BY_NAME, STANDING_NAMES
from edupulse_pipelines.risk.models.model import CANDIDATES, MEMBERS, RiskModel, fit_candidate
from edupulse_pipelines.risk.telling.advice import advise
from edupulse_pipelines.risk.telling.explanations import risk_factors
from edupulse_pipelines.risk.telling.factors import FACTORS, NOT_RECORDED, NOTHING_STANDS_OUT, OTHER, Fact

NAMES = [name for name in (*FEATURE_NAMES, *STANDING_NAMES) if name != "weeks_of_data"]
TYPICAL: dict[str, float | None] = {"grade_mean_4w": 75.0}
_TREES = {"learning_rate": 0.1, "iterations": 30, "leaves": 4, "l2": 1.0, "leaf": 1.0}
CONFIGS: dict[str, dict[str, Any]] = {"logistic": {"C": 0.3}, "additive": _TREES, "boosting": _TREES}
CONFIGS["averaged"] = {kind: CONFIGS[kind] for kind in MEMBERS}
CALL = "Contact the family to discuss what keeps the student from attending"


def one(factor: str, **more: Any) -> dict[str, Any]:
    words = {"factor": factor, "recommendation": FACTORS[factor].act if factor in FACTORS else None}
    return words | {"direction": "raises", "contribution": 1.0} | more


def advised(factors: list[dict[str, Any]], *, low: bool = False, course: str | None = None, **values: float) -> list:
    frame = pd.DataFrame([values or {"nothing": 0.0}])
    advise([factors], frame, TYPICAL, np.array([low]), lambda rows: [course] * len(rows))
    return [factor["recommendation"] for factor in factors]


@pytest.mark.parametrize(
    ("factor", "bad", "good", "words"),
    [
        ("attendance_rate_30d", {"attendance_rate_4w": 0.94}, {"attendance_rate_4w": 1.0}, "good in the last four"),
        ("unexcused_absences", {"unexcused_rate_4w": 0.1}, {"unexcused_rate_4w": 0.0}, "No unexcused absence in"),
        ("tardiness", {"tardy_rate_4w": 0.1}, {"tardy_rate_4w": 0.0}, "On time in the last four"),
        ("attendance_decline", {"attendance_trend": -0.1}, {"attendance_trend": 0.1}, "coming back"),
        ("grade_average", {"grade_mean_4w": 60.0}, {"grade_mean_4w": 80.0}, "as usual again"),
        ("gpa_decline", {"grade_trend": -1.0}, {"grade_trend": 1.0}, "coming back"),
        ("course_failure", {"grade_lowest_4w": 50.0}, {"grade_lowest_4w": 65.0}, "No failing grade"),
        ("missing_work", {"grade_count_4w_vs_class": -0.5}, {"grade_count_4w_vs_class": 0.1}, "As much work"),
        ("incidents", {"incidents_4w": 1.0}, {"incidents_4w": 0.0}, "No incident in the last four"),
    ],
)
def test_what_is_over_is_said_in_place_of_what_to_do(
    factor: str, bad: dict[str, float], good: dict[str, float], words: str
) -> None:
    act = FACTORS[factor].act
    assert advised([one(factor)], **bad) == [act]
    assert advised([one(factor)], **dict.fromkeys(good, float("nan"))) == [act]
    assert advised([one(factor)]) == [act]
    (said,) = advised([one(factor)], **good)
    assert words in said
    # What it does well stays as it is.
    assert advised([one(factor, recommendation=FACTORS[factor].keep)], **good) == [FACTORS[factor].keep]


def test_a_name_under_which_a_factor_is_told_otherwise_is_the_same_matter() -> None:
    year = one("attendance_rate_year", recommendation=CALL)
    assert advised([year], attendance_rate_4w=1.0) == [
        "Attendance has been good in the last four school weeks: acknowledge it"
    ]


def test_the_same_is_recommended_once() -> None:
    assert advised([one("attendance_rate_30d"), one("tardiness"), one("unexcused_absences")]) == [
        CALL,
        FACTORS["tardiness"].act,
        None,
    ]
    said = advised([one("attendance_rate_30d"), one("excused_absences")], attendance_rate_4w=0.99)
    assert said[0] is not None and said[1] is None


def test_the_course_is_named_where_one_is_known() -> None:
    assert advised([one("course_failure")], course="Algebra I {course}") == [
        "Look at Algebra I {course}, where the lowest recent grades are, and offer help there"
    ]
    assert advised([one("course_failure")]) == [FACTORS["course_failure"].act]
    over = advised([one("course_failure")], course="Algebra I", grade_lowest_4w=70.0)
    assert "Algebra" not in over[0]


def test_courses_are_looked_up_for_those_alone_whom_it_is_said_of() -> None:
    asked: list[int] = []

    def courses_of(rows: np.ndarray) -> list[str | None]:
        asked.extend(rows.tolist())
        return ["Art"] * len(rows)

    factors = [[one("course_failure")], [one("incidents")], [one("course_failure")], [one("course_failure")]]
    advise(factors, pd.DataFrame({"x": range(4)}), {}, np.array([False, False, True, False]), courses_of)
    assert asked == [0, 3]
    assert factors[2][0]["recommendation"] is None


def test_at_low_risk_nothing_is_recommended() -> None:
    assert advised([one("attendance_rate_30d"), one(OTHER)], low=True) == [None, None]


# The property: every sentence fits the value, its direction and its trend.


def record(seed: int, rows: int) -> pd.DataFrame:
    """Made-up records of every kind of course: rising, falling, recovered, unrecorded."""
    random = np.random.default_rng(seed)
    trait = random.normal(size=rows)
    columns: dict[str, Any] = {}
    for name in NAMES:
        feature = MODEL_FEATURES_BY_NAME[name]
        noise = random.normal(size=rows) - 0.5 * trait * feature.risk_direction
        if feature.unit == "share":
            low, high = (-1, 1) if "change" in name else (0, 1)
            columns[name] = np.clip((0.9 if feature.risk_direction < 0 and low == 0 else 0.05) + 0.1 * noise, low, high)
        elif "grade 0-100" in feature.unit:
            middle = 0 if "change" in name or "trend" in name else 75
            columns[name] = np.clip(middle + 9 * noise, -100, 100)
        elif feature.unit.startswith(("log", "share per", "incidents per")) or name.endswith("vs_class"):
            columns[name] = 0.5 * noise
        else:
            columns[name] = np.maximum(np.round(1 + 1.5 * noise), 0)
    frame = pd.DataFrame(columns).round(6) + 0.0
    frame["incidents_per_week_ytd"] = frame["incidents_per_week_ytd"].clip(lower=0)
    recovered = random.random(rows) < 0.3
    frame.loc[recovered, ["attendance_rate_4w", "attendance_rate_1w"]] = 1.0
    frame.loc[recovered, ["unexcused_rate_4w", "unexcused_days_4w", "excused_rate_4w", "incidents_4w"]] = 0.0
    return frame.mask(random.random(frame.shape) < 0.1)


@lru_cache
def learned(kind: str) -> RiskModel:
    frame = record(1, 1000)
    random = np.random.default_rng(2)
    pull = 6 * (0.9 - frame["attendance_rate_ytd"].fillna(0.9)) + 0.08 * (75 - frame["grade_mean_8w"].fillna(75))
    pull += 0.5 * frame["incidents_8w"].fillna(0) + 6 * frame["unexcused_rate_ytd"].fillna(0) - 1.5
    outcome = (random.random(len(frame)) < expit(pull)).astype(np.int8)
    directions = {name: MODEL_FEATURES_BY_NAME[name].risk_direction for name in NAMES}
    return fit_candidate(kind, frame, outcome.to_numpy(), np.arange(len(frame)) // 3, CONFIGS[kind], directions)[0]


@lru_cache
def patterns() -> list[tuple[Any, re.Pattern[str], Fact]]:
    """Every sentence there is, as a pattern of its value and the typical one."""
    return [
        (factor, re.compile(re.escape(fact.text).replace(r"\{value\}", "(.+?)") + r"(?: \(typical: (.+?)\))?"), fact)
        for factor in FACTORS.values()
        for fact in factor.facts
    ]


def facts_in(description: str) -> list[tuple[Any, Fact, str, str]]:
    """(factor, fact, value, typical value) of each part of a description, as they are written."""
    found = []
    for part in description.split("; "):
        text = part[0].lower() + part[1:]
        ((factor, fact, match),) = [
            (factor, fact, match) for factor, pattern, fact in patterns() if (match := pattern.fullmatch(text))
        ]
        found.append((factor, fact, match[1], match[2]))
    return found


def number(text: str) -> float:
    return float(text.removesuffix(" percentage points").removesuffix("%"))


@pytest.mark.parametrize("kind", CANDIDATES)
def test_every_sentence_fits_its_value_its_direction_and_its_trend(kind: str) -> None:
    model, frame = learned(kind), record(3, 800)
    score = model.probabilities(frame)
    low = score < 0.3
    explained = risk_factors(model, frame)
    advise(explained, frame, model.typical, low, lambda rows: [f"course {row}" for row in rows.tolist()])
    contributions = pd.DataFrame(model.contributions(frame), columns=model.features)
    log_odds = model.log_odds(frame)
    declines = {"attendance_decline", "gpa_decline"}
    rises = {"incident_trend"}
    told: Counter[str] = Counter()
    for row, factors in enumerate(explained):
        values = frame.iloc[row]
        assert model.intercept + sum(factor["contribution"] for factor in factors) == pytest.approx(
            log_odds[row], abs=5e-5
        )
        said = [factor["recommendation"] for factor in factors if factor["recommendation"]]
        assert len(said) == len(set(said))
        assert not (said and low[row])
        if values["attendance_rate_4w"] == 1.0:
            assert CALL not in said
        for factor in factors:
            name, raises = factor["factor"], factor["direction"] == "raises"
            told[name] += 1
            if name in (OTHER, NOTHING_STANDS_OUT) or name in {one.name for one in NOT_RECORDED.values()}:
                continue
            sentences = facts_in(factor["description"])
            assert factor["value"] == round(float(values[sentences[0][1].feature]), 6)
            for of_factor, fact, value, typical in sentences:
                assert name in (of_factor.name, of_factor.otherwise)
                # The value: what is written is what is recorded.
                rounded = np.round(values[fact.feature], fact.number.decimals)
                assert value == fact.number.written(float(rounded))
                # The direction: it pulls the way the factor does, and lies to the typical value as that says.
                stands_for = [
                    one for one in of_factor.facts if one.feature == fact.feature or one.instead == fact.feature
                ]
                pulls = [contributions.loc[row, one.feature] for one in stands_for]
                assert any((pull > 0) == raises and pull != 0 for pull in pulls)
                distance = (number(value) - number(typical)) * fact.direction
                assert distance >= 0 if raises else distance <= 0, factor
                assert fact.direction == 0 or not raises or value != typical or fact.number.decimals == 2, factor
            # The trend: a decline falls, a rise rises, and nothing is praised that has got worse of late.
            if name in declines:
                assert number(sentences[0][2]) < 0
            if name in rises:
                assert number(sentences[0][2]) > 0
            if factor["protective"]:
                assert not raises
            if factor["recommendation"] and "coming back" in factor["recommendation"]:
                trend = "attendance_trend" if name == "attendance_decline" else "grade_trend"
                assert values[trend] > 0
    assert told[OTHER] > 100 and told["attendance_rate_30d"] + told["attendance_rate_year"] > 30
