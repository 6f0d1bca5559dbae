"""What each reason advises, followed: a delivery that is held back for it loads once the advice has been taken."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import openpyxl
import pytest
import sqlalchemy as sa

from edupulse_pipelines.ingest.load import replay_quarantine
from edupulse_pipelines.schema.reasons import REASONS
from edupulse_pipelines.schema.sqlalchemy_tables import quarantined_records
from edupulse_pipelines.storage import manifest
from edupulse_pipelines_tests.ingest.district import District, delivery_day

HEADER = "district_id,course_id,submission_date,grade_value,grade_letter,source_record_id"
STUDENTS = "district_id,first_name,last_name,date_of_birth,exit_date,enrollment_date"
GOOD = "1,MATH,2025-09-02,80,B,G1"


def grades(*rows: str, header: str = HEADER) -> bytes:
    return ("\n".join([header, *rows]) + "\n").encode()


def zipped(files: Mapping[str, bytes], *, flags: int = 0) -> bytes:
    """A zip of these files; `flags` are set for its first member (1: it is encrypted)."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    content = bytearray(packed.getvalue())
    if flags:  # in the local header and in the directory
        content[6] |= flags
        content[content.index(b"PK\x01\x02") + 8] |= flags
    return bytes(content)


def workbook(*titles: str) -> bytes:
    made = openpyxl.Workbook()
    made.remove(made.active)
    for title in titles:
        sheet = made.create_sheet(title)
        for row in (HEADER, GOOD):
            sheet.append(row.split(","))
    content = io.BytesIO()
    made.save(content)
    return content.getvalue()


def xml(inside: str, prolog: str = "") -> bytes:
    return (
        f'{prolog}<InterchangeStudent xmlns="http://ed-fi.org/5.2.0"><Student><StudentUniqueId>1</StudentUniqueId>'
        f"<Name><FirstName>ZQ</FirstName><LastSurname>ZQ</LastSurname></Name>{inside}</Student></InterchangeStudent>"
    ).encode()


BORN = "<BirthData><BirthDate>2010-01-01</BirthDate></BirthData>"
USERS = (
    b"sourcedId,status,dateLastModified,enabledUser,orgSourcedIds,role,username,userIds,givenName,familyName,identifier\n"
    b"u1,,,true,o1,student,u1,,ZQ,ZQ,1\n"
)
ORGS = b"sourcedId,status,dateLastModified,name,type\no1,,,School,school\n"
ROLES = b"sourcedId,status,dateLastModified,userSourcedId,roleType,role\nr1,,,u1,primary,student\n"
DEMOGRAPHICS = b"sourcedId,status,dateLastModified,birthDate\nu1,,,2010-01-01\n"
WITHOUT_ROLES = USERS.replace(b"role,", b"").replace(b"student,", b"")


@dataclass(frozen=True)
class Advice:
    """A bad delivery, and what is done about it: files sent anew (None: taken away), settings, a later delivery."""

    bad: Mapping[str, bytes]
    good: Mapping[str, bytes | None] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    later: Mapping[str, bytes] = field(default_factory=dict)
    tables: tuple[str, ...] = ("students", "grades")
    before: Mapping[str, bytes] = field(default_factory=dict)
    """What was delivered the week before."""


def row(bad: str, good: str = GOOD, **more: Any) -> Advice:
    """A row of grades that is held back, and the row that is sent in its place."""
    return Advice({"grades.csv": grades(bad)}, {"grades.csv": grades(good)}, **more)


def mended(bad: str, **settings: Any) -> Advice:
    """A row of grades that is held back, and the settings under which it is not."""
    return Advice({"grades.csv": grades(bad)}, settings=settings)


def file(name: str, bad: bytes, good: bytes, replaced_by: str | None = None) -> Advice:
    """A file that is refused, and the one that is sent in its place, under another name where that is the advice."""
    if replaced_by is None:
        return Advice({name: bad}, {name: good})
    return Advice({name: bad}, {name: None, replaced_by: good})


