"""Educators' verdicts: which one counts, what it says as a label and of the model, and whom they are asked about."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from edupulse_pipelines.risk.judging.evaluation import Measure
from edupulse_pipelines.risk.samples.feedback import (
    CENSORED,
    VERDICT_COLUMNS,
    feedback_measures,
    known_by,
    new_verdicts_since,
    open_reviews,
    propose_reviews,
    review_template,
    verdict_labels,
    verdicts,
)
from edupulse_pipelines.schema.sqlalchemy_tables import (
    model_metadata,
    predictions,
    review_proposals,
    student_features,
    students,
    training_feedback,
)
from edupulse_pipelines.settings import FeedbackSettings, ReviewSettings
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK, feature_date
from edupulse_pipelines_tests.ingest.district import FIRST_WEEK as MONDAY
from edupulse_pipelines_tests.ingest.district import District, delivery_day
from edupulse_pipelines_tests.risk.district import work_of

MOMENT = dt.datetime(2025, 9, 8, 12, tzinfo=dt.UTC)


class School:
    """A district with students and predictions in the table, and feedback to load."""

    def __init__(self, district: District) -> None:
        self.district = district
        self.engine = district.engine
        self.tenant = district.tenant
        self.name = district.tenant.name

    def enrol(self, count: int) -> list[str]:
        numbers = [f"ZQ{number:03d}" for number in range(count)]
        self.district.enrol(*numbers)
        return numbers

    def predict(
        self, categories: dict[str, str], *, week: dt.date = MONDAY, version: str = "v1", **values: Any
    ) -> dict[str, uuid.UUID]:
        """Predictions of these categories by number, for the week."""
        made = {number: uuid.uuid4() for number in categories}
        with self.engine.begin() as connection:
            if version not in connection.scalars(sa.select(model_metadata.c.model_version)).all():
                connection.execute(
                    model_metadata.insert().values(id=uuid.uuid4(), tenant_id=self.name, model_version=version)
                )
            ids = dict(connection.execute(sa.select(students.c.district_id, students.c.id)).all())
            connection.execute(
                predictions.insert(),
                [
                    {
                        "id": made[number],
                        "tenant_id": self.name,
                        "student_id": ids[number],
                        "feature_date": feature_date(week),
                        "prediction_date": MOMENT,
                        "risk_score": 0.8 if category == "high" else 0.2,
                        "risk_category": category,
                        "confidence": 0.5,
                        "model_version": version,
                    }
                    | values
                    for number, category in categories.items()
                ],
            )
            has_vector = set(
                connection.scalars(
                    sa.select(student_features.c.student_id).where(
                        student_features.c.feature_date == feature_date(week)
                    )
                )
            )
            vectors = [
                {"tenant_id": self.name, "student_id": ids[number], "feature_date": feature_date(week)}
                for number in categories
                if ids[number] not in has_vector
            ]
            if vectors:
                connection.execute(student_features.insert(), vectors)
        return made

    def judge(self, prediction: uuid.UUID, feedback_type: str | None, **values: Any) -> uuid.UUID:
        """A verdict in the table."""
        identifier = uuid.uuid4()
        with self.engine.begin() as connection:
            connection.execute(
                training_feedback.insert().values(
                    {
                        "id": identifier,
                        "tenant_id": self.name,
                        "prediction_id": prediction,
                        "record_key": f"hash:{identifier.hex}#0",
                        "feedback_type": feedback_type,
                        "delivered_on": delivery_day(1),
                    }
                    | values
                )
            )
        return identifier

    def verdicts(self, through: dt.date | None = None) -> pd.DataFrame:
        with self.engine.connect() as connection:
            return verdicts(connection, work_of(connection, self.tenant), through)

    def propose(self, *, week: dt.date = MONDAY, sample: int = 5, seed: int = 0) -> int:
        tenant = self.tenant.model_copy(update={"review": ReviewSettings(weekly_sample=sample)})
        with self.engine.begin() as connection:
            return propose_reviews(connection, work_of(connection, tenant), tenant, week, seed)

    def proposed(self) -> list[tuple[str, int]]:
        with self.engine.connect() as connection:
            return sorted(
                connection.execute(
                    sa.select(students.c.district_id, review_proposals.c.drawn_from)
                    .join_from(review_proposals, predictions, predictions.c.id == review_proposals.c.prediction_id)
                    .join(students, students.c.id == predictions.c.student_id)
                )
                .tuples()
                .all()
            )

    def open(self) -> pd.DataFrame:
        with self.engine.connect() as connection:
            return open_reviews(connection, work_of(connection, self.tenant))


@pytest.fixture
def school(engine: sa.Engine, tmp_path: Path) -> School:
    """A school on SQLite and on PostgreSQL."""
    return School(District(engine, tmp_path))


def figures(measures: list[Measure]) -> dict[str, float | None]:
    return {" ".join(part for part in (m.metric, m.parameter) if part): m.value for m in measures}


# Which verdict counts


def test_the_latest_verdict_counts_and_none_is_lost(school: School) -> None:
    """From landed files, with the reviewer; the earlier verdict is still there."""
    school.enrol(2)
    made = school.predict({"ZQ000": "high", "ZQ001": "low"})
    header = "prediction_id,feedback_type,outcome_type,outcome_date,educator_notes,reviewer"
    one, other = made["ZQ000"], made["ZQ001"]
    again = f"{other},true_negative,,,ZQ fine,ZQ-17"
    school.district.land(2, training_feedback=f"{header}\n{one},true_positive,,2025-09-10,,ZQ Ms A\n{again}\n")
    school.district.land(3, training_feedback=f"{header}\n{one},false_positive,Prevented,2025-09-20,,ZQ Mr B\n")
    school.district.run("training_feedback")
    found = school.verdicts().set_index("district_id")
    assert found.loc["ZQ000", ["feedback_type", "outcome_type"]].tolist() == ["false_positive", "Prevented"]
    assert found.loc["ZQ000", ["known_on", "said_on"]].tolist() == [delivery_day(3), dt.date(2025, 9, 20)]
    assert found.loc["ZQ001", ["feedback_type", "said_on"]].tolist() == ["true_negative", delivery_day(2)]
    stored = school.district.rows("training_feedback", "feedback_type", "reviewer")
    assert stored == [("false_positive", "ZQ Mr B"), ("true_negative", "ZQ-17"), ("true_positive", "ZQ Ms A")]

    # As it was known then, and what the same file says again is nothing new.
    assert school.verdicts(delivery_day(2)).set_index("district_id").loc["ZQ000", "feedback_type"] == "true_positive"
    assert school.verdicts(delivery_day(2) - dt.timedelta(days=1)).empty
    assert known_by(MONDAY + WEEK) == delivery_day(2)
    school.district.land(4, training_feedback=f"{header}\n{again}\n")
    assert school.district.run("training_feedback")["training_feedback"].counts[1:3] == (0, 0)


def test_another_reviewer_is_another_verdict(school: School) -> None:
    (number,) = school.enrol(1)
    made = school.predict({number: "high"})[number]
    header = "prediction_id,feedback_type,reviewer"
    school.district.land(
        2, training_feedback=f"{header}\n{made},true_positive,ZQa\n{made},true_positive,ZQb\n{made},true_positive,\n"
    )
    assert school.district.run("training_feedback")["training_feedback"].counts == (3, 3, 0, 0, 0)
    school.district.land(3, training_feedback=f"{header},_deleted\n{made},true_positive,ZQb,true\n")
    school.district.run("training_feedback")
    stored = school.district.rows("training_feedback", "reviewer", "deleted_on")
    assert stored == [("ZQa", None), ("ZQb", delivery_day(3)), (None, None)]


def test_order_of_verdicts(school: School) -> None:
    """By outcome date or else the delivery's, then by delivery; whichever was loaded first."""
    said: list[tuple[str, dict[str, Any]]] = [
        ("true_negative", {"outcome_date": dt.date(2025, 9, 2), "delivered_on": delivery_day(4)}),
        ("false_positive", {"delivered_on": delivery_day(2)}),
        ("false_negative", {"outcome_date": delivery_day(2), "delivered_on": delivery_day(2)}),
        ("true_positive", {"outcome_date": delivery_day(2), "delivered_on": delivery_day(3)}),
    ]
    orders = list(itertools.permutations(said))
    made = school.predict(dict.fromkeys(school.enrol(len(orders)), "high"))
    for prediction, order in zip(made.values(), orders, strict=True):
        for kind, values in order:
            school.judge(prediction, kind, **values)
    assert school.verdicts()["feedback_type"].tolist() == ["true_positive"] * len(orders)


