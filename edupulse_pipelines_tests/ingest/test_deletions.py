"""Records that are taken back, by a `_deleted` row or by a snapshot that no longer holds them, in any order."""

from __future__ import annotations

import datetime as dt
import itertools
import json

import pytest

from edupulse_pipelines.ingest import delivery
from edupulse_pipelines.ingest.snapshots import SNAPSHOT_WAITS
from edupulse_pipelines_tests.ingest.district import FIRST_WEEK, STUDENT_HEADER, District, delivery_day
from edupulse_pipelines_tests.repeated import mostly_on_sqlite

pytestmark = pytest.mark.usefixtures("quick_judge")

ATTENDANCE = "district_id,date,status,_deleted"
GRADES = "source_record_id,district_id,course_id,submission_date,grade_value,_deleted"
DAY = {number: delivery_day(number) for number in range(1, 5)}
MONDAY = dt.date(2025, 9, 1)


def weeks(*numbers: int) -> list[dt.date]:
    return [FIRST_WEEK + dt.timedelta(weeks=number - 1) for number in numbers]


def load_in(
    district: District,
    order: tuple[int, ...],
    deliveries: dict[int, dict[str, str]],
    manifests: dict[int, dict[str, object]] | None = None,
) -> None:
    for number in order:
        district.land(number, **deliveries[number])
        if manifests and number in manifests:
            declare(district, number, manifests[number])
        district.run(weeks=weeks(number))
    district.run(weeks=weeks(*deliveries))


def declare(district: District, number: int, manifest: dict[str, object]) -> None:
    """Put a manifest file into a delivery."""
    folder = district.landing / DAY[number].isoformat()
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@mostly_on_sqlite("order", list(itertools.permutations((1, 2, 3))), on_postgresql=2)
def test_the_newest_delivery_says_whether_a_record_stands(district: District, order: tuple[int, ...]) -> None:
    district.enrol("ZQ1", "ZQ2", "ZQ3")
    deliveries = {
        1: {
            "attendance_records": f"{ATTENDANCE}\nZQ1,2025-09-02,absent,\nZQ2,2025-09-02,absent,\n"
            "ZQ3,2025-09-02,tardy,\n",
            "grades": f"{GRADES}\ng1,ZQ1,ZQm,2025-09-03,50,\ng2,ZQ2,ZQm,2025-09-03,60,\n",
        },
        2: {
            "attendance_records": f"{ATTENDANCE}\nZQ1,2025-09-02,,true\nZQ2,2025-09-02,,TRUE\n",
            "grades": f"{GRADES}\ng1,,,,,true\ng2,,,,,true\n",
        },
        3: {
            "attendance_records": f"{ATTENDANCE}\nZQ2,2025-09-02,excused,false\n",
            "grades": f"{GRADES}\ng2,ZQ2,ZQm,2025-09-03,70,\n",
        },
    }
    load_in(district, order, deliveries)
    assert district.rows("attendance_records", "district_id", "status", "deleted_on") == [
        ("ZQ1", "absent", DAY[2]),
        ("ZQ2", "excused", None),
        ("ZQ3", "tardy", None),
    ]
    assert district.rows("grades", "record_key", "grade_value", "deleted_on") == [
        ("id:g1", 50, DAY[2]),
        ("id:g2", 70, None),
    ]
    assert district.quarantine() == []


def test_what_is_taken_back_is_marked_counted_and_recomputed(district: District) -> None:
    district.enrol("ZQ1", "ZQ2")
    rows = "ZQ1,2025-09-02,absent,\nZQ2,2025-09-02,absent,\n"
    district.land(1, attendance_records=f"{ATTENDANCE}\n{rows}")
    district.run()
    district.forget_marks()
    district.land(2, attendance_records=f"{ATTENDANCE}\nZQ1,2025-09-02,,true\n")
    done = district.run(weeks=weeks(2))["attendance_records"]
    assert done.counts == (1, 0, 1, 0, 0)
    assert done.delivery.deleted == 1
    assert [row["rows_deleted"] for row in district.manifest()] == [0, 1]
    assert district.marks("weekly_activity") == {("ZQ1", MONDAY)}
    district.land(3, attendance_records=f"{ATTENDANCE}\nZQ1,2025-09-02,,true\nZQ2,2025-09-09,,true\n")
    again = district.run(weeks=weeks(3))["attendance_records"]
    assert again.counts == (2, 0, 0, 1, 1)
    assert again.delivery.reasons == {"unknown_record": 1}


def test_a_row_without_an_id_is_taken_back_by_its_repetition(district: District) -> None:
    district.enrol("ZQ1")
    header = "district_id,incident_date,severity_level,_deleted"
    district.land(1, discipline_incidents=f"{header}\nZQ1,2025-09-02,2,\nZQ1,2025-09-02,3,\n")
    district.run()
    district.land(2, discipline_incidents=f"{header}\nZQ1,2025-09-02,3,true\nZQ1,2025-09-02,5,true\n")
    assert district.run(weeks=weeks(2))["discipline_incidents"].counts == (2, 0, 1, 0, 1)
    assert district.rows("discipline_incidents", "severity_level", "deleted_on") == [(2, None), (3, DAY[2])]


