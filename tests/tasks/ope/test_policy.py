"""Policies; the oracles are stable-baselines3's own agents and torch.distributions."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Normal, TanhTransform, TransformedDistribution
from torch.distributions.transforms import AffineTransform, ComposeTransform

from lfiw.commands.train_policy import train
from lfiw.errors import InputError
from lfiw.tasks.ope.environments import Environment
from lfiw.tasks.ope.policy import Policy, Tanh, load_policy


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_policy(squashed: bool, noise: float = 1.0) -> Policy:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        policy = Policy((4, 16, 16, 2), squashed=squashed, noise=noise)
    if not squashed:
        policy.log_std.copy_(torch.tensor([-0.5, 0.3]))
    policy.observation_mean.fill_(0.5)
    policy.observation_std.fill_(2.0)
    policy.low.fill_(-0.4)
    policy.high.fill_(0.6)
    return policy


def test_the_hyperbolic_tangent() -> None:
    x = torch.cat([torch.linspace(-12, 12, 10_001), torch.tensor([-1e30, 1e30])])
    torch.testing.assert_close(Tanh()(x).double(), torch.tanh(x.double()), rtol=0, atol=2e-7)


@pytest.mark.parametrize("noise", [0.5, 1.0])
@pytest.mark.parametrize("squashed", [False, True])
def test_density_of_actions(squashed: bool, noise: float) -> None:
    policy = random_policy(squashed, noise)
    observation = torch.randn(200, 4, generator=generator())
    mean, log_std = policy._gaussian(observation)
    expected = Normal(mean.double(), noise * log_std.double().exp())
    if squashed:
        scale = ComposeTransform([TanhTransform(), AffineTransform(0.1, 0.5)])  # −1 … 1 → −0.4 … 0.6
        expected = TransformedDistribution(expected, scale)
    action = policy.sample(observation, generator(1))
    if squashed:
        assert action.min() >= -0.4
        assert action.max() <= 0.6
    # near its bounds a float32 action holds few digits of what was squashed
    inside = ((action - 0.1).abs() < 0.49).all(1) if squashed else torch.ones(200, dtype=torch.bool)
    torch.testing.assert_close(
        policy.log_prob(observation, action)[inside],
        expected.log_prob(action.double()).sum(1)[inside],
        rtol=1e-4,
        atol=1e-4,
    )


def test_samples_have_the_policys_moments() -> None:
    policy = random_policy(squashed=False)
    observation = torch.zeros(20_000, 4)
    action = policy.sample(observation, generator()).double()
    mean, log_std = policy._gaussian(observation[:1])
    torch.testing.assert_close(action.mean(0), mean[0].double(), atol=0.04, rtol=0)  # four standard errors
    torch.testing.assert_close(action.std(0), log_std.exp().double(), rtol=0.02, atol=0)


def test_an_action_out_of_bounds_has_no_density_under_a_squashed_policy() -> None:
    policy = random_policy(squashed=True)
    log_prob = policy.log_prob(torch.zeros(2, 4), torch.tensor([[0.0, 0.0], [0.0, 0.7]]))
    assert log_prob.isfinite().tolist() == [True, False]


def test_without_noise_it_is_the_mean_and_has_no_density() -> None:
    policy = random_policy(squashed=True, noise=0.0)
    observation = torch.randn(5, 4, generator=generator())
    assert torch.equal(policy.sample(observation, generator(1)), policy.sample(observation, generator(2)))
    with pytest.raises(InputError, match="deterministic"):
        policy.log_prob(observation, torch.zeros(5, 2))


def test_a_saved_policy_comes_back(tmp_path: Path) -> None:
    policy = random_policy(squashed=True)
    policy.save(tmp_path / "policy.safetensors", environment="none")
    again = load_policy(tmp_path / "policy.safetensors")
    observation = torch.randn(5, 4, generator=generator())
    assert torch.equal(policy.sample(observation, generator(1)), again.sample(observation, generator(1)))


@pytest.mark.filterwarnings("ignore")  # of stable-baselines3's dependencies
def test_a_trained_policy_acts_as_stable_baselines3s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lfiw.commands.train_policy as tool

    kept = []
    convert = tool.as_policy
    monkeypatch.setattr(tool, "as_policy", lambda *agent: kept.append(agent) or convert(*agent))
    (file,) = train("Swimmer-v5", 2048, [], 100, 0.99, 0, tmp_path)
    agent, environments = kept[0]
    environment = Environment("Swimmer-v5").make()
    observation = np.stack([environment.observation_space.sample() for _ in range(50)]).clip(-3, 3)
    expected, _ = agent.predict(environments.normalize_obs(observation), deterministic=True)
    actions = load_policy(file, noise=0.0).sample(torch.from_numpy(observation).float(), generator()).numpy()
    np.testing.assert_allclose(actions.clip(-1, 1), expected, atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"not a policy", b"PK\x03\x04 half a zip"])
def test_broken_files(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "policy.safetensors"
    file.write_bytes(content)
    with pytest.raises(InputError, match="policy"):
        load_policy(file)


def test_a_zip_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("readme.txt", "nothing")
    with pytest.raises(InputError, match="not a policy of stable-baselines3"):
        load_policy(tmp_path / "other.zip")
    with pytest.raises(InputError, match="does not exist"):
        load_policy(tmp_path / "none.zip")
