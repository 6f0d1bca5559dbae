"""The promotion gate: whether a challenger may become champion.

Pure: scores and outcomes in, a `Decision` with all its numbers out, the same for the same input. A decision is data;
its sentences are made in `telling.decisions`. It is recorded by `book.decisions`, and the champion is changed by
`book.champion`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from edupulse_pipelines.risk.judging.evaluation import (
    CALIBRATION_BINS,
    Floats,
    auc_roc,
    calibration_error,
    calibration_groups,
    list_size,
    losses,
)
from edupulse_pipelines.risk.judging.fairness import judge_fairness
from edupulse_pipelines.risk.judging.replicates import NOTHING, figure
from edupulse_pipelines.risk.rounding import DIGITS
from edupulse_pipelines.settings import PromotionSettings

LOOK_SPENDS = 0.7
"""The share of the chance of error still left that one look at a champion spends.

Equal challengers come again and again, and at the same demand one of them would win. So the first may err with 70 % of
1 - `certainty`, the next with 70 % of the rest, and all together never with more than 1 - `certainty`.
It is the spending function of I. K. Hwang, W. J. Shih and J. S. De Cani, "Group sequential designs using a family of
type I error probability spending functions" (Statistics in Medicine 9, 1990), whose steps fall by one factor (0.3 here,
gamma = 1.2 a look), without their division, which would leave nothing after the last planned look. Steps are added up
(Bonferroni), which holds whatever the looks have in common. 70 % was chosen by simulation (`benchmarks gate`)."""
_PERFECT_QUANTILE = 0.95
# Replicates at a time: the weights of a batch stay small, and every week's part of them in the processor's cache.
_BATCH = 64


@dataclass(frozen=True)
class Decision:
    """What the gate says of a challenger."""

    promoted: bool
    numbers: dict[str, Any]
    """Every figure the decision rests on, with what was demanded of it and whether it passed, as JSON; None where the
    data define none."""


def decide(
    *,
    challenger: Floats,
    champion: Floats | None,
    rule: Floats,
    outcome: NDArray[np.int8],
    week: NDArray[Any],
    student: NDArray[Any],
    subgroups: Mapping[str, NDArray[Any]],
    settings: PromotionSettings,
    seed: int,
    earlier_looks: int = 0,
    intersections: Sequence[tuple[str, str]] = (),
) -> Decision:
    """Whether the challenger may become champion, judged beside the champion and the rule on the same student-weeks.

    Arrays of equal length, a row a held-out student-week: the three probabilities (`champion` None: there is none),
    `outcome` 0 or 1, `week` a code of the cohort, `student` a code of the student; `subgroups` maps an attribute to its
    values; `earlier_looks`: how many challengers this champion was compared with before; `intersections`: pairs of
    attributes. Eleven arguments by name, and not a `Judged`: that holds fitted models, and the gate needs arrays alone.
    ValueError for arrays that do not fit or a probability that is no number. All of these must hold:

    - AUC is at least `minimum_auc` (and defined: both classes occur).
    - Against the champion: the log loss is lower by at least `minimum_lead` of the champion's, surely enough
      (`certainty`, more of it with every earlier look: `LOOK_SPENDS`), and the precision among the `capacity` of each
      week's cohort is not lower by more than `precision_margin`. Log loss, because it uses every student-week and not
      the edge of a list alone, so that it tells a better model with far fewer students. A lead below `minimum_lead` is
      none that anybody would notice; without it an equal challenger would win as often in a large district as in a
      small one.
    - Against the rule: precision at capacity is higher, in at least `certainty` of the replicates. Where there is a
      champion, that is what has to be sure, and the lead over the rule only to be one: asked to be sure of both at each
      look, a better model would often be refused by chance.

      Certainty is that of a paired bootstrap over students: each replicate draws as many students as there are, with
      all their weeks, and compares both on the same draw (an equal result counts half). Leads of replicates are moved
      so that their mean is the lead of the data: a student who is drawn twice takes two places of a list, which would
      lean them to one side. Students who tie at the edge of a list count as their expectation.
    - The calibration error is at most `calibration_error`, or no greater than what chance gives to perfectly calibrated
      probabilities (95th percentile of simulated outcomes). A simulated student keeps one draw through all weeks:
      horizons overlap, so the outcomes of a student go together, and pretending otherwise would refuse small districts.
    - No subgroup fails, and no intersection of the pairs of attributes in `intersections`: see `fairness`.
    """
    scores = {"challenger": challenger, "rule": rule} | ({} if champion is None else {"champion": champion})
    _fitting(scores, outcome, week, student, subgroups)
    actual = outcome.astype(bool)
    _, codes = np.unique(student, return_inverse=True)
    students = int(codes.max()) + 1 if len(codes) else 0
    numbers: dict[str, Any] = {
        "student_weeks": len(actual),
        "students": students,
        "weeks": len(np.unique(week)),
        "events": int(actual.sum()),
        "capacity": settings.capacity,
        "certainty": settings.certainty,
        "replicates": settings.bootstrap,
        "seed": seed,
    }
    if not len(actual):
        return Decision(False, numbers)

    replicated = _replicate(scores, actual, week, codes, settings, seed)
    numbers["fairness"] = judge_fairness(
        challenger, actual, week, codes, subgroups, settings, seed, pairs=intersections
    )
    passed = [
        _auc_condition(challenger, actual, settings, numbers),
        _leads(replicated, settings, earlier_looks, numbers),
        _calibration_condition(challenger, actual, codes, settings, seed, numbers),
        bool(numbers["fairness"]["passed"]),
    ]
    return Decision(all(passed), numbers)


def with_circumstances(
    decision: Decision,
    *,
    champion_version: str | None,
    compared: bool,
    leakage: Mapping[str, Any],
    other_label: bool = False,
) -> Decision:
    """The decision with what `decide` does not see; a leak refuses whatever the numbers say.

    champion_version: the model that the challenger would replace; `compared`: whether its scores were compared, which
    they are not when it cannot be loaded, needs other inputs or learned another label (`other_label`). `leakage`: the
    leakage proof, as JSON.
    """
    circumstances = {
        "champion_version": champion_version,
        "champion_compared": compared,
        "champion_learned_another_label": other_label,
        "leakage": dict(leakage),
    }
    return Decision(decision.promoted and bool(leakage["passed"]), {**decision.numbers, **circumstances})


def overtaken(decision: Decision) -> Decision:
    """The refusal of a challenger whose champion was changed by somebody else between the comparison and the record."""
    return Decision(False, {**decision.numbers, "champion_changed": True})


def _fitting(
    scores: Mapping[str, Floats],
    outcome: NDArray[Any],
    week: NDArray[Any],
    student: NDArray[Any],
    subgroups: Mapping[str, NDArray[Any]],
) -> None:
    for name, values in [*scores.items(), ("week", week), ("student", student), *subgroups.items()]:
        if len(values) != len(outcome):
            raise ValueError(f"{name}: {len(values)} values for {len(outcome)} outcomes")
    for name, values in scores.items():
        if not np.all((values >= 0) & (values <= 1)):
            raise ValueError(f"{name}: not every score is a probability")


def _auc_condition(
    challenger: Floats, actual: NDArray[np.bool_], settings: PromotionSettings, numbers: dict[str, Any]
) -> bool:
    auc, minimum = auc_roc(challenger, actual), settings.minimum_auc
    passed = auc is not None and auc >= minimum
    numbers["auc_roc"] = {"value": auc, "minimum": minimum, "passed": passed}
    return passed


def required_certainty(certainty: float, earlier_looks: int) -> float:
    """How sure a lead over the champion has to be after so many earlier looks; see `LOOK_SPENDS`."""
    return 1 - (1 - certainty) * LOOK_SPENDS * (1 - LOOK_SPENDS) ** earlier_looks


def _leads(replicated: _Replicates, settings: PromotionSettings, earlier_looks: int, numbers: dict[str, Any]) -> bool:
    """The conditions against the champion and the rule."""
    for measure, of_scores in (
        ("precision_at_capacity", replicated.precision),
        ("log_loss", replicated.log_loss),
    ):
        numbers[measure] = {"champion": None} | {name: figure(values) for name, values in of_scores.items()}
    champion = _against_champion(replicated, settings, earlier_looks) if "champion" in replicated.precision else None
    rule = _lead(replicated.precision["challenger"] - replicated.precision["rule"])
    required = settings.certainty if champion is None else 0.0
    rule |= {"required": required, "passed": rule["value"] > 0 and rule["certainty"] >= required - NOTHING}
    numbers["against"] = {"champion": champion, "rule": rule}
    return bool(rule["passed"] and (champion is None or champion["passed"]))


def _against_champion(replicated: _Replicates, settings: PromotionSettings, earlier_looks: int) -> dict[str, Any]:
    theirs = replicated.log_loss["champion"]
    loss = _lead(theirs - replicated.log_loss["challenger"])
    required = required_certainty(settings.certainty, earlier_looks)
    least = settings.minimum_lead * float(theirs[0])
    loss |= {"required": round(required, DIGITS), "minimum": round(least, DIGITS)}
    loss["passed"] = loss["value"] > 0 and loss["value"] >= least and loss["certainty"] >= required - NOTHING
    precision = _lead(replicated.precision["challenger"] - replicated.precision["champion"])
    precision["margin"] = settings.precision_margin
    precision["passed"] = precision["value"] >= -settings.precision_margin
    return {
        "log_loss": loss,
        "precision_at_capacity": precision,
        "earlier_looks": earlier_looks,
        "passed": loss["passed"] and precision["passed"],
    }


def _lead(lead: Floats) -> dict[str, Any]:
    """A lead with its interval, and the share of replicates that are ahead; moved to have the data's lead as mean."""
    defined = lead[1:][~np.isnan(lead[1:])]
    centred = defined - defined.mean() + lead[0] if len(defined) else defined
    ahead = np.mean(centred > NOTHING) + np.mean(np.abs(centred) <= NOTHING) / 2 if len(defined) else 0.0
    return {**figure(np.concatenate([lead[:1], centred])), "certainty": round(float(ahead), DIGITS)}


