"""School weeks: Monday to Sunday, named by their Monday. Plain date arithmetic, no I/O and no district's holidays.

A delivery dated D belongs to the school week that contains the day before D: a Monday delivery carries the week that
has just closed. Which weeks had school is a fact of the data (`features.school_calendar`), not of this module.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from zoneinfo import ZoneInfo

WEEK = dt.timedelta(days=7)
EARLIEST_DAY, LATEST_DAY = dt.date(1970, 1, 1), dt.date(2199, 12, 31)
"""What settings and options may name: around these there are days for the arithmetic of weeks, months and horizons."""


def week_start(day: dt.date) -> dt.date:
    """The Monday of the week that contains `day`."""
    return day - dt.timedelta(days=day.weekday())


def week_of_delivery(delivered_on: dt.date) -> dt.date:
    """The Monday of the school week that a delivery of this date carries (the week of the day before)."""
    if delivered_on == dt.date.min:  # no day before it; a folder can have any name
        return delivered_on
    return week_start(delivered_on - dt.timedelta(days=1))


def feature_date(week: dt.date) -> dt.date:
    """The Sunday that closes the week of Monday `week`: the as-of date of its feature vectors."""
    return week + dt.timedelta(days=6)


def last_closed_week(timezone: str, now: dt.datetime | None = None) -> dt.date:
    """The Monday of the newest week whose Sunday has passed in `timezone`.

    `now` is an aware moment (default: the present one); the week closes at local midnight after its Sunday.
    """
    moment = now if now is not None else dt.datetime.now(dt.UTC)
    return week_start(moment.astimezone(ZoneInfo(timezone)).date()) - WEEK


def today_in(timezone: str) -> dt.date:
    """The date of now in a time zone."""
    return dt.datetime.now(ZoneInfo(timezone)).date()


def weeks_between(first: dt.date, last: dt.date) -> Iterator[dt.date]:
    """The Mondays from `first` to `last`, both included and both Mondays; nothing when `last` is earlier."""
    week = first
    while week <= last:
        yield week
        week += WEEK
