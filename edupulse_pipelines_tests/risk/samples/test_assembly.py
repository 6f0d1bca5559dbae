"""What may be learned from when: outcomes until the exit, groups, verdicts, and a part of the students."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.risk.samples.assembly import RESOLVED_SHARE, UNKNOWN, Samples, Usable, read_samples
from edupulse_pipelines.risk.samples.cohorts import RECORD_FEATURES, model_features, read_population
from edupulse_pipelines.risk.samples.feedback import known_by
from edupulse_pipelines.schema.sqlalchemy_tables import model_metadata, predictions, students, training_feedback
from edupulse_pipelines.settings import (
    AUDIT_COLUMNS,
    CohortSettings,
    InputSettings,
    LabelSettings,
    TenantSettings,
    TrainingSettings,
)
from edupulse_pipelines.weeks import WEEK, feature_date
from edupulse_pipelines_tests.risk.district import District, made_up_district, tenant_settings, week, work_of, write

UNTIL_EXIT = LabelSettings(horizon_weeks="exit")
BY_MODULE = CohortSettings(minimum_weeks_of_data=1, group_by=("module",))
VERSION = "2024-11-25-abcdef01"

Ways = Sequence[tuple[int | None, str | None]]
"""Per student the week in which they leave, and how."""


def taught(first: int, last: int, *, pass_: int, fail: int = 0, early: Sequence[int] = ()) -> tuple[int, Ways]:
    """A group from week `first`: who passes or fails at the end of `last`, and who drops out early, week by week."""
    ways = [(last, "completed")] * pass_ + [(last, "failed")] * fail + [(number, "dropped_out") for number in early]
    return first, ways


def modules(groups: Mapping[str, tuple[int, Ways]], weeks: int = 12) -> District:
    """A district whose students are members of one group each; the group is the first letter of their number."""
    people, activity = [], []
    random = np.random.default_rng(1)
    for name, (first, ways) in groups.items():
        for number, (left, how) in enumerate(ways):
            student = uuid.UUID(bytes=random.bytes(16), version=4)
            # Leaving on the Wednesday: enrolled at the end of every week before.
            exit_date = None if left is None else week(left) + dt.timedelta(days=2)
            people.append(
                {
                    "student_id": student,
                    "district_id": f"{name}{number:02d}",
                    "enrollment_date": week(first),
                    "exit_date": exit_date,
                    "exit_type": how,
                }
            )
            activity += [
                {
                    "student_id": student,
                    "week_start": week(one),
                    "sessions_present": 4,
                    "sessions_absent": int(random.integers(0, 2)),
                    "sessions_tardy": 0,
                    "sessions_excused": 0,
                    "unexcused_absences": 0,
                    "grade_count": 0,
                    "grade_mean": None,
                    "grade_lowest": None,
                    "incident_count": 0,
                    "severity_highest": None,
                }
                for one in range(first, weeks if left is None else left)
            ]
    courses = pd.DataFrame(columns=["student_id", "week_start", "course_id"])
    return District(pd.DataFrame(people), pd.DataFrame(activity), courses, [week(one) for one in range(weeks)])


def stored(engine: sa.Engine, district: District, **sections: object) -> TenantSettings:
    tenant = tenant_settings(**{"label": UNTIL_EXIT, "cohort": BY_MODULE, **sections})
    write(engine, tenant, district)
    with engine.begin() as connection:
        for name in sorted({one[0] for one in district.students.district_id}):
            connection.execute(
                sa.update(students)
                .where(students.c.tenant_id == tenant.name, students.c.district_id.startswith(name))
                .values(student_metadata={"module": name})
            )
    return tenant


def samples_of(engine: sa.Engine, tenant: TenantSettings, newest: int, maximum_rows: int | None = None) -> Samples:
    with engine.connect() as connection:
        return read_samples(connection, work_of(connection, tenant), tenant, week(newest), maximum_rows=maximum_rows)


def rows(samples: Samples, chosen: np.ndarray) -> list[tuple[str, dt.date]]:
    matrix = samples.matrix
    return [
        (matrix.population.district_ids[matrix.student[row]], matrix.weeks[matrix.week[row]]) for row in chosen.tolist()
    ]


def groups_of(samples: Samples, chosen: np.ndarray) -> str:
    return "".join(sorted({number[0] for number, _ in rows(samples, chosen)}))


def contents(samples: Samples, usable: Usable) -> dict[str, object]:
    """Everything that a data-through week may use, by student and week."""
    return {
        "split": usable.split,
        "eligible": usable.eligible,
        "verdicts": usable.verdicts,
        **{
            part: [
                (*key, int(outcome))
                for key, outcome in zip(rows(samples, at), usable.outcome[at].tolist(), strict=True)
            ]
            for part, at in (("training", usable.training), ("validation", usable.validation))
        },
    }


# Until the exit.


def test_early_leavers_alone_are_never_a_sample(engine: sa.Engine) -> None:
    """Who drops out leaves first: known one by one, they would be a sample of nothing but events."""
    tenant = stored(engine, modules({"a": taught(0, 8, pass_=12, fail=3, early=(2, 3, 4, 4, 6))}))
    samples = samples_of(engine, tenant, 11)
    for number in range(8):
        usable = samples.at(week(number))
        assert (usable.eligible, len(usable.training), len(usable.validation)) == (0, 0, 0)
    usable = samples.at(week(8))
    assert (usable.eligible, groups_of(samples, usable.validation)) == (8, "a")
    happened = {number for number, _ in rows(samples, usable.validation[usable.outcome[usable.validation] == 1])}
    assert happened == {f"a{number}" for number in range(12, 20)}
    # Of a student who has left there is no row after that.
    assert max(monday for number, monday in rows(samples, usable.validation) if number == "a15") == week(1)


@pytest.mark.parametrize(("still_there", "known"), [(1, True), (2, False)])
def test_a_group_is_known_when_nearly_everybody_has_left(engine: sa.Engine, still_there: int, known: bool) -> None:
    assert RESOLVED_SHARE == 0.98
    first, ways = taught(0, 5, pass_=40 - still_there, fail=10)
    tenant = stored(engine, modules({"a": (first, [*ways, *[(None, None)] * still_there])}, weeks=8))
    samples = samples_of(engine, tenant, 7)
    usable = samples.at(week(7))
    assert len(usable.validation) == (5 * 49 if known else 0)
    # Nobody knows how those who are still there will leave: neither an event nor none.
    remaining = np.isin(samples.matrix.population.district_ids[samples.matrix.student], ["a48", "a49"][-still_there:])
    assert (usable.outcome[remaining] == UNKNOWN).all() == known
    assert not remaining[usable.validation].any()


def test_which_group_trains_and_which_validates(engine: sa.Engine) -> None:
    """Of overlapping groups: each ended one but the last trains, and only what was known by the point."""
    tenant = stored(
        engine,
        modules(
            {
                "a": taught(0, 5, pass_=4, fail=2),
                "b": taught(4, 9, pass_=4, fail=2),
                "c": taught(6, 11, pass_=3, fail=2, early=(8,)),
                "d": taught(6, 10, pass_=2, fail=2),
                "e": taught(8, 20, pass_=3, fail=2),
            }
        ),
    )
    samples = samples_of(engine, tenant, 11)
    found = {
        number: tuple(groups_of(samples, at) for at in (usable.training, usable.validation))
        for number in range(12)
        for usable in [samples.at(week(number))]
    }
    assert found == {
        **dict.fromkeys(range(5), ("", "")),
        **dict.fromkeys(range(5, 9), ("", "a")),
        9: ("a", "b"),  # a ended a week after b had begun
        10: ("ab", "d"),
        11: ("ab", "cd"),  # both began in the same week
    }
    usable = samples.at(week(11))
    assert usable.split.training == tuple(week(number) for number in range(9))
    assert usable.split.validation == tuple(week(number) for number in range(6, 11))
    left = samples.matrix.population.left[samples.matrix.student[usable.training]]
    assert (left <= np.datetime64(feature_date(week(11)))).all()
    assert not set(samples.matrix.student[usable.training]) & set(samples.matrix.student[usable.validation])


def test_a_group_begins_with_its_cohort(engine: sa.Engine) -> None:
    """Weeks before the start, or with too little data, are nobody's as-of weeks."""
    cohort = CohortSettings(minimum_weeks_of_data=2, group_by=("module",), starts={"b": week(5)})
    tenant = stored(
        engine, modules({"a": taught(0, 6, pass_=3, fail=2), "b": taught(2, 10, pass_=3, fail=2)}), cohort=cohort
    )
    samples = samples_of(engine, tenant, 11)
    usable = samples.at(week(11))
    assert {monday for number, monday in rows(samples, usable.validation)} == {week(6), week(7), week(8), week(9)}
    assert groups_of(samples, usable.training) == "a"
    assert usable.split.training[0] == week(1)


