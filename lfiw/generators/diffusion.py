"""A folder of a diffusers pipeline as a generator."""

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from lfiw.data.cache.shards import hash_file
from lfiw.errors import InputError, first_line
from lfiw.generators.called import DetectedPixels, check_rows

INDEX = "model_index.json"


class DiffusionGenerator:
    """A pipeline that `save_pretrained` wrote. No code of the folder is run; weights are read as safetensors.

    Args:
        steps: of the sampler; none: the pipeline's own number.
        prompt: for pipelines that take one, the same for every sample.

    Raises:
        InputError: the package is missing, or the folder is no such pipeline.
    """

    num_rows = None
    rows_per_seed = 1

    def __init__(
        self, folder: Path, *, steps: int | None = None, prompt: str | None = None, device: str = "cpu"
    ) -> None:
        try:
            from diffusers import DiffusionPipeline
        except ImportError:
            raise InputError("a pipeline needs the package diffusers: pip install -e '.[diffusers]'") from None
        if not (folder / INDEX).is_file():
            raise InputError(f"{folder}: no {INDEX} in it: give the folder that save_pretrained wrote")
        try:
            self.pipeline = DiffusionPipeline.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        except Exception as error:  # a dozen kinds
            raise InputError(f"{folder}: cannot be opened as a diffusers pipeline ({first_line(error)})") from None
        self.pipeline.to(device)
        self.pipeline.set_progress_bar_config(disable=True)
        takes = inspect.signature(type(self.pipeline).__call__).parameters
        if ("prompt" in takes) != (prompt is not None):
            raise InputError(f"{folder}: " + ("give --prompt TEXT" if "prompt" in takes else "takes no --prompt"))
        self.options: dict[str, Any] = {"num_inference_steps": steps} if steps is not None else {}
        self.prompt, self.name = prompt, folder.resolve().name
        weights = {str(f.relative_to(folder)): hash_file(f) for f in sorted(folder.rglob("*.safetensors"))}
        kind = json.loads((folder / INDEX).read_text()).get("_class_name")
        self.source: dict[str, Any] = {
            "pipeline": self.name, "class": kind, "weights": weights, "prompt": prompt, **self.options
        }  # fmt: skip
        self.notes: tuple[str, ...] = (f"{kind}; values in [0, 1], as the library documents, rounded to uint8",)

    def sample(
        self, num: int, generator: torch.Generator, labels: Int64[Tensor, " num"] | None = None
    ) -> dict[str, Tensor]:
        # the pipeline draws from its generators itself, step by step: each sample gets one of its own
        seeds = torch.randint(2**62, (num,), generator=generator).tolist()
        return self.sample_each([torch.Generator().manual_seed(seed) for seed in seeds], labels)

    def sample_each(
        self, generators: Sequence[torch.Generator], labels: Int64[Tensor, " n"] | None = None
    ) -> dict[str, Tensor]:
        if labels is not None:
            raise InputError(f"{self.name}: pipelines are not given labels: leave out --classes")
        size = {"batch_size": len(generators)} if self.prompt is None else {"prompt": [self.prompt] * len(generators)}
        images = self.pipeline(**size, **self.options, generator=list(generators), output_type="np").images
        samples = {"image": DetectedPixels(self.name, images, "nhwc", "unit").read(images)}
        check_rows(self.name, samples, len(generators))
        return samples
