"""`npz FILE`: samples in an array file."""

import argparse
from typing import TYPE_CHECKING

from lfiw.data.importers.commands import NPZ, add_npz_arguments, import_file

if TYPE_CHECKING:
    from lfiw.generators.generator import Generator

SUMMARY = NPZ
add_arguments = add_npz_arguments


def open_source(options: argparse.Namespace) -> "Generator":
    from lfiw.generators.recorded import RecordedSamples

    return RecordedSamples(import_file(options))
