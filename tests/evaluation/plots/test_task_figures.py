"""Figures of weighted augmentation and of off-policy evaluation show what they are given."""

import numpy as np
import torch

from lfiw.data import TensorTable
from lfiw.tasks.augmentation.ranked_drawings import ranked_drawings
from lfiw.tasks.ope.horizons import errors_by_horizon, estimates_by_horizon


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


def test_estimates_by_horizon() -> None:
    record = {
        "by_horizon": [3.0, 2.0, 1.0], "ess_by_horizon": [9.0, 4.0, 1.0], "estimates": {"auto": {"value": 2.5}},
        "truth": {"value": 2.0}, "environment": "Swimmer-v5", "num_episodes": 300,
    }  # fmt: skip
    left, right = estimates_by_horizon(record).axes
    assert [line.get_ydata()[0] for line in left.lines] == [3.0, 3.0, 2.5, 2.0]
    np.testing.assert_allclose(right.lines[0].get_ydata(), [9, 4, 1])


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
