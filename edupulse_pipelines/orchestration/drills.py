"""The way back, in Dagster: the monthly drill with its figures over time, and checks that look every day.

`drill` restores and compares, and fails where anything differs. That one is overdue is found by a check that runs by
itself; and so is what is wrong with the standby, where there is to be one. The work is in `operations.recovery`.
"""

# No `from __future__ import annotations`: see `assets.raw`.

import datetime as dt
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    AssetSelection,
    DefaultScheduleStatus,
    Failure,
    MaterializeResult,
    MetadataValue,
    ResourceParam,
    ScheduleDefinition,
    asset,
    asset_check,
    define_asset_job,
    in_process_executor,
)

from edupulse_pipelines.errors import ConfigurationError, DatabaseBusy, EduPulseError
from edupulse_pipelines.orchestration import charts
from edupulse_pipelines.orchestration.checks import table
from edupulse_pipelines.orchestration.jobs import AssetJob
from edupulse_pipelines.orchestration.maintenance import owners_database
from edupulse_pipelines.orchestration.resources import Database, ModelRegistry, Progress
from edupulse_pipelines.orchestration.retries import NO_RUN_RETRY, retry_policy
from edupulse_pipelines.orchestration.steps import step
from edupulse_pipelines.settings import Settings, standby_url

if TYPE_CHECKING:
    from edupulse_pipelines.operations.recovery.drills import Drill

DRILL = AssetKey(["Recovery", "drill"])
"""No district's name has a capital letter, so that this is none of a district's assets."""
DRILL_JOB, LOOK_JOB = "recovery_drill", "recovery_checks"
DRILL_CRON, LOOK_CRON = "0 3 2 * *", "0 7 * * *"
DRILLED, FOLLOWED = "restored_lately", "standby_follows"
SHOWN = 24
"""Drills that the plot and the table show."""
_WHAT = (
    "Proves that there is a way back: in a quiet moment a hash of every table and partition is noted; the backup is "
    "restored on this machine, replayed to that moment, and compared with it; the record of changes is verified, the "
    "server looks through its tables and indexes where it can, and the champions are opened from restored files and "
    "score ten students to the same numbers. Then once more to a time before. Everything is taken away again. Earlier "
    "drills are in `drills.jsonl` of the home. Names no student."
)


def drill_asset(settings: Settings) -> AssetsDefinition:
    """The asset that is a drill."""

    @asset(
        key=DRILL,
        description=_WHAT,
        group_name="recovery",
        owners=["team:data-engineering"],
        pool="maintenance",
        retry_policy=retry_policy(),
    )
    def drill(
        context: AssetExecutionContext,
        database: ResourceParam[Database],
        registry: ResourceParam[ModelRegistry],
        progress: ResourceParam[Progress],
    ) -> MaterializeResult:
        owners = owners_database(settings, database)
        with step(context, progress, owners, None):
            from edupulse_pipelines.operations.recovery.drill import drill as do_drill
            from edupulse_pipelines.operations.recovery.drills import drills

            done = do_drill(settings, owners, registry.open(), tell=context.log.info)
            progress.finished(context.asset_key.path[-1], done)
            if not done.succeeded:
                raise Failure("; ".join(done.findings), metadata=_metadata(done, drills(settings)), allow_retries=False)
        return MaterializeResult(metadata=_metadata(done, drills(settings)))

    return drill


