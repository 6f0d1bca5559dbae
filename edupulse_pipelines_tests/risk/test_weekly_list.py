"""Who is on a week's list, where, in which order and why: on SQLite and PostgreSQL."""

from __future__ import annotations

import datetime as dt

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.features.schools import School, schools_on
from edupulse_pipelines.risk.telling.list_page import percent
from edupulse_pipelines.risk.weekly_list import NO_SCHOOL, WeeklyList, weekly_list
from edupulse_pipelines.schema.sqlalchemy_tables import enrollments, predictions, students
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines_tests.risk.listed import NAMELESS, SUNDAY, WEEK, district, fill, identifier

ELM, NORTH, OTHER = School("S-2", "Elm Street"), School("S-1", "North <High>"), School(NAMELESS, None)


@pytest.fixture
def tenant(engine: sa.Engine) -> TenantSettings:
    made = district()
    fill(engine, made.name)
    return made


@pytest.fixture
def work(engine: sa.Engine, tenant: TenantSettings) -> Work:
    return Work(engine, tenant.name)


def numbers(listed: WeeklyList) -> list[str]:
    return [student.number for student in listed.students]


def test_sorted_by_school_then_risk_then_number(work: Work, tenant: TenantSettings) -> None:
    listed = weekly_list(work, tenant)
    assert [(student.school, student.number, student.category, student.score) for student in listed.students] == [
        (ELM, "0103", "medium", 0.40),
        (ELM, "0104", "medium", 0.30),
        (NORTH, "0101", "critical", 0.91),
        (NORTH, "0102", "high", 0.62),
        (NORTH, "0111", "high", 0.62),
        (OTHER, "0109", "critical", 0.80),
        (None, "0105", "critical", 0.95),
    ]
    assert (listed.week, listed.scored, listed.not_scored, listed.other_label) == (WEEK, 8, 1, False)
    assert listed.by_category == {"critical": 3, "high": 2, "medium": 2}
    assert [(school, len(there)) for school, there in listed.by_school] == [(ELM, 2), (NORTH, 3), (OTHER, 1), (None, 1)]
    assert {student.number: student.school_title for student in listed.students if student.school in (OTHER, None)} == {
        "0109": f"School {NAMELESS}",
        "0105": NO_SCHOOL,
    }
    assert {student.number: student.grade for student in listed.students} == {
        "0101": "9", "0102": "10", "0103": "9", "0104": "0", "0105": None, "0109": "PK", "0111": "12",
    }  # fmt: skip
    assert [student.number for student in listed.students if student.rescored] == ["0102"]


def test_reasons_are_those_that_raise_the_risk_as_they_are_stored(work: Work, tenant: TenantSettings) -> None:
    told = {student.number: student for student in weekly_list(work, tenant).students}
    ada = told["0101"]
    assert ada.reasons == ("Failing <b>math</b>", "2 incidents", "1 incident this week")
    assert ada.recommendations == ("Ask the teacher", "Talk about them")
    assert ada.strengths == ("Attended 96% of the last 4 weeks",)
    # Nothing raises it: the one that weighs most is said, and it is no strength.
    assert (told["0103"].reasons, told["0103"].strengths) == (("Nothing stands out",), ())
    assert [told[number].reasons for number in ("0104", "0105")] == [(), ()]


def test_the_school_is_that_of_the_day(work: Work, tenant: TenantSettings) -> None:
    with work.reading() as connection:
        found = {day: schools_on(connection, work, SUNDAY + dt.timedelta(days=day)) for day in (-1, 0, 1)}
    assert [found[day][identifier(3)] for day in (-1, 0, 1)] == [NORTH, ELM, ELM]
    assert [found[day].get(identifier(2)) for day in (0, 1)] == [NORTH, None]
    assert [found[day][identifier(11)] for day in (0, 1)] == [NORTH, ELM]
    assert identifier(5) not in found[0]


@pytest.mark.parametrize("main", [True, None, False])
def test_of_several_schools_the_main_one_counts(
    engine: sa.Engine, work: Work, tenant: TenantSettings, main: bool | None
) -> None:
    """Before one of which nobody says, and that before another one; then the one entered last."""
    with engine.begin() as connection:
        connection.execute(
            sa.update(enrollments)
            .where(enrollments.c.student_id == identifier(4), enrollments.c.school_id == "S-2")
            .values(is_primary=main)
        )
    with work.reading() as connection:
        assert schools_on(connection, work, SUNDAY)[identifier(4)] == (NORTH if main is False else ELM)


def test_of_one_school_and_of_one_grade(work: Work, tenant: TenantSettings) -> None:
    for asked in ("S-2", "s-2", " elm street ", "ELM STREET"):
        assert numbers(weekly_list(work, tenant, schools=[asked])) == ["0103", "0104"]
    assert numbers(weekly_list(work, tenant, schools=["S-1", "S-2"], grades=["9", "0"])) == ["0103", "0104", "0101"]
    assert numbers(weekly_list(work, tenant, grades=["PK"])) == ["0109"]
    assert numbers(weekly_list(work, tenant, schools=["no school known"])) == ["0105"]
    assert numbers(weekly_list(work, tenant, schools=["School S-9"])) == ["0109"]  # as its heading reads
    of_low_risk = weekly_list(work, tenant, grades=["11"])
    assert (of_low_risk.students, of_low_risk.scored) == ((), 1)
    of_nobody_scored = weekly_list(work, tenant, schools=["S-1"], grades=["9"])
    assert (of_nobody_scored.scored, of_nobody_scored.not_scored) == (1, 1)


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        ({"schools": ["Taken back"]}, "at a school 'Taken back'"),
        ({"schools": ["S-1", "West"]}, "There are: Elm Street (S-2), North <High> (S-1), S-9."),
        ({"grades": ["8"]}, "There are: 0, 9, 10, 11, 12, PK."),
        ({"schools": ["S-2"], "grades": ["12"]}, "There are: 0, 9, 11."),
        ({"week": WEEK - dt.timedelta(days=7)}, f"There are some for 1 week(s), of {WEEK} to {WEEK}."),
    ],
)
def test_what_nobody_has_is_said(work: Work, tenant: TenantSettings, selection: dict, said: str) -> None:
    with pytest.raises(PermanentError) as error:
        weekly_list(work, tenant, **selection)
    assert said in str(error.value)
    assert "Ada" not in str(error.value)


def test_without_predictions_the_command_that_makes_them_is_named(engine: sa.Engine) -> None:
    tenant = district()
    with pytest.raises(PermanentError, match=r"no predictions yet: `edupulse run`"):
        weekly_list(Work(engine, tenant.name), tenant)


def test_of_two_predictions_the_latest_counts_and_an_older_week_is_asked_for(
    engine: sa.Engine, work: Work, tenant: TenantSettings
) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.update(predictions)
            .where(predictions.c.id == identifier(100))
            .values(prediction_date=dt.datetime(2025, 3, 11, tzinfo=dt.UTC))
        )
    assert "0111" not in numbers(weekly_list(work, tenant))
    with engine.begin() as connection:
        connection.execute(sa.update(students).values(deleted_on=None))
    assert numbers(weekly_list(work, tenant, WEEK))[-2:] == ["0107", "0105"]


@pytest.mark.parametrize(
    ("share", "told"), [(0, "0%"), (0.004, "<1%"), (0.5, "50%"), (0.994, "99%"), (0.9951, ">99%"), (1, "100%")]
)
def test_a_percentage_is_no_more_certain_than_the_score(share: float, told: str) -> None:
    assert percent(share) == told
