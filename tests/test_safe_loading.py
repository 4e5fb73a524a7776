"""No source of ours loads code from a file, by what it calls. Read from the syntax tree, so that text is no call."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [*ROOT.glob("*.py"), *(ROOT / "lfiw").rglob("*.py"), *(ROOT / "tools").rglob("*.py")]
UNPICKLERS = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve")
FORBIDDEN = (
    "yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "torch.hub.load", "torch.package.PackageImporter",
    "numpy.load_pickle", "os.system", "eval", "exec", "compile",
)  # fmt: skip
# the user names the program or module on the command line, and is told that its code is run;
# or the file is known by its SHA-256
ALLOWED = {
    ("lfiw/generators/external.py", "torch.export.load"),
    ("lfiw/features/inception.py", "torch.jit.load"),
}


def dotted(node: ast.expr) -> str:
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def problems(source: str, file: str) -> list[str]:
    """Calls that could run code from a file, as `file:line call`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            imported = {alias.name for alias in node.names}
            if any(n.split(".")[0] in UNPICKLERS for n in names) and imported != {"UnpicklingError"}:
                found.append(f"{file}:{node.lineno} import {names[0]}")
        if not isinstance(node, ast.Call):
            continue
        name, options = dotted(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
        wrong = (
            name in FORBIDDEN
            or (name == "torch.load" and options.get("weights_only") != "True")
            or (name == "yaml.load" and [ast.unparse(a) for a in node.args[1:]] != ["PlainLoader"])
            or options.get("allow_pickle", "False") != "False"
            or (name in ("np.load", "numpy.load") and "allow_pickle" not in options)
            or (name in ("torch.jit.load", "torch.export.load") and (file, name) not in ALLOWED)
            or options.get("trust_remote_code", "False") != "False"
            or options.get("shell", "False") != "False"
        )
        if wrong:
            found.append(f"{file}:{node.lineno} {ast.unparse(node)}")
    return found


def test_no_source_loads_code() -> None:
    assert len(SOURCES) > 150
    found = [p for file in SOURCES for p in problems(file.read_text(), file.relative_to(ROOT).as_posix())]
    assert not found


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(f)", "torch.load(f, weights_only=False)", "np.load(f, allow_pickle=True)", "np.load(f)",
        "yaml.load(f, yaml.Loader)", "yaml.load(f)", "yaml.unsafe_load(f)", "import pickle", "from pickle import loads",
        "import joblib", "torch.jit.load(f)", "torch.export.load(f)", "eval(x)", "exec(x)",
        "pipeline.from_pretrained(f, trust_remote_code=True)", "subprocess.run(x, shell=True)",
    ],
)  # fmt: skip
def test_the_check_sees_each_of_them(line: str) -> None:
    assert problems(line, "x.py")


@pytest.mark.parametrize(
    "line", ["torch.load(f, weights_only=True)", "model.eval()", "from pickle import UnpicklingError"]
)
def test_the_check_lets_pass(line: str) -> None:
    assert not problems(line, "x.py")
