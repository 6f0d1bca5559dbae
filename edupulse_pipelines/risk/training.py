"""Training: for each data-through week, what could be learned from what was known by then; recorded in both registries.

Puts the rooms together: samples, candidates and their comparison, the leakage proof, the promotion gate, the reports.
Writes MLflow first, then `model_metadata`, `model_evaluations` and `promotion_decisions` in one transaction. Scores
nobody; `scoring` does.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edupulse_pipelines.errors import ModelArtifactError
from edupulse_pipelines.features.definitions import STANDING_COLUMNS
from edupulse_pipelines.progress import Progress
from edupulse_pipelines.risk.book.champion import marks, record_gate_decision, scoring_model
from edupulse_pipelines.risk.book.decisions import record_measures
from edupulse_pipelines.risk.book.identity import Identity, identity_of, settings_of_model
from edupulse_pipelines.risk.book.learned_label import label_hash_of, learned_another_label
from edupulse_pipelines.risk.book.looks import challengers_of
from edupulse_pipelines.risk.book.records import ModelRecord, load_recorded, trained_models, write_record
from edupulse_pipelines.risk.book.registry import LoggedRun, Registry
from edupulse_pipelines.risk.book.run_contents import RunContents
from edupulse_pipelines.risk.judging.activity_frames import read_sample
from edupulse_pipelines.risk.judging.comparison import Judged, all_figures, judge, unseen_students
from edupulse_pipelines.risk.judging.drift import model_reference
from edupulse_pipelines.risk.judging.evaluation import Metrics, flat_metrics
from edupulse_pipelines.risk.judging.leakage import (
    LeakageProof,
    prove_no_leakage,
    record_features,
    record_labels,
    weeks_to_prove,
)
from edupulse_pipelines.risk.judging.promotion import Decision, decide, overtaken, with_circumstances
from edupulse_pipelines.risk.models.model import CALIBRATION_FOLDS, CannotLearn, RiskModel
from edupulse_pipelines.risk.rounding import DIGITS
from edupulse_pipelines.risk.samples.assembly import SEED, Samples, Usable, read_samples
from edupulse_pipelines.risk.samples.cohorts import model_features
from edupulse_pipelines.risk.stand_in import stand_in_rule
from edupulse_pipelines.risk.statuses import NO_MODEL, TRAINED, UNCHANGED, TrainingStatus
from edupulse_pipelines.risk.telling.compared import compared_candidates, evaluations_table, metrics_by_dataset
from edupulse_pipelines.risk.telling.decisions import decision_words
from edupulse_pipelines.risk.telling.reports import CALIBRATION_FIGURE, TrainingReport, TrainingResult, training_report
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK, feature_date


@dataclass(frozen=True)
class TrainingOutcome:
    """What training at one data-through week came to."""

    data_through: dt.date
    status: TrainingStatus
    reason: str
    """In words: why there is no model, what is unchanged, or what the promotion gate decided and why."""
    model_version: str | None = None
    metrics: Metrics | None = None
    promoted: bool = False
    """Whether the model passed the promotion gate; of those, the one with the newest data is champion."""
    run_id: str | None = None
    """The MLflow run."""
    kind: str | None = None
    """Which candidate it is; only of a model trained now."""
    candidates: Mapping[str, Metrics] = field(default_factory=dict)
    """Metrics of every candidate and the rule on the same validation weeks; only of a model trained now."""
    decision: Decision | None = None
    leakage: Mapping[str, Any] | None = None
    """The leakage proof, as JSON."""
    calibration_plot: bytes | None = field(default=None, repr=False)
    """PNG of the validation's calibration; only of a model trained now."""


