from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from edupulse_pipelines.features.definitions import FEATURE_NAMES, MODEL_FEATURES_BY_NAME, STANDING_NAMES
from edupulse_pipelines.risk.models.model import CANDIDATES, RiskModel, fit_candidate
from edupulse_pipelines.risk.telling.explanations import factor_contributions, risk_factors
from edupulse_pipelines.risk.telling.factors import FACTORS, NOT_RECORDED, NOTHING_STANDS_OUT, OTHER, grouped

FEATURES = (*(name for name in FEATURE_NAMES if name != "weeks_of_data"), *STANDING_NAMES, "entry_score", "imd_band")
KEYS = ["factor", "weight", "value", "description", "recommendation", "contribution", "direction", "protective", "unit"]
NEVER_SENT = [name for name, one in MODEL_FEATURES_BY_NAME.items() if one.domain == "behavioral"]
INCIDENTS = {"incidents", "incident_severity", "incident_trend"}
CONFIGS = {
    "logistic": {"C": 0.03},
    "additive": {"learning_rate": 0.1, "iterations": 30, "leaves": 4, "l2": 1.0, "leaf": 1.0},
    "boosting": {"learning_rate": 0.1, "iterations": 30, "leaves": 4, "l2": 1.0, "leaf": 1.0},
}
CONFIGS["averaged"] = {kind: CONFIGS[kind] for kind in ("logistic", "boosting")}


class Told:
    """A model that says what it is told to: contributions by feature, and by feature where it is missing."""

    def __init__(
        self, recorded: Mapping[str, float], missing: Mapping[str, float] | None = None, **typical: float
    ) -> None:
        self.features = list(FEATURES)
        self.recorded, self.missing = recorded, missing or {}
        self.typical: dict[str, float | None] = dict.fromkeys(FEATURES, 0.5) | typical

    def contributions(self, features: pd.DataFrame) -> np.ndarray:
        empty = features[self.features].isna().to_numpy()
        said = np.array([self.recorded.get(name, 0.0) for name in self.features])
        silent = np.array([self.missing.get(name, 0.0) for name in self.features])
        return np.where(empty, silent, said)


def student(**values: float) -> pd.DataFrame:
    """One student, about whom only `values` are recorded."""
    return pd.DataFrame([{name: values.get(name, np.nan) for name in FEATURES}], dtype=float)


def only(model: Told, **values: float) -> dict:
    (factors,) = risk_factors(model, student(**values))
    assert len(factors) == 1
    return factors[0]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.random((400, len(FEATURES))), columns=list(FEATURES)).round(6)
    for name in FEATURES:
        if "change" in name or "trend" in name or "vs_class" in name:
            frame[name] -= 0.5
    frame = frame.mask(random.random(frame.shape) < 0.2)
    frame.loc[frame.index % 3 == 0, "incidents_8w"] = 0.0
    return frame


@pytest.fixture(scope="module", params=CANDIDATES)
def model(frame: pd.DataFrame, request: pytest.FixtureRequest) -> RiskModel:
    attendance = frame["attendance_rate_4w"].fillna(0.2) + 0.3 * (frame["grade_change"].fillna(-0.5) + 0.5)
    outcome = (attendance + np.random.default_rng(1).normal(0, 0.2, len(frame)) < 0.5).astype(np.int8)
    directions = {name: one.risk_direction for name, one in MODEL_FEATURES_BY_NAME.items()}
    learned = frame.assign(**dict.fromkeys(NEVER_SENT, np.nan))
    kind = request.param
    return fit_candidate(kind, learned, outcome.to_numpy(), np.arange(len(frame)), CONFIGS[kind], directions)[0]


def test_factors_add_up_to_the_score(model: RiskModel, frame: pd.DataFrame) -> None:
    factors = factor_contributions(model, frame)
    assert list(factors)[-4:] == [one.name for one in NOT_RECORDED.values()]
    assert model.intercept + factors.sum(axis=1).to_numpy() == pytest.approx(model.log_odds(frame), abs=1e-9)


