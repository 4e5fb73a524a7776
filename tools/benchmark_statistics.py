"""Measure what weights are worth on known densities: results/statistics.json.

python tools/benchmark_statistics.py                                 all pairs of densities, 30 seeds each
python tools/benchmark_statistics.py --seeds 10 --only shift         a quick look; writes no file

For each pair of densities and each seed, a small classifier is trained to tell samples of one from the other. The means
of seven functions under the data are then estimated from the model's samples: with uniform weights, plain
self-normalised ones, the estimate that `weighted_mean` makes of both, the weights that the gate for scores chooses, and
exact ones; in few dimensions also with densratio's RuLSIF.
"""

import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from math import nan
from pathlib import Path
from statistics import median

from lfiw.cli import Parser, run_script
from lfiw.errors import InputError

ROOT = Path(__file__).parent.parent


def main(arguments: list[str]) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=30, metavar="N", help="repetitions per pair (default: 30)")
    parser.add_argument("--first-seed", type=int, default=0, metavar="N", help="first seed (default: 0)")
    parser.add_argument("--only", default="", metavar="TEXT", help="pairs whose name contains this")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count(), metavar="N", help="pairs at a time, each on one thread"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: results/statistics.json for all 30 seeds")
    options = parser.parse_args(arguments)
    if options.seeds < 2:
        raise InputError(f"--seeds {options.seeds}: at least 2")
    if options.processes < 1:
        raise InputError(f"--processes {options.processes}: at least 1")
    import torch
    from benchmarks.statistics.estimates import ESTIMATORS, examine
    from benchmarks.statistics.pairs import build_cases
    from benchmarks.statistics.summary import known_k, squared_errors, summarise

    from lfiw.tasks.results import write_study

    cases = [case for case in build_cases() if options.only in case.name]
    if not cases:
        raise InputError(f"--only {options.only}: no pair has that in its name")
    started = time.perf_counter()
    found = []
    print(
        f"{'root mean squared error, in standard deviations':<34}", *(f"{e:>8}" for e in ESTIMATORS), "     k̂  verdicts"
    )
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    # spawned, since a forked process would inherit the state of this one's thread pools
    with ProcessPoolExecutor(
        options.processes, multiprocessing.get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        for last in pool.map(partial(examine, seeds=seeds), cases):
            found.append(last)
            errors = " ".join(f"{squared_errors(last, e).mean() ** 0.5:8.4f}" for e in ESTIMATORS)
            verdicts = ", ".join(f"{v} {last.verdicts.count(v)}" for v in dict.fromkeys(last.verdicts))
            print(f"{last.case.name:<34} {errors} {median(known_k(last) or [nan]):6.2f}  {verdicts}", flush=True)
    rows = summarise(found)
    seconds = time.perf_counter() - started
    for r in rows:
        if r["name"] not in {case.name for case in cases}:
            print(f"{r['name']:<44} {r['metric']:<10} {r['mean']:.4f}")
    print(f"{seconds:.0f} s")
    whole = options.seeds >= 30 and not options.only and not options.first_seed
    out = options.out or (ROOT / "results" / "statistics.json" if whole else None)
    if out is None:
        return
    command = "python tools/benchmark_statistics.py" + (f" --seeds {options.seeds}" if options.seeds != 30 else "")
    write_study(out, "statistics", command, seconds, rows)
    print(f"{out}: {len(rows)} rows")


if __name__ == "__main__":
    sys.exit(run_script(main))