def _calibration_condition(
    challenger: Floats,
    actual: NDArray[np.bool_],
    student: NDArray[np.int64],
    settings: PromotionSettings,
    seed: int,
    numbers: dict[str, Any],
) -> bool:
    error = calibration_error(challenger, actual)
    assert error is not None  # there are rows
    bound = settings.calibration_error
    by_chance = round(_error_by_chance(challenger, student, settings.bootstrap, seed), DIGITS)
    passed = error <= max(bound, by_chance)
    numbers["calibration_error"] = {"value": error, "maximum": bound, "by_chance": by_chance, "passed": passed}
    return passed


@dataclass(frozen=True)
class _Replicates:
    """Figures of the data (position 0) and of each replicate; NaN = not defined there."""

    precision: dict[str, Floats]
    """By scores: share of events among the listed, shape (1 + replicates,)."""
    log_loss: dict[str, Floats]
    """By scores: mean over the student-weeks, in nats, shape (1 + replicates,)."""


@dataclass(frozen=True)
class _Ranking:
    """One week's cohort in the order of one score, highest first; equal scores form a block."""

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    """Position at which each block starts."""

    def top(self, count: int) -> _Ranking:
        """The first blocks that hold at least `count` rows."""
        if count >= len(self.rows):
            return self
        blocks = int(np.searchsorted(self.starts, count, side="left"))
        end = int(self.starts[blocks]) if blocks < len(self.starts) else len(self.rows)
        return _Ranking(self.rows[:end], self.starts[:blocks])