def test_factors_are_the_models_contributions_largest_first(model: RiskModel, frame: pd.DataFrame) -> None:
    totals = factor_contributions(model, frame).round(6)
    names = {factor.otherwise: factor.name for factor in FACTORS.values()}
    log_odds = model.log_odds(frame)
    nothing_left = {"contribution": 0.0, "weight": 0.0}
    for row, explained in enumerate(risk_factors(model, frame)):
        *factors, other = explained if explained[-1]["factor"] == OTHER else [*explained, nothing_left]
        assert 1 <= len(factors) <= 5
        total = totals.iloc[row]
        told = [names.get(one["factor"], one["factor"]) for one in factors]
        # What is told and the rest are the whole score.
        said = sum(one["contribution"] for one in [*factors, other])
        assert model.intercept + said == pytest.approx(log_odds[row], abs=3e-5)
        assert sum(one["weight"] for one in [*factors, other]) == pytest.approx(1, abs=1e-5)
        assert len(set(told)) == len(told)
        assert [one["contribution"] for one in factors] == pytest.approx(total[told].tolist(), abs=1e-6)
        assert not INCIDENTS & set(told), "never sent in training, so the model knows nothing of it"
        sizes = [abs(one["contribution"]) for one in factors]
        assert sizes == sorted(sizes, reverse=True)
        hidden = total.drop(told).abs()
        assert (hidden <= sizes[-1] + 1e-6).mean() > 0.6
        for one in factors:
            assert list(one) == KEYS
            assert one["weight"] == pytest.approx(abs(one["contribution"]) / total.abs().sum(), abs=1e-5)
            assert one["direction"] == ("raises" if one["contribution"] > 0 else "lowers")
            assert one["description"][0].isupper() and one["recommendation"]
            assert (one["value"] is None) == (one["unit"] is None) == one["factor"].endswith("_not_recorded")
            assert not (one["protective"] and one["direction"] == "raises")


def test_weights_are_shares_of_all_factors(frame: pd.DataFrame) -> None:
    shown = student(attendance_rate_4w=0.9, grade_mean_4w=70, incidents_8w=0)
    model = Told({"attendance_rate_4w": 1.0, "grade_mean_4w": -0.5, "incidents_8w": 0.5}, attendance_rate_4w=0.95)
    (factors,) = risk_factors(model, shown)
    assert [(one["factor"], one["weight"], one["contribution"]) for one in factors] == [
        ("attendance_rate_30d", 0.5, 1.0),
        ("grade_average", 0.25, -0.5),
        (OTHER, 0.25, 0.5),
    ]
    assert factors[-1] == {
        "factor": "other",
        "weight": 0.25,
        "value": None,
        "description": "One more thing that weighs less or cannot be told by a single fact raises the risk in all",
        "recommendation": None,
        "contribution": 0.5,
        "direction": "raises",
        "protective": False,
        "unit": None,
    }
    assert factor_contributions(model, shown).abs().sum(axis=1).item() == 2.0


def test_the_same_data_give_the_same_words_whatever_stands_beside_them(model: RiskModel, frame: pd.DataFrame) -> None:
    together = risk_factors(model, frame)
    assert risk_factors(model, frame) == together
    assert [risk_factors(model, frame.iloc[[row]])[0] for row in range(0, 400, 40)] == together[::40]


def test_a_factor_tells_its_first_fact_and_the_one_that_weighs_most() -> None:
    usual = {"attendance_rate_4w": 0.95, "attendance_rate_1w": 0.95}
    one = only(
        Told({"attendance_rate_4w": 0.1, "attendance_rate_1w": 0.6}, **usual),
        attendance_rate_4w=0.85,
        attendance_rate_1w=0.2,
    )
    assert one == {
        "factor": "attendance_rate_30d",
        "weight": 1.0,
        "value": 0.85,
        "description": "Attended 85% of sessions in the last four school weeks (typical: 95%); "
        "attended 20% of sessions this school week (typical: 95%)",
        "recommendation": "Contact the family to discuss what keeps the student from attending",
        "contribution": 0.7,
        "direction": "raises",
        "protective": False,
        "unit": "share",
    }
    one = only(
        Told({"attendance_rate_4w": 0.6, "attendance_rate_1w": -0.1}, **usual),
        attendance_rate_4w=0.85,
        attendance_rate_1w=1.0,
    )
    assert one["description"] == "Attended 85% of sessions in the last four school weeks (typical: 95%)"
    # What is as usual does not raise the risk: the fact that does is told, and none where there is none.
    good = {"attendance_rate_4w": 1.0, "attendance_rate_ytd": 0.7}
    year = only(Told({"attendance_rate_4w": 0.1, "attendance_rate_ytd": 0.6}, **usual, attendance_rate_ytd=0.9), **good)
    assert (year["factor"], year["value"]) == ("attendance_rate_year", 0.7)
    (factors,) = risk_factors(Told({"attendance_rate_4w": 0.7}, **usual), student(attendance_rate_4w=0.951))
    assert [one["factor"] for one in factors] == [NOTHING_STANDS_OUT, OTHER]


