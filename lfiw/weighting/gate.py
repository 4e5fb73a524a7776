"""Chooses a weighting by log-ratios alone, on validation rows, never on those that scores are reported on.

If the validation rows have features, scores of them decide instead (`lfiw.metrics.selection`). Means of known functions
have their own rule (`lfiw.metrics.weighted_mean`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
from lfiw.weighting.overlap import effective_shares
from lfiw.weighting.strata import Strata
from lfiw.weighting.weights import Weighting, has_tied_tail, pareto_k_of_columns

UNIFORM, AUTO = "uniform", "auto"
MIN_ESS, MIN_ESS_SHARE = 100.0, 0.01
# there are more evaluation than validation rows, and under a heavy tail ESS/n shrinks as n grows
ESS_MARGIN = 1.5
MOST_ESS_SHARE = 0.5  # the largest share that a score may require, however few its samples
SIGNIFICANCE = 0.05  # of the two-sample test
CORRECTS, NOTHING, CANNOT = "corrects", "nothing to correct", "cannot be corrected with these samples"
GRID = tuple(
    Weighting(flatten=round(1 - 0.05 * step, 2), clip=beta, smooth=True)
    for beta in (0.0, 0.01, 0.1)
    for step in range(20)
)  # the plain ratio comes first
# with classes' shares matched; the last one corrects them alone
STRATIFIED_GRID = (*(replace(w, stratify=True) for w in GRID), Weighting(flatten=0.0, stratify=True))


@dataclass(frozen=True)
class Candidate:
    """One weighting, judged on the validation rows.

    Args:
        kl_gain, standard_error: nats by which weights bring the model closer to the data (`lfiw.kl_gain`).
        pareto_k: that of the generated validation rows' weights; nan if they have too many ties for a tail.
        ess: effective generated validation rows, or the estimate from both sides' rows if that is lower.
        eligible: k̂ and ESS allow the gain to be believed.
    """

    kl_gain: float
    standard_error: float
    pareto_k: float
    ess: float
    eligible: bool

    @property
    def lower_bound(self) -> float:
        """Lower end of the gain's 95 % interval."""
        return self.kl_gain - half_width(self.standard_error)

    def ess_in_words(self, num_rows: int) -> str:
        """Says `ESS 512 of 1,000, k̂ 0.31`, or without a k̂ that the largest weights are tied."""
        tail = "largest weights tied" if math.isnan(self.pareto_k) else f"k̂ {self.pareto_k:.2f}"
        return f"ESS {self.ess:,.0f} of {num_rows:,}, {tail}"


@dataclass(frozen=True)
class Choice:
    """The weighting that the validation rows allow, and why.

    Args:
        weighting: uniform (flatten 0) unless the verdict is "corrects".
        verdict: "corrects", "nothing to correct" or "cannot be corrected with these samples".
        reason: a sentence with the numbers behind the verdict.
        candidate: the chosen weighting as judged on the validation rows; None for the uniform one.
    """

    weighting: Weighting
    verdict: str
    reason: str
    candidate: Candidate | None = None


def pareto_k_threshold(num_samples: int) -> float:
    """Returns min(1 − 1/log10 n, 0.7): with a larger k̂ a weighted mean cannot be trusted (Vehtari et al. 2024)."""
    return min(1 - 1 / math.log10(max(num_samples, 2)), 0.7)


def judge(
    weighting: Weighting,
    log_ratio_real: Float[Tensor, " n"],
    log_ratio_generated: Float[Tensor, " m"],
    strata: tuple[Strata, Strata] | None = None,
) -> Candidate:
    """Judges one weighting on held-out rows of both sides, as `judge_all`."""
    return judge_all([weighting], log_ratio_real, log_ratio_generated, strata=strata)[0]


def min_ess_share(num_features: int, num_samples: int) -> float:
    """Returns the least ESS / n that weights must leave for an FID of D features.

    The ESS must be 3 D, half again as much as the interval needs, but at least 1 % and at most half of the samples.
    """
    wanted = ESS_MARGIN * MIN_ESS_PER_DIMENSION * num_features
    return max(MIN_ESS_SHARE, min(MOST_ESS_SHARE, wanted / num_samples))


def judge_all(
    weightings: Sequence[Weighting],
    log_ratio_real: Float[Tensor, " n"],
    log_ratio_generated: Float[Tensor, " m"],
    ess_share: float = MIN_ESS_SHARE,
    num_scored: int | None = None,
    strata: tuple[Strata, Strata] | None = None,
) -> list[Candidate]:
    """Judges every weighting on held-out rows of both sides.

    It is eligible with a k̂ below the threshold and an ESS of at least max(100, ess_share·m): otherwise the estimated
    log-mean of the weights misses their tail, and the gain looks largest where it is negative. The ESS is the smaller
    of that of the generated rows and the one expected from both sides for the scored rows (`effective_shares`), since
    a clip or few rows can hide the large weights. If ties leave no tail to fit, the ESS alone decides.

    Args:
        num_scored: generated rows that the weights are for. If None, as many as generated rows are given.
        strata: of the real and of the generated rows, for weightings that match class shares.

    Raises:
        InputError: a value is NaN or infinite, or a side has fewer than 2 rows.
    """
    # smoothing belongs to one sample of weights, not to the ratio: the gain is that of unsmoothed weights
    both = [w.log_weights_of_both(log_ratio_real, log_ratio_generated, strata) for w in weightings]
    columns = torch.stack([generated for _, generated in both], dim=1)
    m = len(columns)
    tied = has_tied_tail(columns)
    ks = torch.where(tied, math.nan, pareto_k_of_columns(columns))
    light = tied | (ks < pareto_k_threshold(m))
    gains = [kl_gain(*sides) for sides in both]
    expected = effective_shares(weightings, log_ratio_real, log_ratio_generated, num_scored or m, strata)
    judged = []
    for i, (gain, error) in enumerate(gains):
        ess = min(effective_sample_size(torch.softmax(columns[:, i], dim=0)).item(), expected[i].item() * m)
        eligible = bool(light[i]) and ess >= max(MIN_ESS, ess_share * m)
        judged.append(Candidate(gain.item(), error.item(), ks[i].item(), ess, eligible))
    return judged


