"""Weighted augmentation over splits, each with other characters, drawings and initial weights.

Every run is a part, saved in runs/studies/omniglot_parts. With `minutes=N`, no part starts after N minutes: the table
shows the finished parts, and re-running the same command resumes. `generators=[noise3,epochs1]` and `stages=2` (the
first two stages) run only some of the parts.
"""

import json
import math
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lfiw.data import CacheWriter, SampleCache
from lfiw.files import write_json
from lfiw.schemas import SourceData
from lfiw.tasks.augmentation.dagan_drawings import import_generated
from lfiw.tasks.augmentation.omniglot import training_drawings
from lfiw.tasks.augmentation.source_ratio_run import RATIO, split_characters
from lfiw.tasks.results import row
from lfiw.weighting.diagnostics import paired_interval
from train import train

from .kept import Kept
from .omniglot_oracle import oracle_log_ratio
from .repeated import Row, one_run

REVISION = 3  # of what a part measures; raised by hand, so that a change of wording does not discard hours of work
PARTS = Path("runs") / "studies" / "omniglot_parts"
WEIGHTS = Path(__file__).parents[2] / "weights" / "omniglot-dagan.safetensors"
RATIO_FILE = WEIGHTS.with_name("omniglot-ratio.safetensors")
SOURCE, TARGET = Path("cache") / "omniglot-background", Path("cache") / "omniglot-evaluation"
NUM_CLASSES, SHOTS = 50, 5
NUM_PER_IMAGE = 20
REPORTING, CHOOSING = 200, 1000  # first seed of the splits that report, and of those that choose
SETTINGS = {"project": (), "short": ("data.augment=none", "trainer.max_epochs=4")}
# regimes of one run each; before a colon, the source of log-ratios that are not the ratio's
STAGES = (
    ("both", "both_drawn", "auto"),
    ("permuted:both_drawn",),
    ("real", "prototypes", "head"),
    ("both_weighted",),
    ("oracle:both_drawn",),
    ("generated",),
    ("head_both", "head_weighted", "head_auto"),
)
PAIRS = (
    *((name, "both") for name in ("both_drawn", "auto", "permuted", "both_weighted", "oracle")),
    ("both", "real"),
    ("auto", "real"),
    ("head_auto", "head"),
    ("head_auto", "prototypes"),
    ("head_auto", "head_both"),
)


@dataclass(frozen=True)
class Generator:
    """A generator of the study: the committed one, another training of it, or one with scaled noise.

    Args:
        training: overrides for its training. If None, the committed weights.
        scale: standard deviation of its noise.
    """

    training: tuple[str, ...] | None = None
    scale: float = 1.0


PAPER = ("task.bends=false", "task.noise=100", "task.critic_steps=5", "trainer.max_epochs=30")
GENERATORS = {
    "noise3": Generator(scale=3.0),
    "epochs1": Generator(("trainer.max_epochs=1",)),
    "epochs2": Generator(("trainer.max_epochs=2",)),
    "noise2": Generator(scale=2.0),
    "committed": Generator(),
    "paper": Generator(PAPER),
}


@dataclass
class Options:
    """The study's own overrides; `overrides` are the others, which the runs take."""

    generators: list[str]
    deadline: float = math.inf
    stages: int = len(STAGES)
    overrides: list[str] = field(default_factory=list)


def read_options(overrides: Sequence[str]) -> Options:
    found = Options(list(GENERATORS))
    for override in overrides:
        key, _, value = override.partition("=")
        if key == "generators":
            found.generators = value.strip("[]").split(",")
        elif key == "stages":
            found.stages = int(value)
        elif key == "minutes":
            found.deadline = time.monotonic() + 60 * float(value)
        else:
            found.overrides.append(override)
    return found