def test_protective_is_what_lowers_the_risk_and_is_good() -> None:
    model = Told({"attendance_rate_4w": -0.5})
    good, (bad,) = only(model, attendance_rate_4w=0.98), risk_factors(model, student(attendance_rate_4w=0.2))
    assert (good["protective"], "strength" in good["recommendation"]) == (True, True)
    (good_but_slipping,) = risk_factors(
        Told({"attendance_rate_4w": -0.5}), student(attendance_rate_4w=0.98, attendance_rate_1w=0.2)
    )
    assert good_but_slipping[0]["protective"] is False
    assert good_but_slipping[0]["recommendation"].startswith("No reason for concern")
    # A value that is worse than typical is not told as what lowers the risk.
    assert [one["factor"] for one in bad] == [NOTHING_STANDS_OUT, OTHER]
    # Fewer than others have, and the model takes it for that; no strength all the same.
    few = only(Told({"incidents_8w": -0.5}), incidents_8w=0.4)
    assert (few["factor"], few["protective"]) == ("incidents", False)


def test_what_is_not_recorded_is_told_as_that() -> None:
    missing = dict.fromkeys(NEVER_SENT, 0.25)
    one = only(Told({"attendance_rate_4w": 0.0}, missing), attendance_rate_4w=0.9)
    assert (one["factor"], one["value"], one["unit"]) == ("discipline_not_recorded", None, None)
    assert one["description"] == "No discipline data was recorded"
    assert (one["direction"], one["protective"]) == ("raises", False)
    # A part of a domain: the missing part never hides behind the name of what is there.
    (factors,) = risk_factors(
        Told({"grade_mean_8w": 0.5}, {"grade_mean_4w": 0.2, "grade_change": 0.3}), student(grade_mean_8w=0.4)
    )
    assert [(one["factor"], one["value"], one["contribution"], one["description"]) for one in factors] == [
        ("grade_average", 0.4, 0.5, "Mean grade of 0.4 in the last eight school weeks (typical: 0.5)"),
        ("grades_not_recorded", None, 0.5, "Too few grades were recorded to see a change"),
    ]
    lowers = only(Told({}, {"attendance_rate_4w": -0.5}), grade_mean_4w=70)
    assert (lowers["factor"], lowers["protective"]) == ("attendance_not_recorded", False)
    assert lowers["recommendation"].startswith("No action")


@pytest.mark.parametrize("feature", ["incidents_8w", "severity_highest_8w", "incidents_trend", "tardy_rate_4w"])
def test_what_did_not_happen_never_raises_the_risk(feature: str) -> None:
    (factors,) = risk_factors(
        Told({feature: 0.7, "grade_mean_4w": 0.1}, grade_mean_4w=75), student(**{feature: 0.0}, grade_mean_4w=70)
    )
    assert [(one["factor"], one["weight"]) for one in factors] == [("grade_average", 0.125), (OTHER, 0.875)]
    happened = only(Told({feature: 0.7}), **{feature: 1.0})
    assert (happened["factor"], happened["direction"]) == (
        next(name for name, columns in grouped([feature]).items()),
        "raises",
    )
    calm = only(Told({feature: -0.7}), **{feature: 0.0})
    assert calm["factor"] not in INCIDENTS | {"tardiness"}
    assert calm["protective"]


def test_an_incident_is_found_in_whichever_window_it_happened() -> None:
    model = Told({"incidents_8w": -0.1, "incidents_per_week_ytd": 0.7}, incidents_per_week_ytd=0.0)
    one = only(model, incidents_8w=0, incidents_per_week_ytd=0.25)
    assert (one["factor"], one["value"]) == ("incidents", 0.25)
    assert one["description"].startswith("Discipline incidents a school week this school year: 0.25")


