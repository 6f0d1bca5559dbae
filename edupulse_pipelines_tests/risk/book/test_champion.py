from __future__ import annotations

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import ConfigurationError, EduPulseError, ModelArtifactError, RegistryUnavailable
from edupulse_pipelines.risk.book.champion import make_champion, remove_champion, rollback
from edupulse_pipelines.risk.book.decisions import decisions
from edupulse_pipelines.risk.book.mirror import differences
from edupulse_pipelines.risk.book.registry import Registry
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines_tests.risk.book.test_registry import files_of
from edupulse_pipelines_tests.risk.district import work_of
from edupulse_pipelines_tests.risk.registered import RegisteredModels, active, rows

FIRST, SECOND, THIRD = "2025-01-06-aaaaaaaa", "2025-01-27-bbbbbbbb", "2025-02-17-cccccccc"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> RegisteredModels:
    return RegisteredModels(tmp_path_factory.mktemp("champion"), [FIRST, SECOND, THIRD])


@pytest.fixture
def registry(models: RegisteredModels) -> Registry:
    return models.restored()


@pytest.fixture
def tenant(engine: sa.Engine, registry: Registry, models: RegisteredModels) -> TenantSettings:
    """A tenant with three models, none of which is champion; the last did not pass the gate."""
    models.write_rows(engine, promoted=[FIRST, SECOND])
    return models.tenant


def promoted(engine: sa.Engine, tenant: TenantSettings) -> list[str]:
    return [version for version, row in rows(engine, tenant).items() if row.promoted]


def test_a_champion_is_one_in_table_alias_and_decisions(
    engine: sa.Engine, registry: Registry, tenant: TenantSettings
) -> None:
    done = make_champion(
        work_of(engine, tenant, "r"), registry, SECOND, kind="gate", reason="It won.", numbers={"auc": 0.8}
    )
    assert (done.model_version, done.previous_version, done.withdrawn) == (SECOND, None, ())
    again = make_champion(work_of(engine, tenant), registry, THIRD, kind="promote", reason=" The school asked for it. ")
    assert (again.model_version, again.previous_version) == (THIRD, SECOND)
    assert active(engine, tenant) == [THIRD]
    assert promoted(engine, tenant) == [FIRST, SECOND, THIRD]
    assert registry.champion(tenant.name) == THIRD
    with engine.connect() as connection:
        found = decisions(connection, work_of(connection, tenant))
    assert [(one.model_version, one.kind, one.promoted, one.previous_version, one.reason) for one in found] == [
        (SECOND, "gate", True, None, "It won."),
        (THIRD, "promote", True, SECOND, "The school asked for it."),
    ]
    assert (found[0].numbers, found[0].run_id) == ({"auc": 0.8}, "r")
    assert differences(work_of(engine, tenant), registry, artifacts="all") == []


def test_an_older_champion_withdraws_the_newer_ones(
    engine: sa.Engine, registry: Registry, tenant: TenantSettings
) -> None:
    """Scoring takes the newest promoted model: an older champion with a newer promoted one would never score."""
    make_champion(work_of(engine, tenant), registry, THIRD, kind="promote", reason="a")
    done = make_champion(work_of(engine, tenant), registry, FIRST, kind="promote", reason="b")
    assert done.withdrawn == (SECOND, THIRD)
    assert promoted(engine, tenant) == active(engine, tenant) == [FIRST]
    tags = {one.model_version: one.tags["promoted"] for one in registry.versions(tenant.name)}
    assert tags == {FIRST: "true", SECOND: "false", THIRD: "false"}


def test_rollback_goes_back_along_the_decisions(engine: sa.Engine, registry: Registry, tenant: TenantSettings) -> None:
    with pytest.raises(EduPulseError, match="no champion"):
        rollback(work_of(engine, tenant), registry, reason="x")
    for version in (FIRST, SECOND, THIRD):
        make_champion(work_of(engine, tenant), registry, version, kind="gate", reason="won")
    assert rollback(work_of(engine, tenant), registry, reason="Too many alarms.").model_version == SECOND
    assert rollback(work_of(engine, tenant), registry, reason="Still.").model_version == FIRST
    assert promoted(engine, tenant) == active(engine, tenant) == [FIRST]
    assert registry.champion(tenant.name) == FIRST
    with pytest.raises(EduPulseError, match=f"no champion before {FIRST}"):
        rollback(work_of(engine, tenant), registry, reason="Even more.")
    with engine.connect() as connection:
        kinds = [(one.kind, one.model_version) for one in decisions(connection, work_of(connection, tenant))]
    assert kinds[3:] == [("rollback", SECOND), ("rollback", FIRST)]


def test_rollback_takes_back_a_promotion_of_an_older_model(
    engine: sa.Engine, registry: Registry, tenant: TenantSettings
) -> None:
    make_champion(work_of(engine, tenant), registry, THIRD, kind="gate", reason="won")
    make_champion(work_of(engine, tenant), registry, FIRST, kind="promote", reason="by hand")
    assert rollback(work_of(engine, tenant), registry, reason="That was wrong.").model_version == THIRD
    assert active(engine, tenant) == [THIRD]


def test_without_decisions_rollback_takes_the_newest_promoted_one_before(
    engine: sa.Engine, registry: Registry, tenant: TenantSettings
) -> None:
    make_champion(work_of(engine, tenant), registry, THIRD, kind="gate", reason="the first that was recorded")
    assert rollback(work_of(engine, tenant), registry, reason="x").model_version == SECOND


def test_no_champion_at_all(engine: sa.Engine, registry: Registry, tenant: TenantSettings) -> None:
    assert remove_champion(work_of(engine, tenant), registry, kind="sync", reason="x").previous_version is None
    make_champion(work_of(engine, tenant), registry, SECOND, kind="gate", reason="won")
    removed = remove_champion(work_of(engine, tenant), registry, kind="sync", reason="x")
    assert (removed.previous_version, removed.withdrawn) == (SECOND, (FIRST,))
    assert active(engine, tenant) == []
    assert promoted(engine, tenant) == []  # else the one before would score, and nobody would have said so
    assert differences(work_of(engine, tenant), registry) == []


def test_what_cannot_be_champion_changes_nothing(
    engine: sa.Engine, registry: Registry, tenant: TenantSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_champion(work_of(engine, tenant), registry, FIRST, kind="gate", reason="won")
    with pytest.raises(ConfigurationError, match="needs a reason"):
        make_champion(work_of(engine, tenant), registry, SECOND, kind="promote", reason="  ")
    with pytest.raises(EduPulseError, match="has no model 2019"):
        make_champion(work_of(engine, tenant), registry, "2019", kind="promote", reason="x")
    uri = rows(engine, tenant)[SECOND].artifact_uri
    (files_of(uri) / "model.skops").write_bytes(b"changed")
    with pytest.raises(ModelArtifactError, match="not the model that was logged"):
        make_champion(work_of(engine, tenant), registry, SECOND, kind="promote", reason="x")

    def down(*_arguments: object) -> None:
        raise RegistryUnavailable("MLflow went away")

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "set_champion", down)
        with pytest.raises(RegistryUnavailable):
            make_champion(work_of(engine, tenant), registry, THIRD, kind="promote", reason="x")
    assert active(engine, tenant) == [FIRST]
    assert registry.champion(tenant.name) == FIRST
    with engine.connect() as connection:
        assert len(decisions(connection, work_of(connection, tenant))) == 1
