"""SNGAN's networks and the projected critic."""

import pytest
import torch
from torch import nn

from lfiw import InputError
from lfiw.features.resnet import CifarResNet
from lfiw.generators.gan import ProjectedCritic, SNGANCritic, SNGANGenerator


def test_shapes_and_sizes_as_published() -> None:
    """4.1 and 1.1 million parameters: counted by hand from table 4 of Miyato et al. 2018."""
    generator = SNGANGenerator((3, 32, 32), latent=128, width=256)
    block = 2 * (2 * 256) + 2 * (9 * 256 * 256 + 256) + 256 * 256 + 256
    expected = 128 * 4096 + 4096 + 3 * block + 2 * 256 + 9 * 256 * 3 + 3
    assert sum(p.numel() for p in generator.parameters()) == expected
    images = generator.eval()(torch.randn(2, 128))
    assert images.shape == (2, 3, 32, 32)
    assert images.abs().max() <= 1
    critic = SNGANCritic((3, 32, 32), width=128)
    conv = 9 * 128 * 128 + 128
    first = 9 * 3 * 128 + 128 + conv + 3 * 128 + 128
    expected = first + (2 * conv + 128 * 128 + 128) + 2 * 2 * conv + 129
    assert sum(p.numel() for p in critic.parameters()) == expected
    assert critic(images).shape == (2, 1)


def test_the_critic_has_spectral_norm_one() -> None:
    torch.manual_seed(0)
    critic = SNGANCritic((3, 8, 8), width=8)
    for _ in range(50):  # a step of power iteration for each pass
        critic(torch.randn(2, 3, 8, 8))
    critic.eval()
    for layer in critic.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            norm = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)
            torch.testing.assert_close(norm, torch.ones(()), rtol=0.02, atol=0)


@pytest.mark.parametrize("shape", [(3, 12, 8), (3,)])
def test_shapes_that_do_not_do(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError):
        SNGANGenerator(shape, latent=4, width=4)


def test_features_of_the_projected_critic_stay_frozen(tmp_path) -> None:
    torch.manual_seed(0)
    weights = {f"module.{name}": value for name, value in CifarResNet(3).state_dict().items()}
    torch.save({"state_dict": weights}, tmp_path / "resnet20.th")
    critic = ProjectedCritic((3, 32, 32), width=8, features=tmp_path / "resnet20.th").train()
    assert not critic.net.training
    images = torch.rand(4, 3, 32, 32, requires_grad=True)
    outputs = critic(images * 2 - 1)
    assert outputs.shape == (4, 4 * 16)  # a map of 4×4 for each of three depths, and for the pixels
    outputs.mean().backward()
    assert images.grad is not None
    trained = {name.split(".")[0] for name, p in critic.named_parameters() if p.grad is not None}
    assert trained == {"heads", "on_pixels"}
    for name, value in critic.net.state_dict().items():
        assert torch.equal(value, weights[f"module.{name}"]), name  # batch norm's statistics too


def test_what_the_projected_critic_does_not_take(tmp_path) -> None:
    with pytest.raises(InputError, match=r"\(3, 32, 32\)"):
        ProjectedCritic((1, 8, 8), width=8, features=None)
    torch.save(CifarResNet(9).state_dict(), tmp_path / "resnet56.th")
    with pytest.raises(InputError, match="does not hold a ResNet-20"):
        ProjectedCritic((3, 32, 32), width=8, features=tmp_path / "resnet56.th")