def choose(
    log_ratio_real: Float[Tensor, " n"],
    log_ratio_generated: Float[Tensor, " m"],
    grid: Sequence[Weighting] = GRID,
    ess_share: float = MIN_ESS_SHARE,
    num_scored: int | None = None,
    strata: tuple[Strata, Strata] | None = None,
) -> Choice:
    """Chooses the plain ratio if its gain is reliable, otherwise the weighting with the best gain, or none.

    A weighting is believed if it is eligible (`judge_all`) and the lower 95 % bound of its KL gain is above zero. The
    plain ratio comes first: every exponent below 1 also shrinks what the ratio has right, and on densities that are
    known (the bench of known truths) a higher gain in KL divergence did not make up for that in the errors of means.
    If plain weights are too heavy, it takes the eligible weighting with the largest lower bound.

    A positive gain means that the weighted model is closer to the data in Kullback–Leibler divergence; a score such as
    the FID need not improve.

    Args:
        log_ratio_real, log_ratio_generated: of held-out rows, which neither trained the classifier nor calibrated it.
        grid: weightings to choose from, the plain one first.
        ess_share: least effective share of the rows; for a FID, `min_ess_share` of its features and samples.
        num_scored, strata: as in `judge_all`.

    Raises:
        InputError: a value is NaN or infinite, or a side has fewer than 2 rows.
    """
    candidates = judge_all(grid, log_ratio_real, log_ratio_generated, ess_share, num_scored, strata)
    judged = list(zip(grid, candidates, strict=True))
    believed = [(w, c) for w, c in judged if c.eligible and c.lower_bound > 0]
    m = log_ratio_generated.numel()
    if believed:
        weighting, c = max(believed, key=lambda pair: (pair[0] == grid[0], pair[1].lower_bound))
        return Choice(
            weighting,
            CORRECTS,
            f"on validation rows {in_words(weighting)} brings the model {c.kl_gain:.3f} ± {c.standard_error:.3f} nats "
            f"nearer to the data (KL gain; {c.ess_in_words(m)})",
            c,
        )
    plain = judged[0][1]
    why = why_not_eligible(plain, m, ess_share)
    if plain.eligible:
        why = f"the KL gain is {plain.kl_gain:.3f} ± {plain.standard_error:.3f} nats, not above zero at 95 %"
    return without_gain(log_ratio_real, log_ratio_generated, why)


def without_gain(log_ratio_real: Float[Tensor, " n"], log_ratio_generated: Float[Tensor, " m"], why: str) -> Choice:
    """Returns the refusal: nothing to correct if not even the classifier tells the sides apart, otherwise why not."""
    # the first test notices a few rows that differ much, the second a small difference of all rows
    tests = [test(log_ratio_real, log_ratio_generated).item() for test in (two_sample_test, rank_test)]
    p_value = min(1.0, 2 * min(tests))  # Bonferroni
    if p_value > SIGNIFICANCE:
        why = f"the classifier does not tell real from generated validation rows better than chance (p = {p_value:.2g})"
    return Choice(Weighting(flatten=0.0), NOTHING if p_value > SIGNIFICANCE else CANNOT, why)


def why_not_eligible(candidate: Candidate, num_rows: int, ess_share: float) -> str:
    """Says in numbers what the plain weights lack, or that so few rows can prove nothing."""
    if num_rows < MIN_ESS:
        return (
            f"{num_rows:,} generated validation rows are too few to judge weights by: at least {MIN_ESS:,.0f} must "
            "stay effective; give more samples, or a larger share for validation"
        )
    return (
        f"plain weights leave {candidate.ess_in_words(num_rows)}; needed are an ESS of at least "
        f"{max(MIN_ESS, ess_share * num_rows):,.0f} and a k̂ below {pareto_k_threshold(num_rows):.2f}"
    )


def in_words(weighting: Weighting) -> str:
    """Writes a weighting as `ŵ`, `ŵ^0.5`, `max(ŵ^0.5, 0.01)` or `ŵ^0.5 with class shares matched`."""
    if weighting.flatten == 0 and weighting.stratify:
        return "matching class shares"
    power = "ŵ" if weighting.flatten == 1 else f"ŵ^{weighting.flatten:g}"
    clipped = f"max({power}, {weighting.clip:g})" if weighting.clip else power
    return clipped + " with class shares matched" * weighting.stratify
