"""Running a district's weekly job in this process, and what came of it.

This is what `edupulse run` and `edupulse demo` do: the same job, assets and Dagster home as in the UI, without a
server. The summary is the contract of `--json`; the command line draws the same one.
"""

from __future__ import annotations

import datetime as dt
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dagster import AssetCheckSeverity, DagsterEvent, DagsterInstance, DagsterRunStatus, RunsFilter

from edupulse_pipelines.errors import EduPulseError
from edupulse_pipelines.orchestration.assembly import build_defs
from edupulse_pipelines.orchestration.jobs import op_name, weekly_job_name
from edupulse_pipelines.orchestration.partitions import week_tags
from edupulse_pipelines.orchestration.progress import StepProgress
from edupulse_pipelines.orchestration.reporting import unknown_rates
from edupulse_pipelines.orchestration.resources import Database, database_of
from edupulse_pipelines.schema.reasons import REASONS
from edupulse_pipelines.schema.tables import RECORD_TABLES
from edupulse_pipelines.settings import Settings, TenantSettings
from edupulse_pipelines.weeks import last_closed_week

ACCOUNTS = ("read", "inserted", "updated", "unchanged", "quarantined")
_PROCESS_TAG, _HOST_TAG = "edupulse/process", "edupulse/host"

INSTANCE_FILE = """\
# The Dagster home of this EduPulse home: the runs and materializations that the UI shows. Yours to edit.
telemetry:
  enabled: false
nux:
  enabled: false # no sign-up window in the UI
python_logs:
  python_log_level: INFO
concurrency:
  pools:
    # One run of a district at a time (its assets share a pool); districts run side by side.
    granularity: run
    default_limit: 1
"""


@dataclass(frozen=True)
class RunOutcome:
    """What one run of the weekly job did."""

    weeks: list[dt.date]
    """The weeks it was for that had a delivery."""
    success: bool = True
    run_id: str | None = None
    reports: dict[str, Any] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0


@contextmanager
def dagster_instance(settings: Settings) -> Iterator[DagsterInstance]:
    """The Dagster instance of the home, made on first use, telemetry off. EduPulseError when it cannot open."""
    prepare_dagster_home(settings.dagster_home)
    try:
        opened = DagsterInstance.from_config(str(settings.dagster_home))
    except Exception as error:
        raise EduPulseError(
            f"Dagster's own storage, as {settings.dagster_home / 'dagster.yaml'} describes it, cannot be opened: "
            f"{str(error).strip().splitlines()[0]}"
        ) from error
    with opened as instance:
        yield instance


def prepare_dagster_home(home: Path) -> None:
    """Make the folder with its `dagster.yaml`, unless there is one already."""
    home.mkdir(parents=True, exist_ok=True)
    instance_file = home / "dagster.yaml"
    if not instance_file.exists():
        instance_file.write_text(INSTANCE_FILE, encoding="utf-8")


def run_weekly_job(
    settings: Settings,
    tenant: TenantSettings,
    weeks: Sequence[dt.date],
    with_delivery: Sequence[dt.date],
    *,
    rescore: bool = False,
    database: Database | None = None,
    progress: StepProgress | None = None,
) -> RunOutcome:
    """Run the weekly job of `tenant` once, over the weeks (Mondays) from the first to the last of `weeks`.

    `database` takes the place of the one that the settings name.
    Failures of the work are in the outcome, in words; only what prevents the run from starting is raised.
    """
    started = time.monotonic()
    heard = progress or StepProgress()
    alone = settings.model_copy(update={"tenants": {tenant.name: tenant}})
    database = database or database_of(settings)
    job = build_defs(alone, database=database, progress=heard).resolve_job_def(weekly_job_name(tenant))
    run_config: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    if rescore:
        run_config["ops"] = {op_name(tenant, "predictions"): {"config": {"rescore": True}}}
    tags = {_PROCESS_TAG: str(os.getpid()), _HOST_TAG: socket.gethostname()}
    single = min(weeks).isoformat() if min(weeks) == max(weeks) else None
    with dagster_instance(settings) as instance:
        _close_abandoned_runs(instance)
        result = job.execute_in_process(
            instance=instance,
            run_config=run_config,
            partition_key=single,
            tags=tags if single else {**tags, **week_tags(weeks)},
            raise_on_error=False,
        )
        errors, warnings = _messages(result.all_events)
    warnings += _unknown_columns(heard.reports) + _about_records(heard.reports)
    warnings += _unknown_rates(tenant, heard.reports)
    warnings += _stale_scores(tenant, weeks, heard.reports)
    warnings += _left_behind(database, tenant)
    if not result.success and not errors:
        errors = ["The run failed before its first step; see it in the Dagster UI (`edupulse dev`)."]
    return RunOutcome(
        weeks=[week for week in with_delivery if min(weeks) <= week <= max(weeks)],
        success=result.success and not errors,
        run_id=result.run_id,
        reports=heard.reports,
        errors=errors,
        warnings=warnings,
        seconds=time.monotonic() - started,
    )


