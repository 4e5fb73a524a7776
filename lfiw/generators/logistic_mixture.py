"""Mixtures of discretised logistics: the likelihood of 8-bit pixels of PixelCNN++ (Salimans et al. 2017, section 2).

A pixel's channels x₁ … x_C ∈ {0 … 255}, scaled to [−1, 1], share one of K components; within it channel i is logistic
with mean m_i + Σ_{j<i} c_ij x_j and its own scale, and has the mass of the bin x_i ± 1/255. The outermost bins extend
to infinity, so that the 256 masses sum to 1.

All parameters are in one tensor (n, K·P, h, w) with P = 1 + 2C + C(C−1)/2: K components per kind of number.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

HALF_BIN = 1 / 255  # for pixels from −1 to 1
MIN_LOG_SCALE = -7.0


@dataclass(frozen=True)
class Mixture:
    """logits (n, K, h, w); means, log_scales (n, C, K, h, w); coefficients (n, C(C−1)/2, K, h, w), row by row."""

    logits: Tensor
    means: Tensor
    log_scales: Tensor
    coefficients: Tensor


def num_parameters(channels: int, mixtures: int) -> int:
    """Returns K·P, the channels of the parameter tensor."""
    return mixtures * (1 + 2 * channels + channels * (channels - 1) // 2)


def unpack(parameters: Float[Tensor, "n p h w"], channels: int) -> Mixture:
    kinds = num_parameters(channels, 1)
    n, p, h, w = parameters.shape
    parts = parameters.view(n, kinds, p // kinds, h, w)
    return Mixture(
        parts[:, 0],
        parts[:, 1 : 1 + channels],
        parts[:, 1 + channels : 1 + 2 * channels].clamp(min=MIN_LOG_SCALE),
        parts[:, 1 + 2 * channels :].tanh(),
    )


def to_signed(images: UInt8[Tensor, "n c h w"], dtype: torch.dtype) -> Float[Tensor, "n c h w"]:
    """Scales 0 … 255 to −1 … 1."""
    return images.to(dtype) / 127.5 - 1


def log_prob(parameters: Float[Tensor, "n p h w"], images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n h w"]:
    """Returns the log probability of every pixel, in nats, given its parameters.

    The mass of a bin is σ(a) − σ(b) = σ(a) σ(−b) (1 − e^(b−a)), which neither cancels nor underflows in the tails.
    """
    channels = images.shape[1]
    mixture = unpack(parameters, channels)
    x = to_signed(images, parameters.dtype)
    means = []
    for i in range(channels):
        mean = mixture.means[:, i]
        for j in range(i):
            mean = mean + mixture.coefficients[:, i * (i - 1) // 2 + j] * x[:, j, None]
        means.append(mean)
    inverse_scale = torch.exp(-mixture.log_scales)
    centred = x[:, :, None] - torch.stack(means, dim=1)
    upper, lower = inverse_scale * (centred + HALF_BIN), inverse_scale * (centred - HALF_BIN)
    below, above = F.logsigmoid(upper), F.logsigmoid(-lower)
    inside = below + above + torch.log(-torch.expm1(-2 * HALF_BIN * inverse_scale))
    values = images[:, :, None]
    log_mass = torch.where(values == 0, below, torch.where(values == 255, above, inside)).sum(1)
    return torch.logsumexp(log_mass + F.log_softmax(mixture.logits, dim=1), dim=1)


def sample(
    parameters: Float[Tensor, "n p h w"], uniforms: Float[Tensor, "n u h w"], channels: int
) -> UInt8[Tensor, "n c h w"]:
    """Draws one value per pixel and channel, determined by the parameters and uniform numbers.

    Args:
        uniforms: K + C numbers in [0, 1) per pixel: the first K choose the component (Gumbel 1954: the largest of
            logit − log(−log u)), the others pass through the channels' inverse distribution functions.

    Each channel is rounded to a byte before the next depends on it, as in `log_prob`.
    """
    mixture = unpack(parameters, channels)
    uniforms = uniforms.to(parameters.dtype)
    mixtures = mixture.logits.shape[1]
    chosen = (mixture.logits - torch.log(-torch.log(uniforms[:, :mixtures]))).argmax(1, keepdim=True)[:, None]

    def of_chosen(values: Tensor) -> Tensor:
        return values.gather(2, chosen.expand(-1, values.shape[1], -1, -1, -1)).squeeze(2)

    means, scales = of_chosen(mixture.means), of_chosen(mixture.log_scales).exp()
    coefficients = of_chosen(mixture.coefficients)
    u = uniforms[:, mixtures:]
    noise = scales * (torch.log(u) - torch.log1p(-u))
    drawn: list[Tensor] = []
    for i in range(channels):
        value = means[:, i] + noise[:, i]
        for j in range(i):
            value = value + coefficients[:, i * (i - 1) // 2 + j] * drawn[j]
        drawn.append(((value + 1) * 127.5).round().clamp(0, 255) / 127.5 - 1)
    return ((torch.stack(drawn, dim=1) + 1) * 127.5).round().to(torch.uint8)


def mean_image(parameters: Float[Tensor, "n p h w"], channels: int) -> UInt8[Tensor, "n c h w"]:
    """Returns the rounded mean of each pixel's mixture, of the logistics before they are cut at 0 and 255."""
    mixture = unpack(parameters, channels)
    means: list[Tensor] = []
    for i in range(channels):
        mean = mixture.means[:, i]
        for j in range(i):
            mean = mean + mixture.coefficients[:, i * (i - 1) // 2 + j] * means[j]
        means.append(mean)
    shares = mixture.logits.softmax(1)
    mean = torch.stack([(m * shares).sum(1) for m in means], dim=1)
    return ((mean + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def bits_per_dimension(nats: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Turns a sample's −log-likelihood in nats into bits per dimension."""
    return nats / (math.prod(shape) * math.log(2))
