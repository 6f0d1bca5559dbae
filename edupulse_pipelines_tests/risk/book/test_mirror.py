from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import sqlalchemy as sa

from edupulse_pipelines.risk.book.champion import make_champion
from edupulse_pipelines.risk.book.decisions import decisions
from edupulse_pipelines.risk.book.mirror import Difference, differences, sync
from edupulse_pipelines.risk.book.registry import RECORD_DOCUMENT, Registry
from edupulse_pipelines.schema.sqlalchemy_tables import model_metadata, promotion_decisions
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines_tests.prepared import put_mlflow_store
from edupulse_pipelines_tests.risk.book.test_registry import files_of
from edupulse_pipelines_tests.risk.district import tenant_settings, work_of
from edupulse_pipelines_tests.risk.registered import RegisteredModels, active, fitted, logged, recorded, rows, sample

FIRST, SECOND = "2025-01-06-aaaaaaaa", "2025-01-27-bbbbbbbb"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> RegisteredModels:
    return RegisteredModels(tmp_path_factory.mktemp("mirror"), [FIRST, SECOND])


@pytest.fixture
def registry(models: RegisteredModels) -> Registry:
    return models.restored()


@pytest.fixture
def tenant(engine: sa.Engine, registry: Registry, models: RegisteredModels) -> TenantSettings:
    """A tenant with two models, the second of which is champion."""
    models.write_rows(engine, promoted=[FIRST, SECOND])
    make_champion(work_of(engine, models.tenant), registry, SECOND, kind="gate", reason="won")
    assert differences(work_of(engine, models.tenant), registry, artifacts="all") == []
    return models.tenant


@pytest.fixture
def client(registry: Registry) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(registry.tracking_uri, registry.tracking_uri)


def facts(row: Any) -> dict[str, Any]:
    """All that a row says of its model, but for when it was written."""
    return {
        name: value
        for name, value in row._asdict().items()
        if name not in ("id", "created_at", "updated_at", "change_id")
    }


def kinds(found: list[Difference]) -> list[tuple[str, str | None, bool | None]]:
    return [(one.kind, one.model_version, one.mended) for one in found]


def forget(engine: sa.Engine, tenant: TenantSettings, version: str) -> None:
    """The row is lost, as after restoring an older backup."""
    with engine.begin() as connection:
        for table in (promotion_decisions, model_metadata):
            connection.execute(
                sa.delete(table).where(table.c.tenant_id == tenant.name, table.c.model_version == version)
            )


def delete_version(client: mlflow.MlflowClient, engine: sa.Engine, tenant: TenantSettings, version: str) -> None:
    number = rows(engine, tenant)[version].registry_version
    client.delete_model_version(f"edupulse-{tenant.name}", number)


def agreed(engine: sa.Engine, tenant: TenantSettings, registry: Registry) -> None:
    assert differences(work_of(engine, tenant), registry, artifacts="all") == []
    assert sync(work_of(engine, tenant), registry, apply=True) == []


def test_nothing_to_mend_changes_nothing(engine: sa.Engine, registry: Registry, tenant: TenantSettings) -> None:
    before = rows(engine, tenant)
    agreed(engine, tenant, registry)
    assert rows(engine, tenant) == before


@pytest.mark.parametrize("source", ["table", "registry"])
@pytest.mark.parametrize("alias", [FIRST, None])
def test_a_moved_or_lost_alias(
    engine: sa.Engine, registry: Registry, tenant: TenantSettings, source: Any, alias: str | None
) -> None:
    if alias is None:
        registry.remove_champion(tenant.name)
    else:
        registry.set_champion(tenant.name, rows(engine, tenant)[alias].registry_version)
    (only,) = sync(work_of(engine, tenant), registry, source=source)
    assert only.sentence == (
        f"MLflow's champion is {alias or 'not set'}, but the active model in model_metadata is {SECOND}."
    )
    assert only.mended is None and only.mending is not None
    assert active(engine, tenant) == [SECOND]  # looking changes nothing
    (done,) = sync(work_of(engine, tenant), registry, apply=True, source=source)
    assert done.mended is True
    expected = SECOND if source == "table" else alias
    assert active(engine, tenant) == ([expected] if expected else [])
    assert registry.champion(tenant.name) == expected
    agreed(engine, tenant, registry)
    with engine.connect() as connection:
        newest = decisions(connection, work_of(connection, tenant))[-1]
    assert newest.kind == ("gate" if source == "table" else "sync")


@pytest.mark.parametrize("source", ["table", "registry"])
def test_a_row_that_is_lost_comes_back_from_the_run(
    engine: sa.Engine, registry: Registry, tenant: TenantSettings, source: Any
) -> None:
    before = rows(engine, tenant)[FIRST]
    forget(engine, tenant, FIRST)
    (done,) = sync(work_of(engine, tenant), registry, apply=True, source=source)
    assert kinds([done]) == [("version_without_row", FIRST, True)]
    after = rows(engine, tenant)[FIRST]
    assert facts(after) == facts(before)
    agreed(engine, tenant, registry)


