"""Weekly activity and feature vectors through the database: the properties that hold whatever the order of events."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edupulse_pipelines.features import read_features, update_student_features, update_weekly_activity
from edupulse_pipelines.features.definitions import FEATURE_NAMES
from edupulse_pipelines.features.school_calendar import school_calendar
from edupulse_pipelines.features.store import READ_COLUMNS
from edupulse_pipelines.schema.sqlalchemy_tables import pending_updates, students
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK, feature_date, week_start
from edupulse_pipelines_tests.features.district import (
    DATE_COLUMNS,
    FIRST_WEEK,
    TABLES,
    Delivery,
    District,
    expected_activity,
    expected_vectors,
    record,
    week,
)

WEEKS = 11
STUDENTS = 3
property_test = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

_VALUES = {
    "attendance_records": st.sampled_from(["present", "present", "absent", "tardy", "excused"]),
    "grades": st.one_of(st.none(), st.sampled_from([0.0, 55.5, 64.99, 65.0, 90.0, 93.1, 100.0])),
    "discipline_incidents": st.integers(1, 5),
}


@st.composite
def deliveries(draw: st.DrawFn) -> list[Delivery]:
    """Deliveries of different weeks with records of any earlier day; keys repeat, so that records are corrected."""
    found = []
    for number in draw(st.lists(st.integers(0, WEEKS - 1), min_size=1, max_size=5, unique=True)):
        delivered_on = week(number + 1)
        tables = draw(st.sets(st.sampled_from(sorted(TABLES)), min_size=1))
        records: dict[str, dict[Any, dict[str, Any]]] = {}
        for table in sorted(tables):
            rows = draw(
                st.lists(
                    st.tuples(st.integers(0, 8), st.integers(0, 35), _VALUES[table], st.integers(0, 1)), max_size=6
                )
            )
            records[table] = {}
            for key, age, value, place in rows:
                student = key % STUDENTS
                day = max(FIRST_WEEK, delivered_on - dt.timedelta(days=age))
                if table == "attendance_records":
                    records[table][student, day, place] = record(table, student, day, value, place)
                else:
                    records[table][key] = record(table, student, day, value, place)
        found.append(Delivery(delivered_on, records))
    return sorted(found, key=lambda delivery: delivery.delivered_on)


enrolments = st.lists(
    st.tuples(
        st.integers(-20, 40).map(lambda days: FIRST_WEEK + dt.timedelta(days=days)),
        st.one_of(st.none(), st.none(), st.integers(20, 80).map(lambda days: FIRST_WEEK + dt.timedelta(days=days))),
    ),
    min_size=STUDENTS,
    max_size=STUDENTS,
)


def update(district: District) -> None:
    update_weekly_activity(
        district.work, attendance=district.attendance, calendar=district.calendar, absent_day=district.absent_day
    )
    update_student_features(district.work)
    assert district.marks() == 0


def mark_everything(district: District) -> None:
    with district.engine.begin() as connection:
        district.mark(connection, "student_features", None, FIRST_WEEK - 20 * WEEK)
        for student, monday in expected_activity(district):
            for _ in range(2):  # marks are a set
                district.mark(connection, "weekly_activity", district.ids[student], monday)


def assert_as_expected(district: District) -> None:
    snapshot = district.snapshot()
    activity = {
        (row[0], row[1]): dict(zip(next(iter(expected_activity(district).values())), row[2:], strict=True))
        for row in snapshot["weekly_activity"]
    }
    assert {key: pytest.approx(row) for key, row in expected_activity(district).items()} == activity
    vectors = {
        (student, sunday): {
            "attendance_rate": rate,
            "gpa_current": points,
            "discipline_incidents": incidents,
            "vector": json.loads(vector),
        }
        for student, sunday, rate, points, incidents, vector in snapshot["student_features"]
    }
    expected = expected_vectors(district)
    assert vectors.keys() == expected.keys()
    for key, row in expected.items():
        assert _leaves(vectors[key]) == {name: close(value) for name, value in _leaves(row).items()}, key


def close(value: Any) -> Any:
    return value if value is None else pytest.approx(value, abs=2e-6)


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {name: leaf for key, part in value.items() for name, leaf in _leaves(part, f"{path}/{key}").items()}
    if isinstance(value, list):
        return {name: leaf for key, part in enumerate(value) for name, leaf in _leaves(part, f"{path}/{key}").items()}
    return {path: value}


@property_test
@given(found=deliveries(), enrolment=enrolments, data=st.data())
def test_any_order_and_grouping_gives_the_same_tables(
    engine: sa.Engine, found: list[Delivery], enrolment: list[Any], data: st.DataObject
) -> None:
    together = District(engine, list(enrolment))
    for delivery in found:
        together.deliver(delivery)
    update(together)
    assert_as_expected(together)

    apart = District(engine, list(enrolment))
    for delivery in data.draw(st.permutations(found), label="order"):
        apart.deliver(delivery)
        if data.draw(st.booleans(), label="update now"):
            update(apart)
    update(apart)
    assert apart.snapshot() == together.snapshot()


@property_test
@given(found=deliveries(), enrolment=enrolments)
def test_a_second_run_changes_nothing(engine: sa.Engine, found: list[Delivery], enrolment: list[Any]) -> None:
    district = District(engine, list(enrolment))
    for delivery in found:
        district.deliver(delivery)
    update(district)
    before = district.snapshot(), district.updated_at()
    assert update_weekly_activity(district.work).recomputed == 0
    assert update_student_features(district.work).computed == 0

    mark_everything(district)
    activity = update_weekly_activity(district.work)
    vectors = update_student_features(district.work)
    assert activity.recomputed == activity.unchanged == len(before[0]["weekly_activity"])
    assert vectors.computed == vectors.unchanged == len(before[0]["student_features"])
    assert (vectors.inserted, vectors.updated, vectors.deleted) == (0, 0, 0)
    assert (district.snapshot(), district.updated_at()) == before


@property_test
@given(found=deliveries(), enrolment=enrolments)
def test_rows_dated_later_never_change_earlier_vectors(
    engine: sa.Engine, found: list[Delivery], enrolment: list[Any]
) -> None:
    district = District(engine, list(enrolment))
    seen: dict[Any, Any] = {}
    for delivery in found:
        earliest = min(
            (row[DATE_COLUMNS[table]] for table, rows in delivery.records.items() for row in rows.values()),
            default=delivery.delivered_on,
        )
        corrected = [
            district.records[table, key][DATE_COLUMNS[table]]
            for table, rows in delivery.records.items()
            for key in rows
            if (table, key) in district.records
        ]
        closed = min([earliest, *corrected, delivery.delivered_on - WEEK])
        district.deliver(delivery)
        update(district)
        rows = {row[:2]: row[2:] for row in district.snapshot()["student_features"]}
        for key, row in seen.items():
            if key[1] < week_start(closed):
                assert rows[key] == row
        seen = rows


@property_test
@given(found=deliveries(), enrolment=enrolments, changed=enrolments)
def test_changed_enrolment_is_followed(
    engine: sa.Engine, found: list[Delivery], enrolment: list[Any], changed: list[Any]
) -> None:
    district = District(engine, list(enrolment))
    for delivery in found:
        district.deliver(delivery)
    update(district)
    for number, (enrolled, left) in enumerate(changed):
        district.change_enrolment(number, enrolled, left)
    update(district)
    assert_as_expected(district)


@property_test
@given(found=deliveries(), enrolment=enrolments, data=st.data())
def test_deleted_records_and_students_are_as_if_they_had_never_come(
    engine: sa.Engine, found: list[Delivery], enrolment: list[Any], data: st.DataObject
) -> None:
    district = District(engine, list(enrolment))
    for delivery in found:
        district.deliver(delivery)
        if data.draw(st.booleans(), label="update now"):
            update(district)
    for key in data.draw(st.permutations(sorted(district.records, key=str)), label="deleted")[:4]:
        district.delete_record(key)
    district.delete_student(0)
    update(district)
    assert_as_expected(district)
    with engine.connect() as connection:
        weeks = school_calendar(connection, district.work).weeks
        assert "s0" not in set(read_features(connection, district.work, weeks)["district_id"])
    district.delete_student(0, deleted=False)
    update(district)
    assert_as_expected(district)


def test_vectors_of_a_student_who_has_just_been_deleted_are_not_read(four_weeks: District) -> None:
    with four_weeks.engine.begin() as connection:
        number = sa.update(students).where(students.c.id == four_weeks.ids[0])
        connection.execute(number.values(deleted_on=week(6)))
        assert read_features(connection, four_weeks.work, [week(4)])["district_id"].tolist() == ["s1"]
        connection.execute(
            sa.update(students).where(students.c.tenant_id == four_weeks.name).values(deleted_on=week(6))
        )
        assert read_features(connection, four_weeks.work, [week(4)]).empty


@property_test
@given(found=deliveries(), enrolment=enrolments, data=st.data())
def test_a_mark_of_a_whole_week_is_a_mark_of_every_student(
    engine: sa.Engine, found: list[Delivery], enrolment: list[Any], data: st.DataObject
) -> None:
    """As a bulk load leaves it: one mark a week in place of those of the students."""
    one_by_one = District(engine, list(enrolment))
    together = District(engine, list(enrolment), whole_weeks=True)
    for delivery in found:
        updates = data.draw(st.booleans(), label="update now")
        for district in (one_by_one, together):
            district.deliver(delivery)
            if updates:
                update(district)
    update(one_by_one)
    update(together)
    assert together.snapshot() == one_by_one.snapshot()


def test_a_whole_week_leaves_one_mark_for_all_vectors_and_others_for_earlier_weeks(four_weeks: District) -> None:
    with four_weeks.engine.begin() as connection:
        for student, number in ((None, 2), (None, 4), (four_weeks.ids[0], 1), (four_weeks.ids[1], 4)):
            four_weeks.mark(connection, "weekly_activity", student, week(number))
    report = update_weekly_activity(four_weeks.work)
    assert (report.recomputed, report.unchanged) == (5, 5)
    left = sa.select(pending_updates.c.stage, pending_updates.c.student_id, pending_updates.c.week_start).where(
        pending_updates.c.tenant_id == four_weeks.name
    )
    with four_weeks.engine.connect() as connection:
        assert set(connection.execute(left).tuples()) == {
            ("student_features", None, week(2)),
            ("student_features", four_weeks.ids[0], week(1)),
        }


def attended(days: list[dt.date], students: int = 2) -> dict[Any, dict[str, Any]]:
    return {
        (student, day, 0): record("attendance_records", student, day, "present")
        for student in range(students)
        for day in days
    }


@pytest.fixture
def four_weeks(engine: sa.Engine) -> District:
    """Two students; attendance in weeks 0, 1, 2 and 4, every week's delivery on the Monday after."""
    district = District(engine, [(FIRST_WEEK, None), (FIRST_WEEK, None)])
    for number in (0, 1, 2, 4):
        district.deliver(Delivery(week(number + 1), {"attendance_records": attended([week(number)])}))
    update(district)
    return district


