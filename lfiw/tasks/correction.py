"""From two sets of samples to weights and scores in one call."""

import io
import math
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from lfiw.data.batches import mix_seeds
from lfiw.data.encoding import SampleEncoding, is_frame, read_samples, samples_column
from lfiw.data.splits import GENERATED, REAL, Subset, rows_in, split_rows, units_of
from lfiw.data.table import Table, TensorTable
from lfiw.errors import InputError, first_line
from lfiw.evaluation.module import FeatureColumn
from lfiw.evaluation.record import EvaluationRecord, ExtractorRecord
from lfiw.evaluation.report import render, report_pictures, write_report
from lfiw.evaluation.scored_rows import ScoredRows
from lfiw.evaluation.scoring import score
from lfiw.evaluation.tables import Cells, print_evaluation, score_rows, verdict_line
from lfiw.evaluation.verdict import change_rows, verdict_of, with_verdict
from lfiw.features import build_extractor
from lfiw.metrics.selection import JudgingRows
from lfiw.ratio.estimator import PerSide, RatioEstimator, checked_seed, row_groups, undisturbed
from lfiw.schemas import Evaluation as Options
from lfiw.tensors import as_tensor, plain_array
from lfiw.weighting.calibration import Validation
from lfiw.weighting.gate import AUTO
from lfiw.weighting.resampling import check_count, systematic
from lfiw.weighting.standard_units import mean_and_scale
from lfiw.weighting.strata import Strata
from lfiw.weighting.weights import Weighting

FEATURES_BATCH = 1000
FEW_NUMBERS = 1_000_000  # features, up to which one thread scores as fast as several


def correct(
    real: Any,
    generated: Any,
    features: Any = None,
    *,
    groups: PerSide = (None, None),
    strata: PerSide = (None, None),
    held_out: float = 0.4,
    options: Options | None = None,
    weighting: str = AUTO,
    seed: int = 0,
    progress: bool = False,
    **ratio: Any,
) -> "Correction":
    """Estimates the ratio, chooses weights by the gate, and scores the generated samples with and without them.

        from lfiw import correct
        print(correct(real, generated))

    Real rows that are scored are set aside first: they train, calibrate and choose nothing. Of the generated rows, all
    are scored, each with the log-ratio of classifiers that never saw it.

    Args:
        real, generated: as `RatioEstimator.fit` takes them.
        features: what FID and KID are computed in: a function from a batch of samples, as they were given, to (n, d);
            or the features of the real and of the generated rows. If None, vectors in units of their standard
            deviations, and the pixels of images.
        groups: of real and of generated rows; rows of one group are trained on, held out or scored together.
        strata: class of each real and of each generated row, of any kind that sorts (integers, strings). Weights then
            give each class the share that it has among the real rows that are not scored, and the ratio decides within
            a class.
        held_out: share of the real rows (of their groups) that is scored.
        options: which scores. If None, those of `light_options`.
        weighting: name of one of the options' weightings to recommend; `auto` leaves it to the gate.
        seed: of whatever is random.
        progress: show progress bars.
        ratio: further options of `RatioEstimator`: classifier, folds, calibration, ensemble, …

    Raises:
        InputError: samples, features or options that cannot be, in one line.
    """
    if not 0 < held_out < 1:
        raise InputError(f"held_out={held_out} must lie in (0, 1)")
    seed = checked_seed(seed)
    estimator = RatioEstimator(**ratio, seed=seed, progress=progress)
    encoding = SampleEncoding.of(real, generated)
    sides = encoding(real, "real"), encoding(generated, "generated")
    fitting, scored = split_real(sides[REAL], groups[REAL], held_out, seed)
    classes = strata_of(strata, (len(sides[REAL]), len(sides[GENERATED])), fitting)
    # features first: what is wrong with them is said before anything is trained
    column = feature_column(features, (real, generated), sides, fitting)
    of_fitting = None if groups[REAL] is None else np.asarray(groups[REAL])[fitting.numpy()]
    estimator.fit_encoded(encoding, (sides[REAL][fitting], sides[GENERATED]), (of_fitting, groups[GENERATED]))

    images = {} if len(encoding.shape) != 3 else {"image": sides}
    rows = ScoredRows.of_tensors(
        {column.name: column.real[scored], **{name: both[REAL][scored] for name, both in images.items()}},
        {column.name: column.generated, **{name: both[GENERATED] for name, both in images.items()}},
        torch.from_numpy(estimator.log_ratio_),
    )
    validation = estimator.validation_
    if classes is not None:
        of_real, of_generated = classes
        rows = replace(rows, strata=of_generated)
        validation = with_strata(validation, of_real[fitting], of_generated)
    with undisturbed(one_thread=column.generated.numel() <= FEW_NUMBERS):
        record = score(
            rows,
            validation,
            [FeatureColumn(column.name, column.real.shape[1], seen=features is None)],
            options=options or light_options(),
            judging=judging_rows(validation, column, fitting),
            weighting=weighting,
            seed=seed,
            progress=progress,
        )
    name = column.name.removeprefix("features/")
    record = replace(
        record,
        experiment="correct",
        extractors=(ExtractorRecord(name, name),),
        calibration=estimator.calibration,
        folds=estimator.folds,
        ensemble=estimator.ensemble,
    )
    record = with_verdict(record)  # by the extractors' names
    return Correction(estimator, record, rows, generated, seed)


