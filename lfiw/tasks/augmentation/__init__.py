"""Weighted data augmentation: log-ratios of generated drawings, then a classifier for each regime."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from lfiw.data import SampleCache
from lfiw.data.importers.arrays import load_arrays
from lfiw.data.table import to_tensor
from lfiw.errors import InputError
from lfiw.evaluation.figures import is_real
from lfiw.evaluation.plots.style import save
from lfiw.evaluation.tables import number, print_table
from lfiw.files import replacing, write_json
from lfiw.metrics.class_proportions import RatioScores
from lfiw.schemas import REGIMES, Config, OmniglotData
from lfiw.tasks.augmentation.drawing_classifier import AugmentationClassifier
from lfiw.tasks.augmentation.drawing_ratio import cross_fitted_log_ratios
from lfiw.tasks.augmentation.omniglot import OmniglotDataModule
from lfiw.tasks.augmentation.ranked_drawings import ranked_drawings
from lfiw.tasks.augmentation.regimes import needs_log_ratio, training_rows
from lfiw.training import tracking
from lfiw.training.tracking import Prefixed
from lfiw.training.trainer import CHECKPOINTS, best_checkpoint, build_trainer, fit, last_checkpoint
from lfiw.untrusted import read_checkpoint
from lfiw.weighting.diagnostics import effective_sample_size, kl_gain
from lfiw.weighting.weights import FLOAT64, Weighting, check_log_ratio, check_weights, pareto_k

RECORD = "augmentation.json"
LOG_RATIO = "log_ratio.npz"
MONITOR = "val/accuracy"
Outcome = tuple[dict[str, float], dict[str, Any]]


def run(config: Config, run_dir: Path, loggers: Sequence[Logger]) -> Outcome:
    """Log-ratios, then every regime of `task.regimes` by the same steps from the same initial weights.

    Returns:
        Accuracies by regime; and datamodule, log_ratio of its generated rows, record (the content of
        augmentation.json).

    Raises:
        InputError: options or data that do not go together; before anything is trained.
    """
    datamodule = build_datamodule(config)
    weighting = check_task(config)
    own = run_dir / LOG_RATIO
    source = str(own) if config.data.log_ratio is None and own.exists() else config.data.log_ratio  # a resumed run
    log_ratio = read_log_ratio(source, config.data.generated, datamodule)
    record: dict[str, Any] = {
        "experiment": config.experiment,
        "num_classes": datamodule.num_classes,
        "num_real": len(datamodule.drawings["train"]),
        "num_generated": len(datamodule.generated),
        "num_test": len(datamodule.drawings["test"]),
        "ratio": None,
        "regimes": [],
    }
    if log_ratio is None and any(map(needs_log_ratio, config.task.regimes)):
        log_ratio, scores = train_ratio(config, run_dir, loggers, datamodule)
        record["ratio"] = scores
    pictures = {}
    if log_ratio is not None:
        record["weights"] = diagnostics(log_ratio, weighting)
        file = run_dir / "ranked.png"
        real, generated = datamodule.drawings["train"], datamodule.generated
        rank_zero_only(save)(ranked_drawings(real, generated, log_ratio), file)
        pictures["augmentation/ranked"] = file
    for regime in config.task.regimes:
        rows = training_rows(regime, len(datamodule.generated), log_ratio, weighting, config.seed)
        datamodule.use(rows)
        record["regimes"].append({"name": regime, **train_regime(config, run_dir, loggers, datamodule, regime)})
    rank_zero_only(write_json)(run_dir / RECORD, record)
    tracking.log_pictures(loggers, pictures)
    rank_zero_only(print_record)(record)
    return as_metrics(record), {
        "datamodule": datamodule,
        "log_ratio": log_ratio,
        "record": record,
        "run_dir": run_dir,
    }


def evaluate(config: Config, run_dir: Path, loggers: Sequence[Logger]) -> Outcome:
    """Show what the run found; nothing is left to compute. Returns the metrics and the record.

    Raises:
        InputError: the run did not finish.
    """
    file = run_dir / RECORD
    if not file.is_file():
        raise InputError(f"{run_dir} has no {RECORD}: the run did not finish; go on with train.py resume={run_dir}")
    record = json.loads(file.read_text())
    print_record(record)
    return as_metrics(record), {"record": record}


def build_datamodule(config: Config) -> OmniglotDataModule:
    """The data module that the configuration names."""
    if not isinstance(config.data, OmniglotData):
        raise InputError(f"task=augmentation needs data=omniglot, not {config.data.name}")
    options = asdict(config.data)
    for own in ("name", "real", "generated", "log_ratio"):
        del options[own]
    return OmniglotDataModule(
        SampleCache(config.data.real), SampleCache(config.data.generated), **options, seed=config.seed
    )


def check_task(config: Config) -> Weighting:
    """The weighting of the task; what does not go together is told before hours of training.

    Raises:
        InputError: no regime, or one named twice; folds that the drawings do not fill.
    """
    regimes = config.task.regimes
    if not regimes or len(set(regimes)) < len(regimes):
        raise InputError(f"task.regimes={regimes}: expected some of {', '.join(REGIMES)}, each once")
    trains_ratio = config.data.log_ratio is None and any(map(needs_log_ratio, regimes))
    if trains_ratio and not 3 <= config.folds <= config.data.shots:
        raise InputError(
            f"folds={config.folds}: cross-fitting the ratio of drawings needs 3 … data.shots={config.data.shots} folds"
        )
    return Weighting(config.task.flatten, config.task.clip, config.task.smooth)


def train_ratio(
    config: Config, run_dir: Path, loggers: Sequence[Logger], datamodule: OmniglotDataModule
) -> tuple[Float[Tensor, " n"], dict[str, float]]:
    """Cross-fitted log-ratios of the generated rows, kept in log_ratio.npz with the rows of the cache that they are
    of; and the classifiers' scores."""
    (_, log_ratio), validation = cross_fitted_log_ratios(config, run_dir, loggers, datamodule)
    rank_zero_only(save_log_ratio)(run_dir / LOG_RATIO, datamodule.generated_rows, log_ratio)
    return log_ratio, scores_of(validation.calibrated)


