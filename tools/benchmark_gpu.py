#!/usr/bin/env python
"""Measure what a GPU can do, and how much of it extraction, training and sampling take.

python tools/benchmark_gpu.py                                       on a GPU, into results/gpu.json
python tools/benchmark_gpu.py --device cpu --smoke --out gpu.json   tiny sizes: whether it runs
"""

import shlex
import sys
import time
from pathlib import Path

from lfiw.cli import DEBUG, Parser, run_script
from lfiw.errors import InputError

OUT = Path(__file__).parent.parent / "results" / "gpu.json"


def main(arguments: list[str]) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="(default: cuda)")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, whose numbers mean nothing")
    parser.add_argument("--out", type=Path, help="JSON file (default: results/gpu.json; with --smoke, none)")
    options = parser.parse_args([a for a in arguments if a != DEBUG])
    import torch
    from benchmarks import gpu

    from lfiw.evaluation.tables import number, print_table
    from lfiw.tasks.results import write_study

    if options.device == "cuda" and not torch.cuda.is_available():
        raise InputError("there is no GPU (torch.cuda.is_available() is False): --device cpu --smoke tries the script")
    if options.device == "cpu" and not options.smoke:
        raise InputError("--device cpu goes with --smoke: tools/benchmark.py measures a CPU")
    start, rows = time.perf_counter(), []
    for row in gpu.measured(torch.device(options.device), gpu.SMOKE if options.smoke else gpu.Sizes()):
        share = f"{row['share']:.0%}" if "share" in row else ""
        rows.append(row)
        print(f"{row['name']}: {number(row['mean'])} {row['metric']} {share}", flush=True)
    cells = [[r["name"], number(r["mean"]), r["metric"], f"{r['share']:.0%}" if "share" in r else ""] for r in rows]
    print_table("on one device", ["what", "mean", "unit", "share of the measured matrix products"], cells)
    out = options.out or (None if options.smoke else OUT)
    if out is not None:
        command = shlex.join(["python", "tools/benchmark_gpu.py", *arguments])
        write_study(out, "gpu", command, time.perf_counter() - start, rows)


if __name__ == "__main__":
    sys.exit(run_script(main))
