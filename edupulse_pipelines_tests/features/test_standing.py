"""The school year so far and the standing among classmates: definitions, time, classes, and the database's answer."""

from __future__ import annotations

import datetime as dt
import math
import statistics
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from edupulse_pipelines.features.definitions import STANDING_COLUMNS, STANDING_FEATURES, STANDING_NAMES, SUMMER_WEEKS
from edupulse_pipelines.features.school_calendar import SchoolCalendar
from edupulse_pipelines.features.school_year import STANDING_ACTIVITY, STANDING_COURSES
from edupulse_pipelines.features.standing import read_standing, standing_features
from edupulse_pipelines.schema.sqlalchemy_tables import (
    ingested_files,
    students,
    weekly_activity,
    weekly_course_grades,
)
from edupulse_pipelines.settings import CohortSettings, TenantSettings
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK, feature_date, week_start
from edupulse_pipelines_tests.enrolment import enrol
from edupulse_pipelines_tests.features.district import FIRST_WEEK, week

ACTIVITY_COLUMNS = ("student_id", "week_start", *STANDING_ACTIVITY)
COURSE_COLUMNS = ("student_id", "course_id", "week_start", *STANDING_COURSES)
PEOPLE_COLUMNS = ("student_id", "enrollment_date", "exit_date", "group", "start")
NOTHING = dict.fromkeys(STANDING_ACTIVITY, 0) | {"severity_highest": None}


@dataclass(frozen=True)
class School:
    """What is on record, as `standing_features` takes it."""

    people: pd.DataFrame
    activity: pd.DataFrame
    courses: pd.DataFrame
    calendar: SchoolCalendar

    def standing(self, weeks: Sequence[dt.date]) -> pd.DataFrame:
        return standing_features(self.people, self.activity, self.courses, self.calendar, weeks)

    def of(self, student: Any, number: int) -> dict[str, float]:
        """One student's standing at the end of week `number`."""
        rows = self.standing([week(number)])
        return rows[rows["student_id"] == student].iloc[0][list(STANDING_COLUMNS)].astype(float).to_dict()


def school(
    people: Sequence[Mapping[str, Any]],
    *,
    activity: Sequence[tuple[Any, int, Mapping[str, Any]]] = (),
    grades: Mapping[tuple[Any, str, int], Sequence[float]] | None = None,
    weeks: Sequence[int] = range(12),
    since: Mapping[str, int | None] | None = None,
) -> School:
    """Students, weeks of activity as (student, week, measures), and grades by (student, course, week)."""
    known = {"attendance": 0, "academic": 0, "behavioral": 0, **(since or {})}
    nobody = {"enrollment_date": FIRST_WEEK, "exit_date": None, "group": "", "start": None}
    return School(
        pd.DataFrame([{**nobody, **one} for one in people], columns=list(PEOPLE_COLUMNS)).astype(
            {"enrollment_date": object, "exit_date": object, "start": object}
        ),
        pd.DataFrame(
            [
                {"student_id": student, "week_start": week(number), **NOTHING, **measures}
                for student, number, measures in activity
            ],
            columns=list(ACTIVITY_COLUMNS),
        ),
        pd.DataFrame(
            [
                (student, course, week(number), len(marks), statistics.fmean(marks), min(marks))
                for (student, course, number), marks in (grades or {}).items()
            ],
            columns=list(COURSE_COLUMNS),
        ),
        SchoolCalendar(
            tuple(week(number) for number in weeks),
            {name: None if number is None else week(number) for name, number in known.items()},
            week(max(weeks)),
        ),
    )


def persons(*names: str, **values: Any) -> list[dict[str, Any]]:
    return [{"student_id": name, **values} for name in names]


# One by one, from the definitions.


