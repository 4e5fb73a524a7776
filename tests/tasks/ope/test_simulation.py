"""Simulation in a model that is a random walk: everything expected is a closed form or a naive loop."""

import math
from typing import Any

import pytest
import torch
from tasks.ope.random_walk import DRIFT, REWARD, SHIFT, SIGMA, STEPS, exact_log_ratio, policy, random_walk

from lfiw.errors import InputError
from lfiw.tasks.ope import simulation
from lfiw.tasks.ope.dynamics import LOG_STD, DynamicsModel
from lfiw.tasks.ope.environments import never
from lfiw.tasks.ope.estimators import model_based, per_decision
from lfiw.tasks.ope.policy import Policy
from lfiw.tasks.ope.simulation import model_values, ratio_inputs, ratio_of_one, simulate

START = torch.zeros(4000, 1)
REAL_RETURN = STEPS * (REWARD + SIGMA * SHIFT[1].item())


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_models_own_return() -> None:
    simulated = simulate(random_walk(), policy(), START, STEPS, never, generator())
    error = SIGMA * math.sqrt(STEPS / 4000)
    assert model_based(simulated.reward).item() == pytest.approx(STEPS * REWARD, abs=4 * error)
    last = simulated.observation[:, -1, 0].double()
    assert last.mean().item() == pytest.approx((STEPS - 1) * DRIFT, abs=4 * SIGMA * math.sqrt(7 / 4000))
    assert last.std().item() == pytest.approx(SIGMA * math.sqrt(7), rel=0.05)
    assert simulated.num_diverged == 0
    assert torch.bincount(simulated.member).tolist() == [2000, 2000]


def random_model(generator: torch.Generator, linear_from: int) -> DynamicsModel:
    """Two members with three observations, the last of which never changes, and two actions."""
    options = {
        "members": 2,
        "width": 8,
        "depth": 2,
        "linear_from": linear_from,
        "beta": 0.5,
        "lr": 1e-3,
        "weight_decay": 0.0,
    }
    model = DynamicsModel(options, sizes=(3, 2)).requires_grad_(False).eval()
    for values in (*model.parameters(), model.input_mean, model.target_mean):
        values.copy_(0.5 * torch.randn(values.shape, generator=generator))
    for values in (model.input_std, model.target_std):
        values.copy_(0.5 + torch.rand(values.shape, generator=generator))
    model.factor.copy_(torch.randn(model.factor.shape, generator=generator).tril())
    model.changes[2] = False
    model.low.fill_(-3.0)
    model.high.fill_(3.0)
    return model


def naive_step(
    model: DynamicsModel, member: int, state: torch.Tensor, action: torch.Tensor, noise: torch.Tensor
) -> torch.Tensor:
    """(s′, r) of one row, from the definition, float64."""
    x = (torch.cat([state, action]) - model.input_mean) / model.input_std
    units = x
    for weight, bias in zip(model.net.weights[:-1], model.net.biases[:-1], strict=True):
        pre = units @ weight[member].double() + bias[member, 0]
        units = pre / (1 + torch.exp(-pre))
    last = units @ model.net.weights[-1][member].double() + model.net.biases[-1][member, 0]
    linear = 0.0 if model.linear is None else x @ model.linear[member].double()
    mean = (last[:4] + linear) * model.target_std + model.target_mean
    log_std = LOG_STD[0] + (LOG_STD[1] - LOG_STD[0]) / (1 + torch.exp(-last[4:]))
    change = mean + model.target_std * torch.exp(log_std) * (model.factor[member].double() @ noise)
    change = torch.where(model.changes, change, 0.0)
    return (torch.cat([state, torch.zeros(1)]) + change).clamp(-3.0, 3.0)


