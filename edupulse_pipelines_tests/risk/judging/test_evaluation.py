from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import binomtest, norm

from edupulse_pipelines.risk.judging.evaluation import (
    Measure,
    auc_roc,
    average_precision,
    brier_score,
    calibration_bins,
    calibration_error,
    calibration_line,
    evaluate,
    flat_metrics,
    list_size,
    listed,
    log_loss,
    measures,
    precision_at,
    wilson,
)
from edupulse_pipelines.risk.judging.suppression import subgroup_rows
from edupulse_pipelines.risk.telling.calibration_plot import calibration_plot

# The seed's nine, then ours.
SEED_KEYS = [
    "accuracy",
    "precision",
    "recall",
    "f1_score",
    "auc_roc",
    "precision_at_k",
    "validation_loss",
    "training_samples",
    "validation_samples",
    "average_precision",
    "brier_score",
    "calibration_error",
    "recall_at_k",
]


def test_metrics_have_the_seeds_keys_and_the_usual_values() -> None:
    probability = np.array([0.9, 0.8, 0.5, 0.4, 0.3, 0.1])
    outcome = np.array([1, 1, 0, 1, 0, 0], dtype=np.int8)
    found = evaluate(probability, outcome, np.zeros(6), training_samples=60)
    assert list(found) == SEED_KEYS
    assert list(found["precision_at_k"]) == ["k5", "k10", "k20"]
    assert (
        found["accuracy"] == found["precision"] == found["recall"] == found["f1_score"] == round(2 / 3, 6) == 0.666667
    )
    assert found["auc_roc"] == pytest.approx(8 / 9, abs=1e-6)
    assert found["validation_loss"] == pytest.approx(-np.log([0.9, 0.8, 0.5, 0.4, 0.7, 0.9]).mean(), abs=1e-6)
    assert (found["training_samples"], found["validation_samples"]) == (60, 6)
    assert found["precision_at_k"] == {"k5": 1.0, "k10": 1.0, "k20": 1.0}


def test_metrics_that_are_undefined_are_null() -> None:
    quiet = evaluate(np.array([0.1, 0.2]), np.array([0, 0], dtype=np.int8), np.zeros(2), training_samples=5)
    assert quiet["precision"] is quiet["recall"] is quiet["f1_score"] is quiet["auc_roc"] is None
    assert quiet["accuracy"] == 1.0
    nobody = evaluate(np.empty(0), np.empty(0, dtype=np.int8), np.empty(0), training_samples=5)
    assert nobody["accuracy"] is nobody["validation_loss"] is nobody["precision_at_k"]["k5"] is None
    assert "auc_roc" not in flat_metrics(nobody)


def test_the_top_percent_is_taken_of_each_weeks_cohort() -> None:
    # Week 1 is riskier than week 0 throughout; a list over both weeks together would hold week 1 only.
    probability = np.concatenate([np.linspace(0, 0.4, 20), np.linspace(0.5, 1, 20)])
    outcome = np.zeros(40, dtype=np.int8)
    outcome[[19, 20]] = 1
    found = evaluate(probability, outcome, np.repeat([0, 1], 20), training_samples=1)
    assert found["precision_at_k"] == {"k5": 0.5, "k10": 0.25, "k20": 0.125}


def test_ties_at_the_edge_of_the_list_count_as_their_expectation() -> None:
    outcome = np.array([1, 0, 0, 0, 0, 0, 0, 0, 0, 0] * 2, dtype=np.int8)
    found = evaluate(np.full(20, 0.3), outcome, np.zeros(20), training_samples=1)
    assert found["precision_at_k"] == {"k5": 0.1, "k10": 0.1, "k20": 0.1}


def test_metrics_are_flat_for_mlflow() -> None:
    probability, outcome = np.array([0.9, 0.1]), np.array([1, 0], dtype=np.int8)
    found = evaluate(probability, outcome, np.zeros(2), training_samples=1)
    found["baseline"] = evaluate(probability, outcome, np.zeros(2), training_samples=1)
    flat = flat_metrics(found)
    assert {"accuracy", "precision_at_k5", "baseline.accuracy", "baseline.precision_at_k20"} <= set(flat)
    assert {"recall_at_k5", "average_precision", "brier_score", "calibration_error"} <= set(flat)
    assert all(isinstance(value, float) for value in flat.values())


