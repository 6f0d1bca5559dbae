"""The raw archive: what is kept of a file, what is read only once, and what a dying process leaves behind."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow.parquet as pq
import pytest

from edupulse_pipelines.errors import DeliveryUnfinished, LandingError
from edupulse_pipelines.ingest import kept_as_it_came
from edupulse_pipelines.ingest.archive import archive_files
from edupulse_pipelines.ingest.archived_file import archived_header, archived_instructional_days
from edupulse_pipelines.orchestration.checks import files_readable
from edupulse_pipelines.schema.sqlalchemy_tables import metadata
from edupulse_pipelines.settings import FilesSettings, ProfileSettings
from edupulse_pipelines.sources import contents
from edupulse_pipelines.sources.landed_files import LandedFile
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER, FIRST_WEEK, District, delivery_day

ATTENDANCE = f"{ATTENDANCE_HEADER},shoe\nZQ1,2025-09-02,present,\nZQ2,2025-09-02\n\nZQ3,NULL,,44\n"
ROSTER = {
    "orgs.csv": "sourcedId,status,dateLastModified,name,type,identifier,parentSourcedId\no1,,,ZQ,school,,\n",
    "users.csv": (
        "sourcedId,status,dateLastModified,enabledUser,orgSourcedIds,role,username,userIds,givenName,familyName\n"
        "ZQu1,,,true,o1,student,ZQ,,ZQann,ZQlee\nZQt1,,,true,o1,teacher,ZQ,,ZQbob,ZQray\n"
    ),
    "results.csv": (
        "sourcedId,status,dateLastModified,lineItemSourcedId,studentSourcedId,scoreStatus,score,scoreDate,comment\n"
        "ZQr1,,,l1,ZQu1,fully graded,80,2025-09-03,\nZQr2,,,l1,ZQu1,exempt,0,2025-09-02,\n"
    ),
    "lineItems.csv": (
        "sourcedId,status,dateLastModified,title,description,assignDate,dueDate,classSourcedId,categorySourcedId,"
        "gradingPeriodSourcedId,resultValueMin,resultValueMax\n"
        "l1,,,Quiz,,2025-09-01,2025-09-05,c1,k1,,0,100\n"
    ),
    "classes.csv": (
        "sourcedId,status,dateLastModified,title,grades,courseSourcedId,classCode,classType,location,schoolSourcedId,"
        "termSourcedIds,subjects,subjectCodes,periods\nc1,,,Math,,m1,,scheduled,,o1,t1,,,\n"
    ),
    "courses.csv": (
        "sourcedId,status,dateLastModified,schoolYearSourcedId,title,courseCode,grades,orgSourcedId,subjects,"
        "subjectCodes\nm1,,,,Math,MATH,,o1,,\n"
    ),
    "categories.csv": "sourcedId,status,dateLastModified,title\nk1,,,quiz\n",
    "manifest.csv": "propertyName,value\noneroster.version,1.1\nfile.users,bulk\nfile.results,bulk\n",
}
CALENDAR = """<InterchangeEducationOrgCalendar xmlns="http://ed-fi.org/5.2.0">
<Calendar><CalendarCode>1</CalendarCode></Calendar>{}</InterchangeEducationOrgCalendar>"""
SCHOOL_DAY = """<CalendarDate><Date>{}</Date><CalendarEvent>uri://ed-fi.org/CalendarEventDescriptor#Instructional day
</CalendarEvent><CalendarReference><CalendarIdentity><CalendarCode>1</CalendarCode></CalendarIdentity>
</CalendarReference></CalendarDate>"""


def put(district: District, day: int, name: str, content: str | bytes) -> Path:
    """A file of any name into a delivery."""
    path = district.landing / delivery_day(day).isoformat() / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def roster(**changes: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in (ROSTER | {f"{name}.csv": text for name, text in changes.items()}).items():
            archive.writestr(name, text)
    return packed.getvalue()


def archive(district: District, table: str = "attendance_records", **settings: Any) -> list[tuple[str, str, int]]:
    """Archive every delivery: (file, status, rows) of each file."""
    tenant = district.tenant.model_copy(update=settings)
    weeks = [FIRST_WEEK + dt.timedelta(weeks=number) for number in range(20)]
    report = archive_files(district.work, district.raw, tenant, table, weeks)
    return [(file.file_name, file.status, file.rows) for file in report.files]


def archives(district: District) -> list[Path]:
    return sorted(path for path in district.raw.rglob("*") if path.is_file())


def test_rows_are_kept_as_they_came(district: District) -> None:
    put(district, 1, "attendance_records.csv", ATTENDANCE)
    assert archive(district) == [("attendance_records.csv", "archived", 3)]
    (path,) = archives(district)
    assert pq.read_table(path).to_pylist() == [
        {"_line_number": 2, "_problem": None, "_fields": None}
        | {"district_id": "ZQ1", "date": "2025-09-02", "status": "present", "shoe": None},
        {"_line_number": 3, "_problem": "too_few_fields", "_fields": '["ZQ2", "2025-09-02"]'}
        | dict.fromkeys(("district_id", "date", "status", "shoe")),
        {"_line_number": 5, "_problem": None, "_fields": None}
        | {"district_id": "ZQ3", "date": "NULL", "status": None, "shoe": "44"},
    ]
    assert archived_header(path) == ["district_id", "date", "status", "shoe"]
    (row,) = district.manifest()
    assert (row["status"], row["rows_read"], row["source_format"]) == ("archived", 3, "csv")
    assert (row["unknown_columns"], row["left_out"], row["snapshot"]) == (["shoe"], None, None)
    assert archive(district) == [("attendance_records.csv", "known", 3)]
    assert archives(district) == [path]


def test_a_content_is_read_once_whatever_its_name_and_delivery(
    district: District, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(district, 1, "attendance_records.csv", ATTENDANCE)
    archive(district)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archived:
        archived.writestr("attendance_records-x.csv", ATTENDANCE)
    put(district, 1, "attendance_records-b.csv", ATTENDANCE)
    put(district, 2, "week.zip", packed.getvalue())
    monkeypatch.setattr("edupulse_pipelines.sources.landed_files.CanonicalCsv", None)
    assert [status for _, status, _ in archive(district)] == ["archived", "known", "archived"]
    first, *others = archives(district)
    assert [path.samefile(first) for path in others] == [True, True]
    assert {
        row["file_name"]: (row["rows_read"], row["unknown_columns"]) for row in district.manifest()
    } == dict.fromkeys(
        ("attendance_records.csv", "attendance_records-b.csv", "week.zip/attendance_records-x.csv"), (3, ["shoe"])
    )


@pytest.mark.parametrize("left", [b"", b"PAR1 and no more", None])
def test_an_archive_whose_manifest_row_was_never_written(district: District, left: bytes | None) -> None:
    """The process died between the two, or the machine did; `None`: the archive is whole."""
    put(district, 1, "attendance_records.csv", ATTENDANCE)
    archive(district)
    (path,) = archives(district)
    whole = path.read_bytes()
    if left is not None:
        path.write_bytes(left)
    with district.engine.begin() as connection:
        connection.execute(metadata.tables["ingested_files"].delete())
    assert archive(district) == [("attendance_records.csv", "archived", 3)]
    assert pq.read_table(path).equals(pq.read_table(io.BytesIO(whole)))


def test_another_declared_encoding_reads_the_file_anew(district: District) -> None:
    put(district, 1, "attendance_records.csv", f"{ATTENDANCE_HEADER}\nZQ€,2025-09-02,x\n".encode("cp1252"))
    seen = []
    for encoding, status in (
        ("auto", "refused"),
        ("latin-1", "archived"),
        ("latin-1", "known"),
        ("cp1252", "archived"),
    ):
        assert archive(district, profile=ProfileSettings(encoding=encoding))[0][1] == status
        if status == "archived":
            seen.append(pq.read_table(next(iter(district.raw.rglob("*.parquet"))))["district_id"].to_pylist())
    assert seen == [["ZQ\x80"], ["ZQ€"]]


def test_the_bytes_of_a_refused_file_are_kept_unless_they_are_too_many(district: District) -> None:
    put(district, 1, "attendance_records.csv", ATTENDANCE + "ZQ" * 2_000)
    put(district, 1, "attendance_records-b.csv", "nothing")
    settings = {"files": FilesSettings(max_file_gib=2**-19)}  # 2 KiB
    assert [status for _, status, _ in archive(district, **settings)] == ["refused", "refused"]
    assert [path.read_bytes() for path in archives(district)] == [b"nothing"]
    assert {row["reason"] for row in district.manifest()} == {"too_large", "missing_column"}
    assert [status for _, status, _ in archive(district)] == ["refused", "archived"], "with the usual limit"


def test_a_bomb_leaves_nothing_on_the_disk(district: District, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is noticed after rows of it have been written."""
    monkeypatch.setattr(contents, "_HARMLESS", 1 << 20)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archived:
        archived.writestr("attendance_records.csv", f"{ATTENDANCE_HEADER}\n" + "ZQ1,2025-09-02,present\n" * 200_000)
    put(district, 1, "week.zip", packed.getvalue())
    put(
        district,
        1,
        "attendance_records.csv.gz",
        gzip.compress(ATTENDANCE.encode() + b"ZQ1,2025-09-02,x,\n" * 400_000, mtime=0),
    )
    assert {row[1:] for row in archive(district)} == {("refused", 0)}
    assert archives(district) == []


