"""The query of chronic absence says of every rule, at its edges, what the rule in Python says; on both databases."""

from __future__ import annotations

import datetime as dt
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from edupulse_pipelines.features.definitions import YEAR_DAYS
from edupulse_pipelines.features.standing import read_standing
from edupulse_pipelines.schema.sqlalchemy_tables import students, weekly_activity
from edupulse_pipelines.settings import RULE_NAMES, absence_rule
from edupulse_pipelines.settings.absence_rules import ABSENCE_RULES
from edupulse_pipelines_tests.absence_edges import EDGES
from edupulse_pipelines_tests.enrolment import enrol
from edupulse_pipelines_tests.risk.district import District, tenant_settings, week, work_of, write_manifest

QUERIES = Path(__file__).parents[2] / "sql" / "queries"


def said(engine: sa.Engine, rule: str = "federal") -> dict[str, Any]:
    text = (QUERIES / f"chronic_absence.{engine.dialect.name}.sql").read_text(encoding="utf-8")
    chosen = "SELECT 'federal' AS name"
    assert chosen in text
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            text.replace(chosen, f"SELECT '{rule}' AS name"), execution_options={"no_parameters": True}
        ).all()
    return {row.district_id: row for row in rows}


def enter(engine: sa.Engine, tenant: str, weeks_of: dict[str, list[dict[str, Any]]]) -> None:
    """Students by number, each with rows of weekly activity."""
    with engine.begin() as connection:
        for number, rows in weeks_of.items():
            student = uuid.uuid4()
            person = {
                "id": student,
                "tenant_id": tenant,
                "district_id": number,
                "first_name": "F",
                "last_name": "L",
                "date_of_birth": dt.date(2010, 1, 1),
                "enrollment_date": week(0),
                "delivered_on": week(0),
            }
            connection.execute(sa.insert(students), person)
            keys = {"tenant_id": tenant, "student_id": student}
            for row in rows:
                connection.execute(sa.insert(weekly_activity), {**keys, **row})
        enrol(connection, tenant)


def days(number: int, enrolled: int, absent: int, excused: int, missed: float) -> dict[str, Any]:
    return {
        "week_start": week(number),
        "days_enrolled": enrolled,
        "days_present": enrolled - absent - excused,
        "days_absent": absent,
        "days_excused": excused,
        "days_missed": missed,
        "days_basis": "half",
    }


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_sql_and_python_agree_at_every_edge(engine: sa.Engine, rule: str) -> None:
    tenant = tenant_settings()
    edges = {f"{number:02d}": row for number, row in enumerate(EDGES)}
    enter(
        engine,
        tenant.name,
        {
            # In two weeks, half of the absence excused: both count.
            number: [
                days(0, enrolled // 2, absent // 2, 0, missed / 2),
                days(1, enrolled - enrolled // 2, 0, absent - absent // 2, missed / 2),
            ]
            for number, (_, enrolled, absent, missed, _) in edges.items()
        },
    )
    found = said(engine, rule)
    assert found.keys() == edges.keys()
    for number, (of_rule, enrolled, absent, missed, expected) in edges.items():
        row, python = found[number], absence_rule(rule)
        verdict = None if row.chronically_absent is None else bool(row.chronically_absent)
        assert verdict == (bool(python.is_met(enrolled, absent, missed)) if python.decides(enrolled) else None), row
        if of_rule == rule:
            assert verdict == expected, row
        assert (row.days_enrolled, row.days_absent, row.days_excused) == (enrolled, absent, absent - absent // 2)
        assert float(row.absent_share) == pytest.approx(absent / enrolled, abs=6e-4)
        assert float(row.unexcused_share) == pytest.approx((absent // 2) / enrolled, abs=6e-4)


@pytest.mark.parametrize("dialect", ["postgresql", "sqlite"])
def test_the_query_holds_the_rules_of_the_package(dialect: str) -> None:
    text = (QUERIES / f"chronic_absence.{dialect}.sql").read_text(encoding="utf-8")
    for rule in ABSENCE_RULES:
        percent, number = ("NULL" if value is None else value for value in (rule.percent, rule.days))
        at_least, by_time = int(rule.edge == ">="), int(rule.unit == "time")
        row = f"('{rule.name}', {percent}, {number}, {at_least}, {rule.minimum_days}, {by_time})"
        assert row in text
    assert text.count("        ('") == len(ABSENCE_RULES)


def test_the_school_year_so_far_is_that_of_the_simple_rule(engine: sa.Engine) -> None:
    """Last year does not count; a week that is unknown adds nothing; one that is not computed yet makes it unknown."""
    tenant = tenant_settings()
    last_year, this_year = [days(number, 5, 5, 0, 5.0) for number in (0, 1)], (8, 9, 10)
    unknown = {"week_start": week(8), "days_basis": "half", "sessions_basis": "unknown"}
    of_before = {"week_start": week(8), "sessions_present": 5}
    graded = {"week_start": week(9), "grade_count": 1, "grade_mean": 50.0, "grade_lowest": 50.0, "days_basis": "half"}
    often_away = [days(number, 5, 1, 0, 1.0) for number in this_year[1:]]
    rows = {
        "well": last_year + [days(number, 5, 0, 0, 0.0) for number in this_year],
        "ill": last_year + [days(number, 5, 0, 1, 0.5) for number in this_year],
        "unknown": [unknown, *often_away],
        "stale": [of_before, *often_away],
        "nothing": [graded],
    }
    enter(engine, tenant.name, rows)
    district = District(None, None, None, [week(number) for number in (0, 1, *this_year)])  # type: ignore[arg-type]
    with engine.begin() as connection:
        write_manifest(connection, tenant, district)
    found = said(engine)
    assert {number: row.chronically_absent for number, row in found.items()} == {
        "well": 0,
        "ill": 1,
        "unknown": 1,
        "stale": None,
    }
    assert (found["ill"].days_enrolled, found["ill"].days_absent) == (15, 3)
    assert float(found["ill"].days_missed) == 1.5
    with engine.connect() as connection:
        work = work_of(connection, tenant)
        ids = dict(connection.execute(sa.select(students.c.district_id, students.c.id)).all())
        names = [name for name in rows if name != "stale"]
        standing = read_standing(connection, work, tenant, [week(10)])
    frame = standing.of(week(10), [ids[name] for name in names])
    for name, row in zip(names, frame[list(YEAR_DAYS)].to_numpy(), strict=True):
        in_sql = found.get(name)
        if in_sql is None:
            assert np.isnan(row).all(), name
        else:
            expected = (in_sql.days_enrolled, in_sql.days_absent, in_sql.days_missed)
            assert row.tolist() == [float(number) for number in expected], name
