"""Logical dumps: into a server of another major version, and refused where damaged or in the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from edupulse_pipelines.cli import main
from edupulse_pipelines.errors import KeyUnusable, PermanentError, TransientError
from edupulse_pipelines.operations.backup.dumps import opened_dump, restore_dump, take_dump
from edupulse_pipelines.operations.backup.from_dump import restore_from_folder
from edupulse_pipelines.operations.backup.home_files import DUMP_WORK
from edupulse_pipelines.operations.postgresql_server import FolderServer
from edupulse_pipelines.settings import BackupSettings, EncryptionSettings, Settings
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines_tests.encryption.rings import identity, settings_at
from edupulse_pipelines_tests.operations.backed_up import DATABASE, GRANTS, run_sql
from edupulse_pipelines_tests.servers import new_server, programs


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Settings]:
    """An installation on the distribution's PostgreSQL, with one row that a policy guards."""
    with new_server("debian") as server:
        run_sql(server.url(), f"CREATE DATABASE {DATABASE}")
        run_sql(server.url(DATABASE), *GRANTS)
        url = server.url(DATABASE)
        Database(url).upgrade()
        with Database(url).work("lakeside") as work, work.writing() as connection:
            connection.execute(
                sa.text(
                    "INSERT INTO instructional_days (tenant_id, date, delivered_on) "
                    "VALUES ('lakeside', '2025-09-01', '2025-09-01')"
                )
            )
        yield Settings(
            home=tmp_path / "home",
            database_url=url,
            tracking_uri="sqlite://",
            config_path=tmp_path / "edupulse.toml",
            tenants={},
            backup=BackupSettings(programs=str(programs("wheel").folder)),
        )


def test_a_dump_goes_into_another_major_version_and_nowhere_else(
    source: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_disk: Callable[[int], Path]
) -> None:
    folder = tmp_path / "dump"
    monkeypatch.setenv("EDUPULSE_DATABASE_URL", source.database_url)
    monkeypatch.setenv("EDUPULSE_HOME", str(source.home))
    source.home.mkdir()
    programs_of_18 = programs("wheel").folder
    (source.home / "edupulse.toml").write_text(
        f'[backup]\nprograms = "{programs_of_18}"\n[tenants.lakeside]\ntimezone = "UTC"\nfirst_week = 2025-09-01\n'
    )
    for kib in (0, 60):  # of this disk nothing, and less than the tables take
        disk = small_disk(kib or 4)
        full = CliRunner().invoke(main, ["backup", "dump", "--to", str(disk / "dump")])
        assert (full.exit_code, list(disk.iterdir())) == (1, []), full.output
        said = " ".join(full.output.split())
        assert f"No space is left on the disk of {disk}" in said
        assert "when the dump was " in said
        assert "It is taken away again: free some and dump again." in said
    small_disk(20_000)
    assert CliRunner().invoke(main, ["backup", "dump", "--to", str(disk / "dump")]).exit_code == 0
    told = CliRunner().invoke(main, ["backup", "dump", "--to", str(folder), "--json"])
    assert told.exit_code == 0, told.output
    with opened_dump(source, folder) as dump:
        assert dump.folder == folder
    assert json.loads(told.output)["size_bytes"] == dump.size_bytes
    assert dump.server_version < 18
    roles = (folder / "roles.sql").read_text()
    assert "CREATE ROLE edupulse_backup" in roles
    assert "PASSWORD" not in roles
    with pytest.raises(PermanentError, match="there already"):
        take_dump(source, folder)
    with pytest.raises(PermanentError, match="not empty"):
        restore_from_folder(source, folder, source.database_url)
    assert _open_to_all(source.database_url)  # the live database, named by mistake
    with new_server("wheel") as server:
        url = server.url(DATABASE)
        run_sql(server.url(), f"CREATE DATABASE {DATABASE}")
        largest = max((folder / "database").glob("*.dat.gz"), key=lambda path: path.stat().st_size)
        before = largest.read_bytes()
        largest.write_bytes(before[:20] + bytes([before[20] ^ 1]) + before[21:])
        with pytest.raises(PermanentError, match=largest.name):
            restore_dump(source, folder, url)
        largest.write_bytes(before)
        told = CliRunner().invoke(main, ["backup", "restore-dump", str(folder), "--to", url, "--json"])
        assert json.loads(told.output) == {"left": [], "closed": None, "not_known": None}
        assert _open_to_all(url)
        refused = CliRunner().invoke(main, ["backup", "restore-dump", str(folder), "--to", "postgresql://a:b@/c"])
        assert refused.exit_code == 2
        assert "holds a password" in refused.output
        assert run_sql(url, "SELECT tenant_id, CAST(date AS text) FROM instructional_days") == [
            ("lakeside", "2025-09-01")
        ]
        assert Database(url).check() == []
        with Database(url).work("lakeside") as work, work.reading() as connection:
            assert connection.execute(sa.text("SELECT count(*) FROM audit_changes")).scalar_one() == 1
        newer = take_dump(source.model_copy(update={"database_url": url}), tmp_path / "newer")
        run_sql(source.database_url, "CREATE DATABASE another")
        older = sa.engine.make_url(source.database_url).set(database="another").render_as_string(hide_password=False)
        with pytest.raises(PermanentError, match="an older one"):
            restore_dump(source, newer.folder, older)

        _it_stays_closed_where_nobody_knows_who_was_erased(source, folder, server, monkeypatch)
        run_sql(server.url(), "CREATE DATABASE from_encrypted")
        _an_encrypted_one_is_opened_by_its_key_alone(source, tmp_path, server.url("from_encrypted"))


