"""Generators from elsewhere: a Python function, a `torch.export` program, a diffusers pipeline."""

import hashlib
import importlib.util
import inspect
import json
import sys
import traceback
import zipfile
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from lfiw.data.cache.shards import hash_file
from lfiw.data.importers.pixels import OVERSHOOT, RANGES, Pixels, find_axes, find_range, rows_first
from lfiw.errors import InputError, first_line
from lfiw.files import user_path
from lfiw.generators.protocol import EachFromItsOwn
from lfiw.tensors import to_tensor

WITH_NUMPY = (torch.float32, torch.float64)  # float types that NumPy also has


class DetectedPixels:
    """Detects layout and value range in a first batch and applies them to all batches.

    Args:
        name: the generator's, in messages.
        layout: as `--layout`. If None, detected from the shape.
        value_range: "unit", "signed" or "byte". If None, detected from the values.
    """

    def __init__(self, name: str, first: Any, layout: str | None, value_range: str | None) -> None:
        self.name, self._layout = name, layout
        values = as_array(name, first)
        try:
            values, layout = rows_first(values, layout)
            if values.ndim not in (3, 4) or values.size == 0:
                raise InputError(f"shape {values.shape}: expected images (n, c, h, w), (n, h, w, c) or (n, h, w)")
            axes, layout_note = find_axes(values.shape, layout)
            detected = find_range(values, value_range)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        self._range, self._shape, self._dtype = detected.name, values.shape[1:], values.dtype
        self._pixels = Pixels(axes, *RANGES[detected.name])
        self._batches = self._clamped = 0
        later = (
            f"; in later batches too, up to {OVERSHOOT:.0%} outside it are clamped" if values.dtype.kind == "f" else ""
        )
        self.detected = (layout_note, detected.note + later)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was detected, and what has been clamped since."""
        clamped = f"{self._clamped:,} values in {self._batches:,} batches were outside the range, clamped"
        return (*self.detected, clamped) if self._clamped else self.detected

    def read(self, batch: Any) -> UInt8[Tensor, "n c h w"]:
        """Reads a batch as bytes; raises InputError if a later batch is unlike the first."""
        self._batches += 1
        values = as_array(self.name, batch)
        if values.ndim == len(self._shape) + 1:
            values, _ = rows_first(values, self._layout)
        if values.shape[1:] != self._shape or values.dtype != self._dtype:
            raise InputError(
                f"{self.name}: batch {self._batches} is {values.dtype} {values.shape}, the first one was {self._dtype} "
                f"(n, {', '.join(map(str, self._shape))}): all must be alike"
            )
        if len(values):
            try:
                self._clamped += find_range(values, self._range).clamped
            except InputError as error:
                low, high = RANGES[self._range]
                raise InputError(
                    f"{self.name}: batch {self._batches} contradicts the range [{low:g}, {high:g}] of the first one: "
                    f"{error}"
                ) from None
        return self._pixels.read(values)


def as_array(name: str, batch: Any) -> np.ndarray:
    """Returns a batch as an array, or raises InputError."""
    if isinstance(batch, np.ndarray):
        return batch
    if not isinstance(batch, Tensor):
        raise InputError(f"{name}: returned {type(batch).__name__}, expected a tensor or array of images")
    batch = batch.detach().cpu()
    try:
        return (batch.float() if batch.dtype not in WITH_NUMPY and batch.is_floating_point() else batch).numpy(
            force=True
        )
    except (RuntimeError, TypeError) as error:  # sparse, quantised, or of a type that NumPy lacks
        raise InputError(f"{name}: returned a tensor that NumPy cannot hold ({first_line(error)})") from None


def check_rows(name: str, samples: Mapping[str, Tensor], num: int) -> None:
    """Raises InputError if a generator returned another number of samples than requested."""
    for column, values in samples.items():
        if len(values) != num:
            raise InputError(f"{name}: returned {len(values)} rows of {column}, asked for {num}")


class CalledGenerator:
    """`function(num, generator, labels=None)` → images, or a dict with `image` and other columns.

    The function is called for `rows_per_seed` samples at a time, each time with a fresh `torch.Generator`, so that its
    samples depend on the seed alone.

    Args:
        function: draws samples with the given generator and no other randomness.
        name: in messages and provenance.
    """

    num_rows = None

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        *,
        source: Mapping[str, Any] | None = None,
        rows_per_seed: int = 100,
        layout: str | None = None,
        value_range: str | None = None,
    ) -> None:
        if rows_per_seed < 1:
            raise InputError(f"rows_per_seed={rows_per_seed}: expected at least 1")
        self.function, self.name, self.rows_per_seed = function, name, rows_per_seed
        self.takes_labels = "labels" in inspect.signature(function).parameters
        self.layout, self.value_range = layout, value_range
        self.source: dict[str, Any] = {"callable": name, **(source or {}), "rows_per_seed": rows_per_seed}
        first = self._call(rows_per_seed, torch.Generator().manual_seed(0), torch.zeros(rows_per_seed).long())
        self._pixels = DetectedPixels(name, first["image"], layout, value_range)
        self.source["notes"] = list(self.notes)

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self._pixels.notes, f"called for {self.rows_per_seed} samples per seed")

    def sample(
        self, num: int, generator: torch.Generator, labels: Int64[Tensor, " num"] | None = None
    ) -> dict[str, Tensor]:
        if labels is not None and not self.takes_labels:
            raise InputError(f"{self.name} takes no labels: leave out --classes")
        samples = self._call(num, generator, labels)
        images = self._pixels.read(samples.pop("image"))
        others = {column: self._column(column, values) for column, values in samples.items()}
        result = {"image": images, **others}
        check_rows(self.name, result, num)
        return result

    def _column(self, column: str, values: Any) -> Tensor:
        return to_tensor(as_array(self.name, values), f"{self.name}: column {column}")

    def _call(self, num: int, generator: torch.Generator, labels: Tensor | None) -> dict[str, Any]:
        options = {"labels": labels} if self.takes_labels and labels is not None else {}
        try:
            returned = self.function(num, generator, **options)
        except InputError:
            raise
        except Exception as error:  # the user's code can raise anything
            *_, last = traceback.extract_tb(error.__traceback__)
            where = f"{last.filename}, line {last.lineno}" if last.filename != __file__ else "in the call"
            raise InputError(
                f"{self.name}(num={num}, generator=…) ended by {type(error).__name__}: {first_line(error)} ({where}; "
                "--debug shows all of it)"
            ) from error
        samples = dict(returned) if isinstance(returned, Mapping) else {"image": returned}
        if "image" not in samples:
            raise InputError(f"{self.name}: returned columns {', '.join(samples)}, expected one called image")
        return samples


def open_callable(name: str, **options: Any) -> CalledGenerator:
    """Opens `module:function` or `file.py:function`; options as for `CalledGenerator`. This runs the module's code."""
    function, source = find_function(name)
    return CalledGenerator(function, name, source=source, **options)


