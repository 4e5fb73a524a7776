"""`callable MODULE:FUNCTION`: code of the user, run because the command line names it."""

import argparse
from typing import TYPE_CHECKING

from lfiw.data.importers.commands import add_pixel_arguments

if TYPE_CHECKING:
    from lfiw.generators.generator import Generator

SUMMARY = "A Python function(num, generator, labels=None) that returns images. Its code is run."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("callable", metavar="MODULE:FUNCTION", help="or FILE.py:FUNCTION")
    parser.add_argument("--rows-per-seed", type=int, default=100, metavar="N", help="samples a call (default: 100)")
    add_pixel_arguments(parser)


def open_source(options: argparse.Namespace) -> "Generator":
    from lfiw.generators.called import CalledGenerator, find_function

    function, source = find_function(options.callable)
    return CalledGenerator(
        function,
        options.callable,
        source=source,
        rows_per_seed=options.rows_per_seed,
        layout=options.layout,
        value_range=options.value_range,
    )
