"""`edupulse db upgrade|current|check`, as typed, and what the other commands say of a database that is not ready."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from edupulse_pipelines import cli
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines_tests.roles import loader_role

Edupulse = Callable[..., Result]
ON_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def edupulse_over(url: str, home: Path) -> Edupulse:
    """The command over a database."""
    environment = {"EDUPULSE_DATABASE_URL": url}
    return lambda *words: CliRunner(env=environment).invoke(cli.main, [*words, "--home", str(home)])


def answer(done: Result) -> dict:
    return json.loads(done.stdout.splitlines()[-1])


def test_the_schema_is_made_and_told(tmp_path: Path, empty_database_url: str) -> None:
    edupulse = edupulse_over(empty_database_url, tmp_path)
    told = edupulse("db", "current")
    assert (told.exit_code, told.output.strip().startswith("No schema.")) == (1, True)
    compared = edupulse("db", "check")
    assert compared.exit_code == 1
    assert [line.rstrip() for line in compared.output.splitlines()] == [
        "1 difference",
        "  The database is empty: run `edupulse db upgrade` first, which makes its tables.",
    ]
    made = edupulse("db", "upgrade", "--json")
    assert (made.exit_code, answer(made)["before"]) == (0, None)
    assert edupulse("db", "upgrade").output == f"Already at {answer(made)['head']}.\n"
    assert edupulse("db", "current").exit_code == 0
    assert edupulse("db", "check").output == "The database is as declared.\n"


def test_objects_of_another_version_are_told_and_put_right(tmp_path: Path, engine: sa.Engine) -> None:
    edupulse = edupulse_over(engine.url.render_as_string(hide_password=False), tmp_path)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("DROP TRIGGER tr_grades_updated_at ON grades")
            connection.exec_driver_sql("COMMENT ON TABLE alembic_version IS NULL")
        else:
            connection.exec_driver_sql("DROP TRIGGER tr_grades_updated_at")
            connection.exec_driver_sql("PRAGMA user_version = 0")
    told = edupulse("db", "current")
    assert (told.exit_code, "another version's: run `edupulse db upgrade`" in told.output) == (1, True)
    assert answer(edupulse("db", "check", "--json"))["differences"] == [
        "functions, triggers and comments: those of another version were applied last",
        "missing: trigger grades tr_grades_updated_at",
    ]
    assert edupulse("db", "upgrade").exit_code == 0
    assert edupulse("db", "current").exit_code == 0
    assert edupulse("db", "check").exit_code == 0


@pytest.mark.parametrize("words", ["db upgrade", "db current", "db partitions", "demo"])
def test_a_database_of_a_newer_version_is_told_in_a_sentence_and_stays(
    tmp_path: Path, engine: sa.Engine, words: str
) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    done = edupulse_over(engine.url.render_as_string(hide_password=False), tmp_path)(*words.split())
    assert (done.exit_code, done.exception.__class__) == (1, SystemExit), done.exception
    assert "revision 9999" in done.output and "Install that version" in done.output
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one() == "9999"


@pytest.mark.parametrize("words", ["db current", "db check", "model list", "quarantine list"])
def test_looking_at_a_home_that_is_not_there_makes_nothing(tmp_path: Path, words: str) -> None:
    home = tmp_path / "home"
    done = CliRunner().invoke(cli.main, ["--home", str(home), *words.split()])
    assert done.exception.__class__ in (SystemExit, None.__class__), done.exception
    assert not home.exists()


def test_the_home_may_stand_before_the_command_and_the_nearer_one_wins(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for after, made in (([], first), (["--home", str(second)], second)):
        done = CliRunner().invoke(cli.main, ["--home", str(first), "db", "upgrade", *after])
        assert done.exit_code == 0, done.output
        assert (made / "edupulse.db").exists()
        assert second.exists() == (made == second)


@pytest.mark.parametrize("words", [["run"], ["demo", "--students", "5", "--weeks", "1"]], ids=["run", "demo"])
@pytest.mark.parametrize("state", ["empty", "behind"])
def test_a_postgresql_database_that_is_not_ready_is_an_error_that_names_the_command(
    tmp_path: Path, postgresql_url: str, words: list[str], state: str
) -> None:
    edupulse = edupulse_over(postgresql_url, tmp_path / "home")
    engine = create_engine(postgresql_url)
    if words == ["run"]:
        (tmp_path / "home" / "landing" / "north").mkdir(parents=True)
        (tmp_path / "home" / "edupulse.toml").write_text(
            '[tenants.north]\ntimezone = "UTC"\nfirst_week = 2025-09-01\n', encoding="utf-8"
        )
    if state == "behind":
        assert edupulse("db", "upgrade").exit_code == 0
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    tables = sorted(sa.inspect(engine).get_table_names())
    files = sorted((tmp_path / "home").rglob("*"))
    done = edupulse(*words)
    assert (done.exit_code, "run `edupulse db upgrade` first" in done.output) == (1, True), done.output
    assert sorted(sa.inspect(engine).get_table_names()) == tables
    assert sorted((tmp_path / "home").rglob("*")) == files
    engine.dispose()


@ON_POSTGRESQL
def test_a_role_that_owns_nothing_cannot_upgrade_and_is_told_who_can(tmp_path: Path, engine: sa.Engine) -> None:
    with loader_role(engine) as url:
        done = edupulse_over(url, tmp_path)("db", "upgrade")
        assert (done.exit_code, "as the role that owns the tables" in done.output) == (1, True)
        assert edupulse_over(url, tmp_path)("db", "current").exit_code == 0


_OWNER = "Run `edupulse db upgrade` as the role that owns the tables"
_GRANTS = "Have it granted the use of the schema, and the right to read and write all tables"


@ON_POSTGRESQL
@pytest.mark.parametrize(
    ("missing", "words", "remedy"),
    [
        ("nothing", "db check", "with the right CREATE on the database"),
        ("the revision", "db check", "with the right CREATE on the database"),
        ("the revision", "db current", _GRANTS),
        ("the revision", "db upgrade", _OWNER),
        ("the revision", "db partitions", _GRANTS),
        ("the schema", "db check", _GRANTS),
        ("the schema", "db current", _GRANTS),
        ("the schema", "db upgrade", _OWNER),
        ("the schema", "db partitions", _GRANTS),
    ],
)
def test_a_role_without_rights_is_told_what_to_do(
    tmp_path: Path, engine: sa.Engine, missing: str, words: str, remedy: str
) -> None:
    with loader_role(engine) as url:
        role = sa.engine.make_url(url).username
        with engine.begin() as connection:
            if missing == "the revision":
                connection.exec_driver_sql(f"REVOKE SELECT ON alembic_version FROM {role}")
            elif missing == "the schema":
                connection.exec_driver_sql(f"REVOKE USAGE ON SCHEMA public FROM {role}, PUBLIC")
        done = edupulse_over(url, tmp_path)(*words.split())
    assert (done.exit_code, done.exception.__class__) == (1, SystemExit), done.exception
    assert str(role) in done.output and remedy in done.output, done.output
    assert "empty" not in done.output and "SELECT" not in done.output
