"""Generators that were made independently of any ratio, judged by a classifier that no ratio has seen.

A GAN and a VAE of Fashion-MNIST that prefer some classes (`fashion_mnist`) are weighted by `experiment=images` as a
user would run it. A LeNet and 10,000 images, used for nothing else, judge whether that helped. Existing caches
cache/strangers-* are reused. Making them takes 15 minutes on one core; a run takes 2 minutes with default or mlp, and
15 with resnet.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lfiw.data import CacheWriter, SampleCache
from lfiw.data.image_files import sample_grid
from lfiw.data.splits import GENERATED
from lfiw.errors import InputError
from lfiw.evaluation.record import EvaluationRecord
from lfiw.metrics.influence import frechet_contributions, kernel_contributions
from lfiw.ratio.cross_fitting import log_ratio_column
from lfiw.tasks.results import row
from lfiw.weighting.diagnostics import half_width
from lfiw.weighting.gate import AUTO, UNIFORM
from lfiw.weighting.weights import Weighting

from . import fashion_mnist
from .kept import Kept
from .repeated import Found, Row, collect, one_run, rows_of

DEBIAN = "/usr/share/datasets/fashion-mnist"
CACHE = Path("cache")
PLAIN = "self-normalised"
RESAMPLES = 1000  # bootstrap samples for the distance of class shares
SHOWN = 64  # samples in a picture
# overrides of experiment=images: none, earlier settings, and alternatives
SETTINGS = {
    "default": [],
    "mlp": [
        "model=mlp",
        "optimizer.lr=1e-3",
        "optimizer.schedule=constant",
        "data.augment=none",
    ],
    "resnet": [
        "model=resnet",
        "optimizer.lr=1e-3",
        "optimizer.weight_decay=0.05",
        "optimizer.schedule=cosine",
        "data.augment=crop_flip",
        "folds=1",
        "calibration=none",
    ],
}


def run(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Returns rows named `GENERATOR, SETTING: weighting`, and the samples' pictures.

    It takes overrides of train.py, `fashion_mnist=FOLDER` (default: Debian's), and `setting=NAME` for one of SETTINGS.

    Raises:
        InputError: there is no such setting, or the images are missing.
    """
    own = dict(o.split("=", 1) for o in overrides if o.startswith(("fashion_mnist=", "setting=")))
    shared = [o for o in overrides if o.partition("=")[0] not in own]
    settings = [own["setting"]] if "setting" in own else list(SETTINGS)
    if unknown := set(settings) - set(SETTINGS):
        raise InputError(f"setting={unknown.pop()}: expected one of {', '.join(SETTINGS)}")
    rows = [row("judge", "accuracy", [make_caches(Path(own.get("fashion_mnist", DEBIAN)))])]
    pictures = []
    for generator in fashion_mnist.TRAININGS:
        cache = SampleCache(CACHE / f"strangers-{generator}")
        pictures.append(sample_grid(cache["image"][:SHOWN], CACHE / f"{generator}.png"))
        for name in settings:
            found: Found = defaultdict(list)
            for seed in range(seeds):
                options = [*SETTINGS[name], f"seed={seed}", f"data.split_seed={seed}", *shared]
                part = partial(outcome, generator, options)
                for weighting, metric, value in kept.get(f"{generator}, {name} seed {seed}", part, settings=shared):
                    found[f"{generator}, {name}: {weighting}", metric].append(value)
            rows += rows_of(found)
    return rows, pictures


def make_caches(folder: Path) -> float:
    """Writes the missing caches: real and generated samples, and the judge's features of them.

    Returns:
        The judge's accuracy on test images.
    """
    real = fashion_mnist.read(folder)[0]
    makers: dict[str, Callable[[], Tensor]] = {
        name: partial(fashion_mnist.generated, name, folder) for name in fashion_mnist.TRAININGS
    }
    makers["real"] = lambda: real[fashion_mnist.REAL]
    for name, make in makers.items():
        if not is_made(path := CACHE / f"strangers-{name}"):
            with CacheWriter(path, source={"study": "strangers"}) as writer:
                writer.write({"image": make()})
    judged = {name: CACHE / f"strangers-{name}-judged" for name in ("held-out", *fashion_mnist.TRAININGS)}
    if not all(map(is_made, judged.values())):
        net, accuracy = fashion_mnist.train_judge(folder)
        for name, path in judged.items():
            held_out = name == "held-out"
            images = real[fashion_mnist.HELD_OUT] if held_out else SampleCache(CACHE / f"strangers-{name}")["image"]
            features, classes = fashion_mnist.judged(net, images)
            with CacheWriter(path, source={"accuracy": accuracy}, overwrite=True) as writer:
                writer.write({"vector": features, "label": classes})
    return float(SampleCache(judged["held-out"]).source["accuracy"])


