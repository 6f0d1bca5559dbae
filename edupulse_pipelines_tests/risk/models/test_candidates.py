"""What holds for every kind of model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from edupulse_pipelines.risk.models.averaged import members_of
from edupulse_pipelines.risk.models.boosting import ShapleyTables
from edupulse_pipelines.risk.models.model import (
    AVERAGED,
    CANDIDATES,
    MEMBERS,
    REGULARISATION_C,
    CannotLearn,
    RiskModel,
    averaged_fit,
    fit_candidate,
    fit_out_of_fold,
    fit_sigmoid,
    folds_of,
    learner_of,
    one_thread,
)
from edupulse_pipelines.risk.models.saved import risk_model_of
from edupulse_pipelines.risk.models.sklearn_private import SKOPS_TRUSTED_TYPES, start, tree_nodes
from edupulse_pipelines_tests.risk.models.untuned import fit_model

NAMES = ["rate", "grade", "count", "both", "never", "always_same", "one_or_nothing"]
DIRECTIONS = {"rate": -1, "grade": -1, "count": 1, "never": 1}
CONFIGS: dict[str, dict[str, Any]] = {
    "logistic": {"C": REGULARISATION_C},
    "additive": {"learning_rate": 0.1, "leaves": 4, "l2": 1.0, "leaf": 1.0, "iterations": 60},
    "boosting": {"learning_rate": 0.1, "leaves": 8, "l2": 1.0, "leaf": 1.0, "iterations": 60, "max_features": 0.7},
}
CONFIGS[AVERAGED] = {kind: CONFIGS[kind] for kind in MEMBERS}


def samples(seed: int, rows: int = 1500, students: int = 150) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Some features matter, two of them together; one is never recorded, one never varies, one only in being there."""
    random = np.random.default_rng(seed)
    student = random.integers(0, students, rows)
    trait = random.normal(size=students)[student]
    count, both = random.poisson(1, rows).astype(float), random.normal(size=rows)
    values = np.column_stack(
        [
            -trait + random.normal(size=rows),
            random.normal(70, 10, rows) - 5 * trait,
            count,
            both,
            np.full(rows, np.nan),
            np.full(rows, 0.1),
            np.where(random.random(rows) < 0.5, 1.0, np.nan),
        ]
    )
    values[random.random(rows) < 0.2, 1] = np.nan
    outcome = (random.random(rows) < expit(1.5 * trait + both * (count > 0) - 1)).astype(np.int8)
    return pd.DataFrame(values, columns=NAMES), outcome, student


def fit(kind: str, *data: Any, directions: Mapping[str, int] = DIRECTIONS, **more: Any) -> RiskModel:
    return fit_candidate(kind, *data, CONFIGS[kind], directions, **more)[0]


@pytest.fixture(scope="module")
def models() -> dict[str, RiskModel]:
    return {kind: fit(kind, *samples(0)) for kind in CANDIDATES}


kinds = pytest.mark.parametrize("kind", CANDIDATES)
kinds_of_trees = pytest.mark.parametrize("kind", ["additive", "boosting"])
single_kinds = pytest.mark.parametrize("kind", [kind for kind in CANDIDATES if kind != AVERAGED])


@kinds
@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(*[st.one_of(st.just(float("nan")), st.floats(-1e3, 1e3, allow_subnormal=False))] * len(NAMES)),
        min_size=1,
        max_size=5,
    )
)
def test_contributions_add_up_to_the_log_odds(
    models: dict[str, RiskModel], kind: str, rows: list[tuple[float, ...]]
) -> None:
    model, frame = models[kind], pd.DataFrame(rows, columns=NAMES, dtype=float)
    added = model.intercept + model.contributions(frame).sum(axis=1)
    assert np.allclose(added, model.log_odds(frame), rtol=0, atol=1e-9)
    assert np.allclose(expit(added), model.probabilities(frame), rtol=0, atol=1e-9)
    assert (model.probabilities(frame) == model.pipeline.predict_proba(frame)[:, 1]).all()


@kinds
def test_contributions_are_measured_from_the_training_sets_average(models: dict[str, RiskModel], kind: str) -> None:
    frame = samples(0)[0]
    # What features do together is shared by Shapley's rule; there only the sum is centred exactly.
    exact = 0.01 if kind in ("boosting", AVERAGED) else 1e-9
    assert np.allclose(models[kind].contributions(frame).mean(axis=0), 0, atol=exact)
    assert models[kind].intercept == pytest.approx(models[kind].log_odds(frame).mean(), abs=1e-9)


