"""The asset checks of model and predictions that look at how the model is doing, and their verdicts.

Like `checks`: pure functions of figures that the `risk` room measured. Drift and calibration warn and stop nothing:
what to do about them is for people, and for the training that they make due.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dagster import AssetCheckResult, AssetCheckSeverity, AssetCheckSpec, AssetKey

from edupulse_pipelines.orchestration.checks import counted, table
from edupulse_pipelines.risk.statuses import CHANGED_INPUTS

if TYPE_CHECKING:
    from edupulse_pipelines.risk.judging.evaluation import Measure
    from edupulse_pipelines.risk.training import TrainingOutcome

NO_LEAKAGE = "no_leakage"
CHAMPION_JUDGED = "champion_judged_lately"
INPUT_DRIFT = "input_drift"
SCORE_DRIFT = "score_drift"
MATURED_CALIBRATION = "matured_calibration"
LABEL_DRIFT = "label_drift"
_INPUTS_SHOWN = 20
LABEL_TOLERANCE = 0.05
"""Share of the cohort: the event is rarer in some seasons than in others."""

Health = Mapping[dt.date, "Sequence[Measure]"]
"""Per scored week what `risk.health.week_health` measured."""


def training_check_specs(asset: AssetKey) -> list[AssetCheckSpec]:
    """The checks of every training."""
    return [
        AssetCheckSpec(
            NO_LEAKAGE,
            asset=asset,
            description=(
                "Future rows of a sample of students were added, scrambled and removed: no feature, label or score of "
                "an earlier week moved. A model with a leak never passes the promotion gate."
            ),
        ),
        AssetCheckSpec(
            CHAMPION_JUDGED,
            asset=asset,
            description=(
                "Within `champion_weeks` the champion was made, or compared with a challenger on weeks whose outcomes "
                "are known. Past that a training is due whatever the schedule; this warns when none could be."
            ),
        ),
    ]


def health_check_specs(asset: AssetKey) -> list[AssetCheckSpec]:
    """The checks of the predictions that watch the model in use."""
    return [
        AssetCheckSpec(
            INPUT_DRIFT,
            asset=asset,
            description=(
                "The inputs (but the standing, which adds up over the year) are distributed as on the validation: "
                "fewer than a quarter of them have a population stability index of `retrain_on_drift` or more, beyond "
                "what chance gives. A warning; it makes a training due."
            ),
        ),
        AssetCheckSpec(
            SCORE_DRIFT,
            asset=asset,
            description=(
                "The scores are distributed as on the validation (population stability index below "
                "`retrain_on_drift`). A warning; it makes a training due."
            ),
        ),
        AssetCheckSpec(
            MATURED_CALIBRATION,
            asset=asset,
            description=(
                "Of predictions whose horizon has passed, as many had an event as the scores said (calibration error "
                "at most `calibration_error`). A warning."
            ),
        ),
        AssetCheckSpec(
            LABEL_DRIFT,
            asset=asset,
            description=(
                "Of predictions whose horizon has passed, the share with an event is not surely (95 % interval) more "
                "than 5 percentage points away from that of the validation. A warning."
            ),
        ),
    ]


def no_leakage(outcomes: Sequence[TrainingOutcome]) -> AssetCheckResult:
    """Failed when a training of the run found a leak; passed, and said so, when nothing was trained."""
    proven = [outcome for outcome in outcomes if outcome.leakage is not None]
    leaks = [outcome for outcome in proven if outcome.leakage is not None and not outcome.leakage["passed"]]
    metadata: dict[str, Any] = {"trainings": len(proven), "leaks": len(leaks)}
    rows = [
        {
            "data_through": str(outcome.data_through),
            "changed": name,
            "compared": int(change["compared"]),
            "moved": int(change["moved"]),
            "what": ", ".join(change["names"][:5]),
        }
        for outcome in proven
        for name, change in (outcome.leakage or {})["checks"].items()
    ]
    if rows:
        metadata["proof"] = table(rows)
    if leaks:
        verdict = f"What came later moved what was known before, in {counted(len(leaks), 'training')}"
    else:
        verdict = f"No leak in {counted(len(proven), 'training')}" if proven else "Nothing was trained"
    return AssetCheckResult(check_name=NO_LEAKAGE, passed=not leaks, metadata=metadata, description=verdict)


def champion_judged(stale: str | None) -> AssetCheckResult:
    """A warning when the champion has not been judged for too long; `stale` says so in words."""
    return AssetCheckResult(
        check_name=CHAMPION_JUDGED,
        passed=stale is None,
        severity=AssetCheckSeverity.WARN,
        description=stale or "No champion is older than `champion_weeks` without having been judged again",
    )


def input_drift(health: Health, limit: float) -> AssetCheckResult:
    """Of the newest scored week: whether a quarter of the inputs have drifted."""
    week, measures = _newest(health)
    values = {
        measure.parameter: measure.value
        for measure in measures
        if measure.metric == "psi" and measure.value is not None
    }
    if week is None or not values:
        return _nothing(INPUT_DRIFT, "No week was scored by a model that knows what its inputs were like")
    ordered = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    changed = [name for name, value in ordered if value >= limit]
    metadata: dict[str, Any] = {
        "week": str(week),
        "inputs": len(values),
        "drifted": len(changed),
        "largest": ordered[0][1],
        "population_stability_index": table([{"input": name, "psi": value} for name, value in ordered[:_INPUTS_SHOWN]]),
    }
    passed = len(changed) < CHANGED_INPUTS * len(values)
    shown = f": {', '.join(changed[:3])}" if changed else ""
    return AssetCheckResult(
        check_name=INPUT_DRIFT,
        passed=passed,
        severity=AssetCheckSeverity.WARN,
        metadata=metadata,
        description=f"Week of {week}: {len(changed)} of {len(values)} inputs have drifted{shown}",
    )


def score_drift(health: Health, limit: float) -> AssetCheckResult:
    """Of the newest scored week: whether the scores have drifted."""
    week, measures = _newest(health)
    value = next((measure.value for measure in measures if measure.metric == "score_psi"), None)
    if week is None or value is None:
        return _nothing(SCORE_DRIFT, "No week was scored by a model that knows what its scores were like")
    rates = {
        measure.metric: measure.value
        for measure in measures
        if measure.metric in ("predicted_event_rate", "flagged_share")
    }
    return AssetCheckResult(
        check_name=SCORE_DRIFT,
        passed=value < limit,
        severity=AssetCheckSeverity.WARN,
        metadata={"week": str(week), "score_psi": value, **{k: v for k, v in rates.items() if v is not None}},
        description=f"Week of {week}: population stability index of the scores {value:.2f} (limit {limit:g})",
    )


def matured_calibration(health: Health, limit: float) -> AssetCheckResult:
    """Of the newest week in which predictions matured: whether they were calibrated."""
    for week in sorted(health, reverse=True):
        figures = {(measure.metric, measure.parameter): measure for measure in health[week]}
        error = figures.get(("calibration_error", ""))
        if error is None or error.value is None:
            continue
        shown = {
            f"{metric}_{name}" if name else metric: measure.value
            for (metric, name), measure in figures.items()
            if metric in _MATURED
        }
        return AssetCheckResult(
            check_name=MATURED_CALIBRATION,
            passed=error.value <= limit,
            severity=AssetCheckSeverity.WARN,
            metadata={
                "known_since_week": str(week),
                "students": int(error.samples or 0),
                **{name: value for name, value in shown.items() if value is not None},
            },
            description=(
                f"Predictions that matured in the week of {week} have a calibration error of {error.value:.3f} "
                f"(limit {limit:g}) over {counted(int(error.samples or 0), 'student')}"
            ),
        )
    return _nothing(MATURED_CALIBRATION, "No predictions matured in these weeks")


def label_drift(health: Health) -> AssetCheckResult:
    """Of the newest week in which predictions matured: whether the event has become more or less common."""
    for week in sorted(health, reverse=True):
        changes = {
            measure.parameter: measure.value for measure in health[week] if measure.metric == "event_rate_change"
        }
        change, low, high = changes.get(""), changes.get("low"), changes.get("high")
        if change is None or low is None or high is None:
            continue
        return AssetCheckResult(
            check_name=LABEL_DRIFT,
            passed=low <= LABEL_TOLERANCE and high >= -LABEL_TOLERANCE,
            severity=AssetCheckSeverity.WARN,
            metadata={"known_since_week": str(week), "event_rate_change": change, "low": low, "high": high},
            description=(
                f"Predictions that matured in the week of {week}: {100 * change:+.1f} percentage points of events "
                f"against the validation (95 % interval {100 * low:+.1f} to {100 * high:+.1f})"
            ),
        )
    return _nothing(LABEL_DRIFT, "No predictions matured in these weeks")


_MATURED = ("event_rate", "auc_roc", "brier_score", "calibration_error", "precision_at")


def _newest(health: Health) -> tuple[dt.date | None, Sequence[Measure]]:
    if not health:
        return None, ()
    week = max(health)
    return week, health[week]


def _nothing(name: str, reason: str) -> AssetCheckResult:
    return AssetCheckResult(check_name=name, passed=True, severity=AssetCheckSeverity.WARN, description=reason)
