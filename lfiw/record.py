"""The content of evaluation.json."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from lfiw.diagnostics import effective_sample_size
from lfiw.features import Extractor
from lfiw.modules.evaluation import Evaluation
from lfiw.pareto import pareto_k
from lfiw.selection import UNIFORM, Candidate, pareto_k_threshold, recommend
from lfiw.version import __version__
from lfiw.weights import Weighting

Record = dict[str, Any]


def evaluation_record(
    evaluation: Evaluation,
    blocks: Sequence[Evaluation],
    weightings: Mapping[str, Weighting],
    log_ratio: Float[Tensor, " n"],
    candidates: Mapping[str, Candidate],
    extractors: Mapping[str, Extractor],
    *,
    experiment: str,
    run: str,
    num_real: int,
    num_reference: int,
) -> Record:
    """What an evaluation found.

    Args:
        evaluation: after its test, of all rows.
        blocks: the same by the definitions of the paper's official code, each of other rows; or none.
        weightings: those it was given, in that order.
        log_ratio: of the generated evaluation rows.
        candidates: what the validation rows say of each weighting but the uniform one.
        num_real, num_reference: evaluation rows of each kind.
    """
    best = recommend(candidates)
    return {
        "experiment": experiment,
        "version": __version__,
        "run": run,
        "num_real": num_real,
        "num_generated": len(log_ratio),
        "num_reference": num_reference,
        "extractors": [{"name": name, "key": e.key, "sha256": e.sha256} for name, e in extractors.items()],
        "paper_blocks": len(blocks),
        "reference": {
            name: {"value": values[0], "se": None}
            for e in [evaluation, *blocks[:1]]  # the same real rows in every block
            for name, values in e.reference.items()
        },
        "recommended": best,
        "reason": reason(best, candidates),
        "pareto_k_threshold": pareto_k_threshold(len(log_ratio)),
        "real_class_proportions": evaluation.real_proportions,
        "weightings": weighting_records(weightings, log_ratio, evaluation, blocks, candidates),
    }


def weighting_records(
    weightings: Mapping[str, Weighting],
    log_ratio: Tensor,
    evaluation: Evaluation,
    blocks: Sequence[Evaluation],
    candidates: Mapping[str, Candidate],
) -> list[Record]:
    """One record a weighting, as evaluation.json has them."""
    records = []
    for i, (name, w) in enumerate(weightings.items()):
        weights = w(log_ratio)
        metrics = {}
        for scored in ([evaluation], blocks):
            for metric in scored[0].scores if scored else ():
                values = [e.scores[metric] for e in scored]
                difference = mean_over_blocks([v[i] - v[0] for v in values])
                metrics[metric] = {**mean_over_blocks([v[i] for v in values]), "difference": difference}
        candidate = candidates.get(name)
        records.append(
            {
                "name": name,
                "flatten": w.flatten,
                "clip": w.clip,
                "smooth": w.smooth,
                "ess": effective_sample_size(weights).item(),
                "pareto_k": pareto_k(Weighting(w.flatten, w.clip).log_weights(log_ratio)),
                "max_weight": weights.max().item(),
                "kl_gain": {"value": candidate.kl_gain, "se": candidate.standard_error} if candidate else None,
                "metrics": metrics,
                "class_proportions": evaluation.proportions[i] if evaluation.proportions else [],
            }
        )
    return records


def mean_over_blocks(values: Sequence[float]) -> Record:
    """The mean and, of several blocks, its standard error."""
    n = len(values)
    return {"value": statistics.fmean(values), "se": statistics.stdev(values) / math.sqrt(n) if n > 1 else None}


def reason(best: str, candidates: Mapping[str, Candidate]) -> str:
    """Why that weighting, in a sentence."""
    if best != UNIFORM:
        c = candidates[best]
        return (
            f"on validation rows it brings the model {c.kl_gain:.3f} ± {c.standard_error:.3f} nats nearer to the data "
            f"(KL gain; ESS {c.ess:,.0f}, k̂ {c.pareto_k:.2f})"
        )
    if not candidates:
        return "no other weighting was asked for"
    if not any(c.eligible for c in candidates.values()):
        return "every weighting rests on too few samples (k̂ or ESS), so their gain cannot be believed"
    return "no weighting has a KL gain that is above zero at 95 % confidence on validation rows"


def finite_or_null(value: Any) -> Any:
    """JSON has no nan."""
    if isinstance(value, dict):
        return {name: finite_or_null(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [finite_or_null(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
