"""The named features, declared once: name, domain, unit, definition and which direction raises risk.

Plain Python data without third-party imports, so that documentation, asset metadata and the model read the same
text. Not here: how a feature is computed (``vectors``).

Words used below. *School week*: Monday to Sunday, a week in which the district sent anything
(``school_calendar``); holidays are skipped, so "the last four school weeks" may span more than four calendar weeks.
Only weeks since the student's enrolment count. *Session*: one recorded attendance mark; where a district sends only
absences also each one of the instructional calendar that no record speaks of, and a week without a calendar has none.
A feature is missing (NULL) when its domain was not sent yet or the student has nothing recorded in its window, unless
its definition says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Domain = Literal["attendance", "academic", "behavioral", "history"]

DOMAINS: tuple[str, ...] = ("attendance", "academic", "behavioral")
"""The three domains that a district may or may not send, in the order of the vector's lists."""

RECENT_WEEKS = 4
"""School weeks in the vector's lists, in the trends and in every ``*_4w`` feature."""

LOOKBACK_WEEKS = 8
"""School weeks that a vector may look at; older activity never reaches it."""

GRADE_POINTS: tuple[tuple[float, float], ...] = (
    (65.0, 1.0),
    (67.0, 1.3),
    (70.0, 1.7),
    (73.0, 2.0),
    (77.0, 2.3),
    (80.0, 2.7),
    (83.0, 3.0),
    (87.0, 3.3),
    (90.0, 3.7),
    (93.0, 4.0),
)
"""(lowest grade 0..100, grade points): the College Board's 4.0 conversion table, unweighted; below 65 is 0.0."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One named feature of the vector."""

    name: str
    domain: Domain
    unit: str
    definition: str
    risk_direction: Literal[-1, 0, 1]
    """+1: higher values mean more risk; -1: lower values do; 0: no direction is claimed."""


FEATURES: tuple[Feature, ...] = (
    Feature(
        "attendance_rate_1w",
        "attendance",
        "share",
        "Sessions attended (present or tardy) of all recorded sessions, in this school week.",
        -1,
    ),
    Feature(
        "attendance_rate_4w",
        "attendance",
        "share",
        "Sessions attended (present or tardy) of all recorded sessions, last four school weeks.",
        -1,
    ),
    Feature(
        "unexcused_rate_4w",
        "attendance",
        "share",
        "Sessions absent without excuse of all recorded sessions, last four school weeks.",
        1,
    ),
    Feature(
        "excused_rate_4w",
        "attendance",
        "share",
        "Sessions excused of all recorded sessions, last four school weeks.",
        1,
    ),
    Feature(
        "tardy_rate_4w",
        "attendance",
        "share",
        "Sessions tardy of all recorded sessions, last four school weeks.",
        1,
    ),
    Feature(
        "unexcused_days_4w",
        "attendance",
        "days",
        "School days with at least one session absent without excuse, last four school weeks.",
        1,
    ),
    Feature(
        "attendance_change",
        "attendance",
        "share",
        "Attendance rate of the last four school weeks minus that of the four before.",
        -1,
    ),
    Feature(
        "attendance_trend",
        "attendance",
        "share per week",
        "Least-squares slope of the weekly attendance rates over the last four school weeks; at least two known.",
        -1,
    ),
    Feature(
        "grade_mean_4w",
        "academic",
        "grade 0-100",
        "Mean of all grades of the last four school weeks, every grade weighing the same.",
        -1,
    ),
    Feature(
        "grade_mean_8w",
        "academic",
        "grade 0-100",
        "Mean of all grades of the last eight school weeks, every grade weighing the same.",
        -1,
    ),
    Feature(
        "grade_lowest_4w",
        "academic",
        "grade 0-100",
        "Lowest grade of the last four school weeks.",
        -1,
    ),
    Feature(
        "grade_count_4w",
        "academic",
        "grades",
        "Number of grades of the last four school weeks; 0 when none, missing only when grades were never sent.",
        -1,
    ),
    Feature(
        "grade_change",
        "academic",
        "grade 0-100",
        "Mean grade of the last four school weeks minus that of the four before.",
        -1,
    ),
    Feature(
        "grade_trend",
        "academic",
        "grade 0-100 per week",
        "Least-squares slope of the weekly mean grades over the last four school weeks; at least two known.",
        -1,
    ),
    Feature(
        "weeks_since_grade",
        "academic",
        "school weeks",
        "School weeks since the newest grade, 0 = this week; missing when the last eight have none.",
        1,
    ),
    Feature(
        "incidents_4w",
        "behavioral",
        "incidents",
        "Discipline incidents of the last four school weeks; 0 when none, missing only when never sent.",
        1,
    ),
    Feature(
        "incidents_8w",
        "behavioral",
        "incidents",
        "Discipline incidents of the last eight school weeks; 0 when none, missing only when never sent.",
        1,
    ),
    Feature(
        "severity_highest_8w",
        "behavioral",
        "level 0-5",
        "Highest severity of an incident in the last eight school weeks; 0 when none, missing only when never sent.",
        1,
    ),
    Feature(
        "incidents_trend",
        "behavioral",
        "incidents per week",
        "Least-squares slope of the weekly incident counts over the last four school weeks; at least two known.",
        1,
    ),
    Feature(
        "weeks_of_data",
        "history",
        "school weeks",
        "School weeks since enrolment (or the first school week) up to this one.",
        0,
    ),
)

FEATURE_NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)
FEATURES_BY_NAME: dict[str, Feature] = {feature.name: feature for feature in FEATURES}
