"""`cache DIR`: the base columns of another cache."""

import argparse
from typing import TYPE_CHECKING

from lfiw.paths import location_argument

if TYPE_CHECKING:
    from lfiw.generators.generator import Generator

SUMMARY = "The samples of another cache, as its folder or URL."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cache", type=location_argument, metavar="CACHE")


def open_source(options: argparse.Namespace) -> "Generator":
    from lfiw.data.cache.reader import SampleCache
    from lfiw.generators.recorded import RecordedSamples, of_cache

    return RecordedSamples(of_cache(SampleCache(options.cache)))
