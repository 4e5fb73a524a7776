"""Whatever can fill a cache: files of samples, networks trained here, programs and pipelines from elsewhere.

On the command line each is a `Source`: its help, its arguments, and a function that turns them into a
`lfiw.generators.protocol.Generator`. Nothing heavy is imported before one is opened.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from lfiw.data.importers import (
    CSV,
    FOLDER,
    HUGGINGFACE,
    NPZ,
    PARQUET,
    ZIP,
    add_cache_argument,
    add_csv_arguments,
    add_folder_arguments,
    add_huggingface_arguments,
    add_npz_arguments,
    add_parquet_arguments,
    add_pixel_arguments,
)
from lfiw.errors import InputError
from lfiw.files import location_argument, path_argument

if TYPE_CHECKING:
    from lfiw.generators.protocol import Generator


@dataclass(frozen=True)
class Source:
    """A kind of generator that a command line can name.

    Args:
        summary: for `--help`.
        add_arguments: declares its arguments on a parser.
        open: makes the generator from the parsed arguments.
    """

    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    open: Callable[[argparse.Namespace], Generator]


def opened_by(home: str, *names: str) -> Callable[[argparse.Namespace], Generator]:
    """Makes a `Source.open` from a function `module:name`, which is imported only when called.

    Args:
        names: the options that the function takes, the first by position, the others by name.
    """

    def open_source(options: argparse.Namespace) -> Generator:
        module, _, function = home.partition(":")
        values = [getattr(options, name) for name in names]
        others = dict(zip(names[1:], values[1:], strict=True))
        generator: Generator = getattr(import_module(module), function)(*values[:1], **others)
        return generator

    return open_source


def open_generator(name: str, *arguments: str) -> Generator:
    """Opens the generator that a command line names: `open_generator("npz", "samples.npz", "--range", "unit")`.

    Raises:
        InputError: there is no such source, or its arguments are wrong or name something unusable.
    """
    if name not in SOURCES:
        raise InputError(f"no source {name!r} of samples; sources: {', '.join(SOURCES)}")
    parser = _Parser(prog=name, add_help=False)
    parser.register("type", Path, path_argument)
    SOURCES[name].add_arguments(parser)
    return SOURCES[name].open(parser.parse_args([str(argument) for argument in arguments]))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"source {self.prog}: {message}")


def add_commands(
    parser: argparse.ArgumentParser,
    sources: Mapping[str, Source],
    add_more: Callable[[argparse.ArgumentParser], None] | None = None,
) -> Any:
    """Adds one sub-command per source, with its own arguments and those of the cache that it fills."""
    commands = parser.add_subparsers(required=True, metavar="SOURCE", dest="source")
    for name, source in sources.items():
        command = commands.add_parser(name, help=source.summary, description=source.summary)
        source.add_arguments(command)
        command.add_argument(
            "--out",
            type=location_argument,
            required=True,
            metavar="DIR",
            help="the cache to write: a folder, or a URL (s3://…)",
        )
        command.add_argument("--overwrite", action="store_true", help="replace an existing cache")
        command.add_argument("--shard-mb", type=int, default=64, metavar="MB", help="size of each file (default: 64)")
        if add_more:
            add_more(command)
    return commands


def add_latents(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--latents", action="store_true", help="save the noise as the column latent")


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, … (default: cpu)")


def add_trained(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN")
    add_latents(parser)
    add_device(parser)


def add_callable(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("callable", metavar="MODULE:FUNCTION", help="or FILE.py:FUNCTION")
    parser.add_argument("--rows-per-seed", type=int, default=100, metavar="N", help="samples per call (default: 100)")
    add_pixel_arguments(parser)


def add_exported(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--noise", choices=("normal", "uniform"), default="normal", help="(default: normal)")
    add_latents(parser)
    add_device(parser)
    add_pixel_arguments(parser)


def add_pipeline(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--steps", type=int, metavar="N", help="sampling steps (default: the pipeline's)")
    parser.add_argument("--prompt", metavar="TEXT", help="prompt, if the pipeline takes one")
    add_device(parser)


def add_kernel_density(parser: argparse.ArgumentParser) -> None:
    add_cache_argument(parser)
    parser.add_argument("--bandwidth", type=float, default=0.2, help="in standard deviations (default: 0.2)")


IMPORTERS, HERE = "lfiw.data.importers", "lfiw.generators"
OF_TABLES = ("path", "columns", "without", "label", "split", "size", "skip_bad", "layout", "value_range")
# name on the command line → source
SOURCES = {
    "npz": Source(
        NPZ, add_npz_arguments, opened_by(f"{IMPORTERS}.arrays:import_arrays", "file", "key", "layout", "value_range")
    ),
    "folder": Source(
        FOLDER,
        lambda parser: add_folder_arguments(parser, "folder", "DIR"),
        opened_by(f"{IMPORTERS}.folders:import_folder", "folder", "size", "skip_bad"),
    ),
    "zip": Source(
        ZIP,
        lambda parser: add_folder_arguments(parser, "file", "FILE"),
        opened_by(f"{IMPORTERS}.folders:import_zip", "file", "size", "skip_bad"),
    ),
    "parquet": Source(PARQUET, add_parquet_arguments, opened_by(f"{IMPORTERS}.parquet:import_parquet", *OF_TABLES)),
    "huggingface": Source(
        HUGGINGFACE, add_huggingface_arguments, opened_by(f"{IMPORTERS}.huggingface:import_huggingface", *OF_TABLES)
    ),
    "csv": Source(
        CSV,
        add_csv_arguments,
        opened_by(f"{IMPORTERS}.csv_files:import_csv", "file", "columns", "without", "label", "delimiter", "header"),
    ),
    "cache": Source(
        "The samples of another cache, as its folder or URL.",
        add_cache_argument,
        opened_by(f"{IMPORTERS}:import_cache", "cache"),
    ),
    "trained": Source(
        "A generator trained by train.py: its run folder, a checkpoint, or generator.safetensors.",
        add_trained,
        opened_by(f"{HERE}.generative_module:TrainedGenerator", "run", "latents", "device"),
    ),
    "callable": Source(
        "A Python function(num, generator, labels=None) that returns images. Its code is run.",
        add_callable,
        opened_by(f"{HERE}.external:open_callable", "callable", "rows_per_seed", "layout", "value_range"),
    ),
    "exported": Source(
        "A torch.export program (.pt2) from noise to images. Its code is run.",
        add_exported,
        opened_by(f"{HERE}.external:ExportedGenerator", "file", "noise", "latents", "device", "layout", "value_range"),
    ),
    "pipeline": Source(
        "A diffusers pipeline that save_pretrained wrote to a folder (extra: diffusers).",
        add_pipeline,
        opened_by(f"{HERE}.external:DiffusionGenerator", "folder", "steps", "prompt", "device"),
    ),
    "kde": Source(
        "A kernel density estimate of a cache of real images: a quick, biased generator for trying things out.",
        add_kernel_density,
        opened_by(f"{HERE}.protocol:open_kernel_density", "cache", "bandwidth"),
    ),
}
