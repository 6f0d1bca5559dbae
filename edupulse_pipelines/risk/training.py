"""Training: for each data-through week, what could be learned from what was known by then; recorded in both registries.

Puts together the words of this room (cohort, labels, split, model, baseline, evaluation) and writes MLflow first, then
`model_metadata` in one transaction. Scores nobody; `scoring` does.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from edupulse_pipelines.database import new_ids, writing
from edupulse_pipelines.risk.baseline import fit_baseline
from edupulse_pipelines.risk.calibration_plot import calibration_plot
from edupulse_pipelines.risk.cohorts import MODEL_FEATURES, FeatureMatrix, feature_weeks, read_cohort
from edupulse_pipelines.risk.evaluation import Metrics, evaluate, flat_metrics
from edupulse_pipelines.risk.labels import labels
from edupulse_pipelines.risk.model import (
    CALIBRATION_FOLDS,
    MODEL_REVISION,
    MODEL_TYPE,
    REGULARISATION_C,
    CannotLearn,
    fit_model,
)
from edupulse_pipelines.risk.registry import Registry
from edupulse_pipelines.risk.splits import Split, eligible_weeks, temporal_split, training_points
from edupulse_pipelines.schema.sqlalchemy_tables import model_metadata
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.weeks import WEEK

__all__ = [
    "RecordedModel",
    "TrainingOutcome",
    "recorded_models",
    "settings_hash_of",
    "train_risk_models",
    "training_points",
]


MINIMUM_VALIDATION_SHARE = 0.1
"""Share of all labelled student-weeks that the validation weeks should hold."""


@dataclass(frozen=True)
class TrainingOutcome:
    """What training at one data-through week came to."""

    data_through: dt.date
    status: Literal["trained", "unchanged", "no_model"]
    reason: str
    """In words: why there is no model, what is unchanged, or why a trained model did not become champion."""
    model_version: str | None = None
    metrics: Metrics | None = None
    promoted: bool = False
    """Whether the model passed the promotion gate; of those, the one with the newest data is champion."""
    run_id: str | None = None
    """The MLflow run."""
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


@dataclass(frozen=True)
class _Samples:
    """All as-of weeks of one call, assembled once: matrix, outcomes, and per week what the splits and hashes need."""

    matrix: FeatureMatrix
    outcome: NDArray[np.int8]
    school_weeks: tuple[dt.date, ...]
    events: dict[dt.date, int]
    sizes: dict[dt.date, int]
    digests: dict[dt.date, bytes]

    def classes(self, weeks: Sequence[dt.date]) -> tuple[int, int]:
        """Samples (with, without) an adverse event in these weeks."""
        events = sum(self.events[week] for week in weeks)
        return events, sum(self.sizes[week] for week in weeks) - events


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
    little to learn from is the outcome `no_model` with its reason, recorded as an MLflow run. A model whose validation
    AUC reaches the tenant's minimum is promoted and becomes champion, unless the champion knows newer data. `run_id` is
    the calling run's, stored as a tag. `progress` gets (points done, points in all). RegistryUnavailable when MLflow
    fails.
    """
    points = sorted(set(as_of_weeks))
    if not points:
        return []
    with engine.connect() as connection:
        # Vectors are stored for every school week with data, and for no other.
        school_weeks = feature_weeks(connection, tenant.name, points[-1])
        samples = _assemble(connection, tenant, school_weeks, points[-1] - tenant.label.horizon_weeks * WEEK)
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
        sa.select(table.model_version, table.hyperparameters, table.performance_metrics, table.is_active)
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
        )
        for row in rows
        if row.hyperparameters and "data_through" in row.hyperparameters
    ]
    return sorted(models, key=lambda model: model.data_through)


def _assemble(
    connection: sa.Connection, tenant: TenantSettings, school_weeks: Sequence[dt.date], newest: dt.date
) -> _Samples:
    """The samples of the as-of weeks up to `newest`; `school_weeks` go on to where the data end."""
    matrix = read_cohort(connection, tenant, [week for week in school_weeks if week <= newest])
    happened = labels(connection, tenant, matrix.weeks)
    adverse = happened.adverse
    position = (
        np.searchsorted(happened.district_ids, matrix.district_ids) if len(matrix.district_ids) else matrix.student
    )
    outcome = np.empty(len(matrix.student), dtype=np.int8)
    events, sizes, digests = {}, {}, {}
    for i, week in enumerate(matrix.weeks):
        rows = slice(matrix.offsets[i], matrix.offsets[i + 1])
        outcome[rows] = adverse[position[matrix.student[rows]], i]
        events[week] = int(outcome[rows].sum())
        sizes[week] = rows.stop - rows.start
    for i, week in enumerate(matrix.weeks):
        digests[week] = matrix.digest(i, outcome)
    return _Samples(matrix, outcome, tuple(school_weeks), events, sizes, digests)


