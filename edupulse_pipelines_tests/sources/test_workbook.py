"""Excel workbooks: which sheet is read, and cells as the texts a person sees."""

from __future__ import annotations

import datetime as dt
import io
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from edupulse_pipelines.settings import ProfileSettings
from edupulse_pipelines.sources.landed_files import landed_files
from edupulse_pipelines.sources.profiles import apply_profile
from edupulse_pipelines.sources.records import FIELDS, LINE_NUMBER, PROBLEM, RefusedFile
from edupulse_pipelines.sources.workbook import WorkbookSheet
from edupulse_pipelines_tests.sources.test_landed_files import land, tenant, zipped

HEADER = ["district_id", "course_id", "submission_date", "grade_value"]
DAY = dt.date(2025, 9, 2)


def workbook(sheets: dict[str, list[list[Any]]], formats: dict[str, str] | None = None, hidden: str = "") -> bytes:
    """A workbook of these sheets (rows from A1 on); `formats`: how cells of the first one are shown."""
    made = openpyxl.Workbook()
    made.remove(made.active)
    for title, rows in sheets.items():
        sheet = made.create_sheet(title)
        sheet.sheet_state = "hidden" if title == hidden else "visible"
        for row in rows:
            sheet.append(row)
    for cell, shown in (formats or {}).items():
        made.worksheets[0][cell].number_format = shown
    content = io.BytesIO()
    made.save(content)
    return content.getvalue()


def sheet_of(content: bytes, table: str = "grades", **profile: Any) -> WorkbookSheet:
    return WorkbookSheet(
        lambda: io.BytesIO(content), table, ProfileSettings.model_validate(profile), source_format="Excel"
    )


def rows_of(sheet: WorkbookSheet) -> list[dict[str, Any]]:
    return [row for table in sheet.batches() for row in table.to_pylist()]


def test_cells_are_read_as_a_person_sees_them() -> None:
    content = workbook(
        {
            "grades": [
                HEADER,
                [1001, "MATH", DAY, 88.5],
                ["0042", "MATH", dt.datetime(2025, 9, 2), 0.1 + 0.2],
                [123, True, dt.datetime(2025, 9, 2, 8, 30), "#N/A"],
                [12345678901234567890, None, "9/2/2025", 90.0],
            ]
        },
        formats={"C2": "dd/mm/yyyy", "A4": "00000"},
    )
    assert [[row[name] for name in HEADER] for row in rows_of(sheet_of(content))] == [
        ["1001", "MATH", "2025-09-02", "88.5"],
        ["0042", "MATH", "2025-09-02", "0.3"],
        ["00123", "TRUE", "2025-09-02", "#N/A"],
        ["1.23456789012346e+19", None, "9/2/2025", "90"],
    ]


def test_numbers_and_dates_of_cells_fit_the_profile_that_texts_need() -> None:
    content = workbook({"grades": [HEADER, ["S1", "MATH", DAY, 88.5], ["S2", "MATH", "03.09.2025", "77,5"]]})
    profile = {"decimal": ",", "date_format": "DD.MM.YYYY"}
    (table,) = sheet_of(content, **profile).batches()
    canonical, reasons, _ = apply_profile(table, "grades", ProfileSettings.model_validate(profile))
    assert canonical["submission_date"].to_pylist() == ["2025-09-02", "2025-09-03"]
    assert canonical["grade_value"].to_pylist() == ["88.5", "77.5"]
    assert reasons == {}


def test_rows_have_the_numbers_that_excel_shows() -> None:
    content = workbook({"grades": [[], ["district_id", *HEADER[1:]], [], ["S1", "MATH", DAY, 1], [None] * 4, ["S2"]]})
    rows = rows_of(sheet_of(content))
    assert [(row[LINE_NUMBER], row["district_id"]) for row in rows] == [(4, "S1"), (6, "S2")]


def test_a_value_beyond_the_header_is_a_row_that_does_not_fit() -> None:
    (row,) = rows_of(sheet_of(workbook({"grades": [HEADER, ["S1", "MATH", DAY, 1, "and this"]]})))
    assert (row[PROBLEM], row[FIELDS], row["district_id"]) == (
        "too_many_fields", '["S1", "MATH", "2025-09-02", "1", "and this"]', None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sheets", "hidden"),
    [
        ({"Sheet1": [HEADER, ["S1"]]}, ""),
        ({"notes": [["x"]], "Grades": [HEADER, ["S1"]]}, ""),
        ({"lists": [["x"]], "Sheet1": [HEADER, ["S1"]]}, "lists"),
    ],
)
def test_the_sheet_is_the_one_named_after_the_table_or_the_only_one(sheets: dict[str, Any], hidden: str) -> None:
    assert [row["district_id"] for row in rows_of(sheet_of(workbook(sheets, hidden=hidden)))] == ["S1"]


def damaged(content: bytes) -> bytes:
    """The workbook with the XML of its sheet cut off."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(changed, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data[: len(data) // 2] if "sheet1.xml" in name else data)
    return changed.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"nonsense", "corrupt_workbook"),
        (b"\xd0\xcf\x11\xe0 with a password", "corrupt_workbook"),
        (damaged(workbook({"grades": [HEADER, ["S1", "M", DAY, 1]] * 50})), "corrupt_workbook"),
        (workbook({"a": [HEADER], "b": [HEADER]}), "unclear_sheet"),
        (workbook({"grades": [HEADER], "Grade": [HEADER]}), "unclear_sheet"),
        (workbook({"grades": []}), "empty_file"),
        (workbook({"grades": [["district_id"]]}), "missing_column"),
    ],
)
def test_what_cannot_be_read_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(RefusedFile) as refused:
        rows_of(sheet_of(content))
    assert refused.value.reason == reason


def test_workbooks_are_landed_files_by_their_name_or_that_of_their_sheets(tmp_path: Path) -> None:
    one = workbook({"Sheet1": [HEADER, ["S1", "M", DAY, 1]]})
    students = [["district_id", "first_name", "last_name", "date_of_birth"], ["S1", "Ann", "Lee", DAY]]
    several = workbook({"Students": students, "Grades": [HEADER, ["S2", "M", DAY, 2]], "Notes": [["x"]]})
    folder = tmp_path / "2025-09-08"
    land(
        folder,
        {"Grades-North.XLSX": one, "export.xlsx": several, "week.zip": zipped({"grade.xlsx": one}), "other.xlsx": b""},
    )
    files, unknown = landed_files(folder, tenant(folder))
    assert unknown == ["other.xlsx"]
    assert {table: [file.name for file in found] for table, found in files.items()} == {
        "grades": ["Grades-North.XLSX", "export.xlsx/Grades", "week.zip/grade.xlsx"],
        "students": ["export.xlsx/Students"],
    }
    settings = tenant(folder)
    opened = {file.name: file.open(settings) for file in files["grades"]}
    assert {name: source.source_format for name, source in opened.items()} == {
        "Grades-North.XLSX": "Excel", "export.xlsx/Grades": "Excel", "week.zip/grade.xlsx": "Excel in zip",
    }  # fmt: skip
    ids = {
        name: [row["district_id"] for table in source.batches() for row in table.to_pylist()]
        for name, source in opened.items()
    }
    assert ids == {"Grades-North.XLSX": ["S1"], "export.xlsx/Grades": ["S2"], "week.zip/grade.xlsx": ["S1"]}
    hashes = {file.fingerprint()[0] for found in files.values() for file in found if "export" in file.name}
    assert len(hashes) == 2
