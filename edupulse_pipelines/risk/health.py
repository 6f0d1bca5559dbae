"""How the model in use is doing, week by week: drift of inputs and scores, and what became of earlier predictions.

`week_health` measures a week with `drift` and `evaluation`, and writes `model_evaluations`:

* scope `health`, dated the week: `psi` of each input (parameter: the feature), `score_psi`, `psi_changed_share` (of the
  inputs), `predicted_event_rate` and `flagged_share`.
* scope `matured`, dated the as-of week of the predictions: those whose horizon has passed by the week and had not the
  school week before, against what happened. Scores as they were given, each model version by itself; rescored ones,
  whose model knew the outcome, are left out, and so are those of a model that learned another label.
  `event_rate`, `event_rate_change` against the validation (parameter `low`, `high`: its 95 % interval), `auc_roc`,
  `average_precision`, `brier_score`, `calibration_error` and `precision_at` the tenant's capacity.

`health_series` reads it back and `health_plots` draws it. Trains nothing and scores nobody; `judging.retraining` says
whether a training is due.
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from numpy.typing import NDArray

from edupulse_pipelines.features.enrolment import read_students
from edupulse_pipelines.risk.book.decisions import record_measures
from edupulse_pipelines.risk.book.learned_label import learned_another_label
from edupulse_pipelines.risk.book.records import ModelRecord, model_records
from edupulse_pipelines.risk.judging.drift import CHANGED_FROM, STABLE_BELOW, as_reference, event_rate_change, psi
from edupulse_pipelines.risk.judging.evaluation import (
    CAPACITY,
    Measure,
    auc_roc,
    average_precision,
    brier_score,
    calibration_error,
    precision_at,
)
from edupulse_pipelines.risk.rounding import DIGITS
from edupulse_pipelines.risk.samples.assembly import RESOLVED_SHARE
from edupulse_pipelines.risk.samples.cohorts import feature_weeks, read_week
from edupulse_pipelines.risk.samples.feedback import FLAGGED_CATEGORIES, feedback_measures, known_by, verdicts
from edupulse_pipelines.risk.samples.labels import labels
from edupulse_pipelines.schema.sqlalchemy_tables import model_evaluations, model_metadata, predictions, students
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.bulk import ID, as_text, positions, read_arrays
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK, feature_date, week_start

IN_USE = "champion"
"""`model_evaluations.candidate` of all of it: the model that was in use at that time."""
HEALTH, MATURED = "health", "matured"

VERDICT_FIGURES = ("verdict_count", "verdict_precision", "verdict_prevented_share", "verdict_false_negative_rate")

_FEATURES_SHOWN = 20
_BLUE, _ORANGE, _GREY, _GREEN = "#1f4e8c", "#b35900", "0.6", "#3b7d3b"

Floats = NDArray[np.float64]


def week_health(
    connection: sa.Connection,
    work: Work,
    tenant: TenantSettings,
    week: dt.date,
    recorded: ModelRecord,
    everybody: pd.DataFrame | None = None,
) -> list[Measure]:
    """Measure one school week (Monday), with the model that scored it; writes `model_evaluations`, replaces its rows.

    Returns the week's `health` measures, then the `matured` ones of the newest as-of week that matured since the school
    week before, of the newest model that had scored it. A model without a stored reference has no drift: its values are
    None. `everybody` is the week as `cohorts.read_week` gives it, for callers who have read it already.
    """
    everybody = read_week(connection, work, tenant, week) if everybody is None else everybody
    cohort = everybody[everybody["in_cohort"].to_numpy(bool)]
    drift = _drift(connection, work, tenant, week, recorded, cohort)
    record_measures(connection, work, recorded.model_version, IN_USE, HEALTH, feature_date(week), drift)
    newest: list[Measure] = []
    for as_of in _newly_matured(connection, work, tenant, week):
        for version, measured in _matured(connection, work, tenant, as_of, week):
            record_measures(connection, work, version, IN_USE, MATURED, feature_date(as_of), measured)
            newest = measured
    return [*drift, *newest]


def verdict_health(
    connection: sa.Connection, work: Work, tenant: TenantSettings, week: dt.date
) -> list[dict[str, Any]]:
    """What educators' verdicts known by a week (Monday) say of each model version, as `feedback.feedback_measures`.

    Written to `model_evaluations` (scope `matured`, dated the week) and returned as rows: the model version, its number
    of verdicts, and its proportions; None where the data define none.
    """
    by_version = feedback_measures(verdicts(connection, work, known_by(week)), tenant.feedback)
    rows: list[dict[str, Any]] = []
    for version, measured in by_version.items():
        record_measures(connection, work, version, IN_USE, MATURED, feature_date(week), measured)
        values = {measure.metric: measure.value for measure in measured if not measure.parameter}
        rows.append({"model_version": version, **{name: values.get(name) for name in VERDICT_FIGURES}})
    return rows


def health_series(connection: sa.Connection, work: Work, tenant: TenantSettings) -> pd.DataFrame:
    """Every stored health figure: week (Monday), model_version, scope, metric, parameter, value (NaN = undefined),
    samples; ordered by week and model version.

    Of `matured` the week is the as-of week of the predictions, and models that learned another label are left out.
    """
    others = [
        record.model_version for record in model_records(connection, work) if learned_another_label(record, tenant)
    ]
    table = model_evaluations.c
    rows = connection.execute(
        sa.select(
            table.as_of_date,
            table.model_version,
            table.scope,
            table.metric,
            table.parameter,
            table.value,
            table.samples,
        ).where(
            table.tenant_id == work.tenant,
            table.scope.in_((HEALTH, MATURED)),
            table.subgroup == "",
            sa.or_(table.scope == HEALTH, table.model_version.not_in(others)),
        )
    ).all()
    rows = sorted(rows, key=lambda row: tuple(row)[:5])
    columns = ("week", "model_version", "scope", "metric", "parameter", "value", "samples")
    series = pd.DataFrame([(week_start(row[0]), *row[1:]) for row in rows], columns=list(columns), dtype=object)
    return series.astype({"value": np.float64, "samples": np.float64})


def latest_health(series: pd.DataFrame) -> list[Measure]:
    """The `health` measures of the newest week of a series, of its newest model version."""
    rows = series[series["scope"] == HEALTH]
    if rows.empty:
        return []
    last = rows.iloc[-1]
    rows = rows[(rows["week"] == last["week"]) & (rows["model_version"] == last["model_version"])]
    return [
        Measure(
            row.metric,
            row.parameter,
            "",
            None if np.isnan(row.value) else float(row.value),
            None if np.isnan(row.samples) else int(row.samples),
        )
        for row in rows.itertuples(index=False)
    ]


def _drift(
    connection: sa.Connection,
    work: Work,
    tenant: TenantSettings,
    week: dt.date,
    recorded: ModelRecord,
    cohort: pd.DataFrame,
) -> list[Measure]:
    """The week's measures of scope `health`."""
    table = predictions.c
    rows = connection.execute(
        sa.select(table.risk_score, table.risk_category).where(
            table.tenant_id == work.tenant,
            table.feature_date == feature_date(week),
            table.model_version == recorded.model_version,
        )
    ).all()
    # A rule without labels gives categories and no probability.
    score = np.array(sorted(row.risk_score for row in rows if row.risk_score is not None), dtype=np.float64)
    flagged = np.array([row.risk_category in FLAGGED_CATEGORIES for row in rows], dtype=bool)
    reference = as_reference(recorded.hyperparameters.get("reference"))
    drifted: dict[str, float | None] = {}
    of_score = None
    if reference is not None:
        drifted = psi(reference["features"], cohort)
        of_score = psi({"score": reference["score"]}, pd.DataFrame({"score": score}))["score"]
    psi_values = [value for value in drifted.values() if value is not None]
    changed = sum(value >= CHANGED_FROM for value in psi_values) / len(psi_values) if psi_values else None
    return [
        *(Measure("psi", name, "", value, len(cohort)) for name, value in drifted.items()),
        Measure("psi_changed_share", "", "", None if changed is None else round(changed, DIGITS), len(cohort)),
        Measure("score_psi", "", "", of_score, len(score)),
        Measure("predicted_event_rate", "", "", _mean(score), len(score)),
        Measure("flagged_share", "", "", _mean(flagged), len(flagged)),
    ]


