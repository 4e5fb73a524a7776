"""Scores along the flattening exponent, from the cached features."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from rich.progress import Progress
from torch import Tensor

from lfiw.data.splits import Subset
from lfiw.diagnostics import effective_sample_size
from lfiw.modules.evaluation import Evaluation
from lfiw.record import Flattening, Metric
from lfiw.tasks.uncertainty import scored_metrics
from lfiw.weights import Weighting


def flattening_curves(
    evaluation: Evaluation,
    real: Subset,
    generated: Subset,
    log_ratio: Float[Tensor, " n"],
    weightings: Mapping[str, Weighting],
    exponents: Sequence[float],
    *,
    progress: bool,
) -> Flattening | None:
    """ESS and every standard score of ŵ^α; none without exponents.

    Exponents that the evaluation has scored already are not scored again. The curves are shown; nothing is chosen by
    them, for they are of the rows that scores are reported on.

    Args:
        evaluation: after its test, by the standard definitions.
        real, generated: the evaluation rows; log_ratio: of the generated ones.
        weightings: those that the evaluation has scored.
        exponents: α ≥ 0.
        progress: show a progress bar.
    """
    if not exponents:
        return None
    grid = sorted(set(exponents))
    known = {w.flatten: i for i, w in enumerate(weightings.values()) if w == Weighting(w.flatten)}
    lacking = [alpha for alpha in grid if alpha not in known]
    weights = [Weighting(alpha)(log_ratio) for alpha in grid]
    scores = {}
    scored_ones = scored_metrics(evaluation, real, generated)
    with Progress(transient=True, disable=not (progress and lacking)) as bar:
        task = bar.add_task("flattening", total=len(scored_ones))
        for name, make in scored_ones.items():
            bar.update(task, description=f"flattening: {name}")
            found = {alpha: evaluation.scores[name][i] for alpha, i in known.items()}
            if lacking:
                columns = torch.stack([weights[grid.index(alpha)] for alpha in lacking], dim=1)
                scored = make()
                found |= dict(zip(lacking, scored.scores(scored.of_rows(columns)).tolist(), strict=True))
            scores[Metric.named(name)] = tuple(found[alpha] for alpha in grid)
            bar.advance(task)
    return Flattening(tuple(grid), tuple(effective_sample_size(w).item() for w in weights), scores)
