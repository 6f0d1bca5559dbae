"""Versions lose no row, are structure only, and end where the declaration is; generated files are up to date."""

from __future__ import annotations

import datetime as dt
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from edupulse_pipelines.features import update_weekly_activity
from edupulse_pipelines.schema import ddl, migrations
from edupulse_pipelines.schema.dictionary import dictionary
from edupulse_pipelines.storage import versions
from edupulse_pipelines.storage.engine import create_engine, writing
from edupulse_pipelines.storage.work import Work

ROOT = Path(__file__).parents[2]
VERSIONS = Path(migrations.__file__).parent / "versions"
REVISIONS = sorted(
    script.revision for script in ScriptDirectory(str(Path(migrations.__file__).parent)).walk_revisions()
)


@pytest.mark.parametrize("script", sorted(VERSIONS.glob("*.sql")), ids=lambda path: path.name)
def test_a_version_holds_structure_only(script: Path) -> None:
    for statement in script.read_text(encoding="utf-8").split("\n\n--;\n\n"):
        for replaceable in ("COMMENT", "TRIGGER", "FUNCTION", "VIEW", "POLICY", "GRANT", "REVOKE"):
            assert replaceable not in statement.partition("\n")[0], f"{statement}\nis declared in schema.objects"


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_revision_ends_at_the_declared_schema(empty_database_url: str, revision: str) -> None:
    """Also one whose version still made triggers and comments of its own, and a function with other arguments."""
    earlier = create_engine(empty_database_url)
    postgresql = earlier.dialect.name == "postgresql"
    with writing(earlier) as connection:
        migrations.run_versions(connection, revision)
        for name in ("updated_at", "of_the_past"):
            head = f"CREATE TRIGGER tr_students_{name} {{}} UPDATE OF first_name ON students FOR EACH ROW "
            if postgresql:
                function = "edupulse_month_name()"
                if name == "updated_at":
                    connection.exec_driver_sql(
                        f"CREATE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
                    )
                connection.exec_driver_sql(head.format("BEFORE") + f"EXECUTE FUNCTION {function}")
            else:
                connection.exec_driver_sql(head.format("AFTER") + "BEGIN SELECT 1; END")
        if postgresql:
            connection.exec_driver_sql("COMMENT ON COLUMN students.first_name IS 'as it was'")
    versions.upgrade(earlier)
    assert versions.check(earlier) == []
    earlier.dispose()


def test_0002_keeps_every_attendance_record(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url)
    with writing(engine) as connection:
        migrations.run_versions(connection, "0001")
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
    versions.upgrade(engine)
    with engine.connect() as connection:
        assert connection.execute(records).all() == before
        assert connection.scalar(sa.text("SELECT count(deleted_on) FROM attendance_records")) == 0
        assert connection.scalar(sa.text("SELECT count(*) FROM students")) == len(students)
        if engine.dialect.name == "postgresql":
            assert connection.scalar(sa.text("SELECT count(*) FROM attendance_records_default")) == 0
            of_month = sa.text("SELECT count(*) FROM attendance_records_y2025m10")
            assert connection.scalar(of_month) == 3 * 3 * 31
    assert versions.check(engine) == []
    for wrong in ("SET period = 7 WHERE period = 0", "SET tenant_id = 'elsewhere'", "SET status = 'ill'"):
        with pytest.raises(sa.exc.IntegrityError), writing(engine) as connection:
            connection.exec_driver_sql(f"UPDATE attendance_records {wrong}")
    engine.dispose()


