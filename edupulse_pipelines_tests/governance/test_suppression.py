"""What is hidden cannot be worked out: by a programme of whole numbers of our own, over every table that fits."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edupulse_pipelines.governance.suppression import (
    CannotBeHidden,
    Cell,
    Release,
    Snapshot,
    cell_of,
    changes_between,
    counted,
    narrowed,
    suppress,
)


def people(counts: dict[tuple[str, str], int]) -> list[dict[str, str]]:
    return [{"grade": grade, "gender": gender} for (grade, gender), count in counts.items() for _ in range(count)]


def possible(release: Release, rows: Sequence[str], columns: Sequence[str], total: int) -> dict[Cell, set[int]]:
    """By hidden cell every value that it has in some table of whole numbers that fits, by trying all of them."""
    names = list(itertools.product(rows, columns))
    values: dict[Cell, set[int]] = {cell: set() for cell in release.hidden}
    for numbers in itertools.product(range(total + 1), repeat=len(names)):
        if sum(numbers) != total:
            continue
        table = dict(zip(names, numbers, strict=True))
        sums = counted(people(table), [("grade", "gender")])
        sums |= {cell: 0 for cell in (*release.published, *release.hidden) if cell not in sums}
        if all(sums[cell] == count for cell, count in release.published.items()):
            for cell, fitting in values.items():
                fitting.add(sums[cell])
    return values


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=4, max_size=4))
def test_every_hidden_count_has_k_values_that_fit(numbers: list[int]) -> None:
    names = list(itertools.product(("9", "10"), ("F", "M")))
    counts = counted(people(dict(zip(names, numbers, strict=True))), [("grade", "gender")])
    release = suppress(counts, 3)
    assert all(not 0 < count < 3 for count in release.published.values())
    assert {**release.published, **dict.fromkeys(release.hidden, 0)}.keys() == counts.keys()
    rows = sorted({dict(cell)["grade"] for cell in counts if len(cell) == 2} | {"9"})
    columns = sorted({dict(cell)["gender"] for cell in counts if len(cell) == 2} | {"F"})
    if len(rows) * len(columns) <= 4 and release.hidden and () in release.published:
        for cell, values in possible(release, rows, columns, release.published[()]).items():
            assert len(values) >= 3, (cell, values)


def test_a_single_hidden_count_would_follow_from_the_totals() -> None:
    counts = counted(people({("9", "F"): 20, ("9", "M"): 3, ("10", "F"): 15, ("10", "M"): 30}), [("grade", "gender")])
    small = cell_of({"grade": "9", "gender": "M"})
    alone = Release({cell: count for cell, count in counts.items() if cell != small}, frozenset({small}))
    assert narrowed(alone, 5) == {(0, small)}
    release = suppress(counts, 5)
    assert small in release.hidden
    assert len(release.hidden) > 1
    assert narrowed(release, 5) == set()


def test_a_table_without_small_counts_is_published_whole() -> None:
    counts = counted(people({("9", "F"): 20, ("9", "M"): 30, ("10", "F"): 15, ("10", "M"): 0}), [("grade", "gender")])
    assert suppress(counts, 10) == Release(counts, frozenset())


def test_two_releases_that_together_reveal_a_count() -> None:
    folk = [
        {"grade": "9" if n < 23 else "10", "gender": "F" if n % 2 else "M", "home": "x" if n < 20 else "y"}
        for n in range(50)
    ]
    first = suppress(counted(folk, [("grade",)]), 5)
    assert not first.hidden
    # Of the 23 of grade 9 three live in y: with the totals of the first release, 20 of x in grade 9 say it.
    second = counted(folk, [("home", "grade")])
    revealing = Release({cell_of({"home": "x", "grade": "9"}): 20}, frozenset({cell_of({"home": "y", "grade": "9"})}))
    assert narrowed(revealing, 5) == set()
    assert narrowed(revealing, 5, [first]) == {(0, cell_of({"home": "y", "grade": "9"}))}
    together = suppress(second, 5, [first])
    assert cell_of({"home": "x", "grade": "9"}) in together.hidden
    assert narrowed(together, 5, [first]) == set()


def test_what_earlier_releases_have_told_cannot_be_hidden_any_more() -> None:
    folk = people({("9", "F"): 3, ("9", "M"): 20})
    counts = counted(folk, [("grade", "gender")])
    told = Release({(): 23, cell_of({"gender": "M"}): 20}, frozenset({cell_of({"gender": "F"})}))
    with pytest.raises(CannotBeHidden):
        suppress(counts, 5, [told])


def test_the_same_figures_of_another_week_are_one_with_these() -> None:
    """Figures that do not change from week to week, such as counts of a whole year, are published again as they are."""
    hidden = cell_of({"home": "y", "grade": "9"})
    revealing = Release({cell_of({"home": "x", "grade": "9"}): 20}, frozenset({hidden}))
    week = Release({(): 50, cell_of({"grade": "9"}): 23, cell_of({"grade": "10"}): 27}, frozenset())
    assert narrowed(revealing, 5, past=[Snapshot((week,), 0)]) == {(0, hidden)}
    # What a week hid is worked out from the next one, and the other way round.
    assert narrowed(week, 5, past=[Snapshot((revealing,), 0)]) == {(-1, hidden)}
    assert narrowed(week, 5, past=[Snapshot((revealing,), 0), Snapshot((week,), 0)]) == {(-2, hidden)}


@pytest.mark.parametrize(("changes", "is_narrow"), [(0, True), (1, True), (2, False), (30, False)])
def test_weeks_tell_of_each_other_as_far_as_few_have_changed(changes: int, is_narrow: bool) -> None:
    # The child of y in grade 9 is one; with one change it can be 0 to 2, with two 0 to 3, of which there are four.
    hidden = cell_of({"home": "y", "grade": "9"})
    release = Release({cell_of({"home": "x", "grade": "9"}): 20}, frozenset({hidden}))
    week = Release({cell_of({"grade": "9"}): 21}, frozenset())
    assert (narrowed(release, 4, past=[Snapshot((week,), changes)]) == {(0, hidden)}) is is_narrow


def test_figures_that_were_put_right_since_do_not_stop_the_programme() -> None:
    hidden = cell_of({"home": "y", "grade": "9"})
    release = Release({cell_of({"home": "x", "grade": "9"}): 20}, frozenset({hidden}))
    # Of x there were twelve, and nobody is known to have come: as few as it takes, eight, are taken to have.
    week = Release({cell_of({"grade": "9"}): 21, cell_of({"grade": "9", "home": "x"}): 12}, frozenset())
    assert narrowed(release, 2, past=[Snapshot((week,), 0)]) == {(0, hidden)}
    assert narrowed(release, 10, past=[Snapshot((week,), 8 + 5)]) == set()


def test_who_came_or_went_is_a_change_and_whose_value_is_another_one_is_two() -> None:
    before = {1: {"grade": "9"}, 2: {"grade": "9"}, 3: {"grade": "10"}}
    assert changes_between(before, before) == 0
    assert changes_between(before, {1: {"grade": "9"}, 2: {"grade": "10"}, 4: {"grade": "10"}}) == 4


def test_what_old_releases_have_told_by_themselves_stops_no_new_one() -> None:
    told = Release(
        {(): 23, cell_of({"gender": "M"}): 20}, frozenset({cell_of({"gender": "F"})})
    )  # from before releases of several weeks were checked together
    counts = counted(people({("9", "F"): 30, ("9", "M"): 30}), [("grade", "gender")])
    assert suppress(counts, 5, past=[Snapshot((told,), 60)]) == Release(counts, frozenset())
