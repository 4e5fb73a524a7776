"""Precision and recall, density and coverage of weighted samples, from nearest neighbours."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
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
NEIGHBOURS = 3  # as Kynkäänniemi et al.; Naeem et al. use 5
BLOCK = 1 << 23  # distances in memory: 32 MiB in float32
PAIRS = 1 << 22  # numbers per batch of distances that are computed from differences
NEAREST = 64  # neighbours whose weights are summed first, enough for most rows
ROUNDING = 1e-9  # a sum of weights this close below its goal has reached it


def precision_recall(
    real: Float[Tensor, "n d"],
    generated: Float[Tensor, "m d"],
    real_weights: Float[Tensor, " n"] | Float[Tensor, "n k"] | None = None,
    generated_weights: Float[Tensor, " m"] | Float[Tensor, "m k"] | None = None,
    neighbours: int = NEIGHBOURS,
    block_size: int = BLOCK,
) -> dict[str, Float[Tensor, "*k"]]:
    """Computes weighted precision, recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    v̄ and w̄ are the real and the generated weights, self-normalised, n and m the numbers of rows whose weight is
    positive; other rows change nothing. B(xᵢ) is the closed ball about row i whose radius is the smallest at which the
    other rows of its side within it have mass at least k/n (k/m on the generated side): the distance of the k-th
    nearest other row if weights are uniform, and of the farthest one if all others together have less mass.

    - precision: Σ w̄ⱼ [yⱼ lies in some B(xᵢ)]
    - recall: Σ v̄ᵢ [xᵢ lies in some B(yⱼ)]
    - density: n/k Σᵢ v̄ᵢ w̄(B(xᵢ)), the generated mass in the real neighbourhoods; about 1 for equal distributions
    - coverage: Σ v̄ᵢ [w̄(B(xᵢ)) ≥ 1/m]; at uniform weights, at least one generated row in the ball

    Uniform weights give the papers' definitions; precision and recall then equal torch-fidelity's. Recall depends on
    the generated weights only through the radii: if a few rows have most of the mass, the neighbourhoods of all others
    reach as far as those, and recall is meaningless.

    All comparisons give the result of distances from differences in float64; ties count as inside. Most are decided by
    cheaper bounds, block by block, from products of rows about their mean (`distance_bounds`). If the bounds cannot
    decide, as for near copies and at the rim of a ball, the distance itself is computed.

    Args:
        real, generated: any floating dtype.
        real_weights, generated_weights: non-negative, any scale, (n,) or one column per weighting; None is uniform.
        neighbours: k.
        block_size: distances in memory at a time, about 25 bytes each.

    Returns:
        The four scores by name: float64 scalars, or shape (k,) if weights have columns.

    Raises:
        InputError: a value is not finite, a weight is negative, a shape is wrong, or a side has at most k rows that
            carry weight.
        LostScore: squared distances overflow.
    """
    real, v, generated, w = checked_sides(real, generated, real_weights, generated_weights, block_size)
    v, w = normalised_columns(v, "real"), normalised_columns(w, "generated")
    for side, weights in (("real", v), ("generated", w)):
        check_neighbours(neighbours, weights, side)
    dtype = torch.float64 if torch.float64 in (real.dtype, generated.dtype) else torch.float32
    centre = mean_row(real)
    of_real, of_generated = about(centre, real, dtype), about(centre, generated, dtype)
    real_radii = squared_radii(of_real, v, neighbours, block_size)
    # about their own mean, since they may lie far from the real rows
    generated_radii = squared_radii(about(mean_row(generated), generated, dtype), w, neighbours, block_size)
    columns = max(v.shape[1], w.shape[1])
    precise = torch.zeros(len(generated), v.shape[1], dtype=torch.bool, device=generated.device)
    values = {name: w.new_zeros(columns) for name in SCORES}
    num_generated = (w > 0).sum(dim=0)
    rows = max(1, block_size // len(generated))
    for start in range(0, len(real), rows):
        weights, radii = v[start : start + rows], real_radii[start : start + rows]
        block = of_real.part(start, start + rows)
        bounds = distance_bounds(block, of_generated)
        masses = []
        for column in range(v.shape[1]):
            inside = within(radii[:, column, None], bounds, block, of_generated)
            precise[:, column] |= inside.any(dim=0)
            own = w if v.shape[1] == 1 else w[:, column % w.shape[1], None]
            masses.append(inside.to(w.dtype) @ own)
        mass = torch.cat(masses, dim=1)
        balls = (within(ball, bounds, block, of_generated) for ball in generated_radii.T)
        recalled = torch.stack([inside.any(dim=1) for inside in balls], dim=1)
        values["density"] += (weights * mass).sum(dim=0)
        values["coverage"] += (weights * (mass * num_generated >= 1 - ROUNDING)).sum(dim=0)
        values["recall"] += (weights * recalled).sum(dim=0)
    values["precision"] += (w * precise).sum(dim=0)
    values["density"] *= (v > 0).sum(dim=0).double() / neighbours
    return {name: scalar_unless_columns(value, real_weights, generated_weights) for name, value in values.items()}


def check_neighbours(neighbours: int, weights: Float[Tensor, "n k"], side: str) -> None:
    """Requires that each row has `neighbours` others that carry weight.

    Raises:
        InputError: it does not.
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


