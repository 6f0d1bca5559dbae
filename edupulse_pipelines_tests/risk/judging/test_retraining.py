"""What makes a training due between two that are scheduled."""

from __future__ import annotations

import datetime as dt
import re
import uuid

import pytest
import sqlalchemy as sa

from edupulse_pipelines.risk.book.decisions import record_decision, record_measures
from edupulse_pipelines.risk.book.identity import settings_hash_of
from edupulse_pipelines.risk.book.looks import challengers_of
from edupulse_pipelines.risk.health import HEALTH, IN_USE, MATURED
from edupulse_pipelines.risk.judging.evaluation import Measure
from edupulse_pipelines.risk.judging.retraining import retraining_due, retraining_reason, stale_champion
from edupulse_pipelines.schema.sqlalchemy_tables import model_metadata, predictions, students, training_feedback
from edupulse_pipelines.settings import LabelSettings, TenantSettings, TrainingSettings
from edupulse_pipelines.storage.ids import new_ids
from edupulse_pipelines.weeks import WEEK, feature_date
from edupulse_pipelines_tests.risk.district import FIRST_WEEK, tenant_settings, week, work_of

CHAMPION, CHALLENGER = "2024-10-28-aaaaaaaa", "2024-12-23-bbbbbbbb"
NOON = dt.datetime(2025, 1, 1, 12, tzinfo=dt.UTC)


@pytest.fixture
def tenant() -> TenantSettings:
    return tenant_settings(training=TrainingSettings(retrain_on_feedback=3))


def record(engine: sa.Engine, tenant: TenantSettings, version: str, trained_at: dt.datetime) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.insert(model_metadata).values(
                id=new_ids(1)[0],
                tenant_id=tenant.name,
                model_version=version,
                model_type="logistic",
                training_date=trained_at,
                performance_metrics={},
                hyperparameters={},
                data_through=dt.date.fromisoformat(version[:10]),
                data_hash="0",
                settings_hash=settings_hash_of(tenant),
                promoted=True,
                registry_version="1",
                mlflow_run_id="x",
                is_active=version == CHAMPION,
            )
        )


def measured(
    engine: sa.Engine, tenant: TenantSettings, monday: dt.date, psi: float, version: str = CHAMPION, scope: str = HEALTH
) -> None:
    with engine.begin() as connection:
        found = [Measure("score_psi", "", "", psi, 40)]
        record_measures(connection, work_of(connection, tenant), version, IN_USE, scope, feature_date(monday), found)


def judged(engine: sa.Engine, tenant: TenantSettings, count: int, at: dt.datetime) -> None:
    """So many predictions with a verdict that came at this moment."""
    ids = [uuid.uuid4() for _ in range(count)]
    with engine.begin() as connection:
        connection.execute(
            sa.insert(students),
            [
                {
                    "id": one,
                    "tenant_id": tenant.name,
                    "district_id": f"s{one.hex[:8]}",
                    "first_name": "A",
                    "last_name": "B",
                    "date_of_birth": dt.date(2010, 1, 1),
                    "grade_level": 9,
                    "enrollment_date": FIRST_WEEK,
                    "delivered_on": FIRST_WEEK,
                }
                for one in ids
            ],
        )
        connection.execute(
            sa.insert(predictions),
            [
                {
                    "id": one,
                    "tenant_id": tenant.name,
                    "student_id": one,
                    "feature_date": feature_date(week(3)),
                    "prediction_date": NOON,
                    "risk_score": 0.8,
                    "risk_category": "high",
                    "confidence": 0.7,
                    "model_version": CHAMPION,
                }
                for one in ids
            ],
        )
        connection.execute(
            sa.insert(training_feedback),
            [
                {
                    "id": uuid.uuid4(),
                    "tenant_id": tenant.name,
                    "prediction_id": one,
                    "record_key": f"hash:{one.hex}#0",
                    "feedback_type": "true_positive",
                    "delivered_on": FIRST_WEEK,
                    "created_at": at,
                    "updated_at": at,
                }
                for one in ids
            ],
        )


def due(engine: sa.Engine, tenant: TenantSettings) -> str | None:
    with engine.connect() as connection:
        return retraining_due(connection, work_of(connection, tenant), tenant, dt.date.fromisoformat(CHALLENGER[:10]))


def test_without_a_model_nothing_but_the_schedule_asks(engine: sa.Engine, tenant: TenantSettings) -> None:
    assert due(engine, tenant) is None
    record(engine, tenant, CHAMPION, NOON)
    measured(engine, tenant, week(12), 0.9)
    # A model of another label, or of another tenant, is none.
    assert due(engine, tenant.model_copy(update={"label": LabelSettings(failing_below=50)})) is None
    assert due(engine, tenant_settings()) is None
    assert due(engine, tenant) == "The scores have drifted (PSI 0.90, limit 0.25)."


def test_the_newest_week_says_whether_something_has_drifted(engine: sa.Engine, tenant: TenantSettings) -> None:
    record(engine, tenant, CHAMPION, NOON)
    assert due(engine, tenant) is None
    measured(engine, tenant, week(12), 0.25)
    measured(engine, tenant, week(11), 0.0)
    assert due(engine, tenant) == "The scores have drifted (PSI 0.25, limit 0.25)."
    measured(engine, tenant, week(13), 0.24)
    assert due(engine, tenant) is None
    measured(engine, tenant, week(14), 0.9, scope=MATURED)
    assert due(engine, tenant) is None