def expected(found: School, monday: dt.date) -> dict[Any, dict[str, float]]:
    """The definitions, student by student, without a running sum."""
    sunday = feature_date(monday)
    people = {row["student_id"]: row for row in found.people.to_dict("records")}
    rows = {(row["student_id"], row["week_start"]): row for row in found.activity.to_dict("records")}
    graded = {
        (row["student_id"], row["course_id"], row["week_start"]): row
        for row in found.courses.to_dict("records")
        if row["grade_count"]
    }

    def enrolled(student: Any, day: dt.date) -> bool:
        left = people[student]["exit_date"]
        return people[student]["enrollment_date"] <= day and (left is None or left > day)

    this_year: list[dt.date] = []
    for one in reversed([one for one in found.calendar.weeks if one <= monday]):
        if this_year and (this_year[0] - one).days // 7 > SUMMER_WEEKS:
            break
        this_year.insert(0, one)

    def year_of(student: Any, upto: dt.date) -> list[dt.date]:
        start = people[student]["start"]
        own = this_year if start is None else [w for w in found.calendar.weeks if feature_date(w) >= start]
        return [w for w in own if w <= upto]

    def weeks_of(student: Any, upto: dt.date) -> list[dt.date]:
        return [w for w in year_of(student, upto) if feature_date(w) >= people[student]["enrollment_date"]]

    def courses_of(student: Any, upto: dt.date) -> dict[Any, dict[dt.date, Any]]:
        made: dict[Any, dict[dt.date, Any]] = {}
        own = set(weeks_of(student, upto))
        for (who, course, w), row in graded.items():
            if who == student and w in own:
                made.setdefault(course, {})[w] = row
        return made

    def class_of(group: Any, course: Any, upto: dt.date) -> list[Any]:
        """Everybody in a class at the end of a week."""
        day = feature_date(upto)
        members = [s for s, one in people.items() if one["group"] == group and enrolled(s, day)]
        with_grade = [s for s in members if course in courses_of(s, upto)]
        start = people[members[0]]["start"] if members else None
        if start is None or start > day or len(with_grade) < 0.2 * len(members):
            return with_grade
        return members

    def due(student: Any, course: Any) -> float:
        total = 0.0
        group, start = people[student]["group"], people[student]["start"]
        for w in courses_of(student, monday).get(course, {}):
            day = feature_date(w)
            there = [s for s, one in people.items() if one["group"] == group and enrolled(s, day)]
            known = [s for s in there if course in courses_of(s, w)]
            size = len(known) if start is None else len(there)
            if student in there:
                total += sum((s, course, w) in graded for s in there) / size
        return total

    result = {}
    now = [student for student in people if enrolled(student, sunday)]
    courses = {student: courses_of(student, monday) for student in now}
    classes = {
        (people[s]["group"], course): class_of(people[s]["group"], course, monday) for s in now for course in courses[s]
    }
    for group in sorted({people[s]["group"] for s in now}, key=str):
        members = [s for s in now if people[s]["group"] == group]
        start = people[members[0]]["start"]
        if start is None or start > sunday:
            continue
        own = {c: sum(c in courses[s] for s in members) for (of, c) in classes if of == group}
        if not any(number >= 0.2 * len(members) for number in own.values()):
            # The course with the most; without any, a class in which nothing was due.
            classes[group, min(own, key=lambda c: (-own[c], c), default=None)] = members

    def count(student: Any, course: Any, last: int | None = None) -> int:
        own = found.calendar.weeks[: found.calendar.weeks.index(monday) + 1][-last:] if last else found.calendar.weeks
        return sum(row["grade_count"] for w, row in courses[student].get(course, {}).items() if w in own)

    def since(student: Any, course: Any) -> int:
        own = courses[student].get(course)
        if not own:
            return len(weeks_of(student, monday))
        return sum(max(own) < w <= monday for w in found.calendar.weeks)

    def mean_of(student: Any, course: Any) -> float:
        own = courses[student][course].values()
        return sum(row["grade_count"] * row["grade_mean"] for row in own) / sum(row["grade_count"] for row in own)

    def lowest_of(student: Any, course: Any) -> float:
        return min(row["grade_lowest"] for row in courses[student][course].values())

    def shrunk(student: Any, course: Any, of: Any) -> float:
        everybody = [of(s, course) for s in classes[people[student]["group"], course] if course in courses[s]]
        if len(everybody) < 5:
            return of(student, course)
        spread = statistics.pstdev(everybody)
        middle = statistics.fmean(everybody)
        return middle + (of(student, course) - middle) * min(1.0, 20.0 / max(spread, 1.0))

    for student in now:
        own = weeks_of(student, monday)
        here = [rows.get((student, w)) or NOTHING for w in own]
        kinds = {
            kind: sum(row[f"sessions_{kind}"] for row in here) for kind in ("present", "tardy", "absent", "excused")
        }
        total = sum(kinds.values())
        rates = [
            (row["sessions_present"] + row["sessions_tardy"]) / all_
            for row in here
            if (all_ := sum(row[f"sessions_{kind}"] for kind in kinds))
        ]
        values: dict[str, float] = dict.fromkeys(STANDING_COLUMNS, math.nan)
        year = [rows.get((student, w)) or NOTHING for w in year_of(student, monday)]  # days are those of an enrolment
        if any(row["days_enrolled"] for row in year):
            values["days_enrolled_ytd"] = sum(row["days_enrolled"] for row in year)
            values["days_absent_ytd"] = sum(row["days_absent"] + row["days_excused"] for row in year)
            values["days_missed_ytd"] = sum(row["days_missed"] for row in year)
        if total:
            values["attendance_rate_ytd"] = (kinds["present"] + kinds["tardy"]) / total
            values["unexcused_rate_ytd"] = kinds["absent"] / total
            values["tardy_rate_ytd"] = kinds["tardy"] / total
            values["missed_sessions_ytd"] = math.log((kinds["absent"] + kinds["excused"] + 2) / (total + 40))
            values["weeks_below_90_ytd"] = sum(rate < 0.9 for rate in rates) / len(rates)
        behaviour = found.calendar.domain_since["behavioral"]
        if behaviour is not None and monday >= behaviour and own:
            values["incidents_per_week_ytd"] = sum(row["incident_count"] for row in here) / len(own)
            values["severity_highest_ytd"] = max(
                (0 if pd.isna(row["severity_highest"]) else row["severity_highest"] for row in here), default=0
            )
        start = people[student]["start"]
        if start is not None and monday >= week_start(start):
            values["teaching_weeks"] = (monday - week_start(start)).days // 7 + 1
        mine = [course for (group, course), members in classes.items() if student in members]
        if mine:
            ahead, late, amount, recent, none, waited = [], [], [], [], [], []
            for course in mine:
                members = classes[people[student]["group"], course]
                others = max(len(members) - 1, 1)
                # Sums of shares differ by rounding errors where they are equal.
                weight = {s: round(due(s, course), 9) for s in members}
                ahead.append(sum(count(s, course) > count(student, course) for s in members) / others)
                late.append(sum(weight[s] > weight[student] for s in members) / others)
                for last, into in ((None, amount), (4, recent)):
                    average = statistics.fmean(count(s, course, last) for s in members)
                    into.append(math.log((count(student, course, last) + 0.5) / (average + 0.5)))
                share = sum(course in courses[s] for s in members) / len(members)
                none.append(0.0 if course in courses[student] else share)
                waited.append(since(student, course) - statistics.median_low(since(s, course) for s in members))
            for name, list_ in (
                ("classmates_ahead", ahead),
                ("classmates_ahead_in_due_work", late),
                ("grade_count_vs_class", amount),
                ("grade_count_4w_vs_class", recent),
                ("no_grade_yet", none),
                ("weeks_since_grade_vs_class", waited),
            ):
                values[name] = statistics.fmean(list_)
        if courses[student]:
            number = sum(count(student, course) for course in courses[student])
            last_eight = found.calendar.weeks[: found.calendar.weeks.index(monday) + 1][-8:]
            weekly = [row["grade_mean"] for own_ in courses[student].values() for row in own_.values()]
            assert weekly
            values |= {
                "grade_mean_ytd": sum(count(student, c) * shrunk(student, c, mean_of) for c in courses[student])
                / number,
                "grade_lowest_ytd": min(shrunk(student, c, lowest_of) for c in courses[student]),
                "failing_share_ytd": max(
                    sum(row["grade_mean"] < 60 for row in own_.values()) / len(own_)
                    for own_ in courses[student].values()
                ),
                "low_course_weeks_8w": sum(
                    row["grade_mean"] < 65
                    for own_ in courses[student].values()
                    for w, row in own_.items()
                    if w in last_eight
                ),
                "courses_8w": sum(max(own_) in last_eight for own_ in courses[student].values()),
            }
        result[student] = values
    return result


