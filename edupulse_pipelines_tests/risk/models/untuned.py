"""The logistic candidate as it is without tuning, for tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edupulse_pipelines.risk.models.model import REGULARISATION_C, Calibration, RiskModel, fit_candidate


def fit_model(
    features: pd.DataFrame, outcome: NDArray[np.int8], student: NDArray[np.int64]
) -> tuple[RiskModel, Calibration]:
    """The logistic candidate with its default strength; see `fit_candidate`."""
    return fit_candidate("logistic", features, outcome, student, {"C": REGULARISATION_C}, {})
