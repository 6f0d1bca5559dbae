"""When the schedules tick, in the tenant's own time, and for which week."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from dagster import TimeWindowPartitionsDefinition, build_schedule_context, partition_loading_context

from edupulse_pipelines.orchestration.assembly import build_defs
from edupulse_pipelines.orchestration.partitions import RANGE_END_TAG, RANGE_START_TAG
from edupulse_pipelines.orchestration.schedules import TRAINING_CRON
from edupulse_pipelines.weeks import last_closed_week
from edupulse_pipelines_tests.orchestration.conftest import settings_of, tenant_of


def _schedule(tmp_path: Path, timezone: str, name: str):
    defs = build_defs(settings_of(tmp_path, tenant_of(tmp_path, "d", timezone)))
    repository = defs.get_repository_def()

    def evaluate(tick: dt.datetime):
        with build_schedule_context(
            scheduled_execution_time=tick, repository_def=repository, resources=defs.resources
        ) as context:
            return schedule.evaluate_tick(context)

    schedule = repository.get_schedule_def(name)
    return schedule, evaluate


def _ticks(schedule, after: dt.datetime, count: int) -> list[dt.datetime]:
    """The schedule's next ticks: the starts of the windows that Dagster cuts time into by the same cron line."""
    fmt = "%Y-%m-%d %H:%M%z"
    windows = TimeWindowPartitionsDefinition(
        cron_schedule=schedule.cron_schedule, timezone=schedule.execution_timezone, start=after, fmt=fmt
    )
    with partition_loading_context(effective_dt=after + dt.timedelta(days=100)):
        return [dt.datetime.strptime(key, fmt) for key in windows.get_partition_keys()[:count]]


# Spring forward and fall back, north, south, and a zone half an hour off.
@pytest.mark.parametrize(
    ("timezone", "after"),
    [
        ("America/New_York", dt.datetime(2026, 2, 24, 12, tzinfo=dt.UTC)),
        ("America/New_York", dt.datetime(2026, 10, 20, 12, tzinfo=dt.UTC)),
        ("Europe/London", dt.datetime(2026, 3, 17, 12, tzinfo=dt.UTC)),
        ("Australia/Adelaide", dt.datetime(2026, 3, 24, 12, tzinfo=dt.UTC)),
        ("Pacific/Auckland", dt.datetime(2026, 9, 15, 12, tzinfo=dt.UTC)),
    ],
)
def test_weekly_is_monday_six_local_for_the_week_before(tmp_path: Path, timezone: str, after: dt.datetime) -> None:
    schedule, evaluate = _schedule(tmp_path, timezone, "d_weekly_schedule")
    ticks = _ticks(schedule, after, 4)
    for tick in ticks:
        local = tick.astimezone(ZoneInfo(timezone))
        assert (local.weekday(), local.hour, local.minute) == (0, 6, 0)
        [request] = evaluate(tick).run_requests
        assert request.partition_key == (local.date() - dt.timedelta(days=7)).isoformat()
        assert request.partition_key == last_closed_week(timezone, tick).isoformat()
    assert (
        len({tick.astimezone(ZoneInfo(timezone)).utcoffset() for tick in ticks}) == 2
    )  # the clocks changed in between


def test_weekly_takes_deliveries_along_that_came_after_their_own_run(tmp_path: Path) -> None:
    _, evaluate = _schedule(tmp_path, "America/Denver", "d_weekly_schedule")
    for delivered_on in ("2026-02-16", "2026-03-02", "2026-03-09"):  # the weeks of 9 February, 23 February and 2 March
        folder = tmp_path / "landing" / "d" / delivered_on
        folder.mkdir(parents=True)
        folder.joinpath("students.csv").write_text("district_id,first_name,last_name,date_of_birth\n", encoding="utf-8")
    tick = dt.datetime(2026, 3, 2, 13, tzinfo=dt.UTC)
    [request] = evaluate(tick).run_requests
    assert request.partition_key is None
    assert (request.tags[RANGE_START_TAG], request.tags[RANGE_END_TAG]) == ("2026-02-09", "2026-02-23")


def test_weekly_runs_whatever_looking_for_late_deliveries_comes_upon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from edupulse_pipelines.ingest import changed_files

    def broken(*_: object) -> None:
        raise RuntimeError("Ada Lovelace")

    monkeypatch.setattr(changed_files, "changed_weeks", broken)
    _, evaluate = _schedule(tmp_path, "America/Denver", "d_weekly_schedule")
    [request] = evaluate(dt.datetime(2026, 3, 2, 13, tzinfo=dt.UTC)).run_requests
    assert request.partition_key == "2026-02-23"
    assert "Ada" not in caplog.text


def test_training_is_the_first_of_the_month_for_the_last_closed_week(tmp_path: Path) -> None:
    schedule, evaluate = _schedule(tmp_path, "America/Denver", "d_training_schedule")
    assert schedule.cron_schedule == TRAINING_CRON
    [tick] = _ticks(schedule, dt.datetime(2026, 5, 15, tzinfo=dt.UTC), 1)
    local = tick.astimezone(ZoneInfo("America/Denver"))
    assert local.replace(tzinfo=None) == dt.datetime(2026, 6, 1, 4)  # a Monday: the week of 25 May closed at midnight
    [request] = evaluate(tick).run_requests
    assert request.partition_key == "2026-05-25"


def test_training_before_the_first_week_is_skipped(tmp_path: Path) -> None:
    _, evaluate = _schedule(tmp_path, "America/Denver", "d_training_schedule")
    tick = dt.datetime(2026, 1, 1, 11, tzinfo=dt.UTC)
    answer = evaluate(tick)
    assert not answer.run_requests
    assert "has not closed yet" in (answer.skip_message or "")
