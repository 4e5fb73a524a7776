"""Rollouts on disk: rolled out once, read by every run that needs them."""

import hashlib
import json
from pathlib import Path
from typing import Any

from lfiw.checkpoints import state_sha256
from lfiw.data import CacheWriter, SampleCache
from lfiw.errors import InputError
from lfiw.ope.environments import Environment
from lfiw.ope.policy import Policy
from lfiw.ope.rollouts import roll_out
from lfiw.version import __version__


def provenance(environment: Environment, policy: Policy, num_episodes: int, seed: int) -> dict[str, Any]:
    """All that the episodes depend on."""
    return {
        "environment": environment.name,
        "horizon": environment.horizon,
        "noise": environment.noise,
        "policy_sha256": state_sha256(policy.state_dict()),
        "policy_options": policy.options(),
        "policy_noise": policy.noise,
        "episodes": num_episodes,
        "seed": seed,
        "version": __version__,
    }


def write_rollouts(
    path: Path, environment: Environment, policy: Policy, num_episodes: int, seed: int, workers: int
) -> SampleCache:
    """Roll out into a new cache, a row a step.

    Raises:
        InputError: as `roll_out`, or the path is taken or cannot be written.
    """
    blocks = roll_out(environment, policy, num_episodes, seed, workers=workers)
    with CacheWriter(path, source=provenance(environment, policy, num_episodes, seed)) as writer:
        passed = 0
        for block in blocks:
            columns = block.columns()
            columns["episode"] += passed
            passed += len(block)
            writer.write(columns)
    return SampleCache(path)


def kept_rollouts(
    folder: Path, environment: Environment, policy: Policy, num_episodes: int, seed: int, workers: int
) -> SampleCache:
    """The cache of just these episodes in a folder; rolled out if it is not there."""
    identity = json.dumps(provenance(environment, policy, num_episodes, seed), sort_keys=True)
    path = folder / f"{environment.name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    if path.exists():
        return SampleCache(path)
    try:
        return write_rollouts(path, environment, policy, num_episodes, seed, workers)
    except InputError:
        if not path.exists():
            raise
        return SampleCache(path)  # another run wrote the same episodes meanwhile
