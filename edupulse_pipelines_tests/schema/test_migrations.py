"""Versions lose no row, are structure only, and end where the declaration is; generated files are up to date."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.features import update_weekly_activity
from edupulse_pipelines.schema import ddl, migrations
from edupulse_pipelines.schema.catalogs import read_catalog
from edupulse_pipelines.schema.dictionary import dictionary
from edupulse_pipelines.storage import versions
from edupulse_pipelines.storage.engine import create_engine, writing
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines_tests.ingest.district import District

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
    # That a row goes to another district is refused on PostgreSQL before its foreign key is asked.
    of_tenant = sa.exc.ProgrammingError if engine.dialect.name == "postgresql" else sa.exc.IntegrityError
    for wrong, refused in (
        ("SET period = 7 WHERE period = 0", sa.exc.IntegrityError),
        ("SET tenant_id = 'elsewhere'", of_tenant),
        ("SET status = 'ill'", sa.exc.IntegrityError),
    ):
        with pytest.raises(refused), writing(engine) as connection:
            connection.exec_driver_sql(f"UPDATE attendance_records {wrong}")
    engine.dispose()


def _as_it_is(engine: sa.Engine) -> tuple[object, dict[str, list[str]], str | None]:
    """The catalog, every row as text, and the revision."""
    with engine.connect() as connection:
        names = sa.inspect(connection).get_table_names()
        rows = {
            name: sorted(map(str, connection.exec_driver_sql(f'SELECT * FROM "{name}"').all()))
            for name in names
            if "_y20" not in name  # a month, which its table shows
        }
        return read_catalog(connection), rows, migrations.current(connection)


def _with_students(url: str, revision: str) -> sa.Engine:
    """A database of that revision with two districts' students."""
    engine = create_engine(url)
    with writing(engine) as connection:
        migrations.run_versions(connection, revision)
        connection.execute(
            sa.text(
                "INSERT INTO students (id, tenant_id, district_id, first_name, last_name, date_of_birth, delivered_on)"
                " VALUES (:id, :tenant, :id, '-', '-', '2010-01-01', '2025-09-01')"
            ),
            [{"id": f"{number:032x}", "tenant": f"district-{number % 2}"} for number in range(4)],
        )
    return engine


class _Stopped(Exception):
    """What befalls a statement."""


def test_wherever_an_upgrade_is_stopped_the_database_is_as_it_was(empty_database_url: str) -> None:
    """Before ever later statements, from the first version to the last one."""
    engine = _with_students(empty_database_url, REVISIONS[0])
    before = _as_it_is(engine)
    sent, last = 0, 0

    def stop(*_: object) -> None:
        nonlocal sent
        sent += 1
        if sent == last:
            raise _Stopped

    event = (sa.Engine, "before_cursor_execute", stop)
    sa.event.listen(*event)
    stops = []
    try:
        for last in (3, 30, 90, 150, 400, 10**6):
            sent = 0
            try:
                versions.upgrade(engine)
            except _Stopped:
                stops.append(last)
                sa.event.remove(*event)
                assert _as_it_is(engine) == before
                sa.event.listen(*event)
                continue
            break
    finally:
        sa.event.remove(*event)
    assert len(stops) >= 4
    assert versions.check(engine) == []
    engine.dispose()


def test_a_version_that_loses_rows_is_refused_and_changes_nothing(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = _with_students(empty_database_url, REVISIONS[-1])
    versions.upgrade(engine)
    before = _as_it_is(engine)

    def losing(connection: sa.Connection, _to: str) -> None:
        connection.exec_driver_sql("ALTER TABLE students ADD COLUMN nickname TEXT")
        connection.exec_driver_sql("DELETE FROM students WHERE tenant_id = 'district-1'")

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "head", lambda: "9999")
        patch.setattr(migrations, "run_versions", losing)
        with pytest.raises(PermanentError, match="students has 2 rows after the upgrade, and had 4 before"):
            versions.upgrade(engine)
    assert _as_it_is(engine) == before
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
    assert [tuple(mark) for mark in marks] == [("lake", "student_features", None), ("lake", "enrolled_days", None)]
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
                "INSERT INTO students (id, tenant_id, district_id, first_name, last_name, date_of_birth,"
                " enrollment_date, delivered_on) VALUES (:student, 'north', 'ZQ1', '-', '-', '2010-01-01', :day, :day)"
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


