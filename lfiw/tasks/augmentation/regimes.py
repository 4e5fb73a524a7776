"""What a classifier of few examples is trained on: real rows, generated rows, and the generated rows' weights."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lfiw.data.weighted_rows import weights_within
from lfiw.errors import InputError
from lfiw.schemas import REGIMES
from lfiw.weighting.resampling import sir
from lfiw.weighting.weights import Weighting

KEPT_SHARE = 0.5  # of both_filtered: the heavier half
POOL = 256  # candidates of a draw of both_resampled
AUTO = "auto"
ON_EMBEDDING = ("prototypes", "head", "head_both", "head_weighted", "head_auto")
WEIGHT_FREE = ("real", "generated", "both", "prototypes", "head", "head_both")


@dataclass(frozen=True)
class TrainingRows:
    """What one regime trains on.

    Args:
        real: whether the real rows are among them.
        generated: rows of the generated table, repeats possible; may be empty.
        weights: of each of them, mean 1 in every class.
        drawn: each epoch's rows are drawn by weight, with weight 1 in the loss. Otherwise the loss has the weights.
    """

    real: bool
    generated: Int64[Tensor, " m"]
    weights: Float[Tensor, " m"]
    drawn: bool = False


def relative_log_ratio(log_ratio: Float[Tensor, " n"], share: float) -> Float[Tensor, " n"]:
    """log ŵ/(γŵ + 1 − γ): the ratio of data to a mixture, γ parts data and 1 − γ parts model (Yamada et al. 2013).

    It is at most −log γ: bad rows keep their small weights, and no good row takes the place of many.

    Args:
        share: γ, from 0 (the plain ratio) to 1.
    """
    values = log_ratio.double()
    of_data, of_model = (values.new_tensor(part).log() for part in (share, 1 - share))
    return -torch.logaddexp(of_data, of_model - values)  # 1/(γ + (1 − γ)/ŵ)


def needs_log_ratio(regime: str) -> bool:
    """Whether a regime weights the generated rows."""
    return regime not in WEIGHT_FREE


def training_rows(
    regime: str, labels: Int64[Tensor, " n"], log_ratio: Float[Tensor, " _"] | None, weighting: Weighting, seed: int
) -> TrainingRows:
    """The rows and weights of a regime that trains a network.

    `…_weighted`: each row's loss is multiplied by its importance weight, mean 1 over the generated rows of its class
    (Grover et al. 2019, section 5.2). `…_drawn`: each epoch's rows are drawn in proportion to these weights: the same
    expected loss, with less variance. `both_resampled`: as many rows as there are, drawn once by
    sampling-importance-resampling. `both_filtered`: the heavier half. The latter three have weight 1 in the loss.

    Args:
        labels: classes of the generated rows.
        log_ratio: of these rows; not needed by `real`, `generated`, `both`.
        weighting: flatten, clip, smooth.
        seed: of the resampling.

    Raises:
        InputError: no such regime, or one that weights without log-ratios, or their number is not that of the rows.
    """
    if regime not in REGIMES or regime == AUTO or regime in ON_EMBEDDING:
        raise InputError(f"regime {regime!r}: expected one of {', '.join(REGIMES)}")
    num_generated = len(labels)
    rows = torch.arange(num_generated)
    ones = torch.ones(num_generated, dtype=torch.float64)
    if regime == "real":
        return TrainingRows(True, rows[:0], ones[:0])
    real = regime.startswith("both")
    if not needs_log_ratio(regime):
        return TrainingRows(real, rows, ones)
    if log_ratio is None or len(log_ratio) != num_generated:
        found = "none" if log_ratio is None else f"{len(log_ratio):,}"
        raise InputError(f"regime {regime} needs a log-ratio for each of {num_generated:,} generated rows, got {found}")
    log_weights = weighting.log_weights(log_ratio)
    if regime == "both_resampled":
        chosen = sir(log_weights, num_generated, POOL, torch.Generator().manual_seed(seed))
        return TrainingRows(real, chosen, ones)
    if regime == "both_filtered":
        kept = log_weights.argsort(descending=True, stable=True)[: max(1, round(KEPT_SHARE * num_generated))]
        return TrainingRows(real, kept.sort().values, ones[: len(kept)])
    # scaled by the largest of a class before the exponential: no class underflows
    top = log_weights.new_full((int(labels.max()) + 1,), -torch.inf).scatter_reduce(0, labels, log_weights, "amax")
    weights = weights_within((log_weights - top[labels]).exp(), labels)
    return TrainingRows(real, rows, weights, drawn=regime.endswith("_drawn"))
