"""`kde CACHE`: a kernel density estimate of real images, for trying things out."""

import argparse
from typing import TYPE_CHECKING

from lfiw.paths import location_argument

if TYPE_CHECKING:
    from lfiw.generators.generator import Generator

SUMMARY = "A kernel density estimate of a cache of real images: a quick, biased generator for trying things out."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cache", type=location_argument, metavar="CACHE")
    parser.add_argument("--bandwidth", type=float, default=0.2, help="in standard deviations (default: 0.2)")


def open_source(options: argparse.Namespace) -> "Generator":
    from lfiw.data.cache.reader import SampleCache
    from lfiw.generators.kernel_density import KernelDensityGenerator

    return KernelDensityGenerator(SampleCache(options.cache), bandwidth=options.bandwidth)
