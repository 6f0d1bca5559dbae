"""Keeping the database in shape: one job for all districts, and when it runs. The work is in `operations`."""

# No `from __future__ import annotations`: see `assets.raw`.

import datetime as dt
from typing import TYPE_CHECKING, Any

from dagster import (
    DefaultScheduleStatus,
    JobDefinition,
    MetadataValue,
    OpExecutionContext,
    ResourceParam,
    ScheduleDefinition,
    in_process_executor,
    job,
    op,
)

from edupulse_pipelines.orchestration.checks import table
from edupulse_pipelines.orchestration.resources import Database, Progress
from edupulse_pipelines.orchestration.retries import NO_RUN_RETRY, retry_policy
from edupulse_pipelines.orchestration.steps import step
from edupulse_pipelines.settings import Settings

if TYPE_CHECKING:
    from edupulse_pipelines.operations.partitions import Maintenance

MAINTENANCE = "maintain_partitions"
MAINTENANCE_CRON = "0 2 * * 0"
_WHAT = (
    "Makes the monthly partitions of this month and the following ones ahead of need, and moves what lies in the "
    "default partition into months of its own. PostgreSQL only; on SQLite there is nothing to do. Safe to repeat."
)


@op(name="partitions", description=_WHAT)
def _maintain(
    context: OpExecutionContext, database: ResourceParam[Database], progress: ResourceParam[Progress]
) -> None:
    with step(context, progress, database, None) as work:
        from edupulse_pipelines.operations.partitions import maintain

        done = maintain(work, dt.datetime.now(dt.UTC).date())
        progress.finished(MAINTENANCE, done)
    metadata = _metadata(done)
    context.log.info(metadata["done"])
    context.add_output_metadata(metadata)


def _metadata(done: "dict[str, Maintenance]") -> dict[str, Any]:
    if not done:
        return {"done": "Nothing to do: there are no partitions on SQLite."}
    metadata: dict[str, Any] = {"done": "; ".join(f"{name}: {of_table.in_words}" for name, of_table in done.items())}
    for name, of_table in done.items():
        metadata[f"{name}_made"] = MetadataValue.json(of_table.made)
        metadata[f"{name}_left_in_default_partition"] = of_table.left
        if of_table.moved:
            metadata[f"{name}_moved"] = table(
                [{"month": f"{month:%Y-%m}", "rows": rows} for month, rows in sorted(of_table.moved.items())]
            )
    return metadata


def maintenance_job() -> JobDefinition:
    """The job that keeps the partitions in shape."""

    @job(
        name=MAINTENANCE,
        description=f"{_WHAT} Not of one district: all of them share the tables.",
        executor_def=in_process_executor,
        tags=NO_RUN_RETRY,
    )
    def maintenance() -> None:
        _maintain.with_retry_policy(retry_policy())()

    return maintenance


def maintenance_schedule(settings: Settings, *, running: bool) -> ScheduleDefinition:
    """Sundays at 02:00 UTC, before the districts' weekly jobs; not running on SQLite, which has nothing to maintain."""
    partitioned = not settings.database_url.startswith("sqlite")
    return ScheduleDefinition(
        name=f"{MAINTENANCE}_schedule",
        job_name=MAINTENANCE,
        cron_schedule=MAINTENANCE_CRON,
        execution_timezone="UTC",
        default_status=DefaultScheduleStatus.RUNNING if running and partitioned else DefaultScheduleStatus.STOPPED,
        description="Sundays at 02:00 UTC, before the weekly jobs of Monday need the months.",
    )
