"""The progress bar of a run."""

import torch
from pytorch_lightning import LightningModule, Trainer
from torch.utils.data import DataLoader

from lfiw.trainers import ProgressBar, quiet


class Scored(LightningModule):
    def test_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        """Nothing to do with a batch."""

    def on_test_epoch_end(self) -> None:
        bar = self.trainer.progress_bar_callback
        assert isinstance(bar, ProgressBar)
        self.done = list(bar.track(iter("abc"), 3, "scores"))


def test_the_end_of_an_epoch_has_a_bar(tmp_path, capfd) -> None:
    """Beside Lightning's own, with how many are done and the time that is left."""
    quiet()
    module = Scored()
    trainer = Trainer(accelerator="cpu", logger=False, callbacks=[ProgressBar()], enable_model_summary=False,
                      enable_checkpointing=False, default_root_dir=tmp_path)  # fmt: skip
    trainer.test(module, DataLoader(torch.zeros(2, 1)), verbose=False)
    assert module.done == list("abc")
    text = capfd.readouterr().out
    assert "Testing" in text
    assert "scores" in text
    assert "3/3" in text


def test_where_no_bar_is_shown_all_is_done_the_same() -> None:
    assert list(ProgressBar().track([1, 2], 2, "scores")) == [1, 2]
