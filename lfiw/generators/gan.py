"""Spectrally normalised GANs (Miyato et al. 2018), with a critic of pixels or of projected features."""

import os
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm
from torchmetrics import MeanMetric

from lfiw.data.splits import Batch
from lfiw.errors import InputError
from lfiw.features.resnet import MEAN, STD, CifarResNet, load_weights
from lfiw.generators.generative_module import GenerativeModule
from lfiw.generators.logistic_mixture import to_signed
from lfiw.nets import image_shape

SMALLEST = 8  # the generator starts at an eighth of the images' resolution


class UpBlock(nn.Module):
    """Doubles the resolution: norm, ReLU, nearest neighbour, 3×3, norm, ReLU, 3×3; the shortcut is 1×1."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(F.interpolate(F.relu(self.norm1(x)), scale_factor=2))
        # the 1×1 convolution commutes with repeating pixels, and costs a quarter before it
        return F.interpolate(self.skip(x), scale_factor=2) + self.conv2(F.relu(self.norm2(hidden)))


class SNGANGenerator(nn.Module):
    """Three residual blocks that double the resolution: (n, latent) → (n, c, h, w) in (−1, 1)."""

    def __init__(self, shape: Sequence[int], *, latent: int, width: int) -> None:
        super().__init__()
        channels, height, width_pixels = image_shape(shape, "sngan")
        if height % SMALLEST or width_pixels % SMALLEST:
            raise InputError(f"model=sngan needs images whose sides are multiples of {SMALLEST}, got {tuple(shape)}")
        self.start = (width, height // SMALLEST, width_pixels // SMALLEST)
        self.linear = nn.Linear(latent, width * self.start[1] * self.start[2])
        self.blocks = nn.Sequential(*(UpBlock(width, width) for _ in range(3)))
        self.norm = nn.BatchNorm2d(width)
        self.last = nn.Conv2d(width, channels, 3, padding=1)
        self.apply(initialise)

    def forward(self, noise: Float[Tensor, "n latent"]) -> Float[Tensor, "n c h w"]:
        x = self.blocks(self.linear(noise).view(-1, *self.start))
        return self.last(F.relu(self.norm(x))).tanh()


class DownBlock(nn.Module):
    """(ReLU,) 3×3, ReLU, 3×3, then optional halving by averaging; all weights have spectral norm."""

    def __init__(self, inputs: int, outputs: int, *, down: bool, first: bool = False) -> None:
        super().__init__()
        self.conv1 = spectral_norm(nn.Conv2d(inputs, outputs, 3, padding=1))
        self.conv2 = spectral_norm(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = spectral_norm(nn.Conv2d(inputs, outputs, 1)) if down or inputs != outputs else nn.Identity()
        self.down, self.first = down, first

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if not self.down:
            return self.skip(x) + hidden
        return self.skip(F.avg_pool2d(x, 2)) + F.avg_pool2d(hidden, 2)


class SNGANCritic(nn.Module):
    """Four residual blocks, the first two of which halve the resolution, then a sum: (n, c, h, w) → (n, 1)."""

    def __init__(self, shape: Sequence[int], *, width: int) -> None:
        super().__init__()
        channels, _, _ = image_shape(shape, "sngan")
        self.blocks = nn.Sequential(
            DownBlock(channels, width, down=True, first=True),
            DownBlock(width, width, down=True),
            DownBlock(width, width, down=False),
            DownBlock(width, width, down=False),
        )
        self.last = spectral_norm(nn.Linear(width, 1))

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n outputs"]:
        return self.last(F.relu(self.blocks(images)).sum((2, 3)))


def initialise(layer: nn.Module) -> None:
    """Draws weights uniformly with variance 2/(inputs + outputs) (Glorot and Bengio 2010); sets biases to 0."""
    if isinstance(layer, (nn.Linear, nn.Conv2d)):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


BLOCKS = 3  # ResNet-20
CHANNELS = (16, 32, 64)  # at the three depths, with 32, 16 and 8 pixels
MIXED = (32, 32, 64)  # after the random mixing


class ProjectedCritic(nn.Module):
    """Heads on features of a fixed network: (n, 3, 32, 32) in [−1, 1] → (n, outputs).

    The outputs are all positions of all heads' maps; each has its own hinge loss.

    Args:
        shape: the images', (3, 32, 32).
        width: channels of the heads.
        features: a state dict of ResNet-20 from github.com/akamaster/pytorch_resnet_cifar10. If None, random features,
            which a checkpoint replaces by its own.

    Raises:
        InputError: the images have another shape, or the file does not hold these weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, shape: Sequence[int], *, width: int, features: str | os.PathLike[str] | None) -> None:
        super().__init__()
        if tuple(shape) != (3, 32, 32):
            raise InputError(f"model.critic=projected takes CIFAR-10's images (3, 32, 32), got {tuple(shape)}")
        self.net = CifarResNet(BLOCKS)
        if features is not None:
            load_weights(self.net, features, "ResNet-20")
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1))
        self.across = nn.ModuleList(nn.Conv2d(c, m, 1) for c, m in zip(CHANNELS, MIXED, strict=True))
        self.downward = nn.ModuleList(nn.Conv2d(MIXED[i + 1], MIXED[i], 3, padding=1) for i in range(2))
        for fixed in (self.net, self.across, self.downward):
            fixed.requires_grad_(False)
        self.heads = nn.ModuleList(head(m, width, halvings) for m, halvings in zip(MIXED, (3, 2, 1), strict=True))
        self.on_pixels = head(3, width, 3)

    def train(self, mode: bool = True) -> "ProjectedCritic":
        super().train(mode)
        self.net.eval()  # its batch norm keeps the statistics of its own training
        return self

    def forward(self, images: Float[Tensor, "n 3 32 32"]) -> Float[Tensor, "n outputs"]:
        x = ((images + 1) / 2 - self.mean) / self.std
        x = F.relu(self.net.bn1(self.net.conv1(x)))
        maps = []
        for layer, across in zip((self.net.layer1, self.net.layer2, self.net.layer3), self.across, strict=True):
            x = layer(x)
            maps.append(across(x))
        for i in (1, 0):
            coarse = F.interpolate(maps[i + 1], scale_factor=2, mode="bilinear")
            maps[i] = maps[i] + self.downward[i](coarse)
        outputs = [h(m) for h, m in zip(self.heads, maps, strict=True)]
        return torch.cat([o.flatten(1) for o in (*outputs, self.on_pixels(images))], dim=1)


