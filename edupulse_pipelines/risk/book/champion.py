"""Who is champion: changed here and nowhere else, in `model_metadata`, in MLflow's alias and in the decisions at once.

Always true afterwards: at most one model is active, it is the newest promoted one, and the alias points at it.
Whether a model deserves it is not asked here; `promotion` asks, or a person says so with a reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from edupulse_pipelines.errors import ConfigurationError, ModelArtifactError, PermanentError
from edupulse_pipelines.risk.book.registry import Registry
from edupulse_pipelines.risk.judging.promotion import record_decision
from edupulse_pipelines.schema.sqlalchemy_tables import model_metadata, promotion_decisions
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.engine import writing

Kind = Literal["gate", "promote", "rollback", "sync"]


@dataclass(frozen=True)
class ChampionChange:
    """What a change of the champion came to."""

    model_version: str | None
    """The champion now; None when there is none any more."""
    previous_version: str | None
    """The champion before; None when there was none."""
    withdrawn: tuple[str, ...] = ()
    """Models that had been promoted, know newer data than the champion, and do not score any more."""


def make_champion(
    engine: sa.Engine,
    tenant: TenantSettings,
    registry: Registry,
    version: str,
    *,
    kind: Kind,
    reason: str,
    run_id: str | None = None,
    numbers: Mapping[str, Any] | None = None,
) -> ChampionChange:
    """Make a model of `model_metadata` the champion, and record the decision with its reason (and `numbers`).

    Each week is scored by the newest promoted model that knew enough by then. So the champion is marked as promoted,
    and promoted models that come after it (by data-through week, then by when they were trained) lose the mark: an
    older model can only be champion if the newer ones do not score. The table changes in one transaction, which
    ends by moving the alias: when MLflow fails, nothing has changed. ModelArtifactError when the model's files are
    gone or changed; EduPulseError when there is no such model or no reason.
    """
    _demand(reason)
    with engine.connect() as connection:
        row = _find(_rows(connection, tenant.name), version, tenant.name)
    registry_version = _registered_version(row)
    registry.verify_model(tenant.name, version, registry_version, row.mlflow.get("artifact_sha256"))
    with writing(engine) as connection:
        rows = _rows(connection, tenant.name, lock=True)
        row = _find(rows, version, tenant.name)
        later = rows[rows.index(row) + 1 :]
        withdrawn = [one for one in later if one.hyperparameters.get("promoted")]
        previous = next((one.model_version for one in rows if one.is_active), None)
        for one in rows:
            if one.is_active and one is not row:
                _write(connection, tenant.name, one, is_active=False)
        for one in withdrawn:
            _write(connection, tenant.name, one, hyperparameters={**one.hyperparameters, "promoted": False})
        _write(connection, tenant.name, row, hyperparameters={**row.hyperparameters, "promoted": True}, is_active=True)
        _record(connection, tenant, version, kind, True, previous, reason, run_id, numbers)
        for one in withdrawn:
            _tag(registry, tenant, one, promoted=False)
        _tag(registry, tenant, row, promoted=True)
        registry.set_champion(tenant.name, registry_version)
    return ChampionChange(version, previous, tuple(one.model_version for one in withdrawn))


def remove_champion(
    engine: sa.Engine,
    tenant: TenantSettings,
    registry: Registry,
    *,
    kind: Kind,
    reason: str,
    run_id: str | None = None,
) -> ChampionChange:
    """Let no model be champion: nothing is scored by it any more, and the alias is taken away. Recorded like a
    promotion."""
    _demand(reason)
    with writing(engine) as connection:
        rows = _rows(connection, tenant.name, lock=True)
        row = next((one for one in rows if one.is_active), None)
        # All that were promoted: else the one before would score, and nobody would have said so.
        withdrawn = [one for one in rows if one.is_active or one.hyperparameters.get("promoted")] if row else []
        for one in withdrawn:
            promoted = {**one.hyperparameters, "promoted": False}
            _write(connection, tenant.name, one, hyperparameters=promoted, is_active=False)
        if row is not None:
            _record(connection, tenant, row.model_version, kind, False, row.model_version, reason, run_id, None)
        for one in withdrawn:
            _tag(registry, tenant, one, promoted=False)
        registry.remove_champion(tenant.name)
    others = tuple(one.model_version for one in withdrawn if one is not row)
    return ChampionChange(None, row.model_version if row else None, others)


def rollback(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry, *, reason: str, run_id: str | None = None
) -> ChampionChange:
    """Make the champion before this one champion again.

    It is the one that the newest decision for the present champion names; where none was recorded, the newest promoted
    model that comes before it. A second rollback goes back one more. EduPulseError when there is none.
    """
    _demand(reason)
    with engine.connect() as connection:
        rows = _rows(connection, tenant.name)
        active = next((one for one in rows if one.is_active), None)
        if active is None:
            raise PermanentError(f"{tenant.name} has no champion; `edupulse model promote` makes one.")
        wanted = _before(connection, tenant.name, active.model_version)
    usable = {one.model_version for one in rows if one.mlflow.get("registry_version")}
    if wanted is None:
        earlier = rows[: rows.index(active)]
        promoted = [one for one in earlier if one.hyperparameters.get("promoted") and one.model_version in usable]
        wanted = promoted[-1].model_version if promoted else None
    if wanted is None:
        raise PermanentError(
            f"There is no champion before {active.model_version} to go back to; `edupulse model promote VERSION` "
            "names another model."
        )
    return make_champion(engine, tenant, registry, wanted, kind="rollback", reason=reason, run_id=run_id)


@dataclass(frozen=True, eq=False)
class _Row:
    model_version: str
    is_active: bool
    hyperparameters: dict[str, Any]

    @property
    def mlflow(self) -> dict[str, Any]:
        return self.hyperparameters.get("mlflow") or {}


def _rows(connection: sa.Connection, tenant_name: str, *, lock: bool = False) -> list[_Row]:
    """The tenant's models in the order in which scoring prefers them, the last one most."""
    table = model_metadata.c
    query = (
        sa.select(table.model_version, table.is_active, table.hyperparameters)
        .where(table.tenant_id == tenant_name)
        .order_by(table.training_date, table.model_version)
    )
    rows = connection.execute(query.with_for_update() if lock else query).all()
    found = [_Row(row.model_version, bool(row.is_active), row.hyperparameters or {}) for row in rows]
    return sorted(found, key=lambda one: str(one.hyperparameters.get("data_through", "")))


