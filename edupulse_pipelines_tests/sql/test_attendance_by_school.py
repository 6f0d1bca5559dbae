"""Days and chronic absence by school: the query and the Python function say the same, and what is counted by hand."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from edupulse_pipelines.features import update_weekly_activity
from edupulse_pipelines.features.days_by_school import days_by_school
from edupulse_pipelines.schema.sqlalchemy_tables import students
from edupulse_pipelines.settings import AttendanceSettings, CalendarSettings, DayRule, DaySpan, absence_rule
from edupulse_pipelines.settings.absence_rules import ABSENCE_RULES
from edupulse_pipelines.weeks import WEEK
from edupulse_pipelines_tests.ingest.district import FIRST_WEEK, STUDENT_HEADER, District

QUERIES = Path(__file__).parents[2] / "sql" / "queries"
DAYS = [FIRST_WEEK + week * WEEK + dt.timedelta(days=day) for week in range(36) for day in range(5)]
"""The days of a school year."""
HEADER = "district_id,date,status,school_id"
ENROLLMENTS = "district_id,school_id,entry_date,exit_date,is_primary"
Row = Any


@pytest.fixture
def district(engine: sa.Engine, tmp_path: Path) -> District:
    return District(engine, tmp_path)


def said(engine: sa.Engine, rule: str = "federal", absent_day: str = "half") -> dict[tuple[str, str | None], Row]:
    """The rows of the query by student's number and school."""
    text = (QUERIES / f"attendance_by_school.{engine.dialect.name}.sql").read_text(encoding="utf-8")
    chosen = "SELECT 'federal' AS name, 'half' AS absent_day"
    assert chosen in text
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            text.replace(chosen, f"SELECT '{rule}' AS name, '{absent_day}' AS absent_day"),
            execution_options={"no_parameters": True},
        ).all()
    return {(row.district_id, row.school_id): row for row in rows}


def in_python(district: District, absent_day: DayRule = "half") -> dict[tuple[str, str | None], dict[str, float]]:
    """The days that Python counts, by student's number and school."""
    with district.engine.connect() as connection:
        found = days_by_school(connection, district.work, DAYS[0], DAYS[-1], absent_day)
        ids = {str(row.id).replace("-", ""): row.district_id for row in connection.execute(sa.select(students))}
    numbers = [ids[text.decode().replace("-", "")] for text in found.student_id.tolist()]
    keys = zip(numbers, found.school_id.tolist(), strict=True)
    return dict(zip(keys, found.measures.to_dict("records"), strict=True))


def agree(district: District, absent_day: DayRule = "half") -> dict[tuple[str, str | None], Row]:
    """The query's rows, which are those of Python."""
    sql, python = said(district.engine, absent_day=absent_day), in_python(district, absent_day)
    assert sql.keys() == python.keys()
    for key, row in sql.items():
        days = python[key]
        assert (row.days_enrolled, row.days_absent, row.days_excused) == (
            days["days_enrolled"],
            days["days_absent"] + days["days_excused"],
            days["days_excused"],
        ), key
        assert float(row.days_missed) == pytest.approx(days["days_missed"], abs=2e-5)  # Python rounds week by week
        rule = absence_rule("federal")
        absent = days["days_absent"] + days["days_excused"]
        met = bool(rule.is_met(days["days_enrolled"], absent, days["days_missed"]))
        assert row.chronically_absent == (int(met) if rule.decides(days["days_enrolled"]) else None)
    return sql


def load(district: District, absent_day: DayRule = "half", **files: str) -> None:
    district.land(DAYS[-1] + dt.timedelta(days=3), **files)
    district.run()
    update_weekly_activity(district.work, absent_day=absent_day)


def people(*numbers: str) -> str:
    rows = [f"{number},ZQ{number},ZQ,2010-01-01,{DAYS[0]}" for number in numbers]
    return "\n".join([f"{STUDENT_HEADER},enrollment_date", *rows, ""])


def lines(header: str, *rows: str) -> str:
    return "\n".join([header, *rows, ""])


@pytest.mark.parametrize("names_the_school", [True, False])
def test_a_child_that_is_chronically_absent_at_both_schools(district: District, *, names_the_school: bool) -> None:
    """The example of TEAMSchools/teamster: present on 126 of 178 days at one, and 158 of 176 at another school.

    At the same time, where the attendance names the school. Where it does not, one child a school: what it is at both
    schools on one day nobody could tell apart.
    """
    at = {"1": (DAYS[:178], 126), "2": (DAYS[2:178], 158)}
    rows = [
        f"{'ZQ1' if names_the_school else 'ZQ' + school},{day},"
        f"{'present' if number < present else 'absent'},{school if names_the_school else ''}"
        for school, (days, present) in at.items()
        for number, day in enumerate(days)
    ]
    enrolled = [
        f"{'ZQ1' if names_the_school else 'ZQ' + school},{school},{days[0]},,{'yes' if school == '1' else 'no'}"
        for school, (days, _) in at.items()
    ]
    load(
        district,
        students=people("ZQ1", "ZQ2"),
        schools="school_id,name\n1,First\n2,Second\n",
        enrollments=lines(ENROLLMENTS, *enrolled),
        attendance_records=lines(HEADER, *rows),
    )
    found = agree(district)
    second = "ZQ1" if names_the_school else "ZQ2"
    one, two = found["ZQ1", "1"], found[second, "2"]
    assert len(found) == 2
    assert (one.days_enrolled, one.days_absent, one.chronically_absent) == (178, 52, 1)
    assert (two.days_enrolled, two.days_absent, two.chronically_absent) == (176, 18, 1)
    assert (float(one.absent_share), float(two.absent_share)) == (0.292, 0.102)
    assert (one.school_name, two.school_name) == ("First", "Second")
    if names_the_school:
        # A day at both is one day of the child, and one of absence where half of it was missed.
        assert one.days_at_all_schools == two.days_at_all_schools == 178
        assert float(one.absent_share_at_all_schools) == 0.292
        assert sum(district.rows("weekly_activity", "days_enrolled")) == 178


