"""Weighted scores as functions of features and as torchmetrics classes.

Fréchet distance, kernel distance, inception score; precision, recall, density and coverage.
"""

from lfiw.metrics.frechet import (
    FrechetDistance,
    frechet_distance,
    frechet_distance_from_features,
    weighted_moments,
)
from lfiw.metrics.inception_score import InceptionScore, inception_score
from lfiw.metrics.kernel import KernelDistance, kernel_distance, subset_kernel_distances
from lfiw.metrics.neighbours import PrecisionRecall, precision_recall
from lfiw.metrics.paper import gaussian_kernel_distance

__all__ = [
    "FrechetDistance",
    "InceptionScore",
    "KernelDistance",
    "PrecisionRecall",
    "frechet_distance",
    "frechet_distance_from_features",
    "gaussian_kernel_distance",
    "inception_score",
    "kernel_distance",
    "precision_recall",
    "subset_kernel_distances",
    "weighted_moments",
]
