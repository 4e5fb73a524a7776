"""Draws the speed ratios of results/benchmarks.json."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from lfiw.evaluation.plots.style import BLUE, INK, VERMILLION, figure_with_axes, legend

EQUAL = 1.0  # both sides take as long
ROW_HEIGHT = 0.27  # inches


def speeds(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws a bar per ratio, fastest first and on a logarithmic axis, with its range over the rounds and its goal.

    Args:
        rows: as `measure.compare` makes them; those of another metric are left out.
    """
    shown = sorted((r for r in rows if r["metric"] == "speed_ratio"), key=lambda r: r["ratio"])
    figure, axes = figure_with_axes(9.0, 0.9 + ROW_HEIGHT * len(shown))
    ratios, places = [r["ratio"] for r in shown], range(len(shown))
    spans = [[r["ratio"] - r["min"] for r in shown], [r["max"] - r["ratio"] for r in shown]]
    axes.set_xscale("log")
    axes.barh(places, [ratio - EQUAL for ratio in ratios], left=EQUAL, color=BLUE, height=0.62)
    axes.errorbar(
        ratios, places, xerr=spans, fmt="none", ecolor=INK, elinewidth=1, capsize=2, label="range over the rounds"
    )
    goals = {i: r["goal"] for i, r in enumerate(shown) if r["goal"] is not None}
    dots: dict[str, Any] = {"color": VERMILLION, "markeredgecolor": "white", "markersize": 7}
    axes.plot(list(goals.values()), list(goals), "o", **dots, label="goal")
    for i, row in enumerate(shown):
        axes.annotate(
            f"{row['ratio']:.3g}×",
            (max(row["max"], row["goal"] or 0, EQUAL), i),
            xytext=(6, 0),
            textcoords="offset points",
            verticalalignment="center",
            color=INK,
            fontsize=9,
        )
    axes.axvline(EQUAL, color=INK, linewidth=1)
    axes.set(ylim=(-0.6, len(shown) - 0.4), xlabel="times as fast as the peer")
    axes.set_yticks(list(places), [r["name"] for r in shown])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.08)
    legend(axes, loc="lower right")
    return figure
