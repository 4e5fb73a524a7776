"""Pairs of a data density and a model density that can be sampled and evaluated, from equal to hopelessly far apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor


class Normals:
    """A mixture of normal distributions, each with a covariance σ²(1 − ρ) I + σ²ρ 11ᵀ.

    Args:
        means: of the components; a number stands for that value in every coordinate.
        scales, correlations: one per component.
        proportions: the components' shares, which sum to 1.
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


class Independent:
    """Independent coordinates, each from a discrete or continuous distribution of scipy.stats.

    Args:
        coordinates: one frozen distribution per coordinate.
    """

    def __init__(self, coordinates: Sequence[Any]) -> None:
        self.coordinates = list(coordinates)

    def sample(self, n: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
        random = numpy_generator(generator)
        columns = [coordinate.rvs(n, random_state=random) for coordinate in self.coordinates]
        return torch.from_numpy(np.stack(columns, axis=1).astype(np.float64))

    def log_density(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        terms = [
            coordinate.logpdf(column) if hasattr(coordinate.dist, "logpdf") else coordinate.logpmf(column)
            for coordinate, column in zip(self.coordinates, x.numpy().T, strict=True)
        ]
        return torch.from_numpy(np.sum(terms, axis=0))


class StudentVector:
    """A multivariate Student t: one χ² for all coordinates, so that an outlier is far out in each of them.

    Args:
        scale: 1/√(degrees/(degrees − 2)) gives unit variances.
    """

    def __init__(self, d: int, degrees: float) -> None:
        scale = (degrees - 2) / degrees
        self.distribution = stats.multivariate_t(np.zeros(d), np.eye(d) * scale, df=degrees)

    def sample(self, n: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
        rows = self.distribution.rvs(n, random_state=numpy_generator(generator))
        return torch.from_numpy(rows.reshape(n, -1))

    def log_density(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return torch.from_numpy(self.distribution.logpdf(x.numpy()).reshape(-1))


class ClaytonNormals:
    """Standard normal coordinates joined by a Clayton copula: they are dependent in their lower tails only.

    Density Π_k (1 + kθ) · (Π u)^−(θ+1) · (Σ u^−θ − d + 1)^−(d + 1/θ) of the coordinates' uniforms u (Clayton 1978).
    """

    def __init__(self, d: int, theta: float) -> None:
        self.d, self.theta = d, theta

    def sample(self, n: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
        random = numpy_generator(generator)
        frailty = random.gamma(1 / self.theta, size=(n, 1))
        uniform = (1 + random.exponential(size=(n, self.d)) / frailty) ** (-1 / self.theta)
        return torch.from_numpy(stats.norm.ppf(uniform))

    def log_density(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        log_u = stats.norm.logcdf(x.numpy())
        theta, d = self.theta, self.d
        log_copula = np.log1p(theta * np.arange(d)).sum() - (theta + 1) * log_u.sum(1)
        log_copula -= (d + 1 / theta) * np.log(np.exp(-theta * log_u).sum(1) - d + 1)
        return torch.from_numpy(log_copula + stats.norm.logpdf(x.numpy()).sum(1))


def numpy_generator(generator: torch.Generator) -> np.random.Generator:
    """Makes a NumPy generator, seeded by a torch one."""
    return np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))


Density = Normals | Independent | StudentVector | ClaytonNormals


@dataclass(frozen=True)
class Case:
    """A data density p and a model density q in d dimensions."""

    name: str
    d: int
    p: Density
    q: Density


def build_cases() -> list[Case]:
    """Returns all cases; a shift δ is the distance between the means, spread evenly over the coordinates."""
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
        # the normal distribution with the mixture's mean and covariance
        mixture = Normals(d, [-1.5 / d**0.5, 1.5 / d**0.5], scales=[0.7], proportions=[0.5, 0.5])
        spread, share = 0.49 + 2.25 / d, 2.25 / d
        fitted = Normals(d, scales=[spread**0.5], correlations=[share / spread if d > 1 else 0.0])
        cases.append(Case(f"normal for two modes, {d}d", d, mixture, fitted))
    for d in (1, 4):
        cases.append(Case(f"normal for t(3), {d}d", d, Independent([stats.t(3)] * d), Normals(d)))
        cases.append(Case(f"t(3) for normal, {d}d", d, Normals(d), Independent([stats.t(3)] * d)))
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
    return cases + adversarial_cases()


def adversarial_cases() -> list[Case]:
    """Returns pairs whose ratio is hard to learn, whose weights have heavy tails, or whose missing part is small."""
    cases = []
    for degrees in (5, 3):
        for d in (1, 3, 8):
            cases.append(Case(f"normal for joint t({degrees}), {d}d", d, StudentVector(d, degrees), Normals(d)))
    cases.append(Case("t(5) for normal, 3d", 3, Normals(3), StudentVector(3, 5)))
    for share in (0.01, 0.02, 0.05):
        for d in (2, 8):
            modes = [0.0, 4 / d**0.5]
            both = [Normals(d, modes, proportions=[1 - s, s]) for s in (share, share / 2)]
            cases.append(Case(f"rare mode {share:.0%} half missed, {d}d", d, *both))
    for d in (1, 4):
        # both have the mean and variance of a log-normal with σ = 0.5
        mean, variance = stats.lognorm(0.5).stats("mv")
        gamma = stats.gamma(mean**2 / variance, scale=variance / mean)
        pair = Independent([stats.lognorm(0.5)] * d), Independent([gamma] * d)
        cases.append(Case(f"gamma for log-normal, {d}d", d, *pair))
        cases.append(Case(f"log-normal for gamma, {d}d", d, pair[1], pair[0]))
    for d in (1, 3):
        poisson, geometric = Independent([stats.poisson(2.0)] * d), Independent([stats.geom(1 / 3, loc=-1)] * d)
        cases.append(Case(f"geometric for Poisson, {d}d", d, poisson, geometric))
        cases.append(Case(f"Poisson for geometric, {d}d", d, geometric, poisson))
        binomials = [Independent([stats.binom(5, p)] * d) for p in (0.5, 0.4)]
        cases.append(Case(f"binomial .4 for .5, {d}d", d, *binomials))
    for d in (2, 6):
        # Kendall's τ = θ/(θ + 2) = ½ = 2/π·asin(ρ)
        joined = Normals(d, correlations=[0.5**0.5])
        cases.append(Case(f"normal copula for Clayton, {d}d", d, ClaytonNormals(d, 2.0), joined))
        cases.append(Case(f"independence for Clayton, {d}d", d, ClaytonNormals(d, 0.5), Normals(d)))
    for d in (1, 4):
        # the data have a tenth of their rows where the model has nearly none
        apart = [0.0, 7 / d**0.5]
        data, model = Normals(d, apart, proportions=[0.9, 0.1]), Normals(d, apart, proportions=[1 - 1e-6, 1e-6])
        cases.append(Case(f"support lacking, {d}d", d, data, model))
    for d in (4, 16):
        # coordinates on scales from 0.01 to 100, half of them off by a third of their spread
        scales = np.geomspace(0.01, 100, d)
        shifted = Independent([stats.norm(scale / 3 if i % 2 else 0.0, scale) for i, scale in enumerate(scales)])
        cases.append(Case(f"scales .01 to 100, {d}d", d, shifted, Independent([stats.norm(0, s) for s in scales])))
    return cases
