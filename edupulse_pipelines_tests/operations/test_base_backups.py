"""Base backups by a real Barman: taken, restored to each kind of target, verified, and refused where it cannot be done.

The tests of the first part share a PostgreSQL 18 with two base backups, of which the second is an increment; none of
them changes what is backed up. Those after it need a server of another kind or break theirs, and are heavy.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import ConfigurationError, DatabaseBusy, DiskFull, PermanentError
from edupulse_pipelines.governance.role_names import RoleNames
from edupulse_pipelines.operations.backup import barman_backups, barman_restore
from edupulse_pipelines.operations.backup.barman import configuration_of, home_of, server_folder
from edupulse_pipelines.operations.backup.barman_configuration import conninfo, write_configuration
from edupulse_pipelines.operations.backup.barman_setup import set_up_barman
from edupulse_pipelines.operations.backup.base_backups import (
    BaseBackup,
    RestorePoint,
    Target,
    base_backups,
    make_restore_point,
    restore_database,
    restore_plan,
    take_base_backup,
    target_before_change,
    verify_base_backups,
    wal_state,
)
from edupulse_pipelines.operations.backup.wal import read_wal
from edupulse_pipelines.settings import Settings
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines_tests.operations.backed_up import DATABASE, BackedUp, backed_up_server, run_sql, started_copy

RUN = "the-run-of-monday"


@dataclass
class History:
    """What happened on the server, in order: days of instruction 1 to 5, one transaction each."""

    backed: BackedUp
    full: BaseBackup
    point: RestorePoint
    """After day 1."""
    between: dt.datetime
    """After day 2."""
    change: int
    """Of day 3, as the audit numbers it; day 3 and 4 are of one run."""
    newest: BaseBackup
    """Taken after day 4; day 5 came later."""


def add_day(backed: BackedUp, day: int, run: str | None = None) -> None:
    """Write one row as a run does, on record."""
    with Database(backed.server.url(DATABASE)).work("lakeside", run) as work, work.writing() as connection:
        connection.execute(
            sa.text("INSERT INTO instructional_days (tenant_id, date, delivered_on) VALUES ('lakeside', :day, :day)"),
            {"day": dt.date(2025, 9, day)},
        )


def days(url: str) -> list[int]:
    """The days that a database holds."""
    return [row[0].day for row in run_sql(url, "SELECT date FROM instructional_days ORDER BY date")]


def lived_through(backed: BackedUp) -> History:
    """Let the history happen on the server."""
    full = take_base_backup(backed.settings)
    add_day(backed, 1)
    point = make_restore_point(backed.settings, "after-day-1")
    add_day(backed, 2)
    between = backed.run("SELECT clock_timestamp()")[0][0]
    add_day(backed, 3, RUN)
    add_day(backed, 4, RUN)
    [[change]] = backed.run("SELECT min(id) FROM audit_changes WHERE run_id IS NOT NULL")
    newest = take_base_backup(backed.settings)
    add_day(backed, 5)
    return History(backed, full, point, between, change, newest)


@pytest.fixture(scope="module")
def history() -> Iterator[History]:
    with backed_up_server("wheel", schema=True) as backed:
        yield lived_through(backed)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that the server's user gets through."""
    folder = Path(tempfile.mkdtemp(prefix="edupulse-restored-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def damaged(path: Path, at: int) -> Iterator[None]:
    """For the block, one byte of the file is another one."""
    before = path.read_bytes()
    path.write_bytes(before[:at] + bytes([before[at] ^ 0x20]) + before[at + 1 :])
    yield
    path.write_bytes(before)


@contextmanager
def gone(path: Path) -> Iterator[None]:
    """For the block, the file is not there."""
    away = path.with_name(f"{path.name}.away")
    path.rename(away)
    yield
    away.rename(path)


def segment_after(history: History, backup: BaseBackup, steps: int) -> Path:
    """The file of the WAL segment so many after the one that the backup ends in."""
    wal = read_wal(history.backed.settings)
    return next(s.path for s in wal.segments if s.number == wal.number_of(backup.end_wal) + steps)


def test_the_second_is_an_increment_unless_a_full_one_is_asked_for(history: History) -> None:
    assert [(backup.id, backup.kind) for backup in base_backups(history.backed.settings)] == [
        (history.full.id, "full"),
        (history.newest.id, "incremental"),
    ]
    assert history.newest.parent == history.full.id
    assert history.newest.size_bytes < history.full.size_bytes / 3
    assert history.full.begin < history.full.end < history.point.time < history.newest.end
    for changed in ({"increments": 0}, {"increments": 1}, {"compression": "gzip"}, {"gpg_key": "ada@example.org"}):
        assert barman_backups._parent(history.backed.with_backup(**changed)) is None
    assert barman_backups._parent(history.backed.settings) == history.newest.id


def test_what_barman_has_noted_is_what_it_says_when_it_is_asked(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = history.backed.settings
    noted = base_backups(settings)

    def of_another_form(*_: object) -> BaseBackup:
        raise KeyError("begin_time")

    monkeypatch.setattr(barman_backups, "_of_notes", of_another_form)
    assert base_backups(settings) == noted
    assert noted


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("latest", [1, 2, 3, 4, 5]),
        ("change", [1, 2]),
        pytest.param("point", [1], marks=pytest.mark.heavy),
        pytest.param("time", [1, 2], marks=pytest.mark.heavy),
    ],
)
def test_a_server_over_the_folder_ends_its_recovery_at_the_target(
    history: History, place: Path, target: str, expected: list[int]
) -> None:
    settings = history.backed.settings
    wanted = {
        "latest": Target.latest,
        "change": lambda: target_before_change(settings, str(history.change)),
        "point": lambda: Target.named(history.point.name),
        "time": lambda: Target.at(history.between),
    }[target]()
    plan = restore_database(settings, place / "data", wanted)
    used = history.newest if target == "latest" else history.full
    assert plan.backup == used
    assert used.id in plan.sentence
    assert stat.S_IMODE((place / "data").stat().st_mode) == 0o700
    with started_copy(history.backed, place / "data") as copy:
        assert days(copy.url(DATABASE)) == expected
        assert run_sql(copy.url(), "SELECT timeline_id FROM pg_control_checkpoint()") == [(2,)]
        run_sql(copy.url(DATABASE), "CREATE TABLE it_is_a_primary ()")
    assert not list(place.glob(".*"))  # what was unpacked beside it


def test_a_run_is_gone_before_as_a_whole(history: History) -> None:
    settings = history.backed.settings
    assert target_before_change(settings, RUN) == target_before_change(settings, str(history.change))
    for unknown in ("999999999", "another-run", " "):
        with pytest.raises(PermanentError):
            target_before_change(settings, unknown)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (Target.at(dt.datetime(2100, 1, 1, tzinfo=dt.UTC)), "the newest WAL here was written at"),
        (Target.at(dt.datetime(2001, 1, 1, tzinfo=dt.UTC)), "No base backup is old enough"),
        (Target.named("nobody-made-it"), "No restore point 'nobody-made-it' is in the WAL"),
        (Target.before_transaction(4_000_000_000, dt.datetime.now(dt.UTC)), "is not in the WAL"),
    ],
)
def test_what_is_out_of_reach_is_told_before_anything_is_written(
    history: History, place: Path, target: Target, said: str
) -> None:
    if target.kind == "transaction":
        target = Target.before_transaction(4_000_000_000, history.between)
    with pytest.raises(PermanentError, match=said):
        restore_database(history.backed.settings, place / "data", target)
    assert list(place.iterdir()) == []


