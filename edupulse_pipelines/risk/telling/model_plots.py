"""Plots of a model for people who judge it: PNG bytes, drawn without a display and the same for the same numbers.

Whether scores mean what they say is drawn in `calibration_plot`. Nothing is chosen or decided here, and no plot
shows a student: every point is a mean, a share or a quantile.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from edupulse_pipelines.features.definitions import MODEL_FEATURES_BY_NAME
from edupulse_pipelines.risk.judging.evaluation import precision_at
from edupulse_pipelines.risk.models.model import RiskModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

COLOURS = {"model": "#1f4e8c", "champion": "#4c956c", "rule": "#b35900"}
NAMES = {"model": "this model", "champion": "champion", "rule": "simple rule"}
_MORE_COLOURS = ("#7b3f98", "#0f7c8c", "#8c1f4e", "#5c6875")
_BARS = 20
_GRID = 61
_LARGEST_SAMPLE = 2_000
_DPI = 110


def mean_contributions(
    model: RiskModel, frame: pd.DataFrame, groups: Mapping[str, Sequence[int]] | None = None
) -> dict[str, float]:
    """Global importance: the mean absolute contribution (log-odds) over the rows, by feature, the largest first.

    With `groups` (name to column positions, as `factors.grouped` gives) by group: the mean absolute *sum* of its
    features' contributions, because features of one factor may cancel each other out.
    """
    contributions = model.contributions(frame)
    columns = groups if groups is not None else {name: [i] for i, name in enumerate(model.features)}
    means = {name: float(np.abs(contributions[:, list(at)].sum(axis=1)).mean()) for name, at in columns.items()}
    return dict(sorted(means.items(), key=lambda item: (-item[1], item[0])))


def importance_plot(title: str, importance: Mapping[str, float]) -> bytes:
    """The most important factors or features as bars; those that never contribute are counted, not drawn."""
    ordered = sorted(importance.items(), key=lambda item: (-item[1], item[0]))
    shown = [(name, value) for name, value in ordered if value > 0][:_BARS]
    figure, axis = _figure(8, max(2.4, 0.32 * len(shown) + 1.5))
    names = [name.replace("_", " ") for name, _ in shown]
    values = [value for _, value in shown]
    bars = axis.barh(names, values, color=COLOURS["model"], height=0.68)
    axis.bar_label(bars, labels=[f"{value:.2f}" for value in values], padding=4, fontsize=9, color="0.25")
    axis.margins(y=0.02)
    axis.invert_yaxis()
    axis.set_xlim(0, (max(values) if values else 1.0) * 1.12)
    axis.set_xlabel("mean absolute contribution to the score, log-odds")
    left = len(ordered) - len(shown)
    zero = sum(value == 0 for _, value in ordered)
    below = f"\n{left} more not shown" + (f", {zero} of them without any effect" if zero else "") if left else ""
    _title(axis, f"{title}{below}")
    axis.grid(visible=False, axis="y")
    axis.tick_params(axis="y", length=0)
    return _png(figure)


def partial_dependence(
    model: RiskModel, frame: pd.DataFrame, feature: str, *, seed: int = 0
) -> tuple[Floats, Floats, float | None]:
    """(grid of values, mean probability at each, mean probability where the feature is missing).

    J. Friedman, "Greedy function approximation" (2001): the feature is set to the value in every row (at most 2,000
    drawn with `seed`), everything else stays. The grid goes from the 1st to the 99th percentile of the recorded values,
    at the values themselves where they are few. Missing is None when the feature is never missing in `frame`; the grid
    is empty when it is never recorded.
    """
    sample = frame[model.features]
    if len(sample) > _LARGEST_SAMPLE:
        rows = np.sort(np.random.default_rng(seed).choice(len(sample), _LARGEST_SAMPLE, replace=False))
        sample = sample.iloc[rows]
    values = frame[feature].to_numpy(dtype=np.float64)
    recorded = values[~np.isnan(values)]

    def mean_at(value: float) -> float:
        return float(expit(model.log_odds(sample.assign(**{feature: value}))).mean())

    missing = mean_at(math.nan) if len(recorded) < len(values) else None
    if not len(recorded):
        return np.empty(0), np.empty(0), missing
    low, high = np.quantile(recorded, [0.01, 0.99])
    grid = np.unique(recorded[(recorded >= low) & (recorded <= high)])
    if len(grid) > _GRID:
        grid = np.linspace(low, high, _GRID)
    return grid, np.array([mean_at(float(value)) for value in grid]), missing


def partial_dependence_plot(
    title: str, model: RiskModel, frame: pd.DataFrame, features: Sequence[str], *, seed: int = 0
) -> bytes:
    """How the mean predicted probability goes with each feature, side by side on one scale; ticks mark the deciles."""
    columns = min(3, max(1, len(features)))
    rows = math.ceil(len(features) / columns)
    figure, axes = _figures(3.6 * columns + 0.4, 2.9 * rows + 0.9, rows, columns)
    curves = [partial_dependence(model, frame, feature, seed=seed) for feature in features]
    ends = [part for _, means, missing in curves for part in (*means, *([] if missing is None else [missing]))]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    margin = max(0.01, 0.08 * (high - low))
    for axis, feature, (grid, means, missing) in zip(axes, features, curves, strict=False):
        axis.plot(grid, means, color=COLOURS["model"], linewidth=2, marker="o" if len(grid) <= 10 else "", markersize=4)
        if missing is not None:
            axis.axhline(missing, color=COLOURS["rule"], linestyle=":", linewidth=1.4)
            axis.annotate(
                "not recorded", (1, missing), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8,
                color=COLOURS["rule"], xytext=(-2, 2), textcoords="offset points",
            )  # fmt: skip
        recorded = frame[feature].to_numpy(dtype=np.float64)
        recorded = recorded[~np.isnan(recorded)]
        if len(recorded) and len(grid):
            deciles = np.clip(np.quantile(recorded, np.linspace(0.1, 0.9, 9)), grid[0], grid[-1])
            axis.plot(
                deciles, np.zeros(9), "|", color="0.35", markersize=7, transform=axis.get_xaxis_transform(),
                clip_on=False,
            )  # fmt: skip
        axis.set_ylim(max(0.0, low - margin), min(1.0, high + margin))
        axis.yaxis.set_major_formatter(_percents(1 if high - low < 0.05 else 0))
        if len(grid) <= 10 and (grid == np.round(grid)).all():
            axis.xaxis.set_major_locator(_whole_numbers())
        declared = MODEL_FEATURES_BY_NAME.get(feature)
        axis.set_title(feature.replace("_", " "), fontsize=10, loc="left")
        axis.set_xlabel(declared.unit if declared is not None else "value", fontsize=9)
    for axis in axes[len(features) :]:
        axis.set_visible(False)
    for axis in axes[::columns]:
        axis.set_ylabel("mean predicted probability", fontsize=9)
    figure.suptitle(f"{title}\nmarks at the bottom: deciles of the recorded values", fontsize=11)
    return _png(figure)


def precision_by_capacity_plot(
    title: str,
    scores: Mapping[str, Floats],
    outcome: NDArray[Any],
    week: NDArray[Any],
    *,
    capacity: float,
) -> bytes:
    """Precision of the list against its length (from 1 % of each week's cohort to half of it or the
    capacity), for the model beside the others.

    `scores`: by `model`, `champion`, `rule` or another name, in the order of the legend. The dashed line is a list
    drawn by chance; the vertical one is what the school can help.
    """
    figure, axis = _figure(8, 5)
    longest = max(50, math.ceil(100 * capacity))
    percents = [*range(1, 10), *range(10, longest + 1, 2)]
    actual = outcome.astype(bool)
    base = float(actual.mean()) if len(actual) else 0.0
    top = base
    at = 100 * capacity
    for name, score in scores.items():
        colour = _colour(name, list(scores))
        curve = [precision_at(score, actual, week, percent) for percent in percents]
        axis.plot(
            percents,
            [np.nan if value is None else value for value in curve],
            color=colour,
            linewidth=2.2 if name == "model" else 1.4,
            label=NAMES.get(name, name),
            zorder=3 if name == "model" else 2,
        )
        here = precision_at(score, actual, week, at)
        if here is not None:
            axis.plot([at], [here], "o", color=colour, markersize=6, zorder=4)
        top = max([top, *(value for value in curve if value is not None)])
    axis.axhline(base, color="0.55", linestyle="--", linewidth=1, label=f"by chance ({base:.1%})")
    axis.axvline(at, color="0.75", linewidth=1)
    axis.set(
        xlim=(0, longest),
        ylim=(0, min(1.0, 1.08 * top) if top else 1.0),
        xlabel="length of the list, percent of each week's cohort",
        ylabel="share of the list with an adverse event",
    )
    axis.annotate(
        f"capacity {at:g} %", (at, 0), xycoords=("data", "axes fraction"), xytext=(4, 5), textcoords="offset points",
        fontsize=9, color="0.35",
    )  # fmt: skip
    axis.yaxis.set_major_formatter(_percents(0))
    axis.legend(frameon=False, loc="upper right")
    _title(axis, f"{title}\n{len(actual):,} held-out student-weeks, {len(np.unique(week))} weeks")
    return _png(figure)


def candidates_plot(title: str, figures: Mapping[str, Mapping[str, Any]], *, chosen: str | None = None) -> bytes:
    """The candidates beside each other, a panel for each metric.

    `figures`: metric to candidate to a value, a (low, value, high) interval, or None where it is not defined. Metrics
    whose name starts with "lower:" are better when lower; the panel says so.
    """
    panels = {
        metric: values for metric, values in figures.items() if any(value is not None for value in values.values())
    }
    names = list(dict.fromkeys(name for values in figures.values() for name in values))
    columns = max(1, len(panels))
    figure, axes = _figures(max(5.0, 2.7 * columns + 1.3), max(2.4, 0.42 * len(names) + 1.7), 1, columns, sharey=True)
    for axis, (metric, values) in zip(axes, panels.items(), strict=False):
        for row, name in enumerate(names):
            given = values.get(name)
            if given is None:
                continue
            low, value, high = given if isinstance(given, tuple) else (given, given, given)
            colour = COLOURS["model"] if name == chosen else "0.45"
            if high > low:
                axis.plot([low, high], [row, row], color=colour, linewidth=1.6, alpha=0.6)
            axis.plot([value], [row], "o", color=colour, markersize=8 if name == chosen else 6)
            axis.annotate(
                f"{value:.3f}", (value, row), xytext=(0, 8), textcoords="offset points", ha="center", fontsize=9,
                color=colour,
            )  # fmt: skip
        lower = metric.startswith("lower:")
        axis.set_title(
            f"{metric.removeprefix('lower:').strip()}\n({'lower' if lower else 'higher'} is better)", fontsize=9.5
        )
        axis.margins(x=0.25)
        axis.locator_params(axis="x", nbins=4)
        axis.tick_params(axis="y", length=0)
        axis.tick_params(axis="x", labelsize=8)
    axes[0].set_yticks(range(len(names)), [f"{name} (chosen)" if name == chosen else name for name in names])
    axes[0].set_ylim(len(names) - 0.5, -0.7)
    figure.suptitle(title, fontsize=11)
    return _png(figure)


def _colour(name: str, names: Sequence[str]) -> str:
    others = [other for other in names if other not in COLOURS]
    return COLOURS[name] if name in COLOURS else _MORE_COLOURS[others.index(name) % len(_MORE_COLOURS)]


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure, axes = _figures(width, height, 1, 1)
    return figure, axes[0]


def _figures(
    width: float, height: float, rows: int, columns: int, *, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure that no global state of matplotlib knows of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(np.atleast_1d(figure.subplots(rows, columns, sharey=sharey)).ravel())
    for axis in axes:
        axis.grid(color="0.9", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _percents(decimals: int) -> Any:
    from matplotlib.ticker import PercentFormatter

    return PercentFormatter(1, decimals=decimals)


def _whole_numbers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(integer=True)


def _title(axis: Axes, text: str) -> None:
    axis.set_title(text, fontsize=11, loc="left")


def _png(figure: Figure) -> bytes:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": None})
    return png.getvalue()
