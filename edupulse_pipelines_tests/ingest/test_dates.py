"""Events of long ago: what is held back, what is exempt, what is stored; and what the manifest notes of weeks."""

from __future__ import annotations

import datetime as dt

from edupulse_pipelines.ingest.load import replay_quarantine
from edupulse_pipelines.storage.counts import rows_before
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER, FIRST_WEEK, STUDENT_HEADER, District

INCIDENTS = "district_id,incident_date,severity_level"


def test_an_event_of_long_ago_is_held_back_and_births_and_entries_are_not(district: District) -> None:
    district.land(
        1,
        students=f"{STUDENT_HEADER},enrollment_date\nZQ1,ZQa,ZQb,1927-01-01,1985-09-01\nZQ2,ZQa,ZQb,2010-01-01,\n",
        attendance_records=f"{ATTENDANCE_HEADER}\nZQ1,0203-09-02,present\nZQ1,2025-09-02,present\n",
        discipline_incidents=f"{INCIDENTS}\nZQ1,2025-09-02,2\nZQ2,1027-10-06,1\nZQ2,2023-09-01,1\n",
    )
    done = district.run()
    assert done["students"].counts == (2, 2, 0, 0, 0)
    assert district.reasons("attendance_records") == {2: ["too_old"]}
    assert district.reasons("discipline_incidents") == {3: ["too_old"]}
    assert done["discipline_incidents"].delivery.waiting == 0


def test_what_is_meant_is_loaded_after_the_setting_says_so(district: District) -> None:
    district.enrol("ZQ1")
    district.land(1, discipline_incidents=f"{INCIDENTS}\nZQ1,2020-09-02,2\n")
    district.run("discipline_incidents")
    assert district.reasons("discipline_incidents") == {2: ["too_old"]}
    district.tenant = district.tenant.model_copy(update={"earliest_date": dt.date(2020, 1, 1)})
    assert replay_quarantine(district.work, district.raw, district.tenant)["discipline_incidents"].loaded == 1
    assert district.rows("discipline_incidents", "incident_date") == [dt.date(2020, 9, 2)]


def test_what_is_stored_already_stays_and_is_counted(district: District) -> None:
    """As before there was a first day: the row is stored, and comes again."""
    district.enrol("ZQ1")
    no_limit = district.tenant
    district.tenant = no_limit.model_copy(update={"earliest_date": dt.date.min})
    rows = "ZQ1,2025-09-02,present\nZQ1,1025-09-02,present\n"
    district.land(1, attendance_records=f"{ATTENDANCE_HEADER}\n{rows}")
    district.run("attendance_records")
    district.tenant = no_limit
    district.land(2, attendance_records=f"{ATTENDANCE_HEADER}\n{rows}ZQ1,2025-09-09,present\n")
    done = district.run("attendance_records", weeks=[FIRST_WEEK + dt.timedelta(weeks=1)])["attendance_records"]
    assert done.counts == (3, 1, 0, 1, 1)
    with district.engine.connect() as connection:
        assert rows_before(connection, district.work, "attendance_records", no_limit.no_event_before) == 1
        assert rows_before(connection, district.work, "students", no_limit.no_event_before) == 0


def test_the_manifest_notes_the_weeks_of_each_files_rows(district: District) -> None:
    district.enrol("ZQ1")
    rows = "ZQ1,2025-09-02,2\nZQ1,2025-09-07,2\nZQ9,2025-08-31,2\nZQ1,1025-09-02,2\nZQ1,2025-09-09,2\nZQ1,soon,2\n"
    district.land(1, discipline_incidents=f"{INCIDENTS}\n{rows}", discipline_incidents__b=f"{INCIDENTS}\n")
    district.run("discipline_incidents", "students")
    district.land(2, discipline_incidents=f"{INCIDENTS}\n{rows}")  # known by its content
    district.run("discipline_incidents", weeks=[FIRST_WEEK + dt.timedelta(weeks=1)])
    weeks = {"2025-08-25": 1, "2025-09-01": 2}
    assert [row["rows_by_week"] for row in district.manifest()] == [{}, weeks, {**weeks, "2025-09-08": 1}]


def test_history_marks_every_student_from_its_first_week_on(district: District) -> None:
    district.enrol("ZQ1", "ZQ2")
    district.land(2, discipline_incidents=f"{INCIDENTS}\nZQ1,2025-09-08,2\n")
    district.run("discipline_incidents")
    district.forget_marks()
    district.land(3, discipline_incidents=f"{INCIDENTS}\nZQ1,2025-09-02,2\nZQ1,2025-09-03,2\nZQ1,2025-09-15,2\n")
    district.run("discipline_incidents", weeks=[FIRST_WEEK + dt.timedelta(weeks=2)])
    assert (None, FIRST_WEEK) in district.marks("student_features")
    district.forget_marks()
    district.land(3, discipline_incidents=f"{INCIDENTS}\nZQ1,2025-09-15,2\n")  # corrected: it brings no history
    district.run("discipline_incidents", weeks=[FIRST_WEEK + dt.timedelta(weeks=2)])
    assert (None, FIRST_WEEK) in district.marks("student_features")
