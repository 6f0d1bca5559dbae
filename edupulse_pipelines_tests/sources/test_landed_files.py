"""What lies in a delivery's folder: names, packing, limits, bundles, and what is refused before it does harm."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import io
import stat
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edupulse_pipelines.schema.reasons import REASONS
from edupulse_pipelines.settings import FilesSettings, ProfileSettings, TenantSettings
from edupulse_pipelines.sources.landed_files import LandedFile, landed_files
from edupulse_pipelines.sources.records import RefusedFile

ATTENDANCE = b"district_id,date,status\nS1,2025-09-02,present\nS2,2025-09-02,absent\n"
GRADES = b"district_id,course_id,submission_date,grade_value\nS1,math,2025-09-02,81\n"
USERS = (
    b"sourcedId,status,dateLastModified,enabledUser,orgSourcedIds,role,username,userIds,givenName,familyName\n"
    b"u1,,,true,o1,student,u1,,Ann,Lee\n"
)
RESULTS = b"sourcedId,status,dateLastModified,lineItemSourcedId,studentSourcedId,scoreStatus,score,scoreDate,comment\n"
ORGS = b"sourcedId,status,dateLastModified,name,type,identifier,parentSourcedId\no1,,,School,school,,\n"
MANIFEST = b"propertyName,value\nmanifest.version,1.0\noneroster.version,1.1\nfile.users,bulk\n"
STUDENTS_XML = b'<?xml version="1.0"?><InterchangeStudent xmlns="http://ed-fi.org/5.2.0"></InterchangeStudent>'
CALENDAR_XML = b'<InterchangeEducationOrgCalendar xmlns="http://ed-fi.org/5.2.0"></InterchangeEducationOrgCalendar>'


def tenant(folder: Path, **settings: Any) -> TenantSettings:
    return TenantSettings(
        name="lakeside", timezone="UTC", first_week=dt.date(2025, 9, 1), landing=folder.parent, **settings
    )


def land(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(content)


def zipped(files: dict[str, bytes], **options: Any) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in files.items():
            # With a date of its own: each worker of a test run has to make the same bytes.
            member = zipfile.ZipInfo(name)
            member.external_attr = 0o600 << 16
            archive.writestr(member, content, archive.compression, archive.compresslevel)
    return packed.getvalue()


def only(folder: Path, **settings: Any) -> LandedFile:
    files, unknown = landed_files(folder, tenant(folder, **settings))
    assert unknown == []
    ((file,),) = files.values()
    return file


def count(file: LandedFile, folder: Path, **settings: Any) -> int:
    return sum(len(table) for table in file.open(tenant(folder, **settings)).batches())


NAMES: list[tuple[dict[str, bytes], dict[str, list[str]], list[str]]] = [
    (
        dict.fromkeys(("grades.csv", "grades-b.tsv", "grades-c.txt", "grades.csv.gz", "grades-é.txt.gz"), b""),
        {"grades": ["grades-b.tsv", "grades-c.txt", "grades-é.txt.gz", "grades.csv", "grades.csv.gz"]},
        [],
    ),
    (
        dict.fromkeys(("Grades.csv", "grades.csv.bak", "grades_b.csv", "grades.xlsx", ".x.csv", "manifest.json"), b"")
        | {f"grades-{'x' * 200}.csv": b"", "grades-\u200b.csv": b"", "folder/grades.csv": b"", "grades.csv/x": b""},
        {"grades": ["Grades.csv", "grades.xlsx"]},
        [
            *("folder", "grades.csv", "grades.csv.bak", "grades_b.csv"),
            *(f"grades-{'x' * 200}.csv", "file 5"),
        ],
    ),
    (
        {
            "week.zip": zipped(
                {
                    "grades.csv": GRADES,
                    "in/deep/attendance_records-1.csv": ATTENDANCE,
                    "in\\students.tsv": b"",
                    "read me.txt": b"",
                    "__MACOSX/._grades.csv": b"",
                    "in/.DS_Store": b"",
                    "in/empty/": b"",
                }
            )
        },
        {
            "grades": ["week.zip/grades.csv"],
            "attendance_records": ["week.zip/in/deep/attendance_records-1.csv"],
            "students": ["week.zip/in/students.tsv"],
        },
        ["file 1"],
    ),
    ({"grades-2.zip": zipped({"export 7.csv": GRADES})}, {"grades": ["grades-2.zip/export 7.csv"]}, []),
    (
        {"photos.zip": zipped({"a.png": b""}), "grades.zip": zipped({"a.csv": GRADES, "b.csv": GRADES})},
        {"grades": ["grades.zip"]},
        ["photos.zip"],
    ),
    (
        {
            "ROSTER.ZIP": zipped(
                {"x/users.csv": USERS, "x/Results.csv": RESULTS, "x/Manifest.csv": MANIFEST, "y.txt": b""}
            )
        },
        {"students": ["ROSTER.ZIP/x/users.csv"], "grades": ["ROSTER.ZIP/x/Results.csv"]},
        ["file 1"],
    ),
    (
        {"sis/users.csv": USERS, "sis/orgs.csv": ORGS, "sis/other.csv": b"", "grades.csv": GRADES},
        {"schools": ["sis/orgs.csv"], "students": ["sis/users.csv"], "grades": ["grades.csv"]},
        ["sis/other.csv"],
    ),
    ({"users.csv": USERS, "orgs.csv": ORGS}, {"schools": ["orgs.csv"], "students": ["users.csv"]}, []),
    # Not by a name alone.
    (
        {"users.csv": USERS, "results.csv": b"", "manifest.csv": b"a,b\n"},
        {},
        ["manifest.csv", "results.csv", "users.csv"],
    ),
    ({"orgs.csv": ORGS, "manifest.csv": MANIFEST}, {"schools": ["orgs.csv"]}, []),
    (
        {
            "a.xml": STUDENTS_XML,
            "b.XML": CALENDAR_XML,
            "Student.xml": b"<students/>",
            "c.xml": b"",
            "d.txt": STUDENTS_XML,
        },
        # An empty file does not even begin as XML: it is refused, as a file of the first table.
        {"students": ["a.xml", "c.xml"], "attendance_records": ["b.XML"]},
        ["file 1", "d.txt"],
    ),
    ({"ed-fi.zip": zipped({"in/a.xml": STUDENTS_XML})}, {"students": ["ed-fi.zip/in/a.xml"]}, []),
]


@pytest.mark.parametrize(("landed", "expected", "unknown"), NAMES)
def test_names_and_contents_tell_what_a_file_is(
    tmp_path: Path, landed: dict[str, bytes], expected: dict[str, list[str]], unknown: list[str]
) -> None:
    land(tmp_path, landed)
    files, others = landed_files(tmp_path, tenant(tmp_path))
    assert {table: [file.name for file in of_table] for table, of_table in files.items()} == expected
    assert others == sorted(unknown)


@pytest.mark.parametrize(
    ("name", "packed", "source_format"),
    [
        ("attendance_records.csv", ATTENDANCE, "csv"),
        ("attendance_records.csv.gz", gzip.compress(ATTENDANCE, mtime=0), "csv, gzip"),
        (
            "attendance_records.txt.gz",
            gzip.compress(ATTENDANCE[:30], mtime=0) + gzip.compress(ATTENDANCE[30:], mtime=0),
            "csv, gzip",
        ),
        ("any.zip", zipped({"attendance_records.csv": ATTENDANCE}), "csv in zip"),
        ("any.zip", zipped({"attendance_records.csv": ATTENDANCE}, compresslevel=0), "csv in zip"),
        ("any.zip", zipped({"attendance_records.csv": ATTENDANCE.decode().encode("utf-16")}), "csv in zip"),
    ],
)
def test_packed_files_are_read_as_they_are(tmp_path: Path, name: str, packed: bytes, source_format: str) -> None:
    land(tmp_path, {name: packed})
    file = only(tmp_path)
    read: list[int] = []
    source = file.open(tenant(tmp_path), on_bytes=read.append)
    (rows,) = source.batches()
    assert rows["status"].to_pylist() == ["present", "absent"]
    assert source.source_format == source_format
    assert sum(read) >= file.size_on_disk - 20  # all but the end of a gzip file, or the directory of a zip


def test_the_profile_reaches_the_reader(tmp_path: Path) -> None:
    land(tmp_path, {"attendance_records.csv": "Nr;date;status\né;2025-09-02;x".encode("cp1252")})
    profile = ProfileSettings(encoding="cp1252", columns={"attendance_records": {"Nr": "district_id"}})
    source = only(tmp_path).open(tenant(tmp_path, profile=profile))
    assert source.header == ["Nr", "date", "status"]
    assert next(source.batches())["Nr"].to_pylist() == ["é"]
    undeclared = profile.model_copy(update={"encoding": "auto"})
    with pytest.raises(RefusedFile, match=r'line 2, byte 1: not UTF-8; .* declare .*encoding = "cp1252"'):
        count(only(tmp_path), tmp_path, profile=undeclared)


def test_fingerprints_are_of_the_content(tmp_path: Path) -> None:
    packed = gzip.compress(GRADES, mtime=0)
    land(
        tmp_path,
        {
            "grades.csv": GRADES,
            "grades.csv.gz": packed,
            "one.zip": zipped({"grades.csv": GRADES}),
            "two.zip": zipped({"in/grades-2.csv": GRADES}, compresslevel=0),
        },
    )
    of_grades = {file.name: file.fingerprint() for file in landed_files(tmp_path, tenant(tmp_path))[0]["grades"]}
    plain = (hashlib.sha256(GRADES).hexdigest(), len(GRADES))
    assert of_grades == {
        "grades.csv": plain,
        "grades.csv.gz": (hashlib.sha256(packed).hexdigest(), len(packed)),
        "one.zip/grades.csv": plain,
        "two.zip/in/grades-2.csv": plain,
    }


def test_a_bundle_has_one_fingerprint_however_it_comes(tmp_path: Path) -> None:
    inputs = {"users.csv": USERS, "orgs.csv": ORGS, "results.csv": RESULTS}
    found = {}
    for name, landed in {
        "loose": inputs,
        "folder": {f"sis/{name}": content for name, content in inputs.items()},
        "zip": {"sis.zip": zipped(dict(reversed(inputs.items())))},
        "other": inputs | {"orgs.csv": ORGS + b"o2,,,School,school,,\n"},
    }.items():
        land(tmp_path / name, landed)
        files, _ = landed_files(tmp_path / name, tenant(tmp_path))
        (students,), (grades,) = files["students"], files["grades"]
        assert students.fingerprint() == grades.fingerprint()
        found[name] = students.fingerprint()
    assert found["loose"] == found["folder"] == found["zip"] != found["other"]


def _encrypted(packed: bytes) -> bytes:
    """The zip with the flag of every entry set, here and in the directory; its data stay as they are."""
    changed = bytearray(packed)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = changed.find(signature)
        while place >= 0:
            changed[place + offset] |= 1
            place = changed.find(signature, place + 1)
    return bytes(changed)


def _link() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        entry = zipfile.ZipInfo("grades.csv")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    return packed.getvalue()


def _twice() -> bytes:
    """Two members of one name."""
    return zipped({"grades.csv": GRADES, "gradez.csv": GRADES}).replace(b"gradez.csv", b"grades.csv")


GOOD_ZIP = zipped({"grades.csv": GRADES * 50})
ZEROS = bytes(9 << 20)
SMALL = {"files": FilesSettings(max_file_gib=2**-10)}  # a MiB
REFUSED: list[tuple[str, bytes, dict[str, Any], str]] = [
    ("grades.csv.gz", GRADES, {}, "corrupt_gzip"),
    ("grades.csv.gz", gzip.compress(GRADES * 50, mtime=0)[:-9], {}, "corrupt_gzip"),
    ("grades.csv.gz", gzip.compress(GRADES, mtime=0)[:-8] + b"12345678", {}, "corrupt_gzip"),
    ("grades.csv.gz", gzip.compress(GRADES, mtime=0) + b"garbage", {}, "corrupt_gzip"),
    ("grades.csv.gz", gzip.compress(GRADES + ZEROS, mtime=0), {}, "compression_bomb"),
    ("grades.csv.gz", gzip.compress(GRADES + ZEROS, mtime=0), SMALL, "too_large"),
    ("grades.csv", GRADES + ZEROS, SMALL, "too_large"),
    ("grades.zip", GOOD_ZIP[:-30], {}, "corrupt_zip"),
    ("grades.zip", GOOD_ZIP.replace(GOOD_ZIP[60:64], b"\0\1\2\3"), {}, "corrupt_zip"),
    ("grades.zip", b"", {}, "corrupt_zip"),
    ("grades.zip", _encrypted(GOOD_ZIP), {}, "encrypted_zip"),
    ("grades.zip", zipped({"grades.csv": GRADES + ZEROS}), {}, "compression_bomb"),
    ("grades.zip", zipped({"grades.csv": GRADES + ZEROS}), SMALL, "too_large"),
    ("grades.zip", zipped({f"grades-{n}.csv": GRADES * 8_000 for n in range(3)}, compresslevel=0), SMALL, "too_large"),
    ("grades.zip", zipped({"../grades.csv": GRADES}), {}, "unsafe_zip"),
    ("grades.zip", zipped({"/etc/grades.csv": GRADES}), {}, "unsafe_zip"),
    ("grades.zip", zipped({"a\\..\\grades.csv": GRADES}), {}, "unsafe_zip"),
    ("grades.zip", zipped({"C:grades.csv": GRADES}), {}, "unsafe_zip"),
    ("grades.zip", _link(), {}, "unsafe_zip"),
    ("grades.zip", _twice(), {}, "unsafe_zip"),
    ("grades.zip", zipped({"grades.csv": GRADES, "more.ZIP": GOOD_ZIP}), {}, "nested_archive"),
    ("grades.zip", zipped({"grades.csv.gz": gzip.compress(GRADES, mtime=0)}), {}, "nested_archive"),
    ("grades.zip", zipped({"a.csv": GRADES, "b.csv": GRADES}), {}, "missing_file"),
    ("grades.csv", GOOD_ZIP, {}, "not_csv"),
    ("grades.zip", zipped({"grades.csv": GOOD_ZIP}), {}, "not_csv"),
]


@pytest.mark.parametrize(("name", "content", "settings", "reason"), REFUSED)
def test_what_cannot_or_must_not_be_read_is_refused_with_a_reason(
    tmp_path: Path, name: str, content: bytes, settings: dict[str, Any], reason: str
) -> None:
    land(tmp_path, {name: content})
    for file in landed_files(tmp_path, tenant(tmp_path, **settings))[0]["grades"]:
        with pytest.raises(RefusedFile) as caught:
            count(file, tmp_path, **settings)
        assert caught.value.reason == reason
        assert reason in REASONS
        sha256, size = file.fingerprint()
        assert (len(sha256), size) == (64, len(content)) or file.member is not None
        with (tmp_path / "kept").open("wb") as kept:
            file.keep_in(kept)


def test_limits_are_the_tenants(tmp_path: Path) -> None:
    land(tmp_path, {"grades.csv.gz": gzip.compress(GRADES + GRADES[50:] * 400_000, mtime=0)})
    with pytest.raises(RefusedFile, match="max_compression_ratio"):
        count(only(tmp_path), tmp_path)
    settings = {"files": FilesSettings(max_compression_ratio=2_000)}
    assert count(only(tmp_path, **settings), tmp_path, **settings) == 400_001


@pytest.mark.parametrize("content", [GOOD_ZIP[:-30], _encrypted(GOOD_ZIP)])
def test_a_zip_of_no_table_that_cannot_be_opened_is_heard_of(tmp_path: Path, content: bytes) -> None:
    land(tmp_path, {"week 7.zip": content})
    file = only(tmp_path)
    assert (file.name, file.table, file.format) == ("week 7.zip", "students", "unreadable")
    with pytest.raises(RefusedFile):
        file.open(tenant(tmp_path))


def test_a_damaged_member_does_not_take_the_others_along(tmp_path: Path) -> None:
    packed = zipped({"grades.csv": GRADES, "attendance_records.csv": ATTENDANCE}, compresslevel=0)
    land(tmp_path, {"week.zip": packed.replace(b"math", b"MATH")})
    files, _ = landed_files(tmp_path, tenant(tmp_path))
    assert count(files["attendance_records"][0], tmp_path) == 2
    with pytest.raises(RefusedFile, match="damaged"):
        count(files["grades"][0], tmp_path)


@pytest.mark.parametrize("form", ["zip", "folder"])
def test_a_bundle_opens_as_records_and_is_kept_whole(tmp_path: Path, form: str) -> None:
    inputs = {"users.csv": USERS, "orgs.csv": ORGS}
    land(
        tmp_path / "day",
        {"sis.zip": zipped(inputs)} if form == "zip" else {f"sis/{name}": text for name, text in inputs.items()},
    )
    files, _ = landed_files(tmp_path / "day", tenant(tmp_path))
    (file,) = files["students"]
    source = file.open(tenant(tmp_path), delivered_on=dt.date(2025, 9, 8))
    assert source.source_format.startswith("OneRoster")
    (rows,) = source.batches()
    assert rows["district_id"].to_pylist() == ["u1"]
    with (tmp_path / "bundle.zip").open("wb") as stream:
        file.keep_in(stream)
    with zipfile.ZipFile(tmp_path / "bundle.zip") as kept:
        assert {name: kept.read(name) for name in kept.namelist()} == inputs


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("packed", ["", "gzip", "zip"])
def test_a_header_of_too_many_columns_is_refused_before_anything_is_made_of_it(
    tmp_path: Path, delimiter: str, packed: str
) -> None:
    """Twenty thousand columns cost 14 seconds; the work grew with their square."""
    names = ["district_id", "course_id", "submission_date", *(f"x{number}" for number in range(300_000))]
    content = delimiter.join(names).encode() + b"\n"
    land(
        tmp_path,
        {
            "": {"grades.csv": content},
            "gzip": {"grades.csv.gz": gzip.compress(content, mtime=0)},
            "zip": {"week.zip": zipped({"grades.csv": content})},
        }[packed],
    )
    started = time.process_time()
    with pytest.raises(
        RefusedFile, match=r"line 1: the header row has 300,003 columns, more than 2,000; .*max_columns"
    ):
        only(tmp_path).open(tenant(tmp_path))
    assert time.process_time() - started < 3


def test_as_many_columns_as_the_tenant_allows(tmp_path: Path) -> None:
    header = b"district_id,course_id,submission_date,grade_value"
    land(tmp_path, {"grades.csv": header + b",x,y\nS1,math,2025-09-02,81,,\n"})
    assert count(only(tmp_path, files=FilesSettings(max_columns=6)), tmp_path) == 1
    with pytest.raises(RefusedFile, match="6 columns, more than 5") as refused:
        only(tmp_path, files=FilesSettings(max_columns=5)).open(tenant(tmp_path))
    assert refused.value.reason == "too_many_columns"


def test_the_columns_of_a_oneroster_file_are_counted_too(tmp_path: Path) -> None:
    wide = USERS.split(b"\n")[0] + b"".join(b",x%d" % number for number in range(2000)) + b"\n"
    land(tmp_path, {"users.csv": wide, "orgs.csv": ORGS, "manifest.csv": MANIFEST})
    files, _ = landed_files(tmp_path, tenant(tmp_path))
    with pytest.raises(RefusedFile, match=r"users.csv: line 1: the header row has 2,010 columns") as refused:
        files["students"][0].open(tenant(tmp_path))
    assert refused.value.reason == "too_many_columns"
    files, _ = landed_files(tmp_path, tenant(tmp_path, files=FilesSettings(max_columns=2010)))
    assert files["students"][0].open(tenant(tmp_path, files=FilesSettings(max_columns=2010)))
