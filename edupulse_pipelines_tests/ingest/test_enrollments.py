"""Schools and enrolments: what deliveries open, end and take back, in whatever order they are loaded."""

from __future__ import annotations

import datetime as dt
import itertools
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.features.enrolment import count_enrolments
from edupulse_pipelines.ingest.take_back import take_back_enrolment
from edupulse_pipelines.schema.sqlalchemy_tables import enrollments
from edupulse_pipelines.weeks import WEEK, week_start
from edupulse_pipelines_tests.ingest.district import (
    ATTENDANCE_HEADER,
    FIRST_WEEK,
    STUDENT_HEADER,
    District,
    delivery_day,
)
from edupulse_pipelines_tests.repeated import mostly_on_sqlite

STUDENTS = f"{STUDENT_HEADER},enrollment_date,exit_date,exit_type"
ENROLLMENTS = "district_id,school_id,entry_date,exit_date"
DAY = dt.date.fromisoformat


def student(number: str, entry: str = "", left: str = "", how: str = "") -> str:
    return f"{number},ZQa,ZQb,2010-01-01,{entry},{left},{how}"


def students(*rows: str) -> str:
    return "\n".join([STUDENTS, *rows, ""])


def stands(district: District) -> list[tuple[Any, ...]]:
    """Number, school, entry, exit and origin of the enrolments that are not taken back; dates as text."""
    names = ("district_id", "school_id", "entry_date", "exit_date", "origin", "deleted_on")
    found = [
        (number, school, str(entry), left and str(left), origin)
        for number, school, entry, left, origin, deleted_on in district.rows("enrollments", *names)
        if deleted_on is None
    ]
    return sorted(found, key=str)


def assumed(district: District) -> int:
    with district.work.reading() as connection:
        return count_enrolments(connection, district.work).assumed


def marked(district: District, number: str) -> dt.date | None:
    """The first week from which on the student's vectors are marked by name."""
    return min((week for one, week in district.marks("student_features") if one == number), default=None)


@mostly_on_sqlite("order", list(itertools.permutations([1, 2, 3])), on_postgresql=2)
def test_each_entry_that_students_deliveries_say_is_an_enrolment_of_its_own(
    engine: sa.Engine, tmp_path: Path, order: tuple[int, ...]
) -> None:
    """None is overwritten by a later one; an exit ends the enrolment that holds it."""
    district = District(engine, tmp_path)
    district.land(1, students=students(student("ZQ1", "2025-08-25")))
    district.land(2, students=students(student("ZQ1", "2025-09-12", "2025-09-03", "transferred")))
    district.land(3, students=students(student("ZQ1", "2025-09-12")))
    for number in order:
        district.run(weeks=[FIRST_WEEK + (number - 1) * WEEK])
    assert stands(district) == [
        ("ZQ1", None, "2025-08-25", "2025-09-03", "student"),
        ("ZQ1", None, "2025-09-12", None, "student"),
    ]
    assert district.rows("enrollments", "exit_type") == ["transferred", None]
    # For people the newest dates stay with the student.
    assert district.rows("students", "enrollment_date", "exit_date") == [(DAY("2025-09-12"), None)]


def test_an_empty_exit_with_the_same_entry_opens_the_enrolment_again(district: District) -> None:
    district.land(1, students=students(student("ZQ1", "2025-08-25", "2025-09-10", "dropped_out")))
    district.run()
    assert stands(district) == [("ZQ1", None, "2025-08-25", "2025-09-10", "student")]
    district.forget_marks()
    district.land(2, students=students(student("ZQ1", "2025-08-25")))
    district.run()
    assert stands(district) == [("ZQ1", None, "2025-08-25", None, "student")]
    assert marked(district, "ZQ1") == week_start(DAY("2025-09-10"))


def test_an_exit_without_an_entry_ends_the_enrolment_that_holds_it(district: District) -> None:
    """A file of leavers alone; the exit before stays an exit when the child comes back and leaves again."""
    leavers = f"{STUDENT_HEADER},exit_date,exit_type"
    district.land(1, students=f"{STUDENT_HEADER},enrollment_date\nZQ1,ZQa,ZQb,2010-01-01,2025-08-25\n")
    district.land(2, students=f"{leavers}\nZQ1,ZQa,ZQb,2010-01-01,2025-09-10,other\n")
    district.land(4, students=f"{STUDENT_HEADER},enrollment_date\nZQ1,ZQa,ZQb,2010-01-01,2025-09-24\n")
    district.land(6, students=f"{leavers}\nZQ1,ZQa,ZQb,2010-01-01,2025-10-08,dropped_out\n")
    for number in (6, 4, 1, 2):
        district.run(weeks=[FIRST_WEEK + (number - 1) * WEEK])
    assert stands(district) == [
        ("ZQ1", None, "2025-08-25", "2025-09-10", "student"),
        ("ZQ1", None, "2025-09-24", "2025-10-08", "student"),
    ]
    assert district.rows("enrollments", "exit_type") == ["dropped_out", "other"]


