"""The two networks of a small convolutional variational autoencoder."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from lfiw.errors import InputError
from lfiw.logistic_mixture import num_parameters
from lfiw.nets.shapes import image_shape

HALVINGS = 3
GROUPS = 8


class Residual(nn.Module):
    """Group norm, SiLU, 3×3, twice; added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(GROUPS, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(GROUPS, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Encoder(nn.Module):
    """Images in [−1, 1] → mean and log-variance of q(z|x), each (n, latent)."""

    def __init__(self, shape: Sequence[int], *, latent: int, width: int) -> None:
        super().__init__()
        channels, height, width_pixels = check_shape(shape, latent, width)
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
    """z → parameters of the pixels' mixtures of discretised logistics, (n, p, h, w)."""

    def __init__(self, shape: Sequence[int], *, latent: int, width: int, mixtures: int) -> None:
        super().__init__()
        channels, height, width_pixels = check_shape(shape, latent, width)
        if mixtures < 1:
            raise InputError(f"model.mixtures={mixtures} must be at least 1")
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
    """Twice the resolution, by repeating pixels and a 3×3 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2))


def check_shape(shape: Sequence[int], latent: int, width: int) -> tuple[int, int, int]:
    channels, height, width_pixels = image_shape(shape, "vae")
    if height % (1 << HALVINGS) or width_pixels % (1 << HALVINGS):
        raise InputError(f"model=vae needs images whose sides are multiples of {1 << HALVINGS}, got {tuple(shape)}")
    if latent < 1 or width < GROUPS or width % GROUPS:
        raise InputError(f"model.latent={latent} must be at least 1, model.width={width} a multiple of {GROUPS}")
    return channels, height, width_pixels


def draw(mean: Float[Tensor, "n z"], log_variance: Float[Tensor, "n z"], noise: Float[Tensor, "n z"]) -> Tensor:
    """z = μ + σ ε (Kingma and Welling 2014)."""
    return mean + torch.exp(log_variance / 2) * noise
