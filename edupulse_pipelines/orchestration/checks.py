"""The asset checks: what each asks, and its verdict from the counts that a step reported.

Verdicts are pure functions of counts, so that they can be tested without a run. A blocking check that emits nothing
lets Dagster go on downstream; `not_computed` is the verdict of a step that failed before it could count. One run over
many weeks gives one evaluation: it reports the worst delivery and carries all of them as a table.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    MetadataValue,
    TableColumn,
    TableRecord,
    TableSchema,
)

from edupulse_pipelines.schema.reasons import only_waits
from edupulse_pipelines.schema.tables import ACCOUNTS, ERASED_STUDENT, REFUSED

if TYPE_CHECKING:
    from edupulse_pipelines.ingest.archive import ArchivedFile
    from edupulse_pipelines.ingest.load import DeliveryCounts, LoadReport

FILES_READABLE = "files_readable"
ACCOUNTING_IDENTITY = "accounting_identity"
EXPECTATIONS = "expectations"
EVERY_COHORT_STUDENT_SCORED = "every_cohort_student_scored"
WEEKS_BY_SCORER = "weeks_by_scorer"
"""In its metadata: how many weeks' lists were made by what (`made_by`, in words)."""
REGISTRY_MATCHES_TABLE = "registry_matches_table"
DEFAULT_PARTITION_EMPTY = "default_partition_empty"
STUDENTS_ENROLLED = "students_enrolled"
COMPUTED = "computed"
"""In a check's metadata: false where the step stopped before there was anything to judge. Absent elsewhere."""
_MONTHS_SHOWN = 50


def raw_check_specs(asset: AssetKey) -> list[AssetCheckSpec]:
    """The checks of a raw asset."""
    return [
        AssetCheckSpec(
            FILES_READABLE,
            asset=asset,
            description=(
                "Every landed file of the week could be read: text in its encoding, a header, the required columns. A "
                "refused file contributes no row; weekly_activity stops until a readable one is landed."
            ),
        )
    ]


def record_check_specs(asset: AssetKey, max_quarantined: float, *, by_month: bool = False) -> list[AssetCheckSpec]:
    """The checks of a record asset; the first two stop the assets downstream when they fail as errors.

    by_month: whether the table is partitioned (where the database does that).
    """
    alerts = [
        AssetCheckSpec(
            DEFAULT_PARTITION_EMPTY,
            asset=asset,
            description=(
                "No row of the district lies in the default partition, where rows go whose month has none of its own: "
                "days of long before its first week, mostly typed wrong. A warning; nothing stops. Passes on SQLite, "
                "which has no partitions."
            ),
        )
    ]
    return [
        AssetCheckSpec(
            ACCOUNTING_IDENTITY,
            asset=asset,
            blocking=True,
            description=(
                "For every delivery, rows read = inserted + updated + unchanged + quarantined, and the quarantine "
                "holds exactly the rows that were counted into it. No row is lost, none is counted twice."
            ),
        ),
        AssetCheckSpec(
            EXPECTATIONS,
            asset=asset,
            blocking=True,
            description=(
                "The Great Expectations suite derived from the table's declaration, and the rules between rows. A "
                f"warning as soon as one row is bad; an error above {max_quarantined:.0%} of a delivery's rows "
                "(`max_quarantined`): the good rows stay merged, and what is downstream waits. Rows that only wait for "
                "something are not bad."
            ),
        ),
        *(alerts if by_month else []),
    ]


def feature_check_specs(asset: AssetKey) -> list[AssetCheckSpec]:
    """The checks of the feature vectors."""
    return [
        AssetCheckSpec(
            STUDENTS_ENROLLED,
            asset=asset,
            description=(
                "Every student with records has an enrolment; without one nothing is computed. A warning; nothing "
                "stops. Its metadata say for how many students the beginning is assumed, because no delivery says it."
            ),
        )
    ]


def students_enrolled(assumed: int, never: int) -> AssetCheckResult:
    """Passed when no student with records is without an enrolment; `assumed`: students whose entry nobody has said."""
    return AssetCheckResult(
        check_name=STUDENTS_ENROLLED,
        passed=never == 0,
        severity=AssetCheckSeverity.WARN,
        metadata={"students_with_assumed_entry": assumed, "students_without_enrolment": never},
        description=(
            f"{counted(never, 'student')} with records and without an enrolment: send it, or correct its dates"
            if never
            else "Every student with records has an enrolment"
        ),
    )