def _find(rows: Sequence[_Row], version: str, tenant_name: str) -> _Row:
    for row in rows:
        if row.model_version == version:
            return row
    raise PermanentError(f"{tenant_name} has no model {version}; `edupulse model list` shows which there are.")


def _registered_version(row: _Row) -> str:
    found = row.mlflow.get("registry_version")
    if not found:
        raise ModelArtifactError(
            f"Model {row.model_version} is not in MLflow any more, so it cannot be champion. Train again."
        )
    return str(found)


def _demand(reason: str) -> None:
    if not reason.strip():
        raise ConfigurationError("A change of the champion needs a reason.")


def _write(connection: sa.Connection, tenant_name: str, row: _Row, **values: Any) -> None:
    table = model_metadata
    connection.execute(
        sa.update(table)
        .where(table.c.tenant_id == tenant_name, table.c.model_version == row.model_version)
        .values(**values)
    )


def _tag(registry: Registry, tenant: TenantSettings, row: _Row, *, promoted: bool) -> None:
    version = row.mlflow.get("registry_version")
    if version and any(one.registry_version == str(version) for one in registry.versions(tenant.name)):
        registry.tag_version(tenant.name, str(version), {"promoted": str(promoted).lower()})


def _before(connection: sa.Connection, tenant_name: str, version: str) -> str | None:
    """The champion before `version`, by the decision that made it champion (not by a rollback to it)."""
    table = promotion_decisions.c
    return connection.execute(
        sa.select(table.previous_version)
        .where(
            table.tenant_id == tenant_name,
            table.model_version == version,
            table.promoted,
            table.kind != "rollback",
            table.previous_version.is_not(None),
            table.previous_version != version,
        )
        .order_by(table.decided_at.desc(), table.id.desc())
        .limit(1)
    ).scalar()


def _record(
    connection: sa.Connection,
    tenant: TenantSettings,
    version: str,
    kind: Kind,
    promoted: bool,
    previous: str | None,
    reason: str,
    run_id: str | None,
    numbers: Mapping[str, Any] | None,
) -> None:
    record_decision(
        connection,
        tenant.name,
        version,
        kind=kind,
        promoted=promoted,
        previous_version=previous,
        reason=reason.strip(),
        numbers=dict(numbers or {}),
        run_id=run_id,
    )
