"""Why a score is what it is: the model's own contributions as the seed's `risk_factors`, in plain words.

One registry, `FACTORS`, holds the words of every feature; a test keeps it complete. The words state the fact and what
to do; whether a fact raises or lowers this student's risk is what the model says, never what we would have guessed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from edupulse_pipelines.features.definitions import FEATURES_BY_NAME
from edupulse_pipelines.risk.model import RiskModel

MAXIMUM_FACTORS = 5
_DIGITS = 6

RiskFactor = dict[str, Any]


@dataclass(frozen=True)
class FactorText:
    """The words of one factor. `fact` takes {value}, as written by `written`."""

    fact: str
    written: Callable[[float], str]
    missing: str
    act: str
    """What to do when it raises the risk and lies on the worrying side of what is typical."""
    keep: str
    """What to do when it lowers the risk."""


def _share(value: float) -> str:
    return f"{100 * value:.0f}%"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _points(value: float) -> str:
    return f"{round(100 * value):+d} percentage points"


def _signed(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}".removesuffix(".0")  # + 0.0: never "-0"


_NO_ATTENDANCE = "No attendance was recorded in the last four school weeks"
_NO_ATTENDANCE_CHANGE = "Too little attendance was recorded to see a change"
_NO_GRADES = "No grade was recorded in the last four school weeks"
_NO_GRADE_CHANGE = "Too few grades were recorded to see a change"
_NO_INCIDENT_DATA = "No discipline data was recorded"

_CALL_FAMILY = "Contact the family to discuss what keeps the student from attending"
_KEEP_ATTENDING = "Attendance is a strength: acknowledge it"
_TUTOR = "Offer tutoring, and agree on goals with the student's teachers"
_KEEP_LEARNING = "Course work is a strength: acknowledge it"
_BEHAVIOUR = "Meet with student and family, and agree on a behaviour support plan"
_KEEP_CALM = "Behaviour is a strength: acknowledge it"

FACTORS: dict[str, FactorText] = {
    "attendance_rate_1w": FactorText(
        "Attended {value} of sessions this school week",
        _share,
        "No attendance was recorded this school week",
        _CALL_FAMILY,
        _KEEP_ATTENDING,
    ),
    "attendance_rate_4w": FactorText(
        "Attended {value} of sessions in the last four school weeks",
        _share,
        _NO_ATTENDANCE,
        _CALL_FAMILY,
        _KEEP_ATTENDING,
    ),
    "unexcused_rate_4w": FactorText(
        "Absent without excuse in {value} of sessions in the last four school weeks",
        _share,
        _NO_ATTENDANCE,
        _CALL_FAMILY,
        _KEEP_ATTENDING,
    ),
    "excused_rate_4w": FactorText(
        "Excused from {value} of sessions in the last four school weeks",
        _share,
        _NO_ATTENDANCE,
        "Ask about health or family reasons, and arrange for missed work to be made up",
        _KEEP_ATTENDING,
    ),
    "tardy_rate_4w": FactorText(
        "Late to {value} of sessions in the last four school weeks",
        _share,
        _NO_ATTENDANCE,
        "Ask what makes the student late: the way to school, mornings at home, a particular class",
        _KEEP_ATTENDING,
    ),
    "unexcused_days_4w": FactorText(
        "Days with an unexcused absence in the last four school weeks: {value}",
        _number,
        _NO_ATTENDANCE,
        _CALL_FAMILY,
        _KEEP_ATTENDING,
    ),
    "attendance_change": FactorText(
        "Attendance changed by {value} against the four school weeks before",
        _points,
        _NO_ATTENDANCE_CHANGE,
        "Find out what changed, and contact the family before it becomes a habit",
        _KEEP_ATTENDING,
    ),
    "attendance_trend": FactorText(
        "Attendance moved by {value} a week over the last four school weeks",
        _points,
        _NO_ATTENDANCE_CHANGE,
        "Find out what changed, and contact the family before it becomes a habit",
        _KEEP_ATTENDING,
    ),
    "grade_mean_4w": FactorText(
        "Mean grade of {value} in the last four school weeks", _number, _NO_GRADES, _TUTOR, _KEEP_LEARNING
    ),
    "grade_mean_8w": FactorText(
        "Mean grade of {value} in the last eight school weeks",
        _number,
        "No grade was recorded in the last eight school weeks",
        _TUTOR,
        _KEEP_LEARNING,
    ),
    "grade_lowest_4w": FactorText(
        "Lowest grade of {value} in the last four school weeks",
        _number,
        _NO_GRADES,
        "Look at the course of the lowest grade, and offer help there",
        _KEEP_LEARNING,
    ),
    "grade_count_4w": FactorText(
        "Grades recorded in the last four school weeks: {value}",
        _number,
        "No grade data was recorded",
        "Check for work not handed in, and plan with the student how to catch up",
        _KEEP_LEARNING,
    ),
    "grade_change": FactorText(
        "Mean grade changed by {value} points against the four school weeks before",
        _signed,
        _NO_GRADE_CHANGE,
        "Ask the student's teachers what changed, and offer tutoring early",
        _KEEP_LEARNING,
    ),
    "grade_trend": FactorText(
        "Mean grade moved by {value} points a week over the last four school weeks",
        _signed,
        _NO_GRADE_CHANGE,
        "Ask the student's teachers what changed, and offer tutoring early",
        _KEEP_LEARNING,
    ),
    "weeks_since_grade": FactorText(
        "School weeks since the newest grade: {value}",
        _number,
        "No grade was recorded in the last eight school weeks",
        "Check for work not handed in, and plan with the student how to catch up",
        _KEEP_LEARNING,
    ),
    "incidents_4w": FactorText(
        "Discipline incidents in the last four school weeks: {value}",
        _number,
        _NO_INCIDENT_DATA,
        _BEHAVIOUR,
        _KEEP_CALM,
    ),
    "incidents_8w": FactorText(
        "Discipline incidents in the last eight school weeks: {value}",
        _number,
        _NO_INCIDENT_DATA,
        _BEHAVIOUR,
        _KEEP_CALM,
    ),
    "severity_highest_8w": FactorText(
        "Highest severity of an incident in the last eight school weeks (0 = none, 5 = critical): {value}",
        _number,
        _NO_INCIDENT_DATA,
        "Review the incident with counsellor and family, and agree on follow-up",
        _KEEP_CALM,
    ),
    "incidents_trend": FactorText(
        "Weekly discipline incidents moved by {value} a week over the last four school weeks",
        _signed,
        "Too little discipline data was recorded to see a trend",
        _BEHAVIOUR,
        _KEEP_CALM,
    ),
}

_LOOK_INTO_MISSING = "Check with the school why nothing was recorded"
_MISSING_LOWERS = "No action; nothing was recorded, so look at the other factors"
_NOT_ALONE = "No reason for concern by itself; look at it together with the other factors"


def risk_factors(model: RiskModel, features: pd.DataFrame) -> list[list[RiskFactor]]:
    """Per row of `features`, up to five factors with a contribution other than 0, the largest first; at least one.

    `contribution` is in log-odds, measured from the training set's average student; `weight` is its absolute share of
    all factors' contributions. A feature and its missing indicator are one factor; `value` is null where nothing was
    recorded. Were every contribution 0 (a student average in everything), the first factor says so with weight 0.
    """
    names = model.features
    contributions = np.round(model.contributions(features), _DIGITS)
    size = np.abs(contributions)
    total = size.sum(axis=1)
    weights = np.round(size / np.where(total > 0, total, 1.0)[:, None], _DIGITS)
    # Stable: factors of equal size stay in the order of their declaration.
    order = np.argsort(-size, axis=1, kind="stable")[:, :MAXIMUM_FACTORS].tolist()
    values = np.round(features[names].to_numpy(np.float64), _DIGITS).tolist()
    typical = [_Typical(name, value) for name, value in model.typical.items()]
    explained: list[list[RiskFactor]] = []
    for largest, value, contribution, weight in zip(
        order, values, contributions.tolist(), weights.tolist(), strict=True
    ):
        shown = [i for i in largest if contribution[i] != 0.0] or largest[:1]
        explained.append([_factor(typical[i], value[i], contribution[i], weight[i]) for i in shown])
    return explained


class _Typical:
    """What is the same for every student: a factor's words and the training set's median."""

    def __init__(self, name: str, median: float | None) -> None:
        self.name = name
        self.text = FACTORS[name]
        self.median = median
        self.aside = "" if median is None else f" (typical: {self.text.written(median)})"
        self.risk_direction = FEATURES_BY_NAME[name].risk_direction

    def is_worse(self, value: float) -> bool:
        """Whether a value lies on the worrying side of the median."""
        return self.median is not None and (value - self.median) * self.risk_direction > 0


def _factor(typical: _Typical, value: float, contribution: float, weight: float) -> RiskFactor:
    text = typical.text
    missing = math.isnan(value)
    raises = contribution > 0
    if missing:
        description = text.missing
        recommendation = _LOOK_INTO_MISSING if raises else _MISSING_LOWERS
    else:
        description = text.fact.format(value=text.written(value)) + typical.aside
        worrying = typical.is_worse(value)
        recommendation = text.act if raises and worrying else _NOT_ALONE if raises or worrying else text.keep
    return {
        "factor": typical.name,
        "weight": weight,
        "value": None if missing else value,
        "description": description,
        "recommendation": recommendation,
        "contribution": contribution,
        "direction": "raises" if raises else "lowers",
    }
