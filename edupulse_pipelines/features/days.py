"""Days of attendance, made of the sessions of a day: whether it was a day enrolled, present, absent or excused.

A day within an enrolment counts as a day enrolled when a session of it is recorded, or when the calendar of a district
that sends only absences says so (`instruction`). A day of which nobody recorded anything is no day, and what is
recorded of a day before an entry, after an exit or in a gap makes none either. It is a day of absence by the tenant's
day rule (`settings.absence_rules.DayRule`), which looks at what was missed of its sessions, absent or excused; a tardy
session was attended. Where a district sends minutes, and the rule is about them, they take the place of sessions: a
tardy student then missed the minutes that were missed. Days whose sessions do not all say their minutes are judged by
sessions.

A day of absence is *excused* when one of its sessions was excused and none was absent without an excuse; else it is
*absent*. So days enrolled = present + absent + excused, as with sessions. Reads nothing; `roll_up` reads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edupulse_pipelines.features.vectors import DECIMALS, STATUSES, Floats
from edupulse_pipelines.settings import DayRule

DAY_MEASURES: tuple[str, ...] = ("days_enrolled", "days_present", "days_absent", "days_excused", "days_missed")
"""Columns of weekly activity in days; `days_missed` is the sum of the parts of days that were missed, whatever the day
rule makes of them. All are NULL in a week whose sessions are unknown."""

Counts = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Minutes:
    """The minutes recorded of each day [cells x 7]."""

    absent: Counts
    possible: Counts
    sessions: Counts
    """How many sessions say their minutes."""


def days_of(
    sessions: Counts, within: npt.NDArray[np.bool_], rule: DayRule, minutes: Minutes | None = None
) -> dict[str, Floats]:
    """`DAY_MEASURES` by cell, of the sessions [`STATUSES` x cells x 7 days].

    `within`: the days [cells x 7] on which the student is enrolled. `minutes` is only used by the rule `minutes`.
    """
    sessions = np.where(within, sessions, 0)
    by_status = dict(zip(STATUSES, sessions, strict=True))
    possible = sessions.sum(axis=0)
    missed = by_status["absent"] + by_status["excused"]
    enrolled = possible > 0
    if rule == "minutes" and minutes is not None:
        told = enrolled & (minutes.sessions == possible) & (minutes.possible > 0)
        missed, possible = np.where(told, minutes.absent, missed), np.where(told, minutes.possible, possible)
    away = {
        "half": 2 * missed >= possible,
        "minutes": 2 * missed >= possible,
        "more_than_half": 2 * missed > possible,
        "any": missed > 0,
        "all": missed >= possible,
    }[rule] & enrolled
    excused = away & (by_status["excused"] > 0) & (by_status["absent"] == 0)
    part = np.divide(missed, possible, out=np.zeros(possible.shape), where=enrolled)
    return {
        "days_enrolled": _sum(enrolled),
        "days_present": _sum(enrolled & ~away),
        "days_absent": _sum(away & ~excused),
        "days_excused": _sum(excused),
        "days_missed": np.round(part.sum(axis=-1), DECIMALS),
    }


def _sum(days: npt.NDArray[np.bool_]) -> Floats:
    return days.sum(axis=-1).astype(np.float64)
