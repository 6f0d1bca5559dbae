from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from edupulse_pipelines.features.school_calendar import SchoolCalendar
from edupulse_pipelines.risk.judging.activity_frames import ActivityFrames, read_sample
from edupulse_pipelines.risk.judging.later_rows import CHANGES
from edupulse_pipelines.risk.judging.leakage import (
    LeakageProof,
    prove_no_leakage,
    record_features,
    record_labels,
    weeks_to_prove,
)
from edupulse_pipelines.risk.samples.labels import EVENTS, Labels
from edupulse_pipelines.settings import LabelSettings
from edupulse_pipelines.weeks import WEEK, feature_date
from edupulse_pipelines_tests.risk.district import District, made_up_district, tenant_settings, week, work_of, write

AS_OF = [week(5), week(9), week(13)]
LABEL = LabelSettings(failing_below=70)


def frames_of(district: District) -> ActivityFrames:
    """The district in two classes, one of which began in its third week."""
    people = district.students.assign(
        group=[("a", "b")[number % 2] for number in range(len(district.students))],
        start=[(None, week(2))[number % 2] for number in range(len(district.students))],
    )
    since = dict.fromkeys(("attendance", "academic", "behavioral"), district.weeks[0])
    return ActivityFrames(
        people,
        district.activity,
        district.courses,
        SchoolCalendar(tuple(district.weeks), since, district.weeks[-1]),
    )


@pytest.fixture(scope="module")
def frames() -> ActivityFrames:
    return frames_of(made_up_district(count=40, weeks=24, seed=3))


def scores(rows: pd.DataFrame) -> np.ndarray:
    """A score as models give it: each row for itself."""
    return 1 / (1 + np.exp(rows["attendance_rate_4w"].fillna(0.9) + rows["classmates_ahead"].fillna(0))).to_numpy()


def proof(frames: ActivityFrames, **changes: object) -> LeakageProof:
    functions = {"features": record_features, "labels": record_labels(LABEL), "scores": scores, **changes}
    return prove_no_leakage(frames, AS_OF, LABEL.weeks, **functions)


def test_nothing_of_ours_leaks(frames: ActivityFrames) -> None:
    found = proof(frames)
    assert found.passed, found.sentence
    assert [(check.subject, check.change) for check in found.checks] == [
        (subject, change) for subject in ("features", "scores", "labels") for change in CHANGES
    ]
    assert all(check.compared > 80 for check in found.checks)
    assert (found.students, found.as_of_weeks) == (40, tuple(AS_OF))
    assert "No leak: " in found.sentence
    written = json.dumps(found.as_json())
    assert json.loads(written)["checks"]["labels scrambled"]["moved"] == 0
    assert not any(f'"{number}"' in written for number in frames.people["district_id"])


def test_the_outcome_is_the_same_each_time(frames: ActivityFrames) -> None:
    leaky = leaky_features(lambda frames, weeks: next_week(frames, weeks, "sessions_absent"))
    assert proof(frames, features=leaky) == proof(frames, features=leaky)


def leaky_features(of: Callable[[ActivityFrames, Sequence[dt.date]], pd.Series]) -> Callable:
    """The features and one more, `leak`, by (student, feature_date)."""

    def features(frames: ActivityFrames, weeks: Sequence[dt.date]) -> pd.DataFrame:
        rows = record_features(frames, weeks)
        leak = of(frames, weeks)
        keys = pd.MultiIndex.from_frame(rows[["student_id", "feature_date"]])
        return rows.assign(leak=leak.reindex(keys).to_numpy(float))

    return features


def next_week(frames: ActivityFrames, weeks: Sequence[dt.date], measure: str) -> pd.Series:
    """The measure one week too late."""
    rows = frames.activity
    rows = rows.assign(feature_date=[day - WEEK + dt.timedelta(days=6) for day in rows["week_start"]])
    return rows.set_index(["student_id", "feature_date"])[measure].astype(float)


def mean_of_everything(frames: ActivityFrames, weeks: Sequence[dt.date]) -> pd.Series:
    """A standardisation by the mean of all weeks: tiny, and the same for everybody."""
    mean = frames.activity["sessions_absent"].mean()
    return pd.Series(
        {(student, feature_date(one)): mean for student in frames.people["student_id"] for one in weeks}, dtype=float
    )


