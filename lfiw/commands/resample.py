"""Turn weighted samples into an unweighted set, from a cache or from new candidates until there are enough.

python tools/resample.py --weights runs/images/ID --num 10000 --out cache/better           by the weights of that run
python tools/resample.py --cache cache/mine --log-ratio log_ratio/ID --pool 16 --num 10000 --out cache/better
python tools/resample.py --cache cache/mine --log-ratio weights.npz --method systematic --num 5000 --images better.npz
python tools/resample.py --cache cache/mine --log-ratio log_ratio/ID --method mh --real cache/real --num 1000 --out DIR
python tools/resample.py --generator digits --method mh --num 1000 --out cache/better          with the latest run
python tools/resample.py --generator trained --checkpoint FILE --method pcn --pool 16 --num 1000 --out cache/better
python tools/resample.py --generator cache --cache cache/mine --run runs/images/ID --num 500 --out cache/better

--weights names a run: its scored samples are drawn by the weights that its gate chose, or by --weighting.
--log-ratio names the log-ratios of the rows of --cache. The set then points to the chosen rows: without --copy no image
is copied. It reads as any cache does, with all columns. With --generator, the classifier of a run scores
candidates one batch after another: `digits` draws them as a run of experiment=digits does, `trained` from a generator
that train.py made (--checkpoint), and `cache` takes each row of --cache once, in order. Method pcn runs a chain per
sample in the latent space of a `trained` generator: it scores --pool images per sample, each near the one before.
--images writes PNG files, or one .npz with arr_0, uint8 (N, H, W, C).
"""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lfiw.cli import Parser, run_script
from lfiw.errors import InputError
from lfiw.files import location_argument, user_run

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lfiw.data import SampleCache
    from lfiw.generators.latent_sampling import LatentSampler
    from lfiw.ratio.mixed import MixedDataModule
    from lfiw.weighting.streaming import Sampler

GENERATORS = ("cache", "digits", "trained")
STEP = 0.5  # of pcn


def main(arguments: list[str]) -> None:
    options = parse(arguments)
    check(options)
    if options.generator:
        resample_stream(options)
    else:
        resample_cache(options)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--cache", type=location_argument, metavar="DIR", help="cache of the samples")
    parser.add_argument("--log-ratio", metavar="NAME", help="column log_ratio/RUN, or an .npz file of tools/score.py")
    parser.add_argument("--weights", metavar="RUN", help="the run whose samples and weights to take")
    named = "a weighting of the run: of --weights (default: the gate's), or with --generator, such as auto"
    parser.add_argument("--weighting", metavar="NAME", help=named)
    parser.add_argument("--generator", metavar="NAME", help=f"where candidates come from: {', '.join(GENERATORS)}")
    parser.add_argument("--checkpoint", type=Path, metavar="RUN|FILE", help="with --generator trained: the generator")
    parser.add_argument("--run", metavar="RUN", help="run whose classifier scores them (default: the latest)")
    parser.add_argument("--batch", type=int, default=1000, metavar="N", help="candidates per batch (default: 1000)")
    methods = "sir (default), rejection, mh; without --generator also systematic, residual, without-replacement; "
    parser.add_argument("--method", default="sir", help=methods + "with --generator trained also pcn")
    parser.add_argument("--num", type=int, metavar="N", help="samples to choose")
    pool = "for sir, mh and pcn: candidates per sample (default: 16)"
    parser.add_argument("--pool", type=int, metavar="T", help=pool)
    step = f"for pcn: size of a step, above 0 and at most 1 (default: {STEP:g})"
    parser.add_argument("--step", type=float, metavar="β", help=step)
    burn_in = "candidates before the first sample, for mh (640) and, with --generator, for rejection (1000)"
    parser.add_argument("--burn-in", type=int, metavar="N", help=burn_in)
    parser.add_argument(
        "--percentile", type=float, metavar="P", help="for rejection: percentile of the shift (default: 80)"
    )
    parser.add_argument(
        "--real", type=Path, metavar="DIR", help="for mh: cache of real samples to start from, with the same column"
    )
    parser.add_argument("--flatten", type=float, default=1.0, metavar="α", help="exponent of the weights (default: 1)")
    parser.add_argument("--clip", type=float, default=0.0, metavar="β", help="lower bound of the ratio (default: 0)")
    parser.add_argument("--smooth", action="store_true", help="Pareto-smooth the upper tail")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws (default: 0)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the cache to write")
    parser.add_argument("--copy", action="store_true", help="copy the rows instead of pointing to them")
    parser.add_argument("--images", type=Path, metavar="DIR|FILE.npz", help="where to write images")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing cache")
    return parser.parse_args(arguments)


