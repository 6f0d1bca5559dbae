"""What can be learned from: the cohorts of many weeks with what happened to them, and which of it may be used when.

Assembled once for all the data-through weeks of a call; `at` then says what was known by one of them: whose horizon has
passed, what educators' verdicts say, which rows train and which validate. Fits nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import sqlalchemy as sa
from numpy.typing import NDArray

from edupulse_pipelines.risk.samples.cohorts import NEVER, FeatureMatrix, feature_weeks, read_cohort
from edupulse_pipelines.risk.samples.feedback import known_by, verdict_labels, verdicts
from edupulse_pipelines.risk.samples.labels import labels
from edupulse_pipelines.risk.samples.splits import (
    GroupSpan,
    Split,
    eligible_weeks,
    split_until_exit,
    temporal_split,
)
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK, feature_date, week_start

SEED = 20260901
"""Of every random draw of a training: the students to fit on, the tuning, the bootstrap; part of every record. That
the synthetic district's default seed is the same number means nothing: either may change without the other."""
MINIMUM_VALIDATION_SHARE = 0.1
"""Share of all labelled student-weeks that the validation weeks should hold."""
RESOLVED_SHARE = 0.98
"""A group's outcomes are known when this share of everybody who was in its cohorts has left."""
UNKNOWN: int = -1
"""Outcome of a student-week of which nobody knows, or of which a verdict says that help came first."""


@dataclass(frozen=True)
class Usable:
    """What one data-through week may use. Row numbers are of the matrix, ascending."""

    split: Split
    training: NDArray[np.int64]
    validation: NDArray[np.int64]
    outcome: NDArray[np.int8]
    """Per row of the whole matrix: 0, 1 or UNKNOWN, verdicts known by then applied."""
    eligible: int
    """As-of weeks whose outcomes are known."""
    verdicts: int
    """Outcomes that a verdict decided, or took out."""


