"""Figures of weights, scores and samples: functions of arrays or tensors that return a matplotlib Figure.

Colours are those of Okabe & Ito (2008), and lines differ by more than their colour.
"""

from lfiw.evaluation.plots.images import contact_sheet, image_grid
from lfiw.evaluation.plots.scores import (
    class_proportions,
    love_plot,
    score_intervals,
    scores_by_exponent,
    training_curves,
)
from lfiw.evaluation.plots.style import save
from lfiw.evaluation.plots.weight_figures import lorenz_curve, reliability_diagram, weight_histogram

__all__ = [
    "class_proportions",
    "contact_sheet",
    "image_grid",
    "lorenz_curve",
    "love_plot",
    "reliability_diagram",
    "save",
    "score_intervals",
    "scores_by_exponent",
    "training_curves",
    "weight_histogram",
]
