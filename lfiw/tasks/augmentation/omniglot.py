"""Few drawings of many characters, and a generator's drawings beside them: the data of weighted augmentation."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Int64
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from lfiw.data.batches import RowsInOrder, SharedBatches, TrainingLoader, batch_loader, passes
from lfiw.data.splits import Batch, MixedRows, everything
from lfiw.data.table import ROW, Table, TensorTable, table_name
from lfiw.data.weighted_rows import WeightedDraw
from lfiw.errors import InputError
from lfiw.tasks.augmentation.drawing_sets import PARENT, rows_of_classes
from lfiw.tasks.augmentation.regimes import TrainingRows
from lfiw.weighting.weights import check_weights

COLUMNS = ("image", "label", "is_real", "weight")


class OmniglotDataModule(LightningDataModule):
    """Some classes of a labelled table, a few rows of each for training, and generated rows whose parents train.

    Batches carry `image`, `label` (int64, 0 … num_classes − 1), `is_real` (bool) and `weight` (float32). Rows that
    train, validate and test are different drawings; generated rows whose parents validate or test are never used.

    Args:
        real: table with `image` and `label`.
        generated: table with `image`, `label` and `parent`, a row of `real` (tools/cache_samples.py dagan).
        num_classes: to tell apart, drawn by `split_seed`; 0: all of the table.
        shots, validation_shots, test_shots: drawings of each class that train, validate and test.
        split_seed, seed: of the choice of classes and drawings; of the batches and their augmentation.
        batch_size: rows per training step over all processes; half of them generated where a regime has both sides.
        evaluation_batch_size: rows per step and process.
        steps_per_epoch: training steps between two validations, the same for every regime.
        augment: name in `lfiw.schemas.AUGMENTATIONS`, of both sides.

    Raises:
        InputError: too few classes, or too few drawings of one; generated rows that were made for other drawings, that
            have other labels than their parents, or are missing for a drawing that trains.
    """

    def __init__(
        self,
        real: Table,
        generated: Table,
        *,
        num_classes: int,
        shots: int,
        validation_shots: int,
        test_shots: int,
        split_seed: int = 0,
        seed: int = 0,
        batch_size: int = 64,
        evaluation_batch_size: int = 1000,
        steps_per_epoch: int = 50,
        augment: str = "none",
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        check_columns(real, ("image", "label"), "data.real", "tools/cache_dataset.py omniglot")
        check_columns(generated, ("image", "label", PARENT), "data.generated", "tools/cache_samples.py dagan")
        check_parents(real, generated)
        sizes = {"train": shots, "validation": validation_shots, "test": test_shots}
        self.classes, rows = choose_drawings(real["label"], num_classes, sizes, split_seed)
        self.num_classes = len(self.classes)
        self.drawings = {name: table_of(real, chosen, self.classes) for name, chosen in rows.items()}
        self.train_rows = rows["train"]
        self.generated_rows, self.parents = children_of(generated[PARENT], self.train_rows)
        self.generated = table_of(generated, self.generated_rows, self.classes)
        self.split_seed, self.seed = split_seed, seed
        self.batch_size, self.evaluation_batch_size = batch_size, evaluation_batch_size
        self.steps_per_epoch, self.augment, self.num_workers = steps_per_epoch, augment, num_workers
        self.use(TrainingRows(True, torch.arange(0), torch.empty(0, dtype=torch.float64)))

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(channels, height, width)."""
        return self.drawings["train"].column("image").shape

    def use(self, rows: TrainingRows) -> None:
        """Train on these from now on.

        Raises:
            InputError: there is no row, a generated row does not exist, or its weight is negative or not finite.
        """
        if not rows.real and not len(rows.generated):
            raise InputError("there is no row to train on")
        if len(rows.generated):
            check_weights(rows.weights)
        chosen = self.generated.read(rows.generated, ["image", "label"])
        made = {
            **chosen,
            "is_real": torch.zeros(len(rows.generated), dtype=torch.bool),
            "weight": torch.ones(len(rows.generated)) if rows.drawn else rows.weights.float(),
            ROW: self.generated_rows[rows.generated],
        }
        self.training = [everything(self.drawings["train"])] if rows.real else []
        self.passes: list[int | WeightedDraw] = [len(subset) for subset in self.training]
        if len(rows.generated):
            self.training.append(everything(TensorTable(made, self.generated.name)))
            self.passes.append(WeightedDraw(rows.weights, made["label"]) if rows.drawn else len(rows.generated))

    def train_dataloader(self) -> DataLoader[Batch]:
        rank, world_size = self._processes()
        batches = EqualParts(
            self.passes,
            batch_size=self.batch_size,
            num_batches=self.steps_per_epoch,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
        )
        return TrainingLoader(MixedRows(self.training, COLUMNS, self.augment), batches, self.num_workers)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._in_order("validation")

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._in_order("test")

    def _in_order(self, part: str) -> DataLoader[Batch]:
        rows = MixedRows([everything(self.drawings[part])], COLUMNS)
        rank, world_size = self._processes()
        order = RowsInOrder(len(rows), batch_size=self.evaluation_batch_size, rank=rank, world_size=world_size)
        return batch_loader(rows, order, self.num_workers)

    def _processes(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)


