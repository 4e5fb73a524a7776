"""Draw candidates from a generator, score them by a run's classifier, and keep some, until there are enough.

python tools/sample.py generator=digits method=sir num=1000 out=cache/better                 with the latest run
python tools/sample.py generator=cache cache=cache/mine run=runs/images/ID method=rejection num=500 out=cache/better
python tools/sample.py generator=digits method=mh num=1000 pool=32 images=better.npz

generator   digits: that of a run of experiment=digits; cache: the samples of cache=DIR in order, each once;
            trained: one that train.py made, checkpoint=RUN|FILE
method      sir, rejection, mh (as in tools/resample.py)
num         samples to keep
out         the cache to write; images=DIR|FILE.npz: PNG files, or one .npz
run         whose classifier scores (default: the latest)
pool        candidates for each sample, of sir and mh (default: 16)
burn_in     candidates before the first sample: of mh (640), of rejection, whose bound they set (1000)
percentile  of the shift of rejection (default: 80)
flatten     exponent of the ratio (default: 1); clip: its lower bound (default: 0)
batch       candidates drawn at a time (default: 1000); seed (default: 0)
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lfiw.cli import DEBUG, run_script
from lfiw.errors import InputError
from lfiw.files import user_location, user_run

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lfiw.generators.generator import Candidates
    from lfiw.ratio.mixed import MixedDataModule
    from lfiw.tasks.scorer import Scorer
    from lfiw.weighting.streaming import Sampler

PATHS = {"cache", "checkpoint", "out", "images"}
METHODS = ("sir", "rejection", "mh")


@dataclass
class Options:
    """What can be said on the command line."""

    generator: str = ""
    method: str = "sir"
    num: int = 0
    cache: str = ""
    checkpoint: str = ""
    run: str = ""
    out: str = ""
    images: str = ""
    pool: int = 16
    burn_in: int = -1
    percentile: float = 80.0
    flatten: float = 1.0
    clip: float = 0.0
    batch: int = 1000
    seed: int = 0


def main(arguments: list[str]) -> None:
    if {"--help", "-h"} & set(arguments):
        print(__doc__)
        return
    options = parse([a for a in arguments if a != DEBUG])
    import torch

    from lfiw.config import load
    from lfiw.data.cache.writer import check_target
    from lfiw.data.image_files import check_images_target
    from lfiw.tasks.ratio import build_datamodule
    from lfiw.tasks.scorer import Scorer
    from lfiw.training.run_folder import latest_run
    from lfiw.weighting.streaming import stream
    from lfiw.weighting.weights import Weighting

    if options.out:
        check_target(Path(options.out), overwrite=False)
    if options.images:
        check_images_target(Path(options.images))
    run = user_run(options.run) if options.run else latest_run("ratio")
    config = load(run).config
    datamodule = build_datamodule(config.data, config.seed, config.folds)
    datamodule.prepare_data()
    scorer, weighting = Scorer(run), Weighting(options.flatten, options.clip)
    candidates = GENERATORS[options.generator](options, scorer, datamodule)
    generator = torch.Generator().manual_seed(options.seed)
    sampler = sampler_of(options, run, datamodule, generator)
    kept = stream(
        batches(candidates, options.batch, generator),
        lambda batch: weighting.log_weights(scorer(batch)),
        sampler,
        options.num,
    )
    started = time.perf_counter()
    write(options, shown(kept, sampler, options.num), str(run))
    seconds = time.perf_counter() - started
    for path in filter(None, (options.out, options.images)):
        print(f"{path}: {options.num:,} samples by {options.method}, scored by {run}")
    print(
        f"  {sampler.candidates:,} candidates, {sampler.accepted / sampler.candidates:.1%} accepted: "
        f"{sampler.candidates / options.num:.1f} candidates and {1000 * seconds / options.num:.2f} ms a sample"
    )


def cached(options: Options, scorer: "Scorer", datamodule: "MixedDataModule") -> "Candidates":
    from lfiw.data import SampleCache
    from lfiw.generators.generator import CachedCandidates

    if not options.cache:
        raise InputError("generator=cache: say which, cache=DIR")
    table = SampleCache(options.cache)
    samples = [name for name in ("image", "vector") if name in table.columns]
    known = [scorer.column] if scorer.column in table.columns and scorer.column not in samples else []
    return CachedCandidates(table, samples + known)


def fresh_digits(options: Options, scorer: "Scorer", datamodule: "MixedDataModule") -> "Candidates":
    from lfiw.ratio.digits import DigitsCandidates, DigitsDataModule

    if not isinstance(datamodule, DigitsDataModule):
        raise InputError(f"generator=digits goes with a run of experiment=digits, not {scorer.run}")
    return DigitsCandidates(datamodule)


def trained(options: Options, scorer: "Scorer", datamodule: "MixedDataModule") -> "Candidates":
    from lfiw.generators import open_generator

    if not options.checkpoint:
        raise InputError("generator=trained: say which, checkpoint=RUN or FILE")
    return open_generator("trained", options.checkpoint)


GENERATORS: dict[str, Callable[[Options, "Scorer", "MixedDataModule"], "Candidates"]] = {
    "cache": cached,
    "digits": fresh_digits,
    "trained": trained,
}


def sampler_of(options: Options, run: Path, datamodule: "MixedDataModule", generator: "torch.Generator") -> "Sampler":
    from lfiw.weighting.metropolis_hastings import BURN_IN
    from lfiw.weighting.streaming import ChainSampler, PoolSampler, RejectionSampler

    if options.method == "sir":
        return PoolSampler(options.pool, generator)
    if options.method == "rejection":
        burn_in = 1000 if options.burn_in < 0 else options.burn_in
        return RejectionSampler(burn_in, options.percentile, generator)
    burn_in = BURN_IN if options.burn_in < 0 else options.burn_in
    return ChainSampler(real_log_ratio(options, run, datamodule, generator), options.pool, burn_in, generator)


def real_log_ratio(options: Options, run: Path, datamodule: "MixedDataModule", generator: "torch.Generator") -> float:
    """Of a real evaluation row at random: where a chain starts."""
    import torch

    from lfiw.ratio.cross_fitting import log_ratio_column
    from lfiw.weighting.weights import Weighting

    datamodule.open_tables()
    datamodule.input = datamodule.samples  # the split needs no features
    datamodule.setup()
    real = datamodule.splits["evaluation"][0].column(log_ratio_column(run))
    place = int(torch.randint(len(real), (), generator=generator))
    return Weighting(options.flatten, options.clip).log_weights(real)[place].item()


def batches(candidates: "Candidates", size: int, generator: "torch.Generator") -> "Iterator[dict[str, Tensor]]":
    """Batches until a short or an empty one says that there are no more."""
    while True:
        batch = candidates.sample(size, generator)
        rows = len(next(iter(batch.values())))
        if rows:
            yield batch
        if rows < size:
            return


def shown(kept: "Iterator[dict[str, Tensor]]", sampler: "Sampler", num: int) -> "Iterator[dict[str, Tensor]]":
    """The same blocks, with a progress bar on the terminal: samples, time left, share of candidates accepted."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    rate = TextColumn("{task.fields[accepted]:.1%} accepted, {task.fields[cost]:.1f} candidates a sample")
    done = 0
    with Progress(TextColumn("samples"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), rate) as progress:
        task = progress.add_task("samples", total=num, accepted=0.0, cost=0.0)
        for block in kept:
            done += len(next(iter(block.values())))
            share = sampler.accepted / sampler.candidates
            progress.update(task, completed=done, accepted=share, cost=sampler.candidates / done)
            yield block


