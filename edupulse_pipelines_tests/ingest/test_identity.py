"""Whose a number is: the child's of the oldest delivery, whatever is loaded first, until a person says otherwise."""

from __future__ import annotations

import datetime as dt
import itertools
import random
from typing import Any

import pytest

from edupulse_pipelines.ingest import quarantine
from edupulse_pipelines.ingest.load import replay_quarantine
from edupulse_pipelines.ingest.names import Identity
from edupulse_pipelines.ingest.quarantine import Selection
from edupulse_pipelines.storage import numbers
from edupulse_pipelines.storage.numbers import Span
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER, STUDENT_HEADER, District
from edupulse_pipelines_tests.ingest.test_deletions import DAY, weeks
from edupulse_pipelines_tests.repeated import mostly_on_sqlite

pytestmark = pytest.mark.usefixtures("quick_judge")

HEADER = f"{STUDENT_HEADER},gpa"
ANNA, ZED = "ZQanna,ZQalpha,2012-05-01,2", "ZQzed,ZQzulu,2015-11-11,3"
GRADES = "source_record_id,district_id,course_id,submission_date,grade_value"
TABLES = ("students", "attendance_records", "grades", "discipline_incidents")


def students(*rows: str) -> str:
    return "\n".join([HEADER, *rows, ""])


def attendance(number: str, *days: str) -> str:
    return "\n".join([ATTENDANCE_HEADER, *(f"{number},{day},absent" for day in days), ""])


def disputes(district: District) -> dict[str, tuple[Span, ...]]:
    with district.work.reading() as connection:
        return dict(numbers.disputes(connection, district.work))


def accept(district: District, selection: Selection) -> int:
    with district.work.writing() as connection:
        return quarantine.accept(connection, district.work, selection, "another_child", "a marriage")


DELIVERIES: dict[int, dict[str, str]] = {
    1: {"students": students(f"ZQ5,{ANNA}"), "attendance_records": attendance("ZQ5", "2025-09-02", "2025-09-03")},
    2: {
        "students": students(f"ZQ5,{ZED}", "ZQ6,ZQo,ZQp,2011-01-01,1"),
        "attendance_records": attendance("ZQ5", "2025-09-03", "2025-09-09"),
        "grades": f"{GRADES}\ng1,ZQ5,ZQm,2025-09-09,50\ng2,ZQ6,ZQm,2025-09-09,60\n",
    },
    3: {"attendance_records": attendance("ZQ5", "2025-09-16")},
}


@mostly_on_sqlite("order", list(itertools.permutations((1, 2, 3))), on_postgresql=2)
def test_the_number_stays_with_the_child_of_the_oldest_delivery(district: District, order: tuple[int, ...]) -> None:
    for number in order:
        district.land(number, **DELIVERIES[number])
        district.run(*TABLES, weeks=weeks(number))
    district.run(*TABLES)
    assert district.rows("students", "district_id", "first_name", "gpa", "delivered_on") == [
        ("ZQ5", "ZQanna", 2, DAY[1]), ("ZQ6", "ZQo", 1, DAY[2])
    ]  # fmt: skip
    # What was delivered under the number since then waits; what came before is Anna's.
    assert district.rows("attendance_records", "district_id", "date", "delivered_on") == [
        ("ZQ5", dt.date(2025, 9, 2), DAY[1]), ("ZQ5", dt.date(2025, 9, 3), DAY[1])
    ]  # fmt: skip
    held = [
        (row["table_name"], row["delivered_on"], row["line_number"], *row["reasons"]) for row in district.quarantine()
    ]
    assert sorted(held) == [
        ("attendance_records", DAY[2], 2, "disputed_number"),
        ("attendance_records", DAY[2], 3, "disputed_number"),
        ("attendance_records", DAY[3], 2, "disputed_number"),
        ("grades", DAY[2], 2, "disputed_number"),
        ("students", DAY[2], 2, "another_child"),
    ]
    assert district.rows("grades", "district_id", "grade_value") == [("ZQ6", 60)]
    assert disputes(district) == {"ZQ5": (Span(DAY[2], None),)}


@mostly_on_sqlite("order", [(3, 1, 2), (1, 2, 3), (2, 3, 1)])
def test_what_a_person_accepts_is_the_same_child(district: District, order: tuple[int, ...]) -> None:
    """A child who was adopted, and whose date of birth was wrong."""
    for number in order:
        district.land(number, **DELIVERIES[number])
        district.run(*TABLES, weeks=weeks(number))
    district.run(*TABLES)
    assert accept(district, Selection(files=("grades.csv",))) == 0
    assert accept(district, Selection(tables=("students",))) == 1
    replay_quarantine(district.work, district.raw, district.tenant)
    assert district.quarantine() == []
    assert disputes(district) == {}
    assert district.rows("students", "district_id", "first_name", "gpa", "delivered_on")[0] == (
        "ZQ5", "ZQzed", 3, DAY[2]
    )  # fmt: skip
    assert sorted(district.rows("attendance_records", "date")) == [dt.date(2025, 9, day) for day in (2, 3, 9, 16)]
    district.check_accounts({})
    again = district.run(*TABLES)
    assert {table: loaded.counts[4] for table, loaded in again.items()} == dict.fromkeys(TABLES, 0)


