"""The drill on PostgreSQL: what it restores and compares, what it finds, and that nothing of it stays."""

from __future__ import annotations

import datetime as dt
import errno
import multiprocessing
import os
import shutil
import signal
import stat
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edupulse_pipelines.errors import ConfigurationError, DatabaseBusy, DatabaseRefused, DatabaseUnavailable
from edupulse_pipelines.operations.backup import base_backups
from edupulse_pipelines.operations.recovery import drill as drilling
from edupulse_pipelines.operations.recovery import moment_files
from edupulse_pipelines.operations.recovery import scratch as scratch_folder
from edupulse_pipelines.operations.recovery.drills import drills
from edupulse_pipelines.operations.recovery.scratch import MARK, RestoredServer, clean, only_drill
from edupulse_pipelines.settings.drill import DrillSettings
from edupulse_pipelines_tests.operations.recovery.copies import Copies, ask
from edupulse_pipelines_tests.operations.recovery.primary import Primary

NO_AMCHECK = "Tables and indexes were not looked through: the extension amcheck is not installed."


@pytest.fixture
def live_files(primary: Primary, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The live files in the place of a moment's; the folder that they are taken from."""
    return files_in_place_of_a_moment(primary, monkeypatch)


def files_in_place_of_a_moment(primary: Primary, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = primary.settings.home

    def write_folder(_settings: object, _moment: object, name: str, to: Path) -> bool:
        shutil.copytree(home / name, to)
        return True

    moment = SimpleNamespace(id="m", at=dt.datetime.now(dt.UTC), files=())
    monkeypatch.setattr(moment_files, "newest", lambda _settings: moment)
    monkeypatch.setattr(moment_files, "write_folder", write_folder)
    return home


@pytest.fixture
def copies(primary: Primary, live_files: Path, monkeypatch: pytest.MonkeyPatch) -> Copies:
    """The primary's copies, in the place of Barman's."""
    return replace(primary.copies, restored=[]).installed(monkeypatch)


def flip(path: Path, at: int) -> None:
    """Change one byte of a file; a negative place counts from its end."""
    with path.open("r+b") as stream:
        stream.seek(at, os.SEEK_SET if at >= 0 else os.SEEK_END)
        byte = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte[0] ^ 0x55]))


