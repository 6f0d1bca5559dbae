"""School weeks as Dagster partitions: one definition per district, in its own timezone, and the way back to dates."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dagster import (
    AssetCheckSpec,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    BackfillPolicy,
    BetaWarning,
    WeeklyPartitionsDefinition,
    asset,
)

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
    tenant: TenantSettings, name: str, *, deps: Sequence[str] = (), check_specs: Sequence[AssetCheckSpec] = ()
) -> Callable[[Callable[..., Any]], AssetsDefinition]:
    """Decorator for an asset of `tenant`, partitioned by school weeks. `deps` are names of the tenant's other assets.

    Many weeks are one run (`--all`, a backfill). That policy must be the same for all assets of a job, hence one place.
    The pool lets an instance keep two runs of one district from working at the same time.
    """

    def decorate(compute: Callable[..., Any]) -> AssetsDefinition:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BetaWarning)  # `backfill_policy`; pinned by the graph snapshot test
            return asset(
                key=asset_key(tenant, name),
                deps=[asset_key(tenant, dep) for dep in deps],
                check_specs=check_specs,
                partitions_def=school_weeks(tenant),
                backfill_policy=BackfillPolicy.single_run(),
                pool=f"edupulse_{tenant.identifier}",
                retry_policy=retry_policy(),
            )(compute)

    return decorate


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
