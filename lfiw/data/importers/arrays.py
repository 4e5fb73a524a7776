"""`.npz` and `.npy` files. Pickled content is never loaded."""

import io
from collections.abc import Iterator, Mapping
from functools import partial
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from lfiw.archives import Archive
from lfiw.data.cache.shards import hash_file
from lfiw.data.importers.imported import BLOCK_ROWS, Imported
from lfiw.data.importers.pixels import Pixels, extremes, find_axes, find_range
from lfiw.errors import InputError, first_line

SAMPLE_KEYS = ("images", "image", "samples", "sample", "x", "data", "arr_0")
LABEL_KEYS = ("labels", "label", "targets", "y")
PRECISION = 1e-6  # of a column's spread: rounding that vectors may suffer
EXACT = 2**53  # whole numbers up to here are exact in float64
HEADERS = {(1, 0): (2, npy.read_array_header_1_0), (2, 0): (4, npy.read_array_header_2_0)}  # bytes of their length
MAX_HEADER_BYTES = 10_000  # as numpy's own limit
NOT_ARRAYS = (ValueError, OSError, EOFError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError)


def import_arrays(
    path: Path, key: str | None = None, layout: str | None = None, value_range: str | None = None
) -> Imported:
    """Samples in an `.npz` or `.npy` file.

    Images of three or four axes become the column `image`, uint8 (N, C, H, W); rows of numbers (N, D) become `vector`,
    float32, or float64 if a column's values need it. In an `.npz`, whole numbers (N,) under `labels`, `label`,
    `targets` or `y` become `label`.

    Args:
        key: which array of an `.npz` holds the samples; needed if it is not the only one and has no usual name.
        layout: "nchw" or "nhwc", detected by default.
        value_range: "unit", "signed" or "byte", detected by default.

    Raises:
        InputError: the file cannot be read, or it is not clear what is in it.
    """
    arrays = load_arrays(path)
    chosen = choose(path, arrays, key)
    samples = arrays[chosen]
    if samples.ndim < 1 or 0 in samples.shape:
        raise InputError(f"{path}: {chosen} has shape {samples.shape}: there are no samples in it")
    try:
        column, read, notes = reader(samples, layout, value_range)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    labels = find_labels(arrays, chosen, len(samples))
    ignored = [name for name in arrays if name != chosen and name != labels]
    if ignored:
        notes = [*notes, f"ignored: {', '.join(ignored)}"]

    def rows(start: int, stop: int) -> dict[str, Tensor]:
        block = {column: read(samples[start:stop])}
        if labels is not None:
            block["label"] = torch.from_numpy(arrays[labels][start:stop].astype(np.int64))
        return block

    source = {"file": path.name, "sha256": hash_file(path), "array": chosen, "notes": notes}
    return Imported(source, tuple(notes), len(samples), rows)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by name; an `.npy` has one, called by the file's stem, and is mapped.

    Raises:
        InputError: missing, not such a file, or it holds pickled objects.
    """
    if path.suffix not in (".npz", ".npy"):
        raise InputError(f"{path}: expected a .npz or .npy file")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        if path.suffix == ".npz":
            with Archive(path) as archive:
                return {name.removesuffix(".npy"): read_member(archive, name) for name in archive.members}
        with open(path, "rb") as file:
            check_header(path, file, path.stat().st_size)
        return {path.stem: np.load(path, mmap_mode="r", allow_pickle=False)}
    except InputError:
        raise
    except NOT_ARRAYS as error:
        raise InputError(f"{path}: cannot be read, damaged or not a {path.suffix} file ({first_line(error)})") from None


def read_member(archive: Archive, name: str) -> np.ndarray:
    """One array of an archive.

    Raises:
        InputError: it holds Python objects.
        ValueError, …: it is none, or its header asks for more than is there.
    """
    with archive.open(name) as member:
        check_header(archive.path, member, archive.members[name].file_size)
    with archive.open(name) as member:
        return npy.read_array(member, allow_pickle=False)  # type: ignore[arg-type]


def check_header(path: Path, file: Any, size: int) -> None:
    """Reads the header of an array file; what it asks for must be there before memory is set aside for it.

    Args:
        path: for messages.
        size: of the file in bytes.

    Raises:
        InputError: it is of Python objects.
        ValueError, …: it is none.
    """
    version = npy.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"version {version} of the format, expected 1.0 or 2.0")
    length_bytes, read_header = HEADERS[version]
    text = file.read(length_bytes)
    length = int.from_bytes(text, "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"a header of {length:,} bytes, at most {MAX_HEADER_BYTES:,}")
    shape, _, dtype = read_header(io.BytesIO(text + file.read(length)))
    if dtype.hasobject:
        raise InputError(f"{path}: holds pickled Python objects, which are never loaded: save arrays")
    there = size - npy.MAGIC_LEN - length_bytes - length
    if min(shape, default=0) < 0 or prod(shape) * dtype.itemsize > there:
        raise ValueError(f"{dtype} of shape {shape} would be {prod(shape) * dtype.itemsize:,} bytes, it has {there:,}")


def choose(path: Path, arrays: Mapping[str, np.ndarray], key: str | None) -> str:
    """Name of the array that holds the samples."""
    names = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    if not arrays:
        raise InputError(f"{path}: there is no array in it")
    if key is not None:
        if key not in arrays:
            raise InputError(f"{path}: no array {key!r}: it has {names}")
        return key
    if len(arrays) == 1:
        return next(iter(arrays))
    usual = [name for name in SAMPLE_KEYS if name in arrays]
    if len(usual) != 1:
        raise InputError(f"{path}: which array holds the samples? Give --key NAME, one of: {names}")
    return usual[0]


def find_labels(arrays: Mapping[str, np.ndarray], chosen: str, rows: int) -> str | None:
    """Name of the array of class labels: whole numbers, one a sample, under a usual name."""
    for name in LABEL_KEYS:
        if name != chosen and name in arrays and arrays[name].dtype.kind in "iu" and arrays[name].shape == (rows,):
            return name
    return None


def reader(samples: np.ndarray, layout: str | None, value_range: str | None) -> tuple[str, Any, list[str]]:
    """Column name, a function from a block to its tensor, and what was detected.

    Raises:
        InputError: neither images nor vectors.
    """
    if samples.ndim == 2:
        if layout or value_range:
            raise InputError(f"shape {samples.shape} holds vectors, not images: leave out --layout and --range")
        if samples.dtype.kind not in "iuf":
            raise InputError(f"the values are {samples.dtype}, expected numbers")
        least, most = extremes(in_blocks(samples))
        if max(-least, most) > float(np.finfo(np.float32).max):
            raise InputError(f"the values go from {least:.6g} to {most:.6g}, more than float32 can hold: rescale them")
        dtype = precision_needed(samples)
        note = (
            f"vectors of {samples.shape[1]} numbers, {samples.dtype} kept as {np.dtype(dtype)} "
            f"(found {least:.6g} to {most:.6g})"
        )
        return "vector", partial(as_float, dtype=dtype), [note]
    if samples.ndim not in (3, 4):
        raise InputError(
            f"shape {samples.shape}: expected images (N, H, W), (N, C, H, W), (N, H, W, C) or vectors (N, D)"
        )
    axes, layout_note = find_axes(samples.shape, layout)
    low, high, range_note = find_range(in_blocks(samples), samples.dtype, value_range)
    return "image", Pixels(axes, low, high).read, [layout_note, range_note]


def in_blocks(samples: np.ndarray) -> Iterator[np.ndarray]:
    return (samples[start : start + BLOCK_ROWS] for start in range(0, len(samples), BLOCK_ROWS))


def as_float(block: np.ndarray, dtype: type[np.floating]) -> Tensor:
    return torch.from_numpy(block.astype(dtype))


def precision_needed(samples: np.ndarray) -> type[np.floating]:
    """float32 where it rounds every column by at most a millionth of the column's spread, else float64.

    Raises:
        InputError: float64 would round a column by more than that (whole numbers above 2⁵³, longdouble).
    """
    if np.can_cast(samples.dtype, np.float32):
        return np.float32
    first = samples[0].astype(np.float64)
    largest, rounding, total, squares = (np.zeros(samples.shape[1]) for _ in range(4))
    constant = np.ones(samples.shape[1], dtype=bool)
    for block in in_blocks(samples):
        wide = block.astype(np.float64)
        largest = np.maximum(largest, np.abs(wide).max(0))
        rounding = np.maximum(rounding, np.abs(wide - wide.astype(np.float32)).max(0))
        constant &= (block == samples[0]).all(0)
        shifted = wide - first  # squares of values far from zero would lose their spread
        total += shifted.sum(0)
        squares += np.square(shifted).sum(0)
    mean = total / len(samples)
    spread = np.sqrt(np.maximum(squares / len(samples) - mean**2, 0))
    wider = samples.dtype.itemsize > 8 or (samples.dtype.kind in "iu" and largest.max() > EXACT)
    if wider:
        lost = ~constant & (np.finfo(np.float64).eps / 2 * largest > PRECISION * spread)
        if lost.any():
            j = int(lost.argmax())
            raise InputError(
                f"number {j} of the vectors lies near {first[j] + mean[j]:.6g} with a spread of about {spread[j]:.2g}, "
                f"finer than float64 can hold there: subtract {samples[0, j]} from it in both files, as {samples.dtype}"
            )
    return np.float32 if (rounding <= PRECISION * spread).all() else np.float64