def test_later_weeks_change_nothing_of_an_earlier_point(engine: sa.Engine) -> None:
    """Asked together with later weeks or alone: also when a group gets members after it had ended."""
    district = modules({"a": taught(0, 3, pass_=3, fail=2), "b": taught(3, 7, pass_=3, fail=2)})
    late = district.students.assign(
        student_id=[uuid.UUID(int=one.int ^ 1) for one in district.students.student_id],
        district_id=[f"{one[0]}9{one[1:]}" for one in district.students.district_id],
        enrollment_date=week(9),
        exit_date=None,
        exit_type=None,
    )
    district.students = pd.concat([district.students, late], ignore_index=True)
    tenant = stored(engine, district)
    samples = samples_of(engine, tenant, 11)
    for number in (3, 7, 8):
        alone = samples_of(engine, tenant, number)
        assert contents(samples, samples.at(week(number))) == contents(alone, alone.at(week(number)))
    assert groups_of(samples, samples.at(week(8)).validation) == "b"
    assert groups_of(samples, samples.at(week(8)).training) == "a"


# A horizon of weeks.


def test_nothing_trained_on_was_unknown_when_the_validation_began(engine: sa.Engine) -> None:
    tenant = tenant_settings()
    write(engine, tenant, made_up_district(count=30))
    samples = samples_of(engine, tenant, 25)
    seen = 0
    for number in range(26):
        usable = samples.at(week(number))
        training, validation = (
            [monday for _, monday in rows(samples, at)] for at in (usable.training, usable.validation)
        )
        assert not set(usable.training) & set(usable.validation)
        if training and validation:
            seen += 1
            assert max(training) + 8 * WEEK <= min(validation)
            assert max(validation) + 8 * WEEK <= week(number)
        alone = samples_of(engine, tenant, number) if number in (14, 22) else None
        if alone:
            assert contents(samples, usable) == contents(alone, alone.at(week(number)))
    assert seen > 5


