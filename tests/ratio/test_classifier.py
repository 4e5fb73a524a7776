"""The ratio classifier: where the exact ratio is known, and from a checkpoint."""

import dataclasses
import inspect
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning
import sklearn.metrics
import torch
from torch import Tensor

from lfiw import InputError, RatioClassifier
from lfiw.data import TensorTable
from lfiw.ratio.classifier import write_calibrator
from lfiw.ratio.cross_fitting import train_classifier
from lfiw.ratio.mixed import MixedDataModule
from lfiw.schemas import Trainer
from lfiw.training.trainer import build_trainer, fit, quiet
from lfiw.weighting.calibration import Beta, fit_calibrator
from lfiw.weighting.losses import LOSSES

MLP = {"name": "mlp", "width": 32, "depth": 1, "dropout": 0.0, "activation": "silu"}
SHIFT = 1.0  # N((1, 0), I) against N(0, I): log-ratio x₁ − ½
SPLITS = {"train": 0.8, "validation": 0.2, "evaluation": 0.0}


def gaussians(num_real: int, num_generated: int) -> dict[str, TensorTable]:
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(num_real, 2, generator=generator) + torch.tensor([SHIFT, 0.0])
    return {
        "real": TensorTable({"x": real}),
        "generated": TensorTable({"x": torch.randn(num_generated, 2, generator=generator)}),
    }


@dataclasses.dataclass
class Run:
    folder: Path
    classifier: RatioClassifier
    data: MixedDataModule
    trainer: Any


def train(
    folder: Path, tables: dict[str, TensorTable], *, net: Any = None, optimizer: Any = None, epochs: int = 3,
    precision: str = "32-true", column: str = "x", loss: Any = None, **options: Any,
) -> Run:  # fmt: skip
    data = MixedDataModule(**tables, input=column, fractions=SPLITS, **options)
    classifier = RatioClassifier(net or MLP, optimizer, loss=loss)
    chosen = Trainer(accelerator="cpu", max_epochs=epochs, progress=False, precision=precision)
    trainer = build_trainer(chosen, folder, [], ema_decay=(optimizer or {}).get("ema_decay", 0.0))
    fit(trainer, classifier, data)
    return Run(folder, classifier, data, trainer)


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tmp_path_factory.mktemp("balanced"), gaussians(2500, 10_000), epochs=6, optimizer={"lr": 0.003})


