"""Opening MLflow's store: however many begin at once on a new one, it is made once."""

from __future__ import annotations

import multiprocessing
import stat
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import pytest

from edupulse_pipelines.risk.book import mlflow_connection
from edupulse_pipelines.risk.book.mlflow_connection import MlflowConnection, make_store


def _open(uri: str, start: Any, ends: Queue[str]) -> None:
    start.wait()
    try:
        with MlflowConnection(uri).answering() as client:
            client.create_experiment(f"of {multiprocessing.current_process().name}")
        ends.put("")
    except Exception as error:
        ends.put(f"{type(error).__name__}: {error}")


def test_many_who_open_a_new_store_at_once(tmp_path: Path) -> None:
    """Without the lock: `duplicate column name`, `table experiments already exists`."""
    mlflow_connection._mlflow()  # imported once, before the processes part
    context = multiprocessing.get_context("fork")
    start, ends = context.Event(), context.Queue()
    uri = f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}"
    openers = [context.Process(target=_open, args=(uri, start, ends)) for _ in range(3)]
    for opener in openers:
        opener.start()
    start.set()
    assert [ends.get(timeout=120) for _ in openers] == [""] * 3
    for opener in openers:
        opener.join()
    with MlflowConnection(uri).answering() as client:
        assert len(client.search_experiments()) == 4  # and the default one


def test_a_store_is_made_before_others_open_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mlflow" / "mlflow.db"
    make_store(f"sqlite:///{path}")
    assert path.stat().st_size > 0
    assert stat.S_ISREG(path.stat().st_mode)
    monkeypatch.setattr(mlflow_connection, "_mlflow", None)
    make_store(f"sqlite:///{path}")  # made already: MLflow is not even imported
    make_store("https://models.example")
