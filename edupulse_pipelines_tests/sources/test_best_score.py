"""The best score: calibrated, better than any single trait or feature, the same numbers for the same arguments."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from edupulse_pipelines.risk.judging.evaluation import auc_roc
from edupulse_pipelines.settings import LabelSettings
from edupulse_pipelines.sources.best_score import BestScores, best_scores
from edupulse_pipelines.sources.synthetic_district import LatentTraits, latent_traits, school_weeks
from edupulse_pipelines.sources.synthetic_year import DEFAULT_STORY, Story, Year, first_day

LAST = dt.date(2026, 6, 8)
WEEK = dt.timedelta(days=7)
WEEKS = school_weeks(36, LAST)
AS_OF = (9, 18, 26)
STUDENTS = 400


@dataclass(frozen=True)
class District:
    scores: BestScores
    traits: LatentTraits
    year: Year


def played(students: int, story: Story = DEFAULT_STORY) -> Year:
    year = first_day(students=students, weeks=36, seed=20260901, last_week=LAST, story=story)
    for number in range(36):
        year.play(number)
    return year


@pytest.fixture(scope="module")
def district() -> District:
    arguments: dict[str, Any] = {"students": STUDENTS, "weeks": 36, "seed": 20260901, "last_week": LAST}
    scores = best_scores(**arguments, as_of=[WEEKS[number] for number in AS_OF], futures=100)
    return District(scores, latent_traits(**arguments), played(STUDENTS))


def auc(score: np.ndarray, adverse: np.ndarray) -> float:
    """Of any score: a mark or a trait is no probability, and ranks all the same."""
    area = auc_roc(score, adverse)
    assert area is not None
    return area


def test_probabilities_are_those_of_who_is_enrolled(district: District) -> None:
    scores, year = district.scores, district.year
    assert scores.weeks == tuple(WEEKS[number] for number in AS_OF)
    assert scores.district_ids == district.traits.district_ids
    assert scores.probability.shape == scores.adverse.shape == (STUDENTS, len(AS_OF))
    assert scores.futures == 100
    for column, number in enumerate(AS_OF):
        # Enrolled on a Sunday: had come by then, and has a school day in the week after it.
        later = np.any(year.status[:, number + 1] >= 0, axis=1)
        assert np.array_equal(scores.enrolled[:, column], (year.entry < (number + 1) * 5) & later)
    known = scores.probability[scores.enrolled]
    assert known.min() >= 0
    assert known.max() <= 1
    assert 0 < np.isnan(scores.probability).mean() < 0.1


def test_the_true_probability_is_calibrated(district: District) -> None:
    """In all and in each third of the risk, events are as many as expected, within three standard errors."""
    here = district.scores.enrolled
    probability, adverse = district.scores.probability[here], district.scores.adverse[here]
    thirds = np.searchsorted(np.quantile(probability, [1 / 3, 2 / 3]), probability)
    for group in (thirds >= 0, thirds == 0, thirds == 1, thirds == 2):
        expected = probability[group].sum()
        error = np.sqrt((probability[group] * (1 - probability[group])).sum())
        # Neighbouring as-of weeks share some of their futures' luck: allow for the square root of three.
        assert abs(adverse[group].sum() - expected) < 3 * np.sqrt(3) * error


def test_no_single_feature_or_trait_is_better(district: District) -> None:
    year, traits = district.year, district.traits
    for column, number in enumerate(AS_OF):
        here = district.scores.enrolled[:, column] & (year.entry // 5 <= number - 3)
        adverse = district.scores.adverse[here, column]
        status, score = year.status[here, : number + 1], year.score[here, : number + 1]
        rivals = {
            "absences": np.isin(status, (1, 3)).sum(axis=(1, 2)) / (status >= 0).sum(axis=(1, 2)),
            "absences of a month": np.isin(status[:, -4:], (1, 3)).mean(axis=(1, 2)),
            "mean mark": -np.nanmean(score, axis=(1, 2)),
            "mean mark of a month": -np.nanmean(score[:, -4:], axis=(1, 2)),
            "engagement": -traits.engagement[here, number],
            "ability": -traits.ability[here, number],
            "conduct": -traits.conduct[here, number],
            "frailty": traits.frailty[here],
        }
        best = auc(district.scores.probability[here, column], adverse)
        assert best > max(auc(rival, adverse) for rival in rivals.values()) + 0.02
        assert 0.85 < best < 0.97


def test_a_week_does_not_depend_on_the_others(district: District) -> None:
    alone = best_scores(students=STUDENTS, last_week=LAST, as_of=[WEEKS[AS_OF[1]]], futures=100)
    assert np.array_equal(alone.probability[:, 0], district.scores.probability[:, 1], equal_nan=True)
    assert np.array_equal(alone.adverse[:, 0], district.scores.adverse[:, 1])


def test_futures_leave_the_present_alone() -> None:
    """And start from the student's own state: all that a copy keeps, it keeps of the right student."""
    year = first_day(students=30, weeks=12, seed=3, last_week=LAST, story=DEFAULT_STORY)
    for number in range(6):
        year.play(number)
    status, engagement = year.status.copy(), year.engagement.copy()
    branch = year.futures(4, np.random.default_rng(1))
    for name, value in vars(year).items():
        if isinstance(value, np.ndarray) and value.shape[0] == 30:
            copies = getattr(branch, name).reshape(4, *value.shape)
            assert all(np.array_equal(one, value, equal_nan=value.dtype.kind == "f") for one in copies), name
    for number in range(6, 12):
        branch.play(number)
    assert np.array_equal(year.status, status)
    assert np.array_equal(year.engagement, engagement, equal_nan=True)
    assert not year.incidents[6]
    ends = branch.engagement[:, -1].reshape(4, 30)
    assert np.std(ends, axis=0).min() > 0


