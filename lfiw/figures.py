"""Pictures of an evaluation, as PNG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from torch import Tensor
from torchvision.utils import make_grid

from lfiw.calibration import Reliability
from lfiw.files import replacing

REAL_COLOUR, UNIFORM_COLOUR, WEIGHTED_COLOUR, EXTRA_COLOUR = "#444444", "#c44e52", "#4c72b0", "#55a868"
EXACT_COLOUR = "#8172b3"
SHEET = 64  # images on a contact sheet


def save(figure: Figure, file: Path) -> Path:
    with replacing(file) as temporary:
        figure.savefig(temporary, dpi=120)
    return file


def weight_histogram(log_weights: Float[Tensor, " n"], ess: float, pareto_k: float, file: Path) -> Path:
    """Density of the self-normalised weights relative to uniform, on a log axis, and how much mass the largest hold."""
    relative = torch.softmax(log_weights, 0) * log_weights.numel()
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    values = relative.clamp(min=1e-6).numpy()
    left.hist(values, bins=np.geomspace(values.min(), values.max() * 1.01, 60), color=WEIGHTED_COLOUR)
    left.axvline(1, color=UNIFORM_COLOUR, label="uniform")
    left.set(xscale="log", xlabel="weight relative to uniform", ylabel="samples")
    if values.max() / values.min() < 1000:  # decades alone would leave a short axis without numbers
        left.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        left.xaxis.set_major_formatter("{x:g}")
        left.xaxis.set_minor_formatter(NullFormatter())
    left.legend(frameon=False)
    mass = relative.sort(descending=True).values.cumsum(0).numpy() / relative.sum().item()
    share = np.arange(1, len(mass) + 1) / len(mass)
    right.plot(share, mass, color=WEIGHTED_COLOUR, label="weighted")
    right.plot([0, 1], [0, 1], color=UNIFORM_COLOUR, label="uniform")
    right.set(xlabel="share of samples, heaviest first", ylabel="share of the weight", xlim=(0, 1), ylim=(0, 1))
    right.legend(frameon=False, loc="lower right")
    figure.suptitle(f"weights of {len(values):,} generated samples: ESS {ess:,.0f}, Pareto k̂ {pareto_k:.2f}")
    return save(figure, file)


def contact_sheet(groups: Sequence[tuple[str, Shaped[Tensor, "_ c h w"]]], file: Path) -> Path:
    """Grids of images (uint8, or floats in [0, 1]) side by side under their titles; up to 64 of each."""
    figure = Figure(figsize=(3.2 * len(groups), 3.6), layout="constrained")
    for axes, (title, images) in zip(np.atleast_1d(figure.subplots(1, len(groups))), groups, strict=True):
        pixels = images[:SHEET].float() / (255 if images.dtype == torch.uint8 else 1)
        if pixels.shape[1] not in (1, 3):
            pixels = pixels.mean(dim=1, keepdim=True)
        grid = make_grid(pixels.clamp(0, 1), nrow=8, padding=1, pad_value=1.0)
        axes.imshow(grid.permute(1, 2, 0).numpy(), interpolation="nearest")
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
    return save(figure, file)


def class_proportions(shares: Sequence[tuple[str, Sequence[float]]], real: Sequence[float], file: Path) -> Path:
    """Bars of the share of each class, a group of bars a class, the real ones as lines across."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots()
    classes = np.arange(len(real))
    width = 0.8 / len(shares)
    colours = (UNIFORM_COLOUR, WEIGHTED_COLOUR, EXTRA_COLOUR, EXACT_COLOUR)
    for i, ((name, values), colour) in enumerate(zip(shares, colours, strict=False)):
        axes.bar(classes - 0.4 + (i + 0.5) * width, values, width, label=name, color=colour)
    axes.hlines(real, classes - 0.4, classes + 0.4, color=REAL_COLOUR, linewidth=2, label="real")
    axes.set(xlabel="class", ylabel="share", xticks=classes)
    axes.legend(frameon=False, ncols=len(shares) + 1, loc="upper center", bbox_to_anchor=(0.5, 1.16))
    return save(figure, file)


