"""What a training compared, in the shapes that MLflow shows: candidates as child runs, all figures as one table.

Only puts figures that were measured elsewhere into these shapes; writing them to MLflow is in `book.run_contents`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from edupulse_pipelines.risk.book.run_contents import TRAINING, VALIDATION, LoggedCandidate
from edupulse_pipelines.risk.judging.evaluation import Measure, flat_metrics
from edupulse_pipelines.risk.statuses import RULE

if TYPE_CHECKING:
    from edupulse_pipelines.risk.models.tuning import Tuned

# The figures of a training that describe the training rows; all others are of the validation.
_OF_TRAINING = ("training_samples", "training_event_rate")
_COLUMNS = ["candidate", "scope", "as_of", *(field.name for field in dataclasses.fields(Measure))]


def metrics_by_dataset(metrics: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Flat metrics of a training by the dataset that they were measured on."""
    return {
        TRAINING: {name: value for name, value in metrics.items() if name in _OF_TRAINING},
        VALIDATION: {name: value for name, value in metrics.items() if name not in _OF_TRAINING},
    }


def compared_candidates(
    tuned: Tuned, metrics: Mapping[str, Mapping[str, Any]], rule: Mapping[str, Any]
) -> list[LoggedCandidate]:
    """Everything that a training compared, in a fixed order.

    The candidates, those without a model with the reason why; then what else has `metrics` (of the validation, by
    name): the rule, which is all in `rule`, and the champion of the time.
    """
    candidates = []
    for kind in [*tuned.fitted, *(kind for kind in tuned.left_out if kind not in tuned.fitted)]:
        losses = [trial.log_loss for trial in tuned.trials if trial.kind == kind]
        tags = {"chosen": str(kind == tuned.kind).lower()}
        params: dict[str, Any] = {}
        if kind in tuned.left_out:
            tags["left_out"] = tuned.left_out[kind]
        else:
            calibration = tuned.calibrations[kind]
            params = {f"config.{name}": value for name, value in tuned.configs[kind].items()}
            params |= {"calibration_slope": calibration.slope, "calibration_intercept": calibration.intercept}
        tuning = {"tuning_log_loss": min(losses)} if losses else {}
        candidates.append(LoggedCandidate(kind, params, {**tuning, **_of_validation(metrics.get(kind, {}))}, tags))
    for name, measured in metrics.items():
        if name not in tuned.fitted:
            params = dict(rule) if name == RULE else {}
            candidates.append(LoggedCandidate(name, params, _of_validation(measured), {"chosen": "false"}))
    return candidates


def evaluations_table(figures: Mapping[tuple[str, str, dt.date], Sequence[Measure]]) -> pd.DataFrame:
    """Every figure of every candidate, a row each, as `model_evaluations` keeps them.

    `figures` by candidate, scope (all validation weeks, one of them, unseen students) and as-of date. Of a subgroup
    that is too small to show, neither the figure nor the number of samples is there.
    """
    rows = [
        (candidate, scope, as_of.isoformat(), *dataclasses.astuple(figure))
        for (candidate, scope, as_of), measures in figures.items()
        for figure in measures
    ]
    return pd.DataFrame(rows, columns=_COLUMNS).astype({"value": "float64", "samples": "Int64"})


def _of_validation(metrics: Mapping[str, Any]) -> dict[str, float]:
    return metrics_by_dataset(flat_metrics(metrics))[VALIDATION]