def classmates_future(frames: ActivityFrames, weeks: Sequence[dt.date]) -> pd.Series:
    """How many classmates will ever have joined."""
    size = frames.people.groupby("group")["student_id"].transform("size").to_numpy()
    return pd.Series(
        {
            (student, feature_date(one)): count
            for student, count in zip(frames.people["student_id"], size, strict=True)
            for one in weeks
        },
        dtype=float,
    )


def will_leave(frames: ActivityFrames, weeks: Sequence[dt.date]) -> pd.Series:
    """Whether an exit is on record, whenever."""
    leaves = frames.people["exit_date"].notna()
    return pd.Series(
        {
            (student, feature_date(one)): float(left)
            for student, left in zip(frames.people["student_id"], leaves, strict=True)
            for one in weeks
        }
    )


def last_school_week(frames: ActivityFrames, weeks: Sequence[dt.date]) -> pd.Series:
    """How long the year still is."""
    last = frames.calendar.weeks[-1]
    return pd.Series(
        {(student, feature_date(one)): (last - one).days for student in frames.people["student_id"] for one in weeks},
        dtype=float,
    )


@pytest.mark.parametrize(
    ("leak", "caught_by"),
    [
        (lambda frames, weeks: next_week(frames, weeks, "sessions_absent"), {"removed", "scrambled"}),
        (lambda frames, weeks: next_week(frames, weeks, "incident_count"), {"removed", "scrambled"}),
        (mean_of_everything, {"removed", "added", "scrambled"}),
        (classmates_future, {"added"}),
        (will_leave, {"removed", "added"}),
        (last_school_week, {"removed", "added"}),
    ],
    ids=["next week", "next week's incidents", "mean of all weeks", "classmates", "exits", "calendar"],
)
def test_a_leaky_feature_is_caught(frames: ActivityFrames, leak: Callable, caught_by: set[str]) -> None:
    found = proof(frames, features=leaky_features(leak))
    assert not found.passed
    caught = [check for check in found.checks if check.moved]
    assert {check.change for check in caught} >= caught_by
    assert {check.subject for check in caught} == {"features"}
    assert {name for check in caught for name in check.names} == {"leak"}
    assert {one for check in caught for one in check.weeks} == set(AS_OF)
    assert "features moved" in found.sentence and "(leak)" in found.sentence


def test_students_of_the_future_in_a_past_week_are_caught(frames: ActivityFrames) -> None:
    def everyone(frames: ActivityFrames, weeks: Sequence[dt.date]) -> pd.DataFrame:
        """Takes whoever is ever on record for enrolled."""
        ever = frames.people.assign(enrollment_date=frames.calendar.weeks[0], exit_date=None)
        return record_features(replace(frames, people=ever), weeks)

    found = proof(frames, features=everyone)
    assert not found.passed
    assert "rows" in {name for check in found.checks for name in check.names}


def test_scores_that_look_at_more_than_their_row_are_caught(frames: ActivityFrames) -> None:
    calls = []

    def remembered(rows: pd.DataFrame) -> np.ndarray:
        calls.append(len(rows))
        return scores(rows) + 1e-16 * len(calls) + len(calls) * 1e-12

    found = proof(frames, scores=remembered)
    assert {check.subject for check in found.checks if check.moved} == {"scores"}


def one_week_more(settings: LabelSettings) -> Callable:
    return record_labels(settings.model_copy(update={"horizon_weeks": 9}))


def one_week_too_early(settings: LabelSettings) -> Callable:
    """The horizon begins with the as-of week itself, which the features know."""
    inner = record_labels(settings)

    def of(frames: ActivityFrames, weeks: Sequence[dt.date]) -> Labels:
        early = inner(frames, [one - WEEK for one in weeks])
        return replace(early, weeks=tuple(sorted(weeks)))

    return of


@pytest.mark.parametrize("labels", [one_week_more, one_week_too_early])
def test_a_leaky_label_is_caught(frames: ActivityFrames, labels: Callable) -> None:
    found = proof(frames, labels=labels(LABEL))
    assert not found.passed
    caught = [check for check in found.checks if check.moved]
    assert {check.subject for check in caught} == {"labels"}
    assert {name for check in caught for name in check.names} <= set(EVENTS)