def _unknown_columns(reports: dict[str, Any]) -> list[str]:
    """Columns that no table knows: kept in the archive and not loaded. A misspelt optional column would be one."""
    unknown: dict[tuple[str, str], int] = {}
    for table in RECORD_TABLES:
        report = reports.get(f"raw_{table}")
        for file in report.files if report is not None else []:
            for column in file.unknown_columns:
                unknown[table, column] = unknown.get((table, column), 0) + 1
    return [
        f"{table}: column {column!r} is not known and was not loaded ({count} {'file' if count == 1 else 'files'})"
        for (table, column), count in unknown.items()
    ]


def _about_records(reports: dict[str, Any]) -> list[str]:
    """What a load noticed beside its accounts: warnings, entries of the source that are no records, deletions."""
    said = []
    for table in RECORD_TABLES:
        report = reports.get(table)
        if report is None or not hasattr(report, "deliveries"):
            continue
        for name, count in sorted(report.warnings.items()):
            said.append(f"{table}: {name} ({count:,}): {REASONS[name].meaning} {REASONS[name].fix}")
        raw = reports.get(f"raw_{table}")
        notes: Counter[str] = Counter()
        for file in raw.files if raw is not None else []:
            notes.update(file.notes)
        if notes:
            listed = ", ".join(f"{name} {count:,}" for name, count in sorted(notes.items()))
            said.append(f"{table}: noted while the source was read: {listed}")
        left_out: Counter[str] = Counter()
        for delivery in report.deliveries:
            left_out.update(delivery.left_out)
        if left_out:
            listed = ", ".join(f"{reason} {count:,}" for reason, count in sorted(left_out.items()))
            said.append(f"{table}: entries of the source that are no records: {listed}")
        deleted = sum(delivery.deleted for delivery in report.deliveries)
        if deleted:
            said.append(f"{table}: {deleted:,} records taken back (marked in `deleted_on`, not removed)")
    return said


def _unknown_rates(tenant: TenantSettings, reports: dict[str, Any]) -> list[str]:
    """Absences without a calendar are kept, but they are a share of nothing."""
    report = reports.get("weekly_activity")
    said = unknown_rates(tenant.name, report.weeks_without_calendar) if report is not None else None
    return [said] if said else []


def _stale_scores(tenant: TenantSettings, weeks: Sequence[dt.date], reports: dict[str, Any]) -> list[str]:
    """A run of an earlier week may change the vectors of later ones; it scores its own weeks only."""
    report = reports.get("student_features")
    if report is None or not report.updated or max(weeks) >= last_closed_week(tenant.timezone):
        return []
    return [
        f"{report.updated} vectors changed, possibly of weeks after {max(weeks)} too, whose predictions still show the "
        "earlier state. `edupulse run --all` scores them again."
    ]


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


