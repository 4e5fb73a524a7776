"""What a feature extractor is."""

from typing import ClassVar

from torch import Tensor, nn


class Extractor(nn.Module):
    """Images to features, and to class logits where it has a head.

    `forward` takes images as they stand in the tables (uint8 (n, c, h, w)) and returns `features` (n, num_features)
    and, if num_classes is not none, `logits` (n, num_classes), float32.

    Attributes:
        name: as in the configuration.
        sha256: of the weights; empty if it has none.
        preprocessing: in words, kept with the columns.
        num_features, num_classes: sizes of the outputs.
        batch_size: most samples a step, where the network is slow; none: as many as the data module's.
    """

    name: ClassVar[str]
    sha256: str = ""
    preprocessing: str = ""
    num_features: int
    num_classes: int | None = None
    batch_size: int | None = None

    @property
    def key(self) -> str:
        """Name in column names; other weights are other columns."""
        return f"{self.name}-{self.sha256[:8]}" if self.sha256 else self.name

    @property
    def columns(self) -> dict[str, str]:
        """Output → the column that keeps it."""
        kept = {"features": f"features/{self.key}"}
        return {**kept, "logits": f"logits/{self.key}"} if self.num_classes else kept

    @property
    def stamp(self) -> dict[str, str]:
        """What the columns say about their origin."""
        return {"name": self.name, "sha256": self.sha256, "preprocessing": self.preprocessing}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError
