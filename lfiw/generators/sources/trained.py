"""`trained RUN`: a generator that `train.py` has trained."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lfiw.generators.generator import Generator

SUMMARY = "A generator trained by train.py: its run folder, a checkpoint, or generator.safetensors."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--latents", action="store_true", help="keep the noise as the column latent")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, … (default: cpu)")


def open_source(options: argparse.Namespace) -> "Generator":
    from lfiw.generators.trained import TrainedGenerator

    return TrainedGenerator(options.run, latents=options.latents, device=options.device)
