"""`risk_model` and `predictions`: the work is in the `risk` room."""

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dagster import AssetExecutionContext, AssetsDefinition, Config, MaterializeResult, MetadataValue, ResourceParam
from pydantic import Field

from edupulse_pipelines.orchestration import charts, checks, model_checks, reporting
from edupulse_pipelines.orchestration.partitions import asset_key, weekly_asset, weeks_of
from edupulse_pipelines.orchestration.resources import Database, ModelRegistry, Progress
from edupulse_pipelines.orchestration.steps import step
from edupulse_pipelines.risk.statuses import MODEL_UNAVAILABLE, SKIPPED, made_by
from edupulse_pipelines.settings import TenantSettings

if TYPE_CHECKING:
    from edupulse_pipelines.risk.training import TrainingOutcome

SHOWN_METRICS = ("auc_roc", "precision", "recall", "f1_score")
COMPARED_METRICS = ("auc_roc", "precision_at_top_10%")


class TrainingConfig(Config):
    """How `risk_model` decides whether to train."""

    train_now: bool = Field(
        default=False,
        description="Train for each week of the run, due or not (skipped only where data and settings are unchanged).",
    )


class ScoringConfig(Config):
    """How `predictions` picks its model."""

    rescore: bool = Field(
        default=False,
        description="Score with the active model even weeks it was trained on; these predictions are marked.",
    )


def risk_assets(tenant: TenantSettings) -> list[AssetsDefinition]:
    """The risk model and the predictions of `tenant`."""
    return [_risk_model(tenant), _predictions(tenant)]


def _risk_model(tenant: TenantSettings) -> AssetsDefinition:
    key = asset_key(tenant, "risk_model")
    specs = [*checks.risk_model_check_specs(key), *model_checks.training_check_specs(key)]

    deps = ("student_features", "weekly_activity", "training_feedback")

    @weekly_asset(tenant, "risk_model", deps=deps, check_specs=specs)
    def risk_model(
        context: AssetExecutionContext,
        config: TrainingConfig,
        database: ResourceParam[Database],
        registry: ResourceParam[ModelRegistry],
        progress: ResourceParam[Progress],
    ) -> MaterializeResult:
        weeks = weeks_of(context)
        with step(context, progress, database, tenant) as work:
            from edupulse_pipelines.risk.book.mirror import differences
            from edupulse_pipelines.risk.book.shown import champion_page
            from edupulse_pipelines.risk.weekly import train_when_due

            models = registry.open()
            training = train_when_due(
                work,
                tenant,
                weeks,
                models,
                train_now=config.train_now,
                progress=lambda done, total: progress.advanced(done, total, "trainings"),
            )
            progress.finished("risk_model", training)
            with work.reading() as connection:
                page = champion_page(connection, work, models)
            contradictions = [difference.sentence for difference in differences(work, models)]
        outcomes, active = training.outcomes, training.active
        for outcome in outcomes:
            context.log.info(
                f"data through {outcome.data_through}: {outcome.status} ({outcome.reason or outcome.model_version})"
            )
        by_week = {
            outcome.data_through: {
                "status": outcome.status,
                "model_version": outcome.model_version or "",
                "candidate": outcome.kind or "",
                "promoted": str(bool(outcome.promoted)).lower(),
                **{name: (outcome.metrics or {}).get(name) for name in SHOWN_METRICS},
                "reason": outcome.reason or "",
            }
            for outcome in outcomes
        }
        metrics = active["metrics"] if active else {}
        rule = metrics.get("baseline") or {}
        plot = charts.beside_baseline(
            "Active model beside the simple rule (validation weeks)",
            _shown(metrics),
            _shown(rule),
        )
        compared = _candidates(outcomes)
        calibrations = [outcome.calibration_plot for outcome in outcomes if outcome.calibration_plot]
        calibration = charts.embedded("Calibration of the newest model", calibrations[-1]) if calibrations else None
        plots = {"metrics": plot, "calibration": calibration}
        reporting.write_week_metadata(context, by_week, rows="", plots=plots)
        return reporting.materialized(
            check_results=[
                checks.registry_matches_table(contradictions),
                model_checks.no_leakage(outcomes),
                model_checks.champion_judged(training.stale),
            ],
            training=f"trained for {len(training.points)} weeks ({training.because})"
            if training.points
            else f"not due: the newest model has seen data through {training.newest_before}",
            active_model=active["version"] if active else "none",
            active_model_page=MetadataValue.url(page) if page else None,
            active_metrics=MetadataValue.json(metrics) if metrics else None,
            candidates=checks.table(compared) if compared else None,
            **_decisions(outcomes),
        )

    return risk_model


def _candidates(outcomes: "Sequence[TrainingOutcome]") -> list[dict[str, Any]]:
    """The candidates of each training beside each other, as rows of a table."""
    return [
        {
            "data_through": str(outcome.data_through),
            "candidate": candidate,
            "challenger": str(candidate == outcome.kind).lower(),
            **{name: _rounded(value) for name, value in _shown(metrics).items() if name in COMPARED_METRICS},
            "calibration_error": _rounded(metrics.get("calibration_error")),
        }
        for outcome in outcomes
        for candidate, metrics in outcome.candidates.items()
    ]