def _newly_matured(connection: sa.Connection, work: Work, tenant: TenantSettings, week: dt.date) -> list[dt.date]:
    """The as-of weeks (Mondays, ascending) whose outcomes are known at the end of `week`, and were not a school week
    earlier."""
    school_weeks = feature_weeks(connection, work, week)
    if week not in school_weeks:
        return []
    before = max((monday for monday in school_weeks if monday < week), default=None)
    horizon = tenant.label.weeks
    table = predictions.c
    scored = sa.select(table.feature_date).distinct().where(table.tenant_id == work.tenant)
    if horizon is not None:
        last = week - horizon * WEEK
        # A horizon that ended in the holidays is known when school is back, and the data go on.
        first = last if before is None else before - horizon * WEEK + WEEK
        between = scored.where(table.feature_date.between(feature_date(first), feature_date(last)))
        return sorted(week_start(day) for day in connection.scalars(between))
    everybody = read_students(connection, work)
    left = everybody.left
    matured = []
    for day in connection.scalars(scored.where(table.feature_date <= feature_date(week))).all():
        of_day = sa.select(as_text(table.student_id)).where(table.tenant_id == work.tenant, table.feature_date == day)
        (ids,) = read_arrays(connection, of_day, ID)
        left_on = left[positions(ids, everybody.ids)]
        now, earlier = (
            int((left_on <= np.datetime64(feature_date(by), "D")).sum()) for by in (week, before or week - WEEK)
        )
        if now >= RESOLVED_SHARE * len(ids) > earlier:
            matured.append(week_start(day))
    return sorted(matured)


