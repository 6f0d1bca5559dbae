"""The school year of a synthetic district as it really was: students with hidden traits, played week by week.

The causal story and its switches are told in `synthetic_district`; what the district's system writes down of the year,
and with which mistakes, is in `synthetic_files`.
"""

from __future__ import annotations

import copy
import datetime as dt
from dataclasses import dataclass

import numpy as np

from edupulse_pipelines.schema.tables import ATTENDANCE_STATUSES
from edupulse_pipelines.weeks import WEEK

WEEKS_OF_A_YEAR = 36
#: School week of the year (1-based) after which a break begins -> its length in weeks.
BREAKS = {10: 1, 16: 2, 27: 1}
DAYS = 5
PRESENT, ABSENT, TARDY, EXCUSED = map(ATTENDANCE_STATUSES.index, ("present", "absent", "tardy", "excused"))
NO_SESSION = -1
STAYS = 1_000_000_000
#: First-order autoregressive drift of the traits: what is kept from week to week, and the step's standard deviation.
_DRIFT = {"engagement": (0.94, 0.17), "ability": (0.97, 0.08), "conduct": (0.90, 0.25)}
COURSES = (
    ("ELA", "English Language Arts"),
    ("MATH", "Mathematics"),
    ("SCI", "Science"),
    ("SOC", "Social Studies"),
    ("ART", "Arts"),
    ("LANG", "World Languages"),
)
ASSIGNMENT_TYPES = ("homework", "quiz", "test", "project")
_ASSIGNMENT_SHARES = (0.45, 0.25, 0.18, 0.12)
_ASSIGNMENT_EFFECT = np.array([2.5, 0.0, -3.5, 2.0])
_WEEKS_AWAY = 4
#: Only from this many students on is a newcomer's whole week of rows a small share of every table.
_LAG_FROM_STUDENTS = 200


@dataclass(frozen=True)
class Story:
    """The switches of the causal story (see the module's docstring). ValueError when one is outside its range."""

    noise: float = 1.0
    """0 to 5."""
    confounding: float = 1.0
    """0 to 1.5; beyond that home stability alone would decide about mobility."""
    drift: float = 0.0
    """0 to 2."""
    drift_from: int = 24
    """Number of the first school week (from 1) that the drift is in; no drift in a shorter run."""

    def __post_init__(self) -> None:
        for name, highest in (("noise", 5.0), ("confounding", 1.5), ("drift", 2.0)):
            if not 0 <= getattr(self, name) <= highest:
                raise ValueError(f"{name} must be at least 0 and at most {highest:g}")
        if self.drift_from < 1:
            raise ValueError("drift_from must be at least 1")

    def drift_in(self, number: int) -> float:
        """The drift in the school week with index `number`."""
        return self.drift if number + 1 >= self.drift_from else 0.0


DEFAULT_STORY = Story()


def school_weeks(weeks: int, last_week: dt.date) -> tuple[dt.date, ...]:
    """The Mondays of `weeks` school weeks, ascending, the last of them `last_week`; breaks are gaps between them."""
    if weeks < 1:
        raise ValueError("weeks must be at least 1")
    if last_week.weekday() != 0:
        raise ValueError("last_week must be a Monday")
    offsets, calendar_week = [], 0
    for number in range(1, weeks + 1):
        offsets.append(calendar_week)
        calendar_week += 1 + BREAKS.get((number - 1) % WEEKS_OF_A_YEAR + 1, 0)
    return tuple(last_week - (offsets[-1] - offset) * WEEK for offset in offsets)


def first_week(weeks: int, last_week: dt.date) -> dt.date:
    """The Monday of the first of `weeks` school weeks that end with `last_week` (a tenant's `first_week`)."""
    return school_weeks(weeks, last_week)[0]


def streams(seed: int) -> list[np.random.Generator]:
    """One stream each for the story, the people and the dirt: changing one leaves the others as they were."""
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3)]


def _probability(log_odds: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-log_odds))


def is_school_day(number: int, day: int) -> bool:
    """Whether there is school on `day` (0 Monday) of the school week with index `number`: some weeks have a day off."""
    if number % 10 == 3:
        return day != 4
    return not (number % 10 == 8 and day == 0)


#: Arrays of `Year` with a row for each student, besides the drift.
_PER_STUDENT = (
    *("grade_level", "home", "engagement_level", "ability_level", "conduct_level", "frailty", "mobility", "aptitude"),
    *("entry", "last", "back", "known_late", "shock", "fading", "support", "sick_days", "leaving"),
    *("engagement", "ability", "conduct", "was_leaving", "moved", "status", "score"),
)


