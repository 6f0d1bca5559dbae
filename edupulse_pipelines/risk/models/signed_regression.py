"""A ridge logistic regression of which no coefficient goes against a given sign. No I/O.

scikit-learn has no bounds on coefficients. Here the same objective is minimised by Newton's method, with the quadratic
of each step minimised under the bounds by SciPy's bounded least squares, which is exact: few features, many rows, and
the optimum is reached to the last digits, so that it hangs neither on a start nor on a machine. Without signs it is
scikit-learn's optimum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

_STEPS = 100
_TOLERANCE = 1e-9
"""The largest change of a coefficient, per standard deviation, at which the optimum counts as reached."""

Floats = NDArray[np.float64]


def fit_regression(
    matrix: Floats, outcome: NDArray[np.int8], signs: NDArray[np.int64], strength: float
) -> LogisticRegression:
    """Fit on standardised columns: minimise the log loss summed over the rows + |coefficients|^2 / (2 * strength).

    `matrix`: (rows, columns) without missing values; `outcome`: 0 or 1, both of them there; `signs`: per column +1 or
    -1, which its coefficient then has or is 0; 0 leaves it free. The intercept is free and not penalised.
    """
    rows, count = matrix.shape
    penalty = np.append(np.full(count, 1 / (strength * rows)), 0.0)
    rate = float(outcome.mean())
    position = np.append(np.zeros(count), np.log(rate / (1 - rate)))
    low = np.append(np.where(signs > 0, 0.0, -np.inf), -np.inf)
    high = np.append(np.where(signs < 0, 0.0, np.inf), np.inf)

    def log_odds(at: Floats) -> Floats:
        return np.asarray(matrix @ at[:-1] + at[-1])

    def loss(at: Floats, said: Floats) -> float:
        return float(np.mean(np.logaddexp(0, said) - outcome * said) + penalty @ at**2 / 2)

    said = log_odds(position)
    current = loss(position, said)
    for _ in range(_STEPS):
        chance = expit(said)
        error, weight = (chance - outcome) / rows, chance * (1 - chance) / rows
        slope = np.append(matrix.T @ error, error.sum()) + penalty * position
        weighted = matrix * weight[:, None]
        cross = weighted.sum(axis=0)
        curvature = np.block([[matrix.T @ weighted, cross[:, None]], [cross[None, :], np.array([[weight.sum()]])]])
        curvature[np.diag_indices_from(curvature)] += penalty + 1e-12
        goal = _bounded_minimum(curvature, slope, position, low, high)
        step, size = goal - position, 1.0
        while size > 1e-10:
            attempt = position + size * step
            there = log_odds(attempt)
            reached = loss(attempt, there)
            if reached <= current:
                break
            size /= 2
        else:
            break  # no lower in this direction: the last digits are used up
        position, said, current = attempt, there, reached
        if np.abs(step).max() < _TOLERANCE:
            break
    regression = LogisticRegression(C=strength)
    regression.classes_ = np.array([0, 1])
    regression.coef_, regression.intercept_ = np.clip(position, low, high)[None, :-1].copy(), position[-1:].copy()
    regression.n_features_in_, regression.n_iter_ = count, np.array([0], dtype=np.int32)
    return regression


def _bounded_minimum(curvature: Floats, slope: Floats, position: Floats, low: Floats, high: Floats) -> Floats:
    """Where the quadratic with this curvature and slope at `position` is lowest, between the bounds."""
    free = np.asarray(np.linalg.solve(curvature, curvature @ position - slope), dtype=np.float64)
    if (free >= low).all() and (free <= high).all():
        return free
    # With curvature = root' root the quadratic is the squared distance of root @ x from `target`.
    root = np.linalg.cholesky(curvature).T
    target = np.linalg.solve(root.T, curvature @ position - slope)
    found = lsq_linear(root, target, bounds=(low, high), method="bvls", tol=1e-14, max_iter=10 * len(slope))
    return np.clip(found.x, low, high)
