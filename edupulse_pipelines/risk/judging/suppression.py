"""Which groups of students figures are told of, and how coarsely, so that no small group can be worked out from them.

Everything that is stored about groups (tables, MLflow, Dagster, cards) goes through here before it is stored:

- A value that fewer than `minimum` students have is never told. Where such values are still fewer than `minimum`
  students together, the smallest of the other values joins them (`gender=M and smaller groups`), because everybody less
  the other groups would tell them otherwise. Nothing is told of an attribute that has no second group then.
- Counts are told in steps of so many students, rates in two digits, and those of events never as "none" or "all". So
  what is told of one group in two versions of a model differs as much by rounding as by a few students.
- Of intersections (`gender=F & ethnicity=Asian`) no count of students or of their weeks is told.

Nothing that is told separates who was put together, in no version: any split of such a group fits everything.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

NOT_RECORDED = "not recorded"
"""Value of a subgroup whose attribute the district did not send."""
SMALLER_GROUPS = "smaller groups"
"""Value of the subgroup that holds everybody whose own subgroup is too small to be named."""
STEP = 10
"""Students: the step in which counts of groups are told, or `minimum` where that is more."""
DIGITS_OF_GROUPS = 2
"""Of rates and figures of groups."""
AND = " & "
"""Between the two subgroups of an intersection."""

_LONGEST_SUBGROUP = 100  # characters, as in `model_evaluations`


@dataclass(frozen=True)
class Group:
    """Students that figures may be told of."""

    name: str
    """`attribute=value`, or two of them."""
    rows: NDArray[np.int64]
    """Numbers of its rows, ascending."""
    crossed: bool = False
    """Whether it is an intersection."""


def subgroup_rows(
    subgroups: Mapping[str, NDArray[Any]], student: NDArray[Any], minimum: int
) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """(`attribute=value`, row numbers) of every group: attributes as given, values in order, unrecorded ones last.

    Values that fewer than `minimum` students have are together in `attribute=smaller groups`, which comes last; fewer
    than `minimum` together, they have the smallest of the other values with them. An attribute that everybody has one
    value of, or that is left with one group, has none. Whole numbers lose their `.0` (a column with gaps arrives as
    floats), long values are cut to what the table holds.
    """
    for attribute, values in subgroups.items():
        yield from _groups_of(attribute, values, student, minimum)


def groups(
    subgroups: Mapping[str, NDArray[Any]],
    student: NDArray[Any],
    minimum: int,
    pairs: Sequence[tuple[str, str]] = (),
) -> list[Group]:
    """Every group of `subgroup_rows`, then the intersections of each pair of attributes.

    An intersection is made of the groups above, so that it separates nobody whom they put together. One of fewer than
    `minimum` students is left out, and so is one that is all of either group.
    """
    found = {name: list(subgroup_rows({name: values}, student, minimum)) for name, values in subgroups.items()}
    made = [Group(label, rows) for of_attribute in found.values() for label, rows in of_attribute]
    for one, other in pairs:
        for (first, of_first), (second, of_second) in itertools.product(found.get(one, ()), found.get(other, ())):
            rows = np.intersect1d(of_first, of_second, assume_unique=True)
            all_of_one = len(rows) in (len(of_first), len(of_second))
            if not all_of_one and _students(student, rows) >= minimum:
                made.append(Group(f"{first}{AND}{second}", rows, crossed=True))
    return made


def told_count(students: int, minimum: int, weeks: int = 1) -> int:
    """A count of a group's students (or events) as it may be told: to the nearest step; of student-weeks of `weeks`.

    A step of student-weeks is as many students through all weeks: divided by the weeks, a count would be told finer.
    """
    step = max(STEP, minimum) * max(1, weeks)
    return step * math.floor(students / step + 0.5)


def told_rate(part: float, whole: float) -> float | None:
    """The share of a group's rows with an event as it may be told; None of fewer than two steps of rows.

    Never nearer to 0 or to 1 than a step of rows: "none of them" and "all of them" would tell it of each of them.
    """
    if whole < 2 * STEP:
        return None
    return told_figure(min(max(part, STEP), whole - STEP) / whole)


def told_figure(value: float | None) -> float | None:
    """A rate or another figure of a group as it may be told."""
    return None if value is None or math.isnan(value) else round(float(value), DIGITS_OF_GROUPS) + 0.0


def _groups_of(
    attribute: str, values: NDArray[Any], student: NDArray[Any], minimum: int
) -> Iterator[tuple[str, NDArray[np.int64]]]:
    codes, distinct = pd.factorize(np.asarray(values, dtype=object))
    labels = [_text(value) for value in [*distinct, None]]
    together, large = [np.empty(0, dtype=np.int64)], {}
    # Different values may read alike (9 and "9", or what is cut at the same length): one subgroup.
    for label in sorted(set(labels), key=_reading_order):
        alike = [code if code < len(distinct) else -1 for code, text in enumerate(labels) if text == label]
        rows = np.flatnonzero(np.isin(codes, alike))
        if label == SMALLER_GROUPS or _students(student, rows) < minimum:
            together.append(rows)
        else:
            large[label] = rows
    smaller, name = np.sort(np.concatenate(together)), SMALLER_GROUPS
    if large and 0 < _students(student, smaller) < minimum:
        sizes = {label: _students(student, rows) for label, rows in large.items()}
        joined = min(sizes, key=lambda label: sizes[label])
        smaller, name = np.sort(np.concatenate([smaller, large.pop(joined)])), f"{joined} and {SMALLER_GROUPS}"
    told = [*large.items(), *([(name, smaller)] if len(smaller) else [])]
    if len(told) < 2:
        return
    cut: dict[str, list[NDArray[np.int64]]] = {}
    for label, rows in told:
        cut.setdefault(f"{attribute}={label}"[:_LONGEST_SUBGROUP], []).append(rows)
    for label, parts in cut.items():
        yield label, np.sort(np.concatenate(parts))


def _students(student: NDArray[Any], rows: NDArray[np.int64]) -> int:
    return len(np.unique(student[rows]))


def _text(value: Any) -> str:
    if value is None or value == "" or value is pd.NA or (isinstance(value, float | np.floating) and math.isnan(value)):
        return NOT_RECORDED
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _reading_order(text: str) -> tuple[bool, float, str]:
    """Numbers by size, then words; what is not recorded last."""
    number = float(text) if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text) else math.inf
    return text == NOT_RECORDED, number, text
