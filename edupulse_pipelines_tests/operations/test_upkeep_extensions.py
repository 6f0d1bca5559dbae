"""What a server with extensions lets upkeep see: measured indexes, slow statements; and what its log would hold."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from edupulse_pipelines.operations import partitions
from edupulse_pipelines.operations.postgresql_server import FolderServer
from edupulse_pipelines.operations.upkeep import postgresql
from edupulse_pipelines.operations.upkeep.findings import log_settings, slow_statements
from edupulse_pipelines.operations.upkeep.maintenance import keep_up
from edupulse_pipelines.operations.upkeep.queries import rows_of, run
from edupulse_pipelines.operations.upkeep.tasks import Upkeep
from edupulse_pipelines.settings import MaintenanceSettings
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.versions import upgrade
from edupulse_pipelines.storage.work import EVERY_TENANT, Work
from edupulse_pipelines_tests.roles import roles_of
from edupulse_pipelines_tests.servers import new_server

MAINTENANCE = Path(__file__).parents[2] / "sql" / "maintenance"
LIMITS = MaintenanceSettings(
    pause_seconds=0, lock_seconds=0.3, patience_minutes=0, keep_free_gib=0, index_at_least_mib=0.2
)
TODAY = dt.date(2026, 3, 9)


@pytest.fixture(scope="module")
def server() -> Iterator[FolderServer]:
    """The distribution's server, which loads what counts and explains statements."""
    loaded = {"shared_preload_libraries": "pg_stat_statements,auto_explain", "autovacuum": "off"}
    with new_server("debian", settings=loaded) as started:
        yield started


@pytest.fixture(scope="module")
def engine(server: FolderServer) -> Iterator[Engine]:
    """Our schema with the months made, and a table of students of whom few are left."""
    made = create_engine(server.url())
    upgrade(made)
    partitions.maintain(Work(made, EVERY_TENANT), TODAY)
    with made.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO students (id, tenant_id, district_id, first_name, last_name, date_of_birth, delivered_on)"
            " SELECT gen_random_uuid(), 'north', 'D' || i, 'a', 'b', '2010-01-01', '2024-09-09'"
            " FROM generate_series(1, 12000) AS i"
        )
        connection.exec_driver_sql(
            "INSERT INTO attendance_records (tenant_id, student_id, date, status, delivered_on)"
            " SELECT tenant_id, id, '2026-03-02', 'present', '2026-03-09' FROM students WHERE district_id = 'D9'"
        )
    yield made
    made.dispose()


def kept(engine: Engine) -> Upkeep:
    return keep_up(Work(engine, EVERY_TENANT), LIMITS, TODAY)


def _thin_out(engine: Engine, digit: int) -> None:
    """Rows whose number ends with a digit; their index entries go with the VACUUM that follows."""
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM students WHERE district_id LIKE '%%{digit}'")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM (ANALYZE) students")


def test_every_statement_for_people_says_what_it_answers_and_runs(engine: Engine) -> None:
    with engine.connect() as connection:
        for name in ("pgstattuple", "pg_stat_statements"):
            connection.exec_driver_sql(f"CREATE EXTENSION IF NOT EXISTS {name}")
        connection.commit()
        for file in sorted(MAINTENANCE.glob("*.sql")):
            text = file.read_text(encoding="utf-8")
            assert text.startswith("-- ") and text.splitlines()[0].endswith("?"), file.name
            assert "{" not in text and "%(" not in text, file.name  # nothing is to be filled in
            if ".postgresql." in file.name:
                run(connection, text)  # as it stands, with its semicolon


def test_the_estimate_of_an_index_is_near_what_is_measured(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS pgstattuple")
        connection.commit()
    for digit in (None, 1, 2, 3, 4, 5):
        if digit is not None:
            _thin_out(engine, digit)
    with engine.connect() as connection:
        measured, estimated = postgresql._measured(connection, []), postgresql._estimated(connection)
        assert measured is not None
        bloat = {
            row["name"]: (measured(row["name"])[1], estimated(row["name"])[1])
            for row in rows_of(connection, "indexes")
            if row["table_name"] == "students" and row["bytes"] > 200_000
        }
    assert len(bloat) >= 3 and all(abs(by - about) < 0.1 for by, about in bloat.values()), bloat
    assert max(by for by, _ in bloat.values()) > 0.4
    done = kept(engine)
    built = [result for result in done.results if result.task.kind == "reindex"]
    assert built and all("(measured)" in result.task.why for result in built) and done.notes == []
    assert "attendance_records" in {result.task.name for result in done.results if result.task.kind == "analyze"}
    assert kept(engine).in_words == "nothing needed"


def test_what_a_killed_build_left_behind_is_dropped_and_a_build_under_way_is_not(engine: Engine) -> None:
    def reindex() -> None:
        with (
            pytest.raises(sa.exc.OperationalError),
            engine.connect().execution_options(isolation_level="AUTOCOMMIT") as builder,
        ):
            builder.exec_driver_sql("SET application_name = 'builder'")
            builder.exec_driver_sql("REINDEX INDEX CONCURRENTLY pk_students")

    left = sa.text("SELECT relname FROM pg_class WHERE relname LIKE '%\\_ccnew%'")
    with engine.connect() as writer, engine.connect().execution_options(isolation_level="AUTOCOMMIT") as admin:
        writer.exec_driver_sql("UPDATE students SET first_name = 'c' WHERE district_id = 'D7'")
        building = threading.Thread(target=reindex)
        building.start()
        deadline = time.monotonic() + 20
        while not admin.scalars(left).all() and time.monotonic() < deadline:
            time.sleep(0.05)
        # It waits for the writer. Nothing of it is taken for a leftover.
        assert postgresql.leftovers(admin) == ([], [])
        admin.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'builder'"
        )
        building.join()
        assert admin.scalars(left).all() == ["pk_students_ccnew"]
        writer.rollback()
        done = kept(engine)
        dropped = [result for result in done.results if result.task.kind == "drop_index"]
        assert [(one.task.name, one.outcome) for one in dropped] == [("pk_students_ccnew", "done")]
        assert admin.scalars(left).all() == []


