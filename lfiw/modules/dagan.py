"""Training a data augmentation GAN (Antoniou et al. 2017) by WGAN-GP (Gulrajani et al. 2017)."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torchvision.utils import save_image

from lfiw.data.batches import mix_seeds
from lfiw.data.mixed import Batch
from lfiw.errors import InputError
from lfiw.files import replacing
from lfiw.modules.trained import TrainedModule
from lfiw.nets.dagan import DrawingCritic, DrawingGenerator

BETAS = (0.0, 0.9)  # Gulrajani et al. 2017, algorithm 1
GRID_ROWS, GRID_COLUMNS = 12, 6


class DaGan(TrainedModule):
    """A generator that answers a drawing with others of its class, and the critic that compares both with real sets.

    The critic sees the given drawing and several others at once. Answers that are all alike, or the given drawing
    again, are then told from real sets without looking at any single one (packing, Lin et al. 2018); a critic of pairs
    lets the generator ignore its noise.

    A batch is one critic step; every `critic_steps`-th is followed by one of the generator, whose moving average is
    what is kept. For one process: DDP expects a gradient for every parameter in each step.

    Args:
        shape: (1, side, side) of a drawing.
        width, noise, critic_width: of the networks (`lfiw.nets.dagan`).
        set_size: drawings that the critic sees at once, at least 2.
        lr, critic_lr: learning rates of Adam.
        critic_steps: of the critic for one of the generator.
        penalty: λ of the gradient penalty λ(‖∇D‖ − 1)².
        ema_decay: of the generator's moving average, a generator step; 0: its last weights.
        seed: of the weights and the noise.
        grids: folder of the sample grids, one an epoch; none: not drawn.

    Raises:
        InputError: drawings that are not square, one channel, divisible by 4; or an option out of range.
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
        seed: int = 0,
        grids: Path | None = None,
    ) -> None:
        super().__init__()
        if len(shape) != 3 or shape[0] != 1 or shape[1] != shape[2] or shape[1] % 4:
            raise InputError(f"task=dagan takes drawings (1, n, n) with n divisible by 4, not {tuple(shape)}")
        if set_size < 2 or critic_steps < 1 or not 0 <= ema_decay < 1 or not penalty >= 0:
            raise InputError(
                f"task.set_size={set_size} must be at least 2, task.critic_steps={critic_steps} at least 1, "
                f"optimizer.ema_decay={ema_decay} in [0, 1) and task.penalty={penalty} at least 0"
            )
        if width < 1 or width % 8 or noise < 1 or critic_width < 1:
            raise InputError(
                f"task.width={width} must be a positive multiple of 8, task.noise={noise} and "
                f"task.critic_width={critic_width} at least 1"
            )
        self.automatic_optimization = False
        self.generator_options = {"side": shape[1], "width": width, "noise": noise}
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
        """On classes that never trained: how far the critic tells, and how much drawings differ, as a share of ink."""
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
        """A row a character: the given drawing, drawings of the generator, other real ones."""
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
