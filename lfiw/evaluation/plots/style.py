"""What all figures share: colours, line styles, axes; and how a figure becomes a file."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import LineStyleType
from torch import Tensor

from lfiw.files import replacing

Values = Tensor | np.ndarray | Sequence[float]

# Okabe & Ito (2008): distinct with any colour vision
BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9"
INK, FAINT = "#24292e", "#c9ced4"  # text and axes; grid lines
ON_DARK = {INK: "#e6e8ea", FAINT: "#4a5058", BLUE: "#4ea3e0"}  # what would be hard to see on a dark page
UNIFORM, REAL = VERMILLION, INK
UNIFORM_LINE: LineStyleType = (0, (4, 1.5, 1, 1.5, 1, 1.5))  # unlike that of any series
SIZE = (4.2, 3.1)  # inches; on a page of 400 pixels the text is still readable
DOTS_PER_INCH = 150


class Series(NamedTuple):
    """How one of several things is drawn."""

    colour: str
    line: LineStyleType
    marker: str


SERIES = (
    Series(BLUE, "-", "o"),
    Series(GREEN, "--", "s"),
    Series(ORANGE, "-.", "^"),
    Series(PURPLE, ":", "D"),
    Series(SKY, (0, (5, 1)), "v"),
    Series(VERMILLION, (0, (1, 1)), "P"),
)


def series(i: int) -> Series:
    """The i-th look; after six they begin again."""
    return SERIES[i % len(SERIES)]


def figure_with_axes(width: float = SIZE[0], height: float = SIZE[1]) -> tuple[Figure, Axes]:
    """One panel, its sizes in inches."""
    figure = new_figure(width, height)
    return figure, dressed(figure.subplots())


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, outside pyplot: it is gone with its last reference."""
    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")


def dressed(axes: Axes, *, grid: bool = True) -> Axes:
    """Axes in this style: two spines, faint grid lines behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(which="both", color=INK, labelcolor=INK, labelsize=9)
    for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
        text.set(color=INK, fontsize=10)
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_offset_text().set(color=INK, fontsize=9)
    if grid:
        axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def legend(axes: Axes, **options: Any) -> None:
    """A legend without a frame, if there is anything to tell apart."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, labelcolor=INK, fontsize=9, **options)


def as_array(values: Values) -> np.ndarray:
    """float64, on the CPU."""
    return values.detach().cpu().double().numpy() if isinstance(values, Tensor) else np.asarray(values, dtype=float)


def save(figure: Figure, file: Path) -> Path:
    """Writes a PNG file, on white."""
    lay_out(figure)
    with replacing(file) as temporary:
        figure.savefig(temporary, dpi=DOTS_PER_INCH, facecolor="white")
    return file


def lay_out(figure: Figure) -> None:
    """Places the axes once; otherwise each file, PNG and SVG, would solve the layout again and draw twice for it."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)


def as_svg(figure: Figure) -> str:
    """The figure as an SVG image without a background, its ink following the light or dark page that it stands on."""
    lay_out(figure)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "lfiw", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    names = {colour: f"--c{i}" for i, colour in enumerate(ON_DARK)}
    light, dark = (
        "".join(f"{names[colour]}:{value};" for colour, value in pairs)
        for pairs in ((zip(ON_DARK, ON_DARK, strict=True)), ON_DARK.items())
    )
    style = f"<style>svg{{{light}}}@media (prefers-color-scheme:dark){{svg{{{dark}}}}}</style>"
    for colour, name in names.items():
        text = text.replace(colour, f"var({name})")
    start = text.index("<svg")
    end = text.index(">", start) + 1
    return text[start:end] + style + text[end:]
