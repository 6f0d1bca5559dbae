"""Hiding small counts so that they cannot be worked out from those that are published. Numbers in, numbers out.

A release is some tables of counts of the same people, each with all its totals. Counts from 1 to `k` - 1 are hidden
(primary). A hidden one could still follow from the totals, so more are hidden (complementary) until a linear programme
finds, for every hidden count, at least `k` values that fit everything that is published: in this release, and in every
earlier one. HiGHS solves it, through SciPy. Nobody has to trust the choice of what is hidden; the programme audits it.

Releases of other days are about other people, and no total joins them. But most of the people are the same, and who
knows how few have changed can compare. So the programme takes it that a reader knows how many have come, gone or
changed from one release to the next, though not who: without any change two releases are as one.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog
from scipy.sparse import csr_array

ALL = "(all)"
"""In the place of a value: everybody, whatever the value."""
Cell = tuple[tuple[str, str], ...]
"""A count's place: (dimension, value) of each dimension it is counted by, in the order of the names; empty: all."""
_Place = tuple[int, Cell]
"""A count of a snapshot: 0 is the newest, -1 the one before."""
_ROUNDING = 1e-6
_PULLS, _FEW = 24, 4
"""How many solutions are looked for at most that are about many counts, and how many counts are few."""


class CannotBeHidden(Exception):
    """With what is published already, a small count can be worked out whatever else is hidden."""


@dataclass(frozen=True)
class Release:
    """Counts by cell; `hidden`: those that are not published. `published` has all the others."""

    published: Mapping[Cell, int]
    hidden: frozenset[Cell]


@dataclass(frozen=True)
class Snapshot:
    """Releases about the people of one moment; `changes`: of people until the next snapshot (see `changes_between`)."""

    releases: tuple[Release, ...]
    changes: float


def changes_between(before: Mapping[Any, Mapping[str, str]], after: Mapping[Any, Mapping[str, str]]) -> int:
    """By how many people two moments differ: who came or went counts once, whose values are others twice.

    Both: a person's values of the dimensions, by who it is.
    """
    one, other = (
        {(person, tuple(sorted(values.items()))) for person, values in people.items()} for people in (before, after)
    )
    return len(one ^ other)


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


def suppress(
    counts: Mapping[Cell, int], k: int, earlier: Sequence[Release] = (), past: Sequence[Snapshot] = ()
) -> Release:
    """What of the counts can be published. `earlier`: releases about the same people; `past`: about those of before.

    CannotBeHidden when no choice protects every small count.
    """
    known = {cell: count for release in earlier for cell, count in release.published.items()}
    hidden = {cell for cell, count in counts.items() if 0 < count < k and cell not in known}
    told_before: set[_Place] | None = None
    for together in ((), past) if past else ((),):
        # Hiding more only adds to what fits: a count that has enough values keeps them.
        wide: set[_Place] = set()
        while True:
            release = Release(_without(counts, hidden), frozenset(hidden))
            narrow = _first_narrow(_programme(release, earlier, together), k, wide)
            if narrow is None:
                break
            if narrow[0] < 0:  # of an earlier release: perhaps those before have told it, and it is too late
                if told_before is None:
                    told_before = narrowed(Release({}, frozenset()), k, earlier, past)
                if narrow in told_before:
                    wide.add(narrow)
                    continue
            candidates = [cell for cell in counts if cell not in hidden and cell not in known]
            if not candidates:
                raise CannotBeHidden
            hidden.add(_next_hidden(candidates, counts, narrow[1]))
    return Release(_without(counts, hidden), frozenset(hidden))


def _first_narrow(programme: _Programme, k: int, wide: set[_Place]) -> _Place | None:
    """The first hidden count that can be fewer than `k` values, but for those in `wide`, which others then join."""
    for place, is_narrow in programme.judged(k, wide):
        if is_narrow:
            return place
        wide.add(place)
    return None