def test_a_district_without_a_cohort_has_nothing(engine: sa.Engine) -> None:
    for tenant in (tenant_settings(), tenant_settings(label=UNTIL_EXIT)):
        usable = samples_of(engine, tenant, 5).at(week(5))
        assert (usable.eligible, usable.verdicts, len(usable.training), len(usable.validation)) == (0, 0, 0, 0)


# Verdicts.


def predict(engine: sa.Engine, tenant: TenantSettings, number: str, monday: dt.date) -> uuid.UUID:
    made = uuid.uuid4()
    with engine.begin() as connection:
        known = connection.scalar(sa.select(model_metadata.c.id).where(model_metadata.c.tenant_id == tenant.name))
        if known is None:
            connection.execute(
                sa.insert(model_metadata).values(id=uuid.uuid4(), tenant_id=tenant.name, model_version=VERSION)
            )
        student = connection.scalar(
            sa.select(students.c.id).where(students.c.tenant_id == tenant.name, students.c.district_id == number)
        )
        connection.execute(
            sa.insert(predictions).values(
                id=made,
                tenant_id=tenant.name,
                student_id=student,
                feature_date=feature_date(monday),
                prediction_date=dt.datetime(2025, 1, 1, tzinfo=dt.UTC),
                risk_score=0.8,
                risk_category="high",
                confidence=0.7,
                model_version=VERSION,
            )
        )
    return made


