"""What held-out rows say of a ratio classifier, before and after its recalibration."""

import torch
from torch import Tensor

from lfiw.calibration import reliability
from lfiw.diagnostics import balanced_accuracy, balanced_log_loss, mean_one, two_sample_test
from lfiw.record import CalibrationScores, ClassifierRecord

CHASM = 0.95  # balanced accuracy from which on the sides barely overlap, and the ratio of few samples carries all


def held_out_scores(raw: tuple[Tensor, Tensor], calibrated: tuple[Tensor, Tensor]) -> ClassifierRecord:
    """Balanced accuracy, two-sample test, density chasm and calibration.

    Args:
        raw: log-ratios of real and of generated rows that neither trained nor calibrated anything, as trained.
        calibrated: of the same rows, recalibrated.
    """
    accuracy = balanced_accuracy(*calibrated).item()
    return ClassifierRecord(
        num_real=len(raw[0]),
        num_generated=len(raw[1]),
        accuracy=accuracy,
        two_sample_p_value=two_sample_test(*calibrated).item(),
        density_chasm=accuracy >= CHASM,
        raw=calibration_scores(*raw),
        calibrated=calibration_scores(*calibrated),
    )


def calibration_scores(real: Tensor, generated: Tensor) -> CalibrationScores:
    """Log-loss, expected and maximum calibration error, and the two means, of log-ratios."""
    log_ratio = torch.cat([real, generated])
    curve = reliability(log_ratio, torch.arange(len(log_ratio)) < len(real))
    of_generated, of_real = mean_one(real, generated)
    return CalibrationScores(
        balanced_log_loss(real, generated).item(),
        curve.expected_error,
        curve.maximum_error,
        of_generated.item(),
        of_real.item(),
    )


def chasm_warning(classifier: ClassifierRecord) -> str | None:
    """A sentence for a density chasm, or none."""
    if not classifier.density_chasm:
        return None
    return (
        f"density chasm: the classifier tells {classifier.accuracy:.1%} of held-out rows apart, so real and "
        "generated samples barely overlap in what it sees; few samples carry the weight, and a flattened ratio, other "
        "features or a better generator are the way out"
    )
