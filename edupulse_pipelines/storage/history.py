"""Of which weeks deliveries speak: a delivery's own week, or also those before it when it brings history.

Before its first known week a table's records are not sent: what they say of such weeks is missing, never zero. Plain
arithmetic over the manifest's `rows_by_week`; what is made of it is in `features.school_calendar`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from edupulse_pipelines.weeks import WEEK, week_of_delivery

_SUMMER = 16 * WEEK
"""Between two weeks with rows of one history lies at most this: the longest summer, and some weeks."""
_SHARE_OF_HISTORY = 0.25
_SHARE_OF_STRAYS = 0.01


def known_from(delivered: dt.date, rows: Mapping[dt.date, int]) -> dt.date:
    """The first week (a Monday) of which a delivery for the week `delivered` makes its domain known.

    That week, unless the delivery is one of history: then the first of the weeks before it that it speaks of. `rows`
    are its rows by week. A few late or misdated rows make no history: at least a quarter of the rows have to be of
    earlier weeks, of these one row, or one in a hundred, decides nothing, and none that lies more than a summer apart.
    """
    history = []
    following = delivered
    for week in sorted((week for week in rows if week < delivered), reverse=True):
        if following - week > _SUMMER:
            break
        history.append(week)
        following = week
    of_history = sum(rows[week] for week in history)
    every_row = of_history + rows.get(delivered, 0)
    if of_history < _SHARE_OF_HISTORY * every_row:
        return delivered
    older = 0
    for week in reversed(history):
        older += rows[week]
        if older > max(1, _SHARE_OF_STRAYS * every_row):
            return week
    return delivered


def first_known(deliveries: Mapping[dt.date, Mapping[dt.date, int] | None]) -> dt.date | None:
    """The first week that one of these deliveries makes known, of those whose rows by week were noted."""
    known = (known_from(week_of_delivery(day), rows) for day, rows in deliveries.items() if rows is not None)
    return min(known, default=None)
