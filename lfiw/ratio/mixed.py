"""Real and generated samples together: the data module that every ratio classifier trains on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pytorch_lightning import LightningDataModule
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader

from lfiw.data.batches import MixedBatches, RowsInOrder, TrainingLoader, batch_loader, mix_seeds
from lfiw.data.encoding import VECTOR, as_tables, samples_column
from lfiw.data.splits import (
    GENERATED,
    REAL,
    Batch,
    MixedRows,
    Subset,
    cross_fitting_rows,
    everything,
    rows_in,
    split_rows,
    units_of,
)
from lfiw.data.table import GROUP, WEIGHT, Table, table_name
from lfiw.errors import InputError
from lfiw.ratio.resident import is_resident, resident
from lfiw.schemas import MixedData, Run, check_values
from lfiw.weighting.resampling import drawn_by_weight

PARTS = ("train", "validation", "evaluation")
COARSE = 0.01  # of a column's spread: rounding that is worth a word
STATISTICS_ROWS = 20_000  # rows per side that the input's mean and scale are taken from


@dataclass(frozen=True)
class InputSpec:
    """What the classifier is fed: the shape of a sample, and the affine map that standardises it.

    Args:
        column: name in the tables.
        shape, dtype: of one sample, as `torch.uint8`.
        mean, std: of the raw values over the training rows of both sides: one a channel of images (c, h, w), one a
            feature of vectors (d,).
    """

    column: str
    shape: tuple[int, ...]
    dtype: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


class MixedDataModule(LightningDataModule):
    """Splits two tables, mixes them for training, and passes through them in order for everything else.

    Args:
        real, generated: tables of samples with the same input column; or arrays, tensors or data frames
            (`lfiw.data.encoding`).
        real_evaluation, generated_evaluation: tables whose rows are all for evaluation; the training tables are then
            split into train and validation alone.
        input: the column that the classifier sees; or several, each for classifiers of its own. If None, the samples
            themselves.
        fractions: shares of train, validation and evaluation rows, the same on both sides.
        split_seed, seed: of the split; of the batches and their augmentation.
        folds: K > 1 for cross-fitting: all generated rows are evaluation rows, and `use_fold` chooses which K-th of the
            rows neither trains nor validates. Real evaluation rows are as without it.
        mixing: balanced or natural (`MixedBatches`).
        batch_size: rows per training step over all processes; evaluation_batch_size: rows per step and process.
        augment: name in `lfiw.schemas.AUGMENTATIONS`.
        grouped: rows that share a value of the column `group` stay in one part and one fold; the fractions are then of
            the groups.
        weighted: the column `weight` weights the rows in training, each side on a scale of its own; validation rows are
            drawn by it.
        device_resident: hold the input of the training and validation rows on the trainer's device; the batches are
            the same. If None, on a CUDA GPU whose free memory is four times what they take.

    Raises:
        InputError: an option has no such value; (in `setup`) the sides' samples differ in shape or dtype, there are no
            rows to train or to validate on, or the evaluation rows are the training table's; (in the loaders) the rows
            do not fit the device.
    """

    def __init__(
        self,
        real: Any,
        generated: Any,
        *,
        real_evaluation: Table | None = None,
        generated_evaluation: Table | None = None,
        input: str | Sequence[str] | None = None,
        fractions: Mapping[str, float] | None = None,
        split_seed: int = 0,
        seed: int = 0,
        folds: int = 1,
        mixing: str = "balanced",
        batch_size: int = 256,
        evaluation_batch_size: int = 1000,
        augment: str = "none",
        num_workers: int = 0,
        grouped: bool = False,
        weighted: bool = False,
        device_resident: bool | None = None,
    ) -> None:
        super().__init__()
        check_values({"mixing": mixing, "augment": augment, "num_workers": num_workers}, MixedData, "data.")
        check_values({"folds": folds}, Run)
        if real is not None and generated is not None:
            real, generated = as_tables(real, generated)
        self.real: Table | None = real
        self.generated: Table | None = generated
        self.real_evaluation, self.generated_evaluation = real_evaluation, generated_evaluation
        input = input or (samples_column(real) if real is not None else "image")
        self.inputs = [input] if isinstance(input, str) else list(input)
        if not self.inputs or len(set(self.inputs)) < len(self.inputs):
            raise InputError(f"data.input={self.inputs}: expected one column or several different ones")
        self._input = 0
        self.concatenated: list[str] = []  # what the one input was put together from
        self.fractions = dict(fractions or zip(PARTS, (0.4, 0.2, 0.4), strict=True))
        if absent := set(PARTS) - set(self.fractions):
            raise InputError(f"fractions {self.fractions} lack {', '.join(sorted(absent))}: 0 leaves a part empty")
        if folds > 1 and generated_evaluation is not None:
            raise InputError(
                f"folds={folds} scores every row of data.generated by a classifier that never saw it: leave out "
                "data.generated_evaluation, or use folds=1"
            )
        self.split_seed, self.seed, self.folds = split_seed, seed, folds
        self.mixing, self.batch_size, self.evaluation_batch_size = mixing, batch_size, evaluation_batch_size
        self.augment, self.num_workers = augment, num_workers
        self.grouped, self.weighted, self.device_resident = grouped, weighted, device_resident
        self.splits: dict[str, tuple[Subset, Subset]] = {}
        self._fold_splits: list[dict[str, tuple[Subset, Subset]]] = []
        self.classifier_weights: Path | None = None  # data sets that make a classifier of their classes say where

    def setup(self, stage: str | None = None) -> None:
        """Split; the same in every process."""
        if self.splits:
            return
        self.open_tables()
        assert self.real is not None
        assert self.generated is not None
        for column in self.inputs:
            check_same_samples(self.real, self.generated, column)
            shape = self.real.column(column).shape
            if not shape or (self.augment != "none" and len(shape) != 3):
                raise InputError(
                    f"column {column!r} has samples of shape {shape}; expected (d,), or (channels, height, width) for "
                    f"images and their augmentation (data.augment={self.augment})"
                )
        real, generated = (self._split_side(side) for side in (REAL, GENERATED))
        self._fold_splits = [
            {name: (of_real[name], of_generated[name]) for name in of_real}
            for of_real, of_generated in zip(real, generated, strict=True)
        ]
        self.use_fold(0)
        for subset in self.splits["train"]:
            for column in self.inputs:
                warn_of_rounding(subset, column)

    @property
    def input(self) -> str:
        """The column that is trained on now; it can be set to be the only one."""
        return self.inputs[self._input]

    @input.setter
    def input(self, column: str) -> None:
        self.inputs, self._input = [column], 0

    def use_input(self, number: int) -> None:
        """Train on this one of `inputs` from now on."""
        self._input = number

    @property
    def seen(self) -> list[str]:
        """All columns that some classifier of the run sees."""
        return [*self.inputs, *self.concatenated]

    def use_fold(self, fold: int) -> None:
        """Train and validate by this fold from now on; without cross-fitting there is one, 0."""
        self.splits = {name: self._fold_splits[fold][name] for name in PARTS}

    def _split_side(self, side: int) -> list[dict[str, Subset]]:
        """The parts of one side's rows, fold by fold."""
        table = (self.real, self.generated)[side]
        evaluation = (self.real_evaluation, self.generated_evaluation)[side]
        assert table is not None
        seed = 2 * self.split_seed + side
        available = self.available_rows(side)
        units = units_of(table[GROUP][available] if self.grouped else None, len(available))
        fractions = dict(self.fractions)
        whole = evaluation is not None or (self.folds > 1 and side == GENERATED)
        if evaluation is not None:
            for column in self.inputs:
                check_same_samples(table, evaluation, column)
            if same_table(table, evaluation):
                raise InputError(f"{table} is given for evaluation too: leave that out to evaluate on a part of it")
        if whole:
            del fractions["evaluation"]
            fractions = shares_of(fractions)
        num_units = int(units.max()) + 1
        parts_of_units = split_rows(num_units, fractions, seed)

        def rows_of(chosen: Tensor) -> Tensor:
            return available[rows_in(units, chosen) if self.grouped else chosen]

        if evaluation is not None:
            scored = everything(evaluation)
        else:
            scored = Subset(table, available if whole else rows_of(parts_of_units.pop("evaluation")))
        if self.folds > 1:
            kept = torch.cat([parts_of_units["train"], parts_of_units["validation"]]).sort().values
            fitting = shares_of({name: self.fractions[name] for name in ("train", "validation")})
            # seeds of their own: the folds of one side and the split of the other would else draw the same order
            parts = cross_fitting_rows(kept, self.folds, fitting, seed=mix_seeds(self.split_seed, side, self.folds))
        else:
            parts = [{**parts_of_units, "held_out": parts_of_units["train"][:0]}]
        parts = [{name: rows_of(chosen) for name, chosen in part.items()} for part in parts]
        for name in ("train", "validation"):
            if any(not len(part[name]) for part in parts):
                raise InputError(f"data.fractions.{name}={self.fractions[name]:g} leaves no row for it")
        return [{**{name: Subset(table, chosen) for name, chosen in p.items()}, "evaluation": scored} for p in parts]

    def fitted_rows(self, side: int) -> Subset:
        """Rows of a side that some classifier trains on, is chosen by or is calibrated on; after `setup`."""
        parts = [self._fold_splits[0][name][side] for name in ("train", "validation", "held_out")]
        return Subset(parts[0].table, torch.cat([part.rows for part in parts]).sort().values)

    def available_rows(self, side: int) -> Tensor:
        """Rows of a side's table that are samples of that side, ascending: all, unless a data set knows better."""
        table = (self.real, self.generated)[side]
        assert table is not None
        return torch.arange(len(table))

    def exact_log_ratio(self, subset: Subset) -> Tensor | None:
        """(n,): exact log p_data/p_model of generated rows, up to a constant, where the data set knows it."""
        return None

    def folds_of(self, table: Table) -> Tensor:
        """(rows,): the fold that holds out each row of a table; −1 where none does, for no classifier trains on it."""
        fold_of = torch.full((len(table),), -1)
        for fold, split in enumerate(self._fold_splits):
            for subset in split["held_out"]:
                if subset.table is table:
                    fold_of[subset.rows] = fold
        return fold_of

    def open_tables(self) -> None:
        """Called by `setup` before the first use of the tables; data sets that open files do it here."""

    @property
    def tables(self) -> dict[str, Table]:
        """The tables by what they hold."""
        named = {
            "real": self.real,
            "generated": self.generated,
            "real_evaluation": self.real_evaluation,
            "generated_evaluation": self.generated_evaluation,
        }
        return {name: table for name, table in named.items() if table is not None}

    @property
    def samples(self) -> str:
        """The column of the samples themselves: `image`, or `vector` where there are no images."""
        assert self.real is not None
        return samples_column(self.real)

    @property
    def counts(self) -> tuple[int, int]:
        """(num_real, num_generated): rows that the training loss effectively sees, whose ratio is the prior odds."""
        if self.mixing == "balanced":
            return 1, 1
        real, generated = self.splits["train"]
        return len(real), len(generated)

    @property
    def reading(self) -> dict[str, int]:
        """How passes in order read the tables: rows per step and process, and loader processes."""
        return {"batch_size": self.evaluation_batch_size, "num_workers": self.num_workers}

    def input_spec(self) -> InputSpec:
        """Shape and statistics of the classifier's input, from the training rows of both sides in equal parts."""
        sides = []
        for subset in self.splits["train"]:
            step = max(1, len(subset) // STATISTICS_ROWS)
            sides.append(subset.read(torch.arange(0, len(subset), step), [self.input])[self.input])
        real, generated = sides
        dtype = torch.promote_types(real.dtype, generated.dtype)
        # images: one mean per channel; vectors: one per feature
        axes = (0, *range(2, real.ndim)) if real.ndim > 2 else (0,)
        centre = torch.zeros_like(real[:1].double().mean(axes))
        if dtype == torch.float64:  # squares of values far from zero would lose their spread
            centre = real[:1].double().mean(axes)
        moments = []
        for values in sides:
            shifted = values.double() - centre.view(-1, *(1,) * (real.ndim - 2))
            moments.append((shifted.mean(axes), shifted.square().mean(axes)))
        shift = (moments[0][0] + moments[1][0]) / 2
        variance = (moments[0][1] + moments[1][1]) / 2 - shift.square()
        mean, std = centre + shift, variance.clamp(min=0).sqrt()
        check_scale(sides, std, dtype, self.input)
        # a feature that is constant up to rounding carries nothing: leave it constant
        rounding = torch.finfo(dtype if dtype.is_floating_point else torch.float32).eps * mean.abs()
        std[std <= rounding] = 1.0
        return InputSpec(self.input, tuple(real.shape[1:]), str(dtype), tuple(mean.tolist()), tuple(std.tolist()))

    def train_dataloader(self) -> DataLoader[Batch]:
        real, generated = self.splits["train"]
        rank, world_size = self._processes()
        batches = MixedBatches(
            len(real),
            len(generated),
            batch_size=self.batch_size,
            mixing=self.mixing,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
        )
        columns = [self.input, *([WEIGHT] if self.weighted else [])]
        subsets, options = self._loaded((real, generated), columns)
        gpu = self._device() if options["pin_memory"] else None
        return TrainingLoader(MixedRows(subsets, columns, self.augment), batches, **options, gpu=gpu)

    def val_dataloader(self) -> DataLoader[Batch]:
        validation = self.splits["validation"]
        if self.weighted:
            real, generated = (weighted_draw(subset, self.seed) for subset in validation)
            validation = real, generated
        subsets, options = self._loaded(validation, [self.input])
        rows = MixedRows(subsets, [self.input])
        rank, world_size = self._processes()
        order = RowsInOrder(len(rows), batch_size=self.evaluation_batch_size, rank=rank, world_size=world_size)
        return batch_loader(rows, order, **options)

    def _loaded(
        self, subsets: tuple[Subset, Subset], columns: Sequence[str]
    ) -> tuple[Sequence[Subset], dict[str, Any]]:
        """The subsets, on the device if they are to be, and the options of a loader of them."""
        device = self._device()
        if is_resident(subsets, columns, device, self.device_resident):
            # other processes cannot read what is there, and only the host's memory can be pinned
            return [resident(subset, columns, device) for subset in subsets], {"num_workers": 0, "pin_memory": False}
        return subsets, {"num_workers": self.num_workers, "pin_memory": device.type == "cuda"}

    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def _processes(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)


def weighted_draw(subset: Subset, seed: int) -> Subset:
    """As many rows, drawn by their weights: a row of weight 2 stands there about twice."""
    generator = torch.Generator().manual_seed(seed)
    return Subset(subset.table, subset.rows[drawn_by_weight(subset.column(WEIGHT), len(subset), generator)])


def check_scale(sides: Sequence[Tensor], std: Float[Tensor, " d"], dtype: torch.dtype, name: str) -> None:
    """Requires values that can be brought to standard units.

    Args:
        sides: training rows of both; images: (n, c, h, w), vectors: (n, d).
        std: one per channel or feature.
        dtype: of the values.

    Raises:
        InputError: values that are NaN or infinite, or whose spread overflows or vanishes in their precision.
    """
    if not dtype.is_floating_point:
        return
    if not all(torch.isfinite(values).all() for values in sides):
        raise InputError(f"column {name!r} has NaN or infinite values in the training rows: drop those")
    if not torch.isfinite(std).all():
        raise InputError(f"column {name!r}: the squares of its values overflow float64; divide them by a constant")
    axes = (0, *range(2, sides[0].ndim))
    highest, lowest = (
        f(torch.stack([f(values, axes).double() for values in sides]), 0) for f in (torch.amax, torch.amin)
    )
    spread, size = highest - lowest, torch.maximum(highest.abs(), lowest.abs())
    varies = spread > 8 * torch.finfo(dtype).eps * size
    computed = torch.promote_types(dtype, torch.float32)  # half precision is computed in float32
    vanishes = (std < torch.finfo(computed).tiny) | (spread.square() < torch.finfo(torch.float64).tiny)
    if (vanishing := varies & vanishes).any():
        worst = int(vanishing.int().argmax())
        raise InputError(
            f"column {name!r}: number {worst} varies by {spread[worst].item():.3g} alone, too little for {computed}; "
            "multiply it by a constant"
        )


def warn_of_rounding(subset: Subset, name: str) -> None:
    """Say so where float32 (or less) has rounded a vector's values to more than 1 % of their spread.

    Columns that were computed are left alone: a network's outputs have no digits that were lost on the way in.
    """
    column = subset.table.column(name)
    coarse = column.dtype.is_floating_point and column.dtype != torch.float64
    if len(column.shape) != 1 or column.stamp or not coarse:
        return
    step = max(1, len(subset) // STATISTICS_ROWS)
    values = subset.read(torch.arange(0, len(subset), step), [name])[name].double()
    spread = values.std(0, correction=0)
    share = torch.finfo(column.dtype).eps * values.abs().mean(0) / spread.clamp(min=torch.finfo(torch.float64).tiny)
    share[(values == values[:1]).all(0)] = 0.0
    worst = int(share.argmax())
    if share[worst] > COARSE:
        rank_zero_only(print)(
            f"{table_name(subset.table)}: column {name!r} is {column.dtype}, whose steps are "
            f"{share[worst].item():.0%} of the spread of number {worst} (about {values[0, worst].item():.6g}): if its "
            "source has more digits, import it again, which keeps them"
        )


def shares_of(fractions: Mapping[str, float]) -> dict[str, float]:
    """The fractions, scaled to sum to 1."""
    total = sum(fractions.values()) or 1.0
    return {name: share / total for name, share in fractions.items()}


def same_table(first: Table, second: Table) -> bool:
    """Whether two tables are one, in memory or on disk."""
    path = getattr(first, "path", None)
    return first is second or (path is not None and path == getattr(second, "path", None))


def check_same_samples(first: Table, second: Table, column: str) -> None:
    """Raises InputError unless the column has the same shape and dtype in both tables.

    Vectors may be float32 on one side and float64 on the other: each has the precision that its values need.
    """
    a, b = first.column(column), second.column(column)
    both_vectors = len(a.shape) == 1 and a.dtype.is_floating_point and b.dtype.is_floating_point
    if a.shape != b.shape or (a.dtype != b.dtype and not both_vectors):
        raise InputError(
            f"the two tables do not match in column {column!r}: {a.dtype} {tuple(a.shape)} in {table_name(first)}, "
            f"{b.dtype} {tuple(b.shape)} in {table_name(second)}; a classifier would tell them apart by that alone"
        )
    here, there = imported_columns(first), imported_columns(second)
    if column == VECTOR and here and there and here != there and len(here) > 1:
        places = [place for place, names in enumerate(zip(here, there, strict=True)) if len(set(names)) > 1]
        raise InputError(
            f"number {places[0]} of the vectors is {here[places[0]]!r} in {table_name(first)}, {there[places[0]]!r} in "
            f"{table_name(second)}: import both with --columns {' '.join(here)}"
        )


def imported_columns(table: Table) -> list[str]:
    """Names of the numbers in a table's vectors, if it was imported from named columns."""
    source = getattr(table, "source", {})
    original = source.get("samples")  # of resampled rows
    names = (original if isinstance(original, dict) else source).get("columns")
    return names if isinstance(names, list) and table.column(VECTOR).shape == (len(names),) else []
