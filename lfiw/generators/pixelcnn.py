"""PixelCNN++: an exact likelihood, and samples pixel by pixel."""

from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchmetrics import MeanMetric

from lfiw.data.splits import Batch
from lfiw.generators import logistic_mixture, pixelcnn_sampling
from lfiw.generators.module import GenerativeModule
from lfiw.generators.pixelcnn_network import PixelCNN


class PixelCNNModule(GenerativeModule):
    """Trained by the negative log-likelihood in bits a pixel channel (Salimans et al. 2017)."""

    monitor = "val/bits_per_dim"
    sampler = "net"

    def build(self, **options: Any) -> None:
        self.net = PixelCNN(self.shape, **options)
        self.bits = MeanMetric(nan_strategy="disable")

    def draw_noise(self, generator: torch.Generator) -> Float[Tensor, "u h w"]:
        """The uniform numbers that choose each pixel."""
        channels, height, width = self.shape
        return torch.rand(self.net.mixtures + channels, height, width, generator=generator, dtype=torch.float64)

    def decode(self, noise: Float[Tensor, "n u h w"]) -> UInt8[Tensor, "n c h w"]:
        return pixelcnn_sampling.sample(self.net, noise)

    def log_prob(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        """Log-likelihood of images, in nats."""
        parameters = self.net(logistic_mixture.to_signed(images, self.net.last.weight.dtype))
        parameters = parameters.to(torch.promote_types(parameters.dtype, torch.float32))  # half precision would round
        return logistic_mixture.log_prob(parameters, images).sum((1, 2))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = logistic_mixture.bits_per_dimension(-self.log_prob(batch["image"]), self.shape).mean()
        self.add_up(bits_per_dim=loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        if len(batch["image"]):
            self.bits.update(logistic_mixture.bits_per_dimension(-self.log_prob(batch["image"]), self.shape))

    def on_validation_epoch_end(self) -> None:
        self.log("val/bits_per_dim", self.bits.compute())
        self.bits.reset()

    def configure_optimizers(self) -> Any:
        return self.build_optimizer(self.net)