def test_a_decline_is_told_only_where_something_declines() -> None:
    falls = only(Told({"grade_change": 0.5}), grade_change=-8.0)
    assert (falls["factor"], falls["value"], falls["unit"]) == ("gpa_decline", -8.0, "grade 0-100")
    assert falls["description"].startswith("Mean grade changed by -8 points")
    rises = only(Told({"grade_change": -0.5}), grade_change=8.0)
    assert (rises["factor"], rises["protective"]) == ("grades_holding_up", True)
    (factors,) = risk_factors(Told({"grade_change": 0.5}), student(grade_change=8.0))
    assert [one["factor"] for one in factors] == [NOTHING_STANDS_OUT, OTHER]


def test_a_weak_course_is_a_failing_one_only_below_the_mark() -> None:
    model = Told({"failing_share_ytd": 0.5, "grade_lowest_4w": 0.1}, grade_lowest_4w=75, failing_share_ytd=0)
    failing = only(model, grade_lowest_4w=45.0, failing_share_ytd=0.75)
    assert (failing["factor"], failing["value"]) == ("course_failure", 0.75)
    weak = only(model, grade_lowest_4w=72.0, failing_share_ytd=0.25)
    assert (weak["factor"], weak["value"], weak["unit"]) == ("lowest_grade", 72.0, "grade 0-100")
    year = only(Told({"attendance_rate_ytd": 0.5}, attendance_rate_ytd=0.9), attendance_rate_ytd=0.4)
    assert year["factor"] == "attendance_rate_year"


def test_background_tells_the_circumstance_that_weighs_most() -> None:
    model = Told({"entry_score": 0.1, "imd_band": 0.6})
    (factors,) = risk_factors(model, student(entry_score=3, imd_band=1), {"imd_band": ("0-10%", "10-20%")})
    assert [(one["factor"], one["value"]) for one in factors] == [("background", 1.0)]
    assert factors[0]["description"] == "Imd band: 10-20% (typical: 0.5)"
    assert "did" in factors[0]["recommendation"]
    assert only(Told({"imd_band": -0.6}), imd_band=1)["protective"]
    assert not only(Told({"teaching_weeks": -0.6}), teaching_weeks=9)["protective"]


def test_a_student_about_whom_nothing_can_be_told_still_gets_a_factor() -> None:
    expected = (NOTHING_STANDS_OUT, 0.0, 0.0, "lowers", None)
    (untold,) = risk_factors(Told({"incidents_8w": 1.0}), student(incidents_8w=0))
    assert (untold[1]["factor"], untold[1]["weight"], untold[1]["contribution"]) == (OTHER, 1.0, 1.0)
    for one in (only(Told({}), attendance_rate_4w=0.9), untold[0]):
        assert (one["factor"], one["weight"], one["contribution"], one["direction"], one["value"]) == expected
        assert list(one) == KEYS
    assert risk_factors(Told({}), student().iloc[:0]) == []


def test_a_domain_never_seen_has_no_typical_value() -> None:
    model = Told({"attendance_rate_4w": 0.5})
    model.typical["attendance_rate_4w"] = None
    one = only(model, attendance_rate_4w=0.2)
    assert one["description"] == "Attended 20% of sessions in the last four school weeks"


def test_what_is_no_fact_by_itself_is_told_as_the_fact_it_is_made_of() -> None:
    usual = {"attendance_rate_4w": 0.95, "attendance_rate_ytd": 0.95, "missed_sessions_ytd": -3.0}
    model = Told({"attendance_rate_4w": 0.1, "missed_sessions_ytd": 0.6}, **usual)
    one = only(model, attendance_rate_4w=0.9, attendance_rate_ytd=0.7, missed_sessions_ytd=-1.2)
    assert "attended 70% of sessions this school year" in one["description"]
    assert "missed" not in one["description"]
    assert one["contribution"] == 0.7
    alone = only(model, missed_sessions_ytd=-1.2)
    assert alone["description"].startswith("Missed about 30% of sessions this school year")