@pytest.mark.parametrize("source", ["table", "registry"])
def test_the_champions_row_comes_back_with_the_alias_as_the_truth(
    engine: sa.Engine, registry: Registry, tenant: TenantSettings, source: Any
) -> None:
    """Whichever side is asked for: the row that said who is champion was lost, the alias is all that is left."""
    forget(engine, tenant, SECOND)
    proposed = {one.kind: one.mending for one in sync(work_of(engine, tenant), registry, source=source)}
    assert proposed["champion"] == f"make {SECOND} the active model"
    done = sync(work_of(engine, tenant), registry, apply=True, source=source)
    assert kinds(done) == [("version_without_row", SECOND, True), ("champion", SECOND, True)]
    assert active(engine, tenant) == [SECOND]
    agreed(engine, tenant, registry)


def test_a_version_that_nothing_is_known_about_is_left_alone(
    engine: sa.Engine, registry: Registry, tenant: TenantSettings, client: mlflow.MlflowClient
) -> None:
    name = f"edupulse-{tenant.name}"
    client.create_model_version(name, client.get_model_version(name, "1").source)
    run, _ = logged(registry, tenant, "2025-02-17-cccccccc")
    client.log_text(run.run_id, "{}", RECORD_DOCUMENT)
    done = sync(work_of(engine, tenant), registry, apply=True)
    assert kinds(done) == [
        ("version_without_row", None, False),
        ("version_without_row", "2025-02-17-cccccccc", False),
    ]
    assert "cannot be read (KeyError)" in (done[1].outcome or "")
    assert len(registry.versions(tenant.name)) == 4
    client.log_text(
        run.run_id, json.dumps({"tenant": "other", "model_version": "2025-02-17-cccccccc"}), RECORD_DOCUMENT
    )
    assert "another model's" in (sync(work_of(engine, tenant), registry, apply=True)[1].outcome or "")


@pytest.mark.parametrize("version", [FIRST, SECOND])
def test_a_deleted_version_is_registered_again_from_its_run(
    engine: sa.Engine, registry: Registry, tenant: TenantSettings, client: mlflow.MlflowClient, version: str
) -> None:
    delete_version(client, engine, tenant, version)
    before = rows(engine, tenant)[version]
    done = sync(work_of(engine, tenant), registry, apply=True)
    assert done[0].mended and "registered again as version 3" in (done[0].outcome or "")
    after = rows(engine, tenant)[version]
    assert facts(after) == {**facts(before), "registry_version": "3"}
    assert registry.champion(tenant.name) == SECOND
    assert active(engine, tenant) == [SECOND]
    agreed(engine, tenant, registry)


def test_a_version_deleted_on_purpose_sets_the_row_aside(
    engine: sa.Engine, registry: Registry, tenant: TenantSettings, client: mlflow.MlflowClient
) -> None:
    delete_version(client, engine, tenant, SECOND)
    done = sync(work_of(engine, tenant), registry, apply=True, source="registry")
    assert ("row_without_version", SECOND, True) in kinds(done)
    assert active(engine, tenant) == []
    agreed(engine, tenant, registry)


def test_a_lost_registry_comes_back_from_the_files(engine: sa.Engine, tmp_path: Path, registry: Registry) -> None:
    """MLflow's database is gone, the artifacts are not: every model is logged again, hash checked."""
    tenant = tenant_settings()
    lost = registry
    for version in (FIRST, SECOND):
        recorded(engine, lost, tenant, version, kind="additive" if version == SECOND else "logistic")
    make_champion(work_of(engine, tenant), lost, SECOND, kind="gate", reason="won")
    fresh = Registry(put_mlflow_store(tmp_path / "new.db"), tmp_path / "artifacts")
    found = sync(work_of(engine, tenant), fresh)
    assert [one.kind for one in found] == ["registered_model_deleted", "champion", *["row_without_version"] * 2]
    done = sync(work_of(engine, tenant), fresh, apply=True)
    assert all(one.mended for one in done)
    assert fresh.champion(tenant.name) == SECOND
    row = rows(engine, tenant)[SECOND]
    frame, *_ = sample(seed=3)
    model = fresh.load_model(tenant.name, SECOND, row.registry_version, row.artifact_sha256)
    assert np.array_equal(model.log_odds(frame), fitted("additive").log_odds(frame))
    run = mlflow.MlflowClient(fresh.tracking_uri).get_run(row.mlflow_run_id)
    assert run.data.metrics["baseline.auc_roc"] == 0.7
    agreed(engine, tenant, fresh)
    # The new run carries the record from which the row could be written again.
    before = rows(engine, tenant)[FIRST]
    forget(engine, tenant, FIRST)
    assert [one.mended for one in sync(work_of(engine, tenant), fresh, apply=True)] == [True]
    assert facts(rows(engine, tenant)[FIRST]) == facts(before)