@kinds
def test_what_does_not_vary_in_training_says_nothing(models: dict[str, RiskModel], kind: str) -> None:
    model = models[kind]
    frame = samples(1)[0].assign(never=5.0, always_same=[*([9.0, np.nan] * 750)])
    contributions = pd.DataFrame(model.contributions(frame), columns=model.features)
    assert (contributions[["never", "always_same"]] == 0.0).all(axis=None)
    assert contributions["rate"].abs().max() > 0.1
    assert model.typical["never"] is None
    assert model.typical["always_same"] == 0.1
    assert model.typical["one_or_nothing"] == 1.0
    assert model.typical["grade"] == pytest.approx(samples(0)[0]["grade"].median())


@kinds
def test_missing_is_no_zero(models: dict[str, RiskModel], kind: str) -> None:
    """Who has no grade is scored by having none: neither as a grade of 0 nor as the typical one with a sure effect."""
    frame = samples(2)[0].iloc[:50]
    nothing, zero = frame.assign(grade=np.nan), frame.assign(grade=0.0)
    place = NAMES.index("grade")
    missing, failed = (models[kind].contributions(one)[:, place] for one in (nothing, zero))
    assert (failed > 0.3).all()
    assert (np.abs(missing) < failed / 2).all()


@kinds
def test_saving_and_loading_changes_no_bit(models: dict[str, RiskModel], kind: str) -> None:
    model, frame = models[kind], samples(3)[0]
    stored = skops.io.dumps(model.pipeline)
    assert set(skops.io.get_untrusted_types(data=stored)) <= set(SKOPS_TRUSTED_TYPES)
    again = risk_model_of(skops.io.loads(stored, trusted=SKOPS_TRUSTED_TYPES))
    assert (again.kind, again.features, again.typical) == (model.kind, NAMES, model.typical)
    assert again.intercept == model.intercept
    assert (again.log_odds(frame) == model.log_odds(frame)).all()
    assert (again.probabilities(frame) == model.probabilities(frame)).all()
    assert (again.contributions(frame) == model.contributions(frame)).all()


@kinds
def test_the_same_data_give_the_same_model(models: dict[str, RiskModel], kind: str) -> None:
    frame = samples(4)[0]
    again = fit(kind, *samples(0))
    assert (again.log_odds(frame) == models[kind].log_odds(frame)).all()


@kinds
def test_the_number_of_cores_does_not_matter(models: dict[str, RiskModel], kind: str) -> None:
    with threadpool_limits(4):
        again = fit(kind, *samples(0))
    frame = samples(4)[0]
    with one_thread():
        assert (again.log_odds(frame) == models[kind].log_odds(frame)).all()


@kinds
def test_a_domain_that_falls_silent_counts_as_what_most_students_are(models: dict[str, RiskModel], kind: str) -> None:
    """A feature that was never missing in training says little when it is: much less than its worst value."""
    frame, place = samples(2)[0].iloc[:50], NAMES.index("rate")
    missing, worst = (models[kind].contributions(frame.assign(rate=value))[:, place] for value in (np.nan, -3.0))
    assert (np.abs(missing) < worst / 2).all()


@kinds
def test_a_model_leaves_its_input_alone(models: dict[str, RiskModel], kind: str) -> None:
    frame, outcome, student = samples(5)
    before = frame.copy()
    outcome.setflags(write=False)
    student.setflags(write=False)
    model = fit(kind, frame, outcome, student)
    model.probabilities(frame)
    model.contributions(frame)
    pd.testing.assert_frame_equal(frame, before)
    # Columns are found by name.
    assert (model.log_odds(frame[NAMES[::-1]].assign(more=1)) == model.log_odds(frame)).all()