def test_a_later_delivery_marks_nothing_before_the_facts_it_brings(district: District) -> None:
    district.land(1, students=students(student("ZQ1", "2025-08-25")))
    district.run()
    district.forget_marks()
    district.land(8, students=students(student("ZQ1", "2025-10-13")))
    district.run()
    assert marked(district, "ZQ1") == DAY("2025-10-13")
    district.forget_marks()
    district.land(9, schools="school_id\n1\n", enrollments=f"{ENROLLMENTS}\nZQ1,1,2025-10-20,\n")
    district.run()
    assert marked(district, "ZQ1") == DAY("2025-10-20")
    assert min(week for one, week in district.marks("student_features") if one is None) >= delivery_day(8)


def test_without_a_date_the_first_event_is_the_entry(district: District) -> None:
    district.land(3, students=students(student("ZQ1"), student("ZQ2", "2025-08-25")))
    district.run("students")
    assert stands(district) == [
        ("ZQ1", None, str(delivery_day(3)), None, "assumed"),
        ("ZQ2", None, "2025-08-25", None, "student"),
    ]
    assert assumed(district) == 1
    # It follows when earlier events arrive …
    district.land(3, attendance_records=f"{ATTENDANCE_HEADER}\nZQ1,2025-09-10,absent\nZQ2,2025-09-01,absent\n")
    district.run()
    assert stands(district)[0] == ("ZQ1", None, "2025-09-10", None, "assumed")
    assert marked(district, "ZQ1") == DAY("2025-09-08")
    district.forget_marks()
    district.land(4, grades="district_id,course_id,submission_date,source_record_id\nZQ1,ZQm,2025-09-04,g\n")
    district.run()
    assert stands(district)[0] == ("ZQ1", None, "2025-09-04", None, "assumed")
    assert marked(district, "ZQ1") == FIRST_WEEK
    # … and are taken back.
    district.forget_marks()
    district.land(5, grades="source_record_id,_deleted,district_id,course_id,submission_date\ng,true,,,\n")
    district.run()
    assert stands(district)[0] == ("ZQ1", None, "2025-09-10", None, "assumed")
    assert marked(district, "ZQ1") == FIRST_WEEK
    district.forget_marks()
    district.land(6, grades="district_id,course_id,submission_date\nZQ1,ZQm,2025-09-20\n")
    district.run()
    assert stands(district)[0] == ("ZQ1", None, "2025-09-10", None, "assumed")
    assert marked(district, "ZQ1") is None


def test_a_date_that_comes_later_ends_the_assumption_and_keeps_what_was_before(district: District) -> None:
    district.land(1, students=students(student("ZQ1"), student("ZQ2")))
    district.land(6, students=students(student("ZQ1", "2025-10-06"), student("ZQ2", "2025-08-25")))
    district.run("students")
    assert stands(district) == [
        ("ZQ1", None, str(delivery_day(1)), None, "assumed"),
        ("ZQ1", None, "2025-10-06", None, "student"),
        ("ZQ2", None, "2025-08-25", None, "student"),
        ("ZQ2", None, str(delivery_day(1)), None, "assumed"),  # without effect: what was said begins before it
    ]
    assert assumed(district) == 1


def test_an_exit_before_the_entry_is_said(district: District) -> None:
    district.land(1, students=students(student("ZQ1"), student("ZQ2")))
    district.land(1, enrollments=f"{ENROLLMENTS}\nZQ1,,2025-09-05,2025-09-01\nZQ2,,2025-09-05,2025-09-05\n")
    assert district.run()["enrollments"].report.warnings == {"exit_before_enrollment": 1}


