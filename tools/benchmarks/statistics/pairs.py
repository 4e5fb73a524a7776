"""Pairs of densities that can be sampled and evaluated: what the data are and what the model makes of them, from no
error to a hopeless one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Case:
    """A data density p and a model density q in d dimensions."""

    name: str
    d: int
    p: Density
    q: Density


def build_cases() -> list[Case]:
    """All cases; a shift δ is the distance of the means, spread over the coordinates."""
    cases = [Case(f"same, {d}d", d, Normals(d), Normals(d)) for d in (1, 8, 64)]
    for d in (1, 2, 4, 8, 16, 32, 64):
        for shift in (0.5, 1.0, 2.0):
            cases.append(Case(f"shift {shift:g}, {d}d", d, Normals(d, [shift / d**0.5]), Normals(d)))
    for d in (1, 4, 16):
        cases.append(Case(f"model wider 1.3, {d}d", d, Normals(d), Normals(d, scales=[1.3])))
        cases.append(Case(f"model narrower 0.8, {d}d", d, Normals(d), Normals(d, scales=[0.8])))
    for d in (2, 8):
        cases.append(Case(f"correlation 0.7 lost, {d}d", d, Normals(d, correlations=[0.7]), Normals(d)))
    for d in (1, 2, 8):
        modes = [-2 / d**0.5, 2 / d**0.5]
        both = Normals(d, modes, proportions=[0.5, 0.5])
        cases.append(Case(f"proportions 0.9 for 0.5, {d}d", d, both, Normals(d, modes, proportions=[0.9, 0.1])))
        apart = [-4 / d**0.5, 4 / d**0.5]
        cases.append(Case(f"mode missing, {d}d", d, Normals(d, apart, proportions=[0.5, 0.5]), Normals(d, apart[:1])))
    for d in (1, 2):
        # the normal distribution of the same mean and covariance
        mixture = Normals(d, [-1.5 / d**0.5, 1.5 / d**0.5], scales=[0.7], proportions=[0.5, 0.5])
        spread, share = 0.49 + 2.25 / d, 2.25 / d
        fitted = Normals(d, scales=[spread**0.5], correlations=[share / spread if d > 1 else 0.0])
        cases.append(Case(f"normal for two modes, {d}d", d, mixture, fitted))
    for d in (1, 4):
        cases.append(Case(f"normal for t(3), {d}d", d, Students(d, 3), Normals(d)))
        cases.append(Case(f"t(3) for normal, {d}d", d, Normals(d), Students(d, 3)))
    # far from the data, where weights have heavy tails
    for d in (2, 16):
        for shift in (3.0, 4.0):
            cases.append(Case(f"shift {shift:g}, {d}d", d, Normals(d, [shift / d**0.5]), Normals(d)))
    for d in (4, 16):
        cases.append(Case(f"model narrower 0.6, {d}d", d, Normals(d), Normals(d, scales=[0.6])))
    for d in (4, 8):
        cases.append(Case(f"correlation 0.9 lost, {d}d", d, Normals(d, correlations=[0.9]), Normals(d)))
    cases.append(Case("near-perfect: shift 0.1, 8d", 8, Normals(8, [0.1 / 8**0.5]), Normals(8)))
    cases.append(Case("hopeless: shift 6, 8d", 8, Normals(8, [6 / 8**0.5]), Normals(8)))
    cases.append(Case("hopeless: narrower 0.5, 64d", 64, Normals(64), Normals(64, scales=[0.5])))
    return cases