def write(options: Options, kept: "Iterator[dict[str, Tensor]]", run: str) -> None:
    """Writes the cache while the samples come; images are read back from it, or from a temporary one."""
    from tempfile import TemporaryDirectory

    from lfiw.data import CacheWriter, SampleCache
    from lfiw.data.image_files import write_images

    names = ("generator", "method", "num", "pool", "burn_in", "percentile", "flatten", "clip", "seed")
    source = {"resampling": {name: getattr(options, name) for name in names}, "run": run}
    with TemporaryDirectory() as folder:
        out = Path(options.out) if options.out else Path(folder) / "samples"
        with CacheWriter(out, source=source) as writer:
            for block in kept:
                writer.write({name: values for name, values in block.items() if name in ("image", "vector")})
        if options.images:
            cache = SampleCache(out)
            if "image" not in cache.columns:
                raise InputError(f"images={options.images}: the samples are no images, give out= alone")
            starts = range(0, len(cache), 1000)
            blocks = (cache.read(slice(s, min(s + 1000, len(cache))), ["image"])["image"] for s in starts)
            write_images(Path(options.images), blocks, len(cache))


def parse(arguments: list[str]) -> Options:
    """`key=value` → options, each of the type of its default."""
    known = {field.name: field.type for field in fields(Options)}
    given: dict[str, Any] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in known:
            raise InputError(f"{argument!r}: expected key=value with one of {', '.join(known)}; see --help")
        try:
            given[key] = type(getattr(Options, key))(value)
        except ValueError:
            raise InputError(f"{argument}: expected a number") from None
    for key in PATHS & given.keys():
        given[key] = user_location(given[key])
    options = Options(**given)
    if options.generator not in GENERATORS:
        raise InputError(f"generator={options.generator}: expected one of {', '.join(GENERATORS)}")
    if options.method not in METHODS:
        raise InputError(f"method={options.method}: candidates that come one by one go through {', '.join(METHODS)}")
    for name in ("num", "batch"):
        if getattr(options, name) < 1:
            raise InputError(f"{name}={getattr(options, name)} must be at least 1")
    if not options.out and not options.images:
        raise InputError("nothing to write: give out=, images= or both")
    unused = {"pool": "rejection", "percentile": "sir or mh", "burn_in": "sir"}
    for key, methods in unused.items():
        if key in given and options.method in methods.split(" or "):
            raise InputError(f"{key} does not go with method={options.method}")
    return options


if __name__ == "__main__":
    sys.exit(run_script(main))
