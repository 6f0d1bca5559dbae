"""What a profile does to rows: names, dates, decimals, codes and letters; what it does not understand is named."""

from __future__ import annotations

from collections import Counter
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from edupulse_pipelines.settings import ProfileSettings
from edupulse_pipelines.sources.profiles import (
    add_codes,
    apply_profile,
    check_header,
    presentable_codes,
)
from edupulse_pipelines.sources.records import RefusedFile, archive_schema

STATUSES = {"P": "present", "A": "absent", "T": "tardy", "X": "excused"}


def archived(problems: list[str | None] | None = None, /, **columns: list[str | None]) -> pa.Table:
    """Rows as the archive keeps them, in two chunks, so that nothing relies on there being one."""
    count = len(next(iter(columns.values())))
    rows = pa.table(
        [list(range(2, count + 2)), problems or [None] * count, [None] * count, *columns.values()],
        schema=archive_schema(list(columns)),
    )
    return pa.concat_tables([rows.slice(0, 1), rows.slice(1)])


def applied(
    table: str, rows: pa.Table, *, converted: bool = False, **profile: Any
) -> tuple[dict[str, list[Any]], dict[int, list[str]], dict[tuple[str, str], int]]:
    """The columns of the header after `apply_profile`, the reasons, and the unmapped codes."""
    made, reasons, unmapped = apply_profile(rows, table, ProfileSettings(**profile), converted=converted)
    assert {str(field.type) for field in made.schema} == {"int64", "string"}
    # Columns that are read as dictionaries give the same.
    coded = pa.table(
        {name: rows[name] if name[0] == "_" else rows[name].dictionary_encode() for name in rows.schema.names}
    )
    again, *others = apply_profile(coded, table, ProfileSettings(**profile), converted=converted)
    assert (
        pa.table({name: again[name].cast(made[name].type) for name in again.schema.names}).to_pydict()
        == made.to_pydict()
    )
    assert others == [reasons, unmapped]
    return {name: made.column(name).to_pylist() for name in made.column_names[3:]}, reasons, dict(unmapped)


def test_without_a_profile_rows_stay_as_they_came() -> None:
    rows = archived(district_id=["1", "2"], date=["09/01/2025", None], status=["P", "present"])
    made, reasons, unmapped = apply_profile(rows, "attendance_records", ProfileSettings())
    assert made is rows
    assert (reasons, unmapped) == ({}, Counter())


def test_a_whole_profile() -> None:
    rows = archived(
        [None, None, None, "too_few_fields"],
        Student=["1", "2", "3", None],
        Day=["09/02/2025", "9/3/2025", None, None],
        status=["enrolled", "P", "P", None],
        Code=["P", "T", "absent", None],
        note=["kept", "as", "it is", None],
    )
    columns = {"attendance_records": {"Student": "district_id", "Day": "date", "status": "", "Code": "status"}}
    made, reasons, unmapped = applied(
        "attendance_records",
        rows,
        columns=columns,
        date_format="%m/%d/%Y",
        codes={"attendance_records.status": STATUSES},
    )
    assert made == {
        "district_id": ["1", "2", "3", None],
        "date": ["2025-09-02", "2025-09-03", None, None],
        "unused:status": ["enrolled", "P", "P", None],
        "status": ["present", "tardy", "absent", None],
        "note": ["kept", "as", "it is", None],
    }
    assert (reasons, unmapped) == ({}, {})
    empty, reasons, unmapped = applied("attendance_records", rows.slice(0, 0), columns=columns, date_format="%m/%d/%Y")
    assert (empty["date"], reasons, unmapped) == ([], {}, {})


