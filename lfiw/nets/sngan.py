"""The residual networks of SNGAN (Miyato et al. 2018, table 4): a generator, and a critic with spectral norm."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from lfiw.errors import InputError
from lfiw.nets.shapes import image_shape

SMALLEST = 8  # the generator starts at an eighth of the resolution


class UpBlock(nn.Module):
    """Twice the resolution: norm, ReLU, nearest neighbour, 3×3, norm, ReLU, 3×3; the shortcut is a 1×1 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(F.interpolate(F.relu(self.norm1(x)), scale_factor=2))
        # the 1×1 convolution commutes with repeating pixels, and is four times cheaper before it
        return F.interpolate(self.skip(x), scale_factor=2) + self.conv2(F.relu(self.norm2(hidden)))


class SNGANGenerator(nn.Module):
    """(n, latent) → (n, c, h, w) in (−1, 1), by three residual blocks that double the resolution."""

    def __init__(self, shape: Sequence[int], *, latent: int, width: int) -> None:
        super().__init__()
        channels, height, width_pixels = image_shape(shape, "sngan")
        if height % SMALLEST or width_pixels % SMALLEST:
            raise InputError(f"model=sngan needs images whose sides are multiples of {SMALLEST}, got {tuple(shape)}")
        if latent < 1 or width < 1:
            raise InputError(f"model.latent={latent} and model.width={width} must be at least 1")
        self.start = (width, height // SMALLEST, width_pixels // SMALLEST)
        self.linear = nn.Linear(latent, width * self.start[1] * self.start[2])
        self.blocks = nn.Sequential(*(UpBlock(width, width) for _ in range(3)))
        self.norm = nn.BatchNorm2d(width)
        self.last = nn.Conv2d(width, channels, 3, padding=1)
        self.apply(initialise)

    def forward(self, noise: Float[Tensor, "n latent"]) -> Float[Tensor, "n c h w"]:
        x = self.blocks(self.linear(noise).view(-1, *self.start))
        return self.last(F.relu(self.norm(x))).tanh()


class DownBlock(nn.Module):
    """(ReLU,) 3×3, ReLU, 3×3, and half the resolution by averaging if asked; all weights with spectral norm."""

    def __init__(self, inputs: int, outputs: int, *, down: bool, first: bool = False) -> None:
        super().__init__()
        self.conv1 = spectral_norm(nn.Conv2d(inputs, outputs, 3, padding=1))
        self.conv2 = spectral_norm(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = spectral_norm(nn.Conv2d(inputs, outputs, 1)) if down or inputs != outputs else nn.Identity()
        self.down, self.first = down, first

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if not self.down:
            return self.skip(x) + hidden
        return self.skip(F.avg_pool2d(x, 2)) + F.avg_pool2d(hidden, 2)


class SNGANCritic(nn.Module):
    """(n, c, h, w) in [−1, 1] → (n, 1): four residual blocks, the first two at half the resolution each, summed."""

    def __init__(self, shape: Sequence[int], *, width: int) -> None:
        super().__init__()
        channels, _, _ = image_shape(shape, "sngan")
        if width < 1:
            raise InputError(f"model.critic_width={width} must be at least 1")
        self.blocks = nn.Sequential(
            DownBlock(channels, width, down=True, first=True),
            DownBlock(width, width, down=True),
            DownBlock(width, width, down=False),
            DownBlock(width, width, down=False),
        )
        self.last = spectral_norm(nn.Linear(width, 1))

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n outputs"]:
        return self.last(F.relu(self.blocks(images)).sum((2, 3)))


def initialise(layer: nn.Module) -> None:
    """Uniform with variance 2/(inputs + outputs) (Glorot and Bengio 2010), biases zero, as in the paper's code."""
    if isinstance(layer, (nn.Linear, nn.Conv2d)):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
