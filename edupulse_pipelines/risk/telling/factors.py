"""The registry of risk factors: what people call the things a model's features speak of, and every word about them.

One factor stands for several features (the attendance of four weeks and that of one are one matter to a counsellor),
and every feature of a model belongs to exactly one factor: to add a feature is one `Fact` line here. Data and a few
questions about it, no arithmetic on contributions: `explanations` does that. Units and directions are those of
`features.definitions`; inputs that a tenant declares belong to `background`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edupulse_pipelines.features.definitions import MODEL_FEATURES_BY_NAME

FactorDomain = Literal["attendance", "academic", "behavioral", "background"]
Claim = Literal["above 0", "below 0", "at least one half", "worse than typical", "never"]


@dataclass(frozen=True)
class Number:
    """How a value is written: rounded to `decimals` first, so that equal texts mean equal rounded values."""

    decimals: int
    write: Callable[[float], str]

    def written(self, value: float) -> str:
        """The value for people."""
        return self.write(round(value, self.decimals) + 0.0)  # + 0.0: never "-0"


def _plain(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


SHARE = Number(2, lambda value: f"{100 * value:.0f}%")
POINTS = Number(2, lambda value: f"{100 * value:+.0f} percentage points")
NUMBER = Number(1, _plain)
SIGNED = Number(1, lambda value: f"{value:+.1f}".removesuffix(".0"))
RATE = Number(2, lambda value: f"{value:.2f}".rstrip("0").removesuffix("."))
RATIO = Number(2, lambda value: f"{100 * math.exp(value):.0f}%")
"""A natural logarithm of a ratio, as the ratio."""


@dataclass(frozen=True)
class Fact:
    """One feature's words: small letters in front, because facts are joined; {value} is replaced."""

    feature: str
    text: str
    number: Number
    missing: str
    shows: Claim | None = None
    """Which values show what the factor's name says; None where the name says nothing that could be untrue."""
    instead: str | None = None
    """The feature of the same factor that people are told of in its place, where the model has that."""

    @property
    def unit(self) -> str:
        """As declared with the feature; empty for an input the tenant declared."""
        declared = MODEL_FEATURES_BY_NAME.get(self.feature)
        return declared.unit if declared is not None else ""

    @property
    def direction(self) -> int:
        """+1: higher values mean more risk; -1: lower values do; 0: nobody claims a direction."""
        declared = MODEL_FEATURES_BY_NAME.get(self.feature)
        return declared.risk_direction if declared is not None else 0

    def shown_by(self, values: NDArray[np.float64], median: float | None) -> NDArray[np.bool_]:
        """Which values, as they are written, show what the factor's name says. NaN never does."""
        written = np.round(values, self.number.decimals)
        if self.shows == "above 0":
            return written > 0
        if self.shows == "below 0":
            return written < 0
        if self.shows == "at least one half":
            return written >= 0.5
        if self.shows == "worse than typical":
            return self.worse(values, median)
        return np.zeros(values.shape, dtype=bool) if self.shows == "never" else ~np.isnan(values)

    def worrying(self, values: NDArray[np.float64], median: float | None) -> NDArray[np.bool_]:
        """Which values are reason for concern: worse than typical, or what the factor's name says. NaN never is."""
        concerns = self.shown_by(values, median) if self.shows is not None else np.zeros(values.shape, dtype=bool)
        return concerns | self.worse(values, median)

    def worse(self, values: NDArray[np.float64], median: float | None) -> NDArray[np.bool_]:
        """Which values, as they are written, lie on the worrying side of the median (None: never recorded). NaN never
        does."""
        if median is None:
            return np.zeros(values.shape, dtype=bool)
        decimals = self.number.decimals
        return (np.round(values, decimals) - round(median, decimals)) * self.direction > 0

    @property
    def is_recent(self) -> bool:
        """Whether it is about the last four school weeks, or a change in them."""
        return self.feature.endswith(("_1w", "_4w", "_4w_vs_class", "_change", "_trend"))


@dataclass(frozen=True)
class Recovery:
    """What in the recent course shows that a matter is no longer one, and what to do then."""

    feature: str
    claim: Literal["at least", "at most", "above", "as typical"]
    """How the feature's value, as it is written, lies to `limit`; `as typical`: it is no worse than the median."""
    act: str
    limit: float = 0.0

    def shown_by(self, values: NDArray[np.float64], median: float | None) -> NDArray[np.bool_]:
        """Where the recent course shows it; not where nothing recent is recorded."""
        fact = fact_of(self.feature)
        written = np.round(values, fact.number.decimals)
        if self.claim == "at least":
            return written >= self.limit
        if self.claim == "at most":
            return written <= self.limit
        if self.claim == "above":
            return written > self.limit
        return ~np.isnan(values) & ~fact.worse(values, median) & (median is not None)


