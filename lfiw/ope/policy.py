"""Gaussian policies as small networks that torch alone reads."""

import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from lfiw.archives import Archive
from lfiw.checkpoints import read_checkpoint
from lfiw.errors import InputError, first_line
from lfiw.files import write_atomically
from lfiw.weight_files import built_for, read_weights


class Tanh(nn.Module):
    """tanh x = 2σ(2x) − 1, to 1e-7: torch's σ takes an eighth of the time of its tanh on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(2 * x).mul_(2).sub_(1)


ACTIVATIONS = {"relu": nn.ReLU, "tanh": Tanh}
CLIP = 10.0  # standardised observations beyond it are cut, as stable-baselines3's VecNormalize does
SAC_LOG_STD = (-20.0, 2.0)  # stable-baselines3's bounds of SAC's log standard deviation
SAC_ACTOR = "actor."
KIND = "lfiw.Policy"


class Policy(nn.Module):
    """Actions are Gaussian around a network's mean; squashed, their tanh is scaled to the bounds of the actions.

    Actions that are not squashed may lie outside of the bounds: an environment clips them (`lfiw.ope.rollouts`), and
    the log-density is that of the action before.

    Args:
        sizes: of the observation, the hidden layers and the action.
        activation: relu or tanh.
        squashed: tanh of the Gaussian, as SAC's actor; its standard deviation is then a function of the observation.
        noise: factor of the standard deviation; 0: the mean alone, which has no density.
    """

    observation_mean: Tensor
    observation_std: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, sizes: tuple[int, ...], activation: str = "tanh", squashed: bool = False, noise: float = 1.0):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise InputError(f"policy: activation {activation!r} is not one of {', '.join(ACTIVATIONS)}")
        if not noise >= 0:
            raise InputError(f"policy: noise={noise} must be at least 0")
        self.sizes, self.activation, self.squashed, self.noise = tuple(sizes), activation, squashed, noise
        observations, *hidden, actions = sizes
        layers: list[nn.Module] = []
        for inputs, outputs in zip([observations, *hidden[:-1]], hidden, strict=True):
            layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*layers)
        self.mean = nn.Linear(hidden[-1], actions)
        self.log_std = nn.Linear(hidden[-1], actions) if squashed else nn.Parameter(torch.zeros(actions))
        self.register_buffer("observation_mean", torch.zeros(observations))
        self.register_buffer("observation_std", torch.ones(observations))
        self.register_buffer("low", -torch.ones(actions))
        self.register_buffer("high", torch.ones(actions))
        self.requires_grad_(False)

    def _gaussian(self, observation: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n a"], Float[Tensor, "*n a"]]:
        """Mean and log standard deviation, before squashing; the latter is one for all unless it is a function of s."""
        x = ((observation.float() - self.observation_mean) / self.observation_std).clamp(-CLIP, CLIP)
        features = self.layers(x)
        mean = self.mean(features)
        if isinstance(self.log_std, nn.Linear):
            return mean, self.log_std(features).clamp(*SAC_LOG_STD)
        return mean, self.log_std

    @torch.inference_mode()
    def sample(self, observation: Float[Tensor, "n d"], generator: torch.Generator) -> Float[Tensor, "n a"]:
        """One action for each observation, float32."""
        mean, log_std = self._gaussian(observation)
        if self.noise:
            mean = torch.addcmul(mean, self.noise * log_std.exp(), torch.randn(mean.shape, generator=generator))
        return self.low + (self.high - self.low) * (mean.tanh() + 1) / 2 if self.squashed else mean

    @torch.inference_mode()
    def log_prob(self, observation: Float[Tensor, "n d"], action: Float[Tensor, "n a"]) -> Float[Tensor, " n"]:
        """Log-density of actions, float64; −∞ outside of the bounds of a squashed policy.

        Raises:
            InputError: the policy is deterministic.
        """
        if not self.noise:
            raise InputError("a policy with noise=0 is deterministic and has no action density: give it some noise")
        mean, log_std = (values.double() for values in self._gaussian(observation))
        log_std = log_std + torch.tensor(self.noise, dtype=torch.float64).log()
        value, jacobian, outside = action.double(), torch.zeros(()), torch.zeros(len(action), dtype=torch.bool)
        if self.squashed:
            unit = 2 * (value - self.low) / (self.high - self.low) - 1
            outside = (unit.abs() > 1 + 1e-6).any(1)
            # float32 rounds to ±1 what lies near it
            value = unit.clamp(-1 + 1e-7, 1 - 1e-7).atanh()
            # log(1 − tanh²u) without cancellation, and the scale of the bounds
            log_slope = 2 * (torch.tensor(2.0).log() - value - F.softplus(-2 * value))
            jacobian = (log_slope + ((self.high - self.low) / 2).log()).sum(1)
        z = (value - mean) * (-log_std).exp()
        log_density = (-0.5 * z.square() - log_std - 0.5 * torch.tensor(2 * torch.pi).log()).sum(1) - jacobian
        return log_density.masked_fill(outside, -torch.inf)

    def save(self, path: str | os.PathLike[str], **provenance: Any) -> None:
        """Write a safetensors file; `provenance` is kept in it as JSON."""
        about = {"kind": KIND, "sizes": self.sizes, "activation": self.activation, "squashed": self.squashed}
        metadata = {"policy": json.dumps({**about, **provenance})}
        state = {name: values.contiguous() for name, values in self.state_dict().items()}
        write_atomically(path, save(state, metadata))


def load_policy(path: str | os.PathLike[str], noise: float = 1.0) -> Policy:
    """A policy of a safetensors file that `Policy.save` wrote, or of a stable-baselines3 zip of SAC.

    Of the zip, only the network's weights are read, and no code in it is run; its actions' bounds are taken to be
    −1 … 1, where SAC's experts act.

    Args:
        noise: factor of the standard deviation.

    Raises:
        InputError: no such file, or it is not a policy.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist: expected a policy (tools/train_policy.py makes one)")
    return _load_sac(path, noise) if zipfile.is_zipfile(path) else _load_own(path, noise)