def judging_rows(validation: Validation, column: "ScoredColumn", fitting: Int64[Tensor, " f"]) -> JudgingRows | None:
    """Validation rows by whose features the gate chooses.

    Args:
        fitting: real rows that the ratio may see, which the validation rows are numbers of.
    """
    if validation.rows is None:
        return None
    real, generated = (TensorTable({column.name: values}) for values in (column.real, column.generated))
    of_real, of_generated = validation.rows
    strata = validation.strata[1] if validation.strata is not None else None
    log_ratio = validation.calibrated[1]
    return JudgingRows.of(Subset(real, fitting[of_real]), Subset(generated, of_generated), log_ratio, strata)


def strata_of(labels: PerSide, num_rows: tuple[int, int], fitting: Int64[Tensor, " f"]) -> tuple[Strata, Strata] | None:
    """Returns the classes of all real and generated rows; None without labels.

    Args:
        labels: of real and of generated rows.
        fitting: real rows whose classes are counted.
    """
    if labels[REAL] is None and labels[GENERATED] is None:
        return None
    sides = [
        plain_array(values, f"strata of {side}") for values, side in zip(labels, ("real", "generated"), strict=True)
    ]
    for found, rows, side in zip(sides, num_rows, ("real", "generated"), strict=True):
        if found.shape != (rows,):
            raise InputError(f"strata of {side}: expected one class per row, ({rows},), got {found.shape}")
        if found.dtype.kind == "f" and np.isnan(found).any():
            raise InputError(f"strata of {side}: {int(np.isnan(found).sum())} are NaN; give these rows a class too")
    if len({"text" if found.dtype.kind in "US" else "numbers" for found in sides if found.dtype.kind != "O"}) > 1:
        raise InputError("strata: the classes of one side are text, those of the other are numbers")
    try:
        values, numbers = np.unique(np.concatenate(sides), return_inverse=True)
    except TypeError as error:  # classes of several kinds, or None among them
        raise InputError(f"strata: the classes do not sort: {first_line(error)}") from error
    of_real, of_generated = torch.from_numpy(numbers).split(num_rows)
    counts = torch.bincount(of_real[fitting], minlength=len(values))
    return Strata(of_real, counts), Strata(of_generated, counts)


def with_strata(validation: Validation, of_real: Strata, of_generated: Strata) -> Validation:
    """Returns the validation rows with their classes.

    Args:
        of_real, of_generated: classes of the rows that the validation rows are numbers of.
    """
    assert validation.rows is not None  # those of a fitted estimator have numbers
    real, generated = validation.rows
    return replace(validation, strata=(of_real[real], of_generated[generated]))


def light_options() -> Options:
    """Scores in a second or two: FID and KID with intervals, of uniform and recommended weights alone.

    Left out, though `train.py` computes them: other weightings, the control of permuted weights, curves over the
    flattening exponent, and scores of other real rows as a reference.
    """
    return Options(permutations=0, exponents=[], reference="none")


