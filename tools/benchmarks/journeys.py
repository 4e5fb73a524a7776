"""What a person waits for: whole commands, each in a process of its own, and how a score's time grows with its rows."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from lfiw.data import TensorTable
from lfiw.evaluation.module import FeatureColumn, LogitColumn
from lfiw.evaluation.scored_rows import ScoredRows
from lfiw.evaluation.scoring import score as score_rows
from lfiw.metrics import (
    frechet_distance_from_features,
    kernel_distance,
    precision_recall,
    subset_kernel_distances,
)
from lfiw.metrics.influence import kernel_contributions
from lfiw.ratio.classifier import RatioClassifier
from lfiw.ratio.mixed import MixedDataModule
from lfiw.schemas import MLP, Evaluation, Optimizer, WeightingSpec
from lfiw.tasks.results import row
from lfiw.weighting.calibration import Validation

from .measure import Row, compare, seconds_each
from .scores import both_sides
from .training_steps import alternate

ROOT = Path(__file__).parents[2]
IMPORTS = "import torch, pytorch_lightning, matplotlib"
PEER = "`import torch, pytorch_lightning, matplotlib` in a process"
SHORT_ROUNDS = 5
GROWTH_SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
GROWTH_SECONDS = 60.0  # of CPU for one subject, all its sizes together
SUBSET = 1000  # rows of each side in a block of the KID's estimate
CORRECT = """
import torch
from lfiw import correct
g = torch.Generator().manual_seed(0)
correct(torch.randn({n}, {d}, generator=g), torch.randn({n}, {d}, generator=g) * 1.1 + 0.1)
"""
# A process's largest memory includes that of the one that started it, hence a small one between.
LAUNCH = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
sys.exit(code)
"""
SCORES = "from benchmarks.journeys import score_features; score_features({n}, {d})"