def test_slow_statements_are_told_without_their_values(engine: Engine) -> None:
    notes: list[str] = []
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP EXTENSION IF EXISTS pg_stat_statements")
        assert slow_statements(connection, notes) is None and "CREATE EXTENSION pg_stat_statements" in notes[0]
        connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS beside")
        connection.exec_driver_sql("CREATE EXTENSION pg_stat_statements SCHEMA beside")
        connection.commit()
        connection.exec_driver_sql("SELECT beside.pg_stat_statements_reset()")
        for statement in (
            "SELECT count(*) FROM students WHERE first_name = 'Zqsecret'",
            "SET app.tenant = 'Zqsecret'",
            "/* Zqsecret it's */ SELECT 'Zqsecret' || $$Zqsecret$$, 77123",
            "COPY (SELECT 'Zqsecret') TO STDOUT",
            "DO $x$ BEGIN PERFORM 'Zqsecret'; END $x$",
        ):
            if statement.startswith("COPY"):
                with connection.connection.cursor() as cursor, Path("/dev/null").open("w") as nowhere:
                    cursor.copy_expert(statement, nowhere)
            else:
                connection.exec_driver_sql(statement)
        told = slow_statements(connection, notes)
        connection.rollback()
    assert told is not None
    said = " | ".join(one.statement for one in told)
    assert "SELECT count(*) FROM students WHERE first_name = $1" in said and "SET …" in said and "COPY …" in said
    assert "Zqsecret" not in said and "77123" not in said


SETTINGS = {
    "log_statement": "mod",
    "log_min_duration_statement": "5",
    "log_parameter_max_length_on_error": "64",
    "debug_print_plan": "on",
    "auto_explain.log_min_duration": "0",
}


def test_each_setting_that_puts_rows_into_the_log_is_named_and_its_line_mends_it(engine: Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for name, value in SETTINGS.items():
            connection.exec_driver_sql(f"ALTER SYSTEM SET {name} = '{value}'")
        connection.exec_driver_sql("SELECT pg_reload_conf()")
    expected = {*SETTINGS, "log_error_verbosity", "log_min_error_statement", "log_parameter_max_length"}
    found = _found(engine, expected)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for one in found:
            connection.exec_driver_sql(one.line)
        connection.exec_driver_sql("SELECT pg_reload_conf()")
    assert _found(engine, set()) == []


def test_a_setting_of_the_database_or_of_a_role_is_named_with_its_own_line(engine: Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ALTER SYSTEM SET log_error_verbosity = 'terse'")
        connection.exec_driver_sql("ALTER SYSTEM SET log_min_error_statement = 'panic'")
        connection.exec_driver_sql("SELECT pg_reload_conf()")
    with roles_of(engine) as (names, urls):
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ALTER DATABASE postgres SET log_min_error_statement = 'error'")
            connection.exec_driver_sql(f"ALTER ROLE {names.loader} SET log_statement = 'all'")
        loader = create_engine(urls[names.loader])
        with loader.connect() as connection:
            lines = {(one.name, one.of_role): one.line for one in log_settings(connection)}
        loader.dispose()
        assert lines.keys() == {("log_min_error_statement", None), ("log_statement", names.loader)}
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for line in lines.values():
                connection.exec_driver_sql(line)
            assert log_settings(connection) == []


def _found(engine: Engine, expected: set[str]) -> list:
    """The settings found, as soon as every process has read them again."""
    deadline = time.monotonic() + 10
    while True:
        engine.dispose()
        with engine.connect() as connection:
            found = log_settings(connection)
        if {one.name for one in found} == expected or time.monotonic() > deadline:
            assert {one.name for one in found} == expected
            return found
        time.sleep(0.05)
