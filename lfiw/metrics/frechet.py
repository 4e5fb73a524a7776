"""Fréchet distance between weighted samples: of two feature matrices, or streamed batch by batch."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from lfiw.errors import InputError, LostScore
from lfiw.metrics.weighted_metric import (
    TwoSidedMetric,
    agree_on_maximum,
    check_features,
    check_same_width,
    normalised_columns,
    reliability_correction,
    weight_columns,
    with_weight,
)

_ROW_BLOCK = 4096  # rows converted to float64 at a time, which bounds the additional memory
_FIRST_ROWS = 64  # their mean is close enough to all rows
_LOST = 1e-6  # if rounding exceeds this part of a score and of the variances it compares, the score is lost
_COLUMN_BLOCK = 256  # columns of a symmetric product computed at a time: small enough to skip most of one triangle


def weighted_moments(
    features: Float[Tensor, "n d"],
    weights: Float[Tensor, " n"] | None = None,
    centre: Float[Tensor, " d"] | None = None,
) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"]]:
    """Returns mean and unbiased covariance of weighted samples, in float64.

    μ = Σ w̄ᵢfᵢ and Σ = Σ w̄ᵢ(fᵢ−μ)(fᵢ−μ)ᵀ / (1 − Σ w̄²) with w̄ = w/Σw, as `numpy.cov(aweights=w)`; uniform weights
    give the usual division by n − 1. Centred before squaring, so a large common offset costs no digits.

    Args:
        features: any floating dtype.
        weights: non-negative, any scale; None is uniform.
        centre: origin of the mean, for features so far from zero that the difference of two means would lose digits;
            None is zero.

    Raises:
        InputError: a value is not finite, a weight is negative, fewer than two rows carry weight, or products of the
            features overflow.
    """
    sample = _weighted_sample(features, weights, "sample", centre)
    return sample.mean if centre is not None else sample.centre + sample.mean, sample.covariance()


def frechet_distance(
    mean_a: Float[Tensor, " d"],
    cov_a: Float[Tensor, "d d"],
    mean_b: Float[Tensor, " d"],
    cov_b: Float[Tensor, "d d"],
) -> Float[Tensor, ""]:
    """Returns the squared Fréchet distance of two normal distributions, in float64 (Heusel et al. 2017, eq. 6).

    |μₐ−μ_b|² + tr(Σₐ + Σ_b − 2(ΣₐΣ_b)^½). With Σₐ = RRᵀ the eigenvalues of ΣₐΣ_b are those of the symmetric RᵀΣ_bR:
    real, and several times faster to compute than those of the product. Eigenvalues that rounding makes negative are 0.

    Args:
        mean_a, mean_b: means.
        cov_a, cov_b: symmetric, positive semi-definite up to rounding.

    Raises:
        InputError: the shapes do not fit one another, or a value is not finite.
    """
    d = len(mean_a)
    for name, tensor, shape in (
        ("mean_a", mean_a, (d,)),
        ("cov_a", cov_a, (d, d)),
        ("mean_b", mean_b, (d,)),
        ("cov_b", cov_b, (d, d)),
    ):
        if tuple(tensor.shape) != shape:
            raise InputError(f"{name} has shape {tuple(tensor.shape)}, expected {shape}: use one extractor for both")
        if not torch.isfinite(tensor).all():
            raise InputError(f"{name} contains NaN or infinite values, expected finite ones: check the features")
    return _distance_from_root(mean_a.double(), _covariance_root(cov_a.double()), mean_b.double(), cov_b.double())


def frechet_distance_from_features(
    real: Float[Tensor, "n d"],
    generated: Float[Tensor, "m d"],
    real_weights: Float[Tensor, " n"] | None = None,
    generated_weights: Float[Tensor, " m"] | None = None,
) -> Float[Tensor, ""]:
    """Returns the squared Fréchet distance of the moments of two weighted samples, in float64.

    Equals `frechet_distance` of the `weighted_moments`. With X the rows √(w̄/(1 − Σw̄²))·(f−μ) of one side, so that
    Σ = XᵀX, and Y those of the other, tr(ΣₐΣ_b)^½ is the nuclear norm of XYᵀ. If a side has fewer rows than
    dimensions, that matrix is small: no d × d matrix is formed, and the singular covariance adds no rounding noise.

    Args:
        real, generated: any floating dtype.
        real_weights, generated_weights: non-negative, any scale; None is uniform.

    Raises:
        InputError: a value is not finite, a weight is negative, fewer than two rows of a side carry weight, or the
            sides differ in their number of columns.
    """
    a = _weighted_sample(real, real_weights, "real")
    check_features(generated, name="generated features")
    check_same_width(real, generated)
    b = _weighted_sample(generated, generated_weights, "generated", a.centre)
    few, many = (a, b) if len(a.features) <= len(b.features) else (b, a)
    d = real.shape[1]
    if len(few.features) >= d:
        return frechet_distance(a.mean, a.covariance(), b.mean, b.covariance())
    if len(many.features) < d:
        return _distance_of_roots(few.mean, few.root(), many.mean, many.root())

    few_root = few.root()
    trace = few_root.square().sum()
    gram = few_root.new_zeros(len(few.features), len(few.features))
    for rows in many.row_blocks():
        trace += rows.square().sum()
        cross = rows @ few_root
        add_upper_product(gram, cross, cross)
    require_finite(gram)
    require_digits(few_root.square().sum(), trace - few_root.square().sum())
    nuclear_norm = torch.linalg.eigvalsh(gram, UPLO="U").clamp(min=0).sqrt().sum()
    return squared_distance(a.mean - b.mean, trace, nuclear_norm)


class FrechetReference:
    """One sample's moments, computed once for the distances of many others to it; `mean` is relative to `centre`.

    Args:
        features: shape (n, d), any floating dtype.
        weights: shape (n,), non-negative, any scale; None is uniform.

    Raises:
        InputError: as `weighted_moments`.
    """

    def __init__(self, features: Float[Tensor, "n d"], weights: Float[Tensor, " n"] | None = None) -> None:
        sample = _weighted_sample(features, weights, "reference")
        self.centre, self.mean = sample.centre, sample.mean
        few = len(sample.features) < features.shape[1]
        self.root = sample.root() if few else _covariance_root(sample.covariance())

    def distance(self, features: Float[Tensor, "m d"], weights: Float[Tensor, " m"] | None = None) -> Float[Tensor, ""]:
        """`frechet_distance` to the moments of another weighted sample, in float64."""
        check_features(features, name="sample features")
        check_same_width(self.centre[None], features)
        sample = _weighted_sample(features, weights, "sample", self.centre)
        if len(sample.features) >= features.shape[1]:
            return _distance_from_root(self.mean, self.root, sample.mean, sample.covariance())
        return _distance_of_roots(self.mean, self.root, sample.mean, sample.root())


class FrechetDistance(TwoSidedMetric):
    """Weighted Fréchet distance (FID when the features are Inception's), streamed in constant memory.

    `frechet_distance` of the `weighted_moments` of the real and the generated rows (Heusel et al. 2017; weights as in
    Grover et al. 2019). The states are float64 sums Σw, Σw², Σwx, Σwxxᵀ of x = f − c, so batches and processes add up.
    The centre c is the mean of the first batch that has weight, of either side: features far from zero keep their
    digits. Processes and merged metrics with other centres are moved to a common one.

    Args:
        num_features: d.
        num_weightings: k, the number of weightings of the generated rows; memory is at most 8·k·d² bytes per side.
        metric_options: the options of `torchmetrics.Metric`.

    Raises:
        InputError: an argument is out of its range.

    Example:
        >>> fid = FrechetDistance(num_features=2)
        >>> fid.update(torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]]), real=True)
        >>> fid.update(torch.tensor([[1.0, 1.0], [3.0, 1.0], [1.0, 3.0]]), real=False)
        >>> round(fid.compute().item(), 6)
        2.0
    """

    higher_is_better = False
    plot_lower_bound = 0.0

    real_weight: Tensor
    centre: Tensor

    def __init__(self, num_features: int, num_weightings: int = 1, **metric_options: Any) -> None:
        super().__init__(num_features, num_weightings, **metric_options)
        # Real rows are usually shared by all weightings: one copy of their sums, k only once weights (n, k) come.
        for side, copies in (("real", 1), ("generated", num_weightings)):
            for name, shape in (
                ("weight", (copies,)),
                ("weight_square", (copies,)),
                ("sum", (copies, num_features)),
                ("product", (copies, num_features, num_features)),  # upper block triangles only
                ("uniform_rows", ()),
            ):
                state = torch.zeros(shape, dtype=torch.float64)
                self.add_state(f"{side}_{name}", state, dist_reduce_fx="sum")
        unknown = torch.full((num_features,), torch.nan, dtype=torch.float64)
        self.add_state("centre", unknown, dist_reduce_fx=_first_known)

    def _add_rows(self, side: str, rows: Float[Tensor, "n d"], weights: Tensor | None) -> None:
        """Adds the rows; raises InputError if the square of a weight overflows."""
        rows = rows.double()
        columns = weight_columns(weights, rows, self.num_weightings)
        if weights is not None:
            weight_square = columns.square().sum(dim=0)
            if not torch.isfinite(weight_square).all():
                raise InputError(
                    f"the squares of the weights overflow float64 (largest weight {columns.max().item():.6g}): "
                    "divide the weights by their maximum"
                )
        shares = columns.sum(dim=1)
        if not (shares > 0).any():
            return
        if self.centre[0].isnan():
            self.centre = (shares / shares.sum()) @ rows
        rows = rows - self.centre
        if weights is None:
            self._add(f"{side}_uniform_rows", rows.new_tensor(len(rows)))
        else:
            self._prepare_for(side, columns.shape[1])
            self._add(f"{side}_weight", columns.sum(dim=0))
            self._add(f"{side}_weight_square", weight_square)
        self._add(f"{side}_sum", columns.T @ rows)

        products = self._writable_products(side)
        columns = columns.expand(-1, len(products))
        for product, weight in zip(products, columns.T, strict=True):
            add_upper_product(product, rows * weight[:, None], rows)

    def compute(self) -> Float[Tensor, "*k"]:
        """Returns the squared distance of each weighting.

        Returns:
            A float64 scalar, or shape (num_weightings,) for more than one.

        Raises:
            InputError: a side has no weight or only one row.
            LostScore: sums overflowed, or cancelled.
        """
        real = self._moments("real", 0)
        real_root = _covariance_root(real.covariance)
        distances = []
        for weighting in range(self.num_weightings):
            if weighting > 0 and len(self.real_weight) > 1:
                real = self._moments("real", weighting)
                real_root = _covariance_root(real.covariance)
            generated = self._moments("generated", weighting)
            distance = _distance_from_root(real.mean, real_root, generated.mean, generated.covariance)
            self._check_digits(distance, real, generated)
            distances.append(distance)
        return self._per_weighting(torch.stack(distances))

    def _add(self, name: str, increment: Tensor) -> None:
        setattr(self, name, getattr(self, name) + increment)

    def _prepare_for(self, side: str, num_columns: int) -> None:
        """Gives each weighting its own sums of a side whose sums were shared."""
        if num_columns <= len(getattr(self, f"{side}_weight")):
            return
        for name in ("weight", "weight_square", "sum", "product"):
            shared = getattr(self, f"{side}_{name}")
            setattr(self, f"{side}_{name}", shared.expand(num_columns, *shared.shape[1:]).clone())

    def _writable_products(self, side: str) -> Float[Tensor, "copies d d"]:
        products: Tensor = getattr(self, f"{side}_product")
        # After a reset under inference_mode the state may not be written outside it; a copy may.
        if products.is_inference() and not torch.is_inference_mode_enabled():
            products = products.clone()
            setattr(self, f"{side}_product", products)
        return products

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Adds the sums of another metric of this kind, whatever its centre."""
        state: dict[str, Any] = incoming_state.metric_state if isinstance(incoming_state, Metric) else incoming_state
        self._recentre(_first_known(torch.stack([state["centre"], self.centre])))
        super().merge_state(incoming_state)

    def _recentre(self, centre: Float[Tensor, " d"]) -> None:
        """Turns the sums into those about another centre: with c − c′ = δ, Σwx becomes Σwx + δΣw, and so on."""
        shift = (self.centre - centre).nan_to_num()  # no rows yet, no sums: nothing to shift
        self.centre = centre
        if not shift.any():
            return
        for side in ("real", "generated"):
            weight = getattr(self, f"{side}_weight") + getattr(self, f"{side}_uniform_rows")
            outer = getattr(self, f"{side}_sum")[:, :, None] * shift
            self._add(f"{side}_product", outer + outer.mT + weight[:, None, None] * torch.outer(shift, shift))
            self._add(f"{side}_sum", weight[:, None] * shift)

    def _check_digits(self, distance: Float[Tensor, ""], real: "Moments", generated: "Moments") -> None:
        """Raises LostScore if the sums cancelled so far that rounding dominates the result."""
        eps = torch.finfo(torch.float64).eps
        left = real.covariance.trace() + generated.covariance.trace()
        smallest = (eps * self.centre).square().sum()  # equal rows differ from their centre by its rounding
        if eps * (real.size + generated.size) > _LOST * (torch.maximum(distance, left) + smallest):
            raise LostScore(
                "the sums cancelled, for the first batch lies far from the rows that have the weight: "
                "update with other rows first"
            )

    def _moments(self, side: str, weighting: int) -> "Moments":
        at = slice(weighting, weighting + 1)
        uniform_rows = getattr(self, f"{side}_uniform_rows")
        weight = getattr(self, f"{side}_weight")[at] + uniform_rows
        correction = reliability_correction(weight, getattr(self, f"{side}_weight_square")[at] + uniform_rows, side)
        mean = getattr(self, f"{side}_sum")[weighting] / weight
        covariance = _mirror_upper(getattr(self, f"{side}_product")[weighting] / weight)
        size = covariance.trace()
        require_square(mean, size)
        covariance = covariance.sub_(torch.outer(mean, mean)).div_(correction)
        if not torch.isfinite(covariance.sum()):
            raise LostScore(
                f"the sums of the {side} features overflow float64: divide the weights by their maximum, "
                "or rescale the features"
            )
        return Moments(mean, covariance, size)

    def _sync_dist(self, dist_sync_fn: Callable = gather_all_tensors, process_group: Any = None) -> None:
        # A process whose real rows are shared must match one that has sums for each weighting.
        copies = agree_on_maximum(len(self.real_weight), self, dist_sync_fn, process_group)
        self._prepare_for("real", copies)
        self._recentre(_first_known(torch.stack(dist_sync_fn(self.centre, group=process_group or self.process_group))))
        super()._sync_dist(dist_sync_fn, process_group)


