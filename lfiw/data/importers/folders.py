"""Folders of image files."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from lfiw.data.importers.imported import Imported
from lfiw.errors import InputError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
GRAY, COLOUR = {"1", "L"}, {"RGB", "RGBA", "P", "LA", "CMYK"}  # Pillow's names for 8 bits a channel
BLOCK_FILES = 256


@dataclass(frozen=True)
class Facts:
    """What the headers of all files say."""

    mode: str  # "L" or "RGB"
    alpha: bool
    sha256: str  # over names and contents


def import_folder(path: Path, size: int | None = None) -> Imported:
    """Images in a folder, in the order of their names; sub-folders are classes, numbered in the order of theirs.

    Args:
        size: crop each image to its central square and resize it to this side (bicubic, antialiased).

    Raises:
        InputError: no image, sizes that differ, a file that is not an image or has more than 8 bits a channel.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no such folder")
    if size is not None and size < 1:
        raise InputError(f"size {size}: expected at least 1")
    files, classes = find_images(path)
    facts = survey(path, files, size)
    notes = [f"{len(files):,} files, {'grey' if facts.mode == 'L' else 'RGB'}"]
    if facts.alpha:
        notes.append("alpha channels were dropped")
    if classes:
        notes.append(f"{len(classes)} classes: {', '.join(classes[:10])}{', …' if len(classes) > 10 else ''}")
    if size is not None:
        notes.append(f"cropped to the central square and resized to {size} × {size}, bicubic")

    def blocks() -> Iterator[dict[str, Tensor]]:
        for start in range(0, len(files), BLOCK_FILES):
            part = files[start : start + BLOCK_FILES]
            block = {"image": torch.stack([read_image(file, facts.mode, size) for file in part])}
            if classes:
                block["label"] = torch.tensor([classes.index(file.relative_to(path).parts[0]) for file in part])
            yield block

    source = {"folder": path.resolve().name, "sha256": facts.sha256, "classes": classes, "notes": notes}
    return Imported(source, tuple(notes), blocks)


def find_images(path: Path) -> tuple[list[Path], list[str]]:
    """Image files in order, and the names of the sub-folders that hold them (none where they lie in the folder itself).

    Raises:
        InputError: there are none, or they lie both in the folder and in sub-folders.
    """
    files = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in SUFFIXES
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not files:
        raise InputError(f"{path}: no image in it, expected files ending in {', '.join(sorted(SUFFIXES))}")
    depths = Counter(len(file.relative_to(path).parts) > 1 for file in files)
    if len(depths) > 1:
        raise InputError(
            f"{path}: {depths[False]} images lie in the folder itself and {depths[True]} in sub-folders (classes): "
            "keep one of both"
        )
    return files, sorted({file.relative_to(path).parts[0] for file in files}) if depths[True] else []


def survey(path: Path, files: list[Path], size: int | None) -> Facts:
    """Reads every file once, so that a wrong one is found before anything is written."""
    digest = hashlib.sha256()
    modes, sizes = Counter[str](), Counter[tuple[int, int]]()
    first_of: dict[tuple[int, int], Path] = {}
    for file in files:
        digest.update(f"{file.relative_to(path).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
        try:
            with Image.open(file) as image:
                modes[image.mode] += 1
                sizes[image.size] += 1
                first_of.setdefault(image.size, file)
                if image.mode not in GRAY | COLOUR:
                    raise InputError(f"{file}: mode {image.mode}, expected 8 bits a channel: convert it first")
        except UnidentifiedImageError:
            raise InputError(f"{file}: not an image: remove it or write it again") from None
    if size is None and len(sizes) > 1:
        (usual, count), odd = sizes.most_common()[0], sizes.most_common()[-1][0]
        raise InputError(
            f"{first_of[odd]}: {odd[0]} × {odd[1]} pixels, {count} others have {usual[0]} × {usual[1]}: give --size N "
            "to resize all"
        )
    return Facts("L" if set(modes) <= GRAY else "RGB", bool(modes["RGBA"] + modes["LA"]), digest.hexdigest())


def read_image(file: Path, mode: str, size: int | None) -> UInt8[Tensor, "c h w"]:
    try:
        with Image.open(file) as opened:
            # A palette with transparency goes by way of RGBA, or Pillow warns.
            image = (opened.convert("RGBA") if "transparency" in opened.info else opened).convert(mode)
    except OSError as error:
        raise InputError(f"{file}: cannot be decoded ({error}): remove it or write it again") from None
    if size is not None:
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(image))
    return pixels.unsqueeze(0) if mode == "L" else pixels.permute(2, 0, 1)