def _train_at(
    engine: sa.Engine,
    tenant: TenantSettings,
    point: dt.date,
    samples: _Samples,
    registry: Registry,
    run_id: str | None,
    force: bool,
) -> TrainingOutcome:
    eligible = eligible_weeks(samples.matrix.weeks, point, tenant.label.horizon_weeks, samples.school_weeks)
    split = _split(tenant, eligible, samples)
    settings = _settings_of_model(tenant)
    data_hash = _data_hash(split, samples)
    settings_hash = settings_hash_of(tenant)
    combined = hashlib.sha256(f"{data_hash}{settings_hash}".encode()).hexdigest()
    identity = {
        "tenant": tenant.name,
        "data_through": point.isoformat(),
        "data_hash": data_hash,
        "settings_hash": settings_hash,
    }
    if not force and (known := _known_model(engine, tenant.name, point, data_hash, settings_hash)) is not None:
        if known.is_active and known.registry_version is not None:
            registry.set_champion(tenant.name, known.registry_version)  # the table knows; a lost alias is put back
        return TrainingOutcome(
            point,
            "unchanged",
            f"Data and settings are those of model {known.model_version}.",
            known.model_version,
            known.metrics,
            known.promoted,
            known.run_id,
        )
    reason = _too_little(tenant, point, eligible, split, samples)
    if reason is None:
        training, validation = (samples.matrix.rows(weeks) for weeks in (split.training, split.validation))
        train_frame = samples.matrix.frame(training)
        train_outcome = samples.outcome[training]
        try:
            model, calibration = fit_model(train_frame, train_outcome, samples.matrix.student[training])
        except CannotLearn as error:
            reason = f"No model could be learned from the data up to the week of {point}: {error}."
    tags = {**identity, "edupulse.run_id": run_id or ""}
    params = _params(tenant, point, split)
    if reason is not None:
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

    baseline = fit_baseline(train_frame, train_outcome, tenant.rule)
    frame, outcome = samples.matrix.frame(validation), samples.outcome[validation]
    week = np.repeat(np.arange(len(split.validation)), [samples.sizes[one] for one in split.validation])
    predicted, ruled = model.probabilities(frame), baseline.probabilities(frame)
    metrics = evaluate(predicted, outcome, week, training_samples=len(training))
    metrics["baseline"] = evaluate(ruled, outcome, week, training_samples=len(training))
    gate = tenant.promotion.minimum_auc
    promoted = metrics["auc_roc"] is not None and metrics["auc_roc"] >= gate
    version = f"{point:%Y-%m-%d}-{combined[:8]}"
    plot = calibration_plot(f"{tenant.name}, model {version}", predicted, ruled, outcome)
    hyperparameters: dict[str, Any] = {
        "model_type": MODEL_TYPE,
        "data_through": point.isoformat(),
        "data_hash": data_hash,
        "settings_hash": settings_hash,
        "promoted": promoted,
        "settings": settings,
        "training_weeks": [one.isoformat() for one in split.training],
        "validation_weeks": [one.isoformat() for one in split.validation],
        "features": model.features,
        "intercept": model.intercept,
        "coefficients": model.coefficients,
        "calibration": {"slope": calibration.slope, "intercept": calibration.intercept, "folds": CALIBRATION_FOLDS},
        "regularisation_c": REGULARISATION_C,
        "baseline_probability_by_flags": list(baseline.probability_by_flags),
    }
    logged = registry.log_model(
        tenant.name,
        model,
        run_name=version,
        params={**params, "calibration_slope": calibration.slope, "calibration_intercept": calibration.intercept},
        metrics={
            **flat_metrics(metrics),
            "training_event_rate": float(train_outcome.mean()),
            "validation_event_rate": float(outcome.mean()),
        },
        tags={**tags, "status": "trained", "model_version": version},
        documents={
            "settings.json": settings,
            "coefficients.json": {"intercept": model.intercept, **model.coefficients},
            "performance_metrics.json": metrics,
        },
        figures={"calibration.png": plot},
    )
    hyperparameters["mlflow"] = {
        "run_id": logged.run_id,
        "registered_model": registry.model_name(tenant.name),
        "registry_version": logged.registry_version,
    }
    champion = promoted and _newest(engine, tenant.name, point)
    if champion and logged.registry_version is not None:
        registry.set_champion(tenant.name, logged.registry_version)
    _record(engine, tenant.name, version, metrics, hyperparameters, active=champion)
    return TrainingOutcome(
        point,
        "trained",
        _promotion_reason(metrics["auc_roc"], gate, champion),
        version,
        metrics,
        promoted,
        logged.run_id,
        plot,
    )