@dataclass(frozen=True)
class _Attempt:
    """One data-through week's training: what it works with, and what it is compared with."""

    work: Work
    tenant: TenantSettings
    registry: Registry
    samples: Samples
    usable: Usable
    identity: Identity
    champion: ModelRecord | None
    """The model that scores the week so far: the challenger has to be better than it."""
    marks: Mapping[str, tuple[bool, bool]]
    """Which other models are promoted and active, when the comparison began."""
    earlier_looks: int = 0
    """How many challengers this champion was compared with before, in its present term of `champion_weeks`."""

    @property
    def point(self) -> dt.date:
        """The data-through week (Monday)."""
        return self.identity.data_through

    @property
    def version(self) -> str:
        """The model version that it makes."""
        return self.identity.model_version

    @property
    def identifying_tags(self) -> dict[str, str]:
        """The tags by which its MLflow run is found again."""
        return {
            "tenant": self.tenant.name,
            "as_of": feature_date(self.point).isoformat(),
            "data_through": self.point.isoformat(),
            "data_hash": self.identity.data_hash,
            "settings_hash": self.identity.settings_hash,
        }

    @property
    def tags(self) -> dict[str, str]:
        """The tags of its MLflow run."""
        return {**self.identifying_tags, "edupulse.run_id": self.work.run_id or "", "seed": str(SEED)}


def train_risk_models(
    work: Work,
    tenant: TenantSettings,
    as_of_weeks: Sequence[dt.date],
    registry: Registry,
    *,
    progress: Progress | None = None,
    force: bool = False,
) -> list[TrainingOutcome]:
    """Train at each of `as_of_weeks` (data-through Mondays), in order, on what was known by that week.

    Nothing is trained when data and settings are those of the newest model up to that week (`force` overrides it). Too
    little to learn from is the outcome `no_model` with its reason, recorded as an MLflow run. A model that passes the
    promotion gate is promoted and becomes champion, unless the champion knows newer data. A leak is never promoted.
    The run of `work` is stored as a tag. `progress` gets (points done, points in all). RegistryUnavailable when MLflow
    fails.
    """
    points = sorted(set(as_of_weeks))
    if not points:
        return []
    with work.reading() as connection:
        limit = 4 * tenant.training.max_training_rows
        samples = read_samples(connection, work, tenant, points[-1], maximum_rows=limit)
    outcomes = []
    for done, point in enumerate(points, start=1):
        outcomes.append(_train_at(work, tenant, point, samples, registry, force))
        if progress is not None:
            progress(done, len(points))
    return outcomes


def _train_at(
    work: Work, tenant: TenantSettings, point: dt.date, samples: Samples, registry: Registry, force: bool
) -> TrainingOutcome:
    usable = samples.at(point)
    identity = identity_of(tenant, point, samples, usable)
    with work.reading() as connection:
        trained = [record for record in trained_models(connection, work) if _knows(record) <= point]
        marks_before = marks(connection, work, without=identity.model_version)
    if not force and (same := _same_model(trained, identity)) is not None:
        if same.is_active and same.registry_version is not None and registry.champion(tenant.name) is None:
            # The table says who is champion, and a lost alias is put back. An alias that points elsewhere is left to
            # people: the asset check reports it.
            registry.set_champion(tenant.name, same.registry_version)
        return TrainingOutcome(
            point,
            UNCHANGED,
            f"Data and settings are those of model {same.model_version}.",
            same.model_version,
            dict(same.metrics),
            same.promoted,
            same.mlflow.run_id if same.mlflow else None,
        )
    # A champion that is trained once more is not compared with itself: a model is never better than itself, so the gate
    # would refuse it, and the district would be left without a champion.
    others = [record for record in trained if record.model_version != identity.model_version]
    champion = scoring_model(others, point)
    looks = _earlier_looks(work, tenant, champion, identity)
    attempt = _Attempt(work, tenant, registry, samples, usable, identity, champion, marks_before, looks)
    reason = samples.too_little(point, usable)
    if reason is not None:
        return _no_model(attempt, reason, force)
    try:
        judged = judge(samples, usable, _loaded(attempt))
    except CannotLearn as error:
        return _no_model(attempt, f"No model could be learned from the data up to the week of {point}: {error}.", force)
    result = _result(attempt, judged)
    newest = all(_knows(record) <= point for record in _active(work))
    return _log_and_record(attempt, result, champion=result.decision.promoted and newest)


