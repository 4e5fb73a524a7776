"""A picture of a report, with the words for those who do not see it."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from PIL import Image

from lfiw.files import write_atomically
from lfiw.plots.style import as_svg, save


@dataclass(frozen=True)
class Picture:
    """What is drawn, and what it says.

    Args:
        title: a few words above it.
        alt: what is seen, with numbers.
        content: a figure, or pixels (height, width, 3) that are shown enlarged, each as a square.
        note: a sentence below it, if it needs one.
    """

    title: str
    alt: str
    content: Figure | UInt8[np.ndarray, "height width 3"]
    note: str = ""

    @property
    def is_grid(self) -> bool:
        """Whether it is made of pixels."""
        return isinstance(self.content, np.ndarray)

    def write(self, file: Path) -> Path:
        """Writes a PNG file."""
        if isinstance(self.content, Figure):
            return save(self.content, file)
        write_atomically(file, png(self.content))
        return file

    @property
    def uri(self) -> str:
        """The picture itself as the address of an image: SVG for a figure, PNG for pixels."""
        if isinstance(self.content, Figure):
            return data_uri("image/svg+xml", as_svg(self.content).encode())
        return data_uri("image/png", png(self.content))


def png(pixels: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """The content of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
