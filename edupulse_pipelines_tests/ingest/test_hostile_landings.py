"""Landing folders that hold what no district means to send: the error names the delivery, and no link is followed.

What is left alone is told; what cannot be read is a LandingError, never another exception.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edupulse_pipelines.errors import LandingError
from edupulse_pipelines.ingest.kept_as_it_came import keep
from edupulse_pipelines.ingest.landing import ignored_folders, landed_deliveries, readable
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.plain_files import open_plain
from edupulse_pipelines_tests.ingest.district import FIRST_WEEK, STUDENT_HEADER, District

GRADES = "district_id,course_id,submission_date,grade_value\n"
ORGS = "sourcedId,status,dateLastModified,name,type,identifier,parentSourcedId\n"


@pytest.fixture
def tenant(tmp_path: Path) -> TenantSettings:
    landing = tmp_path / "landing"
    landing.mkdir()
    return TenantSettings(name="lakeside", timezone="UTC", first_week=FIRST_WEEK, landing=landing)


@pytest.fixture
def delivery(tenant: TenantSettings) -> Path:
    folder = tenant.landing / "2025-09-08"
    folder.mkdir()
    (folder / "grades.csv").write_text(GRADES)
    return folder


@contextmanager
def without_privileges() -> Iterator[None]:
    """As somebody whom permissions stop: root is not one."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("day", ["0001-01-01", "0001-01-02", "0001-01-08", "1969-12-31", "2025-09-01"])
def test_a_date_folder_before_the_first_week(tenant: TenantSettings, day: str) -> None:
    (tenant.landing / day).mkdir()
    with pytest.raises(LandingError, match=rf"{day} carries the week of ....-..-.., before first_week = 2025-09-01"):
        landed_deliveries(tenant)


@pytest.mark.parametrize("day", ["2025-09-02", "2199-12-31", "9999-12-26", "9999-12-31"])
def test_a_date_folder_far_away_waits_for_its_week(tenant: TenantSettings, day: str) -> None:
    (tenant.landing / day).mkdir()
    (found,) = landed_deliveries(tenant)
    assert found.delivered_on == dt.date.fromisoformat(day)
    assert found.week <= found.delivered_on


