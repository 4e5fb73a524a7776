"""Generators: PixelCNN++ sampled with kept activations against naively, and training steps against bare loops."""

import time
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning import Trainer as LightningTrainer
from torch import Tensor
from torch.nn import functional as F

from lfiw import logistic_mixture
from lfiw.data import TensorTable
from lfiw.data.real import RealDataModule
from lfiw.modules.gan import GAN
from lfiw.modules.generative import GenerativeModule, build_generative
from lfiw.modules.vae import VAEModule
from lfiw.nets import pixelcnn_sampling
from lfiw.nets.pixelcnn import PixelCNN
from lfiw.nets.vae import draw
from lfiw.schemas import SNGAN, VAE, Optimizer, Trainer
from lfiw.tracking import JsonLines
from lfiw.trainers import build_trainer, fit

from .measure import Row, compare, interleave, seconds_each

SHAPE = (3, 32, 32)
PIXELS = 32 * 32
BATCH = 32


def run_pixelcnn(rounds: int) -> list[Row]:
    """Sixteen images at a time; naive: a pass through the whole network for each pixel, of which one is timed."""
    torch.manual_seed(0)
    net = PixelCNN(SHAPE, width=32, blocks=2, levels=2, mixtures=5, dropout=0.0).eval()
    images, uniforms = torch.zeros(16, *SHAPE), torch.rand(16, 8, 32, 32)

    def whole() -> None:
        with torch.inference_mode():
            net(images)

    sides = {"ours": seconds_each(lambda: pixelcnn_sampling.sample(net, uniforms)), "naive": seconds_each(whole)}
    times = interleave(sides, rounds)
    naive = [seconds * PIXELS for seconds in times["naive"]]
    note = "16 images of 3×32×32, width 32; the samples are the same"
    peer = "the whole network for each pixel"
    return [compare("pixelcnn_sampling", peer, times["ours"], naive, unit="s", goal=20, note=note)]


def run_steps(rounds: int, steps: int = 10) -> list[Row]:
    """A training step of the trainer beside a bare PyTorch loop of the same networks."""
    nets = (SNGAN(width=32, critic_width=32), VAE(width=16, latent=32))
    return [time_training(asdict(net), rounds, steps) for net in nets]


def time_training(net: dict[str, Any], rounds: int, steps: int) -> Row:
    module = build_generative(net, SHAPE, asdict(Optimizer(weight_decay=0.0)), 0)
    images = torch.randint(256, (2 * steps * BATCH, *SHAPE), dtype=torch.uint8)
    data = RealDataModule(TensorTable({"image": images}), validation=0.5, batch_size=BATCH)
    alternation = Alternation()
    options = Trainer(accelerator="cpu", max_epochs=rounds + 1, patience=0, progress=False)
    with TemporaryDirectory() as folder:
        loggers = [JsonLines(Path(folder) / "metrics.jsonl")]
        trainer = build_trainer(options, Path(folder), loggers, callbacks=[alternation], monitor=module.monitor)
        fit(trainer, module, data, monitor=module.monitor)
    return compare(
        f"{net['name']}_step",
        "a bare PyTorch loop: same loader, networks, losses and AdamW",
        alternation.ours[1:],  # the first epoch warms up
        alternation.theirs[1:],
        unit="ms/step",
        goal=0.95,
        note=f"batch {BATCH} of {SHAPE}, epochs of {steps} steps",
    )


class Alternation(Callback):
    """Before each epoch of the trainer, the same epoch by the bare loop; notes the seconds a step of both."""

    def __init__(self) -> None:
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self._start = 0.0

    def on_train_start(self, trainer: LightningTrainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GenerativeModule)
        self.loader = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
        # the trainer of the module is not copied
        owner, pl_module._trainer = pl_module._trainer, None
        self.module = deepcopy(pl_module)
        pl_module._trainer = owner
        parts = (self.module.generator, self.module.critic) if isinstance(self.module, GAN) else (self.module,)
        self.optimizers = [torch.optim.AdamW(part.parameters(), lr=1e-3, weight_decay=0.0) for part in parts]

    def on_train_epoch_start(self, trainer: LightningTrainer, pl_module: LightningModule) -> None:
        self.loader.sampler.set_epoch(trainer.current_epoch)
        start = time.perf_counter()
        step = self._gan if isinstance(self.module, GAN) else self._vae
        for i, batch in enumerate(self.loader):
            step(i, logistic_mixture.to_signed(batch["image"], torch.float32), batch["image"])
        self.theirs.append((time.perf_counter() - start) / len(self.loader))
        self._start = time.perf_counter()

    def on_validation_start(self, trainer: LightningTrainer, pl_module: LightningModule) -> None:
        self.ours.append((time.perf_counter() - self._start) / int(trainer.num_training_batches))

    def _gan(self, i: int, real: Tensor, _: Tensor) -> None:
        module, (of_generator, of_critic) = self.module, self.optimizers
        assert isinstance(module, GAN)
        with torch.no_grad():
            generated = module.generator(torch.randn(len(real), module.latent))
        of_real, of_generated = module.critic(torch.cat([real, generated])).chunk(2)
        loss = F.relu(1 - of_real).mean() + F.relu(1 + of_generated).mean()
        of_critic.zero_grad()
        loss.backward()
        of_critic.step()
        if (i + 1) % module.critic_steps == 0:
            module.critic.requires_grad_(False)
            loss = -module.critic(module.generator(torch.randn(len(real), module.latent))).mean()
            of_generator.zero_grad()
            loss.backward()
            of_generator.step()
            module.critic.requires_grad_(True)

    def _vae(self, _: int, x: Tensor, images: Tensor) -> None:
        module, (optimizer,) = self.module, self.optimizers
        assert isinstance(module, VAEModule)
        mean, log_variance = module.encoder(x)
        parameters = module.decoder(draw(mean, log_variance, torch.randn_like(mean)))
        likelihood = logistic_mixture.log_prob(parameters, images).sum((1, 2))
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
        optimizer.zero_grad()
        (divergence - likelihood).mean().backward()
        optimizer.step()
