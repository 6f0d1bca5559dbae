"""Why the rule says what it says: its flags, in the shape of `explanations.RiskFactor`.

A part of the rule is told where the student is at least half-way to its threshold (`TOLD_FROM`), with the value, the
threshold and what to do. A rule knows no strengths: what is far from every threshold is only that. The words for what
to do are those of `factors`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from edupulse_pipelines.features.definitions import MODEL_FEATURES_BY_NAME
from edupulse_pipelines.risk.models.baseline import WEIGHTS, GradedRule, RuleModel
from edupulse_pipelines.risk.models.model import Floats
from edupulse_pipelines.risk.rounding import DIGITS
from edupulse_pipelines.risk.telling.explanations import NOTHING_TOLD, RiskFactor
from edupulse_pipelines.risk.telling.factors import FACTORS, NUMBER, SHARE

TOLD_FROM = 0.5
"""The distance to a threshold, as a share of it, from which on a part is told."""


@dataclass(frozen=True)
class _Flag:
    """A part of the rule in words."""

    factor: str
    """The factor of `factors.FACTORS` whose recommendation it has, and by whose name it is known."""
    unit: str
    value: Callable[[GradedRule, dict[str, Floats]], Floats]
    """The value of each row, by the columns of the rule."""
    words: Callable[[GradedRule, float], str]
    """The value with its threshold."""


def _absent(rule: GradedRule, column: dict[str, Floats]) -> Floats:
    """The share that was missed of this school year's days or sessions; of days as the rule counts them."""
    if rule.absence_of == "sessions":
        return 1 - column["attendance_rate_ytd"]
    counted = column["days_absent_ytd" if rule.absence_of == "days" else "days_missed_ytd"]
    return counted / np.maximum(column["days_enrolled_ytd"], rule.minimum_days)


def _absent_words(rule: GradedRule, value: float) -> str:
    limit = f"the rule's limit is {SHARE.written(rule.absence_limit)}"
    if rule.absence_of == "days":
        return f"Absent on {SHARE.written(value)} of the days of this school year ({limit})"
    of = "sessions" if rule.absence_of == "sessions" else "time"
    return f"Missed {SHARE.written(value)} of the {of} of this school year ({limit})"


def _incident_words(rule: GradedRule, value: float) -> str:
    return (
        f"Discipline incidents in the last eight school weeks: {NUMBER.written(value)} "
        f"(the rule's limit is {rule.incidents})"
    )


def _severity_words(rule: GradedRule, value: float) -> str:
    return (
        f"Highest severity of an incident in the last eight school weeks (0 = none, 5 = critical): "
        f"{NUMBER.written(value)} (the rule's limit is {rule.serious_severity})"
    )


_FLAGS: dict[str, _Flag] = {
    "absence": _Flag("attendance_rate_30d", "share", _absent, _absent_words),
    "behaviour": _Flag(
        "incidents",
        MODEL_FEATURES_BY_NAME["incidents_8w"].unit,
        lambda rule, column: column["incidents_8w"],
        _incident_words,
    ),
    "severity": _Flag(
        "incident_severity",
        MODEL_FEATURES_BY_NAME["severity_highest_8w"].unit,
        lambda rule, column: column["severity_highest_8w"],
        _severity_words,
    ),
    "grades": _Flag(
        "grade_average",
        MODEL_FEATURES_BY_NAME["grade_mean_ytd"].unit,
        lambda rule, column: column["grade_mean_ytd"],
        lambda rule, value: (
            f"Mean grade of about {NUMBER.written(value)} this school year (the rule's limit is "
            f"{NUMBER.written(rule.failing_below)})"
        ),
    ),
    "course": _Flag(
        "course_failure",
        "share",
        lambda rule, column: column["failing_share_ytd"],
        lambda rule, value: (
            f"Weeks failed in the weakest course this school year: {SHARE.written(value)} of them (the rule's limit is "
            "one half)"
        ),
    ),
    "missing_work": _Flag(
        "missing_work",
        "share",
        lambda rule, column: np.maximum(1 - np.exp(column["grade_count_vs_class"]), 0.0),
        lambda rule, value: f"Handed in {SHARE.written(value)} less than the classmates on average this school year",
    ),
    "nothing_handed_in": _Flag(
        "missing_work",
        "share",
        lambda rule, column: column["no_grade_yet"],
        lambda rule, value: f"Classmates with a grade where the student has none: {SHARE.written(value)}",
    ),
}


def rule_factors(model: RuleModel, features: pd.DataFrame) -> list[list[RiskFactor]]:
    """Per row the parts that are told, the largest first; at least one: where none is, that nothing stands out.

    `contribution` is what the part adds (`RuleModel.contributions`), `weight` its share of all of them, told or not.
    """
    rule = model.rule
    column = {name: features[name].to_numpy(np.float64) for name in rule.feature_names_in_}
    levels = rule.levels(features)
    contributions = np.round(model.contributions(features), DIGITS) + 0.0
    whole = contributions.sum(axis=1)
    weights = np.round(contributions / np.where(whole > 0, whole, 1.0)[:, None], DIGITS)
    told = np.column_stack([levels[name] >= TOLD_FROM for name in WEIGHTS])
    order = np.argsort(-contributions, axis=1, kind="stable")
    chosen = {name: _which(name, rule, column) for name in WEIGHTS}
    values = {name: flag.value(rule, column) for name, flag in _FLAGS.items() if name in _used(rule)}
    explained: list[list[RiskFactor]] = []
    names = list(WEIGHTS)
    for row in range(len(features)):
        factors: list[RiskFactor] = []
        for position in order[row].tolist():
            if not told[row, position]:
                continue
            name = chosen[names[position]][row]
            flag, value = _FLAGS[name], float(values[name][row])
            factors.append(
                {
                    "factor": flag.factor,
                    "weight": float(weights[row, position]),
                    "value": round(value, DIGITS),
                    "description": flag.words(rule, value),
                    "recommendation": FACTORS[flag.factor].act,
                    "contribution": float(contributions[row, position]),
                    "direction": "raises",
                    "protective": False,
                    "unit": flag.unit,
                }
            )
        explained.append(factors or [dict(NOTHING_TOLD)])
    return explained


def _used(rule: GradedRule) -> set[str]:
    return set(_FLAGS) - (set() if rule.serious_severity is not None else {"severity"})


def _which(name: str, rule: GradedRule, column: dict[str, Floats]) -> list[str]:
    """Which of the facts of a part is nearer to its threshold, by row: that one is told."""
    if name == "behaviour" and rule.serious_severity is not None:
        count = np.nan_to_num(column["incidents_8w"]) / rule.incidents
        severe = np.nan_to_num(column["severity_highest_8w"]) / rule.serious_severity > count
        return np.where(severe, "severity", name).tolist()
    if name == "missing_work":
        nothing = np.nan_to_num(column["no_grade_yet"]) > 0
        return np.where(nothing, "nothing_handed_in", name).tolist()
    return [name] * len(column["incidents_8w"])
