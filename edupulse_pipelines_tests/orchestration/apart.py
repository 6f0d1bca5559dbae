"""The weekly job with each step in a process of its own."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
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

from edupulse_pipelines.orchestration.assembly import build_defs
from edupulse_pipelines.orchestration.execution import alone, outcome_of
from edupulse_pipelines.orchestration.homes import process_tags
from edupulse_pipelines.orchestration.jobs import weekly_job_name
from edupulse_pipelines.orchestration.partitions import run_tags
from edupulse_pipelines.orchestration.recorded_runs import RunOutcome
from edupulse_pipelines.settings import Settings, TenantSettings, load_settings
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines_tests.forked import PRELOADED

ROOT = Path(__file__).parents[2]
"""Dagster takes the first entry of `sys.path` away when it imports a job's module, and that is where the tests lie."""


def run_weekly_job_apart(settings: Settings, tenant: TenantSettings, weeks: Sequence[dt.date]) -> RunOutcome:
    """The same as `run_weekly_job`, each step in a process of its own.

    Each process loads the settings of the home again; the database is that of `settings`.
    """
    arguments = (str(settings.home), tenant.name, settings.database_url)
    job = build_reconstructable_job(
        __name__,
        apart_job.__name__,
        arguments,  # type: ignore[arg-type]
        reconstructor_working_directory=str(ROOT),
    )

    def execute(instance: DagsterInstance, run_config: dict[str, Any]) -> tuple[str, bool]:
        tags = {**process_tags(), **run_tags(weeks)}
        with execute_job(job, instance=instance, run_config=run_config, tags=tags, raise_on_error=False) as result:
            return result.run_id, result.success

    return outcome_of(settings, tenant, weeks, weeks, Database(settings.database_url), execute)


def apart_job(home: str, tenant_name: str, database_url: str) -> JobDefinition:
    """The weekly job of a home's tenant, as every process that works on a run makes it."""
    settings = load_settings(home=Path(home))
    tenant = settings.tenant(tenant_name)
    defs = build_defs(alone(settings, tenant), database=Database(database_url), executor=steps_apart())
    return defs.resolve_job_def(weekly_job_name(tenant))


def steps_apart() -> ExecutorDefinition:
    """An executor that gives each step a process of its own, one after another.

    The processes are forked off the one that all tests' are, which has imported what the steps need.
    """
    return multiprocess_executor.configured(
        {"max_concurrent": 1, "start_method": {"forkserver": {"preload_modules": PRELOADED}}}
    )
