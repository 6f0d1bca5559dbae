from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from edupulse_pipelines.risk.samples.splits import (
    GroupSpan,
    eligible_weeks,
    split_until_exit,
    temporal_split,
    training_points,
)
from edupulse_pipelines.weeks import WEEK
from edupulse_pipelines_tests.risk.district import week


def test_only_weeks_whose_horizon_has_passed_are_eligible() -> None:
    weeks = [week(number) for number in (5, 0, 3, 9)]
    assert eligible_weeks(weeks, week(13), 8) == [week(0), week(3), week(5)]


@given(
    numbers=st.lists(st.integers(0, 160), unique=True, max_size=60),
    horizon=st.integers(1, 12),
    needed=st.integers(0, 12),
)
def test_training_ends_a_horizon_before_validation_begins(numbers: list[int], horizon: int, needed: int) -> None:
    weeks = [week(number) for number in sorted(numbers)]
    split = temporal_split(weeks, horizon, lambda split: len(split.validation) >= needed)
    assert set(split.training) | set(split.validation) <= set(weeks)
    if weeks:
        assert split.validation == tuple(weeks[-len(split.validation) :])
        assert all(one + horizon * WEEK <= split.validation[0] for one in split.training)
        left_out = [one for one in weeks if one not in split.training + split.validation]
        assert all(one + horizon * WEEK > split.validation[0] for one in left_out)


def test_validation_is_a_third_of_what_lies_beyond_a_horizon() -> None:
    def always(_weeks: object) -> bool:
        return True

    sizes = {n: len(temporal_split([week(i) for i in range(n)], 8, always).validation) for n in (9, 13, 20, 26, 40)}
    assert sizes == {9: 1, 13: 1, 20: 4, 26: 6, 40: 8}


def test_validation_grows_backwards_until_there_is_enough() -> None:
    weeks = [week(number) for number in range(20)]
    split = temporal_split(weeks, 8, lambda split: len(split.validation) >= 7)
    assert split.validation == tuple(weeks[13:])
    assert split.training == tuple(weeks[:6])


def test_never_enough_gives_the_first_split() -> None:
    weeks = [week(number) for number in range(20)]
    assert len(temporal_split(weeks, 8, lambda _: False).validation) == 4


def test_training_points_count_back_from_the_last_week() -> None:
    assert training_points((week(0), week(20)), 8) == [week(4), week(12), week(20)]
    assert training_points([week(3)], 8) == [week(3)]
    assert training_points([], 8) == []


def test_validation_grows_to_an_ample_share_where_there_is_one() -> None:
    weeks = [week(i) for i in range(26)]
    split = temporal_split(weeks, 8, lambda _: True, lambda split: len(split.validation) >= 9)
    assert len(split.validation) == 9
    assert max(split.training) + 8 * WEEK <= min(split.validation)
    # Where no split is ample, the first that is enough is taken.
    assert temporal_split(weeks, 8, lambda _: True, lambda _: False) == temporal_split(weeks, 8, lambda _: True)


def test_weeks_that_were_never_delivered_are_no_weeks_without_events() -> None:
    weeks = [week(number) for number in range(20)]
    delivered = weeks[:15]
    assert eligible_weeks(weeks, week(19), 8, delivered) == weeks[:7]  # as far as the data go, not the calendar
    # A summer of ten weeks: an as-of week whose whole horizon lies in it has seen nothing.
    year = [week(number) for number in (*range(10), *range(20, 30))]
    assert eligible_weeks(year, week(29), 8, year) == [week(n) for n in (*range(9), 20, 21)]
    assert eligible_weeks(weeks, week(19), 8, []) == []


@given(
    spans=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 20) | st.none()), max_size=8),
    through=st.integers(0, 55),
)
def test_of_ended_groups_the_last_validates_and_each_other_one_trains(
    spans: list[tuple[int, int | None]], through: int
) -> None:
    groups = [
        GroupSpan(week(first), dt.date.max if length is None else week(first + length)) for first, length in spans
    ]
    training, validation = split_until_exit(groups, week(through))
    assert not set(training) & set(validation)
    ended = [number for number, group in enumerate(groups) if group.resolved <= week(through)]
    assert bool(validation) == bool(ended)
    assert set(training) | set(validation) <= set(ended)
    for number in validation:
        assert groups[number].first == max(groups[one].first for one in ended)
        assert all(groups[one].first < groups[number].first for one in training)
    # No ended group is left out.
    assert set(training) | set(validation) == set(ended)


def test_open_university_2013j_trains_when_2014b_validates() -> None:
    """Presentations from February and October, of nine months each: 2013J ends in the summer of 2014B."""
    begins = {"2013B": dt.date(2013, 2, 4), "2013J": dt.date(2013, 10, 7), "2014B": dt.date(2014, 2, 3)}
    groups = [GroupSpan(first, first + 38 * WEEK) for first in begins.values()]
    assert split_until_exit(groups, dt.date(2013, 12, 2)) == ([], [0])
    assert split_until_exit(groups, dt.date(2014, 7, 7)) == ([0], [1])
    assert split_until_exit(groups, dt.date(2014, 11, 3)) == ([0, 1], [2])
