"""The record tables (`students`, `attendance_records`, `grades`, …), one asset each: the work is `ingest.load`."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator

from dagster import AssetCheckResult, AssetExecutionContext, AssetsDefinition, MaterializeResult, ResourceParam

from edupulse_pipelines.orchestration import checks, delivery_checks, number_checks, reporting
from edupulse_pipelines.orchestration.partitions import asset_key, weekly_asset, weeks_of
from edupulse_pipelines.orchestration.resources import Database, Progress
from edupulse_pipelines.orchestration.retries import is_tried_again
from edupulse_pipelines.orchestration.steps import step
from edupulse_pipelines.schema.delivery import DELIVERED, STUDENT_NUMBER
from edupulse_pipelines.schema.tables import ACCOUNTS, ERASED_STUDENT, RECORD_TABLES, TABLES
from edupulse_pipelines.settings import Settings, TenantSettings

FIGURES = (*ACCOUNTS, ERASED_STUDENT, "waiting", "deleted")
"""What is told of each week: the account, how many of the quarantined only wait, and what was taken back."""


def record_assets(settings: Settings, tenant: TenantSettings) -> list[AssetsDefinition]:
    """One record asset per table that a district delivers."""
    return [_record_asset(settings, tenant, table) for table in RECORD_TABLES]


def _record_asset(settings: Settings, tenant: TenantSettings, table: str) -> AssetsDefinition:
    # Students, and schools, are merged before the tables whose rows name one.
    deps = [f"raw_{table}", *(["students"] if DELIVERED[table].record.about_students else [])]
    if table != "schools" and "school_id" in DELIVERED[table].natural_key:
        deps.append("schools")
        if DELIVERED[table].record.event_date is not None:
            deps.append("enrollments")  # they say where a student was on the day
    by_month = TABLES[table].partition_by_month is not None
    asset = asset_key(tenant, table)
    specs = [
        *checks.record_check_specs(asset, tenant.max_quarantined, by_month=by_month),
        *delivery_checks.delivery_check_specs(asset, tenant, table),
    ]
    dated = DELIVERED[table].record.event_date is not None

    numbered = DELIVERED[table].natural_key == (STUDENT_NUMBER,)
    if numbered:
        specs = [*specs, number_checks.number_check_spec(asset)]

    @weekly_asset(tenant, table, deps=deps, check_specs=specs)
    def records(
        context: AssetExecutionContext, database: ResourceParam[Database], progress: ResourceParam[Progress]
    ) -> Iterator[AssetCheckResult | MaterializeResult]:
        weeks = weeks_of(context)
        try:
            with step(context, progress, database, tenant) as work:
                from edupulse_pipelines.ingest.load import load_records
                from edupulse_pipelines.ingest.padded_numbers import count_padded_numbers
                from edupulse_pipelines.ingest.sizes import unusual_sizes
                from edupulse_pipelines.storage import manifest, months
                from edupulse_pipelines.storage.counts import row_count, rows_before
                from edupulse_pipelines.storage.snapshots import snapshots

                report = load_records(
                    work,
                    settings.raw_dir,
                    tenant,
                    table,
                    weeks,
                    progress=progress.advanced,
                )
                with work.reading() as connection:
                    days = [delivery.delivered_on for delivery in report.deliveries]
                    on_record = manifest.accounts(connection, work, table, days)
                    stored = row_count(connection, work, table)
                    padded = count_padded_numbers(connection, work) if numbered else 0
                    too_old = rows_before(connection, work, table, tenant.no_event_before) if dated else 0
                    full = snapshots(connection, work, table)
                    unusual = unusual_sizes(manifest.rows_delivered(connection, work, table), days)
                    unclaimed = None
                    if by_month and months.is_partitioned(connection):
                        unclaimed = months.default_months(connection, table, own=True)
                progress.finished(table, report)
        except Exception as error:
            if not is_tried_again(context, error):
                yield from checks.not_computed(
                    (spec.name for spec in specs), f"the load stopped ({type(error).__name__})"
                )
            raise
        by_week: dict[dt.date, Counter[str]] = {week: Counter(dict.fromkeys(FIGURES, 0)) for week in weeks}
        for delivery in report.deliveries:
            # A delivery of an earlier week may have been left over by a run that stopped.
            by_week.setdefault(delivery.week, Counter()).update({name: getattr(delivery, name) for name in FIGURES})
        left_out: Counter[str] = Counter()
        unmapped: Counter[tuple[str, str]] = Counter()
        blank = 0
        for delivery in report.deliveries:
            left_out.update(delivery.left_out)
            blank += delivery.blank
            unmapped.update({(code["column"], code["code"]): code["rows"] for code in delivery.unmapped_codes})
        told: dict[str, list[dict[str, str | int]]] = {
            "left_out": [{"reason": reason, "entries": count} for reason, count in sorted(left_out.items())],
            "unmapped_codes": [
                {"column": column, "code": code, "rows": count} for (column, code), count in sorted(unmapped.items())
            ],
        }
        reporting.write_week_metadata(context, by_week, rows="read")
        yield reporting.materialized(
            stored,
            check_results=[
                checks.accounting_identity(report.deliveries, on_record, report.replayed),
                checks.expectations(report, tenant.max_quarantined),
                *([checks.default_partition_empty(unclaimed)] if by_month else []),
                *([number_checks.numbers_without_blanks(padded)] if numbered else []),
                delivery_checks.removals_believed(full, tenant.max_taken_back),
                delivery_checks.usual_size(unusual, len(report.deliveries)),
                delivery_checks.waiting_rows(report.deliveries, tenant.max_waiting),
                *([delivery_checks.no_event_too_old(too_old, tenant.no_event_before)] if dated else []),
            ],
            replayed=report.replayed,
            blank=blank,
            **reporting.totals(by_week, FIGURES),
            **{name: checks.table(rows) for name, rows in told.items() if rows},
        )

    return records
