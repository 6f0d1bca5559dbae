from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from edupulse_pipelines.features.definitions import FEATURE_NAMES, MODEL_FEATURES_BY_NAME, STANDING_NAMES
from edupulse_pipelines.risk.telling.factors import (
    FACTORS,
    NOT_RECORDED,
    NOTHING_STANDS_OUT,
    NUMBER,
    OTHER,
    POINTS,
    RATIO,
    SHARE,
    SIGNED,
    fact_of,
    grouped,
)

INPUTS = [name for name in (*FEATURE_NAMES, *STANDING_NAMES) if name != "weeks_of_data"]


def test_every_feature_of_a_model_belongs_to_exactly_one_factor() -> None:
    belongs = Counter(feature for factor in FACTORS.values() for feature in factor.features)
    assert set(belongs) == set(INPUTS)
    assert set(belongs.values()) == {1}
    for name, factor in FACTORS.items():
        assert factor.name == name
        assert all(grouped([feature]) == {name: [0]} for feature in factor.features)


def test_declared_inputs_are_background() -> None:
    names = ["imd_band", "attendance_rate_1w", "entry_score", "attendance_rate_4w"]
    assert grouped(names) == {"attendance_rate_30d": [3, 1], "background": [0, 2]}
    fact = fact_of("imd_band")
    assert (fact.text, fact.unit, fact.direction) == ("imd band: {value}", "", 0)


def test_nobody_is_explained_by_who_they_are() -> None:
    assert not {"grade_level", "gender", "ethnicity", "socioeconomic_status"} & set(INPUTS)


def test_names_are_told_apart() -> None:
    names = [name for factor in FACTORS.values() for name in (factor.name, factor.otherwise) if name]
    names += [one.name for one in NOT_RECORDED.values()] + [NOTHING_STANDS_OUT, OTHER]
    assert len(names) == len(set(names))
    assert all(name.isidentifier() and name == name.lower() for name in names)


def test_words_and_declarations_go_together() -> None:
    for factor in FACTORS.values():
        assert factor.domain in NOT_RECORDED
        assert factor.act and factor.keep
        for fact in factor.facts:
            declared = MODEL_FEATURES_BY_NAME[fact.feature]
            assert fact.text.count("{value}") == 1, fact
            assert not fact.text[0].isupper(), fact
            assert fact.missing.startswith(("No ", "Too ")), fact
            assert (fact.unit, fact.direction) == (declared.unit, declared.risk_direction)
            assert declared.domain == factor.domain or factor.domain == "background", fact
            assert (fact.shows is None) or (factor.otherwise is not None), fact
            assert fact.instead is None or fact.instead in factor.features, fact
        for recovery in factor.over:
            assert recovery.feature in MODEL_FEATURES_BY_NAME and fact_of(recovery.feature).is_recent
            assert recovery.act not in (factor.act, factor.keep)
        assert factor.in_course is None or factor.in_course.count("{course}") == 1
        if factor.otherwise is not None:
            assert any(fact.shows is not None for fact in factor.facts)
        if factor.facts:
            assert (factor.unit, factor.direction) == (factor.lead.unit, factor.lead.direction)


@pytest.mark.parametrize(
    ("number", "value", "text"),
    [
        (SHARE, 0.954, "95%"),
        (SHARE, 0.0, "0%"),
        (POINTS, -0.0999, "-10 percentage points"),
        (POINTS, -0.0001, "+0 percentage points"),
        (NUMBER, 71.25, "71.2"),
        (NUMBER, 3.0, "3"),
        (SIGNED, -0.04, "+0"),
        (SIGNED, 2.5, "+2.5"),
        (RATIO, 0.0, "100%"),
        (RATIO, float(np.log(0.5)), "50%"),
    ],
)
def test_numbers_are_written_for_people(number: object, value: float, text: str) -> None:
    assert number.written(value) == text


def test_levels_are_written_as_themselves() -> None:
    fact = fact_of("imd_band", {"imd_band": ("0-10%", "10-20%")})
    assert fact.number.written(1.0) == "10-20%"
    # Settings may have changed since the model was trained.
    assert fact.number.written(2.0) == "2"
