"""`weekly_activity` and `student_features`: the work is in the `features` room."""

from functools import partial

from dagster import AssetExecutionContext, AssetsDefinition, Failure, MaterializeResult, ResourceParam

from edupulse_pipelines.features.definitions import LOOKBACK_WEEKS
from edupulse_pipelines.orchestration import charts, checks, reporting
from edupulse_pipelines.orchestration.partitions import asset_key, weekly_asset, weeks_of
from edupulse_pipelines.orchestration.resources import Database, Progress
from edupulse_pipelines.orchestration.steps import step
from edupulse_pipelines.schema.delivery import TABLE_OF_DOMAIN
from edupulse_pipelines.settings import TenantSettings

ACTIVITY_SOURCES = (*TABLE_OF_DOMAIN.values(), "students", "enrollments")


def feature_assets(tenant: TenantSettings) -> list[AssetsDefinition]:
    """The weekly roll-up and the feature vectors of `tenant`."""
    return [_weekly_activity(tenant), _student_features(tenant)]


def _weekly_activity(tenant: TenantSettings) -> AssetsDefinition:
    @weekly_asset(tenant, "weekly_activity", deps=ACTIVITY_SOURCES)
    def weekly_activity(
        context: AssetExecutionContext, database: ResourceParam[Database], progress: ResourceParam[Progress]
    ) -> MaterializeResult:
        weeks = weeks_of(context)
        with step(context, progress, database, tenant) as work:
            from edupulse_pipelines.features.by_week import activity_by_week
            from edupulse_pipelines.features.weekly_activity import update_weekly_activity
            from edupulse_pipelines.ingest.archive import refused_files
            from edupulse_pipelines.ingest.doubt import attendance_in_doubt
            from edupulse_pipelines.storage.counts import row_count

            refused = refused_files(work, weeks)
            if refused:
                raise Failure(
                    "Stopped, because a delivery of these weeks has a file that could not be read; land a corrected "
                    "file of the same name and run the week again.\n" + "\n".join(refused),
                    allow_retries=False,
                )
            report = update_weekly_activity(
                work,
                tenant.first_week,
                tenant.attendance,
                tenant.calendar,
                partial(attendance_in_doubt, work, tenant),
                tenant.absent_day,
            )
            progress.finished("weekly_activity", report)
            with work.reading() as connection:
                shown = activity_by_week(connection, work, reporting.plotted(weeks))
                stored = row_count(connection, work, "weekly_activity")
        attended = charts.lines(
            "Attendance rate by week",
            list(shown),
            {"attendance": [row["attendance_rate"] for row in shown.values()]},
            share=True,
        )
        any_rate = any(row["attendance_rate"] is not None for row in shown.values())
        students = charts.lines(
            "Students with activity by week",
            list(shown),
            {"students": [row["student_weeks"] for row in shown.values()]},
        )
        plots = {"attendance_by_week": attended if any_rate else None, "students_by_week": students}
        reporting.write_week_metadata(context, shown, rows="student_weeks", plots=plots)
        return reporting.materialized(
            stored,
            student_weeks_recomputed=report.recomputed,
            student_weeks_inserted=report.inserted,
            student_weeks_updated=report.updated,
            student_weeks_unchanged=report.unchanged,
            student_weeks_deleted=report.deleted,
            attendance_rates=reporting.unknown_rates(
                tenant.name, report.weeks_without_calendar, report.weeks_in_doubt, report.weeks_by_period
            ),
        )

    return weekly_activity


def _student_features(tenant: TenantSettings) -> AssetsDefinition:
    deps = ("weekly_activity", "students", "enrollments")
    # The last eight weeks in which there was school: across holidays it reaches back further than Dagster is told.
    weeks_read = {"weekly_activity": LOOKBACK_WEEKS}

    specs = checks.feature_check_specs(asset_key(tenant, "student_features"))

    @weekly_asset(tenant, "student_features", deps=deps, weeks_read=weeks_read, check_specs=specs)
    def student_features(
        context: AssetExecutionContext, database: ResourceParam[Database], progress: ResourceParam[Progress]
    ) -> MaterializeResult:
        weeks = weeks_of(context)
        with step(context, progress, database, tenant) as work:
            from edupulse_pipelines.features.by_week import KNOWN_BY, features_by_week
            from edupulse_pipelines.features.enrolment import count_enrolments
            from edupulse_pipelines.features.store import update_student_features
            from edupulse_pipelines.storage.counts import row_count

            report = update_student_features(work, tenant.first_week)
            progress.finished("student_features", report)
            with work.reading() as connection:
                shown = features_by_week(connection, work, reporting.plotted(weeks))
                stored = row_count(connection, work, "student_features")
                enrolled = count_enrolments(connection, work)
        known = {domain: [row[f"{domain}_known"] for row in shown.values()] for domain in KNOWN_BY}
        plot = charts.lines("Share of students with the domain known, by week", list(shown), known, share=True)
        reporting.write_week_metadata(context, shown, rows="students", plots={"known_by_week": plot})
        return reporting.materialized(
            stored,
            vectors_computed=report.computed,
            vectors_inserted=report.inserted,
            vectors_updated=report.updated,
            vectors_unchanged=report.unchanged,
            vectors_deleted=report.deleted,
            check_results=[checks.students_enrolled(enrolled.assumed, enrolled.never)],
        )

    return student_features
