"""Transitions (s, a, r, s′) in memory, for a model of the dynamics."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lfiw.data.batches import EpochBatches, passes
from lfiw.data.loading import TrainingLoader, batch_loader
from lfiw.errors import InputError


@dataclass(frozen=True)
class Transitions:
    """Aligned rows; the action as the environment used it, within its bounds."""

    observation: Float[Tensor, "n d"]
    action: Float[Tensor, "n a"]
    reward: Float[Tensor, " n"]
    next_observation: Float[Tensor, "n d"]

    def __len__(self) -> int:
        return len(self.reward)

    def inputs(self) -> Float[Tensor, "n i"]:
        """(s, a)."""
        return torch.cat([self.observation, self.action], dim=1)

    def targets(self) -> Float[Tensor, "n o"]:
        """(s′ − s, r)."""
        return torch.cat([self.next_observation - self.observation, self.reward[:, None]], dim=1)

    def rows(self, index: Tensor) -> "Transitions":
        return Transitions(*(values[index] for values in vars(self).values()))


class PairedRows(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Inputs and targets of rows chosen by an index of any shape, and the index."""

    def __init__(self, transitions: Transitions) -> None:
        self.inputs, self.targets = transitions.inputs(), transitions.targets()

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.inputs[index], self.targets[index], index

    def rows_of(self, batch: tuple[Tensor, Tensor, Tensor]) -> list[dict[str, Any]]:
        """Transitions, by the order in which they train; of each member of the ensemble in turn."""
        return [{"table": "training transitions", "rows": batch[2].flatten().tolist()}]


class MemberBatches(EpochBatches[Tensor]):
    """(members, rows) indices: each member passes through all rows once an epoch, in an order of its own.

    Rows that do not fill a batch are left out.
    """

    def __init__(self, num_rows: int, members: int, batch_size: int, seed: int) -> None:
        self.num_rows, self.members = num_rows, members
        self.batch_size = min(batch_size, num_rows)
        super().__init__(num_rows // self.batch_size, seed)

    def draw(self, generator: torch.Generator) -> Iterator[Int64[Tensor, "m n"]]:
        used = len(self) * self.batch_size
        order = torch.stack([passes(self.num_rows, used, generator) for _ in range(self.members)])
        yield from order.split(self.batch_size, dim=1)


class TransitionsDataModule(LightningDataModule):
    """Batches for an ensemble: its members see the same rows, in different orders; validation rows are for all.

    Raises:
        InputError: a side has no row, or a value is NaN or infinite.
    """

    def __init__(
        self, train: Transitions, validation: Transitions, *, members: int, batch_size: int = 256, seed: int = 0
    ) -> None:
        super().__init__()
        for name, part in (("training", train), ("validation", validation)):
            if not len(part) or batch_size < 1:
                raise InputError(f"dynamics: {len(part)} {name} transitions, batches of {batch_size}: at least 1 each")
            if not all(torch.isfinite(values).all() for values in vars(part).values()):
                raise InputError(f"dynamics: a {name} transition is NaN or infinite: drop those episodes")
        self.train, self.validation = train, validation
        self.members, self.batch_size, self.seed = members, batch_size, seed

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor, Tensor]]:
        batches = MemberBatches(len(self.train), self.members, self.batch_size, self.seed)
        return TrainingLoader(PairedRows(self.train), batches)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor, Tensor]]:
        blocks = torch.arange(len(self.validation)).split(2000)
        return batch_loader(PairedRows(self.validation), blocks)
