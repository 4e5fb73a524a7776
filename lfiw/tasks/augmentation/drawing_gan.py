"""DAGAN (Antoniou et al. 2017): the networks, their training, and the run that trains them."""

import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from pytorch_lightning.loggers import Logger
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.utils import save_image

from lfiw.cli import as_started
from lfiw.data import SampleCache
from lfiw.data.batches import mix_seeds
from lfiw.data.splits import Batch
from lfiw.errors import InputError
from lfiw.files import replacing, write_atomically
from lfiw.schemas import Config, DrawingSetsData
from lfiw.tasks.augmentation.drawing_sets import DrawingSetsDataModule
from lfiw.training import tracking
from lfiw.training.trained_module import TrainedModule
from lfiw.training.trainer import CHECKPOINTS, build_trainer, fit, last_checkpoint
from lfiw.untrusted import network_file

STRETCH = 0.02  # the sigmoid reaches this far beyond [0, 1] and is cut: paper is exactly 0, as in real drawings
LARGEST_SHIFT = 0.5  # of a pixel, in units of half the image's side
GROUPS = 8
SMALL = 0.02  # standard deviation of the initial weights that bend


class ModulatedBlock(nn.Module):
    """Residual block whose normalised features are scaled and shifted by the noise (FiLM, Perez et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, noise: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(GROUPS, inputs), nn.GroupNorm(GROUPS, outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.modulation = nn.Linear(noise, 2 * outputs)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        hidden = self.norm2(self.conv1(F.silu(self.norm1(x))))
        scale, shift = self.modulation(noise)[:, :, None, None].chunk(2, dim=1)
        return self.skip(x) + self.conv2(F.silu(hidden * (1 + scale) + shift))


class DrawingGenerator(nn.Module):
    """(drawing, noise) → another drawing of the same character.

    A U-Net reads the drawing. From its coarsest level, where the noise enters, comes a smooth field of displacements
    that bends the drawing; from its finest one what is added to the bent drawing's logits: strokes that end elsewhere,
    are thinner, or missing. The second starts at zero, the first small: training starts from slightly bent copies.

    Args:
        side: of the images, divisible by 4.
        width: channels of the finest level; doubled at each coarser one.
        noise: length of the noise vector, standard normal.
        bends: whether the given drawing is bent. Otherwise the finest level draws all of the ink, as in the paper.
    """

    def __init__(self, side: int, width: int, noise: int, bends: bool = True) -> None:
        super().__init__()
        self.side, self.noise, self.bends = side, noise, bends
        w1, w2, w3 = width, 2 * width, 4 * width
        self.style = nn.Sequential(nn.Linear(noise, w3), nn.SiLU(), nn.Linear(w3, w3), nn.SiLU())
        self.first = nn.Conv2d(1, w1, 3, padding=1)
        self.down1, self.down2 = ModulatedBlock(w1, w2, w3), ModulatedBlock(w2, w3, w3)
        self.middle = nn.ModuleList([ModulatedBlock(w3, w3, w3) for _ in range(2)])
        self.up2, self.up1 = ModulatedBlock(w3 + w2, w2, w3), ModulatedBlock(w2 + w1, w1, w3)
        if not bends:
            self.draw = nn.Conv2d(w1, 1, 3, padding=1)
            return
        self.bend = nn.Conv2d(w3, 2, 3, padding=1)
        self.affine = nn.Linear(w3, 6)
        self.redraw = nn.Conv2d(w1 + 1, 1, 3, padding=1)
        self.contrast = nn.Parameter(torch.tensor([8.0, -4.0]))
        for parameter in self.redraw.parameters():
            nn.init.zeros_(parameter)
        for layer in (self.bend, self.affine):
            for parameter in layer.parameters():
                nn.init.normal_(parameter, std=SMALL if parameter.ndim > 1 else 0.0)

    def forward(self, images: Float[Tensor, "n 1 h w"], noise: Float[Tensor, "n z"]) -> Float[Tensor, "n 1 h w"]:
        """Images in [0, 1], 1 = ink."""
        style = self.style(noise)
        level1 = self.first(images)
        level2 = self.down1(F.avg_pool2d(level1, 2), style)
        level3 = self.down2(F.avg_pool2d(level2, 2), style)
        for block in self.middle:
            level3 = block(level3, style)
        level2 = self.up2(torch.cat([F.interpolate(level3, scale_factor=2.0), level2], dim=1), style)
        if not self.bends:
            level1 = self.up1(torch.cat([F.interpolate(level2, scale_factor=2.0), level1], dim=1), style)
            return stretched(self.draw(level1))
        bent = F.grid_sample(images, self.grid(level3, style), padding_mode="zeros", align_corners=False)
        moved = F.grid_sample(level1, self.grid(level3, style), padding_mode="zeros", align_corners=False)
        level1 = self.up1(torch.cat([F.interpolate(level2, scale_factor=2.0), moved], dim=1), style)
        added = self.redraw(torch.cat([level1, bent], dim=1))
        return stretched(self.contrast[0] * bent + self.contrast[1] + added)

    def grid(self, level: Tensor, style: Tensor) -> Float[Tensor, "n h w 2"]:
        """Where in the given drawing each pixel's ink comes from, in −1 … 1: an affine map and smooth displacements."""
        theta = self.affine(style + level.mean((2, 3))).view(-1, 2, 3)
        theta = theta + torch.eye(2, 3, device=theta.device)
        straight = F.affine_grid(theta, [len(level), 1, self.side, self.side], align_corners=False)
        bend = F.interpolate(self.bend(level), size=self.side, mode="bicubic", align_corners=False)
        return straight + LARGEST_SHIFT * torch.tanh(bend).permute(0, 2, 3, 1)