def test_a_child_that_moves_has_the_days_of_each_enrolment_and_none_in_a_gap(district: District) -> None:
    """Nobody names the school; what is recorded in the gap is no day, and after it nobody says the school."""
    rows = [f"ZQ1,{day},{'absent' if day.weekday() == 0 else 'present'}," for day in DAYS]
    enrolled = [
        f"ZQ1,1,{DAYS[0]},{DAYS[40]},",
        f"ZQ1,2,{DAYS[40]},{DAYS[80]},",
        f"ZQ1,,{DAYS[100]},,",
    ]
    load(
        district,
        students=people("ZQ1"),
        enrollments=lines(ENROLLMENTS, *enrolled),
        attendance_records=lines(HEADER, *rows),
    )
    found = agree(district)
    assert {school: (row.days_enrolled, row.days_absent) for (_, school), row in found.items()} == {
        "1": (40, 8),
        "2": (40, 8),
        None: (80, 16),
    }
    assert {row.days_at_all_schools for row in found.values()} == {160}


def test_where_only_absences_are_recorded_a_day_of_instruction_is_a_day_at_each_school(
    engine: sa.Engine, tmp_path: Path
) -> None:
    district = District(
        engine,
        tmp_path,
        attendance=AttendanceSettings(recording="exceptions"),
        calendar=CalendarSettings(terms=(DaySpan(start=DAYS[0], end=DAYS[-1]),)),
    )
    enrolled = [
        f"ZQ1,1,{DAYS[0]},,yes",
        f"ZQ1,2,{DAYS[100]},,no",
        f"ZQ2,2,{DAYS[0]},{DAYS[20]},",
    ]
    rows = [
        *(f"ZQ1,{day},absent,2" for day in DAYS[100:120]),  # at the second school only
        f"ZQ1,{DAYS[0]},excused,",
        f"ZQ2,{DAYS[19]},absent,",
    ]
    for week in range(len(DAYS) // 5):
        of_week = [
            row for row in rows if DAYS[week * 5] <= dt.date.fromisoformat(row.split(",")[1]) <= DAYS[week * 5 + 4]
        ]
        files = {"attendance_records": lines(HEADER, *of_week)}
        if week == 0:
            files |= {"students": people("ZQ1", "ZQ2"), "enrollments": lines(ENROLLMENTS, *enrolled)}
        district.land(week + 1, **files)
    district.run()
    tenant = district.tenant
    update_weekly_activity(district.work, FIRST_WEEK, tenant.attendance, tenant.calendar)
    found = agree(district)
    assert {key: (row.days_enrolled, row.days_absent) for key, row in found.items()} == {
        ("ZQ1", "1"): (180, 1),
        ("ZQ1", "2"): (80, 20),
        ("ZQ2", "2"): (20, 1),
    }
    assert found["ZQ1", "2"].chronically_absent == 1
    assert found["ZQ1", "1"].days_at_all_schools == 180


@pytest.mark.parametrize("absent_day", ["half", "more_than_half", "any", "all", "minutes"])
def test_sql_and_python_agree_about_a_district_of_every_kind(district: District, absent_day: DayRule) -> None:
    chance = random.Random(7)
    numbers = [f"ZQ{number}" for number in range(16)]
    enrolled, rows = [], []
    for number in numbers:
        for school in chance.sample(["1", "2", "3", ""], chance.randint(0, 3)):
            entry = chance.choice(DAYS[:60])
            left = chance.choice(["", str(chance.choice(DAYS[61:]))])
            enrolled.append(f"{number},{school},{entry},{left},{chance.choice(['', 'yes', 'no'])}")
        for day in chance.sample(DAYS, 60):
            for period in range(chance.randint(1, 3)):
                status = chance.choice(["present", "absent", "tardy", "excused"])
                minutes = chance.choice([",", "10,60", "50,60"])
                rows.append(f"{number},{day},{status},{chance.choice(['', '1', '2'])},{period},{minutes}")
    load(
        district,
        absent_day,
        students=people(*numbers),
        enrollments=lines(ENROLLMENTS, *enrolled),
        attendance_records=lines(f"{HEADER},period,minutes_absent,minutes_possible", *rows),
    )
    found = agree(district, absent_day)
    assert len({school for _, school in found}) == 4
    assert len(found) > len(numbers)


@pytest.mark.parametrize("dialect", ["postgresql", "sqlite"])
def test_the_query_holds_the_rules_of_the_package(dialect: str) -> None:
    text = (QUERIES / f"attendance_by_school.{dialect}.sql").read_text(encoding="utf-8")
    other = (QUERIES / f"chronic_absence.{dialect}.sql").read_text(encoding="utf-8")
    rules = other[other.index("rules (") : other.index("weeks AS")]
    assert rules in text
    assert text.count("        ('") == len(ABSENCE_RULES)