def test_a_point_that_an_administrator_has_made_is_found_in_wal(history: History) -> None:
    history.backed.run("SELECT pg_create_restore_point('by-hand')")
    assert restore_plan(history.backed.settings, Target.named("by-hand")).target == Target.named("by-hand")
    with pytest.raises(PermanentError, match="already"):
        make_restore_point(history.backed.settings, history.point.name)
    with pytest.raises(PermanentError, match="no name"):
        make_restore_point(history.backed.settings, "it's")


@pytest.mark.parametrize("kind", ["full", "server", "live", "among backups", "file"])
def test_a_folder_in_use_is_refused_and_left_alone(history: History, place: Path, kind: str) -> None:
    settings = history.backed.settings
    to = place / "data"
    if kind == "live":
        to = history.backed.server.data
    elif kind == "among backups":
        to = settings.backup_dir / "data"
    elif kind == "file":
        to.touch()
    else:
        to.mkdir()
        (to / {"full": "thesis.txt", "server": "postmaster.pid"}[kind]).write_text("mine")
    with pytest.raises(PermanentError):
        restore_database(settings, to, Target.latest())
    if kind in ("full", "server"):
        assert [path.read_text() for path in to.iterdir()] == ["mine"]
    assert days(history.backed.server.url(DATABASE)) == [1, 2, 3, 4, 5]


