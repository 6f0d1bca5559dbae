"""The verdicts of the checks, from counts."""

from __future__ import annotations

import datetime as dt

import pytest
from dagster import AssetCheckSeverity, TableMetadataValue

from edupulse_pipelines.ingest.archive import ArchivedFile
from edupulse_pipelines.ingest.load import DeliveryCounts, LoadReport
from edupulse_pipelines.orchestration import checks

MONDAY = dt.date(2026, 3, 9)


def delivery(day: dt.date = MONDAY, **counts) -> DeliveryCounts:
    return DeliveryCounts(week=day - dt.timedelta(days=7), delivered_on=day, **counts)


def recorded(one: DeliveryCounts, **changed: int) -> dict[str, int]:
    names = ("read", "inserted", "updated", "unchanged", "quarantined")
    return {**{name: getattr(one, name) for name in names}, "in_quarantine": one.quarantined, **changed}


BALANCED = delivery(read=10, inserted=5, updated=2, unchanged=1, quarantined=2)


def test_identity_holds() -> None:
    assert checks.accounting_identity([BALANCED], {MONDAY: recorded(BALANCED)}).passed
    assert checks.accounting_identity([], {}).passed


def test_deliveries_with_and_without_erased_students_stand_in_one_table() -> None:
    later = MONDAY + dt.timedelta(weeks=1)
    with_erased = delivery(later, read=11, inserted=5, updated=2, unchanged=1, quarantined=2, erased_student=1)
    on_record = {
        MONDAY: recorded(BALANCED, erased_student=0),
        later: recorded(with_erased, erased_student=1),
    }
    result = checks.accounting_identity([BALANCED, with_erased], on_record)
    assert result.passed
    (records,) = (value.records for value in result.metadata.values() if isinstance(value, TableMetadataValue))
    assert [record.data["erased_student"] for record in records] == [0, 1]


@pytest.mark.parametrize(
    ("counts", "record"),
    [
        (delivery(read=10, inserted=9), recorded(delivery(read=10, inserted=10))),
        (BALANCED, recorded(BALANCED, in_quarantine=1)),
        (BALANCED, recorded(BALANCED, in_quarantine=3)),
        (BALANCED, recorded(BALANCED, inserted=6)),
        (BALANCED, recorded(BALANCED, read=11, inserted=6)),
        (BALANCED, recorded(BALANCED, inserted=6, quarantined=1, in_quarantine=1)),  # moved, and nothing was replayed
        (BALANCED, {}),
    ],
)
def test_identity_is_broken(counts: DeliveryCounts, record: dict[str, int]) -> None:
    result = checks.accounting_identity([counts], {MONDAY: record} if record else {})
    assert not result.passed
    assert result.severity == AssetCheckSeverity.ERROR
    assert result.metadata["disagreeing_deliveries"].value == 1


def test_identity_holds_when_rows_were_replayed() -> None:
    after = recorded(BALANCED, inserted=6, quarantined=1, in_quarantine=1)
    assert checks.accounting_identity([BALANCED], {MONDAY: after}, replayed=1).passed


def test_expectations_pass_without_quarantine() -> None:
    assert checks.expectations(LoadReport([delivery(read=3, inserted=3)]), 0.1).passed
    assert checks.expectations(LoadReport([]), 0.1).passed


def test_expectations_warn_up_to_the_threshold() -> None:
    at_threshold = delivery(read=10, inserted=9, quarantined=1, reasons={"type:date": 1})
    result = checks.expectations(LoadReport([at_threshold]), 0.1)
    assert not result.passed
    assert result.severity == AssetCheckSeverity.WARN
    assert "type:date (1)" in (result.description or "")


def test_expectations_block_for_the_worst_delivery() -> None:
    good = delivery(read=1000, inserted=1000)
    bad = delivery(
        MONDAY + dt.timedelta(days=7),
        read=10,
        inserted=8,
        quarantined=2,
        reasons={"values:status": 2},
        failed_expectations=[
            {
                "expectation": "expect_column_values_to_be_in_set",
                "column": "status",
                "reason": "values:status",
                "unexpected": 2,
            }
        ],
    )
    result = checks.expectations(LoadReport([good, bad]), 0.1)
    assert result.severity == AssetCheckSeverity.ERROR
    assert not result.passed
    assert result.metadata["worst_share"].value == pytest.approx(0.2)
    [failed] = result.metadata["failed_expectations"].records
    assert failed.data == {
        "expectation": "expect_column_values_to_be_in_set",
        "column": "status",
        "reason": "values:status",
        "rows": 2,
    }
    assert len(result.metadata["by_delivery"].records) == 2


def test_a_step_that_stopped_still_answers() -> None:
    names = (checks.ACCOUNTING_IDENTITY, checks.EXPECTATIONS)
    results = checks.not_computed(names, "the load stopped (ValueError)")
    assert [result.check_name for result in results] == list(names)
    assert all(not result.passed and result.severity == AssetCheckSeverity.ERROR for result in results)
    assert all(result.metadata[checks.COMPUTED].value is False for result in results)


def test_refused_files_are_named() -> None:
    common = {"week": MONDAY, "delivered_on": MONDAY, "rows": 0, "size_bytes": 1}
    good = ArchivedFile(file_name="grades.csv", status="archived", **common)
    refused = ArchivedFile(file_name="grades-2.csv", status="refused", reason="encoding", detail="not UTF-8", **common)
    assert checks.files_readable([good]).passed
    result = checks.files_readable([good, refused])
    assert not result.passed
    assert "grades-2.csv: not UTF-8" in (result.description or "")


def test_rows_in_the_default_partition_are_an_alert() -> None:
    assert checks.default_partition_empty({}).passed
    on_sqlite = checks.default_partition_empty(None)
    assert on_sqlite.passed and "SQLite" in (on_sqlite.description or "")
    result = checks.default_partition_empty({"2019-05": 1_200, "0025-09": 1})
    assert (result.passed, result.severity) == (False, AssetCheckSeverity.WARN)
    assert "1,201 rows" in (result.description or "") and "edupulse db maintain" in (result.description or "")
    assert [row.data for row in result.metadata["by_month"].records] == [
        {"month": "0025-09", "rows": 1},
        {"month": "2019-05", "rows": 1_200},
    ]


def test_registry_differences_are_an_error() -> None:
    assert checks.registry_matches_table([]).passed
    result = checks.registry_matches_table(["the champion differs"])
    assert (result.passed, result.severity, result.description) == (
        False,
        AssetCheckSeverity.ERROR,
        "the champion differs",
    )


def test_every_cohort_student_scored() -> None:
    week, later = MONDAY, MONDAY + dt.timedelta(days=7)
    made = {week: "the rule, without probabilities", later: "logistic model"}
    both = checks.every_cohort_student_scored({week: 5, later: 4}, {week: 5, later: 4}, [], made, {})
    assert both.passed
    assert str(both.description).endswith("(1 week by the rule, without probabilities, 1 week by logistic model)")
    assert checks.every_cohort_student_scored({week: 5, later: 4}, {later: 4}, [week], made, {}).passed
    assert checks.every_cohort_student_scored({week: 5}, {}, [week], {}, {}).passed
    assert not checks.every_cohort_student_scored({week: 5, later: 4}, {week: 5, later: 3}, [], made, {}).passed
    # Everybody has a score, but not of the model that should have given it.
    stood_in = checks.every_cohort_student_scored({later: 4}, {later: 4}, [], made, {later: "Its files are gone."})
    assert not stood_in.passed
    assert "could not be used" in str(stood_in.description)
