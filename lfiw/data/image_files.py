"""Images out of tables: PNG files, or one .npz as sample sets are usually exchanged."""

import contextlib
import math
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from lfiw.errors import InputError
from lfiw.files import replacing, write_errors

ARRAY = "arr_0"  # the name that numpy gives, and that readers of sample sets expect


def check_images_target(path: Path) -> None:
    """Images may be written there: nothing is there, or, but for an .npz file, an empty folder.

    Raises:
        InputError: something is there.
    """
    if path.exists() and not (path.is_dir() and path.suffix != ".npz" and not any(path.iterdir())):
        raise InputError(f"{path}: exists already: choose another path for the images, or remove it")


def write_images(path: Path, blocks: Iterable[UInt8[Tensor, "_ c h w"]], num: int) -> None:
    """Writes `num` images: to NAME.npz as `arr_0`, uint8 (N, H, W, C); otherwise as PNG files named by row number.

    Memory: one block. The file or folder appears when it is whole.

    Raises:
        InputError: something is there, it cannot be written, or (PNG) the images are neither grey nor RGB.
    """
    check_images_target(path)
    if path.suffix == ".npz":
        write_npz(path, blocks, num)
    else:
        write_png_files(path, blocks, num)


def write_npz(path: Path, blocks: Iterable[UInt8[Tensor, "_ c h w"]], num: int) -> None:
    with (
        replacing(path) as temporary,
        zipfile.ZipFile(temporary, "w") as archive,
        archive.open(f"{ARRAY}.npy", "w", force_zip64=True) as member,
    ):
        write_array(member, (block.permute(0, 2, 3, 1).numpy() for block in blocks), num)


def write_array(file: Any, blocks: Iterable[np.ndarray], num: int) -> None:
    """Writes blocks of `num` rows in all, at least one, to an open file, as one array in NumPy's format."""
    for number, block in enumerate(blocks):
        if number == 0:
            descr = np.lib.format.dtype_to_descr(block.dtype)
            header = {"descr": descr, "fortran_order": False, "shape": (num, *block.shape[1:])}
            np.lib.format.write_array_header_1_0(file, header)
        file.write(np.ascontiguousarray(block).data)


def write_png_files(path: Path, blocks: Iterable[UInt8[Tensor, "_ c h w"]], num: int) -> None:
    with folder_in_place(path) as folder:
        for number, image in enumerate(image for block in blocks for image in block):
            picture(image).save(folder / png_name(number, num))


def png_name(number: int, num: int) -> str:
    """The name of one of `num` files, in whose order they sort."""
    return f"{number:0{max(6, len(str(num - 1)))}d}.png"


def picture(image: UInt8[Tensor, "c h w"]) -> Image.Image:
    """Raises InputError for an image that is neither grey nor RGB."""
    channels = len(image)
    if channels not in (1, 3):
        raise InputError(f"images of {channels} channels cannot be PNG files: choose a name that ends in .npz")
    pixels = image.permute(1, 2, 0).numpy()
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


@contextlib.contextmanager
def folder_in_place(path: Path) -> Iterator[Path]:
    """Makes a hidden folder beside `path`; on leaving it takes its place, or is removed after an error."""
    temporary = path.with_name(f".{path.name}~")
    try:
        with write_errors(path):
            shutil.rmtree(temporary, ignore_errors=True)  # of a killed process
            temporary.mkdir(parents=True)
            yield temporary
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sample_grid(images: UInt8[Tensor, "n c h w"], file: Path, scale: int = 2) -> Path:
    """Writes all images in a square grid, pixel for pixel: each is `scale` × `scale` pixels of the picture."""
    columns = math.ceil(math.sqrt(len(images)))
    images = images if images.shape[1] in (1, 3) else images.float().mean(1, keepdim=True).to(torch.uint8)
    grid = make_grid(images, nrow=columns, padding=1, pad_value=255)
    pixels = grid.repeat_interleave(scale, 1).repeat_interleave(scale, 2).permute(1, 2, 0).contiguous().numpy()
    with replacing(file) as temporary:
        Image.fromarray(pixels).save(temporary)
    return file
