"""The summary of a run tells the same, whatever process ran its steps."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import DatabaseRefused
from edupulse_pipelines.orchestration.execution import run_weekly_job
from edupulse_pipelines.orchestration.recorded_runs import RunOutcome
from edupulse_pipelines.orchestration.resources import database_of
from edupulse_pipelines.orchestration.summary import summarise
from edupulse_pipelines.settings import Settings, TenantSettings, load_settings
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines_tests.orchestration.apart import run_weekly_job_apart
from edupulse_pipelines_tests.roles import loader_role

WEEKS = [dt.date(2026, 1, 5), dt.date(2026, 1, 12)]
STUDENTS = "district_id,first_name,last_name,date_of_birth,enrollment_date,shoe_size\n"
FILES = {
    "2026-01-12/students.csv": STUDENTS
    + "".join(f"ZQ{number},ZQ,ZQ,2010-01-01,2025-09-01,38\n" for number in range(1, 13))
    + "ZQ13,ZQ,ZQ,NaN,2025-09-01,38\n",
    "2026-01-12/attendance_records.csv": "district_id,date,status\n"
    + "".join(f"ZQ{number},2026-01-0{day},present\n" for number in range(1, 13) for day in (6, 8))
    + "ZQ1,2026-01-07,asleep\nZQ99,2026-01-07,absent\n",
    "2026-01-12/grades.csv": "district_id,course_id,assignment_type,grade_value,submission_date\n"
    "ZQ1,A1,quiz,81,2026-01-08\n",
    "2026-01-19/attendance_records.csv": "district_id,date,status\n"
    + "".join(f"ZQ{number},2026-01-13,tardy\n" for number in range(1, 13)),
}


def _home(folder: Path) -> tuple[Settings, TenantSettings]:
    landing = folder / "landing" / "north"
    for name, text in FILES.items():
        path = landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "edupulse.toml").write_text(
        '[tenants.north]\ntimezone = "Europe/London"\nfirst_week = 2026-01-05\n', encoding="utf-8"
    )
    settings = load_settings(home=folder)
    return settings, settings.tenant("north")


def _summary(settings: Settings, tenant: TenantSettings, outcome: RunOutcome) -> dict[str, Any]:
    summary = summarise(database_of(settings), tenant, outcome)
    assert summary.pop("run_id") == outcome.run_id is not None
    assert summary.pop("seconds") > 0
    assert summary.pop("audit_head")  # who, when and in which run are part of it
    return summary


def test_steps_in_processes_of_their_own_give_the_same_summary(tmp_path: Path) -> None:
    settings, tenant = _home(tmp_path / "together")
    together = _summary(settings, tenant, run_weekly_job(settings, tenant, WEEKS, WEEKS))
    settings, tenant = _home(tmp_path / "apart")
    apart = _summary(settings, tenant, run_weekly_job_apart(settings, tenant, WEEKS))
    assert apart == together
    assert together["success"], together["errors"]
    assert together["tables"]["students"] == {
        "read": 13, "inserted": 12, "updated": 0, "unchanged": 0, "quarantined": 1, "waiting": 0,
    }  # fmt: skip
    assert together["tables"]["attendance_records"]["quarantined"] == 2
    assert together["quarantine_reasons"]["attendance_records"]
    assert any("column 6" in warning for warning in together["warnings"])
    assert together["predictions"]["insufficient_data"] == 12


@pytest.mark.usefixtures("runs_in_memory")
def test_a_step_that_fails_is_told(tmp_path: Path) -> None:
    settings, tenant = _home(tmp_path)
    (tenant.landing / "2026-01-12" / "grades.csv").write_text("course_name\nAlgebra\n", encoding="utf-8")
    outcome = run_weekly_job(settings, tenant, WEEKS[:1], WEEKS[:1])
    assert not outcome.success
    assert outcome.weeks == WEEKS[:1]
    assert any(error.startswith("weekly_activity: Stopped, because a delivery") for error in outcome.errors)
    assert outcome.recorded.asset("students").metadata["run_inserted"] == 12
    assert outcome.recorded.asset("student_features").metadata == {}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_summary_that_may_not_read_names_the_table(engine: sa.Engine, tenant: TenantSettings) -> None:
    with loader_role(engine) as url:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"REVOKE SELECT ON students FROM {sa.engine.make_url(url).username}")
        with pytest.raises(DatabaseRefused, match="permission denied for table students") as caught:
            summarise(Database(url), tenant, RunOutcome(weeks=[dt.date(2026, 1, 5)]))
    assert "SELECT" not in str(caught.value)
