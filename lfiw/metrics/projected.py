"""Fréchet distances of one sample to a reference under many weightings, which share what does not depend on weights."""

from collections.abc import Callable
from functools import cached_property

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lfiw.metrics.frechet import (
    FrechetReference,
    add_upper_product,
    require_digits,
    require_finite,
    row_blocks,
    squared_distance,
)
from lfiw.metrics.weighted_metric import (
    check_features,
    check_same_width,
    normalised_columns,
    reliability_correction,
    weight_columns,
)

MOST_BYTES = 2**31  # of projected rows; of more rows the projection would save little of the time and take much memory
CANCELLED = 1e-3  # part of the mean square about the sample's centre that must be variance


class ProjectedSample:
    """Rows in a reference's coordinates: a distance under other weights then costs one product of them.

    With Σ_r = RRᵀ, tr(Σ_rΣ_g)^½ is the sum of the roots of the eigenvalues of RᵀΣ_gR, the weighted covariance of the
    projected rows Rᵀ(f − c), where c is the rows' mean. They are computed once. So is, for parts of one weighted
    sample, the product of all its rows: a part lacks that of the rows outside, which are the fewer.

    Args:
        reference: the other side.
        features: shape (n, d), any floating dtype.

    Raises:
        InputError: a value is not finite, or the sides differ in their number of columns.
    """

    def __init__(self, reference: FrechetReference, features: Float[Tensor, "n d"]) -> None:
        check_features(features, name="sample features")
        check_same_width(reference.centre[None], features)
        self.reference, self.features = reference, features
        self.is_small = 8 * len(features) * reference.root.shape[1] <= MOST_BYTES
        self.centre = features.mean(dim=0, dtype=torch.float64)
        self.offset = self.centre - reference.centre - reference.mean

    @cached_property
    def projected(self) -> Float[Tensor, "n rank"]:
        """Rᵀ(f − c) per row."""
        blocks = [self._centred(rows) @ self.reference.root for rows in row_blocks(len(self.features))]
        return torch.cat(blocks)

    @cached_property
    def squares(self) -> Float[Tensor, " n"]:
        """|f − c|² per row."""
        return torch.cat([self._centred(rows).square().sum(1) for rows in row_blocks(len(self.features))])

    def _centred(self, rows: slice | Int64[Tensor, " _"]) -> Float[Tensor, "_ d"]:
        return self.features[rows].double() - self.centre

    def distances(self, weights: Float[Tensor, "n k"]) -> Float[Tensor, " k"]:
        """Computes `frechet_distance` to the reference under each column of weights.

        Args:
            weights: non-negative, any scale.

        Raises:
            InputError: a weight is negative, or fewer than two rows carry weight.
        """
        columns, place = torch.unique(weight_columns(weights, self.features), dim=1, return_inverse=True)
        if not self.is_small:
            return torch.stack([self._from_scratch(column) for column in columns.T])[place]
        normalised = normalised_columns(columns, "sample")
        means = self.sums(normalised, torch.arange(len(self.features))).T
        return torch.stack([self._distance(w, mean) for w, mean in zip(normalised.T, means, strict=True)])[place]

    def parts(self, weights: Float[Tensor, " n"]) -> Callable[[Int64[Tensor, " _"]], Float[Tensor, ""]]:
        """Returns a function of row numbers: the distance of these rows under their weights.

        Args:
            weights: of all rows, non-negative, any scale.
        """
        if not self.is_small:
            return lambda rows: self.reference.distance(self.features[rows], weights[rows])
        column = normalised_columns(weight_columns(weights, self.features), "sample")[:, 0]
        return _Parts(self, column).distance

    def _from_scratch(self, weights: Float[Tensor, " n"]) -> Float[Tensor, ""]:
        return self.reference.distance(self.features, weights)

    def sums(self, weights: Float[Tensor, "n k"], rows: Int64[Tensor, " _"]) -> Float[Tensor, "d k"]:
        """Computes Σ wᵢ(fᵢ − c) over some rows."""
        total = weights.new_zeros(self.features.shape[1], weights.shape[1])
        for block in row_blocks(len(rows)):
            total += self._centred(rows[block]).T @ weights[rows[block]]
        return total

    def _distance(self, weights: Float[Tensor, " n"], mean: Float[Tensor, " d"]) -> Float[Tensor, ""]:
        correction = reliability_correction(weights.sum()[None], weights.square().sum()[None], "sample")
        square = weights @ self.squares
        spread = square - mean.square().sum()
        if spread < CANCELLED * square or (weights > 0).sum() < self.features.shape[1]:
            return self._from_scratch(weights)
        product = self.product(weights, mean @ self.reference.root, torch.arange(len(weights))) / correction
        return self.distance_of(mean, spread / correction[0], product)

    def product(
        self, weights: Float[Tensor, " n"], centre: Float[Tensor, " rank"], rows: Int64[Tensor, " _"]
    ) -> Float[Tensor, "rank rank"]:
        """Computes the blocks on and above the diagonal of Σ wᵢ(zᵢ − centre)(zᵢ − centre)ᵀ over projected rows z."""
        total = centre.new_zeros(len(centre), len(centre))
        for block in row_blocks(len(rows)):
            chosen = rows[block]
            scaled = (self.projected[chosen] - centre).mul_(weights[chosen].sqrt()[:, None])
            add_upper_product(total, scaled, scaled)
        return total

    def distance_of(
        self, mean: Float[Tensor, " d"], trace: Float[Tensor, ""], covariance: Float[Tensor, "rank rank"]
    ) -> Float[Tensor, ""]:
        """Computes the distance from moments: the mean about c, the trace of Σ_g, and RᵀΣ_gR, its upper triangle.

        Raises:
            LostScore: products overflowed.
        """
        require_finite(covariance)
        of_reference = self.reference.root.square().sum()
        require_digits(of_reference, trace)
        singular = torch.linalg.eigvalsh(covariance, UPLO="U").clamp(min=0).sqrt()
        trace = trace + of_reference
        return squared_distance(mean + self.offset, trace, singular.sum())


