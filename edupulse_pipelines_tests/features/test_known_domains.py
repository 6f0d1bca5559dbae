"""From which week on a domain is known: deliveries say it, a single row's date does not."""

from __future__ import annotations

import datetime as dt
import json
import uuid

import pytest
import sqlalchemy as sa

from edupulse_pipelines.features.school_calendar import school_calendar
from edupulse_pipelines.features.store import update_student_features
from edupulse_pipelines.features.weekly_activity import update_weekly_activity
from edupulse_pipelines.schema.sqlalchemy_tables import ingested_files
from edupulse_pipelines.storage.history import known_from
from edupulse_pipelines_tests.features.district import FIRST_WEEK, Delivery, District, week

LAST_YEAR = week(-48)


@pytest.mark.parametrize(
    ("rows", "first"),
    [
        ({}, 10),
        ({10: 5}, 10),
        ({10: 1, -48: 1}, 10),
        ({10: 1, -48: 3}, 10),  # three rows typed with last year's date
        ({-48: 4}, 10),
        ({10: 2, 9: 1}, 10),  # one late row
        ({10: 200, 9: 5, 7: 3}, 10),  # a few late rows
        ({10: 100, 9: 60}, 9),  # a first delivery of two weeks
        ({10: 5, 9: 3}, 9),
        (dict.fromkeys(range(11), 100), 0),
        (dict.fromkeys(range(11), 100) | {-48: 3, -10: 2}, 0),
        ({10: 1, 8: 1, 5: 2, 3: 1, 1: 1, 0: 1}, 1),  # a small school: one row alone decides nothing
        ({3: 40, 2: 40}, 2),  # history and nothing of its own week
        (dict.fromkeys((*range(-40, -12), *range(3)), 100), -40),  # last year before the summer
        ({12: 500, 10: 4, 9: 1, 8: 1}, 9),  # rows of a later week are of the open week
    ],
)
def test_a_delivery_of_the_tenth_week(rows: dict[int, int], first: int) -> None:
    assert known_from(week(10), {week(number): count for number, count in rows.items()}) == week(first)


def incident(student: int, day: dt.date) -> dict[str, object]:
    return {"student": student, "incident_date": day, "severity_level": 2}


def seen(student: int, day: dt.date) -> dict[str, object]:
    return {"student": student, "date": day, "status": "present", "period": None}


@pytest.fixture
def district(engine: sa.Engine) -> District:
    """Two students, six weeks of attendance, and no word of incidents."""
    made = District(engine, [(FIRST_WEEK, None), (FIRST_WEEK, None)])
    days = [week(number) + dt.timedelta(days=day) for number in range(6) for day in range(5)]
    attendance = {(student, day, None): seen(student, day) for student in range(2) for day in days}
    made.deliver(Delivery(week(6), {"attendance_records": attendance}))
    return made


def behaviour(district: District) -> list[int | None]:
    """The newest weeks of the first student's incidents, as the last vector has them."""
    update_weekly_activity(district.work, attendance=district.attendance, calendar=district.calendar)
    update_student_features(district.work, FIRST_WEEK)
    vectors = [row for row in district.snapshot()["student_features"] if row[0] == 0]
    found: list[int | None] = json.loads(vectors[-1][-1])["behavioral"]
    return found


def test_an_old_row_does_not_make_what_was_never_sent_zero(district: District) -> None:
    rows = {"i1": incident(0, week(5)), "i2": incident(1, LAST_YEAR)}
    district.deliver(Delivery(week(6) + dt.timedelta(days=1), {"discipline_incidents": {}}))
    district.deliver(Delivery(week(6), {"discipline_incidents": rows}))
    assert behaviour(district) == [None, None, None, 1]


def test_history_is_known_from_its_first_week_on(district: District) -> None:
    days = [week(3), week(3), week(4), week(5)]
    rows = {f"i{number}": incident(1, day) for number, day in enumerate(days)}
    district.deliver(Delivery(week(6), {"discipline_incidents": {}}))
    assert behaviour(district) == [None, None, None, 0]
    district.deliver(Delivery(week(6) - dt.timedelta(days=1), {"discipline_incidents": rows}))  # and then the history
    with district.engine.connect() as connection:
        assert school_calendar(connection, district.work).domain_since["behavioral"] == week(3)
    assert behaviour(district) == [None, 0, 0, 0]


@pytest.mark.parametrize(("days", "first"), [([week(5), LAST_YEAR], 5), ([week(3), week(4), week(4), week(5)], 4)])
def test_files_loaded_before_their_weeks_were_noted(district: District, days: list[dt.date], first: int) -> None:
    rows = {f"i{number}": incident(1, day) for number, day in enumerate(days)}
    district.deliver(Delivery(week(6), {"discipline_incidents": rows}))
    with district.engine.begin() as connection:
        connection.execute(ingested_files.update().values(rows_by_week=None))
        district.mark(connection, "student_features", None, FIRST_WEEK)
    behaviour(district)
    with district.engine.connect() as connection:
        since = school_calendar(connection, district.work).domain_since
    assert since == {"attendance": FIRST_WEEK, "behavioral": week(first), "academic": None}


def test_another_district_says_nothing(district: District) -> None:
    with district.engine.begin() as connection:
        connection.execute(
            ingested_files.insert().values(
                id=uuid.uuid4(), tenant_id="elsewhere", table_name="discipline_incidents", delivered_on=week(1),
                file_name="i.csv", sha256="0" * 64, size_bytes=1, status="loaded", rows_by_week={str(week(0)): 9},
            )
        )  # fmt: skip
    assert behaviour(district) == [None] * 4
