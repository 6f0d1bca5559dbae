"""Training: for each data-through week, what could be learned from what was known by then; recorded in both registries.

Puts together the words of this room (samples, candidates, tuning, evaluation, leakage proof, promotion gate, reports)
and writes MLflow first, then `model_metadata`, `model_evaluations` and `promotion_decisions` in one transaction. Scores
nobody; `scoring` does.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
import sqlalchemy as sa
from numpy.typing import NDArray

from edupulse_pipelines.errors import ModelArtifactError, PermanentError
from edupulse_pipelines.features.definitions import STANDING_NAMES
from edupulse_pipelines.risk.book.registry import Registry
from edupulse_pipelines.risk.judging.confidence import ConfidenceMap, fit_confidence
from edupulse_pipelines.risk.judging.drift import model_reference
from edupulse_pipelines.risk.judging.evaluation import Measure, Metrics, evaluate, flat_metrics, measures
from edupulse_pipelines.risk.judging.leakage import (
    LeakageProof,
    prove_no_leakage,
    read_sample,
    record_features,
    record_labels,
    weeks_to_prove,
)
from edupulse_pipelines.risk.judging.promotion import Decision, decide, record_decision, record_measures
from edupulse_pipelines.risk.models.baseline import Baseline, fit_baseline
from edupulse_pipelines.risk.models.model import (
    CALIBRATION_FOLDS,
    MODEL_REVISION,
    CannotLearn,
    RiskModel,
    fit_candidate,
)
from edupulse_pipelines.risk.models.tuning import Tuned, tune
from edupulse_pipelines.risk.samples.assembly import Samples, Usable, read_samples
from edupulse_pipelines.risk.samples.cohorts import directions, model_features
from edupulse_pipelines.risk.samples.splits import training_points
from edupulse_pipelines.risk.telling.reports import CALIBRATION_FIGURE, training_report
from edupulse_pipelines.schema.sqlalchemy_tables import model_metadata
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.engine import writing
from edupulse_pipelines.storage.ids import new_ids
from edupulse_pipelines.weeks import feature_date

__all__ = [
    "Judged",
    "RecordedModel",
    "Reproduction",
    "TrainingOutcome",
    "load_recorded",
    "recorded_models",
    "reproduce",
    "settings_hash_of",
    "train_risk_models",
    "training_points",
]

SEED = 20260901
"""Of the bootstrap, the tuning and the sampled students; part of every record."""
_UNSEEN_FOLDS = 3
_DIGITS = 6

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TrainingOutcome:
    """What training at one data-through week came to."""

    data_through: dt.date
    status: Literal["trained", "unchanged", "no_model"]
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
class RecordedModel:
    """One row of `model_metadata`, as far as the room needs it."""

    model_version: str
    data_through: dt.date
    data_hash: str
    settings_hash: str
    promoted: bool
    is_active: bool
    registry_version: str | None
    run_id: str | None
    metrics: Metrics
    trained_at: dt.datetime
    hyperparameters: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Judged:
    """A fitted training set, and everything that was measured on the validation."""

    tuned: Tuned
    rule: Baseline
    frame: pd.DataFrame
    """The validation's features."""
    outcome: NDArray[np.int8]
    week: NDArray[np.int64]
    student: NDArray[np.int64]
    subgroups: Mapping[str, NDArray[np.object_]]
    scores: dict[str, Floats]
    """By candidate, `rule` among them, and `champion` where there is one that can be loaded."""
    metrics: dict[str, Metrics]
    confidence: ConfidenceMap

    @property
    def predicted(self) -> Floats:
        """The challenger's probabilities."""
        return self.scores[self.tuned.kind]