BEFORE_ENROLMENTS = "0005"
"""The newest revision that has been released without enrolments."""
PEOPLE: dict[str, tuple[str, str | None, str | None, dict[str, str | None] | None]] = {
    "ZQsent": ("2025-08-25", None, None, None),
    "ZQleft": ("2025-08-25", "2025-09-24", "transferred", None),
    "ZQsent before": (
        "2025-09-03",
        None,
        None,
        {"enrollment_date": "2025-09-08", "exit_date": None, "exit_type": None},
    ),
    "ZQsilent": ("2025-09-08", None, None, {"enrollment_date": None}),
    "ZQsilent and left": ("2025-09-08", "2025-09-24", "other", {"enrollment_date": None}),
    "ZQnothing": ("2025-09-08", None, None, {"enrollment_date": None, "exit_date": None, "exit_type": None}),
}
"""By number: enrolment date, exit date, exit type, `field_deliveries`."""
NEWEST = dt.date(2025, 10, 6)
"""When all of them were delivered last."""


def test_0009_makes_an_enrolment_of_each_interval_and_keeps_every_row(empty_database_url: str, tmp_path: Path) -> None:
    """Also: what was never sent is assumed and begins with the first event; the same file again says nothing new."""
    engine = create_engine(empty_database_url)
    with writing(engine) as connection:
        migrations.run_versions(connection, BEFORE_ENROLMENTS)
        ids = _people_of_before(connection)
    before = _rows_of(engine)
    versions.upgrade(engine)
    assert versions.check(engine) == []
    after = _rows_of(engine, only={table: columns for table, (columns, _) in before.items()})
    marks = after.pop("pending_updates")[1]
    assert ("lake", "weekly_activity", ids["ZQsent"], "2025-09-01") in {row[1:5] for row in marks}
    del before["pending_updates"]
    assert after == before

    lake = District(engine, tmp_path, name="lake")
    enrolments = ("district_id", "school_id", "entry_date", "exit_date", "exit_type", "origin", "deleted_on")
    found = lake.rows("enrollments", *enrolments)
    assert sorted(tuple(None if value is None else str(value) for value in row) for row in found) == [
        ("ZQleft", None, "2025-08-25", "2025-09-24", "transferred", "student", None),
        # No event is known: the first delivery stays.
        ("ZQnothing", None, "2025-09-08", None, None, "assumed", None),
        ("ZQsent", None, "2025-08-25", None, None, "student", None),
        ("ZQsent before", None, "2025-09-03", None, None, "student", None),
        # The grade is the first event; the attendance of August has been taken back.
        ("ZQsilent", None, "2025-09-02", None, None, "assumed", None),
        ("ZQsilent and left", None, "2025-09-03", "2025-09-24", "other", "assumed", None),
    ]
    for number in ("ZQsilent", "ZQsilent and left"):
        assert (number, dt.date(2025, 9, 1)) in lake.marks("student_features")
    assert lake.marks("enrolled_days") == {(None, dt.date(1970, 1, 5))}

    # The newest delivery once more, and a later one that says the same.
    lake.forget_marks()
    header = "district_id,first_name,last_name,date_of_birth,enrollment_date,exit_date,exit_type"
    rows = []
    for number, (entry, left, how, fields) in PEOPLE.items():
        sent = "" if fields and not fields["enrollment_date"] else entry
        rows.append(f"{number},ZQ,ZQ,2010-01-01,{sent},{left or ''},{how or ''}")
    for day in (NEWEST, NEWEST + dt.timedelta(days=7)):
        lake.land(day, students="\n".join([header, *rows, ""]))
        lake.run("students")
        assert lake.rows("enrollments", *enrolments) == found
    assert {number for number, _ in lake.marks("student_features")} == {None}  # that a week has come, and no more
    engine.dispose()


