"""Studies of one experiment each: digits, toy data, a comparison of losses, Inception in bfloat16."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lfiw.config import compose
from lfiw.features.inception import PRECISIONS, InceptionFeatures
from lfiw.metrics import frechet_distance_from_features, kernel_distance
from lfiw.tasks.inputs import build_datamodule, extract_all
from lfiw.tasks.results import row
from lfiw.training.trainer import build_trainer
from lfiw.weighting.losses import LOSSES

from .kept import Kept
from .repeated import Row, one_run, repeat, rows_of


def digits(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Repeats the default experiment with another split, generator and classifier per seed; pictures show seed 0."""
    found, folders = repeat("digits", seeds, overrides, kept)
    return rows_of(found), [folders[0] / f"{name}.png" for name in ("class_proportions", "samples", "weights")]


def toy(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Runs the experiment, which itself repeats over seeds."""
    outcome = kept.get("all seeds", partial(toy_run, [f"task.seeds={seeds}", *overrides]))
    return outcome["rows"], [Path(outcome["picture"])]


def toy_run(overrides: Sequence[str]) -> dict[str, Any]:
    objects = one_run(["experiment=toy", *overrides])
    return {"rows": objects["rows"], "picture": str(objects["picture"])}


def estimators(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Compares the losses on data whose ratio is known, with 1,000 samples per side.

    Rows have the log-ratio's error on fresh samples, and bias and spread of corrected means over seeds.
    """
    rows: list[Row] = []
    for loss in LOSSES:
        options = [f"loss={loss}", "task.num_samples=[1000]", f"task.seeds={seeds}", *overrides]
        for found in kept.get(loss, partial(toy_run, options))["rows"]:
            if "uniform" not in found["name"] and "exact" not in found["name"]:
                name = f"{loss}, {found['name'].split()[0]}"
                rows.append({**found, "name": name})
                if found["metric"].startswith("bias_") and found["se"] is not None:
                    spread = found["se"] * found["n"] ** 0.5
                    rows.append(row(name, found["metric"].replace("bias", "sd"), [spread]))
    return rows, []


def bfloat16(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Measures how far FID and KID of all rows move when Inception's convolutions compute in bfloat16.

    All rows of data.generated are scored against data.real; nothing here is random. The features are saved as columns
    of the caches, so that a stopped study resumes.
    """
    outcome = kept.get("scores", partial(scores_and_sizes, overrides))
    scores, sizes = outcome["scores"], outcome["sizes"]
    rows = [
        row(precision, metric, [value]) for precision, outcome in scores.items() for metric, value in outcome.items()
    ]
    for metric, exact in scores["fp32"].items():
        rows.append(row("bf16 − fp32", f"relative_{metric}", [scores["bf16"][metric] / exact - 1]))
    return [*rows, *(row("rows", name, [float(n)]) for name, n in sizes.items())], []


def scores_and_sizes(overrides: Sequence[str]) -> dict[str, Any]:
    """Returns scores by precision and metric, and the number of rows per side."""
    config = compose(["experiment=images", *overrides]).config
    datamodule = build_datamodule(config.data, config.seed, config.folds)
    tables = datamodule.tables
    scores: dict[str, dict[str, float]] = {}
    with TemporaryDirectory() as folder:
        trainer = build_trainer(config.trainer, Path(folder), [])
        for precision in PRECISIONS:
            extractor = InceptionFeatures(tables["real"].column("image").shape, config.features.weights, precision)
            extract_all(trainer, extractor.eval(), datamodule)
            real, generated = (tables[side][extractor.columns["features"]] for side in ("real", "generated"))
            scores[precision] = {
                "fid": frechet_distance_from_features(real, generated).item(),
                "kid": kernel_distance(real, generated).item(),
            }
    return {"scores": scores, "sizes": {f"num_{side}": len(tables[side]) for side in ("real", "generated")}}