def _matured(
    connection: sa.Connection, work: Work, tenant: TenantSettings, as_of: dt.date, week: dt.date
) -> list[tuple[str, list[Measure]]]:
    """(model version, measures) of the predictions of one as-of week, as known by `week`; oldest training first.

    Of models that learned the label of now: what others predicted is another event.
    """
    table, person, model = predictions.c, students.c, model_metadata.c
    rows = connection.execute(
        sa.select(
            table.model_version,
            model.training_date,
            person.district_id,
            table.risk_score,
            table.rule_score,
            as_text(table.student_id).label("student_id"),
        )
        .join_from(predictions, students, sa.and_(person.tenant_id == table.tenant_id, person.id == table.student_id))
        .join(
            model_metadata,
            sa.and_(model.tenant_id == table.tenant_id, model.model_version == table.model_version),
        )
        .where(
            table.tenant_id == work.tenant,
            table.feature_date == feature_date(as_of),
            sa.not_(table.rescored),
            person.deleted_on.is_(None),
        )
    ).all()
    if tenant.label.weeks is None:  # who is still there has no outcome yet
        everybody = read_students(connection, work)
        place = positions(np.array([row.student_id.encode() for row in rows], dtype=ID), everybody.ids)
        gone = everybody.left[place] <= np.datetime64(feature_date(week), "D")
        rows = [row for row, is_gone in zip(rows, gone.tolist(), strict=True) if is_gone]
    recorded = {
        record.model_version: record
        for record in model_records(connection, work)
        if not learned_another_label(record, tenant)
    }
    rows = [row for row in rows if row.model_version in recorded]
    rows = sorted(rows, key=lambda row: (row.training_date, row.model_version, row.district_id))
    if not rows:
        return []
    happened = labels(connection, work, tenant, [as_of])
    adverse = happened.adverse[:, 0]
    by_version = []
    for version in dict.fromkeys(row.model_version for row in rows):
        mine = [row for row in rows if row.model_version == version]
        numbers = np.array([row.district_id for row in mine], dtype=object)
        outcome = adverse[np.searchsorted(happened.district_ids, numbers)].astype(np.int8)
        score = np.array([row.risk_score for row in mine], dtype=np.float64)
        # The order where there is no probability; of one version either all have one or none has.
        order = np.array([row.rule_score for row in mine], dtype=np.float64) if np.isnan(score).any() else score
        reference = as_reference(recorded[version].hyperparameters.get("reference"))
        change = None if reference is None else event_rate_change(reference["event_rate"], outcome)
        by_version.append((version, _matured_measures(score, order, outcome, change, tenant.promotion.capacity)))
    return by_version


