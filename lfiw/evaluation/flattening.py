"""The curve of scores against the exponent α of ŵ^α.

It is shown; nothing is chosen by it, for it is of the rows that scores are reported on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lfiw.evaluation.record import Flattening, Metric
from lfiw.evaluation.scored_weightings import without_spread
from lfiw.weighting.diagnostics import effective_sample_size
from lfiw.weighting.weights import Weighting


@dataclass(frozen=True)
class Exponents:
    """The exponents whose weights have scores.

    Args:
        grid: all of them, ascending.
        known: exponent → number of the weighting that is that power of the ratio, and nothing else.
        weights: ŵ^α of the others, in their order, one column each.
        sizes: effective sample size of each exponent of the grid.
    """

    grid: list[float]
    known: dict[float, int]
    weights: Float[Tensor, "n e"]
    sizes: list[float]

    @classmethod
    def of(
        cls,
        exponents: Sequence[float],
        weightings: Mapping[str, Weighting],
        log_ratio: Float[Tensor, " n"],
        compared: Bool[Tensor, " n"],
    ) -> "Exponents":
        """Takes the exponents that have scores.

        Args:
            exponents: α ≥ 0, in any order.
            weightings: those that are scored anyway.
            log_ratio: of the generated rows; compared: which of them the KID compares.
        """
        weights = {alpha: Weighting(alpha)(log_ratio) for alpha in sorted(set(exponents))}
        if weights:
            lost = without_spread(torch.stack(list(weights.values()), dim=1), compared).tolist()
            weights = {alpha: w for (alpha, w), is_lost in zip(weights.items(), lost, strict=True) if not is_lost}
        known = {w.flatten: i for i, w in enumerate(weightings.values()) if w == Weighting(w.flatten)}
        others = [w for alpha, w in weights.items() if alpha not in known]
        none = torch.empty(len(log_ratio), 0, dtype=torch.float64)
        sizes = [effective_sample_size(w).item() for w in weights.values()]
        return cls(list(weights), known, torch.stack(others, dim=1) if others else none, sizes)

    def curves(self, scores: Mapping[str, Sequence[float]], beside: Mapping[str, Sequence[float]]) -> Flattening | None:
        """Returns ESS and every standard score; none without exponents.

        Args:
            scores: metric → one value per weighting.
            beside: every metric of the curves → one value per column of `weights`.
        """
        if not self.grid:
            return None
        others = [alpha for alpha in self.grid if alpha not in self.known]
        curves = {}
        for name, of_others in beside.items():
            found = {alpha: scores[name][i] for alpha, i in self.known.items()}
            found |= dict(zip(others, of_others, strict=True))
            curves[Metric.named(name)] = tuple(found[alpha] for alpha in self.grid)
        return Flattening(tuple(self.grid), tuple(self.sizes), curves)
