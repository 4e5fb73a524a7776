"""Generators that are a Python callable, and the images that one returns."""

import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from lfiw.data.arrays import to_tensor
from lfiw.data.importers.pixels import OVERSHOOT, RANGES, Pixels, find_axes, find_range, rows_first
from lfiw.errors import InputError, first_line
from lfiw.files import user_path

WITH_NUMPY = (torch.float32, torch.float64)  # floats that are taken as they are


class DetectedPixels:
    """Layout and value range of a first batch, applied to all.

    Args:
        name: of the generator, in messages.
        layout: as `--layout`; none: detected by the shape.
        value_range: "unit", "signed" or "byte"; none: detected by the values.
    """

    def __init__(self, name: str, first: Any, layout: str | None, value_range: str | None) -> None:
        self.name, self._layout = name, layout
        values = as_array(name, first)
        try:
            values, layout = rows_first(values, layout)
            if values.ndim not in (3, 4) or values.size == 0:
                raise InputError(f"shape {values.shape}: expected images (n, c, h, w), (n, h, w, c) or (n, h, w)")
            axes, layout_note = find_axes(values.shape, layout)
            found = find_range(values, value_range)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        self._range, self._shape, self._dtype = found.name, values.shape[1:], values.dtype
        self._pixels = Pixels(axes, *RANGES[found.name])
        self._batches = self._clamped = 0
        later = (
            f"; in later batches too, up to {OVERSHOOT:.0%} outside it are clamped" if values.dtype.kind == "f" else ""
        )
        self.detected = (layout_note, found.note + later)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was detected, and what was clamped since."""
        clamped = f"{self._clamped:,} values in {self._batches:,} batches were outside the range, clamped"
        return (*self.detected, clamped) if self._clamped else self.detected

    def read(self, batch: Any) -> UInt8[Tensor, "n c h w"]:
        """Raises InputError where a later batch is not like the first."""
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
    """Raises InputError for what is no array."""
    if isinstance(batch, np.ndarray):
        return batch
    if not isinstance(batch, Tensor):
        raise InputError(f"{name}: returned {type(batch).__name__}, expected a tensor or array of images")
    batch = batch.detach().cpu()
    try:
        return (batch.float() if batch.dtype not in WITH_NUMPY and batch.is_floating_point() else batch).numpy(
            force=True
        )
    except (RuntimeError, TypeError) as error:  # sparse, quantised, of a type without a counterpart
        raise InputError(f"{name}: returned a tensor that NumPy cannot hold ({first_line(error)})") from None


def check_rows(name: str, samples: Mapping[str, Tensor], num: int) -> None:
    """Raises InputError where a generator returns another number of samples than it was asked for."""
    for column, values in samples.items():
        if len(values) != num:
            raise InputError(f"{name}: returned {len(values)} rows of {column}, asked for {num}")


class CalledGenerator:
    """`function(num, generator, labels=None)` → images, or a dict with `image` and other columns.

    The function is called for `rows_per_seed` samples at a time, always with a fresh `torch.Generator`, so that what it
    returns depends on the seed alone.

    Args:
        function: draws samples from the generator that it is given, and from nothing else.
        name: for messages and provenance.
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
        return (*self._pixels.notes, f"called for {self.rows_per_seed} samples a seed")

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
        except Exception as error:  # of the user's code: any
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


def find_function(name: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The function `module:function` or `file.py:function`, and what it comes from. This runs the module's code.

    Raises:
        InputError: no such module, file or function.
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
    """Modules that lie there can be imported, as if Python had been started on one of them."""
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
