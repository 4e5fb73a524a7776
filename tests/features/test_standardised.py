"""Vectors in units of their spreads. Oracle: NumPy."""

import hashlib

import numpy as np
import pytest
import torch

from lfiw import InputError
from lfiw.features import FeatureOptions, build_extractor

RANDOM = np.random.default_rng(0)
REAL = np.column_stack(
    [RANDOM.lognormal(10, 0.5, 300), RANDOM.normal(40, 10, 300), np.full(300, 7.0), 1e-9 * RANDOM.normal(size=300)]
)
MEAN, STD = REAL.mean(0), np.array([*REAL.std(0, ddof=1)[:2], 1.0, REAL[:, 3].std(ddof=1)])


def options(rows: np.ndarray) -> FeatureOptions:
    return FeatureOptions(real=lambda: torch.from_numpy(rows))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_units_are_those_of_real_rows(dtype: torch.dtype) -> None:
    extractor = build_extractor("standardised", (4,), options(REAL))
    new = 1.5 * REAL[:50] + 0.25
    features = extractor(torch.from_numpy(new).to(dtype))["features"]
    assert features.dtype == dtype
    goal = (torch.from_numpy(new).to(dtype).double().numpy() - MEAN) / STD
    np.testing.assert_allclose(features.numpy(), goal, rtol=1e-6 if dtype == torch.float32 else 1e-12, atol=1e-6)
    own = extractor(torch.from_numpy(REAL))["features"]
    np.testing.assert_allclose(own.std(0).numpy(), [1, 1, 0, 1], rtol=1e-12, atol=1e-12)


def test_other_units_are_another_column() -> None:
    first, second = (build_extractor("standardised", (4,), options(rows)) for rows in (REAL, REAL[:200]))
    assert (first.num_features, first.num_classes) == (4, None)
    scale = np.stack([MEAN, STD])
    assert first.columns == {"features": f"features/standardised-{first.sha256[:8]}"}
    assert first.columns != second.columns
    near = torch.stack(first.scale).numpy()  # type: ignore[arg-type, operator]
    np.testing.assert_allclose(near, scale, rtol=1e-12)
    assert first.sha256 == hashlib.sha256(near.tobytes()).hexdigest()


def test_the_rows_are_read_when_the_features_are_needed() -> None:
    def unready() -> torch.Tensor:
        raise RuntimeError("no rows yet")

    extractor = build_extractor("standardised", (4,), FeatureOptions(real=unready))
    with pytest.raises(RuntimeError, match="no rows yet"):
        extractor(torch.ones(1, 4))


def test_what_cannot_be_standardised() -> None:
    with pytest.raises(InputError, match=r"expected vectors \(d,\), found samples of shape \(1, 8, 8\)"):
        build_extractor("standardised", (1, 8, 8), options(REAL))
    with pytest.raises(InputError, match="it needs real rows"):
        build_extractor("standardised", (4,))
