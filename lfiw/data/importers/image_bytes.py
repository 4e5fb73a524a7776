"""One image file: what its header says, and its pixels as a viewer shows them."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image
from torch import Tensor

from lfiw.data.arrays import to_tensor
from lfiw.errors import printable

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
class Header:
    """What is known of an image before it is decoded."""

    mode: str
    size: tuple[int, int]  # width, height as it is shown
    bits: int  # a channel; above 8 Pillow drops the lower ones, or says so by the mode
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
    """The first frame, upright, without transparency. Raises as `look`."""
    with opened(content) as image:
        turned = orientation(image, content)
        image.load()
        upright = image.transpose(UPRIGHT[turned]) if turned != 1 and image.format != "TIFF" else image
        # A palette with transparency goes by way of RGBA, or Pillow warns.
        return (upright.convert("RGBA") if "transparency" in upright.info else upright).convert(mode)


def read_pixels(image: Image.Image) -> UInt8[Tensor, "c h w"]:
    """The pixels of an image in mode L or RGB."""
    pixels = to_tensor(np.asarray(image))
    return pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.permute(2, 0, 1)


@contextmanager
def opened(content: bytes) -> Iterator[Image.Image]:
    """The image; its pixels are decoded when they are asked for. Raises as `look`."""
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
    """Width and height in the file; of a turned TIFF file Pillow may state what it will have."""
    tags = (ExifTags.Base.ImageWidth, ExifTags.Base.ImageLength)
    return tuple(image.tag_v2[tag] for tag in tags) if image.format == "TIFF" else image.size


def bits_of(image: Any, content: bytes) -> int:
    """Bits a channel, of formats that Pillow may bring down to 8 without a word."""
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
