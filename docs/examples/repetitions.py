"""What the examples share: they repeat over seeds, print a table, and write it as JSON if that is asked for."""

import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lfiw.cli import Parser, run_script
from lfiw.errors import InputError
from lfiw.evaluation.tables import print_table
from lfiw.tasks.results import row, write_study
from lfiw.weighting.diagnostics import mean_and_error, paired_interval

Found = dict[str, dict[str, float]]  # method → score → value


def repeat(name: str, once: Callable[[int], Found], packages: dict[str, str] | None = None) -> None:
    """Ends the process like any script of lfiw: exit code 2 and one line for the user's mistakes.

    Args:
        name: of the example.
        once: seed → scores.
        packages: that it needs: name of the import → what pip installs.
    """

    def main(arguments: list[str]) -> None:
        parser = Parser(description=sys.modules["__main__"].__doc__)
        parser.add_argument("--seeds", type=int, default=1, metavar="N", help="repetitions (default: 1)")
        parser.add_argument("--out", type=Path, metavar="FILE", help="write the scores there as JSON")
        options = parser.parse_args(arguments)
        missing = [pip for module, pip in (packages or {}).items() if importlib.util.find_spec(module) is None]
        if missing:
            raise InputError(f"the example {name} needs {', '.join(missing)}: pip install {' '.join(missing)}")
        started = time.perf_counter()
        found = [once(seed) for seed in range(options.seeds)]
        methods, scores = list(found[0]), list(dict.fromkeys(score for of in found[0].values() for score in of))
        table = []
        for method in methods:
            cells = [method]
            for score in scores:
                values = [f[method][score] for f in found if score in f[method]]
                cells.append(shown(values) if values else "–")
            table.append(cells)
        print_table(f"{name}, {options.seeds} seeds: mean ± 95 %", ["", *scores], table)
        if options.out is not None:
            rows = [
                row(method, score, values, **ends(values))
                for method in methods
                for score in found[0][method]
                if (values := [f[method][score] for f in found])
            ]
            command = " ".join([f"python docs/examples/{name}.py", *arguments])
            write_study(options.out, f"example_{name}", command, time.perf_counter() - started, rows)

    sys.exit(run_script(main))


def ends(values: list[float]) -> dict[str, float]:
    """The ends of Student's 95 % interval of the mean."""
    return dict(zip(("low", "high"), paired_interval(values), strict=True)) if len(values) > 1 else {}


def shown(values: list[float]) -> str:
    """The mean, and what its interval reaches to either side."""
    mean = mean_and_error(values)[0]
    half = f" ± {ends(values)['high'] - mean:.2g}" if len(values) > 1 else ""
    return (f"{mean:,.0f}" if mean >= 1000 else f"{mean:.3g}") + half