def check(options: argparse.Namespace) -> None:
    """Raises InputError for options that do not go together, before anything is read."""
    from lfiw.data.cache.writer import check_target
    from lfiw.data.image_files import check_images_target
    from lfiw.weighting.streaming import check_method

    streamed = options.generator is not None
    if streamed and options.generator not in GENERATORS:
        raise InputError(f"generator={options.generator}: expected one of {', '.join(GENERATORS)}")
    for name in ("cache", "log_ratio", "generator", "real", "clip", "smooth") if options.weights else ():
        if getattr(options, name):
            raise InputError(f"{flag(name)} goes without --weights")
    if options.weighting and not (options.weights or streamed):
        raise InputError("--weighting goes with --weights or --generator")
    if options.weighting and streamed and (options.flatten != 1 or options.clip or options.method == "mh"):
        raise InputError("--weighting takes weights as the run has them: leave out --flatten, --clip and method mh")
    if options.weights and (options.flatten != 1 or options.method == "mh"):
        raise InputError("--weights are taken as they are, by any method but mh: --flatten and mh go with --cache")
    by_column = [] if options.weights else ["cache", "log_ratio"]
    needed = {"cache": ["cache"], "trained": ["checkpoint"], "digits": [], None: by_column}
    absent = [name for name in (*needed[options.generator], "num") if getattr(options, name) is None]
    if absent:
        what = f"--generator {options.generator}" if streamed else "without --generator"
        raise InputError(f"{what}: give {', '.join(map(flag, absent))} (see tools/resample.py --help)")
    of_cache, of_stream = ("log_ratio", "real", "smooth", "copy"), ("checkpoint", "run")
    for name in of_cache if streamed else of_stream:
        if getattr(options, name):
            raise InputError(f"{flag(name)} goes {'without' if streamed else 'with'} --generator")
    latent = options.generator == "trained"
    check_method(options.method, streamed=streamed, latent=latent, step=options.step, **method_options(options))
    if not streamed and (options.method == "mh") != (options.real is not None):
        raise InputError("--real names the cache of real samples that method mh starts from: give both or neither")
    for name in ("num", "batch"):
        if getattr(options, name) < 1:
            raise InputError(f"{name}={getattr(options, name)} must be at least 1")
    if options.out is None and options.images is None:
        raise InputError("nothing to write: give --out, --images or both")
    if options.copy and options.out is None:
        raise InputError("--copy goes with --out")
    if options.out is not None:
        check_target(options.out, options.overwrite)
    if options.images is not None:
        check_images_target(options.images)


def flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def method_options(options: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(options, name) for name in ("pool", "burn_in", "percentile")}


