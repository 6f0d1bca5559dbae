"""What the libraries we call are told before they are imported."""

from __future__ import annotations

import os


def quiet_libraries() -> None:
    """Switch off the usage reporting of the libraries we call: a district's machine reports to nobody."""
    for name, value in (
        ("GX_ANALYTICS_ENABLED", "false"),
        ("MLFLOW_DISABLE_TELEMETRY", "true"),
        ("MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING", "false"),
        ("DO_NOT_TRACK", "true"),
        ("DAGSTER_DISABLE_TELEMETRY", "true"),
        ("GIT_PYTHON_REFRESH", "quiet"),
    ):
        os.environ.setdefault(name, value)
