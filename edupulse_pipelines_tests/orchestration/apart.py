"""The weekly job with each step in a process of its own, and a database of which every step has to be tried again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from dagster import (
    AssetExecutionContext,
    DagsterInstance,
    ExecutorDefinition,
    JobDefinition,
    build_reconstructable_job,
    execute_job,
    multiprocess_executor,
)

from edupulse_pipelines.errors import DatabaseBusy
from edupulse_pipelines.orchestration import retries
from edupulse_pipelines.orchestration.assembly import build_defs
from edupulse_pipelines.orchestration.execution import alone, outcome_of
from edupulse_pipelines.orchestration.homes import process_tags
from edupulse_pipelines.orchestration.jobs import weekly_job_name
from edupulse_pipelines.orchestration.partitions import run_tags
from edupulse_pipelines.orchestration.recorded_runs import RunOutcome
from edupulse_pipelines.settings import Settings, TenantSettings, load_settings
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines.storage.work import Work

ROOT = Path(__file__).parents[2]
"""Dagster takes the first entry of `sys.path` away when it imports a job's module, and that is where the tests lie."""
REASON = "The first try ends here, after all of its commits."


class BusyOnce(Database):
    """A database of which each step's first try fails for a passing reason, when all its work has been committed."""

    @contextmanager
    def work(self, tenant: str, run_id: str | None = None) -> Iterator[Work]:
        """As of every database, and then the failure."""
        with super().work(tenant, run_id) as work:
            yield work
        if run_id is not None and AssetExecutionContext.get().retry_number == 0:
            raise DatabaseBusy(REASON)


def run_weekly_job_apart(
    settings: Settings, tenant: TenantSettings, weeks: Sequence[dt.date], *, busy_once: bool = False
) -> RunOutcome:
    """The same as `run_weekly_job`, each step in a process of its own.

    Each process loads the settings of the home again; the database is that of `settings`.
    """
    arguments = (str(settings.home), tenant.name, settings.database_url, busy_once)
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


def apart_job(home: str, tenant_name: str, database_url: str, busy_once: bool) -> JobDefinition:
    """The weekly job of a home's tenant, as every process that works on a run makes it; nobody waits for a retry."""
    settings = load_settings(home=Path(home))
    tenant = settings.tenant(tenant_name)
    database = (BusyOnce if busy_once else Database)(database_url)
    with patch.object(retries, "FIRST_PAUSE_SECONDS", 0.01):
        defs = build_defs(alone(settings, tenant), database=database, executor=steps_apart())
    return defs.resolve_job_def(weekly_job_name(tenant))


def steps_apart() -> ExecutorDefinition:
    """An executor that gives each step a process of its own, one after another.

    The processes are forked off one that has imported what the steps need, which would take seconds in each.
    """
    preloaded = ["edupulse_pipelines.definitions", "sqlalchemy", "pandas", "great_expectations", "sklearn", "mlflow"]
    return multiprocess_executor.configured(
        {"max_concurrent": 1, "start_method": {"forkserver": {"preload_modules": preloaded}}}
    )
