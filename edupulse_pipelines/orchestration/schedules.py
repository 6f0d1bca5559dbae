"""When a district's jobs run by themselves, in the district's own time.

The weekly schedule is switched on as soon as the definitions are loaded: the job only reads what has been landed, a
repeated week changes nothing and a week without a delivery is no error, whereas a schedule that nobody switched on
goes unnoticed until a school asks for its list. It stays off for the stand-in tenant that is shown before anything
has been set up. The training schedule is off: the weekly job already trains every `retrain_weeks`; a district that
wants a monthly rhythm as well switches it on.
"""

# No `from __future__ import annotations`: see `assets.raw`.

import datetime as dt
from pathlib import Path

from dagster import (
    DefaultScheduleStatus,
    ResourceParam,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    schedule,
)

from edupulse_pipelines.errors import EduPulseError, unexpected_in_words
from edupulse_pipelines.orchestration.jobs import TenantJobs
from edupulse_pipelines.orchestration.partitions import week_tags
from edupulse_pipelines.orchestration.resources import Database
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.weeks import last_closed_week

WEEKLY_CRON = "0 6 * * 1"
TRAINING_CRON = "0 4 1 * *"


def weekly_schedule(home: Path, tenant: TenantSettings, jobs: TenantJobs, *, running: bool) -> ScheduleDefinition:
    """Monday 06:00 in the tenant's timezone, for the week that closed at midnight.

    Weeks before it with a delivery, or a correction of one, that came after their own run are taken along, so that
    nothing landed is forgotten: the run then goes from the earliest of them to the closed week (weeks between are only
    counted again).
    """

    @schedule(
        name=f"{jobs.weekly.name}_schedule",
        job=jobs.weekly,
        cron_schedule=WEEKLY_CRON,
        execution_timezone=tenant.timezone,
        default_status=DefaultScheduleStatus.RUNNING if running else DefaultScheduleStatus.STOPPED,
        description=f"Mondays at 06:00 ({tenant.timezone}), for the week before and for deliveries that came late.",
    )
    def weekly(context: ScheduleEvaluationContext, database: ResourceParam[Database]) -> RunRequest | SkipReason:
        week = last_closed_week(tenant.timezone, context.scheduled_execution_time)
        if week < tenant.first_week:
            return SkipReason(f"The first school week of {tenant.name} has not closed yet.")
        late = _late_weeks(context, database, tenant, week, home)
        if late:
            return RunRequest(run_key=week.isoformat(), tags=dict(week_tags([late[0], week])))
        return RunRequest(run_key=week.isoformat(), partition_key=week.isoformat())

    return weekly


def _late_weeks(
    context: ScheduleEvaluationContext, database: Database, tenant: TenantSettings, week: dt.date, home: Path
) -> list[dt.date]:
    from edupulse_pipelines.ingest.changed_files import changed_weeks

    try:
        with database.work(tenant.name) as work:
            return [late for late in changed_weeks(work, tenant, week, home) if late < week]
    except EduPulseError as error:
        # The run itself will say what is wrong, where people look for it.
        context.log.warning(f"Could not look for late deliveries: {error}")
        return []
    except Exception as error:
        context.log.warning(f"Could not look for late deliveries. {unexpected_in_words(error)}")
        return []


def training_schedule(tenant: TenantSettings, jobs: TenantJobs) -> ScheduleDefinition:
    """The first of the month, 04:00 in the tenant's timezone, for the last closed week."""

    @schedule(
        name=f"{jobs.training.name}_schedule",
        job=jobs.training,
        cron_schedule=TRAINING_CRON,
        execution_timezone=tenant.timezone,
        default_status=DefaultScheduleStatus.STOPPED,
        description=f"The first of the month at 04:00 ({tenant.timezone}), on data through the last closed week.",
    )
    def monthly(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
        week = last_closed_week(tenant.timezone, context.scheduled_execution_time)
        if week < tenant.first_week:
            return SkipReason(f"The first school week of {tenant.name} has not closed yet.")
        return RunRequest(partition_key=week.isoformat())

    return monthly