def test_progress_is_told_in_bytes(district: District) -> None:
    put(district, 1, "attendance_records.csv", ATTENDANCE_HEADER + "\nZQ1,2025-09-02,present" * 500_000)
    put(district, 1, "attendance_records-b.csv", ATTENDANCE)
    put(district, 2, "attendance_records.csv", ATTENDANCE)
    total = sum(path.stat().st_size for path in district.landing.rglob("*.csv"))
    for _ in range(2):  # the second time nothing has to be read
        told: list[tuple[int, int]] = []
        archive_files(
            district.work,
            district.raw,
            district.tenant,
            "attendance_records",
            [FIRST_WEEK, FIRST_WEEK + dt.timedelta(weeks=1)],
            progress=lambda done, of: told.append((done, of)),  # noqa: B023
        )
        assert {of for _, of in told} == {total}
        assert [done for done, _ in told] == sorted(done for done, _ in told)
        assert told[-1][0] == total
        assert len({done for done, _ in told}) >= 4


def test_a_file_that_is_still_being_copied_is_not_taken(district: District, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(district, 1, "attendance_records.csv", ATTENDANCE)
    hidden = contents.Content.open

    def growing(self: contents.Content, *rest: Any) -> Any:
        with path.open("a") as file:
            file.write("ZQ4,2025-09-02,present,\n")
        return hidden(self, *rest)

    with (
        monkeypatch.context() as patched,
        pytest.raises(DeliveryUnfinished, match=r"attendance_records.csv changed"),
    ):
        patched.setattr(contents.Content, "open", growing)
        archive(district)
    assert archives(district) == []
    assert district.manifest() == []
    ((_, status, rows),) = archive(district)
    assert (status, rows > 3) == ("archived", True)


def test_a_run_that_was_overtaken_changes_nothing(district: District, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run archives and loads the file while this one reads it."""
    district.enrol("ZQ1")
    put(district, 1, "attendance_records.csv", f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,present\n")
    hidden = LandedFile.open

    def overtaken(self: LandedFile, *rest: Any, **options: Any) -> Any:
        monkeypatch.setattr(LandedFile, "open", hidden)
        district.run("attendance_records")
        return hidden(self, *rest, **options)

    monkeypatch.setattr(LandedFile, "open", overtaken)
    assert archive(district) == [("attendance_records.csv", "archived", 1)]
    (row,) = district.manifest()
    assert (row["status"], row["rows_inserted"]) == ("loaded", 1)
    assert len(archives(district)) == 1


def test_a_file_that_is_taken_away_while_it_is_read_is_named(
    district: District, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(district, 1, "attendance_records.csv", ATTENDANCE)
    monkeypatch.setattr(LandedFile, "fingerprint", lambda _: path.unlink() or ("0" * 64, 0))
    with pytest.raises(LandingError, match=r"2025-09-08/attendance_records.csv cannot be read \(No such file"):
        archive(district)
    assert district.manifest() == []


def test_a_manifest_that_comes_later_has_its_say(district: District) -> None:
    district.enrol("ZQ1")
    put(district, 1, "attendance_records.csv", f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,present\n")
    district.run("attendance_records")
    put(district, 1, "manifest.json", '{"snapshot": true}')
    archive(district)
    (row,) = district.manifest()
    assert (row["snapshot"], row["status"]) == ({"from": "2025-09-01", "to": "2025-09-08"}, "archived")
    district.run("attendance_records")
    (row,) = district.manifest()
    assert row["status"] == "loaded"


def test_a_bundle_is_archived_for_each_of_its_tables_and_kept_once(district: District) -> None:
    bundle = put(district, 1, "sis.zip", roster())
    assert archive(district, "students") == [("sis.zip/users.csv", "archived", 1)]
    assert archive(district, "grades") == [("sis.zip/results.csv", "archived", 1)]
    (kept,) = (district.raw / "lakeside" / "originals" / "2025-09-08").iterdir()
    assert kept.read_bytes() == bundle.read_bytes()
    by_table = {row["table_name"]: row for row in district.manifest()}
    assert {row["source_format"] for row in by_table.values()} == {"OneRoster 1.1"}
    assert by_table["grades"]["left_out"] == {"exempt": 1}
    # Bulk: the students are all there are; the grades are so from the first of them on.
    assert by_table["students"]["snapshot"] == {"from": "2025-09-01", "to": "2025-09-08"}
    assert by_table["grades"]["snapshot"] == {"from": "2025-09-03", "to": "2025-09-08"}
    put(district, 1, "manifest.json", '{"snapshot": {"grades": false}}')
    assert archive(district, "grades") == [("sis.zip/results.csv", "known", 1)]
    assert {row["table_name"]: row["snapshot"] is None for row in district.manifest()} == {
        "students": False,
        "grades": True,
    }


@pytest.mark.parametrize("cleared", [False, True])
def test_a_delta_finds_what_the_bundles_before_it_said(district: District, cleared: bool) -> None:
    put(district, 1, "sis.zip", roster())
    archive(district, "grades")
    delta = "propertyName,value\noneroster.version,1.1\nfile.results,delta\n"
    results = (
        ROSTER["results.csv"].splitlines()[0]
        + "\nZQr3,active,2025-09-10T00:00:00Z,l1,ZQu1,fully graded,75,2025-09-10,\n"
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archived:
        archived.writestr("results.csv", results)
        archived.writestr("manifest.csv", delta)
    put(district, 2, "sis.zip", packed.getvalue())
    if cleared:
        shutil.rmtree(district.landing / "2025-09-08")
    assert archive(district, "grades")[-1] == ("sis.zip/results.csv", "archived", 1)
    (path,) = (district.raw / "lakeside" / "grades" / "2025-09-15").iterdir()
    (row,) = pq.read_table(path).to_pylist()
    assert (row["district_id"], row["course_id"], row["grade_value"]) == ("ZQu1", "MATH", "75")
    assert district.manifest()[-1]["snapshot"] is None


def test_school_days_of_the_sources_own_calendar_are_kept(district: District) -> None:
    days = [FIRST_WEEK + dt.timedelta(days=number) for number in range(30)]
    put(district, 1, "calendar.xml", CALENDAR.format("".join(map(SCHOOL_DAY.format, days))))
    assert archive(district) == [("calendar.xml", "archived", 0)]
    (path,) = district.raw.rglob("*.parquet")
    assert archived_instructional_days(path) == days


def test_names_that_people_wrote_are_kept_in_the_database_and_told_by_number(district: District) -> None:
    """A student's name may stand in a file's name or in a header; events, checks and messages have neither."""
    rows = f"{ATTENDANCE_HEADER},ZQ Lee's note\nZQ1,2025-09-02,present,x\n"
    for name in ("attendance_records.csv", "attendance_records-ZQ Lee.csv"):
        put(district, 1, name, rows)
    put(district, 1, "attendance_records-Zq Ann.csv", "no header of ours\n")
    report = archive_files(district.work, district.raw, district.tenant, "attendance_records", [FIRST_WEEK])
    assert [(file.told_name, file.told_columns) for file in report.files] == [
        ("file 1", ["column 4"]),
        ("file 2", []),
        ("attendance_records.csv", ["column 4"]),
    ]
    kept = {row["file_name"]: row["unknown_columns"] for row in district.manifest()}
    assert kept["attendance_records-ZQ Lee.csv"] == ["ZQ Lee's note"]
    verdict = files_readable(report.files)
    assert "2025-09-08/file 2" in str(verdict.description)
    told = f"{verdict.description} {verdict.metadata} {district.refused()}"
    assert "zq" not in told.lower()
    assert district.refused()[0].startswith("2025-09-08/file 2: ")


def test_a_kept_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Landed:
        def keep_in(self, kept: BinaryIO) -> None:
            kept.write(b"as it came")

    synced: list[str] = []

    def sync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append("folder" if path.is_dir() else path.read_text())

    monkeypatch.setattr(os, "fsync", sync)
    kept_as_it_came.keep(cast("Any", Landed()), tmp_path / "kept")
    assert synced == ["as it came", "folder"]
