"""A database makes and compares its schema, gives Works, and says in words what it does not do."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import DatabaseRefused, DatabaseUnusable, PermanentError
from edupulse_pipelines.storage import versions
from edupulse_pipelines.storage.bulk import stage
from edupulse_pipelines.storage.database import Database, SchemaState
from edupulse_pipelines.storage.work import operating_system_user
from edupulse_pipelines_tests.roles import loader_role


def test_a_refused_statement_is_told_without_its_text_and_values(database_url: str) -> None:
    statement = sa.text("INSERT INTO nowhere VALUES (:name)")
    with (
        pytest.raises(DatabaseRefused, match=r"^The database refused a statement \(") as caught,
        Database(database_url).work("north") as work,
        work.writing() as connection,
    ):
        connection.execute(statement, {"name": "Ada Lovelace"})
    assert "Ada" not in str(caught.value) and "INSERT" not in str(caught.value)


def test_a_database_makes_its_schema_and_compares_it(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    head = versions.head()
    assert database.state() == SchemaState(None, head, has_current_objects=False)
    assert database.check() == ["The database is empty: run `edupulse db upgrade` first, which makes its tables."]
    assert database.upgrade() == (None, head)
    assert database.upgrade() == (head, head)
    assert database.state() == SchemaState(head, head, has_current_objects=True)
    assert database.check() == []


def test_an_empty_sqlite_file_stays_empty_until_somebody_works_in_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "new.db"
    database = Database(f"sqlite:///{path}")
    for existing in (False, True):
        if existing:
            path.parent.mkdir()
            path.touch()
        with database.works_if_filled() as works:
            assert works is None
        assert database.state() == SchemaState(None, versions.head(), has_current_objects=False)
        assert database.check() == [versions.EMPTY]
        assert path.parent.exists() == existing
    with database.work("north") as work, work.reading() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM students")) == 0
    with database.works_if_filled() as works:
        assert works is not None
        assert [works(name).tenant for name in ("north", "south")] == ["north", "south"]


@pytest.mark.parametrize("name", ["ada", None])
def test_an_actor_can_be_named(database_url: str, name: str | None) -> None:
    database = Database(database_url)
    expected = name or operating_system_user()
    with database.work("north", actor=name) as work, database.works_if_filled() as works:
        assert works is not None
        for one in (work, works("north", actor=name)):
            assert one.actor == expected
            if one.dialect == "postgresql":
                with one.reading() as connection:
                    assert connection.scalar(sa.text("SELECT current_setting('app.actor')")) == expected


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_role_without_the_right_to_temporary_tables_is_told_the_grant(engine: sa.Engine) -> None:
    rows = pa.table({"value": pa.array([1], pa.int32())})
    with loader_role(engine) as url:
        role, database = sa.engine.make_url(url).username, engine.url.database
        with Database(url).work("north") as work, work.reading() as connection:
            assert stage(connection, "some_rows", {"value": "INTEGER"}, rows) == "some_rows"
        with engine.begin() as connection:
            connection.exec_driver_sql(f"REVOKE TEMPORARY ON DATABASE {database} FROM {role}")
        with (
            pytest.raises(DatabaseRefused, match=f"42501.*GRANT TEMPORARY ON DATABASE {database} TO {role}") as caught,
            Database(url).work("north") as work,
            work.writing() as connection,
        ):
            stage(connection, "some_rows", {"value": "INTEGER"}, rows)
    assert isinstance(caught.value, PermanentError) and "\n" not in str(caught.value)


@pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)
def test_a_server_that_is_too_old_is_refused_before_anything_is_done(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(empty_database_url)
    with monkeypatch.context() as patch:
        patch.setattr("edupulse_pipelines.storage.engine.LEAST_POSTGRESQL", 99)
        for asked in (database.upgrade, database.state, database.check, database.ensure_current):
            with pytest.raises(DatabaseUnusable, match=r"server has version \d\d; EduPulse needs 99 or later"):
                asked()
    assert database.state().revision is None


def test_the_url_of_a_database_is_shown_without_its_password() -> None:
    assert Database("postgres://ada:s3cret@db.example/x").shown_url == "postgresql+psycopg2://ada:***@db.example/x"
