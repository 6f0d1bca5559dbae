"""Fails when a new release of scikit-learn moves what `sklearn_private` uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import HistGradientBoostingClassifier

import edupulse_pipelines
from edupulse_pipelines.risk.models.sklearn_private import SKOPS_TRUSTED_TYPES, set_start, start, tree_nodes

FIELDS = {"is_leaf", "feature_idx", "num_threshold", "missing_go_to_left", "left", "right", "count", "value"}


@pytest.fixture(scope="module")
def fitted() -> tuple[HistGradientBoostingClassifier, np.ndarray]:
    random = np.random.default_rng(4)
    matrix = random.normal(size=(400, 3))
    matrix[random.random(400) < 0.2, 0] = np.nan
    outcome = (random.random(400) < 1 / (1 + np.exp(-np.nan_to_num(matrix[:, 0], nan=1.5) - matrix[:, 1]))).astype(int)
    return HistGradientBoostingClassifier(max_iter=5, max_leaf_nodes=6, random_state=0).fit(matrix, outcome), matrix


def test_the_nodes_are_the_model(fitted: tuple[HistGradientBoostingClassifier, np.ndarray]) -> None:
    """Walking the nodes by hand gives the log-odds that the model gives; counts are those of the training rows."""
    trees, matrix = fitted
    nodes_of_trees = tree_nodes(trees)
    assert len(nodes_of_trees) == 5

    def log_odds(row: np.ndarray) -> float:
        total = start(trees)
        for nodes in nodes_of_trees:
            node = nodes[0]
            while not node["is_leaf"]:
                value = row[node["feature_idx"]]
                left = node["missing_go_to_left"] if np.isnan(value) else value <= node["num_threshold"]
                node = nodes[node["left" if left else "right"]]
            total += node["value"]
        return float(total)

    assert [log_odds(row) for row in matrix] == pytest.approx(trees.decision_function(matrix), abs=1e-12)
    for nodes in nodes_of_trees:
        assert set(nodes.dtype.names or ()) >= FIELDS
        assert nodes["count"][0] == nodes["count"][nodes["is_leaf"] == 1].sum() == len(matrix)


def test_what_is_written_changes_the_model(fitted: tuple[HistGradientBoostingClassifier, np.ndarray]) -> None:
    trees, matrix = fitted
    stored = skops.io.dumps(trees)
    untrusted = set(skops.io.get_untrusted_types(data=stored))
    assert len(untrusted) == 1 and untrusted < set(SKOPS_TRUSTED_TYPES)
    copy = skops.io.loads(stored, trusted=SKOPS_TRUSTED_TYPES)
    for nodes in tree_nodes(copy):
        nodes["value"] *= 2
    set_start(copy, 2 * start(copy) + 1)
    assert copy.decision_function(matrix) == pytest.approx(2 * trees.decision_function(matrix) + 1, abs=1e-12)


def test_nothing_else_reaches_into_scikit_learn() -> None:
    package = Path(edupulse_pipelines.__file__).parent
    private = ("_predictors", "_baseline_prediction", "_hist_gradient_boosting", "sklearn._", "from sklearn.utils._")
    users = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if any(name in path.read_text(encoding="utf-8") for name in private)
    }
    assert users == {"risk/models/sklearn_private.py"}
