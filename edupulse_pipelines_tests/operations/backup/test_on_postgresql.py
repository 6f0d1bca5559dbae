"""Moments of a home on PostgreSQL, and bringing it back: one server with Barman, which the tests share in their order.

Starting it and copying it take half a minute of the processor, so these tests are heavy.
"""

from __future__ import annotations

import json
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edupulse_pipelines import cli
from edupulse_pipelines.governance.erasure import erase
from edupulse_pipelines.operations.backup import base_backups, taking
from edupulse_pipelines.operations.backup.moments import moments
from edupulse_pipelines.operations.backup.restoring import DATA_FOLDER
from edupulse_pipelines.settings import Settings, load_settings
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines_tests.cli.house import ATTENDANCE, STUDENTS
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER, FIRST_WEEK, STUDENT_HEADER, District
from edupulse_pipelines_tests.operations.backed_up import DATABASE, BackedUp, backed_up_server, run_sql, started_copy
from edupulse_pipelines_tests.operations.backup.test_runbooks import commands
from edupulse_pipelines_tests.prepared import put_mlflow_store

pytestmark = pytest.mark.heavy
RUN = "22222222-2222-3333-4444-555555555555"


@dataclass
class House:
    """A home whose database is on the server."""

    backed: BackedUp
    district: District

    @property
    def home(self) -> Path:
        return self.backed.settings.home

    @property
    def settings(self) -> Settings:
        return load_settings(home=self.home)

    def __call__(self, *words: str, code: int = 0, home: Path | None = None) -> Result:
        variables = {"EDUPULSE_DATABASE_URL": self.backed.settings.database_url}
        done = CliRunner(env=variables).invoke(cli.main, [*words, "--home", str(home or self.home)])
        assert done.exit_code == code, (done.output, done.exception)
        return done

    def facts(self, *words: str, code: int = 0) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self(*words, "--json", code=code).stdout.splitlines()[-1])
        return facts


@pytest.fixture(scope="module")
def server() -> Iterator[BackedUp]:
    with backed_up_server("wheel", schema=True) as backed:
        home = backed.settings.home
        home.mkdir(exist_ok=True)
        programs = backed.settings.backup.programs
        backed.settings.config_path.write_text(
            f'[tenants.north]\ntimezone = "America/New_York"\nfirst_week = {FIRST_WEEK}\nlanding = "north/landing"\n'
            f'[backup]\nprograms = "{programs}"\n',
            encoding="utf-8",
        )
        put_mlflow_store(home / "mlflow" / "mlflow.db")
        yield backed


@pytest.fixture(scope="module")
def house(server: BackedUp) -> Iterator[House]:
    engine = create_engine(server.settings.database_url)
    district = District(engine, server.settings.home, name="north")
    district.land(1, students=STUDENTS, attendance_records=ATTENDANCE)
    district.run("students", "attendance_records")
    yield House(server, district)
    engine.dispose()


@pytest.fixture
def back() -> Iterator[Path]:
    """Where a home may be restored to: the server's user has to get through to it."""
    folder = Path(tempfile.mkdtemp(prefix="edupulse-back-"))
    folder.chmod(0o711)
    yield folder / "back"
    shutil.rmtree(folder)


def last_names(url: str) -> list[str]:
    return [row[0] for row in run_sql(url, "SELECT last_name FROM students ORDER BY 1")]


def test_a_moment_names_a_restore_point_after_its_base_backup(house: House) -> None:
    told = house.facts("backup", "create")
    moment = moments(house.settings.model_copy(update={"database_url": house.backed.settings.database_url}))[-1]
    assert told["restore_point"] == f"edupulse-{moment.id}"
    assert moment.base_backup is not None
    assert moment.file("edupulse.db") is None
    assert moment.audit_head is not None
    assert list(moment.deliveries["north"]) == ["2025-09-08"]
    assert moment.damaged == ()
    assert house.facts("backup", "status")["warnings"] == []
    assert house.facts("backup", "verify")["findings"] == []


