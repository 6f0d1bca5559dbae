"""Do MLflow and `model_metadata` tell the same story, and how to mend it when they do not.

Each difference is a sentence with the mending it proposes; `sync` carries the mendings out. Neither trains nor scores
a model, and never deletes one: a registered version that nothing is known about is left alone, and a row whose model
is gone for good is set aside (kept for its predictions, never chosen again).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from edupulse_pipelines.errors import EduPulseError, ModelArtifactError
from edupulse_pipelines.risk.book.champion import make_champion, remove_champion
from edupulse_pipelines.risk.book.registry import RECORD_DOCUMENT, LoggedRun, RegisteredVersion, Registry
from edupulse_pipelines.risk.judging.evaluation import flat_metrics
from edupulse_pipelines.schema.sqlalchemy_tables import model_metadata
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.engine import writing
from edupulse_pipelines.storage.ids import new_ids

Source = Literal["table", "registry"]
Kind = Literal[
    "champion", "row_without_version", "version_without_row", "version_moved", "facts_differ", "artifact_unusable"
]
_FACTS = ("data_through", "data_hash", "settings_hash")


@dataclass(frozen=True)
class Difference:
    """One thing that MLflow and `model_metadata` disagree about."""

    kind: Kind
    said: str
    """The difference, in a sentence."""
    mending: str | None
    """What `sync` would do about it; None when only a person can."""
    model_version: str | None = None
    registry_version: str | None = None
    mended: bool | None = None
    """Whether it was mended; None when that was not tried."""
    outcome: str | None = None
    """What became of the attempt."""


@dataclass(frozen=True)
class ModelRow:
    """A row of `model_metadata`."""

    model_version: str
    is_active: bool
    hyperparameters: dict[str, Any]
    performance_metrics: dict[str, Any]
    model_type: str | None
    training_date: dt.datetime

    @property
    def mlflow(self) -> dict[str, Any]:
        """What was recorded of the run and the registered version (`LoggedRun.as_record`)."""
        return self.hyperparameters.get("mlflow") or {}

    @property
    def registry_version(self) -> str | None:
        """The version of the registered model; None for one that was set aside."""
        return self.mlflow.get("registry_version")

    @property
    def set_aside(self) -> bool:
        """Whether the model is known to be gone: the row stays for its predictions and mirrors nothing."""
        return bool(self.mlflow.get("lost"))


def differences(
    engine: sa.Engine,
    tenant: TenantSettings,
    registry: Registry,
    *,
    source: Source = "table",
    artifacts: Literal["champion", "all"] = "champion",
) -> list[Difference]:
    """What MLflow and `model_metadata` disagree about; empty when they agree.

    Compared: the champion alias with the active row, the model versions both ways, each row's registered version and
    hashes with the version's, and the files of the champion (or of `all` models) with the hash they were logged with.
    `source` is the side that the proposed mendings take as the truth where both know something. RegistryUnavailable
    when MLflow does not answer.
    """
    rows = model_rows(engine, tenant.name)
    by_name: dict[str, list[RegisteredVersion]] = {}
    for version in registry.versions(tenant.name):
        by_name.setdefault(version.name, []).append(version)
    active = next((row for row in rows if row.is_active), None)
    found = []
    alias = registry.champion(tenant.name)
    # Of a champion whose row was lost the alias is all that is left.
    lost = active is None and alias in by_name and alias not in {row.model_version for row in rows}
    if (champion := _champion_difference(active, alias, "registry" if lost else source)) is not None:
        found.append(champion)
    mirrored = [row for row in rows if not row.set_aside]
    found += [_row_without_version(row, source) for row in mirrored if row.model_version not in by_name]
    recorded = {row.model_version for row in rows}
    found += [_version_without_row(name, by_name[name][-1]) for name in sorted(by_name) if name not in recorded]
    for row in mirrored:
        if row.model_version not in by_name:
            continue
        versions = by_name[row.model_version]
        same = next((one for one in versions if one.registry_version == row.registry_version), None)
        if same is None:
            found.append(
                Difference(
                    "version_moved",
                    f"Model {row.model_version} is version {versions[-1].registry_version} in MLflow, but version "
                    f"{row.registry_version} in model_metadata.",
                    f"record version {versions[-1].registry_version} in model_metadata",
                    row.model_version,
                    versions[-1].registry_version,
                )
            )
            continue
        if differing := _differing_facts(row, same):
            mending = f"set {', '.join(differing)} in MLflow to what model_metadata holds"
            if source == "registry":
                mending = "write the row again from the record of the run"
            found.append(
                Difference(
                    "facts_differ",
                    f"Model {row.model_version}: {', '.join(differing)} in MLflow is not what model_metadata holds.",
                    mending,
                    row.model_version,
                    same.registry_version,
                )
            )
        if (artifacts == "all" or row.is_active) and (why := _unusable(tenant, registry, row)) is not None:
            found.append(
                Difference(
                    "artifact_unusable",
                    why,
                    f"set the row aside{', so that no model is champion' if row.is_active else ''}",
                    row.model_version,
                    same.registry_version,
                )
            )
    return found


def sync(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry, *, apply: bool = False, source: Source = "table"
) -> list[Difference]:
    """The differences with their proposed mendings; with `apply` mended, and what became of each.

    Files of all models are checked. Versions and rows are mended first and the champion last, because a champion may
    have come back or gone by then. With `source="table"`, rows whose version is gone are registered again from their
    files, and the alias follows the active row; with `"registry"`, such rows are set aside, and the active row follows
    the alias. A registered version without a row gets its row back from the record of its run either way. Running it
    again finds nothing but what only a person can mend.
    """
    found = differences(engine, tenant, registry, source=source, artifacts="all")
    if not apply:
        return found
    done = [_mend(engine, tenant, registry, one, source) for one in found if one.kind != "champion"]
    rows = model_rows(engine, tenant.name)
    active = next((row for row in rows if row.is_active), None)
    alias = registry.champion(tenant.name)
    restored = {one.model_version for one in done if one.kind == "version_without_row" and one.mended}
    if active is None and alias in restored:
        source = "registry"  # the row that said so was lost: the alias is all that is left
    champion = _champion_difference(active, alias, source)
    before = next((one for one in found if one.kind == "champion"), None)
    if champion is not None:
        done.append(_attempt(champion, lambda: _mend_champion(engine, tenant, registry, active, source)))
    elif before is not None:
        done.append(dataclasses.replace(before, mended=True, outcome="they agree after the other mendings"))
    return done


def _champion_difference(active: ModelRow | None, champion: str | None, source: Source) -> Difference | None:
    version = active.model_version if active else None
    if champion == version:
        return None
    if source == "table":
        mending = f"point the alias at {version}" if version else "take the alias away"
    else:
        mending = f"make {champion} the active model" if champion else "let no model be active"
    active_model = f"the active model in model_metadata is {version or 'not set'}"
    said = f"MLflow's champion is {champion or 'not set'}, but {active_model}."
    return Difference("champion", said, mending, version if source == "table" else champion)


def _row_without_version(row: ModelRow, source: Source) -> Difference:
    mending = "set the row aside: the version was deleted in MLflow"
    if source == "table":
        mending = "register it again from its files; if they are gone, set the row aside"
    said = f"Model {row.model_version} is in model_metadata, but not registered in MLflow."
    return Difference("row_without_version", said, mending, row.model_version, row.registry_version)


def _version_without_row(name: str, version: RegisteredVersion) -> Difference:
    known = version.model_version is not None and version.run_id is not None
    mending = "write its row again from the record of its run" if known else None
    return Difference(
        "version_without_row",
        f"Model {name} is registered in MLflow, but not in model_metadata.",
        mending,
        version.model_version,
        version.registry_version,
    )


def _differing_facts(row: ModelRow, version: RegisteredVersion) -> list[str]:
    return [
        name
        for name in _FACTS
        if name in row.hyperparameters and name in version.tags and row.hyperparameters[name] != version.tags[name]
    ]


def _unusable(tenant: TenantSettings, registry: Registry, row: ModelRow) -> str | None:
    """Why the row's model cannot be used; None when it can."""
    try:
        registry.verify_model(tenant.name, row.model_version, row.registry_version, row.mlflow.get("artifact_sha256"))
    except ModelArtifactError as error:
        return str(error)
    return None


