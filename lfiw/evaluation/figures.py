"""The figures of an evaluation, each with a text that says what is seen."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from lfiw.data.splits import REAL
from lfiw.evaluation.plots import (
    class_proportions,
    lorenz_curve,
    love_plot,
    reliability_diagram,
    score_intervals,
    scores_by_exponent,
    training_curves,
    weight_histogram,
)
from lfiw.evaluation.plots.scores import BALANCED
from lfiw.evaluation.plots.style import as_svg, save
from lfiw.evaluation.plots.weight_figures import relative_to_uniform
from lfiw.evaluation.record import UNKNOWN, Balance, EvaluationRecord, Flattening, Metric
from lfiw.evaluation.scored_rows import ScoredRows
from lfiw.evaluation.tables import as_number, most_changed_classes, number
from lfiw.files import write_atomically
from lfiw.training.run_folder import Curve
from lfiw.weighting.calibration import Reliability, Sides, Validation, reliability


@dataclass(frozen=True)
class Picture:
    """What is drawn, and what it says.

    Args:
        title: a few words above it.
        alt: what is seen, with numbers.
        content: a figure, or pixels (height, width, 3) that are shown enlarged, each as a square.
        note: a sentence below it, if it needs one.
    """

    title: str
    alt: str
    content: Figure | UInt8[np.ndarray, "height width 3"]
    note: str = ""

    @property
    def is_grid(self) -> bool:
        """Whether it is made of pixels."""
        return isinstance(self.content, np.ndarray)

    def write(self, file: Path) -> Path:
        """Writes a PNG file."""
        if isinstance(self.content, Figure):
            return save(self.content, file)
        write_atomically(file, png(self.content))
        return file

    @property
    def uri(self) -> str:
        """The picture itself as the address of an image: SVG for a figure, PNG for pixels."""
        if isinstance(self.content, Figure):
            return data_uri("image/svg+xml", as_svg(self.content).encode())
        return data_uri("image/png", png(self.content))


def png(pixels: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """The content of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


CURVES = 6  # most scores drawn against the exponent


def draw_evaluation(
    record: EvaluationRecord,
    rows: ScoredRows,
    validation: Validation,
    losses: Mapping[str, Curve],
    training: Mapping[str, Curve],
) -> dict[str, dict[str, Picture]]:
    """Section of the report → the figures by the names of their files.

    Args:
        rows: those that were scored.
        validation: log-ratios of validation rows, as trained and recalibrated.
        losses, training: log-losses of each classifier on validation and, where they were logged, on training rows.
    """
    shown = {w.name: w for w in (*record.weightings[1:2], record.drawn)}
    weights = {name: rows.weights(w.weighting) for name, w in shown.items() if w is not record.uniform}
    curves_of = {"as trained": validation.raw}
    if record.calibration != "none":
        curves_of[record.calibration] = validation.calibrated
    curves = {name: reliability(torch.cat(sides), is_real(sides)) for name, sides in curves_of.items()}
    return {
        "scores": {
            f"intervals_{file_name(metric)}": intervals_picture(record, metric) for metric in main_metrics(record)
        },
        "weights": {"weights": histogram_picture(weights), "lorenz": lorenz_picture(weights)} if weights else {},
        "balance": balance_pictures(record.balance) if record.balance else {},
        "flattening": flattening_pictures(record, record.flattening) if record.flattening else {},
        "classifier": {
            "calibration": reliability_picture(curves),
            **({"training": training_picture(losses, training)} if losses else {}),
        },
        "classes": {"class_proportions": classes_picture(record)} if record.real_class_proportions else {},
    }


def is_real(sides: Sides) -> Bool[Tensor, " n"]:
    """Which rows of both sides, one after the other, are real."""
    return torch.arange(sum(map(len, sides))) < len(sides[REAL])


def main_metrics(record: EvaluationRecord) -> list[Metric]:
    """The first standard metric of each kind: those of the main extractor, and an Inception Score."""
    known = [metric for metric in record.metrics() if metric not in (record.lost or {})]
    return list({metric.kind: metric for metric in reversed(known)}.values())[::-1]


def file_name(metric: Metric) -> str:
    """`fid@classifier` → `fid_classifier`."""
    return str(metric).replace("@", "_")


def intervals_picture(record: EvaluationRecord, metric: Metric) -> Picture:
    """One score of every weighting."""
    names = [record.starred(w.name) for w in record.weightings]
    scores = [w.metrics[metric] for w in record.weightings]
    values = [score.value for score in scores]
    figure = score_intervals(
        names,
        values,
        [as_number(score.half_width) for score in scores],
        metric.title,
        controls=[(score.control or UNKNOWN).value for score in scores],
        reference=reference_value(record, metric),
    )
    listed = ", ".join(f"{name} {number(value)}" for name, value in zip(names, values, strict=True))
    return Picture(f"{metric.title} of each weighting", f"Points with intervals, one under another: {listed}.", figure)


def reference_value(record: EvaluationRecord, metric: Metric) -> float | None:
    """Score of other real rows; none where it was not computed."""
    value = record.reference.get(metric, UNKNOWN).value
    return value if math.isfinite(value) else None


