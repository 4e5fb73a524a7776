"""The examples of docs/examples run as a reader runs them."""

import importlib.util
import json
from pathlib import Path

import pytest
from integration.launch import launch

ROOT = Path(__file__).parent.parent
NEEDS = {"tables": (), "simulation": ("hep_ml", "densratio"), "molecules": ("rdkit", "moses")}
EXAMPLES = [pytest.param(n, marks=pytest.mark.slow) for n in NEEDS]


@pytest.mark.parametrize("name", EXAMPLES)
def test_weights_bring_the_generated_rows_nearer(name: str, tmp_path: Path) -> None:
    for module in NEEDS[name]:
        pytest.importorskip(module)
    code, out, err = launch(f"docs/examples/{name}.py", "--out", tmp_path / "found.json", cwd=ROOT)
    assert code == 0, err
    assert f"{name}, 1 seeds" in out
    rows = json.loads((tmp_path / "found.json").read_text())["rows"]
    found = {(row["name"], row["metric"]): row["mean"] for row in rows}
    before, after, score = {
        "tables": ("synthetic", "synthetic, weighted by default", "log-loss on real ↓"),
        "simulation": ("simulation", "lfiw", "error, not seen ↓"),
        "molecules": ("generated", "generated, weighted", "Fréchet distance ↓"),
    }[name]
    assert found[after, score] < found[before, score]


@pytest.mark.parametrize("name", [name for name, modules in NEEDS.items() if modules])
def test_a_missing_package_is_one_line(name: str) -> None:
    if all(importlib.util.find_spec(module) for module in NEEDS[name]):
        pytest.skip("all of its packages are installed")
    code, _, err = launch(f"docs/examples/{name}.py", cwd=ROOT)
    assert code == 2
    assert f"the example {name} needs" in err
    assert "pip install" in err
    assert "Traceback" not in err