@dataclass(frozen=True, eq=False)
class Correction:
    """What `correct` found. `print` shows the tables, a notebook the verdict and the scores.

    Args:
        ratio: fitted.
        record: as evaluation.json has it.
        rows: those that were scored.
        generated: the samples, as they were given.
        seed: of random draws.
    """

    ratio: RatioEstimator
    record: EvaluationRecord
    rows: ScoredRows
    generated: Any
    seed: int

    @property
    def weighting(self) -> Weighting:
        """The recommended one."""
        return self.record.chosen.weighting

    @property
    def log_ratio(self) -> Float[np.ndarray, " n"]:
        """Log density ratio of each generated sample, float64."""
        return self.rows.log_ratio.numpy()

    @property
    def weights(self) -> Float[np.ndarray, " n"]:
        """Weight of each generated sample, float64, summing to 1."""
        return self.rows.weights(self.weighting).numpy()

    @property
    def verdict(self) -> str:
        """Of everything that was seen, in a few words: "corrects", … (`lfiw.evaluation.verdict`)."""
        return self.record.verdict

    @property
    def summary(self) -> str:
        """The verdict in sentences: what gets better, what worse, and what a second classifier still tells apart."""
        return self.record.summary or ""

    @property
    def reason(self) -> str:
        """The numbers behind the verdict."""
        return self.record.reason

    @property
    def scores(self) -> "Scores":
        """Every score under every weighting."""
        return Scores(self.record)

    def report(self, file: str | Path) -> Path:
        """Writes the page with figures, as `train.py` does, and returns its path."""
        validation: Validation = self.ratio.validation_
        pictures, _ = report_pictures(self.record, self.rows, validation, seed=self.seed)
        path = Path(file)
        write_report(path, self.record, {section: list(named.values()) for section, named in pictures.items()})
        return path

    def resample(self, num_samples: int, seed: int | None = None) -> Any:
        """Draws generated samples by weight, in the form in which they were given: approximately samples of the data.

        Args:
            seed: of the draws. If None, that of `correct`.
        """
        return taken(self.generated, self.resampled_rows(num_samples, seed).numpy())

    def resampled_rows(self, num_samples: int, seed: int | None = None) -> Int64[Tensor, " n"]:
        """Numbers of the rows that `resample` draws, in random order; heavy rows repeat (systematic resampling)."""
        check_count("num_samples", num_samples)
        seed = self.seed if seed is None else checked_seed(seed)
        generator = torch.Generator().manual_seed(mix_seeds(seed, num_samples))
        rows = systematic(self.rows.log_weights(self.weighting), num_samples, generator)
        return rows[torch.randperm(num_samples, generator=generator)]

    def __str__(self) -> str:
        text = io.StringIO()
        with redirect_stdout(text):
            print_evaluation(self.record)
        return text.getvalue().rstrip()

    def __repr__(self) -> str:
        return f"<Correction of {len(self.log_ratio):,} generated samples, {verdict_line(self.record)}>"

    def _repr_html_(self) -> str:
        return render(
            "correction.html",
            {"verdict": verdict_of(self.record), "changes": change_rows(self.record), "scores": self.scores.cells},
        )


