"""Arrays, tensors, data frames and tables as tensors, by one encoding for both sides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from lfiw.data.precision import exact_float64
from lfiw.data.table import Table, TensorTable
from lfiw.errors import InputError
from lfiw.tensors import as_tensor, to_tensor

IMAGE, VECTOR = "image", "vector"  # names of the columns that hold samples
MOST_CATEGORIES = 1000  # more are identifiers or free text
BYTES, WHOLE = "images of bytes (uint8)", "floating-point images in 0 … 255"
UNIT, SIGNED = "floating-point images in 0 … 1", "floating-point images in -1 … 1"
PIXELS = (UNIT, SIGNED, WHOLE, BYTES)
CATEGORICAL = ("category", "categorical", "enum")  # how the types of pandas and polars begin


@dataclass(frozen=True)
class SampleEncoding:
    """How samples become a tensor: images (n, c, h, w), or vectors (n, d).

    Images are uint8 in 0 … 255, or float32. Vectors keep float32 and float64, and become float64 otherwise. The columns
    of a data frame become numbers side by side: a numeric one is itself, a categorical one (text, categories,
    enumerations) becomes one column of 0 and 1 per category, over the categories of both sides in the order of their
    names.

    Args:
        shape: of one sample.
        columns: of a data frame, name → its categories in order; empty for a numeric one. If None, no data frame.
        pixels: range of images, one of `PIXELS`. If None, another one, or no images.
    """

    shape: tuple[int, ...]
    columns: Mapping[str, tuple[str, ...]] | None = None
    pixels: str | None = None

    @classmethod
    def of(cls, real: Any, generated: Any) -> "SampleEncoding":
        """The encoding of two sides.

        Raises:
            InputError: samples that cannot be read, or sides that do not match.
        """
        if is_frame(real) != is_frame(generated):
            raise InputError("one side is a data frame and the other is not: give both in the same form")
        if is_frame(real):
            return cls.of_frames(real, generated)
        sides = [read_samples(samples, name) for samples, name in ((real, "real"), (generated, "generated"))]
        shapes = [tuple(side.shape[1:]) for side in sides]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"real has samples of shape {shapes[0]}, generated of shape {shapes[1]}: they must be the same"
            )
        ranges = [pixel_range(side) for side in sides]
        if None not in ranges and ranges[0] != ranges[1]:
            raise InputError(
                f"real has {ranges[0]}, generated {ranges[1]}: bring both to one range, for a classifier would tell "
                "them apart by that alone"
            )
        return cls(shapes[0], pixels=ranges[0])

    @classmethod
    def of_frames(cls, real: Any, generated: Any) -> "SampleEncoding":
        """The encoding of two data frames."""
        names = [[str(name) for name in frame.columns] for frame in (real, generated)]
        if sorted(names[0]) != sorted(names[1]):
            odd = sorted(set(names[0]) ^ set(names[1]))
            raise InputError(f"real and generated have different columns: {', '.join(odd)} on one side only")
        if len(set(names[0])) < len(names[0]):
            raise InputError("real has two columns of one name: rename one of them")
        columns = {}
        for name in names[0]:
            series = [frame_column(frame, name) for frame in (real, generated)]
            categorical = [is_categorical(values) for values in series]
            if categorical[0] != categorical[1]:
                raise InputError(f"column {name!r} is categorical on one side and numeric on the other: make them one")
            categories = set().union(*(set(as_words(s, name)) for s in series)) if categorical[0] else set()
            if len(categories) > MOST_CATEGORIES:
                raise InputError(
                    f"column {name!r} has {len(categories):,} categories, at most {MOST_CATEGORIES:,} are encoded: "
                    "leave it out, or encode it as numbers"
                )
            columns[name] = tuple(sorted(categories))
        width = sum(len(categories) or 1 for categories in columns.values())
        return cls((width,), columns)

    @property
    def column(self) -> str:
        """Name of the samples' column in a table."""
        return IMAGE if len(self.shape) == 3 else VECTOR

    def __call__(self, samples: Any, name: str = "samples") -> Shaped[Tensor, "n ..."]:
        """Samples as a tensor.

        Args:
            name: of the samples, in messages.

        Raises:
            InputError: they cannot be read, have another shape or other columns, or values that are NaN or infinite.
        """
        if self.columns is None:
            if is_frame(samples):
                raise InputError(f"{name} is a data frame, expected an array of shape {self._expected}")
            values = read_samples(samples, name)
        else:
            values = self._of_frame(samples, name)
        if tuple(values.shape[1:]) != self.shape:
            features = f" ({self.shape[0]} features)" if len(self.shape) == 1 else ""
            raise InputError(f"{name} has shape {tuple(values.shape)}, expected {self._expected}{features}")
        found = pixel_range(values)
        # dark images in a wider range may look as if they were in 0 … 1
        alike = {None, self.pixels} | ({UNIT} if self.pixels in (SIGNED, WHOLE) else set())
        if self.pixels and found not in alike:
            raise InputError(f"{name} has {found}, expected {self.pixels} as in fit")
        check_finite_samples(values, name)
        return values

    @property
    def _expected(self) -> str:
        return f"(n, {', '.join(map(str, self.shape))})"

    def _of_frame(self, samples: Any, name: str) -> Float[Tensor, "n d"]:
        assert self.columns is not None
        if not is_frame(samples):
            raise InputError(f"{name} is no data frame, expected one with the columns {', '.join(self.columns)}")
        check_rows(len(samples), name)
        if absent := [column for column in self.columns if column not in [str(c) for c in samples.columns]]:
            raise InputError(f"{name} lacks the column {absent[0]!r}")
        blocks = []
        for column, categories in self.columns.items():
            series = frame_column(samples, column)
            where = f"{name}: column {column!r}"
            if categories:
                blocks.append(one_hot(as_words(series, column), categories, where))
            else:
                blocks.append(numbers(series, where))
        return torch.from_numpy(np.column_stack(blocks))

    def state(self) -> dict[str, Any]:
        """Plain values from which `from_state` makes it again."""
        columns = None if self.columns is None else [[name, list(known)] for name, known in self.columns.items()]
        return {"shape": list(self.shape), "columns": columns, "pixels": self.pixels}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "SampleEncoding":
        """The encoding whose `state()` this is."""
        columns = state["columns"]
        known = None if columns is None else {str(name): tuple(map(str, of)) for name, of in columns}
        pixels = state.get("pixels")
        return cls(tuple(map(int, state["shape"])), known, pixels if pixels in PIXELS else None)


