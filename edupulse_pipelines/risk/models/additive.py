"""The glass box: boosted trees of one feature each, read back as one lookup table per feature. No I/O.

A sum of trees that look at a single feature is a step function of it, so the model is exactly
log-odds = intercept + f1(x1) + f2(x2) + ..., and each f can be printed and plotted. The idea is that of Y. Lou,
R. Caruana, J. Gehrke, "Intelligible models for classification and regression" (2012). How trees are grown: `boosting`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from edupulse_pipelines.risk.models.boosting import Floats
from edupulse_pipelines.risk.models.sklearn_private import start, tree_nodes


@dataclass(frozen=True)
class ShapeFunction:
    """What one feature adds to the log-odds, a step function measured from its mean over the training set."""

    thresholds: Floats
    """Ascending; step i holds the values above thresholds[i - 1] up to and including thresholds[i]."""
    values: Floats
    """One more than thresholds."""
    missing: float
    """What a missing value adds."""

    def __call__(self, column: Floats) -> Floats:
        """The contribution of each value of `column` (NaN = missing)."""
        # NaN sorts behind everything; the entry after the last step is its own.
        step = np.searchsorted(self.thresholds, column, side="left")
        step[np.isnan(column)] = len(self.values)
        return np.append(self.values, self.missing)[step]


class ShapeFunctions:
    """All shape functions of a fitted additive model, by position of the feature; one without effect has none."""

    def __init__(self, trees: HistGradientBoostingClassifier) -> None:
        by_feature: dict[int, list[NDArray[Any]]] = {}
        self.intercept = start(trees)
        """Mean log-odds of the training set."""
        for nodes in tree_nodes(trees):
            asked = {int(feature) for feature in nodes["feature_idx"][nodes["is_leaf"] == 0]}
            if len(asked) > 1:
                raise ValueError("a tree of an additive model looks at one feature only")
            leaves = nodes[nodes["is_leaf"] == 1]
            self.intercept += float(leaves["value"] @ leaves["count"]) / float(leaves["count"].sum())
            if asked:
                by_feature.setdefault(asked.pop(), []).append(nodes)
        self.by_feature = {feature: _shape(group) for feature, group in sorted(by_feature.items())}

    def contributions(self, matrix: Floats) -> Floats:
        """Shape (rows, features), in log-odds; intercept + row sum is the row's log-odds."""
        result = np.zeros(matrix.shape, dtype=np.float64)
        for feature, shape in self.by_feature.items():
            result[:, feature] = shape(matrix[:, feature])
        return result


def _shape(group: list[NDArray[Any]]) -> ShapeFunction:
    """The sum of trees of one feature, as steps."""
    asked = np.unique(np.concatenate([nodes["num_threshold"][nodes["is_leaf"] == 0] for nodes in group]))
    # A split at infinity parts missing values from all others; it is no step.
    thresholds = asked[np.isfinite(asked)]
    points = np.concatenate([thresholds, [np.inf, np.nan]])
    total, mean = np.zeros(len(points)), 0.0
    for nodes in group:
        total += _tree_value(nodes, points)
        leaves = nodes[nodes["is_leaf"] == 1]
        mean += float(leaves["value"] @ leaves["count"]) / float(leaves["count"].sum())
    total -= mean
    return ShapeFunction(thresholds, total[:-1], float(total[-1]))


def _tree_value(nodes: NDArray[Any], column: Floats) -> Floats:
    """The value of a one-feature tree for each entry of `column`."""
    position = np.zeros(len(column), dtype=np.int64)
    missing = np.isnan(column)
    while (asking := nodes["is_leaf"][position] == 0).any():
        here = nodes[position]
        left = np.where(missing, here["missing_go_to_left"] == 1, column <= here["num_threshold"])
        position = np.where(asking, np.where(left, here["left"], here["right"]), position)
    return nodes["value"][position]
