"""Upkeep on both databases: what needs it is found and done, what is in use or has no room is left, and it is said."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from sqlalchemy.engine import Engine

from edupulse_pipelines.cli import main
from edupulse_pipelines.errors import DatabaseBusy
from edupulse_pipelines.operations import partitions
from edupulse_pipelines.operations.upkeep import disks, postgresql, sizes
from edupulse_pipelines.operations.upkeep.disks import Room
from edupulse_pipelines.operations.upkeep.growth import (
    Point,
    forecasts,
    growth,
    history,
    history_file,
    point_of,
    remember,
)
from edupulse_pipelines.operations.upkeep.maintenance import keep_up
from edupulse_pipelines.operations.upkeep.sizes import Sizes
from edupulse_pipelines.operations.upkeep.tasks import Result, Task, Upkeep
from edupulse_pipelines.settings import MaintenanceSettings, load_settings
from edupulse_pipelines.storage.turns import take_upkeep
from edupulse_pipelines.storage.work import EVERY_TENANT, Work
from edupulse_pipelines_tests.roles import roles_of

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
TODAY = dt.date(2026, 3, 9)
AT_ONCE = MaintenanceSettings(
    pause_seconds=0, lock_seconds=0.3, patience_minutes=0, keep_free_gib=0, index_at_least_mib=0.2
)


def kept(engine: Engine, limits: MaintenanceSettings = AT_ONCE, *, dry_run: bool = False) -> Upkeep:
    return keep_up(Work(engine, EVERY_TENANT), limits, TODAY, dry_run=dry_run)


def outcomes(upkeep: Upkeep) -> set[tuple[str, str, str]]:
    return {(result.task.kind, result.task.name, result.outcome) for result in upkeep.results}


def of(upkeep: Upkeep, kind: str) -> Result:
    (result,) = [result for result in upkeep.results if result.task.kind == kind]
    return result


@pytest.fixture
def worn(engine: Engine) -> Engine:
    """Twelve thousand students of whom one in ten is left; the months are made."""
    partitions.maintain(Work(engine, EVERY_TENANT), TODAY)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO students (id, tenant_id, district_id, first_name, last_name, date_of_birth, delivered_on)"
            " SELECT gen_random_uuid(), 'north', 'D' || i, 'a', 'b', '2010-01-01', '2024-09-09'"
            " FROM generate_series(1, 12000) AS i"
        )
        connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")
    with engine.begin() as connection:
        connection.exec_driver_sql("ANALYZE students")
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM students WHERE district_id NOT LIKE '%%7'")
        connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")
    return engine


# PostgreSQL


@on_postgresql
def test_what_is_worn_is_found_said_and_mended(worn: Engine) -> None:
    planned = kept(worn, dry_run=True)
    assert ("vacuum", "students", "planned") in outcomes(planned)
    assert "90% of its 12,000 rows are dead" in of(planned, "vacuum").task.why
    assert of(planned, "vacuum").task.statement == "VACUUM (ANALYZE) students"
    assert not planned.not_done and kept(worn, dry_run=True).results == planned.results

    done = kept(worn)
    assert ("vacuum", "students", "done") in outcomes(done)
    built = {result.task.name: result for result in done.results if result.task.kind == "reindex"}
    assert built.keys() >= {"pk_students", "uq_students_district_id"}
    assert all(result.outcome == "done" and (result.saved_bytes or 0) > 100_000 for result in built.values())
    assert "(estimated)" in built["pk_students"].task.why  # the wheel has no pgstattuple
    assert any("CREATE EXTENSION pgstattuple" in note for note in done.notes)
    again = kept(worn)
    assert (again.results, again.in_words) == ([], "nothing needed")


@on_postgresql
def test_a_partitioned_table_is_analysed_when_a_partition_of_it_changed(engine: Engine) -> None:
    asked = "SELECT last_analyze IS NOT NULL FROM pg_stat_all_tables WHERE relname = 'attendance_records'"
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO students (id, tenant_id, district_id, first_name, last_name, date_of_birth, delivered_on)"
            " VALUES (gen_random_uuid(), 'north', 'D', 'a', 'b', '2010-01-01', '2024-09-09')"
        )
        connection.exec_driver_sql(
            "INSERT INTO attendance_records (tenant_id, student_id, date, status, delivered_on)"
            " SELECT tenant_id, id, '2026-03-02', 'present', '2026-03-09' FROM students"
        )
        connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")
    assert kept(engine, dry_run=True).months["attendance_records"].moved == {dt.date(2026, 3, 1): 1}
    assert ("analyze", "attendance_records", "done") in outcomes(kept(engine))
    with engine.connect() as connection:
        assert connection.scalar(sa.text(asked))
    assert not kept(engine).results  # one row is soon told, and not every week
    with engine.begin() as connection:
        connection.exec_driver_sql("ANALYZE attendance_records_y2026m03")
    assert "1 of its partitions have been analysed since" in of(kept(engine), "analyze").task.why


@on_postgresql
def test_a_table_whose_rows_are_old_is_frozen(engine: Engine) -> None:
    state = postgresql.TableState("students", None, False, "o", True, 0, 5, 0, 0, None, None, 150_000_001)
    (task,) = postgresql.of_tables([state], MaintenanceSettings(), parents_alone=True)
    assert task.statement == "VACUUM (FREEZE, ANALYZE) students" and "150,000,001 transactions ago" in task.why
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(task.statement)


@on_postgresql
def test_what_somebody_loads_into_or_holds_is_left_for_the_next_time(worn: Engine) -> None:
    with worn.connect() as loader:
        loader.exec_driver_sql("UPDATE students SET first_name = 'c' WHERE district_id = 'D7'")
        left = kept(worn)
        assert of(left, "vacuum").outcome == "left" and "somebody was using it" in of(left, "vacuum").note
    with worn.connect() as holder, worn.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # Taken after the look at who is there: the lock is waited for, but not for long.
        task = of(kept(worn, dry_run=True), "vacuum").task
        holder.exec_driver_sql("LOCK students IN SHARE UPDATE EXCLUSIVE MODE")
        visit = postgresql._Visit(connection, AT_ONCE, False, lambda _task: None, Upkeep())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(postgresql, "writers_of", lambda *_: set())
            with postgresql._manners(connection, AT_ONCE):
                visit.all_of([task])
        assert "a lock was not had in time" in of(visit.upkeep, "vacuum").note
    assert of(kept(worn), "vacuum").outcome == "done"


@on_postgresql
def test_an_index_build_that_is_not_let_through_leaves_nothing_behind(
    worn: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with worn.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM (ANALYZE) students")
    with worn.connect() as reader:
        reader.exec_driver_sql("SELECT count(*) FROM students")
        left = kept(worn)
        assert {result.outcome for result in left.results if result.task.kind == "reindex"} == {"left"}
        assert _invalid(worn) == []
        # One that began only afterwards: the build is ended, and what it left goes as soon as the reader is gone.
        monkeypatch.setattr(postgresql, "transactions_under_way", lambda _connection: set())
        left = kept(worn)
        assert any("a lock was not had in time" in result.note for result in left.results)
        assert _invalid(worn)
    done = kept(worn)
    assert {result.outcome for result in done.results} == {"done"} and _invalid(worn) == []


@on_postgresql
def test_an_index_that_is_not_valid_and_no_leftover_is_told_and_kept(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE INDEX mine ON students (first_name)")
        connection.exec_driver_sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = CAST('mine' AS regclass)")
    done = kept(engine)
    assert done.results == [] and _invalid(engine) == ["mine"]
    assert done.invalid == ["mine of students is not valid: no query uses it. REINDEX INDEX CONCURRENTLY mine;"]


def _invalid(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        names = connection.exec_driver_sql(
            "SELECT c.relname FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid WHERE NOT x.indisvalid"
        )
        return sorted(names.scalars())


@on_postgresql
def test_without_room_no_index_is_built_and_rows_are_frozen_all_the_same(worn: Engine) -> None:
    left = kept(worn, AT_ONCE.model_copy(update={"server_disk_gib": 0.001}))
    assert of(left, "vacuum").outcome == "done"  # it writes in the table's place
    built = [result for result in left.results if result.task.kind == "reindex"]
    assert built and {result.outcome for result in built} == {"left"}
    assert "no room: the server's disk has 0 bytes free" in built[0].note


@on_postgresql
def test_a_task_that_fails_leaves_the_others_their_turn(engine: Engine) -> None:
    """Whatever the server says of one table or index: a damaged page, say."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        visit = postgresql._Visit(connection, AT_ONCE, False, lambda _task: None, Upkeep())
        damaged = "DO $$ BEGIN RAISE EXCEPTION 'row of Ray' USING ERRCODE = 'index_corrupted'; END $$"
        unknown = "DO $$ BEGIN RAISE EXCEPTION 'row of Ray' USING ERRCODE = 'division_by_zero'; END $$"
        statements = (damaged, unknown, "ANALYZE students")
        visit.all_of(Task("analyze", "students", "students", "why", statement) for statement in statements)
    assert [result.outcome for result in visit.upkeep.results] == ["failed", "failed", "done"]
    assert len(visit.upkeep.not_done) == 2 and "2 not done" in visit.upkeep.in_words
    notes = [result.note for result in visit.upkeep.failed]
    assert "damaged on the server's disk (SQLSTATE XX002)" in notes[0] and "SQLSTATE 22012" in notes[1]
    assert not [note for note in notes if "Ray" in note]


