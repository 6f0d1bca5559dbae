"""When there is school, and what attendance records say about the days on which there is."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from edupulse_pipelines.settings.absence_rules import DayRule
from edupulse_pipelines.settings.section import Day, Section

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)
"""In the order of `datetime.date.weekday()`."""


class AttendanceSettings(Section):
    """What attendance records say: every session, or only the absences and tardies (everybody else was there)."""

    recording: Literal["auto", "all", "exceptions"] = "auto"
    """`auto`: exceptions where the newest attendance came as Ed-Fi, which knows nothing else; all otherwise."""
    sessions_per_day: int = Field(1, ge=1, le=20)
    """Sessions of one school day where only exceptions are recorded; 1: attendance is daily."""
    absent_day: DayRule | None = None
    """When a day is one of absence (`absence_rules.DayRule`); by default as the label's rule says, else `half`."""


class DaySpan(Section):
    """The days from `start` to `end`, both included."""

    start: Day
    end: Day

    @model_validator(mode="after")
    def _forwards(self) -> DaySpan:
        if self.end < self.start:
            raise ValueError(f"the end {self.end} lies before the start {self.start}")
        return self


def _span_of_a_day(value: Any) -> Any:
    return value if isinstance(value, dict | DaySpan) else {"start": value, "end": value}


class CalendarSettings(Section):
    """The days of instruction: the weekdays of the terms without the holidays, and the extra days."""

    terms: tuple[DaySpan, ...] = ()
    weekdays: tuple[Weekday, ...] = Field(WEEKDAYS[:5], min_length=1)
    holidays: tuple[Annotated[DaySpan, BeforeValidator(_span_of_a_day)], ...] = ()
    """Single dates, or spans."""
    extra_days: tuple[Day, ...] = ()
    """Days of instruction whatever weekday or holiday they fall on."""

    @model_validator(mode="after")
    def _needs_terms(self) -> CalendarSettings:
        default = {"holidays": (), "extra_days": (), "weekdays": WEEKDAYS[:5]}
        set_keys = [name for name, value in default.items() if getattr(self, name) != value]
        if set_keys and not self.terms:
            raise ValueError(f"{set_keys[0]} without terms: say from when to when there is school")
        return self
