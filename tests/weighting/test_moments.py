"""Weights that match moments: an exponential tilt, at the optimum of the penalised problem."""

import numpy as np
import pytest
import torch

from lfiw.weighting.moments import FAR, RIDGE, match_moments


def sides(num_real: int = 400, num_generated: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(0)
    real = random.normal([1.0, 50.0], [1.0, 3.0], (num_real, 2))
    generated = random.normal([0.5, 52.0], [1.2, 2.0], (num_generated, 2))
    return torch.from_numpy(real), torch.from_numpy(generated)


def test_the_tilt_solves_the_penalised_problem() -> None:
    """∇ = 0: Σ wφ − mean φ(real) = −λθ, with θ read off the weights by least squares."""
    real, generated = sides()
    before = torch.rand(300, generator=torch.Generator().manual_seed(0)) + 0.5
    after = match_moments(before, real, generated).numpy()
    both = np.concatenate([real, generated])
    z = ((both - both.mean(0)) / both.std(0, ddof=1)).clip(-FAR, FAR)
    phi = np.hstack([z, z**2])
    phi = (phi - phi.mean(0)) / phi.std(0, ddof=1)
    of_real, of_generated = phi[:400], phi[400:]
    tilt = np.log(after / before.double().numpy())
    theta, residual, *_ = np.linalg.lstsq(np.column_stack([of_generated, np.ones(300)]), tilt, rcond=None)
    assert residual.item() < 1e-18
    gap = after @ of_generated - of_real.mean(0)
    np.testing.assert_allclose(gap, -(RIDGE + 4 / 400) * theta[:4], atol=1e-4)  # the optimiser's tolerance
    assert abs(after.sum() - 1) < 1e-12


def test_means_and_spreads_come_near_to_the_real_ones() -> None:
    real, generated = sides()
    uniform = torch.full((300,), 1 / 300, dtype=torch.float64)
    after = match_moments(uniform, real, generated)
    for power in (1, 2):
        goal, start = (real**power).mean(0), (generated**power).mean(0)
        assert ((after @ generated**power - goal).abs() < 0.25 * (start - goal).abs()).all()


def test_scale_constant_columns_and_rows_without_weight() -> None:
    real, generated = sides()
    weights = torch.ones(300, dtype=torch.float64)
    weights[:50] = 0
    after = match_moments(weights, real, generated)
    assert (after[:50] == 0).all()
    torch.testing.assert_close(match_moments(7 * weights, real, generated), after)
    wider = [torch.cat([side, torch.full((len(side), 1), 3.0)], dim=1) for side in (real, generated)]
    torch.testing.assert_close(match_moments(weights, *wider), after, atol=1e-6, rtol=1e-3)


def test_weighted_real_rows_set_the_goal() -> None:
    real, generated = sides()
    of_real = (real[:, 0] > 1).double()
    after = match_moments(torch.ones(300), real, generated, of_real)
    goal, start = real[real[:, 0] > 1, 0].mean(), generated[:, 0].mean()
    assert abs(after @ generated[:, 0] - goal) < 0.4 * abs(start - goal)


@pytest.mark.parametrize(("unit", "offset"), [(1e-12, 0.0), (1e-150, 0.0), (1e12, 0.0), (1.0, 1e11)])
def test_units_and_offsets_change_nothing(unit: float, offset: float) -> None:
    """A length in metres or picometres, a time since 1970: the weights are the same."""
    real, generated = sides()
    weights = torch.ones(300)
    goal = match_moments(weights, real, generated)
    moved = match_moments(weights, unit * (real + offset), unit * (generated + offset))
    torch.testing.assert_close(moved, goal, rtol=1e-2, atol=1e-9)
    assert (goal.max() / goal.min()) > 10  # uniform weights, as without columns, would be far off


def test_constant_columns_alone_leave_the_weights() -> None:
    weights = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    found = match_moments(weights, torch.ones(5, 2), torch.ones(3, 2))
    torch.testing.assert_close(found, weights / 8)
