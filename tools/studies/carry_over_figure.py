"""Draws what ratios of different networks correct, judged by each network."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from lfiw.evaluation.plots.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    dressed,
    new_figure,
    save,
)
from lfiw.weighting.diagnostics import half_width

from .repeated import Row

LEADING = "mean of Inception + MobileNet + ResNet-56"
# ratio → colour; the control last
RATIOS = {
    "Inception": BLUE,
    "EfficientNet": ORANGE,
    "MobileNet": VERMILLION,
    "ResNet-56": PURPLE,
    "mean of Inception + ResNet-56": SKY,
    LEADING: GREEN,
    "mean of Inception + EfficientNet + ResNet-56": INK,
}
CONTROL = ", permuted"
HEIGHT = 0.8  # of a judge's bars together
PALE = 0.35


def draw(rows: Sequence[Row], weightings: Sequence[str], judges: Sequence[str], counted: str, file: Path) -> Path:
    """Draws changes of FID and KID relative to unweighted samples, one row of panels per generator.

    Bars of a judge whose features the ratio saw are pale. Lines are the 95 % intervals over seeds.

    Args:
        weightings: of each generator the first one that leaves as many effective samples as the last one.
        counted: the judge by whose labels class shares are matched, and which therefore is no independent one.
    """
    found = {(r["name"], r["metric"]): r for r in rows}
    generators = list(dict.fromkeys(name.partition(", ")[0] for name, _ in found))
    figure = new_figure(9.5, 1.1 + 3.4 * len(generators))
    panels = figure.subplots(len(generators), 2, squeeze=False, sharey=True)
    for generator, pair in zip(generators, panels, strict=True):
        ess = {of: found[f"{generator}, Inception: {of}", "ess"]["mean"] for of in weightings}
        weighting = next(of for of in weightings if abs(ess[of] / ess[weightings[-1]] - 1) < 0.01)
        note = "" if weighting == weightings[0] else ", class shares as they fall"
        for score, axes in zip(("fid", "kid"), map(dressed, pair), strict=True):
            bars(axes, found, generator, weighting, score, judges, counted if not note else "")
            axes.set_title(f"{generator}: {score.upper()}{note}", fontsize=10, color=INK)
    for axes in panels[-1]:
        axes.set_xlabel("change by weighting, %")
    looks = [Patch(color=colour, label=f"ratio on {ratio}") for ratio, colour in RATIOS.items()]
    looks.append(Patch(color=FAINT, label="control: weights of Inception + MobileNet + ResNet-56, permuted"))
    looks.append(Patch(color=INK, alpha=PALE, label="pale: seen by the ratio, or used to count classes"))
    figure.legend(handles=looks, loc="outside lower center", ncols=2, frameon=False, fontsize=8, labelcolor=INK)
    return save(figure, file)


def bars(
    axes: Axes,
    found: Mapping[tuple[str, str], Row],
    generator: str,
    weighting: str,
    score: str,
    judges: Sequence[str],
    counted: str,
) -> None:
    """Draws the bars of one generator and score, one group per judge."""
    subjects = [*((ratio, weighting) for ratio in RATIOS), (LEADING, weighting + CONTROL)]
    step = HEIGHT / len(subjects)
    for k, (ratio, of) in enumerate(subjects):
        control = of.endswith(CONTROL)
        for j, judge in enumerate(judges):
            row = found.get((f"{generator}, {ratio}: {of}", f"change_{score}@{judge}"))
            if row is None:
                continue
            seen = (judge in ratio or judge == counted) and not control
            y = j - HEIGHT / 2 + (k + 0.5) * step
            colour = FAINT if control else RATIOS[ratio]
            axes.barh(y, 100 * row["mean"], step * 0.9, color=colour, alpha=PALE if seen else 1.0)
            if row["se"]:
                axes.errorbar(
                    100 * row["mean"], y, xerr=100 * half_width(row["se"], row["n"] - 1), color=INK, linewidth=0.8
                )
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(judges)), [f"judged by\n{judge}" for judge in judges])
    axes.set_ylim(len(judges) - 0.5, -0.5)
