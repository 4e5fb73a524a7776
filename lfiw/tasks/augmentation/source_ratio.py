"""A ratio of drawings, learned where the data are: on source characters, in tasks like that on the target."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from lfiw.errors import InputError
from lfiw.files import write_atomically
from lfiw.tasks.augmentation.character_embedding import Embedding
from lfiw.tasks.augmentation.likeness import FEATURES, MARGIN, Episodes, likeness_to_shots
from lfiw.untrusted import built_for, naming, network_file, part_of, read_network

KIND = "source_ratio"
SHARES = ("recognised_real", "recognised", "recognised_by_weight")
Sides = tuple[Float[Tensor, "_ 9"], Float[Tensor, "_ 9"]]


@dataclass(frozen=True)
class HeldOut:
    """What a ratio says of characters that neither its generator nor its embedding saw.

    Args:
        real, generated: log-ratios of real drawings beyond the shots, and of generated ones.
        recognised_real, recognised_generated: whether the mean of the right character is the nearest.
    """

    real: Float[Tensor, " n"]
    generated: Float[Tensor, " m"]
    recognised_real: Float[Tensor, " n"]
    recognised_generated: Float[Tensor, " m"]

    def shares(self) -> dict[str, float]:
        """Shares of drawings that are recognised: real, generated, and generated ones by weight."""
        by_weight = torch.softmax(self.generated, 0) @ self.recognised_generated
        values = self.recognised_real.mean(), self.recognised_generated.mean(), by_weight
        return {name: value.item() for name, value in zip(SHARES, values, strict=True)}


class SourceRatio:
    """log p(drawing | character)/p_θ(drawing | character), from `likeness` in an embedding: a logistic regression.

    Args:
        embedding: of drawings.
        options: what the embedding was built from.
        coefficients: of the nine features, and the constant (10,).
        shots: drawings of a character that it was learned with.
        held_out: shares and scores on characters that it did not see, by name.
    """

    def __init__(
        self,
        embedding: Embedding,
        options: Mapping[str, Any],
        coefficients: Float[Tensor, " 10"],
        shots: int,
        held_out: Mapping[str, float],
    ) -> None:
        self.embedding, self.options, self.coefficients = embedding, dict(options), coefficients
        self.shots, self.held_out = shots, dict(held_out)

    def log_ratio(
        self,
        drawings: UInt8[Tensor, "n c h w"],
        labels: Int64[Tensor, " n"],
        generated: UInt8[Tensor, "m c h w"],
        parents: Int64[Tensor, " m"],
    ) -> Float[Tensor, " m"]:
        """Scores generated drawings, each against the drawings of its character that it was not made from.

        Args:
            drawings: with `labels` 0 … classes − 1, class by class and as many of each.
            parents: the row of `drawings` that each generated one was made from.

        Raises:
            InputError: fewer than 3 drawings of a character, or the embedding takes drawings of another size.
        """
        counts = labels.bincount()
        shots = int(counts[0])
        if shots < 3 or (counts != shots).any() or (labels.diff() < 0).any():
            raise InputError(f"a ratio of source characters needs 3 or more drawings of each character, got {shots}")
        if tuple(drawings.shape[1:]) != self.options["shape"]:
            raise InputError(f"the ratio is of drawings {self.options['shape']}, these are {tuple(drawings.shape[1:])}")
        known = self.embedding.points(drawings).unflatten(0, (-1, shots))
        points = self.embedding.points(generated)
        features = likeness_to_shots(points, known, labels[parents], parents % shots)
        return log_odds(features, self.coefficients)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes one safetensors file; no code, no pickle."""
        about = {"kind": KIND, "embedding": self.options, "shots": self.shots, "held_out": self.held_out}
        state = {f"embedding.{name}": value for name, value in self.embedding.state_dict().items()}
        write_atomically(path, network_file("lfiw", about, {**state, "coefficients": self.coefficients}))

    @classmethod
    def load(cls, path: Path) -> "SourceRatio":
        """Reads what `save` wrote.

        Raises:
            InputError: no such file, or it holds something else.
        """
        what, remedy = "a ratio of source characters", "make it by train.py experiment=omniglot_ratio"
        with naming(path, f"does not hold {what}"):
            about, state = read_network(path, "lfiw", what, KIND, remedy=remedy)
            options = about["embedding"]
            options["shape"] = tuple(options["shape"])
            embedding = built_for(part_of(state, "embedding"), lambda: Embedding(**options)).eval()
            coefficients = state["coefficients"].double()
            if coefficients.shape != (len(FEATURES) + 1,):
                raise ValueError(f"{tuple(coefficients.shape)} coefficients for {len(FEATURES)} features")
            held_out = {str(name): float(value) for name, value in about["held_out"].items()}
            if missing := sorted(set(SHARES) - held_out.keys()):
                raise ValueError(f"it does not say {missing[0]} of held-out characters")
            return cls(embedding, options, coefficients, int(about["shots"]), held_out)


def fit_coefficients(training: Sides, calibrating: Sides) -> tuple[Float[Tensor, " 10"], HeldOut]:
    """Fits the log-ratio's coefficients: a logistic regression, both sides counting the same, recalibrated by slope and
    shift on characters that did not train it.

    Returns:
        Coefficients of the features and the constant; and what the ratio says of the calibrating characters.
    """
    rows, is_real = stacked(training)
    center, spread = rows.mean(0), rows.std(0) + 1e-12
    classifier = LogisticRegression(class_weight="balanced", max_iter=1000).fit((rows - center) / spread, is_real)
    slopes = classifier.coef_[0] / spread
    coefficients = torch.from_numpy(np.append(slopes, classifier.intercept_[0] - slopes @ center))
    real, generated = (log_odds(side, coefficients) for side in calibrating)
    platt = LogisticRegression(class_weight="balanced", C=np.inf)
    platt.fit(torch.cat([real, generated])[:, None].numpy(), stacked(calibrating)[1])
    slope, shift = float(platt.coef_[0, 0]), float(platt.intercept_[0])
    coefficients = slope * coefficients
    coefficients[-1] += shift
    held_out = HeldOut(
        *(log_odds(side, coefficients) for side in calibrating),
        *((side[:, MARGIN] > 0).double() for side in calibrating),
    )
    return coefficients, held_out


def stacked(sides: Sides) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both sides, the real ones first, and which are real."""
    real, generated = sides
    return torch.cat([real, generated]).numpy(), np.r_[np.ones(len(real)), np.zeros(len(generated))]


def log_odds(features: Float[Tensor, "n 9"], coefficients: Float[Tensor, " 10"]) -> Float[Tensor, " n"]:
    return features @ coefficients[:-1] + coefficients[-1]


def draw_sides(episodes: Episodes, number: int, generator: torch.Generator) -> Sides:
    """Features of both sides over several episodes."""
    real, generated = zip(*(episodes.draw(generator) for _ in range(number)), strict=True)
    return torch.cat(real), torch.cat(generated)
