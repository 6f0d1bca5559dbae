"""One MLflow store for the room's tests: making its tables takes seconds, and tenants keep the tests apart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edupulse_pipelines.risk.book.registry import Registry
from edupulse_pipelines_tests.prepared import put_mlflow_store, remembering_plots, remembering_proofs


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A registry over SQLite."""
    home = tmp_path_factory.mktemp("mlflow")
    return Registry(put_mlflow_store(home / "mlflow.db"), home / "artifacts")


@pytest.fixture(scope="session", autouse=True)
def _proofs_and_plots_are_made_once() -> Iterator[None]:
    """Of trainings that find the same; proofs and plots have tests of their own, which make them each time."""
    from edupulse_pipelines.risk import training
    from edupulse_pipelines.risk.telling import reports

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "prove_no_leakage", remembering_proofs(training.prove_no_leakage))
        patch.setattr(reports, "training_figures", remembering_plots(reports.training_figures))
        yield


@pytest.fixture(scope="session")
def across_databases() -> dict[str, object]:
    """What a test found on the first database, for the second to compare with."""
    return {}


@pytest.fixture
def without_plot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training without drawing, which takes longer than the rest of it on a small district."""
    monkeypatch.setattr("edupulse_pipelines.risk.telling.reports.training_figures", lambda *_arguments: {})
