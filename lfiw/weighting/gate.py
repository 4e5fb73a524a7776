"""Which weighting to use: decided on validation rows, never on those that scores are reported on.

`choose` is for scores such as the FID, which a handful of effective samples makes worse whatever their weights;
`choose_for_means` is for means, whose error a large bias outweighs long before that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lfiw.weighting.diagnostics import (
    MIN_ESS_PER_DIMENSION,
    effective_sample_size,
    half_width,
    kl_gain,
    rank_test,
    two_sample_test,
)
from lfiw.weighting.weights import Weighting, has_flat_tail, pareto_k_of_columns

UNIFORM, AUTO = "uniform", "auto"
MIN_ESS, MIN_ESS_SHARE = 100.0, 0.01
# the scored rows are more than the validation rows, and of a heavy tail more rows leave a smaller share effective
ESS_MARGIN = 1.5
MOST_ESS_SHARE = 0.5  # that a score may ask for, however few its samples are
SIGNIFICANCE = 0.05  # of the two-sample test
CORRECTS, NOTHING, CANNOT = "corrects", "nothing to correct", "cannot be corrected with these samples"
GRID = tuple(
    Weighting(flatten=round(1 - 0.05 * step, 2), clip=beta, smooth=True)
    for beta in (0.0, 0.01, 0.1)
    for step in range(20)
)  # the first one is the plain ratio


@dataclass(frozen=True)
class Candidate:
    """What the validation rows say of one weighting.

    Args:
        kl_gain, standard_error: nats by which the weighted model is nearer to the data (`lfiw.kl_gain`).
        pareto_k, ess: of the weights of the generated validation rows.
        eligible: k̂ and ESS allow the gain to be believed.
    """

    kl_gain: float
    standard_error: float
    pareto_k: float
    ess: float
    eligible: bool

    @property
    def lower_bound(self) -> float:
        """Of the gain, at 95 %."""
        return self.kl_gain - half_width(self.standard_error)


@dataclass(frozen=True)
class Choice:
    """The weighting that the validation rows allow, and why.

    Args:
        weighting: uniform (flatten 0) unless the verdict is "corrects".
        verdict: "corrects", "nothing to correct" or "cannot be corrected with these samples".
        reason: a sentence with the numbers behind the verdict.
        candidate: what the validation rows say of the weighting chosen; none of the uniform one.
    """

    weighting: Weighting
    verdict: str
    reason: str
    candidate: Candidate | None = None


def pareto_k_threshold(num_samples: int) -> float:
    """min(1 − 1/log10 n, 0.7): above it a weighted mean of n samples is not to be trusted (Vehtari et al. 2024)."""
    return min(1 - 1 / math.log10(max(num_samples, 2)), 0.7)


def judge(
    weighting: Weighting, log_ratio_real: Float[Tensor, " n"], log_ratio_generated: Float[Tensor, " m"]
) -> Candidate:
    """One weighting, on held-out rows of both sides: `judge_all` of it alone."""
    return judge_all([weighting], log_ratio_real, log_ratio_generated)[0]


def min_ess_share(num_features: int, num_samples: int) -> float:
    """Share of the samples that weights must leave effective for a FID of so many features: 3 D of them, half again as
    many as its interval needs, at least 1 % and at most half."""
    wanted = ESS_MARGIN * MIN_ESS_PER_DIMENSION * num_features
    return max(MIN_ESS_SHARE, min(MOST_ESS_SHARE, wanted / num_samples))


def judge_all(
    weightings: Sequence[Weighting],
    log_ratio_real: Float[Tensor, " n"],
    log_ratio_generated: Float[Tensor, " m"],
    ess_share: float = MIN_ESS_SHARE,
) -> list[Candidate]:
    """Every weighting on held-out rows of both sides.

    Without a k̂ below the threshold and an ESS of at least max(100, ess_share·m) it is not eligible: the estimated
    log-mean of the weights then misses their tail, and the gain looks largest where it is negative. Nor is one whose
    tail cannot be fitted, unless its largest weights are all equal: where a floor (clip) makes most of the tail, ESS
    looks well, and the few rows above it decide on other samples.

    Raises:
        InputError: a value is NaN or infinite, or a side has fewer than 2 rows.
    """
    # smoothing is a property of one sample of weights, not of the ratio: the gain is that of the unsmoothed ones
    unsmoothed = [Weighting(w.flatten, w.clip) for w in weightings]
    columns = torch.stack([w.log_weights(log_ratio_generated) for w in unsmoothed], dim=1)
    ks, flat = pareto_k_of_columns(columns).tolist(), has_flat_tail(columns).tolist()
    m = len(columns)
    found = []
    for w, generated, k, bounded in zip(unsmoothed, columns.T, ks, flat, strict=True):
        gain, error = kl_gain(w.log_weights(log_ratio_real), generated)
        ess = effective_sample_size(torch.softmax(generated, dim=0)).item()
        light = bounded or k < pareto_k_threshold(m)  # k̂ is nan where there is no fit
        eligible = light and ess >= max(MIN_ESS, ess_share * m)
        found.append(Candidate(gain.item(), error.item(), k, ess, eligible))
    return found


def choose(
    log_ratio_real: Float[Tensor, " n"],
    log_ratio_generated: Float[Tensor, " m"],
    grid: Sequence[Weighting] = GRID,
    ess_share: float = MIN_ESS_SHARE,
) -> Choice:
    """The gate: the plain ratio if its gain can be believed, else the weighting that can with the largest one, or none.

    A weighting is believed if it is eligible (`judge_all`) and the lower 95 % bound of its KL gain is above zero. The
    plain ratio comes first: every exponent below 1 also shrinks what the ratio has right, and on densities that are
    known (the bench of known truths) a higher gain in KL divergence did not make up for that in the errors of means.
    Where plain weights are too heavy, the eligible one with the largest lower bound is taken.

    A positive gain means that the weighted model is nearer to the data in Kullback–Leibler divergence; a score such as
    the FID need not follow.

    Args:
        log_ratio_real, log_ratio_generated: of held-out rows, which trained neither the classifier nor its calibration.
        grid: weightings to choose from, the plain one first.
        ess_share: least effective share of the rows; for a FID, `min_ess_share` of its features and samples.

    Raises:
        InputError: a value is NaN or infinite, or a side has fewer than 2 rows.
    """
    judged = list(zip(grid, judge_all(grid, log_ratio_real, log_ratio_generated, ess_share), strict=True))
    believed = [(w, c) for w, c in judged if c.eligible and c.lower_bound > 0]
    uniform, m = Weighting(flatten=0.0), log_ratio_generated.numel()
    if believed:
        weighting, c = max(believed, key=lambda pair: (pair[0] == grid[0], pair[1].lower_bound))
        return Choice(
            weighting,
            CORRECTS,
            f"on validation rows {in_words(weighting)} brings the model {c.kl_gain:.3f} ± {c.standard_error:.3f} nats "
            f"nearer to the data (KL gain; ESS {c.ess:,.0f} of {m:,}, k̂ {c.pareto_k:.2f})",
            c,
        )
    p_value = two_sample_test(log_ratio_real, log_ratio_generated).item()
    if p_value > SIGNIFICANCE:
        return Choice(
            uniform,
            NOTHING,
            f"the classifier does not tell real from generated validation rows better than chance (p = {p_value:.2g})",
        )
    plain = judged[0][1]
    why = (
        f"k̂ = {plain.pareto_k:.1f}, ESS = {plain.ess:,.0f} of {m:,}, at least {max(MIN_ESS, ess_share * m):,.0f} needed"
    )
    if plain.eligible:
        why = f"the KL gain is {plain.kl_gain:.3f} ± {plain.standard_error:.3f} nats, not above zero at 95 %"
    return Choice(uniform, CANNOT, why)


def choose_for_means(log_ratio_real: Float[Tensor, " n"], log_ratio_generated: Float[Tensor, " m"]) -> Choice:
    """The gate for weighted means: the Pareto-smoothed plain ratio, wherever there is anything to correct.

    Where weights are heavy the model is far from the data, and the bias that flattened or uniform weights keep is
    larger than the noise of the few samples that carry the plain one: on densities that are known its squared error was
    the smaller one at every k̂ (the bench of known truths), and smoothing made it smaller still (Vehtari et al. 2024).
    A k̂ above the threshold then tells that the mean is uncertain, not that uniform weights are better. A FID is another
    matter: it rises with the number of samples that are missing, so that `choose` asks for many.

    Args:
        log_ratio_real, log_ratio_generated: of held-out rows, which trained neither the classifier nor its calibration.

    Raises:
        InputError: a value is NaN or infinite, or a side has fewer than 2 rows.
    """
    p_value = rank_test(log_ratio_real, log_ratio_generated).item()
    if p_value > SIGNIFICANCE:
        reason = f"held-out real rows have no larger log-ratios than generated ones (p = {p_value:.2g})"
        return Choice(Weighting(flatten=0.0), NOTHING, reason)
    plain = Weighting(smooth=True)
    c = judge(plain, log_ratio_real, log_ratio_generated)
    m = log_ratio_generated.numel()
    reason = f"for means, the smoothed plain ratio (ESS {c.ess:,.0f} of {m:,}, k̂ {c.pareto_k:.2f})"
    if c.pareto_k >= pareto_k_threshold(m):
        reason += "; few samples carry the weight: expect large errors"
    return Choice(plain, CORRECTS, reason, c)


def in_words(weighting: Weighting) -> str:
    """`ŵ`, `ŵ^0.5`, `max(ŵ^0.5, 0.01)`."""
    power = "ŵ" if weighting.flatten == 1 else f"ŵ^{weighting.flatten:g}"
    return f"max({power}, {weighting.clip:g})" if weighting.clip else power