TAKEN_BACK = grades("1,MATH,2025-09-02,80,B,G9,true", header=f"{HEADER},_deleted")
EARLIER = {"grades.csv": grades("1,ART,2025-09-02,70,B,G0")}
MINUTES = b"district_id,date,status,minutes_absent,minutes_possible\n1,2025-09-02,absent,30,300\n"
BOMB = grades(GOOD) + (b" " * 9_999 + b",,,,,\n") * 950
"""A good row and 9 MB of rows without any value."""
SCHOOLS = {"schools.csv": b"school_id\n1\n"}
ENROLLED = b"district_id,school_id,entry_date\n1,1,2025-09-01\n"

WIDE = grades(GOOD + "," * 2000, header=HEADER + "".join(f",x{number}" for number in range(2000)))

ADVICE: list[tuple[str, Advice]] = [
    ("too_many_columns", file("grades.csv", WIDE, grades(GOOD))),
    ("required", row("1,,2025-09-02,80,B,G1")),
    ("type", row("1,MATH,2025-99-02,80,B,G1")),
    ("type", mended("1,MATH,09/02/2025,80,B,G1", profile={"date_format": "MM/DD/YYYY"})),
    ("type", mended('1,MATH,2025-09-02,"80,5",B,G1', profile={"decimal": ","})),
    ("type", Advice(
        {"users.csv": USERS, "orgs.csv": ORGS, "demographics.csv": DEMOGRAPHICS.replace(b"2010-01-01", b"15/06/2011")},
        settings={"profile": {"date_format": "DD/MM/YYYY"}},
    )),
    ("length", row("1,MATH,2025-09-02,80,Bplus,G1")),
    ("length", mended(
        "1,MATH,2025-09-02,80,Bplus,G1", profile={"codes": {"grades": {"grade_letter": {"Bplus": "B+"}}}},
    )),
    ("values", Advice(
        {"attendance_records.csv": b"district_id,date,status\n1,2025-09-02,P\n"},
        settings={"profile": {"codes": {"attendance_records": {"status": {"P": "present"}}}}},
        tables=("students", "attendance_records"),
    )),
    ("more_than", Advice(
        {"attendance_records.csv": MINUTES.replace(b"30,300", b"400,300")}, {"attendance_records.csv": MINUTES},
        tables=("students", "attendance_records"),
    )),
    ("range", row("1,MATH,2025-09-02,180,B,G1")),
    ("range", Advice(
        {"students.csv": b"district_id,first_name,last_name,date_of_birth,gpa\n2,ZQ,ZQ,2010-01-01,4.5\n"},
        settings={"grading_scale": "weighted"},
    )),
    ("unmapped_code", Advice(
        {"students.csv": b"district_id,first_name,last_name,date_of_birth,grade_level\n2,ZQ,ZQ,2010-01-01,Owls\n"},
        settings={"profile": {"grade_levels": {"K": "0", "Owls": "1"}}},
    )),
    ("conflicting_duplicate", Advice(
        {"grades.csv": grades(GOOD, "1,MATH,2025-09-02,81,B,G1")}, {"grades.csv": grades(GOOD, GOOD)},
    )),
    ("future_date", row("1,MATH,2025-09-20,80,B,G1")),
    ("future_date", Advice(
        {"grades.csv": grades("1,MATH,2025-09-16,80,B,G1")}, {"grades.csv": None},
        later={"grades.csv": grades("1,MATH,2025-09-16,80,B,G1")},
    )),
    ("too_old", row("1,MATH,1027-09-02,80,B,G1")),
    ("too_old", mended("1,MATH,2020-09-02,80,B,G1", earliest_date="2020-01-01")),
    ("spoilt_number", row("1.2E+05,MATH,2025-09-02,80,B,G1")),
    ("no_rows", Advice(
        {
            "users.csv": USERS.partition(b"\n")[0] + b"\n", "orgs.csv": ORGS, "demographics.csv": DEMOGRAPHICS,
            "manifest.csv": b"propertyName,value\noneroster.version,1.1\nfile.users,bulk\n",
        },
        {"users.csv": USERS},
    )),
    ("unknown_student", row("99,MATH,2025-09-02,80,B,G1")),
    ("unknown_student", Advice(
        {"grades.csv": grades("99,MATH,2025-09-02,80,B,G1")},
        later={"students.csv": f"{STUDENTS}\n99,ZQ,ZQ,2010-01-01,,\n".encode()},
    )),
    ("unknown_school", Advice(
        {"enrollments.csv": ENROLLED.replace(b",1,", b",9,")}, {"enrollments.csv": ENROLLED}, before=SCHOOLS,
        tables=("students", "schools", "enrollments"),
    )),
    ("unknown_school", Advice(
        {"enrollments.csv": ENROLLED.replace(b",1,", b",9,")}, before=SCHOOLS, later={"schools.csv": b"school_id\n9\n"},
        tables=("students", "schools", "enrollments"),
    )),
    ("unknown_record", Advice(
        {"grades.csv": TAKEN_BACK}, {"grades.csv": TAKEN_BACK.replace(b"G9", b"G0")}, before=EARLIER,
    )),
    ("moved_student", row("2,MATH,2025-09-02,80,B,G0", "2,MATH,2025-09-02,80,B,G7", before=EARLIER)),
    ("malformed_row", row('1,"MATH,2025-09-02,80,B,G1')),
    ("too_few_fields", row("1,MATH,2025-09-02,80,B")),
    ("too_many_fields", row("1,MATH, advanced,2025-09-02,80,B,G1", '1,"MATH, advanced",2025-09-02,80,B,G1')),
    ("nul_byte", row("1,MA\0TH,2025-09-02,80,B,G1")),
    ("empty_file", file("grades.csv", b"", grades())),
    ("not_csv", file("grades.csv", b"%PDF-1.4", grades(GOOD))),
    ("not_csv", file("grades.csv", workbook("grades"), workbook("grades"), "grades.xlsx")),
    ("not_csv", file("grades.csv", gzip.compress(grades(GOOD)), gzip.compress(grades(GOOD)), "grades.csv.gz")),
    ("missing_file", file("grades.zip", zipped({"a.csv": b"", "b.csv": b""}), zipped({"grades.csv": grades(GOOD)}))),
    ("missing_file", Advice(
        {"users.csv": WITHOUT_ROLES, "orgs.csv": ORGS, "demographics.csv": DEMOGRAPHICS}, {"roles.csv": ROLES},
    )),
    ("malformed_xml", file("s.xml", xml(BORN)[:-30], xml(BORN))),
    ("forbidden_xml", file("s.xml", xml(BORN, "<!DOCTYPE InterchangeStudent>"), xml(BORN))),
    ("malformed_header", file("grades.csv", b'"' + grades(GOOD), grades(GOOD))),
    ("missing_column", file("grades.csv", grades(GOOD, header=HEADER.replace("course_id", "Kurs")), grades(GOOD))),
    ("missing_column", Advice(
        {"grades.csv": grades(GOOD, header=HEADER.replace("course_id", "Kurs"))},
        settings={"profile": {"columns": {"grades": {"Kurs": "course_id"}}}},
    )),
    ("duplicate_column", file("grades.csv", grades(GOOD + ",x", header=HEADER + ",course_id"), grades(GOOD))),
    ("rename_collision", Advice(
        {"grades.csv": grades(GOOD + ",x", header=HEADER + ",Course ID").replace(b"course_id", b"COURSE_ID")},
        settings={"profile": {"columns": {"grades": {"Course ID": ""}}}},
    )),
    ("reserved_column", file("grades.csv", grades(GOOD + ",1", header=HEADER + ",_line_number"), grades(GOOD))),
    ("encoding", file("grades.csv", grades(GOOD.replace("MATH", "MÄTH")).decode().encode("cp1252"), grades(GOOD))),
    ("encoding", Advice(
        {"grades.csv": grades(GOOD.replace("MATH", "MÄTH")).decode().encode("cp1252")},
        settings={"profile": {"encoding": "cp1252"}},
    )),
    ("compression_bomb", Advice(
        {"grades.csv.gz": gzip.compress(BOMB)}, settings={"files": {"max_compression_ratio": 100_000}},
    )),
    ("corrupt_gzip", file("grades.csv.gz", gzip.compress(grades(GOOD))[:-9], gzip.compress(grades(GOOD)))),
    ("corrupt_workbook", file("grades.xlsx", workbook("grades")[:-90], workbook("grades"))),
    ("unclear_sheet", file("grades.xlsx", workbook("a", "b"), workbook("a", "grades"))),
    ("corrupt_zip", file(
        "grades.zip", zipped({"grades.csv": grades(GOOD)})[:-30], zipped({"grades.csv": grades(GOOD)}),
    )),
    ("encrypted_zip", file(
        "grades.zip", zipped({"grades.csv": grades(GOOD)}, flags=1), zipped({"grades.csv": grades(GOOD)}),
    )),
    ("unsafe_zip", file(
        "grades.zip", zipped({"../grades.csv": grades(GOOD)}), zipped({"grades.csv": grades(GOOD)}),
    )),
    ("nested_archive", file(
        "grades.zip", zipped({"in.zip": zipped({"grades.csv": grades(GOOD)})}), zipped({"grades.csv": grades(GOOD)}),
    )),
    ("too_large", Advice(
        {"grades.csv": BOMB}, settings={"files": {"max_file_gib": 1}},
    )),
]  # fmt: skip
STRICT_SETTINGS: dict[str, dict[str, Any]] = {
    "too_large": {"files": {"max_file_gib": 0.001}},
    "unmapped_code": {"profile": {"grade_levels": {"K": "0"}}},
}
"""Settings under which the first try of a reason is made, where those of default would take the delivery."""
FOLLOWED_ELSEWHERE = {
    "unknown_prediction": "test_feedback",
    "detached_month": "test_months",
    "another_child": "test_identity",
    "disputed_number": "test_identity",
    "lost_zeros": "test_joining",
    "exit_before_enrollment": "test_rows",
    "assumed_enrollment": "test_enrollments",
    "missing_date_of_birth": "test_quarantine",
    "snapshot_waits": "test_deletions",
    "archive_unverified": "test_damaged_archives",
    "later_prediction": "operations/test_adoption",
}
"""Reasons whose advice takes more than files and settings: the test, beside this one or named, that follows it."""


