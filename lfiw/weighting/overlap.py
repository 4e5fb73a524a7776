"""Estimates the share of a model's mass that a weighting leaves effective, from rows of both sides.

Generated rows alone do not reveal large weights that were not drawn. Real rows do: they lie where weights are large.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from scipy.optimize import brentq
from torch import Tensor

from lfiw.weighting.strata import Strata
from lfiw.weighting.weights import Weighting, check_log_ratio

RARE = 0.01  # expected number of scored rows beyond the largest weight taken into account


def log_normaliser(log_ratio_real: Float[Tensor, " n"], log_ratio_generated: Float[Tensor, " m"]) -> float:
    """Returns log E_q[ŵ] by Bennett's acceptance ratio: the c at which Σ_q σ(log ŵ − c)/m = Σ_p σ(c − log ŵ)/n.

    It is 0 for exact ratios. Unlike the mean of ŵ over generated rows, it has a finite variance under any tail
    (Bennett, J. Comput. Phys. 22, 1976; Meng & Wong, Statistica Sinica 6, 1996).

    Raises:
        InputError: a side is empty, or a value is NaN or infinite.
    """
    check_log_ratio(log_ratio_real)
    check_log_ratio(log_ratio_generated)
    real, generated = log_ratio_real.double(), log_ratio_generated.double()

    def imbalance(c: float) -> float:
        return (torch.sigmoid(generated - c).mean() - torch.sigmoid(c - real).mean()).item()

    both = torch.cat([real, generated])
    # 40 nats beyond the values, each sigmoid is 0 or 1 to the last digit
    return float(brentq(imbalance, both.min().item() - 40, both.max().item() + 40))


def effective_shares(
    weightings: Sequence[Weighting],
    log_ratio_real: Float[Tensor, " n"],
    log_ratio_generated: Float[Tensor, " m"],
    num_scored: int,
    strata: tuple[Strata, Strata] | None = None,
) -> Float[Tensor, " k"]:
    """Returns, for each weighting v, the ESS per row (E_q v)²/E_q v² that `num_scored` generated rows can be expected
    to have.

    Since p = ŵq, an expectation under q is one over both sides: E_q[g] = E_q[g/(1 + ŵ)] + E_p[g/(1 + ŵ)]. The second
    term has the large weights, which few generated rows or none have. The rarest, which with a probability of 99 % none
    of the scored rows will have, are left out.

    Args:
        weightings: their smoothing is ignored.
        log_ratio_real, log_ratio_generated: of held-out rows; any scale of ŵ.
        num_scored: generated rows that will be weighted.
        strata: of the real and of the generated rows, for weightings that match class shares.

    Raises:
        InputError: a side is empty, or a value is NaN or infinite.
    """
    # classes whose shares are known are part of the ratio, whatever the given log-ratios say of them
    ratio = Weighting(stratify=strata is not None)
    both = ratio.log_weights_of_both(log_ratio_real, log_ratio_generated, strata)
    c = log_normaliser(*both)
    sides = [(side - c).cpu() for side in both]
    mass = torch.cat([torch.sigmoid(-side) / len(side) for side in sides])
    mass = mass / mass.sum()
    shares = []
    for weighting in weightings:
        log_w = torch.cat(weighting.log_weights_of_both(log_ratio_real, log_ratio_generated, strata)).cpu()
        log_w, order = log_w.sort(descending=True, stable=True)
        drawn = mass[order].cumsum(0) * num_scored >= RARE
        log_mass = mass[order].log()
        moments = [torch.logsumexp((power * log_w + log_mass)[drawn], 0) for power in (0, 1, 2)]
        shares.append(math.exp(2 * moments[1] - moments[0] - moments[2]))
    return torch.tensor(shares, dtype=torch.float64)
