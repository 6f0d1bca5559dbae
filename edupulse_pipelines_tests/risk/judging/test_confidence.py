from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit

from edupulse_pipelines.risk.judging.confidence import ConfidenceMap, confidence, evidence, fit_confidence

COUNT = 8000


class HeldOut:
    """Predictions with their outcomes; of students whom we know less, the scores say less.

    `steepness` above 1: scores too far from one half (overconfident); below 1: too near.
    """

    def __init__(self, seed: int, steepness: float, threshold: float = 0.5, count: int = COUNT) -> None:
        random = np.random.default_rng(seed)
        self.weeks = random.integers(1, 30, count).astype(float)
        self.quality = np.round(random.choice([1 / 3, 2 / 3], count) * random.choice([1, 1, 0.75, 0.5], count), 6)
        truth = random.normal(-0.8, 1.6, count)
        known = evidence(self.quality, self.weeks, 2 / 3)
        score = truth + random.normal(0, 1.2, count) * (1 - known)
        self.probability = np.round(expit(steepness * score), 6)
        self.outcome = (random.random(count) < expit(truth)).astype(np.int8)
        self.flagged = self.probability >= threshold
        self.right = (self.outcome == 1) == self.flagged

    def fit(self) -> ConfidenceMap:
        return fit_confidence(
            self.probability, self.outcome, self.flagged, data_quality=self.quality, weeks_of_data=self.weeks
        )

    def confidence(self, checked: ConfidenceMap) -> np.ndarray:
        return confidence(checked, self.probability, self.flagged, self.quality, self.weeks)


@pytest.mark.parametrize("threshold", [0.5, 0.3, 0.7])
@pytest.mark.parametrize("steepness", [1.0, 2.5, 0.5])
def test_the_category_is_right_as_often_as_confidence_says(steepness: float, threshold: float) -> None:
    seen = HeldOut(1, steepness, threshold)
    checked = ConfidenceMap.from_json(json.loads(json.dumps(seen.fit().as_json())))
    assert checked == seen.fit()
    for data, exact in ((seen, True), *((HeldOut(seed, steepness, threshold), False) for seed in range(2, 8))):
        sure = data.confidence(checked)
        assert sure.min() >= 0 and sure.max() <= 1
        for c in np.unique(sure):
            sample = data.right[sure >= c]
            error = 0.0 if exact else 3 * np.sqrt(c * (1 - c) / len(sample))
            assert sample.mean() >= c - error, (c, len(sample))


def test_confidence_says_something_where_scores_do() -> None:
    for steepness in (1.0, 2.5):
        data = HeldOut(1, steepness)
        sure = data.confidence(data.fit())
        assert np.quantile(sure, 0.9) > 0.8
        assert data.right[sure > 0.8].mean() > data.right[sure < 0.6].mean() + 0.2


def test_overconfident_scores_are_taken_down() -> None:
    data = HeldOut(1, 4.0)
    plain = data.confidence(ConfidenceMap(full_quality=2 / 3))
    checked = data.confidence(data.fit())
    assert (checked <= plain).all()
    assert plain.max() > 0.999
    assert checked.max() < 0.97


def test_confidence_never_falls_with_evidence_or_with_the_score() -> None:
    checked = HeldOut(1, 1.5).fit()
    quality, weeks = np.linspace(0, 1, 25), np.arange(0, 30.0)
    scores = np.linspace(0, 1, 201)
    for flagged in (True, False):
        for score in (0.05, 0.3, 0.5, 0.62, 0.9, 0.99):
            grid_quality, grid_weeks = (one.ravel() for one in np.meshgrid(quality, weeks, indexing="ij"))
            many = np.full(len(grid_quality), score)
            sure = confidence(checked, many, np.full(len(many), flagged), grid_quality, grid_weeks)
            table = sure.reshape(len(quality), len(weeks))
            assert (np.diff(table, axis=0) >= 0).all() and (np.diff(table, axis=1) >= 0).all()
        by_score = confidence(
            checked, scores, np.full(len(scores), flagged), np.full(len(scores), 0.5), np.full(len(scores), 6.0)
        )
        assert (np.diff(by_score if flagged else by_score[::-1]) >= 0).all()


def test_without_a_check_confidence_is_the_discounted_probability() -> None:
    def of(score: float, flagged: bool, quality: float, weeks: float) -> float:
        arguments = (np.array([score]), np.array([flagged]), np.array([quality]), np.array([weeks]))
        return float(confidence(ConfidenceMap.from_json(None), *arguments)[0])

    assert of(0.9, True, 1.0, 8) == 0.9
    assert of(0.1, False, 1.0, 40) == 0.9
    assert of(0.9, True, 0.5, 4) == 0.6
    assert of(0.5, True, 1.0, 40) == 0.5
    assert of(1.0, True, 0.0, 40) == 0.5
    assert of(0.4, True, 0.5, 8) == 0.2
    assert of(0.9, True, np.nan, 8) == 0.5
    assert of(0.7, True, 1.0, 8) == 0.7


def test_few_or_no_validation_rows_check_nothing() -> None:
    for count in (0, 1, 9):
        score = np.full(count, 0.9)
        checked = fit_confidence(score, np.ones(count, np.int8), score > 0.5)
        assert checked(np.array([0.2, 0.5, 0.99])).tolist() == [0.2, 0.5, 0.5]
    score = np.full(12, 0.95)
    checked = fit_confidence(score, np.ones(12, np.int8), score > 0.5)
    assert 0.85 < checked(np.array([0.99]))[0] < 0.9
    # Twelve rows of two students are two students.
    two = fit_confidence(score, np.ones(12, np.int8), score > 0.5, student=np.arange(12) % 2)
    assert two(np.array([0.99]))[0] == 0.5


def test_weeks_of_one_student_are_not_many_students() -> None:
    data = HeldOut(1, 1.0)
    arguments = (data.probability, data.outcome, data.flagged)
    rows = fit_confidence(*arguments)
    # Twenty rows of about the same probability to a student.
    of_student = np.argsort(np.argsort(data.probability)) // 20
    students = fit_confidence(*arguments, student=of_student)
    base = np.linspace(0.5, 1, 50)
    assert (students(base) <= rows(base)).all()
    assert students(base)[-1] < rows(base)[-1] - 0.02


def test_everything_known_that_a_district_sends_counts_as_everything() -> None:
    data = HeldOut(1, 1.0)
    checked = data.fit()
    assert checked.full_quality == pytest.approx(2 / 3, abs=1e-6)
    one = (np.array([0.97]), np.array([True]))
    assert confidence(checked, *one, np.array([0.67]), np.array([8.0])) == confidence(
        checked, *one, np.array([1.0]), np.array([30.0])
    )
