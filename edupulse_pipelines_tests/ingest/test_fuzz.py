"""Whatever a district sends, in whatever order it is loaded: the tables are what the rules say, and no row is lost.

Hypothesis makes weeks of deliveries: good rows and bad ones, cut and mangled lines, corrections, late rows, repeated
files, rows that take records back, files that cannot be read. `oracle` says what must come of them.
"""

from __future__ import annotations

import datetime as dt
import gzip
import itertools
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from edupulse_pipelines.ingest import delivered_rows
from edupulse_pipelines.ingest.frames import Identities
from edupulse_pipelines.ingest.validation import Expectations
from edupulse_pipelines.ingest.writers import attendance
from edupulse_pipelines.weeks import WEEK, week_start
from edupulse_pipelines_tests.ingest.district import FIRST_WEEK, District, delivery_day
from edupulse_pipelines_tests.ingest.oracle import (
    COLUMNS,
    DELETED,
    HAPPENED,
    REQUIRED,
    Expected,
    File,
    Landing,
    Line,
    expected,
    judge,
)

TABLES = tuple(COLUMNS)
WEEKS = 4
# Monday's delivery of each week, and now and then one on the Thursday before it.
DAYS = [delivery_day(week) - dt.timedelta(days=early) for week in range(1, WEEKS + 1) for early in (4, 0)]

NUMBERS = ["ZQ1", "ZQ2", "ZQ3", "ZQ4", "ZQ4", "ZQ9"]
"""ZQ9 has no students row: rows about such a student wait for ever."""
EVENT_DAYS = ["2025-08-29", "2025-09-02", "2025-09-03", "2025-09-10", "2025-09-17", "2025-09-24"]
BAD_DAYS = ["", "2025-02-30", "09/02/2025", "2025-9-2", "2025-09-02 ", "2031-01-01", "1027-10-06"]
# By table and column: what is often said, and what is said now and then, most of it wrong.
SAID: dict[str, dict[str, tuple[list[str], list[str]]]] = {
    "students": {
        "district_id": (NUMBERS[:-1], ["", "ZQ" * 26]),
        "first_name": (["ZQa", "ZQb"], ["", "ZQ, a", 'ZQ "b"', "ZQ\nc", "NULL", "ZQ é"]),
        "last_name": (["ZQ"], ["Z" * 100 + "Q"]),
        "date_of_birth": (["2010-01-01", "2010-01-02"], BAD_DAYS),
        "gender": (["", "ZQf", "ZQm"], ["ZQ long gender"]),
        "grade_level": (["", "7", "07"], ["13", "7.0", "K"]),
        "gpa": (["", "2", "2.0", "3.5"], ["4.5", "-1", "NaN", "1e0"]),
        "enrollment_date": (["", "2025-08-25", "2025-09-12"], ["2025-02-30", "2031-01-01"]),
        "exit_date": (["", "2025-09-16"], ["soon"]),
        "exit_type": (["", "transferred"], ["Transferred"]),
        "student_metadata": (["", "{}", '{"a": 1}', '{ "a":1 }'], ["[]", "{", "ZQ"]),
    },
    "enrollments": {
        "district_id": (NUMBERS, [""]),
        "school_id": (["", "1", "2"], ["Z" * 51]),
        # Not the days of other enrolments, which these would take the place of.
        "entry_date": (["2025-08-26", "2025-09-05"], ["", "soon"]),
        "exit_date": (["", "", "2025-09-17"], ["2025-02-30"]),
        "exit_type": (["", "transferred"], ["moved"]),
        "grade_level": (["", "7", "07"], ["13", "K"]),
        "is_primary": (["", "Yes", "0", "true"], []),
    },
    "attendance_records": {
        "district_id": (NUMBERS, [""]),
        "date": (EVENT_DAYS, BAD_DAYS),
        "status": (["present", "absent", "tardy", "excused"], ["", "Present", " present", "P"]),
        "period": (["", "", "1", "01", "2"], ["-1", "1.5", "x"]),
        "school_id": (["", "", "1", "2"], ["Z" * 51]),
    },
    "grades": {
        "district_id": (NUMBERS, [""]),
        "source_record_id": (["", "r1", "r2"], ["r" * 101]),
        "course_id": (["ZQm", "ZQ-art"], ["", "Z" * 51]),
        "grade_value": (["", "50", "50.0", "5e1", "100"], ["101", "-0.1", "NaN", "A"]),
        "grade_letter": (["", "A"], ["A++"]),
        "submission_date": (EVENT_DAYS, BAD_DAYS),
        "assignment_id": (["", "w1", "w2"], ["w" * 101]),
        "due_date": (["", "2025-09-05", "2026-09-05"], ["2025-02-30"]),
    },
    "discipline_incidents": {
        "district_id": (NUMBERS, [""]),
        "source_record_id": (["", "i1", "i2"], []),
        "incident_date": (EVENT_DAYS, BAD_DAYS),
        "severity_level": (["1", "5", "05"], ["", "0", "6", "high"]),
        "resolution": (["", "ZQ"], ["ZQ\nZQ", "Z" * 201]),
    },
}
FLAGS = ["", "", "false", "true", "TRUE", "yes", "perhaps"]
DAMAGES = ["cut", "one field more", "broken quote", "NUL", "blank line", "quoted"]