def test_what_is_no_verdict(school: School) -> None:
    """Taken back, without a feedback type, of another tenant."""
    numbers = school.enrol(2)
    made = school.predict(dict.fromkeys(numbers, "high"))
    school.judge(made["ZQ000"], "true_positive")
    school.judge(made["ZQ000"], "false_positive", delivered_on=delivery_day(2), deleted_on=delivery_day(3))
    school.judge(made["ZQ000"], None, outcome_type="moved", delivered_on=delivery_day(3))
    school.judge(made["ZQ001"], None)
    assert school.verdicts()["feedback_type"].tolist() == ["true_positive"]
    with school.engine.connect() as connection:
        nobody = verdicts(connection, Work(connection.engine, "elsewhere"))
    assert tuple(nobody.columns) == VERDICT_COLUMNS
    assert verdict_labels(nobody).empty
    assert feedback_measures(nobody) == {}


# As labels


def test_labels_keep_prevented_apart(school: School) -> None:
    numbers = school.enrol(5)
    made = school.predict(dict.fromkeys(numbers, "high"))
    newer = school.predict({"ZQ000": "low"}, version="v2")
    later = school.predict({"ZQ000": "high"}, week=MONDAY + WEEK)
    kinds = ("true_positive", "false_positive", "true_negative", "false_negative", "false_positive")
    for number, kind in zip(numbers, kinds, strict=True):
        school.judge(made[number], kind, outcome_type=" Helped " if number == "ZQ004" else None)
    school.judge(newer["ZQ000"], "true_negative", delivered_on=delivery_day(2))  # the same student and week
    school.judge(later["ZQ000"], "true_positive", outcome_type="prevented")  # right is right
    labels = verdict_labels(school.verdicts())
    assert labels.to_dict("list") == {
        "district_id": [*numbers, "ZQ000"],
        "week": [MONDAY] * 5 + [MONDAY + WEEK],
        "label": [0, 0, 0, 1, CENSORED, 1],
    }
    assert labels["label"].dtype == np.int8
    assert verdict_labels(school.verdicts(), FeedbackSettings(prevented=()))["label"].tolist() == [0, 0, 0, 1, 0, 1]


