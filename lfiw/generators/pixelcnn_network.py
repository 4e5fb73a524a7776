"""PixelCNN++ (Salimans et al. 2017): the parameters of each pixel's distribution, given the pixels before it.

There are two streams: the vertical one sees the rows above; the horizontal one also sees the pixels to the left, and
takes the vertical one as input. Both pass through residual blocks and halvings of the resolution and back up, with
shortcuts between blocks of the same size. `lfiw.generators.pixelcnn` evaluates the same layers pixel by pixel.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from lfiw.errors import InputError
from lfiw.generators.logistic_mixture import num_parameters
from lfiw.nets import image_shape

VERTICAL, HORIZONTAL = (2, 3), (2, 2)  # kernels: rows, columns


class Shifted(nn.Module):
    """A convolution whose window ends at its own row, and at its own column if it only looks to the left.

    Args:
        kernel: rows and columns; with 3 columns the window is centred, otherwise it ends at its own column.
    """

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], stride: int = 1) -> None:
        super().__init__()
        rows, columns = kernel
        side = (1, 1) if columns == 3 else (columns - 1, 0)
        self.padding = (*side, rows - 1, 0)
        self.conv = weight_norm(nn.Conv2d(inputs, outputs, kernel, stride))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, self.padding))


class Grown(nn.Module):
    """Doubles the resolution by a transposed convolution; with 3 columns a pixel also reaches its neighbours'."""

    def __init__(self, width: int, columns: int) -> None:
        super().__init__()
        side = (columns - 1) // 2
        self.conv = weight_norm(nn.ConvTranspose2d(width, width, (2, columns), 2, (0, side), (0, side)), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class GatedResidual(nn.Module):
    """x + a·σ(b), (a, b) from two convolutions; `extra` channels of another stream are added to the first.

    The nonlinearity is ELU of x and −x side by side.
    """

    def __init__(self, width: int, kernel: tuple[int, int], extra: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = Shifted(2 * width, width, kernel)
        self.added = weight_norm(nn.Conv2d(2 * extra, width, 1)) if extra else None
        self.dropout = nn.Dropout2d(dropout)
        self.conv2 = Shifted(2 * width, 2 * width, kernel)

    def forward(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        hidden = self.conv1(concat_elu(x))
        if self.added is not None:
            assert extra is not None
            hidden = hidden + self.added(concat_elu(extra))
        return x + F.glu(self.conv2(self.dropout(concat_elu(hidden))), dim=1)


class Level(nn.Module):
    """The blocks of both streams at one resolution, and the steps to the next coarser one and back."""

    def __init__(self, width: int, blocks: int, dropout: float, *, is_last: bool) -> None:
        super().__init__()
        back = blocks if is_last else blocks + 1

        def stack(number: int, kernel: tuple[int, int], extra: int) -> nn.ModuleList:
            return nn.ModuleList(GatedResidual(width, kernel, extra, dropout) for _ in range(number))

        self.vertical_down, self.horizontal_down = stack(blocks, VERTICAL, 0), stack(blocks, HORIZONTAL, width)
        self.vertical_up, self.horizontal_up = stack(back, VERTICAL, width), stack(back, HORIZONTAL, 2 * width)
        self.is_last = is_last
        if not is_last:
            self.vertical_halved = Shifted(width, width, VERTICAL, 2)
            self.horizontal_halved = Shifted(width, width, HORIZONTAL, 2)
            self.vertical_grown, self.horizontal_grown = Grown(width, 3), Grown(width, 2)


class PixelCNN(nn.Module):
    """Computes the parameters of each pixel's mixture, (n, p, h, w), from the pixels in [−1, 1] above and to the left.

    Args:
        width: channels of both streams.
        blocks: gated residual blocks per level and direction.
        levels: resolutions, each half of the one before.
        mixtures: components of a pixel's distribution.
        dropout: share of channels that a block drops.

    Raises:
        InputError: the images' sides cannot be halved that often.
    """

    def __init__(
        self, shape: Sequence[int], *, width: int, blocks: int, levels: int, mixtures: int, dropout: float
    ) -> None:
        super().__init__()
        channels, height, width_pixels = image_shape(shape, "pixelcnn")
        factor = 1 << (levels - 1)
        if height % factor or width_pixels % factor:
            raise InputError(
                f"model.levels={levels} halves images {levels - 1} times, which {tuple(shape)} does not allow"
            )
        self.shape, self.width, self.mixtures = (channels, height, width_pixels), width, mixtures
        # another input channel of ones distinguishes grey pixels from the border, which is padded with zeros
        self.from_above = Shifted(channels + 1, width, (2, 3))
        self.row_above = Shifted(channels + 1, width, (1, 3))
        self.from_left = Shifted(channels + 1, width, (2, 1))
        self.levels = nn.ModuleList(Level(width, blocks, dropout, is_last=i == levels - 1) for i in range(levels))
        self.last = weight_norm(nn.Conv2d(width, num_parameters(channels, mixtures), 1))

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n p h w"]:
        x = with_ones(images)
        vertical = shift_down(self.from_above(x))
        horizontal = shift_down(self.row_above(x)) + shift_right(self.from_left(x))
        _, horizontal = self._through(0, vertical, horizontal)
        return self.last(F.elu(horizontal))

    def _through(self, index: int, vertical: Tensor, horizontal: Tensor) -> tuple[Tensor, Tensor]:
        """Passes down through the levels from this one, and back up."""
        level = self.levels[index]
        assert isinstance(level, Level)
        shortcuts = [(vertical, horizontal)]
        for of_vertical, of_horizontal in zip(level.vertical_down, level.horizontal_down, strict=True):
            vertical = of_vertical(vertical)
            horizontal = of_horizontal(horizontal, vertical)
            shortcuts.append((vertical, horizontal))
        if level.is_last:
            vertical, horizontal = shortcuts.pop()
        else:
            below = self._through(index + 1, level.vertical_halved(vertical), level.horizontal_halved(horizontal))
            vertical, horizontal = level.vertical_grown(below[0]), level.horizontal_grown(below[1])
        for of_vertical, of_horizontal in zip(level.vertical_up, level.horizontal_up, strict=True):
            vertical_before, horizontal_before = shortcuts.pop()
            vertical = of_vertical(vertical, vertical_before)
            horizontal = of_horizontal(horizontal, torch.cat([vertical, horizontal_before], dim=1))
        return vertical, horizontal


def concat_elu(x: Tensor) -> Tensor:
    return F.elu(torch.cat([x, -x], dim=1))


def with_ones(images: Tensor) -> Tensor:
    return F.pad(images, (0, 0, 0, 0, 0, 1), value=1.0)


def shift_down(x: Tensor) -> Tensor:
    return F.pad(x, (0, 0, 1, 0))[:, :, :-1]


def shift_right(x: Tensor) -> Tensor:
    return F.pad(x, (1, 0, 0, 0))[:, :, :, :-1]
