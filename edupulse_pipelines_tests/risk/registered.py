"""Small fitted models, registered and recorded as training does it, for the tests of registry, mirror and champion."""

from __future__ import annotations

import datetime as dt
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from edupulse_pipelines.risk.book.champion import mark_promoted
from edupulse_pipelines.risk.book.records import ModelRecord, write_record
from edupulse_pipelines.risk.book.registry import LoggedRun, Registry
from edupulse_pipelines.risk.book.run_contents import RunContents
from edupulse_pipelines.risk.models.model import RiskModel, fit_candidate
from edupulse_pipelines.schema.sqlalchemy_tables import model_metadata
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines_tests.prepared import put_mlflow_store
from edupulse_pipelines_tests.risk.district import tenant_settings, work_of

_TREES = {"learning_rate": 0.1, "leaves": 4, "l2": 1.0, "leaf": 1.0, "iterations": 20}
CONFIG: dict[str, dict[str, Any]] = {"logistic": {"C": 0.03}, "additive": {**_TREES, "leaves": 2}, "boosting": _TREES}
CONFIG["averaged"] = {kind: CONFIG[kind] for kind in ("logistic", "boosting")}
Document = Callable[[ModelRecord], dict[str, Any]]
METRICS = {"auc_roc": 0.8, "precision_at_k": {"k10": 0.5}, "baseline": {"auc_roc": 0.7}}


def sample(rows: int = 400, seed: int = 1) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Features with missing values, outcomes and student codes; attendance and grades decide."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "attendance_rate_4w": random.beta(12, 2, rows),
            "grade_mean_4w": random.normal(75, 12, rows).round(1),
            "incidents_8w": random.poisson(0.4, rows).astype(float),
        }
    )
    odds = 14 * (0.82 - frame.attendance_rate_4w) + 0.08 * (68 - frame.grade_mean_4w) + 0.4 * frame.incidents_8w
    outcome = (random.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int8)
    frame.loc[random.random(rows) < 0.1, "grade_mean_4w"] = np.nan
    return frame, outcome, np.arange(rows) // 4


@lru_cache
def fitted(kind: str = "logistic", seed: int = 1) -> RiskModel:
    """A model of a kind on `sample`."""
    frame, outcome, student = sample(seed=seed)
    return fit_candidate(kind, frame, outcome, student, CONFIG[kind], {"attendance_rate_4w": -1})[0]


def logged(
    registry: Registry,
    tenant: TenantSettings,
    version: str,
    *,
    kind: str = "logistic",
    document: Document = ModelRecord.as_document,
    **more: Any,
) -> tuple[LoggedRun, ModelRecord]:
    """Log and register a model; the run and its record. `document`: what the run keeps of the record."""
    record = ModelRecord(
        model_version=version,
        model_type=kind,
        trained_at=dt.datetime.fromisoformat(f"{version[:10]}T12:00:00+00:00"),
        metrics=METRICS,
        hyperparameters={"seed": 7},
        data_through=dt.date.fromisoformat(version[:10]),
        data_hash=f"{version}-data".encode().hex()[:64],
        settings_hash="5" * 64,
        promoted=True,
    )
    facts = {"data_through": version[:10], "data_hash": record.data_hash, "settings_hash": record.settings_hash}
    contents = RunContents(
        params={"data_through": facts["data_through"]},
        metrics=more.pop("metrics", {"validation": {"auc_roc": 0.8}}),
        tags={**facts, "tenant": tenant.name, "model_version": version, "status": "trained"},
        documents={"settings.json": {"a": 1}, "model_card.md": "# Card\n", **more.pop("documents", {})},
        record=document(record),
        **more,
    )
    run = registry.log_model(tenant.name, fitted(kind), contents, run_name=version)
    return run, replace(record, mlflow=run)


def recorded(
    engine: sa.Engine, registry: Registry, tenant: TenantSettings, version: str, *, promoted: bool = True, **more: Any
) -> LoggedRun:
    """Log, register and record a model; not as champion."""
    run, record = logged(registry, tenant, version, **more)
    write_row(engine, tenant, record, promoted=promoted)
    return run


def write_row(engine: sa.Engine, tenant: TenantSettings, record: ModelRecord, *, promoted: bool = True) -> None:
    """The row that training writes for a logged model."""
    work = work_of(engine, tenant)
    with work.writing() as connection:
        write_record(connection, work, record)
        mark_promoted(connection, work, record.model_version, promoted=promoted)


def rows(engine: sa.Engine, tenant: TenantSettings) -> dict[str, Any]:
    """The tenant's rows of `model_metadata` by model version."""
    with engine.connect() as connection:
        found = connection.execute(
            sa.select(model_metadata)
            .where(model_metadata.c.tenant_id == tenant.name)
            .order_by(model_metadata.c.model_version)
        ).all()
    return {row.model_version: row for row in found}


def active(engine: sa.Engine, tenant: TenantSettings) -> list[str]:
    """The active model versions."""
    return [version for version, row in rows(engine, tenant).items() if row.is_active]


class RegisteredModels:
    """An MLflow store of its own with models of one tenant, logged once and put back as they were for every test.

    It stays in its place, since MLflow stores where files lie as absolute addresses.
    """

    def __init__(self, home: Path, versions: Sequence[str]) -> None:
        """Log and register the model versions, in this order, in a store under the folder `home`."""
        self.tenant = tenant_settings()
        self._database, self._artifacts, self._kept = home / "mlflow.db", home / "artifacts", home / "kept"
        self._uri = put_mlflow_store(self._database)
        registry = Registry(self._uri, self._artifacts)
        self._records = [logged(registry, self.tenant, version)[1] for version in versions]
        shutil.copytree(self._artifacts, self._kept / "artifacts")
        _copy_sqlite(self._database, self._kept / "mlflow.db")

    def restored(self) -> Registry:
        """The registry with these models and nothing else, none of them champion."""
        shutil.rmtree(self._artifacts)
        shutil.copytree(self._kept / "artifacts", self._artifacts)
        _copy_sqlite(self._kept / "mlflow.db", self._database)
        return Registry(self._uri, self._artifacts)

    def write_rows(self, engine: sa.Engine, *, promoted: Sequence[str]) -> None:
        """Write the rows of all these models; those of the versions `promoted` as having passed the gate."""
        for record in self._records:
            write_row(engine, self.tenant, record, promoted=record.model_version in promoted)


def _copy_sqlite(source: Path, target: Path) -> None:
    """Copy a database into another, which may be open: who has it open sees the new content."""
    with closing(sqlite3.connect(source)) as read, closing(sqlite3.connect(target)) as written:
        read.backup(written)
