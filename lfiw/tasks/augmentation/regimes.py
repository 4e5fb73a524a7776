"""What a classifier of few examples is trained on: real rows, generated rows, and the generated rows' weights."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lfiw.errors import InputError
from lfiw.schemas import REGIMES
from lfiw.weighting.resampling import sir
from lfiw.weighting.weights import Weighting

KEPT_SHARE = 0.5  # of both_filtered: the heavier half
POOL = 256  # candidates of a draw of both_resampled


@dataclass(frozen=True)
class TrainingRows:
    """What one regime trains on.

    Args:
        real: whether the real rows are among them.
        generated: rows of the generated table, repeats possible; may be empty.
        weights: of each of them in the loss, mean 1.
    """

    real: bool
    generated: Int64[Tensor, " m"]
    weights: Float[Tensor, " m"]


def needs_log_ratio(regime: str) -> bool:
    """Whether a regime weights the generated rows."""
    return regime not in ("real", "generated", "both")


def training_rows(
    regime: str, num_generated: int, log_ratio: Float[Tensor, " n"] | None, weighting: Weighting, seed: int
) -> TrainingRows:
    """The rows and weights of a regime.

    `…_weighted`: each row's loss is multiplied by its importance weight, mean 1 over the generated rows (Grover et al.
    2019, section 5.2). `both_resampled`: as many rows as there are, drawn by sampling-importance-resampling, weight 1.
    `both_filtered`: the heavier half, weight 1.

    Args:
        num_generated: rows of the generated table.
        log_ratio: of these rows; not needed by `real`, `generated`, `both`.
        weighting: flatten, clip, smooth.
        seed: of the resampling.

    Raises:
        InputError: no such regime, or one that weights without log-ratios, or their number is not that of the rows.
    """
    if regime not in REGIMES:
        raise InputError(f"regime {regime!r}: expected one of {', '.join(REGIMES)}")
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
    return TrainingRows(real, rows, num_generated * weighting(log_ratio))
