"""A kernel density estimate as a generator: fitted in a moment, biased by whatever it is fitted to."""

import numpy as np
import torch
from jaxtyping import Float
from sklearn.decomposition import PCA
from sklearn.neighbors import KernelDensity
from torch import Tensor


def sample_kernel_density(
    data: Float[Tensor, "n d"], num_samples: int, *, bandwidth: float, seed: int
) -> Float[Tensor, "num_samples d"]:
    """Samples of a Gaussian kernel density estimate in the whitened principal components of `data`.

    Args:
        data: training samples; directions without variance are left as they are.
        bandwidth: standard deviation of the kernel, in standard deviations of each component.
    """
    values = data.double().numpy()
    pca = PCA(n_components=1 - 1e-9, svd_solver="full", whiten=True).fit(values)
    density = KernelDensity(kernel="gaussian", bandwidth=bandwidth).fit(pca.transform(values))
    samples = pca.inverse_transform(density.sample(num_samples, random_state=seed))
    return torch.from_numpy(np.asarray(samples, dtype=np.float64))
