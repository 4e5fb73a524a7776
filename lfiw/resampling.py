"""Turn weighted samples into unweighted ones. Pure functions of log-ratios and a torch.Generator."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lfiw.errors import InputError
from lfiw.weights import check_log_ratio

CHUNK = 1 << 21  # pool entries held at once: 16 MiB an array


def sir(
    log_ratio: Float[Tensor, " n"],
    num_samples: int,
    pool_size: int,
    generator: torch.Generator | None = None,
) -> Int[Tensor, " num_samples"]:
    """Sampling-importance-resampling (Rubin 1987; Grover et al. 2019, algorithm 1).

    For each draw a pool of `pool_size` rows, uniform with replacement, and one row of it in proportion to its weight
    exp(log_ratio). Exact as the pool grows; a pool of 1 is the generator itself.

    Args:
        log_ratio: of the candidate rows; only differences matter.
        num_samples: number of draws.
        pool_size: candidates a draw.
        generator: source of randomness, on the device of `log_ratio`; torch's default one if None.

    Returns:
        Row indices (int64), independent draws, repeats possible.

    Raises:
        InputError: a log-ratio is NaN or infinite, there is none, or a count is not positive.
    """
    check_log_ratio(log_ratio)
    if num_samples < 1 or pool_size < 1:
        raise InputError(f"sir: num_samples={num_samples} and pool_size={pool_size} must both be at least 1")
    log_ratio = log_ratio.double()
    chosen = []
    rows_a_chunk = max(1, CHUNK // pool_size)
    for start in range(0, num_samples, rows_a_chunk):
        shape = (min(rows_a_chunk, num_samples - start), pool_size)
        pool = torch.randint(log_ratio.numel(), shape, generator=generator, device=log_ratio.device)
        # Gumbel-max: argmax(log w + Gumbel) is a draw in proportion to w, whatever the scale of w
        uniform = torch.rand(shape, generator=generator, device=log_ratio.device, dtype=torch.float64)
        winner = (log_ratio[pool] - (-uniform.log()).log()).argmax(dim=1, keepdim=True)
        chosen.append(pool.gather(1, winner).squeeze(1))
    return torch.cat(chosen)
