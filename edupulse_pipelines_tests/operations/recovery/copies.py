"""Base backups and WAL of a test's server by PostgreSQL's own programs, in the place of Barman: quick, and at hand.

`installed` puts them where the drill asks for backups (`operations.backup.base_backups`), for the length of a test.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
import pytest

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.operations.backup import base_backups
from edupulse_pipelines.operations.backup.base_backups import RestorePlan, RestorePoint, WalState
from edupulse_pipelines.operations.backup.targets import Target
from edupulse_pipelines.operations.postgresql_server import FolderServer
from edupulse_pipelines.settings import Settings

ARCHIVING = {"archive_mode": "on", "wal_level": "replica", "archive_timeout": "0"}


def ask(server: FolderServer, query: str, database: str = "postgres") -> object:
    """The first value that a query of the superuser gives."""
    connection = psycopg2.connect(server.url(database))
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone()[0] if cursor.description else None
    finally:
        connection.close()


@dataclass
class Copies:
    """A base backup of the server, and the WAL that it has archived since.

    damage: what is done to a restored data folder before anything starts in it. needed: bytes that a plan asks for.
    """

    server: FolderServer
    base: Path
    wal: Path
    damage: Callable[[Path], None] | None = None
    needed: int | None = None
    restored: list[Target] = field(default_factory=list)

    @classmethod
    def of(cls, server: FolderServer) -> Copies:
        """Take a base backup of the server, and let it archive from now on."""
        folder = server.data.parent
        wal = folder / "wal"
        wal.mkdir()
        wal.chmod(0o777)
        ask(server, f"ALTER SYSTEM SET archive_command = 'cp %p {wal}/%f'")
        ask(server, "SELECT pg_reload_conf()")
        base = folder / "base"
        subprocess.run(
            [server.programs.path("pg_basebackup"), "-d", server.url(), "-D", base, "-c", "fast", "-X", "fetch"],
            check=True,
        )
        return cls(server, base, wal)

    def installed(self, patch: pytest.MonkeyPatch) -> Copies:
        """Answer for `base_backups` until the test ends."""
        for name in ("make_restore_point", "await_restore_point", "restore_plan", "restore_database", "wal_state"):
            patch.setattr(base_backups, name, getattr(self, name))
        return self

    def make_restore_point(self, _settings: Settings, name: str, *, wait: bool = True) -> RestorePoint:
        lsn = str(ask(self.server, f"SELECT pg_create_restore_point('{name}')"))
        segment = str(ask(self.server, f"SELECT pg_walfile_name('{lsn}')"))
        ask(self.server, "SELECT pg_switch_wal()")
        point = RestorePoint(name, segment, lsn, dt.datetime.now(dt.UTC))
        if wait:
            self.await_restore_point(_settings, point)
        return point

    def await_restore_point(self, _settings: Settings, point: RestorePoint) -> None:
        # Whoever wants to write can: nobody is kept out while WAL travels.
        ask(self.server, "BEGIN; LOCK TABLE students IN ROW EXCLUSIVE MODE NOWAIT; COMMIT", "edupulse")
        deadline = time.monotonic() + 60
        while not (self.wal / point.wal).exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def restore_plan(self, _settings: Settings, target: Target) -> RestorePlan:
        return RestorePlan(target, None, None, None, self.needed)

    def restore_database(self, settings: Settings, to: Path, target: Target) -> RestorePlan:
        if to.exists() and any(to.iterdir()):
            raise PermanentError(f"{to} is not empty.")
        self.restored.append(target)
        shutil.copytree(self.base, to, dirs_exist_ok=True)
        wanted = {
            "point": f"recovery_target_name = '{target.point}'",
            "time": f"recovery_target_time = '{target.time}'",
            "latest": "",
            "transaction": "",
        }[target.kind]
        with (to / "postgresql.auto.conf").open("a") as stream:
            stream.write(f"restore_command = 'cp {self.wal}/%f %p'\n{wanted}\n")
            # What a primary may have in its own configuration, and no copy of it may do.
            stream.write("primary_conninfo = 'host=primary.example'\nprimary_slot_name = 'taken'\n")
            stream.write("archive_command = 'false'\nlisten_addresses = '*'\nshared_preload_libraries = 'none_such'\n")
        (to / "recovery.signal").touch()
        for path in self.wal.iterdir():
            path.chmod(0o644)
        if self.damage is not None:
            self.damage(to)
        return self.restore_plan(settings, target)

    def wal_state(self, _settings: Settings) -> WalState:
        newest = max(self.wal.iterdir(), key=os.path.getmtime, default=None)
        age = None if newest is None else time.time() - newest.stat().st_mtime
        return WalState(newest and newest.name, None, age, True, "active", 0, ())
