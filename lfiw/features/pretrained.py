"""Any network of timm or torchvision as an extractor: `timm:NAME`, `torchvision:NAME`. Nothing is downloaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from lfiw.errors import InputError, first_line, nearest
from lfiw.features.extractor import Extractor, over_blocks
from lfiw.files import user_path
from lfiw.untrusted import read_checkpoint, state_sha256

LIBRARIES = ("timm", "torchvision")
CPU_IMAGES = 4  # images at a time on a CPU
# minutes for initial weights that nobody uses
SLOW_START = {name: {"init_weights": False} for name in ("inception_v3", "googlenet")}
KERNELS = {"bilinear": "bilinear"}  # of resizing; others, such as Lanczos, become bicubic


@dataclass(frozen=True)
class Preprocessing:
    """What a network expects of its input: height and width, the kernel of resizing, and mean and scale of RGB/255."""

    size: tuple[int, int]
    kernel: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __str__(self) -> str:
        height, width = self.size
        return f"{self.kernel} resize to {height}×{width}, bytes/255, standardised by {self.mean} and {self.std}"


class PretrainedFeatures(Extractor):
    """What a network gives to its last layer: its pooled features.

    Images are resized to the network's own input size as a whole, without its crop, which would cut off what the
    samples show at their edges; rounded to bytes as an image library does it; and standardised by the network's mean
    and scale. One channel is repeated to three.

    Args:
        name: as in column names, `timm-resnet50`.
        shape: (channels, height, width) of the images.
        net: preprocessed images → (n, d).
    """

    batch_size = 128
    mean: Tensor
    std: Tensor

    def __init__(self, name: str, shape: Sequence[int], net: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise InputError(f"extractor {name} takes images (1 or 3, h, w), got samples of shape {tuple(shape)}")
        self.name, self.sha256, self.preprocessing = name, state_sha256(net.state_dict()), str(preprocessing)
        self._size, self._kernel = preprocessing.size, preprocessing.kernel
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(preprocessing.std).view(-1, 1, 1))
        # of the features' time on a CPU a third less: 52 against 33 images per CPU second of EfficientNet-Lite0
        self.net = net.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.num_features = self._count_features(shape)

    def _count_features(self, shape: Sequence[int]) -> int:
        with torch.inference_mode():
            found = self._features(torch.zeros(1, *shape, dtype=torch.uint8))
        if found.ndim != 2:
            raise InputError(f"extractor {self.name}: the network gives {tuple(found.shape)}, expected (1, d) features")
        return found.shape[1]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        if images.dtype != torch.uint8:
            raise InputError(f"extractor {self.name} takes uint8 images in 0 … 255, got {images.dtype}")
        return {"features": over_blocks(self._features, images, CPU_IMAGES)}

    def _features(self, images: Tensor) -> Tensor:
        x = images.expand(-1, 3, -1, -1).float()
        # antialias: the kernels of image libraries
        x = F.interpolate(x, self._size, mode=self._kernel, antialias=True).clamp_(0, 255).round_()
        x = ((x / 255 - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        features: Tensor = self.net(x)
        return features.float()


def pretrained_name(name: str) -> str | None:
    """The name in columns, `timm-NAME`, of an extractor that is called so or `timm:NAME`; None of any other."""
    for library in LIBRARIES:
        if name.startswith((f"{library}:", f"{library}-")):
            return f"{library}-{name[len(library) + 1 :]}"
    return None


def pretrained(name: str, shape: Sequence[int], files: Sequence[str]) -> PretrainedFeatures:
    """The network `timm-NAME` or `torchvision-NAME` with its weights.

    Args:
        files: NAME=FILE of the networks whose weights are not in their library's cache.

    Raises:
        InputError: no such network, no weights, those of another network, or images of another kind.
    """
    library, _, model = name.partition("-")
    file = weights_files(files).get(name)
    return (from_timm if library == "timm" else from_torchvision)(name, model, shape, file)


def weights_files(files: Sequence[str]) -> dict[str, Path]:
    """NAME=FILE of each network as a dictionary.

    Raises:
        InputError: something else, or a name of no network.
    """
    found = {}
    for text in files:
        given, _, file = text.partition("=")
        name = pretrained_name(given)
        if name is None or not file:
            raise InputError(f"features.files: {text!r}: expected timm:NAME=FILE or torchvision:NAME=FILE")
        found[name] = user_path(file)
    return found


def from_timm(name: str, model: str, shape: Sequence[int], file: Path | None) -> PretrainedFeatures:
    try:
        import timm
        from timm.data.config import resolve_data_config
    except ImportError:
        raise InputError(f"extractor {name} needs timm: pip install 'lfiw[timm]'") from None
    if not timm.is_model(model):
        raise InputError(f"extractor {name}: timm has no such model{nearest(model, timm.list_models())}")
    try:
        net: Any = timm.create_model(model, pretrained=False, num_classes=0)
    except RuntimeError as error:  # an unknown tag after the dot
        raise InputError(f"extractor {name}: {first_line(error)}") from None
    data: dict[str, Any] = resolve_data_config({}, model=net)
    heads = net.pretrained_cfg.get("classifier") or ()
    places = cached_by_timm(net.pretrained_cfg)
    load_weights(net, found_file(name, file, places), name, (heads,) if isinstance(heads, str) else heads)
    return PretrainedFeatures(
        name,
        shape,
        net,
        Preprocessing(
            (data["input_size"][1], data["input_size"][2]),
            KERNELS.get(data["interpolation"], "bicubic"),
            tuple(data["mean"]),
            tuple(data["std"]),
        ),
    )


def cached_by_timm(origin: Mapping[str, Any]) -> list[Path]:
    """The files where timm keeps these weights once it has downloaded them."""
    places = []
    if repository := origin.get("hf_hub_id"):
        from huggingface_hub import constants, try_to_load_from_cache

        names = [origin.get("hf_hub_filename") or "model.safetensors", "pytorch_model.bin"]
        for file in names:
            found = try_to_load_from_cache(repository, file, cache_dir=constants.HF_HUB_CACHE)
            folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}" / "snapshots" / "…"
            places.append(Path(found) if isinstance(found, str) else folder / file)
    if url := origin.get("url"):
        places.append(Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name)
    return places


def from_torchvision(name: str, model: str, shape: Sequence[int], file: Path | None) -> PretrainedFeatures:
    from torchvision import models

    known = models.list_models(module=models)
    if model not in known:
        raise InputError(f"extractor {name}: torchvision has no such classifier{nearest(model, known)}")
    weights: Any = models.get_model_weights(model).DEFAULT
    expected = weights.transforms()
    places = [Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name]
    net = models.get_model(model, weights=None, **SLOW_START.get(model, {}))
    load_weights(net, found_file(name, file, places), name)
    linear = [path for path, module in net.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise InputError(f"extractor {name}: the network has no linear layer at its end, whose input its features are")
    net.set_submodule(linear[-1], nn.Identity())
    size = expected.crop_size[0]
    kernel = KERNELS.get(expected.interpolation.value, "bicubic")
    return PretrainedFeatures(
        name, shape, net, Preprocessing((size, size), kernel, tuple(expected.mean), tuple(expected.std))
    )


def found_file(name: str, given: Path | None, places: Sequence[Path]) -> Path:
    """The file of a network's weights: the one that is given, or the first that the library's cache has.

    Raises:
        InputError: there is none.
    """
    if given is not None:
        if not given.is_file():
            raise InputError(f"extractor {name}: {given}: no such file; features.files names its weights")
        return given
    for place in places:
        if place.is_file():
            return place
    where = " or ".join(map(str, places)) or "its library knows no weights of it"
    raise InputError(
        f"extractor {name}: no weights, and none are downloaded: expected {where}; or give "
        f"'features.files=[{name}=FILE]'"
    )


def load_weights(net: nn.Module, file: Path, name: str, heads: Sequence[str] = ()) -> None:
    """Loads a state dict: safetensors, or a checkpoint, bare or under `state_dict` or `model`.

    Names may begin with `module.`.

    Args:
        heads: modules whose weights are left out: the network has none.

    Raises:
        InputError: a file that cannot be read, or weights of another network.
    """
    try:
        raw: Any = load_file(file) if file.suffix == ".safetensors" else read_checkpoint(file, "cpu")
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} cannot be read as safetensors: {first_line(error)}") from None
    for key in ("state_dict", "model"):
        raw = raw[key] if isinstance(raw, Mapping) and isinstance(raw.get(key), Mapping) else raw
    try:
        state = {key.removeprefix("module."): value for key, value in raw.items()}
        state = {key: value for key, value in state.items() if not key.startswith(tuple(f"{head}." for head in heads))}
        missing, unexpected = net.load_state_dict(state, strict=False)
    except (AttributeError, RuntimeError, TypeError) as error:
        raise InputError(f"{file} does not hold the weights of {name}: {' '.join(str(error).split())[:200]}") from None
    if missing or unexpected:
        raise InputError(
            f"{file} does not hold the weights of {name}: {len(missing)} tensors are missing"
            f"{f' ({missing[0]}, …)' if missing else ''}, {len(unexpected)} unknown"
            f"{f' ({unexpected[0]}, …)' if unexpected else ''}"
        )
