"""A district that sends only absences: who was there is said by the calendar, and nothing is said without one."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from edupulse_pipelines.features import update_student_features, update_weekly_activity
from edupulse_pipelines.features.instruction import attendance_weeks
from edupulse_pipelines.risk.samples.labels import labels
from edupulse_pipelines.schema.sqlalchemy_tables import ingested_files
from edupulse_pipelines.settings import DAY_RULES, AttendanceSettings, CalendarSettings, LabelSettings
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines_tests.features.district import FIRST_WEEK, Delivery, District, record, week
from edupulse_pipelines_tests.features.test_pipeline import (
    assert_as_expected,
    deliveries,
    enrolments,
    property_test,
    update,
)
from edupulse_pipelines_tests.risk.district import tenant_settings, work_of

EXCEPTIONS = AttendanceSettings(recording="exceptions")
YEAR = CalendarSettings.model_validate({"terms": [{"start": FIRST_WEEK, "end": week(20)}]})


def day(number: int, weekday: int = 0) -> dt.date:
    return week(number) + dt.timedelta(days=weekday)


def exceptions(*rows: tuple[int, dt.date, str]) -> dict[Any, dict[str, Any]]:
    """Attendance records of one delivery: student, day, status."""
    return {(student, on, 0): record("attendance_records", student, on, status) for student, on, status in rows}


@st.composite
def calendars(draw: st.DrawFn) -> CalendarSettings:
    """Terms, holidays and extra days around the weeks that `deliveries` makes; sometimes none."""
    some_day = st.integers(-10, 90).map(lambda number: FIRST_WEEK + dt.timedelta(days=number))
    span = st.tuples(some_day, st.integers(0, 40)).map(
        lambda drawn: {"start": drawn[0], "end": drawn[0] + dt.timedelta(days=drawn[1])}
    )
    terms = draw(st.lists(span, max_size=2))
    if not terms:
        return CalendarSettings()
    weekdays = draw(st.sampled_from([("monday", "tuesday", "friday"), ("tuesday", "wednesday", "saturday")]))
    holidays, extra = draw(st.lists(st.one_of(span, some_day), max_size=2)), draw(st.lists(some_day, max_size=2))
    return CalendarSettings.model_validate(
        {"terms": terms, "weekdays": weekdays, "holidays": holidays, "extra_days": extra}
    )


@property_test
@given(
    found=deliveries(),
    enrolment=enrolments,
    data=st.data(),
    sessions=st.sampled_from([1, 3]),
    source=st.sets(st.integers(0, 60).map(lambda number: FIRST_WEEK + dt.timedelta(days=number)), max_size=20),
)
def test_whatever_changes_the_tables_say_what_the_records_and_the_calendar_say(
    engine: sa.Engine,
    found: list[Delivery],
    enrolment: list[Any],
    data: st.DataObject,
    sessions: int,
    source: set[dt.date],
) -> None:
    by_exception = AttendanceSettings(recording="exceptions", sessions_per_day=sessions)
    district = District(engine, list(enrolment), attendance=by_exception, calendar=data.draw(calendars()))
    for delivery in data.draw(st.permutations(found), label="order"):
        district.deliver(delivery)
        if data.draw(st.booleans(), label="update now"):
            update(district)
    update(district)
    assert_as_expected(district)

    for change in data.draw(st.lists(st.sampled_from(range(6)), max_size=4), label="changes"):
        if change == 0:
            district.calendar = data.draw(calendars())
        elif change == 1:
            district.name_days(source)
        elif change == 2:
            for number, (enrolled, left) in enumerate(data.draw(enrolments)):
                district.change_enrolment(number, enrolled, left)
        elif change == 3:
            district.attendance = data.draw(st.sampled_from([AttendanceSettings(), EXCEPTIONS, by_exception]))
        elif change == 4:
            district.absent_day = data.draw(st.sampled_from(DAY_RULES))
        else:
            district.delete_student(1, deleted=1 not in district.deleted)
        update(district)
        assert_as_expected(district)
        settings = {
            "attendance": district.attendance,
            "calendar": district.calendar,
            "absent_day": district.absent_day,
        }
        assert update_weekly_activity(district.work, **settings).recomputed == 0


def sessions_of(district: District) -> dict[tuple[int, int], tuple[Any, ...]]:
    """Present, absent, tardy and excused sessions, and their basis, by student and number of the week."""
    rows = district.snapshot()["weekly_activity"]
    return {(row[0], (row[1] - FIRST_WEEK).days // 7): (*row[2:6], row[12]) for row in rows}


def rates_of(district: District) -> dict[tuple[int, int], tuple[float | None, float | None]]:
    """`attendance_rate_1w` and `attendance_rate_4w` by student and number of the week."""
    rows = district.snapshot()["student_features"]
    features = {(row[0], (row[1] - FIRST_WEEK).days // 7): json.loads(row[-1])["features"] for row in rows}
    return {key: (row["attendance_rate_1w"], row["attendance_rate_4w"]) for key, row in features.items()}


def test_everybody_else_was_there(engine: sa.Engine) -> None:
    enrolment = [(FIRST_WEEK, None), (day(0, 2), None), (FIRST_WEEK, day(1, 1)), (FIRST_WEEK, None)]
    calendar = CalendarSettings.model_validate(
        {"terms": [{"start": FIRST_WEEK, "end": week(9)}], "holidays": [day(0)], "extra_days": [day(1, 5)]}
    )
    district = District(engine, enrolment, attendance=EXCEPTIONS, calendar=calendar)
    # A Sunday's tardy, and a present that nobody had to send.
    rows = exceptions((0, day(0, 1), "absent"), (0, day(0, 6), "tardy"), (3, day(0, 3), "present"))
    district.deliver(Delivery(week(1), {"attendance_records": rows}))
    district.deliver(Delivery(week(2), {"attendance_records": {}}))  # nobody was absent
    update(district)
    assert sessions_of(district) == {
        (0, 0): (3, 1, 1, 0, "2345 x 1"),
        (1, 0): (3, 0, 0, 0, "345 x 1"),  # came on Wednesday
        (2, 0): (4, 0, 0, 0, "2345 x 1"),
        (3, 0): (4, 0, 0, 0, "2345 x 1"),
        (0, 1): (6, 0, 0, 0, "123456 x 1"),
        (1, 1): (6, 0, 0, 0, "123456 x 1"),
        (2, 1): (1, 0, 0, 0, "1 x 1"),  # left on Tuesday
        (3, 1): (6, 0, 0, 0, "123456 x 1"),
    }
    assert rates_of(district)[0, 1] == (1, round(10 / 11, 6))


def test_without_a_calendar_the_rate_is_missing_and_the_absences_are_kept(engine: sa.Engine) -> None:
    district = District(engine, [(FIRST_WEEK, None)] * 2, attendance=EXCEPTIONS)
    for number in range(2):
        rows = exceptions((0, day(number), "absent"), (0, day(number, 1), "excused"))
        district.deliver(Delivery(week(number + 1), {"attendance_records": rows}))
    update(district)
    assert sessions_of(district) == {(0, 0): (0, 1, 0, 1, "unknown"), (0, 1): (0, 1, 0, 1, "unknown")}
    assert set(rates_of(district).values()) == {(None, None)}
    tenant = tenant_settings(district.name, label=LabelSettings(attendance_below=0.9))
    with engine.connect() as connection:
        assert not labels(connection, work_of(connection, tenant), tenant, [FIRST_WEEK]).events["attendance"].any()
    report = update_weekly_activity(district.work, attendance=EXCEPTIONS)
    assert (report.recomputed, report.weeks_without_calendar) == (0, 2)

    district.name_days({day(1, weekday) for weekday in range(5)})  # the source's calendar, of one week
    report = update_weekly_activity(district.work, attendance=EXCEPTIONS)
    assert (report.recomputed, report.weeks_without_calendar) == (2, 1)
    update_student_features(district.work)
    assert rates_of(district) == {
        (0, 0): (None, None),
        (1, 0): (None, None),
        (0, 1): (0.6, 0.6),  # of the known week alone
        (1, 1): (1, 1),
    }
    with engine.connect() as connection:
        assert labels(connection, work_of(connection, tenant), tenant, [FIRST_WEEK]).events["attendance"].tolist() == [
            [True],
            [False],
        ]

    district.calendar = YEAR  # the settings', of the whole year
    update(district)
    assert rates_of(district)[0, 1] == (0.6, 0.6)
    assert rates_of(district)[0, 0] == (0.6, 0.6)
    report = update_weekly_activity(district.work, attendance=EXCEPTIONS, calendar=YEAR)
    assert (report.recomputed, report.weeks_without_calendar) == (0, 0)


def test_periods_of_a_day_are_counted(engine: sa.Engine) -> None:
    periods = AttendanceSettings(recording="exceptions", sessions_per_day=6)
    district = District(engine, [(FIRST_WEEK, None)], attendance=periods, calendar=YEAR)
    rows = {period: record("attendance_records", 0, day(0), "absent", period) for period in range(4)}
    district.deliver(Delivery(week(1), {"attendance_records": rows}))
    update(district)
    assert sessions_of(district) == {(0, 0): (26, 4, 0, 0, "12345 x 6")}


def test_the_week_that_is_still_open_is_not_filled(engine: sa.Engine) -> None:
    district = District(engine, [(FIRST_WEEK, None)] * 2, attendance=EXCEPTIONS, calendar=YEAR)
    rows = exceptions((0, day(0), "absent"), (0, day(1), "absent"))  # Monday's delivery has Monday's absence
    district.deliver(Delivery(week(1), {"attendance_records": rows}))
    district.deliver(Delivery(week(2), {"grades": {0: record("grades", 0, day(1), 70.0)}}))
    update(district)
    assert set(sessions_of(district)) == {(0, 0), (1, 0), (0, 1)}
    assert sessions_of(district)[0, 1] == (0, 1, 0, 0, "unknown")
    assert rates_of(district)[0, 1] == (None, 0.8)
    district.deliver(Delivery(week(2), {"attendance_records": {}}))
    update(district)
    assert sessions_of(district)[1, 1] == (5, 0, 0, 0, "12345 x 1")
    assert_as_expected(district)


def test_weeks_with_delivered_attendance(engine: sa.Engine) -> None:
    """A file's week, the weeks a snapshot spans and the weeks with a record, from the first week to the newest one."""
    district = District(engine, [(FIRST_WEEK, None)], attendance=EXCEPTIONS, calendar=YEAR)
    rows = exceptions((0, day(-4), "absent"), (0, day(1), "absent"), (0, day(9), "absent"))
    district.deliver(Delivery(week(9), {"attendance_records": rows}))
    district.deliver(Delivery(week(11), {"grades": {}}))
    with engine.begin() as connection:
        assert attendance_weeks(connection, district.work, FIRST_WEEK) == [week(1), week(8)]
        assert attendance_weeks(connection, district.work) == [week(-4), week(1), week(8)]
        spanned = {"from": day(3, 2).isoformat(), "to": day(5).isoformat()}
        connection.execute(
            sa.update(ingested_files).where(ingested_files.c.tenant_id == district.name).values(snapshot=spanned)
        )
        assert attendance_weeks(connection, district.work, FIRST_WEEK) == [week(number) for number in (1, 3, 4, 5, 8)]
        assert attendance_weeks(connection, Work(engine, "nobody"), FIRST_WEEK) == []


