"""The job that keeps the partitions in shape, and the check that tells when it has something to do."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from dagster import DagsterInstance

from edupulse_pipelines.orchestration.assembly import build_defs
from edupulse_pipelines.orchestration.jobs import weekly_job_name
from edupulse_pipelines.orchestration.maintenance import MAINTENANCE
from edupulse_pipelines.orchestration.partitions import asset_key
from edupulse_pipelines.settings import Settings
from edupulse_pipelines_tests.orchestration.conftest import settings_of, tenant_of

TABLE = "attendance_records"
WEEK = dt.date(2026, 1, 5)


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return settings_of(tmp_path, tenant_of(tmp_path)).model_copy(update={"database_url": database_url})


def _maintain(settings: Settings) -> dict[str, Any]:
    """Run the job; its metadata."""
    with DagsterInstance.ephemeral() as instance:
        result = build_defs(settings).resolve_job_def(MAINTENANCE).execute_in_process(instance=instance)
    (output,) = [event for event in result.all_events if event.is_successful_output]
    return {name: value.value for name, value in output.step_output_data.metadata.items()}


def test_maintenance_makes_months_and_says_what_it_did(settings: Settings, engine: sa.Engine) -> None:
    told = _maintain(settings)
    if engine.dialect.name == "sqlite":
        assert told == {"done": "Nothing to do: there are no partitions on SQLite."}
        return
    assert told["done"] == "attendance_records: 3 partitions made"
    assert len(told["attendance_records_made"]) == 3
    assert _maintain(settings)["done"] == "attendance_records: 0 partitions made"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_table_in_use_fails_the_job_in_words(
    settings: Settings, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edupulse_pipelines.storage.turns.PATIENCE_SECONDS", 0.0)
    with engine.connect() as reader:
        reader.exec_driver_sql("SELECT 1 FROM attendance_records")
        with DagsterInstance.ephemeral() as instance:
            job = build_defs(settings).resolve_job_def(MAINTENANCE)
            result = job.execute_in_process(instance=instance, raise_on_error=False)
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    assert "attendance_records has been in use" in failed.step_failure_data.user_failure_data.description


@pytest.mark.parametrize(
    ("url", "configured", "status"),
    [
        ("postgresql+psycopg2://h/d", True, "RUNNING"),
        ("postgresql+psycopg2://h/d", False, "STOPPED"),
        ("sqlite:///edupulse.db", True, "STOPPED"),
    ],
)
def test_the_schedule_runs_where_there_is_something_to_maintain(
    tmp_path: Path, url: str, configured: bool, status: str
) -> None:
    settings = settings_of(tmp_path, tenant_of(tmp_path)).model_copy(update={"database_url": url})
    if configured:
        settings.config_path.write_text("", encoding="utf-8")
    schedule = build_defs(settings).get_repository_def().get_schedule_def(f"{MAINTENANCE}_schedule")
    assert (schedule.default_status.value, schedule.execution_timezone) == (status, "UTC")


def test_rows_in_the_default_partition_are_told_and_stop_nothing(settings: Settings, engine: sa.Engine) -> None:
    tenant = settings.tenants["open-university"].model_copy(update={"earliest_date": dt.date(1900, 1, 1)})
    settings.tenants[tenant.name] = tenant
    folder = tenant.landing / "2026-01-12"
    folder.mkdir(parents=True)
    (folder / "students.csv").write_text(
        "district_id,first_name,last_name,date_of_birth\nZQ1,ZQ,ZQ,2010-01-01\n", encoding="utf-8"
    )
    (folder / "attendance_records.csv").write_text(
        "district_id,date,status\nZQ1,2026-01-06,present\nZQ1,1926-01-06,present\n", encoding="utf-8"
    )
    selection = [asset_key(tenant, name) for name in ("raw_students", "students", "raw_attendance_records", TABLE)]
    job = build_defs(settings).resolve_job_def(weekly_job_name(tenant))
    with DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            instance=instance, asset_selection=selection, partition_key=WEEK.isoformat(), raise_on_error=False
        )
    assert result.success
    (check,) = [one for one in result.get_asset_check_evaluations() if one.check_name == "default_partition_empty"]
    assert check.passed == (engine.dialect.name == "sqlite")
    assert check.metadata["rows"].value == (engine.dialect.name == "postgresql")
    assert not check.blocking