@pytest.mark.parametrize(("threads", "linear_from"), [(1, 4), (2, 3)])
def test_each_trajectory_is_that_of_a_naive_loop(
    monkeypatch: pytest.MonkeyPatch, threads: int, linear_from: int
) -> None:
    rows = 4  # of a member in a block: three blocks, the last one of two rows
    monkeypatch.setattr(simulation, "BLOCK_ROWS", 2 * rows)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    model = random_model(generator(3), linear_from)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        acting = Policy((3, 8, 8, 2))
    acting.observation_mean.copy_(torch.tensor([0.1, -0.2, 0.3]))
    acting.observation_std.copy_(torch.tensor([0.5, 2.0, 0.02]))  # the last is cut, at ten of these
    acting.log_std.copy_(torch.tensor([-1.0, 0.2]))
    start = torch.randn(20, 3, generator=generator(4))
    found = simulate(model, acting, start, STEPS, never, generator(5))

    seeds = torch.randint(2**62, (3,), generator=generator(5)).tolist()
    for block, seed in enumerate(seeds):
        places = range(block * rows, min(10, (block + 1) * rows))
        state = {(m, i): start[10 * m + i].double() for m in range(2) for i in places}
        own = torch.Generator().manual_seed(seed)
        for step in range(STEPS):
            of_actions = torch.randn(2, len(places), 2, generator=own).double()
            of_model = torch.randn(2, len(places), 4, generator=own).double()
            for (m, i), s in state.items():
                standardised = ((s - acting.observation_mean) / acting.observation_std).clamp(-10, 10)
                units = standardised
                for layer in (acting.layers[0], acting.layers[2]):
                    units = torch.tanh(layer.weight.double() @ units + layer.bias)
                drawn = acting.mean.weight.double() @ units + acting.mean.bias
                drawn = drawn + torch.exp(acting.log_std) * of_actions[m, i - places[0]]
                action = drawn.clamp(-1, 1)
                outcome = naive_step(model, m, s, action, of_model[m, i - places[0]])
                row = 10 * m + i
                close = {"rtol": 1e-4, "atol": 1e-4}
                torch.testing.assert_close(found.observation[row, step].double(), s, **close)
                torch.testing.assert_close(found.action[row, step].double(), action, **close)
                torch.testing.assert_close(found.reward[row, step].double(), outcome[3], **close)
                state[m, i] = outcome[:3]
    assert not found.log_ratio.any()
    assert found.num_diverged == 0


def walk(**options: Any) -> simulation.Simulated:
    return simulate(random_walk(), policy(), START, STEPS, never, generator(), **options)


def test_weights_by_the_exact_ratio_give_the_real_return() -> None:
    simulated = walk(log_ratio=exact_log_ratio)
    uncorrected = abs(model_based(simulated.reward).item() - REAL_RETURN)
    corrected = abs(per_decision(simulated.log_ratio, simulated.reward).item() - REAL_RETURN)
    assert uncorrected > 0.5
    assert corrected < 0.15


def test_choosing_each_step_by_the_exact_ratio_gives_the_real_process() -> None:
    simulated = walk(log_ratio=exact_log_ratio, candidates=64)
    assert model_based(simulated.reward).item() == pytest.approx(REAL_RETURN, abs=0.06)  # bias of order 1/64 a step
    last = simulated.observation[:, -1, 0].double()
    assert last.mean().item() == pytest.approx((STEPS - 1) * (DRIFT + SIGMA * SHIFT[0].item()), abs=0.06)
    assert last.std().item() == pytest.approx(SIGMA * math.sqrt(7), rel=0.06)
    # what is left of the ratio, the mean over the candidates, is near 1
    assert simulated.log_ratio.abs().mean().item() < 0.1


def test_averaging_by_the_exact_ratio_gives_the_real_expectation_without_its_noise() -> None:
    averaged = walk(log_ratio=exact_log_ratio, candidates=64, average=True)
    assert model_based(averaged.reward).item() == pytest.approx(REAL_RETURN, abs=0.06)  # bias of order 1/64 a step
    last = averaged.observation[:, -1, 0].double()
    assert last.mean().item() == pytest.approx((STEPS - 1) * (DRIFT + SIGMA * SHIFT[0].item()), abs=0.06)
    assert last.std().item() < 0.25 * SIGMA * math.sqrt(7)


@pytest.mark.parametrize("candidates", [2, 5])
def test_averaging_by_a_ratio_of_one_gives_the_mean_of_the_model(candidates: int) -> None:
    averaged = walk(log_ratio=ratio_of_one, candidates=candidates, average=True)
    torch.testing.assert_close(averaged.reward, torch.full_like(averaged.reward, REWARD))
    assert not averaged.log_ratio.any()