def _next_hidden(candidates: Sequence[Cell], counts: Mapping[Cell, int], narrow: Cell) -> Cell:
    """The smallest count that shares most with what has to be protected."""
    return min(candidates, key=lambda cell: (-_shared(cell, narrow), counts[cell] == 0, counts[cell], cell))


def _without(counts: Mapping[Cell, int], hidden: set[Cell]) -> dict[Cell, int]:
    return {cell: count for cell, count in counts.items() if cell not in hidden}


def _shared(cell: Cell, other: Cell) -> int:
    """How much two counts have in common: those of one table that differ in one value have the most."""
    same = len(set(cell) & set(other))
    return 2 * same + ({name for name, _ in cell} == {name for name, _ in other})


def narrowed(release: Release, k: int, earlier: Sequence[Release] = (), past: Sequence[Snapshot] = ()) -> set[_Place]:
    """The hidden counts of all releases of which fewer than `k` values fit everything that is published.

    Each with its place: 0 for this release and those about the same people, -1 for the newest of `past`, and so on.
    """
    return {place for place, is_narrow in _programme(release, earlier, past).judged(k) if is_narrow}


def _programme(release: Release, earlier: Sequence[Release], past: Sequence[Snapshot]) -> _Programme:
    groups = [*(snapshot.releases for snapshot in past), (release, *earlier)]
    published = [{cell: count for one in group for cell, count in one.published.items()} for group in groups]
    hidden = [
        frozenset().union(*(one.hidden for one in group)) - set(told)
        for group, told in zip(groups, published, strict=True)
    ]
    return _Programme(published, hidden, [snapshot.changes for snapshot in past])


