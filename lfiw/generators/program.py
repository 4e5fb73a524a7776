"""A `torch.export` program as a generator: noise in, images out."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from lfiw.data.cache.shards import hash_file
from lfiw.errors import InputError, first_line
from lfiw.generators.called import DetectedPixels, check_rows

DRAW = {"normal": torch.randn, "uniform": torch.rand}
PROBED = 64  # samples whose values show the range


class ExportedGenerator:
    """A .pt2 file: `program(noise)` or `program(noise, labels)` → images, the first axis of both being the batch.

    The shape of the noise stands in the file; a batch of fixed size is filled up. A program is code: open those that
    you trust.

    Args:
        noise: normal or uniform.
        latents: return the noise as the column `latent` too.

    Raises:
        InputError: the file is none, or its inputs are others.
    """

    num_rows = None
    rows_per_seed = 1

    def __init__(
        self,
        path: Path,
        *,
        noise: str = "normal",
        latents: bool = False,
        device: str = "cpu",
        layout: str | None = None,
        value_range: str | None = None,
    ) -> None:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        if not zipfile.is_zipfile(path):
            raise InputError(f"{path}: not a file of torch.export.save")
        try:
            program = torch.export.load(path)
        except Exception as error:  # whatever a broken archive makes torch raise
            raise InputError(f"{path}: not a file of torch.export.save ({first_line(error)})") from None
        self.name, self.device, self.latents = path.name, torch.device(device), latents
        self._draw, self._module = DRAW[noise], program.module().to(self.device)
        self._shape, self._batch, self._dtype, self.takes_labels = inputs_of(path, program)
        probe = [torch.Generator().manual_seed(row) for row in range(PROBED)]
        first = self._run(self._noise(probe), torch.zeros(PROBED, dtype=torch.int64))
        self._pixels = DetectedPixels(self.name, first, layout, value_range)
        self._noise_note = f"{noise} noise ({', '.join(map(str, self._shape))}), as the program takes it"
        self.source: dict[str, Any] = {
            "program": path.name, "sha256": hash_file(path), "noise": noise, "notes": list(self.notes)
        }  # fmt: skip

    @property
    def notes(self) -> tuple[str, ...]:
        return (self._noise_note, *self._pixels.notes)

    def sample(
        self, num: int, generator: torch.Generator, labels: Int64[Tensor, " num"] | None = None
    ) -> dict[str, Tensor]:
        return self.sample_each([generator] * num, labels)

    @torch.inference_mode()
    def sample_each(
        self, generators: Sequence[torch.Generator], labels: Int64[Tensor, " n"] | None = None
    ) -> dict[str, Tensor]:
        if labels is None and self.takes_labels:
            raise InputError(f"{self.name} takes labels: give --classes N")
        if labels is not None and not self.takes_labels:
            raise InputError(f"{self.name} takes no labels: leave out --classes")
        noise = self._noise(generators)
        samples = {"image": self._pixels.read(self._run(noise, labels))}
        check_rows(self.name, samples, len(generators))
        return {**samples, "latent": noise} if self.latents else samples

    def _noise(self, generators: Sequence[torch.Generator]) -> Tensor:
        return torch.stack([self._draw(self._shape, generator=generator) for generator in generators])

    def _run(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        size = self._batch or len(noise)
        outputs = []
        for start in range(0, len(noise), size):
            inputs = [noise[start : start + size].to(self.device, self._dtype)]
            if self.takes_labels and labels is not None:
                inputs.append(labels[start : start + size].to(self.device))
            missing = size - len(inputs[0])
            filled = [torch.cat([x, x[:1].expand(missing, *x.shape[1:])]) if missing else x for x in inputs]
            output = self._module(*filled)
            if not isinstance(output, Tensor):
                raise InputError(f"{self.name}: returned {type(output).__name__}, expected one tensor of images")
            outputs.append(output[: len(inputs[0])].cpu())
        return torch.cat(outputs)


def inputs_of(path: Path, program: Any) -> tuple[tuple[int, ...], int | None, torch.dtype, bool]:
    """Shape of one sample's noise, the batch size if it is fixed, the noise's type, and whether labels are taken.

    Raises:
        InputError: another number or kind of inputs.
    """
    wanted = program.graph_signature.user_inputs
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    tensors = [values[name] for name in wanted if isinstance(values.get(name), Tensor)]
    labelled = len(tensors) == 2 and not tensors[1].is_floating_point() and tensors[1].ndim == 1
    if len(tensors) != len(wanted) or not (len(tensors) == 1 or labelled) or not tensors[0].is_floating_point():
        raise InputError(
            f"{path}: takes {len(wanted)} inputs, expected noise (batch, …) and perhaps whole-number labels (batch,)"
        )
    batch, *shape = tensors[0].shape
    if not shape or not all(isinstance(size, int) for size in shape):
        raise InputError(f"{path}: takes noise of shape {tuple(tensors[0].shape)}, expected (batch, …), fixed sizes")
    return tuple(shape), batch if isinstance(batch, int) else None, tensors[0].dtype, labelled