def test_it_comes_back_to_before_a_run_and_without_who_was_erased_since(house: House, back: Path) -> None:
    with replace(house.district.work, run_id=RUN).writing() as connection:
        connection.exec_driver_sql("UPDATE students SET first_name = 'Wrong'")
    house.district.land(2, attendance_records=f"{ATTENDANCE_HEADER}\n1001,2025-09-09,present\n")
    house.district.run("attendance_records")
    asked: dict[str, Any] = {"reason": "asked", "approved_by": "another person", "execute": True}
    erase(house.district.work, house.district.raw, house.district.tenant, "1002", **asked)
    told = house.facts("backup", "restore", "--to", str(back), "--before-change", RUN)
    assert told["in_order"], told
    assert told["erased"]["students erased again"] == 1
    assert told["lost"] == {"north": ["2025-09-15"]}
    data = back / DATA_FOLDER
    assert "hba_file" not in (data / "postgresql.auto.conf").read_text()
    with started_copy(house.backed, data) as copy:
        assert last_names(copy.url(DATABASE)) == ["Lee", "Moss"]
        names = run_sql(copy.url(DATABASE), "SELECT DISTINCT first_name FROM students WHERE first_name = 'Wrong'")
        assert names == []
    assert last_names(house.backed.settings.database_url) == ["Lee", "Moss"]


def test_files_alone_need_no_server(house: House, tmp_path: Path) -> None:
    told = house.facts("backup", "restore", "--to", str(tmp_path / "files"), "--only", "files")
    assert told["in_order"]
    assert not (tmp_path / "files" / DATA_FOLDER).exists()
    assert list((tmp_path / "files" / "raw").rglob("*.parquet"))


def test_a_dump_on_request_fills_an_empty_database(house: House, tmp_path: Path) -> None:
    told = house.facts("backup", "create", "--dump")
    assert told["dump"]
    run_sql(house.backed.server.url(), "CREATE DATABASE filled")
    url = house.backed.server.url("filled")
    facts = house.facts("backup", "restore", "--to", url)
    assert (facts["closed"], facts["differences"]) == (None, [])
    assert last_names(url) == ["Lee", "Moss"]
    asked: dict[str, Any] = {"reason": "asked", "approved_by": "another person", "execute": True}
    erase(house.district.work, house.district.raw, house.district.tenant, "1003", **asked)
    run_sql(house.backed.server.url(), "CREATE DATABASE closed")
    shut = house.facts("backup", "restore", "--to", house.backed.server.url("closed"), code=1)
    assert "1 students were erased since" in shut["closed"]
    let_in = "SELECT datname FROM pg_database WHERE has_database_privilege('edupulse_backup', datname, 'CONNECT')"
    assert {row[0] for row in run_sql(house.backed.server.url(), let_in)} >= {"filled"}
    assert "closed" not in {row[0] for row in run_sql(house.backed.server.url(), let_in)}
    assert house.facts("backup", "restore", "--to", str(tmp_path / "files"), "--only", "files")["in_order"]
    assert not (tmp_path / "files" / "dump").exists()


def test_the_live_data_folder_is_written_to_by_no_restore(house: House) -> None:
    data = house.backed.server.data
    before = sorted(path.name for path in data.iterdir())
    for more in ("--dry-run", "--json"):
        done = house("backup", "restore", "--to", str(data / "sub"), more, code=1)
        assert "the data folder of the running server" in " ".join(done.output.split())
    assert not (data / "sub").exists()
    assert sorted(path.name for path in data.iterdir()) == before