def test_events_can_be_switched_off_and_add_up() -> None:
    arguments: dict[str, Any] = {"students": 300, "last_week": LAST, "as_of": [WEEKS[20]], "futures": 5}
    off: dict[str, Any] = {
        "rule": False,
        "failing_below": False,
        "serious_severity": False,
        "incident_count": False,
        "exit_types": (),
    }
    events = [
        best_scores(**arguments, label=LabelSettings(**(off | {name: getattr(LabelSettings(), name)}))) for name in off
    ]
    assert all(one.adverse.any() for one in events[:4])
    together = best_scores(**arguments)
    assert np.array_equal(together.adverse, np.any([one.adverse for one in events], axis=0))
    assert np.all(together.probability >= np.max([one.probability for one in events], axis=0), where=together.enrolled)


def test_the_horizon_counts_calendar_weeks() -> None:
    """One calendar week after the tenth school week is the fall break: nothing can happen in it."""
    scores = best_scores(
        students=100, last_week=LAST, as_of=WEEKS[8:11], label=LabelSettings(horizon_weeks=1), futures=5
    )
    assert scores.adverse.any(axis=0).tolist() == [True, False, True]
    assert np.nanmax(scores.probability[:, 1]) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"as_of": [WEEKS[0] - WEEK]},
        {"as_of": [WEEKS[9] + WEEK]},  # in the fall break
        {"as_of": [LAST - 7 * WEEK]},
        {"futures": 0},
        {"students": 0},
        {"label": LabelSettings.model_construct(horizon_weeks="exit")},
    ],
)
def test_arguments_without_a_best_score(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        best_scores(**({"students": 5, "last_week": LAST, "as_of": [WEEKS[9]]} | wrong))


def test_what_the_record_says_beyond_the_traits_makes_the_future_less_certain() -> None:
    """More scatter in marks and health makes the label less predictable even for who knows every trait."""
    sharpness = []
    for noise in (0.0, 1.0, 2.0):
        scores = best_scores(students=600, last_week=LAST, as_of=[WEEKS[20]], futures=40, story=Story(noise=noise))
        # The expected AUC of calibrated scores, from the scores alone: pairs weighted by who is adverse and who is not.
        known = np.sort(scores.probability[scores.enrolled])
        below = np.cumsum(1 - known) - (1 - known)
        sharpness.append((known * below).sum() / (known.sum() * (1 - known).sum()))
    assert sharpness[0] > sharpness[1] + 0.01 > sharpness[2] + 0.02
