"""The two jobs of a district: the weekly one over all its assets, and training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from dagster import AssetSelection, ExecutorDefinition, define_asset_job

from edupulse_pipelines.orchestration.partitions import asset_key
from edupulse_pipelines.orchestration.retries import NO_RUN_RETRY
from edupulse_pipelines.settings import TenantSettings

AssetJob: TypeAlias = Any
"""What `define_asset_job` returns; Dagster exports the function, not the type's name."""


@dataclass(frozen=True)
class TenantJobs:
    """The jobs of one district."""

    weekly: AssetJob
    training: AssetJob


def weekly_job_name(tenant: TenantSettings) -> str:
    """The name of the district's weekly job (Dagster's names have no hyphens)."""
    return f"{tenant.identifier}_weekly"


def training_job_name(tenant: TenantSettings) -> str:
    """The name of the district's training job."""
    return f"{tenant.identifier}_training"


def op_name(tenant: TenantSettings, asset: str) -> str:
    """The name under which a run's configuration knows the step of `asset`."""
    return asset_key(tenant, asset).to_python_identifier()


def tenant_jobs(tenant: TenantSettings, executor: ExecutorDefinition) -> TenantJobs:
    """The weekly and the training job of `tenant`, their steps run by `executor`."""
    tags = {"edupulse/tenant": tenant.name, **NO_RUN_RETRY}
    weekly = define_asset_job(
        weekly_job_name(tenant),
        selection=AssetSelection.key_prefixes([tenant.name]),
        description=(
            f"Everything of {tenant.name} for one week or a range of weeks: landed files, validated records, features, "
            "a model when one is due, predictions. Safe to repeat."
        ),
        tags=tags,
        executor_def=executor,
    )
    training = define_asset_job(
        training_job_name(tenant),
        selection=AssetSelection.assets(asset_key(tenant, "risk_model")),
        description=(
            f"Trains the risk model of {tenant.name} now, on what was known by the end of the chosen week. Does "
            "nothing when data and settings are those of the newest model."
        ),
        tags=tags,
        executor_def=executor,
        config={"ops": {op_name(tenant, "risk_model"): {"config": {"train_now": True}}}},
    )
    return TenantJobs(weekly=weekly, training=training)
