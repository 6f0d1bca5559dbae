from __future__ import annotations

import pytest

from edupulse_pipelines.risk.book.mlflow_pages import server_of, start_page, version_page


def test_the_view_is_chosen_behind_the_hash() -> None:
    """MLflow's pages are told apart behind the `#`; a parameter in front of it never reaches them."""
    assert start_page("http://127.0.0.1:5000") == "http://127.0.0.1:5000/#/?workflowType=machine_learning"
    assert version_page("https://models.example", "edupulse-lake side", "3") == (
        "https://models.example/#/models/edupulse-lake%20side/versions/3?workflowType=machine_learning"
    )


@pytest.mark.parametrize(
    ("tracking_uri", "server"),
    [
        ("https://somebody:secret@models.example:8443/mlflow/", "https://models.example:8443/mlflow"),
        ("http://127.0.0.1:5001", "http://127.0.0.1:5001"),
        ("sqlite:////srv/edupulse/mlflow/mlflow.db", "http://127.0.0.1:5000"),
        ("postgresql+psycopg2://somebody:secret@host/mlflow", "http://127.0.0.1:5000"),
    ],
)
def test_a_link_names_the_server_and_nobodys_password(tracking_uri: str, server: str) -> None:
    assert server_of(tracking_uri) == server
