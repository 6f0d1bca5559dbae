"""A district whose files are encrypted: loaded, erased, opened; what lay plain encrypted afterwards, at any stop."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from edupulse_pipelines.encryption.archives import opened_archive
from edupulse_pipelines.encryption.files import decrypt_file, plain_bytes
from edupulse_pipelines.encryption.keyring import KeyRing, is_encrypted, use_keys
from edupulse_pipelines.errors import KeyUnusable
from edupulse_pipelines.governance import at_rest as room
from edupulse_pipelines.governance.at_rest import at_rest, encrypt_all
from edupulse_pipelines.governance.disclosures import Circumstances
from edupulse_pipelines.governance.erasure import erase
from edupulse_pipelines.governance.inspection import inspect
from edupulse_pipelines.ingest import kept_as_it_came
from edupulse_pipelines.ingest.archive import archive_files
from edupulse_pipelines.ingest.archived_file import hash_of_archive, temporary_beside
from edupulse_pipelines_tests.encryption.rings import identity, settings_at
from edupulse_pipelines_tests.governance import canaries
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER, FIRST_WEEK, STUDENT_HEADER, District

WEEKS = [FIRST_WEEK, FIRST_WEEK.replace(day=8)]
NUMBER = canaries.NUMBER
STUDENTS = (
    f"{STUDENT_HEADER}\n{NUMBER},{canaries.FIRST},{canaries.LAST},{canaries.BORN}\nother1,Other,Child,2010-01-02\n"
)
ATTENDANCE = f"{ATTENDANCE_HEADER}\n{NUMBER},2025-09-02,absent\nother1,2025-09-02,present\n"


@pytest.fixture
def district(engine: sa.Engine, tmp_path: Path) -> District:
    made = District(engine, tmp_path)
    made.land(1, students=STUDENTS, attendance_records=ATTENDANCE, attendance_records__again=ATTENDANCE)
    folder = made.landing / "2025-09-15"
    folder.mkdir()
    (folder / "roster.zip").write_bytes(canaries.zipped(canaries.roster()))
    (folder / "grades-unreadable.csv").write_text(f"what,ever\n{NUMBER},{canaries.REFUSED}\n", encoding="utf-8")
    return made


def key(district: District) -> KeyRing:
    home = district.raw.parent
    key_file = home / "operator.key"
    if not key_file.exists():
        key_file.write_text(identity(), encoding="utf-8")
    return use_keys(settings_at(home, key_file))


def no_key(district: District) -> None:
    use_keys(settings_at(district.raw.parent, None))


def files(district: District) -> list[Path]:
    return sorted(path for path in district.raw.rglob("*") if path.is_file())


def kinds(district: District) -> set[tuple[str, bool]]:
    return {(path.suffix, is_encrypted(path)) for path in files(district)}


def rows(district: District) -> list[tuple[str, int, int]]:
    return sorted((row["table_name"], row["rows_read"], row["rows_inserted"] or 0) for row in district.manifest())


def test_a_kill_leaves_nothing_in_plain(district: District, monkeypatch: pytest.MonkeyPatch) -> None:
    key(district)
    plain: list[Path] = []
    encrypting = kept_as_it_came.encrypt_stream

    def looked_at(*streams: Any) -> None:
        """What lies there, should the process be killed now."""
        plain.extend(path for path in files(district) if path.stat().st_size and not is_encrypted(path))
        encrypting(*streams)

    monkeypatch.setattr(kept_as_it_came, "encrypt_stream", looked_at)
    for table in ("grades", "students"):
        archive_files(district.work, district.raw, district.tenant, table, WEEKS)
    assert kinds(district) == {(".parquet", True), (".refused", True), (".zip", True)}
    assert plain == []
    # The bundle in plain, of a process that was killed while it read a delta: whatever is archived next removes it.
    (bundle,) = (district.raw / district.tenant.name / "originals").rglob("*.zip")
    ours = temporary_beside(bundle)
    left = ours.with_name(ours.name.replace(f"_{os.getpid()}_", "_4194305_"))
    for path in (ours, left):
        path.write_bytes(b"plain")
    archive_files(district.work, district.raw, district.tenant, "attendance_records", WEEKS)
    assert (ours.exists(), left.exists()) == (True, False)


def test_everything_of_a_district_lies_encrypted_and_does_its_work(district: District, tmp_path: Path) -> None:
    ring = key(district)
    district.run()
    assert kinds(district) == {(".parquet", True), (".refused", True), (".zip", True)}
    assert canaries.in_files(district.raw) == {}
    (refused,) = district.raw.rglob("*.refused")
    assert plain_bytes(refused) == (district.landing / "2025-09-15" / "grades-unreadable.csv").read_bytes()
    assert {row.rows for row in archive_again(district)} == {2}
    out = tmp_path / "out"
    circumstances = Circumstances(recipient="the family", purpose="asked", legal_basis="FERPA")
    shown = inspect(district.work, district.raw, district.tenant, NUMBER, out, circumstances)
    assert shown.counts["students"] == 1
    assert canaries.in_files(out) == {}
    assert {path.suffix for path in out.rglob("*") if path.is_file()} == {".age"}
    decrypt_file(out / "index.html.age", tmp_path / "index.html", ring)
    assert canaries.FIRST in (tmp_path / "index.html").read_text(encoding="utf-8")
    done = erase(
        district.work, district.raw, district.tenant, NUMBER, reason="asked", approved_by="another", execute=True
    )
    assert (done.counts["refused files"], done.counts["kept bundles"], done.counts["archived rows"]) == (1, 1, 4)
    assert kinds(district) == {(".parquet", True), (".zip", True)}
    for path in district.raw.rglob("attendance*.parquet"):
        with opened_archive(path) as archive:
            assert archive.read()["district_id"].to_pylist() == ["other1"]
    (bundle,) = district.raw.rglob("*.zip")
    content = b"".join(canaries.contents(plain_bytes(bundle)))
    assert b"Other" in content
    assert canaries.FIRST.encode() not in content
    found = at_rest(ring, district.raw, district.tenant.name, thorough=True)
    assert (found.plain, found.troubles) == (0, [])
    assert found.encrypted == len(files(district))


def archive_again(district: District) -> list[Any]:
    return archive_files(district.work, district.raw, district.tenant, "attendance_records", WEEKS).files


def test_what_lies_plain_is_encrypted_afterwards_and_read_without_landing(district: District) -> None:
    no_key(district)
    for table in ("students", "attendance_records", "grades"):
        archive_files(district.work, district.raw, district.tenant, table, WEEKS)
    assert kinds(district) == {(".parquet", False), (".refused", False), (".zip", False)}
    key(district)
    done = encrypt_all(district.work, district.raw)
    assert (done["archives"], done["kept files"]) == (len(list(district.raw.rglob("*.parquet"))), 2)
    assert kinds(district) == {(".parquet", True), (".refused", True), (".zip", True)}
    again, first = sorted((district.raw / district.tenant.name / "attendance_records").rglob("*.parquet"))
    assert again.samefile(first)  # one content is kept once, as before
    assert {row["archive_sha256"] for row in district.manifest() if row["archive_sha256"]} == {
        hash_of_archive(path) for path in district.raw.rglob("*.parquet")
    }
    assert +encrypt_all(district.work, district.raw) == {}
    shutil.rmtree(district.landing)
    district.landing.mkdir()
    district.run(weeks=WEEKS)
    assert ("attendance_records", 2, 2) in rows(district)


def test_plain_and_encrypted_are_loaded_side_by_side(district: District) -> None:
    no_key(district)
    archive_files(district.work, district.raw, district.tenant, "students", WEEKS)
    archive_files(district.work, district.raw, district.tenant, "attendance_records", WEEKS)
    key(district)
    district.land(3, attendance_records=ATTENDANCE.replace("09-02", "09-16"))
    district.run("students", "attendance_records")
    assert kinds(district) >= {(".parquet", False), (".parquet", True)}
    assert len([row for row in rows(district) if row == ("attendance_records", 2, 2)]) == 2


@pytest.mark.parametrize("then", ["apply", "load"])
def test_stopped_between_file_and_manifest_it_goes_on(
    district: District, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    no_key(district)
    for table in ("students", "attendance_records"):
        archive_files(district.work, district.raw, district.tenant, table, WEEKS)
    key(district)

    def killed(*_given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(room.manifest, "note_archive", killed)
        encrypt_all(district.work, district.raw)
    assert {(".parquet", True), (".parquet", False)} <= kinds(district)
    shutil.rmtree(district.landing)
    district.landing.mkdir()
    if then == "apply":
        encrypt_all(district.work, district.raw)
    district.run("students", "attendance_records", weeks=WEEKS)
    assert ("attendance_records", 2, 2) in rows(district)
    assert not list(district.raw.rglob("*.tmp"))


def test_what_an_erasure_changes_meanwhile_is_not_put_back(district: District, monkeypatch: pytest.MonkeyPatch) -> None:
    no_key(district)
    district.run()
    key(district)
    made = room.encrypt_archive

    def erased_meanwhile(path: Path) -> Path | None:
        monkeypatch.setattr(room, "encrypt_archive", made)
        temporary = made(path)
        asked = {"reason": "asked", "approved_by": "another", "execute": True}
        erase(district.work, district.raw, district.tenant, NUMBER, **asked)
        return temporary

    monkeypatch.setattr(room, "encrypt_archive", erased_meanwhile)
    encrypt_all(district.work, district.raw)
    encrypt_all(district.work, district.raw)
    assert {encrypted for _, encrypted in kinds(district)} == {True}
    for path in district.raw.rglob("*.parquet"):
        with opened_archive(path) as archive:
            assert NUMBER not in str(archive.read().to_pylist())


def test_a_key_that_is_missing_or_another_one_loads_nothing(district: District, tmp_path: Path) -> None:
    ring = key(district)
    for table in ("students", "attendance_records"):
        archive_files(district.work, district.raw, district.tenant, table, WEEKS)
    before = {path: path.read_bytes() for path in files(district)}
    no_key(district)
    with pytest.raises(KeyUnusable, match=r"parquet is encrypted, and no key is set"):
        district.run("students")
    another = tmp_path / "another.key"
    another.write_text(identity(), encoding="utf-8")
    use_keys(settings_at(district.raw.parent, another))
    with pytest.raises(KeyUnusable, match=r"lakeside\.age is encrypted to another key than .*another\.key"):
        district.run("students")
    assert at_rest(ring, district.raw, district.tenant.name).troubles
    key(district)
    ring.path_of("lakeside").unlink()
    with pytest.raises(KeyUnusable, match=r"lakeside\.age is gone"):
        district.run("students")
    assert {path: path.read_bytes() for path in files(district)} == before
    with district.engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM students")) == 0


def test_a_delta_reads_bundles_that_lie_encrypted(district: District) -> None:
    key(district)
    archive_files(district.work, district.raw, district.tenant, "students", WEEKS)
    shutil.rmtree(district.landing)
    district.landing.mkdir()
    users = canaries.roster()["users.csv"].splitlines()
    later = "\n".join([users[0], "other1,active,2025-09-10T00:00:00Z,true,o1,student,v,,Otto,Child"]) + "\n"
    manifest = "propertyName,value\noneroster.version,1.1\nfile.users,delta\n"
    folder = district.landing / "2025-09-22"
    folder.mkdir()
    (folder / "roster.zip").write_bytes(canaries.zipped({"users.csv": later, "manifest.csv": manifest}))
    report = archive_files(district.work, district.raw, district.tenant, "students", [FIRST_WEEK.replace(day=15)])
    assert [file.status for file in report.files] == ["archived"]
    (path,) = (district.raw / district.tenant.name / "students" / "2025-09-22").iterdir()
    with opened_archive(path) as archive:
        (row,) = archive.read().to_pylist()
    assert (row["first_name"], row["date_of_birth"]) == ("Otto", "2010-01-02")
    assert not list(district.raw.rglob("*.tmp"))


def test_a_kept_file_that_was_damaged_is_told(district: District) -> None:
    ring = key(district)
    district.run()
    (refused,) = district.raw.rglob("*.refused")
    refused.write_bytes(refused.read_bytes()[:-4])
    (trouble,) = at_rest(ring, district.raw, district.tenant.name).troubles
    assert ".refused is damaged or cut off" in trouble
    assert str(refused.parent) in trouble


def test_a_home_that_a_group_shares_stays_shared(district: District) -> None:
    before = os.umask(0o007)
    try:
        ring = key(district)
        district.run()
    finally:
        os.umask(before)
    modes = {path.suffix: stat.S_IMODE(path.stat().st_mode) for path in files(district)}
    assert modes == {".parquet": 0o660, ".refused": 0o660, ".zip": 0o660}
    assert stat.S_IMODE(ring.path_of("lakeside").stat().st_mode) == 0o660
    assert stat.S_IMODE(ring.folder.stat().st_mode) == 0o770
