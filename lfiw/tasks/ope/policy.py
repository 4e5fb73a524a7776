"""Gaussian policies as small networks that torch reads without other libraries."""

import math
import os
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lfiw.errors import InputError
from lfiw.files import write_atomically
from lfiw.tasks.ope.gaussian_policy import NO_DENSITY, Gaussian, GaussianPolicy
from lfiw.tasks.ope.stable_baselines import read_agent
from lfiw.untrusted import built_for, naming, network_file, read_network


class Tanh(nn.Module):
    """Computes tanh x = 2σ(2x) − 1, to 1e-7: on a CPU torch's σ takes an eighth of the time of its tanh."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(2 * x).mul_(2).sub_(1)


# torch's names in lower case
ACTIVATIONS = {
    "relu": nn.ReLU,
    "tanh": Tanh,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "leakyrelu": nn.LeakyReLU,
}
CLIP = 10.0  # bound of standardised observations, as in stable-baselines3's VecNormalize
SAC_LOG_STD = (-20.0, 2.0)  # stable-baselines3's bounds of SAC's log standard deviation
KIND = "lfiw.Policy"
REQUIRED = ("sizes", "activation", "squashed")  # options in every file
OPTIONS = (*REQUIRED, "clip", "mean_clip", "mean_only")


def within(values: Tensor, bound: float | None) -> Tensor:
    """Clips values to −bound … bound, if there is a bound."""
    return values if bound is None else values.clamp(-bound, bound)


class Policy(GaussianPolicy):
    """A Gaussian policy whose mean is a network's.

    Args:
        sizes: numbers of the observation, the hidden layers and the action.
        activation: one of `ACTIVATIONS`.
        squashed: take the tanh of the Gaussian, as SAC's actor; its standard deviation then depends on the observation.
        noise: factor of the standard deviation. If 0, the action is the mean, which has no density.
        clip: bound of standardised observations. If None, there is none.
        mean_clip: bound of the mean before squashing. If None, there is none.
        mean_only: the standard deviation is not known (TD3, DDPG, gSDE), so that noise must be 0.

    Raises:
        InputError: an option has another type or range, or there is noise although only the mean is known.
    """

    observation_mean: Tensor
    observation_std: Tensor

    def __init__(
        self,
        sizes: tuple[int, ...],
        activation: str = "tanh",
        squashed: bool = False,
        noise: float = 1.0,
        *,
        clip: float | None = CLIP,
        mean_clip: float | None = None,
        mean_only: bool = False,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise InputError(f"policy: activation {activation!r} is not one of {', '.join(ACTIVATIONS)}")
        if not 0 <= noise < math.inf:
            raise InputError(f"policy: noise={noise} must be at least 0, and finite")
        flags, bounds = (squashed, mean_only), (clip, mean_clip)
        if {type(flag) for flag in flags} != {bool} or not all(b is None or 0 < b < math.inf for b in bounds):
            raise InputError(
                f"policy: squashed={squashed} and mean_only={mean_only} must be true or false, clip={clip} and "
                f"mean_clip={mean_clip} above 0, or null for no bound"
            )
        if mean_only and noise:
            raise InputError(
                "only the policy's mean action is known (TD3, DDPG and gSDE have no density of one action), so its "
                "noise must be 0: data.evaluation_noise=0 or data.behaviour_noise=0; --policy-noise 0"
            )
        self.sizes, self.activation, self.squashed, self.noise = tuple(sizes), activation, squashed, noise
        self.clip, self.mean_clip, self.mean_only = clip, mean_clip, mean_only
        *widths, actions = sizes
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*layers)
        self.mean = nn.Linear(widths[-1], actions)
        of_state = squashed and not mean_only
        self.log_std = nn.Linear(widths[-1], actions) if of_state else nn.Parameter(torch.zeros(actions))
        self.register_buffer("observation_mean", torch.zeros(widths[0]))
        self.register_buffer("observation_std", torch.ones(widths[0]))
        self.register_buffer("low", -torch.ones(actions))
        self.register_buffer("high", torch.ones(actions))
        self.requires_grad_(False)

    def _gaussian(self, observation: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n a"], Float[Tensor, "*n a"]]:
        """Computes mean and log standard deviation before squashing; the latter may be one for all observations."""
        x = within((observation.float() - self.observation_mean) / self.observation_std, self.clip)
        features = self.layers(x)
        mean = within(self.mean(features), self.mean_clip)
        if isinstance(self.log_std, nn.Linear):
            return mean, self.log_std(features).clamp(*SAC_LOG_STD)
        return mean, self.log_std

    def mean_and_std(self, observation: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n a"], Float[Tensor, "*n a"]]:
        mean, log_std = self._gaussian(observation)
        return mean, self.noise * log_std.exp()

    @torch.inference_mode()
    def gaussian(self, observation: Float[Tensor, "n d"]) -> Gaussian:
        if not self.noise:
            raise InputError(NO_DENSITY)
        mean, log_std = (values.double() for values in self._gaussian(observation))
        return Gaussian(mean, (log_std + math.log(self.noise)).expand_as(mean))

    def options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in OPTIONS}

    def save(self, path: str | os.PathLike[str], **provenance: Any) -> None:
        """Writes a safetensors file, with `provenance` as JSON."""
        write_atomically(
            path, network_file("policy", {"kind": KIND, **self.options(), **provenance}, self.state_dict())
        )


def load_policy(path: str | os.PathLike[str], noise: float = 1.0) -> Policy:
    """Loads a policy from a safetensors file that `Policy.save` wrote, or from a stable-baselines3 zip.

    No code in them is run: `lfiw.tasks.ope.stable_baselines` says what is read from a zip.

    Args:
        noise: factor of the standard deviation.

    Raises:
        InputError: there is no such file, it is not a policy, or how it acts is not known.
    """
    path = Path(path)
    with naming(path, "is not a policy"):
        if path.suffix != ".ckpt" and zipfile.is_zipfile(path):
            options, state = read_agent(path)
        else:
            remedy = "expected a policy (tools/train_policy.py makes one)"
            about, state = read_network(path, "policy", "a policy", KIND, remedy=remedy)
            options = {name: about[name] for name in OPTIONS if name in about or name in REQUIRED}
        options["sizes"] = tuple(options["sizes"])
        for name, values in state.items():
            if not values.is_floating_point():
                raise ValueError(f"{name} is {values.dtype}, expected floating point")
            if name not in ("low", "high") and not torch.isfinite(values).all():
                raise ValueError(f"{name} is NaN or infinite")

        def build() -> Policy:
            try:
                return Policy(**options, noise=noise)
            except InputError as error:  # a policy, but one that cannot be used like this
                raise InputError(f"{path}: {error}") from None

        policy = built_for(state, build)
        if not (policy.observation_std > 0).all():
            raise ValueError("observation_std must be above 0")
        bounds = torch.stack([policy.low, policy.high])
        if not (policy.low < policy.high).all() or (policy.squashed and not torch.isfinite(bounds).all()):
            raise ValueError("low must be below high, and both finite if it squashes its actions")
    return policy
