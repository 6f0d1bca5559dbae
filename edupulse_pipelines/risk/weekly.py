"""What the weekly job asks of risk: train when a training is due, and score the weeks with all that belongs to it.

Decides when (`weeks_to_train`, `judging.retraining`) and in which order; how is in `training`, `scoring` and `health`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import sqlalchemy as sa

from edupulse_pipelines.progress import Progress
from edupulse_pipelines.risk.book.identity import settings_hash_of
from edupulse_pipelines.risk.book.learned_label import learned_another_label
from edupulse_pipelines.risk.book.records import ModelRecord, trained_models
from edupulse_pipelines.risk.book.registry import Registry
from edupulse_pipelines.risk.book.shown import active_model
from edupulse_pipelines.risk.health import verdict_health, week_health
from edupulse_pipelines.risk.judging.evaluation import Measure
from edupulse_pipelines.risk.judging.retraining import retraining_due, stale_champion
from edupulse_pipelines.risk.samples.feedback import propose_reviews
from edupulse_pipelines.risk.samples.splits import training_points
from edupulse_pipelines.risk.scoring import ScoringReport, score_weeks
from edupulse_pipelines.risk.stand_in import keep_rule
from edupulse_pipelines.risk.training import TrainingOutcome, train_risk_models
from edupulse_pipelines.schema.sqlalchemy_tables import predictions
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage import step_accounts
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK


@dataclass(frozen=True)
class Training:
    """What came of asking whether a training is due."""

    points: Sequence[dt.date]
    """The weeks (Mondays) up to whose data models were asked for; empty when none was due."""
    because: str | None
    """`train_now`, `schedule`, or what has changed, in words."""
    newest_before: dt.date | None
    """The week through which the newest model of these settings had seen data before; None without one."""
    next_due: dt.date | None
    """The week in which the schedule asks next, when nothing was due."""
    outcomes: Sequence[TrainingOutcome]
    active: Mapping[str, Any] | None
    """`version` and `metrics` of the model that is active now."""
    stale: str | None = None
    """That the champion has not been judged for `champion_weeks`, in words, after all this."""


@dataclass(frozen=True)
class MeasuredScores:
    """The scores of some weeks, and what was measured along with them."""

    report: ScoringReport
    health: Mapping[dt.date, Sequence[Measure]]
    """Of each scored week."""
    proposed: Mapping[dt.date, int]
    """Predictions of each scored week that the run asks educators to review."""
    verdicts: Sequence[Mapping[str, Any]]
    """What educators' verdicts say of the models, by the last week."""


def weeks_to_train(
    weeks: Sequence[dt.date], newest_data_through: dt.date | None, retrain_weeks: int, train_now: bool
) -> list[dt.date]:
    """The weeks of the run up to whose data a model is to be trained, ascending; empty when none is due.

    Without a model, training points lie `retrain_weeks` apart and end with the run's last week. With one, it is due
    `retrain_weeks` after the newest, or as soon after that as a run comes; so a repeated run trains nothing.
    `train_now` trains for every week.
    """
    if train_now:
        return list(weeks)
    if newest_data_through is None:
        return training_points(weeks, retrain_weeks)
    points = []
    due = max(newest_data_through + retrain_weeks * WEEK, weeks[0])
    while due <= weeks[-1]:
        points.append(due)
        due += retrain_weeks * WEEK
    return points


def train_when_due(
    work: Work,
    tenant: TenantSettings,
    weeks: Sequence[dt.date],
    registry: Registry,
    *,
    train_now: bool = False,
    progress: Progress | None = None,
) -> Training:
    """Train for those of `weeks` (Mondays, ascending) for which it is due: by schedule, drift, verdicts or demand.

    Models under other settings (another label, another cohort) answer another question and do not count: after such a
    change a training is due at once. Without any model a training is tried, so that the reason why there is none is
    recorded.
    """
    keep_rule(work, tenant, registry)
    with work.reading() as connection:
        recorded = trained_models(connection, work)
        active = active_model(connection, work)
    current = [model for model in recorded if model.settings_hash == settings_hash_of(tenant)]
    newest = max((model.data_through for model in current if model.data_through), default=None)
    points = weeks_to_train(weeks, newest, tenant.training.retrain_weeks, train_now)
    because = "train_now" if train_now else "schedule" if points else None
    if (
        because == "schedule"
        and newest is None
        and any(model.is_active and learned_another_label(model, tenant) for model in recorded)
    ):
        because = "The champion learned another label than the one that the settings name now."
    if not points and newest is not None and weeks[-1] > newest:
        with work.reading() as connection:
            because = retraining_due(connection, work, tenant, weeks[-1])
        points = [weeks[-1]] if because else []
    if not points and newest is not None:
        return Training([], None, newest, newest + tenant.training.retrain_weeks * WEEK, [], active)
    outcomes = train_risk_models(work, tenant, points, registry, progress=progress)
    with work.reading() as connection:
        active = active_model(connection, work)
        stale = stale_champion(connection, work, tenant, weeks[-1])
    return Training(points, because, newest, None, outcomes, active, stale)


def score_and_measure(
    work: Work,
    tenant: TenantSettings,
    weeks: Sequence[dt.date],
    registry: Registry,
    *,
    rescore: bool = False,
    progress: Progress | None = None,
) -> MeasuredScores:
    """Score `weeks` as `score_weeks` does; of each, in its transaction, measure its health and propose reviews."""
    health: dict[dt.date, Sequence[Measure]] = {}
    proposed: dict[dt.date, int] = {}

    def measure(connection: sa.Connection, week: dt.date, model: ModelRecord, everybody: pd.DataFrame) -> None:
        health[week] = week_health(connection, work, tenant, week, model, everybody)
        drawn = {"reviews_proposed": propose_reviews(connection, work, tenant, week)}
        in_all = step_accounts.add(connection, work, predictions.name, drawn, part=week.isoformat())
        proposed[week] = in_all["reviews_proposed"]

    report = score_weeks(work, tenant, weeks, registry, rescore=rescore, progress=progress, after=measure)
    with work.writing() as connection:
        verdicts = verdict_health(connection, work, tenant, weeks[-1])
    return MeasuredScores(report, health, proposed, verdicts)
