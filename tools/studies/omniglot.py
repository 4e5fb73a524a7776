"""Weighted augmentation over seeds: other characters, other drawings, other ratio classifiers and networks each."""

import shutil
import time
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from lfiw.config import compose
from lfiw.data import CacheWriter, SampleCache
from lfiw.evaluation.plots.style import save
from lfiw.schemas import REGIMES
from lfiw.tasks.augmentation.dagan_drawings import import_generated
from lfiw.tasks.augmentation.omniglot import training_drawings
from lfiw.tasks.augmentation.ranked_drawings import regime_accuracies
from lfiw.tasks.results import row
from lfiw.weighting.diagnostics import paired_interval
from train import train

from .kept import Kept
from .repeated import Row, one_run

PAIRS = (
    *((name, "real") for name in REGIMES if name != "real"),
    *((name, "both") for name in REGIMES if name.startswith("both_")),
    ("generated_weighted", "generated"),
)
GENERATOR = Path(__file__).parents[2] / "weights" / "omniglot-dagan.safetensors"
NUM_PER_IMAGE = 10
NUM_CHOOSING = 3
CHOOSING = 1000  # split seeds from here on choose; those below report
COEFFICIENTS = (0.5, 1.0, 2.0)
FLATTENS = (0.25, 0.5, 1.0)
CLIPS = (0.1, 1.0)
EPOCHS = (1, 2)  # of weaker generators


