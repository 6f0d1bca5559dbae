"""How far a data set tells single people apart, and making it tell less: k-anonymity by declared ladders.

Rows in, rows out; nothing here knows a student. A ladder says how a column is made coarser, step by step, up to one
value for everybody. The coarsening that is chosen is the one with the fewest steps in all under which every row is like
at least `k` - 1 others, but for a few that are dropped. l-diversity and t-closeness are measured, not enforced.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Row = Mapping[str, str]
Step = Callable[[str], str]
ANY = "*"
"""The value of a column in which nobody is told from anybody."""


@dataclass(frozen=True)
class Ladder:
    """How a column is made coarser: each step maps the value as it is to a coarser one; the first leaves it."""

    column: str
    steps: tuple[tuple[str, Step], ...]
    """(what the step does, in words; the step)."""


@dataclass(frozen=True)
class Anonymous:
    """The rows that are left, in order; `steps`: what was done to each column; `suppressed`: rows that were dropped."""

    kept: tuple[int, ...]
    rows: tuple[dict[str, str], ...]
    steps: dict[str, str]
    suppressed: int
    k: int


def anonymous(rows: Sequence[Row], ladders: Sequence[Ladder], k: int, max_suppressed: float) -> Anonymous | None:
    """The rows under the gentlest coarsening that makes every class `k` rows or more; None when there is none.

    max_suppressed: share of the rows that may be dropped because their class stays too small.
    """
    allowed = int(max_suppressed * len(rows))
    heights = [range(len(ladder.steps)) for ladder in ladders]
    for levels in sorted(itertools.product(*heights), key=lambda chosen: (sum(chosen), max(chosen, default=0), chosen)):
        steps = {ladder.column: ladder.steps[level] for ladder, level in zip(ladders, levels, strict=True)}
        coarse = [{column: step(row[column]) for column, (_, step) in steps.items()} for row in rows]
        sizes = Counter(tuple(row.values()) for row in coarse)
        kept = [number for number, row in enumerate(coarse) if sizes[tuple(row.values())] >= k]
        if not kept or len(rows) - len(kept) > allowed:
            continue
        return Anonymous(
            tuple(kept),
            tuple({**rows[number], **coarse[number]} for number in kept),
            {column: words for column, (words, _) in steps.items()},
            len(rows) - len(kept),
            min(sizes[tuple(coarse[number].values())] for number in kept),
        )
    return None


def diversity(rows: Sequence[Row], quasi: Sequence[str], sensitive: str) -> int:
    """Distinct l-diversity: the fewest different values of a sensitive column in a class of rows that look alike."""
    return min(len({row[sensitive] for row in alike}) for alike in _classes(rows, quasi))


def closeness(rows: Sequence[Row], quasi: Sequence[str], sensitive: str) -> float:
    """t-closeness: how far the sensitive column of a class is at most from that of everybody (0 to 1).

    Half the sum of the differences of shares, for values without an order (the variational distance).
    """
    everybody = _shares(rows, sensitive)
    return max(
        sum(abs(_shares(alike, sensitive).get(value, 0.0) - share) for value, share in everybody.items()) / 2
        for alike in _classes(rows, quasi)
    )


def _classes(rows: Sequence[Row], quasi: Sequence[str]) -> list[list[Row]]:
    alike: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        alike.setdefault(tuple(row[name] for name in quasi), []).append(row)
    return list(alike.values())


def _shares(rows: Sequence[Row], column: str) -> dict[str, float]:
    counts = Counter(row[column] for row in rows)
    return {value: count / len(rows) for value, count in counts.items()}