def test_until_exit_no_past_decides(frames: ActivityFrames) -> None:
    settings = LabelSettings(horizon_weeks="exit")
    found = prove_no_leakage(
        frames, AS_OF, settings.weeks, features=record_features, labels=record_labels(settings), scores=scores
    )
    assert found.passed
    compared = {check.change: check.compared for check in found.checks if check.subject == "labels"}
    assert compared == {"removed": 120, "added": 0, "scrambled": 120}


def test_a_proof_of_nothing_has_not_passed(frames: ActivityFrames) -> None:
    nobody = replace(frames, people=frames.people[:0], activity=frames.activity[:0], courses=frames.courses[:0])
    for found in (
        prove_no_leakage(frames, [], 8, features=record_features, labels=record_labels(LABEL)),
        prove_no_leakage(frames, [week(90)], 8, features=record_features, labels=record_labels(LABEL)),
        prove_no_leakage(nobody, AS_OF, 8, features=record_features, labels=record_labels(LABEL)),
    ):
        assert not found.passed
        assert found.sentence.startswith("Nothing could be compared")


def test_the_newest_week_and_a_domain_that_is_not_sent(frames: ActivityFrames) -> None:
    """Nothing comes after the newest week, and attendance only begins after the as-of week."""
    since = {"attendance": week(15), "academic": week(0), "behavioral": None}
    late = replace(frames, calendar=replace(frames.calendar, domain_since=since))
    found = prove_no_leakage(late, [week(9), week(23)], 8, features=record_features, labels=record_labels(LABEL))
    assert found.passed, found.sentence


def test_an_as_of_week_with_nobody_enrolled(frames: ActivityFrames) -> None:
    later = replace(frames, people=frames.people.assign(enrollment_date=week(8), exit_date=None, exit_type=None))
    found = prove_no_leakage(later, AS_OF, 8, features=record_features, labels=record_labels(LABEL), scores=scores)
    assert found.passed, found.sentence


def test_the_weeks_that_are_proven() -> None:
    weeks = [week(number) for number in range(10)]
    assert weeks_to_prove(weeks) == [week(0), week(4), week(9)]
    assert weeks_to_prove(weeks[:2]) == weeks[:2]
    assert weeks_to_prove([]) == []


def test_the_sample_is_what_the_database_holds(engine: sa.Engine, across_databases: dict[str, object]) -> None:
    tenant = tenant_settings("leaks", label=LABEL)
    district = made_up_district(count=60, weeks=20, seed=5)
    people = district.students
    ever = [
        left is None or left > came for came, left in zip(people["enrollment_date"], people["exit_date"], strict=True)
    ]
    district.students = people[ever]
    write(engine, tenant, district)
    other = tenant_settings()
    write(engine, other, made_up_district(count=5, weeks=20, seed=6))
    with engine.connect() as connection:
        whole = read_sample(connection, work_of(connection, tenant), tenant)
        some = read_sample(connection, work_of(connection, tenant), tenant, limit=25)
    assert whole.people["district_id"].tolist() == sorted(district.students["district_id"])
    assert len(whole.activity) == len(district.activity)
    assert len(whole.courses) == len(district.courses)
    assert whole.calendar.weeks == tuple(district.weeks)
    assert len(some.people) == 25
    assert set(some.activity["student_id"]) <= set(some.people["student_id"])
    assert (
        across_databases.setdefault("sample", some.people["district_id"].tolist())
        == some.people["district_id"].tolist()
    )

    # What the proof is about is what is stored and what a model learns from.
    ours = record_labels(LABEL)(whole, AS_OF)
    direct = record_labels(LABEL)(frames_of(district), AS_OF)
    assert ours.district_ids.tolist() == direct.district_ids.tolist()
    assert {name: grid.tolist() for name, grid in ours.events.items()} == {
        name: grid.tolist() for name, grid in direct.events.items()
    }
    began = time.perf_counter()
    found = prove_no_leakage(
        some, AS_OF, LABEL.weeks, features=record_features, labels=record_labels(LABEL), scores=scores
    )
    assert found.passed, found.sentence
    assert time.perf_counter() - began < 10
    assert across_databases.setdefault("proof", found.as_json()) == found.as_json()
    with engine.connect() as connection:
        empty = read_sample(connection, work_of(connection, tenant_settings()), tenant_settings())
    assert not prove_no_leakage(empty, AS_OF, 8, features=record_features, labels=record_labels(LABEL)).passed
