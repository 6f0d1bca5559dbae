from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from scipy.special import expit

from edupulse_pipelines.risk.models.baseline import Baseline, fit_baseline, flags
from edupulse_pipelines.settings import RuleSettings, absence_rule

RULE = RuleSettings()


def everybody() -> pd.DataFrame:
    """Every combination of raised, not raised and missing."""
    values = itertools.product((0.5, 0.9, np.nan), (2.0, 1.0, np.nan), (59.0, 60.0, np.nan))
    return pd.DataFrame(list(values), columns=["attendance_rate_4w", "incidents_8w", "grade_mean_8w"])


def test_contributions_add_up_to_the_log_odds() -> None:
    rule = Baseline(RULE, (0.05, 0.2, 0.5, 0.8))
    frame = everybody()
    contributions = rule.contributions(frame)
    assert contributions.shape == (len(frame), len(rule.features))
    log_odds = rule.intercept + contributions.sum(axis=1)
    assert np.allclose(log_odds, rule.log_odds(frame), rtol=0, atol=1e-9)
    assert np.allclose(expit(log_odds), rule.probabilities(frame), rtol=0, atol=1e-9)


def test_raised_flags_share_equally_and_nothing_else_contributes() -> None:
    rule = Baseline(RULE, (0.05, 0.2, 0.5, 0.8))
    frame = everybody()
    raised = frame.lt({"attendance_rate_4w": 0.9, "incidents_8w": 0, "grade_mean_8w": 60}, axis=1).to_numpy(copy=True)
    raised[:, 1] = frame["incidents_8w"] >= 2
    contributions = rule.contributions(frame)
    assert (contributions[~raised] == 0).all()
    assert (contributions[raised] > 0).all()
    for row, which in zip(contributions, raised, strict=True):
        assert len(set(row[which])) <= 1
    assert (flags(frame, RULE) == raised.sum(axis=1)).all()


def test_absence_by_the_rule_of_an_authority_takes_the_place_of_the_rate() -> None:
    days = pd.DataFrame(
        [(40, 4, 4.0), (40, 3, 3.9), (9, 9, 9.0), (0, 0, 0.0), (np.nan, np.nan, np.nan)],
        columns=["days_enrolled_ytd", "days_absent_ytd", "days_missed_ytd"],
    ).assign(attendance_rate_4w=0.5, incidents_8w=0.0, grade_mean_8w=90.0)
    assert flags(days, RULE, absence_rule("federal")).tolist() == [1, 0, 0, 0, 0]
    assert flags(days, RULE, absence_rule("connecticut")).tolist() == [1, 0, 1, 0, 0]
    assert flags(days, RULE).tolist() == [1] * 5
    assert flags(days, RuleSettings(attendance_below=0.4)).tolist() == [0] * 5
    outcome = np.array([1, 0, 0, 0, 0], dtype=np.int8)
    rule = fit_baseline(days, outcome, RULE, absence_rule("federal"))
    assert rule.features[0] == "days_absent_ytd"
    assert (rule.contributions(days)[:, 0] > 0).tolist() == [True, False, False, False, False]
    assert rule.probabilities(days)[0] > rule.probabilities(days)[1]


def test_a_rule_that_never_saw_an_event_has_log_odds() -> None:
    frame = everybody()
    rule = fit_baseline(frame, np.zeros(len(frame), dtype=np.int8), RULE)
    assert np.isfinite(rule.log_odds(frame)).all()
    assert (rule.contributions(frame) == 0).all()
