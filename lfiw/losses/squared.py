"""Least-squares importance fitting."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from lfiw.losses.ratio_loss import side_mean


class Squared:
    """½ E_q[r²] − E_p[r] with r = softplus(output): the ratio with the least squared error under the model.

    uLSIF (Kanamori et al., JMLR 10, 2009) on a network. It weighs a large ratio's error by its square, and so fits the
    few rows of large ratio first. softplus grows linearly: no output overflows.
    """

    uses_prior_odds = False

    def __call__(self, outputs: Float[Tensor, " n"], is_real: Bool[Tensor, " n"]) -> Float[Tensor, ""]:
        ratio = F.softplus(outputs)
        return side_mean(ratio.square(), ~is_real) / 2 - side_mean(ratio, is_real)

    def log_ratio(self, outputs: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        # log softplus(x) = x for very negative x, where softplus itself is 0
        ratio = F.softplus(outputs).clamp(min=torch.finfo(outputs.dtype).tiny)
        return torch.where(outputs < -15, outputs, ratio.log())
