"""Scores, class shares and training losses."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from lfiw.evaluation.plots.style import (
    BLUE,
    INK,
    ORANGE,
    REAL,
    SERIES,
    SIZE,
    UNIFORM,
    UNIFORM_LINE,
    Values,
    as_array,
    figure_with_axes,
    legend,
    series,
)

WIDE = 15.0  # ratio of the largest to the smallest score from which on the axis is logarithmic


def scores_by_exponent(
    curves: Mapping[str, tuple[Values, Values]],
    ylabel: str,
    *,
    reference: float | None = None,
    chosen: float | None = None,
) -> Figure:
    """A score of the weights ŵ^α against α: 0 is the generator as it is, 1 the plain ratio.

    Args:
        curves: name → exponents (k,) and scores (k,); a single one needs no name in a legend.
        ylabel: the score, with its unit if it has one.
        reference: score of real rows, if known.
        chosen: exponent of the recommended weighting, marked by a vertical line.
    """
    figure, axes = figure_with_axes()
    for i, (name, (exponents, scores)) in enumerate(curves.items()):
        look = series(i)
        axes.plot(
            as_array(exponents),
            as_array(scores),
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markersize=5,
            label=name if len(curves) > 1 else None,
        )
    shown = np.concatenate([as_array(scores) for _, scores in curves.values()])
    if reference is not None:
        axes.axhline(reference, color=INK, linewidth=1, linestyle=":", label="real rows")
        shown = np.append(shown, reference)
    if chosen is not None:
        axes.axvline(
            chosen, color=UNIFORM, linewidth=1.4, linestyle=UNIFORM_LINE, label=f"recommended (α = {chosen:g})"
        )
    axes.set(xlabel="flattening exponent α of ŵ^α", ylabel=ylabel)
    if is_wide(shown):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    legend(axes)
    return figure


def score_intervals(
    names: Sequence[str],
    scores: Values,
    half_widths: Values,
    xlabel: str,
    *,
    controls: Values | None = None,
    reference: float | None = None,
) -> Figure:
    """Scores one under another, with 95 % intervals.

    Args:
        names, scores: of each weighting or run, (k,).
        half_widths: what their intervals reach to either side, nan where there is none.
        xlabel: the score, with its unit if it has one.
        controls: (k,) scores of the same weights permuted (equal ESS), nan where there is none.
        reference: score of real rows, if known.
    """
    values, halves = as_array(scores), as_array(half_widths)
    figure, axes = figure_with_axes(height=1.3 + 0.27 * len(names))
    rows = np.arange(len(names))
    axes.errorbar(values, rows, xerr=np.nan_to_num(halves), fmt="o", color=BLUE, markersize=5, capsize=3, label="score")
    shown = values
    if controls is not None and np.isfinite(as_array(controls)).any():
        axes.plot(as_array(controls), rows, "D", color=INK, fillstyle="none", markersize=5, label="equal ESS")
        shown = np.append(shown, as_array(controls))
    if reference is not None:
        axes.axvline(reference, color=INK, linewidth=1, linestyle=":", label="real rows")
        shown = np.append(shown, reference)
    axes.set(yticks=rows, yticklabels=names, xlabel=xlabel, ylim=(len(names) - 0.5, -0.5))
    axes.grid(visible=False, axis="y")
    if is_wide(shown):
        axes.set_xscale("log")
        few_numbers(axes)
    if len(axes.get_legend_handles_labels()[1]) > 1:
        legend(axes, loc="lower center", bbox_to_anchor=(0.4, 1), ncols=3, handletextpad=0.4, columnspacing=1.2)
    return figure


BALANCED = 0.1  # a standardised mean difference that is small (Stuart 2010)


def love_plot(names: Sequence[str], before: Values, after: Values | None, xlabel: str, limit: float | None) -> Figure:
    """Distances of columns one under another, before (hollow) and after weighting (filled); Love et al. 2004.

    Args:
        names, before: of the columns, (k,); nan where there is no distance.
        after: (k,); none where nothing was weighted.
        xlabel: what the distance is.
        limit: where a line stands below which a column is balanced.
    """
    figure, axes = figure_with_axes(height=1.1 + 0.17 * len(names))
    rows = np.arange(len(names))
    axes.plot(as_array(before), rows, "o", color=UNIFORM, fillstyle="none", markersize=5, label="before weighting")
    if after is not None:
        axes.plot(as_array(after), rows, "D", color=BLUE, markersize=4, label="after")
    if limit is not None:
        axes.axvline(limit, color=INK, linewidth=1, linestyle=":", label=f"{limit:g}")
    axes.set(yticks=rows, yticklabels=names, xlabel=xlabel, ylim=(len(names) - 0.5, -0.5))
    axes.set_xlim(left=0)
    legend(axes, loc="lower center", bbox_to_anchor=(0.4, 1), ncols=3, handletextpad=0.4, columnspacing=1.2)
    return figure


def is_wide(scores: np.ndarray) -> bool:
    """Whether only a logarithmic axis shows all of them."""
    finite = scores[np.isfinite(scores)]
    return bool(len(finite) and finite.min() > 0 and finite.max() > WIDE * finite.min())


def few_numbers(axes: Axes) -> None:
    """Numbers at the decades alone, written out."""
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


HATCHES = ("", "//", "..", "xx")
WIDEST = 8.0  # inches


def class_proportions(shares: Mapping[str, Values], real: Values, classes: Sequence[str] | None = None) -> Figure:
    """Bars of the share of each class, a group of bars a class, the real ones as lines across.

    Args:
        shares: name of a weighting → (classes,) shares; the first one is uniform.
        real: (classes,) shares among real rows.
        classes: names; their numbers by default.
    """
    at = np.arange(len(as_array(real)))
    figure, axes = figure_with_axes(min(WIDEST, max(SIZE[0], 1.2 + 0.44 * len(at))))
    width = 0.8 / len(shares)
    colours = (UNIFORM, *(look.colour for look in SERIES))
    for i, (name, values) in enumerate(shares.items()):
        axes.bar(
            at - 0.4 + (i + 0.5) * width,
            100 * as_array(values),
            width,
            label=name,
            color=colours[i % len(colours)],
            hatch=HATCHES[i % len(HATCHES)],
            edgecolor="white",
            linewidth=0.3,
        )
    axes.hlines(100 * as_array(real), at - 0.42, at + 0.42, color=REAL, linewidth=2.2, label="real")
    axes.set(xlabel="class", ylabel="share of the samples (%)", xticks=at)
    axes.set_xticklabels(classes or [str(c) for c in at])
    axes.grid(visible=False, axis="x")
    legend(axes, ncols=len(shares) + 1, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


CHANCE = math.log(2)  # nats: of a classifier that cannot tell the sides apart


def training_curves(
    validation: Mapping[str, Sequence[tuple[Values, Values]]], training: Sequence[tuple[Values, Values]] = ()
) -> Figure:
    """Log-loss against the epoch; the lowest validation value of each classifier, the one that is kept, is marked.

    Args:
        validation: name of a run → for each of its classifiers epochs (k,) and log-losses (k,) on validation rows.
        training: the same of training rows, where there are any.
    """
    figure, axes = figure_with_axes()
    for i, (epochs, losses) in enumerate(training):
        label = "training" if i == 0 else None
        axes.plot(as_array(epochs), as_array(losses), color=ORANGE, linewidth=1.2, linestyle="--", label=label)
    for i, (name, curves) in enumerate(validation.items()):
        look = series(i)
        for j, (epochs, losses) in enumerate(curves):
            x, y = as_array(epochs), as_array(losses)
            label = name if j == 0 else None
            axes.plot(x, y, color=look.colour, linestyle=look.line, linewidth=1.6, label=label)
            axes.plot(x[y.argmin()], y.min(), look.marker, color=look.colour, markersize=6)
    axes.axhline(CHANCE, color=INK, linewidth=1, linestyle=":", label="chance (log 2)")
    axes.set(xlabel="epoch", ylabel="log-loss (nats)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(axes)
    return figure
