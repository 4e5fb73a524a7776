"""What every network of the registry offers."""

from torch import Tensor, nn


class Net(nn.Module):
    """(n, …) → (n, outputs), in two steps: `last(penultimate(x))`."""

    last: nn.Linear

    def penultimate(self, x: Tensor) -> Tensor:
        """(n, …) → (n, features): what the last layer sees."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.penultimate(x))
