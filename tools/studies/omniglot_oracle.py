"""An oracle for drawings: a classifier that was trained on every drawing of every target character."""

from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from lfiw.data import SampleCache
from lfiw.schemas import Optimizer, Trainer
from lfiw.tasks.augmentation.character_embedding import SCALE, CharacterEmbedding, SourceDrawings
from lfiw.training.trainer import build_trainer, fit

FILE = Path("runs") / "omniglot_oracle" / "oracle.safetensors"


def oracle_log_ratio(target: Path, generated: SampleCache) -> Tensor:
    """Returns the oracle's log-probability of the right character, among those of the generated drawings."""
    oracle = trained_oracle(SampleCache(target))
    labels = generated["label"]
    classes, place = labels.unique(return_inverse=True)
    anchors = F.normalize(oracle.anchors.detach()[classes], dim=1)
    logits = SCALE * oracle.embedding.points(generated["image"]) @ anchors.T
    return logits.double().log_softmax(1)[torch.arange(len(labels)), place]


def trained_oracle(table: SampleCache) -> CharacterEmbedding:
    """Trains the oracle once, as experiment=omniglot_ratio trains its embedding; labels index the anchors."""
    classes = table["label"].unique()
    data = SourceDrawings(table, classes, classes, batch_size=128, augment="affine")
    module = CharacterEmbedding(
        table.column("image").shape,
        len(classes),
        width=64,
        features=128,
        mean=data.mean,
        std=data.std,
        optimizer=asdict(Optimizer(lr=4e-3, schedule="cosine")),
    )
    if not FILE.exists():
        options = Trainer(accelerator="cpu", precision="bf16-mixed", max_epochs=12, patience=0, progress=False)
        fit(build_trainer(options, FILE.parent, [], monitor=None), module, data)
        save_file({name: value.contiguous() for name, value in module.state_dict().items()}, FILE)
    module.load_state_dict(load_file(FILE))
    return module.eval()
