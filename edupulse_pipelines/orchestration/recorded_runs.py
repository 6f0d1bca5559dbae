"""What a run did, read from the events that Dagster stored of it: the same whatever process ran the steps.

An asset says what it did in the metadata of its materialization and of its checks (`assets`, `checks`). Here that is
read back, together with the errors and warnings of the run in words. What the tables hold after the run is no part of
it; the rooms count that (`summary` puts both together).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dagster import AssetCheckSeverity, DagsterEvent, DagsterEventType, DagsterInstance, TableMetadataValue

from edupulse_pipelines.orchestration.checks import COMPUTED
from edupulse_pipelines.schema.tables import RECORD_TABLES

DISK_FULL = "disk_full"
"""In the metadata of a step's failure: that a disk was full, which is one cause for however many steps."""
_TOLD_BY = {
    DagsterEventType.ASSET_MATERIALIZATION,
    DagsterEventType.ASSET_CHECK_EVALUATION,
    DagsterEventType.STEP_FAILURE,
    DagsterEventType.STEP_UP_FOR_RETRY,
}
_ORDER = (
    *(f"raw_{table}" for table in RECORD_TABLES),
    *RECORD_TABLES,
    "weekly_activity",
    "student_features",
    "risk_model",
    "predictions",
)
"""The way of the data: messages come in this order, also where steps ran side by side."""


@dataclass(frozen=True)
class RecordedAsset:
    """What one asset said of itself in a run: plain values by name; a table is a list of rows."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    checks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The metadata of each check."""


@dataclass(frozen=True)
class WarnedCheck:
    """A check that failed as a warning, and the words of `RecordedRun.warnings` that say so."""

    asset: str
    check: str
    warning: str


@dataclass(frozen=True)
class RecordedRun:
    """What a run recorded: by the assets' names (without the tenant) those that were materialized, and the messages."""

    assets: Mapping[str, RecordedAsset] = field(default_factory=dict)
    errors: Sequence[str] = ()
    warnings: Sequence[str] = ()
    warned_checks: Sequence[WarnedCheck] = ()

    def asset(self, name: str) -> RecordedAsset:
        """What the asset said; nothing, when its step did not get so far."""
        return self.assets.get(name, RecordedAsset())


@dataclass(frozen=True)
class RunOutcome:
    """What one run of the weekly job did."""

    weeks: list[dt.date]
    """The weeks it was for that had a delivery."""
    success: bool = True
    run_id: str | None = None
    recorded: RecordedRun = field(default_factory=RecordedRun)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0


def recorded_run(instance: DagsterInstance, run_id: str) -> RecordedRun:
    """What the run of this id recorded."""
    entries = instance.all_logs(run_id, of_type=_TOLD_BY)
    events = [entry.dagster_event for entry in entries if entry.dagster_event is not None]
    metadata: dict[str, Mapping[str, Any]] = {}
    checks: dict[str, dict[str, Mapping[str, Any]]] = {}
    for event in events:
        if event.event_type is DagsterEventType.ASSET_MATERIALIZATION:
            materialization = event.step_materialization_data.materialization
            # A run of many weeks records one for each week; what is said of the whole run stands in all of them.
            metadata[materialization.asset_key.path[-1]] = _plain(materialization.metadata)
        elif event.event_type is DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            checks.setdefault(evaluation.asset_key.path[-1], {})[evaluation.check_name] = _plain(evaluation.metadata)
    errors, warnings, warned_checks = _messages(sorted(events, key=_place))
    assets = {name: RecordedAsset(values, checks.get(name, {})) for name, values in metadata.items()}
    return RecordedRun(assets, errors, warnings, warned_checks)


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: [dict(record.data) for record in value.records]
        if isinstance(value, TableMetadataValue)
        else getattr(value, "value", value)
        for name, value in metadata.items()
    }


def _asset_of(event: DagsterEvent) -> str:
    """The name of the asset whose step an event is of."""
    return str(event.step_key).rpartition("__")[2]


def _place(event: DagsterEvent) -> int:
    name = _asset_of(event)
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def _messages(events: Sequence[DagsterEvent]) -> tuple[list[str], list[str], list[WarnedCheck]]:
    """Errors and warnings of a run in words: failed steps and checks, each cause once, and what was tried again.

    And which of the warnings are of which check.
    """
    errors: list[str] = []
    warnings: list[str] = []
    warned_checks: list[WarnedCheck] = []
    failed_checks: set[str] = set()
    for event in events:
        if event.event_type_value == "ASSET_CHECK_EVALUATION":
            evaluation = event.asset_check_evaluation_data
            if evaluation.passed:
                continue
            asset = evaluation.asset_key.path[-1]
            message = (
                f"{asset}: {evaluation.description}" if evaluation.description else f"{asset}: {evaluation.check_name}"
            )
            if evaluation.severity == AssetCheckSeverity.WARN:
                warnings.append(message)
                warned_checks.append(WarnedCheck(asset, evaluation.check_name, message))
                continue
            failed_checks.add(str(event.step_key))
            if _plain(evaluation.metadata).get(COMPUTED, True):
                errors.append(f"{message} (check {evaluation.check_name})")
        elif event.event_type_value == "STEP_UP_FOR_RETRY":
            reason = event.step_retry_data.error
            while reason is not None and reason.cause is not None:
                reason = reason.cause
            told = reason.message.strip().splitlines()[0].partition(": ")[2] if reason is not None else ""
            warnings.append(f"{_asset_of(event)}: tried again{f', because: {told}' if told else ''}")
        elif event.event_type_value == "STEP_FAILURE":
            failure = _failure_in_words(event)
            if failure is None and str(event.step_key) not in failed_checks:
                failure = f"{_asset_of(event)}: the step failed"
            if failure is not None and failure not in errors:
                errors.append(failure)
    return errors, warnings, warned_checks


def _failure_in_words(event: DagsterEvent) -> str | None:
    """Why a step failed; None when a check of it says so. A full disk is one cause for however many steps."""
    failure = event.step_failure_data
    raised = failure.user_failure_data
    if raised is not None and raised.description:
        return raised.description if DISK_FULL in raised.metadata else f"{_asset_of(event)}: {raised.description}"
    cause = failure.error
    if cause is None or cause.cls_name == "DagsterAssetCheckFailedError":
        return None
    while cause.cause is not None:
        cause = cause.cause
    return f"{_asset_of(event)}: {cause.message.strip().splitlines()[0]}"