# As figures of a model


def test_measures_of_each_model_version(school: School) -> None:
    numbers = school.enrol(8)
    flagged = school.predict(dict.fromkeys(numbers[:6], "high"))
    quiet = school.predict(dict.fromkeys(numbers[6:], "medium"))
    other = school.predict({numbers[0]: "low"}, version="v2")
    for number, kind, outcome in (
        ("ZQ000", "true_positive", None),
        ("ZQ001", "true_positive", None),
        ("ZQ002", "false_positive", "attended"),
        ("ZQ003", "false_positive", "prevented"),
    ):
        school.judge(flagged[number], kind, outcome_type=outcome)
    school.judge(quiet["ZQ006"], "true_positive")  # not flagged, whatever the educator calls it: missed
    school.judge(quiet["ZQ007"], "true_negative")
    school.judge(other["ZQ000"], "true_negative")
    found = feedback_measures(school.verdicts())
    assert list(found) == ["v1", "v2"]
    measured = figures(found["v1"])
    assert {name: value for name, value in measured.items() if name.startswith("verdict_count")} == {
        "verdict_count": 6,
        "verdict_count true_positive": 3,
        "verdict_count false_positive": 1,
        "verdict_count true_negative": 1,
        "verdict_count false_negative": 0,
        "verdict_count prevented": 1,
    }
    assert measured["verdict_precision"] == pytest.approx(2 / 3, abs=1e-6)
    assert measured["verdict_prevented_share"] == 0.25
    assert measured["verdict_recall"] == pytest.approx(2 / 3, abs=1e-6)
    # Wilson's interval of 2 in 3, as Newcombe (1998) computes it.
    assert measured["verdict_precision low"] == pytest.approx(0.2077, abs=5e-5)
    assert measured["verdict_precision high"] == pytest.approx(0.9385, abs=5e-5)
    # Nobody was drawn at random, so nothing is known of the unflagged in general.
    assert measured["verdict_false_omission_rate"] is None
    assert measured["verdict_false_negative_rate"] is None
    assert measured["verdict_false_negative_rate high"] is None
    second = figures(found["v2"])
    assert (second["verdict_precision"], second["verdict_recall"], second["verdict_count"]) == (None, None, 1)


