"""One safetensors file: written with its SHA-256 in one pass, read as a memory map.

The layout is eight bytes of header length, a JSON header, then the tensors without gaps. The library's own reader
copies each tensor; here the file is mapped and the header's offsets are viewed in place, so that random rows cost what
they cost in memory.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from math import prod
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor

from lfiw.data.cache.dtypes import BY_CODE, CODES
from lfiw.errors import InputError

MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library
CHUNK_BYTES = 1 << 22  # small enough that what is hashed is still in the processor's cache when it is written


def write_shard(path: Path, tensors: Mapping[str, Tensor]) -> tuple[str, int]:
    """Writes a new file and waits until it is on the disk → (SHA-256, number of bytes).

    Raises:
        OSError: the file exists or cannot be written.
    """
    # Widest type first, as the format's own writer does: every tensor then starts at a multiple of its element size.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header: dict[str, object] = {}
    offset = 0
    for name, tensor in ordered:
        stop = offset + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, stop]}
        offset = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    digest = hashlib.sha256()
    with open(path, "xb", buffering=0) as file:
        pieces = [memoryview(len(text).to_bytes(8, "little") + text), *(as_bytes(tensor) for _, tensor in ordered)]
        for piece in pieces:
            for start in range(0, len(piece), CHUNK_BYTES):
                chunk = piece[start : start + CHUNK_BYTES]
                digest.update(chunk)
                write_all(file.fileno(), chunk)
        os.fsync(file.fileno())
    return digest.hexdigest(), 8 + len(text) + offset


def write_all(descriptor: int, data: memoryview) -> None:
    """`os.write` may write a part only."""
    while data:
        data = data[os.write(descriptor, data) :]


def as_bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().contiguous().flatten().view(torch.uint8).numpy().data


def map_shard(
    path: Path, num_bytes: int, num_rows: int, columns: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]
) -> dict[str, Tensor]:
    """The named columns of a file as views of its memory map, each (num_rows, *shape).

    Raises:
        InputError: the file is missing, truncated, or does not hold these columns.
    """
    try:
        actual = path.stat().st_size
    except FileNotFoundError:
        raise InputError(f"{path}: the shard is missing: write this cache or column again") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if actual != num_bytes:
        raise InputError(
            f"{path}: {actual:,} bytes where the manifest says {num_bytes:,}: the shard was truncated or changed; "
            "write this cache or column again"
        )
    views = open_shard(path, num_bytes)
    found = {name: (view.dtype, list(view.shape)) for name, view in views.items()}
    expected = {name: (dtype, [num_rows, *shape]) for name, (dtype, shape) in columns.items()}
    if found != expected:
        holds = shorten(str(found), 300)
        raise InputError(f"{path}: holds {holds}, the manifest says {expected}: write this cache or column again")
    return views


def open_shard(path: Path, num_bytes: int) -> dict[str, Tensor]:
    """All tensors of a file as views of its memory map.

    The map is private: what is written into a view stays in this process.

    Raises:
        InputError: not a safetensors file, or a tensor does not lie inside it.
    """
    try:
        # Keeps no file descriptor, so thousands of shards can stay open. By one: torch takes only names that are UTF-8.
        with open(path, "rb") as file:
            name = f"/dev/fd/{file.fileno()}"
            content = torch.from_file(name, shared=False, size=num_bytes, dtype=torch.uint8)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be mapped ({error})") from None
    length = int.from_bytes(content[:8].numpy().tobytes(), "little")
    if not 2 <= length <= min(MAX_HEADER_BYTES, num_bytes - 8):
        raise InputError(f"{path}: not a safetensors file (header of {length} bytes): write this cache or column again")
    try:
        header = json.loads(content[8 : 8 + length].numpy().tobytes())
        header.pop("__metadata__", None)
        return {name: view_of(content[8 + length :], entry) for name, entry in header.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, OverflowError):
        raise InputError(f"{path}: its header is broken: write this cache or column again") from None


def view_of(data: Tensor, entry: dict[str, Any]) -> Tensor:
    """The tensor that a header entry describes; `data` is what its offsets count in.

    Raises:
        ValueError, TypeError, KeyError: the entry is not one, or leads outside the file.
    """
    dtype, shape = BY_CODE[entry["dtype"]], entry["shape"]
    start, stop = entry["data_offsets"]
    if any(type(number) is not int or number < 0 for number in (*shape, start, stop)):
        raise ValueError("sizes and offsets are whole numbers")
    if stop > len(data) or stop - start != prod(shape) * dtype.itemsize:
        raise ValueError("the tensor does not lie inside the file")
    if (data.storage_offset() + start) % dtype.itemsize:
        raise ValueError("the tensor does not start at a multiple of its element size")
    return data[start:stop].view(dtype).view(shape)


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
