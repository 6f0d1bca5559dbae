"""Deliveries over time: late students, repeats, corrections, and deliveries that are loaded in another order."""

from __future__ import annotations

import datetime as dt

import pytest

from edupulse_pipelines_tests.ingest.district import (
    ATTENDANCE_HEADER,
    FIRST_WEEK,
    STUDENT_HEADER,
    District,
    delivery_day,
)

pytestmark = pytest.mark.usefixtures("quick_judge")

WEEK_1, WEEK_2, WEEK_3 = (FIRST_WEEK + dt.timedelta(weeks=number) for number in range(3))
DAY_1, DAY_2, DAY_3 = (delivery_day(number) for number in (1, 2, 3))
STUDENT_1 = "ZQ1,ZQa,ZQb,2010-01-01"
GRADE_HEADER = "source_record_id,district_id,course_id,submission_date,grade_value"


def test_rows_of_an_unknown_student_wait_for_the_student(district: District) -> None:
    district.enrol("ZQ1")
    attendance = f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,present\nZQ2,2025-09-02,absent\nZQ3,2025-09-03,absent\n"
    district.land(
        1, attendance_records=attendance, grades=f"{GRADE_HEADER}\n,ZQ2,ZQm,2025-09-03,50\n,ZQ2,ZQm,2025-09-04,101\n"
    )
    done = district.run(weeks=[WEEK_1])
    assert done["attendance_records"].counts == (3, 1, 0, 0, 2)
    assert done["attendance_records"].delivery.reasons == {"unknown_student": 2}
    assert (done["attendance_records"].delivery.waiting, done["attendance_records"].delivery.bad) == (2, 0)
    assert done["grades"].counts == (2, 0, 0, 0, 2)
    assert (done["grades"].delivery.waiting, done["grades"].delivery.bad) == (1, 1)  # one of them is bad as well
    assert district.reasons("grades")[3] == ["range:grade_value", "unknown_student"]
    district.forget_marks()

    district.land(2, students=f"{STUDENT_HEADER}\nZQ2,ZQa,ZQb,2010-01-01\n", attendance_records=attendance)
    done = district.run(weeks=[WEEK_2])
    # The row is loaded for its first delivery, whose account is corrected, before the same file says it again.
    assert done["attendance_records"].report.replayed == 1
    assert done["attendance_records"].counts == (3, 0, 0, 2, 1)
    assert done["grades"].report.replayed == 1
    assert district.reasons("grades") == {3: ["range:grade_value"]}
    assert [
        (row["delivered_on"], row["rows_inserted"], row["rows_unchanged"], row["rows_quarantined"])
        for row in district.manifest()
        if row["table_name"] == "grades"
    ] == [(DAY_1, 1, 0, 1)]
    assert {
        row["line_number"]: row["replayed_at"] is not None for row in district.quarantine("grades", everything=True)
    } == {2: True, 3: False}
    assert district.rows("grades", "district_id", "grade_value", "delivered_on") == [("ZQ2", 50, DAY_1)]
    assert district.marks("weekly_activity") == {("ZQ2", WEEK_1)}
    # Without an enrolment date the delivery's date stands for it.
    assert ("ZQ2", WEEK_3) in district.marks("student_features")
    assert district.run(weeks=[WEEK_1, WEEK_2])["grades"].report.replayed == 0


def test_a_file_delivered_twice_frees_its_waiting_rows_once(district: District) -> None:
    """One content, two deliveries, one quarantined row: both accounts are corrected, the newest delivery is kept."""
    attendance = f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,present\nZQ2,2025-09-02,present\n"
    district.land(1, attendance_records=attendance)
    district.land(2, attendance_records=attendance)
    done = district.run()
    assert done["attendance_records"].counts == (4, 0, 0, 0, 4)
    assert len(district.quarantine()) == 2
    district.land(3, students=f"{STUDENT_HEADER}\n{STUDENT_1}\n")
    assert district.run(weeks=[WEEK_3])["attendance_records"].report.replayed == 1
    assert [
        (row["delivered_on"], row["rows_inserted"], row["rows_unchanged"], row["rows_quarantined"])
        for row in district.manifest()
        if row["table_name"] == "attendance_records"
    ] == [(DAY_1, 1, 0, 1), (DAY_2, 0, 1, 1)]
    assert district.rows("attendance_records", "district_id", "delivered_on") == [("ZQ1", DAY_2)]
    assert district.run()["attendance_records"].counts == (4, 0, 0, 2, 2)


