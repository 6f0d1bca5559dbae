"""Reading the canonical CSV: encodings, delimiters, line numbers, quotes that never end, and not one character lost."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edupulse_pipelines.schema.delivery import DELIVERED
from edupulse_pipelines.settings import ProfileSettings
from edupulse_pipelines.sources import canonical_csv, csv_rows, csv_text
from edupulse_pipelines.sources.canonical_csv import CanonicalCsv
from edupulse_pipelines.sources.records import FIELDS, LINE_NUMBER, PROBLEM, RefusedFile, archive_schema

HEADER = "district_id,date,status\n"
PROPERTY = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class Row(NamedTuple):
    line_number: int
    fields: list[str]
    problem: str | None


def read(folder: Path, content: str | bytes, profile: dict[str, Any] | None = None, **options: Any) -> list[Row]:
    """The rows of an attendance file."""
    path = folder / "attendance_records.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    source = CanonicalCsv(path, "attendance_records", ProfileSettings(**(profile or {})), **options)
    rows = []
    for table in source.batches():
        assert table.schema == archive_schema(source.header)
        for values in table.to_pylist():
            number, problem, fields = (values.pop(name) for name in (LINE_NUMBER, PROBLEM, FIELDS))
            assert "" not in values.values(), "an empty field is null"
            assert problem is None or set(values.values()) == {None}
            rows.append(
                Row(number, json.loads(fields) if problem else [value or "" for value in values.values()], problem)
            )
    return rows


def seen(rows: list[Row]) -> list[tuple[int, str | None]]:
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
        (HEADER.encode("utf-32"), "encoding", "UTF-32"),
        (HEADER.encode("utf-16-be"), "malformed_header", "line 1.*UTF-16"),
        ((HEADER + "é\n").encode("utf-16") + b"\x00\xd8", "encoding", "line 3, byte 1: not UTF-16"),
        (b'"district_id,date,status\n', "malformed_header", "line 1"),
        (b"district_id;date,status\n", "missing_column", "district_id, date"),
        (b"PK\x03\x04whatever", "not_csv", "zip archive or an Excel workbook"),
        (b"\x1f\x8b\x08whatever", "not_csv", "csv.gz"),
        (b"DISTRICT,Day,status\n", "missing_column", "district_id, date"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: bytes, reason: str, words: str) -> None:
    with pytest.raises(RefusedFile, match=words) as caught:
        read(tmp_path, content)
    assert caught.value.reason == reason


TEXT = f'{HEADER}S1,2025-09-02,présent\n\nS2,2025-09-02\n"S\n€",2025-09-02,absent\n'


@pytest.mark.parametrize(
    ("encoding", "profile"),
    [
        ("utf-8", {}),
        ("utf-8-sig", {}),
        ("utf-16", {}),
        ("utf-16-le", {"encoding": "utf-16"}),
        ("utf-16-be", {"encoding": "utf-16"}),
        ("cp1252", {"encoding": "cp1252"}),
        # A byte order mark is believed before the profile.
        ("utf-8-sig", {"encoding": "cp1252"}),
        ("utf-16", {"encoding": "utf-8"}),
    ],
)
@pytest.mark.parametrize("block_bytes", [7, 1 << 20])
def test_encodings_are_marked_or_declared(tmp_path: Path, encoding: str, profile: dict, block_bytes: int) -> None:
    mark = "\ufeff" if encoding == "utf-16" else ""
    raw = (mark + TEXT).encode("utf-16-be" if mark else encoding)
    assert read(tmp_path, raw, profile, block_bytes=block_bytes) == [
        Row(2, ["S1", "2025-09-02", "présent"], None),
        Row(4, ["S2", "2025-09-02"], "too_few_fields"),
        Row(5, ["S\n€", "2025-09-02", "absent"], None),
    ]


@pytest.mark.parametrize(
    ("content", "declared", "words"),
    [
        (b"district_id,date,status\r\n\r\nS1,2025-09-02,\x81\r\n", "cp1252", "line 3, byte 15: not cp1252, as the ten"),
        (b"district_id,date,status\rS\xe9,2025-09-02,x\r", "utf-8", "line 2, byte 2: not UTF-8.*encoding = .cp1252"),
        (HEADER.encode(), "utf-16", "line 1: not UTF-16"),
    ],
)
def test_a_byte_of_another_encoding_is_named_by_its_place(
    tmp_path: Path, content: bytes, declared: str, words: str
) -> None:
    with pytest.raises(RefusedFile, match=words) as caught:
        read(tmp_path, content, {"encoding": declared}, block_bytes=16)
    assert caught.value.reason == "encoding"


@pytest.mark.parametrize("delimiter", canonical_csv.DELIMITERS)
def test_delimiters_are_found_in_the_header(tmp_path: Path, delimiter: str) -> None:
    others = "".join(set(canonical_csv.DELIMITERS) - {delimiter})
    lines = [["district_id", "date", "status"], [f"S{others}1", "2025-09-02", f'"a{delimiter}b"'], ["S2"]]
    text = "\n".join(delimiter.join(line) for line in lines)
    for declared in ("auto", delimiter):
        assert read(tmp_path, text, {"delimiter": declared}) == [
            Row(2, [f"S{others}1", "2025-09-02", f"a{delimiter}b"], None),
            Row(3, ["S2"], "too_few_fields"),
        ]
    with pytest.raises(RefusedFile, match="missing") as caught:
        read(tmp_path, text, {"delimiter": others[0]})
    assert caught.value.reason == "missing_column"


def test_the_delimiter_is_found_by_the_names_of_the_profile(tmp_path: Path) -> None:
    columns = {"attendance_records": {"Nr, intern": "district_id", "Tag": "date", "Art": "status"}}
    rows = read(tmp_path, "Nr, intern;Tag;Art\nS1;2025-09-02;x\n", {"columns": columns})
    assert [row.fields for row in rows] == [["S1", "2025-09-02", "x"]]


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


ORDINARY = ["S1,2025-09-02,present", "S2,,absent", '"S3","2025-09-02",""', '"S,4",a,"b"', "é,NA,  ", '"a""b","""",c']
ODD = ['"a\nb",c,d', '"a\rb",c,d', "a,b", "a,b,c,d", 'a,"b,c', 'a"b,c,d', '"a"x,b,c', "a\0,b,c", "", "  ", '""', '"a""']
LINES = st.lists(
    st.tuples(st.sampled_from(ORDINARY * 3 + ODD), st.sampled_from(["\n"] * 6 + ["\r\n", "\r", ""])), max_size=14
).map(lambda lines: "".join(map("".join, lines)))


