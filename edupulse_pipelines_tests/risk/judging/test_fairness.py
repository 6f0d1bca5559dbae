"""The fairness test: it finds a group that is served half as well, spares one that is not, and says what it cannot."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edupulse_pipelines.risk.judging.fairness import (
    LEAST_SURE,
    certainty_required,
    judge_fairness,
    power_at,
    students_needed,
)
from edupulse_pipelines.risk.judging.promotion import Decision
from edupulse_pipelines.risk.telling.decisions import decision_words
from edupulse_pipelines.settings import PromotionSettings
from edupulse_pipelines_tests.benchmarks.fairness import District, district, simulated, verdict

SETTINGS = PromotionSettings(bootstrap=200)


def test_half_of_everybodys_recall_fails_and_an_equal_group_does_not() -> None:
    """The benchmark has more simulations, and other districts."""
    kind = {"event_students": 100, "base_rate": 0.28, "capacity": 0.1, "students": 1500}
    half = simulated(20, unseen=0.57, **kind)
    assert half["failed"] >= 0.9
    assert half["ratio"] == pytest.approx(0.5, abs=0.05)
    assert half["gap"] <= 0.1  # the bound of before
    assert simulated(20, unseen=0.0, **kind)["failed"] <= 0.05


def test_a_small_group_cannot_be_judged_and_it_is_said_with_a_number() -> None:
    row = verdict(district(0, event_students=20, unseen=1.0, base_rate=0.28, students=1500), SETTINGS)
    assert (row["outcome"], row["failures"], row["certainty_required"]) == ("cannot_be_judged", [], None)
    assert 0 < row["power"] < 0.9
    assert 40 < row["event_students_needed"] < 120
    found = {
        **judge_fairness(*_arrays(1.0), {"group": _groups(20)}, SETTINGS, 0),
    }
    assert found["passed"] and found["cannot_be_judged"] >= 1
    words = decision_words(Decision(True, {"fairness": found}))
    assert "cannot be judged: one with half of everybody's recall would be found with a probability of" in words
    assert "students with an event." in words


def test_the_certainty_leaves_the_power_and_grows_with_the_group() -> None:
    sure = [certainty_required(count, 0.3, 0.8) for count in (10, 70, 100, 200, 2000)]
    assert sure == sorted(sure) and sure[0] < LEAST_SURE < sure[1] and sure[-1] == 0.95
    assert power_at(sure[2], 100, 0.3, 0.8) == pytest.approx(0.95)
    needed = students_needed(0.3, 0.8)
    assert needed is not None
    assert certainty_required(needed, 0.3, 0.8) >= LEAST_SURE > certainty_required(needed - 1, 0.3, 0.8)
    assert students_needed(0.0, 0.8) is None
    assert certainty_required(100, float("nan"), 0.8) == 0


def _arrays(unseen: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    one = district(1, event_students=150, unseen=unseen, base_rate=0.28, students=1500)
    return one.probability, one.actual, one.week, one.student


def _groups(count: int) -> np.ndarray:
    return np.where(np.tile(np.arange(1500), 4) < count, "few", "many").astype(object)


def test_an_intersection_fails_where_neither_of_its_groups_does() -> None:
    """Of boys and girls and of two places, only the girls of one place are not seen."""
    one = district(3, event_students=120, unseen=0.9, base_rate=0.28, students=3000)
    random = np.random.default_rng(0)
    unseen = (one.group == "small")[:3000]
    girl, north = random.random(3000) < 0.5, random.random(3000) < 0.5
    girl, north = np.where(unseen, True, girl), np.where(unseen, True, north)
    # Others of the same intersection are moved out of it.
    girl = np.where(~unseen & girl & north, random.random(3000) < 0.2, girl)
    groups = {
        "gender": np.where(girl, "F", "M").astype(object)[one.student],
        "place": np.where(north, "north", "south").astype(object)[one.student],
    }
    rows = (one.probability, one.actual, one.week, one.student)
    found = judge_fairness(*rows, groups, SETTINGS, 0, [("gender", "place")])
    outcome = {row["subgroup"]: row["outcome"] for row in found["subgroups"]}
    assert outcome["gender=F & place=north"] == "failed"
    assert outcome["gender=M & place=north"] == outcome["gender=M & place=south"] == "passed"
    assert not found["passed"]
    crossed = [row for row in found["subgroups"] if "&" in row["subgroup"]]
    assert all("students" not in row for row in crossed)
    json.dumps(found, allow_nan=False)
    assert found == judge_fairness(*rows, groups, SETTINGS, 0, [("gender", "place")])


def test_miscalibration_within_a_group_fails() -> None:
    one = district(4, event_students=200, unseen=0.0, base_rate=0.28, students=1500)
    less = np.where(one.group == "small", one.probability * 0.3, one.probability)
    # Everybody is on the list: the ratio is 1, whatever the scores.
    everybody = SETTINGS.model_copy(update={"capacity": 1.0})
    row = verdict(District(less, one.actual, one.week, one.student, one.group), everybody)
    assert (row["failures"], row["value"]) == (["calibration"], 1.0)
    assert row["calibration"]["value"] > 0.1
    assert verdict(one, everybody)["outcome"] == "passed"


def test_bounds_on_the_false_negative_rate_hold_beside_the_ratio_where_they_are_set() -> None:
    one = district(5, event_students=200, unseen=1.0, base_rate=0.28, students=1500)
    bounds = SETTINGS.model_copy(update={"fnr_gap": 0.1, "maximum_false_negative_rate": 0.9})
    assert verdict(one, bounds)["failures"] == ["recall_ratio", "calibration", "gap", "maximum"]
    assert verdict(one, SETTINGS)["failures"] == ["recall_ratio", "calibration"]


def test_every_student_in_one_school_is_nothing_to_compare() -> None:
    arrays = _arrays(0.0)
    school = np.full(len(arrays[0]), "central", dtype=object)
    found = judge_fairness(*arrays, {"metadata.school": school}, SETTINGS, 0)
    assert (found["subgroups"], found["not_compared"], found["passed"]) == ([], ["metadata.school"], True)
    assert "There is no subgroup to judge." in decision_words(Decision(True, {"fairness": found}))


def test_a_subgroup_that_appears_after_promotion_is_joined_then_told_then_judged() -> None:
    arrays = _arrays(0.0)
    student = np.random.default_rng(0).permutation(1500)[arrays[3]]
    seen = {}
    for new in (0, 4, 12, 600):
        value = np.where(student % 2, "a", "b").astype(object)
        value[student < new] = "new"
        found = judge_fairness(*arrays, {"language": value}, SETTINGS, 0)
        seen[new] = {row["subgroup"].removeprefix("language="): row["outcome"] for row in found["subgroups"]}
    assert list(seen[0]) == ["a", "b"]
    assert sorted(seen[4]) in (["a", "b and smaller groups"], ["a and smaller groups", "b"])
    assert seen[12]["new"] == "cannot_be_judged"
    assert seen[600]["new"] == "passed"


@pytest.mark.parametrize("happened", [True, False])
def test_one_class_is_judged_without_a_figure_that_is_not_defined(happened: bool) -> None:
    probability, _, week, student = _arrays(0.0)
    actual = np.full(len(probability), happened)
    found = judge_fairness(probability, actual, week, student, {"group": _groups(300)}, SETTINGS, 0)
    json.dumps(found, allow_nan=False)
    assert happened or all(row["value"] is None for row in found["subgroups"])
