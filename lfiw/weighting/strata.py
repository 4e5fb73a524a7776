"""Post-stratification: weights under which each class has the share that it has among real rows."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lfiw.errors import InputError


@dataclass(frozen=True)
class Strata:
    """The class of each row, and the share of each class among real rows.

    A ratio learned from images says little of how many there are of each class, and flattening it takes away most of
    that. Shares are easily counted, though: within a class the ratio decides, between classes the shares do
    (post-stratification: Holt & Smith, J. R. Stat. Soc. A 142, 1979).

    Args:
        of_row: (n,) in 0 … c − 1.
        counts: (c,) of the classes among real rows.

    Raises:
        InputError: not integers, a class without a count, a negative count, or no row of a class that real rows have.
    """

    of_row: Int64[Tensor, " n"]
    counts: Int64[Tensor, " c"]

    def __post_init__(self) -> None:
        for name, values in (("of_row", self.of_row), ("counts", self.counts)):
            if not isinstance(values, Tensor) or values.ndim != 1 or not len(values) or values.is_floating_point():
                raise InputError(f"strata: {name} must be a non-empty vector of integers, a torch tensor")
        low, high = (int(x) for x in self.of_row.aminmax())
        if not 0 <= low <= high < len(self.counts):
            raise InputError(f"strata: classes {low} … {high} must lie in 0 … {len(self.counts) - 1}")
        if (self.counts < 0).any():
            raise InputError(f"strata: the smallest count is {int(self.counts.min())}; counts must be ≥ 0")
        if not (self.counts[self.of_row] > 0).any():
            raise InputError(f"strata: none of {len(self.of_row):,} rows is of a class that a real row has")

    def __getitem__(self, rows: Int64[Tensor, " k"]) -> "Strata":
        """Returns the classes of some rows, with the same counts."""
        return Strata(self.of_row[rows], self.counts)

    @property
    def shares(self) -> Float[Tensor, " c"]:
        """Share of each class, float64; each counts half a row more, so that no weight is 0."""
        counts = self.counts.double() + 0.5
        return counts / counts.sum()

    @property
    def lacking(self) -> Int64[Tensor, " k"]:
        """Classes that real rows have and none of these rows."""
        here = torch.bincount(self.of_row, minlength=len(self.counts))
        return ((here == 0) & (self.counts > 0)).nonzero().squeeze(1)

    def lacking_in_words(self) -> str:
        """Says how much of the real rows no weight can stand for; empty if every class has rows."""
        if not len(self.lacking):
            return ""
        share = self.counts[self.lacking].sum().item() / self.counts.sum().item()
        named = ", ".join(map(str, self.lacking.tolist()[:5])) + ", …" * (len(self.lacking) > 5)
        return f"; without generated rows, and so without their share ({share:.1%} of real rows): class {named}"

    def shifts(self, log_weights: Float[Tensor, " n"]) -> Float[Tensor, " c"]:
        """Returns what to add to log-weights in each class, so that the weights of a class sum to its share of all.

        A class without rows cannot be given a share; its shift is 0, and the others keep their proportions.
        """
        log_w, rows = log_weights.double(), self.of_row.long()
        # each class on its own scale: its weights may all be too small for that of the largest
        highest = torch.full((len(self.counts),), -torch.inf, dtype=torch.float64)
        highest.scatter_reduce_(0, rows, log_w, "amax")
        log_sums = torch.zeros_like(highest).index_add_(0, rows, (log_w - highest[rows]).exp()).log() + highest
        shifts = self.shares.log() - log_sums + torch.logsumexp(log_w, dim=0)
        return torch.where(log_sums.isneginf(), 0.0, shifts)

    def balance(self, log_weights: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Returns log-weights whose classes sum to their shares."""
        return log_weights + self.shifts(log_weights)[self.of_row]
