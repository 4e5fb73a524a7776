"""A variational autoencoder with a discretised logistic likelihood."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric

from lfiw.data.splits import Batch
from lfiw.errors import InputError
from lfiw.generators import logistic_mixture
from lfiw.generators.generative_module import GenerativeModule
from lfiw.generators.logistic_mixture import num_parameters
from lfiw.nets import image_shape

HALVINGS = 3
GROUPS = 8


class Residual(nn.Module):
    """Adds twice group norm, SiLU and 3×3 to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(GROUPS, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(GROUPS, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Encoder(nn.Module):
    """Computes mean and log-variance of q(z|x), each (n, latent), from images in [−1, 1]."""

    def __init__(self, shape: Sequence[int], *, latent: int, width: int) -> None:
        super().__init__()
        channels, height, width_pixels = check_shape(shape)
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1)]
        inputs = width
        for _ in range(HALVINGS):
            layers += [Residual(inputs), nn.Conv2d(inputs, 2 * width, 4, 2, padding=1)]
            inputs = 2 * width
        self.layers = nn.Sequential(*layers, nn.SiLU(), nn.Flatten())
        self.last = nn.Linear(inputs * (height >> HALVINGS) * (width_pixels >> HALVINGS), 2 * latent)

    def forward(self, x: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n z"], Float[Tensor, "n z"]]:
        mean, log_variance = self.last(self.layers(x)).chunk(2, dim=1)
        return mean, log_variance.clamp(-12, 12)


class Decoder(nn.Module):
    """Computes the parameters of the pixels' mixtures of discretised logistics, (n, p, h, w), from z."""

    def __init__(self, shape: Sequence[int], *, latent: int, width: int, mixtures: int) -> None:
        super().__init__()
        channels, height, width_pixels = check_shape(shape)
        self.start = (2 * width, height >> HALVINGS, width_pixels >> HALVINGS)
        self.first = nn.Linear(latent, self.start[0] * self.start[1] * self.start[2])
        layers: list[nn.Module] = []
        inputs = 2 * width
        for _ in range(HALVINGS):
            layers += [Residual(inputs), Up(inputs, width)]
            inputs = width
        outputs = num_parameters(channels, mixtures)
        self.layers = nn.Sequential(
            *layers, Residual(width), nn.GroupNorm(GROUPS, width), nn.SiLU(), nn.Conv2d(width, outputs, 3, padding=1)
        )

    def forward(self, z: Float[Tensor, "n z"]) -> Float[Tensor, "n p h w"]:
        return self.layers(self.first(z).view(-1, *self.start))


class Up(nn.Module):
    """Doubles the resolution by repeating pixels and a 3×3 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2))


def check_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    channels, height, width_pixels = image_shape(shape, "vae")
    if height % (1 << HALVINGS) or width_pixels % (1 << HALVINGS):
        raise InputError(f"model=vae needs images whose sides are multiples of {1 << HALVINGS}, got {tuple(shape)}")
    return channels, height, width_pixels


def draw(mean: Float[Tensor, "n z"], log_variance: Float[Tensor, "n z"], noise: Float[Tensor, "n z"]) -> Tensor:
    """Draws z = μ + σ ε (Kingma and Welling 2014)."""
    return mean + torch.exp(log_variance / 2) * noise


class VAEModule(GenerativeModule):
    """Encoder q(z|x) and decoder p(x|z), trained by the evidence lower bound (Kingma and Welling 2014).

    log p(x) ≥ E_q[log p(x|z)] − KL(q(z|x) ‖ N(0, I)), in bits per pixel channel. p(x|z) is a product over the pixels of
    mixtures of discretised logistics. The bound holds for pixels drawn from it (`pixels=sample`); their means, the
    default, look smoother and come from another, narrower distribution.
    """

    monitor = "val/bits_per_dim"
    sampler = "decoder"

    def build(self, *, latent: int, width: int, mixtures: int, pixels: str) -> None:
        self.encoder = Encoder(self.shape, latent=latent, width=width)
        self.decoder = Decoder(self.shape, latent=latent, width=width, mixtures=mixtures)
        self.latent, self.mixtures, self.pixels = latent, mixtures, pixels
        self.bits, self.divergence = (MeanMetric(nan_strategy="disable") for _ in range(2))

    def draw_noise(self, generator: torch.Generator) -> Float[Tensor, " numbers"]:
        """Draws z, and the pixels' uniform numbers if pixels are drawn."""
        z = torch.randn(self.latent, generator=generator, dtype=torch.float64)
        if self.pixels == "mean":
            return z
        channels, height, width = self.shape
        uniforms = torch.rand((self.mixtures + channels) * height * width, generator=generator, dtype=torch.float64)
        return torch.cat([z, uniforms])

    def noise_from_normal(self, normal: Float[Tensor, "n numbers"]) -> Float[Tensor, "n numbers"]:
        return torch.cat([normal[:, : self.latent], torch.special.ndtr(normal[:, self.latent :])], dim=1)

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
        """Returns log p(x|z) with z from q(z|x), and KL(q(z|x) ‖ N(0, I)), in nats; the bound is their difference."""
        mean, log_variance = self.encoder(logistic_mixture.to_signed(images, noise.dtype))
        parameters = self.decoder(draw(mean, log_variance, noise))
        parameters = parameters.to(torch.promote_types(parameters.dtype, torch.float32))  # half precision rounds
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
