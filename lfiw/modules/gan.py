"""SNGAN: a generator against a critic with spectral norm, under the hinge loss."""

from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric

from lfiw.data.mixed import Batch
from lfiw.errors import InputError
from lfiw.logistic_mixture import to_signed
from lfiw.modules.generative import GenerativeModule
from lfiw.nets.projected import ProjectedCritic
from lfiw.nets.sngan import SNGANCritic, SNGANGenerator

CRITICS = ("plain", "projected")


class GAN(GenerativeModule):
    """Every batch is one step of the critic, every `critic_steps`-th also one of the generator (Miyato et al. 2018).

    critic:    E_x[max(0, 1 − D(x))] + E_z[max(0, 1 + D(G(z)))]
    generator: −E_z[D(G(z))]

    Where the critic has several outputs, the means are over them too. There is no quantity whose lowest value would
    mark the best epoch; `val/critic_gap`, E[D(x)] − E[D(G(z))] on rows that did not train, grows where the critic wins.
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
        if critic not in CRITICS:
            raise InputError(f"model.critic={critic}: expected one of {', '.join(CRITICS)}")
        if critic_steps < 1:
            raise InputError(f"model.critic_steps={critic_steps} must be at least 1")
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
        """The critic's loss and the generator's, from the critic's outputs."""
        return F.relu(1 - of_real).mean() + F.relu(1 + of_generated).mean(), -of_generated.mean()

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        of_generator, of_critic = self.optimizers()  # type: ignore[attr-defined]
        schedule_of_generator, schedule_of_critic = self.lr_schedulers()  # type: ignore[misc]
        real = to_signed(batch["image"], self.generator.linear.weight.dtype)
        with torch.no_grad():
            generated = self.generator(self.training_noise(len(real), batch_idx, 0))
        # in one pass: a compiled one's backward needs the spectral norms' vectors, which a second pass would move on
        loss, _ = self.losses(*self.critic(torch.cat([real, generated])).chunk(2))
        of_critic.zero_grad()
        self.manual_backward(loss)
        of_critic.step()
        self.add_up(critic_loss=loss)
        total = loss.detach()
        if (batch_idx + 1) % self.critic_steps == 0:
            self.critic.requires_grad_(False)  # only the generator's gradients are wanted
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
        steps = int(self.trainer.estimated_stepping_batches)  # of the critic
        configured = [
            self.build_optimizer(self.generator, steps // self.critic_steps),
            self.build_optimizer(self.critic, steps),
        ]
        return [c["optimizer"] for c in configured], [c["lr_scheduler"] for c in configured]
