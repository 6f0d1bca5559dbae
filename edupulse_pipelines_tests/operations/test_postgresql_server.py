"""Servers over a folder of ours: they start, answer on their socket alone, stop, and say what is lacking."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import ConfigurationError, PermanentError
from edupulse_pipelines.operations.postgresql_server import FolderServer, Programs, programs_for
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines_tests.servers import new_server, programs


@pytest.mark.parametrize("kind", ["wheel", "debian"])
def test_a_server_answers_on_its_socket_with_its_settings(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EDUPULSE_KEY", "EDUPULSE_KEEPER_URL", "EDUPULSE_NEW_SECRET", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD"):
        monkeypatch.setenv(name, "s3cret")
    with new_server(kind, settings={"work_mem": "5MB"}) as server:
        engine = create_engine(server.url())
        with engine.connect() as connection:
            told = {name: connection.scalar(sa.text(f"SHOW {name}")) for name in ("work_mem", "listen_addresses")}
            major = connection.scalar(sa.text("SHOW server_version_num"))
        engine.dispose()
        assert told == {"work_mem": "5MB", "listen_addresses": ""}
        assert int(major) // 10_000 == server.programs.major
        process = (server.data / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0]
        given = Path(f"/proc/{process}/environ").read_bytes()
        assert b"PATH=" in given
        assert b"s3cret" not in given
        assert server.socket.stat().st_mode & 0o077 == 0
        server.stop()
        assert not server.is_running()
        server.stop()  # again, without a word


def test_a_folder_that_is_no_database_does_not_start_and_the_error_names_it(tmp_path: Path) -> None:
    server = FolderServer(programs("wheel"), tmp_path / "data", tmp_path / "s")
    server.data.mkdir()
    with pytest.raises(PermanentError, match=str(server.data)):
        server.start(seconds=5)


def test_a_socket_with_too_long_a_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="107 bytes"):
        FolderServer(Programs(tmp_path, 18), tmp_path / "data", tmp_path / ("s" * 120))


def test_programs_that_are_not_there_are_named_with_where_was_looked(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"PostgreSQL 99 .*{tmp_path}"):
        programs_for(99, tmp_path)
    with pytest.raises(ConfigurationError, match="/usr/lib/postgresql/99/bin"):
        programs_for(99)
    with pytest.raises(ConfigurationError, match="no program pg_verifybackup"):
        Programs(tmp_path, 18).path("pg_verifybackup")
