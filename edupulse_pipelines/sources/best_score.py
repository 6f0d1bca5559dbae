"""The best score there can be on the synthetic district: the true probability of an adverse event.

The generator knows what no file says: every hidden trait, who has already decided to leave, what will be due. Given
that whole state at the end of an as-of week, this module plays the horizon many times with other random streams and
counts in how many of these futures the event happens. The state is all that the future depends on, so nothing that was
recorded up to then could add to it, and no other score has a higher expected AUC.

It is an upper bound, not a goal: a model sees noisy marks and attendance, not the state. What it lacks to the bound is
what it fails to read from the record and what the record does not say, and this module cannot tell the two apart. With
the default story and label most of it is the latter: after 28 school weeks, even boosted trees on hundreds of features
of 24,000 students stay 0.03 AUC below the bound. Two errors remain:

- Monte Carlo: a probability from k futures has a standard error of at most 1 / (2 sqrt(k)): 0.035 with 200. It costs
  some AUC (with 50 futures about 0.008, with 200 about 0.001), so the bound is a little too low on average.
- Sampling: an AUC of a few hundred students has a standard error of 0.01 to 0.02, by which another score may beat the
  bound on one sample. Compare on the same rows.

What lives here: the label's definition for a simulated year, and the futures. What does not: the story
(`synthetic_district`), the label of records (`risk.samples.labels`), metrics.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edupulse_pipelines.settings import GRADE_DIGITS, LabelSettings
from edupulse_pipelines.sources import DEFAULT_SEED
from edupulse_pipelines.sources.synthetic_year import (
    ABSENT,
    DAYS,
    DEFAULT_STORY,
    EXCUSED,
    PRESENT,
    TARDY,
    Story,
    Year,
    first_day,
)
from edupulse_pipelines.weeks import WEEK

# Students times futures that are played at a time: about 100 MB for a year of 40 weeks.
_ROWS_AT_A_TIME = 20_000
# The generator's own streams are the children 0 to 2 of its seed.
_STREAM = 3


@dataclass(frozen=True)
class BestScores:
    """True probabilities of the label, and what happened. Arrays have the shape (students, as-of weeks)."""

    district_ids: tuple[str, ...]
    weeks: tuple[dt.date, ...]
    """The as-of weeks (Mondays), ascending."""
    futures: int
    """Futures played per student and week."""
    probability: NDArray[np.float64]
    """Share of the futures with an adverse event; NaN for who is not enrolled at the end of the as-of week."""
    adverse: NDArray[np.bool_]
    """Whether the event happened in the year that the files tell of. The files' dirt is not in it: a row that was lost
    there turns the label of very few students (well below 1 %)."""

    @property
    def enrolled(self) -> NDArray[np.bool_]:
        """Who is enrolled at the end of each as-of week, and so has a probability."""
        return ~np.isnan(self.probability)


def best_scores(
    *,
    students: int = 500,
    weeks: int = 36,
    seed: int = DEFAULT_SEED,
    last_week: dt.date,
    as_of: Sequence[dt.date],
    label: LabelSettings | None = None,
    futures: int = 200,
    story: Story = DEFAULT_STORY,
) -> BestScores:
    """The true probability of `label` (None: the default one) after each as-of week, given the whole hidden state.

    `students` to `last_week` and `story` as for `generate_district`. `as_of` are Mondays of school weeks whose horizon,
    `label.horizon_weeks` calendar weeks, ends by `last_week`; breaks count as they do for records. The same arguments
    give the same numbers, and a week's do not depend on which others are asked for.

    Time grows with students x as-of weeks x futures x school weeks in the horizon (2,000 x 1 x 200 x 7: about 8
    seconds). ValueError for other weeks, for fewer than one future, for a horizon that
    is not a number of weeks, and for arguments that make no district.
    """
    label = LabelSettings() if label is None else label
    if futures < 1:
        raise ValueError("futures must be at least 1")
    year = first_day(students=students, weeks=weeks, seed=seed, last_week=last_week, story=story)
    wanted = tuple(sorted(set(as_of)))
    _check(wanted, year.weeks, label)
    probability = np.full((students, len(wanted)), np.nan)
    for number, week in enumerate(year.weeks):
        year.play(number)
        if week in wanted:
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAM, number)))
            here = _enrolled(year, number)
            probability[here, wanted.index(week)] = _share_adverse(year, number, label, futures, rng)[here]
    adverse = np.empty(probability.shape, dtype=bool)
    for column, week in enumerate(wanted):
        adverse[:, column] = _adverse(year, *_horizon(year, year.weeks.index(week), label), label)
    return BestScores(year.district_ids, wanted, futures, probability, adverse)


def _check(wanted: Sequence[dt.date], school_weeks: Sequence[dt.date], label: LabelSettings) -> None:
    length = _weeks(label)
    for week in wanted:
        if week not in school_weeks:
            raise ValueError(f"{week.isoformat()} must be the Monday of a school week")
        if week + length * WEEK > school_weeks[-1]:
            raise ValueError(f"the horizon of {week.isoformat()} must be over by the last week")


def _weeks(label: LabelSettings) -> int:
    if not isinstance(label.horizon_weeks, int):
        raise ValueError("horizon_weeks must be a number: nearly everybody is still there when the simulated year ends")
    return label.horizon_weeks


def _horizon(year: Year, number: int, label: LabelSettings) -> tuple[int, int]:
    """Indexes of the first school week of the horizon and of the first one after it."""
    until = year.weeks[number] + _weeks(label) * WEEK
    return number + 1, sum(week <= until for week in year.weeks)


def _share_adverse(
    year: Year, number: int, label: LabelSettings, futures: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Share of the futures after the week with index `number` in which each student has an adverse event."""
    first, stop = _horizon(year, number, label)
    events = np.zeros(year.n, dtype=np.int64)
    at_a_time = max(1, _ROWS_AT_A_TIME // year.n)
    for start in range(0, futures, at_a_time):
        copies = min(at_a_time, futures - start)
        branch = year.futures(copies, rng)
        for week in range(first, stop):
            branch.play(week)
        events += _adverse(branch, first, stop, label).reshape(copies, year.n).sum(axis=0)
    return events / futures


def _enrolled(year: Year, number: int) -> NDArray[np.bool_]:
    # The exit is dated the day after the last school day, so whose last day is in this week has left by its Sunday.
    there = (year.last // DAYS > number) | (year.back // DAYS <= number)
    return (year.entry // DAYS <= number) & there


def _adverse(year: Year, first: int, stop: int, label: LabelSettings) -> NDArray[np.bool_]:
    """Whether each student has any event in the school weeks with the indexes `first` to `stop` - 1, all played.

    The definition of `risk.samples.labels`, on what happened instead of what was recorded.
    """
    adverse = np.zeros(year.n, dtype=bool)
    if (rule := label.absence_rule) is not None:
        # One session a day, so that every day rule says the same.
        status = year.status[:, first:stop]
        absent = ((status == ABSENT) | (status == EXCUSED)).sum(axis=(1, 2))
        adverse |= rule.is_met((status >= 0).sum(axis=(1, 2)), absent, absent)
    if label.attendance_below is not None:
        status = year.status[:, first:stop]
        attended = ((status == PRESENT) | (status == TARDY)).sum(axis=(1, 2))
        sessions = (status >= 0).sum(axis=(1, 2))
        adverse |= (sessions > 0) & (attended / np.maximum(sessions, 1) < label.attendance_below)
    if label.failing_below is not None:
        score = year.score[:, first:stop]
        graded = np.isfinite(score)
        count = graded.sum(axis=1)
        mean = np.where(graded, score, 0.0).sum(axis=1) / np.maximum(count, 1)
        adverse |= ((count > 0) & (np.round(mean, GRADE_DIGITS) < label.failing_below)).any(axis=1)
    incidents = [incident for week in year.incidents[first:stop] for incident in week]
    whose = np.array([student for student, _, _ in incidents], dtype=np.int64)
    severity = np.array([severity for _, _, severity in incidents], dtype=np.int64)
    if label.serious_severity is not None:
        adverse[whose[severity >= label.serious_severity]] = True
    if label.incident_count is not None:
        adverse |= np.bincount(whose, minlength=year.n) >= label.incident_count
    for student in np.flatnonzero((year.last // DAYS >= first) & (year.last // DAYS < stop)).tolist():
        adverse[student] |= year.exit_type[student] in label.exit_types
    return adverse
