"""Which configuration of which candidate: chosen inside the training rows alone, within a budget counted in fits.

Judged by the out-of-fold log loss after calibration, because a calibrated probability is what a candidate delivers. A
simpler candidate is preferred unless a more flexible one is clearly better. Knows neither weeks nor validation: who
may be trained on is decided in `splits`, what a candidate is in `model`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edupulse_pipelines.risk.models.model import (
    AVERAGED,
    CALIBRATION_GROUPS,
    CANDIDATES,
    MEMBERS,
    REGULARISATION_C,
    SMALLEST_GROUPING,
    Calibration,
    CannotLearn,
    Fit,
    Floats,
    Learner,
    Mask,
    RiskModel,
    averaged_fit,
    fit_out_of_fold,
    fit_sigmoid,
    folds_of,
    learner_of,
    one_thread,
)

TUNING_FOLDS = 3
# Configurations are told apart on this many rows; the chosen ones are fitted on all of them.
TUNING_ROWS = 40_000
MAXIMUM_ROWS = 300_000

_OF_ONE_KIND: dict[str, tuple[dict[str, Any], ...]] = {
    "logistic": ({"C": REGULARISATION_C}, {"C": 0.003}, {"C": 0.3}, {"C": 2.0}),
    "additive": (
        {"learning_rate": 0.1, "leaves": 3, "l2": 1.0, "leaf": 1.0},
        {"learning_rate": 0.05, "leaves": 3, "l2": 20.0, "leaf": 3.0},
        {"learning_rate": 0.2, "leaves": 4, "l2": 5.0, "leaf": 1.0},
    ),
    "boosting": (
        {"learning_rate": 0.1, "leaves": 6, "l2": 5.0, "leaf": 1.0, "max_features": 0.5},
        {"learning_rate": 0.05, "leaves": 4, "l2": 20.0, "leaf": 3.0, "max_features": 0.3},
        {"learning_rate": 0.1, "leaves": 8, "l2": 20.0, "leaf": 1.0, "max_features": 0.5},
    ),
}
CONFIGURATIONS: dict[str, tuple[dict[str, Any], ...]] = {
    **_OF_ONE_KIND,
    AVERAGED: ({kind: _OF_ONE_KIND[kind][0] for kind in MEMBERS},),
}
"""Tried in this order, as far as the budget goes; trees at several numbers of iterations each, which costs nothing.
Of the averaged candidate only what is fitted without a search: else it averages the members' best, at no fit more."""


@dataclass(frozen=True)
class Trial:
    """One configuration, judged."""

    kind: str
    config: dict[str, Any]
    log_loss: float
    """Mean over the rows, in nats, out of fold and calibrated by the other folds (by few groups: as it is)."""
    fits: int


@dataclass(frozen=True)
class Tuned:
    """The winner, and every candidate with its best configuration, fitted on all rows."""

    kind: str
    config: dict[str, Any]
    model: RiskModel
    calibration: Calibration
    trials: tuple[Trial, ...]
    fitted: dict[str, RiskModel]
    configs: dict[str, dict[str, Any]]
    calibrations: dict[str, Calibration]
    left_out: dict[str, str]
    """Candidates without a model, and why, for people."""
    rows: int
    """Rows fitted on, of those given."""
    tuning_rows: int
    """Rows that configurations were told apart on."""