def head(inputs: int, width: int, halvings: int) -> nn.Sequential:
    """Builds 4×4 convolutions of stride 2 with spectral norm, down to a map of 4×4 numbers."""
    layers: list[nn.Module] = []
    for _ in range(halvings):
        layers += [spectral_norm(nn.Conv2d(inputs, width, 4, 2, padding=1)), nn.LeakyReLU(0.2)]
        inputs = width
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(inputs, 1, 3, padding=1)))


class GAN(GenerativeModule):
    """Takes one critic step per batch, and a generator step every `critic_steps` batches (Miyato et al. 2018).

    critic:    E_x[max(0, 1 − D(x))] + E_z[max(0, 1 + D(G(z)))]
    generator: −E_z[D(G(z))]

    If the critic has several outputs, the means are over them too. No quantity has its lowest value in the best epoch;
    `val/critic_gap`, E[D(x)] − E[D(G(z))] on validation rows, grows if the critic wins.
    """

    monitor = None
    sampler = "generator"

    def build(
        self,
        *,
        latent: int,
        width: int,
        critic: str,
        critic_width: int,
        critic_steps: int,
        features: str | None = None,
    ) -> None:
        self.automatic_optimization = False
        self.latent, self.critic_steps = latent, critic_steps
        self.generator = SNGANGenerator(self.shape, latent=latent, width=width)
        self.critic: nn.Module = (
            ProjectedCritic(self.shape, width=critic_width, features=features)
            if critic == "projected"
            else SNGANCritic(self.shape, width=critic_width)
        )
        self.gap = MeanMetric(nan_strategy="disable")

    def draw_noise(self, generator: torch.Generator) -> Float[Tensor, " latent"]:
        return torch.randn(self.latent, generator=generator)

    def decode(self, noise: Float[Tensor, "n latent"]) -> UInt8[Tensor, "n c h w"]:
        images = self.generator(noise.to(self.generator.linear.weight.dtype))
        return ((images + 1) * 127.5).round().to(torch.uint8)

    @staticmethod
    def losses(of_real: Tensor, of_generated: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the critic's loss and the generator's, from the critic's outputs."""
        return F.relu(1 - of_real).mean() + F.relu(1 + of_generated).mean(), -of_generated.mean()

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        of_generator, of_critic = self.optimizers()  # type: ignore[attr-defined]
        schedule_of_generator, schedule_of_critic = self.lr_schedulers()  # type: ignore[misc]
        real = to_signed(batch["image"], self.generator.linear.weight.dtype)
        with torch.no_grad():
            generated = self.generator(self.training_noise(len(real), batch_idx, 0))
        # in one pass: a compiled backward needs the spectral norms' vectors, which a second pass would update
        loss, _ = self.losses(*self.critic(torch.cat([real, generated])).chunk(2))
        of_critic.zero_grad()
        self.manual_backward(loss)
        of_critic.step()
        self.add_up(critic_loss=loss)
        total = loss.detach()
        if (batch_idx + 1) % self.critic_steps == 0:
            self.critic.requires_grad_(False)  # only the generator needs gradients
            loss = -self.critic(self.generator(self.training_noise(len(real), batch_idx, 1))).mean()
            of_generator.zero_grad()
            self.manual_backward(loss)
            of_generator.step()
            for parameter in self._critic_parameters:
                parameter.requires_grad_(True)
            self.add_up(generator_loss=loss)
            total = total + loss.detach()
            schedule_of_generator.step()
        schedule_of_critic.step()
        return {"loss": total}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        images = batch["image"]
        if len(images):
            generated = self.generator(self.validation_noise(batch["position"]))
            real = to_signed(images, generated.dtype)
            self.gap.update(self.critic(real).mean() - self.critic(generated).mean(), len(images))

    def on_validation_epoch_end(self) -> None:
        self.log("val/critic_gap", self.gap.compute())
        self.gap.reset()

    def configure_optimizers(self) -> Any:
        # frozen features stay frozen when the critic's gradients are switched on again
        self._critic_parameters = [p for p in self.critic.parameters() if p.requires_grad]
        steps = int(self.trainer.estimated_stepping_batches)  # the critic's
        configured = [
            self.build_optimizer(self.generator, steps // self.critic_steps),
            self.build_optimizer(self.critic, steps),
        ]
        return [c["optimizer"] for c in configured], [c["lr_scheduler"] for c in configured]