def test_who_may_have_been_absent_is_not_said_to_have_come(engine: sa.Engine) -> None:
    district = District(engine, [(FIRST_WEEK, None)] * 3, attendance=EXCEPTIONS, calendar=YEAR)
    for number in range(2):
        district.deliver(Delivery(week(number + 1), {"attendance_records": exceptions((0, day(number), "absent"))}))
    district.deliver(Delivery(week(1), {"grades": {0: record("grades", 1, day(0), 70.0)}}))
    update(district)
    by_student = [str(key) if engine.dialect.name == "postgresql" else key.hex for key in district.ids]

    def updated(doubt: dict[dt.date, frozenset[str] | None]) -> tuple[int, int]:
        settings = {"attendance": EXCEPTIONS, "calendar": YEAR, "in_doubt": lambda: doubt}
        report = update_weekly_activity(district.work, **settings)
        assert update_weekly_activity(district.work, **settings).recomputed == 0
        update_student_features(district.work)
        return report.recomputed, report.weeks_in_doubt

    before = district.snapshot()
    assert rates_of(district)[1, 1] == (1, 1)
    assert updated({FIRST_WEEK: frozenset([by_student[1], by_student[2]]), week(30): None}) == (3, 1)
    assert sessions_of(district)[1, 0] == (0, 0, 0, 0, "unknown")  # a grade of that week keeps the row
    assert (2, 0) not in sessions_of(district)
    assert sessions_of(district)[0, 0] == (4, 1, 0, 0, "12345 x 1")
    assert rates_of(district)[1, 0] == (None, None)

    assert updated({FIRST_WEEK: frozenset([by_student[1]]), week(1): None}) == (4, 2)
    assert rates_of(district)[2, 0] == (1, 1)
    assert {rates_of(district)[student, 1][0] for student in range(3)} == {None}
    assert updated({week(1): frozenset([by_student[0]])})[1] == 1  # others of that week are known again
    assert sessions_of(district)[0, 1] == (0, 1, 0, 0, "unknown")
    assert rates_of(district)[1, 1] == (1, 1)
    assert updated({})[1] == 0
    assert district.snapshot() == before


