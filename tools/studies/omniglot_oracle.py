"""An oracle of drawings: a classifier that saw every drawing of every target character."""

from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from lfiw.data import SampleCache
from lfiw.schemas import Optimizer, Trainer
from lfiw.tasks.augmentation.character_embedding import CharacterEmbedding, SourceDrawings
from lfiw.tasks.augmentation.likeness import SCALE
from lfiw.training.trainer import build_trainer, fit, last_checkpoint
from lfiw.untrusted import read_checkpoint

FOLDER = Path("runs") / "omniglot_oracle"
EPOCHS = 12


def oracle_log_ratio(target: Path, generated: SampleCache) -> Tensor:
    """Log-probability of the right character among those of the generated drawings."""
    oracle = trained_oracle(SampleCache(target))
    labels = generated["label"]
    classes, place = labels.unique(return_inverse=True)
    anchors = F.normalize(oracle.anchors.detach()[classes], dim=1)
    logits = SCALE * oracle.embedding.points(generated["image"]) @ anchors.T
    return logits.double().log_softmax(1)[torch.arange(len(labels)), place]


def trained_oracle(table: SampleCache) -> CharacterEmbedding:
    """Trains it once; labels are the anchors' rows."""
    data = SourceDrawings(table, table["label"].unique(), batch_size=128, augment="affine")
    module = CharacterEmbedding(
        table.column("image").shape,
        len(table["label"].unique()),
        width=64,
        features=128,
        mean=data.mean,
        std=data.std,
        optimizer=asdict(Optimizer(lr=4e-3, schedule="cosine")),
    )
    options = Trainer(accelerator="cpu", precision="bf16-mixed", max_epochs=EPOCHS, patience=0, progress=False)
    last = FOLDER / "last.ckpt"
    trainer = build_trainer(options, FOLDER, [], checkpoints=FOLDER, monitor="val/accuracy", mode="max")
    if not last.exists() or read_checkpoint(last, "cpu")["epoch"] + 1 < EPOCHS:
        fit(trainer, module, data, last_checkpoint(FOLDER, str(FOLDER) if last.exists() else None), "val/accuracy")
    module.load_state_dict(read_checkpoint(last, "cpu")["state_dict"])
    return module.eval()
