"""Pictures of an evaluation, as PNG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from torch import Tensor
from torchvision.utils import make_grid

from lfiw.calibration import Reliability
from lfiw.data.table import Table
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


def ranked_drawings(
    real: Table, generated: Table, log_ratio: Float[Tensor, " n"], file: Path, classes: int = 12, ranks: int = 10
) -> Path:
    """A row a class: real drawings, then the generated ones from the highest weight to the lowest, evenly spaced.

    Args:
        real, generated: with `image` (n, 1, h, w), uint8, 255 = ink, and `label`.
        log_ratio: of the generated rows.
    """
    found = real["label"].unique()
    shown = found[torch.linspace(0, len(found) - 1, min(classes, len(found))).long()]
    columns = min(5, int((real["label"] == shown[0]).sum()))
    left, right = [], []
    for label in shown:
        left.append(real["image"][real["label"] == label][:columns])
        rows = (generated["label"] == label).nonzero().squeeze(1)
        order = rows[log_ratio[rows].argsort(descending=True)]
        right.append(generated["image"][order[torch.linspace(0, len(order) - 1, ranks).long()]])
    figure = Figure(figsize=(0.5 * (columns + ranks) + 0.6, 0.5 * len(shown) + 0.5), layout="constrained")
    titles = ("real", "generated, heaviest weight → lightest")
    for axes, images, title in zip(
        figure.subplots(1, 2, width_ratios=[columns, ranks]), (left, right), titles, strict=True
    ):
        drawn = torch.cat(images).float() / 255
        grid = make_grid(1 - drawn, nrow=len(images[0]), padding=1, pad_value=0.6)
        axes.imshow(grid.permute(1, 2, 0).numpy(), interpolation="nearest")
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
    return save(figure, file)


def regime_accuracies(accuracies: Mapping[str, Sequence[float]], file: Path) -> Path:
    """Test accuracy by regime: a grey line a seed, means with standard errors on top."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    values = 100 * np.array(list(accuracies.values()))
    places = np.arange(len(values))
    axes.plot(places, values, color="#bbbbbb", linewidth=0.8)
    means = values.mean(1)
    errors = values.std(1, ddof=1) / np.sqrt(values.shape[1]) if values.shape[1] > 1 else np.zeros(len(values))
    axes.errorbar(places, means, yerr=errors, fmt="o", color=WEIGHTED_COLOUR, capsize=3, zorder=3)
    for place, mean in zip(places, means, strict=True):
        axes.annotate(f"{mean:.1f}", (place, mean), xytext=(7, 4), textcoords="offset points", fontsize=9)
    axes.set_xticks(places, [name.replace("_", "\n") for name in accuracies])
    axes.set(ylabel="test accuracy, %", xlim=(-0.4, len(values) - 0.4))
    axes.set_title(f"mean ± standard error over {values.shape[1]} seeds; grey: a line a seed", fontsize=10)
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


def binned_means(x: Float[Tensor, " n"], y: Float[Tensor, " n"], edges: Float[Tensor, " b"]) -> Float[np.ndarray, " _"]:
    """Mean of y in each bin of x; nan for an empty bin."""
    index = (torch.bucketize(x, edges) - 1).clamp(0, len(edges) - 2)
    count = torch.bincount(index, minlength=len(edges) - 1).double()
    return (torch.bincount(index, weights=y, minlength=len(edges) - 1) / count).numpy()
