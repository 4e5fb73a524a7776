"""Samples of a trained generator that a density ratio corrects in the latent space."""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from lfiw.errors import InputError
from lfiw.generators.generative_module import GenerativeModule
from lfiw.weighting.latent_chains import crank_nicolson


class LatentSampler:
    """Draws images G(z) with z from N(0, I)·w(G(z)): one chain per image (`lfiw.weighting.latent_chains`).

    Args:
        module: the generator; its uniform numbers, if it has any, move as normal ones.
        score: columns of images → log-weights (n,).
        pool: evaluations of the weight per image: the first state and pool − 1 proposals.
        step: β, above 0 and at most 1.

    Attributes:
        candidates: images that were scored.
        accepted: proposals that were accepted; first states are none.

    Raises:
        InputError: pool or step is out of range.
    """

    def __init__(
        self,
        module: GenerativeModule,
        score: Callable[[dict[str, Tensor]], Float[Tensor, " n"]],
        pool: int,
        step: float,
        generator: torch.Generator,
    ) -> None:
        if pool < 1:
            raise InputError(f"pool={pool} must be at least 1")
        if not 0 < step <= 1:
            raise InputError(f"step={step:g}: expected above 0 and at most 1")
        self.module, self.score, self.pool, self.step, self.generator = module, score, pool, step, generator
        self.candidates = self.accepted = 0

    def draw(self, num: int, batch: int) -> Iterator[dict[str, Tensor]]:
        """Yields `image` and `latent` of `num` chains, `batch` of them side by side.

        Raises:
            InputError: a log-weight is NaN or infinite.
        """
        like = self.module.draw_noise(torch.Generator())
        for start in range(0, num, batch):
            size = min(batch, num - start)
            first = torch.randn((size, *like.shape), generator=self.generator, dtype=like.dtype)
            chains = crank_nicolson(self._log_weight, first, self.pool - 1, self.step, self.generator)
            self.candidates += size * self.pool
            self.accepted += chains.accepted
            noise = self.module.noise_from_normal(chains.latent)
            yield {"image": self.module.images_of(noise), "latent": noise}

    def _log_weight(self, normal: Float[Tensor, "n ..."]) -> Float[Tensor, " n"]:
        return self.score({"image": self.module.images_of(self.module.noise_from_normal(normal))})
