"""The named features, declared once: name, domain, unit, definition and which direction raises risk.

Plain Python data without third-party imports, so that documentation, asset metadata and the model read the same
text. Not here: how a feature is computed (``vectors``).

Words used below. *School week*: Monday to Sunday, a week in which the district sent anything
(``school_calendar``); holidays are skipped, so "the last four school weeks" may span more than four calendar weeks.
Only weeks at whose end the student was enrolled count. *Session*: one recorded attendance mark; where a district sends
only absences also each one of the instructional calendar that no record speaks of, and a week without a calendar has
none.
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
    missing_tells: bool = True
    """Whether it may mean something of the student that the value is missing; False where it also happens to a whole
    class that has had nothing due, and other features tell of the student who handed in nothing."""


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
        "School weeks up to this one at whose end the student was enrolled.",
        0,
    ),
)

FEATURE_NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)

SUMMER_WEEKS = 5
"""So many calendar weeks without school begin a new school year."""

STANDING_FEATURES: tuple[Feature, ...] = (
    Feature(
        "attendance_rate_ytd",
        "attendance",
        "share",
        "Sessions attended (present or tardy) of all recorded sessions, this school year.",
        -1,
    ),
    Feature(
        "unexcused_rate_ytd",
        "attendance",
        "share",
        "Sessions absent without excuse of all recorded sessions, this school year.",
        0,
    ),
    Feature(
        "tardy_rate_ytd",
        "attendance",
        "share",
        "Sessions tardy of all recorded sessions, this school year.",
        1,
    ),
    Feature(
        "missed_sessions_ytd",
        "attendance",
        "log share",
        "Logarithm of (sessions absent or excused + 2) / (sessions + 40), this school year: the step from none to some "
        "says more than the one from many to more.",
        1,
    ),
    Feature(
        "weeks_below_90_ytd",
        "attendance",
        "share",
        "Share of the school weeks with recorded sessions whose attendance rate is below 0.9, this school year.",
        1,
    ),
    Feature(
        "grade_mean_ytd",
        "academic",
        "grade 0-100",
        "Mean grade this school year. Where the grades of a class spread wider than 20 points (a standard deviation), "
        "its distances from the class mean are shrunk to that: marking all or nothing says less.",
        -1,
        missing_tells=False,
    ),
    Feature(
        "grade_lowest_ytd",
        "academic",
        "grade 0-100",
        "Lowest grade this school year, shrunk like the mean.",
        -1,
        missing_tells=False,
    ),
    Feature(
        "failing_share_ytd",
        "academic",
        "share",
        "Of each course's weeks with a grade the share with a mean below 60, this school year; the highest of them.",
        1,
        missing_tells=False,
    ),
    Feature(
        "low_course_weeks_8w",
        "academic",
        "course-weeks",
        "Weekly course means below 65 in the last eight school weeks of this school year.",
        1,
        missing_tells=False,
    ),
    Feature(
        "courses_8w",
        "academic",
        "courses",
        "Courses with a grade in the last eight school weeks of this school year.",
        0,
        missing_tells=False,
    ),
    Feature(
        "classmates_ahead",
        "academic",
        "share",
        "Share of the classmates with more grades this school year; mean over the courses.",
        1,
        missing_tells=False,
    ),
    Feature(
        "classmates_ahead_in_due_work",
        "academic",
        "share",
        "Share of the classmates whose weeks with a grade weigh more, this school year; a week weighs what share of "
        "the class has a grade in it, so that one in which much was due counts more than a straggler's; mean over "
        "the courses.",
        1,
        missing_tells=False,
    ),
    Feature(
        "grade_count_vs_class",
        "academic",
        "log ratio",
        "Logarithm of (grades + 0.5) / (mean of the class + 0.5), this school year; mean over the courses.",
        -1,
        missing_tells=False,
    ),
    Feature(
        "grade_count_4w_vs_class",
        "academic",
        "log ratio",
        "The same of the last four school weeks.",
        -1,
        missing_tells=False,
    ),
    Feature(
        "no_grade_yet",
        "academic",
        "share",
        "Share of the classmates with a grade this school year where the student has none; 0 with one; mean over the "
        "courses.",
        1,
        missing_tells=False,
    ),
    Feature(
        "weeks_since_grade_vs_class",
        "academic",
        "school weeks",
        "School weeks since the newest grade (without one: since the start) minus the median of the class; mean over "
        "the courses.",
        1,
        missing_tells=False,
    ),
    Feature(
        "incidents_per_week_ytd",
        "behavioral",
        "incidents per week",
        "Discipline incidents per school week, this school year; 0 when none, missing only when never sent.",
        1,
    ),
    Feature(
        "severity_highest_ytd",
        "behavioral",
        "level 0-5",
        "Highest severity of an incident this school year; 0 when none, missing only when never sent.",
        1,
    ),
    Feature(
        "teaching_weeks",
        "history",
        "weeks",
        "Calendar weeks since the group's first day of teaching; missing where the settings give none.",
        0,
    ),
)
"""What a student's whole school year says, and how it compares with the classmates'; computed in `school_year`.

*This school year*: since the group's first day of teaching where the settings give one, else since the newest break of
`SUMMER_WEEKS` calendar weeks or more; never before enrolment. *Classmates*: the enrolled students with a grade in the
course; where the settings have groups that begin on a day, those of the student's group, whether they have a grade or
not, in the courses in which a fifth of the group has one (else in the one with the most; before any, they are a class
in which nobody is behind).
"""

STANDING_NAMES: tuple[str, ...] = tuple(feature.name for feature in STANDING_FEATURES)
YEAR_DAYS: tuple[str, ...] = ("days_enrolled_ytd", "days_absent_ytd", "days_missed_ytd")
"""Days of this school year so far: enrolled, of absence (excused ones among them), and what was missed of all of them.
They come with the standing, because the simple rule looks at them; a model sees rates. Missing without a day."""
STANDING_COLUMNS: tuple[str, ...] = (*STANDING_NAMES, *YEAR_DAYS)
MODEL_FEATURES_BY_NAME: dict[str, Feature] = {feature.name: feature for feature in (*FEATURES, *STANDING_FEATURES)}
"""Every feature a model may see by name; a name that is not here is an input the tenant declared."""
