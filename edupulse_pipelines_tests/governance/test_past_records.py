"""Features computed from the records as they were known at a moment are those that were stored then; both databases."""

from __future__ import annotations

import datetime as dt
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.features.store import update_student_features
from edupulse_pipelines.features.weekly_activity import update_weekly_activity
from edupulse_pipelines.governance.past_records import past_records
from edupulse_pipelines.ingest.doubt import attendance_in_doubt
from edupulse_pipelines.schema.sqlalchemy_tables import student_features
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines_tests.governance import canaries
from edupulse_pipelines_tests.governance.test_erasure import erasing
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER, STUDENT_HEADER, District

STUDENTS = f"{STUDENT_HEADER}\n1,ZQAda,ZQ,2010-01-01\n2,ZQBen,ZQ,2010-01-02\n{canaries.NUMBER},ZQCyd,ZQ,2010-01-03\n"
GRADES = (
    "district_id,course_id,submission_date,grade_value,source_record_id\n1,m,2025-09-03,{},g1\n2,m,2025-09-03,88,g2\n"
)


def _attendance(monday: dt.date, *absent: str) -> str:
    rows = [
        f"{who},{monday + dt.timedelta(days=day)},{'absent' if who in absent else 'present'}"
        for who in ("1", "2", canaries.NUMBER)
        for day in range(5)
    ]
    return "\n".join([ATTENDANCE_HEADER, *rows, ""])


def _features(work: Work) -> list[tuple[Any, ...]]:
    table = student_features.c
    query = sa.select(table.student_id, table.feature_date, table.feature_vector).where(table.tenant_id == work.tenant)
    with work.reading() as connection:
        return [tuple(row) for row in connection.execute(query.order_by(table.student_id, table.feature_date))]


def _computed(district: District) -> tuple[dt.datetime, list[tuple[Any, ...]]]:
    """Load what has landed and compute features; now, and what is stored."""
    district.run()
    work, tenant = district.work, district.tenant
    update_weekly_activity(
        work, tenant.first_week, tenant.attendance, tenant.calendar, partial(attendance_in_doubt, work, tenant)
    )
    update_student_features(work, tenant.first_week)
    return dt.datetime.now(dt.UTC), _features(work)


@pytest.fixture
def district(engine: sa.Engine, tmp_path: Path) -> District:
    """Three students; two weeks of attendance and grades, of which one cell cannot be read."""
    made = District(engine, tmp_path)
    first = dt.date(2025, 9, 1)
    made.land(1, students=STUDENTS, attendance_records=_attendance(first, "2"), grades=GRADES.format("71.5"))
    second = _attendance(first + dt.timedelta(weeks=1))
    made.land(2, attendance_records=second.replace("1,2025-09-09,present", "1,2025-09-09,perhaps"))
    return made


def test_features_of_then_are_those_that_were_stored_then(district: District) -> None:
    first = dt.date(2025, 9, 1)
    then, stored = _computed(district)
    # Corrected later: a whole week, the cell that could not be read, a grade, and a student taken back.
    district.land(
        3,
        students=f"{STUDENT_HEADER},_deleted\n2,ZQBen,ZQ,2010-01-02,true\n",
        attendance_records=_attendance(first, "1"),
        attendance_records__b=_attendance(first + dt.timedelta(weeks=1), "1"),
        grades=GRADES.format("20"),
    )
    later, stored_later = _computed(district)
    assert stored_later[: len(stored)] != stored
    for moment, expected in ((then, stored), (later, stored_later)):
        with past_records(district.work, district.tenant, moment) as past:
            assert _features(past) == expected
    assert _features(district.work) == stored_later


def test_nobody_can_say_what_was_known_before_the_record_began(district: District) -> None:
    district.run()
    with (
        pytest.raises(ConfigurationError, match="on record since 20"),
        past_records(district.work, district.tenant, dt.datetime(2020, 1, 1, tzinfo=dt.UTC)),
    ):
        pass


def test_who_has_been_erased_is_not_there(district: District) -> None:
    then, stored = _computed(district)
    erasing(district)
    with past_records(district.work, district.tenant, then) as past:
        left = _features(past)
    assert {row[0] for row in left} < {row[0] for row in stored}
    assert len({row[0] for row in left}) == 2
