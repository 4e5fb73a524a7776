"""Add features to caches, as a column features/NAME that evaluation.extractors and data.input can name.

python tools/cache_features.py callable FILE.py:FUNCTION --name clip --cache cache/real cache/mine
python tools/cache_features.py npz FILE --name clip --cache cache/mine
python tools/cache_features.py timm efficientnet_lite0 --weights FILE --cache cache/real cache/mine
python tools/cache_features.py torchvision mobilenet_v2 --cache cache/real cache/mine

`callable` runs the code in FILE; nothing else does, since a run's configuration can only name the column. The function
takes a batch as stored in the cache (a uint8 tensor (n, c, h, w), or vectors) and returns (n, d). Afterwards train.py
takes evaluation.extractors=[clip] and data.input=features/clip.
"""

import argparse
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from lfiw.cli import Parser, run_script
from lfiw.errors import InputError
from lfiw.files import location_argument

if TYPE_CHECKING:
    from lfiw.data import SampleCache
    from lfiw.features import Extractor


def main(arguments: list[str]) -> None:
    options = parse(arguments)
    from lfiw.data import SampleCache
    from lfiw.features.extraction import check_columns_can_be_added

    caches = [SampleCache(path) for path in options.cache]
    check_columns_can_be_added(caches)
    if options.source == "npz":
        import_features(options, caches)
    else:
        compute_features(options, caches)


def compute_features(options: argparse.Namespace, caches: "list[SampleCache]") -> None:
    """Computes the rows that the caches lack; a stopped extraction resumes."""
    from lfiw.features.extraction import distinct_caches, extract, has_columns
    from lfiw.schemas import Trainer
    from lfiw.training.trainer import build_trainer

    samples = ["image" if "image" in cache.columns else "vector" for cache in caches]
    for column, cache in zip(samples, caches, strict=True):
        shapes = [tuple(of.column(name).shape) for name, of in ((samples[0], caches[0]), (column, cache))]
        if column != samples[0] or shapes[0] != shapes[1]:
            raise InputError(f"{cache}: {column} {shapes[1]}, but {samples[0]} {shapes[0]} in {caches[0]}")
    extractor = opened(options, tuple(caches[0].column(samples[0]).shape))
    names = extractor.columns.values()
    done = [has_columns(cache, names, extractor.stamp) for cache in caches]
    with TemporaryDirectory() as folder:
        accelerator = "cpu" if options.source == "callable" else "auto"
        trainer = build_trainer(Trainer(accelerator=accelerator), Path(folder), [])
        extract(trainer, extractor, distinct_caches(caches), samples[0], batch_size=options.batch_size, num_workers=0)
    for path, cache, was_there in zip(options.cache, caches, done, strict=True):
        for name in names:
            report(path, cache, name, "already there" if was_there else "added")


def opened(options: argparse.Namespace, shape: tuple[int, ...]) -> "Extractor":
    from lfiw.features import FeatureOptions, build_extractor
    from lfiw.features.called import CalledFeatures

    if options.source != "callable":
        name = f"{options.source}-{options.network}"
        return build_extractor(
            name, shape, FeatureOptions(files=[f"{name}={options.weights}"] if options.weights else [])
        )
    from lfiw.generators.external import find_function

    if not options.callable.rpartition(":")[0].endswith(".py"):
        raise InputError(f"{options.callable!r}: expected FILE.py:FUNCTION")
    function, source = find_function(options.callable)
    return CalledFeatures(
        stored_name(options.name), function, source["sha256"], f"function {options.callable.rpartition(':')[2]}"
    ).eval()


def import_features(options: argparse.Namespace, caches: "list[SampleCache]") -> None:
    """Adds an array that has one row for each row of the cache."""
    import numpy as np
    import torch

    from lfiw.data.cache.shards import hash_file
    from lfiw.data.importers.arrays import choose, load_arrays
    from lfiw.data.precision import precision_needed
    from lfiw.tensors import to_tensor

    if len(caches) > 1:
        raise InputError(f"npz takes one cache, in the order of the file's rows: {len(caches)} are given")
    (cache,), name = caches, f"features/{stored_name(options.name)}"
    arrays = load_arrays(options.file)
    array = arrays[choose(arrays, options.key)]
    if array.ndim != 2 or len(array) != len(cache) or not array.shape[1] or array.dtype.kind not in "iuf":
        raise InputError(
            f"{options.file}: {array.dtype} {array.shape}, expected ({len(cache)}, d) numbers, one row for each of "
            f"{cache.path}"
        )
    values = to_tensor(array.astype(precision_needed(array)))
    if not torch.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values.numpy()).all(1))[0])
        raise InputError(f"{options.file}: row {row:,} has NaN or infinite values")
    # the file differs between caches, and stamps must agree only in sha256 and preprocessing
    stamp = {"name": options.name, "sha256": "", "preprocessing": "given", "file": hash_file(options.file)}
    cache.add_column(name, values, stamp=stamp)
    report(options.cache[0], cache, name, "added")


def stored_name(name: str) -> str:
    """Returns a valid name of stored features; raises InputError if it is that of a built-in extractor."""
    from lfiw.data.cache.manifest import check_column_name
    from lfiw.features import is_computed

    check_column_name(f"features/{name}")
    if is_computed(name):
        raise InputError(f"--name {name}: this is the name of a built-in extractor: choose another")
    return name


def report(path: str, cache: "SampleCache", name: str, what: str) -> None:
    column = cache.column(name)
    print(f"{path}: {name} {what}, {len(cache):,} rows of {column.shape[0]:,} numbers")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="SOURCE", dest="source")
    called = commands.add_parser("callable", help="a Python function of a batch; its code is run")
    called.add_argument("callable", metavar="FILE.py:FUNCTION")
    given = commands.add_parser("npz", help="an array in an .npz or .npy file, one row for each row of the cache")
    given.add_argument("file", type=Path, metavar="FILE")
    given.add_argument("--key", metavar="ARRAY", help="which array of the .npz holds the features")
    for command in (called, given):
        command.add_argument("--name", required=True, metavar="NAME", help="name of the features")
    for library in ("timm", "torchvision"):
        network = commands.add_parser(library, help=f"the pooled features of a network of {library}")
        network.add_argument("network", metavar="NAME", help="the library's name for it")
        network.add_argument("--weights", type=Path, metavar="FILE", help="(default: in the library's cache)")
    for command in commands.choices.values():
        command.add_argument("--cache", type=location_argument, nargs="+", required=True, metavar="DIR")
        command.add_argument("--batch-size", type=int, default=128, metavar="N", help="rows per call (default: 128)")
    return parser.parse_args(arguments)


command = partial(run_script, main, resumes=True)
