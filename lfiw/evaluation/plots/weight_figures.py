"""How weights spread, and whether the classifier behind them is calibrated."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from lfiw.evaluation.plots.style import INK, UNIFORM, UNIFORM_LINE, Values, as_array, figure_with_axes, legend, series
from lfiw.weighting.calibration import Reliability

SMALLEST = 1e-6  # relative to uniform: what is below is drawn there
BINS = 60
POINTS = 300  # of a Lorenz curve


def weight_histogram(weights: Mapping[str, Values]) -> Figure:
    """Number of samples by weight, on a log axis on which the uniform weight is 1.

    Args:
        weights: name of a weighting → (n,) its weights on any scale, not all zero.
    """
    figure, axes = figure_with_axes()
    relative = {name: relative_to_uniform(values).clip(min=SMALLEST) for name, values in weights.items()}
    low = min(values.min() for values in relative.values())
    high = max(values.max() for values in relative.values())
    if high < low * 1.1:  # all equal: a bin of its own
        low, high = low / 1.5, high * 1.5
    edges = np.geomspace(low, high * (1 + 1e-9), BINS + 1)
    for i, (name, values) in enumerate(relative.items()):
        look = series(i)
        counts = np.histogram(values, edges)[0]
        axes.stairs(counts, edges, color=look.colour, linestyle=look.line, linewidth=1.6, label=name)
        if i == 0:
            axes.stairs(counts, edges, color=look.colour, alpha=0.25, fill=True)
    axes.axvline(1, color=UNIFORM, linewidth=1.4, linestyle=UNIFORM_LINE, label="uniform")
    axes.set(xscale="log", xlabel="weight ÷ uniform weight", ylabel="samples")
    if high / low < 1000:  # decades alone would leave a short axis without numbers
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="x", labelsize=9)
    legend(axes)
    return figure


def lorenz_curve(weights: Mapping[str, Values]) -> Figure:
    """Share of the weight that the heaviest samples hold, against their share of the samples.

    Args:
        weights: as of `weight_histogram`.
    """
    figure, axes = figure_with_axes()
    for i, (name, values) in enumerate(weights.items()):
        look = series(i)
        share, mass = heaviest_share(values)
        axes.plot(share, mass, color=look.colour, linestyle=look.line, linewidth=1.8, label=name)
    axes.plot([0, 1], [0, 1], color=UNIFORM, linewidth=1.4, linestyle=UNIFORM_LINE, label="uniform")
    axes.set(xlabel="share of the samples, heaviest first", ylabel="share of the weight", xlim=(0, 1), ylim=(0, 1.02))
    legend(axes, loc="lower right")
    return figure


def heaviest_share(weights: Values) -> tuple[np.ndarray, np.ndarray]:
    """(share of the samples, share of the weight that so many of the heaviest hold), at a few hundred points."""
    mass = np.sort(relative_to_uniform(weights))[::-1].cumsum()
    n = len(mass)
    # dense where the curve is steep
    at = np.unique(
        np.concatenate([np.geomspace(1, n, POINTS // 2), np.linspace(1, n, POINTS // 2)]).round().astype(int)
    )
    return np.concatenate([[0], at / n]), np.concatenate([[0], mass[at - 1] / mass[-1]])


def relative_to_uniform(weights: Values) -> np.ndarray:
    """Weights divided by their mean."""
    values = as_array(weights)
    values = values / values.max()  # scale first: a sum of large weights must not overflow
    return values / values.mean()


def reliability_diagram(curves: Mapping[str, Reliability]) -> Figure:
    """Share of real rows against the classifier's probability, ± binomial standard errors; a line a calibration.

    On the diagonal the classifier's odds are those of the data, and so its ratio is the density ratio.

    Args:
        curves: name → `lfiw.weighting.calibration.reliability` of held-out rows.
    """
    figure, axes = figure_with_axes()
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=UNIFORM_LINE, label="calibrated")
    for i, (name, curve) in enumerate(curves.items()):
        look = series(i)
        filled = curve.count > 0
        mean, share, count = curve.probability[filled], curve.share[filled], curve.count[filled]
        axes.errorbar(
            as_array(mean),
            as_array(share),
            yerr=as_array((share * (1 - share) / count).sqrt()),
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markersize=4.5,
            capsize=2,
            label=name,
        )
    axes.set(
        xlabel="predicted probability of real",
        ylabel="share of real rows",
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
    )
    legend(axes)
    return figure