@dataclass(frozen=True)
class Factor:
    """What people talk about, and what to do about it."""

    name: str
    domain: FactorDomain
    facts: tuple[Fact, ...]
    """In the order in which they are told: the first that is recorded is the factor's value."""
    act: str
    """Recommendation where it raises the risk and lies on the worrying side of what is typical."""
    keep: str
    """Recommendation where it protects."""
    otherwise: str | None = None
    """The name where the record does not show what `name` says; None where `name` is never untrue."""
    otherwise_raises: bool = False
    """Whether it may be told as raising the risk under that other name (no incident never is)."""
    over: tuple[Recovery, ...] = ()
    """What is recommended in place of `act` where the recent course is good: by the first that shows it."""
    in_course: str | None = None
    """`act` where the course is known; {course} is replaced."""
    of_student: bool = True
    """False for what says nothing about the student (the calendar): neither concern nor strength."""

    @property
    def features(self) -> tuple[str, ...]:
        """The model's features that it stands for."""
        return tuple(fact.feature for fact in self.facts)

    @property
    def lead(self) -> Fact:
        """The fact that is told where all are recorded."""
        return self.facts[0]

    @property
    def unit(self) -> str:
        """The lead's unit."""
        return self.lead.unit

    @property
    def direction(self) -> int:
        """The lead's direction."""
        return self.lead.direction


@dataclass(frozen=True)
class NotRecorded:
    """The factor of a domain's missing values: what is not recorded is told as that, and never as something else."""

    name: str
    missing: str
    """What is said where the domain has nothing at all; else the `missing` words of the feature that weighs most."""
    act: str
    """Recommendation where it raises the risk."""


_NO_ATTENDANCE = "No attendance was recorded in the last four school weeks"
_NO_ATTENDANCE_CHANGE = "Too little attendance was recorded to see a change"
_NO_ATTENDANCE_YET = "No attendance was recorded so far"
_NO_GRADES = "No grade was recorded in the last four school weeks"
_NO_RECENT_GRADES = "No grade was recorded in the last eight school weeks"
_NO_GRADE_CHANGE = "Too few grades were recorded to see a change"
_NO_GRADE_YET = "No grade was recorded so far this school year"
_NO_INCIDENT_DATA = "No discipline data was recorded"
_NO_COMPARISON = "Too few grades were recorded to compare with classmates"

_CALL_FAMILY = "Contact the family to discuss what keeps the student from attending"
_KEEP_ATTENDING = "Attendance is a strength: acknowledge it"
_TUTOR = "Offer tutoring, and agree on goals with the student's teachers"
_KEEP_LEARNING = "Course work is a strength: acknowledge it"
_BEHAVIOUR = "Meet with student and family, and agree on a behaviour support plan"
_KEEP_CALM = "Behaviour is a strength: acknowledge it"

GOOD_ATTENDANCE = 0.95
"""A rate of the last four school weeks at which nobody calls a family about attendance: missing 5 % or less is what
Attendance Works calls satisfactory."""
PASSING_GRADE = 65.0
"""Lowest grade of the last four school weeks from which on no course is failed at present (`low_course_weeks_8w`)."""
_ATTENDS_AGAIN = Recovery(
    "attendance_rate_4w",
    "at least",
    "Attendance has been good in the last four school weeks: acknowledge it",
    GOOD_ATTENDANCE,
)
_HANDS_IN_AGAIN = Recovery(
    "grade_count_4w_vs_class",
    "at least",
    "As much work as the class in the last four school weeks: acknowledge it, and plan what is to be made up",
)
_NO_RECENT_INCIDENT = Recovery(
    "incidents_4w", "at most", "No incident in the last four school weeks: check whether what was agreed still helps"
)

