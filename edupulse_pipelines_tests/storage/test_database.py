"""A database makes and compares its schema, gives Works, and says in words what it does not do."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import DatabaseRefused
from edupulse_pipelines.storage import versions
from edupulse_pipelines.storage.database import Database, SchemaState


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
    assert database.check() != []
    assert database.upgrade() == (None, head)
    assert database.upgrade() == (head, head)
    assert database.state() == SchemaState(head, head, has_current_objects=True)
    assert database.check() == []


def test_an_empty_sqlite_file_stays_empty_until_somebody_works_in_it(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new.db'}")
    with database.works_if_filled() as works:
        assert works is None
    assert database.state().revision is None
    with database.work("north") as work, work.reading() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM students")) == 0
    with database.works_if_filled() as works:
        assert works is not None
        assert [works(name).tenant for name in ("north", "south")] == ["north", "south"]


def test_the_url_of_a_database_is_shown_without_its_password() -> None:
    assert Database("postgres://ada:s3cret@db.example/x").shown_url == "postgresql+psycopg2://ada:***@db.example/x"