def risk_model_check_specs(asset: AssetKey) -> list[AssetCheckSpec]:
    """The checks of the model."""
    return [
        AssetCheckSpec(
            REGISTRY_MATCHES_TABLE,
            asset=asset,
            description=(
                "model_metadata and the MLflow registry tell the same story: the same versions, and the `champion` "
                "alias on the version that the table calls active."
            ),
        )
    ]


def prediction_check_specs(asset: AssetKey) -> list[AssetCheckSpec]:
    """The checks of the predictions."""
    return [
        AssetCheckSpec(
            EVERY_COHORT_STUDENT_SCORED,
            asset=asset,
            description=(
                "Every student of the week's cohort (enrolled, with enough school weeks of data) has a score, given by "
                "the best that may: the champion, else a transferred model, else the rule; which one it was is named. "
                "Fails too where a model that should have scored could not be used and another one did."
            ),
        )
    ]


def not_computed(names: Iterable[str], reason: str) -> list[AssetCheckResult]:
    """A failed result for each check of a step that stopped before it could count; its metadata says so."""
    return [
        AssetCheckResult(
            check_name=name,
            passed=False,
            description=f"Not computed: {reason}",
            metadata={COMPUTED: False},
            severity=AssetCheckSeverity.ERROR,
        )
        for name in names
    ]


def files_readable(files: Sequence[ArchivedFile]) -> AssetCheckResult:
    """Passed when no file was refused; otherwise names each refused file and why."""
    refused = [file for file in files if file.status == REFUSED]
    metadata: dict[str, Any] = {"files": len(files), "refused": len(refused)}
    unknown = {f"{file.delivered_on}/{file.told_name}": list(file.told_columns) for file in files if file.told_columns}
    if unknown:
        metadata["unknown_columns"] = MetadataValue.json(unknown)
    if not refused:
        return AssetCheckResult(
            check_name=FILES_READABLE,
            passed=True,
            metadata=metadata,
            description=f"{counted(len(files), 'file')}, all readable" if files else "No file was delivered",
        )
    metadata["refused_files"] = table(
        [
            {
                "delivery": str(file.delivered_on),
                "file": file.told_name,
                "reason": file.reason,
                "detail": file.detail or "",
            }
            for file in refused
        ]
    )
    first = refused[0]
    return AssetCheckResult(
        check_name=FILES_READABLE,
        passed=False,
        metadata=metadata,
        description=(
            f"{len(refused)} refused, first {first.delivered_on}/{first.told_name}: {first.detail or first.reason}"
        ),
    )


def accounting_identity(
    deliveries: Sequence[DeliveryCounts], on_record: Mapping[dt.date, Mapping[str, int]], replayed: int = 0
) -> AssetCheckResult:
    """Passed when every delivery's rows add up, in this run's count and in the database, and the quarantine agrees.

    `on_record`: by delivery date, the manifest's account after the run, with `in_quarantine`, the rows found there.
    Rows that were replayed have moved from quarantined to another account of the manifest since they were counted.
    """
    rows: list[dict[str, Any]] = []
    wrong = 0
    any_erased = any(delivery.erased_student for delivery in deliveries)
    for delivery in deliveries:
        record = on_record.get(delivery.delivered_on, {})
        quarantined, in_quarantine = record.get("quarantined", 0), record.get("in_quarantine", 0)
        accounted = sum(record.get(name, 0) for name in (*ACCOUNTS[1:], ERASED_STUDENT))
        agrees = (
            delivery.read == sum(getattr(delivery, name) for name in (*ACCOUNTS[1:], ERASED_STUDENT))
            and delivery.read == record.get("read", 0) == accounted
            and quarantined == in_quarantine
            and delivery.quarantined - quarantined in range(replayed + 1)
        )
        wrong += not agrees
        rows.append(
            {
                "delivery": str(delivery.delivered_on),
                "read": delivery.read,
                "inserted": delivery.inserted,
                "updated": delivery.updated,
                "unchanged": delivery.unchanged,
                "quarantined": delivery.quarantined,
                **({ERASED_STUDENT: delivery.erased_student} if any_erased else {}),
                "still in quarantine": in_quarantine,
                "agrees": agrees,
            }
        )
    read = sum(delivery.read for delivery in deliveries)
    metadata: dict[str, Any] = {
        "deliveries": len(rows),
        "read": read,
        "disagreeing_deliveries": wrong,
        "replayed": replayed,
    }
    if rows:
        metadata["accounts"] = table(rows)
    return AssetCheckResult(
        check_name=ACCOUNTING_IDENTITY,
        passed=not wrong,
        metadata=metadata,
        description=(
            f"{counted(read, 'row')} of {counted(len(rows), 'delivery', 'deliveries')}, all accounted for"
            if not wrong
            else f"{wrong} of {counted(len(rows), 'delivery', 'deliveries')} not adding up"
        ),
    )