def test_drift_that_was_trained_on_asks_once(engine: sa.Engine, tenant: TenantSettings) -> None:
    """A challenger that was not promoted would otherwise be trained again every week."""
    record(engine, tenant, CHAMPION, NOON)
    measured(engine, tenant, week(15), 0.9)
    assert due(engine, tenant) is not None
    record(engine, tenant, CHALLENGER, NOON + dt.timedelta(hours=1))
    measured(engine, tenant, week(16), 0.9)
    assert due(engine, tenant) is None
    # As soon as it scores itself, its own drift counts.
    measured(engine, tenant, week(17), 0.4, version=CHALLENGER)
    assert due(engine, tenant) == "The scores have drifted (PSI 0.40, limit 0.25)."


def test_verdicts_since_the_newest_model_ask_for_one(engine: sa.Engine, tenant: TenantSettings) -> None:
    record(engine, tenant, CHAMPION, NOON)
    judged(engine, tenant, 5, NOON - dt.timedelta(seconds=1))
    judged(engine, tenant, 2, NOON + dt.timedelta(seconds=1))
    assert due(engine, tenant) is None
    judged(engine, tenant, 1, NOON + dt.timedelta(days=9))
    assert due(engine, tenant) == "Educators gave 3 verdicts since the newest model."
    measured(engine, tenant, week(12), 0.5)
    assert due(engine, tenant) == (
        "The scores have drifted (PSI 0.50, limit 0.25); educators gave 3 verdicts since the newest model."
    )
    record(engine, tenant, CHALLENGER, NOON + dt.timedelta(days=2))
    assert due(engine, tenant) is None


@pytest.mark.parametrize(
    ("score", "inputs", "verdicts", "words"),
    [
        (0.1, [0.0, 0.1, 0.2, 0.24], 49, None),
        (0.25, [0.0], 0, r"^The scores have drifted \(PSI 0.25, limit 0.25\)\.$"),
        (None, [0.3, None, None, None], 0, r"^1 of 1 inputs have drifted \(f0\)\.$"),
        (0.0, [0.3, 0.0, 0.0, 0.0, 0.0], 0, None),
        (0.0, [0.3, 0.4, 0.0, 0.0, 0.0], 0, r"^2 of 5 inputs have drifted \(f1, f0\)\.$"),
        (0.0, [], 50, r"^Educators gave 50 verdicts since the newest model\.$"),
        (1.0, [], 70, r"drifted .*; educators gave 70"),
    ],
)
def test_when_a_training_is_due(
    score: float | None, inputs: list[float | None], verdicts: int, words: str | None
) -> None:
    measures = [Measure("psi", f"f{number}", "", value, 10) for number, value in enumerate(inputs)]
    measures.append(Measure("score_psi", "", "", score, 10))
    reason = retraining_reason(measures, TrainingSettings(), verdicts)
    if words is None:
        assert reason is None
    else:
        assert re.search(words, reason)


def compare(engine: sa.Engine, tenant: TenantSettings, version: str, *, compared: bool = True) -> None:
    with engine.begin() as connection:
        record_decision(
            connection,
            work_of(connection, tenant),
            version,
            kind="gate",
            promoted=False,
            reason="Not promoted.",
            numbers={"champion_compared": compared},
            previous_version=CHAMPION,
        )


def test_a_champion_that_was_not_judged_for_long_makes_a_training_due(
    engine: sa.Engine, tenant: TenantSettings
) -> None:
    made = dt.date.fromisoformat(CHAMPION[:10])
    with engine.begin() as connection:
        assert stale_champion(connection, work_of(connection, tenant), tenant, made + 100 * WEEK) is None
    record(engine, tenant, CHAMPION, NOON)

    def stale(weeks: int) -> str | None:
        with engine.begin() as connection:
            work = work_of(connection, tenant)
            said = stale_champion(connection, work, tenant, made + weeks * WEEK)
            assert retraining_due(connection, work, tenant, made + weeks * WEEK) == said
        return said

    assert stale(39) is None
    assert stale(40) == (
        f"The champion {CHAMPION} was last judged with data through the week of {made}, 40 weeks ago "
        "(champion_weeks = 40)."
    )
    # A challenger that was compared eight weeks later, and refused, begins it anew; one that was not does not.
    record(engine, tenant, CHALLENGER, NOON)
    compare(engine, tenant, CHALLENGER, compared=False)
    assert stale(47) is not None
    compare(engine, tenant, CHALLENGER)
    assert stale(47) is None
    assert stale(48) is not None


def test_looks_at_a_champion_are_the_models_that_were_compared_with_it(
    engine: sa.Engine, tenant: TenantSettings
) -> None:
    record(engine, tenant, CHAMPION, NOON)
    record(engine, tenant, CHALLENGER, NOON)
    for _ in range(2):
        compare(engine, tenant, CHALLENGER)
    with engine.begin() as connection:
        work = work_of(connection, tenant)
        assert challengers_of(connection, work, CHAMPION) == {CHALLENGER: dt.date.fromisoformat(CHALLENGER[:10])}
        assert challengers_of(connection, work, CHALLENGER) == {}
