from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from edupulse_pipelines.risk.models.signed_regression import fit_regression


def data(seed: int, rows: int = 600, columns: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Columns that go together, as rates of several windows do, so that coefficients of some turn against them."""
    random = np.random.default_rng(seed)
    common = random.normal(size=(rows, 1))
    matrix = common + 0.4 * random.normal(size=(rows, columns))
    matrix = (matrix - matrix.mean(axis=0)) / matrix.std(axis=0)
    outcome = (random.random(rows) < expit(matrix @ np.array([2.0, -1.2, 0.8, 0, 0, 0.3]) - 1)).astype(np.int8)
    return matrix, outcome


@pytest.mark.parametrize("strength", [0.003, 0.03, 2.0])
def test_without_signs_it_is_the_regression_of_the_library(strength: float) -> None:
    matrix, outcome = data(0)
    ours = fit_regression(matrix, outcome, np.zeros(6, dtype=np.int64), strength)
    theirs = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-10, max_iter=200).fit(matrix, outcome)
    assert np.allclose(ours.coef_, theirs.coef_, atol=1e-8)
    assert np.allclose(ours.intercept_, theirs.intercept_, atol=1e-8)
    assert (ours.predict_proba(matrix) == ours.predict_proba(matrix)).all()
    assert (ours.classes_ == theirs.classes_).all()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("strength", [0.03, 2.0])
def test_no_coefficient_goes_against_its_sign_and_nothing_else_is_lost(seed: int, strength: float) -> None:
    matrix, outcome = data(seed)
    signs = np.array([1, 1, 1, -1, -1, 0])
    free = fit_regression(matrix, outcome, np.zeros(6, dtype=np.int64), strength).coef_[0]
    assert ((free * signs) < 0).any(), "nothing to hold back"
    ours = fit_regression(matrix, outcome, signs, strength)
    assert ((ours.coef_[0] * signs) >= 0).all()

    # The minimum under the bounds is where no allowed move goes down.
    def loss(at: np.ndarray) -> float:
        said = matrix @ at[:-1] + at[-1]
        return strength * float(np.sum(np.logaddexp(0, said) - outcome * said)) + float(at[:-1] @ at[:-1]) / 2

    bounds = [(0, None) if sign > 0 else (None, 0) if sign < 0 else (None, None) for sign in signs] + [(None, None)]
    theirs = minimize(loss, np.zeros(7), method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-14, "maxfun": 100_000})
    reached = np.append(ours.coef_[0], ours.intercept_)
    assert loss(reached) <= theirs.fun + 1e-9
    assert np.allclose(reached, theirs.x, atol=2e-3)


def test_one_class_nearly_and_columns_alike_have_a_minimum() -> None:
    random = np.random.default_rng(1)
    column = random.normal(size=400)
    matrix = np.column_stack([column, column, column])
    outcome = np.zeros(400, dtype=np.int8)
    outcome[:2] = 1
    fitted = fit_regression(matrix, outcome, np.array([1, -1, 0]), 0.03)
    assert np.isfinite(fitted.coef_).all() and np.isfinite(fitted.intercept_).all()
    assert fitted.coef_[0, 0] >= 0 >= fitted.coef_[0, 1]
    again = fit_regression(matrix, outcome, np.array([1, -1, 0]), 0.03)
    assert (again.coef_ == fitted.coef_).all()
