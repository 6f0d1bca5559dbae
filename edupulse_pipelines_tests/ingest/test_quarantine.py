"""Quarantined rows for people: what is counted, what goes out to be mended, and what comes back as a correction."""

from __future__ import annotations

import codecs
import csv
import io
import stat
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import CorrectionsRefused, EduPulseError
from edupulse_pipelines.ingest import corrections, quarantine
from edupulse_pipelines.ingest.corrections import CorrectionCounts
from edupulse_pipelines.ingest.export import export_rows
from edupulse_pipelines.ingest.load import replay_quarantine
from edupulse_pipelines.ingest.quarantine import Selection
from edupulse_pipelines.ingest.spreadsheets import rewritten_by_spreadsheet
from edupulse_pipelines.ingest.validation import Expectations
from edupulse_pipelines.schema.sqlalchemy_tables import quarantined_records
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines_tests.conftest import Scene
from edupulse_pipelines_tests.governance.tampering import past_triggers
from edupulse_pipelines_tests.ingest.conftest import _judge
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER, District

pytestmark = pytest.mark.usefixtures("quick_judge")

GRADES = "district_id,submission_date,course_id,grade_value,note"


def _fill(engine: sa.Engine, folder: Path) -> None:
    district = District(engine, folder)
    district.enrol("ZQ1", "ZQ2")
    district.land(
        1,
        attendance_records=f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,present\nZQ1,2025-09-03,here\nZQ9,2025-09-03,here\n",
        grades=f'{GRADES}\nZQ1,2025-09-02,ZQ7,140,"=1+ZQ"\nZQ2,2025-09-02,ZQ7\nZQ2,"2025-09-03"x,ZQ7,80,\n',
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Expectations, "judge", _judge)
        district.run("attendance_records", "grades")


@pytest.fixture
def scene(request: pytest.FixtureRequest) -> Scene | None:
    return _fill if "filled" in request.fixturenames else None


@pytest.fixture
def filled(district: District) -> District:
    """Two files with five open rows: two bad statuses (one also of an unknown student), a bad grade, two misfits."""
    return district


