"""`.npz` and `.npy` files. Pickled content is never loaded."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy.lib import format as npy
from torch import Tensor

from lfiw.data.cache.shards import hash_file
from lfiw.data.importers import Imported
from lfiw.data.importers.pixels import RANGES, Pixels, extremes, find_axes, find_range, rows_first
from lfiw.data.precision import precision_needed
from lfiw.errors import InputError, first_line, printable
from lfiw.tensors import RowArray, check_numbers, in_blocks
from lfiw.untrusted import Archive

LABEL_KEYS = ("labels", "label", "targets", "y")


@dataclass(frozen=True)
class Labels:
    """Classes of samples.

    Attributes:
        name: of the array that they come from.
        values: one for each sample, from 0.
        note: what they were, if not whole numbers (N,).
    """

    name: str
    values: Int64[Tensor, " n"]
    note: str


def find_labels(arrays: Mapping[str, np.ndarray], chosen: str, rows: int) -> tuple[Labels | None, dict[str, str]]:
    """Finds the first array of a usual name that holds classes, and why those before it do not: name → reason."""
    refused: dict[str, str] = {}
    for key in LABEL_KEYS:
        for name in (name for name in arrays if name.lower() == key and name != chosen):
            try:
                return read_labels(name, arrays[name], rows), refused
            except InputError as error:
                refused[name] = str(error)
    return None, refused


def read_labels(name: str, array: np.ndarray, rows: int) -> Labels:
    """Reads whole numbers from 0 of any type, (N,) or (N, 1), or one-hot rows (N, K).

    Raises:
        InputError: with the reason alone, if they are anything else.
    """
    check_numbers(array, "it")
    if array.shape[:1] != (rows,) or array.ndim > 2 or 0 in array.shape:
        raise InputError(f"{array.dtype} {array.shape}: expected one class for each of {rows:,} samples")
    note = "" if array.dtype.kind in "iu" else f"{array.dtype} of whole numbers"
    if array.ndim == 2 and array.shape[1] > 1:
        if not (np.isin(array, (0, 1)).all() and (np.count_nonzero(array, axis=1) == 1).all()):
            raise InputError(f"{array.dtype} {array.shape}: neither one class for each sample nor one-hot rows")
        return Labels(name, torch.from_numpy(array.argmax(1).astype(np.int64)), f"one-hot of {array.shape[1]}")
    values = array.reshape(rows)
    if not (np.isfinite(values).all() and (values == np.rint(values)).all()):
        raise InputError(f"{array.dtype}, not all whole numbers")
    if values.min() < 0 or values.max() > np.iinfo(np.int64).max // 2:
        raise InputError(f"from {values.min()} to {values.max()}, expected classes from 0")
    return Labels(name, torch.from_numpy(values.astype(np.int64)), note)


SAMPLE_KEYS = ("images", "image", "vector", "samples", "sample", "x", "data", "arr_0")
KEPT = ("log_ratio", "weight")  # of an export: columns of the cache, beside the samples
HEADERS = {(1, 0): (2, npy.read_array_header_1_0), (2, 0): (4, npy.read_array_header_2_0)}  # bytes of their length
MAX_HEADER_BYTES = 10_000  # as numpy's own limit
OBJECTS = "holds pickled Python objects, which are never loaded"
NOT_ARRAYS = (ValueError, OSError, EOFError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError)


class Arrays(dict[str, np.ndarray]):
    """The arrays of a file by name.

    Attributes:
        path: of the file.
        left_out: name → why, of what is no array that can be loaded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.left_out: dict[str, str] = {}

    def names(self) -> list[str]:
        """Lists all that is there, left out or not."""
        return [*self, *self.left_out]

    def __missing__(self, name: str) -> np.ndarray:
        """Raises InputError."""
        if name in self.left_out:
            raise InputError(f"{self.path}: {name} {self.left_out[name]}: save arrays")
        raise InputError(f"{self.path}: there is no array {name} in it")


