"""The generated rows that a finished run scored, with the weights that it recommends."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from jaxtyping import Float, Int64
from torch import Tensor

from lfiw.config import load
from lfiw.data.splits import GENERATED, Subset
from lfiw.data.table import Table
from lfiw.errors import InputError, nearest
from lfiw.evaluation.record import EXACT, EvaluationRecord
from lfiw.ratio.cross_fitting import log_ratio_column
from lfiw.tasks.inputs import Scorer, build_datamodule
from lfiw.tasks.strata import ClassColumn
from lfiw.training.run_folder import EVALUATION, task_of
from lfiw.weighting.weights import Weighting


@dataclass(frozen=True)
class WeightedSamples:
    """Rows of a table, their log-ratios and weights.

    Args:
        weights: float64, summing to 1.
        words: which weights they are, in a few words.
    """

    table: Table
    rows: Int64[Tensor, " n"]
    log_ratio: Float[Tensor, " n"]
    weights: Float[Tensor, " n"]
    words: str


def weights_of_run(run: Path, name: str | None = None) -> WeightedSamples:
    """Returns the generated rows that a run scored, weighted as its evaluation.json says.

    Args:
        run: its folder.
        name: of one of its weightings. If None, the recommended one.

    Raises:
        InputError: not a run of task=ratio, not evaluated, no such weighting, or its columns are gone.
    """
    name, weighting, classes = weighting_of_run(run, name)
    config = load(run).config
    datamodule = build_datamodule(config.data, config.seed, config.folds)
    datamodule.prepare_data()
    datamodule.open_tables()
    datamodule.input = datamodule.samples  # the split needs no features
    datamodule.setup()
    scored = datamodule.splits["evaluation"][GENERATED]
    for column in (log_ratio_column(run), *([classes.column] if classes is not None else [])):
        if column not in scored.table.columns:
            raise InputError(f"{run}: {column} is no longer in {scored.table}: run python evaluate.py run={run}")
    log_ratio = scored.column(log_ratio_column(run)).double()
    weights = weighting(log_ratio, classes.strata(scored) if classes is not None else None)
    return WeightedSamples(scored.table, scored.rows, log_ratio, weights, f"weighting {name} of {run}")


class NewWeights:
    """Log-weights of new samples, each by itself, as a run weights those that it scored.

    Class shares, if the weighting matches them, move by what moves them among the samples that the run scored.

    Args:
        name: of one of the run's weightings. Pareto-smoothing, which needs all samples, is left out.

    Raises:
        InputError: as `weights_of_run`, or (when called) samples that the run cannot score.
    """

    def __init__(self, run: Path, name: str) -> None:
        _, weighting, self.classes = weighting_of_run(run, name)
        self.scorer, self.weighting = Scorer(run), replace(weighting.unsmoothed, stratify=False)
        if self.classes is not None:
            scored = weights_of_run(run, name)
            strata = self.classes.strata(Subset(scored.table, scored.rows))
            self.shifts = strata.shifts(self.weighting.log_weights(scored.log_ratio))

    @property
    def columns(self) -> list[str]:
        """Columns that it reads where samples have them; it computes features and logits that they lack."""
        return [*self.scorer.classifiers, *([self.classes.column] if self.classes is not None else [])]

    def __call__(self, batch: Mapping[str, Tensor]) -> Float[Tensor, " n"]:
        log_weights = self.weighting.log_weights(self.scorer(batch))
        if self.classes is None:
            return log_weights
        return log_weights + self.shifts[self.scorer.classes(self.classes.name, self.classes.column, batch)]


def evaluation_of(run: Path) -> EvaluationRecord:
    """Reads the evaluation of a run.

    Raises:
        InputError: not a run of task=ratio, or not evaluated.
    """
    if not (run / "config.yaml").is_file():
        raise InputError(f"{run} is not a run folder: it has no config.yaml")
    if (task := task_of(run / "config.yaml")) != "ratio":
        raise InputError(f"{run}: a run of task={task} has no weights of samples: give a run of task=ratio, or a cache")
    if not (run / EVALUATION).is_file():
        raise InputError(f"{run} was not evaluated: it has no {EVALUATION}; run python evaluate.py run={run}")
    return EvaluationRecord.read(run / EVALUATION)


def weighting_of_run(run: Path, name: str | None) -> tuple[str, Weighting, ClassColumn | None]:
    """Returns the weighting of that name, or the recommended one: its name, itself, and the classes that it matches.

    Raises:
        InputError: as `evaluation_of`, or no such weighting.
    """
    record = evaluation_of(run)
    name, weighting = weighting_of(record, name)
    classes = ClassColumn.read(record.strata) if weighting.stratify and record.strata is not None else None
    return name, weighting, classes


def weighting_of(record: EvaluationRecord, name: str | None) -> tuple[str, Weighting]:
    """Returns the weighting of that name, or the recommended one, with its name."""
    names = [known.name for known in record.weightings if known.name != EXACT]
    if name is None:
        name = record.recommended
    if name not in names:
        raise InputError(f"--weighting {name}: no such weighting{nearest(name, names)}; the run has {', '.join(names)}")
    return name, record.named(name).weighting
