"""What can fill a cache: files of samples, networks trained here, programs and pipelines from elsewhere.

Each source has a file in `lfiw.generators.sources` with a `SUMMARY`, its command-line arguments (`add_arguments`) and
`open_source`, which makes a `lfiw.generators.generator.Generator` of them. Nothing heavy is imported before that.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn

from lfiw.cli import Parser
from lfiw.errors import InputError

if TYPE_CHECKING:
    from lfiw.generators.generator import Generator

# name on the command line → module in lfiw.generators.sources
SOURCES = {
    "npz": "npz",
    "folder": "folder",
    "zip": "archive",
    "cache": "cache",
    "trained": "trained",
    "callable": "named_callable",
    "exported": "exported",
    "pipeline": "pipeline",
    "kde": "kernel_density",
    "dagan": "drawings",
}


def find_source(name: str) -> ModuleType:
    """The module of a source.

    Raises:
        InputError: there is none of that name.
    """
    if name not in SOURCES:
        raise InputError(f"no source {name!r} of samples; sources: {', '.join(SOURCES)}")
    return import_module(f"lfiw.generators.sources.{SOURCES[name]}")


def open_generator(name: str, *arguments: str) -> Generator:
    """The generator that a command line names: `open_generator("npz", "samples.npz", "--range", "unit")`.

    Raises:
        InputError: no such source, wrong arguments, or what they name cannot be used.
    """
    source = find_source(name)
    parser = _Parser(prog=name, add_help=False)
    source.add_arguments(parser)
    generator: Generator = source.open_source(parser.parse_args([str(argument) for argument in arguments]))
    return generator


class _Parser(Parser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"source {self.prog}: {message}")
