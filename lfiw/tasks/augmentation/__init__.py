"""Weighted data augmentation: log-ratios of generated drawings, then a classifier for each regime."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jaxtyping import Float
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from lfiw.data import SampleCache
from lfiw.errors import InputError
from lfiw.evaluation.plots.style import save
from lfiw.evaluation.tables import number, print_table
from lfiw.files import write_json
from lfiw.schemas import REGIMES, Config, OmniglotData
from lfiw.tasks.augmentation.given_log_ratio import read_log_ratio, save_log_ratio
from lfiw.tasks.augmentation.omniglot import OmniglotDataModule
from lfiw.tasks.augmentation.ranked_drawings import ranked_drawings
from lfiw.tasks.augmentation.regimes import ON_EMBEDDING, needs_log_ratio, relative_log_ratio
from lfiw.tasks.augmentation.source_ratio import SourceRatio
from lfiw.tasks.augmentation.trained_regimes import Regimes
from lfiw.tasks.results import read_record
from lfiw.training import tracking
from lfiw.weighting.diagnostics import effective_sample_size
from lfiw.weighting.weights import Weighting, pareto_k

RECORD = "augmentation.json"
LOG_RATIO = "log_ratio.npz"
Outcome = tuple[dict[str, float], dict[str, Any]]


def run(config: Config, run_dir: Path, loggers: Sequence[Logger]) -> Outcome:
    """Computes log-ratios, then trains every regime of `task.regimes` by the same steps from the same initial weights.

    Returns:
        Accuracies by regime; and the objects datamodule, log_ratio (of its generated rows) and record (the content of
        augmentation.json).

    Raises:
        InputError: options or data do not go together; before anything is trained.
    """
    datamodule = build_datamodule(config)
    weighting = check_task(config)
    ratio = None if config.data.ratio is None else SourceRatio.load(Path(config.data.ratio))
    log_ratio = find_log_ratio(config, run_dir, datamodule, ratio)
    record: dict[str, Any] = {
        "experiment": config.experiment,
        "num_classes": datamodule.num_classes,
        "num_real": len(datamodule.drawings["train"]),
        "num_generated": len(datamodule.generated),
        "num_test": len(datamodule.drawings["test"]),
        "ratio": None if ratio is None else ratio.held_out,
        "regimes": [],
        "gates": {},
    }
    pictures = {}
    if log_ratio is not None:
        log_ratio = relative_log_ratio(log_ratio, config.task.relative)
        record["weights"] = diagnostics(log_ratio, weighting)
        file = run_dir / "ranked.png"
        real, generated = datamodule.drawings["train"], datamodule.generated
        rank_zero_only(save)(ranked_drawings(real, generated, log_ratio), file)
        pictures["augmentation/ranked"] = file
    regimes = Regimes(config, run_dir, loggers, datamodule, ratio, log_ratio, weighting)
    for name in config.task.regimes:
        record["regimes"].append({"name": name, **regimes.outcome(name).record})
    record["gates"] = {name: asdict(gate) for name, gate in regimes.gates.items()}
    rank_zero_only(write_json)(run_dir / RECORD, record)
    tracking.log_pictures(loggers, pictures)
    rank_zero_only(print_record)(record)
    return as_metrics(record), {
        "datamodule": datamodule,
        "log_ratio": log_ratio,
        "record": record,
        "run_dir": run_dir,
    }


def find_log_ratio(
    config: Config, run_dir: Path, datamodule: OmniglotDataModule, ratio: SourceRatio | None
) -> Float[Tensor, " n"] | None:
    """Returns log-ratios of the generated rows: given ones, those of the run that resumes, or the ratio's.

    The latter are saved in log_ratio.npz, with the numbers of their rows in the cache.
    """
    own = run_dir / LOG_RATIO
    source = str(own) if config.data.log_ratio is None and own.exists() else config.data.log_ratio
    if source is not None:
        return read_log_ratio(source, config.data.generated, datamodule)
    if ratio is None:
        return None
    train, generated = datamodule.drawings["train"], datamodule.generated
    log_ratio = ratio.log_ratio(train["image"], train["label"], generated["image"], datamodule.parents)
    rank_zero_only(save_log_ratio)(own, datamodule.generated_rows, log_ratio)
    return log_ratio


def evaluate(config: Config, run_dir: Path, loggers: Sequence[Logger]) -> Outcome:
    """Prints the run's tables again; nothing is computed. Returns the metrics and the record.

    Raises:
        InputError: the run did not finish.
    """
    record = read_record(run_dir / RECORD, f"resume it with train.py resume={run_dir}")
    print_record(record)
    return as_metrics(record), {"record": record}


def build_datamodule(config: Config) -> OmniglotDataModule:
    """Builds the data module that the configuration names."""
    if not isinstance(config.data, OmniglotData):
        raise InputError(f"task=augmentation needs data=omniglot, not {config.data.name}")
    options = asdict(config.data)
    for own in ("name", "real", "generated", "log_ratio", "ratio"):
        del options[own]
    return OmniglotDataModule(
        SampleCache(config.data.real), SampleCache(config.data.generated), **options, seed=config.seed
    )


def check_task(config: Config) -> Weighting:
    """Returns the task's weighting, and finds mistakes before hours of training.

    Raises:
        InputError: there is no regime, or one twice; weights lack a source of log-ratios, or a regime of the embedding
            lacks an embedding.
    """
    regimes = config.task.regimes
    if not regimes or len(set(regimes)) < len(regimes):
        raise InputError(f"task.regimes={regimes}: expected some of {', '.join(REGIMES)}, each once")
    if config.data.ratio is None:
        weighted = [] if config.data.log_ratio else [r for r in regimes if needs_log_ratio(r)]
        needs = next((r for r in regimes if r in weighted or r in ON_EMBEDDING), None)
        if needs is not None:
            raise InputError(f"regime {needs} needs data.ratio=FILE, which train.py experiment=omniglot_ratio makes")
    return Weighting(config.task.flatten, config.task.clip, config.task.smooth)


def diagnostics(log_ratio: Float[Tensor, " n"], weighting: Weighting) -> dict[str, float | None]:
    """Computes the diagnostics of the generated rows' weights."""
    log_weights = weighting.log_weights(log_ratio)
    weights = weighting(log_ratio)
    k = pareto_k(log_weights)
    return {
        "ess": effective_sample_size(weights).item(),
        "pareto_k": float(k) if math.isfinite(k) else None,
        "max_weight": weights.max().item(),
        "num": len(weights),
    }


