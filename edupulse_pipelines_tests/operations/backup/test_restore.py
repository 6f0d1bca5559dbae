"""Bringing a home on SQLite back: what comes, what is refused before it begins, and who is not in it any more."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edupulse_pipelines import cli
from edupulse_pipelines.encryption.keyring import KeyRing, is_encrypted
from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.governance.erasure import erase
from edupulse_pipelines.operations.backup import after_restore, restoring
from edupulse_pipelines.operations.backup.contents import ContentDamaged
from edupulse_pipelines.operations.backup.moments import Moment, forget, moments, write_manifest
from edupulse_pipelines.operations.backup.restoring import Wanted, plan_restore
from edupulse_pipelines.operations.backup.taking import take_moment
from edupulse_pipelines.sizes_in_words import in_bytes
from edupulse_pipelines.storage import erased
from edupulse_pipelines.storage.database import database_of
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER
from edupulse_pipelines_tests.operations.backup.home import MODEL, BackedUp, files_of, flip, students

EVERYBODY = ["Lee", "Moss", "Ray"]


def take(home: BackedUp) -> Moment:
    return take_moment(home.settings, database_of(home.settings)).moment


def erase_student(home: BackedUp, number: str = "1002") -> None:
    asked: dict[str, Any] = {"reason": "asked", "approved_by": "another person", "execute": True}
    erase(home.district.work, home.district.raw, home.district.tenant, number, **asked)


def later_delivery(home: BackedUp) -> None:
    home.district.land(2, attendance_records=f"{ATTENDANCE_HEADER}\n1001,2025-09-09,present\n")
    home.district.run("attendance_records")


def told(output: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(output.splitlines()[-1])
    return facts


def lose(home: BackedUp, tmp_path: Path) -> Path:
    """Lose the home and keep its backups; where they are."""
    home.engine.dispose()
    backups = tmp_path / "kept"
    home.backups.rename(backups)
    shutil.rmtree(home.home)
    return backups


def test_a_home_comes_back_as_it_was(home: BackedUp, tmp_path: Path) -> None:
    take(home)
    before = files_of(home.home)
    done = home("backup", "restore", "--to", str(tmp_path / "back"), "--json")
    facts = told(done.stdout)
    assert (facts["in_order"], facts["lost"], facts["closed"]) == (True, {}, None)
    back = files_of(tmp_path / "back")
    same = {name for name, data in back.items() if before.get(name) == data}
    assert {name for name in back if name.startswith("raw/")} | {MODEL, "edupulse.toml"} <= same
    assert students(tmp_path / "back") == EVERYBODY
    assert files_of(home.home) == before  # the live one is only read
    assert (tmp_path / "back" / "north" / "landing").is_dir()
    home("db", "check", home=tmp_path / "back")
    home("backup", "create", home=tmp_path / "back")


def test_a_restored_home_knows_that_there_is_a_backup_of_it(home: BackedUp, tmp_path: Path) -> None:
    assert restoring.restored_from(home.home) is None
    moment = take(home)
    home("backup", "restore", "--to", str(tmp_path / "back"))
    restored = BackedUp(tmp_path / "back")
    assert moments(restored.settings) == []
    assert restoring.restored_from(restored.home) == moment.at  # `db adopt --finish` wants no other
    restored.engine.dispose()


def test_paths_of_models_lead_into_the_restored_home(home: BackedUp, tmp_path: Path) -> None:
    with closing(sqlite3.connect(home.home / "mlflow" / "mlflow.db")) as store, store:
        places = [(1, home.home.as_uri() + "/mlflow/artifacts/north"), (2, home.home.as_uri() + "er/mlflow/x")]
        for number, place in places:
            store.execute(
                "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage)"
                " VALUES (?, ?, ?, 'active')",
                (number, f"e{number}", place),
            )
    take(home)
    home("backup", "restore", "--to", str(tmp_path / "back"))
    with closing(sqlite3.connect(tmp_path / "back" / "mlflow" / "mlflow.db")) as store:
        found = dict(store.execute("SELECT experiment_id, artifact_location FROM experiments WHERE experiment_id > 0"))
    assert found == {1: (tmp_path / "back").as_uri() + "/mlflow/artifacts/north", 2: places[1][1]}


def test_before_it_begins_it_says_what_it_takes(home: BackedUp, tmp_path: Path) -> None:
    moment = take(home)
    done = home("backup", "restore", "--to", str(tmp_path / "back"), "--dry-run")
    assert moment.id in done.output
    assert f"{len(moment.files)} files" in done.output
    assert "iB" in done.output
    assert not (tmp_path / "back").exists()


def test_a_time_a_change_a_run_and_a_point_choose_the_moment(home: BackedUp, tmp_path: Path) -> None:
    first = take(home)
    run = "11111111-2222-3333-4444-555555555555"
    work = replace(home.district.work, run_id=run)
    with work.writing() as connection:
        connection.exec_driver_sql("UPDATE students SET first_name = 'Anna' WHERE district_id = '1001'")
    second = take(home)
    assert second.last_change is not None

    def chosen(**wanted: Any) -> str:
        return plan_restore(home.settings, tmp_path / "back", Wanted(**wanted)).moment.id

    assert chosen() == second.id
    assert chosen(change=str(second.last_change)) == first.id
    assert chosen(change=str(second.last_change + 1)) == second.id
    assert chosen(change=run) == first.id
    assert chosen(point=first.id) == first.id
    assert chosen(time=second.at) == second.id
    assert chosen(time=second.at - dt.timedelta(microseconds=1)) == first.id
    said = plan_restore(home.settings, tmp_path / "back", Wanted(change=run)).chosen
    assert "newest moment before the run" in said
    with pytest.raises(PermanentError, match="the oldest is"):
        chosen(time=first.at - dt.timedelta(seconds=1))
    with pytest.raises(PermanentError, match="is still to come"):
        chosen(time=dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))
    with pytest.raises(PermanentError, match="Every moment already holds change 1"):
        chosen(change="1")
    with pytest.raises(PermanentError, match="No change of a run"):
        chosen(change="another run")
    with pytest.raises(PermanentError, match="no moment 'x'"):
        chosen(point="x")
    backups = lose(home, tmp_path)  # then the newest moment's database knows the run
    done = home("backup", "restore", "--to", str(tmp_path / "back"), "--from", str(backups), "--before-change", run)
    assert first.id in done.output


@pytest.mark.parametrize("part", ["files", "database"])
def test_only_a_part_comes_back(home: BackedUp, tmp_path: Path, part: str) -> None:
    take(home)
    home("backup", "restore", "--to", str(tmp_path / "back"), "--only", part)
    names = set(files_of(tmp_path / "back"))
    assert ("edupulse.db" in names) == (part == "database")
    assert (MODEL in names) == (part == "files")


def test_what_was_delivered_since_is_named(home: BackedUp, tmp_path: Path) -> None:
    first = take(home)
    later_delivery(home)
    done = home("backup", "restore", "--to", str(tmp_path / "back"))
    assert "north: delivered since, and to be landed again: 2025-09-15." in done.output
    take(home)
    backups = lose(home, tmp_path)
    point = ["--from", str(backups), "--point", first.id]
    facts = told(home("backup", "restore", "--to", str(tmp_path / "again"), *point, "--json").stdout)
    newest = home_of(backups, home).at.isoformat(timespec="seconds")
    assert (facts["lost"], facts["lost_unknown_since"]) == ({"north": ["2025-09-15"]}, newest)


def home_of(backups: Path, home: BackedUp) -> Moment:
    """The newest moment of backups that lie elsewhere."""
    settings = home.settings
    backup = settings.backup.model_copy(update={"folder": str(backups)})
    return moments(settings.model_copy(update={"backup": backup}))[-1]


def test_without_the_live_database_nobody_knows_what_was_delivered_since(home: BackedUp, tmp_path: Path) -> None:
    take(home)
    backups = lose(home, tmp_path)
    words = ("backup", "restore", "--from", str(backups), "--to")
    facts = told(home(*words, str(tmp_path / "back"), "--json", code=1).stdout)
    assert facts["lost"] is None
    assert facts["lost_unknown_since"] is not None
    said = " ".join(home(*words, str(tmp_path / "again"), code=1).output.split())
    assert "nobody knows: land again everything that came since" in said
    assert "No delivery has been lost" not in said


def test_a_target_that_is_in_use_is_refused_and_left_alone(home: BackedUp, tmp_path: Path) -> None:
    take(home)
    full, server, file = tmp_path / "full", tmp_path / "server", tmp_path / "file"
    full.mkdir()
    (full / "something").write_text("mine")
    server.mkdir()
    (server / "postmaster.pid").write_text("1")
    file.write_text("mine")
    for target, said in (
        (full, "not empty"),
        (server, "in use"),
        (file, "is a file"),
        (home.home, "in the home"),
        (home.home / "below", "in the home"),
        (home.backups / "below", "in the"),
    ):
        before = files_of(target) if target.is_dir() else {}
        done = home("backup", "restore", "--to", str(target), code=1)
        assert said in " ".join(done.output.split())
        assert (files_of(target) if target.is_dir() else {}) == before
    assert file.read_text() == "mine"
    done = home("backup", "restore", "--to", "postgresql://somewhere/x", code=1)
    assert "No moment holds a dump, as they are of a SQLite home" in " ".join(done.output.split())
    for to, said in (("", "name a folder"), ("sqlite:////x.db", "is brought back into a folder")):
        assert said in " ".join(home("backup", "restore", "--to", to, code=2).output.split())
    done = home("backup", "restore", "--to", "postgresql://me:hidden@somewhere/x", code=2)
    assert "a password on a command line" in " ".join(done.output.split())
    assert "hidden" not in done.output
    done = home("backup", "create", "--dump", code=2)
    assert "nothing to dump" in " ".join(done.output.split())


def test_a_disk_that_is_too_small_is_told_before_it_begins(
    home: BackedUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(home)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(restoring.shutil, "disk_usage", lambda _path: usage._replace(free=1_000_000))
    done = home("backup", "restore", "--to", str(tmp_path / "back"), code=1)
    assert "976.6 KiB free. Nothing was written." in " ".join(done.output.split())
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("step", ["written", "looked at"])
def test_a_full_disk_takes_a_restore_away_and_it_is_said_again(
    home: BackedUp, small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    moment = take(home)
    disk = small_disk(700 if step == "written" else 20_000)  # the database is larger than the one
    to = disk / "back" if step == "written" else disk

    def ended(*_: object) -> None:
        """As a server ends that has no room to replay in: it does not say why."""
        with suppress(OSError), (to / "replayed").open("wb", buffering=0) as stream:
            while stream.write(bytes(1 << 16)):
                pass
        raise PermanentError("The restored server ended")

    with monkeypatch.context() as patch:
        patch.setattr(restoring, "_demand_room", lambda _plan: None)  # there was room when it was asked
        if step == "looked at":
            patch.setattr(after_restore, "read_facts", ended)
        said = " ".join(home("backup", "restore", "--to", str(to), code=1).output.split())
    assert f"No space is left on the disk of {to}" in said
    assert "What was restored is taken away again: free some and restore again." in said
    assert f"It takes {in_bytes(moment.bytes)} in {to}." in said
    assert list(disk.iterdir()) == []
    small_disk(100_000)
    home("backup", "restore", "--to", str(to))
    assert students(to) == EVERYBODY


@pytest.mark.parametrize("trouble", ["model flipped", "archive gone"])
def test_damage_ends_a_restore_by_name_and_what_there_is_stays_closed(
    home: BackedUp, tmp_path: Path, trouble: str
) -> None:
    moment = take(home)
    name = MODEL if trouble == "model flipped" else next(f.name for f in moment.files if f.name.endswith(".parquet"))
    stored = moment.file(name)
    assert stored is not None
    path = home.backups / "files" / stored.sha256[:2] / stored.sha256
    flip(path) if trouble == "model flipped" else path.unlink()
    done = home("backup", "restore", "--to", str(tmp_path / "back"), code=1)
    assert str(path) in "".join(done.output.split("\n"))
    assert not (tmp_path / "back" / name).exists()
    assert "is closed" in home("quarantine", "list", home=tmp_path / "back", code=1).output
    assert "not finished" in home("backup", "restore", "--to", str(tmp_path / "back"), code=1).output


def test_a_restore_that_was_killed_is_not_taken_for_a_home(
    home: BackedUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(home)
    back = tmp_path / "back"

    class Killed(BaseException):
        """As if the process had ended."""

    def killed(*_: object) -> None:
        raise Killed

    plan = plan_restore(home.settings, back, Wanted())
    monkeypatch.setattr(restoring, "sqlite_trouble", killed)
    with pytest.raises(Killed):
        restoring.restore(home.settings, plan)
    for words in (("quarantine", "list"), ("list",), ("students", "list")):
        said = " ".join(home(*words, home=back, code=1).output.split())
        assert "being restored, or a restore of it was stopped" in said
    assert "not whole" in home("backup", "open", "--reason", "why not", home=back, code=1).output
    assert "not finished" in home("backup", "restore", "--to", str(back), code=1).output


def test_a_newer_schema_is_refused_and_an_older_one_upgraded(home: BackedUp, tmp_path: Path) -> None:
    moment = take(home)
    write_manifest(home.settings, replace(moment, id="20300101T000000Z", at=moment.at, schema_revision="9999"))
    done = home("backup", "restore", "--to", str(tmp_path / "back"), "--point", "20300101T000000Z", code=1)
    assert "schema revision 9999" in " ".join(done.output.split())
    assert not (tmp_path / "back").exists()
    forget(home.settings, "20300101T000000Z")
    with closing(sqlite3.connect(home.home / "edupulse.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0012'")
    take(home)
    done = home("backup", "restore", "--to", str(tmp_path / "old"), code=1)
    assert "0012" in done.output
    assert not (tmp_path / "old" / "edupulse.db.closed").exists()


def test_a_home_of_the_first_schema_can_be_backed_up_before_it_is_upgraded(home: BackedUp, tmp_path: Path) -> None:
    from edupulse_pipelines.schema import migrations
    from edupulse_pipelines.storage.engine import create_engine, writing

    home.engine.dispose()
    (home.home / "edupulse.db").unlink()
    engine = create_engine(f"sqlite:///{home.home / 'edupulse.db'}")
    with writing(engine) as connection:
        migrations.run_versions(connection, "0001")
    engine.dispose()
    moment = moment_of_old(home)
    assert (moment.schema_revision, moment.audit_head, moment.erasures) == ("0001", None, {})
    home("backup", "restore", "--to", str(tmp_path / "back"), code=1)
    home("db", "upgrade", home=tmp_path / "back")
    home("db", "check", home=tmp_path / "back")


def moment_of_old(home: BackedUp) -> Moment:
    home("backup", "create")
    return moments(home.settings)[-1]


# Erasures


def test_who_was_erased_since_is_erased_again(home: BackedUp, tmp_path: Path) -> None:
    before = take(home)
    erase_student(home)
    facts = told(home("backup", "restore", "--to", str(tmp_path / "back"), "--json").stdout)
    assert facts["moment"] == before.id
    assert facts["erased"]["students erased again"] == 1
    assert facts["in_order"]
    assert students(tmp_path / "back") == ["Lee", "Moss"]
    assert not [name for name, data in files_of(tmp_path / "back").items() if b"Bertram" in data]
    assert home("audit", "verify", home=tmp_path / "back").exit_code == 0
    live = (home.home / erased.KEY_FILE).read_bytes()
    assert (tmp_path / "back" / erased.KEY_FILE).read_bytes() == live
    # What is landed again leaves the student out.
    district = BackedUp(tmp_path / "back").district
    district.land(1, students=(home.district.landing / "2025-09-08" / "students.csv").read_bytes())
    district.run("students")
    assert students(tmp_path / "back") == ["Lee", "Moss"]


def test_without_the_live_home_the_newest_moment_knows_who(home: BackedUp, tmp_path: Path) -> None:
    before = take(home)
    erase_student(home)
    take(home)
    backups = lose(home, tmp_path)
    words = ("backup", "restore", "--to", str(tmp_path / "back"), "--from", str(backups), "--point", before.id)
    facts = told(home(*words, "--json").stdout)
    assert facts["erased"]["students erased again"] == 1
    assert students(tmp_path / "back") == ["Lee", "Moss"]


def test_without_the_live_home_the_newest_moment_itself_stays_closed(home: BackedUp, tmp_path: Path) -> None:
    take(home)
    backups = lose(home, tmp_path)
    done = home("backup", "restore", "--to", str(tmp_path / "back"), "--from", str(backups), code=1)
    assert "who has been erased since cannot be known" in " ".join(done.output.split())
    assert "is closed" in home("students", "list", home=tmp_path / "back", code=1).output
    home("backup", "open", "--reason", "nobody was, says the office", home=tmp_path / "back")
    assert students(tmp_path / "back") == EVERYBODY


def test_the_notes_of_the_live_home_say_who_also_without_its_database(home: BackedUp, tmp_path: Path) -> None:
    erase_student(home, "1003")
    take(home)
    erase_student(home)
    home.engine.dispose()
    (home.home / "edupulse.db").unlink()
    facts = told(home("backup", "restore", "--to", str(tmp_path / "back"), "--json").stdout)
    assert facts["erased"]["students erased again"] == 1
    assert facts["lost_unknown_since"] is not None
    assert len(students(tmp_path / "back")) == 1


def test_where_nobody_can_know_it_stays_closed_to_all_but_the_keeper(home: BackedUp, tmp_path: Path) -> None:
    before = take(home)
    erase_student(home)
    newest = take(home)
    backups = lose(home, tmp_path)
    flip(backups / "moments" / f"{newest.id}.json")
    back = tmp_path / "back"
    words = ("backup", "restore", "--to", str(back), "--from", str(backups), "--point", before.id)
    done = home(*words, code=1)
    assert "who has been erased since cannot be known" in " ".join(done.output.split())
    for reading in (
        ("list",),
        ("students", "list"),
        ("quarantine", "list"),
        ("privacy", "inspect", "1001", "--out", "x"),
    ):
        assert "is closed" in home(*reading, home=back, code=1).output
    home("db", "check", home=back)
    by = ("--reason", "erased before", "--approved-by", "another person", "--execute")
    home("privacy", "erase", "1002", *by, home=back)
    home("backup", "open", "--reason", "erased again by the list of the office", home=back)
    assert students(back) == ["Lee", "Moss"]
    home("students", "list", home=back)
    assert "not closed" in home("backup", "open", "--reason", "again", home=back, code=1).output
    assert json.loads((back / "opened.jsonl").read_text())["reason"].startswith("erased again")


def test_it_is_not_opened_over_the_erased_unless_somebody_says_so(home: BackedUp, tmp_path: Path) -> None:
    from edupulse_pipelines.governance import holds

    holds.place(home.district.work, "1002", "court order")
    before = take(home)
    holds.release(home.district.work, "1002")
    erase_student(home)
    (note,) = (home.home / "erasures" / "north").glob("*.json")
    back = tmp_path / "back"
    home("backup", "restore", "--to", str(back), "--point", before.id, code=1)
    by = ("backup", "open", "--reason", "the office wants it")
    said = " ".join(home(*by, home=back, code=1).output.split())
    assert f"1 students who were erased are in it again (erasures {note.stem})" in said
    assert "1002" not in said.replace(note.stem, "")
    key = back / "privacy.key"
    kept = key.read_bytes()
    key.unlink()
    assert "cannot be seen" in " ".join(home(*by, home=back, code=1).output.split())
    key.write_bytes(kept)
    assert "is closed" in home("students", "list", home=back, code=1).output
    facts = json.loads(home(*by, "--with-erased", "--json", home=back).stdout)
    assert (facts["erased_students_in_it"], facts["erasures"]) == (1, [note.stem])
    assert json.loads((back / "opened.jsonl").read_text())["erasures"] == [note.stem]
    home("students", "list", home=back)


def test_a_hold_that_the_backup_has_keeps_it_closed(home: BackedUp, tmp_path: Path) -> None:
    from edupulse_pipelines.governance import holds

    holds.place(home.district.work, "1002", "court order")
    take(home)
    holds.release(home.district.work, "1002")
    erase_student(home)
    done = home("backup", "restore", "--to", str(tmp_path / "back"), code=1)
    assert "legal hold" in " ".join(done.output.split())
    assert "is closed" in home("students", "list", home=tmp_path / "back", code=1).output


def test_certificates_name_the_newest_moment(home: BackedUp) -> None:
    from edupulse_pipelines.operations.backup.moments import last_backup

    assert last_backup(home.settings) is None
    moment = take(home)
    assert last_backup(home.settings) == f"{moment.id}, of {moment.at.isoformat(timespec='seconds')}"


# Encryption


@pytest.fixture
def key(home: BackedUp) -> Path:
    """The operator's key, outside of the home; the home is encrypted from now on."""
    import pyrage

    path = home.home.parent / "operator.key"
    path.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    home.set(f"[encryption]\nkey_file = '{path}'\n")
    return path