def drawn_verdicts(
    weeks: list[dict[str, Any]], *, answered: float = 1.0, seed: int = 0
) -> tuple[pd.DataFrame, float, float]:
    """Verdicts as `verdicts` gives them for made-up weeks, and the true false-omission and false-negative rates."""
    random = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    missed = unflagged = caught = 0
    for number, one in enumerate(weeks):
        day = feature_date(MONDAY + number * WEEK)
        events = random.random(one["unflagged"]) < one["rate"]
        hits = random.random(one["flagged"]) < one["precision"]
        missed, unflagged, caught = missed + events.sum(), unflagged + len(events), caught + hits.sum()
        same = {"feature_date": day, "model_version": "v1", "outcome_type": None}
        drawn = random.choice(len(events), one["drawn"], replace=False)
        rows += [
            same
            | {
                "district_id": f"{number}-{student}",
                "flagged": False,
                "feedback_type": "false_negative" if events[student] else "true_negative",
                "drawn_from": len(events),
                "drawn": one["drawn"],
                "week_flagged": len(hits),
            }
            for student in drawn
            if random.random() < answered
        ]
        rows += [
            same | {"district_id": f"{number}+{i}", "flagged": True, "feedback_type": f"{str(hit).lower()}_positive"}
            for i, hit in enumerate(hits)
            if random.random() < 0.5
        ]
    return pd.DataFrame(rows), missed / unflagged, missed / max(missed + caught, 1)


def test_false_negatives_of_everybody_are_estimated_within_their_interval() -> None:
    """Big weeks have more misses, and every week draws as many: without weights the estimate is wrong."""
    weeks = [
        {"unflagged": 400, "rate": 0.3, "flagged": 40, "precision": 0.7, "drawn": 5},
        {"unflagged": 50, "rate": 0.02, "flagged": 5, "precision": 0.7, "drawn": 5},
    ] * 8
    estimates, naive, inside = [], [], {"verdict_false_omission_rate": 0, "verdict_false_negative_rate": 0}
    repeats = 150
    for seed in range(repeats):
        frame, omission, negative = drawn_verdicts(weeks, answered=0.8, seed=seed)
        found = figures(feedback_measures(frame)["v1"])
        reviews = frame[~frame["flagged"]]
        naive.append((reviews["feedback_type"] == "false_negative").mean() - omission)
        estimates.append(found["verdict_false_omission_rate"] - omission)
        for metric, truth in (("verdict_false_omission_rate", omission), ("verdict_false_negative_rate", negative)):
            assert found[f"{metric} low"] <= found[metric] <= found[f"{metric} high"]
            inside[metric] += found[f"{metric} low"] <= truth <= found[f"{metric} high"]
    assert abs(np.mean(estimates)) < 0.02
    assert np.mean(naive) < -0.08
    # 150 draws of a 95 % interval: fewer than 135 inside would happen once in a hundred.
    assert min(inside.values()) >= 135


@pytest.mark.parametrize(
    ("rate", "flagged", "precision", "expected"),
    [
        (1.0, 10, 0.0, 1.0),  # everything was missed
        (0.0, 10, 1.0, 0.0),  # nothing was
        (0.0, 10, 0.0, None),  # nothing happened: nothing could be missed
        (1.0, 0, 0.0, 1.0),  # nobody was flagged
    ],
)
def test_edges_of_the_false_negative_rate(rate: float, flagged: int, precision: float, expected: float | None) -> None:
    frame, _, _ = drawn_verdicts(
        [{"unflagged": 12, "rate": rate, "flagged": flagged, "precision": precision, "drawn": 5}]
    )
    found = figures(feedback_measures(frame.reindex(columns=list(VERDICT_COLUMNS)))["v1"])
    assert found["verdict_false_negative_rate"] == expected
    assert found["verdict_false_omission_rate"] == rate


def test_flagged_students_without_a_verdict_leave_the_rate_open() -> None:
    frame, _, _ = drawn_verdicts([{"unflagged": 12, "rate": 1.0, "flagged": 8, "precision": 0.5, "drawn": 5}])
    found = figures(feedback_measures(frame[~frame["flagged"]])["v1"])
    assert found["verdict_false_omission_rate"] == 1.0
    assert found["verdict_false_negative_rate"] is None


def test_a_student_drawn_every_week_is_not_many_reviews() -> None:
    frame, _, _ = drawn_verdicts([{"unflagged": 5, "rate": 0.0, "flagged": 0, "precision": 0.0, "drawn": 5}] * 10)
    wide = figures(feedback_measures(frame.assign(district_id=frame["district_id"].str.partition("-")[2]))["v1"])
    narrow = figures(feedback_measures(frame)["v1"])
    assert wide["verdict_false_omission_rate high"] > 0.4
    assert narrow["verdict_false_omission_rate high"] < 0.1