def as_metrics(record: dict[str, Any]) -> dict[str, float]:
    return {
        f"{r['name']}/{part}_accuracy": r[f"{part}_accuracy"]
        for r in record["regimes"]
        for part in ("validation", "test")
    }


def print_record(record: dict[str, Any]) -> None:
    """Prints the tables."""
    ratio = ("log_loss", "auroc", "calibration_error", "kl_gain", "recognised", "recognised_by_weight")
    weights = ("num", "ess", "pareto_k", "max_weight")
    for part, title, names in (
        ("ratio", "ratio on held-out source characters", ratio),
        ("weights", "weights of the generated drawings", weights),
    ):
        if record.get(part) is not None:
            print_table(title, names, [[number(record[part][name]) for name in names]])
    rows = [
        [r["name"], f"{r['test_accuracy']:.2%}", f"{r['validation_accuracy']:.2%}", number(r["steps"])]
        for r in record["regimes"]
    ]
    title = (
        f"{record['num_classes']} classes, {record['num_real']:,} real and {record['num_generated']:,} generated "
        f"drawings, {record['num_test']:,} to test on"
    )
    print_table(title, ["regime", "test accuracy", "validation accuracy", "steps"], rows)
    for name, gate in record.get("gates", {}).items():
        print(f"{name}: {gate['verdict']}, so {gate['regime']}: {gate['reason']}")