@kinds
def test_effects_never_go_against_a_declared_direction(models: dict[str, RiskModel], kind: str) -> None:
    """Everything else the same, a better attendance rate never means a higher score, whatever the sample says."""
    frame, outcome, student = samples(6)
    # Against the grain: in this training set the declared direction of `both` is wrong.
    model = fit(kind, frame, outcome, student, directions={**DIRECTIONS, "both": -1})
    for name, sign in (*DIRECTIONS.items(), ("both", -1)):
        steps = np.linspace(-5, 110, 200)
        for row in range(0, 40, 4):
            moved = pd.concat([frame.iloc[[row]]] * len(steps), ignore_index=True).assign(**{name: steps})
            assert (np.diff(model.log_odds(moved)) * sign >= -1e-12).all(), name
    free = fit(kind, frame, outcome, student, directions={})
    moved = pd.concat([frame.iloc[[0]].assign(count=2.0)] * 2, ignore_index=True).assign(both=[-2.0, 2.0])
    assert np.diff(free.log_odds(moved))[0] > 0.2


@kinds
def test_probabilities_are_true_for_rare_events(kind: str) -> None:
    """One event in twelve: calibrated as it is, nothing weighted or resampled. New students, same world."""
    random = np.random.default_rng(7)

    def world(students: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
        student = np.repeat(np.arange(students), 4)
        first, second = random.normal(size=(2, len(student)))
        truth = expit(1.2 * first + 0.8 * np.abs(second) - 3.8)
        outcome = (random.random(len(student)) < truth).astype(np.int8)
        return pd.DataFrame({"first": first, "second": second}), outcome, student

    model = fit(kind, *world(1500), directions={})
    frame, outcome, _ = world(5000)
    predicted = model.probabilities(frame)
    assert 0.05 < outcome.mean() < 0.12
    assert predicted.mean() == pytest.approx(outcome.mean(), abs=0.01)
    order = np.argsort(predicted)
    for tenth in np.array_split(order, 10):
        assert predicted[tenth].mean() == pytest.approx(outcome[tenth].mean(), abs=0.04)


@single_kinds
def test_calibration_is_that_of_students_left_out_and_folded_in(kind: str) -> None:
    frame, outcome, student = samples(8)
    model, calibration = fit_candidate(kind, frame, outcome, student, CONFIGS[kind], DIRECTIONS)
    learner = learner_of(kind, frame, DIRECTIONS)
    held_out = np.empty(len(outcome))
    for training, held in folds_of(outcome, student, 5):
        assert not set(student[training]) & set(student[held])
        held_out[held] = learner.log_odds(outcome, student, training, held, CONFIGS[kind])[:, 0]
    again = fit_sigmoid(held_out, outcome)
    assert (again.slope, again.intercept) == pytest.approx((calibration.slope, calibration.intercept), abs=1e-6)
    everything = np.ones(len(outcome), dtype=bool)
    plain = learner.log_odds(outcome, student, everything, everything, CONFIGS[kind])[:, 0]
    folded = calibration.slope * plain + calibration.intercept
    assert np.allclose(folded, model.log_odds(frame), atol=1e-9)


@single_kinds
def test_a_fold_is_predicted_without_its_own_outcomes(kind: str) -> None:
    frame, outcome, student = samples(9, rows=600)
    training, held = folds_of(outcome, student, 3)[1]
    seen = learner_of(kind, frame, DIRECTIONS).log_odds(outcome, student, training, held, CONFIGS[kind])
    other = outcome.copy()
    other[held] = 1 - other[held]
    again = learner_of(kind, frame, DIRECTIONS).log_odds(other, student, training, held, CONFIGS[kind])
    assert (seen == again).all()


@kinds
def test_twelve_students_give_a_model_or_a_reason(kind: str) -> None:
    """A tenant with 12 students: pinned to give a model here, a careful one."""
    frame, outcome, student = samples(10, rows=120, students=12)
    model = fit(kind, frame, outcome, student)
    predicted = model.probabilities(frame)
    assert 0 < predicted.min() < predicted.max() < 1
    assert (model.contributions(frame)[:, NAMES.index("never")] == 0).all()


@kinds
def test_a_domain_that_one_fold_never_saw(kind: str) -> None:
    """A feature recorded of a few students only, all of them in one fold."""
    frame, outcome, student = samples(11)
    (_, held), *_ = folds_of(outcome, student, 5)
    frame.loc[~held, "count"] = np.nan
    model = fit(kind, frame, outcome, student)
    assert np.isfinite(model.log_odds(frame)).all()


@kinds
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f, y, s: (f, y * 0, s), "same outcome"),
        (lambda f, y, s: (f[["rate", "count"]] * 0 + 1, y, s), "no feature varies"),
        (lambda f, y, s: (f[["never", "always_same"]], y, s), "no feature varies"),
        (lambda f, y, s: (f, (s == 3).astype(np.int8), s), "of one student"),
        (lambda f, y, s: (f, (s > 0).astype(np.int8), s), "without an event"),
    ],
    ids=["one class", "nothing varies", "nothing recorded", "one student", "one student without"],
)
def test_too_little_to_learn_from_is_said(kind: str, change: Any, reason: str) -> None:
    with pytest.raises(CannotLearn, match=reason):
        fit(kind, *change(*samples(0)))