@PROPERTY
@given(text=st.one_of(LINES, st.text(alphabet='ab",\n\r\0é', max_size=60)), block_bytes=st.integers(1, 200))
def test_the_fast_reader_says_what_the_strict_one_says(tmp_path: Path, text: str, block_bytes: int) -> None:
    """In one block, and in blocks whose ends fall anywhere."""
    strict = read(tmp_path, HEADER + text, strict=True)
    assert read(tmp_path, HEADER + text) == strict
    assert read(tmp_path, HEADER + text, block_bytes=block_bytes) == strict


@pytest.mark.parametrize("line", [*ORDINARY, "a,b", "a,b,c,d", '"a\nb",c,d', "", "  "])
def test_ordinary_lines_are_not_read_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """Speed is a promise too: none of these wakes the slow reader, in whatever company."""
    text = HEADER + "S1,2025-09-02,present\n" + f"{line}\r\n" * 2
    expected = read(tmp_path, text, strict=True)
    read_block, slow = csv_text.read_block, []

    def watched(block: bytes, *rest: Any) -> Any:
        whole = read_block(block, *rest)
        slow.extend([block] if whole is None else [])
        return whole

    monkeypatch.setattr(csv_text, "read_block", watched)
    rows = read(tmp_path, text, block_bytes=len(HEADER))
    assert rows == expected
    assert slow == []


def test_much_of_everything_in_one_file(tmp_path: Path) -> None:
    """Blocks are cut, and tables filled, many times over; the numbers go on."""
    good = "S1,2025-09-02,present\n" * 120_000
    rows = read(tmp_path, f'{HEADER}{good}S2,"x\n{good}S3,"a\nb",c\n{good}')
    assert [(row.line_number, row.fields[0], row.problem) for row in rows if row.fields[0] != "S1"] == [
        (120_002, 'S2,"x', "malformed_row"),
        (240_003, "S3", None),
    ]
    assert rows[-1].line_number == 360_004
    assert len(rows) == 360_002


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cut, and what follows it is read."""
    monkeypatch.setattr(csv_rows, "_LONGEST_LINE", 3 << 20)
    rows = read(tmp_path, f"{HEADER}{'xé' * (4 << 20)}\nS2,2025-09-02,present\n")
    assert {row.problem for row in rows[:-1]} <= {"malformed_row", "too_few_fields"}
    assert sum(len(row.fields[0]) for row in rows[:-1]) == 8 << 20
    assert rows[-1].fields == ["S2", "2025-09-02", "present"]
