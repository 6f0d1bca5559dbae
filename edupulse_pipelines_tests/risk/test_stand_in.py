"""The rule where a training gives no model, or none that beats it: recorded, registered, champion, and scored with."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.risk.book.champion import rollback
from edupulse_pipelines.risk.book.decisions import decisions
from edupulse_pipelines.risk.book.mirror import differences
from edupulse_pipelines.risk.book.records import ModelRecord, model_records, trained_models
from edupulse_pipelines.risk.book.registry import CARD_DOCUMENTS, Registry
from edupulse_pipelines.risk.book.reproduction import reproduce
from edupulse_pipelines.risk.judging.promotion import Decision
from edupulse_pipelines.risk.models.baseline import RuleModel
from edupulse_pipelines.risk.scoring import score_weeks
from edupulse_pipelines.risk.stand_in import keep_rule
from edupulse_pipelines.risk.training import train_risk_models
from edupulse_pipelines.risk.weekly import score_and_measure
from edupulse_pipelines.schema.sqlalchemy_tables import predictions
from edupulse_pipelines.settings import LabelSettings, TenantSettings, TrainingSettings
from edupulse_pipelines.weeks import feature_date
from edupulse_pipelines_tests.risk.district import made_up_district, tenant_settings, week, work_of, write

QUICK = TrainingSettings(candidates=("logistic",), tuning_fits=0)
EARLY, LAST = week(13), week(25)
"""The outcomes of the first weeks with a cohort are known; a model can be trained."""

one_database = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
pytestmark = one_database


@pytest.fixture
def tenant(engine: sa.Engine) -> TenantSettings:
    tenant = tenant_settings(training=QUICK)
    write(engine, tenant, made_up_district(count=60))
    return tenant


def records(engine: sa.Engine, tenant: TenantSettings) -> list[ModelRecord]:
    with engine.connect() as connection:
        return model_records(connection, work_of(engine, tenant))


def by_standing(engine: sa.Engine, tenant: TenantSettings, registry: Registry, *weeks: int) -> list[tuple]:
    report = score_weeks(work_of(engine, tenant), tenant, [week(number) for number in weeks], registry)
    return [(one.standing, one.kind, one.probabilities) for one in report.weeks]


def refuse(monkeypatch: pytest.MonkeyPatch, *, promoted: bool = False) -> None:
    monkeypatch.setattr("edupulse_pipelines.risk.training.decide", lambda **_: Decision(promoted, {}))


def test_before_a_model_the_rule_has_the_probabilities_that_known_outcomes_allow(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry
) -> None:
    work = work_of(engine, tenant)
    (outcome,) = train_risk_models(work, tenant, [EARLY], registry)
    assert outcome.status == "no_model"
    (rule,) = records(engine, tenant)
    assert (rule.model_type, rule.data_through, rule.promoted, rule.is_active) == ("rule", EARLY, False, False)
    assert rule.model_version.startswith(f"{EARLY}-rule-")
    assert rule.hyperparameters["rule"]["calibration"]["events"] >= QUICK.minimum_train_per_class
    with engine.connect() as connection:
        assert trained_models(connection, work) == [], "a rule makes no training less due, and is no champion to beat"
    assert by_standing(engine, tenant, registry, 12, 13, 25) == [
        ("rule", "rule", False),
        ("rule", "rule", True),
        ("rule", "rule", True),
    ]
    with engine.connect() as connection:
        rows = connection.execute(sa.select(predictions).where(predictions.c.model_version == rule.model_version)).all()
    assert all(0 < row.risk_score < 1 and 0 <= row.confidence <= 1 for row in rows)
    order = sorted(rows, key=lambda row: row.rule_score)
    assert [row.risk_score for row in order] == sorted(row.risk_score for row in rows)
    # In the registry, like any model, with a card; and what it learned can be learned again.
    assert differences(work, registry) == []
    assert isinstance(registry.load_model(tenant.name, rule.model_version, rule.registry_version), RuleModel)
    assert rule.mlflow is not None
    card = registry.run_document(str(rule.mlflow.run_id), CARD_DOCUMENTS["markdown"])
    assert card is not None and "Nothing in it is trained" in card
    assert reproduce(work, tenant, rule.model_version, registry).reproduced
    # Not once a week: at most every `retrain_weeks`.
    train_risk_models(work, tenant, [week(14)], registry)
    assert [one.data_through for one in records(engine, tenant) if one.data_through] == [EARLY]


def test_when_nothing_beats_the_rule_it_is_champion_until_something_does(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = work_of(engine, tenant)
    refuse(monkeypatch)
    (outcome,) = train_risk_models(work, tenant, [week(24)], registry)
    rule = next(one for one in records(engine, tenant) if one.is_active)
    assert (rule.model_type, rule.promoted, rule.data_through) == ("rule", True, week(24))
    assert registry.champion(tenant.name) == rule.model_version
    assert outcome.reason.endswith(f"Nothing beats the rule, which is champion ({rule.model_version}).")
    with engine.connect() as connection:
        (decision,) = decisions(connection, work, rule.model_version)
    assert (decision.promoted, outcome.model_version in decision.reason) == (True, True)
    assert {"auc_roc", "baseline"} <= set(rule.metrics)
    assert by_standing(engine, tenant, registry, 24) == [("champion", "rule", True)]
    assert differences(work, registry) == []
    # Under another label the present rule is there at once; a week that was scored keeps what scored it.
    other = tenant.model_copy(update={"label": LabelSettings(failing_below=70)})
    old, new = score_weeks(work, other, [week(24), LAST], registry).weeks
    assert (old.model_version, old.inserted) == (rule.model_version, 0)
    assert (new.standing, new.kind, new.probabilities) == ("rule", "rule", False)

    refuse(monkeypatch, promoted=True)
    train_risk_models(work, tenant, [LAST], registry)
    active = next(one for one in records(engine, tenant) if one.is_active)
    assert active.model_type == "logistic"
    assert by_standing(engine, tenant, registry, 24, 25) == [("champion", "rule", True), ("champion", "logistic", True)]
    assert rollback(work, registry, reason="it flags too many").model_version == rule.model_version
    assert by_standing(engine, tenant, registry, 25) == [("champion", "rule", True)]
    with pytest.raises(PermanentError):
        rollback(work, registry, reason="there is none before")


@pytest.mark.parametrize(
    "label",
    [
        LabelSettings(attendance_below=1.0, failing_below=100, incident_count=1),
        LabelSettings(rule=False, failing_below=1, serious_severity=False, incident_count=False, exit_types=()),
    ],
    ids=["everybody", "nobody"],
)
def test_outcomes_of_one_kind_leave_the_rule_without_probabilities(
    engine: sa.Engine, registry: Registry, label: LabelSettings
) -> None:
    tenant = tenant_settings(training=QUICK, label=label)
    write(engine, tenant, made_up_district(count=40))
    (outcome,) = train_risk_models(work_of(engine, tenant), tenant, [EARLY], registry)
    assert outcome.status == "no_model"
    assert [one.data_through for one in records(engine, tenant) if one.data_through] == []
    assert by_standing(engine, tenant, registry, 13) == [("rule", "rule", False)]


def test_the_rule_without_labels_is_registered_once(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry
) -> None:
    work = work_of(engine, tenant)
    assert by_standing(engine, tenant, registry, 6) == [("rule", "rule", False)]
    (rule,) = records(engine, tenant)
    assert (rule.mlflow, rule.data_through, differences(work, registry)) == (None, None, [])
    for _ in range(2):
        keep_rule(work, tenant, registry)
    (kept,) = records(engine, tenant)
    assert registry.model_versions(tenant.name) == {rule.model_version: ["1"]}
    assert (kept.registry_version, kept.promoted, kept.is_active) == ("1", False, False)
    assert differences(work, registry) == []
    assert reproduce(work, tenant, rule.model_version, registry).reproduced


def test_health_of_a_rule_without_probabilities_goes_by_its_order(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry
) -> None:
    work = work_of(engine, tenant)
    measured = score_and_measure(work, tenant, [week(10), week(18)], registry)
    by_week = {
        one: {(measure.metric, measure.parameter): measure.value for measure in measures}
        for one, measures in measured.health.items()
    }
    first, later = by_week[week(10)], by_week[week(18)]
    assert (first["score_psi", ""], first["predicted_event_rate", ""], first["psi_changed_share", ""]) == (None,) * 3
    with engine.connect() as connection:
        flagged = connection.scalars(
            sa.select(predictions.c.risk_category.in_(("high", "critical"))).where(
                predictions.c.feature_date == feature_date(week(10))
            )
        ).all()
    assert first["flagged_share", ""] == pytest.approx(sum(flagged) / len(flagged), abs=1e-6)
    # Week 10 has matured by week 18.
    assert later["auc_roc", ""] is not None and later["auc_roc", ""] > 0.7
    assert later["precision_at", "capacity"] is not None
    assert (later["brier_score", ""], later["calibration_error", ""]) == (None, None)