def test_kinds_are_known_by_their_pipeline(models: dict[str, RiskModel]) -> None:
    assert [model.kind for model in models.values()] == list(CANDIDATES)
    assert bool(models["logistic"].coefficients) and not models["boosting"].coefficients
    with pytest.raises(ValueError, match="no risk model"):
        risk_model_of(models["logistic"].pipeline[:-1])
    with pytest.raises(ValueError, match="not a candidate"):
        fit_candidate("magic", *samples(0), {}, {})
    untuned, free = fit_model(*samples(0))[0], fit("logistic", *samples(0), directions={})
    assert (untuned.log_odds(samples(1)[0]) == free.log_odds(samples(1)[0])).all()


def test_an_averaged_model_says_the_mean_of_its_members_log_odds_calibrated(models: dict[str, RiskModel]) -> None:
    frame, outcome, student = samples(0)
    data = (frame, outcome, student)
    members = [fit_out_of_fold(kind, *data, CONFIGS[kind], DIRECTIONS) for kind in MEMBERS]
    fitted = averaged_fit(members, outcome)
    # The same as fitting it by itself, and no member is touched by it.
    other = samples(1)[0]
    assert (fitted.model.log_odds(other) == models[AVERAGED].log_odds(other)).all()
    for kind, member in zip(MEMBERS, members, strict=True):
        assert (member.model.log_odds(other) == models[kind].log_odds(other)).all()
    uncalibrated = [(one.model.log_odds(other) - one.calibration.intercept) / one.calibration.slope for one in members]
    mean, (slope, intercept) = np.mean(uncalibrated, axis=0), (fitted.calibration.slope, fitted.calibration.intercept)
    assert np.allclose(slope * mean + intercept, fitted.model.log_odds(other), atol=1e-9)
    # Calibrated by what the members said of students while they were left out, averaged.
    assert (fitted.held_out == (members[0].held_out + members[1].held_out) / 2).all()
    assert fit_sigmoid(fitted.held_out, outcome) == fitted.calibration
    # A feature's contribution is that of the members by weight.
    of_members = [(weight, risk_model_of(one)) for weight, one in members_of(fitted.model.pipeline)]
    assert np.allclose(
        sum(weight * one.contributions(other) for weight, one in of_members), fitted.model.contributions(other)
    )
    assert [one.kind for _, one in of_members] == list(MEMBERS)
    assert not fitted.model.shapes and not fitted.model.coefficients


def test_an_averaged_model_whose_member_cannot_learn_is_none() -> None:
    frame, outcome, student = samples(0)
    with pytest.raises(CannotLearn, match="no feature varies"):
        fit(AVERAGED, frame[["never", "always_same"]], outcome, student)


def test_shape_functions_are_the_whole_additive_model(models: dict[str, RiskModel]) -> None:
    model, frame = models["additive"], samples(12)[0]
    added = np.full(len(frame), model.intercept)
    for name, shape in model.shapes.items():
        assert (np.diff(shape.thresholds) > 0).all()
        assert len(shape.values) == len(shape.thresholds) + 1
        added += shape(frame[name].to_numpy())
        # On a threshold, a hair above and far out: the steps are where the trees split.
        for value in (*shape.thresholds[:3], *np.nextafter(shape.thresholds[:3], np.inf), -1e9, 1e9, np.nan):
            one = frame.iloc[[0]].assign(**{name: value})
            assert model.intercept + model.contributions(one).sum() == pytest.approx(model.log_odds(one)[0], abs=1e-9)
    assert np.allclose(added, model.log_odds(frame), atol=1e-9)
    assert (np.diff(model.shapes["rate"].values) <= 1e-12).all()
    assert not {"never", "always_same"} & set(model.shapes)
    assert not models["boosting"].shapes


