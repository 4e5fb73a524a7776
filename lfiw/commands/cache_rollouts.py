"""Put episodes of a policy into a cache, one row per step, for off-policy evaluation.

python tools/cache_rollouts.py Swimmer-v5 policies/Swimmer-v5-behaviour.safetensors --episodes 200 --out cache/swimmer
"""

from functools import partial
from pathlib import Path

from lfiw.cli import Parser, run_script


def main(arguments: list[str]) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("environment", help="a gymnasium environment, such as Swimmer-v5")
    parser.add_argument(
        "policy", type=Path, help="a .safetensors file of tools/train_policy.py, or a .zip of stable-baselines3"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the cache to write")
    parser.add_argument("--episodes", type=int, default=200, metavar="N", help="episodes to run (default: 200)")
    parser.add_argument("--horizon", type=int, default=100, metavar="T", help="steps per episode (default: 100)")
    parser.add_argument("--noise", type=float, default=0.0, metavar="σ", help="noise of the transitions (default: 0)")
    parser.add_argument("--policy-noise", type=float, default=1.0, metavar="F", help="factor for the policy's noise")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    from lfiw.tasks.ope.environments import Environment, check_policy
    from lfiw.tasks.ope.policy import load_policy
    from lfiw.tasks.ope.rollouts import write_rollouts

    environment = Environment(options.environment, options.horizon, options.noise)
    policy = load_policy(options.policy, options.policy_noise)
    check_policy(policy, environment)
    cache = write_rollouts(
        options.out, environment, policy, options.episodes, options.seed, options.workers, progress=True
    )
    print(f"{options.out}: {len(cache):,} steps of {options.episodes:,} episodes")


command = partial(run_script, main)
