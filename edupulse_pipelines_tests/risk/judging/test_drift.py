from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from edupulse_pipelines.risk.judging.drift import (
    CHANGED_FROM,
    STABLE_BELOW,
    as_reference,
    event_rate_change,
    model_reference,
    psi,
    reference,
)
from edupulse_pipelines.risk.judging.evaluation import wilson


def people(size: int, seed: int, **changes: object) -> pd.DataFrame:
    """A cohort: a rate with most of its mass near 1, a count that is mostly 0, a constant, and one often missing."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "rate": np.round(np.minimum(1.0, random.normal(0.95, 0.05, size)), 6),
            "count": random.poisson(0.2, size).astype(float),
            "constant": np.ones(size),
            "sometimes": np.where(random.random(size) < 0.3, np.nan, np.round(random.normal(70, 10, size), 6)),
        }
    )
    for name, change in changes.items():
        frame[name] = change(frame[name])
    return frame


def test_the_same_people_have_not_changed() -> None:
    frame = people(2000, 1)
    assert psi(reference(frame), frame) == dict.fromkeys(frame.columns, 0.0)


@pytest.mark.parametrize(
    ("changes", "drifted"),
    [
        ({"rate": lambda one: one - 0.1}, "rate"),
        ({"count": lambda one: one + 1}, "count"),
        ({"constant": lambda one: one - 1}, "constant"),
        ({"constant": lambda one: one + 1}, "constant"),
        ({"sometimes": lambda one: one * np.nan}, "sometimes"),
        ({"sometimes": lambda one: one.fillna(70)}, "sometimes"),
        ({"rate": lambda one: one * np.nan}, "rate"),
    ],
)
def test_what_changed_and_only_that_is_found(changes: dict, drifted: str) -> None:
    found = psi(reference(people(3000, 1)), people(1000, 2, **changes))
    assert found[drifted] > CHANGED_FROM
    assert all(value < STABLE_BELOW for name, value in found.items() if name != drifted)


def test_the_index_is_that_of_the_textbook_for_many_students() -> None:
    """Two uniform distributions, one shifted by a decile: (0.2 - 0.1) ln 2 + (0 - 0.1) ln(0 / 0.1), smoothed."""
    before = np.linspace(0, 1, 100_001)[1:]
    shifted = np.minimum(before + 0.1, 1.0)
    found = psi(reference(pd.DataFrame({"x": before})), pd.DataFrame({"x": shifted}))["x"]
    q = np.full(10, 0.1)
    p = (np.array([0.0, *[0.1] * 8, 0.2]) * 100_000 + 10 * q) / 100_010
    assert found == pytest.approx(np.sum((p - q) * np.log(p / q)), abs=0.001)


@pytest.mark.parametrize("size", [12, 40, 150, 1000])
def test_small_cohorts_raise_no_alarm_by_being_small(size: int) -> None:
    """Drawn again from the same district: one in twenty or so shows something small, next to none an alarm."""
    stored = reference(people(4000, 0))
    found = np.array([list(psi(stored, people(size, seed)).values()) for seed in range(1, 201)])
    assert (found > 0).mean() < 0.11
    assert (found > STABLE_BELOW).mean() < 0.03
    assert (found > CHANGED_FROM).mean() < 0.01


def test_a_real_change_shows_in_a_small_cohort_too() -> None:
    stored = reference(people(4000, 0))
    assert psi(stored, people(60, 1, rate=lambda one: one - 0.15))["rate"] > CHANGED_FROM


def test_repeated_weeks_of_the_same_students_are_not_more_students() -> None:
    frame = people(100, 1)
    now = people(100, 5)
    one, repeated = reference(frame), reference(pd.concat([frame] * 20), samples=100)
    assert psi(one, now) == pytest.approx(psi(repeated, now), abs=0.02)
    assert repeated["rate"]["samples"] == 100


def test_nothing_to_compare_is_none() -> None:
    frame = people(50, 1)
    stored = reference(frame)
    assert set(psi(stored, frame[:0]).values()) == {None}
    assert psi(stored, frame.drop(columns="rate"))["rate"] is None
    assert set(psi(reference(frame[:0]), frame).values()) == {None}
    assert event_rate_change({"rate": 0.2, "samples": 100}, np.empty(0, np.int8)) is None


def test_a_feature_that_was_never_recorded_and_now_is() -> None:
    stored = reference(pd.DataFrame({"x": np.full(500, np.nan)}))
    assert psi(stored, pd.DataFrame({"x": np.full(500, np.nan)}))["x"] == 0
    assert psi(stored, pd.DataFrame({"x": np.ones(500)}))["x"] > CHANGED_FROM


def test_a_reference_survives_json() -> None:
    frame = people(300, 1)
    made = model_reference(frame, np.arange(300) // 3, np.ones(300, np.int8), np.linspace(0, 1, 60), np.arange(60))
    back = as_reference(json.loads(json.dumps(made)))
    assert back == made
    assert psi(back["features"], people(90, 2)) == psi(made["features"], people(90, 2))
    assert (back["event_rate"], back["score"]["samples"]) == ({"rate": 1.0, "samples": 100}, 60)
    assert as_reference(None) is None
    assert as_reference({"features": {}}) is None
    with pytest.raises(ValueError, match="at least one row"):
        model_reference(frame[:0], np.empty(0, int), np.empty(0, np.int8), np.empty(0), np.empty(0, int))


def test_the_event_rate_and_its_interval() -> None:
    outcome = np.repeat([1, 0], [30, 70]).astype(np.int8)
    difference, low, high = event_rate_change({"rate": 0.2, "samples": 1000}, outcome)
    assert difference == pytest.approx(0.1)
    assert 0 < low < difference < high < 0.25
    same = event_rate_change({"rate": 0.3, "samples": 1000}, outcome)
    assert same[1] < 0 < same[2]


def test_wilsons_interval() -> None:
    assert wilson(0.5, 100) == pytest.approx((0.404, 0.596), abs=0.001)
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.278), abs=0.001)
