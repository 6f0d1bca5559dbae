"""Models of versions before the book: their rows are brought up to date, and they load, score and promote as before."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from edupulse_pipelines.risk.book.champion import make_champion
from edupulse_pipelines.risk.book.mirror import differences, sync
from edupulse_pipelines.risk.book.records import ModelRecord, load_recorded, model_records, trained_models
from edupulse_pipelines.risk.book.registry import LoggedRun, Registry
from edupulse_pipelines.risk.scoring import score_weeks
from edupulse_pipelines.schema import migrations
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage import versions
from edupulse_pipelines.storage.engine import create_engine, writing
from edupulse_pipelines_tests.risk.district import made_up_district, tenant_settings, week, work_of, write
from edupulse_pipelines_tests.risk.registered import fitted, logged, rows, sample

CHAMPION, CHALLENGER, LOST = f"{week(8)}-aaaaaaaa", f"{week(11)}-bbbbbbbb", f"{week(14)}-cccccccc"


def older_facts(record: ModelRecord, mlflow: dict[str, Any]) -> dict[str, Any]:
    """The hyperparameters that a row or a run's document held before 0004."""
    assert record.data_through is not None
    facts = {
        "data_through": record.data_through.isoformat(),
        "data_hash": record.data_hash,
        "settings_hash": record.settings_hash,
        "promoted": record.promoted,
    }
    return {**record.hyperparameters, **facts, **({"mlflow": mlflow} if mlflow else {})}


def older_document(record: ModelRecord) -> dict[str, Any]:
    """What was kept with a model's run before 0004."""
    return {
        "model_type": record.model_type,
        "training_date": record.trained_at.isoformat(),
        "performance_metrics": dict(record.metrics),
        "hyperparameters": older_facts(record, {}),
    }


def older_row(connection: sa.Connection, tenant: str, record: ModelRecord, *, active: bool, lost: bool = False) -> None:
    """Write a model's row as it was before 0004."""
    assert record.mlflow is not None
    mlflow: dict[str, Any] = dict(record.mlflow.as_record())
    if lost:
        mlflow |= {"registry_version": None, "lost": True}
    connection.execute(
        sa.text(
            "INSERT INTO model_metadata (tenant_id, model_version, model_type, training_date, performance_metrics,"
            " hyperparameters, is_active) VALUES (:tenant, :version, :kind, :trained_at, :metrics, :facts, :active)"
        ),
        {
            "tenant": tenant,
            "version": record.model_version,
            "kind": record.model_type,
            "trained_at": str(record.trained_at),
            "metrics": json.dumps(dict(record.metrics)),
            "facts": json.dumps(older_facts(record, mlflow)),
            "active": active,
        },
    )


def older_database(url: str) -> sa.Engine:
    """A database at the version before the book."""
    engine = create_engine(url)
    with writing(engine) as connection:
        migrations.run_versions(connection, "0003")
    return engine


def logged_before(registry: Registry, tenant: TenantSettings, version: str) -> ModelRecord:
    """A model whose run keeps a document of before 0004."""
    return logged(registry, tenant, version, document=older_document)[1]


def test_facts_of_existing_rows_become_columns(empty_database_url: str) -> None:
    engine = older_database(empty_database_url)
    tenant = tenant_settings()
    seed = {"promoted": "yes", "data_through": "last spring", "alpha": 0.30000000000000004, "mlflow": None}
    record = ModelRecord(
        model_version=CHAMPION,
        model_type="additive",
        trained_at=dt.datetime(2025, 1, 6, 12, tzinfo=dt.UTC),
        metrics={"auc_roc": 0.75},
        hyperparameters={"seed": 7, "intercept": -1.2345678901234567, "calibration": {"slope": 1.0}},
        data_through=week(8),
        data_hash="d" * 64,
        settings_hash="5" * 64,
        promoted=True,
        mlflow=LoggedRun("run", "3", f"edupulse-{tenant.name}", "m-1", "a" * 64, "file:///somewhere"),
    )
    with writing(engine) as connection:
        older_row(connection, tenant.name, record, active=True)
        older_row(connection, tenant.name, replace(record, model_version=LOST, promoted=False), active=False, lost=True)
        for version, facts in (("by hand", json.dumps(seed)), ("empty", "{}"), ("null", "null"), ("none", None)):
            connection.execute(
                sa.text(
                    "INSERT INTO model_metadata (tenant_id, model_version, hyperparameters)"
                    " VALUES (:tenant, :v, :facts)"
                ),
                {"tenant": tenant.name, "v": version, "facts": facts},
            )
    versions.upgrade(engine)
    assert versions.check(engine) == []
    work = work_of(engine, tenant)
    with work.reading() as connection:
        found = {found.model_version: found for found in model_records(connection, work)}
        assert [found.model_version for found in trained_models(connection, work)] == [CHAMPION]
    assert found[CHAMPION] == replace(record, is_active=True)
    assert record.mlflow is not None
    gone = replace(record, model_version=LOST, promoted=False, mlflow=replace(record.mlflow, registry_version=None))
    assert found[LOST] == replace(gone, set_aside=True)
    assert (found["by hand"].promoted, found["by hand"].data_through) == (False, None)
    assert found["by hand"].hyperparameters == {"alpha": 0.30000000000000004}
    assert [found[name].mlflow for name in ("by hand", "empty", "null", "none")] == [None] * 4
    assert [found[name].hyperparameters for name in ("empty", "null", "none")] == [{}] * 3
    engine.dispose()


def test_a_model_of_before_loads_scores_and_is_promoted(empty_database_url: str, registry: Registry) -> None:
    engine = older_database(empty_database_url)
    tenant = tenant_settings()
    records = [logged_before(registry, tenant, version) for version in (CHAMPION, CHALLENGER)]
    with writing(engine) as connection:
        for record in records:
            older_row(
                connection, tenant.name, replace(record, promoted=record is records[0]), active=record is records[0]
            )
    versions.upgrade(engine)
    work = work_of(engine, tenant)
    write(engine, tenant, made_up_district(count=30, weeks=14))
    with work.reading() as connection:
        champion = trained_models(connection, work)[0]
    frame, *_ = sample(seed=3)
    loaded = load_recorded(registry, tenant.name, champion)
    assert np.array_equal(loaded.log_odds(frame), fitted().log_odds(frame))
    first, last = score_weeks(work, tenant, [week(9), week(12)], registry).weeks
    assert (first.model_version, last.model_version) == (CHAMPION, CHAMPION)
    assert first.scored > 0 and last.scored > 0
    change = make_champion(work, registry, CHALLENGER, kind="promote", reason="known better")
    assert (change.previous_version, change.withdrawn) == (CHAMPION, ())
    assert score_weeks(work, tenant, [week(12)], registry).weeks[0].model_version == CHALLENGER
    assert rows(engine, tenant)[CHALLENGER].is_active
    engine.dispose()


@pytest.mark.parametrize("source", ["table", "registry"])
def test_a_lost_row_comes_back_from_a_document_of_before(engine: sa.Engine, registry: Registry, source: Any) -> None:
    tenant = tenant_settings()
    record = logged_before(registry, tenant, CHALLENGER)
    work = work_of(engine, tenant)
    (done,) = sync(work, registry, apply=True, source=source)
    assert (done.kind, done.mended) == ("version_without_row", True)
    with work.reading() as connection:
        assert model_records(connection, work) == [record]
    assert differences(work, registry, artifacts="all") == []