def _earlier_looks(work: Work, tenant: TenantSettings, champion: ModelRecord | None, identity: Identity) -> int:
    """How often the champion was compared in its present term; a new term begins every `champion_weeks` of its age."""
    if champion is None:
        return 0
    age, term = identity.data_through - _knows(champion), tenant.training.champion_weeks * WEEK
    since = _knows(champion) + (age // term) * term
    with work.reading() as connection:
        compared = challengers_of(connection, work, champion.model_version)
    return sum(
        since <= knew <= identity.data_through and version != identity.model_version
        for version, knew in compared.items()
    )


def _knows(record: ModelRecord) -> dt.date:
    assert record.data_through is not None  # of trained models only
    return record.data_through


def _same_model(trained: Sequence[ModelRecord], identity: Identity) -> ModelRecord | None:
    """The model that training now would repeat: the newest of those that know no more, or one of the same week."""
    same = [
        record
        for number, record in enumerate(trained)
        if (record.data_hash, record.settings_hash) == (identity.data_hash, identity.settings_hash)
        and (record.data_through == identity.data_through or number == len(trained) - 1)
    ]
    return same[-1] if same else None


def _active(work: Work) -> list[ModelRecord]:
    with work.reading() as connection:
        return [record for record in trained_models(connection, work) if record.is_active]


def _loaded(attempt: _Attempt) -> RiskModel | None:
    """The champion's model, to compare with. None when there is no champion, when it learned another label, or when it
    is damaged and can score nobody: there is nothing to be better than then, and the decision says so."""
    if attempt.champion is None or learned_another_label(attempt.champion, attempt.tenant):
        return None
    try:
        return load_recorded(attempt.registry, attempt.tenant.name, attempt.champion)
    except ModelArtifactError:
        return None


def _no_model(attempt: _Attempt, reason: str, force: bool) -> TrainingOutcome:
    """Record that nothing could be learned, once for the same data and settings unless `force`."""
    name, registry = attempt.tenant.name, attempt.registry
    stand_in_rule(attempt.work, attempt.tenant, registry, attempt.samples, attempt.usable, attempt.point)
    run_id = None
    if not force:
        run_id = registry.find_run(name, {**attempt.identifying_tags, "status": NO_MODEL})
    if run_id is None:
        run_id = registry.log_no_model(
            name,
            run_name=f"{attempt.point} no model",
            params=_params(attempt),
            tags={**attempt.tags, "status": NO_MODEL, "reason": reason},
            documents={"settings.json": settings_of_model(attempt.tenant)},
        ).run_id
    return TrainingOutcome(attempt.point, NO_MODEL, reason, run_id=run_id)


def _result(attempt: _Attempt, judged: Judged) -> TrainingResult:
    """The proof, the gate's decision and every figure of a fitted model."""
    tenant, usable = attempt.tenant, attempt.usable
    proof = _proof(attempt, judged.tuned.model)
    decision = decide(
        challenger=judged.predicted,
        champion=judged.scores.get("champion"),
        rule=judged.scores["rule"],
        outcome=judged.outcome,
        week=judged.week,
        student=judged.student,
        subgroups=judged.subgroups,
        settings=tenant.promotion,
        seed=SEED,
        earlier_looks=attempt.earlier_looks,
        intersections=tenant.audit.pairs,
    )
    decision = with_circumstances(
        decision,
        champion_version=attempt.champion.model_version if attempt.champion else None,
        compared="champion" in judged.scores,
        other_label=attempt.champion is not None and learned_another_label(attempt.champion, tenant),
        leakage=proof.as_json(),
    )
    metrics = {**judged.metrics[judged.tuned.kind], "baseline": judged.metrics["rule"]}
    unseen = unseen_students(attempt.samples, usable, judged)
    if (of_unseen := unseen.metrics(judged)) is not None:
        metrics["unseen_students"] = of_unseen
    return TrainingResult(
        judged, proof, decision, metrics, all_figures(tenant, judged, attempt.samples.matrix.weeks, unseen)
    )


def _proof(attempt: _Attempt, model: RiskModel) -> LeakageProof:
    """The leakage proof on a sample of the tenant's students."""
    work, tenant, split = attempt.work, attempt.tenant, attempt.usable.split
    with work.reading() as connection:
        frames = read_sample(connection, work, tenant, seed=SEED)
    return prove_no_leakage(
        frames,
        weeks_to_prove(sorted({*split.training, *split.validation})),
        tenant.label.weeks,
        features=record_features,
        labels=record_labels(tenant.label),
        # What the tenant declared of the students is no matter of time.
        scores=lambda rows: model.probabilities(rows.reindex(columns=model.features).astype(np.float64)),
        seed=SEED,
    )


def _log_and_record(attempt: _Attempt, result: TrainingResult, *, champion: bool) -> TrainingOutcome:
    """MLflow first, then the tables; the alias last, so that it never names what is not recorded."""
    judged, decision = result.judged, result.decision
    record = ModelRecord(
        model_version=attempt.version,
        model_type=judged.tuned.kind,
        trained_at=dt.datetime.now(dt.UTC),
        metrics=result.metrics,
        hyperparameters=_hyperparameters(attempt, result),
        data_through=attempt.point,
        data_hash=attempt.identity.data_hash,
        settings_hash=attempt.identity.settings_hash,
        label_hash=label_hash_of(attempt.tenant),
        promoted=decision.promoted,
    )
    report = training_report(
        record=record,
        samples=attempt.samples,
        usable=attempt.usable,
        result=result,
    )
    logged = _log(attempt, result, record, report)
    decision, champion = _record(attempt, result, replace(record, mlflow=logged), champion)
    words = decision_words(decision)
    if not decision.promoted:
        rule = stand_in_rule(
            attempt.work,
            attempt.tenant,
            attempt.registry,
            attempt.samples,
            attempt.usable,
            attempt.point,
            refused=attempt.version,
            metrics={**judged.metrics["rule"], "baseline": judged.metrics["rule"]},
        )
        if rule is not None:
            words = f"{words} Nothing beats the rule, which is champion ({rule.model_version})."
    if decision.promoted and not champion:
        words = f"{words} The champion knows newer data, so this model scores its own weeks only."
    return TrainingOutcome(
        attempt.point,
        TRAINED,
        words,
        attempt.version,
        result.metrics,
        decision.promoted,
        logged.run_id,
        judged.tuned.kind,
        judged.metrics,
        decision,
        result.proof.as_json(),
        report.figures.get(CALIBRATION_FIGURE),
    )


def _log(attempt: _Attempt, result: TrainingResult, record: ModelRecord, report: TrainingReport) -> LoggedRun:
    """The run and the registered version in MLflow."""
    judged, tuned = result.judged, result.judged.tuned
    contents = RunContents(
        params={
            **_params(attempt),
            "model_type": tuned.kind,
            **{f"config.{name}": value for name, value in tuned.config.items()},
            "calibration_slope": tuned.calibration.slope,
            "calibration_intercept": tuned.calibration.intercept,
        },
        metrics=metrics_by_dataset(
            {
                **flat_metrics(result.metrics),
                "training_event_rate": float(attempt.usable.outcome[judged.training].mean()),
                "validation_event_rate": float(judged.outcome.mean()),
            }
        ),
        tags={
            **attempt.tags,
            "status": TRAINED,
            "model_version": attempt.version,
            "candidate": tuned.kind,
            "promoted": str(record.promoted).lower(),
        },
        documents=report.documents,
        figures=report.figures,
        tables={"evaluations.json": evaluations_table(result.figures)},
        datasets=report.datasets,
        candidates=compared_candidates(tuned, judged.metrics, judged.rule.rule.as_json()),
        record=record.as_document(),
        description=report.description,
    )
    return attempt.registry.log_model(attempt.tenant.name, tuned.model, contents, run_name=attempt.version)


def _record(attempt: _Attempt, result: TrainingResult, record: ModelRecord, champion: bool) -> tuple[Decision, bool]:
    """The row, its figures and the decision, in one transaction; the decision, and whether it is champion now.

    When somebody changed the champion since the comparison began, it was with another model, and nothing is promoted.
    """
    work, registry, decision = attempt.work, attempt.registry, result.decision
    with work.writing() as connection:
        if marks(connection, work, without=attempt.version, lock=True) != attempt.marks:
            decision, champion = overtaken(decision), False
            record = replace(record, promoted=False)
            if record.registry_version is not None:
                registry.tag_version(work.tenant, record.registry_version, {"promoted": "false"})
        write_record(connection, work, record)
        for (candidate, scope, day), measures in result.figures.items():
            record_measures(connection, work, attempt.version, candidate, scope, day, measures)
        record_gate_decision(
            connection,
            work,
            registry,
            record,
            becomes_champion=champion,
            previous_version=attempt.champion.model_version if attempt.champion else None,
            reason=decision_words(decision),
            numbers=decision.numbers,
        )
    return decision, champion


def _hyperparameters(attempt: _Attempt, result: TrainingResult) -> dict[str, Any]:
    """What the model was made with and of, as JSON."""
    usable, samples, judged, tuned = attempt.usable, attempt.samples, result.judged, result.judged.tuned
    hyperparameters: dict[str, Any] = {
        "model_type": tuned.kind,
        "seed": SEED,
        "settings": settings_of_model(attempt.tenant),
        "training_weeks": [week.isoformat() for week in usable.split.training],
        "validation_weeks": [week.isoformat() for week in usable.split.validation],
        "samples_read_for": samples.newest.isoformat(),
        "training_rows": len(judged.training),
        "rows_that_could_train": len(usable.training),
        "share_of_students": samples.matrix.share,
        "verdicts": usable.verdicts,
        "features": tuned.model.features,
        "intercept": tuned.model.intercept,
        "candidate": {"kind": tuned.kind, "config": tuned.config},
        "candidates": {
            kind: {"config": tuned.configs[kind], "auc_roc": judged.metrics[kind]["auc_roc"]} for kind in tuned.fitted
        },
        "left_out": dict(tuned.left_out),
        "trials": [
            {"kind": trial.kind, "config": trial.config, "log_loss": round(trial.log_loss, DIGITS)}
            for trial in tuned.trials
        ],
        "calibration": {
            "slope": tuned.calibration.slope,
            "intercept": tuned.calibration.intercept,
            "folds": CALIBRATION_FOLDS,
        },
        "confidence": judged.confidence.as_json(),
        "reference": model_reference(
            # The validation's, not the training's: it is nearer. Without the standing, which adds up over the year and
            # moves with the calendar: it would always have drifted by spring.
            judged.frame.drop(columns=list(STANDING_COLUMNS), errors="ignore"),
            judged.student,
            judged.outcome,
            judged.predicted,
            judged.student,
        ),
        "baseline": judged.rule.rule.as_json(),
        "leakage": result.proof.as_json(),
    }
    if tuned.kind == "logistic":
        hyperparameters["coefficients"] = tuned.model.coefficients
    return hyperparameters


def _params(attempt: _Attempt) -> dict[str, Any]:
    """The parameters of the MLflow run."""
    tenant, split = attempt.tenant, attempt.usable.split
    params: dict[str, Any] = {
        "data_through": attempt.point.isoformat(),
        "horizon_weeks": tenant.label.horizon_weeks,
        "minimum_weeks_of_data": tenant.cohort.minimum_weeks_of_data,
        "calibration_folds": CALIBRATION_FOLDS,
        "features": len(model_features(tenant)),
        "candidates": ",".join(tenant.training.candidates),
        "seed": SEED,
    }
    params |= {
        f"label.{name}": value
        for name, value in tenant.label.model_dump(mode="json").items()
        if name != "horizon_weeks"
    }
    params["audit.subgroups"] = ",".join(tenant.audit.subgroups)
    params |= {f"promotion.{name}": value for name, value in tenant.promotion.model_dump(mode="json").items()}
    for part, weeks in (("training", split.training), ("validation", split.validation)):
        params[f"{part}_weeks"] = len(weeks)
        if weeks:
            params[f"{part}_first_week"] = weeks[0].isoformat()
            params[f"{part}_last_week"] = weeks[-1].isoformat()
    return params
