"""What the commands refuse, and how they end. Whole runs are in the end-to-end tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edupulse_pipelines import cli

TOML = '[tenants.{name}]\ntimezone = "UTC"\nfirst_week = 2026-01-05\n'


def edupulse(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "edupulse.toml").write_text(TOML.format(name="north"), encoding="utf-8")
    (tmp_path / "landing" / "north").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--week", "2026-13-45"], "not a date"),
        (["--week", "2100-01-04"], "still open"),
        (["--week", "9999-12-31"], "not a date from 1970-01-01 to 2199-12-31"),
        (["--week", "0001-01-01"], "not a date from 1970-01-01 to 2199-12-31"),
        (["--week", "2020-01-06"], "first_week"),
        (["--week", "2026-02-02", "--all"], "exclude each other"),
        (["--tenant", "south"], "there are: north"),
        (["--nonsense"], "No such option"),
    ],
)
def test_wrong_usage_of_run(home: Path, arguments: list[str], said: str) -> None:
    done = edupulse("run", "--home", home, *arguments)
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output


def test_run_without_tenants_is_wrong_usage(tmp_path: Path) -> None:
    done = edupulse("run", "--home", tmp_path)
    assert done.exit_code == 2
    assert "edupulse demo" in done.output


def test_json_of_several_tenants_needs_one(home: Path) -> None:
    with (home / "edupulse.toml").open("a", encoding="utf-8") as toml:
        toml.write(TOML.format(name="south"))
    done = edupulse("run", "--home", home, "--json")
    assert done.exit_code == 2
    assert "--tenant" in done.output


def test_a_failing_tenant_does_not_stop_the_others(home: Path) -> None:
    with (home / "edupulse.toml").open("a", encoding="utf-8") as toml:
        toml.write(TOML.format(name="aaa"))  # has no landing folder
    done = edupulse("run", "--home", home)
    assert done.exit_code == 1
    assert "landing folder" in done.output
    assert "1 of 2 tenants done" in done.output
    assert "Error: Tenant aaa: the landing folder" in done.output


def test_an_error_that_names_no_tenant_gets_the_name_before_it(home: Path) -> None:
    """Also where the tenant's name stands in a path."""
    with (home / "edupulse.toml").open("a", encoding="utf-8") as toml:
        toml.write(TOML.format(name="aaa"))
    delivery = home / "landing" / "aaa" / "2026-02-02"
    delivery.mkdir(parents=True)
    (delivery / "manifest.json").write_text("{", encoding="utf-8")
    done = edupulse("run", "--home", home)
    assert done.exit_code == 1
    assert f"Error: aaa: {delivery}" in done.output.replace("\n", "")


def _two_tenants(home: Path) -> None:
    with (home / "edupulse.toml").open("a", encoding="utf-8") as toml:
        toml.write(TOML.format(name="aaa"))
    (home / "landing" / "aaa").mkdir()


@pytest.mark.parametrize(
    "error", [RuntimeError("Ada Lovelace"), OverflowError("Ada"), MemoryError(), RecursionError(), OSError(5, "Ada")]
)
@pytest.mark.parametrize("stage", ["cli.run.planned_weeks", "cli.run.run_plan", "orchestration.assembly.tenant_assets"])
def test_an_unexpected_error_is_one_tenants_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, stage: str
) -> None:
    """Whatever it is, it is told without its text, and the others run."""
    from edupulse_pipelines.cli import run
    from edupulse_pipelines.orchestration import assembly

    _two_tenants(home)
    module, name = (assembly, "tenant_assets") if stage.endswith("tenant_assets") else (run, stage.rpartition(".")[2])
    whole = getattr(module, name)

    def broken(*arguments: object, **options: object) -> object:
        if any(getattr(argument, "name", None) == "aaa" for argument in arguments):
            raise error
        return whole(*arguments, **options)

    if name == "tenant_assets":  # reached only with something to run
        folder = home / "landing" / "aaa" / "2026-01-12"
        folder.mkdir()
        (folder / "students.csv").write_text("district_id,first_name,last_name,date_of_birth\n", encoding="utf-8")
    monkeypatch.setattr(module, name, broken)
    done = edupulse("run", "--all", "--home", home)
    assert done.exit_code == 1
    assert f"aaa: Unexpected {type(error).__name__}" in done.output
    assert "Ada" not in done.output
    assert "north: there is no delivery" in done.output
    assert "1 of 2 tenants done" in done.output


