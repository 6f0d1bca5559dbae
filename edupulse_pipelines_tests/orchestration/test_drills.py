"""The monthly drill in Dagster: what it tells, that it fails when anything differs, and the checks that look daily."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from dagster import DagsterInstance, ExecuteInProcessResult

from edupulse_pipelines.operations.recovery import drill as drilling
from edupulse_pipelines.operations.recovery import standby
from edupulse_pipelines.operations.recovery.drills import Drill, record_drill
from edupulse_pipelines.operations.recovery.scratch import MARK
from edupulse_pipelines.operations.recovery.standby import Standby
from edupulse_pipelines.orchestration.assembly import build_defs
from edupulse_pipelines.orchestration.drills import DRILL_JOB, DRILLED, FOLLOWED, LOOK_JOB
from edupulse_pipelines.settings import BackupSettings, Settings, StandbySettings
from edupulse_pipelines.storage.database import Database

NOW = dt.datetime.now(dt.UTC)


def drilled(*findings: str, days_ago: int = 0) -> Drill:
    begun = NOW - dt.timedelta(days=days_ago)
    return Drill(
        begun=begun,
        ended=begun + dt.timedelta(minutes=1),
        succeeded=not findings,
        findings=findings,
        rpo_seconds=12.0,
        seconds={"restore": 3.0, "replay": 2.0},
        sizes={"rows": 7},
    )


def execute(settings: Settings, job: str) -> ExecuteInProcessResult:
    with DagsterInstance.ephemeral() as instance:
        definition = build_defs(settings).resolve_job_def(job)
        return definition.execute_in_process(instance=instance, raise_on_error=False)


@pytest.fixture
def canned(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> list[Drill]:
    """What the next drill finds; it goes on record as a real one does."""
    found: list[Drill] = []

    def drill(given: Settings, *_arguments: Any, **_options: Any) -> Drill:
        record_drill(given, found[0])
        return found[0]

    monkeypatch.setattr(drilling, "drill", drill)
    Database(settings.database_url).ensure_current()
    return found


def test_the_drill_tells_figures_and_a_plot_over_time(settings: Settings, canned: list[Drill]) -> None:
    record_drill(settings, drilled(days_ago=31))
    canned.append(drilled())
    result = execute(settings, DRILL_JOB)
    assert result.success
    (event,) = result.get_asset_materialization_events()
    told = {name: value.value for name, value in event.materialization.metadata.items() if hasattr(value, "value")}
    assert (told["rto_seconds"], told["rpo_seconds"], told["rows"], told["seconds_restore"]) == (5.0, 12.0, 7, 3.0)
    assert told["over_time"].startswith("![Seconds to come back")
    checks = {check.check_name: check.passed for check in result.get_asset_check_evaluations()}
    assert checks == {DRILLED: True, FOLLOWED: True}


def test_what_a_drill_did_not_find_out_is_left_out_of_its_table(settings: Settings, canned: list[Drill]) -> None:
    record_drill(settings, drilled(days_ago=31))
    canned.append(replace(drilled(), rpo_seconds=None, seconds={"restore": 3.0}, sizes={}))
    (event,) = execute(settings, DRILL_JOB).get_asset_materialization_events()
    told = event.materialization.metadata["drills"]
    shown = [(one.data["rto_seconds"], one.data["rpo_seconds"], one.data["rows"]) for one in told.records]
    assert shown == [(None, None, None), (5.0, 12.0, 7)]
    assert {column.type for column in told.schema.columns if column.name.endswith("_seconds")} == {"number"}


def test_a_drill_that_finds_something_fails_with_it(settings: Settings, canned: list[Drill]) -> None:
    canned.append(drilled("Restored to x: students: 3 rows, noted were 4"))
    result = execute(settings, DRILL_JOB)
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    assert "students: 3 rows, noted were 4" in failed.step_failure_data.user_failure_data.description


def test_what_a_killed_drill_left_is_taken_away_by_the_daily_look(settings: Settings) -> None:
    copy = settings.drill_dir / "point" / "data"
    copy.mkdir(parents=True)
    (settings.drill_dir / MARK).write_text("{}", encoding="utf-8")
    execute(settings, LOOK_JOB)
    assert not settings.drill_dir.exists()


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ([], "There was no drill yet"),
        ([drilled(days_ago=41)], "The last drill was 41 days ago, and one is due every 40"),
        ([drilled(), drilled("students: the table is missing")], "students: the table is missing"),
        ([drilled("bad"), drilled(days_ago=39)], None),
    ],
)
def test_the_check_says_what_is_overdue_and_what_failed(
    settings: Settings, there: list[Drill], said: str | None
) -> None:
    for one in there:
        record_drill(settings, one)
    with (settings.home / "drills.jsonl").open("a") as stream:
        stream.write('{"cut off')
    result = execute(settings, LOOK_JOB)
    (check,) = [one for one in result.get_asset_check_evaluations() if one.check_name == DRILLED]
    assert check.passed == (said is None)
    assert (said or "succeeded") in (check.description or "")


def test_the_check_of_the_standby_says_what_is_beyond_the_thresholds(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standby, "standby_state", lambda *_: Standby(True, "lost", None, False))
    changes = {"standby": StandbySettings(slot="second"), "database_url": "postgresql+psycopg2://localhost/d"}
    with_one = settings.model_copy(update=changes)
    (check,) = [one for one in execute(with_one, LOOK_JOB).get_asset_check_evaluations() if one.check_name == FOLLOWED]
    assert not check.passed
    assert "The slot second is broken" in (check.description or "")


def test_they_run_by_themselves_where_backups_have_a_folder(settings: Settings) -> None:
    settings.config_path.write_text("", encoding="utf-8")
    kept = settings.model_copy(update={"backup": BackupSettings(folder="backups")})
    for one, status in ((settings, "STOPPED"), (kept, "RUNNING")):
        repository = build_defs(one).get_repository_def()
        for name in (DRILL_JOB, LOOK_JOB):
            assert repository.get_schedule_def(f"{name}_schedule").default_status.value == status
