"""Class proportions before and after weighting."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from lfiw.plots.style import REAL, SERIES, SIZE, UNIFORM, Values, as_array, figure_with_axes, legend

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
