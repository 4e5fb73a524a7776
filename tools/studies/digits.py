"""The default experiment, over seeds: another split, another generator and another classifier each."""

from collections.abc import Sequence
from pathlib import Path

from .kept import Kept
from .repeated import Row, pictures_of, repeat, rows_of


def run(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Rows named by weighting; the pictures are those of seed 0."""
    found, folders = repeat("digits", seeds, overrides, kept)
    return rows_of(found), pictures_of(folders[0])
