"""The mean of several fitted pipelines' log-odds, kept as scikit-learn's own stacking of them. No I/O.

A weighted sum of what the members say is what a `StackingClassifier` over fitted members with a linear last step
computes, so nothing of our own has to be saved or trusted: only its weights are set, not learned. Which members, and
with which weights, is said in `model`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

STEP = "average"
"""The name of the only step of an averaged pipeline."""


def average_of(members: Sequence[tuple[str, Pipeline]], weights: Sequence[float], constant: float) -> Pipeline:
    """The pipeline whose log-odds are constant + the sum of weight * the member's log-odds.

    `members`: name and fitted pipeline; all have the same inputs.
    """
    stack = StackingClassifier(
        list(members), final_estimator=LogisticRegression(), cv="prefit", stack_method="decision_function"
    )
    # Fitted on two made-up rows: that fits the last step alone, whose numbers are then replaced by ours.
    inputs = members[0][1].feature_names_in_
    stack.fit(pd.DataFrame(np.array([[0.0], [1.0]]) * np.ones(len(inputs)), columns=inputs), np.array([0, 1]))
    stack.final_estimator_.coef_ = np.array([weights], dtype=np.float64)
    stack.final_estimator_.intercept_ = np.array([constant], dtype=np.float64)
    # A plain dictionary in place of scikit-learn's own kind: a saved model holds reviewed types alone.
    stack.named_estimators_ = dict(members)
    return Pipeline([(STEP, stack)])


def members_of(pipeline: Pipeline) -> list[tuple[float, Pipeline]]:
    """Weight and pipeline of each member of what `average_of` made."""
    stack = pipeline.named_steps[STEP]
    weights = stack.final_estimator_.coef_[0].tolist()
    return list(zip(weights, stack.estimators_, strict=True))