def test_an_unexpected_error_of_any_command_is_told_without_its_text(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edupulse_pipelines.storage import engine

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("Ada Lovelace")

    (home / "edupulse.db").touch()  # without one, reading commands open nothing
    monkeypatch.setattr(engine, "create_engine", broken)
    for words in (["run"], ["quarantine", "list"], ["model", "list"], ["db", "current"]):
        done = edupulse(*words, "--home", home)
        assert done.exit_code == 1, words
        assert "Unexpected RuntimeError" in done.output, words
        assert "Ada" not in done.output


def test_a_week_before_one_tenants_first_is_that_tenants_alone(home: Path) -> None:
    with (home / "edupulse.toml").open("a", encoding="utf-8") as toml:
        toml.write(TOML.format(name="late").replace("2026-01-05", "2026-03-02"))
    (home / "landing" / "late").mkdir()
    done = edupulse("run", "--home", home, "--week", "2026-02-02")
    assert done.exit_code == 1
    assert "late begins with the week of 2026-03-02" in done.output
    assert "north: there is no delivery" in done.output


@pytest.mark.parametrize(
    "table",
    [
        "[tenants.aaa]\ntimezone = 'UTC'\n",
        "[tenants.aaa]\ntimezone = 'UTC'\nfirst_week = 2026-01-06\n",
        "[tenants.aaa]\ntimezone = 'Nowhere'\nfirst_week = 2026-01-05\nmax_quarantine = 3\n",
        "[tenants.con]\ntimezone = 'UTC'\nfirst_week = 2026-01-05\n",
        "[tenants]\naaa = 5\n",
        "[tenants.aaa]\ntimezone = 'UTC'\nfirst_week = 2026-01-05\nlanding = '~nobody-of-this-name/x'\n",
    ],
)
def test_wrong_settings_of_a_tenant_are_that_tenants_alone(home: Path, table: str) -> None:
    with (home / "edupulse.toml").open("a", encoding="utf-8") as toml:
        toml.write(table if not table.startswith("[tenants]") else "")
    if table.startswith("[tenants]"):
        text = (home / "edupulse.toml").read_text(encoding="utf-8")
        (home / "edupulse.toml").write_text(table + text, encoding="utf-8")
    done = edupulse("run", "--home", home)
    assert done.exit_code == 1
    assert "Error: " in done.output
    assert "north: there is no delivery" in done.output
    assert "1 of 2 tenants done" in done.output
    assert edupulse("run", "--home", home, "--tenant", "north").exit_code == 0
    name = "con" if "con]" in table else "aaa"
    assert edupulse("run", "--home", home, "--tenant", name).exit_code == 2


@pytest.mark.parametrize("arguments", [[], ["--all"], ["--week", "2026-02-02"]])
def test_no_delivery_is_said_and_no_error(home: Path, arguments: list[str]) -> None:
    done = edupulse("run", "--home", home, "--json", *arguments)
    assert done.exit_code == 0
    assert "there is no delivery" in done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["weeks"] == 0
    assert summary["model"] is None
    assert list(summary)[:7] == ["tenant", "weeks", "tables", "students", "model", "predictions", "seconds"]


def test_the_database_is_down(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDUPULSE_DATABASE_URL", "postgresql://someone:s3cret@127.0.0.1:1/none")
    for words in (["run"], ["db", "current"]):
        done = edupulse(*words, "--home", home)
        assert done.exit_code == 1
        assert "does not answer" in done.output
        assert "s3cret" not in done.output


def test_schema_of_another_version(home: Path) -> None:
    import sqlalchemy as sa

    assert edupulse("db", "upgrade", "--home", home).exit_code == 0
    assert edupulse("db", "check", "--home", home).exit_code == 0
    engine = sa.create_engine(f"sqlite:///{home / 'edupulse.db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
        index = (
            connection.exec_driver_sql(
                "SELECT name FROM sqlite_master WHERE type = 'index' AND sql <> '' AND tbl_name = 'ingested_files'"
            )
            .scalars()
            .first()
        )
        connection.exec_driver_sql(f"DROP INDEX {index}")
    engine.dispose()
    done = edupulse("run", "--home", home)
    assert done.exit_code == 1
    assert "edupulse db upgrade" in done.output
    assert edupulse("db", "current", "--home", home).exit_code == 1
    assert edupulse("db", "check", "--home", home).exit_code == 1


def test_db_as_json(tmp_path: Path) -> None:
    upgraded = json.loads(edupulse("db", "upgrade", "--home", tmp_path, "--json").stdout)
    assert upgraded["before"] is None
    assert upgraded["current"] == upgraded["head"]
    assert json.loads(edupulse("db", "check", "--home", tmp_path, "--json").stdout) == {"differences": []}


def test_demo_leaves_a_home_of_someone_alone(home: Path) -> None:
    before = (home / "edupulse.toml").read_text(encoding="utf-8")
    done = edupulse("demo", "--home", home, "--students", 5, "--weeks", 2)
    assert done.exit_code == 2
    assert "--home" in done.output
    assert (home / "edupulse.toml").read_text(encoding="utf-8") == before


def test_generate_writes_landing_files_only(tmp_path: Path) -> None:
    out = tmp_path / "landing"
    done = edupulse("generate", "--out", out, "--students", 5, "--weeks", 2, "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout.splitlines()[-1])["weeks"] == 2
    assert len(list(out.iterdir())) == 2
    assert edupulse("generate", "--out", out, "--students", 5, "--weeks", 2).exit_code == 1


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = edupulse("dev", "--home", tmp_path, "--dagster-port", port)
    assert done.exit_code == 1
    assert "--dagster-port" in done.output


@pytest.mark.parametrize("name", ["2026-01-12_final/students.csv", "students.csv"])
def test_a_landing_of_which_nothing_is_a_delivery_is_no_success(home: Path, name: str) -> None:
    landed = home / "landing" / "north" / name
    landed.parent.mkdir(exist_ok=True)
    landed.write_text("district_id,first_name,last_name,date_of_birth\n", encoding="utf-8")
    done = edupulse("run", "--home", home, "--all")
    assert done.exit_code == 1
    assert "Nothing was read of" in done.output
    assert name.partition("/")[0] in done.output
