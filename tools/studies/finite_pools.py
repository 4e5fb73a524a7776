"""What sampling-importance-resampling with pools of T candidates draws from, where both densities are known."""

import numpy as np
from numpy.typing import NDArray

LOG_TIMES = np.linspace(-30, 30, 1201)  # of the integral over t, which is smooth on a log axis

Array = NDArray[np.float64]


def finite_pool_density(x: Array, model: Array, log_ratio: Array, pool_size: int) -> Array:
    """Density of one draw on an equally spaced grid that holds all of the model's mass.

    T·q(x) E[w(x)/(w(x) + S)], S the weight of the other T − 1 candidates. With 1/(w + S) = ∫ exp(−(w + S)t) dt this is
    T·q(x) ∫ w(x) exp(−w(x)t) φ(t)^(T−1) dt, φ(t) = E_q[exp(−wt)].

    Args:
        x: grid.
        model: q(x).
        log_ratio: log w(x), any scale.
    """
    w = np.exp(log_ratio - np.average(log_ratio, weights=model))
    times = np.exp(LOG_TIMES)
    decay = np.exp(-np.outer(times, w))
    step = x[1] - x[0]
    others = (decay @ model * step) ** (pool_size - 1)
    return pool_size * model * w * np.trapezoid(decay * (others * times)[:, None], LOG_TIMES, axis=0)
