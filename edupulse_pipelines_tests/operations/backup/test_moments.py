"""Taking moments of a home on SQLite: what is in them, what is copied once, and what goes wrong on the way."""

from __future__ import annotations

import datetime as dt
import errno
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edupulse_pipelines.errors import DiskFull, KeyUnusable, PermanentError
from edupulse_pipelines.file_locks import only_one
from edupulse_pipelines.operations.backup import taking
from edupulse_pipelines.operations.backup.contents import Contents, hash_of
from edupulse_pipelines.operations.backup.home_files import WORK
from edupulse_pipelines.operations.backup.moments import Moment, all_moments, moments, newest_moment
from edupulse_pipelines.operations.backup.retiring import not_retired, too_old
from edupulse_pipelines.operations.backup.taking import BackupUnderWay, Taken, take_moment
from edupulse_pipelines.operations.backup.verifying import verify
from edupulse_pipelines.storage import sqlite_files
from edupulse_pipelines.storage.database import database_of
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER
from edupulse_pipelines_tests.operations.backup.home import MODEL, BackedUp, flip


def take(home: BackedUp, **options: Any) -> Taken:
    return take_moment(home.settings, database_of(home.settings), **options)


def content(home: BackedUp, name: str) -> Path:
    """Where the newest moment's content of a name lies."""
    stored = moments(home.settings)[-1].file(name)
    assert stored is not None
    return home.backups / "files" / stored.sha256[:2] / stored.sha256


def test_a_moment_has_what_the_home_is_made_of(home: BackedUp) -> None:
    home.write("privacy.key", "00" * 32)
    home.write("logs/run.log", "made again")
    home.write("dagster/history/runs.db", "runs")
    home.write("raw/north/students/half.tmp", "unfinished")
    moment = take(home).moment
    names = {file.name for file in moment.files}
    assert {"edupulse.db", "mlflow/mlflow.db", "edupulse.toml", "privacy.key", MODEL} <= names
    raw = [path for path in home.district.raw.rglob("*") if path.is_file()]
    assert {path.suffix for path in raw} == {".parquet", ".refused", ".tmp"}
    kept = {path.relative_to(home.home).as_posix() for path in raw if path.suffix != ".tmp"}
    assert kept == {name for name in names if name.startswith("raw/")}
    assert not any(name.startswith(("logs", "dagster", "north", "backups")) or "edupulse.db-" in name for name in names)
    assert (moment.schema_revision, moment.database) == (database_of(home.settings).state().head, "sqlite")
    assert moment.audit_head is not None
    assert moment.audit_head.startswith(f"{moment.last_change}:")
    assert list(moment.deliveries["north"]) == ["2025-09-08"]
    assert newest_moment(home.settings) == moment
    with closing(sqlite3.connect(content(home, "edupulse.db"))) as copy:
        assert copy.execute("SELECT count(*) FROM students").fetchone() == (3,)


def test_what_has_not_changed_is_neither_copied_nor_read_again(home: BackedUp, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (home.home / MODEL, *home.district.raw.rglob("*.parquet")):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    first = take(home)
    assert first.moment.new_bytes == sum({file.sha256: file.size for file in first.moment.files}.values())
    read: list[str] = []

    def noting(path: Path) -> object:
        read.append(path.name)
        return hash_of(path)

    monkeypatch.setattr("edupulse_pipelines.operations.backup.contents.hash_of", noting)
    second = take(home).moment
    assert second.new_bytes == 0
    assert Path(MODEL).name not in read
    assert not any(name.endswith(".parquet") for name in read)
    take(home, full=True)
    assert Path(MODEL).name in read
    home.write(MODEL, "another model")
    changed = take(home).moment
    assert changed.new_bytes == len("another model")
    assert [moment.file(MODEL) for moment in moments(home.settings)].count(first.moment.file(MODEL)) == 3


def test_dagster_comes_along_when_it_is_asked_for(home: BackedUp) -> None:
    home.set("[backup]\ndagster = 'copy'\n")
    runs = home.home / "dagster" / "history" / "runs.db"
    runs.parent.mkdir(parents=True)
    with closing(sqlite3.connect(runs)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE runs (id)")
        connection.execute("INSERT INTO runs VALUES (7)")
        connection.commit()
        moment = take(home).moment
    assert [file.name for file in moment.files if file.name.startswith("dagster")] == ["dagster/history/runs.db"]
    with closing(sqlite3.connect(content(home, "dagster/history/runs.db"))) as copy:
        assert copy.execute("SELECT id FROM runs").fetchall() == [(7,)]


def test_a_load_goes_on_meanwhile_and_nobody_waits(home: BackedUp) -> None:
    with closing(sqlite3.connect(home.home / "edupulse.db", isolation_level=None, timeout=60)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM pending_updates")
        moment = take(home).moment
        writer.execute("COMMIT")
        assert moment.damaged == ()
        with closing(sqlite3.connect(content(home, "edupulse.db"))) as copy:
            assert copy.execute("SELECT count(*) FROM pending_updates").fetchone() > (0,)
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        take(home)
        with closing(sqlite3.connect(content(home, "edupulse.db"))) as copy:
            assert copy.execute("SELECT count(*) FROM pending_updates").fetchone() == (0,)


def test_rows_loaded_between_database_and_files_are_not_in_it_and_their_archives_are(
    home: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_sqlite = sqlite_files.copy_sqlite

    def then_a_load(source: Path, target: Path) -> None:
        copy_sqlite(source, target)
        if source.name == "edupulse.db":
            home.district.land(2, attendance_records=f"{ATTENDANCE_HEADER}\n1001,2025-09-09,present\n")
            home.district.run("attendance_records")

    monkeypatch.setattr(taking, "copy_sqlite", then_a_load)
    moment = take(home).moment
    assert moment.damaged == ()
    assert list(moment.deliveries["north"]) == ["2025-09-08"]
    assert sum("2025-09-15" in file.name for file in moment.files) == 1


def test_an_erasure_in_between_makes_it_begin_again(home: BackedUp, monkeypatch: pytest.MonkeyPatch) -> None:
    from edupulse_pipelines.governance.erasure import erase

    monkeypatch.setattr(taking, "_PAUSE_SECONDS", 0.0)
    copy_sqlite, erased = sqlite_files.copy_sqlite, []

    def then_an_erasure(source: Path, target: Path) -> None:
        copy_sqlite(source, target)
        if source.name == "edupulse.db" and not erased:
            district = home.district
            asked = {"reason": "asked", "approved_by": "another person", "execute": True}
            erased.append(erase(district.work, district.raw, district.tenant, "1002", **asked))

    monkeypatch.setattr(taking, "copy_sqlite", then_an_erasure)
    moment = take(home).moment
    assert moment.damaged == ()
    assert len(moment.erasures["north"]) == 1
    assert any(file.name.startswith("erasures/north/") for file in moment.files)
    with closing(sqlite3.connect(content(home, "edupulse.db"))) as copy:
        assert copy.execute("SELECT count(*) FROM students").fetchone() == (2,)


def test_an_archive_that_has_lost_a_bit_is_named_and_the_moment_taken(
    home: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "_PAUSE_SECONDS", 0.0)
    (archive,) = home.district.raw.glob("north/students/*/*.parquet")
    flip(archive)
    done = home("backup", "create", "--json", code=1)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["damaged"] == [archive.relative_to(home.home).as_posix()]
    assert home("backup", "status", code=1).output.count("To mend: 1 archives of the home are damaged") == 1


@pytest.mark.parametrize("trouble", ["gone", "no database", "damaged"])
def test_without_a_sound_database_there_is_no_moment(home: BackedUp, trouble: str) -> None:
    database = home.home / "edupulse.db"
    home.engine.dispose()
    if trouble == "gone":
        database.unlink()
    else:
        data = bytearray(database.read_bytes())
        if trouble == "no database":
            data[:16] = b"something else.."
        else:
            data[4096 * 3 : 4096 * 9] = os.urandom(4096 * 6)
        database.write_bytes(bytes(data))
    with pytest.raises(PermanentError, match=r"edupulse\.db"):
        take(home)
    assert all_moments(home.settings) == ([], [])
    assert not list(home.backups.glob(WORK))


def test_the_manifest_makes_the_moment_and_a_kill_before_it_leaves_none(
    home: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = take(home).moment
    home.write(MODEL, "another model")

    class Killed(BaseException):
        """As if the process had ended: nothing of ours runs any more."""

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(taking, "write_manifest", killed)
        with pytest.raises(Killed):
            take(home)
    (home.backups / WORK).mkdir()
    (home.backups / WORK / "database").write_bytes(b"half")
    (home.backups / "files" / "00").mkdir(exist_ok=True)
    (home.backups / "files" / "00" / "0123.tmp").write_bytes(b"half")
    (home.backups / "moments" / "20260101T000000Z.tmp").write_bytes(b"half")
    assert moments(home.settings) == [first]
    assert verify(home.settings).findings == []
    second = take(home).moment
    assert [moment.id for moment in moments(home.settings)] == [first.id, second.id]
    assert not [*home.backups.glob(WORK), *home.backups.rglob("*.tmp")]


@pytest.mark.parametrize("step", ["database", "file", "manifest"])
def test_a_full_disk_leaves_no_moment_and_the_earlier_ones(
    home: BackedUp, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    first = take(home).moment
    home.write(MODEL, "another model")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(home.backups / "files" / "ab"))

    def sqlite_full(*_: object, **__: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorname = "SQLITE_FULL"
        raise error

    places: dict[str, tuple[object, str, Callable[..., None]]] = {
        "database": (sqlite_files, "sqlite_trouble", sqlite_full),
        "file": (Contents, "_copied", full),
        "manifest": (taking, "write_manifest", full),
    }
    with monkeypatch.context() as patch:
        patch.setattr(*places[step])
        done = home("backup", "create", code=1)
    assert "No space is left on the disk of" in done.output
    assert moments(home.settings) == [first]
    assert not [*home.backups.glob(WORK), *home.backups.rglob("*.tmp")]
    assert take(home).moment.damaged == ()


def test_two_backups_at_once_do_not_meet(home: BackedUp) -> None:
    home.backups.mkdir()
    with only_one(home.backups / "backup.lock"), pytest.raises(BackupUnderWay, match="under way"):
        take(home)
    assert take(home).moment.damaged == ()


def test_a_flipped_byte_is_found_and_named(home: BackedUp) -> None:
    take(home)
    assert verify(home.settings).findings == []
    model, archive = content(home, MODEL), next(home.district.raw.glob("north/students/*/*.parquet"))
    stored = content(home, archive.relative_to(home.home).as_posix())
    flip(model)
    stored.unlink()
    findings = verify(home.settings).findings
    assert len(findings) == 3
    assert "create --full" in findings[-1]
    assert any(str(model) in said and "damaged" in said for said in findings)
    assert any(str(stored) in said and "gone" in said for said in findings)
    assert "3 findings" in home("backup", "verify", code=1).output


def test_what_is_damaged_in_the_backup_is_written_again(home: BackedUp) -> None:
    take(home)
    flip(content(home, MODEL))
    content(home, "edupulse.toml").unlink()
    assert take(home, full=True).moment.damaged == ()
    assert verify(home.settings).findings == []


def test_verify_goes_on_after_what_cannot_be_read(home: BackedUp, monkeypatch: pytest.MonkeyPatch) -> None:
    take(home)
    model, settings = content(home, MODEL), content(home, "edupulse.toml")
    read = Contents._read

    def read_or_not(self: Contents, sha256: str, writer: Any) -> None:
        if sha256 == model.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(model))
        if sha256 == settings.name:
            raise KeyUnusable(f"{settings} is encrypted with another key.")
        read(self, sha256, writer)

    monkeypatch.setattr(Contents, "_read", read_or_not)
    found = verify(home.settings)
    assert found.contents == len({file.sha256 for file in moments(home.settings)[-1].files})
    said = " ".join(found.findings)
    assert str(model) in said
    assert "another key" in said


def test_nothing_is_thrown_away_while_somebody_reads(home: BackedUp) -> None:
    home.set("[backup]\nretention = 'REDUNDANCY 1'\nkeep_at_least = 1\n")
    first = take(home).moment
    with not_retired(home.settings):
        assert take(home).retired == ()
        assert verify(home.settings).moments == 2
    assert first.id in take(home).retired


def test_a_moment_stays_whatever_base_backups_there_are(home: BackedUp) -> None:
    home.set("[backup]\nrestore_command = 'false'\n")
    there = [
        replace(moment_of(dt.date(2026, 1, day)), database="postgresql", base_backup=f"b{day}") for day in (17, 18)
    ]
    assert too_old(home.settings, there, dt.datetime(2026, 1, 18, 12, tzinfo=dt.UTC)) == []


def test_the_moment_is_there_although_older_ones_cannot_be_thrown_away(
    home: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(taking, "retire", refused)
    done = home("backup", "create", code=1)
    assert "Older moments could not be thrown away" in done.output
    assert len(moments(home.settings)) == 1


def test_with_a_key_no_database_lies_plain_where_backups_do(
    home: BackedUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyrage

    monkeypatch.setenv("EDUPULSE_KEY", str(pyrage.x25519.Identity.generate()))
    home.set(f"[backup]\nfolder = '{tmp_path / 'disk'}'\n")
    seen: list[Path] = []
    copy = taking.copy_sqlite

    def noted(source: Path, target: Path) -> None:
        seen.append(target)
        copy(source, target)

    monkeypatch.setattr(taking, "copy_sqlite", noted)
    moment = take(home).moment
    assert seen
    assert not [path for path in seen if path.is_relative_to(tmp_path / "disk")]
    assert not (home.home / WORK).exists()
    assert not [file for file in moment.files if file.name.startswith(WORK)]


def test_a_flipped_byte_in_a_manifest_is_no_moment_and_nothing_is_thrown_away_for_it(home: BackedUp) -> None:
    first = take(home).moment
    home.write(MODEL, "another model")
    second = take(home).moment
    model = content(home, MODEL)
    (manifest,) = home.backups.glob(f"moments/{second.id}.json")
    flip(manifest)
    there, unreadable = all_moments(home.settings)
    assert ([moment.id for moment in there], [one.id for one in unreadable]) == ([first.id], [second.id])
    assert str(manifest) in unreadable[0].why
    home.write(MODEL, "a third model")
    assert take(home).freed == 0
    assert model.exists()
    assert "damaged" in home("backup", "list", code=1).output
    assert "damaged" in home("backup", "status", code=1).output
    assert home("backup", "verify", code=1).output.count(str(manifest)) == 1


def moment_of(day: dt.date) -> Moment:
    at = dt.datetime.combine(day, dt.time(1), dt.UTC)
    facts: dict[str, Any] = {"package_version": "1", "schema_revision": None, "audit_head": None, "last_change": None}
    return Moment(id=f"{at:%Y%m%dT%H%M%SZ}", at=at, ended=at, database="sqlite", home="/home", **facts)


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ("retention = 'RECOVERY WINDOW OF 3 DAYS'", [16, 17, 18, 19]),
        ("retention = 'REDUNDANCY 3'", [17, 18, 19]),
        ("retention = 'REDUNDANCY 1'\nkeep_at_least = 2", [18, 19]),
        ("retention = 'RECOVERY WINDOW OF 1 DAYS'\nkeep_at_least = 5", [15, 16, 17, 18, 19]),
    ],
)
def test_moments_are_kept_as_long_as_base_backups(home: BackedUp, rule: str, kept: list[int]) -> None:
    home.set(f"[backup]\n{rule}\n")
    there = [moment_of(dt.date(2026, 1, day)) for day in range(10, 20)]
    old = too_old(home.settings, there, dt.datetime(2026, 1, 19, 12, tzinfo=dt.UTC))
    assert [moment.at.day for moment in there if moment not in old] == kept


def test_what_no_moment_names_any_more_is_thrown_away(home: BackedUp) -> None:
    home.set("[backup]\nretention = 'REDUNDANCY 1'\nkeep_at_least = 1\n")
    first = take(home).moment
    model = content(home, MODEL)
    home.write(MODEL, "another model")
    second = take(home)
    assert second.retired == (first.id,)
    assert not model.exists()
    assert content(home, MODEL).read_text() == "another model"
    assert verify(home.settings).findings == []


def test_status_tells_how_much_would_be_lost(home: BackedUp) -> None:
    assert "There is no moment" in home("backup", "status", code=1).output
    take(home)
    told = json.loads(home("backup", "status", "--json").stdout)
    assert told["moments"] == 1
    assert 0 <= told["rpo_seconds"] < 600
    assert told["warnings"] == []
    assert any("not encrypted" in note for note in told["notes"])
    (manifest,) = home.backups.glob("moments/*.json")
    manifest.rename(manifest.with_name(manifest.name))
    home.set("[backup]\nmax_age_hours = 1\n")
    from edupulse_pipelines.operations.backup.standing import standing

    late = standing(home.settings, dt.datetime.now(dt.UTC) + dt.timedelta(hours=3))
    assert [said for said in late.warnings if "3 hours old" in said]


def test_setup_compares_the_disk_with_the_home(home: BackedUp, monkeypatch: pytest.MonkeyPatch) -> None:
    from edupulse_pipelines.operations.backup import preparing

    home("backup", "setup")
    usage = preparing.shutil.disk_usage(home.home)
    monkeypatch.setattr(preparing.shutil, "disk_usage", lambda _path: usage._replace(free=100_000))
    told = json.loads(home("backup", "setup", "--json", code=1).stdout)
    assert not told["ready"]
    assert "The first moment takes about" in told["left"][0]


def test_backups_of_before_are_no_part_of_a_moment_and_are_named(home: BackedUp, tmp_path: Path) -> None:
    home.set("[backup]\nfolder = 'safe/place'\n")
    take(home)
    home.set("")
    take(home)
    home.set(f"[backup]\nfolder = '{tmp_path / 'disk'}'\n")
    moment = take(home).moment
    assert not [file.name for file in moment.files if file.name.startswith(("backups/", "safe/"))]
    assert "Earlier backups in the home are left out: backups, safe/place." in moment.left_out
    notes = json.loads(home("backup", "status", "--json").stdout)["notes"]
    for folder in ("backups", "safe/place"):
        assert [note for note in notes if f"{home.home / folder}, which [backup] folder does not name" in note]


def test_a_full_disk_of_sqlite_is_told_as_one(home: BackedUp, monkeypatch: pytest.MonkeyPatch) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = "SQLITE_FULL"

    def full(_path: Path) -> None:
        raise error

    monkeypatch.setattr(sqlite_files, "sqlite_trouble", full)
    with pytest.raises(DiskFull):
        sqlite_files.copy_sqlite(home.home / "edupulse.db", home.home / "copy.db")
    assert not (home.home / "copy.db").exists()
