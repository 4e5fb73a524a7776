"""Standard errors of weighted Inception Scores."""

import torch
from jaxtyping import Float
from torch import Tensor

from lfiw.intervals.contributions import Contributions, terms
from lfiw.metrics.inception_score import inception_score
from lfiw.metrics.validation import normalised_columns, weight_columns


def inception_score_contributions(probabilities: Float[Tensor, "m c"], weights: Float[Tensor, "m k"]) -> Contributions:
    """Inception scores of k weightings, and each row's part in their error.

    log IS = Σ w̄ᵢ KL(pᵢ‖p̄) with p̄ = Σ w̄ᵢpᵢ: since Σ_c p̄_c = 1, its influence function is KL(pᵢ‖p̄) − log IS, and
    that of the score IS times as much.

    Args:
        probabilities: each row sums to 1.
        weights: non-negative, any scale, one column a weighting.

    Raises:
        InputError: as `inception_score`.
    """
    columns = weight_columns(weights, len(probabilities))
    score = inception_score(probabilities, columns)
    w = normalised_columns(columns, "generated")
    rows = probabilities.double()
    marginal = w.T @ rows
    # 0·log 0 = 0: a class without mass has none in any row of positive weight
    cross = rows @ marginal.clamp(min=torch.finfo(torch.float64).tiny).log().T
    divergence = -torch.special.entr(rows).sum(1, keepdim=True) - cross
    return Contributions(score, score * terms(divergence, w), w.new_zeros(0, w.shape[1]))
