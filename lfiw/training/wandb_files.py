"""What W&B has kept of a run on the disk: `run-ID.wandb`, a LevelDB log of protocol buffers behind a header."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADER, BLOCK = 7, 32_768
PIECE = struct.Struct("<IHB")  # checksum, length, kind
WHOLE, LAST = 1, 4


def next_step(folder: Path) -> int:
    """The `_step` after the last one of all parts of a run, offline or not, that are kept in its folder."""
    steps = [
        record.history.step.num
        for file in folder.glob("wandb/*run-*/*.wandb")
        for record in records(file)
        if record.HasField("history")
    ]
    return max(steps, default=-1) + 1


def records(file: Path) -> Iterator[Any]:
    """The records of a part, up to where a kill has cut it."""
    from wandb.proto import wandb_internal_pb2

    try:
        for piece in pieces(file.read_bytes()):
            yield wandb_internal_pb2.Record.FromString(piece)  # type: ignore[attr-defined]
    except Exception:  # whatever is no record: protobuf's DecodeError, which is in a package of its own
        return


def pieces(content: bytes) -> Iterator[bytes]:
    """The entries of a LevelDB log."""
    place, pending = HEADER, b""
    while place + PIECE.size <= len(content):
        left = BLOCK - place % BLOCK
        if left < PIECE.size:  # too short for another piece: filled with zeros
            place += left
            continue
        _, length, kind = PIECE.unpack_from(content, place)
        place += PIECE.size
        pending += content[place : place + length]
        place += length
        if place <= len(content) and kind in (WHOLE, LAST):
            yield pending
            pending = b""
