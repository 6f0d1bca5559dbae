"""What can come of training for a week and of scoring one, by name; and why a week is not scored.

Only names, and the share of changed inputs from which on drift counts. Whoever shows the outcome compares with these,
and need not import what trains and scores.
"""

from __future__ import annotations

from typing import Final, Literal

TRAINED: Final = "trained"
UNCHANGED: Final = "unchanged"
"""Data and settings are those of a model that there is."""
NO_MODEL: Final = "no_model"
"""Of a training: the data are not enough for a model. Of a week to score: no model knew enough by then."""
SCORED: Final = "scored"
SKIPPED: Final = "skipped"
NO_FEATURES: Final = "no_features"
"""No feature vectors are stored for the week."""
MODEL_UNAVAILABLE: Final = "model_unavailable"
"""The artifact of the week's model is gone or was changed, or needs inputs that are not declared any more."""

CHANGED_INPUTS: Final = 0.25
"""So large a share of the inputs must have changed for a training to be due, and for the check of drift to warn: one
input alone is rather a broken export."""

TrainingStatus = Literal["trained", "unchanged", "no_model"]
ScoringStatus = Literal["scored", "skipped"]
SkippedBecause = Literal["no_model", "no_features", "model_unavailable"]