class Year:
    """The school year as it really was, before anybody typed it into a system; played week by week.

    n students, w weeks, c course slots. The state of one week and the random stream are all that the next week depends
    on: a copy with another stream plays another future of the same students (`futures`). Every draw is made for every
    student, enrolled or not, so that the stream stays aligned; what does not happen is masked.
    """

    def __init__(self, n: int, weeks: tuple[dt.date, ...], rng: np.random.Generator, story: Story) -> None:
        self.rng, self.n, self.weeks, self.story = rng, n, weeks, story
        self.district_ids = _district_ids(n)
        w, slots, normal = len(weeks), len(COURSES), rng.standard_normal
        # What lasts.
        self.grade_level = rng.permutation(np.arange(n) % 13) if n >= 13 else rng.integers(0, 13, n)
        # What variance home stability gives more or less, directly and by way of engagement, the own part makes up for.
        common, less = story.confounding, 1.0 - story.confounding**2
        self.home = normal(n)
        self.engagement_level = 0.50 * common * self.home + _own(0.87, 0.25 * less) * normal(n)
        self.ability_level = (
            0.35 * common * self.home + 0.20 * self.engagement_level + _own(0.88, 0.1925 * less) * normal(n)
        )
        self.conduct_level = (
            0.35 * common * self.home + 0.25 * self.engagement_level + _own(0.85, 0.21 * less) * normal(n)
        )
        self.frailty = normal(n)
        self.mobility = np.exp(_own(0.5, 0.16 * less) * normal(n) - 0.4 * common * self.home)
        self.aptitude = normal((n, slots))
        self.difficulty = 3.0 * normal((13, slots))
        # What is planned: (13 grade levels, w, c) indexes into ASSIGNMENT_TYPES or -1, and their days of the week.
        self.assignment, self.due = _assignments(rng, w)
        # First and last school day of each student, counted in weeks * DAYS; about 4 % come later, with time left to
        # become known; STAYS where there is no last day.
        self.entry = np.zeros(n, dtype=np.int64)
        if w >= 6:
            for student in rng.permutation(n)[: round(0.04 * n)]:
                self.entry[student] = rng.integers(2, w - 2) * DAYS + rng.integers(0, 3)
        self.last = np.full(n, STAYS, dtype=np.int64)
        self.back = np.full(n, STAYS, dtype=np.int64)
        """The day on which a student who has moved away is there again; STAYS where there is none."""
        self.exit_type = [""] * n
        self.known_late = _known_late(self.entry, n)
        # What moves.
        self.drift = {"engagement": 0.5 * normal(n), "ability": 0.33 * normal(n), "conduct": 0.57 * normal(n)}
        self.shock, self.fading, self.support = np.zeros(n), np.full(n, 0.85), np.zeros(n)
        self.sick_days = np.zeros(n, dtype=np.int64)
        self.leaving = np.zeros(n, dtype=bool)
        # What happens.
        self.engagement, self.ability, self.conduct = (np.full((n, w), np.nan) for _ in range(3))
        self.was_leaving, self.moved = np.zeros((n, w), dtype=bool), np.zeros((n, w), dtype=bool)
        self.status = np.full((n, w, DAYS), NO_SESSION, dtype=np.int8)  # index into ATTENDANCE_STATUSES
        self.score = np.full((n, w, slots), np.nan)  # percent; NaN: nothing recorded
        self.incidents: list[list[tuple[int, int, int]]] = [[] for _ in weeks]  # (student, day, severity)

    def futures(self, copies: int, rng: np.random.Generator) -> Year:
        """`copies` of every student as they are now, to be played on with another stream.

        The students of the first copy come first; nothing that happens to the copies happens to the original. What
        happened so far is kept, except for the incidents.
        """
        branch = copy.copy(self)
        branch.rng, branch.n, branch.district_ids = rng, self.n * copies, self.district_ids * copies
        for name in _PER_STUDENT:
            value: np.ndarray = getattr(self, name)
            setattr(branch, name, np.tile(value, (copies,) + (1,) * (value.ndim - 1)))
        branch.drift = {trait: np.tile(value, copies) for trait, value in self.drift.items()}
        branch.exit_type = self.exit_type * copies
        branch.incidents = [[] for _ in self.weeks]
        return branch

    def enrolled(self, at: int | np.ndarray) -> np.ndarray:
        """Who is enrolled on a school day, counted as `entry` is; one day for all, or [students x any] days."""
        entry, last, back = self.entry, self.last, self.back
        if isinstance(at, np.ndarray):
            entry, last, back = entry[:, None], last[:, None], back[:, None]
        return (entry <= at) & ((at <= last) | (at >= back))

    def play(self, number: int) -> None:
        """Let the school week with index `number` happen, after the weeks before it."""
        self._live(number)
        self._attend(number)
        self._work(number)
        self._behave(number)
        self._leave(number)

    def _live(self, number: int) -> None:
        """Drift, shocks, support; the traits of the week."""
        rng, n, drift = self.rng, self.n, self.drift
        for trait, (persistence, step) in _DRIFT.items():
            drift[trait] = persistence * drift[trait] + step * rng.standard_normal(n)
        hit = rng.random(n) < np.minimum(0.0055 * self.mobility, 0.2)
        size = 0.8 + 0.7 * rng.standard_exponential(n)
        lasting = rng.random(n) < 0.2
        self.shock = self.fading * self.shock + np.where(hit, size, 0.0)
        self.fading = np.where(hit, np.where(lasting, 0.985, 0.85), self.fading)
        self.support *= 0.92
        if number >= 4:
            month = self.status[:, number - 4 : number]
            recorded = np.maximum((month >= 0).sum((1, 2)), 1)
            missed = ((month == ABSENT) | (month == EXCUSED)).sum((1, 2)) / recorded
            self.support += (missed > 0.15) & (rng.random(n) < 0.08 * self.story.confounding)
        slump = 0.3 * number / WEEKS_OF_A_YEAR
        self.engagement[:, number] = (
            self.engagement_level + drift["engagement"] - self.shock + self.support - slump - 3.5 * self.leaving
        )
        self.ability[:, number] = self.ability_level + drift["ability"] - 0.2 * self.shock
        self.conduct[:, number] = self.conduct_level + drift["conduct"] - 0.4 * self.shock + 0.3 * self.support
        self.was_leaving[:, number] = self.leaving

    def _attend(self, number: int) -> None:
        rng, n, engagement = self.rng, self.n, self.engagement[:, number]
        drift = self.story.drift_in(number)
        illness = self.story.noise * (1.0 + drift)
        winter = 1.0 + 0.9 * np.exp(-(((number % WEEKS_OF_A_YEAR) - 18) ** 2) / 18.0)
        for day in range(DAYS):
            at = number * DAYS + day
            falls_ill = rng.random(n) < np.minimum(0.0035 * winter * np.exp(1.2 * self.frailty) * illness, 0.3)
            spell = rng.geometric(0.5, n)
            self.sick_days = np.where(falls_ill & (self.sick_days == 0), spell, self.sick_days)
            away = -5.5 - 1.75 * engagement + 0.35 * (self.grade_level >= 9) + 0.2 * (self.grade_level == 0)
            skips = rng.random(n) < _probability(away + 0.2 * (day in (0, 4)) + 0.4 * drift)
            late = rng.random(n) < _probability(-3.4 - 0.6 * engagement)
            if is_school_day(number, day):
                what = np.select([skips, self.sick_days > 0, late], [ABSENT, EXCUSED, TARDY], PRESENT)
                self.status[:, number, day] = np.where(self.enrolled(at), what, NO_SESSION)
            self.sick_days = np.maximum(self.sick_days - 1, 0)

    def _work(self, number: int) -> None:
        """Marks of what was due; what is not handed in is a zero for half of the teachers, nothing for the others."""
        rng, shape = self.rng, self.aptitude.shape
        strictness = self.story.drift_in(number)
        engagement, ability = self.engagement[:, number], self.ability[:, number]
        kind = self.assignment[self.grade_level, number]
        marks = (
            85.0
            + (8.0 * ability + 3.5 * engagement)[:, None]
            + 5.0 * self.aptitude
            + self.difficulty[self.grade_level]
            + _ASSIGNMENT_EFFECT[np.maximum(kind, 0)]
            + 6.5 * self.story.noise * rng.standard_normal(shape)
            - 4.0 * strictness
        )
        marks = np.round(np.clip(marks, 5.0, 100.0) * 2) / 2
        week = self.status[:, number]
        days_missed = ((week == ABSENT) | (week == EXCUSED)).sum(1)
        missing = rng.random(shape) < _probability(-4.7 - 1.0 * engagement + 0.35 * days_missed)[:, None]
        marks = np.where(missing, np.where(rng.random(shape) < 0.5 + 0.25 * strictness, 0.0, np.nan), marks)
        due_at = number * DAYS + self.due[self.grade_level, number]
        there = (kind >= 0) & self.enrolled(due_at)
        self.score[:, number] = np.where(there, marks, np.nan)

    def _behave(self, number: int) -> None:
        """Incidents, on days on which the student is at school."""
        rng, conduct = self.rng, self.conduct[:, number]
        age = 0.5 * ((self.grade_level >= 6) & (self.grade_level <= 9))
        counts = rng.poisson(np.exp(np.minimum(-4.4 - 1.0 * conduct - 0.25 * self.engagement[:, number] + age, 0.5)))
        for student in np.flatnonzero(counts).tolist():
            for _ in range(int(counts[student])):
                day, gravity = int(rng.integers(0, DAYS)), rng.logistic() - 0.5 * conduct[student]
                severity = 1 + int(np.searchsorted((0.4, 1.9, 3.5, 5.0), gravity))
                # Nobody reports a newcomer who is not yet known: one bad row is a large share of this small table.
                unknown = self.known_late[student] and self.entry[student] // DAYS == number
                if self.status[student, number, day] in (PRESENT, TARDY) and not unknown:
                    self.incidents[number].append((student, day, severity))
        self.incidents[number].sort(key=lambda incident: (incident[1], incident[0]))

    def _leave(self, number: int) -> None:
        """Who decides to drop out, who moves away, whose contact changes. A newcomer stays a few weeks at least."""
        rng, n = self.rng, self.n
        settled = (self.entry <= number * DAYS) & (self.last == STAYS) & (number - self.entry // DAYS >= 3)
        hazard = 0.0007 * np.exp(-1.1 * self.engagement[:, number] - 0.35 * self.ability[:, number])
        drops = (rng.random(n) < np.minimum(hazard, 0.5)) & (self.grade_level >= 9)
        transfers = rng.random(n) < 0.0007 * self.mobility
        other = rng.random(n) < 0.00005
        goes = settled & (drops | transfers | other)
        last_day = (number + rng.integers(1, 3, n)) * DAYS + rng.integers(0, DAYS, n)
        self.last[goes] = last_day[goes]
        # Some families who move away come back after some weeks; no draw, so that the stream stays as it was.
        returns = goes & transfers & ~drops & (self.grade_level % 2 == 0)
        self.back[returns] = (self.last[returns] // DAYS + 1 + _WEEKS_AWAY) * DAYS
        for student in np.flatnonzero(goes).tolist():
            self.exit_type[student] = (
                "dropped_out" if drops[student] else "transferred" if transfers[student] else "other"
            )
        self.leaving |= goes & drops
        self.moved[:, number] = settled & (rng.random(n) < 0.0012 * self.mobility)


def first_day(*, students: int, weeks: int, seed: int, last_week: dt.date, story: Story) -> Year:
    """The year of `generate_district` with the same arguments, nothing of it played yet."""
    if students < 1:
        raise ValueError("students must be at least 1")
    return Year(students, school_weeks(weeks, last_week), streams(seed)[0], story)


def simulate(n: int, weeks: tuple[dt.date, ...], seed: int, story: Story) -> Year:
    """The whole school year of `n` students, played from its first week to its last."""
    year = Year(n, weeks, streams(seed)[0], story)
    for number in range(len(weeks)):
        year.play(number)
    return year


def _own(coefficient: float, variance: float) -> float:
    """The coefficient of a standard normal variable that makes its variance larger by `variance` (may be negative)."""
    # The factor is exactly 1 where nothing changes.
    return float(coefficient * np.sqrt(1.0 + variance / coefficient**2))


def _district_ids(n: int) -> tuple[str, ...]:
    return tuple(f"{10_000 + student}" for student in range(n))


def _assignments(rng: np.random.Generator, w: int) -> tuple[np.ndarray, np.ndarray]:
    """What is due in each grade level, week and course, and on which day: the whole class has it, and no course goes
    without for more than one week."""
    shape = (13, w, len(COURSES))
    kind = np.where(rng.random(shape) < 0.6, rng.choice(4, size=shape, p=_ASSIGNMENT_SHARES), -1)
    due = rng.integers(0, DAYS, size=shape)
    for number in range(w):
        if number:
            kind[:, number][(kind[:, number - 1] < 0) & (kind[:, number] < 0)] = 0
        for day in range(DAYS):
            if not is_school_day(number, day):
                due[:, number][due[:, number] == day] = 2
    # Four courses in grades 0 to 5, five in 6 to 8, six above.
    courses = np.where(np.arange(13) <= 5, 4, np.where(np.arange(13) <= 8, 5, 6))
    kind[np.arange(len(COURSES)) >= np.broadcast_to(courses[:, None, None], shape)] = -1
    return kind, due


def _known_late(entry: np.ndarray, n: int) -> np.ndarray:
    """Which newcomers reach `students.csv` one delivery late: every other one, never two in a week, none where a
    student is a large share of the district."""
    late = np.zeros(n, dtype=bool)
    if n < _LAG_FROM_STUDENTS:
        return late
    weeks_taken: set[int] = set()
    for student in np.flatnonzero(entry)[::2].tolist():
        week = int(entry[student]) // DAYS
        late[student] = week not in weeks_taken
        weeks_taken.add(week)
    return late