@pytest.mark.parametrize("name", ["2025-00-01", "0000-01-01", "2025-02-30", "٢٠٢٥-٠٩-٠٨", "2025-09-08\n", "-001-01-01"])
def test_a_name_that_is_no_date_is_left_alone(tenant: TenantSettings, name: str) -> None:
    (tenant.landing / name).mkdir()
    assert landed_deliveries(tenant) == []
    assert ignored_folders(tenant) == [name if name.isprintable() and name.isascii() else "file 1"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[" * 200_000, "nested too deeply"),
        ('{"snapshot":' * 50_000, "nested too deeply"),
        (f'{{"snapshot": {"9" * 5000}}}', "a number that is too long"),
        (f'{{"snapshot": {{"grades": {{"from": -{"9" * 5000}}}}}}}', "a number that is too long"),
        ('{"snapshot": {"grades": {"from": 1e999}}}', "not a date"),
        ('{"snapshot": NaN}', "must be true, false"),
        ('{"snapshot": {"grades": {"from": "0000-01-01"}}}', "not a date"),
        (" " * (1 << 20) + "{}", "larger than 1 MiB"),
        ('{"\\ud800\\u001b[2J": 1}', "unknown key '…'"),
        ('{"snapshot": {"\\ud800": true}}', "snapshot.…: no table of that name"),
        ("\0", "not valid JSON"),
        ("", "not valid JSON"),
    ],
    ids=lambda value: value[:24].strip() if isinstance(value, str) else None,
)
def test_a_hostile_manifest_is_named(tenant: TenantSettings, delivery: Path, content: str, words: str) -> None:
    (delivery / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(LandingError, match=rf"2025-09-08/manifest.json: .*{words}") as caught:
        landed_deliveries(tenant)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 2000


def test_snapshot_days_at_the_ends_of_the_calendar(district: District) -> None:
    district.land(1, students=f"{STUDENT_HEADER}\nZQ1,ZQa,ZQb,2010-01-01\n", grades=GRADES)
    manifest = {"snapshot": {"grades": {"from": "0001-01-01", "to": "9999-12-31"}}}
    (district.landing / "2025-09-08" / "manifest.json").write_text(json.dumps(manifest))
    assert district.run("students", "grades")["grades"].counts == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("kind", ["link", "broken link", "folder", "pipe"])
def test_a_manifest_that_is_no_plain_file_is_an_error(tenant: TenantSettings, delivery: Path, kind: str) -> None:
    """A manifest may say that nothing is to be taken back: it must not be overlooked."""
    path = delivery / "manifest.json"
    (tenant.landing.parent / "elsewhere.json").write_text("{}")
    make: dict[str, Callable[[], object]] = {
        "link": lambda: path.symlink_to(tenant.landing.parent / "elsewhere.json"),
        "broken link": lambda: path.symlink_to("nowhere"),
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
    }
    make[kind]()
    with pytest.raises(LandingError, match=r"manifest.json cannot be read \((it is a link|not a plain file)"):
        landed_deliveries(tenant)


@pytest.mark.parametrize(
    "unreadable", ["landing", "delivery", "grades.csv", "week.zip", "students.xml", "manifest.json"]
)
def test_what_may_not_be_read_is_named(unreadable: str) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        Path(name).chmod(0o755)
        landing = Path(name) / "landing"
        delivery = landing / "2025-09-08"
        delivery.mkdir(parents=True)
        for file_name in ("grades.csv", "week.zip", "students.xml", "manifest.json"):
            (delivery / file_name).write_text("{}" if file_name == "manifest.json" else "")
        path = {"landing": landing, "delivery": delivery}.get(unreadable, delivery / unreadable)
        path.chmod(0)
        tenant = TenantSettings(name="lakeside", timezone="UTC", first_week=FIRST_WEEK, landing=landing)
        words = rf"lakeside: .*{path.name} cannot be read \(Permission denied\)"
        with without_privileges(), pytest.raises(LandingError, match=words):
            (found,) = landed_deliveries(tenant)
            with readable(tenant):  # as the archive does
                found.files["grades"][0].fingerprint()
        path.chmod(0o700)


def test_no_link_is_followed(district: District, tmp_path: Path) -> None:
    """Neither to a file of the system nor to another district, at no depth, and not to the district's own files."""
    other = tmp_path / "other" / "2025-09-08"
    other.mkdir(parents=True)
    (other / "students.csv").write_text(f"{STUDENT_HEADER}\nZQ9,ZQa,ZQb,2010-01-01\n")
    (other / "bundle").mkdir()
    for name in ("users.csv", "orgs.csv"):
        (other / "bundle" / name).write_text(ORGS)
    district.land(1, students=f"{STUDENT_HEADER}\nZQ1,ZQa,ZQb,2010-01-01\n")
    folder = district.landing / "2025-09-08"
    (folder / "grades.csv").symlink_to("/etc/passwd")
    (folder / "students-b.csv").symlink_to(other / "students.csv")
    (folder / "students-c.csv").symlink_to("students.csv")
    (folder / "students-d.csv").symlink_to("nowhere")
    (folder / "bundle").symlink_to(other / "bundle")
    (folder / "roster").mkdir()
    (folder / "roster" / "orgs.csv").write_text(ORGS)
    (folder / "roster" / "users.csv").symlink_to(other / "bundle" / "users.csv")
    (district.landing / "2025-09-15").symlink_to(other)
    (found,) = landed_deliveries(district.tenant)
    assert {table: [file.name for file in files] for table, files in found.files.items()} == {
        "students": ["students.csv"]
    }
    linked = ("bundle", "grades.csv", "students-b.csv", "students-c.csv", "students-d.csv")
    assert [name.partition(" (")[0] for name in found.unknown_files] == sorted([*linked, "roster", "roster/users.csv"])
    assert all("links are not followed" in name for name in found.unknown_files if name != "roster")
    (ignored,) = ignored_folders(district.tenant)
    assert ignored.startswith("2025-09-15 (a link")
    district.run()
    assert district.rows("students", "district_id") == ["ZQ1"]
    assert not any(b"root:" in path.read_bytes() for path in district.raw.rglob("*") if path.is_file())


def test_the_landing_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    place = tmp_path / "share" / "2025-09-08"
    place.mkdir(parents=True)
    (place / "grades.csv").write_text(GRADES)
    (tmp_path / "landing").symlink_to(tmp_path / "share")
    tenant = TenantSettings(name="lakeside", timezone="UTC", first_week=FIRST_WEEK, landing=tmp_path / "landing")
    (found,) = landed_deliveries(tenant)
    assert [file.name for file in found.files["grades"]] == ["grades.csv"]


def test_a_file_that_turns_into_a_link_while_it_is_read(district: District, tmp_path: Path) -> None:
    district.land(1, students=f"{STUDENT_HEADER}\n")
    (found,) = landed_deliveries(district.tenant)
    (file,) = found.files["students"]
    path = district.landing / "2025-09-08" / "students.csv"
    path.unlink()
    path.symlink_to("/etc/passwd")
    for read in (file.fingerprint, lambda: file.open(district.tenant), lambda: keep(file, tmp_path / "kept")):
        with pytest.raises(OSError, match="links are not followed"):
            read()
    assert list(tmp_path.glob("*kept*")) == []


def test_what_is_no_plain_file_is_left_alone(tenant: TenantSettings, delivery: Path) -> None:
    """Reading a pipe would wait for ever."""
    os.mkfifo(delivery / "students.csv")
    here = Path.cwd()
    os.chdir(delivery)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("students-b.csv")
    finally:
        os.chdir(here)
    (delivery / "bundle").mkdir()
    os.mkfifo(delivery / "bundle" / "users.csv")
    (delivery / "attendance_records.csv").mkdir()
    (found,) = landed_deliveries(tenant)
    assert list(found.files) == ["grades"]
    assert found.unknown_files == ["attendance_records.csv", "bundle", "students-b.csv", "students.csv"]
    for name in ("students.csv", "bundle"):
        with pytest.raises(OSError, match="not a plain file"):
            open_plain(delivery / name)


def test_names_that_are_no_text_are_shown_escaped(tenant: TenantSettings, delivery: Path) -> None:
    (tenant.landing / os.fsdecode(b"\xff\xfe")).mkdir()
    (tenant.landing / "\x1b[31m2025-09-15\r\n").mkdir()
    (delivery / os.fsdecode(b"grades-\xe9.csv")).write_text(GRADES)
    (delivery / "bundle").mkdir()
    interchange = '<InterchangeStudent xmlns="http://ed-fi.org/5.2.0"></InterchangeStudent>'
    (delivery / "bundle" / "Student.xml").write_text(interchange)
    (delivery / "bundle" / os.fsdecode(b"Student-\xe9.xml")).write_text(interchange)
    (found,) = landed_deliveries(tenant)
    assert found.unknown_files == ["file 1", "file 2"]
    assert [file.name for file in found.files["students"]] == ["bundle/Student.xml"]
    assert ignored_folders(tenant) == ["file 1", "file 3"]


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("student_metadata", "[" * 100_000, "type:student_metadata"),
        ("student_metadata", '{"a":' * 5_000 + "1" + "}" * 5_000, "type:student_metadata"),
        ("student_metadata", f'{{"a": {"9" * 5_000}}}', "type:student_metadata"),
        ("gpa", "9" * 5_000, "range:gpa"),
        ("gpa", "1e999999", "range:gpa"),
        ("grade_level", "9" * 5_000, "type:grade_level"),
        ("grade_level", "-" + "0" * 5_000, "type:grade_level"),
        ("date_of_birth", "9" * 5_000, "type:date_of_birth"),
        ("date_of_birth", "10000-01-01", "type:date_of_birth"),
        ("date_of_birth", "0000-00-00", "type:date_of_birth"),
        ("enrollment_date", "-0001-01-01", "type:enrollment_date"),
    ],
    ids=lambda value: value[:16],
)
def test_a_value_that_nobody_can_read_costs_its_row_alone(
    district: District, column: str, value: str, reason: str
) -> None:
    names = [*STUDENT_HEADER.split(","), *([] if column == "date_of_birth" else [column])]
    row = {"district_id": "ZQ1", "first_name": "ZQ", "last_name": "ZQ", "date_of_birth": "2010-01-01", column: value}
    quoted = '"{}"'.format(row[column].replace('"', '""'))
    bad = ",".join(quoted if name == column else row[name] for name in names)
    good = ",".join({"district_id": "ZQ2", "date_of_birth": "2010-01-01", column: ""}.get(name, "ZQ") for name in names)
    if column == "date_of_birth":
        good = good.replace(",,", ",2010-01-01,").removesuffix(",") + ",2010-01-01"
    district.land(1, students=f"{','.join(names)}\n{bad}\n{good}\n")
    assert district.run("students")["students"].counts == (2, 1, 0, 0, 1)
    (quarantined,) = district.quarantine()
    assert reason.partition(":")[0] in {code.partition(":")[0] for code in quarantined["reasons"]} | {"range", "length"}
    assert {code.partition(":")[2] for code in quarantined["reasons"]} == {column}
