"""What `import lfiw` offers."""

import subprocess
import sys
from importlib import import_module

import pytest

PACKAGES = ["lfiw", "lfiw.data"]
PROMISED = {
    "lfiw": "RatioClassifier Weighting effective_sample_size kl_gain log_ratio_from_logits pareto_k sir",
    "lfiw.data": "SampleCache",
    "lfiw.metrics": "FrechetDistance KernelDistance InceptionScore",
}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_comes_from_its_home(package: str) -> None:
    module = import_module(package)
    assert sorted(module.__all__) == sorted([*module._HOMES, *(["__version__"] if package == "lfiw" else [])])
    for name, home in module._HOMES.items():
        assert getattr(module, name) is getattr(import_module(f"{package}.{home}"), name)


@pytest.mark.parametrize("package", PROMISED)
def test_promised_names(package: str) -> None:
    module = import_module(package)
    assert set(PROMISED[package].split()) <= set(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_that_does_not_exist(package: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        import_module(package).nothing  # noqa: B018


def test_importing_costs_nothing() -> None:
    code = "import sys, lfiw, lfiw.data; print(sorted({'torch', 'pytorch_lightning', 'numpy'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
