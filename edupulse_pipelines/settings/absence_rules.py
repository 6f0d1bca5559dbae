"""The rules by which authorities call a student chronically absent, as data: one entry for each rule and version.

Each says who made it, where it is written, from when until when it is in force, how many days enrolled it needs, at
which share or number of days absent it is met, and what makes a day an absent one. A tenant names one of them in
`[tenants.<name>.label] rule`. Here is also the arithmetic that decides, for numbers as for arrays; where days are
counted is in `features.days`, over which weeks is in `risk.samples.labels`.

A rule that an authority changes is not edited. The entry gets an end and another name (`federal_2013`), and the new
version takes its place: a tenant that names `federal` then has another label, and its next training is due at once.

In all of them an absence counts whatever its reason, excused or not. Of suspensions the sources that speak of them say
that one out of school is an absence and one in school is none: a district gives the first the status `absent` or
`excused` and the second `present` (its profile maps the codes).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

DayRule = Literal["half", "more_than_half", "any", "all", "minutes"]
"""When a day is one of absence, by what was missed of its sessions: at least half of them, more than half, any, all; or
at least half of its minutes, of days of which every session says its minutes (`half` of the others)."""
DAY_RULES: tuple[DayRule, ...] = get_args(DayRule)

_ROUNDING = 1e-6
"""Days missed are sums of parts of a day; an exact tenth of them must not fail by a rounding error."""


@dataclass(frozen=True, kw_only=True)
class AbsenceRule:
    """One rule in one version."""

    name: str
    authority: str
    sources: tuple[str, ...]
    """Where it is written: a citation or a URL."""
    effective_from: dt.date
    """First day from which the sources show it in force."""
    effective_to: dt.date | None = None
    """Last day; None while it is in force."""
    percent: int | None = None
    """Share of the days enrolled on which the student was absent, in percent."""
    days: int | None = None
    """Number of days absent in a school year; a rule has this or `percent`."""
    edge: Literal[">=", ">"] = ">="
    """Whether the share or number itself meets the rule."""
    minimum_days: int = 1
    """Days enrolled without which the rule says nothing of a student."""
    unit: Literal["days", "time"] = "days"
    """What is counted: days of absence, or the part missed of every day."""
    absent_day: DayRule = "half"
    """What makes a day one of absence, unless the tenant says otherwise (`[tenants.<name>.attendance] absent_day`)."""
    part_of_a_day: str
    """What the sources say of a part of a day, in words."""

    def __post_init__(self) -> None:
        if (self.percent is None) == (self.days is None):
            raise ValueError(f"{self.name}: a share in percent, or a number of days")

    @property
    def words(self) -> str:
        """The rule as an ending of "a student who …"."""
        limit = f"{self.days} days" if self.days is not None else f"{self.percent} %"
        limit = f"{limit} or more" if self.edge == ">=" else f"more than {limit}"
        if self.days is not None:
            met = f"is absent on {limit} of a school year"
        elif self.unit == "time":
            met = f"misses {limit} of the time of the days enrolled"
        else:
            met = f"is absent on {limit} of the days enrolled"
        if self.minimum_days > 1:
            met += f", of at least {self.minimum_days}"
        return met

    def decides(self, days_enrolled: Any) -> Any:
        """Whether so many days enrolled (a number, or an array) are enough for the rule to say anything."""
        return days_enrolled >= self.minimum_days

    def is_met(self, days_enrolled: Any, days_absent: Any, days_missed: Any) -> Any:
        """Whether a student is chronically absent; numbers, or arrays of one shape.

        `days_absent` are the days of absence, excused ones among them; `days_missed` the sum of what was missed of
        each day. False where there are too few days enrolled.
        """
        counted = days_absent if self.unit == "days" else days_missed
        limit = self.days if self.days is not None else self.percent * days_enrolled / 100
        above = counted >= limit - _ROUNDING if self.edge == ">=" else counted > limit + _ROUNDING
        return self.decides(days_enrolled) & above

    def as_json(self) -> dict[str, Any]:
        """What decides about a student, without the words; part of what a label is recognised by."""
        decisive = ("name", "percent", "days", "edge", "minimum_days", "unit")
        return {name: value for name, value in asdict(self).items() if name in decisive}


_NOT_SAID = (
    "The sources do not say how a part of a day counts; half of it or more is an absence, as in the federal rule."
)

ABSENCE_RULES: tuple[AbsenceRule, ...] = (
    AbsenceRule(
        name="federal",
        authority="U.S. Department of Education",
        sources=(
            "EDFacts file specification FS195 (data group 814, chronic absenteeism), from school year 2018-19 on",
            "https://eddataexpress.ed.gov/dashboard/chronic-absenteeism/2021-2022",
            "https://www.maine.gov/doe/data-reporting/reporting/warehouse/chronic-absenteeism (the 10 days)",
        ),
        effective_from=dt.date(2018, 7, 1),
        percent=10,
        minimum_days=10,
        part_of_a_day="Half of the day or more is an absence.",
    ),
    AbsenceRule(
        name="federal_2013",
        authority="U.S. Department of Education",
        sources=(
            "Civil Rights Data Collection 2013-14 and EDFacts file specification C195 for school year 2016-17",
            "https://studentservices.sweetwaterschools.org/chronic-absenteeism/ (as a district explains it)",
        ),
        effective_from=dt.date(2013, 7, 1),
        effective_to=dt.date(2018, 6, 30),
        days=15,
        part_of_a_day=_NOT_SAID,
    ),
    AbsenceRule(
        name="california",
        authority="California Department of Education",
        sources=(
            "California Education Code section 60901(c)(1)",
            "https://www.cde.ca.gov/Ta/ac/cm/dbchronicfaq.asp",
            "https://www.cde.ca.gov/ds/sp/cl/calpadsupdflash120.asp (collected from 2016-17 on)",
            "https://www.ousddata.org/chronic-absenteeism-indicator.html (a part of a day)",
        ),
        effective_from=dt.date(2016, 7, 1),
        percent=10,
        minimum_days=31,
        absent_day="all",
        part_of_a_day="A student who was there for any part of the day attended it.",
    ),
    AbsenceRule(
        name="connecticut",
        authority="Connecticut State Department of Education",
        sources=(
            "Connecticut General Statutes section 10-198c(a)(1), Public Act 15-225",
            "https://portal.ct.gov/sde/chronic-absence/chronic-absence/regulations",
            "https://fdocuments.net/document/guidelines-for-excused-and-unexcused-absences.html",
        ),
        effective_from=dt.date(2015, 7, 1),
        percent=10,
        absent_day="more_than_half",
        part_of_a_day="Who is there for at least half of the regular school day is in attendance.",
    ),
    AbsenceRule(
        name="florida",
        authority="Florida Department of Education",
        sources=(
            "https://www.floridaphoenix.com/blog/a-big-challenge-for-fl-public-schools-thousands-of-kids-are-chronically-absent/",
            "https://floridaseastcoastvoice.com/articles/florida-lawmakers-look-to-curb-student-absenteeism",
        ),
        effective_from=dt.date(2017, 7, 1),
        days=21,
        part_of_a_day=_NOT_SAID,
    ),
    AbsenceRule(
        name="hawaii",
        authority="Hawaii State Department of Education",
        sources=(
            "Strive HI Performance System 2013-14",
            "https://hawaiifreepress.com/Articles-Main/ID/13381/Chronic-Absenteeism-in-Hawaiis-public-schools-plummets-39-percent",
            "https://www.maunawili.k12.hi.us/school-information/attendance-policy (a part of a day)",
        ),
        effective_from=dt.date(2013, 7, 1),
        days=15,
        absent_day="more_than_half",
        part_of_a_day="Who is there for at least half of the day is present.",
    ),
    AbsenceRule(
        name="ohio",
        authority="Ohio Department of Education and Workforce",
        sources=(
            "House Bill 410 of 2016, in force from school year 2017-18",
            "https://education.ohio.gov/Topics/Data/Report-Card-Resources/Resources-and-Technical-Document/"
            "Gap-Closing-Component-1/Chronic-Abesenteeism-Improvement-Indicator",
            "https://fordhaminstitute.org/ohio/commentary/checking-chronic-absenteeism-buckeye-state",
        ),
        effective_from=dt.date(2017, 7, 1),
        percent=10,
        unit="time",
        absent_day="minutes",
        part_of_a_day="Time is counted in hours: what was missed of a day counts as far as it was missed.",
    ),
    AbsenceRule(
        name="pennsylvania",
        authority="Pennsylvania Department of Education",
        sources=(
            "Guidelines for Reporting Regular Attendance and Chronic Absenteeism",
            "https://www.education.pa.gov/K-12/ESSA/FutureReady/Pages/Attendance.aspx",
        ),
        effective_from=dt.date(2018, 1, 16),
        percent=10,
        edge=">",
        minimum_days=90,
        part_of_a_day=_NOT_SAID,
    ),
)
"""Every rule and version. Written after what was found under the sources in November 2026; not legal advice."""

_BY_NAME = {rule.name: rule for rule in ABSENCE_RULES}
RULE_NAMES: tuple[str, ...] = tuple(_BY_NAME)
FEDERAL = "federal"


def absence_rule(name: str) -> AbsenceRule:
    """The rule of this name; KeyError when there is none."""
    return _BY_NAME[name]
