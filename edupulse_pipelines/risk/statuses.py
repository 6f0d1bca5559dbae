"""What can come of training for a week and of scoring one, by name; what scores, and why a week is not scored.

Only names, and the share of changed inputs from which on drift counts. Whoever shows the outcome compares with these,
and need not import what trains and scores.
"""

from __future__ import annotations

from typing import Final, Literal

TRAINED: Final = "trained"
UNCHANGED: Final = "unchanged"
"""Data and settings are those of a model that there is."""
NO_MODEL: Final = "no_model"
"""Of a training: the data are not enough for a model. Of a week to rescore: there is no active model."""
SCORED: Final = "scored"
SKIPPED: Final = "skipped"
NO_FEATURES: Final = "no_features"
"""No feature vectors are stored for the week."""
MODEL_UNAVAILABLE: Final = "model_unavailable"
"""The artifact of the week's model is gone or was changed, or needs inputs that are not declared any more."""

RULE: Final = "rule"
"""`model_type` of the rule (`models.baseline`), and the name of its figures."""
TRANSFERRED: Final = "transferred"
"""`model_type` of a model that was learned on other districts."""
CHAMPION: Final = "champion"
"""What scores a week is the champion of its time, else a model that is `TRANSFERRED`, else the `RULE`."""

CHANGED_INPUTS: Final = 0.25
"""So large a share of the inputs must have changed for a training to be due, and for the check of drift to warn: one
input alone is rather a broken export."""

TrainingStatus = Literal["trained", "unchanged", "no_model"]
ScoringStatus = Literal["scored", "skipped"]
Standing = Literal["champion", "transferred", "rule"]
SkippedBecause = Literal["no_model", "no_features", "model_unavailable"]


def made_by(kind: str | None, probabilities: bool) -> str:
    """What made a list, in words; `kind` is the `model_type` of what scored."""
    if kind == RULE:
        return "the rule" if probabilities else "the rule, without probabilities"
    return "a transferred model" if kind == TRANSFERRED else f"{kind or 'a'} model"
