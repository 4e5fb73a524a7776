"""The distance within each class, before and after weighting: what a ratio does besides moving the classes' shares."""

import math
from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lfiw.data.splits import Subset, evenly_spaced
from lfiw.errors import LostScore
from lfiw.evaluation.record import UNKNOWN, Difference, Estimate, EvaluationRecord, WithinClass
from lfiw.metrics.influence import kernel_contributions
from lfiw.metrics.weighted_metric import carried_by_one_row
from lfiw.weighting.diagnostics import half_width

NO_DIFFERENCE = Difference(math.nan, math.nan)
FEWEST_ROWS = 20  # of a class on either side, below which it is left out


def with_classes(
    record: EvaluationRecord,
    real: Subset,
    generated: Subset,
    features: str,
    logits: str,
    weights: Float[Tensor, " m"],
    most_rows: int = 0,
) -> EvaluationRecord:
    """Returns the record with the KID within each class, by the likeliest class of each row.

    Args:
        real, generated: the evaluation rows; weights: of the generated ones, as recommended.
        features: column that the KID sees; logits: column that tells the classes.
        most_rows: of a side, evenly spaced; 0: all.
    """
    compared = [evenly_spaced(len(subset), most_rows) for subset in (real, generated)]
    (real_rows, real_classes), (generated_rows, classes) = (
        (subset.column(features)[rows], subset.column(logits)[rows].argmax(dim=1))
        for subset, rows in zip((real, generated), compared, strict=True)
    )
    found = distances_within(real_rows, real_classes, generated_rows, classes, weights[compared[1]])
    return replace(record, by_class=found)


def distances_within(
    real: Float[Tensor, "n d"],
    real_classes: Int64[Tensor, " n"],
    generated: Float[Tensor, "m d"],
    generated_classes: Int64[Tensor, " m"],
    weights: Float[Tensor, " m"],
) -> tuple[WithinClass, ...]:
    """Computes the unbiased KID within each class that has at least 20 rows on both sides.

    Args:
        weights: of the generated rows, non-negative, any scale.
    """
    found = []
    for number in sorted(set(real_classes.tolist()) & set(generated_classes.tolist())):
        of_real, of_generated = real_classes == number, generated_classes == number
        if min(of_real.sum(), of_generated.sum()) >= FEWEST_ROWS:
            distance = distance_within(real[of_real], generated[of_generated], weights[of_generated])
            found.append(WithinClass(number, int(of_real.sum()), int(of_generated.sum()), *distance))
    return tuple(found)


def distance_within(
    real: Float[Tensor, "n d"], generated: Float[Tensor, "m d"], weights: Float[Tensor, " m"]
) -> tuple[Estimate, Difference]:
    """Returns the unweighted KID, and how far weights move it.

    They are nan where digits are lost, and the second also where one row has all the weight.
    """
    columns = [torch.ones_like(weights)]
    if weights.any() and not carried_by_one_row(weights[:, None]).any():
        columns.append(weights)
    try:
        found = kernel_contributions(real, generated, torch.stack(columns, dim=1))
    except LostScore:
        return UNKNOWN, NO_DIFFERENCE
    before = Estimate(found.score[0].item(), found.standard_errors()[0].item())
    if len(columns) == 1:
        return before, NO_DIFFERENCE
    paired = found.differences()
    error, degrees = paired.standard_errors()[1].item(), paired.degrees_of_freedom()[1].item()
    return before, Difference(paired.score[1].item(), error, half_width(error, degrees))
