"""Correct the bias of generative models by likelihood-free importance weighting (Grover et al., NeurIPS 2019).

The public names are imported when first used, so that `import lfiw` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lfiw.version import __version__

if TYPE_CHECKING:
    from lfiw.errors import InputError
    from lfiw.metrics.weighted_mean import weighted_mean
    from lfiw.ratio.classifier import RatioClassifier
    from lfiw.ratio.estimator import RatioEstimator
    from lfiw.tasks.correction import Correction, correct
    from lfiw.weighting.diagnostics import effective_sample_size, kl_gain
    from lfiw.weighting.resampling import sir
    from lfiw.weighting.strata import Strata
    from lfiw.weighting.weights import Weighting, log_ratio_from_logits, pareto_k

_HOMES = {
    "InputError": "errors",
    "Correction": "tasks.correction",
    "RatioClassifier": "ratio.classifier",
    "RatioEstimator": "ratio.estimator",
    "Strata": "weighting.strata",
    "Weighting": "weighting.weights",
    "correct": "tasks.correction",
    "effective_sample_size": "weighting.diagnostics",
    "kl_gain": "weighting.diagnostics",
    "log_ratio_from_logits": "weighting.weights",
    "pareto_k": "weighting.weights",
    "sir": "weighting.resampling",
    "weighted_mean": "metrics.weighted_mean",
}

__all__ = [
    "Correction",
    "InputError",
    "RatioClassifier",
    "RatioEstimator",
    "Strata",
    "Weighting",
    "__version__",
    "correct",
    "effective_sample_size",
    "kl_gain",
    "log_ratio_from_logits",
    "pareto_k",
    "sir",
    "weighted_mean",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lfiw' has no attribute {name!r}")
    return getattr(import_module(f"lfiw.{_HOMES[name]}"), name)
