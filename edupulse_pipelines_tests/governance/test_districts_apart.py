"""What the pipelines and people may get wrong about districts on PostgreSQL: each ends with no row, or is refused."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Iterator
from typing import Any

import psycopg2.errors
import pyarrow as pa
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.governance.audit_history import rows_as_recorded
from edupulse_pipelines.governance.audit_verify import verify
from edupulse_pipelines.governance.role_names import RoleNames
from edupulse_pipelines.schema.objects.months import FOR_WRITERS
from edupulse_pipelines.schema.sqlalchemy_tables import students
from edupulse_pipelines.schema.tables import TABLES
from edupulse_pipelines.storage import bulk, months
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.ids import id_texts, new_id_bytes
from edupulse_pipelines.storage.work import EVERY_TENANT, Work
from edupulse_pipelines_tests.governance.two_districts import DAY, NORTH, SOUTH, Rows, another_row, fill, insert_into
from edupulse_pipelines_tests.roles import roles_of

ATTENDANCE = "attendance_records"
REFUSED = "42501"
Logins = dict[str, str]


@pytest.fixture(scope="module")
def admin(module_database_url: str) -> Iterator[Engine]:
    made = create_engine(module_database_url)
    yield made
    made.dispose()


@pytest.fixture(scope="module")
def rows(admin: Engine) -> Rows:
    with admin.begin() as connection:
        return fill(connection)


@pytest.fixture(scope="module")
def roles(admin: Engine, rows: Rows) -> Iterator[tuple[RoleNames, Logins]]:
    months.ensure_months(Work(admin, EVERY_TENANT), ATTENDANCE, [DAY.replace(day=1)])
    with roles_of(admin, NORTH, SOUTH) as made:
        yield made


@pytest.fixture
def loader(roles: tuple[RoleNames, Logins]) -> Iterator[Engine]:
    names, urls = roles
    made = create_engine(urls[names.loader])
    yield made
    made.dispose()


@pytest.fixture
def analyst(roles: tuple[RoleNames, Logins]) -> Iterator[Engine]:
    names, urls = roles
    made = create_engine(urls[names.analyst(NORTH)])
    yield made
    made.dispose()


def seen(connection: Connection) -> list[str]:
    return sorted(connection.scalars(sa.select(students.c.tenant_id)))


def refusal(engine: Engine, statement: str) -> str:
    with pytest.raises(sa.exc.DBAPIError) as caught, engine.begin() as connection:
        connection.exec_driver_sql(statement)
    return str(caught.value.orig.pgcode)


@pytest.mark.parametrize("tenant", ["", "elsewhere", "north' OR 'a' = 'a", 'north"', "North", " north"])
def test_a_tenant_that_is_not_set_or_not_there_has_no_rows(loader: Engine, tenant: str) -> None:
    with Work(loader, tenant).reading() as connection:
        assert seen(connection) == []
        assert connection.scalar(sa.text("SELECT current_setting('app.tenant')")) == tenant


def test_a_connection_that_nobody_introduced_has_no_rows(loader: Engine, rows: Rows) -> None:
    with loader.begin() as connection:
        assert seen(connection) == []
    row = another_row(TABLES["schools"], NORTH, rows)
    with pytest.raises(sa.exc.ProgrammingError, match="row-level security"), loader.begin() as connection:
        connection.execute(insert_into("schools", row), row)


def test_the_tenant_goes_with_the_transaction_and_with_nothing_else(loader: Engine) -> None:
    north = Work(loader, NORTH)
    with north.reading() as connection:
        assert seen(connection) == [NORTH]
        connection.rollback()
        assert seen(connection) == [NORTH]  # a new transaction of the same block says it again
    with loader.connect() as connection:
        assert seen(connection) == []  # the same connection, of the pool
    with north.writing() as connection:
        savepoint = connection.begin_nested()
        connection.execute(sa.select(sa.func.set_config("app.tenant", SOUTH, True)))
        assert seen(connection) == [SOUTH]
        savepoint.rollback()
        assert seen(connection) == [NORTH]


def test_without_a_transaction_there_is_no_tenant(loader: Engine) -> None:
    with loader.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.select(sa.func.set_config("app.tenant", NORTH, True)))
        assert seen(connection) == []


def test_a_connection_handed_back_dirty_is_clean_for_the_next(loader: Engine) -> None:
    with loader.connect() as connection:
        session = connection.scalar(sa.text("SELECT pg_backend_pid()"))
        connection.exec_driver_sql(f"SET app.tenant = '{SOUTH}'; SET app.actor = 'somebody'; COMMIT")
        assert seen(connection) == [SOUTH]
    with loader.connect() as connection:
        assert connection.scalar(sa.text("SELECT pg_backend_pid()")) == session
        assert seen(connection) == []
        assert not connection.scalar(sa.text("SELECT current_setting('app.actor', true)"))
    with pytest.raises(sa.exc.DBAPIError), loader.connect() as connection:
        connection.exec_driver_sql(f"SET app.tenant = '{SOUTH}'; COMMIT; BEGIN; SELECT 1 / 0")
    with loader.connect() as connection:
        assert seen(connection) == []


def test_rows_of_another_district_in_a_batch_are_refused_with_the_batch(loader: Engine) -> None:
    batch = pa.table(
        {
            "tenant_id": [NORTH, SOUTH],
            "school_id": ["ZQ-new-1", "ZQ-new-2"],
            "first_delivered_on": pa.array([DAY, DAY]),
            "delivered_on": pa.array([DAY, DAY]),
            "id": id_texts(new_id_bytes(2), "postgresql"),
        }
    )
    refused = pytest.raises(sa.exc.ProgrammingError, match="row-level security")
    with refused, Work(loader, NORTH).writing() as connection:
        bulk.copy_rows(connection, "schools", batch)
    with Work(loader, NORTH).writing() as connection:
        bulk.copy_rows(connection, "schools", batch.slice(0, 1))
        assert connection.scalar(sa.text("SELECT count(*) FROM schools WHERE school_id LIKE 'ZQ-new-%'")) == 1
        connection.rollback()


def test_a_load_table_with_a_row_of_another_district_is_refused(loader: Engine, rows: Rows) -> None:
    for tenants in ((NORTH, SOUTH), (SOUTH,)):
        with pytest.raises(sa.exc.IntegrityError, match="ck_tenant"), Work(loader, NORTH).writing() as connection:
            name = months.start_bulk(connection, ATTENDANCE)
            for tenant in tenants:
                row = another_row(TABLES[ATTENDANCE], tenant, rows) | {"date": dt.date(2025, 11, 3)}
                connection.execute(insert_into(name, row), row)
            months.finish_bulk(connection, ATTENDANCE, {dt.date(2025, 11, 1): name})


def test_an_analyst_reads_own_rows_whatever_is_set(analyst: Engine) -> None:
    with analyst.connect() as connection:
        connection.exec_driver_sql(f"SET app.tenant = '{SOUTH}'")
        assert seen(connection) == [NORTH]
        assert seen(connection) == connection.scalars(sa.text("SELECT tenant_id FROM students ORDER BY 1")).all()
    for attempt in (
        "SET ROLE postgres",
        f"SELECT * FROM {ATTENDANCE}_y2025m09",
        f"SELECT * FROM {ATTENDANCE}_default",
        "UPDATE students SET first_name = 'ZQ'",
        "CREATE POLICY mine ON students USING (true)",
        "ALTER TABLE students DISABLE ROW LEVEL SECURITY",
        "SET row_security = off; SELECT * FROM students",
    ):
        assert refusal(analyst, attempt) == REFUSED, attempt


def test_an_analyst_may_call_none_of_our_functions(analyst: Engine, admin: Engine) -> None:
    with admin.connect() as connection:
        may = connection.execute(
            sa.text(
                "SELECT proname FROM pg_proc WHERE pronamespace = CAST('public' AS regnamespace)"
                " AND starts_with(proname, 'edupulse_') AND has_function_privilege(:role, oid, 'EXECUTE')"
            ),
            {"role": analyst.url.username},
        )
        assert may.all() == []
    assert refusal(analyst, f"SELECT edupulse_month_start('{ATTENDANCE}')") == REFUSED
    assert refusal(analyst, f"SELECT * FROM edupulse_month_unclaimed('{ATTENDANCE}', false)") == REFUSED


def test_the_loader_may_call_the_functions_for_writers_and_no_others(loader: Engine, admin: Engine) -> None:
    with admin.connect() as connection:
        may = connection.scalars(
            sa.text(
                "SELECT proname FROM pg_proc WHERE pronamespace = CAST('public' AS regnamespace)"
                " AND has_function_privilege(:role, oid, 'EXECUTE') ORDER BY 1"
            ),
            {"role": loader.url.username},
        ).all()
    assert may == sorted(function.partition("(")[0] for function in FOR_WRITERS)


def test_a_dump_as_the_loader_fails_rather_than_being_a_part(roles: tuple[RoleNames, Logins]) -> None:
    """What pg_dump sends (its version has to be the server's): an error where a policy would leave rows out."""
    names, urls = roles

    def dump(role: str, table: str) -> str:
        engine = create_engine(urls[role])
        buffer = io.StringIO()
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql("SET row_security = off")
                driver: Any = connection.connection.driver_connection
                with driver.cursor() as cursor:
                    cursor.copy_expert(f"COPY {table} TO STDOUT", buffer)
        finally:
            engine.dispose()
        return buffer.getvalue()

    for role in (names.loader, names.analyst(NORTH)):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="row-level security policy"):
            dump(role, "students")
    assert len(dump(names.backup, "students").splitlines()) == 2


