"""Two numbers of one child joined: the enrolments of both are the joined child's; parted again they are as before."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import pytest

from edupulse_pipelines.features import update_student_features, update_weekly_activity
from edupulse_pipelines.ingest.joining import join, part
from edupulse_pipelines.ingest.take_back import take_back_enrolment
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER, STUDENT_HEADER, District
from edupulse_pipelines_tests.ingest.test_deletions import DAY, weeks

pytestmark = pytest.mark.usefixtures("quick_judge")

DATES = f"{STUDENT_HEADER},enrollment_date,exit_date,exit_type"
ENROLLMENTS = "district_id,school_id,entry_date,exit_date"
SCHOOLS = "school_id\n1\n2\n"
TABLES = ("students", "schools", "enrollments", "attendance_records")


def students(*rows: tuple[str, str, str]) -> str:
    """Number, entry and exit."""
    return "\n".join(
        [DATES, *(f"{number},ZQa,ZQ{number},2010-01-01,{entry},{left}," for number, entry, left in rows), ""]
    )


SENT: dict[int, dict[str, str]] = {
    1: {
        "students": students(("ZQ1", "", ""), ("ZQ3", "", "")),
        "schools": SCHOOLS,
        "enrollments": f"{ENROLLMENTS}\nZQ1,1,2025-08-25,2025-09-05\nZQ3,1,2025-08-25,\n",
        "attendance_records": f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,absent\nZQ3,2025-09-02,present\n",
    },
    2: {
        "students": students(("ZQ2", "", ""), ("ZQ3", "", "")),
        "enrollments": f"{ENROLLMENTS}\nZQ2,2,2025-09-10,\n",
        "attendance_records": f"{ATTENDANCE_HEADER}\nZQ2,2025-09-11,absent\nZQ3,2025-09-11,present\n",
    },
    3: {
        "enrollments": f"{ENROLLMENTS}\nZQ1,1,2025-08-25,2025-09-04\nZQ2,2,2025-09-10,2025-09-17\n",
        "attendance_records": f"{ATTENDANCE_HEADER}\nZQ2,2025-09-16,absent\nZQ3,2025-09-16,present\n",
    },
}
"""Enrolments of their own, the old number's changed once more after the new one is there."""
SAID: dict[int, dict[str, str]] = {
    1: {
        "students": students(("ZQ1", "2025-08-25", ""), ("ZQ3", "2025-08-25", "")),
        "attendance_records": SENT[1]["attendance_records"],
    },
    2: {
        "students": students(("ZQ2", "2025-09-10", "2025-09-05"), ("ZQ3", "2025-08-25", "")),
        "attendance_records": SENT[2]["attendance_records"],
    },
    3: {
        "students": students(("ZQ2", "2025-09-10", "2025-09-17"), ("ZQ3", "2025-08-25", "")),
        "attendance_records": SENT[3]["attendance_records"],
    },
}
"""The same, said by deliveries of students."""
SILENT: dict[int, dict[str, str]] = {
    number: {**SENT[number], "students": students((f"ZQ{number}", "", ""), ("ZQ3", "", "")), "enrollments": ENROLLMENTS}
    for number in (1, 2)
}
"""Nobody says when: the first event is the entry."""


def land(district: District, deliveries: dict[int, dict[str, str]], *numbers: int) -> None:
    for number in numbers:
        district.land(number, **deliveries[number])
        district.run(*TABLES, weeks=weeks(number))


def compute(district: District) -> None:
    update_weekly_activity(district.work)
    update_student_features(district.work)


def joined(district: District) -> None:
    join(district.work, district.raw, district.tenant, "ZQ1", "ZQ2", "one child")


def parted(district: District) -> None:
    part(district.work, district.raw, district.tenant, "ZQ1")


def enrolments(district: District, *numbers: str) -> list[tuple[Any, ...]]:
    """Number, school, entry, exit and origin of those that are not taken back; dates as text."""
    names = ("district_id", "school_id", "entry_date", "exit_date", "origin", "deleted_on")
    return [
        (number, school, str(entry), left and str(left), origin)
        for number, school, entry, left, origin, deleted_on in district.rows("enrollments", *names)
        if deleted_on is None and number in (numbers or ("ZQ2", "ZQ3"))
    ]


def everything(district: District) -> dict[str, Any]:
    """All that is stored of enrolments, and all that is made of them; without ids and moments."""
    return {
        "enrollments": district.rows(
            "enrollments", "district_id", "school_id", "entry_date", "exit_date", "exit_type", "origin",
            "first_delivered_on", "delivered_on", "field_deliveries", "deleted_on", "taken_back_for",
        ),
        "said": district.rows("enrollment_statements", "district_id", "said", "first_delivered_on", "delivered_on"),
        "days": district.rows(
            "weekly_activity", "district_id", "week_start", "days_enrolled", "days_absent", "sessions_absent"
        ),
        "vectors": district.rows("student_features", "district_id", "feature_date", "feature_vector"),
    }  # fmt: skip


