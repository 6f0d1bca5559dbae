"""Keeping the database well: two assets for all districts, their checks, one job, and when it runs.

`upkeep` does what is needed, `state` measures what there is afterwards and plots it over the weeks. The work is in
`operations.upkeep`; verdicts are pure functions of what it found.
"""

# No `from __future__ import annotations`: see `assets.raw`.

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    AssetSelection,
    DefaultScheduleStatus,
    MaterializeResult,
    MetadataValue,
    ResourceParam,
    ScheduleDefinition,
    asset,
    define_asset_job,
    in_process_executor,
)

from edupulse_pipelines.orchestration import charts
from edupulse_pipelines.orchestration.checks import counted, table
from edupulse_pipelines.orchestration.jobs import AssetJob
from edupulse_pipelines.orchestration.resources import Database, Progress
from edupulse_pipelines.orchestration.retries import NO_RUN_RETRY, retry_policy
from edupulse_pipelines.orchestration.steps import step
from edupulse_pipelines.settings import Settings
from edupulse_pipelines.sizes_in_words import in_bytes

if TYPE_CHECKING:
    from edupulse_pipelines.operations.upkeep.findings import LogSetting
    from edupulse_pipelines.operations.upkeep.growth import Forecast
    from edupulse_pipelines.operations.upkeep.maintenance import DatabaseState
    from edupulse_pipelines.operations.upkeep.tasks import Upkeep

MAINTENANCE = "maintenance"
MAINTENANCE_CRON = "0 2 * * 0"
UPKEEP, STATE = AssetKey(["Maintenance", "upkeep"]), AssetKey(["Maintenance", "state"])
"""No district's name has a capital letter, so that these are none of a district's assets."""
EVERYTHING_DONE = "everything_done"
INDEXES_VALID = "indexes_valid"
DISKS_LAST = "disks_last"
NO_ROWS_IN_THE_LOG = "no_rows_in_the_server_log"
_POOL = "maintenance"
_TABLES_SHOWN = 12
_GIB = 2**30
_UPKEEP = (
    "The upkeep of the database that all districts share. PostgreSQL: months ahead, leftovers of interrupted index "
    "builds, VACUUM and ANALYZE of tables and partitions, ANALYZE of partitioned parents (autovacuum never does that), "
    "REINDEX CONCURRENTLY of indexes that hold much air, each where `[maintenance]` says it is needed, with a pause "
    "between. SQLite: statistics, the write-ahead log written back, the file written anew where much of it is free. "
    "Safe to repeat; keeps nobody from reading or writing rows."
)
_STATE = (
    "How large the database, the record of changes, the write-ahead log, the archive and the models are, how they "
    "grow, and when a disk will be full; which statements take the server's time; whether the server writes rows into "
    "its log. Measured after the upkeep; earlier weeks are in `maintenance/sizes.jsonl` of the home. Names no student."
)


def maintenance_assets(settings: Settings) -> list[AssetsDefinition]:
    """What the job materializes: the upkeep, and the state afterwards."""

    @asset(
        key=UPKEEP,
        description=_UPKEEP,
        group_name=MAINTENANCE,
        owners=["team:data-engineering"],
        pool=_POOL,
        retry_policy=retry_policy(),
        check_specs=upkeep_check_specs(),
    )
    def upkeep(
        context: AssetExecutionContext, database: ResourceParam[Database], progress: ResourceParam[Progress]
    ) -> MaterializeResult:
        with step(context, progress, owners_database(settings, database), None) as work:
            from edupulse_pipelines.operations.upkeep.maintenance import keep_up

            done = keep_up(
                work,
                settings.maintenance,
                dt.datetime.now(dt.UTC).date(),
                hears=lambda task: context.log.info(f"{task.statement}: {task.why}."),
            )
            progress.finished(context.asset_key.path[-1], done)
        return MaterializeResult(
            metadata=_upkeep_metadata(done), check_results=[everything_done(done), indexes_valid(done.invalid)]
        )

    @asset(
        key=STATE,
        deps=[UPKEEP],
        description=_STATE,
        group_name=MAINTENANCE,
        owners=["team:data-engineering"],
        pool=_POOL,
        retry_policy=retry_policy(),
        check_specs=state_check_specs(settings.maintenance.days_until_full),
    )
    def state(
        context: AssetExecutionContext, database: ResourceParam[Database], progress: ResourceParam[Progress]
    ) -> MaterializeResult:
        with step(context, progress, owners_database(settings, database), None) as work, database.work("") as loaders:
            from edupulse_pipelines.operations.upkeep.maintenance import state_of

            found = state_of(work, loaders, settings, dt.datetime.now(dt.UTC))
            progress.finished(context.asset_key.path[-1], found)
        return MaterializeResult(
            metadata=_state_metadata(found),
            check_results=[
                disks_last(
                    found.forecasts,
                    found.sizes.unseen,
                    settings.maintenance.days_until_full,
                    settings.maintenance.keep_free_bytes,
                ),
                no_rows_in_the_log(found.log_settings),
            ],
        )

    return [upkeep, state]


