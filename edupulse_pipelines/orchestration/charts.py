"""Small plots for asset metadata: numbers in, markdown with the picture inside out. Imports matplotlib when called."""

from __future__ import annotations

import base64
import datetime as dt
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CATEGORY_COLOURS = {"low": "#8fb8a8", "medium": "#e9c46a", "high": "#e58a4e", "critical": "#b5403a"}
_LINE_COLOURS = ("#2a5d8f", "#e58a4e", "#5b8c5a", "#8a5a9e", "#b5403a", "#c9a227", "#7d8590")
_INK = "#3a3f47"


def lines(
    title: str, weeks: Sequence[dt.date], series: Mapping[str, Sequence[float | None]], *, share: bool = False
) -> str | None:
    """One line per series over weeks (Mondays) or other days; a missing value is a gap. None with fewer than two."""
    if len(weeks) < 2:
        return None
    figure, axes = _figure(title)
    days: Any = list(weeks)  # matplotlib plots dates, which its types do not say
    for (label, values), colour in zip(series.items(), _LINE_COLOURS, strict=False):
        known = [float("nan") if value is None else value for value in values]
        axes.plot(days, known, label=label, color=colour, linewidth=1.8, marker="o", markersize=2.5)
    _few_dates(axes)
    if share:
        from matplotlib.ticker import PercentFormatter

        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    else:
        axes.set_ylim(bottom=0)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=7, ncols=min(4, len(series)), loc="best")
    return _markdown(figure, title)


def _few_dates(axes: Axes) -> None:
    """So few dates below that none is written over another."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    where = AutoDateLocator(maxticks=9)
    axes.xaxis.set_major_locator(where)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(where))
    axes.xaxis.get_offset_text().set(fontsize=7, color=_INK)


def categories(title: str, by_week: Mapping[dt.date, Mapping[str, int]]) -> str | None:
    """Stacked bars of students per risk category and week (Monday). None when there is nothing to show."""
    weeks: Any = list(by_week)
    counts = list(by_week.values())
    if not any(sum(count.values()) for count in counts):
        return None
    figure, axes = _figure(title)
    bottom = [0] * len(weeks)
    for category, colour in CATEGORY_COLOURS.items():
        heights = [count.get(category, 0) for count in counts]
        axes.bar(weeks, heights, bottom=bottom, width=5.5, color=colour, label=category)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    axes.legend(frameon=False, fontsize=7, ncols=4, loc="lower center", bbox_to_anchor=(0.5, -0.42))
    return _markdown(figure, title)


def beside_baseline(title: str, model: Mapping[str, float | None], rule: Mapping[str, float | None]) -> str | None:
    """The model's metrics beside the simple rule's, as pairs of bars. None when no metric is defined."""
    names = [name for name, value in model.items() if value is not None]
    if not names:
        return None
    figure, axes = _figure(title)
    places = range(len(names))
    for offset, label, values, colour in (
        (-0.2, "model", model, _LINE_COLOURS[0]),
        (0.2, "simple rule", rule, "#c3c8cf"),
    ):
        heights = [values.get(name) or 0.0 for name in names]
        bars = axes.bar([place + offset for place in places], heights, width=0.38, label=label, color=colour)
        shown = ["" if values.get(name) is None else f"{values[name]:.2f}" for name in names]
        axes.bar_label(bars, labels=shown, fontsize=7, color=_INK, padding=1)
    axes.set_xticks(list(places), [name.replace("_", " ") for name in names])
    axes.set_ylim(0, 1.1)
    axes.legend(frameon=False, fontsize=7, ncols=2, loc="lower center", bbox_to_anchor=(0.5, -0.42))
    return _markdown(figure, title)


def _figure(title: str) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 2.5), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: it keeps figures alive and wants a display
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=9, loc="left", color=_INK)
    axes.tick_params(labelsize=7, colors=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#c3c8cf")
    axes.grid(axis="y", color="#e9ebee", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _markdown(figure: Figure, title: str) -> str:
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return embedded(title, picture.getvalue())


def embedded(title: str, png: bytes) -> str:
    """A picture as markdown that holds it."""
    return f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})"
