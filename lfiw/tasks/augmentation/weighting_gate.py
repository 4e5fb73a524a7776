"""Whether to weight generated drawings at all: by held-out source characters, then by validation drawings."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lfiw.weighting.diagnostics import mean_and_error, paired_interval
from lfiw.weighting.gate import CANNOT, CORRECTS, NOTHING

LEAST_WRONG = 0.15  # share of the drawings, beyond that of real ones, that has to be unlike their character


@dataclass(frozen=True)
class TrainingGate:
    """Whether weights are used, and why.

    Args:
        verdict: "corrects", "nothing to correct" or "cannot be corrected with these samples".
        reason: a sentence with the numbers behind the verdict.
        regime: what is trained on.
        wrong: share of generated drawings of held-out source characters that are unlike their character, beyond that of
            real drawings; wrong_by_weight: the same of the weighted ones. None without a ratio of source characters.
        difference, low, high: validation accuracy of weighted − unweighted, with a 95 % interval over characters. None
            where it was not asked for.
    """

    verdict: str
    reason: str
    regime: str
    wrong: float | None = None
    wrong_by_weight: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None


def ask_source(held_out: Mapping[str, float], unweighted: str) -> TrainingGate | None:
    """Decides for uniform weights where a ratio finds nothing to correct on held-out source characters.

    Args:
        held_out: `SourceRatio.held_out`.
        unweighted: the regime without weights.

    Returns:
        None where there is something to correct.
    """
    wrong, by_weight = wrong_shares(held_out)
    if wrong >= LEAST_WRONG and by_weight < wrong:
        return None
    reason = (
        f"on held-out source characters {max(wrong, 0):.0%} of the generated drawings, beyond the share of real ones, "
        f"are unlike their character, {max(by_weight, 0):.0%} by weight; below {LEAST_WRONG:.0%} weights cost more "
        "than they gain"
    )
    return TrainingGate(NOTHING, reason, unweighted, wrong, by_weight)


def wrong_shares(held_out: Mapping[str, float]) -> tuple[float, float]:
    """Shares of generated drawings, plain and by weight, that are recognised less often than real ones."""
    real = held_out["recognised_real"]
    return 1 - held_out["recognised"] / real, 1 - held_out["recognised_by_weight"] / real


def ask_validation(
    weighted: Bool[Tensor, " n"],
    unweighted: Bool[Tensor, " n"],
    labels: Int64[Tensor, " n"],
    regimes: tuple[str, str],
    held_out: Mapping[str, float] | None = None,
) -> TrainingGate:
    """Decides between two classifiers by their validation drawings.

    With a ratio of source characters that found something to correct, the weighted one is taken unless it recognises
    fewer by more than a standard error: few drawings say less than many characters. Without, it has to recognise
    significantly more.

    Args:
        weighted, unweighted: which validation drawings each classifier recognises.
        labels: their characters, over which the interval is.
        regimes: names of the two.
    """
    gaps = per_class(weighted.double() - unweighted.double(), labels)
    difference = gaps.mean().item()
    low, high = paired_interval(gaps.tolist())
    wrong, by_weight = wrong_shares(held_out) if held_out else (None, None)
    error = mean_and_error(gaps.tolist())[1]
    taken, rule = difference >= -error, "unless it falls by more than its standard error"
    if not held_out:
        taken, rule = low > 0, "if the interval lies above 0"
    reason = (
        f"validation accuracy changes by {100 * difference:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}] with "
        f"weights, which are used {rule}"
    )
    verdict = CORRECTS if taken else CANNOT if held_out else NOTHING
    return TrainingGate(verdict, reason, regimes[0 if taken else 1], wrong, by_weight, difference, low, high)


def per_class(values: Float[Tensor, " n"], labels: Int64[Tensor, " n"]) -> Float[Tensor, " classes"]:
    """Means over the rows of each class."""
    return torch.stack([values[labels == label].mean() for label in labels.unique()])