def test_0006_gives_incidents_keys_with_their_student_and_changes_nothing_else(empty_database_url: str) -> None:
    """Then the same rows delivered again say nothing new; `hash:` keys stay."""
    from edupulse_pipelines.ingest.frames import student_record_key

    engine = create_engine(empty_database_url)
    with writing(engine) as connection:
        migrations.run_versions(connection, "0005")
    student = uuid.UUID(int=7)
    sources = ["i1", "i:2", "x" * 100, None]
    with writing(engine) as connection:
        connection.execute(
            sa.text(
                "INSERT INTO students (id, tenant_id, district_id, first_name, last_name, date_of_birth, delivered_on)"
                " VALUES (:id, 'lake', '1001-2025', '-', '-', '2010-01-01', '2025-09-01')"
            ),
            {"id": student.hex},
        )
        connection.execute(
            sa.text(
                "INSERT INTO discipline_incidents (id, tenant_id, student_id, record_key, source_record_id,"
                " incident_date, severity_level, delivered_on, created_at, updated_at) VALUES (:id, 'lake', :student,"
                " :key, :source, '2025-09-02', 2, '2025-09-08', '2025-09-08 06:00:00', '2025-09-08 06:00:00')"
            ),
            [
                {
                    "id": uuid.UUID(int=100 + number).hex,
                    "student": student.hex,
                    "key": f"id:{source}" if source else "hash:0#0",
                    "source": source,
                }
                for number, source in enumerate(sources)
            ],
        )
        connection.execute(
            sa.text(
                "INSERT INTO ingested_files (id, tenant_id, table_name, delivered_on, file_name, sha256, size_bytes,"
                " status) VALUES (:id, 'lake', 'grades', '2025-09-08', 'g.csv', '0', 1, 'loaded')"
            ),
            {"id": uuid.UUID(int=1).hex},
        )
    rows = sa.text(
        "SELECT id, source_record_id, severity_level, created_at, updated_at FROM discipline_incidents ORDER BY id"
    )
    with engine.connect() as connection:
        before = connection.execute(rows).all()
    versions.upgrade(engine)
    with engine.connect() as connection:
        assert connection.execute(rows).all() == before
        keys = connection.scalars(sa.text("SELECT record_key FROM discipline_incidents ORDER BY id")).all()
        marks = connection.execute(sa.text("SELECT tenant_id, stage, student_id FROM pending_updates")).all()
    assert keys == [*(student_record_key(source, "1001-2025") for source in sources if source), "hash:0#0"]
    assert [tuple(mark) for mark in marks] == [("lake", "student_features", None)]
    assert versions.check(engine) == []
    engine.dispose()


BEFORE_DAYS = "0006"
"""The revision before days of attendance."""


def test_weeks_from_before_days_have_none_and_keep_what_they_had(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url)
    student, monday = uuid.UUID(int=1), dt.date(2025, 9, 1)
    with writing(engine) as connection:
        migrations.run_versions(connection, BEFORE_DAYS)
        keys = {"student": student.hex, "day": str(monday)}
        connection.execute(
            sa.text(
                "INSERT INTO students (id, tenant_id, district_id, first_name, last_name, date_of_birth, delivered_on)"
                " VALUES (:student, 'north', 'ZQ1', '-', '-', '2010-01-01', :day)"
            ),
            keys,
        )
        connection.execute(
            sa.text(
                "INSERT INTO weekly_activity (tenant_id, student_id, week_start, sessions_present, sessions_absent)"
                " VALUES ('north', :student, :day, 4, 1)"
            ),
            keys,
        )
        for number, status in enumerate(("present", "present", "present", "present", "absent")):
            connection.execute(
                sa.text(
                    "INSERT INTO attendance_records (tenant_id, student_id, date, status, period, delivered_on)"
                    " VALUES ('north', :student, :on, :status, 7, :day)"
                ),
                {**keys, "on": str(monday + dt.timedelta(days=number)), "status": status},
            )
    kept = sa.text("SELECT id, date, status, period, delivered_on, created_at, updated_at FROM attendance_records")
    days = sa.text(
        "SELECT days_enrolled, days_present, days_absent, days_excused, days_missed, days_basis, sessions_absent"
        " FROM weekly_activity"
    )
    with engine.connect() as connection:
        before = sorted(connection.execute(kept).all(), key=str)
    versions.upgrade(engine)
    assert versions.check(engine) == []
    with engine.connect() as connection:
        assert sorted(connection.execute(kept).all(), key=str) == before and len(before) == 5
        assert connection.execute(days).all() == [(None, None, None, None, None, None, 1)]
        assert connection.scalar(sa.text("SELECT count(minutes_absent) FROM attendance_records")) == 0
    assert update_weekly_activity(Work(engine, "north")).updated == 1
    with engine.connect() as connection:
        assert connection.execute(days).all() == [(5, 4, 1, 0, 1.0, "half", 1)]
    # A week whose records have been taken out of the table since keeps what it says.
    with writing(engine) as connection:
        connection.execute(sa.text("UPDATE weekly_activity SET days_basis = NULL"))
        connection.execute(sa.text("DELETE FROM attendance_records"))
    assert update_weekly_activity(Work(engine, "north")).recomputed == 0
    engine.dispose()


@pytest.mark.parametrize("dialect", sorted(ddl.DIALECTS))
def test_the_committed_sql_is_what_the_declaration_makes(dialect: str) -> None:
    committed = (ROOT / "sql" / "schema" / f"{dialect}.sql").read_text(encoding="utf-8")
    assert committed == ddl.script(dialect), "run `make sql`"


def test_the_committed_data_dictionary_is_what_the_declaration_makes() -> None:
    committed = (ROOT / "docs" / "data-dictionary.md").read_text(encoding="utf-8")
    assert committed == dictionary(), "run `make sql`"