def _split(tenant: TenantSettings, eligible: Sequence[dt.date], samples: _Samples) -> Split:
    """The split of the eligible weeks: validation has its minimum of each class and, if it can, a tenth of all samples.

    A share and not only a count: at the end of a year the cohort may have shrunk to a few students, who say nothing of
    the others.
    """
    minimum = tenant.training
    everyone = sum(samples.sizes[week] for week in eligible)

    def enough(split: Split) -> bool:
        return min(samples.classes(split.validation)) >= minimum.minimum_validation_per_class

    def ample(split: Split) -> bool:
        judged = sum(samples.sizes[week] for week in split.validation)
        return (
            judged >= MINIMUM_VALIDATION_SHARE * everyone
            and min(samples.classes(split.training)) >= minimum.minimum_train_per_class
        )

    return temporal_split(eligible, tenant.label.horizon_weeks, enough, ample)


def settings_hash_of(tenant: TenantSettings) -> str:
    """Hash of the settings that decide a model; a recorded model with another one answers another question."""
    return hashlib.sha256(json.dumps(_settings_of_model(tenant), sort_keys=True).encode()).hexdigest()


def _settings_of_model(tenant: TenantSettings) -> dict[str, Any]:
    """What, besides the data, decides the model and whether it is promoted."""
    return {
        "model_revision": MODEL_REVISION,
        "features": list(MODEL_FEATURES),
        "label": tenant.label.model_dump(mode="json"),
        "cohort": tenant.cohort.model_dump(mode="json"),
        "rule": tenant.rule.model_dump(mode="json"),
        "training": tenant.training.model_dump(
            mode="json", include={"minimum_train_per_class", "minimum_validation_per_class"}
        ),
        "promotion": tenant.promotion.model_dump(mode="json"),
    }


def _data_hash(split: Split, samples: _Samples) -> str:
    """Hash of the ordered training and validation samples: dates, district ids, rounded features, outcomes."""
    digest = hashlib.sha256()
    for part, weeks in (("training", split.training), ("validation", split.validation)):
        digest.update(part.encode())
        for week in weeks:
            digest.update(samples.digests[week])
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


def _too_little(
    tenant: TenantSettings, point: dt.date, eligible: Sequence[dt.date], split: Split, samples: _Samples
) -> str | None:
    """Why there is too little to train on or to validate with; None when there is enough."""
    horizon, settings = tenant.label.horizon_weeks, tenant.training
    if not eligible:
        return (
            f"Up to the week of {point} no week has both students with at least "
            f"{tenant.cohort.minimum_weeks_of_data} weeks of data and {horizon} weeks after it in which outcomes show."
        )
    if not split.training:
        return (
            f"Up to the week of {point} outcomes are known for {len(eligible)} week(s); training and validation must "
            f"lie {horizon} weeks apart, so at least {horizon + 1} are needed."
        )
    for purpose, weeks, minimum in (
        ("Training", split.training, settings.minimum_train_per_class),
        ("Validation", split.validation, settings.minimum_validation_per_class),
    ):
        events, others = samples.classes(weeks)
        if min(events, others) < minimum:
            return (
                f"{purpose} up to the week of {point} needs at least {minimum} samples with and {minimum} without an "
                f"adverse event; there are {events} with and {others} without."
            )
    return None


def _params(tenant: TenantSettings, point: dt.date, split: Split) -> dict[str, Any]:
    params: dict[str, Any] = {
        "model_type": MODEL_TYPE,
        "data_through": point.isoformat(),
        "horizon_weeks": tenant.label.horizon_weeks,
        "minimum_weeks_of_data": tenant.cohort.minimum_weeks_of_data,
        "regularisation_c": REGULARISATION_C,
        "calibration_folds": CALIBRATION_FOLDS,
        "features": len(MODEL_FEATURES),
        "minimum_auc": tenant.promotion.minimum_auc,
    }
    params |= {
        f"label.{name}": value
        for name, value in tenant.label.model_dump(mode="json").items()
        if name != "horizon_weeks"
    }
    for part, weeks in (("training", split.training), ("validation", split.validation)):
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


def _promotion_reason(auc: float | None, gate: float, champion: bool) -> str:
    if champion:
        return f"Champion: validation AUC {auc:.3f}."
    if auc is None:
        return "Not promoted: the validation AUC is not defined."
    if auc < gate:
        return f"Not promoted: validation AUC {auc:.3f} is below {gate:g}."
    return f"Promoted for its own weeks (validation AUC {auc:.3f}); the champion knows newer data."


def _record(
    engine: sa.Engine,
    tenant_name: str,
    version: str,
    metrics: Metrics,
    hyperparameters: dict[str, Any],
    *,
    active: bool,
) -> None:
    """Write the model's row, and make it the only active one when it is champion, in one transaction."""
    table = model_metadata
    values = {
        "model_type": MODEL_TYPE,
        "training_date": dt.datetime.now(dt.UTC),
        "performance_metrics": metrics,
        "hyperparameters": hyperparameters,
    }
    with writing(engine) as connection:
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