def put(district: District, week: int, files: Mapping[str, bytes | None]) -> None:
    folder = district.landing / delivery_day(week).isoformat()
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(content)


def held_back(district: District) -> set[str]:
    """The reasons of rows in quarantine and of refused files."""
    table = quarantined_records.c
    with district.engine.connect() as connection:
        rows = connection.scalars(
            sa.select(table.reasons).where(table.replayed_at.is_(None), table.superseded_at.is_(None))
        )
        found = {reason.partition(":")[0] for reasons in rows for reason in reasons}
        return found | {str(entry.reason) for entry in manifest.refused(connection, district.work)}


@pytest.mark.parametrize(("code", "advice"), ADVICE, ids=[code for code, _ in ADVICE])
def test_advice_that_is_followed_loads(district: District, code: str, advice: Advice) -> None:
    plain = district.tenant
    district.tenant = plain.model_validate(plain.model_dump() | STRICT_SETTINGS.get(code, {}))
    district.enrol("1", "2")
    put(district, 1, advice.before)
    district.run(*dict.fromkeys(("students", "grades", *advice.tables)))
    put(district, 2, advice.bad)
    district.run(*advice.tables)
    assert code in held_back(district)

    put(district, 2, advice.good)
    if advice.later:
        put(district, 3, advice.later)
    district.tenant = plain.model_validate(plain.model_dump() | dict(advice.settings))
    district.run(*advice.tables)
    replay_quarantine(district.work, district.raw, district.tenant)
    assert held_back(district) == set()
    assert any(file["status"] == "loaded" and file["delivered_on"] > delivery_day(1) for file in district.manifest())


def test_every_reason_has_advice_that_some_test_follows() -> None:
    assert {code for code, _ in ADVICE} | set(FOLLOWED_ELSEWHERE) >= set(REASONS)