def test_calibration_groups_keep_equal_predictions_together() -> None:
    bins = calibration_bins(np.array([0.1] * 50 + [0.6] * 50), np.array([0] * 45 + [1] * 5 + [1] * 50, dtype=np.int8))
    assert bins == [(pytest.approx(0.1), 0.1, 50), (pytest.approx(0.6), 1.0, 50)]


def test_the_metrics_beside_the_seeds_have_the_usual_values() -> None:
    probability = np.array([0.9, 0.8, 0.5, 0.4, 0.3, 0.1])
    outcome = np.array([1, 1, 0, 1, 0, 0], dtype=np.int8)
    found = evaluate(probability, outcome, np.zeros(6), training_samples=60)
    assert found["average_precision"] == pytest.approx((1 + 1 + 3 / 4) / 3, abs=1e-6)
    assert found["brier_score"] == pytest.approx(np.mean([0.01, 0.04, 0.25, 0.36, 0.09, 0.01]), abs=1e-6)
    assert found["calibration_error"] == pytest.approx(np.mean([0.1, 0.2, 0.5, 0.6, 0.3, 0.1]), abs=1e-6)
    assert found["recall_at_k"] == {"k5": 0.333333, "k10": 0.333333, "k20": 0.666667}  # lists of one, one and two


scored = st.integers(2, 60).flatmap(
    lambda size: st.tuples(
        # Few distinct scores, so that ties are common.
        arrays.arrays(np.float64, size, elements=st.integers(0, 8).map(lambda eighths: eighths / 8)),
        arrays.arrays(np.bool_, size),
        arrays.arrays(np.int64, size, elements=st.integers(0, 2)),
    )
)


