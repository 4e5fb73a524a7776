"""The devices that a test is for: the CPU, where the test itself is tested, and a GPU where there is one."""

import pytest
import torch

CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: torch.cuda.is_available() is False"),
    ],
)
DEVICES = ["cpu", CUDA]
ACCELERATORS = {"cpu": "cpu", "cuda": "gpu"}
