"""The generators that are trained here: bounds, steps, sampling by seeds, and what is kept."""

import itertools
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lfiw import InputError, RatioClassifier
from lfiw.data import TensorTable
from lfiw.generators import logistic_mixture
from lfiw.generators.gan import GAN
from lfiw.generators.generative_module import GenerativeModule, build_generative
from lfiw.generators.pixelcnn import PixelCNNModule
from lfiw.generators.real_images import RealDataModule
from lfiw.generators.vae import VAEModule
from lfiw.schemas import SNGAN, VAE, Optimizer, PixelCNN, Trainer
from lfiw.training.trainer import build_trainer, fit

SHAPE = (1, 8, 8)
NETS = {
    "sngan": SNGAN(latent=4, width=8, critic_width=8, critic_steps=2),
    "pixelcnn": PixelCNN(width=4, blocks=1, levels=2, mixtures=2, dropout=0.0),
    "vae": VAE(latent=3, width=8, mixtures=2),
}


def module_of(name: str, seed: int = 0, **changes: Any) -> GenerativeModule:
    return build_generative({**asdict(NETS[name]), **changes}, SHAPE, asdict(Optimizer(weight_decay=0.0)), seed)


def images(n: int = 60) -> Tensor:
    """Bright or dark halves with some noise."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 60, (n, *SHAPE), generator=generator)
    x[::2, :, :4] += 180
    return x.to(torch.uint8)


def train(name: str, folder: Path, epochs: int, resume: bool = False, ema: float = 0.5) -> GenerativeModule:
    module = module_of(name)
    options = Trainer(accelerator="cpu", max_epochs=epochs, progress=False, patience=0)
    trainer = build_trainer(options, folder, [], monitor=module.monitor, ema_decay=ema)
    data = RealDataModule(TensorTable({"image": images()}), batch_size=10, validation=0.2, augment="flip")
    fit(trainer, module, data, folder / "checkpoints/last.ckpt" if resume else None, module.monitor)
    return module


def test_the_elbo_is_below_the_likelihood() -> None:
    """With one latent number, log p(x) = log ∫ p(x|z) N(z) dz by quadrature: the bound and its weighted form."""
    module = module_of("vae", latent=1).double()
    assert isinstance(module, VAEModule)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter *= 1.5
        x = images(3)
        z = torch.linspace(-8, 8, 641, dtype=torch.float64)
        log_joint = torch.stack(
            [
                logistic_mixture.log_prob(module.decoder(z[:, None]), x[i : i + 1].expand(len(z), -1, -1, -1)).sum(
                    (1, 2)
                )
                for i in range(len(x))
            ]
        )
        prior = torch.distributions.Normal(0.0, 1.0).log_prob(z)
        exact = torch.logsumexp(log_joint + prior + math.log(z[1] - z[0]), dim=1)
        noise = torch.randn(800, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        for i in range(len(x)):
            one = x[i : i + 1].expand(len(noise), -1, -1, -1)
            likelihood, divergence = module.elbo(one, noise)
            bound = (likelihood - divergence).mean()
            error = likelihood.std() / len(noise) ** 0.5
            assert bound < exact[i] + 4 * error
            # E_q[p(x|z) N(z) / q(z|x)] = p(x): the same numbers, weighted, give the likelihood itself
            mean, log_variance = module.encoder(logistic_mixture.to_signed(one, torch.float64))
            drawn = mean + torch.exp(log_variance / 2) * noise
            q = torch.distributions.Normal(mean, torch.exp(log_variance / 2)).log_prob(drawn).squeeze(1)
            p = torch.distributions.Normal(0.0, 1.0).log_prob(drawn).squeeze(1)
            weighted = torch.logsumexp(likelihood + p - q, 0) - math.log(len(noise))
            assert weighted.item() == pytest.approx(exact[i].item(), abs=0.5)
            # the divergence in closed form is that of torch
            normal = torch.distributions.Normal(mean[:1], torch.exp(log_variance[:1] / 2))
            closed = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum()
            assert divergence[0].item() == pytest.approx(closed.item(), rel=1e-4)


def test_pixelcnn_likelihood_is_a_product_over_pixels() -> None:
    module = module_of("pixelcnn").eval()
    assert isinstance(module, PixelCNNModule)
    x = images(2)
    with torch.no_grad():
        parameters = module.net(logistic_mixture.to_signed(x, torch.float32))
        expected = [0.0, 0.0]
        for i, r, c in itertools.product(range(2), range(8), range(8)):
            here = (slice(i, i + 1), slice(None), slice(r, r + 1), slice(c, c + 1))
            expected[i] += logistic_mixture.log_prob(parameters[here], x[here]).item()
        torch.testing.assert_close(module.log_prob(x), torch.tensor(expected), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("name", NETS)
def test_a_sample_depends_on_its_own_seed_alone(name: str) -> None:
    module = module_of(name)

    def drawn(seeds: list[int]) -> Tensor:
        return module.sample_each([torch.Generator().manual_seed(seed) for seed in seeds])["image"]

    together = drawn([1, 2, 3, 4, 5])
    assert together.shape == (5, *SHAPE)
    assert together.dtype == torch.uint8
    assert torch.equal(together[[3, 1]], drawn([4, 2]))
    assert not torch.equal(together[0], together[1])
    assert module.training  # as it was
    with pytest.raises(InputError, match="without labels"):
        module.sample(2, torch.Generator(), torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize("name", NETS)
def test_trains_goes_on_where_it_was_stopped_and_is_kept(name: str, tmp_path: Path) -> None:
    whole = train(name, tmp_path / "whole", 3)
    train(name, tmp_path / "stopped", 1)
    resumed = train(name, tmp_path / "stopped", 3, resume=True)
    start = module_of(name).state_dict()
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[key], value, rtol=0, atol=0)
    assert any(not torch.equal(start[key], value) for key, value in whole.state_dict().items())

    loaded = GenerativeModule.load(tmp_path / "whole")
    seeds = [torch.Generator().manual_seed(seed) for seed in range(3)]
    expected = loaded.sample_each(seeds)["image"]
    if loaded.monitor is None:  # the last epoch, with its averaged weights: those the trainer leaves in the module
        again = [torch.Generator().manual_seed(seed) for seed in range(3)]
        assert torch.equal(whole.sample_each(again)["image"], expected)
    loaded.save(tmp_path / "kept.safetensors")
    kept = GenerativeModule.load(tmp_path / "kept.safetensors")
    again = [torch.Generator().manual_seed(seed) for seed in range(3)]
    assert torch.equal(kept.sample_each(again)["image"], expected)
    assert type(kept) is type(loaded)
    assert not kept.training


def test_the_networks_of_a_gan_step_by_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    original = torch.optim.AdamW.step
    module = module_of("sngan")
    assert isinstance(module, GAN)
    own = {id(p) for p in module.generator.parameters()}

    def counted(optimizer: torch.optim.AdamW, *arguments: Any, **options: Any) -> Any:
        steps.append("generator" if id(optimizer.param_groups[0]["params"][0]) in own else "critic")
        return original(optimizer, *arguments, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", counted)
    options = Trainer(accelerator="cpu", max_epochs=1, progress=False)
    data = RealDataModule(TensorTable({"image": images()}), batch_size=10, validation=0.2)
    trainer = build_trainer(options, tmp_path, [], monitor=None)
    fit(trainer, module, data, monitor=None)
    # 48 training rows in batches of 10, critic_steps=2
    assert steps == ["critic", "critic", "generator", "critic", "critic", "generator"]
    assert {"val/critic_gap", "train/critic_loss", "train/generator_loss"} <= set(trainer.callback_metrics)


def test_the_hinge_losses_by_hand() -> None:
    """One step of plain gradient arithmetic beside the module's."""
    module = module_of("sngan").eval()
    assert isinstance(module, GAN)
    real = logistic_mixture.to_signed(images(4), torch.float32)
    with torch.no_grad():
        generated = module.generator(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)))
        scores = module.critic(real), module.critic(generated)
    by_hand = sum(max(0.0, 1 - s) for s in scores[0].flatten().tolist()) / 4
    by_hand += sum(max(0.0, 1 + s) for s in scores[1].flatten().tolist()) / 4
    critic, _ = GAN.losses(*scores)
    assert critic.item() == pytest.approx(by_hand, rel=1e-5)
    assert GAN.losses(*scores)[1].item() == pytest.approx(-scores[1].mean().item(), rel=1e-5)