def train_risk_models(
    engine: sa.Engine,
    tenant: TenantSettings,
    as_of_weeks: Sequence[dt.date],
    registry: Registry,
    *,
    progress: Callable[[int, int], None] | None = None,
    run_id: str | None = None,
    force: bool = False,
) -> list[TrainingOutcome]:
    """Train at each of `as_of_weeks` (data-through Mondays), in order, on what was known by that week.

    Nothing is trained when data and settings are those of the newest model up to that week (`force` overrides it). Too
    little to learn from is the outcome `no_model` with its reason, recorded as an MLflow run. A model that passes the
    promotion gate is promoted and becomes champion, unless the champion knows newer data. A leak is never promoted.
    `run_id` is the calling run's, stored as a tag. `progress` gets (points done, points in all). RegistryUnavailable
    when MLflow fails.
    """
    points = sorted(set(as_of_weeks))
    if not points:
        return []
    with engine.connect() as connection:
        samples = read_samples(connection, tenant, points[-1], maximum_rows=4 * tenant.training.max_training_rows)
    outcomes = []
    for done, point in enumerate(points, start=1):
        outcomes.append(_train_at(engine, tenant, point, samples, registry, run_id, force))
        if progress is not None:
            progress(done, len(points))
    return outcomes


def recorded_models(connection: sa.Connection, tenant_name: str) -> list[RecordedModel]:
    """The tenant's models, oldest first: by data-through week, then by when they were trained."""
    table = model_metadata.c
    rows = connection.execute(
        sa.select(
            table.model_version,
            table.hyperparameters,
            table.performance_metrics,
            table.is_active,
            table.training_date,
        )
        .where(table.tenant_id == tenant_name)
        .order_by(table.training_date, table.model_version)
    ).all()
    models = [
        RecordedModel(
            model_version=row.model_version,
            data_through=dt.date.fromisoformat(row.hyperparameters["data_through"]),
            data_hash=row.hyperparameters["data_hash"],
            settings_hash=row.hyperparameters["settings_hash"],
            promoted=row.hyperparameters["promoted"],
            is_active=row.is_active,
            registry_version=row.hyperparameters["mlflow"]["registry_version"],
            run_id=row.hyperparameters["mlflow"]["run_id"],
            metrics=row.performance_metrics,
            trained_at=row.training_date,
            hyperparameters=row.hyperparameters,
        )
        for row in rows
        if row.hyperparameters
        and "data_through" in row.hyperparameters
        # Set aside: its files are gone for good, so it neither scores nor counts as trained.
        and not row.hyperparameters["mlflow"].get("lost")
    ]
    return sorted(models, key=lambda model: model.data_through)


