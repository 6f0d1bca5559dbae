"""Reading the canonical CSV: line numbers, quotes that never end, and not one character lost."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edupulse_pipelines.schema.delivery import DELIVERED
from edupulse_pipelines.sources.canonical_csv import CanonicalCsv, CsvRow, RefusedFile

HEADER = "district_id,date,status\n"
PROPERTY = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def read(folder: Path, content: str | bytes) -> list[CsvRow]:
    """The rows of an attendance file."""
    path = folder / "attendance_records.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(CanonicalCsv(path, "attendance_records").rows())


def seen(rows: list[CsvRow]) -> list[tuple[int, str | None]]:
    """(line number, problem) of each row."""
    return [(row.line_number, row.problem) for row in rows]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path, ending: str) -> None:
    text = f'\n{HEADER}S1,2025-09-02,present\n\nS2,"2025\n\n09",present\n  \nS3,2025-09-02,absent'
    rows = read(tmp_path, text.replace("\n", ending))
    assert seen(rows) == [(3, None), (5, None), (8, "too_few_fields"), (9, None)]
    assert rows[1].fields == ["S2", f"2025{ending}{ending}09", "present"]


def test_a_stray_quote_costs_its_own_line(tmp_path: Path) -> None:
    rows = read(
        tmp_path,
        f'{HEADER}S1,2025-09-02,present\nS2,"2025-09-02,present\nS3,2025-09-02,present\n'
        'S4,"2025-09-02",present\nS5,2025-09-02,"present\nS6,2025-09-02,present\n',
    )
    good = [row.fields[0] for row in rows if row.problem is None]
    assert good == ["S1", "S3", "S4", "S6"]
    assert seen([row for row in rows if row.problem]) == [(3, "malformed_row"), (6, "malformed_row")]
    assert [row.fields for row in rows if row.line_number == 3] == [['S2,"2025-09-02,present']]


def test_a_header_may_be_quoted_and_have_a_bom(tmp_path: Path) -> None:
    rows = read(tmp_path, b'\xef\xbb\xbf"district_id","date","status"\r\nS1,2025-09-02,present\r\n')
    assert [row.fields for row in rows] == [["S1", "2025-09-02", "present"]]


@pytest.mark.parametrize(
    ("content", "reason", "words"),
    [
        (b"", "empty_file", "empty"),
        (b"\xef\xbb\xbf\r\n", "empty_file", "empty"),
        ((HEADER + "é\n").encode("latin-1"), "encoding", "line 2, byte 1: not UTF-8"),
        (HEADER.encode() + b"S1,2025-09-02,present\n" * 5000 + b"S\x80\n", "encoding", "line 5002, byte 2"),
        (HEADER.encode("utf-16"), "encoding", "UTF-16"),
        (HEADER.encode("utf-16-be"), "malformed_header", "line 1"),
        (b'"district_id,date,status\n', "malformed_header", "line 1"),
        (b"district_id;date;status\n", "missing_column", "district_id, date, status"),
        (b"DISTRICT_ID,Date,status\n", "missing_column", "district_id, date"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: bytes, reason: str, words: str) -> None:
    with pytest.raises(RefusedFile, match=words) as caught:
        read(tmp_path, content)
    assert caught.value.reason == reason


@pytest.mark.parametrize("table", DELIVERED)
def test_every_required_column_is_required(tmp_path: Path, table: str) -> None:
    contract = DELIVERED[table]
    path = tmp_path / f"{table}.csv"
    for name in contract.required:
        path.write_text(",".join(other for other in contract.column_names if other != name))
        with pytest.raises(RefusedFile, match=f"required column {name} is missing"):
            CanonicalCsv(path, table)
    needed = contract.required or ("prediction_id",)
    path.write_text(",".join([*reversed(needed), "shoe_size"]))
    assert CanonicalCsv(path, table).unknown_columns == ["shoe_size"]


def test_quotes_that_never_end_do_not_take_for_ever(tmp_path: Path) -> None:
    """Every such quote makes the reader look ahead; the look is bounded, and nothing is kept twice."""
    line = 'S1,"2025-09-02,present\n'
    started = time.perf_counter()
    rows = read(tmp_path, HEADER + line + "S2,2025-09-02,present\n" * 60_000 + line)
    assert time.perf_counter() - started < 20
    assert len(rows) == 60_002
    assert seen([row for row in rows if row.problem]) == [(2, "malformed_row"), (60_003, "malformed_row")]


def test_a_field_as_long_as_a_book_is_a_bad_row(tmp_path: Path) -> None:
    rows = read(tmp_path, f"{HEADER}S1,2025-09-02,{'x' * (1 << 20)}x\nS2,2025-09-02,present\n")
    assert seen(rows) == [(2, "malformed_row"), (3, None)]
    assert rows[0].fields[0].endswith("xxx")


@PROPERTY
@given(
    rows=st.lists(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8), min_size=3, max_size=3),
        max_size=6,
    ),
    ending=st.sampled_from(["\n", "\r\n"]),
)
def test_what_a_csv_writer_writes_is_read_back(tmp_path: Path, rows: list[list[str]], ending: str) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=ending, quoting=csv.QUOTE_ALL).writerows([HEADER.strip().split(","), *rows])
    assert [(row.fields, row.problem) for row in read(tmp_path, text.getvalue())] == [(row, None) for row in rows]


@PROPERTY
@given(text=st.text(alphabet='ab",\n\r\0é', max_size=60))
def test_whatever_is_in_a_file_nothing_is_lost(tmp_path: Path, text: str) -> None:
    """Every letter stands in exactly one row, line numbers ascend, and good rows fit the header."""
    rows = read(tmp_path, HEADER + text)
    letters = "".join(character for character in text if character in "abé\0")
    assert "".join(c for row in rows for field in row.fields for c in field if c in "abé\0") == letters
    numbers = [row.line_number for row in rows]
    assert numbers == sorted(set(numbers))
    assert all(len(row.fields) == 3 and "\0" not in "".join(row.fields) for row in rows if row.problem is None)
