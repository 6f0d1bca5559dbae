"""The job that keeps the database well: what it does and measures, its checks, and when it runs."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from dagster import AssetCheckSeverity, DagsterInstance

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.operations.upkeep.growth import Forecast, Point, history, remember
from edupulse_pipelines.operations.upkeep.tasks import Result, Task, Upkeep
from edupulse_pipelines.orchestration.assembly import build_defs
from edupulse_pipelines.orchestration.jobs import weekly_job_name
from edupulse_pipelines.orchestration.maintenance import (
    DISKS_LAST,
    EVERYTHING_DONE,
    INDEXES_VALID,
    MAINTENANCE,
    NO_ROWS_IN_THE_LOG,
    STATE,
    UPKEEP,
    disks_last,
    everything_done,
    indexes_valid,
)
from edupulse_pipelines.orchestration.partitions import asset_key
from edupulse_pipelines.settings import MaintenanceSettings, RolesSettings, Settings
from edupulse_pipelines_tests.orchestration.conftest import settings_of, tenant_of
from edupulse_pipelines_tests.roles import roles_of

TABLE = "attendance_records"
WEEK = dt.date(2026, 1, 5)


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return settings_of(tmp_path, tenant_of(tmp_path)).model_copy(update={"database_url": database_url})


def _maintain(settings: Settings) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Run the job: the metadata of each asset, and the checks by name."""
    with DagsterInstance.ephemeral() as instance:
        result = build_defs(settings).resolve_job_def(MAINTENANCE).execute_in_process(instance=instance)
    metadata = {
        one.asset_key.path[-1]: {name: value.value for name, value in one.metadata.items()}
        for key in (UPKEEP, STATE)
        for one in result.asset_materializations_for_node(key.to_python_identifier())
    }
    return metadata, {check.check_name: check for check in result.get_asset_check_evaluations()}


