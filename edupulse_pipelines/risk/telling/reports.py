"""What a training leaves for people to read: the model card, the plots and the documents of its MLflow run.

Only gathers the facts; how a card reads is in `model_card`, what a plot looks like in `model_plots`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edupulse_pipelines.risk.book.code_revision import git_revision
from edupulse_pipelines.risk.book.records import ModelRecord
from edupulse_pipelines.risk.book.run_contents import LoggedDataset
from edupulse_pipelines.risk.judging.comparison import Figures, Judged
from edupulse_pipelines.risk.judging.evaluation import Measure, Metrics
from edupulse_pipelines.risk.judging.leakage import LeakageProof
from edupulse_pipelines.risk.judging.promotion import Decision
from edupulse_pipelines.risk.samples.assembly import Samples, Usable
from edupulse_pipelines.risk.telling.card_facts import CandidateFacts, CardFacts, DataFacts
from edupulse_pipelines.risk.telling.decisions import decision_words
from edupulse_pipelines.risk.telling.explanations import factor_contributions
from edupulse_pipelines.risk.telling.model_card import card_html, card_summary, model_card
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.weeks import feature_date

_LIBRARIES = ("scikit-learn", "numpy", "pandas")
_PARTIAL_DEPENDENCES = 9
_EXPLAINED_ROWS = 20_000
CALIBRATION_FIGURE = "calibration.png"
_TITLES = {
    CALIBRATION_FIGURE: "Calibration on the held-out weeks",
    "plots/precision_by_capacity.png": "Precision by length of the list",
    "plots/candidates.png": "Candidates",
    "plots/factor_importance.png": "Importance of the factors",
    "plots/feature_importance.png": "Importance of the features",
    "plots/partial_dependence.png": "Partial dependence",
}


@dataclass(frozen=True)
class TrainingResult:
    """A fitted model and everything that was found out about it, before it is recorded."""

    judged: Judged
    proof: LeakageProof
    decision: Decision
    metrics: Metrics
    figures: Figures


@dataclass(frozen=True)
class TrainingReport:
    """Files by name, for `Registry.log_model`."""

    documents: Mapping[str, Any]
    figures: Mapping[str, bytes]
    datasets: Sequence[LoggedDataset]
    description: str


def training_report(
    *,
    record: ModelRecord,
    samples: Samples,
    usable: Usable,
    result: TrainingResult,
) -> TrainingReport:
    """Everything people read about a training; no student is in it."""
    tenant, judged = samples.tenant, result.judged
    explained = judged.frame.iloc[:_EXPLAINED_ROWS]
    factors = factor_contributions(judged.tuned.model, explained).abs().mean().sort_values(ascending=False)
    importance = {str(name): float(value) for name, value in factors.items()}
    plots = training_figures(tenant, record.model_version, judged, importance)
    parts = {"training": judged.training, "validation": usable.validation}
    data = {name: _data(samples, usable, rows) for name, rows in parts.items()}
    facts = _card_facts(record, tenant, result, data, importance, plots)
    return TrainingReport(
        _documents(record, result, facts),
        plots,
        _datasets(samples, usable, judged, parts, data),
        card_summary(facts),
    )


def _card_facts(
    record: ModelRecord,
    tenant: TenantSettings,
    result: TrainingResult,
    data: Mapping[str, DataFacts],
    importance: Mapping[str, float],
    plots: Mapping[str, bytes],
) -> CardFacts:
    """What the model card is written from."""
    judged, decision, figures = result.judged, result.decision, result.figures
    by_candidate = {name: measures for (name, scope, _), measures in figures.items() if scope == "validation"}
    unseen = next((measures for (_, scope, _), measures in figures.items() if scope == "unseen_students"), ())
    assert record.data_through is not None and record.data_hash and record.settings_hash
    return CardFacts(
        tenant=tenant.name,
        model_version=record.model_version,
        kind=judged.tuned.kind,
        data_through=feature_date(record.data_through),
        trained_at=record.trained_at,
        label=tenant.label,
        cohort=tenant.cohort,
        categories=tenant.categories,
        rule=tenant.rule,
        absent_day=tenant.absent_day,
        capacity=tenant.promotion.capacity,
        training=data["training"],
        validation=data["validation"],
        measures=by_candidate[judged.tuned.kind],
        rule_measures=by_candidate["rule"],
        champion_measures=by_candidate.get("champion", ()),
        unseen_measures=unseen,
        candidates=_candidates(judged, by_candidate),
        features=judged.tuned.model.features,
        metadata_inputs=list(tenant.inputs.metadata),
        audited=tenant.audit.subgroups,
        importance=importance,
        leakage_proof=result.proof.sentence,
        minimum_subgroup=tenant.promotion.minimum_subgroup,
        promoted=decision.promoted,
        decision=decision_words(decision),
        decision_numbers=decision.numbers,
        champion_version=decision.numbers.get("champion_version"),
        data_hash=record.data_hash,
        settings_hash=record.settings_hash,
        git_revision=git_revision(),
        seed=record.hyperparameters["seed"],
        libraries={name: installed(name) for name in _LIBRARIES},
        figures={_TITLES[name]: png for name, png in plots.items()},
    )


def _documents(
    record: ModelRecord,
    result: TrainingResult,
    facts: CardFacts,
) -> dict[str, Any]:
    """The run's documents by file name."""
    judged, decision = result.judged, result.decision
    hyperparameters = record.hyperparameters
    documents: dict[str, Any] = {
        "settings.json": hyperparameters["settings"],
        "performance_metrics.json": dict(record.metrics),
        "leakage.json": result.proof.as_json(),
        "promotion_decision.json": {
            "promoted": decision.promoted,
            "reason": facts.decision,
            "numbers": decision.numbers,
        },
        "model_card.md": model_card(facts),
        "model_card.html": card_html(facts),
    }
    if "coefficients" in hyperparameters:
        documents["coefficients.json"] = {"intercept": hyperparameters["intercept"], **hyperparameters["coefficients"]}
    if judged.tuned.model.shapes:
        documents["shape_functions.json"] = {
            name: {"thresholds": list(map(float, shape.thresholds)), "values": list(map(float, shape.values))}
            for name, shape in judged.tuned.model.shapes.items()
        }
    return documents


