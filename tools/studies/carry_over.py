"""How far a ratio corrects features that it never saw: CIFAR-10, four generators, ratios of one or several networks.

CIFAR-10's images and each generator's samples must be in caches: docs/results/cifar10.md says how to make them, and
docs/own_features.md where the weights of the ImageNet networks come from. Classifiers on each network's features are
trained once per generator and seed, in runs/carry_over; finished runs there are reused. A ratio of several networks is
the mean of their log-ratios, as `join=mean` makes it; with `concatenate`, one classifier sees the features of all of
them. A network that a ratio does not see judges it; EfficientNet-Lite0 and MobileNetV2 judge each other's ratios.
Class shares are matched by ResNet-56's labels, as `evaluation.strata=resnet56` does; `resnet20=FILE` gives another
network by whose labels the class distance is judged as well.
"""

import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lfiw.config import load
from lfiw.data.splits import GENERATED, Subset
from lfiw.errors import InputError
from lfiw.evaluation.plots import contact_sheet, save
from lfiw.features import Extractor
from lfiw.features.resnet import MEAN, STD, CifarResNet, load_weights
from lfiw.metrics import inception_score
from lfiw.metrics.frechet import FrechetReference
from lfiw.metrics.influence import (
    Contributions,
    class_distance_contributions,
    frechet_contributions,
    kernel_contributions,
)
from lfiw.metrics.neighbours import precision_recall
from lfiw.metrics.projected import ProjectedSample
from lfiw.metrics.selection import choose_by_judges
from lfiw.ratio.cross_fitting import joined_validation, log_ratio_column, write_log_ratios
from lfiw.ratio.mixed import MixedDataModule
from lfiw.tasks.inputs import build_datamodule, build_extractors, extract_all
from lfiw.tasks.ratio import judging_rows, prepare
from lfiw.tasks.strata import ClassColumn, class_column, validation_strata
from lfiw.training.run_folder import EVALUATION
from lfiw.training.trainer import build_trainer
from lfiw.weighting.calibration import Validation
from lfiw.weighting.diagnostics import effective_sample_size, half_width
from lfiw.weighting.gate import AUTO, UNIFORM, min_ess_share
from lfiw.weighting.strata import Strata
from lfiw.weighting.weights import Weighting
from train import train

from .carry_over_figure import draw
from .kept import Kept
from .repeated import Found, Row, rows_of

GENERATORS = {
    "GAN": "cifar10-gan",
    "SNGAN": "generators-sngan",
    "PixelCNN++": "generators-pixelcnn",
    "VAE": "generators-vae",
}
# network's name in the tables → its extractor
NETWORKS = {
    "Inception": "inception",
    "EfficientNet": "timm-tf_efficientnet_lite0",
    "MobileNet": "torchvision-mobilenet_v2",
    "ResNet-56": "resnet56",
}
LABELLED = "ResNet-56"  # the network that knows CIFAR-10's classes
UNSEEN = "EfficientNet"  # the network whose neighbourhoods judge
# ResNet-56 has 64 features, the others 1,280 or 2,048
SMALLER = ["model.width=128", "model.dropout=0.2", "optimizer.lr=1e-3"]
UNSCORED = ["evaluation.extractors=[resnet56]", "evaluation.intervals=false", "evaluation.permutations=0"]
UNSCORED += [
    "evaluation.exponents=[]",
    "evaluation.reference=none",
    "evaluation.balance=false",
    "evaluation.paper=false",
]
UNSCORED += ["evaluation.figures=false", "evaluation.extrapolate=false", "logger=none"]
SHARES = (0.6, 0.3)  # ESS / n of two weightings, for comparisons at equal ESS
BY_RATIO = "auto, classes as they fall"  # the gate without class shares to match
MATCHED = ", class shares matched"
PERMUTED = ", permuted"
JUDGE = "ResNet-20"  # whose labels judge class shares that ResNet-56's labels have matched
RUNS = Path("runs") / "carry_over"


@dataclass(frozen=True)
class Ratio:
    """A ratio, by the networks whose features its classifiers see: all in one classifier, or each in its own."""

    networks: tuple[str, ...]
    concatenated: bool = False
    brief: bool = False  # only at the first of the equal ESS
    leading: bool = False  # also at the other
    controlled: bool = False  # also with its weights permuted

    @property
    def name(self) -> str:
        """Its name in the tables."""
        how = "" if len(self.networks) == 1 else ("one classifier on " if self.concatenated else "mean of ")
        return how + " + ".join(self.networks)

    def trainings(self) -> list[tuple[str, ...]]:
        """Returns the networks of each of its trainings."""
        return [self.networks] if self.concatenated else [(network,) for network in self.networks]