def is_made(path: Path) -> bool:
    return (path / "manifest.json").exists()


def outcome(generator: str, overrides: Sequence[str]) -> list[list[Any]]:
    """Runs once; returns (weighting, metric, value) by the run's own scores and by the judge's."""
    caches = [f"data.real={CACHE / 'strangers-real'}", f"data.generated={CACHE / f'strangers-{generator}'}"]
    started = time.process_time()
    objects = one_run(["experiment=images", *caches, *overrides])
    found: Found = defaultdict(list)
    record = EvaluationRecord.from_json(objects["record"])
    collect(record, found)
    found[UNIFORM, "cpu_minutes"].append((time.process_time() - started) / 60)
    generated = objects["datamodule"].splits["evaluation"][GENERATED]
    log_ratio = generated.column(log_ratio_column(Path(objects["trainer"].default_root_dir)))
    weights = {
        UNIFORM: torch.full_like(log_ratio, 1 / len(log_ratio)),
        PLAIN: Weighting()(log_ratio),
        AUTO: record.named(AUTO).weighting(log_ratio),
    }
    real, of_generator = (SampleCache(CACHE / f"strangers-{name}-judged") for name in ("held-out", generator))
    seen = of_generator[generated.rows]
    scores = judge(real["vector"], real["label"], seen["vector"], seen["label"], torch.stack([*weights.values()], 1))
    better, worse = torch.zeros(2, len(weights), dtype=torch.bool)
    for metric, (values, widths) in scores.items():
        differences = values - values[0]
        better, worse = better | (differences < -widths), worse | (differences > widths)
        for name, value, difference in zip(weights, values.tolist(), differences.tolist(), strict=True):
            found[name, f"{metric}@lenet"].append(value)
            found[name, f"difference_{metric}@lenet"].append(difference)
    for i, name in enumerate(weights):
        found[name, "any_better@lenet"].append(float(better[i]))
        found[name, "any_worse@lenet"].append(float(worse[i]))
    return [[name, metric, value] for (name, metric), values in found.items() for value in values]


def judge(
    real: Float[Tensor, "n d"],
    real_classes: Int64[Tensor, " n"],
    generated: Float[Tensor, "m d"],
    classes: Int64[Tensor, " m"],
    weights: Float[Tensor, "m k"],
) -> dict[str, tuple[Float[Tensor, " k"], Float[Tensor, " k"]]]:
    """Returns metric → values per weighting, and half-widths of 95 % intervals of differences to the first."""
    found = {"class_distance": class_distances(real_classes, classes, weights)}
    for name, contributions in (("fid", frechet_contributions), ("kid", kernel_contributions)):
        of = contributions(real, generated, weights)
        paired = of.differences()
        errors, degrees = paired.standard_errors().tolist(), paired.degrees_of_freedom().tolist()
        widths = [half_width(e, d) if e > 0 else 0.0 for e, d in zip(errors, degrees, strict=True)]
        found[name] = of.score, torch.tensor(widths, dtype=torch.float64)
    return found


def class_distances(
    real: Int64[Tensor, " n"], generated: Int64[Tensor, " m"], weights: Float[Tensor, "m k"]
) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
    """Computes total variation distances of class shares, with half-widths by a paired bootstrap of both sides."""
    random = torch.Generator().manual_seed(0)

    def distances(real_counts: Tensor, counts: Tensor) -> Tensor:
        shares = torch.zeros(fashion_mnist.NUM_CLASSES, weights.shape[1], dtype=torch.float64)
        shares.index_add_(0, generated, counts[:, None] * weights)
        of_real = torch.bincount(real, real_counts, minlength=len(shares))
        return (shares / shares.sum(0) - (of_real / of_real.sum())[:, None]).abs().sum(0) / 2

    def redrawn(n: int) -> Tensor:
        return torch.bincount(torch.randint(n, (n,), generator=random), minlength=n).double()

    values = distances(torch.ones(len(real)).double(), torch.ones(len(generated)).double())
    repeated = torch.stack([distances(redrawn(len(real)), redrawn(len(generated))) for _ in range(RESAMPLES)])
    return values, 1.96 * (repeated - repeated[:, :1]).std(0)