def reliability(curves: Mapping[str, Reliability], file: Path) -> Path:
    """Share of real rows against the classifier's probability, with binomial standard errors; a line a calibration.

    On the diagonal the classifier's odds are those of the data, and so its ratio is the density ratio.
    """
    figure = Figure(figsize=(4.4, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=UNIFORM_COLOUR)
    for (name, curve), colour in zip(curves.items(), (WEIGHTED_COLOUR, EXTRA_COLOUR), strict=False):
        filled = curve.count > 0
        mean, share, count = curve.probability[filled], curve.share[filled], curve.count[filled]
        error = (share * (1 - share) / count).sqrt()
        axes.errorbar(mean.numpy(), share.numpy(), yerr=error.numpy(), fmt="o-", label=name, color=colour, capsize=2)
    axes.set(xlabel="predicted probability of real", ylabel="share of real rows", xlim=(0, 1), ylim=(0, 1))
    axes.set_title("calibration on validation rows", fontsize=10)
    axes.legend(frameon=False)
    return save(figure, file)


def toy_probabilities(
    groups: Mapping[tuple[str, int], Sequence[tuple[Float[Tensor, " n"], Float[Tensor, " n"]]]], file: Path
) -> Path:
    """Learned against Bayes-optimal class probability: mean and 95 % band over seeds, a panel a case and size.

    Args:
        groups: (case, n) → for each seed the exact and the learned probability of the same samples.
    """
    cases = list(dict.fromkeys(case for case, _ in groups))
    sizes = list(dict.fromkeys(n for _, n in groups))
    figure = Figure(figsize=(3 * len(sizes), 3 * len(cases)), layout="constrained")
    panels = np.array(figure.subplots(len(cases), len(sizes), sharex=True, sharey=True, squeeze=False))
    edges = torch.linspace(0, 1, 21, dtype=torch.float64)
    for (case, n), seeds in groups.items():
        axes = panels[cases.index(case), sizes.index(n)]
        curves = np.stack([binned_means(exact, learned, edges) for exact, learned in seeds])
        centres = ((edges[1:] + edges[:-1]) / 2).numpy()
        shown = ~np.isnan(curves).all(axis=0)
        low, high = np.nanpercentile(curves[:, shown], [2.5, 97.5], axis=0)
        axes.plot([0, 1], [0, 1], color=UNIFORM_COLOUR, linewidth=1)
        axes.fill_between(centres[shown], low, high, color=WEIGHTED_COLOUR, alpha=0.25, linewidth=0)
        axes.plot(centres[shown], np.nanmean(curves[:, shown], axis=0), color=WEIGHTED_COLOUR)
        axes.set_title(f"{case}, n = {n}, {len(seeds)} seeds", fontsize=10)
    figure.supxlabel("Bayes-optimal probability of real", fontsize=10)
    figure.supylabel("learned probability of real", fontsize=10)
    return save(figure, file)


def estimates_by_horizon(record: Mapping[str, Any], file: Path) -> Path:
    """A run of off-policy evaluation: the estimate against the number H of ratios in its weights, and what they leave.

    Args:
        record: content of ope.json.
    """
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    horizons = np.arange(len(record["by_horizon"]))
    left.plot(horizons, record["by_horizon"], color=WEIGHTED_COLOUR, label="weighted by the first H ratios")
    left.axhline(record["by_horizon"][0], color=UNIFORM_COLOUR, label="uncorrected")
    left.axhline(record["estimates"]["auto"]["value"], color=EXTRA_COLOUR, linestyle="--", label="auto")
    if record["truth"]:
        left.axhline(record["truth"]["value"], color=REAL_COLOUR, linewidth=2, label="real")
    left.set(xlabel="H", ylabel="return")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    right.plot(horizons, record["ess_by_horizon"], color=WEIGHTED_COLOUR)
    right.set(xlabel="H", ylabel="effective sample size", yscale="log", ylim=(0.9, None))
    figure.suptitle(
        f"{record['environment']}, {record['num_episodes']:,} episodes of the behaviour policy", fontsize=10
    )
    return save(figure, file)


def errors_by_horizon(
    groups: Mapping[str, Mapping[str, Float[np.ndarray, "seeds _"]]],
    baselines: Mapping[str, Mapping[str, float]],
    file: Path,
) -> Path:
    """|error| of the first-H estimate against H: median and quartiles over seeds, a panel a problem; ESS below it.

    Args:
        groups: problem → {"error", "ess"}, (seeds, H).
        baselines: problem → name → mean |error|, drawn as lines across.
    """
    figure = Figure(figsize=(4.2 * len(groups), 5.2), layout="constrained")
    panels = np.array(figure.subplots(2, len(groups), sharex=True, squeeze=False, height_ratios=(2, 1)))
    colours = (UNIFORM_COLOUR, EXTRA_COLOUR, EXACT_COLOUR)
    for (problem, curves), (top, bottom) in zip(groups.items(), panels.T, strict=True):
        for axes, name in ((top, "error"), (bottom, "ess")):
            low, middle, high = np.percentile(curves[name], [25, 50, 75], axis=0)
            horizons = np.arange(len(middle))
            axes.fill_between(horizons, low, high, color=WEIGHTED_COLOUR, alpha=0.25, linewidth=0)
            axes.plot(horizons, middle, color=WEIGHTED_COLOUR, label="first H ratios, median and quartiles")
        for (name, error), colour in zip(baselines[problem].items(), colours, strict=False):
            top.axhline(error, color=colour, linestyle="--", label=f"{name}, mean")
        top.set(title=problem, ylim=(0, None))
        top.title.set_fontsize(10)
        bottom.set(xlabel="H", yscale="log", ylim=(0.9, None))
    panels[0, 0].set_ylabel("|error| of the return")
    panels[1, 0].set_ylabel("effective sample size")
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return save(figure, file)


def binned_means(x: Float[Tensor, " n"], y: Float[Tensor, " n"], edges: Float[Tensor, " b"]) -> Float[np.ndarray, " _"]:
    """Mean of y in each bin of x; nan for an empty bin."""
    index = (torch.bucketize(x, edges) - 1).clamp(0, len(edges) - 2)
    count = torch.bincount(index, minlength=len(edges) - 1).double()
    return (torch.bincount(index, weights=y, minlength=len(edges) - 1) / count).numpy()
