"""A PostgreSQL of its own that Barman backs up, with the receiver of WAL running, for tests of backups and drills."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.operations.backup import barman
from edupulse_pipelines.operations.backup.barman_configuration import slot_of, write_configuration
from edupulse_pipelines.operations.postgresql_server import FolderServer
from edupulse_pipelines.programs import environment
from edupulse_pipelines.settings import BackupSettings, Settings
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines_tests.servers import new_server

DATABASE = "edupulse"
GRANTS = (
    "CREATE ROLE edupulse_backup LOGIN REPLICATION BYPASSRLS",
    "GRANT pg_read_all_data, pg_monitor, pg_checkpoint TO edupulse_backup",
    "GRANT EXECUTE ON FUNCTION pg_backup_start(text, boolean), pg_backup_stop(boolean), pg_switch_wal(), "
    "pg_create_restore_point(text) TO edupulse_backup",
)
"""What `edupulse db roles` gives the role that copies."""


@dataclass
class BackedUp:
    """The server, the settings of an installation that uses it, and the receiver's process."""

    server: FolderServer
    settings: Settings
    receiver: subprocess.Popen[bytes]

    def with_backup(self, **changes: Any) -> Settings:
        """The settings with other values in `[backup]`."""
        backup = BackupSettings.model_validate({**self.settings.backup.model_dump(), **changes})
        return self.settings.model_copy(update={"backup": backup})

    def run(self, *statements: str) -> list[Any]:
        """Run SQL as the superuser, each statement committed by itself; the rows of the last."""
        return run_sql(self.server.url(DATABASE), *statements)

    def stop_receiving(self) -> None:
        """End the receiver, as a crash does."""
        self.receiver.terminate()
        self.receiver.wait()

    def receive(self) -> None:
        """Start the receiver again, and wait until it is connected."""
        self.receiver = _receiver(self.settings)
        _wait_for_receiver(self.server, self.settings)


def run_sql(url: str, *statements: str) -> list[Any]:
    """Run SQL, each statement committed by itself; the rows of the last."""
    engine = create_engine(url)
    rows: list[Any] = []
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for statement in statements:
                result = connection.execute(sa.text(statement))
                rows = list(result) if result.returns_rows else []
    finally:
        engine.dispose()
    return rows


@contextmanager
def backed_up_server(
    kind: str, *, backup: Mapping[str, Any] | None = None, schema: bool = False, server: Mapping[str, str] | None = None
) -> Iterator[BackedUp]:
    """A server of the kind with Barman set up for it; taken away at the end.

    backup: keys of `[backup]`. schema: whether its database has the current tables. server: its settings.
    """
    summaries = {"summarize_wal": "on"} if kind == "wheel" else {}
    with new_server(kind, settings={"max_slot_wal_keep_size": "1GB", **summaries, **(server or {})}) as started:
        folder = Path(tempfile.mkdtemp(prefix="edupulse-backed-up-"))
        run_sql(started.url(), f"CREATE DATABASE {DATABASE}")
        run_sql(started.url(DATABASE), *GRANTS)  # rights to functions are of one database
        if schema:
            from edupulse_pipelines.storage.versions import upgrade

            engine = create_engine(started.url(DATABASE))
            upgrade(engine)
            engine.dispose()
        settings = Settings(
            home=folder / "home",
            database_url=started.url(DATABASE),
            tracking_uri=f"sqlite:///{folder / 'mlflow.db'}",
            config_path=folder / "home" / "edupulse.toml",
            tenants={},
            backup=BackupSettings.model_validate({"programs": str(started.programs.folder), **(backup or {})}),
        )
        _demand_barman(settings)
        write_configuration(settings)
        made = BackedUp(started, settings, _receiver(settings))
        try:
            _wait_for_receiver(started, settings)
            yield made
        finally:
            made.stop_receiving()
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def started_copy(backed: BackedUp, data: Path, seconds: int = 60) -> Iterator[FolderServer]:
    """A server over a restored folder, once its recovery has ended; AssertionError with its log where it does not."""
    socket = Path(tempfile.mkdtemp(prefix="edupulse-copy-"))
    socket.chmod(0o711)
    copy = replace(backed.server, data=data, socket=socket / "s", log=socket / "log", user=None)
    copy.settings = {**backed.server.settings, "fsync": "off"}
    try:
        copy.start()
        deadline = time.monotonic() + seconds
        while True:
            try:
                if not run_sql(copy.url(), "SELECT pg_is_in_recovery()")[0][0]:
                    break
            except sa.exc.OperationalError:
                pass
            if not copy.is_running() or time.monotonic() > deadline:
                assert copy.log is not None
                raise AssertionError(f"recovery has not ended:\n{copy.log.read_text()[-3000:]}")
            time.sleep(0.1)
        yield copy
    finally:
        copy.stop("immediate")
        shutil.rmtree(socket, ignore_errors=True)


def _demand_barman(settings: Settings) -> None:
    try:
        barman.barman_version(settings)
    except ConfigurationError:
        pytest.skip("lacks Barman (`make barman`)")
    if shutil.which("rsync") is None:
        pytest.skip("lacks rsync, by which Barman restores")


def _receiver(settings: Settings) -> subprocess.Popen[bytes]:
    command = [barman.barman_program(settings), "-c", barman.configuration_of(settings), "-q", "receive-wal"]
    return subprocess.Popen(
        [*command, settings.backup.server],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _wait_for_receiver(server: FolderServer, settings: Settings, seconds: int = 60) -> None:
    deadline = time.monotonic() + seconds
    active = f"SELECT active FROM pg_replication_slots WHERE slot_name = '{slot_of(settings)}'"
    while (True,) not in [tuple(row) for row in run_sql(server.url(), active)]:
        assert time.monotonic() < deadline, "the receiver has not connected"
        time.sleep(0.1)