def test_too_little_space_is_told_before_anything_is_written(
    history: History, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(barman_restore.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(DiskFull, match="Nothing was written"):
        restore_database(history.backed.settings, place / "data", Target.latest())
    assert list(place.iterdir()) == []


def test_two_at_once_are_one(history: History) -> None:
    with barman_backups._alone(history.backed.settings), pytest.raises(DatabaseBusy):
        take_base_backup(history.backed.settings)
    # One that cron or a person has started by Barman itself, which has a lock of its own.
    settings = history.backed.settings
    before = base_backups(settings)
    with (home_of(settings) / f".{settings.backup.server}-backup.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DatabaseBusy, match="has to wait: Another backup process is running"):
            take_base_backup(settings)
    assert base_backups(settings) == before


def test_a_flipped_byte_is_found_in_a_backup_and_in_wal(history: History) -> None:
    settings = history.backed.settings
    assert verify_base_backups(settings) == []
    folder = server_folder(settings) / "base" / history.full.id / "data"
    largest = max((path for path in (folder / "base").rglob("*") if path.is_file()), key=lambda p: p.stat().st_size)
    missing = folder / "PG_VERSION"
    needed = segment_after(history, history.full, 0)
    with damaged(largest, 5000), gone(missing), damaged(needed, 200):
        found = verify_base_backups(settings)
    assert {damage.backup for damage in found} == {history.full.id}
    for path in (largest, missing, needed):
        assert [damage for damage in found if path.name in damage.what], path


def test_missing_wal_stands_before_what_comes_after_it_and_nothing_else(history: History) -> None:
    settings = history.backed.settings
    with gone(segment_after(history, history.full, 0)), pytest.raises(PermanentError, match="unusable"):
        restore_plan(settings, Target.named(history.point.name))
    missing = segment_after(history, history.full, 2)  # after the restore point, before the increment
    with gone(missing):
        assert restore_plan(settings, Target.named(history.point.name)).backup == history.full
        assert restore_plan(settings, Target.latest()).backup == history.newest
        with pytest.raises(PermanentError, match=missing.name):
            restore_plan(settings, target_before_change(settings, RUN))
        assert [(gap.first, gap.last) for gap in wal_state(settings).gaps] == [(missing.name, missing.name)]
    assert wal_state(settings).gaps == ()


def test_the_state_says_that_wal_arrives(history: History) -> None:
    state = wal_state(history.backed.settings)
    assert (state.slot, state.receiving) == ("active", True)
    assert state.age_seconds is not None
    assert state.age_seconds < 600


def test_setting_up_again_changes_nothing_and_finds_all_in_order(history: History) -> None:
    settings = history.backed.settings
    found = set_up_barman(settings)
    assert not found.changed
    assert [check.what for check in found.checks if not check.ok] == []
    assert found.lines == {}
    assert {check.name for check in found.checks} >= {"version", "summarize_wal", "max_slot_wal_keep_size", "space"}
    assert write_configuration(history.backed.with_backup(retention="REDUNDANCY 5"))
    assert "retention_policy = REDUNDANCY 5" in configuration_of(settings).read_text()
    assert write_configuration(settings)


def test_a_password_is_neither_in_the_configuration_nor_in_conninfo(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = sa.engine.make_url(history.backed.server.url(DATABASE, "edupulse_backup")).set(password="ssh:s\\h")
    monkeypatch.setenv("EDUPULSE_BACKUP_URL", url.render_as_string(hide_password=False))
    settings = history.backed.settings
    write_configuration(settings)
    passfile = configuration_of(settings).with_name("passfile")
    assert "ssh" not in configuration_of(settings).read_text() + conninfo(settings)
    assert passfile.read_text() == "*:*:*:edupulse_backup:ssh\\:s\\\\h\n"
    assert stat.S_IMODE(passfile.stat().st_mode) == 0o600
    assert f"passfile={passfile}" in conninfo(settings)
    monkeypatch.delenv("EDUPULSE_BACKUP_URL")
    write_configuration(settings)


def test_nothing_leaves_the_machine_unverified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://loader@db.example.org/edupulse?sslmode={}"
    for mode in ("prefer", "require", "verify-ca"):
        with pytest.raises(ConfigurationError, match="sslmode"):
            write_configuration(settings_for(tmp_path, url.format(mode)))
    info = conninfo(settings_for(tmp_path, url.format("verify-full")), replication=True)
    assert info == "host=db.example.org sslmode=verify-full user=edupulse_backup channel_binding=require"
    monkeypatch.setenv("EDUPULSE_BACKUP_URL", "postgresql://copier@db.example.org/edupulse")
    with pytest.raises(ConfigurationError, match="EDUPULSE_BACKUP_URL"):
        conninfo(settings_for(tmp_path, url.format("verify-full")))
    assert f"{RoleNames('edupulse', ()).backup}" in info


def settings_for(home: Path, url: str) -> Settings:
    """The settings of an installation with this database."""
    return Settings(
        home=home, database_url=url, tracking_uri="sqlite://", config_path=home / "edupulse.toml", tenants={}
    )