def tune(
    features: pd.DataFrame,
    outcome: NDArray[np.int8],
    student: NDArray[np.int64],
    *,
    candidates: Sequence[str] = CANDIDATES,
    directions: Mapping[str, int],
    fits: int,
    groups: NDArray[np.int64] | None = None,
    seed: int = 0,
    max_rows: int = MAXIMUM_ROWS,
) -> Tuned:
    """Choose and fit; arguments as for `model.fit_candidate`. The same arguments give the same models, on one
    core or many. There are nine: the rows, as `fit_candidate` takes them, and each limit of the search by its name.

    `fits`: how many models may be fitted to tell configurations apart; a round takes one fit per fold, and candidates
    take turns. One that the budget does not reach is left out, unless it reaches none: then the simplest is fitted as
    it is. The averaged candidate averages what its members' best configurations said out of fold, which takes no fit;
    members that are no candidates are tried for it. Beyond the budget each candidate is fitted once more, and once per
    calibration fold. `max_rows`: with more
    rows than that, a random part of them is used (`sample_rows`).

    The winner has the lowest log loss, or is the simplest candidate that is within one standard error of it: over
    students or, where folds are by group, over groups, because then a few courses are what it was tried on. CannotLearn
    when no candidate can be fitted; the reason is the simplest one's.
    """
    if unknown := [kind for kind in candidates if kind not in CANDIDATES]:
        raise ValueError(f"{', '.join(unknown)}: not a candidate (known: {', '.join(CANDIDATES)})")
    if not candidates:
        raise ValueError("no candidates to choose from")
    if len(np.unique(outcome)) < 2:
        raise CannotLearn("all training samples have the same outcome")
    kinds = [kind for kind in CANDIDATES if kind in candidates]
    features, outcome, student, groups = _part(features, outcome, student, groups, max_rows, seed)
    tried = [kind for kind in CANDIDATES if kind in kinds or (AVERAGED in kinds and kind in MEMBERS)]
    with one_thread():
        judged = _trials(tried, *_part(features, outcome, student, groups, TUNING_ROWS, seed + 1), directions, fits)

    best = {kind: min(one, key=lambda judgement: judgement.trial.log_loss) for kind, one in judged.items() if one}
    configs = {kind: dict(judgement.trial.config) for kind, judgement in best.items() if kind in kinds}
    left_out = {kind: f"a budget of {fits} fits does not reach it" for kind in kinds if kind not in configs}
    if not configs:
        configs[kinds[0]] = dict(CONFIGURATIONS[kinds[0]][0])
        del left_out[kinds[0]]
    fits_by_kind: dict[str, Fit] = {}
    for kind, config in configs.items():
        try:
            members = [fits_by_kind.get(member) for member in MEMBERS]
            if kind == AVERAGED and None not in members:
                fits_by_kind[kind] = averaged_fit([fit for fit in members if fit is not None], outcome)
            else:
                fits_by_kind[kind] = fit_out_of_fold(kind, features, outcome, student, config, directions, groups)
        except CannotLearn as error:
            left_out[kind] = str(error)
    fitted = {kind: fit.model for kind, fit in fits_by_kind.items()}
    calibrations = {kind: fit.calibration for kind, fit in fits_by_kind.items()}
    if not fitted:
        raise CannotLearn(left_out[next(iter(configs))])
    winner = _winner([best[kind] for kind in fitted if kind in best]) or next(iter(fitted))
    return Tuned(
        kind=winner,
        config=configs[winner],
        model=fitted[winner],
        calibration=calibrations[winner],
        trials=tuple(judgement.trial for of_kind in judged.values() for judgement in of_kind),
        fitted=fitted,
        configs={kind: configs[kind] for kind in fitted},
        calibrations=calibrations,
        left_out=left_out,
        rows=len(outcome),
        tuning_rows=min(len(outcome), TUNING_ROWS),
    )


def sample_rows(count: int, max_rows: int, seed: int = 0) -> NDArray[np.int64]:
    """The rows to use of `count`, ascending: all, or `max_rows` of them at random, every row with the same chance.

    Rows and not students: a student's as-of weeks are near repeats of each other, so fewer weeks of every student tell
    more than every week of fewer students; and the event rate stays what it is.
    """
    if count <= max_rows:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, max_rows, replace=False))


@dataclass(frozen=True)
class _Judged:
    trial: Trial
    losses: Floats
    """Of each tuning row."""
    held_out: Floats
    """Uncalibrated log-odds of each tuning row, out of fold."""
    unit: NDArray[np.int64]
    """What went together into a fold: the student or the group of each tuning row."""


_Part = tuple[pd.DataFrame, NDArray[np.int8], NDArray[np.int64], "NDArray[np.int64] | None"]


def _part(
    features: pd.DataFrame,
    outcome: NDArray[np.int8],
    student: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    max_rows: int,
    seed: int,
) -> _Part:
    if len(outcome) <= max_rows:
        return features, outcome, student, groups
    rows = sample_rows(len(outcome), max_rows, seed)
    return features.iloc[rows], outcome[rows], student[rows], None if groups is None else groups[rows]