def test_the_owner_checks_a_foreign_key_against_every_row(admin: Engine, roles: tuple[RoleNames, Logins]) -> None:
    """Without a policy of its own it would find no orphan, and mark the key as valid."""
    names, urls = roles
    owner = create_engine(urls[names.keeper], role=names.owner)
    with pytest.raises(sa.exc.IntegrityError), owner.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE grades DROP CONSTRAINT fk_grades_students")
        connection.exec_driver_sql("UPDATE grades SET student_id = gen_random_uuid()")
        connection.exec_driver_sql(
            "ALTER TABLE grades ADD FOREIGN KEY (tenant_id, student_id) REFERENCES students (tenant_id, id)"
        )
    owner.dispose()


def test_only_who_sees_every_row_verifies_the_record(loader: Engine, admin: Engine) -> None:
    with pytest.raises(PermanentError, match="EDUPULSE_KEEPER_URL"):
        verify(Work(loader, EVERY_TENANT))
    assert verify(Work(admin, EVERY_TENANT)).rows > 0


def test_the_loader_reads_the_records_of_its_district_as_they_were(loader: Engine, analyst: Engine) -> None:
    now = dt.datetime.now(dt.UTC)
    north = Work(loader, NORTH)
    with north.reading() as connection:
        found = {row["tenant_id"] for row in rows_as_recorded(connection, north, "students", now)}
    assert found == {NORTH}
    assert refusal(analyst, "SELECT * FROM students_as_recorded(now())") == REFUSED
