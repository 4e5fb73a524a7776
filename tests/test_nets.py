"""Networks of the registry: shapes, options, bounds."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lfiw import InputError
from lfiw.nets import NETS, build_net
from lfiw.schemas import MODELS

OPTIONS: dict[str, dict[str, Any]] = {
    "mlp": {"width": 16, "depth": 2, "dropout": 0.1, "activation": "silu"},
    "conv4": {"width": 8, "dropout": 0.1},
    "resnet": {"width": 8, "blocks": 2, "stages": 3, "dropout": 0.1},
}
SHAPES = {"mlp": [(3,), (1, 8, 8), (2, 3)], "conv4": [(1, 8, 8), (3, 32, 32), (1, 3, 5), (2, 1, 1)],
          "resnet": [(1, 8, 8), (3, 32, 32), (1, 3, 5)]}  # fmt: skip
CASES = [(name, shape) for name in OPTIONS for shape in SHAPES[name]]


def make(name: str, shape: tuple[int, ...], **more: Any) -> Any:
    torch.manual_seed(0)
    outputs = more.pop("outputs", 1)
    return build_net({"name": name, **OPTIONS[name], **more}, shape, outputs)


def test_every_network_is_tested() -> None:
    assert set(OPTIONS) == set(NETS)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_shapes_and_two_steps(name: str, shape: tuple[int, ...]) -> None:
    net = make(name, shape, outputs=5).eval()
    x = torch.randn(4, *shape)
    penultimate = net.penultimate(x)
    assert penultimate.shape == (4, net.last.in_features)
    assert net(x).shape == (4, 5)
    assert torch.equal(net.last(penultimate), net(x))
    assert net(x[:0]).shape == (0, 5)  # a process may have no rows of the last batch
    loss = net.train()(x).square().sum()
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_a_logit_does_not_depend_on_the_rest_of_the_batch(name: str, shape: tuple[int, ...]) -> None:
    net = make(name, shape).eval()
    x = torch.randn(6, *shape)
    torch.testing.assert_close(net(x), torch.cat([net(row[None]) for row in x]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "shape"), [("mlp", (3,)), ("conv4", (1, 8, 8)), ("resnet", (1, 8, 8))])
def test_spectral_norm_bounds_every_weight(name: str, shape: tuple[int, ...]) -> None:
    net = make(name, shape, spectral_norm=True, **({"blocks": 1, "stages": 2} if name == "resnet" else {}))
    with torch.no_grad():
        for p in net.parameters():
            if p.ndim > 1:
                p.mul_(10)
    for _ in range(100):  # each forward pass in training is a step of the power iteration
        with torch.no_grad():
            net(torch.randn(2, *shape))
    layers = [layer for layer in net.eval().modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    assert len(layers) > 2
    for layer in layers:
        largest = np.linalg.norm(layer.weight.detach().flatten(1).double().numpy(), ord=2)
        assert largest == pytest.approx(1, rel=0.02)  # what a hundred steps leave


def test_mlp_with_spectral_norm_is_lipschitz() -> None:
    net = make("mlp", (4,), spectral_norm=True, activation="relu")
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(20)
    for _ in range(100):
        net(torch.randn(2, 4))
    net.eval()
    a, b = torch.randn(2, 500, 4)
    with torch.no_grad():
        slope = (net(a) - net(b)).squeeze(1).abs() / (a - b).norm(dim=1)
    assert slope.max() <= 1.05


def test_without_spectral_norm_weights_are_free() -> None:
    assert not any("parametrizations" in name for name in make("mlp", (3,)).state_dict())


def test_mlp_is_what_it_says() -> None:
    net = make("mlp", (2, 3), depth=3, activation="relu", dropout=0.0).eval()
    x = torch.randn(5, 2, 3)
    hidden = x.flatten(1).detach().numpy()
    linear = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in linear] == [16, 16, 16, 1]
    for layer in (layer for layer in linear if layer is not net.last):
        hidden = np.maximum(hidden @ layer.weight.detach().numpy().T + layer.bias.detach().numpy(), 0)
    np.testing.assert_allclose(net.penultimate(x).detach().numpy(), hidden, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["conv4", "resnet"])
@pytest.mark.parametrize("shape", [(5,), (8, 8), (1, 2, 8, 8)])
def test_convolutions_need_images(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=f"model={name} needs images .*; use model=mlp"):
        make(name, shape)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("mlp", {"widht": 3}, "network mlp: .*'widht'"),
        ("mlp", {"activation": "tanh"}, "model.activation=tanh: expected one of relu, silu"),
        ("mlp", {"dropout": 1.5}, r"model.dropout=1.5 must lie in \[0, 1\]"),
        ("mlp", {"width": -1}, "model.width=-1 must be at least 1"),
        ("mlp", {"width": 0}, "model.width=0 must be at least 1"),
        ("mlp", {"depth": -1}, "model.depth=-1 must be at least 0"),
        ("conv4", {"width": -1}, "model.width=-1 must be at least 1"),
        ("resnet", {"width": 12}, "model.width=12 must be a positive multiple of 8"),
        ("conv4", {"width": 12, "norm": "group"}, r"network conv4: num_channels \(12\) must be divisible"),
    ],
)
def test_bad_options(name: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        make(name, (1, 8, 8), **change)
    assert "\n" not in str(error.value)


def test_unknown_names() -> None:
    with pytest.raises(InputError, match="no network 'foo'; networks: mlp, conv4, resnet"):
        build_net({"name": "foo"}, (3,))
    with pytest.raises(InputError, match="no network None"):
        build_net({}, (3,))


def test_options_are_left_as_they_are() -> None:
    options = {"name": "mlp", **OPTIONS["mlp"], "spectral_norm": True}
    kept = dict(options)
    build_net(options, (3,))
    assert options == kept


@pytest.mark.parametrize("name", NETS)
def test_a_name_alone_gives_what_the_configuration_gives(name: str) -> None:
    """Defaults stand in the classes and in the schemas: they must be the same."""
    defaults = dataclasses.asdict(MODELS[name]())
    of_name, of_schema = build_net({"name": name}, (1, 16, 16)), build_net(defaults, (1, 16, 16))
    assert str(of_name) == str(of_schema)
