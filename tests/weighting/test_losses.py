"""Each loss finds the log-ratio of known densities, and never overflows."""

import math
from typing import Any

import pytest
import torch

from lfiw.errors import InputError
from lfiw.weighting.losses import LOSSES, build_loss

NAMES = list(LOSSES)
SHIFT = 1.0


def rows(n: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    """N(SHIFT, 1) against N(0, 1), and which rows are real; three times as many generated ones."""
    g = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(n, generator=g) + SHIFT, torch.randn(3 * n, generator=g)]).double()
    return x, torch.arange(4 * n) < n


@pytest.mark.parametrize("name", NAMES)
def test_the_minimiser_is_the_log_ratio(name: str) -> None:
    loss = build_loss({"name": name})
    x, is_real = rows()
    # piecewise linear in x: every loss' own parametrisation can be fitted
    knots = torch.linspace(-3, 4, 15, dtype=torch.float64)
    basis = (1 - (x[:, None] - knots).abs() / (knots[1] - knots[0])).clamp(min=0)
    inside = basis.sum(1) > 0.999
    basis, real = basis[inside], is_real[inside]
    outputs = torch.zeros(15, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([outputs], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss(basis @ outputs, real)
        value.backward()
        return value

    optimizer.step(closure)
    grid = torch.linspace(-1.5, 2.5, 9, dtype=torch.float64)
    at = (1 - (grid[:, None] - knots).abs() / (knots[1] - knots[0])).clamp(min=0)
    found = loss.log_ratio(at @ outputs.detach())
    if loss.uses_prior_odds:
        found = found + math.log(3)
    # four standard errors of a fit by a few hundred rows a knot, and the curvature between knots
    assert (found - (SHIFT * grid - SHIFT**2 / 2)).abs().max() < 0.35


@pytest.mark.parametrize("value", [-50.0, -20.0, 0.0, 20.0, 50.0])
@pytest.mark.parametrize("name", NAMES)
def test_finite(name: str, value: float) -> None:
    loss = build_loss({"name": name})
    outputs = torch.full((6,), value, requires_grad=True)
    result = loss(outputs, torch.arange(6) < 3)
    result.backward()
    assert torch.isfinite(result)
    assert torch.isfinite(outputs.grad).all()
    assert torch.isfinite(loss.log_ratio(outputs.detach())).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_log_ratio_grows_with_the_output(name: str) -> None:
    values = build_loss({"name": name}).log_ratio(torch.linspace(-40, 40, 400))
    assert (values.diff() > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_one_side_is_no_error(name: str) -> None:
    assert torch.isfinite(build_loss({"name": name})(torch.randn(5), torch.ones(5, dtype=torch.bool)))


def test_relative_is_its_definition() -> None:
    alpha, g = 0.3, torch.Generator().manual_seed(0)
    outputs = torch.randn(7, dtype=torch.float64, generator=g)
    real, generated = outputs[:3].exp(), outputs[3:].exp()

    def relative(ratio: torch.Tensor) -> torch.Tensor:
        return ratio / (alpha * ratio + 1 - alpha)

    # Yamada et al. 2013: α/2 E_p[r²] + (1 − α)/2 E_q[r²] − E_p[r]
    expected = alpha / 2 * relative(real).square().mean() + (1 - alpha) / 2 * relative(generated).square().mean()
    expected = expected - relative(real).mean()
    found = build_loss({"name": "relative", "alpha": alpha})(outputs, torch.arange(7) < 3)
    torch.testing.assert_close(found, expected)


def test_kliep_of_separated_sides_is_bounded() -> None:
    outputs = torch.tensor([1e6, 1e6, -1e6, -1e6])
    assert build_loss({"name": "kliep"})(outputs, outputs > 0).item() == -50


def test_relative_is_bounded() -> None:
    loss = build_loss({"name": "relative", "alpha": 0.2})
    far = loss(torch.full((4,), 50.0), torch.tensor([False] * 4))
    assert far.item() == pytest.approx(0.8 * 0.5 / 0.2**2)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"name": "hinge"}, "expected one of"), ({"name": "logistic", "alpha": 1}, "does not take alpha"),
     ({"name": "relative", "alpha": 1.0}, "must lie in"), ({"name": "relative", "alpha": 0.0}, "must lie in")],
)  # fmt: skip
def test_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_loss(options)


@pytest.mark.parametrize("name", LOSSES)
def test_a_weight_of_three_is_three_copies(name: str) -> None:
    random = torch.Generator().manual_seed(0)
    outputs = torch.randn(40, generator=random)
    is_real = torch.arange(40) < 20
    counts = torch.randint(1, 4, (40,), generator=random)
    counts[20:] = counts[:20].flip(0)  # as many copies of both sides: copies leave the prior odds as they are
    loss = build_loss({"name": name})
    copies = loss(outputs.repeat_interleave(counts), is_real.repeat_interleave(counts))
    # each side's weights have a scale of its own
    torch.testing.assert_close(loss(outputs, is_real, torch.where(is_real, 7.0, 0.5) * counts), copies)
