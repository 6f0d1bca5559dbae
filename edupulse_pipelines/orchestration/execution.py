"""Running a district's weekly job from the command line, and what came of it.

This is what `edupulse run` and `edupulse demo` do: the same job, assets and Dagster home as in the UI, without a
server. All steps run in this process, unless each is to have one of its own. What the run did is read back from where
it is stored (`recorded_runs`, `summary`).
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dagster import (
    DagsterInstance,
    ExecutorDefinition,
    JobDefinition,
    build_reconstructable_job,
    execute_job,
    multiprocess_executor,
)

from edupulse_pipelines.errors import EduPulseError
from edupulse_pipelines.orchestration.assembly import build_defs
from edupulse_pipelines.orchestration.homes import close_abandoned_runs, dagster_instance, process_tags
from edupulse_pipelines.orchestration.jobs import op_name, weekly_job_name
from edupulse_pipelines.orchestration.partitions import run_tags
from edupulse_pipelines.orchestration.progress import Progress
from edupulse_pipelines.orchestration.recorded_runs import RunOutcome, recorded_run
from edupulse_pipelines.orchestration.summary import run_warnings
from edupulse_pipelines.settings import Settings, TenantSettings, load_settings
from edupulse_pipelines.storage.database import Database, database_of
from edupulse_pipelines.weeks import last_closed_week

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
    defs = build_defs(_alone(settings, tenant), database=database, progress=progress or Progress())
    job = defs.resolve_job_def(weekly_job_name(tenant))

    def execute(instance: DagsterInstance, run_config: dict[str, Any]) -> tuple[str, bool]:
        tags = {**process_tags(), **run_tags(weeks)}
        result = job.execute_in_process(instance=instance, run_config=run_config, tags=tags, raise_on_error=False)
        return result.run_id, result.success

    return _outcome(settings, tenant, weeks, with_delivery, rescore, database, execute)


def run_weekly_job_apart(
    settings: Settings,
    tenant: TenantSettings,
    weeks: Sequence[dt.date],
    with_delivery: Sequence[dt.date],
    *,
    rescore: bool = False,
) -> RunOutcome:
    """The same as `run_weekly_job`, each step in a process of its own; nobody hears of them while they run.

    Each process loads the settings again: they must be those of the home and of this process's environment.
    """
    job = build_reconstructable_job(__name__, apart_job.__name__, (str(settings.home), tenant.name))  # type: ignore[arg-type]

    def execute(instance: DagsterInstance, run_config: dict[str, Any]) -> tuple[str, bool]:
        tags = {**process_tags(), **run_tags(weeks)}
        with execute_job(job, instance=instance, run_config=run_config, tags=tags, raise_on_error=False) as result:
            return result.run_id, result.success

    return _outcome(settings, tenant, weeks, with_delivery, rescore, database_of(settings), execute)


def apart_job(home: str, tenant_name: str) -> JobDefinition:
    """The weekly job of a home's tenant, as every process that works on a run of `run_weekly_job_apart` makes it."""
    settings = load_settings(home=Path(home))
    tenant = settings.tenant(tenant_name)
    return build_defs(_alone(settings, tenant), executor=steps_apart()).resolve_job_def(weekly_job_name(tenant))


def steps_apart() -> ExecutorDefinition:
    """An executor for `build_defs` that gives each step a process of its own, one after another.

    The processes are forked off one that has imported what the steps need, which would take seconds in each.
    """
    preloaded = ["edupulse_pipelines.definitions", "sqlalchemy", "pandas", "great_expectations", "sklearn", "mlflow"]
    return multiprocess_executor.configured(
        {"max_concurrent": 1, "start_method": {"forkserver": {"preload_modules": preloaded}}}
    )


def _alone(settings: Settings, tenant: TenantSettings) -> Settings:
    """The settings with this tenant only: the definitions of the others are not needed for its run."""
    return settings.model_copy(update={"tenants": {tenant.name: tenant}})


def _outcome(
    settings: Settings,
    tenant: TenantSettings,
    weeks: Sequence[dt.date],
    with_delivery: Sequence[dt.date],
    rescore: bool,
    database: Database,
    execute: Callable[[DagsterInstance, dict[str, Any]], tuple[str, bool]],
) -> RunOutcome:
    """Let `execute` do the run (instance and configuration in, the run's id and whether it succeeded out)."""
    started = time.monotonic()
    run_config: dict[str, Any] = dict(_QUIET)
    if rescore:
        run_config["ops"] = {op_name(tenant, "predictions"): {"config": {"rescore": True}}}
    with dagster_instance(settings) as instance:
        close_abandoned_runs(instance)
        run_id, succeeded = execute(instance, run_config)
        recorded = recorded_run(instance, run_id)
    errors = list(recorded.errors)
    warnings = [*recorded.warnings, *run_warnings(recorded, tenant, max(weeks)), *_left_behind(database, tenant)]
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


def _left_behind(database: Database, tenant: TenantSettings) -> list[str]:
    """A warning when earlier deliveries have been landed that no run has loaded, so that none is forgotten."""
    from edupulse_pipelines.ingest.archive import weeks_not_archived

    try:
        with database.work(tenant.name) as work:
            weeks = weeks_not_archived(work, tenant, last_closed_week(tenant.timezone))
    except EduPulseError:
        return []  # the run has said so itself
    if not weeks:
        return []
    named = ", ".join(str(week) for week in weeks[:5]) + (", …" if len(weeks) > 5 else "")
    return [f"Landed, but not loaded by any run yet: week of {named}. `edupulse run --all` takes everything along."]