@settings(max_examples=60, deadline=None)
@given(scored)
def test_the_metrics_are_what_their_definitions_say(sample: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """To the last of six digits, ties included, however scikit-learn gets there."""
    probability, actual, _ = sample
    assert brier_score(probability, actual) == to_the_digit(np.mean((probability - actual) ** 2))
    inside = np.clip(probability, 1e-15, 1 - 1e-15)
    assert log_loss(probability, actual) == to_the_digit(-np.mean(np.log(np.where(actual, inside, 1 - inside))))
    if not actual.any():
        assert auc_roc(probability, actual) is None
        assert average_precision(probability, actual) is None
        return
    hits = {score: (probability >= score) & actual for score in np.unique(probability)}
    precision = 0.0
    caught = 0
    for score in sorted(hits, reverse=True):
        gained = hits[score].sum() - caught
        caught += gained
        precision += gained / actual.sum() * caught / (probability >= score).sum()
    assert average_precision(probability, actual) == to_the_digit(precision)
    if actual.all():
        assert auc_roc(probability, actual) is None
        return
    ahead = probability[actual][:, None] - probability[~actual]
    assert auc_roc(probability, actual) == to_the_digit(((ahead > 0) + (ahead == 0) / 2).mean())


def test_without_rows_there_is_no_metric() -> None:
    nothing, nobody = np.array([]), np.array([], dtype=bool)
    for metric in (auc_roc, average_precision, brier_score, log_loss):
        assert metric(nothing, nobody) is None


def to_the_digit(expected: float) -> object:
    return pytest.approx(expected, abs=0.5e-6 + 1e-12)


@pytest.mark.parametrize("samples", [1, 2, 10, 37, 1000])
def test_wilsons_interval_is_scipys(samples: int) -> None:
    counts = np.unique(np.linspace(0, samples, 20).astype(int))
    low, high = wilson(counts / samples, samples)
    bound, _ = wilson(counts / samples, samples, norm.ppf(0.9))
    for i, count in enumerate(counts):
        expected = binomtest(count, samples).proportion_ci(0.95, method="wilson")
        assert (low[i], high[i]) == pytest.approx((expected.low, expected.high), abs=1e-15)
        one_sided = binomtest(count, samples, alternative="greater").proportion_ci(0.9, method="wilson")
        assert bound[i] == pytest.approx(one_sided.low, abs=1e-15)


@settings(max_examples=60, deadline=None)
@given(scored, st.sampled_from([0.05, 0.1, 0.2, 0.37, 1.0]), st.randoms(use_true_random=False))
def test_a_list_has_its_size_and_its_precision_is_the_mean_over_ways_to_break_ties(
    sample: tuple[np.ndarray, np.ndarray, np.ndarray], share: float, random: object
) -> None:
    probability, actual, week = sample
    on_list = listed(probability, week, share)
    for one in np.unique(week):
        rows = week == one
        assert on_list[rows].sum() == pytest.approx(list_size(int(rows.sum()), share))
        assert (np.diff(on_list[rows][np.argsort(probability[rows])]) >= 0).all()
    generator = np.random.default_rng(random.randrange(2**32))  # type: ignore[attr-defined]
    drawn = [
        listed(probability + generator.random(len(probability)) * 1e-6, week, share)[actual].sum() for _ in range(200)
    ]
    expected = on_list[actual].sum()
    assert np.mean(drawn) == pytest.approx(expected, abs=0.3 + 4 * np.std(drawn) / np.sqrt(200))
    found = precision_at(probability, actual, week, 100 * share)
    assert found == pytest.approx(expected / on_list.sum(), abs=1e-6)


def test_a_list_of_a_tenth_of_thirty_holds_three() -> None:
    assert [list_size(size, 0.1) for size in (1, 10, 11, 30, 70, 1000, 1001)] == [1, 1, 2, 3, 7, 100, 101]


def test_calibration_line_is_that_of_a_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(1)
    log_odds = random.normal(-1, 1.5, 4000)
    actual = random.random(4000) < 1 / (1 + np.exp(-log_odds))
    # Twice as sure as it should be, and shifted upwards.
    stated = 1 / (1 + np.exp(-(2 * log_odds + 1)))
    slope, intercept = calibration_line(stated, actual)
    fitted = LogisticRegression(C=np.inf).fit((2 * log_odds + 1)[:, None], actual)
    assert slope == pytest.approx(float(fitted.coef_[0, 0]), abs=1e-3)
    assert slope == pytest.approx(0.5, abs=0.03)
    # With the slope held at 1, the intercept is what makes the mean right.
    assert intercept is not None
    moved = 1 / (1 + np.exp(-(2 * log_odds + 1 + intercept)))
    assert moved.mean() == pytest.approx(actual.mean(), abs=1e-5)
    assert calibration_line(1 / (1 + np.exp(-log_odds)), actual)[0] == pytest.approx(1, abs=0.1)


def test_calibration_line_is_undefined_where_nothing_finite_fits() -> None:
    separated = np.array([0.1, 0.2, 0.3, 0.8, 0.9])
    assert calibration_line(separated, separated > 0.5)[0] is None
    assert calibration_line(separated, np.zeros(5, dtype=bool)) == (None, None)
    slope, intercept = calibration_line(np.full(8, 0.25), np.arange(8) < 4)
    assert slope is None
    assert intercept == pytest.approx(np.log(3), abs=1e-5)
    assert calibration_line(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0, 1, 1, 0], dtype=bool))[0] == 0


def test_calibration_error_is_small_for_true_probabilities_and_the_shift_for_shifted_ones() -> None:
    random = np.random.default_rng(2)
    probability = random.uniform(0, 0.8, 50_000)
    outcome = (random.random(50_000) < probability).astype(np.int8)
    assert calibration_error(probability, outcome) < 0.01  # type: ignore[operator]
    assert calibration_error(probability + 0.15, outcome) == pytest.approx(0.15, abs=0.01)
    assert calibration_error(np.empty(0), np.empty(0)) is None