def test_absences_by_period_need_the_number_of_periods(engine: sa.Engine) -> None:
    district = District(engine, [(FIRST_WEEK, None)] * 2, attendance=EXCEPTIONS, calendar=YEAR)
    rows = {period: record("attendance_records", 0, day(0), "absent", period) for period in range(3)}
    district.deliver(Delivery(week(1), {"attendance_records": rows}))
    district.deliver(Delivery(week(2), {"attendance_records": {}}))
    update(district)
    assert sessions_of(district) == {
        (0, 0): (0, 3, 0, 0, "unknown"), (0, 1): (5, 0, 0, 0, "12345 x 1"), (1, 1): (5, 0, 0, 0, "12345 x 1"),
    }  # fmt: skip
    assert update_weekly_activity(district.work, attendance=EXCEPTIONS, calendar=YEAR).weeks_by_period == 1
    district.attendance = AttendanceSettings(recording="exceptions", sessions_per_day=3)
    update(district)
    assert sessions_of(district)[0, 0] == (12, 3, 0, 0, "12345 x 3")
    assert sessions_of(district)[1, 0] == (15, 0, 0, 0, "12345 x 3")


@pytest.mark.parametrize("recording", ["all", "exceptions"])
def test_a_calendar_is_nothing_to_a_district_that_records_every_session(engine: sa.Engine, recording: Any) -> None:
    district = District(engine, [(FIRST_WEEK, None)] * 2, calendar=YEAR)
    district.attendance = AttendanceSettings(recording=recording)
    district.deliver(Delivery(week(1), {"attendance_records": exceptions((0, day(0), "absent"))}))
    update(district)
    district.attendance = AttendanceSettings()
    update(district)
    assert sessions_of(district) == {(0, 0): (0, 1, 0, 0, None)}
    assert rates_of(district) == {(0, 0): (0, 0), (1, 0): (None, None)}