# Whom to ask about


def test_unflagged_students_are_drawn_once(school: School) -> None:
    numbers = school.enrol(30)
    flagged = dict.fromkeys(numbers[:6], "high") | dict.fromkeys(numbers[6:10], "critical")
    school.predict(flagged | dict.fromkeys(numbers[10:18], "medium") | dict.fromkeys(numbers[18:], "low"))
    assert school.propose() == 5
    drawn = school.proposed()
    assert len({number for number, _ in drawn}) == 5
    assert {drawn_from for _, drawn_from in drawn} == {20}
    assert not {number for number, _ in drawn} & set(flagged)
    # Whatever comes later, the week's draw stays.
    assert school.propose() == 0
    assert school.propose(seed=1, sample=9) == 0
    school.predict(dict.fromkeys(numbers, "low"), version="v2", prediction_date=MOMENT + dt.timedelta(days=1))
    assert school.propose() == 0
    assert school.proposed() == drawn


def test_a_draw_depends_on_seed_week_and_model_alone(school: School, across: dict[str, Any]) -> None:
    numbers = school.enrol(200)
    draws = []
    for version, week, seed in (("v1", MONDAY, 0), ("v1", MONDAY + WEEK, 0), ("v2", MONDAY, 0), ("v1", MONDAY, 1)):
        with school.engine.begin() as connection:
            connection.execute(sa.delete(review_proposals))
            connection.execute(sa.delete(predictions))
        school.predict(dict.fromkeys(numbers, "low"), version=version, week=week)
        assert school.propose(week=week, seed=seed) == 5
        draws.append(tuple(number for number, _ in school.proposed()))
    assert len(set(draws)) == 4
    # The same on both databases, though every id is another.
    assert across.setdefault("draws", draws) == draws


@pytest.fixture(scope="module")
def across() -> dict[str, Any]:
    """What a test found on the first database."""
    return {}


def test_everybody_is_as_likely_to_be_drawn(school: School) -> None:
    if school.engine.dialect.name != "sqlite":
        pytest.skip("the draw is the same on both")
    numbers = school.enrol(20)
    school.predict(dict.fromkeys(numbers, "low"))
    count = dict.fromkeys(numbers, 0)
    for seed in range(300):
        school.propose(seed=seed)
        for number, _ in school.proposed():
            count[number] += 1
        with school.engine.begin() as connection:
            connection.execute(sa.delete(review_proposals))
    expected = 300 * 5 / 20
    # Chi-squared with 19 degrees of freedom (less the draw's own: without replacement): 43.8 is passed once in a 1000.
    assert sum((seen - expected) ** 2 / expected for seen in count.values()) / (1 - 5 / 20) < 43.8


def test_who_is_not_drawn(school: School) -> None:
    """Hindsight, students who had left or were deleted; and there may be fewer than the sample, or nobody."""
    numbers = school.enrol(5)
    with school.engine.begin() as connection:
        gone = sa.update(students).where(students.c.district_id == "ZQ000").values(deleted_on=MONDAY)
        connection.execute(gone)
        someone = connection.scalar(sa.select(students.c.id).where(students.c.district_id == "ZQ001"))
    assert school.propose() == 0  # no predictions
    school.predict(dict.fromkeys(numbers, "low"), week=MONDAY - WEEK, rescored=True)
    assert school.propose(week=MONDAY - WEEK) == 0
    school.predict(dict.fromkeys(numbers, "high"), week=MONDAY + WEEK)
    assert school.propose(week=MONDAY + WEEK) == 0
    school.predict(dict.fromkeys(numbers, "low"))
    with school.engine.begin() as connection:  # as the features do with the vectors of who has left
        connection.execute(sa.delete(student_features).where(student_features.c.student_id == someone))
    assert school.propose(sample=0) == 0
    assert school.propose() == 3
    assert school.proposed() == [("ZQ002", 3), ("ZQ003", 3), ("ZQ004", 3)]


def test_the_model_that_scored_last_is_asked_about(school: School) -> None:
    numbers = school.enrol(4)
    school.predict(dict.fromkeys(numbers, "low"))
    school.predict(
        dict.fromkeys(numbers[:2], "low") | dict.fromkeys(numbers[2:], "high"),
        version="v2",
        prediction_date=MOMENT + dt.timedelta(hours=1),
    )
    assert school.propose() == 2
    assert school.open()["model_version"].tolist() == ["v2", "v2"]


