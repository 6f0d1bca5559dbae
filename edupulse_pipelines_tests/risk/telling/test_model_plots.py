from __future__ import annotations

import math

import numpy as np
import pytest

from edupulse_pipelines.risk.telling.model_plots import (
    candidates_plot,
    importance_plot,
    mean_contributions,
    partial_dependence,
    partial_dependence_plot,
    precision_by_capacity_plot,
)
from edupulse_pipelines_tests.risk.registered import fitted, sample


def is_png(content: bytes) -> bool:
    return content.startswith(b"\x89PNG\r\n") and content.endswith(b"IEND\xaeB`\x82")


@pytest.mark.parametrize("kind", ["logistic", "additive", "boosting", "averaged"])
def test_importance_is_the_mean_absolute_contribution(kind: str) -> None:
    frame, *_ = sample()
    model = fitted(kind)
    found = mean_contributions(model, frame)
    contributions = model.contributions(frame)
    assert found == {name: pytest.approx(np.abs(contributions[:, i]).mean()) for i, name in enumerate(model.features)}
    assert list(found.values()) == sorted(found.values(), reverse=True)
    together = mean_contributions(model, frame, {"attendance": [0], "everything else": [1, 2]})
    assert together["everything else"] == pytest.approx(np.abs(contributions[:, 1:].sum(axis=1)).mean())


@pytest.mark.parametrize("kind", ["logistic", "additive", "boosting", "averaged"])
def test_partial_dependence_is_the_mean_with_the_value_put_in(kind: str) -> None:
    frame, *_ = sample()
    model = fitted(kind)
    grid, means, missing = partial_dependence(model, frame, "grade_mean_4w")
    for i in (0, len(grid) // 2, -1):
        put_in = frame.assign(grade_mean_4w=grid[i])
        assert means[i] == pytest.approx(model.probabilities(put_in).mean(), abs=1e-12)
    assert missing == pytest.approx(model.probabilities(frame.assign(grade_mean_4w=math.nan)).mean(), abs=1e-12)
    # Attendance is never missing here, and more of it never raises the risk.
    _, means, missing = partial_dependence(model, frame, "attendance_rate_4w")
    assert missing is None
    assert (np.diff(means) <= 1e-12).all() and means[0] > means[-1]
    grid, _, _ = partial_dependence(model, frame, "incidents_8w")
    assert set(grid) <= {0.0, 1.0, 2.0, 3.0, 4.0}


def test_a_feature_that_was_never_recorded_has_no_curve() -> None:
    frame, *_ = sample()
    nothing = frame.assign(grade_mean_4w=math.nan)
    grid, means, missing = partial_dependence(fitted(), nothing, "grade_mean_4w")
    assert (len(grid), len(means)) == (0, 0)
    assert missing is not None
    assert is_png(partial_dependence_plot("t", fitted(), nothing, ["grade_mean_4w"]))


def test_plots_are_the_same_bytes_for_the_same_numbers() -> None:
    frame, outcome, _ = sample()
    model = fitted("additive")
    probability = model.probabilities(frame)
    week = np.arange(len(frame)) % 4

    def drawn() -> list[bytes]:
        return [
            importance_plot("t", {"a": 0.5, "b": 0.0}),
            partial_dependence_plot("t", model, frame, model.features),
            precision_by_capacity_plot(
                "t", {"model": probability, "rule": probability.round(1)}, outcome, week, capacity=0.1
            ),
            candidates_plot(
                "t", {"AUC": {"logistic": 0.7, "additive": (0.6, 0.8, 0.9), "boosting": None}}, chosen="additive"
            ),
        ]

    first = drawn()
    assert all(map(is_png, first))
    assert drawn() == first


def test_nothing_to_draw_is_still_a_plot() -> None:
    none = np.empty(0)
    assert is_png(importance_plot("t", {}))
    assert is_png(importance_plot("t", {"a": 0.0}))
    assert is_png(precision_by_capacity_plot("t", {"model": none}, none.astype(np.int8), none, capacity=0.1))
    assert is_png(candidates_plot("t", {"AUC": {"logistic": None}}))
    assert is_png(
        precision_by_capacity_plot("t", {"x": np.full(3, 0.5)}, np.zeros(3, np.int8), np.zeros(3), capacity=1.0)
    )
