from __future__ import annotations

from pathlib import Path

import pytest

from edupulse_pipelines.orchestration.servers import development_servers
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
