"""Reads agents of stable-baselines3 as options and weights of a `Policy`.

An agent's zip holds its weights (`policy.pth`, a state dict) and a JSON file (`data`), whose values are pickles with a
plain-text description beside each. The descriptions are read; the pickles, which are code, are not.
"""

import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lfiw.data.importers.arrays import load_arrays
from lfiw.errors import InputError, first_line
from lfiw.untrusted import Archive, read_checkpoint


@dataclass(frozen=True)
class Family:
    """Agents whose policy classes share a module.

    Args:
        name: in messages.
        activation: the default, unless policy_kwargs name another.
        squashed: whether the action is a tanh, scaled to the bounds.
        names: prefix of the actor's weights → our prefix.
        beside: prefixes of weights that are not the actor's.
    """

    name: str
    activation: str
    squashed: bool
    names: Mapping[str, str]
    beside: tuple[str, ...]


SAC = Family(
    "SAC",
    "relu",
    True,
    {"actor.latent_pi.": "layers.", "actor.mu.": "mean.", "actor.log_std": "log_std"},
    ("critic.", "critic_target."),
)
TD3 = Family("TD3", "relu", True, {"actor.mu.": "layers."}, ("actor_target.", "critic.", "critic_target."))
PPO = Family(
    "PPO",
    "tanh",
    False,
    {"mlp_extractor.policy_net.": "layers.", "action_net.": "mean.", "log_std": "log_std"},
    ("mlp_extractor.value_net.", "value_net."),
)
FAMILIES = {  # by the module of the policy class
    "stable_baselines3.sac.policies": SAC,
    "stable_baselines3.td3.policies": TD3,  # and DDPG
    "stable_baselines3.common.policies": PPO,  # and A2C
}
READ = {"activation_fn", "use_sde", "clip_mean", "squash_output", "features_extractor_class"}
WITHOUT_EFFECT = {  # options that change neither mean nor density of an actor whose weights are known
    "net_arch",
    "ortho_init",
    "log_std_init",
    "full_std",
    "use_expln",
    "optimizer_class",
    "optimizer_kwargs",
    "n_critics",
    "share_features_extractor",
    "features_extractor_kwargs",
    "normalize_images",
}
FLATTEN = "<class 'stable_baselines3.common.torch_layers.FlattenExtractor'>"
GSDE_MEAN_CLIP = 2.0  # default of SAC with gSDE
STATISTICS = (".vecnormalize.npz", ("mean", "var", "epsilon", "clip"))


