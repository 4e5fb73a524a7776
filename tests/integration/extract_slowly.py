"""Computes features of a cache, slowly: for a test that kills it. Arguments: the cache, seconds a batch."""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from lfiw.data import SampleCache
from lfiw.data.cache.column_writer import ColumnWriter
from lfiw.features import Pixels
from lfiw.features.extraction import extract
from lfiw.schemas import Trainer
from lfiw.training.trainer import build_trainer


class SlowPixels(Pixels):
    batch_size = 10

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        time.sleep(seconds)
        print(len(images), flush=True)
        return super().forward(images)


cache, seconds = SampleCache(Path(sys.argv[1])), float(sys.argv[2])
assert ColumnWriter.__init__.__kwdefaults__ is not None
ColumnWriter.__init__.__kwdefaults__["part_seconds"] = 0.0  # every batch is kept
with TemporaryDirectory() as folder:
    trainer = build_trainer(Trainer(accelerator="cpu", progress=False), Path(folder), [])
    extract(trainer, SlowPixels((1, 4, 4)).eval(), [cache], "image", batch_size=1000, num_workers=0)