class Moments(NamedTuple):
    """Mean relative to the metric's centre, covariance, and the mean square from which the latter was computed."""

    mean: Float[Tensor, " d"]
    covariance: Float[Tensor, "d d"]
    size: Float[Tensor, ""]


class _WeightedSample(NamedTuple):
    """Rows with positive weight, their mean, and the factors √(w̄/(1 − Σw̄²)) that make a covariance of them.

    The mean is relative to the centre, a point near the rows.
    """

    features: Float[Tensor, "n d"]
    centre: Float[Tensor, " d"]
    mean: Float[Tensor, " d"]
    factors: Float[Tensor, "n 1"]

    def row_blocks(self) -> Iterator[Float[Tensor, "block d"]]:
        """Yields rows X such that XᵀX is the covariance, in float64."""
        for features, factors in zip(self.features.split(_ROW_BLOCK), self.factors.split(_ROW_BLOCK), strict=True):
            yield (features.double() - self.centre).sub_(self.mean).mul_(factors)

    def covariance(self) -> Float[Tensor, "d d"]:
        upper = self.mean.new_zeros(len(self.mean), len(self.mean))
        for rows in self.row_blocks():
            add_upper_product(upper, rows, rows)
        require_finite(upper)
        return _mirror_upper(upper)

    def root(self) -> Float[Tensor, "d n"]:
        """Returns R with RRᵀ the covariance."""
        return torch.cat(list(self.row_blocks())).T


