"""One incident may concern several students: it is a record of each, under one number of the source."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest

from edupulse_pipelines.ingest.frames import student_record_key
from edupulse_pipelines_tests.ingest.district import District
from edupulse_pipelines_tests.ingest.test_deletions import DAY, weeks
from edupulse_pipelines_tests.repeated import mostly_on_sqlite

pytestmark = pytest.mark.usefixtures("quick_judge")

HEADER = "source_record_id,district_id,incident_date,severity_level,_deleted"


@mostly_on_sqlite("order", list(itertools.permutations((1, 2, 3))), on_postgresql=2)
def test_each_student_of_an_incident_has_a_record(district: District, order: tuple[int, ...]) -> None:
    district.enrol("ZQ1", "ZQ2", "ZQ3")
    rows = {
        1: "i1,ZQ1,2025-09-02,2,\ni1,ZQ2,2025-09-02,4,\n",
        2: "i1,ZQ2,2025-09-02,5,\ni1,ZQ3,2025-09-02,1,\n",
        3: "i1,ZQ1,,,true\n",
    }
    for number in order:
        district.land(number, discipline_incidents=f"{HEADER}\n{rows[number]}")
        district.run("discipline_incidents", weeks=weeks(number))
    district.run("discipline_incidents")
    assert district.rows("discipline_incidents", "district_id", "severity_level", "deleted_on") == [
        ("ZQ1", 2, DAY[3]), ("ZQ2", 5, None), ("ZQ3", 1, None)
    ]  # fmt: skip
    assert district.quarantine() == []
    assert district.run("discipline_incidents")["discipline_incidents"].counts == (5, 0, 0, 5, 0)


def test_two_rows_of_one_student_under_one_number_contradict_each_other(district: District) -> None:
    district.enrol("ZQ1", "ZQ2")
    rows = "i1,ZQ1,2025-09-02,2,\ni1,ZQ1,2025-09-02,3,\ni1,ZQ2,2025-09-02,3,\ni1,ZQ2,2025-09-02,3,\n"
    district.land(1, discipline_incidents=f"{HEADER}\n{rows}")
    done = district.run("discipline_incidents")["discipline_incidents"]
    assert (done.counts, done.delivery.reasons) == ((4, 1, 0, 1, 2), {"conflicting_duplicate": 2})


def test_a_grade_belongs_to_one_student(district: District) -> None:
    district.enrol("ZQ1", "ZQ2")
    header = "source_record_id,district_id,course_id,submission_date,grade_value"
    district.land(1, grades=f"{header}\ng1,ZQ1,ZQm,2025-09-02,50\n")
    district.land(2, grades=f"{header}\ng1,ZQ2,ZQm,2025-09-02,50\n")
    district.run("grades")
    assert district.reasons("grades") == {2: ["moved_student"]}
    assert district.rows("grades", "district_id", "submission_date") == [("ZQ1", dt.date(2025, 9, 2))]


def test_keys_tell_every_pair_apart() -> None:
    assert student_record_key("i1", "1001") == "id:i1:1001"
    pairs = [("a", "b:c"), ("a:b", "c"), ("a:b:c", "d"), ("a", "b:c:d"), ("x" * 100, "y" * 50), ("x" * 99, "xy" * 25)]
    keys = [student_record_key(*pair) for pair in pairs]
    assert len(set(keys)) == len(pairs)
    assert max(map(len, keys)) <= 110
