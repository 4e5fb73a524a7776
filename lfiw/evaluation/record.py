"""evaluation.json as typed records, written and read here alone.

A number that is not finite is null in the file and nan in a record. A field whose default is None is left out of the
file where it is None; a file of an older version may lack any field that has a default.
"""

import math
import sys
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from lfiw.errors import InputError
from lfiw.files import read_json, write_json
from lfiw.weighting.gate import CANNOT, CORRECTS, NOTHING
from lfiw.weighting.weights import Weighting

EXACT = "exact"  # weights that a data set knows, where the skew was made
PAPER = "_paper"  # the definitions of the paper's official code
# name in evaluation.json → printed title, whether more of it is better; None: neither more nor less is
METRICS: dict[str, tuple[str, bool | None]] = {
    "fid": ("FID", False),
    "kid": ("KID", False),
    "is": ("IS", True),
    "precision": ("precision", True),
    "recall": ("recall", True),
    "density": ("density", True),
    "coverage": ("coverage", True),
    "class_distance": ("class distance", False),
    "log_loss": ("log-loss", False),
    "calibration_error": ("calibration error", None),
    "max_calibration_error": ("largest in a bin", None),
    "mean_weight_generated": ("mean ŵ, generated", None),
    "mean_inverse_weight_real": ("mean 1/ŵ, real", None),
}


MIXED, WORSENS, UNCHANGED = "improves some scores and worsens others", "worsens", "changes nothing for certain"
VERDICTS = (CORRECTS, MIXED, WORSENS, UNCHANGED, NOTHING, CANNOT)


