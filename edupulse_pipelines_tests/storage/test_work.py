"""A `Work` begins transactions that say who works for whom, and ends them as a room expects."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from edupulse_pipelines.errors import DatabaseUnavailable, DatabaseUnusable
from edupulse_pipelines.storage import bulk
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.work import EVERY_TENANT, Work

SAID = sa.text(
    "SELECT current_setting('app.tenant', true), current_setting('app.actor', true),"
    " current_setting('app.run_id', true)"
)


def _counter(work: Work) -> int:
    with work.reading() as connection:
        return connection.scalar(sa.text("SELECT value FROM counter")) or 0


@pytest.fixture
def work(empty_database_url: str):
    engine = create_engine(empty_database_url)
    made = Work(engine, "north", run_id="run-1", actor="ada")
    with made.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE counter (value INTEGER)")
        connection.exec_driver_sql("INSERT INTO counter VALUES (1)")
    yield made
    engine.dispose()


def test_writing_commits_and_reading_leaves_nothing(work: Work) -> None:
    with work.writing() as connection:
        connection.exec_driver_sql("UPDATE counter SET value = 2")
    with work.reading() as connection:
        connection.exec_driver_sql("UPDATE counter SET value = 3")
    assert _counter(work) == 2


def test_a_block_that_raises_is_rolled_back_and_counted(work: Work) -> None:
    before = (work.attempts.reading, work.attempts.writing)
    with pytest.raises(ZeroDivisionError), work.writing() as connection:
        connection.exec_driver_sql("UPDATE counter SET value = 2")
        raise ZeroDivisionError
    assert _counter(work) == 1
    assert (work.attempts.reading, work.attempts.writing) == (before[0] + 1, before[1] + 1)
    assert work.attempts.failed == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_postgresql_is_told_who_works_for_whom_until_the_transaction_ends(engine: Engine) -> None:
    work = Work(engine, "north", run_id="run-1", actor="ada")
    for begin in (work.reading, work.writing):
        with begin() as connection:
            assert tuple(connection.execute(SAID).one()) == ("north", "ada", "run-1")
    # The same connection of the pool, without a Work: nothing is left of the one before.
    with engine.connect() as connection:
        assert not any(connection.execute(SAID).one())
    with Work(engine, EVERY_TENANT).reading() as connection:
        tenant, actor, run_id = connection.execute(SAID).one()
        assert (tenant, run_id) == ("", "") and actor


def test_a_database_that_does_not_answer_is_told_in_words(tmp_path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("not a database at all, only some words " * 100, encoding="utf-8")
    engine = create_engine(f"sqlite:///{path}")
    with pytest.raises(DatabaseUnusable, match="not a database"), Work(engine, "north").reading():
        pass
    engine.dispose()


_ENDS_ITS_OWN_SESSION = "pg_terminate_backend(pg_backend_pid())"
_ROWS = pa.table({"value": pa.array([1], pa.int32())})
_MOVES: dict[str, Callable[[Connection], object]] = {
    "copy_rows": lambda connection: bulk.copy_rows(connection, "fatal", _ROWS),
    "copy_binary": lambda connection: bulk.copy_binary(connection, "fatal", _ROWS),
    "read_rows": lambda connection: bulk.read_rows(
        connection, sa.select(sa.literal_column(_ENDS_ITS_OWN_SESSION)), {"ended": pa.bool_()}
    ),
    "write_columns": lambda connection: bulk.write_columns(
        connection, sa.table("fatal", sa.column("value", sa.Integer)), {"value": [1]}
    ),
}


@pytest.mark.parametrize("move", _MOVES)
@pytest.mark.parametrize("begin", [Work.reading, Work.writing], ids=["reading", "writing"])
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_server_that_goes_away_while_rows_move_is_unavailable(engine: Engine, begin: Callable, move: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE fatal (value INTEGER CHECK ({_ENDS_ITS_OWN_SESSION}))")
    work = Work(engine, "north")
    with pytest.raises(DatabaseUnavailable, match="does not answer"), begin(work) as connection:
        _MOVES[move](connection)
    with work.reading() as connection:  # the pool does not hand out the ended connection
        assert connection.scalar(sa.text("SELECT 1")) == 1
