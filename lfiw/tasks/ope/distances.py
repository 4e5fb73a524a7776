"""Plots of the errors of estimates against the distance of the policy."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from lfiw.evaluation.plots.style import BLUE, GREEN, INK, PURPLE, UNIFORM, UNIFORM_LINE, dressed, new_figure

LOOKS = {
    "auto": (GREEN, "-"),
    "uncorrected": (UNIFORM, UNIFORM_LINE),
    "importance sampling, per-decision": (BLUE, "--"),
    "do nothing": (PURPLE, ":"),
}
COLUMNS = 2  # an environment as it is, and with noise, side by side


def errors_by_distance(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Plots the mean |error| of some estimates against λ, and the half width of the interval of `auto`.

    Args:
        groups: problem → rows of the study, named `PROBLEM, λ=…/ESTIMATE`.
    """
    columns = min(len(groups), COLUMNS)
    figure = new_figure(4.4 * columns, 0.4 + 2.8 * -(-len(groups) // columns))
    panels = figure.subplots(-(-len(groups) // columns), columns, sharex=True, squeeze=False).reshape(-1)
    for axes, (problem, rows) in zip(map(dressed, panels), groups.items(), strict=False):
        found = {(r["name"].removeprefix(f"{problem}, λ="), r["metric"]): r for r in rows}
        ways = list(dict.fromkeys(name.partition("/")[0] for name, _ in found))
        shown = [float(way) for way in ways]
        half = [found[f"{way}/auto", "interval_width"]["median"] / 2 for way in ways]
        axes.fill_between(shown, 0, half, color=GREEN, alpha=0.12, linewidth=0, label="auto: half of the 95 % interval")
        for name, (colour, line) in LOOKS.items():
            errors = [found[f"{way}/{name}", "abs_error"]["mean"] for way in ways]
            axes.plot(shown, errors, color=colour, linestyle=line, marker="o", markersize=3, label=name)
        reach = shown[0] / found[f"{ways[0]}/reach", "distance"]["mean"]
        axes.axvline(reach, color=INK, linewidth=0.8, linestyle=(0, (1, 2)), label="a tenth of the episodes effective")
        axes.set(title=problem, xscale="log", yscale="log")
    for axes in panels[len(groups) :]:
        axes.remove()
    for axes in panels[::columns]:
        axes.set_ylabel("mean |error| of the return")
    for axes in panels[-columns:]:
        axes.set_xlabel("λ, from π_b (0) to π_e (1)")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=8, labelcolor=INK)
    return figure
