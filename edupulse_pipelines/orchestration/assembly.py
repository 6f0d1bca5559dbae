"""`build_defs`: settings in, the whole of Dagster's definitions out. Opens nothing."""

from __future__ import annotations

from dagster import (
    AssetsDefinition,
    Definitions,
    ExecutorDefinition,
    JobDefinition,
    ScheduleDefinition,
    in_process_executor,
)

from edupulse_pipelines.orchestration.assets import tenant_assets
from edupulse_pipelines.orchestration.backups import backup_job, backup_schedule
from edupulse_pipelines.orchestration.drills import (
    drill_asset,
    drill_job,
    look_job,
    recovery_checks,
    recovery_schedules,
)
from edupulse_pipelines.orchestration.jobs import AssetJob, tenant_jobs
from edupulse_pipelines.orchestration.maintenance import (
    maintenance_assets,
    maintenance_job,
    maintenance_schedule,
)
from edupulse_pipelines.orchestration.presentation import present
from edupulse_pipelines.orchestration.resources import default_resources
from edupulse_pipelines.orchestration.retention import retention_job, retention_schedule
from edupulse_pipelines.orchestration.schedules import training_schedule, weekly_schedule
from edupulse_pipelines.settings import Settings


def build_defs(
    settings: Settings, *, executor: ExecutorDefinition = in_process_executor, **resource_overrides: object
) -> Definitions:
    """Assets, jobs and schedules of every tenant in `settings` and of maintenance, over its database and registry.

    `executor` runs the steps: all in the run's process by default, because a step imports pandas, scikit-learn or
    MLflow for seconds, and an executor with a process for each step would do so again and again.
    `resource_overrides` replace resources by name (`database`, `registry`, `progress`), for a test or a deployment.
    TypeError for a name that no asset uses.
    """
    resources = dict(default_resources(settings))
    unknown = sorted(set(resource_overrides) - set(resources))
    if unknown:
        raise TypeError(f"no such resource: {', '.join(unknown)} (there are: {', '.join(sorted(resources))})")
    resources.update(resource_overrides)
    assets: list[AssetsDefinition] = []
    configured = settings.config_path.is_file()
    jobs: list[AssetJob | JobDefinition] = [maintenance_job(), backup_job(settings), drill_job(), look_job()]
    schedules: list[ScheduleDefinition] = [
        maintenance_schedule(running=configured),
        backup_schedule(settings, running=configured),
        *recovery_schedules(settings, running=configured),
    ]
    for tenant in settings.tenants.values():
        assets += tenant_assets(settings, tenant)
        of_tenant = tenant_jobs(tenant, executor)
        jobs += [of_tenant.weekly, of_tenant.training, retention_job(tenant)]
        schedules += [
            weekly_schedule(settings.home, tenant, of_tenant, running=configured),
            training_schedule(tenant, of_tenant),
            retention_schedule(tenant, running=configured),
        ]
    return Definitions(
        assets=[*present(assets, settings), *maintenance_assets(settings), drill_asset(settings)],
        asset_checks=recovery_checks(settings),
        jobs=jobs,
        schedules=schedules,
        resources=resources,
        executor=executor,
    )