def expectations(report: LoadReport, max_quarantined: float) -> AssetCheckResult:
    """Passed without a bad row; a warning with some; an error where a delivery has too large a share.

    Rows that only wait are quarantined, and not bad.
    """
    deliveries = report.deliveries
    quarantined = sum(delivery.quarantined for delivery in deliveries)
    bad = sum(delivery.bad for delivery in deliveries)
    worst = max(deliveries, key=_share_of_bad, default=None)
    worst_share = _share_of_bad(worst) if worst is not None else 0.0
    reasons: Counter[str] = Counter()
    failed: Counter[tuple[str, str, str]] = Counter()
    for delivery in deliveries:
        reasons.update(delivery.reasons)
        for expectation in delivery.failed_expectations:
            failed[(expectation["expectation"], str(expectation["column"]), expectation["reason"])] += int(
                expectation["unexpected"]
            )
    metadata: dict[str, Any] = {
        "read": sum(delivery.read for delivery in deliveries),
        "quarantined": quarantined,
        "bad": bad,
        "waiting": quarantined - bad,
        "worst_share": round(worst_share, 6),
        "max_quarantined": max_quarantined,
    }
    if reasons:
        metadata["reasons"] = table([{"reason": reason, "rows": count} for reason, count in reasons.most_common()])
    if failed:
        metadata["failed_expectations"] = table(
            [
                {"expectation": expectation, "column": column, "reason": reason, "rows": count}
                for (expectation, column, reason), count in failed.most_common()
            ]
        )
    if quarantined and len(deliveries) > 1:
        metadata["by_delivery"] = table(
            [
                {
                    "delivery": str(delivery.delivered_on),
                    "read": delivery.read,
                    "quarantined": delivery.quarantined,
                    "waiting": delivery.waiting,
                    "share": round(_share_of_bad(delivery), 6),
                    "reasons": ", ".join(f"{reason} {count}" for reason, count in sorted(delivery.reasons.items())),
                }
                for delivery in deliveries
            ]
        )
    if report.warnings:
        metadata["warnings"] = table(
            [{"warning": name, "rows": count} for name, count in sorted(report.warnings.items())]
        )
    if not bad or worst is None:
        verdict = f"No bad row; {counted(quarantined, 'row')} waiting" if quarantined else "No row was quarantined"
        return AssetCheckResult(check_name=EXPECTATIONS, passed=True, metadata=metadata, description=verdict)
    of_bad = [(reason, count) for reason, count in reasons.most_common() if not only_waits([reason])]
    common = ", ".join(f"{reason} ({count:,})" for reason, count in of_bad[:3])
    blocking = worst_share > max_quarantined
    return AssetCheckResult(
        check_name=EXPECTATIONS,
        passed=False,
        severity=AssetCheckSeverity.ERROR if blocking else AssetCheckSeverity.WARN,
        metadata=metadata,
        description=(
            f"{worst_share:.1%} of the rows of delivery {worst.delivered_on} are bad, more than "
            f"{max_quarantined:.1%}: {common}"
            if blocking
            else f"{counted(bad, 'bad row')} quarantined (at most {worst_share:.1%} of a delivery): {common}"
        ),
    )


