"""Precision and recall of two sets of features."""

from torch_fidelity.metric_prc import prc_features_to_metric

from lfiw.metrics import precision_recall

from .frechet import features
from .measure import Row, compare, interleave, seconds_each

ROUNDS = 3  # each side takes half a minute
LIMIT = 30.0  # seconds


def run(rounds: int, n: int = 10_000, d: int = 2048) -> list[Row]:
    """`precision_recall`, which gives density and coverage too, against torch-fidelity's precision and recall."""
    real, generated = features(n, d, seed=0), features(n, d, seed=1)
    options = {"prc_neighborhood": 3, "prc_batch_size": n, "save_cpu_ram": False, "verbose": False}
    sides = {
        "ours": seconds_each(lambda: precision_recall(real, generated)),
        "peer": seconds_each(lambda: prc_features_to_metric(generated, real, **options)),
    }
    seconds = interleave(sides, min(rounds, ROUNDS), warm_ups=0)
    return [
        compare(
            "precision_recall",
            "torch-fidelity, precision and recall",
            seconds["ours"],
            seconds["peer"],
            unit="s",
            goal=1.0,
            note=f"{n:,} samples a side, {d} dimensions, float32; at most {LIMIT:g} s",
            also_met=min(seconds["ours"]) < LIMIT,
        )
    ]
