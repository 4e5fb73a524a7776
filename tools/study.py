"""Repeat an experiment over seeds and keep what came out in results/<study>.json, its pictures beside it.

Re-running the same command resumes a stopped study with the first run that had not ended.

python tools/study.py digits --seeds 5
python tools/study.py toy --seeds 20
python tools/study.py cifar10_gan --seeds 3 features.resnet56_weights=FILE      caches: docs/results/cifar10.md
python tools/study.py cifar10_networks --seeds 3 features.resnet56_weights=FILE
python tools/study.py cifar10_skewed --seeds 3 features.resnet56_weights=FILE
python tools/study.py carry_over --seeds 5 features.resnet56_weights=FILE      and features.files=: docs/own_features.md
python tools/study.py latent --seeds 3 features.resnet56_weights=FILE          the same; after carry_over
python tools/study.py estimators --seeds 10 logger=none
python tools/study.py generators --seeds 2 features.resnet56_weights=FILE      of weights/, else trained first
python tools/study.py resampling --seeds 3 logger=none                         CIFAR-10 by the runs of cifar10_gan
python tools/study.py strangers --seeds 3 fashion_mnist=FOLDER                 or setting=default for one of three
python tools/study.py ope --seeds 10                       or env=Swimmer-v5 for one environment
python tools/study.py ope_curve --seeds 5                  the model's quality and the policies' distance varied
python tools/study.py ope_distances --seeds 10             between the two policies; of one environment too
python tools/study.py ope_training --seeds 10              policies of one training, which comes first
python tools/study.py bfloat16 data.real=cache/cifar10-test data.generated=cache/cifar10-gan
python tools/study.py precision data.real=cache/cifar10-test data.generated=cache/cifar10-gan
python tools/study.py omniglot --seeds 20                                      caches: docs/results/omniglot.md
python tools/study.py omniglot_short --seeds 20 minutes=60                     a quarter of the steps; in parts
python tools/study.py omniglot_choice --seeds 6                                splits that choose
python tools/study.py skewed_training --seeds 20 cifar10=cache/cifar10-test features=features/resnet56-ID
python tools/study.py digits --seeds 2 --out /tmp/digits.json trainer.max_epochs=5       with overrides
"""

import re
import shlex
import shutil
import sys
import time
from importlib import import_module
from pathlib import Path

from lfiw.cli import Parser, run_script
from lfiw.errors import InputError

ROOT = Path(__file__).parent.parent
# of tools/studies; imported by name: a study needs its own packages only
STUDIES = {
    "digits": "single.digits",
    "toy": "single.toy",
    "bfloat16": "single.bfloat16",
    "cifar10_gan": "cifar10.run",
    "cifar10_networks": "cifar10.networks",
    "cifar10_skewed": "cifar10.skewed",
    "carry_over": "carry_over.run",
    "latent": "latent.run",
    "estimators": "single.estimators",
    "generators": "generators.run",
    "omniglot": "omniglot.run",
    "omniglot_choice": "omniglot.choose",
    "omniglot_short": "omniglot.short",
    "ope": "ope.run",
    "ope_curve": "ope.curve",
    "ope_distances": "ope_distances.run",
    "ope_training": "ope_training.run",
    "precision": "precision.run",
    "resampling": "resampling.run",
    "skewed_training": "skewed_training.run",
    "strangers": "strangers.run",
}


def main(arguments: list[str]) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="repetitions (default: 5)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: results/<study>.json")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as of train.py")
    options = parser.parse_intermixed_args(arguments)
    if options.seeds < 1:
        raise InputError(f"--seeds {options.seeds}: at least 1")
    # the scripts stand beside the package, not in it
    sys.path.insert(0, str(ROOT))
    from studies.kept import Kept

    from lfiw.tasks.results import write_study

    file, _, function = STUDIES[options.study].partition(".")
    run = getattr(import_module(f"studies.{file}"), function)
    started = time.perf_counter()
    kept = Kept(Path("runs") / "studies" / options.study, options.overrides)
    rows, pictures = run(options.seeds, options.overrides, kept)
    out = options.out or ROOT / "results" / f"{options.study}.json"
    overrides = [o for o in options.overrides if not o.startswith("minutes=")]  # how long, not what
    shown = [options.study, "--seeds", str(options.seeds), *map(without_folder, overrides)]
    command = shlex.join(["python", "tools/study.py", *shown])
    write_study(out, options.study, command, kept.seconds + time.perf_counter() - started, rows)
    for picture in pictures:
        shutil.copyfile(picture, out.with_name(f"{options.study}-{picture.name}"))
    kept.discard()
    print(f"{out}: {len(rows)} rows, {len(pictures)} pictures")


def without_folder(argument: str) -> str:
    """Leaves a file of weights its name alone, since it stands anywhere on a machine."""
    key, equals, value = argument.partition("=")
    if not key.endswith(("weights", "model.features", "features.files")):
        return argument
    return key + equals + re.sub(r"[^=,\[\]]*/", "", value)


if __name__ == "__main__":
    sys.exit(run_script(main, resumes=True))
