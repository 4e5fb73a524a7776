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
        return self._sums(2).sqrt()

    def degrees_of_freedom(self) -> Float[Tensor, " k"]:
        """How many rows each score's variance is known from, as `effective_degrees_of_freedom`."""
        return effective_degrees_of_freedom(self._sums(2), self._sums(4), len(self.generated) + len(self.real))

    def differences(self, baseline: int = 0) -> "Contributions":
        """Of each score's difference to the one of column `baseline`: paired, for both see the same rows."""
        of = (self.score, self.generated, self.real)
        return Contributions(*(values - values[..., baseline : baseline + 1] for values in of))

    def _sums(self, power: int) -> Float[Tensor, " k"]:
        return self.generated.pow(power).sum(0) + self.real.pow(power).sum(0)


def effective_degrees_of_freedom(squares: Float[Tensor, " k"], fourths: Float[Tensor, " k"], n: int) -> Tensor:
    """ν = 2(Σc²)²/(Σc⁴ − (Σc²)²/n) of n terms c with those sums of squares and fourth powers; nan where all are zero.

    The variance Σc² is itself an estimate, with variance Σc⁴ − (Σc²)²/n; a χ²-variable of ν degrees of freedom has the
    same relative one (Satterthwaite, Biometrics Bulletin 2, 1946). About n for terms of a normal distribution, and few
    where a handful of rows makes up the variance: then rows of that kind which the sample lacks would change it.
    """
    return 2 * squares.square() / (fourths - squares.square() / n).clamp(min=torch.finfo(torch.float64).tiny)


def terms(influence: Float[Tensor, "n k"], normalised: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """Contributions from influences and self-normalised weights; the influences are centred first."""
    centred = influence - (normalised * influence).sum(0)
    return normalised * centred / (1 - normalised).clamp(min=torch.finfo(torch.float64).eps).sqrt()
