"""`zip FILE`: image files in an archive."""

import argparse
from typing import TYPE_CHECKING

from lfiw.data.importers.commands import ZIP, add_folder_arguments, import_archive

if TYPE_CHECKING:
    from lfiw.generators.generator import Generator

SUMMARY = ZIP


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_folder_arguments(parser, "file", "FILE")


def open_source(options: argparse.Namespace) -> "Generator":
    from lfiw.generators.recorded import RecordedSamples

    return RecordedSamples(import_archive(options))