def _weighted_sample(
    features: Tensor, weights: Tensor | None, side: str, centre: Tensor | None = None
) -> _WeightedSample:
    check_features(features, name=f"{side} features")
    features, columns = with_weight(features, weight_columns(weights, features, num_weightings=1))
    columns = normalised_columns(columns, side)
    correction = reliability_correction(columns.sum(dim=0), columns.square().sum(dim=0), side)
    if centre is None:
        centre = features[:_FIRST_ROWS].double().mean(dim=0)
    mean = columns.new_zeros(features.shape[1])
    for rows, weight in zip(features.split(_ROW_BLOCK), columns.split(_ROW_BLOCK), strict=True):
        mean += weight[:, 0] @ (rows.double() - centre)
    require_square(mean, mean.square().sum())
    return _WeightedSample(features, centre, mean, (columns / correction).sqrt())


def row_blocks(num: int) -> Iterator[slice]:
    """Yields the rows that are converted to float64 together."""
    return (slice(start, start + _ROW_BLOCK) for start in range(0, num, _ROW_BLOCK))


def add_upper_product(total: Float[Tensor, "d d"], left: Float[Tensor, "n d"], right: Float[Tensor, "n d"]) -> None:
    """Adds leftᵀ·right, known to be symmetric, to the blocks on and above the diagonal: about half the work."""
    for start in range(0, len(total), _COLUMN_BLOCK):
        total[start : start + _COLUMN_BLOCK, start:].addmm_(left[:, start : start + _COLUMN_BLOCK].T, right[:, start:])


