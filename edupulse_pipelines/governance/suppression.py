"""Hiding small counts so that they cannot be worked out from those that are published. Numbers in, numbers out.

A release is some tables of counts of the same people, each with all its totals. Counts from 1 to `k` - 1 are hidden
(primary). A hidden one could still follow from the totals, so more are hidden (complementary) until a linear programme
finds, for every hidden count, at least `k` values that fit everything that is published: in this release, and in the
earlier ones of the same day. HiGHS solves it, through SciPy. Nobody has to trust the choice of what is hidden; the
programme audits it.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array

ALL = "(all)"
"""In the place of a value: everybody, whatever the value."""
Cell = tuple[tuple[str, str], ...]
"""A count's place: (dimension, value) of each dimension it is counted by, in the order of the names; empty: all."""
_ROUNDING = 1e-6


class CannotBeHidden(Exception):
    """With what is published already, a small count can be worked out whatever else is hidden."""


@dataclass(frozen=True)
class Release:
    """Counts by cell; `hidden`: those that are not published. `published` has all the others."""

    published: Mapping[Cell, int]
    hidden: frozenset[Cell]


def cell_of(named: Mapping[str, str]) -> Cell:
    """The place of a count by its dimensions' values; a dimension whose value is `ALL` is left out."""
    return tuple(sorted((name, value) for name, value in named.items() if value != ALL))


def counted(people: Sequence[Mapping[str, str]], tables: Iterable[Sequence[str]]) -> dict[Cell, int]:
    """Every count of the tables (names of dimensions each) with all totals; 0 for combinations that nobody has."""
    values = {name: sorted({person[name] for person in people}) for table in tables for name in table}
    counts: Counter[Cell] = Counter()
    for table in tables:
        for size in range(len(table) + 1):
            for names in itertools.combinations(sorted(table), size):
                for combination in itertools.product(*(values[name] for name in names)):
                    counts.setdefault(tuple(zip(names, combination, strict=True)), 0)
    wanted = {tuple(name for name, _ in cell) for cell in counts}
    for names in wanted:
        for person in people:
            counts[tuple((name, person[name]) for name in names)] += 1
    return dict(counts)


def suppress(counts: Mapping[Cell, int], k: int, earlier: Sequence[Release] = ()) -> Release:
    """What of the counts can be published. `earlier`: releases about the same people.

    CannotBeHidden when no choice protects every small count.
    """
    known = {cell: count for release in earlier for cell, count in release.published.items()}
    hidden = {cell for cell, count in counts.items() if 0 < count < k and cell not in known}
    while True:
        narrow = narrowed(Release(_without(counts, hidden), frozenset(hidden)), k, earlier)
        if not narrow:
            return Release(_without(counts, hidden), frozenset(hidden))
        candidates = [cell for cell in counts if cell not in hidden and cell not in known]
        if not candidates:
            raise CannotBeHidden
        # The smallest count that shares most with what has to be protected.
        hidden.add(
            min(
                candidates,
                key=lambda cell: (
                    -max(_shared(cell, other) for other in narrow),
                    counts[cell] == 0,
                    counts[cell],
                    cell,
                ),
            )
        )


def _without(counts: Mapping[Cell, int], hidden: set[Cell]) -> dict[Cell, int]:
    return {cell: count for cell, count in counts.items() if cell not in hidden}


def _shared(cell: Cell, other: Cell) -> int:
    """How much two counts have in common: those of one table that differ in one value have the most."""
    same = len(set(cell) & set(other))
    return 2 * same + ({name for name, _ in cell} == {name for name, _ in other})


def narrowed(release: Release, k: int, earlier: Sequence[Release] = ()) -> set[Cell]:
    """The hidden counts of all releases of which fewer than `k` values fit everything that is published."""
    releases = [release, *earlier]
    published = {cell: count for one in releases for cell, count in one.published.items()}
    hidden = set().union(*(one.hidden for one in releases)) - set(published)
    if not hidden:
        return set()
    programme = _Programme([*published, *hidden], published)
    return {cell for cell in hidden if programme.values_of(cell) < k}


class _Programme:
    """The people as counts of every combination of values; what is published are sums of them."""

    def __init__(self, cells: Sequence[Cell], published: Mapping[Cell, int]) -> None:
        values: dict[str, set[str]] = {}
        for cell in cells:
            for name, value in cell:
                values.setdefault(name, set()).add(value)
        names = sorted(values)
        self._atoms = list(itertools.product(*(sorted(values[name]) for name in names)))
        self._places = {name: place for place, name in enumerate(names)}
        rows, columns = [], []
        for number, cell in enumerate(published):
            members = self._members(cell)
            rows += [number] * len(members)
            columns += members.tolist()
        shape = (len(published), len(self._atoms))
        self._sums = csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
        self._totals = np.array(list(published.values()), dtype=np.float64)

    def _members(self, cell: Cell) -> np.ndarray:
        wanted = [(self._places[name], value) for name, value in cell]
        return np.array(
            [number for number, atom in enumerate(self._atoms) if all(atom[place] == value for place, value in wanted)],
            dtype=np.int64,
        )

    def values_of(self, cell: Cell) -> int:
        """How many whole numbers the count can be, as far as a linear programme tells."""
        objective = np.zeros(len(self._atoms))
        objective[self._members(cell)] = 1.0
        least = self._solved(objective)
        most = -self._solved(-objective)
        if math.isinf(most):
            return 1 << 30
        return math.floor(most + _ROUNDING) - math.ceil(least - _ROUNDING) + 1

    def _solved(self, objective: np.ndarray) -> float:
        if not len(self._totals):
            return -math.inf if objective.min() < 0 else 0.0
        found = linprog(objective, A_eq=self._sums, b_eq=self._totals, bounds=(0, None), method="highs")
        if found.status == 3:  # without a bound
            return -math.inf
        if found.status != 0:
            raise RuntimeError(f"the linear programme was not solved: {found.message}")
        return float(found.fun)
