"""Running a district's weekly job from the command line, and what came of it.

This is what `edupulse run` and `edupulse demo` do: the same job, assets and Dagster home as in the UI, without a
server, and all steps in this process. What the run did is read back from where it is stored (`recorded_runs`,
`summary`), so that it is the same with another executor (`outcome_of`).
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dagster import DagsterInstance

from edupulse_pipelines.errors import EduPulseError
from edupulse_pipelines.orchestration.assembly import build_defs
from edupulse_pipelines.orchestration.homes import close_abandoned_runs, dagster_instance, process_tags
from edupulse_pipelines.orchestration.jobs import op_name, weekly_job_name
from edupulse_pipelines.orchestration.partitions import run_tags
from edupulse_pipelines.orchestration.progress import Progress
from edupulse_pipelines.orchestration.recorded_runs import RunOutcome, recorded_run
from edupulse_pipelines.orchestration.summary import run_warnings
from edupulse_pipelines.settings import Settings, TenantSettings
from edupulse_pipelines.storage.database import Database, database_of
from edupulse_pipelines.weeks import last_closed_week

Execute = Callable[[DagsterInstance, dict[str, Any]], tuple[str, bool]]
"""Does a run: instance and configuration in, the run's id and whether it succeeded out."""
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def run_weekly_job(
    settings: Settings,
    tenant: TenantSettings,
    weeks: Sequence[dt.date],
    with_delivery: Sequence[dt.date],
    *,
    rescore: bool = False,
    database: Database | None = None,
    progress: Progress | None = None,
) -> RunOutcome:
    """Run the weekly job of `tenant` once, over the weeks (Mondays) from the first to the last of `weeks`.

    `database` takes the place of the one that the settings name; `progress` hears of the steps while they run.
    Failures of the work are in the outcome, in words; only what prevents the run from starting is raised.
    """
    database = database or database_of(settings)
    defs = build_defs(alone(settings, tenant), database=database, progress=progress or Progress())
    job = defs.resolve_job_def(weekly_job_name(tenant))

    def execute(instance: DagsterInstance, run_config: dict[str, Any]) -> tuple[str, bool]:
        tags = {**process_tags(), **run_tags(weeks)}
        result = job.execute_in_process(instance=instance, run_config=run_config, tags=tags, raise_on_error=False)
        return result.run_id, result.success

    return outcome_of(settings, tenant, weeks, with_delivery, database, execute, rescore=rescore)


def alone(settings: Settings, tenant: TenantSettings) -> Settings:
    """The settings with this tenant only: the definitions of the others are not needed for its run."""
    return settings.model_copy(update={"tenants": {tenant.name: tenant}})


def outcome_of(
    settings: Settings,
    tenant: TenantSettings,
    weeks: Sequence[dt.date],
    with_delivery: Sequence[dt.date],
    database: Database,
    execute: Execute,
    *,
    rescore: bool = False,
) -> RunOutcome:
    """Let `execute` do the run in the settings' Dagster home, and read back what came of it, whoever did the steps."""
    started = time.monotonic()
    run_config: dict[str, Any] = dict(_QUIET)
    if rescore:
        run_config["ops"] = {op_name(tenant, "predictions"): {"config": {"rescore": True}}}
    with dagster_instance(settings) as instance:
        close_abandoned_runs(instance)
        run_id, succeeded = execute(instance, run_config)
        recorded = recorded_run(instance, run_id)
    errors = list(recorded.errors)
    warnings = [
        *recorded.warnings,
        *run_warnings(recorded, tenant, max(weeks)),
        *_left_behind(database, tenant, settings.home),
    ]
    if not succeeded and not errors:
        errors = ["The run failed before its first step; see it in the Dagster UI (`edupulse dev`)."]
    return RunOutcome(
        weeks=[week for week in with_delivery if min(weeks) <= week <= max(weeks)],
        success=succeeded and not errors,
        run_id=run_id,
        recorded=recorded,
        errors=errors,
        warnings=warnings,
        seconds=time.monotonic() - started,
    )


def _left_behind(database: Database, tenant: TenantSettings, home: Path) -> list[str]:
    """A warning when landed files differ from what runs have loaded, so that none is forgotten."""
    from edupulse_pipelines.ingest.changed_files import changed_weeks

    try:
        with database.work(tenant.name) as work:
            weeks = changed_weeks(work, tenant, last_closed_week(tenant.timezone), home)
    except EduPulseError:
        return []  # the run has said so itself
    if not weeks:
        return []
    named = ", ".join(str(week) for week in weeks[:5]) + (", …" if len(weeks) > 5 else "")
    return [
        f"Landed, but not loaded by any run yet, or with another content: week of {named}. `edupulse run` takes "
        "what is of earlier weeks along."
    ]
