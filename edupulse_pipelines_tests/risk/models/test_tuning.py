from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

import edupulse_pipelines.risk.models.boosting as boosting
import edupulse_pipelines.risk.models.model as model_module
import edupulse_pipelines.risk.models.tuning as tuning
from edupulse_pipelines.risk.models.model import (
    AVERAGED,
    CANDIDATES,
    MEMBERS,
    CannotLearn,
    fit_candidate,
    fit_out_of_fold,
)
from edupulse_pipelines.risk.models.tuning import CONFIGURATIONS, Tuned, sample_rows, tune

DIRECTIONS = {"rate": -1}


def world(seed: int, together: float = 0.0, bent: float = 0.0, rows: int = 900, students: int = 150) -> tuple[Any, ...]:
    """Outcomes of a rate, and as far as asked of two features together or of the size of one."""
    random = np.random.default_rng(seed)
    student = random.integers(0, students, rows)
    rate, first, second = random.normal(size=(3, rows))
    truth = expit(-1.2 * rate + together * first * second + bent * (np.abs(first) - 0.8) - 0.5)
    frame = pd.DataFrame({"rate": rate, "first": first, "second": second, "noise": random.normal(size=rows)})
    frame.loc[random.random(rows) < 0.1, "noise"] = np.nan
    return frame, (random.random(rows) < truth).astype(np.int8), student