def _trials(
    kinds: Sequence[str],
    features: pd.DataFrame,
    outcome: NDArray[np.int8],
    student: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    directions: Mapping[str, int],
    fits: int,
) -> dict[str, list[_Judged]]:
    """What was tried of each kind, in order."""
    folds = folds_of(outcome, student, TUNING_FOLDS, groups)
    unit = student if groups is None or len(np.unique(groups)) < SMALLEST_GROUPING else groups
    # A sigmoid of a few groups would repeat how they happen to differ.
    calibrated = unit is student or len(np.unique(unit)) >= CALIBRATION_GROUPS
    judged: dict[str, list[_Judged]] = {kind: [] for kind in kinds}
    searched = [kind for kind in kinds if kind != AVERAGED]
    learners: dict[str, Learner] = {}
    for turn in range(max(len(CONFIGURATIONS[kind]) for kind in searched)):
        for kind in searched:
            if turn >= len(CONFIGURATIONS[kind]):
                continue
            fits -= len(folds)
            if fits < 0:
                return _with_average(judged, outcome, folds, calibrated)
            if kind not in learners:
                learners[kind] = learner_of(kind, features, directions)
            config = CONFIGURATIONS[kind][turn]
            judged[kind].append(_judge(kind, learners[kind], config, outcome, student, unit, folds, calibrated))
    return _with_average(judged, outcome, folds, calibrated)


def _with_average(
    judged: dict[str, list[_Judged]],
    outcome: NDArray[np.int8],
    folds: Sequence[tuple[Mask, Mask]],
    calibrated: bool,
) -> dict[str, list[_Judged]]:
    """The same with the average of its members' best, where it is asked for and each of them was tried."""
    if AVERAGED in judged and all(judged[kind] for kind in MEMBERS):
        best = [min(judged[kind], key=lambda judgement: judgement.trial.log_loss) for kind in MEMBERS]
        held_out = np.mean([judgement.held_out for judgement in best], axis=0)
        losses = _losses(held_out, outcome, folds, calibrated)
        config = {judgement.trial.kind: judgement.trial.config for judgement in best}
        trial = Trial(AVERAGED, config, float(losses.mean()), fits=0)
        judged[AVERAGED] = [_Judged(trial, losses, held_out, best[0].unit)]
    return judged


def _judge(
    kind: str,
    learner: Learner,
    config: Mapping[str, Any],
    outcome: NDArray[np.int8],
    student: NDArray[np.int64],
    unit: NDArray[np.int64],
    folds: Sequence[tuple[Mask, Mask]],
    calibrated: bool,
) -> _Judged:
    """The best variant of one configuration; of equals the first."""
    variants = learner.variants(config)
    logits = np.empty((len(outcome), len(variants)))
    for training, held_out in folds:
        logits[held_out] = learner.log_odds(outcome, student, training, held_out, config)
    losses = [_losses(logits[:, column], outcome, folds, calibrated) for column in range(len(variants))]
    means = [float(of_variant.mean()) for of_variant in losses]
    best = int(np.argmin(means))
    return _Judged(Trial(kind, variants[best], means[best], len(folds)), losses[best], logits[:, best].copy(), unit)


def _losses(logits: Floats, outcome: NDArray[np.int8], folds: Sequence[tuple[Mask, Mask]], calibrated: bool) -> Floats:
    """Log loss of each row, if asked for each fold calibrated by the others. A model that misleads (slope below 0) says
    nothing then."""
    if not calibrated:
        return np.logaddexp(0, logits) - outcome * logits
    losses = np.empty(len(outcome))
    for _, held_out in folds:
        others = ~held_out
        sigmoid = fit_sigmoid(logits[others], outcome[others])
        if sigmoid.slope <= 0:
            events = float(outcome[others].sum())
            sigmoid = Calibration(0.0, float(np.log((events + 1) / (others.sum() - events + 1))))
        z = sigmoid.slope * logits[held_out] + sigmoid.intercept
        losses[held_out] = np.logaddexp(0, z) - outcome[held_out] * z
    return losses


def _winner(best: Sequence[_Judged]) -> str | None:
    """The first kind (they come the simplest first) whose loss is within one standard error of the lowest."""
    if not best:
        return None
    lowest = min(best, key=lambda judgement: judgement.trial.log_loss)
    for judgement in best:
        excess = judgement.losses - lowest.losses
        # Rows of one student (or group) go together, so students (groups) are what the error is counted over.
        of_units = np.bincount(judgement.unit, weights=excess - excess.mean())
        if excess.mean() <= np.sqrt(np.sum(of_units**2)) / len(excess):
            return judgement.trial.kind
    return lowest.trial.kind
