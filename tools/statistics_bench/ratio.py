"""Ratio classifiers of many seeds at once: small MLPs as one batched product."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

WIDTH, STEPS, EVERY, PATIENCE, LEARNING_RATE, WEIGHT_DECAY = 64, 400, 20, 4, 3e-3, 0.01
BATCH = 500  # rows a side and step


@dataclass(frozen=True)
class Ratios:
    """One network a seed, two hidden layers.

    Args:
        parameters: weights (seeds, in, out) and biases (seeds, 1, out), layer by layer.
        mean, std: (seeds, 1, d), of the training rows.
    """

    parameters: list[Tensor]
    mean: Tensor
    std: Tensor

    def __call__(self, x: Float[Tensor, "seeds n d"]) -> Float[Tensor, "seeds n"]:
        """Log-ratios, float64."""
        return forward(self.parameters, ((x - self.mean) / self.std).float()).double()


def forward(parameters: list[Tensor], x: Float[Tensor, "seeds n d"]) -> Float[Tensor, "seeds n"]:
    for i in range(0, len(parameters), 2):
        x = torch.baddbmm(parameters[i + 1], x, parameters[i])
        if i + 2 < len(parameters):
            x = F.silu(x)
    return x[:, :, 0]


def fit(
    real: Float[Tensor, "seeds n d"],
    generated: Float[Tensor, "seeds n d"],
    validation_real: Float[Tensor, "seeds m d"],
    validation_generated: Float[Tensor, "seeds m d"],
    generator: torch.Generator,
) -> Ratios:
    """AdamW on the balanced logistic loss; each seed keeps its step of the lowest validation log-loss."""
    seeds, _, d = real.shape
    rows = torch.cat([real, generated], 1)
    mean, std = rows.mean(1, keepdim=True), rows.std(1, keepdim=True).clamp(min=1e-6)
    parameters: list[Tensor] = []
    for size, out in ((d, WIDTH), (WIDTH, WIDTH), (WIDTH, 1)):
        parameters.append((torch.randn(seeds, size, out, generator=generator) / size**0.5).requires_grad_())
        parameters.append(torch.zeros(seeds, 1, out).requires_grad_())
    optimizer = torch.optim.AdamW(
        [{"params": parameters[0::2], "weight_decay": WEIGHT_DECAY}, {"params": parameters[1::2], "weight_decay": 0.0}],
        lr=LEARNING_RATE,
        fused=True,
    )
    x, y, v, w = (((t - mean) / std).float() for t in (real, generated, validation_real, validation_generated))
    best = torch.full((seeds,), torch.inf)
    kept = [p.detach().clone() for p in parameters]
    since = 0
    for step in range(STEPS):
        if step % EVERY == 0:
            with torch.no_grad():
                loss = log_loss(parameters, v, w)
                better = loss < best
                best = torch.where(better, loss, best)
                for k, p in zip(kept, parameters, strict=True):
                    k[better] = p[better]
            since = 0 if better.any() else since + 1
            if since > PATIENCE:
                break
        optimizer.zero_grad()
        # the rows are drawn independently: which of them a step sees needs no draw of its own
        chosen = slice(start := step * BATCH % x.shape[1], start + BATCH)
        log_loss(parameters, x[:, chosen], y[:, chosen]).sum().backward()
        optimizer.step()
    return Ratios(kept, mean, std)


def log_loss(parameters: list[Tensor], real: Tensor, generated: Tensor) -> Float[Tensor, " seeds"]:
    """Each side counts half."""
    of_real = F.softplus(-forward(parameters, real)).mean(1)
    return (of_real + F.softplus(forward(parameters, generated)).mean(1)) / 2