def _matured_measures(
    score: Floats,
    order: Floats,
    outcome: NDArray[np.int8],
    change: tuple[float, float, float] | None,
    capacity: float,
) -> list[Measure]:
    """`score`: probabilities, NaN where there are none; `order`: what lists are sorted by."""
    no_probability = bool(np.isnan(score).any())
    actual, week = outcome.astype(bool), np.zeros(len(outcome), dtype=np.int64)
    difference, low, high = change or (None, None, None)
    hit = precision_at(order, actual, week, 100 * capacity)
    values: list[tuple[str, str, float | None]] = [
        ("event_rate", "", _mean(actual)),
        ("event_rate_change", "", difference),
        ("event_rate_change", "low", low),
        ("event_rate_change", "high", high),
        ("auc_roc", "", auc_roc(order, actual)),
        ("average_precision", "", average_precision(order, actual)),
        ("brier_score", "", None if no_probability else brier_score(score, actual)),
        ("calibration_error", "", None if no_probability else calibration_error(score, outcome)),
        ("precision_at", CAPACITY, hit),
    ]
    return [Measure(metric, parameter, "", value, len(outcome)) for metric, parameter, value in values]


def _mean(values: NDArray[Any]) -> float | None:
    return round(float(np.mean(values)), DIGITS) if len(values) else None


def health_plots(series: pd.DataFrame) -> dict[str, bytes]:
    """PNGs of a `health_series`, by name; a plot of which nothing is known is left out.

    `input_drift`: PSI of the inputs that changed most, by week. `score_drift`: PSI of the score, and below it what was
    predicted and what happened. `matured_performance`: how good the predictions turned out to be, by as-of week.
    Of several models in one week the newest counts. Drawn without a display; no global state of matplotlib is touched.
    """
    series = series[series["value"].notna()]
    drawn = {
        "input_drift": _plot_input_drift(series),
        "score_drift": _plot_score_drift(series),
        "matured_performance": _plot_matured(series),
    }
    return {name: png for name, png in drawn.items() if png is not None}


def _line(series: pd.DataFrame, scope: str, metric: str, parameter: str = "") -> pd.Series[float]:
    """One figure by week, ascending."""
    rows = series[(series["scope"] == scope) & (series["metric"] == metric) & (series["parameter"] == parameter)]
    return rows.drop_duplicates("week", keep="last").set_index("week")["value"]


def _plot_input_drift(series: pd.DataFrame) -> bytes | None:
    rows = series[(series["scope"] == HEALTH) & (series["metric"] == "psi")]
    if rows.empty:
        return None
    table = rows.drop_duplicates(["week", "parameter"], keep="last").pivot(
        index="parameter", columns="week", values="value"
    )
    everything = len(table)
    order = sorted(table.index, key=lambda name: (-table.loc[name].max(), name))[:_FEATURES_SHOWN]
    table = table.loc[order]

    from matplotlib.colors import BoundaryNorm, ListedColormap

    figure, axis = _figure((10, 1.8 + 0.3 * len(table)))
    bounds = [0, STABLE_BELOW / 2, STABLE_BELOW, CHANGED_FROM, 2 * CHANGED_FROM, 1e9]
    colours = ListedColormap(["#f2f5f9", "#dbe5f1", "#f6d9a8", "#e08a3c", "#a8331f"]).with_extremes(bad="white")
    values = np.ma.masked_invalid(table.to_numpy(np.float64))
    image = axis.imshow(values, aspect="auto", cmap=colours, norm=BoundaryNorm(bounds, 5), interpolation="nearest")
    axis.set_yticks(range(len(table)), [str(name) for name in table.index], fontsize=9)
    _week_ticks(axis, sorted(set(rows["week"])))
    axis.set_xticks(np.arange(-0.5, len(table.columns)), minor=True)
    axis.set_yticks(np.arange(-0.5, len(table)), minor=True)
    axis.grid(which="minor", color="white", linewidth=1)
    axis.tick_params(which="minor", length=0)
    shown = f"the {len(table)} of {everything} inputs that changed most" if len(table) < everything else "all inputs"
    axis.set_title(f"Drift of the inputs against the validation ({shown})", fontsize=11)
    bar = figure.colorbar(image, ax=axis, ticks=bounds[1:-1], fraction=0.03, pad=0.02, spacing="uniform")
    bar.ax.set_yticklabels([f"{bound:g}" for bound in bounds[1:-1]], fontsize=8)
    bar.set_label("PSI beyond chance", fontsize=9)
    for edge in axis.spines.values():
        edge.set_visible(False)
    return _png(figure)