_DECLARED: tuple[Factor, ...] = (
    Factor(
        "attendance_rate_30d",
        "attendance",
        (
            Fact(
                "attendance_rate_4w",
                "attended {value} of sessions in the last four school weeks",
                SHARE,
                _NO_ATTENDANCE,
            ),
            Fact(
                "attendance_rate_1w",
                "attended {value} of sessions this school week",
                SHARE,
                "No attendance was recorded this school week",
            ),
            Fact(
                "attendance_rate_ytd",
                "attended {value} of sessions this school year",
                SHARE,
                _NO_ATTENDANCE_YET,
                "never",
            ),
            Fact(
                "missed_sessions_ytd",
                "missed about {value} of sessions this school year",
                RATIO,
                _NO_ATTENDANCE_YET,
                "never",
                instead="attendance_rate_ytd",  # its own value is drawn towards the usual, which is no fact
            ),
            Fact(
                "weeks_below_90_ytd",
                "school weeks below 90% attendance this school year: {value} of them",
                SHARE,
                _NO_ATTENDANCE_YET,
                "never",
            ),
        ),
        _CALL_FAMILY,
        _KEEP_ATTENDING,
        otherwise="attendance_rate_year",
        otherwise_raises=True,
        over=(_ATTENDS_AGAIN,),
    ),
    Factor(
        "unexcused_absences",
        "attendance",
        (
            Fact(
                "unexcused_days_4w",
                "days with an unexcused absence in the last four school weeks: {value}",
                NUMBER,
                _NO_ATTENDANCE,
                "above 0",
            ),
            Fact(
                "unexcused_rate_4w",
                "absent without excuse in {value} of sessions in the last four school weeks",
                SHARE,
                _NO_ATTENDANCE,
                "above 0",
            ),
            Fact(
                "unexcused_rate_ytd",
                "absent without excuse in {value} of sessions this school year",
                SHARE,
                _NO_ATTENDANCE_YET,
                "above 0",
            ),
        ),
        _CALL_FAMILY,
        "No unexcused absences: acknowledge it",
        otherwise="no_recent_unexcused_absences",
        over=(
            _ATTENDS_AGAIN,
            Recovery(
                "unexcused_rate_4w",
                "at most",
                "No unexcused absence in the last four school weeks: acknowledge it",
            ),
        ),
    ),
    Factor(
        "excused_absences",
        "attendance",
        (
            Fact(
                "excused_rate_4w",
                "excused from {value} of sessions in the last four school weeks",
                SHARE,
                _NO_ATTENDANCE,
                "above 0",
            ),
        ),
        "Ask about health or family reasons, and arrange for missed work to be made up",
        "Few excused absences: nothing to do about them",
        otherwise="no_recent_excused_absences",
        over=(_ATTENDS_AGAIN,),
    ),
    Factor(
        "tardiness",
        "attendance",
        (
            Fact(
                "tardy_rate_4w",
                "late to {value} of sessions in the last four school weeks",
                SHARE,
                _NO_ATTENDANCE,
                "above 0",
            ),
            Fact(
                "tardy_rate_ytd",
                "late to {value} of sessions this school year",
                SHARE,
                _NO_ATTENDANCE_YET,
                "above 0",
            ),
        ),
        "Ask what makes the student late: the way to school, mornings at home, a particular class",
        "Being on time is a strength: acknowledge it",
        otherwise="punctuality",
        over=(Recovery("tardy_rate_4w", "at most", "On time in the last four school weeks: acknowledge it"),),
    ),
    Factor(
        "attendance_decline",
        "attendance",
        (
            Fact(
                "attendance_change",
                "attendance changed by {value} against the four school weeks before",
                POINTS,
                _NO_ATTENDANCE_CHANGE,
                "below 0",
            ),
            Fact(
                "attendance_trend",
                "attendance moved by {value} a week over the last four school weeks",
                POINTS,
                _NO_ATTENDANCE_CHANGE,
                "below 0",
            ),
        ),
        "Find out what changed before it becomes a habit",
        "Attendance is holding up: acknowledge it",
        otherwise="attendance_holding_up",
        over=(
            _ATTENDS_AGAIN,
            Recovery("attendance_trend", "above", "Attendance is coming back: acknowledge it, and ask what helped"),
        ),
    ),
    Factor(
        "grade_average",
        "academic",
        (
            Fact("grade_mean_4w", "mean grade of {value} in the last four school weeks", NUMBER, _NO_GRADES),
            Fact("grade_mean_8w", "mean grade of {value} in the last eight school weeks", NUMBER, _NO_RECENT_GRADES),
            Fact("grade_mean_ytd", "mean grade of about {value} this school year", NUMBER, _NO_GRADE_YET),
        ),
        _TUTOR,
        _KEEP_LEARNING,
        over=(
            Recovery(
                "grade_mean_4w", "as typical", "Recent grades are as usual again: acknowledge it, and keep what helps"
            ),
        ),
    ),
    Factor(
        "gpa_decline",
        "academic",
        (
            Fact(
                "grade_change",
                "mean grade changed by {value} points against the four school weeks before",
                SIGNED,
                _NO_GRADE_CHANGE,
                "below 0",
            ),
            Fact(
                "grade_trend",
                "mean grade moved by {value} points a week over the last four school weeks",
                SIGNED,
                _NO_GRADE_CHANGE,
                "below 0",
            ),
        ),
        "Ask the student's teachers what changed",
        "Grades are holding up: acknowledge it",
        otherwise="grades_holding_up",
        over=(Recovery("grade_trend", "above", "Grades are coming back: acknowledge it, and ask what helped"),),
    ),
    Factor(
        "course_failure",
        "academic",
        (
            Fact(
                "grade_lowest_4w", "lowest grade of {value} in the last four school weeks", NUMBER, _NO_GRADES, "never"
            ),
            Fact("grade_lowest_ytd", "lowest grade of about {value} this school year", NUMBER, _NO_GRADE_YET, "never"),
            Fact(
                "failing_share_ytd",
                "weeks below 60 in the weakest course this school year: {value} of them",
                SHARE,
                _NO_GRADE_YET,
                "at least one half",
            ),
            Fact(
                "low_course_weeks_8w",
                "weekly course means below 65 in the last eight school weeks: {value}",
                NUMBER,
                _NO_RECENT_GRADES,
                "never",
            ),
        ),
        "Look at the course of the lowest grades, and offer help there",
        "The weakest course holds up: acknowledge it",
        otherwise="lowest_grade",
        otherwise_raises=True,
        over=(
            Recovery(
                "grade_lowest_4w",
                "at least",
                "No failing grade in the last four school weeks: acknowledge it, and check what is left to make up",
                PASSING_GRADE,
            ),
        ),
        in_course="Look at {course}, where the lowest recent grades are, and offer help there",
    ),
    Factor(
        "missing_work",
        "academic",
        (
            Fact(
                "grade_count_4w",
                "grades recorded in the last four school weeks: {value}",
                NUMBER,
                "No grade data was recorded",
                "worse than typical",
            ),
            Fact(
                "weeks_since_grade",
                "school weeks since the newest grade: {value}",
                NUMBER,
                _NO_RECENT_GRADES,
                "worse than typical",
            ),
            Fact(
                "grade_count_4w_vs_class",
                "grades of the last four school weeks, against the class's mean number: {value}",
                RATIO,
                _NO_COMPARISON,
                "below 0",
            ),
            Fact(
                "weeks_since_grade_vs_class",
                "weeks since the newest grade, against the class: {value}",
                SIGNED,
                _NO_COMPARISON,
                "above 0",
            ),
            Fact(
                "no_grade_yet",
                "classmates with a grade where the student has none: {value}",
                SHARE,
                _NO_COMPARISON,
                "above 0",
            ),
        ),
        "Check for work not handed in, and plan with the student how to catch up",
        "Work is handed in: acknowledge it",
        otherwise="work_handed_in",
        over=(_HANDS_IN_AGAIN,),
    ),
    Factor(
        "standing_in_class",
        "academic",
        (
            Fact(
                "classmates_ahead",
                "classmates with more grades this school year: {value}",
                SHARE,
                _NO_COMPARISON,
            ),
            Fact(
                "classmates_ahead_in_due_work",
                "classmates who handed in more of what the class handed in: {value}",
                SHARE,
                _NO_COMPARISON,
            ),
            Fact(
                "grade_count_vs_class",
                "grades of this school year, against the class's mean number: {value}",
                RATIO,
                _NO_COMPARISON,
            ),
        ),
        "Find out what keeps the student from doing what the class does",
        "The student does what the class does: acknowledge it",
        over=(_HANDS_IN_AGAIN,),
    ),
    Factor(
        "course_load",
        "academic",
        (
            Fact(
                "courses_8w", "courses with a grade in the last eight school weeks: {value}", NUMBER, _NO_RECENT_GRADES
            ),
        ),
        "No action; it says little by itself",
        "No action; it says little by itself",
        of_student=False,
    ),
    Factor(
        "incidents",
        "behavioral",
        (
            Fact(
                "incidents_8w",
                "discipline incidents in the last eight school weeks: {value}",
                NUMBER,
                _NO_INCIDENT_DATA,
                "above 0",
            ),
            Fact(
                "incidents_4w",
                "discipline incidents in the last four school weeks: {value}",
                NUMBER,
                _NO_INCIDENT_DATA,
                "above 0",
            ),
            Fact(
                "incidents_per_week_ytd",
                "discipline incidents a school week this school year: {value}",
                RATE,
                _NO_INCIDENT_DATA,
                "above 0",
            ),
        ),
        _BEHAVIOUR,
        _KEEP_CALM,
        otherwise="no_recent_incidents",
        over=(_NO_RECENT_INCIDENT,),
    ),
    Factor(
        "incident_severity",
        "behavioral",
        (
            Fact(
                "severity_highest_8w",
                "highest severity of an incident in the last eight school weeks (0 = none, 5 = critical): {value}",
                NUMBER,
                _NO_INCIDENT_DATA,
                "above 0",
            ),
            Fact(
                "severity_highest_ytd",
                "highest severity of an incident this school year (0 = none, 5 = critical): {value}",
                NUMBER,
                _NO_INCIDENT_DATA,
                "above 0",
            ),
        ),
        "Review the incident with the counsellor, and agree on follow-up",
        _KEEP_CALM,
        otherwise="no_recent_severe_incidents",
        over=(_NO_RECENT_INCIDENT,),
    ),
    Factor(
        "incident_trend",
        "behavioral",
        (
            Fact(
                "incidents_trend",
                "weekly discipline incidents moved by {value} a week over the last four school weeks",
                SIGNED,
                "Too little discipline data was recorded to see a trend",
                "above 0",
            ),
        ),
        _BEHAVIOUR,
        "Incidents are not rising: acknowledge it",
        otherwise="incidents_not_rising",
    ),
    Factor(
        "time_of_year",
        "background",
        (
            Fact(
                "teaching_weeks",
                "weeks since teaching began: {value}",
                NUMBER,
                "No first day of teaching is set",
            ),
        ),
        "No action; it says nothing about the student",
        "No action; it says nothing about the student",
        of_student=False,
    ),
)

