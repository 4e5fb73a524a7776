"""PixelCNN++: trained by its exact likelihood, sampled pixel by pixel.

Sampling computes every activation once (Ramachandran et al. 2017, "Fast generation"): the vertical stream row by row,
once the row above is known, the horizontal stream pixel by pixel. Two rows of each convolution's input are stored,
which is all that its window reaches. A coarser level runs at every second row and column of the finer one.
"""

from collections.abc import Iterable, Iterator
from typing import Any, cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanMetric

from lfiw.data.splits import Batch
from lfiw.generators import logistic_mixture
from lfiw.generators.generative_module import GenerativeModule
from lfiw.generators.pixelcnn_network import GatedResidual, Grown, Level, PixelCNN, Shifted, concat_elu, with_ones


class PixelCNNModule(GenerativeModule):
    """Trained by the negative log-likelihood in bits per pixel channel (Salimans et al. 2017)."""

    monitor = "val/bits_per_dim"
    sampler = "net"

    def build(self, **options: Any) -> None:
        self.net = PixelCNN(self.shape, **options)
        self.bits = MeanMetric(nan_strategy="disable")

    def draw_noise(self, generator: torch.Generator) -> Float[Tensor, "u h w"]:
        """Draws the uniform numbers that choose each pixel."""
        channels, height, width = self.shape
        return torch.rand(self.net.mixtures + channels, height, width, generator=generator, dtype=torch.float64)

    def noise_from_normal(self, normal: Float[Tensor, "n u h w"]) -> Float[Tensor, "n u h w"]:
        return torch.special.ndtr(normal)

    def decode(self, noise: Float[Tensor, "n u h w"]) -> UInt8[Tensor, "n c h w"]:
        return sample(self.net, noise)

    def log_prob(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        """Returns the log-likelihood of images, in nats."""
        parameters = self.net(logistic_mixture.to_signed(images, self.net.last.weight.dtype))
        parameters = parameters.to(torch.promote_types(parameters.dtype, torch.float32))  # half precision rounds
        return logistic_mixture.log_prob(parameters, images).sum((1, 2))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = logistic_mixture.bits_per_dimension(-self.log_prob(batch["image"]), self.shape).mean()
        self.add_up(bits_per_dim=loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        if len(batch["image"]):
            self.bits.update(logistic_mixture.bits_per_dimension(-self.log_prob(batch["image"]), self.shape))

    def on_validation_epoch_end(self) -> None:
        self.log("val/bits_per_dim", self.bits.compute())
        self.bits.reset()

    def configure_optimizers(self) -> Any:
        return self.build_optimizer(self.net)


@torch.inference_mode()
def sample(net: PixelCNN, uniforms: Float[Tensor, "n u h w"]) -> UInt8[Tensor, "n c h w"]:
    """Draws images, determined by the network and K + C uniform numbers per pixel (`logistic_mixture.sample`)."""
    channels, height, width = net.shape
    images = torch.zeros(len(uniforms), channels, height, width, dtype=torch.uint8, device=uniforms.device)
    evaluation = Evaluation(net, images)
    for row, column, parameters in evaluation.pixels():
        here = (slice(None), slice(None), slice(row, row + 1), slice(column, column + 1))
        images[here] = logistic_mixture.sample(parameters[:, :, None, None], uniforms[here], channels)
        evaluation.see(row, column)
    return images


class Evaluation:
    """One pass over the pixels of a batch, in reading order.

    Args:
        images: bytes; a pixel is read once `see` is called for it.
    """

    def __init__(self, net: PixelCNN, images: UInt8[Tensor, "n c h w"]) -> None:
        self.net, self.images = net, images
        weight = net.last.weight
        n, _, height, width = images.shape
        self.size = height, width
        # inputs in [−1, 1] and the channel of ones; zeros above and around
        self.x = weight.new_zeros(n, images.shape[1] + 1, height + 2, width + 2)
        self.levels: list[LevelState] = []
        for index, level in enumerate(cast("Iterable[Level]", net.levels)):
            self.levels.append(LevelState(level, n, width >> index, net.width, weight, period=1 << index))
        self.first_row, self.row_above, self.from_left = (
            conv.conv for conv in (net.from_above, net.row_above, net.from_left)
        )
        self.left_weight, self.left_bias = flat(net.from_left)
        self.last_weight, self.last_bias = net.last.weight[:, :, 0, 0].t().contiguous(), net.last.bias

    def see(self, row: int, column: int) -> None:
        """Reads a pixel that has been drawn."""
        pixel = logistic_mixture.to_signed(self.images[:, :, row : row + 1, column : column + 1], self.x.dtype)
        self.x[:, :, row + 2, column + 1] = with_ones(pixel)[:, :, 0, 0]

    def pixels(self) -> Iterator[tuple[int, int, Float[Tensor, "n p"]]]:
        """Yields (row, column, parameters); the caller draws the pixel, then calls `see`."""
        height, width = self.size
        for row in range(height):
            # x has two rows of padding: its rows `row` and `row + 1` are the two above this one
            above = self.x[:, :, row : row + 2]
            if row:
                vertical = F.conv2d(above, self.first_row.weight, self.first_row.bias)
                horizontal = F.conv2d(above[:, :, 1:], self.row_above.weight, self.row_above.bias)
            else:  # shifted in from outside
                vertical = self.x.new_zeros(len(self.x), self.net.width, 1, width)
                horizontal = torch.zeros_like(vertical)
            self._vertical(0, row, vertical)
            horizontal = horizontal[:, :, 0].transpose(1, 2).contiguous()
            for state in self.levels:
                state.start_row(row)
            for column in range(width):
                x = horizontal[:, column]
                if column:
                    window = self.x[:, :, row + 1 : row + 3, column].transpose(1, 2).flatten(1)
                    x = x + torch.addmm(self.left_bias, window, self.left_weight)
                x = self._horizontal(0, row, column, x)
                yield row, column, torch.addmm(self.last_bias, F.elu(x), self.last_weight)

    def _vertical(self, index: int, row: int, x: Tensor) -> Tensor:
        """Computes one row (n, width, 1, w) of the vertical stream at a level, and stores what it adds to the other."""
        state = self.levels[index]
        entering = [x]
        state.added_down = []
        for block, across in zip(state.vertical_down, state.horizontal_down, strict=True):
            x = block(x, None)
            entering.append(x)
            state.added_down.append(across.from_vertical(x))
        if state.level.is_last:
            x = entering.pop()
        else:
            assert state.vertical_halved is not None
            window = state.vertical_halved.push(x)
            if row % 2 == 0:
                below = self._vertical(index + 1, row // 2, state.vertical_halved.conv(window))
                state.vertical_pending = state.level.vertical_grown(below)
            x = state.vertical_pending[:, :, row % 2 : row % 2 + 1]
        state.added_up = []
        for block, across in zip(state.vertical_up, state.horizontal_up, strict=True):
            x = block(x, entering.pop())
            state.added_up.append(across.from_vertical(x))
        return x

    def _horizontal(self, index: int, row: int, column: int, x: Tensor) -> Tensor:
        """Computes one pixel (n, width) of the horizontal stream at a level, down and up."""
        state = self.levels[index]
        entering = [x]
        for block, added in zip(state.horizontal_down, state.added_down, strict=True):
            x = block.step(x, column, added[column], None)
            entering.append(x)
        if state.level.is_last:
            x = entering.pop()
        else:
            assert state.horizontal_halved is not None
            window = state.horizontal_halved.push(x, column)
            if row % 2 == 0 and column % 2 == 0:
                below = self._horizontal(index + 1, row // 2, column // 2, state.horizontal_halved.conv(window))
                state.horizontal_pending[:, :, column : column + 2] = state.grow(below)
            x = state.horizontal_pending[:, row % 2, column]
        for block, added in zip(state.horizontal_up, state.added_up, strict=True):
            x = block.step(x, column, added[column], entering.pop())
        return x


class LevelState:
    """The stored activations of one level, which has one row per `period` rows of the image."""

    def __init__(self, level: Level, n: int, columns: int, width: int, like: Tensor, *, period: int) -> None:
        self.level, self.period = level, period
        self.vertical_down, self.vertical_up = (
            [VerticalBlock(block, n, columns, like) for block in cast("Iterable[GatedResidual]", blocks)]
            for blocks in (level.vertical_down, level.vertical_up)
        )
        self.horizontal_down, self.horizontal_up = (
            [HorizontalBlock(block, n, columns, like, width) for block in cast("Iterable[GatedResidual]", blocks)]
            for blocks in (level.horizontal_down, level.horizontal_up)
        )
        self.added_down: list[list[Tensor]] = []
        self.added_up: list[list[Tensor]] = []
        self.vertical_halved = self.horizontal_halved = None
        self.vertical_pending = self.horizontal_pending = like.new_zeros(0)
        if not level.is_last:
            self.vertical_halved = RowWindow(level.vertical_halved, n, columns, like)
            self.horizontal_halved = PixelWindow(level.horizontal_halved, n, columns, like)
            self.horizontal_pending = like.new_zeros(n, 2, columns, width)
            self._grown = flat_grown(level.horizontal_grown)

    def start_row(self, row: int) -> None:
        """Starts a row of the image; does nothing if the level's own row continues."""
        if row % self.period:
            return
        for block in (*self.horizontal_down, *self.horizontal_up):
            block.start_row()
        if self.horizontal_halved is not None:
            self.horizontal_halved.start_row()

    def grow(self, x: Tensor) -> Tensor:
        """Turns a coarse pixel (n, f) into its 2×2 fine ones (n, 2, 2, f)."""
        weight, bias = self._grown
        return (x @ weight).view(len(x), 2, 2, -1) + bias


class RowWindow:
    """The last two input rows of a vertical convolution."""

    def __init__(self, layer: Shifted, n: int, columns: int, like: Tensor) -> None:
        self.layer = layer.conv
        self.weight, self.bias = layer.conv.weight, layer.conv.bias  # computed once from direction and length
        self.rows = like.new_zeros(n, self.weight.shape[1], 2, columns + 2)

    def push(self, row: Tensor) -> Tensor:
        """Appends a row (n, c, 1, w); returns the window (n, c, 2, w + 2)."""
        self.rows[:, :, 0] = self.rows[:, :, 1]
        self.rows[:, :, 1, 1:-1] = row[:, :, 0]
        return self.rows

    def conv(self, window: Tensor) -> Tensor:
        return F.conv2d(window, self.weight, self.bias, self.layer.stride)


class PixelWindow:
    """The current and the previous input row of a horizontal convolution."""

    def __init__(self, layer: Shifted, n: int, columns: int, like: Tensor) -> None:
        self.weight, self.bias = flat(layer)
        self.rows = like.new_zeros(n, 2, columns + 1, layer.conv.weight.shape[1])

    def start_row(self) -> None:
        self.rows[:, 0] = self.rows[:, 1]

    def push(self, pixel: Tensor, column: int) -> Tensor:
        """Sets a pixel (n, c) at a column; returns the window (n, 4·c)."""
        self.rows[:, 1, column + 1] = pixel
        return self.rows[:, :, column : column + 2].flatten(1)

    def conv(self, window: Tensor) -> Tensor:
        return torch.addmm(self.bias, window, self.weight)


class VerticalBlock:
    """A gated residual block of the vertical stream, evaluated row by row."""

    def __init__(self, block: GatedResidual, n: int, columns: int, like: Tensor) -> None:
        self.first, self.second = (RowWindow(layer, n, columns, like) for layer in (block.conv1, block.conv2))
        self.added = block.added

    def __call__(self, x: Tensor, extra: Tensor | None) -> Tensor:
        hidden = self.first.conv(self.first.push(concat_elu(x)))
        if self.added is not None and extra is not None:
            hidden = hidden + self.added(concat_elu(extra))
        return x + F.glu(self.second.conv(self.second.push(concat_elu(hidden))), dim=1)


class HorizontalBlock:
    """A gated residual block of the horizontal stream, evaluated pixel by pixel."""

    def __init__(self, block: GatedResidual, n: int, columns: int, like: Tensor, width: int) -> None:
        self.first, self.second = (PixelWindow(layer, n, columns, like) for layer in (block.conv1, block.conv2))
        assert block.added is not None
        # the inputs of `added`, ELU of (vertical[, shortcut]) and of its negative, become known at different times
        weight = block.added.weight[:, :, 0, 0].t().unflatten(0, (2, -1, width))
        self.of_vertical, self.bias = weight[:, 0].flatten(0, 1), block.added.bias
        self.of_shortcut = weight[:, 1].flatten(0, 1).contiguous() if weight.shape[1] == 2 else None

    def start_row(self) -> None:
        self.first.start_row()
        self.second.start_row()

    def from_vertical(self, row: Tensor) -> list[Tensor]:
        """Computes what a row of the vertical stream (n, f, 1, w) adds to each of its pixels: w of (n, f)."""
        added = concat_elu(row)[:, :, 0].transpose(1, 2) @ self.of_vertical
        return list((added + self.bias).unbind(1))

    def step(self, x: Tensor, column: int, added: Tensor, shortcut: Tensor | None) -> Tensor:
        hidden = self.first.conv(self.first.push(concat_elu(x), column)) + added
        if self.of_shortcut is not None and shortcut is not None:
            hidden = torch.addmm(hidden, concat_elu(shortcut), self.of_shortcut)
        return x + F.glu(self.second.conv(self.second.push(concat_elu(hidden), column)), dim=1)


def flat(layer: Shifted) -> tuple[Tensor, Tensor]:
    """Returns weight (rows · columns · inputs, outputs) and bias."""
    weight, bias = layer.conv.weight, layer.conv.bias
    assert bias is not None
    return weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous(), bias


def flat_grown(layer: Grown) -> tuple[Tensor, Tensor]:
    """Returns weight (inputs, 2 · 2 · outputs) and bias."""
    weight, bias = layer.conv.weight, layer.conv.bias
    assert bias is not None
    return weight.permute(0, 2, 3, 1).flatten(1).contiguous(), bias
