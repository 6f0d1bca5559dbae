"""What every table of `edupulse.toml` has in common: no unknown key, no yes or no, dates that are dates."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, field_validator

from edupulse_pipelines.weeks import EARLIEST_DAY, LATEST_DAY


class Section(BaseModel):
    """A table of `edupulse.toml`: unknown keys are an error, because a misspelt threshold must not pass silently."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean(cls, value: Any) -> Any:
        """No setting is a yes or no; pydantic would read `true` as 1."""
        if isinstance(value, bool):
            raise ValueError(f"{str(value).lower()} is not a value for this key")
        return value


def plain_date(value: Any) -> Any:
    """A date or its ISO text; pydantic would read a number as seconds since 1970."""
    if isinstance(value, str):
        value = dt.date.fromisoformat(value)
    if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
        raise ValueError("not a date such as 2025-09-01")
    return value


def _day_of_school(value: Any) -> Any:
    day = plain_date(value)
    if not EARLIEST_DAY <= day <= LATEST_DAY:
        raise ValueError(f"{day} is not a day from {EARLIEST_DAY} to {LATEST_DAY}")
    return day


Day = Annotated[dt.date, BeforeValidator(_day_of_school)]
