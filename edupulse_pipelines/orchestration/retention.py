"""The monthly look at what is over by a district's periods: it counts and names no student. A person takes it away.

Only `edupulse privacy retention --execute` takes anything away: that needs a reason, a second person and the tables'
owner. What is over is decided in `governance.retention`.
"""

# No `from __future__ import annotations`: see `assets.raw`.

from typing import TYPE_CHECKING, Any

from dagster import (
    DefaultScheduleStatus,
    JobDefinition,
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
from edupulse_pipelines.settings import TenantSettings

if TYPE_CHECKING:
    from edupulse_pipelines.governance.retention import Over

RETENTION_CRON = "0 5 1 * *"
_WHAT = (
    "Counts what is over by the periods of [tenants.<name>.retention]: students and rows, by table. Changes nothing "
    "and names no student."
)


def retention_job_name(tenant: TenantSettings) -> str:
    """The name of the district's job."""
    return f"{tenant.identifier}_retention"


def retention_job(tenant: TenantSettings) -> JobDefinition:
    """The job that proposes what to take away from the data of `tenant`."""

    @op(name=f"{tenant.identifier}_over", description=_WHAT)
    def over(context: OpExecutionContext, database: ResourceParam[Database], progress: ResourceParam[Progress]) -> None:
        with step(context, progress, database, tenant) as work:
            from edupulse_pipelines.governance.retention import proposed
            from edupulse_pipelines.weeks import today_in

            found = proposed(work, tenant, today_in(tenant.timezone))
            progress.finished(context.op.name, found)
        metadata = _metadata(tenant, found)
        (context.log.warning if found else context.log.info)(metadata["proposal"])
        context.add_output_metadata(metadata)

    @job(
        name=retention_job_name(tenant),
        description=f"{_WHAT} A person takes it away: `edupulse privacy retention --tenant {tenant.name} --execute`.",
        executor_def=in_process_executor,
        tags={"edupulse/tenant": tenant.name, **NO_RUN_RETRY},
    )
    def retention() -> None:
        over.with_retry_policy(retry_policy())()

    return retention


def _metadata(tenant: TenantSettings, found: "Over") -> dict[str, Any]:
    if not tenant.retention.is_set:
        told = "No period is set, so nothing is ever over."
    elif not found:
        told = f"Nothing is over on {found.as_of}."
    else:
        over = "; ".join(f"{name} of {counts['students']:,} students" for name, counts in found.counts.items())
        told = (
            f"Over on {found.as_of}: {over}. "
            f"Nothing has changed. `edupulse privacy retention --tenant {tenant.name}` shows it; with --execute it "
            "takes it away."
        )
    metadata: dict[str, Any] = {
        "proposal": told,
        "on_hold": found.on_hold,
        "exit_unknown": found.exit_unknown,
    }
    if found:
        metadata["over"] = table([{"table": name, **counts} for name, counts in found.counts.items()])
    return metadata


def retention_schedule(tenant: TenantSettings, *, running: bool) -> ScheduleDefinition:
    """The first of the month, 05:00 in the tenant's timezone; not running where no period is set."""
    wanted = running and tenant.retention.is_set
    return ScheduleDefinition(
        name=f"{retention_job_name(tenant)}_schedule",
        job_name=retention_job_name(tenant),
        cron_schedule=RETENTION_CRON,
        execution_timezone=tenant.timezone,
        default_status=DefaultScheduleStatus.RUNNING if wanted else DefaultScheduleStatus.STOPPED,
        description=f"The first of the month at 05:00 ({tenant.timezone}): what a person may take away.",
    )
