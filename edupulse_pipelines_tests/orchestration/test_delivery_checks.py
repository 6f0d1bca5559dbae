"""The verdicts on deliveries as a whole, from counts."""

from __future__ import annotations

import datetime as dt

from dagster import AssetCheckSeverity

from edupulse_pipelines.ingest.accounts import DeliveryCounts, LoadReport
from edupulse_pipelines.ingest.sizes import UnusualSize
from edupulse_pipelines.orchestration import checks, delivery_checks
from edupulse_pipelines.storage.snapshots import Removals, Snapshot

MONDAY = dt.date(2026, 3, 9)


def delivery(day: dt.date = MONDAY, **counts) -> DeliveryCounts:
    return DeliveryCounts(week=day - dt.timedelta(days=7), delivered_on=day, **counts)


def test_rows_that_wait_are_not_bad() -> None:
    """A quarter of the rows is of students who have left: the week goes through."""
    waiting = delivery(read=100, inserted=77, quarantined=23, waiting=23, reasons={"unknown_student": 23})
    result = checks.expectations(LoadReport([waiting]), 0.1)
    assert result.passed
    assert (result.metadata["bad"].value, result.metadata["waiting"].value) == (0, 23)
    assert delivery_checks.waiting_rows([waiting], 0.25).passed
    warned = delivery_checks.waiting_rows([delivery(read=1), waiting], 0.2)
    assert not warned.passed
    assert warned.severity == AssetCheckSeverity.WARN
    assert warned.description == (
        "23.0% of the rows of delivery 2026-03-09 wait for something, more than 20.0%: unknown_student"
    )


def test_the_limit_of_bad_rows_is_of_bad_rows() -> None:
    both = delivery(read=100, inserted=60, quarantined=40, waiting=29, reasons={"unknown_student": 30, "type:date": 11})
    result = checks.expectations(LoadReport([both]), 0.1)
    assert result.severity == AssetCheckSeverity.ERROR
    assert result.description == "11.0% of the rows of delivery 2026-03-09 are bad, more than 10.0%: type:date (11)"
    assert checks.expectations(LoadReport([both]), 0.11).severity == AssetCheckSeverity.WARN


def test_snapshots_that_lack_much_stop_the_week() -> None:
    day = dt.date(2026, 3, 2)
    believed = Snapshot(day, day, day, 95, Removals(5, 95, True))
    waits = Snapshot(day, day, day, 95, None)  # a row of it is in quarantine
    assert delivery_checks.removals_believed([], 0.1).passed
    assert delivery_checks.removals_believed([believed, waits], 0.1).passed
    result = delivery_checks.removals_believed([believed, Snapshot(MONDAY, day, day, 2, Removals(18, 2, False))], 0.1)
    assert not result.passed
    assert result.severity == AssetCheckSeverity.ERROR
    assert "The snapshot of 2026-03-09 lacks 18 of 20 records, more than 10%" in (result.description or "")
    assert "edupulse run --accept-removals 2026-03-09" in (result.description or "")


def test_a_delivery_of_unusual_size_is_a_warning() -> None:
    assert delivery_checks.usual_size([], 3).passed
    result = delivery_checks.usual_size([UnusualSize(MONDAY, 3, 500.0)], 1)
    assert (result.passed, result.severity) == (False, AssetCheckSeverity.WARN)
    assert result.description == "Delivery 2026-03-09 has 3 rows; those of its weekday before it had about 500"


def test_stored_records_of_long_ago_are_counted() -> None:
    assert delivery_checks.no_event_too_old(0, MONDAY).passed
    result = delivery_checks.no_event_too_old(3, MONDAY)
    assert not result.passed
    assert result.severity == AssetCheckSeverity.WARN
    assert result.metadata["rows"].value == 3
    assert "3 stored records of events before 2026-03-09" in (result.description or "")
