"""Networks without training code, by name."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import nn
from torch.nn.utils import parametrizations

from lfiw.errors import InputError, first_line
from lfiw.nets.conv4 import Conv4
from lfiw.nets.mlp import MLP
from lfiw.nets.net import Net
from lfiw.nets.resnet import ResNet

NETS: dict[str, type[Net]] = {"mlp": MLP, "conv4": Conv4, "resnet": ResNet}


def build_net(options: Mapping[str, Any], shape: Sequence[int], outputs: int = 1) -> Net:
    """The network that `options["name"]` names, for samples of `shape`; the other options are its own.

    `spectral_norm` divides each weight by its largest singular value (Miyato et al. 2018).

    Raises:
        InputError: an unknown name, an unknown or missing option, a value that does not do, or samples of a shape that
            it cannot take.
    """
    own = dict(options)
    name, spectral_norm = own.pop("name", None), own.pop("spectral_norm", False)
    if name not in NETS:
        raise InputError(f"no network {name!r}; networks: {', '.join(NETS)}")
    try:
        net: Net = cast(Any, NETS[name])(shape, outputs=outputs, **own)
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:  # what torch's layers say of their arguments
        raise InputError(f"network {name}: {first_line(error)}") from None
    if spectral_norm:
        for layer in net.modules():
            if isinstance(layer, (nn.Linear, nn.Conv2d)):
                parametrizations.spectral_norm(layer)
    return net
