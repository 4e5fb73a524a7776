"""Compare estimators of density ratios on known densities: results/estimators_python.json.

python tools/benchmark_estimators.py                                 all pairs of densities, 10 seeds each
python tools/benchmark_estimators.py --seeds 3 --only shift          a quick look; writes no file

For each pair and seed, every estimator gets the same rows of both sides. Its weights of the generated rows estimate the
means of seven functions under the data. Other packages take part if they are installed: densratio, hep_ml, skada (with
POT). Re-running the same command resumes an interrupted run, pair by pair.
"""

import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lfiw.cli import Parser, run_script
from lfiw.errors import InputError

if TYPE_CHECKING:
    from benchmarks.statistics.contest import Contest
    from benchmarks.statistics.pairs import Case

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "runs" / "benchmarks" / "estimators"
SEEDS = 10


def main(arguments: list[str]) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--seeds", type=int, default=SEEDS, metavar="N", help=f"repetitions per pair (default: {SEEDS})"
    )
    parser.add_argument("--rows", type=int, default=1000, metavar="N", help="rows per side (default: 1000)")
    parser.add_argument("--only", default="", metavar="TEXT", help="pairs whose name contains this")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="the first of every N pairs (default: 1)")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count(), metavar="N", help="pairs at a time, each on one thread"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="default: results/estimators_python.json for all pairs"
    )
    options = parser.parse_args(arguments)
    if options.seeds < 2:
        raise InputError(f"--seeds {options.seeds}: at least 2")
    import torch
    from benchmarks.statistics.contest import shown, summarise
    from benchmarks.statistics.pairs import build_cases

    from lfiw.evaluation.tables import print_table
    from lfiw.tasks.results import write_study

    cases = [case for case in build_cases() if options.only in case.name][:: options.every]
    if not cases:
        raise InputError(f"--only {options.only}: no pair has that in its name")
    started = time.perf_counter()
    contests = []
    work = partial(kept_contest, seeds=options.seeds, rows=options.rows)
    with ProcessPoolExecutor(
        options.processes, multiprocessing.get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        for last in pool.map(work, cases):
            contests.append(last)
            errors = ", ".join(f"{name} {sum(e) / len(e):.5f}" for name, e in last.errors.items())
            print(f"{last.name}: {errors}", flush=True)
    rows = summarise(contests)
    titles = ["estimator", "median MSE / uniform", "lowest", "worse than uniform", "seconds"]
    print_table(f"{len(cases)} pairs, {options.seeds} seeds, {options.rows:,} rows per side", titles, shown(rows))
    out = options.out or (
        ROOT / "results" / "estimators_python.json" if not options.only and options.seeds >= SEEDS else None
    )
    if out is not None:
        command = " ".join(["python tools/benchmark_estimators.py", *arguments])
        write_study(out, "estimators_python", command, time.perf_counter() - started, rows)
        print(f"{out}: {len(rows)} rows")


def kept_contest(case: "Case", seeds: int, rows: int) -> "Contest":
    """Returns one pair's contest, saved by an interrupted run of the same code or computed now."""
    from benchmarks.statistics.contest import Contest, compete
    from benchmarks.statistics.peers import installed
    from studies.kept import Kept

    kept = Kept(KEPT, [seeds, rows, [estimate.__name__ for estimate in installed()]])
    return Contest(**kept.get(case.name, lambda: asdict(compete(case, range(seeds), rows))))


if __name__ == "__main__":
    sys.exit(run_script(main))
