"""The pure function: definitions, missing values, and independence of everything that must not matter."""

from __future__ import annotations

import datetime as dt
import math
import subprocess
import sys
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edupulse_pipelines.features import vectors as vectors_module
from edupulse_pipelines.features.definitions import DOMAINS, FEATURE_NAMES, FEATURES
from edupulse_pipelines.features.school_calendar import SchoolCalendar
from edupulse_pipelines.features.vectors import (
    ACTIVITY_MEASURES,
    VECTOR_COLUMNS,
    attendance_rate,
    feature_vectors,
    grade_points,
    vector_json,
)
from edupulse_pipelines_tests.features.district import FIRST_WEEK, week

property_test = settings(max_examples=40, deadline=None)


def activity_row(student: Any, monday: dt.date, **measures: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(ACTIVITY_MEASURES, 0) | {"grade_mean": None, "grade_lowest": None, "severity_highest": None}
    return {"student_id": student, "week_start": monday, **nothing, **measures}


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["student_id", "week_start", *ACTIVITY_MEASURES])


@st.composite
def districts(draw: st.DrawFn) -> tuple[pd.DataFrame, pd.DataFrame, SchoolCalendar]:
    numbers = sorted(draw(st.sets(st.integers(0, 16), min_size=1)))
    weeks = tuple(week(number) for number in numbers)
    since = {domain: draw(st.one_of(st.none(), st.sampled_from(weeks))) for domain in DOMAINS}
    people = []
    rows = []
    for student in range(draw(st.integers(1, 4))):
        enrolled = FIRST_WEEK + dt.timedelta(days=draw(st.integers(-10, 60)))
        left = draw(st.one_of(st.none(), st.integers(10, 130).map(lambda days: FIRST_WEEK + dt.timedelta(days=days))))
        people.append({"student_id": f"s{student}", "enrollment_date": enrolled, "exit_date": left})
        for number in draw(st.sets(st.integers(0, 18))):  # also weeks that are no school weeks
            count = draw(st.integers(0, 3))
            mean = draw(st.floats(0, 100)) if count else None
            incidents = draw(st.integers(0, 2))
            measures = {name: draw(st.integers(0, 5)) for name in ACTIVITY_MEASURES[:5]}
            measures |= {"grade_count": count, "grade_mean": mean, "grade_lowest": mean, "incident_count": incidents}
            measures["severity_highest"] = draw(st.integers(1, 5)) if incidents else None
            rows.append(activity_row(f"s{student}", week(number), **measures))
    return pd.DataFrame(people), frame(rows), SchoolCalendar(weeks, since, weeks[-1])


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        one.reset_index(drop=True), other.reset_index(drop=True), check_exact=True, check_dtype=False
    )


@property_test
@given(district=districts(), data=st.data())
def test_weeks_together_equal_weeks_apart(district: Any, data: st.DataObject) -> None:
    people, activity, calendar = district
    together = feature_vectors(people, activity, calendar, calendar.weeks)
    assert list(together.columns) == list(VECTOR_COLUMNS)
    same(together, pd.concat([feature_vectors(people, activity, calendar, [one]) for one in calendar.weeks]))
    some = sorted(data.draw(st.sets(st.sampled_from(calendar.weeks), min_size=1)))
    sundays = [one + dt.timedelta(days=6) for one in some]
    same(feature_vectors(people, activity, calendar, some), together[together["feature_date"].isin(sundays)])


@property_test
@given(district=districts(), data=st.data())
def test_later_rows_other_students_and_order_do_not_matter(district: Any, data: st.DataObject) -> None:
    people, activity, calendar = district
    position = data.draw(st.integers(0, len(calendar.weeks) - 1))
    one = calendar.weeks[position]
    expected = feature_vectors(people, activity, calendar, [one])

    earlier = SchoolCalendar(
        calendar.weeks[: position + 1],
        {domain: since if since and since <= one else None for domain, since in calendar.domain_since.items()},
        one,
    )
    known = [position for position, monday in enumerate(activity["week_start"]) if monday <= one]
    shuffled = activity.iloc[data.draw(st.permutations(known))]
    same(feature_vectors(people, shuffled, earlier, [one]), expected)

    student = people["student_id"].iloc[0]
    alone = feature_vectors(people[people["student_id"] == student], activity, calendar, [one])
    same(alone, expected[expected["student_id"] == student])


def test_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    weeks = tuple(week(number) for number in range(12))
    calendar = SchoolCalendar(weeks, dict.fromkeys(DOMAINS, weeks[0]), weeks[-1])
    people = pd.DataFrame({"student_id": range(30), "enrollment_date": [FIRST_WEEK] * 30, "exit_date": [None] * 30})
    rows = [
        activity_row(
            student,
            monday,
            sessions_present=random.integers(0, 6),
            sessions_absent=1,
            grade_count=2,
            grade_mean=random.uniform(0, 100),
        )
        for student in range(30)
        for monday in weeks
    ]
    expected = feature_vectors(people, frame(rows), calendar, weeks)
    monkeypatch.setattr(vectors_module, "_CELLS_PER_BATCH", 50)
    same(feature_vectors(people, frame(rows), calendar, weeks), expected)


