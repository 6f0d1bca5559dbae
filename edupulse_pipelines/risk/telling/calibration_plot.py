"""The calibration plot of a validation: does a score of 30 % mean that 30 of 100 have an event? A PNG, nothing else."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from edupulse_pipelines.risk.judging.evaluation import calibration_bins, wilson


def calibration_plot(
    title: str,
    model: NDArray[np.float64],
    baseline: NDArray[np.float64],
    outcome: NDArray[np.int8],
) -> bytes:
    """Observed share of events against predicted probability, for the model (ten groups) and the rule; with 95 %
    intervals.

    Below it, how the model's scores are spread. Drawn without a display; no global state of matplotlib is touched.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(7, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [4, 1]})
    top.plot([0, 1], [0, 1], linestyle="--", color="0.6", linewidth=1, label="perfectly calibrated")
    for name, scores, colour, marker in (
        ("simple rule", baseline, "#b35900", "s"),
        ("model", model, "#1f4e8c", "o"),
    ):
        bins = calibration_bins(scores, outcome)
        predicted, observed, size = (np.array(part, dtype=float) for part in zip(*bins, strict=True))
        low, high = wilson(observed, size)
        top.errorbar(
            predicted,
            observed,
            yerr=[np.maximum(observed - low, 0), np.maximum(high - observed, 0)],
            color=colour,
            marker=marker,
            markersize=6,
            linewidth=1.5 if name == "model" else 0.8,
            capsize=3,
            label=name,
        )
    top.set(xlim=(0, 1), ylim=(0, 1), ylabel="observed share with an adverse event")
    top.set_title(f"{title}\n{len(outcome):,} validation samples, {outcome.mean():.1%} with an event", fontsize=11)
    top.legend(loc="upper left", frameon=False)
    bottom.hist(model, bins=np.linspace(0, 1, 41).tolist(), color="#1f4e8c", alpha=0.8)
    bottom.set(xlabel="predicted probability", ylabel="samples")
    for axis in (top, bottom):
        axis.grid(color="0.9", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    top.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    bottom.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110, metadata={"Software": None})
    return png.getvalue()