class Sheet:
    """An exported CSV as a spreadsheet holds it: edited by place, saved in some form."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open(encoding="utf-8-sig", newline="") as stream:
            self.header, *self.rows = list(csv.reader(stream))

    def column(self, name: str) -> list[str]:
        return [row[self.header.index(name)] for row in self.rows]

    def put(self, row: int, **cells: str) -> Sheet:
        for name, value in cells.items():
            self.rows[row][self.header.index(name)] = value
        return self

    def save(self, *, delimiter: str = ",", encoding: str = "utf-8-sig", end: str = "\r\n") -> Path:
        text = io.StringIO()
        csv.writer(text, delimiter=delimiter, lineterminator=end).writerows([self.header, *self.rows])
        self.path.write_bytes(text.getvalue().encode(encoding))
        return self.path


def export(district: District, out: Path, **selection: Any) -> dict[str, Sheet]:
    files = export_rows(district.work, district.raw, district.tenant, Selection(**selection), out)
    return {file.table: Sheet(file.path) for file in files}


def record(district: District, *paths: Path, **options: Any) -> CorrectionCounts:
    rows = corrections.read_edited(paths)
    return corrections.record_corrections(district.work, district.raw, district.tenant, rows, **options)


def corrected(district: District, table: str) -> list[dict[str, str] | None]:
    return [row["corrected"] for row in district.quarantine(table, everything=True)]


# Counting

HERE = ("attendance_records", ("values:status",))
STRANGER = ("attendance_records", ("values:status", "unknown_student"))
TOO_MUCH = ("grades", ("range:grade_value",))
SHORT = ("grades", ("too_few_fields",))
BROKEN = ("grades", ("malformed_row",))


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({}, {HERE: 1, STRANGER: 1, TOO_MUCH: 1, SHORT: 1, BROKEN: 1}),
        ({"tables": ("grades",), "reasons": ("range:grade_value",)}, {TOO_MUCH: 1}),
        ({"reasons": ("unknown_student", "range")}, {STRANGER: 1, TOO_MUCH: 1}),
        ({"reasons": ("values:statu_",)}, {}),
        ({"files": ("2025-09-08/grades.csv",), "lines": (3,)}, {SHORT: 1}),
        ({"files": ("grades.csv",), "lines": (2, 4)}, {TOO_MUCH: 1, BROKEN: 1}),
        ({"files": ("rades.csv",)}, {}),
    ],
)
def test_rows_are_counted_by_table_file_and_reasons(
    filled: District, selection: dict[str, Any], expected: dict[tuple[str, tuple[str, ...]], int]
) -> None:
    with filled.engine.connect() as connection:
        found = quarantine.tallies(connection, filled.work, Selection(**selection))
        assert quarantine.tallies(connection, Work(filled.engine, "someone_else"), Selection()) == []
    assert {(one.table, one.reasons): one.open for one in found} == expected
    assert all(one.oldest is not None and one.oldest.tzinfo is not None for one in found)


def test_a_freed_row_is_counted_as_replayed_by_its_run(filled: District) -> None:
    (row,) = [row for row in filled.quarantine("attendance_records") if row["reasons"] == ["values:status"]]
    with filled.engine.begin() as connection:
        content = ("attendance_records", row["file_hash"])
        runs = [Work(filled.engine, filled.tenant.name, run_id) for run_id in ("run-7", "run-8")]
        assert quarantine.release(connection, runs[0], *content, [2, 3]) == {3}
        assert quarantine.release(connection, runs[1], *content, [3]) == set()
    with filled.engine.connect() as connection:
        still_open = quarantine.tallies(connection, filled.work, Selection(tables=("attendance_records",)))
        everything = quarantine.tallies(connection, filled.work, Selection(tables=("attendance_records",), closed=True))
        (replay,) = quarantine.replays(connection, filled.work, Selection(closed=True))
    assert [one.open for one in still_open] == [1]
    assert sorted((one.open, one.replayed) for one in everything) == [(0, 1), (1, 0)]
    assert (replay.table, replay.run_id, replay.rows, replay.corrected) == ("attendance_records", "run-7", 1, 0)


def test_a_replay_that_another_one_overtakes_frees_nothing_twice(
    filled: District, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(filled, export(filled, tmp_path)["attendance_records"].put(0, status="tardy").save())
    look = quarantine.waiting

    def overtaken(*words: Any, **options: Any) -> Any:
        found = list(look(*words, **options))
        monkeypatch.setattr(quarantine, "waiting", look)
        assert replay_quarantine(filled.work, filled.raw, filled.tenant)["attendance_records"].loaded == 1
        return iter(found)

    monkeypatch.setattr(quarantine, "waiting", overtaken)
    counts = replay_quarantine(filled.work, filled.raw, filled.tenant, tables=["attendance_records"])
    assert counts["attendance_records"].loaded == 0
    (account,) = [file for file in filled.manifest() if file["table_name"] == "attendance_records"]
    assert (account["rows_inserted"], account["rows_quarantined"]) == (2, 1)


# Out


def test_an_export_shows_each_row_in_its_files_own_columns(filled: District, tmp_path: Path) -> None:
    sheets = export(filled, tmp_path / "out")
    days = sheets["attendance_records"]
    assert days.header == ["_quarantine_id", "_file", "_line", "_reasons", *ATTENDANCE_HEADER.split(",")]
    assert [row[1:] for row in days.rows] == [
        ["2025-09-08/attendance_records.csv", "3", "values:status", "ZQ1", "2025-09-03", "here"],
        ["2025-09-08/attendance_records.csv", "4", "values:status; unknown_student", "ZQ9", "2025-09-03", "here"],
    ]
    grades = sheets["grades"]
    assert grades.header[4] == "_raw_line"
    assert grades.column("_raw_line") == ["", "ZQ2,2025-09-02,ZQ7", 'ZQ2,"2025-09-03"x,ZQ7,80,']
    assert grades.column("note")[0] == "'=1+ZQ"  # not run by a spreadsheet
    assert [row[5:] for row in grades.rows[1:]] == [[""] * 5] * 2


def test_an_export_is_for_its_owner_alone_and_overwrites_nothing(filled: District, tmp_path: Path) -> None:
    path = export(filled, tmp_path / "one.csv", tables=("grades",))["grades"].path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().startswith(codecs.BOM_UTF8)
    for out, said in ((tmp_path / "one.csv", "one table"), (path, "one table")):
        with pytest.raises(EduPulseError, match=said):
            export(filled, out)
    with pytest.raises(EduPulseError, match="is there already"):
        export(filled, path, tables=("grades",))
    assert export(filled, tmp_path / "none", reasons=("future_date",)) == {}
    assert not (tmp_path / "none").exists()


def test_files_of_one_table_may_have_different_columns(district: District, tmp_path: Path) -> None:
    district.enrol("ZQ1")
    district.land(
        1,
        attendance_records=f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,x\n",
        attendance_records__b="date,room,district_id,status,period\n2025-09-03,ZQ5,ZQ1,x,1\n2025-09-04,ZQ5\n",
    )
    district.run("attendance_records")
    sheet = export(district, tmp_path)["attendance_records"]
    assert sheet.header[4:] == ["_raw_line", "date", "room", "district_id", "status", "period"]
    assert record(district, sheet.put(2, status="present").save()).corrected == 1
    with pytest.raises(CorrectionsRefused, match=r"line 4: not_its_column: column 'room'"):
        record(district, sheet.put(2, room="ZQ").save())


# In


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"delimiter": ";"},
        {"delimiter": "\t", "encoding": "utf-16"},
        {"encoding": "utf-8", "end": "\n"},
    ],
)
def test_what_was_changed_is_recorded_however_a_spreadsheet_saves_it(
    filled: District, tmp_path: Path, form: dict[str, str]
) -> None:
    sheets = export(filled, tmp_path)
    grades = sheets["grades"].put(0, grade_value="41", note="'=1+ZQ;é").put(2, _raw_line='ZQ2,2025-09-03,ZQ7,80,""')
    grades.put(1, district_id="ZQ2", submission_date="2025-09-02", grade_value="9,5")
    days = sheets["attendance_records"].put(0, status="present").save(**form)
    counts = record(filled, grades.save(**form), days)
    assert (counts.read, counts.corrected, counts.unchanged, counts.replaced) == (5, 4, 1, 0)
    assert counts.columns["grades"]["grade_value"] == 3
    assert counts.columns["attendance_records"] == {"status": 1}
    assert corrected(filled, "attendance_records") == [
        {"district_id": "ZQ1", "date": "2025-09-03", "status": "present"},
        None,
    ]
    empty = dict.fromkeys(GRADES.split(","), "")
    assert corrected(filled, "grades") == [
        dict(zip(empty, ["ZQ1", "2025-09-02", "ZQ7", "41", "=1+ZQ;é"], strict=True)),
        {**empty, "district_id": "ZQ2", "submission_date": "2025-09-02", "grade_value": "9,5"},
        {**empty, "district_id": "ZQ2", "submission_date": "2025-09-03", "course_id": "ZQ7", "grade_value": "80"},
    ]
    assert [row["raw"] for row in filled.quarantine("grades")][1] == ["ZQ2", "2025-09-02", "ZQ7"]  # as it came


def test_unchanged_rows_and_an_older_export_correct_nothing(filled: District, tmp_path: Path) -> None:
    old = export(filled, tmp_path / "old")
    new = export(filled, tmp_path / "new")["grades"].put(0, grade_value="41").put(1, district_id="ZQ2").save()
    assert record(filled, *(sheet.save() for sheet in old.values())).corrected == 0
    assert record(filled, new).corrected == 2
    before = corrected(filled, "grades")
    for meanwhile in (lambda _: None, _closed("replayed_at")):  # reading it once more is no mistake
        meanwhile(filled)
        for path in (new, *(sheet.path for sheet in old.values())):
            assert record(filled, path).corrected == 0
    assert corrected(filled, "grades") == before


def test_an_export_shows_earlier_corrections_which_can_be_corrected_again(filled: District, tmp_path: Path) -> None:
    first = (
        export(filled, tmp_path / "first")["grades"].put(0, grade_value="41").put(1, _raw_line="ZQ2,,ZQ7,80,").save()
    )
    for corrections_found in (2, 0):
        assert record(filled, first).corrected == corrections_found
    before = corrected(filled, "grades")
    again = export(filled, tmp_path / "again")["grades"]
    assert (again.column("grade_value")[:2], again.column("district_id")[1]) == (["41", "80"], "ZQ2")
    assert record(filled, again.path).corrected == 0
    again.put(0, grade_value="42").put(1, grade_value="").save()
    assert record(filled, again.path, check_only=True).replaced == 2
    assert corrected(filled, "grades") == before
    assert record(filled, again.path).replaced == 2
    assert [row["grade_value"] for row in corrected(filled, "grades")[:2] if row] == ["42", ""]


def _other_tenant(district: District) -> None:
    past_triggers(district.engine, "UPDATE quarantined_records SET tenant_id = 'hillside'")  # they refuse it


def _closed(column: str) -> Callable[[District], None]:
    def close(district: District) -> None:
        with district.engine.begin() as connection:
            connection.execute(
                quarantined_records.update()
                .where(quarantined_records.c.line_number == 3)
                .values({column: sa.func.now()})
            )

    return close


@pytest.mark.parametrize(
    ("edit", "meanwhile", "said"),
    [
        ({"_quarantine_id": str(uuid.uuid4())}, None, "line 2: unknown_id"),
        ({"_quarantine_id": "ZQ"}, None, "line 2: unknown_id"),
        ({"_file": "2025-09-15/attendance_records.csv"}, None, "line 2: changed_identity: _file"),
        ({"_line": "4"}, None, "line 2: changed_identity: _line"),
        ({"district_id": "", "date": "", "status": ""}, None, "line 2: emptied_row"),
        ({"date": "9/3/2025"}, None, "line 2: only_reformatted: column 'date'"),
        ({"status": "pre\0sent"}, None, "line 2: nul_byte: column 'status'"),
        ({}, _other_tenant, "line 2: other_tenant"),
        ({"status": "present"}, _closed("replayed_at"), "line 2: already_replayed"),
        ({"status": "present"}, _closed("superseded_at"), "line 2: already_superseded"),
    ],
)
def test_a_row_that_cannot_be_taken_stops_the_whole_file(
    filled: District, tmp_path: Path, edit: dict[str, str], meanwhile: Callable[[District], None] | None, said: str
) -> None:
    sheet = export(filled, tmp_path)["attendance_records"]
    path = sheet.put(0, **edit).put(1, status="absent").save()
    if meanwhile is not None:
        meanwhile(filled)
    with pytest.raises(CorrectionsRefused, match=said) as refusal:
        record(filled, path)
    assert "Nothing was recorded" in str(refusal.value)
    assert "ZQ" not in str(refusal.value)
    assert not any(corrected(filled, "attendance_records"))


def test_a_row_twice_is_refused_and_many_problems_are_counted(filled: District, tmp_path: Path) -> None:
    sheet = export(filled, tmp_path)["attendance_records"]
    sheet.rows *= 20
    with pytest.raises(CorrectionsRefused, match=r"line 4: repeated_row") as refusal:
        record(filled, sheet.save())
    assert "38 of 40 rows" in str(refusal.value)
    assert "and 18 more" in str(refusal.value)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"_raw_line": ""}, "line 3: emptied_row"),
        ({"_raw_line": "ZQ2,2025-09-02,ZQ7,80"}, "line 3: misfit: _raw_line is not 5 fields"),
        ({"_raw_line": "ZQ2,,,,;;;;"}, "line 3: misfit: _raw_line can be read in two ways"),
        ({"_raw_line": ",,,,"}, "line 3: emptied_row"),
        ({"_raw_line": "ZQ2,2025-09-02,ZQ7,80,", "grade_value": "80"}, "line 3: corrected_twice"),
    ],
)
def test_a_misfit_is_mended_in_its_line_or_in_its_columns(
    filled: District, tmp_path: Path, edit: dict[str, str], said: str
) -> None:
    path = export(filled, tmp_path)["grades"].put(1, **edit).save()
    with pytest.raises(CorrectionsRefused, match=said):
        record(filled, path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"district_id,date\nZQ,2\n", "line 1: column _quarantine_id is missing"),
        (b"", "line 1: column _quarantine_id is missing"),
        (b"_quarantine_id,_file,_line,a,a\n1,2,3,4,5\n", "line 1: the header has column 'a' more than once"),
        (b"_quarantine_id,_file,_line,a\n\n1,2,3,ZQ\n1,2,3\n", "line 4: 3 fields, but the header has 4"),
        (b'_quarantine_id,_file,_line,a\n1,2,3,"ZQ\n', "line 2: not valid CSV"),
        (b"_quarantine_id,_file,_line,a\n1,2,3,\xe9\n", "not UTF-8"),
    ],
)
def test_a_file_that_is_no_export_is_refused(district: District, tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "sheet.csv").write_bytes(content)
    with pytest.raises(CorrectionsRefused, match=said):
        record(district, tmp_path / "sheet.csv")
    with pytest.raises(CorrectionsRefused, match="cannot be read"):
        record(district, tmp_path / "missing.csv")


@pytest.mark.parametrize(
    ("before", "after", "rewritten"),
    [
        ("007", "7", True),
        ("+15551234567", "15551234567", True),
        ("123456789012345", "1.23457E+14", True),
        ("3.50", "3,5", True),
        ("2025-09-03", "9/3/2025", True),
        ("2025-09-03", "03.09.25", True),
        ("2025-09-03", "03-Sep-25", True),
        ("Łuk", "?uk", True),
        ("2025-09-03", "2025-09-04", False),
        ("2025-09-03", "2025-09-4", False),
        ("7", "007", False),
        ("9/3/2025", "2025-09-03", False),
        ("70", "7", False),
        ("what?", "what", False),
        ("", "7", False),
        ("7", "", False),
    ],
)
def test_what_a_spreadsheet_does_on_its_own(before: str, after: str, rewritten: bool) -> None:
    assert rewritten_by_spreadsheet(before, after) is rewritten


def test_a_rewritten_cell_is_taken_when_it_is_meant(filled: District, tmp_path: Path) -> None:
    grades = export(filled, tmp_path / "a")["grades"]
    assert record(filled, grades.put(0, grade_value="1.4E2").save()).corrected == 1  # its column is what is wrong
    days = export(filled, tmp_path / "b")["attendance_records"].put(0, date="9/3/2025").save()
    assert record(filled, days, as_typed=True).corrected == 1


@pytest.mark.parametrize(
    "text", ["=1", "+1", "-x", "-1", "@x", "'=1", "''=1", "'x", "\t=", "", "a=1", "-1.5", "-1.5.2"]
)
def test_formulas_are_disarmed_and_come_back_as_they_were(district: District, tmp_path: Path, text: str) -> None:
    district.enrol("ZQ1")
    buffer = io.StringIO()
    csv.writer(buffer).writerows([[*ATTENDANCE_HEADER.split(","), "note"], ["ZQ1", "2025-09-02", "here", text]])
    district.land(1, attendance_records=buffer.getvalue())
    district.run("attendance_records")
    sheet = export(district, tmp_path)["attendance_records"]
    assert sheet.column("note")[0][:1] not in ("=", "+", "@", "\t")
    assert record(district, sheet.put(0, status="present").save()).columns == {"attendance_records": {"status": 1}}
    assert corrected(district, "attendance_records") == [
        {"district_id": "ZQ1", "date": "2025-09-02", "status": "present", "note": text}
    ]