def find_function(name: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Finds the function `module:function` or `file.py:function`, and its source. This runs the module's code.

    Raises:
        InputError: there is no such module, file or function.
    """
    where, colon, attribute = name.rpartition(":")
    if not colon or not where or not attribute:
        raise InputError(f"{name!r}: expected module:function, or file.py:function")
    source: dict[str, Any] = {}
    if where.endswith(".py"):
        file = user_path(where)
        if not file.is_file():
            raise InputError(f"{where}: no such file")
        source["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
        look_in(file.resolve().parent)
        module = run_file(file)
    else:
        look_in(Path.cwd())
        try:
            module = import_module(where)
        except ModuleNotFoundError as error:
            raise InputError(f"{where}: no such module ({first_line(error)}): a file is FILE.py:function") from None
    function = getattr(module, attribute, None)
    if not callable(function):
        raise InputError(f"{where} has no function {attribute!r}")
    return function, source


def look_in(folder: Path) -> None:
    """Makes modules in a folder importable, as if Python had been started on one of them."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def run_file(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{file}: cannot be run ({type(error).__name__}: {first_line(error)})") from error
    return module


DRAW = {"normal": torch.randn, "uniform": torch.rand}
PROBED = 64  # samples whose values reveal the range


class ExportedGenerator(EachFromItsOwn):
    """A .pt2 file: `program(noise)` or `program(noise, labels)` → images, the first axis of both being the batch.

    The file states the shape of the noise; batches of a fixed size are padded. A program is code: open only what you
    trust.

    Args:
        noise: normal or uniform.
        latents: also return the noise, as the column `latent`.

    Raises:
        InputError: the file is not such a program, or takes other inputs.
    """

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
    """Reads the shape of one sample's noise, a fixed batch size, the noise's type, and whether labels are taken.

    Raises:
        InputError: the program takes another number or kind of inputs.
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


INDEX = "model_index.json"


class DiffusionGenerator(EachFromItsOwn):
    """A pipeline that `save_pretrained` wrote. No code of the folder is run; weights are read as safetensors.

    Args:
        steps: sampling steps. If None, the pipeline's own number.
        prompt: the same for every sample, if the pipeline takes one.

    Raises:
        InputError: the package is missing, or the folder does not hold such a pipeline.
    """

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
        except Exception as error:  # diffusers raises a dozen kinds
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
        # the pipeline draws step by step from its generators: each sample gets its own
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
