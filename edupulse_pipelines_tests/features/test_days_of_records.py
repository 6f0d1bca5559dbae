"""From delivered files to days: periods, minutes, a changed day rule, and what a delivery leaves out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from edupulse_pipelines.features import update_weekly_activity
from edupulse_pipelines.settings import DayRule
from edupulse_pipelines_tests.ingest.district import FIRST_WEEK, District

STUDENTS = "district_id,first_name,last_name,date_of_birth\nZQ1,ZQ,ZQ,2010-01-01\nZQ2,ZQ,ZQ,2010-01-01\n"
HEADER = "district_id,date,status,period,minutes_absent,minutes_possible\n"
DAYS = ("days_enrolled", "days_present", "days_absent", "days_excused", "days_missed", "days_basis")


@pytest.fixture
def district(engine: sa.Engine, tmp_path: Path) -> District:
    return District(engine, tmp_path)


def days(district: District, rule: DayRule) -> dict[str, tuple[Any, ...]]:
    update_weekly_activity(district.work, absent_day=rule)
    assert update_weekly_activity(district.work, absent_day=rule).recomputed == 0
    return {number: tuple(rest) for number, *rest in district.rows("weekly_activity", "district_id", *DAYS)}


def test_periods_become_a_day_by_the_rule_of_the_tenant(district: District) -> None:
    """Monday: two of four periods; Tuesday: one of four, excused; Wednesday: tardy; and nobody speaks of Thursday."""
    monday, tuesday, wednesday = (f"2025-09-0{number}" for number in (1, 2, 3))
    rows = [("absent", monday, 1), ("absent", monday, 2), ("present", monday, 3), ("tardy", monday, 4)]
    rows += [("excused", tuesday, 1), *(("present", tuesday, number) for number in (2, 3, 4)), ("tardy", wednesday, 1)]
    body = "".join(f"ZQ1,{day},{status},{period}\n" for status, day, period in rows)
    district.land(1, students=STUDENTS, attendance_records="district_id,date,status,period\n" + body)
    district.run()
    assert days(district, "half") == {"ZQ1": (3, 2, 1, 0, 0.75, "half")}
    # Another rule needs no delivery: the weeks made by the one before are stale.
    assert days(district, "more_than_half") == {"ZQ1": (3, 3, 0, 0, 0.75, "more_than_half")}
    assert days(district, "any") == {"ZQ1": (3, 1, 1, 1, 0.75, "any")}
    assert days(district, "all") == {"ZQ1": (3, 3, 0, 0, 0.75, "all")}
    assert days(district, "half") == {"ZQ1": (3, 2, 1, 0, 0.75, "half")}


def test_minutes_are_stored_and_decide_by_the_rule_of_minutes(district: District) -> None:
    district.land(
        1,
        students=STUDENTS,
        attendance_records=HEADER
        + "ZQ1,2025-09-01,tardy,,200,360\n"
        + "ZQ1,2025-09-02,tardy,,90,360\n"
        + "ZQ1,2025-09-03,absent,1,45,90\nZQ1,2025-09-03,present,2,0,270\n"
        # Of one session the minutes are not sent: the day is judged by sessions.
        + "ZQ1,2025-09-04,absent,1,90,90\nZQ1,2025-09-04,present,2,,270\n",
    )
    district.run()
    stored = district.rows("attendance_records", "minutes_absent", "minutes_possible")
    assert sorted(stored, key=str) == [(0, 270), (200, 360), (45, 90), (90, 360), (90, 90), (None, 270)]
    missed = round(200 / 360 + 90 / 360 + 45 / 360 + 1 / 2, 6)
    assert days(district, "minutes") == {"ZQ1": (4, 2, 2, 0, pytest.approx(missed), "minutes")}
    assert days(district, "half") == {"ZQ1": (4, 2, 2, 0, 1.0, "half")}

    # A later file without minutes leaves them, one with an empty field takes them away.
    district.land(2, attendance_records="district_id,date,status\nZQ1,2025-09-01,absent\n")
    district.land(3, attendance_records=HEADER + "ZQ1,2025-09-02,tardy,,,360\n")
    district.run("attendance_records")
    found = district.rows("attendance_records", "date", "status", "minutes_absent", "minutes_possible")
    assert [tuple(row[1:]) for row in sorted(found)[:2]] == [("absent", 200, 360), ("tardy", None, 360)]
    missed = round(200 / 360 + 45 / 360 + 1 / 2, 6)
    assert days(district, "minutes")["ZQ1"] == (4, 2, 2, 0, pytest.approx(missed), "minutes")


def test_minutes_that_cannot_be_are_quarantined_by_name(district: District) -> None:
    district.land(
        1,
        students=STUDENTS,
        attendance_records=HEADER
        + "ZQ1,2025-09-01,tardy,,361,360\nZQ1,2025-09-02,tardy,,-1,360\nZQ1,2025-09-03,tardy,,1,0\n"
        + "ZQ1,2025-09-04,tardy,,half,360\nZQ1,2025-09-05,tardy,,5,\nZQ2,2025-09-05,tardy,,1441,1440\n",
    )
    done = district.run()
    assert done["attendance_records"].counts == (6, 1, 0, 0, 5)
    reasons = [row["reasons"] for row in district.quarantine("attendance_records")]
    assert reasons == [
        ["more_than:minutes_absent"],
        ["range:minutes_absent"],
        ["range:minutes_possible"],
        ["type:minutes_absent"],
        ["range:minutes_absent"],
    ]


def test_a_student_without_attendance_has_no_days(district: District) -> None:
    """A grade makes a row of the week, and no day."""
    district.land(
        1,
        students=STUDENTS,
        attendance_records="district_id,date,status\nZQ1,2025-09-01,excused\n",
        grades="district_id,course_id,grade_value,submission_date\nZQ2,ZQm,70,2025-09-02\n",
    )
    district.run()
    assert days(district, "half") == {"ZQ1": (1, 0, 0, 1, 1.0, "half"), "ZQ2": (0, 0, 0, 0, 0.0, "half")}
    assert district.rows("weekly_activity", "week_start") == [FIRST_WEEK] * 2