def test_a_drill_restores_twice_compares_and_takes_everything_away(
    primary: Primary, copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    start = RestoredServer.start
    names = ("listen_addresses", "archive_mode", "primary_conninfo", "primary_slot_name", "shared_preload_libraries")

    def looked_at(server: RestoredServer) -> None:
        start(server)
        server.wait_until_recovered(1.0)
        folders = (server.data, server.data.parent, server.data.parent.parent, server.server.socket)
        seen.append([stat.S_IMODE(folder.stat().st_mode) for folder in folders])
        seen.append([ask(server.server, f"SELECT current_setting('{name}')") for name in names])

    monkeypatch.setattr(RestoredServer, "start", looked_at)
    done = primary.drill()
    assert done.findings == ()
    assert done.succeeded
    assert done.unproven == (NO_AMCHECK,)
    assert seen == [[0o700] * 4, ["", "off", "", "", ""]] * 2
    assert [target.kind for target in copies.restored] == ["point", "time"]
    assert (done.sizes["champions"], done.sizes["students_scored"], done.moment) == (1, 10, "m")
    assert done.sizes["rows"] > 100
    assert done.rto_seconds is not None
    assert done.rpo_seconds is not None
    assert {"note", "hash", "restore", "replay", "compare", "audit", "champion", "restore_between"} <= set(done.seconds)
    assert not primary.settings.drill_dir.exists()
    assert drills(primary.settings)[-1] == done


def damage_a_table(monkeypatch: pytest.MonkeyPatch, path: str, at: int = -20) -> None:
    """Flip a byte (of the first row) of a table or an index of the first restored copy, once it has replayed."""
    wait = RestoredServer.wait_until_recovered

    def damaged(server: RestoredServer, hours: float) -> None:
        wait(server, hours)
        if server.data.parent.name == "point":
            server.server.stop("fast")
            flip(server.data / path, at)
            server.start()

    monkeypatch.setattr(RestoredServer, "wait_until_recovered", damaged)


def test_a_flipped_byte_in_restored_data_and_in_a_model_are_named(
    primary: Primary, copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = moment_files.write_folder

    def damaged(settings: Any, moment: Any, name: str, to: Path) -> bool:
        there = whole(settings, moment, name, to)
        flip(next(to.rglob("model.skops")), -40)
        return there

    monkeypatch.setattr(moment_files, "write_folder", damaged)
    (said,) = primary.drill().findings
    assert "Champion 2025-01-06-abc of south is not the model that was logged: its files changed" in said
    damage_a_table(monkeypatch, str(ask(copies.server, "SELECT pg_relation_filepath('students')", "edupulse")))
    (said,) = primary.drill().findings
    assert said.startswith("Comparing every table and partition: students cannot be read to its end")
    assert not primary.settings.drill_dir.exists()


def test_an_unknown_restore_point_ends_the_server_that_had_started(
    primary: Primary, copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = copies.make_restore_point

    def another(settings: Any, name: str, **options: Any) -> Any:
        return replace(made(settings, name, **options), name="never-made")

    monkeypatch.setattr(base_backups, "make_restore_point", another)
    done = primary.drill()
    (said,) = done.findings
    assert said.startswith("Replaying to never-made: The restored server ended before its recovery had")
    assert "recovery ended before configured recovery target was reached" in said
    assert not primary.settings.drill_dir.exists()


def full(_settings: object, to: Path, _target: object) -> None:
    to.mkdir()
    raise OSError(errno.ENOSPC, "No space left on device", str(to / "base"))


@pytest.mark.parametrize("kind", ["seen before", "in the step"])
def test_a_full_disk_is_said_and_nothing_stays(
    primary: Primary, copies: Copies, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if kind == "seen before":
        copies.needed = 2**60
    else:
        monkeypatch.setattr(base_backups, "restore_database", full)
    (said,) = primary.drill().findings
    assert said.startswith("Restoring to edupulse-drill-")
    assert ("[drill] folder" if kind == "seen before" else "No space is left on the disk") in said
    assert not primary.settings.drill_dir.exists()


def test_a_second_drill_is_refused_by_name(primary: Primary, copies: Copies) -> None:
    before = drills(primary.settings)
    with only_drill(primary.settings), pytest.raises(DatabaseBusy, match=r"Another drill is under way \(process \d+"):
        primary.drill()
    assert drills(primary.settings) == before
    assert not primary.settings.drill_dir.exists()


def test_somebody_busy_and_a_server_that_does_not_answer_are_no_failed_drill(
    primary: Primary, copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = drills(primary.settings)
    for error in (DatabaseBusy("somebody writes"), DatabaseUnavailable("no answer")):

        def busy(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(base_backups, "make_restore_point", busy)
        with pytest.raises(type(error)):
            primary.drill()
    assert drills(primary.settings) == before
    assert not primary.settings.drill_dir.exists()


def test_a_disk_of_its_own_is_emptied_and_kept(primary: Primary, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = primary.settings.home / "disk"
    (folder / "lost+found").mkdir(parents=True)
    settings = primary.settings.model_copy(update={"drill": DrillSettings(folder=str(folder))})
    for killed in (False, True):
        with suppress(KeyboardInterrupt), only_drill(settings) as scratch:
            scratch.copy("point").mkdir()
            if killed:
                shutil.copytree(folder, folder.with_name("kept"))
                raise KeyboardInterrupt
        assert [path.name for path in folder.iterdir()] == ["lost+found"]
    assert {path.name for path in folder.with_name("kept").iterdir()} == {"lost+found", "point", MARK}
    killed_one = primary.settings.model_copy(update={"drill": DrillSettings(folder=str(folder.with_name("kept")))})
    assert clean(killed_one)
    assert [path.name for path in folder.with_name("kept").iterdir()] == ["lost+found"]
    file = folder / "lost+found" / "file"
    file.touch()
    nowhere = primary.settings.model_copy(update={"drill": DrillSettings(folder=str(file / "below"))})
    with (
        pytest.raises(ConfigurationError, match=r"cannot be used for a drill \(Not a directory\)"),
        only_drill(nowhere),
    ):
        raise AssertionError


def test_what_cannot_be_taken_away_goes_on_record(
    primary: Primary, copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(_settings: object, to: Path, _target: object) -> None:
        monkeypatch.setattr(scratch_folder, "_clean", failing)
        raise DatabaseRefused("not restored")

    def failing(folder: Path) -> bool:
        monkeypatch.undo()
        raise OSError(errno.EBUSY, "Device or resource busy", str(folder))

    monkeypatch.setattr(base_backups, "restore_database", busy)
    found = primary.drill().findings
    assert any("Taking the restored copies away: " in one for one in found), found
    assert drills(primary.settings)[-1].findings == found
    assert clean(primary.settings)


def test_a_folder_that_no_drill_made_is_left_alone(primary: Primary, copies: Copies) -> None:
    folder = primary.settings.home / "precious"
    folder.mkdir()
    (folder / "children.csv").touch()
    with pytest.raises(ConfigurationError, match="no drill made it"):
        primary.drill(drill=DrillSettings(folder=str(folder)))
    assert [path.name for path in folder.iterdir()] == ["children.csv"]


def test_a_killed_drill_is_cleaned_up_with_its_server(
    primary: Primary, copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = primary.settings.home / "reached"

    def wait(*_arguments: object) -> None:
        reached.touch()
        time.sleep(300)

    monkeypatch.setattr(drilling, "_compare", wait)
    process = multiprocessing.get_context("fork").Process(target=primary.drill)
    process.start()
    while not reached.exists():
        assert process.is_alive()
        time.sleep(0.05)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    folder = primary.settings.drill_dir
    server = int((folder / "point" / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
    os.kill(server, 0)
    assert (folder / MARK).exists()
    assert clean(primary.settings)
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)
    assert not clean(primary.settings)


@pytest.mark.heavy
def test_with_extensions_the_server_looks_through_its_tables(
    primary_with_contrib: Primary, monkeypatch: pytest.MonkeyPatch
) -> None:
    files_in_place_of_a_moment(primary_with_contrib, monkeypatch)
    copies = replace(primary_with_contrib.copies, restored=[]).installed(monkeypatch)
    done = primary_with_contrib.drill()
    assert (done.findings, done.unproven) == ((), ())
    assert "amcheck" in done.seconds
    # Its pages have no checksums: what differs is found by the hash, and damage of a page by amcheck.
    damage_a_table(monkeypatch, str(ask(copies.server, "SELECT pg_relation_filepath('students')", "edupulse")))
    found = primary_with_contrib.drill().findings
    assert any("students: as many rows" in one for one in found), found
    index = (
        "SELECT pg_relation_filepath(indexrelid) FROM pg_index WHERE NOT indisprimary AND indisunique"
        " AND indrelid = 'students'::regclass"
    )
    monkeypatch.undo()
    files_in_place_of_a_moment(primary_with_contrib, monkeypatch)
    copies.installed(monkeypatch)
    damage_a_table(monkeypatch, str(ask(copies.server, index, "edupulse")), at=-8)  # the level of the page in its tree
    found = primary_with_contrib.drill().findings
    assert any("pg_amcheck finds damage" in one for one in found), found


@pytest.mark.heavy
def test_a_drill_by_the_command_of_the_house_waits_for_its_archiver(
    primary: Primary, live_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = primary.copies
    monkeypatch.setenv("EDUPULSE_BACKUP_URL", primary.settings.database_url)
    script = primary.settings.home / "restore.sh"
    script.write_text(
        f"""set -e
        cp -a {copies.base}/. "$EDUPULSE_RESTORE_FOLDER"
        cd "$EDUPULSE_RESTORE_FOLDER"
        echo "restore_command = 'cp {copies.wal}/%f %p'" >> postgresql.auto.conf
        test $EDUPULSE_RESTORE_KIND = point && kind=name || kind=time
        echo "recovery_target_$kind = '$EDUPULSE_RESTORE_TARGET'" >> postgresql.auto.conf
        touch recovery.signal
        chmod a+r {copies.wal}/*
        """
    )
    backup = primary.settings.backup.model_copy(update={"restore_command": f"sh {script}"})
    ask(copies.server, f"ALTER SYSTEM SET archive_command = 'sleep 2; cp %p {copies.wal}/%f'")
    ask(copies.server, "SELECT pg_reload_conf()")
    try:
        done = primary.drill(backup=backup)
    finally:
        ask(copies.server, f"ALTER SYSTEM SET archive_command = 'cp %p {copies.wal}/%f'")
        ask(copies.server, "SELECT pg_reload_conf()")
    assert done.findings == ()
    assert done.seconds["arrive"] > 1.5