def test_the_same_file_again(district: District) -> None:
    """In the same delivery, in a later one, and in an earlier one that is loaded afterwards."""
    district.enrol("ZQ1")
    content = f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,present\nZQ1,2025-09-03,late\n"
    district.land(2, attendance_records=content)
    weeks = [WEEK_2]
    assert district.run("attendance_records", weeks=weeks)["attendance_records"].counts == (2, 1, 0, 0, 1)
    assert district.run("attendance_records", weeks=weeks)["attendance_records"].counts == (2, 0, 0, 1, 1)
    district.forget_marks()
    for number, newest in ((3, DAY_3), (1, DAY_3)):
        district.land(number, attendance_records=content)
        loaded = district.run("attendance_records", weeks=[FIRST_WEEK + dt.timedelta(weeks=number - 1)])
        assert loaded["attendance_records"].counts == (2, 0, 0, 1, 1)
        assert loaded["attendance_records"].delivery.reasons == {"values:status": 1}
        assert district.rows("attendance_records", "delivered_on") == [newest]
    assert len(district.quarantine(everything=True)) == 1
    assert district.marks("weekly_activity") == set(), "nothing to recompute but the weeks that became weeks with data"
    assert district.marks("student_features") == {(None, WEEK_1), (None, WEEK_3)}


