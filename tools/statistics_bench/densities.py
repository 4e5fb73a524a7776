"""Densities that can be sampled and evaluated."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


class Normals:
    """A mixture of normal distributions, each with a covariance σ²(1 − ρ) I + σ²ρ 11ᵀ.

    Args:
        means: of the components; a number stands for that value in every coordinate.
        scales, correlations: one a component; proportions: they sum to 1.
    """

    def __init__(
        self,
        d: int,
        means: Sequence[float | Sequence[float]] = (0.0,),
        scales: Sequence[float] = (1.0,),
        proportions: Sequence[float] = (1.0,),
        correlations: Sequence[float] = (0.0,),
    ) -> None:
        def wide(values: Sequence[float]) -> Sequence[float]:
            return list(values) * len(means) if len(values) < len(means) else list(values)

        self.means = torch.stack([torch.as_tensor(m, dtype=torch.float64).expand(d) for m in means])
        self.proportions = torch.tensor(wide(proportions), dtype=torch.float64)
        eye, ones = torch.eye(d, dtype=torch.float64), torch.ones(d, d, dtype=torch.float64)
        covariances = [
            s**2 * ((1 - rho) * eye + rho * ones) for s, rho in zip(wide(scales), wide(correlations), strict=True)
        ]
        self.roots = torch.linalg.cholesky(torch.stack(covariances))

    def sample(self, n: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
        chosen = torch.multinomial(self.proportions, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.means.shape[1], dtype=torch.float64, generator=generator)
        x = torch.empty_like(noise)
        for k, (mean, root) in enumerate(zip(self.means, self.roots, strict=True)):
            rows = chosen == k
            x[rows] = mean + noise[rows] @ root.T
        return x

    def log_density(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        normals = torch.distributions.MultivariateNormal(self.means, scale_tril=self.roots)
        return torch.logsumexp(normals.log_prob(x[:, None]) + self.proportions.log(), dim=1)


class Students:
    """Independent Student t coordinates."""

    def __init__(self, d: int, degrees: float, scale: float = 1.0) -> None:
        self.d, self.degrees, self.scale = d, degrees, scale

    def sample(self, n: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
        normal = torch.randn(n, self.d, dtype=torch.float64, generator=generator)
        # χ²(ν) = 2·Gamma(ν/2): a sum of squares for the whole ν used here
        squares = torch.randn(n, self.d, int(self.degrees), dtype=torch.float64, generator=generator).square().sum(2)
        return self.scale * normal / (squares / self.degrees).sqrt()

    def log_density(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        t = torch.distributions.StudentT(torch.tensor(self.degrees, dtype=torch.float64))
        return (t.log_prob(x / self.scale) - math.log(self.scale)).sum(1)


Density = Normals | Students