def import_arrays(
    path: Path, key: str | None = None, layout: str | None = None, value_range: str | None = None
) -> Imported:
    """Samples in an `.npz` or `.npy` file.

    Images of three or four axes become the column `image`, uint8 (N, C, H, W); rows of numbers (N, D) become `vector`,
    float32, or float64 if a column's values need it. In an `.npz`, classes under `labels`, `label`, `targets` or `y`
    become `label` (`read_labels`); one float per sample under `log_ratio` and `weight`, as an export has them, stays;
    any other array is named as ignored.

    Args:
        key: which array of an `.npz` holds the samples; needed if it is not the only one and has no usual name.
        layout: "nchw", "nhwc", "nhw" or "hwcn", detected by default.
        value_range: "unit", "signed" or "byte", detected by default.

    Raises:
        InputError: the file cannot be read, or it is not clear what is in it.
    """
    arrays = load_arrays(path)
    chosen = choose(arrays, key)
    samples = arrays[chosen]
    try:
        check_numbers(samples, chosen)
        moved = [f"layout HWCN as given, shape {samples.shape}: samples first"] if layout == "hwcn" else []
        samples, layout = rows_first(samples, layout)
        if samples.ndim < 1 or 0 in samples.shape:
            raise InputError(f"{chosen} has shape {samples.shape}: there are no samples in it")
        column, read, notes = reader(samples, layout, value_range)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    labels, refused = find_labels(arrays, chosen, len(samples))
    if labels and labels.note:
        notes.append(f"labels from {labels.name}, {labels.note}")
    notes = moved + notes
    kept = {
        name: array
        for name, array in arrays.items()
        if name in KEPT and name != chosen and array.shape == (len(samples),) and array.dtype.kind == "f"
    }
    if kept:
        notes.append(f"columns kept: {', '.join(kept)}")
    others = {name: f"{array.dtype} {array.shape}" for name, array in arrays.items()} | refused | arrays.left_out
    used = (chosen, labels and labels.name, *kept)
    ignored = [f"{name} ({why})" for name, why in others.items() if name not in used]
    if ignored:
        notes.append(f"ignored: {', '.join(ignored)}")

    def rows(start: int, stop: int) -> dict[str, Tensor]:
        block = {column: read(samples[start:stop])}
        if labels is not None:
            block["label"] = labels.values[start:stop]
        return block | {name: as_float(array[start:stop], np.float64) for name, array in kept.items()}

    source = {"file": printable(path.name), "sha256": hash_file(path), "array": chosen, "notes": notes}
    return Imported(source, tuple(notes), len(samples), rows)


def load_arrays(path: Path) -> Arrays:
    """Loads the arrays of a file; an `.npy` has one, called by the file's stem, and is mapped.

    Raises:
        InputError: missing, not such a file, or an `.npy` of pickled objects.
    """
    if path.suffix not in (".npz", ".npy"):
        raise InputError(f"{path}: expected a .npz or .npy file")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    arrays = Arrays(path)
    try:
        if path.suffix == ".npz":
            with Archive(path) as archive:
                for member in archive.members:
                    add_member(arrays, archive, member)
            return arrays
        with open(path, "rb") as file:
            if check_header(file, path.stat().st_size).hasobject:
                raise InputError(f"{path}: {OBJECTS}: save arrays")
        arrays[path.stem] = np.load(path, mmap_mode="r", allow_pickle=False)
        return arrays
    except InputError:
        raise
    except NOT_ARRAYS as error:
        raise InputError(f"{path}: cannot be read, damaged or not a {path.suffix} file ({first_line(error)})") from None


def add_member(arrays: Arrays, archive: Archive, member: str) -> None:
    """Loads one array of an archive; what is none, or holds Python objects, is left out.

    Raises:
        ValueError, …: it is damaged, or its header asks for more than is there.
    """
    if not member.endswith(".npy"):
        arrays.left_out[member] = "is no array"
        return
    name = member.removesuffix(".npy")
    with archive.open(member) as file:
        if check_header(file, archive.members[member].file_size).hasobject:
            arrays.left_out[name] = OBJECTS
            return
    with archive.open(member) as file:
        arrays[name] = npy.read_array(file, allow_pickle=False)  # type: ignore[arg-type]


def check_header(file: Any, size: int) -> np.dtype:
    """Reads the type in the header of an array file; what it asks for must be there before memory is set aside.

    Args:
        size: of the file in bytes.

    Raises:
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
        return dtype
    there = size - npy.MAGIC_LEN - length_bytes - length
    if min(shape, default=0) < 0 or prod(shape) * dtype.itemsize > there:
        raise ValueError(f"{dtype} of shape {shape} would be {prod(shape) * dtype.itemsize:,} bytes, it has {there:,}")
    return dtype


def choose(arrays: Arrays, key: str | None) -> str:
    """Names the array that holds the samples."""
    there = {name: str(array.shape) for name, array in arrays.items()} | arrays.left_out
    names = ", ".join(f"{name} {what}" for name, what in there.items())
    if not there:
        raise InputError(f"{arrays.path}: there is no array in it")
    if key is not None:
        if key not in there:
            raise InputError(f"{arrays.path}: no array {key!r}: it has {names}")
        return key
    if len(there) == 1:
        return next(iter(there))
    usual = [name for name in there if name.lower() in SAMPLE_KEYS]
    if len(usual) != 1:
        raise InputError(f"{arrays.path}: which array holds the samples? Give --key NAME, one of: {names}")
    return usual[0]


def reader(samples: RowArray, layout: str | None, value_range: str | None) -> tuple[str, Any, list[str]]:
    """Returns column name, a function from a block to its tensor, and what was detected.

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
        column = ": for vectors of one number save array[:, None]" if samples.ndim == 1 else ""
        raise InputError(
            f"shape {samples.shape}: expected images (N, H, W), (N, C, H, W), (N, H, W, C) or vectors (N, D){column}"
        )
    axes, layout_note = find_axes(samples.shape, layout)
    found = find_range(samples, value_range)
    return "image", Pixels(axes, *RANGES[found.name]).read, [layout_note, found.note]


def as_float(block: np.ndarray, dtype: type[np.floating]) -> Tensor:
    return torch.from_numpy(block.astype(dtype))