@pytest.mark.parametrize(
    ("date_format", "good", "bad"),
    [
        (
            "%m/%d/%Y",
            {"02/29/2024": "2024-02-29", "2/9/2025": "2025-02-09"},
            ["2025-02-09", "29/02/2024", "02/29/2025", "02/09/25", " 2/9/2025", "2/9/2025\n", "०2/09/2025", "0/1/2025"],
        ),
        ("DD.MM.YYYY", {"31.12.2025": "2025-12-31", "1.2.2025": "2025-02-01"}, ["12.31.2025", "31,12,2025", "1.2.000"]),
        ("YYYYMMDD", {"20250115": "2025-01-15"}, ["2025115", "2025-01-15", "20250132", "20251301"]),
        ("%d-%b-%Y", {"05-Mar-2025": "2025-03-05", "5-may-2025": "2025-05-05"}, ["05-March-2025", "05-Mrz-2025"]),
        ("MMMM D, YYYY", {"May 5, 2025": "2025-05-05"}, ["Sept 5, 2025", "May 5 2025"]),
        (
            "%m/%d/%Y %I:%M:%S %p",
            {"1/31/2025 12:00:00 AM": "2025-01-31"},
            ["1/31/2025", "1/31/2025 13:00:00 AM", "1/31/2025 12:60:00 AM"],
        ),
        ("%Y-%m-%dT%H:%M:%S.%fZ", {"2025-09-01T00:00:00.000Z": "2025-09-01"}, ["2025-09-01", "2025-09-01T24:00:00.0Z"]),
    ],
)  # fmt: skip
def test_dates_are_read_in_the_declared_format_only(date_format: str, good: dict[str, str], bad: list[str]) -> None:
    made, reasons, unmapped = applied("grades", archived(submission_date=[*good, *bad, None]), date_format=date_format)
    assert made["submission_date"] == [*good.values(), *bad, None]
    assert reasons == {position: ["type:submission_date"] for position in range(len(good), len(good) + len(bad))}
    assert unmapped == {}


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2025-09-02T13:05:00", "2025-09-02"),
        ("2025-09-02 00:00:00.000", "2025-09-02"),
        ("2025-09-03T01:30:00Z", "2025-09-02"),  # in New York it is still the day before
        ("2025-09-03T00:00:00Z", "2025-09-03"),
        ("2025-09-02T23:30:00-0400", "2025-09-02"),
        ("2025-09-02T25:00:00Z", "2025-09-02T25:00:00Z"),
        ("02.09.2025", "02.09.2025"),
    ],
)
def test_a_time_stamp_is_its_date_in_the_zone_of_the_district(text: str, date: str) -> None:
    rows = archived(submission_date=[text, "2025-09-01", None])
    made, reasons, _ = apply_profile(rows, "grades", ProfileSettings(), zone=ZoneInfo("America/New_York"))
    assert made.column("submission_date").to_pylist() == [date, "2025-09-01", None]
    assert reasons == {}  # what is no date is judged with the other types


def test_a_decimal_comma() -> None:
    made, reasons, _ = applied(
        "grades",
        archived(grade_value=["92,5", "92", "92.5", "1.234,5", "1,234,5", None], course_name=["a,b"] * 6),
        decimal=",",
    )
    assert made["grade_value"] == ["92.5", "92", "92.5", "1.234,5", "1,234,5", None]
    assert made["course_name"] == ["a,b"] * 6
    # What has two commas is no number, which the validation says of it.
    assert reasons == {2: ["type:grade_value"], 3: ["type:grade_value"]}


def test_an_unmapped_code_is_named_and_never_guessed() -> None:
    made, reasons, unmapped = applied(
        "attendance_records",
        archived(status=["P", "p", "PRESENT", "present", "U", "U", None], district_id=["P"] * 7),
        codes={"attendance_records": {"status": STATUSES}},
    )
    assert made["status"] == ["present", "p", "PRESENT", "present", "U", "U", None]
    assert made["district_id"] == ["P"] * 7
    assert reasons == {position: ["unmapped_code:status"] for position in (1, 2, 4, 5)}
    assert unmapped == {("status", "p"): 1, ("status", "PRESENT"): 1, ("status", "U"): 2}


def test_grade_levels() -> None:
    made, reasons, unmapped = applied(
        "students",
        archived(grade_level=["PK", "KG", "07", "0", "12", "13", "-1", "7.0", "UG", None]),
        grade_levels={"PK": "", "KG": 0},
    )
    assert made["grade_level"] == [None, "0", "07", "0", "12", "13", "-1", "7.0", "UG", None]
    assert reasons == {position: ["unmapped_code:grade_level"] for position in (5, 6, 7, 8)}
    assert set(unmapped) == {("grade_level", code) for code in ("13", "-1", "7.0", "UG")}


def test_codes_of_free_text_and_numbers() -> None:
    codes = {
        "students.gender": {"1": "female", "2": "male", "9": ""},
        "discipline_incidents": {"severity_level": {"MINOR": 1, "5": 2}},
        "grades.grade_value": {"EX": "", "MI": 0},
    }
    made, reasons, _ = applied("students", archived(gender=["1", "9", "male", "M", None]), codes=codes)
    assert (made["gender"], reasons) == (["female", None, "male", "M", None], {3: ["unmapped_code:gender"]})
    made, reasons, _ = applied("discipline_incidents", archived(severity_level=["MINOR", "5", "3", "6"]), codes=codes)
    assert (made["severity_level"], reasons) == (["1", "2", "3", "6"], {3: ["unmapped_code:severity_level"]})
    # A value out of range is a number still: the validation judges it.
    made, reasons, unmapped = applied(
        "grades", archived(grade_value=["EX", "MI", "87,5", "105", "87.5", "?"]), codes=codes, decimal=","
    )
    assert made["grade_value"] == [None, "0", "87.5", "105", "87.5", "?"]
    assert reasons == {4: ["unmapped_code:grade_value"], 5: ["unmapped_code:grade_value"]}
    assert unmapped == {("grade_value", "87.5"): 1, ("grade_value", "?"): 1}