def test_an_unknown_school_waits_and_loads_by_itself(district: District) -> None:
    district.land(1, students=students(student("ZQ1", "2025-08-25")), schools="school_id,name\n1,ZQ\n")
    district.land(1, enrollments=f"{ENROLLMENTS}\nZQ1,1,2025-08-25,2025-09-10\nZQ1,2,2025-09-10,\n")
    assert district.run()["enrollments"].counts == (2, 1, 0, 0, 1)
    assert district.reasons("enrollments") == {3: ["unknown_school"]}
    district.land(2, schools="school_id,name,lowest_grade\n2,ZQ,PK\n")
    district.run()
    assert district.reasons("enrollments") == {}
    assert [row for row in stands(district) if row[-1] == "sent"] == [
        ("ZQ1", "1", "2025-08-25", "2025-09-10", "sent"),
        ("ZQ1", "2", "2025-09-10", None, "sent"),
    ]
    assert district.rows("schools", "school_id", "name", "lowest_grade") == [("1", "ZQ", None), ("2", "ZQ", "PK")]


def test_without_schools_the_number_is_kept_unchecked(district: District) -> None:
    district.land(1, students=students(student("ZQ1", "2025-08-25")), enrollments=f"{ENROLLMENTS}\nZQ1,9,2025-08-25,\n")
    assert district.run()["enrollments"].counts == (1, 1, 0, 0, 0)


def test_enrolments_are_records_like_the_others(district: District) -> None:
    head = f"{ENROLLMENTS},is_primary,grade_level"
    district.land(1, students=students(student("ZQ1", "2025-08-25")))
    district.land(
        1,
        enrollments=f"{head}\nZQ1,1,2025-08-25,,Yes,7\nZQ1,1,2025-08-25,,1,07\nZQ1,2,2025-08-25,,maybe,7\nZQ7,1,x,,,\n",
    )
    assert district.run()["enrollments"].counts == (4, 1, 0, 1, 2)
    assert district.reasons("enrollments") == {4: ["type:is_primary"], 5: ["type:entry_date", "unknown_student"]}
    district.land(2, enrollments=f"{head}\nZQ1,1,2025-08-25,2025-09-12,,7\n")
    district.forget_marks()
    assert district.run(weeks=[FIRST_WEEK + WEEK])["enrollments"].counts == (1, 0, 1, 0, 0)
    assert marked(district, "ZQ1") == DAY("2025-09-08")
    assert district.rows("enrollments", "school_id", "exit_date", "is_primary", "delivered_on")[0] == (
        "1", DAY("2025-09-12"), None, delivery_day(2),
    )  # fmt: skip


@pytest.mark.parametrize("order", [(1, 2, 3), (1, 3, 2), (3, 2, 1)])
def test_a_sent_enrolment_takes_the_place_of_what_students_opened(
    engine: sa.Engine, tmp_path: Path, order: tuple[int, ...]
) -> None:
    district = District(engine, tmp_path)
    district.land(1, students=students(student("ZQ1", "2025-08-25")))
    district.land(2, enrollments=f"{ENROLLMENTS}\nZQ1,,2025-08-25,\n")
    district.land(3, enrollments=f"{ENROLLMENTS},_deleted\nZQ1,,2025-08-25,,true\n")
    for number in order:
        district.run(weeks=[FIRST_WEEK + (number - 1) * WEEK])
    district.run()
    (row,) = district.rows("enrollments", "origin", "entry_date", "delivered_on", "deleted_on")
    assert row == ("sent", DAY("2025-08-25"), delivery_day(2), delivery_day(3))


def test_a_mistyped_year_is_taken_back_by_file(district: District) -> None:
    district.land(1, students=students(student("ZQ1", "2015-08-25")))
    district.run()
    district.land(2, students=students(student("ZQ1", "2025-08-25")))
    district.land(2, enrollments="district_id,entry_date,_deleted\nZQ1,2015-08-25,true\n")
    assert district.run()["enrollments"].counts == (1, 0, 1, 0, 0)
    assert stands(district) == [("ZQ1", None, "2025-08-25", None, "student")]
    assert marked(district, "ZQ1") == week_start(DAY("2015-08-25"))
    # The file that was wrong, once more: what it says is known, and stays taken back.
    district.run()
    assert stands(district) == [("ZQ1", None, "2025-08-25", None, "student")]
    # A newer delivery that says it again brings it back.
    district.land(3, students=students(student("ZQ1", "2015-08-25")))
    district.run()
    assert [row[2] for row in stands(district)] == ["2015-08-25", "2025-08-25"]


