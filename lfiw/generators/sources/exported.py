"""`exported FILE.pt2`: a program of torch.export."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lfiw.data.importers.commands import add_pixel_arguments

if TYPE_CHECKING:
    from lfiw.generators.generator import Generator

SUMMARY = "A torch.export program (.pt2) from noise to images. Its code is run."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--noise", choices=("normal", "uniform"), default="normal", help="(default: normal)")
    parser.add_argument("--latents", action="store_true", help="keep the noise as the column latent")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, … (default: cpu)")
    add_pixel_arguments(parser)


def open_source(options: argparse.Namespace) -> "Generator":
    from lfiw.generators.program import ExportedGenerator

    return ExportedGenerator(
        options.file,
        noise=options.noise,
        latents=options.latents,
        device=options.device,
        layout=options.layout,
        value_range=options.value_range,
    )