def owners_database(settings: Settings, database: Database) -> Database:
    """The database as the tables' owner, where `[maintenance]` says how to become it; else as everybody."""
    url = settings.maintenance.keepers_url(settings.config_path.parent)
    if url is None:
        return database
    from edupulse_pipelines.governance.role_names import RoleNames

    return Database(url, RoleNames(settings.roles.prefix, ()).owner)


def maintenance_job() -> AssetJob:
    """The job that keeps the database well."""
    return define_asset_job(
        MAINTENANCE,
        selection=AssetSelection.assets(UPKEEP, STATE),
        description=f"{_UPKEEP} Then its state is measured. Not of one district: all of them share the tables.",
        executor_def=in_process_executor,
        tags=NO_RUN_RETRY,
    )


def maintenance_schedule(*, running: bool) -> ScheduleDefinition:
    """Sundays at 02:00 UTC, before the districts' weekly jobs."""
    return ScheduleDefinition(
        name=f"{MAINTENANCE}_schedule",
        job_name=MAINTENANCE,
        cron_schedule=MAINTENANCE_CRON,
        execution_timezone="UTC",
        default_status=DefaultScheduleStatus.RUNNING if running else DefaultScheduleStatus.STOPPED,
        description="Sundays at 02:00 UTC, before the weekly jobs of Monday need the months.",
    )


# The checks


def upkeep_check_specs() -> list[AssetCheckSpec]:
    """The checks of the upkeep."""
    return [
        AssetCheckSpec(
            EVERYTHING_DONE,
            asset=UPKEEP,
            description=(
                "What the tables, partitions and indexes needed was done. An error where the role of the job has no "
                "right to it, with the lines that a keeper runs, or the database ended it with an error; a warning "
                "where it was left for the next time: in use, or no room on the disk."
            ),
        ),
        AssetCheckSpec(
            INDEXES_VALID,
            asset=UPKEEP,
            description=(
                "Every index is valid: an interrupted build leaves one behind that no query uses and every write keeps "
                "up. Leftovers of REINDEX are dropped; others are named with the line that mends them. A warning."
            ),
        ),
    ]


def state_check_specs(fewest_days: int) -> list[AssetCheckSpec]:
    """The checks of the state."""
    return [
        AssetCheckSpec(
            DISKS_LAST,
            asset=STATE,
            description=(
                "No disk will be full within `days_until_full` of [maintenance] "
                f"({fewest_days} days), if it grows as over the last eight weeks. An error within a week, or with less "
                "free than `keep_free_gib`. A warning where a disk could not be looked at."
            ),
        ),
        AssetCheckSpec(
            NO_ROWS_IN_THE_LOG,
            asset=STATE,
            description=(
                "The server does not write rows into its log, on an error or otherwise: students' names stood there "
                "with PostgreSQL's own defaults. Names each setting that does, with the line that mends it."
            ),
        ),
    ]


def everything_done(done: "Upkeep") -> AssetCheckResult:
    """Passed when nothing that was needed is left; an error where a right was missing."""
    if not done.not_done:
        return AssetCheckResult(
            asset_key=UPKEEP,
            check_name=EVERYTHING_DONE,
            passed=True,
            description=f"{done.in_words[0].upper()}{done.in_words[1:]}",
        )
    lines = "\n".join(f"{one.task.statement};" for one in done.refused)
    metadata: dict[str, Any] = {
        "not_done": table([{"what": r.task.statement, "why": r.task.why, "note": r.note} for r in done.not_done])
    }
    if done.refused:
        owner = done.refused[0].task.owner
        metadata["lines"] = MetadataValue.md(f"As `{owner}`:\n\n```sql\n{lines}\n```")
        told = (
            f"{counted(len(done.refused), 'task')} only for {owner}: run `edupulse db maintain` with the keeper's URL "
            "(EDUPULSE_KEEPER_URL), or name a file with it in [maintenance] keeper_url_file"
        )
    elif done.failed:
        first = done.failed[0]
        told = f"{counted(len(done.failed), 'task')} failed, first {first.task.statement}: {first.note}"
    else:
        first = done.not_done[0]
        told = f"{counted(len(done.not_done), 'task')} left, first {first.task.statement}: {first.note}"
    return AssetCheckResult(
        asset_key=UPKEEP,
        check_name=EVERYTHING_DONE,
        passed=False,
        severity=AssetCheckSeverity.ERROR if done.refused or done.failed else AssetCheckSeverity.WARN,
        metadata=metadata,
        description=told,
    )


