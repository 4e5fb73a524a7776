"""Figures of weighted augmentation and of off-policy evaluation show what they are given."""

import numpy as np
import torch

from lfiw.data import TensorTable
from lfiw.tasks.augmentation.ranked_drawings import ranked_drawings
from lfiw.tasks.ope.distances import errors_by_distance
from lfiw.tasks.ope.horizons import errors_by_horizon, picture_of


def test_drawings_come_in_the_order_of_their_weights() -> None:
    labels = torch.arange(60) % 5
    ink = torch.arange(60) * 4
    drawings = TensorTable({"image": ink.view(60, 1, 1, 1).expand(60, 1, 8, 8).to(torch.uint8), "label": labels})
    figure = ranked_drawings(drawings, drawings, ink.double(), classes=5, ranks=4)
    shown = figure.axes[1].images[0].get_array()[:, :, 0]
    centres = shown[5::9][:5, 5::9][:, :4]  # a row a class, a pixel of padding between
    for label, row in enumerate(centres):
        expected = sorted(ink[labels == label].tolist(), reverse=True)
        picked = [expected[i] for i in torch.linspace(0, 11, 4).long()]
        np.testing.assert_allclose(row, [1 - value / 255 for value in picked], atol=1e-6)


def test_an_off_policy_estimate_beside_its_sources() -> None:
    sources = [{"name": name, "value": v, "squared_error": 4.0, "weight": 0.5} for name, v in (("a", 1.0), ("b", 4.0))]
    record = {
        "by_horizon": [3.0, 2.0, 1.0], "ess_by_horizon": [9.0, 4.0, 1.0], "truth": {"value": 2.0},
        "estimates": {"auto": {"value": 2.5, "interval": {"low": 0.5, "high": 4.5}}},
        "auto": {"sources": sources, "verdict": "these data cannot tell: …"}, "reach": None,
        "environment": "Swimmer-v5", "num_episodes": 300,
    }  # fmt: skip
    shown, left, right = picture_of(record).axes
    assert [line.get_xdata()[0] for line in shown.lines if line.get_marker() == "o"] == [2.5, 1.0, 4.0]
    np.testing.assert_allclose([c.get_segments()[0][:, 0] for c in shown.collections], [[0.5, 4.5], [-3, 5], [0, 8]])
    assert shown.get_title() == "these data cannot tell"
    assert [line.get_ydata()[0] for line in left.lines] == [3.0, 3.0, 2.5, 2.0]
    np.testing.assert_allclose(right.lines[0].get_ydata(), [9, 4, 1])


def test_errors_along_the_path() -> None:
    rows = []
    for way, error in (("0.1", 1.0), ("1", 3.0)):
        rows.append({"name": f"env, λ={way}/reach", "metric": "distance", "mean": 10 * float(way)})
        rows.append({"name": f"env, λ={way}/auto", "metric": "interval_width", "median": 4.0})
        for name in ("auto", "uncorrected", "importance sampling, per-decision", "do nothing"):
            rows.append({"name": f"env, λ={way}/{name}", "metric": "abs_error", "mean": error})
    (axes,) = errors_by_distance({"env": rows}).axes
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [0.1, 1.0])
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [1.0, 3.0])
    np.testing.assert_allclose(axes.lines[-1].get_xdata(), [0.1, 0.1])  # a tenth stays effective up to there


def test_errors_by_horizon_are_medians() -> None:
    curves = {"error": np.array([[1.0, 5.0], [2.0, 6.0], [9.0, 7.0]]), "ess": np.array([[9.0, 1.0]] * 3)}
    figure = errors_by_horizon({"a": curves}, {"a": {"uncorrected": 2.0}})
    top, bottom = figure.axes
    np.testing.assert_allclose(top.lines[0].get_ydata(), [2, 6])
    assert top.lines[1].get_ydata()[0] == 2.0
    np.testing.assert_allclose(bottom.lines[0].get_ydata(), [9, 1])


def test_problems_stand_in_pairs_of_columns() -> None:
    problems = {
        name: {"error": np.full((2, 3), float(i)), "ess": np.full((2, 3), 10.0 + i)} for i, name in enumerate("abc")
    }
    figure = errors_by_horizon(problems, {name: {} for name in problems})
    assert len(figure.axes) == 6
    for i, name in enumerate("abc"):
        (top,) = (axes for axes in figure.axes if axes.get_title() == name)
        assert top.lines[0].get_ydata()[0] == i
        place = top.get_subplotspec()
        assert place is not None
        assert (place.rowspan.start, place.colspan.start) == (2 * (i // 2), i % 2)
        (bottom,) = (axes for axes in figure.axes if axes.lines[0].get_ydata()[0] == 10 + i)
        assert bottom.get_subplotspec().rowspan.start == place.rowspan.start + 1