@dataclass(frozen=True)
class Metric:
    """Which score: `kid_paper@resnet56` in the file.

    Args:
        kind: a name in METRICS, or one that this version does not know.
        extractor: whose features it is of; empty for the main one.
        paper: by the definitions of the paper's official code.
    """

    kind: str
    extractor: str = ""
    paper: bool = False

    @classmethod
    def named(cls, name: str) -> "Metric":
        """The metric whose name in the file this is."""
        kind, _, extractor = name.partition("@")
        return cls(kind.removesuffix(PAPER), extractor, kind.endswith(PAPER))

    def __str__(self) -> str:
        return self.kind + PAPER * self.paper + f"@{self.extractor}" * bool(self.extractor)

    @property
    def higher_is_better(self) -> bool | None:
        """None where neither more nor less of it is better."""
        return METRICS.get(self.kind, ("", None))[1]

    @property
    def label(self) -> str:
        """`KID @resnet56`, for a sentence."""
        return self.title.replace(" ↑", "").replace(" ↓", "")

    @property
    def title(self) -> str:
        """`KID ↓ (paper) @resnet56`."""
        arrow = {True: " ↑", False: " ↓", None: ""}[self.higher_is_better]
        extractor = f" @{self.extractor}" if self.extractor else ""
        return METRICS.get(self.kind, (self.kind,))[0] + arrow + " (paper)" * self.paper + extractor


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error; nan where there is none."""

    value: float
    se: float


UNKNOWN = Estimate(math.nan, math.nan)


@dataclass(frozen=True)
class Difference(Estimate):
    """A score minus that of uniform weights on the same rows; half_width: of its 95 % interval."""

    half_width: float | None = None


@dataclass(frozen=True)
class Score(Estimate):
    """One metric under one weighting.

    Args:
        half_width: what its 95 % interval reaches to either side; interval: how far that covers
            (`lfiw.metrics.sample_size.interval_kind`).
        control: mean score of the same weights permuted across the rows; correction: the score minus that.
        infinite: the score extrapolated to infinitely many samples.
    """

    difference: Difference
    half_width: float | None = None
    interval: str | None = None
    control: Estimate | None = None
    correction: Estimate | None = None
    infinite: Estimate | None = None


@dataclass(frozen=True)
class WeightingRecord:
    """One weighting: how it weights, what its weights are worth, its scores.

    Args:
        flatten, clip, smooth, stratify: of `Weighting`; none of exact weights, which are no function of the log-ratio.
        kl_gain: on validation rows; none of uniform and of exact weights.
        class_proportions: of the generated rows, weighted; empty without classes.
    """

    name: str
    flatten: float
    clip: float
    smooth: bool | None
    ess: float
    ess_share: float
    pareto_k: float
    max_weight: float
    top_1_percent_share: float
    kl_gain: Estimate | None
    metrics: dict[Metric, Score]
    class_proportions: tuple[float, ...]
    stratify: bool | None = None

    @property
    def is_uniform(self) -> bool:
        """Whether it corrects nothing."""
        return self.flatten == 0 and not self.stratify

    @property
    def weighting(self) -> Weighting:
        """From log-ratios, and classes if it matches their shares, to these weights.

        Raises:
            InputError: exact weights are none of the log-ratio.
        """
        return Weighting(self.flatten, self.clip, bool(self.smooth), stratify=bool(self.stratify))


@dataclass(frozen=True)
class CalibrationScores:
    """Of log-ratios on held-out rows; the two means are 1 for the exact ratio."""

    log_loss: float
    calibration_error: float
    max_calibration_error: float
    mean_weight_generated: float
    mean_inverse_weight_real: float


@dataclass(frozen=True)
class ClassifierRecord:
    """What held-out rows say of the ratio classifier, as trained (raw) and recalibrated."""

    num_real: int
    num_generated: int
    accuracy: float
    two_sample_p_value: float
    density_chasm: bool
    raw: CalibrationScores
    calibrated: CalibrationScores


@dataclass(frozen=True)
class ExtractorRecord:
    """Features that were scored in. key: of their columns; sha256: of the weights, empty without any."""

    name: str
    key: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class StrataRecord:
    """Classes whose shares weights match.

    Args:
        name: of the extractor that tells them, or `label`; column: of its logits, or of the labels.
        counts: of the classes among the real training and validation rows.
    """

    name: str
    column: str
    counts: tuple[int, ...]


@dataclass(frozen=True)
class TableRecord:
    """Samples that were scored; sha256: of their content, where it is known."""

    name: str
    rows: int
    sha256: str | None


@dataclass(frozen=True)
class Flattening:
    """ESS and scores of ŵ^α: one value an exponent."""

    exponents: tuple[float, ...]
    ess: tuple[float, ...]
    scores: dict[Metric, tuple[float, ...]]

    def __post_init__(self) -> None:
        if any(len(values) != len(self.exponents) for values in (self.ess, *self.scores.values())):
            raise InputError(f"flattening: expected one value for each of the {len(self.exponents)} exponents")

    def known(self, values: tuple[float, ...]) -> tuple[list[float], list[float]]:
        """Exponents and values where a value is a number."""
        pairs = [(alpha, x) for alpha, x in zip(self.exponents, values, strict=True) if math.isfinite(x)]
        return [alpha for alpha, _ in pairs], [x for _, x in pairs]


@dataclass(frozen=True)
class Imbalance:
    """How far the generated rows, under one weighting, are from the real ones.

    Args:
        auc, half_width: of a second classifier that tells them apart; its 95 % interval reaches so far to either side.
        mean_smd, max_smd: size of the standardised mean differences, over all columns.
        smd, ks: standardised mean difference and Kolmogorov–Smirnov distance of the columns that are listed.
    """

    auc: float
    half_width: float
    mean_smd: float
    max_smd: float
    smd: tuple[float, ...]
    ks: tuple[float, ...]


@dataclass(frozen=True)
class Balance:
    """The main features of real and generated rows, before weighting and under the recommended weighting.

    Args:
        columns: names of those that are listed, the furthest apart first.
        after: None where the recommended weighting is uniform.
    """

    columns: tuple[str, ...]
    before: Imbalance
    after: Imbalance | None = None

    def __post_init__(self) -> None:
        for side in (self.before, self.after):
            if side and not len(side.smd) == len(side.ks) == len(self.columns):
                raise InputError(f"balance: expected one smd and one ks for each of the {len(self.columns)} columns")


@dataclass(frozen=True)
class WithinClass:
    """KID of one class's rows: without weights, and how far the recommended ones move it.

    Args:
        number: of the class.
    """

    number: int
    num_real: int
    num_generated: int
    kid: Estimate
    difference: Difference


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord:
    """The content of evaluation.json.

    Args:
        reference: scores of other real rows in place of generated ones.
        recommended: name of a weighting; reason: of the gate for it.
        verdict, summary: of everything that was seen, a few words and a sentence (`lfiw.evaluation.verdict`).
        by_class: KID of the main features within each class that has enough rows.
        seen: extractors whose features the ratio saw, '' for the main one.
        left_out: weightings that are not here, since one row carries all of their weight.
        lost: why a score is not a number: float64 cannot hold its digits.
        pareto_k_threshold: k̂ above which a weighted mean of the generated rows is not to be trusted.
        weightings: the first one is uniform; all with the same metrics.
    """

    experiment: str
    version: str = ""
    run: str = ""
    num_real: int
    num_generated: int
    num_reference: int = 0
    extractors: tuple[ExtractorRecord, ...]
    paper_blocks: int = 0
    calibration: str = "none"
    folds: int = 1
    ensemble: int = 1
    classifier: ClassifierRecord
    reference: dict[Metric, Estimate]
    recommended: str
    verdict: str
    reason: str
    pareto_k_threshold: float
    real_class_proportions: tuple[float, ...]
    lost: dict[Metric, str] | None = None
    weightings: tuple[WeightingRecord, ...]
    flattening: Flattening | None = None
    balance: Balance | None = None
    by_class: tuple[WithinClass, ...] | None = None
    seen: tuple[str, ...] | None = None
    summary: str | None = None
    strata: StrataRecord | None = None
    left_out: tuple[str, ...] | None = None
    tables: tuple[TableRecord, ...] = ()

    def __post_init__(self) -> None:
        names = [w.name for w in self.weightings]
        if self.recommended not in names:
            raise InputError(f"recommended: expected one of {', '.join(names)}, found {self.recommended!r}")
        if self.verdict not in VERDICTS:
            raise InputError(f"verdict: expected one of {', '.join(VERDICTS)}, found {self.verdict!r}")
        for i, w in enumerate(self.weightings):
            if w.metrics.keys() != self.uniform.metrics.keys():
                raise InputError(f"weightings[{i}].metrics: expected those of weightings[0]")
            if len(w.class_proportions) != len(self.real_class_proportions):
                raise InputError(f"weightings[{i}].class_proportions: expected {len(self.real_class_proportions)}")

    @property
    def uniform(self) -> WeightingRecord:
        """No correction."""
        return self.weightings[0]

    def named(self, name: str) -> WeightingRecord:
        """The weighting of that name, which must be there."""
        return next(w for w in self.weightings if w.name == name)

    @property
    def chosen(self) -> WeightingRecord:
        """The weighting that is recommended."""
        return self.named(self.recommended)

    @property
    def drawn(self) -> WeightingRecord:
        """The one whose weights a report draws: the recommended one, or the first other one where that is uniform."""
        return self.weightings[1] if self.chosen.is_uniform and len(self.weightings) > 1 else self.chosen

    @property
    def shown(self) -> list[WeightingRecord]:
        """Uniform, self-normalised (or the first other one), recommended and exact, without repeats."""
        names = {w.name for w in self.weightings[:2]} | {self.recommended, EXACT}
        return [w for w in self.weightings if w.name in names]

    def metrics(self, *, paper: bool = False) -> list[Metric]:
        """Those of every weighting: the standard ones, or those by the definitions of the paper's official code."""
        return [metric for metric in self.uniform.metrics if metric.paper == paper]

    @property
    def has_intervals(self) -> bool:
        """Whether standard errors or controls were computed."""
        return any(score.control for score in self.uniform.metrics.values())

    def starred(self, name: str) -> str:
        """A weighting's name, with a star where it is the recommended one."""
        return f"{name} ★" if name == self.recommended else name

    def to_json(self) -> dict[str, Any]:
        """The content of the file."""
        content: dict[str, Any] = encode(self)
        return content

    @classmethod
    def from_json(cls, content: dict[str, Any], source: str = "evaluation.json") -> "EvaluationRecord":
        """The record of such content.

        Raises:
            InputError: a field is missing or is not what it should be; the message names the source and the field.
        """
        try:
            record: EvaluationRecord = decode(cls, content, "")
        except InputError as error:
            raise InputError(f"{source}: {error}") from None
        return record

    def write(self, file: Path) -> None:
        """Writes the file."""
        write_json(file, self.to_json())

    @classmethod
    def read(cls, file: Path) -> "EvaluationRecord":
        """A run's file.

        Raises:
            InputError: it cannot be read, is damaged or of a version that lacked what is needed now.
        """
        content = read_json(file)
        try:
            return cls.from_json(content, str(file))
        except InputError as error:
            raise InputError(f"{error}; score the run again: python evaluate.py run={file.parent}") from None


