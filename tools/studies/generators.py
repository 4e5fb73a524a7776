"""The project's own generators on CIFAR-10: the outcome of their training, and their scores with and without weights.

Existing files are reused: weights/NAME, which come with the project, or runs/generators/NAME, and the samples in
cache/generators-NAME. Missing ones are trained and drawn, which takes hours on a CPU.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp

from lfiw.data import SampleCache
from lfiw.data.image_files import sample_grid
from lfiw.errors import InputError
from lfiw.generators import open_generator
from lfiw.generators.caching import cache_samples
from lfiw.generators.generative_module import WEIGHTS
from lfiw.tasks.generator import RECORD
from lfiw.tasks.results import row
from train import train

from .kept import Kept
from .repeated import Row, repeat

EXPERIMENTS = {"sngan": "sngan_compact", "pixelcnn": "pixelcnn_compact", "vae": "vae"}
NUM = 10_000  # samples per generator
SHOWN = 64  # in a picture
PUBLISHED = Path(__file__).parents[2] / "weights"


def run(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Returns rows named `NAME` for trainings and `NAME: weighting` for scores; `generator=NAME` selects one."""
    named = [o.partition("=")[2] for o in overrides if o.startswith("generator=")]
    for name in named:
        if name not in EXPERIMENTS:
            raise InputError(f"generator={name}: expected one of {', '.join(EXPERIMENTS)}")
    overrides = [o for o in overrides if not o.startswith("generator=")]
    shared = [o for o in overrides if o.partition(".")[0] not in EXPERIMENTS]
    rows: list[Row] = []
    pictures = []
    for name in named or EXPERIMENTS:
        own = [o.removeprefix(f"{name}.") for o in overrides if o.startswith(f"{name}.")]
        folder = trained(name, [f"experiment={EXPERIMENTS[name]}", *own])
        record = json.loads((folder / RECORD).read_text())
        for metric, value in {**record["metrics"], "seconds": record["seconds"], "epochs": record["epochs"]}.items():
            if value is not None:
                rows.append(row(name, metric, [value], hardware=record["hardware"]))
        cache = drawn(name, folder)
        pictures.append(sample_grid(SampleCache(cache)["image"][:SHOWN], Path(mkdtemp()) / f"{name}.png"))
        found, _ = repeat("cifar10_gan", seeds, [f"data.generated={cache}", *shared], kept, part=name, settings=shared)
        rows += [row(f"{name}: {weighting}", metric, values) for (weighting, metric), values in found.items()]
    return rows, pictures


def trained(name: str, overrides: Sequence[str]) -> Path:
    """Returns the folder of a generator's weights and record, and trains it if missing; a stopped training resumes."""
    if (PUBLISHED / name / RECORD).exists():
        return PUBLISHED / name
    folder = Path("runs") / "generators" / name
    if not (folder / RECORD).exists():
        train([f"resume={folder}"] if (folder / "checkpoints").exists() else [*overrides, f"run_dir={folder}"])
    return folder


def drawn(name: str, folder: Path) -> Path:
    """Returns the cache of a generator's samples, and draws them if missing; an unfinished cache resumes."""
    cache = Path("cache") / f"generators-{name}"
    if not (cache / "manifest.json").exists():
        rate = cache_samples(open_generator("trained", str(folder / WEIGHTS)), cache, num=NUM)
        print(f"{cache}: {len(SampleCache(cache)):,} samples, {rate:.0f} per second")
    return cache