def judge(
    engine: sa.Engine,
    tenant: TenantSettings,
    prediction: uuid.UUID,
    kind: str,
    known: dt.date,
    outcome_type: str | None = None,
) -> None:
    """A verdict that the last delivery of the week `known` brought."""
    with engine.begin() as connection:
        connection.execute(
            sa.insert(training_feedback).values(
                id=uuid.uuid4(),
                tenant_id=tenant.name,
                prediction_id=prediction,
                record_key=f"hash:{uuid.uuid4().hex}#0",
                feedback_type=kind,
                outcome_type=outcome_type,
                delivered_on=known_by(known),
            )
        )


def outcome_at(samples: Samples, point: dt.date, number: str, monday: dt.date) -> int:
    keys = rows(samples, np.arange(len(samples.matrix.student)))
    return int(samples.at(point).outcome[keys.index((number, monday))])


@pytest.fixture
def judged(engine: sa.Engine) -> TenantSettings:
    """Group a validates at week 8, and trains at week 11."""
    return stored(engine, modules({"a": taught(0, 5, pass_=4, fail=2), "b": taught(6, 11, pass_=4, fail=2)}))


def test_a_verdict_beats_the_record_once_it_is_known(engine: sa.Engine, judged: TenantSettings) -> None:
    prediction = predict(engine, judged, "a00", week(2))
    judge(engine, judged, prediction, "true_positive", week(8))
    samples = samples_of(engine, judged, 11)
    assert [outcome_at(samples, week(number), "a00", week(2)) for number in (7, 8)] == [0, 1]
    assert [outcome_at(samples, week(8), "a00", week(number)) for number in (1, 3)] == [0, 0]
    # At week 11 it trains for a validation that begins in week 6: what was said in week 8 is later knowledge.
    assert outcome_at(samples, week(11), "a00", week(2)) == 0
    with engine.begin() as connection:
        connection.execute(sa.update(training_feedback).values(delivered_on=known_by(week(6))))
    assert outcome_at(samples_of(engine, judged, 11), week(11), "a00", week(2)) == 1
    with engine.begin() as connection:
        connection.execute(sa.update(training_feedback).values(delivered_on=known_by(week(8))))
    assert [samples.at(week(number)).verdicts for number in (7, 8, 11)] == [0, 1, 1]
    # A delivery on the Tuesday after belongs to the next week.
    with engine.begin() as connection:
        connection.execute(sa.update(training_feedback).values(delivered_on=known_by(week(8)) + dt.timedelta(days=1)))
    samples = samples_of(engine, judged, 11)
    assert [samples.at(week(number)).verdicts for number in (8, 9)] == [0, 1]


def test_a_prevented_event_is_left_out(engine: sa.Engine, judged: TenantSettings) -> None:
    judge(engine, judged, predict(engine, judged, "a00", week(2)), "false_positive", week(8), "prevented")
    judge(engine, judged, predict(engine, judged, "a05", week(2)), "false_positive", week(8))
    samples = samples_of(engine, judged, 11)
    before, after = samples.at(week(7)), samples.at(week(8))
    assert set(rows(samples, before.validation)) - set(rows(samples, after.validation)) == {("a00", week(2))}
    assert outcome_at(samples, week(8), "a00", week(2)) == UNKNOWN
    assert (outcome_at(samples, week(7), "a05", week(2)), outcome_at(samples, week(8), "a05", week(2))) == (1, 0)
    later = samples.at(week(11))
    assert ("a00", week(2)) not in rows(samples, later.training)
    assert ("a00", week(3)) in rows(samples, later.training)
    assert later.verdicts == 2