def test_a_moment_whose_base_backup_is_gone_is_named_and_its_files_come_back(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edupulse_pipelines.operations.backup import base_backups

    there = base_backups.base_backups(house.backed.settings)
    monkeypatch.setattr(base_backups, "base_backups", lambda _: there[1:])
    said = house.facts("backup", "verify", code=1)["findings"]
    assert any("its base backup" in sentence and "is gone" in sentence for sentence in said)
    house("backup", "restore", "--to", str(tmp_path / "files"), "--only", "files")


def test_a_district_that_the_settings_name_no_more_is_in_the_moment(house: House) -> None:
    from edupulse_pipelines.operations.backup.database_facts import read_facts
    from edupulse_pipelines.storage.database import Database

    facts = read_facts(Database(house.backed.settings.database_url), ())
    assert "north" in facts.deliveries
    assert "north" in facts.erasures


def test_where_nobody_can_know_who_was_erased_its_server_lets_in_the_keeper_alone(
    house: House, back: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edupulse_pipelines.operations.backup import after_restore

    monkeypatch.setattr(after_restore, "_bring_erasures", lambda *_: after_restore._CLOSED)
    done = house("backup", "restore", "--to", str(back), code=1)
    assert "who has been erased since cannot be known" in " ".join(done.output.split())
    data = back / DATA_FOLDER
    hba = (data / "pg_hba.closed.conf").read_text()
    assert "hba_file" in (data / "postgresql.auto.conf").read_text()
    assert [line.split()[2] for line in hba.splitlines() if line and not line.startswith("#")] == [
        "postgres",
        "edupulse_keeper",
        "edupulse_keeper",
    ]
    assert (data / "pg_hba.closed.conf").stat().st_uid == data.stat().st_uid
    by = ("backup", "open", "--reason", "erased again by the office's list")
    refused = house(*by, home=back, code=1)
    assert "names no server over" in " ".join(refused.output.split())  # it is the live one
    assert (data / "pg_hba.closed.conf").exists()
    house(*by, "--with-erased", home=back)
    assert "hba_file" not in (data / "postgresql.auto.conf").read_text()
    assert not (data / "pg_hba.closed.conf").exists()
    assert (back / "opened.jsonl").exists()


@pytest.mark.parametrize("when", ["before the point", "after the point", "while it reads"])
def test_a_migration_meanwhile_is_in_the_moment_as_a_whole_or_not_at_all(
    house: House, back: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    url = house.backed.settings.database_url
    [[ours]] = run_sql(url, "SELECT version_num FROM alembic_version")
    make, read = base_backups.make_restore_point, taking.read_facts
    points: list[str] = []
    engine = create_engine(url)

    def migrate() -> None:
        run_sql(url, "UPDATE alembic_version SET version_num = '0012'")

    def meanwhile(settings: Settings, name: str) -> base_backups.RestorePoint:
        points.append(name)
        if when == "before the point" and len(points) == 1:
            migrate()
        point = make(settings, name)
        if when == "after the point" and len(points) == 1:
            migrate()
        return point

    def locked_out(*arguments: Any) -> Any:
        """What it asks for is locked by a migration, which ends when it waits for it."""
        monkeypatch.setattr(taking, "read_facts", read)
        with engine.begin() as migrating, ThreadPoolExecutor(1) as reader:
            migrating.exec_driver_sql("UPDATE alembic_version SET version_num = '0012'")
            migrating.exec_driver_sql("LOCK TABLE ingested_files, erasures, audit_changes")
            found = reader.submit(read, *arguments)
            while run_sql(url, "SELECT count(*) FROM pg_locks WHERE NOT granted") == [(0,)]:
                assert not found.done()
            migrating.commit()
            return found.result()

    monkeypatch.setattr(base_backups, "make_restore_point", meanwhile)
    if when == "while it reads":
        monkeypatch.setattr(taking, "read_facts", locked_out)
    try:
        told = house.facts("backup", "create")
        assert (told["schema_revision"], told["damaged"], told["restore_point"]) == ("0012", [], points[-1])
        if when == "after the point":
            found = house.facts("backup", "restore", "--to", str(back), "--point", told["id"], code=1)
            assert found["schema_revision"] == "0012"
            assert f"revision: 0012, this version needs {ours}" in found["differences"]
            with started_copy(house.backed, back / DATA_FOLDER) as copy:
                assert run_sql(copy.url(DATABASE), "SELECT version_num FROM alembic_version") == [("0012",)]
    finally:
        run_sql(url, f"UPDATE alembic_version SET version_num = '{ours}'")
        engine.dispose()


def test_a_newer_schema_is_refused_or_told_and_an_erasure_keeps_it_closed(
    house: House, back: Path, tmp_path: Path
) -> None:
    url = house.backed.settings.database_url
    [[ours]] = run_sql(url, "SELECT version_num FROM alembic_version")
    run_sql(url, "UPDATE alembic_version SET version_num = '9999'")
    try:
        newer = house.facts("backup", "create")
        base_backups.make_restore_point(house.backed.settings, "newer")
    finally:
        run_sql(url, f"UPDATE alembic_version SET version_num = '{ours}'")
    assert newer["schema_revision"] == "9999"
    refused = house("backup", "restore", "--to", str(tmp_path / "to"), "--point", newer["id"], code=1)
    said = " ".join(refused.output.split())
    assert "has schema revision 9999" in said
    assert "Install that version, or a newer one" in said
    assert not (tmp_path / "to").exists()
    # A place between moments, where the database is newer than the moment that has its files.
    asked: dict[str, Any] = {"reason": "asked", "approved_by": "another person", "execute": True}
    erase(house.district.work, house.district.raw, house.district.tenant, "1001", **asked)
    house("backup", "create")
    told = house.facts("backup", "restore", "--to", str(back), "--point", "newer", code=1)
    assert told["schema_revision"] == "9999"
    assert "Install the version of the package that made it" in told["closed"]


def test_a_load_and_an_erasure_between_database_and_files(
    house: House, back: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, points = taking.home_files, []

    def meanwhile(settings: Settings) -> Any:
        points.append(settings)
        if len(points) == 1:
            house.district.land(5, students=f"{STUDENT_HEADER}\n1005,Eve,New,2010-01-05\n")
            house.district.run("students")
        elif len(points) == 2:
            asked: dict[str, Any] = {"reason": "asked", "approved_by": "another person", "execute": True}
            erase(house.district.work, house.district.raw, house.district.tenant, "1005", **asked)
        return files(settings)

    monkeypatch.setattr(taking, "home_files", meanwhile)
    loaded = house.facts("backup", "create")
    assert (len(points), loaded["damaged"]) == (1, [])
    told = house.facts("backup", "restore", "--to", str(back), "--point", loaded["id"])
    assert told["lost"]["north"] == ["2025-10-06"]
    shutil.rmtree(back)
    erased = house.facts("backup", "create")
    assert (len(points), erased["damaged"]) == (3, [])  # archives and rows of before and after do not go together
    told = house.facts("backup", "restore", "--to", str(back), "--point", erased["id"])
    assert told["in_order"], told
    with started_copy(house.backed, back / DATA_FOLDER) as copy:
        assert "New" not in last_names(copy.url(DATABASE))


def test_the_server_is_gone_and_the_runbook_is_typed(house: House, back: Path) -> None:
    """A server is started over the restored folder where the page says so, and named in the URL from then on."""
    house("backup", "create")
    url = house.backed.settings.database_url
    places = {"/srv/backups": str(house.settings.backup_dir), "/srv/edupulse": str(back)}

    def typed(line: str) -> None:
        for place, instead in places.items():
            line = line.replace(place, instead)
        variables = {"EDUPULSE_DATABASE_URL": url, "EDUPULSE_HOME": str(house.home)}
        done = CliRunner(env=variables).invoke(cli.main, shlex.split(line)[1:])
        assert done.exit_code == 0, (line, done.output, done.exception)

    lines = commands("The server is gone")
    place = next(number for number, line in enumerate(lines) if line.startswith("edupulse db upgrade"))
    for line in lines[:place]:
        typed(line)
    with started_copy(house.backed, back / DATA_FOLDER) as copy:
        url = copy.url(DATABASE)
        checks = [line for line in lines[place:] if " backup " not in line]  # it has no receiver of WAL here
        for line in checks:
            typed(line)
        assert [line.split()[1] for line in checks] == ["db", "db", "audit", "model"]
        assert last_names(url) == last_names(house.backed.settings.database_url)
