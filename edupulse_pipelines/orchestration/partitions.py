"""School weeks as Dagster partitions: one definition per district, in its own timezone, and the way back to dates."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dagster import (
    AssetCheckSpec,
    AssetDep,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    BackfillPolicy,
    BetaWarning,
    TimeWindowPartitionMapping,
    WeeklyPartitionsDefinition,
    asset,
)

from edupulse_pipelines.orchestration.code_versions import CODE_VERSIONS
from edupulse_pipelines.orchestration.retries import retry_policy
from edupulse_pipelines.settings import TenantSettings

WEEK_TAG = "dagster/partition"
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"


def school_weeks(tenant: TenantSettings) -> WeeklyPartitionsDefinition:
    """The weeks of `tenant`, Monday to Sunday; a partition exists once its Sunday has passed in the tenant's timezone.

    Dagster's weeks begin on Sunday unless told otherwise (`day_offset=1` is Monday).
    """
    return WeeklyPartitionsDefinition(start_date=tenant.first_week.isoformat(), timezone=tenant.timezone, day_offset=1)


def weekly_asset(
    tenant: TenantSettings,
    name: str,
    *,
    deps: Sequence[str] = (),
    weeks_read: Mapping[str, int] | None = None,
    check_specs: Sequence[AssetCheckSpec] = (),
) -> Callable[[Callable[..., Any]], AssetsDefinition]:
    """Decorator for an asset of `tenant`, partitioned by school weeks. `deps` are names of the tenant's other assets.

    Of a dependency the same week is read, unless `weeks_read` says how many weeks up to that one are.

    Many weeks are one run (`--all`, a backfill). That policy must be the same for all assets of a job, hence one place.
    The pool lets an instance keep two runs of one district from working at the same time.
    """

    def decorate(compute: Callable[..., Any]) -> AssetsDefinition:
        with warnings.catch_warnings():
            # `backfill_policy`, and mappings that allow for the weeks before the first; the graph snapshot pins them.
            warnings.simplefilter("ignore", BetaWarning)
            return asset(
                key=asset_key(tenant, name),
                deps=[_dependency(tenant, dep, (weeks_read or {}).get(dep, 1)) for dep in deps],
                code_version=CODE_VERSIONS.get(name),
                check_specs=check_specs,
                partitions_def=school_weeks(tenant),
                backfill_policy=BackfillPolicy.single_run(),
                pool=f"edupulse_{tenant.identifier}",
                retry_policy=retry_policy(),
            )(compute)

    return decorate


def _dependency(tenant: TenantSettings, name: str, weeks: int) -> AssetDep:
    """The dependency on an asset, `weeks` weeks of it up to the one that is made.

    A week without a partition (before the district's first) is not missed: what is not there is not read.
    """
    mapping = TimeWindowPartitionMapping(start_offset=1 - weeks, allow_nonexistent_upstream_partitions=True)
    return AssetDep(asset_key(tenant, name), partition_mapping=mapping if weeks > 1 else None)


def asset_key(tenant: TenantSettings | str, name: str) -> AssetKey:
    """The key of a district's asset: its name behind the tenant's."""
    return AssetKey([tenant if isinstance(tenant, str) else tenant.name, name])


def weeks_of(context: AssetExecutionContext) -> list[dt.date]:
    """The weeks (Mondays, ascending) that this run is for."""
    return sorted(dt.date.fromisoformat(key) for key in context.partition_keys)


def week_tags(weeks: Sequence[dt.date]) -> Mapping[str, str]:
    """Run tags that make one run of all weeks from the first to the last of `weeks`."""
    return {RANGE_START_TAG: min(weeks).isoformat(), RANGE_END_TAG: max(weeks).isoformat()}


def run_tags(weeks: Sequence[dt.date]) -> Mapping[str, str]:
    """Run tags for one run of these weeks: of one week, or of all from the first to the last."""
    return week_tags(weeks) if min(weeks) != max(weeks) else {WEEK_TAG: weeks[0].isoformat()}
