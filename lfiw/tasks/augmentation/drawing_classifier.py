"""A classifier of few examples, trained on real and generated images whose losses are weighted."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanMetric

from lfiw.data.splits import Batch
from lfiw.data.transforms import standardise
from lfiw.nets import build_net
from lfiw.training.trained_module import TrainedModule, configure


class AugmentationClassifier(TrainedModule):
    """Classes of images by the cross-entropy with per-sample weights.

    L = Σᵢ cᵢ wᵢ CEᵢ / Σᵢ cᵢ with c = 1, w = 1 for real rows and c = λ, w = importance weight (mean 1) for generated
    ones (Grover et al. 2019, section 5.2). The denominator does not depend on the weights: a batch whose generated rows
    are all unlikely pulls less.

    Args:
        net: name and options of the network (`lfiw.nets`).
        optimizer: lr, weight_decay, schedule and compile, as in `lfiw.schemas.Optimizer`.
        shape: of an image, (channels, height, width).
        num_classes: to tell apart.
        mean, std: of the pixels, one per channel.
        coefficient: λ ≥ 0.
        seed: of the initial weights and of dropout.

    Raises:
        InputError: λ is negative or not finite, or the network does not take such images.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: Mapping[str, Any],
        optimizer: Mapping[str, Any],
        *,
        shape: Sequence[int],
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        coefficient: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.optimizer_options, self.coefficient, self.seed = dict(optimizer), coefficient, seed
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            # images of one channel would else be computed channel by channel, at less than half the speed on a CPU
            self.net = build_net(net, shape, outputs=num_classes).to(memory_format=torch.channels_last)
        if self.optimizer_options.get("compile"):
            self.net.compile()
        self.log_loss, self.accuracy = MeanMetric(nan_strategy="disable"), MeanMetric(nan_strategy="disable")

    def forward(self, images: Shaped[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        """Class logits of raw images, as they stand in the tables (uint8)."""
        return self.net(standardise(images, self.mean, self.std))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logits = self(batch["image"])
        loss = weighted_cross_entropy(
            logits.to(torch.promote_types(logits.dtype, torch.float32)),
            batch["label"],
            batch["is_real"],
            batch["weight"],
            self.coefficient,
        )
        self.add_up(loss=loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._score(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._score(batch)

    def on_validation_epoch_end(self) -> None:
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        self._log_scores("test")

    def _score(self, batch: Batch) -> None:
        if not len(batch["label"]):
            return  # this process's last batch may be empty
        logits = self(batch["image"]).float()
        self.log_loss.update(F.cross_entropy(logits, batch["label"], reduction="none"))
        self.accuracy.update((logits.argmax(1) == batch["label"]).float())

    def _log_scores(self, part: str) -> None:
        for name, metric in (("log_loss", self.log_loss), ("accuracy", self.accuracy)):
            self.log(f"{part}/{name}", metric.compute(), sync_dist=True)  # the same in every process
            metric.reset()

    def configure_optimizers(self) -> Any:
        return configure(self, self.net, self.optimizer_options)


def weighted_cross_entropy(
    logits: Float[Tensor, "n classes"],
    labels: Int64[Tensor, " n"],
    is_real: Bool[Tensor, " n"],
    weights: Float[Tensor, " n"],
    coefficient: float,
) -> Float[Tensor, ""]:
    """Σᵢ cᵢ wᵢ CEᵢ / Σᵢ cᵢ, c = 1 for real rows and λ = `coefficient` for generated ones.

    A batch of generated rows alone has their plain weighted mean, whatever λ.
    """
    losses = F.cross_entropy(logits, labels, reduction="none")
    counts = torch.where(is_real, 1.0, coefficient if is_real.any() else 1.0)
    return (counts * weights * losses).sum() / counts.sum()
