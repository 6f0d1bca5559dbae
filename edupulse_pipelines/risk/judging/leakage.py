"""The leakage proof of every training: what happens later must not move what was known earlier.

For a sample of students and a few as-of weeks, everything dated later is removed, added to and scrambled
(`later_rows`). Then features and scores of the as-of week are computed again, and labels after its horizon; one bit
that moves is a leak. Classmates' future counts as future: all students are changed at once.

Works on frames (`activity_frames` reads them) through the functions it is given, which are pure. What a leak leads to
is the caller's business. No student is named in a result.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edupulse_pipelines.features.standing import standing_features
from edupulse_pipelines.features.vectors import feature_vectors
from edupulse_pipelines.risk.judging.activity_frames import ActivityFrames
from edupulse_pipelines.risk.judging.later_rows import (
    CHANGES,
    Change,
    changed_later,
    changed_outside_horizon,
    plain_days,
    plain_frames,
    typed_like,
)
from edupulse_pipelines.risk.samples.labels import Labels, labels_of
from edupulse_pipelines.settings import LabelSettings
from edupulse_pipelines.weeks import feature_date

AS_OF_WEEKS = 3

Subject = Literal["features", "labels", "scores"]


FeaturesOf = Callable[[ActivityFrames, Sequence[dt.date]], pd.DataFrame]
"""(frames, as-of Mondays) -> student_id, feature_date, and the features."""
LabelsOf = Callable[[ActivityFrames, Sequence[dt.date]], Labels]
"""(frames, as-of Mondays) -> labels of all people."""
ScoresOf = Callable[[pd.DataFrame], NDArray[np.float64]]
"""Rows as `FeaturesOf` gives them -> a score each."""


@dataclass(frozen=True)
class Check:
    """One subject under one change: how many numbers were compared, and what moved."""

    subject: Subject
    change: Change
    compared: int
    moved: int
    names: tuple[str, ...] = ()
    """The features or events that moved; "rows" when students appeared or vanished."""
    weeks: tuple[dt.date, ...] = ()
    """The as-of weeks (Mondays) in which something moved."""


@dataclass(frozen=True)
class LeakageProof:
    """The outcome. A proof that compared nothing has proven nothing, and has not passed."""

    checks: tuple[Check, ...]
    students: int
    as_of_weeks: tuple[dt.date, ...]

    @property
    def passed(self) -> bool:
        """Whether something was compared, and nothing moved."""
        return any(check.compared for check in self.checks) and not any(check.moved for check in self.checks)

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        size = f"{self.students} students in {len(self.as_of_weeks)} as-of week(s)"
        leaks = [check for check in self.checks if check.moved]
        if not leaks:
            compared = sum(check.compared for check in self.checks)
            if not compared:
                return f"Nothing could be compared ({size})."
            return f"No leak: {compared:,} numbers of {size} stayed the same when what came later was changed."
        moves = "; ".join(
            f"{check.subject} moved when later rows were {_in_words(check.change)} ({', '.join(check.names[:5])})"
            for check in leaks
        )
        return f"Leak: {moves}."

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> LeakageProof:
        """The proof that `as_json` gave."""
        checks = []
        for name, numbers in stored["checks"].items():
            subject, change = name.split(" ")
            weeks = tuple(dt.date.fromisoformat(week) for week in numbers["weeks"])
            checks.append(Check(subject, change, numbers["compared"], numbers["moved"], tuple(numbers["names"]), weeks))
        weeks = tuple(dt.date.fromisoformat(week) for week in stored["as_of_weeks"])
        return cls(tuple(checks), stored["students"], weeks)

    def as_json(self) -> dict[str, Any]:
        """Every number, as plain JSON."""
        return {
            "passed": self.passed,
            "students": self.students,
            "as_of_weeks": [week.isoformat() for week in self.as_of_weeks],
            "checks": {
                f"{check.subject} {check.change}": {
                    "compared": check.compared,
                    "moved": check.moved,
                    "names": list(check.names),
                    "weeks": [week.isoformat() for week in check.weeks],
                }
                for check in self.checks
            },
        }


def prove_no_leakage(
    frames: ActivityFrames,
    as_of_weeks: Sequence[dt.date],
    horizon_weeks: int | None,
    *,
    features: FeaturesOf,
    labels: LabelsOf,
    scores: ScoresOf | None = None,
    seed: int = 0,
) -> LeakageProof:
    """Change what comes later, compute again, compare bit by bit.

    as_of_weeks: Mondays of school weeks of the frames' calendar; others are left out. Features and scores of each are
    first computed for all of them on everything on record, the way training does, then alone on what was changed.
    horizon_weeks: labels may know so many calendar weeks after the as-of week, and nothing later; nor may the as-of
    week itself or anything before it, which features know already, be a reason for a label. None: the horizon has no
    end, so only that last part is checked (`removed` and `scrambled`).
    Deterministic for a seed. Errors of the functions are not caught.
    """
    school_weeks = set(frames.calendar.weeks)
    weeks = tuple(sorted({week for week in as_of_weeks if week in school_weeks}))
    tallies = {
        (subject, change): _Tally()
        for subject, change in itertools.product(("features", "scores", "labels"), CHANGES)
        if subject != "scores" or scores is not None
    }
    if weeks and len(frames.people):
        before, labelled = features(frames, weeks), labels(frames, weeks)
        random = np.random.default_rng(seed)
        plain = plain_frames(frames)
        for week in weeks:
            today = _of_week(before, week)
            score = None if scores is None else _scores(scores, today)
            for change, changed in changed_later(plain, week, random):
                now = _of_week(features(typed_like(changed, frames), [week]), week)
                _compare_rows(tallies["features", change], week, today, now)
                if scores is not None and score is not None:
                    _compare_scores(tallies["scores", change], week, (today, score), (now, _scores(scores, now)))
            for change, changed in changed_outside_horizon(plain, week, horizon_weeks, random):
                _compare_labels(tallies["labels", change], week, labelled, labels(typed_like(changed, frames), [week]))
    checks = tuple(tally.check(*key) for key, tally in tallies.items())
    return LeakageProof(checks, len(frames.people), weeks)


def record_features(frames: ActivityFrames, weeks: Sequence[dt.date]) -> pd.DataFrame:
    """The features that every model sees, the stored vector's and the standing's: a `FeaturesOf`."""
    vectors = feature_vectors(frames.people, frames.activity, frames.calendar, weeks)
    standing = standing_features(frames.people, frames.activity, frames.courses, frames.calendar, weeks)
    keys = ["student_id", "feature_date"]
    parts = [rows.astype(dict.fromkeys(keys, object)) for rows in (vectors, standing)]
    return parts[0].merge(parts[1], on=keys, how="outer")


def record_labels(settings: LabelSettings) -> LabelsOf:
    """The labels as the records say, verdicts apart: a `LabelsOf`."""

    def of(frames: ActivityFrames, weeks: Sequence[dt.date]) -> Labels:
        return labels_of(frames.activity, frames.courses, frames.people, settings, weeks)

    return of


def weeks_to_prove(weeks: Sequence[dt.date], limit: int = AS_OF_WEEKS) -> list[dt.date]:
    """Up to `limit` of the as-of weeks (ascending): the first, the last, and those evenly between."""
    if len(weeks) <= limit:
        return list(weeks)
    return [weeks[round(number)] for number in np.linspace(0, len(weeks) - 1, limit)]


def _of_week(rows: pd.DataFrame, week: dt.date) -> pd.DataFrame:
    return rows[(plain_days(rows["feature_date"]) == feature_date(week)).to_numpy(bool)].reset_index(drop=True)


def _scores(scores: ScoresOf, rows: pd.DataFrame) -> NDArray[np.float64]:
    """The scores of some rows; models need not know what to say of none."""
    return scores(rows) if len(rows) else np.empty(0)


class _Tally:
    """What one check came to so far."""

    def __init__(self) -> None:
        self.compared = self.moved = 0
        self.names: set[str] = set()
        self.weeks: set[dt.date] = set()

    def add(self, week: dt.date, name: str, moved: NDArray[np.bool_]) -> None:
        self.compared += moved.size
        count = int(moved.sum())
        if count:
            self.moved += count
            self.names.add(name)
            self.weeks.add(week)

    def check(self, subject: Any, change: Change) -> Check:
        return Check(subject, change, self.compared, self.moved, tuple(sorted(self.names)), tuple(sorted(self.weeks)))


def _compare_rows(tally: _Tally, week: dt.date, before: pd.DataFrame, now: pd.DataFrame) -> None:
    """Every column of the same students; students who appeared or vanished."""
    place = pd.Index(now["student_id"]).get_indexer(pd.Index(before["student_id"]))
    gone = place < 0
    appeared = np.ones(len(now) - int((~gone).sum()), dtype=bool)
    tally.add(week, "rows", np.concatenate([gone, appeared]))
    for name in before.columns:
        if name in ("student_id", "feature_date"):
            continue
        if name not in now:
            tally.add(week, name, np.ones(len(before), dtype=bool))
            continue
        old = before[name].to_numpy(np.float64, na_value=np.nan)[~gone]
        new = now[name].to_numpy(np.float64, na_value=np.nan)[place[~gone]]
        tally.add(week, name, _differ(old, new))


def _compare_scores(
    tally: _Tally,
    week: dt.date,
    before: tuple[pd.DataFrame, NDArray[np.float64]],
    now: tuple[pd.DataFrame, NDArray[np.float64]],
) -> None:
    place = pd.Index(now[0]["student_id"]).get_indexer(pd.Index(before[0]["student_id"]))
    both = place >= 0
    tally.add(week, "score", _differ(np.asarray(before[1])[both], np.asarray(now[1])[place[both]]))


def _compare_labels(tally: _Tally, week: dt.date, before: Labels, now: Labels) -> None:
    """Every event of the students of both; the changes let nobody come or go."""
    column, only = before.weeks.index(week), now.weeks.index(week)
    if before.district_ids.tolist() != now.district_ids.tolist():
        tally.add(week, "rows", np.ones(1, dtype=bool))
        return
    for name in sorted({*before.events, *now.events}):
        if name not in before.events or name not in now.events:
            tally.add(week, name, np.ones(len(before.district_ids), dtype=bool))
        else:
            tally.add(week, name, before.events[name][:, column] != now.events[name][:, only])


def _differ(old: NDArray[np.float64], new: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where two numbers are not the same, to the last bit; a missing one is like any other missing one."""
    return (old != new) & ~(np.isnan(old) & np.isnan(new))


def _in_words(change: Change) -> str:
    return "added to" if change == "added" else change
