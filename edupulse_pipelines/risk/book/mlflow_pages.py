"""Links to the pages of MLflow's web interface, in its view of model training.

MLflow 3 opens in a view for generative AI, which hides runs and registered models. The view is chosen by a parameter
behind the `#` of the address; in front of it, it has no effect.
"""

from __future__ import annotations

from urllib.parse import quote, urlsplit, urlunsplit

MLFLOW_PORT = 5000
"""The port on which `edupulse dev` serves MLflow unless it is told another."""
MODEL_TRAINING = "workflowType=machine_learning"


def start_page(server: str) -> str:
    """MLflow's first page; `server` is its address without a path, such as `http://127.0.0.1:5000`."""
    return f"{server}/#/?{MODEL_TRAINING}"


def version_page(server: str, registered_model: str, registry_version: str) -> str:
    """The page of a registered version, which links its run, its files and its description."""
    return f"{server}/#/models/{quote(registered_model, safe='')}/versions/{registry_version}?{MODEL_TRAINING}"


def server_of(tracking_uri: str) -> str:
    """The address of the server that shows the store `tracking_uri`.

    A tracking server shows itself; user and password are left out. Any other store (SQLite, PostgreSQL) is shown by
    `edupulse dev`, here on its usual port.
    """
    if not tracking_uri.startswith(("http://", "https://")):
        return f"http://127.0.0.1:{MLFLOW_PORT}"
    parts = urlsplit(tracking_uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
