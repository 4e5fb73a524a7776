"""Previews while a generator trains: a picture of its samples, and their FID."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import UInt8
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import Logger
from torch import Tensor

from lfiw.data.batches import mix_seeds
from lfiw.data.image_files import sample_grid
from lfiw.features import Extractor, FeatureOptions, build_extractor
from lfiw.generators.generative_module import GenerativeModule
from lfiw.metrics.frechet import FrechetReference
from lfiw.training import tracking

BATCH = 100


class SampleGrid(Callback):
    """Draws a picture from the same noise after some epochs, by the averaged weights if there are any.

    Args:
        folder: for the pictures.
        num: samples per picture.
        every: epochs between pictures.
        loggers: also get the pictures.
    """

    def __init__(self, folder: Path, num: int, every: int, loggers: Sequence[Logger]) -> None:
        self.folder, self.num, self.every, self.loggers = folder, num, every, loggers

    # during validation the module has the averaged weights
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not is_due(trainer, self.every) or not trainer.is_global_zero:
            return
        images = draw(pl_module, self.num, seed=0)
        file = sample_grid(images, self.folder / f"epoch-{trainer.current_epoch:04d}.png")
        tracking.log_pictures(self.loggers, {"samples": file})


class FidOfSamples(Callback):
    """Logs `val/fid` of some samples against 10,000 training images, in the features of an extractor.

    It shows a trend, not a result: FID of few samples is biased upward.
    """

    NUM_REAL = 10_000

    def __init__(self, extractor: str, options: FeatureOptions, num: int, every: int) -> None:
        self.extractor, self.options, self.num, self.every = extractor, options, num, every
        self._reference: FrechetReference | None = None
        self._net: Extractor | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Finds the extractor's weights before hours of training."""
        assert isinstance(pl_module, GenerativeModule)
        self._net = build_extractor(self.extractor, pl_module.shape, self.options)

    @torch.inference_mode()
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not is_due(trainer, self.every):
            return
        if self._reference is None:
            subset = trainer.datamodule.subsets["train"]  # type: ignore[attr-defined]
            rows = torch.arange(min(len(subset), self.NUM_REAL))
            parts = [subset.read(block, ["image"])["image"] for block in rows.split(BATCH)]
            self._reference = FrechetReference(self._features(parts, pl_module))
        images = [draw(pl_module, min(BATCH, self.num - start), seed=1 + start) for start in range(0, self.num, BATCH)]
        distance = self._reference.distance(self._features(images, pl_module))
        pl_module.log("val/fid", distance.float(), sync_dist=True)

    def _features(self, blocks: Sequence[Tensor], module: LightningModule) -> Tensor:
        assert self._net is not None
        net = self._net.to(module.device)
        return torch.cat([net(block.to(module.device))["features"].cpu() for block in blocks])


def is_due(trainer: Trainer, every: int) -> bool:
    """Whether a picture is due: every so many epochs and after the last, but not when a run is scored again."""
    epoch = trainer.current_epoch + 1
    return trainer.state.fn == "fit" and (epoch % every == 0 or epoch == trainer.max_epochs)


def draw(module: LightningModule, num: int, seed: int) -> UInt8[Tensor, "num c h w"]:
    assert isinstance(module, GenerativeModule)
    generators = [torch.Generator().manual_seed(mix_seeds(seed, row)) for row in range(num)]
    return module.sample_each(generators)["image"]