def _mend(engine: sa.Engine, tenant: TenantSettings, registry: Registry, one: Difference, source: Source) -> Difference:
    if one.mending is None or one.model_version is None:
        return dataclasses.replace(
            one, mended=False, outcome="nothing is known about it: delete the version in MLflow, or leave it"
        )
    version = one.model_version

    def mend() -> str:
        if one.kind == "version_without_row" or (one.kind == "facts_differ" and source == "registry"):
            assert one.registry_version is not None
            return _restore_row(engine, tenant, registry, version, one.registry_version)
        row = next(row for row in model_rows(engine, tenant.name) if row.model_version == version)
        if one.kind == "facts_differ":
            assert one.registry_version is not None
            registry.tag_version(
                tenant.name, one.registry_version, {name: str(row.hyperparameters[name]) for name in _FACTS}
            )
            return "the tags in MLflow are those of the row"
        if one.kind == "version_moved":
            assert one.registry_version is not None
            registry.verify_model(tenant.name, version, one.registry_version)
            _set_mlflow(engine, tenant.name, row, registry.facts_of(tenant.name, one.registry_version).as_record())
            return f"model_metadata names version {one.registry_version}"
        if one.kind == "row_without_version" and source == "table":
            try:
                logged = _register_again(tenant, registry, row)
            except ModelArtifactError as error:
                _set_aside(engine, tenant, registry, row, str(error))
                return f"{error} The row was set aside."
            _set_mlflow(engine, tenant.name, row, logged.as_record())
            return f"registered again as version {logged.registry_version}"
        _set_aside(engine, tenant, registry, row, one.said)
        return "the row was set aside"

    return _attempt(one, mend)


