"""Students whose grade has a code instead of a number: scored only where the settings ask for it."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from edupulse_pipelines.risk.samples.cohorts import read_week
from edupulse_pipelines.schema.sqlalchemy_tables import students
from edupulse_pipelines.settings import CohortSettings
from edupulse_pipelines_tests.risk.district import made_up_district, tenant_settings, week, work_of, write


@pytest.mark.parametrize(("asked", "left"), [((), {"PK", "UG"}), (("PK",), {"UG"}), (("UG", "PK"), set())])
def test_a_grade_code_is_scored_where_it_is_asked_for(
    engine: sa.Engine, asked: tuple[str, ...], left: set[str]
) -> None:
    cohort = CohortSettings(minimum_weeks_of_data=2, grade_codes=asked)
    tenant = tenant_settings(cohort=cohort)
    district = made_up_district(count=6, weeks=4)
    write(engine, tenant, district)
    codes: list[str | None] = ["PK", "UG", None, None]
    numbers = sorted(district.students.district_id)[: len(codes)]
    table = students.c
    with engine.begin() as connection:
        for number, code in zip(numbers, codes, strict=True):
            facts = {} if code is None else {"grade_code": code}
            mine = sa.and_(table.tenant_id == tenant.name, table.district_id == number)
            connection.execute(sa.update(students).where(mine).values(grade_level=None, student_metadata=facts))
        everybody = read_week(connection, work_of(connection, tenant), tenant, week(3))
    out = {codes[numbers.index(number)] for number in everybody.loc[~everybody["in_cohort"], "district_id"]}
    assert out == left
    assert len(everybody) == len(district.students)