def _load_own(path: Path, noise: float) -> Policy:
    about, state = read_weights(path, "policy", "a policy")
    if about.get("kind") != KIND:
        raise InputError(f"{path} is not a policy: tools/train_policy.py makes one")
    try:
        policy = built_for(state, lambda: Policy(tuple(about["sizes"]), about["activation"], about["squashed"], noise))
        policy.load_state_dict(state)
    except (ValueError, KeyError, IndexError, TypeError, RuntimeError) as error:
        raise InputError(f"{path} is not a policy: {first_line(error)}") from None
    return policy


def _load_sac(path: Path, noise: float) -> Policy:
    try:
        with Archive(path) as archive:
            content = archive.read("policy.pth")
    except InputError as error:
        raise InputError(f"{path} is not a policy of stable-baselines3: {error}") from None
    state = read_checkpoint(io.BytesIO(content), "cpu", name=f"{path}: policy.pth")
    actor = {
        name.removeprefix(SAC_ACTOR): values
        for name, values in (state.items() if isinstance(state, Mapping) else ())
        if name.startswith(SAC_ACTOR)
    }
    try:
        hidden = [name for name in actor if name.startswith("latent_pi") and name.endswith("weight")]
        sizes = (actor[hidden[0]].shape[1], *(len(actor[name]) for name in hidden), len(actor["mu.bias"]))
        policy = built_for(actor, lambda: Policy(sizes, "relu", squashed=True, noise=noise))
        names = {"latent_pi": "layers", "mu": "mean", "log_std": "log_std"}
        weights = {
            f"{names[name.partition('.')[0]]}.{name.partition('.')[2]}": values for name, values in actor.items()
        }
        policy.load_state_dict({**policy.state_dict(), **weights})
    except (KeyError, IndexError, TypeError, RuntimeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} does not hold the actor of a SAC agent: {first_line(error)}") from None
    return policy