def _attempt(one: Difference, mend: Callable[[], str]) -> Difference:
    try:
        return dataclasses.replace(one, outcome=mend(), mended=True)
    except ModelArtifactError as error:
        return dataclasses.replace(one, outcome=str(error), mended=False)
    except _CannotMend as error:
        return dataclasses.replace(one, outcome=str(error), mended=False)


class _CannotMend(EduPulseError):
    """A mending that turned out not to be possible; the message says why."""


def _mend_champion(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry, active: ModelRow | None, source: Source
) -> str:
    if source == "table":
        if active is None:
            registry.remove_champion(tenant.name)
            return "no version has the alias any more"
        if active.registry_version is None or active.set_aside:
            raise _CannotMend(f"model {active.model_version} has no registered version")
        registry.verify_model(
            tenant.name, active.model_version, active.registry_version, active.mlflow.get("artifact_sha256")
        )
        registry.set_champion(tenant.name, active.registry_version)
        return f"the alias points at {active.model_version}"
    champion = registry.champion_version(tenant.name)
    reason = "The champion alias in MLflow was taken as the truth."
    if champion is None:
        remove_champion(engine, tenant, registry, kind="sync", reason=reason)
        return "no model is active any more"
    row = next((row for row in model_rows(engine, tenant.name) if row.model_version == champion.model_version), None)
    if row is None or row.set_aside:
        raise _CannotMend(f"{champion.name} has no row in model_metadata that could be active")
    make_champion(engine, tenant, registry, row.model_version, kind="sync", reason=reason)
    return f"{row.model_version} is the active model"