def _people_of_before(connection: sa.Connection) -> dict[str, str]:
    """The students, some of their records and a mark; the ids of the students by number, as text."""
    student = sa.text(
        "INSERT INTO students (id, tenant_id, district_id, first_name, last_name, date_of_birth, enrollment_date,"
        " exit_date, exit_type, field_deliveries, delivered_on)"
        " VALUES (:id, 'lake', :number, 'ZQ', 'ZQ', '2010-01-01', :entry, :left, :how, :fields, :day)"
    )
    ids = {}
    for place, (number, (entry, left, how, fields)) in enumerate(PEOPLE.items(), start=1):
        ids[number] = uuid.UUID(int=place).hex
        values = {"entry": entry, "left": left, "how": how, "fields": fields and json.dumps(fields), "day": NEWEST}
        connection.execute(student, {"id": ids[number], "number": number, **values})
    attended = sa.text(
        "INSERT INTO attendance_records (id, tenant_id, student_id, date, status, delivered_on, deleted_on)"
        " VALUES (:id, 'lake', :student, :day, 'absent', '2025-09-08', :deleted)"
    )
    for place, (number, day, deleted) in enumerate(
        (
            ("ZQsilent", "2025-08-27", "2025-09-15"),
            ("ZQsilent", "2025-09-04", None),
            ("ZQsilent and left", "2025-09-03", None),
            ("ZQsent", "2025-08-20", None),
        )
    ):
        values = {"id": uuid.UUID(int=100 + place).hex, "student": ids[number], "day": day, "deleted": deleted}
        connection.execute(attended, values)
    for statement in (
        "INSERT INTO grades (id, tenant_id, student_id, record_key, course_id, submission_date, delivered_on)"
        " VALUES (:id, 'lake', :student, 'id:1', 'ZQm', '2025-09-02', '2025-09-08')",
        "INSERT INTO pending_updates (id, tenant_id, stage, student_id, week_start)"
        " VALUES (:id, 'lake', 'weekly_activity', :of_mark, '2025-09-01')",
        "INSERT INTO weekly_activity (tenant_id, student_id, week_start, sessions_absent)"
        " VALUES ('lake', :student, '2025-09-01', 1)",
        "INSERT INTO student_features (tenant_id, student_id, feature_date, discipline_incidents)"
        " VALUES ('lake', :student, '2025-09-14', 0)",
    ):
        named = {"id": uuid.UUID(int=200).hex, "student": ids["ZQsilent"], "of_mark": ids["ZQsent"]}
        connection.execute(
            sa.text(statement), {name: value for name, value in named.items() if f":{name}" in statement}
        )
    return ids


def _rows_of(
    engine: sa.Engine, only: dict[str, list[str]] | None = None
) -> dict[str, tuple[list[str], list[tuple[str, ...]]]]:
    """The columns and rows (as text) of every table; of those in `only` the columns it names."""
    found = {}
    with engine.connect() as connection:
        tables = sa.inspect(connection)
        left_out = ("attendance_records_", "alembic_")  # partitions, and the revision itself
        names = [name for name in tables.get_table_names() if not name.startswith(left_out)]
        for name in names if only is None else only:
            columns = [column["name"] for column in tables.get_columns(name)] if only is None else only[name]
            rows = connection.exec_driver_sql(f"SELECT {', '.join(columns)} FROM {name}").all()
            texts = (tuple(str(value).replace("-", "") if column in ("id", "student_id") else str(value)
                     for column, value in zip(columns, row, strict=True)) for row in rows)  # fmt: skip
            found[name] = (columns, sorted(texts))
    return found


BEFORE_SCHOOLS = "0009"
"""The revision before the school of attendance."""


