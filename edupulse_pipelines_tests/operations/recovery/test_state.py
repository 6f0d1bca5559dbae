"""What is in a database as counts and hashes: equal for equal contents, and what differs in words without values."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import DatabaseBusy, PermanentError
from edupulse_pipelines.operations.recovery.compared import differences
from edupulse_pipelines.operations.recovery.state import State, read_state
from edupulse_pipelines.schema.tables import TABLES
from edupulse_pipelines.storage import turns
from edupulse_pipelines.storage.months import PARTITIONED
from edupulse_pipelines.storage.turns import quiet_moment, take_turn
from edupulse_pipelines.storage.work import EVERY_TENANT, Work
from edupulse_pipelines_tests.conftest import Scene
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER, STUDENT_HEADER, District

STUDENTS = f"{STUDENT_HEADER}\nZQ1,ZQann,ZQlee,2010-01-01\nZQ2,ZQray,ZQmoss,2010-01-02\n"
ATTENDANCE = f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,present\nZQ2,2025-09-02,absent\n"


def _load(engine: sa.Engine, folder: Path) -> None:
    district = District(engine, folder, name="north")
    district.land(1, students=STUDENTS, attendance_records=ATTENDANCE)
    district.run("students", "attendance_records")


@pytest.fixture
def scene(request: pytest.FixtureRequest) -> Scene | None:
    return _load if "work" in request.fixturenames else None


@pytest.fixture
def work(engine: sa.Engine) -> Work:
    return Work(engine, EVERY_TENANT)


def state(work: Work) -> State:
    with work.reading(steady=True) as connection:
        return read_state(connection)


def test_the_same_database_has_the_same_state(work: Work) -> None:
    first = state(work)
    assert set(TABLES) - set(PARTITIONED) <= set(first.tables)
    month = "attendance_records" if work.dialect == "sqlite" else "attendance_records_y2025m09"
    assert first.tables["students"].rows == first.tables[month].rows == 2
    assert first.audit_head is not None
    if work.dialect == "postgresql":
        assert first.sequences["audit_changes_number"] >= 1
        assert {"partition attendance_records_y2025m09", "access students"} <= first.definitions.keys()
        assert any(key.startswith("role ") for key in first.definitions)
        assert any(key.startswith("policy students ") for key in first.definitions)
    assert differences(first, state(work)) == []


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE students SET first_name = 'ZQzoe' WHERE district_id = 'ZQ1'", "students: as many rows (2), but not"),
        ("DELETE FROM attendance_records WHERE status = 'absent'", "1 rows, noted were 2"),
        ("UPDATE alembic_version SET version_num = '0001'", "schema revision 0001, noted was"),
        ("CREATE TABLE further (a INTEGER)", "further: a table that was not there"),
        ("DROP INDEX ix_students_", "index students"),
    ],
)
def test_what_differs_is_said_without_a_value(work: Work, engine: sa.Engine, statement: str, said: str) -> None:
    before = state(work)
    with engine.begin() as connection:
        if statement.startswith("DROP INDEX"):
            index = next(key for key in before.definitions if key.startswith("index students ix_")).split()[-1]
            statement = f"DROP INDEX {index}"
        connection.exec_driver_sql(statement)
    found = differences(before, state(work))
    assert any(said in one for one in found), found
    assert "ZQ" not in " ".join(found)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_policies_triggers_and_sequences_belong_to_the_state(work: Work, engine: sa.Engine) -> None:
    before = state(work)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE POLICY open_to_all ON students USING (true)")
        connection.exec_driver_sql("ALTER TABLE students DISABLE TRIGGER USER")
        connection.exec_driver_sql("SELECT setval('audit_changes_number', 1, false)")
        connection.exec_driver_sql("GRANT SELECT ON attendance_records_y2025m09 TO PUBLIC")
    found = differences(before, state(work))
    assert "policy students open_to_all: was not there" in found
    assert any(one.startswith("trigger students ") and one.endswith("another definition") for one in found)
    assert any(one.startswith("sequence audit_changes_number: it would give out numbers") for one in found)
    assert "access attendance_records_y2025m09: another definition" in found
    with engine.begin() as connection:  # numbers that a server noted ahead and lost are no difference
        connection.exec_driver_sql("SELECT setval('audit_changes_number', 500)")
    assert not any("sequence" in one for one in differences(before, state(work)))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_quiet_moment_waits_for_loads_and_loads_wait_for_it(
    work: Work, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    north = Work(engine, "north")
    seen: list[str] = []

    def quiet() -> None:
        with quiet_moment(work, ["north"]):
            seen.append("quiet")
            time.sleep(0.3)
            seen.append("quiet ends")

    def load() -> None:
        with north.writing() as connection:
            take_turn(connection, north, ["students"])
            seen.append("load")

    other = threading.Thread(target=quiet)
    with north.writing() as connection:
        take_turn(connection, north, ["students"])
        other.start()
        time.sleep(0.3)
        seen.append("first load ends")
    while "quiet" not in seen:
        time.sleep(0.01)
    later = threading.Thread(target=load)
    later.start()
    other.join()
    later.join()
    assert seen == ["first load ends", "quiet", "quiet ends", "load"]
    # Who writes without a turn is waited for as well, and not for ever.
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 2.0)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE predictions SET rescored = true")
        with pytest.raises(DatabaseBusy, match="no quiet moment"), quiet_moment(work, []):
            pass


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_on_sqlite_nobody_writes_in_a_quiet_moment(work: Work, engine: sa.Engine) -> None:
    before = state(work)
    with quiet_moment(work, []), engine.connect() as other:
        other.connection.driver_connection.execute("PRAGMA busy_timeout = 50")
        with pytest.raises(sa.exc.OperationalError, match="locked"):
            other.exec_driver_sql("DELETE FROM students")
    assert differences(before, state(work)) == []


ODD = (
    "CREATE TABLE odd (t REAL, note TEXT, tag TEXT, number INTEGER)",
    "INSERT INTO odd VALUES (0.1, 'a', 'b', 1), (0.1, 'a', 'b', 1), (0.2, '', NULL, 2), (NULL, 'ab', '', 3)",
)
"""Without a key, with rows that are there twice."""


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE odd SET t = 0.30000001 WHERE number = 2",
        "UPDATE odd SET note = 'A' WHERE number = 3",
        "UPDATE odd SET note = NULL WHERE number = 2",
        "UPDATE odd SET note = tag, tag = note WHERE number = 1",  # the same letters, in other columns
        "UPDATE odd SET note = 'b', tag = 'a' WHERE number = 3",
        "UPDATE odd SET number = 5 - number WHERE number IN (2, 3)",  # two rows change places in one column
        "DELETE FROM odd WHERE number = 3",
        "DELETE FROM odd WHERE number = 1",
        "INSERT INTO odd SELECT * FROM odd WHERE number = 2",
        "INSERT INTO odd SELECT * FROM odd WHERE number = 1",  # twice what is there twice
    ],
)
def test_every_change_of_a_row_is_seen(work: Work, engine: sa.Engine, statement: str) -> None:
    with engine.begin() as connection:
        for made in ODD:
            connection.exec_driver_sql(made)
    before = state(work)
    assert before.tables["odd"].rows == 4
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    assert [one for one in differences(before, state(work)) if one.startswith("odd: ")]
    with engine.begin() as connection:  # the same number of rows, and one of them another
        connection.exec_driver_sql("DELETE FROM odd")
        connection.exec_driver_sql(ODD[1])
    assert differences(before, state(work)) == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_settings_order_and_processes_of_the_server_change_no_hash(work: Work, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE many AS SELECT n AS t, n * 0.1::float8 AS f, now() AS at, '1 day'::interval AS i, "
            "decode(md5(n::text), 'hex') AS b, 'ä' AS \"50%% {odd}\" FROM generate_series(1, 20000) n"
        )
        connection.exec_driver_sql('ALTER TABLE many RENAME TO "many {of} 5%% t"')
    before = state(work)
    with engine.begin() as connection:
        connection.exec_driver_sql('ALTER TABLE "many {of} 5%% t" RENAME TO old')
        connection.exec_driver_sql('CREATE TABLE "many {of} 5%% t" AS SELECT * FROM old ORDER BY t DESC')
        connection.exec_driver_sql("DROP TABLE old")
        connection.exec_driver_sql('ANALYZE "many {of} 5%% t"')
    other = {
        "TimeZone": "Asia/Tokyo",
        "DateStyle": "German",
        "extra_float_digits": "-15",
        "IntervalStyle": "iso_8601",
        "bytea_output": "escape",
        "parallel_setup_cost": "0",
        "parallel_tuple_cost": "0",
        "min_parallel_table_scan_size": "0",
    }
    with work.reading(steady=True) as connection:
        for name, value in other.items():
            connection.execute(sa.text("SELECT set_config(:name, :value, true)"), {"name": name, "value": value})
        assert read_state(connection).tables == before.tables


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_what_is_not_looked_into_is_named(work: Work, engine: sa.Engine) -> None:
    assert state(work).left_out == ()
    with engine.begin() as connection:
        role = f"other_{connection.scalar(sa.text('SELECT current_database()'))}"
        for statement in (
            f'CREATE ROLE "{role}" BYPASSRLS',
            f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{role}"',
            "CREATE UNLOGGED TABLE passing (a INTEGER)",
            "CREATE SCHEMA beside CREATE TABLE further (a INTEGER)",
            f'ALTER TABLE passing OWNER TO "{role}"',
            f'ALTER TABLE students OWNER TO "{role}"',
        ):
            connection.exec_driver_sql(statement)
    try:
        assert state(work).left_out == (
            "schema beside, tables in it: 1",
            "table passing, which is unlogged: no backup holds its rows",
        )
        with work.reading(steady=True) as connection:
            connection.exec_driver_sql(f'SET LOCAL ROLE "{role}"')
            found = read_state(connection, {})
        assert found.tables.keys() == {"students"}
        assert "table attendance_records_y2025m09, which belongs to postgres" in found.left_out
        assert "sequence audit_changes_number, which belongs to postgres" in found.left_out
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql(f'REASSIGN OWNED BY "{role}" TO CURRENT_USER')
            connection.exec_driver_sql(f'DROP OWNED BY "{role}"')
            connection.exec_driver_sql(f'DROP ROLE "{role}"')


def test_the_state_of_nothing_is_none() -> None:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection, pytest.raises(PermanentError, match="owns no table"):
        read_state(connection)
    engine.dispose()
