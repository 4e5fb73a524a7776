"""Image files in folders and zip archives.

Every file that is there is read, or refused, or counted in a note with an example.
"""

import hashlib
import io
import os
import stat
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from lfiw.data.importers import Imported
from lfiw.errors import InputError, first_line, printable
from lfiw.tensors import to_tensor
from lfiw.untrusted import Archive

GRAY = {"1", "L"}  # Pillow's names for 8 bits per channel
COLOUR = {"RGB", "RGBA", "RGBa", "RGBX", "P", "PA", "LA", "CMYK", "YCbCr"}
BLOCK_FILES = 256
MOST_BYTES = 1 << 28  # of one file, packed or not, and of the images read at once
NAMED = 5  # bad files that are reported by name
SYSTEM_FILES = ("__MACOSX", "Thumbs.db", "desktop.ini")

# drawings, films and tables of measurements, which Pillow knows at most by name; PostScript would be run as a program
NO_PICTURES = {"EPS", "WMF", "MPEG", "BUFR", "GRIB", "HDF5"}
Image.init()
FORMATS = tuple(name for name in Image.OPEN if name not in NO_PICTURES)
SUFFIXES = {suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS}
MOST_PIXELS = 1 << 26  # of one image: 8,192 squared
EXIF_OF_PNG = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")  # a PNG file without them is not turned