def run(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Accuracy on test drawings of each regime, and paired differences with 95 % intervals."""
    rows, accuracies, folder = regimes_over_seeds(seeds, overrides, kept)
    return rows, [save(regime_accuracies(accuracies), folder / "accuracy.png"), folder / "ranked.png"]


def regimes_over_seeds(
    seeds: int, overrides: Sequence[str], kept: Kept, generator: Path = GENERATOR, prefix: str = ""
) -> tuple[list[Row], dict[str, list[float]], Path]:
    """Rows, named with the prefix; test accuracies by regime, and the folder of the first run."""
    runs = [
        kept.get(f"{prefix}seed {seed}", partial(outcome, seed, overrides, generator), settings=list(overrides))
        for seed in range(seeds)
    ]
    accuracies: dict[str, list[float]] = {}
    rows: list[Row] = []
    for name in [r["name"] for r in runs[0]["record"]["regimes"]]:
        of_regime = [next(r for r in one["record"]["regimes"] if r["name"] == name) for one in runs]
        accuracies[name] = [r["test_accuracy"] for r in of_regime]
        rows += [
            row(name, "accuracy", accuracies[name]),
            row(name, "validation_accuracy", [r["validation_accuracy"] for r in of_regime]),
            row(name, "seconds", [r["seconds"] for r in of_regime]),
        ]
    for first, second in PAIRS:
        if first in accuracies and second in accuracies:
            gaps = [a - b for a, b in zip(accuracies[first], accuracies[second], strict=True)]
            interval = dict(zip(("low", "high"), paired_interval(gaps), strict=True)) if seeds > 1 else {}
            rows.append(row(f"{first}-{second}", "accuracy", gaps, **interval))
    found = defaultdict(list)
    for one in runs:
        for part in ("ratio", "weights"):
            for metric, value in (one["record"].get(part) or {}).items():
                if value is not None:
                    found[part, metric].append(value)
    rows += [row(name, metric, values) for (name, metric), values in found.items()]
    rows.append(row("run", "seconds", [one["seconds"] for one in runs]))
    return [{**r, "name": prefix + r["name"]} for r in rows], accuracies, Path(runs[0]["folder"])


def outcome(seed: int, overrides: Sequence[str], generator: Path = GENERATOR) -> dict[str, Any]:
    """One run: its record, its folder, how long it took."""
    started = time.perf_counter()
    options = ["experiment=omniglot", f"seed={seed}", f"data.split_seed={seed}", *overrides]
    objects = one_run([*options, f"data.generated={generated_drawings(options, generator)}"])
    return {
        "record": objects["record"],
        "folder": str(objects["run_dir"]),
        "seconds": time.perf_counter() - started,
    }


def generated_drawings(options: Sequence[str], generator: Path = GENERATOR) -> Path:
    """The cache that the configuration names, if it is there and of the usual generator; else one for this split's
    training drawings alone."""
    data = compose(options).config.data
    everything = Path(data.generated)
    if generator == GENERATOR and everything.exists():
        return everything
    about = "" if generator == GENERATOR else f"-{generator.parent.name}"
    own = everything.with_name(f"{everything.name}{about}-{data.num_classes}x{data.shots}-s{data.split_seed}")
    if own.exists():
        return own
    rows = training_drawings(
        SampleCache(data.real)["label"], num_classes=data.num_classes, shots=data.shots, split_seed=data.split_seed
    )
    imported = import_generated(generator, Path(data.real), NUM_PER_IMAGE, data.split_seed, rows)
    with CacheWriter(own, source=imported.source) as writer:
        for block in imported.blocks():
            writer.write(block)
    return own


def choose(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Validation accuracy by λ for `both`, then by α and β for `both_weighted` at that λ, on splits of their own.

    No test drawing is looked at, and no split of these is among those that report.
    """
    return chosen_settings(seeds, overrides, kept)[0], []


def chosen_settings(
    seeds: int, overrides: Sequence[str], kept: Kept, generator: Path = GENERATOR, prefix: str = ""
) -> tuple[list[Row], list[str]]:
    """Rows of `choose`, named with the prefix, and what was chosen as overrides."""
    rows: list[Row] = []

    def mean_accuracy(name: str, regime: str, settings: Sequence[str], sources: Sequence[str | None]) -> float:
        values = []
        for seed in range(seeds):
            options = [f"task.regimes=[{regime}]", *settings]
            if sources[seed] is not None:
                options.append(f"data.log_ratio={sources[seed]}")
            make = partial(outcome, CHOOSING + seed, [*overrides, *options], generator)
            one = kept.get(f"{prefix}{name} seed {seed}", make)
            values.append(one["record"]["regimes"][0]["validation_accuracy"])
        rows.append(row(name, "validation_accuracy", values))
        return fmean(values)

    none: list[str | None] = [None] * seeds
    mean_accuracy("real", "real", [], none)
    by_coefficient = {c: mean_accuracy(f"both λ={c:g}", "both", [f"task.coefficient={c}"], none) for c in COEFFICIENTS}
    chosen = max(by_coefficient, key=lambda c: by_coefficient[c])
    rows.append(row("chosen", "coefficient", [chosen]))
    sources: list[str | None] = []
    for seed in range(seeds):
        settings = [*overrides, "task.regimes=[both_filtered]", f"task.coefficient={chosen}"]
        one = kept.get(f"{prefix}ratio seed {seed}", partial(outcome, CHOOSING + seed, settings, generator))
        sources.append(str(Path(one["folder"]) / "log_ratio.npz"))
    by_weighting = {}
    for flatten, clip in [*((a, 0.0) for a in FLATTENS), *((1.0, b) for b in CLIPS)]:
        name = f"both_weighted α={flatten:g} β={clip:g}"
        settings = [f"task.coefficient={chosen}", f"task.flatten={flatten}", f"task.clip={clip}"]
        by_weighting[flatten, clip] = mean_accuracy(name, "both_weighted", settings, sources)
    flatten, clip = max(by_weighting, key=lambda pair: by_weighting[pair])
    rows += [row("chosen", "flatten", [flatten]), row("chosen", "clip", [clip])]
    settings = [f"task.coefficient={chosen}", f"task.flatten={flatten}", f"task.clip={clip}"]
    return [{**r, "name": prefix + r["name"]} for r in rows], settings


def quality(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Weaker generators, stopped after fewer epochs; λ, α and β are chosen for each, on splits of their own."""
    rows: list[Row] = []
    for epochs in EPOCHS:
        prefix = f"{epochs} epochs: "
        generator = weaker_generator(epochs)
        found, settings = chosen_settings(min(seeds, NUM_CHOOSING), overrides, kept, generator, prefix)
        options = [*overrides, "task.regimes=[real,both,both_weighted]", *settings]
        rows += found + regimes_over_seeds(seeds, options, kept, generator, prefix)[0]
    return rows, []


def weaker_generator(epochs: int) -> Path:
    """Of a training that ends after so many epochs."""
    folder = Path("runs") / "omniglot_dagan" / f"{epochs}-epochs"
    file = folder / "generator.safetensors"
    if not file.exists():
        shutil.rmtree(folder, ignore_errors=True)
        train(["experiment=omniglot_dagan", f"trainer.max_epochs={epochs}", f"run_dir={folder}", "logger=none"])
    return file