def read_agent(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads options and weights of the `Policy` that acts as the agent does.

    Raises:
        InputError: it is not an agent of stable-baselines3, or its file does not determine its actions.
    """
    try:
        with Archive(path) as archive:
            content, text = archive.read("policy.pth"), archive.read("data")
        data = json.loads(text)
    except InputError as error:
        raise InputError(f"{path} is not a policy of stable-baselines3: {error}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a policy of stable-baselines3: data is no JSON: {first_line(error)}") from None
    weights = read_checkpoint(io.BytesIO(content), "cpu", name=f"{path}: policy.pth")
    try:
        return _as_policy(path, data, weights)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else first_line(error)
        raise InputError(
            f"{path}: what the file says of its agent is incomplete or contradicts its weights ({reason}): save it "
            "again with agent.save() of stable-baselines3"
        ) from None


def _as_policy(path: Path, data: Any, weights: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    family = _family(data["policy_class"]["__module__"])
    kwargs = _policy_kwargs(data["policy_kwargs"])
    observations, actions = _width(data, "observation_space"), _width(data, "action_space")
    gsde = data["use_sde"]
    mean_clip = kwargs.get("clip_mean", GSDE_MEAN_CLIP) if gsde and family is SAC else 0.0
    squashed = family.squashed or kwargs.get("squash_output", False)
    if {type(gsde), type(squashed)} != {bool} or (squashed and not family.squashed and not gsde):
        raise ValueError(f"use_sde {gsde!r}, squash_output {squashed!r}")
    clipped = mean_clip > 0
    state = _actor(family, weights, clipped)
    if gsde and state.pop("log_std").ndim != 2:
        raise ValueError("use_sde is true, and log_std is not a matrix")
    if mean_only := gsde or family is TD3:
        state["log_std"] = torch.zeros(actions)
    hidden = sorted({int(name.split(".")[1]) for name in state if name.startswith("layers.")})
    sizes = (observations, *(len(state[f"layers.{i}.weight"]) for i in hidden), actions)
    state["low"], state["high"] = (_bounds(data["action_space"], end) for end in ("low", "high"))
    mean, std, clip = _standardisation(path, data, family, observations)
    options = {
        "sizes": sizes,
        "activation": _activation(kwargs, family),
        "squashed": squashed,
        "clip": clip,
        "mean_clip": mean_clip if clipped else None,
        "mean_only": mean_only,
    }
    return options, {**state, "observation_mean": mean, "observation_std": std}


def _family(module: Any) -> Family:
    if module not in FAMILIES:
        raise InputError(
            f"its policy class is of {module!r}; known are those of SAC, TD3, DDPG, PPO and A2C with MlpPolicy: "
            "evaluate one of these, or train another network to act as it does"
        )
    return FAMILIES[module]


def _policy_kwargs(kwargs: dict[str, Any]) -> dict[str, Any]:
    named = {name: value for name, value in kwargs.items() if not name.startswith(":")}
    if unknown := sorted(named.keys() - READ - WITHOUT_EFFECT):
        raise InputError(f"policy_kwargs has {', '.join(unknown)}, whose effect is not known: train without")
    if named.get("features_extractor_class", FLATTEN) != FLATTEN:
        raise InputError(
            f"its features_extractor_class is {named['features_extractor_class']}; only MlpPolicy's own is known"
        )
    return named


def _activation(kwargs: Mapping[str, Any], family: Family) -> str:
    """Returns a name in `ACTIVATIONS` if it is one; otherwise the text, which `Policy` refuses."""
    if "activation_fn" not in kwargs:
        return family.activation
    text = str(kwargs["activation_fn"])
    match = re.fullmatch(r"<class 'torch\.nn\.modules\.activation\.(\w+)'>", text)
    return match[1].lower() if match else text


def _width(data: Mapping[str, Any], which: str) -> int:
    space = data[which]
    kind = re.fullmatch(r"<class '(?:\w+\.)*(\w+)'>", space[":type:"])
    shape = space.get("_shape", space.get("shape"))
    if not kind or kind[1] != "Box" or len(shape) != 1 or (which == "action_space" and "float" not in space["dtype"]):
        raise InputError(
            f"its {which} is a {kind[1] if kind else space[':type:']} of shape {shape} and dtype {space.get('dtype')}, "
            "expected a Box of floats in one dimension"
        )
    return int(shape[0])


def _bounds(space: Mapping[str, Any], end: str) -> Float[Tensor, " a"]:
    """Parses numpy's text of an array; its 8 digits are exact to 1e-8 of the bounds."""
    return torch.tensor([float(number) for number in re.sub(r"[\[\]]", " ", space[end]).split()])


def _actor(family: Family, weights: Any, clipped: bool) -> dict[str, Tensor]:
    """Returns the actor's weights by our names.

    Args:
        clipped: whether SAC's mean is in a sequence, before gSDE's bound.
    """
    if not all(isinstance(values, Tensor) and values.layout == torch.strided for values in weights.values()):
        raise ValueError("policy.pth holds more than dense tensors")
    names = {("actor.mu.0." if clipped and ours == "mean." else k): ours for k, ours in family.names.items()}
    state: dict[str, Tensor] = {}
    for name, values in weights.items():
        if name.startswith(family.beside):
            continue
        prefix = next((prefix for prefix in names if name.startswith(prefix)), None)
        if prefix is None:
            raise InputError(f"{family.name}'s network has {name}, which MlpPolicy's does not: its form is not known")
        state[names[prefix] + name.removeprefix(prefix)] = values
    if family is TD3:  # its last layer is the mean
        last = max(int(name.split(".")[1]) for name in state)
        for kind in ("weight", "bias"):
            state[f"mean.{kind}"] = state.pop(f"layers.{last}.{kind}")
    return state


def _standardisation(
    path: Path, data: Mapping[str, Any], family: Family, observations: int
) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"], float | None]:
    """Returns observations' mean, standard deviation and clipping bound; 0, 1 and None without VecNormalize.

    Raises:
        InputError: the agent was trained with VecNormalize, and its statistics are missing or malformed.
    """
    suffix, names = STATISTICS
    file = path.with_suffix(suffix)
    if file.exists():
        arrays = load_arrays(file)
        if missing := [name for name in names if name not in arrays]:
            raise InputError(f"{file.name} has no {', '.join(missing)}; expected {', '.join(names)}")
        for name, shape in zip(names, ((observations,), (observations,), (), ()), strict=True):
            if arrays[name].shape != shape or arrays[name].dtype.kind not in "fiu":
                raise InputError(
                    f"{file.name}: {name} is {arrays[name].dtype} of shape {arrays[name].shape}, expected numbers of "
                    f"shape {shape}"
                )
        mean, var, epsilon, clip = (torch.from_numpy(arrays[name].astype(np.float64)) for name in names)
        return mean.float(), (var + epsilon).sqrt().float(), clip.item() if clip < math.inf else None
    if family is PPO and "_last_original_obs" in data:
        normalised = "it was trained with VecNormalize" if data["_last_original_obs"] is not None else ""
    else:  # off-policy agents have that field with and without VecNormalize
        folders = (path.parent, path.with_suffix(""))
        beside = next((str(found) for folder in folders for found in folder.glob("*normalize*.pkl")), "")
        normalised = beside and f"{beside} beside it says that it was trained with VecNormalize"
    if normalised:
        raise InputError(
            f"{normalised}, whose statistics are a pickle, which is not loaded: where env is that VecNormalize, run "
            f"numpy.savez({file.name!r}, mean=env.obs_rms.mean, var=env.obs_rms.var, epsilon=env.epsilon, "
            "clip=env.clip_obs), and put the file beside the zip"
        )
    return torch.zeros(observations), torch.ones(observations), None
