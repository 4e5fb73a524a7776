"""Policies that draw normal actions, and their densities."""

import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from lfiw.errors import InputError

NO_DENSITY = "a policy with noise=0 is deterministic and has no action density: give it some noise"


class Gaussian(NamedTuple):
    """Independent normal distributions: means and log standard deviations, (n, a) in float64."""

    mean: Float[Tensor, "n a"]
    log_std: Float[Tensor, "n a"]

    def towards(self, other: "Gaussian", share: float) -> "Gaussian":
        """Returns those a share of the way to others: means and log standard deviations interpolated."""
        return Gaussian(*(torch.lerp(a, b, share) for a, b in zip(self, other, strict=True)))

    def log_density(self, value: Float[Tensor, "n a"]) -> Float[Tensor, "n a"]:
        """Returns log p(value)."""
        return -0.5 * self._standardised(value).square() - self.log_std - 0.5 * math.log(2 * math.pi)

    def log_mass_below(self, bound: Float[Tensor, " a"]) -> Float[Tensor, "n a"]:
        """Returns log P(x < bound)."""
        return torch.special.log_ndtr(self._standardised(bound))

    def log_mass_above(self, bound: Float[Tensor, " a"]) -> Float[Tensor, "n a"]:
        """Returns log P(x > bound)."""
        return torch.special.log_ndtr(-self._standardised(bound))

    def _standardised(self, value: Tensor) -> Float[Tensor, "n a"]:
        return (value - self.mean) * (-self.log_std).exp()


class GaussianPolicy(nn.Module, ABC):
    """Draws Gaussian actions around a mean; squashed ones are a tanh, scaled to the actions' bounds.

    Actions that are not squashed may lie outside the bounds: an environment clips them
    (`lfiw.tasks.ope.rollouts`), and the log-density is that of the action before clipping.
    """

    sizes: tuple[int, ...]  # numbers of the observation, hidden layers, and the action
    squashed: bool
    noise: float  # if 0, the action is the mean, which has no density
    low: Tensor
    high: Tensor

    @abstractmethod
    def mean_and_std(self, observation: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n a"], Float[Tensor, "*n a"]]:
        """Returns mean and standard deviation before squashing; the latter may be one for all observations."""

    @abstractmethod
    def gaussian(self, observation: Float[Tensor, "n d"]) -> Gaussian:
        """Returns the normal distribution of each observation's action before squashing and clipping, in float64.

        Raises:
            InputError: the policy is deterministic.
        """

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """What mean and density depend on besides weights and noise."""

    @torch.inference_mode()
    def sample(self, observation: Float[Tensor, "n d"], generator: torch.Generator) -> Float[Tensor, "n a"]:
        """Draws one action per observation, float32."""
        mean, std = self.mean_and_std(observation)
        if self.noise:
            mean = torch.addcmul(mean, std, torch.randn(mean.shape, generator=generator))
        return self.low + (self.high - self.low) * (mean.tanh() + 1) / 2 if self.squashed else mean

    def log_prob(self, observation: Float[Tensor, "n d"], action: Float[Tensor, "n a"]) -> Float[Tensor, " n"]:
        """Returns the log-density of actions as they were drawn, float64; −∞ outside of a squashed policy's bounds.

        Raises:
            InputError: the policy is deterministic.
        """
        return self.log_density(self.gaussian(observation), action, clipped=False)

    def log_density(
        self, gaussian: Gaussian, action: Float[Tensor, "n a"], *, clipped: bool = True
    ) -> Float[Tensor, " n"]:
        """Returns the log-density of actions under normal distributions before squashing, as `gaussian` gives them.

        Args:
            clipped: of what the environment takes of an action. It clips each number to the bounds, and one at a bound
                or beyond has the probability mass beyond it instead of a density. For weights this is exact (what the
                environment does not see changes no outcome), and less variable than ratios of densities.
        """
        if self.squashed:
            return self._squashed_log_density(gaussian, action)
        value = action.double()
        terms = gaussian.log_density(value)
        if clipped:
            low, high = self.low.double(), self.high.double()
            terms = torch.where(value <= low, gaussian.log_mass_below(low), terms)
            terms = torch.where(value >= high, gaussian.log_mass_above(high), terms)
        return terms.sum(1)

    def _squashed_log_density(self, gaussian: Gaussian, action: Float[Tensor, "n a"]) -> Float[Tensor, " n"]:
        unit = 2 * (action.double() - self.low) / (self.high - self.low) - 1
        outside = (unit.abs() > 1 + 1e-6).any(1)
        # float32 rounds to ±1 what lies near it
        value = unit.clamp(-1 + 1e-7, 1 - 1e-7).atanh()
        # log(1 − tanh²u) without cancellation, and the scale of the bounds
        log_slope = 2 * (math.log(2.0) - value - F.softplus(-2 * value))
        jacobian = (log_slope + ((self.high - self.low) / 2).log()).sum(1)
        return (gaussian.log_density(value).sum(1) - jacobian).masked_fill(outside, -torch.inf)


class Between(GaussianPolicy):
    """The policy a share of the way from one policy to another: their means and log standard deviations interpolated.

    Args:
        start, end: with noise, so that they have densities; both squashed, or neither.
        share: from 0, the start, to 1, the end.

    Raises:
        InputError: a policy is deterministic, only one squashes its actions, or the share lies outside of 0 … 1.
    """

    def __init__(self, start: GaussianPolicy, end: GaussianPolicy, share: float) -> None:
        super().__init__()
        if not (start.noise and end.noise):
            raise InputError(NO_DENSITY)
        if start.squashed != end.squashed or not 0 <= share <= 1:
            raise InputError(
                f"policies between two: squashed={start.squashed} and {end.squashed}, share {share}: expected both "
                "policies to squash their actions, or neither, and a share from 0 to 1"
            )
        self.start, self.end, self.share = start, end, share
        self.sizes, self.squashed, self.noise = start.sizes, start.squashed, start.noise
        self.low, self.high = start.low, start.high

    def mean_and_std(self, observation: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n a"], Float[Tensor, "*n a"]]:
        (of_start, std), (of_end, other) = (p.mean_and_std(observation) for p in (self.start, self.end))
        return torch.lerp(of_start, of_end, self.share), torch.lerp(std.log(), other.log(), self.share).exp()

    def gaussian(self, observation: Float[Tensor, "n d"]) -> Gaussian:
        return self.start.gaussian(observation).towards(self.end.gaussian(observation), self.share)

    def options(self) -> dict[str, Any]:
        ends = [{**policy.options(), "noise": policy.noise} for policy in (self.start, self.end)]
        return {"between": ends, "share": self.share}