BACKGROUND = Factor(
    "background",
    "background",
    (),
    "Not something the student did: consider what support the student can count on",
    "Not something the student did: a circumstance that helps",
)
"""Takes the inputs that a tenant declares, and whatever else no other factor names."""

FACTORS: dict[str, Factor] = {factor.name: factor for factor in (*_DECLARED, BACKGROUND)}

NOT_RECORDED: dict[FactorDomain, NotRecorded] = {
    "attendance": NotRecorded(
        "attendance_not_recorded", "No attendance was recorded", "Check with the school why no attendance was recorded"
    ),
    "academic": NotRecorded(
        "grades_not_recorded",
        "No grade was recorded",
        "Check with the school why no grade was recorded",
    ),
    "behavioral": NotRecorded(
        "discipline_not_recorded", _NO_INCIDENT_DATA, "Check with the school why nothing was recorded"
    ),
    "background": NotRecorded(
        "background_not_recorded", "No background was recorded", "Check with the school why nothing was recorded"
    ),
}

NOTHING_STANDS_OUT = "nothing_stands_out"
"""The factor of a student about whom no other can be told."""
OTHER = "other"
"""The factor that stands for everything that is not told."""

_FACTOR_OF: dict[str, Factor] = {feature: factor for factor in _DECLARED for feature in factor.features}
_FACT_OF: dict[str, Fact] = {fact.feature: fact for factor in _DECLARED for fact in factor.facts}


