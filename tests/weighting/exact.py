"""Exact distributions of the samplers on a handful of rows."""

import itertools

import numpy as np
from scipy.integrate import quad
from scipy.stats import chisquare

WEIGHTS = np.array([0.2, 1.0, 3.0, 7.0])


def pool_distribution(weights: np.ndarray, pool_size: int) -> np.ndarray:
    """P(row) of one draw of SIR: the average over all n^T pools of the row's share of the pool's weight."""
    n = len(weights)
    total = np.zeros(n)
    for pool in itertools.product(range(n), repeat=pool_size):
        w = weights[list(pool)]
        np.add.at(total, list(pool), w / w.sum())
    return total / n**pool_size


def pool_distribution_by_laplace(weights: np.ndarray, pool_size: int) -> np.ndarray:
    """The same for any T: T/n ∫ wᵢ exp(−wᵢt) φ(t)^(T−1) dt with φ(t) = mean exp(−wt).

    For w/(w + s) = ∫ w exp(−(w + s)t) dt, and the other T − 1 of the pool are independent.
    """
    n = len(weights)

    def integral(w: float) -> float:
        return quad(lambda t: w * np.exp(-w * t) * np.exp(-weights * t).mean() ** (pool_size - 1), 0, np.inf)[0]

    return pool_size / n * np.array([integral(w) for w in weights])


def plackett_luce(weights: np.ndarray, length: int) -> dict[tuple[int, ...], float]:
    """Probability of each ordered draw without replacement."""
    found = {}
    for order in itertools.permutations(range(len(weights)), length):
        left, probability = weights.sum(), 1.0
        for row in order:
            probability *= weights[row] / left
            left -= weights[row]
        found[order] = probability
    return found


def chain_transition(weights: np.ndarray) -> np.ndarray:
    """(from, to) of independence Metropolis–Hastings with a uniform proposal."""
    n = len(weights)
    moves = np.minimum(1, weights[None, :] / weights[:, None]) / n
    moves[np.diag_indices(n)] += 1 - moves.sum(axis=1)
    return moves


def chain_distribution(weights: np.ndarray, start: float, burn_in: int, steps: int) -> np.ndarray:
    """Of the state so many steps after the burn-in; if the start was not left in it, the next proposal is taken."""
    n, move = len(weights), chain_transition(weights)
    stay, state = 1.0, np.zeros(n)
    accept = np.minimum(1, weights / start) / n
    for _ in range(burn_in):
        state = state @ move + stay * accept
        stay *= 1 - accept.sum()
    state = state @ move + stay / n
    return state @ np.linalg.matrix_power(move, steps - 1)


def check_counts(counts: np.ndarray, probability: np.ndarray) -> None:
    """χ² of independent draws; wrongly refused once in a thousand, and the seeds are fixed."""
    assert counts.sum() > 0
    assert chisquare(counts, probability * counts.sum()).pvalue > 1e-3
