"""ResNet-56 for CIFAR-10: shapes, the known number of parameters, and files that do not hold it."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lfiw.errors import InputError
from lfiw.features import FeatureOptions, ResNet56, build_extractor
from lfiw.features.resnet import BasicBlock, CifarResNet

SHAPE = (3, 32, 32)
IMAGES = torch.randint(0, 256, (5, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    net = CifarResNet(9)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
            module.running_mean.normal_()
    return {name: value.detach() for name, value in net.state_dict().items()}


@pytest.mark.parametrize("form", ["bare", "prefixed", "checkpoint"])
def test_forms_of_the_file(tmp_path: Path, state: dict[str, Tensor], form: str) -> None:
    prefixed = {f"module.{name}": value for name, value in state.items()}
    torch.save({"bare": state, "prefixed": prefixed, "checkpoint": {"state_dict": prefixed}}[form], tmp_path / "w.th")
    extractor = build_extractor("resnet56", SHAPE, FeatureOptions(resnet56_weights=tmp_path / "w.th"))
    assert (extractor.num_features, extractor.num_classes, extractor.training) == (64, 10, False)
    net = CifarResNet(9).eval()
    net.load_state_dict(state)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    features = net((IMAGES / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    out = extractor(IMAGES)
    torch.testing.assert_close(out["features"], features)
    torch.testing.assert_close(out["logits"], net.linear(features))
    assert extractor.columns["logits"] == f"logits/resnet56-{extractor.sha256[:8]}"


def test_the_hash_is_of_the_weights(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save(state, tmp_path / "a")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "b")
    torch.save({**state, "linear.bias": torch.ones(10)}, tmp_path / "c")
    a, b, c = (ResNet56(SHAPE, tmp_path / name).sha256 for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(("blocks", "parameters"), [(3, 269_722), (9, 853_018)])
def test_number_of_parameters(blocks: int, parameters: int) -> None:
    """0.27 M and 0.85 M in table 6 of He et al. 2016."""
    assert sum(p.numel() for p in CifarResNet(blocks).parameters()) == parameters


def test_shortcut() -> None:
    """With the last norm at zero a block is ReLU of its shortcut: every second pixel, zeros around the old channels."""
    block = BasicBlock(2, 4).eval()
    torch.nn.init.zeros_(block.bn2.weight)
    x = torch.randn(1, 2, 4, 4)
    expected = torch.zeros(1, 4, 2, 2)
    expected[:, 1:3] = F.relu(x[:, :, ::2, ::2])
    torch.testing.assert_close(block(x), expected)


def test_what_is_no_resnet56(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"set features\.resnet56_weights"):
        ResNet56(SHAPE, None)
    with pytest.raises(InputError, match="does not exist"):
        ResNet56(SHAPE, tmp_path / "missing")
    for content in ({"a": torch.zeros(1)}, [1, 2], CifarResNet(3).state_dict()):
        torch.save(content, tmp_path / "w.th")
        with pytest.raises(InputError, match="does not hold a ResNet-56") as error:
            ResNet56(SHAPE, tmp_path / "w.th")
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="takes CIFAR-10's images"):
        ResNet56((1, 28, 28), tmp_path / "w.th")
