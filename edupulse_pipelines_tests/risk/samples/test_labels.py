from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from edupulse_pipelines.risk.samples.cohorts import read_cohort
from edupulse_pipelines.risk.samples.labels import labels, labels_of
from edupulse_pipelines.schema.sqlalchemy_tables import students
from edupulse_pipelines.settings import LabelSettings, TenantSettings
from edupulse_pipelines_tests.risk.district import District, made_up_district, tenant_settings, week, work_of, write


def one_by_one(
    district: District, settings: LabelSettings, as_of: list[dt.date]
) -> dict[str, dict[tuple[str, dt.date], bool]]:
    """The definition, student by student and week by week."""
    absence = "attendance" if settings.rule == "threshold" else "chronic_absence"
    found: dict[str, dict[tuple[str, dt.date], bool]] = {name: {} for name in (absence, "course", "incident", "exit")}
    for person in district.students.itertuples():
        rows = district.activity[district.activity.student_id == person.student_id]
        graded = district.courses[district.courses.student_id == person.student_id]
        for monday in as_of:
            sunday = monday + dt.timedelta(days=6)
            end = sunday + dt.timedelta(weeks=settings.horizon_weeks)
            here = rows[(rows.week_start > sunday) & (rows.week_start <= end)]
            key = (person.district_id, monday)
            if absence == "attendance":
                attended = int(here.sessions_present.sum() + here.sessions_tardy.sum())
                sessions = attended + int(here.sessions_absent.sum() + here.sessions_excused.sum())
                found[absence][key] = sessions > 0 and attended / sessions < settings.attendance_below
            else:
                days = here[here.week_start < (person.exit_date or dt.date.max)]
                enrolled, away = int(days.days_enrolled.sum()), int((days.days_absent + days.days_excused).sum())
                found[absence][key] = enrolled >= 10 and 10 * away >= enrolled
            some = graded[(graded.week_start > sunday) & (graded.week_start <= end)]
            found["course"][key] = any(
                round(float((one.grade_count * one.grade_mean).sum() / one.grade_count.sum()), 6)
                < settings.failing_below
                for _, one in some.groupby("course_id")
            )
            serious = bool((here.severity_highest.fillna(0) >= settings.serious_severity).any())
            found["incident"][key] = serious or int(here.incident_count.sum()) >= settings.incident_count
            left = person.exit_date if person.exit_type in settings.exit_types else None
            found["exit"][key] = bool(left) and sunday < left <= end
    return found


@pytest.mark.parametrize("rule", ["federal", "threshold"])
@pytest.mark.parametrize("horizon", [8, 3])
def test_labels_are_those_of_the_definition(engine: sa.Engine, horizon: int, rule: str) -> None:
    tenant = tenant_settings(label=LabelSettings(horizon_weeks=horizon, failing_below=70, rule=rule))
    district = made_up_district(count=40, weeks=20, seed=horizon)
    write(engine, tenant, district)
    as_of = [week(number) for number in (0, 1, 4, 5, 9, 19)]
    with engine.connect() as connection:
        found = labels(connection, work_of(connection, tenant), tenant, as_of[::-1])
    assert list(found.district_ids) == sorted(district.students.district_id)
    expected = one_by_one(district, tenant.label, as_of)
    for name, grid in found.events.items():
        ours = {
            (number, monday): bool(grid[i, j])
            for i, number in enumerate(found.district_ids)
            for j, monday in enumerate(found.weeks)
        }
        assert ours == expected[name], name
        assert any(ours.values()), f"no {name} event in the data: the test shows nothing"
    assert (found.adverse == np.logical_or.reduce(list(found.events.values()))).all()


def _one_student(engine: sa.Engine, tenant: TenantSettings, **changes: object) -> District:
    """A student whose second week is exactly at every threshold."""
    district = made_up_district(count=1, weeks=2, seed=1)
    district.students["enrollment_date"] = week(0)
    district.students["exit_date"] = None
    district.students["exit_type"] = None
    student = district.students.student_id[0]
    row = {
        "student_id": student,
        "week_start": week(1),
        "sessions_present": 17,
        "sessions_tardy": 1,
        "sessions_absent": 1,
        "sessions_excused": 1,
        "unexcused_absences": 1,
        "days_enrolled": 20,
        "days_present": 18,
        "days_absent": 1,
        "days_excused": 1,
        "days_missed": 2.0,
        "days_basis": "half",
        "grade_count": 3,
        "grade_mean": 60.0,
        "grade_lowest": 50.0,
        "incident_count": 2,
        "severity_highest": 3,
    }
    course = {
        "student_id": student,
        "week_start": week(1),
        "course_id": "ENG",
        "grade_count": 3,
        "grade_mean": 60.0,
        "grade_lowest": 50.0,
    }
    for name, value in changes.items():
        (course if name.startswith("course_") else row)[name.removeprefix("course_")] = value
    frame = type(district.activity)
    district = replace(district, activity=frame([row]), courses=frame([course]))
    write(engine, tenant, district)
    return district