def test_reviews_from_template_to_verdict(school: School) -> None:
    """The template can be landed as it is; filled in row by row, it closes the reviews."""
    numbers = school.enrol(12)
    school.predict(dict.fromkeys(numbers[:2], "high") | dict.fromkeys(numbers[2:], "low"))
    assert school.propose(sample=3) == 3
    reviews = school.open()
    assert reviews["district_id"].tolist() == [number for number, _ in school.proposed()]
    template = review_template(reviews, school.tenant.profile)
    header, *lines = template.decode().splitlines()
    assert header == (
        "prediction_id,district_id,prediction_date,model_version,"
        "feedback_type,outcome_type,outcome_date,educator_notes,reviewer"
    )
    assert "2025-09-07,v1" in lines[0]
    school.district.land(2, training_feedback=template)
    assert school.district.run("training_feedback")["training_feedback"].counts == (3, 3, 0, 0, 0)
    assert len(school.open()) == 3  # nobody has said anything yet
    assert school.verdicts().empty

    answer = {0: "false_negative", 1: "true_negative"}
    filled = [line.replace(",,,,,", f",{answer.get(i, '')},,,,ZQ Ms A") for i, line in enumerate(lines)]
    school.district.land(3, training_feedback="\n".join([header, *filled]))
    school.district.run("training_feedback")
    assert school.open()["district_id"].tolist() == reviews["district_id"].tolist()[2:]
    found = school.verdicts()
    assert found[["drawn_from", "drawn", "week_flagged"]].to_numpy().tolist() == [[10, 3, 2]] * 2
    measured = figures(feedback_measures(found)["v1"])
    assert measured["verdict_false_omission_rate"] == 0.5
    assert measured["verdict_false_negative_rate"] is None  # nobody has judged the flagged

    with school.engine.begin() as connection:
        last = students.c.district_id == reviews["district_id"].iloc[2]
        connection.execute(sa.update(students).where(last).values(deleted_on=MONDAY))
    assert school.open().empty


def test_the_template_is_written_as_the_district_writes(engine: sa.Engine, tmp_path: Path) -> None:
    profile = {"date_format": "DD.MM.YYYY", "delimiter": ";", "encoding": "utf-16"}
    school = School(District(engine, tmp_path, profile=profile))
    (number,) = school.enrol(1)
    school.predict({number: "low"})
    school.propose()
    template = review_template(school.open(), school.tenant.profile)
    assert ";07.09.2025;v1;;;;;" in template.decode("utf-16")
    filled = template.decode("utf-16").replace(";;;;;", ";false_negative;left;17.09.2025;;")
    school.district.land(3, training_feedback=filled.encode("utf-16"))
    assert school.district.run("training_feedback")["training_feedback"].counts == (1, 1, 0, 0, 0)
    assert school.open().empty
    assert school.verdicts()["said_on"].tolist() == [dt.date(2025, 9, 17)]


# When there is something to learn


def test_new_verdicts_since(school: School) -> None:
    numbers = school.enrol(3)
    made = school.predict(dict.fromkeys(numbers, "high"))
    long_ago, before, after = (dt.datetime(2025, 10, day, tzinfo=dt.UTC) for day in (1, 2, 4))
    model = dt.datetime(2025, 10, 3, tzinfo=dt.UTC)

    def count(since: dt.datetime = model) -> int:
        with school.engine.connect() as connection:
            return new_verdicts_since(connection, work_of(connection, school.tenant), since)

    old = {"created_at": before, "updated_at": before}
    new = {"created_at": after, "updated_at": after}
    school.judge(made["ZQ000"], "true_positive", **old)
    taken_back = school.judge(made["ZQ001"], "true_positive", **old)
    school.judge(made["ZQ001"], None, **new)
    assert (count(), count(long_ago)) == (0, 2)
    school.judge(made["ZQ000"], "false_positive", **new)
    school.judge(made["ZQ000"], "true_positive", **new)  # two on one prediction
    school.judge(made["ZQ002"], "true_positive", deleted_on=MONDAY, **new)  # given and taken back since
    assert count() == 1
    with school.engine.begin() as connection:
        of_it = training_feedback.c.id == taken_back
        connection.execute(sa.update(training_feedback).where(of_it).values(deleted_on=MONDAY))
    assert count() == 2
