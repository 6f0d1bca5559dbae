"""What a backup and the way back take: ours beside Barman alone, a dump, and pgBackRest where it is installed.

One PostgreSQL of the wheel with Barman's receiver, one database filled to `--megabytes` (a large installation has
5000). Seconds on the clock, each side in turns, the first one alternating, the best of `--rounds`; and the CPU seconds
of ours and of the programs started, the server's not among them, which what else the disk has to do changes less:

full       a full base backup that can be restored: ours (with its checks and the wait for WAL) beside `barman backup`;
           `pg_dump -Fd -j2`, once, which is no base backup: no time in between can be restored from it
increment  the same after one row in thirty was changed, before each of them, each on the newest one; twice a round
restore    into an empty folder: ours (with its plan) beside `barman restore`; `pg_restore -j2` into a new database
files      what copying a home's files adds, for `--files-mib` of them, kept once by their content
hashing    rows a second that the drill counts and hashes, the better of two
drill      with `--drill`, a whole drill, by its steps; `--rounds 0 --drill` does nothing else

pgBackRest does the same for the same rows on the distribution's PostgreSQL, since it knows no version as new as the
wheel's; as Barman, it packs nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from edupulse_pipelines.operations.backup import barman, base_backups
from edupulse_pipelines.operations.backup.contents import Contents
from edupulse_pipelines.operations.backup.targets import Target
from edupulse_pipelines.operations.recovery.drill import drill
from edupulse_pipelines.operations.recovery.state import read_state
from edupulse_pipelines.programs import environment
from edupulse_pipelines.risk.book.registry import Registry
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines_tests.benchmarks.load import peak_mib
from edupulse_pipelines_tests.operations.backed_up import BackedUp, backed_up_server, run_sql
from edupulse_pipelines_tests.servers import new_server

_ROW_BYTES = 250
_FILL = """
INSERT INTO filled (id, student, day, payload)
SELECT n, md5(n::text)::uuid, date '2025-09-01' + (n % 180)::int, repeat(md5((n * 7)::text), 6)
FROM generate_series({first}, {last}) n
"""
CHANGE = ("UPDATE filled SET day = day + 1 WHERE id % 30 = 0", "CHECKPOINT", "SELECT pg_switch_wal()")
# What is measured is the disk as well: no settings that make a test's server cheap.
DURABLE = {"fsync": "on", "shared_buffers": "256MB", "max_wal_size": "4GB"}
Timed = Callable[[str, Callable[[], object]], None]


def run(argv: list[str]) -> dict[str, Any]:
    """Measure, print what was seen, return the figures."""
    parser = argparse.ArgumentParser(prog="benchmarks backup")
    parser.add_argument("--megabytes", type=int, default=1_000)
    parser.add_argument("--files-mib", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--drill", action="store_true", help="do a whole drill as well")
    arguments = parser.parse_args(argv)
    best: dict[str, float] = {}
    cpu: dict[str, float] = {}

    def timed(name: str, action: Callable[[], object]) -> None:
        began, used = time.perf_counter(), sum(os.times()[:4])
        action()
        best[name] = min(best.get(name, float("inf")), time.perf_counter() - began)
        cpu[name] = min(cpu.get(name, float("inf")), sum(os.times()[:4]) - used)

    drilled = None
    with backed_up_server("wheel", schema=True, server={**DURABLE, "max_slot_wal_keep_size": "20GB"}) as backed:
        backed.settings.home.mkdir(exist_ok=True)
        for place in (backed.settings.home, backed.settings.home.parent):
            place.chmod(0o711)  # the server's user has to reach what the drill restores
        rows = _fill(backed.run, arguments.megabytes)
        folder = Path(tempfile.mkdtemp(prefix="edupulse-bench-backup-", dir=backed.settings.home.parent))
        for number in range(arguments.rounds):
            _round(backed, folder, number, timed)
        if arguments.rounds:
            _dumped(backed, folder / "dump", timed)
            timed("files", lambda: _copy_files(folder, arguments.files_mib))
        hashed = _hashed(backed)
        if arguments.drill:
            if not arguments.rounds:
                base_backups.take_base_backup(backed.settings, full=True)
            registry = Registry(backed.settings.tracking_uri, backed.settings.mlflow_dir / "artifacts")
            drilled = drill(backed.settings, Database(backed.settings.database_url), registry, tell=print)
    missing = None
    if arguments.rounds and shutil.which("pgbackrest"):
        _by_pgbackrest(arguments, timed)
    elif arguments.rounds:
        missing = "pgBackRest is not installed"
    sides = ("full", "increment", "restore") if arguments.rounds else ()
    ratios = {f"{what} barman": round(best[f"{what} ours"] / best[f"{what} barman"], 3) for what in sides}
    of_cpu = {f"{what} barman": round(cpu[f"{what} ours"] / cpu[f"{what} barman"], 3) for what in sides}
    print(f"{rows:,} rows. Ours beside Barman alone: {ratios}, by CPU {of_cpu}. {missing or ''}")
    print(f"Hashed {hashed:,.0f} rows a second.")
    figures = {
        "bench": "backup",
        "size": rows,
        "unit": "seconds",
        "ours": round(best.get("full ours", 0.0), 3),
        "others": {name: round(seconds, 3) for name, seconds in best.items() if name != "full ours"},
        "ratios": ratios,
        "cpu_ratios": of_cpu,
        "cpu_seconds": {name: round(seconds, 3) for name, seconds in cpu.items()},
        "hashed_rows_a_second": round(hashed),
        "peak_mib": peak_mib(),
    }
    if drilled is not None:
        seconds = round((drilled.ended - drilled.begun).total_seconds(), 1)
        figures["drill"] = {"seconds": seconds, "findings": drilled.findings, "unproven": drilled.unproven}
        figures["drill"] |= {"by_step": drilled.seconds, "sizes": drilled.sizes}
        print(f"The drill took {seconds} s and found {drilled.findings or 'nothing'}: {drilled.seconds}")
    return figures | ({"not_measured": missing} if missing else {})


def _round(backed: BackedUp, folder: Path, number: int, timed: Timed) -> None:
    """One round of ours and Barman alone; the first of it goes second in the next one."""
    sides = ("ours", "barman") if number % 2 == 0 else ("barman", "ours")
    for side in sides:
        timed(f"full {side}", _ours(backed, full=True) if side == "ours" else _barman(backed, "backup", "--wait"))
    for side in (*sides, *reversed(sides)):  # short, so that what the disk has to do besides decides in one of them
        backed.run(*CHANGE)
        newest = base_backups.base_backups(backed.settings)[-1]
        alone = _barman(backed, "backup", "--wait", "--incremental", newest.id)
        timed(f"increment {side}", _ours(backed, full=False) if side == "ours" else alone)
        assert base_backups.base_backups(backed.settings)[-1].parent == newest.id
    newest = base_backups.base_backups(backed.settings)[-1]
    for side in sides:
        to = folder / side
        alone = _barman(backed, "restore", backup=newest.id, to=to)
        timed(f"restore {side}", _restored(backed, to) if side == "ours" else alone)
        shutil.rmtree(to)


def _dumped(backed: BackedUp, dump: Path, timed: Timed) -> None:
    timed("full pg_dump", lambda: _program(backed, "pg_dump", "-Fd", "-j2", f"--file={dump}"))
    backed.run("CREATE DATABASE again")
    timed("restore pg_restore", lambda: _program(backed, "pg_restore", "-j2", str(dump), database="again"))
    backed.run("DROP DATABASE again")
    shutil.rmtree(dump)


def _by_pgbackrest(arguments: argparse.Namespace, timed: Timed) -> None:
    """The same rows on a server of the distribution that archives by pgBackRest."""
    place = Path(tempfile.mkdtemp(prefix="edupulse-bench-pgbackrest-"))
    place.chmod(0o711)
    configuration = place / "pgbackrest.conf"
    program = ["pgbackrest", f"--config={configuration}", "--stanza=edupulse"]
    archiving = {"archive_mode": "on", "archive_command": f"{' '.join(program)} archive-push %p"}
    try:
        with new_server("debian", settings={**DURABLE, **archiving}) as server:
            user = server.run_as()
            for name in ("repo", "log", "lock", "spool", "restored"):
                (place / name).mkdir()
                if user is not None:
                    shutil.chown(place / name, user)
            configuration.write_text(
                f"[global]\nrepo1-path={place / 'repo'}\nlog-path={place / 'log'}\nlock-path={place / 'lock'}\n"
                f"spool-path={place / 'spool'}\nstart-fast=y\ncompress-type=none\n"
                f"[edupulse]\npg1-path={server.data}\npg1-socket-path={server.socket}\npg1-user=postgres\n"
            )
            configuration.chmod(0o644)

            def call(*words: str) -> None:
                subprocess.run([*program, *words], check=True, capture_output=True, user=user, env=environment())

            call("stanza-create")
            _fill(partial(run_sql, server.url()), arguments.megabytes)
            for _ in range(arguments.rounds):
                timed("full pgbackrest", lambda: call("backup", "--type=full"))
                run_sql(server.url(), *CHANGE)
                timed("increment pgbackrest", lambda: call("backup", "--type=incr"))
                timed("restore pgbackrest", lambda: call("restore", f"--pg1-path={place / 'restored'}"))
                for path in (place / "restored").iterdir():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _fill(run: Callable[..., object], megabytes: int) -> int:
    run("CREATE TABLE filled (id bigint PRIMARY KEY, student uuid, day date, payload text)")
    rows = max(1_000, megabytes * 1_000_000 // _ROW_BYTES)
    for first in range(1, rows + 1, 500_000):
        run(_FILL.format(first=first, last=min(rows, first + 499_999)))
    run("VACUUM ANALYZE filled", "CHECKPOINT", "SELECT pg_switch_wal()")
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
