"""How far FID and KID move when Inception's convolutions compute in bfloat16."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from lfiw.config import compose
from lfiw.features.inception import PRECISIONS, InceptionFeatures
from lfiw.metrics import frechet_distance_from_features, kernel_distance
from lfiw.results import row
from lfiw.tasks.columns import extract
from lfiw.tasks.ratio import build_datamodule
from lfiw.trainers import build_trainer

from .repeated import Row


def run(seeds: int, overrides: Sequence[str]) -> tuple[list[Row], list[Path]]:
    """Scores of data.generated against data.real, all rows of both, in each precision; nothing here is random.

    The features stay in the caches as columns: a study that was stopped goes on.
    """
    config = compose(["experiment=images", *overrides]).config
    datamodule = build_datamodule(config.data, config.seed)
    tables = datamodule.tables
    scores: dict[str, dict[str, float]] = {}
    with TemporaryDirectory() as folder:
        trainer = build_trainer(config.trainer, Path(folder), [])
        for precision in PRECISIONS:
            extractor = InceptionFeatures(tables["real"].column("image").shape, config.features.weights, precision)
            extract(trainer, extractor.eval(), datamodule)
            column = extractor.columns["features"]
            real, generated = (tables[side][column] for side in ("real", "generated"))
            scores[precision] = {
                "fid": frechet_distance_from_features(real, generated).item(),
                "kid": kernel_distance(real, generated).item(),
            }
    rows = [row(precision, metric, [value]) for precision, found in scores.items() for metric, value in found.items()]
    for metric, exact in scores["fp32"].items():
        rows.append(row("bf16 − fp32", f"relative_{metric}", [scores["bf16"][metric] / exact - 1]))
    sizes = {f"num_{side}": len(tables[side]) for side in ("real", "generated")}
    return [*rows, *(row("rows", name, [float(n)]) for name, n in sizes.items())], []