def _open_to_all(url: str) -> bool:
    return bool(run_sql(url, "SELECT has_database_privilege('public', current_database(), 'CONNECT')")[0][0])


def _it_stays_closed_where_nobody_knows_who_was_erased(
    source: Settings, folder: Path, server: FolderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The live database is gone, or its URL names the new one already; then the role may not close it."""
    run_sql(server.url(), "CREATE DATABASE closed")
    url = server.url("closed")
    run_sql(
        url,
        "CREATE ROLE edupulse_keeper",
        "CREATE ROLE passing BYPASSRLS LOGIN",
        "GRANT CREATE ON SCHEMA public TO passing",
    )
    monkeypatch.setenv("EDUPULSE_DATABASE_URL", url)
    passing = url.replace("://postgres", "://passing")
    assert passing != url
    refused = CliRunner().invoke(main, ["backup", "restore-dump", str(folder), "--to", passing])
    assert "may not close the database" in " ".join(refused.output.split()), refused.output
    told = CliRunner().invoke(main, ["backup", "restore-dump", str(folder), "--to", url, "--json"])
    assert told.exit_code == 1, told.output
    assert "erased since the dump was taken cannot be known" in json.loads(told.output)["closed"]
    assert not _open_to_all(url)
    assert run_sql(url, "SELECT has_database_privilege('edupulse_keeper', 'closed', 'CONNECT')") == [(True,)]
    monkeypatch.setenv("EDUPULSE_DATABASE_URL", source.database_url)


def _an_encrypted_one_is_opened_by_its_key_alone(source: Settings, tmp_path: Path, url: str) -> None:
    key_file = tmp_path / "operator.key"
    key_file.write_text(identity())
    keyed = source.model_copy(update={"encryption": EncryptionSettings(key_file=key_file)})
    left = keyed.home / DUMP_WORK / "database"  # of one that was killed
    left.mkdir(parents=True)
    dump = take_dump(keyed, tmp_path / "encrypted")
    assert dump.encrypted
    files = {path.name: path.read_bytes() for path in dump.folder.rglob("*") if path.is_file()}
    assert {"dump.json", "roles.sql.age", "toc.dat.age"} < set(files)
    assert [name for name, data in files.items() if not data.startswith(b"age-encryption.org/")] == ["dump.json"]
    assert not (keyed.home / DUMP_WORK).exists()
    with pytest.raises(KeyUnusable, match="no key is set"):
        restore_dump(source, dump.folder, url)
    another = tmp_path / "another.key"
    another.write_text(identity())
    with pytest.raises(KeyUnusable, match="is not the one of"):
        restore_dump(keyed.model_copy(update={"encryption": EncryptionSettings(key_file=another)}), dump.folder, url)
    for change, said in ((lambda data: data[:-3], "is damaged or cut off"), (None, "is missing")):
        path = dump.folder / "roles.sql.age"
        path.unlink() if change is None else path.write_bytes(change(files[path.name]))
        with pytest.raises(PermanentError, match=f"roles.sql.age {said}"):
            restore_dump(keyed, dump.folder, url)
        path.write_bytes(files[path.name])
    with opened_dump(keyed, dump.folder) as plain:
        assert plain.folder == keyed.home / DUMP_WORK
        with pytest.raises(TransientError, match="Another dump"):
            restore_dump(keyed, dump.folder, url)
    assert restore_dump(keyed, dump.folder, url) == []
    assert run_sql(url, "SELECT tenant_id FROM instructional_days") == [("lakeside",)]
    assert not (keyed.home / DUMP_WORK).exists()


def test_what_is_no_finished_dump_is_refused(tmp_path: Path) -> None:
    settings = settings_at(tmp_path / "home", None)
    for content, said in (
        (None, "no finished dump"),
        ('{"files": {}', "damaged"),
        ('{"files": {"../../x": [1, "a"]}, "server_version": 18, "taken_at": "2026-03-09T06:00:00+00:00"}', "damaged"),
    ):
        if content is not None:
            (tmp_path / "dump.json").write_text(content)
        with pytest.raises(PermanentError, match=said), opened_dump(settings, tmp_path):
            pass