RATIOS = (
    *(Ratio((network,)) for network in NETWORKS),
    Ratio(("Inception", "ResNet-56")),
    Ratio(("Inception", "MobileNet", "ResNet-56"), leading=True, controlled=True),
    Ratio(("Inception", "EfficientNet", "ResNet-56"), leading=True),
    Ratio(("Inception", "ResNet-56"), concatenated=True, brief=True),
)


@dataclass(frozen=True)
class Trained:
    """The log-ratios of a finished run.

    Args:
        log_ratio: (n,) log-ratios of the scored samples.
        validation: log-ratios of the rows on which the gate judges.
    """

    datamodule: MixedDataModule
    log_ratio: Float[Tensor, " n"]
    validation: Validation


def run(seeds: int, overrides: Sequence[str], kept: Kept) -> tuple[list[Row], list[Path]]:
    """Returns rows named `GENERATOR, RATIO: WEIGHTING`; the override `generator=NAME` selects one of GENERATORS."""
    own = [o for o in overrides if o.startswith(("generator=", "resnet20="))]
    shared = [o for o in overrides if o not in own]
    named = [o.partition("=")[2] for o in own if o.startswith("generator=")] or list(GENERATORS)
    judge = next((Path(o.partition("=")[2]) for o in own if o.startswith("resnet20=")), None)
    if unknown := set(named) - set(GENERATORS):
        raise InputError(f"generator={unknown.pop()}: expected one of {', '.join(GENERATORS)}")
    rows: list[Row] = []
    for generator in named:
        found: Found = defaultdict(list)
        for seed in range(seeds):
            make = partial(outcome, generator, seed, shared, judge)
            for name, metric, value in kept.get(f"{generator} seed {seed}", make, settings=shared):
                found[f"{generator}, {name}", metric].append(value)
        rows += rows_of(found)
    file = Path(kept.folder).with_name("changes.png")
    equal = f"ESS {SHARES[0]:.0%}"
    picture = draw(rows, (equal + MATCHED, equal), tuple(NETWORKS), LABELLED, file)
    return rows, [picture, ranked(named, shared, Path(kept.folder).with_name("ranked.png"))]


def ranked(generators: Sequence[str], overrides: Sequence[str], file: Path) -> Path:
    """Draws the samples of highest and of lowest weight by the mean of all networks' log-ratios, seed 0."""
    groups = {}
    for generator in generators:
        runs = [read(trained(generator, (network,), 0, overrides)) for network in NETWORKS]
        order = torch.stack([run.log_ratio for run in runs]).mean(0).argsort(descending=True, stable=True)
        images = runs[0].datamodule.splits["evaluation"][GENERATED].column("image")
        groups[f"{generator}: highest weight"] = images[order[:64]]
        groups[f"{generator}: lowest weight"] = images[order.flip(0)[:64]]
    return save(contact_sheet(groups, columns=2), file)


def outcome(generator: str, seed: int, overrides: Sequence[str], judge: Path | None) -> list[list[Any]]:
    """Returns (ratio and weighting, metric, value) for all ratios of one generator and seed."""
    folders = {
        networks: trained(generator, networks, seed, overrides)
        for networks in dict.fromkeys(t for ratio in RATIOS for t in ratio.trainings())
    }
    runs = {networks: read(folder) for networks, folder in folders.items()}
    first = next(iter(runs.values())).datamodule
    real, generated = first.splits["evaluation"]
    extractors = scored_extractors(next(iter(folders.values())), overrides, first)
    classes = class_column(NETWORKS[LABELLED], {NETWORKS[n]: e for n, e in extractors.items()}, first)
    assert classes is not None
    weights: dict[str, Tensor] = {UNIFORM: torch.full((len(generated),), 1 / len(generated), dtype=torch.float64)}
    weights[UNIFORM + MATCHED] = Weighting(0.0, stratify=True)(torch.zeros(len(generated)), classes.strata(generated))
    for ratio in RATIOS:
        weights |= weights_of(ratio, [runs[t] for t in ratio.trainings()], extractors, classes, seed)
    labels = None
    if judge is not None:
        net = CifarResNet(blocks=3)
        load_weights(net, judge, JUDGE)
        labels = labels_by(net, real), labels_by(net, generated)
    scores = score(real, generated, extractors, weights, labels)
    return [[name, metric, value] for name, of in scores.items() for metric, value in of.items()]


