"""Names as Windows, SFTP servers, browsers and people write them: which table they are for."""

from __future__ import annotations

import pytest

from edupulse_pipelines.sources.file_names import read_name, table_named


@pytest.mark.parametrize(
    ("name", "kind", "table"),
    [
        ("students.csv", "csv", "students"),
        ("STUDENTS.CSV", "csv", "students"),
        ("Student.txt", "csv", "students"),
        ("Attendance_Records.csv", "csv", "attendance_records"),
        ("attendance.csv", "csv", "attendance_records"),
        ("Attendance Records 2026-09-07.csv", "csv", "attendance_records"),
        ("attendance_20260907.TSV", "csv", "attendance_records"),
        ("Attendance-North.csv.gz", "gzip", "attendance_records"),
        ("grade.csv", "csv", "grades"),
        ("GRADES-south-2.CSV", "csv", "grades"),
        ("students (1).xlsx", "workbook", "students"),
        ("Discipline.xlsx", "workbook", "discipline_incidents"),
        ("Incidents.csv", "csv", "discipline_incidents"),
        ("Behavior.csv", "csv", "discipline_incidents"),
        ("discipline-incidents.csv", "csv", "discipline_incidents"),
        ("Feedback.zip", "zip", "training_feedback"),
        ("week.zip", "zip", None),
        ("export.xlsx", "workbook", None),
        ("gradebook.csv", "csv", None),
        ("attendance_codes.csv", "csv", None),
        ("my students.csv", "csv", None),
        ("students_backup.csv", "csv", None),
    ],
)
def test_a_name_says_what_a_file_is(name: str, kind: str, table: str | None) -> None:
    assert read_name(name) == (kind, table)


@pytest.mark.parametrize("name", ["students", "students.pdf", "students.csv.bak", ".csv.tmp", "students.xls"])
def test_files_of_another_kind_are_none(name: str) -> None:
    assert read_name(name) is None


def test_titles_of_sheets_are_read_likewise() -> None:
    assert [table_named(title) for title in ("Students", "ATTENDANCE RECORDS", "Sheet1")] == [
        "students", "attendance_records", None,
    ]  # fmt: skip