OF_NO_USE = (Image.DecompressionBombWarning, DeprecationWarning)  # warnings that do not concern the user
JPEG2000_SIZE = b"\xff\x4f\xff\x51"  # the markers before the sizes (ISO 15444-1, A.5.1)
UPRIGHT = {  # EXIF's number → what mends it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class ImageFiles:
    """Files somewhere: `where` is the folder or archive, `names` are paths in it, `content` reads one."""

    where: Path
    names: Sequence[PurePosixPath]
    content: Callable[[PurePosixPath], bytes]
    folders: frozenset[PurePosixPath] = frozenset()  # at the top, as far as they are known

    def place(self, name: PurePosixPath) -> str:
        return printable(self.where / name)

    def error(self, name: PurePosixPath, what: str) -> InputError:
        return InputError(f"{self.place(name)}: {what}: remove it, write it again, or leave it out with --skip-bad")


class Tally:
    """How often something was met, and the first file of each."""

    def __init__(self) -> None:
        self.counts = Counter[str]()
        self._first: dict[str, PurePosixPath] = {}

    def add(self, what: str, name: PurePosixPath) -> None:
        self.counts[what] += 1
        self._first.setdefault(what, name)

    def lines(self) -> list[str]:
        return [f"{what}: {count:,} (as {printable(self._first[what])})" for what, count in self.counts.items()]


@dataclass(frozen=True)
class Facts:
    """What the headers of all files say."""

    mode: str  # "L" or "RGB"
    most_pixels: int  # of an image
    sha256: str  # over names and contents
    notes: list[str]  # what is not read as it stands in the files


def import_folder(path: Path, size: int | None = None, skip_bad: bool = False) -> Imported:
    """Images in a folder, in the order of their names; sub-folders are classes, numbered in the order of theirs.

    Links are followed. Images are turned upright as their EXIF data say.

    Args:
        size: crop each image to its central square and resize it to this side (bicubic, antialiased).
        skip_bad: leave out files that cannot be decoded, and report which.

    Raises:
        InputError: no image, sizes that differ, a file that is not an image or has more than 8 bits per channel, a link
            that leads nowhere or round in a circle.
    """
    if not path.is_dir():
        hint = ": it is a file; an .npz file goes as npz FILE, an archive as zip FILE" if path.is_file() else ""
        raise InputError(f"{printable(path)}: no such folder{hint}")
    names = list(walk(path))
    folders = frozenset(PurePosixPath(entry.name) for entry in path.iterdir() if entry.is_dir())
    files = ImageFiles(path, names, lambda name: read_bounded(path / name), folders)
    return import_images(files, {"folder": printable(path.resolve().name)}, size, skip_bad)


def import_zip(path: Path, size: int | None = None, skip_bad: bool = False) -> Imported:
    """Imports images in a zip archive, as `import_folder`; nothing is unpacked on the disk.

    Raises:
        InputError: as `import_folder`, no such archive, or one that is not to be trusted (`lfiw.untrusted`).
    """
    if not path.is_file():
        raise InputError(f"{printable(path)}: no such file")
    archive = Archive(path)
    names = {PurePosixPath(name.replace("\\", "/")): name for name in archive.members}  # Windows may write either
    files = ImageFiles(path, list(names), lambda name: archive.read(names[name], MOST_BYTES))
    return import_images(files, {"archive": printable(path.name)}, size, skip_bad)


def import_images(found: ImageFiles, source: dict[str, str], size: int | None, skip_bad: bool) -> Imported:
    """Imports image files from anywhere; arguments and errors as `import_folder`."""
    names, classes, left_out = find_images(found)
    images = surveyed(ImageFiles(found.where, names, found.content), size, skip_bad)
    shown = [printable(name) for name in classes]
    listed = f"{len(classes)} classes: {', '.join(shown[:10])}{', …' if len(classes) > 10 else ''}"
    notes = [f"{len(images.names):,} files, {images.colour}", *left_out, *images.notes, *([listed] if classes else [])]
    number = {name: label for label, name in enumerate(classes)}

    def read(start: int, stop: int) -> dict[str, Tensor]:
        block: dict[str, Tensor] = {"image": images.read(start, stop)}
        if classes:
            block["label"] = torch.tensor([number[name.parts[0]] for name in images.names[start:stop]])
        return block

    described = {**source, "sha256": images.facts.sha256, "classes": shown, "notes": notes}
    return Imported(described, tuple(notes), len(images.names), read, images.block_rows)


@dataclass(frozen=True)
class Images:
    """Image files each of which has been looked at.

    Args:
        size: side that they are cropped and resized to. If None, they are as large as they are.
        notes: what was skipped, and what is not read as it stands in the files.
    """

    files: ImageFiles
    facts: Facts
    size: int | None
    notes: list[str]

    @property
    def names(self) -> Sequence[PurePosixPath]:
        return self.files.names

    @property
    def colour(self) -> str:
        return "grey" if self.facts.mode == "L" else "RGB"

    @property
    def block_rows(self) -> int:
        """How many are decoded at once."""
        pixels = self.size * self.size if self.size is not None else self.facts.most_pixels
        return max(1, min(BLOCK_FILES, MOST_BYTES // (3 * pixels)))

    def read(self, start: int, stop: int) -> UInt8[Tensor, "n c h w"]:
        part = self.names[start:stop]
        return torch.stack([read_image(self.files, name, self.facts.mode, self.size) for name in part])


def surveyed(files: ImageFiles, size: int | None, skip_bad: bool) -> Images:
    """Looks at every image; arguments and errors as `import_folder`."""
    if size is not None and size < 1:
        raise InputError(f"size {size}: expected at least 1")
    notes = []
    if skip_bad:
        files, bad = without_bad(files)
        if bad:
            more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
            notes.append(f"skipped {len(bad)} bad files: {', '.join(map(printable, bad[:NAMED]))}{more}")
    facts = survey(files, size)
    return Images(files, facts, size, [*notes, *facts.notes])


def walk(folder: Path) -> Iterator[PurePosixPath]:
    """Yields everything below a folder that is no folder, through links.

    Raises:
        InputError: a link leads nowhere, or to a folder that it lies in; a folder cannot be read.
    """
    there: list[tuple[PurePosixPath, tuple[tuple[int, int], ...]]] = [(PurePosixPath(), ())]
    while there:
        part, above = there.pop()
        where = folder / part
        try:
            state = where.stat()
            entries = list(os.scandir(where))
        except OSError as error:
            raise InputError(f"{printable(where)}: cannot be read ({printable(first_line(error))})") from None
        itself = (state.st_dev, state.st_ino)
        if itself in above:
            raise InputError(f"{printable(where)}: a link to a folder that it lies in, without an end: remove the link")
        for entry in entries:
            name = part / entry.name
            if os.path.isdir(entry):
                there.append((name, (*above, itself)))
            elif entry.is_symlink() and not os.path.exists(entry) and not is_hidden(name):
                raise InputError(f"{printable(folder / name)}: a link to what is not there: mend or remove it")
            else:
                yield name


def read_bounded(path: Path) -> bytes:
    """Raises ValueError for a file that is too large to be an image, or none."""
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise ValueError("a pipe or device, expected a file")
    if state.st_size > MOST_BYTES:
        raise ValueError(f"{state.st_size:,} bytes, at most {MOST_BYTES:,}")
    return path.read_bytes()


def is_hidden(name: PurePosixPath) -> bool:
    return any(part.startswith(".") or part in SYSTEM_FILES for part in name.parts)


def find_images(found: ImageFiles) -> tuple[list[PurePosixPath], list[str], list[str]]:
    """Finds the image files in order, the names of the sub-folders that hold them, and notes of what is left out.

    Raises:
        InputError: there are none, or they lie both at the top and in sub-folders.
    """
    names, others = [], Tally()
    for name in sorted(found.names):
        if is_hidden(name):
            others.add("hidden files left out", name)
        elif name.suffix.lower() in SUFFIXES:
            names.append(name)
        else:
            others.add("other files left out", name)
    if not names:
        there = f" ({'; '.join(others.lines())})" if others.counts else ""
        raise InputError(f"{printable(found.where)}: no image in it{there}, expected files as .png, .jpg, .tif, .webp")
    depths = Counter(len(name.parts) > 1 for name in names)
    if len(depths) > 1:
        raise InputError(
            f"{printable(found.where)}: {depths[False]} images lie in the folder itself and {depths[True]} in "
            "sub-folders (classes): keep one of both"
        )
    for name in names:
        if len(name.parts) > 2:
            others.add("files in folders within a class, which are not told apart", name)
    classes = sorted({name.parts[0] for name in names}) if depths[True] else []
    for name in sorted(found.folders - set(map(PurePosixPath, classes))):
        if not is_hidden(name):
            others.add("folders without an image, which get no label", name)
    return names, classes, others.lines()


def without_bad(files: ImageFiles) -> tuple[ImageFiles, list[PurePosixPath]]:
    """Tells the files that can be decoded from those that cannot.

    Raises:
        InputError: none can be decoded.
    """
    good, bad = [], []
    for name in files.names:
        try:
            content = files.content(name)
            if look(content).mode in GRAY | COLOUR:  # others are refused, not skipped
                decode(content, "RGB")
            good.append(name)
        except Exception:  # Pillow's formats fail in every way there is
            bad.append(name)
    if not good:
        raise InputError(f"{printable(files.where)}: none of its {len(bad)} image files can be decoded")
    return ImageFiles(files.where, good, files.content), bad


def survey(files: ImageFiles, size: int | None) -> Facts:
    """Reads every file once, so that a wrong one is found before anything is written."""
    digest = hashlib.sha256()
    modes, sizes, met = Tally(), Counter[tuple[int, int]](), Tally()
    first_of: dict[tuple[int, int], PurePosixPath] = {}
    for name in files.names:
        try:
            content = files.content(name)
            header = look(content)
        except UnidentifiedImageError:
            raise files.error(name, "not an image") from None
        except InputError:
            raise
        except Exception as error:  # as in `without_bad`
            raise files.error(name, f"cannot be read ({printable(first_line(error))})") from None
        digest.update(f"{name}\0".encode("utf-8", "surrogateescape"))
        digest.update(hashlib.sha256(content).digest())
        if header.mode not in GRAY | COLOUR or header.bits > 8:
            bits = f"{header.bits} bits per channel, " if header.bits > 8 else ""
            raise InputError(
                f"{files.place(name)}: mode {header.mode}, {bits}expected 8 bits per channel: convert it first, or "
                "give all images as floats in an .npz file"
            )
        modes.add(header.mode, name)
        sizes[header.size] += 1
        first_of.setdefault(header.size, name)
        for what in header.changed:
            met.add(what, name)
        if size is not None and header.size[0] != header.size[1]:
            met.add("cropped to the central square", name)
        if size is not None and header.size != (size, size):
            met.add(f"resized to {size} × {size}, bicubic", name)
    if size is None and len(sizes) > 1:
        (usual, count), odd = sizes.most_common()[0], sizes.most_common()[-1][0]
        raise InputError(
            f"{files.place(first_of[odd])}: {odd[0]} × {odd[1]} pixels, {count} others have {usual[0]} × {usual[1]}: "
            "give --size N to resize all"
        )
    mode = "L" if set(modes.counts) <= GRAY else "RGB"
    modes.counts.pop(mode, None)
    converted = [f"converted to {mode} from {line}" for line in modes.lines()]
    most_pixels = max(width * height for width, height in sizes)
    return Facts(mode, most_pixels, digest.hexdigest(), [*met.lines(), *converted])


def read_image(files: ImageFiles, name: PurePosixPath, mode: str, size: int | None) -> UInt8[Tensor, "c h w"]:
    try:
        image = decode(files.content(name), mode)
    except InputError:
        raise
    except Exception as error:  # as in `without_bad`
        raise files.error(name, f"cannot be decoded ({printable(first_line(error))})") from None
    if size is not None:
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    return read_pixels(image)


@dataclass(frozen=True)
class Header:
    """What is known of an image before it is decoded."""

    mode: str
    size: tuple[int, int]  # width, height as it is shown
    bits: int  # per channel; above 8 Pillow drops the lower ones, or says so by the mode
    changed: tuple[str, ...]  # in what way it is not read as it stands in the file


def look(content: bytes) -> Header:
    """Raises any error of Pillow, or ValueError: it is no image, or has more than `MOST_PIXELS`."""
    with warnings.catch_warnings(record=True) as warned, opened(content) as image:
        warnings.simplefilter("always")
        turned = orientation(image, content)
        width, height = stored_size(image)
        if turned >= 5:
            width, height = height, width
        changed = {
            "turned upright as EXIF says": turned != 1,
            "animated or of several pages, the first is read": getattr(image, "n_frames", 1) > 1,
            "transparency dropped, the colour below it is read": image.has_transparency_data,
        }
        bits = bits_of(image, content)
    kept = sorted({str(warning.message) for warning in warned if not issubclass(warning.category, OF_NO_USE)})
    warnings_of = tuple(f"read with a warning ({printable(text)})" for text in kept)
    return Header(image.mode, (width, height), bits, (*(what for what, met in changed.items() if met), *warnings_of))


def decode(content: bytes, mode: str) -> Image.Image:
    """Decodes the first frame, upright, without transparency. Raises as `look`."""
    with opened(content) as image:
        turned = orientation(image, content)
        image.load()
        upright = image.transpose(UPRIGHT[turned]) if turned != 1 and image.format != "TIFF" else image
        # A palette with transparency goes by way of RGBA, or Pillow warns.
        return (upright.convert("RGBA") if "transparency" in upright.info else upright).convert(mode)


def read_pixels(image: Image.Image) -> UInt8[Tensor, "c h w"]:
    """Reads the pixels of an image in mode L or RGB."""
    pixels = to_tensor(np.asarray(image))
    return pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.permute(2, 0, 1)


@contextmanager
def opened(content: bytes) -> Iterator[Image.Image]:
    """Opens the image; its pixels are decoded when they are asked for. Raises as `look`."""
    with warnings.catch_warnings():
        for category in OF_NO_USE:
            warnings.simplefilter("ignore", category)
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    with image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"{image.width} × {image.height} pixels, at most {MOST_PIXELS:,}")
        yield image


def orientation(image: Image.Image, content: bytes) -> int:
    """EXIF's number, 1 for upright, of an image that is not decoded yet.

    Of PNG files Pillow would decode all to look for it.
    """
    if image.format == "PNG" and not any(mark in content for mark in EXIF_OF_PNG):
        return 1
    turned = image.getexif().get(ExifTags.Base.Orientation)
    return turned if isinstance(turned, int) and turned in UPRIGHT else 1


def stored_size(image: Any) -> tuple[int, int]:
    """Returns width and height in the file; of a turned TIFF file Pillow may state what it will have."""
    tags = (ExifTags.Base.ImageWidth, ExifTags.Base.ImageLength)
    return tuple(image.tag_v2[tag] for tag in tags) if image.format == "TIFF" else image.size


def bits_of(image: Any, content: bytes) -> int:
    """Counts the bits per channel, of formats that Pillow may bring down to 8 without a word."""
    if image.format == "PNG":
        return content[24]  # of its first block
    if image.format == "TIFF":
        return max(image.tag_v2.get(ExifTags.Base.BitsPerSample, (8,)))
    if image.format == "PPM":  # the raw mode and, if it is not 255, the value of white
        most = [argument for tile in image.tile for argument in as_tuple(tile.args) if isinstance(argument, int)]
        return max(most, default=0).bit_length()
    if image.format == "SGI":
        return 8 * content[3]
    if image.format == "JPEG2000":
        start = content.find(JPEG2000_SIZE)
        components = int.from_bytes(content[start + 40 : start + 42])
        return max((bits & 0x7F) + 1 for bits in content[start + 42 : start + 42 + 3 * components : 3])
    if image.format == "AVIF":
        return 10 if content[content.find(b"av1C") + 6] & 0x40 else 8  # its bit "high_bitdepth"
    return 16 if image.format == "DDS" and "BC6H" in str(image.tile) else 8


def as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
