"""The figures of an evaluation, each with a text that says what is seen."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lfiw.calibration import Reliability, reliability
from lfiw.data.mixed import REAL
from lfiw.pictures import Picture
from lfiw.plots import (
    class_proportions,
    lorenz_curve,
    reliability_diagram,
    score_intervals,
    scores_by_exponent,
    training_curves,
    weight_histogram,
)
from lfiw.plots.weights import relative_to_uniform
from lfiw.record import Record
from lfiw.tables import as_number, is_paper, metric_title, most_changed_classes, number, shown_weightings
from lfiw.tasks.log_ratios import Sides, Validation
from lfiw.training_log import Curve
from lfiw.verdict import drawn_weighting, recommended_weighting
from lfiw.weights import Weighting

CURVES = 6  # most scores drawn against the exponent


def draw_evaluation(
    record: Record,
    log_ratio: Float[Tensor, " n"],
    validation: Validation,
    losses: Mapping[str, Curve],
    training: Mapping[str, Curve],
) -> dict[str, Picture]:
    """The figures by name, which is also that of the file.

    Args:
        record: the content of evaluation.json.
        log_ratio: of the generated evaluation rows.
        validation: log-ratios of validation rows, as trained and recalibrated.
        losses, training: log-losses of each classifier on validation and, where they were logged, on training rows.
    """
    weights = {
        w["name"]: Weighting(w["flatten"], w["clip"], w["smooth"])(log_ratio)
        for w in record["weightings"][1:]
        if w["name"] in (record["weightings"][1]["name"], drawn_weighting(record)["name"])
    }
    pictures = {f"intervals_{file_name(metric)}": intervals_picture(record, metric) for metric in main_metrics(record)}
    if weights:
        pictures |= {"weights": histogram_picture(weights), "lorenz": lorenz_picture(weights)}
    if curves := record.get("flattening"):
        pictures |= flattening_pictures(record, curves)
    curves_of = {"as trained": validation.raw}
    if record["calibration"] != "none":
        curves_of[record["calibration"]] = validation.calibrated
    pictures["calibration"] = reliability_picture(
        {name: reliability(torch.cat(sides), is_real(sides)) for name, sides in curves_of.items()}
    )
    if losses:
        pictures["training"] = training_picture(losses, training)
    if record["real_class_proportions"]:
        pictures["class_proportions"] = classes_picture(record)
    return pictures


def is_real(sides: Sides) -> Bool[Tensor, " n"]:
    """Which rows of both sides, one after the other, are real."""
    return torch.arange(sum(map(len, sides))) < len(sides[REAL])


def main_metrics(record: Record) -> list[str]:
    """The first standard metric of each kind: those of the main extractor, and an Inception Score."""
    lost = record.get("lost", {})
    names = [name for name in record["weightings"][0]["metrics"] if not is_paper(name) and name not in lost]
    return list({name.partition("@")[0]: name for name in reversed(names)}.values())[::-1]


def file_name(metric: str) -> str:
    """`fid@classifier` → `fid_classifier`."""
    return metric.replace("@", "_")


def intervals_picture(record: Record, metric: str) -> Picture:
    """One score of every weighting."""
    names = [w["name"] + (" ★" if w["name"] == record["recommended"] else "") for w in record["weightings"]]
    found = [w["metrics"][metric] for w in record["weightings"]]
    values = [score["value"] for score in found]
    figure = score_intervals(
        names,
        [as_number(value) for value in values],
        [as_number(score.get("half_width")) for score in found],
        metric_title(metric),
        controls=[as_number(score.get("control", {}).get("value")) for score in found],
        reference=record["reference"].get(metric, {}).get("value"),
    )
    listed = ", ".join(f"{name} {number(value)}" for name, value in zip(names, values, strict=True))
    return Picture(
        f"{metric_title(metric)} of each weighting", f"Points with intervals, one under another: {listed}.", figure
    )


def histogram_picture(weights: Mapping[str, Tensor]) -> Picture:
    """Histogram of the weights."""
    told = []
    for name, values in weights.items():
        relative = torch.from_numpy(relative_to_uniform(values))
        low, middle, high = (number(x.item(), 2) for x in (relative.min(), relative.median(), relative.max()))
        told.append(f"those of {name} from {low} to {high} times the uniform weight, half of them below {middle}")
    return Picture("How the weights spread", f"Histogram of weights: {'; '.join(told)}.", weight_histogram(weights))


def lorenz_picture(weights: Mapping[str, Tensor]) -> Picture:
    """Lorenz curve of the weights."""
    told = []
    for name, values in weights.items():
        mass = values.sort(descending=True).values.cumsum(0)
        shares = (mass[max(0, round(share * len(mass)) - 1)].item() / mass[-1].item() for share in (0.01, 0.1, 0.5))
        one, ten, half = (f"{share:.0%}" for share in shares)
        told.append(f"under {name} the heaviest 1 % of the samples hold {one} of the weight, 10 % {ten}, half {half}")
    return Picture(
        "How much the heaviest hold", f"Curves of the weight held: {'; '.join(told)}.", lorenz_curve(weights)
    )


def flattening_pictures(record: Record, curves: Record) -> dict[str, Picture]:
    """Each score against the exponent, and the effective sample size."""
    pictures = {
        f"flattening_{file_name(metric)}": curve_picture(
            record, curves["exponents"], scores, metric_title(metric), metric
        )
        for metric, scores in list(curves["scores"].items())[:CURVES]
    }
    return {
        **pictures,
        "flattening_ess": curve_picture(record, curves["exponents"], curves["ess"], "Effective sample size"),
    }


def curve_picture(
    record: Record, exponents: Sequence[float], scores: Sequence[float | None], title: str, metric: str = ""
) -> Picture:
    """One score against the exponent; what is not a number is left out."""
    pairs = [(alpha, score) for alpha, score in zip(exponents, scores, strict=True) if score is not None]
    alphas, values = [alpha for alpha, _ in pairs], [score for _, score in pairs]
    recommended = recommended_weighting(record)
    figure = scores_by_exponent(
        {title: (alphas, values)},
        title,
        reference=record["reference"].get(metric, {}).get("value"),
        chosen=recommended["flatten"] if recommended["clip"] == 0 else None,
    )
    told = ", ".join(f"{number(score)} at α = {alpha:g}" for alpha, score in pairs)
    return Picture(f"{title} against α", f"{title}: {told}.", figure)


def reliability_picture(curves: Mapping[str, Reliability]) -> Picture:
    """Reliability diagram."""
    told = [
        f"{name}: mean distance from the diagonal {curve.expected_error:.3f}, largest {curve.maximum_error:.3f}"
        for name, curve in curves.items()
    ]
    return Picture(
        "Is the classifier calibrated?",
        f"Share of real rows against predicted probability. {'; '.join(told)}.",
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


def classes_picture(record: Record) -> Picture:
    """Class proportions, uniform, weighted and real."""
    real = record["real_class_proportions"]
    names = shown_weightings(record)
    shares = {w["name"]: w["class_proportions"] for w in record["weightings"] if w["name"] in names}
    classes = most_changed_classes(record)
    told = [f"{name}: {shares_in_words(values, classes)}" for name, values in {**shares, "real": real}.items()]
    figure = class_proportions(
        {name: [values[c] for c in classes] for name, values in shares.items()},
        [real[c] for c in classes],
        [str(c) for c in classes],
    )
    return Picture("Share of each class", f"Share of each class in percent. {'; '.join(told)}.", figure)


def shares_in_words(shares: Sequence[float], classes: Sequence[int]) -> str:
    return ", ".join(f"{100 * shares[c]:.1f}" for c in classes)