def test_a_row_and_its_deletion_in_one_delivery_contradict_each_other(district: District) -> None:
    district.enrol("ZQ1")
    district.land(1, attendance_records=f"{ATTENDANCE}\nZQ1,2025-09-02,absent,\nZQ1,2025-09-02,,true\n")
    assert district.run()["attendance_records"].delivery.reasons == {"conflicting_duplicate": 2}


@mostly_on_sqlite("order", list(itertools.permutations((1, 2, 3))), on_postgresql=2)
def test_a_snapshot_takes_back_what_it_no_longer_holds(district: District, order: tuple[int, ...]) -> None:
    """g1 stays, g2 vanishes at the second delivery and is back at the third; g3 lies outside of the days."""
    district.enrol("ZQ1")
    days = {"from": "2025-09-01", "to": "2025-12-31"}
    head = "source_record_id,district_id,course_id,submission_date,grade_value"
    one, two, old = "g1,ZQ1,ZQm,2025-09-03,50", "g2,ZQ1,ZQm,2025-09-04,60", "g3,ZQ1,ZQm,2025-08-20,70"
    load_in(
        district,
        order,
        {
            1: {"grades": f"{head}\n{one}\n{two}\ng4,ZQ1,ZQm,2025-09-05,80\n{old}\n"},
            2: {"grades": f"{head}\n{one}\n"},
            3: {"grades": f"{head}\n{one}\n{two}\n"},
        },
        {number: {"snapshot": {"grades": days}} for number in (2, 3)},
    )
    assert district.rows("grades", "record_key", "deleted_on") == [
        ("id:g1", None),
        ("id:g2", None),
        ("id:g3", None),
        ("id:g4", DAY[2]),  # the first delivery that no longer had it
    ]


def test_a_snapshot_with_a_row_in_quarantine_takes_nothing_back_until_it_is_mended(district: District) -> None:
    district.enrol("ZQ1")
    head = "source_record_id,district_id,course_id,submission_date,grade_value"
    district.land(1, grades=f"{head}\ng1,ZQ1,ZQm,2025-09-03,50\ng2,ZQ1,ZQm,2025-09-04,60\n")
    district.run()
    declare(district, 2, {"snapshot": True})
    district.land(2, grades=f"{head}\ng1,ZQ1,ZQm,2025-09-03,500\n")
    done = district.run(weeks=weeks(2))["grades"]
    assert done.report.warnings == {SNAPSHOT_WAITS: 1}
    assert district.rows("grades", "deleted_on") == [None, None]
    district.land(2, grades=f"{head}\ng1,ZQ1,ZQm,2025-09-03,55\n")
    district.forget_marks()
    assert district.run(weeks=weeks(2))["grades"].delivery.deleted == 1
    assert district.rows("grades", "record_key", "deleted_on") == [("id:g1", None), ("id:g2", DAY[2])]
    assert district.marks("weekly_activity") == {("ZQ1", MONDAY)}


def test_a_student_that_a_snapshot_no_longer_holds(district: District) -> None:
    first = "ZQ1,ZQa,ZQb,2010-01-01\nZQ2,ZQa,ZQb,2010-01-01\n"
    district.land(1, students=f"{STUDENT_HEADER}\n{first}")
    district.run()
    declare(district, 2, {"snapshot": {"students": True}})
    district.land(2, students=f"{STUDENT_HEADER}\nZQ1,ZQa,ZQb,2010-01-01\n")
    district.forget_marks()
    district.run(weeks=weeks(2))
    assert district.rows("students", "district_id", "deleted_on") == [("ZQ1", None), ("ZQ2", DAY[2])]
    assert ("ZQ2", delivery_day(1)) in district.marks("student_features")


@pytest.mark.parametrize("late", [None, 1, 2])
def test_a_delivery_that_only_confirms_is_merged_when_an_older_one_comes(
    district: District, monkeypatch: pytest.MonkeyPatch, late: int | None
) -> None:
    """Week 3 says again what week 1 said; then week 2, which says otherwise, comes late and changes nothing."""
    monkeypatch.setattr(delivery, "CONFIRMED_LATER_ROWS", 1)
    district.enrol("ZQ1")
    same = f"{ATTENDANCE}\nZQ1,2025-09-02,absent,\nZQ9,2025-09-02,absent,\n"
    district.land(1, attendance_records=same)
    district.run()
    district.land(3, attendance_records=same)
    confirmed = district.run("attendance_records", weeks=weeks(3))["attendance_records"]
    assert confirmed.counts == (2, 0, 0, 1, 1)
    assert [row["confirms_only"] for row in district.manifest()] == [False, True]
    assert district.rows("attendance_records", "status", "delivered_on") == [("absent", DAY[1])]
    if late == 1:  # a corrected file of the first delivery
        district.land(1, attendance_records=f"{ATTENDANCE}\nZQ1,2025-09-02,tardy,\n")
    elif late == 2:
        district.land(2, attendance_records=f"{ATTENDANCE}\nZQ1,2025-09-02,tardy,\n")
    else:
        return
    assert district.run("attendance_records", weeks=weeks(late))["attendance_records"].counts == (1, 0, 0, 1, 0)
    assert district.rows("attendance_records", "status", "delivered_on") == [("absent", DAY[3])]
    assert not any(row["confirms_only"] for row in district.manifest())
