"""How the classifier's loss went."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lfiw.plots.style import INK, ORANGE, Values, as_array, figure_with_axes, legend, series

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
