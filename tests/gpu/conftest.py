"""Leaves the process as it was: a trainer's determinism and precision are settings of all of it."""

import os
from collections.abc import Iterator

import pytest
import torch

# a trainer sets it, but torch reads it once, at the process's first matrix product
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture(autouse=True)
def own_settings() -> Iterator[None]:
    backends = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision(), backends.allow_tf32
    benchmark = backends.benchmark, backends.deterministic
    variables = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(variables)
    torch.use_deterministic_algorithms(before[0])
    torch.set_float32_matmul_precision(before[1])
    backends.allow_tf32 = before[2]
    backends.benchmark, backends.deterministic = benchmark