def _plot_score_drift(series: pd.DataFrame) -> bytes | None:
    drift = _line(series, HEALTH, "score_psi")
    predicted = _line(series, HEALTH, "predicted_event_rate")
    flagged = _line(series, HEALTH, "flagged_share")
    happened = _line(series, MATURED, "event_rate")
    if predicted.empty and drift.empty:
        return None
    figure, (top, bottom) = _figure((9, 6.5), rows=2)
    weeks = sorted({*drift.index, *predicted.index, *happened.index})
    place = {week: number for number, week in enumerate(weeks)}

    def at(line: pd.Series[float]) -> list[int]:
        return [place[week] for week in line.index]

    top.plot(at(drift), drift, color=_BLUE, marker="o", markersize=4, label="score")
    for limit, words, colour in (
        (STABLE_BELOW, "changed a little", _ORANGE),
        (CHANGED_FROM, "another population", "#a8331f"),
    ):
        top.axhline(limit, color=colour, linestyle="--", linewidth=1, label=f"{words} from {limit:g}")
    top.set_ylim(0, max(1.4 * CHANGED_FROM, 1.15 * float(drift.max()) if len(drift) else 0.0))
    top.set_ylabel("PSI beyond chance")
    top.set_title("Drift of the score, and what was predicted beside what happened", fontsize=11)
    bottom.plot(at(predicted), predicted, color=_BLUE, marker="o", markersize=4, label="mean predicted probability")
    bottom.plot(at(flagged), flagged, color=_GREY, marker=".", linewidth=1, label="share flagged (high or critical)")
    bottom.plot(
        at(happened), happened, color=_ORANGE, marker="s", markersize=4, label="share with an event within the horizon"
    )
    bottom.set_ylabel("share of the cohort")
    bottom.set_ylim(bottom=0)
    _finish((top, bottom), weeks)
    _percent(bottom)
    return _png(figure)


def _plot_matured(series: pd.DataFrame) -> bytes | None:
    lines = {
        name: _line(series, MATURED, metric, parameter)
        for name, metric, parameter in (
            ("AUC", "auc_roc", ""),
            ("precision at capacity", "precision_at", CAPACITY),
            ("share with an event", "event_rate", ""),
            ("Brier score", "brier_score", ""),
            ("calibration error", "calibration_error", ""),
        )
    }
    weeks = sorted({week for line in lines.values() for week in line.index})
    if not weeks:
        return None
    place = {week: number for number, week in enumerate(weeks)}
    figure, (top, bottom) = _figure((9, 6.5), rows=2)
    for axis, name, colour, marker in (
        (top, "AUC", _BLUE, "o"),
        (top, "precision at capacity", _GREEN, "s"),
        (top, "share with an event", _GREY, "."),
        (bottom, "calibration error", _ORANGE, "o"),
        (bottom, "Brier score", _BLUE, "s"),
    ):
        line = lines[name]
        axis.plot([place[week] for week in line.index], line, color=colour, marker=marker, markersize=4, label=name)
    top.set(ylim=(0, 1), ylabel="higher is better")
    bottom.set_ylabel("lower is better")
    bottom.set_ylim(bottom=0)
    top.set_title("How good the predictions turned out to be, by the week they were made", fontsize=11)
    _finish((top, bottom), weeks)
    return _png(figure)


def _figure(size: tuple[float, float], rows: int = 1) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, 1, sharex=rows > 1)


def _finish(axes: Sequence[Any], weeks: Sequence[dt.date]) -> None:
    for axis in axes:
        axis.grid(color="0.9", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(loc="best", frameon=False, fontsize=9)
        axis.set_xlim(-0.5, len(weeks) - 0.5)
    _week_ticks(axes[-1], weeks)


def _week_ticks(axis: Any, weeks: Sequence[dt.date]) -> None:
    """At most a dozen weeks by name, evenly."""
    step = max(1, -(-len(weeks) // 12))
    shown = range(0, len(weeks), step)
    axis.set_xticks(list(shown), [weeks[number].isoformat() for number in shown], rotation=45, ha="right", fontsize=8)
    axis.set_xlabel("week (its Monday)", fontsize=9)


def _percent(axis: Any) -> None:
    from matplotlib.ticker import PercentFormatter

    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _png(figure: Any) -> bytes:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110, metadata={"Software": None})
    return png.getvalue()
