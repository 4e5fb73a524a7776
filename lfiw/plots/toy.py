"""Learned against known class probabilities."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from lfiw.plots.style import BLUE, INK, UNIFORM, UNIFORM_LINE, dressed, new_figure


def toy_probabilities(
    groups: Mapping[tuple[str, int], Sequence[tuple[Float[Tensor, " n"], Float[Tensor, " n"]]]],
) -> Figure:
    """Learned against Bayes-optimal class probability: mean and 95 % band over seeds, a panel a case and size.

    Args:
        groups: (case, n) → for each seed the exact and the learned probability of the same samples.
    """
    cases = list(dict.fromkeys(case for case, _ in groups))
    sizes = list(dict.fromkeys(n for _, n in groups))
    figure = new_figure(3 * len(sizes), 3 * len(cases))
    panels = np.array(figure.subplots(len(cases), len(sizes), sharex=True, sharey=True, squeeze=False))
    for i, j in itertools.product(range(len(cases)), range(len(sizes))):
        dressed(panels[i, j])
    edges = torch.linspace(0, 1, 21, dtype=torch.float64)
    for (case, n), seeds in groups.items():
        axes = panels[cases.index(case), sizes.index(n)]
        curves = np.stack([binned_means(exact, learned, edges) for exact, learned in seeds])
        centres = ((edges[1:] + edges[:-1]) / 2).numpy()
        shown = ~np.isnan(curves).all(axis=0)
        low, high = np.nanpercentile(curves[:, shown], [2.5, 97.5], axis=0)
        axes.plot([0, 1], [0, 1], color=UNIFORM, linewidth=1, linestyle=UNIFORM_LINE)
        axes.fill_between(centres[shown], low, high, color=BLUE, alpha=0.25, linewidth=0)
        axes.plot(centres[shown], np.nanmean(curves[:, shown], axis=0), color=BLUE)
        axes.set_title(f"{case}, n = {n}, {len(seeds)} seeds", fontsize=10)
    figure.supxlabel("Bayes-optimal probability of real", fontsize=10, color=INK)
    figure.supylabel("learned probability of real", fontsize=10, color=INK)
    return figure


def binned_means(x: Float[Tensor, " n"], y: Float[Tensor, " n"], edges: Float[Tensor, " b"]) -> Float[np.ndarray, " _"]:
    """Mean of y in each bin of x; nan for an empty bin."""
    index = (torch.bucketize(x, edges) - 1).clamp(0, len(edges) - 2)
    count = torch.bincount(index, minlength=len(edges) - 1).double()
    return (torch.bincount(index, weights=y, minlength=len(edges) - 1) / count).numpy()
