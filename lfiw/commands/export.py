"""Write samples with their log-ratios and weights to files that other programs read.

python tools/export.py runs/images/ID --to parquet --out better.parquet     the rows that the run scored
python tools/export.py runs/images/ID --to npz --out better.npz --weighting "flatten 0.5"
python tools/export.py cache/mine --to folder --out better/ --flatten 0.5   all rows of a cache with log-ratios

Each sample has its `log_ratio` and `weight`, both float64; the weights sum to 1. A run's weights are those that the
gate chose, unless --weighting names another weighting in evaluation.json. Images are stored as Hugging Face's datasets
read them in a Parquet file (extra: parquet), as (N, H, W, C) in an .npz, as PNG files beside weights.csv in a folder.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lfiw.cli import Parser, run_script
from lfiw.errors import InputError
from lfiw.files import user_location, user_run

if TYPE_CHECKING:
    from lfiw.data import SampleCache
    from lfiw.tasks.run_weights import WeightedSamples

TO = ("parquet", "npz", "folder")


def main(arguments: list[str]) -> None:
    options = parse(arguments)
    from lfiw.data.exporting import Export, check_export_target, write_export
    from lfiw.weighting.diagnostics import effective_sample_size

    form = options.to or form_of(options.out)
    check_export_target(form, options.out)
    found = rows_of(options)
    weights = found.weights
    numbers = {"log_ratio": found.log_ratio, "weight": weights}
    write_export(Export(found.table, found.rows, numbers), form, options.out)
    ess = effective_sample_size(weights).item()
    print(f"{options.out}: {len(weights):,} samples with log_ratio and weight, {found.words}, ESS {ess:,.1f}")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("source", metavar="RUN|CACHE", help="a run folder, or a cache (folder or URL)")
    parser.add_argument("--to", choices=TO, help="(default: by the ending of --out; without one, folder)")
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help="the file or folder to write")
    parser.add_argument(
        "--weighting", metavar="NAME", help="for a run: a weighting of its evaluation.json (default: the gate's)"
    )
    parser.add_argument(
        "--log-ratio", metavar="NAME", help="for a cache: column log_ratio/RUN, or an .npz file of tools/score.py"
    )
    parser.add_argument("--flatten", type=float, metavar="α", help="for a cache: exponent of the weights (default: 1)")
    parser.add_argument("--clip", type=float, metavar="β", help="for a cache: lower bound of the ratio (default: 0)")
    parser.add_argument("--smooth", action="store_true", help="for a cache: Pareto-smooth the upper tail")
    return parser.parse_args(arguments)


def form_of(out: Path) -> str:
    """Returns the format by the name's ending; without one, folder."""
    if out.suffix and out.suffix[1:] not in TO:
        raise InputError(f"--out {out}: expected a name that ends in .parquet or .npz, or --to folder")
    return out.suffix[1:] or "folder"


def rows_of(options: argparse.Namespace) -> "WeightedSamples":
    """Returns the rows to export from a run or a cache.

    Raises:
        InputError: the source is neither, or an option does not go with it.
    """
    is_run = "://" not in options.source and (user_run(options.source) / "config.yaml").is_file()
    others = ("log_ratio", "flatten", "clip", "smooth") if is_run else ("weighting",)
    for name in others:
        if getattr(options, name) not in (None, False):
            kind, other = ("run", "cache") if is_run else ("cache", "run")
            raise InputError(f"{options.source} is a {kind}: --{name.replace('_', '-')} goes with a {other}")
    if not is_run:
        return rows_of_cache(options)
    from lfiw.tasks.run_weights import weights_of_run

    return weights_of_run(user_run(options.source), options.weighting)


def rows_of_cache(options: argparse.Namespace) -> "WeightedSamples":
    """Returns all rows of a cache, weighted as the options say."""
    import torch

    from lfiw.data import SampleCache
    from lfiw.tasks.run_weights import WeightedSamples
    from lfiw.tasks.sample_sets import log_ratio_of
    from lfiw.weighting.weights import Weighting

    cache = SampleCache(user_location(options.source))
    column = options.log_ratio or log_ratio_column(cache)
    weighting = Weighting(
        1.0 if options.flatten is None else options.flatten,
        0.0 if options.clip is None else options.clip,
        options.smooth,
    )
    log_ratio = log_ratio_of(cache, column)
    weights, words = weighting(log_ratio), f"weighted by {column}"
    return WeightedSamples(cache, torch.arange(len(cache)), log_ratio, weights, words)


def log_ratio_column(cache: "SampleCache") -> str:
    """Returns the name of a cache's only column of log-ratios."""
    names = [name for name in cache.columns if name.partition("/")[0] == "log_ratio"]
    if not names:
        raise InputError(f"{cache} has no log-ratios: train a run on it, or give --log-ratio, a file of tools/score.py")
    if len(names) > 1:
        raise InputError(f"{cache} has log-ratios of several runs: give --log-ratio, one of {', '.join(names)}")
    return names[0]


command = partial(run_script, main)