def resample_cache(options: argparse.Namespace) -> None:
    """Chooses rows of a cache by their log-ratios, or the samples of a run by their weights."""
    import torch

    from lfiw.data import SampleCache, write_rows
    from lfiw.tasks.sample_sets import check_has_images, copy_rows, log_ratio_of
    from lfiw.weighting.diagnostics import effective_sample_size
    from lfiw.weighting.streaming import resample
    from lfiw.weighting.weights import pareto_k

    cache, rows, log_weights = weighted_run(options) if options.weights else weighted_cache(options)
    if options.images is not None:
        check_has_images(cache)
    generator = torch.Generator().manual_seed(options.seed)
    start = None
    if options.real is not None:
        start = start_of(options, log_ratio_of(SampleCache(options.real), options.log_ratio), generator)
    found = resample(options.method, log_weights, options.num, generator, start=start, **method_options(options))
    if options.out is not None:
        by_file = options.log_ratio is None or options.log_ratio.endswith(".npz")
        stamp = {} if by_file else cache.column(options.log_ratio).stamp
        counts = {"candidates": found.candidates, "acceptance_rate": found.acceptance_rate, "log_ratio_stamp": stamp}
        source = {"resampling": chosen(options) | counts, "of": cache.identity, "samples": cache.source}
        if options.copy:
            copy_rows(options.out, cache, rows[found.rows], source, options.overwrite)
        else:
            write_rows(options.out, cache, rows[found.rows], source=source, overwrite=options.overwrite)
        copied = "copied" if options.copy else f"rows of {options.cache or options.weights}"
        print(f"{options.out}: {options.num:,} samples, {copied}, identity {SampleCache(options.out).identity[:12]}")
    write_pictures(options, cache, rows[found.rows])
    ess = effective_sample_size(torch.softmax(log_weights, 0)).item()
    rate = "" if found.acceptance_rate is None else f", {found.acceptance_rate:.1%} accepted"
    print(
        f"  {len(found.rows.unique()):,} of {len(rows):,} samples were chosen, {found.candidates / options.num:.1f} "
        f"candidates per sample{rate}; ESS of the weights {ess:,.1f}, Pareto k̂ {pareto_k(log_weights):.2f}"
    )


def weighted_cache(options: argparse.Namespace) -> "tuple[SampleCache, Tensor, Tensor]":
    """Returns a cache, its row numbers and their log-weights."""
    import torch

    from lfiw.data import SampleCache
    from lfiw.tasks.sample_sets import log_ratio_of
    from lfiw.weighting.resampling import check_candidates
    from lfiw.weighting.weights import Weighting

    cache = SampleCache(options.cache)
    weighting = Weighting(options.flatten, options.clip, options.smooth)
    log_weights = weighting.log_weights(check_candidates(log_ratio_of(cache, options.log_ratio)))
    return cache, torch.arange(len(cache)), log_weights


def weighted_run(options: argparse.Namespace) -> "tuple[SampleCache, Tensor, Tensor]":
    """Returns the cache that a run scored, the numbers of the scored rows and their log-weights."""
    import torch

    from lfiw.data import SampleCache
    from lfiw.tasks.run_weights import weights_of_run

    found = weights_of_run(user_run(options.weights), options.weighting)
    if not isinstance(found.table, SampleCache):
        raise InputError(f"{options.weights}: its samples are in no cache")
    return found.table, found.rows, found.weights.clamp(min=torch.finfo(torch.float64).tiny).log()


def resample_stream(options: argparse.Namespace) -> None:
    """Scores candidates by a run's classifier, batch by batch, and writes the accepted ones."""
    from tempfile import TemporaryDirectory

    import torch

    from lfiw.config import load
    from lfiw.data import CacheWriter, SampleCache
    from lfiw.generators.generative_module import GenerativeModule
    from lfiw.generators.latent_sampling import LatentSampler
    from lfiw.tasks.inputs import Scorer, build_datamodule
    from lfiw.tasks.run_weights import NewWeights
    from lfiw.tasks.sample_sets import real_log_ratio
    from lfiw.training.run_folder import latest_run
    from lfiw.weighting.streaming import LATENT, POOL, build_sampler, stream
    from lfiw.weighting.weights import Weighting

    run = user_run(options.run) if options.run else latest_run("ratio")
    config = load(run).config
    datamodule = build_datamodule(config.data, config.seed, config.folds)
    datamodule.prepare_data()
    generator = torch.Generator().manual_seed(options.seed)
    score: Callable[[Mapping[str, Tensor]], Tensor]
    if options.weighting:
        of_run = NewWeights(run, options.weighting)
        score, columns = of_run, of_run.columns
    else:
        scorer, weighting = Scorer(run), Weighting(options.flatten, options.clip)
        score, columns = (lambda batch: weighting.log_weights(scorer(batch))), list(scorer.classifiers)
    sampler: LatentSampler | Sampler
    if options.method == LATENT:
        pool, step = POOL if options.pool is None else options.pool, STEP if options.step is None else options.step
        sampler = LatentSampler(GenerativeModule.load(options.checkpoint), score, pool, step, generator)
        kept = sampler.draw(options.num, options.batch)
    else:
        start = start_of(options, real_log_ratio(run, datamodule), generator) if options.method == "mh" else None
        sampler = build_sampler(options.method, generator, start=start, **method_options(options))
        kept = stream(candidates_of(options, run, columns, datamodule, generator), score, sampler, options.num)
    started = time.perf_counter()
    with TemporaryDirectory() as folder:
        out = options.out or Path(folder) / "samples"
        source = {"resampling": chosen(options), "run": str(run)}
        with CacheWriter(out, source=source, overwrite=options.overwrite) as writer:
            for block in shown(kept, sampler, options.num):
                writer.write({name: values for name, values in block.items() if name in ("image", "vector")})
        seconds = time.perf_counter() - started
        if options.out:
            print(f"{out}: {options.num:,} samples by {options.method}, scored by {run}")
        write_pictures(options, SampleCache(out), torch.arange(options.num))
    print(
        f"  {sampler.candidates:,} candidates, {sampler.accepted / sampler.candidates:.1%} accepted: "
        f"{sampler.candidates / options.num:.1f} candidates and {1000 * seconds / options.num:.2f} ms per sample"
    )


