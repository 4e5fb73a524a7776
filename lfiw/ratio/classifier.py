"""The classifier whose odds are the density ratio."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import ModuleList

from lfiw.data.table import WEIGHT, has_float64, in_float64
from lfiw.data.transforms import standardise
from lfiw.errors import InputError
from lfiw.metrics.class_proportions import RatioScores
from lfiw.nets import NetLike, ratio_net
from lfiw.tensors import Samples, as_tensor
from lfiw.training.trained_module import TrainedModule, configure
from lfiw.training.trainer import write_checkpoint
from lfiw.untrusted import built_for, naming, read_checkpoint, read_network
from lfiw.weighting.calibration import Calibrator, calibrator_from_state
from lfiw.weighting.losses import build_loss
from lfiw.weighting.weights import log_ratio_from_logits

if TYPE_CHECKING:
    from lfiw.data.splits import Batch
    from lfiw.ratio.mixed import InputSpec

KIND = "lfiw.RatioClassifier"  # distinguishes its checkpoints from those of other modules
SCORING_BATCH = 1000
FLOATING = [str(dtype) for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)]


class RatioClassifier(TrainedModule):
    """Binary classifier of real (1) against generated (0) samples; its log-odds plus log γ are log p_data/p_model.

    Trained by the binary cross-entropy (Grover et al. 2019, section 2), or by another loss of `lfiw.weighting.losses`;
    γ = num_generated/num_real of the rows that the loss effectively saw, 1 under balanced mixing. The best epoch is the
    one with the lowest log-loss on held-out rows, not the highest accuracy: a ratio needs probabilities, not decisions.

    Training, validation and `predict_step` see the log-ratios as trained; `log_ratio` those of the `calibrator`, if the
    checkpoint holds one.

    The network is built when the samples' shape is known: from the trainer's data module at `setup`, or from a
    checkpoint in `load`.

    Args:
        net: name of the network, or name and options (`lfiw.nets`); or your own module with one output per sample, or a
            function from a sample's shape to one. A checkpoint does not hold your own code: `load` needs it.
        optimizer: lr, betas, weight_decay, schedule and compile, as in `lfiw.schemas.Optimizer`.
        spec: `InputSpec` as a dictionary. If None, taken from the data module.
        counts: (num_real, num_generated) that the loss effectively saw. If None, taken from the data module.
        seed: of the initial weights and of dropout.
        loss: name and options of the loss (`lfiw.weighting.losses`). If None, logistic.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: NetLike = "mlp",
        optimizer: Mapping[str, Any] | None = None,
        spec: Mapping[str, Any] | None = None,
        counts: tuple[int, int] | None = None,
        seed: int = 0,
        loss: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.loss_options = dict(loss or {"name": "logistic"})
        self.loss = build_loss(self.loss_options)
        if isinstance(net, nn.Module):  # as a function: an attribute of this module would be a part of it
            self.net_options: NetLike = partial(itself, net)
        else:
            self.net_options = {"name": net} if isinstance(net, str) else dict(net) if isinstance(net, Mapping) else net
        self.optimizer_options = {"lr": 1e-3, "weight_decay": 0.01, "schedule": "constant", **(optimizer or {})}
        self.seed = seed
        self.calibrator: Calibrator | None = None
        self.scores = RatioScores()
        if spec is not None and counts is not None:
            self._build(dict(spec), (int(counts[0]), int(counts[1])))

    def setup(self, stage: str | None = None) -> None:
        """Build for the data module's samples, unless that has been done."""
        if not hasattr(self, "net"):
            datamodule = self.trainer.datamodule  # type: ignore[attr-defined]
            spec: InputSpec = datamodule.input_spec()
            device = self.trainer.strategy.root_device
            if spec.dtype == str(torch.float64) and not has_float64(device):
                raise InputError(f"{device} has no float64, as column {spec.column!r} is: use trainer.accelerator=cpu")
            self._build(asdict(spec), datamodule.counts)

    def _build(self, spec: dict[str, Any], counts: tuple[int, int]) -> None:
        self.spec, self.counts = spec, counts
        shape = spec["shape"]
        trailing = (1,) * (len(shape) - 1)
        # float64 samples may lie far from zero: they are standardised before they are rounded
        dtype = torch.float64 if spec["dtype"] == str(torch.float64) else torch.float32
        self.register_buffer("mean", torch.tensor(spec["mean"], dtype=dtype).view(-1, *trailing))
        self.register_buffer("std", torch.tensor(spec["std"], dtype=dtype).view(-1, *trailing))
        with torch.random.fork_rng(devices=[]):  # the same weights whatever else has drawn random numbers before
            torch.manual_seed(self.seed)
            self.net = ratio_net(self.net_options, shape)
        if self.optimizer_options.get("compile"):
            self.net.compile()

    def forward(self, samples: Shaped[Tensor, "n ..."]) -> Float[Tensor, " n"]:
        """Logits of P(real | x) for raw samples, as they stand in the tables (uint8 images in 0 … 255)."""
        return self.net(standardise(samples, self.mean, self.std).to(self.dtype)).reshape(len(samples))

    def training_step(self, batch: "Batch", batch_idx: int) -> Tensor:
        outputs = self(batch[self.spec["column"]])
        # exponentials and means of half-precision outputs would overflow and round
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        weights = [batch[WEIGHT]] if WEIGHT in batch else []
        loss = self.loss(outputs, batch["side"] == 0, *weights)
        self.add_up(loss=loss)
        return loss

    def validation_step(self, batch: "Batch", batch_idx: int) -> None:
        try:
            log_ratio = self._log_ratio(batch[self.spec["column"]])
        except InputError as error:
            raise InputError(f"training diverged in epoch {self.current_epoch} ({error}): lower optimizer.lr") from None
        self.scores.update(log_ratio, (batch["side"] == 0).to(log_ratio.device))

    def on_validation_epoch_end(self) -> None:
        # every process computes the same from all rows: the mean over processes changes nothing
        self.log_dict({f"val/{name}": value for name, value in self.scores.compute().items()}, sync_dist=True)
        self.scores.reset()

    def predict_step(self, batch: "Batch", batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        return {"log_ratio": self._log_ratio(batch[self.spec["column"]])}

    def _log_ratio(self, samples: Shaped[Tensor, "n ..."]) -> Float[Tensor, " n"]:
        num_real, num_generated = self.counts if self.loss.uses_prior_odds else (1, 1)
        # trainer.precision=bf16-mixed is for training: half-precision log-ratios would be rounded to hundredths
        with torch.autocast(self.device.type, enabled=False):
            outputs = self.loss.log_ratio(in_float64(self(samples)))
        return log_ratio_from_logits(outputs, num_real=num_real, num_generated=num_generated)

    @torch.inference_mode()
    def log_ratio(self, samples: Samples) -> Float[Tensor, " n"]:
        """Log density ratio of new samples, recalibrated if a calibrator was fitted, float64 on the CPU.

        Args:
            samples: as they stood in the training tables: same shape, same dtype, same range (uint8 images in 0 … 255);
                vectors of any floating dtype, if those were.

        Raises:
            InputError: another shape or dtype, no samples, values that are not finite, or there is no network yet.
        """
        if not hasattr(self, "net"):
            raise InputError("this classifier has no network yet: train it, or load() a trained one")
        samples = as_tensor(samples, "samples")
        expected = tuple(self.spec["shape"])
        if samples.ndim != len(expected) + 1 or tuple(samples.shape[1:]) != expected or not len(samples):
            raise InputError(
                f"samples: expected shape (n, {', '.join(map(str, expected))}), got {tuple(samples.shape)}"
            )
        floating = len(expected) == 1 and samples.is_floating_point() and self.spec["dtype"] in FLOATING
        if str(samples.dtype) != self.spec["dtype"] and not floating:
            raise InputError(f"samples: expected {self.spec['dtype']} as in training, got {samples.dtype}")
        if samples.is_floating_point() and not torch.isfinite(samples).all():
            raise InputError("samples: some values are NaN or infinite")
        was_training = self.training
        self.eval()
        parts = [self._log_ratio(block.to(self.device)).cpu() for block in samples.split(SCORING_BATCH)]
        self.train(was_training)
        log_ratio = torch.cat(parts)
        return log_ratio if self.calibrator is None else self.calibrator(log_ratio)

    def configure_optimizers(self) -> Any:
        return configure(self, self.net, self.optimizer_options)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["classifier"] = self.kept()

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], device: str | torch.device = "cpu", net: NetLike | None = None
    ) -> "RatioClassifier":
        """A trained classifier, in evaluation mode.

        Args:
            path: a checkpoint, or a run folder (its best checkpoint, or a `RatioEnsemble` of all of them if it trained
                several). No code in the file is run.
            net: the network, if it was one of your own.

        Raises:
            InputError: no such file, or it is not a checkpoint of a ratio classifier.
        """
        file = Path(path)
        if file.is_dir():
            file = file / "checkpoints" / "best.ckpt"
            if not file.exists() and any(file.parent.glob("*/best.ckpt")):
                found = load_by_input(Path(path), device, net)
                if len(found) > 1:
                    raise InputError(
                        f"{path} has classifiers of several inputs ({', '.join(found)}): load_by_input loads them, "
                        "tools/score.py joins their log-ratios"
                    )
                return next(iter(found.values()))
        with naming(file, "does not hold a whole ratio classifier"):
            remedy = "give a run folder of a finished run, or a checkpoint"
            kept, state = read_network(file, "classifier", "a ratio classifier", KIND, remedy=remedy)
            classifier = cls.from_kept(kept, state, net)
        return classifier.to(device).eval()

    def kept(self) -> dict[str, Any]:
        """Plain values from which, with the weights, `from_kept` makes it again."""
        return {
            "kind": KIND,
            "net": self.net_options if isinstance(self.net_options, dict) else None,  # the user's code is not kept
            "optimizer": self.optimizer_options,
            "spec": self.spec,
            "counts": self.counts,
            "loss": self.loss_options,
            "calibrator": self.calibrator.state() if self.calibrator is not None else None,
        }

    @classmethod
    def from_kept(
        cls, kept: Mapping[str, Any], state: Mapping[str, Tensor], net: NetLike | None = None
    ) -> "RatioClassifier":
        """The classifier whose `kept()` and `state_dict()` these are.

        Args:
            net: the network, if it was one of the user's own.

        Raises:
            InputError: it was and is not given.
            KeyError, ValueError, …: contradictory content.
        """
        named = kept["net"] or net
        if named is None:
            raise InputError("its network is not one of lfiw's: give it as load(path, net=…)")
        optimizer = {**kept["optimizer"], "compile": False}
        make = partial(cls, named, optimizer, kept["spec"], tuple(kept["counts"]), loss=kept.get("loss"))
        if isinstance(named, Mapping):
            classifier = built_for(state, make)
        else:
            classifier = make()
            classifier.load_state_dict(dict(state))
        if kept.get("calibrator") is not None:
            classifier.calibrator = calibrator_from_state(kept["calibrator"])
        return classifier


