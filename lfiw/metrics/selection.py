"""The gate for scores: chooses the weighting by scores of validation rows."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from lfiw.data.splits import Subset, evenly_spaced
from lfiw.errors import LostScore
from lfiw.metrics.influence import kernel_contributions
from lfiw.weighting.calibration import Validation
from lfiw.weighting.diagnostics import half_width
from lfiw.weighting.gate import (
    CORRECTS,
    GRID,
    MIN_ESS_SHARE,
    STRATIFIED_GRID,
    Choice,
    choose,
    in_words,
    judge_all,
    why_not_eligible,
    without_gain,
)
from lfiw.weighting.strata import Strata
from lfiw.weighting.weights import Weighting

JUDGING_ROWS = 2500  # most rows per side that a KID of the gate compares: its cost grows with their square
UNWEIGHTED = Weighting(flatten=0.0)
CLASS_SHARES = "the class shares"


@dataclass(frozen=True)
class Judge:
    """Validation rows in one set of features.

    Args:
        name: of the features, as messages call them.
        real, generated: (n, d) and (m, d).
        log_ratio: (m,) of the generated rows; strata: of the same rows.
    """

    name: str
    real: Float[Tensor, "n d"]
    generated: Float[Tensor, "m d"]
    log_ratio: Float[Tensor, " m"]
    strata: Strata | None = None

    def gains(self, weightings: Sequence[Weighting]) -> tuple[list[float], list[float], float]:
        """Returns how much each weighting lowers the unbiased KID, the standard errors, and the unweighted KID."""
        weights = torch.stack([w(self.log_ratio, self.strata) for w in (UNWEIGHTED, *weightings)], dim=1)
        contributions = kernel_contributions(self.real, self.generated, weights)
        differences = contributions.differences()
        gains, errors = -differences.score[1:], differences.standard_errors()[1:]
        return gains.tolist(), errors.tolist(), contributions.score[0].item()


def choose_by_kernel_distance(
    judges: Sequence[Judge],
    log_ratio_real: Float[Tensor, " n"],
    log_ratio_generated: Float[Tensor, " m"],
    grid: Sequence[Weighting] = GRID,
    ess_share: float = MIN_ESS_SHARE,
    num_scored: int | None = None,
    strata: tuple[Strata, Strata] | None = None,
) -> Choice:
    """Returns, of the weightings that lower the KID in the scored features most, the closest to the plain ratio.

    The KID is unbiased at any effective size, so that it does not punish weights for their number (as the FID does)
    and does not reward them for it. Only eligible weightings are asked (`judge_all`: k̂ and ESS), only a lower bound
    above zero counts, and no weighting is taken that raises the KID of another judge: features that the ratio did not
    see, or the classes' shares. Of the rest, the one with the largest lower bound is compared with those whose gain is
    at most its standard error less (Breiman et al. 1984), and of them the largest exponent is taken: an exponent below
    1 also shrinks what the ratio has right.

    Args:
        judges: the scored features first; the others have a veto.
        log_ratio_real, log_ratio_generated: of all validation rows.
        grid, ess_share: as in `choose`; num_scored, strata: as in `judge_all`.

    Raises:
        InputError: a value is NaN or infinite, or a side has fewer than 2 rows.
        LostScore: a kernel overflows.
    """
    candidates = judge_all(grid, log_ratio_real, log_ratio_generated, ess_share, num_scored, strata)
    eligible = [(w, c) for w, c in zip(grid, candidates, strict=True) if c.eligible]
    refuse = partial(without_gain, log_ratio_real, log_ratio_generated)
    if not eligible:
        return refuse(why_not_eligible(candidates[0], log_ratio_generated.numel(), ess_share))
    weightings = [w for w, _ in eligible]
    main, *others = judges
    gains, errors, before = main.gains(weightings)
    bounds = [gain - half_width(error) for gain, error in zip(gains, errors, strict=True)]
    vetoes: list[list[str]] = [[] for _ in weightings]
    for judge in others:
        for names, gain in zip(vetoes, judge.gains(weightings)[0], strict=True):
            if gain < 0:
                names.append(judge.name)
    allowed = [i for i, bound in enumerate(bounds) if bound > 0 and not vetoes[i]]
    if not allowed:
        largest = max(range(len(bounds)), key=bounds.__getitem__)
        if bounds[largest] > 0:
            names = vetoes[largest]
            hint = "; weights can match them (strata)" if CLASS_SHARES in names and strata is None else ""
            return refuse(f"what lowers the KID ({main.name}) raises that of {' and '.join(names)}{hint}")
        gain, error = gains[largest], errors[largest]
        return refuse(f"no weighting lowers the KID ({main.name}) beyond its error: {gain:.3g} ± {error:.2g}")
    surest = max(allowed, key=bounds.__getitem__)
    as_good = [i for i in allowed if gains[i] >= gains[surest] - errors[surest]]
    best = max(as_good, key=lambda i: (weightings[i].flatten, -weightings[i].clip))
    weighting, candidate = eligible[best]
    return Choice(
        weighting,
        CORRECTS,
        f"on validation rows {in_words(weighting)} lowers the KID ({main.name}) by {gains[best]:.3g} ± "
        f"{errors[best]:.2g} from {before:.3g} ({candidate.ess_in_words(log_ratio_generated.numel())}, KL gain "
        f"{candidate.kl_gain:.3f} ± {candidate.standard_error:.3f})",
        candidate,
    )


def choose_by_judges(
    judges: Sequence[Judge],
    validation: Validation,
    *,
    ess_share: float = MIN_ESS_SHARE,
    num_scored: int | None = None,
) -> Choice:
    """Returns the gate's choice: by the KID; without judges, or if float64 cannot hold a kernel, by the KL gain.

    If the validation rows' classes are given, it tries weightings that match the classes' shares first, and others only
    if none of those is allowed: a class that hardly any generated row has can leave too few effective samples.

    Args:
        judges: as in `choose_by_kernel_distance`; may be empty.
        validation: log-ratios, and perhaps classes, of all validation rows that judge.
        ess_share, num_scored: as in `choose`.
    """
    judge = partial(_choose_by_judges, judges, validation, ess_share, num_scored)
    if validation.strata is None:
        return judge(GRID, None)
    matched = judge(STRATIFIED_GRID, validation.strata)
    if matched.verdict == CORRECTS:
        return matched
    plain = judge(GRID, None)
    if plain.verdict != CORRECTS:
        return matched
    return replace(plain, reason=f"{plain.reason}; class shares are not matched: {matched.reason}")


def _choose_by_judges(
    judges: Sequence[Judge],
    validation: Validation,
    ess_share: float,
    num_scored: int | None,
    grid: Sequence[Weighting],
    strata: tuple[Strata, Strata] | None,
) -> Choice:
    options: Any = {"grid": grid, "ess_share": ess_share, "num_scored": num_scored, "strata": strata}
    if judges:
        with suppress(LostScore):
            return choose_by_kernel_distance(judges, *validation.calibrated, **options)
    return choose(*validation.calibrated, **options)


@dataclass(frozen=True)
class JudgingRows:
    """Validation rows of both sides, each once, with one log-ratio, and perhaps class, per generated row."""

    real: Subset
    generated: Subset
    log_ratio: Float[Tensor, " m"]
    strata: Strata | None = None

    @classmethod
    def of(
        cls, real: Subset, generated: Subset, log_ratio: Float[Tensor, " m"], strata: Strata | None = None
    ) -> "JudgingRows":
        """Takes rows that several folds validate once, with the mean of their log-ratios; at most JUDGING_ROWS.

        Args:
            log_ratio, strata: of the generated rows.
        """
        rows, place = torch.unique(generated.rows, return_inverse=True)
        sums = torch.zeros(len(rows), dtype=torch.float64).index_add_(0, place, log_ratio.double().cpu())
        means = sums / torch.bincount(place, minlength=len(rows))
        kept = evenly_spaced(len(rows), JUDGING_ROWS)
        real_rows = torch.unique(real.rows)
        return cls(
            Subset(real.table, real_rows[evenly_spaced(len(real_rows), JUDGING_ROWS)]),
            Subset(generated.table, rows[kept]),
            means[kept],
            strata[torch.empty_like(rows).scatter_(0, place, torch.arange(len(place)))[kept]] if strata else None,
        )

    def by_features(self, name: str, column: str) -> Judge:
        """Returns the judge that sees a column of features."""
        return Judge(name, self.real.column(column), self.generated.column(column), self.log_ratio, self.strata)

    def by_coordinates(self, column: str) -> Judge:
        """Returns the judge that sees vectors, each coordinate in standard deviations of both sides."""
        real, generated = (subset.column(column).double() for subset in (self.real, self.generated))
        std, mean = torch.std_mean(torch.cat([real, generated]), dim=0)
        std = torch.where(std > 0, std, 1.0)
        return Judge("the samples", (real - mean) / std, (generated - mean) / std, self.log_ratio, self.strata)

    def by_classes(self, column: str) -> Judge:
        """Returns the judge that sees which class has the largest logit, one-hot: its KID is one of class shares."""
        real, generated = (one_hot(subset.column(column)) for subset in (self.real, self.generated))
        return Judge(CLASS_SHARES, real, generated, self.log_ratio, self.strata)

    def by_images(self, name: str, features: Callable[[Tensor], Tensor]) -> Judge:
        """Returns the judge that sees features of the images, (n, c, h, w) → (n, d)."""
        real, generated = (features(subset.column("image")) for subset in (self.real, self.generated))
        return Judge(name, real, generated, self.log_ratio, self.strata)


def one_hot(logits: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    classes: Int64[Tensor, " n"] = logits.argmax(dim=1)
    return F.one_hot(classes, logits.shape[1]).double()
