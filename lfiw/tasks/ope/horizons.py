"""Plots of return estimates: what one is made of, and the number of ratios in weights along trajectories."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lfiw.evaluation.plots.style import BLUE, GREEN, INK, PURPLE, REAL, UNIFORM, UNIFORM_LINE, dressed, new_figure
from lfiw.tasks.ope.reach import CARRIES

COLUMNS = 2  # an environment as it is, and with noise, side by side


def picture_of(record: Mapping[str, Any]) -> Figure:
    """Plots how far the episodes carry, the sources of the estimate, and what weights along trajectories do.

    Args:
        record: content of ope.json.
    """
    figure = new_figure(9, 6.2)
    reach, sources, left, right = (dressed(axes) for axes in figure.subplots(2, 2).flat)
    if record.get("reach"):
        draw_reach(reach, record["reach"])
    else:
        reach.remove()
    draw_sources(sources, record)
    horizons = np.arange(len(record["by_horizon"]))
    left.plot(horizons, record["by_horizon"], color=BLUE, label="weighted by the first H ratios")
    left.axhline(record["by_horizon"][0], color=UNIFORM, linestyle=UNIFORM_LINE, label="uncorrected")
    left.axhline(record["estimates"]["auto"]["value"], color=GREEN, linestyle="--", label="auto")
    if record["truth"]:
        left.axhline(record["truth"]["value"], color=REAL, linewidth=2, label="real")
    left.set(xlabel="H", ylabel="return")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8, labelcolor=INK)
    right.plot(horizons, record["ess_by_horizon"], color=BLUE)
    right.set(xlabel="H", ylabel="effective sample size", yscale="log", ylim=(0.9, None))
    figure.suptitle(
        f"{record['environment']}, {record['num_episodes']:,} episodes of the behaviour policy", fontsize=10, color=INK
    )
    return figure


def draw_sources(axes: Axes, record: Mapping[str, Any]) -> None:
    """The estimate and its 95 % interval, and each source with twice its predicted error."""
    combined = record["auto"]
    interval = record["estimates"]["auto"]["interval"]
    ends = [(interval["low"] + interval["high"]) / 2, (interval["high"] - interval["low"]) / 2]
    rows = [("auto", *ends, GREEN)]
    for source in combined["sources"]:
        rows.append((source["name"], source["value"], 2 * source["squared_error"] ** 0.5, BLUE))
    for i, (_, value, half, colour) in enumerate(rows):
        axes.errorbar(value, i, xerr=half, color=colour, marker="o", capsize=3)
    shown = [interval["low"], interval["high"], *(value for _, value, *_ in rows)]
    if record["truth"]:
        axes.axvline(record["truth"]["value"], color=REAL, linewidth=2)
        shown.append(record["truth"]["value"])
    # a source that says of itself that it knows little would leave the others no room
    margin = 0.25 * (max(shown) - min(shown)) or 1.0
    axes.set_xlim(min(shown) - margin, max(shown) + margin)
    weights = ["", *(f"\n{source['weight']:.0%}" for source in combined["sources"])]
    axes.set_yticks(range(len(rows)), [name + weight for (name, *_), weight in zip(rows, weights, strict=True)])
    axes.set(xlabel="return", ylim=(len(rows) - 0.5, -0.5))
    unsure = "cannot tell" in combined["verdict"]
    axes.set_title("these data cannot tell" if unsure else combined["verdict"], fontsize=9, color=INK)


def draw_reach(axes: Axes, reach: Mapping[str, Any]) -> None:
    """The share of the episodes that stays effective against the way from the behaviour to the evaluation policy."""
    axes.plot(reach["way"][1:], reach["effective"][1:], color=BLUE, marker="o", markersize=3)
    axes.axhline(CARRIES, color=GREEN, linestyle="--")
    axes.annotate("a tenth", (1.0, CARRIES), ha="right", va="bottom", fontsize=8, color=INK)
    axes.set(xlabel="way from π_b (0) to π_e (1)", ylabel="effective share of the episodes", ylim=(0, 1.05))
    axes.set_xscale("log")
    axes.set_title(reach["verdict"], fontsize=9, color=INK)


def errors_by_horizon(
    groups: Mapping[str, Mapping[str, Float[np.ndarray, "seeds _"]]],
    baselines: Mapping[str, Mapping[str, float]],
) -> Figure:
    """Plots |error| of the first-H estimate against H, median and quartiles over seeds, and the ESS, per problem.

    Args:
        groups: problem → {"error", "ess"}, each (seeds, H).
        baselines: problem → name → mean |error|, drawn as horizontal lines.
    """
    columns = min(len(groups), COLUMNS)
    rows = -(-len(groups) // columns)
    figure = new_figure(4.2 * columns, 0.4 + 4.4 * rows)
    panels = np.array(figure.subplots(2 * rows, columns, sharex=True, squeeze=False, height_ratios=(2, 1) * rows))
    pairs = list(panels.reshape(rows, 2, columns).transpose(0, 2, 1).reshape(-1, 2))
    for top, bottom in pairs[len(groups) :]:
        top.remove()
        bottom.remove()
    looks = ((UNIFORM, UNIFORM_LINE), (GREEN, "--"), (PURPLE, ":"))
    for (problem, curves), (top, bottom) in zip(groups.items(), pairs, strict=False):
        for axes, name in ((dressed(top), "error"), (dressed(bottom), "ess")):
            low, middle, high = np.percentile(curves[name], [25, 50, 75], axis=0)
            horizons = np.arange(len(middle))
            axes.fill_between(horizons, low, high, color=BLUE, alpha=0.25, linewidth=0)
            axes.plot(horizons, middle, color=BLUE, label="first H ratios, median and quartiles")
        for (name, error), (colour, line) in zip(baselines[problem].items(), looks, strict=False):
            top.axhline(error, color=colour, linestyle=line, label=f"{name}, mean")
        top.set(title=problem, ylim=(0, None))
        bottom.set(yscale="log", ylim=(0.9, None))
    for top, bottom in pairs[0 : len(groups) : columns]:
        top.set_ylabel("|error| of the return")
        bottom.set_ylabel("effective sample size")
    for _, bottom in pairs[max(0, len(groups) - columns) : len(groups)]:
        bottom.set_xlabel("H")
        bottom.tick_params(labelbottom=True)
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False, fontsize=8, labelcolor=INK)
    return figure