def indexes_valid(invalid: Sequence[str]) -> AssetCheckResult:
    """Passed without an index that is not valid; `invalid` are those, each in words with its line."""
    return AssetCheckResult(
        asset_key=UPKEEP,
        check_name=INDEXES_VALID,
        passed=not invalid,
        severity=AssetCheckSeverity.WARN,
        metadata={"invalid": len(invalid), **({"lines": _listed(invalid)} if invalid else {})},
        description=invalid[0] if invalid else "Every index is valid",
    )


def disks_last(
    forecasts: "Sequence[Forecast]", unseen: Sequence[str], fewest_days: int, keep_free: int
) -> AssetCheckResult:
    """Passed when every disk has room, as far as is known, and none is full within so many days.

    An error where one is full within a week, or has less than `keep_free` bytes; a warning where one of the disks could
    not be looked at (`unseen`). Before there are two measurements nothing is known of growth, and that is said.
    """
    from edupulse_pipelines.operations.upkeep.sizes import BACKUP_DISK

    metadata: dict[str, Any] = {
        f"{one.disk}_days_until_full": round(one.days, 1) for one in forecasts if one.days is not None
    }

    def room(disk: str) -> str:
        of_rows = "old months: `edupulse db detach-month`; the record of changes: `edupulse audit retire`"
        of_backups = "fewer of them by [backup] retention"
        return f"Make room ({of_backups if disk == BACKUP_DISK else of_rows}), or give it a larger disk"

    def result(told: str, severity: AssetCheckSeverity | None) -> AssetCheckResult:
        return AssetCheckResult(
            asset_key=STATE,
            check_name=DISKS_LAST,
            passed=severity is None,
            severity=severity or AssetCheckSeverity.WARN,
            metadata=metadata,
            description=told,
        )

    for one in forecasts:
        if one.free < keep_free:
            few = f"{in_bytes(one.free)} are free of the disk of the {one.disk}"
            told = f"{few}, and {in_bytes(keep_free)} are to be kept. {room(one.disk)}"
            return result(told, AssetCheckSeverity.ERROR)
    soonest = min((one for one in forecasts if one.days is not None), key=lambda one: one.days or 0.0, default=None)
    if soonest is not None and soonest.days is not None and soonest.days < fewest_days:
        when = "within a day" if soonest.days < 1 else f"in {counted(round(soonest.days), 'day')}"
        return result(
            f"The disk of the {soonest.disk} is full {when}, as it grows now: {in_bytes(soonest.free)} are free. "
            f"{room(soonest.disk)}",
            AssetCheckSeverity.ERROR if soonest.days < 7 else AssetCheckSeverity.WARN,
        )
    if unseen:
        names = " and the ".join(unseen)
        return result(f"The disk of the {names} could not be looked at: `notes` say why", AssetCheckSeverity.WARN)
    if any(one.per_day is None for one in forecasts):
        return result("There is room; growth is not known before two measurements a day apart", None)
    return result("No disk will be full soon", None)


def no_rows_in_the_log(found: "Sequence[LogSetting]") -> AssetCheckResult:
    """Passed when no setting of the server puts rows into its log."""
    if not found:
        return AssetCheckResult(
            asset_key=STATE, check_name=NO_ROWS_IN_THE_LOG, passed=True, description="The server's log holds no row"
        )
    lines = [f"{one.line}  -- {one.setting} writes {one.writes}" for one in found]
    return AssetCheckResult(
        asset_key=STATE,
        check_name=NO_ROWS_IN_THE_LOG,
        passed=False,
        severity=AssetCheckSeverity.ERROR,
        metadata={
            "settings": table(
                [
                    {"setting": one.name, "is": one.setting, "of": one.of_role or "", "should be": one.wanted}
                    for one in found
                ]
            ),
            "lines": MetadataValue.md(
                "As a superuser:\n\n```sql\n" + "\n".join([*lines, "SELECT pg_reload_conf();"]) + "\n```"
            ),
        },
        description=f"{', '.join(one.name for one in found)}: an error, or more, writes rows into the server's log",
    )


