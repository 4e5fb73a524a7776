"""The content of evaluation.json."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from lfiw.diagnostics import effective_sample_size, top_share
from lfiw.features import Extractor
from lfiw.modules.evaluation import Evaluation
from lfiw.pareto import pareto_k
from lfiw.schemas import Config
from lfiw.selection import AUTO, Candidate, Choice, pareto_k_threshold
from lfiw.version import __version__
from lfiw.weights import Weighting

Record = dict[str, Any]
EXACT = "exact"  # weights that a data set knows, where the skew was made


@dataclass(frozen=True)
class Uncertainty:
    """What stands beside one metric, a value a weighting; nan where there is none.

    Args:
        standard_error, half_width: of the score, and what its 95 % interval reaches to either side;
        difference_error, difference_half_width: of its difference to the uniform weighting's, on the same rows.
        interval: how far that covers: nominal, conservative, few rows or none.
        control, control_error: mean score, and its standard error, of the same weights permuted across the rows.
        infinite, infinite_error: the score extrapolated to infinitely many samples.
    """

    standard_error: Sequence[float]
    half_width: Sequence[float]
    difference_error: Sequence[float]
    difference_half_width: Sequence[float]
    interval: Sequence[str]
    control: Sequence[float]
    control_error: Sequence[float]
    infinite: Sequence[float]
    infinite_error: Sequence[float]


def evaluation_record(
    evaluation: Evaluation,
    blocks: Sequence[Evaluation],
    weightings: Mapping[str, Weighting],
    weights: Float[Tensor, "n k"],
    log_ratio: Float[Tensor, " n"],
    candidates: Mapping[str, Candidate],
    uncertainties: Mapping[str, Uncertainty],
    extractors: Mapping[str, Extractor],
    *,
    choice: Choice,
    recommended: str,
    classifier: Mapping[str, Any],
    config: Config,
    run: str,
    num_real: int,
    num_reference: int,
) -> Record:
    """What an evaluation found.

    Args:
        evaluation: after its test, of all rows.
        blocks: the same by the definitions of the paper's official code, each of other rows; or none.
        weightings: those that are functions of the log-ratio, in their order; weights: one column for each of them,
            and then for those that the data set knows to be exact.
        log_ratio: of the generated evaluation rows.
        candidates: what the validation rows say of each weighting but the uniform one.
        uncertainties: by the standard metrics' names; empty where they were not asked for.
        choice: of the gate; recommended: name of the weighting to recommend.
        classifier: from `lfiw.diagnosis.diagnose`.
        num_real, num_reference: evaluation rows of each kind.
    """
    told = recommended == AUTO
    lost = {name: reason for e in [evaluation, *blocks] for name, reason in e.lost.items()}
    return {
        "experiment": config.experiment,
        "version": __version__,
        "run": run,
        "num_real": num_real,
        "num_generated": len(log_ratio),
        "num_reference": num_reference,
        "extractors": [{"name": name, "key": e.key, "sha256": e.sha256} for name, e in extractors.items()],
        "paper_blocks": len(blocks),
        "calibration": config.calibration,
        "folds": config.folds,
        "ensemble": config.ensemble,
        "classifier": dict(classifier),
        "reference": {
            name: {"value": values[0], "se": None}
            for e in [evaluation, *blocks[:1]]  # the same real rows in every block
            for name, values in e.reference.items()
        },
        "recommended": recommended,
        "verdict": choice.verdict,
        "reason": choice.reason if told else f"named by weighting={recommended}; auto says: {in_a_sentence(choice)}",
        "pareto_k_threshold": pareto_k_threshold(len(log_ratio)),
        "real_class_proportions": evaluation.real_proportions,
        **({"lost": lost} if lost else {}),  # why a score is null
        "weightings": weighting_records(weightings, weights, log_ratio, evaluation, blocks, candidates, uncertainties),
    }


def in_a_sentence(choice: Choice) -> str:
    """Verdict and reason."""
    return f"{choice.verdict}: {choice.reason}"


def weighting_records(
    weightings: Mapping[str, Weighting],
    weights: Float[Tensor, "n k"],
    log_ratio: Tensor,
    evaluation: Evaluation,
    blocks: Sequence[Evaluation],
    candidates: Mapping[str, Candidate],
    uncertainties: Mapping[str, Uncertainty],
) -> list[Record]:
    """One record a weighting, as evaluation.json has them."""
    records = []
    names = [*weightings, *([EXACT] if weights.shape[1] > len(weightings) else [])]
    for i, name in enumerate(names):
        w, candidate = weightings.get(name), candidates.get(name)
        metrics = {}
        for scored in ([evaluation], blocks):
            for metric in scored[0].scores if scored else ():
                values = [e.scores[metric] for e in scored]
                found = {
                    **mean_over_blocks([v[i] for v in values]),
                    "difference": mean_over_blocks([v[i] - v[0] for v in values]),
                }
                metrics[metric] = found | beside(found, uncertainties[metric], i) if metric in uncertainties else found
        ess = effective_sample_size(weights[:, i]).item()
        used = Weighting(w.flatten, w.clip).log_weights(log_ratio) if w else weights[:, i].log()
        records.append(
            {
                "name": name,
                "flatten": w.flatten if w else None,
                "clip": w.clip if w else None,
                "smooth": w.smooth if w else None,
                "ess": ess,
                "ess_share": ess / len(log_ratio),
                "pareto_k": pareto_k(used),
                "max_weight": weights[:, i].max().item(),
                "top_1_percent_share": top_share(weights[:, i]).item(),
                "kl_gain": {"value": candidate.kl_gain, "se": candidate.standard_error} if candidate else None,
                "metrics": metrics,
                "class_proportions": evaluation.proportions[i] if evaluation.proportions else [],
            }
        )
    return records


def beside(found: Record, uncertainty: Uncertainty, i: int) -> Record:
    """What stands beside one score: its error, that of the difference, the control of equal ESS, the limit."""
    u = uncertainty
    return {
        "se": u.standard_error[i],
        "half_width": u.half_width[i],
        "interval": u.interval[i],
        "difference": {
            **found["difference"],
            "se": u.difference_error[i],
            "half_width": u.difference_half_width[i],
        },
        "control": {"value": u.control[i], "se": u.control_error[i]},
        "correction": {"value": found["value"] - u.control[i], "se": None},
        "infinite": {"value": u.infinite[i], "se": u.infinite_error[i]},
    }


def mean_over_blocks(values: Sequence[float]) -> Record:
    """The mean and, of several blocks, its standard error."""
    n = len(values)
    return {"value": statistics.fmean(values), "se": statistics.stdev(values) / math.sqrt(n) if n > 1 else None}


def finite_or_null(value: Any) -> Any:
    """JSON has no nan."""
    if isinstance(value, dict):
        return {name: finite_or_null(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [finite_or_null(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
