"""Base backups where something is wrong: the receiver, the slot, the disk, a key; and those that other tools take."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edupulse_pipelines.errors import ConfigurationError, DiskFull, PermanentError
from edupulse_pipelines.operations.backup import barman_backups, barman_restore, barman_setup, wal
from edupulse_pipelines.operations.backup.barman import server_folder
from edupulse_pipelines.operations.backup.barman_configuration import slot_of, write_configuration
from edupulse_pipelines.operations.backup.barman_setup import (
    AS_ADMINISTRATOR,
    AS_THIS_USER,
    IN_CRONTAB,
    IN_HBA,
    set_up_barman,
)
from edupulse_pipelines.operations.backup.barman_verify import files_of_manifest
from edupulse_pipelines.operations.backup.base_backups import (
    Target,
    base_backups,
    cannot_lead_to_now,
    make_restore_point,
    restore_database,
    restore_plan,
    restore_points,
    take_base_backup,
    target_before_change,
    verify_base_backups,
    wal_state,
)
from edupulse_pipelines.settings import Settings
from edupulse_pipelines_tests.operations.backed_up import DATABASE, GRANTS, backed_up_server, run_sql, started_copy
from edupulse_pipelines_tests.operations.test_base_backups import (
    RUN,
    add_day,
    damaged,
    days,
    lived_through,
    segment_after,
    settings_for,
)
from edupulse_pipelines_tests.servers import new_server

pytestmark = pytest.mark.heavy


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that the server's user gets through."""
    folder = Path(tempfile.mkdtemp(prefix="edupulse-restored-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """For the block, the folder is a disk of its own with so much space."""
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0711", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode != 0:
        pytest.skip("lacks the right to mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_server_without_increments_is_restored_to_each_target(place: Path) -> None:
    with backed_up_server("debian", schema=True) as backed:
        history = lived_through(backed)
        assert history.newest.kind == "full"
        wanted = {
            "latest": (Target.latest(), [1, 2, 3, 4, 5]),
            "run": (target_before_change(backed.settings, RUN), [1, 2]),
            "point": (Target.named(history.point.name), [1]),
            "time": (Target.at(history.between), [1, 2]),
        }
        for name, (target, expected) in wanted.items():
            restore_database(backed.settings, place / name, target)
            with started_copy(backed, place / name) as copy:
                assert days(copy.url(DATABASE)) == expected, name
        assert verify_base_backups(backed.settings) == []
        needed = segment_after(history, history.full, 0)
        needed.unlink()
        for _ in range(2):  # it is not forgotten, now that it cannot be restored
            [found] = verify_base_backups(backed.settings)
            assert (found.backup, needed.name in found.what) == (history.full.id, True)
        assert base_backups(backed.settings) == [history.newest]
        # The copy's configuration may lie elsewhere, as Debian's does.
        for lost in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf"):
            (server_folder(backed.settings) / "base" / history.newest.id / "data" / lost).unlink()
        restore_database(backed.settings, place / "bare", Target.latest())
        assert "max_connections = 30" in (place / "bare" / "postgresql.conf").read_text()
        assert "peer" in (place / "bare" / "pg_hba.conf").read_text()
        found = [damage.what for damage in verify_base_backups(backed.settings)]
        assert any("postgresql.conf" in what for what in found)


def test_what_is_encrypted_is_verified_and_restored_by_its_key_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("gpg") is None:
        pytest.skip("lacks gpg")
    keys = place / "keys"
    keys.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(keys))
    make = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "horse", "--quick-gen-key"]
    subprocess.run([*make, "ada@example.org", "rsa2048", "encr", "never"], check=True, capture_output=True)
    (place / "passphrase").write_text("horse")
    backup = {
        "compression": "gzip",
        "gpg_key": "ada@example.org",
        "passphrase_command": f"cat {place / 'passphrase'}",
    }
    try:
        with backed_up_server("debian", schema=True, backup=backup) as backed:
            settings = backed.settings
            history = lived_through(backed)
            assert history.newest.packed
            restore_database(settings, place / "data", target_before_change(settings, RUN))
            with started_copy(backed, place / "data") as copy:
                assert days(copy.url(DATABASE)) == [1, 2]
            assert verify_base_backups(settings) == []
            [archive] = (server_folder(settings) / "base" / history.full.id / "data").glob("base.tar*")
            with damaged(archive, archive.stat().st_size // 2):
                found = [damage for damage in verify_base_backups(settings) if damage.backup == history.full.id]
                assert found
                assert archive.name in found[0].what
            subprocess.run(["gpgconf", "--kill", "gpg-agent"], check=True)  # it remembers the right one for a while
            wrong = backed.with_backup(passphrase_command="echo wrong")
            write_configuration(wrong)
            with pytest.raises(PermanentError):
                restore_database(wrong, place / "other", Target.named(history.point.name))
            assert not (place / "other").exists()
            assert not list(place.glob(".*"))
            unknown = backed.with_backup(gpg_key="eve@example.org")
            write_configuration(unknown)
            with pytest.raises(PermanentError, match=r"[Ee]ncrypt"):
                take_base_backup(unknown)
    finally:
        subprocess.run(["gpgconf", "--kill", "gpg-agent"], check=False)


def test_the_server_is_gone_and_its_backups_lie_somewhere_else(place: Path) -> None:
    with backed_up_server("wheel", schema=True) as backed:
        history = lived_through(backed)
        point = make_restore_point(backed.settings, "the-last")
        backed.server.stop("immediate")
        backed.stop_receiving()
        shutil.move(backed.settings.backup_dir, place / "rescued")
        configuration = place / "rescued" / "barman" / "barman.conf"
        configuration.write_text(re.sub("(?m)^path_prefix = .*", "path_prefix = /nowhere", configuration.read_text()))
        settings = backed.with_backup(folder=str(place / "rescued"))
        assert [backup.id for backup in base_backups(settings)] == [history.full.id, history.newest.id]
        state = wal_state(settings)
        assert (state.slot, state.receiving) == ("unknown", False)
        for name, target in {"latest": Target.latest(), "point": Target.named(point.name)}.items():
            restore_database(settings, place / name, target)
            with started_copy(backed, place / name) as copy:
                assert days(copy.url(DATABASE)) == [1, 2, 3, 4, 5]
        assert verify_base_backups(settings) == []


def test_a_receiver_that_is_dead_for_a_day_is_told_and_catches_up() -> None:
    with backed_up_server("wheel", schema=True) as backed:
        settings = backed.settings
        take_base_backup(settings)
        backed.stop_receiving()
        yesterday = dt.datetime.now().timestamp() - 86_400
        for path in server_folder(settings).glob("*/**/0000*"):
            os.utime(path, (yesterday, yesterday))
        backed.run("CREATE TABLE later ()", "SELECT pg_switch_wal()")
        state = wal_state(settings)
        assert (state.slot, state.receiving) == ("idle", False)
        assert state.age_seconds is not None
        assert state.age_seconds >= 86_000
        found = set_up_barman(settings)
        assert not found.ready
        assert "cron" in found.lines[IN_CRONTAB][0]
        with pytest.raises(PermanentError, match="Nobody fetches WAL"):
            take_base_backup(settings)
        with pytest.raises(PermanentError, match="Nobody fetches WAL"):
            make_restore_point(settings, "never-made")
        backed.receive()
        make_restore_point(settings, "caught-up")
        state = wal_state(settings)
        assert (state.slot, state.receiving, state.gaps) == ("active", True, ())

        backed.stop_receiving()
        backed.run(f"SELECT pg_drop_replication_slot('{slot_of(settings)}')")
        assert wal_state(settings).slot == "missing"
        assert not set_up_barman(settings).ready


def test_a_slot_that_was_given_up_leaves_a_gap_and_the_way_out_is_told() -> None:
    with backed_up_server("wheel", server={"max_slot_wal_keep_size": "64MB", "max_wal_size": "32MB"}) as backed:
        settings = backed.settings
        take_base_backup(settings)
        backed.stop_receiving()
        for number in range(9):
            backed.run(f"CREATE TABLE later_{number} ()", "SELECT pg_switch_wal()", "CHECKPOINT")
        assert wal_state(settings).slot == "lost"
        lines = set_up_barman(settings).lines[AS_THIS_USER]
        assert ["--drop-slot" in lines[0], "--create-slot" in lines[1]] == [True, True]
        for line in lines[:3]:
            subprocess.run(line.split(), check=True, capture_output=True)
        backed.receive()
        take_base_backup(settings, full=True)
        [gap] = wal_state(settings).gaps
        assert gap.segments >= 1
        first, *_, newest = base_backups(settings)
        assert "WAL is missing since the base backup" in (cannot_lead_to_now(settings, first) or "")
        assert cannot_lead_to_now(settings, newest) is None
        for other in (replace(newest, timeline=7), replace(newest, system_id="7")):
            assert "of before a promotion" in (cannot_lead_to_now(settings, other) or "")
        assert restore_plan(settings, Target.latest()).backup == base_backups(settings)[-1]


def test_a_slot_that_goes_while_a_backup_waits_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with backed_up_server("wheel") as backed:
        taken = take_base_backup(backed.settings)
        receives = barman_backups._demand_receiver

        def and_is_gone(settings: Settings) -> None:
            receives(settings)
            backed.stop_receiving()
            backed.run(f"SELECT pg_drop_replication_slot('{slot_of(settings)}')")

        monkeypatch.setattr(barman_backups, "_demand_receiver", and_is_gone)
        monkeypatch.setattr(barman_backups, "_ASKED_EVERY_SECONDS", 0.5)
        began = time.monotonic()
        with pytest.raises(PermanentError, match=r"slot \S+ is gone.*backup setup.*create --full"):
            make_restore_point(backed.settings, "never-arrives")
        assert time.monotonic() - began < barman_backups.ARRIVAL_SECONDS / 2
        assert base_backups(backed.settings) == [taken]


def test_another_server_under_the_same_name_is_refused_before_anything_is_written(place: Path) -> None:
    with backed_up_server("wheel") as backed, new_server("wheel") as other:
        taken = take_base_backup(backed.settings)
        assert wal_state(backed.settings).another_server is None
        run_sql(other.url(), f"CREATE DATABASE {DATABASE}")
        run_sql(other.url(DATABASE), *GRANTS)
        settings = backed.settings.model_copy(update={"database_url": other.url(DATABASE)})
        for do in (
            lambda: take_base_backup(settings),
            lambda: take_base_backup(settings, full=True),
            lambda: make_restore_point(settings, "of-another"),
        ):
            with pytest.raises(PermanentError, match=rf"another server than .* {taken.id} .*\[backup\] server"):
                do()
        assert "another server" in (wal_state(settings).another_server or "")
        assert base_backups(settings) == [taken]
        assert [point.name for point in restore_points(settings)] == []


def test_a_full_disk_is_told_and_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with backed_up_server("wheel") as backed:
        settings = backed.settings
        taken = take_base_backup(settings)
        monkeypatch.setattr(barman_restore, "_demand_room", lambda *_: None)
        with small_disk(place / "small", 20):
            with pytest.raises(DiskFull):
                restore_database(settings, place / "small" / "data", Target.latest())
            assert list((place / "small").iterdir()) == []
        base = server_folder(settings) / "base"
        kept = base.with_name("kept")
        base.rename(kept)
        with small_disk(base, 10), pytest.raises(DiskFull):
            take_base_backup(settings, full=True)
        base.rmdir()
        kept.rename(base)
        assert [backup.id for backup in base_backups(settings)] == [taken.id]
        assert take_base_backup(settings, full=True).kind == "full"


@pytest.mark.parametrize("kind", ["wheel", "debian"])
def test_tablespaces_come_back_beside_the_folder(place: Path, kind: str) -> None:
    with backed_up_server(kind) as backed:
        space = backed.server.data.with_name("space")
        space.mkdir(mode=0o700)
        shutil.chown(space, backed.server.run_as())
        backed.run(
            f"CREATE TABLESPACE roomy LOCATION '{space}'", "CREATE TABLE kept TABLESPACE roomy AS SELECT 1 AS number"
        )
        settings = backed.settings
        assert "Tablespaces (roomy)" in next(c.what for c in set_up_barman(settings).checks if c.name == "tablespaces")
        take_base_backup(settings)
        backed.run("INSERT INTO kept VALUES (2)")
        if kind == "wheel":
            assert take_base_backup(settings).kind == "incremental"
        assert {backup.tablespaces for backup in base_backups(settings)} == {("roomy",)}
        restore_database(settings, place / "data", Target.latest())
        with started_copy(backed, place / "data") as copy:
            where = "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'roomy'"
            assert run_sql(copy.url(), where) == [(str(place / "data.tablespaces" / "roomy"),)]
            assert run_sql(copy.url(DATABASE), "SELECT number FROM kept ORDER BY 1") == [(1,), (2,)]
            run_sql(copy.url(DATABASE), "INSERT INTO kept VALUES (3)")
        assert backed.run("SELECT number FROM kept ORDER BY 1") == [(1,), (2,)]
        shutil.rmtree(place / "data")
        with pytest.raises(PermanentError, match="where tablespaces would go"):
            restore_database(settings, place / "data", Target.latest())
        assert verify_base_backups(settings) == []
        oldest = server_folder(settings) / "base" / base_backups(settings)[0].id
        (oid,) = [path for path in oldest.iterdir() if path.is_dir() and path.name.isdecimal()]
        largest = max((path for path in oid.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
        with damaged(largest, 20):
            assert any(largest.name in damage.what for damage in verify_base_backups(settings))


def test_another_tool_fills_the_folder(place: Path) -> None:
    with backed_up_server("wheel", schema=True) as backed:
        copy_of = place / "copy"
        programs, socket = backed.server.programs, backed.server.socket
        subprocess.run(
            [programs.path("pg_basebackup"), "-h", socket, "-U", "postgres", "-D", copy_of, "-c", "fast"], check=True
        )
        backed.run("CREATE TABLE later ()")
        say = f'echo "$EDUPULSE_RESTORE_KIND $EDUPULSE_RESTORE_TARGET" > {place / "asked"}; '
        signal = 'echo "restore_command = \'/bin/false\'" >> "$d/postgresql.auto.conf"; touch "$d/recovery.signal"'
        fill = f'd="$EDUPULSE_RESTORE_FOLDER"; cp -a {copy_of}/. "$d"; '
        settings = backed.with_backup(restore_command=say + fill + signal)
        assert base_backups(settings) == []
        with pytest.raises(ConfigurationError):
            take_base_backup(settings)
        time = dt.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=dt.UTC)
        plan = restore_database(settings, place / "data", Target.at(time))
        assert (plan.backup, plan.bytes_needed) == (None, None)
        assert (place / "asked").read_text() == "time 2026-01-02 03:04:05.000678+00\n"
        with started_copy(backed, place / "data") as copy:
            assert run_sql(copy.url(DATABASE), "SELECT to_regclass('later') IS NULL") == [(True,)]
        make_restore_point(settings, "with-another-tool")
        for command, said in (
            ("echo no such stanza >&2; exit 3", "ended with 3: no such stanza"),
            ("true", "is no data folder"),
            (say + fill, "no recovery.signal"),
        ):
            with pytest.raises(PermanentError, match=said):
                restore_database(backed.with_backup(restore_command=command), place / "other", Target.latest())
            assert not (place / "other").exists()


def test_what_the_server_lacks_is_said_as_lines_to_paste() -> None:
    settings = {"max_slot_wal_keep_size": "-1", "summarize_wal": "off"}
    with backed_up_server("wheel", server=settings) as backed:
        backed.run("REVOKE EXECUTE ON FUNCTION pg_switch_wal() FROM edupulse_backup")
        found = set_up_barman(backed.settings)
        assert {check.name for check in found.checks if not check.ok} >= {
            "role",
            "max_slot_wal_keep_size",
            "summarize_wal",
        }
        pasted = found.lines[AS_ADMINISTRATOR]
        for line in pasted:
            backed.run(line.split("--")[0])
        # These two are on the command line of the test's server, which is stronger than what is pasted.
        left = {check.name for check in set_up_barman(backed.settings).checks if not check.ok}
        assert left == {"max_slot_wal_keep_size", "summarize_wal"}
        pasted = (backed.server.data / "postgresql.auto.conf").read_text()
        assert "summarize_wal = 'on'" in pasted
        assert "max_slot_wal_keep_size = '20GB'" in pasted
        # Its programs are elsewhere: what was found is told all the same.
        nowhere = set_up_barman(backed.with_backup(programs="/nowhere"))
        (programs,) = [check.what for check in nowhere.checks if check.name == "programs"]
        assert "[backup] programs" in programs
        assert "summarize_wal" in {check.name for check in nowhere.checks}

        # The lines for databases are there, the one for replication is not; what is printed mends it.
        hba = backed.server.data / "pg_hba.conf"
        whole = hba.read_text()
        hba.write_text("local all all trust\nlocal replication all reject\n")
        backed.run("SELECT pg_reload_conf()", "SELECT pg_sleep(0.3)")
        refused = set_up_barman(backed.settings)
        (replication,) = [check for check in refused.checks if check.name == "replication"]
        assert not replication.ok
        assert "pg_hba.conf" in replication.what
        (line,) = refused.lines[IN_HBA]
        hba.write_text(f"{line.replace('scram-sha-256', 'trust')}\n{hba.read_text()}")
        backed.run("SELECT pg_reload_conf()", "SELECT pg_sleep(0.3)")
        assert "replication" not in {check.name for check in set_up_barman(backed.settings).checks if not check.ok}
        hba.write_text(whole)

        backed.run("ALTER ROLE edupulse_backup RENAME TO nobody_here")
        lost = set_up_barman(backed.settings)
        assert any("CREATE ROLE" in line for line in lost.lines[AS_ADMINISTRATOR])


def test_pgbackrest_fills_the_folder_as_the_page_says(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("pgbackrest") is None:
        pytest.skip("lacks pgBackRest")
    page = (Path(__file__).parents[2] / "docs" / "backup.md").read_text()
    command = tomllib.loads(page.rsplit("```toml\n", 1)[1].split("```", 1)[0])["backup"]["restore_command"]
    configuration = place / "pgbackrest.conf"
    archive = f"pgbackrest --config={configuration} --stanza=edupulse archive-push %p"
    monkeypatch.setenv("PGBACKREST_CONFIG", str(configuration))
    with backed_up_server("debian", schema=True, server={"archive_mode": "on", "archive_command": archive}) as backed:
        for name in ("repo", "log", "lock", "spool"):
            (place / name).mkdir()
            shutil.chown(place / name, backed.server.run_as())
        configuration.write_text(
            f"[global]\nrepo1-path={place / 'repo'}\nlog-path={place / 'log'}\nlock-path={place / 'lock'}\n"
            f"spool-path={place / 'spool'}\nstart-fast=y\n"
            f"[edupulse]\npg1-path={backed.server.data}\npg1-socket-path={backed.server.socket}\npg1-user=postgres\n"
        )
        configuration.chmod(0o644)
        for task in ("stanza-create", "backup"):
            subprocess.run(
                ["pgbackrest", "--stanza=edupulse", task], check=True, user=backed.server.run_as(), capture_output=True
            )
        add_day(backed, 1)
        make_restore_point(backed.with_backup(restore_command=command), "after-day-1")
        add_day(backed, 2)
        time = backed.run("SELECT clock_timestamp()")[0][0]
        add_day(backed, 3, RUN)
        backed.run("SELECT pg_switch_wal()")
        settings = backed.with_backup(restore_command=command)
        wanted = {
            "point": (Target.named("after-day-1"), [1]),
            "time": (Target.at(time), [1, 2]),
            "run": (target_before_change(settings, RUN), [1, 2]),
            "latest": (Target.latest(), [1, 2, 3]),
        }
        for name, (target, expected) in wanted.items():
            restore_database(settings, place / name, target)
            with started_copy(backed, place / name) as copy:
                assert days(copy.url(DATABASE)) == expected, name
        assert wal_state(settings).newest_segment is not None


def manifest_of(files: str) -> bytes:
    """A `backup_manifest` as the server writes it."""
    lines = f'{{ "PostgreSQL-Backup-Manifest-Version": 2,\n"Files": [\n{files}\n],\n'.encode()
    return lines + b'"Manifest-Checksum": "%s"}\n' % hashlib.sha256(lines).hexdigest().encode()


def test_a_manifest_is_believed_by_its_own_checksum_alone() -> None:
    whole = manifest_of('{ "Path": "base/1/2", "Size": 7, "Checksum-Algorithm": "CRC32C", "Checksum": "00000000" }')
    assert files_of_manifest(whole)["base/1/2"]["Size"] == 7
    for place in range(len(whole) - 1):
        damaged = bytearray(whole)
        damaged[place] ^= 0x01
        with pytest.raises(PermanentError, match="is damaged"):
            files_of_manifest(bytes(damaged))
    for cut in (b"", b"[]", whole[:-20], whole.replace(b"Manifest-Checksum", b"Manifest-Checksun")):
        with pytest.raises(PermanentError, match="is damaged"):
            files_of_manifest(cut)


@pytest.mark.parametrize("missing", [[], [4], [3, 6]])
def test_a_gap_in_wal_blames_no_segment_that_is_there(
    missing: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = [
        wal.Segment(f"{n:024X}", 1, n, tmp_path, False, True, dt.datetime.now(dt.UTC))
        for n in range(1, 9)
        if n not in missing
    ]
    for segment in there:
        (tmp_path / segment.name).touch()

    @contextmanager
    def unpacked(*_: object) -> Iterator[Path]:
        yield tmp_path

    def waldump(_programs: object, _folder: Path, segments: list[wal.Segment], _options: object) -> Any:
        """It reads from the first to the last, and wants all between them."""
        gone = set(range(segments[0].number, segments[-1].number)) - {segment.number for segment in segments}
        said = f"pg_waldump: error: could not find file {min(gone)}" if gone else ""
        return subprocess.CompletedProcess([], 1 if gone else 0, "", said)

    monkeypatch.setattr(wal, "_unpacked", unpacked)
    monkeypatch.setattr(wal, "_waldump", waldump)
    assert list(wal.broken_segments(there, cast("Any", None), cast("Any", None))) == []


def test_the_segment_with_the_flipped_byte_is_blamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record goes over from one segment into the next: what is whole is not called damaged."""
    with new_server("wheel", settings={"max_wal_size": "1GB"}) as server:
        run_sql(
            server.url(),
            "CREATE TABLE much (text text)",
            "SELECT pg_switch_wal()",
            "INSERT INTO much SELECT repeat('x', 700) FROM generate_series(1, 60000)",
        )
        written = sorted((server.data / "pg_wal").glob("0*"))
        kept = [Path(shutil.copy(path, tmp_path)) for path in written]
        programs = server.programs
    size = 16 << 20
    there = [
        wal.Segment(path.name, 1, wal._number(path.name, size), path, False, False, dt.datetime.now(dt.UTC))
        for path in kept
    ]
    settings = cast("Any", SimpleNamespace(backup=SimpleNamespace(server="x")))
    monkeypatch.setattr(wal, "server_folder", lambda _: tmp_path)

    def lines(*segments: wal.Segment) -> list[str]:
        return wal._waldump(programs, tmp_path, segments, []).stdout.splitlines()

    def begins(line: str) -> int:
        return int(re.search(r"lsn: 0/([0-9A-F]+)", line)[1], 16)  # type: ignore[index]

    def blamed(path: Path, offset: int) -> list[tuple[str, ...]]:
        with damaged(path, offset):
            return [names for names, _ in wal.broken_segments(pair, settings, programs)]

    for first, second in pairwise(there):
        records = [begins(line) for line in lines(first, second)]
        over = max((place for place in records if place < second.number * size), default=0)
        if wal._goes_over(first.path, over % size, size) and len(records) > 20:
            break
    else:
        raise AssertionError("no record goes over")
    pair = [first, second]
    for segment in pair:  # in an insert in the middle, of which the record lies in one page
        inside = [place for place in records if place // size == segment.number and 2000 < place % 8192 < 5000]
        middle = inside[len(inside) // 2]
        assert blamed(segment.path, middle % size + 100) == [(segment.name,)], segment
    # In the part of the record that lies in the first one, and in the second.
    assert blamed(first.path, size - 20) == [(first.name, second.name)]
    assert blamed(second.path, 60) == [(first.name, second.name)]
    # In the header of that record, and of the page in between: its magic, its address, whether a record goes on there,
    # and how much of it is left.
    assert blamed(first.path, over % size + 9) == [(first.name,)]
    for offset in (0, 9, 2, 16):
        assert blamed(second.path, offset) == [(second.name,)], offset


def test_lines_to_paste_are_of_this_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(barman_setup, "barman_version", lambda _settings: (3, 19, 1))
    for url, hba, password in (
        ("postgresql://u@127.0.0.1:1/d", 'host    replication "edupulse_backup" 127.0.0.1/32', "127.0.0.1:1:*:"),
        ("postgresql://u@/d?host=/nowhere&port=2", 'local   replication "edupulse_backup" scram', "*:2:*:"),
    ):
        found = set_up_barman(settings_for(tmp_path, url))
        assert any(line.startswith(hba) for line in found.lines[IN_HBA]), found.lines
        assert any(f"echo '{password}edupulse_backup:PASSWORD'" in line for line in found.lines[AS_THIS_USER])
        assert "EDUPULSE_BACKUP_URL" in found.lines[AS_THIS_USER][0]
    # A URL that is wrong is mended where it is set: nothing is to be pasted anywhere.
    wrong = set_up_barman(settings_for(tmp_path, "postgresql://u@db.example.org/d?sslmode=require"))
    assert (wrong.lines, wrong.ready) == ({}, False)


def test_a_time_since_which_nothing_was_committed_is_told_and_stays_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Target.at(dt.datetime(2025, 9, 1, 12, tzinfo=dt.UTC))
    backup = cast("Any", SimpleNamespace(id="b", kind="full", end=dt.datetime(2025, 9, 1, tzinfo=dt.UTC)))
    quiet = barman_restore.RestorePlan(Target.latest(), backup, 1, 16, 16, asked)
    assert f"to {asked.sentence}, after which nothing was committed" in quiet.sentence
    plans = [quiet, barman_restore.RestorePlan(asked, backup, 1, 16, 16)]
    copied: list[str] = []

    def by_barman(_settings: object, to: Path, plan: barman_restore.RestorePlan, *_: object) -> None:
        copied.append(plan.target.kind)
        (to / plan.target.kind).touch()

    monkeypatch.setattr(barman_restore, "restore_plan", lambda *_: plans.pop(0))
    monkeypatch.setattr(barman_restore, "_by_barman", by_barman)
    monkeypatch.setattr(barman_restore, "_complete_configuration", lambda *_: None)
    monkeypatch.setattr(barman_restore, "_live_folder", lambda *_: None)
    done = restore_database(settings_for(tmp_path, "postgresql://u@/d"), tmp_path / "to", asked)
    assert (copied, done.target) == (["latest", "time"], asked)
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["time"]
