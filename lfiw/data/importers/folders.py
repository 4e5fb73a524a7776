"""Folders and zip archives of image files."""

import hashlib
import io
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from lfiw.archives import Archive
from lfiw.data.importers.imported import Imported
from lfiw.errors import InputError, first_line

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
GRAY, COLOUR = {"1", "L"}, {"RGB", "RGBA", "P", "LA", "CMYK"}  # Pillow's names for 8 bits a channel
BLOCK_FILES = 256
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)  # of Pillow, and of archives
MOST_PIXELS = 1 << 26  # of one image: 8,192 squared
MOST_BYTES = 1 << 28  # of one file, packed or not, and of the images read at once
NAMED = 5  # bad files that are told by name


@dataclass(frozen=True)
class ImageFiles:
    """Files somewhere: `where` is the folder or archive, `names` are paths in it, `content` reads one."""

    where: Path
    names: Sequence[PurePosixPath]
    content: Callable[[PurePosixPath], bytes]

    def open(self, name: PurePosixPath) -> Image.Image:
        """The image; its pixels are decoded when they are asked for.

        Raises:
            InputError, one of UNREADABLE: it is damaged, none, or too large.
        """
        return open_image(self.content(name))

    def error(self, name: PurePosixPath, what: str) -> InputError:
        return InputError(f"{self.where / name}: {what}: remove it, write it again, or leave it out with --skip-bad")


@dataclass(frozen=True)
class Facts:
    """What the headers of all files say."""

    mode: str  # "L" or "RGB"
    alpha: bool
    most_pixels: int  # of an image
    sha256: str  # over names and contents


def import_folder(path: Path, size: int | None = None, skip_bad: bool = False) -> Imported:
    """Images in a folder, in the order of their names; sub-folders are classes, numbered in the order of theirs.

    Args:
        size: crop each image to its central square and resize it to this side (bicubic, antialiased).
        skip_bad: leave out files that cannot be decoded, and tell which.

    Raises:
        InputError: no image, sizes that differ, a file that is not an image or has more than 8 bits a channel.
    """
    if not path.is_dir():
        hint = ": it is a file; an .npz file goes as npz FILE, an archive as zip FILE" if path.is_file() else ""
        raise InputError(f"{path}: no such folder{hint}")
    names = [PurePosixPath(file.relative_to(path).as_posix()) for file in path.rglob("*") if file.is_file()]
    files = ImageFiles(path, names, lambda name: read_bounded(path / name))
    return import_images(files, {"folder": path.resolve().name}, size, skip_bad)


def import_zip(path: Path, size: int | None = None, skip_bad: bool = False) -> Imported:
    """Images in a zip archive, as `import_folder`; nothing is unpacked on the disk.

    Raises:
        InputError: as `import_folder`, no such archive, or one that is not to be trusted (`lfiw.archives`).
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    archive = Archive(path)
    names = {PurePosixPath(name): name for name in archive.members}
    files = ImageFiles(path, list(names), lambda name: archive.read(names[name], MOST_BYTES))
    return import_images(files, {"archive": path.name}, size, skip_bad)


def import_images(found: ImageFiles, source: dict[str, str], size: int | None, skip_bad: bool) -> Imported:
    """Image files from anywhere; arguments and errors as `import_folder`."""
    if size is not None and size < 1:
        raise InputError(f"size {size}: expected at least 1")
    names, classes = find_images(found)
    files = ImageFiles(found.where, names, found.content)
    notes = []
    if skip_bad:
        files, bad = without_bad(files)
        if bad:
            more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
            notes.append(f"skipped {len(bad)} bad files: {', '.join(map(str, bad[:NAMED]))}{more}")
    facts = survey(files, size)
    notes.insert(0, f"{len(files.names):,} files, {'grey' if facts.mode == 'L' else 'RGB'}")
    if facts.alpha:
        notes.append("alpha channels were dropped")
    if classes:
        notes.append(f"{len(classes)} classes: {', '.join(classes[:10])}{', …' if len(classes) > 10 else ''}")
    if size is not None:
        notes.append(f"cropped to the central square and resized to {size} × {size}, bicubic")

    def read(start: int, stop: int) -> dict[str, Tensor]:
        part = files.names[start:stop]
        block = {"image": torch.stack([read_image(files, name, facts.mode, size) for name in part])}
        if classes:
            block["label"] = torch.tensor([classes.index(name.parts[0]) for name in part])
        return block

    described = {**source, "sha256": facts.sha256, "classes": classes, "notes": notes}
    image_bytes = size * size * 3 if size is not None else facts.most_pixels * 3
    block_files = max(1, min(BLOCK_FILES, MOST_BYTES // image_bytes))
    return Imported(described, tuple(notes), len(files.names), read, block_files)


def read_bounded(path: Path) -> bytes:
    """Raises ValueError for a file that is too large to be an image."""
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"{size:,} bytes, at most {MOST_BYTES:,}")
    return path.read_bytes()


def open_image(content: bytes) -> Image.Image:
    """Raises one of UNREADABLE: it is no image, or has more than `MOST_PIXELS`; Pillow's own warnings say less."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(io.BytesIO(content))
    if image.width * image.height > MOST_PIXELS:
        raise ValueError(f"{image.width} × {image.height} pixels, at most {MOST_PIXELS:,}")
    return image