def test_a_later_verdict_does_not_hide_what_was_known_earlier(engine: sa.Engine, judged: TenantSettings) -> None:
    prediction = predict(engine, judged, "a00", week(2))
    judge(engine, judged, prediction, "true_positive", week(6))
    judge(engine, judged, prediction, "false_positive", week(9))
    together = samples_of(engine, judged, 11)
    assert [outcome_at(together, week(number), "a00", week(2)) for number in (5, 6, 8, 9)] == [0, 1, 1, 0]
    assert [together.at(week(number)).verdicts for number in (5, 6, 9)] == [0, 1, 1]


def test_a_verdict_says_of_a_student_of_whom_the_record_does_not(engine: sa.Engine) -> None:
    first, ways = taught(0, 5, pass_=39, fail=10)
    tenant = stored(engine, modules({"a": (first, [*ways, (None, None)])}, weeks=8))
    judge(engine, tenant, predict(engine, tenant, "a49", week(2)), "true_positive", week(6))
    judge(engine, tenant, predict(engine, tenant, "a48", week(7)), "true_positive", week(6))  # is in no cohort
    samples = samples_of(engine, tenant, 7)
    usable = samples.at(week(7))
    assert [monday for number, monday in rows(samples, usable.validation) if number == "a49"] == [week(2)]
    assert usable.verdicts == 1


# A part of the students.


def test_a_limit_takes_whole_students_and_always_the_same(engine: sa.Engine) -> None:
    tenant = tenant_settings("limited", training=TrainingSettings())
    district = made_up_district(count=60)
    write(engine, tenant, district)
    everybody = samples_of(engine, tenant, 25)
    some = samples_of(engine, tenant, 25, maximum_rows=500)
    again = samples_of(engine, tenant, 25, maximum_rows=500)
    whole = len(everybody.matrix.student)
    assert 200 < len(some.matrix.student) < whole
    ids = some.matrix.population.district_ids
    taken, of_all = (
        pd.Series(one.matrix.population.district_ids[one.matrix.student]).value_counts() for one in (some, everybody)
    )
    assert taken.to_dict() == of_all[taken.index].to_dict(), "a student comes with all weeks"
    assert 10 < len(taken) < 50
    assert list(ids) == list(everybody.matrix.population.district_ids)
    assert contents(some, some.at(week(25))) == contents(again, again.at(week(25)))
    assert some.matrix.values.tobytes() == again.matrix.values.tobytes()
    assert len(samples_of(engine, tenant, 25, maximum_rows=10**6).matrix.student) == whole
    # Drawn by the number alone: what happened to somebody does not change who is drawn.
    with engine.begin() as connection:
        connection.execute(sa.update(students).where(students.c.tenant_id == tenant.name).values(exit_type="completed"))
    after = samples_of(engine, tenant, 25, maximum_rows=500)
    assert after.matrix.student.tolist() == some.matrix.student.tolist()


def test_the_inputs_are_the_declared_ones() -> None:
    everything = model_features(tenant_settings())
    assert everything == RECORD_FEATURES
    assert not {"weeks_of_data", *AUDIT_COLUMNS} & set(everything)
    some = tenant_settings(
        inputs=InputSettings(record=("no_grade_yet", "grade_change"), metadata={"terms": "number", "size": ("s", "m")})
    )
    assert model_features(some) == ("grade_change", "no_grade_yet", "terms", "size")
    for name in ("gpa", "weeks_of_data", "gender"):
        wrong = tenant_settings("lakeside", inputs=InputSettings(record=("grade_change", name)))
        with pytest.raises(ConfigurationError, match=rf"^\[tenants.lakeside.inputs\] record: {name} is no feature"):
            model_features(wrong)


def test_groups_are_read_from_what_was_delivered(engine: sa.Engine, judged: TenantSettings) -> None:
    with engine.connect() as connection:
        people = read_population(connection, work_of(connection, judged), judged)
    assert people.groups == ("a", "b")
    assert [people.groups[one] for one in people.group] == [one[0] for one in people.district_ids]
