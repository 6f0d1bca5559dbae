"""What a district decides about its model: labels, cohort, inputs, training, and what a model must reach.

Also the simple rule beside the model, the categories of the score, how educators' verdicts are read, and how many
students are drawn for review. What is done with all this is in `risk`.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from edupulse_pipelines.settings.absence_rules import FEDERAL, RULE_NAMES, AbsenceRule, absence_rule
from edupulse_pipelines.settings.protected import SHORTEST_REASON, protected_by
from edupulse_pipelines.settings.section import Day, Section

GRADE_DIGITS = 6
"""A course's mean is rounded to so many decimals before it is compared with `failing_below`: weekly means come as
doubles, and a mean of exactly the threshold must not fail by a rounding error."""
THRESHOLD = "threshold"
"""The rule of a tenant that sets its own attendance rate."""
_DEFAULT_RATE = 0.9


class LabelSettings(Section):
    """What counts as an adverse event within the horizon; `False` (or an empty list) switches an event off."""

    horizon_weeks: Annotated[int, Field(ge=1, le=52)] | Literal["exit"] = 8
    """Calendar weeks after the as-of week, or `exit`: how the student leaves, any time later."""
    rule: str | None = FEDERAL
    """Chronic absence by an authority's rule (`absence_rules`), or `threshold`: an attendance rate of sessions."""
    attendance_below: float | None = Field(None, gt=0, le=1)
    """The rate of `threshold`; given without `rule`, it means that rule."""
    failing_below: float | None = Field(60.0, gt=0, le=100)
    serious_severity: int | None = Field(4, ge=1, le=5)
    incident_count: int | None = Field(3, ge=1)
    exit_types: tuple[Literal["completed", "transferred", "dropped_out", "failed", "other"], ...] = (
        "dropped_out",
        "failed",
    )

    @field_validator("rule", "attendance_below", "failing_below", "serious_severity", "incident_count", mode="before")
    @classmethod
    def _false_is_off(cls, value: Any) -> Any:
        if value is True:
            raise ValueError("give a threshold, or false to switch the event off")
        return None if value is False else value

    @field_validator("rule")
    @classmethod
    def _known_rule(cls, value: str | None) -> str | None:
        if value is not None and value not in (*RULE_NAMES, THRESHOLD):
            raise ValueError(f"{value} is no rule of absence; there are {', '.join(RULE_NAMES)} and {THRESHOLD}")
        return value

    @model_validator(mode="before")
    @classmethod
    def _one_attendance_event(cls, values: Any) -> Any:
        """`attendance_below` alone keeps its meaning: a number is the rule `threshold`, `False` no event."""
        if not isinstance(values, dict):
            return values
        rate, rule = values.get("attendance_below"), values.get("rule")
        if "rule" not in values:
            if "attendance_below" in values:
                values = {**values, "rule": THRESHOLD if rate not in (None, False) else None}
        elif rule == THRESHOLD and "attendance_below" not in values:
            values = {**values, "attendance_below": _DEFAULT_RATE}
        elif rule == THRESHOLD and rate in (None, False):
            raise ValueError(f'attendance_below: rule = "{THRESHOLD}" needs a rate; to switch it off, set rule = false')
        elif rule != THRESHOLD and rate not in (None, False):
            raise ValueError(f'attendance_below: it is the rate of rule = "{THRESHOLD}"; remove it, or name that rule')
        return values

    @model_validator(mode="before")
    @classmethod
    def _exit_counts_exits_only(cls, values: Any) -> Any:
        """Until exit, nearly everybody has a bad month: only the way of leaving tells students apart."""
        if not isinstance(values, dict) or values.get("horizon_weeks") != "exit":
            return values
        others = ("rule", "attendance_below", "failing_below", "serious_severity", "incident_count")
        thresholds = [name for name in others if values.get(name) not in (None, False)]
        if thresholds:
            raise ValueError(f'{thresholds[0]}: with horizon_weeks = "exit" only exit_types count; remove it')
        return {**values, **dict.fromkeys(others, False)}

    @property
    def absence_rule(self) -> AbsenceRule | None:
        """The authority's rule of chronic absence; None with a rate of the tenant's own, or without the event."""
        return None if self.rule in (None, THRESHOLD) else absence_rule(self.rule)

    @property
    def weeks(self) -> int | None:
        """Length of the horizon in calendar weeks; None: until exit."""
        return None if self.horizon_weeks == "exit" else self.horizon_weeks

    @model_validator(mode="after")
    def _some_event(self) -> LabelSettings:
        if not any((self.rule, self.failing_below, self.serious_severity, self.incident_count, self.exit_types)):
            raise ValueError("every adverse event is switched off; there would be nothing to predict")
        return self


