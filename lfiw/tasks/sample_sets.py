"""What unweighted sets are made from and written to: log-ratios of a cache's rows, and copies of the chosen ones."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lfiw.data import CacheWriter, SampleCache
from lfiw.data.importers.arrays import load_arrays
from lfiw.data.splits import REAL
from lfiw.errors import InputError
from lfiw.files import user_path
from lfiw.ratio.cross_fitting import log_ratio_column
from lfiw.ratio.mixed import MixedDataModule
from lfiw.tensors import to_tensor

BLOCK = 1000  # rows copied at a time


def log_ratio_of(cache: SampleCache, name: str) -> Float[Tensor, " n"]:
    """Reads the column of that name, or `log_ratio` of an .npz file of tools/score.py, in the order of the rows."""
    if not name.endswith(".npz"):
        column = cache.column(name)
        if column.shape or not column.dtype.is_floating_point:
            raise InputError(f"--log-ratio {name}: expected one number per row, the column has {tuple(column.shape)}")
        return cache[name].double()
    try:
        values = load_arrays(user_path(name))["log_ratio"]
        log_ratio = to_tensor(values, "log_ratio")
    except InputError as error:
        raise InputError(f"--log-ratio {name}: no array log_ratio can be read from it ({error})") from None
    if values.shape != (len(cache),) or values.dtype.kind != "f":
        raise InputError(
            f"--log-ratio {name}: {values.dtype} of shape {values.shape} for the {len(cache):,} rows of {cache.path}: "
            "score the samples of this cache"
        )
    return log_ratio.double()


def real_log_ratio(run: Path, datamodule: MixedDataModule) -> Float[Tensor, " n"]:
    """Returns the log-ratios of the real evaluation rows of a run."""
    datamodule.open_tables()
    datamodule.input = datamodule.samples  # the split needs no features
    datamodule.setup()
    return datamodule.splits["evaluation"][REAL].column(log_ratio_column(run))


def check_has_images(cache: SampleCache) -> None:
    """Raises InputError unless the cache has a column of images."""
    column = cache.column("image") if "image" in cache.columns else None
    if column is None or column.dtype != torch.uint8 or len(column.shape) != 3:
        raise InputError(f"--images: {cache.path} has no column 'image' of uint8 (channels, height, width)")


def copy_rows(
    path: Path, cache: SampleCache, rows: Int64[Tensor, " n"], source: dict[str, Any], overwrite: bool
) -> None:
    """Copies rows to a new cache: base columns, then the columns that were computed later, with their stamps."""
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


def column_blocks(cache: SampleCache, rows: Int64[Tensor, " n"], name: str) -> Iterator[Tensor]:
    """Yields the values of one column in these rows."""
    for part in rows.split(BLOCK):
        yield cache.read(part, [name])[name]
