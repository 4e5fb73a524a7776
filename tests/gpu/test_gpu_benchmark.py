"""The benchmark of a GPU runs to its end and writes a record; nothing is said about speed."""

import json
import math
from pathlib import Path

import pytest
from devices import DEVICES
from integration.launch import module

from lfiw import InputError


@pytest.mark.parametrize("device", DEVICES)
def test_smoke(device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "tools")
    out = tmp_path / "gpu.json"
    module("tools/benchmark_gpu.py").main(["--smoke", "--device", device, "--out", str(out)])
    record = json.loads(out.read_text())
    assert (record["study"], "torch" in record["hardware"]) == ("gpu", True)
    rows = {row["name"]: row for row in record["rows"]}
    assert list(rows)[:5] == ["matmul_fp32", "matmul_tf32", "matmul_bf16", "host_to_device", "device_to_host"]
    assert {"inception_bf16", "ratio_mlp_resident", "ratio_mlp_read", "pixelcnn_sampling", "sngan_sampling"} <= set(
        rows
    )
    assert all(row["mean"] > 0 and math.isfinite(row["mean"]) for row in rows.values())
    assert rows["inception_bf16"]["share"] > 0


def test_a_cpu_is_not_measured() -> None:
    with pytest.raises(InputError, match=r"--device cpu goes with --smoke"):
        module("tools/benchmark_gpu.py").main(["--device", "cpu"])
