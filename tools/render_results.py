"""Put the tables of results/*.json into README.md and docs/, between <!-- results:NAME --> and <!-- /results --> marks.

python tools/render_results.py            rewrite the pages
python tools/render_results.py --check    fail if one would change
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from studies.rendering import applications, carry_over, cifar10, examples, overview, ratios, speed
from studies.rendering.cells import Study

from lfiw.cli import Parser, run_script
from lfiw.errors import InputError

ROOT = Path(__file__).parent.parent
MARKED = re.compile(r"(<!-- results:(\w+) -->\n).*?(<!-- /results -->)", re.S)
# tables of a study under another name
FILES = {
    "digits_short": "digits",
    "cifar10_paper": "cifar10_gan",
    "trained_generators": "generators",
    "resampling_digits": "resampling",
    "resampling_cifar10": "resampling",
    "ope_estimates": "ope",
    "carry_over_equal": "carry_over",
    "carry_over_fewer": "carry_over",
    "carry_over_neighbours": "carry_over",
}
TABLES: dict[str, Callable[[Study], str]] = {
    "digits": ratios.digits,
    "digits_short": ratios.digits_short,
    "toy": ratios.toy,
    "statistics": ratios.statistics,
    "estimators": ratios.estimators,
    "strangers": ratios.strangers,
    "cifar10_gan": cifar10.cifar10_gan,
    "cifar10_paper": cifar10.cifar10_paper,
    "cifar10_networks": cifar10.cifar10_networks,
    "cifar10_skewed": cifar10.cifar10_skewed,
    "carry_over": carry_over.by_gate,
    "carry_over_equal": carry_over.at_equal_ess,
    "carry_over_fewer": carry_over.at_fewer,
    "carry_over_neighbours": carry_over.by_neighbours,
    "latent": carry_over.latent,
    "bfloat16": cifar10.bfloat16,
    "precision": speed.precision,
    "trained_generators": cifar10.trained_generators,
    "generators": cifar10.generators,
    "resampling_digits": lambda study: ratios.resampling(study, "digits", "classifier"),
    "resampling_cifar10": lambda study: ratios.resampling(study, "cifar10", "resnet56"),
    "omniglot": applications.omniglot,
    "omniglot_short": applications.omniglot,
    "skewed_training": applications.skewed_training,
    "ope": applications.problems,
    "ope_estimates": applications.estimates,
    "ope_curve": applications.curve,
    "ope_distances": applications.distances,
    "ope_training": lambda study: applications.distances(study, "π_e after"),
    "ope_experts": applications.distances,
    "example_tables": examples.example,
    "example_molecules": examples.example,
    "example_simulation": examples.example,
    "estimators_python": ratios.contest,
    "benchmarks": speed.benchmarks,
    "journeys": speed.journeys,
    "scale": speed.scale,
}


def main(arguments: list[str]) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, fail if a page is out of date")
    options = parser.parse_args(arguments)
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        old = page.read_text()
        new = MARKED.sub(lambda mark: f"{mark[1]}{render(mark[2])}\n{mark[3]}", old)
        if options.check and new != old:
            raise InputError(f"{page.name} does not show what results/ holds: run python tools/render_results.py")
        if new != old:
            page.write_text(new)


def render(name: str) -> str:
    """A study's table, and under it how it was made; or the overview of all studies."""
    if name == "overview":
        return overview.table({file.stem: json.loads(file.read_text()) for file in (ROOT / "results").glob("*.json")})
    file = ROOT / "results" / f"{FILES.get(name, name)}.json"
    if name not in TABLES or not file.is_file():
        raise InputError(f"a page asks for results:{name}, but there is no {file.name} or no table for it")
    study: Study = json.loads(file.read_text())
    minutes = f"{study['seconds'] / 60:.1f} minutes" if study["seconds"] > 90 else f"{study['seconds']:.0f} seconds"
    note = f"`{study['command']}`, {minutes} on {study['hardware']}, lfiw {study['version']}."
    return f"{TABLES[name](study)}\n\n{note}"


if __name__ == "__main__":
    sys.exit(run_script(main))
