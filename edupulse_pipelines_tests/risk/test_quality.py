"""How good candidates are: on a synthetic district between the rule and the best possible score; on real learners."""

from __future__ import annotations

import numpy as np
import pytest

from edupulse_pipelines_tests.benchmarks.quality import (
    COHORTS,
    OULAD,
    TEACHING_WEEKS,
    open_university,
    synthetic_district,
    weighted_auc,
)


def test_the_expected_auc_of_certain_events_is_the_auc() -> None:
    score = np.array([0.1, 0.4, 0.4, 0.9])
    assert weighted_auc(score, np.array([0.0, 0.0, 1.0, 1.0])) == pytest.approx(3.5 / 4)
    assert weighted_auc(score, np.full(4, 0.5)) == pytest.approx(0.5)


def test_neither_a_learned_score_nor_the_rule_is_better_than_the_best_possible() -> None:
    """200 students are too few for a model to be better than the graded rule; both are far better than chance."""
    found = synthetic_district(200, weeks=28, futures=25)
    sides = found["sides"]
    ours, rule, best = (sides[side]["expected_auc"] for side in (found["winner"], "rule", "best_possible"))
    assert min(ours, rule) > 0.75
    assert max(ours, rule) < best
    assert found["expected_gap"] == pytest.approx(sides["best_possible"]["expected_auc"] - ours, abs=1e-3)


@pytest.mark.heavy
@pytest.mark.skipif(not OULAD.is_dir(), reason="the OULAD deliveries are not beside the repository")
def test_real_learners_are_ranked_better_than_by_plain_models_in_the_first_weeks() -> None:
    found = open_university(OULAD, ["2013B"], ["2013J"])["weeks"]
    assert {week: found[str(week)]["base"]["n"] for week in TEACHING_WEEKS} == COHORTS
    for week in (4, 8, 12, 16):
        assert found[str(week)]["goals_met"]["auc"], f"week {week}"
    for week in (4, 8, 12):
        assert found[str(week)]["goals_met"]["p10"], f"week {week}"