def test_attendance_from_before_schools_is_as_it_was_and_may_have_one_more_record_a_school(
    empty_database_url: str,
) -> None:
    engine = create_engine(empty_database_url)
    postgresql = engine.dialect.name == "postgresql"
    student = uuid.UUID(int=1)
    insert = sa.text(
        "INSERT INTO attendance_records (id, tenant_id, student_id, date, status, period, minutes_absent, delivered_on,"
        " created_at, updated_at, deleted_on, field_deliveries) VALUES (:id, 'north', :student, :day, :status, :period,"
        " :minutes, '2026-01-12', :written, :written, :deleted, :fields)"
    )
    with writing(engine) as connection:
        migrations.run_versions(connection, BEFORE_SCHOOLS)
        connection.execute(
            sa.text(
                "INSERT INTO students (id, tenant_id, district_id, first_name, last_name, date_of_birth, delivered_on)"
                " VALUES (:id, 'north', 'ZQ1', '-', '-', '2010-01-01', '2025-09-01')"
            ),
            {"id": student.hex},
        )
        if postgresql:  # a month of its own beside the default partition
            connection.exec_driver_sql(
                "CREATE TABLE attendance_records_y2025m09 PARTITION OF attendance_records"
                " FOR VALUES FROM ('2025-09-01') TO ('2025-10-01')"
            )
        connection.execute(
            insert,
            [
                {
                    "id": uuid.UUID(int=100 + number).hex,
                    "student": student.hex,
                    "day": str(dt.date(2025, 9, 29) + dt.timedelta(days=number // 2)),
                    "status": ("present", "absent", "tardy", "excused")[number % 4],
                    "period": None if number % 2 else 7,
                    "minutes": 5 if number % 3 == 0 else None,
                    "written": "2026-01-12 06:00:00",
                    "deleted": "2026-01-12" if number == 5 else None,
                    "fields": '{"minutes_absent": "2026-01-05"}' if number == 3 else None,
                }
                for number in range(12)
            ],
        )
    kept = sa.text(
        "SELECT id, date, status, period, minutes_absent, delivered_on, created_at, updated_at, deleted_on,"
        " field_deliveries FROM attendance_records ORDER BY id"
    )
    with engine.connect() as connection:
        before = connection.execute(kept).all()
    assert len(before) == 12
    versions.upgrade(engine)
    assert versions.check(engine) == []
    with engine.connect() as connection:
        assert connection.execute(kept).all() == before
        assert connection.scalar(sa.text("SELECT count(school_id) FROM attendance_records")) == 0
    again = sa.text(
        "INSERT INTO attendance_records (tenant_id, student_id, date, status, period, school_id, delivered_on)"
        " SELECT tenant_id, student_id, date, status, period, :school, delivered_on FROM attendance_records"
        " WHERE school_id IS NULL"
    )
    with writing(engine) as connection:
        connection.execute(again, {"school": "A"})
    for school in ("A", None):
        with pytest.raises(sa.exc.IntegrityError), writing(engine) as connection:
            connection.execute(again, {"school": school})
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM attendance_records")) == 24
    engine.dispose()


def test_0014_keeps_every_prediction_with_its_feedback_and_lets_one_be_without_a_probability(
    empty_database_url: str,
) -> None:
    engine = create_engine(empty_database_url)
    with writing(engine) as connection:
        migrations.run_versions(connection, "0013")
    ids = {name: uuid.UUID(int=number).hex for number, name in enumerate(("student", "model", "review"), start=1)}
    made = "2025-09-08 06:00:00"
    with writing(engine) as connection:
        connection.execute(
            sa.text(
                "INSERT INTO students (id, tenant_id, district_id, first_name, last_name, date_of_birth, delivered_on)"
                " VALUES (:student, 'lake', 'Z1', '-', '-', '2010-01-01', '2025-09-01')"
            ),
            ids,
        )
        connection.execute(
            sa.text("INSERT INTO model_metadata (id, tenant_id, model_version) VALUES (:model, 'lake', 'm1')"), ids
        )
        connection.execute(
            sa.text(
                "INSERT INTO predictions (id, tenant_id, student_id, feature_date, prediction_date, risk_score,"
                " risk_category, confidence, risk_factors, model_version, created_at, updated_at)"
                " VALUES (:id, 'lake', :student, :day, :made, :score, 'low', 0.75, '[]', 'm1', :made, :made)"
            ),
            [
                {"id": uuid.UUID(int=10 + n).hex, "day": f"2025-09-{7 * n:02d}", "score": 0.1 / n, "made": made, **ids}
                for n in range(1, 4)
            ],
        )
        connection.execute(
            sa.text(
                "INSERT INTO training_feedback (id, tenant_id, prediction_id, record_key, delivered_on, created_at,"
                " updated_at) VALUES (:model, 'lake', :prediction, 'id:1', '2025-09-15', :made, :made)"
            ),
            {**ids, "prediction": uuid.UUID(int=12).hex, "made": made},
        )
        connection.execute(
            sa.text(
                "INSERT INTO review_proposals (id, tenant_id, prediction_id, feature_date, drawn_from, proposed_at)"
                " VALUES (:review, 'lake', :prediction, '2025-09-07', 4, :made)"
            ),
            {**ids, "prediction": uuid.UUID(int=11).hex, "made": made},
        )
    tables = {
        "predictions": "id, tenant_id, student_id, feature_date, prediction_date, risk_score, risk_category,"
        " confidence, CAST(risk_factors AS TEXT), model_version, rescored, created_at, updated_at",
        "training_feedback": "id, tenant_id, prediction_id, record_key, delivered_on, created_at, updated_at",
        "review_proposals": "id, tenant_id, prediction_id, feature_date, drawn_from, proposed_at",
    }
    queries = [sa.text(f"SELECT {columns} FROM {name} ORDER BY id") for name, columns in tables.items()]
    with engine.connect() as connection:
        before = [connection.execute(query).all() for query in queries]
    versions.upgrade(engine)
    assert versions.check(engine) == []
    with engine.connect() as connection:
        assert [connection.execute(query).all() for query in queries] == before
        assert connection.scalar(sa.text("SELECT count(rule_score) FROM predictions")) == 0
    with pytest.raises(sa.exc.IntegrityError), writing(engine) as connection:
        connection.exec_driver_sql("DELETE FROM predictions")
    with pytest.raises(sa.exc.IntegrityError), writing(engine) as connection:
        connection.exec_driver_sql("UPDATE predictions SET risk_score = NULL, rule_score = 1")
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE predictions SET risk_score = NULL, confidence = NULL, rule_score = 1")
    engine.dispose()


BEFORE_DUE_WORK = "0013"
"""A revision at which grades say neither of which work nor by when it was due."""


def test_grades_from_before_due_work_are_as_they_were(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url)
    kept = sa.text("SELECT id, record_key, grade_value, submission_date, updated_at, deleted_on, change_id FROM grades")
    with writing(engine) as connection:
        migrations.run_versions(connection, BEFORE_DUE_WORK)
        connection.execute(
            sa.text(
                "INSERT INTO students (id, tenant_id, district_id, first_name, last_name, date_of_birth, delivered_on)"
                " VALUES (:id, 'north', 'ZQ1', '-', '-', '2010-01-01', '2025-09-01')"
            ),
            {"id": uuid.UUID(int=1).hex},
        )
        connection.execute(
            sa.text(
                "INSERT INTO grades (id, tenant_id, student_id, record_key, course_id, grade_value, submission_date,"
                " delivered_on, updated_at, change_id)"
                " VALUES (:id, 'north', :student, 'hash:1#0', 'm', 81.5, '2025-09-02', '2025-09-08', :written, 7)"
            ),
            {"id": uuid.UUID(int=2).hex, "student": uuid.UUID(int=1).hex, "written": "2025-09-08 06:00:00"},
        )
        before = connection.execute(kept).all()
    versions.upgrade(engine)
    with engine.connect() as connection:
        assert connection.execute(kept).all() == before
        assert connection.execute(sa.text("SELECT assignment_id, due_date FROM grades")).all() == [(None, None)]
    engine.dispose()


@pytest.mark.parametrize("dialect", sorted(ddl.DIALECTS))
def test_the_committed_sql_is_what_the_declaration_makes(dialect: str) -> None:
    committed = (ROOT / "sql" / "schema" / f"{dialect}.sql").read_text(encoding="utf-8")
    assert committed == ddl.script(dialect), "run `make sql`"


def test_the_committed_data_dictionary_is_what_the_declaration_makes() -> None:
    committed = (ROOT / "docs" / "data-dictionary.md").read_text(encoding="utf-8")
    assert committed == dictionary(), "run `make sql`"