def find_images(found: ImageFiles) -> tuple[list[PurePosixPath], list[str]]:
    """Image files in order, and the names of the sub-folders that hold them (none where they lie at the top).

    Raises:
        InputError: there are none, or they lie both at the top and in sub-folders.
    """
    names = sorted(
        name
        for name in found.names
        if name.suffix.lower() in SUFFIXES and not any(part.startswith((".", "__MACOSX")) for part in name.parts)
    )
    if not names:
        raise InputError(f"{found.where}: no image in it, expected files ending in {', '.join(sorted(SUFFIXES))}")
    depths = Counter(len(name.parts) > 1 for name in names)
    if len(depths) > 1:
        raise InputError(
            f"{found.where}: {depths[False]} images lie in the folder itself and {depths[True]} in sub-folders "
            "(classes): keep one of both"
        )
    return names, sorted({name.parts[0] for name in names}) if depths[True] else []


def without_bad(files: ImageFiles) -> tuple[ImageFiles, list[PurePosixPath]]:
    """The files that can be decoded, and those that cannot.

    Raises:
        InputError: none can be decoded.
    """
    good, bad = [], []
    for name in files.names:
        try:
            with files.open(name) as image:
                image.load()
            good.append(name)
        except (InputError, *UNREADABLE):
            bad.append(name)
    if not good:
        raise InputError(f"{files.where}: none of its {len(bad)} image files can be decoded")
    return ImageFiles(files.where, good, files.content), bad


def survey(files: ImageFiles, size: int | None) -> Facts:
    """Reads every file once, so that a wrong one is found before anything is written."""
    digest = hashlib.sha256()
    modes, sizes = Counter[str](), Counter[tuple[int, int]]()
    first_of: dict[tuple[int, int], PurePosixPath] = {}
    for name in files.names:
        try:
            content = files.content(name)
            digest.update(f"{name}\0".encode())
            digest.update(hashlib.sha256(content).digest())
            with open_image(content) as image:
                modes[image.mode] += 1
                sizes[image.size] += 1
                first_of.setdefault(image.size, name)
                if image.mode not in GRAY | COLOUR:
                    raise InputError(
                        f"{files.where / name}: mode {image.mode}, expected 8 bits a channel: convert it first"
                    )
        except UnidentifiedImageError:
            raise files.error(name, "not an image") from None
        except InputError:
            raise
        except UNREADABLE as error:
            raise files.error(name, f"cannot be read ({first_line(error)})") from None
    if size is None and len(sizes) > 1:
        (usual, count), odd = sizes.most_common()[0], sizes.most_common()[-1][0]
        raise InputError(
            f"{files.where / first_of[odd]}: {odd[0]} × {odd[1]} pixels, {count} others have {usual[0]} × {usual[1]}: "
            "give --size N to resize all"
        )
    mode, alpha = "L" if set(modes) <= GRAY else "RGB", bool(modes["RGBA"] + modes["LA"])
    return Facts(mode, alpha, max(width * height for width, height in sizes), digest.hexdigest())


def read_image(files: ImageFiles, name: PurePosixPath, mode: str, size: int | None) -> UInt8[Tensor, "c h w"]:
    try:
        with files.open(name) as opened:
            # A palette with transparency goes by way of RGBA, or Pillow warns.
            image = (opened.convert("RGBA") if "transparency" in opened.info else opened).convert(mode)
    except UNREADABLE as error:
        raise files.error(name, f"cannot be decoded ({first_line(error)})") from None
    if size is not None:
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(image))
    return pixels.unsqueeze(0) if mode == "L" else pixels.permute(2, 0, 1)