@on_postgresql
def test_one_upkeep_at_a_time(engine: Engine) -> None:
    with engine.connect() as other:
        assert take_upkeep(other)
        with pytest.raises(DatabaseBusy, match="Another maintenance"):
            kept(engine)
        assert kept(engine, dry_run=True).results == []
    engine.dispose()
    assert kept(engine).results == []


@on_postgresql
def test_the_keeper_does_what_the_loader_may_not(worn: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with roles_of(worn, "north") as (names, urls):
        (tmp_path / "edupulse.toml").write_text(
            '[tenants.north]\ntimezone = "UTC"\nfirst_week = 2025-09-01\n'
            f'[roles]\nprefix = "{names.prefix}"\n[maintenance]\npause_seconds = 0\nindex_at_least_mib = 0.2\n',
            encoding="utf-8",
        )
        monkeypatch.setenv("EDUPULSE_DATABASE_URL", urls[names.loader])
        maintain = ["db", "maintain", "--home", str(tmp_path)]
        done = CliRunner().invoke(main, maintain)
        assert done.exit_code == 1
        said = " ".join(done.output.split())
        assert f"only {names.owner}, who owns it, may: VACUUM (ANALYZE) students;" in said
        assert "EDUPULSE_KEEPER_URL" in said and f"indexes were not looked at: they are of {names.owner}" in said
        assert "partitions made" in said  # that needs no right

        monkeypatch.setenv("EDUPULSE_KEEPER_URL", urls[names.keeper])
        done = CliRunner().invoke(main, [*maintain, "--dry-run", "--json"])
        facts = json.loads(done.stdout.splitlines()[-1])
        assert (done.exit_code, facts["dry_run"]) == (0, True)
        assert ("vacuum", "planned") in {(task["kind"], task["outcome"]) for task in facts["tasks"]}
        done = CliRunner().invoke(main, [*maintain, "--json"])
        facts = json.loads(done.stdout.splitlines()[-1])
        assert done.exit_code == 0, done.output
        assert {task["outcome"] for task in facts["tasks"]} == {"done"}
        assert {"vacuum", "reindex"} <= {task["kind"] for task in facts["tasks"]}
        # Rows of every district are seen by the owner's policy, so that the estimate is of all of them.
        assert "log_error_verbosity" in {setting["name"] for setting in facts["log_settings"]}
        assert any(f"GRANT pg_monitor TO {names.owner}" in note for note in facts["notes"])
        assert facts["table_sizes"]["students"]["index_bytes"] > 0 and "wal" not in facts["sizes"]
        assert "VACUUM" not in CliRunner().invoke(main, maintain).output


# SQLite


@pytest.fixture
def airy(engine: Engine) -> Engine:
    """A file of which most pages are free."""
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE air (x)")
        connection.exec_driver_sql(
            "INSERT INTO air WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)"
            " SELECT zeroblob(10000) FROM n"
        )
        connection.exec_driver_sql("DROP TABLE air")
    return engine


def _file(engine: Engine) -> Path:
    return Path(str(engine.url.database))


@on_sqlite
def test_a_file_that_is_mostly_free_is_written_anew(airy: Engine) -> None:
    kept(airy, AT_ONCE.model_copy(update={"free_pages": 0.99}))  # the log goes into the file
    before = _file(airy).stat().st_size
    planned = kept(airy, dry_run=True)
    assert {result.outcome for result in planned.results} == {"planned"} and _file(airy).stat().st_size == before
    assert "of it is free" in of(planned, "rewrite").task.why
    done = of(kept(airy), "rewrite")
    assert done.outcome == "done" and before - _file(airy).stat().st_size == done.saved_bytes > 3_000_000  # type: ignore[operator]
    assert "rewrite" not in {result.task.kind for result in kept(airy).results}
    with airy.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"


@on_sqlite
@pytest.mark.parametrize("statement", ["SELECT count(*) FROM students", "UPDATE students SET gpa = 1"])
def test_a_file_in_use_is_never_written_anew(airy: Engine, statement: str) -> None:
    kept(airy, AT_ONCE.model_copy(update={"free_pages": 0.99}))
    before = _file(airy).stat().st_size
    with airy.connect() as somebody:
        somebody.exec_driver_sql(statement)
        left = of(kept(airy), "rewrite")
        assert left.outcome == "left" and "somebody reads or writes the file" in left.note
        assert _file(airy).stat().st_size == before
    assert of(kept(airy), "rewrite").outcome == "done"


@on_sqlite
def test_a_file_is_not_written_anew_without_room_for_the_copy(airy: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks, "room_at", lambda _place: Room(100_000, 10**12))
    left = of(kept(airy), "rewrite")
    assert left.outcome == "left" and "no room: the disk of" in left.note
    assert "97.7 KiB free" in left.note


# Sizes


@on_sqlite
def test_what_cannot_be_measured_is_left_out_and_told(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(place: Path) -> Room:
        raise PermissionError(13, "Permission denied", str(place))

    def without_dbstat(*_: object) -> list[dict[str, object]]:
        raise sa.exc.OperationalError("SELECT", {}, Exception("no such table: dbstat"))

    (tmp_path / "edupulse.toml").write_text(
        '[tenants.north]\ntimezone = "UTC"\nfirst_week = 2025-09-01\n', encoding="utf-8"
    )
    settings = load_settings(home=tmp_path)
    settings.raw_dir.mkdir()
    monkeypatch.setattr(sizes, "rows_of", without_dbstat)
    monkeypatch.setattr(sizes, "bytes_below", lambda folder: refused(folder) if folder == settings.raw_dir else 5)
    monkeypatch.setattr(disks.shutil, "disk_usage", refused)
    with engine.connect() as connection:
        found = sizes.measure(connection, settings, dt.datetime(2026, 3, 9, 2, tzinfo=dt.UTC))
    assert set(found.areas) == {"database", "wal", "models", "dagster"}
    assert found.tables is None and found.unseen == ["home"] and found.disks == {}
    said = " ".join(found.notes)
    assert "without dbstat" in said and "raw was not measured" in said and "Permission denied" in said
    assert point_of(found).tables == {} and "tables" not in point_of(found).areas


def test_backups_are_measured_their_wal_for_itself_and_their_disk(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured() -> sizes.Sizes:
        with engine.connect() as connection:
            return sizes.measure(connection, settings, dt.datetime(2026, 3, 9, 2, tzinfo=dt.UTC))

    (tmp_path / "edupulse.toml").write_text(
        '[tenants.north]\ntimezone = "UTC"\nfirst_week = 2025-09-01\n[backup]\nfolder = "kept"\n', encoding="utf-8"
    )
    settings = load_settings(home=tmp_path).model_copy(update={"database_url": str(engine.url)})
    lost = measured()
    assert "backups" not in lost.areas and "backups" in lost.unseen
    assert any(note.startswith("The backups were not measured: ") for note in lost.notes)
    barman = tmp_path / "kept" / "barman" / settings.backup.server
    for name, size in (("base/1/data", 7), ("wals/0000000100000000/1", 20), ("streaming/2.partial", 300)):
        (barman / name).parent.mkdir(parents=True)
        (barman / name).write_bytes(b"x" * size)
    (tmp_path / "kept" / "files").write_bytes(b"x" * 1000)
    found = measured()
    wal = {"backup_wal": 320} if engine.dialect.name == "postgresql" else {}
    assert {name: size for name, size in found.areas.items() if name.startswith("backup")} == wal | {
        "backups": 1327 - sum(wal.values())
    }
    assert "backups" not in found.disks and "backups" not in found.unseen  # the home's disk
    at = Path.stat
    monkeypatch.setattr(
        Path,
        "stat",
        lambda path, **options: SimpleNamespace(st_dev=-1) if path.name == "kept" else at(path, **options),
    )
    assert measured().disks["backups"].free > 0
    monkeypatch.undo()


def test_bytes_below_a_folder_are_all_of_them_or_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("one", "a/two", "a/b/three"):
        (tmp_path / name).write_bytes(b"0" * 10)
    assert sizes.bytes_below(tmp_path) == 30
    assert sizes.bytes_below(tmp_path / "nowhere") == 0
    scandir = sizes.os.scandir

    def guarded(folder: str) -> object:
        if folder.endswith("b"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    with monkeypatch.context() as patch:
        patch.setattr(sizes.os, "scandir", guarded)
        with pytest.raises(PermissionError):
            sizes.bytes_below(tmp_path)


@on_postgresql
def test_a_data_folder_below_somebody_elses_is_not_seen(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, **_: object) -> object:
        raise PermissionError(13, "Permission denied", str(self))

    with engine.connect() as connection, monkeypatch.context() as patch:
        patch.setattr(disks.Path, "stat", refused)
        assert disks.servers_room(connection, None, None) is None
    monkeypatch.setattr(disks.shutil, "disk_usage", refused)
    assert disks.room_at(Path("/var/lib/pgsql/data")) is None


# Growth


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    now = dt.datetime(2026, 3, 9, 2, tzinfo=dt.UTC)
    for weeks, size in ((30, 1), (8, 100), (1, 450), (0, 500)):
        remember(
            tmp_path, Point(now - dt.timedelta(weeks=weeks), {"archive": size}, {"students": size}, {"home": -size})
        )
    return tmp_path


def test_growth_is_over_eight_weeks_and_unknown_before_there_is_another_day(home: Path) -> None:
    *before, now = history(home)
    assert [point.areas["archive"] for point in before] == [1, 100, 450]
    assert growth(before, now) == ({"archive": 400 / 56}, {"students": 400 / 56})
    measured = Sizes(now.at, disks={"home": Room(800, 5000), "server": Room(1, 2)})
    earlier = now.at - dt.timedelta(weeks=8)
    told = {one.disk: one for one in forecasts([Point(earlier, {}, {}, {"home": 1200})], measured)}
    assert (told["home"].per_day, told["home"].days) == (pytest.approx(400 / 56), pytest.approx(112))
    assert (told["server"].per_day, told["server"].days) == (None, None)  # nobody has looked at it before
    fuller = forecasts([Point(earlier, {}, {}, {"home": 100})], measured)[0]
    assert fuller.per_day is not None and fuller.per_day < 0 and fuller.days is None  # it empties
    assert growth([Point(now.at - dt.timedelta(hours=1), {"archive": 1}, {}, {})], now) == ({}, {})


def test_a_day_is_on_record_once_and_what_cannot_be_read_is_passed_over(home: Path) -> None:
    now = history(home)[-1]
    remember(home, Point(now.at + dt.timedelta(hours=2), {"archive": 501}, {}, {}))
    assert [point.areas["archive"] for point in history(home)] == [1, 100, 450, 501]
    with history_file(home).open("a", encoding="utf-8") as stream:
        stream.write('{"at": "2026-03-10T00:00:00+00:00", "areas": 5}\n{"at"\n[]\n')
    assert len(history(home)) == 4
    shutil.rmtree(history_file(home).parent)
    assert history(home) == []
