"""The summary of a run, as `--json` prints it and the command line draws it.

What the run did comes from `recorded_runs`, what there is now from the rooms. Nothing here depends on which process ran
the steps.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from edupulse_pipelines.orchestration.checks import (
    EVERY_COHORT_STUDENT_SCORED,
    EXPECTATIONS,
    FILES_READABLE,
    STUDENTS_ENROLLED,
    WEEKS_BY_SCORER,
)
from edupulse_pipelines.orchestration.recorded_runs import RecordedRun, RunOutcome
from edupulse_pipelines.schema.reasons import REASONS
from edupulse_pipelines.schema.tables import ACCOUNTS, ERASED_STUDENT, RECORD_TABLES
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines.weeks import last_closed_week

ASSUMED_ENROLLMENT = "assumed_enrollment"
"""Name of the warning that counts the students of whom nobody has said since when they are enrolled."""

FILES_NAMED = 5
"""So many files are named in a warning."""


def summarise(database: Database, tenant: TenantSettings, outcome: RunOutcome) -> dict[str, Any]:
    """The summary of a run as `--json` prints it: the contract's keys, and some more behind them."""
    from edupulse_pipelines.governance.audit_verify import head
    from edupulse_pipelines.risk.book.shown import shown_model
    from edupulse_pipelines.risk.telling.scored_weeks import latest_predictions
    from edupulse_pipelines.storage.counts import row_count

    recorded = outcome.recorded
    tables, replayed, blank = {}, {}, {}
    reasons: dict[str, dict[str, int]] = {}
    unmapped: dict[str, dict[str, dict[str, int]]] = {}
    for table in RECORD_TABLES:
        asset = recorded.asset(table)
        tables[table] = {name: asset.metadata.get(f"run_{name}", 0) for name in (*ACCOUNTS, "waiting")}
        if erased := asset.metadata.get(f"run_{ERASED_STUDENT}"):
            tables[table][ERASED_STUDENT] = erased
        replayed[table] = asset.metadata.get("replayed", 0)
        blank[table] = asset.metadata.get("blank", 0)
        if counted := asset.checks.get(EXPECTATIONS, {}).get("reasons"):
            ordered = sorted(counted, key=lambda row: (-row["rows"], row["reason"]))
            reasons[table] = {row["reason"]: row["rows"] for row in ordered}
        if codes := asset.metadata.get("unmapped_codes"):
            unmapped[table] = _by_column(codes)
    closed = last_closed_week(tenant.timezone)
    with database.work(tenant.name) as work, work.reading() as connection:
        students = row_count(connection, work, "students")
        audit_head = head(connection)
        model = shown_model(connection, work)
        predictions = latest_predictions(connection, work, tenant.cohort.minimum_weeks_of_data, closed)
    week = predictions.pop("week")
    lists = recorded.asset("predictions").checks.get(EVERY_COHORT_STUDENT_SCORED, {}).get(WEEKS_BY_SCORER, [])
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
        "blank": blank,
        "quarantine_reasons": reasons,
        "unmapped_codes": unmapped,
        "success": outcome.success,
        "errors": list(outcome.errors),
        "warnings": list(outcome.warnings),
        "warned_checks": [asdict(check) for check in recorded.warned_checks],
        "run_id": outcome.run_id,
        "audit_head": str(audit_head) if audit_head else None,
        "lists": {row["made_by"]: row["weeks"] for row in lists},
    }


def _by_column(codes: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """By column the codes that the profile does not map, the commonest first."""
    by_column: dict[str, dict[str, int]] = {}
    for row in sorted(codes, key=lambda row: (row["column"], -row["rows"], row["code"])):
        by_column.setdefault(row["column"], {})[row["code"]] = row["rows"]
    return by_column


def run_warnings(recorded: RecordedRun, tenant: TenantSettings, last_week: dt.date) -> list[str]:
    """What a person should hear of a run whose last week is `last_week` (a Monday), beside its failed checks."""
    return [
        *_unknown_columns(recorded),
        *_about_records(recorded),
        *_assumed_enrolments(recorded),
        *_unknown_rates(recorded),
        *_stale_scores(recorded, tenant, last_week),
    ]


def _unknown_columns(recorded: RecordedRun) -> list[str]:
    """Columns that no table knows: kept in the archive and not loaded. A misspelt optional column would be one."""
    files: Counter[tuple[str, str]] = Counter()
    for table in RECORD_TABLES:
        unknown = recorded.asset(f"raw_{table}").checks.get(FILES_READABLE, {}).get("unknown_columns", {})
        files.update((table, column) for columns in unknown.values() for column in columns)
    return [
        f"{table}: {column} is not known and was not loaded ({count} {'file' if count == 1 else 'files'})"
        for (table, column), count in files.items()
    ]


def _about_records(recorded: RecordedRun) -> list[str]:
    """What a load noticed beside its accounts: warnings, entries of the source that are no records, deletions."""
    told = []
    for table in RECORD_TABLES:
        if table not in recorded.assets:
            continue
        asset = recorded.asset(table)
        for row in asset.checks.get(EXPECTATIONS, {}).get("warnings", []):
            reason = REASONS[row["warning"]]
            told.append(f"{table}: {row['warning']} ({row['rows']:,}): {reason.meaning} {reason.fix}")
        if notes := recorded.asset(f"raw_{table}").metadata.get("notes"):
            listed = ", ".join(f"{row['note']} {row['rows']:,}" for row in notes)
            told.append(f"{table}: noted while the source was read: {listed}")
        if along := recorded.asset(f"raw_{table}").metadata.get("taken_along"):
            named = [row["file"] for row in along]
            more = f" and {len(named) - FILES_NAMED:,} more" if len(named) > FILES_NAMED else ""
            told.append(f"{table}: taken along from earlier weeks: {', '.join(named[:FILES_NAMED])}{more}")
        if left_out := asset.metadata.get("left_out"):
            listed = ", ".join(f"{row['reason']} {row['entries']:,}" for row in left_out)
            told.append(f"{table}: entries of the source that are no records: {listed}")
        if deleted := asset.metadata.get("run_deleted"):
            told.append(f"{table}: {deleted:,} records taken back (marked in `deleted_on`, not removed)")
    return told


def _assumed_enrolments(recorded: RecordedRun) -> list[str]:
    """Students of whom nobody has said since when they are enrolled, when everything of the run is loaded."""
    count = recorded.asset("student_features").checks.get(STUDENTS_ENROLLED, {}).get("students_with_assumed_entry", 0)
    reason = REASONS[ASSUMED_ENROLLMENT]
    return [f"student_features: {reason.code} ({count:,}): {reason.meaning} {reason.fix}"] if count else []


def _unknown_rates(recorded: RecordedRun) -> list[str]:
    """Absences without a calendar are kept, but they are a share of nothing."""
    unknown = recorded.asset("weekly_activity").metadata.get("attendance_rates")
    return [unknown] if unknown else []


def _stale_scores(recorded: RecordedRun, tenant: TenantSettings, last_week: dt.date) -> list[str]:
    """A run of an earlier week may change the vectors of later ones; it scores its own weeks only."""
    updated = recorded.asset("student_features").metadata.get("vectors_updated", 0)
    if not updated or last_week >= last_closed_week(tenant.timezone):
        return []
    return [
        f"{updated} vectors changed, possibly of weeks after {last_week} too, whose predictions still show the earlier "
        "state. `edupulse run --all` scores them again."
    ]
