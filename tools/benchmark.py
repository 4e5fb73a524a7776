#!/usr/bin/env python
"""Measure speed against the peers, side by side in one run.

python tools/benchmark.py                                  all, about 8 minutes on 2 CPU cores
python tools/benchmark.py --only frechet_2048 trainer_step --rounds 5
python tools/benchmark.py --out results/benchmarks.json    where the whole run goes by itself
"""

import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lfiw.cli import DEBUG, Parser, run_script

THREADS = 2
OUT = Path(__file__).parent.parent / "results" / "benchmarks.json"
NAMES = (
    "cache_write",
    "cache_random_batches",
    "cache_remote_warm",
    "loader_crop_flip_normalise",
    "frechet_2048",
    "frechet_few_samples",
    "frechet_interval",
    "precision_recall",
    "trainer_step",
    "trainer_step_mlp",
    "inception",
    "reweight_10k",
    "ratio_epoch",
    "pixelcnn_sampling",
    "generator_step",
    "simulated_steps",
    "augmentation_step",
)


def measure(name: str, rounds: int) -> list[Any]:
    """The rows of one benchmark."""
    # imported by name: a benchmark needs its own peers only
    from benchmarks import (
        augmentation_step,
        cache_random_batches,
        cache_remote,
        cache_write,
        dynamics,
        frechet,
        generators,
        inception,
        intervals,
        loader_crop_flip_normalise,
        neighbours,
        reweighting,
        trainer_step,
    )

    runs: dict[str, Callable[[int], list[Any]]] = {
        "cache_write": cache_write.run,
        "cache_random_batches": cache_random_batches.run,
        "cache_remote_warm": cache_remote.run,
        "loader_crop_flip_normalise": loader_crop_flip_normalise.run,
        "frechet_2048": frechet.run_from_moments,
        "frechet_few_samples": frechet.run_few_samples,
        "frechet_interval": intervals.run,
        "precision_recall": neighbours.run,
        "trainer_step": trainer_step.run_resnet,
        "trainer_step_mlp": trainer_step.run_mlp,
        "inception": inception.run,
        "reweight_10k": reweighting.run_weighting,
        "ratio_epoch": reweighting.run_epoch,
        "pixelcnn_sampling": generators.run_pixelcnn,
        "generator_step": generators.run_steps,
        "simulated_steps": dynamics.run,
        "augmentation_step": augmentation_step.run,
    }
    return runs[name](rounds)


def cells(row: Any) -> list[str]:
    from lfiw.tables import number

    goal = "–" if row.goal is None else f"≥ {number(row.goal)}"
    met = {None: "–", True: "yes", False: "no"}[row.met]
    ours, theirs = (f"{number(value)} {row.unit}" for value in (row.ours, row.theirs))
    span = f"{number(row.min, 3)}–{number(row.max, 3)}"
    return [row.name, ours, row.peer, theirs, number(row.ratio), span, goal, met]


def remarks(row: Any) -> str:
    """How far from the hardware's limit, and the conditions."""
    limit = [f"{row.limit['share']:.0%} of the speed of {row.limit['what']}"] if row.limit else []
    return "; ".join([*limit, *([row.note] if row.note else [])])


def main(arguments: list[str]) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--rounds", type=int, default=7, help="pairs of timings (default 7; slow peers fewer)")
    parser.add_argument("--out", type=Path, help="JSON file (default results/benchmarks.json; with --only, none)")
    options = parser.parse_args([a for a in arguments if a != DEBUG])
    import torch

    from lfiw.tables import print_table

    torch.set_num_threads(THREADS)
    load = round(os.getloadavg()[0], 2)  # other work on the machine slows both sides, not always alike
    start, rows = time.perf_counter(), []
    for name in options.only:
        print(f"{name} …", flush=True)
        rows += measure(name, options.rounds)
    titles = ["benchmark", "ours", "peer", "peer's", "ratio", "min–max", "goal", "met"]
    print_table("speed ratio = peer's time / our time, median over rounds", titles, [cells(row) for row in rows])
    for row in rows:
        print(f"{row.name}: {remarks(row)}")
    out = options.out or (OUT if options.only == NAMES else None)
    if out is not None:
        from lfiw.results import write_study

        command = shlex.join(["python", "tools/benchmark.py", *arguments])
        seconds = time.perf_counter() - start
        write_study(out, "benchmarks", command, seconds, [{**row.as_json(), "load_before": load} for row in rows])


if __name__ == "__main__":
    sys.exit(run_script(main))
