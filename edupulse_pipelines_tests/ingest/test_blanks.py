"""Blanks around values are no part of them, rows of nothing else are none; what was stored with them is found."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from edupulse_pipelines.ingest import delivered_rows
from edupulse_pipelines.ingest.padded_numbers import count_padded_numbers
from edupulse_pipelines.orchestration.number_checks import numbers_without_blanks
from edupulse_pipelines.schema.sqlalchemy_tables import grades, quarantined_records, students
from edupulse_pipelines.sources.blanks import trimmed, trimmed_column, trimmed_rows
from edupulse_pipelines_tests.ingest.district import District

BLANKS = [" ", "\t", "\u00a0", "\u2003", "\u3000", "\u200b", "\u200f", "\u2060", "\ufeff", "\x0b", "\x85", "\u2028"]


@pytest.mark.parametrize("blank", BLANKS)
def test_both_ways_of_trimming_know_every_blank(blank: str) -> None:
    texts = [f"{blank}7{blank}{blank}", f"a{blank}b", blank, "7", None]
    column = trimmed_column(pa.chunked_array([texts[:2], texts[2:]]))
    assert column is not None
    assert column.to_pylist() == ["7", f"a{blank}b", None, "7", None]
    assert [trimmed(text) for text in texts[:4] if text] == ["7", f"a{blank}b", "", "7"]
    assert trimmed_column(pa.chunked_array([["7", f"a{blank}b", None]])) is None


def stored(district: District, *columns: sa.Column[Any]) -> list[tuple[Any, ...]]:
    with district.engine.connect() as connection:
        return sorted(tuple(row) for row in connection.execute(sa.select(*columns)))


def reasons(district: District) -> list[tuple[int, list[str]]]:
    table = quarantined_records.c
    return [(line, found) for line, found in stored(district, table.line_number, table.reasons)]


HEADER = "district_id,first_name,last_name,date_of_birth\n"


def test_a_padded_value_is_the_value_and_a_blank_one_is_empty(district: District) -> None:
    rows = [
        "1001  ,ZQ A,ZQ B,2010-01-01",
        '"\u00a01002\u200b"," ZQ A ",ZQ B, 2010-01-02 ',
        "   ,ZQ A,ZQ B,2010-01-03",
        "1004, \u00a0 ,ZQ B,2010-01-04",
    ]
    district.land(1, students=HEADER + "\n".join(rows))
    attendance = "district_id,date,status\n1001,2025-09-02, absent\n1002\u00a0,2025-09-02,tardy\u200b\n"
    district.land(1, attendance_records=attendance)
    done = district.run()
    assert done["students"].counts == (4, 2, 0, 0, 2)
    assert done["attendance_records"].counts == (2, 2, 0, 0, 0)
    assert stored(district, students.c.district_id, students.c.first_name) == [("1001", "ZQ A"), ("1002", "ZQ A")]
    assert reasons(district) == [(4, ["required:district_id"]), (5, ["required:first_name"])]
    (raw,) = [row for row, line in stored_raw(district) if line == 5]
    assert raw["first_name"] == " \u00a0 "  # as it came


def stored_raw(district: District) -> list[tuple[dict[str, str], int]]:
    table = quarantined_records.c
    with district.engine.connect() as connection:
        return [(row.raw, row.line_number) for row in connection.execute(sa.select(table.raw, table.line_number))]


def test_rows_without_a_value_are_counted_as_blank(district: District) -> None:
    rows = [
        "1001,ZQ A,ZQ B,2010-01-01",
        ",,,",
        " , ,\u00a0,",
        ",,,,,,",
        "",
        ",",
        '"","",,',
        "1002,ZQ A,ZQ B,2010-01-01",
        ",,,",
    ]
    district.land(1, students=HEADER + "\n".join(rows))
    done = district.run("students")["students"]
    assert done.counts == (2, 2, 0, 0, 0)
    assert (done.delivery.blank, done.delivery.left_out) == (6, {"blank": 6})
    assert [file.rows for file in done.archive.files] == [2]


GRADE_HEADER = "source_record_id,district_id,course_id,course_name,submission_date,grade_value\n"
GRADES = [
    " G1,1001,MATH,ZQ Algebra,2025-09-02,80",
    ",1001,MATH ,ZQ Algebra,2025-09-03,81",
    ",1001,MATH,\u00a0,2025-09-03,82",
    ",1001,ART,ZQ Art,2025-09-04,83",
]


def test_what_was_stored_with_blanks_is_found_again(district: District, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ["1001,ZQ A,ZQ B,2010-01-01", "1002\u00a0,ZQ A,ZQ B,2010-01-02"]
    student_rows, grade_rows = HEADER + "\n".join(rows), GRADE_HEADER + "\n".join(GRADES)
    with monkeypatch.context() as earlier:
        earlier.setattr(delivered_rows, "trimmed_rows", lambda table: (table, []))
        district.land(1, students=student_rows, grades=grade_rows)
        assert district.run("students", "grades")["grades"].counts == (4, 4, 0, 0, 0)
    before = stored(district, grades.c.id)
    assert stored(district, students.c.district_id) == [("1001",), ("1002\u00a0",)]

    district.land(2, students=student_rows, grades=grade_rows + "\n,1001,ART,ZQ Art,2025-09-05,84\n")
    done = district.run("students", "grades")
    assert stored(district, students.c.district_id) == [("1001",), ("1002",)]
    assert done["students"].report.deliveries[-1].inserted == 0
    assert done["grades"].report.deliveries[-1].inserted == 1
    assert set(before) < set(stored(district, grades.c.id))
    assert stored(district, grades.c.grade_value, grades.c.course_id) == [
        (80.0, "MATH"), (81.0, "MATH"), (82.0, "MATH"), (83.0, "ART"), (84.0, "ART"),
    ]  # fmt: skip
    assert ("id:G1",) in stored(district, grades.c.record_key)


def test_two_students_of_one_bare_number_are_named_and_not_joined(
    district: District, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ["1001,ZQ A,ZQ B,2010-01-01", "1001 ,ZQ A,ZQ B,2010-01-01", "1002 ,ZQ A,ZQ B,2010-01-02"]
    with monkeypatch.context() as earlier:
        earlier.setattr(delivered_rows, "trimmed_rows", lambda table: (table, []))
        district.land(1, students=HEADER + "\n".join(rows))
        district.run("students")
    district.run("students")
    assert stored(district, students.c.district_id) == [("1001",), ("1001 ",), ("1002",)]
    with district.work.reading() as connection:
        padded = count_padded_numbers(connection, district.work)
    verdict = numbers_without_blanks(padded)
    assert (padded, verdict.passed, verdict.severity.value) == (1, False, "WARN")
    assert numbers_without_blanks(0).passed


def test_columns_without_blanks_are_left_as_they_are() -> None:
    rows = pa.table({"_line_number": [1, 2], "a": ["x", None], "b": ["y ", "z"]})
    bare, changed = trimmed_rows(rows)
    assert changed == ["b"]
    assert bare["b"].to_pylist() == ["y", "z"]
    assert bare["a"] is rows["a"] or bare["a"].equals(rows["a"])