WORDS = {float: "a number", int: "a whole number", str: "text", bool: "true or false", tuple: "a list"}


def encode(value: Any) -> Any:
    """A record, and whatever it is made of, as JSON."""
    if isinstance(value, Metric):
        return str(value)
    if is_dataclass(value):
        pairs = ((field, getattr(value, field.name)) for field in fields(value))
        return {field.name: encode(inner) for field, inner in pairs if inner is not None or field.default is not None}
    if isinstance(value, dict):
        return {encode(name): encode(inner) for name, inner in value.items()}
    if isinstance(value, tuple):
        return [encode(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def decode(kind: Any, value: object, place: str) -> Any:
    """JSON as what an annotation says.

    Raises:
        InputError: it is something else; `place` is how the message calls it.
    """
    if isinstance(kind, UnionType):  # with None
        return None if value is None else decode(get_args(kind)[0], value, place)
    origin, inner = get_origin(kind), get_args(kind)
    if kind is float:
        if value is None:
            return math.nan
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
            return float(value)
    elif type(value) is kind:
        return value
    elif is_dataclass(kind) and isinstance(value, dict):
        return decode_fields(kind, value, place)
    elif origin is dict and isinstance(value, dict):
        return {Metric.named(name): decode(inner[1], one, f"{place}.{name}") for name, one in value.items()}
    elif origin is tuple and isinstance(value, list):
        return tuple(decode(inner[0], one, f"{place}[{i}]") for i, one in enumerate(value))
    expected = WORDS.get(origin or kind, "an object")
    raise InputError(f"{place or 'content'}: expected {expected}, found {value!r:.40}")


def decode_fields(kind: Any, content: dict[str, Any], place: str) -> Any:
    """A JSON object as a record. Raises as `decode`."""
    hints, found = get_type_hints(kind), {}
    for field in fields(kind):
        inner = f"{place}.{field.name}".removeprefix(".")
        if field.name in content:
            left_out = field.default is None  # what is None is not in the file then: null is nan
            hint = get_args(hints[field.name])[0] if left_out else hints[field.name]
            found[field.name] = decode(hint, content[field.name], inner)
        elif field.default is MISSING:
            raise InputError(f"{inner} is missing")
    return kind(**found)
