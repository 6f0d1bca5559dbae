"""The rows of `model_metadata`: one record class, and the only functions that read and write them.

A row is written when a model was trained or is mended. Whether its model is promoted and active is marked by `champion`
alone. What MLflow holds of a model is the business of `registry`; whether both agree, of `mirror`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from edupulse_pipelines.errors import ModelArtifactError, PermanentError
from edupulse_pipelines.risk.book.registry import LoggedRun, Registry
from edupulse_pipelines.risk.models.baseline import rule_of
from edupulse_pipelines.risk.models.model import RiskModel
from edupulse_pipelines.risk.statuses import RULE, TRANSFERRED
from edupulse_pipelines.schema.sqlalchemy_tables import model_metadata
from edupulse_pipelines.storage.ids import new_ids
from edupulse_pipelines.storage.work import Work

_MLFLOW_COLUMNS = {
    "mlflow_run_id": "run_id",
    "registered_model": "registered_model",
    "registry_version": "registry_version",
    "mlflow_model_id": "model_id",
    "artifact_sha256": "artifact_sha256",
    "artifact_uri": "artifact_uri",
}
"""Columns of `model_metadata`, and the fields of `LoggedRun` that they hold."""
_FACTS = ("data_through", "data_hash", "settings_hash", "label_hash", "promoted")
"""What documents of runs before these were columns keep among the hyperparameters."""


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """One row of `model_metadata`."""

    model_version: str
    """Unique within the tenant: the data-through week and the beginning of a hash."""
    model_type: str | None
    """Which candidate it is."""
    trained_at: dt.datetime
    metrics: Mapping[str, Any] = field(repr=False)
    """On the validation weeks, beside those of the rule."""
    hyperparameters: Mapping[str, Any] = field(repr=False)
    """What the model was made with and of: settings, weeks, configuration, coefficients, reference distributions."""
    data_through: dt.date | None = None
    """Monday of the newest week that it knew; None of the rule before it learned anything, and of a row that no
    training of ours wrote."""
    data_hash: str | None = None
    settings_hash: str | None = None
    label_hash: str | None = None
    """Of the label's definition (`learned_label`); None of models from before it was kept."""
    mlflow: LoggedRun | None = None
    """Its run and registered version; None when none was recorded."""
    promoted: bool = False
    """Whether it may score: it passed the gate, or a person said so."""
    is_active: bool = False
    """Whether it is the champion."""
    set_aside: bool = False
    """Its files are gone for good: the row stays for its predictions, and the model is never chosen again."""

    @property
    def registry_version(self) -> str | None:
        """The version of the registered model; None for one that was set aside or never registered."""
        return self.mlflow.registry_version if self.mlflow else None

    @property
    def artifact_sha256(self) -> str | None:
        """The hash its files were logged with."""
        return self.mlflow.artifact_sha256 if self.mlflow else None

    def as_document(self) -> dict[str, Any]:
        """The record as JSON, without what MLflow gives it; kept with the run (`registry.RECORD_DOCUMENT`)."""
        return {
            "model_type": self.model_type,
            "training_date": self.trained_at.isoformat(),
            "performance_metrics": dict(self.metrics),
            "data_through": self.data_through.isoformat() if self.data_through else None,
            "data_hash": self.data_hash,
            "settings_hash": self.settings_hash,
            "label_hash": self.label_hash,
            "promoted": self.promoted,
            "hyperparameters": dict(self.hyperparameters),
        }


def record_of_document(model_version: str, document: Mapping[str, Any], mlflow: LoggedRun) -> ModelRecord:
    """The record that `as_document` gave, or an older version of the package kept; not active.

    ValueError, KeyError or TypeError for a document that is none.
    """
    hyperparameters = dict(document["hyperparameters"])
    facts = {name: hyperparameters.pop(name, None) for name in _FACTS}
    facts |= {name: document[name] for name in _FACTS if name in document}
    through = facts["data_through"]
    return ModelRecord(
        model_version=model_version,
        model_type=document["model_type"],
        trained_at=dt.datetime.fromisoformat(document["training_date"]),
        metrics=dict(document["performance_metrics"]),
        hyperparameters=hyperparameters,
        data_through=dt.date.fromisoformat(through) if through else None,
        data_hash=facts["data_hash"],
        settings_hash=facts["settings_hash"],
        label_hash=facts["label_hash"],
        mlflow=mlflow,
        promoted=bool(facts["promoted"]),
    )