def test_maintenance_makes_months_and_says_what_it_did(settings: Settings, engine: sa.Engine) -> None:
    told, checks = _maintain(settings)
    assert checks[EVERYTHING_DONE].passed and checks[INDEXES_VALID].passed and checks[DISKS_LAST].passed
    if engine.dialect.name == "sqlite":
        assert told["upkeep"]["done"] == "1 file analysed, 1 write-ahead log written back"
        assert checks[NO_ROWS_IN_THE_LOG].passed and told["state"]["database_gib"] > 0
        return
    assert told["upkeep"]["done"] == "attendance_records: 3 partitions made; nothing needed"
    assert len(told["upkeep"]["attendance_records_made"]) == 3
    assert told["state"]["wal_gib"] > 0 and told["state"]["server_free_gib"] > 0
    # The server of the tests has PostgreSQL's defaults.
    assert checks[NO_ROWS_IN_THE_LOG].severity == AssetCheckSeverity.ERROR
    lines = checks[NO_ROWS_IN_THE_LOG].metadata["lines"].value
    assert "ALTER SYSTEM SET log_error_verbosity = 'terse';" in lines
    assert "ALTER SYSTEM SET log_min_error_statement = 'panic';" in lines
    assert _maintain(settings)[0]["upkeep"]["done"].startswith("attendance_records: 0 partitions made")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_sizes_are_plotted_over_the_weeks_that_are_on_record(settings: Settings) -> None:
    now = dt.datetime.now(dt.UTC)
    free = shutil.disk_usage(settings.home).free
    for weeks in (2, 1):
        earlier = now - dt.timedelta(weeks=weeks)
        remember(settings.home, Point(earlier, {"archive": 0}, {"students": 0}, {"home": free + weeks * (free // 4)}))
    (settings.raw_dir / "north").mkdir(parents=True)
    (settings.raw_dir / "north" / "one.parquet").write_bytes(b"0" * (2 << 20))
    told, checks = _maintain(settings)
    for plot in ("sizes_over_time", "free_over_time"):
        assert told["state"][plot].startswith("![")
    assert told["state"]["archive_gib"] == pytest.approx(2 / 1024, abs=1e-4)
    # A quarter of what is free goes each week.
    assert told["state"]["home_days_until_full"] == pytest.approx(28, abs=1)
    assert not checks[DISKS_LAST].passed and checks[DISKS_LAST].severity == AssetCheckSeverity.WARN
    assert "is full in 28 days" in (checks[DISKS_LAST].description or "")
    assert [point.at.date() for point in history(settings.home)][-1] == now.date()


def test_what_was_not_done_is_told_with_what_to_do() -> None:
    task = Task("vacuum", "students", "students", "half of it is dead", "VACUUM (ANALYZE) students", owner="the_owner")
    refused = everything_done(Upkeep(results=[Result(task, "refused", "only the_owner may")]))
    assert (refused.passed, refused.severity) == (False, AssetCheckSeverity.ERROR)
    assert "EDUPULSE_KEEPER_URL" in (refused.description or "")
    assert "As `the_owner`" in str(refused.metadata["lines"].value) and "VACUUM (ANALYZE) students;" in str(
        refused.metadata["lines"].value
    )
    left = everything_done(Upkeep(results=[Result(task, "left", "in use")]))
    assert (left.passed, left.severity) == (False, AssetCheckSeverity.WARN)
    told = indexes_valid(["ix of students is not valid: no query uses it. REINDEX INDEX CONCURRENTLY ix;"])
    assert not told.passed and "REINDEX INDEX CONCURRENTLY ix;" in str(told.metadata["lines"].value)
    failed = everything_done(Upkeep(results=[Result(task, "left", "in use"), Result(task, "failed", "damaged")]))
    assert (failed.passed, failed.severity) == (False, AssetCheckSeverity.ERROR)
    assert "1 task failed, first VACUUM (ANALYZE) students: damaged" in (failed.description or "")


def test_a_disk_lasts_when_it_was_looked_at_and_has_room() -> None:
    within_a_week = disks_last([Forecast("server", 7, 100, 2, 3.5)], [], 60, 5)
    assert (within_a_week.passed, within_a_week.severity) == (False, AssetCheckSeverity.ERROR)
    assert "full in 4 days" in (within_a_week.description or "")
    assert "full within a day" in (disks_last([Forecast("server", 7, 100, 9, 0.7)], [], 60, 5).description or "")
    steady = [Forecast("home", 90, 100, 0, None), Forecast("server", 7, 100, 0, None)]
    assert disks_last(steady, [], 60, 5).passed
    little = disks_last(steady, [], 60, 8)
    assert (little.passed, little.severity) == (False, AssetCheckSeverity.ERROR)
    assert "disk of the server" in (little.description or "")
    unseen = disks_last(steady[:1], ["server"], 60, 5)
    assert (unseen.passed, unseen.severity) == (False, AssetCheckSeverity.WARN)
    assert "server could not be looked at" in (unseen.description or "")
    unknown = disks_last([Forecast("home", 90, 100, None, None)], [], 60, 5)
    assert unknown.passed and "growth is not known" in (unknown.description or "")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_the_job_of_the_loader_becomes_the_owner_by_a_file_for_it_alone(settings: Settings, engine: sa.Engine) -> None:
    with roles_of(engine) as (names, urls):
        file = settings.home / "keeper.url"
        file.write_text(f"{urls[names.keeper]}\n", encoding="utf-8")
        as_loader = settings.model_copy(
            update={
                "database_url": urls[names.loader],
                "roles": RolesSettings(prefix=names.prefix),
                "maintenance": MaintenanceSettings(keeper_url_file=Path("keeper.url")),
            }
        )
        file.chmod(0o644)
        with pytest.raises(ConfigurationError, match="chmod 600"):
            as_loader.maintenance.keepers_url(settings.home)
        file.chmod(0o600)
        told, checks = _maintain(as_loader)
        assert checks[EVERYTHING_DONE].passed
        assert told["upkeep"]["done"].startswith("attendance_records: 3 partitions made")


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
        ("sqlite:///edupulse.db", True, "RUNNING"),
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