@pytest.mark.parametrize("harm", [shutil.rmtree, lambda folder: (folder / "model.skops").write_bytes(b"x")])
@pytest.mark.parametrize("version", [FIRST, SECOND])
def test_a_model_whose_files_are_gone_or_changed_is_set_aside(
    engine: sa.Engine,
    registry: Registry,
    tenant: TenantSettings,
    version: str,
    harm: Callable[[Path], object],
) -> None:
    harm(files_of(rows(engine, tenant)[version].artifact_uri))
    # The check that runs with every training looks at the champion's files alone.
    assert kinds(differences(work_of(engine, tenant), registry)) == (
        [("artifact_unusable", SECOND, None)] if version == SECOND else []
    )
    done = sync(work_of(engine, tenant), registry, apply=True)
    assert kinds(done) == [("artifact_unusable", version, True)]
    row = rows(engine, tenant)[version]
    assert (row.promoted, row.set_aside, row.registry_version) == (False, True, None)
    assert active(engine, tenant) == ([] if version == SECOND else [SECOND])
    assert registry.champion(tenant.name) == (None if version == SECOND else SECOND)
    agreed(engine, tenant, registry)


def test_neither_version_nor_files(
    engine: sa.Engine, registry: Registry, tenant: TenantSettings, client: mlflow.MlflowClient
) -> None:
    shutil.rmtree(files_of(rows(engine, tenant)[SECOND].artifact_uri))
    delete_version(client, engine, tenant, SECOND)
    done = sync(work_of(engine, tenant), registry, apply=True)
    assert done[0].mended and "The row was set aside." in (done[0].outcome or "")
    assert active(engine, tenant) == []
    with engine.connect() as connection:
        newest = decisions(connection, work_of(connection, tenant))[-1]
    assert (newest.kind, newest.promoted, newest.model_version) == ("sync", False, SECOND)
    agreed(engine, tenant, registry)


def test_a_version_under_another_number(
    engine: sa.Engine, registry: Registry, tenant: TenantSettings, client: mlflow.MlflowClient
) -> None:
    name = f"edupulse-{tenant.name}"
    old = client.get_model_version(name, rows(engine, tenant)[SECOND].registry_version)
    client.create_model_version(name, old.source, run_id=old.run_id, tags=old.tags, model_id=old.model_id)
    delete_version(client, engine, tenant, SECOND)
    done = sync(work_of(engine, tenant), registry, apply=True)
    assert kinds(done) == [("version_moved", SECOND, True), ("champion", SECOND, True)]
    assert rows(engine, tenant)[SECOND].registry_version == "3"
    agreed(engine, tenant, registry)


@pytest.mark.parametrize("source", ["table", "registry"])
def test_facts_that_differ(engine: sa.Engine, registry: Registry, tenant: TenantSettings, source: Any) -> None:
    truth = rows(engine, tenant)[FIRST]
    if source == "table":
        registry.tag_version(tenant.name, truth.registry_version, {"data_hash": "0" * 64})
    else:
        with engine.begin() as connection:
            connection.execute(
                sa.update(model_metadata)
                .where(model_metadata.c.tenant_id == tenant.name, model_metadata.c.model_version == FIRST)
                .values(data_hash="0" * 64)
            )
    (done,) = sync(work_of(engine, tenant), registry, apply=True, source=source)
    assert kinds([done]) == [("facts_differ", FIRST, True)]
    assert "data_hash in MLflow" in done.sentence
    assert facts(rows(engine, tenant)[FIRST]) == facts(truth)
    agreed(engine, tenant, registry)


def test_a_deleted_experiment_is_restored(
    engine: sa.Engine, registry: Registry, tenant: TenantSettings, client: mlflow.MlflowClient
) -> None:
    experiment = client.get_experiment_by_name(f"edupulse/{tenant.name}")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    (only,) = sync(work_of(engine, tenant), registry)
    assert (only.kind, only.mended) == ("experiment_deleted", None)
    assert only.mending is not None and "restore" in only.mending
    (done,) = sync(work_of(engine, tenant), registry, apply=True)
    assert done.mended is True
    restored = client.get_experiment_by_name(f"edupulse/{tenant.name}")
    assert restored is not None and restored.lifecycle_stage == "active"
    agreed(engine, tenant, registry)


def test_a_deleted_registered_model_is_made_again_with_its_versions(
    engine: sa.Engine, registry: Registry, tenant: TenantSettings, client: mlflow.MlflowClient
) -> None:
    client.delete_registered_model(f"edupulse-{tenant.name}")
    found = sync(work_of(engine, tenant), registry)
    assert found[0].kind == "registered_model_deleted"
    assert {one.kind for one in found[1:]} == {"champion", "row_without_version"}
    done = sync(work_of(engine, tenant), registry, apply=True)
    assert all(one.mended for one in done)
    assert sorted(registry.model_versions(tenant.name)) == [FIRST, SECOND]
    assert registry.champion(tenant.name) == SECOND
    agreed(engine, tenant, registry)