def test_a_mistyped_year_is_taken_back_by_command(district: District) -> None:
    district.land(1, students=students(student("ZQ1", "2015-08-25")))
    district.run()
    district.forget_marks()
    take_back_enrolment(district.work, "ZQ1", DAY("2015-08-25"), None, "mistyped", delivery_day(1))
    assert stands(district) == [("ZQ1", None, str(delivery_day(1)), None, "assumed")]
    assert marked(district, "ZQ1") == week_start(DAY("2015-08-25"))
    district.land(2, students=students(student("ZQ1", "2025-08-25")))
    district.run()
    assert [row for row in stands(district) if row[-1] == "student"] == [("ZQ1", None, "2025-08-25", None, "student")]
    with engine_of(district).connect() as connection:
        kept = connection.scalars(sa.select(enrollments.c.taken_back_for).where(enrollments.c.deleted_on.is_not(None)))
        assert kept.all() == ["mistyped"]
    for entry, school in (("2015-08-25", None), ("2025-08-25", "1")):
        with pytest.raises(PermanentError, match="no such enrolment"):
            take_back_enrolment(district.work, "ZQ1", DAY(entry), school, "again", delivery_day(3))


def engine_of(district: District) -> sa.Engine:
    return district.engine


def test_a_corrected_file_of_the_same_delivery_replaces_what_it_said(district: District) -> None:
    district.land(1, students=students(student("ZQ1", "2015-08-25")))
    district.run()
    district.land(1, students=students(student("ZQ1", "2025-08-25")))
    district.run()
    assert stands(district) == [("ZQ1", None, "2025-08-25", None, "student")]


def test_a_snapshot_of_enrolments_takes_back_only_what_was_sent(district: District) -> None:
    whole = '{"snapshot": {"enrollments": {"from": "2025-08-01", "to": "2025-09-30"}}}'
    district.land(1, students=students(student("ZQ1", "2025-08-25")))
    district.land(1, enrollments=f"{ENROLLMENTS}\nZQ1,1,2025-08-25,\nZQ1,2,2025-08-25,\n")
    district.land(2, enrollments=f"{ENROLLMENTS}\nZQ1,1,2025-08-25,\n")
    (district.landing / str(delivery_day(2)) / "manifest.json").write_text(whole)
    district.run()
    assert [(row[1], row[-1]) for row in stands(district)] == [("1", "sent"), (None, "student")]


def test_an_enrolment_that_is_assumed_because_the_entry_was_taken_back_follows_the_events(district: District) -> None:
    district.land(1, students=students(student("ZQ1", "2025-08-25")))
    district.run()
    take_back_enrolment(district.work, "ZQ1", DAY("2025-08-25"), None, "a mistake", delivery_day(2))
    assert stands(district) == [("ZQ1", None, str(delivery_day(1)), None, "assumed")]
    district.land(2, attendance_records=f"{ATTENDANCE_HEADER}\nZQ1,2025-09-03,absent\n")
    district.run()
    assert stands(district) == [("ZQ1", None, "2025-09-03", None, "assumed")]


def test_an_entry_that_is_said_later_leaves_open_what_was_said_to_be_open(district: District) -> None:
    """An exit is taken back by deliveries without any entry; the first entry that is said changes nothing before it."""
    rows = [("", ""), ("", "2025-09-10"), ("", ""), ("2025-09-24", "")]
    for number, (entry, left) in enumerate(rows, start=1):
        district.land(number, students=students(student("ZQ1", entry, left)))
        district.run("students", weeks=[FIRST_WEEK + (number - 1) * WEEK])
    assert stands(district) == [
        ("ZQ1", None, "2025-09-08", None, "assumed"), ("ZQ1", None, "2025-09-24", None, "student")
    ]  # fmt: skip


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_an_assumed_enrolment_that_gives_way_to_a_sent_one_is_marked_once(
    engine: sa.Engine, tmp_path: Path, order: tuple[int, ...]
) -> None:
    """However often the delivery is looked at again, which one row of it asks for: what it takes back is not there."""
    district = District(engine, tmp_path)
    district.land(1, enrollments=f"{ENROLLMENTS},_deleted\nZQ1,1,2025-08-25,,\nZQ1,2,2025-09-03,,true\n")
    district.land(2, students=students(student("ZQ1")))
    for number in order:
        district.run(weeks=[FIRST_WEEK + (number - 1) * WEEK])
    assert [row[-1] for row in stands(district)] == ["sent", "assumed"]
    assert marked(district, "ZQ1") == DAY("2025-08-25")
    district.forget_marks()
    district.run()
    assert district.marks("student_features") == district.marks("weekly_activity") == set()
