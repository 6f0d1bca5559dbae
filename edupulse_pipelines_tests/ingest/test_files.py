"""Files as they come: what is refused, what is read all the same, and how a refusal ends."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edupulse_pipelines.errors import LandingError
from edupulse_pipelines.ingest.landing import ignored_folders, landed_deliveries
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines_tests.ingest.district import (
    ATTENDANCE_HEADER,
    FIRST_WEEK,
    STUDENT_HEADER,
    District,
    delivery_day,
)

ATTENDANCE = f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,present\n"
GRADES = "district_id,course_id,submission_date,grade_value\nZQ1,ZQmath,2025-09-02,81\n"


UNREADABLE: list[tuple[bytes, str, str]] = [
    (b"", "empty_file", "empty"),
    (b"\n\n", "empty_file", "empty"),
    (b"district_id,date\nZQ1,2025-09-02\n", "missing_column", "status"),
    # Files without a header row: their first row must not end up in a message.
    (b"ZQ1,2025-09-02,present\n", "missing_column", "district_id, date, status"),
    (b"ZQ1,ZQann,ZQann\nZQ2,ZQbob,ZQbob\n", "duplicate_column", "2 and 3"),
    (b"district_id,date,status,status\nZQ1,2025-09-02,present,present\n", "duplicate_column", "'status'"),
    (b"district_id,date,status,,\nZQ1,2025-09-02,present,,\n", "duplicate_column", "4 and 5"),
    (b'district_id,"date"x,status\nZQ1,2025-09-02,present\n', "malformed_header", "line 1"),
    (b"district_id,date,sta\0tus\nZQ1,2025-09-02,present\n", "malformed_header", "line 1"),
    (ATTENDANCE.encode() + b"ZQ1,2025-09-03,pr\xe9sent\n", "encoding", "line 3, byte 18"),
    (ATTENDANCE.encode("utf-32"), "encoding", "UTF-32"),
    (ATTENDANCE.encode("utf-16-le"), "malformed_header", "line 1"),
    (b"PK\x03\x04ZQ", "not_csv", "Excel"),
    (b"district_id,date,status,_problem\nZQ1,2025-09-02,present,x\n", "reserved_column", "_problem"),
]


def test_a_file_that_cannot_be_read_is_refused_whole(district: District) -> None:
    district.enrol("ZQ1")
    district.land(1, attendance_records=ATTENDANCE)
    for number, (content, _, _) in enumerate(UNREADABLE, start=10):
        district.land(1, **{f"attendance_records__{number}": content})
    loaded = district.run("attendance_records")["attendance_records"]

    refused = loaded.archive.refused
    assert [(file.file_name, file.reason, file.rows) for file in refused] == [
        (f"attendance_records-{number}.csv", reason, 0) for number, (_, reason, _) in enumerate(UNREADABLE, start=10)
    ]
    messages = district.refused()
    for file, message, (_, _, words) in zip(refused, messages, UNREADABLE, strict=True):
        assert words in str(file.detail)
        assert message == f"2025-09-08/{file.file_name}: {file.detail}"
    kept = sorted(district.raw.rglob("*.refused"))
    assert [path.read_bytes() for path in kept] == [content for content, _, _ in UNREADABLE]
    # The other file of the table is loaded, and the next run goes on.
    assert loaded.counts == (1, 1, 0, 0, 0)
    assert district.run("attendance_records")["attendance_records"].counts == (1, 0, 0, 1, 0)


def test_a_refused_file_stops_the_week_until_it_is_fixed_or_taken_away(district: District) -> None:
    district.enrol("ZQ1")
    district.land(1, attendance_records="district_id,date\nZQ1,2025-09-02\n", grades="nothing\n")
    district.land(2, attendance_records=b"")
    tables = ("attendance_records", "grades")
    assert [loaded.counts[0] for loaded in district.run(*tables).values()] == [0, 0]
    assert len(district.refused()) == 3
    district.run(*tables)
    assert len(district.refused()) == 3, "refused again, once"

    district.land(1, attendance_records=ATTENDANCE)  # fixed
    (district.landing / "2025-09-08" / "grades.csv").unlink()  # taken away
    shutil.rmtree(district.landing / "2025-09-15")  # its whole delivery taken away
    done = district.run(*tables, weeks=[FIRST_WEEK, FIRST_WEEK + dt.timedelta(days=7)])
    assert done["attendance_records"].counts == (1, 1, 0, 0, 0)
    assert district.refused() == []
    assert sorted(row["status"] for row in district.manifest()) == ["loaded", "superseded", "withdrawn", "withdrawn"]


def test_a_loaded_file_that_was_broken_and_is_put_back_stops_nothing(district: District) -> None:
    district.enrol("ZQ1")
    district.land(1, attendance_records=ATTENDANCE)
    district.run("attendance_records")
    district.land(1, attendance_records=b"")
    district.run("attendance_records")
    assert len(district.refused()) == 1
    district.land(1, attendance_records=ATTENDANCE)
    done = district.run("attendance_records")
    assert district.refused() == []
    assert done["attendance_records"].counts == (1, 0, 0, 1, 0)


def test_only_a_header_is_a_delivery_of_no_rows(district: District) -> None:
    district.land(1, attendance_records=ATTENDANCE_HEADER, grades=GRADES.splitlines()[0] + "\r\n\r\n")
    done = district.run("attendance_records", "grades")
    for loaded in done.values():
        assert loaded.counts == (0, 0, 0, 0, 0)
        assert loaded.archive.refused == []
    assert [row["status"] for row in district.manifest()] == ["loaded", "loaded"]
    # The domain begins with this week, for every student.
    assert district.marks("student_features") == {(None, FIRST_WEEK)}
    assert district.run("grades")["grades"].counts == (0, 0, 0, 0, 0)


def test_columns_in_any_order_with_a_bom_and_unknown_ones(district: District) -> None:
    """Unknown columns are reported; even those with our own internal names stay in the row as it came."""
    district.enrol("ZQ1")
    header = "key,status,file,repeat,delivered_on,period:number,unknown:x,,date,district_id,source_record_id"
    district.land(
        1,
        attendance_records=(
            b"\xef\xbb\xbf"
            + f'"{header.split(",", 1)[0]}",{header.split(",", 1)[1]}\r\n'.encode()
            + b"ZQk,present,ZQf,ZQr,ZQd,ZQn,ZQu,ZQe,2025-09-02,ZQ1,ZQs\r\n"
            + b"ZQk,PRESENT,ZQf,ZQr,,ZQn,ZQu,ZQe,2025-09-03,ZQ1,ZQs\r\n"
        ),
    )
    loaded = district.run("attendance_records")["attendance_records"]
    assert loaded.counts == (2, 1, 0, 0, 1)
    (file,) = loaded.archive.files
    unknown = ["key", "file", "repeat", "delivered_on", "period:number", "unknown:x", "(column 8 has no name)"]
    assert file.unknown_columns == [*unknown, "source_record_id"]
    assert district.manifest()[0]["unknown_columns"] == file.unknown_columns
    (row,) = district.quarantine()
    assert row["reasons"] == ["values:status"]
    values = ["ZQk", "PRESENT", "ZQf", "ZQr", "", "ZQn", "ZQu", "ZQe", "2025-09-03", "ZQ1", "ZQs"]
    assert row["raw"] == dict(zip(header.split(","), values, strict=True))


def test_several_files_of_one_table_are_one_delivery(district: District) -> None:
    """Repeats and conflicts are seen across the files; each file has its own account; columns may differ."""
    district.enrol("ZQ1", "ZQ2")
    district.land(
        1,
        attendance_records=f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,present\nZQ1,2025-09-03,present\n",
        attendance_records__b=(
            "district_id,period,date,status\nZQ1,,2025-09-02,present\nZQ1,,2025-09-03,absent\nZQ2,1,2025-09-03,tardy\n"
        ),
    )
    loaded = district.run("attendance_records")["attendance_records"]
    assert loaded.counts == (5, 2, 0, 1, 2)
    assert loaded.delivery.reasons == {"conflicting_duplicate": 2}
    assert [(row["file_name"], row["line_number"], row["reasons"]) for row in district.quarantine()] == [
        ("2025-09-08/attendance_records-b.csv", 3, ["conflicting_duplicate"]),
        ("2025-09-08/attendance_records.csv", 3, ["conflicting_duplicate"]),
    ]
    assert [
        (row["file_name"], row["rows_read"], row["rows_inserted"], row["rows_unchanged"], row["rows_quarantined"])
        for row in district.manifest()
    ] == [("attendance_records-b.csv", 3, 2, 0, 1), ("attendance_records.csv", 2, 0, 1, 1)]


def test_a_copy_of_a_file_in_the_same_delivery_says_nothing_twice(district: District) -> None:
    """Together or one after the other: rows without an id of their own are not doubled."""
    district.enrol("ZQ1")
    content = GRADES + GRADES.splitlines()[1] + "\nZQ1,ZQmath,2025-09-02,101\n"
    district.land(1, grades=content, grades__copy=content)
    loaded = district.run("grades")["grades"]
    assert loaded.counts == (6, 2, 0, 2, 2)
    assert loaded.delivery.reasons == {"range:grade_value": 2}
    district.land(1, grades__late=content)
    assert district.run("grades")["grades"].counts == (9, 0, 0, 6, 3)
    assert len(district.rows("grades", "record_key")) == 2
    assert len(district.quarantine(everything=True)) == 1


WIDE_HEADER = "district_id,date,status,course_id,submission_date,grade_value"


def test_the_same_bytes_as_the_files_of_two_tables(district: District) -> None:
    """One wide export under two names: what one table cannot use says nothing about the other."""
    district.enrol("ZQ1")
    wide = f"{WIDE_HEADER}\nZQ1,2025-09-02,present,ZQm,2025-09-02,999\nZQ1,2025-09-03,late,ZQm,2025-09-02,99\n"
    district.land(1, attendance_records=wide, grades=wide)
    for _ in range(2):
        done = district.run("grades", "attendance_records")
        assert [loaded.counts[-1] for loaded in done.values()] == [1, 1]
    assert district.reasons("grades") == {2: ["range:grade_value"]}
    assert district.reasons("attendance_records") == {3: ["values:status"]}


def test_a_line_that_is_bad_in_both_tables_is_kept_for_both(district: District) -> None:
    wide = f"{WIDE_HEADER}\nZQ1,2025-09-02,present,ZQm,2025-09-02,99\n"
    district.land(1, attendance_records=wide, grades=wide)
    district.run("grades", "attendance_records")
    assert district.reasons("grades") == district.reasons("attendance_records") == {2: ["unknown_student"]}


def test_a_table_without_a_file_this_week_is_no_error(district: District) -> None:
    district.land(1, students=f"{STUDENT_HEADER}\nZQ1,ZQa,ZQb,2010-01-01\n")
    district.land(2, attendance_records=ATTENDANCE)
    done = district.run()
    assert {table: loaded.counts[0] for table, loaded in done.items() if loaded.counts[0]} == {
        "students": 1, "attendance_records": 1
    }  # fmt: skip
    assert district.refused() == []


def test_the_landing_folder(district: District) -> None:
    for name in ("notes", "2025-13-45", "2025-9-15", ".hidden"):
        (district.landing / name).mkdir()
    (district.landing / "2025-09-22").write_text("a file, not a folder")
    district.land(1, students=STUDENT_HEADER, pupils="?", students_b="?", students__2=STUDENT_HEADER)
    folder = district.landing / delivery_day(1).isoformat()
    (folder / "grades.csv").mkdir()
    (folder / "STUDENTS.CSV").write_text("?")
    (folder / f"grades-{'x' * 240}.csv").write_text("?")
    (folder / ".students.csv.part").write_text("?")
    district.land(dt.date(2025, 9, 2), grades="?")  # a Tuesday: the week that has begun the day before
    tuesday, monday = landed_deliveries(district.tenant)
    assert (tuesday.delivered_on, tuesday.week) == (dt.date(2025, 9, 2), FIRST_WEEK)
    assert (monday.delivered_on, monday.week) == (dt.date(2025, 9, 8), FIRST_WEEK)
    assert {table: [path.name for path in paths] for table, paths in monday.files.items()} == {
        "students": ["STUDENTS.CSV", "students-2.csv", "students.csv"]
    }
    assert sorted(name[:12] for name in monday.unknown_files) == [
        "grades-xxxxx",
        "grades.csv",
        "pupils.csv",
        "students_b.c",
    ]
    assert (monday.snapshots, monday.no_snapshots) == ({}, frozenset())
    (a_file, *folders) = ignored_folders(district.tenant)
    assert folders == ["2025-13-45", "2025-9-15", "notes"]
    assert re.fullmatch(r"2025-09-22 \(a file: move it into a folder .* landing/20..-..-../2025-09-22\)", a_file)


def test_a_delivery_before_the_first_week_and_a_missing_folder(district: District) -> None:
    district.land(FIRST_WEEK, students=STUDENT_HEADER)  # a Monday: the week before
    with pytest.raises(LandingError, match=r"2025-09-01 carries the week of 2025-08-25, before first_week") as caught:
        district.run("students")
    assert caught.value.exit_code == 1
    shutil.rmtree(district.landing)
    with pytest.raises(LandingError, match=r"landing folder .*landing does not exist"):
        district.run("students", weeks=[FIRST_WEEK])
    assert district.manifest() == []


def put(district: District, day: int, name: str, content: bytes) -> None:
    """A file of any name into a delivery."""
    folder = district.landing / delivery_day(day).isoformat()
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)


def test_files_as_they_come(district: District) -> None:
    """Packed or not, whatever the encoding and the delimiter: one delivery, an account for each."""
    district.enrol("ZQ1")
    header = ATTENDANCE_HEADER.replace(",", "\t")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("export/attendance_records-c.tsv", f"{header}\nZQ1\t2025-09-04\tlate\n")
        archive.writestr("grades.csv", GRADES)
        archive.writestr("readme.md", "?")
    put(district, 1, "attendance_records.csv", f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,present\n".encode("utf-16"))
    put(
        district,
        1,
        "attendance_records-b.csv.gz",
        gzip.compress(b"district_id|date|status\nZQ1|2025-09-03|tardy\n", mtime=0),
    )
    put(district, 1, "week.zip", packed.getvalue())
    done = district.run("attendance_records", "grades")
    assert done["attendance_records"].counts == (3, 2, 0, 0, 1)
    assert done["grades"].counts == (1, 1, 0, 0, 0)
    assert [(row["file_name"], row["source_format"], row["rows_read"]) for row in district.manifest()] == [
        ("attendance_records-b.csv.gz", "csv, gzip", 1),
        ("attendance_records.csv", "csv", 1),
        ("week.zip/export/attendance_records-c.tsv", "csv in zip", 1),
        ("week.zip/grades.csv", "csv in zip", 1),
    ]
    (bad,) = district.quarantine()
    assert (bad["file_name"], bad["raw"]["status"]) == ("2025-09-08/week.zip/export/attendance_records-c.tsv", "late")
    (delivery,) = landed_deliveries(district.tenant)
    assert delivery.unknown_files == ["week.zip/readme.md"]
    assert district.run("attendance_records")["attendance_records"].counts == (3, 0, 0, 2, 1)


def test_a_zip_that_cannot_be_opened_stops_the_week_until_it_is_mended(district: District) -> None:
    put(district, 1, "week.zip", b"no zip")
    district.run("students", "grades")
    assert district.refused() == ["2025-09-08/week.zip: the zip is damaged; copy it again, or make it anew"]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("grades.csv", GRADES)
    put(district, 1, "week.zip", packed.getvalue())
    district.run("students", "grades")
    assert district.refused() == []
    assert [(row["file_name"], row["status"]) for row in district.manifest()] == [
        ("week.zip/grades.csv", "loaded"),
        ("week.zip", "withdrawn"),
    ]


WHOLE = {"from": "2025-09-01", "to": "2025-09-08"}


@pytest.mark.parametrize(
    ("manifest", "snapshots", "no_snapshots"),
    [
        ({}, {}, set()),
        ({"snapshot": True}, {"grades": WHOLE, "attendance_records": WHOLE}, set()),
        ({"snapshot": False}, {}, {"grades", "attendance_records"}),
        ({"snapshot": {"grades": True, "attendance_records": False}}, {"grades": WHOLE}, {"attendance_records"}),
        (
            {"snapshot": {"grades": {"from": "2025-08-18", "to": "2026-06-12"}}},
            {"grades": {"from": "2025-08-18", "to": "2026-06-12"}},
            set(),
        ),
        ({"snapshot": {"grades": {"to": "2025-09-05"}}}, {"grades": WHOLE | {"to": "2025-09-05"}}, set()),
    ],
)
def test_a_delivery_may_say_that_it_holds_everything(
    district: District, manifest: Any, snapshots: dict[str, Any], no_snapshots: set[str]
) -> None:
    district.land(1, grades=GRADES, attendance_records=ATTENDANCE)
    put(district, 1, "manifest.json", json.dumps(manifest).encode("utf-8-sig"))
    (delivery,) = landed_deliveries(district.tenant)
    assert delivery.snapshots == snapshots
    assert delivery.no_snapshots == no_snapshots
    assert delivery.unknown_files == []
    district.run("grades", "attendance_records")
    assert {row["table_name"]: row["snapshot"] for row in district.manifest() if row["snapshot"]} == snapshots


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("{", r"line 1: not valid JSON"),
        ('{"snapshot": "Zé"}'.encode("latin-1"), r"not valid JSON \(not UTF-8\)"),
        ("[]", r"must be an object"),
        ('{"snapshots": true}', r"unknown key 'snapshots'"),
        ('{"snapshot": "yes"}', r"snapshot: must be true, false"),
        ('{"snapshot": {"grade": true}}', r"snapshot.grade: no table of that name"),
        ('{"snapshot": {"students": true}}', r"snapshot.students: the delivery has no file of students"),
        ('{"snapshot": {"grades": "2025"}}', r"snapshot.grades: must be true, false, or an object"),
        ('{"snapshot": {"grades": {"since": "2025-09-01"}}}', r"snapshot.grades: unknown key 'since'"),
        ('{"snapshot": {"grades": {"from": "1.9.2025"}}}', r"snapshot.grades.from: not a date"),
        ('{"snapshot": {"grades": {"from": "2025-02-30"}}}', r"snapshot.grades.from: not a date"),
        (
            '{"snapshot": {"grades": {"from": "2025-09-09"}}}',
            r"snapshot.grades: 'from' \(2025-09-09\) lies after 'to' \(2025-09-08\)",
        ),
    ],
)
def test_a_manifest_that_is_wrong_is_named_with_its_key(tmp_path: Path, manifest: str | bytes, words: str) -> None:
    folder = tmp_path / "2025-09-08"
    folder.mkdir()
    (folder / "grades.csv").write_text(GRADES)
    (folder / "manifest.json").write_bytes(manifest.encode() if isinstance(manifest, str) else manifest)
    tenant = TenantSettings(name="lakeside", timezone="UTC", first_week=FIRST_WEEK, landing=tmp_path)
    with pytest.raises(LandingError, match=rf"2025-09-08/manifest.json: {words}"):
        landed_deliveries(tenant)
