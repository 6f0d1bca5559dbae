"""How connections behave: writers wait for each other, failures are told in words."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import DatabaseUnusable
from edupulse_pipelines.storage.engine import create_engine, database_error_in_words, reachable, writing


def test_two_writers_that_read_first_wait_for_each_other(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url)
    with writing(engine) as connection:
        connection.exec_driver_sql("CREATE TABLE counter (value INTEGER)")
        connection.exec_driver_sql("INSERT INTO counter VALUES (0)")
    failures: list[BaseException] = []

    def count_up() -> None:
        try:
            for _ in range(20):
                with writing(engine) as connection:
                    connection.exec_driver_sql("SELECT value FROM counter").all()
                    connection.exec_driver_sql("UPDATE counter SET value = value + 1")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=count_up) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT value FROM counter")) == 60
    engine.dispose()


def test_a_failed_writer_leaves_nothing(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url)
    with pytest.raises(ZeroDivisionError), writing(engine) as connection:
        connection.exec_driver_sql("CREATE TABLE gone (value INTEGER)")
        raise ZeroDivisionError
    assert not sa.inspect(engine).has_table("gone")
    engine.dispose()


def test_a_file_that_is_no_database_and_a_folder_that_cannot_be_made_are_told(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("not a database at all, only some words " * 100, encoding="utf-8")
    engine = create_engine(f"sqlite:///{path}")
    with pytest.raises(DatabaseUnusable, match="not a database"), reachable(engine):
        engine.connect()
    with pytest.raises(DatabaseUnusable, match="cannot be made"):
        create_engine(f"sqlite:///{path / 'inside' / 'x.db'}")


def test_an_error_of_the_database_is_told_without_the_values(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url)
    with pytest.raises(sa.exc.DBAPIError) as caught, writing(engine) as connection:
        connection.execute(sa.text("INSERT INTO nowhere VALUES (:name)"), {"name": "Ada Lovelace"})
    assert "parameters hidden" in str(caught.value)
    # PostgreSQL's own text still quotes the statement with its values; a step tells the kind and place only.
    told = database_error_in_words(caught.value)
    assert told is not None and "Ada" not in told
    engine.dispose()


def test_database_errors_are_told_without_values() -> None:
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (name TEXT UNIQUE)")
        connection.execute(sa.text("INSERT INTO t VALUES (:name)"), {"name": "Ada Lovelace"})
        with pytest.raises(sa.exc.IntegrityError) as caught:
            connection.execute(sa.text("INSERT INTO t VALUES (:name)"), {"name": "Ada Lovelace"})
    assert "Ada" in str(caught.value)
    said = database_error_in_words(caught.value)
    assert said is not None and "Ada" not in said and "UNIQUE constraint failed: t.name" in said
    assert database_error_in_words(ValueError("x")) is None
