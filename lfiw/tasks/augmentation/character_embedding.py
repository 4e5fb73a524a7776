"""An embedding in which drawings of one character lie together, learned on source characters."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from pytorch_lightning import LightningDataModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lfiw.data.batches import BatchIndex, ShuffledBatches, TrainingLoader, batch_loader
from lfiw.data.splits import Batch, MixedRows, Subset, everything
from lfiw.data.table import Table, TensorTable
from lfiw.data.transforms import standardise
from lfiw.nets import build_net
from lfiw.schemas import Conv4
from lfiw.tasks.augmentation.drawing_sets import rows_of_classes
from lfiw.training.trained_module import TrainedModule, configure

SCALE = 20.0  # of the cosines in the softmax
ROWS = 1000  # embedded at once
KNOWN = 5  # drawings of each character in validation


class Embedding(nn.Module):
    """Drawings (uint8) → points of the unit sphere, by conv4.

    Args:
        shape: (channels, height, width).
        width: channels of the network; features: of the embedding.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, shape: tuple[int, ...], width: int, features: int) -> None:
        super().__init__()
        net = build_net(asdict(Conv4(width=width)), shape, outputs=features)
        self.net = net.to(memory_format=torch.channels_last)
        self.register_buffer("mean", torch.zeros(shape[0], 1, 1))
        self.register_buffer("std", torch.ones(shape[0], 1, 1))

    def forward(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n features"]:
        return F.normalize(self.net(standardise(images, self.mean, self.std)).float(), dim=1)

    @torch.inference_mode()
    def points(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n features"]:
        """Embeds without a gradient, in blocks, with the running statistics of the norm layers."""
        self.eval()
        return torch.cat([self(block) for block in images.split(ROWS)]).clone()


class CharacterEmbedding(TrainedModule):
    """Trains an embedding to tell source characters apart: a softmax over 20 × cosine to one anchor per character.

    Args:
        shape: of a drawing.
        num_classes: characters.
        mean, std: of the pixels, one per channel.
        optimizer: lr, weight_decay and schedule, as in `lfiw.schemas.Optimizer`.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        num_classes: int,
        *,
        width: int,
        features: int,
        mean: Tensor,
        std: Tensor,
        optimizer: Mapping[str, Any],
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.optimizer_options, self.seed = dict(optimizer), seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = Embedding(shape, width, features)
            # short: the longer an anchor, the less a step turns it
            self.anchors = nn.Parameter(0.1 * torch.randn(num_classes, features))
        self.embedding.mean.copy_(mean.view(-1, 1, 1))
        self.embedding.std.copy_(std.view(-1, 1, 1))

    def forward(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        return SCALE * self.embedding(images) @ F.normalize(self.anchors, dim=1).T

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch["image"]).float(), batch["label"])
        self.add_up(loss=loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Logs the share of drawings whose nearest mean, of five each, is their character's; of others than train."""
        points, labels = self.embedding(batch["image"]), batch["label"]
        known = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
        for label in labels.unique():
            known[(labels == label).nonzero()[:KNOWN, 0]] = True
        sums = torch.zeros(int(labels.max()) + 1, points.shape[1], device=points.device)
        means = F.normalize(sums.index_add(0, labels[known], points[known]), dim=1)
        right = (points[~known] @ means.T).argmax(1) == labels[~known]
        self.log("val/accuracy", right.float().mean(), batch_size=len(right), sync_dist=True)

    def configure_optimizers(self) -> Any:
        return configure(self, self, self.optimizer_options)


class SourceDrawings(LightningDataModule):
    """All drawings of some characters for training, and those of others to validate.

    Args:
        table: with `image` and `label`.
        classes, validation: labels of the characters.
        augment: name in `lfiw.schemas.AUGMENTATIONS`.
    """

    def __init__(
        self,
        table: Table,
        classes: Int64[Tensor, " k"],
        validation: Int64[Tensor, " v"],
        *,
        batch_size: int,
        augment: str,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.drawings, self.validation = drawings_of(table, classes), drawings_of(table, validation)
        pixels = self.drawings.column("image").float()
        self.mean, self.std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))
        self.batch_size, self.augment, self.seed = batch_size, augment, seed

    def train_dataloader(self) -> DataLoader[Batch]:
        rows = MixedRows([self.drawings], ["image", "label"], self.augment)
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        batches = ShuffledBatches(
            len(rows), batch_size=self.batch_size, seed=self.seed, rank=rank, world_size=world_size
        )
        return TrainingLoader(rows, batches)

    def val_dataloader(self) -> DataLoader[Batch]:
        """One batch, the same for every process."""
        rows = MixedRows([self.validation], ["image", "label"])
        return batch_loader(rows, [BatchIndex(torch.arange(len(rows)))])


def drawings_of(table: Table, classes: Int64[Tensor, " k"]) -> Subset:
    """Drawings of some characters in memory, class by class, labelled 0 … k − 1."""
    rows = rows_of_classes(table["label"])
    of_classes = [rows[label] for label in classes.tolist()]
    labels = torch.arange(len(classes)).repeat_interleave(torch.tensor([len(chosen) for chosen in of_classes]))
    images = table.read(torch.cat(of_classes), ["image"])["image"]
    return everything(TensorTable({"image": images, "label": labels}))
