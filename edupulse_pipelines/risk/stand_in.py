"""The rule as it stands in for a model: with the probabilities that the labels known by a week allow.

Made by a training that leaves the tenant without a model of its own (`training`): registered and recorded like one.
Where the gate was asked and nothing beat the rule, it is the champion; where there was too little for the gate to
judge, it only waits for the weeks that have no champion. The one without labels is in `book.rules`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from edupulse_pipelines.features.definitions import STANDING_COLUMNS
from edupulse_pipelines.risk.book.champion import record_gate_decision
from edupulse_pipelines.risk.book.identity import data_hash_of, settings_hash_of, settings_of_model
from edupulse_pipelines.risk.book.learned_label import label_hash_of
from edupulse_pipelines.risk.book.records import ModelRecord, model_records, scorers, write_record
from edupulse_pipelines.risk.book.registry import Registry
from edupulse_pipelines.risk.book.rules import (
    is_rule_of,
    labelled_rows,
    present_rule,
    rule_version,
    rule_without_labels,
)
from edupulse_pipelines.risk.book.run_contents import VALIDATION, RunContents
from edupulse_pipelines.risk.judging.confidence import fit_confidence
from edupulse_pipelines.risk.judging.drift import model_reference
from edupulse_pipelines.risk.judging.evaluation import Metrics, evaluate, flat_metrics
from edupulse_pipelines.risk.models.baseline import RuleModel, calibrated_rule, out_of_fold, rule_of
from edupulse_pipelines.risk.models.model import CannotLearn, one_thread
from edupulse_pipelines.risk.rounding import DIGITS
from edupulse_pipelines.risk.samples.assembly import Samples, Usable
from edupulse_pipelines.risk.statuses import RULE, TRAINED
from edupulse_pipelines.risk.telling.rule_card import rule_card
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK, feature_date


def keep_rule(work: Work, tenant: TenantSettings, registry: Registry) -> None:
    """See that the tenant's rule without labels has a row and, in MLflow, a version.

    RegistryUnavailable when MLflow does not answer; the row is there all the same.
    """
    with work.reading() as connection:
        found = present_rule(connection, work, tenant)
    if found is None:
        with work.writing() as connection:
            found = rule_without_labels(connection, work, tenant)
    record = found
    if record.mlflow is None and not record.set_aside:
        logged = _logged(tenant, registry, work, record, {})
        with work.writing() as connection:
            write_record(connection, work, logged)


def stand_in_rule(
    work: Work,
    tenant: TenantSettings,
    registry: Registry,
    samples: Samples,
    usable: Usable,
    point: dt.date,
    *,
    refused: str | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> ModelRecord | None:
    """Record the rule with what the outcomes known by the week `point` (Monday) say of it; None where it is not needed.

    `refused`: the model version that the gate has just refused; the rule is then champion, with the `metrics` that it
    had before the gate. Without it, one is made at most every `retrain_weeks`. Not needed where a model of the tenant's
    own is promoted for that week, and not made where too few outcomes of both kinds are known.
    """
    with work.reading() as connection:
        recorded = scorers(connection, work)
    known = [record for record in recorded if record.data_through is not None and record.data_through <= point]
    if any(record.promoted and record.model_type != RULE for record in known):
        return None
    rows = labelled_rows(samples, usable, point)
    outcome = usable.outcome[rows]
    events = int(outcome.sum())
    if min(events, len(rows) - events) < tenant.training.minimum_train_per_class:
        return None
    recent = point - tenant.training.retrain_weeks * WEEK
    if refused is None and any(record.data_through > recent for record in known if is_rule_of(record, tenant)):  # type: ignore[operator]
        return None
    matrix = samples.matrix
    frame, student, groups = matrix.frame(rows), matrix.student[rows], samples.course_groups(rows)
    try:
        with one_thread():
            model = calibrated_rule(tenant, frame, outcome, student, groups)
            probability = np.round(out_of_fold(model, frame, outcome, student, groups), DIGITS)
    except CannotLearn:
        return None
    week = matrix.week[rows]
    measured: Metrics = evaluate(probability, outcome, week, training_samples=len(rows))
    learned = model.rule.as_json()
    record = ModelRecord(
        model_version=rule_version(tenant, learned["calibration"], point),
        model_type=RULE,
        trained_at=dt.datetime.now(dt.UTC),
        metrics=dict(metrics) if metrics is not None else {**measured, "baseline": measured},
        hyperparameters={
            "model_type": RULE,
            "settings": settings_of_model(tenant),
            RULE: learned,
            "features": model.features,
            "labelled_weeks": [matrix.weeks[number].isoformat() for number in np.unique(week)],
            "confidence": fit_confidence(
                probability,
                outcome,
                probability >= tenant.categories.high,
                data_quality=matrix.quality[rows],
                weeks_of_data=matrix.weeks_of_data[rows],
                student=student,
            ).as_json(),
            "reference": model_reference(
                frame.drop(columns=list(STANDING_COLUMNS), errors="ignore"), student, outcome, probability, student
            ),
        },
        data_through=point,
        data_hash=data_hash_of(samples, usable),
        settings_hash=settings_hash_of(tenant),
        label_hash=label_hash_of(tenant),
        promoted=refused is not None,
    )
    same = next((other for other in known if other.model_version == record.model_version), None)
    if same is not None and same.promoted >= record.promoted:
        return same
    record = _logged(tenant, registry, work, record, flat_metrics(measured))
    with work.writing() as connection:
        newer = any(
            other.is_active and other.data_through is not None and other.data_through > point
            for other in model_records(connection, work, lock=True)
        )
        active = next((other for other in model_records(connection, work) if other.is_active), None)
        write_record(connection, work, record)
        if refused is not None:
            record_gate_decision(
                connection,
                work,
                registry,
                record,
                becomes_champion=not newer,
                previous_version=active.model_version if active else None,
                reason=f"Promoted. Nothing beat the rule: model {refused} was refused, and there is no other.",
                numbers={"refused": refused},
            )
    return record


def _logged(
    tenant: TenantSettings, registry: Registry, work: Work, record: ModelRecord, metrics: Mapping[str, float]
) -> ModelRecord:
    """The record with its run and registered version in MLflow."""
    model: RuleModel = rule_of(record.hyperparameters[RULE])
    through = record.data_through
    facts = {
        "data_through": through.isoformat() if through else None,
        "as_of": feature_date(through).isoformat() if through else None,
        "data_hash": record.data_hash,
        "settings_hash": record.settings_hash,
        "edupulse.run_id": work.run_id or "",
    }
    stored = record.hyperparameters[RULE]
    card = rule_card(tenant, record, model)
    contents = RunContents(
        params={name: value for name, value in stored.items() if not isinstance(value, dict | list)},
        metrics={VALIDATION: dict(metrics)} if metrics else {},
        tags={
            **{name: value for name, value in facts.items() if value is not None},
            "tenant": tenant.name,
            "status": TRAINED,
            "model_version": record.model_version,
            "candidate": RULE,
            "promoted": str(record.promoted).lower(),
        },
        documents={"rule.json": stored, "settings.json": settings_of_model(tenant), **card},
        record=record.as_document(),
        description=card["model_card.md"],
    )
    return replace(record, mlflow=registry.log_model(tenant.name, model, contents, run_name=record.model_version))
