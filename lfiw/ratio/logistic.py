"""Logistic regression as a ratio: on coordinates, on their products, or on kernels; what few rows learn best."""

import warnings

import torch
from jaxtyping import Float, Shaped
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from lfiw.data.splits import GENERATED, REAL
from lfiw.ratio.mixed import MixedDataModule
from lfiw.ratio.sklearn_classifier import fitting_rows
from lfiw.weighting.standard_units import mean_and_scale
from lfiw.weighting.weights import log_ratio_from_logits

TERMS = ("linear", "quadratic", "kernel")
MOST_PRODUCTS = 24  # coordinates up to which products of two are taken; beyond, squares alone
LANDMARKS = 100  # of the kernel
STEPS = 200  # of the optimiser
ROUNDING = 1e-9  # of terms of standardised coordinates
SINGULAR = 1e-12


class LogisticRatio(nn.Module):
    """A log-ratio that is linear in terms of the standardised coordinates z.

    linear: z, exact for normal sides of one covariance. quadratic: products of two as well, exact for normal sides.
    kernel: exp(−|z − c|²/2d) to 100 rows c, whitened (Nyström; Williams & Seeger, NIPS 2000).

    Args:
        kind: linear, quadratic or kernel.
        num_features: coordinates of a sample.
        num_landmarks: of a kernel, 0 otherwise.
    """

    mean: Tensor
    std: Tensor
    landmarks: Tensor
    whitening: Tensor
    coefficients: Tensor
    intercept: Tensor
    limit: Tensor

    def __init__(self, kind: str, num_features: int, num_landmarks: int = 0) -> None:
        super().__init__()
        self.kind = kind
        c = num_landmarks
        shapes: dict[str, tuple[int, ...]] = {
            "mean": (num_features,),
            "std": (num_features,),
            "landmarks": (c, num_features),
            "whitening": (c, c),
            "intercept": (),
            "limit": (),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        num_terms = self.terms(torch.zeros(1, num_features, dtype=torch.float64)).shape[1]
        self.register_buffer("coefficients", torch.zeros(num_terms, dtype=torch.float64))

    @classmethod
    def fit(cls, kind: str, data: MixedDataModule, seed: int) -> "LogisticRatio":
        """Fits all rows that the data module's current fold does not hold out.

        Args:
            seed: of the kernel's landmarks.
        """
        rows = fitting_rows(data)
        x = torch.cat([side.flatten(1).double() for side in rows.sides])
        landmarks = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:LANDMARKS]
        fitted = cls(kind, x.shape[1], len(landmarks) if kind == "kernel" else 0)
        fitted.mean, fitted.std = mean_and_scale(x)
        z = (x - fitted.mean) / fitted.std
        if kind == "kernel":
            fitted.landmarks = z[landmarks]
            values, vectors = torch.linalg.eigh(fitted.kernel(fitted.landmarks))
            fitted.whitening = vectors / values.clamp(min=SINGULAR).sqrt() @ vectors.T
        terms = fitted.terms(z)
        mean, std = mean_and_scale(terms, ROUNDING)  # one penalty for all terms
        model = LogisticRegression(max_iter=STEPS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the penalty does more than further steps
            model.fit(((terms - mean) / std).numpy(), rows.labels, sample_weight=rows.weights)
        fitted.coefficients = torch.from_numpy(model.coef_[0]) / std
        logit = torch.from_numpy(model.intercept_) - mean @ fitted.coefficients
        num_real, num_generated = rows.masses[REAL], rows.masses[GENERATED]
        fitted.intercept = log_ratio_from_logits(logit, num_real=num_real, num_generated=num_generated)[0]
        fitted.limit = torch.tensor(2.0 * rows.num_units, dtype=torch.float64).log()
        return fitted

    def kernel(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """exp(−|z − c|²/2d) to each landmark c."""
        return (torch.cdist(z, self.landmarks).square() / (-2 * z.shape[1])).exp()

    def terms(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """What the log-ratio is linear in."""
        if self.kind == "linear":
            return z
        if self.kind == "kernel":
            return self.kernel(z) @ self.whitening
        if z.shape[1] > MOST_PRODUCTS:
            return torch.cat([z, z.square()], dim=1)
        first, second = torch.triu_indices(z.shape[1], z.shape[1])
        return torch.cat([z, z[:, first] * z[:, second]], dim=1)

    def log_ratio(self, samples: Shaped[Tensor, "n ..."]) -> Float[Tensor, " n"]:
        """Log density ratios, float64; n rows know none beyond ± log 2n."""
        z = (samples.flatten(1).double() - self.mean) / self.std
        return (self.terms(z) @ self.coefficients + self.intercept).clamp(-self.limit, self.limit)
