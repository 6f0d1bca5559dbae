"""What is not read of a landing folder, and what of it was meant to be."""

from __future__ import annotations

import datetime as dt

import pytest

from edupulse_pipelines.ingest.left_alone import left_alone
from edupulse_pipelines.orchestration.landing_checks import everything_read
from edupulse_pipelines_tests.ingest.district import FIRST_WEEK, STUDENT_HEADER, District


def put(district: District, path: str, content: str = STUDENT_HEADER) -> None:
    target = district.landing / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content, encoding="utf-8")


def test_names_as_windows_writes_them_are_read(district: District) -> None:
    put(district, "2025-09-08/STUDENTS.CSV", "District_ID,First Name,LAST_NAME,DateOfBirth\n1,A,B,2010-01-01\n")
    put(district, "2025-09-08/Attendance.csv", "District_ID,Date,Status\n1,2025-09-02,absent\n")
    done = district.run()
    assert done["students"].counts == (1, 1, 0, 0, 0)
    assert done["attendance_records"].counts == (1, 1, 0, 0, 0)
    left = left_alone(district.tenant, {FIRST_WEEK})
    assert (left.names, left.unread, left.advice) == ([], [], "")
    assert everything_read(left).passed


def test_what_nobody_understands_beside_what_is_read_is_a_warning(district: District) -> None:
    put(district, "2025-09-08/students.csv")
    put(district, "2025-09-08/readme.md")
    put(district, "old/notes.txt")
    left = left_alone(district.tenant, {FIRST_WEEK})
    assert (left.names, left.unread) == (["2025-09-08/readme.md", "old"], [])
    verdict = everything_read(left)
    assert (verdict.passed, verdict.severity.value) == (False, "WARN")


@pytest.mark.parametrize(
    ("path", "unread"),
    [
        ("2025-09-08/enrolled.csv", "2025-09-08"),
        ("2025-09-08_final/students.csv", "2025-09-08_final"),
        ("20250908/anything.dat", "20250908"),
        ("week 37/students.csv", "file 1"),
        ("Students.csv", "file 1"),
        ("2025-09-08.zip", "2025-09-08.zip"),
    ],
)
def test_a_delivery_of_which_nothing_is_read_is_an_error(district: District, path: str, unread: str) -> None:
    put(district, path)
    left = left_alone(district.tenant, {FIRST_WEEK})
    assert left.unread == [unread]
    assert unread in left.advice
    verdict = everything_read(left)
    assert (verdict.passed, verdict.severity.value) == (False, "ERROR")


def test_empty_folders_and_other_weeks_are_nobodys_fault(district: District) -> None:
    put(district, "2025-09-08/students.csv")
    put(district, "2025-09-15/enrolled.csv")
    (district.landing / "2025-09-08 backup").mkdir()
    assert left_alone(district.tenant, {FIRST_WEEK}).unread == []
    assert left_alone(district.tenant, {FIRST_WEEK, FIRST_WEEK + dt.timedelta(days=7)}).unread == ["2025-09-15"]
