"""A figure of weighted augmentation: drawings by their weight."""

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.utils import make_grid

from lfiw.data.table import Table
from lfiw.evaluation.plots.style import INK, new_figure


def ranked_drawings(
    real: Table, generated: Table, log_ratio: Float[Tensor, " n"], classes: int = 12, ranks: int = 10
) -> Figure:
    """A row per class: real drawings, then the generated ones from the highest weight to the lowest, evenly spaced.

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
    figure = new_figure(0.5 * (columns + ranks) + 0.6, 0.5 * len(shown) + 0.5)
    titles = ("real", "generated, heaviest weight → lightest")
    for axes, images, title in zip(
        figure.subplots(1, 2, width_ratios=[columns, ranks]), (left, right), titles, strict=True
    ):
        drawn = torch.cat(images).float() / 255
        grid = make_grid(1 - drawn, nrow=len(images[0]), padding=1, pad_value=0.6)
        axes.imshow(grid.permute(1, 2, 0).numpy(), interpolation="nearest")
        axes.set_title(title, fontsize=10, color=INK)
        axes.set_axis_off()
    return figure
