from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from edupulse_pipelines.database import create_engine
from edupulse_pipelines.errors import SchemaBehind
from edupulse_pipelines.schema import ddl, migrations
from edupulse_pipelines.schema.dictionary import dictionary

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