def itself(net: nn.Module, shape: Sequence[int]) -> nn.Module:
    """A module as a function from the samples' shape."""
    return net


class RatioEnsemble(RatioClassifier):
    """Classifiers of several folds or seeds as one, for samples that none of them was trained on.

    Args:
        members: trained, each with its calibrator.
    """

    def __init__(self, members: Sequence[RatioClassifier]) -> None:
        super().__init__(members[0].net_options, loss=members[0].loss_options)
        self.members = ModuleList(members)
        self.spec, self.counts = members[0].spec, members[0].counts

    def forward(self, samples: Shaped[Tensor, "n ..."]) -> Float[Tensor, " n"]:
        """Mean logits."""
        return torch.stack([member(samples) for member in self.members]).mean(0)

    @torch.inference_mode()
    def log_ratio(self, samples: Samples) -> Float[Tensor, " n"]:
        """Mean of the members' log density ratios, each by its own calibrator; arguments and errors as theirs."""
        return torch.stack([member.log_ratio(samples) for member in self._classifiers()]).mean(0)

    def spread(self, samples: Samples) -> Float[Tensor, " n"]:
        """Standard deviation of the members' log density ratios, in nats: what the training's chance leaves open."""
        return torch.stack([member.log_ratio(samples) for member in self._classifiers()]).std(0, correction=0)

    def _classifiers(self) -> list[RatioClassifier]:
        return [member for member in self.members if isinstance(member, RatioClassifier)]