def settings_hash_of(tenant: TenantSettings) -> str:
    """Hash of the settings that decide a model; a recorded model with another one answers another question."""
    return hashlib.sha256(json.dumps(_settings_of_model(tenant), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Reproduction:
    """What fitting a recorded model again came to."""

    model_version: str
    same_data: bool
    same_settings: bool
    largest_difference: float | None
    """Between the recorded model's probabilities on the validation rows and those of the refitted one."""
    sentence: str

    @property
    def reproduced(self) -> bool:
        """Whether the record gives the model."""
        return self.largest_difference is not None and self.largest_difference <= 10**-_DIGITS


def reproduce(engine: sa.Engine, tenant: TenantSettings, model_version: str, registry: Registry) -> Reproduction:
    """Fit a model again from its record (data-through week, candidate, configuration, seed), and compare the scores.

    EduPulseError when there is no such model. Changes nothing.
    """
    with engine.connect() as connection:
        found = [one for one in recorded_models(connection, tenant.name) if one.model_version == model_version]
        if not found:
            raise PermanentError(f"{tenant.name} has no model {model_version}; `edupulse model list` shows them.")
        (recorded,) = found
        read_for = dt.date.fromisoformat(recorded.hyperparameters.get("samples_read_for", f"{recorded.data_through}"))
        samples = read_samples(connection, tenant, read_for, maximum_rows=4 * tenant.training.max_training_rows)
    usable = samples.at(recorded.data_through)
    same_settings = recorded.settings_hash == settings_hash_of(tenant)
    same_data = recorded.data_hash == _data_hash(usable, samples)
    if not (same_settings and same_data):
        changed = " and ".join(
            name for name, same in (("the settings", same_settings), ("the data", same_data)) if not same
        )
        return Reproduction(
            model_version,
            same_data,
            same_settings,
            None,
            f"Model {model_version} cannot be made again: {changed} are not those it was trained with.",
        )
    candidate = recorded.hyperparameters["candidate"]
    training = _training_rows(tenant, samples, usable)
    model, _ = fit_candidate(
        candidate["kind"],
        samples.matrix.frame(training)[list(model_features(tenant))],
        usable.outcome[training],
        samples.matrix.student[training],
        candidate["config"],
        directions(model_features(tenant)),
        _groups(tenant, samples, training),
    )
    frame = samples.matrix.frame(usable.validation)
    original = load_recorded(registry, tenant.name, recorded)
    difference = float(np.abs(model.probabilities(frame) - original.probabilities(frame)).max(initial=0.0))
    return Reproduction(
        model_version,
        True,
        True,
        difference,
        f"Model {model_version} was fitted again: on {len(frame):,} student-weeks its probabilities differ by at most "
        f"{difference:.1e}.",
    )


def _train_at(
    engine: sa.Engine,
    tenant: TenantSettings,
    point: dt.date,
    samples: Samples,
    registry: Registry,
    run_id: str | None,
    force: bool,
) -> TrainingOutcome:
    usable = samples.at(point)
    settings = _settings_of_model(tenant)
    data_hash = _data_hash(usable, samples)
    settings_hash = settings_hash_of(tenant)
    identity = {
        "tenant": tenant.name,
        "as_of": feature_date(point).isoformat(),
        "data_through": point.isoformat(),
        "data_hash": data_hash,
        "settings_hash": settings_hash,
    }
    if not force and (known := _known_model(engine, tenant.name, point, data_hash, settings_hash)) is not None:
        if known.is_active and known.registry_version is not None and registry.champion(tenant.name) is None:
            # The table knows; a lost alias is put back. One that was moved is a person's business: the check says so.
            registry.set_champion(tenant.name, known.registry_version)
        return TrainingOutcome(
            point,
            "unchanged",
            f"Data and settings are those of model {known.model_version}.",
            known.model_version,
            known.metrics,
            known.promoted,
            known.run_id,
        )
    judged: Judged | None = None
    reason = _too_little(tenant, point, usable)
    combined = hashlib.sha256(f"{data_hash}{settings_hash}".encode()).hexdigest()
    version = f"{point:%Y-%m-%d}-{combined[:8]}"
    earlier = _earlier_champion(engine, tenant.name, point, version)
    with engine.connect() as connection:
        promotions = _promotions(connection, tenant.name, version)
    if reason is None:
        try:
            judged = _judge(tenant, samples, usable, registry, earlier)
        except CannotLearn as error:
            reason = f"No model could be learned from the data up to the week of {point}: {error}."
    tags = {**identity, "edupulse.run_id": run_id or "", "seed": str(SEED)}
    params = _params(tenant, point, usable)
    if judged is None:
        assert reason is not None
        found = None if force else registry.find_run(tenant.name, {**identity, "status": "no_model"})
        if found is None:
            found = registry.log_no_model(
                tenant.name,
                run_name=f"{point} no model",
                params=params,
                tags={**tags, "status": "no_model", "reason": reason},
                documents={"settings.json": settings},
            ).run_id
        return TrainingOutcome(point, "no_model", reason, run_id=found)
    return _log_and_record(
        engine,
        tenant,
        point,
        samples,
        usable,
        registry,
        run_id,
        judged,
        earlier,
        version,
        identity,
        tags,
        params,
        promotions,
    )


def _judge(
    tenant: TenantSettings, samples: Samples, usable: Usable, registry: Registry, earlier: RecordedModel | None
) -> Judged:
    """Fit the candidates on the training rows, and measure them, the rule and the champion on the validation rows."""
    matrix = samples.matrix
    training, validation = _training_rows(tenant, samples, usable), usable.validation
    train_frame, train_outcome = matrix.frame(training), usable.outcome[training]
    tuned = tune(
        train_frame[list(model_features(tenant))],
        train_outcome,
        matrix.student[training],
        candidates=tenant.training.candidates,
        directions=directions(model_features(tenant)),
        fits=tenant.training.tuning_fits,
        groups=_groups(tenant, samples, training),
        seed=SEED,
        max_rows=len(training),
    )
    rule = fit_baseline(train_frame, train_outcome, tenant.rule)
    frame, outcome = matrix.frame(validation), usable.outcome[validation]
    week = matrix.week[validation]
    scores = {kind: model.probabilities(frame) for kind, model in tuned.fitted.items()}
    scores["rule"] = rule.probabilities(frame)
    if earlier is not None:
        try:
            champion = load_recorded(registry, tenant.name, earlier)
        except ModelArtifactError:
            champion = None  # it cannot score anybody, so there is nothing to be better than; the decision says so
        if champion is not None and set(champion.features) <= set(frame.columns):
            scores["champion"] = champion.probabilities(frame)
    predicted = scores[tuned.kind]
    return Judged(
        tuned,
        rule,
        frame,
        outcome,
        week,
        matrix.student[validation],
        matrix.subgroups(validation),
        scores,
        {kind: evaluate(score, outcome, week, training_samples=len(training)) for kind, score in scores.items()},
        fit_confidence(
            np.round(predicted, _DIGITS),
            outcome,
            np.round(predicted, _DIGITS) >= tenant.categories.high,
            data_quality=matrix.quality[validation],
            weeks_of_data=matrix.weeks_of_data[validation],
            student=matrix.student[validation],
        ),
    )


def load_recorded(registry: Registry, tenant_name: str, recorded: RecordedModel) -> RiskModel:
    """The registered model; ModelArtifactError when it is gone, or not the one that was recorded."""
    return registry.load_model(
        tenant_name,
        recorded.model_version,
        recorded.registry_version,
        recorded.hyperparameters["mlflow"].get("artifact_sha256"),
    )


def _training_rows(tenant: TenantSettings, samples: Samples, usable: Usable) -> NDArray[np.int64]:
    """The rows to fit on: all that may train or, above the tenant's limit, those of a part of the students.

    Whole students, because the weeks of one say nearly the same; drawn by a fixed seed, so that rates stay.
    """
    rows = usable.training
    limit = tenant.training.max_training_rows
    if len(rows) <= limit:
        return rows
    students = np.unique(samples.matrix.student[rows])
    order = np.random.default_rng(SEED).permutation(len(students))
    sizes = np.bincount(samples.matrix.student[rows], minlength=int(students.max()) + 1)[students][order]
    chosen = students[order[np.cumsum(sizes) <= limit]]
    return rows[np.isin(samples.matrix.student[rows], chosen)]


def _groups(tenant: TenantSettings, samples: Samples, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """The course group of each row, where the tenant has groups: folds then hold out whole courses."""
    if not tenant.cohort.group_by:
        return None
    return samples.matrix.population.group[samples.matrix.student[rows]]


def _unseen_students(
    tenant: TenantSettings, samples: Samples, usable: Usable, judged: Judged
) -> tuple[Floats, NDArray[np.bool_]]:
    """Validation scores of students whose weeks were all left out of training, fold by fold; and which have one."""
    matrix = samples.matrix
    training, validation = _training_rows(tenant, samples, usable), usable.validation
    fold = np.random.default_rng(SEED).integers(0, _UNSEEN_FOLDS, len(matrix.population.district_ids))
    scores, scored = np.full(len(validation), np.nan), np.zeros(len(validation), dtype=bool)
    for number in range(_UNSEEN_FOLDS):
        rows = training[fold[matrix.student[training]] != number]
        here = fold[matrix.student[validation]] == number
        if not here.any() or len(np.unique(usable.outcome[rows])) < 2:
            continue
        try:
            model, _ = fit_candidate(
                judged.tuned.kind,
                matrix.frame(rows)[judged.tuned.model.features],
                usable.outcome[rows],
                matrix.student[rows],
                judged.tuned.config,
                directions(model_features(tenant)),
                _groups(tenant, samples, rows),
            )
        except CannotLearn:
            continue
        scores[here] = model.probabilities(judged.frame[here])
        scored |= here
    return scores, scored


def _decide(
    tenant: TenantSettings, judged: Judged, earlier: RecordedModel | None, leakage: Mapping[str, Any], sentence: str
) -> Decision:
    """The gate's decision; a leak refuses whatever the numbers say."""
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
    )
    numbers = {
        **decision.numbers,
        "champion_version": earlier.model_version if earlier else None,
        "champion_compared": "champion" in judged.scores,
        "leakage": dict(leakage),
    }
    reason = decision.reason
    if earlier is not None and "champion" not in judged.scores:
        reason = reason.replace(
            "There is no champion to beat.",
            f"The champion {earlier.model_version} could not be loaded or needs other inputs, so it was not compared.",
        )
    if not leakage["passed"]:
        reason = " ".join(["Not promoted.", sentence, reason.removeprefix("Not promoted. ").removeprefix("Promoted. ")])
        return Decision(False, reason, numbers)
    return Decision(decision.promoted, reason, numbers)


def _log_and_record(
    engine: sa.Engine,
    tenant: TenantSettings,
    point: dt.date,
    samples: Samples,
    usable: Usable,
    registry: Registry,
    run_id: str | None,
    judged: Judged,
    earlier: RecordedModel | None,
    version: str,
    identity: Mapping[str, str],
    tags: Mapping[str, str],
    params: Mapping[str, Any],
    promotions: Mapping[str, tuple[bool, bool]],
) -> TrainingOutcome:
    """MLflow first, then the tables; the alias last, so that it never names what is not recorded."""
    tuned, matrix = judged.tuned, samples.matrix
    training = _training_rows(tenant, samples, usable)
    proof = _proof(engine, tenant, usable, tuned.model)
    decision = _decide(tenant, judged, earlier, proof.as_json(), proof.sentence)
    champion = decision.promoted and _newest(engine, tenant.name, point)
    metrics = {**judged.metrics[tuned.kind], "baseline": judged.metrics["rule"]}
    unseen, scored = _unseen_students(tenant, samples, usable, judged)
    if scored.any():
        metrics["unseen_students"] = evaluate(
            unseen[scored], judged.outcome[scored], judged.week[scored], training_samples=len(training)
        )
    figures = _all_figures(tenant, judged, matrix.weeks, unseen, scored)
    hyperparameters: dict[str, Any] = {
        "model_type": tuned.kind,
        "data_through": point.isoformat(),
        "data_hash": identity["data_hash"],
        "settings_hash": identity["settings_hash"],
        "promoted": decision.promoted,
        "seed": SEED,
        "settings": _settings_of_model(tenant),
        "training_weeks": [one.isoformat() for one in usable.split.training],
        "validation_weeks": [one.isoformat() for one in usable.split.validation],
        "samples_read_for": samples.newest.isoformat(),
        "training_rows": len(training),
        "rows_that_could_train": len(usable.training),
        "share_of_students": matrix.share,
        "verdicts": usable.verdicts,
        "features": tuned.model.features,
        "intercept": tuned.model.intercept,
        "candidate": {"kind": tuned.kind, "config": tuned.config},
        "candidates": {
            kind: {"config": tuned.configs[kind], "auc_roc": judged.metrics[kind]["auc_roc"]} for kind in tuned.fitted
        },
        "left_out": dict(tuned.left_out),
        "trials": [
            {"kind": one.kind, "config": one.config, "log_loss": round(one.log_loss, _DIGITS)} for one in tuned.trials
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
            judged.frame.drop(columns=list(STANDING_NAMES), errors="ignore"),
            judged.student,
            judged.outcome,
            judged.predicted,
            judged.student,
        ),
        "baseline_probability_by_flags": list(judged.rule.probability_by_flags),
        "leakage": proof.as_json(),
    }
    if tuned.kind == "logistic":
        hyperparameters["coefficients"] = tuned.model.coefficients
    trained_at = dt.datetime.now(dt.UTC)
    report = training_report(
        tenant=tenant,
        version=version,
        point=point,
        samples=samples,
        usable=usable,
        training=training,
        judged=judged,
        decision=decision,
        proof=proof,
        by_candidate={name: found for (name, scope, _), found in figures.items() if scope == "validation"},
        unseen=next((found for (_, scope, _), found in figures.items() if scope == "unseen_students"), ()),
        metrics=metrics,
        hyperparameters=hyperparameters,
        trained_at=trained_at,
    )
    logged = registry.log_model(
        tenant.name,
        tuned.model,
        run_name=version,
        params={
            **params,
            "model_type": tuned.kind,
            **{f"config.{name}": value for name, value in tuned.config.items()},
            "calibration_slope": tuned.calibration.slope,
            "calibration_intercept": tuned.calibration.intercept,
        },
        metrics={
            **flat_metrics(metrics),
            **{
                name: value
                for kind, found in judged.metrics.items()
                if kind not in (tuned.kind, "rule")
                for name, value in flat_metrics(found, f"{kind}.").items()
            },
            "training_event_rate": float(usable.outcome[training].mean()),
            "validation_event_rate": float(judged.outcome.mean()),
        },
        tags={
            **tags,
            "status": "trained",
            "model_version": version,
            "candidate": tuned.kind,
            "promoted": str(decision.promoted).lower(),
        },
        documents=report.documents,
        figures=report.figures,
        datasets=report.datasets,
        record={
            "model_type": tuned.kind,
            "training_date": trained_at.isoformat(),
            "performance_metrics": metrics,
            "hyperparameters": hyperparameters,
        },
        description=report.description,
    )
    hyperparameters["mlflow"] = logged.as_record()
    previous = earlier.model_version if earlier else None
    with writing(engine) as connection:
        if _promotions(connection, tenant.name, version, lock=True) != promotions:
            # A person decided in the meantime, and the comparison was with somebody else.
            words = "Not promoted. The champion was changed while this model was trained; train again."
            decision, champion = Decision(False, words, decision.numbers), False
            hyperparameters["promoted"] = False
            if logged.registry_version is not None:
                registry.tag_version(tenant.name, logged.registry_version, {"promoted": "false"})
        _write_row(connection, tenant.name, version, tuned.kind, trained_at, metrics, hyperparameters, active=champion)
        for (candidate, scope, day), found in figures.items():
            record_measures(connection, tenant.name, version, candidate, scope, day, found)
        record_decision(
            connection,
            tenant.name,
            version,
            kind="gate",
            promoted=decision.promoted,
            previous_version=previous,
            reason=decision.reason,
            numbers=decision.numbers,
            run_id=run_id,
        )
        if champion and logged.registry_version is not None:
            registry.set_champion(tenant.name, logged.registry_version)
    reason = decision.reason
    if decision.promoted and not champion:
        reason += " The champion knows newer data, so this model scores its own weeks only."
    return TrainingOutcome(
        point,
        "trained",
        reason,
        version,
        metrics,
        decision.promoted,
        logged.run_id,
        tuned.kind,
        judged.metrics,
        decision,
        proof.as_json(),
        report.figures.get(CALIBRATION_FIGURE),
    )


def _proof(engine: sa.Engine, tenant: TenantSettings, usable: Usable, model: RiskModel) -> LeakageProof:
    """The leakage proof on a sample of the tenant's students."""
    with engine.connect() as connection:
        frames = read_sample(connection, tenant, seed=SEED)
    return prove_no_leakage(
        frames,
        weeks_to_prove(sorted({*usable.split.training, *usable.split.validation})),
        tenant.label.weeks,
        features=record_features,
        labels=record_labels(tenant.label),
        # What the tenant declared of the students is no matter of time.
        scores=lambda rows: model.probabilities(rows.reindex(columns=model.features).astype(np.float64)),
        seed=SEED,
    )


def _settings_of_model(tenant: TenantSettings) -> dict[str, Any]:
    """What, besides the data, decides the model and whether it is promoted."""
    return {
        "model_revision": MODEL_REVISION,
        "features": list(model_features(tenant)),
        "label": tenant.label.model_dump(mode="json"),
        "cohort": tenant.cohort.model_dump(mode="json"),
        "inputs": tenant.inputs.model_dump(mode="json"),
        "rule": tenant.rule.model_dump(mode="json"),
        "feedback": tenant.feedback.model_dump(mode="json"),
        "training": tenant.training.model_dump(
            mode="json",
            include={
                "minimum_train_per_class",
                "minimum_validation_per_class",
                "candidates",
                "tuning_fits",
                "max_training_rows",
            },
        ),
        "promotion": tenant.promotion.model_dump(mode="json"),
        "high": tenant.categories.high,
    }


def _data_hash(usable: Usable, samples: Samples) -> str:
    """Hash of the ordered training and validation samples: dates, district ids, rounded features, outcomes."""
    digest = hashlib.sha256()
    for part, rows in (("training", usable.training), ("validation", usable.validation)):
        digest.update(part.encode())
        digest.update(samples.matrix.digest(rows, usable.outcome).encode())
    return digest.hexdigest()


def _known_model(
    engine: sa.Engine, tenant_name: str, point: dt.date, data_hash: str, settings_hash: str
) -> RecordedModel | None:
    """The model that training now would repeat: the newest up to `point`, or one of `point` itself."""
    with engine.connect() as connection:
        earlier = [model for model in recorded_models(connection, tenant_name) if model.data_through <= point]
    same = [
        model
        for i, model in enumerate(earlier)
        if (model.data_hash, model.settings_hash) == (data_hash, settings_hash)
        and (model.data_through == point or i == len(earlier) - 1)
    ]
    return same[-1] if same else None


def _earlier_champion(engine: sa.Engine, tenant_name: str, point: dt.date, version: str) -> RecordedModel | None:
    """The model that scores the week `point` so far: a challenger, `version`, has to be better than it.

    Trained once more, a champion is not measured against itself: nobody is better than that, and it would resign.
    """
    with engine.connect() as connection:
        known = [
            one
            for one in recorded_models(connection, tenant_name)
            if one.promoted and one.data_through <= point and one.model_version != version
        ]
    return known[-1] if known else None


def _too_little(tenant: TenantSettings, point: dt.date, usable: Usable) -> str | None:
    """Why there is too little to train on or to validate with; None when there is enough."""
    horizon, settings = tenant.label.weeks, tenant.training
    if not usable.eligible:
        after = "whose outcomes are known" if horizon is None else f"{horizon} weeks after it in which outcomes show"
        return (
            f"Up to the week of {point} no week has both students with at least "
            f"{tenant.cohort.minimum_weeks_of_data} weeks of data and {after}."
        )
    if not len(usable.training):
        if horizon is None:
            return (
                f"Up to the week of {point} no group had ended when the newest ended one began, so there is nothing to "
                "train on that was known before the validation."
            )
        return (
            f"Up to the week of {point} outcomes are known for {usable.eligible} week(s); training and validation must "
            f"lie {horizon} weeks apart, so at least {horizon + 1} are needed."
        )
    for purpose, rows, minimum in (
        ("Training", usable.training, settings.minimum_train_per_class),
        ("Validation", usable.validation, settings.minimum_validation_per_class),
    ):
        events = int(usable.outcome[rows].sum())
        others = len(rows) - events
        if min(events, others) < minimum:
            return (
                f"{purpose} up to the week of {point} needs at least {minimum} samples with and {minimum} without an "
                f"adverse event; there are {events} with and {others} without."
            )
    return None


def _params(tenant: TenantSettings, point: dt.date, usable: Usable) -> dict[str, Any]:
    params: dict[str, Any] = {
        "data_through": point.isoformat(),
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
    params |= {f"promotion.{name}": value for name, value in tenant.promotion.model_dump(mode="json").items()}
    for part, weeks in (("training", usable.split.training), ("validation", usable.split.validation)):
        params[f"{part}_weeks"] = len(weeks)
        if weeks:
            params[f"{part}_first_week"] = weeks[0].isoformat()
            params[f"{part}_last_week"] = weeks[-1].isoformat()
    return params


def _newest(engine: sa.Engine, tenant_name: str, point: dt.date) -> bool:
    """Whether a model of `point` knows at least as much as the champion."""
    with engine.connect() as connection:
        active = [model for model in recorded_models(connection, tenant_name) if model.is_active]
    return all(model.data_through <= point for model in active)


def _promotions(
    connection: sa.Connection, tenant_name: str, version: str, *, lock: bool = False
) -> dict[str, tuple[bool, bool]]:
    """Whether each of the other models is promoted, and active; `lock` keeps others from changing it."""
    table = model_metadata.c
    query = sa.select(table.model_version, table.hyperparameters, table.is_active).where(
        table.tenant_id == tenant_name, table.model_version != version
    )
    rows = connection.execute(query.with_for_update() if lock else query).all()
    return {
        name: (bool((hyperparameters or {}).get("promoted")), bool(active)) for name, hyperparameters, active in rows
    }


def _write_row(
    connection: sa.Connection,
    tenant_name: str,
    version: str,
    kind: str,
    trained_at: dt.datetime,
    metrics: Metrics,
    hyperparameters: dict[str, Any],
    *,
    active: bool,
) -> None:
    """Write the model's row, and make it the only active one when it is champion."""
    table = model_metadata
    values = {
        "model_type": kind,
        "training_date": trained_at,
        "performance_metrics": metrics,
        "hyperparameters": hyperparameters,
    }
    if active:
        connection.execute(
            sa.update(table).where(table.c.tenant_id == tenant_name, table.c.is_active).values(is_active=False)
        )
    same = (table.c.tenant_id == tenant_name) & (table.c.model_version == version)
    known = connection.execute(sa.select(table.c.id).where(same)).first()
    if known is None:
        connection.execute(
            sa.insert(table).values(
                id=new_ids(1)[0], tenant_id=tenant_name, model_version=version, is_active=active, **values
            )
        )
    else:
        connection.execute(sa.update(table).where(same).values(is_active=active, **values))


_Figures = dict[tuple[str, str, dt.date], list[Measure]]
"""By candidate, scope and as-of date, as `model_evaluations` keeps them."""


def _all_figures(
    tenant: TenantSettings, judged: Judged, weeks: Sequence[dt.date], unseen: Floats, scored: NDArray[np.bool_]
) -> _Figures:
    """Every figure of every candidate in long form: of all validation weeks, of each, and of unseen students."""
    last = feature_date(weeks[int(judged.week.max())])
    everything = np.ones(len(judged.outcome), dtype=bool)
    found = {
        (candidate, "validation", last): _figures(tenant, judged, score, everything, by_subgroup=True)
        for candidate, score in judged.scores.items()
    }
    for candidate in (judged.tuned.kind, "rule"):
        for number in np.unique(judged.week):
            day = feature_date(weeks[int(number)])
            found[candidate, "week", day] = _figures(tenant, judged, judged.scores[candidate], judged.week == number)
    if scored.any():
        found[judged.tuned.kind, "unseen_students", last] = _figures(tenant, judged, unseen, scored)
    return found


def _figures(
    tenant: TenantSettings, judged: Judged, score: Floats, rows: NDArray[np.bool_], *, by_subgroup: bool = False
) -> list[Measure]:
    """Every figure of a score on some of the validation rows."""
    return measures(
        score[rows],
        judged.outcome[rows],
        judged.week[rows],
        capacity=tenant.promotion.capacity,
        subgroups={name: values[rows] for name, values in judged.subgroups.items()} if by_subgroup else {},
        student=judged.student[rows],
        minimum_subgroup=tenant.promotion.minimum_subgroup,
    )