def test_episodes_end_in_terminal_states() -> None:
    def terminal(observation: torch.Tensor) -> torch.Tensor:
        return observation[:, 0] > 2.0

    simulated = simulate(random_walk(), policy(), START, STEPS, terminal, generator(), log_ratio=exact_log_ratio)
    for states, rewards, ratios in zip(
        simulated.observation[:50, :, 0], simulated.reward[:50], simulated.log_ratio[:50], strict=True
    ):
        beyond = (states > 2.0).nonzero()
        end = int(beyond[0]) if len(beyond) else STEPS
        # the state that ends it is the one after its last step; nothing is seen of it but the rewards that stop
        count = int((rewards != 0).sum())
        assert count <= end
        assert not rewards[count:].any()
        assert not ratios[count:].any()
    lengths = (simulated.reward != 0).sum(1).double()
    # a naive simulation of the first passage
    state, alive, total = torch.zeros(100_000), torch.ones(100_000, dtype=torch.bool), 0.0
    for _ in range(STEPS):
        total += alive.double().mean().item()
        state = state + DRIFT + SIGMA * torch.randn(100_000, generator=generator(int(total * 1e6)))
        alive &= state <= 2.0
    assert lengths.mean().item() == pytest.approx(total, abs=0.06)


def test_diverged_trajectories_are_dropped_and_counted() -> None:
    model = random_walk(members=4)
    model.net.biases[-1][1] = math.nan
    simulated = simulate(
        model, policy(), START[:40], STEPS, never, generator(), log_ratio=lambda x: torch.zeros(len(x)).double()
    )
    assert simulated.num_diverged == 10
    assert len(simulated.reward) == 30
    assert torch.isfinite(simulated.reward).all()
    assert set(simulated.member.tolist()) == {0, 2, 3}
    model.net.biases[-1].fill_(math.nan)
    with pytest.raises(InputError, match="all 40 simulated trajectories diverged"):
        simulate(model, policy(), START[:40], STEPS, never, generator())


def test_a_diverged_member_leaves_the_choice_among_candidates_alone() -> None:
    model = random_walk()
    model.net.biases[-1][0] = math.nan
    simulated = simulate(
        model, policy(), START[:40], STEPS, never, generator(), log_ratio=lambda x: x.double().sum(1), candidates=4
    )
    assert simulated.num_diverged == 20


def test_what_the_classifier_sees() -> None:
    observation, action = torch.arange(6.0).view(2, 3, 1), torch.arange(6.0).view(2, 3, 1) + 10
    residual = torch.arange(24.0).view(2, 2, 3, 2)
    inputs = ratio_inputs(observation, action, residual)
    assert inputs.shape == (2, 2, 3, 6)
    assert inputs[1, 0, 2].tolist() == [2, 12, 1, 0, 16, 17]
    assert inputs[0, 1, 0].tolist() == [3, 13, 0, 1, 6, 7]


def test_values_of_the_rest_of_an_episode() -> None:
    observation, action = torch.zeros(300, STEPS, 1), torch.zeros(300, STEPS, 1)
    q, v = model_values(random_walk(), policy(), observation, action, never, generator())
    left = STEPS - torch.arange(STEPS)
    for values in (q, v):
        error = SIGMA * (left / 300).sqrt()
        assert ((values.mean(0) - left * REWARD).abs() < 4 * error).all()
        torch.testing.assert_close(values.std(0), SIGMA * left.sqrt(), rtol=0.2, atol=0)


def test_values_start_with_the_action_that_was_taken() -> None:
    model = random_walk()
    # the reward grows with the action: one unit passes it on, linear where silu(x) − silu(−x) = x
    model.net.weights[0][:, 1, 0], model.net.weights[0][:, 1, 1] = 1.0, -1.0
    model.net.weights[1][:, 0, 1], model.net.weights[1][:, 1, 1] = 1.0, -1.0
    observation = torch.zeros(500, 3, 1)
    taken = torch.full((500, 3, 1), 0.7)
    q, v = model_values(model, policy(), observation, taken, never, generator())
    gain = model.target_std[1].item()
    draws = policy().sample(torch.zeros(20_000, 1), generator()).clamp(-1, 1).mean().item()
    assert (q[:, -1].mean() - v[:, -1].mean()).item() == pytest.approx(gain * (0.7 - draws), abs=0.4 * gain)


@pytest.mark.parametrize(
    ("options", "message"), [({"candidates": 4}, "need a ratio"), ({"candidates": 0}, "0 candidates")]
)
def test_options_that_do_not_do(options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        simulate(random_walk(), policy(), START, STEPS, never, generator(), **options)
    with pytest.raises(InputError, match="1 first states for 2 members"):
        simulate(random_walk(), policy(), START[:1], STEPS, never, generator())
