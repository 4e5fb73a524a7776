"""The dynamics model on a system whose transition is known."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lfiw.errors import InputError
from lfiw.ratio.classifier import RatioClassifier
from lfiw.schemas import Trainer
from lfiw.tasks.ope.dynamics import DynamicsModel, EnsembleMLP, MemberBatches, Transitions, TransitionsDataModule
from lfiw.training.trainer import best_checkpoint, build_trainer, fit

OPTIONS = {"members": 2, "width": 32, "depth": 1, "linear_from": 40, "beta": 0.5, "lr": 0.01, "weight_decay": 0.0}
COVARIANCE = torch.tensor([[0.04, 0.03, 0.0], [0.03, 0.04, 0.0], [0.0, 0.0, 0.01]])


def mean_of(observation: Tensor, action: Tensor) -> Tensor:
    """Of (s′ − s, r); the third coordinate of s never changes."""
    return torch.stack(
        [0.3 * observation[:, 1], -0.5 * observation[:, 0] + action[:, 0], observation[:, 0] - action[:, 0]], dim=1
    )


def transitions(num: int, seed: int) -> Transitions:
    generator = torch.Generator().manual_seed(seed)
    observation = torch.randn(num, 3, generator=generator)
    observation[:, 2] = 4.0
    action = torch.rand(num, 1, generator=generator) * 2 - 1
    noise = torch.randn(num, 3, generator=generator) @ torch.linalg.cholesky(COVARIANCE).T
    outcome = mean_of(observation, action) + noise
    following = observation.clone()
    following[:, :2] += outcome[:, :2]
    return Transitions(observation, action, outcome[:, 2], following)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dynamics")
    datamodule = TransitionsDataModule(transitions(3000, 0), transitions(1000, 1), members=2, batch_size=150, seed=0)
    options = Trainer(accelerator="cpu", max_epochs=25, progress=False)
    fit(build_trainer(options, path, []), DynamicsModel(OPTIONS), datamodule)
    return path


@pytest.fixture(scope="module")
def trained(folder: Path) -> DynamicsModel:
    model = DynamicsModel.load(best_checkpoint(folder / "checkpoints"))
    model.fit_noise(transitions(4000, 2))
    return model


def test_the_mean_is_learned(trained: DynamicsModel) -> None:
    test = transitions(500, 3)
    mean, _ = trained(test.observation.expand(2, -1, -1), test.action.expand(2, -1, -1))
    expected = mean_of(test.observation, test.action)
    for of_member in mean:
        assert (of_member[:, [0, 1, 3]] - expected).square().mean().sqrt() < 0.09  # the noise is 0.1 to 0.2
    assert not torch.equal(mean[0], mean[1])


def test_the_noise_has_the_covariance_of_the_system(trained: DynamicsModel) -> None:
    test = transitions(20_000, 7)
    test = test.rows(test.observation[:, :2].abs().amax(1) < 1.5)  # at the rim the spread is less well learned
    observation, action = test.observation.expand(2, -1, -1), test.action.expand(2, -1, -1)
    noise = torch.randn(2, len(test), 4, generator=torch.Generator().manual_seed(0))
    following, reward = trained.step(observation, action, noise)
    outcome = torch.cat([following - observation, reward[..., None]], dim=-1)[..., [0, 1, 3]]
    error = outcome - mean_of(test.observation, test.action)
    for of_member in error:
        # what the mean has not learned adds to it
        torch.testing.assert_close(torch.cov(of_member.T), COVARIANCE, atol=0.01, rtol=0.15)
        assert torch.corrcoef(of_member.T)[0, 1] > 0.5  # 0.75; independent noise would have 0


def test_what_never_changes_is_left_alone(trained: DynamicsModel) -> None:
    test = transitions(100, 4)
    noise = torch.randn(2, 100, 4, generator=torch.Generator().manual_seed(0))
    following, _ = trained.step(test.observation.expand(2, -1, -1), test.action.expand(2, -1, -1), noise)
    assert (following[..., 2] == 4.0).all()
    assert trained.changes.tolist() == [True, True, False, True]


def test_residuals_are_the_noise_that_made_the_outcome(trained: DynamicsModel) -> None:
    test = transitions(100, 5)
    observation, action = test.observation.expand(2, -1, -1), test.action.expand(2, -1, -1)
    noise = torch.randn(2, 100, 4, generator=torch.Generator().manual_seed(0))
    following, reward = trained.step(observation, action, noise)
    outcome = torch.cat([following - observation, reward[..., None]], dim=-1)
    found = trained.residual(observation, action, outcome)
    torch.testing.assert_close(found, noise[..., trained.changes], atol=2e-4, rtol=0)


def test_real_residuals_are_standard_normal(trained: DynamicsModel) -> None:
    test = transitions(4000, 6)
    rows = (v.expand(2, *v.shape) for v in (test.observation, test.action, test.targets()))
    for of_member in trained.residual(*rows):
        torch.testing.assert_close(torch.cov(of_member.T), torch.eye(3), atol=0.12, rtol=0)


def test_outcomes_are_cut_far_out_of_the_training_rows(trained: DynamicsModel) -> None:
    state = torch.full((2, 10, 3), 50.0)
    following, reward = trained.step(state, torch.zeros(2, 10, 1), torch.zeros(2, 10, 4))
    train = transitions(3000, 0)
    low, high = train.next_observation.amin(0), train.next_observation.amax(0)
    assert (following <= high + 0.5 * (high - low) + 1e-4).all()
    assert torch.isfinite(reward).all()


def test_the_best_epoch_has_the_highest_held_out_likelihood(folder: Path) -> None:
    model = DynamicsModel.load(best_checkpoint(folder / "checkpoints"))
    held_out = transitions(1000, 1)
    mean, std = model(held_out.observation.expand(2, -1, -1), held_out.action.expand(2, -1, -1))
    changing = model.changes.nonzero().squeeze(1)
    normal = torch.distributions.Normal(mean[..., changing], std[..., changing])
    standardised = normal.log_prob(held_out.targets()[:, changing]) + model.target_std[changing].log()
    checkpoint = torch.load(best_checkpoint(folder / "checkpoints"), weights_only=True)
    scores = [state.get("best_model_score") for state in checkpoint["callbacks"].values()]
    best = next(score for score in scores if score is not None)
    assert best.item() == pytest.approx(-standardised.mean().item(), abs=1e-4)


def test_an_ensemble_is_its_members_side_by_side() -> None:
    net = EnsembleMLP(3, 4, 2, width=8, depth=2)
    x = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    for member in range(3):
        value = x[member]
        for layer, (weight, bias) in enumerate(zip(net.weights, net.biases, strict=True)):
            value = torch.nn.functional.linear(value, weight[member].T, bias[member, 0])
            value = torch.nn.functional.silu(value) if layer < 2 else value
        torch.testing.assert_close(net(x)[member], value)


def test_many_nearly_linear_coordinates_pass_through_a_narrow_network(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    system = torch.randn(41, 41, generator=generator) / 41**0.5

    def rows(num: int) -> Transitions:
        inputs = torch.randn(num, 41, generator=generator)
        change = inputs @ system + 0.05 * torch.randn(num, 41, generator=generator)
        observation, action = inputs[:, :40], inputs[:, 40:]
        return Transitions(observation, action, change[:, 40], observation + change[:, :40])

    datamodule = TransitionsDataModule(rows(3000), rows(500), members=2, batch_size=100, seed=0)
    options = Trainer(accelerator="cpu", max_epochs=8, progress=False)
    fit(build_trainer(options, tmp_path, []), DynamicsModel({**OPTIONS, "width": 8}), datamodule)
    model, test = DynamicsModel.load(best_checkpoint(tmp_path / "checkpoints")), rows(500)
    mean, _ = model(test.observation.expand(2, -1, -1), test.action.expand(2, -1, -1))
    # eight units alone leave more than half of the variance
    assert (mean - test.targets()).square().mean() < 0.05 * test.targets().var()


def test_members_see_all_rows_in_orders_of_their_own() -> None:
    batches = MemberBatches(10, members=2, batch_size=5, seed=0)
    first = torch.cat(list(batches), dim=1)
    assert first.sort(dim=1).values.tolist() == [list(range(10))] * 2
    assert first[0].tolist() != first[1].tolist()
    assert torch.equal(first, torch.cat(list(batches), dim=1))
    batches.set_epoch(1)
    assert not torch.equal(first, torch.cat(list(batches), dim=1))


def test_bad_input(tmp_path: Path) -> None:
    rows = transitions(10, 0)
    rows.reward[3] = torch.nan
    with pytest.raises(InputError, match="a training transition is NaN"):
        TransitionsDataModule(rows, transitions(10, 0), members=2)
    classifier = RatioClassifier({"name": "mlp"})
    torch.save({"classifier": {}, "state_dict": classifier.state_dict()}, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="not a checkpoint of a dynamics model"):
        DynamicsModel.load(tmp_path / "other.ckpt")