def test_subgroups_are_ordered_and_what_is_not_recorded_is_a_subgroup() -> None:
    values = {
        "grade_level": np.array([10.0, 9.0, float("nan"), 9.0, 10.0, 11.0]),
        "ethnicity": np.array(["b", None, "a", "", "x" * 200, "b"], dtype=object),
    }
    found = {name: rows.tolist() for name, rows in subgroup_rows(values, np.arange(6), 1)}
    long = f"ethnicity={'x' * 90}"
    assert list(found) == [
        *(f"grade_level={one}" for one in ("9", "10", "11", "not recorded")),
        "ethnicity=a",
        "ethnicity=b",
        long,
        "ethnicity=not recorded",
    ]
    assert (found["grade_level=9"], found["ethnicity=not recorded"], found[long]) == ([1, 3], [1, 3], [4])
    alike = {"g": np.array([9, "9", 9.0], dtype=object)}
    # One group is nothing to compare.
    assert list(subgroup_rows(alike, np.arange(3), 1)) == []
    alike = {"g": np.array([9, "9", 9.0, 8], dtype=object)}
    assert {name for name, _ in subgroup_rows(alike, np.arange(4), 1)} == {"g=8", "g=9"}


def test_values_that_few_students_have_are_taken_together_and_never_named() -> None:
    values = {
        "ethnicity": np.array(["a", "a", "a", "lone", "rare", "rare", None, "smaller groups"], dtype=object),
        "gender": np.array(["F"] * 5 + ["M"] * 3, dtype=object),
    }
    # The three rows of `a` are two students; `rare` is one student, twice.
    student = np.array([0, 0, 1, 2, 3, 3, 4, 5])
    found = {name: rows.tolist() for name, rows in subgroup_rows(values, student, 2)}
    assert found == {
        "ethnicity=a": [0, 1, 2],
        "ethnicity=smaller groups": [3, 4, 5, 6, 7],
        "gender=F": [0, 1, 2, 3, 4],
        "gender=M": [5, 6, 7],
    }
    # Where all are too small, everybody is together, which is nothing to tell.
    assert list(subgroup_rows(values, student, 5)) == []


def test_values_too_few_even_together_are_joined_by_the_smallest_of_the_others() -> None:
    values = {"g": np.array(["a"] * 4 + ["b"] * 3 + ["rare"], dtype=object)}
    found = {name: rows.tolist() for name, rows in subgroup_rows(values, np.arange(8), 2)}
    assert found == {"g=a": [0, 1, 2, 3], "g=b and smaller groups": [4, 5, 6, 7]}
    # Of two groups, everybody less one would tell the other.
    values = {"g": np.array(["a"] * 7 + ["rare"], dtype=object)}
    assert list(subgroup_rows(values, np.arange(8), 2)) == []


def _measured(count: int, weeks: int = 3, seed: int = 0, small: int = 9) -> list[Measure]:
    random = np.random.default_rng(seed)
    risk = random.random(count)
    student, week = np.tile(np.arange(count), weeks), np.repeat(np.arange(weeks), count)
    outcome = (random.random(count * weeks) < risk[student]).astype(np.int8)
    subgroup = np.where(student < small, "small", np.where(student % 2, "odd", "even")).astype(object)
    return measures(risk[student], outcome, week, capacity=0.1, subgroups={"gender": subgroup}, student=student)


