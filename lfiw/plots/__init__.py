"""Figures of weights, scores and samples: functions of arrays or tensors that return a matplotlib Figure.

Colours are those of Okabe & Ito (2008), and no line is told from another by its colour alone.
"""

from lfiw.plots.classes import class_proportions
from lfiw.plots.images import contact_sheet, image_grid
from lfiw.plots.reliability import reliability_diagram
from lfiw.plots.scores import score_intervals, scores_by_exponent
from lfiw.plots.style import save
from lfiw.plots.toy import toy_probabilities
from lfiw.plots.training import training_curves
from lfiw.plots.weights import lorenz_curve, weight_histogram

__all__ = [
    "class_proportions",
    "contact_sheet",
    "image_grid",
    "lorenz_curve",
    "reliability_diagram",
    "save",
    "score_intervals",
    "scores_by_exponent",
    "toy_probabilities",
    "training_curves",
    "weight_histogram",
]
