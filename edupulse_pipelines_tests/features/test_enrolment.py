"""Who is enrolled when: intervals against days counted one by one, and what a gap, a transfer and a re-entry mean."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edupulse_pipelines.features import update_student_features, update_weekly_activity
from edupulse_pipelines.features.definitions import DOMAINS
from edupulse_pipelines.features.enrolment import OPEN, Students, count_enrolments, read_students
from edupulse_pipelines.features.school_calendar import SchoolCalendar
from edupulse_pipelines.features.vectors import feature_vectors
from edupulse_pipelines.schema.sqlalchemy_tables import enrollments, student_features, students
from edupulse_pipelines.storage.ids import new_ids
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines_tests.features.district import FIRST_WEEK, week
from edupulse_pipelines_tests.features.test_vectors import activity_row, districts, frame, same
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER, STUDENT_HEADER, delivery_day
from edupulse_pipelines_tests.ingest.district import District as Landed

_names = itertools.count()
BEGIN = dt.date(2025, 9, 1)
DAYS = 30


def day(number: int) -> dt.date:
    return BEGIN + dt.timedelta(days=number)


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "student": st.integers(0, 2),
            "school_id": st.sampled_from([None, "1", "2"]),
            "entry_date": st.integers(0, DAYS).map(day),
            "exit_date": st.one_of(st.none(), st.integers(0, DAYS).map(day)),
            "exit_type": st.sampled_from([None, "transferred", "dropped_out"]),
            "is_primary": st.sampled_from([None, True, False]),
            "origin": st.sampled_from(["sent", "student", "student", "assumed"]),
            "first_delivered_on": st.integers(0, 5).map(day),
            "deleted_on": st.sampled_from([None, None, None, BEGIN]),
        }
    ).map(lambda row: row if row["origin"] == "sent" else {**row, "school_id": None}),  # only those sent have one
    max_size=8,
    unique_by=lambda row: (row["student"], row["school_id"], row["entry_date"]),
)


def enrolled_days(rows: list[dict[str, Any]], number: int) -> set[int]:
    """The days (by number) on which a student is enrolled, counted one by one."""
    since = min((row["first_delivered_on"] for row in rows if row["origin"] == "sent"), default=dt.date.max)
    first_sent = min(
        (row["first_delivered_on"] for row in rows if row["origin"] == "sent" and row["student"] == number),
        default=dt.date.max,
    )
    opened_before = {"sent": dt.date.max, "student": since, "assumed": max(since, first_sent)}
    mine = [
        row
        for row in rows
        if row["student"] == number
        and row["deleted_on"] is None
        and row["first_delivered_on"] < opened_before[row["origin"]]
    ]
    said = sorted(row["entry_date"] for row in mine if row["origin"] == "student")
    sent = min((row["entry_date"] for row in mine if row["origin"] == "sent"), default=dt.date.max)
    found = set()
    for row in mine:
        until = row["exit_date"] or dt.date.max
        if row["origin"] != "sent":
            until = min(until, sent)
        else:
            at_school = [one for one in mine if (one["origin"], one["school_id"]) == ("sent", row["school_id"])]
            until = min([until, *(one["entry_date"] for one in at_school if one["entry_date"] > row["entry_date"])])
        if row["origin"] == "student":
            until = min([until, *(entry for entry in said if entry > row["entry_date"])])
        if row["origin"] == "assumed":
            until = min([until, *said])
        found |= {number for number in range(DAYS + 5) if row["entry_date"] <= day(number) < until}
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_the_intervals_are_the_days_counted_one_by_one(engine: sa.Engine, rows: list[dict[str, Any]]) -> None:
    name, ids = f"e{next(_names)}", sorted(new_ids(3))
    person = {"tenant_id": name, "first_name": "A", "last_name": "B", "date_of_birth": BEGIN, "delivered_on": BEGIN}
    with engine.begin() as connection:
        connection.execute(
            sa.insert(students), [{**person, "id": one, "district_id": str(place)} for place, one in enumerate(ids)]
        )
        made = [
            {**{k: v for k, v in row.items() if k != "student"}, "id": one, "tenant_id": name,
             "student_id": ids[row["student"]], "delivered_on": BEGIN}
            for one, row in zip(new_ids(len(rows)), rows, strict=True)
        ]  # fmt: skip
        if made:
            connection.execute(sa.insert(enrollments), made)
        people = read_students(connection, Work(engine, name))
    for place in range(3):
        mine = {number for number in range(DAYS + 5) if people.enrolled_on(np.datetime64(day(number), "D"))[place]}
        assert mine == enrolled_days(rows, place)
        part = people[[place]].enrolled
        assert (part.starts < part.ends).all() and (part.ends[:-1] < part.starts[1:]).all()
        last = max(mine, default=None)
        assert people.left[[place]].tolist() == [None if last in (None, DAYS + 4) else day(last + 1)]


@settings(max_examples=25, deadline=None)
@given(district=districts(), data=st.data())
def test_cutting_an_enrolment_in_two_changes_no_feature(district: Any, data: st.DataObject) -> None:
    people, activity, calendar = district
    pieces = []
    for row in people.to_dict("records"):
        cut = row["enrollment_date"] + dt.timedelta(days=data.draw(st.integers(0, 60)))
        left = None if pd.isna(row["exit_date"]) else row["exit_date"]
        pieces.append({**row, "exit_date": cut if left is None else min(cut, left)})
        pieces.append({**row, "enrollment_date": cut, "exit_date": left})
    whole = feature_vectors(people, activity, calendar, calendar.weeks)
    same(feature_vectors(pd.DataFrame(pieces), activity, calendar, calendar.weeks), whole)


def test_a_gap_is_a_gap_and_the_history_goes_on() -> None:
    weeks = tuple(week(number) for number in range(10))
    calendar = SchoolCalendar(weeks, dict.fromkeys(DOMAINS, weeks[0]), weeks[-1])
    people = pd.DataFrame(
        {
            "student_id": ["a", "a"],
            "enrollment_date": [week(0), week(6)],
            "exit_date": [week(3), None],
        }
    )
    rows = [activity_row("a", monday, sessions_present=4, sessions_absent=1, incident_count=1) for monday in weeks]
    rows[4]["sessions_absent"] = 400  # in the gap, at another district's school: not ours
    found = feature_vectors(people, frame(rows), calendar, weeks).set_index("feature_date")
    positions = [weeks.index(day - dt.timedelta(days=6)) for day in found.index]
    assert positions == [0, 1, 2, 6, 7, 8, 9]
    assert found["weeks_of_data"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    # Windows are school weeks of the calendar: the last four before the re-entry hold one week of the child.
    assert found["incidents_4w"].tolist() == [1, 2, 3, 1, 2, 3, 4]
    assert found["incidents_8w"].tolist() == [1, 2, 3, 4, 5, 5, 5]
    assert found["attendance_rate_4w"].tolist() == [0.8] * 7
    assert found["behavioral_week_2"].isna().tolist() == [True, True, False, True, True, False, False]


def test_who_left_and_why_is_read_from_the_end_of_the_union() -> None:
    pieces = [("2025-09-01", "2025-10-01", "transferred"), ("2025-10-01", "2025-11-01", "dropped_out")]
    starts, ends, how = zip(*pieces, strict=True)
    from edupulse_pipelines.features.enrolment import joined

    intervals = joined(
        1,
        np.zeros(2, dtype=np.int64),
        np.array(starts, "datetime64[D]"),
        np.array(ends, "datetime64[D]"),
        np.array(how, dtype=object),
    )
    people = Students(np.array([b"x"]), intervals)
    assert people.frame()[["enrollment_date", "exit_date", "exit_type"]].astype(str).values.tolist() == [
        ["2025-09-01", "2025-11-01", "dropped_out"]
    ]
    assert OPEN not in intervals.ends


def test_a_new_entry_date_does_not_wipe_the_history(engine: sa.Engine, tmp_path: Path) -> None:
    """A child changes school inside the district, and the source gives the new entry date from then on."""
    district = Landed(engine, tmp_path)
    head = f"{STUDENT_HEADER},enrollment_date"
    district.land(1, students=f"{head}\nZQ1,ZQa,ZQb,2010-01-01,2025-08-25\n")
    days = [BEGIN + dt.timedelta(days=number) for number in range(0, 35, 7)]
    district.land(5, attendance_records="\n".join([ATTENDANCE_HEADER, *(f"ZQ1,{one},absent" for one in days), ""]))
    district.run()
    before = vectors(district)
    assert len(before) == 5
    district.land(6, students=f"{head}\nZQ1,ZQa,ZQb,2010-01-01,2025-10-06\n")
    district.land(6, attendance_records=f"{ATTENDANCE_HEADER}\nZQ1,2025-10-06,present\n")
    district.run()
    after = vectors(district)
    assert {sunday: vector for sunday, vector in after.items() if sunday in before} == before
    newest = after[max(after)]
    assert (len(after), newest["metadata"]["weeks_of_data"]) == (6, 6)
    assert newest["features"]["attendance_rate_4w"] == 0.25


def vectors(district: Landed) -> dict[dt.date, Any]:
    """The stored vectors of the only student after everything is brought up to date, by Sunday."""
    update_weekly_activity(district.work, district.tenant.first_week)
    update_student_features(district.work, district.tenant.first_week)
    table = student_features.c
    query = sa.select(table.feature_date, table.feature_vector).where(table.tenant_id == district.tenant.name)
    with district.engine.connect() as connection:
        return {sunday: json.loads(json.dumps(vector)) for sunday, vector in connection.execute(query)}


@pytest.mark.parametrize("cut", [False, True])
def test_a_year_to_date_first_load_counts_from_the_first_event(engine: sa.Engine, tmp_path: Path, cut: bool) -> None:
    """No entry date is sent: what is recorded says since when the child is there."""
    district = Landed(engine, tmp_path)
    days = [BEGIN + dt.timedelta(days=number) for number in range(0, 42, 7)]
    lines = [f"ZQ1,{one},absent" for one in days]
    district.land(6, students=f"{STUDENT_HEADER}\nZQ1,ZQa,ZQb,2010-01-01\n")
    if cut:  # whatever order it comes in
        district.land(6, attendance_records="\n".join([ATTENDANCE_HEADER, *lines[3:], ""]))
        district.run()
        vectors(district)
        district.land(7, attendance_records="\n".join([ATTENDANCE_HEADER, *lines[:3], ""]))
    else:
        district.land(6, attendance_records="\n".join([ATTENDANCE_HEADER, *lines, ""]))
        district.land(7, attendance_records=f"{ATTENDANCE_HEADER}\n")
    district.run()
    found = vectors(district)
    assert [found[sunday]["metadata"]["weeks_of_data"] for sunday in sorted(found)][:6] == [1, 2, 3, 4, 5, 6]
    with engine.connect() as connection:
        counts = count_enrolments(connection, district.work)
    assert (counts.assumed, counts.never) == (1, 0)


def test_a_child_of_whom_no_enrolment_is_sent_is_not_taken_for_absent(engine: sa.Engine, tmp_path: Path) -> None:
    """Of ZQ2 nobody says since when; its first event does, until an enrolment of it is sent."""
    district = Landed(engine, tmp_path)
    district.land(1, students=f"{STUDENT_HEADER}\nZQ1,ZQa,ZQb,2010-01-01\nZQ2,ZQa,ZQb,2010-01-01\n")
    district.land(1, enrollments="district_id,school_id,entry_date\nZQ1,1,2025-09-05\n")
    district.land(1, attendance_records=f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,absent\nZQ2,2025-09-02,absent\n")
    district.run()
    assert entries(district) == {"ZQ1": ["2025-09-05"], "ZQ2": ["2025-09-02"]}
    vectors(district)
    district.forget_marks()
    district.land(3, enrollments="district_id,school_id,entry_date\nZQ2,1,2025-09-15\n")
    district.run()
    assert entries(district) == {"ZQ1": ["2025-09-05"], "ZQ2": ["2025-09-02"]}
    district.forget_marks()
    district.land(1, **{"enrollments__late": "district_id,school_id,entry_date\nZQ2,1,2025-09-15\n"})
    district.run()
    assert entries(district)["ZQ2"] == ["2025-09-15"]
    assert ("ZQ2", dt.date(2025, 9, 1)) in district.marks("student_features")


def entries(district: Landed) -> dict[str, list[str]]:
    """By number the days on which intervals of enrolment begin."""
    with district.engine.connect() as connection:
        people = read_students(connection, district.work)
    numbers = dict(zip(district.rows("students", "id"), district.rows("students", "district_id"), strict=True))
    by_id = {as_id.hex: number for as_id, number in numbers.items()}
    return {
        by_id[bytes(one).decode().replace("-", "")]: people[[place]].enrolled.starts.astype(str).tolist()
        for place, one in enumerate(people.ids)
    }


def test_who_has_records_and_no_enrolment_is_counted(engine: sa.Engine, tmp_path: Path) -> None:
    district = Landed(engine, tmp_path)
    head = f"{STUDENT_HEADER},enrollment_date"
    district.land(1, students=f"{head}\nZQ1,ZQa,ZQb,2010-01-01,2025-08-25\nZQ2,ZQa,ZQb,2010-01-01,2025-08-25\n")
    district.land(1, enrollments="district_id,school_id,entry_date\nZQ1,1,2025-08-25\n")
    district.land(1, attendance_records=f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,absent\nZQ2,2025-09-02,absent\n")
    district.run()
    assert len(vectors(district)) == 1
    with engine.connect() as connection:
        counts = count_enrolments(connection, district.work)
    assert (counts.assumed, counts.never) == (0, 1)
    assert delivery_day(1) > FIRST_WEEK
