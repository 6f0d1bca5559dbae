"""Boosted trees: how they are grown, calibrated in place, and their exact Shapley contributions. No I/O.

Shared by the additive model (`additive`), whose trees look at one feature each. Contributions are SHAP's path-dependent
ones (S. Lundberg et al., "From local explanations to global understanding with explainable AI for trees", 2020; what
`shap.TreeExplainer` computes), read from tables instead of computed per row: a tree of at most eight leaves asks seven
questions, so at most 128 sets of answers exist, and the Shapley values of each are worked out once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from edupulse_pipelines.risk.models.sklearn_private import set_start, start, tree_nodes

MAXIMUM_LEAVES = 8
# Iterations that one fit is judged at, out of fold: fewer than the last are free, being stages of the same fit.
CHECKPOINTS = (25, 50, 100, 150, 200)
# A leaf rests on students, not on rows: the as-of weeks of one student are near repeats of each other.
_LEAF_SHARE_OF_STUDENTS = 0.005
_FEWEST_STUDENTS_PER_LEAF, _MOST_STUDENTS_PER_LEAF = 2, 20
_FEWEST_ROWS_PER_LEAF = 5
_ROWS_PER_BIN, _FEWEST_BINS, _MOST_BINS = 20, 15, 255
# Rows explained at a time: small enough to stay in the processor's cache.
_ROWS_AT_ONCE = 8192

Floats = NDArray[np.float64]


def fit_trees(
    matrix: Floats,
    outcome: NDArray[np.int8],
    student: NDArray[np.int64],
    config: Mapping[str, Any],
    directions: Sequence[int],
    *,
    additive: bool,
) -> HistGradientBoostingClassifier:
    """Grow trees on `matrix` (rows, features; NaN = missing), never against `directions`.

    `config`: `learning_rate`, `leaves` (2 to 8), `l2` (ridge penalty on leaf values), `leaf` (multiplies the smallest
    leaf, which is 0.5 % of the students, between 2 and 20 of them, times their mean number of rows), `iterations`
    (default: the last of CHECKPOINTS) and `max_features` (share drawn at each split, default 1). `directions`: per
    feature -1, 0 or +1, the sign that its effect must have; 0 claims none. `additive`: one feature per tree.
    A value that is missing though it never was in training goes where most students went.
    """
    students = len(np.unique(student))
    per_leaf = np.clip(_LEAF_SHARE_OF_STUDENTS * students, _FEWEST_STUDENTS_PER_LEAF, _MOST_STUDENTS_PER_LEAF)
    rows_per_leaf = float(config["leaf"]) * per_leaf * len(student) / students
    if not 2 <= int(config["leaves"]) <= MAXIMUM_LEAVES:
        raise ValueError(f"leaves must lie between 2 and {MAXIMUM_LEAVES}")
    trees = HistGradientBoostingClassifier(
        learning_rate=float(config["learning_rate"]),
        max_iter=int(config.get("iterations", CHECKPOINTS[-1])),
        max_leaf_nodes=int(config["leaves"]),
        l2_regularization=float(config["l2"]),
        min_samples_leaf=max(_FEWEST_ROWS_PER_LEAF, round(rows_per_leaf)),
        max_features=float(config.get("max_features", 1.0)),
        max_bins=int(np.clip(len(student) // _ROWS_PER_BIN, _FEWEST_BINS, _MOST_BINS)),
        monotonic_cst=list(directions),
        interaction_cst="no_interactions" if additive else None,
        early_stopping=False,
        random_state=0,
    )
    empty = np.isnan(matrix).all(axis=0)
    if empty.any():
        # Binning stumbles over a column without values. No tree will ask about a constant, whatever it is.
        matrix = np.where(empty, 0.0, matrix)
    return trees.fit(matrix, outcome)


def route_missing(trees: HistGradientBoostingClassifier, values: Floats) -> None:
    """Send a missing value of each feature where `values` (one each; NaN leaves its way alone) goes, in place."""
    for tree in tree_nodes(trees):
        asking = np.flatnonzero(tree["is_leaf"] == 0)
        value = values[tree["feature_idx"][asking]]
        routed = ~np.isnan(value)
        tree["missing_go_to_left"][asking[routed]] = value[routed] <= tree["num_threshold"][asking[routed]]


def staged_log_odds(trees: HistGradientBoostingClassifier, matrix: Floats, iterations: Sequence[int]) -> Floats:
    """Log-odds of each row after each of some numbers of iterations (ascending), shape (rows, len(iterations))."""
    columns = []
    for done, log_odds in enumerate(trees.staged_decision_function(matrix), start=1):
        if done in iterations:
            columns.append(np.array(log_odds, dtype=np.float64).reshape(-1))
    # A fit that ran out of anything to learn has fewer stages; more iterations would not have changed it.
    columns += [columns[-1] if columns else trees.decision_function(matrix)] * (len(iterations) - len(columns))
    return np.column_stack(columns)


def fold_calibration(trees: HistGradientBoostingClassifier, slope: float, intercept: float) -> None:
    """Make `slope * log-odds + intercept` the trees' own log-odds, in place."""
    for tree in tree_nodes(trees):
        tree["value"] *= slope
    set_start(trees, slope * start(trees) + intercept)


