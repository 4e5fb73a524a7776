"""Generator and critic of a data augmentation GAN (Antoniou et al. 2017): from one drawing to others of its class."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

STRETCH = (
    0.02  # the output's sigmoid reaches this far beyond [0, 1] and is cut: paper is exactly 0, as in real drawings
)
LARGEST_SHIFT = 0.5  # of a pixel, in units of half the image's side
GROUPS = 8
SMALL = 0.02  # standard deviation of the initial weights that bend


class ModulatedBlock(nn.Module):
    """Residual block whose normalised features are scaled and shifted by the noise (FiLM, Perez et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, noise: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(GROUPS, inputs), nn.GroupNorm(GROUPS, outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.modulation = nn.Linear(noise, 2 * outputs)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        hidden = self.norm2(self.conv1(F.silu(self.norm1(x))))
        scale, shift = self.modulation(noise)[:, :, None, None].chunk(2, dim=1)
        return self.skip(x) + self.conv2(F.silu(hidden * (1 + scale) + shift))


class DrawingGenerator(nn.Module):
    """(drawing, noise) → another drawing of the same character.

    A U-Net reads the drawing. From its coarsest level, where the noise enters, comes a smooth field of displacements
    that bends the drawing; from its finest one what is added to the bent drawing's logits: strokes that end elsewhere,
    are thinner, or missing. The second starts at zero, the first small: training starts from slightly bent copies.

    Args:
        side: of the images, divisible by 4.
        width: channels of the finest level; doubled at each coarser one.
        noise: length of the noise vector, standard normal.
    """

    def __init__(self, side: int, width: int, noise: int) -> None:
        super().__init__()
        self.side, self.noise = side, noise
        w1, w2, w3 = width, 2 * width, 4 * width
        self.style = nn.Sequential(nn.Linear(noise, w3), nn.SiLU(), nn.Linear(w3, w3), nn.SiLU())
        self.first = nn.Conv2d(1, w1, 3, padding=1)
        self.down1, self.down2 = ModulatedBlock(w1, w2, w3), ModulatedBlock(w2, w3, w3)
        self.middle = nn.ModuleList([ModulatedBlock(w3, w3, w3) for _ in range(2)])
        self.up2, self.up1 = ModulatedBlock(w3 + w2, w2, w3), ModulatedBlock(w2 + w1, w1, w3)
        self.bend = nn.Conv2d(w3, 2, 3, padding=1)
        self.affine = nn.Linear(w3, 6)
        self.redraw = nn.Conv2d(w1 + 1, 1, 3, padding=1)
        self.contrast = nn.Parameter(torch.tensor([8.0, -4.0]))
        for parameter in self.redraw.parameters():
            nn.init.zeros_(parameter)
        for layer in (self.bend, self.affine):
            for parameter in layer.parameters():
                nn.init.normal_(parameter, std=SMALL if parameter.ndim > 1 else 0.0)

    def forward(self, images: Float[Tensor, "n 1 h w"], noise: Float[Tensor, "n z"]) -> Float[Tensor, "n 1 h w"]:
        """Images in [0, 1], 1 = ink."""
        style = self.style(noise)
        level1 = self.first(images)
        level2 = self.down1(F.avg_pool2d(level1, 2), style)
        level3 = self.down2(F.avg_pool2d(level2, 2), style)
        for block in self.middle:
            level3 = block(level3, style)
        bent = F.grid_sample(images, self.grid(level3, style), padding_mode="zeros", align_corners=False)
        level2 = self.up2(torch.cat([F.interpolate(level3, scale_factor=2.0), level2], dim=1), style)
        moved = F.grid_sample(level1, self.grid(level3, style), padding_mode="zeros", align_corners=False)
        level1 = self.up1(torch.cat([F.interpolate(level2, scale_factor=2.0), moved], dim=1), style)
        added = self.redraw(torch.cat([level1, bent], dim=1))
        ink = torch.sigmoid(self.contrast[0] * bent + self.contrast[1] + added)
        return ((1 + 2 * STRETCH) * ink - STRETCH).clamp(0, 1)

    def grid(self, level: Tensor, style: Tensor) -> Float[Tensor, "n h w 2"]:
        """Where in the given drawing each pixel's ink comes from, in −1 … 1: an affine map and smooth displacements."""
        theta = self.affine(style + level.mean((2, 3))).view(-1, 2, 3)
        theta = theta + torch.eye(2, 3, device=theta.device)
        straight = F.affine_grid(theta, [len(level), 1, self.side, self.side], align_corners=False)
        bend = F.interpolate(self.bend(level), size=self.side, mode="bicubic", align_corners=False)
        return straight + LARGEST_SHIFT * torch.tanh(bend).permute(0, 2, 3, 1)


class DrawingCritic(nn.Module):
    """Drawings of one class, side by side as channels → one number, higher for real sets (no norm layers: the
    gradient penalty is per set).

    Args:
        drawings: in a set: the given one and the others.
        side: of the images.
        width: channels of the first layer; doubled twice.
    """

    def __init__(self, drawings: int, side: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(drawings, width, 5, 2, 2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 5, 2, 2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 5, 2, 2),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(4 * width * (-(-side // 8)) ** 2, 1),
        )

    def forward(self, drawings: Float[Tensor, "n drawings h w"]) -> Float[Tensor, " n"]:
        return self.layers(drawings).squeeze(1)
