"""Whether a delivery is much smaller or larger than those before it, by the rows of one table.

A district delivers by a rhythm of its own, so a delivery is compared with the last eight of its weekday. What is made
of it is a check's; nothing is held back.
"""

from __future__ import annotations

import datetime as dt
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

COMPARED = 8
"""Deliveries that one is compared with."""
FEWEST = 4
"""With fewer nothing is said."""
_TIMES = 2
_DEVIATIONS = 3


@dataclass(frozen=True)
class UnusualSize:
    """A delivery of `rows` rows, where half of the last ones of its weekday had less than `usual`, and half more."""

    delivered_on: dt.date
    rows: int
    usual: float


def unusual_sizes(rows: Mapping[dt.date, int], deliveries: Iterable[dt.date]) -> list[UnusualSize]:
    """Those of `deliveries` that have less than half, or more than twice, the rows usual then; `rows` by delivery.

    Of few rows that is chance: the difference has to be more than three times the square root of one row more, too.
    """
    found = []
    for day in sorted(set(deliveries) & set(rows)):
        before = [count for other, count in sorted(rows.items()) if other < day and other.weekday() == day.weekday()]
        if len(before) < FEWEST:
            continue
        usual = statistics.median(before[-COMPARED:])
        differs = rows[day] * _TIMES < usual or rows[day] > usual * _TIMES
        if differs and abs(rows[day] - usual) > _DEVIATIONS * math.sqrt(usual + 1):
            found.append(UnusualSize(day, rows[day], usual))
    return found
