"""Weighted Fréchet distance, kernel distance and inception score: functions of features, and torchmetrics classes."""

from lfiw.metrics.frechet import (
    FrechetDistance,
    frechet_distance,
    frechet_distance_from_features,
    weighted_moments,
)
from lfiw.metrics.inception_score import InceptionScore, inception_score
from lfiw.metrics.kernel import (
    KernelDistance,
    gaussian_kernel_distance,
    kernel_distance,
    subset_kernel_distances,
)

__all__ = [
    "FrechetDistance",
    "InceptionScore",
    "KernelDistance",
    "frechet_distance",
    "frechet_distance_from_features",
    "gaussian_kernel_distance",
    "inception_score",
    "kernel_distance",
    "subset_kernel_distances",
    "weighted_moments",
]
