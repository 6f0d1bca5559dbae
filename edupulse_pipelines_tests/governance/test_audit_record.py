"""The record of changes cannot be gone around by who writes rows, and says what the tables were at every step."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from edupulse_pipelines.governance.audit_history import changed_tables, record_history, rows_as_recorded
from edupulse_pipelines.governance.audit_verify import verify
from edupulse_pipelines.operations.partitions import attach_month, detach_month
from edupulse_pipelines.schema.sqlalchemy_tables import metadata
from edupulse_pipelines.schema.tables import AUDITED, RECORD_TABLES, TABLES
from edupulse_pipelines.storage.work import EVERY_TENANT, Work
from edupulse_pipelines_tests.conftest import Scene
from edupulse_pipelines_tests.ingest.conftest import quick_judge  # noqa: F401 - a fixture
from edupulse_pipelines_tests.ingest.district import SECRET, STUDENT_HEADER, District
from edupulse_pipelines_tests.storage.attendance import SEPTEMBER, TABLE, work_for

ON_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def _load(engine: sa.Engine, folder: Path) -> None:
    made = District(engine, folder)
    made.land(1, students=f"{STUDENT_HEADER}\n1,{SECRET}Ada,{SECRET},2010-01-01\n2,{SECRET}Ben,{SECRET},2010-01-02\n")
    made.run("students")


@pytest.fixture
def scene(request: pytest.FixtureRequest) -> Scene | None:
    return _load if "district" in request.fixturenames else None


@pytest.fixture
def district(engine: sa.Engine, tmp_path: Path) -> District:
    return District(engine, tmp_path)


def test_every_table_is_on_record_or_says_why_not() -> None:
    not_audited = {name for name, table in TABLES.items() if table.audit == "none"}
    assert not_audited == {"pending_updates", "audit_changes", "audit_entries", "audit_images"} | {
        name for name in not_audited if TABLES[name].access == "audit"
    }
    assert {name for name in AUDITED if TABLES[name].audit == "reference"} == {
        "student_features",
        "weekly_activity",
        "weekly_course_grades",
    }
    assert set(RECORD_TABLES) <= set(AUDITED)


def _refused(engine: sa.Engine, *statements: str) -> str:
    with pytest.raises(sa.exc.DBAPIError) as caught, engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    return str(caught.value.orig)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_changes SET actor = 'mallory'",
        "DELETE FROM audit_changes",
        "UPDATE audit_entries SET rows = 0",
        "DELETE FROM audit_entries",
        "UPDATE audit_images SET image = '{}'",
        "DELETE FROM audit_images",
    ],
)
def test_the_record_is_only_added_to(district: District, statement: str) -> None:
    with district.work.writing() as connection:
        connection.exec_driver_sql("UPDATE students SET gender = 'x'")
    assert "is only added to" in _refused(district.engine, statement)
    assert verify(district.work).findings == []


@ON_POSTGRESQL
def test_nothing_is_truncated(district: District) -> None:
    for table in (*AUDITED, "audit_changes", "audit_entries", "audit_images", "attendance_records_default"):
        refusals = ("is not truncated", "is only added to", "are added and never changed")
        said = _refused(district.engine, f"TRUNCATE {table} CASCADE")
        assert any(refusal in said for refusal in refusals), table


@ON_POSTGRESQL
def test_a_change_of_somebody_else_is_refused(district: District) -> None:
    with district.engine.begin() as connection:
        theirs = connection.scalar(sa.text("SELECT max(change_id) FROM students"))
        change = connection.scalar(sa.text("SELECT max(id) FROM audit_changes"))
    columns, values = "tenant_id, date, delivered_on", "'lakeside', '2025-09-02', '2025-09-02'"
    insert = f"INSERT INTO instructional_days ({columns}{{}}) VALUES ({values}{{}})"
    assert "not this transaction's" in _refused(district.engine, insert.format(", change_id", f", {theirs}"))
    assert "not this transaction's" in _refused(district.engine, insert.format(", change_id", ", 0"))
    forged = f"SELECT set_config('app.audit_change', '{change}', true), set_config('app.audit_statement', '500', true)"
    assert "not this transaction's" in _refused(district.engine, forged, insert.format("", ""))
    ahead = forged.replace(f"'{change}'", f"'{change + 1_000}'")
    assert "not this transaction's" in _refused(district.engine, ahead, insert.format("", ""))
    assert "is closed already" in _refused(
        district.engine,
        insert.format("", ""),
        "SET CONSTRAINTS ALL IMMEDIATE",
        "UPDATE instructional_days SET date = '2025-09-03'",
    )
    with district.engine.begin() as connection:  # an update cannot say who made it
        connection.exec_driver_sql("UPDATE students SET change_id = 0")
    assert verify(district.work).findings == []


@ON_POSTGRESQL
def test_rows_of_a_partition_are_on_record_by_whatever_name(district: District, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        student = connection.scalar(sa.text("SELECT min(CAST(id AS text)) FROM students"))
        work_for(connection, "lakeside")
        name = connection.scalar(sa.text("SELECT edupulse_month_start('attendance_records')"))
        connection.exec_driver_sql(
            f"INSERT INTO {name} (tenant_id, student_id, date, status, delivered_on)"
            f" VALUES ('lakeside', '{student}', '2025-09-01', 'present', '2025-09-01')"
        )
        connection.exec_driver_sql(f"SELECT edupulse_month_end('{TABLE}', '{name}', '2025-09-01')")
        connection.exec_driver_sql(
            f"SELECT edupulse_month_place('{TABLE}', ARRAY['{name}'], CAST('{{2025-09-01}}' AS date[]),"
            " CAST('{}' AS date[]))"
        )
    month = f"{TABLE}_y2025m09"
    for statement in (
        f"INSERT INTO {month} (tenant_id, student_id, date, status, delivered_on)"
        f" VALUES ('lakeside', '{student}', '2025-09-02', 'present', '2025-09-01')",
        f"UPDATE {month} SET status = 'absent' WHERE date = '2025-09-02'",
        f"DELETE FROM {month} WHERE date = '2025-09-02'",
    ):
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
    assert "is not truncated" in _refused(engine, f"TRUNCATE {month}")
    done = [(one.operation, one.rows) for one in changed_tables(district.work) if one.table == TABLE]
    assert done == [("insert", 1), ("insert", 1), ("update", 1), ("delete", 1)]
    assert verify(district.work).findings == []
    detach_month(Work(engine, EVERY_TENANT), TABLE, SEPTEMBER)
    assert verify(district.work).findings == []
    attach_month(Work(engine, EVERY_TENANT), TABLE, SEPTEMBER)
    assert verify(district.work).findings == []
    done = [(one.operation, one.rows) for one in changed_tables(district.work) if one.table == TABLE]
    assert done[-2:] == [("detach", 1), ("attach", 1)]


@ON_POSTGRESQL
def test_a_month_that_another_transaction_began_is_refused(district: District, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        student = connection.scalar(sa.text("SELECT min(CAST(id AS text)) FROM students"))
        work_for(connection, "lakeside")
        name = connection.scalar(sa.text("SELECT edupulse_month_start('attendance_records')"))
        connection.exec_driver_sql(
            f"INSERT INTO {name} (tenant_id, student_id, date, status, delivered_on)"
            f" VALUES ('lakeside', '{student}', '2025-09-01', 'present', '2025-09-01')"
        )
        connection.exec_driver_sql(f"SELECT edupulse_month_end('{TABLE}', '{name}', '2025-09-01')")
    place = f"SELECT edupulse_month_place('{TABLE}', ARRAY['{name}'], '{{2025-09-01}}'::date[], '{{}}'::date[])"
    with pytest.raises(sa.exc.DBAPIError, match="begun by another transaction"), engine.begin() as connection:
        work_for(connection, "lakeside")
        connection.exec_driver_sql(place)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP TABLE {name}")
    assert verify(district.work).findings == []


@ON_POSTGRESQL
def test_a_statement_that_changes_its_number_on_the_way_is_refused(district: District) -> None:
    with district.engine.begin() as connection:
        theirs = connection.scalar(sa.text("SELECT max(change_id) FROM students"))
    forged = f"set_config('app.audit_update', '{theirs}', true)"
    assert "not this transaction's" in _refused(district.engine, f"UPDATE students SET gender = {forged}")


def test_the_history_of_a_student(district: District) -> None:
    district.land(
        2, students=f"{STUDENT_HEADER}\n1,{SECRET}Adam,{SECRET},2010-01-01\n2,{SECRET}Ben,{SECRET},2010-01-02\n"
    )
    district.run("students", weeks=[dt.date(2025, 9, 8)])
    with Work(district.engine, "lakeside", actor="ada").writing() as connection:
        for table in ("pending_updates", "enrollment_statements", "enrollments"):
            connection.execute(sa.text(f"DELETE FROM {table}"))
        connection.execute(sa.text("DELETE FROM students WHERE district_id = '2'"))
    ((_, versions),) = record_history(district.work, "students", key="1").items()
    assert [version.differences for version in versions] == [
        {},
        {"first_name": (f"{SECRET}Ada", f"{SECRET}Adam")},
    ]
    ((_, versions),) = record_history(district.work, "students", key="2").items()
    assert [version.removed for version in versions] == [False, True]
    assert versions[-1].change.actor == "ada"
    assert record_history(district.work, "students", key="3") == {}


_BOOKKEEPING = {
    name: {column.name for column in TABLES[name].columns if column.bookkeeping} for name in ("students", "grades")
}


def _kept(rows: list[dict[str, Any]], table: str) -> list[str]:
    return sorted(str({name: value for name, value in row.items() if name not in _BOOKKEEPING[table]}) for row in rows)


_STEPS = st.lists(
    st.tuples(
        st.integers(1, 4),  # the delivery's week, in any order
        st.dictionaries(st.sampled_from("123"), st.sampled_from(["Ada", "Ben", "Cyd"]), min_size=1),
        st.dictionaries(st.sampled_from("123"), st.sampled_from(["71.25", "", "3.3"])),
    ),
    min_size=2,
    max_size=4,
    unique_by=lambda step: step[0],
)


def _holds(examples: int) -> Any:
    """The function below, for as many examples."""
    return settings(max_examples=examples, deadline=None)(given(steps=_STEPS)(_check_steps))


def _check_steps(steps: list[Any], engine: sa.Engine, folder: Path, number: list[int]) -> None:
    number[0] += 1
    district = District(engine, folder / str(number[0]), name=f"lake{number[0]}")
    was: list[tuple[dt.datetime, dict[str, list[str]]]] = []
    for week, names, scores in steps:
        day = dt.date(2025, 9, 1) + dt.timedelta(weeks=week)
        students = "\n".join(
            [STUDENT_HEADER, *(f"{who},{SECRET}{name},{SECRET},2010-01-01" for who, name in names.items())]
        )
        grades = "\n".join(
            [
                "district_id,source_record_id,course_id,submission_date,grade_value",
                *(f"{who},g{who},c,2025-09-02,{score}" for who, score in scores.items()),
            ]
        )
        district.land(day, students=students, grades=grades)
        district.run("students", "grades", weeks=[day - dt.timedelta(days=7)])
        with district.work.reading() as connection:
            now = {
                table: _kept(
                    [
                        dict(row._mapping)
                        for row in connection.execute(
                            sa.select(metadata.tables[table]).where(
                                metadata.tables[table].c.tenant_id == district.tenant.name
                            )
                        )
                    ],
                    table,
                )
                for table in _BOOKKEEPING
            }
        was.append((dt.datetime.now(dt.UTC), now))
    with district.work.reading() as connection:
        for moment, tables in was:
            for table, rows in tables.items():
                assert _kept(rows_as_recorded(connection, district.work, table, moment), table) == rows
    assert verify(district.work).findings == []


def test_the_tables_as_recorded_at_each_step_are_those_that_were_there(
    engine: sa.Engine,
    tmp_path: Path,
    quick_judge: None,  # noqa: F811
) -> None:
    _holds(3)(engine=engine, folder=tmp_path, number=[0])


@pytest.mark.heavy
def test_so_are_those_of_many_steps(engine: sa.Engine, tmp_path: Path, quick_judge: None) -> None:  # noqa: F811
    _holds(40)(engine=engine, folder=tmp_path, number=[0])


@ON_POSTGRESQL
def test_a_month_that_was_sent_something_else_than_it_holds_is_refused(engine: sa.Engine, district: District) -> None:
    with pytest.raises(sa.exc.DBAPIError, match="holds 0 rows"), engine.begin() as connection:
        work_for(connection, "lakeside")
        name = connection.scalar(sa.text("SELECT edupulse_month_start('attendance_records')"))
        connection.exec_driver_sql(f"SELECT edupulse_audit_built('attendance_records', '{name}', 3, '{'0' * 64}')")
