"""What held-out rows say of a ratio classifier, before and after its recalibration."""

from typing import Any

import torch
from torch import Tensor

from lfiw.calibration import reliability
from lfiw.diagnostics import balanced_accuracy, balanced_log_loss, mean_one, two_sample_test

CHASM = 0.95  # balanced accuracy from which on the sides barely overlap, and the ratio of few samples carries all


def diagnose(raw: tuple[Tensor, Tensor], calibrated: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """The `classifier` entry of evaluation.json.

    Args:
        raw: log-ratios of real and of generated rows that neither trained nor calibrated anything, as trained.
        calibrated: of the same rows, recalibrated.

    Returns:
        Numbers of rows, the balanced accuracy, the two-sample test's p-value and whether there is a density chasm;
        under `raw` and `calibrated` the log-loss, the expected and the maximum calibration error, and the means of ŵ
        over generated and of 1/ŵ over real rows, both 1 for the exact ratio.
    """
    accuracy = balanced_accuracy(*calibrated)
    return {
        "num_real": len(raw[0]),
        "num_generated": len(raw[1]),
        "accuracy": accuracy,
        "two_sample_p_value": two_sample_test(*calibrated).item(),
        "density_chasm": accuracy >= CHASM,
        "raw": calibration_scores(*raw),
        "calibrated": calibration_scores(*calibrated),
    }


def calibration_scores(real: Tensor, generated: Tensor) -> dict[str, float]:
    """Log-loss, calibration errors and the two means, of log-ratios."""
    log_ratio = torch.cat([real, generated])
    is_real = torch.arange(len(log_ratio)) < len(real)
    curve = reliability(log_ratio, is_real)
    of_generated, of_real = mean_one(real, generated)
    return {
        "log_loss": balanced_log_loss(real, generated).item(),
        "calibration_error": curve.expected_error,
        "max_calibration_error": curve.maximum_error,
        "mean_weight_generated": of_generated.item(),
        "mean_inverse_weight_real": of_real.item(),
    }


def chasm_warning(classifier: dict[str, Any]) -> str | None:
    """A sentence for a density chasm, or none."""
    if not classifier["density_chasm"]:
        return None
    return (
        f"density chasm: the classifier tells {classifier['accuracy']:.1%} of held-out rows apart, so real and "
        "generated samples barely overlap in what it sees; few samples carry the weight, and a flattened ratio, other "
        "features or a better generator are the way out"
    )