def summarise(database: Database, tenant: TenantSettings, outcome: RunOutcome) -> dict[str, Any]:
    """The summary of a run as `--json` prints it: the contract's keys, and some more behind them."""
    from edupulse_pipelines.orchestration import summaries

    tables, reasons, replayed, unmapped = {}, {}, {}, {}
    for table in RECORD_TABLES:
        report = outcome.reports.get(table)
        deliveries = report.deliveries if report is not None else []
        tables[table] = {name: sum(getattr(delivery, name) for delivery in deliveries) for name in ACCOUNTS}
        replayed[table] = report.replayed if report is not None else 0
        counted: dict[str, int] = {}
        for delivery in deliveries:
            for reason, count in delivery.reasons.items():
                counted[reason] = counted.get(reason, 0) + count
        if counted:
            reasons[table] = dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))
        if codes := _unmapped_codes(deliveries):
            unmapped[table] = codes
    closed = last_closed_week(tenant.timezone)
    with database.work(tenant.name) as work, work.reading() as connection:
        students = summaries.row_count(connection, tenant.name, "students")
        model = summaries.shown_model(connection, tenant.name)
        predictions = summaries.latest_predictions(connection, tenant.name, tenant.cohort.minimum_weeks_of_data, closed)
    week = predictions.pop("week")
    return {
        "tenant": tenant.name,
        "weeks": len(outcome.weeks),
        "tables": tables,
        "students": students,
        "model": model,
        "predictions": {**predictions, "week": week.isoformat() if week else None},
        "seconds": round(outcome.seconds, 2),
        "weeks_list": [week.isoformat() for week in outcome.weeks],
        "replayed": replayed,
        "quarantine_reasons": reasons,
        "unmapped_codes": unmapped,
        "success": outcome.success,
        "errors": outcome.errors,
        "warnings": outcome.warnings,
        "run_id": outcome.run_id,
    }


def _unmapped_codes(deliveries: Sequence[Any]) -> dict[str, dict[str, int]]:
    """By column the codes of these deliveries that the profile does not map, the commonest first."""
    counted: Counter[tuple[str, str]] = Counter()
    for delivery in deliveries:
        for found in delivery.unmapped_codes:
            counted[found["column"], found["code"]] += found["rows"]
    by_column: dict[str, dict[str, int]] = {}
    for (column, code), rows in sorted(counted.items(), key=lambda item: (item[0][0], -item[1], item[0][1])):
        by_column.setdefault(column, {})[code] = rows
    return by_column


def _messages(events: Sequence[DagsterEvent]) -> tuple[list[str], list[str]]:
    """Errors and warnings of a run in words: failed steps and checks, each cause once."""
    errors: list[str] = []
    warnings: list[str] = []
    failed_checks: set[str] = set()
    for event in events:
        if event.event_type_value == "ASSET_CHECK_EVALUATION":
            evaluation = event.asset_check_evaluation_data
            if evaluation.passed:
                continue
            asset = evaluation.asset_key.path[-1]
            said = (
                f"{asset}: {evaluation.description}" if evaluation.description else f"{asset}: {evaluation.check_name}"
            )
            if evaluation.severity == AssetCheckSeverity.WARN:
                warnings.append(said)
                continue
            failed_checks.add(str(event.step_key))
            if not (evaluation.description or "").startswith("Not computed"):
                errors.append(f"{said} (check {evaluation.check_name})")
        elif event.event_type_value == "STEP_FAILURE":
            failure = event.step_failure_data
            asset = str(event.step_key).rpartition("__")[2]
            if failure.user_failure_data is not None and failure.user_failure_data.description:
                errors.append(f"{asset}: {failure.user_failure_data.description}")
            elif failure.error is not None and failure.error.cls_name != "DagsterAssetCheckFailedError":
                cause = failure.error
                while cause.cause is not None:
                    cause = cause.cause
                errors.append(f"{asset}: {cause.message.strip().splitlines()[0]}")
            elif str(event.step_key) not in failed_checks:
                errors.append(f"{asset}: the step failed")
    return errors, warnings


def _close_abandoned_runs(instance: DagsterInstance) -> None:
    """Runs of this machine whose process has died are failures; as running they would hold their district's pool."""
    here = RunsFilter(statuses=[DagsterRunStatus.STARTED], tags={_HOST_TAG: socket.gethostname()})
    for run in instance.get_runs(here):
        process = int(run.tags.get(_PROCESS_TAG, "0"))
        if process and process != os.getpid() and not _alive(process):
            instance.report_run_failed(run, "The process of this run ended without finishing it.")


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
