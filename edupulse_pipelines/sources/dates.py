"""Dates as sources write them: in the format that the tenant's profile declares, and as ISO dates and time stamps."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from functools import cache
from zoneinfo import ZoneInfo

from edupulse_pipelines.settings import TenantSettings

_MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_MONTH_NUMBER = {name[:length]: number for number, name in enumerate(_MONTHS, start=1) for length in (3, len(name))}
_DIRECTIVES = {
    "Y": r"(?P<year>[0-9]{4})",
    "m": r"(?P<month>1[0-2]|0?[1-9])",
    "b": rf"(?P<name>{'|'.join(name[:3] for name in _MONTHS)})",
    "B": rf"(?P<name>{'|'.join(_MONTHS)})",
    "d": r"(?P<day>3[01]|[12][0-9]|0?[1-9])",
    "H": r"(?:2[0-3]|1[0-9]|0?[0-9])",
    "I": r"(?:1[0-2]|0?[1-9])",
    "M": r"(?:[1-5][0-9]|0?[0-9])",
    "S": r"(?:[1-5][0-9]|0?[0-9])",
    "f": r"[0-9]{1,6}",
    "p": r"(?:am|pm)",
    "%": "%",
}
_ISO = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ](?P<time>[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?))?"
    r"(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2})?"
)
_MIDNIGHT = re.compile(r"[0:.]+")
_MOST_DIGITS = 6  # of a fraction of a second


def date_parser(date_format: str) -> Callable[[str], str | None]:
    """Reads texts in a format as the profile declares it (strptime's directives); None for what does not fit."""
    # Where nothing stands between two numbers a leading zero is needed: 2025115 may be two days.
    padded = re.search(r"%[^%]%[^%]", date_format) is not None
    pattern = re.compile(
        "".join(
            (_DIRECTIVES[part[1]].replace("0?", "0") if padded else _DIRECTIVES[part[1]])
            if part.startswith("%")
            else re.escape(part)
            for part in re.findall(r"%.|[^%]+", date_format, re.DOTALL)
        ),
        re.IGNORECASE | re.ASCII,
    )

    def parsed(text: str) -> str | None:
        match = pattern.fullmatch(text)
        if match is None:
            return None
        parts = match.groupdict()
        month = _MONTH_NUMBER[parts["name"].lower()] if "name" in parts else int(parts["month"])
        try:
            return dt.date(int(parts["year"]), month, int(parts["day"])).isoformat()
        except ValueError:
            return None

    return parsed


def iso_day(text: str, zone: dt.tzinfo) -> str | None:
    """The date of an ISO date or time stamp: of a moment its date in `zone`; None for a text that is neither.

    A time stamp at midnight is a date that some program wrote as one, whatever offset it gave: it stays that date.
    """
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    date, time, offset = match["date"], match["time"], match["zone"]
    if time is None or offset is None or _MIDNIGHT.fullmatch(time):
        return date
    whole, _, fraction = time.partition(".")
    moment = f"{date}T{whole}{f'.{fraction[:_MOST_DIGITS]:0<6}' if fraction else ''}{offset}"
    try:
        return dt.datetime.fromisoformat(moment).astimezone(zone).date().isoformat()
    except (ValueError, OverflowError):
        return None


def day_reader(tenant: TenantSettings) -> Callable[[str], str]:
    """How a converter reads dates: as ISO dates and time stamps, else in the profile's format; else it leaves them."""
    zone = ZoneInfo(tenant.timezone)
    declared = None if tenant.profile.iso_dates else date_parser(tenant.profile.date_format)

    @cache
    def read(text: str) -> str:
        return iso_day(text, zone) or (declared(text) if declared is not None else None) or text

    return read
