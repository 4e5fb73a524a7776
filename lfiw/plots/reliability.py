"""Is the classifier's probability the share of real rows?"""

from collections.abc import Mapping

from matplotlib.figure import Figure

from lfiw.calibration import Reliability
from lfiw.plots.style import INK, UNIFORM_LINE, as_array, figure_with_axes, legend, series


def reliability_diagram(curves: Mapping[str, Reliability]) -> Figure:
    """Share of real rows against the classifier's probability, ± binomial standard errors; a line a calibration.

    On the diagonal the classifier's odds are those of the data, and so its ratio is the density ratio.

    Args:
        curves: name → `lfiw.calibration.reliability` of held-out rows.
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