def test_with_a_key_nothing_of_a_moment_lies_there_plain(home: BackedUp, key: Path, tmp_path: Path) -> None:
    assert home("backup", "create").exit_code == 0
    stored = files_of(home.backups)
    assert not [name for name, data in stored.items() if b"Bertram" in data or b"students.csv" in data]
    assert all(name.endswith(".age") or name.endswith(".lock") for name in stored)
    home("backup", "verify")
    home("backup", "restore", "--to", str(tmp_path / "back"))
    assert students(tmp_path / "back") == EVERYBODY
    backups = lose(home, tmp_path)  # the key of the home is kept beside the moments
    os.environ.pop("EDUPULSE_KEY", None)
    done = home("backup", "list", "--from", str(backups), code=1)
    assert "is encrypted, and no key is set" in " ".join(done.output.split())


def test_the_right_key_brings_a_lost_home_back_and_another_one_does_not(
    home: BackedUp, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyrage

    home("backup", "create")
    backups = lose(home, tmp_path)
    words = ("backup", "restore", "--from", str(backups), "--to")
    monkeypatch.setenv("EDUPULSE_KEY", str(pyrage.x25519.Identity.generate()))
    done = home(*words, str(tmp_path / "wrong"), code=1)
    assert "is not the one of" in " ".join(done.output.split())
    assert not (tmp_path / "wrong").exists()
    monkeypatch.setenv("EDUPULSE_KEY", key.read_text().strip())
    home(*words, str(tmp_path / "back"), code=1)  # nobody knows who was erased since
    assert students(tmp_path / "back") == EVERYBODY


def test_a_flipped_byte_in_an_encrypted_content_is_named(home: BackedUp, key: Path, tmp_path: Path) -> None:
    home("backup", "create")
    stored = moments(home.settings)[-1].file(MODEL)
    assert stored is not None
    path = home.backups / "files" / stored.sha256[:2] / f"{stored.sha256}.age"
    flip(path)
    assert str(path) in "".join(home("backup", "verify", code=1).output.split("\n"))
    with pytest.raises(ContentDamaged, match="damaged or cut off"):
        restoring.restore(home.settings, plan_restore(home.settings, tmp_path / "back", Wanted()))


# Keys that were lost, put in place of another, or replaced


def new_key_of(home: BackedUp) -> bytes:
    return (home.home / "keys" / "_home.age").read_bytes()


def test_a_home_that_lost_its_key_takes_it_from_its_backups(home: BackedUp, key: Path, tmp_path: Path) -> None:
    home("backup", "create")
    before = new_key_of(home)
    shutil.rmtree(home.home / "keys")
    home("backup", "create")
    assert new_key_of(home) == before
    assert (home.backups / "keys" / "_home.age").read_bytes() == before
    home("backup", "verify")
    for moment in moments(home.settings):
        home("backup", "restore", "--to", str(tmp_path / moment.id), "--point", moment.id)


def test_a_key_that_is_made_between_two_moments_is_kept_at_once(home: BackedUp, key: Path) -> None:
    from edupulse_pipelines.encryption.keyring import key_ring

    home("backup", "create")
    copies = home.backups / "keys"
    assert [path.stem for path in copies.glob("*.age")] == ["_home"]
    ring = key_ring(home.settings)
    ring.key_for_writing("north")
    assert (copies / "north.age").read_bytes() == ring.path_of("north").read_bytes()
    # Where whoever loads may not write, it is told, and the next moment copies it.
    shutil.rmtree(copies)
    copies.touch()
    ring.key_for_writing("south")
    copies.unlink()
    told_of = json.loads(home("backup", "status", "--json", code=1).stdout)["warnings"]
    assert any("_home, north, south are in the home alone" in sentence for sentence in told_of)
    home("backup", "create")
    assert {path.stem for path in copies.glob("*.age")} == {"_home", "north", "south"}
    home("backup", "status")


def test_no_new_key_is_made_where_backups_need_one_that_is_gone(home: BackedUp, key: Path) -> None:
    home("keys", "apply")
    home("backup", "create")
    kept = {path: path.read_bytes() for path in (home.home / "keys").iterdir()}
    (home.home / "keys" / "_home.age").unlink()
    (home.backups / "keys" / "_home.age").unlink()
    said = " ".join(home("backup", "create", code=1).output.split())
    assert "are encrypted with this key: put one of them back" in said
    assert not (home.home / "keys" / "_home.age").exists()
    ring = KeyRing(home.home, key)
    ring.key_for_writing("_home")  # made by an export, say
    said = " ".join(home("backup", "create", code=1).output.split())
    assert "are encrypted with another key" in said
    assert not (home.backups / "keys" / "_home.age").exists()
    for path, content in kept.items():
        path.write_bytes(content)
    home("backup", "create")
    home("backup", "verify")


def test_a_home_that_lost_all_keys_takes_those_that_it_needs_from_its_backups(home: BackedUp, key: Path) -> None:
    home("keys", "apply")
    home("backup", "create")
    kept = files_of(home.home / "keys")
    assert set(kept) == {"_home.age", "north.age"}
    shutil.rmtree(home.home / "keys")
    said = " ".join(home("keys", "check", code=1).output.split())
    assert f"Copy {home.backups / 'keys' / 'north.age'} there" in said
    said = " ".join(home("backup", "create").output.split())
    assert "north.age was gone, and has been brought back" in said
    assert files_of(home.home / "keys") == kept
    home("keys", "check", "--thorough")
    for folder in (home.home, home.backups):
        (folder / "keys" / "north.age").unlink()
    assert "nobody can read them" in " ".join(home("backup", "create").output.split())


def test_a_wrong_key_of_the_operator_is_called_that(
    home: BackedUp, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyrage

    home("backup", "create")
    monkeypatch.setenv("EDUPULSE_KEY", str(pyrage.x25519.Identity.generate()))
    for words in (("verify",), ("list",), ("restore", "--to", str(tmp_path / "back"))):
        said = " ".join(home("backup", *words, code=1).output.split())
        assert "the operator's key from EDUPULSE_KEY is not the one of" in said
        assert "put the key file of its time there" not in said


def test_the_copy_of_a_districts_key_is_not_put_away_for_another(home: BackedUp, key: Path) -> None:
    home("keys", "apply")
    home("backup", "create")
    copy = home.backups / "keys" / "north.age"
    before = copy.read_bytes()
    (home.home / "keys" / "north.age").unlink()
    (home.home / "raw").rename(home.home.parent / "raw-away")
    KeyRing(home.home, key).key_for_writing("north")
    said = " ".join(home("backup", "create", code=1).output.split())
    assert "holds another key" in said
    assert copy.read_bytes() == before
    copy.unlink()  # it is not to be read again
    (home.home.parent / "raw-away").rename(home.home / "raw")
    home("backup", "create")
    assert copy.read_bytes() == (home.home / "keys" / "north.age").read_bytes()


def test_after_a_rotation_moments_of_before_come_back_whole(home: BackedUp, key: Path, tmp_path: Path) -> None:
    home("keys", "apply")
    home("backup", "create")
    home("keys", "rotate")
    erase_by_command(home)
    done = home("backup", "restore", "--to", str(tmp_path / "back"), "--json")
    assert told(done.stdout)["erased"]["students erased again"] == 1
    assert students(tmp_path / "back") == ["Lee", "Moss"]
    archived = list((tmp_path / "back" / "raw").rglob("*.parquet"))
    assert archived
    assert all(is_encrypted(path) for path in archived)
    home("keys", "check", "--thorough", home=tmp_path / "back")
    backups = lose(home, tmp_path)
    words = ("--home", str(home.home), "--from", str(backups))
    env = {"EDUPULSE_KEY": next(line for line in key.read_text().splitlines() if line.startswith("AGE"))}
    listed = CliRunner(env=env).invoke(cli.main, ["backup", "list", *words])
    assert listed.exit_code == 0, listed.output
    again = CliRunner(env=env).invoke(cli.main, ["backup", "restore", "--to", str(tmp_path / "again"), *words])
    assert again.exit_code == 1, again.output
    assert "who has been erased since cannot be known" in " ".join(again.output.split())


def erase_by_command(home: BackedUp, number: str = "1002") -> None:
    home("privacy", "erase", number, "--reason", "asked", "--approved-by", "another person", "--execute")


def test_a_district_is_forgotten_in_backups_by_one_small_file(home: BackedUp, key: Path, tmp_path: Path) -> None:
    home("keys", "apply")
    home("backup", "create")
    assert not [file for file in moments(home.settings)[-1].files if file.name.startswith("keys/")]
    (home.home / "keys" / "north.age").unlink()
    (home.backups / "keys" / "north.age").unlink()
    home("backup", "restore", "--to", str(tmp_path / "back"))
    assert [path.name for path in (tmp_path / "back" / "keys").iterdir()] == ["_home.age"]
    home("keys", "check", "--thorough", home=tmp_path / "back", code=1)


def test_a_restore_says_that_the_operators_key_is_not_in_it(home: BackedUp, tmp_path: Path) -> None:
    import pyrage

    (home.home / "operator.key").write_text(f"{pyrage.x25519.Identity.generate()}\n")
    home.set('[encryption]\nkey_file = "operator.key"\n')
    home("backup", "create")
    said = " ".join(home("backup", "restore", "--to", str(tmp_path / "back")).output.split())
    assert "which is not there: put it there" in said


def test_what_lay_plain_before_the_key_is_told_and_encrypted(home: BackedUp, tmp_path: Path) -> None:
    import pyrage

    take(home)
    path = home.home.parent / "operator.key"
    path.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    home.set(f"[encryption]\nkey_file = '{path}'\n")
    home("backup", "create")
    facts = told(home("backup", "status", "--json").stdout)
    assert not facts["encrypted"]
    assert any("lie there plain" in note for note in facts["notes"])
    home("keys", "apply")
    assert all(name.endswith((".age", ".lock")) for name in files_of(home.backups))
    assert told(home("backup", "status", "--json").stdout)["encrypted"]
    home("backup", "verify")
    home("backup", "restore", "--to", str(tmp_path / "back"), "--point", moments(home.settings)[0].id)


# Who was erased, where not everything is there that says so


def test_one_note_is_not_taken_for_all(home: BackedUp, tmp_path: Path) -> None:
    take(home)
    erase_student(home, "1002")
    erase_student(home, "1003")
    next((home.home / erased.FOLDER).glob("*/*.json")).unlink()
    said = " ".join(home("backup", "restore", "--to", str(tmp_path / "back"), code=1).output.split())
    assert "the notes of 1 erasures are gone" in said
    assert (tmp_path / "back" / "edupulse.db.closed").exists()


def test_an_older_moment_without_the_live_home_says_what_cannot_be_known(home: BackedUp, tmp_path: Path) -> None:
    first = take(home)
    take(home)
    backups = lose(home, tmp_path)
    words = ("backup", "restore", "--to", str(tmp_path / "back"), "--from", str(backups), "--point", first.id)
    assert "Whoever was erased after" in home(*words).output


def test_a_home_that_was_made_anew_is_not_asked_who_was_erased(
    home: BackedUp, tmp_path: Path, _sqlite_template: Path
) -> None:
    take(home)
    backups = lose(home, tmp_path)
    home.home.mkdir()
    shutil.copy(_sqlite_template, home.home / "edupulse.db")
    home.set("")
    done = home("backup", "restore", "--to", str(tmp_path / "back"), "--from", str(backups), code=1)
    assert "who has been erased since cannot be known" in " ".join(done.output.split())


def test_the_database_alone_stays_closed_where_somebody_was_erased_since(home: BackedUp, tmp_path: Path) -> None:
    take(home)
    erase_student(home)
    said = home("backup", "restore", "--to", str(tmp_path / "back"), "--only", "database", code=1).output
    assert "only the database was restored" in " ".join(said.split())
    files = told(home("backup", "restore", "--to", str(tmp_path / "files"), "--only", "files", "--json").stdout)
    assert files["closed"] is None
    assert list((tmp_path / "files" / erased.FOLDER).glob("*/*.json"))


def test_files_alone_come_back_without_whoever_was_erased_since(home: BackedUp, tmp_path: Path) -> None:
    take(home)
    erase_student(home)
    facts = told(home("backup", "restore", "--to", str(tmp_path / "back"), "--only", "files", "--json").stdout)
    assert (facts["erased"]["erasures since"], facts["lost"]) == (1, None)
    assert facts["erased"]["archived files"] == 2
    live, back = files_of(home.home / "raw"), files_of(tmp_path / "back" / "raw")
    assert back == live  # so that they can be put in the place of damaged ones


def test_files_alone_stay_closed_while_a_refused_file_may_hold_the_erased(home: BackedUp, tmp_path: Path) -> None:
    home.district.land(2, grades=b"\xff\x00Bertram 1002")
    home.district.run("grades")
    take(home)
    erase_student(home)
    said = home("backup", "restore", "--to", str(tmp_path / "back"), "--only", "files", code=1).output
    assert "1 students were. Their rows are out of the archives, but 1 refused files" in " ".join(said.split())