@pytest.fixture(scope="module")
def natural(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("natural")
    return train(folder, gaussians(2500, 10_000), epochs=8, optimizer={"lr": 0.003}, mixing="natural")


def covered() -> Tensor:
    """Points that both sides reach often."""
    x = torch.randn(2000, 2, generator=torch.Generator().manual_seed(1)) + torch.tensor([SHIFT / 2, 0.0])
    return x[(x - torch.tensor([SHIFT / 2, 0.0])).norm(dim=1) < 1.5]


def exact(x: Tensor) -> Tensor:
    return SHIFT * x[:, 0].double() - SHIFT**2 / 2


@pytest.mark.parametrize("name", ["balanced", "natural"])
def test_learns_a_known_ratio(name: str, request: pytest.FixtureRequest) -> None:
    x = covered()
    error = request.getfixturevalue(name).classifier.log_ratio(x) - exact(x)
    # 2,000 real training rows: a slope and an offset alone have standard errors near 0.04; a small network twice that
    assert error.square().mean().sqrt() < 0.2
    assert error.mean().abs() < 0.12  # γ left out would be log 4 = 1.39


def test_prior_odds_are_taken_out_of_natural_mixing(balanced: Run, natural: Run) -> None:
    assert (balanced.classifier.counts, natural.classifier.counts) == ((1, 1), (2000, 8000))
    x = covered()
    gap = natural.classifier.log_ratio(x) - balanced.classifier.log_ratio(x)
    assert gap.mean().abs() < 0.12
    assert gap.square().mean().sqrt() < 0.25


@pytest.mark.parametrize("mixing", ["balanced", "natural"])
@pytest.mark.parametrize("name", [name for name in LOSSES if name != "logistic"])
def test_another_loss(name: str, mixing: str, tmp_path: Path) -> None:
    loss = {"name": name, **({"alpha": 0.2} if name == "relative" else {})}
    run = train(tmp_path, gaussians(2500, 10_000), epochs=5, optimizer={"lr": 0.003}, mixing=mixing, loss=loss)
    best = RatioClassifier.load(tmp_path)
    assert best.loss_options == loss
    x = covered()
    error = best.log_ratio(x) - exact(x)
    # least squares of the ratio rest on fewer rows than the logistic loss
    assert error.square().mean().sqrt() < 0.3
    assert error.mean().abs() < 0.2  # γ taken out where it is not in would be log 4 = 1.39
    logged = run.trainer.checkpoint_callback.best_model_score.item()
    assert log_loss(best, run.data) == pytest.approx(logged, rel=1e-5)
    last = RatioClassifier.load(tmp_path / "checkpoints" / "last.ckpt")
    assert torch.equal(last.log_ratio(x), run.classifier.log_ratio(x))


def test_a_checkpoint_without_a_loss_is_of_the_logistic_one(balanced: Run, tmp_path: Path) -> None:
    checkpoint = torch.load(balanced.folder / "checkpoints" / "last.ckpt", weights_only=True)
    del checkpoint["classifier"]["loss"]
    torch.save(checkpoint, tmp_path / "old.ckpt")
    old = RatioClassifier.load(tmp_path / "old.ckpt")
    assert old.loss_options == {"name": "logistic"}
    assert torch.equal(old.log_ratio(covered()), balanced.classifier.log_ratio(covered()))


@pytest.mark.parametrize("name", ["temperature", "beta", "isotonic"])
def test_a_checkpoint_keeps_its_calibrator(balanced: Run, tmp_path: Path, name: str) -> None:
    file = tmp_path / "best.ckpt"
    shutil.copyfile(balanced.folder / "checkpoints" / "best.ckpt", file)
    plain = RatioClassifier.load(file)
    sides = (plain.log_ratio(s.column("x")) for s in balanced.data.splits["validation"])
    calibrator = fit_calibrator(name, *sides)
    write_calibrator(file, calibrator)
    calibrated = RatioClassifier.load(file)
    x = covered()
    assert torch.equal(calibrated.log_ratio(x), calibrator(plain.log_ratio(x)))
    assert not torch.equal(calibrated.log_ratio(x), plain.log_ratio(x))
    write_calibrator(file, None)
    assert torch.equal(RatioClassifier.load(file).log_ratio(x), plain.log_ratio(x))


def test_calibration_comes_after_the_prior_odds(natural: Run) -> None:
    classifier, x = RatioClassifier.load(natural.folder), covered()
    plain = classifier.log_ratio(x)
    classifier.calibrator = Beta(0.5, 2.0, 1.0)
    # by the formula, of the ratio and not of the odds of the training rows
    p = plain.sigmoid()
    torch.testing.assert_close(classifier.log_ratio(x), 1 + 0.5 * p.log() - 2 * (1 - p).log())
    # what validation and prediction see stays as trained
    batch = {"x": x}
    torch.testing.assert_close(classifier.predict_step(batch, 0)["log_ratio"], plain)


def test_a_checkpoint_gives_the_same_log_ratio(balanced: Run) -> None:
    x = covered()
    last = RatioClassifier.load(balanced.folder / "checkpoints" / "last.ckpt")
    assert torch.equal(last.log_ratio(x), balanced.classifier.log_ratio(x))
    assert not last.training
    assert not any(p.is_meta for p in last.parameters())
    assert (last.spec, last.counts) == (balanced.classifier.spec, balanced.classifier.counts)
    assert last.log_ratio(x).dtype == torch.float64


def log_loss(classifier: RatioClassifier, data: MixedDataModule) -> float:
    real, generated = (classifier.log_ratio(s.column(data.input)).numpy() for s in data.splits["validation"])
    labels = np.r_[np.ones(len(real)), np.zeros(len(generated))]
    sides = np.r_[np.full(len(real), 1 / len(real)), np.full(len(generated), 1 / len(generated))]
    return sklearn.metrics.log_loss(labels, 1 / (1 + np.exp(-np.r_[real, generated])), sample_weight=sides)


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "moving average": {"optimizer": {"ema_decay": 0.9}},
    "cosine": {"optimizer": {"schedule": "cosine", "lr": 0.01}},
    "spectral norm": {"net": {**MLP, "spectral_norm": True}},
    "spectral norm, moving average": {"net": {**MLP, "spectral_norm": True}, "optimizer": {"ema_decay": 0.9}},
    "dropout": {"net": {**MLP, "dropout": 0.5}},
    "64 bits": {"precision": "64-true"},
    "workers": {"num_workers": 2},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_best_checkpoint_scores_what_was_logged(name: str, tmp_path: Path) -> None:
    run = train(tmp_path, gaussians(400, 400), **OPTIONS[name])
    best = run.trainer.checkpoint_callback.best_model_score.item()
    # the same rows in other batches: float32 rounding
    assert log_loss(RatioClassifier.load(tmp_path), run.data) == pytest.approx(best, rel=1e-5)
    assert best < 0.75


def test_averaged_weights_have_the_spectral_norm_asked_for(tmp_path: Path) -> None:
    """Singular vectors must not be averaged: of a fast changing network their means are short, and W/σ too large."""
    optimizer = {"ema_decay": 0.98, "lr": 0.1, "weight_decay": 0.0}
    train(tmp_path, gaussians(4000, 4000), net={**MLP, "spectral_norm": True}, optimizer=optimizer, epochs=4)
    net = RatioClassifier.load(tmp_path).net
    norms = [torch.linalg.matrix_norm(m.weight, 2).item() for m in net.modules() if isinstance(m, torch.nn.Linear)]
    assert len(norms) == 2
    assert max(norms) < 1.1


@pytest.mark.parametrize("name", LOSSES)
def test_bf16(name: str, tmp_path: Path) -> None:
    options = {"precision": "bf16-mixed", "optimizer": {"lr": 0.01}, "loss": {"name": name}}
    run = train(tmp_path, gaussians(400, 400), **options)
    best = run.trainer.checkpoint_callback.best_model_score.item()
    # half precision is for training: log-ratios are not rounded to its 8 bits
    assert log_loss(RatioClassifier.load(tmp_path), run.data) == pytest.approx(best, rel=1e-5)
    assert best < 0.68


def test_cosine_ends_at_zero(tmp_path: Path) -> None:
    run = train(tmp_path, gaussians(400, 400), optimizer={"schedule": "cosine", "lr": 0.01})
    assert run.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_weight_decay_of_matrices_alone(balanced: Run) -> None:
    groups = balanced.trainer.optimizers[0].param_groups
    assert [(g["weight_decay"], {p.ndim for p in g["params"]}) for g in groups] == [(0.01, {2}), (0.0, {1})]


@pytest.mark.slow
def test_compile(tmp_path: Path) -> None:
    run = train(tmp_path, gaussians(400, 400), optimizer={"compile": True})
    best = run.trainer.checkpoint_callback.best_model_score.item()
    assert log_loss(RatioClassifier.load(tmp_path), run.data) == pytest.approx(best, rel=1e-4)


def test_images(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(top, (120, 1, 8, 8), dtype=torch.uint8, generator=generator) for top in (256, 200)]
    tables = dict(zip(("real", "generated"), (TensorTable({"image": i}) for i in images), strict=True))
    net = {"name": "conv4", "width": 8, "dropout": 0.1}
    run = train(tmp_path, tables, net=net, column="image", epochs=2, batch_size=32, augment="crop_flip")
    best = run.trainer.checkpoint_callback.best_model_score.item()
    assert log_loss(RatioClassifier.load(tmp_path), run.data) == pytest.approx(best, rel=1e-4)


def test_seed_alone_decides(tmp_path: Path) -> None:
    ratios = []
    for i, seed in enumerate((1, 1, 2)):
        torch.manual_seed(i)
        run = train(tmp_path / str(i), gaussians(100, 100), epochs=1, seed=seed, batch_size=32)
        ratios.append(run.classifier.log_ratio(covered()))
    assert torch.equal(ratios[0], ratios[1])
    assert not torch.equal(ratios[0], ratios[2])


def test_scoring_leaves_the_module_as_it_was(balanced: Run) -> None:
    classifier = RatioClassifier.load(balanced.folder).train()
    x = covered()
    kept = x.clone()
    many = classifier.log_ratio(x.repeat(3, 1))  # more than a block
    assert classifier.training
    assert torch.equal(x, kept)
    torch.testing.assert_close(many[: len(x)], classifier.log_ratio(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (torch.zeros(3), r"expected shape \(n, 2\), got \(3,\)"),
        (torch.zeros(3, 3), r"expected shape \(n, 2\), got \(3, 3\)"),
        (torch.zeros(3, 2, 1), r"expected shape \(n, 2\)"),
        (torch.zeros(0, 2), r"expected shape \(n, 2\), got \(0, 2\)"),
        (torch.zeros(()), r"expected shape \(n, 2\), got \(\)"),
        (torch.zeros(3, 2, dtype=torch.int64), "expected torch.float32 as in training, got torch.int64"),
        (torch.zeros(3, 2, dtype=torch.uint8), "got torch.uint8"),
        (torch.tensor([[0.0, float("nan")]]), "NaN or infinite"),
        (torch.tensor([[0.0, float("inf")]]), "NaN or infinite"),
    ],
)
def test_bad_samples(balanced: Run, samples: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        inspect.unwrap(RatioClassifier.log_ratio)(balanced.classifier, samples)


def test_before_training() -> None:
    with pytest.raises(InputError, match="no network yet"):
        RatioClassifier(MLP).log_ratio(torch.zeros(1, 2))


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ({"lr": 1e30}, r"training diverged in epoch 0 \(logits: .*\): lower optimizer\.lr"),
        ({"lr": -1.0}, "optimizer: Invalid learning rate"),
        ({"weight_decay": -1.0}, "optimizer: Invalid weight_decay"),
        ({"schedule": "step"}, r"optimizer\.schedule=step: expected one of constant, cosine, linear"),
    ],
)
def test_bad_optimizers(tmp_path: Path, optimizer: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train(tmp_path, gaussians(100, 100), optimizer=optimizer)


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('code was run')",))


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save({"classifier": Malicious()}, tmp_path / "torch.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Malicious()))
    (tmp_path / "empty.ckpt").write_bytes(b"")
    for name in ("torch", "plain", "empty"):
        with pytest.raises(InputError, match=rf"{name}\.ckpt cannot be read as a checkpoint: .") as error:
            RatioClassifier.load(tmp_path / f"{name}.ckpt")
        assert "\n" not in str(error.value)


CHANGES: dict[str, Any] = {
    "no state": lambda c: c.pop("state_dict"),
    "empty state": lambda c: c.update(state_dict={}),
    "state is a number": lambda c: c.update(state_dict=3),
    "no options": lambda c: c.update(classifier={"kind": "lfiw.RatioClassifier"}),
    "other width": lambda c: c["classifier"]["net"].update(width=7),
    "other net": lambda c: c["classifier"]["net"].update(name="foo"),
    "no shape": lambda c: c["classifier"]["spec"].pop("shape"),
    "other loss": lambda c: c["classifier"].update(loss={"name": "hinge"}),
    "other calibrator": lambda c: c["classifier"].update(calibrator={"name": "temperature"}),
    "no counts": lambda c: c["classifier"].update(counts=None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_checkpoint_that_lacks_something(balanced: Run, tmp_path: Path, change: str) -> None:
    checkpoint = torch.load(balanced.folder / "checkpoints" / "best.ckpt", weights_only=True)
    CHANGES[change](checkpoint)
    torch.save(checkpoint, tmp_path / "x.ckpt")
    with pytest.raises(InputError, match=r"x\.ckpt does not hold a whole ratio classifier: .") as error:
        RatioClassifier.load(tmp_path / "x.ckpt")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [{"state_dict": {}}, {"classifier": {"kind": "other"}}, {"classifier": 3}, [1], 3])
def test_a_checkpoint_of_something_else(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(InputError, match="is not a checkpoint of a ratio classifier"):
        RatioClassifier.load(tmp_path / "x.ckpt")


def test_no_checkpoint(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.ckpt"):
        with pytest.raises(InputError, match="does not exist: give a run folder of a finished run, or a checkpoint"):
            RatioClassifier.load(path)


def plain_trainer(folder: Path, **options: Any) -> Any:
    """Lightning's own, as in a user's script."""
    quiet()
    return pytorch_lightning.Trainer(
        accelerator="cpu", max_epochs=6, logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder, **options,
    )  # fmt: skip


def test_trains_on_arrays_in_a_users_own_trainer(tmp_path: Path) -> None:
    sides = {name: table["x"].numpy() for name, table in gaussians(2500, 2500).items()}
    data = MixedDataModule(**sides)
    best = pytorch_lightning.callbacks.ModelCheckpoint(tmp_path, monitor="val/log_loss")
    trainer = plain_trainer(tmp_path, callbacks=[best])
    classifier = RatioClassifier("mlp", {"lr": 0.003})
    trainer.fit(classifier, data)
    loaded = RatioClassifier.load(best.best_model_path)
    x = covered()
    for trained in (classifier, loaded):
        assert np.corrcoef(trained.log_ratio(x), exact(x))[0, 1] > 0.97
    assert loaded.net_options == {"name": "mlp"}


class Sine(torch.nn.Module):
    """A user's network; it gives (n,)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = torch.nn.Linear(2, 16), torch.nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).sin()).squeeze(1)


@pytest.mark.parametrize("net", [Sine(), lambda shape: Sine()], ids=["module", "function"])
def test_a_network_of_ones_own(net: Any, tmp_path: Path) -> None:
    run = train(tmp_path, gaussians(400, 400), net=net, optimizer={"lr": 0.01})
    parameters = sum(p.numel() for p in run.classifier.parameters())
    assert parameters == sum(p.numel() for p in Sine().parameters())  # held once
    with pytest.raises(InputError, match=r"its network is not one of lfiw's: give it as load\(path, net=…\)"):
        RatioClassifier.load(tmp_path)
    last = RatioClassifier.load(tmp_path / "checkpoints" / "last.ckpt", net=Sine())
    assert torch.equal(last.log_ratio(covered()), run.classifier.log_ratio(covered()))
    with pytest.raises(InputError, match="does not hold a whole ratio classifier"):
        RatioClassifier.load(tmp_path, net=torch.nn.Linear(2, 1))


def test_in_memory_it_is_left_as_in_its_best_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same training with and without a run folder."""
    monkeypatch.chdir(tmp_path)
    options: dict[str, Any] = {
        "net": MLP, "optimizer": {"lr": 0.03}, "loss": {"name": "logistic"}, "seed": 0,
        "options": Trainer(accelerator="cpu", max_epochs=8, progress=False),
    }  # fmt: skip

    def data() -> MixedDataModule:
        return MixedDataModule(**gaussians(150, 150), input="x", fractions=SPLITS, batch_size=64)

    in_memory, _ = train_classifier(data(), **options)
    assert list(tmp_path.iterdir()) == []
    train_classifier(data(), run_dir=tmp_path / "run", **options)
    x = covered()
    best = RatioClassifier.load(tmp_path / "run")
    assert torch.equal(in_memory.log_ratio(x), best.log_ratio(x))
    last = RatioClassifier.load(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert not torch.equal(best.log_ratio(x), last.log_ratio(x))  # or the first says nothing
