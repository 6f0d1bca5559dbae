"""The daily backup: one job for the whole home, and when it runs. The work is in `operations.backup`."""

# No `from __future__ import annotations`: see `assets.raw`.

from typing import TYPE_CHECKING, Any

from dagster import (
    DefaultScheduleStatus,
    Failure,
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
    from edupulse_pipelines.operations.backup.moments import Moment
    from edupulse_pipelines.operations.backup.standing import Standing
    from edupulse_pipelines.operations.backup.taking import Taken

BACKUP = "backup"
BACKUP_CRON = "0 1 * * *"
SHOWN = 14
"""How many moments the table of a run shows."""
_WHAT = (
    "Takes a moment of the home: database, MLflow's store, models, raw archive and settings as they belong together; "
    "files that have not changed are not copied again. Throws away moments that are older than [backup] retention. "
    "Loads go on meanwhile. Fails, with the moment taken, where somebody has to mend something: archives that are "
    "damaged, no WAL that arrives, a slot that is lost."
)


def backup_job(settings: Settings) -> JobDefinition:
    """The job that takes a moment of the home of these settings."""

    @op(name="moment", description=_WHAT)
    def take(context: OpExecutionContext, database: ResourceParam[Database], progress: ResourceParam[Progress]) -> None:
        with step(context, progress, database, None):
            from edupulse_pipelines.operations.backup.moments import moments
            from edupulse_pipelines.operations.backup.standing import standing
            from edupulse_pipelines.operations.backup.taking import take_moment

            taken = take_moment(settings, database, tell=context.log.info)
            stands, last = standing(settings), moments(settings)[-SHOWN:]
            progress.finished(BACKUP, taken)
        metadata = _metadata(taken, stands, last)
        context.log.info(metadata["done"])
        trouble = [*stands.warnings, *([taken.trouble] if taken.trouble else [])]
        if trouble:  # the moment is there, and somebody has to hear of this: another one would not mend it
            raise Failure(f"{metadata['done']} To mend: {' '.join(trouble)}", metadata, allow_retries=False)
        context.add_output_metadata(metadata)

    @job(
        name=BACKUP,
        description=f"{_WHAT} Not of one district: all of them share the home.",
        executor_def=in_process_executor,
        tags=NO_RUN_RETRY,
    )
    def backup() -> None:
        take.with_retry_policy(retry_policy())()

    return backup


def _metadata(taken: "Taken", stands: "Standing", last: "list[Moment]") -> dict[str, Any]:
    moment = taken.moment
    metadata: dict[str, Any] = {
        "done": f"Moment {moment.id}: {len(moment.files):,} files, {moment.new_bytes:,} bytes of them new.",
        "moment": moment.id,
        "files": len(moment.files),
        "bytes": moment.bytes,
        "new_bytes": moment.new_bytes,
        "stored_bytes": stands.stored_bytes,
        "free_bytes": stands.free_bytes,
        "retired": len(taken.retired),
        "damaged": len(moment.damaged),
        "schema_revision": moment.schema_revision or "none",
        "audit_head": moment.audit_head or "none",
        "warnings": len(stands.warnings),
        "moments": table(
            [
                {
                    "moment": one.id,
                    "taken": one.at.isoformat(timespec="seconds"),
                    "files": len(one.files),
                    "bytes": one.bytes,
                    "new_bytes": one.new_bytes,
                    "seconds": round((one.ended - one.at).total_seconds(), 1),
                }
                for one in reversed(last)
            ]
        ),
    }
    if stands.rpo_seconds is not None:
        metadata["rpo_seconds"] = round(stands.rpo_seconds, 1)
    if stands.warnings:
        metadata["to_mend"] = MetadataValue.md("\n".join(f"- {sentence}" for sentence in stands.warnings))
    return metadata


def backup_schedule(settings: Settings, *, running: bool) -> ScheduleDefinition:
    """Every day at 01:00 UTC; running where the settings say where backups lie."""
    wanted = running and settings.backup.folder is not None
    return ScheduleDefinition(
        name=f"{BACKUP}_schedule",
        job_name=BACKUP,
        cron_schedule=BACKUP_CRON,
        execution_timezone="UTC",
        default_status=DefaultScheduleStatus.RUNNING if wanted else DefaultScheduleStatus.STOPPED,
        description="Every day at 01:00 UTC. Runs by itself where [backup] folder says where backups lie.",
    )
