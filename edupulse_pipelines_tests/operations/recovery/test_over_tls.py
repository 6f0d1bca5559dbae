"""The way back where the server is reached by TLS and nothing else: each command as it is typed, by `verify-full`.

The distribution's PostgreSQL, because the wheel's speaks no TLS. Its `pg_hba.conf` lets nobody in by a plain
connection, and the name in the URLs is none of this machine's, so that what goes by it is held to leave the machine.
"""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization

from edupulse_pipelines import cli
from edupulse_pipelines.operations.postgresql_server import FolderServer
from edupulse_pipelines.settings import load_settings
from edupulse_pipelines.storage import engine as engines
from edupulse_pipelines_tests.operations.backed_up import DATABASE, GRANTS, BackedUp, run_sql
from edupulse_pipelines_tests.operations.recovery.copies import ask
from edupulse_pipelines_tests.operations.recovery.primary import filled
from edupulse_pipelines_tests.servers import CHEAP, new_server
from edupulse_pipelines_tests.storage.test_tls import NAME, Tls, authority, certificate

pytestmark = pytest.mark.heavy
PASSWORD = "s3c:r\\et"
HBA = (
    "local all postgres trust\n"
    "hostssl all postgres,edupulse_backup 127.0.0.1/32 scram-sha-256\n"
    "hostssl replication edupulse_backup 127.0.0.1/32 scram-sha-256\n"
)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that the server's user gets through."""
    folder = Path(tempfile.mkdtemp(prefix="edupulse-by-tls-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def tls(place: Path) -> Iterator[Tls]:
    port, ours = free_port(), authority()
    root = place / "root.crt"
    root.write_bytes(ours.certificate.public_bytes(serialization.Encoding.PEM))
    root.chmod(0o644)
    with new_server("debian", hba=HBA, listen="127.0.0.1", port=port) as server:
        run_sql(server.url(), f"CREATE DATABASE {DATABASE}")
        run_sql(server.url(DATABASE), *GRANTS)
        for role in ("postgres", "edupulse_backup"):
            run_sql(server.url(), f"ALTER ROLE {role} PASSWORD '{PASSWORD}'")
        run_sql(server.url(), "ALTER SYSTEM SET max_slot_wal_keep_size = '1GB'")
        made = Tls(server, port, ours, root, engines.create_engine(server.url()))
        made.certify(certificate(ours, NAME))
        yield made
        made.admin.dispose()


def url_of(tls: Tls, user: str, database: str, *ports: int) -> str:
    """The URL by which the role reaches these ports."""
    hosts = ",".join(f"{NAME}:{port}" for port in ports)
    addresses = ",".join("127.0.0.1" for _ in ports)
    more = "&target_session_attrs=read-write" if len(ports) > 1 else ""
    password = PASSWORD.replace(":", "%3A").replace("\\", "%5C")
    return (
        f"postgresql://{user}:{password}@{hosts}/{database}?hostaddr={addresses}&sslmode=verify-full"
        f"&sslrootcert={tls.root}{more}"
    )


def test_backup_restore_drill_and_standby(tls: Tls, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = place / "home"
    home.mkdir(mode=0o711)
    url = url_of(tls, "postgres", DATABASE, tls.port)
    _, engine, registry = filled(home, url)
    engine.dispose()
    (home / "edupulse.toml").write_text(
        '[tenants.north]\ntimezone = "America/New_York"\nfirst_week = 2025-09-01\nlanding = "north/landing"\n'
        '[tenants.south]\ntimezone = "UTC"\nfirst_week = 2024-09-02\nlanding = "south"\n'
        f'[backup]\nprograms = "{tls.server.programs.folder}"\n'
    )
    monkeypatch.setenv("EDUPULSE_DATABASE_URL", url)
    monkeypatch.setenv("EDUPULSE_BACKUP_URL", url_of(tls, "edupulse_backup", DATABASE, tls.port))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.tracking_uri)

    def typed(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(cli.main, [*words, "--home", str(home)])
        assert done.exit_code == code, (words, done.output, done.exception)
        assert "s3c" not in done.output
        return done.output

    def told(*words: str) -> dict[str, object]:
        return dict(json.loads(typed(*words, "--json").splitlines()[-1]))

    # A certificate of another name: setup says so, and pastes nothing that would not mend it.
    tls.certify(certificate(tls.ours, "elsewhere.example.org"))
    assert "does not match host name" in " ".join(typed("backup", "setup", code=1).split())
    tls.certify(certificate(tls.ours, NAME))
    typed("backup", "setup", code=1)  # nobody receives yet
    backed = BackedUp.__new__(BackedUp)
    backed.server, backed.settings = tls.server, load_settings(home=home)
    backed.receive()
    try:
        encrypted = "SELECT bool_and(s.ssl), count(*) FROM pg_stat_ssl s JOIN pg_stat_replication r USING (pid)"
        assert run_sql(tls.server.url(), encrypted) == [(True, 1)]
        typed("backup", "create")
        assert told("backup", "verify")["findings"] == []
        # The champion is one by SQL, which the registry does not know: that is told, and is all that is.
        said = typed("backup", "restore", "--to", str(place / "back"), "--json", code=1)
        restored = json.loads(said.splitlines()[-1])
        assert (restored["differences"], restored["archives"], restored["closed"]) == ([], [], None)
        assert restored["models"]
        drilled = told("backup", "drill")
        assert (drilled["succeeded"], drilled["findings"]) == (True, [])
        barman = home / "backups" / "barman"
        assert not [path for path in (barman / "barman.conf", barman / "barman.log") if "s3c" in path.read_text()]
    finally:
        backed.stop_receiving()
    _follow_and_promote(tls, place, monkeypatch, typed)


def _follow_and_promote(tls: Tls, place: Path, monkeypatch: pytest.MonkeyPatch, typed: Callable[..., str]) -> None:
    folder, port = tls.server.data.parent / "standby", free_port()
    typed("backup", "standby", "create", str(folder))
    said = (folder / "postgresql.auto.conf").read_text()
    for word in ("sslmode=''verify-full''", f"sslrootcert=''{tls.root}''", f"host={NAME}"):
        assert word in said, said
    standby = FolderServer(
        tls.server.programs,
        folder,
        folder.with_name("other"),
        port=port,
        listen="127.0.0.1",
        user=tls.server.run_as(),
        settings=CHEAP,
    )
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, tls.server.run_as())
    try:
        standby.start()
        monkeypatch.setenv("EDUPULSE_STANDBY_URL", url_of(tls, "postgres", DATABASE, port))
        monkeypatch.setenv("EDUPULSE_DATABASE_URL", url_of(tls, "postgres", DATABASE, tls.port, port))
        for _ in range(600):
            if ask(tls.server, "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()"):
                break
            ask(tls.server, "SELECT pg_sleep(0.1)")
        assert "The standby follows: " in typed("backup", "standby", "status")
        encrypted = "SELECT bool_and(s.ssl) FROM pg_stat_ssl s JOIN pg_stat_replication r USING (pid)"
        assert ask(tls.server, encrypted) is True
        assert "The primary answers" in typed("backup", "standby", "promote", "--yes", code=1)
        tls.server.stop("immediate")
        typed("backup", "standby", "promote", "--yes")
        typed("db", "check")  # the URL that names both finds whichever takes writes
    finally:
        standby.stop("immediate")
