"""Every figure: ink on white, units on the axes, nothing told apart by its colour alone; as PNG and as SVG."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lfiw.evaluation import plots
from lfiw.evaluation.plots.style import INK, ON_DARK, SERIES, as_svg, series
from lfiw.tasks.toy import toy_probabilities
from lfiw.weighting.calibration import reliability

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(500, dtype=torch.float64, generator=GENERATOR)
P = torch.sigmoid(X)
IS_REAL = torch.rand(500, dtype=torch.float64, generator=GENERATOR) < P
NAN = float("nan")
ALPHAS = [0.0, 0.5, 1.0]
CURVES = {name: reliability(P.logit() / t, IS_REAL) for name, t in (("as trained", 1), ("beta", 2))}
EPOCHS = ([1, 2, 3], [0.7, 0.6, 0.65])


def toy() -> Figure:
    groups = {(case, n): [(P, P.square()), (P, P.sqrt())] for case in ("1d", "2d") for n in (50, 100)}
    narrow = torch.full((500,), 0.3, dtype=torch.float64)  # most bins have nothing in them
    return toy_probabilities({**groups, ("1d", 50): [(narrow, P)]})


FIGURES: dict[str, Callable[[], Figure]] = {
    "weights": lambda: plots.weight_histogram({"self-normalised": X.exp(), "half": (X / 2).exp()}),
    "weights of numpy": lambda: plots.weight_histogram({"plain": X.exp().numpy()}),
    "uniform weights": lambda: plots.weight_histogram({"uniform": torch.ones(500)}),
    "one weight": lambda: plots.weight_histogram({"plain": [3.0]}),
    "a weight of all": lambda: plots.weight_histogram({"plain": torch.softmax(X * 1e4, 0)}),
    "lorenz": lambda: plots.lorenz_curve({"self-normalised": X.exp(), "half": (X / 2).exp()}),
    "lorenz of one": lambda: plots.lorenz_curve({"plain": [3.0]}),
    "reliability": lambda: plots.reliability_diagram(CURVES),
    "certain": lambda: plots.reliability_diagram({"as trained": reliability(X.sign() * 40.0, IS_REAL)}),
    "exponents": lambda: plots.scores_by_exponent({"FID": (ALPHAS, [3.0, 2.0, 2.5])}, "FID ↓", reference=1, chosen=0.5),
    "wide exponents": lambda: plots.scores_by_exponent(
        {"a": (ALPHAS, [40.0, 30.0, 900.0]), "b": (ALPHAS, [40.0, 30.0, 80.0])}, "FID ↓"
    ),
    "negative": lambda: plots.scores_by_exponent({"KID": (ALPHAS, [40.0, -0.1, 0.001])}, "KID ↓"),
    "intervals": lambda: plots.score_intervals(
        ["uniform", "half"], [3.0, 2.0], [0.1, NAN], "FID ↓", controls=[NAN, 3.1], reference=1.0
    ),
    "wide intervals": lambda: plots.score_intervals(["uniform", "plain"], [30.0, 900.0], [NAN, NAN], "FID ↓"),
    "love": lambda: plots.love_plot(["column 0", "column 1"], [0.5, 0.2], [0.05, NAN], "difference", 0.1),
    "love before": lambda: plots.love_plot([f"component {i}" for i in range(30)], X[:30].abs(), None, "KS", None),
    "training": lambda: plots.training_curves({"validation": [EPOCHS, EPOCHS]}, [EPOCHS]),
    "runs": lambda: plots.training_curves({"one": [EPOCHS], "other": [EPOCHS]}),
    "classes": lambda: plots.class_proportions({"uniform": [0.2, 0.8], "half": P[:2]}, [0.5, 0.5], ["cat", "dog"]),
    "toy": toy,
}


@pytest.fixture(scope="module", params=FIGURES)
def figure(request: pytest.FixtureRequest) -> Figure:
    return FIGURES[request.param]()


def test_a_file(figure: Figure, tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    assert plots.save(figure, file) == file
    pixels = matplotlib.image.imread(file)
    assert min(pixels.shape[:2]) > 200
    assert pixels[..., :3].std() > 0.03  # ink on white
    assert pixels[0, 0, :3].tolist() == [1, 1, 1]
    assert list(tmp_path.iterdir()) == [file]


def test_axes_have_labels(figure: Figure) -> None:
    if figure.get_supxlabel():
        assert figure.get_supylabel()
        return
    for axes in figure.axes:
        assert axes.get_xlabel()
        names = [label.get_text() for label in axes.get_yticklabels()]
        assert axes.get_ylabel() or any(re.search("[a-z]", name) for name in names)


def look_of(handle: Any) -> str:
    """Kind, dashes, marker and hatch of an entry of a legend: all but the colour."""
    artist = handle[0] if isinstance(handle, tuple) else handle
    dashes = artist._unscaled_dash_pattern if isinstance(artist, Line2D) else artist.get_linestyle()
    more = [getattr(artist, name)() for name in ("get_marker", "get_hatch") if hasattr(artist, name)]
    return f"{type(handle).__name__} {dashes} {more}"


def test_nothing_is_told_apart_by_its_colour_alone(figure: Figure) -> None:
    for axes in figure.axes:
        looks = [look_of(handle) for handle in axes.get_legend_handles_labels()[0]]
        assert len(looks) == len(set(looks)), looks


def test_an_svg_follows_the_page(figure: Figure) -> None:
    svg = as_svg(figure)
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    (style,) = [e.text or "" for e in root.findall("{http://www.w3.org/2000/svg}style")]
    assert f"--c0:{INK}" in style.partition("@media")[0]
    assert f"--c0:{ON_DARK[INK]}" in style.partition("@media (prefers-color-scheme:dark)")[2]
    rest = svg.replace(style, "")
    assert INK not in rest
    assert "var(--c0)" in rest
    # no opaque background: the page shows through
    assert not re.search(r"fill: (#ffffff|white)", rest.partition('id="axes_1"')[0])
    assert not re.search(r"""(href|src)="(?!#)""", rest)


def test_looks_differ_without_their_colour() -> None:
    assert len({(str(look.line), look.marker) for look in SERIES}) == len(SERIES)
    assert series(len(SERIES)) == series(0)


def test_an_interval_is_drawn_where_it_is() -> None:
    figure = plots.score_intervals(["a", "b"], [3.0, 2.0], [0.5, NAN], "FID ↓")
    (container,) = figure.axes[0].containers
    segments = container.lines[2][0].get_segments()
    np.testing.assert_allclose(segments[0][:, 0], [2.5, 3.5])
    np.testing.assert_allclose(segments[1][:, 0], [2, 2])


def test_a_love_plot_has_a_point_per_column_where_it_is() -> None:
    axes = FIGURES["love"]().axes[0]
    before, after, limit = axes.get_lines()
    np.testing.assert_allclose(before.get_xydata(), [[0.5, 0], [0.2, 1]])
    np.testing.assert_allclose(after.get_xydata(), [[0.05, 0], [NAN, 1]])
    assert before.get_fillstyle() == "none"
    assert set(limit.get_xdata()) == {0.1}
    assert axes.yaxis_inverted()  # the first column stands on top


def test_axes_are_logarithmic_only_where_they_must() -> None:
    assert FIGURES["wide exponents"]().axes[0].get_yscale() == "log"
    assert FIGURES["wide intervals"]().axes[0].get_xscale() == "log"
    assert FIGURES["exponents"]().axes[0].get_yscale() == "linear"
    assert FIGURES["negative"]().axes[0].get_yscale() == "linear"
