#!/usr/bin/env python
"""Measure speed against other libraries, side by side in one run.

python tools/benchmark.py                                  all, about 8 minutes on 2 CPU cores
python tools/benchmark.py --only frechet_2048 trainer_step --rounds 5
python tools/benchmark.py --out results/benchmarks.json    where the whole run goes by default; a picture beside it
python tools/benchmark.py --only journeys                  what a person waits for, 10 minutes; results/journeys.json
"""

import os
import shlex
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from lfiw.cli import DEBUG, Parser, run_script

THREADS = 2
RESULTS = Path(__file__).parent.parent / "results"
# of tools/benchmarks; imported by name, so that a benchmark needs only its own peers
RUNS = {
    "cache_write": "caches.run_write",
    "cache_random_batches": "caches.run_random_batches",
    "cache_remote_warm": "caches.run_remote",
    "loader_crop_flip_normalise": "caches.run_loader",
    "frechet_2048": "scores.run_from_moments",
    "frechet_few_samples": "scores.run_few_samples",
    "frechet_interval": "scores.run_interval",
    "precision_recall": "scores.run_neighbours",
    "trainer_step": "training_steps.run_resnet",
    "trainer_step_mlp": "training_steps.run_mlp",
    "inception": "extraction.run_inception",
    "reweight_10k": "extraction.run_weighting",
    "ratio_epoch": "extraction.run_epoch",
    "pixelcnn_sampling": "simulation.run_pixelcnn",
    "generator_step": "training_steps.run_generators",
    "simulated_steps": "simulation.run_dynamics",
    "augmentation_step": "training_steps.run_augmentation",
    "journeys": "journeys.run",
}
ALONE = "journeys"  # not part of a whole run: it has a file of its own
NAMES = tuple(name for name in RUNS if name != ALONE)

Row = dict[str, Any]


def measure(name: str, rounds: int) -> list[Row]:
    """Returns the rows of one benchmark."""
    file, _, function = RUNS[name].partition(".")
    rows: list[Row] = getattr(import_module(f"benchmarks.{file}"), function)(rounds)
    return rows


def cells(row: Row) -> list[str]:
    from lfiw.evaluation.tables import number

    if row["metric"] != "speed_ratio":
        return [row["name"], f"{number(row['mean'], 3)} {row['metric']}", *("–" for _ in range(6))]
    goal = "–" if row["goal"] is None else f"≥ {number(row['goal'])}"
    met = {None: "–", True: "yes", False: "no"}[row["met"]]
    ours, theirs = (f"{number(row[side])} {row['unit']}" for side in ("ours", "theirs"))
    span = f"{number(row['min'], 3)}–{number(row['max'], 3)}"
    return [row["name"], ours, row["peer"], theirs, number(row["ratio"]), span, goal, met]


def remarks(row: Row) -> str:
    """Formats the share of the hardware's limit, and the conditions."""
    limit = f"{row['limit']['share']:.0%} of the speed of {row['limit']['what']}" if row.get("limit") else ""
    return "; ".join(filter(None, [limit, row.get("note")]))


def rounded(value: Any) -> Any:
    """Rounds numbers, also in lists, to six digits after the point."""
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return round(value, 6) if isinstance(value, float) else value


def main(arguments: list[str]) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=RUNS, default=NAMES, metavar="NAME", help=", ".join(RUNS))
    parser.add_argument("--rounds", type=int, default=7, help="pairs of timings (default 7; slow peers fewer)")
    parser.add_argument("--out", type=Path, help="JSON file (by default in results/, of a whole run or the journeys)")
    options = parser.parse_args([a for a in arguments if a != DEBUG])
    import torch
    from benchmarks.speeds_figure import speeds

    from lfiw.evaluation.plots.style import save
    from lfiw.evaluation.tables import print_table
    from lfiw.tasks.results import write_study

    torch.set_num_threads(THREADS)
    load = round(os.getloadavg()[0], 2)  # other work on the machine may slow the two sides unequally
    start, rows = time.perf_counter(), []
    for name in options.only:
        print(f"{name} …", flush=True)
        rows += measure(name, options.rounds)
    titles = ["benchmark", "ours", "peer", "peer's", "ratio", "min–max", "goal", "met"]
    print_table("speed ratio = peer's time / our time, median over rounds", titles, [cells(row) for row in rows])
    for row in rows:
        print(f"{row['name']}: {remarks(row)}")
    studies = {NAMES: "benchmarks", (ALONE,): ALONE}
    study = studies.get(tuple(options.only))
    out = options.out or (RESULTS / f"{study}.json" if study else None)
    if out is not None:
        command = shlex.join(["python", "tools/benchmark.py", *arguments])
        written = [{key: rounded(value) for key, value in {**row, "load_before": load}.items()} for row in rows]
        write_study(out, study or "benchmarks", command, time.perf_counter() - start, written)
        if study != ALONE:
            save(speeds(written), out.with_name(f"{out.stem}-speeds.png"))


if __name__ == "__main__":
    sys.exit(run_script(main))