def test_contributions_of_boosting_are_shapley_values(models: dict[str, RiskModel]) -> None:
    """By the definition: a feature's worth averaged over all orders in which features become known."""
    trees: HistGradientBoostingClassifier = models["boosting"].pipeline["trees"]
    frame = samples(13)[0].iloc[:4]
    rows = frame.to_numpy()

    def expected(nodes: Any, row: np.ndarray, known: frozenset[int], position: int = 0) -> float:
        node = nodes[position]
        if node["is_leaf"]:
            return float(node["value"])
        left, right = int(node["left"]), int(node["right"])
        value = row[node["feature_idx"]]
        if int(node["feature_idx"]) in known:
            goes_left = bool(node["missing_go_to_left"]) if math.isnan(value) else value <= node["num_threshold"]
            return expected(nodes, row, known, left if goes_left else right)
        share = nodes["count"][left] / node["count"]
        return share * expected(nodes, row, known, left) + (1 - share) * expected(nodes, row, known, right)

    few = tree_nodes(trees)[:6]
    by_definition = np.zeros(rows.shape)
    for nodes, number in itertools.product(few, range(len(rows))):
        used = sorted({int(feature) for feature in nodes["feature_idx"][nodes["is_leaf"] == 0]})
        orders = list(itertools.permutations(used))
        for order in orders:
            for place, feature in enumerate(order):
                before = expected(nodes, rows[number], frozenset(order[:place]))
                after = expected(nodes, rows[number], frozenset(order[: place + 1]))
                by_definition[number, feature] += (after - before) / len(orders)
    tables = ShapleyTables(trees)
    tables._trees = tables._trees[:6]
    assert np.allclose(tables.contributions(rows), by_definition, atol=1e-12)


@kinds_of_trees
def test_contributions_are_what_the_explainer_library_says(models: dict[str, RiskModel], kind: str) -> None:
    shap = pytest.importorskip("shap")
    model, frame = models[kind], samples(14)[0].iloc[:200]
    explainer = shap.TreeExplainer(model.pipeline["trees"])
    assert np.allclose(explainer.shap_values(frame.to_numpy()), model.contributions(frame), atol=1e-9)
    assert float(np.ravel(explainer.expected_value)[0]) == pytest.approx(model.intercept, abs=1e-9)


def test_trees_are_small_enough_to_be_explained(models: dict[str, RiskModel]) -> None:
    trees = models["boosting"].pipeline["trees"]
    assert max(int((nodes["is_leaf"] == 1).sum()) for nodes in tree_nodes(trees)) <= 8
    assert np.isfinite(start(trees))
    frame, outcome, student = samples(0)
    with pytest.raises(ValueError, match="leaves"):
        fit_candidate("boosting", frame, outcome, student, {**CONFIGS["boosting"], "leaves": 31}, {})
    large = HistGradientBoostingClassifier(max_leaf_nodes=31, max_iter=2).fit(frame[["rate", "grade"]], outcome)
    with pytest.raises(ValueError, match="can be explained"):
        ShapleyTables(large)


def test_folds_are_by_group_where_there_are_three() -> None:
    _, outcome, student = samples(15)
    group = np.arange(len(outcome)) % 7 % 4
    pairs = folds_of(outcome, student, 3, group)
    assert len(pairs) == 3
    assert (np.sum([held for _, held in pairs], axis=0) == 1).all()
    for training, held in pairs:
        assert not set(group[training]) & set(group[held])
        assert not set(student[training]) & set(student[held])
    # Two groups are too few to see how a model carries over; so is a world of one group's events.
    by_student = folds_of(outcome, student, 3)
    for other in (group % 2, np.where(outcome == 1, 0, 1 + group)):
        for one, two in zip(folds_of(outcome, student, 3, other), by_student, strict=True):
            assert (one[1] == two[1]).all()


def test_the_largest_groups_are_dealt_first_each_to_the_smallest_fold() -> None:
    group = np.repeat([3, 0, 5, 2, 4, 1], [2, 6, 3, 3, 3, 4])
    outcome, student = (np.arange(len(group)) % 2).astype(np.int8), np.arange(len(group))
    held = [set(group[mask].tolist()) for _, mask in folds_of(outcome, student, 3, group)]
    # 6, 4 and 3 rows (of groups as large, the lowest number); 3 to the smallest, 3 to the next, 2 to the first again.
    assert held == [{0, 3}, {1, 5}, {2, 4}]