def test_letter_grades_fill_an_empty_value() -> None:
    letters = {"A": 95, "B+": 87.5}
    rows = archived(grade_value=["80", None, None, None, "70"], grade_letter=["A", "B+", "Z", None, "Z"])
    made, reasons, unmapped = applied("grades", rows, letter_grades=letters)
    assert made["grade_value"] == ["80", "87.5", None, None, "70"]
    assert made["grade_letter"] == ["A", "B+", "Z", None, "Z"]
    assert (reasons, unmapped) == ({2: ["unmapped_code:grade_letter"]}, {("grade_letter", "Z"): 1})
    made, _, _ = applied("grades", rows.drop_columns("grade_value"), letter_grades=letters)
    assert made["grade_value"] == ["95", "87.5", None, None, None]
    made, reasons, unmapped = applied(
        "grades",
        archived(grade_letter=["Pass", "Fail"]),
        letter_grades=letters,
        codes={"grades.grade_letter": {"Pass": "A"}},
    )
    assert (made["grade_letter"], made["grade_value"]) == (["A", "Fail"], ["95", None])
    assert (reasons, unmapped) == ({1: ["unmapped_code:grade_letter"]}, {("grade_letter", "Fail"): 1})


def test_a_date_of_birth_that_is_not_known() -> None:
    rows = archived([None, None, "malformed_row"], date_of_birth=["2010-05-01", None, None])
    profile = ProfileSettings(missing_date_of_birth="1900-01-01")
    made, reasons, _ = apply_profile(rows, "students", profile)
    assert made.column("date_of_birth").to_pylist() == ["2010-05-01", "1900-01-01", None]
    assert reasons == {}
    made, _, _ = apply_profile(rows, "students", ProfileSettings())
    assert made.column("date_of_birth").null_count == 2


def test_converted_rows_are_canonical_but_for_codes() -> None:
    settings: dict[str, Any] = {
        "columns": {"attendance_records": {"note": "period"}},
        "date_format": "%m/%d/%Y",
        "codes": {"attendance_records.status": {"absent": "excused", "Medical": "excused"}},
        "grade_levels": {"UG": 12},
    }
    made, reasons, _ = applied(
        "attendance_records",
        archived(date=["2025-09-01"] * 3, status=["absent", "Medical", "Other"], note=["1"] * 3),
        converted=True,
        **settings,
    )
    assert made == {"date": ["2025-09-01"] * 3, "status": ["absent", "excused", "Other"], "note": ["1"] * 3}
    assert reasons == {2: ["unmapped_code:status"]}
    made, reasons, unmapped = applied("students", archived(grade_level=["UG", "9", "PK"]), converted=True, **settings)
    assert (made["grade_level"], unmapped) == (["12", "9", "PK"], {("grade_level", "PK"): 1})
    # Even where the tenant has declared nothing, a code is named as one.
    _, reasons, _ = applied("students", archived(grade_level=["UG", "9", "PK"], gender=["x"] * 3), converted=True)
    assert reasons == {0: ["unmapped_code:grade_level"], 2: ["unmapped_code:grade_level"]}
    _, reasons, _ = applied("discipline_incidents", archived(severity_level=["4", "Fight"]), converted=True)
    assert reasons == {1: ["unmapped_code:severity_level"]}


def test_of_a_deletion_only_the_key_is_judged() -> None:
    codes = {"attendance_records": {"status": STATUSES, "_deleted": {"D": "true", "N": "false"}}}
    made, reasons, unmapped = applied(
        "attendance_records",
        archived(
            district_id=["1", "1", "1", None],
            date=["09/02/2025", "2025-09-03", "?", "09/02/2025"],
            status=["U", "U", "U", "V"],
            _deleted=["D", "D", "N", "D"],
        ),
        date_format="%m/%d/%Y",
        codes=codes,
    )
    assert made["_deleted"] == ["true", "true", "false", "true"]
    assert reasons == {1: ["type:date"], 2: ["type:date", "unmapped_code:status"], 3: ["unmapped_code:status"]}
    assert unmapped == {("status", "U"): 1, ("status", "V"): 1}
    # Without an id of its own a grade is named by all its fields.
    rows = archived(source_record_id=["g1", None], submission_date=["?", "?"], _deleted=["true", "true"])
    assert applied("grades", rows, date_format="%m/%d/%Y")[1] == {1: ["type:submission_date"]}
    rows = rows.drop_columns("source_record_id")
    assert len(applied("grades", rows, date_format="%m/%d/%Y")[1]) == 2