# What the UI shows


def _upkeep_metadata(done: "Upkeep") -> dict[str, Any]:
    months = "; ".join(f"{name}: {of_table.in_words}" for name, of_table in done.months.items())
    metadata: dict[str, Any] = {"done": "; ".join(part for part in (months, done.in_words) if part)}
    for name, of_table in done.months.items():
        metadata[f"{name}_made"] = MetadataValue.json(of_table.made)
        metadata[f"{name}_left_in_default_partition"] = of_table.left
        if of_table.moved:
            metadata[f"{name}_moved"] = table(
                [{"month": f"{month:%Y-%m}", "rows": rows} for month, rows in sorted(of_table.moved.items())]
            )
    counts = {"tasks_done": "done", "tasks_left": "left", "tasks_refused": "refused", "tasks_failed": "failed"}
    for name, outcome in counts.items():
        metadata[name] = sum(result.outcome == outcome for result in done.results)
    metadata["seconds"] = round(sum(result.seconds for result in done.results), 1)
    if done.results:
        metadata["tasks"] = table(
            [
                {
                    "outcome": result.outcome,
                    "task": result.task.statement,
                    "seconds": round(result.seconds, 2),
                    "MiB saved": _mib(result.saved_bytes or 0),
                    "why": result.task.why,
                    "note": result.note,
                }
                for result in done.results
            ]
        )
    if done.notes:
        metadata["notes"] = _listed(done.notes)
    return metadata


def _state_metadata(found: "DatabaseState") -> dict[str, Any]:
    metadata: dict[str, Any] = {f"{area}_gib": _gib(size) for area, size in found.sizes.areas.items()}
    for one in found.forecasts:
        metadata[f"{one.disk}_free_gib"] = _gib(one.free)
        if one.days is not None:
            metadata[f"{one.disk}_days_until_full"] = round(one.days, 1)
    metadata |= _plots(found)
    if found.area_growth:
        metadata["growth"] = table(
            [
                {"of": area, "MiB": _mib(found.sizes.areas[area]), "MiB a week": f"{_mib(7 * rate):+,}"}
                for area, rate in found.area_growth.items()
            ]
        )
    if largest := sorted(found.sizes.tables or (), key=lambda of: -of.bytes)[:_TABLES_SHOWN]:
        metadata["largest_tables"] = table(
            [
                {
                    "table": of.name,
                    "MiB": _mib(of.bytes),
                    "of indexes": _mib(of.index_bytes),
                    "MiB a week": "" if (rate := found.table_growth.get(of.name)) is None else f"{_mib(7 * rate):+,}",
                    "rows, about": "" if of.rows is None else f"{of.rows:,}",
                }
                for of in largest
            ]
        )
    if found.statements:
        metadata["slow_statements"] = table(
            [
                {"total s": round(one.total_ms / 1000, 1), "calls": one.calls, "mean ms": one.mean_ms}
                | {"longest ms": one.longest_ms, "role": one.role, "statement": one.statement}
                for one in found.statements
            ]
        )
    if found.notes:
        metadata["notes"] = _listed(found.notes)
    return metadata


def _plots(found: "DatabaseState") -> dict[str, MetadataValue]:
    days = [*(point.at.date() for point in found.before), found.sizes.at.date()]
    areas = [*(point.areas for point in found.before), found.sizes.areas]
    free = [
        *(point.free for point in found.before),
        {name: room.free for name, room in found.sizes.disks.items()},
    ]
    drawn = {
        "sizes_over_time": charts.lines(
            "Sizes, GiB",
            days,
            {name: [_gib(of[name]) if name in of else None for of in areas] for name in found.sizes.areas},
        ),
        "free_over_time": charts.lines(
            "Free on the disks, GiB",
            days,
            {name: [_gib(of[name]) if name in of else None for of in free] for name in found.sizes.disks},
        ),
    }
    return {name: MetadataValue.md(picture) for name, picture in drawn.items() if picture}


def _gib(size: float) -> float:
    return round(size / _GIB, 4)


def _mib(size: float) -> float:
    return round(size / 2**20, 1)


def _listed(lines: Sequence[str]) -> MetadataValue:
    return MetadataValue.md("\n".join(f"- {line}" for line in lines))