def _decisions(outcomes: "Sequence[TrainingOutcome]") -> dict[str, Any]:
    """What the promotion gate decided about each model, in words and in numbers; empty when it was not asked."""
    reasons = [f"**{outcome.model_version}** {outcome.reason}" for outcome in outcomes if outcome.decision is not None]
    numbers = {
        outcome.model_version or "": outcome.decision.numbers for outcome in outcomes if outcome.decision is not None
    }
    if not numbers:
        return {}
    return {
        "promotion": MetadataValue.md("\n\n".join(reasons)),
        "promotion_numbers": MetadataValue.json(numbers),
    }


def _predictions(tenant: TenantSettings) -> AssetsDefinition:
    key = asset_key(tenant, "predictions")
    specs = [*checks.prediction_check_specs(key), *model_checks.health_check_specs(key)]

    @weekly_asset(tenant, "predictions", deps=("student_features", "risk_model"), check_specs=specs)
    def predictions(
        context: AssetExecutionContext,
        config: ScoringConfig,
        database: ResourceParam[Database],
        registry: ResourceParam[ModelRegistry],
        progress: ResourceParam[Progress],
    ) -> MaterializeResult:
        weeks = weeks_of(context)
        with step(context, progress, database, tenant) as work:
            from edupulse_pipelines.features.by_week import features_by_week
            from edupulse_pipelines.governance.audit_verify import head
            from edupulse_pipelines.risk.health import health_plots, health_series
            from edupulse_pipelines.risk.telling.scored_weeks import categories_by_week, scores_by_week
            from edupulse_pipelines.risk.weekly import score_and_measure
            from edupulse_pipelines.storage.counts import row_count

            measured = score_and_measure(
                work,
                tenant,
                weeks,
                registry.open(),
                rescore=config.rescore,
                progress=lambda done, total: progress.advanced(done, total, "weeks"),
            )
            report, health = measured.report, measured.health
            progress.finished("predictions", report)
            with work.reading() as connection:
                drawn = health_plots(health_series(connection, work, tenant))
                stored = row_count(connection, work, "predictions")
                students = features_by_week(connection, work, weeks)
                models = {scored.week: scored.model_version for scored in report.weeks if scored.model_version}
                stored_scores = scores_by_week(connection, work, models)
                shown = categories_by_week(connection, work, reporting.plotted(weeks))
                audit_head = head(connection)
        by_week: dict[dt.date, dict[str, Any]] = {}
        for scored in report.weeks:
            by_week[scored.week] = {
                "scored": scored.scored,
                "insufficient_data": scored.insufficient_data,
                **{category: scored.by_category.get(category, 0) for category in charts.CATEGORY_COLOURS},
                "inserted": scored.inserted,
                "updated": scored.updated,
                "unchanged": scored.unchanged,
                "reviews_proposed": measured.proposed.get(scored.week, 0),
                "skipped": scored.reason or "",
                "made_by": made_by(scored.kind, scored.probabilities) if scored.kind else "",
            }
        plots = {"categories_by_week": charts.categories("Students per risk category by week", shown)}
        plots |= {name: charts.embedded(name.replace("_", " "), png) for name, png in drawn.items()}
        reporting.write_week_metadata(context, by_week, rows="scored", plots=plots)
        cohort = {
            scored.week: students.get(scored.week, {}).get("students", 0) - scored.insufficient_data
            for scored in report.weeks
        }
        for detail in sorted({scored.detail for scored in report.weeks if scored.detail}):
            context.log.error(detail)
        # A week whose model cannot be loaded and that keeps its earlier scores is not without a model.
        skipped = [
            scored.week for scored in report.weeks if scored.status == SKIPPED and scored.reason != MODEL_UNAVAILABLE
        ]
        complete = checks.every_cohort_student_scored(
            cohort,
            stored_scores,
            skipped,
            {one.week: made_by(one.kind, one.probabilities) for one in report.weeks if one.kind is not None},
            {one.week: one.detail for one in report.weeks if one.detail},
        )
        return reporting.materialized(
            stored,
            check_results=[
                complete,
                model_checks.input_drift(health, tenant.training.retrain_on_drift),
                model_checks.score_drift(health, tenant.training.retrain_on_drift),
                model_checks.matured_calibration(health, tenant.promotion.calibration_error),
                model_checks.label_drift(health),
            ],
            verdicts=checks.table(measured.verdicts) if measured.verdicts else None,
            audit_head=str(audit_head) if audit_head else None,
            **reporting.totals(by_week, ("scored", "insufficient_data")),
        )

    return predictions


def _shown(metrics: dict[str, Any]) -> dict[str, float | None]:
    at_k = metrics.get("precision_at_k") or {}
    return {**{name: metrics.get(name) for name in SHOWN_METRICS}, "precision_at_top_10%": at_k.get("k10")}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
