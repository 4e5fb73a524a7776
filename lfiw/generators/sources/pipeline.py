"""`pipeline DIR`: a folder of a diffusers pipeline."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lfiw.generators.generator import Generator

SUMMARY = "A diffusers pipeline that save_pretrained wrote to a folder (extra: diffusers)."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--steps", type=int, metavar="N", help="steps of the sampler (default: the pipeline's)")
    parser.add_argument("--prompt", metavar="TEXT", help="for pipelines that take one")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, … (default: cpu)")


def open_source(options: argparse.Namespace) -> "Generator":
    from lfiw.generators.diffusion import DiffusionGenerator

    return DiffusionGenerator(options.folder, steps=options.steps, prompt=options.prompt, device=options.device)
