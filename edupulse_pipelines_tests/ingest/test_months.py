"""Attendance goes by months on PostgreSQL: months that were taken out, days of long ago, several districts at once."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
import sqlalchemy as sa

from edupulse_pipelines.ingest.load import replay_quarantine
from edupulse_pipelines.ingest.writers import attendance
from edupulse_pipelines.operations.partitions import attach_month, detach_month, maintain
from edupulse_pipelines.storage.work import EVERY_TENANT, Work
from edupulse_pipelines.weeks import WEEK
from edupulse_pipelines_tests.ingest.conftest import _judge
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER, FIRST_WEEK, District
from edupulse_pipelines_tests.ingest.interruptions import Job, Meet, barrier, start

pytestmark = [
    pytest.mark.parametrize("database_url", ["postgresql"], indirect=True),
    pytest.mark.usefixtures("quick_judge"),
]

TABLE = "attendance_records"
SEPTEMBER = dt.date(2025, 9, 1)
NUMBERS = [f"ZQ{number}" for number in range(4)]
NO_EARLIEST = {"earliest_date": dt.date.min}
"""For a district whose days may be of any year."""


def rows(*days: str, status: str = "present") -> str:
    return "\n".join([ATTENDANCE_HEADER, *(f"{number},{day},{status}" for day in days for number in NUMBERS)])


def homes(engine: sa.Engine) -> dict[str, int]:
    """Records by the end of the name of the table that holds them."""
    with engine.connect() as connection:
        found = connection.execute(sa.text(f"SELECT CAST(tableoid AS regclass), count(*) FROM {TABLE} GROUP BY 1"))
        return {str(name).removeprefix(f"{TABLE}_"): count for name, count in found}


@pytest.mark.parametrize("bulk_rows", [1, 1_000], ids=["built_apart", "made_ahead"])
def test_rows_of_a_detached_month_wait_in_quarantine_until_it_is_back(
    district: District, monkeypatch: pytest.MonkeyPatch, bulk_rows: int
) -> None:
    monkeypatch.setattr(attendance, "BULK_ROWS", bulk_rows)
    district.enrol(*NUMBERS)
    district.land(1, attendance_records=rows("2025-09-02", "2025-09-03"))
    assert district.run(TABLE)[TABLE].counts == (8, 8, 0, 0, 0)
    detach_month(Work(district.engine, EVERY_TENANT), TABLE, SEPTEMBER)

    # Late, and with a correction and a deletion of what is in the month that is away.
    late = [f"{ATTENDANCE_HEADER},_deleted", "ZQ0,2025-09-02,absent,", "ZQ1,2025-09-02,,true", "ZQ2,2025-09-04,tardy,"]
    district.land(6, attendance_records="\n".join([*late, *(f"{number},2025-10-06,present," for number in NUMBERS)]))
    assert district.run(TABLE, weeks=[FIRST_WEEK + 5 * WEEK])[TABLE].counts == (7, 4, 0, 0, 3)
    assert district.reasons(TABLE) == {line: ["detached_month"] for line in (2, 3, 4)}
    assert homes(district.engine) == {"y2025m10": 4}
    assert district.run(TABLE, weeks=[FIRST_WEEK + 5 * WEEK])[TABLE].counts == (7, 0, 0, 4, 3)
    assert replay_quarantine(district.work, district.raw, district.tenant, [TABLE])[TABLE].loaded == 0

    attach_month(Work(district.engine, EVERY_TENANT), TABLE, SEPTEMBER)
    assert replay_quarantine(district.work, district.raw, district.tenant, [TABLE])[TABLE].loaded == 3
    assert district.reasons(TABLE) == {}
    assert homes(district.engine) == {"y2025m09": 9, "y2025m10": 4}
    stored = district.rows(TABLE, "district_id", "date", "status", "deleted_on")
    assert ("ZQ0", dt.date(2025, 9, 2), "absent", None) in stored
    assert ("ZQ1", dt.date(2025, 9, 2), "present", dt.date(2025, 10, 13)) in stored
    assert ("ZQ2", dt.date(2025, 9, 4), "tardy", None) in stored


def test_days_of_long_ago_lie_in_the_default_partition_until_maintenance_moves_them(
    district: District, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attendance, "BULK_ROWS", 1)
    district.tenant = district.tenant.model_copy(update=NO_EARLIEST)
    district.enrol(*NUMBERS)
    district.land(1, attendance_records=rows("2025-09-02", "2019-05-06", "0025-09-02"))
    district.land(2, attendance_records=rows("2025-09-02", "2019-05-06", "0025-09-02", "2019-05-07", status="absent"))
    assert district.run(TABLE, weeks=[FIRST_WEEK])[TABLE].counts == (12, 12, 0, 0, 0)
    assert homes(district.engine) == {"y2025m09": 4, "default": 8}
    assert maintain(Work(district.engine, EVERY_TENANT), SEPTEMBER)[TABLE].left == 4
    assert district.run(TABLE, weeks=[FIRST_WEEK + WEEK])[TABLE].counts == (16, 4, 12, 0, 0)
    assert homes(district.engine) == {"y2025m09": 4, "y2019m05": 8, "default": 4}
    assert set(district.rows(TABLE, "status")) == {"absent"}


def test_months_that_lie_in_the_default_partition_are_found_when_a_district_begins_earlier(
    district: District, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attendance, "BULK_ROWS", 1)
    district.tenant = district.tenant.model_copy(update=NO_EARLIEST)
    district.enrol(*NUMBERS)
    district.land(1, attendance_records=rows("2019-05-06"))
    assert district.run(TABLE)[TABLE].counts == (4, 4, 0, 0, 0)
    district.tenant = district.tenant.model_copy(update={"first_week": dt.date(2019, 9, 2)})
    district.land(2, attendance_records=rows("2019-05-06", "2019-05-07"))
    assert district.run(TABLE, weeks=[FIRST_WEEK + WEEK])[TABLE].counts == (8, 4, 0, 4, 0)
    assert homes(district.engine) == {"y2019m05": 8}


@pytest.mark.parametrize("day", ["1925-09-02", "2925-09-02"], ids=["long_ago", "in_the_future"])
def test_two_districts_with_a_mistyped_day_each_build_their_months_at_once(
    engine: sa.Engine, tmp_path: Path, day: str
) -> None:
    """Both have read the default partition, which attaching a month needs."""
    both = [District(engine, tmp_path, name=name) for name in ("north", "south")]
    for district in both:
        district.tenant = district.tenant.model_copy(update=NO_EARLIEST)
        district.enrol(*NUMBERS)
        district.land(6, attendance_records=rows(day, "2025-09-02", "2025-10-06"))
    engine.dispose()
    meet = barrier(2)
    children = [
        start(
            Job.of(district, [FIRST_WEEK + 5 * WEEK], tables=(TABLE,), bulk_rows=1),
            tmp_path / district.tenant.name / "points",
            Meet("^before COPY attendance_records", meet, patience=1),
            judge=_judge,
        )
        for district in both
    ]
    assert [child.join() for child in children] == [0, 0], [child.told for child in children]
    expected = 3 if day < "2025" else 2
    for district in both:
        assert len(district.rows(TABLE, "district_id", "date")) == expected * len(NUMBERS)
        district.check_accounts({})