def test_a_late_row_recomputes_that_students_weeks_from_its_own_on(four_weeks: District) -> None:
    before = {row[:2]: row[2:] for row in four_weeks.updated_at()}
    late = {("late", 0): record("attendance_records", 1, week(1) + dt.timedelta(days=1), "absent")}
    with four_weeks.engine.begin() as connection:
        four_weeks._merge(connection, "attendance_records", ("late", 0), late["late", 0], week(5))
    update(four_weeks)
    changed = {key for key, row in {row[:2]: row[2:] for row in four_weeks.updated_at()}.items() if row != before[key]}
    late_student = four_weeks.ids[1]
    assert changed == {(late_student, feature_date(week(number))) for number in (1, 2, 4)}
    assert_as_expected(four_weeks)


def test_a_course_may_be_called_anything(four_weeks: District) -> None:
    names = ['"', "\\", "a,b", "{}", "NULL", "", "é'%s :x", "x" * 50]

    def delivery(number: int, scores: dict[str, float | None]) -> Delivery:
        rows = {name: {**record("grades", 0, week(4), score), "course_id": name} for name, score in scores.items()}
        return Delivery(week(number), {"grades": rows})

    four_weeks.deliver(delivery(6, dict.fromkeys(names, 80.0)))
    update(four_weeks)
    rows = [row for row in four_weeks.snapshot()["weekly_course_grades"] if row[1] == week(4)]
    assert [row[2] for row in rows] == sorted(names)
    four_weeks.deliver(delivery(7, {name: 81.0 if name != "NULL" else None for name in names}))
    update(four_weeks)
    rows = [row for row in four_weeks.snapshot()["weekly_course_grades"] if row[1] == week(4)]
    assert [row[2:] for row in rows] == [(name, 1, 81.0, 81.0) for name in sorted(names) if name != "NULL"]
    assert_as_expected(four_weeks)


