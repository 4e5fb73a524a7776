"""Repeats an experiment over seeds and collects its scores."""

import gc
import math
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lfiw.evaluation.record import UNKNOWN, EvaluationRecord
from lfiw.evaluation.tables import as_number, total_variation
from lfiw.tasks.results import row
from train import train

from .kept import Kept

Row = dict[str, Any]
Found = defaultdict[tuple[str, str], list[float]]  # (name, metric) → one value per seed


def one_run(overrides: Sequence[str]) -> dict[str, Any]:
    """Trains and scores once; returns the objects of the run."""
    _, objects = train(list(overrides))
    gc.collect()  # trainers and modules form reference cycles, and would keep their features in memory
    return objects


def repeat(
    experiment: str, seeds: int, overrides: Sequence[str], kept: Kept, *, part: str = "", settings: object = None
) -> tuple[Found, list[Path]]:
    """Trains and scores with another split and classifier per seed.

    Args:
        part: name of this repetition, if a study has several.
        settings: what it depends on, if less than the study's settings.

    Returns:
        Values named by weighting and metric, where `difference_…` is against uniform weights on the same samples; and
        the folder of each run.
    """
    found: Found = defaultdict(list)
    folders = []
    for seed in range(seeds):
        options = [f"experiment={experiment}", f"seed={seed}", f"data.split_seed={seed}", *overrides]
        one = kept.get(f"{part} seed {seed}".strip(), partial(outcome, options), settings=settings)
        for name, metric, value in one["found"]:
            found[name, metric].append(value)
        folders.append(Path(one["folder"]))
    return found, folders


def outcome(overrides: Sequence[str]) -> dict[str, Any]:
    """Runs once; returns all values, and the folder."""
    objects = one_run(overrides)
    found: Found = defaultdict(list)
    collect(EvaluationRecord.from_json(objects["record"]), found)
    return {
        "found": [[name, metric, value] for (name, metric), values in found.items() for value in values],
        "folder": objects["trainer"].default_root_dir,
    }


def collect(record: EvaluationRecord, found: Found) -> None:
    """Adds the values of one evaluation."""
    for metric, reference in record.reference.items():
        found["reference", str(metric)].append(reference.value)
    real = record.real_class_proportions
    for w in record.weightings:
        if real:
            distance = total_variation(w.class_proportions, real)
            base = total_variation(record.uniform.class_proportions, real)
            found[w.name, "class_distance"].append(distance)
            found[w.name, "difference_class_distance"].append(distance - base)
        found[w.name, "ess"].append(w.ess)
        if math.isfinite(w.pareto_k):  # equal weights have no tail
            found[w.name, "pareto_k"].append(w.pareto_k)
        if w.kl_gain is not None:
            found[w.name, "kl_gain"].append(w.kl_gain.value)
        for metric, score in w.metrics.items():
            found[w.name, str(metric)].append(score.value)
            found[w.name, f"difference_{metric}"].append(score.difference.value)
            beside = {
                "se": score.se,
                "difference_se": score.difference.se,
                "difference_half_width": as_number(score.difference.half_width),
                "control": (score.control or UNKNOWN).value,
                "correction": (score.correction or UNKNOWN).value,
                "infinite": (score.infinite or UNKNOWN).value,
            }
            for name, value in beside.items():
                if math.isfinite(value):
                    found[w.name, f"{name}_{metric}"].append(value)
    for kind in ("raw", "calibrated"):
        for name, value in vars(getattr(record.classifier, kind)).items():
            found[f"classifier, {kind}", name].append(value)


def rows_of(found: Found) -> list[Row]:
    return [row(name, metric, values) for (name, metric), values in found.items()]
