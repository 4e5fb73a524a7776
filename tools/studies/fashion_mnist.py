"""Fashion-MNIST, two biased generators of it, and the classifier that judges them, all independent of any ratio.

Each part of the 60,000 training images has one use: GENERATORS trains the generators and the judge, REAL is the ratio's
real side, and generated samples are compared with HELD_OUT.
"""

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from lfiw.errors import InputError

NUM_CLASSES = 10
GENERATORS, REAL, HELD_OUT = slice(0, 40_000), slice(40_000, 50_000), slice(50_000, 60_000)
NUM_GENERATED = 10_000
FACTOR = 4.0  # how much more often a generator sees its preferred classes
LATENT = {"gan": 64, "vae": 12}
GAN_STEPS, VAE_EPOCHS, JUDGE_EPOCHS = 5000, 8, 8
BATCH = 500  # images per step outside training


def read(folder: Path, split: str = "train") -> tuple[UInt8[Tensor, "n 1 28 28"], Int64[Tensor, " n"]]:
    """Reads images and labels of a split, train or t10k, in a fixed random order.

    Args:
        folder: holds the four idx files, compressed or not, as Debian's dataset-fashion-mnist and torchvision's
            FashionMNIST/raw do.

    Raises:
        InputError: a file is missing.
    """
    pixels, labels = (read_idx(folder, f"{split}-{kind}") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"))
    order = np.random.default_rng(0).permutation(len(labels))
    return torch.from_numpy(pixels[order, None]), torch.from_numpy(labels[order].astype(np.int64))


def read_idx(folder: Path, name: str) -> np.ndarray:
    """Reads an array in MNIST's format: two zeros, 8 for uint8, the number of dimensions, their sizes, the values."""
    for file, opened in ((folder / f"{name}.gz", gzip.open), (folder / name, open)):
        if file.is_file():
            with opened(file, "rb") as stream:
                content = stream.read()
            sizes = np.frombuffer(content, ">u4", content[3], offset=4)
            return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(sizes)
    raise InputError(
        f"fashion_mnist={folder}: no {name}.gz there; apt-get install dataset-fashion-mnist, or name the folder "
        "FashionMNIST/raw that torchvision has downloaded"
    )


def scaled(images: UInt8[Tensor, "n 1 28 28"]) -> Float[Tensor, "n 1 28 28"]:
    return images.float() / 127.5 - 1


def preferring(classes: Sequence[int], labels: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """Draws len(labels) rows with replacement, some classes FACTOR times as often as the others."""
    weights = torch.where(torch.isin(labels, torch.tensor(classes)), FACTOR, 1.0)
    return torch.multinomial(weights, len(labels), replacement=True)


def train_gan(images: Float[Tensor, "n 1 28 28"]) -> nn.Module:
    """Trains a small DCGAN under the hinge loss, stopped early."""
    norm = nn.utils.parametrizations.spectral_norm
    generator = nn.Sequential(
        *(nn.Linear(LATENT["gan"], 64 * 49), nn.Unflatten(1, (64, 7, 7)), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.ConvTranspose2d(64, 48, 4, 2, 1), nn.BatchNorm2d(48), nn.ReLU()),
        *(nn.ConvTranspose2d(48, 24, 4, 2, 1), nn.BatchNorm2d(24), nn.ReLU()),
        *(nn.Conv2d(24, 1, 3, padding=1), nn.Tanh()),
    )
    critic = nn.Sequential(
        *(norm(nn.Conv2d(1, 32, 4, 2, 1)), nn.LeakyReLU(0.2), norm(nn.Conv2d(32, 64, 4, 2, 1)), nn.LeakyReLU(0.2)),
        *(nn.Flatten(), norm(nn.Linear(64 * 49, 1))),
    )
    down, up = (torch.optim.Adam(net.parameters(), lr, (0.5, 0.99)) for net, lr in ((critic, 4e-4), (generator, 2e-4)))
    for _ in range(GAN_STEPS):
        real, noise = images[torch.randint(len(images), (64,))], torch.randn(64, LATENT["gan"])
        with torch.no_grad():
            fake = generator(noise)
        step(down, F.relu(1 - critic(real)).mean() + F.relu(1 + critic(fake)).mean())
        step(up, -critic(generator(torch.randn(64, LATENT["gan"]))).mean())
    return generator


def train_vae(images: Float[Tensor, "n 1 28 28"]) -> nn.Module:
    """Trains a small convolutional VAE, whose decoder's mean is blurry."""
    encoder = nn.Sequential(
        *(nn.Conv2d(1, 24, 4, 2, 1), nn.ReLU(), nn.Conv2d(24, 48, 4, 2, 1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(48 * 49, 2 * LATENT["vae"])),
    )
    decoder = nn.Sequential(
        *(nn.Linear(LATENT["vae"], 48 * 49), nn.ReLU(), nn.Unflatten(1, (48, 7, 7))),
        *(nn.ConvTranspose2d(48, 24, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(24, 1, 4, 2, 1), nn.Tanh()),
    )
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-3)
    for _ in range(VAE_EPOCHS):
        for rows in torch.randperm(len(images)).split(128):
            mean, log_variance = encoder(images[rows]).chunk(2, 1)
            code = mean + torch.randn_like(mean) * (log_variance / 2).exp()
            error = (decoder(code) - images[rows]).square().sum((1, 2, 3)).mean()
            divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2
            step(optimizer, error / 0.1 + divergence)
    return decoder


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


# generator → its training, and the classes that it sees too often
TRAININGS: dict[str, tuple[Callable[[Tensor], nn.Module], tuple[int, ...]]] = {
    "gan": (train_gan, (1, 5, 8)),
    "vae": (train_vae, (0, 3, 9)),
}


def generated(name: str, folder: Path) -> UInt8[Tensor, "n 1 28 28"]:
    """Trains a generator and draws samples, the same ones in every call on one machine."""
    images, labels = read(folder)
    train, classes = TRAININGS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = train(scaled(images[GENERATORS])[preferring(classes, labels[GENERATORS])]).eval()
        with torch.inference_mode():
            drawn = [net(torch.randn(BATCH, LATENT[name])) for _ in range(-(-NUM_GENERATED // BATCH))]
    return ((torch.cat(drawn)[:NUM_GENERATED] + 1) * 127.5).round().clamp(0, 255).byte()


class LeNet(nn.Module):
    """Computes features (n, 84) and logits (n, 10) of images."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            *(nn.Linear(800, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU()),
        )
        self.last = nn.Linear(84, NUM_CLASSES)

    def forward(self, images: Float[Tensor, "n 1 28 28"]) -> tuple[Tensor, Tensor]:
        features = self.body(images)
        return features, self.last(features)


def judged(net: LeNet, images: UInt8[Tensor, "n 1 28 28"]) -> tuple[Float[Tensor, "n 84"], Int64[Tensor, " n"]]:
    """Returns features and most probable classes."""
    with torch.inference_mode():
        outputs = [net(scaled(batch)) for batch in images.split(BATCH)]
    return torch.cat([f for f, _ in outputs]), torch.cat([logits.argmax(1) for _, logits in outputs])


def train_judge(folder: Path) -> tuple[LeNet, float]:
    """Trains a LeNet on the true class proportions; returns it and its accuracy on the test images."""
    images, labels = read(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = LeNet()
        optimizer = torch.optim.Adam(net.parameters(), 1e-3)
        inputs, targets = scaled(images[GENERATORS]), labels[GENERATORS]
        epochs = [torch.randperm(len(inputs)).split(128) for _ in range(JUDGE_EPOCHS)]
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, sum(map(len, epochs)))
        for rows in (rows for epoch in epochs for rows in epoch):
            step(optimizer, F.cross_entropy(net(inputs[rows])[1], targets[rows]))
            schedule.step()
    test_images, test_labels = read(folder, "t10k")
    return net, (judged(net, test_images)[1] == test_labels).double().mean().item()