def trained(generator: str, networks: Sequence[str], seed: int, overrides: Sequence[str]) -> Path:
    """Returns the folder of the run that trains on these networks' features; a stopped training resumes."""
    folder = RUNS / "-".join([GENERATORS[generator], *(NETWORKS[n] for n in networks), str(seed)])
    if (folder / EVALUATION).exists():
        return folder
    if (folder / "checkpoints").exists():
        train([f"resume={folder}"])
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    inputs = ",".join(f"features/{NETWORKS[n]}" for n in networks)
    options = [f"data.generated=cache/{GENERATORS[generator]}", f"data.input=[{inputs}]", "join=concatenate"]
    options += [
        *(SMALLER if tuple(networks) == (LABELLED,) else []),
        *UNSCORED,
        f"seed={seed}",
        f"data.split_seed={seed}",
    ]
    train(["experiment=cifar10_gan", *options, *overrides, f"run_dir={folder}"])
    return folder


def read(folder: Path) -> Trained:
    """Reads the log-ratios of a finished run."""
    config = load(folder, []).config
    datamodule = build_datamodule(config.data, config.seed, config.folds)
    trainer = build_trainer(config.trainer, folder, [])
    prepare(config, trainer, datamodule)
    _, validation = write_log_ratios(config, folder, trainer, datamodule)
    log_ratio = datamodule.splits["evaluation"][GENERATED].column(log_ratio_column(folder))
    return Trained(datamodule, log_ratio, validation)


def scored_extractors(folder: Path, overrides: Sequence[str], datamodule: MixedDataModule) -> dict[str, Extractor]:
    """Returns network → its extractor, and computes the columns that are missing."""
    named = f"evaluation.extractors=[{','.join(NETWORKS.values())}]"
    config = load(folder, [named, *(o for o in overrides if o.startswith("features."))]).config
    extractors = build_extractors(config, datamodule)
    trainer = build_trainer(config.trainer, folder, [])
    for extractor in extractors.values():
        extract_all(trainer, extractor, datamodule)
    return {network: extractors[name] for network, name in NETWORKS.items()}


def weights_of(
    ratio: Ratio, runs: Sequence[Trained], extractors: Mapping[str, Extractor], classes: ClassColumn, seed: int
) -> dict[str, Float[Tensor, " n"]]:
    """Returns `RATIO: WEIGHTING` → weights: those at equal ESS, the gate's, and some of these permuted.

    Only ratios of several networks also have the gate that leaves class shares as they fall.
    The gate judges by the features that the ratio saw and by class shares, and by none of the other scores.
    """
    log_ratio = torch.stack([run.log_ratio for run in runs]).mean(0)
    if ratio.brief:
        name = f"ESS {SHARES[0]:.0%}"
        return {f"{ratio.name}: {name}": with_ess(log_ratio, SHARES[0])(log_ratio)}
    datamodule = runs[0].datamodule
    validation = joined_validation([run.validation for run in runs])
    share = min_ess_share(max(extractors[n].num_features for n in extractors), len(log_ratio))
    strata = classes.strata(datamodule.splits["evaluation"][GENERATED])
    matched = replace(validation, strata=validation_strata(classes, datamodule, validation))
    weightings = {}
    gates = {AUTO: matched} | ({BY_RATIO: validation} if len(ratio.networks) > 1 else {})
    for name, of in gates.items():
        judging = judging_rows(datamodule, of)
        assert judging is not None
        judges = [judging.by_features(n, extractors[n].columns["features"]) for n in ratio.networks]
        judges.append(judging.by_classes(extractors[LABELLED].columns["logits"]))
        weightings[name] = choose_by_judges(judges, of, ess_share=share, num_scored=len(log_ratio)).weighting
    for share in SHARES if ratio.leading else SHARES[:1]:
        weightings[f"ESS {share:.0%}"] = with_ess(log_ratio, share)
        weightings[f"ESS {share:.0%}{MATCHED}"] = with_ess(log_ratio, share, strata)
    weights = {name: weighting(log_ratio, strata) for name, weighting in weightings.items()}
    if ratio.controlled:
        order = torch.randperm(len(log_ratio), generator=torch.Generator().manual_seed(seed))
        controlled = (AUTO, f"ESS {SHARES[0]:.0%}", f"ESS {SHARES[0]:.0%}{MATCHED}")
        weights |= {name + PERMUTED: weights[name][order] for name in controlled}
    return {f"{ratio.name}: {name}": values for name, values in weights.items()}


def with_ess(log_ratio: Float[Tensor, " n"], share: float, strata: Strata | None = None) -> Weighting:
    """Returns the flattened weighting with ESS / n = `share`, its exponent accurate to 0.001.

    Args:
        strata: classes of the samples, if their shares are to be matched.
    """
    weighting = Weighting(smooth=True, stratify=strata is not None)
    low, high = 0.0, 1.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        effective = effective_sample_size(replace(weighting, flatten=middle)(log_ratio, strata)).item()
        low, high = (middle, high) if effective > share * len(log_ratio) else (low, middle)
    return replace(weighting, flatten=low)


