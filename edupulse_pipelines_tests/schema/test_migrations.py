from __future__ import annotations

import datetime as dt
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from edupulse_pipelines.errors import SchemaBehind
from edupulse_pipelines.schema import ddl, migrations
from edupulse_pipelines.schema.dictionary import dictionary
from edupulse_pipelines.storage.engine import create_engine, writing

ROOT = Path(__file__).parents[2]


def test_upgrade_makes_exactly_the_declared_schema(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url)
    assert migrations.current(engine) is None
    migrations.upgrade(engine)
    assert migrations.current(engine) == migrations.head()
    assert migrations.check(engine) == []
    migrations.upgrade(engine)  # a second time changes nothing
    assert migrations.check(engine) == []
    engine.dispose()


def test_0002_keeps_every_attendance_record(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url)
    with writing(engine) as connection:
        command.upgrade(migrations._config(connection), "0001")
    students = [(uuid.UUID(int=number), f"district-{number % 2}") for number in range(1, 4)]
    days = [
        "0025-09-01",
        "2019-12-31",
        "2024-02-29",
        *(str(dt.date(2025, 8, 31) + dt.timedelta(n)) for n in range(130)),
    ]
    with writing(engine) as connection:
        connection.execute(
            sa.text(
                "INSERT INTO students (id, tenant_id, district_id, first_name, last_name, date_of_birth, delivered_on)"
                " VALUES (:id, :tenant, :id, '-', '-', '2010-01-01', '2025-09-01')"
            ),
            [{"id": student.hex, "tenant": tenant} for student, tenant in students],
        )
        connection.execute(
            sa.text(
                "INSERT INTO attendance_records"
                " (id, tenant_id, student_id, date, status, period, delivered_on, created_at, updated_at)"
                " VALUES (:id, :tenant, :student, :day, :status, :period, '2026-01-12', :created, :updated)"
            ),
            [
                {
                    "id": uuid.uuid4().hex,
                    "tenant": tenant,
                    "student": student.hex,
                    "day": day,
                    "status": ("present", "absent", "tardy", "excused")[number % 4],
                    "period": period,
                    "created": f"2026-01-12 06:00:{number % 60:02d}.123456",
                    "updated": f"2026-02-12 06:00:{number % 60:02d}.654321",
                }
                for student, tenant in students
                for number, day in enumerate(days)
                for period in (None, 0, 7)
            ],
        )
    columns = "id, tenant_id, student_id, date, status, period, delivered_on, created_at, updated_at"
    records = sa.text(f"SELECT {columns} FROM attendance_records ORDER BY id")
    with engine.connect() as connection:
        before = connection.execute(records).all()
    assert len(before) == 3 * 3 * len(days)
    migrations.upgrade(engine)
    with engine.connect() as connection:
        assert connection.execute(records).all() == before
        assert connection.scalar(sa.text("SELECT count(deleted_on) FROM attendance_records")) == 0
        assert connection.scalar(sa.text("SELECT count(*) FROM students")) == len(students)
        if engine.dialect.name == "postgresql":
            assert connection.scalar(sa.text("SELECT count(*) FROM attendance_records_default")) == 0
            of_month = sa.text("SELECT count(*) FROM attendance_records_y2025m10")
            assert connection.scalar(of_month) == 3 * 3 * 31
    assert migrations.check(engine) == []
    for wrong in ("SET period = 7 WHERE period = 0", "SET tenant_id = 'elsewhere'", "SET status = 'ill'"):
        with pytest.raises(sa.exc.IntegrityError), writing(engine) as connection:
            connection.exec_driver_sql(f"UPDATE attendance_records {wrong}")
    engine.dispose()


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("DROP INDEX ix_students_grade_level", "missing: index students ix_students_grade_level"),
        ("CREATE INDEX extra ON grades (course_name)", "unexpected: index grades extra"),
        ("DROP TABLE weekly_course_grades", "missing: "),
    ],
)
def test_check_names_a_drifted_schema(engine: sa.Engine, statement: str, found: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    assert any(difference.startswith(found) for difference in migrations.check(engine))


def test_check_sees_a_dropped_constraint_and_trigger(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("ALTER TABLE grades DROP CONSTRAINT ck_grades_grade_value_range")
            connection.exec_driver_sql("DROP TRIGGER tr_grades_updated_at ON grades")
        else:
            connection.exec_driver_sql("DROP TRIGGER tr_grades_updated_at")
    differences = migrations.check(engine)
    assert "missing: trigger grades tr_grades_updated_at" in differences
    if engine.dialect.name == "postgresql":
        assert "missing: constraint grades ck_grades_grade_value_range" in differences


def test_a_schema_of_another_version_is_refused_with_the_command_to_run(engine: sa.Engine) -> None:
    migrations.ensure_current(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(SchemaBehind, match="edupulse db upgrade"):
        migrations.ensure_current(engine)


@pytest.mark.parametrize("dialect", sorted(ddl.DIALECTS))
def test_the_committed_sql_is_what_the_declaration_makes(dialect: str) -> None:
    committed = (ROOT / "sql" / "schema" / f"{dialect}.sql").read_text(encoding="utf-8")
    assert committed == ddl.script(dialect), "run `make sql`"


def test_the_committed_data_dictionary_is_what_the_declaration_makes() -> None:
    committed = (ROOT / "docs" / "data-dictionary.md").read_text(encoding="utf-8")
    assert committed == dictionary(), "run `make sql`"