def chosen(options: argparse.Namespace) -> dict[str, Any]:
    """Describes how a set was made, for the provenance in its cache."""
    names = ("generator", "method", "log_ratio", "weights", "weighting", "num", "flatten", "clip", "smooth", "seed")
    made = {name: getattr(options, name) for name in (*names, "step")} | method_options(options)
    return {name: value for name, value in made.items() if value is not None}


def start_of(options: argparse.Namespace, real: "Tensor", generator: "torch.Generator") -> float:
    """Draws the real sample from which a chain starts → its log-weight."""
    import torch

    from lfiw.weighting.weights import Weighting

    place = int(torch.randint(len(real), (), generator=generator))
    return Weighting(options.flatten, options.clip).log_weights(real)[place].item()


def candidates_of(
    options: argparse.Namespace,
    run: Path,
    columns: Sequence[str],
    datamodule: "MixedDataModule",
    generator: "torch.Generator",
) -> "Iterable[dict[str, Tensor]]":
    """Yields batches of candidates from the source that --generator names.

    Args:
        columns: beside the samples, what the weights read of a cache that has it.
    """
    from lfiw.data import SampleCache
    from lfiw.data.importers import import_cache
    from lfiw.generators import open_generator
    from lfiw.generators.protocol import candidates
    from lfiw.ratio.digits import DigitsCandidates, DigitsDataModule

    if options.generator == "cache":
        there = SampleCache(options.cache).columns
        names = [name for name in dict.fromkeys(("image", "vector", *columns)) if name in there]
        return candidates(import_cache(options.cache, names), options.batch, generator)
    if options.generator == "trained":
        return candidates(open_generator("trained", options.checkpoint), options.batch, generator)
    if not isinstance(datamodule, DigitsDataModule):
        raise InputError(f"--generator digits goes with a run of experiment=digits, not {run}")
    digits = DigitsCandidates(datamodule)
    return iter(lambda: digits.sample(options.batch, generator), None)


def shown(
    kept: "Iterator[dict[str, Tensor]]", sampler: "Sampler | LatentSampler", num: int
) -> "Iterator[dict[str, Tensor]]":
    """Yields the blocks unchanged, and reports progress and the share of accepted candidates."""
    from lfiw.training.progress import reporting

    done = 0
    with reporting("sampling", num, "samples") as advance:
        for block in kept:
            size = len(next(iter(block.values())))
            done += size
            share, cost = sampler.accepted / sampler.candidates, sampler.candidates / done
            advance(size, f"{share:.1%} accepted, {cost:.1f} candidates per sample")
            yield block


def write_pictures(options: argparse.Namespace, cache: "SampleCache", rows: "Tensor") -> None:
    """Writes the images of these rows to --images, if given."""
    from lfiw.data.image_files import write_images
    from lfiw.tasks.sample_sets import check_has_images, column_blocks

    if options.images is None:
        return
    check_has_images(cache)
    write_images(options.images, column_blocks(cache, rows, "image"), len(rows))
    print(f"{options.images}: {len(rows):,} images")


command = partial(run_script, main)