@torch.inference_mode()
def labels_by(net: CifarResNet, subset: Subset) -> Int64[Tensor, " n"]:
    """Returns the class of each image by a network that takes no other part in the study."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    parts = subset.column("image").split(500)
    net.eval()
    return torch.cat([net.linear(net((part / 255 - mean) / std)).argmax(dim=1) for part in parts])


def score(
    real: Subset,
    generated: Subset,
    extractors: Mapping[str, Extractor],
    weights: Mapping[str, Tensor],
    labels: tuple[Tensor, Tensor] | None,
) -> dict[str, dict[str, float]]:
    """Returns weighting → metric → value.

    The metrics are FID and KID in every network's features, and the Inception Score and class distance by ResNet-56's
    labels; their changes relative to uniform weights; and the half-widths of these changes' 95 % intervals in this run.

    Args:
        labels: classes of the real and the generated rows by another network, for another class distance.
    """
    names = list(weights)
    columns = torch.stack([weights[name] for name in names], dim=1)
    found: dict[str, dict[str, float]] = {name: {"ess": effective_sample_size(weights[name]).item()} for name in names}
    # the dearest part of a score: one interval takes as long as several distances of 2,048 features
    has_interval = [name.endswith(f": {AUTO}") for name in names]
    for metric, values, widths in metrics(real, generated, extractors, columns, has_interval, labels):
        for name, value, width in zip(names, values.tolist(), widths.tolist(), strict=True):
            found[name][metric] = value
            found[name][f"change_{metric}"] = value / values[0].item() - 1
            if width == width:
                found[name][f"half_width_{metric}"] = width / abs(values[0].item())
    chosen = [i for i, name in enumerate(names) if name in (UNIFORM, UNIFORM + MATCHED) or name.endswith(f": {AUTO}")]
    for metric, values in neighbourhoods(real, generated, extractors[UNSEEN], columns[:, chosen]).items():
        for i, value in zip(chosen, values.tolist(), strict=True):
            found[names[i]][f"{metric}@{UNSEEN}"] = value
    return found


def neighbourhoods(
    real: Subset, generated: Subset, extractor: Extractor, weights: Float[Tensor, "n k"]
) -> dict[str, Float[Tensor, " k"]]:
    """Returns precision, recall, density and coverage per weighting."""
    column = extractor.columns["features"]
    return precision_recall(real.column(column), generated.column(column), None, weights)


def metrics(
    real: Subset,
    generated: Subset,
    extractors: Mapping[str, Extractor],
    weights: Float[Tensor, "n k"],
    has_interval: Sequence[bool],
    labels: tuple[Tensor, Tensor] | None,
) -> Iterator[tuple[str, Float[Tensor, " k"], Float[Tensor, " k"]]]:
    """Yields (metric, its value per weighting, half-widths of 95 % intervals of the differences to the first)."""
    k = weights.shape[1]
    unknown = torch.full((k,), torch.nan, dtype=torch.float64)
    for network, extractor in extractors.items():
        column = extractor.columns["features"]
        of_real, of_generated = real.column(column), generated.column(column)
        kid = kernel_contributions(of_real, of_generated, weights)
        yield f"kid@{network}", kid.score, half_widths(kid)
        values = ProjectedSample(FrechetReference(of_real), of_generated).distances(weights)
        chosen = [0, *(i for i in range(1, k) if has_interval[i])]
        widths = unknown.clone()
        widths[chosen] = half_widths(frechet_contributions(of_real, of_generated, weights[:, chosen]))
        yield f"fid@{network}", values, widths
    labelled = extractors[LABELLED]
    logits, num_classes = labelled.columns["logits"], labelled.num_classes
    assert num_classes is not None
    of_real, of_generated = real.column(logits), generated.column(logits)
    probabilities = torch.softmax(of_generated.double(), dim=1)
    yield f"is@{LABELLED}", inception_score(probabilities, weights), unknown
    of_labelled = {LABELLED: (of_real.argmax(1), of_generated.argmax(1))}
    for network, classes in (of_labelled | ({JUDGE: labels} if labels is not None else {})).items():
        distance = class_distance_contributions(*classes, weights, num_classes)
        yield f"class_distance@{network}", distance.score, half_widths(distance)


def half_widths(contributions: Contributions) -> Float[Tensor, " k"]:
    """Returns half-widths for the differences to the first weighting, given the ratio: only the samples vary."""
    paired = contributions.differences()
    pairs = zip(paired.standard_errors().tolist(), paired.degrees_of_freedom().tolist(), strict=True)
    return torch.tensor([half_width(e, d) if e > 0 else 0.0 for e, d in pairs], dtype=torch.float64)
