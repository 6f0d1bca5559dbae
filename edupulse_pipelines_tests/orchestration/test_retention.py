"""The monthly job that proposes what is over: what it tells, that it changes nothing, and when it runs by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from dagster import DagsterInstance, TableMetadataValue

from edupulse_pipelines.orchestration.assembly import build_defs
from edupulse_pipelines.orchestration.retention import RETENTION_CRON, retention_job_name
from edupulse_pipelines.settings import Settings, TenantSettings
from edupulse_pipelines.settings.retention import RetentionSettings
from edupulse_pipelines_tests.ingest.district import District
from edupulse_pipelines_tests.orchestration.conftest import settings_of

STUDENTS = (
    "district_id,first_name,last_name,date_of_birth,enrollment_date,exit_date,exit_type\n"
    "ZQ1,ZQann,ZQlee,2010-01-01,2020-09-01,2021-06-18,completed\nZQ2,ZQray,ZQmoss,2010-01-02,2020-09-01,,\n"
)
ATTENDANCE = "district_id,date,status\nZQ1,2025-09-02,present\nZQ2,2025-09-02,present\n"


def propose(settings: Settings, tenant: TenantSettings) -> tuple[dict[str, Any], str]:
    """Run the job: its metadata, and everything that its run recorded."""
    with DagsterInstance.ephemeral() as instance:
        job = build_defs(settings).resolve_job_def(retention_job_name(tenant))
        result = job.execute_in_process(instance=instance)
        recorded = repr([event.dagster_event for event in instance.all_logs(result.run_id)])
    (output,) = [event for event in result.all_events if event.is_successful_output]
    told = output.step_output_data.metadata.items()
    of_table = {name: value.records for name, value in told if isinstance(value, TableMetadataValue)}
    return {name: value.value for name, value in told} | of_table, recorded


def test_it_counts_by_table_names_nobody_and_changes_nothing(
    tmp_path: Path, database_url: str, engine: sa.Engine
) -> None:
    district = District(engine, tmp_path, name="north")
    district.land(1, students=STUDENTS, attendance_records=ATTENDANCE)
    district.run("students", "attendance_records")

    def told(**periods: int) -> tuple[dict[str, Any], str]:
        tenant = district.tenant.model_copy(update={"retention": RetentionSettings.model_validate(periods)})
        settings = settings_of(tmp_path, tenant).model_copy(update={"database_url": database_url})
        return propose(settings, tenant)

    assert told()[0]["proposal"] == "No period is set, so nothing is ever over."
    assert told(grades=90)[0]["proposal"].startswith("Nothing is over on ")
    metadata, recorded = told(attendance_records=3)
    assert "--execute" in metadata["proposal"]
    assert [record.data for record in metadata["over"]] == [{"table": "attendance_records", "students": 1, "rows": 1}]
    assert (metadata["on_hold"], metadata["exit_unknown"]) == (0, 0)
    assert "ZQ" not in f"{metadata} {recorded}"
    assert len(district.rows("attendance_records", "date")) == 2


@pytest.mark.parametrize(
    ("periods", "configured", "status"),
    [({"grades": 5}, True, "RUNNING"), ({}, True, "STOPPED"), ({"grades": 5}, False, "STOPPED")],
)
def test_the_schedule_runs_where_a_period_is_set(
    tmp_path: Path, engine: sa.Engine, periods: dict[str, int], configured: bool, status: str
) -> None:
    tenant = District(engine, tmp_path, retention=RetentionSettings.model_validate(periods)).tenant
    settings = settings_of(tmp_path, tenant)
    if configured:
        settings.config_path.write_text("", encoding="utf-8")
    schedule = build_defs(settings).get_repository_def().get_schedule_def(f"{retention_job_name(tenant)}_schedule")
    assert (schedule.default_status.value, schedule.cron_schedule) == (status, RETENTION_CRON)
    assert schedule.execution_timezone == tenant.timezone