@property_test
@given(district=districts())
def test_values_stay_in_their_ranges(district: Any) -> None:
    people, activity, calendar = district
    found = feature_vectors(people, activity, calendar, calendar.weeks)
    for name in ("attendance_rate", "data_quality", "attendance_rate_1w", "unexcused_rate_4w", "tardy_rate_4w"):
        assert found[name].dropna().between(0, 1).all()
    assert found["gpa_current"].dropna().between(0, 4).all()
    assert found["weeks_of_data"].between(1, len(calendar.weeks)).all()
    if calendar.domain_since["behavioral"] is None:
        assert found[["incidents_4w", "severity_highest_8w", "behavioral_week_4"]].isna().all(axis=None)
    for text in vector_json(found):
        assert list(orjson.loads(text)["features"]) == list(FEATURE_NAMES)


def test_vector_json_has_the_documented_structure() -> None:
    weeks = tuple(week(number) for number in range(3))
    calendar = SchoolCalendar(weeks, {"attendance": weeks[0], "academic": None, "behavioral": weeks[1]}, weeks[-1])
    people = pd.DataFrame({"student_id": ["a"], "enrollment_date": [week(0)], "exit_date": [None]})
    rows = [
        activity_row("a", week(0), sessions_present=4, sessions_absent=1, unexcused_absences=1),
        activity_row("a", week(2), sessions_tardy=1, sessions_excused=2, incident_count=2, severity_highest=3),
    ]
    (text,) = vector_json(feature_vectors(people, frame(rows), calendar, [weeks[-1]]))
    vector = orjson.loads(text)
    assert vector.pop("features") == {
        "attendance_rate_1w": 0.333333,
        "attendance_rate_4w": 0.625,
        "unexcused_rate_4w": 0.125,
        "excused_rate_4w": 0.25,
        "tardy_rate_4w": 0.125,
        "unexcused_days_4w": 1,
        "attendance_change": None,
        "attendance_trend": -0.233333,
        **{name: None for name in FEATURE_NAMES if "grade" in name},
        "incidents_4w": 2,
        "incidents_8w": 2,
        "severity_highest_8w": 3,
        "incidents_trend": 2,
        "weeks_of_data": 3,
    }
    assert vector == {
        "attendance": [None, 0.8, None, 0.333333],
        "academic": [None] * 4,
        "behavioral": [None, None, 0, 2],
        "trends": [-0.233333, None, 2],
        "metadata": {"weeks_of_data": 3, "data_quality": 0.333333},
    }
    assert b'"behavioral":[null,null,0,2]' in text.encode()  # counts are whole numbers


def test_a_week_without_school_is_refused() -> None:
    calendar = SchoolCalendar((week(0), week(2)), dict.fromkeys(DOMAINS), week(2))
    people = pd.DataFrame({"student_id": [1], "enrollment_date": [week(0)], "exit_date": [None]})
    with pytest.raises(ValueError, match="not a school week: 2024-09-09"):
        feature_vectors(people, frame([]), calendar, [week(1)])


def test_enrolment_counts_at_the_end_of_the_week() -> None:
    calendar = SchoolCalendar((week(0), week(1)), dict.fromkeys(DOMAINS), week(1))
    sunday = week(0) + dt.timedelta(days=6)
    people = pd.DataFrame(
        {
            "student_id": ["starts on Sunday", "leaves on Sunday", "leaves on Monday", "leaves before it starts"],
            "enrollment_date": [sunday, week(0), week(0), week(1)],
            "exit_date": [None, sunday, week(1), week(0)],
        }
    )
    found = feature_vectors(people, frame([]), calendar, [week(0), week(1)])
    assert list(zip(found["student_id"], found["feature_date"], strict=True)) == [
        ("starts on Sunday", sunday),
        ("leaves on Monday", sunday),
        ("starts on Sunday", sunday + dt.timedelta(days=7)),
    ]
    assert found["weeks_of_data"].tolist() == [1, 1, 2]


def test_attendance_rate() -> None:
    assert attendance_rate(3, 1, 1, 0) == 0.8
    assert math.isnan(attendance_rate(0, 0, 0, 0))
    assert attendance_rate(np.array([1, 0]), 0, np.array([0, 1]), 0).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("grade", "points"),
    [
        *((100, 4.0), (93, 4.0), (92.99, 3.7), (90, 3.7), (89.9999999999, 3.7), (87, 3.3), (83, 3.0), (80, 2.7)),
        *((77, 2.3), (73, 2.0), (70, 1.7), (67, 1.3), (65, 1.0), (64.9, 0.0), (0, 0.0)),
    ],
)
def test_grade_points(grade: float, points: float) -> None:
    assert grade_points(grade) == points


def test_definitions_are_complete_and_plain() -> None:
    assert len(set(FEATURE_NAMES)) == len(FEATURES)
    assert all(feature.unit and feature.definition.endswith(".") for feature in FEATURES)
    code = (
        "import sys, edupulse_pipelines.features.definitions;"
        "print({'pandas', 'numpy', 'sqlalchemy'} & set(sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == "set()\n"
