"""A generator that was trained here."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from lfiw.checkpoints import state_sha256
from lfiw.modules.generative import GenerativeModule


class TrainedGenerator:
    """Samples of a run, a checkpoint or a kept network.

    Args:
        path: as `GenerativeModule.load` takes it.
        latents: return the noise as the column `latent` too.
    """

    num_rows = None
    rows_per_seed = 1

    def __init__(self, path: Path, *, latents: bool = False, device: str = "cpu") -> None:
        self.module = GenerativeModule.load(path, device)
        self.latents = latents
        state = self.module.get_submodule(self.module.sampler).state_dict()
        net = {key: value for key, value in self.module.net_options.items() if key != "features"}
        self.source: dict[str, Any] = {"trained": net, "sha256": state_sha256(state)}
        self.notes: tuple[str, ...] = (f"{net['name']}, images {self.module.shape} as uint8",)

    def sample(
        self, num: int, generator: torch.Generator, labels: Int64[Tensor, " num"] | None = None
    ) -> dict[str, Tensor]:
        return self._kept(self.module.sample(num, generator, labels))

    def sample_each(
        self, generators: Sequence[torch.Generator], labels: Int64[Tensor, " n"] | None = None
    ) -> dict[str, Tensor]:
        return self._kept(self.module.sample_each(generators, labels))

    def _kept(self, samples: dict[str, Tensor]) -> dict[str, Tensor]:
        return samples if self.latents else {"image": samples["image"]}
