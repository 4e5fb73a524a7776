"""One labelled table as both sides: half of it as it is, half of it with other class proportions."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lfiw.data.mixed import REAL, MixedDataModule
from lfiw.data.splits import Subset
from lfiw.data.table import Table
from lfiw.errors import InputError

LABEL = "label"


class SkewedDataModule(MixedDataModule):
    """A "generator" whose exact density ratio is known: it draws real samples, some classes too rarely.

    A random half of the table's rows is the real side. Of the other half the generator keeps each row with the
    probability `keep` of its class, so that p(x)/p_θ(x) = p(class)/p_θ(class) with the shares of the two sides' rows
    (data-set bias as in Choi et al., ICML 2020).

    Args:
        table: with a column `label`, whole numbers from 0.
        keep: for each class the share of its rows that the generator keeps, in (0, 1].
        real_evaluation: real rows to score on.
        options: of `MixedDataModule`.

    Raises:
        InputError: no labels, more classes than `keep` has shares, or a class that one side lacks.
    """

    def __init__(
        self, table: Table, keep: Sequence[float], *, real_evaluation: Table | None = None, **options: Any
    ) -> None:
        super().__init__(table, table, real_evaluation=real_evaluation, **options)
        if not all(0 < share <= 1 for share in keep):
            raise InputError(f"data.keep={list(keep)}: each share must lie in (0, 1], or no weight can bring it back")
        if LABEL not in table.columns:
            raise InputError(f"{table} has no column {LABEL!r}: a skew by class needs labels")
        self._labels: Int64[Tensor, " n"] = table[LABEL].long()
        if self._labels.numel() and (self._labels.min() < 0 or self._labels.max() >= len(keep)):
            raise InputError(f"data.keep has {len(keep)} shares, the labels go from 0 to {int(self._labels.max())}")
        generator = torch.Generator().manual_seed(self.split_seed)
        order = torch.randperm(len(table), generator=generator)
        half = len(table) // 2
        kept = torch.rand(len(table), generator=generator) < torch.tensor(keep)[self._labels]
        others = order[half:]
        self._rows = (order[:half].sort().values, others[kept[others]].sort().values)
        self._log_ratio_of_class = self._exact(len(keep))

    def _exact(self, num_classes: int) -> Float[Tensor, " c"]:
        real, generated = (
            torch.bincount(self._labels[rows], minlength=num_classes).double() / max(1, len(rows))
            for rows in self._rows
        )
        if lacking := [c for c in range(num_classes) if bool(real[c] > 0) != bool(generated[c] > 0)]:
            raise InputError(f"class {lacking[0]} has rows on one side only: give it a larger share in data.keep")
        return (real / generated).log()

    def available_rows(self, side: int) -> Tensor:
        return self._rows[0 if side == REAL else 1]

    def exact_log_ratio(self, subset: Subset) -> Tensor | None:
        return self._log_ratio_of_class[self._labels[subset.rows]]