class CohortSettings(Section):
    """Who is scored: enrolled at the week's end, with at least this many school weeks of data."""

    minimum_weeks_of_data: int = Field(4, ge=1)
    grade_codes: tuple[str, ...] = ()
    """Codes of grades outside kindergarten to grade 12 (`PK`, `UG`, …) whose students are scored too."""
    group_by: tuple[str, ...] = ()
    """Keys of `student_metadata` that say who learns together (module and presentation, say); none: everybody does."""
    starts: dict[str, Day] = Field(default_factory=dict)
    """First day of teaching by group, or by any one of its `group_by` values; what lies before it does not count."""

    @model_validator(mode="after")
    def _starts_of_groups(self) -> CohortSettings:
        if self.starts and not self.group_by:
            raise ValueError("starts without group_by: say which key of student_metadata names the group")
        return self

    def group_of(self, metadata: Any) -> tuple[str, ...]:
        """The `group_by` values of a student's metadata; an empty text where there is none."""
        entries = metadata if isinstance(metadata, dict) else {}
        return tuple("" if (value := entries.get(key)) is None else str(value) for key in self.group_by)

    def start_of(self, group: tuple[str, ...]) -> dt.date | None:
        """The first day of teaching of a group, given as its `group_by` values."""
        for name in ("/".join(group), *group):
            if name in self.starts:
                return self.starts[name]
        return None


class CategorySettings(Section):
    """Lowest risk score of each category; below `medium` is `low`."""

    medium: float = Field(0.25, gt=0, lt=1)
    high: float = Field(0.5, gt=0, lt=1)
    critical: float = Field(0.75, gt=0, lt=1)

    @model_validator(mode="after")
    def _ascending(self) -> CategorySettings:
        if not self.medium < self.high < self.critical:
            raise ValueError("medium, high and critical must ascend")
        return self


DEFAULT_ATTENDANCE_BELOW = _DEFAULT_RATE


class RuleSettings(Section):
    """Thresholds of the rule (`risk.models.baseline`), where they are to be others than the label's."""

    attendance_below: float | None = Field(None, gt=0, le=1)
    """Attendance rate of this school year so far; by default absence is that of the label's rule, or by
    `DEFAULT_ATTENDANCE_BELOW` where the label has none."""
    incidents_at_least: int | None = Field(None, ge=1)
    """By default as many as the label counts, or 2."""
    failing_below: float | None = Field(None, gt=0, le=100)
    """By default the label's, or 60."""


class TrainingSettings(Section):
    """When there is enough to train on, and how often the weekly job trains again."""

    minimum_train_per_class: int = Field(10, ge=2)
    minimum_validation_per_class: int = Field(3, ge=1)
    retrain_weeks: int = Field(8, ge=1)
    champion_weeks: int = Field(40, ge=1)
    """How old, in weeks of data, a champion may become: past that it is judged again on the newest weeks whose outcomes
    are known, whatever the schedule says."""
    candidates: tuple[Literal["logistic", "additive", "boosting", "averaged"], ...] = Field(
        ("logistic", "additive", "boosting", "averaged"), min_length=1
    )
    tuning_fits: int = Field(24, ge=0)
    """How many fits the search inside the training window may take; 0: the simplest candidate as it comes."""
    max_training_rows: int = Field(300_000, ge=1_000)
    """Above it, training takes a part of the students, each with all their weeks."""
    retrain_on_feedback: int = Field(50, ge=1)
    """So many verdicts since the newest model make a training due."""
    retrain_on_drift: float = Field(0.25, gt=0)
    """A population stability index of the score, or of a quarter of the features, at or above this makes one due."""


