"""Which deliveries are much smaller or larger than those before them, and about which nothing is said."""

from __future__ import annotations

import datetime as dt

import pytest

from edupulse_pipelines.ingest.sizes import UnusualSize, unusual_sizes
from edupulse_pipelines.storage import manifest
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER, District, delivery_day

MONDAY = dt.date(2026, 3, 2)


def weekly(*rows: int, first: dt.date = MONDAY) -> dict[dt.date, int]:
    return {first + dt.timedelta(weeks=number): count for number, count in enumerate(rows)}


@pytest.mark.parametrize(
    ("rows", "usual"),
    [
        ((500, 510, 490, 500, 499), None),
        ((500, 510, 490, 500, 251), None),
        ((500, 510, 490, 500, 249), 500),
        ((500, 510, 490, 500, 0), 500),
        ((500, 510, 490, 500, 1001), 500),
        ((500, 500, 500, 5), None),  # too few to compare
        ((1, 3, 0, 2, 6), None),  # chance
        ((1, 3, 0, 2, 60), 1.5),
        ((0, 0, 0, 0, 4), 0),
        ((900, 900, 900, 100, 100, 100, 100, 100, 100, 100, 100), None),  # only the last eight count
        ((900,) * 3 + (100,) * 8 + (900,), 100),
    ],
)
def test_the_newest_of_these_deliveries(rows: tuple[int, ...], usual: float | None) -> None:
    delivered = weekly(*rows)
    day = max(delivered)
    assert unusual_sizes(delivered, [day]) == ([] if usual is None else [UnusualSize(day, rows[-1], usual)])


def test_each_weekday_has_a_rhythm_of_its_own() -> None:
    """Everything on Mondays, what is new on Thursdays."""
    mondays, thursdays = weekly(*[5000] * 6), weekly(*[40] * 6, first=MONDAY + dt.timedelta(days=3))
    assert unusual_sizes(mondays | thursdays, mondays | thursdays) == []
    thursdays[max(thursdays)] = 5000
    assert [one.usual for one in unusual_sizes(mondays | thursdays, mondays | thursdays)] == [40]


def test_the_rows_of_a_delivery_are_those_of_its_files(district: District) -> None:
    empty = f"{ATTENDANCE_HEADER}\n"
    rows = f"{empty}ZQ1,2025-09-02,present\nZQ1,2025-09-03,present\n"
    district.land(1, attendance_records=rows, attendance_records__b=rows)
    district.land(2, attendance_records=rows, attendance_records__b=empty)
    district.run("attendance_records")
    with district.engine.connect() as connection:
        delivered = manifest.rows_delivered(connection, district.work, "attendance_records")
    assert delivered == {delivery_day(1): 2, delivery_day(2): 2}