@pytest.mark.parametrize("deliveries", [SENT, SAID], ids=["sent", "said by students"])
def test_the_joined_child_has_the_enrolments_of_both_numbers(
    district: District, deliveries: dict[int, dict[str, str]]
) -> None:
    land(district, deliveries, 1, 2)
    compute(district)
    joined(district)
    compute(district)
    first, second = ("1", "2") if deliveries is SENT else (None, None)
    origin = "sent" if deliveries is SENT else "student"
    assert [row for row in enrolments(district, "ZQ2") if row[-1] == origin] == [
        ("ZQ2", first, "2025-08-25", "2025-09-05", origin),
        ("ZQ2", second, "2025-09-10", None, origin),
    ]
    # The history goes on: both weeks are the joined child's, the gap between them is none of its days.
    vectors = district.rows("student_features", "district_id", "feature_date", "feature_vector")
    of_child = [(day, vector["metadata"]["weeks_of_data"]) for number, day, vector in vectors if number == "ZQ2"]
    assert of_child == [(DAY[2] - dt.timedelta(days=1), 1)]  # on the first Sunday it had left
    assert {number for number, *_ in vectors} == {"ZQ2", "ZQ3"}
    days = district.rows("weekly_activity", "district_id", "week_start", "days_absent")
    assert [(number, count) for number, _, count in days if number != "ZQ3" and count] == [("ZQ2", 1), ("ZQ2", 1)]


@pytest.mark.parametrize("deliveries", [SENT, SAID], ids=["sent", "said by students"])
def test_it_makes_no_difference_when_it_was_said(
    engine: Any, tmp_path: Any, deliveries: dict[int, dict[str, str]]
) -> None:
    found = []
    for place, order in enumerate(itertools.permutations((1, 2, 3))):
        district = District(engine, tmp_path, name=f"d{place}")
        said = {"after": False}
        for number in order:
            land(district, deliveries, number)
            numbers = set(district.rows("students", "district_id"))
            if not said["after"] and {"ZQ1", "ZQ2"} <= numbers and place % 2:
                joined(district)
                said["after"] = True
        if not said["after"]:
            joined(district)
        compute(district)
        made = everything(district)
        # Of the number that was given up nothing has an effect; what deliveries once said of it may stay.
        found.append({name: [row for row in rows if row[0] != "ZQ1"] for name, rows in made.items()})
    assert all(other == found[0] for other in found)


@pytest.mark.parametrize("deliveries", [SENT, SAID], ids=["sent", "said by students"])
def test_parted_again_everything_is_as_it_was(district: District, deliveries: dict[int, dict[str, str]]) -> None:
    land(district, deliveries, 1, 2, 3)
    compute(district)
    before = everything(district)
    joined(district)
    compute(district)
    assert everything(district) != before
    parted(district)
    compute(district)
    assert everything(district) == before


def test_an_assumed_entry_is_the_first_event_under_either_number(district: District) -> None:
    land(district, SILENT, 1, 2)
    compute(district)
    before = everything(district)
    assert enrolments(district, "ZQ1", "ZQ2") == [
        ("ZQ1", None, "2025-09-02", None, "assumed"), ("ZQ2", None, "2025-09-11", None, "assumed")
    ]  # fmt: skip
    joined(district)
    compute(district)
    assert enrolments(district, "ZQ2") == [("ZQ2", None, "2025-09-02", None, "assumed")]
    assert {day for number, day, _ in everything(district)["vectors"] if number == "ZQ2"} == {
        DAY[1] - dt.timedelta(days=1), DAY[2] - dt.timedelta(days=1)
    }  # fmt: skip
    parted(district)
    compute(district)
    assert everything(district) == before


@pytest.mark.parametrize("deliveries", [SENT, SAID], ids=["sent", "said by students"])
def test_an_enrolment_taken_back_by_a_person_stays_taken_back(
    district: District, deliveries: dict[int, dict[str, str]]
) -> None:
    """Of either number, when they are joined and when they are parted again."""
    land(district, deliveries, 1, 2)
    schools = ("1", "2") if deliveries is SENT else (None, None)
    for number, entry, school in zip(("ZQ1", "ZQ2"), ("2025-08-25", "2025-09-10"), schools, strict=True):
        take_back_enrolment(district.work, number, dt.date.fromisoformat(entry), school, "a mistake", DAY[3])
    gone = enrolments(district, "ZQ1", "ZQ2")
    assert all(origin == "assumed" for *_, origin in gone)
    compute(district)
    before = everything(district)
    joined(district)
    compute(district)
    assert all(origin == "assumed" for *_, origin in enrolments(district, "ZQ2"))
    parted(district)
    compute(district)
    assert everything(district) == before
