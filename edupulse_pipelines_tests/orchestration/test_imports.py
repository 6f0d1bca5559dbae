"""Definitions and command line import nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "pandas",
    "sqlalchemy",
    "alembic",
    "sklearn",
    "shap",
    "great_expectations",
    "mlflow",
    "matplotlib",
    "numpy",
    "pyarrow",
)


@pytest.mark.parametrize(
    "module", ["edupulse_pipelines.definitions", "edupulse_pipelines.cli", "edupulse_pipelines.cli.output.summary"]
)
def test_import_is_light(module: str, tmp_path) -> None:
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    assert "Warning" not in done.stderr
