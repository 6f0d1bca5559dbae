"""Rows as they come: which are lost to the tables, with which reason, and that they are kept as they came."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from edupulse_pipelines.ingest import delivered_rows
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER, FIRST_WEEK, STUDENT_HEADER, District

GRADE_HEADER = "source_record_id,district_id,course_id,submission_date,grade_value,grade_letter"
GOOD = "g1,ZQ1,ZQm,2025-09-02,81.5,B\n"

# One physical line each (the text may hold a line break), and what becomes of it.
GRADE_LINES: list[tuple[str, list[str] | None]] = [
    ("g2,ZQ1,ZQm,2025-09-02,100.5,B", ["range:grade_value"]),
    ("g3,ZQ1,ZQm,2025-09-02,-0.01,B", ["range:grade_value"]),
    ("g4,ZQ1,ZQm,2025-09-02,1e999,B", ["range:grade_value"]),
    *((f"g5{word},ZQ1,ZQm,2025-09-02,{word},B", ["type:grade_value"]) for word in (
        "NaN", "inf", "-Infinity", "NULL", "N/A", "None", "1 5", "8 0", "0x10", "1_0", "٨٠", "80%"
    )),
    ('g6,ZQ1,ZQm,2025-09-02,"8,5",B', ["type:grade_value"]),
    ("g7,ZQ1,ZQm,2025-13-45,80,B", ["type:submission_date"]),
    ("g8,ZQ1,ZQm,2025-02-30,80,B", ["type:submission_date"]),
    ("g9,ZQ1,ZQm,02/09/2025,80,B", ["type:submission_date"]),
    ("g10,ZQ1,ZQm,2025-09-02T25:00:00Z,80,B", ["type:submission_date"]),
    ("g11,ZQ1,ZQm,2025-09-09,80,B", ["future_date"]),
    ("g12,ZQ1,ZQm,2025-09-08,80,B", None),  # on the day of the delivery itself
    ("g91,ZQ1,ZQm,1027-10-06,80,B", ["too_old"]),
    ("g92,ZQ1,ZQm,2023-08-31,80,B", ["too_old"]),
    ("g93,ZQ1,ZQm,2023-09-01,80,B", None),  # two years before the first week
    ("g13,,ZQm,2025-09-02,80,B", ["required:district_id"]),
    ("g14,ZQ1,,,,", ["required:course_id", "required:submission_date"]),
    ("g15,ZQ1,ZQm,2025-09-02,80,A++", ["length:grade_letter"]),
    ("g16,ZQ9,ZQm,2025-09-02,80,B", ["unknown_student"]),
    ("g17,ZQ9,ZQm,2025-02-29,101,ABC", [
        "type:submission_date", "range:grade_value", "length:grade_letter", "unknown_student",
    ]),
    ("g18,ZQ1,ZQm,2025-09-02", ["too_few_fields"]),
    ("g19,ZQ1,ZQm,2025-09-02,80,B,", ["too_many_fields"]),
    ('g20,ZQ1,"ZQm,2025-09-02,80,B', ["malformed_row"]),  # a stray quote costs its own line
    ('g21,ZQ1,ZQ"m,2025-09-02,80,B', None),  # a quote inside an unquoted field is a character
    ('g22,ZQ1,"ZQm" x,2025-09-02,80,B', ["malformed_row"]),
    ("g23,ZQ1,ZQ\0m,2025-09-02,80,B", ["nul_byte"]),
    ('"g24\n""24""",ZQ1,"ZQ\r\nm, ""x""",2025-09-02,80,B', None),
    # A line break after a value that is otherwise right is no part of a date or a number.
    ('g25,ZQ1,ZQm,"2025-13-02\n",80,B', ["type:submission_date"]),
    ('g25b,ZQ1,ZQm,"2025-09-02\n",80,B', None),  # blanks around a value are no part of it
    ('g26,ZQ1,ZQm,2025-09-02,"80\n",B', None),
    ("g26b,ZQ1,ZQm,2025-09-02, 80,B", None),
    ("g27,ZQ1,ZQm,2024-02-29,,", None),
    ("g28,ZQ1,ZQm,2025-09-02,0,", None),
    ("g29,ZQ1,ZQm,2025-09-02,+1e2,", None),
    ("g30,ZQ1,NULL,2025-09-02,.5,", None),  # a course may be called NULL
    (f"g31,ZQ1,{'é' * 50},2025-09-02,7,", None),
    (f"g32,ZQ1,{'é' * 51},2025-09-02,7,", ["length:course_id"]),
]  # fmt: skip


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_every_bad_row_is_kept_with_every_reason(
    district: District, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ending == "\r\n":  # and in chunks that are smaller than the file
        monkeypatch.setattr(delivered_rows, "PIECE_ROWS", 20)
    district.enrol("ZQ1")
    expected: dict[int, list[str]] = {}
    first_lines: dict[int, str] = {}
    line = 3
    for text, reasons in GRADE_LINES:
        first_lines[line] = text
        if reasons is not None:
            expected[line] = reasons
        line += 1 + text.count("\n")
    content = ending.join([GRADE_HEADER, GOOD.strip(), *(text for text, _ in GRADE_LINES), "", ""])
    district.land(1, grades=content.encode())
    loaded = district.run("grades")["grades"]

    assert {line: sorted(reasons) for line, reasons in district.reasons("grades").items()} == {
        line: sorted(reasons) for line, reasons in expected.items()
    }
    rows = len(GRADE_LINES) + 1
    assert loaded.counts == (rows, rows - len(expected), 0, 0, len(expected))
    assert sum(loaded.delivery.reasons.values()) == sum(map(len, expected.values()))
    raw = {row["line_number"]: row["raw"] for row in district.quarantine()}
    by_text = {text.partition(",")[0]: raw.get(line) for line, text in first_lines.items()}
    assert by_text["g7"] == dict(
        zip(GRADE_HEADER.split(","), ["g7", "ZQ1", "ZQm", "2025-13-45", "80", "B"], strict=True)
    )
    assert by_text["g14"] == dict(zip(GRADE_HEADER.split(","), ["g14", "ZQ1", "", "", "", ""], strict=True))
    assert by_text["g18"] == ["g18", "ZQ1", "ZQm", "2025-09-02"]
    assert by_text["g19"] == ["g19", "ZQ1", "ZQm", "2025-09-02", "80", "B", ""]
    assert by_text["g20"] == ['g20,ZQ1,"ZQm,2025-09-02,80,B']
    assert by_text["g23"] == ["g23", "ZQ1", "ZQ\0m", "2025-09-02", "80", "B"]
    assert by_text["g25"]["submission_date"] == "2025-13-02\n"
    assert {(row["file_name"], row["delivered_on"]) for row in district.quarantine()} == {
        ("2025-09-08/grades.csv", dt.date(2025, 9, 8))
    }
    stored = dict(district.rows("grades", "source_record_id", "course_id"))
    assert stored['g24\n"24"'] == 'ZQ\r\nm, "x"'
    assert stored["g21"] == 'ZQ"m'
    assert stored["g30"] == "NULL"
    assert dict(district.rows("grades", "source_record_id", "grade_value"))["g29"] == 100
    # Not one failing value in what the checks show.
    assert {"expectation", "column", "reason", "unexpected"} == {
        key for entry in loaded.delivery.failed_expectations for key in entry
    }
    # Nothing more to say: the run after it changes nothing and goes on.
    again = district.run("grades")["grades"]
    assert again.counts == (rows, 0, 0, rows - len(expected), len(expected))
    assert again.delivery.reasons == loaded.delivery.reasons


def test_repeats_and_conflicts_in_one_file(district: District) -> None:
    district.enrol("ZQ1", "ZQ2")
    district.land(
        1,
        attendance_records=(
            f"{ATTENDANCE_HEADER},period\n"
            "ZQ1,2025-09-02,present,\n"  # line 2, and 3 repeats it
            "ZQ1,2025-09-02,present,\n"
            "ZQ1,2025-09-02,absent,1\n"  # another period
            "ZQ1,2025-09-02,absent,01\n"  # the same period in another spelling
            "ZQ1,2025-09-03,present,\n"  # 6 to 8 are about one session
            "ZQ1,2025-09-03,absent,\n"
            "ZQ1,2025-09-03,present,\n"
            "ZQ2,2025-09-03,present,\n"
            "ZQ2,2025-09-03,late,\n"  # contradicts, and is wrong in itself
            "ZQ2,2025-09-04,present,0\n"
            "ZQ2,2025-09-04,absent,\n"  # no period is not period 0
        ),
        grades=(
            f"{GRADE_HEADER}\n{GOOD}{GOOD}"
            "g2,ZQ1,ZQm,2025-09-02,80,\ng2,ZQ1,ZQm,2025-09-02,80.0,\n"
            "g3,ZQ1,ZQm,2025-09-02,80,\ng3,ZQ2,ZQm,2025-09-02,80,\n"
            ",ZQ1,ZQm,2025-09-02,80,\n,ZQ1,ZQm,2025-09-02,80,\n,ZQ1,ZQm,2025-09-02,80,A\n"  # without an id: all kept
        ),
        students=f"{STUDENT_HEADER}\nZQ1,ZQa,ZQb,2010-01-01\nZQ3,ZQa,ZQb,2010-01-01\nZQ3,ZQa,ZQc,2010-01-01\n",
    )
    done = district.run("students", "attendance_records", "grades")
    assert done["students"].counts == (3, 0, 1, 0, 2)
    assert district.reasons("students") == {3: ["conflicting_duplicate"], 4: ["conflicting_duplicate"]}
    assert done["attendance_records"].counts == (11, 4, 0, 2, 5)
    assert district.reasons("attendance_records") == {
        **{line: ["conflicting_duplicate"] for line in (6, 7, 8, 9)},
        10: ["values:status", "conflicting_duplicate"],
    }
    assert done["grades"].counts == (9, 5, 0, 2, 2)
    assert sorted(district.reasons("grades")) == [6, 7]
    assert [key.split(":")[0] for key in district.rows("grades", "record_key")] == ["hash"] * 3 + ["id"] * 2


def test_students_dates_and_grading_scale(district: District) -> None:
    header = f"{STUDENT_HEADER},enrollment_date,exit_date,exit_type,gpa,grade_level"
    rows = [
        "ZQ1,ZQa,ZQb,2010-01-01,2025-09-05,2025-09-01,transferred,4,12",  # a warning
        "ZQ2,ZQa,ZQb,2010-01-01,2030-01-01,2031-01-01,,4.0,0",  # announced ahead
        "ZQ3,ZQa,ZQb,2010-01-01,,,,4.5,13",
        "ZQ4,ZQa,ZQb,2026-01-01,,,,,",
        "ZQ5,ZQa,ZQb,2010-01-01,2025-09-31,n/a,gone,,",
        "ZQ6,,ZQb,2010-01-01,,,,,",
    ]
    district.land(1, students="\n".join([header, *rows]))
    loaded = district.run("students")["students"]
    assert loaded.counts == (6, 2, 0, 0, 4)
    assert loaded.report.warnings == {"exit_before_enrollment": 1}
    assert district.reasons("students") == {
        4: ["range:grade_level", "range:gpa"],
        5: ["future_date"],
        6: ["type:enrollment_date", "type:exit_date", "values:exit_type"],
        7: ["required:first_name"],
    }
    assert district.marks("student_features") == {
        ("ZQ1", FIRST_WEEK), ("ZQ2", dt.date(2029, 12, 31)), (None, FIRST_WEEK)
    }  # fmt: skip


def test_a_weighted_gpa_goes_to_five(district: District) -> None:
    district.tenant = district.tenant.model_copy(update={"grading_scale": "weighted"})
    header = f"{STUDENT_HEADER},gpa"
    district.land(1, students=f"{header}\nZQ1,ZQa,ZQb,2010-01-01,4.5\nZQ2,ZQa,ZQb,2010-01-01,5.01\n")
    assert district.run("students")["students"].counts == (2, 1, 0, 0, 1)
    assert district.reasons("students") == {3: ["range:gpa"]}
    assert district.rows("students", "gpa") == [4.5]


METADATA: list[tuple[str, bool]] = [
    ('{"bus": 4, "é": ["x", null, 1.5e3]}', True),
    ("{}", True),
    ("", True),
    (r'{"path": "C:\\u0000"}', True),  # an escaped backslash, and then u0000
    ('{"a": 1}\n', True),
    ("{", False),
    ("{'a': 1}", False),
    ("[1]", False),
    ("null", False),
    ('{"a": NaN}', False),
    ('{"a": Infinity}', False),
    ('{"a": 1e999}', False),
    (r'{"a": "\u0000"}', False),
    (r'{"a\u0000": 1}', False),
    (r'{"a": "\ud800"}', False),
    ('{"a":' * 20_000, False),
    ('{"a":' * 20_000 + "1" + "}" * 20_000, False),
]


def test_json_that_the_database_cannot_hold_is_quarantined(district: District) -> None:
    quoted = ['"' + text.replace('"', '""') + '"' for text, _ in METADATA]
    rows = [f"ZQ{number:02},ZQa,ZQb,2010-01-01,{text}" for number, text in enumerate(quoted)]
    district.land(1, students="\n".join([f"{STUDENT_HEADER},student_metadata", *rows]))
    loaded = district.run("students")["students"]
    bad = [number for number, (_, good) in enumerate(METADATA) if not good]
    assert {row["raw"]["district_id"]: row["reasons"] for row in district.quarantine()} == {
        f"ZQ{number:02}": ["type:student_metadata"] for number in bad
    }
    assert loaded.counts == (len(METADATA), len(METADATA) - len(bad), 0, 0, len(bad))
    stored = dict(district.rows("students", "district_id", "student_metadata"))
    for number, (text, good) in enumerate(METADATA):
        if good:
            assert stored[f"ZQ{number:02}"] == (json.loads(text) if text else None)
    # Delivered again a week later: what the database gives back is what was delivered.
    district.land(2, students="\n".join([f"{STUDENT_HEADER},student_metadata", *rows]))
    assert district.run("students", weeks=[FIRST_WEEK + dt.timedelta(days=7)])["students"].counts == (
        len(METADATA), 0, 0, len(METADATA) - len(bad), len(bad)
    )  # fmt: skip


def test_a_column_that_is_empty_throughout_is_null_throughout(district: District) -> None:
    """Frames have no type for such a column; every row of it is good all the same."""
    names = "grade_level,gender,gpa,parent_contact,enrollment_date,exit_date,exit_type,student_metadata"
    district.land(1, students=f"{STUDENT_HEADER},{names}\nZQ1,ZQa,ZQb,2010-01-01{',' * 8}\n")
    assert district.run("students")["students"].counts == (1, 1, 0, 0, 0)
    assert district.rows("students", "gpa", "exit_date", "enrollment_date") == [(None, None, dt.date(2025, 9, 8))]


def test_a_row_that_takes_its_record_back_needs_its_key_and_nothing_else(district: District) -> None:
    district.enrol("ZQ1")
    district.land(1, attendance_records=f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,present\n")
    district.run("attendance_records")
    rows = ["ZQ1,2025-09-02,nonsense,TRUE", "ZQ1,,present,true", "ZQ1,2025-09-03,present,perhaps"]
    district.land(2, attendance_records="\n".join([f"{ATTENDANCE_HEADER},_deleted", *rows]))
    loaded = district.run("attendance_records")["attendance_records"]
    assert loaded.counts == (4, 0, 1, 1, 2)
    assert district.reasons("attendance_records") == {3: ["required:date"], 4: ["values:_deleted"]}