@dataclass(frozen=True)
class Scores:
    """Scores of a record as a table: `print`, or `to_frame` for pandas."""

    record: EvaluationRecord

    @property
    def cells(self) -> Cells:
        """Titles and cells, with 95 % intervals."""
        return score_rows(self.record, intervals=True)

    def to_frame(self) -> Any:
        """A pandas DataFrame, one row per weighting and score.

        Raises:
            InputError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise InputError("scores.to_frame() needs pandas: pip install pandas") from None
        rows = []
        for w in self.record.weightings:
            about = {"weighting": w.name, "recommended": w.name == self.record.recommended, "ess": w.ess}
            for metric, found in w.metrics.items():
                value, half = found.value, math.nan if found.half_width is None else found.half_width
                difference = found.difference.value
                other = math.nan if found.difference.half_width is None else found.difference.half_width
                rows.append(
                    {
                        **about,
                        "score": str(metric),
                        "value": value,
                        "low": value - half,
                        "high": value + half,
                        "difference": difference,
                        "difference_low": difference - other,
                        "difference_high": difference + other,
                    }
                )
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        titles, rows = self.cells
        widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
        lines = [titles, ["─" * width for width in widths], *rows]
        return "\n".join(
            "  ".join(
                cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        )

    def __repr__(self) -> str:
        return str(self)


def split_real(
    real: Shaped[Tensor, "n ..."], groups: Any, held_out: float, seed: int
) -> tuple[Int64[Tensor, " f"], Int64[Tensor, " s"]]:
    """Rows that the ratio may see, and rows that are scored; no group has rows of both."""
    units = units_of(None if groups is None else row_groups(groups, len(real), "real"), len(real))
    if groups is not None and not units.any():
        raise InputError("groups of real: all rows are of one group, which cannot be both fitted to and scored")
    parts = split_rows(int(units.max()) + 1, {"fitting": 1 - held_out, "scored": held_out}, mix_seeds(seed, 0))
    fitting, scored = (rows_in(units, parts[name]) for name in ("fitting", "scored"))
    if len(scored) < 2:
        raise InputError(f"real has {len(real)} rows, of which held_out={held_out:g} leaves {len(scored)} to score")
    return fitting, scored


@dataclass(frozen=True)
class ScoredColumn:
    """Features of all real and of all generated rows, and their name."""

    name: str
    real: Float[Tensor, "n d"]
    generated: Float[Tensor, "m e"]


def feature_column(
    features: Any, samples: tuple[Any, Any], sides: tuple[Tensor, Tensor], fitting: Tensor
) -> ScoredColumn:
    """The features that scores are computed in.

    Args:
        samples: of both sides as they were given; sides: the same, encoded.
        fitting: real rows from which the scale of vectors is taken.
    """
    real, generated = sides
    if features is None and real.ndim == 2:
        mean, std = mean_and_scale(real[fitting].double())
        of_real, of_generated = ((values.double() - mean) / std for values in (real, generated))
        return ScoredColumn("features/standardised", of_real, of_generated)
    if features is None:
        pixels = build_extractor("pixels", real.shape[1:])
        of_real, of_generated = (pixels(images)["features"] for images in (real, generated))
        return ScoredColumn("features/pixels", of_real, of_generated)
    if callable(features):
        name = getattr(features, "__name__", type(features).__name__).strip("<>")
        of_real, of_generated = (
            computed(features, given, len(side)) for given, side in zip(samples, sides, strict=True)
        )
        return checked(ScoredColumn(f"features/{name}", of_real, of_generated))
    if not isinstance(features, tuple | list) or len(features) != 2:
        raise InputError("features: expected a function of a batch, or a pair of arrays (of real, of generated)")
    both = [
        read_samples(array, f"features of {side}") for array, side in zip(features, ("real", "generated"), strict=True)
    ]
    for array, side, name in zip(both, sides, ("real", "generated"), strict=True):
        if array.ndim != 2 or len(array) != len(side):
            raise InputError(f"features of {name}: expected ({len(side)}, d), got {tuple(array.shape)}")
    return checked(ScoredColumn("features/given", both[REAL], both[GENERATED]))


def computed(features: Callable[[Any], Any], samples: Any, num_rows: int) -> Float[Tensor, "n d"]:
    """A function's features of all rows, batch by batch.

    Raises:
        InputError: the function raises, or does not return (n, d).
    """
    found = []
    for part in torch.arange(num_rows).split(FEATURES_BATCH):
        try:
            with torch.no_grad():
                values = features(taken(samples, part.numpy()))
        except Exception as error:  # whatever a user's function raises
            raise InputError(f"features: the function raised {type(error).__name__}: {first_line(error)}") from error
        array = as_tensor(values, "features").detach().cpu()
        if array.ndim != 2 or len(array) != len(part):
            raise InputError(
                f"features: the function gave {tuple(array.shape)} of {len(part)} samples, expected (n, d)"
            )
        found.append(array if array.is_floating_point() else array.double())
    return torch.cat(found)


def checked(column: ScoredColumn) -> ScoredColumn:
    """The features, unless their widths differ or they are not finite."""
    if column.real.shape[1] != column.generated.shape[1]:
        raise InputError(f"features: {column.real.shape[1]} of real samples, {column.generated.shape[1]} of generated")
    for values, name in ((column.real, "real"), (column.generated, "generated")):
        if not torch.isfinite(values).all():
            raise InputError(f"features of {name} samples: some are NaN or infinite")
    return column


def taken(samples: Any, rows: np.ndarray) -> Any:
    """Some rows of samples, in the form in which the samples are."""
    if isinstance(samples, Table):
        return samples.read(torch.from_numpy(rows), [samples_column(samples)])[samples_column(samples)]
    if hasattr(samples, "iloc"):
        return samples.iloc[rows]
    if isinstance(samples, Tensor):
        return samples[torch.from_numpy(rows).to(samples.device)]
    return samples[rows] if is_frame(samples) else np.asarray(samples)[rows]
