"""Which piece of work a grade is for, and by when it was due: columns that a district may begin to send at any time."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import sqlalchemy as sa

from edupulse_pipelines.settings import ProfileSettings
from edupulse_pipelines_tests.ingest.district import District

HEADER = "district_id,course_id,submission_date,grade_value"
DUE = dt.date(2025, 9, 5)


def test_a_row_that_begins_to_say_them_is_the_same_record_updated(engine: sa.Engine, tmp_path: Path) -> None:
    district = District(engine, tmp_path)
    district.enrol("ZQ1")
    district.land(1, grades=f"{HEADER}\nZQ1,m,2025-09-04,80\n")
    assert district.run("grades")["grades"].counts == (1, 1, 0, 0, 0)
    before = district.rows("grades", "record_key", "id")
    district.land(2, grades=f"{HEADER},assignment_id,due_date\nZQ1,m,2025-09-04,80,w1,2025-09-05\n")
    assert district.run("grades")["grades"].counts[1:3] == (0, 1)
    assert district.rows("grades", "record_key", "id") == before
    # A file without the columns leaves them, one in which they are empty clears them.
    district.land(3, grades=f"{HEADER}\nZQ1,m,2025-09-04,80\n")
    district.run("grades")
    assert district.rows("grades", "assignment_id", "due_date") == [("w1", DUE)]
    district.land(4, grades=f"{HEADER},due_date\nZQ1,m,2025-09-04,80,\n")
    district.run("grades")
    assert district.rows("grades", "assignment_id", "due_date") == [("w1", None)]


def test_they_tell_no_rows_of_one_file_apart(engine: sa.Engine, tmp_path: Path) -> None:
    """Two equal grades for two pieces of work are two records; of one record two due dates are a conflict."""
    district = District(engine, tmp_path)
    district.enrol("ZQ1")
    twice = "ZQ1,m,2025-09-04,80,w1,2025-09-05\nZQ1,m,2025-09-04,80,w2,\n"
    district.land(1, grades=f"{HEADER},assignment_id,due_date\n{twice}")
    assert district.run("grades")["grades"].counts == (2, 2, 0, 0, 0)
    assert district.rows("grades", "assignment_id") == ["w1", "w2"]
    told = "r1,ZQ1,m,2025-09-11,80,w3,2025-09-12\nr1,ZQ1,m,2025-09-11,80,w3,2025-09-15\n"
    district.land(2, grades=f"source_record_id,{HEADER},assignment_id,due_date\n{told}")
    district.run("grades")
    assert district.reasons("grades") == {2: ["conflicting_duplicate"], 3: ["conflicting_duplicate"]}


def test_a_due_date_may_lie_anywhere_and_has_to_be_a_date(engine: sa.Engine, tmp_path: Path) -> None:
    district = District(engine, tmp_path)
    district.enrol("ZQ1")
    days = ["2026-06-01", "1999-01-01", "soon"]
    rows = "".join(f"ZQ1,m,2025-09-0{number},80,{day}\n" for number, day in enumerate(days, start=2))
    district.land(1, grades=f"{HEADER},due_date\n{rows}")
    district.run("grades")
    assert district.rows("grades", "due_date") == [dt.date(1999, 1, 1), dt.date(2026, 6, 1)]
    assert district.reasons("grades") == {4: ["type:due_date"]}


def test_the_profile_may_say_that_the_id_of_a_grade_names_the_work(engine: sa.Engine, tmp_path: Path) -> None:
    header = f"source_record_id,{HEADER}"
    rows = "q-7-ZQ1,ZQ1,m,2025-09-02,80\nplain,ZQ1,m,2025-09-03,80\n,ZQ1,m,2025-09-04,80\n"
    plain = District(engine, tmp_path)
    plain.enrol("ZQ1")
    plain.land(1, grades=f"{header}\n{rows}")
    plain.run("grades")
    assert plain.rows("grades", "assignment_id") == [None] * 3
    says_so = District(engine, tmp_path, name="riverside", profile={"assignment_from": "source_record_id"})
    says_so.enrol("ZQ1")
    says_so.land(1, grades=f"{header}\n{rows}")
    says_so.land(2, grades=f"{header},assignment_id\nq-8-ZQ1,ZQ1,m,2025-09-09,80,w9\nq-9-ZQ1,ZQ1,m,2025-09-10,80,\n")
    says_so.run("grades")
    assert says_so.rows("grades", "source_record_id", "assignment_id") == [
        ("plain", None),
        ("q-7-ZQ1", "q-7"),
        ("q-8-ZQ1", "w9"),
        ("q-9-ZQ1", "q-9"),
        (None, None),
    ]


def test_only_a_profile_that_says_so_has_files_loaded_again() -> None:
    says_so = ProfileSettings(assignment_from="source_record_id")
    assert says_so.fingerprint("grades") != ProfileSettings().fingerprint("grades")
    assert says_so.fingerprint("students") == ProfileSettings().fingerprint("students")
