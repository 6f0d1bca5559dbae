"""What a training leaves for people to read: the model card, the plots and the documents of its MLflow run.

Only gathers the facts; how a card reads is in `model_card`, what a plot looks like in `model_plots`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edupulse_pipelines.risk.calibration_plot import calibration_plot
from edupulse_pipelines.settings import TenantSettings

if TYPE_CHECKING:
    from edupulse_pipelines.risk.leakage import LeakageProof
    from edupulse_pipelines.risk.promotion import Decision
    from edupulse_pipelines.risk.registry import LoggedDataset
    from edupulse_pipelines.risk.samples import Samples, Usable
    from edupulse_pipelines.risk.training import Judged


@dataclass(frozen=True)
class TrainingReport:
    """Files by name, for `Registry.log_model`."""

    documents: Mapping[str, Any]
    figures: Mapping[str, bytes]
    datasets: Sequence[LoggedDataset] = field(default_factory=tuple)
    description: str = ""


def training_report(
    *,
    tenant: TenantSettings,
    version: str,
    point: dt.date,
    samples: Samples,
    usable: Usable,
    training: NDArray[np.int64],
    judged: Judged,
    decision: Decision,
    proof: LeakageProof,
    metrics: Mapping[str, Any],
    hyperparameters: Mapping[str, Any],
    trained_at: dt.datetime,
    identity: Mapping[str, str],
) -> TrainingReport:
    """Everything people read about a training."""
    plot = calibration_plot(f"{tenant.name}, model {version}", judged.predicted, judged.scores["rule"], judged.outcome)
    documents: dict[str, Any] = {
        "settings.json": hyperparameters["settings"],
        "performance_metrics.json": metrics,
        "leakage.json": proof.as_json(),
        "decision.json": {"promoted": decision.promoted, "reason": decision.reason, **decision.numbers},
    }
    if "coefficients" in hyperparameters:
        documents["coefficients.json"] = {"intercept": hyperparameters["intercept"], **hyperparameters["coefficients"]}
    return TrainingReport(documents, {"calibration.png": plot})
