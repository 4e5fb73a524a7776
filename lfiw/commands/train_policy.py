"""Train a policy with PPO, and save it at several stages as safetensors files.

python tools/train_policy.py Swimmer-v5 --steps 300000 --keep 20000 100000 300000 --gamma 0.9999 --out policies
This writes policies/Swimmer-v5-20000.safetensors, …
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lfiw.cli import Parser, run_script
from lfiw.errors import InputError

if TYPE_CHECKING:
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecNormalize

    from lfiw.tasks.ope.policy import Policy

HIDDEN = (64, 64)


def main(arguments: list[str]) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("environment", help="a gymnasium environment, such as Swimmer-v5")
    parser.add_argument("--steps", type=int, default=300_000, metavar="N", help="training steps (default: 300000)")
    parser.add_argument(
        "--keep", type=int, nargs="+", default=[], metavar="N", help="also save the policy after N steps"
    )
    parser.add_argument("--horizon", type=int, default=1000, metavar="T", help="steps per episode (default: 1000)")
    parser.add_argument("--gamma", type=float, default=0.99, help="discount (default: 0.99)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("policies"), metavar="DIR", help="default: policies")
    options = parser.parse_args(arguments)
    if min([options.steps, options.horizon, *options.keep]) < 1 or not 0 < options.gamma <= 1:
        raise InputError("--steps, --keep and --horizon must be at least 1, --gamma in (0, 1]")
    train(options.environment, options.steps, options.keep, options.horizon, options.gamma, options.seed, options.out)


def train(
    environment: str, steps: int, keep: list[int], horizon: int, gamma: float, seed: int, folder: Path
) -> list[Path]:
    """Trains by PPO (Schulman et al. 2017) on standardised observations and rewards; returns the saved files in order.

    Raises:
        InputError: stable-baselines3 or the environment is not installed.
    """
    from lfiw.tasks.ope.environments import INSTALL, Environment

    setting = Environment(environment, horizon)
    setting.make().close()
    try:
        from stable_baselines3 import PPO
        from stable_baselines3.common.monitor import Monitor
        from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
    except ImportError:
        raise InputError(f"training a policy needs stable-baselines3, which is not installed: {INSTALL}") from None

    def monitored() -> Any:
        return Monitor(setting.make())

    environments = VecNormalize(DummyVecEnv([monitored] * 8), gamma=gamma)
    agent = PPO(
        "MlpPolicy",
        environments,
        n_steps=256,
        batch_size=256,
        n_epochs=10,
        learning_rate=3e-4,
        gamma=gamma,
        policy_kwargs={"net_arch": list(HIDDEN)},
        seed=seed,
        device="cpu",
    )
    files = []
    for stage in sorted({*keep, steps}):
        agent.learn(stage - agent.num_timesteps, reset_num_timesteps=False)
        file = folder / f"{environment}-{stage}.safetensors"
        as_policy(agent, environments).save(file, environment=environment, steps=agent.num_timesteps, seed=seed)
        returns = [episode["r"] for episode in agent.ep_info_buffer or ()]
        print(
            f"{file}: {agent.num_timesteps:,} steps, mean return {sum(returns) / max(1, len(returns)):.1f}", flush=True
        )
        files.append(file)
    environments.close()
    return files


def as_policy(agent: "PPO", environments: "VecNormalize") -> "Policy":
    """Turns the actor and the observations' standardisation into a `Policy`."""
    import torch

    from lfiw.tasks.ope.policy import Policy

    network = agent.policy
    actions: Any = agent.action_space
    moments: Any = environments.obs_rms
    policy = Policy((len(moments.mean), *HIDDEN, actions.shape[0]), clip=environments.clip_obs)
    weights = partial(torch.as_tensor, dtype=torch.float32)
    theirs = {f"layers.{k}": v for k, v in network.mlp_extractor.policy_net.state_dict().items()}
    theirs |= {f"mean.{k}": v for k, v in network.action_net.state_dict().items()}
    theirs["log_std"] = network.log_std.detach()
    theirs["observation_mean"] = weights(moments.mean)
    theirs["observation_std"] = weights((moments.var + environments.epsilon) ** 0.5)
    theirs["low"], theirs["high"] = weights(actions.low), weights(actions.high)
    policy.load_state_dict({name: values.detach().clone() for name, values in theirs.items()})
    return policy


command = partial(run_script, main)