def run(*data: Any, fits: int = 9, **more: Any) -> Tuned:
    return tune(*data, directions=DIRECTIONS, fits=fits, **more)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of every single fit."""
    rows: list[int] = []
    fit_trees, regression = boosting.fit_trees, model_module.fit_regression

    def trees(matrix: Any, *arguments: Any, **more: Any) -> Any:
        rows.append(len(matrix))
        return fit_trees(matrix, *arguments, **more)

    def linear(matrix: Any, *arguments: Any) -> Any:
        rows.append(len(matrix))
        return regression(matrix, *arguments)

    monkeypatch.setattr(model_module, "fit_trees", trees)
    monkeypatch.setattr(model_module, "fit_regression", linear)
    return rows


@pytest.mark.parametrize(
    ("fits", "tried"),
    [
        (0, []),
        (2, []),
        (3, ["logistic"]),
        (8, ["logistic", "additive"]),
        (9, ["logistic", "additive", "boosting", "averaged"]),
        (14, ["logistic", "logistic", "additive", "boosting", "averaged"]),
    ],
)
def test_the_budget_is_in_fits(counted: list[int], fits: int, tried: list[str]) -> None:
    frame, outcome, student = world(0)
    tuned = run(frame, outcome, student, fits=fits)
    assert [trial.kind for trial in tuned.trials] == tried
    spent = sum(trial.fits for trial in tuned.trials)
    assert spent <= fits
    # Beyond the budget: the final fit of each candidate, and five for its calibration. Averaging takes none.
    single = [kind for kind in tuned.fitted if kind != AVERAGED]
    assert len(counted) == spent + 6 * len(single)
    assert list(tuned.fitted) == (sorted(set(tried), key=CANDIDATES.index) or ["logistic"])
    assert set(tuned.fitted) | set(tuned.left_out) == set(CANDIDATES)
    # No fit to tell configurations apart saw everything: each left a third out.
    assert max(counted[:spent], default=0) < 0.8 * len(frame)
    assert counted.count(len(frame)) == len(single)


def test_every_candidate_comes_with_its_best_configuration() -> None:
    frame, outcome, student = world(1)
    tuned = run(frame, outcome, student, fits=24)
    assert len(tuned.trials) == 9
    for kind, model in tuned.fitted.items():
        of_kind = [trial for trial in tuned.trials if trial.kind == kind]
        best = min(of_kind, key=lambda trial: trial.log_loss)
        assert tuned.configs[kind] == best.config
        again, calibration = fit_candidate(kind, frame, outcome, student, best.config, DIRECTIONS)
        assert (again.log_odds(frame) == model.log_odds(frame)).all()
        assert calibration == tuned.calibrations[kind]
    assert tuned.model is tuned.fitted[tuned.kind]
    assert tuned.config == tuned.configs[tuned.kind]
    assert (tuned.rows, tuned.tuning_rows) == (len(frame), len(frame))


def test_the_same_arguments_give_the_same_answer() -> None:
    frame, outcome, student = world(2)
    one, two = (run(frame, outcome, student, max_rows=600, seed=3) for _ in range(2))
    assert one.trials == two.trials
    assert one.kind == two.kind
    for kind in one.fitted:
        assert (one.fitted[kind].log_odds(frame) == two.fitted[kind].log_odds(frame)).all()


@pytest.mark.parametrize(
    ("data", "winner"),
    [
        ({"rows": 1500}, "logistic"),
        ({"bent": 2.0, "rows": 3000}, "additive"),
        ({"together": 1.5, "rows": 3000}, "boosting"),
    ],
    ids=["straight", "bent", "together"],
)
def test_the_simplest_that_is_good_enough_wins(data: dict[str, Any], winner: str) -> None:
    tuned = run(*world(3, **data, students=400))
    assert tuned.kind == winner
    losses = {trial.kind: trial.log_loss for trial in tuned.trials}
    for simpler in CANDIDATES[: CANDIDATES.index(winner)]:
        assert losses[simpler] > losses[winner]


def test_only_the_candidates_asked_for() -> None:
    frame, outcome, student = world(4)
    tuned = run(frame, outcome, student, candidates=("boosting", "logistic"))
    assert list(tuned.fitted) == ["logistic", "boosting"]
    assert not tuned.left_out
    for wrong in ((), ("logistic", "magic")):
        with pytest.raises(ValueError, match="candidate"):
            run(frame, outcome, student, candidates=wrong)


def test_a_candidate_that_cannot_learn_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(kind: str, *arguments: Any) -> Any:
        if kind == "additive":
            raise CannotLearn("made up")
        return fit_out_of_fold(kind, *arguments)

    monkeypatch.setattr(tuning, "fit_out_of_fold", refusing)
    tuned = run(*world(3, bent=2.0, students=400))
    assert tuned.left_out == {"additive": "made up"}
    assert set(tuned.fitted) == {"logistic", "boosting", "averaged"}
    assert tuned.kind in tuned.fitted


def test_the_average_is_of_the_members_best_and_asks_for_members_that_are_no_candidates() -> None:
    frame, outcome, student = world(1, together=1.0)
    tuned = run(frame, outcome, student, fits=12, candidates=(AVERAGED,))
    assert [trial.kind for trial in tuned.trials] == ["logistic", "logistic", "boosting", "boosting", AVERAGED]
    best = {
        kind: min((one for one in tuned.trials if one.kind == kind), key=lambda one: one.log_loss).config
        for kind in MEMBERS
    }
    assert (tuned.kind, tuned.config, tuned.trials[-1].fits) == (AVERAGED, best, 0)
    assert list(tuned.fitted) == [AVERAGED]
    assert tuned.trials[-1].log_loss < max(one.log_loss for one in tuned.trials[:-1])
    unsearched = run(frame, outcome, student, fits=0, candidates=(AVERAGED,))
    assert unsearched.config == CONFIGURATIONS[AVERAGED][0]
    short = run(frame, outcome, student, fits=3, candidates=("logistic", AVERAGED))
    assert "does not reach" in short.left_out[AVERAGED]


def test_too_little_to_learn_from_is_said() -> None:
    frame, outcome, student = world(5)
    with pytest.raises(CannotLearn, match="same outcome"):
        run(frame, outcome * 0, student)
    with pytest.raises(CannotLearn, match="no feature varies"):
        run(frame[["rate", "first"]] * 0, outcome, student)
    with pytest.raises(CannotLearn, match="of one student"):
        run(frame, (student == 3).astype(np.int8), student)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(5):
        # Whoever is left out looks like the other class: each student's sign is their own.
        who = np.repeat(np.arange(40), 10)
        noise = pd.DataFrame({"noise": random.normal(size=40)[who]})
        try:
            run(noise, (who % 2).astype(np.int8), who)
        except CannotLearn as error:
            refused += 1
            assert "do not predict" in str(error)
    assert refused


def test_a_tenant_with_twelve_students() -> None:
    frame, outcome, student = world(6, rows=120, students=12)
    tuned = run(frame, outcome, student, fits=24)
    assert tuned.kind == "logistic"
    for model in tuned.fitted.values():
        predicted = model.probabilities(frame)
        assert 0 < predicted.min() <= predicted.max() < 1


@pytest.mark.parametrize(("groups", "calibrated_by_group"), [(3, False), (12, True)])
def test_with_groups_a_model_is_judged_on_groups_it_has_not_seen(
    groups: int, calibrated_by_group: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, outcome, student = world(7)
    group = student % groups
    frame["first"] += 5.0 * group
    seen: list[tuple[set[int], set[int]]] = []
    log_odds = model_module._LogisticLearner.log_odds

    def watching(self: Any, y: Any, s: Any, training: Any, held_out: Any, config: Any) -> Any:
        seen.append((set(group[training]), set(group[held_out])))
        return log_odds(self, y, s, training, held_out, config)

    monkeypatch.setattr(model_module._LogisticLearner, "log_odds", watching)
    run(frame, outcome, student, candidates=("logistic",), fits=3, groups=group)
    assert len(seen) == 8  # three to tell configurations apart (there is one), five to calibrate
    for training, held_out in seen[:3]:
        assert len(held_out) == groups // 3
        assert not training & held_out
    # A sigmoid of three groups would repeat how they happen to differ; of twelve it says how new ones will.
    assert all(not training & held_out for training, held_out in seen[3:]) is calibrated_by_group


def test_rows_are_sampled_by_the_same_chance_and_once() -> None:
    rows = sample_rows(1000, 300, seed=1)
    assert len(rows) == len(set(rows)) == 300
    assert (np.diff(rows) > 0).all()
    assert (rows == sample_rows(1000, 300, seed=1)).all()
    assert abs(rows.mean() - 500) < 50
    assert (sample_rows(10, 300) == np.arange(10)).all()
    frame, outcome, student = world(8)
    tuned = run(frame, outcome, student, candidates=("logistic",), fits=3, max_rows=500)
    assert (tuned.rows, tuned.tuning_rows) == (500, 500)
    part = sample_rows(len(frame), 500)
    again, _ = fit_candidate("logistic", frame.iloc[part], outcome[part], student[part], tuned.config, DIRECTIONS)
    assert (again.log_odds(frame) == tuned.model.log_odds(frame)).all()


def test_configurations_are_told_apart_on_fewer_rows(monkeypatch: pytest.MonkeyPatch, counted: list[int]) -> None:
    monkeypatch.setattr(tuning, "TUNING_ROWS", 300)
    tuned = run(*world(9), candidates=("additive",), fits=3)
    assert max(counted[:3]) <= 250
    assert counted[-1] == 900
    assert (tuned.rows, tuned.tuning_rows) == (900, 300)


def test_every_configuration_is_one_that_can_be_fitted() -> None:
    frame, outcome, student = world(10, rows=300)
    assert tuple(CONFIGURATIONS) == CANDIDATES
    assert CONFIGURATIONS[AVERAGED] == ({kind: CONFIGURATIONS[kind][0] for kind in MEMBERS},)
    for kind in (kind for kind in CANDIDATES if kind != AVERAGED):
        for config in CONFIGURATIONS[kind]:
            learner = model_module.learner_of(kind, frame, DIRECTIONS)
            everything = np.ones(len(frame), dtype=bool)
            variants = learner.variants(config)
            assert learner.log_odds(outcome, student, everything, everything, config).shape == (300, len(variants))
            assert all(set(config) <= set(variant) for variant in variants)
