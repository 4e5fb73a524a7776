"""Networks of the ratio classifier, by name.

They take samples of a given shape and are independent of training.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from lfiw.errors import InputError, first_line
from lfiw.schemas import MODELS, check_values


class Net(nn.Module):
    """(n, …) → (n, outputs), in two steps: `last(penultimate(x))`."""

    last: nn.Linear

    def penultimate(self, x: Tensor) -> Tensor:
        """Computes the inputs of the last layer: (n, …) → (n, features)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.penultimate(x))


def image_shape(shape: Sequence[int], net: str) -> tuple[int, int, int]:
    """Returns (channels, height, width) of a sample.

    Raises:
        InputError: the sample is not an image.
    """
    if len(shape) != 3:
        raise InputError(
            f"model={net} needs images (channels, height, width), the samples are {tuple(shape)}; use model=mlp"
        )
    channels, height, width = shape
    return channels, height, width


ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU}


class MLP(Net):
    """A perceptron on the flattened sample, with `depth` hidden layers of `width` units: (n, …) → (n, outputs)."""

    def __init__(
        self,
        shape: Sequence[int],
        *,
        width: int = 128,
        depth: int = 2,
        dropout: float = 0.0,
        activation: str = "silu",
        outputs: int = 1,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        features = math.prod(shape)
        for _ in range(depth):
            layers += [nn.Linear(features, width), ACTIVATIONS[activation](), nn.Dropout(dropout)]
            features = width
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(features, outputs)

    def penultimate(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Conv4(Net):
    """Four times convolution, ReLU, norm and max-pooling, then one linear layer: (n, c, h, w) → (n, outputs).

    Pooling stops once a side is 1, so that it takes 8×8 images as well as 105×105. With group norm, a sample's output
    depends neither on the rest of its batch nor on the number of processes.
    """

    def __init__(
        self, shape: Sequence[int], *, width: int = 64, dropout: float = 0.0, norm: str = "batch", outputs: int = 1
    ) -> None:
        super().__init__()
        channels, height, side = image_shape(shape, "conv4")
        blocks: list[nn.Module] = []
        for _ in range(4):
            blocks += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            blocks.append(nn.BatchNorm2d(width) if norm == "batch" else nn.GroupNorm(8, width))
            if min(height, side) > 1:
                blocks.append(nn.MaxPool2d(2))
                height, side = height // 2, side // 2
            blocks.append(nn.Dropout2d(dropout))
            channels = width
        self.blocks = nn.Sequential(*blocks, nn.Flatten())
        self.last = nn.Linear(width * height * side, outputs)

    def penultimate(self, x: Tensor) -> Tensor:
        return self.blocks(x.contiguous(memory_format=torch.channels_last))


class Block(nn.Module):
    """Pre-activation residual block (He et al. 2016), halving the resolution at the first block of a stage."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(8, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.skip = nn.Identity() if inputs == outputs and stride == 1 else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        return self.skip(x) + self.conv2(F.silu(self.norm2(hidden)))


class ResNet(Net):
    """A residual network with group norm: (n, c, h, w) → (n, outputs). A sample's logit is independent of its batch."""

    def __init__(
        self,
        shape: Sequence[int],
        *,
        width: int = 32,
        blocks: int = 1,
        stages: int = 3,
        dropout: float = 0.0,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        channels, _, _ = image_shape(shape, "resnet")
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1)]
        inputs = width
        for stage in range(stages):
            for block in range(blocks):
                layers.append(Block(inputs, width << stage, stride=2 if stage and not block else 1))
                inputs = width << stage
        layers += [nn.GroupNorm(8, inputs), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout)]
        self.blocks = nn.Sequential(*layers)
        self.last = nn.Linear(inputs, outputs)

    def penultimate(self, x: Tensor) -> Tensor:
        return self.blocks(x.contiguous(memory_format=torch.channels_last))


# a name, a name with options, a module, or a function that makes a module for a sample's shape
NetLike = str | Mapping[str, Any] | nn.Module | Callable[[tuple[int, ...]], nn.Module]
NETS: dict[str, type[Net]] = {"mlp": MLP, "conv4": Conv4, "resnet": ResNet}


def build_net(options: Mapping[str, Any], shape: Sequence[int], outputs: int = 1) -> Net:
    """Builds the network named by `options["name"]` for samples of `shape`; the other options are the network's.

    `spectral_norm` divides each weight by its largest singular value (Miyato et al. 2018).

    Raises:
        InputError: the name or an option is unknown, an option is missing or has a wrong value, or the network does not
            take samples of this shape.
    """
    own = dict(options)
    name, spectral_norm = own.pop("name", None), own.pop("spectral_norm", False)
    if name not in NETS:
        raise InputError(f"no network {name!r}; networks: {', '.join(NETS)}")
    check_values(own, MODELS[name], "model.")
    try:
        net: Net = cast(Any, NETS[name])(shape, outputs=outputs, **own)
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:  # raised by torch's layers for wrong arguments
        raise InputError(f"network {name}: {first_line(error)}") from None
    if spectral_norm:
        for layer in net.modules():
            if isinstance(layer, (nn.Linear, nn.Conv2d)):
                parametrizations.spectral_norm(layer)
    return net


def ratio_net(net: NetLike, shape: Sequence[int]) -> nn.Module:
    """Builds a network with one output per sample from any of its descriptions; a module is used as it is.

    Raises:
        InputError: as `build_net`, or a user's module does not return one number per sample of this shape.
    """
    if isinstance(net, str):
        return build_net({"name": net}, shape)
    if isinstance(net, Mapping):
        return build_net(net, shape)
    made = net if isinstance(net, nn.Module) else net(tuple(shape))
    if not isinstance(made, nn.Module):
        raise InputError(f"the function for the network gave a {type(made).__name__}, expected a torch.nn.Module")
    check_one_output(made, shape)
    return made


def check_one_output(net: nn.Module, shape: Sequence[int]) -> None:
    """Tries a network on two samples of zeros, which also initialises lazy layers."""
    was_training = net.training
    try:
        with torch.no_grad():
            outputs = net.eval()(torch.zeros(2, *shape))
    except Exception as error:  # whatever a user's module raises
        raise InputError(f"the network does not take samples of shape {tuple(shape)}: {first_line(error)}") from None
    net.train(was_training)
    if not isinstance(outputs, Tensor) or tuple(outputs.shape) not in ((2,), (2, 1)):
        got = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InputError(f"the network gives {got} for two samples, expected one logit each: (2,) or (2, 1)")
