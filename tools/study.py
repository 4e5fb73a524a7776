"""Repeat an experiment over seeds and keep what came out in results/<study>.json, its pictures beside it.

python tools/study.py digits --seeds 5
python tools/study.py toy --seeds 20
python tools/study.py digits --seeds 2 --out /tmp/digits.json trainer.max_epochs=5       with overrides
"""

import argparse
import shlex
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lfiw.cli import run_script
from lfiw.errors import InputError

ROOT = Path(__file__).parent.parent
STUDIES = ("digits", "toy")

Row = dict[str, Any]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="repetitions (default: 5)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: results/<study>.json")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as of train.py")
    options = parser.parse_intermixed_args(arguments)
    if options.seeds < 1:
        raise InputError(f"--seeds {options.seeds}: at least 1")
    # the scripts stand beside the package, not in it
    sys.path.insert(0, str(ROOT))
    from lfiw.results import write_study

    started = time.perf_counter()
    repeat = {"digits": digits, "toy": toy}[options.study]
    rows, pictures = repeat(options.seeds, options.overrides)
    out = options.out or ROOT / "results" / f"{options.study}.json"
    command = shlex.join(["python", "tools/study.py", options.study, "--seeds", str(options.seeds), *options.overrides])
    write_study(out, options.study, command, time.perf_counter() - started, rows)
    for picture in pictures:
        shutil.copyfile(picture, out.with_name(f"{options.study}-{picture.name}"))
    print(f"{out}: {len(rows)} rows, {len(pictures)} pictures")


def toy(seeds: int, overrides: Sequence[str]) -> tuple[list[Row], list[Path]]:
    """The toy experiment repeats itself."""
    from train import train

    _, objects = train(["experiment=toy", f"task.seeds={seeds}", *overrides])
    return objects["rows"], [objects["picture"]]


def digits(seeds: int, overrides: Sequence[str]) -> tuple[list[Row], list[Path]]:
    """Another split, another generator and another classifier a seed.

    Rows are named by weighting; a metric's `difference_…` is against uniform weights on the same samples. The pictures
    are those of seed 0.
    """
    from lfiw.results import row
    from lfiw.tables import total_variation
    from train import train

    found: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    pictures: list[Path] = []
    for seed in range(seeds):
        _, objects = train(["experiment=digits", f"seed={seed}", f"data.split_seed={seed}", *overrides])
        record = objects["record"]
        for name, score in record["reference"].items():
            found["reference", name].append(score["value"])
        uniform = record["weightings"][0]
        chosen = next(w for w in record["weightings"] if w["name"] == record["recommended"])
        real = record["real_class_proportions"]
        base = total_variation(uniform["class_proportions"], real)
        for w in [*record["weightings"], {**chosen, "name": "recommended"}]:
            distance = total_variation(w["class_proportions"], real)
            found[w["name"], "class_distance"].append(distance)
            found[w["name"], "difference_class_distance"].append(distance - base)
            found[w["name"], "ess"].append(w["ess"])
            for metric, score in w["metrics"].items():
                found[w["name"], metric].append(score["value"])
                found[w["name"], f"difference_{metric}"].append(score["difference"]["value"])
        if seed == 0:
            folder = Path(objects["trainer"].default_root_dir)
            pictures = [folder / f"{name}.png" for name in ("class_proportions", "samples", "weights")]
    return [row(name, metric, values) for (name, metric), values in found.items()], pictures


if __name__ == "__main__":
    sys.exit(run_script(main))
