"""Data sets that torchvision or scikit-learn provide: CIFAR-10, digits, Omniglot."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import sklearn
import torch
import torchvision
from jaxtyping import Int64, UInt8
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F
from torchvision import datasets

from lfiw.data.cache.shards import hash_file
from lfiw.data.importers import Imported
from lfiw.data.importers.arrays import load_arrays
from lfiw.errors import InputError
from lfiw.tensors import to_tensor


def import_digits() -> Imported:
    """Imports the 1,797 digits of scikit-learn: `image` uint8 (N, 1, 8, 8), from 0…16 to 0…255, and `label`."""
    digits = load_digits()
    images = to_tensor(np.rint(digits.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
    labels = to_tensor(digits.target.astype(np.int64))
    source = {"dataset": "digits", "scikit-learn": sklearn.__version__}
    return Imported(
        source,
        ("digits of scikit-learn, 0…16 scaled to 0…255",),
        len(images),
        lambda start, stop: {"image": images[start:stop], "label": labels[start:stop]},
    )


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
    """Imports images and labels of a data set, in its own order; downloaded to `root` if they are not there.

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


SPLITS = {"background": 964, "evaluation": 659}  # characters
SIDE = 105
ARRAYS = ("images", "character", "alphabet", "drawer")
FILE_NAME = re.compile(r"\d+_(\d+)\.png")  # number of the character, of the drawer

Read = Callable[[slice], UInt8[np.ndarray, "n 105 105"]]


def import_omniglot(split: str, root: Path, file: Path | None = None, size: int = 28) -> Imported:
    """Imports drawings of one part of Omniglot, in the order of alphabets, characters and drawers.

    Columns: `image`, uint8 (1, size, size), 0 = paper, 255 = ink; `label`, the character, counted within the part;
    `alphabet`; `drawer`, 1 … 20.

    Args:
        split: background (964 characters of 30 alphabets) or evaluation (659 of 20 others).
        root: where torchvision has or puts its download.
        file: an .npz with images (N, 105, 105), uint8, 0 = paper, and character, alphabet, drawer (N,) in the place of
            a download.
        size: side of the images; smaller than 105: averaged over areas.

    Raises:
        InputError: the drawings can be neither found nor downloaded, or the file does not hold them.
    """
    if not 4 <= size <= SIDE:
        raise InputError(f"--size {size}: expected 4 … {SIDE}, the drawings' own size")
    source: dict[str, Any] = {"dataset": "omniglot", "split": split, "size": size}
    if file is not None:
        read, columns = read_arrays(file)
        source |= {"file": file.name, "sha256": hash_file(file)}
    else:
        read, columns = read_download(split, root)
    characters = len(columns["label"].unique())
    alphabets = len(columns["alphabet"].unique())
    note = f"{characters} characters of {alphabets} alphabets, {SIDE}×{SIDE} brought to {size}×{size}, 255 = ink"

    def rows(start: int, stop: int) -> dict[str, Tensor]:
        chosen = slice(start, stop)
        images = resized(to_tensor(read(chosen)).unsqueeze(1), size)
        return {"image": images, **{name: values[chosen] for name, values in columns.items()}}

    return Imported(source, (note,), len(columns["label"]), rows)


def resized(images: UInt8[Tensor, "n 1 h w"], size: int) -> UInt8[Tensor, "n 1 size size"]:
    """Resizes, bilinear with a support as wide as an output pixel: thin strokes become grey and do not vanish."""
    if images.shape[2:] == (size, size):
        return images
    small = F.interpolate(images.float(), size=(size, size), mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8)


def read_arrays(file: Path) -> tuple[Read, dict[str, Int64[Tensor, " n"]]]:
    """Returns how to read the images of an .npz, and its columns."""
    arrays = load_arrays(file)
    if absent := [name for name in ARRAYS if name not in arrays]:
        raise InputError(f"{file} lacks {', '.join(absent)}: expected {', '.join(ARRAYS)}")
    images = arrays["images"]
    if images.ndim != 3 or images.shape[1:] != (SIDE, SIDE) or images.dtype != np.uint8:
        raise InputError(f"{file}: images are {images.dtype} {images.shape}, expected uint8 (N, {SIDE}, {SIDE})")
    if images.max(initial=0) <= 1:
        raise InputError(f"{file}: no value of images is above 1, expected 0 for paper, 255 for ink: save 255 * images")
    columns = {}
    for name in ARRAYS[1:]:
        values = arrays[name]
        if values.shape != (len(images),) or values.dtype.kind not in "iu":
            raise InputError(f"{file}: {name} is {values.dtype} {values.shape}, expected {len(images)} whole numbers")
        columns["label" if name == "character" else name] = to_tensor(values).long()
    return lambda rows: images[rows], columns


def read_download(split: str, root: Path) -> tuple[Read, dict[str, Int64[Tensor, " n"]]]:
    """Returns how to read torchvision's download, and the columns from its folders' and files' names."""
    folder = Path(open_dataset(f"omniglot_{split}", split, root).target_folder)
    files: list[Path] = []
    found: dict[str, list[int]] = {"label": [], "alphabet": [], "drawer": []}
    characters = 0
    for alphabet, of_alphabet in enumerate(sorted(entry for entry in folder.iterdir() if entry.is_dir())):
        for character in sorted(entry for entry in of_alphabet.iterdir() if entry.is_dir()):
            for file in sorted(entry for entry in character.iterdir() if not entry.name.startswith(".")):
                match = FILE_NAME.fullmatch(file.name)
                if match is None:
                    raise InputError(f"{file}: expected a name as in 0001_01.png: remove it, or download again")
                files.append(file)
                for name, value in (("label", characters), ("alphabet", alphabet), ("drawer", int(match[1]))):
                    found[name].append(value)
            characters += 1
    if not files:
        raise InputError(f"{folder} has no drawings: remove it, so that it is downloaded again")

    def read(rows: slice) -> UInt8[np.ndarray, "n 105 105"]:
        drawings = []
        for file in files[rows]:
            with Image.open(file) as image:
                drawings.append(np.asarray(image.convert("L")))
        return 255 - np.stack(drawings)  # the files have black ink, 0, on white paper

    return read, {name: torch.tensor(values) for name, values in found.items()}