class ShapleyTables:
    """What each feature adds to the log-odds of boosted trees, for every possible way through each tree."""

    def __init__(self, trees: HistGradientBoostingClassifier) -> None:
        self._trees = [_ShapleyTree(nodes) for nodes in tree_nodes(trees)]
        self.intercept = start(trees) + sum(tree.mean for tree in self._trees)
        """Mean log-odds of the training set."""

    def contributions(self, matrix: Floats) -> Floats:
        """Shape (rows, features), in log-odds; intercept + row sum is the row's log-odds."""
        result = np.empty(matrix.shape, dtype=np.float64)
        for first in range(0, len(matrix), _ROWS_AT_ONCE):
            columns = np.ascontiguousarray(matrix[first : first + _ROWS_AT_ONCE].T)
            missing = np.isnan(columns)
            sums = np.zeros(columns.shape)
            for tree in self._trees:
                tree.add(columns, missing, sums)
            result[first : first + _ROWS_AT_ONCE] = sums.T
        return result


class _ShapleyTree:
    """One tree: its questions, and a table (features asked about, ways to answer) of Shapley values."""

    def __init__(self, nodes: NDArray[Any]) -> None:
        asking = np.flatnonzero(nodes["is_leaf"] == 0)
        if len(asking) >= MAXIMUM_LEAVES:
            raise ValueError(f"a tree has {len(asking) + 1} leaves; {MAXIMUM_LEAVES} can be explained")
        self._questions = [
            (int(node["feature_idx"]), float(node["num_threshold"]), bool(node["missing_go_to_left"]))
            for node in nodes[asking]
        ]
        features = sorted({feature for feature, _, _ in self._questions})
        self._features = features
        place = {int(node): position for position, node in enumerate(asking)}
        # Rows: every combination of answers; columns: every set of features whose value is known.
        goes_left = (np.arange(1 << len(asking))[:, None] >> np.arange(max(len(asking), 1))) & 1 == 1
        known_features = (np.arange(1 << len(features))[:, None] >> np.arange(max(len(features), 1))) & 1 == 1

        def expected(position: int) -> Floats:
            node = nodes[position]
            if node["is_leaf"]:
                return np.full((len(goes_left), len(known_features)), float(node["value"]))
            left, right = expected(int(node["left"])), expected(int(node["right"]))
            share = float(nodes["count"][node["left"]]) / float(node["count"])
            answered = np.where(goes_left[:, place[position], None], left, right)
            return np.where(
                known_features[:, features.index(int(node["feature_idx"]))],
                answered,
                share * left + (1 - share) * right,
            )

        values = expected(0)
        self.mean = float(values[0, 0])
        self._table = np.ascontiguousarray((values @ _shapley_weights(len(features))).T)

    def add(self, columns: Floats, missing: NDArray[np.bool_], sums: Floats) -> None:
        """Add this tree's contributions to `sums`; all are of shape (features, rows)."""
        if not self._questions:
            return
        way = np.zeros(columns.shape[1], dtype=np.uint8)
        for bit, (feature, threshold, missing_left) in enumerate(self._questions):
            left = columns[feature] <= threshold
            if missing_left:
                left |= missing[feature]
            way |= left.view(np.uint8) << np.uint8(bit)
        ways = way.astype(np.intp)
        for feature, table in zip(self._features, self._table, strict=True):
            sums[feature] += table.take(ways)


@lru_cache
def _shapley_weights(features: int) -> Floats:
    """The matrix that turns the worth of every subset (bit i: feature i is in it) into the features' Shapley values."""
    weights = np.zeros((1 << features, features))
    for subset in range(1 << features):
        size = subset.bit_count()
        for feature in range(features):
            others = size - (subset >> feature & 1)
            weight = factorial(others) * factorial(features - others - 1) / factorial(features)
            weights[subset, feature] = weight if subset >> feature & 1 else -weight
    return weights
