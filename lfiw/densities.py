"""Densities that are known: a mixture of two Gaussians, and the one Gaussian fitted to its samples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from scipy.special import gammaln, hyp1f1, ndtr
from torch import Tensor
from torch.distributions import MultivariateNormal

from lfiw.errors import InputError


@dataclass(frozen=True)
class Mixture:
    """Σ_k π_k N(μ_k, s_k² I) in d dimensions, float64.

    Args:
        means: μ_k, each of length d; two components.
        scales: s_k > 0.
        proportions: π_k, summing to 1.
        valley: half-width of the slab half-way between the two modes, across the line that joins them.

    Raises:
        InputError: lengths that do not fit together, or values outside their range.
    """

    means: Sequence[Sequence[float]]
    scales: Sequence[float]
    proportions: Sequence[float]
    valley: float

    def __post_init__(self) -> None:
        sizes = {len(mean) for mean in self.means}
        if len(self.means) != 2 or len(sizes) != 1 or not len(self.means) == len(self.scales) == len(self.proportions):
            raise InputError(
                f"a toy case needs two means of one length, two scales and two proportions, not means={self.means}, "
                f"scales={self.scales}, proportions={self.proportions}"
            )
        if min(self.scales) <= 0 or min(self.proportions) < 0 or abs(sum(self.proportions) - 1) > 1e-9:
            raise InputError(f"scales={self.scales} must be positive, proportions={self.proportions} sum to 1")
        if self.means[0] == self.means[1] or self.valley <= 0:
            raise InputError(f"the two means must differ and valley={self.valley} be positive")

    @property
    def dimension(self) -> int:
        return len(self.means[0])

    def sample(self, num: int, generator: torch.Generator) -> Float[Tensor, "num d"]:
        component = torch.multinomial(self._tensor(self.proportions), num, replacement=True, generator=generator)
        noise = torch.randn(num, self.dimension, dtype=torch.float64, generator=generator)
        return self._tensor(self.means)[component] + self._tensor(self.scales)[component, None] * noise

    def log_density(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        scales = self._tensor(self.scales)
        square = (x[:, None, :] - self._tensor(self.means)).square().sum(-1) / scales.square()
        log_normal = -0.5 * square - self.dimension * (scales.log() + 0.5 * math.log(2 * math.pi))
        return torch.logsumexp(log_normal + self._tensor(self.proportions).log(), dim=1)

    @property
    def mean(self) -> Float[Tensor, " d"]:
        return (self._tensor(self.proportions)[:, None] * self._tensor(self.means)).sum(0)

    def in_valley(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, " n"]:
        """Whether a point lies in the slab between the modes."""
        direction, middle = self._axis()
        return ((x - middle) @ direction).abs() < self.valley

    def valley_probability(self) -> float:
        """P(x in the slab): along the line between the modes each component is a one-dimensional Gaussian."""
        direction, middle = self._axis()
        total = 0.0
        for mean, scale, share in zip(self._tensor(self.means), self.scales, self.proportions, strict=True):
            offset = float((mean - middle) @ direction)
            total += share * float(ndtr((self.valley - offset) / scale) - ndtr((-self.valley - offset) / scale))
        return total

    def distance(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """|x − μ|, from the mean of the mixture."""
        return (x - self.mean).norm(dim=1)

    def mean_distance(self) -> float:
        """E|x − μ|: a component's distance is s times a noncentral χ variable of d degrees of freedom, whose mean is

        √2 Γ((d+1)/2)/Γ(d/2) · ₁F₁(−1/2; d/2; −λ²/2), with λ = |μ_k − μ|/s_k (Park 1961).
        """
        d, total = self.dimension, 0.0
        factor = math.sqrt(2) * math.exp(gammaln((d + 1) / 2) - gammaln(d / 2))
        for mean, scale, share in zip(self._tensor(self.means), self.scales, self.proportions, strict=True):
            noncentrality = float((mean - self.mean).norm()) / scale
            total += share * scale * factor * float(hyp1f1(-0.5, d / 2, -(noncentrality**2) / 2))
        return total

    def _axis(self) -> tuple[Tensor, Tensor]:
        first, second = self._tensor(self.means)
        return (second - first) / (second - first).norm(), (first + second) / 2

    @staticmethod
    def _tensor(values: Sequence[float] | Sequence[Sequence[float]]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)


class FittedGaussian:
    """The Gaussian with the mean and covariance (maximum likelihood) of samples."""

    def __init__(self, samples: Float[Tensor, "n d"]) -> None:
        centred = samples - samples.mean(0)
        self.mean = samples.mean(0)
        self.scale = torch.linalg.cholesky(centred.T @ centred / len(samples))

    def sample(self, num: int, generator: torch.Generator) -> Float[Tensor, "num d"]:
        noise = torch.randn(num, len(self.mean), dtype=torch.float64, generator=generator)
        return self.mean + noise @ self.scale.T

    def log_density(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return MultivariateNormal(self.mean, scale_tril=self.scale).log_prob(x)