def _mirror_upper(upper: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    return torch.triu(upper) + torch.triu(upper, diagonal=1).T


def _covariance_root(covariance: Float[Tensor, "d d"]) -> Float[Tensor, "d rank"]:
    """Finds R with RRᵀ = Σ: Cholesky's factor, or one from the eigendecomposition if Σ is singular."""
    root, failed = torch.linalg.cholesky_ex(covariance)
    if not failed:
        return root
    eigenvalues, eigenvectors = torch.linalg.eigh(covariance)
    kept = eigenvalues > eigenvalues[-1] * torch.finfo(torch.float64).eps  # the rest is rounding, often negative
    return eigenvectors[:, kept] * eigenvalues[kept].sqrt()


def _distance_from_root(
    mean_a: Float[Tensor, " d"],
    root_a: Float[Tensor, "d rank"],
    mean_b: Float[Tensor, " d"],
    cov_b: Float[Tensor, "d d"],
) -> Float[Tensor, ""]:
    """Computes `frechet_distance` with Σₐ given by its root, which serves many comparisons."""
    congruent = root_a.new_zeros(root_a.shape[1], root_a.shape[1])
    add_upper_product(congruent, root_a, cov_b @ root_a)
    require_finite(congruent)
    require_digits(root_a.square().sum(), cov_b.trace())
    trace_of_root = torch.linalg.eigvalsh(congruent, UPLO="U").clamp(min=0).sqrt().sum()
    trace = root_a.square().sum() + cov_b.trace()
    return squared_distance(mean_a - mean_b, trace, trace_of_root)


def _distance_of_roots(
    mean_a: Float[Tensor, " d"],
    root_a: Float[Tensor, "d rank_a"],
    mean_b: Float[Tensor, " d"],
    root_b: Float[Tensor, "d rank_b"],
) -> Float[Tensor, ""]:
    """Computes `frechet_distance` with both covariances given by their roots: no d × d matrix is formed."""
    trace = root_a.square().sum() + root_b.square().sum()
    cross = root_a.T @ root_b
    require_finite(trace)
    require_finite(cross)
    return squared_distance(mean_a - mean_b, trace, torch.linalg.svdvals(cross).sum())


def squared_distance(difference: Tensor, trace: Tensor, nuclear_norm: Tensor) -> Float[Tensor, ""]:
    """Computes |Δμ|² + tr(Σₐ + Σ_b) − 2 tr(ΣₐΣ_b)^½; 0 if only rounding makes it negative."""
    distance = difference.square().sum() + trace - 2 * nuclear_norm
    rounding = len(difference) * torch.finfo(torch.float64).eps ** 0.5 * trace  # singular values are roots of rounding
    return torch.where(distance.abs() <= rounding, distance.clamp(min=0), distance)


def _first_known(centres: Float[Tensor, "n d"]) -> Float[Tensor, " d"]:
    """Finds the first centre that is not NaN; NaN if all are."""
    return centres[int((~centres[:, 0].isnan()).int().argmax())]


def require_finite(product: Tensor) -> None:
    if not torch.isfinite(product.sum()):
        raise LostScore("products of the features overflow float64: rescale the features")


def require_square(mean: Float[Tensor, " d"], square: Float[Tensor, ""]) -> None:
    """Requires that squares of rows are within float64's normal numbers; `mean` is 0 where all rows are the centre."""
    number = torch.finfo(torch.float64)
    if square < number.tiny / number.eps and mean.any():
        raise LostScore("squares of the features underflow float64: rescale the features")


def require_digits(first: Float[Tensor, ""], second: Float[Tensor, ""]) -> None:
    """Requires that the product of two covariances, given their traces, is within float64's normal numbers."""
    number = torch.finfo(torch.float64)
    if first > 0 and second > 0 and first * second < number.tiny / number.eps:
        raise LostScore("products of the features underflow float64: rescale the features")
