"""The variational autoencoder: small, quick to train, and with a bound on its likelihood."""

from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchmetrics import MeanMetric

from lfiw import logistic_mixture
from lfiw.data.mixed import Batch
from lfiw.errors import InputError
from lfiw.modules.generative import GenerativeModule
from lfiw.nets.vae import Decoder, Encoder, draw

PIXELS = ("mean", "sample")


class VAEModule(GenerativeModule):
    """Encoder q(z|x) and decoder p(x|z), trained by the evidence lower bound (Kingma and Welling 2014).

    log p(x) ≥ E_q[log p(x|z)] − KL(q(z|x) ‖ N(0, I)), in bits a pixel channel. p(x|z) is a product over the pixels of
    mixtures of discretised logistics. The bound is that of drawing pixels from it (`pixels=sample`); their means, the
    default, look smoother and are samples of another, narrower distribution.
    """

    monitor = "val/bits_per_dim"
    sampler = "decoder"

    def build(self, *, latent: int, width: int, mixtures: int, pixels: str) -> None:
        if pixels not in PIXELS:
            raise InputError(f"model.pixels={pixels}: expected one of {', '.join(PIXELS)}")
        self.encoder = Encoder(self.shape, latent=latent, width=width)
        self.decoder = Decoder(self.shape, latent=latent, width=width, mixtures=mixtures)
        self.latent, self.mixtures, self.pixels = latent, mixtures, pixels
        self.bits, self.divergence = (MeanMetric(nan_strategy="disable") for _ in range(2))

    def draw_noise(self, generator: torch.Generator) -> Float[Tensor, " numbers"]:
        """z, then the uniform numbers of the pixels where they are drawn."""
        z = torch.randn(self.latent, generator=generator, dtype=torch.float64)
        if self.pixels == "mean":
            return z
        channels, height, width = self.shape
        uniforms = torch.rand((self.mixtures + channels) * height * width, generator=generator, dtype=torch.float64)
        return torch.cat([z, uniforms])

    def decode(self, noise: Float[Tensor, "n numbers"]) -> UInt8[Tensor, "n c h w"]:
        channels, height, width = self.shape
        z = noise[:, : self.latent].to(self.decoder.first.weight.dtype)
        parameters = self.decoder(z)
        if self.pixels == "mean":
            return logistic_mixture.mean_image(parameters, channels)
        uniforms = noise[:, self.latent :].unflatten(1, (self.mixtures + channels, height, width))
        return logistic_mixture.sample(parameters, uniforms, channels)

    def elbo(
        self, images: UInt8[Tensor, "n c h w"], noise: Float[Tensor, "n z"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """log p(x|z) with z from q(z|x), and KL(q(z|x) ‖ N(0, I)), in nats; the bound is their difference."""
        mean, log_variance = self.encoder(logistic_mixture.to_signed(images, noise.dtype))
        parameters = self.decoder(draw(mean, log_variance, noise))
        parameters = parameters.to(torch.promote_types(parameters.dtype, torch.float32))  # half precision would round
        likelihood = logistic_mixture.log_prob(parameters, images).sum((1, 2))
        mean, log_variance = mean.float(), log_variance.float()
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
        return likelihood, divergence

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images = batch["image"]
        likelihood, divergence = self.elbo(images, self.training_noise(len(images), batch_idx, 0))
        loss = logistic_mixture.bits_per_dimension(divergence - likelihood, self.shape).mean()
        self.add_up(bits_per_dim=loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        images = batch["image"]
        if not len(images):
            return
        likelihood, divergence = self.elbo(images, self.validation_noise(batch["position"]))
        self.bits.update(logistic_mixture.bits_per_dimension(divergence - likelihood, self.shape))
        self.divergence.update(logistic_mixture.bits_per_dimension(divergence, self.shape))

    def on_validation_epoch_end(self) -> None:
        self.log_dict({"val/bits_per_dim": self.bits.compute(), "val/kl_bits_per_dim": self.divergence.compute()})
        self.bits.reset()
        self.divergence.reset()

    def configure_optimizers(self) -> Any:
        return self.build_optimizer(self)
