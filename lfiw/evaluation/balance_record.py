"""Balance of an evaluation's features, before and after weighting: what a love plot and a second classifier show."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from sklearn.decomposition import PCA
from torch import Tensor

from lfiw.data.splits import Subset, evenly_spaced
from lfiw.evaluation.record import Balance, EvaluationRecord, Imbalance
from lfiw.metrics.balance import (
    MOST_FOR_TREES,
    classifier_two_sample_test,
    kolmogorov_smirnov_distances,
    standardised_mean_differences,
)

MOST_LISTED = 30  # columns in a plot; of more, the leading principal components take their place
MOST_COMPONENTS = 100  # that the second classifier sees
MOST_ROWS = 5000  # of a side, that the second classifier sees
FITTED_ROWS = 2000  # of a side, that components are fitted to
ROWS, COLUMNS = 4096, 64  # in float64 at a time


def with_balance(
    record: EvaluationRecord,
    real: Subset,
    generated: Subset,
    column: str,
    weights: Float[Tensor, " m"],
    *,
    seed: int,
) -> EvaluationRecord:
    """Returns the record with the balance of its main features.

    Args:
        real, generated: the evaluation rows; weights: of the generated ones, as recommended.
        column: of the features.
        seed: of the second classifier's folds.
    """
    weighted = None if record.chosen.is_uniform else weights
    return replace(record, balance=balance_of(real.column(column), generated.column(column), weighted, seed=seed))


def balance_of(
    real: Float[Tensor, "n d"], generated: Float[Tensor, "m d"], weights: Float[Tensor, " m"] | None, *, seed: int = 0
) -> Balance:
    """Compares real with generated rows column by column and by a second classifier, before and after weighting.

    Of more than 30 columns the leading principal components are listed; the second classifier sees the columns if there
    are at most 50, otherwise the leading 100 components. Means and largest values are of all columns.

    Args:
        weights: of the generated rows, non-negative, any scale. If None, there is no "after".
        seed: of the components and of the second classifier's folds.
    """
    sides = real, generated
    few = [evenly_spaced(len(side), MOST_ROWS) for side in sides]
    listed, names = sides, [f"column {i}" for i in range(real.shape[1])]
    seen = real[few[0]], generated[few[1]]
    if real.shape[1] > MOST_LISTED:
        directions = principal_directions(*(side[evenly_spaced(len(side), FITTED_ROWS)] for side in sides), seed=seed)
        names = [f"component {i + 1}" for i in range(directions.shape[1])][:MOST_LISTED]
        listed = projected(real, directions[:, :MOST_LISTED]), projected(generated, directions[:, :MOST_LISTED])
        if real.shape[1] > MOST_FOR_TREES:
            seen = projected(seen[0], directions), projected(seen[1], directions)

    def imbalance(w: Float[Tensor, " m"] | None) -> Imbalance:
        sizes = differences_by_blocks(real, generated, w).abs()
        known = sizes[sizes.isfinite()]
        return Imbalance(
            *classifier_two_sample_test(*seen, None if w is None else w[few[1]], seed=seed),
            mean_smd=known.mean().item(),
            max_smd=known.max().item() if len(known) else math.nan,
            smd=tuple(standardised_mean_differences(*listed, w).tolist()),
            ks=tuple(kolmogorov_smirnov_distances(*listed, w).tolist()),
        )

    before, after = imbalance(None), None if weights is None else imbalance(weights)
    order = sorted(range(len(names)), key=lambda i: -abs(before.smd[i]))
    return Balance(
        tuple(names[i] for i in order), in_order(before, order), None if after is None else in_order(after, order)
    )


def in_order(imbalance: Imbalance, order: Sequence[int]) -> Imbalance:
    """Returns the same with its columns rearranged; what is not finite is nan, as in the file."""
    smd, ks = (
        [values[i] if math.isfinite(values[i]) else math.nan for i in order] for values in (imbalance.smd, imbalance.ks)
    )
    return replace(imbalance, smd=tuple(smd), ks=tuple(ks))


def differences_by_blocks(real: Tensor, generated: Tensor, weights: Tensor | None) -> Float[Tensor, " d"]:
    """Standardised mean differences of all columns, some columns in float64 at a time."""
    blocks = zip(real.split(COLUMNS, dim=1), generated.split(COLUMNS, dim=1), strict=True)
    return torch.cat([standardised_mean_differences(*block, weights) for block in blocks])


def principal_directions(
    real: Float[Tensor, "n d"], generated: Float[Tensor, "m d"], *, seed: int
) -> Float[Tensor, "d k"]:
    """Directions whose projections are the leading principal components of the standardised columns, most spread first.

    The sides are pooled without weights: components fitted to one side would spread more on that side than on the
    other, and tell equal distributions apart.
    """
    pooled = torch.cat([real, generated]).double()
    spread = pooled.std(0)
    inverse = torch.where(spread > 0, 1 / spread, 0.0)
    most = min(MOST_COMPONENTS, *pooled.shape)
    pca = PCA(most, svd_solver="randomized", iterated_power=2, random_state=seed)
    return torch.from_numpy(pca.fit((pooled * inverse).float().numpy()).components_.T) * inverse[:, None]


def projected(rows: Float[Tensor, "n d"], directions: Float[Tensor, "d k"]) -> Float[Tensor, "n k"]:
    """Projects rows, some of them in float64 at a time."""
    return torch.cat([block.double() @ directions for block in rows.split(ROWS)])