def as_tables(real: Any, generated: Any) -> tuple[Table, Table]:
    """Two sides as tables; tables stay as they are.

    Raises:
        InputError: as `SampleEncoding`.
    """
    if isinstance(real, Table) and isinstance(generated, Table):
        return real, generated
    encoding = SampleEncoding.of(real, generated)
    of_real, of_generated = (
        TensorTable({encoding.column: encoding(samples, name)}, name)
        for samples, name in ((real, "real"), (generated, "generated"))
    )
    return of_real, of_generated


def samples_column(table: Table) -> str:
    """The column of a table that holds the samples themselves: `image`, or `vector` where there are no images."""
    return IMAGE if IMAGE in table.columns else VECTOR


def read_samples(samples: Any, name: str) -> Shaped[Tensor, "n ..."]:
    """An array, a tensor, nested lists or a table as images (n, c, h, w) or vectors (n, d)."""
    if isinstance(samples, Table):
        samples = samples[samples_column(samples)]
    if hasattr(samples, "toarray") or (isinstance(samples, Tensor) and samples.layout != torch.strided):
        raise InputError(f"{name} is sparse, expected a dense array: give {name}.toarray(), or to_dense() of a tensor")
    if isinstance(samples, Tensor):
        values = samples.detach().cpu()
        if values.is_complex():
            raise InputError(f"{name} holds complex numbers, expected real ones")
    else:
        values = as_tensor(samples, name)
    check_shape(values, name)
    if values.ndim == 4:
        return values if values.dtype == torch.uint8 else values.float()
    return values if values.is_floating_point() and values.dtype.itemsize >= 4 else exact_float64(values, name)


