"""Classes whose shares weights are to match: an extractor's, by its largest logit, or the samples' own labels."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from lfiw.data.splits import REAL, Subset, everything
from lfiw.errors import InputError
from lfiw.evaluation.record import StrataRecord
from lfiw.features.extractor import Extractor
from lfiw.ratio.mixed import MixedDataModule
from lfiw.weighting.calibration import Validation
from lfiw.weighting.strata import Strata

LABEL = "label"  # column of the samples' own classes
MOST_CLASSES = 100_000  # larger labels are no classes but names of rows


@dataclass(frozen=True)
class ClassColumn:
    """A column of class logits or labels, and how many of the real rows that the ratio may see are of each class."""

    name: str
    column: str
    counts: Int64[Tensor, " c"]

    @classmethod
    def read(cls, record: StrataRecord) -> "ClassColumn":
        """Returns the one that an evaluation used."""
        return cls(record.name, record.column, torch.tensor(record.counts))

    def record(self) -> StrataRecord:
        """Returns what evaluation.json keeps of it."""
        return StrataRecord(self.name, self.column, tuple(self.counts.tolist()))

    def strata(self, subset: Subset) -> Strata:
        """Returns the classes of some rows."""
        return Strata(classes_in(subset, self.column), self.counts)


def class_column(name: str, extractors: Mapping[str, Extractor], datamodule: MixedDataModule) -> ClassColumn | None:
    """Returns the classes that `evaluation.strata` names; None for `none`.

    They are counted among the real training and validation rows; scored rows take no part.

    Args:
        name: as `check_strata` found it right.
        extractors: that have been run on every table.
    """
    if name == "none":
        return None
    column = LABEL if name == LABEL else extractors[name].columns["logits"]
    real = [datamodule.splits[split][REAL] for split in ("train", "validation")]
    classes = torch.cat([classes_in(subset, column) for subset in real])
    if name == LABEL:
        num_classes = 1 + max(int(classes_in(everything(t), column).max()) for t in datamodule.tables.values())
    else:
        num_classes = extractors[name].num_classes or 0
    return ClassColumn(name, column, torch.bincount(classes, minlength=num_classes))


def validation_strata(
    classes: ClassColumn, datamodule: MixedDataModule, validation: Validation
) -> tuple[Strata, Strata]:
    """Returns the classes of the validation rows of both sides."""
    assert validation.rows is not None
    assert datamodule.real is not None
    assert datamodule.generated is not None
    of_real, of_generated = validation.rows
    return (
        classes.strata(Subset(datamodule.real, of_real)),
        classes.strata(Subset(datamodule.generated, of_generated)),
    )


def check_strata(name: str, extractors: Mapping[str, Extractor], datamodule: MixedDataModule) -> None:
    """Raises the InputError that `class_column` would raise, before hours of extraction and training."""
    if name in ("none", LABEL):
        for side, table in datamodule.tables.items() if name == LABEL else ():
            if LABEL not in table.columns:
                raise InputError(f"evaluation.strata={LABEL}: data.{side} has no column {LABEL!r}")
            try:
                classes_in(everything(table), LABEL)
            except InputError as error:
                raise InputError(f"evaluation.strata={LABEL}: data.{side}: {error}") from None
        return
    labelled = [known for known, extractor in extractors.items() if extractor.num_classes]
    if name not in labelled:
        known = ", ".join(["none", LABEL, *labelled])
        raise InputError(
            f"evaluation.strata={name}: expected one of {known}; an extractor must have class logits and be named by "
            "evaluation.extractors or metrics.inception_score.classifier"
        )


def classes_in(subset: Subset, column: str) -> Int64[Tensor, " n"]:
    """Returns the class of each row: the largest logit, or the label.

    Raises:
        InputError: labels that are no integers from 0 on, or too large.
    """
    values = subset.column(column)
    if column != LABEL:
        return values.argmax(dim=1)
    if values.ndim != 1 or values.is_floating_point() or not 0 <= int(values.min()) <= int(values.max()) < MOST_CLASSES:
        raise InputError(f"column {LABEL!r}: expected integers from 0 to {MOST_CLASSES - 1:,}, one per row")
    return values.long()