class _Parts:
    """One weighted sample, whose parts are compared with the reference; w̄ are its self-normalised weights."""

    def __init__(self, sample: ProjectedSample, weights: Float[Tensor, " n"]) -> None:
        self.sample, self.weights = sample, weights
        everything = torch.arange(len(weights))
        self.mean = sample.sums(weights[:, None], everything)[:, 0]
        self.projected_mean = self.mean @ sample.reference.root
        self.square = weights @ sample.squares
        self.product = sample.product(weights, self.projected_mean, everything)

    def distance(self, rows: Int64[Tensor, " _"]) -> Float[Tensor, ""]:
        """Computes the distance of some rows, from all rows and those outside."""
        is_outside = torch.ones_like(self.weights, dtype=torch.bool)
        is_outside[rows] = False
        inside, outside = self.weights[rows], is_outside.nonzero().squeeze(1)
        share = inside.sum()
        few = (inside > 0).sum() < len(self.mean)
        if few or len(outside) > len(rows) or share < 0.5:  # a part with little of the weight would be all rounding
            return self.sample.reference.distance(self.sample.features[rows], inside)
        column = self.weights[:, None]
        mean = (self.mean - self.sample.sums(column, outside)[:, 0]) / share
        square = (self.square - self.weights[outside] @ self.sample.squares[outside]) / share
        spread = square - mean.square().sum()
        if spread < CANCELLED * square:
            return self.sample.reference.distance(self.sample.features[rows], inside)
        product = (self.product - self.sample.product(self.weights, self.projected_mean, outside)) / share
        shift = mean @ self.sample.reference.root - self.projected_mean
        correction = 1 - (inside / share).square().sum()
        return self.sample.distance_of(mean, spread / correction, (product - torch.outer(shift, shift)) / correction)
