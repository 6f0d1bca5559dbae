"""The simple attendance-behaviour-course rule: what every model is measured beside. Thresholds come from the settings.

A student gets a flag for absence, for repeated incidents and for failing grades, each only where the district sends
that domain; the count of flags (0 to 3) is the whole score. Absence is chronic absence by the rule that the tenant's
label names, by the days of this school year so far; or, where the tenant says so or names none, an attendance rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.isotonic import isotonic_regression

from edupulse_pipelines.features.definitions import YEAR_DAYS
from edupulse_pipelines.settings import DEFAULT_ATTENDANCE_BELOW, AbsenceRule, RuleSettings

ATTENDANCE_FEATURE = "attendance_rate_4w"
ABSENCE_FEATURE = "days_absent_ytd"
INCIDENTS_FEATURE = "incidents_8w"
GRADES_FEATURE = "grade_mean_8w"

# Each count starts with the weight of two students who behave like the training set as a whole, so that a count
# nobody had gets a probability, and three students alone do not get 0 or 1.
_PRIOR_SAMPLES = 2.0
_SMALLEST_RATE = 1e-9


@dataclass(frozen=True)
class Baseline:
    """The rule with the probability of each count of flags, as learned from the training set; never decreasing."""

    rule: RuleSettings
    probability_by_flags: tuple[float, float, float, float]
    absence: AbsenceRule | None = None
    """The authority's rule of the first flag; None: an attendance rate."""

    @property
    def features(self) -> list[str]:
        """The names of the features that the rule looks at; the columns of `contributions`."""
        first = ATTENDANCE_FEATURE if self.absence is None else ABSENCE_FEATURE
        return [first, INCIDENTS_FEATURE, GRADES_FEATURE]

    @property
    def intercept(self) -> float:
        """Log-odds of a student without a flag."""
        return float(self._log_odds_by_flags[0])

    def log_odds(self, features: pd.DataFrame) -> NDArray[np.float64]:
        """The rule's log-odds for each row of `features`."""
        return self._log_odds_by_flags[flags(features, self.rule, self.absence)]

    def contributions(self, features: pd.DataFrame) -> NDArray[np.float64]:
        """What each flag adds to the log-odds, shape (rows, 3); intercept + row sum is the row's log-odds.

        The rule counts flags and does not tell them apart, so those that are raised share the whole equally: their
        Shapley values against a student without a flag.
        """
        raised = raised_flags(features, self.rule, self.absence)
        count = raised.sum(axis=1)
        share = (self._log_odds_by_flags[count] - self.intercept) / np.maximum(count, 1)
        return raised * share[:, None]

    @property
    def _log_odds_by_flags(self) -> NDArray[np.float64]:
        # Without a single event (or nothing else) among the samples a rate is 0 (or 1), of which there are no log-odds.
        return logit(np.clip(self.probability_by_flags, _SMALLEST_RATE, 1 - _SMALLEST_RATE))

    def probabilities(self, features: pd.DataFrame) -> NDArray[np.float64]:
        """The rule's probability for each row of `features`."""
        return np.asarray(self.probability_by_flags)[flags(features, self.rule, self.absence)]


def raised_flags(features: pd.DataFrame, rule: RuleSettings, absence: AbsenceRule | None = None) -> NDArray[np.bool_]:
    """Which flags each row has (absence, behaviour, course). A missing value raises none: NaN compares as false."""
    if absence is None:
        below = DEFAULT_ATTENDANCE_BELOW if rule.attendance_below is None else rule.attendance_below
        away = features[ATTENDANCE_FEATURE].to_numpy(float) < below
    else:
        away = absence.is_met(*(features[days].to_numpy(float) for days in YEAR_DAYS))
    return np.column_stack(
        [
            away,
            features[INCIDENTS_FEATURE].to_numpy(float) >= rule.incidents_at_least,
            features[GRADES_FEATURE].to_numpy(float) < rule.failing_below,
        ]
    )


def flags(features: pd.DataFrame, rule: RuleSettings, absence: AbsenceRule | None = None) -> NDArray[np.int64]:
    """How many of the three flags each row has."""
    return raised_flags(features, rule, absence).sum(axis=1).astype(np.int64)


def fit_baseline(
    features: pd.DataFrame, outcome: NDArray[np.int8], rule: RuleSettings, absence: AbsenceRule | None = None
) -> Baseline:
    """Learn the event rate at each count of flags, smoothed towards the overall rate and made monotone."""
    count = flags(features, rule, absence)
    samples = np.bincount(count, minlength=4)[:4].astype(float) + _PRIOR_SAMPLES
    events = np.bincount(count, weights=outcome, minlength=4)[:4] + _PRIOR_SAMPLES * float(outcome.mean())
    rates = isotonic_regression(events / samples, sample_weight=samples)
    first, second, third, fourth = (round(float(rate), 9) for rate in rates)
    return Baseline(rule, (first, second, third, fourth), absence)