class InputSettings(Section):
    """What the model may see: features of the record, and entries of `student_metadata`.

    A list orders the values from low to high. Gender, ethnicity and socioeconomic status are for audits only; what else
    is protected, or stands for it, needs a written reason.
    """

    record: tuple[str, ...] | None = Field(None, min_length=1)
    """Names of the features of the record; all by default. Of a district whose courses differ in what they ask for,
    only those that compare with the class carry over to a course that was never seen."""
    metadata: dict[str, Literal["number"] | tuple[str, ...]] = Field(default_factory=dict)
    reasons: dict[str, str] = Field(default_factory=dict)
    """By input that is protected or stands for it: why the model may see it. Stands in the model card."""

    @field_validator("metadata")
    @classmethod
    def _no_protected_attribute(cls, value: dict[str, Any]) -> dict[str, Any]:
        protected = {"gender", "sex", "ethnicity", "race", "socioeconomic_status", "grade_level"}
        for name in value:
            if len(name) > 100:
                raise ValueError(f"{name[:20]}…: a name of at most 100 characters")
            if name.lower() in protected:
                raise ValueError(f"{name} is an audit dimension, never an input of the model")
        return value

    @model_validator(mode="after")
    def _reason_for_what_is_protected(self) -> InputSettings:
        for name in self.metadata:
            about = protected_by(name)
            if about and len(self.reasons.get(name, "").strip()) < SHORTEST_REASON:
                raise ValueError(
                    f"metadata: {name} is protected or stands for it ({about}). Audit by it ([…audit] subgroups), or "
                    f"say in inputs.reasons.{name} why the model may see it, in at least {SHORTEST_REASON} characters"
                )
        for name in self.reasons:
            if name not in self.metadata:
                raise ValueError(f"reasons: {name[:60]} is no input of metadata")
        return self


class PromotionSettings(Section):
    """What a challenger must reach to become champion; one that does not is recorded and stays a challenger."""

    minimum_auc: float = Field(0.5, ge=0, le=1)
    capacity: float = Field(0.1, gt=0, le=1)
    """Share of each week's cohort that the school can help."""
    certainty: float = Field(0.8, ge=0.5, lt=1)
    """How sure it must be that a challenger is ahead; 1 - this is the chance that any of the equal challengers of one
    champion takes its place."""
    minimum_lead: float = Field(0.01, ge=0, lt=1)
    """Share of the champion's log loss by which a challenger's must be lower: less is no reason for another list."""
    precision_margin: float = Field(0.03, ge=0, lt=1)
    """How much lower than the champion's a challenger's precision at capacity may be, if its log
    loss is lower: on a short list it goes up and down by chance."""
    calibration_error: float = Field(0.1, gt=0, le=1)
    recall_ratio: float = Field(0.8, gt=0.5, le=1)
    """A subgroup's recall at capacity, as a share of everybody's, may be this small."""
    subgroup_calibration: float = Field(0.1, gt=0, le=1)
    """A subgroup's share with an event may lie this far from its mean predicted probability."""
    fnr_gap: float | None = Field(None, ge=0, le=1)
    """Beside `recall_ratio`, where it is set: a subgroup's false-negative rate may lie this much above everybody's. At
    a small capacity everybody's is so high that none can."""
    maximum_false_negative_rate: float | None = Field(None, gt=0, le=1)
    """Bound of any subgroup's false-negative rate; none by default, because at a small capacity it is high anyway."""
    bootstrap: int = Field(500, ge=50, le=10_000)
    minimum_subgroup: int = Field(10, ge=1)
    """Students; figures of smaller subgroups are not shown and decide nothing."""

    @field_validator("maximum_false_negative_rate", "fnr_gap", mode="before")
    @classmethod
    def _false_is_off(cls, value: Any) -> Any:
        return None if value is False else value


class FeedbackSettings(Section):
    """How educators' verdicts are read."""

    prevented: tuple[str, ...] = ("prevented", "helped", "intervention_succeeded")
    """Outcome types that say of a false positive: there was a risk, the school helped, and so it did not happen."""

    @field_validator("prevented")
    @classmethod
    def _in_small_letters(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        words = tuple(word.strip().casefold() for word in value)
        if "" in words:
            raise ValueError("an outcome type is never empty")
        return words


class ReviewSettings(Section):
    """How many unflagged students are drawn for review each week, so that misses are found; 0 draws none."""

    weekly_sample: int = Field(5, ge=0, le=1000)