def run(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Reports accuracy by generator and regime, and paired differences: conv4, 800 steps, affine augmentation."""
    return table("project", range(REPORTING, REPORTING + seeds), read_options(overrides), kept)


def short(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Reports the same after a quarter of the steps and without augmentation, which is closer to the paper."""
    return table("short", range(REPORTING, REPORTING + seeds), read_options(overrides), kept)[0], []


def choose(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Reports both settings on other splits, which chose the number of drawings and the gate's threshold."""
    options, splits = read_options(overrides), range(CHOOSING, CHOOSING + seeds)
    rows = []
    for setting in SETTINGS:
        rows += [{**r, "name": f"{setting}, {r['name']}"} for r in table(setting, splits, options, kept)[0]]
    return rows, []


def table(setting: str, splits: Sequence[int], options: Options, kept: Kept) -> tuple[list[Row], list[Path]]:
    """Makes the missing parts, the most decisive first, and tabulates all finished parts."""
    for stage in STAGES[: options.stages]:
        for split in splits:
            for name in options.generators:
                found = part(stage, setting, name, split, options.overrides, make=False)
                if found is not None:
                    kept.seconds += found["seconds"]
                elif time.monotonic() < options.deadline:
                    part(stage, setting, name, split, options.overrides)
    rows: list[Row] = []
    pictures = []
    for name in options.generators:
        accuracies, more = collected(setting, name, splits, options.overrides)
        rows += rows_of(name, accuracies, more)
        picture = picture_file(name, splits[0])
        if picture.exists():
            pictures.append(picture)
    return rows, pictures


def part(
    stage: tuple[str, ...], setting: str, generator: str, split: int, overrides: Sequence[str], *, make: bool = True
) -> dict[str, Any] | None:
    """Returns the record of one stage's run, or None if it is neither saved nor to be made.

    The run without generated rows serves all generators.
    """
    about = "any" if stage[0] == "real" else generator
    file = PARTS / setting / about / f"{split}-{stage[0].replace(':', '-')}-r{REVISION}.json"
    if file.exists():
        return json.loads(file.read_text())
    if not make:
        return None
    started = time.perf_counter()
    own, _, regime = stage[0].rpartition(":")
    drawings = generated_drawings(generator, split)
    options = [f"data.generated={drawings}", f"data.ratio={ratio_of(generator)}", *SETTINGS[setting], *overrides]
    if own:
        options.append(f"data.log_ratio={other_log_ratio(own, generator, split, drawings)}")
    regimes = [regime] if own else list(stage)
    folder = PARTS / "run" / f"{setting}-{generator}-{split}"
    shutil.rmtree(folder, ignore_errors=True)
    options += ["experiment=omniglot", f"seed={split}", f"data.split_seed={split}", "logger=none"]
    record = one_run([*options, f"task.regimes=[{','.join(regimes)}]", f"run_dir={folder}"])["record"]
    if not own and (folder / "ranked.png").exists():
        picture_file(generator, split).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / "ranked.png", picture_file(generator, split))
    shutil.rmtree(folder)
    found = {"record": record, "seconds": time.perf_counter() - started, "overrides": list(overrides)}
    write_json(file, found)
    return found


def picture_file(generator: str, split: int) -> Path:
    return PARTS / "pictures" / f"{generator}-{split}.png"


def collected(
    setting: str, generator: str, splits: Sequence[int], overrides: Sequence[str]
) -> tuple[dict[str, dict[int, float]], dict[tuple[str, str], list[float]]]:
    """Returns test accuracies by regime and split, and the runs' other numbers by (name, metric)."""
    accuracies: dict[str, dict[int, float]] = defaultdict(dict)
    more: dict[tuple[str, str], list[float]] = defaultdict(list)
    for split in splits:
        for stage in STAGES:
            found = part(stage, setting, generator, split, overrides, make=False)
            if found is None:
                continue
            own = stage[0].rpartition(":")[0]
            for regime in found["record"]["regimes"]:
                accuracies[own or regime["name"]][split] = regime["test_accuracy"]
                more[own or regime["name"], "seconds"].append(regime["seconds"])
            for name, gate in found["record"]["gates"].items():
                more[name, "weighted"].append(float(gate["regime"] not in ("both", "head_both")))
            if not own and found["record"].get("weights"):
                weights = found["record"]["weights"]
                more["weights", "ess_share"].append(weights["ess"] / weights["num"])
    return accuracies, more


def rows_of(
    generator: str, accuracies: dict[str, dict[int, float]], more: dict[tuple[str, str], list[float]]
) -> list[Row]:
    rows = [row(name, "accuracy", list(of_split.values())) for name, of_split in accuracies.items()]
    for first, second in PAIRS:
        both = [s for s in accuracies.get(first, {}) if s in accuracies.get(second, {})]
        gaps = [accuracies[first][s] - accuracies[second][s] for s in both]
        if gaps:
            interval = dict(zip(("low", "high"), paired_interval(gaps), strict=True)) if len(gaps) > 1 else {}
            rows.append(row(f"{first}-{second}", "accuracy", gaps, **interval))
    rows += [row(name, metric, values) for (name, metric), values in more.items()]
    return [{**r, "name": f"{generator}: {r['name']}"} for r in rows]


def once(path: Path, make: Callable[[], Any]) -> Path:
    """Returns the path, and makes it if it is missing."""
    if not path.exists():
        make()
    return path


def generator_file(name: str) -> Path:
    training = GENERATORS[name].training
    if training is None:
        return WEIGHTS
    folder = Path("runs") / "omniglot_dagan" / name
    options = ["experiment=omniglot_dagan", f"run_dir={folder}", "logger=none", *training]
    resumes = [f"resume={folder}"] if (folder / "checkpoints").exists() else options
    return once(folder / "generator.safetensors", lambda: train(resumes))


def generated_drawings(name: str, split: int) -> Path:
    """Returns the cache of drawings generated from the target drawings that train."""
    rows = training_drawings(SampleCache(TARGET)["label"], num_classes=NUM_CLASSES, shots=SHOTS, split_seed=split)
    return drawn_cache(name, TARGET, NUM_PER_IMAGE, split, rows, Path("cache") / f"omniglot-{name}-s{split}")


def drawn_cache(name: str, drawings: Path, each: int, seed: int, rows: torch.Tensor, out: Path) -> Path:
    def make() -> None:
        imported = import_generated(generator_file(name), drawings, each, seed, rows, GENERATORS[name].scale)
        with CacheWriter(out, source=imported.source) as writer:
            for block in imported.blocks():
                writer.write(block)

    return once(out, make)


def ratio_of(name: str) -> Path:
    """Returns the file of the ratio of source characters, on the embedding that comes with the project."""
    folder = Path("runs") / "omniglot_ratio" / name

    def make() -> None:
        labels = SampleCache(SOURCE)["label"]
        parts = split_characters(labels, SourceData(real=str(SOURCE), generated=""), NUM_CLASSES)
        rows = torch.isin(labels, torch.cat([parts["ratio"], parts["held_out"]])).nonzero().squeeze(1)
        generated = drawn_cache(name, SOURCE, 1, 0, rows, Path("cache") / f"omniglot-{name}-source")
        shutil.rmtree(folder, ignore_errors=True)
        options = ["experiment=omniglot_ratio", f"data.generated={generated}", f"run_dir={folder}", "logger=none"]
        train([*options, f"task.embedding={RATIO_FILE}"])

    return once(folder / RATIO, make)


def other_log_ratio(own: str, generator: str, split: int, drawings: Path) -> Path:
    """Writes the log-ratios of a control: the ratio's, permuted within each class, or an oracle's."""
    cache = SampleCache(drawings)
    file = PARTS / "log_ratios" / f"{own}-{generator}-{split}.npz"
    file.parent.mkdir(parents=True, exist_ok=True)
    if own == "oracle":
        values = oracle_log_ratio(TARGET, cache)
    else:
        values = permuted(cache["label"], ratio_log_ratio(generator, split, cache), split)
    np.savez(file, log_ratio=values.double().numpy())
    return file


def ratio_log_ratio(generator: str, split: int, cache: SampleCache) -> torch.Tensor:
    """Returns the log-ratios of all rows in a cache of one split's drawings, as a run computes them."""
    from lfiw.tasks.augmentation.omniglot import OmniglotDataModule
    from lfiw.tasks.augmentation.source_ratio import SourceRatio

    options: dict[str, Any] = {"num_classes": NUM_CLASSES, "shots": SHOTS, "validation_shots": 5, "test_shots": 10}
    data = OmniglotDataModule(SampleCache(TARGET), cache, **options, split_seed=split)
    train_drawings, generated = data.drawings["train"], data.generated
    ratio = SourceRatio.load(ratio_of(generator))
    return ratio.log_ratio(train_drawings["image"], train_drawings["label"], generated["image"], data.parents)


def permuted(labels: torch.Tensor, values: torch.Tensor, seed: int) -> torch.Tensor:
    """Permutes values at random within each class."""
    source = torch.Generator().manual_seed(seed)
    found = values.clone()
    for label in labels.unique():
        rows = (labels == label).nonzero().squeeze(1)
        found[rows] = values[rows[torch.randperm(len(rows), generator=source)]]
    return found
