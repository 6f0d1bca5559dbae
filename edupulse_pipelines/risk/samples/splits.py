"""Which as-of weeks a model may train on, and which it is validated on. Dates only; no data access.

An as-of week is usable when its horizon has passed by the data-through week. Validation comes last, and the horizon of
every training week ends before the first validation week begins: nothing the model learned from overlaps what it is
judged on. Where the horizon is the exit, groups (a presentation of a course, say) take the place of weeks: the group
that began last and has ended validates, and every ended group that began before it trains, though some of these ended
after it had begun: it is another group, of other students, and a group thrown away costs more than a shared season.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edupulse_pipelines.weeks import WEEK

MAXIMUM_VALIDATION_WEEKS = 8


@dataclass(frozen=True)
class Split:
    """As-of weeks (Mondays, ascending) of training and of validation; either may be empty."""

    training: tuple[dt.date, ...]
    validation: tuple[dt.date, ...]


def eligible_weeks(
    weeks: Iterable[dt.date],
    data_through: dt.date,
    horizon_weeks: int,
    school_weeks: Sequence[dt.date] | None = None,
) -> list[dt.date]:
    """The as-of weeks whose horizon (the `horizon_weeks` calendar weeks after them) has fully passed, ascending.

    Passed: by `data_through` and, where `school_weeks` (those with data) are given, by the newest of them up to then;
    and with a school week within it. A week that was never delivered, or a summer, is not a week without events.
    """
    if school_weeks is None:
        return sorted(week for week in set(weeks) if week + horizon_weeks * WEEK <= data_through)
    past_weeks = sorted(week for week in school_weeks if week <= data_through)
    if not past_weeks:
        return []
    return [
        week
        for week in eligible_weeks(weeks, past_weeks[-1], horizon_weeks)
        if any(week < other <= week + horizon_weeks * WEEK for other in past_weeks)
    ]


def temporal_split(
    weeks: Sequence[dt.date],
    horizon_weeks: int,
    enough: Callable[[Split], bool],
    ample: Callable[[Split], bool] = lambda split: True,
) -> Split:
    """Split eligible as-of weeks (ascending): the last ones validate, those whose horizon ends before them train.

    About a third of the span beyond one horizon validates, between 1 and 8 weeks; backwards from there the validation
    grows until the split is `enough` (labels of both classes) and `ample` (not a handful of students who were left at
    the end), as long as there is something left to train on. Without an ample split the first that is enough is
    returned; without one, the first of all, and the caller says what is missing.
    """
    if not weeks:
        return Split((), ())
    span = (weeks[-1] - weeks[0]).days // 7 + 1
    size = min(max((span - horizon_weeks) // 3, 1), MAXIMUM_VALIDATION_WEEKS)
    newest = max(len(weeks) - size, 0)
    acceptable: Split | None = None
    for start in range(newest, -1, -1):
        split = _split_at(weeks, start, horizon_weeks)
        if not split.training:
            break
        if enough(split):
            if ample(split):
                return split
            acceptable = acceptable or split
    return acceptable or _split_at(weeks, newest, horizon_weeks)


@dataclass(frozen=True)
class GroupSpan:
    """When a group learned, in as-of weeks (Mondays)."""

    first: dt.date
    """Its first as-of week with a cohort."""
    resolved: dt.date
    """The week by whose end (nearly) everybody of it had left; `dt.date.max` while they have not."""


def split_until_exit(groups: Sequence[GroupSpan], data_through: dt.date) -> tuple[list[int], list[int]]:
    """Positions of the groups that train and of those that validate, as known by `data_through`; either may be empty.

    Those that began last among the ended ones validate, together with all that began in the same week; every other
    ended one trains. So with each group that ends, the one that validated before it is among those that train.
    """
    ended = [number for number, group in enumerate(groups) if group.resolved <= data_through]
    if not ended:
        return [], []
    newest = max(groups[number].first for number in ended)
    validation = [number for number in ended if groups[number].first == newest]
    training = [number for number in ended if groups[number].first < newest]
    return training, validation


def _split_at(weeks: Sequence[dt.date], start: int, horizon_weeks: int) -> Split:
    validation = tuple(weeks[start:])
    training = tuple(week for week in weeks[:start] if week + horizon_weeks * WEEK <= validation[0])
    return Split(training, validation)


def training_points(weeks: Iterable[dt.date], retrain_weeks: int) -> list[dt.date]:
    """The data-through weeks to train at for a range of weeks: the last one, and every `retrain_weeks` before it.

    `weeks` are Mondays; only the first and the last matter. Ascending; empty for no weeks.
    """
    mondays = sorted(weeks)
    if not mondays:
        return []
    points = []
    point = mondays[-1]
    while point >= mondays[0]:
        points.append(point)
        point -= retrain_weeks * WEEK
    return points[::-1]