def test_a_new_number_for_the_other_child_ends_the_dispute(district: District) -> None:
    for number in (1, 2):
        district.land(number, **DELIVERIES[number])
    district.land(3, students=students(f"ZQ5,{ANNA}", f"ZQ7,{ZED}"), attendance_records=attendance("ZQ5", "2025-09-16"))
    district.run(*TABLES)
    assert disputes(district) == {"ZQ5": (Span(DAY[2], DAY[3]),)}
    assert sorted(district.rows("attendance_records", "date")) == [dt.date(2025, 9, day) for day in (2, 3, 16)]
    # The delivery in which the number was Zed's is corrected: what it held under it is Anna's now.
    district.land(2, students=students(f"ZQ5,{ANNA}", f"ZQ7,{ZED}"))
    district.run(*TABLES)
    assert disputes(district) == {}
    assert district.quarantine() == []
    assert len(district.rows("attendance_records", "date")) == 4


@pytest.mark.parametrize(
    ("row", "gpa"),
    [
        ("ZQanna,ZQnew,2012-05-01,4", 4),  # a marriage
        ("ZQanna,ZQalpha,2013-06-02,4", 4),  # a corrected date of birth
        ("ZQANNA,ZQ-Alpha,1999-01-01,4", 4),
        ("ZQx,ZQalpha,1999-01-01,4", 4),
        ("ZQx,ZQy,2012-05-01,4", 4),
        ("ZQx,ZQy,1999-01-01,4", 2),
    ],
)
def test_one_thing_that_is_the_same_is_enough(district: District, row: str, gpa: float) -> None:
    district.land(1, students=students(f"ZQ5,{ANNA}"))
    district.land(2, students=students(f"ZQ5,{row}"))
    district.run("students")
    assert district.rows("students", "gpa") == [gpa]
    assert district.reasons("students") == ({} if gpa == 4 else {2: ["another_child"]})


def test_a_missing_date_of_birth_tells_nothing() -> None:
    marker = dt.date(1900, 1, 1)
    one = Identity.of({"first_name": "Á na", "last_name": "B", "date_of_birth": dt.date(2010, 1, 1)}, marker)
    unknown = Identity.of({"first_name": "X", "last_name": "Y", "date_of_birth": marker}, marker)
    assert not one.is_another(unknown)
    assert not unknown.is_another(one)
    assert one == Identity.of({"first_name": "ANA", "last_name": "b", "date_of_birth": dt.date(2010, 1, 1)}, marker)


PEOPLE = [
    "ZQa,ZQb,2012-01-01",
    "ZQa,ZQc,2012-02-02",
    "ZQd,ZQc,2012-02-02",
    "ZQx,ZQy,2015-05-05",
    "ZQp,ZQq,2016-06-06",
]


def _what_is_there(district: District) -> dict[str, Any]:
    held = [(row["table_name"], row["file_name"], row["line_number"], *row["reasons"]) for row in district.quarantine()]
    names = ("district_id", "first_name", "last_name", "gpa", "enrollment_date", "delivered_on", "field_deliveries")
    return {
        "students": district.rows("students", *names),
        "attendance": district.rows("attendance_records", "district_id", "date", "status", "delivered_on"),
        "grades": district.rows("grades", "district_id", "record_key", "grade_value", "delivered_on"),
        "held": sorted(held),
        "disputes": disputes(district),
    }


@mostly_on_sqlite("seed", range(4), ordinary=2)
def test_the_order_of_deliveries_does_not_matter(district: District, seed: int) -> None:
    """Two numbers, children who change, names that change: four deliveries in any order end with the same tables."""
    draw = random.Random(seed)
    landed: dict[int, dict[str, str]] = {}
    for number in DAY:
        named = draw.sample(["ZQ1", "ZQ2"], draw.choice([1, 2, 2]))
        days = draw.sample(["2025-09-02", "2025-09-03", "2025-09-04"], 2)
        landed[number] = {
            "students": students(*(f"{name},{draw.choice(PEOPLE)},{draw.choice(['', '1', '2'])}" for name in named)),
            "attendance_records": attendance(draw.choice(["ZQ1", "ZQ2"]), *days),
            "grades": f"{GRADES}\ng{number % 2},ZQ{number % 2 + 1},ZQm,{days[0]},{50 + number}\n",
        }
    results = []
    for place, order in enumerate([(1, 2, 3, 4), *draw.sample(list(itertools.permutations(DAY)), 2)]):
        one = District(district.engine, district.raw.parent / str(place), name=f"d{place}")
        for number in order:
            one.land(number, **landed[number])
            one.run(*TABLES, weeks=weeks(number))
        one.run(*TABLES)
        results.append((order, _what_is_there(one)))
    for order, result in results:
        assert result == results[0][1], (order, landed)


@pytest.mark.parametrize("number", ["1.23E+05", "1E+11", '"1,5e+04"', '"=""00123"""'])
def test_a_number_that_a_spreadsheet_has_spoilt(district: District, number: str) -> None:
    district.land(1, students=students(f"{number},{ANNA}", "1E5,ZQb,ZQc,2010-01-01,1"))
    district.land(1, attendance_records=attendance(number, "2025-09-02"))
    district.run(*TABLES)
    assert district.reasons("students") == {2: ["spoilt_number"]}
    assert district.reasons("attendance_records") == {2: ["spoilt_number", "unknown_student"]}
    assert district.rows("students", "district_id") == ["1E5"]


def test_lost_zeros_are_counted(district: District) -> None:
    district.land(1, students=students(f"00123,{ANNA}", f"00124,{ZED}"))
    district.land(2, students=students(f"123,{ANNA}", "124,ZQo,ZQp,2011-01-01,1"))
    assert district.run("students", weeks=weeks(1))["students"].report.warnings.get("lost_zeros") is None
    assert district.run("students", weeks=weeks(2))["students"].report.warnings["lost_zeros"] == 2
