"""A step that stops after one of its commits and is tried again reports what the run did in all, not what was left."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from edupulse_pipelines.features.store import update_student_features
from edupulse_pipelines.features.weekly_activity import update_weekly_activity
from edupulse_pipelines.ingest.archive import archive_files
from edupulse_pipelines.ingest.load import load_records
from edupulse_pipelines.schema.sqlalchemy_tables import step_accounts
from edupulse_pipelines.schema.tables import RECORD_TABLES
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK
from edupulse_pipelines_tests.ingest.district import FIRST_WEEK, STUDENT_HEADER, District, delivery_day
from edupulse_pipelines_tests.stopping import Stopped, StoppingWork

pytestmark = pytest.mark.usefixtures("quick_judge")

STUDENTS = f"{STUDENT_HEADER},enrollment_date,exit_date"
ATTENDANCE = "district_id,date,status,_deleted"
GRADES = "source_record_id,district_id,course_id,submission_date,grade_value"
INCIDENTS = "district_id,incident_date,severity_level,source_record_id,_deleted"
TWICE = f"{INCIDENTS}\nZQ1,2025-09-02,2,i1,\nZQ2,2025-09-03,1,i2,true\n"
"""Delivered twice; what it takes back comes between."""

LANDING: dict[int, dict[str, str]] = {
    1: {
        "students": f"{STUDENTS}\nZQ1,ZQ,ZQ,2010-01-01,,\nZQ2,ZQ,ZQ,2010-01-01,,\n",
        "attendance_records": f"{ATTENDANCE}\nZQ1,2025-09-02,P,\nZQ9,2025-09-02,A,\n",
        "discipline_incidents": TWICE,
    },
    2: {
        # A new student who left before having come, and a line that is cut.
        "students": f"{STUDENTS}\nZQ9,ZQ,ZQ,2010-01-01,2025-09-01,2025-08-01\nZQ8,ZQ\n",
        # A code that nobody has explained, and a record that only comes with the next delivery taken back.
        "attendance_records": f"{ATTENDANCE}\nZQ1,2025-09-09,XX,\nZQ2,2025-09-09,P,\nZQ2,2025-09-10,,true\n",
        "grades": f"{GRADES}\ng1,ZQ1,ZQm,2025-09-09,50\ng2,ZQ1,ZQm,2025-09-10,60\n",
        "discipline_incidents": f"{INCIDENTS}\nZQ2,2025-09-03,1,i2,\n",
    },
    3: {
        "students": f"{STUDENTS}\nZQ1,ZQx,ZQ,2010-01-01,,\n",
        "attendance_records": f"{ATTENDANCE}\nZQ2,2025-09-10,A,\nZQ9,2025-09-16,P,\nZQ7,2025-09-16,A,\n",
        # A snapshot that has to wait for its bad row.
        "grades": f"{GRADES}\ng1,ZQ1,ZQm,2025-09-09,500\n",
        "discipline_incidents": TWICE,
    },
}
WEEKS = [FIRST_WEEK + number * WEEK for number in range(3)]


def _landed(engine: sa.Engine, folder: Path, name: str) -> District:
    """A district of this name with week 1 loaded by a run before, and everything landed."""
    codes = {"attendance_records.status": {"P": "present", "A": "absent"}}
    district = District(engine, folder, name=name, profile={"codes": codes})
    for number, files in LANDING.items():
        district.land(number, **files)
        if number == 1:
            _run(district, Work(engine, name, "the run before"))
    manifest = {"snapshot": {"grades": {"from": "2025-09-01", "to": "2025-12-31"}}}
    folder = district.landing / delivery_day(3).isoformat()
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return district


def _run(district: District, work: Work) -> dict[str, Any]:
    """What each step of the week reports."""
    return {name: step(work) for name, step in _steps(district).items()}


def _steps(district: District) -> dict[str, Callable[[Work], Any]]:
    raw, tenant = district.raw, district.tenant
    steps: dict[str, Callable[[Work], Any]] = {}
    for table in RECORD_TABLES:
        steps[f"raw_{table}"] = lambda work, table=table: archive_files(work, raw, tenant, table, WEEKS)
        steps[table] = lambda work, table=table: load_records(work, raw, tenant, table, WEEKS)
    return {**steps, "weekly_activity": update_weekly_activity, "student_features": update_student_features}


def test_the_last_try_reports_what_the_run_did_in_all(engine: sa.Engine, tmp_path: Path) -> None:
    """The first try of each step stops after its first commit, the second after its second, and so on."""
    expected = _run(_landed(engine, tmp_path, "undisturbed"), Work(engine, "undisturbed", "the run"))
    _check_that_much_is_counted(expected)
    tries = 0
    for name, step in _steps(_landed(engine, tmp_path, "stopped")).items():
        for number in count(1):
            tries += 1
            try:
                report = step(StoppingWork(engine, "stopped", "the run", stops_after=number))
            except Stopped:
                continue
            assert report == expected[name], f"{name}, stopped {number - 1} times"
            break
    assert tries > 20 + len(expected)


def _check_that_much_is_counted(reports: dict[str, Any]) -> None:
    """The run does everything that a second try has to know of."""
    assert reports["students"].warnings == {"exit_before_enrollment": 1}
    assert reports["grades"].warnings == {"snapshot_waits": 1}
    attendance = reports["attendance_records"]
    assert attendance.replayed == 2  # the student who came, and what was taken back before it was there
    assert [delivery.unmapped_codes for delivery in attendance.deliveries] == [
        [],
        [{"column": "status", "code": "XX", "rows": 1}],
        [],
    ]
    assert [delivery.reasons for delivery in attendance.deliveries][2] == {"unknown_student": 1}
    assert reports["discipline_incidents"].replayed == 1  # of the first delivery, freed by the third one
    assert reports["weekly_activity"].inserted
    assert reports["student_features"].inserted
    assert reports["raw_grades"].files[-1].status == "archived"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_only_what_another_try_could_not_see_is_kept(engine: sa.Engine, tmp_path: Path) -> None:
    """Deliveries that have been loaded before leave no account behind in every later run."""
    district = _landed(engine, tmp_path, "north")
    _run(district, Work(engine, "north", "the run"))
    _run(district, Work(engine, "north", "a repeated run"))
    with engine.connect() as connection:
        query = sa.select(step_accounts.c.step, step_accounts.c.part).where(
            step_accounts.c.tenant_id == "north", step_accounts.c.run_id == "a repeated run"
        )
        kept = {(step, part) for step, part in connection.execute(query)}
    # A row that waits may be freed before another try looks at it again.
    waits = {("students", 2), ("attendance_records", 2), ("attendance_records", 3), ("grades", 3)}
    assert {(step, part) for step, part in kept if part} == {
        (step, delivery_day(number).isoformat()) for step, number in waits
    }
    district = _landed(engine, tmp_path, "outside")
    _run(district, Work(engine, "outside"))
    with engine.connect() as connection:
        outside = sa.select(sa.func.count()).where(
            step_accounts.c.tenant_id == "outside", step_accounts.c.run_id != "the run before"
        )
        assert connection.scalar(outside) == 0, "outside of a run there is no other try"