def _restore_row(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry, model_version: str, registry_version: str
) -> str:
    """Write a model's row from what its run recorded; never as the active one."""
    logged = registry.facts_of(tenant.name, registry_version)
    registry.verify_model(tenant.name, model_version, registry_version)
    text = registry.run_document(logged.run_id, RECORD_DOCUMENT) if logged.run_id else None
    if text is None:
        raise _CannotMend(f"its run has no {RECORD_DOCUMENT}: train again, or delete the version in MLflow")
    try:
        kept = json.loads(text)
        if (kept["tenant"], kept["model_version"]) != (tenant.name, model_version):
            raise _CannotMend(f"{RECORD_DOCUMENT} of its run is another model's")
        values = {
            "model_type": kept["model_type"],
            "training_date": dt.datetime.fromisoformat(kept["training_date"]),
            "performance_metrics": dict(kept["performance_metrics"]),
            "hyperparameters": {**kept["hyperparameters"], "mlflow": logged.as_record()},
        }
    except (ValueError, KeyError, TypeError) as error:
        raise _CannotMend(f"{RECORD_DOCUMENT} of its run cannot be read ({type(error).__name__})") from None
    tags = next(one.tags for one in registry.versions(tenant.name) if one.registry_version == registry_version)
    if "promoted" in tags:  # decided after the run was recorded
        values["hyperparameters"]["promoted"] = tags["promoted"] == "true"
    table = model_metadata
    same = (table.c.tenant_id == tenant.name) & (table.c.model_version == model_version)
    with writing(engine) as connection:
        if connection.execute(sa.select(table.c.id).where(same)).first() is None:
            connection.execute(
                sa.insert(table).values(
                    id=new_ids(1)[0], tenant_id=tenant.name, model_version=model_version, is_active=False, **values
                )
            )
        else:
            connection.execute(sa.update(table).where(same).values(**values))
    return "its row was written again from the record of its run"


def _register_again(tenant: TenantSettings, registry: Registry, row: ModelRow) -> LoggedRun:
    kept = {name: value for name, value in row.hyperparameters.items() if name != "mlflow"}
    tags = {
        "tenant": tenant.name,
        "status": "trained",
        "model_version": row.model_version,
        **{name: str(kept[name]) for name in _FACTS if name in kept},
        "promoted": str(bool(kept.get("promoted"))).lower(),
    }
    return registry.restore_version(
        tenant.name,
        row.model_version,
        row.mlflow,
        params={name: kept[name] for name in ("model_type", "data_through") if name in kept},
        metrics=flat_metrics(row.performance_metrics),
        tags=tags,
        record={
            "model_type": row.model_type,
            "training_date": row.training_date.isoformat(),
            "performance_metrics": row.performance_metrics,
            "hyperparameters": kept,
        },
    )


def _set_aside(engine: sa.Engine, tenant: TenantSettings, registry: Registry, row: ModelRow, reason: str) -> None:
    """Mark the row's model as gone: not champion, not promoted, no version to load."""
    if row.is_active:
        remove_champion(engine, tenant, registry, kind="sync", reason=reason)
    kept = {**row.hyperparameters, "promoted": False}
    kept["mlflow"] = {**row.mlflow, "registry_version": None, "lost": True}
    _update(engine, tenant.name, row.model_version, hyperparameters=kept, is_active=False)


def _set_mlflow(engine: sa.Engine, tenant_name: str, row: ModelRow, recorded: Mapping[str, Any]) -> None:
    _update(engine, tenant_name, row.model_version, hyperparameters={**row.hyperparameters, "mlflow": dict(recorded)})


def _update(engine: sa.Engine, tenant_name: str, model_version: str, **values: Any) -> None:
    table = model_metadata
    with writing(engine) as connection:
        connection.execute(
            sa.update(table)
            .where(table.c.tenant_id == tenant_name, table.c.model_version == model_version)
            .values(**values)
        )


def model_rows(engine: sa.Engine, tenant_name: str) -> list[ModelRow]:
    """The tenant's models, oldest first: by data-through week, then by when they were trained."""
    table = model_metadata.c
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(
                table.model_version,
                table.is_active,
                table.hyperparameters,
                table.performance_metrics,
                table.model_type,
                table.training_date,
            )
            .where(table.tenant_id == tenant_name)
            .order_by(table.training_date, table.model_version)
        ).all()
    found = [
        ModelRow(
            row.model_version,
            bool(row.is_active),
            row.hyperparameters or {},
            row.performance_metrics or {},
            row.model_type,
            row.training_date,
        )
        for row in rows
    ]
    return sorted(found, key=lambda row: str(row.hyperparameters.get("data_through", "")))