def stretched(logits: Tensor) -> Tensor:
    """Ink in [0, 1], both ends within reach."""
    return ((1 + 2 * STRETCH) * torch.sigmoid(logits) - STRETCH).clamp(0, 1)


class DrawingCritic(nn.Module):
    """Drawings of one class, side by side as channels → one number, higher for real sets (no norm layers: the
    gradient penalty is per set).

    Args:
        drawings: in a set: the given one and the others.
        side: of the images.
        width: channels of the first layer; doubled twice.
    """

    def __init__(self, drawings: int, side: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(drawings, width, 5, 2, 2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 5, 2, 2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 5, 2, 2),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(4 * width * (-(-side // 8)) ** 2, 1),
        )

    def forward(self, drawings: Float[Tensor, "n drawings h w"]) -> Float[Tensor, " n"]:
        return self.layers(drawings).squeeze(1)


BETAS = (0.0, 0.9)  # Gulrajani et al. 2017, algorithm 1
GRID_ROWS, GRID_COLUMNS = 12, 6


class DaGan(TrainedModule):
    """A generator that answers a drawing with others of its class, and the critic that compares both with real sets.

    The critic sees the given drawing and several others at once. It can then reject answers that are all alike, or the
    given drawing again, without looking at any single one (packing, Lin et al. 2018); a critic of pairs lets the
    generator ignore its noise.

    A batch is one critic step; every `critic_steps`-th is followed by one of the generator, whose moving average is
    what is kept. For one process: DDP expects a gradient for every parameter in each step.

    Args:
        shape: (1, side, side) of a drawing.
        width, noise, bends, critic_width: of the networks (`lfiw.tasks.augmentation.drawing_gan`).
        set_size: drawings that the critic sees at once, at least 2.
        lr, critic_lr: learning rates of Adam.
        critic_steps: of the critic per step of the generator.
        penalty: λ of the gradient penalty λ(‖∇D‖ − 1)².
        ema_decay: of the generator's moving average, per generator step. If 0, the last weights are kept.
        seed: of the weights and the noise.
        grids: folder of the sample grids, one per epoch. If None, none is drawn.

    Raises:
        InputError: drawings that are not square, one channel, divisible by 4.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        width: int,
        noise: int,
        critic_width: int,
        set_size: int,
        lr: float,
        critic_lr: float,
        critic_steps: int,
        penalty: float,
        ema_decay: float,
        bends: bool = True,
        seed: int = 0,
        grids: Path | None = None,
    ) -> None:
        super().__init__()
        if len(shape) != 3 or shape[0] != 1 or shape[1] != shape[2] or shape[1] % 4:
            raise InputError(f"task=dagan takes drawings (1, n, n) with n divisible by 4, not {tuple(shape)}")
        self.automatic_optimization = False
        self.generator_options: dict[str, Any] = {"side": shape[1], "width": width, "noise": noise, "bends": bends}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.generator = DrawingGenerator(**self.generator_options)
            self.critic = DrawingCritic(set_size, shape[1], critic_width)
        self.average = deepcopy(self.generator).requires_grad_(False)
        self.set_size, self.critic_steps, self.penalty = set_size, critic_steps, penalty
        self.lr, self.critic_lr, self.ema_decay = lr, critic_lr, ema_decay
        self.seed, self.grids = seed, grids
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    updates: Tensor

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [
            torch.optim.Adam(self.generator.parameters(), lr=self.lr, betas=BETAS),
            torch.optim.Adam(self.critic.parameters(), lr=self.critic_lr, betas=BETAS),
        ]

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        of_generator, of_critic = self.optimizers()  # type: ignore[attr-defined]
        real = as_ink(batch["image"])
        is_last = (batch_idx + 1) % self.critic_steps == 0
        source = torch.Generator().manual_seed(mix_seeds(self.seed, int(batch["seed"])))
        with torch.set_grad_enabled(is_last):
            fake = self.answers(self.generator, real[:, :1], source)
        detached = fake.detach()
        gap = self.critic(real).mean() - self.critic(detached).mean()
        mix = torch.rand(len(real), 1, 1, 1, generator=source).to(real)
        penalty = self.penalty * gradient_penalty(self.critic, mix * real + (1 - mix) * detached)
        self.step(of_critic, penalty - gap)
        total = (penalty - gap).detach()
        if is_last:
            self.critic.requires_grad_(False)
            loss = -self.critic(fake).mean()
            self.step(of_generator, loss)
            total = total + loss.detach()
            self.critic.requires_grad_(True)
            self.update_average()
        self.add_up(critic_gap=gap, penalty=penalty)
        return {"loss": total}

    def step(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def answers(
        self, generator: nn.Module, given: Float[Tensor, "n 1 h w"], source: torch.Generator
    ) -> Float[Tensor, "n drawings h w"]:
        """The given drawings and what the generator makes of them, as the critic sees sets."""
        times = self.set_size - 1
        noise = torch.randn(len(given) * times, self.generator_options["noise"], generator=source).to(given)
        made = generator(given.repeat_interleave(times, 0), noise)
        return torch.cat([given, made.view(len(given), times, *given.shape[2:])], dim=1)

    def update_average(self) -> None:
        self.updates += 1
        # the first steps count less: a decay of 0.999 would remember the initial weights for thousands of steps
        decay = min(self.ema_decay, self.updates.item() / (10 + self.updates.item()))
        for kept, new in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            kept.lerp_(new.detach(), 1 - decay)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Logs, on classes that never trained, the critic's gap and how much drawings differ, as a share of ink."""
        real = as_ink(batch["image"])
        source = torch.Generator().manual_seed(self.seed)
        made = self.answers(self.average, real[:, :1], source)
        found = {"val/critic_gap": self.critic(real).mean() - self.critic(made).mean()}
        for suffix, sets in (("", made), ("_real", real)):
            found[f"val/difference_from_given{suffix}"] = difference(sets[:, 0], sets[:, 1])
            if self.set_size > 2:
                found[f"val/difference_of_two{suffix}"] = difference(sets[:, 1], sets[:, 2])
        self.log_dict(found, batch_size=len(real))
        if self.grids is not None:
            self.draw_grid(real, source)

    def draw_grid(self, real: Tensor, source: torch.Generator) -> None:
        """Draws one row per character: the given drawing, drawings of the generator, other real ones."""
        given = real[:GRID_ROWS, :1]
        noise = torch.randn(len(given) * GRID_COLUMNS, self.generator_options["noise"], generator=source).to(given)
        made = self.average(given.repeat_interleave(GRID_COLUMNS, 0), noise).view(len(given), -1, *given.shape[2:])
        rows = torch.cat([given, made, real[:GRID_ROWS, 1:]], dim=1)
        assert self.grids is not None
        with replacing(self.grids / f"epoch{self.current_epoch:04d}.png") as file:
            paper = 1 - rows.flatten(0, 1).unsqueeze(1)
            save_image(paper.repeat_interleave(2, 2).repeat_interleave(2, 3), file, nrow=rows.shape[1], padding=2)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["dagan"] = {"generator": self.generator_options}


def as_ink(drawings: UInt8[Tensor, "n drawings 1 h w"]) -> Float[Tensor, "n drawings h w"]:
    """0 … 255 to 0 … 1, drawings as channels."""
    return drawings.squeeze(2).float() / 255


def gradient_penalty(critic: nn.Module, between: Float[Tensor, "n drawings h w"]) -> Float[Tensor, ""]:
    """Mean of (‖∇D(x)‖ − 1)² at points between real and generated sets."""
    between = between.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


def difference(first: Float[Tensor, "n h w"], second: Float[Tensor, "n h w"]) -> Float[Tensor, ""]:
    """Mean absolute difference of two drawings as a share of the ink of both; 2 halves of no common pixel give 1."""
    return (first - second).abs().sum() / (first + second).sum()


GENERATOR = "generator.safetensors"
GRIDS = "grids"


def run(config: Config, run_dir: Path, loggers: Sequence[Logger]) -> tuple[dict[str, float], dict[str, Any]]:
    """Train; write generator.safetensors.

    Returns:
        What the training logged last, and the objects that made it: trainer, module, datamodule.

    Raises:
        InputError: options that do not go together, or a cache that cannot be read.
    """
    if not isinstance(config.data, DrawingSetsData):
        raise InputError(f"task=dagan needs data=sets, not {config.data.name}")
    if config.optimizer.schedule != "constant" or config.optimizer.compile or config.optimizer.weight_decay:
        raise InputError("task=dagan takes optimizer.schedule=constant, compile=false and weight_decay=0")
    if config.trainer.patience or config.trainer.gradient_clip:
        raise InputError("task=dagan has no loss to stop by: it takes trainer.patience=0 and gradient_clip=0")
    options = asdict(config.data)
    cache = options.pop("cache")
    del options["name"]
    task = asdict(config.task)
    del task["name"]
    datamodule = DrawingSetsDataModule(SampleCache(cache), set_size=config.task.set_size, seed=config.seed, **options)
    module = DaGan(
        datamodule.image_shape,
        lr=config.optimizer.lr,
        ema_decay=config.optimizer.ema_decay,
        seed=config.seed,
        grids=run_dir / GRIDS,
        **task,
    )
    trainer = build_trainer(config.trainer, run_dir, loggers, monitor=None)
    if trainer.world_size > 1:
        raise InputError("task=dagan trains in one process: trainer.devices=1 trainer.num_nodes=1")
    fit(trainer, module, datamodule, last_checkpoint(run_dir / CHECKPOINTS, config.resume))
    save_generator(run_dir / GENERATOR, module.average, module.generator_options)
    draw = f"python tools/cache_samples.py dagan --checkpoint {run_dir / GENERATOR} --drawings DIR --out DIR"
    print(as_started(draw))
    grids = sorted((run_dir / GRIDS).glob("*.png"))
    tracking.log_pictures(loggers, {"dagan/drawings": grids[-1]} if grids else {})
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return metrics, {"trainer": trainer, "module": module, "datamodule": datamodule}


def evaluate(config: Config, run_dir: Path, loggers: Sequence[Logger]) -> tuple[dict[str, float], dict[str, Any]]:
    """Refuses: a generator of drawings has no score of its own.

    Raises:
        InputError: always, naming what scores generated drawings.
    """
    raise InputError(
        f"{run_dir} trained a generator: put its drawings into a cache (tools/cache_samples.py dagan) and score those "
        "with experiment=images or experiment=omniglot"
    )


def save_generator(path: str | os.PathLike[str], generator: DrawingGenerator, options: Mapping[str, Any]) -> None:
    """Writes a generator whose arguments are `options`; no code, no pickle."""
    write_atomically(path, network_file("lfiw", {"generator": dict(options)}, generator.state_dict()))