GPA_DELIVERIES = {
    1: f"{STUDENT_HEADER},gpa,gender,grade_level\n{STUDENT_1},3.0,ZQf,9\n",
    2: f"{STUDENT_HEADER},gender,gpa\n{STUDENT_1},,3.5\n",
    3: f"{STUDENT_HEADER},parent_contact\n{STUDENT_1},ZQcall\n",
}


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_the_newest_delivery_wins_field_by_field(district: District, order: tuple[int, ...]) -> None:
    """An absent column leaves the stored value, an empty field sets NULL, whatever the order of loading."""
    for number in order:
        district.land(number, students=GPA_DELIVERIES[number])
        district.run("students", weeks=[FIRST_WEEK + dt.timedelta(weeks=number - 1)])
    columns = ("gpa", "gender", "grade_level", "parent_contact", "enrollment_date", "delivered_on")
    assert district.rows("students", *columns) == [(3.5, None, 9, "ZQcall", DAY_1, DAY_3)]
    assert district.rows("students", "field_deliveries") == [
        {"gpa": "2025-09-15", "gender": "2025-09-15", "grade_level": "2025-09-08"}
        | dict.fromkeys(
            ("ethnicity", "socioeconomic_status", "attendance_rate", "enrollment_date", "exit_date", "exit_type"), None
        )
        | {"student_metadata": None}
    ]


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_a_correction_and_the_older_delivery_after_it(district: District, order: tuple[int, ...]) -> None:
    district.enrol("ZQ1", "ZQ2")
    files = {
        1: {
            "attendance_records": f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,absent\n",
            "grades": f"{GRADE_HEADER}\ng1,ZQ1,ZQm,2025-09-03,50\n,ZQ1,ZQm,2025-09-03,60\n",
        },
        2: {
            "attendance_records": f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,excused\n",
            # The score and the day were wrong; without an id a new score is a new row.
            "grades": f"{GRADE_HEADER}\ng1,ZQ1,ZQm,2025-09-10,55\n,ZQ1,ZQm,2025-09-03,65\n",
        },
    }
    for number in order:
        district.land(number, **files[number])
        done = district.run(weeks=[FIRST_WEEK + dt.timedelta(weeks=number - 1)])
    assert done["attendance_records"].counts == ((1, 0, 1, 0, 0) if order == (1, 2) else (1, 0, 0, 1, 0))
    assert district.rows("attendance_records", "status", "delivered_on") == [("excused", DAY_2)]
    assert sorted(district.rows("grades", "district_id", "submission_date", "grade_value", "delivered_on")) == [
        ("ZQ1", dt.date(2025, 9, 3), 60, DAY_1),
        ("ZQ1", dt.date(2025, 9, 3), 65, DAY_2),
        ("ZQ1", dt.date(2025, 9, 10), 55, DAY_2),
    ]
    # What was and what is now, both have to be recomputed.
    assert district.marks("weekly_activity") == {("ZQ1", WEEK_1), ("ZQ1", WEEK_2)}


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_the_first_delivery_stands_for_a_missing_enrolment_date(district: District, order: tuple[int, ...]) -> None:
    """Also when both deliveries are one and the same file, and when the field is there but empty."""
    files = {1: f"{STUDENT_HEADER}\n{STUDENT_1}\n", 2: f"{STUDENT_HEADER},enrollment_date\n{STUDENT_1},\n"}
    same = f"{STUDENT_HEADER}\nZQ2,ZQa,ZQb,2010-01-01\n"
    for number in order:
        district.land(number, students=files[number], students__2=same)
        district.run("students", weeks=[FIRST_WEEK + dt.timedelta(weeks=number - 1)])
    columns = ("district_id", "enrollment_date", "delivered_on")
    assert district.rows("students", *columns) == [("ZQ1", DAY_1, DAY_2), ("ZQ2", DAY_1, DAY_2)]
    marks = district.marks("student_features")
    assert {("ZQ1", WEEK_2), ("ZQ2", WEEK_2)} <= marks, "the week that contains the first delivery's date"
    district.land(3, students=f"{STUDENT_HEADER},enrollment_date\n{STUDENT_1},2025-08-04\n")
    district.run("students", weeks=[WEEK_3])
    assert district.rows("students", *columns)[0] == ("ZQ1", dt.date(2025, 8, 4), DAY_3)
    assert ("ZQ1", dt.date(2025, 8, 4)) in district.marks("student_features")


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_a_known_content_that_could_not_be_loaded_is_tried_in_its_other_delivery(
    district: District, order: tuple[int, ...]
) -> None:
    """The later delivery contradicts the file that it shares with the earlier one."""
    district.enrol("ZQ1")
    shared = f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,present\n"
    files = {
        1: {"attendance_records": shared},
        2: {"attendance_records": shared, "attendance_records__b": f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,absent\n"},
    }
    for number in order:
        district.land(number, **files[number])
        district.run("attendance_records", weeks=[FIRST_WEEK + dt.timedelta(weeks=number - 1)])
    assert district.rows("attendance_records", "status", "delivered_on") == [("present", DAY_1)]


def test_a_corrected_file_of_the_same_name_replaces_the_old_one(district: District) -> None:
    district.enrol("ZQ1", "ZQ2")
    old = f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,present\nZQ2,2025-09-02,presnt\nZQ9,2025-09-02,present\n"
    district.land(1, attendance_records=old)
    assert district.run()["attendance_records"].counts == (3, 1, 0, 0, 2)
    district.land(1, attendance_records=f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,tardy\nZQ2,2025-09-02,present\n")
    assert district.run()["attendance_records"].counts == (2, 1, 1, 0, 0)
    assert [row["status"] for row in district.manifest()] == ["superseded", "loaded"]
    assert district.rows("attendance_records", "district_id", "status") == [("ZQ1", "tardy"), ("ZQ2", "present")]
    assert district.quarantine() == []
    assert [row["superseded_at"] is not None for row in district.quarantine(everything=True)] == [True, True]
    # A student whose only rows were taken back does not bring them in.
    district.land(2, students=f"{STUDENT_HEADER}\nZQ9,ZQa,ZQb,2010-01-01\n")
    assert district.run()["attendance_records"].report.replayed == 0
    # Back again: it is the newest word on this delivery.
    district.land(1, attendance_records=old)
    assert district.run(weeks=[WEEK_1])["attendance_records"].counts == (3, 1, 1, 0, 1)
    assert dict(district.rows("attendance_records", "district_id", "status"))["ZQ1"] == "present"
    assert [row["status"] for row in district.manifest() if row["table_name"] == "attendance_records"] == [
        "superseded",
        "loaded",
    ]
    assert [row["reasons"] for row in district.quarantine()] == [["values:status"]]


def test_a_replacement_that_is_known_from_a_later_delivery_replaces_all_the_same(district: District) -> None:
    district.enrol("ZQ1")
    right = f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,tardy\n"
    district.land(1, attendance_records=f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,late\n")
    district.land(2, attendance_records=right)
    district.run("attendance_records")
    district.land(1, attendance_records=right)
    assert district.run("attendance_records")["attendance_records"].counts == (2, 0, 0, 2, 0)
    assert sorted(row["status"] for row in district.manifest()) == ["loaded", "loaded", "superseded"]
    assert district.quarantine() == []


def test_an_archived_content_that_was_replaced_before_it_was_loaded_is_not_loaded(district: District) -> None:
    from edupulse_pipelines.ingest.archive import archive_files

    district.enrol("ZQ1")
    right, wrong = (f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,{status}\n" for status in ("present", "absent"))
    district.land(1, attendance_records=right)
    district.run("attendance_records")
    district.land(1, attendance_records=wrong)
    archive_files(district.work, district.raw, district.tenant, "attendance_records", [WEEK_1])
    district.land(1, attendance_records=right)
    assert district.run("attendance_records")["attendance_records"].counts == (1, 0, 0, 1, 0)
    assert district.rows("attendance_records", "status") == ["present"]
    assert [row["status"] for row in district.manifest()] == ["loaded", "superseded"]


def test_rows_without_an_id_of_their_own_are_counted_not_merged(district: District) -> None:
    """Two equal rows are two records, in every delivery the same two; a third one is new."""
    district.enrol("ZQ1")
    header = "district_id,incident_date,severity_level"
    row = "ZQ1,2025-09-02,2\n"
    district.land(1, discipline_incidents=f"{header}\n{row}{row}")
    district.land(2, discipline_incidents=f"{header},incident_type\n{row.strip()},\n{row.strip()},\n{row.strip()},\n")
    done = district.run("discipline_incidents")["discipline_incidents"]
    assert [(d.read, d.inserted, d.unchanged) for d in done.report.deliveries] == [(2, 2, 0), (3, 1, 2)]


def test_two_districts_share_nothing(district: District, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Equal files, equal numbers: one district's students, contents and quarantine mean nothing to the other."""
    other = District(district.engine, tmp_path_factory.mktemp("other"), name="hillside")
    files = {"attendance_records": f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,present\nZQ1,2025-09-03,late\n"}
    district.enrol("ZQ1")
    for each, counts in ((district, (2, 1, 0, 0, 1)), (other, (2, 0, 0, 0, 2))):
        each.land(1, **files)
        assert each.run("attendance_records")["attendance_records"].counts == counts
    assert [len(each.quarantine()) for each in (district, other)] == [1, 2]


def test_a_record_that_moves_marks_where_it_was_and_where_it_is(district: District) -> None:
    district.enrol("ZQ1")
    district.land(1, grades=f"{GRADE_HEADER}\ng1,ZQ1,ZQm,2025-09-03,50\n")
    district.run("grades")
    district.forget_marks()
    district.land(2, grades=f"{GRADE_HEADER}\ng1,ZQ1,ZQm,2025-09-10,50\n")
    assert district.run("grades", weeks=[WEEK_2])["grades"].counts == (1, 0, 1, 0, 0)
    assert district.marks("weekly_activity") == {("ZQ1", WEEK_1), ("ZQ1", WEEK_2)}


def test_a_record_cannot_move_to_another_student(district: District) -> None:
    district.enrol("ZQ1", "ZQ2")
    district.land(1, grades=f"{GRADE_HEADER}\ng1,ZQ1,ZQm,2025-09-03,50\n")
    district.run("grades")
    district.land(2, grades=f"{GRADE_HEADER}\ng1,ZQ2,ZQm,2025-09-10,50\n")
    assert district.run("grades", weeks=[WEEK_2])["grades"].counts == (1, 0, 0, 0, 1)
    assert [row["reasons"] for row in district.quarantine()] == [["moved_student"]]
    assert district.rows("grades", "district_id", "grade_value") == [("ZQ1", 50)]


def test_one_file_of_students_as_an_older_delivery_is_their_first(district: District) -> None:
    same = f"{STUDENT_HEADER}\n{STUDENT_1}\n"
    for number, counts in ((2, (1, 1, 0, 0, 0)), (1, (1, 0, 1, 0, 0))):
        district.land(number, students=same)
        loaded = district.run("students", weeks=[FIRST_WEEK + dt.timedelta(weeks=number - 1)])["students"]
        assert loaded.counts == counts
    assert district.rows("students", "enrollment_date", "delivered_on") == [(DAY_1, DAY_2)]


def test_a_row_that_came_too_early_is_good_when_its_file_comes_again(district: District) -> None:
    """Its entry in quarantine is closed by the delivery that loads it."""
    district.enrol("ZQ1")
    early = f"{ATTENDANCE_HEADER}\nZQ1,2025-09-10,present\n"
    district.land(1, attendance_records=early)
    assert district.run("attendance_records")["attendance_records"].counts == (1, 0, 0, 0, 1)
    assert district.reasons("attendance_records") == {2: ["future_date"]}
    district.land(2, attendance_records=early)
    assert district.run("attendance_records", weeks=[WEEK_2])["attendance_records"].counts == (1, 1, 0, 0, 0)
    (entry,) = district.quarantine(everything=True)
    assert entry["replayed_at"] is not None
    assert district.run("attendance_records")["attendance_records"].counts == (2, 0, 0, 2, 0)
