"""How a day's sessions and minutes become a day present, absent or excused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edupulse_pipelines.features.days import DAY_MEASURES, Minutes, days_of
from edupulse_pipelines.features.vectors import STATUSES
from edupulse_pipelines.settings import DAY_RULES, DayRule

ALWAYS = np.ones((1, 7), dtype=np.bool_)
COUNT = {status: number for number, status in enumerate(STATUSES)}


def a_day(*statuses: str) -> np.ndarray:
    """One cell with these sessions on its Monday."""
    sessions = np.zeros((len(STATUSES), 1, 7), dtype=np.int32)
    for status in statuses:
        sessions[COUNT[status], 0, 0] += 1
    return sessions


def minutes(absent: int, possible: int, sessions: int) -> Minutes:
    days = np.zeros((3, 1, 7), dtype=np.int32)
    days[:, 0, 0] = absent, possible, sessions
    return Minutes(*days)


def kind(days: dict[str, np.ndarray]) -> str:
    """Which kind of day it is."""
    assert [name for name in DAY_MEASURES if name not in days] == []
    (found,) = [name for name in ("present", "absent", "excused") if days[f"days_{name}"][0] == 1] or ["none"]
    assert days["days_enrolled"][0] == (found != "none")
    return found


P, A, T, E = "present", "absent", "tardy", "excused"


@pytest.mark.parametrize(
    ("statuses", "half", "more_than_half", "any_", "all_"),
    [
        ((P,), "present", "present", "present", "present"),
        ((T,), "present", "present", "present", "present"),
        ((A,), "absent", "absent", "absent", "absent"),
        ((E,), "excused", "excused", "excused", "excused"),
        # Exactly half of four, less, and more.
        ((P, P, A, A), "absent", "present", "absent", "present"),
        ((P, P, P, A), "present", "present", "absent", "present"),
        ((P, A, A, A), "absent", "absent", "absent", "present"),
        ((T, T, A, A), "absent", "present", "absent", "present"),
        ((P, P, E, E), "excused", "present", "excused", "present"),
        # One session without an excuse, and the day has none.
        ((E, E, E, A), "absent", "absent", "absent", "absent"),
        ((P, E, E, A), "absent", "absent", "absent", "present"),
        ((), "none", "none", "none", "none"),
    ],
)
def test_a_day_by_its_sessions(statuses: tuple[str, ...], half: str, more_than_half: str, any_: str, all_: str) -> None:
    expected = {"half": half, "more_than_half": more_than_half, "any": any_, "all": all_, "minutes": half}
    assert {rule: kind(days_of(a_day(*statuses), ALWAYS, rule)) for rule in DAY_RULES} == expected
    missed = sum(status in (A, E) for status in statuses) / max(1, len(statuses))
    assert days_of(a_day(*statuses), ALWAYS, "all")["days_missed"] == pytest.approx(missed)


@pytest.mark.parametrize(
    ("statuses", "absent", "possible", "told", "expected", "missed"),
    [
        ((T,), 180, 360, 1, "absent", 0.5),
        ((T,), 179, 360, 1, "present", 179 / 360),
        ((P, A), 60, 360, 2, "present", 60 / 360),
        ((E,), 360, 360, 1, "excused", 1.0),
        # Only one of two sessions says its minutes: sessions decide.
        ((P, A), 60, 60, 1, "absent", 0.5),
        ((A,), 0, 0, 0, "absent", 1.0),
    ],
)
def test_minutes_decide_where_every_session_says_them(
    statuses: tuple[str, ...], absent: int, possible: int, told: int, expected: str, missed: float
) -> None:
    days = days_of(a_day(*statuses), ALWAYS, "minutes", minutes(absent, possible, told))
    assert kind(days) == expected
    assert days["days_missed"][0] == pytest.approx(missed, abs=1e-6)
    assert kind(days_of(a_day(*statuses), ALWAYS, "half", minutes(absent, possible, told))) == kind(
        days_of(a_day(*statuses), ALWAYS, "half")
    )


@given(
    st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4), min_size=7, max_size=7), st.sampled_from(DAY_RULES)
)
def test_days_enrolled_are_present_absent_or_excused(week: list[list[int]], rule: DayRule) -> None:
    sessions = np.array(week, dtype=np.int32).T.reshape(len(STATUSES), 1, 7)
    days = {name: float(values[0]) for name, values in days_of(sessions, ALWAYS, rule).items()}
    assert days["days_enrolled"] == sum(sum(day) > 0 for day in week)
    assert days["days_enrolled"] == days["days_present"] + days["days_absent"] + days["days_excused"]
    assert 0 <= days["days_missed"] <= days["days_enrolled"]
    # A stricter rule finds no day that a laxer one does not.
    strict, lax = (days_of(sessions, ALWAYS, name)["days_present"][0] for name in ("any", "all"))
    assert strict <= days["days_present"] <= lax


@given(
    st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4), min_size=7, max_size=7),
    st.lists(st.booleans(), min_size=7, max_size=7),
    st.sampled_from(DAY_RULES),
)
def test_days_outside_of_an_enrolment_are_as_if_nobody_had_recorded_them(
    week: list[list[int]], enrolled: list[bool], rule: DayRule
) -> None:
    def days(rows: list[list[int]], within: np.ndarray) -> dict[str, list[float]]:
        sessions = np.array(rows, dtype=np.int32).T.reshape(len(STATUSES), 1, 7)
        return {name: values.tolist() for name, values in days_of(sessions, within, rule).items()}

    inside = [day if here else [0] * 4 for day, here in zip(week, enrolled, strict=True)]
    assert days(week, np.array([enrolled])) == days(inside, ALWAYS)