@pytest.mark.parametrize(
    ("changes", "event"),
    [
        ({}, None),
        ({"sessions_present": 16}, "attendance"),
        ({"course_grade_mean": 59.9}, "course"),
        ({"incident_count": 3}, "incident"),
        ({"severity_highest": 4}, "incident"),
    ],
    ids=json.dumps,
)
def test_a_value_on_its_threshold(engine: sa.Engine, changes: dict[str, object], event: str | None) -> None:
    tenant = tenant_settings(label=LabelSettings(attendance_below=0.9))
    _one_student(engine, tenant, **changes)
    with engine.connect() as connection:
        found = labels(connection, work_of(connection, tenant), tenant, [week(0)])
    assert {name for name, grid in found.events.items() if grid.any()} == ({event} if event else set())


DAYS = ("days_enrolled", "days_absent", "days_excused", "days_missed")


@pytest.mark.parametrize(
    ("rule", "days", "happened"),
    [
        # Exactly a tenth is chronic, whatever the reason; a share of nine days, or of one session, is nothing.
        ("federal", (20, 2, 0, 2.0), True),
        ("federal", (20, 0, 2, 2.0), True),
        ("federal", (20, 1, 1, 2.0), True),
        ("federal", (20, 1, 0, 1.0), False),
        ("federal", (9, 9, 0, 9.0), False),
        ("federal", (1, 1, 0, 1.0), False),
        ("federal", (None, None, None, None), False),
        ("california", (30, 30, 0, 30.0), False),
        ("california", (31, 4, 0, 4.0), True),
        ("hawaii", (40, 10, 5, 15.0), True),
        ("hawaii", (40, 10, 4, 14.0), False),
        ("ohio", (20, 0, 0, 2.0), True),
        ("ohio", (20, 2, 0, 1.9), False),
    ],
)
def test_chronic_absence_by_the_rule_that_the_tenant_names(
    engine: sa.Engine, rule: str, days: tuple[float | None, ...], happened: bool
) -> None:
    tenant = tenant_settings(label=LabelSettings(rule=rule))
    _one_student(engine, tenant, **dict(zip(DAYS, days, strict=True)))
    with engine.connect() as connection:
        found = labels(connection, work_of(connection, tenant), tenant, [week(0)])
    assert set(found.events) == {"chronic_absence", "course", "incident", "exit"}
    assert found.events["chronic_absence"].tolist() == [[happened]]
    assert found.adverse.tolist() == [[happened]]


def test_absences_recorded_after_the_exit_are_of_no_day_enrolled(engine: sa.Engine) -> None:
    """A student transfers out at the end of the first week; the system goes on marking absences."""
    tenant = tenant_settings(label=LabelSettings(failing_below=False))
    district = made_up_district(count=1, weeks=4, seed=1)
    district.students = district.students.assign(
        enrollment_date=week(0), exit_date=week(2) - dt.timedelta(days=2), exit_type="transferred"
    )
    days = {"sessions_present": 0, "sessions_absent": 5, "days_enrolled": 5, "days_absent": 5, "days_missed": 5.0}
    nothing = {"incident_count": 0, "severity_highest": None, "days_excused": 0, "days_present": 0}
    rows = [{**district.activity.iloc[0], "week_start": week(number), **days, **nothing} for number in range(4)]
    district.activity = pd.DataFrame(rows)
    write(engine, tenant, district)
    with engine.connect() as connection:
        found = labels(connection, work_of(connection, tenant), tenant, [week(0)])
        assert not found.adverse.any()
        stayed = district.students.assign(exit_date=None, exit_type=None)
        assert labels_of(district.activity, district.courses, stayed, tenant.label, [week(0)]).adverse.all()


