"""Precision and recall, density and coverage of weighted samples, from nearest neighbours."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lfiw.errors import InputError, LostScore
from lfiw.metrics.weighted_metric import (
    RowsMetric,
    checked_sides,
    normalised_columns,
    scalar_unless_columns,
    shared_column,
)

SCORES = ("precision", "recall", "density", "coverage")
NEIGHBOURS = 3  # of Kynkäänniemi et al.; Naeem et al. use 5
BLOCK = 1 << 23  # distances held at once: 32 MiB in float32
PAIRS = 1 << 22  # numbers of rows whose distances are made again at once
SLACK = 32  # rounding units of the squared norms that a squared distance from products may be off by
MENDED = 1000  # a squared distance below so many times that is made again
NEAREST = 64  # neighbours whose weights are summed first; most rows need no more
ROUNDING = 1e-9  # a sum of weights so close below its goal has reached it


def precision_recall(
    real: Float[Tensor, "n d"],
    generated: Float[Tensor, "m d"],
    real_weights: Float[Tensor, " n"] | Float[Tensor, "n k"] | None = None,
    generated_weights: Float[Tensor, " m"] | Float[Tensor, "m k"] | None = None,
    neighbours: int = NEIGHBOURS,
    block_size: int = BLOCK,
) -> dict[str, Float[Tensor, "*k"]]:
    """Improved precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020), with weights.

    v̄ and w̄ are the real and the generated weights, self-normalised, n and m the numbers of rows whose weight is
    positive; other rows change nothing. B(xᵢ) is the closed ball about row i whose radius is the smallest at which the
    other rows of its side within it have mass at least k/n (k/m on the generated side): the distance of the k-th
    nearest other row where weights are uniform, and of the farthest one where all others together have less mass.

    - precision: Σ w̄ⱼ [yⱼ lies in some B(xᵢ)]
    - recall: Σ v̄ᵢ [xᵢ lies in some B(yⱼ)]
    - density: n/k Σᵢ v̄ᵢ w̄(B(xᵢ)), the generated mass in the real neighbourhoods; about 1 for equal distributions
    - coverage: Σ v̄ᵢ [w̄(B(xᵢ)) ≥ 1/m]; at uniform weights, at least one generated row in the ball

    Uniform weights give the papers' definitions, precision and recall those of torch-fidelity. Recall does not see how
    heavy a generated row is but through the radii: where a few rows have most of the mass, the neighbourhoods of all
    others reach as far as those, and recall says nothing.

    Distances are made block by block, in float64 if a side is float64, otherwise in float32, from products of rows
    about their mean; those that are small beside the rows' norms are made again from differences, so that near copies
    and rows far from zero keep their distances. Rows on the rim of a ball, up to rounding, are inside.

    Args:
        real, generated: any floating dtype.
        real_weights, generated_weights: non-negative, any scale, (n,) or one column per weighting; None is uniform.
        neighbours: k.
        block_size: distances held at once; memory is about 20 bytes each beside the features.

    Returns:
        The four scores by name: float64 scalars, or shape (k,) if weights have columns.

    Raises:
        InputError: a value is not finite, a weight is negative, a shape is wrong, a side has no more than k rows that
            carry weight.
        LostScore: squared distances overflow.
    """
    real, v, generated, w = checked_sides(real, generated, real_weights, generated_weights, block_size)
    v, w = normalised_columns(v, "real"), normalised_columns(w, "generated")
    for side, weights in (("real", v), ("generated", w)):
        check_neighbours(neighbours, weights, side)
    dtype = torch.float64 if torch.float64 in (real.dtype, generated.dtype) else torch.float32
    centre = mean_row(real)
    x, x_norms = about(centre, real, dtype)
    real_radii = squared_radii(real, x, x_norms, v, neighbours, block_size)
    of_generated = about(mean_row(generated), generated, dtype)  # it may lie far from the real rows
    generated_radii = squared_radii(generated, *of_generated, w, neighbours, block_size)
    y, y_norms = about(centre, generated, dtype)
    columns = max(v.shape[1], w.shape[1])
    precise = torch.zeros(len(y), v.shape[1], dtype=torch.bool, device=y.device)
    values = {name: w.new_zeros(columns) for name in SCORES}
    num_generated = (w > 0).sum(dim=0)
    rows = max(1, block_size // len(y))
    slack = SLACK * torch.finfo(dtype).eps
    blocks = (values.split(rows) for values in (x, x_norms, real, v, real_radii))
    for block, norms, raw, weights, radii in zip(*blocks, strict=True):
        distances = torch.addmm(((1 - slack) * y_norms).expand(len(block), -1), block, y.T, alpha=-2)
        distances += (1 - slack) * norms[:, None]
        mend_cancelled(distances, norms, y_norms, raw, generated)
        masses = []
        for column in range(v.shape[1]):
            inside = distances <= radii[:, column, None]
            precise[:, column] |= inside.any(dim=0)
            own = w if v.shape[1] == 1 else w[:, column % w.shape[1], None]
            masses.append(inside.to(w.dtype) @ own)
        mass = torch.cat(masses, dim=1)
        recalled = torch.stack([(distances <= ball).any(dim=1) for ball in generated_radii.T], dim=1)
        values["density"] += (weights * mass).sum(dim=0)
        values["coverage"] += (weights * (mass * num_generated >= 1 - ROUNDING)).sum(dim=0)
        values["recall"] += (weights * recalled).sum(dim=0)
    values["precision"] += (w * precise).sum(dim=0)
    values["density"] *= (v > 0).sum(dim=0).double() / neighbours
    return {name: scalar_unless_columns(value, real_weights, generated_weights) for name, value in values.items()}


def check_neighbours(neighbours: int, weights: Float[Tensor, "n k"], side: str) -> None:
    """Requires that each row has `neighbours` others that carry weight.

    Raises:
        InputError: it has not.
    """
    if neighbours < 1:
        raise InputError(f"neighbours={neighbours} must be at least 1")
    fewest = int((weights > 0).sum(dim=0).min())
    if fewest <= neighbours:
        raise InputError(
            f"neighbours={neighbours}, but the {side} side has {fewest} rows that carry weight: more than {neighbours} "
            "are needed; give more rows or a smaller k"
        )


def mean_row(rows: Float[Tensor, "n d"]) -> Float[Tensor, " d"]:
    return rows.mean(dim=0, dtype=torch.float64)


def about(
    centre: Float[Tensor, " d"], rows: Float[Tensor, "n d"], dtype: torch.dtype
) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
    """Rows about a centre, for smaller numbers lose fewer digits to cancellation, and their squared norms.

    Raises:
        LostScore: a squared distance may overflow.
    """
    centred = (rows.double() - centre).to(dtype)
    norms = centred.square().sum(dim=1)
    if not torch.isfinite(4 * norms).all():
        raise LostScore(f"squared distances of these features overflow {dtype}: rescale the features")
    return centred, norms


def mend_cancelled(
    distances: Float[Tensor, "b n"],
    norms: Float[Tensor, " b"],
    other_norms: Float[Tensor, " n"],
    rows: Float[Tensor, "b d"],
    others: Float[Tensor, "n d"],
) -> None:
    """Makes squared distances again, from differences, that are so small beside the squared norms that rounding shows.

    Args:
        distances: from products of rows about a centre, changed in place.
        norms, other_norms: squared, of those rows.
        rows, others: as they were given.
    """
    share = MENDED * SLACK * torch.finfo(distances.dtype).eps
    suspects = (distances.amin(dim=1) < share * (norms + other_norms.max())).nonzero().squeeze(1)
    if not len(suspects):
        return
    lost, j = (distances[suspects] < share * (norms[suspects, None] + other_norms)).nonzero(as_tuple=True)
    size = max(1, PAIRS // rows.shape[1])
    for i, k in zip(suspects[lost].split(size), j.split(size), strict=True):
        distances[i, k] = (rows[i].double() - others[k].double()).square().sum(dim=1).to(distances.dtype)


def squared_radii(
    rows: Float[Tensor, "n d"],
    centred: Float[Tensor, "n d"],
    norms: Float[Tensor, " n"],
    weights: Float[Tensor, "n k"],
    neighbours: int,
    block_size: int,
) -> Float[Tensor, "n k"]:
    """Squared radius of the neighbourhood of each row, as `precision_recall` defines it; −∞ for rows without weight.

    Args:
        rows: as they were given; centred, norms: from `about`.
        weights: self-normalised.
    """
    goals = neighbours / (weights > 0).sum(dim=0).double() * (1 - ROUNDING)
    uniform = (weights == weights[:1]).all(dim=0)
    radii = torch.full_like(weights, -torch.inf, dtype=centred.dtype)
    start = 0
    for block in centred.split(max(1, block_size // len(rows))):
        stop = start + len(block)
        distances = torch.addmm(norms.expand(len(block), -1), block, centred.T, alpha=-2)
        distances += norms[start:stop, None]
        distances[:, start:stop].fill_diagonal_(torch.inf)  # a row is not its own neighbour
        mend_cancelled(distances, norms[start:stop], norms, rows[start:stop], rows)
        if uniform.any():
            radii[start:stop, uniform] = distances.topk(neighbours, largest=False).values[:, -1:]
        if not uniform.all():
            found = radii_by_mass(distances, weights[:, ~uniform], goals[~uniform])
            radii[start:stop, ~uniform] = found.masked_fill(weights[start:stop, ~uniform] == 0, -torch.inf)
        start = stop
    return radii


def radii_by_mass(
    distances: Float[Tensor, "b n"], weights: Float[Tensor, "n k"], goals: Float[Tensor, " k"]
) -> Float[Tensor, "b k"]:
    """Finds the smallest distance within which the weights reach their goal; if none, the largest to a row with any.

    Args:
        distances: of rows to all rows; infinite to themselves.
    """
    nearest, order = distances.topk(min(NEAREST, distances.shape[1] - 1), largest=False)
    reached = weights[order].cumsum(dim=1) >= goals
    found = nearest.gather(1, reached.int().argmax(dim=1))
    for column in range(weights.shape[1]):
        open_rows = (~reached[:, -1, column]).nonzero().squeeze(1)
        if len(open_rows):
            carrying = weights[:, column] > 0
            far, order = distances[open_rows][:, carrying].sort(dim=1)
            mass = weights[carrying, column][order].masked_fill_(far.isinf(), 0.0).cumsum(dim=1)
            enough = mass >= goals[column]
            enough |= mass == mass[:, -1:]  # less than the goal altogether: the first to hold all there is
            found[open_rows, column] = far.gather(1, enough.int().argmax(dim=1, keepdim=True)).squeeze(1)
    return found


class PrecisionRecall(RowsMetric):
    """Weighted precision, recall, density and coverage: `precision_recall` of all rows seen.

    Their order and batches do not matter. Keeps the features in memory, in the dtype given.

    Args:
        num_features: d.
        num_weightings: k, the number of weightings, served by one pass over the distances.
        neighbours: of the definition; 3 for precision and recall as published, 5 for density and coverage.
        metric_options: the options of `torchmetrics.Metric`.

    Raises:
        InputError: an argument is out of its range.

    Example:
        >>> scores = PrecisionRecall(num_features=1, neighbours=1)
        >>> scores.update(torch.tensor([[0.0], [1.0], [3.0]]), real=True)  # radii 1, 1, 2
        >>> scores.update(torch.tensor([[0.5], [4.0], [9.0], [9.5]]), real=False)  # radii 3.5, 3.5, 0.5, 0.5
        >>> {name: value.item() for name, value in scores.compute().items()}
        {'precision': 0.5, 'recall': 1.0, 'density': 0.75, 'coverage': 1.0}
    """

    higher_is_better = True

    def __init__(
        self, num_features: int, num_weightings: int = 1, neighbours: int = NEIGHBOURS, **metric_options: Any
    ) -> None:
        super().__init__(num_features, num_weightings, **metric_options)
        if neighbours < 1:
            raise InputError(f"neighbours={neighbours} must be at least 1")
        self.neighbours = neighbours

    def compute(self) -> dict[str, Float[Tensor, "*k"]]:
        """Returns the scores of each weighting, by name: precision, recall, density, coverage.

        Returns:
            Float64 scalars, or shape (num_weightings,) for more than one.

        Raises:
            InputError: a side has no more rows that carry weight than `neighbours`.
        """
        real, real_weights = self._kept("real")
        generated, generated_weights = self._kept("generated")
        values = precision_recall(
            real, generated, shared_column(real_weights), generated_weights, neighbours=self.neighbours
        )
        return {name: self._per_weighting(value) for name, value in values.items()}
