"""What we use of scikit-learn that it does not promise to keep: the nodes of boosted trees, and types in saved models.

Nothing else reaches into it. Its public interface predicts with boosted trees and does not say what they ask, so they
could be neither explained nor calibrated in place without this. `test_sklearn_private` fails when a name, a field or a
meaning moves in a new release.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

# Reviewed: a dtype is a description of numbers and runs nothing; a TreePredictor holds a tree's nodes as an array of
# numbers and only compares and adds; a GradedRule holds thresholds. Everything else in the pipelines is on skops' own
# list.
SKOPS_TRUSTED_TYPES = [
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "edupulse_pipelines.risk.models.baseline.GradedRule",
]
"""The types that a saved model may hold beside those that skops trusts by itself."""


def tree_nodes(trees: HistGradientBoostingClassifier) -> list[NDArray[Any]]:
    """The nodes of each tree of a fitted binary classifier: a structured array a tree, the root first.

    Views, not copies: what is written there changes the model. Fields that we read or write: `is_leaf`, `feature_idx`,
    `num_threshold`, `missing_go_to_left`, `left`, `right` (positions), `count` (training rows), `value` (log-odds).
    """
    return [tree.nodes for (tree,) in trees._predictors]


def start(trees: HistGradientBoostingClassifier) -> float:
    """The log-odds that the values of the trees' leaves are added to."""
    return float(np.ravel(trees._baseline_prediction)[0])


def set_start(trees: HistGradientBoostingClassifier, log_odds: float) -> None:
    """Make `log_odds` what the values of the trees' leaves are added to, in place."""
    trees._baseline_prediction = np.full_like(trees._baseline_prediction, log_odds)
