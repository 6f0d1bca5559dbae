from __future__ import annotations

import datetime as dt

import pytest

from edupulse_pipelines import weeks


@pytest.mark.parametrize(
    ("delivered", "week"),
    [
        ("2025-09-08", "2025-09-01"),  # a Monday carries the week that has just closed
        ("2025-09-07", "2025-09-01"),  # a Sunday: Saturday's week, not yet closed
        ("2025-09-09", "2025-09-08"),  # a Tuesday: the week that began the day before
        ("2026-01-01", "2025-12-29"),
        ("2024-03-01", "2024-02-26"),
    ],
)
def test_a_delivery_carries_the_week_of_the_day_before(delivered: str, week: str) -> None:
    found = weeks.week_of_delivery(dt.date.fromisoformat(delivered))
    assert found == dt.date.fromisoformat(week)
    assert found.weekday() == 0


@pytest.mark.parametrize(
    ("timezone", "now", "week"),
    [
        ("UTC", "2025-09-07T23:59:59+00:00", "2025-08-25"),
        ("UTC", "2025-09-08T00:00:00+00:00", "2025-09-01"),
        # One moment, three districts: Sunday evening in Honolulu, Monday morning in Auckland.
        ("Pacific/Honolulu", "2025-09-07T12:30:00+00:00", "2025-08-25"),
        ("UTC", "2025-09-07T12:30:00+00:00", "2025-08-25"),
        ("Pacific/Auckland", "2025-09-07T12:30:00+00:00", "2025-09-01"),
        ("America/New_York", "2025-09-08T03:59:59+00:00", "2025-08-25"),
        ("America/New_York", "2025-09-08T04:00:00+00:00", "2025-09-01"),
        # The night the clocks go back, midnight is at 05:00 UTC again.
        ("America/New_York", "2025-11-03T04:30:00+00:00", "2025-10-20"),
        ("America/New_York", "2025-11-03T05:00:00+00:00", "2025-10-27"),
        # The Sunday the clocks go forward has 23 hours.
        ("Europe/London", "2025-03-30T22:59:59+00:00", "2025-03-17"),
        ("Europe/London", "2025-03-30T23:00:00+00:00", "2025-03-24"),
        # `now` in another zone is the same moment.
        ("America/New_York", "2025-09-08T06:00:00+02:00", "2025-09-01"),
    ],
)
def test_a_week_closes_at_local_midnight(timezone: str, now: str, week: str) -> None:
    assert weeks.last_closed_week(timezone, dt.datetime.fromisoformat(now)) == dt.date.fromisoformat(week)


def test_weeks_are_named_by_their_monday() -> None:
    monday = dt.date(2025, 9, 1)
    assert {weeks.week_start(monday + dt.timedelta(days=day)) for day in range(7)} == {monday}
    assert weeks.feature_date(monday) == dt.date(2025, 9, 7)
    assert list(weeks.weeks_between(monday, dt.date(2025, 9, 15))) == [
        monday,
        dt.date(2025, 9, 8),
        dt.date(2025, 9, 15),
    ]
    assert list(weeks.weeks_between(monday, monday - weeks.WEEK)) == []
    assert weeks.last_closed_week("UTC").weekday() == 0