def test_weeks_without_school_are_gaps(four_weeks: District) -> None:
    with four_weeks.engine.connect() as connection:
        calendar = school_calendar(connection, four_weeks.work)
        vectors = read_features(connection, four_weeks.work, [week(4)])
    assert calendar.weeks == (week(0), week(1), week(2), week(4))
    assert calendar.last_delivered_week == week(4)
    assert vectors["weeks_of_data"].tolist() == [4, 4]
    last = four_weeks.snapshot()["student_features"][-1]
    assert last[1] == feature_date(week(4))
    assert json.loads(last[-1])["attendance"] == [1, 1, 1, 1]


def test_a_domain_not_sent_is_missing_and_zero_once_it_is(four_weeks: District) -> None:
    row = four_weeks.snapshot()["student_features"][-1]
    assert row[4] is None
    vector = json.loads(row[-1])
    assert vector["behavioral"] == vector["academic"] == [None] * 4
    assert vector["metadata"]["data_quality"] == round(4 / 12, 6)
    assert vector["features"]["incidents_4w"] is None

    four_weeks.deliver(Delivery(week(6), {"discipline_incidents": {}}))  # header only: no incident, and no school week
    four_weeks.deliver(Delivery(week(7), {"attendance_records": attended([week(6)])}))
    update(four_weeks)
    row = four_weeks.snapshot()["student_features"][-1]
    assert row[1] == feature_date(week(6))
    assert row[4] == 0
    assert json.loads(row[-1])["behavioral"] == [None, None, None, 0]