def made_up(seed: int, *, students_: int = 14, weeks: int = 20, groups: bool = True) -> School:
    """A random school: late arrivals, early leavers, a summer, three groups of which two say when they began."""
    random = np.random.default_rng(seed)
    numbers = [*range(weeks // 2), *range(weeks // 2 + int(random.integers(1, 10)), weeks + 9)]
    starts = {"a": week(0) + dt.timedelta(days=3), "b": week(int(random.integers(1, weeks))), "": None}
    people, activity, grades = [], [], {}
    for number in range(students_):
        name = f"s{number:02d}"
        group = ("a", "b", "")[int(random.integers(0, 3))] if groups else ""
        enrolled = FIRST_WEEK + dt.timedelta(days=int(random.integers(-20, 40)))
        left = FIRST_WEEK + dt.timedelta(days=int(random.integers(50, 250))) if random.random() < 0.4 else None
        people.append(
            {
                "student_id": name,
                "enrollment_date": enrolled,
                "exit_date": left,
                "group": group,
                "start": starts[group],
            }
        )
        busy = random.random()
        for monday in numbers:
            if random.random() < 0.85:
                incidents = int(random.poisson(0.2))
                measures = {f"sessions_{kind}": int(random.integers(0, 4)) for kind in ("tardy", "absent", "excused")}
                measures |= {
                    "sessions_present": int(random.integers(0, 30)),
                    "incident_count": incidents,
                    "severity_highest": int(random.integers(1, 6)) if incidents else None,
                }
                absent, excused = (int(random.integers(0, 3)) for _ in range(2))
                measures |= {
                    "days_enrolled": 5,
                    "days_absent": absent,
                    "days_excused": excused,
                    "days_missed": absent + excused + 0.25 * (absent < 2),
                }
                activity.append((name, monday, measures))
            for course in ("ENG", "MATH", "ART"):
                if random.random() < busy * {"ENG": 0.7, "MATH": 0.5, "ART": 0.05}[course]:
                    marks = np.clip(np.round(random.normal(65, 30, int(random.integers(1, 4)))), 0, 100)
                    grades[name, course, monday] = marks.tolist()
    return school(
        people, activity=activity, grades=grades, weeks=numbers, since={"behavioral": int(random.integers(0, 6))}
    )


def same(found: Mapping[str, float], wanted: Mapping[str, float]) -> bool:
    return all(found[name] == pytest.approx(wanted[name], abs=2e-6, nan_ok=True) for name in STANDING_COLUMNS)


@pytest.mark.parametrize("groups", [False, True], ids=["one class", "groups"])
@pytest.mark.parametrize("seed", range(6))
def test_the_definitions_student_by_student(seed: int, groups: bool) -> None:
    found = made_up(seed, groups=groups)
    weeks = [found.calendar.weeks[number] for number in (0, 4, 9, 10, 17, -1)]
    rows = found.standing(weeks)
    seen = set()
    for monday in weeks:
        wanted = expected(found, monday)
        here = rows[rows["feature_date"] == feature_date(monday)].set_index("student_id")
        assert list(here.index) == [one for one in found.people["student_id"] if one in wanted]
        for student, values in wanted.items():
            got = here.loc[student, list(STANDING_COLUMNS)].astype(float).to_dict()
            wrong = {
                name: (got[name], values[name])
                for name in STANDING_COLUMNS
                if got[name] != pytest.approx(values[name], abs=2e-6, nan_ok=True)
            }
            assert not wrong, (monday, student, wrong)
            seen |= {name for name, value in values.items() if not math.isnan(value)}
    assert seen >= set(STANDING_COLUMNS) - ({"teaching_weeks"} if not groups else set())


# By hand.


def test_every_feature_is_declared_once() -> None:
    assert len(set(STANDING_NAMES)) == len(STANDING_FEATURES)
    assert len(set(STANDING_COLUMNS)) == len(STANDING_COLUMNS)
    assert list(school(persons("a")).standing([week(0)]).columns) == ["student_id", "feature_date", *STANDING_COLUMNS]


def test_attendance_and_behaviour_of_the_year() -> None:
    found = school(
        persons("a"),
        activity=[
            ("a", 0, {"sessions_present": 9, "sessions_absent": 1}),
            ("a", 1, {"sessions_present": 8, "sessions_tardy": 1, "sessions_excused": 1, "incident_count": 2,
                      "severity_highest": 3}),
            ("a", 2, {"sessions_present": 7, "sessions_absent": 3}),
            ("a", 3, {"incident_count": 1, "severity_highest": 1}),  # nobody recorded a session
        ],
    )  # fmt: skip
    values = found.of("a", 3)
    assert values["attendance_rate_ytd"] == pytest.approx(25 / 30, abs=1e-6)
    assert values["unexcused_rate_ytd"] == pytest.approx(4 / 30, abs=1e-6)
    assert values["tardy_rate_ytd"] == pytest.approx(1 / 30, abs=1e-6)
    assert values["missed_sessions_ytd"] == pytest.approx(math.log((5 + 2) / (30 + 40)), abs=1e-6)
    assert values["weeks_below_90_ytd"] == pytest.approx(1 / 3, abs=1e-6)  # exactly 0.9 is not below
    assert (values["incidents_per_week_ytd"], values["severity_highest_ytd"]) == (0.75, 3)
    assert math.isnan(values["teaching_weeks"])
    assert math.isnan(values["grade_mean_ytd"])


def test_grades_of_the_year() -> None:
    found = school(
        persons("a"),
        grades={
            ("a", "ENG", 0): [50, 60],
            ("a", "ENG", 1): [90],
            ("a", "MATH", 0): [64],
            ("a", "MATH", 1): [60],
            ("a", "ART", 9): [80],
        },
    )
    first = found.of("a", 1)
    assert first["grade_mean_ytd"] == pytest.approx((110 + 90 + 64 + 60) / 5)
    assert (first["grade_lowest_ytd"], first["failing_share_ytd"]) == (50, 0.5)  # 55 in one of ENG's two weeks
    assert (first["low_course_weeks_8w"], first["courses_8w"]) == (3, 2)
    later = found.of("a", 9)  # the last eight school weeks begin with week 2
    assert (later["low_course_weeks_8w"], later["courses_8w"], later["failing_share_ytd"]) == (0, 1, 0.5)


def test_the_standing_among_classmates() -> None:
    found = school(
        persons("a", "b", "c", "d"),
        grades={
            ("a", "ENG", 0): [70, 80],
            ("b", "ENG", 0): [70],
            ("b", "ENG", 2): [75, 75],
            ("c", "ENG", 2): [90],
            ("a", "ART", 2): [90],
        },
    )
    a, b, c, d = (found.of(one, 2) for one in "abcd")
    # ENG: a has 2 grades, b 3, c 1. In ART a is alone.
    assert (a["classmates_ahead"], b["classmates_ahead"], c["classmates_ahead"]) == (0.25, 0.0, 1.0)
    assert a["grade_count_vs_class"] == pytest.approx((math.log(2.5 / 2.5) + 0) / 2, abs=1e-6)
    assert b["grade_count_vs_class"] == pytest.approx(math.log(3.5 / 2.5), abs=1e-6)
    # Week 0: both of the then known two had a grade; week 2: two of three.
    assert (b["classmates_ahead_in_due_work"], c["classmates_ahead_in_due_work"]) == (0.0, 1.0)
    assert (a["no_grade_yet"], c["no_grade_yet"]) == (0.0, 0.0)
    # Weeks since: ENG a 2, b 0, c 0, so that the median is 0; ART 0.
    assert (a["weeks_since_grade_vs_class"], b["weeks_since_grade_vs_class"]) == (1.0, 0.0)
    assert all(math.isnan(d[name]) for name in ("classmates_ahead", "no_grade_yet", "grade_count_vs_class"))


def test_a_spread_beyond_twenty_points_is_shrunk() -> None:
    marks = {"a": 0, "b": 0, "c": 100, "d": 100, "e": 100}
    found = school(persons(*marks), grades={(one, "ENG", 0): [mark] for one, mark in marks.items()})
    spread = statistics.pstdev(marks.values())
    for one, mark in marks.items():
        assert found.of(one, 0)["grade_mean_ytd"] == pytest.approx(60 + (mark - 60) * 20 / spread, abs=1e-6)
        assert found.of(one, 0)["grade_lowest_ytd"] == found.of(one, 0)["grade_mean_ytd"]
    # Four are too few to say how a class is marked, and a narrow class stays as it is.
    four = school(persons(*"abcd"), grades={(one, "ENG", 0): [marks[one]] for one in "abcd"})
    assert four.of("a", 0)["grade_mean_ytd"] == 0
    narrow = school(persons(*marks), grades={(one, "ENG", 0): [60 + mark / 5] for one, mark in marks.items()})
    assert narrow.of("a", 0)["grade_mean_ytd"] == 60


# Time.


def test_a_summer_begins_a_new_year() -> None:
    def with_break(length: int) -> School:
        numbers = [0, 1, *range(2 + length, 4 + length)]
        return school(
            persons("a", "b"),
            activity=[
                ("a", 0, {"sessions_absent": 5, "incident_count": 4, "severity_highest": 5}),
                ("a", 2 + length, {"sessions_present": 5}),
            ],
            grades={("a", "ENG", 0): [20], ("b", "ENG", 0): [90, 95], ("a", "ENG", 2 + length): [80]},
            weeks=numbers,
        )

    new = with_break(SUMMER_WEEKS).of("a", 2 + SUMMER_WEEKS)
    assert (new["attendance_rate_ytd"], new["grade_mean_ytd"], new["severity_highest_ytd"]) == (1, 80, 0)
    assert (new["low_course_weeks_8w"], new["classmates_ahead"]) == (0, 0)
    old = with_break(SUMMER_WEEKS - 1).of("a", 1 + SUMMER_WEEKS)
    assert (old["attendance_rate_ytd"], old["grade_mean_ytd"], old["severity_highest_ytd"]) == (0.5, 50, 5)
    assert (old["low_course_weeks_8w"], old["classmates_ahead"]) == (1, 0)
    # In the new year nobody had a grade yet: there is nothing to compare with.
    assert math.isnan(with_break(SUMMER_WEEKS).of("b", 2 + SUMMER_WEEKS)["classmates_ahead"])


@given(seed=st.integers(0, 10_000), number=st.integers(0, 15))
@settings(max_examples=25, deadline=None)
def test_later_rows_never_change_an_earlier_standing(seed: int, number: int) -> None:
    """Neither the student's own nor the classmates': removed, scrambled, and with new courses and new classmates."""
    found = made_up(seed % 50, students_=10)
    monday = found.calendar.weeks[number]
    before = found.standing([monday])
    random = np.random.default_rng(seed)

    def later(rows: pd.DataFrame) -> pd.Series:
        return rows["week_start"] > monday

    def scrambled(rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows.copy()
        at = np.flatnonzero(later(rows))
        for name in rows.columns[-len(STANDING_COURSES) :]:
            rows.iloc[at, rows.columns.get_loc(name)] = rows[name].to_numpy()[random.permutation(at)]
        return rows

    ended = replace(
        found,
        people=found.people.assign(
            exit_date=[
                day if day is not None and day <= feature_date(monday) else None for day in found.people.exit_date
            ]
        ),
        activity=found.activity[~later(found.activity)],
        courses=found.courses[~later(found.courses)],
        calendar=replace(found.calendar, weeks=found.calendar.weeks[: number + 1], last_delivered_week=monday),
    )
    more = replace(
        found,
        people=pd.concat(
            [
                found.people.assign(
                    exit_date=[
                        feature_date(monday) + dt.timedelta(days=1)
                        if day is None or day > feature_date(monday)
                        else day
                        for day in found.people.exit_date
                    ]
                ),
                pd.DataFrame(
                    [("new", feature_date(monday) + dt.timedelta(days=1), None, "a", None)],
                    columns=list(PEOPLE_COLUMNS),
                ),
            ],
            ignore_index=True,
        ),
        courses=pd.concat(
            [
                scrambled(found.courses),
                pd.DataFrame(
                    [(one, "NEW", monday + WEEK, 3, 10.0, 0.0) for one in found.people.student_id],
                    columns=list(COURSE_COLUMNS),
                ),
            ],
            ignore_index=True,
        ),
        activity=scrambled(found.activity),
    )
    starts = dict(zip(found.people.group, found.people.start, strict=True))
    more.people.loc[more.people.student_id == "new", "start"] = starts.get("a")
    for changed in (ended, more):
        after = changed.standing([monday])
        assert after["student_id"].tolist() == before["student_id"].tolist()
        assert after[list(STANDING_COLUMNS)].to_numpy(float).tobytes() == before[
            list(STANDING_COLUMNS)
        ].to_numpy(float).tobytes()  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_weeks_together_or_one_at_a_time(seed: int) -> None:
    found = made_up(seed)
    weeks = found.calendar.weeks
    together = found.standing(weeks)
    alone = pd.concat([found.standing([one]) for one in weeks], ignore_index=True)
    pd.testing.assert_frame_equal(together, alone, check_exact=True)
    some = found.standing([weeks[7], weeks[2], weeks[7]])  # any order
    assert some["feature_date"].tolist() == sorted(some["feature_date"])
    assert some.equals(together[together["feature_date"].isin(some["feature_date"])].reset_index(drop=True))


def test_the_order_of_rows_and_people_does_not_matter() -> None:
    found = made_up(3)
    monday = found.calendar.weeks[-1]
    shuffled = replace(
        found,
        people=found.people[::-1],
        activity=found.activity.sample(frac=1, random_state=1),
        courses=found.courses.sample(frac=1, random_state=2).assign(extra=1),
    )
    before, after = (one.standing([monday]).set_index("student_id") for one in (found, shuffled))
    pd.testing.assert_frame_equal(after.loc[before.index], before, check_exact=True)


# Missing is not zero.


@pytest.mark.parametrize("domain", ["attendance", "academic", "behavioral"])
def test_a_domain_that_was_never_sent_is_missing(domain: str) -> None:
    sent = {
        "attendance": {"sessions_present": 5},
        "behavioral": {"incident_count": 1, "severity_highest": 2},
        "academic": {},
    }
    measures = {name: value for one, values in sent.items() if one != domain for name, value in values.items()}
    grades = {} if domain == "academic" else {(one, "ENG", 1): [80] for one in "ab"}
    found = school(
        persons("a", "b"), activity=[("a", 1, measures), ("b", 1, measures)], grades=grades, since={domain: None}
    )
    values = found.of("a", 1)
    missing = {one.name for one in STANDING_FEATURES if math.isnan(values[one.name])}
    assert missing == {one.name for one in STANDING_FEATURES if one.domain == domain} | {"teaching_weeks"}


def test_no_incident_is_zero_once_incidents_are_sent() -> None:
    found = school(persons("a"), activity=[("a", 0, {"sessions_present": 1})], since={"behavioral": 2})
    assert math.isnan(found.of("a", 1)["incidents_per_week_ytd"])
    assert math.isnan(found.of("a", 1)["severity_highest_ytd"])
    assert (found.of("a", 2)["incidents_per_week_ytd"], found.of("a", 2)["severity_highest_ytd"]) == (0, 0)


def test_who_is_not_enrolled_has_no_standing() -> None:
    found = school(
        [
            {"student_id": "late", "enrollment_date": week(3)},
            {"student_id": "gone", "exit_date": feature_date(week(2))},
            {"student_id": "there", "exit_date": feature_date(week(2)) + dt.timedelta(days=1)},
        ],
        grades={(one, "ENG", 0): [80] for one in ("late", "gone", "there")},
    )
    assert found.standing([week(2)])["student_id"].tolist() == ["there"]
    # What lies before the enrolment does not count.
    assert math.isnan(found.of("late", 3)["grade_mean_ytd"])
    assert school(persons("a"), weeks=[0]).standing([]).empty


# Groups that say when they began.


def grouped(starts: Mapping[str, int], members: Mapping[str, str], **records: Any) -> School:
    return school(
        [
            {"student_id": one, "group": group, "start": week(starts[group]) if group in starts else None}
            for group, names in members.items()
            for one in names
        ],
        **records,
    )


def test_a_member_without_a_grade_is_a_classmate() -> None:
    found = grouped({"A": 0}, {"A": "abcd"}, grades={("a", "X", 0): [80], ("b", "X", 1): [60, 60]})
    values = {one: found.of(one, 1) for one in "abcd"}
    assert [values[one]["classmates_ahead"] for one in "abcd"] == pytest.approx([1 / 3, 0, 2 / 3, 2 / 3], abs=1e-6)
    assert [values[one]["no_grade_yet"] for one in "abcd"] == [0, 0, 0.5, 0.5]
    assert values["c"]["grade_count_vs_class"] == pytest.approx(math.log(0.5 / 1.25), abs=1e-6)
    # Weeks since: a 1, b 0, and the two without a grade the 2 since the start; the lower median is 1.
    assert [values[one]["weeks_since_grade_vs_class"] for one in "abcd"] == [0, -1, 1, 1]
    assert math.isnan(values["c"]["grade_mean_ytd"])
    assert values["c"]["teaching_weeks"] == 2


def test_a_course_of_a_few_is_no_course_of_the_group() -> None:
    members = "abcdefghijk"
    three = {(one, "X", 0): [80] for one in "abc"}
    with_another = grouped({"A": 0}, {"A": members}, grades={**three, ("d", "Y", 0): [80]})
    assert with_another.of("k", 0)["no_grade_yet"] == pytest.approx(3 / 11, abs=1e-6)  # not of Y as well
    # The only course there is is the group's, of however few.
    one_of_eleven = grouped({"A": 0}, {"A": members}, grades={("a", "X", 0): [80]})
    assert one_of_eleven.of("b", 0)["no_grade_yet"] == pytest.approx(1 / 11, abs=1e-6)


def test_in_a_group_with_nothing_due_yet_nobody_is_behind() -> None:
    values = grouped({"A": 0, "B": 0}, {"A": "abc", "B": "de"}, grades={("d", "X", 0): [80]}).of("b", 0)
    relative = ("classmates_ahead", "classmates_ahead_in_due_work", "grade_count_vs_class", "no_grade_yet")
    assert [values[name] for name in relative] == [0, 0, 0, 0]
    assert values["weeks_since_grade_vs_class"] == 0
    assert math.isnan(values["grade_mean_ytd"])


def test_what_lies_before_the_start_does_not_count() -> None:
    found = grouped(
        {"A": 2},
        {"A": "ab"},
        activity=[
            ("a", 0, {"sessions_absent": 9, "incident_count": 9, "severity_highest": 5}),
            ("a", 2, {"sessions_present": 5}),
        ],
        grades={("a", "X", 1): [10], ("a", "X", 2): [90], ("b", "X", 1): [10, 10]},
    )
    early = found.of("a", 1)
    assert {name for name, value in early.items() if not math.isnan(value)} == set()
    values = found.of("a", 2)
    assert (values["attendance_rate_ytd"], values["grade_mean_ytd"], values["severity_highest_ytd"]) == (1, 90, 0)
    assert (values["incidents_per_week_ytd"], values["teaching_weeks"]) == (0, 1)
    assert found.of("b", 2)["no_grade_yet"] == 0.5  # its two grades came before the start
    # The week of the start counts whole.
    people = found.people.assign(start=week(1) + dt.timedelta(days=4))
    assert replace(found, people=people).of("a", 1)["grade_mean_ytd"] == 10


def test_two_groups_with_the_same_course_do_not_mix() -> None:
    apart = grouped({"A": 0, "B": 1}, {"A": "ab", "B": "cd"}, grades={("a", "X", 2): [80], ("b", "X", 2): [70]})
    both = grouped(
        {"A": 0, "B": 1},
        {"A": "ab", "B": "cd"},
        grades={("a", "X", 2): [80], ("b", "X", 2): [70], ("c", "X", 2): [1] * 9, ("d", "X", 3): [1] * 9},
    )
    for number in (2, 3):
        for one in "ab":
            assert same(both.of(one, number), apart.of(one, number))
    assert both.of("c", 2)["teaching_weeks"] == 2
    assert both.of("d", 2)["no_grade_yet"] == 0.5
    assert apart.of("d", 2)["no_grade_yet"] == 0


def test_a_declared_start_lies_across_a_summer() -> None:
    numbers = [0, 1, *range(10, 13)]
    found = grouped({"A": 0}, {"A": "ab", "": "cd"}, weeks=numbers, grades={(one, "X", 0): [40] for one in "abcd"})
    assert found.of("a", 10)["grade_mean_ytd"] == 40
    assert math.isnan(found.of("c", 10)["grade_mean_ytd"])


# The database.


def tenant_of(cohort: CohortSettings | None = None) -> TenantSettings:
    return TenantSettings(
        name=f"t{uuid.uuid4().hex[:10]}",
        timezone="UTC",
        first_week=FIRST_WEEK,
        landing=Path("landing"),
        cohort=cohort or CohortSettings(),
    )


def stored(engine: sa.Engine, found: School, tenant: TenantSettings) -> dict[Any, uuid.UUID]:
    """Write what is on record; returns the students' ids."""
    ids = {one: uuid.uuid4() for one in found.people["student_id"]}

    def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
        plain = frame.astype(object).where(frame.notna(), None)
        return [
            {**row, "tenant_id": tenant.name, "student_id": ids[row["student_id"]]} for row in plain.to_dict("records")
        ]

    rest = {"unexcused_absences": 0, "grade_count": 0, "grade_mean": None, "grade_lowest": None}
    files = [
        (table, monday)
        for monday in found.calendar.weeks
        for table, domain in (("grades", "academic"), ("discipline_incidents", "behavioral"))
        if (since := found.calendar.domain_since[domain]) is not None and monday >= since
    ]
    with engine.begin() as connection:
        connection.execute(
            sa.insert(students),
            [
                {
                    "id": ids[row["student_id"]],
                    "tenant_id": tenant.name,
                    "district_id": row["student_id"],
                    "first_name": "A",
                    "last_name": "B",
                    "date_of_birth": dt.date(2010, 1, 1),
                    "grade_level": 9,
                    "enrollment_date": row["enrollment_date"],
                    "exit_date": row["exit_date"],
                    "student_metadata": {"module": row["group"], "size": 3} if row["group"] else None,
                    "delivered_on": FIRST_WEEK,
                }
                for row in found.people.to_dict("records")
            ],
        )
        enrol(connection, tenant.name)
        for table, rows in (
            (weekly_activity, [{**rest, **row} for row in records(found.activity)]),
            (weekly_course_grades, records(found.courses)),
        ):
            if rows:
                connection.execute(sa.insert(table), rows)
        connection.execute(
            sa.insert(ingested_files),
            [
                {
                    "id": uuid.uuid4(),
                    "tenant_id": tenant.name,
                    "table_name": table,
                    "delivered_on": monday + WEEK,
                    "file_name": f"{table}.csv",
                    "sha256": f"{table}{monday}",
                    "size_bytes": 1,
                    "status": "loaded",
                    "rows_read": 1,
                }
                for table, monday in files
            ],
        )
    return ids


def starts_of(found: School) -> dict[str, dt.date]:
    pairs = zip(found.people["group"], found.people["start"], strict=True)
    return {group: start for group, start in pairs if start is not None}


@pytest.mark.parametrize("groups", [False, True], ids=["one class", "groups"])
def test_the_database_says_the_same(engine: sa.Engine, groups: bool) -> None:
    found = made_up(1, students_=25, groups=groups)
    # Incidents before the first file would make the domain known earlier.
    since = found.calendar.domain_since["behavioral"]
    quiet = found.activity["week_start"] < since
    found.activity.loc[quiet, "incident_count"] = 0
    found.activity.loc[quiet, "severity_highest"] = None
    tenant = tenant_of(CohortSettings(group_by=("module",), starts=starts_of(found)) if groups else None)
    ids = stored(engine, found, tenant)
    weeks = list(found.calendar.weeks)
    with engine.connect() as connection:
        together = read_standing(connection, Work(engine, tenant.name), tenant, weeks[::-1])
        pure = found.standing(weeks)
        for monday in weeks:
            here = pure[pure["feature_date"] == feature_date(monday)]
            asked = np.array([ids[one] for one in here["student_id"]], dtype=object)
            wanted = here[list(STANDING_COLUMNS)].to_numpy(float)
            assert together.of(monday, asked).to_numpy().tobytes() == wanted.tobytes(), monday
            if weeks.index(monday) % 3 == 0:
                alone = read_standing(connection, Work(engine, tenant.name), tenant, [monday]).of(monday, asked)
                assert alone.to_numpy().tobytes() == wanted.tobytes(), monday
        assert list(together.of(weeks[0], np.empty(0, dtype=object)).columns) == list(STANDING_COLUMNS)


def test_of_a_week_without_school_nothing_is_known(engine: sa.Engine) -> None:
    found = school(persons("a"), activity=[("a", 1, {"sessions_present": 5})], weeks=[0, 1, 3])
    tenant = tenant_of()
    ids = stored(engine, found, tenant)
    asked = np.array([ids["a"]], dtype=object)
    with engine.connect() as connection:
        standing = read_standing(connection, Work(engine, tenant.name), tenant, [week(2), week(3)])
    assert standing.of(week(2), asked).isna().all(axis=None)
    assert standing.of(week(3), asked)["attendance_rate_ytd"].tolist() == [1]


def test_a_deleted_student_is_nobodys_classmate(engine: sa.Engine) -> None:
    found = made_up(5, students_=12, groups=True)
    tenant = tenant_of(CohortSettings(group_by=("module",), starts=starts_of(found)))
    ids = stored(engine, found, tenant)
    gone = found.people["student_id"].iloc[[2, 7]].tolist()
    with engine.begin() as connection:
        connection.execute(
            sa.update(students)
            .where(students.c.tenant_id == tenant.name, students.c.district_id.in_(gone))
            .values(deleted_on=week(30))
        )
        monday = found.calendar.weeks[-1]
        standing = read_standing(connection, Work(engine, tenant.name), tenant, [monday])
    left = ~found.people["student_id"].isin(gone)
    pure = replace(found, people=found.people[left]).standing([monday])
    asked = np.array([ids[one] for one in pure["student_id"]], dtype=object)
    assert standing.of(monday, asked).to_numpy().tobytes() == pure[list(STANDING_COLUMNS)].to_numpy(float).tobytes()
    assert len(standing.ids) == len(found.people) - 2
    assert not same(found.standing([monday]).set_index("student_id").loc[pure["student_id"].iloc[0]], pure.iloc[0])


def test_sessions_that_nobody_knows_are_no_sessions(engine: sa.Engine) -> None:
    found = school(
        persons("a"),
        activity=[("a", 0, {"sessions_present": 3, "sessions_absent": 1}), ("a", 1, {"sessions_absent": 4})],
        grades={("a", "ENG", 0): [80]},
    )
    tenant = tenant_of()
    ids = stored(engine, found, tenant)
    with engine.begin() as connection:
        connection.execute(
            sa.update(weekly_activity)
            .where(weekly_activity.c.tenant_id == tenant.name, weekly_activity.c.week_start == week(1))
            .values(sessions_basis="unknown")
        )
        standing = read_standing(connection, Work(engine, tenant.name), tenant, [week(1)])
    values = standing.of(week(1), np.array([ids["a"]], dtype=object)).iloc[0]
    assert (values["attendance_rate_ytd"], values["weeks_below_90_ytd"]) == (0.75, 1)
