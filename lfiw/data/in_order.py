"""Passes through tables in order, every row once: for prediction and scoring."""

from collections.abc import Callable, Sequence

from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from lfiw.data.batches import RowsInOrder
from lfiw.data.loading import batch_loader
from lfiw.data.mixed import Batch, MixedRows
from lfiw.data.splits import Subset


class InOrderDataModule(LightningDataModule):
    """One pass for each sequence of subsets, for `trainer.predict` (all passes) and `trainer.test` (the first).

    Args:
        passes: called when the loaders are made. The subsets of a pass stand one after another; `side` in a batch is
            the number of the subset.
        columns: what a batch holds of each row.
        batch_size: rows a step a process.
    """

    def __init__(
        self,
        passes: Callable[[], Sequence[Sequence[Subset]]],
        columns: Sequence[str],
        *,
        batch_size: int,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.passes, self.columns = passes, list(columns)
        self.batch_size, self.num_workers = batch_size, num_workers

    def predict_dataloader(self) -> list[DataLoader[Batch]]:
        return [self._loader(subsets) for subsets in self.passes()]

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.passes()[0])

    def _loader(self, subsets: Sequence[Subset]) -> DataLoader[Batch]:
        assert self.trainer is not None
        rows = MixedRows(subsets, self.columns)
        order = RowsInOrder(
            len(rows),
            batch_size=self.batch_size,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )
        return batch_loader(rows, order, self.num_workers)
