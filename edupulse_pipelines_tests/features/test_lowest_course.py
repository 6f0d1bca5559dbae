from __future__ import annotations

import uuid

import sqlalchemy as sa

from edupulse_pipelines.features.lowest_course import lowest_courses
from edupulse_pipelines_tests.risk.district import made_up_district, tenant_settings, week, work_of, write


def test_the_course_of_the_lowest_grade_of_the_last_four_school_weeks(engine: sa.Engine) -> None:
    tenant, other = tenant_settings(), tenant_settings()
    district = made_up_district(count=24, weeks=10)
    write(engine, tenant, district)
    write(engine, other, made_up_district(count=6, weeks=10, seed=1))
    asked = district.students["student_id"].tolist()
    recent = district.courses[district.courses["week_start"].between(week(5), week(8))]
    by_course = recent.groupby(["student_id", "course_id"])["grade_lowest"].min().reset_index()
    ordered = by_course.sort_values(["grade_lowest", "course_id"])
    expected = ordered.groupby("student_id")["course_id"].first().to_dict()
    with engine.connect() as connection:
        found = lowest_courses(connection, work_of(engine, tenant), week(8), [*asked, uuid.uuid4()])
        assert lowest_courses(connection, work_of(engine, tenant), week(-1), asked) == {}
        assert lowest_courses(connection, work_of(engine, other), week(8), asked) == {}
    assert found == expected
    assert set(found.values()) == {"ENG", "MATH"}
