from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from edupulse_pipelines.cli import main
from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.orchestration.homes import INSTANCE_FILE, secrets_in_the_file
from edupulse_pipelines.orchestration.servers import Server, development_servers, environment, serve
from edupulse_pipelines.settings import load_settings


def test_mlflow_opens_in_its_view_of_model_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    servers = development_servers(load_settings(home=tmp_path, placeholder=True), 3001, 5001)
    assert {server.name: server.url for server in servers} == {
        "Dagster": "http://127.0.0.1:3001",
        "MLflow": "http://127.0.0.1:5001/#/?workflowType=machine_learning",
    }


def test_a_tracking_server_elsewhere_needs_none_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://models.example")
    servers = development_servers(load_settings(home=tmp_path, placeholder=True), 3001, 5001)
    assert [server.name for server in servers] == ["Dagster"]


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_URI", "EDUPULSE_DATABASE_URL"])
def test_no_password_is_on_a_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    uri = "postgresql://someone:s3cret@db.example/models?sslmode=verify-full"
    monkeypatch.setenv(variable, uri)
    settings = load_settings(home=tmp_path, placeholder=True)
    servers = development_servers(settings, 3001, 5001)
    assert [server.name for server in servers] == ["Dagster", "MLflow"]
    for server in servers:
        assert not [word for word in server.command if "s3cret" in word]
        assert "s3cret" not in repr(server)
    told = {**environment(settings, os.environ), **servers[1].variables}
    assert told["MLFLOW_BACKEND_STORE_URI"] == settings.tracking_uri


def test_a_server_gets_its_variables(tmp_path: Path) -> None:
    """What the servers are told beside their command line reaches them; seen in the log of one that prints it."""
    script = "import os, sys; print(os.environ['MLFLOW_BACKEND_STORE_URI'], sys.argv); sys.exit(3)"
    variables = {"MLFLOW_BACKEND_STORE_URI": "sqlite:///x.db"}
    server = Server("MLflow", [sys.executable, "-c", script], 1, tmp_path / "x.log", variables=variables)
    with pytest.raises(PermanentError, match=r"ended by itself \(exit 3\)\.\nsqlite:///x\.db \['-c'\]"):
        serve([server], load_settings(home=tmp_path), ready=lambda _: None, stopping=lambda: None)


@pytest.mark.parametrize(
    ("storage", "found"),
    [
        ({"postgres": {"postgres_db": {"password": "s3cret"}}}, ["storage.postgres.postgres_db.password"]),
        ({"postgres": {"postgres_url": "postgresql://a:s3cret@b/c"}}, ["storage.postgres.postgres_url"]),
        ({"postgres": {"postgres_db": {"password": {"env": "DAGSTER_PG_PASSWORD"}}}}, []),
        ({"postgres": {"postgres_url": {"env": "DAGSTER_PG_URL"}}}, []),
        ({"sqlite": {"base_dir": "/srv"}}, []),
        ({"custom": {"config": [{"api_token": "s3cret"}]}}, ["storage.custom.config.api_token"]),
    ],
)
def test_a_secret_in_dagsters_own_file_is_found(tmp_path: Path, storage: object, found: list[str]) -> None:
    """`dagster dev` gives the whole file to its processes on their command lines."""
    (tmp_path / "dagster.yaml").write_text(f"{INSTANCE_FILE}\nstorage: {json.dumps(storage)}\n", encoding="utf-8")
    assert secrets_in_the_file(tmp_path) == found


def test_dev_refuses_a_secret_in_dagsters_own_file(tmp_path: Path) -> None:
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("storage: {postgres: {postgres_db: {password: s3cret}}}\n", encoding="utf-8")
    done = CliRunner().invoke(main, ["dev", "--home", str(tmp_path)])
    assert done.exit_code == 2
    assert "storage.postgres.postgres_db.password stands in the file itself" in done.output
    assert "s3cret" not in done.output


@pytest.mark.parametrize("text", [None, "[" * 5000, "a: b: c", "&a [*a]"])
def test_an_instance_file_that_cannot_be_read_is_dagsters_to_tell(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "dagster.yaml").write_text(text, encoding="utf-8")
    assert secrets_in_the_file(tmp_path) == []