def test_rows_of_the_open_week_wait_for_its_delivery(engine: sa.Engine) -> None:
    district = District(engine, [(FIRST_WEEK, None)])
    district.deliver(Delivery(week(1), {"attendance_records": attended([week(0), week(1)], students=1)}))
    update(district)
    assert [row[1] for row in district.snapshot()["weekly_activity"]] == [week(0), week(1)]
    assert [row[1] for row in district.snapshot()["student_features"]] == [feature_date(week(0))]
    district.deliver(Delivery(week(4), {"attendance_records": attended([week(3)], students=1)}))
    update(district)
    assert [row[1] for row in district.snapshot()["student_features"]] == [feature_date(week(n)) for n in (0, 1, 3)]


def test_a_withdrawn_delivery_takes_its_week_along(four_weeks: District) -> None:
    """A week that is no longer a school week loses its vectors, and later weeks are recomputed."""
    four_weeks.deliver(Delivery(week(6), {"grades": {0: record("grades", 0, week(5), None)}}))
    update(four_weeks)
    moved = {0: record("grades", 0, week(4), None)}
    four_weeks.deliver(Delivery(week(7), {"grades": moved, "attendance_records": attended([week(6)])}))
    from edupulse_pipelines.schema.sqlalchemy_tables import ingested_files

    gone = four_weeks.deliveries.pop(-2)
    with four_weeks.engine.begin() as connection:
        connection.execute(
            sa.update(ingested_files)
            .where(ingested_files.c.tenant_id == four_weeks.name, ingested_files.c.delivered_on == gone.delivered_on)
            .values(status="withdrawn")
        )
    update(four_weeks)
    assert_as_expected(four_weeks)
    assert feature_date(week(5)) not in {row[1] for row in four_weeks.snapshot()["student_features"]}


def test_a_tenant_without_data(engine: sa.Engine) -> None:
    assert update_weekly_activity(Work(engine, "nobody")).recomputed == 0
    assert update_student_features(Work(engine, "nobody")).computed == 0
    with engine.connect() as connection:
        calendar = school_calendar(connection, Work(engine, "nobody"))
        vectors = read_features(connection, Work(engine, "nobody"), [FIRST_WEEK])
    assert (calendar.weeks, calendar.last_delivered_week) == ((), None)
    assert list(vectors.columns) == list(READ_COLUMNS)
    assert vectors.empty


def test_read_features_is_ordered_and_complete(engine: sa.Engine) -> None:
    enrolment = [(FIRST_WEEK, week(3)), *((FIRST_WEEK, None) for _ in range(11))]
    district = District(engine, enrolment)
    for number in range(2):
        day = week(number)
        district.deliver(Delivery(week(number + 1), {"attendance_records": attended([day], students=11)}))
    update(district)
    with engine.connect() as connection:
        vectors = read_features(connection, district.work, [week(1), week(0)])
    assert list(vectors.columns) == list(READ_COLUMNS)
    numbers = sorted(f"s{number}" for number in range(12))
    assert vectors["district_id"].tolist() == numbers * 2
    assert vectors["feature_date"].tolist() == [feature_date(week(0))] * 12 + [feature_date(week(1))] * 12
    assert vectors["student_id"].tolist() == [district.ids[int(number[1:])] for number in numbers] * 2
    assert vectors["grade_level"].tolist()[0] == 9
    assert all(vectors[name].dtype == "float64" for name in FEATURE_NAMES)
    silent = vectors[vectors["district_id"] == "s11"]
    assert silent["attendance_rate_4w"].isna().all()
    assert silent["weeks_of_data"].tolist() == [1, 2]


def test_rows_dated_before_the_first_week_make_no_school_week(engine: sa.Engine) -> None:
    old = FIRST_WEEK - 40 * WEEK
    district = District(engine, [(old, None)])
    rows = [record("attendance_records", 0, day, "present") for day in (old, FIRST_WEEK)]
    with engine.begin() as connection:
        district.mark(connection, "weekly_activity", district.ids[0], old)
    district.deliver(Delivery(week(1), {"attendance_records": dict(enumerate(rows))}))
    update_weekly_activity(district.work, FIRST_WEEK)
    update_student_features(district.work, FIRST_WEEK)
    with engine.connect() as connection:
        assert school_calendar(connection, district.work, FIRST_WEEK).weeks == (FIRST_WEEK,)
        assert school_calendar(connection, district.work).weeks == (old, FIRST_WEEK)
        assert len(read_features(connection, district.work, [old, FIRST_WEEK])) == 1
