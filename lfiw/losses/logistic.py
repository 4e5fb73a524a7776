"""The classifier's own loss: its log-odds are the log-ratio."""

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


class Logistic:
    """Binary cross-entropy of real (1) against generated (0) rows (Grover et al. 2019, section 2)."""

    uses_prior_odds = True

    def __call__(self, outputs: Float[Tensor, " n"], is_real: Bool[Tensor, " n"]) -> Float[Tensor, ""]:
        return F.binary_cross_entropy_with_logits(outputs, is_real.to(outputs.dtype))

    def log_ratio(self, outputs: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        return outputs