def test_a_name_that_the_profile_spells_out_is_that_column_alone() -> None:
    profile = ProfileSettings(columns={"attendance_records": {"District ID": ""}})
    header = ["DISTRICT_ID", "District ID", "date", "status"]
    expected = ["district_id", "unused:District ID", "date", "status"]
    assert check_header(header, "attendance_records", profile) == expected


COLUMNS = {"attendance_records": {"Student": "district_id", "Learner": "district_id", "Code": "status"}}


@pytest.mark.parametrize(
    ("table", "header", "expected"),
    [
        ("attendance_records", ["Student", "date", "Code", "x", ""], ["district_id", "date", "status", "x", ""]),
        ("attendance_records", ["district_id", "date", "status"], ["district_id", "date", "status"]),
        ("training_feedback", ["district_id", "prediction_date"], ["district_id", "prediction_date"]),
        # However they are spelled; but a column that has the name exactly is the one.
        ("attendance_records", ["LEARNER", "\ufeffDate", " Co-de "], ["district_id", "date", "status"]),
        ("attendance_records", ["District ID", "DATE", "Status"], ["district_id", "date", "status"]),
        (
            "attendance_records",
            ["district_id", "District ID", "date", "Code", "Status", "Deleted"],
            ["district_id", "District ID", "date", "status", "Status", "Deleted"],
        ),
        ("training_feedback", ["prediction_id"], ["prediction_id"]),
    ],
)
def test_a_header_in_our_names(table: str, header: list[str], expected: list[str]) -> None:
    assert check_header(header, table, ProfileSettings(columns=COLUMNS)) == expected


@pytest.mark.parametrize(
    ("table", "header", "reason", "words"),
    [
        ("attendance_records", ["Student", "Learner", "date", "Code"], "rename_collision", "'Student' and 'Learner'"),
        ("attendance_records", ["Student", "date", "status", "Code"], "rename_collision", "'status' and 'Code'"),
        ("attendance_records", ["Student", "date", "State"], "missing_column", "required column status is missing"),
        ("attendance_records", ["Student", "date", "Status", " STATUS"], "rename_collision", "'Status' and ' STATUS'"),
        ("attendance_records", ["Code", "date", "Code"], "duplicate_column", "column 'Code'"),
        ("attendance_records", ["date", "Ann", "date", "Ann"], "duplicate_column", "column 'date'"),
        ("attendance_records", ["Ann", "x", "Ann"], "duplicate_column", "column 1 and 3:"),  # it may be a name
        ("training_feedback", ["district_id"], "missing_column", "together with prediction_date"),
    ],
)
def test_a_header_that_is_refused(table: str, header: list[str], reason: str, words: str) -> None:
    with pytest.raises(RefusedFile) as caught:
        check_header(header, table, ProfileSettings(columns=COLUMNS))
    assert caught.value.reason == reason
    assert words in caught.value.detail
    assert "Ann" not in caught.value.detail


def test_a_profile_that_changed_after_the_file_was_read() -> None:
    rows = archived(district_id=["1", "2"], Student=["1", "2"])
    with pytest.raises(RefusedFile, match="'district_id' and 'Student' are both district_id"):
        apply_profile(rows, "attendance_records", ProfileSettings(columns=COLUMNS))


def test_codes_are_presented_but_what_may_be_a_value_is_not() -> None:
    counter: Counter[tuple[str, str]] = Counter({("status", "U"): 3, ("status", "T*"): 7, ("grade_level", "PK"): 1})
    hidden = ["Ann Smith", "2010-05-01", "1234567", "x" * 13, "é"]
    counter.update({("status", text): 2 for text in hidden})
    counter.update({("gender", f"Name{number}"): 1 for number in range(31)})
    counter["exit_type", "a b"] = 1
    assert presentable_codes(counter) == [
        {"column": "exit_type", "code": "(1 other value, not shown)", "rows": 1},
        {"column": "gender", "code": "(more than 30 values, not shown)", "rows": 31},
        {"column": "grade_level", "code": "PK", "rows": 1},
        {"column": "status", "code": "T*", "rows": 7},
        {"column": "status", "code": "U", "rows": 3},
        {"column": "status", "code": "(5 other values, not shown)", "rows": 10},
    ]


def test_counts_of_codes_do_not_grow_with_the_file() -> None:
    total: Counter[tuple[str, str]] = Counter()
    for part in range(3):
        rows = archived(status=[f"x{part}{number}" for number in range(500)])
        _, reasons, unmapped = apply_profile(
            rows, "attendance_records", ProfileSettings(codes={"attendance_records.status": STATUSES})
        )
        assert len(reasons) == unmapped.total() == 500
        add_codes(total, unmapped)
    assert total.total() == 3 * 500
    assert len(total) < 50
    assert presentable_codes(total) == [{"column": "status", "code": "(more than 30 values, not shown)", "rows": 1500}]