class EqualParts(SharedBatches):
    """Batches with as many rows of each subset, each passed through in random order, or drawn by weight.

    Args:
        subsets: of each, the number of its rows, or how an epoch's rows are drawn from it.
        batch_size: rows per step over all processes, a multiple of subsets × processes.
        num_batches: steps an epoch.

    Raises:
        InputError: the batch cannot be shared out.
    """

    def __init__(
        self,
        subsets: Sequence[int | WeightedDraw],
        *,
        batch_size: int,
        num_batches: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        unit = world_size * len(subsets)
        if batch_size % unit:
            raise InputError(f"data.batch_size={batch_size} must be a multiple of {unit}")
        self.subsets = subsets
        super().__init__(num_batches, batch_size, seed, rank, world_size)

    def positions(self, generator: torch.Generator) -> Int64[Tensor, "batches rows"]:
        rows = self.num_batches * self.batch_size // len(self.subsets)
        parts, first = [], 0
        for subset in self.subsets:
            if isinstance(subset, WeightedDraw):
                size, chosen = len(subset), subset.rows(rows, generator)
            else:
                size, chosen = subset, passes(subset, rows, generator)
            parts.append(chosen.view(self.num_batches, -1) + first)
            first += size
        return torch.cat(parts, dim=1)


def choose_drawings(
    labels: Int64[Tensor, " n"], num_classes: int, sizes: Mapping[str, int], seed: int
) -> tuple[Int64[Tensor, " classes"], dict[str, Int64[Tensor, " _"]]]:
    """Classes, ascending, and for each part its rows: class by class, as many of each, different ones in each part.

    Raises:
        InputError: there are fewer classes, or a chosen one has fewer drawings than all parts take.
    """
    rows = rows_of_classes(labels)
    if num_classes > len(rows):
        raise InputError(f"data.num_classes={num_classes}: the table of real drawings has {len(rows)} classes")
    generator = torch.Generator().manual_seed(seed)
    found = torch.tensor(list(rows))
    chosen = found[torch.randperm(len(found), generator=generator)[: num_classes or len(found)]].sort().values
    needed = sum(sizes.values())
    parts: dict[str, list[Tensor]] = {name: [] for name in sizes}
    for label in chosen.tolist():
        of_class = rows[label]
        if len(of_class) < needed:
            asked = " + ".join(f"{size} for {name}" for name, size in sizes.items())
            raise InputError(
                f"class {label} has {len(of_class)} drawings, {asked} are asked for: lower data.test_shots"
            )
        order = of_class[torch.randperm(len(of_class), generator=generator)]
        for name, part in zip(sizes, order[:needed].split(list(sizes.values())), strict=True):
            parts[name].append(part)
    return chosen, {name: torch.cat(part) for name, part in parts.items()}


def training_drawings(
    labels: Int64[Tensor, " n"], *, num_classes: int, shots: int, split_seed: int
) -> Int64[Tensor, " rows"]:
    """The rows that train an `OmniglotDataModule` of these options: all that a generator has to be asked for."""
    return choose_drawings(labels, num_classes, {"train": shots}, split_seed)[1]["train"]


def children_of(
    parents: Int64[Tensor, " m"], rows: Int64[Tensor, " n"]
) -> tuple[Int64[Tensor, " k"], Int64[Tensor, " k"]]:
    """Generated rows whose parent is among `rows`, ascending, and the place of each one's parent in `rows`.

    Raises:
        InputError: a row has no child.
    """
    place = torch.full((int(max(parents.max(), rows.max())) + 1,), -1)
    place[rows] = torch.arange(len(rows))
    of_parent = place[parents]
    children = (of_parent >= 0).nonzero().squeeze(1)
    missing = len(rows) - len(of_parent[children].unique())
    if missing:
        raise InputError(
            f"{missing} of {len(rows)} training drawings have no generated one: make data.generated again, for all of "
            "data.real (tools/cache_samples.py dagan)"
        )
    return children, of_parent[children]


def table_of(table: Table, rows: Int64[Tensor, " n"], classes: Int64[Tensor, " classes"]) -> TensorTable:
    """Rows of a table in memory, with labels counted among the chosen classes; each is real, with weight 1."""
    found = table.read(rows, ["image", "label"])
    return TensorTable(
        {
            "image": found["image"],
            "label": torch.searchsorted(classes, found["label"]),
            "is_real": torch.ones(len(rows), dtype=torch.bool),
            "weight": torch.ones(len(rows)),
            ROW: rows,
        },
        table_name(table),
    )


def check_columns(table: Table, names: tuple[str, ...], key: str, tool: str) -> None:
    """Raises InputError unless the table has these columns."""
    if absent := [name for name in names if name not in table.columns]:
        raise InputError(f"{key}: {table} has no {' and no '.join(absent)}: make it by {tool}")


def check_parents(real: Table, generated: Table) -> None:
    """Raises InputError unless the generated rows were made from these real ones and have their labels."""
    given = getattr(generated, "source", {}).get("given")
    identity = getattr(real, "identity", None)
    if given is not None and identity is not None and given != identity:
        raise InputError(
            f"data.generated was made from other drawings ({str(given)[:12]}) than data.real ({identity[:12]}): make "
            "it again (tools/cache_samples.py dagan)"
        )
    if real.column("image").shape != generated.column("image").shape:
        raise InputError(
            f"data.generated has images {generated.column('image').shape}, data.real {real.column('image').shape}"
        )
    parents = generated[PARENT]
    if parents.min() < 0 or parents.max() >= len(real):
        raise InputError(
            f"data.generated: parents {int(parents.min())} … {int(parents.max())} are not rows of data.real"
        )
    wrong = int((real["label"][parents] != generated["label"]).sum())
    if wrong:
        raise InputError(f"data.generated: {wrong:,} rows have another class than the drawing that they were made from")