def sometimes(draw: st.DrawFn, one_in: int) -> bool:
    return draw(st.integers(0, one_in - 1)) == one_in - 1


@st.composite
def files(draw: st.DrawFn, table: str, part: str) -> File:
    """One file: some of the optional columns in any order, up to six rows."""
    optional = [name for name in COLUMNS[table] if name not in REQUIRED[table]]
    header = [*REQUIRED[table], *(name for name in optional if draw(st.booleans()))]
    if sometimes(draw, 4):
        header.append(DELETED)
    if sometimes(draw, 6):
        header.append("homeroom")
    header = draw(st.permutations(header))
    refused = sometimes(draw, 12)
    if refused:
        at = header.index(REQUIRED[table][-1])
        header = [*header[:at], *header[at + 1 :], *draw(st.sampled_from([[], [header[0]] * 2]))]
    count = draw(st.integers(0, 6))
    lines = [draw(rows(table, tuple(header), last=number == count - 1)) for number in range(count)]
    return File(
        table,
        part,
        tuple(header),
        tuple(lines),
        newline=draw(st.sampled_from(["\n", "\n", "\r\n"])),
        bom=sometimes(draw, 8),
        refused=refused,
    )


@st.composite
def rows(draw: st.DrawFn, table: str, header: tuple[str, ...], *, last: bool) -> Line:
    """One line, now and then a damaged one."""
    fields = []
    for name in header:
        said, wrong = (FLAGS, []) if name == DELETED else SAID[table].get(name, (["ZQ", ""], []))
        fields.append(draw(st.sampled_from(wrong if wrong and sometimes(draw, 25) else said)))
    if "source_record_id" in header:  # ids are the source's own: no two students have one
        at = header.index("source_record_id")
        number = fields[header.index("district_id")] if "district_id" in header else ""
        fields[at] = fields[at] and f"{number}-{fields[at]}"
    damage = draw(st.sampled_from(DAMAGES)) if sometimes(draw, 10) else None
    text = _line(fields, quoted=damage == "quoted")
    whole = "\n" not in text and '"' not in text
    if damage == "cut" and whole and fields[0]:
        return Line(",".join(fields[: len(fields) // 2]), problem="too_few_fields")
    if damage == "one field more" and whole:
        return Line(text + ",ZQ", problem="too_many_fields")
    if damage == "broken quote" and whole:
        # Closed and gone on with; or never closed, where there is nothing left to swallow.
        broken = '"ZQ' if last and draw(st.booleans()) else '"ZQ"ZQ'
        return Line(",".join([*fields[:-1], broken]), problem="malformed_row")
    if damage == "NUL" and whole:
        return Line(",".join([*fields[:-1], "ZQ\0"]), problem="nul_byte")
    if damage == "blank line":
        return Line("")
    return Line(text, fields=tuple(fields))


def _line(fields: list[str], *, quoted: bool) -> str:
    """The fields as RFC 4180 has them."""
    return ",".join(
        '"' + field.replace('"', '""') + '"' if quoted or re.search('[,"\n]', field) else field for field in fields
    )


@st.composite
def landings(draw: st.DrawFn) -> Landing:
    """Four weeks of deliveries: new files, second parts, files of an earlier week again."""
    landing: Landing = {}
    for day in DAYS:
        if day.weekday() != 0 and not sometimes(draw, 3):
            continue
        landed = landing.setdefault(day, [])
        for table in TABLES:
            for part in ("", "b"):
                kind = draw(
                    st.sampled_from(["new", "new", "again", "none"] if not part else ["new", "none", "none", "again"])
                )
                earlier = [file for of_day in landing.values() for file in of_day if file.table == table]
                if kind == "again" and earlier:
                    again = draw(st.sampled_from(earlier))
                    landed.append(File(**{**vars(again), "part": part}))
                elif kind == "new":
                    landed.append(draw(files(table, part)))
    return landing


_names = itertools.count()


def check(engine: sa.Engine, landing: Landing, groups: list[list[dt.date]]) -> None:
    """Load the weeks in these groups, and compare with what the rules say."""
    with tempfile.TemporaryDirectory() as folder:
        district = District(engine, Path(folder), name=f"f{next(_names)}")
        for day, landed in landing.items():
            district.land(day, **{file.name: file.content for file in landed})
        for group in groups:
            district.run(*TABLES, weeks=sorted(group))
        rules = expected(landing)
        check_tables(district, rules)
        marked = district.marks("weekly_activity")
        for table in HAPPENED.keys() - {"students"}:
            about = {(number, week_start(day)) for number, day in district.rows(table, "district_id", HAPPENED[table])}
            assert about <= marked, f"{table}: nobody is told to recompute {about - marked}"
        held: dict[tuple[dt.date, str], dict[int, set[str]]] = {}
        for row in district.quarantine():
            name = row["file_name"].partition("/")[2].removesuffix(".csv").replace("-", "__")
            held.setdefault((row["delivered_on"], name), {})[row["line_number"]] = set(row["reasons"])
        for file, reasons in rules.held.items():
            if file in rules.unsettled:
                continue
            assert held.get(file, {}) == reasons, f"{file}: {held.get(file)} is held back and {reasons} should be"
        for entry in district.manifest():
            file = (entry["delivered_on"], entry["file_name"].removesuffix(".csv").replace("-", "__"))
            assert (entry["status"], entry["rows_read"]) == (
                ("loaded", rules.read[file]) if file in rules.read else ("refused", 0)
            ), file
            if file in rules.held and file not in rules.unsettled:
                assert entry["rows_quarantined"] == len(rules.held[file]), f"{file}: {entry['rows_quarantined']}"

        # Everything once more: nothing changes, and nothing is to be recomputed.
        district.forget_marks()
        district.run(*TABLES, weeks=_weeks)
        check_tables(district, rules)
        assert not district.marks("weekly_activity") | district.marks("student_features")


def stored(district: District, table: str, *columns: str) -> list[Any]:
    """The rows of a table that are sent themselves."""
    if table != "enrollments":
        return district.rows(table, *columns)
    return [row[:-1] for row in district.rows(table, *columns, "origin") if row[-1] == "sent"]


def check_tables(district: District, rules: Expected) -> None:
    for table, columns in COLUMNS.items():
        found = stored(district, table, *columns, "delivered_on", "deleted_on")
        assert found == rules.tables[table], f"{table}: {_difference(found, rules.tables[table])}"


def _difference(found: list[Any], expected_: list[Any]) -> str:
    return (
        f"{[row for row in found if row not in expected_]} instead of {[row for row in expected_ if row not in found]}"
    )


def _profile(examples: int, *, shrink: bool = False) -> Any:
    """The same examples every time; making a failing one small takes minutes, so the long test does it."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate, *([Phase.shrink] if shrink else [])],
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


_weeks = [FIRST_WEEK + number * WEEK for number in range(WEEKS)]
_runs = st.tuples(st.permutations(_weeks), st.sets(st.integers(1, WEEKS - 1)), st.sampled_from([2, 5, 250_000]))


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done differently with many rows is done with these few."""
    monkeypatch.setattr(attendance, "BULK_ROWS", 4)
    monkeypatch.setattr(Identities.__init__, "__kwdefaults__", {"in_memory": 3})


@pytest.fixture
def quick_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Great Expectations: a call costs a third of a second, whatever it judges."""
    monkeypatch.setattr(Expectations, "judge", judge)


def _load_and_check(engine: sa.Engine, landing: Landing, runs: tuple[list[dt.date], set[int], int]) -> None:
    order, cuts, piece = runs
    groups = [order[start:end] for start, end in itertools.pairwise([0, *sorted(cuts), WEEKS])]
    note(f"runs: {[[f'{week}' for week in sorted(group)] for group in groups]}, {piece} rows a piece")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delivered_rows, "PIECE_ROWS", piece)
        check(engine, landing, groups)


_given = given(landing=landings(), runs=_runs)


@pytest.mark.usefixtures("small_pieces", "quick_judge")
@_profile(3)
@_given
def test_the_tables_are_what_the_rules_say(
    engine: sa.Engine, landing: Landing, runs: tuple[list[dt.date], set[int], int]
) -> None:
    _load_and_check(engine, landing, runs)


@pytest.mark.usefixtures("small_pieces")
@_profile(2)
@_given
def test_the_tables_are_what_the_rules_say_and_great_expectations_finds_them_so(
    engine: sa.Engine, landing: Landing, runs: tuple[list[dt.date], set[int], int]
) -> None:
    _load_and_check(engine, landing, runs)


BYTES = [
    b'"',
    b'""',
    b"\n",
    b"\r",
    b",",
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b"\x1a",
    b" ",
    b"\x85",
]


@st.composite
def wrecks(draw: st.DrawFn) -> tuple[Landing, dict[str, bytes]]:
    """A delivery, and for some of its files bytes that were a file once.

    The header stays a line of its own: what is glued to it would be a column's name, and those are told.
    """
    landed = [draw(files(table, "")) for table in TABLES]
    wrecked = {}
    for file in landed:
        header, end_of_line, rest = file.content.partition(b"\n")
        if sometimes(draw, 6):
            header = draw(_damaged(header))
        content = header + end_of_line + draw(_damaged(rest))
        if sometimes(draw, 3):
            whole = [gzip.compress(content, mtime=0), content.decode("latin-1").encode("utf-16"), b"", rest, rest]
            content = draw(st.sampled_from(whole))
        if content != file.content:
            wrecked[file.name] = content
    return {delivery_day(1): landed}, wrecked


@st.composite
def _damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """With bytes put in, cut out, said twice, or cut off."""
    for _ in range(draw(st.integers(0, 3))):
        start, end = sorted(draw(st.tuples(*[st.integers(0, len(content))] * 2)))
        content = draw(
            st.sampled_from(
                [
                    content[:start] + draw(st.sampled_from(BYTES)) + content[start:],
                    content[:start] + content[end:],
                    content[:end] + content[start:],
                    content[:start],
                ]
            )
        )
    return content


@pytest.mark.usefixtures("small_pieces", "quick_judge")
@_profile(7)
@given(wreck=wrecks())
def test_no_bytes_make_a_load_fall_over(engine: sa.Engine, wreck: tuple[Landing, dict[str, bytes]]) -> None:
    """A file is read or refused, each of its rows is loaded or held back; and the delivery can be loaded again."""
    _load_wreck(engine, *wreck)


@pytest.mark.heavy
@pytest.mark.usefixtures("small_pieces", "quick_judge")
@_profile(200, shrink=True)
@given(wreck=wrecks())
def test_no_bytes_of_hundreds_make_a_load_fall_over(engine: sa.Engine, wreck: tuple[Landing, dict[str, bytes]]) -> None:
    _load_wreck(engine, *wreck)


def _load_wreck(engine: sa.Engine, landing: Landing, wrecked: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        district = District(engine, Path(folder), name=f"f{next(_names)}")
        ((day, landed),) = landing.items()
        district.land(day, **{file.name: wrecked.get(file.name, file.content) for file in landed})
        district.run(*TABLES)
        statuses = {entry["table_name"]: entry["status"] for entry in district.manifest()}
        assert statuses.keys() == set(TABLES)
        assert set(statuses.values()) <= {"loaded", "refused"}
        if "students" not in wrecked:
            rules = expected(landing)
            for table in set(TABLES) - wrecked.keys():
                found = stored(district, table, *COLUMNS[table], "delivered_on", "deleted_on")
                assert found == rules.tables[table], f"{table}: {_difference(found, rules.tables[table])}"
        before = {table: district.rows(table, *COLUMNS[table]) for table in TABLES}
        district.run(*TABLES)
        assert {table: district.rows(table, *COLUMNS[table]) for table in TABLES} == before


@pytest.mark.heavy
@pytest.mark.usefixtures("small_pieces", "quick_judge")
@_profile(400, shrink=True)
@_given
def test_the_tables_are_what_the_rules_say_of_hundreds_of_districts(
    engine: sa.Engine, landing: Landing, runs: tuple[list[dt.date], set[int], int]
) -> None:
    _load_and_check(engine, landing, runs)
