"""Data sets of torchvision, by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
import torchvision
from torch import Tensor
from torchvision import datasets

from lfiw.data.arrays import to_tensor
from lfiw.data.importers.imported import Imported
from lfiw.errors import InputError

# name → (root, split, download) → the data set; `split` is train or test
OPEN: dict[str, Callable[[str, str, bool], Any]] = {
    "cifar10": lambda root, split, download: datasets.CIFAR10(root, split == "train", download=download),
    "cifar100": lambda root, split, download: datasets.CIFAR100(root, split == "train", download=download),
    "mnist": lambda root, split, download: datasets.MNIST(root, split == "train", download=download),
    "fashion_mnist": lambda root, split, download: datasets.FashionMNIST(root, split == "train", download=download),
    "kmnist": lambda root, split, download: datasets.KMNIST(root, split == "train", download=download),
    "omniglot_background": lambda root, split, download: datasets.Omniglot(root, True, download=download),
    "omniglot_evaluation": lambda root, split, download: datasets.Omniglot(root, False, download=download),
    "svhn": lambda root, split, download: datasets.SVHN(root, split, download=download),
    "stl10": lambda root, split, download: datasets.STL10(root, split, download=download),
}


def import_dataset(name: str, split: str, root: Path) -> Imported:
    """Images and labels of a data set, in its own order; downloaded to `root` if they are not there.

    Args:
        name: one of `OPEN`.
        split: "train" or "test".

    Raises:
        InputError: the data set can be neither found nor downloaded.
    """
    samples = open_dataset(name, split, root)

    def read(start: int, stop: int) -> dict[str, Tensor]:
        rows = [samples[row] for row in range(start, stop)]
        images = to_tensor(np.stack([np.asarray(image) for image, _ in rows]))
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
        return {"image": images, "label": torch.tensor([int(label) for _, label in rows])}

    source = {"dataset": name, "split": split, "torchvision": torchvision.__version__}
    return Imported(source, (f"{name}, {split} split",), len(samples), read)


def open_dataset(name: str, split: str, root: Path) -> Any:
    try:
        return OPEN[name](str(root), split, False)
    except RuntimeError:
        pass  # not there, or not whole
    try:
        return OPEN[name](str(root), split, True)
    except (URLError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{name} is not in {root} and cannot be downloaded ({reason}): go online, or give --root the folder where "
            "torchvision has put it before"
        ) from error
