"""Log-ratios of generated drawings on disk: what a run leaves, and what a user gives."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lfiw.data import SampleCache
from lfiw.data.importers.arrays import load_arrays
from lfiw.errors import InputError
from lfiw.files import replacing
from lfiw.tasks.augmentation.omniglot import OmniglotDataModule
from lfiw.tensors import to_tensor
from lfiw.weighting.weights import FLOAT64, check_log_ratio, check_weights


def save_log_ratio(file: Path, rows: Int64[Tensor, " n"], log_ratio: Float[Tensor, " n"]) -> None:
    """Writes what `read_log_ratio` reads."""
    with replacing(file) as temporary:
        np.savez(temporary, row=rows.numpy(), log_ratio=log_ratio.numpy())


def read_log_ratio(source: str | None, generated: str, datamodule: OmniglotDataModule) -> Float[Tensor, " n"] | None:
    """Log-ratios of the data module's generated rows, from where the configuration says.

    Args:
        source: a column of the cache; or an .npz file with `log_ratio` or `weights`, for every row of the cache, or for
            the rows that `row` names.
        generated: the cache.

    Raises:
        InputError: neither, other rows than the cache's, log-ratios that are not finite, weights that are negative or
            all zero.
    """
    if source is None:
        return None
    rows = datamodule.generated_rows
    try:
        if not source.endswith(".npz"):
            log_ratio = SampleCache(generated)[source].double()[rows]
            check_log_ratio(log_ratio)
            return log_ratio
        arrays = load_arrays(Path(source))
        name = next((name for name in ("log_ratio", "weights") if name in arrays.names()), None)
        if name is None:
            raise InputError("the file has neither log_ratio nor weights")
        values = to_tensor(arrays[name], name).double()
        named = torch.arange(len(SampleCache(generated)))
        if "row" in arrays:
            if arrays["row"].dtype.kind not in "iu" or arrays["row"].ndim != 1:
                raise InputError(f"row is {arrays['row'].dtype} {arrays['row'].shape}, expected whole numbers (n,)")
            named = to_tensor(arrays["row"], "row").long()
        values = values_of_rows(values, named, rows)
        if name == "log_ratio":
            check_log_ratio(values)
            return values
        check_weights(values)
        return values.clamp(min=FLOAT64.tiny).log()
    except InputError as error:
        raise InputError(f"data.log_ratio={source}: {error}") from None


def values_of_rows(
    values: Float[Tensor, "..."], named: Int64[Tensor, " n"], rows: Int64[Tensor, " m"]
) -> Float[Tensor, " m"]:
    """The values of some rows of a cache.

    Args:
        named: the row that each value is of.

    Raises:
        InputError: not one value for each named row, or a row has none.
    """
    if values.shape != named.shape:
        raise InputError(f"{tuple(values.shape)} values for {len(named):,} generated rows: they are of another cache")
    order = named.argsort()
    found = torch.searchsorted(named[order], rows).clamp(max=len(named) - 1)
    missing = int((named[order][found] != rows).sum())
    if missing:
        raise InputError(
            f"{missing:,} of {len(rows):,} generated rows that train have no value: they are of other rows"
        )
    return values[order][found]
