import pytest
import torch

from lfiw import InputError, sir
from lfiw.weighting.resampling import metropolis_hastings, rejection, residual, systematic, without_replacement
from lfiw.weighting.streaming import METHODS, resample

LOG_RATIO = torch.linspace(-1, 1, 400, dtype=torch.float64)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def test_each_name_is_its_function_with_its_defaults() -> None:
    expected = {
        "sir": sir(LOG_RATIO, 20, 16, seeded()),
        "systematic": systematic(LOG_RATIO, 20, seeded()),
        "residual": residual(LOG_RATIO, 20, seeded()),
        "without-replacement": without_replacement(LOG_RATIO, 20, seeded()),
        "rejection": rejection(LOG_RATIO, 20, seeded(), percentile=80.0),
        "mh": metropolis_hastings(LOG_RATIO, 20, 16, seeded(), start=0.5, burn_in=640).rows,
    }
    assert tuple(expected) == METHODS
    for method, rows in expected.items():
        options = {"start": 0.5} if method == "mh" else {}
        assert torch.equal(resample(method, LOG_RATIO, 20, seeded(), **options).rows, rows)


def test_what_it_cost() -> None:
    assert resample("sir", LOG_RATIO, 20, seeded(), pool=4).candidates == 80
    assert resample("systematic", LOG_RATIO, 20, seeded()).candidates == 400
    found = resample("rejection", LOG_RATIO, 20, seeded())
    assert found.candidates == int(found.rows[-1]) + 1
    assert found.acceptance_rate == 20 / found.candidates
    chain = resample("mh", LOG_RATIO, 20, seeded(), pool=3, burn_in=10, start=0.0)
    assert chain.candidates == 70
    assert 0 < chain.acceptance_rate <= 1


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("best", {}, "method 'best': expected one of sir, systematic"),
        ("systematic", {"pool": 4}, "pool goes with method sir or mh or pcn, not systematic"),
        ("sir", {"burn_in": 4}, "burn-in goes with method mh, not sir"),
        ("mh", {"percentile": 4.0}, "percentile goes with method rejection, not mh"),
        ("mh", {}, "mh starts from a real sample"),
        ("pcn", {}, "method pcn moves in a generator's latent space: it goes with --generator trained"),
    ],
)
def test_options_of_another_method(method: str, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resample(method, LOG_RATIO, 20, **options)