def save_log_ratio(file: Path, rows: Int64[Tensor, " n"], log_ratio: Float[Tensor, " n"]) -> None:
    """Writes what `read_log_ratio` reads."""
    with replacing(file) as temporary:
        np.savez(temporary, row=rows.numpy(), log_ratio=log_ratio.numpy())


def read_log_ratio(source: str | None, generated: str, datamodule: OmniglotDataModule) -> Float[Tensor, " n"] | None:
    """Log-ratios of the data module's generated rows, from where the configuration says.

    Args:
        source: a column of the cache; or an .npz file with `log_ratio` or `weights`, for every row of the cache, or for
            the rows that `row` names.
        generated: the cache.

    Raises:
        InputError: neither, other rows than the cache's, log-ratios that are not finite, weights that are negative or
            all zero.
    """
    if source is None:
        return None
    rows = datamodule.generated_rows
    try:
        if not source.endswith(".npz"):
            log_ratio = SampleCache(generated)[source].double()[rows]
            check_log_ratio(log_ratio)
            return log_ratio
        arrays = load_arrays(Path(source))
        name = next((name for name in ("log_ratio", "weights") if name in arrays.names()), None)
        if name is None:
            raise InputError("the file has neither log_ratio nor weights")
        values = to_tensor(arrays[name], name).double()
        named = torch.arange(len(SampleCache(generated)))
        if "row" in arrays:
            if arrays["row"].dtype.kind not in "iu" or arrays["row"].ndim != 1:
                raise InputError(f"row is {arrays['row'].dtype} {arrays['row'].shape}, expected whole numbers (n,)")
            named = to_tensor(arrays["row"], "row").long()
        values = values_of_rows(values, named, rows)
        if name == "log_ratio":
            check_log_ratio(values)
            return values
        check_weights(values)
        return values.clamp(min=FLOAT64.tiny).log()
    except InputError as error:
        raise InputError(f"data.log_ratio={source}: {error}") from None


def values_of_rows(
    values: Float[Tensor, "..."], named: Int64[Tensor, " n"], rows: Int64[Tensor, " m"]
) -> Float[Tensor, " m"]:
    """The values of some rows of a cache.

    Args:
        named: the row that each value is of.

    Raises:
        InputError: not one value for each named row, or a row has none.
    """
    if values.shape != named.shape:
        raise InputError(f"{tuple(values.shape)} values for {len(named):,} generated rows: they are of another cache")
    order = named.argsort()
    found = torch.searchsorted(named[order], rows).clamp(max=len(named) - 1)
    missing = int((named[order][found] != rows).sum())
    if missing:
        raise InputError(
            f"{missing:,} of {len(rows):,} generated rows that train have no value: they are of other rows"
        )
    return values[order][found]


def train_regime(
    config: Config, run_dir: Path, loggers: Sequence[Logger], datamodule: OmniglotDataModule, regime: str
) -> dict[str, float]:
    """One classifier: its best epoch by validation accuracy, and that epoch's accuracy on the test drawings."""
    started = time.perf_counter()
    pixels = datamodule.drawings["train"]["image"].double()
    module = AugmentationClassifier(
        asdict(config.model),
        asdict(config.optimizer),
        shape=datamodule.image_shape,
        num_classes=datamodule.num_classes,
        mean=pixels.mean((0, 2, 3)).tolist(),
        std=pixels.std((0, 2, 3)).clamp(min=1e-6).tolist(),
        coefficient=config.task.coefficient,
        seed=config.seed,
    )
    folder = run_dir / CHECKPOINTS / regime
    own = [Prefixed(logger, f"{regime}/") for logger in loggers]
    trainer = build_trainer(
        config.trainer,
        run_dir,
        own,
        checkpoints=folder,
        ema_decay=config.optimizer.ema_decay,
        monitor=MONITOR,
        mode="max",
    )
    fit(trainer, module, datamodule, last_checkpoint(folder, config.resume))
    steps = trainer.global_step
    module.load_state_dict(read_checkpoint(best_checkpoint(folder), "cpu")["state_dict"])
    (validation,) = trainer.validate(module, datamodule.val_dataloader(), verbose=False)
    (test,) = trainer.test(module, datamodule.test_dataloader(), verbose=False)
    found = {f"validation_{name.removeprefix('val/')}": value for name, value in validation.items()}
    found |= {f"test_{name.removeprefix('test/')}": value for name, value in test.items()}
    return {**found, "steps": steps, "seconds": time.perf_counter() - started}


def scores_of(sides: tuple[Tensor, Tensor]) -> dict[str, float]:
    """How well the ratio tells real from generated validation drawings, and whether it is calibrated."""
    scores = RatioScores()
    scores.update(torch.cat(sides), is_real(sides))
    gain, error = kl_gain(*sides)
    found = {name: value.item() for name, value in scores.compute().items()}
    return {**found, "kl_gain": gain.item(), "kl_gain_se": error.item()}


def diagnostics(log_ratio: Float[Tensor, " n"], weighting: Weighting) -> dict[str, float | None]:
    """What the weights of the generated rows are worth."""
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
    """The tables in the terminal."""
    ratio = ("log_loss", "accuracy", "calibration_error", "mean_weight_generated", "kl_gain")
    weights = ("num", "ess", "pareto_k", "max_weight")
    for part, title, names in (
        ("ratio", "ratio classifier on validation drawings", ratio),
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
