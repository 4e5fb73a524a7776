"""Turn cached samples and their log-ratios into an unweighted set.

python tools/resample.py --cache cache/mine --log-ratio log_ratio/ID --pool 16 --num 10000 --out cache/better
python tools/resample.py --cache cache/mine --log-ratio weights.npz --method systematic --num 5000 --images better.npz
python tools/resample.py --cache cache/mine --log-ratio log_ratio/ID --method mh --real cache/real --num 1000 --out DIR

--out is a cache whose rows point to the chosen rows of --cache: no image is copied (without --copy), and whatever
reads caches reads it, with the columns that --cache has. --images writes PNG files, or one .npz with arr_0, uint8
(N, H, W, C).
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lfiw.cli import Parser, run_script
from lfiw.errors import InputError
from lfiw.files import user_path

if TYPE_CHECKING:
    from torch import Tensor

    from lfiw.data import SampleCache
    from lfiw.weighting.streaming import Resampled

BLOCK = 1000  # rows copied at a time


def main(arguments: list[str]) -> None:
    options = parse(arguments)
    import torch

    from lfiw.data import SampleCache, write_rows
    from lfiw.data.cache.writer import check_target
    from lfiw.data.image_files import check_images_target, write_images
    from lfiw.weighting.diagnostics import effective_sample_size
    from lfiw.weighting.pareto import pareto_k
    from lfiw.weighting.resampling import check_candidates
    from lfiw.weighting.streaming import check_method, resample
    from lfiw.weighting.weights import Weighting

    check_method(options.method, pool=options.pool, burn_in=options.burn_in, percentile=options.percentile)
    if (options.method == "mh") != (options.real is not None):
        raise InputError("--real names the cache of real samples that method mh starts from: give both or neither")
    if options.out is None and options.images is None:
        raise InputError("nothing to write: give --out, --images or both")
    if options.copy and options.out is None:
        raise InputError("--copy goes with --out")
    if options.out is not None:
        check_target(options.out, options.overwrite)
    if options.images is not None:
        check_images_target(options.images)
    cache = SampleCache(options.cache)
    if options.images is not None:
        check_has_images(cache)
    weighting = Weighting(options.flatten, options.clip, options.smooth)
    log_weights = weighting.log_weights(check_candidates(log_ratio_of(cache, options.log_ratio)))
    generator = torch.Generator().manual_seed(options.seed)
    start = None
    if options.real is not None:
        real = log_ratio_of(SampleCache(options.real), options.log_ratio)
        place = int(torch.randint(len(real), (), generator=generator))
        start = Weighting(options.flatten, options.clip).log_weights(real)[place].item()
    found = resample(
        options.method,
        log_weights,
        options.num,
        generator,
        pool=options.pool,
        burn_in=options.burn_in,
        start=start,
        percentile=options.percentile,
    )
    if options.out is not None:
        source = provenance(options, cache, found)
        if options.copy:
            copy_rows(options.out, cache, found.rows, source, options.overwrite)
        else:
            write_rows(options.out, cache, found.rows, source=source, overwrite=options.overwrite)
        copied = "copied" if options.copy else f"rows of {options.cache}"
        print(f"{options.out}: {options.num:,} samples, {copied}, identity {SampleCache(options.out).identity[:12]}")
    if options.images is not None:
        blocks = (cache.read(rows, ["image"])["image"] for rows in found.rows.split(BLOCK))
        write_images(options.images, blocks, options.num)
        print(f"{options.images}: {options.num:,} images")
    ess = effective_sample_size(torch.softmax(log_weights, 0)).item()
    rate = "" if found.acceptance_rate is None else f", {found.acceptance_rate:.1%} accepted"
    print(
        f"  {len(found.rows.unique()):,} of {len(cache):,} samples were chosen, {found.candidates / options.num:.1f} "
        f"candidates a sample{rate}; ESS of the weights {ess:,.1f}, Pareto k̂ {pareto_k(log_weights):.2f}"
    )


def log_ratio_of(cache: "SampleCache", name: str) -> "Tensor":
    """The column of that name, or `log_ratio` of an .npz file that tools/score.py wrote, in the order of the rows."""
    if not name.endswith(".npz"):
        column = cache.column(name)
        if column.shape or not column.dtype.is_floating_point:
            raise InputError(f"--log-ratio {name}: expected one number a row, the column has {tuple(column.shape)}")
        return cache[name].double()
    from lfiw.data.arrays import to_tensor
    from lfiw.data.importers.arrays import load_arrays

    try:
        values = load_arrays(user_path(name))["log_ratio"]
        log_ratio = to_tensor(values, "log_ratio")
    except KeyError:
        raise InputError(f"--log-ratio {name}: there is no array log_ratio in it") from None
    except InputError as error:
        raise InputError(f"--log-ratio {name}: no array log_ratio can be read from it ({error})") from None
    if values.shape != (len(cache),) or values.dtype.kind != "f":
        raise InputError(
            f"--log-ratio {name}: {values.dtype} of shape {values.shape} for the {len(cache):,} rows of {cache.path}: "
            "score the samples of this cache"
        )
    return log_ratio.double()


def check_has_images(cache: "SampleCache") -> None:
    import torch

    column = cache.column("image") if "image" in cache.columns else None
    if column is None or column.dtype != torch.uint8 or len(column.shape) != 3:
        raise InputError(f"--images: {cache.path} has no column 'image' of uint8 (channels, height, width)")


def provenance(options: argparse.Namespace, cache: "SampleCache", found: "Resampled") -> dict[str, Any]:
    """How the set was made, and where its samples come from."""
    names = ("method", "log_ratio", "num", "pool", "burn_in", "percentile", "flatten", "clip", "smooth", "seed")
    resampling = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    resampling |= {"candidates": found.candidates, "acceptance_rate": found.acceptance_rate}
    stamp = {} if options.log_ratio.endswith(".npz") else cache.column(options.log_ratio).stamp
    return {"resampling": {**resampling, "log_ratio_stamp": stamp}, "of": cache.identity, "samples": cache.source}


def copy_rows(path: Path, cache: "SampleCache", rows: "Tensor", source: dict[str, Any], overwrite: bool) -> None:
    """Writes a cache of its own: base columns, then the columns that were computed later, with their stamps."""
    from lfiw.data import CacheWriter, SampleCache

    if path.resolve() == cache.path.resolve():
        raise InputError(f"{path}: the rows of a cache cannot replace it: choose another path")
    base = list(cache[[0]])
    with CacheWriter(path, source=source, overwrite=overwrite) as writer:
        for part in rows.split(BLOCK):
            writer.write(cache.read(part, base))
    copy = SampleCache(path)
    for name in cache.columns:
        if name not in base:
            copy.add_column(name, column_blocks(cache, rows, name), stamp=cache.column(name).stamp)


def column_blocks(cache: "SampleCache", rows: "Tensor", name: str) -> "Iterator[Tensor]":
    for part in rows.split(BLOCK):
        yield cache.read(part, [name])[name]


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="the samples")
    parser.add_argument(
        "--log-ratio", required=True, metavar="NAME", help="column log_ratio/RUN, or an .npz file of tools/score.py"
    )
    parser.add_argument(
        "--method", default="sir", help="sir (default), systematic, residual, without-replacement, rejection, mh"
    )
    parser.add_argument("--num", type=int, required=True, metavar="N", help="samples to choose")
    parser.add_argument("--pool", type=int, metavar="T", help="candidates for each sample, of sir and mh (default: 16)")
    parser.add_argument("--burn-in", type=int, metavar="N", help="candidates before the first sample, of mh (640)")
    parser.add_argument("--percentile", type=float, metavar="P", help="of the shift of rejection (default: 80)")
    parser.add_argument(
        "--real", type=Path, metavar="DIR", help="real samples with the same column, for mh to start at"
    )
    parser.add_argument("--flatten", type=float, default=1.0, metavar="α", help="exponent of the weights (default: 1)")
    parser.add_argument("--clip", type=float, default=0.0, metavar="β", help="lower bound of the ratio (default: 0)")
    parser.add_argument("--smooth", action="store_true", help="Pareto-smooth the upper tail")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the cache to write")
    parser.add_argument("--copy", action="store_true", help="copy the rows instead of pointing to them")
    parser.add_argument("--images", type=Path, metavar="DIR|FILE.npz", help="where images go")
    parser.add_argument("--overwrite", action="store_true", help="replace the cache that is there")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(run_script(main))
