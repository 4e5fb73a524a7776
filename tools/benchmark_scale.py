#!/usr/bin/env python
"""Take a million images through cache, training, scoring and evaluation, and measure each stage.

python tools/benchmark_scale.py                              scores 10⁶ images; 6 GB of disk, 10 minutes on 2 cores
python tools/benchmark_scale.py --num 10000 --out /tmp/scale.json --folder /tmp/scale
"""

import resource
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from lfiw.cli import Parser, run_script
from lfiw.errors import InputError

ROOT = Path(__file__).parent.parent
OUT = ROOT / "results" / "scale.json"
NUM_REAL = 50_000
# blobs of light, which cost nothing to draw; the generated ones are a little wider than the real ones
CODE = '''"""Blobs of light in 32×32 pixels."""
import torch


def blobs(num, generator, width):
    grid = torch.arange(32.0)
    centre = 8 + 16 * torch.rand(num, 2, generator=generator)
    scale = width * (1 + torch.rand(num, 1, generator=generator))
    rows, columns = (torch.exp(-((grid - centre[:, i : i + 1]) / scale).square()) for i in (0, 1))
    noise = torch.rand(num, 32, 32, generator=generator)
    light = 0.9 * rows[:, :, None] * columns[:, None, :] + 0.1 * noise
    return {"image": (255 * light).to(torch.uint8)[:, None]}


def real(num, generator, labels=None):
    return blobs(num, generator, 3.0)


def generated(num, generator, labels=None):
    return blobs(num, generator, 3.3)
'''
EVALUATION = ["evaluation.extractors=[pixels]", "evaluation.pair_rows=10000", "evaluation.intervals=false"]
EVALUATION += ["evaluation.permutations=0", "evaluation.exponents=[]", "evaluation.figures=false"]
EVALUATION += ["evaluation.reference=none", "metrics.inception_score.classifier=null"]


@dataclass(frozen=True)
class Stage:
    """Cost of one command.

    Args:
        cpu_seconds: over all cores; unlike `seconds`, hardly affected by other work on the machine.
        anonymous_mib, resident_mib: peak memory of the process, without and with mapped files.
    """

    seconds: float
    cpu_seconds: float
    anonymous_mib: float
    resident_mib: float


def main(arguments: list[str]) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--num", type=int, default=1_100_000, metavar="N", help="generated images (default: 1100000)")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("cache/scale"),
        help="created, and removed at the end",
    )
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="default: results/scale.json")
    options = parser.parse_args(arguments)
    if options.num < 1000:
        raise InputError(f"--num {options.num}: at least 1000")
    if options.folder.exists():
        raise InputError(f"{options.folder} exists: name another folder")
    from lfiw.tasks.results import row, write_study

    options.folder.mkdir(parents=True)
    started = time.perf_counter()
    try:
        stages = run(options.num, options.folder)
    finally:
        shutil.rmtree(options.folder)
    rows = [row(name, metric, [value]) for name, stage in stages.items() for metric, value in vars(stage).items()]
    command = shlex.join(["python", "tools/benchmark_scale.py", "--num", str(options.num)])
    write_study(options.out, "scale", command, time.perf_counter() - started, rows)
    for name, stage in stages.items():
        took = f"{stage.seconds:.3g} s, {stage.cpu_seconds:.3g} s of CPU"
        print(f"{name}: {took}, {stage.anonymous_mib:.0f} MiB, {stage.resident_mib:.0f} MiB with files")


def run(num: int, folder: Path) -> dict[str, Stage]:
    """Runs every stage, each in its own process except for opening the cache."""
    from lfiw.evaluation.record import EvaluationRecord

    code = folder / "blobs.py"
    code.write_text(CODE)
    real, generated, run_dir = folder / "real", folder / "generated", folder / "run"
    num_real = min(NUM_REAL, num)
    cache = ["tools/cache_samples.py", "callable"]
    measured(*cache, f"{code}:real", "--num-samples", num_real, "--out", real, "--batch-size", 1000)
    found = {
        "draw and write": measured(
            *cache, f"{code}:generated", "--num-samples", num, "--out", generated, "--batch-size", 1000
        ),
        "verify every hash": measured("tools/cache_samples.py", "verify", generated),
        "open and a random batch": opened(generated),
    }
    data = ["experiment=images", f"data.real={real}", f"data.generated={generated}", "folds=1", "model.width=64"]
    data += ["calibration=none", "data.augment=none"]
    data += ["data.fractions={train: 0.05, validation: 0.02, evaluation: 0.93}"]
    quiet = ["logger=none", "trainer.progress=false", "trainer.max_epochs=1", "trainer.accelerator=cpu"]
    found["train, extract, score, evaluate"] = measured("train.py", *data, *EVALUATION, *quiet, f"run_dir={run_dir}")
    found["evaluate again"] = measured("evaluate.py", f"run={run_dir}")
    record = EvaluationRecord.read(run_dir / "evaluation.json")
    if record.num_generated < num // 2:
        raise InputError(f"{record.num_generated} of {num} samples were scored")
    return found


def measured(script: str, *arguments: object) -> Stage:
    """Runs a script to its end and measures it.

    Raises:
        InputError: the script failed.
    """
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    started, cpu_started = time.perf_counter(), cpu_of_children()
    anonymous = resident = 0.0
    with (
        TemporaryFile("w+") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True) as process,
    ):
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            sizes = dict(line.split(":", 1) for line in read_or_nothing(status).splitlines() if ":" in line)
            anonymous = max(anonymous, kib(sizes.get("RssAnon", "0 kB")))
            resident = max(resident, kib(sizes.get("VmRSS", "0 kB")))
            time.sleep(0.05)
        output.seek(0)
        lines = output.read().strip().splitlines()
    if process.returncode:
        raise InputError(f"{script} failed: {lines[-1] if lines else process.returncode}")
    seconds, cpu_seconds = time.perf_counter() - started, cpu_of_children() - cpu_started
    return Stage(seconds, cpu_seconds, anonymous / 1024, resident / 1024)


def cpu_of_children() -> float:
    """Returns the CPU seconds of the child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def read_or_nothing(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # the process has just ended
        return ""


def kib(size: str) -> float:
    return float(size.split()[0])


def opened(path: Path) -> Stage:
    """Opens the cache and reads a batch in this process: starting another takes longer than what is measured."""
    import torch

    from lfiw.data import SampleCache

    started, cpu_started = time.perf_counter(), time.process_time()
    cache = SampleCache(path)
    cache.__getitems__(torch.randint(len(cache), (256,), generator=torch.Generator().manual_seed(0)).tolist())
    return Stage(time.perf_counter() - started, time.process_time() - cpu_started, 0.0, 0.0)


if __name__ == "__main__":
    sys.exit(run_script(main))