def _ranking(score: Floats, rows: NDArray[np.int64]) -> _Ranking:
    ordered = rows[np.argsort(-score[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(score[ordered], prepend=np.nan) != 0)
    return _Ranking(ordered, starts)


def _replicate(
    scores: Mapping[str, Floats],
    actual: NDArray[np.bool_],
    week: NDArray[Any],
    student: NDArray[np.int64],
    settings: PromotionSettings,
    seed: int,
) -> _Replicates:
    """Precision of the data and of the bootstrap's replicates.

    SciPy draws the students and keeps what comes of each draw; what a draw of students with all their weeks means for
    the lists is ours.
    """
    weeks = [np.flatnonzero(week == number) for number in np.unique(week)]
    rankings = {name: [_ranking(score, rows) for rows in weeks] for name, score in scores.items()}
    students = int(student.max()) + 1
    loss_of = np.array([np.bincount(student, weights=losses(score, actual)) for score in scores.values()])
    rows_of = np.bincount(student)

    def figures(draws: NDArray[np.int64], axis: int = -1) -> Floats:
        """Of draws of students, shape (draws, students): precisions, then log losses; shape (figures, draws)."""
        weights = _times_drawn(draws, students)
        sizes = [_sizes(weights, student[rows], settings.capacity) for rows in weeks]
        places = np.sum(sizes, axis=0)
        precisions = []
        for ranking in rankings.values():
            hits = np.zeros(weights.shape[1])
            for of_week, size in zip(ranking, sizes, strict=True):
                part, on_list, weighted = _on_list(of_week, weights, student, size, settings.capacity)
                happened = np.flatnonzero(actual[part.rows])
                block = np.searchsorted(part.starts, happened, side="right") - 1
                hits += (on_list[block] * weighted[happened]).sum(axis=0)
            precisions.append(hits / places)
        loss = (loss_of @ weights) / (rows_of @ weights)
        return np.vstack([*precisions, loss])

    everybody = np.arange(students)
    together = figures(everybody[None])
    if students > 1:
        drawn = bootstrap(
            (everybody,),
            figures,
            n_resamples=settings.bootstrap,
            batch=_BATCH,
            vectorized=True,
            method="percentile",
            rng=np.random.default_rng([seed, 0]),
        )
        together = np.hstack([together, drawn.bootstrap_distribution])
    else:
        # SciPy wants two to draw from. Of one, every draw is the data.
        together = np.repeat(together, 1 + settings.bootstrap, axis=1)
    precision, loss = np.split(together, 2)
    return _Replicates(dict(zip(scores, precision, strict=True)), dict(zip(scores, loss, strict=True)))


def _times_drawn(draws: NDArray[np.int64], students: int) -> NDArray[np.int32]:
    """How often each student is in each draw, shape (students, draws)."""
    counts = [np.bincount(draw, minlength=students) for draw in draws]
    return np.ascontiguousarray(np.array(counts, dtype=np.int32).T)


def _sizes(weights: NDArray[np.int32], student: NDArray[np.int64], capacity: float) -> NDArray[np.int64]:
    """Size of a week's list in each replicate; 0 where nobody of the week was drawn."""
    cohort = weights[student].sum(axis=0)
    return np.array([list_size(int(students), capacity) if students else 0 for students in cohort])


def _on_list(
    ranking: _Ranking,
    weights: NDArray[np.int32],
    student: NDArray[np.int64],
    size: NDArray[np.int64],
    capacity: float,
) -> tuple[_Ranking, Floats, NDArray[np.int32]]:
    """(the part of the ranking that lists can reach, per block the share that is on the list, per row its weight).

    Of a block at the edge, the share for which there is room.
    """
    # Only the top of a ranking decides; half as much again as a list holds is nearly always enough to look at.
    for count in (64 + int(1.5 * capacity * len(ranking.rows)), len(ranking.rows)):
        part = ranking.top(count)
        weighted = weights[student[part.rows]]
        alone = len(part.starts) == len(part.rows)
        block = weighted if alone else np.add.reduceat(weighted, part.starts, axis=0)
        through = np.cumsum(block, axis=0, dtype=np.int64)
        if np.all(through[-1] >= size):
            break
    room = np.clip(size - (through - block), 0, block)
    return part, room / np.maximum(block, 1), weighted


def _error_by_chance(probability: Floats, student: NDArray[np.int64], replicates: int, seed: int) -> float:
    """95th percentile of the calibration error of these probabilities, were they perfectly calibrated."""
    group = calibration_groups(probability, CALIBRATION_BINS)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(int(group.max()) + 1))
    samples = np.bincount(group)
    predicted = np.bincount(group, weights=probability) / samples
    random = np.random.default_rng([seed, 1])
    students, who, expected = int(student.max()) + 1, student[order], probability[order, None]
    errors = []
    for start in range(0, replicates, _BATCH):
        draw = random.random((students, min(_BATCH, replicates - start)))
        happened = np.add.reduceat(draw[who] < expected, starts, axis=0, dtype=np.int64)
        distance = np.abs(happened / samples[:, None] - predicted[:, None])
        errors.append(samples @ distance / len(probability))
    return float(np.quantile(np.concatenate(errors), _PERFECT_QUANTILE))