def fact_of(feature: str, levels: Mapping[str, Sequence[str]] | None = None) -> Fact:
    """The words of a feature; an input that a tenant declared is told by its name.

    `levels`: of declared inputs with ordered values, those values; the feature is then the position among them.
    """
    if (fact := _FACT_OF.get(feature)) is not None:
        return fact
    name = feature.replace("_", " ").replace("{", "(").replace("}", ")")
    number = _level(levels[feature]) if levels and feature in levels else NUMBER
    return Fact(feature, f"{name}: {{value}}", number, f"Nothing was recorded as {name}")


def grouped(features: Sequence[str]) -> dict[str, list[int]]:
    """Factor name to the positions of its features, in the registry's order; factors without any are absent."""
    place = {feature: position for position, feature in enumerate(features)}
    positions: dict[str, list[int]] = {}
    for factor in FACTORS.values():
        columns = [place[feature] for feature in factor.features if feature in place]
        if factor is BACKGROUND:
            columns = [position for feature, position in place.items() if feature not in _FACTOR_OF]
        if columns:
            positions[factor.name] = columns
    return positions


def _level(levels: Sequence[str]) -> Number:
    """How the position among ordered values is written: as the value itself."""
    values = tuple(levels)

    def write(position: float) -> str:
        return values[int(position)] if position.is_integer() and 0 <= position < len(values) else _plain(position)

    return Number(1, write)
