"""How far FID and KID move when Inception's convolutions compute in bfloat16."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lfiw.config import compose
from lfiw.features.inception import PRECISIONS, InceptionFeatures
from lfiw.metrics import frechet_distance_from_features, kernel_distance
from lfiw.results import row
from lfiw.tasks.extractors import extract_all
from lfiw.tasks.ratio import build_datamodule
from lfiw.trainers import build_trainer

from .kept import Kept
from .repeated import Row


def run(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Scores of data.generated against data.real, all rows of both, in each precision; nothing here is random.

    The features stay in the caches as columns: a study that was stopped goes on.
    """
    found = kept.get("scores", partial(scores_and_sizes, overrides))
    scores, sizes = found["scores"], found["sizes"]
    rows = [row(precision, metric, [value]) for precision, found in scores.items() for metric, value in found.items()]
    for metric, exact in scores["fp32"].items():
        rows.append(row("bf16 − fp32", f"relative_{metric}", [scores["bf16"][metric] / exact - 1]))
    return [*rows, *(row("rows", name, [float(n)]) for name, n in sizes.items())], []


def scores_and_sizes(overrides: Sequence[str]) -> dict[str, Any]:
    """Scores by precision and metric, and the number of rows of each side."""
    config = compose(["experiment=images", *overrides]).config
    datamodule = build_datamodule(config.data, config.seed)
    tables = datamodule.tables
    scores: dict[str, dict[str, float]] = {}
    with TemporaryDirectory() as folder:
        trainer = build_trainer(config.trainer, Path(folder), [])
        for precision in PRECISIONS:
            extractor = InceptionFeatures(tables["real"].column("image").shape, config.features.weights, precision)
            extract_all(trainer, extractor.eval(), datamodule)
            column = extractor.columns["features"]
            real, generated = (tables[side][column] for side in ("real", "generated"))
            scores[precision] = {
                "fid": frechet_distance_from_features(real, generated).item(),
                "kid": kernel_distance(real, generated).item(),
            }
    return {"scores": scores, "sizes": {f"num_{side}": len(tables[side]) for side in ("real", "generated")}}
