"""Who imports whom: as the picture in CONTRIBUTING.md says."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "lfiw"
# lower ones first; a module may import those of its own layer and below
LAYERS = (
    ("errors", "version", "statistics", "logistic_mixture", "files", "threads", "densities", "kernel_density"),
    ("losses", "metrics", "intervals", "resampling", "weights", "pareto", "diagnostics", "calibration", "selection"),
    ("checkpoints", "record", "held_out", "tables", "verdict"),
    ("nets", "data", "features", "schemas", "config", "plots"),
    ("modules", "trainers", "tracking"),
    ("generators", "ope"),
    ("tasks",),
)
TORCH_ALONE = (*LAYERS[1], "nets")


def layer_of(module: str) -> int | None:
    part = module.split(".")[1] if "." in module else ""
    return next((level for level, names in enumerate(LAYERS) if part in names), None)


def imports(file: Path, *, lazy: bool) -> set[str]:
    """Modules that a file imports; those inside of functions and under TYPE_CHECKING if `lazy`."""
    tree = ast.parse(file.read_text())
    nodes = ast.walk(tree) if lazy else iter(tree.body)
    found = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_imports_upwards(file: Path) -> None:
    own = layer_of(".".join(("lfiw", *file.relative_to(ROOT).with_suffix("").parts)))
    if own is None:
        pytest.skip("stands in no layer")
    above = {name for name in imports(file, lazy=False) if name.startswith("lfiw.") and (layer_of(name) or 0) > own}
    assert not above


@pytest.mark.parametrize("name", TORCH_ALONE)
def test_the_maths_know_nothing_of_lightning(name: str) -> None:
    files = [*(ROOT / name).rglob("*.py")] if (ROOT / name).is_dir() else [ROOT / f"{name}.py"]
    assert files
    for file in files:
        assert not [m for m in imports(file, lazy=True) if m.startswith(("pytorch_lightning", "lightning", "wandb"))]