def recovery_checks(settings: Settings) -> list[AssetChecksDefinition]:
    """The checks that look by themselves, whether or not a drill runs."""

    @asset_check(
        asset=DRILL,
        name=DRILLED,
        description=(
            f"The last drill succeeded, and was in the last {settings.drill.overdue_days} days ([drill] overdue_days). "
            "Fails as well where there was none yet: a backup that nobody has restored is a hope. What a killed drill "
            "has left behind is taken away."
        ),
    )
    def restored_lately(_context: AssetCheckExecutionContext) -> AssetCheckResult:
        from edupulse_pipelines.operations.recovery.drills import drills, trouble_with_drills
        from edupulse_pipelines.operations.recovery.scratch import clean

        taken_away = False
        with suppress(DatabaseBusy, ConfigurationError):  # a drill is under way; a folder that no drill made stays
            taken_away = clean(settings)
        trouble = trouble_with_drills(settings, dt.datetime.now(dt.UTC))
        there = drills(settings)
        metadata: dict[str, Any] = {"drills": len(there)}
        if there:
            metadata["last"] = there[-1].begun.isoformat(timespec="minutes")
        if taken_away:
            metadata["taken_away"] = "what a drill that was killed had left behind: a restored copy"
        return AssetCheckResult(
            passed=trouble is None,
            severity=AssetCheckSeverity.ERROR,
            description=trouble or "The last drill succeeded.",
            metadata=metadata,
        )

    @asset_check(
        asset=DRILL,
        name=FOLLOWED,
        description=(
            "The standby follows the primary within the thresholds of [standby], and its replication slot is in order. "
            "Passes where there is to be none ([standby] slot is not set)."
        ),
    )
    def standby_follows(_context: AssetCheckExecutionContext) -> AssetCheckResult:
        if settings.standby.slot is None:
            return AssetCheckResult(passed=True, description="There is to be no standby.")
        from edupulse_pipelines.operations.backup.barman_configuration import copying_url
        from edupulse_pipelines.operations.recovery.standby import standby_state, trouble_with_standby

        try:
            its_url = standby_url()
            primary = Database(copying_url(settings))
            state = standby_state(settings, primary, None if its_url is None else Database(its_url))
        except EduPulseError as error:
            return AssetCheckResult(passed=False, severity=AssetCheckSeverity.ERROR, description=str(error))
        trouble = trouble_with_standby(settings, state)
        figures = {"lag_bytes": state.lag_bytes, "lag_seconds": state.lag_seconds, "slot_bytes": state.slot_bytes}
        return AssetCheckResult(
            passed=not trouble,
            severity=AssetCheckSeverity.ERROR,
            description=" ".join(trouble) or "The standby follows.",
            metadata={"slot": state.slot or "unknown"} | {name: n for name, n in figures.items() if n is not None},
        )

    return [restored_lately, standby_follows]


def _metadata(done: "Drill", there: "list[Drill]") -> dict[str, Any]:
    metadata: dict[str, Any] = {f"seconds_{name}": seconds for name, seconds in done.seconds.items()}
    metadata |= dict(done.sizes)
    if done.rpo_seconds is not None:
        metadata["rpo_seconds"] = done.rpo_seconds
    if done.rto_seconds is not None:
        metadata["rto_seconds"] = done.rto_seconds
    if done.unproven:
        metadata["not_proven"] = MetadataValue.md("\n".join(f"- {sentence}" for sentence in done.unproven))
    if done.findings:
        metadata["findings"] = MetadataValue.md("\n".join(f"- {sentence}" for sentence in done.findings))
    last = there[-SHOWN:]
    metadata["drills"] = table(
        [
            {
                "begun": one.begun.isoformat(timespec="minutes"),
                "succeeded": "yes" if one.succeeded else "no",
                "rto_seconds": one.rto_seconds,
                "rpo_seconds": one.rpo_seconds,
                "rows": one.sizes.get("rows"),
            }
            for one in reversed(last)
        ]
    )
    plot = charts.lines(
        "Seconds to come back (RTO), and that would be lost (RPO), by drill",
        [one.begun.date() for one in last],
        {"RTO": [one.rto_seconds for one in last], "RPO": [one.rpo_seconds for one in last]},
    )
    if plot is not None:
        metadata["over_time"] = MetadataValue.md(plot)
    return metadata


def drill_job() -> AssetJob:
    """The job that does a drill and looks at it."""
    return define_asset_job(
        DRILL_JOB,
        selection=AssetSelection.assets(DRILL),
        description=f"{_WHAT} Not of one district: all of them share the database.",
        executor_def=in_process_executor,
        tags=NO_RUN_RETRY,
    )


def look_job() -> AssetJob:
    """The job that only runs the checks."""
    return define_asset_job(
        LOOK_JOB,
        selection=AssetSelection.checks_for_assets(DRILL),
        description="Looks whether a drill is overdue or failed, and whether the standby follows. Restores nothing, "
        "and takes away what a killed drill has left behind.",
        executor_def=in_process_executor,
        tags=NO_RUN_RETRY,
    )


def recovery_schedules(settings: Settings, *, running: bool) -> list[ScheduleDefinition]:
    """The second of the month for the drill, every day for the checks; running where backups have a folder."""
    wanted = running and settings.backup.folder is not None
    status = DefaultScheduleStatus.RUNNING if wanted else DefaultScheduleStatus.STOPPED
    told = "Runs by itself where [backup] folder says where backups lie."
    return [
        ScheduleDefinition(
            name=f"{DRILL_JOB}_schedule",
            job_name=DRILL_JOB,
            cron_schedule=DRILL_CRON,
            execution_timezone="UTC",
            default_status=status,
            description=f"The second of the month at 03:00 UTC. {told}",
        ),
        ScheduleDefinition(
            name=f"{LOOK_JOB}_schedule",
            job_name=LOOK_JOB,
            cron_schedule=LOOK_CRON,
            execution_timezone="UTC",
            default_status=status,
            description=f"Every day at 07:00 UTC. {told}",
        ),
    ]