@dataclass(frozen=True)
class Usage:
    """What a process took: seconds that passed, seconds of CPU with its children's, and its largest memory in MiB."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


def used_by(arguments: Sequence[str]) -> Usage:
    """Runs Python with these arguments in the repository.

    Raises:
        RuntimeError: it failed.
    """
    paths = [str(ROOT), str(ROOT / "tools"), os.environ.get("PYTHONPATH", "")]
    found = subprocess.run(
        [sys.executable, "-c", LAUNCH, sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        raise RuntimeError(
            f"python {' '.join(arguments)} ended with exit code {found.returncode}: {found.stderr[-500:]}"
        )
    return Usage(*json.loads(found.stdout.splitlines()[-1]))


def score_features(n: int, d: int) -> None:
    """Scores n + n rows as `experiment=cifar10_gan` does, in synthetic features of two widths."""
    real, generated = both_sides(n, d)
    g = torch.Generator().manual_seed(2)
    narrow, log_ratio = torch.randn(2, n, 64, generator=g), 1.5 * torch.randn(n, dtype=torch.float64, generator=g)
    sides = [
        {"features/wide": rows, "features/narrow": narrow[i], "logits/classes": narrow[i][:, :10].contiguous()}
        for i, rows in enumerate((real, generated))
    ]
    validation = (torch.randn(2000, generator=g).double() + 1, torch.randn(2000, generator=g).double() - 1)
    options = Evaluation(
        weightings=[WeightingSpec("self-normalised"), WeightingSpec("flatten 0.25", flatten=0.25)],
        extrapolate=True,
        paper=True,
    )
    score_rows(
        ScoredRows.of_tensors(sides[0], sides[1], log_ratio),
        Validation(validation, validation),
        [FeatureColumn("features/wide", d, "", True), FeatureColumn("features/narrow", 64, "@narrow")],
        [LogitColumn("logits/classes", 10, "@narrow")],
        options=options,
    )


def run(rounds: int) -> list[Row]:
    """All of them: the journeys, growth with the rows, peers, and what comparing fewer pairs costs."""
    return [*commands(rounds), *growth(), *peers(), *pair_errors()]


def commands(rounds: int, n: int = 10_000, d: int = 2048) -> list[Row]:
    """Whole commands beside the import of what they all need."""
    rounds = max(rounds, SHORT_ROUNDS)
    with TemporaryDirectory() as name:
        folder = Path(name)
        used_by(["train.py", *digits(folder, "run")])  # makes the data; evaluate.py scores it again
        tries = iter(range(1000))
        return [
            command_row(
                "train", "`python train.py`: digits", lambda: ["train.py", *digits(folder, next(tries))], rounds
            ),
            command_row(
                "evaluate", "`python evaluate.py RUN`: digits", lambda: ["evaluate.py", str(folder / "run")], rounds
            ),
            command_row("help", "`python train.py --help`", lambda: ["train.py", "--help"], rounds),
            command_row(
                "correct_5k",
                "`lfiw.correct`, 5,000 + 5,000 vectors of 8",
                lambda: ["-c", CORRECT.format(n=5000, d=8)],
                rounds,
            ),
            command_row(
                "correct_100k",
                "`lfiw.correct`, 100,000 + 100,000 vectors of 64",
                lambda: ["-c", CORRECT.format(n=100_000, d=64)],
                1,
            ),
            command_row(
                "score_features",
                f"scores of {n:,} + {n:,} rows of {d:,} features as `experiment=cifar10_gan` asks for",
                lambda: ["-c", SCORES.format(n=n, d=d)],
                1,
            ),
        ]


def digits(folder: Path, run: object) -> list[str]:
    """Arguments of the default run, without the tracker and the progress bar, as many runs share its data."""
    settings = {"seed": 0, "logger": "none", "trainer.progress": "false", "run_dir": folder / str(run)}
    return [f"{key}={value}" for key, value in {**settings, "data.folder": folder / "data"}.items()]


def command_row(name: str, what: str, arguments: Callable[[], list[str]], rounds: int) -> Row:
    """One command and the imports in turn; medians of what it used."""
    ours, theirs = [], []
    for _ in range(rounds):
        theirs.append(used_by(["-c", IMPORTS]))
        ours.append(used_by(arguments()))
    seconds = ([usage.seconds for usage in side] for side in (ours, theirs))
    return {
        **compare(name, PEER, *seconds, unit="s", goal=None, note=what),
        "cpu_seconds": statistics.median(usage.cpu_seconds for usage in ours),
        "cpu_ratio": statistics.median(a.cpu_seconds / b.cpu_seconds for a, b in zip(ours, theirs, strict=True)),
        "peak_mib": statistics.median(usage.peak_mib for usage in ours),
    }


def growth(sizes: Sequence[int] = GROWTH_SIZES, d: int = 128, most_seconds: float = GROWTH_SECONDS) -> list[Row]:
    """How the CPU seconds of each score, and of an epoch of the MLP, grow with the rows of each side."""
    subjects: dict[str, tuple[str, Callable[[Tensor, Tensor], object]]] = {
        "growth_fid": ("FID", frechet_distance_from_features),
        "growth_kid_blocks": (f"KID, blocks of {SUBSET:,} rows", kid_of_blocks),
        "growth_kid": ("KID, all pairs", kernel_distance),
        "growth_neighbours": ("precision, recall, density, coverage", precision_recall),
        "growth_mlp_epoch": ("an epoch of the MLP's ratio training", mlp_epoch),
    }
    return [growth_row(name, what, work, sizes, d, most_seconds) for name, (what, work) in subjects.items()]


def growth_row(
    name: str, what: str, work: Callable[[Tensor, Tensor], object], sizes: Sequence[int], d: int, most_seconds: float
) -> Row:
    """The exponent: the slope of log seconds against log rows.

    A size is left out if, at four times the seconds per doubling, it and those before it would take too long.
    """
    measured: dict[int, float] = {}
    for size in sizes:
        last = max(measured, default=size)
        if measured and sum(measured.values()) + measured[last] * (size / last) ** 2 > most_seconds:
            break
        sides = both_sides(size, d)
        start = time.process_time()
        found = work(*sides)
        measured[size] = found if isinstance(found, float) else time.process_time() - start
    slope = float(np.polyfit(np.log(list(measured)), np.log(list(measured.values())), 1)[0])
    note = f"{what}; {d} float32 columns, equally many rows on both sides"
    return row(name, "exponent", [slope], sizes=list(measured), cpu_seconds=list(measured.values()), note=note)


def kid_of_blocks(real: Tensor, generated: Tensor) -> Tensor:
    return subset_kernel_distances(real, generated, len(real) // SUBSET, SUBSET, seed=0).mean()


def mlp_epoch(real: Tensor, generated: Tensor) -> float:
    """CPU seconds of one epoch, without validation, of two."""
    fractions = {"train": 0.9, "validation": 0.1, "evaluation": 0.0}
    tables = [TensorTable({"vector": side}) for side in (real, generated)]
    data = MixedDataModule(*tables, input="vector", fractions=fractions)
    starts: list[float] = []

    def begin(epoch: int) -> float:
        starts.append(time.process_time())
        return 0.0

    alternate(RatioClassifier(asdict(MLP()), asdict(Optimizer())), data, 3, peer=begin)
    return starts[2] - starts[1]


def peers(
    kid_sizes: Sequence[int] = (10_000, 50_000), neighbours_sizes: Sequence[int] = (10_000, 30_000), d: int = 128
) -> list[Row]:
    """KID and neighbours beside torch-fidelity, once each."""
    return [
        *(kid_row(*both_sides(n, d)) for n in kid_sizes),
        *(neighbours_row(*both_sides(n, d)) for n in neighbours_sizes),
    ]


def kid_row(real: Tensor, generated: Tensor, subsets: int = 100) -> Row:
    n, d = real.shape
    size = min(n, SUBSET)
    options = {"kid_subsets": subsets, "kid_subset_size": size, "verbose": False}
    ours = seconds_each(lambda: subset_kernel_distances(real, generated, subsets, size, seed=2020))
    theirs = seconds_each(lambda: kid_features_to_metric(generated, real, **options))
    note = f"KID: {subsets} subsets of {size:,} of {n:,} rows per side, {d} columns"
    return compare(f"kid_{n}", "torch-fidelity", [ours()], [theirs()], unit="s", goal=None, note=note)


def neighbours_row(real: Tensor, generated: Tensor) -> Row:
    n, d = real.shape
    options = {"prc_neighborhood": 3, "prc_batch_size": min(n, 10_000), "save_cpu_ram": False, "verbose": False}
    ours = seconds_each(lambda: precision_recall(real, generated))
    theirs = seconds_each(lambda: prc_features_to_metric(generated, real, **options))
    note = f"precision and recall of {n:,} rows per side, {d} columns; ours gives density and coverage too"
    return compare(f"neighbours_{n}", "torch-fidelity", [ours()], [theirs()], unit="s", goal=None, note=note)


def pair_errors(n: int = 10_000, d: int = 128, some: Sequence[int] = (1000, 2500, 5000), tries: int = 10) -> list[Row]:
    """What `evaluation.pair_rows` costs: the spread of scores of fewer rows about those of all pairs."""
    real, generated = both_sides(n, d)
    ones = torch.ones(n, 1, dtype=torch.float64)
    own_error = kernel_contributions(real, generated, ones).standard_errors().item()
    whole = {"kid": kernel_distance(real, generated), **precision_recall(real, generated)}
    rows: list[Row] = []
    for size in some:
        g = torch.Generator().manual_seed(size)
        deviations: dict[str, list[float]] = {name: [] for name in whole}
        for _ in range(tries):
            x, y = (side[torch.randperm(n, generator=g)[:size]] for side in (real, generated))
            found = {"kid": kernel_distance(x, y), **precision_recall(x, y)}
            for name, value in found.items():
                deviations[name].append((value - whole[name]).item())
        for name, values in deviations.items():
            more: dict[str, Any] = {"value": whole[name].item(), "spread": statistics.stdev(values), "rows": size}
            if name == "kid":
                more["own_error"] = own_error
            rows.append(row(f"pair_rows_{name}_{size}", "deviation", values, **more))
    return rows