def pixel_range(values: Tensor) -> str | None:
    """Returns which of `PIXELS` images have; none of vectors, and of other ranges, such as those of measurements."""
    if values.ndim != 4 or not values.numel():
        return None
    if values.dtype == torch.uint8:
        return BYTES
    low, high = (limit.item() for limit in values.aminmax())
    slack = 0.01
    if high <= 1 + slack and low >= -slack:
        return UNIT
    if high <= 1 + slack and -1 - slack <= low < -0.5:
        return SIGNED
    return WHOLE if low >= -0.5 and 50 < high <= 255.5 else None


def check_shape(values: Tensor, name: str) -> None:
    """Raises InputError for an array that is neither vectors nor images, or has no row."""
    shape = tuple(values.shape)
    if values.ndim == 1:
        raise InputError(f"{name} has shape {shape}, expected (n, d): for one feature, give {name}[:, None]")
    if values.ndim not in (2, 4):
        raise InputError(f"{name} has shape {shape}, expected vectors (n, d) or images (n, channels, height, width)")
    if values.ndim == 4 and shape[1] not in (1, 3, 4) and shape[3] in (1, 3, 4):
        raise InputError(f"{name} has shape {shape}, channels last: give {name}.transpose(0, 3, 1, 2)")
    check_rows(len(values), name)
    if not values.numel():
        raise InputError(f"{name} has shape {shape}: no features")


def check_rows(count: int, name: str) -> None:
    if not count:
        raise InputError(f"{name} is empty: expected at least one row")


def check_finite_samples(values: Tensor, name: str) -> None:
    """Raises InputError that names the first row with a value that is NaN or infinite."""
    if values.is_floating_point() and not torch.isfinite(values).all():
        row = int((~torch.isfinite(values)).flatten(1).any(1).nonzero()[0])
        raise InputError(f"{name} has NaN or infinite values, the first in row {row:,}: drop or fill them")


def is_frame(samples: Any) -> bool:
    """Whether it is a data frame of pandas or polars, neither of which is imported for this."""
    return hasattr(samples, "columns") and hasattr(samples, "dtypes") and not isinstance(samples, Table)


def frame_column(frame: Any, name: str) -> Any:
    """A column by its name as text."""
    return frame[next(column for column in frame.columns if str(column) == name)]


def is_categorical(series: Any) -> bool:
    """Whether a column is encoded by category: text, categories, enumerations."""
    kind = str(series.dtype).lower()
    return kind.startswith(CATEGORICAL) or (series.to_numpy().dtype.kind in "OUT" and not is_nullable_number(kind))


def is_nullable_number(kind: str) -> bool:
    """Whether a column of Python objects holds numbers, some of them missing: Int64, boolean, Float32 of pandas."""
    return kind.startswith(("int", "uint", "float", "bool"))


def refuse_missing(series: Any, where: str) -> None:
    missing = series.isna() if hasattr(series, "isna") else series.is_null()
    if missing.any():
        raise InputError(f"{where} has missing values: fill them, or make them a category of their own")


def as_words(series: Any, column: str) -> list[str]:
    """The categories of a column's rows."""
    refuse_missing(series, f"column {column!r}")
    return [str(value) for value in series.to_numpy()]


def one_hot(words: Sequence[str], categories: Sequence[str], where: str) -> Float[np.ndarray, "n k"]:
    """A column of 0 and 1 per category.

    Raises:
        InputError: a category that neither side had.
    """
    place = {word: i for i, word in enumerate(categories)}
    if unknown := next((word for word in words if word not in place), None):
        raise InputError(f"{where} has the category {unknown!r}, which neither side had in fit")
    return np.eye(len(categories))[[place[word] for word in words]]


def numbers(series: Any, where: str) -> Float[np.ndarray, " n"]:
    """A numeric column in float64."""
    refuse_missing(series, where)
    if is_categorical(series):
        raise InputError(f"{where} is categorical, and was numeric in fit")
    values = series.to_numpy()
    if values.dtype.kind == "O":  # of a type with missing values, none of which is here
        values = values.astype(np.float64)
    return exact_float64(to_tensor(values, where), where).numpy()
