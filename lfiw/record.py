"""The content of evaluation.json."""

import math
from collections.abc import Mapping
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
        evaluation: after its test.
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
        "extractors": [{"name": name, "sha256": e.sha256} for name, e in extractors.items()],
        "reference": {name: {"value": values[0], "se": None} for name, values in evaluation.reference.items()},
        "recommended": best,
        "reason": reason(best, candidates),
        "pareto_k_threshold": pareto_k_threshold(len(log_ratio)),
        "real_class_proportions": evaluation.real_proportions,
        "weightings": weighting_records(weightings, log_ratio, evaluation, candidates),
    }


def weighting_records(
    weightings: Mapping[str, Weighting], log_ratio: Tensor, evaluation: Evaluation, candidates: Mapping[str, Candidate]
) -> list[Record]:
    """One record a weighting, as evaluation.json has them."""
    records = []
    for i, (name, w) in enumerate(weightings.items()):
        weights = w(log_ratio)
        metrics = {
            metric: {"value": v[i], "se": None, "difference": {"value": v[i] - v[0], "se": None}}
            for metric, v in evaluation.scores.items()
        }
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
