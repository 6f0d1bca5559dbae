"""A database is made, brought to this version's schema and compared with it; what is in the way is said in words."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import EduPulseError, SchemaBehind
from edupulse_pipelines.schema.catalogs import read_catalog
from edupulse_pipelines.schema.objects import declared_objects
from edupulse_pipelines.schema.objects.function_names import FUNCTION_NAMES
from edupulse_pipelines.storage import versions
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines_tests.roles import loader_role

ON_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def test_upgrade_makes_exactly_the_declared_schema(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url)
    assert versions.current(engine) is None
    versions.upgrade(engine)
    assert versions.current(engine) == versions.head()
    assert versions.check(engine) == []
    versions.upgrade(engine)  # a second time changes nothing
    assert versions.check(engine) == []
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
    assert any(difference.startswith(found) for difference in versions.check(engine))


def test_check_sees_a_dropped_constraint_and_trigger(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("ALTER TABLE grades DROP CONSTRAINT ck_grades_grade_value_range")
            connection.exec_driver_sql("DROP TRIGGER tr_grades_updated_at ON grades")
        else:
            connection.exec_driver_sql("DROP TRIGGER tr_grades_updated_at")
    differences = versions.check(engine)
    assert "missing: trigger grades tr_grades_updated_at" in differences
    if engine.dialect.name == "postgresql":
        assert "missing: constraint grades ck_grades_grade_value_range" in differences


def test_upgrade_applies_again_what_can_be_replaced(engine: sa.Engine) -> None:
    postgresql = engine.dialect.name == "postgresql"
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP TRIGGER tr_grades_updated_at{' ON grades' if postgresql else ''}")
        if postgresql:
            connection.exec_driver_sql("COMMENT ON COLUMN grades.course_id IS NULL")
            connection.exec_driver_sql("COMMENT ON TABLE grades IS 'drifted'")
            connection.exec_driver_sql(
                "CREATE OR REPLACE FUNCTION edupulse_touch_updated_at() RETURNS trigger LANGUAGE plpgsql"
                " AS 'BEGIN RETURN NEW; END'"
            )
            connection.exec_driver_sql(
                "CREATE FUNCTION edupulse_month_name(a text) RETURNS int LANGUAGE sql AS 'SELECT 1'"
            )
    expected = ["missing: trigger grades tr_grades_updated_at"]
    if postgresql:
        expected = [
            "missing: comment grades course_id",
            *expected,
            "differs: comment grades (table)",
            "differs: function edupulse_touch_updated_at ()",
            "unexpected: function edupulse_month_name (a text)",
        ]
    assert versions.check(engine) == expected
    versions.upgrade(engine)
    assert versions.check(engine) == []


@ON_POSTGRESQL
def test_functions_of_others_stay_whatever_they_are_called(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE FUNCTION edupulse_theirs(a text) RETURNS int LANGUAGE sql AS 'SELECT 1'")
        connection.exec_driver_sql("CREATE AGGREGATE edupulse_month_name(int) (SFUNC = int4pl, STYPE = int)")
        connection.exec_driver_sql("CREATE PROCEDURE edupulse_month_take() LANGUAGE sql AS 'SELECT 1'")
    assert versions.check(engine) == []
    versions.upgrade(engine)
    with engine.connect() as connection:
        kinds = connection.exec_driver_sql(
            "SELECT string_agg(prokind::text, '' ORDER BY prokind) FROM pg_proc"
            " WHERE pronamespace = CAST('public' AS regnamespace)"
        ).scalar_one()
        assert connection.exec_driver_sql("SELECT edupulse_theirs('x')").scalar_one() == 1
    assert set(kinds) == {"a", "f", "p"}


def test_every_declared_function_has_one_of_our_names() -> None:
    declared = {one.name.partition("(")[0] for one in declared_objects("postgresql") if one.kind == "function"}
    assert declared and declared <= FUNCTION_NAMES


def test_a_schema_of_another_version_is_refused_with_the_command_to_run(engine: sa.Engine) -> None:
    versions.ensure_current(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(SchemaBehind, match="edupulse db upgrade"):
        versions.ensure_current(engine)
    assert versions.check(engine) == [f"revision: 0001, this version needs {versions.head()}"]


@pytest.mark.parametrize("asked", [versions.ensure_current, versions.upgrade, versions.current])
def test_a_database_of_a_newer_version_is_refused_and_stays(
    engine: sa.Engine, asked: Callable[[sa.Engine], object]
) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("COMMENT ON TABLE grades IS 'of a later version'")
        before = read_catalog(connection)
    said = rf"revision 9999, which this version \({versions.head()}\) does not know.* Install that version"
    with pytest.raises(SchemaBehind, match=said) as caught:
        asked(engine)
    assert "db upgrade" not in str(caught.value)
    with engine.connect() as connection:
        assert read_catalog(connection) == before
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one() == "9999"
    assert versions.check(engine)[0] == f"revision: 9999, this version needs {versions.head()}"


def test_objects_of_another_version_are_refused_with_the_command_to_run(engine: sa.Engine) -> None:
    assert versions.has_current_objects(engine)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("COMMENT ON TABLE alembic_version IS NULL")
        else:
            connection.exec_driver_sql("PRAGMA user_version = 0")
    assert not versions.has_current_objects(engine)
    with pytest.raises(SchemaBehind, match="of another version: run `edupulse db upgrade`"):
        versions.ensure_current(engine)
    assert versions.check(engine) == ["functions, triggers and comments: those of another version were applied last"]
    versions.upgrade(engine)
    versions.ensure_current(engine)
    assert versions.check(engine) == []


def test_a_schema_without_a_revision_is_compared_table_by_table(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE alembic_version")
        connection.exec_driver_sql("DROP TABLE step_accounts")
    found = versions.check(engine)
    assert found[0] == f"revision: none, this version needs {versions.head()}"
    assert any(line.startswith("missing: ") and "step_accounts" in line for line in found)
    assert not any("students" in line for line in found)


def test_only_an_empty_sqlite_file_gets_the_schema_unasked(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url)
    if engine.dialect.name == "sqlite":
        versions.ensure_current(engine)
        assert versions.check(engine) == []
    else:
        with pytest.raises(SchemaBehind, match="database is empty: run `edupulse db upgrade`"):
            versions.ensure_current(engine)
        with engine.connect() as connection:
            assert read_catalog(connection) == {}
    engine.dispose()


def test_a_role_that_may_not_make_tables_is_told_so(postgresql_url: str) -> None:
    owner = create_engine(postgresql_url)
    with loader_role(owner) as url:
        other = create_engine(url)
        with pytest.raises(EduPulseError, match=r"may not change the schema .* `edupulse db upgrade` as the role that"):
            versions.upgrade(other)
        with owner.connect() as connection:
            assert read_catalog(connection) == {}
        other.dispose()
    owner.dispose()


@ON_POSTGRESQL
def test_a_role_that_owns_nothing_changes_nothing(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("COMMENT ON TABLE grades IS 'drifted'")
        before = read_catalog(connection)
    with loader_role(engine) as url:
        other = create_engine(url)
        versions.ensure_current(other)
        with pytest.raises(EduPulseError, match="may not change the schema"):
            versions.upgrade(other)
        other.dispose()
    with engine.connect() as connection:
        assert read_catalog(connection) == before


@ON_POSTGRESQL
def test_a_role_that_may_not_read_the_revision_is_told_so(engine: sa.Engine) -> None:
    with loader_role(engine) as url:
        other = create_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql(f"REVOKE SELECT ON alembic_version FROM {other.url.username}")
        with pytest.raises(EduPulseError, match="may not read the schema's revision"):
            versions.ensure_current(other)
        other.dispose()
