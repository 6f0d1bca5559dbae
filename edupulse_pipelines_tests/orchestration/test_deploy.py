"""Dagster's own storage on PostgreSQL, by the instance file that a deployment copies."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa
from dagster import DagsterInstance, asset, materialize

from edupulse_pipelines.storage.engine import create_engine

DEPLOY = Path(__file__).parents[2] / "deploy" / "dagster.yaml"


def test_runs_and_events_are_stored_in_postgresql(
    tmp_path: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = sa.engine.make_url(postgresql_url)
    # A server on a Unix socket has its folder for a host; behind the database's name it reaches the driver as it is.
    socket = url.query.get("host")
    database = f"{url.database}?host={socket}" if socket else str(url.database)
    for name, value in (
        ("HOST", url.host or ""),
        ("PORT", str(url.port or 5432)),
        ("USERNAME", str(url.username)),
        ("PASSWORD", str(url.password or "unused")),
        ("DB", database),
    ):
        monkeypatch.setenv(f"DAGSTER_PG_{name}", value)
    shutil.copy(DEPLOY, tmp_path / "dagster.yaml")

    @asset
    def landed() -> int:
        return 1

    with DagsterInstance.from_config(str(tmp_path)) as instance:
        assert materialize([landed], instance=instance).success
        assert len(instance.get_runs()) == 1
        # Runs that lost their process begin again; runs in which a step failed do not.
        assert instance.run_retries_enabled
        assert not instance.run_retries_retry_on_asset_or_op_failure
    engine = create_engine(postgresql_url)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT COUNT(*) FROM runs")) == 1
        assert connection.scalar(sa.text("SELECT COUNT(*) FROM event_logs")) > 0
