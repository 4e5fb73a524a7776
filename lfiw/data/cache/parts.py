"""Unfinished columns: files of the rows computed so far, by any process, in any order.

A part of consecutive rows holds `values` alone, so that it can become a shard of the finished column by a rename;
other parts hold `rows` too. The name tells first row, last row + 1, rank and SHA-256, and is given only when the file
is whole: the list of files is the journal.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from secrets import token_hex

import torch
from jaxtyping import Int64
from torch import Tensor

from lfiw.data.cache.manifest import VALUES, Layout
from lfiw.data.cache.shards import open_shard, write_shard
from lfiw.errors import InputError

ROWS = "rows"
NAME = re.compile(r"(\d{12})-(\d{12})-(\d{5})-([0-9a-f]{64})\.safetensors")


@dataclass(frozen=True, eq=False)
class Part:
    """One file with the values of some rows, all of them start ≤ row < stop."""

    path: Path
    start: int
    stop: int
    sha256: str
    num_bytes: int
    values: Tensor  # (rows, …), mapped
    rows: Tensor | None  # (rows,) ascending; None: start, start + 1, … stop - 1

    @property
    def layout(self) -> Layout:
        return self.values.dtype, tuple(self.values.shape[1:])

    def row_numbers(self) -> Int64[Tensor, " n"]:
        return torch.arange(self.start, self.stop) if self.rows is None else self.rows


def write_part(folder: Path, rank: int, rows: Int64[Tensor, " n"], values: Tensor) -> None:
    """Writes the values of some rows, in any order, as one part."""
    rows, order = torch.sort(rows, stable=True)
    values = values[order]
    consecutive = bool((rows.diff() == 1).all())
    tensors = {VALUES: values} if consecutive else {VALUES: values, ROWS: rows}
    temporary = folder / f".part~{token_hex(8)}"
    sha256, _ = write_shard(temporary, tensors)
    os.replace(temporary, folder / f"{int(rows[0]):012d}-{int(rows[-1]) + 1:012d}-{rank:05d}-{sha256}.safetensors")


def read_parts(folder: Path) -> list[Part]:
    """The parts in a folder, by first row. One that is not whole is left out: its rows are computed again."""
    parts = []
    for path in sorted(folder.iterdir()):
        if match := NAME.fullmatch(path.name):
            size = path.stat().st_size
            with contextlib.suppress(InputError):
                tensors = open_shard(path, size)
                parts.append(
                    Part(path, int(match[1]), int(match[2]), match[4], size, tensors[VALUES], tensors.get(ROWS))
                )
    return parts


def ranges_of(rows: Int64[Tensor, " n"]) -> list[tuple[int, int]]:
    """Ascending row numbers → (start, stop) of each run of consecutive ones."""
    cuts = (torch.nonzero(rows.diff() > 1).squeeze(1) + 1).tolist()
    edges = [0, *cuts, len(rows)]
    return [(int(rows[a]), int(rows[b - 1]) + 1) for a, b in pairwise(edges) if a < b]


def joined(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same rows in the fewest ranges, ascending."""
    result: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(stop, result[-1][1]))
        else:
            result.append((start, stop))
    return result


def complement(ranges: Sequence[tuple[int, int]], num_rows: int) -> list[tuple[int, int]]:
    """The rows below `num_rows` in none of the ranges, which are ascending and do not overlap."""
    edges = [0, *(edge for pair in ranges for edge in pair), num_rows]
    return [(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True) if start < stop]


def covered(parts: Sequence[Part]) -> list[tuple[int, int]]:
    """The ranges of rows that some part holds."""
    consecutive = [(part.start, part.stop) for part in parts if part.rows is None]
    scattered = [pair for part in parts if part.rows is not None for pair in ranges_of(part.rows)]
    return joined(consecutive + scattered)


def disjoint(parts: Sequence[Part]) -> list[Part]:
    """Parts of consecutive rows that do not overlap, ascending: these need no rewriting."""
    chosen: list[Part] = []
    for part in sorted(parts, key=lambda part: part.start):
        if part.rows is None and part.start >= (chosen[-1].stop if chosen else 0):
            chosen.append(part)
    return chosen


def merged_blocks(
    parts: Sequence[Part], ranges: Sequence[tuple[int, int]], block_rows: int
) -> Iterator[tuple[int, Tensor]]:
    """Rewrites rows that lie in several parts: (first row, values) blocks of at most `block_rows`, in row order.

    A row that is in two parts is taken from the later one; both hold the same number where the computation is the same.

    Raises:
        InputError: rows of the ranges are in no part.
    """
    if not ranges:
        return
    none = torch.empty(0, dtype=torch.int64)
    rows = torch.cat([none, *(part.row_numbers() for part in parts)])
    part_of = torch.cat([none, *(torch.full((len(part.values),), number) for number, part in enumerate(parts))])
    place = torch.cat([none, *(torch.arange(len(part.values)) for part in parts)])
    rows, order = torch.sort(rows, stable=True)
    last = torch.ones(len(rows), dtype=torch.bool)
    last[:-1] = rows.diff() > 0
    rows, order = rows[last], order[last]
    part_of, place = part_of[order], place[order]
    for first, end in ranges:
        for start in range(first, end, block_rows):
            stop = min(start + block_rows, end)
            low, high = torch.searchsorted(rows, torch.tensor([start, stop])).tolist()
            if high - low != stop - start:
                raise InputError(f"rows {start:,} to {stop - 1:,} are not all computed: run it again to finish them")
            values = torch.empty((stop - start, *parts[0].values.shape[1:]), dtype=parts[0].values.dtype)
            for number in part_of[low:high].unique().tolist():
                here = part_of[low:high] == number
                values[here] = parts[number].values[place[low:high][here]]
            yield start, values