@dataclass(frozen=True)
class Centred:
    """Rows as given, the same about a centre in the dtype of their products, and the squared norms of the latter."""

    rows: Float[Tensor, "n d"]
    centred: Float[Tensor, "n d"]
    norms: Float[Tensor, " n"]

    def part(self, start: int, stop: int) -> "Centred":
        return Centred(self.rows[start:stop], self.centred[start:stop], self.norms[start:stop])


def about(centre: Float[Tensor, " d"], rows: Float[Tensor, "n d"], dtype: torch.dtype) -> Centred:
    """Centres rows, since products of smaller numbers lose fewer digits to cancellation.

    Raises:
        LostScore: a squared distance may overflow, or vanishes.
    """
    centred = (rows.double() - centre).to(dtype)
    squares = centred.double().square().sum(dim=1)
    number = torch.finfo(torch.float64)
    if squares.amax() < number.tiny / number.eps and centred.any():
        raise LostScore("squared distances of these features underflow float64: rescale the features")
    norms = squares.to(dtype)
    if not torch.isfinite(4 * norms).all():
        raise LostScore(f"squared distances of these features overflow {dtype}: rescale the features")
    return Centred(rows, centred, norms)


def distance_bounds(block: Centred, others: Centred) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n"]]:
    """Computes bounds of squared distances between which the true ones lie: |x|² + |y|² − 2x·y ± (d + 8)ε(|x|² + |y|²).

    With unit roundoff u = ε/2 and |x||y| ≤ (|x|² + |y|²)/2, the product of d terms is off by at most du(|x|² + |y|²),
    in any order of summation (Higham 2002, §3.1). The rounding of rows about their centre, of norms and of the final
    sums adds less than 16u, and a matrix product that adds its partial sums to the norms, block by block, less than du.
    Products that underflow are off by less than the smallest normal number each. All this holds for products in full
    precision, torch's default.
    """
    d, number = block.centred.shape[1], torch.finfo(block.centred.dtype)
    margin, underflow = (d + 8) * number.eps, 8 * d * number.tiny
    wide = ((1 - margin) * others.norms - underflow).expand(len(block.norms), -1)
    low = torch.addmm(wide, block.centred, others.centred.T, alpha=-2)
    low += (1 - margin) * block.norms[:, None]
    high = (2 * margin * others.norms + 2 * underflow).expand_as(low) + 2 * margin * block.norms[:, None]
    return low, high.add_(low)


Bounds = tuple[Float[Tensor, "b n"], Float[Tensor, "b n"]]


