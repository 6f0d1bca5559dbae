"""A transfer inside the district, or an enrolment cut in two, changes no feature, label or rate of the child.

Without a database: all of them are functions of the intervals in which a child is enrolled anywhere.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from edupulse_pipelines.features.days import days_of
from edupulse_pipelines.features.enrolment import OPEN, Students, joined
from edupulse_pipelines.features.enrolment import days_of as as_days
from edupulse_pipelines.features.vectors import STATUSES, feature_vectors
from edupulse_pipelines.risk.samples.labels import LABEL_ACTIVITY, labels_of
from edupulse_pipelines.schema.tables import EXIT_TYPES
from edupulse_pipelines.settings import LabelSettings
from edupulse_pipelines_tests.features.district import week
from edupulse_pipelines_tests.features.test_vectors import districts, same

LABEL = LabelSettings(horizon_weeks=4, exit_types=("dropped_out", "transferred"))
NO_COURSES = pd.DataFrame(
    {name: np.empty(0) for name in ("student_id", "course_id", "week_start", "grade_count", "grade_mean")}
)


def enrolled(count: int, pieces: list[tuple[int, dt.date, dt.date | None, str | None]]) -> Students:
    """Students of these pieces of enrolment: student, entry, exit, and why."""
    person, entry, left, how = (list(column) for column in zip(*pieces, strict=True))
    ends = as_days(pd.Series(left, dtype=object))
    intervals = joined(
        count,
        np.array(person, dtype=np.int64),
        as_days(pd.Series(entry, dtype=object)),
        np.where(np.isnat(ends), OPEN, ends),
        np.array(how, dtype=object),
    )
    return Students(np.array([f"{number:02d}".encode() for number in range(count)]), intervals)


def numbered_people(who: Students) -> pd.DataFrame:
    """As `labels_of` takes them."""
    people = who.frame()
    return people.assign(district_id=people["student_id"].astype(str))


@settings(max_examples=30, deadline=None)
@given(district=districts(), data=st.data())
def test_cutting_an_enrolment_or_moving_to_another_school_changes_nothing(district: Any, data: st.DataObject) -> None:
    """No feature, label, exit or day: the next school may begin on the day of leaving the last one, or before."""
    people, activity, calendar = district
    count = len(people)
    whole: list[tuple[int, dt.date, dt.date | None, str | None]] = []
    moved: list[tuple[int, dt.date, dt.date | None, str | None]] = []
    for number, row in enumerate(people.to_dict("records")):
        entry, left = row["enrollment_date"], None if pd.isna(row["exit_date"]) else row["exit_date"]
        how = None if left is None else data.draw(st.sampled_from([None, *EXIT_TYPES]))
        whole.append((number, entry, left, how))
        begin = entry
        while data.draw(st.booleans()):
            cut = begin + dt.timedelta(days=data.draw(st.integers(1, 40)))
            if left is not None and cut >= left:
                break
            moved.append((number, begin, cut, data.draw(st.sampled_from([None, "transferred"]))))
            begin = cut - dt.timedelta(days=data.draw(st.integers(0, 5)))
            begin = max(begin, entry)
        moved.append((number, begin, left, how))
    one, other = enrolled(count, whole), enrolled(count, data.draw(st.permutations(moved)))
    pd.testing.assert_frame_equal(one.frame(), other.frame())

    numbered = activity.assign(student_id=[int(name[1:]) for name in activity["student_id"]])
    same(*(feature_vectors(who.frame(), numbered, calendar, calendar.weeks) for who in (one, other)))
    days = [week(0) + dt.timedelta(days=number) for number in range(140)]
    within = [np.array([who.enrolled_on(np.datetime64(day, "D")) for day in days]).T for who in (one, other)]
    marks = np.random.default_rng(7).integers(0, 3, (len(STATUSES), count * 20, 7), dtype=np.int32)
    for name, values in days_of(marks, within[0].reshape(-1, 7), "half").items():
        assert (values == days_of(marks, within[1].reshape(-1, 7), "half")[name]).all()
    weekly = numbered.assign(**{name: numbered.get(name, 0) for name in LABEL_ACTIVITY}).fillna(0)
    found = [labels_of(weekly, NO_COURSES, numbered_people(who), LABEL, calendar.weeks) for who in (one, other)]
    assert {name: grid.tolist() for name, grid in found[0].events.items()} == {
        name: grid.tolist() for name, grid in found[1].events.items()
    }
