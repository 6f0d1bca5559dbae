"""The assets of one district, built by a factory per stage of the way: raw, records, features, risk.

Each module has one function that takes the tenant and returns its assets, undecorated: groups, kinds, owners,
descriptions and column schemas are applied to all of them in `orchestration.presentation`.
"""

from __future__ import annotations

from collections.abc import Sequence

from dagster import AssetsDefinition

from edupulse_pipelines.orchestration.assets.features import feature_assets
from edupulse_pipelines.orchestration.assets.raw import raw_assets
from edupulse_pipelines.orchestration.assets.records import record_assets
from edupulse_pipelines.orchestration.assets.risk import risk_assets
from edupulse_pipelines.settings import Settings, TenantSettings


def tenant_assets(settings: Settings, tenant: TenantSettings) -> Sequence[AssetsDefinition]:
    """All fourteen assets of `tenant`, from the landed files to the predictions."""
    return [
        *raw_assets(settings, tenant),
        *record_assets(settings, tenant),
        *feature_assets(tenant),
        *risk_assets(tenant),
    ]
