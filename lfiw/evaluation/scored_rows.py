"""What is scored: real and generated rows with their features, and one log-ratio per generated row."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from jaxtyping import Float, Int64
from torch import Tensor

from lfiw.data.splits import Subset, everything
from lfiw.data.table import TensorTable
from lfiw.weighting.strata import Strata
from lfiw.weighting.weights import Weighting


@dataclass(frozen=True)
class ScoredRows:
    """What is scored: rows with their features, and one log-ratio per generated row, whoever made them.

    Args:
        real, generated: rows of tables that hold the feature columns.
        log_ratio: (n,) of the generated rows.
        exact: (n,) their exact log-ratio up to a constant, if it is known.
        strata: their classes, whose shares weights can match.
        reference: further real rows, scored as if they were generated, for comparison.
    """

    real: Subset
    generated: Subset
    log_ratio: Float[Tensor, " n"]
    exact: Float[Tensor, " n"] | None = None
    reference: Subset | None = None
    strata: Strata | None = None

    @classmethod
    def of_tensors(
        cls, real: Mapping[str, Tensor], generated: Mapping[str, Tensor], log_ratio: Float[Tensor, " n"]
    ) -> "ScoredRows":
        """Rows in memory: column name → (rows, …)."""
        return cls(everything(TensorTable(dict(real))), everything(TensorTable(dict(generated))), log_ratio)

    def block(self, positions: Int64[Tensor, " k"]) -> "ScoredRows":
        """Some of the generated rows, against the same real ones."""
        chosen = Subset(self.generated.table, self.generated.rows[positions])
        exact = self.exact[positions] if self.exact is not None else None
        strata = self.strata[positions] if self.strata is not None else None
        return replace(self, generated=chosen, log_ratio=self.log_ratio[positions], exact=exact, strata=strata)

    def weights(self, weighting: Weighting) -> Float[Tensor, " n"]:
        """Weights of the generated rows, float64."""
        return weighting(self.log_ratio, self.strata)

    def log_weights(self, weighting: Weighting) -> Float[Tensor, " n"]:
        """Their logarithms before normalising."""
        return weighting.log_weights(self.log_ratio, self.strata)