def test_events_can_be_switched_off(engine: sa.Engine) -> None:
    off = {"attendance_below": None, "failing_below": None, "serious_severity": None, "incident_count": None}
    tenant = tenant_settings(label=LabelSettings(**off))
    write(engine, tenant, made_up_district(count=10, weeks=10))
    with engine.connect() as connection:
        assert set(labels(connection, work_of(connection, tenant), tenant, [week(0)]).events) == {"exit"}
    tenant = tenant.model_copy(update={"label": LabelSettings(exit_types=())})
    with engine.connect() as connection:
        assert set(labels(connection, work_of(connection, tenant), tenant, [week(0)]).events) == {
            "chronic_absence",
            "course",
            "incident",
        }


def test_a_deleted_student_has_no_label_and_is_in_no_cohort(engine: sa.Engine) -> None:
    tenant = tenant_settings()
    write(engine, tenant, made_up_district(count=12, weeks=14))
    with engine.connect() as connection:
        before = labels(connection, work_of(connection, tenant), tenant, [week(5)])
    gone = before.district_ids[[1, 4]]
    with engine.begin() as connection:
        changed = sa.update(students).where(students.c.tenant_id == tenant.name, students.c.district_id.in_(gone))
        connection.execute(changed.values(deleted_on=week(14)))
        after = labels(connection, work_of(connection, tenant), tenant, [week(5)])
        cohort = read_cohort(connection, work_of(connection, tenant), tenant, [week(5)])
    kept = ~np.isin(before.district_ids, gone)
    assert list(after.district_ids) == list(before.district_ids[kept])
    assert {name: grid.tolist() for name, grid in after.events.items()} == {
        name: grid[kept].tolist() for name, grid in before.events.items()
    }
    known = cohort.population.district_ids
    assert 0 < len(np.unique(cohort.student)) <= 10
    assert not set(known) & set(gone)


def test_another_tenant_is_not_looked_at(engine: sa.Engine) -> None:
    tenant, other = tenant_settings(), tenant_settings()
    write(engine, tenant, made_up_district(count=5, weeks=10, seed=1))
    write(engine, other, made_up_district(count=5, weeks=10, seed=2))
    with engine.connect() as connection:
        assert len(labels(connection, work_of(connection, tenant), tenant, [week(0)]).district_ids) == 5
        nobody = labels(connection, work_of(connection, tenant_settings()), tenant_settings(), [week(0)])
    assert nobody.adverse.shape == (0, 1)


def test_the_pure_part_says_the_same_and_looks_at_nothing_else(engine: sa.Engine) -> None:
    tenant = tenant_settings(label=LabelSettings(failing_below=70))
    district = made_up_district(count=30, weeks=20, seed=7)
    write(engine, tenant, district)
    as_of = [week(3), week(8)]
    with engine.connect() as connection:
        stored = labels(connection, work_of(connection, tenant), tenant, as_of)
    # Any order, as datetimes, with rows of students nobody asked for and of weeks outside every horizon.
    activity = district.activity.sample(frac=1, random_state=1)
    activity["week_start"] = pd.to_datetime(activity["week_start"])
    stranger = activity.assign(student_id="nobody")
    found = labels_of(
        pd.concat([activity, stranger]), district.courses[::-1], district.students[::-1], tenant.label, as_of[::-1]
    )
    assert found.district_ids.tolist() == stored.district_ids.tolist()
    assert found.weeks == stored.weeks
    assert {name: grid.tolist() for name, grid in found.events.items()} == {
        name: grid.tolist() for name, grid in stored.events.items()
    }
    near = (district.activity.week_start > week(3)) & (district.activity.week_start <= week(16))
    only = labels_of(district.activity[near], district.courses, district.students, tenant.label, as_of)
    assert (only.adverse == stored.adverse).all()


def test_until_exit_only_the_way_of_leaving_counts(engine: sa.Engine) -> None:
    tenant = tenant_settings(label=LabelSettings(horizon_weeks="exit"))
    district = made_up_district(count=40, weeks=20, seed=8)
    write(engine, tenant, district)
    with engine.connect() as connection:
        found = labels(connection, work_of(connection, tenant), tenant, [week(0), week(12)])
    assert set(found.events) == {"exit"}
    people = district.students.set_index("district_id")
    for number, row in zip(found.district_ids, found.adverse, strict=True):
        left, kind = people.exit_date[number], people.exit_type[number]
        for as_of, happened in zip((week(0), week(12)), row, strict=True):
            expected = kind == "dropped_out" and left > as_of + dt.timedelta(days=6)
            assert happened == expected
    assert found.adverse[:, 0].sum() > found.adverse[:, 1].sum() > 0
