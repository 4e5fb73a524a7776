"""An ensemble of networks that predict the next state, and the transitions that they learn from."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from pytorch_lightning import LightningDataModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from lfiw.data.batches import EpochBatches, TrainingLoader, batch_loader, passes
from lfiw.errors import InputError
from lfiw.training.trained_module import TrainedModule
from lfiw.untrusted import built_for, naming, read_network


class EnsembleMLP(nn.Module):
    """An ensemble of perceptrons with their own weights and rows: (members, n, inputs) → (members, n, outputs).

    Args:
        members: number of networks.
        inputs, outputs: sizes per network.
        width, depth: units per hidden layer, number of hidden layers.
    """

    def __init__(self, members: int, inputs: int, outputs: int, *, width: int, depth: int) -> None:
        super().__init__()
        sizes = [inputs, *[width] * depth, outputs]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes):
            bound = 1 / math.sqrt(fan_in)  # as nn.Linear
            self.weights.append(torch.empty(members, fan_in, fan_out).uniform_(-bound, bound))
            self.biases.append(torch.empty(members, 1, fan_out).uniform_(-bound, bound))

    def forward(self, x: Float[Tensor, "m n i"]) -> Float[Tensor, "m n o"]:
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            if layer < last:
                x = F.silu(x, inplace=not torch.is_grad_enabled())
        return x


@dataclass(frozen=True)
class Transitions:
    """Aligned rows of transitions; actions as the environment used them, within its bounds."""

    observation: Float[Tensor, "n d"]
    action: Float[Tensor, "n a"]
    reward: Float[Tensor, " n"]
    next_observation: Float[Tensor, "n d"]

    def __len__(self) -> int:
        return len(self.reward)

    def inputs(self) -> Float[Tensor, "n i"]:
        """(s, a)."""
        return torch.cat([self.observation, self.action], dim=1)

    def targets(self) -> Float[Tensor, "n o"]:
        """Computes (s′ − s, r)."""
        return torch.cat([self.next_observation - self.observation, self.reward[:, None]], dim=1)

    def rows(self, index: Tensor) -> "Transitions":
        return Transitions(*(values[index] for values in vars(self).values()))


class PairedRows(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Transitions as a data set: an index of any shape gives inputs and targets of its rows, and the index."""

    def __init__(self, transitions: Transitions) -> None:
        self.inputs, self.targets = transitions.inputs(), transitions.targets()

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.inputs[index], self.targets[index], index

    def rows_of(self, batch: tuple[Tensor, Tensor, Tensor]) -> list[dict[str, Any]]:
        """Returns the transitions' numbers in training order, member after member of the ensemble."""
        return [{"table": "training transitions", "rows": batch[2].flatten().tolist()}]


class MemberBatches(EpochBatches[Tensor]):
    """Batches of (members, rows) indices: each member passes through all rows once per epoch, in its own order.

    Rows that do not fill a batch are left out.
    """

    def __init__(self, num_rows: int, members: int, batch_size: int, seed: int) -> None:
        self.num_rows, self.members = num_rows, members
        self.batch_size = min(batch_size, num_rows)
        super().__init__(num_rows // self.batch_size, seed)

    def draw(self, generator: torch.Generator) -> Iterator[Int64[Tensor, "m n"]]:
        used = len(self) * self.batch_size
        order = torch.stack([passes(self.num_rows, used, generator) for _ in range(self.members)])
        yield from order.split(self.batch_size, dim=1)


class TransitionsDataModule(LightningDataModule):
    """Batches for an ensemble: members see the same training rows in different orders, and the same validation rows.

    Raises:
        InputError: there are no rows for training or validation, or a value is NaN or infinite.
    """

    def __init__(
        self, train: Transitions, validation: Transitions, *, members: int, batch_size: int = 256, seed: int = 0
    ) -> None:
        super().__init__()
        for name, part in (("training", train), ("validation", validation)):
            if not len(part):
                raise InputError(f"dynamics: there are no {name} transitions")
            if not all(torch.isfinite(values).all() for values in vars(part).values()):
                raise InputError(f"dynamics: a {name} transition is NaN or infinite: drop those episodes")
        self.train, self.validation = train, validation
        self.members, self.batch_size, self.seed = members, batch_size, seed

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor, Tensor]]:
        batches = MemberBatches(len(self.train), self.members, self.batch_size, self.seed)
        return TrainingLoader(PairedRows(self.train), batches)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor, Tensor]]:
        blocks = torch.arange(len(self.validation)).split(2000)
        return batch_loader(PairedRows(self.validation), blocks)


KIND = "lfiw.DynamicsModel"
MARGIN = 0.5  # simulated outcomes may leave the training range by this share of it on each side
PRIOR_ROWS = 1.0  # rows of independent errors, added when noise is fitted
LOG_STD = (-7.0, 1.0)  # bounds of the predicted log standard deviation, in standardised units


