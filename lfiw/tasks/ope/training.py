"""Training for off-policy evaluation: the dynamics model, and the ratio of real against simulated transitions."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from pytorch_lightning.loggers import Logger
from torch import Tensor

from lfiw.data.batches import mix_seeds
from lfiw.data.table import TensorTable
from lfiw.ratio.classifier import RatioClassifier, RatioEnsemble, write_calibrator
from lfiw.ratio.cross_fitting import parts_of, train_classifier
from lfiw.ratio.mixed import MixedDataModule
from lfiw.schemas import Config, LogisticLoss
from lfiw.tasks.ope.dynamics import DynamicsModel, Transitions, TransitionsDataModule
from lfiw.tasks.ope.gaussian_policy import GaussianPolicy
from lfiw.tasks.ope.rollouts import Rollouts
from lfiw.tasks.ope.simulation import Simulated, ratio_inputs
from lfiw.training.tracking import Prefixed
from lfiw.training.trainer import CHECKPOINTS, best_checkpoint, build_trainer, fit, last_checkpoint
from lfiw.weighting.calibration import Sides, fit_calibrators

VALIDATION = 0.2  # share of the rows that a ratio classifier does not hold out
DRAWS = 2  # simulated outcomes per real (s, a) for training the ratio
STOPPING_ROWS = 2500  # held-out transitions that decide when the dynamics model stops


@dataclass(frozen=True)
class TrainedRatio:
    """The classifiers of all folds as one, and their log-ratios of rows that trained none of them.

    Args:
        raw, calibrated: log-ratios of held-out real and simulated transitions.
    """

    classifier: RatioEnsemble
    raw: tuple[Tensor, Tensor]
    calibrated: tuple[Tensor, Tensor]


def transitions_of(rollouts: Rollouts, policy: GaussianPolicy) -> Transitions:
    """Returns all steps that took place, with actions as the environment used them."""
    took_place = rollouts.valid
    return Transitions(
        rollouts.observation[took_place],
        rollouts.action[took_place].clamp(policy.low, policy.high),
        rollouts.reward[took_place],
        rollouts.next_observation[took_place],
    )


def train_dynamics(
    config: Config, run_dir: Path, loggers: Sequence[Logger], train: Transitions, held_out: Transitions
) -> DynamicsModel:
    """Trains a model; returns the epoch with the best held-out log-likelihood, its noise fitted to held-out errors."""
    options = config.task.dynamics
    model = DynamicsModel(asdict(options), seed=config.seed)
    stopping = held_out.rows(torch.arange(0, len(held_out), 1 + len(held_out) // STOPPING_ROWS))
    datamodule = TransitionsDataModule(
        train, stopping, members=options.members, batch_size=options.batch_size, seed=config.seed
    )
    trainer_options = replace(config.trainer, max_epochs=options.max_epochs, patience=options.patience)
    folder = run_dir / CHECKPOINTS / "dynamics"
    own = [Prefixed(logger, "dynamics/") for logger in loggers]
    trainer = build_trainer(trainer_options, run_dir, own, checkpoints=folder)
    fit(trainer, model, datamodule, last_checkpoint(folder, config.resume))
    best = DynamicsModel.load(best_checkpoint(folder))
    best.fit_noise(held_out)
    return best


def train_ratio(
    config: Config,
    run_dir: Path,
    loggers: Sequence[Logger],
    model: DynamicsModel,
    held_out: Transitions,
    simulated: Simulated | None,
) -> TrainedRatio:
    """Trains the ratio of real to simulated (r, s′) at the same (s, a), on transitions that did not train the model.

    Each fold's classifier and calibrator see none of the fold's rows, which then judge them. Log-ratios of simulated
    trajectories, which no classifier has seen, are means over the folds.

    Args:
        simulated: trajectories of the evaluation policy, whose transitions become further simulated rows. The ratio is
            then relative to a mixture of both policies' states, and low where there are no data. If None, none.
    """
    generator = torch.Generator().manual_seed(mix_seeds(config.seed, 1))
    real, generated = transition_rows(model, held_out, generator)
    if simulated is not None:
        generated = torch.cat([generated, simulated_rows(model, simulated, len(real), generator)])
    tables = TensorTable({"vector": real}), TensorTable({"vector": generated})
    datamodule = MixedDataModule(
        *tables,
        input="vector",
        fractions={"train": 1 - VALIDATION, "validation": VALIDATION, "evaluation": 0.0},
        split_seed=config.seed,
        seed=config.seed,
        folds=config.folds,
        batch_size=config.data.batch_size,
    )
    datamodule.setup()
    classifiers: list[RatioClassifier] = []
    files: list[Path] = []
    judging: list[Sides] = []
    for fold in range(config.folds):
        datamodule.use_fold(fold)
        train_classifier(
            datamodule,
            seed=mix_seeds(config.seed, fold) % 2**32,
            run_dir=run_dir,
            loggers=loggers,
            name=f"fold{fold}",
            **parts_of(config),
        )
        files.append(best_checkpoint(run_dir / CHECKPOINTS / f"fold{fold}"))
        classifiers.append(RatioClassifier.load(files[-1]))
        if config.folds > 1:
            sides = [t["vector"][datamodule.folds_of(t) == fold] for t in tables]
        else:
            sides = [subset.column("vector") for subset in datamodule.splits["validation"]]
        of_real, of_generated = (classifiers[-1].log_ratio(side) for side in sides)
        judging.append((of_real, of_generated))
    calibrators, validation = fit_calibrators(config.calibration, judging)
    for file, classifier, calibrator in zip(files, classifiers, calibrators, strict=True):
        classifier.calibrator = calibrator
        write_calibrator(file, calibrator)
    return TrainedRatio(RatioEnsemble(classifiers), validation.raw, validation.calibrated)


@torch.inference_mode()
def transition_rows(
    model: DynamicsModel, transitions: Transitions, generator: torch.Generator
) -> tuple[Float[Tensor, "n f"], Float[Tensor, "m f"]]:
    """Makes classifier inputs of real and simulated outcomes at the same (s, a); each row has one of the members.

    Returns:
        (n, f) real rows, and (DRAWS · n, f) simulated ones.
    """
    members = model.members
    size = len(transitions) // members
    order = torch.randperm(len(transitions), generator=generator)[: members * size].view(members, size)
    observation, action = transitions.observation[order], transitions.action[order]
    residual = model.residual(observation, action, transitions.targets()[order])
    noise = torch.randn(DRAWS, *residual.shape, generator=generator)
    real, generated = (ratio_inputs(observation, action, values) for values in (residual, noise))
    return real.flatten(0, 1).clone(), generated.flatten(0, 2).clone()


@torch.inference_mode()
def simulated_rows(
    model: DynamicsModel, simulated: Simulated, most: int, generator: torch.Generator
) -> Float[Tensor, "n f"]:
    """Makes classifier inputs of simulated outcomes at the states and actions of simulated trajectories."""
    states, actions = simulated.observation.flatten(0, 1), simulated.action.flatten(0, 1)
    size = min(most, len(states)) // model.members
    chosen = torch.randperm(len(states), generator=generator)[: model.members * size].view(model.members, size)
    noise = torch.randn(*chosen.shape, int(model.changes.sum()), generator=generator)
    return ratio_inputs(states[chosen], actions[chosen], noise).flatten(0, 1).clone()


def measure_shift(
    config: Config, run_dir: Path, behaviour: Float[Tensor, "n i"], evaluation: Float[Tensor, "m i"]
) -> tuple[Tensor, Tensor]:
    """Returns log-ratios of (s, a), evaluation against behaviour policy, on held-out rows, by a separate classifier."""
    datamodule = MixedDataModule(
        TensorTable({"vector": evaluation}),
        TensorTable({"vector": behaviour}),
        input="vector",
        fractions={"train": 0.5, "validation": 0.2, "evaluation": 0.3},
        split_seed=config.seed,
        seed=config.seed,
        batch_size=config.data.batch_size,
    )
    options = replace(config.trainer, max_epochs=min(10, config.trainer.max_epochs))
    own = replace(config, trainer=options, loss=LogisticLoss(), optimizer=replace(config.optimizer, ema_decay=0.0))
    train_classifier(datamodule, seed=config.seed, run_dir=run_dir, name="shift", **parts_of(own))
    best = RatioClassifier.load(best_checkpoint(run_dir / CHECKPOINTS / "shift"))
    of_evaluation, of_behaviour = (
        best.log_ratio(subset.column("vector")) for subset in datamodule.splits["evaluation"]
    )
    return of_evaluation, of_behaviour
