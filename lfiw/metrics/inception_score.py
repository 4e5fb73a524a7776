"""Inception score of weighted samples: one function, and the same streamed batch by batch."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lfiw.errors import InputError
from lfiw.metrics.weighted_metric import (
    WeightedMetric,
    check_features,
    check_total_weight,
    normalised_columns,
    scalar_unless_columns,
    weight_columns,
)

_ROW_SUM_TOLERANCE = 1e-4


def inception_score(
    probabilities: Float[Tensor, "n c"], weights: Float[Tensor, " n"] | Float[Tensor, "n k"] | None = None
) -> Float[Tensor, "*k"]:
    """Returns the Inception Score of weighted samples, between 1 and c, one split.

    exp(Σ w̄ᵢ KL(pᵢ ‖ Σ w̄ⱼpⱼ)) with w̄ = w/Σw: weights in the marginal and in the outer mean; 0 log 0 = 0.
    Source: Salimans et al. 2016; with weights, Grover et al. 2019.

    Args:
        probabilities: each row sums to 1, any floating dtype; softmax of the classifier's logits.
        weights: non-negative, any scale, shape (n,) or one column per weighting; None is uniform.

    Returns:
        A float64 scalar, or shape (k,) if weights have columns.

    Raises:
        InputError: rows are not probabilities, a weight is negative or not finite, a shape is wrong, or all are zero.
    """
    _check_probabilities(probabilities, None)
    columns = normalised_columns(weight_columns(weights, probabilities), "generated")
    marginal = columns.T @ probabilities.double()
    scores = mutual_information(marginal, columns.T @ _row_entropies(probabilities)).clamp(min=0).exp()
    return scalar_unless_columns(scores, weights)


class InceptionScore(WeightedMetric):
    """Weighted inception score, streamed in constant memory; one split.

    `inception_score` from the float64 sums Σw, Σwp and Σw Σ_c p log p. Compare with torch-fidelity at `splits=1`.

    Args:
        num_classes: c.
        num_weightings: k, the number of weightings.
        metric_options: the options of `torchmetrics.Metric`.

    Raises:
        InputError: an argument is out of its range.

    Example:
        >>> score = InceptionScore(num_classes=2)
        >>> score.update(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        >>> round(score.compute().item(), 6)
        2.0
    """

    higher_is_better = True
    plot_lower_bound = 1.0

    weight: Tensor
    class_sum: Tensor
    entropy_sum: Tensor
    uniform_rows: Tensor

    def __init__(self, num_classes: int, num_weightings: int = 1, **metric_options: Any) -> None:
        super().__init__(num_weightings, **metric_options)
        if num_classes < 1:
            raise InputError(f"num_classes is {num_classes}, expected at least 1")
        self.num_classes = num_classes
        for name, shape in (
            ("weight", (num_weightings,)),
            ("class_sum", (num_weightings, num_classes)),
            ("entropy_sum", (num_weightings,)),
            ("uniform_rows", ()),
        ):
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def update(
        self,
        probabilities: Float[Tensor, "n c"],
        weights: Float[Tensor, " n"] | Float[Tensor, "n k"] | None = None,
    ) -> None:
        """Adds a batch of generated rows.

        Args:
            probabilities: shape (n, num_classes), each row sums to 1; n may be 0.
            weights: shape (n,), shared by all weightings, or (n, num_weightings); None is 1 for each row.

        Raises:
            InputError: rows are not probabilities, a shape or dtype is wrong, or a weight is negative or not finite.
        """
        _check_probabilities(probabilities, self.num_classes)
        rows = probabilities.detach().double()
        columns = weight_columns(weights, rows, self.num_weightings)
        if weights is None:
            self.uniform_rows = self.uniform_rows + len(rows)
        else:
            self.weight = self.weight + columns.sum(dim=0)
        self.class_sum = self.class_sum + columns.T @ rows
        self.entropy_sum = self.entropy_sum + columns.T @ _row_entropies(rows)

    def compute(self) -> Float[Tensor, "*k"]:
        """Returns the score of each weighting.

        Returns:
            A float64 scalar, or shape (num_weightings,) for more than one.

        Raises:
            InputError: no row carries weight, or sums overflowed.
        """
        weight = self.weight + self.uniform_rows
        check_total_weight(weight, "generated")
        information = self._information(self.class_sum / weight[:, None], self.entropy_sum / weight)
        scores = information.exp()
        if not torch.isfinite(scores).all():
            raise InputError("the score overflows float64: give weights that sum to about 1")
        return self._per_weighting(scores)

    def _information(self, marginal: Float[Tensor, "k c"], mean_entropy: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        return mutual_information(marginal, mean_entropy).clamp(min=0)  # Jensen; a negative value is rounding


def _check_probabilities(probabilities: Tensor, num_classes: int | None) -> None:
    check_features(probabilities, num_classes, name="probabilities")
    if probabilities.numel() == 0:
        return
    smallest = probabilities.min()
    if smallest < 0:
        raise InputError(f"a probability is {smallest.item():.6g}, expected 0 to 1: pass softmax(logits), not logits")
    row_sums = probabilities.sum(dim=1, dtype=torch.float64)
    worst = row_sums[(row_sums - 1).abs().argmax()]
    if (worst - 1).abs() > _ROW_SUM_TOLERANCE:
        raise InputError(
            f"a row of probabilities sums to {worst.item():.6g}, expected 1 within {_ROW_SUM_TOLERANCE:g}: "
            "pass softmax(logits), in float32 or wider"
        )


def _row_entropies(probabilities: Float[Tensor, "n c"]) -> Float[Tensor, " n"]:
    """Computes −Σ_c p log p per row, with 0 log 0 = 0."""
    return torch.special.entr(probabilities.double()).sum(dim=1)


def mutual_information(marginal: Float[Tensor, "k c"], mean_entropy: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    """Computes Σ wᵢ KL(pᵢ ‖ m) = H(m) − Σ wᵢH(pᵢ), with m = Σ wᵢpᵢ."""
    return torch.special.entr(marginal).sum(dim=1) - mean_entropy
