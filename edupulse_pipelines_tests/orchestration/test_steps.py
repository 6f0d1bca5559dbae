"""What a step does when the room it calls fails: the checks still answer, and the run says why in words."""

from __future__ import annotations

import datetime as dt

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import LandingError
from edupulse_pipelines.orchestration.execution import run_weekly_job
from edupulse_pipelines.settings import Settings, TenantSettings
from edupulse_pipelines.storage.work import Work

WEEK = dt.date(2026, 1, 5)


def _land(tenant: TenantSettings) -> None:
    folder = tenant.landing / "2026-01-12"
    folder.mkdir(parents=True)
    (folder / "students.csv").write_text("district_id,first_name,last_name,date_of_birth\n", encoding="utf-8")


@pytest.mark.usefixtures("runs_in_memory")
def test_a_stopped_load_fails_its_checks_and_stops_what_is_downstream(
    settings: Settings, tenant: TenantSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edupulse_pipelines.ingest import load

    def broken(*_: object, **__: object) -> None:
        raise LandingError("the archive of students.csv is gone")

    monkeypatch.setattr(load, "load_records", broken)
    _land(tenant)
    outcome = run_weekly_job(settings, tenant, [WEEK], [WEEK])
    assert not outcome.success
    first = ("schools", "students", "training_feedback")  # what waits for no other table
    assert set(outcome.errors) == {f"{asset}: the archive of students.csv is gone" for asset in first}
    assert "weekly_activity" not in outcome.recorded.assets
    evaluations = _evaluations(settings, str(outcome.run_id))
    assert {(asset, name) for asset, name, passed in evaluations if not passed} == {
        ("students", "numbers_without_blanks"),
        *(
            (asset, name)
            for asset in first
            for name in ("accounting_identity", "expectations", "removals_believed", "usual_size", "waiting_rows")
        ),
    }


@pytest.mark.usefixtures("runs_in_memory")
def test_a_refused_statement_fails_its_step_in_words(
    settings: Settings, tenant: TenantSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edupulse_pipelines.ingest import load

    def refused(work: Work, *_: object, **__: object) -> None:
        with work.writing() as connection:
            connection.execute(sa.text("INSERT INTO nowhere VALUES (:name)"), {"name": "Ada"})

    monkeypatch.setattr(load, "load_records", refused)
    _land(tenant)
    outcome = run_weekly_job(settings, tenant, [WEEK], [WEEK])
    words = "The database refused a statement (OperationalError). The transaction it was in was rolled back."
    assert set(outcome.errors) == {f"{asset}: {words}" for asset in ("schools", "students", "training_feedback")}


@pytest.mark.usefixtures("runs_in_memory")
def test_an_empty_week_runs_to_the_end(settings: Settings, tenant: TenantSettings) -> None:
    _land(tenant)
    outcome = run_weekly_job(settings, tenant, [WEEK, WEEK + dt.timedelta(days=7)], [WEEK])
    assert outcome.errors == []
    assert outcome.success
    assert outcome.weeks == [WEEK]
    assert set(outcome.recorded.assets) >= {
        "students",
        "weekly_activity",
        "student_features",
        "risk_model",
        "predictions",
    }
    assert all(passed for _, _, passed in _evaluations(settings, str(outcome.run_id)))


def _evaluations(settings: Settings, run_id: str) -> list[tuple[str, str, bool]]:
    from edupulse_pipelines.orchestration.homes import dagster_instance

    with dagster_instance(settings) as instance:
        events = [entry.dagster_event for entry in instance.all_logs(run_id) if entry.dagster_event]
    found = [
        event.asset_check_evaluation_data for event in events if event.event_type_value == "ASSET_CHECK_EVALUATION"
    ]
    return [(one.asset_key.path[-1], one.check_name, one.passed) for one in found]
