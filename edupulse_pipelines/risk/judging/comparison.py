"""The candidates, the rule and the present champion, on the same held-out student-weeks: fitted, scored and measured.

Numbers only: whether the best candidate may be used is decided in `promotion`, and recorded by the book.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edupulse_pipelines.risk.judging.confidence import ConfidenceMap, fit_confidence
from edupulse_pipelines.risk.judging.evaluation import Floats, Measure, Metrics, evaluate, measures
from edupulse_pipelines.risk.models.baseline import RuleModel, calibrated_rule
from edupulse_pipelines.risk.models.model import CannotLearn, RiskModel, fit_candidate
from edupulse_pipelines.risk.models.tuning import Tuned, tune
from edupulse_pipelines.risk.rounding import DIGITS
from edupulse_pipelines.risk.samples.assembly import SEED, Samples, Usable
from edupulse_pipelines.risk.samples.cohorts import directions, model_features
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.weeks import feature_date

_UNSEEN_FOLDS = 3

Figures = dict[tuple[str, str, dt.date], list[Measure]]
"""By candidate, scope and as-of date, as `model_evaluations` keeps them."""


@dataclass(frozen=True)
class Judged:
    """What was fitted on the training rows, and everything that was measured on the validation rows."""

    tuned: Tuned
    rule: RuleModel
    frame: pd.DataFrame
    """The validation's features."""
    outcome: NDArray[np.int8]
    week: NDArray[np.int64]
    student: NDArray[np.int64]
    subgroups: Mapping[str, NDArray[np.object_]]
    scores: dict[str, Floats]
    """By candidate, `rule` among them, and `champion` where there is one that can score these students."""
    metrics: dict[str, Metrics]
    confidence: ConfidenceMap
    training: NDArray[np.int64]
    """The rows of the samples that were fitted on."""

    @property
    def predicted(self) -> Floats:
        """The challenger's probabilities."""
        return self.scores[self.tuned.kind]


@dataclass(frozen=True)
class UnseenStudents:
    """Validation scores of students none of whose weeks were trained on."""

    scores: Floats
    """Per validation row; NaN where there is none."""
    scored: NDArray[np.bool_]

    def metrics(self, judged: Judged) -> Metrics | None:
        """The metrics on the rows that were scored; None when none was."""
        rows = self.scored
        if not rows.any():
            return None
        training = len(judged.training)
        return evaluate(self.scores[rows], judged.outcome[rows], judged.week[rows], training_samples=training)


def judge(samples: Samples, usable: Usable, champion: RiskModel | None) -> Judged:
    """Fit the candidates on the training rows, and measure them, the rule and the champion on the validation rows.

    `champion`: the model to compare with; left out of the comparison when it needs inputs that the samples have not.
    CannotLearn when no candidate can be fitted.
    """
    tenant, matrix = samples.tenant, samples.matrix
    training, validation = samples.rows_to_fit(usable), usable.validation
    train_frame, train_outcome = matrix.frame(training), usable.outcome[training]
    tuned = tune(
        train_frame[list(model_features(tenant))],
        train_outcome,
        matrix.student[training],
        candidates=tenant.training.candidates,
        directions=directions(model_features(tenant)),
        fits=tenant.training.tuning_fits,
        groups=samples.course_groups(training),
        seed=SEED,
        max_rows=len(training),
    )
    rule = calibrated_rule(
        tenant, train_frame, train_outcome, matrix.student[training], samples.course_groups(training)
    )
    frame, outcome = matrix.frame(validation), usable.outcome[validation]
    week = matrix.week[validation]
    scores = {kind: model.probabilities(frame) for kind, model in tuned.fitted.items()}
    scores["rule"] = rule.probabilities(frame)
    if champion is not None and set(champion.features) <= set(frame.columns):
        scores["champion"] = champion.probabilities(frame)
    predicted = np.round(scores[tuned.kind], DIGITS)
    return Judged(
        tuned,
        rule,
        frame,
        outcome,
        week,
        matrix.student[validation],
        matrix.subgroups(validation),
        scores,
        {kind: evaluate(score, outcome, week, training_samples=len(training)) for kind, score in scores.items()},
        fit_confidence(
            predicted,
            outcome,
            predicted >= tenant.categories.high,
            data_quality=matrix.quality[validation],
            weeks_of_data=matrix.weeks_of_data[validation],
            student=matrix.student[validation],
        ),
        training,
    )


def unseen_students(samples: Samples, usable: Usable, judged: Judged) -> UnseenStudents:
    """Fit the chosen candidate again without a third of the students at a time, and score these."""
    tenant, matrix = samples.tenant, samples.matrix
    training, validation = judged.training, usable.validation
    fold = np.random.default_rng(SEED).integers(0, _UNSEEN_FOLDS, len(matrix.population.district_ids))
    scores, scored = np.full(len(validation), np.nan), np.zeros(len(validation), dtype=bool)
    for number in range(_UNSEEN_FOLDS):
        rows = training[fold[matrix.student[training]] != number]
        here = fold[matrix.student[validation]] == number
        if not here.any() or len(np.unique(usable.outcome[rows])) < 2:
            continue
        try:
            model, _ = fit_candidate(
                judged.tuned.kind,
                matrix.frame(rows)[judged.tuned.model.features],
                usable.outcome[rows],
                matrix.student[rows],
                judged.tuned.config,
                directions(model_features(tenant)),
                samples.course_groups(rows),
            )
        except CannotLearn:
            continue
        scores[here] = model.probabilities(judged.frame[here])
        scored |= here
    return UnseenStudents(scores, scored)


def all_figures(tenant: TenantSettings, judged: Judged, weeks: Sequence[dt.date], unseen: UnseenStudents) -> Figures:
    """Every figure of every candidate in long form: of all validation weeks, of each, and of unseen students.

    `weeks`: the Mondays that `judged.week` counts.
    """
    last = feature_date(weeks[int(judged.week.max())])
    everything = np.ones(len(judged.outcome), dtype=bool)
    figures = {
        (candidate, "validation", last): _figures(tenant, judged, score, everything, by_subgroup=True)
        for candidate, score in judged.scores.items()
    }
    for candidate in (judged.tuned.kind, "rule"):
        for number in np.unique(judged.week):
            day = feature_date(weeks[int(number)])
            in_week = judged.week == number
            figures[candidate, "week", day] = _figures(tenant, judged, judged.scores[candidate], in_week)
    if unseen.scored.any():
        figures[judged.tuned.kind, "unseen_students", last] = _figures(tenant, judged, unseen.scores, unseen.scored)
    return figures


def _figures(
    tenant: TenantSettings, judged: Judged, score: Floats, rows: NDArray[np.bool_], *, by_subgroup: bool = False
) -> list[Measure]:
    """Every figure of a score on some of the validation rows."""
    return measures(
        score[rows],
        judged.outcome[rows],
        judged.week[rows],
        capacity=tenant.promotion.capacity,
        subgroups={name: values[rows] for name, values in judged.subgroups.items()} if by_subgroup else {},
        student=judged.student[rows],
        minimum_subgroup=tenant.promotion.minimum_subgroup,
    )
