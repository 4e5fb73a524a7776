"""Draws the picture of the resampling study."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

# colour (Okabe & Ito 2008, distinct with any colour vision), marker, label, and a shift where points would coincide
STYLES = {
    "sir/auto": ("#0072b2", "o", "SIR", 1.0),
    "sir/plain": ("#d55e00", "s", "SIR, plain ratio", 1.0),
    "systematic/auto": ("#009e73", "^", "systematic", 0.94),
    "residual/auto": ("#56b4e9", "v", "residual", 1.0),
    "without-replacement/auto": ("#cc79a7", "D", "without replacement", 1.06),
    "rejection/auto": ("#e69f00", "P", "rejection", 1.0),
    "mh/auto": ("#000000", "X", "Metropolis–Hastings", 1.06),
    "mh/plain": ("#999999", "X", "Metropolis–Hastings, plain ratio", 1.06),
}
TITLES = {"digits": "digits", "cifar10": "CIFAR-10, a small GAN"}

Row = Mapping[str, Any]


def draw(rows: Sequence[Row], densities: Mapping[str, np.ndarray], file: Path) -> Path:
    """Draws known densities above, and FID against cost per sample below."""
    data = [name for name in TITLES if any(r["name"].startswith(f"{name}/") for r in rows)]
    figure = Figure(figsize=(10, 7.6), layout="constrained")
    panels = figure.subplots(2, 2)
    known(panels[0, 0], densities)
    convergence(panels[0, 1], rows)
    for axes, name in zip(panels[1], data, strict=False):
        costs(axes, rows, name)
    for axes in panels[1, len(data) :]:
        axes.set_axis_off()
    figure.savefig(file, dpi=120)
    return file


def known(axes: Axes, densities: Mapping[str, np.ndarray]) -> None:
    x = densities["x"]
    axes.fill_between(x, densities["data"], color="#bbbbbb", linewidth=0, label="data")
    axes.plot(x, densities["model"], color="#d55e00", linestyle="--", label="model (T = 1)")
    for pool_size, colour in (("4", "#56b4e9"), ("16", "#0072b2"), ("64", "#000000")):
        axes.plot(x, densities[pool_size], color=colour, label=f"resampled, T = {pool_size}")
    axes.set(xlim=(-4.5, 4.5), ylim=(0, 0.4), xlabel="x", ylabel="density", title="known densities, exact ratio")
    axes.legend(frameon=False, fontsize=8, loc="upper center", ncols=2)


def convergence(axes: Axes, rows: Sequence[Row]) -> None:
    results = {(r["name"], r["metric"]): r for r in rows}
    sizes = sorted(int(r["name"].split("/")[-1]) for r in rows if r["metric"] == "total_variation")
    truth = results["toy/data", "valley"]["mean"]
    exact = [results[f"toy/sir/exact/{size}", "valley_exact"]["mean"] for size in sizes]
    drawn = [results[f"toy/sir/exact/{size}", "valley"] for size in sizes]
    axes.plot(sizes, exact, color="#0072b2", label="exact, pools of T")
    axes.errorbar(
        sizes,
        [r["mean"] for r in drawn],
        yerr=[1.96 * (r["se"] or 0) for r in drawn],
        fmt="o",
        color="#000000",
        capsize=3,
        markersize=4,
        label=f"drawn: mean and 95 % over {drawn[0]['n']} seeds",
    )
    axes.axhline(truth, color="#777777", linestyle=":", label="data")
    axes.set(xlabel="T, candidates for each sample", ylabel="P(between the modes)", title="converges as T grows")
    pool_axis(axes, sizes)
    axes.legend(frameon=False, fontsize=8)


def costs(axes: Axes, rows: Sequence[Row], data: str) -> None:
    results = {(r["name"], r["metric"]): r for r in rows}
    base = results[f"{data}/uniform", "fid"]
    axes.axhline(base["mean"], color="#777777", linestyle=":", label="uniform")
    top = base["mean"]
    for key, (colour, marker, label, shift) in STYLES.items():
        names = [r["name"] for r in rows if r["name"].startswith(f"{data}/{key}/") and r["metric"] == "fid"]
        points = sorted(
            (results[n, "candidates"]["mean"], results[n, "fid"]["mean"], results[n, "fid"]["se"]) for n in names
        )
        if not points:
            continue
        cost, fid, error = (np.array([p[i] or 0 for p in points]) for i in range(3))
        line = "-" if key.startswith("sir") else "none"
        axes.errorbar(
            cost * shift,
            fid,
            yerr=error,
            color=colour,
            marker=marker,
            linestyle=line,
            markersize=5,
            capsize=2,
            label=label,
        )
        top = max(top, *(fid + error))
    if top > 3 * base["mean"]:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 4, 6)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="candidates scored for each sample kept", ylabel="FID ↓", title=TITLES[data])
    pool_axis(axes, [1, 2, 4, 8, 16, 32, 64])
    axes.legend(frameon=False, fontsize=8)


def pool_axis(axes: Axes, sizes: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(list(sizes)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
