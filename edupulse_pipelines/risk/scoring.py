"""Scoring: each week's cohort, scored by the best that could have known it then, with its reasons.

Reads the week's cohort and the registered model, writes `predictions`. Never trains and never guesses. What scores a
week is its champion, else a transferred model, else the rule (`champion.scorers_of`), so that no week is without a
list. Where a model is gone from the registry or is not the one that was registered, its last good predictions stay as
they are; a week without any gets the next best, and it is said.

Definitions. `risk_score`: the calibrated probability of an adverse event within the horizon; none of a rule that could
not learn one yet, whose categories go by its score (`baseline.BANDS`). `rule_score`: the graded score of a rule.
`risk_factors`: see `explanations` and `rule_reasons`. `confidence`: how sure the prediction is of the side its category
takes; see `confidence`. `rescored`: the model knows later data than the week it scored, so the score is hindsight.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from numpy.typing import NDArray

from edupulse_pipelines.errors import ModelArtifactError
from edupulse_pipelines.features.lowest_course import lowest_courses
from edupulse_pipelines.progress import Progress
from edupulse_pipelines.risk.book.champion import Scorer, scorers_of
from edupulse_pipelines.risk.book.records import ModelRecord, load_recorded, scorers
from edupulse_pipelines.risk.book.registry import Registry
from edupulse_pipelines.risk.book.rules import rule_without_labels
from edupulse_pipelines.risk.judging.confidence import ConfidenceMap, confidence
from edupulse_pipelines.risk.models.baseline import BANDS, RuleModel
from edupulse_pipelines.risk.models.model import RiskModel
from edupulse_pipelines.risk.rounding import DIGITS
from edupulse_pipelines.risk.samples.cohorts import read_weeks
from edupulse_pipelines.risk.samples.feedback import FLAGGED_CATEGORIES
from edupulse_pipelines.risk.statuses import (
    CHAMPION,
    MODEL_UNAVAILABLE,
    NO_FEATURES,
    NO_MODEL,
    SCORED,
    SKIPPED,
    ScoringStatus,
    SkippedBecause,
    Standing,
)
from edupulse_pipelines.risk.telling.advice import CoursesOf, advise
from edupulse_pipelines.risk.telling.explanations import risk_factors
from edupulse_pipelines.risk.telling.rule_reasons import rule_factors
from edupulse_pipelines.schema.sqlalchemy_tables import predictions
from edupulse_pipelines.schema.tables import RISK_CATEGORIES
from edupulse_pipelines.settings import CategorySettings, TenantSettings
from edupulse_pipelines.storage import step_accounts
from edupulse_pipelines.storage.bulk import uuids
from edupulse_pipelines.storage.ids import new_ids
from edupulse_pipelines.storage.removals import removed_through
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import feature_date

FLAGGED_FROM = RISK_CATEGORIES.index(FLAGGED_CATEGORIES[0])
"""A prediction of this category or a higher one is flagged: it says that an adverse event will happen."""
_STUDENTS_PER_WRITE = 20_000
_WEEKS_READ_AT_ONCE = 4
_NEVER = dt.date.min

AfterWeek = Callable[[sa.Connection, dt.date, ModelRecord, pd.DataFrame], None]
"""(connection, week, the model that scored, the week as `cohorts.read_week` gives it)"""


@dataclass(frozen=True)
class WeekScores:
    """What scoring one week came to, over all tries of the run. Counts are of students."""

    week: dt.date
    status: ScoringStatus
    reason: SkippedBecause | None = None
    """Why the week was skipped."""
    detail: str = ""
    """In words, what is wrong with the model that is unavailable, whether another one has scored in its place or none.
    """
    model_version: str | None = None
    """The model that scored, or should have."""
    kind: str | None = None
    """The `model_type` of what scored."""
    standing: Standing | None = None
    """By what right it scored."""
    probabilities: bool = False
    """Whether what scored gives probabilities."""
    rescored: bool = False
    scored: int = 0
    insufficient_data: int = 0
    """Enrolled students with too few weeks of data to be scored; counted in skipped weeks, too."""
    by_category: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RISK_CATEGORIES, 0))
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0


@dataclass(frozen=True)
class ScoringReport:
    """The weeks of one call, in order."""

    weeks: tuple[WeekScores, ...]

    @property
    def scored(self) -> int:
        """Predictions made or confirmed over all weeks."""
        return sum(week.scored for week in self.weeks)


def score_weeks(
    work: Work,
    tenant: TenantSettings,
    weeks: Sequence[dt.date],
    registry: Registry,
    *,
    rescore: bool = False,
    progress: Progress | None = None,
    after: AfterWeek | None = None,
) -> ScoringReport:
    """Score `weeks` (Mondays), each by the best whose data end by that week (`champion.scorers_of`).

    Such a model has trained and validated on earlier weeks only. `rescore` takes the active model for every week
    instead, where there is one; rows of weeks before its data end are marked. A prediction that exists for (student,
    week, model) is updated in place when something changed: id and prediction_date stay, so that feedback finds it.
    Each week is one transaction. `progress` gets (weeks done, weeks in all). `after` is called in the transaction of
    each week that was scored, once its predictions are written.

    A week whose model's artifact is gone or was changed, and that has predictions, is skipped (`model_unavailable`):
    they stay. Without any, the next best scores it, and `detail` says what is wrong with the better one.
    RegistryUnavailable when the registry does not answer; weeks before stay scored.
    """
    with work.reading() as connection:
        recorded = scorers(connection, work)
    loaded: dict[str, RiskModel | ModelArtifactError] = {}
    report = []
    ordered = sorted(set(weeks))
    for done, (week, enrolled) in enumerate(_enrolled(work, tenant, ordered), start=1):
        chosen, detail = None, ""
        if not enrolled.empty:
            with work.reading() as connection:
                before = _scored_by(connection, work, week)
            active = next((model for model in recorded if model.is_active), None) if rescore else None
            choices = [Scorer(active, CHAMPION)] if active else scorers_of(recorded, week, tenant, before)
            chosen, detail = _chosen(registry, work.tenant, choices, enrolled, loaded, others=not before)
            if chosen is None or (chosen.model is None and not before and not active):
                with work.writing() as connection:
                    recorded = [rule_without_labels(connection, work, tenant), *recorded]
                rule = scorers_of(recorded, week, tenant)[-1:]
                chosen, _ = _chosen(registry, work.tenant, rule, enrolled, loaded, others=True)
        with work.writing() as connection:
            scores = _score_week(connection, work, tenant, week, enrolled, chosen, detail)
            if chosen is not None and scores.status == SCORED:
                scores = _in_all(connection, work, scores)
                if after is not None:
                    after(connection, week, chosen.scorer.record, enrolled)
        report.append(scores)
        if progress is not None:
            progress(done, len(ordered))
    return ScoringReport(tuple(report))


@dataclass(frozen=True)
class _Chosen:
    """What is to score a week; `model` None: it should, and cannot."""

    scorer: Scorer
    model: RiskModel | None


def _chosen(
    registry: Registry,
    tenant_name: str,
    choices: Sequence[Scorer],
    enrolled: pd.DataFrame,
    loaded: dict[str, RiskModel | ModelArtifactError],
    *,
    others: bool,
) -> tuple[_Chosen | None, str]:
    """The first of the choices that can score the week, and what is wrong with better ones.

    `loaded`: models by version, for all weeks. `others`: whether another one may take the first one's place.
    """
    problems: list[str] = []
    for scorer in choices if others else choices[:1]:
        version = scorer.record.model_version
        if version not in loaded:
            loaded[version] = _load(registry, tenant_name, scorer.record)
        model = loaded[version]
        problem = _problem(model, scorer.record, enrolled)
        if not problem and not isinstance(model, ModelArtifactError):
            return _Chosen(scorer, model), " ".join(problems)
        problems.append(problem)
    return (_Chosen(choices[0], None) if choices else None), " ".join(problems)


def _scored_by(connection: sa.Connection, work: Work, week: dt.date) -> set[str]:
    """The versions that have predictions of the week."""
    table = predictions.c
    query = sa.select(table.model_version).distinct()
    return set(
        connection.scalars(query.where(table.tenant_id == work.tenant, table.feature_date == feature_date(week)))
    )


def _in_all(connection: sa.Connection, work: Work, scores: WeekScores) -> WeekScores:
    """The week's scores with what an earlier try of the run's step did to its predictions counted in.

    A prediction that the run has inserted and then changed is one that it inserted.
    """
    counts = {"inserted": scores.inserted, "updated": scores.updated}
    in_all = step_accounts.add(connection, work, predictions.name, counts, part=scores.week.isoformat())
    inserted = min(in_all["inserted"], scores.scored)
    updated = min(in_all["updated"], scores.scored - inserted)
    return replace(scores, inserted=inserted, updated=updated, unchanged=scores.scored - inserted - updated)


def _enrolled(work: Work, tenant: TenantSettings, weeks: Sequence[dt.date]) -> Iterator[tuple[dt.date, pd.DataFrame]]:
    """Each week as `cohorts.read_week` gives it, a few at a time and not while anything is written.

    Without students whose predictions of that time retention has taken away.
    """
    for start in range(0, len(weeks), _WEEKS_READ_AT_ONCE):
        with work.reading() as connection:
            read = read_weeks(connection, work, tenant, weeks[start : start + _WEEKS_READ_AT_ONCE])
            ids, through = removed_through(connection, work, (predictions.name,))
        gone = dict(zip(uuids(ids), through.tolist(), strict=True))
        for week, enrolled in read.items():
            day = feature_date(week)
            yield week, enrolled[[not (gone and gone.get(one, _NEVER) >= day) for one in enrolled["student_id"]]]


def categories(score: NDArray[np.float64], settings: CategorySettings) -> NDArray[np.int64]:
    """The position in RISK_CATEGORIES of each risk score; a score on a threshold belongs to the higher category."""
    return np.searchsorted([settings.medium, settings.high, settings.critical], score, side="right")


def _load(registry: Registry, tenant: str, recorded: ModelRecord) -> RiskModel | ModelArtifactError:
    """The model, or why there is none: other weeks may have another model that can score them."""
    try:
        return load_recorded(registry, tenant, recorded)
    except ModelArtifactError as error:
        return error


def _problem(model: RiskModel | ModelArtifactError, recorded: ModelRecord, enrolled: pd.DataFrame) -> str:
    """Why this model cannot score these students, in words; empty when it can."""
    if isinstance(model, ModelArtifactError):
        return str(model)
    unknown = sorted(set(model.features) - set(enrolled.columns))
    if not unknown:
        return ""
    return (
        f"Model {recorded.model_version} needs inputs that the settings do not declare any more: {', '.join(unknown)}. "
        "Declare them again, or train again."
    )


def _score_week(
    connection: sa.Connection,
    work: Work,
    tenant: TenantSettings,
    week: dt.date,
    enrolled: pd.DataFrame,
    chosen: _Chosen | None,
    detail: str,
) -> WeekScores:
    if enrolled.empty:
        return WeekScores(week, SKIPPED, NO_FEATURES)
    in_cohort = enrolled["in_cohort"].to_numpy(bool)
    insufficient = int((~in_cohort).sum())
    if chosen is None:
        return WeekScores(week, SKIPPED, NO_MODEL, insufficient_data=insufficient)
    recorded, model = chosen.scorer.record, chosen.model
    if model is None:
        return WeekScores(
            week,
            SKIPPED,
            MODEL_UNAVAILABLE,
            detail=detail,
            model_version=recorded.model_version,
            insufficient_data=insufficient,
        )
    rescored = recorded.data_through is not None and recorded.data_through > week
    checked = ConfidenceMap.from_json(recorded.hyperparameters.get("confidence"))
    cohort = enrolled[in_cohort].sort_values("district_id", kind="stable", ignore_index=True)
    day = feature_date(week)
    stored = _stored(connection, work, day, recorded.model_version)
    category_counts = np.zeros(len(RISK_CATEGORIES), dtype=np.int64)
    inserted = updated = 0
    moment = dt.datetime.now(dt.UTC)
    for start in range(0, len(cohort), _STUDENTS_PER_WRITE):
        part = cohort.iloc[start : start + _STUDENTS_PER_WRITE]
        category, rows = _rows(part, model, tenant, checked)
        courses_of = _courses_of(connection, work, week, part)
        advise([values["risk_factors"] for values in rows], part, model.typical, category == 0, courses_of)
        category_counts += np.bincount(category, minlength=len(RISK_CATEGORIES))
        new, changed = [], []
        for student, values in zip(part["student_id"], rows, strict=True):
            values["rescored"] = rescored
            old = stored.get(student)
            if old is None:
                new.append({"student_id": student, **values})
            elif old[1] != values:
                changed.append({"prediction": old[0], **values})
        if new:
            same = {
                "tenant_id": work.tenant,
                "feature_date": day,
                "prediction_date": moment,
                "model_version": recorded.model_version,
            }
            ids = new_ids(len(new))
            connection.execute(
                sa.insert(predictions), [{"id": new_id, **same, **row} for new_id, row in zip(ids, new, strict=True)]
            )
        if changed:
            connection.execute(
                sa.update(predictions).where(
                    predictions.c.tenant_id == work.tenant, predictions.c.id == sa.bindparam("prediction")
                ),
                changed,
            )
        inserted += len(new)
        updated += len(changed)
    return WeekScores(
        week,
        SCORED,
        detail=detail,
        model_version=recorded.model_version,
        kind=recorded.model_type,
        standing=chosen.scorer.standing,
        probabilities=model.has_probabilities,
        rescored=rescored,
        scored=len(cohort),
        insufficient_data=insufficient,
        by_category=dict(zip(RISK_CATEGORIES, category_counts.tolist(), strict=True)),
        inserted=inserted,
        updated=updated,
        unchanged=len(cohort) - inserted - updated,
    )


def _courses_of(connection: sa.Connection, work: Work, week: dt.date, part: pd.DataFrame) -> CoursesOf:
    """Looks the courses of the lowest recent grades of some rows of `part` up."""
    students = part["student_id"].to_numpy(object)

    def courses_of(rows: NDArray[np.int64]) -> list[str | None]:
        asked = students[rows].tolist()
        known = lowest_courses(connection, work, week, asked)
        return [known.get(student) for student in asked]

    return courses_of


def _rows(
    part: pd.DataFrame, model: RiskModel, tenant: TenantSettings, checked: ConfidenceMap
) -> tuple[NDArray[np.int64], list[dict[str, Any]]]:
    """Category positions, and the prediction values of each student of `part`."""
    levels = {name: values for name, values in tenant.inputs.metadata.items() if values != "number"}
    graded: list[float] | list[None] = [None] * len(part)
    if isinstance(model, RuleModel):
        grades = model.grades(part)
        graded = grades.tolist()
        factors = rule_factors(model, part)
        if not model.has_probabilities:
            category = np.searchsorted(BANDS, grades, side="right")
            nothing: list[float | None] = [None] * len(part)
            return category, _values(nothing, category, nothing, factors, graded)
    else:
        factors = risk_factors(model, part, levels)
    score = np.round(model.probabilities(part), DIGITS)
    category = categories(score, tenant.categories)
    sure = confidence(
        checked,
        score,
        category >= FLAGGED_FROM,
        part["data_quality"].to_numpy(float),
        part["weeks_of_data"].to_numpy(float),
    )
    return category, _values(score.tolist(), category, sure.tolist(), factors, graded)


def _values(
    score: Sequence[float | None],
    category: NDArray[np.int64],
    sure: Sequence[float | None],
    factors: Sequence[Any],
    graded: Sequence[float | None],
) -> list[dict[str, Any]]:
    return [
        {
            "risk_score": probability,
            "risk_category": RISK_CATEGORIES[position],
            "confidence": how_sure,
            "risk_factors": told,
            "rule_score": grade,
        }
        for probability, position, how_sure, told, grade in zip(
            score, category.tolist(), sure, factors, graded, strict=True
        )
    ]


def _stored(
    connection: sa.Connection, work: Work, day: dt.date, model_version: str
) -> dict[Any, tuple[Any, dict[str, Any]]]:
    """The week's predictions of this model by student: (id, values to compare)."""
    table = predictions.c
    rows = connection.execute(
        sa.select(
            table.student_id,
            table.id,
            table.risk_score,
            table.risk_category,
            table.confidence,
            table.risk_factors,
            table.rescored,
            table.rule_score,
        ).where(table.tenant_id == work.tenant, table.feature_date == day, table.model_version == model_version)
    )
    return {
        student: (
            prediction,
            {
                "risk_score": score,
                "risk_category": category,
                "confidence": how_sure,
                "risk_factors": factors,
                "rescored": bool(rescored),
                "rule_score": graded,
            },
        )
        for student, prediction, score, category, how_sure, factors, rescored, graded in rows
    }