def default_partition_empty(months: Mapping[str, int] | None) -> AssetCheckResult:
    """Passed without a row in the default partition; `months`: rows there by month, None without partitions."""
    if not months:
        verdict = "No row in the default partition" if months is not None else "No partitions on SQLite"
        return AssetCheckResult(
            check_name=DEFAULT_PARTITION_EMPTY, passed=True, metadata={"rows": 0}, description=verdict
        )
    rows = sum(months.values())
    shown: list[dict[str, str | int]] = [
        {"month": month, "rows": count} for month, count in sorted(months.items())[:_MONTHS_SHOWN]
    ]
    return AssetCheckResult(
        check_name=DEFAULT_PARTITION_EMPTY,
        passed=False,
        severity=AssetCheckSeverity.WARN,
        metadata={"rows": rows, "months": len(months), "by_month": table(shown)},
        description=(
            f"{counted(rows, 'row')} in the default partition, of {counted(len(months), 'month')}. `edupulse db "
            "maintain` gives each month a partition of its own; rows that stay are dated before 1970 or ahead of now, "
            "and need their date corrected by the district"
        ),
    )


def registry_matches_table(differences: Sequence[str]) -> AssetCheckResult:
    """Passed when registry and table agree; otherwise lists the differences."""
    metadata: dict[str, Any] = {"differences": len(differences)}
    if differences:
        metadata["what_differs"] = MetadataValue.md("\n".join(f"- {line}" for line in differences))
    return AssetCheckResult(
        check_name=REGISTRY_MATCHES_TABLE,
        passed=not differences,
        metadata=metadata,
        description=differences[0] if differences else "Registry and model_metadata agree",
    )


def every_cohort_student_scored(
    cohort: Mapping[dt.date, int],
    scored: Mapping[dt.date, int],
    without_model: Sequence[dt.date],
    made: Mapping[dt.date, str],
    unavailable: Mapping[dt.date, str],
) -> AssetCheckResult:
    """Passed when, in each week, as many students were scored as its cohort holds, and by the best that should have.

    `without_model`: weeks of which nothing could be scored (no vectors). `made`: what made the list of each scored
    week, in words. `unavailable`: by week what is wrong with a model that should have scored; it fails the check also
    where the next best has made the list.
    """
    weeks = sorted(week for week in cohort if week not in set(without_model))
    missing = {week: cohort[week] - scored.get(week, 0) for week in weeks if cohort[week] != scored.get(week, 0)}
    kinds = Counter(made[week] for week in weeks if week in made and cohort[week])
    metadata: dict[str, Any] = {
        "weeks": len(weeks),
        "cohort": sum(cohort[week] for week in weeks),
        "scored": sum(scored.get(week, 0) for week in weeks),
        "weeks_without_model": len(without_model),
    }
    if kinds:
        metadata[WEEKS_BY_SCORER] = table([{"made_by": kind, "weeks": count} for kind, count in kinds.items()])
    if missing:
        metadata["weeks_that_differ"] = table(
            [{"week": str(week), "cohort": cohort[week], "scored": scored.get(week, 0)} for week in missing]
        )
    if unavailable:
        metadata["unavailable"] = table([{"week": str(week), "why": why} for week, why in sorted(unavailable.items())])
    if not weeks:
        verdict = "No vectors are stored for these weeks; nothing to score"
    elif missing:
        verdict = f"Students of the cohort without a score in {counted(len(missing), 'week')}"
    else:
        verdict = f"{counted(metadata['scored'], 'score')} over {counted(len(weeks), 'week')}, none missing"
    if kinds:
        by_kind = [f"{counted(count, 'week')} by {kind}" for kind, count in kinds.items()]
        verdict += f" ({', '.join(by_kind)})"
    if unavailable:
        verdict += f"; the model of {counted(len(unavailable), 'week')} could not be used"
    return AssetCheckResult(
        check_name=EVERY_COHORT_STUDENT_SCORED,
        passed=not missing and not unavailable,
        metadata=metadata,
        description=verdict,
    )


def table(rows: Sequence[Mapping[str, str | int | float | bool | None]]) -> MetadataValue:
    """Rows as a table that the Dagster UI shows as one; all rows have the keys of the first. None is an empty cell."""
    kinds = {bool: "boolean", int: "integer", float: "number"}
    known = {name: next((row[name] for row in rows if row[name] is not None), None) for name in rows[0]}
    schema = TableSchema(
        columns=[TableColumn(name=name, type=kinds.get(type(value), "string")) for name, value in known.items()]
    )
    return MetadataValue.table(records=[TableRecord(dict(row)) for row in rows], schema=schema)


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """`1 row`, `2,000 rows`, `2 deliveries`."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def _share_of_bad(delivery: DeliveryCounts) -> float:
    return delivery.bad / delivery.read if delivery.read else 0.0