def test_what_is_no_checkpoint_of_a_generator(tmp_path: Path) -> None:
    spec = {"column": "image", "shape": (2,), "dtype": "torch.float32", "mean": (0.0, 0.0), "std": (1.0, 1.0)}
    net = {"name": "mlp", "width": 4, "depth": 1, "dropout": 0.0, "activation": "relu"}
    classifier = RatioClassifier(net, None, spec, (1, 1))
    checkpoint: dict[str, Any] = {"state_dict": classifier.state_dict()}
    classifier.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "ratio.ckpt")
    with pytest.raises(InputError, match="not a checkpoint of a generator but of a ratio classifier"):
        GenerativeModule.load(tmp_path / "ratio.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="of something else"):
        GenerativeModule.load(tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="does not exist"):
        GenerativeModule.load(tmp_path / "none.ckpt")
    module_of("vae").save(tmp_path / "vae.safetensors")
    with pytest.raises(InputError, match="holds a vae, not a GAN"):
        GAN.load(tmp_path / "vae.safetensors")
    (tmp_path / "broken.safetensors").write_bytes((tmp_path / "vae.safetensors").read_bytes()[:-10])
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        GenerativeModule.load(tmp_path / "broken.safetensors")
    from safetensors.torch import save_file

    kept = {"kind": "lfiw.GenerativeModule", "net": asdict(NETS["vae"]), "shape": SHAPE}
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", {"generator": json.dumps(kept)})
    with pytest.raises(InputError, match="does not hold a whole generator"):
        GenerativeModule.load(tmp_path / "a.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "b.safetensors")
    with pytest.raises(InputError, match="other weights than those of a generator"):
        GenerativeModule.load(tmp_path / "b.safetensors")


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("sngan", {"critic": "both"}, "model.critic=both"),
        ("sngan", {"critic_steps": 0}, "critic_steps=0"),
        ("sngan", {"width": 0}, "width=0"),
        ("vae", {"pixels": "all"}, "model.pixels=all"),
        ("vae", {"width": 9}, "multiple of 8"),
        ("vae", {"mixtures": 0}, "model.mixtures=0"),
        ("pixelcnn", {"levels": 5}, "model.levels=5"),
        ("pixelcnn", {"dropout": 2.0}, "model.dropout=2.0"),
    ],
)
def test_options_that_do_not_do(name: str, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        module_of(name, **changes)


def test_real_data_that_does_not_do() -> None:
    table = TensorTable({"image": images()})
    with pytest.raises(InputError, match="validation split has no row"):
        RealDataModule(table, validation=0.001)
    with pytest.raises(InputError, match="expected images"):
        RealDataModule(TensorTable({"image": torch.zeros(5, 3)}))