def test_measures_are_what_evaluate_says_and_small_subgroups_are_suppressed() -> None:
    found = _measured(200)
    by_key = {(one.metric, one.parameter, one.subgroup): one for one in found}
    assert len(by_key) == len(found)
    assert found == _measured(200)

    everybody = {key[:2]: one for key, one in by_key.items() if key[2] == ""}
    assert {one.samples for one in everybody.values()} == {600}
    assert all(one.value is not None for one in everybody.values())
    assert set(everybody) == {
        *((name, "") for name in ("auc_roc", "average_precision", "brier_score", "log_loss", "base_rate")),
        *((f"calibration_{name}", "") for name in ("error", "slope", "intercept")),
        *((name, at) for name in ("precision_at", "recall_at") for at in ("k5", "k10", "k20", "capacity")),
        ("false_negative_rate", "capacity"),
    }
    assert everybody["precision_at", "k10"].value == everybody["precision_at", "capacity"].value
    missed, caught = everybody["false_negative_rate", "capacity"].value, everybody["recall_at", "capacity"].value
    assert missed == pytest.approx(1 - caught, abs=2e-6)  # type: ignore[operator]

    of_subgroups = [one for one in found if one.subgroup]
    # 27 student-weeks, but of nine students: 95 others are with them.
    assert {one.subgroup for one in of_subgroups} == {"gender=odd", "gender=even and smaller groups"}
    assert {one.metric for one in of_subgroups} == {
        *("base_rate", "auc_roc", "precision_at", "false_negative_rate", "recall_ratio", "calibration_error")
    }
    assert {one.samples for one in of_subgroups} == {300}  # of three weeks: to the nearest 30
    assert all(one.value is not None and one.value == round(one.value, 2) for one in of_subgroups)
    names = {one.subgroup for one in _measured(200, small=10) if one.subgroup}
    assert names == {"gender=even", "gender=odd", "gender=small"}


@pytest.mark.parametrize("outcome", [0, 1])
def test_measures_of_one_class_and_of_nobody_are_null_where_undefined(outcome: int) -> None:
    count = 12
    found = measures(
        np.linspace(0.1, 0.6, count),
        np.full(count, outcome, dtype=np.int8),
        np.zeros(count),
        capacity=0.1,
        subgroups={"gender": np.full(count, "F", dtype=object)},
        student=np.arange(count),
    )
    value = {(one.metric, one.parameter, one.subgroup): one.value for one in found}
    for name in ("auc_roc", "calibration_slope", "calibration_intercept"):
        assert value[name, "", ""] is None
    assert value["base_rate", "", ""] == value["precision_at", "capacity", ""] == outcome
    # A list of two of twelve. All are girls: nobody to compare them with.
    missed = pytest.approx(10 / 12, abs=1e-6) if outcome else None
    assert value["false_negative_rate", "capacity", ""] == missed
    assert not any(one.subgroup for one in found)

    nobody = measures(
        np.empty(0),
        np.empty(0, dtype=np.int8),
        np.empty(0),
        capacity=0.1,
        subgroups={"gender": np.empty(0, dtype=object)},
        student=np.empty(0),
    )
    assert {(one.value, one.samples) for one in nobody} == {(None, 0)}


def test_false_negatives_of_a_subgroup_are_counted_on_everybodys_list() -> None:
    # A list of forty of two hundred: the forty A with the highest scores, of whom twenty have an event, as twenty other
    # A have, and all of forty B, none of whom is listed.
    probability = np.linspace(0.9, 0.1, 200)
    outcome = np.zeros(200, dtype=np.int8)
    outcome[[*range(20), *range(60, 80), *range(100, 140)]] = 1
    subgroup = np.array(["A"] * 100 + ["B"] * 100, dtype=object)
    found = measures(
        probability,
        outcome,
        np.zeros(200),
        capacity=0.2,
        subgroups={"g": subgroup},
        student=np.arange(200),
        minimum_subgroup=5,
    )
    value = {(one.metric, one.subgroup): one.value for one in found if one.subgroup}
    assert value["false_negative_rate", "g=A"] == 0.5
    assert value["recall_ratio", "g=A"] == 2.0
    assert value["false_negative_rate", "g=B"] == 1.0
    assert value["recall_ratio", "g=B"] == 0.0
    assert (value["base_rate", "g=A"], value["base_rate", "g=B"]) == (0.4, 0.4)
    assert value["precision_at", "g=A"] == 0.5
    assert value["precision_at", "g=B"] is None


def test_calibration_plot_is_a_png() -> None:
    random = np.random.default_rng(0)
    model = random.random(200)
    outcome = (random.random(200) < model).astype(np.int8)
    png = calibration_plot("a title", model, np.full(200, 0.5), outcome)
    assert png.startswith(b"\x89PNG")
    assert len(png) < 100_000
