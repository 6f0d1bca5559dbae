"""The daily backup in Dagster: what it takes, what it shows, and when it runs by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DefaultScheduleStatus

from edupulse_pipelines.file_locks import only_one
from edupulse_pipelines.operations.backup.moments import moments
from edupulse_pipelines.orchestration.assembly import build_defs
from edupulse_pipelines.orchestration.backups import BACKUP, BACKUP_CRON
from edupulse_pipelines.settings import BackupSettings, Settings
from edupulse_pipelines_tests.orchestration.conftest import settings_of, tenant_of


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return settings_of(tmp_path, tenant_of(tmp_path)).model_copy(update={"database_url": database_url})


def _run(settings: Settings, **options: Any) -> Any:
    with DagsterInstance.ephemeral() as instance:
        return build_defs(settings).resolve_job_def(BACKUP).execute_in_process(instance=instance, **options)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_job_takes_a_moment_and_shows_the_last_ones(settings: Settings) -> None:
    for number in (1, 2):
        result = _run(settings)
        (output,) = [event for event in result.all_events if event.is_successful_output]
        told = {name: value.value for name, value in output.step_output_data.metadata.items()}
        there = moments(settings)
        assert told["moment"] == there[-1].id
        assert told["bytes"] == there[-1].bytes
        assert told["rpo_seconds"] >= 0
        assert [record.data["moment"] for record in output.step_output_data.metadata["moments"].records] == [
            moment.id for moment in reversed(there)
        ]
        assert len(there) == number


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_backup_while_another_one_runs_fails_in_words(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edupulse_pipelines.orchestration.backups.retry_policy", lambda: None)
    with only_one(settings.backup_dir / "backup.lock"):
        result = _run(settings, raise_on_error=False)
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    assert "Another backup into" in failed.step_failure_data.user_failure_data.description


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_it_fails_with_the_moment_taken_where_somebody_has_to_mend_something(settings: Settings) -> None:
    folder = settings.backup_dir / "moments"
    folder.mkdir(parents=True)
    (folder / "20200101T000000Z.json").write_text("cut off", encoding="utf-8")
    result = _run(settings, raise_on_error=False)
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    failure = failed.step_failure_data.user_failure_data
    (moment,) = moments(settings)
    assert "is damaged" in failure.description
    assert failure.metadata["moment"].value == moment.id
    assert not [event for event in result.all_events if event.is_step_up_for_retry]


@pytest.mark.parametrize(("folder", "running"), [(None, False), ("/srv/backups", True)])
def test_it_runs_by_itself_where_the_settings_say_where_backups_lie(
    tmp_path: Path, folder: str | None, running: bool
) -> None:
    settings = settings_of(tmp_path, tenant_of(tmp_path)).model_copy(update={"backup": BackupSettings(folder=folder)})
    settings.config_path.parent.mkdir(parents=True, exist_ok=True)
    settings.config_path.touch()
    schedule = build_defs(settings).get_repository_def().get_schedule_def(f"{BACKUP}_schedule")
    assert schedule.cron_schedule == BACKUP_CRON
    assert schedule.default_status == (DefaultScheduleStatus.RUNNING if running else DefaultScheduleStatus.STOPPED)
