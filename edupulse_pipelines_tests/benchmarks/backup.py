"""What a backup and the way back take: ours beside Barman alone, a dump, and pgBackRest where it is installed.

One PostgreSQL of the wheel with Barman's receiver, one database filled to `--megabytes` (a large installation has
5000). Seconds on the clock, each side in turns, the best of `--rounds`:

full       a full base backup that can be restored: ours (with its checks and the wait for WAL) beside `barman backup`;
           `pg_dump -Fd -j2`, which is no base backup: no time in between can be restored from it
increment  the same after one row in thirty was changed
restore    into an empty folder: ours (with its plan) beside `barman restore`; `pg_restore -j2` into a new database
files      what copying a home's files adds, for `--files-mib` of them, kept once by their content
drill      rows a second that are counted and hashed, and what a second state of the same costs
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edupulse_pipelines.operations.backup import barman, base_backups
from edupulse_pipelines.operations.backup.contents import Contents
from edupulse_pipelines.operations.backup.targets import Target
from edupulse_pipelines.operations.recovery.state import read_state
from edupulse_pipelines.programs import environment
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines_tests.benchmarks.load import peak_mib
from edupulse_pipelines_tests.operations.backed_up import BackedUp, backed_up_server

_ROW_BYTES = 250
_FILL = """
INSERT INTO filled (id, student, day, payload)
SELECT n, md5(n::text)::uuid, date '2025-09-01' + (n % 180)::int, repeat(md5((n * 7)::text), 6)
FROM generate_series({first}, {last}) n
"""


def run(argv: list[str]) -> dict[str, Any]:
    """Measure, print what was seen, return the figures."""
    parser = argparse.ArgumentParser(prog="benchmarks backup")
    parser.add_argument("--megabytes", type=int, default=1_000)
    parser.add_argument("--files-mib", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args(argv)
    best: dict[str, float] = {}

    def timed(name: str, action: Callable[[], object]) -> None:
        began = time.perf_counter()
        action()
        best[name] = min(best.get(name, float("inf")), time.perf_counter() - began)

    # What is measured is the disk as well: no settings that make a test's server cheap.
    durable = {"fsync": "on", "shared_buffers": "256MB", "max_wal_size": "4GB", "max_slot_wal_keep_size": "20GB"}
    with backed_up_server("wheel", schema=True, server=durable) as backed:
        rows = _fill(backed, arguments.megabytes)
        folder = Path(tempfile.mkdtemp(prefix="edupulse-bench-backup-", dir=backed.settings.home.parent))
        dumped = folder / "dump"
        for number in range(arguments.rounds):
            ours_first = number % 2 == 0
            for side in ("ours", "barman") if ours_first else ("barman", "ours"):
                full = _ours(backed, full=True) if side == "ours" else _barman(backed, "backup", "--wait")
                timed(f"full {side}", full)
            backed.run("UPDATE filled SET day = day + 1 WHERE id % 30 = 0", "CHECKPOINT", "SELECT pg_switch_wal()")
            newest = base_backups.base_backups(backed.settings)[-1]
            for side in ("ours", "barman") if ours_first else ("barman", "ours"):
                alone = _barman(backed, "backup", "--wait", "--incremental", newest.id)
                timed(f"increment {side}", _ours(backed, full=False) if side == "ours" else alone)
            newest = base_backups.base_backups(backed.settings)[-1]
            for side in ("ours", "barman") if ours_first else ("barman", "ours"):
                to = folder / side
                alone = _barman(backed, "restore", backup=newest.id, to=to)
                timed(f"restore {side}", _restored(backed, to) if side == "ours" else alone)
                shutil.rmtree(to)
            timed("full pg_dump", lambda: _program(backed, "pg_dump", "-Fd", "-j2", f"--file={dumped}"))
            backed.run("CREATE DATABASE again")
            timed("restore pg_restore", lambda: _program(backed, "pg_restore", "-j2", str(dumped), database="again"))
            backed.run("DROP DATABASE again")
            shutil.rmtree(dumped)
        timed("files", lambda: _copy_files(folder, arguments.files_mib))
        hashed = _hashed(backed)
    ratios = {f"{what} barman": round(best[f"{what} ours"] / best[f"{what} barman"], 3)
              for what in ("full", "increment", "restore")}  # fmt: skip
    missing = None if shutil.which("pgbackrest") else "pgBackRest is not installed"
    print(f"{rows:,} rows. Ours beside Barman alone: {ratios}. Hashed {hashed:,.0f} rows a second. {missing or ''}")
    return {
        "bench": "backup",
        "size": rows,
        "unit": "seconds",
        "ours": round(best["full ours"], 3),
        "others": {name: round(seconds, 3) for name, seconds in best.items() if name != "full ours"},
        "ratios": ratios,
        "hashed_rows_a_second": round(hashed),
        "not_measured": missing or "pgBackRest: this server is newer than it knows",
        "peak_mib": peak_mib(),
    }


def _fill(backed: BackedUp, megabytes: int) -> int:
    backed.run("CREATE TABLE filled (id bigint PRIMARY KEY, student uuid, day date, payload text)")
    rows = max(1_000, megabytes * 1_000_000 // _ROW_BYTES)
    for first in range(1, rows + 1, 500_000):
        backed.run(_FILL.format(first=first, last=min(rows, first + 499_999)))
    backed.run("VACUUM ANALYZE filled", "CHECKPOINT", "SELECT pg_switch_wal()")
    return rows


def _ours(backed: BackedUp, *, full: bool) -> Callable[[], object]:
    return lambda: base_backups.take_base_backup(backed.settings, full=full)


def _restored(backed: BackedUp, to: Path) -> Callable[[], object]:
    return lambda: base_backups.restore_database(backed.settings, to, Target.latest())


def _barman(backed: BackedUp, *words: str, backup: str | None = None, to: Path | None = None) -> Callable[[], object]:
    settings = backed.settings
    program = [barman.barman_program(settings), "-c", barman.configuration_of(settings)]
    command = [*program, *words, settings.backup.server, *([backup] if backup else []), *([str(to)] if to else [])]

    def call() -> None:
        subprocess.run(command, check=True, capture_output=True, env=environment(), cwd="/")

    return call


def _program(backed: BackedUp, name: str, *arguments: str, database: str = "edupulse") -> None:
    url = backed.server.url(database)
    subprocess.run([backed.server.programs.path(name), f"--dbname={url}", *arguments], check=True, capture_output=True)


def _copy_files(folder: Path, mib: int) -> None:
    kept = Contents(folder / "kept")
    made = folder / "file"
    for _ in range(max(1, mib // 4)):
        made.write_bytes(os.urandom(4 << 20))
        kept.add(made)


def _hashed(backed: BackedUp) -> float:
    """Rows a second that are counted and hashed, the better of two."""
    best = 0.0
    for _ in range(2):
        with Database(backed.settings.database_url).unchecked_work() as work, work.reading(steady=True) as connection:
            state = read_state(connection)
            best = max(best, state.rows / state.seconds)
    return best
