"""`raw_<table>`: the landed files of the week, archived as they came. The work is `ingest.archive`."""

# No `from __future__ import annotations` in the asset modules: Dagster evaluates the annotations of the decorated
# functions while it builds them, and a config class named by a string is not found.

import datetime as dt
from collections import Counter

from dagster import AssetExecutionContext, AssetsDefinition, MaterializeResult, ResourceParam

from edupulse_pipelines.orchestration import checks, landing_checks, reporting
from edupulse_pipelines.orchestration.partitions import asset_key, weekly_asset, weeks_of
from edupulse_pipelines.orchestration.resources import Database, Progress
from edupulse_pipelines.orchestration.steps import step
from edupulse_pipelines.schema.tables import ARCHIVED, KNOWN, RECORD_TABLES, REFUSED
from edupulse_pipelines.settings import Settings, TenantSettings


def raw_assets(settings: Settings, tenant: TenantSettings) -> list[AssetsDefinition]:
    """One raw asset per table that a district delivers."""
    return [_raw_asset(settings, tenant, table) for table in RECORD_TABLES]


def _raw_asset(settings: Settings, tenant: TenantSettings, table: str) -> AssetsDefinition:
    name = f"raw_{table}"
    asset = asset_key(tenant, name)
    # What no table is known of, the first table's asset tells.
    is_first = table == RECORD_TABLES[0]
    whole_landing = [landing_checks.landing_check_spec(asset)] if is_first else []

    @weekly_asset(tenant, name, check_specs=[*checks.raw_check_specs(asset), *whole_landing])
    def raw(
        context: AssetExecutionContext, database: ResourceParam[Database], progress: ResourceParam[Progress]
    ) -> MaterializeResult:
        weeks = weeks_of(context)
        with step(context, progress, database, tenant) as work:
            from edupulse_pipelines.ingest.archive import archive_files
            from edupulse_pipelines.ingest.left_alone import left_alone

            report = archive_files(
                work,
                settings.raw_dir,
                tenant,
                table,
                weeks,
                progress=lambda done, total: progress.advanced(done >> 20, total >> 20, "MiB"),
            )
            progress.finished(name, report)
            left = left_alone(tenant, weeks) if is_first else None
        by_week: dict[dt.date, Counter[str]] = {
            week: Counter(dict.fromkeys(("files", "rows", "bytes", ARCHIVED, KNOWN, REFUSED), 0)) for week in weeks
        }
        for file in report.files:
            # A file of an earlier week that has changed is taken along.
            of_week = by_week.setdefault(file.week, Counter())
            of_week.update({"files": 1, "rows": file.rows or 0, "bytes": file.size_bytes, file.status: 1})
        notes: Counter[str] = Counter()
        for file in report.files:
            notes.update(file.notes)
        noted: list[dict[str, str | int]] = [{"note": name, "rows": rows} for name, rows in sorted(notes.items())]
        along: list[dict[str, str | int]] = [
            {"file": f"{file.delivered_on}/{file.told_name}"} for file in report.files if file.week not in set(weeks)
        ]
        reporting.write_week_metadata(context, by_week, rows="rows")
        return reporting.materialized(
            check_results=[
                checks.files_readable(report.files),
                *([] if left is None else [landing_checks.everything_read(left)]),
            ],
            notes=checks.table(noted) if noted else None,
            taken_along=checks.table(along) if along else None,
            **reporting.totals(by_week, ("files", "rows", ARCHIVED, KNOWN, REFUSED)),
        )

    return raw
