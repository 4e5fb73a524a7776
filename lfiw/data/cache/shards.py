"""Safetensors files, written together with their SHA-256 and read as memory maps; and columns that span several.

The files are not written by `save_file`: the hash would need a second pass, and its exceptions lack the number of the
system's error, such as that of a full disk.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from textwrap import shorten

import numpy as np
import torch
from jaxtyping import Int64
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lfiw.data.cache.manifest import CODES, Layout, Shard
from lfiw.errors import InputError, first_line

SHARD_BYTES = 64 << 20
CHUNK_BYTES = 1 << 22  # small enough that hashed bytes are still in the processor's cache when they are written
RESIDENT_BYTES = 1 << 24  # columns of several pieces up to this size are joined in memory, once
AGAIN = "write this cache or column again"


def rows_per_shard(layouts: Mapping[str, Layout], shard_bytes: int) -> int:
    row_bytes = sum(dtype.itemsize * torch.Size(shape).numel() for dtype, shape in layouts.values())
    return max(1, shard_bytes // row_bytes)


class RowBuffer:
    """Memory for `capacity` rows of some columns; blocks are copied in, so callers may reuse theirs."""

    def __init__(self, layouts: Mapping[str, Layout], capacity: int) -> None:
        self.capacity = capacity
        self.filled = 0
        self._columns = {name: torch.empty((capacity, *shape), dtype=dtype) for name, (dtype, shape) in layouts.items()}

    def put(self, block: Mapping[str, Tensor], start: int = 0) -> int:
        """Copies rows of a block from `start` on, as many as fit; returns their number."""
        size = min(len(next(iter(block.values()))) - start, self.capacity - self.filled)
        for name, column in self._columns.items():
            column[self.filled : self.filled + size].copy_(block[name][start : start + size].detach())
        self.filled += size
        return size

    def fill(self, block: Mapping[str, Tensor]) -> Iterator[None]:
        """Copies all rows of a block; yields whenever the memory is full, for the caller to `take` them."""
        start, size = 0, len(next(iter(block.values())))
        while start < size:
            start += self.put(block, start)
            if self.filled == self.capacity:
                yield

    def take(self) -> dict[str, Tensor]:
        """Returns the collected rows, valid until the next `put`: name → (rows, …)."""
        filled, self.filled = self.filled, 0
        return {name: column[:filled] for name, column in self._columns.items()}


def write_shard(path: Path, tensors: Mapping[str, Tensor]) -> tuple[str, int]:
    """Writes a new file and waits until it is on the disk; returns SHA-256 and number of bytes.

    Raises:
        OSError: the file exists or cannot be written.
    """
    # Widest type first, as the format's own writer does: every tensor then starts at a multiple of its element size.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header: dict[str, object] = {}
    offset = 0
    for name, tensor in ordered:
        stop = offset + tensor.nbytes
        header[name] = {"dtype": CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, stop]}
        offset = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    digest = hashlib.sha256()
    with open(path, "xb", buffering=0) as file:
        for piece in (memoryview(len(text).to_bytes(8, "little") + text), *(as_bytes(tensor) for _, tensor in ordered)):
            for start in range(0, len(piece), CHUNK_BYTES):
                chunk = piece[start : start + CHUNK_BYTES]
                digest.update(chunk)
                write_all(file.fileno(), chunk)
        os.fsync(file.fileno())
    return digest.hexdigest(), 8 + len(text) + offset


def write_all(descriptor: int, data: memoryview) -> None:
    """Writes everything; `os.write` alone may write only a part."""
    while data:
        data = data[os.write(descriptor, data) :]


def as_bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().contiguous().flatten().view(torch.uint8).numpy().data


def map_shard(path: Path, shard: Shard, layouts: Mapping[str, Layout]) -> dict[str, Tensor]:
    """Returns the columns of the shard at `path` as views of its memory map, each (rows, …).

    Raises:
        InputError: the file is missing, truncated, or does not hold these columns.
    """
    try:
        actual = path.stat().st_size
    except FileNotFoundError:
        raise InputError(f"{path}: the shard is missing: {AGAIN}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if actual != shard.num_bytes:
        raise InputError(
            f"{path}: {actual:,} bytes where the manifest says {shard.num_bytes:,}: the shard was truncated or "
            f"changed; {AGAIN}"
        )
    views = open_shard(path)
    stored = {name: (view.dtype, list(view.shape)) for name, view in views.items()}
    expected = {name: (dtype, [shard.num_rows, *shape]) for name, (dtype, shape) in layouts.items()}
    if stored != expected:
        raise InputError(f"{path}: holds {shorten(str(stored), 300)}, the manifest says {expected}: {AGAIN}")
    return views


def open_shard(path: Path) -> dict[str, Tensor]:
    """Returns all tensors of a file as views of its memory map; the file does not stay open.

    The map is private: what is written into a view stays in this process.

    Raises:
        InputError: it is not a safetensors file, or a tensor does not lie inside it.
    """
    try:
        # by its descriptor, since the library takes only UTF-8 names
        with open(path, "rb") as opened, safe_open(f"/dev/fd/{opened.fileno()}", framework="pt") as file:
            views = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{path}: not a safetensors file ({shorten(first_line(error), 200)}): {AGAIN}") from None
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be mapped ({first_line(error)})") from None
    if any(view.data_ptr() % view.element_size() for view in views.values()):  # the library does not check it
        raise InputError(f"{path}: a tensor does not start at a multiple of its element size: {AGAIN}")
    return views


def hash_file(path: Path) -> str:
    """Returns the SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class PiecedColumn:
    """A column of (rows, …) that lies in consecutive pieces; each piece is a view of a memory map."""

    def __init__(self, pieces: Sequence[Tensor]) -> None:
        self.pieces = tuple(pieces)
        self._joined: Tensor | None = pieces[0] if len(pieces) == 1 else None
        self._is_small = sum(piece.nbytes for piece in pieces) <= RESIDENT_BYTES

    def whole(self) -> Tensor:
        """Returns all rows: the map itself if there is one piece, otherwise a copy."""
        return self.pieces[0] if len(self.pieces) == 1 else torch.cat(self.pieces)

    def take(self, plan: "Plan") -> Tensor:
        """Copies the planned rows."""
        if self._joined is None and self._is_small:
            self._joined = self.whole()
        if self._joined is not None:
            return self._joined.index_select(0, plan.rows)
        # numpy's calls cost less than torch's, and there is one per piece; each row is one opaque value, so that any
        # element type works
        gathered = np.empty(len(plan.rows), dtype=self._opaque[0].dtype)
        for piece, rows, places in plan.groups:
            gathered[places] = self._opaque[piece][rows]
        first = self.pieces[0]
        return torch.from_numpy(gathered.view(np.uint8)).view(first.dtype).view(-1, *first.shape[1:])

    @cached_property
    def _opaque(self) -> list[np.ndarray]:
        row_bytes = self.pieces[0][0].nbytes
        return [piece.flatten().view(torch.uint8).numpy().view(f"V{row_bytes}") for piece in self.pieces]

    def range(self, start: int, stop: int, bounds: Int64[Tensor, " pieces_plus_1"]) -> Tensor:
        """Copies rows start to stop."""
        first = min(int(torch.searchsorted(bounds, start, right=True)) - 1, len(self.pieces) - 1)
        last = max(int(torch.searchsorted(bounds, stop)), first + 1)
        offsets = bounds[first:last].tolist()
        pieces = self.pieces[first:last]
        return torch.cat(
            [piece[max(start - offset, 0) : stop - offset] for piece, offset in zip(pieces, offsets, strict=True)]
        )


class Plan:
    """Which rows come from which piece; shared by all columns with the same bounds.

    Args:
        rows: row numbers of the table.
        bounds: first row of each piece, then the number of rows.
    """

    def __init__(self, rows: Int64[Tensor, " n"], bounds: Int64[Tensor, " pieces_plus_1"]) -> None:
        self.rows = rows
        self._bounds = bounds.numpy()

    @cached_property
    def groups(self) -> list[tuple[int, np.ndarray, np.ndarray]]:
        """Returns (piece, rows of that piece, their places in the result) for each piece that is needed."""
        pieces = np.searchsorted(self._bounds, self.rows.numpy(), side="right") - 1
        places = np.argsort(pieces, kind="stable")
        pieces = pieces[places]
        rows = self.rows.numpy()[places] - self._bounds[pieces]
        needed, starts = np.unique(pieces, return_index=True)
        edges = pairwise([*starts.tolist(), len(rows)])
        return [
            (piece, rows[start:stop], places[start:stop])
            for piece, (start, stop) in zip(needed.tolist(), edges, strict=True)
        ]
