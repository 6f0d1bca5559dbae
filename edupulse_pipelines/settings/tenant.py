"""One school district: everything that it may decide. A district is data, never a copied folder."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from edupulse_pipelines.settings.absence_rules import DayRule
from edupulse_pipelines.settings.audit import AuditSettings
from edupulse_pipelines.settings.calendar import AttendanceSettings, CalendarSettings
from edupulse_pipelines.settings.files import FilesSettings
from edupulse_pipelines.settings.model import (
    CategorySettings,
    CohortSettings,
    FeedbackSettings,
    InputSettings,
    LabelSettings,
    PromotionSettings,
    ReviewSettings,
    RuleSettings,
    TrainingSettings,
)
from edupulse_pipelines.settings.profile import ProfileSettings
from edupulse_pipelines.settings.retention import RetentionSettings
from edupulse_pipelines.settings.section import Day, Section
from edupulse_pipelines.weeks import week_start

_TENANT_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
_DEVICE = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]")
"""Names that Windows keeps for devices: a folder or an archive with one of them cannot be copied there."""
_OUR_FOLDERS = frozenset(("dagster", "landing", "logs", "mlflow", "originals", "raw"))
"""Folders of the home and of the raw archive, in which a tenant's own folder would be taken for one of ours."""


class TenantSettings(Section):
    """One school district, as `[tenants.<name>]` of `edupulse.toml` declares it."""

    name: str = Field(max_length=50)
    timezone: str
    first_week: Day
    landing: Path
    earliest_date: Day | None = None
    """Events before it are quarantined; by default two years before `first_week`."""
    max_quarantined: float = Field(0.1, ge=0, le=1)
    """Share of a delivery's rows of one table that may be bad; rows that only wait are not counted."""
    max_waiting: float = Field(0.25, ge=0, le=1)
    """Share of a delivery's rows of one table that may wait for something before a check warns."""
    max_taken_back: float = Field(0.1, ge=0, le=1)
    """Share of the records there are that a snapshot may take back by not holding them; always five."""
    grading_scale: Literal["unweighted", "weighted"] = "unweighted"
    label: LabelSettings = LabelSettings()
    cohort: CohortSettings = CohortSettings()
    categories: CategorySettings = CategorySettings()
    rule: RuleSettings = RuleSettings()
    training: TrainingSettings = TrainingSettings()
    promotion: PromotionSettings = PromotionSettings()
    audit: AuditSettings = AuditSettings()
    audit_years: int | None = Field(None, ge=1, le=100)
    """Years that the record of changes is kept; None: for ever."""
    inputs: InputSettings = InputSettings()
    feedback: FeedbackSettings = FeedbackSettings()
    review: ReviewSettings = ReviewSettings()
    files: FilesSettings = FilesSettings()
    profile: ProfileSettings = ProfileSettings()
    attendance: AttendanceSettings = AttendanceSettings()
    calendar: CalendarSettings = CalendarSettings()
    retention: RetentionSettings = RetentionSettings()

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not _TENANT_NAME.fullmatch(value):
            raise ValueError("a tenant's name is lower-case letters and digits, joined by single - or _")
        if _DEVICE.fullmatch(value):
            raise ValueError(f"{value!r} is the name of a device on Windows, where its folder could not be copied to")
        if value in _OUR_FOLDERS:
            raise ValueError(f"{value!r} is the name of a folder of our own in the home or in the raw archive")
        return value

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except Exception as error:
            raise ValueError("not an IANA time zone such as America/New_York") from error
        return value

    @field_validator("first_week")
    @classmethod
    def _monday(cls, value: dt.date) -> dt.date:
        if value.weekday() != 0:
            raise ValueError(f"{value} is a {value:%A}; school weeks start on a Monday ({week_start(value)} is one)")
        return value

    @model_validator(mode="after")
    def _events_before_now(self) -> TenantSettings:
        if self.earliest_date is not None and self.earliest_date > self.first_week:
            raise ValueError(f"earliest_date {self.earliest_date} lies after first_week ({self.first_week})")
        return self

    @property
    def no_event_before(self) -> dt.date:
        """The first day on which an event may have happened."""
        if self.earliest_date is not None:
            return self.earliest_date
        year = self.first_week.year - 2
        if year < dt.MINYEAR:
            return dt.date.min
        is_leap_day = (self.first_week.month, self.first_week.day) == (2, 29)
        return self.first_week.replace(year=year, day=28 if is_leap_day else self.first_week.day)

    @model_validator(mode="after")
    def _days_within_the_horizon(self) -> TenantSettings:
        """A rule that could never be met within the horizon would be a label without effect."""
        rule, weeks = self.label.absence_rule, self.label.weeks
        if rule is not None and weeks is not None:
            a_week = len(self.calendar.weekdays)
            needed = max(rule.minimum_days, rule.days or 0)
            if needed > weeks * a_week:
                raise ValueError(
                    f"label.rule: {rule.name} needs {needed} days, and a horizon of {weeks} weeks holds "
                    f"{weeks * a_week}; set horizon_weeks = {-(-needed // a_week)} or more"
                )
        return self

    @property
    def absent_day(self) -> DayRule:
        """What makes a day one of absence: the tenant's own rule, else that of the label's rule."""
        if self.attendance.absent_day is not None:
            return self.attendance.absent_day
        rule = self.label.absence_rule
        return "half" if rule is None else rule.absent_day

    @property
    def identifier(self) -> str:
        """The name as Dagster wants it in job and schedule names (`-` becomes `_`)."""
        return self.name.replace("-", "_")
