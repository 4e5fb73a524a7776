"""Kernel density estimates in whitened principal components."""

import numpy as np
import torch
from jaxtyping import Float
from sklearn.decomposition import PCA
from sklearn.neighbors import KernelDensity
from torch import Tensor


class WhitenedDensity:
    """A Gaussian kernel density estimate in the whitened principal components of its data.

    Args:
        data: training samples; directions without variance stay as they are.
        bandwidth: standard deviation of the kernel, in standard deviations of each component.
    """

    def __init__(self, data: Float[Tensor, "n d"], bandwidth: float) -> None:
        values = data.double().numpy()
        self._pca = PCA(n_components=1 - 1e-9, svd_solver="full", whiten=True).fit(values)
        self._density = KernelDensity(kernel="gaussian", bandwidth=bandwidth).fit(self._pca.transform(values))

    def sample(self, num: int, seed: int) -> Float[Tensor, "num d"]:
        samples = self._pca.inverse_transform(self._density.sample(num, random_state=seed))
        return torch.from_numpy(np.asarray(samples, dtype=np.float64))


def sample_kernel_density(
    data: Float[Tensor, "n d"], num_samples: int, *, bandwidth: float, seed: int
) -> Float[Tensor, "num_samples d"]:
    """Draws samples from a `WhitenedDensity` of `data`."""
    return WhitenedDensity(data, bandwidth).sample(num_samples, seed)
