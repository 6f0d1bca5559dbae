"""Days enrolled are those within an enrolment: in weekly activity, the query, the label and the school year so far."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from edupulse_pipelines.features import update_student_features, update_weekly_activity
from edupulse_pipelines.features.definitions import YEAR_DAYS
from edupulse_pipelines.features.standing import read_standing
from edupulse_pipelines.ingest.take_back import take_back_enrolment
from edupulse_pipelines.risk.samples.labels import labels
from edupulse_pipelines.schema.sqlalchemy_tables import students
from edupulse_pipelines.settings import absence_rule
from edupulse_pipelines.weeks import WEEK, week_start
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER, FIRST_WEEK, STUDENT_HEADER, District
from edupulse_pipelines_tests.sql.test_chronic_absence import said

WEEKS = 10
SCHOOL_DAYS = [FIRST_WEEK + number * WEEK + dt.timedelta(days=day) for number in range(WEEKS) for day in range(5)]
END = FIRST_WEEK + WEEKS * WEEK

ENROLMENTS: dict[str, list[tuple[str, str, str]]] = {
    "ZQstays": [("1", "2025-09-01", "")],
    "ZQgap": [("1", "2025-09-01", "2025-09-24"), ("1", "2025-10-08", "")],
    "ZQleaves": [("1", "2025-09-01", "2025-10-08")],
    "ZQcomes": [("1", "2025-10-08", "")],
    "ZQmoves": [("1", "2025-09-01", "2025-09-24"), ("2", "2025-09-24", "")],
    "ZQboth": [("1", "2025-09-01", "2025-10-08"), ("2", "2025-09-24", "")],
}
"""School, entry and exit. All are recorded as present on every school day, and absent where `is_absent` says so."""


def is_absent(number: str, day: dt.date) -> bool:
    """From a Wednesday to a Wednesday two weeks later; in every second week of the others on the Monday."""
    away = dt.date(2025, 9, 24) <= day < dt.date(2025, 10, 8)
    return away if number in ("ZQgap", "ZQmoves", "ZQboth") else day.weekday() == 0 and day.isocalendar().week % 2 == 0


def expected(
    number: str, enrolments: Sequence[tuple[str, str, str]], since: dt.date, until: dt.date
) -> tuple[int, int]:
    """Days enrolled and days of absence, counted one by one."""
    enrolled = [
        day
        for day in SCHOOL_DAYS
        if since <= day < until
        and any(entry <= str(day) and (not left or str(day) < left) for _, entry, left in enrolments)
    ]
    return len(enrolled), sum(is_absent(number, day) for day in enrolled)


def delivery(enrolments: dict[str, list[tuple[str, str, str]]]) -> dict[str, str]:
    rows = [f"{number},{','.join(row)}" for number, of in enrolments.items() for row in of]
    return {
        "schools": "school_id\n1\n2\n",
        "enrollments": "\n".join(["district_id,school_id,entry_date,exit_date", *rows, ""]),
    }


def attendance() -> str:
    marks = [
        f"{number},{day},{'absent' if is_absent(number, day) else 'present'}"
        for number, day in itertools.product(ENROLMENTS, SCHOOL_DAYS)
    ]
    return "\n".join([ATTENDANCE_HEADER, *marks, ""])


def check(district: District, enrolments: dict[str, list[tuple[str, str, str]]]) -> None:
    """Everything that is made of days says what counting them one by one says."""
    update_weekly_activity(district.work)
    update_student_features(district.work)
    assert update_weekly_activity(district.work).recomputed == 0
    stored = district.rows("weekly_activity", "district_id", "week_start", "days_enrolled", "days_absent")
    assert len(stored) == len(ENROLMENTS) * WEEKS
    for number, monday, *days in stored:
        assert tuple(days) == expected(number, enrolments.get(number, []), monday, monday + WEEK), (number, monday)

    rule = absence_rule("federal")
    in_sql = said(district.engine)
    in_all = {number: expected(number, of, FIRST_WEEK, END) for number, of in enrolments.items()}
    for number, (enrolled, absent) in in_all.items():
        row = in_sql[number]
        assert (row.days_enrolled, row.days_absent) == (enrolled, absent)
        assert bool(row.chronically_absent) == bool(rule.is_met(enrolled, absent, absent))
    assert in_sql.keys() == {number for number, (enrolled, _) in in_all.items() if enrolled}

    with district.engine.connect() as connection:
        work, tenant = district.work, district.tenant
        assert tenant.label.weeks is not None
        happened = labels(connection, work, tenant, [FIRST_WEEK])
        last = FIRST_WEEK + (WEEKS - 1) * WEEK
        standing = read_standing(connection, work, tenant, [last])
        ids = dict(connection.execute(sa.select(students.c.district_id, students.c.id)).all())
    end = FIRST_WEEK + (1 + tenant.label.weeks) * WEEK
    for number, met in zip(happened.district_ids, happened.events["chronic_absence"][:, 0].tolist(), strict=True):
        enrolled, absent = expected(number, enrolments.get(number, []), FIRST_WEEK + WEEK, end)
        assert met == bool(rule.is_met(enrolled, absent, absent)), number
    # The school year so far, which the simple rule looks at, of those who are there at the end of it.
    staying = [number for number in enrolments if number != "ZQleaves"]
    frame = standing.of(last, [ids[number] for number in staying])[list(YEAR_DAYS)]
    for number, row in zip(staying, frame.to_numpy().tolist(), strict=True):
        enrolled, absent = in_all[number]
        assert row == [enrolled, absent, absent], number


@pytest.mark.parametrize("first", ["enrolments", "attendance"])
def test_days_before_an_entry_after_an_exit_and_in_a_gap_are_no_days_enrolled(
    engine: sa.Engine, tmp_path: Path, first: str
) -> None:
    district, now = District(engine, tmp_path), dict(ENROLMENTS)
    people = "\n".join([STUDENT_HEADER, *(f"{number},ZQ,ZQ,2010-01-01" for number in ENROLMENTS), ""])
    if first == "enrolments":
        district.land(END, students=people, attendance_records=attendance(), **delivery(ENROLMENTS))
        district.run()
    else:  # the days are made before anybody says who was enrolled
        district.land(END, students=people, attendance_records=attendance())
        district.run()
        check(district, {number: [("", str(FIRST_WEEK), "")] for number in ENROLMENTS})
        district.land(END + WEEK, **delivery(ENROLMENTS))
        district.run()
        # Before they are sent, the enrolment is assumed from the first event on, up to the first that is sent.
        now["ZQcomes"] = [("", str(FIRST_WEEK), "2025-10-08"), *ENROLMENTS["ZQcomes"]]
    check(district, now)


def test_the_days_follow_an_enrolment_that_changes(engine: sa.Engine, tmp_path: Path) -> None:
    """An exit comes, is opened again, an entry is taken back, and a student is."""
    district = District(engine, tmp_path)
    people = "\n".join([STUDENT_HEADER, *(f"{number},ZQ,ZQ,2010-01-01" for number in ENROLMENTS), ""])
    district.land(END, students=people, attendance_records=attendance(), **delivery(ENROLMENTS))
    district.run()
    check(district, ENROLMENTS)
    now = {**ENROLMENTS, "ZQstays": [("1", "2025-09-01", "2025-10-01")], "ZQleaves": [("1", "2025-09-01", "")]}
    district.land(END + WEEK, **delivery({number: now[number] for number in ("ZQstays", "ZQleaves")}))
    district.run()
    update_weekly_activity(district.work)
    days = {number: expected(number, now[number], FIRST_WEEK, END)[0] for number in ("ZQstays", "ZQleaves", "ZQgap")}
    assert {number: enrolled_days(district, number) for number in days} == days
    take_back_enrolment(district.work, "ZQgap", dt.date(2025, 10, 8), "1", "a mistake", END + WEEK)
    district.land(END + 2 * WEEK, students=f"{STUDENT_HEADER},_deleted\nZQstays,ZQ,ZQ,2010-01-01,true\n")
    district.run()
    update_weekly_activity(district.work)
    assert enrolled_days(district, "ZQgap") == expected("ZQgap", now["ZQgap"][:1], FIRST_WEEK, END)[0]
    assert enrolled_days(district, "ZQstays") == 0
    assert update_weekly_activity(district.work).recomputed == 0
    district.land(END + 3 * WEEK, students=f"{STUDENT_HEADER}\nZQstays,ZQ,ZQ,2010-01-01\n")
    district.run()
    assert ("ZQstays", week_start(dt.date(2025, 9, 1))) in district.marks("enrolled_days")
    update_weekly_activity(district.work)
    assert enrolled_days(district, "ZQstays") == days["ZQstays"]


def enrolled_days(district: District, number: str) -> int:
    rows = district.rows("weekly_activity", "district_id", "days_enrolled")
    return sum(days for of, days in rows if of == number)