def model_records(connection: sa.Connection, work: Work, *, lock: bool = False) -> list[ModelRecord]:
    """All of the tenant's models, oldest first: by data-through week, then by when they were trained.

    Of two models that may score a week, scoring takes the later one. `lock` keeps others from changing the rows until
    the transaction ends.
    """
    table = model_metadata.c
    query = (
        sa.select(model_metadata)
        .where(table.tenant_id == work.tenant)
        .order_by(table.training_date, table.model_version)
    )
    rows = connection.execute(query.with_for_update() if lock else query)
    return sorted((_record(row) for row in rows), key=lambda record: record.data_through or dt.date.min)


def trained_models(connection: sa.Connection, work: Work) -> list[ModelRecord]:
    """The models that a training of ours made of the tenant's own data and that were not set aside, in the order of
    `model_records`: neither rules nor, until they are promoted, models that were learned elsewhere."""
    return [
        record
        for record in scorers(connection, work)
        if record.model_type != RULE and (record.model_type != TRANSFERRED or record.promoted)
    ]


def scorers(connection: sa.Connection, work: Work) -> list[ModelRecord]:
    """Everything that may be chosen to score a week (`champion.scorer_of`), in the order of `model_records`."""
    return [
        record
        for record in model_records(connection, work)
        if not record.set_aside and (record.data_through is not None or record.model_type == RULE)
    ]


def model_record(records: Sequence[ModelRecord], model_version: str, tenant: str) -> ModelRecord:
    """The record of a model version; EduPulseError when there is none."""
    for record in records:
        if record.model_version == model_version:
            return record
    raise PermanentError(f"{tenant} has no model {model_version}; `edupulse model list` shows which there are.")


def load_recorded(registry: Registry, tenant: str, record: ModelRecord) -> RiskModel:
    """The registered model; ModelArtifactError when it is gone, or not the one that was recorded.

    A rule is what its row says, so that it scores even when MLflow does not answer.
    """
    if record.model_type == RULE:
        try:
            return rule_of(record.hyperparameters["rule"])
        except (KeyError, TypeError):
            raise ModelArtifactError(f"The row of the rule {record.model_version} does not say what it is.") from None
    return registry.load_model(tenant, record.model_version, record.registry_version, record.artifact_sha256)


def write_record(connection: sa.Connection, work: Work, record: ModelRecord) -> None:
    """Write a model's row, in place of the one with the same version.

    A new row is neither promoted nor active, and a row that was there keeps its marks: see `champion`.
    """
    table = model_metadata
    mlflow = record.mlflow or LoggedRun()
    values = {
        "model_type": record.model_type,
        "training_date": record.trained_at,
        "performance_metrics": dict(record.metrics),
        "hyperparameters": dict(record.hyperparameters),
        "data_through": record.data_through,
        "data_hash": record.data_hash,
        "settings_hash": record.settings_hash,
        "label_hash": record.label_hash,
        "set_aside": record.set_aside,
        **{column: getattr(mlflow, name) for column, name in _MLFLOW_COLUMNS.items()},
    }
    same = (table.c.tenant_id == work.tenant) & (table.c.model_version == record.model_version)
    if connection.execute(sa.update(table).where(same).values(**values)).rowcount:
        return
    connection.execute(
        sa.insert(table).values(
            id=new_ids(1)[0],
            tenant_id=work.tenant,
            model_version=record.model_version,
            promoted=False,
            is_active=False,
            **values,
        )
    )


def write_adopted(connection: sa.Connection, work: Work, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of a database of version 1.0 that is adopted, with their ids and `created_at`.

    Their models are in no registry: none is promoted, active, or ever chosen.
    """
    marks = {"tenant_id": work.tenant, "is_active": False, "promoted": False, "set_aside": True}
    if rows:
        connection.execute(model_metadata.insert(), [{**row, **marks} for row in rows])


def write_marks(connection: sa.Connection, work: Work, model_version: str, *, promoted: bool, is_active: bool) -> None:
    """Say whether a model is promoted and whether it is active. For `champion` only."""
    table = model_metadata
    connection.execute(
        sa.update(table)
        .where(table.c.tenant_id == work.tenant, table.c.model_version == model_version)
        .values(promoted=promoted, is_active=is_active)
    )


def _record(row: sa.Row[Any]) -> ModelRecord:
    mlflow = LoggedRun(**{name: getattr(row, column) for column, name in _MLFLOW_COLUMNS.items()})
    return ModelRecord(
        model_version=row.model_version,
        model_type=row.model_type,
        trained_at=row.training_date,
        metrics=row.performance_metrics or {},
        hyperparameters=row.hyperparameters or {},
        data_through=row.data_through,
        data_hash=row.data_hash,
        settings_hash=row.settings_hash,
        label_hash=row.label_hash,
        mlflow=None if mlflow == LoggedRun() else mlflow,
        promoted=bool(row.promoted),
        is_active=bool(row.is_active),
        set_aside=bool(row.set_aside),
    )