class _Programme:
    """The people of each snapshot as counts of every combination of values; what is published are sums of them.

    From one snapshot to the next as many people at most are added to combinations, or taken from them, as there have
    been changes; or as it takes at least, where what was published (of values that were put right later, say) needs
    more.
    """

    def __init__(
        self, published: Sequence[Mapping[Cell, int]], hidden: Sequence[Iterable[Cell]], changes: Sequence[float]
    ) -> None:
        values: dict[str, set[str]] = {}
        for cells in (*published, *hidden):
            for cell in cells:
                for name, value in cell:
                    values.setdefault(name, set()).add(value)
        names = sorted(values)
        self._atoms = list(itertools.product(*(sorted(values[name]) for name in names)))
        self._places = {name: place for place, name in enumerate(names)}
        now = len(published) - 1
        self._hidden = [(number - now, cell) for number, cells in enumerate(hidden) for cell in sorted(cells)]
        self._now = now
        # For each snapshot its combinations; then for each step what is added, what is taken, and what is needed more.
        self._columns = len(published) * len(self._atoms)
        steps = len(changes) * (2 * len(self._atoms) + 1)
        self._width = self._columns + steps
        self._equal = self._sums(published)
        self._most = self._limits(changes)
        self._needed = np.full(len(changes), np.inf)
        if changes and self._hidden:
            objective = np.zeros(self._width)
            objective[self._width - len(changes) :] = 1.0
            found = self._solved(objective)
            assert found is not None  # more may always be needed
            self._needed = found[self._width - len(changes) :] + _ROUNDING

    def _sums(self, published: Sequence[Mapping[Cell, int]]) -> tuple[csr_array, npt.NDArray[np.float64]]:
        """Each published count is a sum, and each snapshot is the one before with what is added and taken."""
        rows: list[int] = []
        columns: list[int] = []
        factors: list[float] = []
        totals: list[float] = []
        for number, told in enumerate(published):
            for cell, count in told.items():
                members = self._members(number, cell)
                rows += [len(totals)] * len(members)
                columns += members.tolist()
                factors += [1.0] * len(members)
                totals.append(count)
        atoms = len(self._atoms)
        for step in range(len(published) - 1):
            added = self._columns + 2 * step * atoms
            for atom in range(atoms):
                rows += [len(totals)] * 4
                columns += [(step + 1) * atoms + atom, step * atoms + atom, added + atom, added + atoms + atom]
                factors += [1.0, -1.0, -1.0, 1.0]
                totals.append(0)
        shape = (len(totals), self._width)
        return csr_array((factors, (rows, columns)), shape=shape), np.array(totals, dtype=np.float64)

    def _limits(self, changes: Sequence[float]) -> tuple[csr_array, npt.NDArray[np.float64]]:
        """What is added and taken in a step is no more than there were changes, or than is needed."""
        rows: list[int] = []
        columns: list[int] = []
        factors: list[float] = []
        of_step = 2 * len(self._atoms)
        for step in range(len(changes)):
            first = self._columns + step * of_step
            rows += [step] * (of_step + 1)
            columns += [*range(first, first + of_step), self._width - len(changes) + step]
            factors += [1.0] * of_step + [-1.0]
        shape = (len(changes), self._width)
        return csr_array((factors, (rows, columns)), shape=shape), np.array(changes, dtype=np.float64)

    def _members(self, snapshot: int, cell: Cell) -> npt.NDArray[np.int64]:
        """The columns whose sum a count of a snapshot is."""
        wanted = [(self._places[name], value) for name, value in cell]
        first = snapshot * len(self._atoms)
        return np.array(
            [
                first + number
                for number, atom in enumerate(self._atoms)
                if all(atom[place] == value for place, value in wanted)
            ],
            dtype=np.int64,
        )

    def judged(self, k: int, wide: Collection[_Place] = ()) -> Iterator[tuple[_Place, bool]]:
        """Every hidden count, those in `wide` aside, and whether it can be fewer than `k` whole numbers.

        As the programme is linear, everything between two values that fit does. So each solution widens what is known
        of every count: solutions that pull all of them hither and thither are enough for most, and the others are asked
        for one by one.
        """
        asked = [place for place in self._hidden if place not in wide]
        members = [self._members(number + self._now, cell) for number, cell in asked]
        least, most = np.full(len(asked), np.inf), np.full(len(asked), -np.inf)

        def look(objective: npt.NDArray[np.float64]) -> bool:
            """Widen by a solution with the least of the objective; False when that has no bound."""
            nonlocal least, most
            found = self._solved(objective)
            if found is None:
                return False
            values = np.array([found[columns].sum() for columns in members])
            least, most = np.minimum(least, values), np.maximum(most, values)
            return True

        def is_wide() -> npt.NDArray[np.bool_]:
            with np.errstate(invalid="ignore"):
                return np.floor(most + _ROUNDING) - np.ceil(least - _ROUNDING) + 1 >= k

        chance = np.random.default_rng(0)
        for _ in range(_PULLS):
            left = np.flatnonzero(~is_wide())
            if len(left) <= _FEW:
                break
            objective = np.zeros(self._width)
            for number, sign in zip(left.tolist(), chance.choice([-1.0, 1.0], len(left)).tolist(), strict=True):
                objective[members[number]] += sign
            # Without a bound where nothing is published: away from it, then.
            if not look(objective) and not look(-objective):
                break
        for number, columns in enumerate(members):
            for sign in (1.0, -1.0):
                if is_wide()[number]:
                    break
                objective = np.zeros(self._width)
                objective[columns] = sign
                if not look(objective):
                    most[number] = np.inf
            yield asked[number], not is_wide()[number]

    def _solved(self, objective: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
        """A solution with the least of the objective; None when that has no bound."""
        (equal, totals), (limits, changes) = self._equal, self._most
        if not len(totals) and not len(changes):
            return None if objective.min() < 0 else np.zeros(self._width)
        upper = np.full(self._width, np.inf)
        upper[self._width - len(changes) :] = self._needed
        found = linprog(
            objective,
            A_eq=equal if len(totals) else None,
            b_eq=totals if len(totals) else None,
            A_ub=limits if len(changes) else None,
            b_ub=changes if len(changes) else None,
            bounds=np.column_stack([np.zeros(self._width), upper]),
            method="highs",
        )
        if found.status == 3:  # without a bound
            return None
        if found.status != 0:
            raise RuntimeError(f"the linear programme was not solved: {found.message}")
        return np.asarray(found.x, dtype=np.float64)
