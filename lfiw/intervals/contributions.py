"""What each row contributes to the error of a score, to first order: the infinitesimal jackknife."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Contributions:
    """Scores of k weightings, and the row-by-row terms whose squares sum to their variance.

    A score is a functional of both samples' distributions; its influence function at row i times the row's
    self-normalised weight w̄ᵢ is the row's term cᵢ (Jaeckel 1972; Efron 1982, chapter 6). The terms are divided by
    √(1 − w̄ᵢ), which makes the variance of a weighted mean under uniform weights the unbiased s²/n. What is estimated
    is the spread of the score over other samples of these sizes, the function that gives the weights held fixed.

    Args:
        score: (k,).
        generated: (m, k); real: (n, k), empty where the score has no real side.
    """

    score: Float[Tensor, " k"]
    generated: Float[Tensor, "m k"]
    real: Float[Tensor, "n k"]

    def standard_errors(self) -> Float[Tensor, " k"]:
        """Of each score."""
        return (self.generated.square().sum(0) + self.real.square().sum(0)).sqrt()

    def difference_standard_errors(self, baseline: int = 0) -> Float[Tensor, " k"]:
        """Of each score's difference to the one of column `baseline`: paired, for both see the same rows."""
        generated = self.generated - self.generated[:, baseline : baseline + 1]
        real = self.real - self.real[:, baseline : baseline + 1]
        return (generated.square().sum(0) + real.square().sum(0)).sqrt()


def terms(influence: Float[Tensor, "n k"], normalised: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """Contributions from influences and self-normalised weights; the influences are centred first."""
    centred = influence - (normalised * influence).sum(0)
    return normalised * centred / (1 - normalised).clamp(min=torch.finfo(torch.float64).eps).sqrt()
