from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from edupulse_pipelines.risk.cohorts import MODEL_FEATURES
from edupulse_pipelines.risk.explanations import FACTORS, risk_factors
from edupulse_pipelines.risk.model import RiskModel, fit_model

KEYS = ["factor", "weight", "value", "description", "recommendation", "contribution", "direction"]
NEVER_SENT = {"incidents_4w", "incidents_8w", "severity_highest_8w", "incidents_trend"}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.random((300, len(MODEL_FEATURES))), columns=list(MODEL_FEATURES))
    frame = frame.mask(random.random(frame.shape) < 0.2)
    for name in NEVER_SENT:
        frame[name] = np.nan
    return frame


@pytest.fixture(scope="module")
def model(frame: pd.DataFrame) -> RiskModel:
    attendance = frame["attendance_rate_4w"].fillna(0.2).to_numpy()
    outcome = (attendance + np.random.default_rng(1).normal(0, 0.2, len(frame)) < 0.5).astype(np.int8)
    return fit_model(frame, outcome, np.arange(len(frame)))[0]


def test_every_feature_of_the_model_has_its_words() -> None:
    assert set(FACTORS) == set(MODEL_FEATURES)
    for name, text in FACTORS.items():
        assert "{value}" in text.fact, name
        if "change" in name or "trend" in name:
            assert text.written(-0.0001).startswith("+0"), name


def test_nobody_is_scored_by_who_they_are() -> None:
    assert not {"grade_level", "gender", "ethnicity", "socioeconomic_status"} & set(MODEL_FEATURES)


def test_factors_are_the_models_contributions_largest_first(model: RiskModel, frame: pd.DataFrame) -> None:
    contributions = pd.DataFrame(model.contributions(frame), columns=model.features)
    for row, factors in enumerate(risk_factors(model, frame)):
        assert 1 <= len(factors) <= 5
        ours = contributions.iloc[row]
        assert [factor["contribution"] for factor in factors] == pytest.approx(
            [ours[factor["factor"]] for factor in factors], abs=1e-6
        )
        sizes = [abs(factor["contribution"]) for factor in factors]
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] == pytest.approx(ours.abs().max(), abs=1e-6)
        assert not NEVER_SENT & {factor["factor"] for factor in factors}
        for factor in factors:
            assert list(factor) == KEYS
            assert factor["weight"] == pytest.approx(abs(factor["contribution"]) / ours.abs().sum(), abs=1e-5)
            assert factor["direction"] == ("raises" if factor["contribution"] > 0 else "lowers")
            value = frame[factor["factor"]].iloc[row]
            if np.isnan(value):
                assert factor["value"] is None
                assert factor["description"].startswith(("No ", "Too "))
                assert "recorded" in factor["description"]
            else:
                assert factor["value"] == pytest.approx(value, abs=1e-6)
                assert "typical" in factor["description"]
            assert factor["recommendation"]


def test_words_follow_the_value(model: RiskModel, frame: pd.DataFrame) -> None:
    low = frame.iloc[[0]].assign(attendance_rate_4w=0.05)
    high = frame.iloc[[0]].assign(attendance_rate_4w=0.99)
    first_of_low, first_of_high = (risk_factors(model, one)[0][0] for one in (low, high))
    assert first_of_low["factor"] == first_of_high["factor"] == "attendance_rate_4w"
    assert first_of_low["direction"] == "raises"
    assert first_of_low["description"].startswith("Attended 5% of sessions")
    assert "family" in first_of_low["recommendation"]
    assert first_of_high["direction"] == "lowers"
    assert "strength" in first_of_high["recommendation"]


def test_a_student_average_in_everything_still_gets_a_factor(model: RiskModel, frame: pd.DataFrame) -> None:
    silent = frame.iloc[[0]]

    class Average(RiskModel):
        def contributions(self, features: pd.DataFrame) -> np.ndarray:
            return np.zeros((len(features), len(self.features)))

    (factors,) = risk_factors(Average(model.pipeline), silent)
    assert [(factor["weight"], factor["contribution"], factor["direction"]) for factor in factors] == [
        (0.0, 0.0, "lowers")
    ]