def histogram_picture(weights: Mapping[str, Tensor]) -> Picture:
    """Histogram of the weights."""
    parts = []
    for name, values in weights.items():
        relative = torch.from_numpy(relative_to_uniform(values))
        low, middle, high = (number(x.item(), 2) for x in (relative.min(), relative.median(), relative.max()))
        parts.append(f"those of {name} from {low} to {high} times the uniform weight, half of them below {middle}")
    return Picture("How the weights spread", f"Histogram of weights: {'; '.join(parts)}.", weight_histogram(weights))


def lorenz_picture(weights: Mapping[str, Tensor]) -> Picture:
    """Lorenz curve of the weights."""
    parts = []
    for name, values in weights.items():
        mass = values.sort(descending=True).values.cumsum(0)
        shares = (mass[max(0, round(share * len(mass)) - 1)].item() / mass[-1].item() for share in (0.01, 0.1, 0.5))
        one, ten, half = (f"{share:.0%}" for share in shares)
        parts.append(f"under {name} the heaviest 1 % of the samples hold {one} of the weight, 10 % {ten}, half {half}")
    return Picture(
        "How much the heaviest hold", f"Curves of the weight held: {'; '.join(parts)}.", lorenz_curve(weights)
    )


def balance_pictures(balance: Balance) -> dict[str, Picture]:
    """Love plots: standardised mean difference and Kolmogorov–Smirnov distance of each column that is listed."""
    sides = [balance.before, *([balance.after] if balance.after else [])]
    smd, ks = ([[abs(x) for x in getattr(side, name)] for side in sides] for name in ("smd", "ks"))
    return {
        "balance_means": love_picture("Standardised mean difference", balance.columns, smd, BALANCED),
        "balance_distributions": love_picture("Kolmogorov–Smirnov distance", balance.columns, ks, None),
    }


def love_picture(title: str, columns: Sequence[str], sides: Sequence[Sequence[float]], limit: float | None) -> Picture:
    """One distance, column by column, before and, if there is a second side, after weighting."""
    parts = [
        f"{when} weighting up to {number(max(values), 2)}, {number(float(np.median(values)), 2)} in the median"
        for when, values in zip(("before", "after"), sides, strict=False)
    ]
    figure = love_plot(columns, sides[0], sides[1] if len(sides) > 1 else None, title, limit)
    return Picture(title, f"Points, one row per column: {'; '.join(parts)}.", figure)


def flattening_pictures(record: EvaluationRecord, curves: Flattening) -> dict[str, Picture]:
    """Each score against the exponent, and the effective sample size."""
    pictures = {
        f"flattening_{file_name(metric)}": curve_picture(
            record, curves.known(scores), metric.title, reference_value(record, metric)
        )
        for metric, scores in list(curves.scores.items())[:CURVES]
    }
    ess = curve_picture(record, curves.known(curves.ess), "Effective sample size")
    return {**pictures, "flattening_ess": ess}


def curve_picture(
    record: EvaluationRecord, curve: tuple[list[float], list[float]], title: str, reference: float | None = None
) -> Picture:
    """One score against the exponent."""
    chosen = record.chosen.flatten if record.chosen.clip == 0 and not record.chosen.stratify else None
    figure = scores_by_exponent({title: curve}, title, reference=reference, chosen=chosen)
    parts = ", ".join(f"{number(score)} at α = {alpha:g}" for alpha, score in zip(*curve, strict=True))
    return Picture(f"{title} against α", f"{title}: {parts}.", figure)


def reliability_picture(curves: Mapping[str, Reliability]) -> Picture:
    """Reliability diagram."""
    parts = [
        f"{name}: mean distance from the diagonal {curve.expected_error:.3f}, largest {curve.maximum_error:.3f}"
        for name, curve in curves.items()
    ]
    return Picture(
        "Is the classifier calibrated?",
        f"Share of real rows against predicted probability. {'; '.join(parts)}.",
        reliability_diagram(curves),
        "On the diagonal the odds are those of the data. Bars: one binomial standard error.",
    )


def training_picture(validation: Mapping[str, Curve], training: Mapping[str, Curve]) -> Picture:
    """Losses of every classifier."""
    lowest = [min(losses) for _, losses in validation.values()]
    epochs = max(max(at) for at, _ in validation.values())
    count = f"{len(lowest)} classifiers" if len(lowest) > 1 else "the classifier"
    found = number(min(lowest)) if len(lowest) == 1 else f"{number(min(lowest))} to {number(max(lowest))}"
    return Picture(
        "Training of the classifier",
        f"Validation log-loss of {count} over {epochs:.0f} epochs; lowest: {found} nats, where chance has 0.6931.",
        training_curves({"validation": list(validation.values())}, list(training.values())),
        "Marked: the epoch that was kept.",
    )


def classes_picture(record: EvaluationRecord) -> Picture:
    """Class proportions, uniform, weighted and real."""
    classes = most_changed_classes(record)
    shares = {w.name: [w.class_proportions[c] for c in classes] for w in record.shown}
    real = [record.real_class_proportions[c] for c in classes]
    parts = [
        f"{name}: {', '.join(f'{100 * share:.1f}' for share in values)}"
        for name, values in {**shares, "real": real}.items()
    ]
    figure = class_proportions(shares, real, [str(c) for c in classes])
    return Picture("Share of each class", f"Share of each class in percent. {'; '.join(parts)}.", figure)