def exact_distances(
    block: Centred, others: Centred, i: Int64[Tensor, " p"], j: Int64[Tensor, " p"]
) -> Float[Tensor, " p"]:
    """Computes squared distances of pairs of rows from their differences in float64."""
    size = max(1, PAIRS // block.rows.shape[1])
    distances = [
        (block.rows[a].double() - others.rows[b].double()).square().sum(dim=1)
        for a, b in zip(i.split(size), j.split(size), strict=True)
    ]
    return torch.cat(distances)


def within(limit: Float[Tensor, "*b #n"], bounds: Bounds, block: Centred, others: Centred) -> Bool[Tensor, "b n"]:
    """Returns whether squared distances are at most a limit; computes those that their bounds leave open."""
    low, high = bounds
    rounded = limit.to(low.dtype)  # the bounds allow for this rounding
    inside = low <= rounded
    i, j = (inside & (high > rounded)).nonzero(as_tuple=True)
    inside[i, j] = exact_distances(block, others, i, j) <= limit.expand_as(low)[i, j]
    return inside


def squared_radii(
    side: Centred, weights: Float[Tensor, "n k"], neighbours: int, block_size: int
) -> Float[Tensor, "n k"]:
    """Computes each row's squared radius as `precision_recall` defines it; −∞ for rows without weight.

    A radius is one of the distances, and grows with each of them: it is at most the radius of their upper bounds, and a
    row whose lower bound lies above that is not in the neighbourhood. Most neighbourhoods are found like this among the
    NEAREST rows.

    Args:
        weights: self-normalised.
    """
    goals = neighbours / (weights > 0).sum(dim=0).double() * (1 - ROUNDING)
    radii = torch.full_like(weights, -torch.inf)
    rows = max(1, block_size // len(weights))
    for start in range(0, len(weights), rows):
        block = side.part(start, start + rows)
        bounds = distance_bounds(block, side)
        for bound in bounds:
            bound[:, start : start + rows].fill_diagonal_(torch.inf)  # a row is not its own neighbour
        low, high = bounds
        nearest, order = low.topk(min(NEAREST, len(weights) - 1), largest=False)
        upper = high.gather(1, order)
        for column, (own, goal) in enumerate(zip(weights.T, goals, strict=True)):
            most, reached = reach(upper, own[order], goal)
            chosen = nearest <= most[:, None]
            i, place = chosen.nonzero(as_tuple=True)
            distances = torch.full_like(nearest, torch.inf, dtype=torch.float64)
            distances[i, place] = exact_distances(block, side, i, order[i, place])
            found, _ = reach(distances, own[order], goal)
            unsettled = (~reached | chosen[:, -1]).nonzero().squeeze(1)
            if len(unsettled):
                found[unsettled] = radii_among_all(low[unsettled], high[unsettled], block, unsettled, side, own, goal)
            radii[start : start + rows, column] = found
    return radii.masked_fill_(weights == 0, -torch.inf)


def radii_among_all(
    low: Float[Tensor, "b n"],
    high: Float[Tensor, "b n"],
    block: Centred,
    rows: Int64[Tensor, " b"],
    side: Centred,
    weights: Float[Tensor, " n"],
    goal: Float[Tensor, ""],
) -> Float[Tensor, " b"]:
    """Computes the radii of those rows of a block whose nearest rows do not determine them.

    A radius lies between that of the lower and that of the upper bounds. Only distances that may lie there are
    computed; for the others a bound suffices, which lies on the same side of the radius.
    """
    least, most = (reach(bound, weights.expand_as(bound), goal)[0][:, None] for bound in (low, high))
    i, j = ((high >= least) & (low <= most) & low.isfinite()).nonzero(as_tuple=True)
    distances = low.double()
    distances[i, j] = exact_distances(block, side, rows[i], j)
    return reach(distances, weights.expand_as(distances), goal)[0]


def reach(
    distances: Float[Tensor, "b n"], weights: Float[Tensor, "b n"], goal: Float[Tensor, ""]
) -> tuple[Float[Tensor, " b"], Bool[Tensor, " b"]]:
    """Finds the smallest distance within which the weights reach their goal, and whether they do; if not, the largest
    to a row with any weight. Infinite distances do not count."""
    far, order = distances.sort(dim=1)
    mass = weights.gather(1, order).masked_fill_(far.isinf(), 0.0).cumsum(dim=1)
    enough = (mass >= goal) | (mass == mass[:, -1:])
    return far.gather(1, enough.int().argmax(dim=1, keepdim=True)).squeeze(1), mass[:, -1] >= goal


class PrecisionRecall(RowsMetric):
    """Weighted precision, recall, density and coverage: `precision_recall` of all rows seen.

    Their order and batches do not matter. It keeps the features in memory, in the given dtype.

    Args:
        num_features: d.
        num_weightings: k, the number of weightings, served by one pass over the distances.
        neighbours: k of the definition; the papers use 3 for precision and recall, 5 for density and coverage.
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