class DynamicsModel(TrainedModule):
    """Models P̂(r, s′ | s, a): members predict mean and standard deviation of (s′ − s, r) (Chua et al., NeurIPS 2018).

    Inputs and targets are standardised by the training rows. Coordinates that are constant there are predicted as
    constant, without noise. For wide observations (`linear_from`) the mean is a linear function of the inputs plus the
    network, since most of their coordinates are nearly linear.

    Training maximises the log-likelihood of independent Gaussians, each term weighted by σ̂^(2·beta) without gradient
    (Seitzer et al., ICLR 2022). With the plain likelihood, beta=0, a bad initial mean is excused by a large σ̂ and stays
    bad; beta=1 fits means as least squares do. The best epoch has the highest likelihood on held-out rows (logged as
    `val/log_loss`, its negative per coordinate in standardised units). Since errors of positions and velocities are
    correlated, `fit_noise` then gives each member's noise the covariance of its standardised errors on held-out rows.

    Simulated outcomes are clipped to the range of the training rows, widened on each side by half of it: a network
    knows nothing beyond, and one far state would spoil a whole simulation.

    Args:
        options: members, width, depth, linear_from, beta, lr, weight_decay.
        seed: that of the initial weights.
        sizes: (observation, action), from a checkpoint. If None, taken from the data module.
    """

    input_mean: Tensor
    input_std: Tensor
    target_mean: Tensor
    target_std: Tensor
    changes: Tensor
    factor: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, options: Mapping[str, Any], seed: int = 0, sizes: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.options, self.seed = dict(options), seed
        self.sizes = sizes
        if sizes is not None:
            self._build(sizes)

    @property
    def members(self) -> int:
        return int(self.options["members"])

    def setup(self, stage: str | None = None) -> None:
        """Builds the networks for the data module's transitions, unless they are there."""
        if self.sizes is None:
            datamodule: TransitionsDataModule = self.trainer.datamodule  # type: ignore[attr-defined]
            train = datamodule.train
            self._build((train.observation.shape[1], train.action.shape[1]))
            self._standardise(train.inputs(), train.targets())
            self._set_range(torch.cat([train.next_observation, train.reward[:, None]], dim=1))

    def _build(self, sizes: tuple[int, int]) -> None:
        self.sizes = sizes
        inputs, outputs = sum(sizes), sizes[0] + 1
        for name, size in (("input", inputs), ("target", outputs)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))
        self.register_buffer("changes", torch.ones(outputs, dtype=torch.bool))
        for name in ("low", "high"):  # of s′ and r
            self.register_buffer(name, torch.zeros(outputs))
        # root of the noise's covariance, lower triangular
        self.register_buffer("factor", torch.eye(outputs).repeat(self.members, 1, 1))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.net = EnsembleMLP(
                self.members, inputs, 2 * outputs, width=self.options["width"], depth=self.options["depth"]
            )
        has_linear = sizes[0] >= self.options["linear_from"]
        self.linear = nn.Parameter(torch.zeros(self.members, inputs, outputs)) if has_linear else None
        # starts with the targets' own standard deviation: with a smaller one, the first errors would drive the sigmoid
        # to its upper end, where it has no gradient, before the means are learned
        low, high = LOG_STD
        with torch.no_grad():
            self.net.biases[-1][..., outputs:] += math.log(-low / high)

    def _standardise(self, inputs: Tensor, targets: Tensor) -> None:
        for name, values in (("input", inputs), ("target", targets)):
            std, mean = torch.std_mean(values, 0)
            constant = std <= 1e-6 * values.abs().amax(0).clamp(min=1e-6)
            getattr(self, f"{name}_mean").copy_(mean)
            getattr(self, f"{name}_std").copy_(std.masked_fill(constant, 1.0))
        self.changes.copy_(~constant)

    def _set_range(self, outcomes: Float[Tensor, "n o"]) -> None:
        low, high = outcomes.amin(0), outcomes.amax(0)
        self.low.copy_(low - MARGIN * (high - low))
        self.high.copy_(high + MARGIN * (high - low))

    def _standardised(self, inputs: Float[Tensor, "m n i"]) -> tuple[Float[Tensor, "m n o"], Float[Tensor, "m n o"]]:
        """Predicts mean and log standard deviation in standardised units."""
        x = (inputs - self.input_mean) / self.input_std
        curved, raw = self.net(x).chunk(2, dim=-1)
        low, high = LOG_STD
        mean = curved if self.linear is None else torch.baddbmm(curved, x, self.linear)
        # contiguous, since elementwise functions are several times slower on halves of rows
        return mean, low + (high - low) * torch.sigmoid(raw.contiguous())

    def forward(
        self, observation: Float[Tensor, "m n d"], action: Float[Tensor, "m n a"]
    ) -> tuple[Float[Tensor, "m n o"], Float[Tensor, "m n o"]]:
        """Predicts mean and standard deviation of (s′ − s, r), per member for its rows; 0 for constant coordinates."""
        mean, log_std = self._standardised(torch.cat([observation, action], dim=-1))
        scale = self.target_std * self.changes
        return torch.addcmul(self.target_mean * self.changes, scale, mean), scale * log_std.exp()

    def step(
        self, observation: Float[Tensor, "m n d"], action: Float[Tensor, "m n a"], noise: Float[Tensor, "*k m n o"]
    ) -> tuple[Float[Tensor, "*k m n d"], Float[Tensor, "*k m n"]]:
        """Draws next observations and rewards from standard normal noise, one or several per row."""
        mean, std = self(observation, action)
        outcome = torch.addcmul(mean, std, noise @ self.factor.mT)
        following = (observation + outcome[..., :-1]).clamp(self.low[:-1], self.high[:-1])
        return following, outcome[..., -1].clamp(self.low[-1], self.high[-1])

    def residual(
        self, observation: Float[Tensor, "m n d"], action: Float[Tensor, "m n a"], outcome: Float[Tensor, "m n o"]
    ) -> Float[Tensor, "m n c"]:
        """Computes the noise that would give (s′ − s, r): standard normal if the model were right."""
        return torch.linalg.solve_triangular(
            self.factor, self._errors(observation, action, outcome).mT, upper=False
        ).mT[..., self.changes]

    def _errors(self, observation: Tensor, action: Tensor, outcome: Tensor) -> Float[Tensor, "m n o"]:
        """Computes errors in predicted standard deviations; 0 for constant coordinates."""
        mean, std = self(observation, action)
        return torch.where(self.changes, (outcome - mean) / std, 0.0)

    @torch.inference_mode()
    def fit_noise(self, held_out: "Transitions") -> None:
        """Fits each member's noise to the second moments of its errors on held-out rows."""
        rows = (v.expand(self.members, *v.shape) for v in (held_out.observation, held_out.action, held_out.targets()))
        errors = self._errors(*rows).double()
        moments = errors.mT @ errors / len(held_out)
        # adds rows of independent errors, since fewer rows than coordinates leave the moments singular
        shrunk = (len(held_out) * moments + PRIOR_ROWS * torch.eye(moments.shape[-1])) / (len(held_out) + PRIOR_ROWS)
        shrunk = torch.where(self.changes[:, None] & self.changes, shrunk, torch.eye(moments.shape[-1]).double())
        self.factor.copy_(torch.linalg.cholesky(shrunk))

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        losses, log_std = self._log_losses(*batch[:2])
        self.add_up(log_loss=self._mean_loss(losses.detach()))
        weights = (2 * self.options["beta"] * log_std.detach()).exp()
        # members share nothing: the sum trains each separately
        return (weights * losses).mean((1, 2)).sum() * (losses.shape[-1] / self.changes.sum())

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> None:
        inputs, targets = (values.expand(self.members, *values.shape) for values in batch[:2])
        losses, _ = self._log_losses(inputs, targets)
        self.log("val/log_loss", self._mean_loss(losses), batch_size=len(batch[0]))

    def _mean_loss(self, losses: Float[Tensor, "m n o"]) -> Float[Tensor, ""]:
        """Averages over rows and over the coordinates that change."""
        return losses.sum(-1).mean() / self.changes.sum()

    def _log_losses(
        self, inputs: Float[Tensor, "m n i"], targets: Float[Tensor, "m n o"]
    ) -> tuple[Float[Tensor, "m n o"], Float[Tensor, "m n o"]]:
        """Computes each coordinate's −log-likelihood in standardised units (0 if it is constant), and log σ̂."""
        mean, log_std = self._standardised(inputs)
        z = ((targets - self.target_mean) / self.target_std - mean) * (-log_std).exp()
        loss = 0.5 * z.square() + log_std + 0.5 * math.log(2 * math.pi)
        return loss * self.changes, log_std

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=self.options["lr"], weight_decay=self.options["weight_decay"], foreach=True
        )
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["dynamics"] = {"kind": KIND, "options": self.options, "sizes": self.sizes}

    @classmethod
    def load(cls, file: Path) -> "DynamicsModel":
        """Loads a trained model from a checkpoint.

        Raises:
            InputError: the file does not exist or is not such a checkpoint.
        """
        with naming(file, "does not hold a whole dynamics model"):
            description, state = read_network(file, "dynamics", "a dynamics model", KIND, remedy="train it first")
            model = built_for(state, lambda: cls(description["options"], sizes=description["sizes"]))
        return model.requires_grad_(False).eval()