def by_input(classifiers: Sequence[RatioClassifier]) -> dict[str, RatioClassifier]:
    """Column → the classifier that sees it, or the ensemble of several."""
    grouped: dict[str, list[RatioClassifier]] = defaultdict(list)
    for classifier in classifiers:
        grouped[classifier.spec["column"]].append(classifier)
    return {column: own[0] if len(own) == 1 else RatioEnsemble(own) for column, own in grouped.items()}


def load_by_input(
    run: str | os.PathLike[str], device: str | torch.device = "cpu", net: NetLike | None = None
) -> dict[str, RatioClassifier]:
    """A run's classifiers by the column that they see; the mean of their log-ratios is the run's.

    Args:
        net: as `RatioClassifier.load` takes it.

    Raises:
        InputError: as `RatioClassifier.load`.
    """
    folder = Path(run) / "checkpoints"
    files = [] if (folder / "best.ckpt").exists() else sorted(folder.glob("*/best.ckpt"))
    return by_input([RatioClassifier.load(file, device, net) for file in files or [Path(run)]])


def write_calibrator(file: Path, calibrator: Calibrator | None) -> None:
    """Saves a calibrator, as plain numbers, in the checkpoint of the classifier that it was fitted for.

    A kill leaves the checkpoint as it was.

    Raises:
        InputError: the file cannot be read or written.
    """
    checkpoint = read_checkpoint(file, "cpu")  # the training device may not exist here
    state = calibrator.state() if calibrator is not None else None
    if checkpoint["classifier"].get("calibrator") != state:
        checkpoint["classifier"]["calibrator"] = state
        write_checkpoint(checkpoint, file)