def _datasets(
    samples: Samples,
    usable: Usable,
    judged: Judged,
    parts: Mapping[str, NDArray[np.int64]],
    data: Mapping[str, DataFacts],
) -> list[LoggedDataset]:
    """What MLflow shows of the rows that trained and validated."""
    return [
        LoggedDataset(
            context,
            f"{samples.tenant.name} {context}",
            samples.matrix.digest(rows, usable.outcome),
            judged.tuned.model.features,
            {
                "student_weeks": data[context].student_weeks,
                "students": data[context].students,
                "events": data[context].events,
                "first_week": data[context].first_week.isoformat(),
                "last_week": data[context].last_week.isoformat(),
            },
        )
        for context, rows in parts.items()
    ]


def training_figures(
    tenant: TenantSettings, version: str, judged: Judged, importance: Mapping[str, float]
) -> dict[str, bytes]:
    """The plots of a training by file name, PNG."""
    from edupulse_pipelines.risk.telling.calibration_plot import calibration_plot
    from edupulse_pipelines.risk.telling.model_plots import (
        candidates_plot,
        importance_plot,
        mean_contributions,
        partial_dependence_plot,
        precision_by_capacity_plot,
    )

    title, model = f"{tenant.name}, model {version}", judged.tuned.model
    by_feature = mean_contributions(model, judged.frame.iloc[:_EXPLAINED_ROWS])
    compared = {"model": judged.predicted}
    compared |= {name: judged.scores[name] for name in ("champion", "rule") if name in judged.scores}
    shown = {
        "AUC": "auc_roc",
        "average precision": "average_precision",
        "lower: log loss": "validation_loss",
        "lower: calibration error": "calibration_error",
    }
    return {
        CALIBRATION_FIGURE: calibration_plot(title, judged.predicted, judged.scores["rule"], judged.outcome),
        "plots/precision_by_capacity.png": precision_by_capacity_plot(
            title, compared, judged.outcome, judged.week, capacity=tenant.promotion.capacity
        ),
        "plots/candidates.png": candidates_plot(
            title,
            {
                words: {name: metrics[metric] for name, metrics in judged.metrics.items()}
                for words, metric in shown.items()
            },
            chosen=judged.tuned.kind,
        ),
        "plots/factor_importance.png": importance_plot(title, importance),
        "plots/feature_importance.png": importance_plot(title, by_feature),
        "plots/partial_dependence.png": partial_dependence_plot(
            title,
            model,
            judged.frame,
            [name for name, value in by_feature.items() if value > 0][:_PARTIAL_DEPENDENCES],
        ),
    }


def _data(samples: Samples, usable: Usable, rows: NDArray[np.int64]) -> DataFacts:
    matrix = samples.matrix
    weeks = np.unique(matrix.week[rows])
    notes = []
    if matrix.share < 1:
        notes.append(f"Of {matrix.share:.0%} of the students, drawn by a hash of their numbers.")
    if len(rows) < len(usable.training) and np.isin(rows, usable.training).all():
        notes.append(f"A part of the students: {len(usable.training):,} student-weeks could have trained.")
    return DataFacts(
        student_weeks=len(rows),
        students=len(np.unique(matrix.student[rows])),
        events=int(usable.outcome[rows].sum()),
        first_week=feature_date(matrix.weeks[int(weeks[0])]),
        last_week=feature_date(matrix.weeks[int(weeks[-1])]),
        weeks=len(weeks),
        note=" ".join(notes),
    )


def _candidates(judged: Judged, by_candidate: Mapping[str, Sequence[Measure]]) -> list[CandidateFacts]:
    tuned = judged.tuned
    candidates = []
    for kind in (*tuned.fitted, *(kind for kind in tuned.left_out if kind not in tuned.fitted)):
        trials = [trial for trial in tuned.trials if trial.kind == kind]
        candidates.append(
            CandidateFacts(
                kind=kind,
                tuning_log_loss=min((trial.log_loss for trial in trials), default=None),
                fits=sum(trial.fits for trial in trials),
                config=tuned.configs.get(kind, {}),
                measures=by_candidate.get(kind, ()),
                chosen=kind == tuned.kind,
                left_out=tuned.left_out.get(kind, ""),
            )
        )
    return candidates