@dataclass(frozen=True)
class Samples:
    """All as-of weeks of one call."""

    tenant: TenantSettings
    matrix: FeatureMatrix
    derived: NDArray[np.int8]
    """Per row, the outcome that the records say, known by a data-through week or not: 0 or 1."""
    school_weeks: tuple[dt.date, ...]
    newest: dt.date
    """The newest data-through week it was read for; of a large district it decides which students are among them."""
    verdicts: pd.DataFrame
    """Every verdict, the superseded ones too, as `feedback.verdicts`."""

    def at(self, point: dt.date) -> Usable:
        """What a training with data through `point` may use."""
        matrix, horizon = self.matrix, self.tenant.label.weeks
        week = matrix.week
        if horizon is None:
            known_week, unresolved = _until_exit_known(matrix, point)
            outcome, decided = self._outcome(point, unresolved)
            usable = (known_week <= np.datetime64(point)) & (outcome != UNKNOWN)
            return self._until_exit(point, known_week, outcome, usable, decided, unresolved)
        outcome, decided = self._outcome(point)
        passed = np.array([monday + horizon * WEEK <= point for monday in matrix.weeks], dtype=bool)
        usable = passed[week] & (outcome != UNKNOWN)
        eligible = eligible_weeks(matrix.weeks, point, horizon, self.school_weeks)
        split = self._split(eligible, usable, outcome, horizon)
        place = {monday: number for number, monday in enumerate(matrix.weeks)}
        rows = []
        for part in (split.training, split.validation):
            chosen = np.isin(week, [place[monday] for monday in part])
            rows.append(np.flatnonzero(chosen & usable))
        return self._without_later_verdicts(Usable(split, rows[0], rows[1], outcome, len(eligible), decided), None)

    def rows_to_fit(self, usable: Usable) -> NDArray[np.int64]:
        """The rows to fit on: all that may train or, above the tenant's limit, those of a part of the students.

        Whole students, because the weeks of one say nearly the same; drawn by a fixed seed, so that rates stay.
        """
        rows, student = usable.training, self.matrix.student
        limit = self.tenant.training.max_training_rows
        if len(rows) <= limit:
            return rows
        students = np.unique(student[rows])
        order = np.random.default_rng(SEED).permutation(len(students))
        sizes = np.bincount(student[rows], minlength=int(students.max()) + 1)[students][order]
        chosen = students[order[np.cumsum(sizes) <= limit]]
        return rows[np.isin(student[rows], chosen)]

    def course_groups(self, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """The course group of each row, where the tenant has groups: folds then hold out whole courses."""
        if not self.tenant.cohort.group_by:
            return None
        return self.matrix.population.group[self.matrix.student[rows]]

    def too_little(self, point: dt.date, usable: Usable) -> str | None:
        """Why there is too little to train on or to validate with, in a sentence; None when there is enough."""
        horizon, settings = self.tenant.label.weeks, self.tenant.training
        if not usable.eligible:
            after = (
                "whose outcomes are known" if horizon is None else f"{horizon} weeks after it in which outcomes show"
            )
            return (
                f"Up to the week of {point} no week has both students with at least "
                f"{self.tenant.cohort.minimum_weeks_of_data} weeks of data and {after}."
            )
        if not len(usable.training):
            if horizon is None:
                return (
                    f"Up to the week of {point} no group has ended that began before the newest ended one, so there is "
                    "nothing to train on beside the validation."
                )
            return (
                f"Up to the week of {point} outcomes are known for {usable.eligible} week(s); training and validation "
                f"must lie {horizon} weeks apart, so at least {horizon + 1} are needed."
            )
        for purpose, rows, minimum in (
            ("Training", usable.training, settings.minimum_train_per_class),
            ("Validation", usable.validation, settings.minimum_validation_per_class),
        ):
            events = int(usable.outcome[rows].sum())
            others = len(rows) - events
            if min(events, others) < minimum:
                return (
                    f"{purpose} up to the week of {point} needs at least {minimum} samples with and {minimum} without "
                    f"an adverse event; there are {events} with and {others} without."
                )
        return None

    def _without_later_verdicts(self, usable: Usable, unresolved: NDArray[np.bool_] | None) -> Usable:
        """Training rows say what was known when the validation began: a later verdict would carry it back."""
        if self.verdicts.empty or not usable.split.validation:
            return usable
        earlier, _ = self._outcome(usable.split.validation[0], unresolved)
        outcome, training = usable.outcome.copy(), usable.training
        outcome[training] = earlier[training]
        return replace(usable, outcome=outcome, training=training[outcome[training] != UNKNOWN])

    def _outcome(self, point: dt.date, unresolved: NDArray[np.bool_] | None = None) -> tuple[NDArray[np.int8], int]:
        """The outcomes with the verdicts that deliveries had brought by the week `point`; and how many these decided.

        `unresolved`: of which rows the record does not say.
        """
        outcome = self.derived.copy()
        if unresolved is not None:
            outcome[unresolved] = UNKNOWN
        known_verdicts = self.verdicts[[day <= known_by(point) for day in self.verdicts["known_on"]]]
        if known_verdicts.empty:
            return outcome, 0
        matrix = self.matrix
        place = {monday: number for number, monday in enumerate(matrix.weeks)}
        student = {district_id: number for number, district_id in enumerate(matrix.population.district_ids)}
        keys = matrix.week * len(student) + matrix.student
        decided = 0
        labelled = verdict_labels(known_verdicts, self.tenant.feedback)
        rows = zip(labelled["week"], labelled["district_id"], labelled["label"], strict=True)
        for week, district_id, label in rows:
            if week not in place or district_id not in student:
                continue
            key = place[week] * len(student) + student[district_id]
            at = int(np.searchsorted(keys, key))
            if at < len(keys) and keys[at] == key:
                outcome[at] = label
                decided += 1
        return outcome, decided

    def _split(
        self, eligible: Sequence[dt.date], usable: NDArray[np.bool_], outcome: NDArray[np.int8], horizon: int
    ) -> Split:
        """The split of the eligible weeks: validation has its minimum of each class and, if it can, a tenth of all.

        A share and not only a count: at the end of a year the cohort may have shrunk to a few students, who say nothing
        of the others.
        """
        minimum, weeks = self.tenant.training, self.matrix.weeks
        week = self.matrix.week
        sizes = np.bincount(week[usable], minlength=len(weeks))
        events = np.bincount(week[usable], weights=outcome[usable], minlength=len(weeks))
        size_of = dict(zip(weeks, sizes.tolist(), strict=True))
        events_of = dict(zip(weeks, events.tolist(), strict=True))
        everyone = sum(size_of[monday] for monday in eligible)

        def classes(part: Sequence[dt.date]) -> tuple[float, float]:
            positive = sum(events_of[monday] for monday in part)
            return positive, sum(size_of[monday] for monday in part) - positive

        def enough(split: Split) -> bool:
            return min(classes(split.validation)) >= minimum.minimum_validation_per_class

        def ample(split: Split) -> bool:
            judged = sum(size_of[monday] for monday in split.validation)
            return (
                judged >= MINIMUM_VALIDATION_SHARE * everyone
                and min(classes(split.training)) >= minimum.minimum_train_per_class
            )

        return temporal_split(eligible, horizon, enough, ample)

    def _until_exit(
        self,
        point: dt.date,
        known_week: NDArray[np.datetime64],
        outcome: NDArray[np.int8],
        usable: NDArray[np.bool_],
        decided: int,
        unresolved: NDArray[np.bool_],
    ) -> Usable:
        matrix = self.matrix
        group, week = matrix.population.group[matrix.student], matrix.week
        spans = []
        for number in range(len(matrix.population.groups)):
            rows = group == number
            if not rows.any():
                spans.append(GroupSpan(NEVER, NEVER))
                continue
            spans.append(GroupSpan(matrix.weeks[week[rows].min()], known_week[rows].min().item()))
        train, validate = split_until_exit(spans, point)
        training = np.flatnonzero(np.isin(group, train) & usable)
        validation = np.flatnonzero(np.isin(group, validate) & usable)
        weeks = [tuple(matrix.weeks[number] for number in np.unique(week[rows])) for rows in (training, validation)]
        split, eligible = Split(weeks[0], weeks[1]), len(np.unique(week[usable]))
        return self._without_later_verdicts(Usable(split, training, validation, outcome, eligible, decided), unresolved)


def read_samples(
    connection: sa.Connection, work: Work, tenant: TenantSettings, newest: dt.date, *, maximum_rows: int | None = None
) -> Samples:
    """Everything that can be learned from by the data-through week `newest`; see `read_cohort` for `maximum_rows`."""
    # Vectors are stored for every school week with data, and for no other.
    school_weeks = feature_weeks(connection, work, newest)
    horizon = tenant.label.weeks
    last = newest if horizon is None else newest - horizon * WEEK
    matrix = read_cohort(
        connection, work, tenant, [week for week in school_weeks if week <= last], maximum_rows=maximum_rows
    )
    happened = labels(connection, work, tenant, matrix.weeks)
    adverse = happened.adverse
    ids = matrix.population.district_ids
    place = np.searchsorted(happened.district_ids, ids)[matrix.student] if len(matrix.student) else matrix.student
    outcome = adverse[place, matrix.week].astype(np.int8) if len(place) else np.empty(0, np.int8)
    # All of them, because what was superseded later counted until then.
    every_verdict = verdicts(connection, work, superseded=True)
    return Samples(tenant, matrix, outcome, tuple(school_weeks), newest, every_verdict)


def _until_exit_known(matrix: FeatureMatrix, point: dt.date) -> tuple[NDArray[np.datetime64], NDArray[np.bool_]]:
    """Per row the week in which the group's outcomes are known, and whose own outcome is not known even then.

    Of the whole group, not of each student: those who drop out leave first, and a sample of early leavers is all
    events. The group are those who were in its cohorts up to `point`; later rows are never known.
    """
    population = matrix.population
    known_week = np.full(len(matrix.student), np.datetime64(NEVER), dtype="datetime64[D]")
    unresolved = np.zeros(len(matrix.student), dtype=bool)
    group = population.group[matrix.student]
    so_far = matrix.week < np.searchsorted(np.array(matrix.weeks, dtype="datetime64[D]"), np.datetime64(point), "right")
    for number in range(len(population.groups)):
        rows = (group == number) & so_far
        members = np.unique(matrix.student[rows])
        left = np.sort(population.left[members][~np.isnat(population.left[members])])
        needed = int(np.ceil(RESOLVED_SHARE * len(members)))
        if not len(members) or len(left) < needed:
            continue
        # Known at the end of the week in which the last of them left.
        day = left[needed - 1].item()
        known_week[rows] = np.datetime64(week_start(day))
        end = np.datetime64(feature_date(week_start(day)))
        still_there = np.isnat(population.left) | (population.left > end)
        unresolved |= rows & still_there[matrix.student]
    return known_week, unresolved
