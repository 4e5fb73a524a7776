"""What candidates are drawn from, a batch at a time: `sample(num, generator)` → column → (num, …)."""

from typing import Protocol

import torch
from torch import Tensor

from lfiw.data.digits import DigitsDataModule
from lfiw.data.table import Table


class Candidates(Protocol):
    """A generator that can be asked for more. Fewer samples than asked for, or none, say that it has ended."""

    def sample(self, num: int, generator: torch.Generator) -> dict[str, Tensor]: ...


class CachedCandidates:
    """The samples of a table in order, each once.

    Args:
        table: of samples.
        columns: what is read of each.
    """

    def __init__(self, table: Table, columns: list[str]) -> None:
        self.table, self.columns = table, columns
        self._next = 0

    def sample(self, num: int, generator: torch.Generator) -> dict[str, Tensor]:
        start, self._next = self._next, min(self._next + num, len(self.table))
        return self.table.read(slice(start, self._next), self.columns)


class DigitsCandidates:
    """Fresh samples of the kernel density estimate whose samples experiment=digits has in its cache."""

    def __init__(self, datamodule: DigitsDataModule) -> None:
        self.datamodule = datamodule

    def sample(self, num: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {"image": self.datamodule.generate(num, generator)}
