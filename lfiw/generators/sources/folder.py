"""`folder DIR`: image files."""

import argparse
from typing import TYPE_CHECKING

from lfiw.data.importers.commands import FOLDER, add_folder_arguments, import_files

if TYPE_CHECKING:
    from lfiw.generators.generator import Generator

SUMMARY = FOLDER


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_folder_arguments(parser, "folder", "DIR")


def open_source(options: argparse.Namespace) -> "Generator":
    from lfiw.generators.recorded import RecordedSamples

    return RecordedSamples(import_files(options))
